"""Every answer that Binance can give to an order, over real HTTP: done, refused why, or unknown."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest

from errors import Unavailable
from model import (
    ClientOrderId,
    Done,
    OrderKind,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    Unknown,
)
from tests.canned_venue import Canned, CannedVenue
from tests.test_binance_wire import (
    BATCH,
    V1,
    V3,
    HandClock,
    clock,
    close_of,
    closes,
    connect,
    error,
    filled,
    resting,
    row_of,
    server,
    venue,
)
from venues.binance import BinanceFutures
from venues.binance_errors import REFUSALS

__all__ = ["clock", "server", "venue"]

R = RefusalReason
CODES: Mapping[int, RefusalReason | None] = {
    # Internal errors, and answers whose status the documentation calls unknown.
    -1000: None,
    -1001: None,
    -1006: None,
    -1007: None,
    # Limits of requests and orders, and overload protection.
    -1003: R.RATE_LIMITED,
    -1008: R.RATE_LIMITED,
    -1015: R.RATE_LIMITED,
    # Our time stamp, signature, key, or the account's own restriction.
    -1021: R.CLOCK,
    -5028: R.CLOCK,
    -1022: R.NOT_ALLOWED,
    -2014: R.NOT_ALLOWED,
    -2015: R.NOT_ALLOWED,
    -2017: R.NOT_ALLOWED,
    -4087: R.NOT_ALLOWED,
    -4088: R.NOT_ALLOWED,
    -4192: R.NOT_ALLOWED,
    -4400: R.NOT_ALLOWED,
    -4401: R.NOT_ALLOWED,
    -21001: R.NOT_ALLOWED,
    # Size and form.
    -1111: R.BAD_PRECISION,
    -4023: R.BAD_PRECISION,
    -4003: R.TOO_SMALL,
    -4004: R.TOO_SMALL,
    -4164: R.TOO_SMALL,
    -4005: R.TOO_LARGE,
    # The position: gone, claimed by resting orders, or of another mode.
    -2022: R.NOTHING_TO_REDUCE,
    -2024: R.NOTHING_TO_REDUCE,
    -4118: R.RESTING_ORDER_IN_THE_WAY,
    -1106: R.WRONG_POSITION_MODE,
    -4061: R.WRONG_POSITION_MODE,
    -4062: R.WRONG_POSITION_MODE,
    -4116: R.DUPLICATE_ID,
    # The market.
    -1121: R.NOT_TRADABLE,
    -4140: R.NOT_TRADABLE,
    -4141: R.NOT_TRADABLE,
    # Checks before the book.
    -2019: R.OTHER,
    -2021: R.OTHER,
    -2027: R.OTHER,
    -4131: R.OTHER,
    # Said of an order that is looked up or cancelled; of a new one they prove nothing.
    -2011: None,
    -2013: None,
    # Codes of several meanings, of other kinds of orders, or of a liquidation under way.
    -1013: None,
    -1102: None,
    -2010: None,
    -2018: None,
    -2020: None,
    -2023: None,
    -2025: None,
    -2026: None,
    -4014: None,
    -4015: None,
    -4046: None,
    -4059: None,
    -4067: None,
    -4068: None,
    -4120: None,
    -4138: None,
    -5021: None,
    -5022: None,
    -9999: None,
}
RESTS_S = 120.0
"""Longer than any pause that an answer here asks for."""


def reason_of(outcome: Outcome) -> RefusalReason | None:
    """The reason of a refusal, None of an unknown outcome; nothing here may be done."""
    assert not isinstance(outcome, Done)
    return outcome.reason if isinstance(outcome, Refused) else None


def test_the_table_is_complete() -> None:
    """Every code that counts as proof stands above, with its reason."""
    assert {code: reason for code, reason in CODES.items() if reason} == dict(REFUSALS)


@pytest.mark.parametrize("status", [400, 500, 502, 503, 504])
async def test_each_code_means_what_the_table_says_and_nothing_on_a_server_error(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock, status: int
) -> None:
    """On a 5xx an executed order is possible whatever the body says; -1008 alone excludes it."""
    found: dict[int, RefusalReason | None] = {}
    for code in CODES:
        server.set("POST", f"{V1}/order", error(code, status))
        found[code] = reason_of(await venue.submit_close(close_of()))
        clock.at += RESTS_S
    proved = CODES if status == 400 else {-1008: R.RATE_LIMITED}
    assert found == {code: proved.get(code) for code in CODES}
    assert len(server.of("POST", f"{V1}/order")) == len(CODES)


async def test_each_code_means_the_same_for_one_order_of_a_batch(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """Its neighbours stay what they are."""
    found: dict[int, RefusalReason | None] = {}
    for code in CODES:
        rows = [{"code": code, "msg": "text"}, row_of({**SENT, "newClientOrderId": "ks-1"})]
        server.set("POST", f"{V1}/{BATCH}", Canned(json=rows))
        refused, done = await venue.submit_closes(closes(2))
        found[code] = reason_of(refused)
        assert isinstance(done, Done)
        clock.at += 601
    assert found == CODES


SENT = {"quantity": "2"}
EVENTS: Mapping[str, tuple[Canned, RefusalReason | None]] = {
    "reset": (Canned(how="reset"), None),
    "read time-out": (Canned(how="hang"), None),
    "cut off": (Canned(how="cut"), None),
    "500": (Canned(text="", status=500), None),
    "502": (Canned(text="<html>", status=502), None),
    "503 unknown": (error(-1000, 503, "Unknown error, please check your request"), None),
    "503 unavailable": (error(0, 503, "Service Unavailable."), None),
    "503 internal": (error(-1001, 503, "Internal error; unable to process your request."), None),
    "503 overload": (error(-1008, 503), R.RATE_LIMITED),
    "504": (Canned(text="", status=504), None),
    "520": (Canned(text="<html>", status=520), None),
    "524": (Canned(text="<html>", status=524), None),
    "408": (error(-1007, 408), None),
    "200 html": (Canned(text="<html>", headers={"Content-Type": "text/html"}), None),
    "200 empty": (Canned(text=""), None),
    "200 null": (Canned(text="null"), None),
    "200 no id": (Canned(json={}), None),
    "200 id 0": (Canned(json={"orderId": 0, "clientOrderId": "ks-1-0-1"}), None),
    "200 of another": (Canned(json={"orderId": 1, "clientOrderId": "another"}), None),
    "429": (error(-1003, 429, **{"Retry-After": "1"}), R.RATE_LIMITED),
    "429 bare": (Canned(text="", status=429), R.RATE_LIMITED),
    "418": (error(-1003, 418, "banned", **{"Retry-After": "60"}), R.RATE_LIMITED),
    "418 bare": (Canned(text="", status=418), R.RATE_LIMITED),
    "401": (error(-2015, 401), R.NOT_ALLOWED),
    "401 bare": (Canned(text="", status=401), None),
    "403": (Canned(text="<html>", status=403), None),
    "404": (Canned(text="<html>", status=404), None),
    "451": (Canned(text="<html>", status=451), None),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_each_event_on_the_line_proves_what_the_table_says(
    server: CannedVenue, venue: BinanceFutures, name: str
) -> None:
    """Pages, cut answers and silence prove nothing; the order is sent once whatever comes."""
    canned, reason = EVENTS[name]
    server.set("POST", f"{V1}/order", canned)
    assert reason_of(await venue.submit_close(close_of())) is reason
    assert len(server.of("POST", f"{V1}/order")) == 1


async def test_what_never_left_this_machine_was_not_executed(server: CannedVenue) -> None:
    """Nobody listens at the port: refused, and the same is said of a whole batch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    adapter = connect(f"http://127.0.0.1:{port}")
    outcomes = [await adapter.submit_close(close_of()), *await adapter.submit_closes(closes(2))]
    assert [reason_of(outcome) for outcome in outcomes] == [R.NOT_REACHED] * 3
    await adapter.aclose()


async def test_a_host_that_is_not_found_was_never_reached(server: CannedVenue) -> None:
    """The name of the host has no address: nothing was sent."""

    async def no_address(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    adapter = connect(server.url)
    trader = adapter._connection._trader
    trader.open()
    trader.session._connector._resolve_host = no_address
    assert reason_of(await adapter.submit_close(close_of())) is R.NOT_REACHED
    assert server.heard == []
    await adapter.aclose()


# --- pauses -----------------------------------------------------------------------------------


async def test_a_pause_asked_of_an_order_holds_readings_and_the_other_way_round(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """Whoever is told to wait, everything of the connection waits, and says for how long."""
    server.set("POST", f"{V1}/order", error(-1015, 429, **{"Retry-After": "40"}))
    assert isinstance(await venue.submit_close(close_of()), Refused)
    asked = len(server.heard)
    for work in (venue.fetch_reading, venue.fetch_positions, venue.fetch_orders):
        with pytest.raises(Exception, match="held back") as raised:
            await work(venue.scopes[0])
        assert getattr(raised.value, "retry_after_s", None) == pytest.approx(40)
    assert len(server.heard) == asked
    clock.at += 40
    server.set("GET", f"{V1}/openOrders", error(-1003, 418, **{"Retry-After": "300"}))
    with pytest.raises(Exception, match="418"):
        await venue.fetch_orders(venue.scopes[0])
    server.set("POST", f"{V1}/order", filled)
    held = await venue.submit_close(close_of())
    assert isinstance(held, Refused)
    assert held.reason is R.RATE_LIMITED
    assert held.retry_after_s == pytest.approx(300)
    found = await venue.find_order(venue.scopes[0], ClientOrderId("ks-1"), close_of().symbol)
    assert isinstance(found, Unknown)
    clock.at += 300
    assert isinstance(await venue.submit_close(close_of()), Done)


async def test_an_order_waits_out_a_short_pause(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """A second is waited for, and the order leaves then."""
    server.set("POST", f"{V1}/order", error(-1003, 429, **{"Retry-After": "1"}))
    await venue.submit_close(close_of())
    before = clock.at
    server.set("POST", f"{V1}/order", filled)
    assert isinstance(await venue.submit_close(close_of()), Done)
    assert clock.at - before == pytest.approx(1, abs=0.01)


async def test_readings_leave_weight_to_closing_as_the_venue_counts_it(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Another program has used 2,300 of 2,400: no list of orders, but positions at once."""
    used = {"X-MBX-USED-WEIGHT-1M": "2300"}
    server.set("GET", f"{V1}/accountConfig", Canned(json=MODE, headers=used))
    await venue.fetch_position_mode(venue.scopes[0])
    with pytest.raises(Exception, match="held back") as raised:
        await venue.fetch_orders(venue.scopes[0])
    assert await venue.fetch_positions(venue.scopes[0])
    # The venue asked for no pause: one of readings would be kept by closing as well.
    assert getattr(raised.value, "retry_after_s", 0.0) is None


MODE = {"dualSidePosition": False, "multiAssetsMargin": False}


async def test_orders_keep_to_what_the_account_has_left(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Other programs have placed 298 of the 300 orders that 10 s allow: two more, then a pause."""
    used = {"X-MBX-ORDER-COUNT-10S": "299", "X-MBX-ORDER-COUNT-1M": "299"}
    server.set(
        "POST",
        f"{V1}/order",
        lambda heard: Canned(json=filled(heard).json, headers=used),
    )
    assert isinstance(await venue.submit_close(close_of()), Done)
    assert isinstance(await venue.submit_close(close_of()), Done)
    held = await venue.submit_closes(closes(2))
    assert [reason_of(outcome) for outcome in held] == [R.RATE_LIMITED] * 2
    assert all(isinstance(each, Refused) and (each.retry_after_s or 0) > 5 for each in held)
    assert len(server.of("POST", f"{V1}/order")) == 2


async def test_a_burst_of_cancels_leaves_weight_for_the_reads_that_size_closes(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Another program has used 2,195 of 2,400: five more cancels, and those held ask no pause."""
    used = {"X-MBX-USED-WEIGHT-1M": "2194"}
    server.set("GET", f"{V1}/accountConfig", Canned(json=MODE, headers=used))
    await venue.fetch_position_mode(venue.scopes[0])
    server.set("DELETE", f"{V1}/order", Canned(json={"orderId": 77}))
    cancels = [await venue.submit_cancel(resting(OrderKind.REGULAR)) for _ in range(12)]
    held = [each for each in cancels if isinstance(each, Refused)]
    assert 0 < len(held) < 12
    assert {each.retry_after_s for each in held} == {None}
    assert await venue.fetch_positions(venue.scopes[0])


async def test_the_position_mode_is_read_although_readings_are_held_back(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Closes that are refused for the wrong mode wait for it."""
    used = {"X-MBX-USED-WEIGHT-1M": "2300"}
    server.set("GET", f"{V1}/accountConfig", Canned(json=MODE, headers=used))
    for _ in range(2):
        assert await venue.fetch_position_mode(venue.scopes[0]) is PositionMode.ONE_WAY


@pytest.mark.parametrize("count", ["301", "1000000000", "9" * 5000])
async def test_a_count_above_the_limit_of_an_order_that_was_let_in_holds_nothing(
    server: CannedVenue, venue: BinanceFutures, count: str
) -> None:
    """The account's own limit is higher than the published one, or the count is nonsense."""
    used = {"X-MBX-ORDER-COUNT-10S": count}
    server.set("POST", f"{V1}/order", lambda heard: Canned(json=filled(heard).json, headers=used))
    outcomes = [await venue.submit_close(close_of()) for _ in range(3)]
    assert all(isinstance(each, Done) for each in outcomes)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_asks_for_no_pause(
    server: CannedVenue, venue: BinanceFutures, status: int
) -> None:
    """The page of a gateway says "in an hour": it is no limit of requests, and closing goes on."""
    page = Canned(text="<html>", status=status, headers={"Retry-After": "3600"})
    server.set("GET", f"{V3}/positionRisk", page)
    with pytest.raises(Unavailable) as raised:
        await venue.fetch_positions(venue.scopes[0])
    assert raised.value.retry_after_s is None
    server.set("POST", f"{V1}/order", filled)
    assert isinstance(await venue.submit_close(close_of()), Done)
