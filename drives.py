"""Has executors work on what is open: with every tick, and at once when the operator kills.

Owns when an account's executor is driven and how what came of it is settled. It decides nothing.
Its rules:

- A drive that has begun is not cut off by its caller's end.
- A kill is driven on every account at once, each in a task of its own, whatever that account is
  being asked meanwhile; its next tick goes on from there.
- What a kill finds beside its targets is settled and driven on without waiting for a tick.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from attempts import Unbroken
from clock import Clock
from close_records import aims_of
from decision import Observation
from executor import DRIVE_WITHIN_S, Executor
from memory import Incident, IncidentStatus, Memory
from model import MarketLimits, ScopeId, Stage, Symbol
from policy import Policy
from scope_watch import ScopeWatch
from supervision import Supervisor
from switch_rules import cancels_entries

Settle = Callable[[Observation], Coroutine[Any, Any, None]]
"""Decides on an observation and writes the decision."""


class Drives:
    """The closing side of every watched account.

    `remembered` gives the memory as it is now. `is_trusting` says whether records reach the disk,
    `is_finishing` that nothing more begins.
    """

    def __init__(
        self,
        *,
        watches: Mapping[ScopeId, ScopeWatch],
        policy: Policy,
        remembered: Callable[[], Memory],
        settle: Settle,
        is_trusting: Callable[[], bool],
        unbroken: Unbroken,
        supervisor: Supervisor,
        clock: Clock,
    ) -> None:
        self._watches = watches
        self._policy = policy
        self._remembered = remembered
        self._settle = settle
        self._is_trusting = is_trusting
        self._unbroken = unbroken
        self._supervisor = supervisor
        self._clock = clock
        self.is_finishing = False

    def finish(self) -> None:
        """Begin nothing more, and let what is in hand come to its end."""
        self.is_finishing = True
        for watch in self._watches.values():
            if watch.executor is not None:
                watch.executor.finish()
                self._unbroken.begin(watch.executor.settle())

    def open_incident(self, scope: ScopeId) -> Incident | None:
        """What is being closed of the book of an account, None when nothing is."""
        book = self._policy.book_of(scope)
        incident = None if book is None else self._remembered().book(book.name).incident
        return incident if incident and incident.status is IncidentStatus.OPEN else None

    def cancels_for_itself(self, scope: ScopeId) -> bool:
        """Whether what is being closed of an account takes its entry orders as well.

        Nothing is cancelled beside a close that cannot be sized.
        """
        executor = self._watches[scope].executor
        is_blind = executor is not None and executor.is_blind
        return self.open_incident(scope) is not None and not is_blind

    @property
    def must_cancel_entries(self) -> bool:
        """Whether the switch asks for entry orders to be cancelled by now."""
        switch, now = self._remembered().switch, self._clock.now()
        return cancels_entries(switch, policy=self._policy, now=now)

    @property
    def limits(self) -> Mapping[ScopeId, Mapping[Symbol, MarketLimits]]:
        """The market rules of every account, as far as they were read."""
        return {scope: watch.reader.limits for scope, watch in self._watches.items()}

    async def recover(self, scope: ScopeId) -> None:
        """Go on with an incident that an earlier run left open, before anything else."""
        if await self._watches[scope].reader.prepare():
            await self.act(scope)

    async def act(self, scope: ScopeId, *, within_s: float = DRIVE_WITHIN_S) -> None:
        """Work on the account's open incident and settle what came of it.

        No longer than until the account is due to be looked at again, which may show that it needs
        a higher stage; where looking takes long, closing gets as much time.
        """
        due_s = max(self._policy.alert_poll_s, self._watches[scope].look_s)
        within_s = min(within_s, due_s)
        incident = self.open_incident(scope)
        executor = self._watches[scope].executor
        if incident is None or executor is None or self.is_finishing:
            return
        await self._unbroken.do(self._drive(executor, incident, scope=scope, within_s=within_s))

    async def _drive(
        self, executor: Executor, incident: Incident | None, *, scope: ScopeId, within_s: float
    ) -> None:
        watch = self._watches[scope]
        while incident is not None:
            report = await executor.drive(
                incident,
                rules=watch.drive_rules(
                    incident, self._policy, must_cancel=self.must_cancel_entries
                ),
                is_current=self._is_current,
                is_recorded=self._is_trusting(),
                within_s=within_s,
                not_before=watch.reader.quiet_until,
            )
            if executor.doubts_limits:
                watch.reader.doubt_limits()
            if report is not None:
                observation = Observation(
                    now=self._clock.now(), reports=(report,), limits=self.limits
                )
                await self._settle(observation)
            incident = self.open_incident(scope) if report is not None and report.found else None

    def _is_current(self, incident: Incident) -> bool:
        """Whether the incident still asks for the same: a reset may end it, a kill may raise it."""
        known = self._remembered().book(incident.book).incident
        return known is not None and aims_of(known) == aims_of(incident)

    def kill(self, before: Memory) -> None:
        """Begin to carry out every kill that was not there before."""
        for scope, watch in self._watches.items():
            incident = self.open_incident(scope)
            if incident is None or incident.stage is not Stage.LOCKDOWN:
                continue
            if before.book(incident.book).stage is not Stage.LOCKDOWN:
                # The account is looked at at once, too, and then in the pace of closing.
                watch.bell.set()
                name = f"kill {scope}"
                self._unbroken.begin(self._supervisor.attend(name, partial(self._kill, scope)))

    async def _kill(self, scope: ScopeId) -> None:
        """Close what the kill asks for now; an account that was never read is greeted first."""
        reader = self._watches[scope].reader
        if self._watches[scope].executor is not None and reader.position_mode is None:
            await reader.prepare()
        await self.act(scope)
