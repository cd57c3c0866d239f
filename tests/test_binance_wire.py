"""The Binance adapter with real ccxt against a server on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from clock import SystemClock
from errors import ConfigurationError, InvariantViolation, Malformed, ObservationError, Unavailable
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    IncidentId,
    LedgerKind,
    MarginMode,
    Order,
    OrderKind,
    OrderSide,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from tests.canned_venue import Canned, CannedVenue, Heard, Responder, canned_venue
from tests.test_binance_parsing import (
    account_answer,
    asset_row,
    conditional_row,
    income_row,
    market_row,
    order_row,
    position_row,
)
from venues.access import Access
from venues.binance import BinanceFutures
from venues.protocol import Venue

SCOPE = ScopeId("binance_futures")
ETH = Symbol("ETHUSDT")
OURS = ClientOrderId("ks-1-0-1")
KEY, SECRET = "test-key", "test-secret"
V1 = "/fapi.binance.com/fapi/v1"
V3 = "/fapi.binance.com/fapi/v3"
BATCH = "batchOrders"
START_S = 1_800_000_000.0
SERVER_AHEAD_S = 50_000_000.0


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = START_S

    def now(self) -> float:
        """The time set by hand."""
        return self.at

    def monotonic(self) -> float:
        """The same number; it never goes back here."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.at += seconds


def account(wallet: str = "1000", unrealised: str = "150.75", margin: str = "1150.75") -> Any:
    """An account holding USDT alone."""
    return account_answer(
        asset_row("USDT", wallet, unrealised, margin),
        wallet=wallet,
        unrealised=unrealised,
        margin=margin,
    )


@pytest.fixture
async def server() -> AsyncIterator[CannedVenue]:
    """A venue with one long, one order of each kind, and a clock far ahead of ours."""
    async with canned_venue() as venue:
        server_ms = int((START_S + SERVER_AHEAD_S) * 1000)
        venue.set("GET", f"{V1}/time", Canned(json={"serverTime": server_ms}))
        venue.set("GET", f"{V1}/exchangeInfo", Canned(json={"symbols": [market_row()]}))
        mode = {"dualSidePosition": False, "multiAssetsMargin": False}
        venue.set("GET", f"{V1}/accountConfig", Canned(json=mode))
        venue.set("GET", f"{V3}/account", Canned(json=account()))
        venue.set("GET", f"{V3}/positionRisk", Canned(json=[position_row()]))
        venue.set("GET", f"{V1}/openOrders", Canned(json=[order_row()]))
        venue.set("GET", f"{V1}/openAlgoOrders", Canned(json=[conditional_row()]))
        venue.set("GET", f"{V1}/income", Canned(json=[]))
        yield venue


@pytest.fixture
def clock() -> HandClock:
    """Our clock."""
    return HandClock()


def connect(url: str, clock: HandClock | None = None, **changed: Any) -> BinanceFutures:
    """An adapter redirected to loopback."""
    stables = changed.pop("stables", ("USDT", "USDC"))
    access = replace(
        Access(credentials={"apiKey": KEY, "secret": SECRET}, simulator_url=url),
        **({"order_timeout_s": 1.5} | changed),
    )
    adapter = BinanceFutures(
        scope=SCOPE, access=access, clock=clock or HandClock(), stables=stables
    )
    for client in (adapter._connection._reader, adapter._connection._trader):
        client.timeout_on_exit = 1  # ms; ccxt waits this long for TLS, which loopback has not
    return adapter


@pytest.fixture
async def venue(server: CannedVenue, clock: HandClock) -> AsyncIterator[BinanceFutures]:
    """A started adapter."""
    adapter = connect(server.url, clock)
    await adapter.start()
    yield adapter
    await adapter.aclose()


def close_of(side: Side = Side.LONG, mode: PositionMode = PositionMode.ONE_WAY) -> CloseInstruction:
    """An approved close of 1.5 ETH, written with more digits than it needs."""
    return CloseInstruction(
        scope=SCOPE,
        symbol=ETH,
        side=side,
        quantity=Decimal("1.500"),
        client_id=OURS,
        position_mode=mode,
        margin_mode=MarginMode.CROSS,
        incident_id=IncidentId("incident"),
    )


def filled(heard: Heard) -> Canned:
    """A full fill of the order that was sent."""
    sent = heard.fields
    return Canned(
        json=order_row(
            clientOrderId=sent["newClientOrderId"],
            status="FILLED",
            origQty=sent["quantity"],
            executedQty=sent["quantity"],
        )
    )


def batch(judge: Callable[[Mapping[str, str]], object]) -> Callable[[Heard], Canned]:
    """Answer every order of a batch in its place."""
    return lambda heard: Canned(json=[judge(sent) for sent in json.loads(heard.fields[BATCH])])


def row_of(sent: Mapping[str, str]) -> object:
    """The full fill of one order of a batch."""
    return order_row(
        clientOrderId=sent["newClientOrderId"], status="FILLED", executedQty=sent["quantity"]
    )


def closes(count: int) -> list[CloseInstruction]:
    """Closes of 1, 2, 3 and so on, each with its own id."""
    return [
        replace(close_of(), quantity=Decimal(n + 1), client_id=ClientOrderId(f"ks-{n}"))
        for n in range(count)
    ]


def error(code: int, status: int = 400, message: str = "text", **headers: str) -> Canned:
    """An error body."""
    return Canned(json={"code": code, "msg": message}, status=status, headers=headers)


async def test_start_asks_for_nothing_that_a_trading_key_may_not_read(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Clock, account and its mode; no wallet or margin lists, and nothing twice."""
    protocol: Venue = venue
    assert protocol.scopes == (SCOPE,)
    paths = [heard.path for heard in server.heard]
    assert paths == [f"{V1}/time", f"{V3}/account", f"{V1}/accountConfig"]


async def test_a_reading_joins_account_and_positions(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """1000 wallet + 150.75 profit = 1150.75 equity, signed with the key, on the venue's clock."""
    reading = await venue.fetch_reading(SCOPE)
    assert (reading.equity, reading.wallet, reading.unrealised_pnl) == (1150.75, 1000, 150.75)
    assert [position.symbol for position in reading.positions] == [ETH]
    assert reading.asked_at == START_S
    assert reading.position_mode is PositionMode.ONE_WAY
    assert reading.server_offset_s == SERVER_AHEAD_S
    heard = server.of("GET", f"{V3}/account")[-1]
    assert heard.headers["X-MBX-APIKEY"] == KEY
    digest = hmac.new(SECRET.encode(), heard.signed.encode(), hashlib.sha256).hexdigest()
    assert heard.fields["signature"] == digest
    assert abs(int(heard.fields["timestamp"]) / 1000 - START_S - SERVER_AHEAD_S) < 5


@pytest.mark.parametrize("leg", ["account", "positionRisk"])
async def test_a_reading_needs_all_legs(
    server: CannedVenue, venue: BinanceFutures, leg: str
) -> None:
    """One failing or damaged leg is no reading, whatever ccxt would make of it (lesson 1)."""
    damage = [
        (Canned(text="<html>busy</html>", headers={"Content-Type": "text/html"}), Unavailable),
        (Canned(text=""), Unavailable),
        (Canned(text="null"), Unavailable),
        (Canned(text="{"), Unavailable),
        (Canned(text="", status=524), Unavailable),
        (Canned(text="oops", status=503), Unavailable),
        (Canned(how="reset"), Unavailable),
        (Canned(how="cut"), Unavailable),
        (error(-1000), Unavailable),
        (error(-2015, status=401), Unavailable),
        (Canned(json={}), Malformed),
        (Canned(json={"assets": None}), Malformed),
        (Canned(json=[[]]), Malformed),
    ]
    for canned, expected in damage:
        server.set("GET", f"{V3}/{leg}", canned)
        with pytest.raises(expected) as raised:
            await venue.fetch_reading(SCOPE)
        assert len(str(raised.value)) < 250


async def test_a_hanging_read_ends_at_its_deadline(server: CannedVenue) -> None:
    """The deadline holds; the message names no URL."""
    server.set("GET", f"{V3}/account", Canned(how="hang"))
    adapter = connect(server.url, read_timeout_s=0.2)
    with pytest.raises(Unavailable, match="account: ") as raised:
        await adapter.fetch_reading(SCOPE)
    assert "http" not in str(raised.value)
    await adapter.aclose()


async def test_a_venue_that_is_down_is_unavailable_and_may_come_back(
    server: CannedVenue,
) -> None:
    """start() raises, may be called again, and readings do not need it."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    adapter = connect(f"http://127.0.0.1:{port}")
    for _ in range(2):
        with pytest.raises(Unavailable, match="refused"):
            await adapter.start()
    assert await adapter.submit_close(close_of()) == Refused(
        reason=RefusalReason.NOT_REACHED,
        code="",
        message="account: connection refused or host not found",
    )
    await adapter.aclose()
    unstarted = connect(server.url)
    assert (await unstarted.fetch_reading(SCOPE)).equity == 1150.75
    await unstarted.aclose()
    await unstarted.aclose()


async def test_a_pause_asked_for_reaches_the_caller(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """429 with Retry-After, and 418 with the end of a ban in its text."""
    server.set("GET", f"{V3}/account", error(-1003, 429, **{"Retry-After": "17"}))
    with pytest.raises(Unavailable) as raised:
        await venue.fetch_reading(SCOPE)
    assert raised.value.retry_after_s == 17
    clock.at += 17
    until_ms = int((clock.at + SERVER_AHEAD_S + 90) * 1000)
    server.set("GET", f"{V3}/account", error(-1003, 418, f"IP banned until {until_ms}."))
    with pytest.raises(Unavailable) as raised:
        await venue.fetch_reading(SCOPE)
    assert raised.value.retry_after_s == pytest.approx(90, abs=1)


async def test_coins_are_priced_by_mark_or_else_by_index(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """2 BNB at 600 by mark and 3 ODD at 5 by asset index: 1000 + 1200 + 15 = 2215."""
    rows = [
        asset_row("USDT", "1000", "0", "1000"),
        asset_row("BNB", "2", "0", "2"),
        asset_row("ODD", "3", "0", "3"),
    ]
    answer = account_answer(*rows, wallet="1000", unrealised="0", margin="1000")
    server.set("GET", f"{V3}/account", Canned(json=answer))
    marks = [{"symbol": "BNBUSDT", "markPrice": "600"}, {"symbol": "BNBUSDC", "markPrice": "1"}]
    server.set("GET", f"{V1}/premiumIndex", Canned(json=marks))
    server.set(
        "GET", f"{V1}/assetIndex", Canned(json=[{"symbol": "ODDUSD", "index": "5", "time": 1}])
    )
    reading = await venue.fetch_reading(SCOPE)
    assert reading.equity == 2215
    assert {coin.asset: coin.price for coin in reading.coins} == {"BNB": 600, "ODD": 5}
    server.set("GET", f"{V1}/assetIndex", Canned(json=[]))
    with pytest.raises(Malformed, match="ODD"):
        await venue.fetch_reading(SCOPE)


async def test_positions_outrank_the_cached_mode(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """A held leg proves hedge mode; the setting is then read again with the next reading."""
    legs = [position_row(positionSide="LONG"), position_row(positionSide="SHORT", positionAmt="-1")]
    server.set("GET", f"{V3}/positionRisk", Canned(json=legs))
    assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.HEDGE
    before = len(server.of("GET", f"{V1}/accountConfig"))
    hedge = {"dualSidePosition": True, "multiAssetsMargin": False}
    server.set("GET", f"{V1}/accountConfig", Canned(json=hedge))
    await venue.fetch_reading(SCOPE)
    await venue.fetch_reading(SCOPE)
    assert len(server.of("GET", f"{V1}/accountConfig")) == before + 1
    assert await venue.fetch_position_mode(SCOPE) is PositionMode.HEDGE


async def test_cached_facts_are_renewed_and_survive_a_failure(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """After ten minutes clock and mode are read again; what cannot be renewed is kept."""
    for path in ("time", "accountConfig"):
        server.set("GET", f"{V1}/{path}", Canned(text="busy", status=503))
    clock.at += 601
    assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.ONE_WAY
    assert len(server.of("GET", f"{V1}/time")) == 2
    clock.at += 30
    await venue.fetch_reading(SCOPE)
    assert len(server.of("GET", f"{V1}/time")) == 2
    clock.at += 31
    await venue.fetch_reading(SCOPE)
    assert len(server.of("GET", f"{V1}/time")) == 3
    assert len(server.of("GET", f"{V1}/accountConfig")) == 3


async def test_a_refused_time_stamp_has_the_clock_measured_again(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """The venue's clock jumped by an hour: measured once for both legs, and nothing is lost."""
    later_ms = int((START_S + SERVER_AHEAD_S + 3600) * 1000)
    server.set("GET", f"{V1}/time", Canned(json={"serverTime": later_ms}))

    def strict(answer: Any) -> Responder:
        def respond(heard: Heard) -> Canned:
            is_near = abs(int(heard.fields["timestamp"]) - later_ms) < 5000
            return Canned(json=answer) if is_near else error(-1021)

        return respond

    server.set("GET", f"{V3}/account", strict(account()))
    server.set("GET", f"{V3}/positionRisk", strict([position_row()]))
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75
    assert len(server.of("GET", f"{V1}/time")) == 2
    server.set("GET", f"{V3}/positionRisk", error(-1021))
    with pytest.raises(Unavailable, match="-1021"):
        await venue.fetch_positions(SCOPE)
    assert len(server.of("GET", f"{V1}/time")) == 3


@pytest.mark.parametrize("how", ["refuse", "hang"])
async def test_positions_are_read_for_closing_although_the_venue_does_not_tell_the_time(
    server: CannedVenue, how: str
) -> None:
    """Orders go with the machine's own clock, and so do the reads that size them."""
    adapter = connect(server.url)
    silent = Canned(how="hang") if how == "hang" else Canned(text="", status=503)
    server.set("GET", f"{V1}/time", silent)
    assert await adapter.fetch_positions(SCOPE)
    await adapter.aclose()


async def test_records_asked_for_by_a_clock_that_proved_wrong_are_no_answer(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """An hour off, they would leave an hour out, and be placed where no step is."""
    at_ms = int((START_S + SERVER_AHEAD_S + 3600) * 1000)
    server.set("GET", f"{V1}/time", Canned(json={"serverTime": at_ms}))
    row = income_row(time=at_ms - 5_000, tranId=77, income="-500", incomeType="TRANSFER")

    def strict(heard: Heard) -> Canned:
        is_near = abs(int(heard.fields["timestamp"]) - at_ms) < 5000
        return Canned(json=[row]) if is_near else error(-1021)

    server.set("GET", f"{V1}/income", strict)
    with pytest.raises(Unavailable, match="measured anew"):
        await venue.fetch_ledger(SCOPE, START_S - 60)
    (entry,) = (await venue.fetch_ledger(SCOPE, START_S - 60)).entries
    assert entry.at == pytest.approx(START_S - 5, abs=0.1)


async def test_an_order_refused_for_its_time_is_not_sent_twice_but_the_next_is_signed_anew(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Fifty closes after a refused one measure the clock once; if that fails they go out anyway."""
    server.set("POST", f"{V1}/order", error(-1021))
    outcome = await venue.submit_close(close_of())
    assert isinstance(outcome, Refused)
    assert outcome.reason is RefusalReason.CLOCK
    assert len(server.of("POST", f"{V1}/order")) == 1
    server.set("POST", f"{V1}/order", filled)
    server.set("POST", f"{V1}/{BATCH}", batch(row_of))
    outcomes = await venue.submit_closes(closes(50))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert len(server.of("GET", f"{V1}/time")) == 2
    server.set("POST", f"{V1}/order", error(-1021))
    await venue.submit_close(close_of())
    server.set("GET", f"{V1}/time", Canned(text="busy", status=503))
    server.set("POST", f"{V1}/order", filled)
    assert isinstance(await venue.submit_close(close_of()), Done)
    server.set("GET", f"{V1}/time", Canned(how="hang"))
    outcomes = await venue.submit_closes(closes(50))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert len(server.of("GET", f"{V1}/time")) == 4


async def test_orders_come_from_both_lists_or_not_at_all(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """All symbols, regular and conditional; half an answer would hide a resting stop."""
    orders = await venue.fetch_orders(SCOPE)
    assert [order.kind for order in orders] == [OrderKind.REGULAR, OrderKind.CONDITIONAL]
    assert "symbol" not in server.of("GET", f"{V1}/openOrders")[0].fields
    for path in ("openOrders", "openAlgoOrders"):
        server.set("GET", f"{V1}/{path}", error(-1001, 503))
        with pytest.raises(Unavailable, match=path):
            await venue.fetch_orders(SCOPE)
        server.set("GET", f"{V1}/{path}", Canned(json=[]))


async def test_marks_are_complete_or_an_error(server: CannedVenue, venue: BinanceFutures) -> None:
    """One known symbol is asked for alone, several at once; a coin's row is priced as the coin."""

    def marks(heard: Heard) -> Canned:
        rows = [
            {"symbol": "ETHUSDT", "markPrice": "2100.5"},
            {"symbol": "BNBUSDT", "markPrice": "600"},
        ]
        return Canned(json=rows[0] if "symbol" in heard.fields else rows)

    server.set("GET", f"{V1}/premiumIndex", marks)
    server.set("GET", f"{V1}/assetIndex", Canned(json=[]))
    await venue.fetch_market_limits()
    assert await venue.fetch_marks([]) == {}
    assert await venue.fetch_marks([ETH]) == {ETH: 2100.5}
    assert server.of("GET", f"{V1}/premiumIndex")[-1].fields == {"symbol": "ETHUSDT"}
    assert await venue.fetch_marks([ETH, Symbol("BNB")]) == {"ETHUSDT": 2100.5, "BNB": 600}
    with pytest.raises(Unavailable, match="GONEUSDT"):
        await venue.fetch_marks([ETH, Symbol("GONEUSDT")])


async def test_the_ledger_is_read_page_by_page_without_gap_or_double(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """1,500 records, three in each millisecond; a page ends inside one, and none is lost."""
    first_ms = int((START_S + SERVER_AHEAD_S - 1000) * 1000)
    records = [
        income_row(time=first_ms + number // 3, tranId=number, income="1", incomeType="TRANSFER")
        for number in range(1500)
    ]

    def page(heard: Heard) -> Canned:
        start, limit = int(heard.fields["startTime"]), int(heard.fields["limit"])
        return Canned(json=[row for row in records if row["time"] >= start][:limit])

    server.set("GET", f"{V1}/income", page)
    ledger = await venue.fetch_ledger(SCOPE, START_S - 1000)
    assert len(ledger.entries) == 1500
    assert sum(entry.amount for entry in ledger.entries) == 1500
    assert len({entry.record_id for entry in ledger.entries}) == 1500
    assert ledger.entries[0].at == pytest.approx(START_S - 1000, abs=0.01)
    assert ledger.entries[0].kind is LedgerKind.TRANSFER
    assert (ledger.since, ledger.asked_at) == (START_S - 1000, START_S)


async def test_a_ledger_that_may_have_gaps_is_an_error(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """A full page in one millisecond, newest first, or without end leaves records unread."""
    now_ms = int((START_S + SERVER_AHEAD_S) * 1000)

    def stuck(heard: Heard) -> Canned:
        rows = [income_row(time=int(heard.fields["startTime"]), tranId=n) for n in range(1000)]
        return Canned(json=rows)

    def backwards(heard: Heard) -> Canned:
        return Canned(json=[income_row(time=now_ms - n, tranId=n) for n in range(1000)])

    def endless(heard: Heard) -> Canned:
        start = int(heard.fields["startTime"])
        rows = [income_row(time=start + n, tranId=start + n) for n in range(1000)]
        return Canned(json=rows)

    for responder in (stuck, backwards, endless):
        server.set("GET", f"{V1}/income", responder)
        with pytest.raises(Unavailable, match="income"):
            await venue.fetch_ledger(SCOPE, START_S - 60)
    assert len(server.of("GET", f"{V1}/income")) == 1 + 1 + 20


async def test_ledger_amounts_in_coins_are_valued(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """A fee of 0.01 BNB at 600 is 6; an amount nobody can value makes the ledger Malformed."""
    fee = income_row(incomeType="COMMISSION", income="-0.01", asset="BNB")
    server.set("GET", f"{V1}/income", Canned(json=[fee]))
    server.set(
        "GET", f"{V1}/premiumIndex", Canned(json=[{"symbol": "BNBUSDT", "markPrice": "600"}])
    )
    (entry,) = (await venue.fetch_ledger(SCOPE, START_S - 60)).entries
    assert (entry.amount, entry.asset, entry.kind) == (-6, Asset("BNB"), LedgerKind.FEE)
    server.set("GET", f"{V1}/premiumIndex", Canned(json=[]))
    server.set("GET", f"{V1}/assetIndex", Canned(json=[]))
    with pytest.raises(Malformed, match="BNB"):
        await venue.fetch_ledger(SCOPE, START_S - 60)


@pytest.mark.parametrize(
    ("side", "mode", "expected"),
    [
        (Side.LONG, PositionMode.ONE_WAY, {"side": "SELL", "reduceOnly": "true"}),
        (Side.SHORT, PositionMode.ONE_WAY, {"side": "BUY", "reduceOnly": "true"}),
        (Side.LONG, PositionMode.HEDGE, {"side": "SELL", "positionSide": "LONG"}),
        (Side.SHORT, PositionMode.HEDGE, {"side": "BUY", "positionSide": "SHORT"}),
    ],
)
async def test_a_close_can_only_close(
    server: CannedVenue,
    venue: BinanceFutures,
    side: Side,
    mode: PositionMode,
    expected: dict[str, str],
) -> None:
    """Exactly these fields: reduce-only in one-way mode, bound to a leg if hedged (lesson 18)."""
    server.set("POST", f"{V1}/order", filled)
    outcome = await venue.submit_close(close_of(side, mode))
    assert outcome == Done(order_id=VenueOrderId("8001"), filled=Decimal("1.5"))
    (heard,) = server.of("POST", f"{V1}/order")
    sent = {k: v for k, v in heard.fields.items() if k not in ("timestamp", "signature")}
    assert sent == expected | {
        "symbol": "ETHUSDT",
        "type": "MARKET",
        "quantity": "1.5",
        "newClientOrderId": OURS,
        "newOrderRespType": "RESULT",
        "recvWindow": "10000",
    }


async def test_every_answer_to_an_order_is_judged_by_its_own_code(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """Refused where the code proves it, Unknown for all else, never an exception (lesson 24)."""
    r = RefusalReason
    table: list[tuple[Canned, RefusalReason | None]] = [
        (error(-2022), r.NOTHING_TO_REDUCE),
        (error(-4118), r.RESTING_ORDER_IN_THE_WAY),
        (error(-4005), r.TOO_LARGE),
        (error(-4164), r.TOO_SMALL),
        (error(-1111), r.BAD_PRECISION),
        (error(-4061), r.WRONG_POSITION_MODE),
        (error(-4116), r.DUPLICATE_ID),
        (error(-2015, 401), r.NOT_ALLOWED),
        (error(-1021), r.CLOCK),
        (error(-1015, 429, **{"Retry-After": "3"}), r.RATE_LIMITED),
        (error(-1008, 503), r.RATE_LIMITED),
        (Canned(text="", status=429), r.RATE_LIMITED),
        (error(-2022, 200), r.NOTHING_TO_REDUCE),
        (error(-1000), None),
        (error(-1001), None),
        (error(-1006), None),
        (error(-1007, 408), None),
        (error(-1000, 503, "Unknown error, please check your request or try again later."), None),
        (error(-1013, 400, "Filter failure: LOT_SIZE"), None),
        (Canned(text="<html>", status=403), None),
        (Canned(text="", status=502), None),
        (Canned(text="", status=504), None),
        (Canned(text="", status=524), None),
        (Canned(text="<html>ok</html>", headers={"Content-Type": "text/html"}), None),
        (Canned(text=""), None),
        (Canned(text="null"), None),
        (Canned(json={}), None),
        (Canned(json=[]), None),
        (Canned(text='{"orderId": 1'), None),
        (Canned(json=order_row(clientOrderId="another")), None),
        (Canned(how="reset"), None),
        (Canned(how="cut"), None),
        (Canned(how="hang"), None),
    ]
    for canned, reason in table:
        server.set("POST", f"{V1}/order", canned)
        outcome = await venue.submit_close(close_of())
        clock.at += 60  # The longest pause that one of the answers asks for is over.
        if reason is None:
            assert isinstance(outcome, Unknown), (canned, outcome)
        else:
            assert isinstance(outcome, Refused), (canned, outcome)
            assert outcome.reason is reason
    assert len(server.of("POST", f"{V1}/order")) == len(table)


async def test_a_pause_asked_of_an_order_is_passed_on(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """The executor waits as long as the venue says."""
    server.set("POST", f"{V1}/order", error(-1015, 429, **{"Retry-After": "3"}))
    outcome = await venue.submit_close(close_of())
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_s == 3


async def test_a_refused_position_mode_is_read_again(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """The account was switched to hedge mode: the next reading knows."""
    server.set("GET", f"{V3}/positionRisk", Canned(json=[]))
    server.set("POST", f"{V1}/order", error(-4061))
    await venue.submit_close(close_of())
    hedge = {"dualSidePosition": True, "multiAssetsMargin": False}
    server.set("GET", f"{V1}/accountConfig", Canned(json=hedge))
    assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.HEDGE


async def test_fifty_closes_go_out_in_ten_batches_and_answer_one_by_one(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Each outcome belongs to its own instruction although answers come in any order."""

    def every_third_fails(sent: Mapping[str, str]) -> object:
        number = int(sent["newClientOrderId"].rpartition("-")[2])
        return {"code": -2022, "msg": "text"} if number % 3 == 0 else row_of(sent)

    server.set("POST", f"{V1}/{BATCH}", batch(every_third_fails))
    outcomes = await venue.submit_closes(closes(50))
    for number, outcome in enumerate(outcomes):
        if number % 3 == 0:
            assert isinstance(outcome, Refused)
            assert outcome.reason is RefusalReason.NOTHING_TO_REDUCE
        else:
            assert isinstance(outcome, Done)
            assert outcome.filled == number + 1
    heard = server.of("POST", f"{V1}/{BATCH}")
    assert [len(json.loads(each.fields[BATCH])) for each in heard] == [5] * 10
    sent = [order for each in heard for order in json.loads(each.fields[BATCH])]
    assert all(order["reduceOnly"] == "true" for order in sent)


def shuffled(heard: Heard) -> Canned:
    """Answers of a batch that stand in each other's places."""
    return Canned(json=[row_of(sent) for sent in reversed(json.loads(heard.fields[BATCH]))])


DOUBTFUL: list[Responder] = [
    shuffled,
    batch(lambda sent: {**dict(order_row()), "clientOrderId": None}),
    batch(lambda sent: {"code": -1007, "msg": "status unknown"}),
    Canned(json=[]),
    Canned(json=[order_row(clientOrderId="ks-0", status="FILLED")]),
    Canned(json={"orderId": 1}),
    Canned(text="<html>"),
    Canned(text="", status=502),
    error(-4082),
    error(-1007, 408),
    Canned(how="reset"),
    Canned(how="cut"),
]


@pytest.mark.parametrize("responder", DOUBTFUL)
async def test_a_batch_in_doubt_proves_nothing_and_the_next_orders_go_one_by_one(
    server: CannedVenue, venue: BinanceFutures, responder: Responder
) -> None:
    """A fault of batches alone must not keep every close from being executed, for ten minutes."""
    server.set("POST", f"{V1}/{BATCH}", responder)
    server.set("POST", f"{V1}/order", filled)
    assert all(isinstance(each, Unknown) for each in await venue.submit_closes(closes(3)))
    assert all(isinstance(each, Done) for each in await venue.submit_closes(closes(3)))
    assert len(server.of("POST", f"{V1}/{BATCH}")) == 1
    assert len(server.of("POST", f"{V1}/order")) == 3


async def test_batches_are_tried_again_after_ten_minutes(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """One lost answer does not make the rest of the year slower."""
    server.set("POST", f"{V1}/{BATCH}", Canned(how="reset"))
    await venue.submit_closes(closes(2))
    clock.at += 600
    server.set("POST", f"{V1}/{BATCH}", batch(row_of))
    assert all(isinstance(each, Done) for each in await venue.submit_closes(closes(2)))


@pytest.mark.parametrize(
    "code", [-4003, -4164, -4005, -4118, -2022, -4061, -1111, -4116, -1121, -2019]
)
async def test_a_batch_that_is_refused_whole_for_one_of_its_orders_proves_nothing_of_any(
    server: CannedVenue, venue: BinanceFutures, code: int
) -> None:
    """It does not say which: "too small" would make dust of its neighbours. They go singly then."""
    server.set("POST", f"{V1}/{BATCH}", error(code))
    server.set("POST", f"{V1}/order", filled)
    assert all(isinstance(each, Unknown) for each in await venue.submit_closes(closes(3)))
    assert all(isinstance(each, Done) for each in await venue.submit_closes(closes(3)))


async def test_after_a_batch_whose_signature_is_refused_orders_go_one_by_one(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Only a batch signs a list: what spoils it on the way must not keep closes out for ever."""
    server.set("POST", f"{V1}/{BATCH}", error(-1022))
    server.set("POST", f"{V1}/order", filled)
    assert all(isinstance(each, Refused) for each in await venue.submit_closes(closes(3)))
    assert all(isinstance(each, Done) for each in await venue.submit_closes(closes(3)))


async def test_an_order_of_a_batch_refused_for_its_time_has_the_clock_measured_again(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """The matching engine judges each order of a batch by itself; the next is signed anew."""
    await venue.start()
    rows = batch(lambda _sent: {"code": -5028, "msg": "outside of the window"})
    server.set("POST", f"{V1}/{BATCH}", rows)
    measured = len(server.of("GET", f"{V1}/time"))
    await venue.submit_closes(closes(2))
    server.set("POST", f"{V1}/{BATCH}", batch(row_of))
    assert all(isinstance(each, Done) for each in await venue.submit_closes(closes(2)))
    assert len(server.of("GET", f"{V1}/time")) == measured + 1


@pytest.mark.parametrize(
    ("canned", "reason"),
    [
        (error(-1015, 429, **{"Retry-After": "1"}), RefusalReason.RATE_LIMITED),
        (error(-2015, 401), RefusalReason.NOT_ALLOWED),
    ],
)
async def test_a_batch_that_is_refused_whole_is_a_refusal_of_each(
    server: CannedVenue, venue: BinanceFutures, canned: Canned, reason: RefusalReason
) -> None:
    """The gateway turned it away before any of its orders was looked at."""
    server.set("POST", f"{V1}/{BATCH}", canned)
    for outcome in await venue.submit_closes(closes(2)):
        assert isinstance(outcome, Refused)
        assert outcome.reason is reason


async def test_only_an_approved_close_of_this_account_is_sent(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Anything else is our own bug, and nothing leaves."""
    with pytest.raises(InvariantViolation):
        await venue.submit_close({"symbol": "ETHUSDT"})  # type: ignore[arg-type]
    for work in (
        venue.fetch_reading(ScopeId("other")),
        venue.fetch_positions(ScopeId("other")),
        venue.fetch_orders(ScopeId("other")),
        venue.fetch_ledger(ScopeId("other"), 0.0),
        venue.fetch_position_mode(ScopeId("other")),
        venue.submit_cancel_all(ScopeId("other"), ETH),
        venue.find_order(ScopeId("other"), OURS, ETH),
    ):
        with pytest.raises(InvariantViolation):
            await work
    assert not server.of("POST", f"{V1}/order")


def resting(kind: OrderKind) -> Order:
    """An open order of the given kind."""
    return Order(
        scope=SCOPE,
        order_id=VenueOrderId("77"),
        client_id=ClientOrderId("bot-1"),
        symbol=ETH,
        kind=kind,
        side=OrderSide.BUY,
        position_side=None,
        quantity=Decimal(1),
        reduce_only=False,
        close_position=False,
        order_type="LIMIT",
    )


@pytest.mark.parametrize(
    ("kind", "path", "id_name", "params"),
    [
        (OrderKind.REGULAR, "order", "orderId", {"symbol": "ETHUSDT", "orderId": "77"}),
        (OrderKind.CONDITIONAL, "algoOrder", "algoId", {"algoId": "77"}),
    ],
)
async def test_an_order_is_cancelled_where_its_kind_lives(
    server: CannedVenue,
    venue: BinanceFutures,
    kind: OrderKind,
    path: str,
    id_name: str,
    params: dict[str, str],
) -> None:
    """Done when it is confirmed or already gone; Unknown when nothing is confirmed."""
    done = Done(order_id=VenueOrderId("77"))
    table: list[tuple[Canned, type[Outcome] | Done]] = [
        (Canned(json={id_name: 77, "code": "200", "msg": "success"}), done),
        (Canned(json={id_name: 77}), done),
        (error(-2011), done),
        (error(-2013), done),
        (Canned(json={id_name: 78}), Unknown),
        (Canned(json={}), Unknown),
        (Canned(text="<html>"), Unknown),
        (error(-1001, 503), Unknown),
        (error(-1003, 429), Refused),
    ]
    for canned, expected in table:
        server.set("DELETE", f"{V1}/{path}", canned)
        outcome = await venue.submit_cancel(resting(kind))
        assert outcome == expected if isinstance(expected, Done) else isinstance(outcome, expected)
    heard = server.of("DELETE", f"{V1}/{path}")[0]
    assert {name: heard.fields[name] for name in params} == params


async def test_cancelling_all_is_done_only_when_both_kinds_are(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """The regular cancel-all leaves conditional orders alive."""
    ok = Canned(json={"code": 200, "msg": "The operation of cancel all open order is done."})
    refused, unknown = error(-1003, 429), error(-1001, 503)
    table: list[tuple[Canned, Canned, type[Outcome]]] = [
        (ok, ok, Done),
        (ok, refused, Refused),
        (refused, ok, Refused),
        (unknown, ok, Unknown),
        (refused, unknown, Unknown),
        (ok, Canned(json={}), Unknown),
    ]
    for regular, conditional, expected in table:
        server.set("DELETE", f"{V1}/allOpenOrders", regular)
        server.set("DELETE", f"{V1}/algoOpenOrders", conditional)
        assert isinstance(await venue.submit_cancel_all(SCOPE, ETH), expected)
    assert server.of("DELETE", f"{V1}/algoOpenOrders")[0].fields["symbol"] == "ETHUSDT"


async def test_an_order_is_found_by_our_own_id(server: CannedVenue, venue: BinanceFutures) -> None:
    """What was executed, or the venue's word that there is no such order, or Unknown."""
    table: list[tuple[Canned, object]] = [
        (
            Canned(json=order_row(clientOrderId=OURS, status="FILLED", executedQty="1.5")),
            Done(order_id=VenueOrderId("8001"), filled=Decimal("1.5")),
        ),
        (error(-2013), RefusalReason.NO_SUCH_ORDER),
        (error(-1003, 429), None),
        (error(-2015, 401), None),
        (Canned(json={}), None),
        (Canned(how="hang"), None),
    ]
    for canned, expected in table:
        server.set("GET", f"{V1}/order", canned)
        outcome = await venue.find_order(SCOPE, OURS, ETH)
        match expected:
            case None:
                assert isinstance(outcome, Unknown)
            case RefusalReason():
                assert isinstance(outcome, Refused)
                assert outcome.reason is expected
            case _:
                assert outcome == expected
    assert server.of("GET", f"{V1}/order")[0].fields["origClientOrderId"] == OURS


async def test_no_secret_is_shown_anywhere(
    server: CannedVenue, venue: BinanceFutures, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither key, secret, signature nor URL: in messages, chains, logs or the adapter's repr."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = [repr(venue), str(vars(venue))]

    def echo(heard: Heard) -> Canned:
        text = f"bad {KEY} {SECRET} {heard.fields['signature']} http://x/?signature=1"
        return error(-1022, 401, text)

    for canned in (echo, Canned(how="reset"), Canned(how="cut"), Canned(text="<html>", status=500)):
        server.set("GET", f"{V3}/account", canned)
        server.set("POST", f"{V1}/order", canned)
        try:
            await venue.fetch_reading(SCOPE)
        except ObservationError as raised:
            chained: BaseException | None = raised
            while chained is not None:
                shown.append(repr(chained))
                chained = chained.__cause__ or chained.__context__
        shown.append(repr(await venue.submit_close(close_of())))
    ours = [record for record in caplog.records if record.name != "asyncio"]
    text = "\n".join(shown + [record.getMessage() for record in ours])
    signatures = [heard.fields.get("signature", KEY) for heard in server.heard]
    for secret in (KEY, SECRET, "http://", "signature=", *signatures):
        assert secret not in text


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8800",
        "http://example.com:80",
        "https://127.0.0.1:8800",
        "http://10.0.0.1:8800",
        "http://127.0.0.1",
        "http://127.0.0.1:99999",
        "http://user@127.0.0.1:8800",
        "http://127.0.0.1:8800/path",
        "http://127.0.0.1.example.com:80",
        "127.0.0.1:8800",
        "",
    ],
)
async def test_only_a_literal_loopback_address_is_a_simulator(url: str) -> None:
    """A name could resolve anywhere; keys would travel there."""
    with pytest.raises(ConfigurationError, match="simulator_url"):
        connect(url)


async def test_sandbox_and_demo_lead_away_from_the_live_account() -> None:
    """Each has its own hosts, and both at once is a contradiction."""
    with pytest.raises(ConfigurationError):
        connect("http://127.0.0.1:1", sandbox=True, demo=True)
    access = Access(credentials={"apiKey": KEY, "secret": SECRET})
    live = BinanceFutures(scope=SCOPE, access=access, clock=SystemClock(), stables=("USDT",))
    assert live.scopes == (SCOPE,)
    await live.aclose()


async def test_demo_and_sandbox_requests_reach_their_own_hosts(server: CannedVenue) -> None:
    """The host is the first part of the redirected path."""
    hosts = {"demo": "demo-fapi.binance.com", "sandbox": "testnet.binancefuture.com"}
    for name, host in hosts.items():
        server.set("GET", f"/{host}/fapi/v1/time", Canned(json={"serverTime": 1}))
        server.set("GET", f"/{host}/fapi/v3/positionRisk", Canned(json=[]))
        flag: dict[str, Any] = {name: True}
        adapter = connect(server.url, **flag)
        assert await adapter.fetch_positions(SCOPE) == ()
        await adapter.aclose()
