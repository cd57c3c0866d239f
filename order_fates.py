"""What became of the orders of one incident, as far as the venue has proved it.

Owns the outcomes of behaviour.md section 10: what a refusal teaches the next round, and the
look-up of every order whose fate is unknown. It sends nothing. Its rules:

- An order counts as in flight from before it is sent until the venue proves its fate, so that
  nothing is sent twice, whatever goes wrong in between.
- An order that was executed may not show in the next position read yet. Where a part must remain,
  a read that does not show it is not believed for a few seconds: acting on it would take that
  part too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import assert_never

from attempts import Got, Missed, attempt
from clock import Clock
from logger import Logger
from memory import OrderAction, OrderRecord
from model import (
    ClientOrderId,
    Done,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    RowKey,
    ScopeId,
    Symbol,
    Unknown,
)
from order_safety import Sold, VenueAnswers
from venues.protocol import Venue

LOOK_UP_AFTER_S = (0.1, 0.3, 0.9)
"""Seconds from the loss of an answer to each look-up of its order. So often "no such order" must
be heard: venues say it too early, right after an order."""
LOOK_UP_EVERY_S = 0.9
"""Between look-ups after those, and from sending on while an answer may still come."""
LOOK_UP_DEADLINE_S = 2.0
LOOK_UP_HOLDS_S = 0.3
"""Other rows wait so long for the look-ups of a round; a later answer counts in a later round."""
MODE_DEADLINE_S = 5.0
SHOWS_AT_ONCE_S = 0.25
"""Before that a read that does not show an execution yet has nothing sent again, whatever may
remain: it would be refused, and use up the order limit."""
SHOWS_WITHIN_S = 5.0
"""How long a position read may lag behind an execution before it is believed all the same."""
ZERO = Decimal(0)
OF_SIZE = (RefusalReason.BAD_PRECISION, RefusalReason.TOO_SMALL, RefusalReason.TOO_LARGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _InFlight:
    """An order that may have been executed or may still be.

    `before` is what was held when it was sent, None when an earlier run sent it. Times are
    monotonic: `lost_at` is None while its answer may still come, `look_at` when it is looked up
    next, `asked` how often it was in vain since its answer was lost. `record` is what the database
    is to hold of it.
    """

    record: OrderRecord
    key: RowKey
    quantity: Decimal
    before: Decimal | None
    lands_until: float
    look_at: float
    lost_at: float | None = None
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landed:
    """Executions that a position read must show: at most `expected` is left of the row."""

    expected: Decimal
    filled: Decimal
    landed_at: float
    believed_until: float


class OrderFates:
    """Learns from every answer and looks up what was not answered, for one incident.

    `doubts_limits` is True after a round in which the venue refused a size: its market rules are
    not what they were when they were read.
    """

    def __init__(
        self,
        *,
        scope: ScopeId,
        venue: Venue,
        clock: Clock,
        log: Logger,
        position_mode: PositionMode,
    ) -> None:
        self.position_mode = position_mode
        self.doubts_limits = False
        self._scope = scope
        self._venue = venue
        self._clock = clock
        self._log = log
        self._blocked: set[RowKey] = set()
        self._nothing: dict[RowKey, int] = {}
        self._too_large: dict[RowKey, Decimal] = {}
        self._too_small: dict[RowKey, Decimal] = {}
        self._in_flight: dict[ClientOrderId, _InFlight] = {}
        self._looking: dict[ClientOrderId, tuple[_InFlight, asyncio.Task[Outcome]]] = {}
        self._landed: dict[RowKey, _Landed] = {}
        self._unknown_until = float("-inf")
        self._sold: dict[RowKey, Sold | None] = {}
        self._is_whole = True

    @property
    def is_waiting(self) -> bool:
        """True while the fate of an order is not known."""
        return bool(self._in_flight) or self._clock.monotonic() < self._unknown_until

    @property
    def has_lost(self) -> bool:
        """True while there is an order whose fate only a look-up can tell."""
        is_lost = any(order.lost_at is not None for order in self._in_flight.values())
        return is_lost or self._clock.monotonic() < self._unknown_until

    @property
    def next_look_up_at(self) -> float:
        """The monotonic time at which the next order is due to be looked up."""
        return min((order.look_at for order in self._in_flight.values()), default=float("inf"))

    @property
    def is_blocked(self) -> bool:
        """True after a round in which a resting order stood in the way of a close."""
        return bool(self._blocked)

    def answers(
        self,
        held: Mapping[RowKey, Decimal],
        *,
        asked_at: float,
        must_partly_remain: Collection[RowKey],
    ) -> VenueAnswers:
        """What the next round has to respect, given quantities asked for at that monotonic time.

        An order that was looked up in vain may be sent again where the whole position goes: a
        close that arrives twice finds nothing left. Where a part must remain it would take that
        part, so such a row waits until the first order can no longer land.
        """
        in_flight: dict[RowKey, Decimal] = {}
        for order in self._in_flight.values():
            if order.asked < len(LOOK_UP_AFTER_S) or order.key in must_partly_remain:
                in_flight[order.key] = in_flight.get(order.key, ZERO) + order.quantity
        for key, landed in self._landed.items():
            until = landed.landed_at + SHOWS_AT_ONCE_S
            if key in must_partly_remain:
                until = landed.believed_until
            unseen = min(landed.filled, held.get(key, ZERO) - landed.expected)
            if asked_at < until and unseen > 0:
                in_flight[key] = in_flight.get(key, ZERO) + unseen
        if asked_at < self._unknown_until:
            in_flight |= {key: held.get(key, ZERO) for key in must_partly_remain}
        return VenueAnswers(
            blocked=tuple(sorted(self._blocked)),
            too_large=dict(self._too_large),
            too_small=dict(self._too_small),
            in_flight=in_flight,
            sold=self._sold | dict.fromkeys(o.key for o in self._in_flight.values())
            if self._is_whole
            else None,
        )

    def is_in_flight(self, record: OrderRecord) -> bool:
        """True while the fate of this order is not known."""
        return record.client_id in self._in_flight

    def inherit(self, earlier: OrderFates) -> None:
        """Take over the orders of the incident that this one replaces."""
        self._in_flight.update(earlier._in_flight)
        self._looking.update(earlier._looking)
        self._landed.update(earlier._landed)
        self._unknown_until = earlier._unknown_until
        self._sold.update(earlier._sold)
        self._is_whole = earlier._is_whole

    def miss(self) -> None:
        """Nobody can say what an earlier run sent: any of it may land for as long as orders may."""
        self._unknown_until = self._clock.monotonic() + self._venue.lands_within_s
        self._is_whole = False

    def recall(self, records: Sequence[OrderRecord]) -> None:
        """Take up closes of an earlier run: without a recorded outcome, or executed just now."""
        self._is_whole = False
        now = self._clock.now()
        for record in records:
            match record.outcome:
                case None | Unknown() | Refused(reason=RefusalReason.DUPLICATE_ID):
                    age_s = max(0.0, now - record.created_at)
                    self._expect(
                        record, before=None, lands_within_s=self._venue.lands_within_s - age_s
                    )
                    self._lose(record.client_id)
                case Done() as done:
                    age_s = max(0.0, now - (record.answered_at or record.created_at))
                    if age_s < SHOWS_WITHIN_S:
                        self._expect(record, before=None, lands_within_s=0.0)
                        self._land(record.client_id, done, shows_within_s=SHOWS_WITHIN_S - age_s)
                case _:
                    pass

    def sending(self, records: Sequence[OrderRecord], held: Mapping[RowKey, Decimal]) -> None:
        """Take note of what is about to be sent, and of what is held before it."""
        self._blocked.clear()
        self.doubts_limits = False
        for record in records:
            if record.key is not None:
                before = held.get(record.key, ZERO)
                self._expect(record, before=before, lands_within_s=self._venue.lands_within_s)

    def _expect(
        self, record: OrderRecord, *, before: Decimal | None, lands_within_s: float
    ) -> None:
        if record.action is OrderAction.CLOSE and record.key is not None:
            self._in_flight[record.client_id] = _InFlight(
                record=record,
                key=record.key,
                quantity=record.quantity,
                before=before,
                lands_until=self._clock.monotonic() + lands_within_s,
                look_at=self._clock.monotonic() + LOOK_UP_EVERY_S,
            )

    def _lose(self, client_id: ClientOrderId) -> None:
        """No answer will come any more: only the venue's word for it counts."""
        order = self._in_flight.get(client_id)
        if order is not None:
            now = self._clock.monotonic()
            look_at = now + LOOK_UP_AFTER_S[0]
            self._in_flight[client_id] = replace(order, lost_at=now, look_at=look_at)

    async def learn(self, sent: Sequence[OrderRecord]) -> float:
        """Take in outcomes as they come; returns what is left of the longest pause asked for, in s.

        It counts from the answer: those of one round may be taken in seconds apart.
        """
        pause_s, now = 0.0, self._clock.now()
        for record in sent:
            if (order := self._in_flight.get(record.client_id)) is not None:
                self._in_flight[record.client_id] = replace(order, record=record)
            match record.outcome:
                case Refused() as refused:
                    age_s = now - (now if record.answered_at is None else record.answered_at)
                    pause_s = max(pause_s, (refused.retry_after_s or 0.0) - max(0.0, age_s))
                    self._learn_refusal(record, refused)
                case Unknown() as unknown:
                    self._log.warning(
                        "order_unknown",
                        message=f"{_say(record)}: its fate is unknown",
                        **_fields_of(record),
                        client_id=record.client_id,
                        why=unknown.cause,
                    )
                    self._lose(record.client_id)
                case Done() as done:
                    if record.key is not None:
                        self._nothing.pop(record.key, None)
                    filled = "" if done.filled is None else f", {done.filled:f} filled"
                    self._log.info(
                        "order_done",
                        message=f"{_say(record)}: done{filled}",
                        **_fields_of(record),
                        filled=done.filled,
                    )
                    self._land(record.client_id, done)
                case None:
                    pass
                case _:
                    assert_never(record.outcome)
        reasons = {r.outcome.reason for r in sent if isinstance(r.outcome, Refused)}
        if RefusalReason.WRONG_POSITION_MODE in reasons:
            await self._detect_position_mode()
        return pause_s

    def _learn_refusal(self, record: OrderRecord, refused: Refused) -> None:
        self._log.warning(
            "order_refused",
            message=f"{_say(record)}: refused as {refused.reason.value}",
            **_fields_of(record),
            reason=refused.reason.value,
            code=refused.code,
            why=refused.message,
        )
        if refused.reason is RefusalReason.DUPLICATE_ID:
            # A duplicate means that an earlier request under this id landed, unanswered.
            self._lose(record.client_id)
        else:
            self._in_flight.pop(record.client_id, None)
        if record.key is None:
            return
        self.doubts_limits = self.doubts_limits or refused.reason in OF_SIZE
        match refused.reason:
            case RefusalReason.RESTING_ORDER_IN_THE_WAY:
                self._blocked.add(record.key)
            case RefusalReason.NOTHING_TO_REDUCE:
                # Said again of what a read has shown meanwhile: venues say it of a position that
                # resting orders claim whole, too.
                if self._nothing.setdefault(record.key, record.round_number) < record.round_number:
                    self._blocked.add(record.key)
            case RefusalReason.TOO_LARGE:
                known = self._too_large.get(record.key, record.quantity)
                self._too_large[record.key] = min(known, record.quantity)
            case RefusalReason.TOO_SMALL:
                known = self._too_small.get(record.key, record.quantity)
                self._too_small[record.key] = max(known, record.quantity)
            case _:
                pass

    async def _detect_position_mode(self) -> None:
        found = await attempt(
            self._venue.fetch_position_mode(self._scope),
            within_s=MODE_DEADLINE_S,
            what="position mode",
        )
        if isinstance(found, Missed):
            self._log.warning("position_mode_unread", scope=self._scope, why=found.why)
        else:
            self.position_mode = found.value

    def _land(
        self, client_id: ClientOrderId, done: Done, *, shows_within_s: float = SHOWS_WITHIN_S
    ) -> None:
        """An order is settled: what it executed must show in the positions.

        What was held before an order of an earlier run nobody knows, so no read proves that its
        execution shows; only time does.
        """
        order = self._in_flight.pop(client_id, None)
        if order is None:
            return
        self._count(order.key, done)
        now = self._clock.monotonic()
        filled = order.quantity if done.filled is None else done.filled
        expected = ZERO if order.before is None else order.before - filled
        believed_until = now + shows_within_s
        known = self._landed.get(order.key)
        if known is not None and now < known.believed_until:
            # Another part of the same round, or what an earlier round left to be seen.
            expected = min(known.expected - filled, expected)
            filled += known.filled
            believed_until = max(known.believed_until, believed_until)
        self._landed[order.key] = _Landed(
            expected=expected, filled=filled, landed_at=now, believed_until=believed_until
        )

    def _count(self, key: RowKey, done: Done) -> None:
        """Add up what the sales of a row came to; one that tells less than all of it spoils it."""
        known = self._sold.get(key, Sold())
        if known is None or done.filled is None or done.brought is None:
            self._sold[key] = None
            return
        self._sold[key] = Sold(
            quantity=known.quantity + done.filled, brought=known.brought + done.brought
        )

    async def look_up(self) -> tuple[OrderRecord, ...]:
        """Ask for the orders that are due; the position read that follows shows their effect.

        Those that the venue is slow to tell of are learnt before a later position read. Returns
        what is to be recorded: outcomes that were found, and that none will be.
        """
        learnt = self._take_look_ups()
        now = self._clock.monotonic()
        for client_id, order in tuple(self._in_flight.items()):
            if order.lost_at is None and now >= order.lands_until:
                # Its answer was mislaid: it would have come by now, and nobody brings it again.
                self._lose(client_id)
            if order.look_at <= now and client_id not in self._looking:
                task = asyncio.create_task(self._find(client_id, order.key.symbol))
                self._looking[client_id] = (order, task)
        if self._looking:
            tasks = [task for _, task in self._looking.values()]
            await asyncio.wait(tasks, timeout=LOOK_UP_HOLDS_S)
            learnt += self._take_look_ups()
        return tuple(learnt)

    def _take_look_ups(self) -> list[OrderRecord]:
        learnt: list[OrderRecord] = []
        for client_id, (asked_for, task) in tuple(self._looking.items()):
            if task.done():
                del self._looking[client_id]
                was_lost = asked_for.lost_at is not None
                record = self._learn_fate(client_id, task.result(), was_lost=was_lost)
                learnt += [] if record is None else [record]
        return learnt

    def _learn_fate(
        self, client_id: ClientOrderId, fate: Outcome, *, was_lost: bool
    ) -> OrderRecord | None:
        """Take in one look-up; it says nothing of an order whose answer could still come.

        An order that the venue still does not know when it can no longer land is forgotten. Returns
        what is to be recorded of it, if anything.
        """
        order = self._in_flight.get(client_id)
        if order is None:
            return None
        now = self._clock.monotonic()
        if isinstance(fate, Done):
            self._log.info(
                "order_found",
                scope=self._scope,
                message=f"{order.key.symbol}: an order of unknown fate did arrive",
                client_id=client_id,
            )
            # It may still be at work, so all of it counts as executed until a read shows it.
            at_work = replace(fate, filled=None)
            self._land(client_id, at_work)
            is_whole = fate.filled == order.quantity
            return self._answered(order.record, fate if is_whole else at_work)
        if not was_lost or order.lost_at is None:
            look_at = order.look_at if order.lost_at is not None else now + LOOK_UP_EVERY_S
            self._in_flight[client_id] = replace(order, look_at=look_at)
            return None
        if order.asked + 1 >= len(LOOK_UP_AFTER_S) and now >= order.lands_until:
            del self._in_flight[client_id]
            never = Unknown(cause="sent by an earlier run; the venue knows no such order")
            return self._answered(order.record, never) if order.record.outcome is None else None
        asked = order.asked + 1
        look_at = now + LOOK_UP_EVERY_S
        if asked < len(LOOK_UP_AFTER_S):
            look_at = max(now, order.lost_at + LOOK_UP_AFTER_S[asked])
        self._in_flight[client_id] = replace(order, asked=asked, look_at=look_at)
        return None

    def _answered(self, record: OrderRecord, outcome: Outcome) -> OrderRecord:
        return replace(record, outcome=outcome, answered_at=self._clock.now())

    async def _find(self, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        found = await attempt(
            self._venue.find_order(self._scope, client_id, symbol),
            within_s=LOOK_UP_DEADLINE_S,
            what="order look-up",
        )
        return found.value if isinstance(found, Got) else Unknown(cause=found.why)


def _say(record: OrderRecord) -> str:
    """An order or a cancel in a few words."""
    return f"{record.action.value} {record.symbol} {record.order_side} {record.quantity:f}"


def _fields_of(record: OrderRecord) -> dict[str, object]:
    """What the log says of an order or a cancel, whatever became of it."""
    return {
        "scope": record.scope,
        "incident_id": record.incident_id,
        "action": record.action.value,
        "symbol": record.symbol,
        "side": record.order_side,
        "quantity": record.quantity,
    }
