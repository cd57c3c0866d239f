"""The simulated exchange in memory: arithmetic, order rules, margin, liquidation, records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import LedgerKind, MarginMode, OrderKind, OrderSide, PositionMode
from simulator import margin
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind, FaultPlan, fault_from_mapping
from simulator.markets import Market, default_market, split_symbol
from simulator.positions import leg_after
from simulator.reasons import Reason, Rejected
from simulator.seeds import apply_seed
from simulator.state import (
    Account,
    ExchangeOrder,
    Leg,
    OrderRequest,
    OrderStatus,
    OrderType,
    PositionLeg,
    SymbolSettings,
    TimeInForce,
)

D = Decimal
BUY, SELL = OrderSide.BUY, OrderSide.SELL
KEY = "test-key"
MARKET = Market(
    symbol="AUSDT",
    base="A",
    quote="USDT",
    step=D("0.1"),
    min_quantity=D("0.2"),
    market_max=D(50),
    limit_max=D(200),
    min_notional=D(25),
    tick=D("0.01"),
    max_leverage=50,
    maintenance_rate=D("0.01"),
    depth=None,
)


def exchange(
    amount: str = "0",
    *,
    entry: str = "100",
    wallet: str = "1000",
    mode: PositionMode = PositionMode.ONE_WAY,
    leg: Leg = Leg.BOTH,
    margin_mode: MarginMode = MarginMode.CROSS,
    market: Market = MARKET,
    leverage: int = 10,
) -> Exchange:
    """One market at 100, one account, at most one position."""
    made = Exchange(now=1000.0, markets=[market])
    made.set_prices({"AUSDT": 100})
    account = Account(
        api_key=KEY,
        api_secret="test-secret",
        position_mode=mode,
        wallet={"USDT": D(wallet)},
        settings={"AUSDT": SymbolSettings(leverage=leverage, margin_mode=margin_mode)},
    )
    held = PositionLeg(symbol="AUSDT", leg=leg, amount=D(amount), entry_price=D(entry))
    made.seed_account(account, positions=[held] if held.amount else [])
    return made


def order(side: OrderSide, quantity: str | None, **changes: Any) -> OrderRequest:
    """A market order unless changed."""
    return replace(
        OrderRequest(
            symbol="AUSDT",
            side=side,
            order_type=OrderType.MARKET,
            quantity=None if quantity is None else D(quantity),
        ),
        **changes,
    )


def limit(side: OrderSide, quantity: str, price: str, **changes: Any) -> OrderRequest:
    """A limit order."""
    return order(side, quantity, order_type=OrderType.LIMIT, price=D(price), **changes)


def reason(made: Exchange, request: OrderRequest) -> Reason:
    """Place an order that must be refused and return why."""
    with pytest.raises(Rejected) as caught:
        made.place(KEY, request)
    assert made.ledger[-1]["event"] == "rejected"
    assert made.ledger[-1]["reason"] == caught.value.reason
    return caught.value.reason


def wallet(made: Exchange) -> Decimal:
    """USDT in the wallet."""
    return made.account(KEY).wallet["USDT"]


def income(made: Exchange, kind: LedgerKind) -> list[Decimal]:
    """Amounts of all records of a kind."""
    return [record.amount for record in made.account(KEY).income if record.kind is kind]


@pytest.mark.parametrize(
    ("held", "entry", "signed", "price", "expected"),
    [
        ("0", "0", "2", "100", ("2", "100", "0")),  # opens
        ("2", "100", "2", "110", ("4", "105", "0")),  # (2 x 100 + 2 x 110) / 4
        ("10", "100", "-4", "90", ("6", "100", "-40")),  # 4 x (90 - 100)
        ("10", "100", "-10", "130", ("0", "0", "300")),  # 10 x (130 - 100)
        ("10", "100", "-15", "110", ("-5", "110", "100")),  # flips: 10 x 10, rest at 110
        ("-10", "100", "4", "90", ("-6", "100", "40")),  # short gains: 4 x (100 - 90)
        ("-10", "100", "-10", "80", ("-20", "90", "0")),  # (10 x 100 + 10 x 80) / 20
    ],
)
def test_a_fill_moves_amount_entry_and_realised_profit(
    held: str, entry: str, signed: str, price: str, expected: tuple[str, str, str]
) -> None:
    """Averages grow with additions only, and closing realises the difference."""
    leg = PositionLeg(symbol="AUSDT", leg=Leg.BOTH, amount=D(held), entry_price=D(entry))
    assert leg_after(leg, signed=D(signed), price=D(price)) == tuple(D(text) for text in expected)


def test_a_close_books_profit_fee_and_trade() -> None:
    """Long 10 at 90, sell 4 at 100: +40, fee 4 x 100 x 0.0005 = 0.2, and the records say so."""
    made = exchange("10", entry="90")
    done = made.place(KEY, order(SELL, "4", reduce_only=True, client_id="x"))
    assert (done.status, done.filled, done.average_price) == (OrderStatus.FILLED, D(4), D(100))
    assert wallet(made) == D("1039.8")
    assert income(made, LedgerKind.REALISED) == [D(40)]
    assert income(made, LedgerKind.FEE) == [D("-0.2")]
    trade = made.account(KEY).trades[0]
    assert (trade.quantity, trade.price) == (D(4), D(100))
    assert (trade.realised, trade.fee) == (D(40), D("0.2"))
    assert made.ledger[-1]["position_before"] == "10"
    assert made.ledger[-1]["position_after"] == "6"


def test_slippage_is_linear_in_size_and_bounded_by_depth() -> None:
    """Depth 100,000 moves 1 %: 1,000 quote cost 0.01 %; beyond the bound the rest expires."""
    market = replace(MARKET, depth=D(100_000), market_max=D(100_000), min_notional=D(5))
    made = exchange("10", market=market, wallet="1000000")
    assert made.place(KEY, order(SELL, "10")).average_price == D("99.99")
    # the last unit may cost 5 %, the average 2.5 %: 2.5 x 100,000 quote = 2,500 units
    done = made.place(KEY, order(BUY, "4000"))
    assert (done.status, done.filled) == (OrderStatus.EXPIRED, D(2500))
    assert done.average_price == D("102.5")


@pytest.mark.parametrize(
    ("amount", "wallet_before", "expected"),
    [
        # cross long: (balance - q e) / (q rate - q) = (50 - 100) / (0.01 - 1)
        ("1", "50", "50.50505050"),
        # cross short: (50 + 100) / (0.01 + 1)
        ("-1", "50", "148.51485148"),
        # more in the wallet than it can lose: none
        ("1", "150", "0"),
    ],
)
def test_cross_liquidation_price(amount: str, wallet_before: str, expected: str) -> None:
    """It is where the balance equals the maintenance margin."""
    made = exchange(amount, wallet=wallet_before)
    view = made.view(KEY)
    price = margin.liquidation_price(view, next(iter(view.legs.values())))
    assert abs(price - D(expected)) < D("0.00000001")


@pytest.mark.parametrize("side", [1, -1])
def test_liquidation_happens_just_past_its_price_and_not_before(side: int) -> None:
    """A tick on the safe side nothing happens; a tick on the other the position is gone."""
    made = exchange(str(side), wallet="50")
    view = made.view(KEY)
    price = margin.liquidation_price(view, next(iter(view.legs.values())))
    made.set_prices({"AUSDT": price + side * D("0.01")})
    assert made.amount(KEY, "AUSDT") == side
    made.set_prices({"AUSDT": price - side * D("0.01")})
    assert made.amount(KEY, "AUSDT") == 0
    assert made.ledger[-1]["cause"] == "liquidation"


def test_cross_liquidation_takes_its_fee_from_what_is_left() -> None:
    """Balance 50 - 49.5 = 0.5 is less than the fee of 50.5 x 0.0125, so nothing remains."""
    made = exchange("1", wallet="50")
    made.place(KEY, limit(SELL, "1", "200"))
    made.set_prices({"AUSDT": "50.5"})
    assert wallet(made) == 0
    assert income(made, LedgerKind.LIQUIDATION) == [D("-0.5")]
    assert made.account(KEY).orders == {}


def test_a_gap_beyond_bankruptcy_is_paid_by_the_insurance() -> None:
    """At 20 the loss is 80 of 50: the fund pays the missing 30."""
    made = exchange("1", wallet="50")
    made.set_prices({"AUSDT": 20})
    assert income(made, LedgerKind.LIQUIDATION) == [D(30)]
    assert wallet(made) == 0


def test_an_isolated_position_loses_its_margin_and_no_more() -> None:
    """Margin 100 / 10 = 10: liquidated at (10 - 100) / (0.01 - 1) = 90.909, the rest is safe."""
    made = exchange("1", margin_mode=MarginMode.ISOLATED)
    view = made.view(KEY)
    price = margin.liquidation_price(view, next(iter(view.legs.values())))
    assert abs(price - D("90.909090909")) < D("0.00000001")
    made.set_prices({"AUSDT": "90.92"})
    assert made.amount(KEY, "AUSDT") == 1
    made.set_prices({"AUSDT": "85"})
    assert made.amount(KEY, "AUSDT") == 0
    assert wallet(made) == 990
    # 10 - 15 = -5: the fund pays 5
    assert income(made, LedgerKind.LIQUIDATION) == [D(5)]


def test_isolated_margin_grows_and_is_released_in_proportion() -> None:
    """2 bought at 100 with leverage 10 tie 20; selling a half frees 10."""
    made = exchange(margin_mode=MarginMode.ISOLATED)
    made.place(KEY, order(BUY, "2"))
    made.place(KEY, order(BUY, "2"))
    legs = made.account(KEY).legs
    assert legs[("AUSDT", Leg.BOTH)].isolated_wallet == 40
    made.place(KEY, order(SELL, "1"))
    assert made.account(KEY).legs[("AUSDT", Leg.BOTH)].isolated_wallet == 30


def test_hedged_legs_share_one_liquidation_price() -> None:
    """Long 3 and short 1 at 100 lose together: (150 - 200) / (4 x 0.01 - 2)."""
    made = exchange("3", wallet="150", mode=PositionMode.HEDGE, leg=Leg.LONG)
    made.place(KEY, order(SELL, "1", leg=Leg.SHORT))
    view = made.view(KEY)
    prices = {margin.liquidation_price(view, leg) for leg in view.legs.values()}
    # fee of the short: 1 x 100 x 0.0005 = 0.05
    assert prices == {(D("149.95") - 200) / (D("0.04") - 2)}


@pytest.mark.parametrize(
    ("position", "request_", "expected"),
    [
        ("0", order(SELL, "1", reduce_only=True), Reason.NOTHING_TO_REDUCE),
        ("1", order(BUY, "1", reduce_only=True), Reason.NOTHING_TO_REDUCE),
        ("1", order(SELL, "0.15", reduce_only=True), Reason.QUANTITY_TOO_PRECISE),
        ("1", order(SELL, "0.1", reduce_only=True), Reason.QUANTITY_TOO_SMALL),
        ("60", order(SELL, "50.1", reduce_only=True), Reason.QUANTITY_TOO_LARGE),
        ("60", limit(SELL, "200.1", "110"), Reason.QUANTITY_TOO_LARGE),
        ("1", order(SELL, "0", reduce_only=True), Reason.QUANTITY_NOT_POSITIVE),
        ("1", order(SELL, "-1", reduce_only=True), Reason.QUANTITY_NOT_POSITIVE),
        ("0", order(BUY, "0.2"), Reason.NOTIONAL_TOO_SMALL),
        ("0", order(BUY, "50", leg=Leg.LONG), Reason.LEG_MISMATCH),
        ("0", limit(BUY, "1", "90.001"), Reason.PRICE_OFF_TICK),
        ("0", limit(BUY, "1", "0"), Reason.PRICE_NOT_POSITIVE),
        ("0", limit(BUY, "1", "101", time_in_force=TimeInForce.GTX), Reason.WOULD_TAKE),
        ("0", limit(BUY, "1", "99", time_in_force=TimeInForce.FOK), Reason.NOT_FILLABLE_AT_ONCE),
        ("0", order(BUY, "1", symbol="NOPEUSDT"), Reason.UNKNOWN_SYMBOL),
        ("0", order(BUY, None), Reason.MISSING_PARAMETER),
        ("0", order(BUY, "1", client_id="no spaces"), Reason.BAD_CLIENT_ID),
        (
            "1",
            order(SELL, "1", order_type=OrderType.STOP_MARKET, trigger_price=D(101)),
            Reason.WOULD_TRIGGER_AT_ONCE,
        ),
        (
            "1",
            order(
                SELL,
                "1",
                order_type=OrderType.STOP_MARKET,
                trigger_price=D(90),
                close_position=True,
            ),
            Reason.CLOSE_POSITION_WITH_QUANTITY,
        ),
    ],
)
def test_broken_rules_are_refused_and_change_nothing(
    position: str, request_: OrderRequest, expected: Reason
) -> None:
    """Each rule has its reason, and the refusal is in the ledger."""
    made = exchange(position, wallet="10000")
    assert reason(made, request_) is expected
    assert made.amount(KEY, "AUSDT") == D(position)
    assert made.account(KEY).orders == {}


def test_opening_needs_margin_and_closing_does_not() -> None:
    """30 x 100 / 10 = 300 fits into 302 with its fee of 1.5; 31 does not; a close always does."""
    made = exchange(wallet="302")
    assert reason(made, order(BUY, "31")) is Reason.MARGIN_INSUFFICIENT
    made.place(KEY, order(BUY, "30"))
    assert reason(made, order(BUY, "1")) is Reason.MARGIN_INSUFFICIENT
    made.place(KEY, order(SELL, "30", reduce_only=True))
    assert made.amount(KEY, "AUSDT") == 0


def test_an_oversize_reduce_only_market_order_is_cut_down_in_one_way_mode() -> None:
    """Asked for 5, held 1: exactly 1 is sold, also below the minimum notional."""
    made = exchange("1")
    assert made.place(KEY, order(SELL, "5", reduce_only=True)).filled == 1
    small = exchange("0.2", wallet="1000")
    small.set_prices({"AUSDT": 50})
    assert small.place(KEY, order(SELL, "0.2", reduce_only=True)).filled == D("0.2")


def test_a_plain_order_flips_and_a_reduce_only_one_never_does() -> None:
    """The exchange does what it is told; only the flag protects."""
    made = exchange("1")
    made.place(KEY, order(SELL, "5"))
    assert made.amount(KEY, "AUSDT") == -4


@pytest.mark.parametrize(
    ("resting", "asked", "expected"),
    [
        ("1", "1", Reason.REDUCE_BLOCKED_BY_ORDERS),  # nothing free
        ("0.6", "0.5", Reason.REDUCE_BLOCKED_BY_ORDERS),  # 0.4 free, 0.5 asked
        ("0.6", "0.4", None),  # 0.4 free
    ],
)
def test_resting_reduce_only_orders_use_up_the_position(
    resting: str, asked: str, expected: Reason | None
) -> None:
    """What rests counts against what a close may take, even a market one."""
    made = exchange("1")
    made.place(KEY, limit(SELL, resting, "120", reduce_only=True))
    close = order(SELL, asked, reduce_only=True)
    if expected is None:
        assert made.place(KEY, close).filled == D(asked)
    else:
        assert reason(made, close) is expected


def test_a_plain_resting_order_does_not_block_a_close_but_may_open_later() -> None:
    """Close first, then the old take-profit opens the other side: the danger the guard removes."""
    made = exchange("1")
    made.place(KEY, limit(SELL, "1", "120"))
    made.place(KEY, order(SELL, "1", reduce_only=True))
    made.set_prices({"AUSDT": 121})
    assert made.amount(KEY, "AUSDT") == -1


def test_hedge_mode_binds_orders_to_their_leg() -> None:
    """The closing side of a leg never opens, is never cut, and needs no flag."""
    made = exchange("1", mode=PositionMode.HEDGE, leg=Leg.LONG)
    assert reason(made, order(SELL, "1")) is Reason.LEG_MISMATCH
    flagged = order(SELL, "1", leg=Leg.LONG, reduce_only=False)
    assert reason(made, flagged) is Reason.REDUCE_ONLY_NOT_SENT_HERE
    assert reason(made, order(SELL, "1.1", leg=Leg.LONG)) is Reason.MORE_THAN_HELD
    assert reason(made, order(BUY, "1", leg=Leg.SHORT)) is Reason.NOTHING_TO_REDUCE
    made.place(KEY, order(SELL, "1", leg=Leg.SHORT))
    made.place(KEY, order(SELL, "1", leg=Leg.LONG))
    assert made.amount(KEY, "AUSDT", Leg.LONG) == 0
    assert made.amount(KEY, "AUSDT", Leg.SHORT) == -1
    assert reason(made, order(SELL, "1", leg=Leg.LONG)) is Reason.NOTHING_TO_REDUCE


def test_hedged_closes_can_be_made_subject_to_the_minimum_notional() -> None:
    """Whether the real venue exempts them is not known, so both can be tried."""
    for waived in (True, False):
        made = exchange("0.2", mode=PositionMode.HEDGE, leg=Leg.LONG)
        made.set_prices({"AUSDT": 50})
        made.world.hedge_close_waives_min_notional = waived
        close = order(SELL, "0.2", leg=Leg.LONG)
        if waived:
            assert made.place(KEY, close).filled == D("0.2")
        else:
            assert reason(made, close) is Reason.NOTIONAL_TOO_SMALL


def test_client_ids_are_unique_among_open_orders_only() -> None:
    """A resting order holds its id; a filled one gives it back."""
    made = exchange("5")
    made.place(KEY, limit(SELL, "1", "120", client_id="a"))
    again = order(SELL, "1", reduce_only=True, client_id="a")
    assert reason(made, again) is Reason.DUPLICATE_CLIENT_ID
    made.cancel(KEY, "AUSDT", client_id="a")
    made.place(KEY, again)
    newest = made.place(KEY, again)
    assert made.find_order(KEY, "AUSDT", client_id="a").order_id == newest.order_id


def test_a_limit_order_fills_at_its_own_price_as_maker() -> None:
    """Bought at 95 although the mark jumped to 90: fee 2 x 95 x 0.0002 = 0.038."""
    made = exchange()
    resting = made.place(KEY, limit(BUY, "2", "95"))
    assert resting.status is OrderStatus.NEW
    made.set_prices({"AUSDT": 90})
    done = made.find_order(KEY, "AUSDT", order_id=resting.order_id)
    assert (done.status, done.average_price) == (OrderStatus.FILLED, D(95))
    assert income(made, LedgerKind.FEE) == [D("-0.038")]


def test_an_immediate_or_cancel_order_does_not_rest() -> None:
    """Away from the mark it expires at once."""
    made = exchange()
    done = made.place(KEY, limit(BUY, "2", "95", time_in_force=TimeInForce.IOC))
    assert done.status is OrderStatus.EXPIRED
    assert made.account(KEY).orders == {}


def test_resting_reducers_expire_when_the_position_is_gone() -> None:
    """A reduce-only take-profit cannot outlive its position; an ordinary order can."""
    made = exchange("2")
    made.place(KEY, limit(SELL, "0.5", "120", reduce_only=True))
    made.place(KEY, limit(BUY, "1", "80"))
    made.place(KEY, order(SELL, "1.5", reduce_only=True))
    assert len(made.account(KEY).orders) == 2
    made.place(KEY, order(SELL, "0.5"))
    assert [left.side for left in made.account(KEY).orders.values()] == [BUY]


def test_resting_reducers_expire_when_the_position_flips() -> None:
    """A sell-only-to-reduce has nothing to do beside a short position."""
    made = exchange("2")
    made.place(KEY, limit(SELL, "1", "120", reduce_only=True))
    made.place(KEY, order(SELL, "5"))
    assert made.account(KEY).orders == {}


@pytest.mark.parametrize(
    ("order_type", "side", "trigger", "quiet", "due"),
    [
        (OrderType.STOP_MARKET, SELL, "90", "90.01", "90"),
        (OrderType.STOP_MARKET, BUY, "110", "109.99", "110"),
        (OrderType.TAKE_PROFIT_MARKET, SELL, "110", "109.99", "110"),
        (OrderType.TAKE_PROFIT_MARKET, BUY, "90", "90.01", "90"),
    ],
)
def test_conditional_orders_trigger_at_their_price(
    order_type: OrderType, side: OrderSide, trigger: str, quiet: str, due: str
) -> None:
    """One tick before nothing happens; at the price a market order closes the position."""
    made = exchange("1" if side is SELL else "-1")
    placed = made.place(
        KEY,
        order(side, None, order_type=order_type, trigger_price=D(trigger), close_position=True),
    )
    made.set_prices({"AUSDT": quiet})
    assert made.account(KEY).orders
    made.set_prices({"AUSDT": due})
    assert made.amount(KEY, "AUSDT") == 0
    done = made.find_order(KEY, "AUSDT", kind=OrderKind.CONDITIONAL, order_id=placed.order_id)
    assert done.status is OrderStatus.TRIGGERED
    assert done.triggered_order_id is not None


def test_a_trailing_stop_follows_and_triggers_on_the_way_back() -> None:
    """5 % behind the best price: from 120 it fires at 114, not at 115."""
    made = exchange("1")
    made.place(
        KEY,
        order(
            SELL,
            "1",
            order_type=OrderType.TRAILING_STOP_MARKET,
            callback_percent=D(5),
            activation_price=D(110),
            reduce_only=True,
        ),
    )
    for price in ("90", "111", "120", "115"):
        made.set_prices({"AUSDT": price})
    assert made.amount(KEY, "AUSDT") == 1
    made.set_prices({"AUSDT": "114"})
    assert made.amount(KEY, "AUSDT") == 0


def test_a_stop_limit_becomes_a_resting_order() -> None:
    """It triggers at 90, rests at 92 and fills when the mark comes back."""
    made = exchange("1")
    stop = order(SELL, "1", order_type=OrderType.STOP, trigger_price=D(90), price=D(92))
    made.place(KEY, replace(stop, reduce_only=True))
    made.set_prices({"AUSDT": 90})
    assert [left.kind for left in made.account(KEY).orders.values()] == [OrderKind.REGULAR]
    made.set_prices({"AUSDT": 92})
    assert made.amount(KEY, "AUSDT") == 0


def test_a_stop_without_a_position_is_rejected_when_it_triggers() -> None:
    """It survives the close, and cannot open when its price comes."""
    made = exchange("1")
    stop = order(SELL, "1", order_type=OrderType.STOP_MARKET, trigger_price=D(90))
    placed = made.place(KEY, replace(stop, reduce_only=True))
    made.place(KEY, order(SELL, "1", reduce_only=True))
    assert len(made.account(KEY).orders) == 1
    made.set_prices({"AUSDT": 89})
    assert made.amount(KEY, "AUSDT") == 0
    done = made.find_order(KEY, "AUSDT", kind=OrderKind.CONDITIONAL, order_id=placed.order_id)
    assert done.status is OrderStatus.REJECTED


def test_a_close_position_stop_knows_no_market_maximum() -> None:
    """60 are closed although a market order may have 50."""
    made = exchange("60")
    stop = order(
        SELL, None, order_type=OrderType.STOP_MARKET, trigger_price=D(99), close_position=True
    )
    made.place(KEY, stop)
    made.set_prices({"AUSDT": 99})
    assert made.amount(KEY, "AUSDT") == 0


def test_funding_is_paid_by_longs_and_received_by_shorts() -> None:
    """10 x 100 x 0.0001 = 0.1; an isolated position pays out of its own margin."""
    for amount, expected in (("10", "-0.1"), ("-10", "0.1")):
        made = exchange(amount, margin_mode=MarginMode.ISOLATED)
        made.apply_funding({"AUSDT": "0.0001"})
        assert income(made, LedgerKind.FUNDING) == [D(expected)]
        assert wallet(made) == 1000 + D(expected)
        assert made.account(KEY).legs[("AUSDT", Leg.BOTH)].isolated_wallet == 100 + D(expected)


def test_only_free_money_can_be_withdrawn() -> None:
    """10 x 100 / 10 = 100 are tied up: 900 may go, 901 may not; a bonus has its own kind."""
    made = exchange("10")
    with pytest.raises(Rejected):
        made.transfer(KEY, "USDT", D(-901))
    made.transfer(KEY, "USDT", D(-900))
    made.transfer(KEY, "USDT", D(5), kind=LedgerKind.BONUS)
    assert wallet(made) == 105
    assert income(made, LedgerKind.TRANSFER) == [D(-900)]
    assert income(made, LedgerKind.BONUS) == [D(5)]


def test_settings_are_held_by_positions_and_orders() -> None:
    """Modes change only on an empty account, as on the venue."""
    made = exchange("1")
    cases: list[tuple[Callable[[], None], Reason]] = [
        (lambda: made.set_position_mode(KEY, PositionMode.ONE_WAY), Reason.POSITION_MODE_UNCHANGED),
        (
            lambda: made.set_position_mode(KEY, PositionMode.HEDGE),
            Reason.POSITION_MODE_HELD_BY_POSITION,
        ),
        (
            lambda: made.set_margin_mode(KEY, "AUSDT", MarginMode.ISOLATED),
            Reason.MARGIN_MODE_HELD_BY_POSITION,
        ),
        (
            lambda: made.set_margin_mode(KEY, "AUSDT", MarginMode.CROSS),
            Reason.MARGIN_MODE_UNCHANGED,
        ),
        (lambda: made.set_leverage(KEY, "AUSDT", 51), Reason.LEVERAGE_OUT_OF_RANGE),
        (lambda: made.set_multi_assets(KEY, enabled=False), Reason.MULTI_ASSETS_UNCHANGED),
    ]
    for call, expected in cases:
        with pytest.raises(Rejected) as caught:
            call()
        assert caught.value.reason is expected
    made.place(KEY, order(SELL, "1", reduce_only=True))
    made.place(KEY, limit(BUY, "1", "80"))
    with pytest.raises(Rejected, match="POSITION_MODE_HELD_BY_ORDERS"):
        made.set_position_mode(KEY, PositionMode.HEDGE)
    made.cancel_all(KEY, "AUSDT", OrderKind.REGULAR)
    made.set_position_mode(KEY, PositionMode.HEDGE)
    made.set_margin_mode(KEY, "AUSDT", MarginMode.ISOLATED)
    made.set_leverage(KEY, "AUSDT", 5)
    assert made.account(KEY).setting("AUSDT").leverage == 5


def test_multi_assets_mode_values_coins_with_a_haircut() -> None:
    """1000 USDT + 0.1 BTC x 50000 x 0.95 = 5750 as margin, 6000 as equity."""
    made = exchange(wallet="1000")
    made.set_prices({"BTCUSDT": 50000})
    made.transfer(KEY, "BTC", D("0.1"))
    assert margin.total(made.view(KEY)).margin_balance == 1000
    made.set_multi_assets(KEY, enabled=True)
    view = made.view(KEY)
    assert margin.total(view).margin_balance == 5750
    assert margin.available(view, "USDT") == 5750
    assert margin.equity_usd(view) == 6000


def test_a_usdc_loss_is_invisible_in_single_asset_totals() -> None:
    """Account totals count USDT only; the loss shows at its asset."""
    made = exchange()
    market = replace(MARKET, symbol="AUSDC", quote="USDC")
    made.add_market(market)
    made.set_prices({"AUSDC": 100})
    made.transfer(KEY, "USDC", D(500))
    made.place(KEY, order(BUY, "10", symbol="AUSDC"))
    made.set_prices({"AUSDC": 90})
    view = made.view(KEY)
    assert margin.total(view).margin_balance == 1000
    # fee 10 x 100 x 0.0005 = 0.5
    assert margin.balance(view, "USDC").margin_balance == D("399.5")


def test_the_dead_man_timer_cancels_ordinary_orders_of_its_symbol() -> None:
    """Armed for 60 s, renewed once, then left alone."""
    made = exchange("1")
    made.place(KEY, limit(SELL, "1", "120"))
    stop = order(SELL, "1", order_type=OrderType.STOP_MARKET, trigger_price=D(90))
    made.place(KEY, replace(stop, reduce_only=True))
    made.arm_countdown(KEY, "AUSDT", 60)
    made.set_time(1050.0)
    made.arm_countdown(KEY, "AUSDT", 60)
    made.set_time(1109.0)
    assert len(made.account(KEY).orders) == 2
    made.set_time(1110.0)
    assert [left.kind for left in made.account(KEY).orders.values()] == [OrderKind.CONDITIONAL]


def test_an_earlier_view_shows_the_account_as_it_was() -> None:
    """By time and by revision; older than everything kept answers with the oldest."""
    made = exchange("1")
    revision = made.world.revision
    made.set_time(1010.0)
    made.place(KEY, order(SELL, "1", reduce_only=True))
    assert made.view(KEY).legs == {}
    for view in (
        made.view(KEY, as_of=1009.0),
        made.view(KEY, revision=revision),
        made.view(KEY, as_of=0.0),
    ):
        assert view.legs[("AUSDT", Leg.BOTH)].amount == 1


@pytest.mark.parametrize("price", ["0.00001234", "0.1", "3.7", "250", "64000", "9000000"])
def test_an_invented_market_can_express_ten_quote(price: str) -> None:
    """At any price ten quote is at least ten steps and at least the minimum notional."""
    market = default_market("NEWUSDT", price=D(price))
    ten = market.floor(10 / D(price))
    assert ten >= market.min_quantity
    assert ten * D(price) >= market.min_notional
    assert abs(ten * D(price) - 10) <= 1


def test_a_symbol_with_an_unknown_quote_is_refused() -> None:
    """Guessing the margin asset would be worse than asking for it."""
    assert split_symbol("1000PEPEUSDC") == ("1000PEPE", "USDC")
    with pytest.raises(ValueError, match="cannot tell its quote"):
        split_symbol("ABCXYZ")


def test_seeds_refuse_keys_they_do_not_know() -> None:
    """A typing error must not silently give a different scene."""
    good = {"api_key": KEY, "api_secret": "test-secret", "wallet": {"USDT": 1}}
    apply_seed(Exchange(), good)
    with pytest.raises(ValueError, match="unknown key walet"):
        apply_seed(Exchange(), good | {"walet": {}})
    with pytest.raises(ValueError, match="unknown key size"):
        position = {"symbol": "AUSDT", "side": "LONG", "quantity": 1, "entry_price": 1, "size": 1}
        apply_seed(Exchange(), good | {"positions": [position]})
    with pytest.raises(ValueError, match="no field of a market"):
        apply_seed(Exchange(), good | {"markets": [{"symbol": "AUSDT", "lot": 1}]})


def test_seeds_may_hold_resting_orders_and_replace_an_account() -> None:
    """A second seed with the same key starts over, without the old positions."""
    made = Exchange(now=1000.0)
    content = {
        "api_key": KEY,
        "api_secret": "test-secret",
        "wallet": {"USDT": "1000"},
        "prices": {"QQUSDT": 2},
        "positions": [
            {
                "symbol": "QQUSDT",
                "side": "SHORT",
                "quantity": 100,
                "entry_price": 2,
                "margin_mode": "isolated",
                "leverage": 4,
            }
        ],
        "orders": [
            {"symbol": "QQUSDT", "side": "BUY", "type": "LIMIT", "quantity": 100, "price": 1}
        ],
    }
    account = apply_seed(made, content)
    # 100 x 2 / 4 = 50
    assert account.legs[("QQUSDT", Leg.BOTH)].isolated_wallet == 50
    assert len(account.orders) == 1
    account = apply_seed(made, content | {"positions": [], "orders": []})
    assert account.legs == {}
    assert made.account(KEY) is account


def test_faults_meet_the_requests_they_name() -> None:
    """By method, path, number, times, and with dice that repeat."""
    plan = FaultPlan([Fault(kind=FaultKind.DELAY, method="POST", path="/order$", nth=2)])
    plan.add(Fault(kind=FaultKind.TRUNCATE, path="account", times=1))
    posts = [bool(plan.take("POST", "/fapi/v1/order")) for _ in range(3)]
    assert posts == [False, True, False]
    assert plan.take("GET", "/fapi/v1/order") == ()
    assert [len(plan.take("GET", "/account")) for _ in range(2)] == [1, 0]
    assert [entry["applied"] for entry in plan.describe()] == [1, 1]
    late = FaultPlan([Fault(kind=FaultKind.DROP_BEFORE, method="post|DELETE", skip=1)])
    assert [len(late.take(sent, "/")) for sent in ("POST", "GET", "DELETE", "POST")] == [0, 0, 1, 1]
    dice = Fault(kind=FaultKind.DROP_AFTER, probability=0.5, seed=7)
    runs = [[len(FaultPlan([dice]).take("GET", "/")) for _ in range(5)] for _ in range(2)]
    assert runs[0] == runs[1]
    rolls = FaultPlan([dice])
    met = sum(len(rolls.take("GET", "/")) for _ in range(200))
    assert 70 < met < 130


@pytest.mark.parametrize(
    "entry",
    [{}, {"kind": "nothing"}, {"kind": "delay", "wait": 1}, {"kind": "delay", "nth": 0}],
)
def test_wrong_faults_are_refused(entry: dict[str, Any]) -> None:
    """A fault that would never happen hides a test that cannot fail."""
    with pytest.raises(ValueError, match=r"."):
        fault_from_mapping(entry)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([BUY, SELL]),
        st.integers(1, 40),
        st.booleans(),
        st.integers(80, 125),
    ),
    max_size=20,
)


@given(steps=STEPS, start=st.integers(-20, 20), leverage=st.sampled_from([5, 20]))
def test_whatever_happens_the_records_explain_the_wallet_and_the_ledger_the_position(
    steps: list[tuple[OrderSide, int, bool, int]], start: int, leverage: int
) -> None:
    """Wallet = start + records; fills chain without a gap; reduce-only fills only reduce."""
    made = exchange(str(start), leverage=leverage)
    for side, quantity, reduce_only, price in steps:
        made.set_prices({"AUSDT": price})
        try:
            made.place(KEY, order(side, str(quantity), reduce_only=reduce_only or None))
        except Rejected:
            continue
    account = made.account(KEY)
    assert wallet(made) == 1000 + sum(record.amount for record in account.income)
    position = D(start)
    for entry in made.ledger:
        if entry["event"] != "fill":
            continue
        before, after = D(str(entry["position_before"])), D(str(entry["position_after"]))
        assert before == position
        if entry["reduce_only"] or entry["cause"] == "liquidation":
            assert abs(after) < abs(before)
            assert after * before >= 0
        position = after
    assert position == made.amount(KEY, "AUSDT")


def test_the_same_calls_give_the_same_ledger() -> None:
    """Nothing in the exchange depends on chance or on a clock."""

    def run() -> tuple[list[dict[str, object]], ExchangeOrder]:
        made = exchange("5")
        made.place(KEY, limit(BUY, "1", "95"))
        made.set_prices({"AUSDT": 94}, at=1001.0)
        return made.ledger, made.place(KEY, order(SELL, "3", reduce_only=True))

    assert run() == run()
