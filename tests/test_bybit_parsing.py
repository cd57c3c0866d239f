"""Bybit answers become model values, and no damaged field ever becomes a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Coin,
    Done,
    LedgerKind,
    MarginMode,
    OrderKind,
    OrderSide,
    PositionMode,
    Reading,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from tests.bybit_answers import (
    account_info,
    answer,
    coin_row,
    listed,
    log_row,
    lot_row,
    market_row,
    order_row,
    position_row,
    stop_row,
    ticker_row,
    transfer_row,
    wallet,
)
from venues.bybit_account import (
    Held,
    base_of,
    parse_margin_mode,
    parse_mode,
    parse_page,
    parse_positions,
    parse_wallet,
    position_mode_of,
    positions_of,
    value_coins,
)
from venues.bybit_markets import parse_market, parse_market_limits, parse_marks, parse_spot_prices
from venues.bybit_records import (
    count_cancelled,
    judge_batch,
    judge_cancel,
    judge_lookup,
    judge_order,
    parse_log,
    parse_orders,
)

SCOPE = ScopeId("bybit_futures")
USDT, USDC, BTC = Asset("USDT"), Asset("USDC"), Asset("BTC")
STABLES = (USDT, USDC)
ETH = Symbol("ETHUSDT")
OURS = ClientOrderId("ks-1")
MISSING = object()
DAMAGE = {"missing": MISSING, "null": None, "empty": "", "nan": "NaN", "float nan": math.nan}
Row = dict[str, Any]


def damaged(row: Row, name: str, value: object) -> Row:
    """The row with one field replaced or taken away."""
    left = {key: held for key, held in row.items() if key != name}
    return left if value is MISSING else {**left, name: value}


def positions(*rows: Row, **changes: Any) -> tuple[Held, ...]:
    """Rows settled in USDT under cross margin, unless told otherwise."""
    how: dict[str, Any] = {"settle": USDT, "bases": {}, "margin_mode": MarginMode.CROSS, **changes}
    return parse_positions(rows, **how)


PARSERS: dict[str, tuple[Row, tuple[str, ...], Callable[[Row], object]]] = {
    "totals": (
        wallet(coin_row("USDT", "5"), equity="5")["result"]["list"][0],
        ("totalEquity", "coin"),
        lambda row: parse_wallet(answer({"list": [row]})),
    ),
    "coin": (
        coin_row("USDT", "5"),
        ("equity", "walletBalance", "spotBorrow"),
        lambda row: parse_wallet(wallet(row, equity="5")),
    ),
    "account": (
        account_info()["result"],
        ("unifiedMarginStatus",),
        lambda row: parse_margin_mode(answer(row)),
    ),
    "position": (
        position_row(),
        ("size", "positionIdx", "avgPrice", "markPrice", "unrealisedPnl"),
        positions,
    ),
    "mode": (position_row(), ("positionIdx",), lambda row: parse_mode((row,))),
    "order": (
        order_row(),
        ("side", "positionIdx", "qty", "cumExecQty", "reduceOnly", "closeOnTrigger"),
        lambda row: parse_orders([row], scope=SCOPE),
    ),
    "log": (log_row(), ("change", "transactionTime"), lambda row: parse_log([row])),
    "lot": (
        lot_row(),
        ("qtyStep", "minOrderQty", "maxMktOrderQty", "minNotionalValue"),
        lambda row: parse_market(market_row(lotSizeFilter=row)),
    ),
}
NAMES: tuple[tuple[str, Row, str], ...] = (
    ("coin", coin_row("USDT", "5"), "coin"),
    ("account", account_info()["result"], "marginMode"),
    ("position", position_row(), "symbol"),
    ("position", position_row(), "side"),
    ("order", order_row(), "orderId"),
    ("order", order_row(), "symbol"),
    ("order", order_row(), "orderStatus"),
    ("order", order_row(), "orderType"),
    ("log", log_row(), "type"),
    ("log", log_row(), "id"),
    ("log", log_row(), "currency"),
)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("parser", "name"), [(parser, name) for parser, case in PARSERS.items() for name in case[1]]
)
def test_a_damaged_value_is_malformed_and_named(parser: str, name: str, damage: str) -> None:
    """Missing, null, empty or NaN: never 0, and the message says which field."""
    row, _names, parse = PARSERS[parser]
    parse(row)
    with pytest.raises(Malformed, match=name):
        parse(damaged(row, name, DAMAGE[damage]))


@pytest.mark.parametrize("damage", ["missing", "null", "empty"])
@pytest.mark.parametrize("case", range(len(NAMES)))
def test_a_missing_name_or_id_is_malformed(case: int, damage: str) -> None:
    """A row without its coin, symbol or id cannot be attributed to anything."""
    parser, row, name = NAMES[case]
    with pytest.raises(Malformed, match=name):
        PARSERS[parser][2](damaged(row, name, DAMAGE[damage]))


@pytest.mark.parametrize("wrong", [None, "", "<html>", 0, [], {}, {"retCode": 0}, [None]])
def test_an_answer_of_the_wrong_shape_is_malformed(wrong: object) -> None:
    """A page, null or an object without a result is no wallet, no list, no account."""
    for parse in (
        parse_wallet,
        parse_margin_mode,
        lambda it: parse_page(it, "order"),
        lambda it: parse_marks(it, wanted=()),
    ):
        with pytest.raises(Malformed):
            parse(wrong)


@pytest.mark.parametrize("result", [{"list": []}, {"list": [], "nextPageCursor": None}])
def test_a_page_that_does_not_say_whether_it_is_the_last_is_malformed(result: Row) -> None:
    """Whatever follows it would be missing in silence."""
    with pytest.raises(Malformed, match="nextPageCursor"):
        parse_page(answer(result), "order")


# --- the wallet -------------------------------------------------------------------------------


def test_equity_is_the_total_that_includes_profit() -> None:
    """3,304.30 of equity beside 3,322.26 in the wallet: the difference is a loss on paper."""
    coin = coin_row("USDT", "3304.30", walletBalance="3322.26", unrealisedPnl="-17.96")
    found = parse_wallet(
        wallet(coin, equity="3304.30", totalWalletBalance="3322.26", totalPerpUPL="-17.96")
    )
    assert (found.equity, found.wallet, found.unrealised_pnl) == (3304.30, 3322.26, -17.96)
    assert found.unstable(STABLES) == ()


def test_the_profit_of_inverse_contracts_is_not_counted_against_the_positions() -> None:
    """-17.96 in USDT and 3 in USDC are listed; 1,200 lost in BTC are seen in the equity alone."""
    coins = (
        coin_row("USDT", "3304.30", walletBalance="3322.26", unrealisedPnl="-17.96"),
        coin_row("USDC", "103", walletBalance="100", unrealisedPnl="3"),
        coin_row("BTC", "0.08", walletBalance="0.1", usdValue="4800", unrealisedPnl="-0.02"),
    )
    found = parse_wallet(wallet(*coins, equity="8207.30", totalPerpUPL="-1214.96"))
    assert found.unrealised_pnl == pytest.approx(-14.96)


def test_totals_that_a_margin_mode_leaves_empty_are_unknown_and_not_zero() -> None:
    """Only the equity is indispensable."""
    found = parse_wallet(
        wallet(
            coin_row("USDT", "5", unrealisedPnl=""),
            equity="5",
            totalWalletBalance="",
            totalPerpUPL="",
        )
    )
    assert (found.equity, found.wallet, found.unrealised_pnl) == (5, None, None)


def test_a_coin_is_a_row_at_the_venues_own_price() -> None:
    """0.2 BTC valued at 12,000 are worth 60,000 each; dust without a value is no row."""
    found = parse_wallet(
        wallet(
            coin_row("BTC", "0.2", usdValue="12000"),
            coin_row("ODD", "7", usdValue="0"),
            coin_row("OLD", "0"),
            equity="12000",
        )
    )
    coins = found.unstable(STABLES)
    assert [coin.asset for coin in coins] == ["BTC", "ODD"]
    assert value_coins(coins, prices={}) == (
        Coin(asset=BTC, quantity=Decimal("0.2"), price=60000.0),
    )
    priced = value_coins(coins, prices={Asset("ODD"): 3.0})
    assert [(coin.asset, coin.price) for coin in priced][1] == ("ODD", 3.0)


def test_an_owed_coin_is_a_short_row_and_does_not_vanish() -> None:
    """0.06 ETH owed at 3,000: its price rising by 100 costs 6."""
    found = parse_wallet(
        wallet(
            coin_row("USDT", "2500"),
            coin_row("ETH", "-0.06", usdValue="-180", walletBalance="0", spotBorrow="0.06"),
            equity="2320",
        )
    )
    coins = value_coins(found.unstable(STABLES), prices={})
    (coin,) = coins
    assert (coin.quantity, coin.price, coin.side) == (Decimal("-0.06"), 3000, Side.SHORT)
    reading = Reading(
        scope=SCOPE,
        asked_at=0.0,
        equity=2320.0,
        wallet=None,
        unrealised_pnl=None,
        positions=(),
        coins=coins,
    )
    (row,) = reading.rows()
    assert (row.key.side, row.quantity, row.notional) == (Side.SHORT, 0.06, 180)


def test_an_owed_coin_whose_equity_is_not_told_is_priced_elsewhere() -> None:
    """Some answers say 0 for its equity beside its value: no price can be had from those."""
    row = coin_row("ETH", "0", usdValue="-191.31", walletBalance="0", spotBorrow="0.06142")
    (holding,) = parse_wallet(wallet(row, equity="2500")).unstable(STABLES)
    assert (holding.quantity, holding.price) == (Decimal("-0.06142"), None)


@pytest.mark.parametrize(
    "truncated",
    [
        wallet(equity="1000"),
        answer({"list": []}),
        answer({"list": [{"accountType": "CONTRACT", "totalEquity": "5", "coin": []}]}),
        wallet(coin_row("USDT", "5"), coin_row("USDT", "5"), equity="5"),
    ],
    ids=["no coin", "no account", "another account", "a coin twice"],
)
def test_a_truncated_wallet_is_never_an_empty_account(truncated: Row) -> None:
    """Nothing listed beside an equity, another kind of account, or one coin counted twice."""
    with pytest.raises(Malformed):
        parse_wallet(truncated)


def test_an_empty_account_is_an_honest_zero() -> None:
    """No coin and no equity."""
    assert parse_wallet(wallet(equity="0")).equity == 0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("REGULAR_MARGIN", MarginMode.CROSS),
        ("PORTFOLIO_MARGIN", MarginMode.CROSS),
        ("ISOLATED_MARGIN", MarginMode.ISOLATED),
    ],
)
def test_the_margin_mode_is_one_for_the_whole_account(mode: str, expected: MarginMode) -> None:
    """Rows of positions have not told it since accounts are unified."""
    assert parse_margin_mode(account_info(marginMode=mode)) is expected


def test_a_classic_account_is_named_and_not_read() -> None:
    """Its wallet answers to other questions; what it holds would not be seen."""
    with pytest.raises(Malformed, match=r"classic account .* upgrade"):
        parse_margin_mode(account_info(unifiedMarginStatus=1))
    with pytest.raises(Malformed, match="marginMode"):
        parse_margin_mode(account_info(marginMode="NEW_MARGIN"))


# --- positions --------------------------------------------------------------------------------


def test_a_position_is_read_with_its_index() -> None:
    """Long 1.5 ETH, 100.5 above its entry: 150.75."""
    (held,) = positions(position_row())
    position = held.position
    assert (position.symbol, position.side, position.quantity) == (ETH, Side.LONG, Decimal("1.5"))
    assert (position.entry_price, position.mark_price) == (2000, 2100.5)
    assert (position.unrealised_pnl, position.liquidation_price) == (150.75, 1200)
    assert (position.base, position.margin, position.margin_asset) == ("ETH", 315.1, USDT)
    assert (position.margin_mode, held.index) == (MarginMode.CROSS, 0)


def test_an_isolated_position_is_backed_by_the_margin_set_aside() -> None:
    """301.5 are its own."""
    (held,) = positions(position_row(), margin_mode=MarginMode.ISOLATED)
    assert (held.position.margin_mode, held.position.margin) == (MarginMode.ISOLATED, 301.5)


def test_fields_that_portfolio_margin_leaves_empty_are_unknown() -> None:
    """No liquidation price, no margin of one position, no leverage."""
    empty = dict.fromkeys(("liqPrice", "positionIM", "positionMM", "positionBalance"), "")
    (held,) = positions(position_row(leverage="", **empty))
    assert (held.position.liquidation_price, held.position.margin) == (None, None)


def test_rows_of_size_zero_are_no_positions() -> None:
    """A list asked for by symbol has them, without a side."""
    flat = position_row(size="0", side="", avgPrice="0", unrealisedPnl="", liqPrice="")
    assert positions(flat, position_row(size="0.00", side="None")) == ()


def test_both_legs_of_a_hedge_are_told_apart() -> None:
    """Index 1 is the long leg, 2 the short one."""
    held = positions(
        position_row(positionIdx=1), position_row(positionIdx=2, side="Sell", size="0.5")
    )
    assert [(each.position.side, each.index) for each in held] == [(Side.LONG, 1), (Side.SHORT, 2)]
    assert position_mode_of(held) is PositionMode.HEDGE


def test_one_hedged_symbol_makes_the_account_hedged() -> None:
    """The mode is each symbol's own; without positions nothing shows it."""
    one_way = positions(position_row(symbol="BTCUSDT"))
    assert position_mode_of(one_way) is PositionMode.ONE_WAY
    assert position_mode_of(one_way + positions(position_row(positionIdx=1))) is PositionMode.HEDGE
    assert position_mode_of(()) is None


@pytest.mark.parametrize(
    ("indices", "mode"), [((0,), PositionMode.ONE_WAY), ((1, 2), PositionMode.HEDGE)]
)
def test_a_flat_symbol_shows_its_mode(indices: tuple[int, ...], mode: PositionMode) -> None:
    """By the rows that are listed for it without a position."""
    rows = [position_row(positionIdx=index, size="0", side="") for index in indices]
    assert parse_mode(rows) is mode
    with pytest.raises(Malformed, match="not listed"):
        parse_mode([])


@pytest.mark.parametrize(
    "row",
    [
        position_row(positionIdx=1, side="Sell"),
        position_row(positionIdx=2, side="Buy"),
        position_row(positionIdx=3),
        position_row(side="Long"),
        position_row(size="-1"),
        position_row(markPrice="-1"),
    ],
)
def test_a_position_that_contradicts_itself_is_malformed(row: Row) -> None:
    """Side against index, an unknown index or side, a size below zero, a price below zero."""
    with pytest.raises(Malformed, match="position ETHUSDT"):
        positions(row)


def test_a_position_listed_twice_is_malformed() -> None:
    """Pages that shift while they are read; adding it up twice would close it twice."""
    with pytest.raises(Malformed, match="twice"):
        positions_of(positions(position_row(), position_row()))


def test_for_closing_only_symbol_side_index_and_size_are_indispensable() -> None:
    """A market that is being delisted must not keep the others from being closed."""
    odd = position_row(markPrice="", avgPrice="")
    with pytest.raises(Malformed):
        positions(odd)
    (held,) = positions(odd, is_for_closing=True)
    assert (held.position.quantity, held.position.mark_price) == (Decimal("1.5"), 0)
    for name in ("symbol", "side", "size", "positionIdx"):
        with pytest.raises(Malformed):
            positions(damaged(position_row(), name, ""), is_for_closing=True)


def test_a_price_of_0_is_what_the_other_price_and_the_profit_say() -> None:
    """150.75 of 1.5 are 100.5 above the entry of 2,000."""
    (held,) = positions(position_row(markPrice="0"))
    assert held.position.mark_price == 2100.5


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("NEWUSDT", "NEW"),
        ("BTCPERP", "BTC"),
        ("BTC-24MAR23", "BTC"),
        ("BTCUSDT-21FEB25", "BTC"),
        ("1000PEPEUSDT", "1000PEPE"),
        ("USDCUSDT", "USDC"),
        ("USDT", "USDT"),
    ],
)
def test_the_base_of_an_unlisted_symbol_is_its_spelling(symbol: str, base: str) -> None:
    """Contracts in USDT and USDC, perpetual or with a date."""
    assert base_of(Symbol(symbol)) == base


# --- orders -----------------------------------------------------------------------------------


def test_a_resting_order_shows_what_is_still_unfilled() -> None:
    """0.04 of 0.10 are filled."""
    (order,) = parse_orders([order_row()], scope=SCOPE)
    assert (order.side, order.quantity, order.price) == (
        OrderSide.BUY,
        Decimal("0.06"),
        Decimal("1600.00"),
    )
    assert (order.kind, order.order_type, order.trigger_price) == (OrderKind.REGULAR, "Limit", None)
    assert (order.position_side, order.reduce_only, order.close_position) == (None, False, False)


def test_a_stop_of_a_whole_position_has_no_quantity() -> None:
    """It waits, closes all there is, and is named as what it is."""
    (order,) = parse_orders([stop_row(positionIdx=1)], scope=SCOPE)
    assert (order.kind, order.order_type, order.trigger_price) == (
        OrderKind.CONDITIONAL,
        "StopLoss",
        Decimal(1500),
    )
    assert (order.position_side, order.quantity) == (Side.LONG, Decimal(0))
    assert (order.reduce_only, order.close_position) == (True, True)


def test_an_order_that_closes_on_its_trigger_can_only_reduce() -> None:
    """Whatever its other flag says."""
    (order,) = parse_orders([stop_row(reduceOnly=False, qty="0.5")], scope=SCOPE)
    assert (order.reduce_only, order.close_position, order.quantity) == (
        True,
        False,
        Decimal("0.5"),
    )


def test_an_order_that_moved_from_page_to_page_is_one_order() -> None:
    """What was listed last holds."""
    rows = [order_row(), order_row(cumExecQty="0.05")]
    (order,) = parse_orders(rows, scope=SCOPE)
    assert order.quantity == Decimal("0.05")


@pytest.mark.parametrize(
    "change", [{"side": "Long"}, {"positionIdx": 4}, {"cumExecQty": "0.2"}], ids=str
)
def test_an_order_that_makes_no_sense_is_malformed(change: Row) -> None:
    """An unknown side or index, or more executed than ordered."""
    with pytest.raises(Malformed, match="order 9a5b3c1d"):
        parse_orders([order_row(**change)], scope=SCOPE)


# --- what an answer to an order proves --------------------------------------------------------


def test_an_acknowledged_order_is_done_and_tells_no_quantity() -> None:
    """It is carried out later; positions tell."""
    for echoed in (OURS, ""):
        told = answer({"orderId": "7", "orderLinkId": echoed})
        assert judge_order(told, client_id=OURS) == Done(order_id=VenueOrderId("7"), filled=None)


@pytest.mark.parametrize(
    "told",
    [
        {},
        answer(None),
        answer({}),
        answer({"orderId": "", "orderLinkId": "ks-1"}),
        answer({"orderId": None}),
        answer({"orderId": "7", "orderLinkId": "other"}),
        answer({"orderId": ["7"]}),
    ],
)
def test_an_order_answer_without_proof_is_unknown(told: Row) -> None:
    """No id, or the id of another order."""
    assert isinstance(judge_order(told, client_id=OURS), Unknown)


@pytest.mark.parametrize(
    ("status", "filled"),
    [
        ("New", "0"),
        ("PartiallyFilled", "0.2"),
        ("Filled", "0.5"),
        ("Cancelled", "0.3"),
        ("Cancelled", "0"),
        ("Rejected", "0"),
    ],
)
def test_a_look_up_tells_what_was_filled_so_far(status: str, filled: str) -> None:
    """The rest of a market order is cancelled where the book is thin."""
    row = order_row(orderLinkId=OURS, orderStatus=status, cumExecQty=filled)
    assert judge_lookup([row], client_id=OURS) == Done(
        order_id=VenueOrderId(row["orderId"]), filled=Decimal(filled)
    )


@pytest.mark.parametrize(
    "row",
    [
        order_row(),
        order_row(orderLinkId=OURS, orderStatus="Strange"),
        order_row(orderLinkId=OURS, orderStatus=None),
        order_row(orderLinkId=OURS, cumExecQty=""),
        order_row(orderLinkId=OURS, orderId=""),
    ],
)
def test_a_look_up_that_names_no_fate_proves_nothing(row: Row) -> None:
    """Another order's row, an unknown status, no quantity, no id."""
    assert isinstance(judge_lookup([row], client_id=OURS), Unknown)


def test_an_empty_list_is_the_only_proof_of_absence() -> None:
    """None says: look in the next list."""
    assert judge_lookup([], client_id=OURS) is None


def batch(*rows: Row, told: list[Row]) -> Row:
    """The answer to a batch."""
    return answer({"list": list(rows)}, extra={"list": told})


def refused(row: object) -> Unknown:
    """Stands for the judgement of one refusal."""
    return Unknown(cause=str(row))


def test_each_order_of_a_batch_is_judged_by_its_place() -> None:
    """One taken, one refused: the refusal bears its own id or none."""
    for second in ("ks-2", ""):
        outcomes = judge_batch(
            batch(
                {"orderId": "7", "orderLinkId": "ks-1"},
                {"orderId": "", "orderLinkId": second},
                told=[{"code": 0, "msg": "OK"}, {"code": 110017, "msg": "zero"}],
            ),
            [OURS, ClientOrderId("ks-2")],
            refusal=refused,
        )
        assert outcomes == [
            Done(order_id=VenueOrderId("7")),
            Unknown(cause="{'retCode': 110017, 'retMsg': 'zero'}"),
        ]


MADE = {"orderId": "7", "orderLinkId": "ks-1"}
FINE = {"code": 0, "msg": "OK"}


@pytest.mark.parametrize(
    "told",
    [
        batch(MADE, told=[]),
        batch(told=[FINE]),
        batch(MADE, MADE, told=[FINE, FINE]),
        batch({**MADE, "orderLinkId": "other"}, told=[FINE]),
        batch({**MADE, "orderLinkId": ""}, told=[FINE]),
        batch({**MADE, "orderLinkId": "other"}, told=[{"code": 110017, "msg": ""}]),
        batch(MADE, told=[{"msg": "OK"}]),
        batch(MADE, told=[{"code": None}]),
        answer({"list": [MADE]}),
        answer({}),
        {},
    ],
)
def test_a_batch_whose_answers_cannot_be_placed_leaves_all_in_doubt(told: Row) -> None:
    """Fewer or more rows than orders, rows of others, no codes."""
    (outcome,) = judge_batch(told, [OURS], refusal=refused)
    assert outcome == Unknown(cause="batch: the answers are not those to its orders")


def test_a_cancel_is_done_when_it_names_its_order() -> None:
    """Anything else confirms nothing."""
    order_id = order_row()["orderId"]
    confirmed = answer({"orderId": order_id, "orderLinkId": ""})
    assert judge_cancel(confirmed, order_id=order_id) == Done(order_id=order_id)
    wrong: tuple[object, ...] = ({}, answer({}), answer({"orderId": "other"}), [])
    for told in wrong:
        assert isinstance(judge_cancel(told, order_id=order_id), Unknown)


@pytest.mark.parametrize(
    ("result", "count"),
    [
        ({"list": [MADE, MADE], "success": "1"}, 2),
        ({"list": [], "success": 1}, 0),
        ({"list": [], "success": "0"}, None),
        ({"list": []}, None),
        ({"success": "1"}, None),
        (None, None),
    ],
)
def test_a_cancel_of_all_counts_what_it_took(result: Row | None, count: int | None) -> None:
    """None: the answer confirms nothing."""
    assert count_cancelled(answer(result)) == count


# --- records ----------------------------------------------------------------------------------


def parts(row: Row) -> list[tuple[LedgerKind, float]]:
    """What a row is about, part by part."""
    return [(part.kind, part.amount) for part in parse_log([row])]


K = LedgerKind


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (log_row(), [(K.REALISED, -4.5), (K.FEE, -0.5)]),
        (log_row(fee="-0.1", change="0.1", cashFlow="0"), [(K.FEE, 0.1)]),
        (
            log_row(type="SETTLEMENT", funding="-0.25", fee="0", change="-0.25", cashFlow="0"),
            [(K.FUNDING, -0.25)],
        ),
        (
            log_row(type="SETTLEMENT", funding="-1", fee="0", change="9", cashFlow="10"),
            [(K.OTHER, 10), (K.FUNDING, -1)],
        ),
        (log_row(category="option", type="DELIVERY"), [(K.OTHER, -4.5), (K.FEE, -0.5)]),
        (log_row(category="linear", type="DELIVERY"), [(K.REALISED, -4.5), (K.FEE, -0.5)]),
        (log_row(category="option", type="LIQUIDATION"), [(K.OTHER, -4.5), (K.FEE, -0.5)]),
        (transfer_row("300"), [(K.TRANSFER, 300)]),
        (transfer_row("-300"), [(K.TRANSFER, -300)]),
        (transfer_row("20", type="BONUS"), [(K.BONUS, 20)]),
        (transfer_row("-20", type="BONUS_RECOLLECT"), [(K.BONUS, -20)]),
        (transfer_row("-50", type="LIQUIDATION"), [(K.LIQUIDATION, -50)]),
        (transfer_row("-2", type="INTEREST"), [(K.FEE, -2)]),
        (transfer_row("-2", type="FLEXIBLE_STAKING_SUBSCRIPTION"), [(K.TRANSFER, -2)]),
        (transfer_row("7", type="CURRENCY_BUY"), [(K.OTHER, 7)]),
        (transfer_row("7", type="BORROW"), [(K.OTHER, 7)]),
        (transfer_row("7", type="SOMETHING_NEW"), [(K.OTHER, 7)]),
        (
            log_row(category="spot", currency="BTC", change="0.1", fee="0.0001"),
            [(K.OTHER, 0.1001), (K.FEE, -0.0001)],
        ),
        (log_row(change="0", fee="0", cashFlow="0"), []),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
def test_a_record_says_what_it_is_about_part_by_part(
    row: Row, expected: list[tuple[LedgerKind, float]]
) -> None:
    """The parts add up to the change; money from outside is a flow, a swap is none.

    The settlement of a session pays out profit that the equity had before, as an option does that
    is delivered: as a result it would be lost, or made, a second time.
    """
    found = parts(row)
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    assert [amount for _, amount in found] == pytest.approx([amount for _, amount in expected])
    assert sum(amount for _, amount in found) == pytest.approx(float(row["change"]))


@pytest.mark.parametrize(
    "row",
    [
        log_row(fee=""),
        log_row(type="SETTLEMENT", funding="", fee="0", change="-0.25", cashFlow="0"),
    ],
)
def test_a_record_that_lost_a_part_is_malformed(row: Row) -> None:
    """What is missing would count as the result of a position."""
    with pytest.raises(Malformed, match="sum of its parts"):
        parse_log([row])


def test_a_tax_stands_beside_the_fee() -> None:
    """What is not told part by part stays with the rest, and the change is the change."""
    taxed = log_row(change="-5.1", extraFees='[{"feeType":"GST"}]')
    assert sum(amount for _, amount in parts(taxed)) == pytest.approx(-5.1)


def test_records_are_told_apart() -> None:
    """One id was seen on two types; one trade leaves two parts, and rows in two currencies."""
    rows = [log_row(), log_row(type="SETTLEMENT"), log_row(currency="BTC"), log_row(id="2")]
    ids = [part.record_id for part in parse_log(rows)]
    assert len(set(ids)) == len(ids) == 8
    assert [part.record_id for part in parse_log(rows)] == ids


# --- markets ----------------------------------------------------------------------------------


def test_a_market_order_has_a_maximum_of_its_own() -> None:
    """1,500 for a market order, 8,000 for a limit order."""
    market = parse_market(market_row())
    assert (market.step, market.min_quantity, market.market_max) == (
        Decimal("0.01"),
        Decimal("0.01"),
        Decimal(1500),
    )
    assert (market.min_notional, market.reduce_only_waives_min_notional) == (Decimal(5), False)
    assert (market.base, market.quote, market.is_tradable) == ("ETH", "USDT", True)


def test_a_market_that_is_being_delisted_does_not_trade() -> None:
    """Its positions are still listed, and its rules still known."""
    assert not parse_market(market_row(status="Delivering")).is_tradable
    assert parse_market(market_row(status="PreLaunch")).is_tradable


@pytest.mark.parametrize("name", ["symbol", "baseCoin", "quoteCoin", "status", "lotSizeFilter"])
def test_one_odd_market_does_not_hide_the_others(name: str) -> None:
    """It is left out; without a single readable market the answer is malformed."""
    odd = damaged(market_row(), name, None)
    assert list(parse_market_limits([odd, market_row()])) == [ETH]
    with pytest.raises(Malformed, match="no market"):
        parse_market_limits([odd])
    with pytest.raises(Malformed, match="lists none"):
        parse_market_limits([])


def test_a_step_of_zero_is_no_rule() -> None:
    """Nothing could be rounded to it."""
    with pytest.raises(Malformed, match="qtyStep"):
        parse_market(market_row(lotSizeFilter=lot_row(qtyStep="0")))


def test_only_wanted_marks_are_judged() -> None:
    """A neighbour's odd value blinds nobody, and 0 is no price."""
    told = listed(
        ticker_row("ETHUSDT", "2100.5"),
        ticker_row("ODDUSDT", "NaN"),
        ticker_row("OLDUSDT", "0"),
        ticker_row("GONEUSDT", ""),
    )
    assert parse_marks(told, wanted={"ETHUSDT", "OLDUSDT", "GONEUSDT"}) == {ETH: 2100.5}
    assert parse_spot_prices(told, wanted={"ETHUSDT"}) == {ETH: 2100.5}
    with pytest.raises(Malformed, match="ODDUSDT"):
        parse_marks(told, wanted={"ODDUSDT"})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(PARSERS)), st.data(), JSON_VALUES)
@settings(max_examples=100)
def test_whatever_stands_in_a_field_only_malformed_is_raised(
    parser: str, data: st.DataObject, value: object
) -> None:
    """Any JSON in any field gives a value or Malformed, never another exception."""
    row, _names, parse = PARSERS[parser]
    name = data.draw(st.sampled_from(sorted(row)))
    try:
        parse(damaged(row, name, value))
    except Malformed as malformed:
        assert len(str(malformed)) < 250
