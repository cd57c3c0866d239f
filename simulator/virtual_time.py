"""Time that a program makes: an event loop whose clock is a number, and a clock on a tape.

Two ways to leave the wall clock behind. `VirtualLoop` is for a world within one process: nothing
ever waits, so a day passes in seconds; work for another thread is done on the loop, so that the
order of everything is decided by the program alone. Sockets between parts of that process need a
moment of real time, which `patience_s` gives them. `TapeClock` is for a world with real IO
(sockets, another process): time stands still while anybody works and moves only when everybody
sleeps.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

from errors import InvariantViolation

Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")


class _InstantSelector(selectors.DefaultSelector):
    """A selector that never waits: it adds what it was told to wait to the loop's time."""

    elapsed_s = 0.0
    patience_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now; otherwise let the time-out pass in an instant."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout != 0 and self.patience_s:
            ready = super().select(self.patience_s)
        if not ready:
            if timeout is None:
                raise InvariantViolation("virtual time: every task waits for something else")
            self.elapsed_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time: `time()` starts at 0 and moves only by waiting.

    Before it moves, sockets get `patience_s` of real time to bring what is under way.
    """

    def __init__(self, *, patience_s: float = 0.0) -> None:
        self._instant = _InstantSelector()
        self._instant.patience_s = patience_s
        super().__init__(self._instant)

    def time(self) -> float:
        """Seconds of simulated time since the loop was made."""
        return self._instant.elapsed_s

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Arguments]], Value],
        *args: *Arguments,
    ) -> asyncio.Future[Value]:
        """Do the work on the loop: a thread would take real time, of which there is none."""
        del executor

        async def work() -> Value:
            return func(*args)

        return self.create_task(work())


class LoopClock:
    """A clock that follows the running loop: wall time = epoch + loop time + jumps."""

    def __init__(self, *, epoch: float) -> None:
        self._epoch = epoch
        self._jumped_s = 0.0

    def now(self) -> float:
        """UTC seconds of the simulation, including jumps."""
        return self._epoch + asyncio.get_running_loop().time() + self._jumped_s

    def monotonic(self) -> float:
        """Seconds since the loop was made; jumps do not show."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait in simulated time."""
        await asyncio.sleep(max(0.0, seconds))

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server would."""
        self._jumped_s += seconds


class TapeClock:
    """A clock that stands still while work is done and moves when all parties sleep.

    `parties` is the number of long-lived tasks that wait by `sleep`; `advance` is told each new
    time before anybody wakes, so that prices move together with it.
    """

    def __init__(
        self, *, starts_at: float, parties: int, advance: Callable[[float], Awaitable[None]]
    ) -> None:
        self._now = starts_at
        self.parties = parties
        self._advance = advance
        self._asleep: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = 0
        self._mover: asyncio.Task[None] | None = None

    def now(self) -> float:
        """UTC seconds on the tape."""
        return self._now

    def monotonic(self) -> float:
        """The same seconds: nothing sets this clock back."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the tape has moved on; the last party to fall asleep moves it.

        Raises what `advance` raised when the tape cannot be moved.
        """
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._asleep, (self._now + seconds, self._sequence, wake))
        self._move_if_all_asleep()
        await wake

    def leave(self) -> None:
        """Count one party less: a task that ended no longer holds time back."""
        self.parties -= 1
        self._move_if_all_asleep()

    def _move_if_all_asleep(self) -> None:
        self._asleep = [entry for entry in self._asleep if not entry[2].done()]
        heapq.heapify(self._asleep)
        if self._asleep and len(self._asleep) >= self.parties and self._mover is None:
            self._mover = asyncio.get_running_loop().create_task(self._move())
            self._mover.add_done_callback(self._moved)

    async def _move(self) -> None:
        target, _, _ = self._asleep[0]
        await self._advance(target)
        self._now = target
        while self._asleep and self._asleep[0][0] <= target:
            _, _, wake = heapq.heappop(self._asleep)
            if not wake.done():
                wake.set_result(None)

    def _moved(self, mover: asyncio.Task[None]) -> None:
        """Allow the next move; a move that failed wakes everybody with its fault."""
        self._mover = None
        fault = None if mover.cancelled() else mover.exception()
        if fault is not None:
            for _, _, wake in self._asleep:
                if not wake.done():
                    wake.set_exception(fault)
        # Whoever was to be woken may have gone meanwhile, and then nobody else would move time.
        self._move_if_all_asleep()
