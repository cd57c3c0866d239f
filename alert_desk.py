"""Gathers what is to be told from what the guard says anyway, and hands it over after the fact.

Owns the way from audit entries and decisions to alerts: a task of its own, which begins a moment
later, when what closes is under way. What it is given it only keeps; it never fails whoever gives.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import approach
from alerts import ACKNOWLEDGED, Alert, Sender
from attempts import abandon, nap
from clock import Clock
from decision import Decision
from memory import AuditEntry, Records, Severity
from model import BookName, IncidentId
from notifier import Notify
from openings import Opening
from policy import Policy
from quietening import Quietening
from supervision import Supervisor

GATHER_S = 1.0
"""A close has begun by then, and what belongs together has come together."""
AT_ONCE = 10
"""Of a storm so many are turned into alerts before whatever reads, decides and closes goes on."""
CLOSE_WITHIN_S = 5.0
"""What the last alerts of a run get."""


class AlertDesk:
    """Turns what happens into alerts. `mask` hides secrets in their text."""

    def __init__(
        self,
        notify: Notify,
        *,
        policy: Policy,
        sender: Sender,
        clock: Clock,
        supervisor: Supervisor,
        mask: Callable[[str], str],
        repeat_s: float,
    ) -> None:
        self._notify = notify
        self._policy = policy
        self._sender = sender
        self._clock = clock
        self._supervisor = supervisor
        self._mask = mask
        self._quietening = Quietening(repeat_s=repeat_s)
        self._levels: dict[BookName, approach.Levels] = {}
        self._openings: dict[IncidentId, Opening] = {}
        self._inbox: deque[Decision | AuditEntry] = deque()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def see(self, decision: Decision) -> None:
        """Take note of a decision before its records are given away."""
        self._put(decision)

    def hear(self, records: Records) -> None:
        """Take note of what was given to the store."""
        self._put(*records.audits)

    def say(self, event: str, message: str, severity: Severity) -> None:
        """Tell what stands in no audit: that a run begins or ends."""
        self._put(
            AuditEntry(
                at=self._clock.now(),
                scope="*",
                event=event,
                message=message,
                dry_run=self._policy.dry_run,
                severity=severity,
            )
        )

    async def aclose(self) -> None:
        """Tell what was not told yet, for a few seconds."""
        if self._task is not None:
            abandon(self._task)
        self._take_in()
        await self._notify.aclose(within_s=CLOSE_WITHIN_S)

    def _put(self, *things: Decision | AuditEntry) -> None:
        self._inbox.extend(things)
        if things:
            self._bell.set()
        if things and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while True:
            due = self._quietening.next_due()
            if due is None:
                await self._bell.wait()
            else:
                # Never nothing at all: rounding must not let it ask again in the same instant.
                pause_s = max(GATHER_S, due - self._clock.monotonic())
                await nap(self._clock, pause_s, unless=self._bell)
            if self._bell.is_set():
                self._bell.clear()
                await self._clock.sleep(GATHER_S)
            while len(self._inbox) > AT_ONCE:
                self._take_some(AT_ONCE)
                await asyncio.sleep(0)
            self._take_in()

    def _take_some(self, most: int) -> None:
        for _ in range(min(most, len(self._inbox))):
            with self._supervisor.supervise("alerts"):
                self._take(self._inbox.popleft())

    def _take_in(self) -> None:
        """Turn everything that came into alerts, and tell what has waited long enough."""
        while self._inbox:
            self._take_some(AT_ONCE)
        # A decision and its records come in one go: what is left belongs to nothing.
        self._openings.clear()
        with self._supervisor.supervise("alerts"):
            for alert in self._quietening.due(self._clock.monotonic()):
                self._notify.tell(alert)

    def _take(self, thing: Decision | AuditEntry) -> None:
        if isinstance(thing, AuditEntry):
            self._tell(thing)
            return
        for opening in thing.opened:
            self._openings[opening.incident.incident_id] = opening
        for verdict in thing.verdicts:
            book = self._policy.book_of(verdict.scope)
            if book is None or verdict.equity is None:
                continue
            seen = approach.look(self._levels.get(book.name, {}), verdict.drawdowns)
            self._levels[book.name] = seen.levels
            if seen.found is not None:
                self._tell(
                    approach.audit_of(
                        book.name,
                        seen.level,
                        seen.found,
                        equity=verdict.equity,
                        at=self._clock.now(),
                        dry_run=self._policy.dry_run,
                    )
                )

    def _tell(self, entry: AuditEntry) -> None:
        """Tell one entry, unless it is a repeat."""
        incident_id = IncidentId(str(dict(entry.details).get("incident_id") or ""))
        opening = None
        if entry.event == "trigger":
            opening = self._openings.pop(incident_id, None)
        alert = self._sender.alert(entry, opening=opening)
        if alert is None:
            return
        told = self._quietening.take(self._masked(alert), self._clock.monotonic())
        if told is not None:
            self._notify.tell(told)
        if entry.event == ACKNOWLEDGED:
            self._quietening.acknowledge()

    def _masked(self, alert: Alert) -> Alert:
        return replace(alert, title=self._mask(alert.title), body=self._mask(alert.body))
