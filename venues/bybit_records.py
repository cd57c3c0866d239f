"""Turns Bybit v5 orders and account records into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns what an
order may still do, what an answer to an order proves, and what an account record is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Done,
    LedgerEntry,
    LedgerKind,
    MarketLimits,
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
from venues.bybit_account import LEGS, base_of, result_of
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    optional_text,
    required_decimal,
    required_flag,
    required_integer,
    required_text,
)

_K = LedgerKind

LEDGER_KINDS: Mapping[str, LedgerKind] = {
    # Money that came from outside the account or left it: transfers, loans that do not count
    # against its equity, and products that live beside it.
    **dict.fromkeys(
        (
            "TRANSFER_IN",
            "TRANSFER_OUT",
            "TRANSFER_IN_INS_LOAN",
            "TRANSFER_OUT_INS_LOAN",
            "BORROWED_AMOUNT_INS_LOAN",
            "PRINCIPLE_REPAYMENT_INS_LOAN",
            "AUTO_PRINCIPLE_REPAYMENT_INS_LOAN",
            "INSTITUTION_LOAN_IN",
            "INSTITUTION_PAYBACK_PRINCIPAL_OUT",
            "INSTITUTION_LIQ_PRINCIPAL_OUT",
            "INSTITUTION_LOAN_TRANSFER_IN",
            "INSTITUTION_LOAN_TRANSFER_OUT",
            "INSTITUTION_LOAN_WITHOUT_WITHDRAW",
            "INSTITUTION_LOAN_RESERVE_IN",
            "INSTITUTION_LOAN_RESERVE_OUT",
            "LOANS_BORROW_FUNDS",
            "LOANS_PLEDGE_ASSET",
            "PEF_TRANSFER_IN",
            "PEF_TRANSFER_OUT",
            "PREMARKET_TRANSFER_OUT",
            "CUSTODY_LOCK",
            "CUSTODY_UNLOCK",
            "CUSTODY_UNLOCK_REFUND",
            "CUSTODY_CASH_RECOVER_TR",
            "DBS_CASH_IN",
            "DBS_CASH_OUT",
            "DBS_CASH_IN_TR",
            "DBS_CASH_OUT_TR",
            "AUTO_DEDUCTION",
            "FLEXIBLE_STAKING_SUBSCRIPTION",
            "FLEXIBLE_STAKING_REDEMPTION",
            "FLEXIBLE_STAKING_REFUND",
            "FIXED_STAKING_SUBSCRIPTION",
            "FIXED_STAKING_REFUND",
            "ONCHAINEARN_SUBSCRIPTION",
            "ONCHAINEARN_REDEMPTION",
            "ONCHAINEARN_REFUND",
            "STRUCTURE_PRODUCT_SUBSCRIPTION",
            "STRUCTURE_PRODUCT_REFUND",
            "CLASSIC_WEALTH_MANAGEMENT_SUBSCRIPTION",
            "PREMIMUM_WEALTH_MANAGEMENT_SUBSCRIPTION",
            "PREMIMUM_WEALTH_MANAGEMENT_REFUND",
            "LIQUIDITY_MINING_SUBSCRIPTION",
            "LIQUIDITY_MINING_REFUND",
            "PWM_SUBSCRIPTION",
            "PWM_REFUND",
            "DEFI_INVESTMENT_SUBSCRIPTION",
            "DEFI_INVESTMENT_REFUND",
            "DEFI_INVESTMENT_REDEMPTION",
        ),
        _K.TRANSFER,
    ),
    **dict.fromkeys(
        (
            "BONUS",
            "BONUS_RECOLLECT",
            "BONUS_TRANSFER_IN",
            "BONUS_TRANSFER_OUT",
            "AIRDROP",
            "TWAP_BUDGET_AIRDROP",
            "TWAP_BUDGET_RECALL",
            "PEF_PROFIT_SHARE",
        ),
        _K.BONUS,
    ),
    "TRADE": _K.REALISED,
    "DELIVERY": _K.REALISED,
    "LIQUIDATION": _K.LIQUIDATION,
    "ADL": _K.LIQUIDATION,
    **dict.fromkeys(
        (
            "FEE_REFUND",
            "INTEREST",
            "INTEREST_REPAYMENT_INS_LOAN",
            "AUTO_INTEREST_REPAYMENT_INS_LOAN",
            "INSTITUTION_PAYBACK_INTEREST_OUT",
            "INSTITUTION_LIQ_INTEREST_OUT",
            "SPREAD_FEE_OUT",
            "BROKER_ABACCOUNT_FEE",
            "CUSTODY_NETWORK_FEE",
            "CUSTODY_SETTLE_FEE",
        ),
        _K.FEE,
    ),
}
"""Types of the transaction log as Bybit spells them; any other is OTHER: conversions, loans that
count against the equity, and what a session of USDC contracts pays out of a profit that the equity
had before, change nothing in all."""

EXCHANGING = frozenset({"spot", "option"})
"""Categories in which a trade, a delivery or a liquidation swaps one asset for another: its cash is
no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """A part of one account record: `amount` in `asset`, `at_ms` on the venue's clock."""

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


def parse_log(rows: Iterable[Fields]) -> tuple[LogRow, ...]:
    """Read rows of `transaction-log`.

    A row says how the balance changed (`change`), and how much of that was funding and how much a
    fee; each part is a record of its own, and together they are the change.
    """
    return tuple(part for row in rows for part in _parse_log_row(row))


def _parse_log_row(row: Fields) -> tuple[LogRow, ...]:
    """Read one account record; parts of 0 tell nothing, but a trade that made nothing is told."""
    log_type = required_text(row, "type", "log")
    what = f"log {log_type}"
    asset = required_text(row, "currency", what)
    symbol = optional_text(row, "symbol", what)
    # One trade may leave rows in several currencies; ids were seen to repeat across types.
    trade = optional_text(row, "tradeId", what)
    name = ":".join((log_type, required_text(row, "id", what), trade, asset))
    change = required_decimal(row, "change", what)
    funding = optional_decimal(row, "funding", what) or Decimal(0)
    fee = optional_decimal(row, "fee", what) or Decimal(0)
    kind = LEDGER_KINDS.get(log_type, _K.OTHER)
    is_swap = optional_text(row, "category", what) in EXCHANGING
    if kind in (_K.REALISED, _K.LIQUIDATION) and is_swap:
        kind = _K.OTHER
    if kind is _K.REALISED or log_type == "SETTLEMENT":
        _check_parts(row, what, rest=change - funding + fee)
    parts = ((kind, change - funding + fee), (_K.FUNDING, funding), (_K.FEE, -fee))
    at_ms = required_integer(row, "transactionTime", what)
    return tuple(
        LogRow(
            record_id=RecordId(f"{name}:{number}"),
            kind=part,
            at_ms=at_ms,
            amount=float(amount),
            asset=Asset(asset),
            symbol=Symbol(symbol) if symbol else None,
        )
        for number, (part, amount) in enumerate(parts)
        if amount
    )


def _check_parts(row: Fields, what: str, *, rest: Decimal) -> None:
    """Refuse the result of a position whose parts are not all told and do not add up.

    `rest` is what is left of the change for `cashFlow`. Funding is empty on rows without any; a
    row that lost its funding or its fee would lay it at the door of the position. Taxes stand
    apart in `extraFees`.
    """
    is_whole = all(row.get(name) not in (None, "") for name in ("funding", "fee"))
    flow = optional_decimal(row, "cashFlow", what)
    is_taxed = optional_text(row, "extraFees", what) not in ("", "[]")
    if not is_whole and flow not in (None, rest) and not is_taxed:
        raise Malformed(f"{what}: the change is not the sum of its parts")


def parse_orders(rows: Iterable[Fields], *, scope: ScopeId) -> tuple[Order, ...]:
    """Read rows of `order/realtime`, which lists every kind; one that moved pages is one order."""
    orders = (_parse_order(row, scope=scope) for row in rows)
    return tuple({order.order_id: order for order in orders}.values())


def _parse_order(row: Fields, *, scope: ScopeId) -> Order:
    """Read one open order.

    An order that closes on its trigger can only reduce, whatever else its row says; without a
    quantity it closes all there is.
    """
    order_id = VenueOrderId(required_text(row, "orderId", "order"))
    what = f"order {order_id}"
    side = required_text(row, "side", what).upper()
    if side not in (OrderSide.BUY, OrderSide.SELL):
        raise Malformed(f"{what}: side is neither Buy nor Sell")
    index = required_integer(row, "positionIdx", what)
    if index not in LEGS:
        raise Malformed(f"{what}: positionIdx is neither 0, 1 nor 2")
    ordered = required_decimal(row, "qty", what)
    left = ordered - required_decimal(row, "cumExecQty", what)
    if left < 0:
        raise Malformed(f"{what}: more executed than ordered")
    closes_on_trigger = required_flag(row, "closeOnTrigger", what)
    stop_type = optional_text(row, "stopOrderType", what)
    is_plain = stop_type in ("", "UNKNOWN")
    waits = required_text(row, "orderStatus", what) == "Untriggered"
    return Order(
        scope=scope,
        order_id=order_id,
        client_id=ClientOrderId(optional_text(row, "orderLinkId", what)),
        symbol=Symbol(required_text(row, "symbol", what)),
        kind=OrderKind.CONDITIONAL if waits else OrderKind.REGULAR,
        side=OrderSide(side),
        position_side=LEGS[index],
        quantity=left,
        reduce_only=required_flag(row, "reduceOnly", what) or closes_on_trigger,
        close_position=closes_on_trigger and ordered == 0,
        order_type=required_text(row, "orderType", what) if is_plain else stop_type,
        price=optional_decimal(row, "price", what) or None,
        trigger_price=optional_decimal(row, "triggerPrice", what) or None,
    )


def parse_spot_orders(
    rows: Iterable[Fields], *, scope: ScopeId, markets: Mapping[Symbol, MarketLimits]
) -> tuple[Order, ...]:
    """Read the same list of spot orders: a sale can only make less of its coin.

    Of a market that is in no list base and quote are told by the spelling.
    """
    return tuple(
        replace(
            order,
            base=market.base if (market := markets.get(order.symbol)) else base_of(order.symbol),
            quote=market.quote
            if market
            else Asset(order.symbol.removeprefix(base_of(order.symbol))),
            reduce_only=order.side is OrderSide.SELL,
        )
        for order in parse_orders(rows, scope=scope)
    )


_SETTLED = frozenset(
    {"PartiallyFilled", "Filled", "Cancelled", "PartiallyFilledCanceled", "Rejected", "Deactivated"}
)
"""Statuses of an order that has executed something or will execute no more."""
_AT_WORK = frozenset({"New", "Untriggered", "Triggered", "Created"})


def judge_order(answer: object, *, client_id: ClientOrderId) -> Done | Unknown:
    """Say what the answer to a new order proves: that it was taken, and nothing else.

    Orders are carried out after they are acknowledged, so that none tells what it has filled.
    """
    try:
        return _acknowledged(result_of(answer, "order"), client_id)
    except Malformed as malformed:
        return Unknown(cause=str(malformed))


def _acknowledged(fields: Fields, client_id: ClientOrderId) -> Done | Unknown:
    order_id = required_text(fields, "orderId", "order")
    if optional_text(fields, "orderLinkId", "order") not in ("", client_id):
        return Unknown(cause="order: the answer belongs to another order")
    return Done(order_id=VenueOrderId(order_id))


def judge_batch(
    answer: object, ours: Sequence[ClientOrderId], *, refusal: Callable[[object], Outcome]
) -> Sequence[Outcome]:
    """Say what each answer to a batch proves; `refusal` judges one that is an error.

    What was made and what became of it stand in two lists, both in the order of the request. A
    place is believed only while no row names another order; otherwise all are in doubt.
    """
    doubt = [Unknown(cause="batch: the answers are not those to its orders")] * len(ours)
    try:
        made = as_rows(result_of(answer, "batch").get("list"), "batch")
        extra = as_fields(as_fields(answer, "batch").get("retExtInfo"), "batch")
        told = as_rows(extra.get("list"), "batch")
        codes = [required_integer(row, "code", "batch") for row in told]
        echoed = [optional_text(row, "orderLinkId", "batch") for row in made]
    except Malformed:
        return doubt
    if not len(made) == len(told) == len(ours):
        return doubt
    if any(
        theirs != own and (theirs or code == 0)
        for theirs, own, code in zip(echoed, ours, codes, strict=True)
    ):
        return doubt
    return [
        judge_order({"result": row}, client_id=own)
        if code == 0
        else refusal({"retCode": code, "retMsg": why.get("msg")})
        for row, why, own, code in zip(made, told, ours, codes, strict=True)
    ]


def judge_lookup(rows: Sequence[Fields], *, client_id: ClientOrderId) -> Outcome | None:
    """Say what a list of orders asked for by our id proves; None when the order is not in it.

    A row without a status or a filled quantity proves nothing.
    """
    named = [row for row in rows if row.get("orderLinkId") == client_id]
    if not named:
        return None if not rows else Unknown(cause="order: the answer belongs to another order")
    try:
        order_id = required_text(named[0], "orderId", "order")
        status = required_text(named[0], "orderStatus", "order")
        filled = required_decimal(named[0], "cumExecQty", "order")
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    if status not in _SETTLED | _AT_WORK:
        return Unknown(cause="order: the lookup names no status that is known")
    return Done(order_id=VenueOrderId(order_id), filled=filled)


def judge_cancel(answer: object, *, order_id: VenueOrderId) -> Done | Unknown:
    """Say what the answer to a cancel proves: the order that it names."""
    fields = answer.get("result") if isinstance(answer, dict) else None
    if isinstance(fields, dict) and fields.get("orderId") == order_id:
        return Done(order_id=order_id)
    return Unknown(cause="cancel: the answer confirms nothing")


def count_cancelled(answer: object) -> int | None:
    """How many orders a cancel of all took, None when the answer confirms nothing."""
    fields = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(fields, dict) or str(fields.get("success")) != "1":
        return None
    rows = fields.get("list")
    return len(rows) if isinstance(rows, list) else None
