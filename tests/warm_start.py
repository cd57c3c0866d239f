"""Real processes of the guard without the second that Python needs to load one.

A server loads what the guard loads, once for each process that runs tests, and every guard is
forked from it: a process of its own, with folder, environment, files, limits and signals of its
own, that ends and can be killed like any other. What a start itself does (what is loaded when, what
a crashing interpreter says, what others see of the command line) is for tests that start the
program as a user does.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import runpy
import signal
import sys
import weakref
from collections.abc import Mapping
from contextlib import chdir, suppress
from functools import partial
from multiprocessing import forkserver, get_context, reduction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "killswitch.py"
LOADED = (
    "commands.run",
    "commands.assembly",
    "commands.alerting",
    "commands.check.show",
    "commands.flow",
    "commands.reset",
    "commands.status.show",
    "commands.switch.run",
    "operator_switch",
    "venues.adapters",
)
"""What a guard, or a command about one, loads sooner or later."""
LOOK_EVERY_S = 0.01
ROOM = 2**18
"""Bytes that a process can say before anybody listens; a user may have 64 MiB of them in all."""

_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(["typer", *LOADED, __name__])


class WarmProcess:
    """A process of the guard, with what `asyncio.subprocess.Process` has of one.

    What it says waits in a pipe until it has ended, except for what goes to a file of the caller's.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        program: Path = PROGRAM,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start it; the streams are descriptors of the caller's files. Nothing comes from stdin."""
        given = enumerate((stdin, stdout, stderr))
        streams = {number: stream for number, stream in given if stream is not None}
        pipes = {number: _pipe(self) for number in (1, 2) if number not in streams}
        self._readers = {number: reader for number, (reader, _) in pipes.items()}
        writers = {number: writer for number, (_, writer) in pipes.items()}
        with chdir(ROOT):  # The server looks there for what it loads.
            forkserver.ensure_running()
        self._process = _SERVER.Process(
            target=_become,
            args=(str(program), arguments),
            kwargs={
                "folder": str(folder),
                "environment": dict(environment),
                "streams": {
                    number: _Descriptor(stream) for number, stream in {**streams, **writers}.items()
                },
            },
            daemon=True,
        )
        self._process.start()
        for writer in writers.values():
            os.close(writer)

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, the signal with a minus where one ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait until it has ended; how."""
        # Of the end of a child of the server no event tells.
        while (code := self.returncode) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)
        return code

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait until it has ended; what it wrote to stdout and stderr."""
        await self.wait()
        return self._said()

    def finish(self, *, within_s: float) -> tuple[int, str, str]:
        """Wait without an event loop; how it ended, and what it wrote. Fails at the deadline."""
        self._process.join(within_s)
        code = self.returncode
        if code is None:
            self.kill()
            raise TimeoutError(f"not ended within {within_s:g} s")
        out, err = self._said()
        return code, out.decode(), err.decode()

    def _said(self) -> tuple[bytes, bytes]:
        said = {
            number: b"".join(iter(partial(os.read, reader, ROOM), b""))
            for number, reader in self._readers.items()
        }
        return said.get(1, b""), said.get(2, b"")


def _pipe(owner: object) -> tuple[int, int]:
    """A pipe that takes all a guard says in a test, whose reading end goes with its owner."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, ROOM)
    weakref.finalize(owner, os.close, reader)
    return reader, writer


class _Descriptor:
    """A file that is open here and shall be open there."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _taken_over, (reduction.DupFd(self.number),)


def _taken_over(given: Any) -> int:
    """The number that the file has there."""
    number: int = given.detach()
    return number


def _become(
    program: str,
    arguments: tuple[str, ...],
    *,
    folder: str,
    environment: dict[str, str],
    streams: dict[int, int],
) -> None:
    """Be the program with these arguments, as if this process had been started for it."""
    assert set(LOADED) <= set(sys.modules), "the server loaded nothing: this would be slow"
    # For want of a stdin the server has opened more of these than a guard has.
    for opened in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):
            if str(opened.readlink()) == os.devnull:
                os.close(int(opened.name))
    if 0 not in streams:
        streams = {0: os.open(os.devnull, os.O_RDONLY), **streams}
    for number, stream in streams.items():
        os.dup2(stream, number)
    for stream in set(streams.values()) - {0}:
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
