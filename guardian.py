"""The loop: observe, decide, record, lock, act, and again, for every scope on its own.

Owns cadence, start-up recovery, the order of writes and shutdown. It decides nothing: it carries
observations to `decision.decide` and its answer to the store, the lock file and the executor.
Rules:

- One scope that is slow, dark or faulty never delays another, and never silences the heartbeat: a
  scope whose own task does not get anywhere is observed as dark from outside.
- A decision is queued for the store in the same instant in which it takes effect.
- What only tells (log, display) is done while the venue is being talked to, never before.
- What has begun to write or to close is not cut off by a shutdown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from attempts import Unbroken
from audit_log import log_audit
from clock import Clock
from clock_drift import DriftWatch
from close_records import aims_of
from decision import Decision, Observation, decide
from errors import InvariantViolation, LockError
from executor import DRIVE_WITHIN_S, DriveRules, Executor
from lock_document import LockEntry
from lock_writer import DecisionWriter, LockWriter
from logger import Logger
from look_once import look_once
from memory import AuditEntry, Incident, IncidentStatus, Memory, Records, Severity
from model import OperatorRequest, PositionMode, ScopeId, ScopeObservation, Want
from operator_desk import OperatorDesk, is_forced
from plans import untouchable_symbols
from policy import Policy
from recorder import Recorder
from scope_reader import READ_DEADLINE_S, ScopeReader
from venues.protocol import Venue

START_LOCK_DEADLINE_S = 5.0
SECOND_READING_AFTER_S = 1.0
REQUEST_POLL_S = 1.0
HEARTBEAT_S = 10.0
"""Without a tick for so long the lock is written all the same: bots trust it for 60 s."""
MAX_PAUSE_S = 30.0
"""A failing venue is retried for ever, at most this far apart (behaviour.md section 3)."""
TIDY_NEEDS_S = 0.25
"""Every account must rest for so long before its next reading, for the store to be tidied."""
OVERDUE_MARGIN_S = 2 * READ_DEADLINE_S
STOP_WITHIN_S = 30.0
"""The longest that a shutdown waits for a round in hand: the sum of a round's deadlines."""
FAULTS_TOLD_EVERY = 20
"""Of faults in a row, the first and every so many are told."""
LEAST_PAUSE_S = 0.05

Value = TypeVar("Value")


@dataclass(slots=True)
class _Watch:
    """What the loop itself keeps of one scope; lost on restart, by design. Times are monotonic."""

    reader: ScopeReader
    executor: Executor | None
    is_alert: bool = False
    seen_at: float = float("-inf")
    told_dark_at: float = float("-inf")
    rests_until: float = float("-inf")


class Guardian:
    """Watches every scope until told to stop.

    `executors` is empty in a dry run: without one, nothing can be sent. `load_requests` reads the
    operator's waiting requests and may raise StoreError. `standing_locks` are locks in force that
    are not this run's to lift. `on_decision` is shown every decision after it took effect. `tidy`
    does a little of what can wait; it is called about once a second when nothing else is to do.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        memory: Memory,
        venues: Mapping[ScopeId, Venue],
        executors: Mapping[ScopeId, Executor],
        recorder: Recorder,
        lock_writer: LockWriter,
        load_requests: Callable[[], Coroutine[Any, Any, Sequence[OperatorRequest]]],
        clock: Clock,
        log: Logger,
        store_deadline_s: float = 1.0,
        on_decision: Callable[[Decision], None] | None = None,
        request_poll_s: float = REQUEST_POLL_S,
        standing_locks: tuple[LockEntry, ...] = (),
        tidy: Callable[[], Coroutine[Any, Any, object]] | None = None,
    ) -> None:
        if policy.dry_run and executors:
            raise InvariantViolation("a dry run has no executor")
        self.memory = memory
        self._policy = policy
        self._watches = {
            scope: _Watch(
                reader=ScopeReader(scope=scope, venue=venue, clock=clock, log=log),
                executor=executors.get(scope),
            )
            for scope, venue in venues.items()
        }
        self._recorder = recorder
        self._lock_writer = lock_writer
        self._writer = DecisionWriter(
            recorder=recorder,
            lock=lock_writer,
            clock=clock,
            store_deadline_s=store_deadline_s,
            standing=standing_locks,
        )
        self._desk = OperatorDesk(
            load=load_requests,
            recorder=recorder,
            clock=clock,
            log=log,
            deadline_s=store_deadline_s,
            dry_run=policy.dry_run,
        )
        self._clock = clock
        self._log = log
        self._store_deadline_s = store_deadline_s
        self._on_decision = on_decision
        self._request_poll_s = request_poll_s
        self._tidy = tidy
        self._tidying: asyncio.Task[object] | None = None
        self._drift = DriftWatch()
        self._stopping = asyncio.Event()
        self._unbroken = Unbroken()
        self._settled_at = float("-inf")
        self._faults: dict[str, int] = {}

    @property
    def party_count(self) -> int:
        """How many long-lived tasks wait on the clock while `run` runs."""
        return len(self._watches) + 1

    def stop(self) -> None:
        """Ask for an end after the round in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Watch until `stop`.

        Raises LockError when the lock cannot be written at the start, InvariantViolation when our
        own code is at fault: every bot is locked then.
        """
        await self._announce_lock()
        tasks = [
            asyncio.create_task(self._repeat(f"scope {scope}", self._scope_step(scope)))
            for scope in self._watches
        ]
        tasks.append(asyncio.create_task(self._repeat("office", self._office_step)))
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((*tasks, stopper), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except InvariantViolation as violation:
            await self._record_violation(violation)
            raise
        finally:
            self._stopping.set()
            await self._finish(tasks, stopper)

    async def _announce_lock(self) -> None:
        """Write the lock as it is remembered before anything is read."""
        for watch in self._watches.values():
            watch.seen_at = self._clock.monotonic()
        decision = self._take(Observation(now=self._clock.now()))
        await self._writer.write(decision, lock_deadline_s=START_LOCK_DEADLINE_S)
        if self._lock_writer.fault:
            raise LockError(self._lock_writer.fault)

    async def _finish(self, tasks: list[asyncio.Task[None]], stopper: asyncio.Task[bool]) -> None:
        """End what reads or sleeps at once, and let what writes or closes come to its end."""
        for watch in self._watches.values():
            if watch.executor is not None:
                watch.executor.finish()
            watch.reader.close()
        ending = [*tasks, stopper, *filter(None, (self._tidying,))]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        try:
            await self._unbroken.end(within_s=STOP_WITHIN_S)
        finally:
            await self.flush()

    async def flush(self) -> bool:
        """Write what still waits; returns whether everything is on disk."""
        is_safe = await self._recorder.flush(deadline_s=max(2.0, 2 * self._store_deadline_s))
        if not is_safe:
            self._log.error("records_unwritten", count=self._recorder.waiting)
        return is_safe

    async def run_once(self) -> dict[ScopeId, str]:
        """Read every scope once, keep the readings, and change nothing else.

        Returns for every scope why its reading is not TRUSTED, empty where it is. No book, no
        stage and no lock is touched and nothing is sent: a look is not a guard.
        """
        looks = await asyncio.gather(*(self._look_once(scope) for scope in self._watches))
        for watch in self._watches.values():
            watch.reader.close()
        await self.flush()
        return dict(zip(self._watches, looks, strict=True))

    async def _look_once(self, scope: ScopeId) -> str:
        seen = await self._watches[scope].reader.observe(self.memory.scope(scope))
        look = look_once(self.memory, seen, policy=self._policy, now=self._clock.now())
        self.memory = look.memory
        self._recorder.add(look.records)
        return look.doubt

    # --- one scope ----------------------------------------------------------------------------

    def _scope_step(self, scope: ScopeId) -> Callable[[], Awaitable[float]]:
        recovered = False

        async def step() -> float:
            nonlocal recovered
            if not recovered:
                recovered = True
                await self._supervise(f"recovery {scope}", lambda: self._recover(scope))
            watch = self._watches[scope]
            began, watch.rests_until = self._clock.monotonic(), float("-inf")
            await self.tick(scope)
            watch.rests_until = began + self._pause(scope)
            return watch.rests_until - self._clock.monotonic()

        return step

    async def _recover(self, scope: ScopeId) -> None:
        """Go on with an incident that an earlier run left open, before anything else."""
        watch = self._watches[scope]
        if self._open_incident(scope) is None or watch.executor is None:
            return
        if await watch.reader.prepare():
            await self._act(scope)

    def _pause(self, scope: ScopeId) -> float:
        watch = self._watches[scope]
        is_alert = watch.is_alert or self._open_incident(scope) is not None
        pace = self._policy.alert_poll_s if is_alert else self._policy.poll_s
        if watch.reader.failures:
            grown = pace * 1.5 ** min(watch.reader.failures, 10)
            pace = max(pace, min(MAX_PAUSE_S, grown))
        return pace

    async def tick(self, scope: ScopeId) -> None:
        """Observe one scope, decide, write, and act on what is open there.

        A fault in observing or deciding does not keep an open incident from being worked on.
        """
        name = f"watching {scope}"
        decision = await self._supervise(name, lambda: self._look(scope))
        is_second_wanted = decision is not None and Want.SECOND_READING in decision.wants_of(scope)
        if not is_second_wanted:
            await self._act(scope)
            return
        # What a lower stage closes does not wait for the second reading, nor holds it up.
        began = self._clock.monotonic()
        await self._act(scope, within_s=SECOND_READING_AFTER_S)
        await self._clock.sleep(SECOND_READING_AFTER_S - (self._clock.monotonic() - began))
        await self._supervise(name, lambda: self._look(scope, is_second_reading=True))
        await self._act(scope)

    async def _look(self, scope: ScopeId, *, is_second_reading: bool = False) -> Decision:
        """Observe and settle."""
        watch = self._watches[scope]
        seen = await watch.reader.observe(
            self.memory.scope(scope), is_second_reading=is_second_reading
        )
        decision = await self._unbroken.do(self._settle_seen((seen,)))
        watch.seen_at = self._clock.monotonic()
        return decision

    async def _settle_seen(self, seen: tuple[ScopeObservation, ...]) -> Decision:
        """Settle observations and take note of what they ask for next."""
        decision = await self._settle(Observation(now=self._clock.now(), scopes=seen))
        for one in seen:
            watch = self._watches[one.scope]
            wants = (*watch.reader.wants, *decision.wants_of(one.scope))
            watch.reader.wants = tuple(dict.fromkeys(wants))
            watch.is_alert = decision.is_alert(one.scope)
        return decision

    # --- decide, write, act -------------------------------------------------------------------

    def _take(self, observation: Observation) -> Decision:
        """Decide, and let it take effect; nothing can come between the two."""
        now = self._clock.now()
        by_s = self._drift.find_jump(now=now, monotonic=self._clock.monotonic())
        observation = replace(observation, clock_jump_s=by_s)
        decision = decide(self.memory, observation, self._policy)
        self.memory = decision.memory
        self._settled_at = self._clock.monotonic()
        return decision

    async def _settle(self, observation: Observation, *, is_forced: bool = False) -> Decision:
        """Decide, then write record and lock side by side, each within its own deadline."""
        decision = self._take(observation)
        await self._writer.write(decision, is_forced=is_forced)
        self._tell_soon(decision.records.audits)
        if self._on_decision is not None:
            asyncio.get_running_loop().call_soon(self._on_decision, decision)
        return decision

    async def _act(self, scope: ScopeId, *, within_s: float = DRIVE_WITHIN_S) -> None:
        """Work on the scope's open incident and settle what came of it."""
        incident = self._open_incident(scope)
        executor = self._watches[scope].executor
        if incident is None or executor is None or self._stopping.is_set():
            return
        await self._unbroken.do(self._drive(executor, incident, scope=scope, within_s=within_s))

    async def _drive(
        self, executor: Executor, incident: Incident, *, scope: ScopeId, within_s: float
    ) -> None:
        reader = self._watches[scope].reader
        book = self._policy.book(incident.book)
        stage = None if book is None else book.stage(incident.stage)
        report = await executor.drive(
            incident,
            rules=DriveRules(
                limits=reader.limits,
                position_mode=reader.position_mode or PositionMode.ONE_WAY,
                cancel_entry_orders=stage is None or stage.cancel_entry_orders,
                untouchable=() if book is None else untouchable_symbols(book, incident.stage),
            ),
            is_current=self._is_current,
            is_recorded=not self._recorder.is_in_trouble,
            within_s=within_s,
            not_before=reader.quiet_until,
        )
        if report is not None:
            await self._settle(Observation(now=self._clock.now(), reports=(report,)))

    def _open_incident(self, scope: ScopeId) -> Incident | None:
        book = self._policy.book_of(scope)
        incident = None if book is None else self.memory.book(book.name).incident
        return incident if incident and incident.status is IncidentStatus.OPEN else None

    def _is_current(self, incident: Incident) -> bool:
        """Whether the incident still asks for the same: a reset may end it, a kill may raise it."""
        known = self.memory.book(incident.book).incident
        return known is not None and aims_of(known) == aims_of(incident)

    def _tell_soon(self, audits: tuple[AuditEntry, ...]) -> None:
        for entry in audits:
            asyncio.get_running_loop().call_soon(log_audit, self._log, entry)

    # --- the operator, and the heartbeat ------------------------------------------------------

    async def _office_step(self) -> float:
        await self.answer_requests()
        await self._watch_over()
        if self._tidy is not None and self._has_time():
            # Not waited for: a disk that hangs must hold up neither heartbeat nor operator.
            self._tidying = asyncio.create_task(self._supervise("tidying", self._tidy))
        return self._request_poll_s

    def _has_time(self) -> bool:
        """Whether nothing is read, closed or written, and nothing will be in the next moment."""
        soon = self._clock.monotonic() + TIDY_NEEDS_S
        return (
            (self._tidying is None or self._tidying.done())
            and not self._recorder.is_behind
            and all(watch.rests_until >= soon for watch in self._watches.values())
            and all(self._open_incident(scope) is None for scope in self._watches)
        )

    async def answer_requests(self) -> None:
        """Decide what the operator has asked for since the last look, one after the other."""
        for request in await self._desk.due():
            now = self._clock.now()
            observation = Observation(now=now, requests=(request,))
            await self._unbroken.do(self._settle(observation, is_forced=is_forced(request)))

    async def _watch_over(self) -> None:
        """Keep the lock alive between ticks, and judge a scope whose own task gets nowhere.

        Whatever holds that task up, bots must not go on trading for ever on what was seen last.
        """
        now = self._clock.monotonic()
        overdue_s = max(MAX_PAUSE_S, self._policy.poll_s) + OVERDUE_MARGIN_S
        silent = tuple(
            scope
            for scope, watch in self._watches.items()
            if now - watch.seen_at > overdue_s and now - watch.told_dark_at >= HEARTBEAT_S
        )
        for scope in silent:
            self._watches[scope].told_dark_at = now
        if silent:
            at = self._clock.now()
            dark = tuple(
                self._watches[scope].reader.dark("its reading does not end", asked_at=at)
                for scope in silent
            )
            await self._unbroken.do(self._settle_seen(dark))
        elif now - self._settled_at >= HEARTBEAT_S:
            await self._unbroken.do(self._settle(Observation(now=self._clock.now())))

    # --- supervision --------------------------------------------------------------------------

    async def _repeat(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Run one task's steps until the guard stops; after a fault with growing pauses."""
        faults = 0
        while not self._stopping.is_set():
            pause_s = await self._supervise(name, step)
            faults = 0 if pause_s is not None else faults + 1
            if pause_s is None:
                pause_s = min(MAX_PAUSE_S, 1.0 * 2 ** min(faults, 5))
            await self._clock.sleep(max(LEAST_PAUSE_S, pause_s))

    async def _supervise(self, name: str, step: Callable[[], Awaitable[Value]]) -> Value | None:
        """Do one step; a fault in it is recorded and never ends the guard. None after a fault."""
        try:
            value = await step()
        except InvariantViolation:
            raise
        except asyncio.CancelledError as stray:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something inside was cancelled, and not this task: to end here would be silent.
            fault: BaseException = stray
        except Exception as error:  # noqa: BLE001 - the one place: no fault ends the guard
            fault = error
        else:
            self._faults.pop(name, None)
            return value
        count = self._faults[name] = self._faults.get(name, 0) + 1
        if count == 1 or count % FAULTS_TOLD_EVERY == 0:
            self._log.error("task_failed", task=name, faults=count, exc_info=fault)
            self._record_fault(f"{name}: {type(fault).__name__}: {fault}")
        return None

    def _record_fault(self, what: str) -> None:
        entry = AuditEntry(
            at=self._clock.now(),
            scope="*",
            event="task_failed",
            message=what,
            dry_run=self._policy.dry_run,
            severity=Severity.CRITICAL,
        )
        self._recorder.add(Records(audits=(entry,)))

    async def _record_violation(self, violation: InvariantViolation) -> None:
        """Record our own bug and lock every bot before the process ends."""
        self._record_fault(f"InvariantViolation: {violation}")
        is_shown_only = self._policy.dry_run and not self._policy.enforce_lock_in_dry_run
        await self._writer.lock_for_fault(str(violation), is_shown_only=is_shown_only)
