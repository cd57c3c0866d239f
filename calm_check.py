"""A part of `check`, again and again while it is calm, so that what would hinder a close is known.

Owns when that is asked and what is told of it: each change once, in the log and in the audit, and
in the lock document, where `status` finds it, for as long as it holds. Its rules:

- It is in nobody's way: a task of its own, one account after the other, never while something is
  being closed, and nobody waits for it.
- What could not be read is no finding and no all-clear: it is asked again the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from account_findings import judge_inspection
from attempts import Missed, abandon, attempt
from clock import Clock
from closability import judge_closability
from decision_log import log_audit
from findings import Finding, Topic, worth_telling
from inspection import Inspection, NotTold
from logger import Logger
from memory import AuditEntry, Records, Severity
from model import MarketLimits, Reading, ScopeId, Symbol
from notices import Notices
from policy import Policy
from recorder import Recorder
from supervision import Supervisor
from venues.protocol import Venue

EVERY_S = 600.0
INSPECT_EVERY_S = 3600.0
"""What a key may do and what else its owner holds changes seldom, and costs more requests."""
ASK_WITHIN_S = 20.0
STOP_WITHIN_S = 1.0
TOLD = 5
SHOWN = 2
"""Most findings that an entry and the lock document spell out; `check` shows all of them."""
OF_INSPECTIONS = frozenset(
    {
        Topic.CLOCK,
        Topic.KEY_READS,
        Topic.KEY_TRADES,
        Topic.KEY_READS_TRANSFERS,
        Topic.KEY_EXPIRY,
    }
)
"""What may become wrong while the guard runs. The rest was for `check` to tell before, and a mode
that was told an hour ago says nothing about the positions of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One account to check: what was read of it last, and its market rules."""

    reading: Reading
    limits: Mapping[Symbol, MarketLimits]


class CalmCheck:
    """Checks every account every ten minutes.

    `find_subject` gives what is known of an account, None while it may not be checked: nothing was
    read of it, or something is being closed.
    """

    def __init__(
        self,
        *,
        venues: Mapping[ScopeId, Venue],
        find_subject: Callable[[ScopeId], Subject | None],
        notices: Notices,
        policy: Policy,
        recorder: Recorder,
        supervisor: Supervisor,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._venues = venues
        self._find_subject = find_subject
        self._notices = notices
        self._policy = policy
        self._recorder = recorder
        self._supervisor = supervisor
        self._clock = clock
        self._log = log
        self._due_at = clock.monotonic() + EVERY_S
        self._running: asyncio.Task[None] | None = None
        self._inspections: dict[ScopeId, tuple[float, Inspection]] = {}
        self._told: dict[ScopeId, tuple[Finding, ...]] = {}
        self._unwatched: dict[ScopeId, str] = {}

    def begin_if_due(self) -> None:
        """Begin a check in a task of its own, when one is due and none is under way."""
        is_free = self._running is None or self._running.done()
        if is_free and self._clock.monotonic() >= self._due_at:
            self._due_at = self._clock.monotonic() + EVERY_S
            self._running = asyncio.create_task(self._check_all())

    async def stop(self) -> None:
        """Give up a check that is under way, without waiting for what hangs."""
        if self._running is not None:
            abandon(self._running)
            await asyncio.wait((self._running,), timeout=STOP_WITHIN_S)

    async def _check_all(self) -> None:
        for scope, venue in self._venues.items():
            await self._supervisor.attend(f"checking {scope}", partial(self._check, scope, venue))

    async def _check(self, scope: ScopeId, venue: Venue) -> None:
        if self._find_subject(scope) is None:
            return
        orders = await attempt(venue.fetch_orders(scope), within_s=ASK_WITHIN_S, what="open orders")
        told = await self._inspect(scope, venue)
        # What is known may have changed meanwhile, and closing may have begun.
        subject = self._find_subject(scope)
        if isinstance(orders, Missed) or subject is None:
            return
        of_account = () if told is None else self._judge(told, subject)
        self._tell_unwatched(scope, of_account)
        closability = judge_closability(
            reading=subject.reading,
            orders=orders.value,
            limits=subject.limits,
            book=self._policy.book_of(scope),
        )
        named = tuple(finding for finding in of_account if finding.topic in OF_INSPECTIONS)
        self._tell(scope, worth_telling((*named, *closability)))

    async def _inspect(self, scope: ScopeId, venue: Venue) -> Inspection | None:
        """What the venue told within the last hour, None while it never told anything."""
        known = self._inspections.get(scope)
        now = self._clock.monotonic()
        if known is None or now - known[0] >= INSPECT_EVERY_S:
            told = await attempt(venue.inspect(scope, ()), within_s=ASK_WITHIN_S, what="inspection")
            if not isinstance(told, Missed) and not isinstance(told.value.latency_s, NotTold):
                known = self._inspections[scope] = (now, told.value)
        return None if known is None else known[1]

    def _judge(self, told: Inspection, subject: Subject) -> tuple[Finding, ...]:
        return judge_inspection(
            told,
            reading=subject.reading,
            allow_withdrawal_keys=True,
            watched=tuple(self._venues),
            now=self._clock.now(),
        )

    def _tell_unwatched(self, scope: ScopeId, found: tuple[Finding, ...]) -> None:
        """Tell what of the venue is not watched and not empty, once for each change of it."""
        parts = worth_telling(found)
        line = "; ".join(
            f"{finding.subject} {finding.what}".strip()
            for finding in parts
            if finding.topic is Topic.NOT_WATCHED
        )
        self._notices.show_unwatched(scope, f"{scope}: {line}" if line else "")
        if line and line != self._unwatched.get(scope):
            self._record(
                AuditEntry(
                    at=self._clock.now(),
                    scope=scope,
                    event="not_watched",
                    message=line,
                    dry_run=self._policy.dry_run,
                    severity=Severity.WARNING,
                )
            )
        self._unwatched[scope] = line

    def _tell(self, scope: ScopeId, found: tuple[Finding, ...]) -> None:
        """Tell what is new since the last check, or that nothing is left; show what holds."""
        self._notices.show_hindrances(scope, f"{scope}: {_say(found, SHOWN)}" if found else "")
        before = {_key(finding) for finding in self._told.get(scope, ())}
        new = tuple(finding for finding in found if _key(finding) not in before)
        self._told[scope] = found
        if new:
            self._record(
                AuditEntry(
                    at=self._clock.now(),
                    scope=scope,
                    event="check_warning",
                    message=_say(new, TOLD),
                    dry_run=self._policy.dry_run,
                    severity=Severity.WARNING,
                )
            )
        elif before and not found:
            self._record(
                AuditEntry(
                    at=self._clock.now(),
                    scope=scope,
                    event="check_clear",
                    message="nothing would hinder a close any more",
                    dry_run=self._policy.dry_run,
                )
            )

    def _record(self, entry: AuditEntry) -> None:
        log_audit(self._log, entry)
        self._recorder.add(Records(audits=(entry,)))


def _key(finding: Finding) -> tuple[str, str]:
    """What makes two findings the same: sizes and counts in their words change all the time."""
    return finding.topic, finding.subject


def _say(found: tuple[Finding, ...], most: int) -> str:
    """Findings in one line, so many of them spelt out."""
    shown = "; ".join(f"{finding.subject} {finding.what}".strip() for finding in found[:most])
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return f"{shown}{more} -> `check` says what to do"
