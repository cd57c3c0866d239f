"""A unified Bitget account (UTA, v3): which endpoint answers which question.

One wallet backs everything. Its USDT and USDC contracts are watched; coin-margined ones, spot and
margin share the wallet, so their money is in the equity and their records are read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from errors import Unavailable
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    MarketLimits,
    Order,
    OrderKind,
    Outcome,
    PositionMode,
    ScopeId,
    Side,
    Symbol,
)
from venues.bitget_account import (
    UNIFIED_NAMES,
    parse_assets,
    parse_balances,
    parse_held,
    require_nothing_held,
)
from venues.bitget_family import (
    MARGIN_MODE_TEXTS,
    PRODUCTS,
    Account,
    Held,
    Listing,
    Record,
    Request,
    data_of,
    end_of,
    parse_mode,
    required_symbol,
    rows_in,
)
from venues.bitget_ledger import parse_financial
from venues.bitget_markets import UNIFIED_NAMES as MARKET_NAMES
from venues.bitget_markets import parse_listings, parse_marks, parse_spot_instruments
from venues.bitget_records import (
    STRATEGIES,
    TPSL,
    TRIGGER,
    judge_lookup,
    parse_strategy,
    parse_unified,
    parse_unified_spot,
)
from venues.connection import VenueConnection, together
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    changes_of,
    optional_decimal,
    plain_text,
    required_text,
)
from venues.spot_values import Balance

PAGE = 100
"""Most rows that the venue gives at once."""
PAGES = 60
"""Most pages read of one list."""
RECORD_CATEGORIES = ("SPOT", "MARGIN", "USDT-FUTURES", "COIN-FUTURES", "USDC-FUTURES", "OTHER")
"""Every category has records of the one wallet, and a transfer may be listed under any."""
SPOT = "SPOT"
"""Orders of this category never borrow; those of MARGIN do by themselves."""
SETTINGS = "privateUtaGetV3AccountSettings"
_POSITIONS = "privateUtaGetV3PositionCurrentPosition"
_ASSETS = "privateUtaGetV3AccountAssets"


class UnifiedAccount:
    """A unified account behind a connection (`bitget_family.Family`)."""

    def __init__(
        self,
        connection: VenueConnection,
        *,
        stables: Collection[Asset],
        bases: Mapping[Symbol, Asset],
    ) -> None:
        self._connection = connection
        self._stables = stables
        self._bases = bases
        self._sides: dict[Symbol, Side] = {}

    async def fetch_account(self) -> Account:
        """Read the wallet and the positions of both products together."""
        assets, *positions = await together(
            self._connection.read(_ASSETS, "assets"),
            *(
                self._connection.read(_POSITIONS, "current-position", {"category": product})
                for product in PRODUCTS
            ),
        )
        value = parse_assets(assets, stables=self._stables)
        held = self._parse_held(positions, is_lenient=False)
        if not held and any(map(_lists_null, positions)):
            require_nothing_held(assets)
        return Account(
            equity=value.equity,
            unrealised_pnl=value.unrealised_pnl,
            held=held,
            coins=value.coins,
            changed_at=changes_of(
                chain.from_iterable(
                    rows_in(answer, "list", "current-position") for answer in positions
                ),
                names=("symbol", "posSide", "marginMode"),
                told_in="updatedTime",
            ),
        )

    async def fetch_held(self) -> tuple[Held, ...]:
        """Read the positions of both products past the reader's queue."""
        answers = await together(
            *(
                self._connection.read_at_once(_POSITIONS, "current-position", {"category": product})
                for product in PRODUCTS
            )
        )
        held = self._parse_held(answers, is_lenient=True)
        if not held and any(map(_lists_null, answers)):
            require_nothing_held(await self._connection.read_at_once(_ASSETS, "assets"))
        return held

    def _parse_held(self, answers: Sequence[object], *, is_lenient: bool) -> tuple[Held, ...]:
        """Read the positions and keep their sides: orders that close them need not name one."""
        held = tuple(
            chain.from_iterable(
                parse_held(
                    rows_in(answer, "list", "current-position"),
                    UNIFIED_NAMES,
                    product=product,
                    bases=self._bases,
                    is_lenient=is_lenient,
                )
                for product, answer in zip(PRODUCTS, answers, strict=True)
            )
        )
        self._sides |= {each.position.symbol: each.position.side for each in held}
        return held

    async def fetch_balances(self, *, is_urgent: bool) -> tuple[Balance, ...]:
        """Read what may be sold of each coin, for closing past the reader's queue."""
        read = self._connection.read_at_once if is_urgent else self._connection.read
        return parse_balances(await read(_ASSETS, "assets"))

    async def fetch_spot_markets(self) -> Mapping[Symbol, MarketLimits]:
        """Read the rules of the spot markets."""
        answer = await self._connection.read(
            "publicUtaGetV3MarketInstruments", "spot instruments", {"category": SPOT}
        )
        return parse_spot_instruments(answer)

    async def fetch_spot_orders(
        self, scope: ScopeId, markets: Mapping[Symbol, MarketLimits]
    ) -> tuple[Order, ...]:
        """Read the open orders of spot markets; orders that wait for a price exist on none."""
        rows = await self._fetch_unfilled(SPOT)
        return tuple(parse_unified_spot(row, scope=scope, markets=markets) for row in rows)

    async def fetch_mode(self) -> PositionMode:
        """Read the mode that the whole account is set to."""
        answer = await self._connection.read_at_once(SETTINGS, "settings")
        return parse_mode(
            as_fields(data_of(answer, "settings"), "settings"), "holdMode", "settings"
        )

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read ordinary orders and both lists of conditional ones, of both products."""
        lists = await together(
            *(self._fetch_unfilled(product) for product in PRODUCTS),
            *(
                self._fetch_strategies(product, strategy)
                for strategy in STRATEGIES
                for product in PRODUCTS
            ),
        )
        regular = chain.from_iterable(lists[: len(PRODUCTS)])
        conditional: dict[str, Order] = {}
        for found in lists[len(PRODUCTS) :]:
            for strategy, row in found:
                order = parse_strategy(
                    row,
                    scope=scope,
                    strategy=strategy,
                    held=self._sides.get(required_symbol(row, "unfilled-strategy-orders")),
                )
                conditional.setdefault(order.order_id, order)
        return (*(parse_unified(row, scope=scope) for row in regular), *conditional.values())

    async def _fetch_unfilled(self, product: str) -> list[Fields]:
        """Every ordinary order of a product; raises Unavailable when a page leads nowhere."""
        what = "unfilled-orders"
        params: dict[str, str | int] = {"category": product, "limit": PAGE}
        rows: dict[str, Fields] = {}
        for _ in range(PAGES):
            answer = await self._connection.read("privateUtaGetV3TradeUnfilledOrders", what, params)
            page = rows_in(answer, "list", what)
            ids = [required_text(row, "orderId", what) for row in page]
            if len(page) >= PAGE and rows.keys() >= set(ids):
                raise Unavailable(f"{what}: a full page repeats the one before it")
            rows.update(zip(ids, page, strict=True))
            if len(page) < PAGE:
                return list(rows.values())
            params = {**params, "cursor": end_of(answer, "cursor", ids)}
        raise Unavailable(f"{what}: more than {PAGES * PAGE} orders")

    async def _fetch_strategies(self, product: str, strategy: str) -> list[tuple[str, Fields]]:
        """The conditional orders of one type, which the venue gives on one page.

        Asked for by type because what is listed without one is not documented. A row that names a
        trigger price of its own is a trigger order, whichever list it came in.
        """
        what = "unfilled-strategy-orders"
        answer = await self._connection.read(
            "privateUtaGetV3TradeUnfilledStrategyOrders",
            what,
            {"category": product, "type": strategy},
        )
        data = data_of(answer, what)
        if isinstance(data, Mapping):
            rows = rows_in(answer, "list", what)
        else:
            rows = () if data is None else as_rows(data, what)
        return [(strategy_of(row, strategy), row) for row in rows]

    async def fetch_records(self, *, start_ms: int, end_ms: int) -> Sequence[Record]:
        """Read every financial record of every category, each once."""
        found = await together(
            *(self._fetch_financial(category, start_ms, end_ms) for category in RECORD_CATEGORIES)
        )
        return list({each.record_id: each for each in chain.from_iterable(found)}.values())

    async def _fetch_financial(self, category: str, start_ms: int, end_ms: int) -> list[Record]:
        what = "financial-records"
        params: dict[str, str | int] = {
            "category": category,
            "startTime": start_ms,
            "endTime": end_ms,
            "limit": PAGE,
        }
        records: list[Record] = []
        seen: set[str] = set()
        for _ in range(PAGES):
            answer = await self._connection.read(
                "privateUtaGetV3AccountFinancialRecords", what, params
            )
            page, ids = parse_financial(answer)
            if len(ids) >= PAGE and seen >= set(ids):
                raise Unavailable(f"{what}: a full page repeats the one before it")
            records += page
            seen |= set(ids)
            if len(ids) < PAGE:
                return records
            params = {**params, "cursor": end_of(answer, "cursor", ids)}
        raise Unavailable(f"{what}: more than {PAGES * PAGE} records")

    async def fetch_listings(self) -> Sequence[Listing]:
        """Read the instruments of both products."""
        answers = await together(
            *(
                self._connection.read(
                    "publicUtaGetV3MarketInstruments", "instruments", {"category": product}
                )
                for product in PRODUCTS
            )
        )
        return [
            listing
            for product, answer in zip(PRODUCTS, answers, strict=True)
            for listing in parse_listings(answer, MARKET_NAMES, product=product)
        ]

    async def fetch_marks(self) -> Mapping[Symbol, float]:
        """Read the marks of both products."""
        answers = await together(
            *(
                self._connection.read(
                    "publicUtaGetV3MarketTickers", "tickers", {"category": product}
                )
                for product in PRODUCTS
            )
        )
        return {symbol: mark for answer in answers for symbol, mark in parse_marks(answer).items()}

    def close_request(
        self, instruction: CloseInstruction, *, product: str, mode: PositionMode, is_flagged: bool
    ) -> Request:
        """The closing order: a direction in both modes, in hedge mode bound to its leg."""
        params: dict[str, str | int] = {
            "category": product,
            "symbol": instruction.symbol,
            "qty": plain_text(instruction.quantity),
            "side": instruction.side.closing_order.value.lower(),
            "orderType": "market",
            "marginMode": MARGIN_MODE_TEXTS[instruction.margin_mode],
            "clientOid": instruction.client_id,
        }
        if mode is PositionMode.HEDGE:
            params["posSide"] = "long" if instruction.side is Side.LONG else "short"
        if is_flagged:
            params["reduceOnly"] = "yes"
        return Request(endpoint="privateUtaPostV3TradePlaceOrder", params=params)

    def lookup_request(self, client_id: ClientOrderId, symbol: Symbol, *, product: str) -> Request:
        """The look-up by our own id, which alone names the order."""
        del symbol, product
        return Request(endpoint="privateUtaGetV3TradeOrderInfo", params={"clientOid": client_id})

    def judge_lookup(self, answer: object, *, client_id: ClientOrderId) -> Outcome:
        """Say what a look-up proves."""
        return judge_lookup(
            answer, client_id=client_id, status="orderStatus", executed="cumExecQty"
        )

    def cancel_request(self, order: Order, *, product: str) -> Request:
        """The cancel of one order where its kind lives."""
        if order.kind is OrderKind.REGULAR:
            params = {
                "category": product,
                "symbol": str(order.symbol),
                "orderId": str(order.order_id),
            }
            return Request(endpoint="privateUtaPostV3TradeCancelOrder", params=params)
        return Request(
            endpoint="privateUtaPostV3TradeCancelStrategyOrder",
            params={"orderId": order.order_id},
            success_is_all=True,
        )

    async def cancel_all_requests(self, symbol: Symbol, *, product: str) -> Sequence[Request]:
        """One request for the ordinary orders and one for each conditional order that is listed.

        There is no request that cancels conditional orders by symbol.
        """
        found = await together(
            *(self._fetch_strategies(product, strategy) for strategy in STRATEGIES)
        )
        listed = {
            required_text(row, "orderId", "unfilled-strategy-orders")
            for _, row in chain.from_iterable(found)
            if str(row.get("symbol", "")).upper() == symbol
        }
        return (
            Request(
                endpoint="privateUtaPostV3TradeCancelSymbolOrder",
                params={"category": product, "symbol": symbol},
            ),
            *(
                Request(
                    endpoint="privateUtaPostV3TradeCancelStrategyOrder",
                    params={"orderId": order_id},
                    success_is_all=True,
                )
                for order_id in sorted(listed)
            ),
        )


def strategy_of(row: Fields, asked_for: str) -> str:
    """Which type a row is: only a take-profit or stop-loss may be believed to close.

    An order with a trigger price of its own may open, and have a stop-loss attached for later.
    """
    waits = optional_decimal(row, "triggerPrice", "unfilled-strategy-orders")
    closes = row.get("takeProfit") or row.get("stopLoss")
    return asked_for if asked_for != TPSL or (closes and not waits) else TRIGGER


def _lists_null(answer: object) -> bool:
    """True of a list of positions that is written as null."""
    data = data_of(answer, "current-position")
    return isinstance(data, Mapping) and data.get("list", ()) is None
