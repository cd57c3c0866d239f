"""The Bybit adapter with real ccxt on the simulated exchange: what it sends has real effects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import Unavailable
from inspection import AccountFamily, DeadManState, NotTold
from model import (
    ClientOrderId,
    CloseInstruction,
    Done,
    IncidentId,
    LedgerKind,
    MarginMode,
    OrderKind,
    OrderSide,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from simulator import margin
from simulator.faults import Fault, FaultKind
from simulator.state import Leg, OrderRequest, OrderType
from tests.simulated import KEY, SECRET, Simulated, seed, simulated
from venues.access import Access
from venues.bybit import BybitUnified

SCOPE = ScopeId("bybit_futures")
BTC, SOL, PERP = Symbol("BTCUSDT"), Symbol("SOLUSDT"), Symbol("BTCPERP")


@asynccontextmanager
async def account(**changes: Any) -> AsyncIterator[tuple[Simulated, BybitUnified]]:
    """A simulated unified account and an adapter connected to it over loopback."""
    async with simulated(seed(**changes), venue="bybit") as at:
        venue = BybitUnified(
            scope=SCOPE,
            access=Access(
                credentials={"apiKey": KEY, "secret": SECRET},
                simulator_url=at.url,
                order_timeout_s=1.0,
            ),
            clock=SystemClock(),
            stables=("USDT", "USDC"),
        )
        try:
            await venue.start()
            yield at, venue
        finally:
            await venue.aclose()


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


BOTH_COINS: tuple[Mapping[str, Any], ...] = (
    {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000},
    {"symbol": "BTCPERP", "side": "SHORT", "quantity": "0.2", "entry_price": 59000},
)
MIXED: tuple[Mapping[str, Any], ...] = (
    {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 60000},
    {
        "symbol": "SOLUSDT",
        "side": "LONG",
        "quantity": 10,
        "entry_price": 100,
        "position_mode": "hedge",
    },
    {
        "symbol": "SOLUSDT",
        "side": "SHORT",
        "quantity": 4,
        "entry_price": 100,
        "position_mode": "hedge",
    },
)
PRICES = {"BTCUSDT": 60000, "BTCPERP": 60000, "SOLUSDT": 100}


async def test_a_reading_agrees_with_the_exchange() -> None:
    """10,000 + 500 USDC - 0.5 x 1,000 - 0.2 x 1,000 + 0.1 BTC - 1 SOL owed.

    10,500 - 500 - 200 + 6,000 - 100 = 15,700, and the venue's own total says so.
    """
    wallet = {"USDT": 10000, "USDC": 500, "BTC": "0.1", "SOL": -1}
    async with account(wallet=wallet, prices=PRICES, positions=BOTH_COINS) as (at, venue):
        reading = await venue.fetch_reading(SCOPE)
        assert reading.equity == pytest.approx(15700)
        assert reading.equity == float(margin.equity_usd(at.exchange.view(KEY)))
        assert reading.unrealised_pnl == pytest.approx(-700)
        assert sum(p.unrealised_pnl for p in reading.positions) == reading.unrealised_pnl
        assert [(p.symbol, p.base, p.margin_asset) for p in reading.positions] == [
            (BTC, "BTC", "USDT"),
            (PERP, "BTC", "USDC"),
        ]
        assert {coin.asset: (coin.quantity, coin.price) for coin in reading.coins} == {
            "BTC": (Decimal("0.1"), 60000),
            "SOL": (Decimal(-1), 100),
        }


async def test_positions_in_both_coins_are_closed() -> None:
    """A contract settled in USDC goes by the same order."""
    async with account(prices=PRICES, positions=BOTH_COINS) as (at, venue):
        outcomes = await venue.submit_closes(
            [
                close(BTC, Side.LONG, "0.5"),
                close(PERP, Side.SHORT, "0.2", client_id="ks-2"),
            ]
        )
        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert not at.exchange.account(KEY).legs


async def test_each_symbol_is_closed_in_its_own_mode() -> None:
    """One symbol hedged, another not: every close takes its own leg and no other (lesson 18)."""
    async with account(prices=PRICES, positions=MIXED) as (at, venue):
        assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.HEDGE
        hedge = PositionMode.HEDGE
        for number, (symbol, side, quantity) in enumerate(
            ((SOL, Side.SHORT, "4"), (BTC, Side.LONG, "0.5"), (SOL, Side.LONG, "6"))
        ):
            instruction = close(symbol, side, quantity, mode=hedge, client_id=f"ks-{number}")
            assert isinstance(await venue.submit_close(instruction), Done)
        assert at.exchange.amount(KEY, SOL, Leg.LONG) == 4
        assert set(at.exchange.account(KEY).legs) == {(SOL, Leg.LONG)}


async def test_a_close_under_the_wrong_index_is_refused_and_does_nothing() -> None:
    """Nothing was read yet, so that the instruction's mode decides; a read puts it right."""
    async with account() as (at, venue):
        wrong = close(BTC, Side.LONG, "0.5", mode=PositionMode.HEDGE)
        outcome = await venue.submit_close(wrong)
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.code) == (RefusalReason.WRONG_POSITION_MODE, "10001")
        assert at.exchange.amount(KEY, BTC) == Decimal("0.5")
        assert await venue.fetch_position_mode(SCOPE) is PositionMode.ONE_WAY
        assert isinstance(await venue.submit_close(wrong), Done)
        assert at.exchange.amount(KEY, BTC) == 0


async def test_the_venue_splits_what_is_too_large_by_itself() -> None:
    """500 where a market order takes 120: all of it goes, and nothing more."""
    position = {"symbol": "BTCUSDT", "side": "LONG", "quantity": 500, "entry_price": 60000}
    async with account(wallet={"USDT": 10_000_000}, positions=[position]) as (at, venue):
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "700")), Done)
        assert at.exchange.amount(KEY, BTC) == 0


async def test_a_resting_reducer_stands_in_nobodys_way() -> None:
    """It goes with the position."""
    async with account() as (at, venue):
        at.exchange.place(
            KEY,
            OrderRequest(
                symbol=BTC,
                side=OrderSide.SELL,
                order_type=OrderType.LIMIT,
                quantity=Decimal("0.5"),
                price=Decimal(70000),
                reduce_only=True,
            ),
        )
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.5")), Done)
        assert await venue.fetch_orders(SCOPE) == ()


async def test_an_id_is_taken_for_ever() -> None:
    """The same order again is a duplicate, also when the first one is filled long since."""
    async with account() as (at, venue):
        first = close(BTC, Side.LONG, "0.2")
        assert isinstance(await venue.submit_close(first), Done)
        again = await venue.submit_close(first)
        assert isinstance(again, Refused)
        assert (again.reason, again.code) == (RefusalReason.DUPLICATE_ID, "110072")
        assert at.exchange.amount(KEY, BTC) == Decimal("0.3")


async def test_an_acknowledgement_tells_nothing_and_the_look_up_what_was_filled() -> None:
    """A thin book fills 40 %; the rest of a market order is cancelled."""
    async with account() as (at, venue):
        fault = Fault(kind=FaultKind.PARTIAL_FILL, path="order/create", fraction=0.4)
        at.service.plan.add(fault)
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(outcome, Done)
        assert outcome.filled is None
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert found == Done(order_id=outcome.order_id, filled=Decimal("0.2"))
        assert at.exchange.amount(KEY, BTC) == Decimal("0.3")


@pytest.mark.parametrize("kind", [FaultKind.DROP_AFTER, FaultKind.TRUNCATE])
async def test_a_lost_answer_is_unknown_and_the_look_up_tells(kind: FaultKind) -> None:
    """Also once the order is in the history alone."""
    async with account() as (at, venue):
        at.service.plan.add(Fault(kind=kind, path="order/create"))
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.2")), Unknown)
        at.service.plan.add(
            Fault(
                kind=FaultKind.ANSWER_BEFORE,
                path="order/realtime",
                status=200,
                body='{"retCode":0,"result":{"list":[],"nextPageCursor":""}}',
            )
        )
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert isinstance(found, Done)
        assert found.filled == Decimal("0.2")


async def test_more_orders_than_the_venue_cancels_at_once_are_all_cancelled() -> None:
    """500 resting ones and 10 stops on one symbol; the other symbol keeps its own."""
    async with account(wallet={"USDT": 10_000_000}) as (at, venue):

        def rest(symbol: Symbol, price: int, *, is_stop: bool = False) -> None:
            at.exchange.place(
                KEY,
                OrderRequest(
                    symbol=symbol,
                    side=OrderSide.BUY,
                    order_type=OrderType.STOP_MARKET if is_stop else OrderType.LIMIT,
                    quantity=Decimal("0.1"),
                    price=None if is_stop else Decimal(price),
                    trigger_price=Decimal(price) if is_stop else None,
                ),
            )

        for _ in range(500):
            rest(BTC, 50000)
        for _ in range(10):
            rest(BTC, 70000, is_stop=True)
        rest(SOL, 80)
        orders = await venue.fetch_orders(SCOPE)
        kinds = [order.kind for order in orders]
        assert (kinds.count(OrderKind.REGULAR), kinds.count(OrderKind.CONDITIONAL)) == (501, 10)
        assert isinstance(await venue.submit_cancel_all(SCOPE, BTC), Done)
        assert [order.symbol for order in await venue.fetch_orders(SCOPE)] == [SOL]


async def test_the_ledger_names_flows_funding_results_and_fees() -> None:
    """-300 out; 5 of 10 SOL closed 10 below: -50 and a fee of 0.25; funding of 3 on 30,000."""
    async with account() as (at, venue):
        since = at.exchange.now - 60
        at.exchange.transfer(KEY, "USDT", Decimal(-300))
        at.exchange.apply_funding({"BTCUSDT": "0.0001"})
        await venue.submit_close(close(SOL, Side.SHORT, "5"))
        ledger = await venue.fetch_ledger(SCOPE, since)
        found = {(entry.kind, entry.symbol): entry.amount for entry in ledger.entries}
        assert found == {
            (LedgerKind.TRANSFER, None): -300,
            (LedgerKind.FUNDING, BTC): -3,
            (LedgerKind.REALISED, SOL): pytest.approx(-50),
            (LedgerKind.FEE, SOL): pytest.approx(-0.25),
        }
        assert all(since < entry.at <= ledger.asked_at + 1 for entry in ledger.entries)


async def test_a_rate_limit_and_a_ban_are_passed_on_with_their_pause() -> None:
    """10006 on status 200 is a second, 403 ten minutes."""
    for status, pause_s in ((429, 1.0), (403, 600.0)):
        async with account() as (at, venue):
            at.service.plan.add(Fault(kind=FaultKind.RATE_LIMIT, path="v5", status=status))
            outcome = await venue.submit_close(close(BTC, Side.LONG, "0.1"))
            assert isinstance(outcome, Refused)
            assert (outcome.reason, outcome.retry_after_s) == (RefusalReason.RATE_LIMITED, pause_s)


async def test_a_key_that_is_refused_is_unavailable() -> None:
    """With the venue's own words."""
    async with account() as (at, venue):
        at.exchange.accounts[KEY].api_secret = "another"
        with pytest.raises(Unavailable, match="10004"):
            await venue.fetch_reading(SCOPE)


async def test_fifty_closes_keep_to_both_allowances() -> None:
    """Ten single orders and ten of batches in a second: none is refused by the venue."""
    symbols = [Symbol(f"C{number:02d}USDT") for number in range(50)]
    positions = [
        {"symbol": symbol, "side": "LONG", "quantity": 10, "entry_price": 10, "mark_price": 10}
        for symbol in symbols
    ]
    async with account(markets=[], prices={}, positions=positions) as (at, venue):
        left = [
            close(symbol, Side.LONG, "10", client_id=f"ks-{symbol.lower()}") for symbol in symbols
        ]
        for _ in range(6):
            outcomes = await venue.submit_closes(left)
            held_back = [told for told in outcomes if isinstance(told, Refused)]
            # Held back on this side of the line: an empty code is none of the venue's.
            assert {told.code for told in held_back} <= {""}
            left = [
                one for one, told in zip(left, outcomes, strict=True) if not isinstance(told, Done)
            ]
            if not left:
                break
        assert not at.exchange.account(KEY).legs
        assert not [event for event in at.exchange.ledger if event["event"] == "rejected"]


async def test_what_the_venue_tells_of_itself() -> None:
    """A unified account whose key can trade and not withdraw; its switch is for institutions."""
    async with account() as (_, venue):
        told = await venue.inspect(SCOPE, (BTC,))
        assert told.family is AccountFamily.UNIFIED
        assert isinstance(told.position_mode, NotTold)
        rights = told.rights
        assert (rights.can_read, rights.can_trade, rights.can_withdraw) == (True, True, False)
        assert (rights.can_read_transfers, rights.is_bound_to_ip) == (True, False)
        assert told.dead_man.state is DeadManState.NOT_ELIGIBLE
        assert (told.pace.most, told.pace.within_s) == (20, 1.0)
        assert isinstance(told.latency_s, float)
        assert (told.costs[BTC].spread, told.costs[BTC].fee) == (0, 0.0005)
        assert told.unwatched == ()
    async with account(can_trade=False, can_withdraw=True) as (_, venue):
        rights = (await venue.inspect(SCOPE, ())).rights
        assert (rights.can_trade, rights.can_withdraw) == (False, True)
    async with account(can_trade=False) as (_, venue):
        rights = (await venue.inspect(SCOPE, ())).rights
        assert (rights.can_read, rights.can_trade) == (True, False)
