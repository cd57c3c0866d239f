"""`switch` as an operator types it: real processes, a real daemon, a real redis-server."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.redis_server import HOST, PASSWORD, RedisServer, free_port, redis_server
from tests.simulated import KEY as VENUE_KEY
from tests.simulated import seed, simulated
from tests.test_integration import BOOK, Place, Running, place, until
from tests.warm_start import WarmProcess

KEY = "trading_switch"


def with_redis(here: Place, port: int) -> Place:
    """The same folder whose guard and commands find a Redis on this machine."""
    login = {"REDIS_HOST": HOST, "REDIS_PORT": str(port), "REDIS_PASSWORD": PASSWORD}
    return replace(here, keys={**here.keys, **login})


def shown(here: Place) -> str | None:
    """The state of the switch that bots see in the lock file, None without an operator's lock."""
    locks = [
        lock
        for lock in here.lock()["locks"]
        if lock["reason"].startswith("operator_") and lock["scope"] == "*"
    ]
    return locks[0]["mode"] if locks else None


def row(here: Place) -> tuple[str, str, str] | None:
    """State, actor and reason of the local store, as plain sqlite3 shows them."""
    with closing(sqlite3.connect(here.db_path)) as connection:
        found: tuple[str, str, str] | None = connection.execute(
            "SELECT state, actor, reason FROM switch_state WHERE store = 'local'"
        ).fetchone()
    return found


async def document(here: Place, *words: str) -> dict[str, Any]:
    """What `switch --json` prints."""
    ended = await here.run("switch", "--json", *words)
    found: dict[str, Any] = json.loads(ended.out)
    return found


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A daemon on a simulated account, with both stores."""

    here: Place
    redis: RedisServer
    daemon: Running


@asynccontextmanager
async def scene(folder: Path, *, dry_run: bool = True) -> AsyncIterator[Scene]:
    """A guard that runs and has seen its Redis."""
    async with redis_server(folder, port=free_port()) as redis, simulated(seed()) as venue:
        here = with_redis(place(folder / "guard", venue.url, dry_run=dry_run), redis.port)
        async with here.daemon() as daemon:

            async def has_key() -> bool:
                return await redis.cli("GET", KEY) == "running"

            await until(has_key)
            await until(lambda: shown(here) is None)
            yield Scene(here=here, redis=redis, daemon=daemon)


# --- beside a guard ---------------------------------------------------------------------------


async def test_each_state_reaches_both_stores_and_the_guard_obeys(tmp_path: Path) -> None:
    """pause, halt, kill and back: rows, key and lock agree, and the changes are told."""
    async with scene(tmp_path) as now:
        here, redis = now.here, now.redis
        for state in ("pause", "halt"):
            ended = await here.run("switch", state, "--reason", "drill", "--actor", "anna")
            assert ended.code == 0, ended
            assert f"local: set to {state}" in ended.out
            assert f"redis: set to {state}" in ended.out
            assert f"guard: obeys, its lock file says {state}" in ended.out
            assert row(here) == (state, "anna", "drill")
            assert await redis.cli("GET", KEY) == state
            assert shown(here) == state
        found = await document(here)
        assert (found["effective"], found["held_by"]) == ("halt", ["local", "redis"])
        assert (found["actor"], found["reason"]) == ("anna", "drill")
        assert found["stores"]["redis"]["state"] == "halt"
        assert found["obeyed"] == "halt"
        changes = {(one["store"], one["old"], one["new"]) for one in found["transitions"]}
        assert {("local", "pause", "halt"), ("redis", "pause", "halt")} <= changes
        status = json.loads((await here.run("status", "--json")).out)["switch"]
        assert (status["effective"], status["held_by"]) == ("halt", ["local", "redis"])
        assert status["actor"] == "anna"
        assert status["since_ts"] is not None
        # Unanswered without a word: a script that forgets --yes changes nothing.
        bare = await here.run("switch", "KILL")
        assert (bare.code, "--yes" in bare.err) == (2, True)
        assert shown(here) == "halt"
        killed = await here.run("switch", " Kill ", "--yes")
        assert killed.code == 0, killed
        assert "DRY RUN" in killed.err
        assert "LOCKDOWN" in killed.out
        assert shown(here) == "kill"
        refused = await here.run("switch", "running")
        assert (refused.code, "--yes" in refused.err) == (2, True)
        ended = await here.run("switch", "running", "--yes")
        assert ended.code == 0, ended
        assert "LOCKDOWN stays until reset" in ended.out
        assert (shown(here), await redis.cli("GET", KEY)) == (None, "running")
        assert row(here)[0] == "running"  # type: ignore[index]
        again = await here.run("switch", "running")
        assert (again.code, "already" in again.out) == (0, True)


async def test_a_store_that_fails_keeps_the_other_from_nothing(tmp_path: Path) -> None:
    """Redis gone, then the database held: exit 1, and the guard obeys the one that took it."""
    async with scene(tmp_path) as now:
        here = now.here
        await now.redis.stop()
        ended = await here.run("switch", "halt")
        assert ended.code == 1
        assert "local: set to halt" in ended.out
        assert "redis: not set to halt: " in ended.out
        assert "nothing listens there" in ended.out
        assert "say it again" in ended.err
        await until(lambda: shown(here) == "halt")
        found = await here.run("switch")
        assert "nothing listens there" in found.out
        assert found.code == 0
        # Nothing is loosened by what fails: the local row goes, the silent Redis holds.
        loosened = await here.run("switch", "running")
        assert loosened.code == 1
        assert "halt stays until it answers" in loosened.out
        assert shown(here) == "halt"
        assert PASSWORD not in ended.out + ended.err + found.out + loosened.out


async def test_a_busy_database_keeps_no_kill_from_redis(tmp_path: Path) -> None:
    """Somebody holds the file: Redis takes it, the guard obeys, exit 1 says what did not."""
    async with scene(tmp_path) as now:
        with closing(sqlite3.connect(now.here.db_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ended = await now.here.run("switch", "kill", "--yes")
            assert await now.redis.cli("GET", KEY) == "kill"
            assert shown(now.here) == "kill"
        assert ended.code == 1
        assert "redis: set to kill" in ended.out
        assert "local: not set to kill: " in ended.out


async def test_a_milder_word_loosens_one_store_and_tightens_the_other(tmp_path: Path) -> None:
    """Redis says kill, the local store running: after `switch halt` both say halt."""
    async with scene(tmp_path) as now:
        await now.redis.cli("SET", KEY, "kill")
        await until(lambda: shown(now.here) == "kill")
        ended = await now.here.run("switch", "halt", "--yes")
        assert ended.code == 0, ended
        assert (row(now.here) or ("",))[0] == "halt"
        assert await now.redis.cli("GET", KEY) == "halt"
        assert shown(now.here) == "halt"
        # A shell that does not know the guard's Redis: one word to the guard loosens both.
        bare = {name: value for name, value in now.here.keys.items() if "REDIS" not in name}
        ended = await replace(now.here, keys=bare).run("switch", "running")
        assert ended.code == 0, ended
        assert "a Redis that this shell does not know" in ended.err
        assert await now.redis.cli("GET", KEY) == "running"
        assert shown(now.here) is None


async def test_a_database_that_was_taken_away_keeps_no_kill_from_the_guard(
    tmp_path: Path,
) -> None:
    """The guard obeys what stands at its path, and keeps it when it puts its own file back."""
    async with simulated(seed()) as venue:
        here = place(tmp_path, venue.url, dry_run=True, is_cold=True)
        async with here.daemon():
            for file in here.db_path.parent.glob("killswitch.db*"):
                file.unlink()
            ended = await here.run("switch", "kill", "--yes")
            assert ended.code == 0, ended
            assert shown(here) == "kill"
            await here.beat(3)
            assert shown(here) == "kill"
            await until(lambda: (row(here) or ("",))[0] == "kill")


# --- without a guard --------------------------------------------------------------------------


async def test_without_a_guard_the_stores_and_the_lock_are_set_all_the_same(
    tmp_path: Path,
) -> None:
    """And it is said that nothing is carried out; the next start finds the state."""
    here = place(tmp_path, dry_run=True)
    halted = await here.run("switch", "halt", "--reason", "away")
    assert halted.code == 0, halted
    assert "NONE RUNS" in halted.out
    assert (shown(here), (row(here) or ("",))[0]) == ("halt", "halt")
    found = await here.run("switch")
    assert "no guard runs that carries it out" in found.out
    ended = await here.run("switch", "running")
    assert ended.code == 0, ended
    assert (shown(here), (row(here) or ("",))[0]) == (None, "running")


async def test_without_a_guard_what_redis_was_told_meanwhile_is_loosened(tmp_path: Path) -> None:
    """Nobody has seen that kill: it is lifted there, and no book is locked down by it."""
    async with redis_server(tmp_path, port=free_port()) as redis:
        here = with_redis(place(tmp_path / "guard", dry_run=True), redis.port)
        await redis.cli("SET", KEY, "kill")
        ended = await here.run("switch", "running", "--yes")
        assert ended.code == 0, ended
        assert await redis.cli("GET", KEY) == "running"
        assert shown(here) is None
        assert here.lock()["locked"] is False


async def test_an_unreadable_database_takes_a_kill_where_no_guard_runs(tmp_path: Path) -> None:
    """It is moved aside as a start would do, and the kill stands in the new one."""
    here = place(tmp_path, dry_run=True)
    here.db_path.parent.mkdir(parents=True)
    here.db_path.write_bytes(b"no database at all" * 300)
    found = await here.run("switch")
    assert found.code == 1
    assert "unknown: " in found.out
    ended = await here.run("switch", "kill", "--yes")
    assert ended.code == 0, ended
    assert "moved to killswitch.db.unreadable-" in ended.out
    assert (shown(here), (row(here) or ("",))[0]) == ("kill", "kill")


async def test_a_kill_without_a_guard_is_carried_out_by_the_next_start(tmp_path: Path) -> None:
    """Nothing was ever read; the start closes what is there, and only a reset frees the bots."""
    async with simulated(seed()) as venue:
        here = place(tmp_path, venue.url)

        def is_flat() -> bool:
            return not any(venue.exchange.amount(VENUE_KEY, one) for one in ("BTCUSDT", "SOLUSDT"))

        killed = await here.run("switch", "kill", "--yes")
        assert killed.code == 0, killed
        assert "DRY RUN" not in killed.err
        assert shown(here) == "kill"
        assert not is_flat()
        async with here.daemon():
            await until(is_flat)
            await until(lambda: "incident_done" in here.events())
            left = await here.run("switch", "running", "--yes")
            assert left.code == 0, left
            assert f"LOCKDOWN stays until reset (reset {BOOK})" in left.out
            assert shown(here) is None
            assert not here.bot_may_trade()
            await here.read()
            reset = await here.run("reset", BOOK, "--confirm", BOOK)
            assert reset.code == 0, reset
            await until(here.bot_may_trade)


# --- Redis alone ------------------------------------------------------------------------------


async def test_from_any_machine_redis_alone_is_shown_and_set(tmp_path: Path) -> None:
    """No configuration, no file made, no password on the line or in what is printed."""
    async with redis_server(tmp_path, port=free_port()) as redis:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        there = Place(folder=folder, keys={"REDIS_PASSWORD": PASSWORD})
        url = ("--redis-url", f"redis://{HOST}:{redis.port}")
        missing = await there.run("switch", *url)
        assert (missing.code, "the key is not there" in missing.out) == (0, True)
        asked = await there.run("switch", "kill", *url)
        assert (asked.code, await redis.cli("GET", KEY)) == (2, "")
        killed = await there.run(
            "switch", "kill", "--yes", "--actor", "phone", "--reason", "all of it", *url
        )
        assert killed.code == 0, killed
        assert await redis.cli("GET", KEY) == "kill"
        found = await there.run("switch", "--json", *url)
        document = json.loads(found.out)
        assert (document["state"], document["actor"]) == ("kill", "phone")
        # By REDIS_URL where there is no configuration.
        by_name = replace(there, keys={"REDIS_URL": f"redis://:{PASSWORD}@{HOST}:{redis.port}"})
        softer = await by_name.run("switch", "halt")
        assert (softer.code, await redis.cli("GET", KEY)) == (2, "kill")
        softer = await by_name.run("switch", "halt", "--yes")
        assert softer.code == 0, softer
        assert "what a guard's own store holds stays" in softer.out
        assert await redis.cli("GET", KEY) == "halt"
        milder = await by_name.run("switch", "kill", "--yes")
        assert milder.code == 0
        wrong = await replace(there, keys={"REDIS_PASSWORD": "not-this-one"}).run("switch", *url)
        assert (wrong.code, "refuses the login" in wrong.err) == (1, True)
        everything = (missing, asked, killed, found, softer, milder, wrong)
        assert not any(PASSWORD in ended.out + ended.err for ended in everything)
        assert not any("not-this-one" in ended.out + ended.err for ended in everything)
        assert list(folder.iterdir()) == []


# --- words and terminals ----------------------------------------------------------------------


def on_terminal(here: Place, *words: str, typed: str) -> tuple[int, str]:
    """Run on a terminal of its own; exit code and everything that was printed."""
    main, terminal = pty.openpty()
    try:
        os.write(main, typed.encode())
        command = WarmProcess(
            *words,
            folder=here.folder,
            environment={"PATH": os.environ["PATH"], "HOME": str(here.folder), **here.keys},
            stdin=terminal,
        )
        code, out, err = command.finish(within_s=60)
    finally:
        os.close(main)
        os.close(terminal)
    return code, out + err


@pytest.mark.parametrize(("typed", "state"), [("kill", "kill"), ("yes", None), ("\x04", None)])
def test_on_a_terminal_kill_asks_for_its_word(
    tmp_path: Path, typed: str, state: str | None
) -> None:
    """Anything else leaves everything as it is."""
    here = place(tmp_path, dry_run=True)
    code, told = on_terminal(here, "switch", "kill", typed=f"{typed}\n")
    assert "Type the word kill" in told
    assert code == (0 if state else 1), told
    assert (row(here)[0] if here.db_path.exists() else None) == state  # type: ignore[index]


async def test_what_is_no_state_and_no_configuration_is_said_in_a_line(tmp_path: Path) -> None:
    """Exit 2, with what to write instead."""
    here = place(tmp_path, dry_run=True)
    wrong = await here.run("switch", "stop")
    assert (wrong.code, "running, pause, halt, kill" in wrong.err) == (2, True)
    nowhere = await here.run("switch", "kill", "--yes", "--config", "none.yaml")
    assert (nowhere.code, "--redis-url URL" in nowhere.err) == (2, True)
    url = await here.run("switch", "--redis-url", "http://127.0.0.1")
    assert (url.code, "is no URL of a Redis" in url.err) == (2, True)
    fresh = await here.run("switch")
    assert (fresh.code, "Switch  running" in fresh.out) == (0, True)
    assert "\x1b" not in fresh.out
    assert not here.db_path.exists()
