"""A unified Bitget account whose coins are for sale: its spot markets, beside its contracts.

What `sell_collateral: true` adds to `venues.bitget`, and nothing else: without it no spot market is
asked for and no coin can be sold. A classic account has a spot account of its own and sells nothing
here. Its rules:

- A coin is sold by an order of the category SPOT, which never borrows, and never more than no order
  holds. Of a coin of which some is owed nothing is for sale.
- A wallet that cannot be read keeps no position from being closed: until it can, all of a coin
  counts as held by orders, so that nothing of it is sold by an old figure.
- Spot orders are read and cancelled like those of contracts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from errors import InvariantViolation, ObservationError
from model import (
    Asset,
    CloseInstruction,
    Coin,
    Done,
    MarketLimits,
    Order,
    Outcome,
    Position,
    Reading,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from venues.bitget import BitgetFutures
from venues.bitget_errors import SPOT_REFUSALS, code_of, is_gone, judge_spot
from venues.bitget_records import judge_cancelled, judge_placed
from venues.bitget_unified import SPOT
from venues.connection import together
from venues.failure import Failure
from venues.outcomes import as_one
from venues.pacer import Urgency
from venues.parsing import plain_text
from venues.spot_values import (
    BRIDGES,
    ZERO,
    Balance,
    choose_markets,
    holdings,
    limits_by_coin,
)


class BitgetSelling(BitgetFutures):
    """The same account with its coins for sale (`venues.protocol.Venue`)."""

    _spot_markets: Mapping[Symbol, MarketLimits] = {}
    _sold_on: Mapping[Asset, MarketLimits] = {}
    _balances: tuple[Balance, ...] | None = None

    async def _is_one_wallet(self) -> bool:
        return await self._known_family() is self._unified

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read the rules of contracts, and on which spot market each coin is sold, by its name.

        A spot list that cannot be read leaves what was known of it.
        """
        contracts, _ = await together(super().fetch_market_limits(), self._learn_spot_markets())
        # Least values are in money here, whatever the market pays in.
        coins = limits_by_coin(self._sold_on, prices=dict.fromkeys(BRIDGES, 1.0))
        return {**contracts, **coins}

    async def _learn_spot_markets(self) -> None:
        try:
            found = await self._unified.fetch_spot_markets() if await self._is_one_wallet() else {}
        except ObservationError:
            return
        if found:
            self._spot_markets = found
            self._sold_on = choose_markets(found.values(), stables=self._stables)

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read money and positions, and what of each coin is for sale, by what is known of it."""
        reading = await super().fetch_reading(scope)
        if not self._sold_on or not await self._is_one_wallet():
            return reading
        with suppress(ObservationError):
            self._balances = await self._unified.fetch_balances(is_urgent=False)
        return replace(reading, coins=tuple(map(self._for_sale, reading.coins)))

    def _for_sale(self, coin: Coin) -> Coin:
        held = {balance.asset: balance.total for balance in self._balances or ()}
        is_sold = coin.asset in self._sold_on
        return replace(coin, sellable=held.get(coin.asset, ZERO) if is_sold else ZERO)

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read positions and what could be sold of each coin together, past the reader's queue."""
        held, coins = await together(super().fetch_positions(scope), self._fetch_coins())
        return (*held, *coins)

    async def _fetch_coins(self) -> tuple[Position, ...]:
        """What could be sold of each coin; by an old wallet nothing of it is free.

        Raises Unavailable or Malformed when no wallet was ever read.
        """
        if not await self._is_one_wallet():
            return ()
        try:
            self._balances = balances = await self._unified.fetch_balances(is_urgent=True)
        except ObservationError:
            if self._balances is None:
                raise
            balances = tuple(
                Balance(asset=each.asset, locked=each.total) for each in self._balances
            )
        return holdings(balances, stables=self._stables, prices=self._own_prices)

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read the orders of contracts and of spot markets."""
        of_contracts, of_spot = await together(
            super().fetch_orders(scope), self._spot_orders(scope)
        )
        return (*of_contracts, *of_spot)

    async def _spot_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        if not await self._is_one_wallet():
            return ()
        return await self._unified.fetch_spot_orders(scope, self._spot_markets)

    def _is_coin(self, symbol: Symbol) -> bool:
        """Whether a row is a coin's and not a contract's."""
        held = {balance.asset for balance in self._balances or ()}
        return symbol not in self._bases and Asset(symbol) in {*self._sold_on, *held}

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Sell a coin on its spot market, or close a position.

        Raises InvariantViolation for anything but an approved instruction of this account.
        """
        is_ours = isinstance(instruction, CloseInstruction) and instruction.scope == self._scope
        if not is_ours or not self._is_coin(instruction.symbol):
            return await super().submit_close(instruction)
        asset = Asset(instruction.symbol)
        if instruction.side is not Side.LONG or asset in self._stables:
            raise InvariantViolation(f"{instruction.symbol} {instruction.side} is no coin to sell")
        market = self._sold_on.get(asset)
        if market is None:
            why = "no market is known that it could be sold on"
            return Refused(reason=RefusalReason.NOT_TRADABLE, code="", message=why)
        answer = await self._connection.place(
            "privateUtaPostV3TradePlaceOrder",
            {
                "category": SPOT,
                "symbol": market.symbol,
                "qty": plain_text(instruction.quantity),
                "side": "sell",
                "orderType": "market",
                "clientOid": instruction.client_id,
            },
            orders=(instruction.client_id,),
        )
        if isinstance(answer, Failure):
            outcome = self._connection.judge(answer)
            is_of_spot = code_of(answer.body) in SPOT_REFUSALS
            return judge_spot(answer, venue_now_ms=0.0) if is_of_spot else outcome
        return judge_placed(answer, client_id=instruction.client_id)

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order where its kind lives; an order already gone is Done."""
        if order.base is None:
            return await super().submit_cancel(order)
        self._require_scope(order.scope)
        answer = await self._connection.ask(
            "privateUtaPostV3TradeCancelOrder",
            {"category": SPOT, "symbol": str(order.symbol), "orderId": str(order.order_id)},
            urgency=Urgency.CANCEL,
        )
        if isinstance(answer, Failure):
            is_done = is_gone(answer)
            return Done(order_id=order.order_id) if is_done else self._connection.judge(answer)
        return judge_cancelled(answer, order_id=order.order_id)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel every order of a contract, or every order that trades or holds a coin."""
        if not self._is_coin(symbol):
            return await super().submit_cancel_all(scope, symbol)
        self._require_scope(scope)
        try:
            orders = await self._spot_orders(scope)
        except ObservationError as fault:
            return Unknown(cause=str(fault))
        own = [order for order in orders if symbol in (order.row_symbol, order.holds)]
        outcomes = await asyncio.gather(*map(self.submit_cancel, own))
        return as_one(outcomes)
