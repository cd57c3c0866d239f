"""Turns Binance USD-M orders and account records into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns what an
order may still do, what an answer to an order proves, and what an account record is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Done,
    LedgerEntry,
    LedgerKind,
    Order,
    OrderKind,
    OrderSide,
    Outcome,
    RecordId,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.binance_account import parse_leg
from venues.binance_errors import is_error_body
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    optional_text,
    required_decimal,
    required_flag,
    required_integer,
    required_number,
    required_text,
)

LEDGER_KINDS: Mapping[str, LedgerKind] = {
    "TRANSFER": LedgerKind.TRANSFER,
    "INTERNAL_TRANSFER": LedgerKind.TRANSFER,
    "CROSS_COLLATERAL_TRANSFER": LedgerKind.TRANSFER,
    "COIN_SWAP_DEPOSIT": LedgerKind.TRANSFER,
    "COIN_SWAP_WITHDRAW": LedgerKind.TRANSFER,
    "STRATEGY_UMFUTURES_TRANSFER": LedgerKind.TRANSFER,
    "WELCOME_BONUS": LedgerKind.BONUS,
    "REFERRAL_KICKBACK": LedgerKind.BONUS,
    "API_REBATE": LedgerKind.BONUS,
    "CONTEST_REWARD": LedgerKind.BONUS,
    "COMMISSION_REBATE": LedgerKind.BONUS,
    "CASHBACK": LedgerKind.BONUS,
    "FUTURES_PRESENT": LedgerKind.BONUS,
    "BFUSD_REWARD": LedgerKind.BONUS,
    "FUNDING_FEE": LedgerKind.FUNDING,
    "COMMISSION": LedgerKind.FEE,
    "FEE_RETURN": LedgerKind.FEE,
    "POSITION_LIMIT_INCREASE_FEE": LedgerKind.FEE,
    "REALIZED_PNL": LedgerKind.REALISED,
    "DELIVERED_SETTELMENT": LedgerKind.REALISED,
    "INSURANCE_CLEAR": LedgerKind.LIQUIDATION,
}
"""Income types as Binance spells them; any other is OTHER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomeRow:
    """One account record as the venue tells it: `amount` in `asset`, `at_ms` on its clock."""

    record_id: RecordId
    kind: LedgerKind
    at_ms: int
    amount: float
    asset: Asset
    symbol: Symbol | None

    def to_entry(self, *, scope: ScopeId, at: float, price: float) -> LedgerEntry:
        """The record in the account's quote and on our clock."""
        return LedgerEntry(
            record_id=self.record_id,
            scope=scope,
            kind=self.kind,
            at=at,
            amount=self.amount * price,
            asset=self.asset,
            symbol=self.symbol,
        )


def parse_orders(
    answer: object, *, scope: ScopeId, tells_closers: bool = True
) -> tuple[Order, ...]:
    """Read `openOrders`, the venue's regular orders.

    Where they do not tell whether they close the whole position (portfolio margin), none can: an
    order that does is a conditional one.
    """
    names = _REGULAR if tells_closers else _REGULAR_WITHOUT_CLOSERS
    return tuple(
        _parse_order(row, scope=scope, names=names) for row in as_rows(answer, "openOrders")
    )


def parse_conditional_orders(answer: object, *, scope: ScopeId) -> tuple[Order, ...]:
    """Read `openAlgoOrders`, which the regular list and the regular cancel-all leave out."""
    return tuple(
        _parse_order(row, scope=scope, names=_CONDITIONAL)
        for row in as_rows(answer, "openAlgoOrders")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrderNames:
    """How one of the two order lists names its fields; the first order type present counts."""

    what: str
    kind: OrderKind
    order_id: str
    client_id: str
    quantity: str
    executed: str | None
    order_types: tuple[str, ...]
    trigger: str
    tells_closers: bool = True


_REGULAR = _OrderNames(
    what="openOrders",
    kind=OrderKind.REGULAR,
    order_id="orderId",
    client_id="clientOrderId",
    quantity="origQty",
    executed="executedQty",
    order_types=("type",),
    trigger="stopPrice",
)
_REGULAR_WITHOUT_CLOSERS = replace(_REGULAR, tells_closers=False)
_CONDITIONAL = _OrderNames(
    what="openAlgoOrders",
    kind=OrderKind.CONDITIONAL,
    order_id="algoId",
    client_id="clientAlgoId",
    quantity="quantity",
    executed=None,
    order_types=("orderType", "type"),
    trigger="triggerPrice",
)


def _parse_order(row: Fields, *, scope: ScopeId, names: _OrderNames) -> Order:
    """Read one open order of either list."""
    order_id = VenueOrderId(required_text(row, names.order_id, names.what))
    what = f"{names.what} {order_id}"
    side = required_text(row, "side", what)
    if side not in (OrderSide.BUY, OrderSide.SELL):
        raise Malformed(f"{what}: side is neither BUY nor SELL")
    order_type = next((name for name in names.order_types if row.get(name)), names.order_types[0])
    closes_position = _closes_position(row, names, what)
    return Order(
        scope=scope,
        order_id=order_id,
        client_id=ClientOrderId(optional_text(row, names.client_id, what)),
        symbol=Symbol(required_text(row, "symbol", what)),
        kind=names.kind,
        side=OrderSide(side),
        position_side=parse_leg(required_text(row, "positionSide", what), what),
        quantity=Decimal(0) if closes_position else _remaining(row, names, what),
        reduce_only=required_flag(row, "reduceOnly", what),
        close_position=closes_position,
        order_type=required_text(row, order_type, what),
        price=_price(row, "price", what),
        trigger_price=_price(row, names.trigger, what),
    )


def _closes_position(row: Fields, names: _OrderNames, what: str) -> bool:
    """Whether it closes all there is; some conditional orders omit that and name a quantity."""
    if not names.tells_closers and "closePosition" not in row:
        return False
    if names.kind is OrderKind.CONDITIONAL and "closePosition" not in row:
        quantity = optional_decimal(row, names.quantity, what)
        if quantity is not None and quantity > 0:
            return False
    return required_flag(row, "closePosition", what)


def _remaining(row: Fields, names: _OrderNames, what: str) -> Decimal:
    """What is still unfilled of an order."""
    remaining = required_decimal(row, names.quantity, what)
    if names.executed is not None:
        remaining -= required_decimal(row, names.executed, what)
    if remaining < 0:
        raise Malformed(f"{what}: more executed than ordered")
    return remaining


def _price(row: Fields, name: str, what: str) -> Decimal | None:
    """A price that an order may not have; the venue writes that as 0."""
    price = optional_decimal(row, name, what)
    return price or None


def parse_income(answer: object) -> tuple[IncomeRow, ...]:
    """Read one page of `income`. One trade leaves several records with one id, of several types."""
    return tuple(_parse_income_row(row) for row in as_rows(answer, "income"))


def _parse_income_row(row: Fields) -> IncomeRow:
    """Read one account record."""
    income_type = required_text(row, "incomeType", "income")
    what = f"income {income_type}"
    asset = required_text(row, "asset", what)
    symbol = optional_text(row, "symbol", what)
    transaction = required_text(row, "tranId", what)
    trade = optional_text(row, "tradeId", what)
    return IncomeRow(
        record_id=RecordId(":".join((income_type, transaction, trade, symbol, asset))),
        kind=LEDGER_KINDS.get(income_type, LedgerKind.OTHER),
        at_ms=required_integer(row, "time", what),
        amount=required_number(row, "income", what),
        asset=Asset(asset),
        symbol=Symbol(symbol) if symbol else None,
    )


_SETTLED = frozenset({"PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"})
"""Statuses of an order that has executed something or will execute no more."""


def judge_order(answer: object, *, client_id: ClientOrderId, is_lookup: bool) -> Done | Unknown:
    """Say what an order answer with status 200 proves; without an order id it proves nothing.

    An answer to a new order that is still NEW tells no filled quantity yet; a lookup tells the
    quantity so far, and proves nothing when it does not.
    """
    try:
        fields = as_fields(answer, "order")
        order_id = required_text(fields, "orderId", "order")
        echoed = optional_text(fields, "clientOrderId", "order")
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    if order_id == "0" or echoed not in ("", client_id):
        return Unknown(cause="order: the answer belongs to another order")
    status = str(fields.get("status"))
    try:
        filled = optional_decimal(fields, "executedQty", "order")
    except Malformed:
        filled = None
    if is_lookup and (filled is None or status not in _SETTLED | {"NEW"}):
        return Unknown(cause="order: the lookup names no status or no executed quantity")
    if status not in _SETTLED and not is_lookup:
        filled = None
    return Done(order_id=VenueOrderId(order_id), filled=filled)


def judge_batch(
    answer: object, ours: Sequence[ClientOrderId], *, refusal: Callable[[object], Outcome]
) -> Sequence[Outcome]:
    """Say what each answer to a batch proves; `refusal` judges one that is an error.

    They stand in the order of the request. A refusal bears no id, so its place is believed only
    while every order stands in its own; otherwise all are in doubt.
    """
    rows: Sequence[object] = answer if isinstance(answer, list) else ()
    refused = [is_error_body(row) for row in rows]
    echoed = [row.get("clientOrderId") if isinstance(row, dict) else None for row in rows]
    if len(rows) != len(ours) or any(
        not is_refused and theirs != own
        for is_refused, theirs, own in zip(refused, echoed, ours, strict=True)
    ):
        return [Unknown(cause="batch: the answers are not those to its orders")] * len(ours)
    return [
        refusal(row) if is_refused else judge_order(row, client_id=own, is_lookup=False)
        for is_refused, row, own in zip(refused, rows, ours, strict=True)
    ]
