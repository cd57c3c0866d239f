"""Troubles around the process itself: one real guard goes through all phases with each of them.

The streak of stage 1 takes two seconds here, an order that is refused keeps the incident open, and
the cooldown of half an hour is only begun.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recovery.cells import proves
from tests.recovery.scene import Phase
from tests.simulated import simulated
from tests.test_integration import SEED, place, until
from tests.test_machine_faults import NoDescriptors, Scene

EACH = (Phase.CALM, Phase.CONFIRMING, Phase.CLOSING, Phase.COOLING)
PIPE_BYTES = 4096


def row(number: int) -> str:
    """The names of all cells of a row."""
    return "+".join(f"{number}{phase.value}" for phase in EACH)


@asynccontextmanager
async def running(folder: Path, *, stderr: int | None = None) -> AsyncIterator[Scene]:
    """A guard that has read its account twice, with its log going to `stderr`."""
    async with simulated(SEED) as venue:
        here = place(folder, venue.url)
        daemon = here if stderr is None else replace(here, stderr=stderr)
        async with daemon.daemon("--verbose") as process:
            await here.read()
            yield Scene(here=here, venue=venue, process=process)


def _refused(scene: Scene) -> int:
    return sum(r.method == "POST" and r.status == 400 for r in scene.venue.service.log)


async def through_every_phase(
    scene: Scene, trial: Callable[[Phase], Coroutine[Any, Any, None]]
) -> None:
    """Lead a guard from calm to its cooldown with a trial in each phase; it halves what it must."""
    await trial(Phase.CALM)
    assert scene.here.bot_may_trade()
    refusal = {"path": "order$", "method": "POST", "code": -4141, "status": 400}
    await scene.venue.control.add_fault("error", **refusal)
    await scene.fall()
    await trial(Phase.CONFIRMING)
    await until(lambda: _refused(scene) > 0)
    assert not scene.here.bot_may_trade()
    await trial(Phase.CLOSING)
    await scene.venue.control.clear_faults()
    await until(lambda: scene.held == -50)
    await until(lambda: "incident_done" in scene.events())
    await trial(Phase.COOLING)
    assert not scene.here.bot_may_trade()
    assert scene.here.lock()["stage"] == 1
    assert scene.held == -50


@proves(row(22))
async def test_a_second_guard_ends_at_once_and_changes_nothing(tmp_path: Path, cell: str) -> None:
    """Exit 3 with the process that is there; the lock stays that one's, whatever it is doing."""
    async with running(tmp_path) as scene:

        async def trial(_phase: Phase) -> None:
            second = await scene.here.run()
            assert second.code == 3
            assert f"process {scene.process.pid} holds" in second.err
            assert scene.here.lock()["pid"] == scene.process.pid

        await through_every_phase(scene, trial)
        assert '"event": "recovered"' not in await scene.stop()


@pytest.mark.parametrize("is_closed", [False, True], ids=["full", "closed"])
@proves(row(23))
async def test_a_log_that_nobody_reads_holds_nobody_up(
    tmp_path: Path, cell: str, is_closed: bool
) -> None:
    """A pipe that is full from the start, or whose reader has gone: the guard does its work."""
    with ExitStack() as stack:
        reader, writer = os.pipe()
        stack.callback(os.close, writer)
        if is_closed:
            os.close(reader)
        else:
            stack.callback(os.close, reader)
            size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            os.write(writer, b" " * size)
        async with running(tmp_path, stderr=writer) as scene:

            async def trial(_phase: Phase) -> None:
                await scene.here.beat(2)

            await through_every_phase(scene, trial)
            if not is_closed:
                os.read(reader, PIPE_BYTES)
                await scene.here.beat(2)
                assert b"log_lines_lost" in os.read(reader, PIPE_BYTES)
            scene.process.terminate()
            assert await scene.process.wait() == 0


@proves(row(21))
async def test_a_guard_without_descriptors_works_on_with_those_kept_back(
    tmp_path: Path, cell: str
) -> None:
    """Not one more file may be opened: heartbeat, closing and lock go on, and it is told."""
    async with running(tmp_path) as scene:
        trouble = NoDescriptors()
        trouble.begin(scene)

        async def trial(_phase: Phase) -> None:
            await scene.here.beat(2)

        await through_every_phase(scene, trial)
        trouble.end(scene)
        await until(lambda: "descriptors_recovered" in scene.events())
        assert "descriptors_trouble" in scene.events()
        await scene.stop()
