"""Housekeeping of the store in moments that nothing else needs.

Owns that at most one step of it runs, and that nobody waits for it: a disk that hangs in the middle
of a step must hold up neither a reading nor the heartbeat. Knows nothing of what is tidied, nor
when there is time for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from errors import StoreError
from supervision import Supervisor
from troubles import Troubles

Step = Callable[[], Coroutine[Any, Any, object]]


def telling(step: Step, troubles: Troubles) -> Step:
    """The step, whose failure is a trouble of the disk: told once while it lasts, no fault of ours.

    It has a name of its own among the troubles: that a step worked proves nothing of a commit.
    """

    async def step_and_tell() -> None:
        try:
            await step()
        except StoreError as error:
            troubles.begin("store_upkeep", str(error))
        else:
            troubles.end("store_upkeep")

    return step_and_tell


class Tidying:
    """Does one step after the other, each in a task of its own; without a `step` nothing."""

    def __init__(self, step: Step | None, *, supervisor: Supervisor) -> None:
        self._step = step
        self._supervisor = supervisor
        self._running: asyncio.Task[object] | None = None

    @property
    def is_free(self) -> bool:
        """Whether another step could begin."""
        return self._step is not None and (self._running is None or self._running.done())

    def begin(self) -> None:
        """Begin a step; call it only when free."""
        if self._step is not None:
            self._running = asyncio.create_task(self._supervisor.attend("tidying", self._step))

    async def stop(self) -> None:
        """Wait no longer for the step in hand; what it has begun on the disk comes to its end."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
