"""Binance answers become model values, and no damaged field ever becomes a number."""

from __future__ import annotations

import json
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
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from venues.binance_account import (
    base_of,
    parse_account,
    parse_account_mode,
    parse_changes,
    parse_positions,
    position_mode_shown,
    value_account,
)
from venues.binance_markets import (
    parse_asset_prices,
    parse_market,
    parse_market_limits,
    parse_marks,
)
from venues.binance_records import (
    LEDGER_KINDS,
    judge_order,
    parse_conditional_orders,
    parse_income,
    parse_orders,
)
from venues.parsing import plain_text, required_decimal

SCOPE = ScopeId("binance_futures")
USDT, USDC, BNB = Asset("USDT"), Asset("USDC"), Asset("BNB")
STABLES = (USDT, USDC)
MISSING = object()
DAMAGE = {"missing": MISSING, "null": None, "empty": "", "nan": "NaN", "float nan": math.nan}

Row = dict[str, Any]


def asset_row(asset: str, wallet: str, unrealised: str, margin: str) -> Row:
    """One row of the account's assets with every field the venue sends."""
    return {
        "asset": asset,
        "walletBalance": wallet,
        "unrealizedProfit": unrealised,
        "marginBalance": margin,
        "maintMargin": "0.00000000",
        "initialMargin": "0.00000000",
        "positionInitialMargin": "0.00000000",
        "openOrderInitialMargin": "0.00000000",
        "crossWalletBalance": wallet,
        "crossUnPnl": unrealised,
        "availableBalance": wallet,
        "maxWithdrawAmount": wallet,
        "updateTime": 1700000000000,
    }


def account_answer(*assets: Row, wallet: str, unrealised: str, margin: str) -> Row:
    """An account answer with the given assets and totals."""
    return {
        "totalInitialMargin": "0.00000000",
        "totalMaintMargin": "0.00000000",
        "totalWalletBalance": wallet,
        "totalUnrealizedProfit": unrealised,
        "totalMarginBalance": margin,
        "totalPositionInitialMargin": "0.00000000",
        "totalOpenOrderInitialMargin": "0.00000000",
        "totalCrossWalletBalance": wallet,
        "totalCrossUnPnl": unrealised,
        "availableBalance": wallet,
        "maxWithdrawAmount": wallet,
        "assets": list(assets),
        "positions": [],
    }


def position_row(**changed: object) -> Row:
    """A cross-margined long of 1.5 ETH with every field of positionRisk v3."""
    return {
        "symbol": "ETHUSDT",
        "positionSide": "BOTH",
        "positionAmt": "1.500",
        "entryPrice": "2000.0",
        "breakEvenPrice": "2001.0",
        "markPrice": "2100.50000000",
        "unRealizedProfit": "150.75000000",
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": "3150.75000000",
        "marginAsset": "USDT",
        "isolatedWallet": "0",
        "initialMargin": "315.07500000",
        "maintMargin": "12.00000000",
        "positionInitialMargin": "315.07500000",
        "openOrderInitialMargin": "0",
        "adl": 2,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": 1700000000000,
    } | changed


def order_row(**changed: object) -> Row:
    """A half-filled reduce-only limit order with every field of openOrders."""
    return {
        "avgPrice": "2200.0",
        "clientOrderId": "bot-1",
        "cumQuote": "1100",
        "executedQty": "0.500",
        "orderId": 8001,
        "origQty": "1.500",
        "origType": "LIMIT",
        "price": "2200.0",
        "reduceOnly": True,
        "side": "SELL",
        "positionSide": "BOTH",
        "status": "PARTIALLY_FILLED",
        "stopPrice": "0",
        "closePosition": False,
        "symbol": "ETHUSDT",
        "time": 1700000000000,
        "timeInForce": "GTC",
        "type": "LIMIT",
        "updateTime": 1700000000000,
    } | changed


def conditional_row(**changed: object) -> Row:
    """A stop that closes a whole short leg, as openAlgoOrders lists it."""
    return {
        "algoId": 9001,
        "clientAlgoId": "bot-stop-1",
        "algoType": "CONDITIONAL",
        "orderType": "STOP_MARKET",
        "symbol": "ETHUSDT",
        "side": "BUY",
        "positionSide": "SHORT",
        "timeInForce": "GTC",
        "quantity": "0",
        "algoStatus": "NEW",
        "actualOrderId": "",
        "triggerPrice": "2500.00",
        "price": "0",
        "closePosition": True,
        "reduceOnly": False,
        "createTime": 1700000000000,
    } | changed


def income_row(**changed: object) -> Row:
    """A funding payment as the income list tells it."""
    return {
        "symbol": "ETHUSDT",
        "incomeType": "FUNDING_FEE",
        "income": "-0.37500000",
        "asset": "USDT",
        "info": "FUNDING_FEE",
        "time": 1700000000000,
        "tranId": 9001,
        "tradeId": "",
    } | changed


def market_row(**changed: object) -> Row:
    """A perpetual whose market orders may be smaller than its limit orders."""
    return {
        "symbol": "ETHUSDT",
        "contractType": "PERPETUAL",
        "status": "TRADING",
        "baseAsset": "ETH",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "1", "maxPrice": "9", "tickSize": "0.1"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.002",
                "maxQty": "120",
                "stepSize": "0.001",
            },
            {"filterType": "MIN_NOTIONAL", "notional": "20"},
        ],
    } | changed


def damaged(row: Row, name: str, value: object) -> Row:
    """The row with one field replaced or taken away."""
    copy = dict(row)
    del copy[name]
    return copy if value is MISSING else copy | {name: value}


ONE_ASSET = asset_row("USDT", "1000", "150.75", "1150.75")
PARSERS: dict[str, tuple[Row, tuple[str, ...], Callable[[Row], object]]] = {
    "account": (
        account_answer(ONE_ASSET, wallet="1000", unrealised="150.75", margin="1150.75"),
        ("assets", "totalWalletBalance", "totalUnrealizedProfit", "totalMarginBalance"),
        lambda row: parse_account(row, is_multi_assets=True),
    ),
    "asset": (
        ONE_ASSET,
        ("walletBalance", "unrealizedProfit", "marginBalance"),
        lambda row: parse_account({"assets": [row]}, is_multi_assets=False),
    ),
    "mode": (
        {"dualSidePosition": False, "multiAssetsMargin": False},
        ("dualSidePosition", "multiAssetsMargin"),
        parse_account_mode,
    ),
    "position": (
        position_row(),
        (
            "positionAmt",
            "positionSide",
            "entryPrice",
            "markPrice",
            "unRealizedProfit",
            "liquidationPrice",
            "isolatedWallet",
            "isolatedMargin",
        ),
        lambda row: parse_positions([row], bases={}),
    ),
    "order": (
        order_row(),
        ("side", "positionSide", "origQty", "executedQty", "reduceOnly", "closePosition"),
        lambda row: parse_orders([row], scope=SCOPE),
    ),
    "conditional": (
        conditional_row(closePosition=False, quantity="1"),
        ("side", "positionSide", "quantity", "reduceOnly"),
        lambda row: parse_conditional_orders([row], scope=SCOPE),
    ),
    "income": (income_row(), ("income", "time"), lambda row: parse_income([row])),
    "mark": (
        {"symbol": "ETHUSDT", "markPrice": "2100.5", "time": 1},
        ("markPrice",),
        lambda row: parse_marks(row, wanted={"ETHUSDT"}),
    ),
    "index": (
        {"symbol": "BNBUSD", "index": "600.1"},
        ("index",),
        lambda row: parse_asset_prices([row], wanted={BNB}),
    ),
}
NAMES: tuple[tuple[str, Row, str, Callable[[Row], object]], ...] = (
    ("asset", ONE_ASSET, "asset", PARSERS["asset"][2]),
    ("position", position_row(), "symbol", PARSERS["position"][2]),
    ("position", position_row(), "marginAsset", PARSERS["position"][2]),
    ("order", order_row(), "orderId", PARSERS["order"][2]),
    ("order", order_row(), "symbol", PARSERS["order"][2]),
    ("order", order_row(), "type", PARSERS["order"][2]),
    ("conditional", conditional_row(), "algoId", PARSERS["conditional"][2]),
    ("conditional", conditional_row(), "orderType", PARSERS["conditional"][2]),
    ("income", income_row(), "incomeType", PARSERS["income"][2]),
    ("income", income_row(), "asset", PARSERS["income"][2]),
    ("income", income_row(), "tranId", PARSERS["income"][2]),
    ("market", market_row(), "symbol", parse_market),
    ("market", market_row(), "baseAsset", parse_market),
    ("market", market_row(), "status", parse_market),
    ("market", market_row(), "filters", parse_market),
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
    """A row without its asset, symbol or id cannot be attributed to anything."""
    _parser, row, name, parse = NAMES[case]
    parse(row)
    with pytest.raises(Malformed, match=name):
        parse(damaged(row, name, DAMAGE[damage]))


@pytest.mark.parametrize("answer", [None, "", "<html>", 0, [], {}, {"code": 0}, [None], ["x"]])
def test_an_answer_of_the_wrong_shape_is_malformed(answer: object) -> None:
    """A page, null or an object in place of a list is no account, no position list, no income."""
    with pytest.raises(Malformed):
        parse_account(answer, is_multi_assets=False)
    with pytest.raises(Malformed):
        parse_account_mode(answer)
    with pytest.raises(Malformed):
        parse_market_limits(answer)
    if answer != []:
        for parse in (
            lambda: parse_positions(answer, bases={}),
            lambda: parse_orders(answer, scope=SCOPE),
            lambda: parse_conditional_orders(answer, scope=SCOPE),
            lambda: parse_income(answer),
        ):
            with pytest.raises(Malformed):
                parse()


def test_single_asset_mode_adds_up_every_asset() -> None:
    """The venue's totals count USDT alone there; a loss in USDC would be invisible in them."""
    answer = account_answer(
        asset_row("USDT", "1000", "50", "1050"),
        asset_row("USDC", "500", "-200", "300"),
        asset_row("BNB", "2", "0", "2"),
        wallet="1000",
        unrealised="50",
        margin="1050",
    )
    account = parse_account(answer, is_multi_assets=False)
    assert account.unstable_assets(STABLES) == (BNB,)
    value = value_account(account, stables=STABLES, prices={BNB: 600.0})
    assert value.equity == 1050 + 300 + 2 * 600
    assert value.wallet == 1000 + 500 + 2 * 600
    assert value.unrealised_pnl == 50 - 200
    assert value.wallet + value.unrealised_pnl == value.equity
    assert value.coins == (Coin(asset=BNB, quantity=Decimal(2), price=600.0),)


def test_multi_assets_mode_believes_the_totals() -> None:
    """There the venue's totals are in USD over all assets; an unpriced coin is no row."""
    answer = account_answer(
        asset_row("USDT", "1000", "-150", "850"),
        asset_row("BNB", "2", "0", "2"),
        asset_row("ODD", "7", "0", "7"),
        wallet="2205",
        unrealised="-150",
        margin="2055",
    )
    value = value_account(
        parse_account(answer, is_multi_assets=True), stables=STABLES, prices={BNB: 600.0}
    )
    assert (value.equity, value.wallet, value.unrealised_pnl) == (2055, 2205, -150)
    assert [coin.asset for coin in value.coins] == [BNB]


def test_an_asset_without_a_price_is_malformed_in_single_asset_mode() -> None:
    """Leaving it out would be a loss, taking it as 1 a gain."""
    account = parse_account({"assets": [asset_row("ODD", "7", "0", "7")]}, is_multi_assets=False)
    with pytest.raises(Malformed, match="ODD"):
        value_account(account, stables=STABLES, prices={})


def test_a_listed_zero_is_an_honest_zero() -> None:
    """An account that lists its assets with zero balances is empty."""
    account = parse_account({"assets": [asset_row("USDT", "0", "0", "0")]}, is_multi_assets=False)
    assert value_account(account, stables=STABLES, prices={}).equity == 0
    empty = account_answer(wallet="0.00000000", unrealised="0", margin="0")
    assert value_account(
        parse_account(empty, is_multi_assets=False), stables=STABLES, prices={}
    ) == value_account(account, stables=STABLES, prices={})


@pytest.mark.parametrize(
    "answer",
    [
        {"assets": []},
        account_answer(wallet="5", unrealised="0", margin="5"),
        account_answer(wallet="5", unrealised="-5", margin="0"),
        {"assets": [ONE_ASSET, ONE_ASSET]},
    ],
)
def test_a_truncated_account_is_never_zero(answer: Row) -> None:
    """No assets without totals, or against totals that are not zero, is no empty account."""
    with pytest.raises(Malformed):
        parse_account(answer, is_multi_assets=False)


def test_dates_are_of_each_asset_and_leg_and_a_date_of_none_is_left_out() -> None:
    """Milliseconds of the venue; they only help to know an old answer, so that none fails one."""
    told = [1_700_000_000_123, "1700000000456", 0, None, "soon", MISSING, "9" * 400]
    assets = [with_date({"asset": f"A{n}"}, at) for n, at in enumerate(told)]
    legs = [
        with_date({"symbol": "BTCUSDT", "positionSide": side}, 1_700_000_001_000 + n)
        for n, side in enumerate(("LONG", "SHORT"))
    ]
    assert dict(parse_changes(assets, legs)) == {
        "A0": 1_700_000_000.123,
        "A1": 1_700_000_000.456,
        "BTCUSDT LONG": 1_700_000_001.0,
        "BTCUSDT SHORT": 1_700_000_001.001,
    }


def with_date(row: Row, at: object) -> Row:
    """A row that was changed then."""
    return row if at is MISSING else row | {"updateTime": at}


def test_one_way_positions_take_their_side_from_the_sign() -> None:
    """Quantities stay exact, rows of zero are dropped, 0 is no liquidation price."""
    long, short = parse_positions(
        [
            position_row(),
            position_row(symbol="XRPUSDT", positionAmt="-0.100000000000000001"),
            position_row(symbol="ADAUSDT", positionAmt="0.000", entryPrice="0.0", markPrice="0"),
        ],
        bases={Symbol("ETHUSDT"): Asset("ETH")},
    )
    assert (long.side, long.quantity, long.base) == (Side.LONG, Decimal("1.500"), "ETH")
    assert (long.entry_price, long.mark_price, long.unrealised_pnl) == (2000, 2100.5, 150.75)
    assert (long.liquidation_price, long.margin_mode, long.margin) == (
        None,
        MarginMode.CROSS,
        315.075,
    )
    assert (short.side, short.quantity) == (Side.SHORT, Decimal("0.100000000000000001"))
    assert short.base == "XRP"


def test_hedge_positions_take_their_side_from_the_leg() -> None:
    """Both legs of a symbol stand side by side; the short's amount is negative."""
    rows = [
        position_row(positionSide="LONG", positionAmt="2"),
        position_row(positionSide="SHORT", positionAmt="-3"),
    ]
    legs = {p.side: p.quantity for p in parse_positions(rows, bases={})}
    assert legs == {Side.LONG: Decimal(2), Side.SHORT: Decimal(3)}
    assert position_mode_shown(rows) is PositionMode.HEDGE
    assert position_mode_shown([position_row()]) is PositionMode.ONE_WAY
    assert position_mode_shown([position_row(positionAmt="0")]) is None


@pytest.mark.parametrize(
    "rows",
    [
        [position_row(positionSide="LONG", positionAmt="-1")],
        [position_row(positionSide="SHORT", positionAmt="1")],
        [position_row(positionSide="NET")],
        [position_row(), position_row()],
        [position_row(entryPrice="-1")],
        [position_row(entryPrice="0.0", markPrice="0")],
        [position_row(markPrice="0", unRealizedProfit="-3000")],
        [position_row(positionAmt="1e400")],
        [position_row(positionAmt="1_000")],
        [position_row(positionAmt=1.5)],
        [position_row(positionAmt=True)],
        [position_row(markPrice="Infinity")],
        [position_row(unRealizedProfit=10**400)],
    ],
)
def test_a_position_that_contradicts_itself_is_malformed(rows: list[Row]) -> None:
    """A wrong sign, an unknown leg, a second row, or a price of 0 is a damaged answer."""
    with pytest.raises(Malformed):
        parse_positions(rows, bases={})


def test_a_price_of_0_is_what_the_other_price_and_the_profit_say() -> None:
    """Mark 2,000 + 150.75 / 1.5 = 2,100.5; entry 2,100.5 - 100.5 = 2,000; a short mirrored."""
    (unmarked,) = parse_positions([position_row(markPrice="0.00000000")], bases={})
    assert (unmarked.entry_price, unmarked.mark_price) == (2000.0, 2100.5)
    (unentered,) = parse_positions([position_row(entryPrice="0.0")], bases={})
    assert (unentered.entry_price, unentered.mark_price) == (2000.0, 2100.5)
    (short,) = parse_positions([position_row(positionAmt="-1.5", markPrice="0")], bases={})
    assert short.mark_price == 1899.5


def test_an_isolated_position_is_backed_by_the_margin_set_aside() -> None:
    """The margin without profit: with it 300 can be lost, although 449 are left at the moment."""
    (position,) = parse_positions(
        [position_row(isolatedWallet="300", isolatedMargin="449.25", liquidationPrice="1810.5")],
        bases={},
    )
    assert (position.margin_mode, position.margin) == (MarginMode.ISOLATED, 300)
    assert position.liquidation_price == 1810.5
    (unknown,) = parse_positions([damaged(position_row(), "initialMargin", MISSING)], bases={})
    assert unknown.margin is None


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("NEWUSDT", "NEW"),
        ("1000PEPEUSDC", "1000PEPE"),
        ("BTCUSDT_260327", "BTC"),
        ("ETHBTC", "ETH"),
        ("ODD", "ODD"),
        ("USDT", "USDT"),
    ],
)
def test_the_base_of_an_unlisted_symbol_is_its_spelling_without_the_quote(
    symbol: str, base: str
) -> None:
    """A listing that the market list does not know yet can still be netted and closed."""
    assert base_of(Symbol(symbol)) == base


def test_a_regular_order_shows_what_is_still_unfilled() -> None:
    """1.5 ordered, 0.5 executed: 1 may still fill; a price of 0 is no price."""
    (order,) = parse_orders([order_row()], scope=SCOPE)
    assert (order.quantity, order.reduce_only, order.close_position) == (Decimal(1), True, False)
    assert (order.kind, order.side, order.position_side) == (
        OrderKind.REGULAR,
        OrderSide.SELL,
        None,
    )
    assert (order.price, order.trigger_price) == (Decimal(2200), None)
    assert (order.order_id, order.client_id) == ("8001", "bot-1")


def test_a_conditional_order_that_closes_the_position_has_no_quantity() -> None:
    """Close-position orders carry 0 and act on a leg."""
    (order,) = parse_conditional_orders([conditional_row()], scope=SCOPE)
    assert (order.kind, order.close_position, order.quantity) == (
        OrderKind.CONDITIONAL,
        True,
        Decimal(0),
    )
    assert (order.position_side, order.order_type) == (Side.SHORT, "STOP_MARKET")
    assert (order.price, order.trigger_price) == (None, Decimal(2500))


def test_a_conditional_order_may_leave_out_close_position_if_it_names_a_quantity() -> None:
    """Without either, nobody can say what it will do; the type may stand under its short name."""
    row = damaged(conditional_row(quantity="0.5"), "closePosition", MISSING)
    row = damaged(row, "orderType", MISSING) | {"type": "STOP_MARKET"}
    (order,) = parse_conditional_orders([row], scope=SCOPE)
    assert (order.close_position, order.quantity) == (False, Decimal("0.5"))
    with pytest.raises(Malformed, match="closePosition"):
        parse_conditional_orders([row | {"quantity": "0"}], scope=SCOPE)


@pytest.mark.parametrize("change", [{"executedQty": "2"}, {"side": "HOLD"}, {"positionSide": "X"}])
def test_an_order_that_makes_no_sense_is_malformed(change: Row) -> None:
    """More executed than ordered, or a side that is none."""
    with pytest.raises(Malformed):
        parse_orders([order_row(**change)], scope=SCOPE)


@pytest.mark.parametrize(
    ("income_type", "kind"),
    [
        ("TRANSFER", LedgerKind.TRANSFER),
        ("INTERNAL_TRANSFER", LedgerKind.TRANSFER),
        ("CROSS_COLLATERAL_TRANSFER", LedgerKind.TRANSFER),
        ("COIN_SWAP_DEPOSIT", LedgerKind.TRANSFER),
        ("COIN_SWAP_WITHDRAW", LedgerKind.TRANSFER),
        ("STRATEGY_UMFUTURES_TRANSFER", LedgerKind.TRANSFER),
        ("WELCOME_BONUS", LedgerKind.BONUS),
        ("REFERRAL_KICKBACK", LedgerKind.BONUS),
        ("API_REBATE", LedgerKind.BONUS),
        ("CONTEST_REWARD", LedgerKind.BONUS),
        ("COMMISSION_REBATE", LedgerKind.BONUS),
        ("CASHBACK", LedgerKind.BONUS),
        ("FUNDING_FEE", LedgerKind.FUNDING),
        ("COMMISSION", LedgerKind.FEE),
        ("REALIZED_PNL", LedgerKind.REALISED),
        ("INSURANCE_CLEAR", LedgerKind.LIQUIDATION),
        ("AUTO_EXCHANGE", LedgerKind.OTHER),
        ("SOMETHING_NEW", LedgerKind.OTHER),
    ],
)
def test_income_types_say_what_a_record_is_about(income_type: str, kind: LedgerKind) -> None:
    """Transfers and bonuses are flows, an unknown type is never one."""
    (row,) = parse_income([income_row(incomeType=income_type)])
    assert row.kind is kind
    assert row.kind.is_flow == (kind in (LedgerKind.TRANSFER, LedgerKind.BONUS))
    assert row.to_entry(scope=SCOPE, at=12.5, price=2.0).amount == -0.75


def test_records_of_one_trade_are_told_apart() -> None:
    """A trade leaves a result and a fee with one transaction id, in one millisecond."""
    rows = parse_income(
        [
            income_row(incomeType="REALIZED_PNL", tranId="7", tradeId="3"),
            income_row(incomeType="COMMISSION", tranId="7", tradeId=3),
            income_row(incomeType="COMMISSION", tranId="7", tradeId=4),
            income_row(incomeType="COMMISSION", tranId="7", tradeId=3, asset="BNB"),
        ]
    )
    assert len({row.record_id for row in rows}) == 4
    assert rows[0].symbol == "ETHUSDT"
    assert parse_income([income_row(symbol="", incomeType="TRANSFER")])[0].symbol is None
    assert len(LEDGER_KINDS) > 15


def test_a_market_order_satisfies_both_lot_filters() -> None:
    """The smaller maximum (120 of 1000) and the larger minimum (0.002 of 0.001) count."""
    market = parse_market(market_row())
    assert (market.step, market.min_quantity) == (Decimal("0.001"), Decimal("0.002"))
    assert (market.market_max, market.min_notional) == (Decimal(120), Decimal(20))
    assert (market.base, market.quote, market.is_tradable) == ("ETH", "USDT", True)
    assert market.reduce_only_waives_min_notional
    assert not parse_market(market_row(status="SETTLING")).is_tradable
    delivery = parse_market(market_row(symbol="ETHUSDT_260327", contractType="CURRENT_QUARTER"))
    assert delivery.symbol == "ETHUSDT_260327"


@pytest.mark.parametrize("name", ["LOT_SIZE", "MARKET_LOT_SIZE", "MIN_NOTIONAL"])
def test_one_odd_market_does_not_hide_the_others(name: str) -> None:
    """It is left out; only an answer without any readable market is Malformed."""
    filters = [rule for rule in market_row()["filters"] if rule["filterType"] != name]
    odd = market_row(symbol="ODDUSDT", filters=filters)
    assert list(parse_market_limits({"symbols": [odd, market_row()]})) == ["ETHUSDT"]
    with pytest.raises(Malformed, match=name):
        parse_market_limits({"symbols": [odd]})
    no_step = [dict(rule, stepSize="0") for rule in market_row()["filters"]]
    with pytest.raises(Malformed, match="stepSize"):
        parse_market(market_row(filters=no_step))


def test_only_wanted_marks_are_judged() -> None:
    """A neighbour's odd value cannot blind the guard, and a mark of 0 is no price."""
    answer = [
        {"symbol": "ETHUSDT", "markPrice": "2100.5"},
        {"symbol": "ODDUSDT", "markPrice": ""},
        {"symbol": "NEWUSDT", "markPrice": "0.00000000"},
    ]
    assert parse_marks(answer, wanted={"ETHUSDT", "NEWUSDT"}) == {"ETHUSDT": 2100.5}
    index = [{"symbol": "BNBUSD", "index": "600"}, {"symbol": "ODDUSD", "index": None}]
    assert parse_asset_prices(index, wanted={BNB}) == {"BNB": 600}


OURS = ClientOrderId("ks-1")


@pytest.mark.parametrize(
    ("change", "is_lookup", "expected"),
    [
        ({"status": "FILLED", "executedQty": "1.5"}, False, Decimal("1.5")),
        ({"status": "EXPIRED", "executedQty": "0.5"}, False, Decimal("0.5")),
        ({"status": "EXPIRED", "executedQty": "0"}, False, Decimal(0)),
        ({"status": "NEW", "executedQty": "0"}, False, None),
        ({"status": "FILLED", "executedQty": ""}, False, None),
        ({"status": "FILLED", "executedQty": "NaN"}, False, None),
        ({"status": "FILLED", "executedQty": "1.5", "clientOrderId": None}, False, Decimal("1.5")),
        ({"status": "NEW", "executedQty": "0"}, True, Decimal(0)),
        ({"status": "CANCELED", "executedQty": "0.2"}, True, Decimal("0.2")),
        ({"status": "PARTIALLY_FILLED", "executedQty": "0.2"}, True, Decimal("0.2")),
    ],
)
def test_an_order_answer_with_its_id_is_done(
    change: Row, is_lookup: bool, expected: Decimal | None
) -> None:
    """Filled says what was executed, None where the venue has not told yet."""
    answer = order_row(clientOrderId=OURS) | change
    outcome = judge_order(answer, client_id=OURS, is_lookup=is_lookup)
    assert outcome == Done(order_id=outcome.order_id, filled=expected)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("answer", "is_lookup"),
    [
        ({}, False),
        (None, False),
        ([], False),
        (order_row(clientOrderId=OURS) | {"status": ["FILLED"]}, True),
        ("<html></html>", False),
        (damaged(order_row(clientOrderId=OURS), "orderId", MISSING), False),
        (order_row(clientOrderId=OURS, orderId=None), False),
        (order_row(clientOrderId=OURS, orderId=0), False),
        (order_row(clientOrderId="another"), False),
        (order_row(clientOrderId=7), False),
        (order_row(clientOrderId=OURS, status=None), True),
        (order_row(clientOrderId=OURS, executedQty=None), True),
        (order_row(clientOrderId="another"), True),
    ],
)
def test_an_order_answer_without_proof_is_unknown(answer: object, is_lookup: bool) -> None:
    """No id, no success: an empty body with status 200 has fooled others (lesson 24)."""
    assert isinstance(judge_order(answer, client_id=OURS, is_lookup=is_lookup), Unknown)


@given(st.decimals(min_value="1e-12", max_value="1e12", allow_nan=False, places=10))
@settings(max_examples=100)
def test_a_quantity_is_written_exactly_and_plainly(quantity: Decimal) -> None:
    """The text means the same number, without exponent or trailing zeros, and reads back."""
    text = plain_text(quantity)
    assert Decimal(text) == quantity
    assert "E" not in text.upper()
    assert not ("." in text and text.endswith(("0", ".")))
    assert required_decimal({"q": text}, "q", "test") == quantity


@pytest.mark.parametrize(
    ("quantity", "text"),
    [("1E+3", "1000"), ("5001.00", "5001"), ("100", "100"), ("1E-7", "0.0000001")],
)
def test_trailing_zeros_and_exponents_never_reach_the_venue(quantity: str, text: str) -> None:
    """`5001.00` at a step of 1 is refused for its precision."""
    assert plain_text(Decimal(quantity)) == text


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
    row, names, parse = PARSERS[parser]
    name = data.draw(st.sampled_from(names))
    try:
        parse(damaged(row, name, value))
    except Malformed as malformed:
        assert len(str(malformed)) < 200
        assert json.dumps(str(malformed))
