"""A house brought into a phase, and two bots that look at its lock all the time.

Equity rests at 10,000 after a peak of 10,200 (SOL at 98). `fall` takes it to 9,600: 5.9 % below the
peak, which is stage 1, and 4.0 % below the rest, which is nothing. So whoever forgets the peak does
not act on the fall. Stage 1 halves both shorts: 50 SOL and 2,500 XRP may remain.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from configuration.schema import STAGE_DEFAULTS
from memory import Severity
from model import Reading, ScopeId, Stage
from policy import Policy
from tests.memory_venue import Call, MemoryVenue, Planned, Trouble
from tests.virtual_house import BOOK, Guard, House, play, policy
from trading_lock import read_lock

REST_S = 300.0
"""The cooldown of every stage here, because every tick writes to a real disk."""
FALL = {"SOL": "103", "XRP": "0.52"}
CRASH = {"SOL": "108", "XRP": "0.52"}
"""9,100: 10.8 % below the peak, which is stage 3."""
HELD = ("SOL", "XRP", "BTC")
HALVES = {"SOL": Decimal(-50), "XRP": Decimal(-2500)}
LANDS_AFTER_S = 3.0
WATCH_EVERY_S = 1.0
IDLE_S = 400.0
WATCH_SLOWLY_EVERY_S = 300.0
SETTLE_STEPS = 200


class Phase(StrEnum):
    """The columns of the matrix; the letter ends the name of a cell."""

    CALM = "a"
    CONFIRMING = "b"
    CLOSING = "c"
    COOLING = "d"
    LATCHED = "e"


def short_rests() -> Policy:
    """The default policy with short cooldowns."""
    plain = policy()
    stages = tuple(replace(stage, cooldown_s=REST_S) for stage in STAGE_DEFAULTS)
    return replace(plain, books=tuple(replace(book, stages=stages) for book in plain.books))


@dataclass(kw_only=True)
class WatchedVenue(MemoryVenue):
    """A venue that remembers when it gave a reading, and may fail so many calls of ten."""

    given: list[float] = field(default_factory=list)
    fails_of_ten: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def _meet(self, name: str, about: str) -> Planned | None:
        if self.dice.randrange(10) >= self.fails_of_ten:
            return super()._meet(name, about)
        lost = self.dice.choice((Trouble.LOST_BEFORE, Trouble.LOST_AFTER))
        trouble = lost if name.startswith("submit") else Trouble.UNAVAILABLE
        return Planned(on=name, trouble=trouble)

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Equity and positions of one moment."""
        reading = await super().fetch_reading(scope)
        self.given.append(self.clock.monotonic())
        return reading


@dataclass(kw_only=True)
class Timeline:
    """Since when something has been so, and not."""

    changes: list[tuple[float, bool]] = field(default_factory=list)

    def see(self, at: float, *, is_so: bool) -> None:
        """Keep how it is now."""
        if not self.changes or self.changes[-1][1] is not is_so:
            self.changes.append((at, is_so))

    def was_ever(self, is_so: bool, *, since: float) -> bool:
        """Whether it was so at any moment from then on."""
        return self.when(is_so, since=since) is not None

    def when(self, is_so: bool, *, since: float) -> float | None:
        """How long after a moment it was first so, None when never."""
        known = [change for change in self.changes if change[0] <= since][-1:]
        later = [change for change in self.changes if change[0] > since]
        for at, state in (*known, *later):
            if state is is_so:
                return max(0.0, at - since)
        return None


@dataclass(kw_only=True)
class Scene:
    """A house with its guards, one after the other, and what bots saw meanwhile.

    `simple` says when a bot was stopped that has the lines of behaviour.md section 11 (what raises
    there stops it as well), `strict` one with the reader of trading_lock.py; `normal` when the
    running guard was in the state NORMAL. `weak_s` is how long the lock on disk said less than the
    stage of the running guard, `unlocked` what was sent in such a moment. `undo` ends what a fault
    began.
    """

    house: House
    venue: WatchedVenue
    simple: Timeline = field(default_factory=Timeline)
    strict: Timeline = field(default_factory=Timeline)
    normal: Timeline = field(default_factory=Timeline)
    guards: list[Guard] = field(default_factory=list)
    is_running: bool = False
    ended_at: float = 0.0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    undo: ExitStack = field(default_factory=ExitStack)
    mark: tuple[int, int] = (0, 0)
    known: dict[str, Any] | None = None
    weak_s: float = 0.0
    unlocked: list[Call] = field(default_factory=list)
    beside: object = None

    @property
    def guard(self) -> Guard:
        """The guard that runs, or ran last."""
        return self.guards[-1]

    @property
    def time(self) -> float:
        """Seconds that no setting of a clock moves."""
        return asyncio.get_running_loop().time()

    @property
    def stage(self) -> Stage:
        """The stage as the guard knows it."""
        return self.guard.book.stage

    def streak(self) -> int:
        """How many readings count for stage 1."""
        return self.guard.book.streak(Stage.REDUCED_TOP_RISK).count

    # --- running ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start a guard on the files as they are."""
        guard = await self.house.assemble()
        guard.running = asyncio.create_task(guard.guardian.run())
        self.guards.append(guard)
        self.is_running = True
        self.started.set()

    async def stop(self) -> None:
        """Stop it as SIGTERM does."""
        await self.guard.stop()
        await self.has_ended()

    def kill(self) -> None:
        """Cut its power."""
        self.guard.die()
        self.is_running, self.ended_at = False, self.time

    async def has_ended(self) -> None:
        """Take note that the guard ended by itself or as it was told to."""
        await self.guard.store.aclose()
        self.is_running, self.ended_at = False, self.time

    async def end(self) -> None:
        """Stop what runs and clean up after what died."""
        if self.is_running:
            await self.stop()
        for guard in self.guards:
            if guard.is_crashed:
                await asyncio.gather(guard.running, return_exceptions=True)
                guard.store.is_dead = False
                await guard.store.aclose()

    # --- the world ----------------------------------------------------------------------------

    def fall(self) -> None:
        """Let the shorts lose what stage 1 acts upon."""
        self.house.prices(**FALL)

    async def until(self, claim: Callable[[], bool], *, within_s: float) -> float:
        """Wait until it holds; returns after how many seconds."""
        return await self.house.until(claim, within_s=within_s, step_s=0.02)

    def rest_left_s(self) -> float:
        """How much of the cooldown of stage 1 is left."""
        return self.guard.book.cooldowns[0] - self.house.clock.now()

    def is_acting(self) -> bool:
        """Whether an incident is open."""
        return self.guard.book.incident is not None

    def is_halved(self) -> bool:
        """Whether exactly what stage 1 lets remain is held."""
        return all(self.house.held(base) == left for base, left in HALVES.items())

    def is_rested(self) -> bool:
        """Whether stage 1 is done with and its cooldown runs."""
        return self.stage is Stage.REDUCED_TOP_RISK and not self.is_acting()

    def readings_since(self, at: float) -> int:
        """How many readings were given from a moment on."""
        return sum(given >= at for given in self.venue.given)

    def stored_readings(self) -> int:
        """How many readings the database holds."""
        with closing(sqlite3.connect(self.house.db_path)) as connection:
            (count,) = connection.execute("SELECT count(reported_equity) FROM snapshots").fetchone()
        return int(count)

    def orders_on_record(self) -> list[str | None]:
        """The outcomes of our orders in the database, None where there is none."""
        with closing(sqlite3.connect(self.house.db_path)) as connection:
            rows = connection.execute("SELECT outcome FROM orders").fetchall()
        return [outcome for (outcome,) in rows]

    def alarms(self) -> tuple[str, ...]:
        """The critical events of the audit, oldest first."""
        actions = reversed(self.house.status().actions)
        return tuple(entry.event for entry in actions if entry.severity is Severity.CRITICAL)

    def closes(self) -> dict[str, list[Decimal]]:
        """What the guard's own orders executed, by symbol."""
        executed: dict[str, list[Decimal]] = {}
        for fill in self.house.fills():
            before, after = (Decimal(str(fill[f"position_{when}"])) for when in ("before", "after"))
            assert before * after >= 0 and abs(after) < abs(before), fill
            executed.setdefault(str(fill["symbol"]), []).append(abs(before) - abs(after))
        return executed

    # --- the bots -----------------------------------------------------------------------------

    def document(self) -> dict[str, Any] | None:
        """The lock on disk, None without one that can be read; each file is parsed once."""
        try:
            found = self.house.lock_path.stat()
        except OSError:
            return None
        mark = (found.st_ino, found.st_mtime_ns)
        if mark != self.mark:
            self.mark = mark
            try:
                self.known = self.house.lock()
            except ValueError:
                self.known = None
        return self.known

    def is_weak(self) -> bool:
        """Whether the lock on disk says less than the stage; without any every bot stops."""
        lock, now = self.document(), self.house.clock.now()
        if not self.is_running or self.stage is Stage.NORMAL or lock is None:
            return False
        binding = [
            entry
            for entry in lock["locks"]
            if entry["expires_ts"] > now
            and entry["mode"] in ("stage", "kill")
            and entry["stage"] >= self.stage
        ]
        is_manual = lock["manual_reset_required"] or self.stage < Stage.ALL_CLOSED
        return not (lock["locked"] and lock["expires_ts"] > now and binding and is_manual)

    def look(self) -> None:
        """Let both bots look at the lock."""
        lock, now = self.document(), self.house.clock.now()
        self.simple.see(
            self.time, is_so=lock is None or (lock["locked"] and lock["expires_ts"] > now)
        )
        state = read_lock(self.house.lock_path, scope=BOOK, now=now)
        self.strict.see(self.time, is_so=state.locked)
        if self.is_running:
            self.normal.see(self.time, is_so=self.stage is Stage.NORMAL)

    async def watch(self) -> None:
        """Look again and again; a decision that is being written has this instant to finish."""
        while True:
            self.look()
            for _ in range(SETTLE_STEPS):
                if not self.is_weak():
                    break
                await asyncio.sleep(0)
            else:
                self.weak_s += WATCH_EVERY_S
            # While nobody writes, all that bots can notice of the file they notice soon.
            is_slow = not self.is_running and self.time - self.ended_at > IDLE_S
            pause_s = WATCH_SLOWLY_EVERY_S if is_slow else WATCH_EVERY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.started.wait()
            self.started.clear()

    def witness(self, call: Call) -> None:
        """See every call before it takes effect: nothing leaves without the lock on disk."""
        if call.name.startswith("submit") and (self.is_weak() or self.document() is None):
            self.unlocked.append(call)


def enact(
    folder: Path,
    phase: Phase,
    story: Callable[[Scene], Awaitable[Any]],
    *,
    fate: Trouble = Trouble.LATE,
    furnish: Callable[[House], object] = lambda _house: None,
) -> Scene:
    """Play a story that begins in a phase; returns the scene as it was at the end.

    `fate` is what becomes of the order for SOL that is under way in the closing phase. What
    `furnish` brings into the house stands beside the guard.
    """

    async def whole() -> Scene:
        house = House(folder=folder, policy=short_rests())
        venue = WatchedVenue(exchange=house.exchange, clock=house.clock)
        house.venue = venue
        scene = Scene(house=house, venue=venue, beside=furnish(house))
        venue.witness = scene.witness
        house.prices(SOL=98)
        await scene.start()
        watching = asyncio.create_task(scene.watch())
        try:
            await bring(scene, phase, fate=fate)
            scene.look()
            await story(scene)
            await scene.end()
        finally:
            scene.undo.close()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        return scene

    return play(whole)


async def bring(scene: Scene, phase: Phase, *, fate: Trouble) -> None:
    """Bring a house whose guard has just started into a phase."""
    house = scene.house
    await house.wait(12)
    house.prices(SOL=100)
    await house.wait(21)
    assert len(scene.venue.given) >= 3
    match phase:
        case Phase.CALM:
            return
        case Phase.CONFIRMING:
            scene.fall()
            await scene.until(lambda: scene.streak() == 2, within_s=20)
        case Phase.CLOSING:
            scene.venue.plan("submit_close", fate, times=1, seconds=LANDS_AFTER_S, symbol="SOL")
            scene.fall()
            await scene.until(lambda: house.held("XRP") == HALVES["XRP"], within_s=30)
            assert house.held("SOL") == -100
        case Phase.COOLING:
            scene.fall()
            await scene.until(scene.is_rested, within_s=40)
            await house.wait(6)
        case Phase.LATCHED:
            house.prices(**CRASH)
            await scene.until(
                lambda: scene.stage is Stage.ALL_CLOSED and not scene.is_acting(), within_s=40
            )
