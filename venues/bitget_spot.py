"""The spot account of a classic Bitget account through real ccxt: which endpoint answers what.

Fields are read by `bitget_spot_account` and `bitget_spot_records`, coins are valued and routed by
`spot_values`; what a refusal proves is in `bitget_errors`. Its rows are coins: a position read
gives what can be sold of each, and a close is a market sale on the coin's own market, with its base
quantity and never with a price. A unified account has no spot account beside its wallet and refuses
every question of this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from clock import Clock
from errors import InvariantViolation, Malformed, Unavailable
from inspection import Inspection
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Ledger,
    LedgerEntry,
    MarketLimits,
    Order,
    Outcome,
    Position,
    PositionMode,
    Reading,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from venues.access import Access
from venues.asking import asking
from venues.bitget_errors import (
    IS_UNIFIED,
    PAUSES_S,
    code_of,
    is_clock_refusal,
    is_error_body,
    judge_spot,
    remedy_of,
    retry_after_s,
)
from venues.bitget_family import as_list, data_of, rows_in
from venues.bitget_pacing import DEFAULT_RATES, cost_of
from venues.bitget_spot_account import parse_balances, parse_markets, parse_tickers
from venues.bitget_spot_inspection import inspect_spot
from venues.bitget_spot_records import (
    NORMAL,
    PLAN,
    TPSL,
    parse_bills,
    parse_order,
)
from venues.bitget_spot_sales import SpotSales
from venues.ccxt_client import Params
from venues.connection import Manners, VenueConnection, together
from venues.exchange_library import bitget
from venues.failure import Failure
from venues.outcomes import as_one
from venues.parsing import Fields, as_fields, required_integer, required_text
from venues.spot_prices import SpotPrices
from venues.spot_values import (
    BRIDGES,
    choose_markets,
    holdings,
    limits_by_coin,
    market_by_name,
    value_balances,
)

LEDGER_REACH_S = 89 * 86400.0
"""Bills are told for spans of 90 days at most."""
CLOCK_CHANGE_S = 1.0
"""Two measurements of the venue's clock never differ by so much unless a clock was set."""
ORDER_WAITS_S = 5.5
"""Fifty sales go out in one round, ten in each window, also where every answer is late."""
LANDS_WITHIN_S = 37.0
"""It takes a request for 30 s, and no request can name a shorter window to it."""
PAGE, BILLS_PAGE = 100, 500
"""Most orders, and most bills, that the venue gives at once."""
PAGES = 40
"""Most pages read of one list: 4,000 orders, 20,000 bills."""
BOOKS: Mapping[str, tuple[str, Params]] = {
    NORMAL: ("privateSpotGetV2SpotTradeUnfilledOrders", {"tpslType": NORMAL}),
    TPSL: ("privateSpotGetV2SpotTradeUnfilledOrders", {"tpslType": TPSL}),
    PLAN: ("privateSpotGetV2SpotTradeCurrentPlanOrder", {}),
}
"""Where the three kinds of open orders are listed; none of the lists holds another's."""
_ASSETS = "privateSpotGetV2SpotAccountAssets"
_HELD_ALONE: Params = {"assetType": "hold_only"}
ONE_WALLET = (
    "a unified account is one wallet: remove accounts.spot, the futures scope watches its coins"
)


def _parse_time(answer: object) -> int:
    return required_integer(as_fields(data_of(answer, "time"), "time"), "serverTime", "time")


def _remedy_of(failure: Failure) -> str:
    return ONE_WALLET if code_of(failure.body) == IS_UNIFIED else remedy_of(failure)


MANNERS = Manners(
    name="bitget spot",
    client_class=bitget,
    options={"uta": False, "fetchCurrencies": False},
    time_endpoint="publicCommonGetV2PublicTime",
    parse_time=_parse_time,
    is_error_body=is_error_body,
    judge=judge_spot,
    retry_after_s=retry_after_s,
    is_clock_refusal=is_clock_refusal,
    rates=DEFAULT_RATES,
    cost_of=cost_of,
    pauses_s=PAUSES_S,
    order_waits_s=ORDER_WAITS_S,
    remedy_of=_remedy_of,
)
"""How the spot side of Bitget wants to be talked to; it counts every endpoint for itself."""


class BitgetSpot:
    """The spot account of one classic Bitget account (`venues.protocol.Venue`).

    `stables` are the assets worth 1, in the order in which coins are sold for them. Raises
    ConfigurationError for an access that cannot be used.
    """

    def __init__(
        self, *, scope: ScopeId, access: Access, clock: Clock, stables: tuple[str, ...]
    ) -> None:
        self.lands_within_s = LANDS_WITHIN_S
        self._scope = scope
        self._clock = clock
        self._stables = tuple(Asset(name) for name in stables)
        self._access = access
        self._connection = VenueConnection(MANNERS, access, clock)
        self._markets: Mapping[Symbol, MarketLimits] = {}
        self._sold_on: Mapping[Asset, MarketLimits] = {}
        self._prices = SpotPrices(stables=self._stables, clock=clock)
        self._paid: Mapping[Symbol, float] = {}
        self._sales = SpotSales(self._connection, clock=clock, market_of=self._sold_on_what)

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account of this connection."""
        return (self._scope,)

    async def start(self) -> None:
        """Learn the venue's clock; may be called again. Raises Unavailable or Malformed."""
        await self._connection.measure_clock()

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        await self._connection.aclose()

    # --- reading ------------------------------------------------------------------------------

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read balances and the prices of all markets together."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        answer, _prices, _ = await together(
            self._connection.read(_ASSETS, "assets", _HELD_ALONE),
            self._read_prices(),
            self._connection.renew_clock(),
        )
        balances = parse_balances(answer)
        value = value_balances(
            balances,
            stables=self._stables,
            prices=self._price([balance.asset for balance in balances]),
            sellable={each.asset for each in balances if self._market_of(each.asset) is not None},
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
            server_offset_s=self._connection.server_offset_s,
            unpriced=value.unpriced,
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read what could be sold of each coin, past the reader's queue, at the latest prices."""
        self._require_scope(scope)
        answer = await self._connection.read_at_once(_ASSETS, "assets", _HELD_ALONE)
        return holdings(parse_balances(answer), stables=self._stables, prices=self._prices.latest())

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read the open orders of all three books, of all markets and pages."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        lists = await together(*(self._fetch_book(book) for book in BOOKS))
        return tuple(
            parse_order(row, scope=scope, book=book, markets=self._markets)
            for book, rows in zip(BOOKS, lists, strict=True)
            for row in rows
        )

    async def _fetch_book(self, book: str) -> list[Fields]:
        endpoint, params = BOOKS[book]
        under = "orderList" if book == PLAN else ""
        return await self._fetch_list(
            endpoint, f"{book} orders", params={**params, "limit": PAGE}, under=under, page=PAGE
        )

    async def _fetch_list(
        self,
        endpoint: str,
        what: str,
        *,
        params: Params,
        page: int,
        under: str = "",
        named: str = "orderId",
    ) -> list[Fields]:
        """Every row of a list; the next page begins below the last id of a full one.

        Raises Unavailable when a page leads nowhere or there are too many.
        """
        rows: dict[str, Fields] = {}
        for _ in range(PAGES):
            answer = await self._connection.read(endpoint, what, params)
            found = rows_in(answer, under, what) if under else as_list(data_of(answer, what), what)
            ids = [required_text(row, named, what) for row in found]
            if len(found) >= page and rows.keys() >= set(ids):
                raise Unavailable(f"{what}: a full page repeats the one before it")
            rows.update(zip(ids, found, strict=True))
            if len(found) < page:
                return list(rows.values())
            params = {**params, "idLessThan": ids[-1]}
        raise Unavailable(f"{what}: more than {PAGES * page}")

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Price coins by their names."""
        if not symbols:
            return {}
        await self._read_prices()
        prices = self._price([Asset(symbol) for symbol in symbols])
        missing = sorted(set(symbols) - {Symbol(asset) for asset in prices})
        if missing:
            raise Unavailable(f"tickers: no price for {', '.join(missing)}")
        return {Symbol(asset): price for asset, price in prices.items()}

    async def _read_prices(self) -> None:
        answer = await self._connection.read("publicSpotGetV2SpotMarketTickers", "tickers")
        told = parse_tickers(answer)
        self._prices.mids, self._paid = told.mids, told.paid

    def _price(self, assets: Sequence[Asset]) -> dict[Asset, float]:
        """Price coins by their books, else by what was paid last or what they were last worth."""
        known = self._prices.of([*assets, *BRIDGES])
        for asset in assets:
            market = market_by_name(asset, mids=self._prices.mids, stables=self._stables)
            if asset not in known and market is not None:
                paid = self._paid.get(market)
                self._prices.take_last_paid(asset, paid=paid, prices=known)
        return self._prices.of(assets)

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read on which market each coin is sold and what that accepts, by the coins' names."""
        answer = await self._connection.read("publicSpotGetV2SpotPublicSymbols", "symbols")
        self._markets = parse_markets(answer)
        self._sold_on = choose_markets(self._markets.values(), stables=self._stables)
        # Least values are in money here, whatever the market pays in.
        return limits_by_coin(self._sold_on, prices=dict.fromkeys(BRIDGES, 1.0))

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """One-way: there are no legs on a spot market."""
        self._require_scope(scope)
        return PositionMode.ONE_WAY

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """Ask what `check` shows; a part that is not told is a value."""
        self._require_scope(scope)
        markets = {
            symbol: market
            for symbol in symbols
            if (market := self._market_of(Asset(symbol))) is not None
        }
        async with asking(MANNERS, self._access, self._clock) as asker:
            now = self._clock.now()
            return await inspect_spot(asker, now=now, scope=scope, markets=markets)

    def _market_of(self, asset: Asset) -> Symbol | None:
        """The market that a coin is sold on; until the rules are known, by its spelling."""
        if self._sold_on:
            market = self._sold_on.get(asset)
            return None if market is None else market.symbol
        return market_by_name(asset, mids=self._prices.mids, stables=self._stables)

    def _sold_on_what(self, asset: Asset) -> tuple[Symbol, Asset] | None:
        """That market, and what it pays in, which its spelling does not tell for certain."""
        market = self._market_of(asset)
        known = self._sold_on.get(asset)
        return None if market is None else (market, Asset("") if known is None else known.quote)

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read the bills that moved money since then, at current prices, on our clock.

        Raises Unavailable when there are too many, or when the clock they were asked by proved
        wrong meanwhile. What is older than 89 days is not asked for.
        """
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        since = max(since, asked_at - LEDGER_REACH_S)
        offset_s = self._connection.server_offset_s
        params: Params = {
            "startTime": int((since + offset_s) * 1000),
            "endTime": int((asked_at + CLOCK_CHANGE_S + offset_s) * 1000),
            "limit": BILLS_PAGE,
        }
        rows = await self._fetch_list(
            "privateSpotGetV2SpotAccountBills",
            "bills",
            params=params,
            page=BILLS_PAGE,
            named="billId",
        )
        records = sorted(parse_bills(rows), key=lambda record: (record.at_ms, record.record_id))
        if abs(self._connection.server_offset_s - offset_s) > CLOCK_CHANGE_S:
            raise Unavailable("bills: the clock was measured anew meanwhile")
        assets = sorted({record.asset for record in records} - set(self._stables))
        if assets:
            await self._read_prices()
        prices = self._price(assets)
        unpriced = [asset for asset in assets if asset not in prices]
        if unpriced:
            raise Malformed(f"bills: no price for {unpriced[0]}; stables_keep may name it")
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                LedgerEntry(
                    record_id=record.record_id,
                    scope=scope,
                    kind=record.kind,
                    at=record.at_ms / 1000 - offset_s,
                    amount=record.amount * prices.get(record.asset, 1.0),
                    asset=record.asset,
                )
                for record in records
            ),
        )

    # --- closing ------------------------------------------------------------------------------

    def make_ready(self, closes: int) -> None:
        """Begin to open connections for sales that may come soon."""
        self._connection.make_ready(closes, host="spot")

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Sell a coin on the market that was chosen for it, for what that pays in.

        Spot sells nothing that is not there: the venue refuses what exceeds the free balance.
        Raises InvariantViolation for anything but an approved instruction of this account.
        """
        self._require_sale(instruction)
        return await self._sales.sell(instruction)

    def _require_sale(self, instruction: CloseInstruction) -> None:
        """Refuse whatever is no approved sale of a coin of this account."""
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        self._require_scope(instruction.scope)
        if instruction.side is not Side.LONG or Asset(instruction.symbol) in self._stables:
            raise InvariantViolation(f"{instruction.symbol} {instruction.side} is no coin to sell")

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several sales at once, each in a request of its own, with its own outcome.

        Raises InvariantViolation before anything is sent if one of them may not be.
        """
        for instruction in instructions:
            self._require_sale(instruction)
        return tuple(await asyncio.gather(*map(self._sales.sell, instructions)))

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order where its book is; one already gone is Done."""
        self._require_scope(order.scope)
        return await self._sales.cancel(order)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel every order that trades or holds a coin, on all of its markets."""
        try:
            orders = await self.fetch_orders(scope)
        except (Unavailable, Malformed) as fault:
            return Unknown(cause=str(fault))
        own = [order for order in orders if symbol in (order.row_symbol, order.holds)]
        outcomes = await asyncio.gather(*map(self.submit_cancel, own))
        return as_one(outcomes)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look a sale up by our own id, on the market that the coin is sold on."""
        self._require_scope(scope)
        return await self._sales.find(client_id, Asset(symbol))

    def _require_scope(self, scope: ScopeId) -> None:
        """Refuse work for another account: it would be carried out on this one."""
        if scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {scope}")
