"""The adapter of Bitget's classic spot accounts, through real ccxt, against the simulated venue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import InvariantViolation, Malformed, Unavailable
from inspection import AccountFamily, NotTold
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
from simulator.spot_state import SpotRecordKind
from tests.simulated import KEY, Simulated, seed, simulated
from tests.venue_rigs import PASSPHRASE, access_to
from venues.bitget_spot import PAGES, BitgetSpot

SCOPE = ScopeId("bitget_spot")
STABLES = ("USDT", "USDC")
BTC, SOL, QRX = Symbol("BTC"), Symbol("SOL"), Symbol("QRX")
SPOT_API = "/api/v2/spot"
SELLS: dict[str, Any] = {"symbol": "SOLUSDT", "side": "SELL"}
SPOT: dict[str, Any] = {
    "passphrase": PASSPHRASE,
    "spot": {"BTC": "0.5", "SOL": 300, "QRX": 1000, "USDT": 1000, "XYZ": 3},
    "spot_prices": {"QRXBTC": "0.00001"},
    "spot_orders": [
        {**SELLS, "type": "LIMIT", "quantity": 100, "price": 150},
        {**SELLS, "book": "TPSL", "quantity": 20, "trigger_price": 80},
        {**SELLS, "book": "PLAN", "quantity": 50, "trigger_price": 70},
    ],
}
"""100 of the 300 SOL rest in an order, 20 wait for a stop; a plan holds nothing."""


@dataclass(frozen=True, kw_only=True)
class At:
    """A running venue and the adapter that talks to it."""

    place: Simulated
    venue: BitgetSpot

    def sent(self, method: str, path: str) -> list[dict[str, str]]:
        """The parameters of every request to one endpoint."""
        return [
            dict(one.parameters)
            for one in self.place.service.log
            if (one.method, one.path) == (method, SPOT_API + path)
        ]

    def fail(self, kind: FaultKind, path: str, **fault: Any) -> None:
        """Let requests to one endpoint meet a fault."""
        self.place.service.plan.add(Fault(kind=kind, path=SPOT_API + path, **fault))

    def held(self, asset: str) -> Decimal:
        """All of a coin, as the exchange has it."""
        return self.place.exchange.spot.view(KEY).balances.get(asset, Decimal(0))


@asynccontextmanager
async def at_venue(*, is_ready: bool = True, **changes: Any) -> AsyncIterator[At]:
    """The adapter in front of a fresh account: 0.5 BTC, 300 SOL, 1,000 QRX, 1,000 USDT."""
    async with simulated(seed(**{**SPOT, **changes}), venue="bitget") as place:
        venue = BitgetSpot(
            scope=SCOPE,
            access=access_to("bitget", place.url, order_timeout_s=2.0, is_paced=False),
            clock=SystemClock(),
            stables=STABLES,
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
    """1,000 + 0.5 x 60,000 + 300 x 100 + 1,000 x 0.00001 x 60,000 = 61,600; XYZ has no price."""
    reading = await at.venue.fetch_reading(SCOPE)
    assert reading.equity == pytest.approx(61_600.0)
    assert reading.positions == ()
    assert reading.unpriced == ("XYZ",)
    assert [(coin.asset, coin.quantity, coin.sellable) for coin in reading.coins] == [
        ("BTC", Decimal("0.5"), Decimal("0.5")),
        ("QRX", Decimal(1000), Decimal(1000)),
        ("SOL", Decimal(300), Decimal(300)),
    ]
    assert (reading.wallet, reading.unrealised_pnl) == (None, None)


async def test_sizes_tell_what_orders_hold_in_one_request(at: At) -> None:
    """120 of 300 SOL are held: by the resting sale and by the stop, not by the plan."""
    await at.venue.fetch_reading(SCOPE)
    before = len(at.place.service.log)
    found = await at.venue.fetch_positions(SCOPE)
    assert len(at.place.service.log) == before + 1
    assert {p.symbol: (p.quantity, p.locked, p.mark_price) for p in found} == {
        "BTC": (Decimal("0.5"), Decimal(0), pytest.approx(60_000.0)),
        "SOL": (Decimal(300), Decimal(120), pytest.approx(100.0)),
        "QRX": (Decimal(1000), Decimal(0), pytest.approx(0.6)),
        "XYZ": (Decimal(3), Decimal(0), 0.0),
    }


@pytest.mark.parametrize(("symbol", "worth"), [("SOLUSDT", 100.0), ("QRXBTC", 0.6)])
@pytest.mark.parametrize("was_read_before", [True, False])
async def test_empty_book_leaves_a_coin_what_was_paid_for_it(
    at: At, symbol: str, worth: float, was_read_before: bool
) -> None:
    """Nobody quotes the coin, perhaps since before the start: it is not lost."""
    if was_read_before:
        await at.venue.fetch_reading(SCOPE)
    at.place.exchange.spot.set_prices({symbol: None})
    reading = await at.venue.fetch_reading(SCOPE)
    assert reading.equity == pytest.approx(61_600.0)
    (coin,) = (one for one in reading.coins if symbol.startswith(one.asset))
    assert coin.price == pytest.approx(worth)


async def test_reading_needs_prices_and_balances(at: At) -> None:
    """One without the other is no reading, and neither is an answer of nothing."""
    at.fail(FaultKind.ANSWER_BEFORE, "/market/tickers", status=502, body="<html>", times=1)
    with pytest.raises(Unavailable):
        await at.venue.fetch_reading(SCOPE)
    null = '{"code":"00000","data":null}'
    at.fail(FaultKind.ANSWER_BEFORE, "/account/assets", status=200, body=null)
    with pytest.raises(Malformed):
        await at.venue.fetch_reading(SCOPE)


async def test_unified_account_is_told_what_to_remove() -> None:
    """It refuses every question of a spot account: its coins are its one wallet."""
    async with at_venue(is_ready=False, unified=True, spot={}, spot_orders=[]) as at:
        with pytest.raises(Unavailable, match=r"40085.*one wallet: remove accounts\.spot"):
            await at.venue.fetch_reading(SCOPE)
        outcome = await at.venue.submit_close(sale(SOL, "1"))
        assert isinstance(outcome, Refused)


async def test_orders_of_all_three_books_are_read_and_name_the_coins_they_hold(at: At) -> None:
    """The resting sale, the stop and the plan, each of SOL."""
    orders = await at.venue.fetch_orders(SCOPE)
    assert [
        (order.order_type, order.kind, order.quantity, order.price, order.trigger_price)
        for order in orders
    ] == [
        ("limit", OrderKind.REGULAR, Decimal(100), Decimal(150), None),
        ("tpsl", OrderKind.CONDITIONAL, Decimal(20), None, Decimal(80)),
        ("plan", OrderKind.CONDITIONAL, Decimal(50), None, Decimal(70)),
    ]
    assert {(order.symbol, order.row_symbol, order.holds) for order in orders} == {
        ("SOLUSDT", "SOL", "SOL")
    }
    assert {order.side for order in orders} == {OrderSide.SELL}


@pytest.mark.parametrize("book", ["NORMAL", "PLAN"])
async def test_every_page_of_orders_is_read(book: str) -> None:
    """130 orders fill a page and a part of the next."""
    entry: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.05"}
    terms: dict[str, Any] = {"type": "LIMIT", "price": 100}
    if book == "PLAN":
        terms = {"trigger_price": 100}
    orders = [{**entry, **terms, "book": book}] * 130
    async with at_venue(spot_orders=orders) as at:
        found = await at.venue.fetch_orders(SCOPE)
        assert len({order.order_id for order in found}) == 130


async def test_one_list_that_cannot_be_read_leaves_no_orders(at: At) -> None:
    """A part is no answer: what is not seen would be left open."""
    at.fail(FaultKind.ANSWER_BEFORE, "/trade/current-plan-order", status=502, body="<html>")
    with pytest.raises(Unavailable):
        await at.venue.fetch_orders(SCOPE)
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, SOL), Unknown)


async def test_marks_go_by_the_names_of_coins(at: At) -> None:
    """Also over a bridge; one without a price raises."""
    marks = await at.venue.fetch_marks((BTC, QRX))
    assert marks == {BTC: pytest.approx(60_000.0), QRX: pytest.approx(0.6)}
    assert await at.venue.fetch_marks(()) == {}
    with pytest.raises(Unavailable, match="XYZ"):
        await at.venue.fetch_marks((Symbol("XYZ"),))


async def test_market_rules_go_by_the_names_of_coins(at: At) -> None:
    """QRX is sold for BTC; its least value is in money already, of 0.0001 BTC at 60,000."""
    limits = await at.venue.fetch_market_limits()
    assert limits[SOL].quote == "USDT"
    assert limits[SOL].step == Decimal("0.001")
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
    assert [entry.amount for entry in ledger.entries] == pytest.approx([100, -40, 30, -20])
    assert all(entry.kind.is_flow for entry in ledger.entries)
    assert ledger.since == pytest.approx(since)


async def test_every_page_of_records_is_read(at: At) -> None:
    """501 deposits fill a page and one row of the next."""
    for _ in range(501):
        at.place.exchange.spot.book(KEY, "USDT", Decimal(1), kind=SpotRecordKind.DEPOSIT)
    ledger = await at.venue.fetch_ledger(SCOPE, at.place.exchange.now - 60)
    assert len({entry.record_id for entry in ledger.entries}) == 501


async def test_ledger_is_complete_or_raises(at: At) -> None:
    """A page that leads nowhere, or none at all, leaves open whether money moved."""
    row = '{"billId":"1","coin":"USDT","groupType":"deposit","size":"1","cTime":"1"}'
    page = f'{{"code":"00000","data":[{",".join([row] * 500)}]}}'
    at.fail(FaultKind.ANSWER_BEFORE, "/account/bills", status=200, body=page, times=2)
    with pytest.raises(Unavailable, match="repeats"):
        await at.venue.fetch_ledger(SCOPE, at.place.exchange.now - 60)
    at.place.service.plan.clear()
    at.fail(FaultKind.ANSWER_BEFORE, "/account/bills", status=502, body="<html>")
    with pytest.raises(Unavailable):
        await at.venue.fetch_ledger(SCOPE, at.place.exchange.now - 60)
    assert len(at.sent("GET", "/account/bills")) < PAGES


async def test_record_of_a_coin_without_a_price_is_malformed(at: At) -> None:
    """Its amount cannot be told in money."""
    at.place.exchange.spot.book(KEY, "XYZ", Decimal(1), kind=SpotRecordKind.DEPOSIT)
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
    """Exactly these parameters: the coin's own quantity, no price, nothing of futures."""
    assert isinstance(await at.venue.submit_close(sale(symbol, quantity)), Done)
    assert at.sent("POST", "/trade/place-order") == [
        {
            "symbol": market,
            "side": "sell",
            "orderType": "market",
            "force": "gtc",
            "size": quantity.removesuffix(".000"),
            "clientOid": "ks-inc-1-1-1",
        }
    ]


async def test_what_a_sale_for_another_coin_brought_is_asked_for(at: At) -> None:
    """1,000 QRX at 0.00001 BTC, of which 0.1 % are kept; for money nobody needs to ask."""
    outcome = await at.venue.submit_close(sale(QRX, "1000"))
    assert isinstance(outcome, Done)
    assert outcome.filled == 1000
    assert outcome.brought is not None
    assert float(outcome.brought) == pytest.approx(0.01 * 0.999)
    await at.venue.submit_close(sale(SOL, "1", client_id=ClientOrderId("ks-inc-2-1-1")))
    assert at.sent("GET", "/trade/orderInfo") == [{"orderId": outcome.order_id}]


async def test_what_it_brought_is_not_told_by_a_part(at: At) -> None:
    """Half of the 1,000 was sold: what was held when it was planned binds the second sale."""
    at.fail(FaultKind.PARTIAL_FILL, "/trade/place-order", method="POST", fraction=0.5, times=1)
    outcome = await at.venue.submit_close(sale(QRX, "1000"))
    assert isinstance(outcome, Done)
    assert (outcome.filled, outcome.brought) == (None, None)


async def test_sale_is_done_though_nobody_says_what_it_brought(at: At) -> None:
    """The order was taken; the question after it fails."""
    at.fail(FaultKind.ANSWER_BEFORE, "/trade/orderInfo", status=502, body="<html>")
    outcome = await at.venue.submit_close(sale(QRX, "1000"))
    assert isinstance(outcome, Done)
    assert outcome.brought is None


async def test_sale_before_the_market_rules_are_known() -> None:
    """The listed name serves: closing waits for no table."""
    async with at_venue(is_ready=False) as at:
        await at.venue.fetch_reading(SCOPE)
        assert isinstance(await at.venue.submit_close(sale(SOL, "5")), Done)


async def test_what_no_market_takes_is_refused_before_it_is_sent(at: At) -> None:
    """There is no order that could sell XYZ, nor one to look up."""
    outcome = await at.venue.submit_close(sale(Symbol("XYZ"), "1"))
    assert isinstance(outcome, Refused)
    assert outcome.reason is RefusalReason.NOT_TRADABLE
    assert at.sent("POST", "/trade/place-order") == []
    looked_up = await at.venue.find_order(SCOPE, ClientOrderId("ks-1"), Symbol("XYZ"))
    assert isinstance(looked_up, Unknown)


@pytest.mark.parametrize(
    "changes",
    [
        {"side": Side.SHORT},
        {"symbol": Symbol("USDT")},
        {"symbol": Symbol("USDC")},
        {"scope": ScopeId("bitget_futures")},
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
    assert at.sent("POST", "/trade/place-order") == []


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        # 180 of 300 are free: no borrowing, whoever planned it.
        ("180.001", RefusalReason.NOTHING_TO_REDUCE),
        ("0.0001", RefusalReason.BAD_PRECISION),
        ("0.04", RefusalReason.TOO_SMALL),
        ("10001", RefusalReason.TOO_LARGE),
    ],
)
async def test_refusals_of_the_venue(at: At, quantity: str, reason: RefusalReason) -> None:
    """Each proves that nothing was sold, and says what was the matter."""
    outcome = await at.venue.submit_close(sale(SOL, quantity))
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert at.held("SOL") == 300


async def test_id_of_an_open_order_is_refused(at: At) -> None:
    """Of one that was filled it is not: the guard looks up what it sent before it sends again."""
    await at.place.control.spot_bot_order(
        **SELLS, type="LIMIT", quantity="1", price="150", client_id="ks-inc-1-1-1"
    )
    again = await at.venue.submit_close(sale(SOL, "10"))
    assert isinstance(again, Refused)
    assert again.reason is RefusalReason.DUPLICATE_ID
    assert at.held("SOL") == 300


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
    """By our id the venue knows nothing that was filled: the sale is among what is done."""
    at.fail(kind, "/trade/place-order", method="POST", times=1)
    assert isinstance(await at.venue.submit_close(sale(QRX, "1000")), Unknown)
    outcome = await at.venue.find_order(SCOPE, ClientOrderId("ks-inc-1-1-1"), QRX)
    assert isinstance(outcome, found)
    if isinstance(outcome, Done):
        assert outcome.filled == 1000
        assert float(outcome.brought or 0) == pytest.approx(0.01 * 0.999)
    assert at.sent("GET", "/trade/orderInfo") == [{"clientOid": "ks-inc-1-1-1"}]
    (asked,) = at.sent("GET", "/trade/history-orders")
    assert asked["symbol"] == "QRXBTC"


async def test_sale_is_found_behind_a_page_of_others(at: At) -> None:
    """A bot has done 100 orders on the market since."""
    await at.venue.submit_close(sale(SOL, "10"))
    for _ in range(100):
        await at.place.control.spot_bot_order(**SELLS, type="MARKET", quantity="0.1")
    outcome = await at.venue.find_order(SCOPE, ClientOrderId("ks-inc-1-1-1"), SOL)
    assert isinstance(outcome, Done)
    assert outcome.filled == 10


@pytest.mark.parametrize("path", ["/trade/orderInfo", "/trade/history-orders"])
async def test_look_up_that_is_not_answered_proves_nothing(at: At, path: str) -> None:
    """An order that one of the two lists may hold is not said to be none."""
    at.fail(FaultKind.ANSWER_BEFORE, path, status=502, body="<html>")
    outcome = await at.venue.find_order(SCOPE, ClientOrderId("ks-inc-1-1-1"), SOL)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    "body", ["<html>", "{}", '{"code":"00000","data":{}}', '{"code":"00000","data":null}']
)
async def test_success_without_an_order_id_proves_nothing(at: At, body: str) -> None:
    """HTTP 200 alone is no sale."""
    at.fail(FaultKind.ANSWER_BEFORE, "/trade/place-order", method="POST", status=200, body=body)
    assert isinstance(await at.venue.submit_close(sale(SOL, "5")), Unknown)


async def test_orders_are_cancelled_where_they_are_and_are_then_gone(at: At) -> None:
    """A second cancel finds each gone, which is as good."""
    orders = await at.venue.fetch_orders(SCOPE)
    for order in (*orders, *orders):
        assert isinstance(await at.venue.submit_cancel(order), Done)
    assert at.place.exchange.spot.view(KEY).orders == {}
    regular, stop, plan = (str(order.order_id) for order in orders)
    assert at.sent("POST", "/trade/cancel-order")[:2] == [
        {"symbol": "SOLUSDT", "orderId": regular},
        {"symbol": "SOLUSDT", "orderId": stop, "tpslType": "tpsl"},
    ]
    assert at.sent("POST", "/trade/cancel-plan-order")[:1] == [{"orderId": plan}]


async def test_all_orders_of_a_coin_go_on_all_of_its_markets(at: At) -> None:
    """The orders of SOL, and a purchase of ETH that holds BTC, are two coins' orders."""
    at.place.exchange.spot.set_prices({"ETHBTC": "0.05"})
    await at.place.control.spot_bot_order(
        symbol="ETHBTC", side="BUY", type="LIMIT", quantity="1", price="0.04"
    )
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, BTC), Done)
    left = at.place.exchange.spot.view(KEY).orders.values()
    assert {order.symbol for order in left} == {"SOLUSDT"}
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, SOL), Done)
    assert at.place.exchange.spot.view(KEY).orders == {}


async def test_cancel_that_confirms_nothing_is_unknown(at: At) -> None:
    """Of either kind; and neither is one that was never answered a success."""
    orders = await at.venue.fetch_orders(SCOPE)
    body = '{"code":"00000","data":{"result":"failure"}}'
    for path in ("/trade/cancel-order", "/trade/cancel-plan-order"):
        at.fail(FaultKind.ANSWER_BEFORE, path, status=200, body=body)
    for order in orders:
        assert isinstance(await at.venue.submit_cancel(order), Unknown)
    at.place.service.plan.clear()
    at.fail(FaultKind.DROP_BEFORE, "/trade/cancel-order", method="POST")
    assert isinstance(await at.venue.submit_cancel_all(SCOPE, SOL), Unknown)


# --- check ------------------------------------------------------------------------------------


async def test_inspection_tells_account_key_and_costs(at: At) -> None:
    """The spread of each coin on the market that it is sold on."""
    told = await at.venue.inspect(SCOPE, (SOL, QRX, Symbol("XYZ")))
    assert told.family is AccountFamily.SPOT
    assert told.position_mode is PositionMode.ONE_WAY
    assert told.rights.can_read
    assert told.rights.can_read_transfers
    assert told.rights.can_trade
    assert not told.rights.can_withdraw
    assert told.rights.reason == ""
    assert isinstance(told.latency_s, float)
    assert set(told.costs) == {SOL, QRX}
    assert told.costs[SOL].spread == pytest.approx(0.0002)


async def test_inspection_names_what_is_not_told(at: At) -> None:
    """A part that could not be read is a value; the others are told all the same."""
    for path in ("/account/info", "/account/bills"):
        at.fail(FaultKind.ERROR, path, status=400, code=40014, message="Incorrect permissions")
    told = await at.venue.inspect(SCOPE, (SOL,))
    assert told.rights.can_trade is None
    assert told.rights.can_read_transfers is False
    assert "40014" in told.rights.reason
    assert not isinstance(told.server_offset_s, NotTold)


async def test_stables_are_settings_not_guesses() -> None:
    """Where USDC is not configured as stable it is a coin like others, priced and for sale."""
    changes = {"spot": {"USDC": 100, "USDT": 5}, "spot_prices": {"USDCUSDT": "0.99"}}
    content = seed(**{**SPOT, **changes, "spot_orders": []})
    async with simulated(content, venue="bitget") as place:
        venue = BitgetSpot(
            scope=SCOPE,
            access=access_to("bitget", place.url),
            clock=SystemClock(),
            stables=(Asset("USDT"),),
        )
        try:
            await venue.fetch_market_limits()
            reading = await venue.fetch_reading(SCOPE)
        finally:
            await venue.aclose()
    assert reading.equity == pytest.approx(104.0)
    assert [(coin.asset, coin.sellable) for coin in reading.coins] == [("USDC", Decimal(100))]
