"""The Bitget adapter with real ccxt on the simulated exchange: what it sends has real effects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import Unavailable
from inspection import AccountFamily, DeadManState, NotTold, Presence
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
from simulator.wire.bitget import RULES
from tests.simulated import KEY, SECRET, Simulated, seed, simulated
from tests.venue_rigs import PASSPHRASE
from venues.access import Access
from venues.bitget import BitgetFutures

SCOPE = ScopeId("bitget_futures")
BTC, SOL, PERP = Symbol("BTCUSDT"), Symbol("SOLUSDT"), Symbol("BTCPERP")
KINDS = ("classic", "unified")
PLACE = "place-order"
PRICES = {"BTCUSDT": 60000, "BTCPERP": 60000, "SOLUSDT": 100}
BOTH_WALLETS = {"USDT": 10_000, "USDC": 10_000}
BOTH_COINS: tuple[Mapping[str, Any], ...] = (
    {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000},
    {"symbol": "BTCPERP", "side": "SHORT", "quantity": "0.2", "entry_price": 59000},
)


@asynccontextmanager
async def account(
    kind: str = "classic", *, order_timeout_s: float = 1.0, **changes: Any
) -> AsyncIterator[tuple[Simulated, BitgetFutures]]:
    """A simulated account of that kind and an adapter connected to it over loopback."""
    content = seed(passphrase=PASSPHRASE, unified=kind == "unified", **changes)
    async with simulated(content, venue="bitget") as at:
        venue = BitgetFutures(
            scope=SCOPE,
            access=Access(
                credentials={"apiKey": KEY, "secret": SECRET, "password": PASSPHRASE},
                simulator_url=at.url,
                order_timeout_s=order_timeout_s,
            ),
            clock=SystemClock(),
            stables=("USDT", "USDC"),
        )
        try:
            await venue.start()
            yield at, venue
        finally:
            await venue.aclose()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of account."""
    return str(request.param)


def close(symbol: Symbol, side: Side, quantity: str, **changes: Any) -> CloseInstruction:
    """An approved close."""
    return CloseInstruction(
        **{
            "scope": SCOPE,
            "symbol": symbol,
            "side": side,
            "quantity": Decimal(quantity),
            "client_id": ClientOrderId("ks-1"),
            "position_mode": PositionMode.ONE_WAY,
            "margin_mode": MarginMode.CROSS,
            "incident_id": IncidentId("incident"),
            **changes,
        }
    )


def rest(at: Simulated, symbol: Symbol, at_price: int, **changes: Any) -> None:
    """A limit order to buy 0.1 that a bot left, changed as asked."""
    at.exchange.place(
        KEY,
        OrderRequest(
            **{
                "symbol": symbol,
                "side": OrderSide.BUY,
                "order_type": OrderType.LIMIT,
                "quantity": Decimal("0.1"),
                "price": Decimal(at_price),
                **changes,
            }
        ),
    )


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes"), [("classic", {"multi_assets": True}), ("unified", {})]
)
async def test_a_reading_agrees_with_the_exchange(kind: str, changes: dict[str, Any]) -> None:
    """10,500 - 500 - 200 + 0.1 BTC: 15,800, whether the BTC are pledged or in the one wallet."""
    wallet = {"USDT": 10000, "USDC": 500, "BTC": "0.1"}
    content = {"wallet": wallet, "prices": PRICES, "positions": BOTH_COINS, **changes}
    async with account(kind, **content) as (at, venue):
        reading = await venue.fetch_reading(SCOPE)
        assert reading.equity == pytest.approx(15800)
        assert reading.equity == float(margin.equity_usd(at.exchange.view(KEY)))
        assert reading.unrealised_pnl == pytest.approx(-700)
        assert [(p.symbol, p.base, p.margin_asset) for p in reading.positions] == [
            (BTC, "BTC", "USDT"),
            (PERP, "BTC", "USDC"),
        ]
        assert {coin.asset: (coin.quantity, coin.price) for coin in reading.coins} == {
            "BTC": (Decimal("0.1"), 60000)
        }


async def test_a_coin_that_is_owed_counts_against_the_account() -> None:
    """10,000 USDT - 600 of positions - 1 SOL owed at 100."""
    async with account("unified", wallet={"USDT": 10000, "SOL": -1}) as (_, venue):
        reading = await venue.fetch_reading(SCOPE)
        assert reading.equity == pytest.approx(9300)
        assert [(coin.asset, coin.quantity, coin.side) for coin in reading.coins] == [
            ("SOL", Decimal(-1), Side.SHORT)
        ]


async def test_a_key_that_is_refused_is_unavailable(kind: str) -> None:
    """With the venue's own code; the kind of account stays what it was."""
    async with account(kind) as (at, venue):
        at.exchange.accounts[KEY].passphrase = "another"
        with pytest.raises(Unavailable, match="40012"):
            await venue.fetch_reading(SCOPE)


async def test_an_account_that_is_upgraded_is_read_and_closed_as_what_it_is() -> None:
    """From classic to unified while the guard runs: one reading is lost."""
    async with account() as (at, venue):
        await venue.fetch_reading(SCOPE)
        at.exchange.accounts[KEY].is_unified = True
        with pytest.raises(Unavailable, match="40085"):
            await venue.fetch_reading(SCOPE)
        assert (await venue.fetch_reading(SCOPE)).equity == pytest.approx(9400)
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.5")), Done)
        assert at.exchange.amount(KEY, BTC) == 0


# --- closing ----------------------------------------------------------------------------------


async def test_positions_of_both_products_are_closed(kind: str) -> None:
    """A contract settled in USDC goes by the same order."""
    async with account(kind, wallet=BOTH_WALLETS, prices=PRICES, positions=BOTH_COINS) as (
        at,
        venue,
    ):
        outcomes = await venue.submit_closes(
            [
                close(BTC, Side.LONG, "0.5"),
                close(PERP, Side.SHORT, "0.2", client_id=ClientOrderId("ks-2")),
            ]
        )
        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert not at.exchange.account(KEY).legs


async def test_a_close_larger_than_the_position_never_flips_it(kind: str) -> None:
    """0.7 of 0.5 that are left: the position is gone, and nothing is open on the other side."""
    async with account(kind) as (at, venue):
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.7")), Done)
        assert at.exchange.amount(KEY, BTC) == 0
        again = close(BTC, Side.LONG, "0.1", client_id=ClientOrderId("ks-2"))
        refused = await venue.submit_close(again)
        assert isinstance(refused, Refused)
        assert refused.reason is RefusalReason.NOTHING_TO_REDUCE
        assert set(at.exchange.account(KEY).legs) == {(SOL, Leg.BOTH)}


async def test_a_hedged_close_touches_its_own_leg_alone(kind: str) -> None:
    """0.5 long and 0.3 short: a close takes its own side, however much it asks (lesson 18)."""
    legs = [{**BOTH_COINS[0]}, {**BOTH_COINS[0], "side": "SHORT", "quantity": "0.3"}]
    async with account(kind, position_mode="hedge", positions=legs) as (at, venue):
        hedge = PositionMode.HEDGE
        assert isinstance(
            await venue.submit_close(close(BTC, Side.LONG, "0.2", position_mode=hedge)), Done
        )
        assert at.exchange.amount(KEY, BTC, Leg.LONG) == Decimal("0.3")
        second = close(BTC, Side.SHORT, "0.3", position_mode=hedge, client_id=ClientOrderId("ks-2"))
        assert isinstance(await venue.submit_close(second), Done)
        assert at.exchange.amount(KEY, BTC, Leg.SHORT) == 0
        assert at.exchange.amount(KEY, BTC, Leg.LONG) == Decimal("0.3")


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
@pytest.mark.parametrize("again", [None, Side.LONG, Side.SHORT])
async def test_a_hedged_close_that_arrives_in_one_way_mode_never_opens(
    kind: str, side: Side, again: Side | None
) -> None:
    """Read as hedged; a bot flattens, switches the mode and may enter again before it arrives."""
    legs = [{**BOTH_COINS[0], "side": side.value}]
    async with account(kind, position_mode="hedge", positions=legs) as (at, venue):
        await venue.fetch_positions(SCOPE)
        flat = OrderRequest(
            symbol=BTC,
            side=side.closing_order,
            order_type=OrderType.MARKET,
            quantity=Decimal("0.5"),
            leg=Leg(side.value),
        )
        at.exchange.place(KEY, flat)
        at.exchange.set_position_mode(KEY, PositionMode.ONE_WAY)
        if again is not None:
            towards = again.opposite.closing_order
            entry = replace(flat, side=towards, leg=Leg.BOTH, quantity=Decimal("0.1"))
            at.exchange.place(KEY, entry)
        before = at.exchange.amount(KEY, BTC)
        await venue.submit_close(close(BTC, side, "0.5", position_mode=PositionMode.HEDGE))
        assert at.exchange.amount(KEY, BTC) in (before, 0)


async def test_a_venue_that_refuses_the_flag_of_hedged_closes_is_not_sent_it_twice(
    kind: str,
) -> None:
    """Refused before the book; the next close of any leg goes without it."""
    legs = [{**BOTH_COINS[0]}, {**BOTH_COINS[0], "side": "SHORT", "quantity": "0.3"}]
    async with account(kind, position_mode="hedge", positions=legs) as (at, venue):
        at.exchange.world.rules = replace(RULES, takes_flag_when_hedged=False)
        outcomes = [
            await venue.submit_close(
                close(
                    BTC,
                    side,
                    "0.3",
                    position_mode=PositionMode.HEDGE,
                    client_id=ClientOrderId(f"ks-{number}"),
                )
            )
            for number, side in enumerate((Side.LONG, Side.LONG, Side.SHORT))
        ]
        assert [type(outcome) for outcome in outcomes] == [Refused, Done, Done]
        assert at.exchange.amount(KEY, BTC, Leg.LONG) == Decimal("0.2")
        assert at.exchange.amount(KEY, BTC, Leg.SHORT) == 0


async def test_each_product_of_a_classic_account_is_closed_in_its_own_mode() -> None:
    """USDC hedged, USDT not: what the guard calls a hedged account opens nothing in the other."""
    usdc = {"symbol": "BTCPERP", "entry_price": 60000, "position_mode": "hedge"}
    positions = [
        BOTH_COINS[0],
        {**usdc, "side": "LONG", "quantity": "0.3"},
        {**usdc, "side": "SHORT", "quantity": "0.2"},
    ]
    async with account(wallet=BOTH_WALLETS, prices=PRICES, positions=positions) as (at, venue):
        assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.HEDGE
        for number, (symbol, side, quantity) in enumerate(
            ((PERP, Side.SHORT, "0.2"), (BTC, Side.LONG, "0.5"), (PERP, Side.LONG, "0.1"))
        ):
            instruction = close(
                symbol,
                side,
                quantity,
                position_mode=PositionMode.HEDGE,
                client_id=ClientOrderId(f"ks-{number}"),
            )
            assert isinstance(await venue.submit_close(instruction), Done)
        assert set(at.exchange.account(KEY).legs) == {(PERP, Leg.LONG)}
        assert at.exchange.amount(KEY, PERP, Leg.LONG) == Decimal("0.2")


async def test_an_isolated_position_is_closed_in_its_own_margin_mode(kind: str) -> None:
    """The venue refuses a close of another margin mode, and it changes nothing."""
    position = {**BOTH_COINS[0], "margin_mode": "isolated", "isolated_margin": 4000}
    async with account(kind, positions=[position]) as (at, venue):
        (held,) = (await venue.fetch_reading(SCOPE)).positions
        assert held.margin_mode is MarginMode.ISOLATED
        wrong = await venue.submit_close(close(BTC, Side.LONG, "0.1"))
        assert not isinstance(wrong, Done)
        assert at.exchange.amount(KEY, BTC) == Decimal("0.5")
        right = close(
            BTC, Side.LONG, "0.5", margin_mode=MarginMode.ISOLATED, client_id=ClientOrderId("ks-2")
        )
        assert isinstance(await venue.submit_close(right), Done)
        assert at.exchange.amount(KEY, BTC) == 0


async def test_an_order_that_others_made_way_for_is_looked_up(kind: str) -> None:
    """It is answered without an id, which proves nothing; the look-up tells what it did."""
    async with account(kind) as (at, venue):
        stays = {"side": OrderSide.SELL, "reduce_only": True, "quantity": Decimal("0.5")}
        rest(at, BTC, 70_000, **stays)
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(outcome, Unknown)
        assert at.exchange.amount(KEY, BTC) == 0
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert isinstance(found, Done)
        assert found.filled == Decimal("0.5")


async def test_a_hedged_close_that_resting_ones_block_is_told_so(kind: str) -> None:
    """All of the leg is claimed: the caller cancels what rests, then it goes."""
    legs = [{**BOTH_COINS[0]}, {**BOTH_COINS[0], "side": "SHORT"}]
    async with account(kind, position_mode="hedge", positions=legs) as (at, venue):
        rest(at, BTC, 70_000, side=OrderSide.SELL, quantity=Decimal("0.5"), leg=Leg.LONG)
        instruction = close(BTC, Side.LONG, "0.5", position_mode=PositionMode.HEDGE)
        blocked = await venue.submit_close(instruction)
        assert isinstance(blocked, Refused)
        assert blocked.reason is RefusalReason.RESTING_ORDER_IN_THE_WAY
        assert isinstance(await venue.submit_cancel_all(SCOPE, BTC), Done)
        assert isinstance(await venue.submit_close(instruction), Done)
        assert set(at.exchange.account(KEY).legs) == {(BTC, Leg.SHORT)}


async def test_an_id_is_taken_for_ever(kind: str) -> None:
    """The same order again is a duplicate, also when the first one is filled long since."""
    async with account(kind) as (at, venue):
        first = close(BTC, Side.LONG, "0.2")
        assert isinstance(await venue.submit_close(first), Done)
        again = await venue.submit_close(first)
        assert isinstance(again, Refused)
        assert (again.reason, again.code) == (RefusalReason.DUPLICATE_ID, "40786")
        assert at.exchange.amount(KEY, BTC) == Decimal("0.3")


async def test_an_acknowledgement_tells_nothing_and_the_look_up_what_was_filled(
    kind: str,
) -> None:
    """A thin book fills 40 %; the rest of a market order is cancelled."""
    async with account(kind) as (at, venue):
        at.service.plan.add(Fault(kind=FaultKind.PARTIAL_FILL, path=PLACE, fraction=0.4))
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.5"))
        assert isinstance(outcome, Done)
        assert outcome.filled is None
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert found == Done(order_id=outcome.order_id, filled=Decimal("0.2"))
        assert at.exchange.amount(KEY, BTC) == Decimal("0.3")


@pytest.mark.parametrize("fault", [FaultKind.DROP_AFTER, FaultKind.TRUNCATE])
async def test_a_lost_answer_is_unknown_and_the_look_up_tells(kind: str, fault: FaultKind) -> None:
    """What was lost is found by our own id."""
    async with account(kind) as (at, venue):
        at.service.plan.add(Fault(kind=fault, path=PLACE))
        assert isinstance(await venue.submit_close(close(BTC, Side.LONG, "0.2")), Unknown)
        found = await venue.find_order(SCOPE, ClientOrderId("ks-1"), BTC)
        assert isinstance(found, Done)
        assert found.filled == Decimal("0.2")


async def test_a_rate_limit_is_passed_on_with_its_pause(kind: str) -> None:
    """As long as the venue says, though its windows are of one second."""
    async with account(kind) as (at, venue):
        at.service.plan.add(Fault(kind=FaultKind.RATE_LIMIT, path=PLACE, status=429, seconds=3))
        outcome = await venue.submit_close(close(BTC, Side.LONG, "0.1"))
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.retry_after_s) == (RefusalReason.RATE_LIMITED, 3.0)


async def test_fifty_closes_are_all_carried_out(kind: str) -> None:
    """What is held back on this side or the other for its pace is sent again, and nothing twice."""
    symbols = [Symbol(f"C{number:02d}USDT") for number in range(50)]
    positions = [
        {"symbol": symbol, "side": "LONG", "quantity": 10, "entry_price": 10, "mark_price": 10}
        for symbol in symbols
    ]
    async with account(kind, markets=[], prices={}, positions=positions) as (at, venue):
        left = [
            close(symbol, Side.LONG, "10", client_id=ClientOrderId(f"ks-{symbol.lower()}"))
            for symbol in symbols
        ]
        while left:
            outcomes = await venue.submit_closes(left)
            refused = [told for told in outcomes if isinstance(told, Refused)]
            assert {told.reason for told in refused} <= {RefusalReason.RATE_LIMITED}
            again = [
                one for one, told in zip(left, outcomes, strict=True) if not isinstance(told, Done)
            ]
            assert len(again) < len(left)
            left = again
        assert not at.exchange.account(KEY).legs
        assert not [event for event in at.exchange.ledger if event["event"] == "rejected"]


# --- orders and records -----------------------------------------------------------------------


async def test_every_kind_of_order_is_read_and_cancelled(kind: str) -> None:
    """230 resting, a trigger, a stop-loss, a take-profit; another symbol keeps its own."""
    async with account(kind, wallet={"USDT": 10_000_000}) as (at, venue):
        for _ in range(230):
            rest(at, BTC, 50_000)
        stop: dict[str, Any] = {"order_type": OrderType.STOP_MARKET, "price": None}
        closing = {"side": OrderSide.SELL, "reduce_only": True}
        rest(at, BTC, 0, **stop, trigger_price=Decimal(70_000))
        rest(at, BTC, 0, **stop, **closing, trigger_price=Decimal(50_000))
        profit = {**stop, "order_type": OrderType.TAKE_PROFIT_MARKET}
        rest(at, BTC, 0, **profit, **closing, trigger_price=Decimal(70_000))
        rest(at, SOL, 80, quantity=Decimal(2))
        orders = await venue.fetch_orders(SCOPE)
        kinds = [order.kind for order in orders]
        assert (kinds.count(OrderKind.REGULAR), kinds.count(OrderKind.CONDITIONAL)) == (231, 3)
        plans = [order for order in orders if order.kind is OrderKind.CONDITIONAL]
        assert sorted(plan.reduce_only for plan in plans) == [False, True, True]
        assert isinstance(await venue.submit_cancel(plans[0]), Done)
        assert len(await venue.fetch_orders(SCOPE)) == len(orders) - 1
        assert isinstance(await venue.submit_cancel_all(SCOPE, BTC), Done)
        assert [order.symbol for order in await venue.fetch_orders(SCOPE)] == [SOL]


async def test_the_ledger_names_flows_funding_results_and_fees(kind: str) -> None:
    """-300 out; 5 of 10 SOL closed 10 below: -50 and a fee of 0.25; funding of 3 on 30,000."""
    async with account(kind) as (at, venue):
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


FAMILIES = {"classic": AccountFamily.CLASSIC, "unified": AccountFamily.UNIFIED}


async def test_what_the_venue_tells_of_itself(kind: str) -> None:
    """A key that can trade and not withdraw; ten orders a second; no switch that can be asked."""
    async with account(kind) as (_, venue):
        told = await venue.inspect(SCOPE, (BTC,))
        assert told.family is FAMILIES[kind]
        assert told.position_mode is PositionMode.ONE_WAY
        rights = told.rights
        assert (rights.can_read, rights.can_trade, rights.can_withdraw) == (True, True, False)
        assert (rights.can_read_transfers, rights.is_bound_to_ip) == (True, False)
        is_classic = kind == "classic"
        assert told.dead_man.state is (
            DeadManState.NOT_ELIGIBLE if is_classic else DeadManState.NOT_TOLD
        )
        assert (told.pace.most, told.pace.within_s) == (10, 1.0)
        assert isinstance(told.latency_s, float)
        assert told.costs[BTC].spread == 0
        assert told.unwatched == ()
    async with account(kind, can_trade=False) as (at, venue):
        rights = (await venue.inspect(SCOPE, ())).rights
        assert (rights.can_trade, rights.can_withdraw) == (False, False)
        at.service.plan.add(Fault(kind=FaultKind.ANSWER_BEFORE, status=502, body="<html>"))
        blind = await venue.inspect(SCOPE, (BTC,))
        assert isinstance(blind.latency_s, NotTold)
        assert blind.rights.can_read is None
        assert blind.costs == {}
        assert {part.presence for part in blind.unwatched} == {Presence.UNSEEN}
