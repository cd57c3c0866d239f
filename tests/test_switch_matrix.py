"""Whatever becomes of Redis, nothing of it loosens the switch: 32 guards on real redis-servers.

Each guard is assembled as the daemon is, with its own SQLite file, lock file and key prefix. What
Redis stands for and the local store are two numbers, and the greater of them counts.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import switch_rules
from clock import SystemClock
from commands.assembly import assemble
from decision import Decision
from logger import get_logger
from position_store import PositionStore
from settings import load_settings
from switch_model import SwitchMemory, SwitchState
from tests.redis_server import HOST, PASSWORD, RedisServer, free_port, redis_server
from tests.test_integration import ROOT, until

TABLE = """\
| Redis | stands for | local running | local pause | local halt | local kill |
|---|---|---|---|---|---|
| key missing, never seen | running | running | pause | halt | kill |
| flushed after a kill | kill | kill | kill | kill | kill |
| down at the start | halt | halt | halt | halt | kill |
| down later | halt | halt | halt | halt | kill |
| answers after 6 s | halt | halt | halt | halt | kill |
| wrong password | halt | halt | halt | halt | kill |
| unknown value | halt | halt | halt | halt | kill |
| back again, with running | running | running | pause | halt | kill |
"""
CELLS = {
    (mood, local): SwitchState(cell)
    for line in TABLE.splitlines()[2:]
    for mood, _, *cells in (tuple(word.strip() for word in line.strip("|").split("|")),)
    for local, cell in zip(SwitchState, cells, strict=True)
}
STANDS_FOR = {
    cells[0]: SwitchState(cells[1])
    for line in TABLE.splitlines()[2:]
    for cells in ([word.strip() for word in line.strip("|").split("|")],)
}
KEY = "trading_switch"
SILENT_WITHIN_S = 5.0


def test_the_page_shows_this_table_and_each_cell_is_the_greater_of_two() -> None:
    """8 moods x 4 states = 32; kill > halt > pause > running."""
    assert TABLE in (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
    assert len(CELLS) == 32
    for (mood, local), cell in CELLS.items():
        assert cell.severity == max(STANDS_FOR[mood].severity, local.severity), (mood, local)


@dataclass(kw_only=True)
class Row:
    """One guard: what its local store holds, and every state that it came to, in order."""

    mood: str
    local: SwitchState
    folder: Path
    prefix: str
    came_to: list[SwitchState] = field(default_factory=list)
    known: SwitchMemory = field(default_factory=SwitchMemory)

    @property
    def expected(self) -> SwitchState:
        """The cell of the table."""
        return CELLS[self.mood, self.local]

    def watch(self, decision: Decision) -> None:
        """Remember what a decision made of the switch."""
        self.known = decision.memory.switch
        self.came_to.append(switch_rules.effective(self.known))

    def has_seen(self, state: SwitchState) -> bool:
        """Whether the guard has read that in Redis."""
        return self.known.redis is not None and self.known.redis.state is state

    def shown(self) -> SwitchState:
        """What the lock file says."""
        document = json.loads((self.folder / "trading_lock.json").read_text(encoding="utf-8"))
        modes = [
            lock["mode"]
            for lock in document["locks"]
            if lock["scope"] == "*" and lock["reason"].startswith("operator_")
        ]
        return SwitchState(modes[0]) if modes else SwitchState.RUNNING

    async def until_shown(self, state: SwitchState) -> None:
        """Wait until bots see it."""
        await until(lambda: self.shown() is state)

    def stays_at_least(self, state: SwitchState, *, since: int) -> bool:
        """Whether no decision since then came to less."""
        return all(found.severity >= state.severity for found in self.came_to[since:])


def rows_of(mood: str, folder: Path) -> list[Row]:
    """The four guards of one mood, each with what its local store holds."""
    rows = []
    for local in SwitchState:
        name = f"{mood}-{local}".replace(" ", "-").replace(",", "")
        home = folder / name
        home.mkdir()
        store = PositionStore.open(home / "killswitch.db", rng=random.Random(1))
        store.set_switch(local, actor="anna", reason="", now=1.0)
        store.close()
        rows.append(Row(mood=mood, local=local, folder=home, prefix=f"{name}:"))
    return rows


@asynccontextmanager
async def running(row: Row, *, port: int, password: str = PASSWORD) -> AsyncIterator[None]:
    """The guard of a row, once its first lock stands; no account has keys, and none is asked."""
    config = row.folder / "config.yaml"
    config.write_text(
        "dry_run: true\nstate_db: killswitch.db\ntrading_lock_file: trading_lock.json\n"
        "exchanges:\n  binance:\n    enabled: true\n    simulator_url: http://127.0.0.1:9\n"
        f"operator_switch:\n  redis:\n    enabled: true\n    key_prefix: '{row.prefix}'\n",
        encoding="utf-8",
    )
    login = {"REDIS_HOST": HOST, "REDIS_PORT": str(port), "REDIS_PASSWORD": password}
    settings = load_settings(config, login, require_venues=False)
    log, ready = get_logger("test"), asyncio.Event()
    async with assemble(settings, clock=SystemClock(), log=log, on_decision=row.watch) as guard:
        task = asyncio.create_task(guard.guardian.run(on_ready=ready.set))
        try:
            await asyncio.wait_for(ready.wait(), 30)
            yield
        finally:
            guard.guardian.stop()
            await task


async def all_shown(rows: list[Row], state: Callable[[Row], SwitchState]) -> None:
    """Wait until bots of every row see its state."""
    await asyncio.gather(*(row.until_shown(state(row)) for row in rows))


def local_of(row: Row) -> SwitchState:
    """What the row's local store holds, and the guard obeys while Redis says running."""
    return row.local


async def keys_are_written(rows: list[Row], server: RedisServer) -> None:
    """Wait until each guard has written its missing key."""
    for row in rows:

        async def has_key(key: str = row.prefix + KEY) -> bool:
            return await server.cli("GET", key) == "running"

        await until(has_key)
    await until(lambda: all(row.has_seen(SwitchState.RUNNING) for row in rows))


async def hold(rows: list[Row], since: dict[str, int]) -> None:
    """The table's cell is shown, and nothing since came to less."""
    await all_shown(rows, lambda row: row.expected)
    looks = {row.prefix: len(row.came_to) for row in rows}
    await asyncio.sleep(0.6)
    for row in rows:
        assert row.shown() is row.expected, row
        assert row.stays_at_least(row.expected, since=since[row.prefix]), row
        assert len(row.came_to) >= looks[row.prefix]


def marks(rows: list[Row]) -> dict[str, int]:
    """How many decisions each guard has taken by now."""
    return {row.prefix: len(row.came_to) for row in rows}


def from_the_start(rows: list[Row]) -> dict[str, int]:
    """Every decision counts."""
    return dict.fromkeys((row.prefix for row in rows), 0)


async def play(
    mood: str, folder: Path, server: RedisServer | None, *, password: str = PASSWORD
) -> None:
    """The story of one mood with its four guards."""
    rows = rows_of(mood, folder)
    port = free_port() if server is None else server.port
    if mood == "unknown value":
        assert server is not None
        for row in rows:
            await server.cli("SET", row.prefix + KEY, "stop it")
    async with AsyncExitStack() as guards:
        for row in rows:
            await guards.enter_async_context(running(row, port=port, password=password))
        await STORIES[mood](rows, server, folder)


async def at_once(rows: list[Row], server: RedisServer | None, folder: Path) -> None:
    """What stands there at the start counts from the first decision on."""
    del server, folder
    await hold(rows, from_the_start(rows))


async def flushed(rows: list[Row], server: RedisServer | None, folder: Path) -> None:
    """All four have seen a kill when the server loses everything."""
    del folder
    assert server is not None
    await keys_are_written(rows, server)
    for row in rows:
        await server.cli("SET", row.prefix + KEY, "kill")
    await until(lambda: all(row.has_seen(SwitchState.KILL) for row in rows))
    await all_shown(rows, lambda row: SwitchState.KILL)
    since = marks(rows)
    await server.cli("FLUSHALL")
    await hold(rows, since)
    for row in rows:
        assert await server.cli("GET", row.prefix + KEY) == "kill"


async def down_later(rows: list[Row], server: RedisServer | None, folder: Path) -> None:
    """The server ends after each guard has read running from it."""
    del folder
    assert server is not None
    await keys_are_written(rows, server)
    await all_shown(rows, local_of)
    since = marks(rows)
    await server.stop()
    await all_shown(rows, lambda row: row.expected)
    assert all(row.stays_at_least(row.local, since=since[row.prefix]) for row in rows)
    await hold(rows, marks(rows))


async def slow(rows: list[Row], server: RedisServer | None, folder: Path) -> None:
    """It takes every command and answers none within 5 s."""
    del folder
    assert server is not None
    await keys_are_written(rows, server)
    await all_shown(rows, local_of)
    since = marks(rows)
    with server.hanging():
        await asyncio.sleep(SILENT_WITHIN_S)
        await all_shown(rows, lambda row: row.expected)
        assert all(row.stays_at_least(row.local, since=since[row.prefix]) for row in rows)
        await hold(rows, marks(rows))


async def back_again(rows: list[Row], server: RedisServer | None, folder: Path) -> None:
    """It ends, every guard halts; it comes back without its data, is told what was known."""
    assert server is not None
    await keys_are_written(rows, server)
    await all_shown(rows, local_of)
    await server.stop()
    await all_shown(rows, lambda row: max(row.local, SwitchState.HALT, key=lambda s: s.severity))
    since = marks(rows)
    async with redis_server(folder, port=server.port):
        await hold(rows, since)


STORIES: dict[str, Callable[[list[Row], RedisServer | None, Path], Awaitable[None]]] = {
    "key missing, never seen": at_once,
    "flushed after a kill": flushed,
    "down at the start": at_once,
    "down later": down_later,
    "answers after 6 s": slow,
    "wrong password": at_once,
    "unknown value": at_once,
    "back again, with running": back_again,
}
NEEDS_ITS_OWN = (
    "flushed after a kill",
    "down later",
    "answers after 6 s",
    "back again, with running",
)


@pytest.mark.usefixtures("without_fsync")
async def test_no_mood_of_redis_loosens_what_the_operator_wants(tmp_path: Path) -> None:
    """32 rows side by side; the lock file of each shows its cell of the table (lesson 17)."""
    assert set(STORIES) == set(STANDS_FOR)
    async with AsyncExitStack() as servers:
        shared = await servers.enter_async_context(redis_server(tmp_path, port=free_port()))
        its_own = {
            mood: await servers.enter_async_context(redis_server(tmp_path, port=free_port()))
            for mood in NEEDS_ITS_OWN
        }
        async with asyncio.TaskGroup() as stories:
            for mood in STORIES:
                server = its_own.get(mood, None if mood == "down at the start" else shared)
                password = "not-the-password" if mood == "wrong password" else PASSWORD
                stories.create_task(play(mood, tmp_path, server, password=password))
