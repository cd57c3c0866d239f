"""What a round of closing reads of an account: positions, and the open orders beside them.

Owns the deadlines of those reads, and how often orders are listed. Positions are indispensable,
orders are not: closes are sized from positions alone, so the list may only delay them a moment.
The list is also the most expensive read there is (80 of the 2,400 that Binance allows a minute);
asked for in every round of a crash, it would use up what the readings of the account need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from attempts import Got, Missed, abandon, attempt, look_away
from clock import Clock
from logger import Logger
from memory import Incident
from model import Order, Position, RowKey, ScopeId
from venues.protocol import Venue

READ_DEADLINE_S = 10.0
FRESH_S = 0.5
"""Closes are sized from positions no older; what had to wait for the orders is read again."""
ORDERS_WAIT_S = 0.1
"""Closes wait no longer for the list of open orders; a later round takes it up."""
BLOCKED_ORDERS_WAIT_S = 3.0
"""A close that an order stands in the way of needs the list to get through."""
ORDERS_EVERY_S = 2.0
"""Rounds that follow each other faster do without the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one round read. `orders` are None when they were not read, or not in time.

    `held` are the quantities by row, asked for at the monotonic time `asked_at`; `is_listed` says
    that the orders were asked for.
    """

    positions: tuple[Position, ...]
    orders: tuple[Order, ...] | None
    held: Mapping[RowKey, Decimal]
    asked_at: float
    is_listed: bool


class Eyes:
    """Reads one account for its executor."""

    def __init__(self, *, scope: ScopeId, venue: Venue, clock: Clock, log: Logger) -> None:
        self._scope = scope
        self._venue = venue
        self._clock = clock
        self._log = log
        self._listed_at = float("-inf")
        self._listing: asyncio.Future[tuple[Order, ...] | None] | None = None
        self._ahead: asyncio.Task[Seen | Missed] | None = None
        self._read_at = float("-inf")

    def look_ahead(self) -> None:
        """Begin to read for the next look, unless that has begun and may still serve it."""
        if self._ahead is None or (self._ahead.done() and not self._is_fresh):
            self.drop_ahead()
            self.read_ahead()
            self._list()

    def drop_ahead(self) -> None:
        """Give up what was begun ahead: a later look must not take it for what it finds."""
        for begun in (self._ahead, self._listing):
            if begun is not None:
                abandon(begun)
        self._ahead = self._listing = None

    def read_ahead(self) -> None:
        """Begin to read positions for the next look: nothing is under way that they wait for."""
        self._ahead = asyncio.create_task(self._read_positions())
        look_away(self._ahead)

    def _list(self) -> None:
        """Ask for the open orders, unless they are being asked for."""
        if self._listing is None:
            self._listed_at = self._clock.monotonic()
            self._listing = asyncio.create_task(self._list_orders())

    def _take_ahead(self) -> asyncio.Task[Seen | Missed] | None:
        """The read that was begun ahead, None without one or when its answer is no longer fresh."""
        ahead, self._ahead = self._ahead, None
        return None if ahead is None or (ahead.done() and not self._is_fresh) else ahead

    @property
    def _is_fresh(self) -> bool:
        """Whether the latest answer to a position read may still size a close."""
        return self._clock.monotonic() - self._read_at <= FRESH_S

    async def look(
        self, incident: Incident, *, is_first: bool, needs_orders: bool = False
    ) -> Seen | Missed:
        """Read positions and orders at once; Missed when the positions could not be read.

        Orders are listed in the first round of an incident, when a close needs one out of its way,
        and otherwise every two seconds; a list that is late is taken up by the round in which it
        comes. Nothing is urgent any more once the targets are reached: the list then gets the time
        it needs, because the end of the incident depends on it.
        """
        now = self._clock.monotonic()
        is_due = is_first or needs_orders or now - self._listed_at >= ORDERS_EVERY_S
        # Positions are asked for first: closes wait for them.
        reading = self._take_ahead() or asyncio.create_task(self._read_positions())
        if is_due:
            self._list()
        listing = self._listing
        try:
            seen = await reading
        finally:
            abandon(reading)
        if isinstance(seen, Missed) or listing is None:
            return seen
        deadline_s = BLOCKED_ORDERS_WAIT_S if needs_orders else ORDERS_WAIT_S
        if all(seen.held.get(t.key, Decimal(0)) <= t.may_remain for t in incident.targets):
            deadline_s = READ_DEADLINE_S
        await asyncio.wait((listing,), timeout=deadline_s)
        if not self._is_fresh:
            seen = await self._read_positions()
        if isinstance(seen, Missed):
            return seen
        if not listing.done():
            return replace(seen, is_listed=True)
        self._listing = None
        return replace(seen, is_listed=True, orders=listing.result())

    async def _read_positions(self) -> Seen | Missed:
        asked_at = self._clock.monotonic()
        positions = await attempt(
            self._venue.fetch_positions(self._scope), within_s=READ_DEADLINE_S, what="positions"
        )
        self._read_at = self._clock.monotonic()
        if isinstance(positions, Missed):
            return positions
        return Seen(
            positions=positions.value,
            orders=None,
            held={
                RowKey(self._scope, position.symbol, position.side): position.quantity
                for position in positions.value
            },
            asked_at=asked_at,
            is_listed=False,
        )

    async def _list_orders(self) -> tuple[Order, ...] | None:
        """The open orders, None when they cannot be read, for whatever reason."""
        found = await attempt(
            self._venue.fetch_orders(self._scope), within_s=READ_DEADLINE_S, what="orders"
        )
        if isinstance(found, Got):
            return found.value
        self._log.warning("orders_unread", scope=self._scope, why=found.why)
        return None
