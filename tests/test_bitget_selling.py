"""A unified Bitget account whose coins are for sale, through real ccxt, on the simulated venue.

The wallet holds 10,000 USDT, 1 ETH at 2,000 and 50 SOL at 100; short 10 SOL and long 0.5 BTC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import InvariantViolation, Unavailable
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    IncidentId,
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
from simulator.faults import Fault, FaultKind
from simulator.seeds import spot_order_request
from tests.simulated import KEY, Simulated, seed, simulated
from tests.venue_rigs import PASSPHRASE, STABLES, access_to
from venues.adapters import connect_account
from venues.protocol import Venue

SCOPE = ScopeId("bitget_futures")
ETH, SOL, BTC_MARKET = Symbol("ETH"), Symbol("SOL"), Symbol("BTCUSDT")
UNIFIED: dict[str, Any] = {"unified": True, "passphrase": PASSPHRASE}
WALLET = {"USDT": 10000, "ETH": 1, "SOL": 50}
PRICES = {"BTCUSDT": 60000, "ETHUSDT": 2000, "SOLUSDT": 100, "XRPUSDT": "0.5"}


@dataclass(frozen=True, kw_only=True)
class At:
    """A running venue and the adapter that talks to it."""

    place: Simulated
    venue: Venue

    def sent(self, method: str, path: str) -> list[dict[str, str]]:
        """The parameters of every request to one endpoint."""
        return [
            dict(one.parameters)
            for one in self.place.service.log
            if (one.method, one.path) == (method, path)
        ]

    def fail(self, kind: FaultKind, path: str, **fault: Any) -> None:
        """Let requests to one endpoint meet a fault."""
        self.place.service.plan.add(Fault(kind=kind, path=path, **fault))

    def held(self, asset: str) -> Decimal:
        """All of a coin in the one wallet."""
        return self.place.exchange.account(KEY).wallet.get(asset, Decimal(0))

    def rest(self, **entry: Any) -> None:
        """Let a bot place an order on a spot market."""
        self.place.exchange.spot.place(KEY, spot_order_request(entry))


@asynccontextmanager
async def at_venue(*, sells_coins: bool = True, **changes: Any) -> AsyncIterator[At]:
    """The adapter in front of a fresh account, with its market rules and one reading."""
    content = {**UNIFIED, "wallet": WALLET, "prices": PRICES, **changes}
    async with simulated(seed(**content), venue="bitget") as place:
        venue = connect_account(
            "bitget",
            "futures",
            scope=SCOPE,
            access=access_to("bitget", place.url, order_timeout_s=2.0),
            clock=SystemClock(),
            stables=STABLES,
            sells_coins=sells_coins,
        )
        try:
            await venue.start()
            await venue.fetch_market_limits()
            await venue.fetch_reading(SCOPE)
            yield At(place=place, venue=venue)
        finally:
            await venue.aclose()


@pytest.fixture
async def at() -> AsyncIterator[At]:
    """The usual account."""
    async with at_venue() as made:
        yield made


def close(symbol: Symbol, quantity: str, **changes: Any) -> CloseInstruction:
    """An approved close, or sale."""
    own = CloseInstruction(
        scope=SCOPE,
        symbol=symbol,
        side=Side.LONG,
        quantity=Decimal(quantity),
        client_id=ClientOrderId("ks-inc-1-1-1"),
        position_mode=PositionMode.ONE_WAY,
        margin_mode=MarginMode.CROSS,
        incident_id=IncidentId("inc"),
    )
    return replace(own, **changes)


async def test_coins_are_for_sale_only_where_the_owner_says_so() -> None:
    """Without `sell_collateral` nothing of a spot market is asked, and nothing can be sold."""
    for sells, expected in ((True, {"ETH": Decimal(1), "SOL": Decimal(50)}), (False, {})):
        async with at_venue(sells_coins=sells) as at:
            reading = await at.venue.fetch_reading(SCOPE)
            assert {
                coin.asset: coin.sellable for coin in reading.coins if coin.sellable
            } == expected
            assert {coin.asset for coin in reading.coins} == {"ETH", "SOL"}
            held = await at.venue.fetch_positions(SCOPE)
            await at.venue.fetch_orders(SCOPE)
            assert {position.symbol for position in held} == {"BTCUSDT", "SOLUSDT", *expected}
            asked = [
                one for one in at.place.service.log if one.parameters.get("category") == "SPOT"
            ]
            assert bool(asked) is sells


async def test_sizes_tell_what_spot_orders_hold(at: At) -> None:
    """20 of 50 SOL rest in a sale; the contract of the same coin is a row of its own."""
    at.rest(symbol="SOLUSDT", side="SELL", type="LIMIT", quantity=20, price=150)
    found = {position.symbol: position for position in await at.venue.fetch_positions(SCOPE)}
    assert (found[SOL].quantity, found[SOL].locked) == (Decimal(50), Decimal(20))
    assert found[SOL].mark_price == pytest.approx(100.0)
    assert found[SOL].side is Side.LONG
    contract = found[Symbol("SOLUSDT")]
    assert (contract.quantity, contract.side) == (Decimal(10), Side.SHORT)


async def test_nothing_of_a_coin_that_is_owed_is_for_sale() -> None:
    """2 ETH are owed: a sale would borrow more."""
    async with at_venue(wallet={"USDT": 20000, "ETH": -2}) as at:
        (coin,) = (await at.venue.fetch_reading(SCOPE)).coins
        assert (coin.asset, coin.quantity, coin.sellable) == ("ETH", Decimal(-2), Decimal(0))
        held = await at.venue.fetch_positions(SCOPE)
        assert {position.symbol for position in held} == {"BTCUSDT", "SOLUSDT"}


async def test_wallet_that_cannot_be_read_keeps_no_position_from_being_closed(at: At) -> None:
    """By the old figure nothing of a coin is free, and none of it counts as sold."""
    at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/account/assets", status=502, body="<html>")
    found = {position.symbol: position for position in await at.venue.fetch_positions(SCOPE)}
    assert set(found) == {"BTCUSDT", "SOLUSDT", "ETH", "SOL"}
    assert (found[SOL].quantity, found[SOL].locked) == (Decimal(50), Decimal(50))


async def test_a_reading_does_not_fail_with_what_is_for_sale(at: At) -> None:
    """The second read of the wallet is lost: what is for sale is as it was known."""
    at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/account/assets", skip=1, status=502, body="<html>")
    reading = await at.venue.fetch_reading(SCOPE)
    assert {coin.asset: coin.sellable for coin in reading.coins} == {
        "ETH": Decimal(1),
        "SOL": Decimal(50),
    }


async def test_coins_are_told_though_their_markets_are_not_known() -> None:
    """Left out they would count as sold; a sale is refused before anything is sent."""
    content = seed(**UNIFIED, wallet=WALLET, prices=PRICES)
    async with simulated(content, venue="bitget") as place:
        venue = connect_account(
            "bitget",
            "futures",
            scope=SCOPE,
            access=access_to("bitget", place.url),
            clock=SystemClock(),
            stables=STABLES,
            sells_coins=True,
        )
        try:
            fault = Fault(
                kind=FaultKind.ANSWER_BEFORE,
                path="/api/v3/account/assets",
                status=502,
                body="<html>",
                times=1,
            )
            place.service.plan.add(fault)
            with pytest.raises(Unavailable):
                await venue.fetch_positions(SCOPE)
            found = await venue.fetch_positions(SCOPE)
            outcome = await venue.submit_close(close(SOL, "1"))
        finally:
            await venue.aclose()
    assert {"ETH", "SOL"} < {position.symbol for position in found}
    assert isinstance(outcome, Refused)
    assert outcome.reason is RefusalReason.NOT_TRADABLE


async def test_market_rules_of_coins_stand_beside_those_of_contracts(at: At) -> None:
    """By the coin's name; a spot list that is lost later leaves what was known."""
    for is_lost in (False, True):
        if is_lost:
            at.place.exchange.spot.markets = {}
        limits = await at.venue.fetch_market_limits()
        assert (limits[SOL].base, limits[SOL].quote) == ("SOL", "USDT")
        assert limits[SOL].step == Decimal("0.001")
        assert limits[SOL].market_max == 10_000
        assert limits[Symbol("SOLUSDT")].base == "SOL"
    at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/market/instruments", status=502, body="<html>")
    with pytest.raises(Unavailable):
        await at.venue.fetch_market_limits()


async def test_sale_as_it_goes_over_the_wire(at: At) -> None:
    """A market sale of the coin itself, of the category that never borrows, without a price."""
    assert isinstance(await at.venue.submit_close(close(SOL, "30.000")), Done)
    assert at.sent("POST", "/api/v3/trade/place-order") == [
        {
            "category": "SPOT",
            "symbol": "SOLUSDT",
            "qty": "30",
            "side": "sell",
            "orderType": "market",
            "clientOid": "ks-inc-1-1-1",
        }
    ]
    assert at.held("SOL") == 20
    assert at.place.exchange.amount(KEY, "SOLUSDT") == -10


async def test_closes_and_sales_go_together_with_an_outcome_each(at: At) -> None:
    """In the order of the instructions: a contract, too much of a coin, another coin."""
    outcomes = await at.venue.submit_closes(
        (
            close(BTC_MARKET, "0.5", client_id=ClientOrderId("ks-inc-1-1-1")),
            close(SOL, "51", client_id=ClientOrderId("ks-inc-2-1-1")),
            close(ETH, "1", client_id=ClientOrderId("ks-inc-3-1-1")),
        )
    )
    assert [type(outcome) for outcome in outcomes] == [Done, Refused, Done]
    assert (at.held("SOL"), at.held("ETH")) == (Decimal(50), Decimal(0))
    assert at.place.exchange.amount(KEY, "BTCUSDT") == 0


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        ("50.001", RefusalReason.NOTHING_TO_REDUCE),
        ("0.0001", RefusalReason.BAD_PRECISION),
        ("0.04", RefusalReason.TOO_SMALL),
        ("10001", RefusalReason.TOO_LARGE),
    ],
)
async def test_refusals_of_spot_markets(at: At, quantity: str, reason: RefusalReason) -> None:
    """Each proves that nothing was sold, and says what was the matter."""
    outcome = await at.venue.submit_close(close(SOL, quantity))
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert at.held("SOL") == 50


@pytest.mark.parametrize(
    "changes", [{"side": Side.SHORT}, {"scope": ScopeId("bitget_sub1_futures")}]
)
async def test_nothing_but_a_sale_of_a_coin_of_this_account_is_sent(
    at: At, changes: dict[str, Any]
) -> None:
    """A purchase and another account are faults of this program; nothing leaves."""
    wrong = replace(close(SOL, "1"), **changes)
    with pytest.raises(InvariantViolation):
        await at.venue.submit_closes((close(ETH, "1"), wrong))
    assert at.sent("POST", "/api/v3/trade/place-order") == []


@pytest.mark.parametrize(
    ("kind", "found"), [(FaultKind.DROP_AFTER, Done), (FaultKind.DROP_BEFORE, Refused)]
)
async def test_lost_answer_is_unknown_until_the_sale_is_looked_up(
    at: At, kind: FaultKind, found: type
) -> None:
    """By our own id, which alone names an order of any kind."""
    at.fail(kind, "/api/v3/trade/place-order", method="POST", times=1)
    assert isinstance(await at.venue.submit_close(close(SOL, "5")), Unknown)
    outcome = await at.venue.find_order(SCOPE, ClientOrderId("ks-inc-1-1-1"), SOL)
    assert isinstance(outcome, found)
    assert at.sent("GET", "/api/v3/trade/order-info") == [{"clientOid": "ks-inc-1-1-1"}]


async def test_spot_orders_are_read_with_those_of_contracts_and_cancelled(at: At) -> None:
    """A sale holds SOL, a purchase holds USDT; a second cancel finds each gone."""
    at.rest(symbol="SOLUSDT", side="SELL", type="LIMIT", quantity=20, price=150)
    at.rest(symbol="ETHUSDT", side="BUY", type="LIMIT", quantity=1, price=1000)
    orders = [order for order in await at.venue.fetch_orders(SCOPE) if order.base is not None]
    assert {
        (order.row_symbol, order.holds, order.side, order.kind, order.reduce_only)
        for order in orders
    } == {
        (SOL, SOL, OrderSide.SELL, OrderKind.REGULAR, True),
        (ETH, Symbol("USDT"), OrderSide.BUY, OrderKind.REGULAR, False),
    }
    for order in (*orders, *orders):
        assert isinstance(await at.venue.submit_cancel(order), Done)
    assert at.place.exchange.spot.view(KEY).orders == {}


async def test_classic_account_sells_nothing_here() -> None:
    """Its coins are in a spot account of its own, which is another scope."""
    async with at_venue(unified=False, multi_assets=True) as at:
        reading = await at.venue.fetch_reading(SCOPE)
        assert {coin.asset for coin in reading.coins} == {"ETH", "SOL"}
        assert not any(coin.sellable for coin in reading.coins)
        held = await at.venue.fetch_positions(SCOPE)
        assert {position.symbol for position in held} == {"BTCUSDT", "SOLUSDT"}
        assert all(order.base is None for order in await at.venue.fetch_orders(SCOPE))


async def test_all_orders_of_a_coin_go_and_those_of_its_contract_stay(at: At) -> None:
    """They are two rows; a list that cannot be read leaves it open."""
    at.rest(symbol="SOLUSDT", side="SELL", type="LIMIT", quantity=20, price=150)
    at.rest(symbol="ETHUSDT", side="SELL", type="LIMIT", quantity=1, price=9000)
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, SOL), Done)
    (left,) = at.place.exchange.spot.view(KEY).orders.values()
    assert left.symbol == "ETHUSDT"
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, BTC_MARKET), Done)
    at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/trade/unfilled-orders", status=502, body="<html>")
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, ETH), Unknown)


async def test_stables_are_never_sold(at: At) -> None:
    """Whoever planned it."""
    with pytest.raises(InvariantViolation):
        await at.venue.submit_close(close(Symbol("USDT"), "1"))
    assert Asset("USDT") not in {p.base for p in await at.venue.fetch_positions(SCOPE)}
