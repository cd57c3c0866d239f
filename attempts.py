"""Work on the outside world, with a deadline, whose failure is a value.

Owns the difference between "it answered", "it did not" and "our own bug". A read that hangs is
given up and never waited for again; whatever it raises (a parser that trips over an odd answer
included) is no answer, so that one bad field in one list never keeps a close from being sent.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clock import Clock
from errors import InvariantViolation, KillSwitchError, Unavailable

ROUNDS_TO_LEAVE = 4
"""A task that is waited for with a deadline, another within it, two reads at once, the socket."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Got(Generic[Value]):
    """It answered in time."""

    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """It did not. `retry_after_s` is the pause the venue asked for in seconds, 0 for none."""

    why: str
    retry_after_s: float = 0.0


async def attempt(
    work: Coroutine[Any, Any, Value], *, within_s: float, what: str
) -> Got[Value] | Missed:
    """Do the work for at most `within_s` seconds; `what` names it in the reason.

    Only InvariantViolation is raised. Work that is given up is cancelled and left behind.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=within_s)
        return outcome_of(task, what=what) or Missed(why=f"{what}: no answer in {within_s:g} s")
    finally:
        abandon(task)


async def attempt_beside(
    begin: Callable[[], Coroutine[Any, Any, Value]],
    *,
    within_s: float,
    again_after_s: float,
    what: str,
) -> Got[Value] | Missed:
    """Do the work as `attempt` does, but begin it anew beside what is silent for so long.

    The first answer counts and what is slower is given up. A failure counts when nothing else is
    under way any more.
    """
    first = asyncio.ensure_future(attempt(begin(), within_s=within_s, what=what))
    tasks = [first]
    try:
        await asyncio.wait(tasks, timeout=again_after_s)
        left_s = within_s - again_after_s
        if first.done() or left_s < again_after_s:
            return await first
        again = attempt_beside(begin, within_s=left_s, again_after_s=again_after_s, what=what)
        tasks.append(asyncio.ensure_future(again))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ends = [task.result() for task in tasks if task.done()]
        if not any(isinstance(end, Got) for end in ends):
            ends = await asyncio.gather(*tasks)
        return max(ends, key=_worth)
    finally:
        for task in tasks:
            abandon(task)


def _worth(end: Got[Any] | Missed) -> tuple[bool, float]:
    """An answer is worth more than none, and of two refusals the longer pause counts."""
    return isinstance(end, Got), end.retry_after_s if isinstance(end, Missed) else 0.0


def outcome_of(task: asyncio.Future[Value], *, what: str) -> Got[Value] | Missed | None:
    """What became of a task, None while it runs. Raises InvariantViolation if that ended it."""
    if not task.done():
        return None
    if task.cancelled():
        return Missed(why=f"{what}: was given up")
    fault = task.exception()
    if fault is None:
        return Got(task.result())
    if isinstance(fault, InvariantViolation):
        raise fault
    if isinstance(fault, KillSwitchError):
        pause_s = fault.retry_after_s if isinstance(fault, Unavailable) else None
        return Missed(why=str(fault), retry_after_s=pause_s or 0.0)
    return Missed(why=f"{what}: {type(fault).__name__}: {words_of(fault)}")


def words_of(fault: BaseException) -> str:
    """What an exception says, even when it fails at that.

    Some of libraries do, whose words need a request that never was; and a fault in telling a fault
    would end what was to go on.
    """
    return str(traceback.TracebackException(type(fault), fault, None, limit=0, compact=True))


def abandon(task: asyncio.Future[Any]) -> None:
    """Give a task up without waiting for it; what it still raises is nobody's business."""
    look_away(task)
    if not task.done():
        task.cancel()


def look_away(task: asyncio.Future[Any]) -> None:
    """Let a task go on; what it still raises is told elsewhere, or nobody's business."""
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def let_leave() -> None:
    """Give the loop the rounds that requests take to leave which were begun just now."""
    for _ in range(ROUNDS_TO_LEAVE):
        await asyncio.sleep(0)


async def nap(clock: Clock, seconds: float, *, unless: asyncio.Event) -> None:
    """Sleep on the clock, or until the event is set."""
    if unless.is_set():
        return
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    waker = asyncio.ensure_future(unless.wait())
    try:
        await asyncio.wait((sleeper, waker), return_when=asyncio.FIRST_COMPLETED)
    finally:
        abandon(sleeper)
        abandon(waker)


async def attempt_unless(event: asyncio.Event, work: Coroutine[Any, Any, Value]) -> Value | None:
    """Do the work until the event is set; what is not done then is given up, and None."""
    task = asyncio.ensure_future(work)
    waker = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, waker), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        abandon(task)
        abandon(waker)


class Unbroken:
    """Work that a cancelled caller leaves running: what has begun to write or to close."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._violation: InvariantViolation | None = None
        self._is_violated = asyncio.Event()

    async def do(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Do the work; when the caller is cancelled, it goes on without anybody waiting."""
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
        """Begin work that only `end` waits for."""
        task = asyncio.create_task(self._do(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _do(self, work: Coroutine[Any, Any, Value]) -> Value:
        try:
            return await work
        except InvariantViolation as violation:
            self._violation = violation
            self._is_violated.set()
            raise

    async def fail(self) -> None:
        """Wait for work that ends by our own bug, although nobody waits for it, and raise that."""
        await self._is_violated.wait()
        if self._violation is not None:
            raise self._violation

    async def end(self, *, within_s: float) -> tuple[str, ...]:
        """Wait for what is still running, then cut it off; what went wrong with it.

        Raises InvariantViolation if it did.
        """
        running = tuple(self._running)
        if not running:
            return ()
        await asyncio.wait(running, timeout=within_s)
        for task in running:
            abandon(task)
        cut_off = Missed(why=f"work in hand: cut off after {within_s:g} s")
        ends = [outcome_of(task, what="work in hand") or cut_off for task in running]
        return tuple(end.why for end in ends if isinstance(end, Missed))
