"""Reads recorded answers of the spot account of a classic Bitget account."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from model import Asset, ClientOrderId, OrderSide, Symbol
from tools.recordings.answers import Recording
from tools.recordings.bitget import data, read_cancel, read_new_order
from tools.recordings.reading import (
    SCOPE,
    Lost,
    NotAsked,
    OrderNames,
    Reader,
    amount,
    as_many,
    counted,
    listed,
    number,
    rows_at,
    same,
    told_orders,
    told_outcome,
    told_records,
)
from venues.bitget_spot_account import parse_balances, parse_markets, parse_tickers
from venues.bitget_spot_records import (
    NORMAL,
    PLAN,
    find_own,
    is_plan_cancelled,
    judge_row,
    parse_bills,
    parse_order,
)

OPEN = OrderNames(order_id="orderId", client_id="clientOid", quantity="size", executed="baseVolume")
PLANS = OrderNames(order_id="orderId", client_id="clientOid", quantity="size")


def read_balances(recording: Recording) -> str:
    """Every coin with what is free, what orders hold and what is set aside."""
    rows = rows_at(data(recording))
    balances = {balance.asset: balance for balance in parse_balances(recording.answer)}
    names = ("available", "frozen", "locked")
    held = [row for row in rows if any(number(row, name) for name in names)]
    as_many(len(balances), len(held), "balances")
    for row in held:
        found = balances[Asset(row["coin"].upper())]
        for name, read in zip(names, (found.free, found.locked, found.lent), strict=True):
            same(read, number(row, name), f"{name} {found.asset}")
    empty = len(rows) - len(held)
    return listed(counted(len(held), "balance"), f"{empty} of zero" if empty else "")


def read_markets(recording: Recording) -> str:
    """Rules of markets, each of which must be read."""
    rows = rows_at(data(recording))
    as_many(len(parse_markets(recording.answer)), len(rows), "markets")
    return counted(len(rows), "market")


def read_prices(recording: Recording) -> str:
    """Prices of markets whose books have both sides."""
    rows = rows_at(data(recording))
    if not any(number(row, "bidPr") and number(row, "askPr") for row in rows):
        raise NotAsked("books with both sides, of which there is none here")
    mids = parse_tickers(recording.answer).mids
    as_many(len(mids), len(rows), "books")
    for row in rows:
        mid = mids[Symbol(row["symbol"].upper())]
        middle = float((number(row, "bidPr") + number(row, "askPr")) / 2)
        if mid is not None and abs(mid - middle) > 1e-12 * middle:
            raise Lost(f"{row['symbol']}: recorded {middle}, read {mid}")
    none = sum(1 for mid in mids.values() if mid is None)
    return listed(counted(len(rows), "book"), f"{none} without two sides" if none else "")


def read_orders(
    recording: Recording, *, book: str, names: OrderNames, path: tuple[str, ...]
) -> str:
    """Open orders of one book; those that sell can only reduce."""
    rows = rows_at(data(recording), *path)
    if any("loanType" in row for row in rows):
        raise NotAsked("orders of margin accounts, which are not watched")
    orders = [parse_order(row, scope=SCOPE, book=book, markets={}) for row in rows]
    told = told_orders(rows, orders, names)
    sales = sum(1 for order in orders if order.side is OrderSide.SELL)
    return listed(told, f"{sales} selling" if sales else "")


def read_listed(recording: Recording) -> str:
    """What the orders of a look-up or of the history prove."""
    rows = rows_at(data(recording))
    for row in rows:
        own = ClientOrderId(str(row["clientOid"]))
        found = find_own(recording.answer, own)
        if found is None:
            raise Lost(f"{own} is not found")
        quote = Asset(str(row["symbol"])[-4:])
        told = told_outcome(judge_row(found, client_id=own, paid_in=quote), noun="look-up")
    return told if len(rows) == 1 else counted(len(rows), "look-up")


def read_cancel_plan(recording: Recording) -> str:
    """The cancel of a plan, whose answer names none."""
    if not is_plan_cancelled(recording.answer):
        raise Lost("it proves nothing")
    return "1 cancel: done"


def read_bills(recording: Recording) -> str:
    """Bills, of which those that moved money here or away count."""
    rows = rows_at(data(recording))
    records = {record.record_id: record for record in parse_bills(rows)}
    moved = [row for row in rows if parse_bills([row])]
    as_many(len(records), len(moved), "flows")
    for row in moved:
        whole = number(row, "size") - abs(amount(row, "fees"))
        read = records[row["billId"]].amount
        if abs(read - float(whole)) > 1e-12 * abs(float(whole)):
            raise Lost(f"size: recorded {whole}, read {read}")
    beside = len(rows) - len(moved)
    return told_records(
        len(rows),
        (record.kind for record in records.values()),
        beside=f"{beside} that moved nothing here" if beside else "",
    )


READS: Mapping[str, Reader] = {
    "GET /api/v2/spot/account/assets": read_balances,
    "GET /api/v2/spot/account/bills": read_bills,
    "GET /api/v2/spot/market/tickers": read_prices,
    "GET /api/v2/spot/public/symbols": read_markets,
    "GET /api/v2/spot/trade/current-plan-order": partial(
        read_orders, book=PLAN, names=PLANS, path=("orderList",)
    ),
    "GET /api/v2/spot/trade/history-orders": read_listed,
    "GET /api/v2/spot/trade/orderInfo": read_listed,
    "GET /api/v2/spot/trade/unfilled-orders": partial(
        read_orders, book=NORMAL, names=OPEN, path=()
    ),
    "POST /api/v2/spot/trade/cancel-order": read_cancel,
    "POST /api/v2/spot/trade/cancel-plan-order": read_cancel_plan,
    "POST /api/v2/spot/trade/place-order": read_new_order,
}
