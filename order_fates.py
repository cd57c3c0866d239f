"""What became of the orders of one incident, as far as the venue has proved it.

Owns the outcomes of behaviour.md section 10: what a refusal teaches the next round, and the
look-up of every order whose fate is unknown. It sends nothing. An order that may still land
counts as in flight, so that nothing is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import assert_never

from clock import Clock
from errors import ObservationError
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

LOOK_UP_PAUSES_S = (0.1, 0.3, 0.9)
LOOK_UP_DEADLINE_S = 5.0
FATE_KNOWN_AFTER_S = 15.0
"""Past the venue's receive window (10 s) a request that was never seen can no longer land."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _InFlight:
    """An order that may have been executed or may still be."""

    key: RowKey
    quantity: Decimal
    lands_until: float
    was_looked_up: bool = False


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

    def answers(self, *, must_partly_remain: Collection[RowKey]) -> VenueAnswers:
        """What the next round has to respect.

        An order that was looked up in vain may be sent again where the whole position goes: a
        close that arrives twice finds nothing left. Where a part must remain it would take that
        part, so such a row waits until the first order can no longer land.
        """
        in_flight: dict[RowKey, Decimal] = {}
        for order in self._in_flight.values():
            if not order.was_looked_up or order.key in must_partly_remain:
                in_flight[order.key] = in_flight.get(order.key, Decimal(0)) + order.quantity
        return VenueAnswers(
            blocked=tuple(sorted(self._blocked)),
            too_large=dict(self._too_large),
            too_small=dict(self._too_small),
            in_flight=in_flight,
        )

    def inherit(self, earlier: OrderFates) -> None:
        """Take over the orders in flight of the incident that this one replaces."""
        self._in_flight.update(earlier._in_flight)

    def recall(self, records: Sequence[OrderRecord]) -> None:
        """Take up closes of an earlier run whose outcome was never recorded."""
        for record in records:
            if record.outcome is None or isinstance(record.outcome, Unknown):
                self._remember_in_flight(record)

    def _remember_in_flight(self, record: OrderRecord) -> None:
        if record.action is OrderAction.CLOSE and record.key is not None:
            self._in_flight[record.client_id] = _InFlight(
                key=record.key,
                quantity=record.quantity,
                lands_until=record.created_at + FATE_KNOWN_AFTER_S,
            )

    async def learn(self, sent: Sequence[OrderRecord]) -> float:
        """Take in the outcomes of a round; returns the longest pause the venue asked for, in s."""
        pause_s = 0.0
        self._blocked.clear()
        for record in sent:
            match record.outcome:
                case Refused() as refused:
                    pause_s = max(pause_s, refused.retry_after_s or 0.0)
                    await self._learn_refusal(record, refused)
                case Unknown() as unknown:
                    self._log.warning(
                        "order_unknown",
                        scope=self._scope,
                        client_id=record.client_id,
                        why=unknown.cause,
                    )
                    self._remember_in_flight(record)
                case Done() | None:
                    pass
                case _:
                    assert_never(record.outcome)
        return pause_s

    async def _learn_refusal(self, record: OrderRecord, refused: Refused) -> None:
        self._log.warning(
            "order_refused",
            scope=self._scope,
            symbol=record.symbol,
            action=record.action.value,
            reason=refused.reason.value,
            code=refused.code,
        )
        if refused.reason is RefusalReason.WRONG_POSITION_MODE:
            await self._detect_position_mode()
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
            case RefusalReason.DUPLICATE_ID:
                # An earlier request under this id landed although nobody saw its answer.
                self._remember_in_flight(record)
            case _:
                pass

    async def _detect_position_mode(self) -> None:
        try:
            async with asyncio.timeout(LOOK_UP_DEADLINE_S):
                self.position_mode = await self._venue.fetch_position_mode(self._scope)
        except (ObservationError, TimeoutError) as error:
            self._log.warning("position_mode_unread", scope=self._scope, why=str(error))

    async def look_up(self) -> None:
        """Ask for every order in flight; the first time up to three times, with growing pauses.

        What was found is settled: the position read that follows shows its effect.
        """
        for pause_s in LOOK_UP_PAUSES_S:
            if all(order.was_looked_up for order in self._in_flight.values()):
                break
            await self._clock.sleep(pause_s)
            await self._ask_once()
        else:
            self._in_flight = {
                client_id: replace(order, was_looked_up=True)
                for client_id, order in self._in_flight.items()
            }
            return
        if self._in_flight:
            await self._ask_once()
        now = self._clock.now()
        self._in_flight = {
            client_id: order
            for client_id, order in self._in_flight.items()
            if now < order.lands_until
        }

    async def _ask_once(self) -> None:
        waiting = tuple(self._in_flight.items())
        fates = await asyncio.gather(
            *(self._find(client_id, order.key.symbol) for client_id, order in waiting)
        )
        for (client_id, _), fate in zip(waiting, fates, strict=True):
            if isinstance(fate, Done):
                del self._in_flight[client_id]
                self._log.info("order_found", scope=self._scope, client_id=client_id)

    async def _find(self, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        try:
            async with asyncio.timeout(LOOK_UP_DEADLINE_S):
                return await self._venue.find_order(self._scope, client_id, symbol)
        except TimeoutError:
            return Unknown(cause="no answer in time")
