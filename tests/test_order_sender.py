"""How the orders of a round leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from model import CloseInstruction, Outcome
from order_sender import OrderSender
from simulator.virtual_time import LoopClock
from tests.test_order_fates import close, done
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
