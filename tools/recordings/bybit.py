"""Reads recorded answers of Bybit v5, unified account."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from model import Asset, ClientOrderId, MarginMode, Symbol, VenueOrderId
from tools.recordings.answers import Recording
from tools.recordings.reading import (
    SCOPE,
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
from venues.bybit_account import (
    parse_margin_mode,
    parse_page,
    parse_positions,
    parse_rows,
    parse_wallet,
    positions_of,
)
from venues.bybit_errors import is_error_body, judge
from venues.bybit_inspection import (
    SHOWN,
    parse_fees,
    parse_funding,
    parse_open,
    parse_rights,
    parse_time,
)
from venues.bybit_markets import parse_market_limits, parse_marks, parse_spot_prices
from venues.bybit_records import (
    LEDGER_KINDS,
    count_cancelled,
    judge_batch,
    judge_cancel,
    judge_lookup,
    judge_order,
    parse_log,
    parse_orders,
)
from venues.failure import Failure

ORDERS = OrderNames(
    order_id="orderId", client_id="orderLinkId", quantity="qty", executed="cumExecQty"
)
LINEAR, SPOT, INVERSE = "linear", "spot", "inverse"


def category(recording: Recording) -> str:
    """The kind of contract an answer is about: as it says itself, else as it was asked."""
    result = recording.answer["result"] if isinstance(recording.answer, dict) else {}
    return str(result.get("category") or recording.sent.get("category") or LINEAR)


def read_wallet(recording: Recording) -> str:
    """The equity of the account, coins owed included."""
    account: Row = rows_at(recording.answer, "result", "list")[0]
    wallet = parse_wallet(recording.answer)
    coins = rows_at(account, "coin")
    as_many(len(wallet.holdings), len(coins), "coins")
    for row, held in zip(coins, wallet.holdings, strict=True):
        owned = number(row, "walletBalance") - number(row, "spotBorrow")
        same(held.quantity, owned, f"quantity of {held.asset}")
    equity = number(account, "totalEquity")
    same(wallet.equity, equity, "totalEquity")
    owed = sum(1 for held in wallet.holdings if held.quantity < 0)
    return listed(
        f"equity {equity} = totalEquity",
        beside_profit(equity, amount(account, "totalWalletBalance"), "totalWalletBalance"),
        counted(len(coins), "coin"),
        f"{owed} owed" if owed else "",
    )


def read_positions(recording: Recording) -> str:
    """Positions of linear contracts; those of others are named by `check` alone."""
    kind = category(recording)
    if kind != LINEAR:
        return f"{kind}, which `check` names as not watched: {parse_open(recording.answer)}"
    rows = rows_at(recording.answer, "result", "list")
    page, _ = parse_page(recording.answer, "position")
    settle = Asset(recording.sent.get("settleCoin", "USDT"))
    held = parse_positions(page, settle=settle, bases={}, margin_mode=MarginMode.CROSS)
    positions = positions_of(held)
    told = told_positions(rows, positions, size="size")
    for row, each in zip((row for row in rows if number(row, "size")), held, strict=True):
        same(each.index, int(row["positionIdx"]), f"positionIdx of {each.position.symbol}")
        same_figures(row, each.position, entry="avgPrice", mark="markPrice", profit="unrealisedPnl")
    return told


def read_orders(recording: Recording) -> str:
    """Open orders of every kind, of linear contracts."""
    page, cursor = parse_page(recording.answer, "order")
    rows = rows_at(recording.answer, "result", "list")
    told = told_orders(rows, parse_orders(page, scope=SCOPE), ORDERS)
    return listed(told, "more pages follow" if cursor else "")


def read_history(recording: Recording) -> str:
    """Look-ups of orders that are over, each by its own id."""
    page, _ = parse_page(recording.answer, "order")
    told: list[str] = []
    for row in page:
        own = ClientOrderId(str(row.get("orderLinkId") or ""))
        found = judge_lookup([row], client_id=own)
        if found is None:
            raise Lost("an order is not found by its own id")
        told.append(told_outcome(found, noun="look-up"))
    return listed(*told)


def read_log(recording: Recording) -> str:
    """Account records; the parts of a row are together what changed."""
    page, cursor = parse_page(recording.answer, "log")
    rows = rows_at(recording.answer, "result", "list")
    as_many(len(page), len(rows), "records")
    for row in rows:
        if row["type"] not in (*LEDGER_KINDS, "SETTLEMENT"):
            raise Lost(f"the type {row['type']} is not known")
        parts = sum((Decimal(str(part.amount)) for part in parse_log([row])), Decimal(0))
        same(parts, number(row, "change"), f"change of {row['id']}")
    found = parse_log(page)
    apart = sum(len(parse_log([row])) for row in rows)
    as_many(len({part.record_id for part in found}), apart, "parts of records")
    idle = sum(1 for row in rows if not parse_log([row]))
    told = told_records(
        len(rows), (part.kind for part in found), beside=f"{idle} of nothing" if idle else ""
    )
    return listed(told, "more pages follow" if cursor else "")


def read_tickers(recording: Recording) -> str:
    """Marks of linear contracts, last prices of spot pairs."""
    rows = rows_at(recording.answer, "result", "list")
    wanted = {str(row["symbol"]) for row in rows}
    match category(recording):
        case "linear":
            name, prices = "markPrice", parse_marks(recording.answer, wanted=wanted)
        case "spot":
            name, prices = "lastPrice", parse_spot_prices(recording.answer, wanted=wanted)
        case other:
            raise NotAsked(f"instead category linear, or spot; this is {other}")
    for row in rows:
        if amount(row, name):
            same(prices.get(Symbol(row["symbol"])), float(amount(row, name)), row["symbol"])
    return f"{counted(len(prices), 'price')} ({name})"


def read_markets(recording: Recording) -> str:
    """Rules of linear contracts, each of which must be read."""
    if category(recording) != LINEAR:
        raise NotAsked("instead category linear")
    rows = parse_rows(recording.answer, "instruments")
    # Lists of markets that do not trade yet are often empty; the adapter reads all lists as one.
    limits = parse_market_limits(rows) if rows else {}
    as_many(len(limits), len(rows), "markets")
    return counted(len(limits), "market")


def read_rights(recording: Recording) -> str:
    """What the key may do."""
    rights = parse_rights(recording.answer)
    return listed(
        "can trade" if rights.can_trade else "cannot trade",
        "can withdraw" if rights.can_withdraw else "cannot withdraw",
        "bound to addresses" if rights.is_bound_to_ip else "not bound to addresses",
    )


def read_cancel_all(recording: Recording) -> str:
    """How many orders went."""
    count = count_cancelled(recording.answer)
    if count is None:
        raise Lost("it proves nothing: the answer confirms nothing")
    as_many(count, len(rows_at(recording.answer, "result", "list")), "orders")
    return f"{counted(count, 'order')} cancelled"


def read_new_order(recording: Recording) -> str:
    """What the acknowledgement of an order proves."""
    result = recording.answer["result"] if isinstance(recording.answer, dict) else {}
    own = ClientOrderId(str(result.get("orderLinkId") or ""))
    return told_outcome(judge_order(recording.answer, client_id=own))


def read_batch(recording: Recording) -> str:
    """What the acknowledgements of several orders prove, each for itself."""
    rows = rows_at(recording.answer, "result", "list")
    ours = [ClientOrderId(str(row.get("orderLinkId") or "")) for row in rows]
    outcomes = judge_batch(
        recording.answer,
        ours,
        refusal=lambda row: judge(Failure(cause="", status=200, body=row), venue_now_ms=0.0),
    )
    as_many(len(outcomes), len(rows), "orders")
    return listed(*map(told_outcome, outcomes))


def read_cancel(recording: Recording) -> str:
    """What the cancel of one order proves."""
    result = recording.answer["result"] if isinstance(recording.answer, dict) else {}
    order_id = VenueOrderId(str(result.get("orderId") or ""))
    return told_outcome(judge_cancel(recording.answer, order_id=order_id), noun="cancel")


def read_account(recording: Recording) -> str:
    """How the account is backed."""
    return f"{parse_margin_mode(recording.answer).value} margin"


def read_fees(recording: Recording) -> str:
    """Fees of market orders."""
    fees = parse_fees(recording.answer)
    as_many(len(fees), len(rows_at(recording.answer, "result", "list")), "fees")
    return counted(len(fees), "fee")


def read_funding(recording: Recording) -> str:
    """What the funding account holds, which `check` names."""
    rows = rows_at(recording.answer, "result", "balance")
    held = [row for row in rows if number(row, "walletBalance")]
    named = parse_funding(recording.answer)
    for row in held[:SHOWN]:
        if row["coin"] not in named.split(" and ")[0].split(", "):
            raise Lost(f"{row['coin']} is not named")
    return f"{counted(len(held), 'coin')} that `check` names as not watched"


def read_time(recording: Recording) -> str:
    """The venue's clock."""
    return f"time {parse_time(recording.answer):.3f}"


READS: Mapping[str, Reader] = {
    "GET /v5/account/fee-rate": read_fees,
    "GET /v5/account/info": read_account,
    "GET /v5/account/transaction-log": read_log,
    "GET /v5/account/wallet-balance": read_wallet,
    "GET /v5/asset/transfer/query-account-coins-balance": read_funding,
    "GET /v5/market/instruments-info": read_markets,
    "GET /v5/market/tickers": read_tickers,
    "GET /v5/market/time": read_time,
    "GET /v5/order/history": read_history,
    "GET /v5/order/realtime": read_orders,
    "GET /v5/position/list": read_positions,
    "GET /v5/user/query-api": read_rights,
    "POST /v5/order/cancel": read_cancel,
    "POST /v5/order/cancel-all": read_cancel_all,
    "POST /v5/order/create": read_new_order,
    "POST /v5/order/create-batch": read_batch,
}
_LOG = "instead /v5/account/transaction-log, which tells when it reached or left the account"
INSTEAD: Mapping[str, str] = {
    "GET /v5/asset/deposit/query-record": _LOG,
    "GET /v5/asset/transfer/query-inter-transfer-list": _LOG,
    "GET /v5/asset/withdraw/query-record": _LOG,
}
VENUE = Venue(reads=READS, instead=INSTEAD, is_error=is_error_body)
