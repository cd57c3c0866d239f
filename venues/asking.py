"""Asks a venue what only a person wants to know, one question at a time, for every adapter.

Never on the way to a close. A question that is not answered becomes a `NotTold` with its reason, so
that the others are answered all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from clock import Clock
from errors import Malformed, ObservationError
from inspection import NotTold
from model import RefusalReason, Refused
from venues.access import Access
from venues.ccxt_client import Params
from venues.connection import Manners, VenueConnection
from venues.failure import Failure

Answer = TypeVar("Answer")


class NotAllowed(NotTold):
    """Not told because the key, or this kind of account, may not ask."""


@asynccontextmanager
async def asking(manners: Manners, access: Access, clock: Clock) -> AsyncIterator[Asker]:
    """An asker with a connection of its own, closed at the end.

    A venue's other hosts have counts and pauses of their own, which must never hold up a reading
    or a close on the guard's connection.
    """
    connection = VenueConnection(manners, access, clock)
    try:
        with suppress(ObservationError):
            # Without it every signed question is refused, and each says so itself.
            await connection.settle_clock()
        yield Asker(connection)
    finally:
        await connection.aclose()


class Asker:
    """Questions to one connection."""

    def __init__(self, connection: VenueConnection) -> None:
        self._connection = connection

    async def ask(
        self, endpoint: str, parse: Callable[[object], Answer], params: Params | None = None
    ) -> Answer | NotTold:
        """The parsed answer, or why there is none; `parse` may raise Malformed."""
        told = await self._connection.inquire(endpoint, params or {})
        if isinstance(told, Failure):
            return self._not_told(told)
        try:
            return parse(told)
        except Malformed as malformed:
            return NotTold(reason=str(malformed))

    async def may_ask(self, endpoint: str, params: Params | None = None) -> bool | NotTold:
        """Whether the key may ask that: True by an answer, False by a refusal of its rights."""
        told = await self.ask(endpoint, lambda _answer: True, params)
        return False if isinstance(told, NotAllowed) else told

    async def measure(self) -> tuple[float | NotTold, float | NotTold]:
        """Seconds of a round trip over an open connection, and the venue's clock minus ours."""
        try:
            told = await self._connection.time_round_trip()
        except Malformed as malformed:
            return NotTold(reason=str(malformed)), NotTold(reason=str(malformed))
        if isinstance(told, Failure):
            not_told = self._not_told(told)
            return not_told, not_told
        return told

    def _not_told(self, failure: Failure) -> NotTold:
        outcome = self._connection.judge(failure)
        is_refused = isinstance(outcome, Refused) and outcome.reason is RefusalReason.NOT_ALLOWED
        return (NotAllowed if is_refused else NotTold)(reason=failure.cause)
