"""Bybit v5, unified account, linear contracts, through real ccxt: which endpoint answers what.

Fields are read by `bybit_account`, `bybit_records` and `bybit_markets`; orders go by
`bybit_orders`; what a refusal proves is in `bybit_errors`; clients and clock are in `connection`.
Contracts settled in USDT and in USDC are two lists each, of positions and of orders. Requests use
ccxt's implicit endpoint methods, so that quantities stay the venue's own strings, and so that ccxt
asks nothing of its own accord before an order: its unified calls ask what the account is first,
and send no order where that fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from clock import Clock
from errors import InvariantViolation, Malformed, Unavailable
from inspection import Inspection
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Ledger,
    MarginMode,
    MarketLimits,
    Order,
    Outcome,
    Position,
    PositionMode,
    Reading,
    RecordId,
    ScopeId,
    Side,
    Symbol,
)
from venues.access import Access
from venues.bybit_account import (
    SETTLE_COINS,
    Held,
    Wallet,
    parse_margin_mode,
    parse_mode,
    parse_page,
    parse_positions,
    parse_wallet,
    position_mode_of,
    positions_of,
    result_of,
    value_coins,
)
from venues.bybit_errors import (
    PAUSES_S,
    is_clock_refusal,
    is_error_body,
    is_of_address,
    judge,
    remedy_of,
    retry_after_s,
)
from venues.bybit_inspection import inspect_account
from venues.bybit_markets import parse_market_limits, parse_marks, parse_spot_prices
from venues.bybit_orders import BybitOrders
from venues.bybit_pacing import RATES, cost_of
from venues.bybit_records import (
    LogRow,
    parse_log,
    parse_orders,
)
from venues.ccxt_client import Params
from venues.connection import Kept, Manners, VenueConnection, together
from venues.exchange_library import bybit
from venues.parsing import Fields, changes_of, required_integer

POSITION_PAGE = 200
ORDER_PAGE = 50
LOG_PAGE = 50
MARKET_PAGE = 1000
PAGES = 100
"""Most pages read for one list: 5,000 orders, 20,000 positions."""
LOG_PAGES = 400
"""Most pages read for one ledger: 20,000 records, 16 s of the log's allowance."""
LOG_WINDOW_S = 7 * 86400.0
"""The longest period that the venue takes in one question."""
LEDGER_REACH_S = 89 * 86400.0
CLOCK_CHANGE_S = 1.0
"""By so much two measurements of the venue's clock never differ unless one of the clocks was set.
Records asked for by the old one leave some out, and their times are wrong by as much."""
LANDS_WITHIN_S = 15.0
"""It takes a request for 5 s, by the window that the library names to it."""
ORDER_WAITS_S = 3.0
"""Sixty orders go out in three seconds, twenty in each."""
_LINEAR: Params = {"category": "linear"}
_MARKET_LISTS: tuple[Params, ...] = (
    {**_LINEAR, "limit": MARKET_PAGE},
    {**_LINEAR, "limit": MARKET_PAGE, "status": "PreLaunch"},
    {**_LINEAR, "limit": MARKET_PAGE, "status": "Delivering"},
)
"""Without a status only what is trading is listed."""
SAMPLE = Symbol("BTCUSDT")
"""Asked for its mode where nothing is held: every account may trade it."""

Read = Callable[[str, str, Params], Awaitable[Any]]


def _parse_time(answer: object) -> int:
    return required_integer(result_of(answer, "time"), "timeNano", "time") // 1_000_000


MANNERS = Manners(
    name="bybit",
    client_class=bybit,
    options={
        "fetchCurrencies": False,
        "enableUnifiedMargin": False,
        "enableUnifiedAccount": True,
        "unifiedMarginStatus": 6,
    },
    time_endpoint="publicGetV5MarketTime",
    parse_time=_parse_time,
    is_error_body=is_error_body,
    judge=judge,
    retry_after_s=retry_after_s,
    is_clock_refusal=is_clock_refusal,
    rates=RATES,
    cost_of=cost_of,
    pauses_s=PAUSES_S,
    order_waits_s=ORDER_WAITS_S,
    is_of_address=is_of_address,
    remedy_of=remedy_of,
)
"""How Bybit wants to be talked to."""


class BybitUnified:
    """One unified trading account and its linear contracts (`venues.protocol.Venue`).

    `stables` are the assets worth 1. Raises ConfigurationError for an access that cannot be used.
    """

    def __init__(
        self, *, scope: ScopeId, access: Access, clock: Clock, stables: tuple[str, ...]
    ) -> None:
        self.lands_within_s = LANDS_WITHIN_S
        self._scope = scope
        self._clock = clock
        self._stables = tuple(Asset(name) for name in stables)
        self._connection = VenueConnection(MANNERS, access, clock)
        self._margin_mode = Kept(self._fetch_margin_mode, clock)
        self._bases: dict[Symbol, Asset] = {}
        self._indices: dict[tuple[Symbol, Side], int] = {}
        self._flat_mode = PositionMode.ONE_WAY
        self._own_prices: dict[Asset, float] = {}
        self._wallet: Wallet | None = None
        self._sold_on: Mapping[Asset, MarketLimits] = {}
        self._orders = BybitOrders(
            self._connection,
            scope=scope,
            clock=clock,
            listed=lambda symbol, side: self._indices.get((symbol, side)),
        )

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account of this connection."""
        return (self._scope,)

    async def start(self) -> None:
        """Learn the venue's clock and how the account is backed; may be called again.

        Raises Unavailable or Malformed; reads work without it and catch up on what is missing.
        """
        await self._connection.measure_clock()
        await self._margin_mode.fetch()

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """Ask what `check` shows of this account, its key and what is not watched beside it."""
        self._require_scope(scope)
        return await inspect_account(
            self._connection, clock=self._clock, scope=scope, symbols=symbols
        )

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        await self._connection.aclose()

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read the wallet and the positions of both coins together."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        wallet_answer, rows, margin_mode, _ = await together(
            self._connection.read(
                "privateGetV5AccountWalletBalance", "wallet", {"accountType": "UNIFIED"}
            ),
            self._fetch_position_rows(self._connection.read),
            self._margin_mode.renew(),
            self._connection.renew_clock(),
        )
        wallet = parse_wallet(wallet_answer)
        self._wallet = wallet
        held = self._parse_held(rows, margin_mode=margin_mode)
        coins = wallet.unstable(self._stables)
        unpriced = tuple(coin.asset for coin in coins if coin.price is None)
        prices = await self._fetch_prices(unpriced)
        self._own_prices |= {coin.asset: coin.price for coin in coins if coin.price is not None}
        for asset in set(unpriced) - set(prices):
            self._own_prices.setdefault(asset, 0.0)
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=wallet.equity,
            wallet=wallet.wallet,
            unrealised_pnl=wallet.unrealised_pnl,
            positions=positions_of(held),
            coins=value_coins(coins, prices=prices, for_sale=self._sold_on),
            position_mode=position_mode_of(held) or self._flat_mode,
            # The totals count collateral alone, with the venue's haircut; the equity counts all.
            wallet_defines_equity=False,
            server_offset_s=self._connection.server_offset_s,
            changed_at=changes_of(
                chain.from_iterable(rows), names=("symbol", "positionIdx"), told_in="updatedTime"
            ),
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read the positions alone, past the reader's queue; figures of 0 are unknown."""
        self._require_scope(scope)
        return positions_of(await self._fetch_held_at_once())

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """Read by its positions whether the account is hedged on any symbol, afresh.

        Where nothing is held, one symbol stands for all: it is listed without a position too.
        """
        self._require_scope(scope)
        shown = position_mode_of(await self._fetch_held_at_once())
        if shown is None:
            answer = await self._connection.read_at_once(
                "privateGetV5PositionList", "position", {**_LINEAR, "symbol": SAMPLE}
            )
            self._flat_mode = parse_mode(parse_page(answer, "position")[0])
        return shown or self._flat_mode

    async def _fetch_held_at_once(self) -> tuple[Held, ...]:
        rows = await self._fetch_position_rows(self._connection.read_at_once)
        mode = self._margin_mode.value or MarginMode.CROSS
        return self._parse_held(rows, margin_mode=mode, is_for_closing=True)

    async def _fetch_position_rows(self, read: Read) -> list[tuple[Fields, ...]]:
        """The rows of `position/list`, of each coin in the order of SETTLE_COINS."""
        return await together(
            *(
                self._fetch_list(
                    read,
                    "privateGetV5PositionList",
                    "position",
                    params={**_LINEAR, "settleCoin": coin, "limit": POSITION_PAGE},
                )
                for coin in SETTLE_COINS
            )
        )

    def _parse_held(
        self,
        rows: Sequence[tuple[Fields, ...]],
        *,
        margin_mode: MarginMode,
        is_for_closing: bool = False,
    ) -> tuple[Held, ...]:
        """Read the positions and keep their indices: the mode is each symbol's own."""
        held = tuple(
            chain.from_iterable(
                parse_positions(
                    each,
                    settle=coin,
                    bases=self._bases,
                    margin_mode=margin_mode,
                    is_for_closing=is_for_closing,
                )
                for coin, each in zip(SETTLE_COINS, rows, strict=True)
            )
        )
        self._indices = {(each.position.symbol, each.position.side): each.index for each in held}
        return held

    async def _fetch_list(
        self,
        read: Read,
        endpoint: str,
        what: str,
        *,
        params: Params,
        most_pages: int = PAGES,
    ) -> tuple[Fields, ...]:
        """Every row of a list, page by page.

        A cursor is sent back exactly as it came, because it is encoded for a URL already. The last
        page may have one too; what follows it is empty. Raises Unavailable for a list that has no
        end, Malformed for a page that is none.
        """
        rows: list[Fields] = []
        seen: set[str] = set()
        page, cursor = parse_page(await read(endpoint, what, params), what)
        while page:
            rows += page
            if not cursor:
                break
            if cursor in seen or len(seen) >= most_pages:
                raise Unavailable(f"{what}: the list has no end after {len(rows)} rows")
            seen.add(cursor)
            following = await read(endpoint, what, {**params, "cursor": cursor})
            page, cursor = parse_page(following, what)
        return tuple(rows)

    async def _fetch_margin_mode(self, is_urgent: bool) -> MarginMode:
        read = self._connection.read_at_once if is_urgent else self._connection.read
        return parse_margin_mode(await read("privateGetV5AccountInfo", "account"))

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read the orders of every kind, on the symbols of both coins."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        lists = await together(
            *(
                self._fetch_list(
                    self._connection.read,
                    "privateGetV5OrderRealtime",
                    "order",
                    params={**_LINEAR, "settleCoin": coin, "openOnly": 0, "limit": ORDER_PAGE},
                )
                for coin in SETTLE_COINS
            )
        )
        return parse_orders(chain.from_iterable(lists), scope=scope)

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Read marks; the row of a coin bears the asset's name and is priced as the asset.

        One that no market prices has the price by which the wallet valued it last.
        """
        if not symbols:
            return {}
        one = {"symbol": symbols[0]} if len(symbols) == 1 and symbols[0] in self._bases else {}
        answer = await self._connection.read(
            "publicGetV5MarketTickers", "tickers", {**_LINEAR, **one}
        )
        marks = parse_marks(answer, wanted=frozenset(symbols))
        coins = await self._fetch_prices(
            tuple(Asset(name) for name in sorted(set(symbols) - set(marks) - set(self._bases)))
        )
        priced = self._own_prices | coins
        found = marks | {Symbol(asset): price for asset, price in priced.items() if price > 0}
        missing = sorted(set(symbols) - set(found))
        if missing:
            raise Unavailable(f"tickers: no mark for {', '.join(missing)}")
        return {symbol: found[symbol] for symbol in symbols}

    async def _fetch_prices(self, assets: Collection[Asset]) -> dict[Asset, float]:
        """Price assets by their contracts in USDT (else USDC), else by their last spot price.

        An asset that none of them knows is left out of the answer.
        """
        if not assets:
            return {}
        contracts = {asset: (Symbol(f"{asset}USDT"), Symbol(f"{asset}PERP")) for asset in assets}
        answer = await self._connection.read("publicGetV5MarketTickers", "tickers", _LINEAR)
        marks = parse_marks(answer, wanted=set(chain.from_iterable(contracts.values())))
        prices = _first_found(contracts, marks)
        left = {
            asset: (Symbol(f"{asset}USDT"), Symbol(f"{asset}USDC"))
            for asset in assets
            if asset not in prices
        }
        if left:
            answer = await self._connection.read(
                "publicGetV5MarketTickers", "tickers", {"category": "spot"}
            )
            wanted = set(chain.from_iterable(left.values()))
            prices |= _first_found(left, parse_spot_prices(answer, wanted=wanted))
        return prices

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read account records since then, valued at current marks, times on our clock.

        A coin that no market prices counts as the wallet valued it last, also at nothing, or one
        record in such a coin would keep all flows from being read.
        Raises Unavailable when there are more than 20,000 records in a week, or when the clock
        they were asked by proved wrong meanwhile. What is older than 89 days is not asked for.
        """
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        since = max(since, asked_at - LEDGER_REACH_S)
        offset_s = self._connection.server_offset_s
        rows = await self._fetch_log(
            first_ms=int((since + offset_s) * 1000), last_ms=int((asked_at + offset_s) * 1000) + 1
        )
        if abs(self._connection.server_offset_s - offset_s) > CLOCK_CHANGE_S:
            raise Unavailable("log: the clock was measured anew meanwhile")
        assets = tuple(sorted({row.asset for row in rows} - set(self._stables)))
        prices = await self._fetch_prices(assets)
        prices = self._own_prices | prices
        unpriced = [asset for asset in assets if asset not in prices]
        if unpriced:
            raise Malformed(f"log: no price for {unpriced[0]}; stables_keep may name it")
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                row.to_entry(
                    scope=scope,
                    at=row.at_ms / 1000 - offset_s,
                    price=prices.get(row.asset, 1.0),
                )
                for row in rows
            ),
        )

    async def _fetch_log(self, *, first_ms: int, last_ms: int) -> tuple[LogRow, ...]:
        """Every account record of a period, each once, oldest first; week by week."""
        rows: dict[RecordId, LogRow] = {}
        week_ms = int(LOG_WINDOW_S * 1000)
        for start_ms in range(first_ms, last_ms, week_ms):
            params: Params = {
                "accountType": "UNIFIED",
                "startTime": start_ms,
                "endTime": min(start_ms + week_ms, last_ms),
                "limit": LOG_PAGE,
            }
            found = await self._fetch_list(
                self._connection.read,
                "privateGetV5AccountTransactionLog",
                "log",
                params=params,
                most_pages=LOG_PAGES,
            )
            rows.update((row.record_id, row) for row in parse_log(found))
        return tuple(sorted(rows.values(), key=lambda row: (row.at_ms, row.record_id)))

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read what every market accepts, and learn the bases of their symbols.

        Markets that are not trading yet, or no longer, are lists of their own.
        """
        lists = await together(
            *(
                self._fetch_list(
                    self._connection.read,
                    "publicGetV5MarketInstrumentsInfo",
                    "instruments",
                    params=params,
                )
                for params in _MARKET_LISTS
            )
        )
        limits = parse_market_limits(chain.from_iterable(lists))
        self._bases = {symbol: market.base for symbol, market in limits.items()}
        return limits

    def make_ready(self, closes: int) -> None:
        """Begin to open connections for closes that may come soon."""
        self._connection.make_ready(closes, host="private")

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing market order; see `bybit_orders`."""
        return await self._orders.close(instruction)

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several closing orders at once; each has its own outcome."""
        return await self._orders.close_all(instructions)

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order of any kind; an order already gone is Done."""
        self._require_scope(order.scope)
        return await self._orders.cancel(order)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel the orders of every kind of a symbol."""
        self._require_scope(scope)
        return await self._orders.cancel_all(symbol)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look an order up by our own id."""
        self._require_scope(scope)
        return await self._orders.find(client_id, symbol)

    def _require_scope(self, scope: ScopeId) -> None:
        """Refuse work for another account: it would be carried out on this one."""
        if scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {scope}")


def _first_found(
    names: Mapping[Asset, Iterable[Symbol]], prices: Mapping[Symbol, float]
) -> dict[Asset, float]:
    """The price of each asset under the first of its names that has one."""
    found = {
        asset: next((prices[name] for name in pair if name in prices), None)
        for asset, pair in names.items()
    }
    return {asset: price for asset, price in found.items() if price is not None}
