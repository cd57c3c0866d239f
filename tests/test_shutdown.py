"""SIGTERM at any moment: the round in hand is finished, nothing hangs for ever, and the exit is 0.

Real processes against a simulated venue that holds its answers back.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from commands.run import bounded_end, run_guard
from errors import LockError
from logger import get_logger
from tests.guard_files import KEYS, config_in
from tests.simulated import Simulated, simulated
from tests.test_integration import SEED, Running, closing_db, place, until

ROOT = Path(__file__).resolve().parent.parent
WITHIN_S = 45.0
"""What a supervisor gives the guard at most; each story ends in a few seconds."""


async def terminated(process: Running) -> tuple[int | None, str]:
    """Send SIGTERM and wait for the end."""
    process.send_signal(signal.SIGTERM)
    return await ended(process)


async def ended(process: Running) -> tuple[int | None, str]:
    """The exit code and what was logged. Fails when it takes too long."""
    async with asyncio.timeout(WITHIN_S):
        _, err = await process.communicate()
    assert "Traceback" not in err.decode(), err.decode()
    return process.returncode, err.decode()


async def held(venue: Simulated) -> list[dict[str, Any]]:
    """The requests that wait for their answer."""
    return await venue.control.held()


async def at_a_venue_that_never_answers(folder: Path) -> None:
    """Neither the greeting nor the first reading has come to an end."""
    async with simulated(SEED) as venue:
        await venue.control.add_fault("hold_before")
        here = place(folder, venue.url)
        async with here.daemon() as process:
            await until(lambda: _is_waiting(venue))
            code, _ = await terminated(process)
            assert code == 0
        assert "task_failed" not in here.events()


async def in_the_middle_of_a_read(folder: Path) -> None:
    """The account was read before; now the venue hangs."""
    async with simulated(SEED) as venue:
        here = place(folder, venue.url)
        async with here.daemon() as process:
            await here.read()
            await venue.control.add_fault("hold_before")
            await until(lambda: _is_waiting(venue))
            code, _ = await terminated(process)
            assert code == 0


async def while_another_program_holds_the_database(folder: Path) -> None:
    """What cannot be written is told, and the state directory is free for the next start."""
    async with simulated(SEED) as venue:
        here = place(folder, venue.url)
        async with here.daemon() as process:
            await here.read()
            with closing_db(here.db_path) as connection:
                connection.execute("BEGIN IMMEDIATE")
                await here.beat(2)
                code, said = await terminated(process)
            assert code == 0
            assert "records_unwritten" in said
        async with here.daemon() as process:
            await here.read()
            code, _ = await terminated(process)
            assert code == 0


async def with_an_order_on_its_way(folder: Path) -> None:
    """The venue has executed it and its answer is late: it is waited for and recorded."""
    async with simulated(SEED) as venue:
        here = place(folder, venue.url)
        async with here.daemon() as process:
            await here.read()
            await venue.control.add_fault("hold_after", path="order$", method="POST")
            await venue.control.set_prices({"SOLUSDT": 105})
            await until(lambda: _is_waiting(venue))
            process.send_signal(signal.SIGTERM)
            await venue.control.clear_faults()
            await venue.control.release()
            code, _ = await ended(process)
            assert code == 0
        with closing_db(here.db_path) as connection:
            rows = connection.execute("SELECT outcome, filled FROM orders").fetchall()
        assert rows == [("DONE", "50.00")]
        sent = [r for r in venue.service.log if r.method == "POST"]
        assert len(sent) == 1


async def _is_waiting(venue: Simulated) -> bool:
    return bool(await held(venue))


async def test_sigterm_ends_the_guard_with_0_whatever_hangs(tmp_path: Path) -> None:
    """At the start, in a read, in a write and in a round."""
    await asyncio.gather(
        at_a_venue_that_never_answers(tmp_path / "start"),
        in_the_middle_of_a_read(tmp_path / "read"),
        while_another_program_holds_the_database(tmp_path / "write"),
        with_an_order_on_its_way(tmp_path / "round"),
    )


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    """A name server that answers no more: the event loop would wait for its thread for ever."""
    program = (
        "import asyncio, threading\n"
        "from commands.run import bounded_end\n"
        "from logger import get_logger\n"
        "async def run(end_with):\n"
        "    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)\n"
        "    end_with(3)\n"
        "with bounded_end(within_s=0.5, log=get_logger('test')) as end_with:\n"
        "    asyncio.run(run(end_with))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "left_by_force" in (done.stdout + done.stderr).decode()


def test_an_end_in_time_is_left_alone() -> None:
    """Whoever goes on after the guard has ended is not killed by it."""
    with bounded_end(within_s=60.0, log=get_logger("test")) as end_with:
        end_with(3)
        watchdogs = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
    assert [watchdog.finished.is_set() for watchdog in watchdogs] == [True]


def test_the_guard_has_stray_faults_told_by_its_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before anything is opened."""
    seen: list[object] = []

    @asynccontextmanager
    async def assemble(*_: Any, **__: Any) -> AsyncIterator[None]:
        asyncio.get_running_loop().call_exception_handler({"message": "a stray fault"})
        raise LockError("far enough")
        yield

    def keep(log: Any) -> Any:
        return lambda _loop, context: seen.append((log is not None, context["message"]))

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("commands.assembly.assemble", assemble)
    monkeypatch.setattr("supervision.stray_fault_handler", keep)
    code = run_guard(
        config_in(tmp_path), once=False, force_dry_run=True, verbose=False, log_json=True
    )
    assert (code, seen) == (1, [(True, "a stray fault")])
