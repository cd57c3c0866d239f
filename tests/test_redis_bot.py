"""The Redis example against a real redis-server: it obeys the switch, and silence as halt."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.bot_process import EXAMPLES, Bot, bot
from tests.redis_server import RedisServer, free_port, redis_server, redis_url

DRIVER = """
import sys, redis_bot
class Told(redis_bot.Bot):
    def take_signals(self): print("signals", flush=True)
    def look_after_orders(self): print("orders", flush=True)
    def close(self): print("closing", flush=True)
redis_bot.PAUSE_S = 0.02
redis_bot.PATIENCE_S = 0.5
redis_bot.main(sys.argv[1], Told())
"""
TURNS = {"running": ["orders", "signals"], "pause": ["orders"], "halt": []}


@asynccontextmanager
async def obeying(folder: Path, url: str) -> AsyncIterator[Bot]:
    """The example as a process of its own, whose strategy tells when it is called."""
    path = os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    async with bot(sys.executable, "-c", DRIVER, url, cwd=folder, env=environment) as running:
        yield running


async def assert_settles(running: Bot, state: str) -> None:
    """From some turn on the bot does what the state allows, and nothing else."""
    await running.until(state)
    for _ in range(3):
        told = [await running.line() for _ in TURNS[state]]
        assert told == TURNS[state]
        while (line := await running.line()).startswith("redis: "):
            pass
        assert line == state


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server that holds nothing yet."""
    async with redis_server(tmp_path, port=free_port()) as running:
        yield running


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("running", "running"),
        (" Pause ", "pause"),
        ("HALT", "halt"),
        ("stop", "halt"),
        ("", "halt"),
        ("runn\xefng", "halt"),
        (None, "halt"),
    ],
)
async def test_the_redis_bot_does_what_the_switch_allows(
    tmp_path: Path, server: RedisServer, value: str | None, state: str
) -> None:
    """Trimmed, in any case; what is unknown or not there counts as halt."""
    if value is not None:
        await server.cli("SET", "trading_switch", value)
    async with obeying(tmp_path, redis_url(server.port)) as running:
        await assert_settles(running, state)


async def test_the_redis_bot_follows_the_switch_and_ends_at_kill(
    tmp_path: Path, server: RedisServer
) -> None:
    """It closes its own affairs once; started again under kill it does nothing but end."""
    async with obeying(tmp_path, redis_url(server.port)) as running:
        for state in ("running", "pause", "halt", "running"):
            await server.cli("SET", "trading_switch", state)
            await assert_settles(running, state)
        await server.cli("SET", "trading_switch", "kill")
        await running.until("closing")
        assert await running.line() == "kill: closed"
        assert await running.ended() == 0
    async with obeying(tmp_path, redis_url(server.port)) as again:
        assert await again.line() == "closing"
        assert await again.line() == "kill: closed"


async def test_the_redis_bot_halts_while_redis_cannot_be_heard(tmp_path: Path) -> None:
    """Down at the start, up, hanging, gone; back again it is heard at once."""
    port = free_port()
    async with obeying(tmp_path, redis_url(port)) as running:
        await assert_settles(running, "halt")
        async with redis_server(tmp_path, port=port) as server:
            await server.cli("SET", "trading_switch", "running")
            await assert_settles(running, "running")
            server.process.send_signal(signal.SIGSTOP)
            await running.until("redis: TimeoutError")
            await assert_settles(running, "halt")
            server.process.send_signal(signal.SIGCONT)
            await assert_settles(running, "running")
        await running.until("redis: ConnectionError")
        await assert_settles(running, "halt")
        async with redis_server(tmp_path, port=port) as server:
            await server.cli("SET", "trading_switch", "pause")
            await assert_settles(running, "pause")


async def test_the_redis_bot_halts_when_its_login_is_refused(
    tmp_path: Path, server: RedisServer
) -> None:
    """A wrong password, and a key of another kind, are not `running`."""
    await server.cli("SET", "trading_switch", "running")
    async with obeying(tmp_path, redis_url(server.port, password="wrong")) as running:
        assert await running.line() == "redis: AuthenticationError"
        await assert_settles(running, "halt")
    await server.cli("DEL", "trading_switch")
    await server.cli("LPUSH", "trading_switch", "running")
    async with obeying(tmp_path, redis_url(server.port)) as running:
        assert await running.line() == "redis: ResponseError"
        await assert_settles(running, "halt")
