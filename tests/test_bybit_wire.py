"""The Bybit adapter with real ccxt against a server on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from errors import ConfigurationError, InvariantViolation, Malformed, Unavailable
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
from tests.bybit_answers import (
    Row,
    account_info,
    answer,
    coin_row,
    listed,
    log_row,
    market_row,
    order_row,
    position_row,
    stop_row,
    ticker_row,
    transfer_row,
    wallet,
)
from tests.canned_venue import Canned, CannedVenue, Heard, Responder, canned_venue
from tests.test_binance_wire import SERVER_AHEAD_S, START_S, HandClock
from venues.access import Access
from venues.bybit import BybitUnified
from venues.protocol import Venue

SCOPE = ScopeId("bybit_futures")
ETH, BTC = Symbol("ETHUSDT"), Symbol("BTCUSDT")
OURS = ClientOrderId("ks-1-0-1")
KEY, SECRET = "test-key", "test-secret"
V5 = "/api.bybit.com/v5"
TIME, TICKERS = f"{V5}/market/time", f"{V5}/market/tickers"
WALLET, INFO = f"{V5}/account/wallet-balance", f"{V5}/account/info"
LOG, POSITIONS = f"{V5}/account/transaction-log", f"{V5}/position/list"
REALTIME, HISTORY = f"{V5}/order/realtime", f"{V5}/order/history"
CREATE, BATCH = f"{V5}/order/create", f"{V5}/order/create-batch"
CANCEL, CANCEL_ALL = f"{V5}/order/cancel", f"{V5}/order/cancel-all"
INSTRUMENTS = f"{V5}/market/instruments-info"
SERVER_MS = int((START_S + SERVER_AHEAD_S) * 1000)


def of_coin(pages: Mapping[str, Row]) -> Responder:
    """Answer a list by the coin that it is settled in; nothing in the others."""
    return lambda heard: Canned(json=pages.get(heard.fields.get("settleCoin", ""), listed()))


@pytest.fixture
async def server() -> AsyncIterator[CannedVenue]:
    """A venue with one long in USDT, one order of each kind, and a clock far ahead of ours."""
    async with canned_venue() as venue:
        nano = str(SERVER_MS * 1_000_000)
        venue.set("GET", TIME, Canned(json=answer({"timeSecond": nano[:10], "timeNano": nano})))
        venue.set("GET", INFO, Canned(json=account_info()))
        coin = coin_row("USDT", "1150.75", walletBalance="1000", unrealisedPnl="150.75")
        totals = {"totalWalletBalance": "1000", "totalPerpUPL": "150.75"}
        venue.set("GET", WALLET, Canned(json=wallet(coin, equity="1150.75", **totals)))
        venue.set("GET", POSITIONS, of_coin({"USDT": listed(position_row())}))
        venue.set("GET", REALTIME, of_coin({"USDT": listed(order_row(), stop_row())}))
        venue.set("GET", LOG, Canned(json=listed()))
        yield venue


@pytest.fixture
def clock() -> HandClock:
    """Our clock."""
    return HandClock()


def connect(url: str, clock: HandClock | None = None, **changed: Any) -> BybitUnified:
    """An adapter redirected to loopback."""
    access = replace(
        Access(credentials={"apiKey": KEY, "secret": SECRET}, simulator_url=url),
        **({"order_timeout_s": 1.5} | changed),
    )
    return BybitUnified(
        scope=SCOPE, access=access, clock=clock or HandClock(), stables=("USDT", "USDC")
    )


@pytest.fixture
async def venue(server: CannedVenue, clock: HandClock) -> AsyncIterator[BybitUnified]:
    """A started adapter."""
    adapter = connect(server.url, clock)
    await adapter.start()
    yield adapter
    await adapter.aclose()


def close_of(
    side: Side = Side.LONG,
    mode: PositionMode = PositionMode.ONE_WAY,
    *,
    symbol: Symbol = ETH,
    client_id: str = OURS,
) -> CloseInstruction:
    """An approved close of 1.5, written with more digits than it needs."""
    return CloseInstruction(
        scope=SCOPE,
        symbol=symbol,
        side=side,
        quantity=Decimal("1.500"),
        client_id=ClientOrderId(client_id),
        position_mode=mode,
        margin_mode=MarginMode.CROSS,
        incident_id=IncidentId("incident"),
    )


def closes(count: int) -> list[CloseInstruction]:
    """Closes of 1, 2, 3 and so on, each with its own id."""
    return [replace(close_of(client_id=f"ks-{n}"), quantity=Decimal(n + 1)) for n in range(count)]


def body_of(heard: Heard) -> Any:
    """The JSON that was sent."""
    return json.loads(heard.signed)


def taken(heard: Heard) -> Canned:
    """The acknowledgement of the order that was sent."""
    return Canned(json=answer({"orderId": "7", "orderLinkId": body_of(heard)["orderLinkId"]}))


def batch(judge: Callable[[Row], tuple[int, str]]) -> Responder:
    """Answer every order of a batch in its place, by code and text."""

    def respond(heard: Heard) -> Canned:
        made, told = [], []
        for sent in body_of(heard)["request"]:
            code, message = judge(sent)
            number = "" if code else f"id-{sent['orderLinkId']}"
            made.append({"orderId": number, "orderLinkId": sent["orderLinkId"]})
            told.append({"code": code, "msg": message})
        return Canned(json=answer({"list": made}, extra={"list": told}))

    return respond


def refusal(code: int, message: str = "text", status: int = 200, **headers: str) -> Canned:
    """A refusal, which this venue gives with status 200."""
    return Canned(json=answer({}, code=code, message=message), status=status, headers=headers)


# --- reading ----------------------------------------------------------------------------------


async def test_start_asks_for_nothing_that_a_trading_key_may_not_read(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Clock and account mode; no coins, no markets, nothing twice."""
    protocol: Venue = venue
    assert protocol.scopes == (SCOPE,)
    assert [heard.path for heard in server.heard] == [TIME, INFO]


async def test_a_reading_joins_wallet_and_positions(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """1000 wallet + 150.75 profit = 1150.75 equity, signed with the key, on the venue's clock."""
    reading = await venue.fetch_reading(SCOPE)
    assert (reading.equity, reading.wallet, reading.unrealised_pnl) == (1150.75, 1000, 150.75)
    assert [position.symbol for position in reading.positions] == [ETH]
    assert (reading.asked_at, reading.server_offset_s) == (START_S, SERVER_AHEAD_S)
    assert reading.position_mode is PositionMode.ONE_WAY
    assert not reading.wallet_defines_equity
    (heard,) = server.of("GET", WALLET)
    headers = heard.headers
    signed = headers["X-BAPI-TIMESTAMP"] + KEY + headers["X-BAPI-RECV-WINDOW"] + heard.signed
    digest = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert (headers["X-BAPI-API-KEY"], headers["X-BAPI-SIGN"]) == (KEY, digest)
    assert abs(int(headers["X-BAPI-TIMESTAMP"]) - SERVER_MS) < 5000
    assert heard.fields == {"accountType": "UNIFIED"}
    asked = [heard.fields for heard in server.of("GET", POSITIONS)]
    assert asked == [
        {"category": "linear", "settleCoin": coin, "limit": "200"} for coin in ("USDT", "USDC")
    ]


@pytest.mark.parametrize("leg", [WALLET, POSITIONS])
async def test_a_reading_needs_all_legs(server: CannedVenue, venue: BybitUnified, leg: str) -> None:
    """One failing or damaged leg is no reading, whatever ccxt would make of it (lesson 1)."""
    damage: list[tuple[Canned, type[Exception]]] = [
        (Canned(text="<html>busy</html>", headers={"Content-Type": "text/html"}), Unavailable),
        (Canned(text=""), Unavailable),
        (Canned(text="null"), Unavailable),
        (Canned(text="{"), Unavailable),
        (Canned(text="", status=524), Unavailable),
        (Canned(text="oops", status=503), Unavailable),
        (Canned(how="reset"), Unavailable),
        (Canned(how="cut"), Unavailable),
        (refusal(10016), Unavailable),
        (refusal(10003), Unavailable),
        (Canned(json={}), Malformed),
        (Canned(json=answer({})), Malformed),
        (Canned(json=answer({"list": None, "nextPageCursor": ""})), Malformed),
        (Canned(json=[[]]), Malformed),
    ]
    for canned, expected in damage:
        server.set("GET", leg, canned)
        with pytest.raises(expected) as raised:
            await venue.fetch_reading(SCOPE)
        assert len(str(raised.value)) < 250


async def test_positions_in_the_second_coin_are_not_forgotten(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Contracts in USDC are a list of their own, which a venue library leaves out."""
    usdc = position_row(symbol="BTCPERP", side="Sell")
    pages = {"USDT": listed(position_row()), "USDC": listed(usdc)}
    server.set("GET", POSITIONS, of_coin(pages))
    for held in (
        (await venue.fetch_reading(SCOPE)).positions,
        await venue.fetch_positions(SCOPE),
    ):
        assert [(one.symbol, one.side, one.margin_asset) for one in held] == [
            (ETH, Side.LONG, "USDT"),
            ("BTCPERP", Side.SHORT, "USDC"),
        ]
    server.set(
        "GET",
        POSITIONS,
        lambda heard: (
            refusal(10016)
            if heard.fields["settleCoin"] == "USDC"
            else Canned(json=listed(position_row()))
        ),
    )
    with pytest.raises(Unavailable):
        await venue.fetch_positions(SCOPE)


def paged(*pages: Row) -> Responder:
    """Answer by the cursor of the page before."""
    by_cursor = {"": pages[0]}
    by_cursor |= {before["result"]["nextPageCursor"]: page for before, page in pairwise(pages)}

    def respond(heard: Heard) -> Canned:
        if heard.fields.get("settleCoin", "USDT") != "USDT":
            return Canned(json=listed())
        raw = dict(part.partition("=")[::2] for part in heard.signed.split("&"))
        return Canned(json=by_cursor[raw.get("cursor", "")])

    return respond


async def test_every_page_is_read_and_a_cursor_goes_back_as_it_came(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """It is encoded for a URL already: encoded again, the venue would not know it."""
    symbols = [f"C{n}USDT" for n in range(3)]
    server.set(
        "GET",
        POSITIONS,
        paged(
            listed(position_row(symbol=symbols[0]), cursor="page%3D1%26x"),
            listed(position_row(symbol=symbols[1]), cursor="page%3D2%26x"),
            listed(position_row(symbol=symbols[2]), cursor=""),
        ),
    )
    held = await venue.fetch_positions(SCOPE)
    assert [position.symbol for position in held] == symbols


async def test_the_last_page_may_have_a_cursor_too(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """What follows it is empty."""
    server.set("GET", REALTIME, paged(listed(order_row(), cursor="after"), listed(cursor="x")))
    assert len(await venue.fetch_orders(SCOPE)) == 1


async def test_a_list_without_an_end_is_an_error(server: CannedVenue, venue: BybitUnified) -> None:
    """The same cursor again and again would be read for ever."""
    server.set("GET", REALTIME, of_coin({"USDT": listed(order_row(), cursor="again")}))
    with pytest.raises(Unavailable, match="no end"):
        await venue.fetch_orders(SCOPE)


async def test_orders_are_of_all_kinds_and_both_coins_or_not_at_all(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """50 to a page, no filter of kinds."""
    orders = await venue.fetch_orders(SCOPE)
    assert [order.kind for order in orders] == [OrderKind.REGULAR, OrderKind.CONDITIONAL]
    asked = [heard.fields for heard in server.of("GET", REALTIME)]
    assert asked == [
        {"category": "linear", "settleCoin": coin, "openOnly": "0", "limit": "50"}
        for coin in ("USDT", "USDC")
    ]
    server.set("GET", REALTIME, of_coin({"USDC": answer({})}))
    with pytest.raises(Malformed):
        await venue.fetch_orders(SCOPE)


async def test_an_owed_and_an_unpriced_coin_are_priced_by_contract_or_spot(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """BTC by its own value; ETH owed without one by its mark; ODD by spot; OLD by nothing."""
    coins = [
        coin_row("BTC", "0.1", usdValue="6000"),
        coin_row("ETH", "0", usdValue="-180", walletBalance="0", spotBorrow="0.06"),
        coin_row("ODD", "7", usdValue=""),
        coin_row("OLD", "7", usdValue=""),
    ]
    server.set("GET", WALLET, Canned(json=wallet(*coins, equity="5820")))
    marks = listed(ticker_row("ETHUSDT", "3000"), ticker_row("ETHPERP", "1"))
    spot = listed(ticker_row("ODDUSDT", "5"))
    by_category = {"linear": marks, "spot": spot}
    server.set("GET", TICKERS, lambda heard: Canned(json=by_category[heard.fields["category"]]))
    reading = await venue.fetch_reading(SCOPE)
    assert reading.equity == 5820
    assert {coin.asset: (coin.quantity, coin.price) for coin in reading.coins} == {
        "BTC": (Decimal("0.1"), 60000),
        "ETH": (Decimal("-0.06"), 3000),
        "ODD": (Decimal(7), 5),
    }


async def test_marks_are_complete_or_an_error(server: CannedVenue, venue: BybitUnified) -> None:
    """A contract by its symbol, a coin by its name; none is left out."""
    server.set("GET", INSTRUMENTS, Canned(json=listed(market_row())))
    await venue.fetch_market_limits()
    rows = [ticker_row("ETHUSDT", "2100.5"), ticker_row("BTCPERP", "60000")]
    server.set("GET", TICKERS, Canned(json=listed(*rows)))
    assert await venue.fetch_marks(()) == {}
    assert await venue.fetch_marks((ETH,)) == {ETH: 2100.5}
    assert server.of("GET", TICKERS)[-1].fields == {"category": "linear", "symbol": ETH}
    assert await venue.fetch_marks((ETH, Symbol("BTC"))) == {ETH: 2100.5, Symbol("BTC"): 60000}
    with pytest.raises(Unavailable, match="GONEUSDT"):
        await venue.fetch_marks((ETH, Symbol("GONEUSDT")))


async def test_markets_of_every_status_are_read(server: CannedVenue, venue: BybitUnified) -> None:
    """What is trading, what is not trading yet, and what is being delisted."""
    by_status = {
        "": listed(market_row()),
        "PreLaunch": listed(market_row(symbol="NEWUSDT", baseCoin="NEW", status="PreLaunch")),
        "Delivering": listed(market_row(symbol="OLDUSDT", baseCoin="OLD", status="Delivering")),
    }
    server.set(
        "GET", INSTRUMENTS, lambda heard: Canned(json=by_status[heard.fields.get("status", "")])
    )
    limits = await venue.fetch_market_limits()
    assert {symbol: market.is_tradable for symbol, market in limits.items()} == {
        ETH: True,
        "NEWUSDT": True,
        "OLDUSDT": False,
    }


async def test_the_mode_of_a_flat_account_is_that_of_one_symbol(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Its rows are listed without a position; with positions those tell."""
    assert await venue.fetch_position_mode(SCOPE) is PositionMode.ONE_WAY
    assert all("symbol" not in heard.fields for heard in server.of("GET", POSITIONS))
    flat = [position_row(positionIdx=n, side="", size="0", symbol=BTC) for n in (1, 2)]
    server.set(
        "GET",
        POSITIONS,
        lambda heard: Canned(json=listed(*flat) if "symbol" in heard.fields else listed()),
    )
    assert await venue.fetch_position_mode(SCOPE) is PositionMode.HEDGE
    assert (await venue.fetch_reading(SCOPE)).position_mode is PositionMode.HEDGE


async def test_a_classic_account_is_named(server: CannedVenue, venue: BybitUnified) -> None:
    """Instead of a wallet that is refused for reasons nobody understands."""
    server.set("GET", INFO, Canned(json=account_info(unifiedMarginStatus=1)))
    with pytest.raises(Malformed, match="classic account"):
        await venue.start()
    unstarted = connect(server.url)
    with pytest.raises(Malformed, match="classic account"):
        await unstarted.fetch_reading(SCOPE)
    assert await unstarted.fetch_positions(SCOPE)
    await unstarted.aclose()


async def test_an_isolated_account_says_so_in_every_position(server: CannedVenue) -> None:
    """Also in those that are read for closing, once it is known."""
    server.set("GET", INFO, Canned(json=account_info(marginMode="ISOLATED_MARGIN")))
    adapter = connect(server.url)
    await adapter.start()
    (position,) = await adapter.fetch_positions(SCOPE)
    assert (position.margin_mode, position.margin) == (MarginMode.ISOLATED, 301.5)
    await adapter.aclose()


# --- records ----------------------------------------------------------------------------------


async def test_the_ledger_is_read_week_by_week_and_page_by_page(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """17 days are three questions; a record on the edge of two counts once; our clock counts."""
    edge_ms = SERVER_MS - 10 * 86400 * 1000
    rows = [
        transfer_row("300", transactionTime=str(edge_ms)),
        log_row(transactionTime=str(SERVER_MS - 5000)),
    ]

    def respond(heard: Heard) -> Canned:
        first, last = int(heard.fields["startTime"]), int(heard.fields["endTime"])
        assert last - first <= 7 * 86400 * 1000
        mine = [row for row in rows if first <= int(row["transactionTime"]) <= last]
        return Canned(json=listed(*mine))

    server.set("GET", LOG, respond)
    since = START_S - 17 * 86400
    ledger = await venue.fetch_ledger(SCOPE, since)
    assert [(entry.kind, entry.amount) for entry in ledger.entries] == [
        (LedgerKind.TRANSFER, 300),
        (LedgerKind.REALISED, -4.5),
        (LedgerKind.FEE, -0.5),
    ]
    assert ledger.entries[0].at == pytest.approx(START_S - 10 * 86400)
    assert ledger.entries[1].at == pytest.approx(START_S - 5)
    assert ledger.entries[1].symbol == "XRPUSDT"
    assert (ledger.since, ledger.asked_at) == (since, START_S)
    asked = [heard.fields for heard in server.of("GET", LOG)]
    assert len(asked) == 3
    assert {(one["accountType"], one["limit"]) for one in asked} == {("UNIFIED", "50")}


async def test_records_in_coins_are_valued(server: CannedVenue, venue: BybitUnified) -> None:
    """0.01 BTC came in at 60,000; without a price the ledger is no answer."""
    row = transfer_row("0.01", currency="BTC", transactionTime=str(SERVER_MS))
    server.set("GET", LOG, Canned(json=listed(row)))
    server.set("GET", TICKERS, Canned(json=listed(ticker_row("BTCUSDT", "60000"))))
    (entry,) = (await venue.fetch_ledger(SCOPE, START_S - 60)).entries
    assert (entry.kind, entry.amount, entry.asset) == (LedgerKind.TRANSFER, 600, "BTC")
    server.set("GET", TICKERS, Canned(json=listed()))
    with pytest.raises(Malformed, match="BTC"):
        await venue.fetch_ledger(SCOPE, START_S - 60)


async def test_a_gift_that_is_worth_nothing_keeps_no_flow_from_being_read(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """The wallet lists it without a value and no market trades it: it counts 0."""
    gift = transfer_row("7", currency="ODD", type="AIRDROP", transactionTime=str(SERVER_MS))
    out = transfer_row("-300", transactionTime=str(SERVER_MS))
    server.set("GET", LOG, Canned(json=listed(gift, out)))
    server.set("GET", TICKERS, Canned(json=listed()))
    with pytest.raises(Malformed, match="ODD"):
        await venue.fetch_ledger(SCOPE, START_S - 60)
    coins = [coin_row("USDT", "700"), coin_row("ODD", "7", usdValue="0")]
    server.set("GET", WALLET, Canned(json=wallet(*coins, equity="700")))
    await venue.fetch_reading(SCOPE)
    ledger = await venue.fetch_ledger(SCOPE, START_S - 60)
    assert sorted(entry.amount for entry in ledger.entries) == [-300, 0]


async def test_a_coin_that_the_wallet_alone_values_keeps_no_flow_from_being_read(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Euros trade against no dollar here; all are sold, and a withdrawal is told beside them."""
    coins = [coin_row("USDT", "700"), coin_row("EUR", "1000", usdValue="1080")]
    server.set("GET", WALLET, Canned(json=wallet(*coins, equity="1780")))
    server.set("GET", TICKERS, Canned(json=listed(ticker_row("BTCUSDT", "60000"))))
    await venue.fetch_reading(SCOPE)
    sold = log_row(
        category="spot", currency="EUR", fee="0", change="-1000", transactionTime=str(SERVER_MS)
    )
    server.set(
        "GET",
        LOG,
        Canned(json=listed(sold, transfer_row("-300", transactionTime=str(SERVER_MS)))),
    )
    entries = (await venue.fetch_ledger(SCOPE, START_S - 60)).entries
    assert {(entry.kind, entry.amount) for entry in entries} == {
        (LedgerKind.OTHER, -1080),
        (LedgerKind.TRANSFER, -300),
    }
    wanted = (Symbol("BTCUSDT"), Symbol("EUR"))
    assert await venue.fetch_marks(wanted) == {"BTCUSDT": 60000, "EUR": 1.08}


async def test_records_asked_for_by_a_clock_that_proved_wrong_are_no_answer(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """An hour off, they would leave an hour out, and be placed where no step is."""
    nano = str((SERVER_MS + 3_600_000) * 1_000_000)
    server.set("GET", TIME, Canned(json=answer({"timeNano": nano})))

    def strict(heard: Heard) -> Canned:
        stamp = int(heard.headers["X-BAPI-TIMESTAMP"])
        is_near = abs(stamp - SERVER_MS - 3_600_000) < 5000
        return Canned(json=listed()) if is_near else refusal(10002)

    server.set("GET", LOG, strict)
    with pytest.raises(Unavailable, match="measured anew"):
        await venue.fetch_ledger(SCOPE, START_S - 60)
    assert (await venue.fetch_ledger(SCOPE, START_S - 60)).entries == ()


# --- closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "mode", "index", "order_side"),
    [
        (Side.LONG, PositionMode.ONE_WAY, 0, "Sell"),
        (Side.SHORT, PositionMode.ONE_WAY, 0, "Buy"),
        (Side.LONG, PositionMode.HEDGE, 1, "Sell"),
        (Side.SHORT, PositionMode.HEDGE, 2, "Buy"),
    ],
)
async def test_a_close_can_only_close(
    server: CannedVenue,
    *,
    side: Side,
    mode: PositionMode,
    index: int,
    order_side: str,
) -> None:
    """Exactly these parameters: the flag and the index of the position, nothing before them."""
    adapter = connect(server.url)
    server.set("POST", CREATE, taken)
    assert await adapter.submit_close(close_of(side, mode)) == Done(order_id=VenueOrderId("7"))
    (heard,) = server.of("POST", CREATE)
    assert body_of(heard) == {
        "category": "linear",
        "symbol": "ETHUSDT",
        "side": order_side,
        "orderType": "Market",
        "qty": "1.5",
        "positionIdx": index,
        "reduceOnly": True,
        "orderLinkId": OURS,
    }
    # No question about the account goes before an order, as ccxt's own calls would have it.
    assert [one.path for one in server.heard] == [TIME, CREATE]
    await adapter.aclose()


async def test_a_close_bears_the_index_that_its_own_position_was_listed_under(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """One symbol hedged and another not: the account's mode would be wrong for one of them."""
    server.set("POST", CREATE, taken)
    rows = [
        position_row(positionIdx=1),
        position_row(positionIdx=2, side="Sell"),
        position_row(symbol=BTC, side="Sell"),
    ]
    server.set("GET", POSITIONS, of_coin({"USDT": listed(*rows)}))
    assert await venue.fetch_position_mode(SCOPE) is PositionMode.HEDGE
    for side, symbol in ((Side.LONG, ETH), (Side.SHORT, ETH), (Side.SHORT, BTC)):
        await venue.submit_close(close_of(side, PositionMode.HEDGE, symbol=symbol))
    sent = [body_of(heard) for heard in server.of("POST", CREATE)]
    assert [(one["symbol"], one["side"], one["positionIdx"]) for one in sent] == [
        (ETH, "Sell", 1),
        (ETH, "Buy", 2),
        (BTC, "Buy", 0),
    ]
    server.set("GET", POSITIONS, of_coin({"USDT": listed(position_row())}))
    await venue.fetch_positions(SCOPE)
    await venue.submit_close(close_of(Side.LONG, PositionMode.HEDGE))
    assert body_of(server.of("POST", CREATE)[-1])["positionIdx"] == 0


def reason_of(outcome: Outcome) -> RefusalReason | None:
    """Why it was refused, None when it was not."""
    return outcome.reason if isinstance(outcome, Refused) else None


ANSWERS: Mapping[str, tuple[Canned, type[Outcome] | RefusalReason]] = {
    "acknowledged": (Canned(json=answer({"orderId": "7", "orderLinkId": OURS})), Done),
    "another order": (Canned(json=answer({"orderId": "7", "orderLinkId": "x"})), Unknown),
    "no id": (Canned(json=answer({})), Unknown),
    "nothing": (Canned(json={}), Unknown),
    "html": (Canned(text="<html>"), Unknown),
    "empty": (Canned(text=""), Unknown),
    "cut": (Canned(how="cut"), Unknown),
    "reset": (Canned(how="reset"), Unknown),
    "hang": (Canned(how="hang"), Unknown),
    "502": (Canned(text="", status=502), Unknown),
    "524": (Canned(text="", status=524), Unknown),
    "time-out": (refusal(10000), Unknown),
    "server error": (refusal(10016), Unknown),
    "creation time-out": (refusal(170146), Unknown),
    "flat": (refusal(110017), RefusalReason.NOTHING_TO_REDUCE),
    "duplicate": (refusal(110072), RefusalReason.DUPLICATE_ID),
    "wrong index": (
        refusal(10001, "position idx not match position mode"),
        RefusalReason.WRONG_POSITION_MODE,
    ),
    "bad quantity": (refusal(10001, "Qty invalid"), RefusalReason.BAD_PRECISION),
    "below minimum": (refusal(110094), RefusalReason.TOO_SMALL),
    "clock": (refusal(10002), RefusalReason.CLOCK),
    "key": (refusal(10003), RefusalReason.NOT_ALLOWED),
    "too many": (refusal(10006), RefusalReason.RATE_LIMITED),
    "banned": (Canned(text="access too frequent", status=403), RefusalReason.RATE_LIMITED),
    "not live": (refusal(110074), RefusalReason.NOT_TRADABLE),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_every_answer_to_an_order_is_judged_by_its_own_code(
    server: CannedVenue, case: str
) -> None:
    """Sent once, whatever comes back; the doubt is the caller's to clear."""
    canned, expected = ANSWERS[case]
    adapter = connect(server.url, order_timeout_s=1.5)
    server.set("POST", CREATE, canned)
    outcome = await adapter.submit_close(close_of())
    if isinstance(expected, RefusalReason):
        assert reason_of(outcome) is expected
    else:
        assert isinstance(outcome, expected)
    assert len(server.of("POST", CREATE)) == 1
    await adapter.aclose()


async def test_a_ban_is_waited_out_by_everything(
    server: CannedVenue, venue: BybitUnified, clock: HandClock
) -> None:
    """Asking on may prolong it: for ten minutes nothing leaves, and the caller knows."""
    server.set("GET", WALLET, Canned(text="access too frequent", status=403))
    with pytest.raises(Unavailable) as raised:
        await venue.fetch_reading(SCOPE)
    assert raised.value.retry_after_s == 600
    before = len(server.heard)
    outcome = await venue.submit_close(close_of())
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.retry_after_s) == (RefusalReason.RATE_LIMITED, 600)
    assert len(server.heard) == before
    clock.at += 601
    server.set("POST", CREATE, taken)
    assert isinstance(await venue.submit_close(close_of()), Done)


async def test_orders_of_a_batch_answer_one_by_one(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Three in one request, the second of them flat."""
    server.set(
        "POST", BATCH, batch(lambda sent: (110017, "zero") if sent["qty"] == "2" else (0, "OK"))
    )
    outcomes = await venue.submit_closes(closes(3))
    assert outcomes[0] == Done(order_id=VenueOrderId("id-ks-0"))
    assert reason_of(outcomes[1]) is RefusalReason.NOTHING_TO_REDUCE
    assert outcomes[2] == Done(order_id=VenueOrderId("id-ks-2"))
    (heard,) = server.of("POST", BATCH)
    sent = body_of(heard)
    assert sent["category"] == "linear"
    assert [one["qty"] for one in sent["request"]] == ["1", "2", "3"]
    assert all(one["reduceOnly"] is True and "category" not in one for one in sent["request"])


async def test_a_burst_goes_by_both_ways_at_once(server: CannedVenue, venue: BybitUnified) -> None:
    """Each has its own allowance of ten orders a second; what comes alone goes in a batch."""
    server.set("POST", BATCH, batch(lambda _sent: (0, "OK")))
    server.set("POST", CREATE, taken)
    parts = [closes(20)[first : first + 5] for first in (0, 5, 10, 15)]
    answered = await asyncio.gather(*map(venue.submit_closes, parts))
    assert all(isinstance(outcome, Done) for outcomes in answered for outcome in outcomes)
    assert [len(server.of("POST", path)) for path in (BATCH, CREATE)] == [2, 10]
    await venue.submit_closes(closes(2))
    assert len(server.of("POST", BATCH)) == 3


@pytest.mark.parametrize(
    "canned",
    [Canned(how="reset"), Canned(text=""), refusal(10000), refusal(110017), Canned(json={})],
)
async def test_a_batch_in_doubt_proves_nothing_and_the_next_orders_go_one_by_one(
    server: CannedVenue, venue: BybitUnified, clock: HandClock, canned: Canned
) -> None:
    """What is refused of a whole batch names no order; ten minutes later batches are tried."""
    server.set("POST", BATCH, canned)
    server.set("POST", CREATE, taken)
    outcomes = await venue.submit_closes(closes(3))
    assert all(isinstance(outcome, Unknown) for outcome in outcomes)
    assert all(isinstance(one, Done) for one in await venue.submit_closes(closes(3)))
    assert len(server.of("POST", BATCH)) == 1
    clock.at += 601
    server.set("POST", BATCH, batch(lambda _sent: (0, "OK")))
    await venue.submit_closes(closes(3))
    assert len(server.of("POST", BATCH)) == 2


async def test_a_batch_that_is_refused_for_its_pace_is_a_refusal_of_each(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Nothing of it was looked at."""
    server.set("POST", BATCH, refusal(10006))
    outcomes = await venue.submit_closes(closes(3))
    assert [reason_of(outcome) for outcome in outcomes] == [RefusalReason.RATE_LIMITED] * 3


async def test_only_an_approved_close_of_this_account_is_sent(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """Anything else is our own bug; of several nothing is sent either."""
    foreign = replace(close_of(), scope=ScopeId("other_futures"))
    with pytest.raises(InvariantViolation):
        await venue.submit_closes([close_of(), foreign])
    with pytest.raises(InvariantViolation):
        await venue.submit_close({"symbol": ETH})  # type: ignore[arg-type]
    assert not server.of("POST", CREATE)


# --- looking up and cancelling ----------------------------------------------------------------


async def test_an_order_is_found_among_the_recent_ones_or_in_the_history(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """By our own id and symbol; absent from both, it is no such order."""
    row = order_row(orderLinkId=OURS, orderStatus="Filled", cumExecQty="0.10")
    found = Done(order_id=VenueOrderId(row["orderId"]), filled=Decimal("0.10"))
    server.set("GET", REALTIME, Canned(json=listed(row)))
    assert await venue.find_order(SCOPE, OURS, ETH) == found
    assert server.of("GET", REALTIME)[-1].fields == {
        "category": "linear",
        "symbol": ETH,
        "orderLinkId": OURS,
    }
    server.set("GET", REALTIME, Canned(json=listed()))
    server.set("GET", HISTORY, Canned(json=listed(row)))
    assert await venue.find_order(SCOPE, OURS, ETH) == found
    server.set("GET", HISTORY, Canned(json=listed()))
    outcome = await venue.find_order(SCOPE, OURS, ETH)
    assert reason_of(outcome) is RefusalReason.NO_SUCH_ORDER


@pytest.mark.parametrize("path", [REALTIME, HISTORY])
@pytest.mark.parametrize(
    "canned",
    [
        Canned(text="", status=502),
        refusal(10016),
        Canned(json={}),
        Canned(json=listed(order_row())),
        Canned(how="reset"),
    ],
)
async def test_a_look_up_that_failed_proves_nothing(
    server: CannedVenue, venue: BybitUnified, path: str, canned: Canned
) -> None:
    """In either list: only two empty ones prove that there is no such order."""
    for each in (REALTIME, HISTORY):
        server.set("GET", each, canned if each == path else Canned(json=listed()))
    assert isinstance(await venue.find_order(SCOPE, OURS, ETH), Unknown)


def order(kind: OrderKind = OrderKind.REGULAR) -> Order:
    """A resting order."""
    return Order(
        scope=SCOPE,
        order_id=VenueOrderId("id-1"),
        client_id=ClientOrderId("bot"),
        symbol=ETH,
        kind=kind,
        side=OrderSide.BUY,
        position_side=None,
        quantity=Decimal(1),
        reduce_only=False,
        close_position=False,
        order_type="Limit",
    )


@pytest.mark.parametrize("kind", OrderKind)
async def test_an_order_of_any_kind_is_cancelled_by_its_id(
    server: CannedVenue, venue: BybitUnified, kind: OrderKind
) -> None:
    """Gone already is done as well; everything else is judged."""
    cases: list[tuple[Canned, type[Outcome] | RefusalReason]] = [
        (Canned(json=answer({"orderId": "id-1", "orderLinkId": "bot"})), Done),
        (refusal(110001), Done),
        (refusal(110008), Done),
        (Canned(json=answer({})), Unknown),
        (refusal(10000), Unknown),
        (refusal(10005), RefusalReason.NOT_ALLOWED),
    ]
    for canned, expected in cases:
        server.set("POST", CANCEL, canned)
        outcome = await venue.submit_cancel(order(kind))
        if isinstance(expected, RefusalReason):
            assert reason_of(outcome) is expected
        else:
            assert isinstance(outcome, expected), canned
    sent = body_of(server.of("POST", CANCEL)[0])
    assert sent == {"category": "linear", "symbol": ETH, "orderId": "id-1"}


async def test_cancelling_all_goes_on_until_less_than_500_were_left(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """No filter: all kinds. Of more than 500 the venue picks 500 at random."""
    left = [1203]

    def respond(heard: Heard) -> Canned:
        gone = min(500, left[0])
        left[0] -= gone
        rows = [{"orderId": str(n), "orderLinkId": ""} for n in range(gone)]
        return Canned(json=answer({"list": rows, "success": "1"}))

    server.set("POST", CANCEL_ALL, respond)
    assert isinstance(await venue.submit_cancel_all(SCOPE, ETH), Done)
    assert left == [0]
    assert [body_of(heard) for heard in server.of("POST", CANCEL_ALL)] == [
        {"category": "linear", "symbol": ETH}
    ] * 3
    full = [{"orderId": str(n)} for n in range(500)]
    for canned, expected in (
        (Canned(json=answer({"list": full, "success": "1"})), Unknown),
        (Canned(json=answer({"list": [], "success": "0"})), Unknown),
        (Canned(text="", status=502), Unknown),
        (refusal(10005), Refused),
    ):
        server.set("POST", CANCEL_ALL, canned)
        assert isinstance(await venue.submit_cancel_all(SCOPE, ETH), expected)


# --- access -----------------------------------------------------------------------------------


async def test_sandbox_and_demo_lead_away_from_the_live_account() -> None:
    """Each to its own host, never both."""
    for name, host in (("sandbox", "api-testnet"), ("demo", "api-demo")):
        changed: dict[str, Any] = {name: True, "simulator_url": None}
        adapter = connect("http://127.0.0.1:1", **changed)
        for client in (adapter._connection._reader, adapter._connection._trader):
            assert host in client.urls["api"]["private"]
            assert host in client.urls["api"]["public"]
        await adapter.aclose()
    with pytest.raises(ConfigurationError, match="exclude"):
        connect("http://127.0.0.1:1", sandbox=True, demo=True)


async def test_no_secret_is_shown_when_the_venue_repeats_it(
    server: CannedVenue, venue: BybitUnified
) -> None:
    """A refusal that quotes key and secret."""
    server.set("POST", CREATE, refusal(10003, f"API key {KEY} is invalid, not {SECRET}"))
    outcome = await venue.submit_close(close_of())
    assert KEY not in repr(outcome)
    assert SECRET not in repr(outcome)
