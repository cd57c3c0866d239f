"""A Bybit unified account whose coins are for sale: its spot markets, beside its contracts.

What `sell_collateral: true` adds to `venues.bybit`, and nothing else: without it no spot market is
asked for and no coin can be sold. Its rules:

- A coin is sold on its spot market, with `isLeverage` 0: never with borrowed money, and never more
  than no order holds. Of a coin of which some is owed nothing is for sale.
- A wallet that cannot be read keeps no position from being closed: until it can, all of a coin
  counts as held by orders, so that nothing of it is sold by an old figure.
- Spot orders are read and cancelled like those of contracts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from errors import InvariantViolation, Malformed, ObservationError, Unavailable
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    MarketLimits,
    Order,
    Outcome,
    Position,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from venues.bybit import MARKET_PAGE, ORDER_PAGE, BybitUnified
from venues.bybit_account import parse_wallet
from venues.bybit_markets import parse_spot_markets
from venues.bybit_records import parse_spot_orders
from venues.ccxt_client import Params
from venues.connection import together
from venues.outcomes import as_one
from venues.spot_values import Balance, choose_markets, holdings, limits_by_coin

_SPOT: Params = {"category": "spot"}
_WALLET = "privateGetV5AccountWalletBalance"


class BybitSelling(BybitUnified):
    """The same account with its coins for sale (`venues.protocol.Venue`)."""

    _spot_markets: Mapping[Symbol, MarketLimits] = {}

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read the rules of contracts, and on which spot market each coin is sold, by its name.

        A spot list that cannot be read leaves what was known of it.
        """
        contracts, _ = await together(super().fetch_market_limits(), self._learn_spot_markets())
        return {**contracts, **limits_by_coin(self._sold_on, prices=self._own_prices)}

    async def _learn_spot_markets(self) -> None:
        try:
            rows = await self._fetch_list(
                self._connection.read,
                "publicGetV5MarketInstrumentsInfo",
                "spot instruments",
                params={**_SPOT, "limit": MARKET_PAGE},
            )
        except ObservationError:
            return
        found = parse_spot_markets(rows)
        if not found:
            return
        self._spot_markets = found
        self._sold_on = choose_markets(self._spot_markets.values(), stables=self._stables)

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read positions and what could be sold of each coin together, past the reader's queue."""
        held, coins = await together(super().fetch_positions(scope), self._fetch_coins())
        return (*held, *coins)

    async def _fetch_coins(self) -> tuple[Position, ...]:
        """What could be sold of each coin; by an old wallet nothing of it is free.

        Raises Unavailable or Malformed when no wallet was ever read.
        """
        is_old = False
        try:
            answer = await self._connection.read_at_once(
                _WALLET, "wallet", {"accountType": "UNIFIED"}
            )
            self._wallet = parse_wallet(answer)
        except ObservationError:
            if self._wallet is None:
                raise
            is_old = True
        balances = (
            Balance(asset=holding.asset, free=holding.sellable - held, locked=held)
            for holding in self._wallet.holdings
            # Coins that no market is known for are told as well: left out they would count as sold.
            for held in (holding.sellable if is_old else holding.held_by_orders,)
        )
        return holdings(balances, stables=self._stables, prices=self._own_prices)

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read the orders of contracts and of spot markets, of every kind."""
        of_contracts, of_spot = await together(
            super().fetch_orders(scope), self._spot_orders(scope)
        )
        return (*of_contracts, *of_spot)

    async def _spot_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        rows = await self._fetch_list(
            self._connection.read,
            "privateGetV5OrderRealtime",
            "spot order",
            params={**_SPOT, "openOnly": 0, "limit": ORDER_PAGE},
        )
        return parse_spot_orders(rows, scope=scope, markets=self._spot_markets)

    def _is_coin(self, symbol: Symbol) -> bool:
        """Whether a row is a coin's and not a contract's."""
        held = () if self._wallet is None else (held.asset for held in self._wallet.holdings)
        return symbol not in self._bases and Asset(symbol) in {*self._sold_on, *held}

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Sell a coin on its spot market, or close a position."""
        (outcome,) = await self.submit_closes((instruction,))
        return outcome

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several at once; each has its own outcome.

        Raises InvariantViolation before anything is sent if one of them may not be.
        """
        for instruction in instructions:
            self._require_approved(instruction)
        are_coins = [self._is_coin(instruction.symbol) for instruction in instructions]
        closed, sold = await asyncio.gather(
            self._orders.close_all(
                [one for one, is_coin in zip(instructions, are_coins, strict=True) if not is_coin]
            ),
            self._sell(
                [one for one, is_coin in zip(instructions, are_coins, strict=True) if is_coin]
            ),
        )
        of_closes, of_sales = iter(closed), iter(sold)
        return tuple(next(of_sales if is_coin else of_closes) for is_coin in are_coins)

    async def _sell(self, instructions: Sequence[CloseInstruction]) -> Sequence[Outcome]:
        return await asyncio.gather(*map(self._sell_one, instructions))

    async def _sell_one(self, instruction: CloseInstruction) -> Outcome:
        market = self._sold_on.get(Asset(instruction.symbol))
        if market is None:
            why = "no market is known that it could be sold on"
            return Refused(reason=RefusalReason.NOT_TRADABLE, code="", message=why)
        return await self._orders.sell(instruction, market.symbol)

    def _require_approved(self, instruction: CloseInstruction) -> None:
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        self._require_scope(instruction.scope)
        wrong = instruction.side is not Side.LONG or Asset(instruction.symbol) in self._stables
        if wrong and self._is_coin(instruction.symbol):
            raise InvariantViolation(f"{instruction.symbol} {instruction.side} is no coin to sell")

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel every order of a contract, or every order that trades or holds a coin."""
        if not self._is_coin(symbol):
            return await super().submit_cancel_all(scope, symbol)
        self._require_scope(scope)
        try:
            orders = await self._spot_orders(scope)
        except (Unavailable, Malformed) as fault:
            return Unknown(cause=str(fault))
        own = [order for order in orders if symbol in (order.row_symbol, order.holds)]
        outcomes = await asyncio.gather(*map(self._orders.cancel, own))
        return as_one(outcomes)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look an order up by our own id, of a coin on its spot market."""
        market = self._sold_on.get(Asset(symbol))
        if market is None or symbol in self._bases:
            return await super().find_order(scope, client_id, symbol)
        self._require_scope(scope)
        return await self._orders.find(client_id, market.symbol, is_spot=True)
