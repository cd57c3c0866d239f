"""A classic Bitget futures account (v2): which endpoint answers which question.

USDT and USDC contracts are two products with an account each; everything is asked of both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from errors import Unavailable
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Order,
    OrderKind,
    Outcome,
    PositionMode,
    ScopeId,
    Side,
    Symbol,
)
from venues.bitget_account import (
    CLASSIC_NAMES,
    parse_held,
    parse_purse,
    pledged_coins,
    value_purses,
)
from venues.bitget_family import (
    MARGIN_COINS,
    MARGIN_MODE_TEXTS,
    PRODUCTS,
    USDT_FUTURES,
    Account,
    Held,
    Listing,
    Record,
    Request,
    coin_prices,
    data_of,
    end_of,
    parse_mode,
    rows_in,
)
from venues.bitget_ledger import parse_bills
from venues.bitget_markets import CLASSIC_NAMES as MARKET_NAMES
from venues.bitget_markets import parse_listings, parse_marks
from venues.bitget_records import (
    PLAN_LISTS,
    PLAN_TYPES,
    judge_lookup,
    parse_plan,
    parse_regular,
)
from venues.ccxt_client import Params
from venues.connection import VenueConnection, together
from venues.parsing import Fields, as_fields, as_rows, changes_of, plain_text, required_text

PAGE = 100
"""Most rows that the venue gives at once."""
PAGES = 60
"""Most pages read of one list: 6,000 orders, or records of one product."""
MODE_SYMBOL = "BTCUSDT"
"""The mode is that of a product, and still a symbol has to be named."""
_POSITIONS = "privateMixGetV2MixPositionAllPosition"


class ClassicAccount:
    """A classic account behind a connection (`bitget_family.Family`)."""

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

    async def fetch_account(self) -> Account:
        """Read money and positions of both products together."""
        answers = await together(
            *(
                self._connection.read(
                    "privateMixGetV2MixAccountAccounts", "accounts", {"productType": product}
                )
                for product in PRODUCTS
            ),
            *(
                self._connection.read(_POSITIONS, "all-position", _of(product))
                for product in PRODUCTS
            ),
        )
        purses = [parse_purse(answer) for answer in answers[: len(PRODUCTS)]]
        held = self._parse_held(answers[len(PRODUCTS) :], is_lenient=False)
        prices: dict[Asset, float] = {}
        if set(pledged_coins(purses)) - set(self._stables):
            prices = coin_prices(await self.fetch_marks())
        value = value_purses(purses, stables=self._stables, prices=prices)
        return Account(
            equity=value.equity,
            unrealised_pnl=value.unrealised_pnl,
            held=held,
            coins=value.coins,
            changed_at=changes_of(
                chain.from_iterable(
                    as_rows(data_of(answer, "all-position"), "all-position")
                    for answer in answers[len(PRODUCTS) :]
                ),
                names=("symbol", "holdSide", "marginMode"),
                told_in="uTime",
            ),
        )

    async def fetch_held(self) -> tuple[Held, ...]:
        """Read the positions of both products past the reader's queue."""
        answers = await together(
            *(
                self._connection.read_at_once(_POSITIONS, "all-position", _of(product))
                for product in PRODUCTS
            )
        )
        return self._parse_held(answers, is_lenient=True)

    def _parse_held(self, answers: Sequence[object], *, is_lenient: bool) -> tuple[Held, ...]:
        return tuple(
            chain.from_iterable(
                parse_held(
                    as_rows(data_of(answer, "all-position"), "all-position"),
                    CLASSIC_NAMES,
                    product=product,
                    bases=self._bases,
                    is_lenient=is_lenient,
                )
                for product, answer in zip(PRODUCTS, answers, strict=True)
            )
        )

    async def fetch_mode(self) -> PositionMode:
        """Read the mode of the USDT product."""
        params = {**_of(USDT_FUTURES), "symbol": MODE_SYMBOL}
        answer = await self._connection.read_at_once(
            "privateMixGetV2MixAccountAccount", "account", params
        )
        return parse_mode(as_fields(data_of(answer, "account"), "account"), "posMode", "account")

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read ordinary orders and the three lists of conditional ones, of both products."""
        lists = await together(
            *(self._fetch_list("", product) for product in PRODUCTS),
            *(self._fetch_list(plan, product) for plan in PLAN_LISTS for product in PRODUCTS),
        )
        regular = chain.from_iterable(lists[: len(PRODUCTS)])
        plans = chain.from_iterable(lists[len(PRODUCTS) :])
        return (
            *(parse_regular(row, scope=scope) for row in regular),
            *(parse_plan(row, scope=scope) for row in plans),
        )

    async def _fetch_list(self, plan: str, product: str) -> list[Fields]:
        """Every row of one list of orders; `plan` is empty for the ordinary ones.

        The next page begins below the last id of a full one. Raises Unavailable when a page leads
        nowhere or there are more than 6,000.
        """
        endpoint = "privateMixGetV2MixOrderOrdersPending"
        what = "orders-pending"
        params: dict[str, str | int] = {"productType": product, "limit": PAGE}
        if plan:
            endpoint, what = "privateMixGetV2MixOrderOrdersPlanPending", f"{plan} pending"
            params["planType"] = plan
        rows: dict[str, Fields] = {}
        for _ in range(PAGES):
            answer = await self._connection.read(endpoint, what, params)
            page = rows_in(answer, "entrustedList", what)
            ids = [required_text(row, "orderId", what) for row in page]
            if len(page) >= PAGE and rows.keys() >= set(ids):
                raise Unavailable(f"{what}: a full page repeats the one before it")
            rows.update(zip(ids, page, strict=True))
            if len(page) < PAGE:
                return list(rows.values())
            params = {**params, "idLessThan": end_of(answer, "endId", ids)}
        raise Unavailable(f"{what}: more than {PAGES * PAGE} orders")

    async def fetch_records(self, *, start_ms: int, end_ms: int) -> Sequence[Record]:
        """Read every bill of both products; newest first, each page below the last id."""
        found = await together(
            *(self._fetch_bills(product, start_ms, end_ms) for product in PRODUCTS)
        )
        return list(chain.from_iterable(found))

    async def _fetch_bills(self, product: str, start_ms: int, end_ms: int) -> list[Record]:
        params: dict[str, str | int] = {
            "productType": product,
            "startTime": start_ms,
            "endTime": end_ms,
            "limit": PAGE,
        }
        records: list[Record] = []
        seen: set[str] = set()
        for _ in range(PAGES):
            answer = await self._connection.read("privateMixGetV2MixAccountBill", "bill", params)
            page, ids = parse_bills(answer)
            if len(ids) >= PAGE and seen >= set(ids):
                raise Unavailable("bill: a full page repeats the one before it")
            records += page
            seen |= set(ids)
            if len(ids) < PAGE:
                return records
            params = {**params, "idLessThan": end_of(answer, "endId", ids)}
        raise Unavailable(f"bill: more than {PAGES * PAGE} records")

    async def fetch_listings(self) -> Sequence[Listing]:
        """Read the contracts of both products."""
        answers = await together(
            *(
                self._connection.read(
                    "publicMixGetV2MixMarketContracts", "contracts", {"productType": product}
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
                    "publicMixGetV2MixMarketTickers", "tickers", {"productType": product}
                )
                for product in PRODUCTS
            )
        )
        return {symbol: mark for answer in answers for symbol, mark in parse_marks(answer).items()}

    def close_request(
        self, instruction: CloseInstruction, *, product: str, mode: PositionMode, is_flagged: bool
    ) -> Request:
        """The closing order.

        In hedge mode `side` names the leg and `tradeSide` says that it is closed: a long is closed
        by `buy` with `Close`, spelt as it is known to be accepted. In one-way mode the side is the
        direction. The flag binds both, also where the mode has changed before the order arrives.
        """
        params: dict[str, str | int] = {
            "symbol": instruction.symbol,
            "productType": product,
            "marginMode": MARGIN_MODE_TEXTS[instruction.margin_mode],
            "marginCoin": MARGIN_COINS[product],
            "size": plain_text(instruction.quantity),
            "orderType": "market",
            "force": "GTC",
            "clientOid": instruction.client_id,
        }
        if mode is PositionMode.HEDGE:
            params["side"] = "buy" if instruction.side is Side.LONG else "sell"
            params["tradeSide"] = "Close"
        else:
            params["side"] = instruction.side.closing_order.value.lower()
        if is_flagged:
            params["reduceOnly"] = "YES"
        return Request(endpoint="privateMixPostV2MixOrderPlaceOrder", params=params)

    def lookup_request(self, client_id: ClientOrderId, symbol: Symbol, *, product: str) -> Request:
        """The look-up by our own id."""
        params = {"symbol": symbol, "productType": product, "clientOid": client_id}
        return Request(endpoint="privateMixGetV2MixOrderDetail", params=params)

    def judge_lookup(self, answer: object, *, client_id: ClientOrderId) -> Outcome:
        """Say what a look-up proves."""
        return judge_lookup(answer, client_id=client_id, status="state", executed="baseVolume")

    def cancel_request(self, order: Order, *, product: str) -> Request:
        """The cancel of one order; a conditional one is named together with its plan type."""
        shared: dict[str, str | int] = {"symbol": order.symbol, "productType": product}
        if order.kind is OrderKind.REGULAR:
            params: Params = {**shared, "orderId": order.order_id}
            return Request(endpoint="privateMixPostV2MixOrderCancelOrder", params=params)
        entries: list[dict[str, str | int]] = [{"orderId": order.order_id}]
        params = {
            **shared,
            "marginCoin": MARGIN_COINS[product],
            "planType": order.order_type,
            "orderIdList": entries,
        }
        return Request(endpoint="privateMixPostV2MixOrderCancelPlanOrder", params=params)

    async def cancel_all_requests(self, symbol: Symbol, *, product: str) -> Sequence[Request]:
        """One request for the ordinary orders and one for each plan type: none takes them all."""
        shared: Params = {"symbol": symbol, "productType": product}
        return (
            Request(endpoint="privateMixPostV2MixOrderBatchCancelOrders", params=shared),
            *(
                Request(
                    endpoint="privateMixPostV2MixOrderCancelPlanOrder",
                    params={**shared, "planType": plan},
                )
                for plan in PLAN_TYPES
            ),
        )


def _of(product: str) -> Params:
    """What names a product and its margin coin."""
    return {"productType": product, "marginCoin": MARGIN_COINS[product]}
