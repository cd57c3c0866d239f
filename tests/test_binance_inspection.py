"""What Binance tells about key, clock and other wallets, and what is made of answers that fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from clock import SystemClock
from errors import Malformed
from inspection import (
    AccountFamily,
    DeadManState,
    Inspection,
    NotTold,
    Presence,
    Unwatched,
)
from model import ScopeId, Symbol
from simulator.faults import Fault, FaultKind
from tests.simulated import KEY, SECRET, Simulated, seed, simulated
from venues.access import Access
from venues.binance import BinanceFutures
from venues.binance_inspection import parse_fee, parse_restrictions, parse_spreads

SCOPE = ScopeId("binance_futures")
BTC, SOL = Symbol("BTCUSDT"), Symbol("SOLUSDT")
RESTRICTIONS = {
    "ipRestrict": True,
    "createTime": 1698645219000,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "enableFutures": True,
    "permitsUniversalTransfer": False,
    "enableVanillaOptions": False,
    "enableSpotAndMarginTrading": False,
    "enablePortfolioMarginTrading": False,
}
"""The venue's own keys, as it documents them."""


@asynccontextmanager
async def connected(**changes: Any) -> AsyncIterator[tuple[Simulated, BinanceFutures]]:
    """A simulated account and an adapter that is connected to it."""
    async with simulated(seed(**changes)) as at:
        venue = BinanceFutures(
            scope=SCOPE,
            access=Access(
                credentials={"apiKey": KEY, "secret": SECRET},
                simulator_url=at.url,
            ),
            clock=SystemClock(),
            stables=("USDT", "USDC"),
        )
        try:
            await venue.start()
            yield at, venue
        finally:
            await venue.aclose()


async def inspect(*symbols: Symbol, **changes: Any) -> Inspection:
    """What the venue tells of an account."""
    async with connected(**changes) as (_, venue):
        return await venue.inspect(SCOPE, symbols)


def parts(told: Inspection) -> dict[str, Unwatched]:
    """What is not watched, by name."""
    return {part.part: part for part in told.unwatched}


# --- answers ----------------------------------------------------------------------------------


def test_the_restrictions_of_a_key_are_read_by_their_names() -> None:
    """Every right that a guard cares for; records are not among them."""
    rights = parse_restrictions(RESTRICTIONS)
    assert (rights.can_read, rights.can_trade, rights.can_withdraw) == (True, True, False)
    assert rights.is_bound_to_ip is True
    assert rights.can_read_transfers is rights.expires_at is None


def test_a_trading_right_that_ends_is_told() -> None:
    """In milliseconds there, in seconds here."""
    ending = {**RESTRICTIONS, "tradingAuthorityExpirationTime": 1628985600000}
    assert parse_restrictions(ending).expires_at == 1_628_985_600.0


@pytest.mark.parametrize("name", ["enableWithdrawals", "enableFutures", "enableReading"])
@pytest.mark.parametrize("value", [None, "", "yes"])
def test_a_right_that_makes_no_sense_is_no_right(name: str, value: object) -> None:
    """Missing is never False: it would pass for a key that cannot withdraw."""
    with pytest.raises(Malformed):
        parse_restrictions({**RESTRICTIONS, name: value})


def test_a_spread_is_a_fraction_of_the_middle() -> None:
    """Bid 99.9, ask 100.1: 0.2 of 100."""
    rows = [{"symbol": "SOLUSDT", "bidPrice": "99.9", "askPrice": "100.1"}]
    assert parse_spreads(rows) == {SOL: pytest.approx(0.002)}


@pytest.mark.parametrize(
    ("bid", "ask"), [("0", "0"), ("0", "100"), ("101", "100"), ("", "100"), ("99", None)]
)
def test_a_book_without_both_sides_has_no_spread(bid: object, ask: object) -> None:
    """Nor does one that is crossed; the other books are read all the same."""
    rows = [
        {"symbol": "XRPUSDT", "bidPrice": bid, "askPrice": ask},
        {"symbol": "SOLUSDT", "bidPrice": "100", "askPrice": "100"},
    ]
    assert parse_spreads(rows) == {SOL: 0.0}


def test_the_fee_is_the_takers() -> None:
    """Closes are market orders."""
    answer = {
        "symbol": "BTCUSDT",
        "makerCommissionRate": "0.0002",
        "takerCommissionRate": "0.0004",
    }
    assert parse_fee(answer) == 0.0004


# --- on the wire ------------------------------------------------------------------------------


async def test_an_ordinary_account_is_told_whole() -> None:
    """No part of it is left open, and nothing is elsewhere."""
    told = await inspect(BTC, SOL)
    assert told.family is AccountFamily.SINGLE_ASSET
    assert told.unwatched == ()
    assert told.rights.reason == ""
    assert told.dead_man.state is DeadManState.NOT_TOLD
    assert {symbol: cost.fee for symbol, cost in told.costs.items()} == {BTC: 0.0005, SOL: 0.0005}
    assert {cost.spread for cost in told.costs.values()} == {0.0}


async def test_inspecting_changes_nothing() -> None:
    """Only GETs, and one question about fees for all contracts of one quote."""
    async with connected() as (at, venue):
        await venue.inspect(SCOPE, (BTC, SOL))
        asked = [(entry.method, entry.path) for entry in at.service.log]
    assert {method for method, _ in asked} == {"GET"}
    assert asked.count(("GET", "/fapi/v1/commissionRate")) == 1


async def test_without_symbols_no_costs_are_asked_for() -> None:
    """An account without positions."""
    async with connected() as (at, venue):
        told = await venue.inspect(SCOPE, ())
        assert told.costs == {}
        assert not any("bookTicker" in entry.path for entry in at.service.log)


async def test_other_wallets_are_named_with_what_they_hold() -> None:
    """Up to four assets each; a coin of zero is none."""
    held = {
        "spot": {"BTC": "0.1", "ETH": 0},
        "margin": {"USDT": 5},
        "coin_margined": {"ETH": 2},
        "options": dict.fromkeys(("A", "B", "C", "D", "E", "F"), 1),
    }
    found = parts(await inspect(elsewhere=held, sub_accounts=3))
    assert {name: part.detail for name, part in found.items()} == {
        "spot": "BTC",
        "cross margin": "USDT",
        "coin-margined futures": "ETH",
        "options": "A, B, C, D and 2 more",
        "sub-accounts": "3 with keys of their own",
    }
    assert {part.presence for part in found.values()} == {Presence.HOLDS}
    assert found["spot"].covered_by == "binance_spot"


async def test_a_portfolio_margin_account_beside_one_of_usd_m_is_named() -> None:
    """USD-M showed something, so that it is watched; what the other one holds is not."""
    told = await inspect(elsewhere={"portfolio_margin": {"USD": 5000}})
    assert told.family is AccountFamily.PORTFOLIO_MARGIN
    found = parts(told)["portfolio margin"]
    assert found.presence is Presence.INSTEAD
    assert "5,000.00" in found.detail


async def test_a_multi_assets_account_says_so() -> None:
    """Its coins count."""
    told = await inspect(multi_assets=True, wallet={"USDT": 10000, "BTC": 1})
    assert told.family is AccountFamily.MULTI_ASSETS


@pytest.mark.parametrize(
    ("path", "code", "status"),
    [("/dapi/v1/balance", -2015, 401), ("/papi/v1/account", -1000, 500)],
)
async def test_a_wallet_that_cannot_be_looked_at_is_named(
    path: str, code: int, status: int
) -> None:
    """Not seen is not empty; only portfolio margin refuses everybody who has none."""
    async with connected() as (at, venue):
        at.service.plan.add(
            Fault(kind=FaultKind.ERROR, path=path, code=code, status=status, message="no")
        )
        told = await venue.inspect(SCOPE, ())
    (found,) = told.unwatched
    assert found.presence is Presence.UNSEEN
    assert str(code) in found.detail
    assert told.family is AccountFamily.SINGLE_ASSET


async def test_records_that_fail_for_another_reason_leave_the_right_open() -> None:
    """A refusal of the key proves that it may not, a server error proves nothing."""
    async with connected() as (at, venue):
        at.service.plan.add(
            Fault(kind=FaultKind.ERROR, path="/fapi/v1/income", code=-1000, status=500)
        )
        told = await venue.inspect(SCOPE, ())
    assert told.rights.can_read_transfers is None
    assert "-1000" in told.rights.reason


async def test_an_account_that_may_not_trade_is_read_only_whatever_its_key_may() -> None:
    """The account's own flag outranks the key's right."""
    async with connected() as (at, venue):
        at.service.plan.add(
            Fault(
                kind=FaultKind.ANSWER_BEFORE,
                path="/fapi/v1/accountConfig",
                body='{"canTrade": false, "dualSidePosition": false, "multiAssetsMargin": false}',
                status=200,
            )
        )
        told = await venue.inspect(SCOPE, ())
    assert told.rights.can_trade is False


async def test_a_clock_that_makes_no_sense_is_not_told() -> None:
    """Neither the time nor the round trip is believed."""
    async with connected() as (at, venue):
        at.service.plan.add(
            Fault(kind=FaultKind.ANSWER_BEFORE, path="/fapi/v1/time", body="{}", status=200)
        )
        told = await venue.inspect(SCOPE, ())
    assert isinstance(told.latency_s, NotTold)
    assert isinstance(told.server_offset_s, NotTold)


async def test_the_clock_of_the_venue_is_told_although_requests_are_signed_with_it() -> None:
    """Two seconds ahead of this machine's."""
    told = await inspect(clock_offset_s=2)
    assert told.server_offset_s == pytest.approx(2.0, abs=0.3)


async def test_a_demo_account_has_no_rights_to_tell() -> None:
    """The host that tells them is not part of the demo, and that is said."""
    venue = BinanceFutures(
        scope=SCOPE,
        access=Access(
            credentials={"apiKey": KEY, "secret": SECRET},
            demo=True,
            simulator_url="http://127.0.0.1:9",
        ),
        clock=SystemClock(),
        stables=("USDT",),
    )
    try:
        told = await venue.inspect(SCOPE, ())
    finally:
        await venue.aclose()
    assert told.rights.can_withdraw is None
    assert told.rights.reason.startswith("not offered here, as in demo and testnet")
