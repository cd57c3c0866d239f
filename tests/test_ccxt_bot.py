"""The ccxt example against the simulated exchange: locked it opens nothing, and still closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from examples.ccxt_loop import turn
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from model import Stage
from tests.simulated import KEY, LINEAR_ONLY, SECRET, Simulated, redirect, seed, simulated
from trading_lock import LockFile

NOW = 1_800_000_000.0
STAGE_1 = LockEntry(
    scope="binance_futures",
    stage=Stage.REDUCED_TOP_RISK,
    mode=LockMode.STAGE,
    reason="killswitch_stage_1_close_top_risk_contributors",
    created_ts=NOW,
    expires_ts=FOREVER_TS,
)
LOCKED = f"opens nothing: {STAGE_1.reason}"
MARKET = {"symbol": "BTCUSDT", "depth": None}


@pytest.fixture
def client() -> Iterator[Any]:
    """The client that a user's bot has: synchronous, as it comes."""
    made = ccxt.binanceusdm({"apiKey": KEY, "secret": SECRET, "options": dict(LINEAR_ONLY)})
    made.enableRateLimit = False
    with closing(made.session):
        yield made


def turns_at(
    venue: Simulated, client: Any, lock: Path
) -> Callable[[float], Awaitable[tuple[str, str]]]:
    """One turn of the bot at a price: what it says, and what the account holds afterwards."""
    redirect(client, venue.url)

    async def at(price: float) -> tuple[str, str]:
        venue.exchange.set_prices({"BTCUSDT": price})
        said = await asyncio.to_thread(turn, client, str(lock))
        legs = venue.exchange.account(KEY).legs.values()
        return said, str(sum((leg.amount for leg in legs), Decimal()))

    return at


async def test_the_ccxt_bot_opens_only_while_the_lock_is_free(tmp_path: Path, client: Any) -> None:
    """Nobody guards: nothing. Free: opens. Locked: closes what it has, and opens nothing more."""
    lock = tmp_path / "trading_lock.json"
    writer = LockFile(lock, pid=1, host="here")
    async with simulated(seed(positions=[], markets=[MARKET])) as venue:
        at = turns_at(venue, client, lock)
        assert await at(61_000) == ("opens nothing: lock_missing", "0")
        writer.replace(LockContent().to_document(NOW))
        assert await at(61_000) == ("opened 0.01", "0.01")
        assert await at(61_000) == ("nothing to do", "0.01")
        writer.replace(LockContent(locks=(STAGE_1,)).to_document(NOW))
        assert await at(59_000) == ("closed 0.01", "0")
        assert await at(61_000) == (LOCKED, "0")
        writer.replace(LockContent().to_document(NOW))
        assert await at(61_000) == ("opened 0.01", "0.01")


async def test_the_ccxt_bot_opens_nothing_while_the_guard_is_silent(
    tmp_path: Path, client: Any
) -> None:
    """The file still says free, but the heartbeat is an hour old."""
    lock = tmp_path / "trading_lock.json"
    LockFile(lock, pid=1, host="here", now=lambda: NOW).replace(LockContent().to_document(NOW))
    async with simulated(seed(positions=[], markets=[MARKET])) as venue:
        at = turns_at(venue, client, lock)
        assert await at(61_000) == ("opens nothing: lock_stale", "0")
