"""Turns Bitget's spot orders and bills into the guard's model, and says what answers prove.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns which bill
moved money into or out of the spot account. Trades move none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Done,
    LedgerKind,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    RecordId,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.bitget_family import (
    Record,
    as_list,
    base_of,
    data_of,
    parse_order_side,
    required_symbol,
)
from venues.bitget_records import judge_lookup
from venues.parsing import (
    Fields,
    as_fields,
    optional_decimal,
    optional_text,
    required_decimal,
    required_integer,
    required_number,
    required_text,
)

NORMAL, TPSL, PLAN = "normal", "tpsl", "plan"
"""The three books of a spot account: ordinary orders, take-profits and stop-losses, plans."""

_BRIDGE_QUOTES = ("BTC", "ETH", "EUR", "BRL")
"""Quotes beside those of contracts, for an order on a market that is in no list yet."""

FLOWS = frozenset(
    {
        "deposit",
        "withdraw",
        "transfer",
        "financial",
        "fait",
        "c2c",
        "loan",
        "strategy",
        "on_chain",
    }
)
"""Groups of bills that say that money came from outside this account, or went there: products of
the venue that live beside it, people, banks, chains. `fait` is how the venue spells fiat. Trades,
conversions and what is in no group are none."""


def parse_order(
    row: Fields, *, scope: ScopeId, book: str, markets: Mapping[Symbol, MarketLimits]
) -> Order:
    """Read one open order of one of the three books, which is its order type unless it is normal.

    A market order that buys names money and not a quantity.
    """
    order_id = VenueOrderId(required_text(row, "orderId", f"{book} orders"))
    what = f"{book} order {order_id}"
    symbol = required_symbol(row, what)
    side = parse_order_side(row, what)
    kind = required_text(row, "orderType", what)
    quantity = required_decimal(row, "size", what)
    if book == NORMAL and not (side is OrderSide.BUY and kind == "market"):
        quantity -= required_decimal(row, "baseVolume", what)
    if quantity < 0:
        raise Malformed(f"{what}: more executed than ordered")
    market = markets.get(symbol)
    base, quote = (market.base, market.quote) if market else split_symbol(symbol)
    price = "executePrice" if book == PLAN else "priceAvg"
    return Order(
        scope=scope,
        order_id=order_id,
        client_id=ClientOrderId(optional_text(row, "clientOid", what)),
        symbol=symbol,
        kind=OrderKind.REGULAR if book == NORMAL else OrderKind.CONDITIONAL,
        side=side,
        position_side=None,
        quantity=quantity,
        reduce_only=side is OrderSide.SELL,
        close_position=False,
        order_type=kind if book == NORMAL else book,
        price=optional_decimal(row, price, what) or None,
        trigger_price=optional_decimal(row, "triggerPrice", what) or None,
        base=base,
        quote=quote,
    )


def split_symbol(symbol: Symbol) -> tuple[Asset, Asset]:
    """Base and quote of a market by its spelling; a quote that is not known leaves both open."""
    for quote in _BRIDGE_QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return Asset(symbol.removesuffix(quote)), Asset(quote)
    base = base_of(symbol)
    return base, Asset(symbol.removeprefix(base))


# --- what answers prove -----------------------------------------------------------------------


def find_own(answer: object, client_id: ClientOrderId) -> Fields | None:
    """The order with our id in a list of orders, None where it is not there."""
    rows = as_list(data_of(answer, "orders"), "orders")
    return next((row for row in rows if row.get("clientOid") == client_id), None)


def ids_of(answer: object) -> tuple[str, ...]:
    """The ids of the orders of a list."""
    rows = as_list(data_of(answer, "orders"), "orders")
    return tuple(optional_text(row, "orderId", "orders") for row in rows)


def is_plan_cancelled(answer: object) -> bool:
    """True where the venue confirms that a plan is gone; it names none."""
    return isinstance(answer, dict) and answer.get("data") == {"result": "success"}


def judge_row(row: Fields, *, client_id: ClientOrderId, paid_in: Asset) -> Done | Unknown:
    """Say what an order of ours proves as the venue lists it, and what it brought."""
    found = judge_lookup({"data": row}, client_id=client_id, status="status", executed="baseVolume")
    if isinstance(found, Unknown):
        return found
    try:
        brought = required_decimal(row, "quoteVolume", "order") - _fee(row, paid_in)
    except Malformed:
        return found
    return replace(found, brought=brought)


def _fee(row: Fields, paid_in: Asset) -> Decimal:
    """What was kept of what came in, told as JSON within a text and below zero.

    A fee that is paid in another coin is none of it. Raises Malformed when it is not told.
    """
    try:
        told = json.loads(required_text(row, "feeDetail", "order"), parse_float=str)
    except json.JSONDecodeError:
        raise Malformed("order: feeDetail makes no sense") from None
    details = as_fields(told, "feeDetail")
    kept = Decimal(0)
    for name, detail in details.items():
        # The sum of all stands beside its parts under this name.
        if name != "newFees":
            part = as_fields(detail, "feeDetail")
            if required_text(part, "feeCoinCode", "feeDetail").upper() == paid_in:
                kept += abs(required_decimal(part, "totalFee", "feeDetail"))
    return kept


# --- records of money -------------------------------------------------------------------------


def parse_bills(rows: Sequence[Fields]) -> tuple[Record, ...]:
    """Read rows of `bills`: those that moved money here or away, fees taken off."""
    found = (_parse_bill(row) for row in rows)
    return tuple(record for record in found if record is not None)


def _parse_bill(row: Fields) -> Record | None:
    number = required_text(row, "billId", "bills")
    what = f"bills {number}"
    if required_text(row, "groupType", what).lower() not in FLOWS:
        return None
    fee = abs(optional_decimal(row, "fees", what) or Decimal(0))
    return Record(
        record_id=RecordId(number),
        kind=LedgerKind.TRANSFER,
        at_ms=required_integer(row, "cTime", what),
        amount=required_number(row, "size", what) - float(fee),
        asset=Asset(required_text(row, "coin", what).upper()),
        symbol=None,
    )
