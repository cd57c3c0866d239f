"""Sends the closes and cancels of a round, and hands over their answers as they come.

Owns the requests under way. A slow answer holds up no other row: the round goes on without it,
and its outcome is learnt whenever it comes. What it means is for `order_fates`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from attempts import Missed, abandon, attempt
from clock import Clock
from memory import OrderRecord
from model import CloseInstruction, Order, Outcome, Unknown
from venues.protocol import Venue

SEND_DEADLINE_S = 10.0
"""What was sent and not answered by then has an unknown outcome."""
ANSWERS_WITHIN_S = 1.0
"""A round waits no longer for its answers; what is missing is looked up meanwhile."""
OTHERS_WITHIN_S = 0.1
"""Nor so long once an answer is known to be lost: then its order is looked up."""
MANY = 10
PART = 5
"""More than so many closes are handed over in parts, which the venue may carry in one request.

Of few each goes alone: nothing is gained, and one lost answer leaves one order in doubt, not five.
"""


Answer = asyncio.Task[tuple[OrderRecord, ...]]
"""One request under way: the records of what it was to do, with their outcomes."""


class OrderSender:
    """The requests under way on one scope; `is_done` is set when the last one is answered."""

    def __init__(self, *, venue: Venue, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._under_way: list[Answer] = []
        self._fresh: list[Answer] = []
        self._last_begun: asyncio.Event | None = None
        self._lost = asyncio.Event()
        self.is_done = asyncio.Event()

    def send(
        self,
        records: Sequence[OrderRecord],
        *,
        closes: Sequence[CloseInstruction],
        cancels: Sequence[Order],
    ) -> None:
        """Send at once; `records` are those of the closes and then those of the cancels.

        What may be in the way of a close leaves before it: most venues refuse a close while a
        resting one has all of its position.
        """
        self._fresh.clear()
        self._lost.clear()
        self._last_begun = None
        closing = {(record.symbol, record.order_side) for record in records[: len(closes)]}
        behind: list[tuple[OrderRecord, Order]] = []
        for record, order in zip(records[len(closes) :], cancels, strict=True):
            if (record.symbol, record.order_side) in closing and _can_close(order):
                self._begin((record,), self._cancel(order))
            else:
                behind.append((record, order))
        size = PART if len(closes) > MANY else 1
        for first in range(0, len(closes), size):
            part = closes[first : first + size]
            self._begin(records[first : first + size], self._venue.submit_closes(part))
        for record, order in behind:
            self._begin((record,), self._cancel(order))

    async def wait(self) -> None:
        """Wait a moment for the answers to what was sent last."""
        everything = asyncio.ensure_future(asyncio.wait(tuple(self._fresh)))
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait(
                (everything, lost), timeout=ANSWERS_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
            if lost.done():
                await asyncio.wait((everything,), timeout=OTHERS_WITHIN_S)
        finally:
            abandon(everything)
            abandon(lost)

    @property
    def is_waiting(self) -> bool:
        """True while there are answers that were not collected."""
        return bool(self._under_way)

    async def wait_for_all(self) -> None:
        """Wait for every answer that is still to come, at most for `SEND_DEADLINE_S`."""
        if self._under_way:
            await asyncio.wait(tuple(self._under_way))

    def collect(self) -> tuple[OrderRecord, ...]:
        """The records whose answers have come since the last time, with their outcomes.

        Raises InvariantViolation if one of the answers is our own bug.
        """
        done = [each for each in self._under_way if each.done()]
        self._under_way = [each for each in self._under_way if not each.done()]
        return tuple(record for each in done for record in each.result())

    def _begin(
        self, records: Sequence[OrderRecord], work: Coroutine[Any, Any, tuple[Outcome, ...]]
    ) -> None:
        self.is_done.clear()
        before, self._last_begun = self._last_begun, asyncio.Event()
        answer = asyncio.create_task(self._ask(work, records, after=before, begun=self._last_begun))
        answer.add_done_callback(self._note_answer)
        self._fresh.append(answer)
        self._under_way.append(answer)

    def _note_answer(self, _answer: Answer) -> None:
        if all(each.done() for each in self._under_way):
            self.is_done.set()

    async def _ask(
        self,
        work: Coroutine[Any, Any, tuple[Outcome, ...]],
        records: Sequence[OrderRecord],
        *,
        after: asyncio.Event | None,
        begun: asyncio.Event,
    ) -> tuple[OrderRecord, ...]:
        # Begun all at once, each would be signed before the first of them leaves. Each wakes the
        # next: counting rounds of the loop, a thousand cancels would hold it up for a second.
        try:
            # The first lets the others begin to wait.
            await (after.wait() if after is not None else asyncio.sleep(0))
        finally:
            begun.set()
        found = await attempt(work, within_s=SEND_DEADLINE_S, what="orders")
        if isinstance(found, Missed):
            outcomes: tuple[Outcome, ...] = (Unknown(cause=found.why),) * len(records)
        elif len(found.value) != len(records):
            outcomes = (Unknown(cause="fewer answers than orders"),) * len(records)
        else:
            outcomes = found.value
        if any(isinstance(outcome, Unknown) for outcome in outcomes):
            self._lost.set()
        now = self._clock.now()
        return tuple(
            replace(record, outcome=outcome, answered_at=now)
            for record, outcome in zip(records, outcomes, strict=True)
        )

    async def _cancel(self, order: Order) -> tuple[Outcome, ...]:
        return (await self._venue.submit_cancel(order),)


def _can_close(order: Order) -> bool:
    """Whether it may be a closing order; of a leg in hedge mode the flag need not tell."""
    return order.reduce_only or order.close_position or order.position_side is not None
