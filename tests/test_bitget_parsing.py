"""What Bitget's answers become, field by field, and what is refused as damaged."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Coin,
    Done,
    LedgerKind,
    MarginMode,
    Order,
    OrderKind,
    OrderSide,
    Outcome,
    Position,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from tests.bitget_answers import (
    Row,
    account_row,
    assets,
    bill_row,
    coin_row,
    contract_row,
    envelope,
    instrument_row,
    order_row,
    plan_row,
    position_row,
    record_row,
    strategy_row,
    unified_order,
    unified_position,
    union_row,
)
from venues.bitget_account import (
    CLASSIC_NAMES,
    UNIFIED_NAMES,
    PositionNames,
    Valuation,
    mode_shown,
    parse_assets,
    parse_held,
    parse_purse,
    pledged_coins,
    value_purses,
)
from venues.bitget_family import Held, base_of, product_of, rows_in
from venues.bitget_inspection import parse_rights, parse_spreads
from venues.bitget_ledger import kind_of, parse_bills, parse_financial
from venues.bitget_markets import CLASSIC_NAMES as CONTRACTS
from venues.bitget_markets import UNIFIED_NAMES as INSTRUMENTS
from venues.bitget_markets import MarketNames, parse_listings, parse_marks
from venues.bitget_records import (
    CLOSING_PLANS,
    TPSL,
    TRIGGER,
    judge_cancelled,
    judge_cancelled_all,
    judge_lookup,
    judge_placed,
    parse_plan,
    parse_regular,
    parse_strategy,
    parse_unified,
)

SCOPE = ScopeId("bitget_futures")
STABLES = (Asset("USDT"), Asset("USDC"))
OURS = ClientOrderId("ks-1")
ID = VenueOrderId("111")
ABSENT = "absent"


def without(row: Row, name: str, value: object) -> Row:
    """The row with a field of that value, or without it."""
    return {key: kept for key, kept in row.items() if key != name} | (
        {} if value == ABSENT else {name: value}
    )


# --- money ------------------------------------------------------------------------------------


def value(*rows: Row, prices: Mapping[str, float] | None = None) -> Valuation:
    """What products with one row each are worth."""
    return value_purses(
        [parse_purse(envelope([row])) for row in rows],
        stables=STABLES,
        prices={Asset(name): price for name, price in (prices or {}).items()},
    )


USDC = account_row(marginCoin="USDC", accountEquity="200", usdtEquity="199", unrealizedPL="-5")


def test_equity_is_that_of_both_products_at_one_for_stable_coins() -> None:
    """1150.75 and 200 USDC, though the venue values those at 199; profits 150.75 - 5."""
    found = value(account_row(), USDC)
    assert (found.equity, found.unrealised_pnl, found.coins) == (1350.75, 145.75, ())


@pytest.mark.parametrize("told", [ABSENT, None, ""])
def test_a_profit_that_is_not_told_is_not_zero(told: object) -> None:
    """The equity includes it all the same."""
    found = value(without(account_row(), "unrealizedPL", told), USDC)
    assert (found.equity, found.unrealised_pnl) == (1350.75, None)


def test_coins_that_back_a_union_account_are_added_to_its_equity() -> None:
    """-300 USDT, 0.1 BTC at 60,000, 50 USDC and an empty coin: 5750, and the BTC moves it."""
    row = union_row(
        ("BTC", "0.1"), ("USDC", "50"), ("BGB", "0"), accountEquity="-300", usdtEquity="-300"
    )
    found = value(row, prices={"BTC": 60_000.0})
    assert found.equity == 5_750.0
    assert found.coins == (Coin(asset=Asset("BTC"), quantity=Decimal("0.1"), price=60_000.0),)
    with pytest.raises(Malformed, match="no price for BTC"):
        value(row)


def test_a_coin_that_both_products_list_is_the_same_money() -> None:
    """USDT and USDC in union mode share a wallet: each coin counts once, and so does each row."""
    usdt = union_row(("BTC", "0.1"), ("USDC", "200"))
    usdc = {**usdt, "marginCoin": "USDC", "accountEquity": "200"}
    purses = [parse_purse(envelope([usdt])), parse_purse(envelope([usdc]))]
    assert pledged_coins(purses) == {"BTC": Decimal("0.1")}
    assert value(usdt, usdc, prices={"BTC": 1_000.0}).equity == 1150.75 + 200 + 100
    twice = [parse_purse(envelope([usdt])), parse_purse(envelope([usdt]))]
    assert value_purses(twice, stables=STABLES, prices={Asset("BTC"): 0.0}).equity == 1350.75


def test_a_margin_coin_that_is_not_stable_is_priced_as_the_venue_does() -> None:
    """2 at 300 make 600 and one coin; nothing of it makes none."""
    row = account_row(marginCoin="bgb", accountEquity="2", usdtEquity="600", unrealizedPL="1")
    found = value(row)
    assert (found.equity, found.unrealised_pnl) == (600.0, 300.0)
    assert found.coins == (Coin(asset=Asset("BGB"), quantity=Decimal(2), price=300.0),)
    assert value(account_row(marginCoin="BGB", accountEquity="0")).coins == ()


@pytest.mark.parametrize("name", ["marginCoin", "accountEquity", "usdtEquity"])
@pytest.mark.parametrize("damage", [ABSENT, None, "", "x", "nan", [], True])
def test_an_account_without_its_money_is_damaged(name: str, damage: object) -> None:
    """Unknown is not zero."""
    if name == "marginCoin" and damage in ("x", "nan"):
        return
    with pytest.raises(Malformed):
        parse_purse(envelope([without(account_row(), name, damage)]))


@pytest.mark.parametrize(
    "answer",
    [None, {}, [], "ok", envelope(None), envelope({}), envelope(""), envelope([None])],
)
def test_an_answer_without_accounts_is_damaged(answer: object) -> None:
    """Success alone says nothing."""
    with pytest.raises(Malformed):
        parse_purse(answer)


def test_no_account_at_all_and_one_listed_twice_are_damage() -> None:
    """A product that was never used lists none; both of them cannot."""
    assert parse_purse(envelope([])).margins == ()
    with pytest.raises(Malformed, match="no margin coin"):
        value_purses([parse_purse(envelope([]))] * 2, stables=STABLES, prices={})
    with pytest.raises(Malformed, match="twice"):
        parse_purse(envelope([account_row(), account_row()]))


@pytest.mark.parametrize(
    ("listed", "is_damaged"), [(ABSENT, True), ("", True), (None, False), ([], False)]
)
def test_a_union_account_tells_its_coins(listed: object, is_damaged: bool) -> None:
    """Null is how the venue writes a list of none; without the list their worth is unknown."""
    row = without(union_row(), "assetList", listed)
    if is_damaged:
        with pytest.raises(Malformed):
            parse_purse(envelope([row]))
    else:
        assert parse_purse(envelope([row])).pledged == {}


@pytest.mark.parametrize("damage", [ABSENT, None, "", "x"])
def test_a_pledged_coin_without_a_balance_is_damage(damage: object) -> None:
    """Left out it would be a loss."""
    entry = without({"coin": "BTC", "balance": "1"}, "balance", damage)
    with pytest.raises(Malformed):
        parse_purse(envelope([account_row(assetMode="union", assetList=[entry])]))


def test_a_unified_account_is_worth_what_the_venue_says() -> None:
    """Coins at the venue's own prices; one that is owed has a quantity below zero."""
    answer = envelope(
        assets(
            coin_row("USDT", "100", "99.9"),
            coin_row("BTC", "0.1", "6000"),
            coin_row("ETH", "-2", "-4000"),
            coin_row("DUST", "5", "0"),
            equity="2100",
        )
    )
    found = parse_assets(answer, stables=STABLES)
    assert (found.equity, found.unrealised_pnl) == (2100.0, 150.75)
    assert [(coin.asset, coin.quantity, coin.price) for coin in found.coins] == [
        ("BTC", Decimal("0.1"), 60_000.0),
        ("ETH", Decimal(-2), 2_000.0),
    ]


@pytest.mark.parametrize("name", ["accountEquity", "unrealisedPnl", "assets"])
@pytest.mark.parametrize("damage", [ABSENT, None, "", "x", "inf"])
def test_a_unified_account_without_its_totals_is_damaged(name: str, damage: object) -> None:
    """Each of the three is needed."""
    with pytest.raises(Malformed):
        parse_assets(envelope(without(assets(), name, damage)), stables=STABLES)


@pytest.mark.parametrize("name", ["coin", "equity", "usdValue"])
@pytest.mark.parametrize("damage", [ABSENT, None, ""])
def test_a_coin_without_its_figures_is_damaged(name: str, damage: object) -> None:
    """A coin that cannot be read might be most of the account."""
    row = without(coin_row("BTC", "1", "60000"), name, damage)
    with pytest.raises(Malformed):
        parse_assets(envelope(assets(row)), stables=STABLES)


def test_a_unified_account_that_lists_nothing_has_nothing() -> None:
    """Totals without a single coin are damage, and so is a coin that is listed twice."""
    empty = {"accountEquity": "0", "unrealisedPnl": "0", "assets": []}
    assert parse_assets(envelope(empty), stables=STABLES).equity == 0
    for total in ("accountEquity", "unrealisedPnl"):
        with pytest.raises(Malformed, match="not zero"):
            parse_assets(envelope({**empty, total: "1"}), stables=STABLES)
    twice = assets(coin_row("BTC", "1", "1"), coin_row("btc", "1", "1"))
    with pytest.raises(Malformed, match="twice"):
        parse_assets(envelope(twice), stables=STABLES)


# --- positions --------------------------------------------------------------------------------

FAMILIES = [
    pytest.param(position_row, CLASSIC_NAMES, id="classic"),
    pytest.param(unified_position, UNIFIED_NAMES, id="unified"),
]


def held(row: Row, names: PositionNames, *, is_lenient: bool = False) -> tuple[Held, ...]:
    """What one row becomes."""
    return parse_held([row], names, product="USDT-FUTURES", bases={}, is_lenient=is_lenient)


@pytest.mark.parametrize(("row", "names"), FAMILIES)
def test_a_position_is_read_whole(row: Any, names: PositionNames) -> None:
    """Both kinds of account tell the same, by other names."""
    (found,) = held(row(liquidationPrice="1500"), names)
    assert found == Held(
        position=Position(
            symbol=Symbol("ETHUSDT"),
            base=Asset("ETH"),
            side=Side.LONG,
            quantity=Decimal("1.5"),
            entry_price=2000.0,
            mark_price=2100.5,
            unrealised_pnl=150.75,
            liquidation_price=1500.0,
            margin_mode=MarginMode.CROSS,
            margin=300.0,
            margin_asset=Asset("USDT"),
        ),
        product="USDT-FUTURES",
        mode=PositionMode.HEDGE,
    )


@pytest.mark.parametrize(("row", "names"), FAMILIES)
@pytest.mark.parametrize("told", [ABSENT, None, "", "0", "-5"])
def test_a_liquidation_price_that_is_none_is_none(
    row: Any, names: PositionNames, told: object
) -> None:
    """A cross position of a rich account has none; the venue writes it in many ways."""
    (found,) = held(without(row(), "liquidationPrice", told), names)
    assert found.position.liquidation_price is None


@pytest.mark.parametrize(("row", "names"), FAMILIES)
def test_an_isolated_position_tells_its_margin(row: Any, names: PositionNames) -> None:
    """It is the most it can lose; a cross position need not tell one."""
    (found,) = held(row(marginMode="isolated"), names)
    assert (found.position.margin_mode, found.position.margin) == (MarginMode.ISOLATED, 300.0)
    for told in (ABSENT, None, ""):
        (cross,) = held(without(row(), names.margin, told), names)
        assert cross.position.margin is None
        with pytest.raises(Malformed):
            held(without(row(marginMode="isolated"), names.margin, told), names)


@pytest.mark.parametrize(("row", "names"), FAMILIES)
@pytest.mark.parametrize("total", ["0", "0.00", 0])
def test_a_row_of_size_zero_is_no_position(row: Any, names: PositionNames, total: object) -> None:
    """Nothing else of it is looked at."""
    assert held(without(row(total=total), "posMode", ABSENT), names) == ()


@pytest.mark.parametrize(("row", "names"), FAMILIES)
@pytest.mark.parametrize("is_lenient", [True, False])
@pytest.mark.parametrize("damage", [ABSENT, None, "", "x", "-1"])
@pytest.mark.parametrize("name", ["symbol", "total", "marginMode", "side", "mode"])
def test_what_a_close_needs_is_damage_even_for_a_close(
    row: Any, names: PositionNames, is_lenient: bool, damage: object, name: str
) -> None:
    """Symbol, side, size, mode: without them a close could be anything."""
    if name == "symbol" and damage in ("x", "-1"):
        return
    field = {"side": names.side, "mode": names.mode}.get(name, name)
    with pytest.raises(Malformed):
        held(without(row(), field, damage), names, is_lenient=is_lenient)


@pytest.mark.parametrize(("row", "names"), FAMILIES)
@pytest.mark.parametrize("damage", [ABSENT, None, "", "x", "-1", "0"])
def test_a_price_that_makes_no_sense_does_not_keep_a_position_from_being_closed(
    row: Any, names: PositionNames, damage: object
) -> None:
    """A reading refuses it; a close goes on without its figures."""
    broken = {**row(), "markPrice": damage, names.entry: damage, names.profit: "150.75"}
    broken = {key: kept for key, kept in broken.items() if kept != ABSENT}
    with pytest.raises(Malformed):
        held(broken, names)
    (found,) = held(broken, names, is_lenient=True)
    assert (found.position.quantity, found.position.side) == (Decimal("1.5"), Side.LONG)
    assert (found.position.entry_price, found.position.unrealised_pnl) == (0.0, 0.0)


def test_a_position_that_is_listed_twice_is_damage() -> None:
    """Both would be closed; two legs of a symbol are two positions."""
    legs = [position_row(), position_row(holdSide="short", unrealizedPL="-150.75")]
    names, changes = CLASSIC_NAMES, {"product": "USDT-FUTURES", "bases": {}, "is_lenient": True}
    assert len(parse_held(legs, names, **changes)) == 2  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        parse_held([position_row(), position_row()], names, **changes)  # type: ignore[arg-type]


def test_the_mode_is_what_positions_show() -> None:
    """Products have modes of their own; one hedged position makes the account a hedged one."""
    (hedged,) = held(position_row(), CLASSIC_NAMES)
    (one_way,) = held(position_row(posMode="one_way_mode"), CLASSIC_NAMES)
    assert mode_shown([]) is None
    assert mode_shown([one_way]) is PositionMode.ONE_WAY
    assert mode_shown([one_way, hedged]) is PositionMode.HEDGE


@pytest.mark.parametrize(
    ("symbol", "base", "product"),
    [
        ("ETHUSDT", "ETH", "USDT-FUTURES"),
        ("BTCPERP", "BTC", "USDC-FUTURES"),
        ("BTCUSDC", "BTC", "USDC-FUTURES"),
        ("USDCUSDT", "USDC", "USDT-FUTURES"),
        ("ODD", "ODD", "USDT-FUTURES"),
        ("USDT", "USDT", "USDT-FUTURES"),
    ],
)
def test_base_and_product_of_a_symbol_by_its_spelling(symbol: str, base: str, product: str) -> None:
    """For a market that no list has named yet."""
    assert base_of(Symbol(symbol)) == base
    assert product_of(Symbol(symbol)) == product


# --- orders -----------------------------------------------------------------------------------


def shape(order: Order) -> tuple[OrderSide, Side | None, bool, bool, Decimal]:
    """Direction, leg, whether it can only reduce, whether it takes all, and what is left of it."""
    return (
        order.side,
        order.position_side,
        order.reduce_only,
        order.close_position,
        order.quantity,
    )


BUY, SELL, LONG, SHORT = OrderSide.BUY, OrderSide.SELL, Side.LONG, Side.SHORT
LEFT = Decimal("1.5")
ONE_WAY: Row = {"posMode": "one_way_mode", "posSide": "net", "tradeSide": "buy_single"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (BUY, LONG, False, False, LEFT)),
        # In hedge mode `side` names the leg: a close of the long says buy, and sells.
        ({"tradeSide": "close"}, (SELL, LONG, True, False, LEFT)),
        (
            {"tradeSide": "close", "side": "sell", "posSide": "short"},
            (BUY, SHORT, True, False, LEFT),
        ),
        (
            {"tradeSide": "open", "side": "sell", "posSide": "short"},
            (SELL, SHORT, False, False, LEFT),
        ),
        ({"tradeSide": "reduce_close_long"}, (SELL, LONG, True, False, LEFT)),
        ({"tradeSide": ""}, (BUY, LONG, False, False, LEFT)),
        (ONE_WAY, (BUY, None, False, False, LEFT)),
        ({**ONE_WAY, "side": "sell"}, (SELL, None, False, False, LEFT)),
        ({**ONE_WAY, "reduceOnly": "YES"}, (BUY, None, True, False, LEFT)),
        ({**ONE_WAY, "reduceOnly": "yes"}, (BUY, None, True, False, LEFT)),
        ({**ONE_WAY, "reduceOnly": None}, (BUY, None, False, False, LEFT)),
        (
            {"baseVolume": "0", "clientOid": None, "price": ""},
            (BUY, LONG, False, False, Decimal(2)),
        ),
    ],
)
def test_an_ordinary_order_is_what_it_may_still_do(changes: Row, expected: object) -> None:
    """Direction and leg, however the venue writes them."""
    order = parse_regular(order_row(**changes), scope=SCOPE)
    assert shape(order) == expected
    assert (order.kind, order.order_id, order.order_type) == (OrderKind.REGULAR, ID, "limit")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (BUY, LONG, False, False, Decimal(2))),
        ({"planType": "track_plan"}, (BUY, LONG, False, False, Decimal(2))),
        *(
            ({"planType": plan, "tradeSide": "close"}, (SELL, LONG, True, False, Decimal(2)))
            for plan in CLOSING_PLANS
        ),
        # Take-profits and stop-losses close whatever else their rows say.
        ({"planType": "pos_loss", "size": ""}, (SELL, LONG, True, True, Decimal(0))),
        ({"planType": "pos_loss", "size": "0"}, (SELL, LONG, True, True, Decimal(0))),
        (
            {**ONE_WAY, "planType": "loss_plan", "side": "sell"},
            (SELL, None, True, False, Decimal(2)),
        ),
        ({**ONE_WAY, "side": "sell"}, (SELL, None, False, False, Decimal(2))),
    ],
)
def test_a_plan_is_what_it_may_do(changes: Row, expected: object) -> None:
    """Which of them can only close is told by the plan type."""
    order = parse_plan(plan_row(**changes), scope=SCOPE)
    assert shape(order) == expected
    assert order.order_type == changes.get("planType", "normal_plan")
    assert (order.kind, order.trigger_price) == (OrderKind.CONDITIONAL, Decimal(1901))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (BUY, SHORT, False, False, Decimal(2))),
        ({"reduceOnly": "YES"}, (BUY, SHORT, True, False, Decimal(2))),
        (
            {"holdMode": "one_way_mode", "posSide": "", "reduceOnly": "yes"},
            (BUY, None, True, False, Decimal(2)),
        ),
        (
            {"holdMode": "one_way_mode", "side": "sell", "cumExecQty": "0.5"},
            (SELL, None, False, False, LEFT),
        ),
    ],
)
def test_an_order_of_a_unified_account_has_a_direction_in_both_modes(
    changes: Row, expected: object
) -> None:
    """Its side is never turned around."""
    assert shape(parse_unified(unified_order(**changes), scope=SCOPE)) == expected


@pytest.mark.parametrize(
    ("strategy", "changes", "expected"),
    [
        (TPSL, {}, (SELL, LONG, True, False, Decimal(2))),
        (TPSL, {"posSide": "short"}, (BUY, SHORT, True, False, Decimal(2))),
        (TPSL, {"posSide": ""}, (SELL, None, True, False, Decimal(2))),
        (TPSL, {"posSide": "", "side": "buy"}, (BUY, None, True, False, Decimal(2))),
        (TPSL, {"qty": ""}, (SELL, LONG, True, True, Decimal(0))),
        (TRIGGER, {}, (BUY, LONG, False, False, Decimal(2))),
        (TRIGGER, {"posSide": "short"}, (SELL, SHORT, False, False, Decimal(2))),
        (TRIGGER, {"posSide": ""}, (BUY, LONG, False, False, Decimal(2))),
        (TRIGGER, {"reduceOnly": "yes"}, (SELL, LONG, True, False, Decimal(2))),
    ],
)
def test_a_strategy_order_that_may_open_counts_as_one_that_does(
    strategy: str, changes: Row, expected: object
) -> None:
    """Its rows need not name a side: only take-profit and stop-loss are believed to close."""
    order = parse_strategy(strategy_row(**changes), scope=SCOPE, strategy=strategy)
    assert shape(order) == expected
    assert order.trigger_price == Decimal(1800)


@pytest.mark.parametrize(
    ("strategy", "changes", "held", "expected"),
    [
        (TPSL, {"posSide": ""}, SHORT, (BUY, None, True, False, Decimal(2))),
        (TPSL, {"posSide": ""}, LONG, (SELL, None, True, False, Decimal(2))),
        (TPSL, {"posSide": "", "side": "sell"}, SHORT, (SELL, None, True, False, Decimal(2))),
        (TPSL, {"posSide": "long"}, SHORT, (SELL, LONG, True, False, Decimal(2))),
        (TRIGGER, {"posSide": ""}, SHORT, (BUY, LONG, False, False, Decimal(2))),
    ],
)
def test_a_stop_without_a_side_is_of_the_side_that_is_held(
    strategy: str, changes: Row, held: Side, expected: object
) -> None:
    """What the row says itself goes before; a trigger order is believed to open all the same."""
    order = parse_strategy(strategy_row(**changes), scope=SCOPE, strategy=strategy, held=held)
    assert shape(order) == expected


ORDERS = [
    pytest.param(parse_regular, order_row(), "size", id="regular"),
    pytest.param(parse_plan, plan_row(), "size", id="plan"),
    pytest.param(parse_unified, unified_order(), "qty", id="unified"),
]


@pytest.mark.parametrize(("parse", "row", "quantity"), ORDERS)
@pytest.mark.parametrize("damage", [ABSENT, None, "", "x", "-1"])
def test_an_order_without_what_it_may_do_is_damaged(
    parse: Any, row: Row, quantity: str, damage: object
) -> None:
    """Id, symbol, size, direction, mode: one of them missing hides what must be cancelled."""
    mode = "holdMode" if "holdMode" in row else "posMode"
    for name in ("orderId", "symbol", quantity, "posSide", mode):
        if name in ("orderId", "symbol") and damage in ("x", "-1"):
            continue
        with pytest.raises(Malformed):
            parse(without(row, name, damage), scope=SCOPE)
    one_way = {**row, mode: "one_way_mode"}
    with pytest.raises(Malformed):
        parse(without(one_way, "side", damage), scope=SCOPE)


def test_an_order_that_contradicts_itself_is_damaged() -> None:
    """More executed than ordered, executed unknown, a flag that is neither yes nor no."""
    for changes in (
        {"baseVolume": "3"},
        {"baseVolume": None},
        {"baseVolume": ""},
        {"reduceOnly": "maybe"},
        {"orderType": ""},
    ):
        with pytest.raises(Malformed):
            parse_regular(order_row(**changes), scope=SCOPE)
    with pytest.raises(Malformed):
        parse_plan(plan_row(planType=None), scope=SCOPE)
    with pytest.raises(Malformed):
        parse_plan(plan_row(size="0"), scope=SCOPE)


def test_a_plan_tells_the_price_that_sets_it_off_where_it_stands() -> None:
    """A trigger order its own, a stop-loss or take-profit its own, and none at all."""
    told = [
        parse_strategy(strategy_row(**changes), scope=SCOPE, strategy=TPSL).trigger_price
        for changes in (
            {"triggerPrice": "7"},
            {},
            {"stopLoss": "", "takeProfit": "9"},
            {"stopLoss": "0"},
        )
    ]
    assert told == [Decimal(7), Decimal(1800), Decimal(9), None]


@pytest.mark.parametrize("answer", [None, {}, [], "", envelope(None), envelope([]), envelope({})])
def test_a_list_that_is_not_there_is_not_a_list_of_none(answer: object) -> None:
    """Null under its name is how the venue writes none."""
    with pytest.raises(Malformed):
        rows_in(answer, "entrustedList", "orders-pending")
    assert rows_in(envelope({"entrustedList": None}), "entrustedList", "orders-pending") == ()


# --- answers to orders ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "is_done"),
    [
        ({"orderId": "111", "clientOid": "ks-1"}, True),
        ({"orderId": "111", "clientOid": ""}, True),
        ({"orderId": "111"}, True),
        # Others had to make way for it: it may have been sent or not, and is looked up.
        ({"orderId": None, "clientOid": "ks-1"}, False),
        ({"orderId": "", "clientOid": "ks-1"}, False),
        ({"orderId": "0", "clientOid": "ks-1"}, False),
        ({"orderId": "111", "clientOid": "ks-2"}, False),
        ({"clientOid": "ks-1"}, False),
        ({}, False),
        (None, False),
        ([], False),
    ],
)
def test_a_new_order_is_done_with_an_id_alone(data: object, is_done: bool) -> None:
    """What was executed is not told; anything else has to be looked up."""
    outcome = judge_placed(envelope(data), client_id=OURS)
    assert outcome == Done(order_id=ID) if is_done else isinstance(outcome, Unknown)


@pytest.mark.parametrize("answer", [None, {}, "", [], {"code": "00000"}])
def test_an_answer_that_carries_nothing_proves_nothing(answer: object) -> None:
    """Success without data is a false one."""
    assert isinstance(judge_placed(answer, client_id=OURS), Unknown)
    assert isinstance(looked_up(answer), Unknown)
    assert isinstance(judge_cancelled(answer, order_id=ID), Unknown)
    assert isinstance(judge_cancelled_all(answer), Unknown)


def looked_up(answer: object) -> Outcome:
    """What a look-up of a classic account proves."""
    return judge_lookup(answer, client_id=OURS, status="state", executed="baseVolume")


FOUND: Row = {"orderId": "111", "clientOid": "ks-1", "state": "filled", "baseVolume": "1.5"}


@pytest.mark.parametrize(
    ("changes", "filled"),
    [
        ({}, "1.5"),
        ({"state": "canceled", "baseVolume": "0"}, "0"),
        ({"state": "cancelled", "baseVolume": "0.5"}, "0.5"),
        ({"state": "partially_filled", "baseVolume": "0.5"}, "0.5"),
        ({"state": "live", "baseVolume": "0"}, "0"),
        ({"state": "init"}, "1.5"),
        ({"state": "odd"}, None),
        ({"state": ""}, None),
        ({"clientOid": "ks-2"}, None),
        ({"clientOid": ""}, None),
        ({"orderId": None}, None),
        ({"baseVolume": ""}, None),
        ({"baseVolume": None}, None),
    ],
)
def test_a_look_up_names_our_order_its_state_and_what_is_filled(
    changes: Row, filled: str | None
) -> None:
    """An answer that lacks one of them proves nothing."""
    outcome = looked_up(envelope({**FOUND, **changes}))
    if filled is None:
        assert isinstance(outcome, Unknown)
    else:
        assert outcome == Done(order_id=ID, filled=Decimal(filled))


REFUSED = Refused(reason=RefusalReason.NOT_ALLOWED, code="40014")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"orderId": "111", "clientOid": ""}, Done(order_id=ID)),
        ({"successList": [{"orderId": "111"}], "failureList": []}, Done(order_id=ID)),
        ({"successList": [{"orderId": "111"}], "failureList": None}, Done(order_id=ID)),
        (
            {"successList": [], "failureList": [{"orderId": "111", "errorCode": "43025"}]},
            Done(order_id=ID),
        ),
        (
            {"successList": None, "failureList": [{"orderId": "111", "errorCode": "40014"}]},
            REFUSED,
        ),
        ({"successList": [], "failureList": [{"orderId": "111", "errorMsg": "x"}]}, None),
        ({"successList": [], "failureList": [{"orderId": "111", "errorCode": "40786"}]}, None),
        ({"successList": [{"orderId": "112"}], "failureList": []}, None),
        ({"successList": [], "failureList": [{"orderId": "112", "errorCode": "40014"}]}, None),
        ({"orderId": "112"}, None),
        ({"successList": "x"}, None),
        ({"failureList": "x"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_cancel_is_done_when_the_answer_names_the_order(
    data: object, expected: Outcome | None
) -> None:
    """By its id alone or in a list of successes; gone counts as cancelled."""
    outcome = judge_cancelled(envelope(data), order_id=ID)
    assert outcome == expected if expected else isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"successList": [{"orderId": "1"}], "failureList": []}, Done),
        ({"successList": [], "failureList": None}, Done),
        ({"successList": [], "failureList": [{"errorCode": "22001"}]}, Done),
        ({"successList": [], "failureList": [{"errorCode": "40014"}]}, Refused),
        ({"successList": [], "failureList": [{"errorMsg": "notExistend"}]}, Unknown),
        ({"list": []}, Done),
        ({"list": None}, Done),
        ({"list": [{"orderId": "1", "code": "00000"}, {"orderId": "2", "code": ""}]}, Done),
        ({"list": [{"orderId": "1", "code": "24056", "msg": "notExisted"}]}, Done),
        ({"list": [{"orderId": "1", "code": "40014"}]}, Refused),
        ({"list": [{"orderId": "1", "code": "99999"}]}, Unknown),
        ({"list": "x"}, Unknown),
        ({}, Unknown),
        (None, Unknown),
    ],
)
def test_a_cancel_of_all_is_done_when_none_of_them_failed(
    data: object, expected: type[Outcome]
) -> None:
    """One that failed decides; what was gone already did not fail."""
    assert isinstance(judge_cancelled_all(envelope(data)), expected)


# --- records ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("trans_from_exchange", LedgerKind.TRANSFER),
        ("trans_to_exchange", LedgerKind.TRANSFER),
        ("TRANSFER_OUT", LedgerKind.TRANSFER),
        ("transfer_in", LedgerKind.TRANSFER),
        ("DEPOSIT", LedgerKind.TRANSFER),
        ("WITHDRAW", LedgerKind.TRANSFER),
        ("contract_settle_fee", LedgerKind.FUNDING),
        ("CONTRACT_MAIN_SETTLE_FEE_USER_OUT", LedgerKind.FUNDING),
        ("open_long", LedgerKind.REALISED),
        ("CLOSE_SHORT", LedgerKind.REALISED),
        ("buy", LedgerKind.REALISED),
        ("SELL_DEAL", LedgerKind.REALISED),
        ("delivery_long", LedgerKind.REALISED),
        ("burst_long_loss_query", LedgerKind.LIQUIDATION),
        ("force_close_long", LedgerKind.LIQUIDATION),
        ("offset_reduce_close_short", LedgerKind.LIQUIDATION),
        ("risk_captital_user_transfer", LedgerKind.LIQUIDATION),
        ("RISK_LIQ_USER_OUT", LedgerKind.LIQUIDATION),
        ("LIQ_TRANSFER_OUT", LedgerKind.LIQUIDATION),
        ("adl_buy_in_single_side_mode", LedgerKind.LIQUIDATION),
        ("ADL_CLOSE_SHORT", LedgerKind.LIQUIDATION),
        ("FIXED_BURST_CLOSE_LONG", LedgerKind.LIQUIDATION),
        ("FIXED_CLOSE_LONG", LedgerKind.REALISED),
        ("bonus_issue", LedgerKind.BONUS),
        ("interest_settlement", LedgerKind.FEE),
        ("settle_interest", LedgerKind.FEE),
        ("something_new", LedgerKind.OTHER),
        ("append_margin", None),
        ("ORDER_DEALT_IN", None),
        ("borrow", None),
        ("Exchange-Source", None),
    ],
)
def test_the_kind_of_a_record_is_told_by_its_word(name: str, kind: LedgerKind | None) -> None:
    """Money that comes and goes, money that was made or lost, and what stays within the account.

    What the insurance fund takes of a liquidated account is lost, though its word says transfer.
    """
    assert kind_of(name) is kind


def test_a_bill_of_a_trade_is_its_result_and_its_fee() -> None:
    """40 made, 1.5 paid; each has an id of its own, and parts of zero are none."""
    rows = [bill_row(), bill_row(billId="312", amount="0"), bill_row(billId="313", fee=None)]
    rows += [bill_row(billId="314", businessType="append_margin", amount="-5")]
    found, ids = parse_bills(envelope({"bills": rows}))
    assert ids == ("311", "312", "313", "314")
    assert [(record.record_id, record.kind, record.amount) for record in found] == [
        ("311", LedgerKind.REALISED, 40.0),
        ("311:fee", LedgerKind.FEE, -1.5),
        ("312:fee", LedgerKind.FEE, -1.5),
        ("313", LedgerKind.REALISED, 40.0),
    ]
    assert {(record.at_ms, record.asset, record.symbol) for record in found} == {
        (1_731_000_034_996, "USDT", "ETHUSDT")
    }
    transfer = bill_row(businessType="trans_to_exchange", amount="-30", fee="0", symbol="")
    ((record,), _) = parse_bills(envelope({"bills": [transfer]}))
    assert (record.kind, record.amount, record.symbol) == (LedgerKind.TRANSFER, -30.0, None)


@pytest.mark.parametrize(
    ("record_type", "amount", "expected"),
    [
        ("TRANSFER_OUT", "30", -30.0),
        ("TRANSFER_OUT", "-30", -30.0),
        ("transfer_in", "30", 30.0),
        ("CONTRACT_MAIN_SETTLE_FEE_USER_IN", "-3", 3.0),
        ("CLOSE_LONG", "-40", -40.0),
    ],
)
def test_the_direction_of_a_financial_record_is_in_its_word(
    record_type: str, amount: str, expected: float
) -> None:
    """The venue writes some amounts with and without a sign."""
    rows = [record_row(type=record_type, amount=amount)]
    (found,), ids = parse_financial(envelope({"list": rows, "cursor": "1"}))
    assert (found.amount, ids) == (expected, ("611",))


@pytest.mark.parametrize("damage", [ABSENT, None, "", []])
def test_a_record_that_cannot_be_read_is_damage(damage: object) -> None:
    """Left out, a transfer would be a loss."""
    for name in ("billId", "businessType", "amount", "coin", "cTime"):
        with pytest.raises(Malformed):
            parse_bills(envelope({"bills": [without(bill_row(), name, damage)]}))
    for name in ("id", "type", "amount", "coin", "ts"):
        with pytest.raises(Malformed):
            parse_financial(envelope({"list": [without(record_row(), name, damage)]}))


# --- markets and keys -------------------------------------------------------------------------

MARKETS = [
    pytest.param(contract_row, CONTRACTS, id="classic"),
    pytest.param(instrument_row, INSTRUMENTS, id="unified"),
]


@pytest.mark.parametrize(("row", "names"), MARKETS)
def test_the_rules_of_a_market(row: Any, names: MarketNames) -> None:
    """No page lifts the least value for closes; a market that is only closing can be closed."""
    (found,) = parse_listings(envelope([row()]), names, product="USDT-FUTURES")
    limits = found.limits
    assert (limits.symbol, limits.base, limits.quote) == ("ETHUSDT", "ETH", "USDT")
    assert (limits.step, limits.min_quantity) == (Decimal("0.01"), Decimal("0.01"))
    assert (limits.market_max, limits.min_notional) == (Decimal(420), Decimal(5))
    assert (limits.reduce_only_waives_min_notional, limits.is_tradable) == (False, True)
    closing = {names.status: "limit_open"}
    off = {names.status: "off"}
    for changes, is_tradable in ((closing, True), (off, False)):
        (other,) = parse_listings(envelope([row(**changes)]), names, product="USDT-FUTURES")
        assert other.limits.is_tradable is is_tradable
    for told in (ABSENT, None, "", "0"):
        unlimited = without(row(), "maxMarketOrderQty", told)
        (other,) = parse_listings(envelope([unlimited]), names, product="USDT-FUTURES")
        assert other.limits.market_max is None


@pytest.mark.parametrize(("row", "names"), MARKETS)
@pytest.mark.parametrize("damage", [ABSENT, None, "", "x", "0"])
def test_a_market_that_cannot_be_read_is_left_out(
    row: Any, names: MarketNames, damage: object
) -> None:
    """It does not hide its neighbours; when none is left it is damage."""
    broken = without(row(), names.step, damage)
    whole = row(symbol="SOLUSDT", baseCoin="SOL")
    found = parse_listings(envelope([broken, whole]), names, product="USDT-FUTURES")
    assert [listing.limits.symbol for listing in found] == ["SOLUSDT"]
    with pytest.raises(Malformed, match="no market can be read"):
        parse_listings(envelope([broken]), names, product="USDT-FUTURES")
    assert parse_listings(envelope([]), names, product="USDC-FUTURES") == ()


def test_marks_that_are_no_price_are_left_out() -> None:
    """A neighbour's odd value does not blind the guard."""
    rows = [{"symbol": "ETHUSDT", "markPrice": "2100.5"}]
    rows += [{"symbol": f"ODD{n}", "markPrice": told} for n, told in enumerate(("", "0", "x"))]
    assert parse_marks(envelope([*rows, {"symbol": "NONEUSDT"}])) == {"ETHUSDT": 2100.5}
    with pytest.raises(Malformed):
        parse_marks(envelope([{"markPrice": "1"}]))


@pytest.mark.parametrize(
    ("data", "can_trade", "can_withdraw", "is_bound"),
    [
        ({"authorities": ["coow", "wwow"], "ips": "127.0.0.1"}, True, True, True),
        ({"authorities": ["coor", "cpor"], "ips": ""}, False, False, False),
        ({"permissions": ["uta_trade"], "permType": "read-and-write"}, True, False, False),
        ({"permissions": ["uta_trade", "withdraw"], "permType": "read_only"}, False, False, False),
        ({"permissions": ["uta_trade"], "permType": "read-only"}, False, False, False),
    ],
)
def test_the_rights_of_a_key(
    data: Row, can_trade: bool, can_withdraw: bool, is_bound: bool
) -> None:
    """As both kinds of account spell them."""
    told = parse_rights(envelope(data))
    assert (told.can_trade, told.can_withdraw, told.is_bound_to_ip) == (
        can_trade,
        can_withdraw,
        is_bound,
    )
    with pytest.raises(Malformed):
        parse_rights(envelope({"authorities": None}))


def test_a_spread_needs_both_sides_of_a_book() -> None:
    """2 on 100 are 2 percent."""
    rows = [
        {"symbol": "ETHUSDT", "bidPr": "99", "askPr": "101"},
        {"symbol": "AUSDT", "bidPr": "", "askPr": "101"},
        {"symbol": "BUSDT", "bidPr": "0", "askPr": "101"},
        {"symbol": "CUSDT", "bidPr": "102", "askPr": "101"},
    ]
    assert parse_spreads(envelope(rows)) == {"ETHUSDT": pytest.approx(0.02)}
