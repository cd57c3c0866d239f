"""Reads recorded answers of Bitget: classic accounts (v2) and unified ones (v3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from model import ClientOrderId, LedgerKind, Order, ScopeId, Symbol, Unknown, VenueOrderId
from tools.recordings.answers import Recording
from tools.recordings.reading import (
    SCOPE,
    STABLES,
    Lost,
    NotAsked,
    OrderNames,
    Reader,
    Row,
    Venue,
    amount,
    as_many,
    beside_profit,
    counted,
    listed,
    number,
    rows_at,
    same,
    same_figures,
    told_orders,
    told_outcome,
    told_positions,
    told_records,
)
from venues.bitget import MANNERS
from venues.bitget_account import CLASSIC_NAMES as CLASSIC_POSITION
from venues.bitget_account import UNIFIED_NAMES as UNIFIED_POSITION
from venues.bitget_account import (
    PositionNames,
    parse_assets,
    parse_held,
    parse_purse,
    pledged_coins,
    value_purses,
)
from venues.bitget_errors import is_error_body
from venues.bitget_family import PRODUCTS, USDT_FUTURES, Record, data_of, parse_mode
from venues.bitget_inspection import parse_rights
from venues.bitget_ledger import kind_of, parse_bills, parse_financial
from venues.bitget_markets import CLASSIC_NAMES as CLASSIC_MARKET
from venues.bitget_markets import UNIFIED_NAMES as UNIFIED_MARKET
from venues.bitget_markets import MarketNames, parse_listings, parse_marks
from venues.bitget_records import (
    TPSL,
    judge_cancelled,
    judge_cancelled_all,
    judge_lookup,
    judge_placed,
    parse_plan,
    parse_regular,
    parse_strategy,
    parse_unified,
)
from venues.bitget_unified import strategy_of
from venues.parsing import as_fields

REGULAR = OrderNames(
    order_id="orderId", client_id="clientOid", quantity="size", executed="baseVolume"
)
PLAN = OrderNames(order_id="orderId", client_id="clientOid", quantity="size")
UNIFIED = OrderNames(
    order_id="orderId", client_id="clientOid", quantity="qty", executed="cumExecQty"
)
STRATEGY = OrderNames(order_id="orderId", client_id="clientOid", quantity="qty")


COIN_FUTURES = "COIN-FUTURES"


def data(recording: Recording) -> Any:
    """What the answer carries, found without any parser."""
    return recording.answer["data"] if isinstance(recording.answer, dict) else None


def read_purse(recording: Recording) -> str:
    """The equity of a classic account, one margin coin after another."""
    rows = rows_at(data(recording))
    purse = parse_purse(recording.answer)
    as_many(len(purse.margins), len(rows), "margin coins")
    for row, held in zip(rows, purse.margins, strict=True):
        same(held.equity, number(row, "accountEquity"), f"accountEquity of {held.coin}")
    at_one = dict.fromkeys(pledged_coins([purse]), 1.0)
    if rows:
        value_purses([purse], stables=STABLES, prices=at_one)
    equity = sum((number(row, "accountEquity") for row in rows), Decimal(0))
    without = equity - sum((amount(row, "unrealizedPL") for row in rows), Decimal(0))
    return listed(
        f"equity {equity} = accountEquity of {counted(len(rows), 'margin coin')}",
        beside_profit(equity, without, "accountEquity less unrealizedPL"),
        f"beside it {' and '.join(sorted(at_one))}" if at_one else "",
    )


def read_assets(recording: Recording) -> str:
    """The equity of a unified account."""
    fields = data(recording)
    value = parse_assets(recording.answer, stables=STABLES)
    equity = number(fields, "accountEquity")
    same(value.equity, equity, "accountEquity")
    held = [row for row in rows_at(fields, "assets") if number(row, "equity")]
    coins = {coin.asset: coin.quantity for coin in value.coins}
    for row in held:
        if row["coin"] not in STABLES and number(row, "usdValue"):
            same(coins.get(row["coin"]), number(row, "equity"), f"equity of {row['coin']}")
    without = equity - number(fields, "unrealisedPnl")
    return listed(
        f"equity {equity} = accountEquity",
        beside_profit(equity, without, "accountEquity less unrealisedPnl"),
        counted(len(rows_at(fields, "assets")), "coin"),
    )


def read_positions(recording: Recording, *, names: PositionNames, path: tuple[str, ...]) -> str:
    """Positions of one product."""
    rows = rows_at(data(recording), *path)
    asked = recording.sent.get("productType") or recording.sent.get("category") or USDT_FUTURES
    if asked not in PRODUCTS:
        raise NotAsked(f"instead {' and '.join(PRODUCTS)}")
    held = parse_held(rows, names, product=asked, bases={}, is_lenient=False)
    told = told_positions(rows, [each.position for each in held], size="total")
    for row, each in zip((row for row in rows if number(row, "total")), held, strict=True):
        same(each.position.side.value, str(row[names.side]).upper(), "side")
        same_figures(row, each.position, entry=names.entry, mark="markPrice", profit=names.profit)
    return told


def read_orders(
    recording: Recording,
    *,
    parse: Callable[..., Order],
    names: OrderNames,
    path: tuple[str, ...],
) -> str:
    """Open orders of one list."""
    rows = rows_at(data(recording), *path)
    return told_orders(rows, [parse(row, scope=SCOPE) for row in rows], names)


def parse_conditional(row: Row, *, scope: ScopeId) -> Order:
    """One conditional order of a unified account, its type told by its own fields."""
    return parse_strategy(row, scope=scope, strategy=strategy_of(row, TPSL))


def read_strategies(recording: Recording) -> str:
    """Conditional orders of a unified account, with or without a list around them."""
    path = ("list",) if isinstance(data(recording), dict) else ()
    return read_orders(recording, parse=parse_conditional, names=STRATEGY, path=path)


def read_bills(recording: Recording) -> str:
    """Account records of a classic account."""
    return _told_ledger(recording, rows="bills", record_type="businessType", parse=parse_bills)


def read_financial(recording: Recording) -> str:
    """Account records of a unified account."""
    return _told_ledger(recording, rows="list", record_type="type", parse=parse_financial)


def _told_ledger(
    recording: Recording,
    *,
    rows: str,
    record_type: str,
    parse: Callable[[object], tuple[tuple[Record, ...], tuple[str, ...]]],
) -> str:
    """Compare each row with its records: together they are its amount and its fee."""
    recorded = rows_at(data(recording), rows)
    found, ids = parse(recording.answer)
    as_many(len(set(ids)), len(recorded), "records")
    within = 0
    for row in recorded:
        parts, _ = parse({"data": {rows: [row]}})
        kind = kind_of(row[record_type])
        if kind is LedgerKind.OTHER:
            raise Lost(f"the type {row[record_type]} is not known")
        if kind is None:
            within += 1
            continue
        made = sum((Decimal(str(part.amount)) for part in parts), Decimal(0))
        fee = amount(row, "fee")
        if abs(made - fee) != abs(number(row, "amount")):
            raise Lost(f"amount {row['amount']} and fee {fee} recorded, {made} read in all")
    return told_records(
        len(recorded),
        (record.kind for record in found),
        beside=f"{within} within the account" if within else "",
    )


def require_watched(rows: Sequence[Row]) -> None:
    """Raise NotAsked unless the rows are of products that the guard asks for.

    Classic rows do not name their product; those of coin-margined contracts end otherwise.
    """
    products = {
        str(row.get("category") or (USDT_FUTURES if _is_linear(row["symbol"]) else COIN_FUTURES))
        for row in rows
    }
    if not products <= set(PRODUCTS):
        raise NotAsked(f"instead {' and '.join(PRODUCTS)}; this is {', '.join(sorted(products))}")


def _is_linear(symbol: str) -> bool:
    return symbol.endswith(("USDT", "USDC", "PERP"))


def read_marks(recording: Recording) -> str:
    """Marks of contracts."""
    rows = rows_at(data(recording))
    require_watched(rows)
    marks = parse_marks(recording.answer)
    for row in rows:
        if amount(row, "markPrice"):
            same(marks.get(Symbol(row["symbol"])), float(number(row, "markPrice")), row["symbol"])
    as_many(len(marks), len(rows), "marks")
    return counted(len(marks), "mark")


def read_markets(recording: Recording, *, names: MarketNames) -> str:
    """Rules of contracts, each of which must be read."""
    rows = rows_at(data(recording))
    require_watched(rows)
    listings = parse_listings(recording.answer, names, product=USDT_FUTURES)
    as_many(len(listings), len(rows), "markets")
    return counted(len(listings), "market")


def read_mode(recording: Recording, *, name: str) -> str:
    """The position mode that an account is set to."""
    fields = as_fields(data_of(recording.answer, "account"), "account")
    return parse_mode(fields, name, "account").value


def read_lookup(recording: Recording, *, status: str, executed: str) -> str:
    """What a look-up proves."""
    outcome = judge_lookup(
        recording.answer, client_id=_own_id(recording), status=status, executed=executed
    )
    return told_outcome(outcome, noun="look-up")


def read_new_order(recording: Recording) -> str:
    """What the answer to a new order proves."""
    return told_outcome(judge_placed(recording.answer, client_id=_own_id(recording)))


def _own_id(recording: Recording) -> ClientOrderId:
    return ClientOrderId(str(data(recording).get("clientOid") or ""))


def read_cancel(recording: Recording) -> str:
    """What the cancel of one order proves."""
    order_id = VenueOrderId(str(data(recording)["orderId"]))
    return told_outcome(judge_cancelled(recording.answer, order_id=order_id), noun="cancel")


def read_cancel_all(recording: Recording) -> str:
    """What the cancel of many orders proves.

    Where one failed without a code that is known, it proves nothing of it: the guard reads the
    orders again.
    """
    fields = data(recording)
    rows = [row for name in ("successList", "list") for row in rows_at(fields.get(name))]
    failed = rows_at(fields.get("failureList"))
    outcome = judge_cancelled_all(recording.answer)
    if isinstance(outcome, Unknown) and failed:
        return f"{len(rows)} cancelled, {len(failed)} not, of which nothing is proved"
    return listed(told_outcome(outcome, noun="cancel"), f"{len(rows)} named")


def read_cancel_strategy(recording: Recording) -> str:
    """An answer that names nothing: its success alone confirms the cancel."""
    del recording
    return "1 cancel: taken"


def read_time(recording: Recording) -> str:
    """The venue's clock."""
    return f"time {MANNERS.parse_time(recording.answer) / 1000:.3f}"


def read_rights(recording: Recording) -> str:
    """What the key may do."""
    rights = parse_rights(recording.answer)
    return listed(
        "can trade" if rights.can_trade else "cannot trade",
        "can withdraw" if rights.can_withdraw else "cannot withdraw",
        "bound to addresses" if rights.is_bound_to_ip else "not bound to addresses",
    )


READS: Mapping[str, Reader] = {
    "GET /api/v2/mix/account/account": partial(read_mode, name="posMode"),
    "GET /api/v2/mix/account/accounts": read_purse,
    "GET /api/v2/mix/account/bill": read_bills,
    "GET /api/v2/mix/market/contracts": partial(read_markets, names=CLASSIC_MARKET),
    "GET /api/v2/mix/market/tickers": read_marks,
    "GET /api/v2/mix/order/detail": partial(read_lookup, status="state", executed="baseVolume"),
    "GET /api/v2/mix/order/orders-pending": partial(
        read_orders, parse=parse_regular, names=REGULAR, path=("entrustedList",)
    ),
    "GET /api/v2/mix/order/orders-plan-pending": partial(
        read_orders, parse=parse_plan, names=PLAN, path=("entrustedList",)
    ),
    "GET /api/v2/mix/position/all-position": partial(
        read_positions, names=CLASSIC_POSITION, path=()
    ),
    "GET /api/v2/public/time": read_time,
    "GET /api/v2/spot/account/info": read_rights,
    "GET /api/v3/account/assets": read_assets,
    "GET /api/v3/account/financial-records": read_financial,
    "GET /api/v3/account/info": read_rights,
    "GET /api/v3/account/settings": partial(read_mode, name="holdMode"),
    "GET /api/v3/market/instruments": partial(read_markets, names=UNIFIED_MARKET),
    "GET /api/v3/market/tickers": read_marks,
    "GET /api/v3/position/current-position": partial(
        read_positions, names=UNIFIED_POSITION, path=("list",)
    ),
    "GET /api/v3/trade/order-info": partial(
        read_lookup, status="orderStatus", executed="cumExecQty"
    ),
    "GET /api/v3/trade/unfilled-orders": partial(
        read_orders, parse=parse_unified, names=UNIFIED, path=("list",)
    ),
    "GET /api/v3/trade/unfilled-strategy-orders": read_strategies,
    "POST /api/v2/mix/order/batch-cancel-orders": read_cancel_all,
    "POST /api/v2/mix/order/cancel-order": read_cancel,
    "POST /api/v2/mix/order/cancel-plan-order": read_cancel_all,
    "POST /api/v2/mix/order/place-order": read_new_order,
    "POST /api/v3/trade/cancel-order": read_cancel,
    "POST /api/v3/trade/cancel-strategy-order": read_cancel_strategy,
    "POST /api/v3/trade/cancel-symbol-order": read_cancel_all,
    "POST /api/v3/trade/place-order": read_new_order,
}
_MARGIN = "margin accounts are not watched"
_FUNDING = "the funding account is not watched, and `check` names it"
INSTEAD: Mapping[str, str] = {
    "GET /api/v2/margin/crossed/account/assets": _MARGIN,
    "GET /api/v2/margin/isolated/account/assets": _MARGIN,
    "GET /api/v2/spot/account/transferRecords": "instead the bills of both accounts",
    "GET /api/v3/account/funding-assets": _FUNDING,
}
VENUE = Venue(reads=READS, instead=INSTEAD, is_error=is_error_body)
