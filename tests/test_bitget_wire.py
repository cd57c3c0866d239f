"""The Bitget adapter with real ccxt against a server on loopback, for both kinds of account."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from errors import InvariantViolation, Malformed, ObservationError, Unavailable
from inspection import Presence
from model import (
    ClientOrderId,
    CloseInstruction,
    Done,
    IncidentId,
    LedgerKind,
    MarginMode,
    Order,
    OrderKind,
    OrderSide,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from tests.bitget_answers import (
    Row,
    account_row,
    assets,
    bill_row,
    coin_row,
    contract_row,
    envelope,
    instrument_row,
    order_row,
    plan_row,
    position_row,
    record_row,
    strategy_row,
    unified_order,
    unified_position,
    union_row,
)
from tests.canned_venue import Canned, CannedVenue, Heard, Responder, canned_venue
from tests.test_binance_wire import START_S, HandClock
from venues.access import Access
from venues.bitget import BitgetFutures
from venues.protocol import Venue

SCOPE = ScopeId("bitget_futures")
ETH, BTC = Symbol("ETHUSDT"), Symbol("BTCPERP")
OURS = ClientOrderId("ks-1-0-1")
KEY, SECRET, PHRASE = "test-key", "test-secret", "test-phrase"
V2, V3 = "/api.bitget.com/api/v2", "/api.bitget.com/api/v3"
SETTINGS = f"{V3}/account/settings"
AHEAD_S = 50_000_000.0
USDT, USDC = "USDT-FUTURES", "USDC-FUTURES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where one kind of account answers which question."""

    money: str
    positions: str
    mode: str
    place: str
    lookup: str
    markets: str
    product: str
    mode_field: str


PATHS: Mapping[str, Paths] = {
    "classic": Paths(
        money=f"{V2}/mix/account/accounts",
        positions=f"{V2}/mix/position/all-position",
        mode=f"{V2}/mix/account/account",
        place=f"{V2}/mix/order/place-order",
        lookup=f"{V2}/mix/order/detail",
        markets=f"{V2}/mix/market/contracts",
        product="productType",
        mode_field="posMode",
    ),
    "unified": Paths(
        money=f"{V3}/account/assets",
        positions=f"{V3}/position/current-position",
        mode=SETTINGS,
        place=f"{V3}/trade/place-order",
        lookup=f"{V3}/trade/order-info",
        markets=f"{V3}/market/instruments",
        product="category",
        mode_field="holdMode",
    ),
}
BILLS, RECORDS = f"{V2}/mix/account/bill", f"{V3}/account/financial-records"
PENDING, PLANS = f"{V2}/mix/order/orders-pending", f"{V2}/mix/order/orders-plan-pending"
UNFILLED, STRATEGIES = f"{V3}/trade/unfilled-orders", f"{V3}/trade/unfilled-strategy-orders"
IS_CLASSIC = Canned(json=envelope(None, "40084"), status=400)
IS_UNIFIED = Canned(json=envelope(None, "40085"), status=400)


def ok(data: object) -> Canned:
    """A success that carries this."""
    return Canned(json=envelope(data))


def error(code: str, status: int = 400, **headers: str) -> Canned:
    """A refusal."""
    return Canned(json=envelope(None, code), status=status, headers=headers)


def by_product(*usdt: Row, usdc: tuple[Row, ...] = (), under: str = "") -> Responder:
    """Rows of the two products, in a list of their own or under a name."""

    def respond(heard: Heard) -> Canned:
        product = heard.fields.get("productType") or heard.fields.get("category")
        rows = list(usdt if product == USDT else usdc if product == USDC else ())
        return ok({under: rows or None} if under else rows)

    return respond


def body_of(heard: Heard) -> Any:
    """The JSON body of a request."""
    return json.loads(heard.signed)


def serve_classic(venue: CannedVenue) -> None:
    """A classic account: one hedged long of ETH, an account for each product, no orders."""
    paths = PATHS["classic"]
    usdc = account_row(marginCoin="USDC", accountEquity="100", usdtEquity="100", unrealizedPL="0")
    venue.set("GET", SETTINGS, IS_CLASSIC)
    venue.set("GET", paths.money, by_product(account_row(), usdc=(usdc,)))
    venue.set("GET", paths.positions, by_product(position_row()))
    venue.set("GET", paths.mode, ok({"posMode": "hedge_mode"}))
    contract = contract_row(symbol=BTC, baseCoin="BTC", quoteCoin="USDC")
    venue.set("GET", paths.markets, by_product(contract_row(), usdc=(contract,)))
    venue.set("GET", BILLS, by_product(under="bills"))
    venue.set("GET", PENDING, by_product(under="entrustedList"))
    venue.set("GET", PLANS, by_product(under="entrustedList"))


def serve_unified(venue: CannedVenue) -> None:
    """A unified account: one hedged long of ETH, 1250.75 in all, no orders."""
    paths = PATHS["unified"]
    venue.set("GET", SETTINGS, ok({"holdMode": "hedge_mode", "assetMode": "multi_assets"}))
    venue.set("GET", paths.money, ok(assets(equity="1250.75")))
    venue.set("GET", paths.positions, by_product(unified_position(), under="list"))
    instrument = instrument_row(symbol=BTC, baseCoin="BTC", quoteCoin="USDC", category=USDC)
    venue.set("GET", paths.markets, by_product(instrument_row(), usdc=(instrument,)))
    venue.set("GET", RECORDS, by_product(under="list"))
    venue.set("GET", UNFILLED, by_product(under="list"))
    venue.set("GET", STRATEGIES, by_product())


SERVE: Mapping[str, Callable[[CannedVenue], None]] = {
    "classic": serve_classic,
    "unified": serve_unified,
}


@pytest.fixture
async def server() -> AsyncIterator[CannedVenue]:
    """A venue with a clock far ahead of ours that has not said what kind of account it is."""
    async with canned_venue() as venue:
        server_ms = str(int((START_S + AHEAD_S) * 1000))
        venue.set("GET", f"{V2}/public/time", ok({"serverTime": server_ms}))
        yield venue


@pytest.fixture
def clock() -> HandClock:
    """Our clock."""
    return HandClock()


@pytest.fixture(params=sorted(PATHS))
def family(request: pytest.FixtureRequest) -> str:
    """Which kind of account."""
    return str(request.param)


@pytest.fixture
def paths(family: str) -> Paths:
    """Where it answers."""
    return PATHS[family]


@pytest.fixture
async def venue(server: CannedVenue, clock: HandClock, family: str) -> AsyncIterator[BitgetFutures]:
    """A started adapter of that kind of account."""
    SERVE[family](server)
    adapter = connect(server.url, clock)
    await adapter.start()
    yield adapter
    await adapter.aclose()


def connect(url: str, clock: HandClock | None = None, **changed: Any) -> BitgetFutures:
    """An adapter redirected to loopback."""
    credentials = {"apiKey": KEY, "secret": SECRET, "password": PHRASE}
    access = replace(
        Access(credentials=credentials, simulator_url=url), **({"order_timeout_s": 1.5} | changed)
    )
    adapter = BitgetFutures(
        scope=SCOPE, access=access, clock=clock or HandClock(), stables=("USDT", "USDC")
    )
    for client in (adapter._connection._reader, adapter._connection._trader):
        client.timeout_on_exit = 1  # ms; ccxt waits this long for TLS, which loopback has not
    return adapter


def close_of(**changes: Any) -> CloseInstruction:
    """An approved close of 1.5 ETH, written with more digits than it needs."""
    return CloseInstruction(
        **{
            "scope": SCOPE,
            "symbol": ETH,
            "side": Side.LONG,
            "quantity": Decimal("1.500"),
            "client_id": OURS,
            "position_mode": PositionMode.HEDGE,
            "margin_mode": MarginMode.CROSS,
            "incident_id": IncidentId("incident"),
            **changes,
        }
    )


def placed(heard: Heard) -> Canned:
    """The order that was sent, with an id."""
    return ok({"orderId": "77", "clientOid": body_of(heard)["clientOid"]})


def resting(kind: OrderKind = OrderKind.REGULAR, order_type: str = "limit") -> Order:
    """An order of 2 ETH that rests."""
    return Order(
        scope=SCOPE,
        order_id=VenueOrderId("111"),
        client_id=ClientOrderId("web-1"),
        symbol=ETH,
        kind=kind,
        side=OrderSide.BUY,
        position_side=Side.LONG,
        quantity=Decimal(2),
        reduce_only=False,
        close_position=False,
        order_type=order_type,
    )


# --- kind of account --------------------------------------------------------------------------

START_PATHS = {
    "classic": [f"{V2}/public/time", SETTINGS, PATHS["classic"].mode],
    "unified": [f"{V2}/public/time", SETTINGS, SETTINGS],
}


async def test_start_asks_for_clock_kind_of_account_and_mode(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """No market or coin lists, and no question of the library's own."""
    protocol: Venue = venue
    assert protocol.scopes == (SCOPE,)
    assert [heard.path for heard in server.heard] == START_PATHS[family]


@pytest.mark.parametrize(
    "told",
    [
        IS_UNIFIED,
        Canned(text="<html>", status=502),
        Canned(text="", status=200),
        Canned(json={}),
        Canned(json=envelope(None)),
        Canned(json=envelope(None, "40084"), status=503),
        error("40009"),
        error("429", 429),
        Canned(how="reset"),
        Canned(how="cut"),
    ],
)
async def test_an_answer_that_does_not_tell_the_kind_of_account_proves_nothing(
    server: CannedVenue, clock: HandClock, told: Canned
) -> None:
    """Nothing is read and nothing is sent as either kind; the next question may tell."""
    serve_classic(server)
    server.set("GET", SETTINGS, told)
    adapter = connect(server.url, clock)
    with pytest.raises(ObservationError):
        await adapter.start()
    with pytest.raises(ObservationError):
        await adapter.fetch_reading(SCOPE)
    outcome = await adapter.submit_close(close_of())
    assert isinstance(outcome, Refused)
    assert outcome.reason is RefusalReason.NOT_REACHED
    assert {heard.path for heard in server.heard} <= {f"{V2}/public/time", SETTINGS}
    server.set("GET", SETTINGS, IS_CLASSIC)
    clock.at += 60
    assert (await adapter.fetch_reading(SCOPE)).equity == 1250.75
    await adapter.aclose()


async def test_a_refusal_with_status_200_tells_the_kind_of_account_as_well(
    server: CannedVenue,
) -> None:
    """The code counts."""
    serve_classic(server)
    server.set("GET", SETTINGS, Canned(json=envelope(None, "40084")))
    adapter = connect(server.url)
    assert (await adapter.fetch_reading(SCOPE)).equity == 1250.75
    await adapter.aclose()


async def test_an_account_that_was_changed_is_asked_again(
    server: CannedVenue, clock: HandClock
) -> None:
    """One reading fails, the next one is of the other kind; and back."""
    serve_classic(server)
    adapter = connect(server.url, clock)
    await adapter.start()
    for path in (PATHS["classic"].money, PATHS["classic"].positions):
        server.set("GET", path, IS_UNIFIED)
    serve_unified(server)
    with pytest.raises(Unavailable, match="40085"):
        await adapter.fetch_reading(SCOPE)
    assert (await adapter.fetch_reading(SCOPE)).equity == 1250.75
    assert server.of("GET", PATHS["unified"].money)
    for path in (PATHS["unified"].money, PATHS["unified"].positions):
        server.set("GET", path, IS_CLASSIC)
    serve_classic(server)
    with pytest.raises(Unavailable, match="40084"):
        await adapter.fetch_reading(SCOPE)
    assert (await adapter.fetch_reading(SCOPE)).equity == 1250.75
    await adapter.aclose()


async def test_a_close_refused_by_the_other_kind_of_account_is_sent_anew_as_that_kind(
    server: CannedVenue, clock: HandClock
) -> None:
    """Refused before the book, and the guard's next attempt is right."""
    serve_classic(server)
    adapter = connect(server.url, clock)
    await adapter.start()
    server.set("POST", PATHS["classic"].place, IS_UNIFIED)
    serve_unified(server)
    server.set("POST", PATHS["unified"].place, placed)
    refused = await adapter.submit_close(close_of())
    assert isinstance(refused, Refused)
    assert refused.reason is RefusalReason.NOT_REACHED
    assert isinstance(await adapter.submit_close(close_of()), Done)
    assert len(server.of("POST", PATHS["unified"].place)) == 1
    await adapter.aclose()


async def test_a_doubt_that_is_not_answered_keeps_what_was_known(
    server: CannedVenue, clock: HandClock
) -> None:
    """A close goes out although the kind of account cannot be asked for just now."""
    serve_classic(server)
    adapter = connect(server.url, clock)
    await adapter.start()
    server.set("GET", PATHS["classic"].money, IS_UNIFIED)
    server.set("GET", SETTINGS, Canned(text="<html>", status=502))
    server.set("POST", PATHS["classic"].place, placed)
    with pytest.raises(Unavailable):
        await adapter.fetch_reading(SCOPE)
    assert isinstance(await adapter.submit_close(close_of()), Done)
    await adapter.aclose()


@pytest.mark.parametrize("settings", [Canned(how="hang"), Canned(text="<html>", status=502)])
async def test_closes_of_one_round_wait_for_one_answer_to_a_doubt_together(
    server: CannedVenue, clock: HandClock, settings: Canned
) -> None:
    """One after the other, fifty would each have waited for a question of their own."""
    serve_classic(server)
    adapter = connect(server.url, clock)
    await adapter.start()
    server.set("GET", PATHS["classic"].money, IS_UNIFIED)
    server.set("GET", SETTINGS, settings)
    server.set("POST", PATHS["classic"].place, placed)
    with pytest.raises(Unavailable):
        await adapter.fetch_reading(SCOPE)
    before = len(server.of("GET", SETTINGS))
    asked = [close_of(client_id=ClientOrderId(f"ks-{n}")) for n in range(5)]
    outcomes = await adapter.submit_closes(asked)
    assert [type(outcome) for outcome in outcomes] == [Done] * 5
    assert len(server.of("GET", SETTINGS)) == before + 1
    await adapter.aclose()


async def test_a_question_that_hangs_holds_no_close_of_a_known_account_up(
    server: CannedVenue, clock: HandClock
) -> None:
    """Its answer is waited for a moment; the close leaves before the question is given up."""
    serve_classic(server)
    adapter = connect(server.url, clock, order_timeout_s=4.0)
    await adapter.start()
    server.set("GET", PATHS["classic"].money, IS_UNIFIED)
    server.set("GET", SETTINGS, Canned(how="hang"))
    server.set("POST", PATHS["classic"].place, placed)
    with pytest.raises(Unavailable):
        await adapter.fetch_reading(SCOPE)
    assert isinstance(await adapter.submit_close(close_of()), Done)
    assert adapter._probe is not None
    assert not adapter._probe.done()
    await adapter.aclose()


# --- reading ----------------------------------------------------------------------------------


async def test_a_reading_joins_money_and_positions_of_both_products(
    server: CannedVenue, venue: BitgetFutures, paths: Paths
) -> None:
    """1150.75 + 100, signed over time stamp, method, path and query, on the venue's clock."""
    reading = await venue.fetch_reading(SCOPE)
    assert (reading.equity, reading.unrealised_pnl) == (1250.75, 150.75)
    assert [position.symbol for position in reading.positions] == [ETH]
    assert (reading.asked_at, reading.server_offset_s) == (START_S, AHEAD_S)
    assert reading.position_mode is PositionMode.HEDGE
    asked = server.of("GET", paths.positions)
    assert {heard.fields[paths.product] for heard in asked} == {USDT, USDC}
    headers = {name.lower(): told for name, told in asked[0].headers.items()}
    assert (headers["access-key"], headers["access-passphrase"]) == (KEY, PHRASE)
    stamp = headers["access-timestamp"]
    assert abs(int(stamp) / 1000 - START_S - AHEAD_S) < 5
    path = paths.positions.removeprefix("/api.bitget.com")
    text = f"{stamp}GET{path}?{asked[0].signed}"
    digest = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()
    assert headers["access-sign"] == base64.b64encode(digest).decode()


@pytest.mark.parametrize("leg", ["money", "positions"])
async def test_a_reading_needs_all_its_parts(
    server: CannedVenue, venue: BitgetFutures, paths: Paths, clock: HandClock, leg: str
) -> None:
    """One failing or damaged part is no reading, and false success is none."""
    damage: list[tuple[Canned, type[ObservationError]]] = [
        (Canned(text="<html>busy</html>", headers={"Content-Type": "text/html"}), Unavailable),
        (Canned(text=""), Unavailable),
        (Canned(text="null"), Unavailable),
        (Canned(json={}), Unavailable),
        (Canned(text="{"), Unavailable),
        (Canned(text="oops", status=503), Unavailable),
        (Canned(how="reset"), Unavailable),
        (Canned(how="cut"), Unavailable),
        (error("40009"), Unavailable),
        (error("40009", 200), Unavailable),
        (ok(None), Malformed),
        (ok({}), Malformed),
        (ok("ok"), Malformed),
        (Canned(json={"code": "00000"}), Malformed),
    ]
    for canned, expected in damage:
        server.set("GET", getattr(paths, leg), canned)
        with pytest.raises(expected) as raised:
            await venue.fetch_reading(SCOPE)
        assert len(str(raised.value)) < 250
        clock.at += 2


async def test_one_product_that_fails_fails_the_reading(
    server: CannedVenue, venue: BitgetFutures, paths: Paths
) -> None:
    """Its positions might be the losing ones."""
    whole = server.answers["GET", paths.positions]

    def respond(heard: Heard) -> Canned:
        if heard.fields[paths.product] == USDC:
            return Canned(text="", status=502)
        assert callable(whole)
        return whole(heard)

    server.set("GET", paths.positions, respond)
    with pytest.raises(Unavailable):
        await venue.fetch_reading(SCOPE)
    with pytest.raises(Unavailable):
        await venue.fetch_positions(SCOPE)


async def test_pledged_coins_are_priced_by_their_contracts(server: CannedVenue) -> None:
    """A union account with 0.1 BTC: 1150.75 + 100 + 6000; without a mark there is no reading."""
    serve_classic(server)
    row = union_row(("BTC", "0.1"))
    usdc = account_row(marginCoin="USDC", accountEquity="100", usdtEquity="100")
    server.set("GET", PATHS["classic"].money, by_product(row, usdc=(usdc,)))
    tickers = f"{V2}/mix/market/tickers"
    server.set("GET", tickers, by_product({"symbol": "BTCUSDT", "markPrice": "60000"}))
    adapter = connect(server.url)
    reading = await adapter.fetch_reading(SCOPE)
    assert reading.equity == 7250.75
    assert [(coin.asset, coin.price) for coin in reading.coins] == [("BTC", 60_000.0)]
    server.set("GET", tickers, by_product())
    with pytest.raises(Malformed, match="BTC"):
        await adapter.fetch_reading(SCOPE)
    await adapter.aclose()


async def test_positions_outrank_the_mode_that_is_set(
    server: CannedVenue, venue: BitgetFutures, paths: Paths, family: str
) -> None:
    """Each product of a classic account has a mode of its own; what is held proves it."""
    row = position_row if family == "classic" else unified_position
    changes = {paths.mode_field: "one_way_mode"}
    under = "" if family == "classic" else "list"
    server.set("GET", paths.positions, by_product(row(**changes), under=under))
    assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.ONE_WAY
    assert await venue.fetch_position_mode(SCOPE) is PositionMode.ONE_WAY
    server.set("GET", paths.positions, by_product(under=under))
    if family == "unified":
        # A list of none is null, which is believed only where the totals say so too.
        with pytest.raises(Malformed, match="unrealisedPnl is not zero"):
            await venue.fetch_reading(SCOPE)
        with pytest.raises(Malformed, match="unrealisedPnl is not zero"):
            await venue.fetch_positions(SCOPE)
        server.set("GET", paths.money, ok(assets(equity="1100", unrealised="0")))
        assert await venue.fetch_positions(SCOPE) == ()
    assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.HEDGE
    assert await venue.fetch_position_mode(SCOPE) is PositionMode.HEDGE


async def test_markets_of_both_products_are_learnt(
    server: CannedVenue, venue: BitgetFutures, paths: Paths
) -> None:
    """A failing list of one product is no list; none at all is damage."""
    limits = await venue.fetch_market_limits()
    assert {symbol: market.quote for symbol, market in limits.items()} == {ETH: "USDT", BTC: "USDC"}
    server.set("GET", paths.markets, by_product())
    with pytest.raises(Malformed, match="none is listed"):
        await venue.fetch_market_limits()


async def test_marks_are_those_of_contracts_and_of_coins_by_them(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """A coin's row bears its name; a symbol without a mark is unavailable."""
    path = f"{V2}/mix/market/tickers" if family == "classic" else f"{V3}/market/tickers"
    assert await venue.fetch_marks([]) == {}
    assert server.of("GET", path) == []
    eth, btc = {"symbol": ETH, "markPrice": "2100"}, {"symbol": BTC, "markPrice": "60000"}
    server.set("GET", path, by_product(eth, usdc=(btc,)))
    coin = Symbol("ETH")
    assert await venue.fetch_marks([ETH, BTC, coin]) == {ETH: 2100, BTC: 60000, coin: 2100}
    with pytest.raises(Unavailable, match="SOLUSDT"):
        await venue.fetch_marks([Symbol("SOLUSDT")])


# --- closes -----------------------------------------------------------------------------------

ISOLATED, CROSS = MarginMode.ISOLATED, MarginMode.CROSS
HEDGE, ONE_WAY = PositionMode.HEDGE, PositionMode.ONE_WAY
LONG, SHORT = Side.LONG, Side.SHORT
FORMS: Mapping[tuple[str, PositionMode, Side], Row] = {
    # In hedge mode a classic order names the leg by its side: a long is closed by "buy".
    ("classic", HEDGE, LONG): {"side": "buy", "tradeSide": "Close", "reduceOnly": "YES"},
    ("classic", HEDGE, SHORT): {"side": "sell", "tradeSide": "Close", "reduceOnly": "YES"},
    ("classic", ONE_WAY, LONG): {"side": "sell", "reduceOnly": "YES"},
    ("classic", ONE_WAY, SHORT): {"side": "buy", "reduceOnly": "YES"},
    ("unified", HEDGE, LONG): {"side": "sell", "posSide": "long", "reduceOnly": "yes"},
    ("unified", HEDGE, SHORT): {"side": "buy", "posSide": "short", "reduceOnly": "yes"},
    ("unified", ONE_WAY, LONG): {"side": "sell", "reduceOnly": "yes"},
    ("unified", ONE_WAY, SHORT): {"side": "buy", "reduceOnly": "yes"},
}
SHARED: Mapping[str, Row] = {
    "classic": {
        "symbol": "ETHUSDT",
        "productType": USDT,
        "marginCoin": "USDT",
        "size": "1.5",
        "orderType": "market",
        "force": "GTC",
        "clientOid": "ks-1-0-1",
    },
    "unified": {
        "category": USDT,
        "symbol": "ETHUSDT",
        "qty": "1.5",
        "orderType": "market",
        "clientOid": "ks-1-0-1",
    },
}


def show(server: CannedVenue, family: str, **changes: Any) -> None:
    """Let the account hold one position, changed as asked."""
    row = position_row if family == "classic" else unified_position
    under = "" if family == "classic" else "list"
    server.set("GET", PATHS[family].positions, by_product(row(**changes), under=under))


@pytest.mark.parametrize("margin", [CROSS, ISOLATED])
@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("mode", [HEDGE, ONE_WAY])
async def test_a_close_is_written_exactly_so(
    server: CannedVenue,
    venue: BitgetFutures,
    family: str,
    mode: PositionMode,
    side: Side,
    margin: MarginMode,
) -> None:
    """Nothing more, nothing less, in either kind of account, mode and margin mode (lesson 18)."""
    field = PATHS[family].mode_field
    show(server, family, **{field: f"{'hedge' if mode is HEDGE else 'one_way'}_mode"})
    await venue.fetch_positions(SCOPE)
    server.set("POST", PATHS[family].place, placed)
    outcome = await venue.submit_close(close_of(side=side, position_mode=mode, margin_mode=margin))
    assert outcome == Done(order_id=VenueOrderId("77"))
    (heard,) = server.of("POST", PATHS[family].place)
    written = "isolated" if margin is ISOLATED else "crossed"
    assert body_of(heard) == {
        **SHARED[family],
        **FORMS[family, mode, side],
        "marginMode": written,
    }


async def test_the_mode_that_the_position_shows_decides_the_form_of_its_close(
    server: CannedVenue, venue: BitgetFutures, family: str, paths: Paths
) -> None:
    """The hedged form sent to a one-way position would open; nothing is known: as instructed."""
    server.set("POST", paths.place, placed)
    show(server, family, **{paths.mode_field: "one_way_mode"})
    await venue.fetch_reading(SCOPE)
    await venue.submit_close(close_of(position_mode=HEDGE))
    show(server, family)
    await venue.fetch_position_mode(SCOPE)
    await venue.submit_close(close_of(position_mode=ONE_WAY))
    await venue.submit_close(close_of(symbol=Symbol("SOLUSDT"), position_mode=ONE_WAY))
    sent = [body_of(heard) for heard in server.of("POST", paths.place)]
    forms = [FORMS[family, mode, LONG] for mode in (ONE_WAY, HEDGE, ONE_WAY)]
    assert [
        {name: body[name] for name in form} for form, body in zip(forms, sent, strict=True)
    ] == (forms)


def flags_sent(server: CannedVenue, paths: Paths) -> list[bool]:
    """Of each order that was sent, whether it said that it only reduces."""
    return ["reduceOnly" in body_of(heard) for heard in server.of("POST", paths.place)]


PARAMETERS = ("40017", "400172", "40019", "40020", "40034", "43011", "43012", "25200", "25238")
MODES = ("40774", "43075", "45021", "45109", "25236", "25237")
REFUSES_THE_FORM: Mapping[str, Canned] = {
    **{code: error(code) for code in (*PARAMETERS, *MODES)},
    "with status 200": error("400172", 200),
    "a code that nobody knows": error("49999"),
}


@pytest.mark.parametrize("name", REFUSES_THE_FORM)
async def test_a_flag_that_the_venue_may_have_refused_stops_no_further_hedged_close(
    server: CannedVenue, venue: BitgetFutures, paths: Paths, name: str
) -> None:
    """Of any symbol; one-way closes keep it, whatever is answered to them."""
    server.set("POST", paths.place, REFUSES_THE_FORM[name])
    await venue.submit_close(close_of(position_mode=ONE_WAY))
    await venue.submit_close(close_of(position_mode=HEDGE))
    server.set("POST", paths.place, placed)
    for symbol in (ETH, Symbol("SOLUSDT")):
        assert isinstance(await venue.submit_close(close_of(symbol=symbol)), Done)
    assert isinstance(await venue.submit_close(close_of(position_mode=ONE_WAY)), Done)
    assert flags_sent(server, paths) == [True, True, False, False, True]


OF_THE_ORDER = ("22002", "40757", "45110", "40808", "40786", "40309", "25225", "25208", "25212")
OF_THE_ACCOUNT = ("40014", "30007", "40008", "40200")
OF_THE_VENUE = ("40010", "40015", "40725", "40910", "45001", "25000", "25001", "25003", "25004")
SAYS_NOTHING_OF_THE_FORM: Mapping[str, Canned] = {
    **{code: error(code) for code in (*OF_THE_ORDER, *OF_THE_ACCOUNT, *OF_THE_VENUE)},
    "a server error with a code": error("400172", 503),
    "a page": Canned(text="<html>", status=403),
    "an answer without a code": Canned(json={}),
    "a reset": Canned(how="reset"),
}


@pytest.mark.parametrize("name", SAYS_NOTHING_OF_THE_FORM)
async def test_what_is_refused_for_something_else_keeps_its_flag(
    server: CannedVenue, venue: BitgetFutures, paths: Paths, name: str
) -> None:
    """A time-out, a size or a market says nothing of the form."""
    server.set("POST", paths.place, SAYS_NOTHING_OF_THE_FORM[name])
    await venue.submit_close(close_of())
    server.set("POST", paths.place, placed)
    await venue.submit_close(close_of(client_id=ClientOrderId("ks-2")))
    assert flags_sent(server, paths) == [True, True]


async def test_a_close_goes_to_the_product_that_lists_its_position(
    server: CannedVenue, venue: BitgetFutures, family: str, paths: Paths
) -> None:
    """As a row named it, else by the spelling of the symbol."""
    server.set("POST", paths.place, placed)
    row = position_row if family == "classic" else unified_position
    odd = row(symbol="ODD", marginCoin="USDC")
    under = "" if family == "classic" else "list"
    server.set("GET", paths.positions, by_product(usdc=(odd,), under=under))
    await venue.fetch_positions(SCOPE)
    for symbol in ("ODD", "SOLPERP", "SOLUSDT"):
        await venue.submit_close(close_of(symbol=Symbol(symbol)))
    sent = [body_of(heard) for heard in server.of("POST", paths.place)]
    assert [body[paths.product] for body in sent] == [USDC, USDC, USDT]
    if family == "classic":
        assert [body["marginCoin"] for body in sent] == ["USDC", "USDC", "USDT"]


async def test_several_closes_are_requests_of_their_own_and_answered_one_by_one(
    server: CannedVenue, venue: BitgetFutures, paths: Paths
) -> None:
    """No batch: each answer belongs to what was asked."""

    def respond(heard: Heard) -> Canned:
        return error("22002") if body_of(heard)["clientOid"] == "ks-2" else placed(heard)

    server.set("POST", paths.place, respond)
    ids = [ClientOrderId(f"ks-{n}") for n in (1, 2, 3)]
    outcomes = await venue.submit_closes([close_of(client_id=one) for one in ids])
    assert [type(outcome) for outcome in outcomes] == [Done, Refused, Done]
    with pytest.raises(InvariantViolation):
        await venue.submit_closes([close_of(), close_of(scope=ScopeId("another"))])
    with pytest.raises(InvariantViolation):
        await venue.submit_closes([close_of(), "close"])  # type: ignore[list-item]
    with pytest.raises(InvariantViolation):
        await venue.submit_close("close")  # type: ignore[arg-type]
    assert len(server.of("POST", paths.place)) == 3


EVENTS: Mapping[str, tuple[Canned, RefusalReason | None]] = {
    "reset": (Canned(how="reset"), None),
    "read time-out": (Canned(how="hang"), None),
    "cut off": (Canned(how="cut"), None),
    "500": (Canned(text="", status=500), None),
    "502": (Canned(text="<html>", status=502), None),
    "503 with a code": (error("22002", 503), None),
    "520": (Canned(text="<html>", status=520), None),
    "200 html": (Canned(text="<html>", headers={"Content-Type": "text/html"}), None),
    "200 empty": (Canned(text=""), None),
    "200 null": (Canned(text="null"), None),
    "200 without a code": (Canned(json={}), None),
    "200 without data": (Canned(json={"code": "00000"}), None),
    "200 with null": (ok(None), None),
    "200 without an id": (ok({"orderId": None, "clientOid": OURS}), None),
    "200 of another": (ok({"orderId": "77", "clientOid": "another"}), None),
    "time-out by the venue": (error("40010"), None),
    "unknown code": (error("99999"), None),
    "200 refused": (error("22002", 200), RefusalReason.NOTHING_TO_REDUCE),
    "400 refused": (error("22002"), RefusalReason.NOTHING_TO_REDUCE),
    "resting": (error("40757"), RefusalReason.RESTING_ORDER_IN_THE_WAY),
    "duplicate": (error("40786"), RefusalReason.DUPLICATE_ID),
    "429": (error("429", 429), RefusalReason.RATE_LIMITED),
    "429 bare": (Canned(text="", status=429), RefusalReason.RATE_LIMITED),
    "30007": (error("30007"), RefusalReason.RATE_LIMITED),
    "403": (Canned(text="<html>", status=403), None),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_each_event_on_the_line_proves_what_the_table_says(
    server: CannedVenue, venue: BitgetFutures, paths: Paths, name: str
) -> None:
    """Pages, cut answers and silence prove nothing; the order is sent once whatever comes."""
    canned, reason = EVENTS[name]
    server.set("POST", paths.place, canned)
    outcome = await venue.submit_close(close_of())
    assert not isinstance(outcome, Done)
    assert (outcome.reason if isinstance(outcome, Refused) else None) is reason
    assert len(server.of("POST", paths.place)) == 1


async def test_ten_orders_leave_in_a_second_and_none_waits_longer_than_it_may(
    server: CannedVenue, venue: BitgetFutures, paths: Paths
) -> None:
    """Without an answer in time ten leave every 1.6 s: forty within 5.5 s; the rest is told."""
    server.set("POST", paths.place, placed)
    asked = [close_of(client_id=ClientOrderId(f"ks-{n}")) for n in range(50)]
    outcomes = await venue.submit_closes(asked)
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    held_back = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert (len(done), len(held_back)) == (40, 10)
    assert len(server.of("POST", paths.place)) == 40
    assert {(told.reason, told.code) for told in held_back} == {(RefusalReason.RATE_LIMITED, "")}
    assert all(told.retry_after_s for told in held_back)


class StillClock(HandClock):
    """One that nobody wakes before it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait for it."""
        await self.goes_on.wait()
        self.at += seconds


async def test_an_order_that_waits_for_its_turn_is_not_looked_up(
    server: CannedVenue, family: str, paths: Paths
) -> None:
    """Nothing is asked about the eleventh of a second before it has left, and then it is."""
    SERVE[family](server)
    clock = StillClock()
    venue = connect(server.url, clock)
    await venue.start()
    server.set("POST", paths.place, placed)
    server.set("GET", paths.lookup, error("40768", 400))
    asked = [close_of(client_id=ClientOrderId(f"ks-{n}")) for n in range(11)]
    await venue.submit_closes(asked[:10])
    last = asyncio.create_task(venue.submit_close(asked[10]))
    await asyncio.sleep(0)
    assert isinstance(await venue.find_order(SCOPE, asked[10].client_id, ETH), Unknown)
    assert not server.of("GET", paths.lookup)
    clock.goes_on.set()
    assert isinstance(await last, Done)
    await venue.find_order(SCOPE, asked[10].client_id, ETH)
    assert len(server.of("GET", paths.lookup)) == 1
    await venue.aclose()


async def test_a_venue_that_is_down_is_unavailable_and_nothing_was_sent() -> None:
    """start() raises and may be called again; what never left was not executed."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    adapter = connect(f"http://127.0.0.1:{port}")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await adapter.start()
    outcomes = [await adapter.submit_close(close_of()), await adapter.submit_cancel(resting())]
    assert [type(outcome) for outcome in outcomes] == [Refused, Refused]
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refused)} == {
        RefusalReason.NOT_REACHED
    }
    assert isinstance(await adapter.submit_cancel_all(SCOPE, ETH), Unknown)
    assert isinstance(await adapter.find_order(SCOPE, OURS, ETH), Unknown)
    await adapter.aclose()
    await adapter.aclose()


async def test_a_refusal_for_the_mode_has_it_read_again(
    server: CannedVenue, venue: BitgetFutures, family: str, paths: Paths
) -> None:
    """The setting is asked for anew, and the next read of positions decides."""
    show(server, family, **{paths.mode_field: "one_way_mode"})
    await venue.fetch_positions(SCOPE)
    server.set("POST", paths.place, error("40774"))
    await venue.submit_close(close_of(position_mode=HEDGE))
    before = len(server.of("GET", paths.mode))
    await venue.fetch_reading(SCOPE)
    assert len(server.of("GET", paths.mode)) == before + 1


async def test_no_refusal_has_a_one_way_position_closed_in_the_form_that_would_open(
    server: CannedVenue, venue: BitgetFutures, family: str, paths: Paths
) -> None:
    """Its account is hedged in the other product; a late refusal comes between read and close."""
    show(server, family, **{paths.mode_field: "one_way_mode"})
    await venue.fetch_positions(SCOPE)
    server.set("POST", paths.place, error("40774"))
    await venue.submit_close(close_of(position_mode=HEDGE))
    server.set("POST", paths.place, placed)
    await venue.submit_close(close_of(position_mode=HEDGE))
    bodies = [body_of(heard) for heard in server.of("POST", paths.place)]
    assert [body.get("reduceOnly", "").lower() for body in bodies] == ["yes", "yes"]


async def test_a_reading_that_comes_late_does_not_decide_the_form_of_a_close(
    server: CannedVenue, venue: BitgetFutures, family: str, paths: Paths
) -> None:
    """It may be of before the mode was switched; the read that sized the close is not."""
    server.set("POST", paths.place, placed)
    show(server, family, **{paths.mode_field: "one_way_mode"})
    await venue.fetch_positions(SCOPE)
    show(server, family)
    await venue.fetch_reading(SCOPE)
    await venue.submit_close(close_of(position_mode=HEDGE))
    (heard,) = server.of("POST", paths.place)
    assert "reduceOnly" in body_of(heard)


async def test_work_for_another_account_is_refused(venue: BitgetFutures) -> None:
    """It would be carried out on this one."""
    other = ScopeId("bitget_sub_futures")
    for ask in (venue.fetch_reading, venue.fetch_positions, venue.fetch_orders):
        with pytest.raises(InvariantViolation):
            await ask(other)
    with pytest.raises(InvariantViolation):
        await venue.find_order(other, OURS, ETH)
    with pytest.raises(InvariantViolation):
        await venue.submit_cancel_all(other, ETH)


# --- look-ups ---------------------------------------------------------------------------------

LOOKUPS: Mapping[str, Row] = {
    "classic": {"symbol": "ETHUSDT", "productType": USDT, "clientOid": OURS},
    "unified": {"clientOid": OURS},
}


async def test_an_order_is_found_by_our_own_id(
    server: CannedVenue, venue: BitgetFutures, family: str, paths: Paths
) -> None:
    """Its state and what was executed; never an order of another id."""
    row: Row = {"orderId": "77", "clientOid": OURS, "state": "filled", "orderStatus": "filled"}
    row |= {"baseVolume": "1.5", "cumExecQty": "1.5"}
    server.set("GET", paths.lookup, ok(row))
    found = await venue.find_order(SCOPE, OURS, ETH)
    assert found == Done(order_id=VenueOrderId("77"), filled=Decimal("1.5"))
    assert dict(server.of("GET", paths.lookup)[0].fields) == LOOKUPS[family]
    server.set("GET", paths.lookup, ok({**row, "clientOid": "web-1"}))
    assert isinstance(await venue.find_order(SCOPE, OURS, ETH), Unknown)


@pytest.mark.parametrize(
    ("told", "is_known"),
    [
        (error("40768"), True),
        (error("40768", 200), True),
        (error("43001"), True),
        (error("40109"), True),
        (error("25204"), True),
        (error("40009"), False),
        (error("40768", 503), False),
        (Canned(text="<html>", status=404), False),
        (ok(None), False),
        (ok({}), False),
        (Canned(json={}), False),
        (Canned(how="reset"), False),
    ],
)
async def test_only_the_venue_itself_can_say_that_an_order_does_not_exist(
    server: CannedVenue, venue: BitgetFutures, paths: Paths, told: Canned, is_known: bool
) -> None:
    """By its code; anything else proves nothing."""
    server.set("GET", paths.lookup, told)
    outcome = await venue.find_order(SCOPE, OURS, ETH)
    if is_known:
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.NO_SUCH_ORDER
    else:
        assert isinstance(outcome, Unknown)


# --- orders -----------------------------------------------------------------------------------


def paged(rows: list[Row], *, under: str, after: str, end: str) -> Responder:
    """Rows of the USDT product, newest first, a hundred at a time."""

    def respond(heard: Heard) -> Canned:
        product = heard.fields.get("productType") or heard.fields.get("category")
        is_first_list = heard.fields.get("planType", "normal_plan") == "normal_plan"
        below = int(heard.fields.get(after, 10**9))
        mine = [row for row in rows if int(row["orderId"]) < below] if product == USDT else []
        page = mine[:100] if is_first_list else []
        return ok({under: page or None, end: page[-1]["orderId"] if page else None})

    return respond


def numbered(make: Callable[..., Row], count: int) -> list[Row]:
    """So many rows, the newest first."""
    return [make(orderId=str(n), clientOid=f"web-{n}") for n in range(count, 0, -1)]


async def test_orders_of_every_kind_product_and_page_are_read(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """230 ordinary and, where they come in pages, 120 conditional ones."""
    if family == "classic":
        page = {"under": "entrustedList", "after": "idLessThan", "end": "endId"}
        server.set("GET", PENDING, paged(numbered(order_row, 230), **page))
        server.set("GET", PLANS, paged(numbered(plan_row, 120), **page))
    else:
        page = {"under": "list", "after": "cursor", "end": "cursor"}
        server.set("GET", UNFILLED, paged(numbered(unified_order, 230), **page))
        server.set("GET", STRATEGIES, by_product(*numbered(strategy_row, 120)))
    orders = await venue.fetch_orders(SCOPE)
    assert sum(order.kind is OrderKind.REGULAR for order in orders) == 230
    assert sum(order.kind is OrderKind.CONDITIONAL for order in orders) == 120
    first = PENDING if family == "classic" else UNFILLED
    assert len(server.of("GET", first)) == 4
    second = PLANS if family == "classic" else STRATEGIES
    named = "planType" if family == "classic" else "type"
    asked = {(heard.fields[named]) for heard in server.of("GET", second)}
    expected = {
        "classic": {"normal_plan", "track_plan", "profit_loss"},
        "unified": {"tpsl", "trigger"},
    }
    assert asked == expected[family]


async def test_pages_that_lead_nowhere_are_no_answer(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """A full page that comes again hides what follows, and so does a list without an end."""
    make, path, under = (
        (order_row, PENDING, "entrustedList")
        if family == "classic"
        else (unified_order, UNFILLED, "list")
    )
    rows = numbered(make, 100)
    server.set("GET", path, ok({under: rows, "endId": "1", "cursor": "1"}))
    with pytest.raises(Unavailable, match="repeats"):
        await venue.fetch_orders(SCOPE)


@pytest.mark.parametrize("damage", [ok(None), ok({}), ok([]), Canned(json={}), error("40009")])
async def test_a_list_of_orders_that_fails_fails_them_all(
    server: CannedVenue, venue: BitgetFutures, family: str, damage: Canned
) -> None:
    """What it would have shown might open a position."""
    server.set("GET", PENDING if family == "classic" else UNFILLED, damage)
    with pytest.raises(ObservationError):
        await venue.fetch_orders(SCOPE)


async def test_conditional_orders_of_a_unified_account_are_listed_once(
    server: CannedVenue,
) -> None:
    """Both types may list one; null is none, a list under a name is read as well."""
    serve_unified(server)
    adapter = connect(server.url)
    trigger = strategy_row(orderId="7", stopLoss="", triggerPrice="1800")
    server.set("GET", STRATEGIES, by_product(strategy_row(), trigger))
    orders = await adapter.fetch_orders(SCOPE)
    assert [(order.order_id, order.order_type, order.reduce_only) for order in orders] == [
        ("511", "tpsl", True),
        ("7", "trigger", False),
    ]
    server.set("GET", STRATEGIES, by_product(strategy_row(), under="list"))
    assert len(await adapter.fetch_orders(SCOPE)) == 1
    server.set("GET", STRATEGIES, ok(None))
    assert await adapter.fetch_orders(SCOPE) == ()
    server.set("GET", STRATEGIES, ok("x"))
    with pytest.raises(Malformed):
        await adapter.fetch_orders(SCOPE)
    await adapter.aclose()


V2_ORDER, V3_ORDER = f"{V2}/mix/order", f"{V3}/trade"
CANCELS = [
    (
        "classic",
        resting(),
        f"{V2_ORDER}/cancel-order",
        {"symbol": "ETHUSDT", "productType": USDT, "orderId": "111"},
    ),
    (
        "classic",
        resting(OrderKind.CONDITIONAL, "pos_loss"),
        f"{V2_ORDER}/cancel-plan-order",
        {
            "symbol": "ETHUSDT",
            "productType": USDT,
            "marginCoin": "USDT",
            "planType": "pos_loss",
            "orderIdList": [{"orderId": "111"}],
        },
    ),
    (
        "unified",
        resting(),
        f"{V3_ORDER}/cancel-order",
        {"category": USDT, "symbol": "ETHUSDT", "orderId": "111"},
    ),
    (
        "unified",
        resting(OrderKind.CONDITIONAL, "tpsl"),
        f"{V3_ORDER}/cancel-strategy-order",
        {"orderId": "111"},
    ),
]


@pytest.mark.parametrize(("family", "order", "path", "body"), CANCELS)
async def test_an_order_is_cancelled_where_its_kind_lives(
    server: CannedVenue, clock: HandClock, family: str, order: Order, path: str, body: Row
) -> None:
    """Exactly this body; gone counts as cancelled, silence as nothing."""
    SERVE[family](server)
    adapter = connect(server.url, clock)
    is_list = "orderIdList" in body
    done: object = {"orderId": "111", "clientOid": "web-1"}
    done = {"successList": [done], "failureList": []} if is_list else done
    done = None if path.endswith("strategy-order") else done
    server.set("POST", path, ok(done))
    assert await adapter.submit_cancel(order) == Done(order_id=order.order_id)
    assert body_of(server.of("POST", path)[0]) == body
    gone = error("24056" if family == "unified" else "43025")
    server.set("POST", path, gone)
    assert await adapter.submit_cancel(order) == Done(order_id=order.order_id)
    for canned in (Canned(how="reset"), Canned(json={}), error("40010"), error("43025", 502)):
        server.set("POST", path, canned)
        assert isinstance(await adapter.submit_cancel(order), Unknown)
    await adapter.aclose()


async def test_a_cancel_of_all_leaves_no_kind_behind(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """Classic: one request for each plan type; unified: one for each that is listed."""
    if family == "classic":
        paths = [f"{V2_ORDER}/batch-cancel-orders", f"{V2_ORDER}/cancel-plan-order"]
        server.set("POST", paths[0], ok({"successList": [], "failureList": []}))
        server.set("POST", paths[1], error("22001"))
    else:
        paths = [f"{V3_ORDER}/cancel-symbol-order", f"{V3_ORDER}/cancel-strategy-order"]
        server.set("POST", paths[0], ok({"list": []}))
        server.set("POST", paths[1], ok(None))
        other = strategy_row(orderId="9", symbol="SOLUSDT")
        server.set("GET", STRATEGIES, by_product(strategy_row(), strategy_row(orderId="8"), other))
    assert await venue.submit_cancel_all(SCOPE, ETH) == Done(order_id=VenueOrderId(""))
    bodies = [body_of(heard) for path in paths for heard in server.of("POST", path)]
    if family == "classic":
        named = {"symbol": "ETHUSDT", "productType": USDT}
        plans = ("normal_plan", "track_plan", "profit_plan", "loss_plan", "moving_plan")
        expected = [{**named, "planType": plan} for plan in (*plans, "pos_profit", "pos_loss")]
        assert bodies[0] == named
        assert sorted(bodies[1:], key=str) == sorted(expected, key=str)
    else:
        assert bodies[0] == {"category": USDT, "symbol": "ETHUSDT"}
        assert [body["orderId"] for body in bodies[1:]] == ["511", "8"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (error("40014"), Refused),
        (error("40010"), Unknown),
        (Canned(how="reset"), Unknown),
        (ok(None), Unknown),
        (error("429", 429), Refused),
    ],
)
async def test_a_cancel_of_all_is_not_done_when_one_request_is_not(
    server: CannedVenue, told: Canned, expected: type
) -> None:
    """Doubt outranks a refusal, and both outrank success."""
    serve_classic(server)
    adapter = connect(server.url)
    done = ok({"successList": [], "failureList": []})
    server.set("POST", f"{V2_ORDER}/batch-cancel-orders", told)
    server.set("POST", f"{V2_ORDER}/cancel-plan-order", done)
    assert isinstance(await adapter.submit_cancel_all(SCOPE, ETH), expected)
    server.set("POST", f"{V2_ORDER}/cancel-plan-order", Canned(how="reset"))
    assert isinstance(await adapter.submit_cancel_all(SCOPE, ETH), Unknown)
    await adapter.aclose()


async def test_a_cancel_of_all_that_cannot_list_what_there_is_stays_in_doubt(
    server: CannedVenue,
) -> None:
    """Conditional orders of a unified account are cancelled one by one."""
    serve_unified(server)
    server.set("GET", STRATEGIES, Canned(text="", status=502))
    adapter = connect(server.url)
    assert isinstance(await adapter.submit_cancel_all(SCOPE, ETH), Unknown)
    await adapter.aclose()


# --- records ----------------------------------------------------------------------------------


def at_ms(our_time: float) -> str:
    """A moment of ours as the venue writes it."""
    return str(int((our_time + AHEAD_S) * 1000))


async def test_records_come_once_on_our_clock_from_every_list(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """A transfer of 30 that left 60 s ago, told by two pages that overlap."""
    moment = at_ms(START_S - 60)
    if family == "classic":
        word, path, under = "trans_to_exchange", BILLS, "bills"
        row = bill_row(businessType=word, amount="-30", fee="0", symbol="", cTime=moment)
    else:
        path, under = RECORDS, "list"
        row = record_row(type="TRANSFER_OUT", amount="30", symbol="", ts=moment)
    # Every list tells the same record: it is one.
    server.set("GET", path, ok({under: [row], "endId": "1", "cursor": "1"}))
    ledger = await venue.fetch_ledger(SCOPE, START_S - 3600)
    (entry,) = ledger.entries
    assert (entry.kind, entry.amount) == (LedgerKind.TRANSFER, -30.0)
    assert entry.at == pytest.approx(START_S - 60, abs=0.001)
    assert (ledger.since, ledger.asked_at) == (START_S - 3600, START_S)
    field = "productType" if family == "classic" else "category"
    lists = {heard.fields[field] for heard in server.of("GET", path)}
    every = {USDT, USDC}
    if family == "unified":
        every |= {"SPOT", "MARGIN", "COIN-FUTURES", "OTHER"}
    assert lists == every


async def test_records_are_asked_for_in_spans_that_the_venue_takes(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """At most thirty days at once, at most ninety back, without a gap."""
    path = BILLS if family == "classic" else RECORDS
    ledger = await venue.fetch_ledger(SCOPE, START_S - 200 * 86_400)
    assert ledger.since == START_S - 89 * 86_400
    spans = sorted(
        {
            (int(heard.fields["startTime"]), int(heard.fields["endTime"]))
            for heard in server.of("GET", path)
        }
    )
    assert spans[0][0] == int(at_ms(START_S - 89 * 86_400))
    assert spans[-1][1] >= int(at_ms(START_S))
    assert all(end - start <= 30 * 86_400_000 for start, end in spans)
    assert all(begin == end for (_, end), (begin, _) in pairwise(spans))


async def test_pages_of_records_are_read_to_their_end(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """150 fees in two pages; a page that comes again is no answer."""
    path, under, name, after, end = (
        (BILLS, "bills", "billId", "idLessThan", "endId")
        if family == "classic"
        else (RECORDS, "list", "id", "cursor", "cursor")
    )
    moment = at_ms(START_S - 60)
    make = bill_row if family == "classic" else record_row
    rows = [make(**{name: str(n), "cTime": moment, "ts": moment}) for n in range(150, 0, -1)]

    def respond(heard: Heard) -> Canned:
        below = int(heard.fields.get(after, 10**9))
        page = [row for row in rows if int(row[name]) < below][:100]
        return ok({under: page, end: page[-1][name] if page else None})

    server.set("GET", path, respond)
    ledger = await venue.fetch_ledger(SCOPE, START_S - 3600)
    kinds = 2 if family == "classic" else 1
    assert len(ledger.entries) == 150 * kinds
    server.set("GET", path, ok({under: rows[:100], end: "51"}))
    with pytest.raises(Unavailable, match="repeats"):
        await venue.fetch_ledger(SCOPE, START_S - 3600)


async def test_a_record_in_a_coin_is_valued_at_its_mark(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """0.5 BTC at 60,000 left; without a price there are no records at all."""
    moment = at_ms(START_S - 60)
    if family == "classic":
        word = "trans_to_exchange"
        row = bill_row(businessType=word, amount="-0.5", fee="", coin="BTC", cTime=moment)
        server.set("GET", BILLS, by_product(row, under="bills"))
        tickers = f"{V2}/mix/market/tickers"
    else:
        row = record_row(type="TRANSFER_OUT", amount="0.5", coin="BTC", ts=moment)
        server.set("GET", RECORDS, by_product(row, under="list"))
        tickers = f"{V3}/market/tickers"
    server.set("GET", tickers, by_product({"symbol": "BTCUSDT", "markPrice": "60000"}))
    (entry,) = (await venue.fetch_ledger(SCOPE, START_S - 3600)).entries
    assert (entry.amount, entry.asset) == (-30_000.0, "BTC")
    server.set("GET", tickers, by_product())
    with pytest.raises(Malformed, match="BTC"):
        await venue.fetch_ledger(SCOPE, START_S - 3600)


@pytest.mark.parametrize("family", ["unified"])
async def test_a_coin_that_the_wallet_alone_values_keeps_no_flow_from_being_read(
    server: CannedVenue, venue: BitgetFutures
) -> None:
    """Euros have no contract; all of them left, and a withdrawal of 300 is told beside them."""
    coins = coin_row("USDT", "1150.75", "1150.75"), coin_row("EUR", "1000", "1080")
    server.set("GET", PATHS["unified"].money, ok(assets(*coins, equity="2230.75")))
    server.set("GET", f"{V3}/market/tickers", by_product())
    await venue.fetch_reading(SCOPE)
    moment = at_ms(START_S - 60)
    gone = record_row(type="TRANSFER_OUT", amount="1000", coin="EUR", ts=moment, id="1")
    out = record_row(type="TRANSFER_OUT", amount="300", ts=moment, id="2")
    server.set("GET", RECORDS, by_product(gone, out, under="list"))
    ledger = await venue.fetch_ledger(SCOPE, START_S - 3600)
    assert [entry.amount for entry in ledger.entries] == pytest.approx([-1080, -300])
    assert await venue.fetch_marks([Symbol("EUR")]) == {"EUR": pytest.approx(1.08)}


@pytest.mark.parametrize("damage", [ok(None), ok({}), ok([]), Canned(json={}), error("40017")])
async def test_records_that_cannot_be_read_are_not_none(
    server: CannedVenue, venue: BitgetFutures, family: str, damage: Canned
) -> None:
    """A withdrawal that is not seen is a loss."""
    server.set("GET", BILLS if family == "classic" else RECORDS, damage)
    with pytest.raises(ObservationError):
        await venue.fetch_ledger(SCOPE, START_S - 3600)


# --- what else there is -----------------------------------------------------------------------


async def test_what_lies_beside_the_watched_account_is_named(
    server: CannedVenue, venue: BitgetFutures, family: str
) -> None:
    """Coin-margined money, spot and funding: what holds something, what cannot be seen, no more."""
    if family == "classic":
        coins = [{"marginCoin": "BTC", "accountEquity": "0.1"}, {"marginCoin": "X"}]
        server.set("GET", PATHS[family].money, ok(coins))
        spot = [{"coin": "ETH", "available": "0", "locked": "2"}, {"coin": "X", "available": "0"}]
        server.set("GET", f"{V2}/spot/account/assets", ok(spot))
        expected = {"coin-margined futures": "BTC", "spot": "ETH"}
    else:
        server.set("GET", PATHS[family].positions, ok({"list": [{"symbol": "X", "total": "1"}]}))
        server.set("GET", f"{V3}/account/funding-assets", ok([{"coin": "BGB", "balance": "1"}]))
        expected = {"coin-margined futures": "X", "funding account": "BGB"}
    found = (await venue.inspect(SCOPE, ())).unwatched
    assert {part.part: part.detail for part in found} == expected
    assert {part.presence for part in found} == {Presence.HOLDS}
    covered = {part.part: part.covered_by for part in found}
    assert covered.get("spot") == ("bitget_spot" if family == "classic" else None)
    server.set("GET", f"{V2}/spot/account/assets", ok([]))
    server.set("GET", f"{V3}/account/funding-assets", Canned(text="", status=502))
    kinds = {part.presence for part in (await venue.inspect(SCOPE, ())).unwatched}
    assert kinds == ({Presence.HOLDS} | (set() if family == "classic" else {Presence.UNSEEN}))
