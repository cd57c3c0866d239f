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
from order_safety import VenueAnswers
from venues.protocol import Venue

LOOK_UPS = 3
"""So often "no such order" must be heard: venues say it too early, right after an order."""
LOOK_UP_DEADLINE_S = 2.0
"""Other rows wait for this look, so it is short; it is repeated with every round."""
MODE_DEADLINE_S = 5.0
FATE_KNOWN_AFTER_S = 15.0
"""Past the venue's receive window (10 s) a request that was never seen can no longer land."""
SHOWS_WITHIN_S = 5.0
"""How long a position read may lag behind an execution before it is believed all the same."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _InFlight:
    """An order that may have been executed or may still be.

    `before` is what was held when it was sent, None when an earlier run sent it. `lands_until` is
    on the monotonic clock. `record` is what the database is to hold of it.
    """

    record: OrderRecord
    key: RowKey
    quantity: Decimal
    before: Decimal | None
    lands_until: float
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landed:
    """Executions that a position read must show: at most `expected` is left of the row."""

    expected: Decimal
    filled: Decimal
    believed_until: float


class OrderFates:
    """Learns from every answer and looks up what was not answered, for one incident."""

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
        self._scope = scope
        self._venue = venue
        self._clock = clock
        self._log = log
        self._blocked: set[RowKey] = set()
        self._too_large: dict[RowKey, Decimal] = {}
        self._too_small: dict[RowKey, Decimal] = {}
        self._in_flight: dict[ClientOrderId, _InFlight] = {}
        self._landed: dict[RowKey, _Landed] = {}

    @property
    def is_waiting(self) -> bool:
        """True while the fate of an order is not known."""
        return bool(self._in_flight)

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
            if order.asked < LOOK_UPS or order.key in must_partly_remain:
                in_flight[order.key] = in_flight.get(order.key, ZERO) + order.quantity
        for key in must_partly_remain:
            unseen = self._unseen(key, held.get(key, ZERO), asked_at=asked_at)
            if unseen > 0:
                in_flight[key] = in_flight.get(key, ZERO) + unseen
        return VenueAnswers(
            blocked=tuple(sorted(self._blocked)),
            too_large=dict(self._too_large),
            too_small=dict(self._too_small),
            in_flight=in_flight,
        )

    def _unseen(self, key: RowKey, held: Decimal, *, asked_at: float) -> Decimal:
        """How much was executed that a position read of `held` does not show yet."""
        landed = self._landed.get(key)
        if landed is None or asked_at >= landed.believed_until:
            return ZERO
        return min(landed.filled, max(ZERO, held - landed.expected))

    def inherit(self, earlier: OrderFates) -> None:
        """Take over the orders of the incident that this one replaces."""
        self._in_flight.update(earlier._in_flight)
        self._landed.update(earlier._landed)

    def recall(self, records: Sequence[OrderRecord]) -> None:
        """Take up closes of an earlier run: without a recorded outcome, or executed just now."""
        now = self._clock.now()
        for record in records:
            match record.outcome:
                case None | Unknown() | Refused(reason=RefusalReason.DUPLICATE_ID):
                    age_s = max(0.0, now - record.created_at)
                    self._expect(record, before=None, lands_within_s=FATE_KNOWN_AFTER_S - age_s)
                case Done() as done:
                    age_s = max(0.0, now - (record.answered_at or record.created_at))
                    if age_s < SHOWS_WITHIN_S:
                        self._expect(record, before=None, lands_within_s=0.0)
                        self._land(record.client_id, done, shows_within_s=SHOWS_WITHIN_S - age_s)
                case _:
                    pass

    def sending(self, records: Sequence[OrderRecord], held: Mapping[RowKey, Decimal]) -> None:
        """Take note of what is about to be sent, and of what is held before it."""
        for record in records:
            if record.key is not None:
                before = held.get(record.key, ZERO)
                self._expect(record, before=before, lands_within_s=FATE_KNOWN_AFTER_S)

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
            )

    async def learn(self, sent: Sequence[OrderRecord]) -> float:
        """Take in the outcomes of a round; returns the longest pause the venue asked for, in s."""
        pause_s = 0.0
        self._blocked.clear()
        for record in sent:
            if (order := self._in_flight.get(record.client_id)) is not None:
                self._in_flight[record.client_id] = replace(order, record=record)
            match record.outcome:
                case Refused() as refused:
                    pause_s = max(pause_s, refused.retry_after_s or 0.0)
                    self._learn_refusal(record, refused)
                case Unknown() as unknown:
                    self._log.warning(
                        "order_unknown",
                        message=f"{_say(record)}: its fate is unknown",
                        **_fields_of(record),
                        client_id=record.client_id,
                        why=unknown.cause,
                    )
                case Done() as done:
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
        if refused.reason is not RefusalReason.DUPLICATE_ID:
            # A duplicate means that an earlier request under this id landed, unanswered.
            self._in_flight.pop(record.client_id, None)
        if record.key is None:
            return
        match refused.reason:
            case RefusalReason.RESTING_ORDER_IN_THE_WAY:
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
            expected=expected, filled=filled, believed_until=believed_until
        )

    async def look_up(self) -> tuple[OrderRecord, ...]:
        """Ask once for every order in flight; the position read that follows shows its effect.

        An order that the venue still does not know when it can no longer land is forgotten. Returns
        what is to be recorded: outcomes that were found, and that none will be.
        """
        waiting = tuple(self._in_flight.items())
        fates = await asyncio.gather(
            *(self._find(client_id, order.key.symbol) for client_id, order in waiting)
        )
        now = self._clock.monotonic()
        learnt: list[OrderRecord] = []
        for (client_id, order), fate in zip(waiting, fates, strict=True):
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
                learnt.append(self._answered(order.record, fate if is_whole else at_work))
            elif order.asked + 1 >= LOOK_UPS and now >= order.lands_until:
                del self._in_flight[client_id]
                if order.record.outcome is None:
                    never = Unknown(cause="sent by an earlier run; the venue knows no such order")
                    learnt.append(self._answered(order.record, never))
            else:
                self._in_flight[client_id] = replace(order, asked=order.asked + 1)
        return tuple(learnt)

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
