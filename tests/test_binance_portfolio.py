"""What Binance's portfolio-margin answers mean, field by field."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from errors import Malformed
from model import (
    Asset,
    Coin,
    Done,
    LedgerKind,
    MarginMode,
    OrderKind,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from tests.test_binance_parsing import MISSING, Row, damaged, order_row
from venues.binance_account import cross_backing, parse_positions, parse_sizes
from venues.binance_errors import is_key_refused
from venues.binance_orders import judge_cancel
from venues.binance_pacing import (
    DEFAULT_RATES,
    ELSEWHERE,
    ORDERS_1M,
    ORDERS_10S,
    PORTFOLIO_WEIGHT_1M,
    WEIGHT_1M,
    cost_of,
    kept_as,
)
from venues.binance_portfolio import (
    INTO,
    OUT_OF,
    parse_equity,
    parse_is_portfolio,
    parse_pots,
    parse_transfers,
    unstable_assets,
    value_portfolio,
)
from venues.binance_records import parse_orders
from venues.failure import Failure

STABLES = frozenset({Asset("USDT"), Asset("USDC")})
BTC = Asset("BTC")
SCOPE = ScopeId("binance_futures")
DAMAGES: tuple[object, ...] = (MISSING, None, "", "many", [], True)


def portfolio_answer(equity: str = "1150.75") -> Row:
    """An account answer with every field; coins count a tenth less in `accountEquity`."""
    return {
        "uniMMR": "12.50000000",
        "accountEquity": "1000.00000000",
        "actualEquity": equity,
        "accountInitialMargin": "315.07500000",
        "accountMaintMargin": "12.00000000",
        "accountStatus": "NORMAL",
        "virtualMaxWithdrawAmount": "600.00000000",
        "totalAvailableBalance": "",
        "totalMarginOpenLoss": "",
        "updateTime": 1700000000000,
    }


def pot_row(asset: str = "USDT", wallet: str = "1000", **changed: object) -> Row:
    """One asset of the wallet with every field, without a loan."""
    return {
        "asset": asset,
        "totalWalletBalance": wallet,
        "crossMarginAsset": wallet,
        "crossMarginBorrowed": "0.00000000",
        "crossMarginFree": wallet,
        "crossMarginInterest": "0.00000000",
        "crossMarginLocked": "0.00000000",
        "umWalletBalance": "0.00000000",
        "umUnrealizedPNL": "0.00000000",
        "cmWalletBalance": "0.00000000",
        "cmUnrealizedPNL": "",
        "updateTime": 1700000000000,
        "negativeBalance": "0",
    } | changed


def um_row(**changed: object) -> Row:
    """A long of 1.5 ETH with every field of `um/positionRisk`."""
    return {
        "entryPrice": "2000.00000",
        "leverage": "10",
        "markPrice": "2100.50000000",
        "maxNotionalValue": "20000000",
        "positionAmt": "1.500",
        "notional": "3150.75000000",
        "symbol": "ETHUSDT",
        "unRealizedProfit": "150.75000000",
        "liquidationPrice": "0",
        "positionSide": "BOTH",
        "updateTime": 1700000000000,
    } | changed


def transfer_row(number: int = 1, **changed: object) -> Row:
    """A transfer of 250 USDT into the account."""
    return {
        "asset": "USDT",
        "amount": "250",
        "type": INTO,
        "status": "CONFIRMED",
        "tranId": number,
        "timestamp": 1700000000000 + number,
    } | changed


def um_order_row(**changed: object) -> Row:
    """A resting order as portfolio margin lists it: no word of stops and of closing all."""
    kept = order_row(**changed)
    for name in ("closePosition", "stopPrice", "workingType", "priceProtect"):
        kept.pop(name, None)
    return kept


# --- the account ------------------------------------------------------------------------------


def test_equity_is_the_one_without_haircuts() -> None:
    """`actualEquity` moves with the full value of coins, `accountEquity` with a part of it."""
    assert parse_equity(portfolio_answer("1150.75")) == 1150.75
    assert parse_equity(portfolio_answer("0")) == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_equity_that_is_not_told_is_never_zero(damage: object) -> None:
    """Nor is the other one taken in its place."""
    with pytest.raises(Malformed, match="actualEquity"):
        parse_equity(damaged(portfolio_answer(), "actualEquity", damage))


def test_a_loan_and_its_interest_are_no_property() -> None:
    """2 BTC free, 0.7 locked, 0.2 and 0.1 in futures; 1.2 borrowed, 0.05 interest: 1.75 owned."""
    changes = {
        "crossMarginLocked": "0.7",
        "umWalletBalance": "0.2",
        "cmWalletBalance": "0.1",
        "crossMarginBorrowed": "1.2",
        "crossMarginInterest": "0.05",
    }
    for asset in ("1.45", "2.7"):
        row = pot_row("BTC", "2", **changes) | {"crossMarginAsset": asset}
        (pot,) = parse_pots([row])
        assert (pot.owned, pot.owed) == (Decimal("1.75"), Decimal("1.25"))


@pytest.mark.parametrize(
    "name",
    [
        "asset",
        "crossMarginFree",
        "crossMarginLocked",
        "umWalletBalance",
        "cmWalletBalance",
        "crossMarginBorrowed",
        "crossMarginInterest",
    ],
)
@pytest.mark.parametrize("damage", [MISSING, None, "", [], True])
def test_a_wallet_that_is_not_told_is_malformed(name: str, damage: object) -> None:
    """Missing is not zero, of what is held and of what is owed."""
    with pytest.raises(Malformed, match=name):
        parse_pots([damaged(pot_row(), name, damage)])


@pytest.mark.parametrize("answer", [None, {}, "", [None], [pot_row(), pot_row()]])
def test_a_wallet_of_another_shape_is_malformed(answer: object) -> None:
    """Also one that lists an asset twice."""
    with pytest.raises(Malformed):
        parse_pots(answer)


@pytest.mark.parametrize("damage", [MISSING, None, ""])
def test_profit_that_is_left_empty_is_unknown_and_not_zero(damage: object) -> None:
    """The account's own equity is known all the same."""
    pots = parse_pots([pot_row(), damaged(pot_row("USDC"), "umUnrealizedPNL", damage)])
    value = value_portfolio(1000.0, pots, stables=STABLES, prices={})
    assert (value.equity, value.unrealised_pnl) == (1000.0, None)


def test_profit_of_nonsense_is_malformed() -> None:
    """Something stands there, and it is no number."""
    with pytest.raises(Malformed, match="umUnrealizedPNL"):
        parse_pots([pot_row(umUnrealizedPNL="many")])


def test_profit_is_added_up_over_the_assets_it_is_made_in() -> None:
    """150 USDT and 0.01 BTC at 60,000: 750. Without a price of BTC it is unknown."""
    pots = parse_pots([pot_row(umUnrealizedPNL="150"), pot_row("BTC", "1", umUnrealizedPNL="0.01")])
    for prices, expected in (({BTC: 60_000.0}, 750.0), ({}, None)):
        value = value_portfolio(61_750.0, pots, stables=STABLES, prices=prices)
        assert value.unrealised_pnl == expected


def test_coins_and_debts_of_coins_are_rows_and_stables_are_none() -> None:
    """2 BTC held; 10 ETH owed, which gain when ETH falls."""
    pots = parse_pots(
        [
            pot_row("USDT", "-500", crossMarginBorrowed="20"),
            pot_row("BTC", "2"),
            pot_row("ETH", "0", crossMarginBorrowed="10"),
            pot_row("BNB", "0"),
        ]
    )
    assert unstable_assets(pots, STABLES) == ("BTC", "ETH")
    prices = {BTC: 60_000.0, Asset("ETH"): 2_000.0}
    value = value_portfolio(99_480.0, pots, stables=STABLES, prices=prices)
    assert value.coins == (
        Coin(asset=BTC, quantity=Decimal(2), price=60_000.0),
        Coin(asset=Asset("ETH"), quantity=Decimal(-10), price=2_000.0),
    )


def test_a_coin_without_a_price_is_in_the_equity_alone() -> None:
    """What it is worth the venue knows."""
    pots = parse_pots([pot_row("ODD", "7")])
    value = value_portfolio(70.0, pots, stables=STABLES, prices={})
    assert (value.equity, value.coins) == (70.0, ())


def test_the_wallet_is_not_told_as_one_figure() -> None:
    """The venue defines no total of it, so that nothing is checked against one."""
    value = value_portfolio(1000.0, parse_pots([pot_row()]), stables=STABLES, prices={})
    assert value.wallet is None
    assert value.coin_weight == 1.0


def test_an_empty_wallet_is_empty_only_with_an_equity_of_zero() -> None:
    """Beside an equity it is a truncated list."""
    assert value_portfolio(0.0, (), stables=STABLES, prices={}).equity == 0
    with pytest.raises(Malformed, match="no asset"):
        value_portfolio(5.0, (), stables=STABLES, prices={})


@pytest.mark.parametrize("is_portfolio", [True, False])
def test_the_owners_settings_say_what_kind_of_account_it_is(*, is_portfolio: bool) -> None:
    """A flag, and nothing else is one."""
    row = {"vipLevel": 0, "isPortfolioMarginRetailEnabled": is_portfolio}
    assert parse_is_portfolio(row) is is_portfolio
    for damage in (MISSING, None, "", 1):
        with pytest.raises(Malformed, match="isPortfolioMarginRetailEnabled"):
            parse_is_portfolio(damaged(row, "isPortfolioMarginRetailEnabled", damage))


# --- positions and orders ---------------------------------------------------------------------


def test_a_position_is_backed_by_the_whole_account() -> None:
    """3,150.75 of value at a leverage of 10: 315.075 of margin; nothing is set aside for it."""
    (position,) = parse_positions([um_row()], bases={}, backing=cross_backing)
    assert (position.symbol, position.side, position.quantity) == (
        Symbol("ETHUSDT"),
        Side.LONG,
        Decimal("1.500"),
    )
    assert (position.margin_mode, position.margin) == (MarginMode.CROSS, 315.075)
    assert (position.margin_asset, position.base) == ("USDT", "ETH")
    assert (position.entry_price, position.mark_price) == (2000.0, 2100.5)
    assert position.liquidation_price is None


def test_a_short_and_a_liquidation_price_are_read() -> None:
    """The sign is the side; the price is told where there is one."""
    row = um_row(positionAmt="-2", notional="-4201", unRealizedProfit="-201", leverage="20")
    (position,) = parse_positions(
        [row | {"liquidationPrice": "2300"}], bases={}, backing=cross_backing
    )
    assert (position.side, position.quantity) == (Side.SHORT, Decimal(2))
    assert (position.margin, position.liquidation_price) == (210.05, 2300.0)


@pytest.mark.parametrize("name", ["leverage", "notional", "liquidationPrice"])
@pytest.mark.parametrize("damage", [MISSING, None, ""])
def test_what_only_informs_may_be_left_out(name: str, damage: object) -> None:
    """A position is guarded without it."""
    (position,) = parse_positions(
        [damaged(um_row(), name, damage)], bases={}, backing=cross_backing
    )
    assert position.quantity == Decimal("1.500")
    assert position.margin in (None, 315.075)


@pytest.mark.parametrize("name", ["symbol", "positionAmt", "positionSide"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_position_is_may_not_be_left_out(name: str, damage: object) -> None:
    """Neither for a reading nor for closing."""
    if name == "symbol" and damage == "many":
        damage = 1.5
    for read in (parse_positions, parse_sizes):
        with pytest.raises(Malformed, match="positionRisk"):
            read([damaged(um_row(), name, damage)], bases={}, backing=cross_backing)


@pytest.mark.parametrize("name", ["entryPrice", "markPrice", "unRealizedProfit", "leverage"])
def test_odd_figures_keep_no_position_from_being_closed(name: str) -> None:
    """A reading is Malformed; what closes are sized by is the size alone."""
    row = um_row(**{name: "many"})
    with pytest.raises(Malformed):
        parse_positions([row], bases={}, backing=cross_backing)
    (position,) = parse_sizes([row], bases={}, backing=cross_backing)
    assert (position.side, position.quantity) == (Side.LONG, Decimal("1.500"))


def test_flat_rows_are_no_positions() -> None:
    """Portfolio margin lists them too."""
    assert parse_positions([um_row(positionAmt="0.000")], bases={}, backing=cross_backing) == ()


def test_a_regular_order_of_portfolio_margin_closes_no_whole_position() -> None:
    """It has no such field; elsewhere an order that lacks it is not understood."""
    (order,) = parse_orders([um_order_row()], scope=SCOPE, tells_closers=False)
    assert (order.kind, order.close_position, order.quantity) == (
        OrderKind.REGULAR,
        False,
        Decimal("1.000"),
    )
    assert order.trigger_price is None
    with pytest.raises(Malformed, match="closePosition"):
        parse_orders([um_order_row()], scope=SCOPE)


def test_an_order_that_tells_is_believed_wherever_it_is() -> None:
    """A field that appears one day is not passed over."""
    row = um_order_row() | {"closePosition": True}
    (order,) = parse_orders([row], scope=SCOPE, tells_closers=False)
    assert order.close_position


@pytest.mark.parametrize(
    ("answer", "is_done"),
    [
        ({"complete": True}, True),
        ({"code": 200, "msg": "success"}, True),
        ({"code": "200", "msg": "done"}, True),
        ({"algoId": 77}, True),
        ({"complete": False}, False),
        ({"complete": "true"}, False),
        ({"algoId": 78}, False),
        ({}, False),
        ([], False),
    ],
)
def test_a_cancel_is_done_only_where_the_answer_says_so(answer: object, *, is_done: bool) -> None:
    """Everything else proves nothing."""
    outcome = judge_cancel(answer, order_id=VenueOrderId("77"))
    assert isinstance(outcome, Done if is_done else Unknown)


# --- transfers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "amount"), [(INTO, 250.0), (OUT_OF, -250.0)])
def test_a_transfer_is_a_flow_of_its_direction(direction: str, amount: float) -> None:
    """The venue writes every amount above zero."""
    page = parse_transfers(
        {"total": 1, "rows": [transfer_row(type=direction)]}, direction=direction
    )
    (row,) = page.rows
    assert (row.kind, row.amount, row.asset) == (LedgerKind.TRANSFER, amount, "USDT")
    assert (row.record_id, row.at_ms) == (f"{direction}:1", 1700000000001)
    assert (page.listed, page.total) == (1, 1)


def test_no_transfer_at_all_is_an_answer_without_a_list() -> None:
    """A total of 0 says what the list would."""
    page = parse_transfers({"total": 0}, direction=INTO)
    assert (page.rows, page.listed, page.total) == ((), 0, 0)


def test_a_transfer_that_has_not_moved_is_listed_and_no_flow() -> None:
    """One is under way, one failed; the page counts them all the same."""
    rows = [transfer_row(n, status=status) for n, status in enumerate(("PENDING", "FAILED"))]
    page = parse_transfers({"total": 3, "rows": rows}, direction=INTO)
    assert (page.rows, page.listed, page.total) == ((), 2, 3)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"total": 1},
        {"rows": []},
        {"total": "", "rows": []},
        {"total": 1, "rows": [transfer_row(status="REVERTED")]},
        {"total": 1, "rows": [transfer_row(type=OUT_OF)]},
        {"total": 1, "rows": [transfer_row(amount="-250")]},
        *(
            {"total": 1, "rows": [damaged(transfer_row(), name, damage)]}
            for name in transfer_row()
            for damage in (MISSING, None, "")
        ),
    ],
)
def test_a_transfer_that_is_not_understood_is_malformed(answer: object) -> None:
    """A flow that is passed over is a loss that nobody made, or a gain."""
    with pytest.raises(Malformed, match="transfer"):
        parse_transfers(answer, direction=INTO)


# --- pace and refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "cost"),
    [
        ("papiPostUmOrder", {ORDERS_10S: 1, ORDERS_1M: 1}),
        ("papiGetAccount", {PORTFOLIO_WEIGHT_1M: 20}),
        ("papiGetBalance", {PORTFOLIO_WEIGHT_1M: 20}),
        ("papiGetUmPositionRisk", {PORTFOLIO_WEIGHT_1M: 5}),
        ("papiGetUmOpenOrders", {PORTFOLIO_WEIGHT_1M: 40}),
        ("papiGetUmAlgoOpenAlgoOrders", {PORTFOLIO_WEIGHT_1M: 40}),
        ("papiGetUmIncome", {PORTFOLIO_WEIGHT_1M: 30}),
        ("papiDeleteUmAllOpenOrders", {PORTFOLIO_WEIGHT_1M: 1}),
        ("sapiGetAssetTransfer", {WEIGHT_1M: 1}),
        ("fapiPrivateV3GetAccount", {WEIGHT_1M: 5}),
    ],
)
def test_portfolio_margin_has_an_allowance_of_its_own(endpoint: str, cost: dict[str, int]) -> None:
    """Weights as published; an order weighs nothing and is counted."""
    assert cost_of(endpoint, {}) == cost


@pytest.mark.parametrize(
    ("url", "name", "kept"),
    [
        ("https://papi.binance.com/papi/v1/account?x=1", WEIGHT_1M, PORTFOLIO_WEIGHT_1M),
        ("http://127.0.0.1:1/papi.binance.com/papi/v1/balance", WEIGHT_1M, PORTFOLIO_WEIGHT_1M),
        ("https://papi.binance.com/papi/v1/um/order", ORDERS_1M, ORDERS_1M),
        ("https://fapi.binance.com/fapi/v3/account?of=/papi/", WEIGHT_1M, WEIGHT_1M),
        ("https://api.binance.com/sapi/v1/asset/transfer", WEIGHT_1M, ELSEWHERE),
    ],
)
def test_a_count_belongs_to_the_allowance_of_its_host(url: str, name: str, kept: str) -> None:
    """Both hosts tell their weights under one name; 2,000 is nearly all at one of them."""
    assert kept_as(name, url) == kept
    assert ELSEWHERE not in DEFAULT_RATES


@pytest.mark.parametrize(
    ("code", "status", "is_refused"),
    [
        (-2015, 401, True),
        (-21001, 400, True),
        (-2014, 400, True),
        (-1003, 429, False),
        (-2015, 502, False),
        (-2015, None, False),
        (-1000, 400, False),
    ],
)
def test_only_a_refused_key_says_something_of_the_account(
    code: int, status: int | None, *, is_refused: bool
) -> None:
    """What a gateway in trouble repeats says nothing."""
    failure = Failure(cause="text", status=status, body={"code": code, "msg": "text"})
    assert is_key_refused(failure) is is_refused


READERS: tuple[Callable[[object], object], ...] = (
    parse_equity,
    parse_pots,
    parse_is_portfolio,
    lambda answer: parse_transfers(answer, direction=INTO),
)


@pytest.mark.parametrize("answer", [None, "", 0, True, [[]], {"code": 0}, "<html></html>"])
@pytest.mark.parametrize("read", READERS)
def test_an_answer_of_the_wrong_shape_is_malformed(
    read: Callable[[object], object], answer: object
) -> None:
    """Never an empty account."""
    with pytest.raises(Malformed):
        read(answer)
