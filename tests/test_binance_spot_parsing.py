"""Binance's spot answers, field by field: what is read, and what a missing one leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from errors import Malformed
from model import (
    Asset,
    Done,
    OrderSide,
    RefusalReason,
    Refused,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.binance_spot_account import (
    parse_balances,
    parse_last_price,
    parse_markets,
    parse_mids,
)
from venues.binance_spot_errors import judge
from venues.binance_spot_records import (
    parse_deposits,
    parse_open_orders,
    parse_transfers,
    parse_withdrawals,
    with_proceeds,
)
from venues.failure import Failure

SCOPE = ScopeId("binance_spot")
STABLES = (Asset("USDT"), Asset("USDC"))
MIDS = {Symbol(name): 1.0 for name in ("BTCUSDT", "LDOUSDT", "OUSDT", "SOLBTC")}
WRONG: tuple[object, ...] = (None, "", "x", "NaN", True, [], {})
"""What a number never is; a missing field is tried beside them."""


def balance(asset: str, free: str = "1", locked: str = "0", **changes: Any) -> dict[str, Any]:
    """One row of the balances."""
    return {"asset": asset, "free": free, "locked": locked, **changes}


def balances(*rows: Mapping[str, Any]) -> dict[str, Any]:
    """The account answer."""
    return {"accountType": "SPOT", "balances": list(rows)}


def broken(row: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The row with the field missing, and with each value that makes no sense there."""
    missing = {name: value for name, value in row.items() if name != field}
    return [missing, *({**row, field: wrong} for wrong in WRONG)]


def test_what_is_lent_counts_to_its_coin() -> None:
    """LDBTC is BTC that earns interest, LDUSDT a stable; LDO is a coin, and no lent O."""
    found = parse_balances(
        balances(
            balance("LDBTC", "0.3"),
            balance("BTC", "0.1", "0.2"),
            balance("LDUSDT", "50"),
            balance("LDO", "7"),
            balance("LDLDO", "3"),
            balance("LDXYZ", "4"),
            balance("SOL", "0", "0"),
        ),
        mids=MIDS,
        stables=STABLES,
    )
    assert {b.asset: (b.free, b.locked, b.lent) for b in found} == {
        "BTC": (Decimal("0.1"), Decimal("0.2"), Decimal("0.3")),
        "USDT": (Decimal(0), Decimal(0), Decimal(50)),
        "LDO": (Decimal(7), Decimal(0), Decimal(3)),
        "LDXYZ": (Decimal(4), Decimal(0), Decimal(0)),
    }


@pytest.mark.parametrize("field", ["asset", "free", "locked"])
def test_balance_with_a_field_that_makes_no_sense_is_no_account(field: str) -> None:
    """A balance is never guessed: the whole answer is malformed."""
    for row in broken(balance("BTC"), field):
        if field == "asset" and row.get("asset") == "x":
            continue
        if field == "asset" and row.get("asset") == "NaN":
            continue
        with pytest.raises(Malformed):
            parse_balances(balances(balance("SOL"), row), mids=MIDS, stables=STABLES)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"balances": None},
        {"balances": {}},
        [],
        "text",
        None,
        balances(balance("BTC"), balance("BTC")),
        balances(balance("BTC", "-1")),
        balances(balance("BTC", "1", "-1")),
    ],
)
def test_answer_without_balances_is_malformed(answer: object) -> None:
    """Missing, listed twice, below zero: nothing of that is an empty account."""
    with pytest.raises(Malformed):
        parse_balances(answer, mids=MIDS, stables=STABLES)


def test_empty_list_is_an_honest_zero() -> None:
    """The venue leaves out what is not held."""
    assert parse_balances(balances(), mids=MIDS, stables=STABLES) == ()


def book(symbol: str, bid: object = "99", ask: object = "101") -> dict[str, Any]:
    """One row of `bookTicker`."""
    return {"symbol": symbol, "bidPrice": bid, "bidQty": "1", "askPrice": ask, "askQty": "1"}


@pytest.mark.parametrize(
    ("bid", "ask", "mid"),
    [
        ("99", "101", 100.0),
        ("100", "100", 100.0),
        ("0.00000000", "0.00000000", None),
        ("0", "101", None),
        ("99", "0", None),
        ("101", "99", None),
        ("-1", "1", None),
        (None, "101", None),
        ("", "101", None),
        ("99", "NaN", None),
    ],
)
def test_mid_needs_both_sides(bid: object, ask: object, mid: float | None) -> None:
    """An empty, crossed or senseless book prices nothing, and blinds nobody else."""
    found = parse_mids([book("SOLUSDT", bid, ask), book("BTCUSDT")])
    assert found == {"SOLUSDT": mid, "BTCUSDT": 100.0}


@pytest.mark.parametrize("answer", [[], [book("SOLUSDT", "0", "0")], {}, None, [{}]])
def test_answer_without_any_price_is_malformed(answer: object) -> None:
    """All coins unpriced at once is no market, it is a bad answer."""
    with pytest.raises(Malformed):
        parse_mids(answer)


@pytest.mark.parametrize(
    ("answer", "price"),
    [
        ({"count": 7, "lastPrice": "99.5"}, 99.5),
        ({"count": 0, "lastPrice": "99.5"}, None),
        ({"count": 7, "lastPrice": "0"}, None),
        ({"count": 7, "lastPrice": ""}, None),
        ({"lastPrice": "99.5"}, None),
        ([], None),
        (Failure(cause="down"), None),
    ],
)
def test_last_price_is_one_of_the_day_or_none(answer: object, price: float | None) -> None:
    """An old price, or an answer that makes no sense, is none."""
    assert parse_last_price(answer) == price


def market(**changes: Any) -> dict[str, Any]:
    """SOLUSDT as `exchangeInfo` tells it."""
    return {
        "symbol": "SOLUSDT",
        "status": "TRADING",
        "baseAsset": "SOL",
        "quoteAsset": "USDT",
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "filters": [
            lot(),
            lot("MARKET_LOT_SIZE", least="0.00000000", most="8000.0", step="0.00000000"),
            notional(),
        ],
        **changes,
    }


def lot(
    name: str = "LOT_SIZE", *, least: str = "0.01", most: str = "90000.0", step: str = "0.01"
) -> dict[str, Any]:
    """A filter of sizes."""
    return {"filterType": name, "minQty": least, "maxQty": most, "stepSize": step}


def notional(**changes: Any) -> dict[str, Any]:
    """The filter of values."""
    return {
        "filterType": "NOTIONAL",
        "minNotional": "5.00000000",
        "applyMinToMarket": True,
        **changes,
    }


def test_market_order_has_to_satisfy_both_filters_of_size() -> None:
    """A step or minimum of 0 is switched off; the smaller maximum counts."""
    limits = parse_markets({"symbols": [market()]})[Symbol("SOLUSDT")]
    assert (limits.step, limits.min_quantity, limits.market_max) == (
        Decimal("0.01"),
        Decimal("0.01"),
        Decimal(8000),
    )
    assert limits.min_notional == 5
    assert not limits.reduce_only_waives_min_notional
    assert limits.is_tradable


@pytest.mark.parametrize(
    ("filters", "least"),
    [
        ([lot(), notional(applyMinToMarket=False)], 0),
        (
            [lot(), {"filterType": "MIN_NOTIONAL", "minNotional": "10", "applyToMarket": True}],
            10,
        ),
        ([lot()], 0),
    ],
)
def test_least_value_is_that_of_market_orders(filters: list[object], least: int) -> None:
    """NOTIONAL or the older MIN_NOTIONAL, where it applies to market orders."""
    limits = parse_markets({"symbols": [market(filters=filters)]})
    assert limits[Symbol("SOLUSDT")].min_notional == least


@pytest.mark.parametrize(
    "changes",
    [{"status": "BREAK"}, {"isSpotTradingAllowed": False}, {"orderTypes": ["LIMIT"]}],
)
def test_market_that_takes_no_market_order_is_not_tradable(changes: dict[str, Any]) -> None:
    """Halted, not for spot, or limit orders alone."""
    limits = parse_markets({"symbols": [market(**changes)]})
    assert not limits[Symbol("SOLUSDT")].is_tradable


@pytest.mark.parametrize(
    "field", ["status", "baseAsset", "quoteAsset", "filters", "isSpotTradingAllowed"]
)
def test_market_that_cannot_be_read_is_left_out(field: str) -> None:
    """One odd listing hides no other; an answer of odd ones alone is malformed."""
    odd = {**market(symbol="ODDUSDT"), field: None}
    assert set(parse_markets({"symbols": [odd, market()]})) == {"SOLUSDT"}
    with pytest.raises(Malformed):
        parse_markets({"symbols": [odd]})


@pytest.mark.parametrize("filters", [[notional()], [lot(step="0")], [lot(step="")]])
def test_market_without_a_step_is_left_out(filters: list[object]) -> None:
    """No size could be rounded."""
    with pytest.raises(Malformed):
        parse_markets({"symbols": [market(filters=filters)]})


def order(**changes: Any) -> dict[str, Any]:
    """One row of `openOrders`."""
    return {
        "symbol": "SOLBTC",
        "orderId": 17,
        "orderListId": -1,
        "clientOrderId": "bot-1",
        "price": "0.00200000",
        "origQty": "10.00000000",
        "executedQty": "4.00000000",
        "type": "STOP_LOSS_LIMIT",
        "side": "BUY",
        "stopPrice": "0.00190000",
        **changes,
    }


def test_order_names_what_it_trades_and_what_it_holds() -> None:
    """Buying SOL with BTC changes the row SOL and holds BTC; selling it holds SOL."""
    (buy,) = parse_open_orders([order()], scope=SCOPE, markets={})
    assert (buy.row_symbol, buy.holds, buy.side) == ("SOL", "BTC", OrderSide.BUY)
    assert (buy.quantity, buy.price, buy.trigger_price) == (
        Decimal(6),
        Decimal("0.002"),
        Decimal("0.0019"),
    )
    assert not buy.reduce_only
    (sale,) = parse_open_orders([order(side="SELL")], scope=SCOPE, markets={})
    assert (sale.row_symbol, sale.holds, sale.reduce_only) == ("SOL", "SOL", True)


@pytest.mark.parametrize(
    ("symbol", "row", "holds"), [("NEWUSDT", "NEW", "USDT"), ("WHATZZZ", "WHATZZZ", "")]
)
def test_market_that_is_not_known_is_told_by_its_spelling(
    symbol: str, row: str, holds: str
) -> None:
    """Where that says nothing either, the whole name stands for the coin."""
    (found,) = parse_open_orders([order(symbol=symbol)], scope=SCOPE, markets={})
    assert (found.row_symbol, found.holds) == (row, holds)


@pytest.mark.parametrize("field", ["symbol", "orderId", "origQty", "executedQty", "side", "type"])
def test_order_with_a_missing_field_is_malformed(field: str) -> None:
    """An order that cannot be understood must not vanish from the list."""
    for value in (None, ""):
        with pytest.raises(Malformed):
            parse_open_orders([order(**{field: value})], scope=SCOPE, markets={})
    with pytest.raises(Malformed):
        parse_open_orders([order(executedQty="11")], scope=SCOPE, markets={})


def sold(**changes: Any) -> dict[str, Any]:
    """The answer to a sale of 500 QRX for BTC."""
    return {
        "orderId": 5,
        "status": "FILLED",
        "executedQty": "500",
        "cummulativeQuoteQty": "0.00500000",
        "fills": [
            {"commission": "0.00000300", "commissionAsset": "BTC"},
            {"commission": "0.00000200", "commissionAsset": "BTC"},
            {"commission": "0.00010000", "commissionAsset": "BNB"},
        ],
        **changes,
    }


DONE = Done(order_id=VenueOrderId("5"), filled=Decimal(500))


def test_what_a_sale_brought_is_without_the_fees_that_were_kept_of_it() -> None:
    """0.005 - 0.000003 - 0.000002; a fee that is paid in BNB takes nothing of it."""
    found = with_proceeds(DONE, sold(), paid_in=Asset("BTC"))
    assert isinstance(found, Done)
    assert found.brought == Decimal("0.004995")


@pytest.mark.parametrize(
    "changes",
    [
        {"cummulativeQuoteQty": None},
        {"cummulativeQuoteQty": ""},
        {"fills": None},
        {"fills": [{"commission": "", "commissionAsset": "BTC"}]},
        {"fills": [{"commission": "0.1"}]},
    ],
)
def test_what_a_sale_brought_is_told_completely_or_not(changes: dict[str, Any]) -> None:
    """Half of an answer would keep proceeds back, or sell what was there before."""
    assert with_proceeds(DONE, sold(**changes), paid_in=Asset("BTC")) == DONE


@pytest.mark.parametrize(
    "outcome", [Unknown(cause="lost"), Done(order_id=VenueOrderId("5"), filled=None)]
)
def test_sale_of_unknown_size_brought_nothing_that_is_known(outcome: Done | Unknown) -> None:
    """An acknowledgement alone tells no money."""
    assert with_proceeds(outcome, sold(), paid_in=Asset("BTC")) == outcome


# --- records of money -------------------------------------------------------------------------


def deposit(**changes: Any) -> dict[str, Any]:
    """One row of `deposit/hisrec`."""
    return {
        "id": "769800519366885376",
        "amount": "0.5",
        "coin": "BTC",
        "status": 1,
        "insertTime": 1_700_000_000_000,
        "completeTime": 1_700_000_900_000,
        "walletType": 0,
        **changes,
    }


def withdrawal(**changes: Any) -> dict[str, Any]:
    """One row of `withdraw/history`."""
    return {
        "id": "b6ae22b3aa844210a7041aee7589627c",
        "amount": "8.91",
        "transactionFee": "0.09",
        "coin": "USDT",
        "status": 6,
        "applyTime": "2023-11-14 22:13:20",
        "walletType": 0,
        **changes,
    }


def transfer(**changes: Any) -> dict[str, Any]:
    """One row of `asset/transfer`."""
    return {
        "asset": "USDT",
        "amount": "25",
        "type": "MAIN_UMFUTURE",
        "status": "CONFIRMED",
        "tranId": 11415955596,
        "timestamp": 1_700_000_000_000,
        **changes,
    }


def test_records_say_what_moved_and_when() -> None:
    """A deposit when it was credited, a withdrawal with its fee, a transfer with its direction."""
    ((came,), _) = parse_deposits([deposit()])
    assert (came.amount, came.asset, came.at_ms) == (0.5, "BTC", 1_700_000_900_000)
    ((went,), _) = parse_withdrawals([withdrawal()])
    assert went.amount == pytest.approx(-9.0)
    assert went.at_ms == 1_700_000_000_000
    page = {"total": 1, "rows": [transfer()]}
    ((out,), _) = parse_transfers(page, "MAIN_UMFUTURE")
    ((back,), _) = parse_transfers(page, "UMFUTURE_MAIN")
    assert (out.amount, back.amount) == (-25, 25)
    assert len({came.record_id, went.record_id, out.record_id, back.record_id}) == 4


@pytest.mark.parametrize("missing", [{"completeTime": None}, {"completeTime": ""}])
def test_deposit_without_an_end_counts_from_when_it_was_seen(missing: dict[str, Any]) -> None:
    """Older answers do not tell when it was credited."""
    ((came,), _) = parse_deposits([deposit(**missing)])
    assert came.at_ms == 1_700_000_000_000


@pytest.mark.parametrize(
    ("parse", "rows"),
    [
        (parse_deposits, [deposit(status=0), deposit(status=2), deposit(walletType=1)]),
        (parse_deposits, [deposit(status=7), deposit(status=8)]),
        (parse_withdrawals, [withdrawal(status=n) for n in (1, 3, 5)]),
        (parse_withdrawals, [withdrawal(walletType=1)]),
    ],
)
def test_what_did_not_move_the_spot_balance_is_no_record(
    parse: Callable[[object], Any], rows: list[object]
) -> None:
    """Pending, refused, failed, or of the funding wallet; the rows still count for the page."""
    assert parse(rows) == ((), len(rows))


def test_transfer_that_is_not_confirmed_is_no_record() -> None:
    """Pending or failed money has not moved; no transfers at all is an answer without a list."""
    page = {"total": 1, "rows": [transfer(status="FAILED")]}
    assert parse_transfers(page, "MAIN_UMFUTURE") == ((), 1)
    assert parse_transfers({"total": 0}, "MAIN_UMFUTURE") == ((), 0)


@pytest.mark.parametrize(
    ("parse", "row", "field"),
    [
        *((parse_deposits, deposit(), name) for name in ("id", "amount", "coin", "status")),
        *((parse_withdrawals, withdrawal(), name) for name in ("id", "amount", "coin", "status")),
        (parse_withdrawals, withdrawal(), "applyTime"),
        (parse_deposits, deposit(completeTime=None), "insertTime"),
    ],
)
def test_record_with_a_missing_field_is_malformed(
    parse: Callable[[object], Any], row: dict[str, Any], field: str
) -> None:
    """A record that is passed over would turn a withdrawal into a loss."""
    for value in (None, ""):
        with pytest.raises(Malformed):
            parse([{**row, field: value}])


@pytest.mark.parametrize("field", ["asset", "amount", "tranId", "timestamp", "status"])
def test_transfer_with_a_missing_field_is_malformed(field: str) -> None:
    """Likewise; and a list that is missing while the total is not 0."""
    for value in (None, ""):
        with pytest.raises(Malformed):
            parse_transfers({"total": 1, "rows": [transfer(**{field: value})]}, "MAIN_UMFUTURE")
    with pytest.raises(Malformed):
        parse_transfers({"total": 1}, "MAIN_UMFUTURE")


@pytest.mark.parametrize("text", ["2023-11-14", "yesterday", "1700000000"])
def test_withdrawal_at_no_time_is_malformed(text: str) -> None:
    """The venue writes this one time as a text."""
    with pytest.raises(Malformed):
        parse_withdrawals([withdrawal(applyTime=text)])


# --- refusals ---------------------------------------------------------------------------------

_R = RefusalReason
BALANCE = "Account has insufficient balance for requested action."


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (-1013, "Filter failure: NOTIONAL", _R.TOO_SMALL),
        (-1013, "Filter failure: MIN_NOTIONAL", _R.TOO_SMALL),
        (-1013, "Filter failure: LOT_SIZE", _R.BAD_PRECISION),
        (-1013, "Filter failure: MARKET_LOT_SIZE", _R.TOO_LARGE),
        (-1013, "Market is closed.", _R.NOT_TRADABLE),
        (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE", _R.OTHER),
        (-2010, BALANCE, _R.NOTHING_TO_REDUCE),
        (-2010, "Duplicate order sent.", _R.DUPLICATE_ID),
        (-2010, "This symbol is not permitted for this account.", _R.NOT_TRADABLE),
        (-2010, "This symbol is restricted for this account.", _R.NOT_TRADABLE),
        (-2010, "Market is closed.", _R.NOT_TRADABLE),
        (-2010, "This action is disabled on this account.", _R.NOT_ALLOWED),
        (-2010, "This account may not place or cancel orders.", _R.NOT_ALLOWED),
        (-1112, "No orders on book for symbol.", _R.OTHER),
        (-2010, "words that nobody knows", _R.OTHER),
        (-2010, None, _R.OTHER),
        (-1111, "Precision", _R.BAD_PRECISION),
        (-1121, "Invalid symbol.", _R.NOT_TRADABLE),
        (-1021, "Timestamp", _R.CLOCK),
        (-2015, "Invalid API-key", _R.NOT_ALLOWED),
        (-1015, "Too many new orders", _R.RATE_LIMITED),
        (-1007, "Timeout waiting for response", None),
        (-1006, "unexpected response", None),
        (-2022, "means something else on futures", None),
    ],
)
def test_refusal_proves_that_nothing_was_sold(
    code: int, text: str | None, reason: RefusalReason | None
) -> None:
    """Two codes need their words; what is in no table proves nothing."""
    body = {"code": code, "msg": text}
    outcome = judge(Failure(cause="refused", status=400, body=body), venue_now_ms=0.0)
    if reason is None:
        assert isinstance(outcome, Unknown)
    else:
        assert isinstance(outcome, Refused)
        assert outcome.reason is reason


@pytest.mark.parametrize(
    "failure",
    [
        Failure(cause="timed out"),
        Failure(cause="bad gateway", status=502),
        Failure(cause="5xx", status=503, body={"code": -2010, "msg": BALANCE}),
        Failure(cause="no code", status=400, body={"msg": BALANCE}),
        Failure(cause="a list", status=400, body=[]),
    ],
)
def test_failure_without_proof_is_unknown(failure: Failure) -> None:
    """A sale may have been executed behind any of these."""
    assert isinstance(judge(failure, venue_now_ms=0.0), Unknown)
