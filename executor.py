"""Drives one account to its close targets, round by round.

Owns sending: every order of the guard leaves from here. It believes only what it reads: each
round reads positions first and sends only the excess over the targets (behaviour.md section 10).
It knows nothing of drawdowns or stages; `order_safety` says what an order may look like,
`order_fates` what became of those that were sent, `close_records` how it is written down. Rules:

- A round has deadlines at every step, and a drive ends after a few seconds, so that its account
  is observed again and a higher stage can take over.
- Between any two steps the incident may have been ended by somebody: nothing is sent for it then.
  One that takes over waits for no step of the other that only waits itself.
- A kill waits for no write, and whatever it finds held beside its targets is told at once.
- A position read that failed, for whatever reason, is never "flat", nor does it prove that a
  target no longer holds: it proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

from attempts import Got, Missed, attempt, attempt_unless, nap
from clock import Clock
from close_records import (
    aims_of,
    cancel_record,
    close_record,
    is_told,
    say_round,
    was_taken,
)
from closing_work import LEAST_PAUSE_S, MAX_INLINE_PAUSE_S, ClosingWork
from errors import InvariantViolation
from eyes import Eyes
from logger import Logger
from memory import Incident, IncidentReport, OrderAction, OrderRecord, Records
from model import (
    IncidentId,
    MarketLimits,
    Position,
    PositionMode,
    RefusalReason,
    Refused,
    RowKey,
    ScopeId,
    Stage,
    Symbol,
    Unknown,
)
from order_fates import OrderFates
from order_safety import RoundPlan, plan_round
from order_sender import OrderSender
from venues.protocol import Venue

CONFIRM_AFTER_S = 5.0
"""Targets must hold in two position reads this far apart (behaviour.md section 10)."""
LEFTOVERS_WITHIN_S = 60.0
"""Orders that cannot be listed or cancelled delay the end of a closed incident by no more."""
DRIVE_WITHIN_S = 10.0
MAX_ROUNDS_PER_DRIVE = 12
"""Then the account is observed again; the next tick goes on."""
TIMER_S = 0.001
"""A timer may go off so much before its time; the round it is for must not be missed for that."""
LOG_EVERY = 20
"""Of failed reads in a row, the first and every so many are logged."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveRules:
    """What the book's policy says about carrying an incident out."""

    limits: Mapping[Symbol, MarketLimits]
    position_mode: PositionMode
    cancel_entry_orders: bool = True
    untouchable: Collection[Symbol] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What one round came to; `pause_s` before the next one, None when the tick should go on.

    `only_waits` says that the last answer ends the pause.
    """

    incident: Incident
    pause_s: float | None
    is_done: bool = False
    notes: tuple[str, ...] = ()
    found: tuple[Position, ...] = ()
    only_waits: bool = False


class Executor:
    """Closes what incidents ask for on one scope. There is none in a dry run.

    `record` writes records in order and tells whether they were safe within the deadline.
    `load_orders` reads the order records of an incident, and of any other since a time, to learn
    what an earlier run sent;
    `resumed` names the incidents that an earlier run left open on this scope; with
    `has_unknown_orders` one may have sent what is in no record, which may still land.
    """

    def __init__(
        self,
        *,
        scope: ScopeId,
        venue: Venue,
        clock: Clock,
        log: Logger,
        record: Callable[[Records, float], Coroutine[Any, Any, bool]],
        load_orders: Callable[[IncidentId, float], Awaitable[Sequence[OrderRecord]]],
        store_deadline_s: float = 1.0,
        resumed: Collection[IncidentId] = (),
        has_unknown_orders: bool = False,
    ) -> None:
        self._scope = scope
        self._venue = venue
        self._eyes = Eyes(scope=scope, venue=venue, clock=clock, log=log)
        self._clock = clock
        self._log = log
        self._record = record
        self._load_orders = load_orders
        self._store_deadline_s = store_deadline_s
        self._resumed = tuple(resumed)
        unknown_s = venue.lands_within_s if has_unknown_orders else 0.0
        self._unknown_until = clock.monotonic() + unknown_s
        self._work: dict[IncidentId, ClosingWork] = {}
        self._in_hand = asyncio.Lock()
        self._driven: Incident | None = None
        self._overtaken = asyncio.Event()
        self._finishing = asyncio.Event()

    @property
    def doubts_limits(self) -> bool:
        """True while the venue refuses sizes that fit its market rules as they were read."""
        return any(work.fates.doubts_limits for work in self._work.values())

    @property
    def is_blind(self) -> bool:
        """True from a position read that failed until the next good one: no round gets further."""
        return any(work.failed_reads for work in self._work.values())

    def look_ahead(self) -> None:
        """Begin to read what the first round needs, while its incident is decided and written.

        Not where something was sent before: its fate is looked up before positions are read.
        """
        if not (self._work or self._resumed or self._finishing.is_set()):
            self._eyes.look_ahead()

    def drop_ahead(self) -> None:
        """Give up what `look_ahead` has begun, unless an incident is worked on: none was opened."""
        if not self._work:
            self._eyes.drop_ahead()

    def get_ready(self, closes: int) -> None:
        """Have the venue prepare for so many closes: a stage is being confirmed."""
        self._venue.make_ready(closes)

    def finish(self) -> None:
        """Begin no further round; the one in hand ends as usual."""
        self._finishing.set()
        self.drop_ahead()
        for work in self._work.values():
            work.sender.is_done.set()

    async def settle(self) -> None:
        """Wait for the answers that are still to come and write them; for the end of a run."""
        async with self._in_hand:
            for work in self._work.values():
                await work.sender.wait_for_all()
                await self._take_answers(work)

    async def drive(
        self,
        incident: Incident,
        *,
        rules: DriveRules,
        is_current: Callable[[Incident], bool],
        is_recorded: bool = True,
        within_s: float = DRIVE_WITHIN_S,
        not_before: float = float("-inf"),
    ) -> IncidentReport | None:
        """Work on the incident until its targets hold or nothing more helps for now.

        Returns how it stands, or None when there is nothing to tell or somebody ended it.
        `is_recorded=False` says that its record is not safe yet: it waits for no write then. No
        round begins later than `within_s` from now, nor before the monotonic time `not_before`,
        which is when the venue allows requests again.
        """
        if incident.dry_run:
            raise InvariantViolation("a dry-run incident reached the executor")
        if not is_current(incident):
            return None
        if self._driven is not None and aims_of(self._driven) != aims_of(incident):
            self._overtaken.set()
        async with self._in_hand:
            self._overtaken.clear()
            if not is_current(incident):
                return None
            self._driven = incident
            ends_at = self._clock.monotonic() + within_s
            work = await self._work_of(incident, rules)
            work.waits_for_store = work.waits_for_store and is_recorded
            begins_at = max(work.not_before, not_before)
            step = _Step(incident=incident, pause_s=None)
            notes: tuple[str, ...] = ()
            for _ in range(MAX_ROUNDS_PER_DRIVE):
                is_early = self._clock.monotonic() < begins_at - TIMER_S
                if self._finishing.is_set() or is_early:
                    break
                result = await self._round(step.incident, work, rules=rules, is_current=is_current)
                if result is None or not is_current(incident):
                    return None
                step = result
                work.note_told(step.found)
                notes += step.notes
                if step.pause_s is None:
                    break
                begins_at = work.not_before = self._clock.monotonic() + step.pause_s
                if step.pause_s > MAX_INLINE_PAUSE_S or begins_at > ends_at:
                    break
                wakes = work.sender.is_done if step.only_waits else self._finishing
                await self._heed(nap(self._clock, step.pause_s, unless=wakes))
                begins_at = work.not_before = min(begins_at, self._clock.monotonic())
            return self._report(incident, step, notes)

    async def _heed(self, work: Coroutine[Any, Any, Value]) -> Value | None:
        """Wait for what may be given up when another incident takes over; None then."""
        return await attempt_unless(self._overtaken, work)

    def _report(
        self, before: Incident, step: _Step, notes: tuple[str, ...]
    ) -> IncidentReport | None:
        """How the incident stands after a drive, None when the drive changed nothing."""
        if step.is_done:
            self._work.pop(before.incident_id, None)
        if step.incident == before and not (step.is_done or notes or step.found):
            return None
        return IncidentReport(
            incident=step.incident, is_done=step.is_done, notes=notes, found=step.found
        )

    async def _work_of(self, incident: Incident, rules: DriveRules) -> ClosingWork:
        work = self._work.get(incident.incident_id)
        if work is None:
            earlier = next(iter(self._work.values()), None)
            fates = OrderFates(
                scope=self._scope,
                venue=self._venue,
                clock=self._clock,
                log=self._log,
                position_mode=rules.position_mode,
            )
            if earlier is not None:
                # A higher stage takes over: what was sent before may still land.
                fates.inherit(earlier.fates)
            work = ClosingWork(
                scope=self._scope,
                fates=fates,
                sender=OrderSender(venue=self._venue, clock=self._clock)
                if earlier is None
                else earlier.sender,
                believed_mode=rules.position_mode,
                rounds=incident.rounds,
                waits_for_store=incident.stage is not Stage.LOCKDOWN,
            )
            if self._resumed:
                await self._recall(incident, work)
            if self._clock.monotonic() < self._unknown_until:
                work.fates.miss()
            self._work = {incident.incident_id: work}
        if rules.position_mode is not work.believed_mode:
            # A reading has shown another mode since; until then a refused order knew better.
            work.believed_mode = work.fates.position_mode = rules.position_mode
        return work

    async def _recall(self, incident: Incident, work: ClosingWork) -> None:
        """Learn what an earlier run sent, waiting no longer than for a write.

        A higher stage may have taken over, in this run or just before the earlier one died: what
        was sent for the other incident may land all the same. Not all of it need be on disk: a run
        that waited for no write may have died before it. But for the first two, rounds are never
        closer than a pause, so as many are left out as there can have been, and no id is used
        twice.
        """
        since = self._clock.now() - self._venue.lands_within_s

        async def load() -> Sequence[OrderRecord]:
            found = [await self._load_orders(one, since) for one in self._resumed]
            return [order for orders in found for order in orders if order.scope == self._scope]

        sent = await attempt(load(), within_s=self._store_deadline_s, what="order records")
        if isinstance(sent, Got):
            work.fates.recall(sent.value)
            work.rounds = max(work.rounds, *(order.round_number for order in sent.value), 0)
        else:
            work.fates.miss()
            self._log.warning("orders_unreadable", scope=self._scope, why=sent.why)
        age_s = max(0.0, self._clock.now() - incident.opened_at)
        work.rounds += 2 + int(age_s / LEAST_PAUSE_S)
        self._resumed = ()

    # --- one round ----------------------------------------------------------------------------

    async def _round(
        self,
        incident: Incident,
        work: ClosingWork,
        *,
        rules: DriveRules,
        is_current: Callable[[Incident], bool],
    ) -> _Step | None:
        """Read, send the excess, learn the outcomes; None when somebody ended the incident."""
        late = await self._take_answers(work)
        learnt = await work.fates.look_up()
        if learnt:
            # Nobody waits: what was found only informs.
            await self._record(Records(orders=learnt), 0.0)
        seen = await self._heed(
            self._eyes.look(
                incident, is_first=not work.rounds_here, needs_orders=work.fates.is_blocked
            )
        )
        if isinstance(seen, Missed):
            pause_s = max(work.read_pause(), seen.retry_after_s)
            if work.failed_reads % LOG_EVERY == 1:
                self._log.warning("round_read_failed", scope=self._scope, why=seen.why)
            return _Step(incident=incident, pause_s=pause_s)
        work.failed_reads = 0
        if seen is None or not is_current(incident):
            return None
        work.rounds_here += 1
        work.rounds = max(work.rounds, incident.rounds) + 1
        incident = replace(incident, rounds=work.rounds)
        plan = plan_round(
            incident=incident,
            scope=self._scope,
            positions=seen.positions,
            orders=seen.orders,
            limits=rules.limits,
            position_mode=work.fates.position_mode,
            round_number=incident.rounds,
            cancel_entry_orders=rules.cancel_entry_orders,
            untouchable=rules.untouchable,
            answers=work.fates.answers(
                seen.held,
                asked_at=seen.asked_at,
                must_partly_remain=tuple(t.key for t in incident.targets if t.may_remain > 0),
            ),
        )
        now = self._clock.now()
        incident = work.note_progress(incident, plan, held=seen.held, now=now)
        incident = work.note_hold(incident, plan, asked_at=seen.asked_at, now=now)
        notes = say_round(plan)
        found = work.news_of_positions(incident, seen.positions, spared=rules.untouchable)
        if found and plan.holds:
            # Their stops stay until they are targets themselves; the next round lists them again.
            plan, work.rounds_here = replace(plan, cancels=()), 0
        asked_pause_s = late
        if plan.closes or plan.cancels:
            if not await self._send(incident, plan, work, held=seen.held, is_current=is_current):
                return None
            asked_pause_s = max(late, await self._take_answers(work))
        if found:
            return _Step(incident=incident, pause_s=None, notes=work.news(notes), found=found)
        if work.held_from is not None and not seen.is_listed:
            # The targets hold and leftovers may wait: the next tick lists the orders again.
            return _Step(incident=incident, pause_s=None, notes=work.news(notes))
        return self._judge(incident, plan, work, notes=notes, asked_pause_s=asked_pause_s)

    def _judge(
        self,
        incident: Incident,
        plan: RoundPlan,
        work: ClosingWork,
        *,
        notes: tuple[str, ...],
        asked_pause_s: float,
    ) -> _Step:
        """What comes after a round: done, another look at the next tick, or another round."""
        if work.held_from is None:
            pause_s = max(asked_pause_s, work.pause_after(plan, monotonic=self._clock.monotonic()))
            return _Step(
                incident=incident,
                pause_s=pause_s,
                notes=work.news(notes),
                only_waits=work.only_waits(plan) and not asked_pause_s,
            )
        held_s = work.held_until - work.held_from
        is_clean = plan.orders_known and not plan.cancels
        if not is_clean and held_s >= LEFTOVERS_WITHIN_S:
            what = f"{len(plan.cancels)} open orders could not be cancelled"
            notes += (what if plan.orders_known else "the open orders could not be read",)
        elif not is_clean:
            pause_s = max(asked_pause_s, work.grown_pause())
            return _Step(incident=incident, pause_s=pause_s, notes=work.news(notes))
        is_done = held_s >= CONFIRM_AFTER_S and not work.sender.is_waiting
        return _Step(incident=incident, pause_s=None, is_done=is_done, notes=work.news(notes))

    # --- sending ------------------------------------------------------------------------------

    async def _send(
        self,
        incident: Incident,
        plan: RoundPlan,
        work: ClosingWork,
        *,
        held: Mapping[RowKey, Decimal],
        is_current: Callable[[Incident], bool],
    ) -> bool:
        """Write the intents, then send cancels and closes at once and wait for the answers.

        False when the incident ended while the intents were written: nothing was sent then.
        """
        now = self._clock.now()
        records = tuple(close_record(incident, close, now) for close in plan.closes) + tuple(
            cancel_record(
                order,
                incident_id=incident.incident_id,
                round_number=incident.rounds,
                number=number,
                now=now,
            )
            for number, order in enumerate(plan.cancels, start=1)
        )
        await self._write(Records(orders=records, incidents=(incident,)), work)
        if not is_current(incident):
            unsent = Refused(reason=RefusalReason.NOT_REACHED, code="", message="not sent: ended")
            now = self._clock.now()
            ended = tuple(replace(each, outcome=unsent, answered_at=now) for each in records)
            await self._write(Records(orders=ended), work)
            return False
        work.fates.sending(records, held)
        work.sender.send(records, closes=plan.closes, cancels=plan.cancels)
        await self._heed(work.sender.wait())
        return True

    async def _take_answers(self, work: ClosingWork) -> float:
        """Write and learn the answers that have come; returns the pause the venue asked for."""
        # A silence says less than what a look-up has found of the same order meanwhile.
        answered = tuple(
            record
            for record in work.sender.collect()
            if record.action is not OrderAction.CLOSE
            or not isinstance(record.outcome, Unknown)
            or work.fates.is_in_flight(record)
        )
        work.is_all_taken = bool(answered) and all(was_taken(record) for record in answered)
        if not answered:
            return 0.0
        is_certain = not (work.sender.is_waiting or work.fates.has_lost)
        if work.is_all_taken and is_certain and not self._finishing.is_set():
            # What they left is read while they are written.
            self._eyes.read_ahead()
        await self._write(Records(orders=answered), work)
        taken = [record for record in answered if was_taken(record)]
        if taken:
            work.note_taken(is_told=any(is_told(record) for record in taken))
        return await self._heed(work.fates.learn(answered)) or 0.0

    # --- records ------------------------------------------------------------------------------

    async def _write(self, records: Records, work: ClosingWork) -> None:
        """Record within the deadline; after one miss this incident waits for no further write."""
        if not work.waits_for_store or self._overtaken.is_set():
            await self._record(records, 0.0)
            return
        work.waits_for_store = bool(await self._heed(self._record(records, self._store_deadline_s)))
