"""Asks again and again, while it is calm, whether every position could be closed, and warns.

Owns when that is asked and what is told of it: each change once, in the log and in the audit. Its
rules:

- It is in nobody's way: a task of its own, one account after the other, never while something is
  being closed, and nobody waits for it.
- What could not be read is no finding and no all-clear: it is asked again the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from attempts import Missed, attempt
from clock import Clock
from closability import judge_closability
from decision_log import log_audit
from findings import Finding, worth_telling
from logger import Logger
from memory import AuditEntry, Records, Severity
from model import MarketLimits, Reading, ScopeId, Symbol
from policy import Policy
from recorder import Recorder
from supervision import Supervisor
from venues.protocol import Venue

EVERY_S = 600.0
ORDERS_WITHIN_S = 20.0
SHOWN = 5
"""Most findings that one entry spells out; `check` shows all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One account to review: what was read of it last, and its market rules."""

    reading: Reading
    limits: Mapping[Symbol, MarketLimits]


class ClosabilityReview:
    """Reviews every account every ten minutes.

    `find_subject` gives what is known of an account, None while it may not be reviewed: nothing was
    read of it, or something is being closed.
    """

    def __init__(
        self,
        *,
        venues: Mapping[ScopeId, Venue],
        find_subject: Callable[[ScopeId], Subject | None],
        policy: Policy,
        recorder: Recorder,
        supervisor: Supervisor,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._venues = venues
        self._find_subject = find_subject
        self._policy = policy
        self._recorder = recorder
        self._supervisor = supervisor
        self._clock = clock
        self._log = log
        self._due_at = clock.monotonic() + EVERY_S
        self._running: asyncio.Task[None] | None = None
        self._told: dict[ScopeId, tuple[Finding, ...]] = {}

    def begin_if_due(self) -> None:
        """Begin a review in a task of its own, when one is due and none is under way."""
        is_free = self._running is None or self._running.done()
        if is_free and self._clock.monotonic() >= self._due_at:
            self._due_at = self._clock.monotonic() + EVERY_S
            self._running = asyncio.create_task(self._review_all())

    async def stop(self) -> None:
        """Give up a review that is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _review_all(self) -> None:
        for scope, venue in self._venues.items():
            await self._supervisor.attend(
                f"closability {scope}", partial(self._review, scope, venue)
            )

    async def _review(self, scope: ScopeId, venue: Venue) -> None:
        if self._find_subject(scope) is None:
            return
        orders = await attempt(
            venue.fetch_orders(scope), within_s=ORDERS_WITHIN_S, what="open orders"
        )
        # What is known may have changed meanwhile, and closing may have begun.
        subject = self._find_subject(scope)
        if isinstance(orders, Missed) or subject is None:
            return
        self._tell(
            scope,
            worth_telling(
                judge_closability(
                    reading=subject.reading,
                    orders=orders.value,
                    limits=subject.limits,
                    book=self._policy.book_of(scope),
                )
            ),
        )

    def _tell(self, scope: ScopeId, found: tuple[Finding, ...]) -> None:
        """Tell what is new since the last review, or that nothing is left."""
        before = {_key(finding) for finding in self._told.get(scope, ())}
        new = tuple(finding for finding in found if _key(finding) not in before)
        self._told[scope] = found
        if new:
            self._record(
                AuditEntry(
                    at=self._clock.now(),
                    scope=scope,
                    event="closability_in_doubt",
                    message=_say(new),
                    dry_run=self._policy.dry_run,
                    severity=Severity.WARNING,
                )
            )
        elif before and not found:
            self._record(
                AuditEntry(
                    at=self._clock.now(),
                    scope=scope,
                    event="closability_restored",
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


def _say(new: tuple[Finding, ...]) -> str:
    """The new findings in one line."""
    shown = "; ".join(f"{finding.subject} {finding.what}".strip() for finding in new[:SHOWN])
    more = f"; and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
    return f"{shown}{more} -> `check` says what to do"
