"""The adapter of Binance's spot accounts, through real ccxt, against the simulated venue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import InvariantViolation, Malformed, Unavailable
from inspection import AccountFamily
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    IncidentId,
    MarginMode,
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
from simulator.spot_state import SpotRecordKind
from tests.simulated import KEY, SECRET, Simulated, seed, simulated
from venues.access import Access
from venues.binance_spot import BinanceSpot

SCOPE = ScopeId("binance_spot")
STABLES = ("USDT", "USDC")
BTC, SOL, QRX = Symbol("BTC"), Symbol("SOL"), Symbol("QRX")
SPOT: dict[str, Any] = {
    "spot": {"BTC": "0.5", "LDBTC": "0.25", "SOL": 300, "QRX": 1000, "USDT": 1000, "XYZ": 3},
    "spot_prices": {"QRXBTC": "0.00001"},
    "spot_orders": [
        {"symbol": "SOLUSDT", "side": "SELL", "type": "LIMIT", "quantity": 100, "price": 150}
    ],
}


@dataclass(frozen=True, kw_only=True)
class At:
    """A running venue and the adapter that talks to it."""

    place: Simulated
    venue: BinanceSpot

    def sent(self, method: str, path: str) -> list[dict[str, str]]:
        """The parameters of every request to one endpoint, without what signs it."""
        return [
            {
                name: value
                for name, value in one.parameters.items()
                if name not in ("timestamp", "recvWindow")
            }
            for one in self.place.service.log
            if (one.method, one.path) == (method, path)
        ]

    def fail(self, kind: FaultKind, path: str, **fault: Any) -> None:
        """Let requests to one endpoint meet a fault."""
        self.place.service.plan.add(Fault(kind=kind, path=path, **fault))


class LaterClock(SystemClock):
    """The real clock, whose running time a test moves on."""

    later_s = 0.0

    def monotonic(self) -> float:
        """Seconds that ran, those that were moved on included."""
        return super().monotonic() + self.later_s


@asynccontextmanager
async def at_venue(
    *, is_ready: bool = True, clock: SystemClock | None = None, **changes: Any
) -> AsyncIterator[At]:
    """The adapter in front of a fresh account: 0.75 BTC, 300 SOL, 1,000 QRX, 1,000 USDT."""
    async with simulated(seed(**{**SPOT, **changes})) as place:
        access = Access(
            credentials={"apiKey": KEY, "secret": SECRET},
            simulator_url=place.url,
            order_timeout_s=2.0,
        )
        venue = BinanceSpot(
            scope=SCOPE, access=access, clock=clock or SystemClock(), stables=STABLES
        )
        try:
            await venue.start()
            if is_ready:
                await venue.fetch_market_limits()
            yield At(place=place, venue=venue)
        finally:
            await venue.aclose()


@pytest.fixture
async def at() -> AsyncIterator[At]:
    """The usual account."""
    async with at_venue() as made:
        yield made


def sale(symbol: Symbol, quantity: str, **changes: Any) -> CloseInstruction:
    """An approved sale."""
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


# --- reading ----------------------------------------------------------------------------------


async def test_reading_values_what_is_held(at: At) -> None:
    """1,000 + 0.75 x 60,000 + 300 x 100 + 1,000 x 0.00001 x 60,000 = 76,600; XYZ has no price."""
    reading = await at.venue.fetch_reading(SCOPE)
    assert reading.equity == pytest.approx(76_600.0)
    assert reading.positions == ()
    assert reading.unpriced == ("XYZ",)
    assert [(coin.asset, coin.quantity, coin.sellable) for coin in reading.coins] == [
        ("BTC", Decimal("0.75"), Decimal("0.5")),
        ("QRX", Decimal(1000), Decimal(1000)),
        ("SOL", Decimal(300), Decimal(300)),
    ]
    assert (reading.wallet, reading.unrealised_pnl) == (None, None)


async def test_sizes_tell_what_orders_hold_in_one_request(at: At) -> None:
    """100 of 300 SOL rest in an order; what is lent is not there to be sold."""
    await at.venue.fetch_reading(SCOPE)
    before = len(at.place.service.log)
    found = await at.venue.fetch_positions(SCOPE)
    assert len(at.place.service.log) == before + 1
    assert {p.symbol: (p.quantity, p.locked, p.mark_price) for p in found} == {
        "BTC": (Decimal("0.5"), Decimal(0), pytest.approx(60_000.0)),
        "SOL": (Decimal(300), Decimal(100), pytest.approx(100.0)),
        "QRX": (Decimal(1000), Decimal(0), pytest.approx(0.6)),
        "XYZ": (Decimal(3), Decimal(0), 0.0),
    }


async def test_last_price_stands_in_for_an_empty_book(at: At) -> None:
    """A coin that nobody quotes for a while is worth what it was; its market still takes orders."""
    await at.venue.fetch_reading(SCOPE)
    at.place.exchange.spot.set_prices({"SOLUSDT": None})
    reading = await at.venue.fetch_reading(SCOPE)
    assert reading.equity == pytest.approx(76_600.0)
    assert reading.unpriced == ("XYZ",)


@pytest.mark.parametrize(("symbol", "worth"), [("SOLUSDT", 100.0), ("QRXBTC", 0.6)])
async def test_empty_book_at_the_start_is_priced_by_what_was_paid(
    symbol: str, worth: float
) -> None:
    """Restarted while nobody quotes the coin: it is not lost, and asked for once."""
    async with at_venue() as at:
        at.place.exchange.spot.set_prices({symbol: None})
        for _ in range(3):
            reading = await at.venue.fetch_reading(SCOPE)
            assert reading.equity == pytest.approx(76_600.0)
        (coin,) = (one for one in reading.coins if symbol.startswith(one.asset))
        assert coin.price == pytest.approx(worth)
        assert at.sent("GET", "/api/v3/ticker/24hr") == [{"symbol": symbol}]


async def test_last_price_stands_in_for_a_day_and_no_longer() -> None:
    """After 24 hours without a book and without a trade the coin is not priced any more."""
    clock = LaterClock()
    held = {"GLM": 5000, "ETH": 0, "USDT": 1}
    async with at_venue(
        clock=clock, spot=held, spot_prices={"GLMETH": "0.0001", "ETHUSDT": 3000}, spot_orders=[]
    ) as at:
        assert (await at.venue.fetch_reading(SCOPE)).equity == pytest.approx(1501.0)
        at.place.exchange.spot.set_prices({"GLMETH": None})
        at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/ticker/24hr", status=200, body="{}")
        clock.later_s = 86_000.0
        assert (await at.venue.fetch_reading(SCOPE)).equity == pytest.approx(1501.0)
        clock.later_s = 86_500.0
        reading = await at.venue.fetch_reading(SCOPE)
        assert reading.equity == pytest.approx(1.0)
        assert reading.unpriced == ("GLM",)


async def test_coin_that_nothing_was_paid_for_is_not_asked_for_with_every_reading() -> None:
    """Without a trade in a day it is unpriced, and asked for again only later."""
    async with at_venue(spot={"GLM": 5, "USDT": 1}, spot_orders=[]) as at:
        for _ in range(3):
            assert (await at.venue.fetch_reading(SCOPE)).unpriced == ("GLM",)
        assert len(at.sent("GET", "/api/v3/ticker/24hr")) == 1


async def test_reading_needs_prices(at: At) -> None:
    """Balances without books are no reading."""
    at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/ticker/bookTicker", status=502, body="<html>")
    with pytest.raises(Unavailable):
        await at.venue.fetch_reading(SCOPE)


async def test_orders_name_the_coins_they_hold(at: At) -> None:
    """The resting sale of SOL."""
    (order,) = await at.venue.fetch_orders(SCOPE)
    assert (order.symbol, order.row_symbol, order.holds) == ("SOLUSDT", "SOL", "SOL")
    assert (order.side, order.quantity) == (OrderSide.SELL, Decimal(100))


async def test_marks_go_by_the_names_of_coins(at: At) -> None:
    """Also over a bridge; one without a price raises."""
    marks = await at.venue.fetch_marks((BTC, QRX))
    assert marks == {BTC: pytest.approx(60_000.0), QRX: pytest.approx(0.6)}
    assert await at.venue.fetch_marks(()) == {}
    with pytest.raises(Unavailable, match="XYZ"):
        await at.venue.fetch_marks((Symbol("XYZ"),))


async def test_market_rules_go_by_the_names_of_coins(at: At) -> None:
    """QRX is sold for BTC, of which 0.0001 at 60,000 are 6."""
    limits = await at.venue.fetch_market_limits()
    assert limits[SOL].quote == "USDT"
    assert (limits[QRX].quote, limits[QRX].base) == ("BTC", "QRX")
    assert float(limits[QRX].min_notional) == pytest.approx(6.0)
    assert limits[SOL].market_max == 10_000
    assert Symbol("USDC") not in limits


async def test_mode_is_one_way(at: At) -> None:
    """There are no legs."""
    assert await at.venue.fetch_position_mode(SCOPE) is PositionMode.ONE_WAY
    assert at.venue.scopes == (SCOPE,)


# --- records ----------------------------------------------------------------------------------


async def test_records_of_money_are_flows_and_trades_are_none(at: At) -> None:
    """A deposit of 1 SOL is 100, a withdrawal -40, transfers both ways; a sale leaves nothing."""
    spot = at.place.exchange.spot
    since = at.place.exchange.now - 60
    spot.book(KEY, "SOL", Decimal(1), kind=SpotRecordKind.DEPOSIT)
    spot.book(KEY, "USDT", Decimal(-40), kind=SpotRecordKind.WITHDRAWAL)
    at.place.exchange.move_to_spot(KEY, "USDT", Decimal(30))
    at.place.exchange.move_to_spot(KEY, "USDT", Decimal(-20))
    assert isinstance(await at.venue.submit_close(sale(SOL, "1")), Done)
    ledger = await at.venue.fetch_ledger(SCOPE, since)
    assert sorted(entry.amount for entry in ledger.entries) == pytest.approx([-40, -20, 30, 100])
    assert all(entry.kind.is_flow for entry in ledger.entries)
    assert ledger.since == pytest.approx(since)


async def test_deposit_counts_by_when_it_was_credited(at: At) -> None:
    """One that was seen a day ago and credited now is asked for and told; an older one is not."""
    now = at.place.exchange.now
    rows = [
        {
            "id": name,
            "amount": "5",
            "coin": "USDT",
            "status": 1,
            "insertTime": int((now - 86_400) * 1000),
            "completeTime": int((now - ago_s) * 1000),
            "walletType": 0,
        }
        for name, ago_s in (("now", 10), ("before", 3_600))
    ]
    path = "/sapi/v1/capital/deposit/hisrec"
    at.fail(FaultKind.ANSWER_BEFORE, path, status=200, body=json.dumps(rows))
    ledger = await at.venue.fetch_ledger(SCOPE, now - 60)
    assert [entry.record_id for entry in ledger.entries] == ["DEPOSIT:now"]
    (asked,) = at.sent("GET", path)
    assert int(asked["startTime"]) == pytest.approx((now - 60 - 2 * 86_400) * 1000, abs=2000)


async def test_every_page_of_records_is_read(at: At) -> None:
    """1,001 deposits and 101 transfers fill a page each."""
    spot = at.place.exchange.spot
    for _ in range(1001):
        spot.book(KEY, "USDT", Decimal(1), kind=SpotRecordKind.DEPOSIT)
    for _ in range(101):
        at.place.exchange.move_to_spot(KEY, "USDT", Decimal(1))
    ledger = await at.venue.fetch_ledger(SCOPE, at.place.exchange.now - 60)
    assert len(ledger.entries) == 1102
    assert len({entry.record_id for entry in ledger.entries}) == 1102


@pytest.mark.parametrize(
    "path", ["capital/deposit/hisrec", "capital/withdraw/history", "asset/transfer"]
)
async def test_ledger_is_complete_or_raises(at: At, path: str) -> None:
    """One list that cannot be read leaves open whether money moved."""
    at.fail(FaultKind.ANSWER_BEFORE, f"/sapi/v1/{path}", status=502, body="<html>")
    with pytest.raises(Unavailable):
        await at.venue.fetch_ledger(SCOPE, at.place.exchange.now - 60)


async def test_record_of_a_coin_without_a_price_is_malformed(at: At) -> None:
    """Its amount cannot be told in money."""
    spot = at.place.exchange.spot
    spot.book(KEY, "XYZ", Decimal(1), kind=SpotRecordKind.DEPOSIT)
    with pytest.raises(Malformed, match="XYZ"):
        await at.venue.fetch_ledger(SCOPE, at.place.exchange.now - 60)


# --- selling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "quantity", "market"),
    [(SOL, "150.000", "SOLUSDT"), (BTC, "0.5", "BTCUSDT"), (QRX, "1000", "QRXBTC")],
)
async def test_sale_as_it_goes_over_the_wire(
    at: At, symbol: Symbol, quantity: str, market: str
) -> None:
    """Exactly these parameters: the base quantity, no price, nothing of futures."""
    outcome = await at.venue.submit_close(sale(symbol, quantity))
    assert isinstance(outcome, Done)
    assert outcome.filled == Decimal(quantity)
    mid = {"SOL": Decimal(100), "BTC": Decimal(60_000), "QRX": Decimal("0.00001")}[symbol]
    # Half of a spread of 0.02 % below the mid, and 0.1 % are kept of what comes in.
    net = Decimal(quantity) * mid * Decimal("0.9999") * Decimal("0.999")
    assert outcome.brought is not None
    assert abs(outcome.brought - net) <= Decimal("0.000001")
    assert at.sent("POST", "/api/v3/order") == [
        {
            "symbol": market,
            "side": "SELL",
            "type": "MARKET",
            "quantity": quantity.removesuffix(".000"),
            "newClientOrderId": "ks-inc-1-1-1",
            "newOrderRespType": "FULL",
        }
    ]


async def test_sale_before_the_market_rules_are_known() -> None:
    """The listed name serves: closing waits for no table."""
    async with at_venue(is_ready=False) as at:
        await at.venue.fetch_reading(SCOPE)
        assert isinstance(await at.venue.submit_close(sale(SOL, "5")), Done)


async def test_what_no_market_takes_is_refused_before_it_is_sent(at: At) -> None:
    """There is no order that could sell XYZ."""
    outcome = await at.venue.submit_close(sale(Symbol("XYZ"), "1"))
    assert isinstance(outcome, Refused)
    assert outcome.reason is RefusalReason.NOT_TRADABLE
    assert at.sent("POST", "/api/v3/order") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"side": Side.SHORT},
        {"symbol": Symbol("USDT")},
        {"symbol": Symbol("USDC")},
        {"scope": ScopeId("binance_futures")},
    ],
)
async def test_nothing_but_a_sale_of_a_coin_of_this_account_is_sent(
    at: At, changes: dict[str, Any]
) -> None:
    """A purchase, a stable and another account are faults of this program; nothing leaves."""
    wrong = replace(sale(SOL, "1"), **changes)
    with pytest.raises(InvariantViolation):
        await at.venue.submit_close(wrong)
    with pytest.raises(InvariantViolation):
        await at.venue.submit_closes((sale(SOL, "1"), wrong))
    assert at.sent("POST", "/api/v3/order") == []


@pytest.mark.parametrize(
    ("symbol", "quantity", "reason"),
    [
        # 200 of 300 are free: no borrowing, whoever planned it.
        (SOL, "200.001", RefusalReason.NOTHING_TO_REDUCE),
        (SOL, "0.0001", RefusalReason.BAD_PRECISION),
        (SOL, "0.04", RefusalReason.TOO_SMALL),
        (SOL, "10001", RefusalReason.TOO_LARGE),
    ],
)
async def test_refusals_of_the_venue(
    at: At, symbol: Symbol, quantity: str, reason: RefusalReason
) -> None:
    """Each proves that nothing was sold, and says what was the matter."""
    outcome = await at.venue.submit_close(sale(symbol, quantity))
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert at.place.exchange.spot.view(KEY).balances["SOL"] == 300


async def test_several_sales_have_an_outcome_each(at: At) -> None:
    """In the order of the instructions."""
    outcomes = await at.venue.submit_closes(
        (
            sale(SOL, "10", client_id=ClientOrderId("ks-inc-1-1-1")),
            sale(SOL, "10001", client_id=ClientOrderId("ks-inc-1-1-2")),
            sale(BTC, "0.1", client_id=ClientOrderId("ks-inc-2-1-1")),
        )
    )
    assert [type(outcome) for outcome in outcomes] == [Done, Refused, Done]


@pytest.mark.parametrize(
    ("kind", "found"), [(FaultKind.DROP_AFTER, Done), (FaultKind.DROP_BEFORE, Refused)]
)
async def test_lost_answer_is_unknown_until_the_sale_is_looked_up(
    at: At, kind: FaultKind, found: type
) -> None:
    """Looked up on the market that the coin was sold on."""
    at.fail(kind, "/api/v3/order", method="POST", times=1)
    assert isinstance(await at.venue.submit_close(sale(QRX, "1000")), Unknown)
    outcome = await at.venue.find_order(SCOPE, ClientOrderId("ks-inc-1-1-1"), QRX)
    assert isinstance(outcome, found)
    (asked,) = at.sent("GET", "/api/v3/order")
    assert asked == {"symbol": "QRXBTC", "origClientOrderId": "ks-inc-1-1-1"}


@pytest.mark.parametrize("body", ["<html>", "{}", "[]", '{"orderId":null}', '{"orderId":0}'])
async def test_success_without_an_order_id_proves_nothing(at: At, body: str) -> None:
    """HTTP 200 alone is no sale."""
    at.fail(FaultKind.ANSWER_BEFORE, "/api/v3/order", method="POST", status=200, body=body)
    assert isinstance(await at.venue.submit_close(sale(SOL, "5")), Unknown)


async def test_part_that_a_thin_book_takes_is_told(at: At) -> None:
    """Half of 100 was sold; the rest expired."""
    at.fail(FaultKind.PARTIAL_FILL, "/api/v3/order", method="POST", fraction=0.5, times=1)
    outcome = await at.venue.submit_close(sale(SOL, "100"))
    assert isinstance(outcome, Done)
    assert outcome.filled == 50


async def test_order_is_cancelled_once_and_is_then_gone(at: At) -> None:
    """A second cancel finds it gone, which is as good."""
    (order,) = await at.venue.fetch_orders(SCOPE)
    assert isinstance(await at.venue.submit_cancel(order), Done)
    assert isinstance(await at.venue.submit_cancel(order), Done)
    assert at.place.exchange.spot.view(KEY).orders == {}
    assert at.sent("DELETE", "/api/v3/order")[0] == {
        "symbol": "SOLUSDT",
        "orderId": str(order.order_id),
    }


async def test_all_orders_of_a_coin_go_on_all_of_its_markets(at: At) -> None:
    """A sale on SOLUSDT and a purchase of ETH that holds BTC are two coins' orders."""
    at.place.exchange.spot.set_prices({"ETHBTC": "0.05"})
    await at.place.control.spot_bot_order(
        symbol="ETHBTC", side="BUY", type="LIMIT", quantity="1", price="0.04"
    )
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, BTC), Done)
    (left,) = at.place.exchange.spot.view(KEY).orders.values()
    assert left.symbol == "SOLUSDT"
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, SOL), Done)
    assert at.place.exchange.spot.view(KEY).orders == {}


async def test_cancel_that_confirms_nothing_is_unknown(at: At) -> None:
    """Neither is one that was never answered."""
    (order,) = await at.venue.fetch_orders(SCOPE)
    at.fail(
        FaultKind.ANSWER_BEFORE, "/api/v3/order", method="DELETE", status=200, body="{}", times=1
    )
    assert isinstance(await at.venue.submit_cancel(order), Unknown)
    at.fail(FaultKind.DROP_BEFORE, "/api/v3/order", method="DELETE")
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, SOL), Unknown)


# --- check ------------------------------------------------------------------------------------


async def test_inspection_tells_account_key_and_costs(at: At) -> None:
    """Fee and spread of each coin on the market that it is sold on."""
    told = await at.venue.inspect(SCOPE, (SOL, QRX, Symbol("XYZ")))
    assert told.family is AccountFamily.SPOT
    assert told.position_mode is PositionMode.ONE_WAY
    assert told.rights.can_read_transfers
    assert told.rights.can_trade
    assert not told.rights.can_withdraw
    assert told.rights.reason == ""
    assert isinstance(told.latency_s, float)
    assert set(told.costs) == {SOL, QRX}
    assert told.costs[SOL].fee == pytest.approx(0.001)
    assert told.costs[SOL].spread == pytest.approx(0.0002)


async def test_inspection_names_what_is_not_told(at: At) -> None:
    """A part that could not be read is a value; the others are told all the same."""
    for path in ("/sapi/v1/account/apiRestrictions", "/sapi/v1/capital/deposit/hisrec"):
        at.fail(FaultKind.ERROR, path, status=401, code=-2015, message="Invalid API-key")
    told = await at.venue.inspect(SCOPE, (SOL,))
    assert told.rights.can_trade is None
    assert told.rights.can_read_transfers is False
    assert "-2015" in told.rights.reason
    assert told.costs[SOL].fee == pytest.approx(0.001)


async def test_stables_are_settings_not_guesses() -> None:
    """Where USDC is not configured as stable it is a coin like others, priced and for sale."""
    async with simulated(
        seed(spot={"USDC": 100, "USDT": 5}, spot_prices={"USDCUSDT": "0.99"})
    ) as place:
        access = Access(credentials={"apiKey": KEY, "secret": SECRET}, simulator_url=place.url)
        venue = BinanceSpot(
            scope=SCOPE, access=access, clock=SystemClock(), stables=(Asset("USDT"),)
        )
        try:
            await venue.fetch_market_limits()
            reading = await venue.fetch_reading(SCOPE)
        finally:
            await venue.aclose()
    assert reading.equity == pytest.approx(104.0)
    assert [(coin.asset, coin.sellable) for coin in reading.coins] == [("USDC", Decimal(100))]
