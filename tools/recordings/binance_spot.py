"""Reads recorded answers of Binance spot, and the transfers between its accounts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from model import Asset, ClientOrderId, OrderSide, Symbol
from tools.recordings.answers import Recording
from tools.recordings.binance import read_cancel, read_time
from tools.recordings.reading import (
    SCOPE,
    STABLES,
    Lost,
    NotAsked,
    OrderNames,
    Reader,
    Row,
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
from venues.binance_portfolio import INTO, OUT_OF
from venues.binance_portfolio import parse_transfers as parse_crossings
from venues.binance_records import IncomeRow, judge_order
from venues.binance_spot_account import parse_balances, parse_markets, parse_mids
from venues.binance_spot_records import (
    TRANSFER_SIGNS,
    parse_deposits,
    parse_open_orders,
    parse_transfers,
    parse_withdrawals,
)

ORDERS = OrderNames(
    order_id="orderId", client_id="clientOrderId", quantity="origQty", executed="executedQty"
)


def read_balances(recording: Recording) -> str:
    """Every asset with what is free and what is locked; nothing of zero is kept."""
    rows = rows_at(recording.answer, "balances")
    # Every asset is taken for one that a market trades, so that none counts as lent to another.
    mids = {Symbol(f"{row['asset']}{STABLES[0]}"): 1.0 for row in rows}
    balances = {
        balance.asset: balance
        for balance in parse_balances(recording.answer, mids=mids, stables=STABLES)
    }
    held = [row for row in rows if number(row, "free") or number(row, "locked")]
    as_many(len(balances), len(held), "balances")
    for row in held:
        found = balances[Asset(row["asset"])]
        same(found.free, number(row, "free"), f"free {found.asset}")
        same(found.locked, number(row, "locked"), f"locked {found.asset}")
    empty = len(rows) - len(held)
    return listed(counted(len(held), "balance"), f"{empty} of zero" if empty else "")


def read_orders(recording: Recording) -> str:
    """Open orders; those that sell can only reduce."""
    rows = rows_at(recording.answer)
    orders = parse_open_orders(recording.answer, scope=SCOPE, markets={})
    told = told_orders(rows, orders, ORDERS)
    sales = sum(1 for order in orders if order.side is OrderSide.SELL)
    return listed(told, f"{sales} selling" if sales else "")


def read_markets(recording: Recording) -> str:
    """Rules of markets, each of which must be read."""
    rows = rows_at(recording.answer, "symbols")
    as_many(len(parse_markets(recording.answer)), len(rows), "markets")
    return counted(len(rows), "market")


def read_mids(recording: Recording) -> str:
    """Prices of markets whose books have both sides."""
    if isinstance(recording.answer, dict):
        raise NotAsked("instead the books of all symbols at once")
    rows = rows_at(recording.answer)
    mids = parse_mids(recording.answer)
    as_many(len(mids), len({row["symbol"] for row in rows}), "books")
    for row in rows:
        mid = mids[Symbol(row["symbol"])]
        if mid is not None:
            same(mid, float((number(row, "bidPrice") + number(row, "askPrice")) / 2), row["symbol"])
    none = sum(1 for mid in mids.values() if mid is None)
    return listed(counted(len(rows), "book"), f"{none} without two sides" if none else "")


def read_new_order(recording: Recording) -> str:
    """What the answer to a new order proves."""
    return _told_order(recording, is_lookup=False)


def read_lookup(recording: Recording) -> str:
    """What the look-up of an order proves."""
    return _told_order(recording, is_lookup=True)


def _told_order(recording: Recording, *, is_lookup: bool) -> str:
    row: Row = recording.answer if isinstance(recording.answer, dict) else {}
    own = ClientOrderId(str(row.get("clientOrderId")))
    outcome = judge_order(row, client_id=own, is_lookup=is_lookup)
    return told_outcome(outcome, noun="look-up" if is_lookup else "order")


def read_transfers(recording: Recording) -> str:
    """Transfers of one direction, as the spot account and as portfolio margin read them."""
    answer = recording.answer if isinstance(recording.answer, dict) else {}
    rows = rows_at(answer.get("rows"))
    kind = recording.sent.get("type") or str(rows[0]["type"] if rows else INTO)
    if kind not in TRANSFER_SIGNS:
        raise NotAsked(f"transfers of the spot account; {kind} is none")
    found, count = parse_transfers(recording.answer, kind)
    as_many(count, len(rows), "records")
    if kind in (INTO, OUT_OF):
        page = parse_crossings(recording.answer, direction=kind)
        as_many(page.listed, len(rows), "records")
    moved = [row for row in rows if row["status"] == "CONFIRMED"]
    return _told_moves(rows, moved, found, sign=TRANSFER_SIGNS[kind])


def read_deposits(recording: Recording) -> str:
    """Deposits, of which those that are in the balance count."""
    return _told_moves_of(recording, parse_deposits, sign=1)


def read_withdrawals(recording: Recording) -> str:
    """Withdrawals with their fees, of which those that left the balance count."""
    return _told_moves_of(recording, parse_withdrawals, sign=-1)


def _told_moves_of(
    recording: Recording,
    parse: Callable[[object], tuple[tuple[IncomeRow, ...], int]],
    *,
    sign: int,
) -> str:
    rows = rows_at(recording.answer)
    found, count = parse(recording.answer)
    as_many(count, len(rows), "records")
    moved = [row for row in rows if parse([row])[0]]
    return _told_moves(rows, moved, found, sign=sign)


def _told_moves(
    rows: list[Row], moved: list[Row], found: tuple[IncomeRow, ...], *, sign: int
) -> str:
    """Compare what moved with its rows; the others are under way, failed, or elsewhere."""
    as_many(len({record.record_id for record in found}), len(moved), "flows")
    for row, record in zip(moved, found, strict=True):
        fee = Decimal(str(row.get("transactionFee") or 0))
        whole = number(row, "amount") + fee
        if abs(record.amount - float(sign * whole)) > 1e-12 * float(whole):
            raise Lost(f"amount: recorded {sign * whole}, read {record.amount}")
    beside = len(rows) - len(moved)
    return told_records(
        len(rows),
        (record.kind for record in found),
        beside=f"{beside} that moved nothing here" if beside else "",
    )


READS: dict[str, Reader] = {
    "DELETE /api/v3/order": read_cancel,
    "GET /api/v3/account": read_balances,
    "GET /api/v3/exchangeInfo": read_markets,
    "GET /api/v3/openOrders": read_orders,
    "GET /api/v3/order": read_lookup,
    "GET /api/v3/time": read_time,
    "GET /api/v3/ticker/bookTicker": read_mids,
    "GET /sapi/v1/asset/transfer": read_transfers,
    "GET /sapi/v1/capital/deposit/hisrec": read_deposits,
    "GET /sapi/v1/capital/withdraw/history": read_withdrawals,
    "POST /api/v3/order": read_new_order,
}
