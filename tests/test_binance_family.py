"""Which family a Binance account belongs to, and what goes over the wire in portfolio margin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from errors import Malformed, Unavailable
from model import (
    ClientOrderId,
    CloseInstruction,
    Done,
    LedgerKind,
    Order,
    OrderKind,
    OrderSide,
    PositionMode,
    RefusalReason,
    Refused,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from tests.canned_venue import Canned, CannedVenue, Heard, canned_venue
from tests.test_binance_outcomes import CODES, RESTS_S, reason_of
from tests.test_binance_parsing import account_answer, conditional_row, income_row, position_row
from tests.test_binance_portfolio import (
    portfolio_answer,
    pot_row,
    transfer_row,
    um_order_row,
    um_row,
)
from tests.test_binance_wire import (
    ETH,
    OURS,
    SCOPE,
    SERVER_AHEAD_S,
    START_S,
    V1,
    V3,
    HandClock,
    account,
    close_of,
    closes,
    connect,
    error,
    filled,
)
from venues.binance import BinanceFutures
from venues.binance_portfolio import INTO, OUT_OF

PAPI = "/papi.binance.com/papi/v1"
SAPI = "/api.binance.com/sapi/v1"
NOT_ALLOWED = error(-2015, status=401)
BUSY = Canned(text="<html>busy</html>", status=502)
DOWN = error(-1000, status=503)
NOTHING = account_answer(wallet="0", unrealised="0", margin="0")
TEN_MINUTES_S = 600.0


def mode_row(*, is_hedge: bool = False) -> dict[str, Any]:
    """An account's switches; portfolio margin has the same answer."""
    return {"dualSidePosition": is_hedge, "multiAssetsMargin": False, "canTrade": True}


def settings_row(*, is_portfolio: bool) -> dict[str, Any]:
    """The owner's settings with every field."""
    return {
        "vipLevel": 1,
        "isMarginEnabled": True,
        "isFutureEnabled": True,
        "isOptionsEnabled": False,
        "isPortfolioMarginRetailEnabled": is_portfolio,
    }


def futures_hold(server: CannedVenue, *, is_something: bool) -> None:
    """USD-M by itself shows a long of 1.5 ETH, or nothing at all."""
    held = account() if is_something else NOTHING
    server.set("GET", f"{V3}/account", Canned(json=held))
    rows = [position_row()] if is_something else []
    server.set("GET", f"{V3}/positionRisk", Canned(json=rows))


def portfolio_holds(server: CannedVenue, equity: str = "1150.75", *rows: Any) -> None:
    """Portfolio margin answers with an account of that equity."""
    server.set("GET", f"{PAPI}/account", Canned(json=portfolio_answer(equity)))
    pots = [pot_row(umUnrealizedPNL="150.75")] if equity != "0" else []
    server.set("GET", f"{PAPI}/balance", Canned(json=pots))
    server.set("GET", f"{PAPI}/um/positionRisk", Canned(json=list(rows)))
    server.set("GET", f"{PAPI}/um/accountConfig", Canned(json=mode_row()))
    server.set("GET", f"{PAPI}/um/openOrders", Canned(json=[um_order_row()]))
    server.set("GET", f"{PAPI}/um/algo/openAlgoOrders", Canned(json=[conditional_row()]))
    server.set("GET", f"{PAPI}/um/income", Canned(json=[]))
    server.set("GET", f"{SAPI}/asset/transfer", Canned(json={"total": 0, "rows": []}))


def portfolio_refuses(server: CannedVenue, *, is_portfolio: bool = False) -> None:
    """It refuses the key, as it does for every other account; the owner's settings tell why."""
    for path in ("account", "balance", "um/positionRisk", "um/accountConfig"):
        server.set("GET", f"{PAPI}/{path}", NOT_ALLOWED)
    settings = settings_row(is_portfolio=is_portfolio)
    server.set("GET", f"{SAPI}/account/info", Canned(json=settings))


@pytest.fixture
async def server() -> AsyncIterator[CannedVenue]:
    """USD-M shows nothing; what portfolio margin says is each test's affair."""
    async with canned_venue() as venue:
        server_ms = int((START_S + SERVER_AHEAD_S) * 1000)
        venue.set("GET", f"{V1}/time", Canned(json={"serverTime": server_ms}))
        venue.set("GET", f"{V1}/accountConfig", Canned(json=mode_row()))
        futures_hold(venue, is_something=False)
        yield venue


@pytest.fixture
def clock() -> HandClock:
    """Our clock."""
    return HandClock()


@pytest.fixture
async def venue(server: CannedVenue, clock: HandClock) -> AsyncIterator[BinanceFutures]:
    """An adapter that has asked nothing yet."""
    adapter = connect(server.url, clock)
    yield adapter
    await adapter.aclose()


@pytest.fixture
async def portfolio(server: CannedVenue, venue: BinanceFutures) -> BinanceFutures:
    """A started adapter of a portfolio-margin account with a long of 1.5 ETH."""
    portfolio_holds(server, "1150.75", um_row())
    await venue.start()
    return venue


def asked(server: CannedVenue) -> int:
    """How often portfolio margin was asked for its account."""
    return len(server.of("GET", f"{PAPI}/account"))


# --- which family -----------------------------------------------------------------------------


async def test_an_account_that_usd_m_shows_as_empty_is_found_in_portfolio_margin(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """Equity, profit, position and mode are those of the wallet, without any configuration."""
    reading = await portfolio.fetch_reading(SCOPE)
    assert (reading.equity, reading.wallet, reading.unrealised_pnl) == (1150.75, None, 150.75)
    assert [position.symbol for position in reading.positions] == [ETH]
    assert not reading.wallet_defines_equity
    assert reading.position_mode is PositionMode.ONE_WAY
    assert server.of("GET", f"{V1}/accountConfig") == []


async def test_an_account_that_usd_m_refuses_is_found_there_too(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Some are told that their key has no rights, which is what a revoked key is told."""
    for path in (f"{V3}/account", f"{V3}/positionRisk", f"{V1}/accountConfig"):
        server.set("GET", path, NOT_ALLOWED)
    portfolio_holds(server, "1150.75", um_row())
    await venue.start()
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75
    assert [position.symbol for position in await venue.fetch_positions(SCOPE)] == [ETH]


async def test_an_account_that_shows_something_is_never_asked_about_elsewhere(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Whatever portfolio margin would say."""
    futures_hold(server, is_something=True)
    portfolio_holds(server, "5")
    await venue.start()
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75
    assert asked(server) == 0


async def test_an_account_of_portfolio_margin_may_really_be_empty(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """It answered for itself: an equity of 0 is then an equity."""
    portfolio_holds(server, "0")
    reading = await venue.fetch_reading(SCOPE)
    assert (reading.equity, reading.positions, reading.coins) == (0, (), ())


async def test_an_ordinary_account_may_really_be_empty(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """Portfolio margin refuses it, and the owner's settings say why; asked every ten minutes."""
    portfolio_refuses(server)
    for elapsed_s, times in ((0.0, 1), (10.0, 1), (TEN_MINUTES_S - 11, 1), (2.0, 2)):
        clock.at += elapsed_s
        assert (await venue.fetch_reading(SCOPE)).equity == 0
        assert asked(server) == times
    assert await venue.fetch_positions(SCOPE) == ()


@pytest.mark.parametrize("failed", [BUSY, DOWN, Canned(how="cut"), Canned(json={}), Canned()])
async def test_a_probe_that_fails_proves_nothing(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock, failed: Canned
) -> None:
    """No reading, no positions, no orders: never an empty account. Tried again in a minute."""
    server.set("GET", f"{PAPI}/account", failed)
    for elapsed_s, times in ((0.0, 1), (59.0, 1), (2.0, 2)):
        clock.at += elapsed_s
        for read in (venue.fetch_reading, venue.fetch_positions, venue.fetch_orders):
            with pytest.raises(Unavailable, match="USD-M shows nothing"):
                await read(SCOPE)
        assert asked(server) == times
    portfolio_holds(server, "1150.75", um_row())
    clock.at += 61
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75


@pytest.mark.parametrize(
    "settings", [BUSY, NOT_ALLOWED, Canned(json={}), Canned(json=settings_row(is_portfolio=True))]
)
async def test_a_refused_probe_alone_proves_nothing(
    server: CannedVenue, venue: BinanceFutures, settings: Canned
) -> None:
    """A key without the right for portfolio margin is refused in the words for other accounts."""
    portfolio_refuses(server)
    server.set("GET", f"{SAPI}/account/info", settings)
    with pytest.raises(Unavailable, match="portfolio margin"):
        await venue.fetch_reading(SCOPE)


async def test_a_probe_that_fails_later_leaves_what_was_proved(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """An empty account stays empty through a minute in which nobody answers."""
    portfolio_refuses(server)
    assert (await venue.fetch_reading(SCOPE)).equity == 0
    server.set("GET", f"{PAPI}/account", BUSY)
    clock.at += TEN_MINUTES_S + 1
    assert (await venue.fetch_reading(SCOPE)).equity == 0
    assert asked(server) == 2


async def test_a_key_that_is_refused_everywhere_is_told_so(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """The cause is the key; that nothing proves a family is only its consequence."""
    for path in (f"{V3}/account", f"{V3}/positionRisk", f"{SAPI}/account/info"):
        server.set("GET", path, NOT_ALLOWED)
    portfolio_refuses(server)
    for settings in (NOT_ALLOWED, Canned(json=settings_row(is_portfolio=False))):
        server.set("GET", f"{SAPI}/account/info", settings)
        with pytest.raises(Unavailable, match=r"account: HTTP 401, code -2015"):
            await venue.fetch_reading(SCOPE)
        outcome = await venue.submit_close(close_of())
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.NOT_REACHED
        clock.at += 61


async def test_readings_at_once_ask_once(server: CannedVenue, venue: BinanceFutures) -> None:
    """A slow venue is read twice side by side."""
    portfolio_holds(server, "1150.75", um_row())
    readings = await asyncio.gather(*(venue.fetch_reading(SCOPE) for _ in range(3)))
    assert {reading.equity for reading in readings} == {1150.75}
    # Once to find it, and once for each reading.
    assert asked(server) == 4


@pytest.mark.parametrize("host", ["demo", "sandbox"])
async def test_a_practice_host_is_not_asked(server: CannedVenue, host: str) -> None:
    """It has no portfolio margin; an account that is empty there is empty."""
    name = {"demo": "demo-fapi.binance.com", "sandbox": "testnet.binancefuture.com"}[host]
    for path, answer in (
        ("v1/time", {"serverTime": 1}),
        ("v1/accountConfig", mode_row()),
        ("v3/account", NOTHING),
        ("v3/positionRisk", []),
    ):
        server.set("GET", f"/{name}/fapi/{path}", Canned(json=answer))
    flag: dict[str, Any] = {host: True}
    adapter = connect(server.url, **flag)
    assert (await adapter.fetch_reading(SCOPE)).equity == 0
    assert all(heard.path.startswith(f"/{name}/") for heard in server.heard)
    await adapter.aclose()


# --- a change while it runs -------------------------------------------------------------------


async def test_an_account_that_moves_into_portfolio_margin_is_followed(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """The first reading that shows nothing asks; it is no loss of everything."""
    futures_hold(server, is_something=True)
    await venue.start()
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75
    futures_hold(server, is_something=False)
    portfolio_holds(server, "1160", um_row(positionSide="LONG"))
    server.set("GET", f"{PAPI}/um/accountConfig", Canned(json=mode_row(is_hedge=True)))
    clock.at += 3
    reading = await venue.fetch_reading(SCOPE)
    assert (reading.equity, reading.position_mode) == (1160, PositionMode.HEDGE)
    assert len(server.of("GET", f"{PAPI}/um/accountConfig")) == 1
    server.set("POST", f"{PAPI}/um/order", filled)
    assert isinstance(await venue.submit_close(close_of()), Done)
    assert server.of("POST", f"{V1}/order") == []


async def test_what_was_told_of_an_empty_account_ends_when_it_shows_something(
    server: CannedVenue, venue: BinanceFutures, clock: HandClock
) -> None:
    """Emptied, filled and gone within ten minutes: the second time it is asked about anew."""
    portfolio_refuses(server)
    assert (await venue.fetch_reading(SCOPE)).equity == 0
    futures_hold(server, is_something=True)
    clock.at += 10
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75
    futures_hold(server, is_something=False)
    portfolio_holds(server, "1160", um_row())
    clock.at += 10
    assert (await venue.fetch_reading(SCOPE)).equity == 1160


async def test_while_nobody_says_where_it_went_nothing_is_read(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """A fall to zero that no probe confirms is a failure of the reading."""
    futures_hold(server, is_something=True)
    await venue.fetch_reading(SCOPE)
    futures_hold(server, is_something=False)
    server.set("GET", f"{PAPI}/account", BUSY)
    with pytest.raises(Unavailable, match="USD-M shows nothing"):
        await venue.fetch_reading(SCOPE)
    futures_hold(server, is_something=True)
    assert (await venue.fetch_reading(SCOPE)).equity == 1150.75


async def test_an_account_that_leaves_portfolio_margin_is_followed(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """Portfolio margin refuses it from then on, and USD-M shows it."""
    assert (await portfolio.fetch_reading(SCOPE)).equity == 1150.75
    portfolio_refuses(server)
    futures_hold(server, is_something=True)
    assert (await portfolio.fetch_reading(SCOPE)).wallet == 1000
    assert [position.symbol for position in await portfolio.fetch_positions(SCOPE)] == [ETH]
    server.set("POST", f"{V1}/order", filled)
    assert isinstance(await portfolio.submit_close(close_of()), Done)
    assert server.of("POST", f"{PAPI}/um/order") == []


async def test_one_that_left_with_nothing_is_believed_when_it_is_proved(
    server: CannedVenue, portfolio: BinanceFutures, clock: HandClock
) -> None:
    """Until the next asking it is not read; then the owner's settings tell."""
    portfolio_refuses(server)
    with pytest.raises(Unavailable, match="-2015"):
        await portfolio.fetch_reading(SCOPE)
    clock.at += TEN_MINUTES_S + 1
    assert (await portfolio.fetch_reading(SCOPE)).equity == 0


async def test_a_revoked_key_does_not_empty_a_portfolio(
    server: CannedVenue, portfolio: BinanceFutures, clock: HandClock
) -> None:
    """USD-M shows nothing, portfolio margin refuses, and the settings say that it is one."""
    portfolio_refuses(server, is_portfolio=True)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await portfolio.fetch_reading(SCOPE)
        with pytest.raises(Unavailable, match="positionRisk"):
            await portfolio.fetch_positions(SCOPE)
        clock.at += TEN_MINUTES_S + 1


# --- orders -----------------------------------------------------------------------------------


async def test_no_order_goes_where_nothing_was_proved(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """Closes, cancels and look-ups wait for a family; a refusal says that nothing was sent."""
    server.set("GET", f"{PAPI}/account", BUSY)
    order = resting(OrderKind.REGULAR)
    outcomes = [
        await venue.submit_close(close_of()),
        *await venue.submit_closes(closes(7)),
        await venue.submit_cancel(order),
        await venue.submit_cancel_all(SCOPE, ETH),
    ]
    for outcome in outcomes:
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.NOT_REACHED
        assert outcome.code == ""
    assert isinstance(await venue.find_order(SCOPE, OURS, ETH), Unknown)
    assert all(heard.method == "GET" for heard in server.heard)


async def test_positions_prove_a_family_when_the_account_is_at_fault(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """One endpoint that is down keeps nothing from being closed."""
    server.set("GET", f"{V3}/account", BUSY)
    server.set("GET", f"{V3}/positionRisk", Canned(json=[position_row()]))
    server.set("POST", f"{V1}/order", filled)
    assert [position.symbol for position in await venue.fetch_positions(SCOPE)] == [ETH]
    assert isinstance(await venue.submit_close(close_of()), Done)
    assert asked(server) == 0


async def test_no_positions_beside_an_account_at_fault_prove_nothing(
    server: CannedVenue, venue: BinanceFutures
) -> None:
    """They are what an account of portfolio margin shows there."""
    server.set("GET", f"{V3}/account", BUSY)
    for rows in (Canned(json=[]), Canned(json=None), BUSY):
        server.set("GET", f"{V3}/positionRisk", rows)
        with pytest.raises(Unavailable, match="account: HTTP 502"):
            await venue.fetch_positions(SCOPE)


def resting(kind: OrderKind) -> Order:
    """An order of a bot that rests."""
    return Order(
        scope=SCOPE,
        order_id=VenueOrderId("8001"),
        client_id=ClientOrderId("bot-1"),
        symbol=ETH,
        kind=kind,
        side=OrderSide.SELL,
        position_side=None,
        quantity=Decimal(1),
        reduce_only=True,
        close_position=False,
        order_type="LIMIT",
        price=Decimal(2200),
        trigger_price=None,
    )


@pytest.mark.parametrize(
    ("side", "mode", "expected"),
    [
        (Side.LONG, PositionMode.ONE_WAY, {"side": "SELL", "reduceOnly": "true"}),
        (Side.SHORT, PositionMode.ONE_WAY, {"side": "BUY", "reduceOnly": "true"}),
        (Side.LONG, PositionMode.HEDGE, {"side": "SELL", "positionSide": "LONG"}),
        (Side.SHORT, PositionMode.HEDGE, {"side": "BUY", "positionSide": "SHORT"}),
    ],
)
async def test_a_close_says_exactly_what_it_says_elsewhere(
    server: CannedVenue,
    portfolio: BinanceFutures,
    side: Side,
    mode: PositionMode,
    expected: dict[str, str],
) -> None:
    """One request to `um/order`, whose parameters can only make a position smaller."""
    server.set("POST", f"{PAPI}/um/order", filled)
    outcome = await portfolio.submit_close(close_of(side, mode))
    assert isinstance(outcome, Done)
    assert outcome.filled == Decimal("1.5")
    (heard,) = server.of("POST", f"{PAPI}/um/order")
    said = {name: text for name, text in heard.fields.items() if name not in SIGNED}
    assert said == {
        "symbol": "ETHUSDT",
        "type": "MARKET",
        "quantity": "1.5",
        "newClientOrderId": OURS,
        "newOrderRespType": "RESULT",
        **expected,
    }


SIGNED = frozenset({"timestamp", "recvWindow", "signature"})


async def test_many_closes_go_one_by_one(server: CannedVenue, portfolio: BinanceFutures) -> None:
    """There are no batches there; outcomes stand in their order."""

    def judge(heard: Heard) -> Canned:
        return error(-2022) if heard.fields["quantity"] == "3" else filled(heard)

    server.set("POST", f"{PAPI}/um/order", judge)
    wanted: list[CloseInstruction] = closes(12)
    outcomes = await portfolio.submit_closes(wanted)
    assert [isinstance(outcome, Refused) for outcome in outcomes] == [n == 2 for n in range(12)]
    assert len(server.of("POST", f"{PAPI}/um/order")) == 12
    assert [heard.path for heard in server.heard if heard.method == "POST"] == [
        f"{PAPI}/um/order"
    ] * 12


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        *((error(code, 400), None) for code in (-1000, -1001, -1006, -1007)),
        *((error(code, 503), None) for code in (-1000, -1001, -1006, -1007)),
        (Canned(text="", status=200), None),
        (Canned(json={}), None),
        (Canned(how="reset"), None),
        (error(-1, 400), None),
        (error(-2022), RefusalReason.NOTHING_TO_REDUCE),
        (error(-4118), RefusalReason.RESTING_ORDER_IN_THE_WAY),
        (error(-4061), RefusalReason.WRONG_POSITION_MODE),
        (error(-1008, 503), RefusalReason.RATE_LIMITED),
        (NOT_ALLOWED, RefusalReason.NOT_ALLOWED),
    ],
)
async def test_an_answer_proves_what_its_code_proves(
    server: CannedVenue, portfolio: BinanceFutures, answer: Canned, reason: RefusalReason | None
) -> None:
    """The library calls -1006 a bad response there and -1001 an error; neither proves anything."""
    server.set("POST", f"{PAPI}/um/order", answer)
    outcome = await portfolio.submit_close(close_of())
    if reason is None:
        assert isinstance(outcome, Unknown)
    else:
        assert isinstance(outcome, Refused)
        assert outcome.reason is reason
    assert server.of("POST", f"{V1}/order") == []


async def test_each_code_means_the_same_as_elsewhere(
    server: CannedVenue, portfolio: BinanceFutures, clock: HandClock
) -> None:
    """One table for both families, by the number alone."""
    found: dict[int, RefusalReason | None] = {}
    for code in CODES:
        server.set("POST", f"{PAPI}/um/order", error(code))
        found[code] = reason_of(await portfolio.submit_close(close_of()))
        clock.at += RESTS_S
    assert found == CODES


async def test_an_order_is_looked_up_by_our_own_id(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """Found with what it filled, not found, or no answer."""
    path = f"{PAPI}/um/order"
    row = um_order_row(clientOrderId=OURS, status="FILLED", executedQty="1.5")
    server.set("GET", path, Canned(json=row))
    found = await portfolio.find_order(SCOPE, OURS, ETH)
    assert isinstance(found, Done)
    assert found.filled == Decimal("1.5")
    (heard,) = server.of("GET", path)
    said = {name: text for name, text in heard.fields.items() if name not in SIGNED}
    assert said == {"symbol": "ETHUSDT", "origClientOrderId": OURS}
    server.set("GET", path, error(-2013))
    missing = await portfolio.find_order(SCOPE, OURS, ETH)
    assert isinstance(missing, Refused)
    assert missing.reason is RefusalReason.NO_SUCH_ORDER
    server.set("GET", path, DOWN)
    assert isinstance(await portfolio.find_order(SCOPE, OURS, ETH), Unknown)


async def test_both_kinds_of_orders_are_listed(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """The conditional ones live apart; a list that fails is no list."""
    orders = await portfolio.fetch_orders(SCOPE)
    assert [order.kind for order in orders] == [OrderKind.REGULAR, OrderKind.CONDITIONAL]
    for path in ("um/openOrders", "um/algo/openAlgoOrders"):
        portfolio_holds(server, "1150.75", um_row())
        for answer, fault in ((BUSY, Unavailable), (Canned(json={}), Malformed)):
            server.set("GET", f"{PAPI}/{path}", answer)
            with pytest.raises(fault):
                await portfolio.fetch_orders(SCOPE)


@pytest.mark.parametrize(
    ("kind", "path", "expected", "answer"),
    [
        (
            OrderKind.REGULAR,
            "um/order",
            {"symbol": "ETHUSDT", "orderId": "8001"},
            Canned(json=um_order_row(status="CANCELED")),
        ),
        (
            OrderKind.CONDITIONAL,
            "um/algo/order",
            {"symbol": "ETHUSDT", "algoId": "8001"},
            Canned(json={"complete": True}),
        ),
    ],
)
async def test_an_order_is_cancelled_where_its_kind_lives(
    server: CannedVenue,
    portfolio: BinanceFutures,
    kind: OrderKind,
    path: str,
    expected: dict[str, str],
    answer: Canned,
) -> None:
    """Done, gone already, or not proved."""
    server.set("DELETE", f"{PAPI}/{path}", answer)
    order = resting(kind)
    assert await portfolio.submit_cancel(order) == Done(order_id=order.order_id)
    (heard,) = server.of("DELETE", f"{PAPI}/{path}")
    said = {name: text for name, text in heard.fields.items() if name not in SIGNED}
    assert said == expected
    server.set("DELETE", f"{PAPI}/{path}", error(-2011))
    assert await portfolio.submit_cancel(order) == Done(order_id=order.order_id)
    server.set("DELETE", f"{PAPI}/{path}", Canned(json={"complete": False}))
    assert isinstance(await portfolio.submit_cancel(order), Unknown)


async def test_cancelling_all_takes_both_kinds(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """Done only when both are; the worse of two outcomes counts."""
    paths = (f"{PAPI}/um/allOpenOrders", f"{PAPI}/um/algo/allOpenOrders")
    done = Canned(json={"code": 200, "msg": "The operation of cancel all open order is done."})
    for first, second, expected in (
        (done, Canned(json={"code": "200", "msg": "done"}), Done),
        (done, BUSY, Unknown),
        (NOT_ALLOWED, done, Refused),
    ):
        for path, answer in zip(paths, (first, second), strict=True):
            server.set("DELETE", path, answer)
        assert isinstance(await portfolio.submit_cancel_all(SCOPE, ETH), expected)
    for path in paths:
        assert {heard.fields["symbol"] for heard in server.of("DELETE", path)} == {"ETHUSDT"}


# --- readings and records ---------------------------------------------------------------------


@pytest.mark.parametrize("leg", ["account", "balance", "um/positionRisk"])
async def test_a_reading_needs_all_legs(
    server: CannedVenue, portfolio: BinanceFutures, leg: str
) -> None:
    """One failing or damaged leg is no reading."""
    for answer, fault in (
        (BUSY, Unavailable),
        (Canned(text=""), Unavailable),
        (Canned(how="cut"), Unavailable),
        (DOWN, Unavailable),
        (Canned(json={}), Malformed),
        (Canned(json=[[]]), Malformed),
    ):
        server.set("GET", f"{PAPI}/{leg}", answer)
        with pytest.raises(fault):
            await portfolio.fetch_reading(SCOPE)
        with pytest.raises((Unavailable, Malformed)):
            await portfolio.fetch_reading(SCOPE)


async def test_debts_of_coins_are_read_with_their_price(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """2 BNB owed at 600 beside 3 held of another that has no price."""
    pots = [
        pot_row(),
        pot_row("BNB", "0", crossMarginBorrowed="1.9", crossMarginInterest="0.1"),
        pot_row("ODD", "3"),
    ]
    server.set("GET", f"{PAPI}/balance", Canned(json=pots))
    marks = [{"symbol": "BNBUSDT", "markPrice": "600"}]
    server.set("GET", f"{V1}/premiumIndex", Canned(json=marks))
    server.set("GET", f"{V1}/assetIndex", Canned(json=[]))
    reading = await portfolio.fetch_reading(SCOPE)
    assert [(coin.asset, coin.quantity, coin.price) for coin in reading.coins] == [
        ("BNB", Decimal("-2.0"), 600.0)
    ]
    assert reading.equity == 1150.75


def stamp(seconds_ago: float) -> int:
    """A time on the venue's clock."""
    return int((START_S + SERVER_AHEAD_S - seconds_ago) * 1000)


async def test_flows_are_what_crosses_the_border_of_the_account(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """A transfer in and one out; a move within the wallet is none, a fee and a result are kept."""
    income = [
        income_row(incomeType="TRANSFER", income="-40", tranId=5, time=stamp(50)),
        income_row(incomeType="COIN_SWAP_DEPOSIT", income="40", tranId=6, time=stamp(50)),
        income_row(incomeType="COMMISSION", income="-2", tranId=7, time=stamp(40)),
        income_row(incomeType="REALIZED_PNL", income="-30", tranId=8, time=stamp(40)),
        income_row(incomeType="FUNDING_FEE", income="-1", tranId=9, time=stamp(30)),
    ]
    server.set("GET", f"{PAPI}/um/income", Canned(json=income))

    def answer(heard: Heard) -> Canned:
        direction = heard.fields["type"]
        at = stamp(20 if direction == INTO else 10)
        row = transfer_row(70, type=direction, timestamp=at)
        return Canned(json={"total": 1, "rows": [row]})

    server.set("GET", f"{SAPI}/asset/transfer", answer)
    ledger = await portfolio.fetch_ledger(SCOPE, START_S - 60)
    assert [(entry.kind, entry.amount) for entry in ledger.entries] == [
        (LedgerKind.FEE, -2),
        (LedgerKind.REALISED, -30),
        (LedgerKind.FUNDING, -1),
        (LedgerKind.TRANSFER, 250),
        (LedgerKind.TRANSFER, -250),
    ]
    assert [round(START_S - entry.at) for entry in ledger.entries] == [40, 40, 30, 20, 10]
    assert len({entry.record_id for entry in ledger.entries}) == 5
    for heard in server.of("GET", f"{SAPI}/asset/transfer"):
        said = {name: text for name, text in heard.fields.items() if name not in SIGNED}
        assert said == {
            "type": said["type"],
            "startTime": str(stamp(60)),
            "endTime": str(stamp(0)),
            "current": "1",
            "size": "100",
        }
    assert {heard.fields["type"] for heard in server.of("GET", f"{SAPI}/asset/transfer")} == {
        INTO,
        OUT_OF,
    }
    assert server.of("GET", f"{V1}/income") == []


async def test_transfers_are_read_page_by_page(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """230 in one direction: three pages, each record once."""

    def answer(heard: Heard) -> Canned:
        if heard.fields["type"] == OUT_OF:
            return Canned(json={"total": 0, "rows": []})
        page, size = int(heard.fields["current"]), int(heard.fields["size"])
        numbers = range(230)[(page - 1) * size : page * size]
        rows = [transfer_row(n, timestamp=stamp(50)) for n in numbers]
        return Canned(json={"total": 230, "rows": rows})

    server.set("GET", f"{SAPI}/asset/transfer", answer)
    ledger = await portfolio.fetch_ledger(SCOPE, START_S - 60)
    assert len({entry.record_id for entry in ledger.entries}) == len(ledger.entries) == 230


@pytest.mark.parametrize(
    "rows",
    [
        {"total": 230, "rows": []},
        {"total": 2, "rows": [transfer_row()]},
        {"total": 99_999, "rows": [transfer_row(n) for n in range(100)]},
    ],
)
async def test_transfers_that_are_not_all_there_are_no_answer(
    server: CannedVenue, portfolio: BinanceFutures, rows: dict[str, Any]
) -> None:
    """A page that ends early, or more of them than are ever read."""

    def answer(heard: Heard) -> Canned:
        is_in = heard.fields["type"] == INTO
        return Canned(json=rows if is_in else {"total": 0, "rows": []})

    server.set("GET", f"{SAPI}/asset/transfer", answer)
    with pytest.raises(Unavailable, match="transfer"):
        await portfolio.fetch_ledger(SCOPE, START_S - 60)


@pytest.mark.parametrize("path", [f"{PAPI}/um/income", f"{SAPI}/asset/transfer"])
@pytest.mark.parametrize("answer", [NOT_ALLOWED, BUSY, DOWN])
async def test_records_of_one_kind_that_cannot_be_read_make_no_ledger(
    server: CannedVenue, portfolio: BinanceFutures, path: str, answer: Canned
) -> None:
    """Half of them would turn a withdrawal into a loss."""
    server.set("GET", path, answer)
    with pytest.raises(Unavailable):
        await portfolio.fetch_ledger(SCOPE, START_S - 60)


async def test_the_weight_told_by_one_host_holds_requests_to_that_host_alone(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """5,990 of 6,000 are used there, by whomever: readings rest, prices of USD-M do not."""
    used = {"X-MBX-USED-WEIGHT-1M": "5990"}
    answer = Canned(json=portfolio_answer(), headers=used)
    server.set("GET", f"{PAPI}/account", answer)
    marks = [{"symbol": "ETHUSDT", "markPrice": "2000"}]
    server.set("GET", f"{V1}/premiumIndex", Canned(json=marks))
    await portfolio.fetch_reading(SCOPE)
    with pytest.raises(Unavailable, match="held back by the venue's limits"):
        await portfolio.fetch_reading(SCOPE)
    assert await portfolio.fetch_marks((ETH,)) == {ETH: 2000}


async def test_the_mode_is_read_afresh_where_the_account_lives(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """Switched behind our back."""
    server.set("GET", f"{PAPI}/um/accountConfig", Canned(json=mode_row(is_hedge=True)))
    assert await portfolio.fetch_position_mode(SCOPE) is PositionMode.HEDGE
    assert server.of("GET", f"{V1}/accountConfig") == []


async def test_what_a_symbol_costs_is_asked_where_the_account_lives(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """And the right to trade is the one for portfolio margin."""
    fee = {"symbol": "ETHUSDT", "takerCommissionRate": "0.0004", "makerCommissionRate": "0.0002"}
    server.set("GET", f"{PAPI}/um/commissionRate", Canned(json=fee))
    rights = {
        "enableReading": True,
        "enableWithdrawals": False,
        "enableFutures": True,
        "enablePortfolioMarginTrading": False,
        "ipRestrict": True,
    }
    server.set("GET", f"{SAPI}/account/apiRestrictions", Canned(json=rights))
    told = await portfolio.inspect(SCOPE, (Symbol("ETHUSDT"),))
    assert told.costs[ETH].fee == 0.0004
    assert told.rights.can_trade is False
    assert told.rights.can_read_transfers is True
    server.set("GET", f"{SAPI}/asset/transfer", NOT_ALLOWED)
    told = await portfolio.inspect(SCOPE, ())
    assert told.rights.can_read_transfers is False


async def test_the_hedge_leg_shown_outranks_the_kept_mode(
    server: CannedVenue, portfolio: BinanceFutures
) -> None:
    """As everywhere: a held leg proves the mode."""
    legs = [um_row(positionSide="LONG"), um_row(positionSide="SHORT", positionAmt="-1")]
    server.set("GET", f"{PAPI}/um/positionRisk", Canned(json=legs))
    reading = await portfolio.fetch_reading(SCOPE)
    assert reading.position_mode is PositionMode.HEDGE
    assert [position.side for position in reading.positions] == [Side.LONG, Side.SHORT]
