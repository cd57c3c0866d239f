"""A fault of ours is told and recorded, and the work goes on; only a broken invariant ends it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import pytest

from errors import InvariantViolation
from logger import Logger
from simulator.virtual_time import LoopClock
from supervision import Supervisor, stray_fault_handler
from tests.test_recorder import Disk, recorder
from tests.virtual_house import EPOCH, Logbook, play


class Office:
    """A supervisor, what it told, and what it put down."""

    def __init__(self) -> None:
        self.disk, self.log, self.clock = Disk(), Logbook(), LoopClock(epoch=EPOCH)
        self.supervisor = Supervisor(
            recorder=recorder(self.disk),
            clock=self.clock,
            log=cast("Logger", self.log),
            dry_run=False,
        )

    def told(self) -> list[int]:
        """Which faults in a row were logged."""
        return [line["faults"] for line in self.log.of("task_failed")]

    def recorded(self) -> list[str]:
        """The messages in the audit."""
        return [entry.message for records in self.disk.written for entry in records.audits]


def raising(fault: BaseException) -> Callable[[], None]:
    """Something to tell that fails."""

    def tell() -> None:
        raise fault

    return tell


def test_a_failing_step_is_repeated_with_growing_pauses_of_at_most_30_s() -> None:
    """1, 2, 4, 8, 16 and then 30 s; the first that works sets the pace again."""

    async def story() -> None:
        office, times = Office(), list[float]()
        until = asyncio.Event()

        async def step() -> float:
            times.append(office.clock.monotonic())
            if len(times) < 8:
                raise ValueError("an odd number")
            if len(times) == 10:
                until.set()
            return 3.0

        await office.supervisor.repeat("step", step, until=until)
        assert [b - a for a, b in pairwise(times)] == [1, 2, 4, 8, 16, 30, 30, 3, 3]

    play(story)


def test_of_faults_in_a_row_the_first_and_every_twentieth_are_told() -> None:
    """In log and audit; one success in between and the next fault is a first one."""

    async def story() -> None:
        office = Office()
        faults = [True] * 41 + [False, True]

        async def step() -> bool:
            if faults.pop(0):
                raise ValueError("an odd number")
            return True

        answers = [await office.supervisor.attend("step", step) for _ in range(43)]
        assert answers.count(True) == 1
        assert office.told() == [1, 20, 40, 1]
        await asyncio.sleep(0)
        assert office.recorded() == ["step: ValueError: an odd number"] * 4

    play(story)


def test_a_fault_that_cannot_be_told_ends_nothing() -> None:
    """Its words fail in turn; its kind is in the audit."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise AttributeError("real_url")

    async def story() -> None:
        office = Office()

        async def step() -> bool:
            raise Mute

        assert await office.supervisor.attend("step", step) is None
        await asyncio.sleep(0)
        assert office.recorded() == ["step: Mute: <exception str() failed>"]

    play(story)


def test_a_broken_invariant_passes_through() -> None:
    """The guard must not go on with a fault that could send a wrong order."""

    async def story() -> None:
        office = Office()

        async def step() -> float:
            raise InvariantViolation("a size that must never be")

        with pytest.raises(InvariantViolation):
            await office.supervisor.repeat("step", step, until=asyncio.Event())
        assert office.told() == []

    play(story)


def test_only_a_cancellation_of_the_task_itself_ends_it() -> None:
    """One from inside is a fault like any other."""

    async def story() -> None:
        office, until = Office(), asyncio.Event()

        async def step() -> float:
            raise asyncio.CancelledError

        task = asyncio.create_task(office.supervisor.repeat("step", step, until=until))
        await asyncio.sleep(10)
        assert not task.done()
        assert office.told() == [1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(story)


@pytest.mark.parametrize("fault", [ValueError("x"), KeyError("y"), OSError("pipe")])
def test_what_only_tells_may_fail(fault: Exception) -> None:
    """It is told of and holds nothing up that follows."""

    async def story() -> None:
        office, heard = Office(), list[int]()
        office.supervisor.soon("tell", raising(fault))
        office.supervisor.soon("tell others", heard.append, 1)
        assert heard == []
        await asyncio.sleep(0)
        assert heard == [1]
        assert office.told() == [1]

    play(story)


def test_a_fault_that_nobody_waited_for_goes_to_our_log() -> None:
    """The event loop's own words would leave the process past the masks of the log."""

    async def story() -> None:
        log = Logbook()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(stray_fault_handler(cast("Logger", log)))
        loop.call_soon(raising(ValueError("an odd number")))

        async def fail() -> None:
            raise KeyError("nobody asks")

        asyncio.ensure_future(fail())  # noqa: RUF006 - that is the point
        await asyncio.sleep(1)
        gc.collect()
        faults = [repr(line["exc_info"]) for line in log.of("stray_fault")]
        assert faults == ["ValueError('an odd number')", "KeyError('nobody asks')"]
        assert "never retrieved" in log.of("stray_fault")[1]["message"]

    play(story)
