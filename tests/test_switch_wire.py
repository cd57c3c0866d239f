"""The operator's switch on the wire: a real guard, the real redis-server and redis-cli, HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from model import Stage
from simulator.exchange import Exchange
from simulator.seeds import order_request
from simulator.state import Cause
from store.views import read_status
from tests.redis_server import HOST, PASSWORD, RedisServer, free_port, redis_server
from tests.simulated import KEY, SECRET, seed, simulated
from tests.test_integration import Place, until
from tests.venue_rigs import PASSPHRASE, WAYS

VENUES = ("binance", "bybit", "bitget")


@asynccontextmanager
async def three_venues(
    folder: Path,
) -> AsyncIterator[tuple[RedisServer, Place, dict[str, Exchange]]]:
    """Three exchanges, a Redis, and where a guard of all three is started."""
    lines = ["dry_run: false", "poll_seconds: 2", "alert_poll_seconds: 2", "exchanges:"]
    keys = {"REDIS_PASSWORD": PASSWORD, "REDIS_HOST": HOST}
    exchanges: dict[str, Exchange] = {}
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder, port=free_port()))
        keys["REDIS_PORT"] = str(redis.port)
        for name in VENUES:
            exchange_id, dialect, changes = WAYS[name]
            content = seed(api_key=key_of(name), **changes)
            venue = await stack.enter_async_context(simulated(content, venue=dialect))
            exchanges[name] = venue.exchange
            lines += [f"  {exchange_id}:", "    enabled: true", f"    simulator_url: {venue.url}"]
            keys |= {f"{name.upper()}_API_KEY": key_of(name), f"{name.upper()}_API_SECRET": SECRET}
        keys["BITGET_PASSWORD"] = PASSPHRASE
        lines.insert(1, "trading_lock_file: lock/trading_lock.json")
        (folder / "config.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield redis, Place(folder=folder, keys=keys), exchanges


def key_of(name: str) -> str:
    """The key of an account; no two of them may be one."""
    return f"{KEY}-{name}"


async def test_redis_cli_pauses_halts_and_kills_three_venues(tmp_path: Path) -> None:
    """Pause: only the lock changes. Halt: entry orders go. Kill: flat everywhere, LOCKDOWN."""
    async with three_venues(tmp_path) as (redis, here, exchanges), here.daemon():

        def are_seen() -> bool:
            scopes = read_status(here.db_path, dry_run=False).scopes
            return len([scope for scope in scopes if scope.trusted_at]) == len(VENUES)

        def orders() -> list[int]:
            return [len(one.account(key_of(name)).orders) for name, one in exchanges.items()]

        def held() -> list[bool]:
            return [
                any(one.amount(key_of(name), symbol) for symbol in ("BTCUSDT", "SOLUSDT"))
                for name, one in exchanges.items()
            ]

        await until(are_seen)
        await until(here.bot_may_trade)
        assert await redis.cli("GET", "trading_switch") == "running"
        entry = {"symbol": "XRPUSDT", "side": "BUY", "type": "LIMIT", "quantity": 100}
        for name, exchange in exchanges.items():
            resting = order_request({**entry, "price": "0.4"}, cause=Cause.BOT)
            exchange.place(key_of(name), resting)

        await redis.cli("SET", "trading_switch", "pause")
        await until(lambda: here.lock()["mode"] == "pause", within_s=10)
        await here.beat(4)
        assert orders() == [1, 1, 1]

        await redis.cli("SET", "trading_switch", "halt")
        await until(lambda: not any(orders()), within_s=10)
        assert here.lock()["mode"] == "halt"
        assert held() == [True, True, True]

        await redis.cli("SET", "trading_switch", "kill")
        await until(lambda: not any(held()), within_s=10)
        await until(lambda: here.lock()["mode"] == "kill", within_s=10)
        books = read_status(here.db_path, dry_run=False).books
        assert [book.stage for book in books] == [Stage.LOCKDOWN] * len(VENUES)
        await until(lambda: here.events().count("incident_done") == len(VENUES), within_s=30)
        assert not here.bot_may_trade()
        mirrored = json.loads(await redis.cli("GET", "killswitch:trading_lock"))
        assert mirrored["mode"] == "kill"
        assert "task_failed" not in here.events()
