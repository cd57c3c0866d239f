"""The Binance adapter with real ccxt on the simulated exchange: what it sends has real effects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import Unavailable
from model import (
    ClientOrderId,
    CloseInstruction,
    Done,
    IncidentId,
    LedgerKind,
    MarginMode,
    OrderKind,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from simulator import margin
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind
from simulator.seeds import apply_seed
from simulator.state import Leg
from simulator.wire.binance import BinanceDialect
from simulator.wire.control_port import seed_service
from simulator.wire.server import build_api, listen
from simulator.wire.service import Service
from venues.access import Access
from venues.binance import BinanceFutures

SCOPE = ScopeId("binance_futures")
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
KEY, SECRET = "test-key", "test-secret"
SEED: Mapping[str, Any] = {
    "api_key": KEY,
    "api_secret": SECRET,
    "wallet": {"USDT": 10000},
    "prices": {"BTCUSDT": 60000, "ETHUSDT": 2000},
    "positions": [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000},
        {
            "symbol": "ETHUSDT",
            "side": "SHORT",
            "quantity": "2",
            "entry_price": 2100,
            "margin_mode": "isolated",
            "isolated_margin": 500,
        },
    ],
}
HEDGED = {
    **SEED,
    "position_mode": "hedge",
    "positions": [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000},
        {"symbol": "BTCUSDT", "side": "SHORT", "quantity": "0.3", "entry_price": 62000},
    ],
}


@asynccontextmanager
async def simulated(seed: Mapping[str, Any]) -> AsyncIterator[tuple[Service, BinanceFutures]]:
    """A simulated exchange in this process and an adapter connected to it over loopback."""
    clock = SystemClock()
    exchange = Exchange(now=clock.now())
    service = Service(exchange, BinanceDialect(exchange), clock)
    seed_service(service, seed)
    runner, port = await listen(build_api(service), host="127.0.0.1", port=0)
    venue = BinanceFutures(
        scope=SCOPE,
        access=Access(
            credentials={"apiKey": KEY, "secret": SECRET},
            simulator_url=f"http://127.0.0.1:{port}",
            order_timeout_s=1.0,
        ),
        clock=clock,
        stables=("USDT", "USDC"),
    )
    try:
        await venue.start()
        yield service, venue
    finally:
        await venue.aclose()
        await runner.cleanup()


def close(
    symbol: Symbol,
    side: Side,
    quantity: str,
    *,
    mode: PositionMode = PositionMode.ONE_WAY,
    client_id: str = "ks-1",
) -> CloseInstruction:
    """An approved close."""
    return CloseInstruction(
        scope=SCOPE,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        client_id=ClientOrderId(client_id),
        position_mode=mode,
        margin_mode=MarginMode.CROSS,
        incident_id=IncidentId("incident"),
    )


async def test_a_reading_agrees_with_the_exchange() -> None:
    """10,000 - 0.5 x 1,000 + 2 x 100 = 9,700, and wallet + profit is equity."""
    async with simulated(SEED) as (service, venue):
        reading = await venue.fetch_reading(SCOPE)
        assert reading.equity == 9700
        assert reading.equity == float(margin.equity_usd(service.exchange.view(KEY)))
        assert (reading.wallet, reading.unrealised_pnl) == (10000, -300)
        long, short = sorted(reading.positions, key=lambda position: position.symbol)
        assert (long.side, long.quantity, long.entry_price) == (Side.LONG, Decimal("0.5"), 61000)
        assert (long.mark_price, long.unrealised_pnl, long.base) == (60000, -500, "BTC")
        assert (short.side, short.quantity, short.margin_mode) == (
            Side.SHORT,
            Decimal(2),
            MarginMode.ISOLATED,
        )
        assert short.margin == 500
        assert sum(p.unrealised_pnl for p in reading.positions) == reading.unrealised_pnl


async def test_multi_assets_equity_agrees_with_the_exchange() -> None:
    """Collateral in a coin counts with the venue's haircut, and is a row of its own.

    5,000 + 0.95 x 0.1 x 60,000 - 300 = 10,400.
    """
    seed = {**SEED, "multi_assets": True, "wallet": {"USDT": 5000, "BTC": "0.1"}}
    async with simulated(seed) as (_, venue):
        reading = await venue.fetch_reading(SCOPE)
        assert (reading.equity, reading.wallet, reading.unrealised_pnl) == (10400, 10700, -300)
        (coin,) = reading.coins
        assert (coin.asset, coin.quantity, coin.price) == ("BTC", Decimal("0.1"), 60000)


async def test_a_coin_that_comes_in_is_a_flow_of_what_the_account_counts_it_as() -> None:
    """0.5 BTC of 60,000 with a haircut of 5 % make the account 28,500 larger, and so the record.

    The full 30,000 would leave a fall of 1,500 behind that nothing explains.
    """
    seed = {**SEED, "multi_assets": True, "wallet": {"USDT": 5000, "BTC": "0.1"}}
    async with simulated(seed) as (service, venue):
        before = await venue.fetch_reading(SCOPE)
        service.exchange.transfer(KEY, "BTC", Decimal("0.5"))
        after = await venue.fetch_reading(SCOPE)
        (flow,) = (await venue.fetch_ledger(SCOPE, 0.0)).entries
        assert after.equity - before.equity == pytest.approx(28_500)
        assert (flow.kind, flow.asset) == (LedgerKind.TRANSFER, "BTC")
        assert flow.amount == pytest.approx(28_500)


async def test_a_close_larger_than_the_position_never_flips_it() -> None:
    """Reduce-only in one-way mode: 5 of 0.5 leaves nothing, and a second one finds nothing."""
    async with simulated(SEED) as (service, venue):
        outcome = await venue.submit_close(close(BTC, Side.LONG, "5"))
        assert isinstance(outcome, Done)
        assert outcome.filled == Decimal("0.5")
        assert service.exchange.amount(KEY, BTC) == 0
        again = await venue.submit_close(close(BTC, Side.LONG, "0.5", client_id="ks-2"))
        wrong_side = await venue.submit_close(close(ETH, Side.LONG, "1", client_id="ks-3"))
        for refused in (again, wrong_side):
            assert isinstance(refused, Refused)
            assert refused.reason is RefusalReason.NOTHING_TO_REDUCE
        assert service.exchange.amount(KEY, ETH) == -2


async def test_a_hedged_close_touches_its_own_leg_alone() -> None:
    """The long leg shrinks by 0.2, the short leg stays (lesson 18)."""
    async with simulated(HEDGED) as (service, venue):
        reading = await venue.fetch_reading(SCOPE)
        assert reading.position_mode is PositionMode.HEDGE
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.2", mode=PositionMode.HEDGE))
        assert isinstance(outcome, Done)
        assert outcome.filled == Decimal("0.2")
        assert service.exchange.amount(KEY, BTC, Leg.LONG) == Decimal("0.3")
        assert service.exchange.amount(KEY, BTC, Leg.SHORT) == Decimal("-0.3")


@pytest.mark.parametrize(
    ("seed", "mode"), [(SEED, PositionMode.HEDGE), (HEDGED, PositionMode.ONE_WAY)]
)
async def test_a_close_in_the_wrong_mode_is_refused_and_does_nothing(
    seed: Mapping[str, Any], mode: PositionMode
) -> None:
    """The account was switched behind our back."""
    async with simulated(seed) as (service, venue):
        before = [(p.symbol, p.side, p.quantity) for p in await venue.fetch_positions(SCOPE)]
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.1", mode=mode))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.WRONG_POSITION_MODE
        after = [(p.symbol, p.side, p.quantity) for p in await venue.fetch_positions(SCOPE)]
        assert after == before
        assert len(service.exchange.view(KEY).orders) == 0


async def test_a_resting_reduce_only_order_is_named_as_the_obstacle_and_can_be_cancelled() -> None:
    """A full-size take-profit blocks the close; gone, the close goes through (lesson 21)."""
    profit = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "quantity": "0.5",
        "price": 70000,
        "reduce_only": True,
        "client_id": "tp-1",
    }
    async with simulated({**SEED, "orders": [profit]}) as (service, venue):
        blocked = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(blocked, Refused)
        assert blocked.reason is RefusalReason.RESTING_ORDER_IN_THE_WAY
        (order,) = await venue.fetch_orders(SCOPE)
        assert (order.reduce_only, order.quantity, order.client_id) == (
            True,
            Decimal("0.5"),
            "tp-1",
        )
        assert await venue.submit_cancel(order) == Done(order_id=order.order_id)
        assert await venue.submit_cancel(order) == Done(order_id=order.order_id)
        closed = await venue.submit_close(close(BTC, Side.LONG, "0.5", client_id="ks-2"))
        assert isinstance(closed, Done)
        assert service.exchange.amount(KEY, BTC) == 0


async def test_both_kinds_of_orders_are_seen_and_cancelled() -> None:
    """A stop lives behind another endpoint than a limit order, and both go (lesson 22)."""
    orders = [
        {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.1", "price": 50000},
        {
            "symbol": "BTCUSDT",
            "side": "SELL",
            "type": "STOP_MARKET",
            "trigger_price": 55000,
            "close_position": True,
        },
        {
            "symbol": "ETHUSDT",
            "side": "BUY",
            "type": "STOP_MARKET",
            "quantity": "1",
            "trigger_price": 2500,
            "reduce_only": True,
        },
    ]
    async with simulated({**SEED, "orders": orders}) as (_, venue):
        seen = await venue.fetch_orders(SCOPE)
        assert sorted((o.symbol, o.kind, o.close_position, o.reduce_only) for o in seen) == [
            (BTC, OrderKind.CONDITIONAL, True, seen[1].reduce_only),
            (BTC, OrderKind.REGULAR, False, False),
            (ETH, OrderKind.CONDITIONAL, False, True),
        ]
        assert isinstance(await venue.submit_cancel_all(SCOPE, BTC), Done)
        (left,) = await venue.fetch_orders(SCOPE)
        assert left.symbol == ETH
        assert isinstance(await venue.submit_cancel(left), Done)
        assert await venue.fetch_orders(SCOPE) == ()


@pytest.mark.parametrize("kind", [FaultKind.DROP_AFTER, FaultKind.TRUNCATE, FaultKind.ANSWER_AFTER])
async def test_a_lost_answer_is_unknown_and_the_lookup_tells(kind: FaultKind) -> None:
    """The order took effect and the answer did not arrive: found by our id, filled in full."""
    async with simulated(SEED) as (service, venue):
        service.plan.add(
            Fault(kind=kind, path="/order$", method="POST", times=1, status=503, body="<html>")
        )
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.5")), Unknown)
        assert service.exchange.amount(KEY, BTC) == 0
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert isinstance(found, Done)
        assert found.filled == Decimal("0.5")


async def test_an_order_that_never_arrived_is_not_found() -> None:
    """Reset before it took effect: Unknown, then the venue's word that there is none."""
    async with simulated(SEED) as (service, venue):
        service.plan.add(Fault(kind=FaultKind.DROP_BEFORE, path="/order$", method="POST", times=1))
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.5")), Unknown)
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert isinstance(found, Refused)
        assert found.reason is RefusalReason.NO_SUCH_ORDER
        assert service.exchange.amount(KEY, BTC) == Decimal("0.5")


async def test_a_partial_fill_and_a_bare_acknowledgement_say_what_they_know() -> None:
    """Half filled and expired: 0.25; only acknowledged: not told yet."""
    async with simulated(SEED) as (service, venue):
        service.plan.add(Fault(kind=FaultKind.PARTIAL_FILL, path="/order$", fraction=0.5, nth=1))
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(outcome, Done)
        assert outcome.filled == Decimal("0.25")
        service.plan.clear()
        service.plan.add(Fault(kind=FaultKind.ACKNOWLEDGE_ONLY, path="/order$", nth=1))
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.25", client_id="ks-2"))
        assert isinstance(outcome, Done)
        assert outcome.filled is None


async def test_limits_come_from_both_filters_and_a_later_listing_can_be_closed() -> None:
    """A symbol that appeared after the market list was read is named and closed all the same."""
    async with simulated(SEED) as (service, venue):
        limits = await venue.fetch_market_limits()
        assert limits[BTC].step > 0
        assert limits[BTC].market_max is not None
        listing = {"symbol": "NEWUSDT", "side": "LONG", "quantity": "10", "entry_price": "2"}
        apply_seed(
            service.exchange,
            {**SEED, "prices": {"NEWUSDT": 2}, "positions": [listing]},
        )
        (position,) = await venue.fetch_positions(SCOPE)
        assert (position.symbol, position.base) == ("NEWUSDT", "NEW")
        outcome = await venue.submit_close(close(Symbol("NEWUSDT"), Side.LONG, "10"))
        assert isinstance(outcome, Done)
        assert outcome.filled == 10
        assert (await venue.fetch_marks([Symbol("NEWUSDT")]))[Symbol("NEWUSDT")] == 2


async def test_the_ledger_names_flows_funding_results_and_fees() -> None:
    """A deposit, a withdrawal, a funding payment and a close leave their records."""
    async with simulated(SEED) as (service, venue):
        since = SystemClock().now() - 60
        service.exchange.transfer(KEY, "USDT", Decimal(500))
        service.exchange.transfer(KEY, "USDT", Decimal(-200))
        service.exchange.apply_funding({"BTCUSDT": "0.001"})
        await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        ledger = await venue.fetch_ledger(SCOPE, since)
        flows = sorted(entry.amount for entry in ledger.entries if entry.kind.is_flow)
        assert flows == [-200, 500]
        amounts = {
            kind: sum(entry.amount for entry in ledger.entries if entry.kind is kind)
            for kind in LedgerKind
        }
        assert amounts[LedgerKind.FUNDING] == pytest.approx(-30)
        assert amounts[LedgerKind.REALISED] == pytest.approx(-500, rel=0.05)
        assert amounts[LedgerKind.FEE] < 0
        wallet = (await venue.fetch_reading(SCOPE)).wallet
        assert wallet == pytest.approx(10000 + sum(entry.amount for entry in ledger.entries))
        assert all(abs(entry.at - ledger.asked_at) < 5 for entry in ledger.entries)


async def test_a_replayed_crash_of_another_year_can_be_watched() -> None:
    """The exchange lives in 2021 and its time jumps by a minute: no reading is lost."""
    async with simulated({**SEED, "at": 1618700000}) as (service, venue):
        assert service.exchange.now < 1.7e9
        for minute in range(1, 4):
            service.exchange.set_prices(
                {"BTCUSDT": 60000 - 100 * minute}, at=1618700000 + 60 * minute
            )
            reading = await venue.fetch_reading(SCOPE)
            assert reading.equity == 9700 - 50 * minute
        assert reading.server_offset_s is not None
        assert reading.server_offset_s < -1e8


async def test_a_rate_limit_is_passed_on_with_its_pause() -> None:
    """Reads raise with the pause, orders are refused with it, and nothing is executed."""
    async with simulated(SEED) as (service, venue):
        service.plan.add(Fault(kind=FaultKind.RATE_LIMIT, path="fapi", status=429, seconds=7))
        with pytest.raises(Unavailable) as raised:
            await venue.fetch_reading(SCOPE)
        assert raised.value.retry_after_s == 7
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.RATE_LIMITED
        assert outcome.retry_after_s == pytest.approx(7, abs=1)
        assert service.counts().get("POST /fapi/v1/order") is None
        assert service.exchange.amount(KEY, BTC) == Decimal("0.5")


async def test_a_key_that_is_refused_is_unavailable() -> None:
    """Wrong key: start raises, and an order is refused by name."""
    async with simulated(SEED) as (service, venue):
        service.exchange.accounts.clear()
        with pytest.raises(Unavailable, match="-2015"):
            await venue.start()
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.NOT_ALLOWED
