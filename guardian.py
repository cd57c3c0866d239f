"""The loop: observe, decide, record, lock, act, and again, for every scope on its own.

Owns cadence, start-up recovery, the order of writes and shutdown. It decides nothing: it carries
observations to `decision.decide` and its answer to the store, the lock file and the executor.
Rules:

- One scope that is slow, dark or faulty never delays another, and never silences the heartbeat.
- What is due by the clock (alerts, blindness) is decided when it is due, whatever a scope's own
  task waits for.
- A decision is queued for the store in the same instant in which it takes effect.
- What only tells (log, display) is done while the venue is being talked to, never before.
- What has begun to write or to close is not cut off by a shutdown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from attempts import Unbroken, let_leave
from calm_check import CalmCheck, Subject
from clock import Clock
from clock_drift import DriftWatch
from decision import Decision, Observation, decide
from decision_log import DecisionLog
from drives import Drives
from errors import InvariantViolation, LockError
from executor import Executor
from lock_document import LockEntry
from lock_writer import DecisionWriter, LockWriter
from logger import Logger
from look_once import look_once
from memory import Memory
from model import OperatorRequest, ScopeId, ScopeObservation, Want
from notices import Notices
from operator_desk import OperatorDesk, is_forced
from policy import Policy
from recorder import Recorder
from scope_reader import ScopeReader
from scope_watch import ScopeWatch, Trial
from supervision import Supervisor
from switch_model import SwitchSeen
from switch_watch import SwitchStores, SwitchWatch
from tidying import Step, Tidying
from timekeeping import deadlines
from troubles import Troubles
from unwritten_log import log_unwritten
from venues.protocol import Venue

START_LOCK_DEADLINE_S = 5.0
SECOND_READING_AFTER_S = 1.0
REQUEST_POLL_S = 1.0
HEARTBEAT_S = 10.0
"""Without a tick for so long the lock is written all the same: bots trust it for 60 s."""
TIDY_NEEDS_S = 0.25
"""Every account must rest for so long before its next reading, for the store to be tidied."""
STUCK_AFTER_S = 600.0
"""What could not be closed for so long may stay open for weeks, read every three seconds: without
thinning the disk would be full by then."""
STOP_WITHIN_S = 30.0
"""The longest that a shutdown waits for a round in hand. What is cut off then was recorded before
it was sent, so the next run looks it up."""
TELL_REDIS_WITHIN_S = 6.0
"""Longer than Redis is given to answer."""
FLUSH_WITHIN_S = 6.0
"""One whole try against a foreign hold on the database, which SQLite waits out for 5 s."""


def _nobody(*_told: object) -> None:
    """Whoever does not want to be told."""


class Guardian:
    """Watches every scope until told to stop.

    `executors` is empty in a dry run: without one, nothing can be sent. `load_requests` reads the
    operator's waiting requests and may raise StoreError. `standing_locks` are locks in force that
    are not this run's to lift. `on_taken` is shown every decision before its records are given to
    the store, and only keeps it; `on_decision` after it took effect. `tidy` does a little of what
    can wait; it is called about once a second when nothing else is to do. `notices` is told what
    would hinder a close. Without `switch` nobody's switch is watched.
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
        troubles: Troubles,
        store_deadline_s: float = 1.0,
        on_decision: Callable[[Decision], None] | None = None,
        on_taken: Callable[[Decision], None] | None = None,
        request_poll_s: float = REQUEST_POLL_S,
        standing_locks: tuple[LockEntry, ...] = (),
        tidy: Step | None = None,
        notices: Notices | None = None,
        switch: SwitchStores | None = None,
    ) -> None:
        if policy.dry_run and executors:
            raise InvariantViolation("a dry run has no executor")
        self.memory = memory
        self._policy = policy
        self._watches = {
            scope: ScopeWatch(
                scope=scope,
                reader=ScopeReader(
                    scope=scope, venue=venue, clock=clock, log=log, troubles=troubles
                ),
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
        self._decision_log = DecisionLog(log=log, policy=policy, clock=clock)
        self._store_deadline_s = store_deadline_s
        self._on_decision = on_decision
        self._on_taken = on_taken
        self._request_poll_s = request_poll_s
        self._drift = DriftWatch()
        self._stopping = asyncio.Event()
        self._bell = asyncio.Event()
        self._supervisor = Supervisor(
            recorder=recorder, clock=clock, log=log, dry_run=policy.dry_run
        )
        self._tidying = Tidying(tidy, supervisor=self._supervisor)
        self._unbroken = Unbroken()
        self._drives = Drives(
            watches=self._watches,
            policy=policy,
            remembered=lambda: self.memory,
            settle=self._settle,
            is_trusting=lambda: not recorder.is_in_trouble,
            unbroken=self._unbroken,
            supervisor=self._supervisor,
            clock=clock,
        )
        self._switch = SwitchWatch(
            switch,
            policy=policy,
            venues=venues,
            watches=self._watches,
            drives=self._drives,
            remembered=lambda: self.memory,
            settle=self._settle,
            unbroken=self._unbroken,
            supervisor=self._supervisor,
            recorder=recorder,
            troubles=troubles,
            clock=clock,
            log=log,
        )
        self._calm_check = CalmCheck(
            venues=venues,
            find_subject=self._find_subject,
            notices=notices or Notices(),
            policy=policy,
            recorder=recorder,
            supervisor=self._supervisor,
            clock=clock,
            log=log,
        )
        self._on_tick_end: Callable[[ScopeId], None] = _nobody
        self._settled_at = self._settled_until = float("-inf")
        self._untried = {
            scope: incident.book
            for scope in executors
            if (incident := self._drives.open_incident(scope)) is not None
        }

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The scopes that it watches."""
        return tuple(self._watches)

    @property
    def party_count(self) -> int:
        """How many long-lived tasks wait on the clock while `run` runs."""
        return len(self._watches) + 1 + len(self._switch.steps)

    def stop(self) -> None:
        """Ask for an end after the round in hand."""
        self._stopping.set()

    async def run(
        self,
        *,
        on_ready: Callable[[], None] = _nobody,
        on_tick_end: Callable[[ScopeId], None] = _nobody,
    ) -> None:
        """Watch until `stop`.

        `on_ready` is called once the lock is written (or waits for room on the disk), `on_tick_end`
        after every tick that came to a decision and to its end. Raises LockError when the lock can
        never be written where it should be, InvariantViolation when our own code is at fault: every
        bot is locked then.
        """
        try:
            await self._announce_lock()
            self._on_tick_end = on_tick_end
            self._supervisor.soon("telling", on_ready)
            await self._watch()
        except InvariantViolation as violation:
            self._supervisor.record(f"InvariantViolation: {violation}")
            is_shown_only = self._policy.dry_run and not self._policy.enforce_lock_in_dry_run
            await self._writer.lock_for_fault(str(violation), is_shown_only=is_shown_only)
            raise
        finally:
            await self.flush()
            await self._switch.finish()

    async def _watch(self) -> None:
        """Run every task until the guard is stopped or one of them finds our own bug."""
        repeat = partial(self._supervisor.repeat, until=self._stopping)
        tasks = [
            asyncio.create_task(repeat(f"scope {scope}", self._scope_step(scope), bell=watch.bell))
            for scope, watch in self._watches.items()
        ]
        tasks += [
            asyncio.create_task(repeat(name, step, bell=bell))
            for name, step, bell in self._switch.steps
        ]
        tasks.append(asyncio.create_task(repeat("office", self._office_step, bell=self._bell)))
        tasks.append(asyncio.create_task(self._unbroken.fail()))
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((*tasks, stopper), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._stopping.set()
            await self._finish(tasks, stopper)

    async def _announce_lock(self) -> None:
        """Write the lock as it is remembered before anything is read."""
        seen = await self._switch.first_look()
        decision: Decision | None = None
        with self._supervisor.supervise("starting"):
            decision = self._take(Observation(now=self._clock.now(), is_start=True, switch=seen))
        if decision is None:
            # Every start would end so, and bots would go by what the last run has left.
            raise InvariantViolation("no first decision can be made; task_failed says why")
        await self._writer.write(decision, lock_deadline_s=START_LOCK_DEADLINE_S)
        self._tell(decision)
        if self._lock_writer.fault and not self._lock_writer.may_pass:
            raise LockError(self._lock_writer.fault)

    async def _finish(self, tasks: list[asyncio.Task[None]], stopper: asyncio.Task[bool]) -> None:
        """End what reads or sleeps at once, and let what writes or closes come to its end."""
        self._drives.finish()
        for watch in self._watches.values():
            watch.reader.close()
        for task in (*tasks, stopper):
            task.cancel()
        await asyncio.gather(*tasks, stopper, return_exceptions=True)
        await self._tidying.stop()
        await self._calm_check.stop()
        await self._switch.stop()
        for why in await self._unbroken.end(within_s=STOP_WITHIN_S):
            self._supervisor.record(why)

    async def flush(self) -> bool:
        """Write what still waits; returns whether everything is on disk."""
        within_s = max(FLUSH_WITHIN_S, 2 * self._store_deadline_s)
        is_safe = await self._recorder.flush(deadline_s=within_s)
        if not is_safe:
            count = self._recorder.waiting
            self._log.critical("records_unwritten", message=f"{count} never reached the disk")
            log_unwritten(self._log, self._recorder.unwritten())
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
        async def step() -> float:
            if scope in self._untried:
                await self._supervisor.attend(
                    f"recovery {scope}", lambda: self._drives.recover(scope)
                )
                del self._untried[scope]
            watch = self._watches[scope]
            began, looks = self._clock.monotonic(), watch.looks
            watch.rests_until = float("-inf")
            await self.tick(scope)
            if watch.looks > looks:
                self._supervisor.soon("telling", self._on_tick_end, scope)
            watch.rests_until = began + self._pace(scope)
            return watch.rests_until - self._clock.monotonic()

        return step

    def _pace(self, scope: ScopeId) -> float:
        is_closing = self._drives.open_incident(scope) is not None
        return self._watches[scope].pace(self._policy, is_closing=is_closing)

    async def tick(self, scope: ScopeId) -> None:
        """Observe one scope, decide, write, and act on what is open there.

        A fault in observing or deciding does not keep an open incident from being worked on.
        """
        name = f"watching {scope}"
        # The office looks for requests while the venue is being asked, so that the decision about
        # its answer knows of them; a database that hangs delays no reading.
        self._bell.set()
        decision = await self._supervisor.attend(name, lambda: self._look(scope))
        is_second_wanted = decision is not None and Want.SECOND_READING in decision.wants_of(scope)
        if not is_second_wanted:
            await self._drives.act(scope)
            self._switch.cancel_entries(scope)
            return
        # What a lower stage closes does not wait for the second reading, nor holds it up.
        began = self._clock.monotonic()
        await self._drives.act(scope, within_s=SECOND_READING_AFTER_S)
        await self._clock.sleep(SECOND_READING_AFTER_S - (self._clock.monotonic() - began))
        await self._supervisor.attend(name, lambda: self._look(scope, is_second_reading=True))
        await self._drives.act(scope)
        self._switch.cancel_entries(scope)

    async def _look(self, scope: ScopeId, *, is_second_reading: bool = False) -> Decision:
        """Observe and settle."""
        watch = self._watches[scope]
        began = self._clock.monotonic()
        seen = await watch.reader.observe(
            self.memory.scope(scope), is_second_reading=is_second_reading
        )
        watch.look_s = self._clock.monotonic() - began
        if is_second_reading and seen.reading is not None and watch.executor is not None:
            # What it most likely opens is closed by a read that waited for no decision.
            watch.executor.look_ahead()
            await let_leave()
        seen = await watch.wait_for_records(
            seen, memory=self.memory, policy=self._policy, clock=self._clock
        )
        decision = await self._unbroken.do(self._settle_seen(watch, seen))
        watch.ask_at_once(self.memory, self._policy)
        watch.looks += 1
        return decision

    async def _settle_seen(self, watch: ScopeWatch, seen: ScopeObservation) -> Decision:
        """Settle an observation and take note of what it asks for next."""
        trial = watch.take_trial(self.memory)
        observation = Observation(now=self._clock.now(), scopes=(seen,))
        if trial is not None:
            observation = trial.observation
        decision = self._take(observation, trial)
        if watch.executor is not None and decision.opened:
            watch.executor.look_ahead()
        elif watch.executor is not None:
            watch.executor.drop_ahead()
        await self._write(decision)
        watch.take_note(decision)
        return decision

    # --- decide, write, act -------------------------------------------------------------------

    def _take(self, observation: Observation, trial: Trial | None = None) -> Decision:
        """Decide, and let it take effect; nothing can come between the two.

        `trial` is of this memory; it is the decision unless more is known of by now.
        """
        now, monotonic = self._clock.now(), self._clock.monotonic()
        observation = replace(
            observation,
            clock_jump_s=self._drift.find_jump(now=now, monotonic=monotonic),
            untried=tuple(self._untried.values()),
        )
        if trial is not None and trial.observation == observation:
            decision = trial.decision
        else:
            decision = decide(self.memory, observation, self._policy)
        before, self.memory = self.memory, decision.memory
        self._settled_at, self._settled_until = monotonic, observation.now
        # What has taken effect is recorded and locked next, whatever trips over it here.
        with self._supervisor.supervise("following the switch"):
            self._switch.follow(decision, before=before)
        if self._on_taken is not None:
            with self._supervisor.supervise("on_taken"):
                self._on_taken(decision)
        return decision

    async def _settle(self, observation: Observation, *, is_forced: bool = False) -> None:
        """Decide, and write it."""
        await self._write(self._take(observation), is_forced=is_forced)

    async def _write(self, decision: Decision, *, is_forced: bool = False) -> None:
        """Write record and lock side by side, each within its own deadline."""
        await self._writer.write(decision, is_forced=is_forced)
        self._tell(decision)

    def _tell(self, decision: Decision) -> None:
        """Log and show a decision, once everything that matters more is under way."""
        self._supervisor.soon("log", self._decision_log.tell, decision, self._pace)
        if self._on_decision is not None:
            self._supervisor.soon("on_decision", self._on_decision, decision)

    # --- the operator, and the heartbeat ------------------------------------------------------

    async def _office_step(self) -> float:
        await self._supervisor.attend("requests", self.answer_requests)
        await self._supervisor.attend("heartbeat", self._watch_over)
        if self._tidying.is_free and self._has_time():
            self._tidying.begin()
        self._calm_check.begin_if_due()
        return self._request_poll_s

    def _find_subject(self, scope: ScopeId) -> Subject | None:
        """What is known of a scope for judging whether it could be closed; None while it is not."""
        if self._drives.open_incident(scope) is not None:
            return None
        return self._watches[scope].subject(self.memory, self._policy, now=self._clock.now())

    def _has_time(self) -> bool:
        """Whether nothing is read, closed or written, and nothing will be in the next moment."""
        soon = self._clock.monotonic() + TIDY_NEEDS_S
        return (
            not self._recorder.is_behind
            and all(watch.rests_until >= soon for watch in self._watches.values())
            and not any(map(self._gets_on, self._watches))
        )

    def _gets_on(self, scope: ScopeId) -> bool:
        """Whether something is being closed there, and not stuck for long."""
        incident = self._drives.open_incident(scope)
        now = self._clock.now()
        return incident is not None and now - incident.last_progress_at < STUCK_AFTER_S

    async def answer_requests(self, *, switch: SwitchSeen | None = None) -> None:
        """Decide what the operator has asked for since the last look, one after the other."""
        for request in await self._desk.due():
            observation = Observation(now=self._clock.now(), requests=(request,), switch=switch)
            # One that cannot be decided takes none of those behind it along: each is given once.
            with self._supervisor.supervise("requests"):
                await self._unbroken.do(self._settle(observation, is_forced=is_forced(request)))

    async def answer_alone(self) -> None:
        """Decide what was asked for where no guard watches, and tell Redis before the end."""
        await self.answer_requests(switch=await self._switch.first_look())
        await self.flush()
        await self._switch.stop(within_s=TELL_REDIS_WITHIN_S)

    async def look_at_switch(self) -> None:
        """Take in what both stores hold by now, once what Redis is being told is told.

        For a command that acts in the place of a guard, and ends.
        """
        await self._switch.stop(within_s=TELL_REDIS_WITHIN_S)
        seen = await self._switch.first_look()
        if seen is not None:
            await self._unbroken.do(self._settle(Observation(now=self._clock.now(), switch=seen)))
            await self._switch.stop(within_s=TELL_REDIS_WITHIN_S)

    async def _watch_over(self) -> None:
        """Decide what is due by the clock, and keep the lock alive between ticks.

        Whatever holds a scope's own task up, bots must not go on for ever on what was seen last.
        """
        now = self._clock.now()
        is_due = any(self._settled_until < at <= now for at in deadlines(self.memory, self._policy))
        if is_due or self._clock.monotonic() - self._settled_at >= HEARTBEAT_S:
            await self._unbroken.do(self._settle(Observation(now=now)))
