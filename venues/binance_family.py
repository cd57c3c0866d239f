"""Finds which family a Binance account belongs to, without configuration, and notices a change.

A portfolio-margin account asked at the USD-M endpoints answers with zeros, or refuses the key as
if it had no rights. So:

- whatever is held at USD-M proves that the account lives there;
- where USD-M shows nothing, or refuses the key, portfolio margin is asked. It answers with an
  account, which may be empty, or it refuses; because a key without the right for it is refused in
  the same words, the owner's settings have to say that the account is no portfolio-margin one;
- everything else proves nothing. What nothing proves is Unavailable, never an empty account.

Asked once when USD-M begins to show nothing and then every ten minutes while it does; after a try
that proved nothing again in a minute. Routes once proved stay until others are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from clock import Clock
from errors import ObservationError, Unavailable
from logger import get_logger
from venues.binance_account import parse_account, parse_sizes
from venues.binance_portfolio import parse_equity, parse_is_portfolio
from venues.binance_routes import FUTURES, PORTFOLIO, Routes
from venues.connection import REFRESH_RETRY_S, REFRESH_S, VenueConnection
from venues.failure import KeyRefused

_log = get_logger("venues.binance_family")

Read = Callable[[str, str], Awaitable[object]]
"""How an endpoint is read, whose name in an error is the second text."""


class Whereabouts:
    """The routes that an account is reached by.

    `has_portfolio` is False for practice hosts: no account there is one of portfolio margin.
    `on_change` hears when an account that was known lives elsewhere.
    """

    def __init__(
        self,
        connection: VenueConnection,
        clock: Clock,
        *,
        has_portfolio: bool,
        on_change: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._has_portfolio = has_portfolio
        self._on_change = on_change
        self._unasked = None if has_portfolio else FUTURES
        self._proved: Routes | None = self._unasked
        self._told: Routes | None = self._unasked
        self._why = ""
        self._due_at = float("-inf")
        self._asking = asyncio.Lock()

    @property
    def likely(self) -> Routes:
        """The routes proved last, else the usual ones: for what proves and changes nothing."""
        return self._proved or FUTURES

    async def settle(self, *, is_urgent: bool = False) -> Routes:
        """The routes proved last; what was never proved is proved now.

        Raises Unavailable or Malformed. USD-M's positions prove as much as its account, so that
        one endpoint at fault does not keep anything from being closed.
        """
        if self._proved is not None:
            return self._proved
        read = self._connection.read_at_once if is_urgent else self._connection.read
        try:
            account = parse_account(await read(FUTURES.account, "account"), is_multi_assets=False)
        except KeyRefused as refused:
            return await self.ask_elsewhere(refused)
        except ObservationError:
            if not await self._holds_positions(read):
                raise
            return self.prove_futures()
        return await self.ask_elsewhere(None) if account.is_blank else self.prove_futures()

    async def _holds_positions(self, read: Read) -> bool:
        """True when USD-M shows positions; False also when it shows nothing at all."""
        try:
            return bool(parse_sizes(await read(FUTURES.positions, "positionRisk"), bases={}))
        except ObservationError:
            return False

    def prove_futures(self) -> Routes:
        """Note that something is held at USD-M; what was told while it showed nothing is over."""
        self._told, self._due_at = self._unasked, float("-inf")
        return self._adopt(FUTURES)

    async def ask_elsewhere(self, refused: KeyRefused | None) -> Routes:
        """Say where an account lives of which USD-M shows nothing.

        `refused` is USD-M's refusal of the key, None where it answered with zeros. Raises it, or
        Unavailable, while nothing is proved.
        """
        async with self._asking:
            if self._has_portfolio and self._clock.monotonic() >= self._due_at:
                await self._ask_again()
        if self._told is None or (refused is not None and self._told is FUTURES):
            raise refused or Unavailable(self._why)
        return self._adopt(self._told)

    async def _ask_again(self) -> None:
        """Ask; an answer holds for ten minutes, and what proves nothing changes nothing."""
        try:
            self._told = await self._ask()
            pause_s = REFRESH_S
        except ObservationError as failed:
            self._why = f"USD-M shows nothing, and of portfolio margin nothing is known: {failed}"
            pause_s = REFRESH_RETRY_S
        self._due_at = self._clock.monotonic() + pause_s

    async def _ask(self) -> Routes:
        """What portfolio margin proves, or else the owner's settings."""
        try:
            parse_equity(await self._connection.read(PORTFOLIO.account, "portfolio margin"))
        except KeyRefused:
            settings = await self._connection.read("sapiGetAccountInfo", "account info")
            if parse_is_portfolio(settings):
                raise
            return FUTURES
        return PORTFOLIO

    def _adopt(self, routes: Routes) -> Routes:
        before, self._proved = self._proved, routes
        if before is not None and routes is not before:
            why = f"the account is reached as {routes.name} from now on"
            _log.warning("account_family_changed", why=why)
            self._on_change()
        return routes
