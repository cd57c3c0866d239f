"""A portfolio-margin account on the simulated exchange: its dialect, and what the adapter does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from inspection import AccountFamily, Presence
from model import Done, LedgerKind, Side, Symbol
from simulator import margin
from simulator.exchange import Exchange
from tests.simulated import KEY, Simulated, binance, seed, simulated
from tests.test_simulator_wire import ALGO_KEYS, ORDER_KEYS, names, refusal
from tests.test_venue_stories import play
from tests.venue_rigs import BTC, Rig, rig_of
from tests.wire_house import Prices

BTCUSDT = "BTCUSDT"
PORTFOLIO = seed(unified=True)
KEYS = {
    "papiGetAccount": names(
        "uniMMR accountEquity actualEquity accountInitialMargin accountMaintMargin accountStatus"
        " virtualMaxWithdrawAmount totalAvailableBalance totalMarginOpenLoss updateTime"
    ),
    "papiGetBalance": names(
        "asset totalWalletBalance crossMarginAsset crossMarginBorrowed crossMarginFree"
        " crossMarginInterest crossMarginLocked umWalletBalance umUnrealizedPNL cmWalletBalance"
        " cmUnrealizedPNL updateTime negativeBalance"
    ),
    "papiGetUmPositionRisk": names(
        "entryPrice leverage markPrice maxNotionalValue positionAmt notional symbol"
        " unRealizedProfit liquidationPrice positionSide updateTime"
    ),
    "papiGetUmOpenOrders": (ORDER_KEYS | {"time"})
    - names("cumQty closePosition stopPrice workingType priceProtect"),
    "papiGetUmAlgoOpenAlgoOrders": ALGO_KEYS,
}


@asynccontextmanager
async def two_accounts() -> AsyncIterator[tuple[Simulated, Any, Any]]:
    """A portfolio-margin account, and an ordinary one with another key; a client for each."""
    ordinary = seed(api_key="other-key", api_secret="test-secret")
    async with (
        simulated(PORTFOLIO, ordinary) as venue,
        binance(venue.url) as ours,
        binance(venue.url, apiKey="other-key") as theirs,
    ):
        yield venue, ours, theirs


# --- the dialect ------------------------------------------------------------------------------


async def test_every_answer_has_the_fields_of_the_venue() -> None:
    """No more and no less than the recorded ones."""
    async with simulated(PORTFOLIO) as venue, binance(venue.url) as client:
        order = {"symbol": BTCUSDT, "side": "BUY", "quantity": "0.01"}
        await client.papiPostUmOrder(
            {**order, "type": "LIMIT", "price": "50000", "timeInForce": "GTC"}
        )
        await client.papiPostUmAlgoOrder(
            {**order, "algoType": "CONDITIONAL", "type": "STOP_MARKET", "triggerPrice": "70000"}
        )
        for endpoint, keys in KEYS.items():
            answer = await getattr(client, endpoint)()
            row = answer[0] if isinstance(answer, list) else answer
            assert set(row) == keys, endpoint


async def test_usd_m_by_itself_shows_nothing_of_it_and_takes_no_order() -> None:
    """Zeros and empty lists, and the refusal of a key without rights."""
    async with simulated(PORTFOLIO) as venue, binance(venue.url) as client:
        account = await client.fapiPrivateV3GetAccount()
        assert (account["totalMarginBalance"], account["assets"]) == ("0.00000000", [])
        assert await client.fapiPrivateV3GetPositionRisk() == []
        assert await client.fapiPrivateGetOpenOrders() == []
        assert await client.fapiPrivateGetIncome() == []
        order = {"symbol": BTCUSDT, "side": "SELL", "type": "MARKET", "quantity": "0.1"}
        for refused in (
            client.fapiPrivatePostOrder(order),
            client.fapiPrivateGetOrder({"symbol": BTCUSDT, "orderId": "1"}),
            client.fapiPrivateDeleteAllOpenOrders({"symbol": BTCUSDT}),
        ):
            _, code = await refusal(refused)
            assert code == -2015
        assert venue.exchange.amount(KEY, BTCUSDT) == Decimal("0.5")


async def test_every_other_account_is_refused_as_a_key_without_rights() -> None:
    """Only the owner's settings tell the two apart."""
    async with two_accounts() as (_, ours, theirs):
        for endpoint in ("papiGetAccount", "papiGetBalance", "papiGetUmPositionRisk"):
            _, code = await refusal(getattr(theirs, endpoint)())
            assert code == -2015
        for client, is_portfolio in ((ours, True), (theirs, False)):
            settings = await client.sapiGetAccountInfo()
            assert settings["isPortfolioMarginRetailEnabled"] is is_portfolio


async def test_transfers_are_listed_newest_first_and_not_among_the_income() -> None:
    """25 came in and one went out: pages of ten, each direction for itself."""
    async with simulated(PORTFOLIO) as venue, binance(venue.url) as client:
        for number in range(25):
            venue.exchange.transfer(KEY, "USDT", Decimal(number + 1))
        venue.exchange.transfer(KEY, "USDT", Decimal(-7))
        ask = {"type": "MAIN_PORTFOLIO_MARGIN", "current": 3, "size": 10}
        answer = await client.sapiGetAssetTransfer(ask)
        assert int(answer["total"]) == 25
        assert [Decimal(row["amount"]) for row in answer["rows"]] == [5, 4, 3, 2, 1]
        went = await client.sapiGetAssetTransfer({"type": "PORTFOLIO_MARGIN_MAIN"})
        (row,) = went["rows"]
        assert (float(row["amount"]), row["status"]) == (7.0, "CONFIRMED")
        assert await client.papiGetUmIncome() == []
        _, code = await refusal(
            client.sapiGetAssetTransfer({"type": "MAIN_PORTFOLIO_MARGIN", "startTime": 1})
        )
        assert code == -5026


async def test_weights_are_counted_apart() -> None:
    """Each host tells its own count under the same name."""
    async with simulated(PORTFOLIO) as venue, binance(venue.url) as client:
        await client.papiGetAccount()
        await client.papiGetBalance()
        assert client.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "40"
        await client.fapiPrivateV3GetAccount()
        assert client.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "5"


# --- the adapter on it ------------------------------------------------------------------------


async def test_coins_count_in_full_and_debts_against_them() -> None:
    """5,000 + 0.2 x 60,000 - 3 x 100 - 600 of positions = 16,100; SOL is owed."""
    wallet = {"USDT": 5000, "BTC": "0.2", "SOL": -3}
    async with rig_of("binance-portfolio", wallet=wallet) as rig:
        reading = await rig.venue.fetch_reading(rig.scope)
        assert reading.equity == pytest.approx(16_100)
        assert reading.equity == float(margin.equity_usd(rig.exchange.view(KEY)))
        assert reading.unrealised_pnl == pytest.approx(-600)
        assert {coin.asset: coin.quantity for coin in reading.coins} == {
            "BTC": Decimal("0.2"),
            "SOL": Decimal(-3),
        }


async def test_a_coin_that_comes_in_is_a_flow_of_its_full_value() -> None:
    """0.1 BTC of 60,000: 6,000 more, and a record of 6,000."""
    async with rig_of("binance-portfolio") as rig:
        before = await rig.venue.fetch_reading(rig.scope)
        rig.exchange.transfer(KEY, "BTC", Decimal("0.1"))
        after = await rig.venue.fetch_reading(rig.scope)
        (flow,) = (await rig.venue.fetch_ledger(rig.scope, rig.exchange.now - 60)).entries
        assert after.equity - before.equity == pytest.approx(6_000)
        assert (flow.kind, flow.asset) == (LedgerKind.TRANSFER, "BTC")
        assert flow.amount == pytest.approx(6_000)


async def test_a_position_names_its_margin_and_its_asset() -> None:
    """30,000 at a leverage of 10."""
    async with rig_of("binance-portfolio") as rig:
        reading = await rig.venue.fetch_reading(rig.scope)
        (held,) = [position for position in reading.positions if position.symbol == BTC]
        assert (held.margin, held.margin_asset) == (3_000, "USDT")


async def parts(rig: Rig) -> dict[str, Presence]:
    """What an inspection names as not watched."""
    told = await rig.venue.inspect(rig.scope, ())
    return {part.part: part.presence for part in told.unwatched}


async def test_an_inspection_says_which_family_and_names_loans() -> None:
    """The wallet itself is watched: portfolio margin is not named beside itself."""
    async with rig_of("binance-portfolio", wallet={"USDT": 9000, "SOL": -3}) as rig:
        told = await rig.venue.inspect(rig.scope, ())
        assert told.family is AccountFamily.PORTFOLIO_MARGIN
        assert told.rights.can_trade is True
        assert told.rights.can_read_transfers is True
        found = await parts(rig)
        assert found["loans of the wallet"] is Presence.HOLDS
        assert "portfolio margin" not in found
        assert "coin-margined positions of the wallet" not in found
    async with rig_of("binance") as rig:
        told = await rig.venue.inspect(rig.scope, ())
        assert told.family is AccountFamily.SINGLE_ASSET


async def test_an_account_that_is_emptied_stays_readable() -> None:
    """All money leaves a flat account: an equity of 0, told by portfolio margin itself."""
    async with rig_of("binance-portfolio", positions=[]) as rig:
        rig.exchange.transfer(KEY, "USDT", Decimal(-10_000))
        reading = await rig.venue.fetch_reading(rig.scope)
        assert (reading.equity, reading.positions) == (0, ())


async def test_an_ordinary_account_that_is_emptied_stays_readable() -> None:
    """Portfolio margin is asked, refuses, and the owner's settings tell why."""
    async with rig_of("binance", positions=[]) as rig:
        rig.exchange.transfer(KEY, "USDT", Decimal(-10_000))
        reading = await rig.venue.fetch_reading(rig.scope)
        assert (reading.equity, reading.positions) == (0, ())


async def test_an_account_is_followed_into_portfolio_margin_and_closed_there() -> None:
    """Moved while it is watched, with a position open; and back again."""
    async with rig_of("binance") as rig:
        assert (await rig.venue.fetch_reading(rig.scope)).equity == pytest.approx(9_400)
        rig.account.is_unified = rig.account.multi_assets = True
        assert (await rig.venue.fetch_reading(rig.scope)).equity == pytest.approx(9_400)
        assert isinstance(await rig.venue.submit_close(rig.close(BTC, Side.LONG, "0.2")), Done)
        rig.account.is_unified = rig.account.multi_assets = False
        assert (await rig.venue.fetch_reading(rig.scope)).equity == pytest.approx(9_385, abs=10)
        assert isinstance(await rig.venue.submit_close(rig.close(BTC, Side.LONG, "0.3")), Done)
        assert rig.held(Symbol(BTCUSDT)) == 0


def test_a_whole_guard_sees_no_loss_in_the_move_and_closes_where_the_account_lives(
    tmp_path: Path,
) -> None:
    """Moved at 300 s: nothing is opened for 300 s. Then the long loses a third: all is closed."""

    def move(exchange: Exchange) -> None:
        account = exchange.account(KEY)
        account.is_unified = account.multi_assets = True

    fall = Prices({BTCUSDT: 54_000})
    told, exchange = play("binance", tmp_path, [(300.0, move), (600.0, fall)], ends_s=700.0)
    assert told.opened[0][1] >= 600
    assert not exchange.account(KEY).legs
