"""The spot side of a simulated exchange: what accounts hold, its markets, and orders on them.

Owns spot balances and everything that changes them. There is no other side: the mid is the market,
a taker pays half the spread and a linear price impact, and a limit order fills at its own price
once the other side reaches it. Refuses to know futures, except that one purse may back both: then
the balances are the very wallet of the account. Rules:

- a market sells and buys nothing that the account does not have: there is no borrowing;
- a resting order holds what it would give away, and nobody else can use that meanwhile;
- fees are taken out of what comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from model import OrderSide
from simulator.reasons import Reason, Rejected
from simulator.spot_markets import SPOT_CATALOGUE, SpotMarket
from simulator.spot_state import (
    SpotBook,
    SpotFill,
    SpotOrder,
    SpotRecord,
    SpotRecordKind,
    SpotRequest,
    SpotView,
    SpotWallet,
)
from simulator.state import (
    MONEY,
    ZERO,
    OrderStatus,
    OrderType,
    TimeInForce,
    World,
    to_decimal,
)

MAX_SPOT_ORDERS = 200
ONE = Decimal(1)


class SpotDesk:
    """The spot markets of one exchange, and every account's side of them."""

    def __init__(self, world: World, markets: Iterable[SpotMarket] = SPOT_CATALOGUE) -> None:
        self._world = world
        self.markets = {market.symbol: market for market in markets}
        self.wallets: dict[str, SpotWallet] = {}
        self._prices: dict[str, Decimal] = {}
        self._empty: set[str] = set()

    # --- markets and prices -------------------------------------------------------------------

    def list_market(self, market: SpotMarket) -> None:
        """List a market, or change one."""
        self.markets = {**self.markets, market.symbol: market}

    def market(self, symbol: str) -> SpotMarket:
        """Find a market. Raises Rejected UNKNOWN_SYMBOL."""
        if symbol not in self.markets:
            raise Rejected(Reason.UNKNOWN_SYMBOL, symbol)
        return self.markets[symbol]

    def set_prices(self, prices: Mapping[str, object]) -> None:
        """Set mids; None empties the book of a market. Resting orders answer to them.

        A market without a price of its own follows the mark of the perpetual of the same name.
        Raises ValueError for a price that is not positive, Rejected for an unknown market.
        """
        for symbol, price in prices.items():
            self.market(symbol)
            if price is None:
                self._empty.add(symbol)
                continue
            mid = to_decimal(price)
            if mid <= 0:
                raise ValueError(f"{symbol}: a price is positive")
            self._empty.discard(symbol)
            self._prices[symbol] = mid
        self.advance()

    def mid(self, symbol: str) -> Decimal | None:
        """The mid of a market, None while its book is empty."""
        return None if symbol in self._empty else self.last_price(symbol)

    def last_price(self, symbol: str) -> Decimal | None:
        """What was paid last on a market, also while its book is empty."""
        return self._prices.get(symbol) or self._world.marks.get(symbol)

    def advance(self) -> None:
        """Let resting orders meet the present prices, oldest first."""
        for wallet in self.wallets.values():
            for order in list(wallet.orders.values()):
                if order.book is not SpotBook.NORMAL:
                    self._fire(wallet, order)
                elif self._is_marketable(order.symbol, order.side, order.price):
                    self._execute(
                        wallet, order, quantity=order.remaining, price=order.price, may_rest=True
                    )
            self._settle(wallet)

    def _fire(self, wallet: SpotWallet, order: SpotOrder) -> None:
        """Carry out an order that waits, once its price is there, with what is free by then."""
        mid = self.mid(order.symbol)
        if mid is None:
            return
        beyond = mid - order.trigger_price
        if (beyond < 0) if order.fires_above else (beyond > 0):
            return
        market = self.markets[order.symbol]
        price = _taker_price(market, mid=mid, side=order.side, quantity=order.quantity)
        given = order.quantity * (ONE if order.side is OrderSide.SELL else price)
        if given > wallet.view(self._world).free(order.holds) + order.held:
            self._end(wallet, order, OrderStatus.EXPIRED)
            return
        self._execute(wallet, order, quantity=order.quantity, price=price, may_rest=False)

    def _is_marketable(self, symbol: str, side: OrderSide, price: Decimal) -> bool:
        mid, market = self.mid(symbol), self.markets[symbol]
        if mid is None:
            return False
        return market.bid(mid) >= price if side is OrderSide.SELL else market.ask(mid) <= price

    # --- accounts -----------------------------------------------------------------------------

    def wallet(self, api_key: str) -> SpotWallet:
        """The spot side of an account, empty until something is put there."""
        return self.wallets.setdefault(api_key, SpotWallet())

    def share_purse(self, api_key: str, purse: dict[str, Decimal]) -> None:
        """Let spot orders of a unified account work on its one wallet."""
        self.wallet(api_key).balances = purse

    def seed(self, api_key: str, balances: Mapping[str, Decimal]) -> SpotWallet:
        """Put a fresh spot account in place of the one with this key."""
        self.wallets[api_key] = SpotWallet(balances=dict(balances))
        self._settle(self.wallets[api_key])
        return self.wallets[api_key]

    def book(
        self, api_key: str, asset: str, amount: Decimal, *, kind: SpotRecordKind
    ) -> SpotRecord:
        """Let money come in (positive) or leave. Raises Rejected BALANCE_INSUFFICIENT."""
        wallet = self.wallet(api_key)
        if amount < 0 and -amount > wallet.view(self._world).free(asset):
            raise Rejected(Reason.BALANCE_INSUFFICIENT, asset)
        wallet.change(asset, amount)
        record = SpotRecord(
            record_id=self._world.next_id(),
            kind=kind,
            asset=asset,
            amount=amount,
            at=self._world.now,
        )
        wallet.records.append(record)
        self._settle(wallet)
        return record

    def view(
        self, api_key: str, *, as_of: float | None = None, revision: int | None = None
    ) -> SpotView:
        """The account now, or as it was at a time or revision that is still kept."""
        wallet = self.wallet(api_key)
        if as_of is None and revision is None:
            return wallet.view(self._world)
        kept = list(wallet.history) or [wallet.view(self._world)]
        for view in reversed(kept):
            if as_of is not None and view.at > as_of:
                continue
            if revision is not None and view.revision > revision:
                continue
            return view
        return kept[0]

    # --- orders -------------------------------------------------------------------------------

    def place(
        self, api_key: str, request: SpotRequest, *, fill_fraction: Decimal | None = None
    ) -> SpotOrder:
        """Take an order and return it as it stands afterwards. Raises Rejected.

        `fill_fraction` fills only that part of a market order; the rest expires.
        """
        wallet = self.wallet(api_key)
        try:
            self._check(wallet, request)
        except Rejected as refusal:
            self._record("spot_rejected", api_key, request, reason=refusal.reason.value)
            raise
        market = self.markets[request.symbol]
        order_id = self._world.next_id()
        order = wallet.keep(
            SpotOrder(
                order_id=order_id,
                client_id=request.client_id or f"auto{order_id}",
                symbol=request.symbol,
                base=market.base,
                quote=market.quote,
                order_type=request.order_type,
                side=request.side,
                quantity=request.quantity,
                price=request.price or ZERO,
                time_in_force=request.time_in_force,
                cause=request.cause,
                created_at=self._world.now,
                updated_at=self._world.now,
                book=request.book,
                trigger_price=request.trigger_price or ZERO,
                fires_above=(request.trigger_price or ZERO) > (self.mid(request.symbol) or ZERO),
            )
        )
        before = wallet.balances.get(order.holds, ZERO)
        order = self._work(wallet, order, fill_fraction=fill_fraction)
        self._settle(wallet)
        after = wallet.balances.get(order.holds, ZERO)
        self._record(
            "spot_order",
            api_key,
            request,
            filled=order.filled,
            held_before=before,
            held_after=after,
        )
        return order

    def find_order(
        self,
        api_key: str,
        symbol: str,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> SpotOrder:
        """Find an order, open or done; the newest with a client id. Raises Rejected."""
        wallet = self.wallet(api_key)
        for order in [*reversed(wallet.orders.values()), *reversed(wallet.done.values())]:
            if order.symbol != symbol:
                continue
            is_meant = order.client_id == client_id if order_id is None else False
            if is_meant or (order_id is not None and order.order_id == order_id):
                return order
        raise Rejected(Reason.UNKNOWN_ORDER, client_id or str(order_id))

    def cancel(
        self,
        api_key: str,
        symbol: str,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> SpotOrder:
        """Cancel one open order. Raises Rejected UNKNOWN_ORDER when it is not open."""
        order = self.find_order(api_key, symbol, order_id=order_id, client_id=client_id)
        if not order.status.is_open:
            raise Rejected(Reason.UNKNOWN_ORDER, order.client_id)
        wallet = self.wallet(api_key)
        done = self._end(wallet, order, OrderStatus.CANCELED)
        self._settle(wallet)
        return done

    def _check(self, wallet: SpotWallet, request: SpotRequest) -> None:
        market = self.market(request.symbol)
        mid = self.mid(request.symbol)
        is_market = request.order_type is OrderType.MARKET
        if not market.is_tradable:
            raise Rejected(Reason.SYMBOL_CLOSED, request.symbol)
        if request.client_id and not self._world.rules.client_id.match(request.client_id):
            raise Rejected(Reason.BAD_CLIENT_ID, request.client_id)
        taken = [order.client_id for order in wallet.orders.values()]
        if self._world.rules.spot_client_ids_stay_taken:
            taken += [order.client_id for order in wallet.done.values()]
        if request.client_id and request.client_id in taken:
            raise Rejected(Reason.DUPLICATE_CLIENT_ID, request.client_id)
        if (request.trigger_price is None) is not (request.book is SpotBook.NORMAL):
            raise Rejected(Reason.MISSING_PARAMETER, "triggerPrice")
        if not is_market and request.price is None:
            raise Rejected(Reason.MISSING_PARAMETER, "price")
        if request.price is not None and request.price <= 0:
            raise Rejected(Reason.PRICE_NOT_POSITIVE, "price")
        if request.price is not None and request.price % market.tick:
            raise Rejected(Reason.PRICE_OFF_TICK, "price")
        _check_quantity(market, request.quantity, is_market=is_market)
        price = request.price or mid
        if price is None:
            raise Rejected(Reason.NO_PRICE, request.symbol)
        if request.quantity * price < market.min_notional:
            raise Rejected(Reason.NOTIONAL_TOO_SMALL, f"{market.min_notional:f}")
        if len(wallet.orders) >= MAX_SPOT_ORDERS and not is_market:
            raise Rejected(Reason.TOO_MANY_ORDERS, request.symbol)
        if request.book is SpotBook.PLAN:
            return
        sells = request.side is OrderSide.SELL
        asset, needed = (market.base, request.quantity) if sells else (market.quote, ZERO)
        if not sells:
            needed = request.quantity * (price if request.price else market.ask(price))
        if needed > wallet.view(self._world).free(asset):
            raise Rejected(Reason.BALANCE_INSUFFICIENT, asset)

    def _work(
        self, wallet: SpotWallet, order: SpotOrder, *, fill_fraction: Decimal | None
    ) -> SpotOrder:
        mid, market = self.mid(order.symbol), self.markets[order.symbol]
        if order.book is not SpotBook.NORMAL:
            return order
        if order.order_type is OrderType.MARKET:
            if mid is None:
                return self._end(wallet, order, OrderStatus.EXPIRED)
            quantity = order.quantity
            if fill_fraction is not None:
                quantity = market.floor(quantity * fill_fraction)
            price = _taker_price(market, mid=mid, side=order.side, quantity=quantity)
            return self._execute(wallet, order, quantity=quantity, price=price, may_rest=False)
        if self._is_marketable(order.symbol, order.side, order.price):
            return self._execute(
                wallet, order, quantity=order.quantity, price=order.price, may_rest=True
            )
        if order.time_in_force is TimeInForce.IOC:
            return self._end(wallet, order, OrderStatus.EXPIRED)
        return order

    def _execute(
        self,
        wallet: SpotWallet,
        order: SpotOrder,
        *,
        quantity: Decimal,
        price: Decimal,
        may_rest: bool,
    ) -> SpotOrder:
        if quantity > 0:
            sells = order.side is OrderSide.SELL
            came_in, into = (quantity * price, order.quote) if sells else (quantity, order.base)
            fee = (came_in * self.markets[order.symbol].fee).quantize(MONEY)
            wallet.change(order.holds, -(quantity if sells else quantity * price))
            wallet.change(into, came_in - fee)
            fill = SpotFill(
                trade_id=self._world.next_id(),
                quantity=quantity,
                price=price,
                fee=fee,
                fee_asset=into,
            )
            order = replace(
                order,
                filled=order.filled + quantity,
                quote_filled=order.quote_filled + quantity * price,
                updated_at=self._world.now,
                status=OrderStatus.PARTIALLY_FILLED,
                fills=(*order.fills, fill),
            )
        if order.filled >= order.quantity:
            return wallet.keep(replace(order, status=OrderStatus.FILLED))
        if may_rest:
            return wallet.keep(order)
        return self._end(wallet, order, OrderStatus.EXPIRED)

    def _end(self, wallet: SpotWallet, order: SpotOrder, status: OrderStatus) -> SpotOrder:
        return wallet.keep(replace(order, status=status, updated_at=self._world.now))

    def _record(
        self, event: str, api_key: str, request: SpotRequest, **details: Decimal | str
    ) -> None:
        self._world.record(
            event,
            account=api_key,
            symbol=request.symbol,
            side=request.side.value,
            quantity=request.quantity,
            price=request.price,
            order_type=request.order_type.value,
            client_id=request.client_id,
            cause=request.cause.value,
            **details,
        )

    def _settle(self, wallet: SpotWallet) -> None:
        self._world.revision += 1
        wallet.history.append(wallet.view(self._world))


def _check_quantity(market: SpotMarket, quantity: Decimal, *, is_market: bool) -> None:
    if quantity <= 0:
        raise Rejected(Reason.QUANTITY_NOT_POSITIVE, f"{quantity:f}")
    if quantity != quantity.quantize(MONEY):
        raise Rejected(Reason.QUANTITY_TOO_PRECISE, f"{quantity:f}")
    if quantity % market.step:
        raise Rejected(Reason.QUANTITY_OFF_STEP, f"{quantity:f}")
    if quantity < market.min_quantity:
        raise Rejected(Reason.QUANTITY_TOO_SMALL, f"{market.min_quantity:f}")
    if is_market and quantity > market.market_max:
        raise Rejected(Reason.MARKET_QUANTITY_TOO_LARGE, f"{market.market_max:f}")
    if quantity > market.limit_max:
        raise Rejected(Reason.QUANTITY_TOO_LARGE, f"{market.limit_max:f}")


def _taker_price(
    market: SpotMarket, *, mid: Decimal, side: OrderSide, quantity: Decimal
) -> Decimal:
    """Average price of a market order: the best price, moved against the taker by its size."""
    sells = side is OrderSide.SELL
    best = market.bid(mid) if sells else market.ask(mid)
    impact = market.impact(quantity * best)
    return (best * (1 - impact if sells else 1 + impact)).quantize(MONEY)
