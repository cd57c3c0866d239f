"""Time as the guard sees it: a wall clock for deadlines, a monotonic one for elapsed time.

Owns the only reads of the machine's clock. Everything that waits or asks for `now` gets one of
these, so that a simulation can stop, skip and bend time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where `now`, elapsed time and pauses come from."""

    def now(self) -> float:
        """UTC seconds; may jump when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds that never go back, comparable only within one process."""

    async def sleep(self, seconds: float) -> None:
        """Wait; returns at once for zero or less."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """UTC seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))
