"""One guard in a process of its own that ticks when it is told, and says what that cost.

    python3 -m benchmarks.guard_process CONFIG STARTS_AT

One JSON object per line in and out: `{"do": "tick", "at": TIME}` answers with the CPU time of this
whole process, all threads, in milliseconds; `{"do": "stop"}` ends. Time is the caller's, so that a
tick per three simulated seconds needs no waiting. The guard is put together as in production; only
its clock and the two marks around its first orders are of this file.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scene import SCOPE
from commands.assembly import access_of, assemble
from decision import Decision
from guardian import Guardian
from logger import configure_logging, get_logger
from model import CloseInstruction, Outcome, ScopeId
from redaction import Redactor
from settings import VenueSettings, load_settings
from venues.binance import BinanceFutures

KEYS = {"BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"}


def cpu_ms() -> float:
    """CPU time of this process so far, user and system, all threads, in milliseconds."""
    return time.process_time_ns() / 1e6


class ToldClock:
    """A clock that is set by the caller and runs on from there."""

    def __init__(self, at: float) -> None:
        self._at = at
        self._since = time.monotonic()

    def set(self, at: float) -> None:
        """Make it `at` (UTC seconds) now."""
        self._at, self._since = at, time.monotonic()

    def now(self) -> float:
        """UTC seconds as told, plus what has passed since."""
        return self._at + time.monotonic() - self._since

    def monotonic(self) -> float:
        """The same: nothing sets this clock back."""
        return self.now()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(max(0.0, seconds))


class MarkedBinance(BinanceFutures):
    """Notes the CPU time at which the first orders leave and at which the last are answered."""

    left_at_ms: float | None = None
    answered_at_ms: float | None = None

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send the orders between two marks."""
        if self.left_at_ms is None:
            self.left_at_ms = cpu_ms()
        outcomes = await super().submit_closes(instructions)
        self.answered_at_ms = cpu_ms()
        return outcomes


class Process:
    """The guard and what is measured of it."""

    def __init__(self, clock: ToldClock, guardian: Guardian, venue: MarkedBinance) -> None:
        self._clock = clock
        self._guardian = guardian
        self._venue = venue
        self.opened = 0
        self.profile: cProfile.Profile | None = None

    async def tick(self, at: float) -> dict[str, Any]:
        """Tick once at the given time."""
        self._clock.set(at)
        self.opened = 0
        self._venue.left_at_ms = self._venue.answered_at_ms = None
        if self.profile is not None:
            self.profile.enable()
        began = cpu_ms()
        await self._guardian.tick(SCOPE)
        took = cpu_ms() - began
        if self.profile is not None:
            self.profile.disable()
        left, answered = self._venue.left_at_ms, self._venue.answered_at_ms
        return {
            "cpu_ms": took,
            "opened": self.opened,
            "left_ms": None if left is None else left - began,
            "answered_ms": None if answered is None else answered - began,
        }


async def serve(config: Path, starts_at: float) -> None:
    """Answer the caller's lines until it says stop or goes away."""
    settings = load_settings(config, KEYS)
    clock = ToldClock(starts_at)
    made: list[MarkedBinance] = []

    def make(venue: VenueSettings, scope: ScopeId) -> MarkedBinance:
        made.append(
            MarkedBinance(
                scope=scope,
                access=access_of(venue, is_paced=False),
                clock=clock,
                stables=venue.stables,
            )
        )
        return made[-1]

    process: Process | None = None

    def see(decision: Decision) -> None:
        if process is not None:
            process.opened += len(decision.opened)

    async with assemble(
        settings, clock=clock, log=get_logger("benchmark"), on_decision=see, make_venue=make
    ) as guard:
        process = Process(clock, guard.guardian, made[0])
        target = os.environ.get("BENCHMARK_PROFILE")
        process.profile = cProfile.Profile() if target else None
        say({"ready": True})
        while (order := await listen())["do"] == "tick":
            say(await process.tick(order["at"]))
        if process.profile is not None and target:
            process.profile.dump_stats(target)


async def listen() -> dict[str, Any]:
    """The caller's next line; a closed pipe means stop."""
    line = await asyncio.to_thread(sys.stdin.readline)
    order: dict[str, Any] = json.loads(line) if line else {"do": "stop"}
    return order


def say(answer: dict[str, Any]) -> None:
    """Answer with one line."""
    print(json.dumps(answer), flush=True)


def main(config: Path, starts_at: float) -> None:
    """Serve with a log as in production, written beside the settings."""
    with (config.parent / "guard.log").open("w", encoding="utf-8") as log:
        redactor = Redactor(KEYS.values())
        configure_logging(redactor=redactor, json_output=True, verbose=False, stream=log)
        asyncio.run(serve(config, starts_at))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
