"""A spot account without any wire: the simulated spot desk behind the `Venue` protocol.

It meets the same troubles as `MemoryVenue`. Valuation and routing are the guard's own
(`venues.spot_values`), so that what is under test is the guard, not a second opinion of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from errors import Malformed, Unavailable
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    Ledger,
    LedgerEntry,
    LedgerKind,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    Outcome,
    Position,
    PositionMode,
    Reading,
    RecordId,
    RefusalReason,
    Refused,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from simulator.reasons import Reason, Rejected
from simulator.spot_state import SpotOrder, SpotRequest, SpotView
from simulator.state import OrderType
from tests.memory_venue import KEY, MemoryVenue
from venues.spot_values import (
    Balance,
    choose_markets,
    holdings,
    limits_by_coin,
    price_assets,
    value_balances,
)

SPOT = ScopeId("binance_spot")
STABLES = (Asset("USDT"), Asset("USDC"))


class MemorySpot(MemoryVenue):
    """The spot side of the one account of an `Exchange` in memory."""

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Balances and prices of one moment."""
        asked_at = self.clock.now()
        view = await self._read_spot("fetch_reading")
        value = value_balances(
            _balances(view), stables=STABLES, prices=self._prices(view), sellable=self._sold_on
        )
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=value.equity,
            wallet=None,
            unrealised_pnl=None,
            positions=(),
            coins=value.coins,
            wallet_defines_equity=False,
            unpriced=value.unpriced,
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """What could be sold of each coin."""
        view = await self._read_spot("fetch_positions")
        return holdings(_balances(view), stables=STABLES, prices=self._prices(view))

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Open orders of all markets."""
        view = await self._read_spot("fetch_orders")
        return tuple(_order(order, self.scope) for order in view.orders.values())

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Prices by the names of coins."""
        await self._read("fetch_marks")
        found = price_assets(
            [Asset(symbol) for symbol in symbols], mids=self._mids(), stables=STABLES
        )
        if len(found) < len(symbols):
            raise Unavailable("no price")
        return {Symbol(asset): price for asset, price in found.items()}

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Money that came or went, at present prices."""
        asked_at = self.clock.now()
        await self._read("fetch_ledger")
        records = self.exchange.spot.wallet(KEY).records
        prices = price_assets(
            {Asset(record.asset) for record in records}, mids=self._mids(), stables=STABLES
        )
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                LedgerEntry(
                    record_id=RecordId(str(record.record_id)),
                    scope=scope,
                    kind=LedgerKind.TRANSFER,
                    at=record.at,
                    amount=float(record.amount) * prices.get(Asset(record.asset), 1.0),
                    asset=Asset(record.asset),
                )
                for record in records
                if record.at >= since
            ),
        )

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """The markets that coins are sold on, by the names of the coins."""
        await self._read("fetch_market_limits")
        prices = price_assets((Asset("BTC"), Asset("ETH")), mids=self._mids(), stables=STABLES)
        return limits_by_coin(self._sold_on, prices=prices)

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """There are no legs."""
        return PositionMode.ONE_WAY

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look a sale up by our id."""
        try:
            await self._read("find_order", client_id)
            market = self._sold_on[Asset(symbol)].symbol
            order = self.exchange.spot.find_order(KEY, market, client_id=client_id)
        except (Unavailable, Malformed) as fault:
            return Unknown(cause=str(fault))
        except Rejected as refusal:
            return Refused(reason=RefusalReason.NO_SUCH_ORDER, code=refusal.reason.value)
        return Done(order_id=VenueOrderId(str(order.order_id)), filled=order.filled)

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Sell at the market."""
        request = SpotRequest(
            symbol=self._sold_on[Asset(instruction.symbol)].symbol,
            side=OrderSide.SELL,
            order_type=OrderType.MARKET,
            quantity=instruction.quantity,
            client_id=instruction.client_id,
        )

        def place() -> Outcome:
            try:
                order = self.exchange.spot.place(KEY, request)
            except Rejected as refusal:
                if refusal.reason is not Reason.BALANCE_INSUFFICIENT:
                    raise
                return Refused(reason=RefusalReason.NOTHING_TO_REDUCE, code=refusal.reason.value)
            return Done(
                order_id=VenueOrderId(str(order.order_id)),
                filled=order.filled,
                brought=order.quote_filled - sum((fill.fee for fill in order.fills), Decimal(0)),
            )

        about = f"{instruction.symbol} {instruction.quantity.normalize():f}"
        return await self._submit("submit_close", about, place)

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order; one that is gone is Done."""

        def cancel() -> Outcome:
            try:
                self.exchange.spot.cancel(KEY, order.symbol, order_id=int(order.order_id))
            except Rejected as refusal:
                if refusal.reason is not Reason.UNKNOWN_ORDER:
                    raise
            return Done(order_id=order.order_id)

        return await self._submit("submit_cancel", f"{order.symbol} {order.order_id}", cancel)

    # --- what the desk holds ------------------------------------------------------------------

    async def _read_spot(self, name: str) -> SpotView:
        """The spot side of the moment that a read answers from."""
        view = await self._read(name)
        return self.exchange.spot.view(KEY, as_of=view.at)

    def _mids(self) -> dict[Symbol, float | None]:
        desk = self.exchange.spot
        return {
            Symbol(name): None if (mid := desk.mid(name)) is None else float(mid)
            for name in desk.markets
        }

    def _prices(self, view: SpotView) -> dict[Asset, float]:
        return price_assets(
            [Asset(name) for name in view.balances if name not in STABLES],
            mids=self._mids(),
            stables=STABLES,
        )

    @property
    def _sold_on(self) -> dict[Asset, MarketLimits]:
        return choose_markets(
            [
                MarketLimits(
                    symbol=Symbol(market.symbol),
                    base=Asset(market.base),
                    quote=Asset(market.quote),
                    step=market.step,
                    min_quantity=market.min_quantity,
                    market_max=market.market_max,
                    min_notional=market.min_notional,
                    reduce_only_waives_min_notional=False,
                    is_tradable=market.is_tradable,
                )
                for market in self.exchange.spot.markets.values()
            ],
            stables=STABLES,
        )


def _balances(view: SpotView) -> tuple[Balance, ...]:
    return tuple(
        Balance(asset=Asset(name), free=view.free(name), locked=view.locked(name))
        for name, held in view.balances.items()
        if held > Decimal(0)
    )


def _order(order: SpotOrder, scope: ScopeId) -> Order:
    return Order(
        scope=scope,
        order_id=VenueOrderId(str(order.order_id)),
        client_id=ClientOrderId(order.client_id),
        symbol=Symbol(order.symbol),
        kind=OrderKind.REGULAR,
        side=order.side,
        position_side=None,
        quantity=order.remaining,
        reduce_only=order.side is OrderSide.SELL,
        close_position=False,
        order_type=order.order_type.value,
        price=order.price,
        base=Asset(order.base),
        quote=Asset(order.quote),
    )
