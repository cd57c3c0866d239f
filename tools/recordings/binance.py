"""Reads recorded answers of Binance USD-M futures."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from model import Asset, ClientOrderId, Side, VenueOrderId
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
    as_many,
    beside_profit,
    close_to,
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
from venues.binance import MANNERS
from venues.binance_account import (
    Backing,
    futures_backing,
    parse_account,
    parse_account_mode,
    parse_positions,
    parse_sizes,
    value_account,
)
from venues.binance_errors import code_of, is_error_body, judge
from venues.binance_inspection import parse_fee, parse_restrictions, parse_spreads
from venues.binance_markets import parse_asset_prices, parse_market_limits, parse_marks
from venues.binance_orders import judge_cancel
from venues.binance_records import (
    LEDGER_KINDS,
    judge_batch,
    judge_order,
    parse_conditional_orders,
    parse_income,
    parse_orders,
)
from venues.failure import Failure

REGULAR = OrderNames(
    order_id="orderId", client_id="clientOrderId", quantity="origQty", executed="executedQty"
)
CONDITIONAL = OrderNames(order_id="algoId", client_id="clientAlgoId", quantity="quantity")


def read_account(recording: Recording) -> str:
    """Equity in both modes; which one the account is in, another endpoint tells."""
    rows = rows_at(recording.answer, "assets")
    single = parse_account(recording.answer, is_multi_assets=False)
    multi = parse_account(recording.answer, is_multi_assets=True)
    as_many(len(single.holdings), len(rows), "assets")
    for row, held in zip(rows, single.holdings, strict=True):
        same(held.wallet, number(row, "walletBalance"), f"walletBalance of {held.asset}")
        same(held.margin_balance, number(row, "marginBalance"), f"marginBalance of {held.asset}")
        same(held.unrealised, number(row, "unrealizedProfit"), f"profit of {held.asset}")
    at_one = dict.fromkeys(single.unstable_assets(STABLES), 1.0)
    equity = sum((number(row, "marginBalance") for row in rows), Decimal(0))
    wallet = sum((number(row, "walletBalance") for row in rows), Decimal(0))
    close_to(value_account(single, stables=STABLES, prices=at_one).equity, equity, "equity")
    total = _total(recording.answer, "totalMarginBalance")
    same(value_account(multi, stables=STABLES, prices={}).equity, total, "totalMarginBalance")
    return listed(
        f"equity {equity} = sum of {counted(len(rows), 'marginBalance')}"
        + (f" with {' and '.join(sorted(at_one))} at 1" if at_one else ""),
        beside_profit(equity, wallet, "walletBalance"),
        f"in multi-assets mode {total} = totalMarginBalance",
        beside_profit(total, _total(recording.answer, "totalWalletBalance"), "totalWalletBalance"),
    )


def _total(answer: object, name: str) -> Decimal:
    return number(answer if isinstance(answer, dict) else {}, name)


def read_mode(recording: Recording) -> str:
    """Position mode and multi-assets mode."""
    mode = parse_account_mode(recording.answer)
    assets = "multi-assets" if mode.is_multi_assets else "single-asset"
    return f"{mode.position_mode.value}, {assets} mode"


def read_positions(recording: Recording) -> str:
    """Positions of a USD-M account of its own."""
    return read_rows_of_positions(recording, backing=futures_backing)


def read_rows_of_positions(recording: Recording, *, backing: Backing) -> str:
    """Positions, as a reading has them and as a close has them."""
    rows = rows_at(recording.answer)
    positions = parse_positions(recording.answer, bases={}, backing=backing)
    told = told_positions(rows, positions, size="positionAmt")
    for_closing = parse_sizes(recording.answer, bases={}, backing=backing)
    told_positions(rows, for_closing, size="positionAmt")
    held = [row for row in rows if number(row, "positionAmt")]
    for row, position in zip(held, positions, strict=True):
        side = Side.LONG if number(row, "positionAmt") > 0 else Side.SHORT
        same(position.side, side, f"side of {position.symbol}")
        same_figures(row, position, entry="entryPrice", mark="markPrice", profit="unRealizedProfit")
    return told


def read_cancel(recording: Recording) -> str:
    """What the cancel of one order, or of all of a symbol, proves."""
    row: Row = recording.answer if isinstance(recording.answer, dict) else {}
    order_id = VenueOrderId(str(row.get("algoId") or row.get("orderId") or ""))
    return told_outcome(judge_cancel(row, order_id=order_id), noun="cancel")


def read_orders(recording: Recording) -> str:
    """Regular orders."""
    orders = parse_orders(recording.answer, scope=SCOPE)
    return told_orders(rows_at(recording.answer), orders, REGULAR)


def read_conditional(recording: Recording) -> str:
    """Conditional orders."""
    orders = parse_conditional_orders(recording.answer, scope=SCOPE)
    return told_orders(rows_at(recording.answer), orders, CONDITIONAL)


def read_income(recording: Recording) -> str:
    """Account records, none of which may have the id of another."""
    rows, found = rows_at(recording.answer), parse_income(recording.answer)
    as_many(len({record.record_id for record in found}), len(rows), "records")
    for row, record in zip(rows, found, strict=True):
        if row["incomeType"] not in LEDGER_KINDS:
            raise Lost(f"the type {row['incomeType']} is not known")
        same(record.amount, number(row, "income"), f"income of {record.record_id}")
    return told_records(len(found), (record.kind for record in found))


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


def read_batch(recording: Recording) -> str:
    """What the answers to several orders prove, each for itself."""
    rows = rows_at(recording.answer)
    ours = [ClientOrderId(str(row.get("clientOrderId"))) for row in rows]
    outcomes = judge_batch(
        recording.answer,
        ours,
        refusal=lambda row: judge(Failure(cause="", status=200, body=row), venue_now_ms=0.0),
    )
    as_many(len(outcomes), len(rows), "orders")
    return listed(*map(told_outcome, outcomes))


def read_markets(recording: Recording) -> str:
    """Rules of markets, each of which must be read."""
    rows = rows_at(recording.answer, "symbols")
    limits = parse_market_limits(recording.answer)
    missing = [row["symbol"] for row in rows if row["symbol"] not in limits]
    if missing:
        raise Lost(f"{counted(len(missing), 'market')} not read: {', '.join(missing[:4])}")
    return counted(len(limits), "market")


def read_marks(recording: Recording) -> str:
    """Mark prices."""
    answer = recording.answer
    rows: list[Row] = [answer] if isinstance(answer, dict) else rows_at(answer)
    marks = parse_marks(answer, wanted={str(row["symbol"]) for row in rows})
    return told_prices(rows, {str(name): mark for name, mark in marks.items()}, name="markPrice")


def told_prices(rows: list[Row], prices: Mapping[str, float], *, name: str) -> str:
    """Compare prices with their rows; one of 0 is no price."""
    for row in rows:
        if number(row, name):
            same(prices.get(row["symbol"]), float(number(row, name)), f"{name} of {row['symbol']}")
    none = len(rows) - len(prices)
    return listed(counted(len(prices), "mark"), f"{none} without a price" if none else "")


def read_asset_index(recording: Recording) -> str:
    """The venue's prices of assets."""
    rows = rows_at(recording.answer)
    wanted = {Asset(str(row["symbol"]).removesuffix("USD")) for row in rows}
    prices = parse_asset_prices(recording.answer, wanted=wanted)
    as_many(len(prices), len(rows), "prices")
    return counted(len(prices), "price")


def read_rights(recording: Recording) -> str:
    """What the key may do."""
    rights = parse_restrictions(recording.answer)
    bound = "bound to addresses" if rights.is_bound_to_ip else "not bound to addresses"
    return listed(
        "can read" if rights.can_read else "cannot read",
        "can trade futures" if rights.can_trade else "cannot trade futures",
        "can withdraw" if rights.can_withdraw else "cannot withdraw",
        bound,
    )


def read_time(recording: Recording) -> str:
    """The venue's clock."""
    return f"time {MANNERS.parse_time(recording.answer) / 1000:.3f}"


def read_fee(recording: Recording) -> str:
    """The fee of market orders."""
    return f"taker fee {parse_fee(recording.answer)}"


def read_spreads(recording: Recording) -> str:
    """Spreads of books that have both sides."""
    if isinstance(recording.answer, dict):
        raise NotAsked("instead the books of all symbols at once")
    rows = rows_at(recording.answer)
    whole = [row for row in rows if 0 < number(row, "bidPrice") <= number(row, "askPrice")]
    spreads = parse_spreads(recording.answer)
    as_many(len(spreads), len({row["symbol"] for row in whole}), "books")
    empty = len(rows) - len(whole)
    return listed(counted(len(spreads), "spread"), f"{empty} without two sides" if empty else "")


def is_error(answer: object) -> bool:
    """True for the answer to a request that was refused."""
    return isinstance(answer, dict) and is_error_body(answer) and code_of(answer) is not None


READS: dict[str, Reader] = {
    "DELETE /fapi/v1/algoOpenOrders": read_cancel,
    "DELETE /fapi/v1/algoOrder": read_cancel,
    "DELETE /fapi/v1/allOpenOrders": read_cancel,
    "DELETE /fapi/v1/order": read_cancel,
    "GET /fapi/v1/accountConfig": read_mode,
    "GET /fapi/v1/assetIndex": read_asset_index,
    "GET /fapi/v1/commissionRate": read_fee,
    "GET /fapi/v1/exchangeInfo": read_markets,
    "GET /fapi/v1/income": read_income,
    "GET /fapi/v1/openAlgoOrders": read_conditional,
    "GET /fapi/v1/openOrders": read_orders,
    "GET /fapi/v1/order": read_lookup,
    "GET /fapi/v1/premiumIndex": read_marks,
    "GET /fapi/v1/ticker/bookTicker": read_spreads,
    "GET /fapi/v1/time": read_time,
    "GET /fapi/v3/account": read_account,
    "GET /fapi/v3/positionRisk": read_positions,
    "GET /sapi/v1/account/apiRestrictions": read_rights,
    "POST /fapi/v1/batchOrders": read_batch,
    "POST /fapi/v1/order": read_new_order,
}
_BY_CHECK = "only by `check`, which names what is not watched"
INSTEAD: Mapping[str, str] = {
    "GET /fapi/v1/positionSide/dual": "instead /fapi/v1/accountConfig",
    "GET /fapi/v1/ticker/24hr": "instead /fapi/v1/premiumIndex",
    "GET /fapi/v2/account": "instead /fapi/v3/account",
    "GET /dapi/v1/balance": _BY_CHECK,
    "GET /eapi/v1/marginAccount": _BY_CHECK,
    "GET /papi/v1/cm/positionRisk": _BY_CHECK,
    "GET /sapi/v1/margin/account": _BY_CHECK,
    "GET /sapi/v1/sub-account/list": _BY_CHECK,
    "GET /fapi/v2/positionRisk": "instead /fapi/v3/positionRisk",
}
VENUE = Venue(reads=READS, instead=INSTEAD, is_error=is_error)
