"""Simulated time: nothing waits in earnest, order is kept, and a dead end is noticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from errors import InvariantViolation
from simulator.virtual_time import LoopClock, TapeClock, VirtualLoop


def virtually(story: Coroutine[Any, Any, Any]) -> Any:
    """Run on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


# --- the loop ---------------------------------------------------------------------------------


def test_a_day_passes_in_an_instant_and_to_the_second() -> None:
    """8,640 sleeps of 10 s end at 86,400, in far less than a real minute."""

    async def story() -> float:
        for _ in range(8_640):
            await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert virtually(story()) == pytest.approx(86_400, abs=1e-3)
    assert time.monotonic() - began < 60


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    """The shorter sleep ends first, whoever began first; equal ones in the order of beginning."""

    async def story() -> list[str]:
        woken: list[str] = []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append(name)

        await asyncio.gather(sleeper("c", 3), sleeper("a", 1), sleeper("b", 2), sleeper("d", 3))
        return woken

    assert virtually(story()) == ["a", "b", "c", "d"]


def test_time_stands_still_while_anything_can_run() -> None:
    """Work without waiting takes no simulated time."""

    async def story() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert virtually(story()) == 0


def test_deadlines_hold_in_simulated_time() -> None:
    """A time-out of 5 s cuts a sleep of an hour off at 5 s."""

    async def story() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert virtually(story()) == pytest.approx(5)


def test_a_dead_end_is_a_violation_and_no_hang() -> None:
    """Where every task waits for another, a real loop would wait for ever."""

    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(InvariantViolation, match="waits for something else"):
        loop = VirtualLoop()
        try:
            loop.run_until_complete(story())
        finally:
            # The task that never ends is part of the story.
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()


# --- the clock of the loop --------------------------------------------------------------------


def test_the_wall_clock_follows_the_loop_and_jumps_alone() -> None:
    """Epoch + loop time + jumps; elapsed time knows no jump."""

    async def story() -> tuple[float, float]:
        clock = LoopClock(epoch=1000.0)
        await clock.sleep(10)
        clock.jump(3600)
        await clock.sleep(5)
        clock.jump(-100)
        return clock.now(), clock.monotonic()

    assert virtually(story()) == (pytest.approx(1000 + 15 + 3500), pytest.approx(15))


def test_a_sleep_of_nothing_or_less_returns() -> None:
    """A pause that work has used up is no error."""

    async def story() -> float:
        clock = LoopClock(epoch=0.0)
        await clock.sleep(0)
        await clock.sleep(-3)
        return clock.monotonic()

    assert virtually(story()) == 0


# --- the clock on a tape ----------------------------------------------------------------------


class Tape:
    """Notes every time it is moved to."""

    def __init__(self, *, breaks_at: float = float("inf")) -> None:
        self.times: list[float] = []
        self._breaks_at = breaks_at

    async def advance(self, at: float) -> None:
        """Move; fails at the end."""
        await asyncio.sleep(0)
        if at >= self._breaks_at:
            raise OSError("the other end is gone")
        self.times.append(at)


async def test_the_tape_moves_only_when_all_parties_sleep() -> None:
    """One party that works on holds time back for the other."""
    tape = Tape()
    clock = TapeClock(starts_at=100.0, parties=2, advance=tape.advance)
    sleeper = asyncio.create_task(clock.sleep(5))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (clock.now(), tape.times) == (100.0, [])
    await clock.sleep(3)
    assert (clock.now(), tape.times) == (103.0, [103.0])
    assert not sleeper.done()
    clock.leave()
    await sleeper
    assert (clock.now(), clock.monotonic()) == (105.0, 105.0)


async def test_prices_move_before_anybody_wakes() -> None:
    """A party that wakes at a time sees the world of that time."""
    tape = Tape()
    clock = TapeClock(starts_at=0.0, parties=1, advance=tape.advance)
    for expected in (2.0, 4.0, 6.0):
        await clock.sleep(2)
        assert tape.times[-1] == clock.now() == expected


async def test_a_sleeper_that_was_cancelled_does_not_stop_the_tape() -> None:
    """Its time is passed over; the others go on."""
    tape = Tape()
    clock = TapeClock(starts_at=0.0, parties=2, advance=tape.advance)
    gone = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    clock.leave()
    await clock.sleep(10)
    assert clock.now() == 10.0


async def test_a_sleeper_cancelled_while_the_tape_moves_leaves_no_dead_end() -> None:
    """Nobody is woken by that move, so the next one has to follow by itself."""
    moving = asyncio.Event()

    async def advance(_at: float) -> None:
        moving.set()
        await asyncio.sleep(0.01)

    clock = TapeClock(starts_at=0.0, parties=2, advance=advance)
    first = asyncio.create_task(clock.sleep(1))
    second = asyncio.create_task(clock.sleep(9))
    await moving.wait()
    first.cancel()
    clock.leave()
    async with asyncio.timeout(5):
        await second
    assert clock.now() == 9.0


async def test_a_tape_that_cannot_be_moved_wakes_its_sleepers_with_the_fault() -> None:
    """Otherwise everybody would sleep for ever."""
    clock = TapeClock(starts_at=0.0, parties=1, advance=Tape(breaks_at=4.0).advance)
    await clock.sleep(3)
    with pytest.raises(OSError, match="gone"):
        await clock.sleep(3)


async def test_a_sleep_of_nothing_lets_others_run() -> None:
    """A party that never sleeps must not lock the loop up."""
    clock = TapeClock(starts_at=0.0, parties=2, advance=Tape().advance)
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await clock.sleep(0)
    assert ran.is_set()
