"""How the orders of a round leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast
from unittest.mock import patch

from model import (
    ClientOrderId,
    CloseInstruction,
    Order,
    OrderKind,
    OrderSide,
    Outcome,
    Side,
    Symbol,
    VenueOrderId,
)
from order_sender import OrderSender
from simulator.virtual_time import LoopClock
from tests.test_order_fates import ROW, close, done
from tests.virtual_house import EPOCH, play
from venues.protocol import Venue


class Press:
    """A venue whose requests take a moment of the processor before they leave."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def submit_closes(self, part: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Sign, and leave in the next round of the loop."""
        self.log.append("signed")
        await asyncio.sleep(0)
        self.log.append("left")
        return tuple(done() for _ in part)

    async def submit_cancel(self, order: Order) -> Outcome:
        """The same for one cancel."""
        del order
        return (await self.submit_closes(cast("tuple[CloseInstruction, ...]", (None,))))[0]


def test_the_first_orders_leave_while_the_last_are_still_to_be_signed() -> None:
    """Fifty in ten requests: signing costs milliseconds, and prices go on falling meanwhile."""

    async def story() -> None:
        press = Press()
        sender = OrderSender(venue=cast("Venue", press), clock=LoopClock(epoch=EPOCH))
        records = tuple(close(number) for number in range(50))
        sender.send(records, closes=cast("tuple[CloseInstruction, ...]", records), cancels=())
        await sender.wait()
        assert press.log.index("left") < 3
        assert len(sender.collect()) == 50

    play(story)


def test_a_thousand_cancels_cost_some_rounds_each() -> None:
    """Not one for each that goes before: that held the loop up for a second, closes included."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        give, given = loop.call_soon, 0

        def counted(*arguments: Any, **named: Any) -> asyncio.Handle:
            nonlocal given
            given += 1
            return give(*arguments, **named)

        sender = OrderSender(venue=cast("Venue", Press()), clock=LoopClock(epoch=EPOCH))
        records = tuple(close(number) for number in range(1_000))
        with patch.object(loop, "call_soon", counted):
            sender.send(records, closes=(), cancels=cast("tuple[Order, ...]", records))
            await sender.wait_for_all()
        assert len(sender.collect()) == 1_000
        assert given < 40 * 1_000

    play(story)


class Door:
    """A venue that writes down in which order requests come."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def submit_closes(self, part: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """A close came."""
        self.log.append("close")
        return tuple(done() for _ in part)

    async def submit_cancel(self, order: Order) -> Outcome:
        """A cancel came."""
        self.log.append(order.client_id)
        return done()


def test_what_is_in_the_way_of_a_close_leaves_before_it() -> None:
    """What rests on the side that is closed, but for entry orders; other symbols come after."""

    async def story() -> None:
        door = Door()
        sender = OrderSender(venue=cast("Venue", door), clock=LoopClock(epoch=EPOCH))
        short = close()
        cancels = (
            resting("entry", side=OrderSide.SELL),
            resting("add", side=OrderSide.BUY),
            resting("elsewhere", symbol=Symbol("XRPUSDT"), reduce_only=True),
            resting("profit", reduce_only=True),
            resting("stop", close_position=True),
            resting("leg", position_side=Side.SHORT),
        )
        asked = tuple(
            replace(close(number), symbol=order.symbol, order_side=order.side.value)
            for number, order in enumerate(cancels, start=1)
        )
        closes = cast("tuple[CloseInstruction, ...]", (short,))
        sender.send((short, *asked), closes=closes, cancels=cancels)
        await sender.wait()
        assert door.log == ["profit", "stop", "leg", "close", "entry", "add", "elsewhere"]
        assert [record.symbol for record in sender.collect()].count(Symbol("XRPUSDT")) == 1

    play(story)


def resting(
    name: str,
    *,
    symbol: Symbol = ROW.symbol,
    side: OrderSide = OrderSide.BUY,
    reduce_only: bool = False,
    close_position: bool = False,
    position_side: Side | None = None,
) -> Order:
    """An open order; a BUY can close a short."""
    return Order(
        scope=ROW.scope,
        order_id=VenueOrderId(name),
        client_id=ClientOrderId(name),
        symbol=symbol,
        kind=OrderKind.REGULAR,
        side=side,
        position_side=position_side,
        quantity=Decimal(5),
        reduce_only=reduce_only,
        close_position=close_position,
        order_type="LIMIT",
    )
