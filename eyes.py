"""What a round of closing reads of an account: positions, and the open orders beside them.

Owns the deadlines of those reads. Positions are indispensable, orders are not: closes are sized
from positions alone, so the list of orders may only delay them a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from attempts import Got, Missed, abandon, attempt
from logger import Logger
from memory import Incident
from model import Order, Position, RowKey, ScopeId
from venues.protocol import Venue

READ_DEADLINE_S = 10.0
FIRST_ORDERS_DEADLINE_S = 1.0
"""The first closes of an incident wait no longer than this for the list of open orders."""
ORDERS_DEADLINE_S = 3.0
"""Later rounds do: without the list nothing is cancelled, and entry orders go on filling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one round read. `orders` are None when they could not be read in time.

    `held` are the quantities by row.
    """

    positions: tuple[Position, ...]
    orders: tuple[Order, ...] | None
    held: Mapping[RowKey, Decimal]


class Eyes:
    """Reads one account for its executor."""

    def __init__(self, *, scope: ScopeId, venue: Venue, log: Logger) -> None:
        self._scope = scope
        self._venue = venue
        self._log = log

    async def look(self, incident: Incident, *, is_first: bool) -> Seen | Missed:
        """Read positions and orders at once; Missed when the positions could not be read.

        Nothing is urgent any more once the targets are reached: the orders then get the time
        they need, because the end of the incident depends on them.
        """
        listing = asyncio.ensure_future(self._list_orders())
        try:
            positions = await attempt(
                self._venue.fetch_positions(self._scope),
                within_s=READ_DEADLINE_S,
                what="positions",
            )
            if isinstance(positions, Missed):
                return positions
            held = {
                RowKey(self._scope, position.symbol, position.side): position.quantity
                for position in positions.value
            }
            deadline_s = FIRST_ORDERS_DEADLINE_S if is_first else ORDERS_DEADLINE_S
            if all(held.get(t.key, Decimal(0)) <= t.may_remain for t in incident.targets):
                deadline_s = READ_DEADLINE_S
            await asyncio.wait((listing,), timeout=deadline_s)
            orders = listing.result() if listing.done() else None
            return Seen(positions=positions.value, orders=orders, held=held)
        finally:
            abandon(listing)

    async def _list_orders(self) -> tuple[Order, ...] | None:
        """The open orders, None when they cannot be read, for whatever reason."""
        found = await attempt(
            self._venue.fetch_orders(self._scope), within_s=READ_DEADLINE_S, what="orders"
        )
        if isinstance(found, Got):
            return found.value
        self._log.warning("orders_unread", scope=self._scope, why=found.why)
        return None
