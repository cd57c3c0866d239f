"""A deadline and a failure are values; what hangs is left behind; what writes is not cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from attempts import Got, Missed, Unbroken, attempt, attempt_beside, attempt_unless, nap
from errors import InvariantViolation, Malformed, Unavailable
from simulator.virtual_time import LoopClock
from tests.virtual_house import play


class Mute(Exception):
    """What a library raises whose words need a request that never was."""

    def __str__(self) -> str:
        """Fail."""
        raise AttributeError("real_url")


async def answers(seconds: float = 0.0) -> str:
    """Work that takes its time."""
    await asyncio.sleep(seconds)
    return "answer"


async def raises(fault: BaseException) -> str:
    """Work that fails."""
    raise fault


def test_an_answer_in_time_is_the_answer() -> None:
    """Got, with the value."""
    assert play(lambda: attempt(answers(1.0), within_s=2.0, what="work")) == Got("answer")


def test_what_takes_too_long_is_left_behind_at_the_deadline() -> None:
    """Also when it does not let itself be cancelled."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(30)
                return

    async def story() -> tuple[Any, float]:
        result = await attempt(stubborn(), within_s=2.0, what="work")
        return result, asyncio.get_running_loop().time()

    result, at = play(story)
    assert result == Missed(why="work: no answer in 2 s")
    assert at == pytest.approx(2.0)


BUSY = Unavailable("busy", retry_after_s=7.0)


@pytest.mark.parametrize(
    ("times", "began", "end", "took_s"),
    [
        ((1.0,), [0.0], Got("1.0"), 1.0),
        ((5.0, 9.0), [0.0, 3.0], Got("5.0"), 5.0),  # slow but alive: the first is not given up
        ((99.0, 1.0), [0.0, 3.0], Got("1.0"), 4.0),
        ((99.0, 99.0, 1.0), [0.0, 3.0, 6.0], Got("1.0"), 7.0),
        ((99.0, 99.0, 99.0), [0.0, 3.0, 6.0], Missed(why="work: no answer in 10 s"), 10.0),
        ((Malformed("no field"),), [0.0], Missed(why="no field"), 0.0),
        (
            (99.0, Malformed("no field"), 99.0),
            [0.0, 3.0],
            Missed(why="work: no answer in 10 s"),
            10,
        ),
        ((5.0, BUSY), [0.0, 3.0], Got("5.0"), 5.0),
        ((99.0, BUSY), [0.0, 3.0], Missed(why="busy", retry_after_s=7.0), 10.0),
    ],
)
def test_what_is_silent_is_begun_anew_beside_it(
    times: tuple[float | Exception, ...],
    began: list[float],
    end: Got[str] | Missed,
    took_s: float,
) -> None:
    """Every 3 s while 3 s are left; the first answer counts, and nothing of the rest goes on."""
    starts: list[float] = []
    left = list(times)

    async def work() -> str:
        starts.append(asyncio.get_running_loop().time())
        what = left.pop(0)
        if isinstance(what, Exception):
            raise what
        await asyncio.sleep(what)
        return str(what)

    async def story() -> None:
        assert await attempt_beside(work, within_s=10, again_after_s=3, what="work") == end
        assert starts == pytest.approx(began)
        assert asyncio.get_running_loop().time() == pytest.approx(took_s)
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(story)


def test_work_begun_anew_ends_with_whoever_waits_for_it() -> None:
    """A guard that is told to stop leaves no request under way; our own bug is still raised."""

    async def story() -> None:
        waiter = asyncio.create_task(
            attempt_beside(lambda: answers(99), within_s=10, again_after_s=3, what="work")
        )
        await asyncio.sleep(4)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(InvariantViolation):
            await attempt_beside(
                lambda: raises(InvariantViolation("ours")),
                within_s=10,
                again_after_s=3,
                what="work",
            )

    play(story)


@pytest.mark.parametrize(
    ("fault", "why", "pause_s"),
    [
        (Unavailable("down", retry_after_s=7.0), "down", 7.0),
        (Unavailable("down"), "down", 0.0),
        (Malformed("no field"), "no field", 0.0),
        (KeyError("x"), "work: KeyError: 'x'", 0.0),
        (asyncio.CancelledError(), "work: was given up", 0.0),
        (Mute(), "work: Mute: <exception str() failed>", 0.0),
    ],
)
def test_every_failure_is_a_value(fault: BaseException, why: str, pause_s: float) -> None:
    """Expected or not, with the pause that the venue asked for."""

    async def story() -> Any:
        return await attempt(raises(fault), within_s=2.0, what="work")

    assert play(story) == Missed(why=why, retry_after_s=pause_s)


def test_our_own_bug_is_raised() -> None:
    """It must end the program, not look like a venue that is down."""
    with pytest.raises(InvariantViolation):
        play(lambda: attempt(raises(InvariantViolation("bug")), within_s=2.0, what="work"))


def test_work_of_a_cancelled_caller_is_cancelled_too() -> None:
    """A read that nobody waits for any more ends."""

    async def story() -> bool:
        ended = asyncio.Event()

        async def reading() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.set()

        caller = asyncio.create_task(attempt(reading(), within_s=50, what="work"))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.sleep(1)
        return ended.is_set()

    assert play(story)


@pytest.mark.parametrize(("set_after_s", "ends_at"), [(None, 10.0), (3.0, 3.0), (0.0, 0.0)])
def test_a_nap_ends_with_its_time_or_its_event(set_after_s: float | None, ends_at: float) -> None:
    """Whichever comes first; an event that is set already lets nobody sleep."""

    async def story() -> float:
        clock, event = LoopClock(epoch=0.0), asyncio.Event()
        if set_after_s == 0.0:
            event.set()
        elif set_after_s is not None:
            asyncio.get_running_loop().call_later(set_after_s, event.set)
        await nap(clock, 10.0, unless=event)
        return clock.monotonic()

    assert play(story) == pytest.approx(ends_at)


def test_unbroken_work_outlives_its_caller() -> None:
    """And is waited for at the end."""

    async def story() -> float:
        done: list[str] = []

        async def writing() -> None:
            await asyncio.sleep(5)
            done.append("written")

        unbroken = Unbroken()
        caller = asyncio.create_task(unbroken.do(writing()))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert done == []
        await unbroken.end(within_s=30)
        assert done == ["written"]
        return asyncio.get_running_loop().time()

    assert play(story) == pytest.approx(5.0)


def test_unbroken_work_that_does_not_end_is_cut_off_at_last() -> None:
    """A shutdown ends."""

    async def story() -> float:
        unbroken = Unbroken()
        caller = asyncio.create_task(unbroken.do(answers(1e6)))
        await asyncio.sleep(1)
        caller.cancel()
        assert await unbroken.end(within_s=30) == ("work in hand: cut off after 30 s",)
        return asyncio.get_running_loop().time()

    assert play(story) == pytest.approx(31.0)


def test_a_fault_in_unbroken_work_is_told_at_the_end() -> None:
    """Nobody waited for it, and what it was to write or close is not done."""

    async def story() -> None:
        unbroken = Unbroken()
        callers = [
            asyncio.create_task(unbroken.do(work))
            for work in (raises(ValueError("an odd number")), answers(2.0))
        ]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        told = await unbroken.end(within_s=30)
        assert told == ("work in hand: ValueError: an odd number",)
        assert await unbroken.end(within_s=30) == ()

    play(story)


def test_our_own_bug_in_unbroken_work_shows_at_the_end() -> None:
    """Nobody waited for it, and it must not be lost."""

    async def story() -> None:
        unbroken = Unbroken()

        async def broken() -> None:
            await asyncio.sleep(1)
            raise InvariantViolation("bug")

        caller = asyncio.create_task(unbroken.do(broken()))
        await asyncio.sleep(0)
        caller.cancel()
        await unbroken.end(within_s=30)

    with pytest.raises(InvariantViolation):
        play(story)


def test_work_is_given_up_when_its_event_is_set() -> None:
    """What is done by then is its answer; what was set before leaves work no time."""

    async def story() -> None:
        clock = LoopClock(epoch=0.0)
        event = asyncio.Event()
        assert await attempt_unless(event, answers(1.0)) == "answer"
        asyncio.get_running_loop().call_later(2.0, event.set)
        assert await attempt_unless(event, answers(5.0)) is None
        assert clock.monotonic() == pytest.approx(3.0)
        assert await attempt_unless(event, answers(5.0)) is None

    play(story)


def test_our_own_bug_is_raised_although_nobody_waits_for_the_work() -> None:
    """Any other fault is for whoever told it to be done."""

    async def story() -> None:
        unbroken = Unbroken()
        failing = asyncio.ensure_future(unbroken.fail())
        for fault in (Malformed("odd"), InvariantViolation("a bug")):
            work = unbroken.begin(raises(fault))
            await asyncio.gather(work, return_exceptions=True)
            await asyncio.sleep(0)
            assert failing.done() is isinstance(fault, InvariantViolation)
        with pytest.raises(InvariantViolation, match="a bug"):
            await failing

    play(story)
