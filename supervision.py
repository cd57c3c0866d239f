"""Keeps the guard's work going whatever goes wrong in it: the one broad handler of the program.

Owns what a fault of our own does: it is recorded and told, never loosens anything, and never ends
the guard. A step that fails is repeated with growing pauses. Its rules:

- InvariantViolation is no fault of a step: the guard must not go on, so it passes through.
- A cancellation that nobody asked of the task itself is a fault like any other: to end because
  of it would leave an account unwatched in silence.
- Of faults in a row the first and every twentieth are told, so that a broken step fills no disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from attempts import nap, words_of
from clock import Clock
from errors import InvariantViolation
from logger import Logger
from memory import AuditEntry, Records, Severity
from recorder import Recorder

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
"""What fails is tried again for ever, at most this far apart (behaviour.md section 3)."""
LEAST_PAUSE_S = 0.05
FAULTS_TOLD_EVERY = 20

Value = TypeVar("Value")
Given = ParamSpec("Given")


def stray_fault_handler(
    log: Logger,
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What the event loop is to call for a fault that nobody waited for: our log, masked."""

    def tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.error("stray_fault", message=context["message"], exc_info=context.get("exception"))

    return tell


class Supervisor:
    """Does work under a name; what goes wrong in it is counted by that name."""

    def __init__(self, *, recorder: Recorder, clock: Clock, log: Logger, dry_run: bool) -> None:
        self._recorder = recorder
        self._clock = clock
        self._log = log
        self._dry_run = dry_run
        self._faults: dict[str, int] = {}

    @contextmanager
    def supervise(self, name: str) -> Iterator[None]:
        """Record a fault of the body instead of raising it."""
        try:
            yield
        except InvariantViolation:
            raise
        except asyncio.CancelledError as stray:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._note(name, stray)
        except Exception as fault:  # noqa: BLE001 - the one place: no fault ends the guard
            self._note(name, fault)
        else:
            self._faults.pop(name, None)

    async def attend(self, name: str, step: Callable[[], Awaitable[Value]]) -> Value | None:
        """Do one step; None after a fault in it."""
        with self.supervise(name):
            return await step()
        return None

    async def repeat(
        self,
        name: str,
        step: Callable[[], Awaitable[float]],
        *,
        until: asyncio.Event,
        bell: asyncio.Event | None = None,
    ) -> None:
        """Do a step again and again, each after the pause in seconds that the last one named.

        Whoever sets the `bell` ends the pause.
        """
        faults = 0
        while not until.is_set():
            pause_s = await self.attend(name, step)
            faults = 0 if pause_s is not None else faults + 1
            if pause_s is None:
                pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(faults - 1, 5))
            if bell is None:
                await self._clock.sleep(max(LEAST_PAUSE_S, pause_s))
            else:
                await nap(self._clock, max(LEAST_PAUSE_S, pause_s), unless=bell)
                bell.clear()

    def soon(
        self, name: str, tell: Callable[Given, None], *given: Given.args, **named: Given.kwargs
    ) -> None:
        """Call `tell` in the next round of the loop: what only informs delays nothing."""

        def telling() -> None:
            with self.supervise(name):
                tell(*given, **named)

        asyncio.get_running_loop().call_soon(telling)

    def record(self, what: str) -> None:
        """Put a fault into the audit."""
        entry = AuditEntry(
            at=self._clock.now(),
            scope="*",
            event="task_failed",
            message=what,
            dry_run=self._dry_run,
            severity=Severity.CRITICAL,
        )
        self._recorder.add(Records(audits=(entry,)))

    def _note(self, name: str, fault: BaseException) -> None:
        count = self._faults[name] = self._faults.get(name, 0) + 1
        if count == 1 or count % FAULTS_TOLD_EVERY == 0:
            self._log.error("task_failed", task=name, faults=count, exc_info=fault)
            self.record(f"{name}: {type(fault).__name__}: {words_of(fault)}")
