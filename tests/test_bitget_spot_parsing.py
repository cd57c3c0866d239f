"""What Bitget's spot answers mean, from the rows that its own pages show."""

from __future__ import annotations

from decimal import Decimal

import pytest

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Done,
    MarketLimits,
    OrderKind,
    OrderSide,
    RefusalReason,
    Refused,
    ScopeId,
    Symbol,
    Unknown,
)
from tests.bitget_answers import envelope
from tests.bitget_spot_answers import (
    Row,
    asset_row,
    bill_row,
    done_row,
    open_row,
    plan_row,
    symbol_row,
    ticker_row,
)
from venues.bitget_errors import judge, judge_spot
from venues.bitget_spot_account import parse_balances, parse_markets, parse_tickers
from venues.bitget_spot_records import (
    FLOWS,
    NORMAL,
    PLAN,
    TPSL,
    find_own,
    judge_row,
    parse_bills,
    parse_order,
    split_symbol,
)
from venues.failure import Failure

SCOPE = ScopeId("bitget_spot")
OWN = ClientOrderId("ks-1")
USDT = Asset("USDT")


# --- balances, prices, rules --------------------------------------------------------------------


def test_what_no_order_holds_and_no_one_can_free_counts_and_is_not_for_sale() -> None:
    """1.25 are free, 0.5 held by orders, 0.25 set aside: 2 in all, 1.75 of them to be sold."""
    (held,) = parse_balances(envelope([asset_row(coin="btc"), asset_row(coin="ETH", **ZEROS)]))
    assert held.asset == "BTC"
    assert (held.free, held.locked, held.lent) == (Decimal("1.25"), Decimal("0.5"), Decimal("0.25"))
    assert held.total == 2


ZEROS = {"available": "0.00000000", "frozen": "0", "locked": "0"}


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [asset_row(), asset_row(coin="btc")],
        [asset_row(available="-1")],
        [asset_row(frozen=None)],
        [asset_row(locked="")],
        [asset_row(coin="")],
    ],
)
def test_balances_that_make_no_sense_are_no_reading(rows: object) -> None:
    """A coin that is not told is never zero; an empty list alone is an honest one."""
    with pytest.raises(Malformed):
        parse_balances(envelope(rows))
    assert parse_balances(envelope([])) == ()


def test_a_book_without_a_side_has_no_mid_and_still_a_last_price() -> None:
    """Only where something was traded within the day; a neighbour's nonsense blinds nobody."""
    told = parse_tickers(
        envelope(
            [
                ticker_row(symbol="btcusdt"),
                ticker_row(symbol="ETHUSDT", bidPr="0"),
                ticker_row(symbol="SOLUSDT", askPr="59000", baseVolume="0"),
                ticker_row(symbol="XRPUSDT", bidPr="", askPr=None, lastPr="much"),
            ]
        )
    )
    assert told.mids == {"BTCUSDT": 60_000.0, "ETHUSDT": None, "SOLUSDT": None, "XRPUSDT": None}
    assert told.paid == {"BTCUSDT": 59_995.0, "ETHUSDT": 59_995.0}


@pytest.mark.parametrize("rows", [[], [ticker_row(bidPr="0")], None])
def test_prices_of_no_market_are_no_answer(rows: object) -> None:
    """It would leave every coin worth nothing."""
    with pytest.raises(Malformed):
        parse_tickers(envelope(rows))


def test_rules_of_a_market() -> None:
    """Places are a step, a least value is in money, and 0 is no largest order."""
    market = parse_markets(envelope([symbol_row()]))[Symbol("BTCUSDT")]
    assert (market.base, market.quote, market.is_tradable) == ("BTC", "USDT", True)
    assert (market.step, market.min_quantity) == (Decimal("0.00001"), Decimal(0))
    assert (market.market_max, market.min_notional) == (None, Decimal(1))
    assert (
        parse_markets(envelope([symbol_row(maxTradeAmount="10")]))[market.symbol].market_max == 10
    )


@pytest.mark.parametrize("status", ["offline", "gray", "halt"])
def test_only_what_everybody_may_trade_is_sold(status: str) -> None:
    """`gray` is open to chosen accounts."""
    (market,) = parse_markets(envelope([symbol_row(status=status)])).values()
    assert not market.is_tradable


@pytest.mark.parametrize(
    "changes", [{"quantityPrecision": "-1"}, {"quantityPrecision": "21"}, {"minTradeUSDT": ""}]
)
def test_a_market_whose_rules_make_no_sense_is_left_out(changes: Row) -> None:
    """One odd listing hides no other; a list of none but those is no answer."""
    odd = symbol_row(symbol="ODDUSDT", baseCoin="ODD", **changes)
    assert list(parse_markets(envelope([odd, symbol_row()]))) == ["BTCUSDT"]
    with pytest.raises(Malformed):
        parse_markets(envelope([odd]))
    with pytest.raises(Malformed):
        parse_markets(envelope([]))


# --- orders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "book", "kind", "order_type", "left", "price", "trigger"),
    [
        (open_row(), NORMAL, OrderKind.REGULAR, "limit", "1.5", 4000, None),
        (
            open_row(tpslType="tpsl", triggerPrice="1500", priceAvg="", baseVolume=None),
            TPSL,
            OrderKind.CONDITIONAL,
            "tpsl",
            "2",
            None,
            1500,
        ),
        (plan_row(), PLAN, OrderKind.CONDITIONAL, "plan", "2", 1490, 1500),
    ],
)
def test_an_order_of_each_book(
    row: Row,
    book: str,
    kind: OrderKind,
    order_type: str,
    left: str,
    price: int | None,
    trigger: int | None,
) -> None:
    """What is left of it, and that a sale can only make less of its coin."""
    order = parse_order(row, scope=SCOPE, book=book, markets={})
    assert (order.kind, order.order_type) == (kind, order_type)
    assert (order.quantity, order.price, order.trigger_price) == (Decimal(left), price, trigger)
    assert (order.side, order.reduce_only) == (OrderSide.SELL, True)
    assert (order.base, order.quote, order.holds) == ("ETH", "USDT", "ETH")


def test_a_purchase_holds_what_its_market_pays_in() -> None:
    """A market order that buys names money, of which nothing is taken off."""
    row = open_row(side="buy", orderType="market", size="100", baseVolume="200")
    order = parse_order(row, scope=SCOPE, book=NORMAL, markets={})
    assert (order.holds, order.quantity, order.reduce_only) == ("USDT", Decimal(100), False)


def test_base_and_quote_are_those_of_the_market_list() -> None:
    """Else by the spelling: BTC and ETH pay too."""
    market = MarketLimits(
        symbol=Symbol("ETHUSDT"),
        base=Asset("ETHU"),
        quote=Asset("SDT"),
        step=Decimal(1),
        min_quantity=Decimal(0),
        market_max=None,
        min_notional=Decimal(0),
        reduce_only_waives_min_notional=False,
    )
    order = parse_order(open_row(), scope=SCOPE, book=NORMAL, markets={market.symbol: market})
    assert (order.base, order.quote) == ("ETHU", "SDT")
    assert split_symbol(Symbol("QRXBTC")) == ("QRX", "BTC")
    assert split_symbol(Symbol("BTCUSDT")) == ("BTC", "USDT")
    assert split_symbol(Symbol("ODD")) == ("ODD", "")


@pytest.mark.parametrize(
    "changes", [{"side": "both"}, {"size": "0.1"}, {"orderId": None}, {"baseVolume": ""}]
)
def test_an_order_that_makes_no_sense_is_malformed(changes: Row) -> None:
    """It would be left open in silence."""
    with pytest.raises(Malformed):
        parse_order(open_row(**changes), scope=SCOPE, book=NORMAL, markets={})


# --- what answers prove -------------------------------------------------------------------------


def test_what_a_sale_brought_is_less_the_fee_that_was_kept_of_it() -> None:
    """4,000 less 4; the sum of all fees beside them is not counted again."""
    outcome = judge_row(done_row(), client_id=OWN, paid_in=USDT)
    assert isinstance(outcome, Done)
    assert (outcome.filled, outcome.brought) == (Decimal(2), Decimal(3996))


@pytest.mark.parametrize(
    ("detail", "brought"),
    [
        ('{"BGB":{"deduction":true,"feeCoinCode":"BGB","totalFee":-0.0041}}', Decimal(4000)),
        ('{"USDT":{"feeCoinCode":"USDT","totalFee":-1E-8}}', Decimal("3999.99999999")),
        ("", None),
        ("not json", None),
        ("[]", None),
        ('{"USDT":{"feeCoinCode":"USDT"}}', None),
    ],
)
def test_a_fee_in_another_coin_takes_nothing_and_an_untold_one_tells_nothing(
    detail: str, brought: Decimal | None
) -> None:
    """Without it nobody can say what may be sold next: the sale itself is done all the same."""
    outcome = judge_row(done_row(feeDetail=detail), client_id=OWN, paid_in=USDT)
    assert isinstance(outcome, Done)
    assert (outcome.filled, outcome.brought) == (Decimal(2), brought)


@pytest.mark.parametrize(
    "changes", [{"clientOid": "another"}, {"status": "odd"}, {"baseVolume": ""}, {"orderId": ""}]
)
def test_a_row_that_is_not_ours_or_not_known_proves_nothing(changes: Row) -> None:
    """Neither that it was filled, nor that it was not."""
    outcome = judge_row(done_row(**changes), client_id=OWN, paid_in=USDT)
    assert isinstance(outcome, Unknown)


def test_our_order_is_found_in_a_list_of_others() -> None:
    """A list of none is written as null."""
    mine = done_row()
    assert find_own(envelope([done_row(clientOid="web-1"), mine]), OWN) == mine
    assert find_own(envelope([done_row(clientOid="web-1")]), OWN) is None
    assert find_own(envelope(None), OWN) is None
    with pytest.raises(Malformed):
        find_own({"code": "00000"}, OWN)


def test_too_little_of_a_coin_is_read_again_and_too_little_margin_is_not() -> None:
    """One code, which means another thing beside a position."""
    failure = Failure(cause="43012", status=400, body=envelope(None, "43012"))
    reasons = [
        outcome.reason
        for outcome in (judge_spot(failure, venue_now_ms=0.0), judge(failure, venue_now_ms=0.0))
        if isinstance(outcome, Refused)
    ]
    assert reasons == [RefusalReason.NOTHING_TO_REDUCE, RefusalReason.OTHER]
    assert isinstance(judge_spot(Failure(cause="lost"), venue_now_ms=0.0), Unknown)


# --- bills --------------------------------------------------------------------------------------


def test_money_that_left_is_a_flow_with_its_fee() -> None:
    """The amount is signed, and the fee left with it, whatever sign that has."""
    (out,) = parse_bills([bill_row()])
    assert (out.amount, out.asset, out.at_ms) == (-11.5, "USDT", 1_700_729_673_028)
    assert out.kind.is_flow
    for fee in ("1.5", "-1.5"):
        (paid,) = parse_bills([bill_row(groupType="withdraw", fees=fee)])
        assert paid.amount == -13.0


@pytest.mark.parametrize("group", ["transaction", "convert", "pre_c2c", "other", "new one"])
def test_trades_and_what_is_in_no_known_group_are_no_flows(group: str) -> None:
    """A loss must never pass for a withdrawal: what is large enough to matter is doubted."""
    assert parse_bills([bill_row(groupType=group)]) == ()


def test_every_way_out_of_the_account_is_a_flow() -> None:
    """In capitals or not."""
    for group in sorted(FLOWS):
        assert len(parse_bills([bill_row(groupType=group.upper(), coin="btc")])) == 1


@pytest.mark.parametrize(
    "changes", [{"size": ""}, {"cTime": None}, {"billId": ""}, {"coin": ""}, {"groupType": None}]
)
def test_a_bill_that_makes_no_sense_is_no_ledger(changes: Row) -> None:
    """An incomplete ledger would leave a withdrawal for a loss."""
    with pytest.raises(Malformed):
        parse_bills([bill_row(**changes)])
