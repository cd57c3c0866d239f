"""The real ccxt class against the simulator's Binance dialect, over loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import pytest

from simulator.control import ControlError, start_simulator
from tests.simulated import Simulated, binance, seed, simulated

BTC = "BTC/USDT:USDT"
SOL = "SOL/USDT:USDT"
HEDGED = seed(position_mode="hedge")


def names(text: str) -> set[str]:
    """Return the words of a text."""
    return set(text.split())


ORDER_KEYS = names(
    "orderId symbol status clientOrderId price avgPrice origQty executedQty cumQty cumQuote"
    " timeInForce type reduceOnly closePosition side positionSide stopPrice workingType"
    " priceProtect origType priceMatch selfTradePreventionMode goodTillDate updateTime"
)
ALGO_KEYS = names(
    "algoId clientAlgoId algoType orderType symbol side positionSide timeInForce quantity"
    " algoStatus actualOrderId actualPrice triggerPrice price icebergQuantity tpTriggerPrice"
    " tpPrice slTriggerPrice slPrice tpOrderType selfTradePreventionMode workingType priceMatch"
    " closePosition priceProtect reduceOnly createTime updateTime triggerTime goodTillDate"
)
KEYS: dict[str, set[str]] = {
    "fapiPrivateV3GetAccount": names(
        "totalInitialMargin totalMaintMargin totalWalletBalance totalUnrealizedProfit"
        " totalMarginBalance totalPositionInitialMargin totalOpenOrderInitialMargin"
        " totalCrossWalletBalance totalCrossUnPnl availableBalance maxWithdrawAmount assets"
        " positions"
    ),
    "fapiPrivateV3GetPositionRisk": names(
        "symbol positionSide positionAmt entryPrice breakEvenPrice markPrice unRealizedProfit"
        " liquidationPrice isolatedMargin notional marginAsset isolatedWallet initialMargin"
        " maintMargin positionInitialMargin openOrderInitialMargin adl bidNotional askNotional"
        " updateTime"
    ),
    "fapiPrivateV2GetPositionRisk": names(
        "entryPrice breakEvenPrice marginType isAutoAddMargin isolatedMargin leverage"
        " liquidationPrice markPrice maxNotionalValue positionAmt notional isolatedWallet symbol"
        " unRealizedProfit positionSide updateTime"
    ),
    "fapiPrivateV3GetBalance": names(
        "accountAlias asset balance crossWalletBalance crossUnPnl availableBalance"
        " maxWithdrawAmount marginAvailable updateTime"
    ),
    "fapiPrivateGetAccountConfig": names(
        "feeTier canTrade canDeposit canWithdraw dualSidePosition updateTime multiAssetsMargin"
        " tradeGroupId"
    ),
    "fapiPrivateGetOpenOrders": (ORDER_KEYS - {"cumQty"}) | {"time"},
    "fapiPrivateGetOpenAlgoOrders": ALGO_KEYS,
    "fapiPrivateGetRateLimitOrder": {"rateLimitType", "interval", "intervalNum", "limit"},
    "fapiPrivateGetLeverageBracket": {"symbol", "notionalCoef", "brackets"},
    "fapiPublicGetPremiumIndex": names(
        "symbol markPrice indexPrice estimatedSettlePrice lastFundingRate interestRate"
        " nextFundingTime time"
    ),
    "fapiPublicGetTickerBookTicker": names(
        "symbol bidPrice bidQty askPrice askQty time lastUpdateId"
    ),
    "fapiPublicGetTicker24hr": names(
        "symbol priceChange priceChangePercent weightedAvgPrice lastPrice lastQty openPrice"
        " highPrice lowPrice volume quoteVolume openTime closeTime firstId lastId count"
    ),
}


async def refusal(call: Any) -> tuple[type[BaseException], int]:
    """Await a call that must fail and return its class and the venue's code."""
    with pytest.raises(ccxt.BaseError) as caught:
        await call
    text = str(caught.value)
    return caught.type, json.loads(text[text.index("{") :])["code"]


def amount(venue: Simulated, symbol: str = "BTCUSDT", leg: str = "BOTH") -> Decimal:
    """Signed size of a position inside the exchange."""
    held = {key: leg.amount for key, leg in venue.exchange.account("test-key").legs.items()}
    return next((size for key, size in held.items() if key == (symbol, leg)), Decimal(0))


async def test_markets_balance_and_positions_parse_as_from_the_real_venue() -> None:
    """Limits, equity and positions come through the library's own parsers."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        market = client.market(BTC)
        assert market["precision"]["amount"] == 0.001
        assert market["limits"]["market"]["max"] == 120
        assert market["limits"]["cost"]["min"] == 100
        balance = await client.fetch_balance()
        # 10000 + 0.5 x (60000 - 61000) - 10 x (100 - 90) = 9400
        assert balance["info"]["totalMarginBalance"] == "9400.00000000"
        assert balance["USDT"]["total"] == 9400.0
        found = {row["symbol"]: row for row in await client.fetch_positions()}
        assert found[BTC]["contracts"] == 0.5
        assert found[BTC]["side"] == "long"
        assert found[SOL]["side"] == "short"
        assert found[SOL]["unrealizedPnl"] == -100.0
        assert venue.service.counts()["GET /fapi/v1/exchangeInfo"] == 1


async def test_default_options_load_markets_too() -> None:
    """What the library asks for without any options is answered, on every host it uses."""
    async with simulated(seed()) as venue:
        options: dict[str, Any] = {"fetchMarkets": {"types": ["spot", "linear", "inverse"]}}
        async with binance(venue.url, options=options) as client:
            markets = await client.load_markets()
            assert BTC in markets
        assert venue.service.counts()["GET /sapi/v1/capital/config/getall"] == 1


async def test_one_way_close_reduces_and_answers_filled() -> None:
    """A reduce-only market sell is filled at the mark and reported with price and quantity."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        order = await client.create_order(
            BTC, "market", "sell", 0.2, None, {"reduceOnly": True, "clientOrderId": "ks-1"}
        )
        assert (order["status"], order["filled"], order["average"]) == ("closed", 0.2, 60000.0)
        assert order["clientOrderId"] == "ks-1"
        assert set(order["info"]) == ORDER_KEYS
        assert amount(venue) == Decimal("0.3")
        found = await client.fetch_order(None, BTC, {"clientOrderId": "ks-1"})
        assert found["id"] == order["id"]
        last = (await venue.control.ledger())[-1]
        assert (last["event"], last["position_before"], last["position_after"]) == (
            "fill",
            "0.5",
            "0.3",
        )
        assert last["cause"] == "order"
        trades = await client.fetch_my_trades(BTC)
        # fee: 0.2 x 60000 x 0.0005 = 6
        assert trades[0]["fee"]["cost"] == 6.0


async def test_hedge_mode_closes_one_leg_only() -> None:
    """In hedge mode the library drops reduceOnly and names the leg; the other leg stays."""
    both = [
        {"symbol": "BTCUSDT", "side": side, "quantity": "0.5", "entry_price": 60000}
        for side in ("LONG", "SHORT")
    ]
    async with (
        simulated(seed(position_mode="hedge", positions=both)) as venue,
        binance(venue.url) as client,
    ):
        await client.load_markets()
        await client.create_order(
            BTC, "market", "sell", 0.5, None, {"hedged": True, "reduceOnly": True}
        )
        assert amount(venue, leg="LONG") == 0
        assert amount(venue, leg="SHORT") == Decimal("-0.5")
        assert (await client.fetch_position_mode())["hedged"] is True
        sent = {"hedged": True, "reduceOnly": True}
        assert await refusal(client.create_order(BTC, "market", "sell", 0.5, None, sent)) == (
            ccxt.InvalidOrder,
            -2022,
        )


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"side": "BUY", "quantity": "0.1", "reduceOnly": "true"}, (ccxt.InvalidOrder, -2022)),
        ({"quantity": "0.0001", "reduceOnly": "true"}, (ccxt.BadRequest, -1111)),
        ({"quantity": "0", "reduceOnly": "true"}, (ccxt.BadRequest, -4003)),
        ({"quantity": "121", "reduceOnly": "true"}, (ccxt.BadRequest, -4005)),
        ({"side": "BUY", "quantity": "0.001"}, (ccxt.InvalidOrder, -4164)),
        ({"side": "BUY", "quantity": "100"}, (ccxt.InsufficientFunds, -2019)),
        ({"quantity": "0.1", "positionSide": "LONG"}, (ccxt.OperationRejected, -4061)),
        ({"quantity": "0.1", "symbol": "NOPEUSDT"}, (ccxt.BadSymbol, -1121)),
        ({"quantity": "0.1", "newClientOrderId": "a b"}, (ccxt.BadRequest, -4015)),
        ({"quantity": "0.1", "type": "STOP_MARKET", "stopPrice": "1"}, (ccxt.InvalidOrder, -4120)),
        ({}, (ccxt.BadRequest, -1102)),
    ],
)
async def test_refused_orders_carry_the_venues_code(
    sent: dict[str, str], expected: tuple[type[BaseException], int]
) -> None:
    """Each broken rule comes back as the class that the library gives to the real code."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        request = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", **sent}
        assert await refusal(client.fapiPrivatePostOrder(request)) == expected
        assert amount(venue) == Decimal("0.5")


async def test_hedge_mode_refuses_reduce_only_and_a_missing_side() -> None:
    """Hedge mode wants the leg and nothing else."""
    async with simulated(HEDGED) as venue, binance(venue.url) as client:
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.1"}
        assert await refusal(client.fapiPrivatePostOrder(order)) == (ccxt.OperationRejected, -4061)
        order |= {"positionSide": "LONG", "reduceOnly": "true"}
        assert await refusal(client.fapiPrivatePostOrder(order)) == (ccxt.BadRequest, -1106)


async def test_wrong_secret_unknown_key_and_wrong_clock_are_refused() -> None:
    """A signature must fit what was sent, the key must exist, the clock must be near."""
    async with simulated(seed()) as venue:
        async with binance(venue.url, secret="other-secret") as client:
            assert await refusal(client.fapiPrivateV3GetAccount()) == (
                ccxt.AuthenticationError,
                -1022,
            )
        async with binance(venue.url, apiKey="nobody") as client:
            assert await refusal(client.fapiPrivateV3GetAccount()) == (
                ccxt.AuthenticationError,
                -2015,
            )
        async with binance(venue.url) as client:
            client.nonce = lambda: client.milliseconds() - 60_000
            assert await refusal(client.fapiPrivateV3GetAccount()) == (ccxt.InvalidNonce, -1021)
            client.nonce = lambda: client.milliseconds() + 5_000
            assert await refusal(client.fapiPrivateV3GetAccount()) == (ccxt.InvalidNonce, -1021)


async def test_a_changed_parameter_breaks_the_signature() -> None:
    """The signature covers the query exactly as it was sent."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        signed = client.sign("openOrders", ["fapiPrivate"], "GET", {"symbol": "BTCUSDT"})
        async with aiohttp.ClientSession() as session:
            tampered = signed["url"].replace("BTCUSDT", "SOLUSDT")
            async with session.get(tampered, headers=signed["headers"]) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, -1022)
            async with session.get(signed["url"], headers=signed["headers"]) as answer:
                assert answer.status == 200
                assert int(answer.headers["X-MBX-USED-WEIGHT-1M"]) >= 1


async def test_paths_work_without_the_host_segment_and_unknown_ones_are_404() -> None:
    """Both ways of addressing the venue lead to the same endpoint."""
    async with simulated(seed()) as venue, aiohttp.ClientSession(venue.url) as session:
        for path, status in (
            ("/fapi/v1/time", 200),
            ("/fapi.binance.com/fapi/v1/time", 200),
            ("/fapi/v1/nothing", 404),
        ):
            async with session.get(path) as answer:
                assert answer.status == status


async def test_conditional_orders_live_apart_and_survive_the_ordinary_cancel_all() -> None:
    """The ordinary listing does not show them, the ordinary cancel-all does not reach them."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        stop = await client.create_order(
            BTC, "market", "sell", 0.5, None, {"stopLossPrice": 55000, "reduceOnly": True}
        )
        whole = await client.create_order(
            BTC, "STOP_MARKET", "sell", None, None, {"stopPrice": 50000, "closePosition": True}
        )
        limit = await client.create_order(BTC, "limit", "sell", 0.1, 70000)
        assert [row["id"] for row in await client.fetch_open_orders()] == [limit["id"]]
        apart = await client.fetch_open_orders(None, None, None, {"trigger": True})
        assert [row["id"] for row in apart] == [stop["id"], whole["id"]]
        await client.cancel_all_orders(BTC)
        assert await client.fetch_open_orders() == []
        assert len(await client.fetch_open_orders(None, None, None, {"trigger": True})) == 2
        await client.cancel_all_orders(BTC, {"trigger": True})
        assert await client.fetch_open_orders(None, None, None, {"trigger": True}) == []


async def test_a_triggered_stop_closes_the_position() -> None:
    """When the mark reaches a stop, a market order follows and the stop is finished."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        await client.create_order(
            BTC, "STOP_MARKET", "sell", None, None, {"stopPrice": 55000, "closePosition": True}
        )
        await venue.control.set_prices({"BTCUSDT": 54990})
        assert amount(venue) == 0
        assert await client.fapiPrivateGetOpenAlgoOrders() == []


async def test_a_resting_reduce_only_order_blocks_the_close() -> None:
    """Until it is cancelled, a full-size reduce-only limit order makes every close fail."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        sent = {"reduceOnly": True}
        resting = await client.create_order(BTC, "limit", "sell", 0.5, 70000, sent)
        assert await refusal(client.create_order(BTC, "market", "sell", 0.5, None, sent)) == (
            ccxt.OperationRejected,
            -4118,
        )
        await client.cancel_order(resting["id"], BTC)
        await client.create_order(BTC, "market", "sell", 0.5, None, sent)
        assert amount(venue) == 0
        assert await refusal(client.cancel_order(resting["id"], BTC)) == (
            ccxt.OrderNotFound,
            -2011,
        )
        assert await refusal(client.fetch_order("1", BTC)) == (ccxt.OrderNotFound, -2013)


async def test_batches_answer_in_the_order_of_the_request() -> None:
    """One order of a batch may fail without the others."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        first = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.5"}
        answers = await client.fapiPrivatePostBatchOrders(
            {
                "batchOrders": [
                    first | {"reduceOnly": "true", "newOrderRespType": "RESULT"},
                    first | {"reduceOnly": "true"},
                    first | {"symbol": "SOLUSDT", "side": "BUY", "quantity": "10"},
                ]
            }
        )
        assert [row.get("code", row.get("status")) for row in answers] == [
            "FILLED",
            -2022,
            "NEW",
        ]
        assert amount(venue) == 0
        assert amount(venue, "SOLUSDT") == 0


async def test_every_answer_has_the_venues_fields() -> None:
    """The set of fields of each answer is the published one."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        order = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.1"}
        await client.fapiPrivatePostOrder(
            order | {"type": "LIMIT", "price": "70000", "timeInForce": "GTC"}
        )
        await client.fapiPrivatePostAlgoOrder(
            order | {"algoType": "CONDITIONAL", "type": "STOP_MARKET", "triggerPrice": "50000"}
        )
        for method, expected in KEYS.items():
            answer = await getattr(client, method)()
            row = answer[0] if isinstance(answer, list) else answer
            assert set(row) == expected, method
            if method != "fapiPrivateGetLeverageBracket":
                assert not any(isinstance(value, float) for value in row.values()), method


async def test_numbers_are_written_as_the_venue_writes_them() -> None:
    """Amounts are strings with the market's own decimals; no liquidation price is `0`."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        rows = {row["symbol"]: row for row in await client.fapiPrivateV3GetPositionRisk()}
        assert rows["BTCUSDT"]["positionAmt"] == "0.500"
        assert rows["BTCUSDT"]["entryPrice"] == "61000"
        assert rows["BTCUSDT"]["markPrice"] == "60000.00000000"
        assert rows["BTCUSDT"]["isolatedMargin"] == "0"
        assert rows["SOLUSDT"]["positionAmt"] == "-10.00"
        await client.fapiPrivatePostOrder(
            {"symbol": "SOLUSDT", "side": "BUY", "type": "MARKET", "quantity": "10"}
        )
        rows = {row["symbol"]: row for row in await client.fapiPrivateV3GetPositionRisk()}
        assert list(rows) == ["BTCUSDT"]


async def test_income_pages_and_filters() -> None:
    """A start and a limit give the oldest rows first; ids are unique; types filter."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        for number in range(1, 8):
            await venue.control.transfer(str(number))
        await venue.control.transfer("3", kind="BONUS")
        await venue.control.apply_funding({"BTCUSDT": "0.0001"})
        everything = await client.fapiPrivateGetIncome({"startTime": 1, "limit": 1000})
        assert [row["income"] for row in everything[:7]] == [f"{n}.00000000" for n in range(1, 8)]
        assert len({row["tranId"] for row in everything}) == 9
        first = await client.fapiPrivateGetIncome({"startTime": 1, "limit": 4})
        second = await client.fapiPrivateGetIncome({"startTime": 1, "limit": 4, "page": 2})
        assert [*first, *second] == everything[:8]
        newest = await client.fapiPrivateGetIncome({"limit": 2})
        assert newest == everything[-2:]
        funding = await client.fapiPrivateGetIncome({"incomeType": "FUNDING_FEE"})
        # 0.5 x 60000 x 0.0001 = 3, paid by the long
        assert [row["income"] for row in funding] == ["-3.00000000"]
        bonus = await client.fapiPrivateGetIncome({"incomeType": "WELCOME_BONUS"})
        assert [row["symbol"] for row in bonus] == [""]


def market_close(client: Any, client_id: str = "ks-1") -> Any:
    """Send a reduce-only market sell of 0.5 BTC."""
    return client.create_order(
        BTC, "market", "sell", 0.5, None, {"reduceOnly": True, "clientOrderId": client_id}
    )


@pytest.mark.parametrize(
    ("fault", "raised", "left"),
    [
        ({"kind": "drop_before"}, ccxt.ExchangeNotAvailable, "0.5"),
        ({"kind": "drop_after"}, ccxt.ExchangeNotAvailable, "0"),
        ({"kind": "answer_before", "status": 503}, ccxt.ExchangeNotAvailable, "0.5"),
        ({"kind": "answer_after", "status": 503}, ccxt.ExchangeNotAvailable, "0"),
        ({"kind": "answer_after", "status": 504, "body": "<html>"}, ccxt.RequestTimeout, "0"),
        ({"kind": "truncate"}, ccxt.ExchangeError, "0"),
        ({"kind": "rate_limit", "status": 429, "seconds": 3}, ccxt.DDoSProtection, "0.5"),
        ({"kind": "rate_limit", "status": 418, "seconds": 60}, ccxt.DDoSProtection, "0.5"),
        (
            {"kind": "error", "status": 408, "code": -1007, "message": "Timeout waiting"},
            ccxt.RequestTimeout,
            "0.5",
        ),
        (
            {"kind": "error", "status": 400, "code": -2022, "message": "ReduceOnly"},
            ccxt.InvalidOrder,
            "0.5",
        ),
    ],
)
async def test_faults_before_keep_the_position_and_faults_after_do_not(
    fault: dict[str, Any], raised: type[BaseException], left: str
) -> None:
    """The library raises what it raises in reality, and the position tells what happened."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        await venue.control.add_fault(**fault, method="POST", path="/order$", nth=1)
        with pytest.raises(raised):
            await market_close(client)
        assert amount(venue) == Decimal(left)


@pytest.mark.parametrize("body", ["", "{}", "null", "<html>busy</html>"])
async def test_an_empty_success_has_no_order_id(body: str) -> None:
    """HTTP 200 without an order is no exception to the library, and the order was carried out."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        await venue.control.add_fault(
            "answer_after", method="POST", path="/order$", status=200, body=body
        )
        assert (await market_close(client))["id"] is None
        assert amount(venue) == 0


async def test_a_held_order_has_its_effect_before_or_after_the_release() -> None:
    """hold_after: done but unanswered. hold_before: undone until released."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        for kind, before, final in (("hold_after", "0.3", "0.3"), ("hold_before", "0.3", "0")):
            await venue.control.clear_faults()
            await venue.control.add_fault(kind, method="POST", path="/order$", nth=1)
            size = 0.2 if kind == "hold_after" else 0.3
            waiting = asyncio.create_task(
                client.create_order(BTC, "market", "sell", size, None, {"reduceOnly": True})
            )
            held = await venue.control.wait_until_held()
            assert held[0]["kind"] == kind
            assert not waiting.done()
            assert amount(venue) == Decimal(before)
            await venue.control.release()
            assert (await waiting)["filled"] == size
            assert amount(venue) == Decimal(final)


async def test_a_held_order_of_a_client_that_is_gone_is_carried_out_on_release() -> None:
    """A venue that has the request works on it, whether or not anybody waits for the answer."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        await venue.control.add_fault("hold_before", method="POST", path="/order$", nth=1)
        waiting = asyncio.create_task(market_close(client))
        (held,) = await venue.control.wait_until_held()
        await client.close()
        with pytest.raises(ccxt.NetworkError):
            await waiting
        assert amount(venue) == Decimal("0.5")
        await venue.control.release([held["n"]])
        assert amount(venue) == 0


async def test_stale_reads_answer_as_of_an_earlier_request() -> None:
    """After a close, a stale position read still shows the position."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        await market_close(client)
        await venue.control.add_fault("stale", path="positionRisk", requests=1, nth=1)
        stale = await client.fapiPrivateV3GetPositionRisk({"symbol": "BTCUSDT"})
        assert stale[0]["positionAmt"] == "0.500"
        assert await client.fapiPrivateV3GetPositionRisk({"symbol": "BTCUSDT"}) == []


async def test_stale_reads_answer_as_of_an_earlier_time() -> None:
    """Ten seconds after a withdrawal, an account read as of 30 s ago does not know it."""
    async with simulated(seed(at=1_700_000_000)) as venue, binance(venue.url) as client:
        await venue.control.set_time(1_700_000_020)
        await venue.control.transfer("-1000")
        await venue.control.set_time(1_700_000_030)
        await venue.control.add_fault("stale", path="account", seconds=30, nth=1)
        await client.load_time_difference()
        assert (await client.fapiPrivateV3GetAccount())["totalWalletBalance"] == "10000.00000000"
        assert (await client.fapiPrivateV3GetAccount())["totalWalletBalance"] == "9000.00000000"


async def test_partial_fills_and_bare_acknowledgements() -> None:
    """A thin book fills a part and lets the rest expire; an acknowledgement tells nothing."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.load_markets()
        await venue.control.add_fault("partial_fill", path="/order$", fraction=0.5, nth=1)
        order = await market_close(client)
        assert (order["status"], order["filled"]) == ("expired", 0.25)
        assert amount(venue) == Decimal("0.25")
        await venue.control.add_fault("acknowledge_only", path="/order$", nth=1)
        order = await client.create_order(BTC, "market", "sell", 0.1, None, {"reduceOnly": True})
        assert (order["status"], order["filled"]) == ("open", 0.0)
        assert amount(venue) == Decimal("0.15")


async def test_the_position_mode_can_be_told_wrongly() -> None:
    """A wrong answer about the mode changes nothing in the account."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await venue.control.add_fault("wrong_mode", path="dual", times=1)
        assert (await client.fapiPrivateGetPositionSideDual())["dualSidePosition"] is True
        assert (await client.fapiPrivateGetPositionSideDual())["dualSidePosition"] is False


async def test_weights_and_order_counts_are_limited() -> None:
    """The 301st order in ten seconds is refused, and so is weight beyond 2400 a minute."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        clock = venue.service._clock
        venue.service._clock = _Standing(clock.now())
        stamp_ms = client.milliseconds()
        client.milliseconds = lambda: stamp_ms
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0"}
        for _ in range(300):
            _, code = await refusal(client.fapiPrivatePostOrder(order))
            assert code == -4003
        with pytest.raises(ccxt.DDoSProtection, match="-1015"):
            await client.fapiPrivatePostOrder(order)
        for _ in range(60):
            await client.fapiPrivateGetOpenOrders()
        with pytest.raises(ccxt.DDoSProtection, match="-1003"):
            await client.fapiPrivateGetOpenOrders()
        async with aiohttp.ClientSession(venue.url) as session:
            statuses = []
            for _ in range(21):
                async with session.get("/fapi/v1/ping") as answer:
                    statuses.append(answer.status)
                    assert int(answer.headers["Retry-After"]) > 0
        assert statuses[0] == 429
        assert statuses[-1] == 418


class _Standing:
    """A clock that stands still, so that a counting window cannot end within a test."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        """Return the time it was made with."""
        return self._now

    def monotonic(self) -> float:
        """Return the beginning of a minute."""
        return 600.0

    async def sleep(self, seconds: float) -> None:
        """Do not wait."""


async def test_the_log_keeps_requests_without_their_signatures() -> None:
    """Every request is counted, with parameters and status, and without a signature."""
    async with simulated(seed()) as venue, binance(venue.url) as client:
        await client.fapiPrivateGetOpenOrders({"symbol": "BTCUSDT"})
        logged = await venue.control.requests()
        assert logged["counts"] == {"GET /fapi/v1/openOrders": 1}
        entry = logged["requests"][0]
        assert entry["parameters"]["symbol"] == "BTCUSDT"
        assert "signature" not in entry["parameters"]
        assert entry["status"] == 200


async def test_another_bot_acts_through_the_control_port() -> None:
    """Its orders are in the ledger under their own cause; wrong ones are refused in words."""
    async with simulated(seed()) as venue:
        await venue.control.bot_order(symbol="BTCUSDT", side="BUY", quantity="0.1")
        resting = await venue.control.bot_order(
            symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.1", price="50000"
        )
        assert amount(venue) == Decimal("0.6")
        assert {row["cause"] for row in await venue.control.ledger()} == {"seed", "bot"}
        await venue.control.bot_cancel(symbol="BTCUSDT", order_id=resting["order_id"])
        assert (await venue.control.state())["accounts"]["test-key"]["orders"] == []
        with pytest.raises(ControlError, match="NOTIONAL_TOO_SMALL"):
            await venue.control.bot_order(symbol="BTCUSDT", side="BUY", quantity="0.001")
        with pytest.raises(ControlError, match="missing or unknown"):
            await venue.control.bot_order("nobody", symbol="BTCUSDT", side="BUY", quantity="1")


async def test_the_process_starts_serves_and_ends() -> None:
    """A real process answers the real library and is gone afterwards."""
    async with start_simulator(seed()) as (control, url):
        async with binance(url) as client:
            await client.load_markets()
            await market_close(client)
            assert (await control.ledger())[-1]["position_after"] == "0"
        await control.shutdown()


async def test_the_process_ends_with_its_parent() -> None:
    """When standard input closes, the process ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulator",
        "--exit-with-parent",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())
    assert ready["pid"] == process.pid
    process.stdin.close()
    async with asyncio.timeout(10):
        assert await process.wait() == 0


async def test_the_simulator_starts_without_the_client_library() -> None:
    """It must start fast, and must not judge itself with the code it is there to test."""
    program = "import sys, simulator.__main__; sys.exit('ccxt' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    async with asyncio.timeout(20):
        assert await process.wait() == 0
