"""The loop: observe, decide, record, lock, act, and again, for every scope on its own.

Owns cadence, start-up recovery, the order of writes and shutdown. It decides nothing: it carries
observations to `decision.decide` and its answer to the store, the lock file and the executor.
One scope that is slow, dark or faulty never delays another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from clock import Clock
from decision import Decision, Observation, decide
from errors import InvariantViolation, ObservationError, StoreError, Unavailable
from executor import DriveRules, Executor
from ledger import ledger_since
from logger import Logger
from memory import AuditEntry, Incident, IncidentStatus, Memory, Records, Severity
from model import (
    Ledger,
    MarketLimits,
    OperatorRequest,
    Policy,
    PositionMode,
    Reading,
    ScopeId,
    ScopeObservation,
    Symbol,
    Want,
)
from plans import untouchable_symbols
from recorder import LockWriter, Recorder
from venues.protocol import Venue

READ_DEADLINE_S = 10.0
LEDGER_DEADLINE_S = 3.0
"""A streak waits for the venue's records no longer than this (behaviour.md section 4)."""
MARKS_DEADLINE_S = 2.0
LOCK_DEADLINE_S = 0.3
LIMITS_MAX_AGE_S = 6 * 3600.0
LIMITS_MIN_PAUSE_S = 60.0
SECOND_READING_AFTER_S = 1.0
REQUEST_POLL_S = 1.0
MAX_PAUSE_S = 30.0
"""A failing venue is retried for ever, at most this far apart (behaviour.md section 3)."""


@dataclass(slots=True)
class _Watch:
    """What the loop itself keeps of one scope between its ticks; lost on restart, by design."""

    venue: Venue
    executor: Executor | None
    limits: Mapping[Symbol, MarketLimits] = field(default_factory=dict)
    limits_at: float = float("-inf")
    position_mode: PositionMode | None = None
    wants: tuple[Want, ...] = (Want.LEDGER,)
    is_alert: bool = False
    is_started: bool = False
    failures: int = 0
    retry_after_s: float = 0.0


class Guardian:
    """Watches every scope until told to stop.

    `executors` is empty in a dry run: without one, nothing can be sent. `load_requests` reads the
    operator's waiting requests and may raise StoreError.
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
        load_requests: Callable[[], Awaitable[Sequence[OperatorRequest]]],
        clock: Clock,
        log: Logger,
        store_deadline_s: float = 1.0,
        on_decision: Callable[[Decision], None] | None = None,
        request_poll_s: float = REQUEST_POLL_S,
    ) -> None:
        if policy.dry_run and executors:
            raise InvariantViolation("a dry run has no executor")
        self.memory = memory
        self._policy = policy
        self._watches = {
            scope: _Watch(venue=venue, executor=executors.get(scope))
            for scope, venue in venues.items()
        }
        self._recorder = recorder
        self._lock_writer = lock_writer
        self._load_requests = load_requests
        self._clock = clock
        self._log = log
        self._store_deadline_s = store_deadline_s
        self._on_decision = on_decision
        self._request_poll_s = request_poll_s
        self._stopping = asyncio.Event()

    @property
    def party_count(self) -> int:
        """How many long-lived tasks wait on the clock while `run` runs."""
        return len(self._watches) + 1

    def stop(self) -> None:
        """Ask for an end after the round in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Watch until `stop`; raises InvariantViolation when our own code is at fault."""
        tasks = [
            asyncio.create_task(self._supervise(f"scope {scope}", self._scope_step(scope)))
            for scope in self._watches
        ]
        tasks.append(asyncio.create_task(self._supervise("requests", self._requests_step)))
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((*tasks, stopper), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._stopping.set()
            await self._finish(tasks, stopper)

    async def _finish(self, tasks: list[asyncio.Task[None]], stopper: asyncio.Task[bool]) -> None:
        """Let rounds in hand end, then end what only sleeps."""
        stopper.cancel()
        for watch in self._watches.values():
            if watch.executor is not None:
                await watch.executor.wait_until_idle()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, stopper, return_exceptions=True)
        await self._recorder.flush(deadline_s=2 * self._store_deadline_s)

    async def run_once(self) -> bool:
        """Read every scope once and decide; returns whether all gave a TRUSTED reading."""
        await asyncio.gather(*(self.tick(scope) for scope in self._watches))
        await self._recorder.flush(deadline_s=self._store_deadline_s)
        return all(
            self.memory.scope(scope).last_trusted is not None and watch.failures == 0
            for scope, watch in self._watches.items()
        )

    # --- one scope ----------------------------------------------------------------------------

    def _scope_step(self, scope: ScopeId) -> Callable[[], Awaitable[float]]:
        recovered = False

        async def step() -> float:
            nonlocal recovered
            if not recovered:
                await self._recover(scope)
                recovered = True
            began = self._clock.monotonic()
            await self.tick(scope)
            return self._pause(scope) - (self._clock.monotonic() - began)

        return step

    async def _recover(self, scope: ScopeId) -> None:
        """Go on with an incident that an earlier run left open, before anything else."""
        if self._open_incident(scope) is None or await self._start(scope):
            return
        watch = self._watches[scope]
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                watch.position_mode = await watch.venue.fetch_position_mode(scope)
        except (ObservationError, TimeoutError) as error:
            self._log.warning("position_mode_unread", scope=scope, why=str(error) or "too slow")
            return
        await self._act(scope)

    def _pause(self, scope: ScopeId) -> float:
        watch = self._watches[scope]
        is_alert = watch.is_alert or self._open_incident(scope) is not None
        pace = self._policy.alert_poll_s if is_alert else self._policy.poll_s
        if watch.failures:
            pace = min(MAX_PAUSE_S, pace * 1.5 ** min(watch.failures, 10))
        return max(pace, watch.retry_after_s)

    async def tick(self, scope: ScopeId) -> None:
        """Observe one scope, decide, write, and act on what is open there."""
        watch = self._watches[scope]
        seen = await self._observe(scope)
        decision = await self._settle(Observation(now=self._clock.now(), scopes=(seen,)))
        await self._act(scope)
        if Want.SECOND_READING in decision.wants_of(scope):
            await self._clock.sleep(SECOND_READING_AFTER_S)
            again = replace(await self._observe(scope), is_second_reading=True)
            decision = await self._settle(Observation(now=self._clock.now(), scopes=(again,)))
            await self._act(scope)
        watch.wants = decision.wants_of(scope)
        watch.is_alert = decision.is_alert(scope)

    async def _observe(self, scope: ScopeId) -> ScopeObservation:
        """Read one scope; every failure becomes an observation without a reading."""
        watch = self._watches[scope]
        asked_at = self._clock.now()
        failure = await self._start(scope)
        if failure:
            return self._dark(scope, asked_at=asked_at, failure=failure)
        asked_at = self._clock.now()
        wants_ledger = Want.LEDGER in watch.wants
        try:
            reading, ledger = await asyncio.gather(
                self._read(scope), self._read_ledger(scope) if wants_ledger else _nothing()
            )
        except ObservationError as error:
            watch.retry_after_s = (
                error.retry_after_s or 0.0 if isinstance(error, Unavailable) else 0.0
            )
            return self._dark(scope, asked_at=asked_at, failure=str(error))
        watch.failures, watch.retry_after_s = 0, 0.0
        watch.position_mode = reading.position_mode
        await self._refresh_limits(scope, reading)
        return ScopeObservation(
            scope=scope,
            asked_at=asked_at,
            reading=reading,
            marks=await self._read_marks(scope, reading),
            ledger=ledger,
            ledger_failed=wants_ledger and ledger is None,
            limits=watch.limits,
        )

    def _dark(self, scope: ScopeId, *, asked_at: float, failure: str) -> ScopeObservation:
        watch = self._watches[scope]
        watch.failures += 1
        if watch.failures == 1 or watch.failures % 20 == 0:
            self._log.warning(
                "scope_unavailable", scope=scope, failures=watch.failures, why=failure
            )
        return ScopeObservation(
            scope=scope, asked_at=asked_at, reading=None, failure=failure, limits=watch.limits
        )

    async def _start(self, scope: ScopeId) -> str:
        """Make the connection ready; returns why it is not, empty when it is."""
        watch = self._watches[scope]
        if watch.is_started:
            return ""
        try:
            async with asyncio.timeout(READ_DEADLINE_S * 2):
                await watch.venue.start()
                watch.limits = await watch.venue.fetch_market_limits()
        except ObservationError as error:
            return str(error)
        except TimeoutError:
            return f"no connection within {READ_DEADLINE_S * 2:.0f} s"
        watch.is_started = True
        watch.limits_at = self._clock.monotonic()
        return ""

    async def _read(self, scope: ScopeId) -> Reading:
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                return await self._watches[scope].venue.fetch_reading(scope)
        except TimeoutError as error:
            raise Unavailable(f"no reading within {READ_DEADLINE_S:.0f} s") from error

    async def _read_ledger(self, scope: ScopeId) -> Ledger | None:
        """Read the venue's records since the last ones known; None when they cannot be read."""
        since = ledger_since(self.memory.scope(scope), now=self._clock.now())
        try:
            async with asyncio.timeout(LEDGER_DEADLINE_S):
                return await self._watches[scope].venue.fetch_ledger(scope, since)
        except (ObservationError, TimeoutError) as error:
            self._log.warning("ledger_unavailable", scope=scope, why=str(error) or "too slow")
            return None

    async def _read_marks(self, scope: ScopeId, reading: Reading) -> Mapping[Symbol, float]:
        """Price what the last trusted reading held and this one does not."""
        last = self.memory.scope(scope).last_trusted
        if last is None:
            return {}
        held = {position.symbol for position in reading.positions}
        gone = sorted({position.symbol for position in last.positions} - held)
        if not gone:
            return {}
        try:
            async with asyncio.timeout(MARKS_DEADLINE_S):
                return await self._watches[scope].venue.fetch_marks(gone)
        except (ObservationError, TimeoutError) as error:
            self._log.warning("marks_unavailable", scope=scope, why=str(error) or "too slow")
            return {}

    async def _refresh_limits(self, scope: ScopeId, reading: Reading) -> None:
        """Read the market rules again when they are old or do not know a symbol we hold."""
        watch = self._watches[scope]
        age_s = self._clock.monotonic() - watch.limits_at
        is_missing = any(position.symbol not in watch.limits for position in reading.positions)
        if age_s < (LIMITS_MIN_PAUSE_S if is_missing else LIMITS_MAX_AGE_S):
            return
        watch.limits_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(LEDGER_DEADLINE_S):
                watch.limits = await watch.venue.fetch_market_limits()
        except (ObservationError, TimeoutError) as error:
            self._log.warning("limits_unavailable", scope=scope, why=str(error) or "too slow")

    # --- decide, write, act -------------------------------------------------------------------

    async def _settle(self, observation: Observation) -> Decision:
        """Decide, then write record and lock side by side, each within its own deadline."""
        decision = decide(self.memory, observation, self._policy)
        self.memory = decision.memory
        if self._on_decision is not None:
            self._on_decision(decision)
        await self._write(decision)
        self._tell(decision.records.audits)
        return decision

    async def _write(self, decision: Decision) -> None:
        await asyncio.gather(
            self._recorder.record(decision.records, deadline_s=self._store_deadline_s),
            self._lock_writer.write(
                decision.lock.to_document(self._clock.now()), deadline_s=LOCK_DEADLINE_S
            ),
        )

    async def _act(self, scope: ScopeId) -> None:
        """Work on the scope's open incident and settle what came of it."""
        watch = self._watches[scope]
        incident = self._open_incident(scope)
        if incident is None or watch.executor is None:
            return
        report = await watch.executor.drive(
            incident,
            rules=self._rules(scope, incident),
            is_current=self._is_current,
            is_recorded=not self._recorder.is_behind,
        )
        if report is not None:
            await self._settle(Observation(now=self._clock.now(), reports=(report,)))

    def _rules(self, scope: ScopeId, incident: Incident) -> DriveRules:
        watch = self._watches[scope]
        book = self._policy.book(incident.book)
        stage = None if book is None else book.stage(incident.stage)
        return DriveRules(
            limits=watch.limits,
            position_mode=watch.position_mode or PositionMode.ONE_WAY,
            cancel_entry_orders=stage is None or stage.cancel_entry_orders,
            untouchable=() if book is None else untouchable_symbols(book, incident.stage),
        )

    def _open_incident(self, scope: ScopeId) -> Incident | None:
        book = self._policy.book_of(scope)
        incident = None if book is None else self.memory.book(book.name).incident
        return incident if incident and incident.status is IncidentStatus.OPEN else None

    def _is_current(self, incident: Incident) -> bool:
        """Whether the incident is still open: a reset may end it while a round is in hand."""
        now_open = self.memory.book(incident.book).incident
        return now_open is not None and now_open.incident_id == incident.incident_id

    def _tell(self, audits: tuple[AuditEntry, ...]) -> None:
        for entry in audits:
            level = self._log.info if entry.severity is Severity.INFO else self._log.warning
            level(
                entry.event,
                scope=entry.scope,
                message=entry.message,
                stage=entry.stage.name,
                dry_run=entry.dry_run,
                **dict(entry.details),
            )

    # --- the operator -------------------------------------------------------------------------

    async def _requests_step(self) -> float:
        await self.answer_requests()
        return self._request_poll_s

    async def answer_requests(self) -> None:
        """Decide what the operator has asked for since the last look."""
        try:
            waiting = tuple(await self._load_requests())
        except StoreError as error:
            self._log.warning("requests_unreadable", why=str(error))
            return
        if waiting:
            await self._settle(Observation(now=self._clock.now(), requests=waiting))

    # --- supervision --------------------------------------------------------------------------

    async def _supervise(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Run one task's steps for ever; a fault in one is recorded and never ends the guard."""
        faults = 0
        while not self._stopping.is_set():
            try:
                pause_s = await step()
                faults = 0
            except InvariantViolation:
                raise
            except Exception as error:  # noqa: BLE001 - the one place: no fault ends the guard
                faults += 1
                pause_s = min(MAX_PAUSE_S, 1.0 * 2 ** min(faults, 5))
                self._log.exception("task_failed", task=name, faults=faults)
                await self._record_fault(name, error)
            await self._clock.sleep(max(0.05, pause_s))

    async def _record_fault(self, name: str, error: Exception) -> None:
        entry = AuditEntry(
            at=self._clock.now(),
            scope="*",
            event="task_failed",
            message=f"{name}: {type(error).__name__}: {error}",
            dry_run=self._policy.dry_run,
            severity=Severity.CRITICAL,
        )
        await self._recorder.record(Records(audits=(entry,)), deadline_s=0)


async def _nothing() -> None:
    """Stand in for a read that is not wanted this tick."""
