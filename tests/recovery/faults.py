"""The rows of the matrix: how each fault begins and how it ends.

Between the two a test lets time pass. What a fault needs a restart for ends with one, as a
supervisor or a person would make it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from decision import Decision, Observation, decide
from errors import InvariantViolation
from memory import Memory
from model import BookName, RefusalReason, ScopeId
from policy import Policy
from tests.memory_redis import MemoryRedis
from tests.memory_venue import MemoryVenue, Trouble
from tests.recovery.scene import Scene
from tests.test_alert_desk import told_by
from tests.test_notifier import Receiver
from tests.virtual_house import House

HOUR = 3600.0
BUSY_S = 5.0
"""As long as the real store waits for a foreign lock."""
SLOW_S = 9.0
"""Of 10 s that an answer may take."""

Step = Callable[[Scene], Awaitable[None]]


def _nothing_more(_house: House) -> None:
    """A house that needs nothing for this."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How a fault begins and how it ends.

    `furnish` brings into a house what is to fail there; the scene has it as `beside`.
    """

    strike: Step
    heal: Step
    furnish: Callable[[House], object] = _nothing_more

    async def last(self, scene: Scene, *, for_s: float) -> float:
        """Let it begin, last, and end; returns when it began."""
        began = scene.time
        await self.strike(scene)
        await scene.house.wait(for_s)
        await self.heal(scene)
        return began


async def _start(scene: Scene) -> None:
    await scene.start()


# --- the guard is gone ------------------------------------------------------------------------


async def _kill(scene: Scene) -> None:
    scene.kill()


async def _stop(scene: Scene) -> None:
    await scene.stop()


KILLED = Fault(_kill, _start)
STOPPED = Fault(_stop, _start)


# --- the venue --------------------------------------------------------------------------------


async def _calm_venue(scene: Scene) -> None:
    scene.venue.calm()
    scene.venue.latency_s = 0.05
    scene.venue.fails_of_ten = 0


async def _go_dark(scene: Scene) -> None:
    scene.venue.plan("fetch|find|start", Trouble.UNAVAILABLE)
    scene.venue.plan("submit", Trouble.LOST_BEFORE)


async def _hang(scene: Scene) -> None:
    scene.venue.plan(".", Trouble.HANG)


async def _slow(scene: Scene) -> None:
    scene.venue.latency_s = SLOW_S


async def _flicker(scene: Scene) -> None:
    scene.venue.fails_of_ten = 2


async def _refuse_key(scene: Scene) -> None:
    scene.venue.plan("fetch|find|start", Trouble.UNAVAILABLE)
    scene.venue.plan("submit", Trouble.REFUSE, reason=RefusalReason.NOT_ALLOWED)


async def _new_key(scene: Scene) -> None:
    """A key comes from the environment, so the guard is started anew with it."""
    await scene.stop()
    scene.venue.calm()
    await scene.start()


DARK = Fault(_go_dark, _calm_venue)
HANGING = Fault(_hang, _calm_venue)
SLOW = Fault(_slow, _calm_venue)
FLICKERING = Fault(_flicker, _calm_venue)
KEY_REFUSED = Fault(_refuse_key, _new_key)


# --- database and disk ------------------------------------------------------------------------


async def _heal(scene: Scene) -> None:
    scene.undo.close()


async def _lock_database(scene: Scene) -> None:
    """A real lock of another connection; the wait for it takes no real time."""
    store = scene.guard.store
    store._store._connection.execute("PRAGMA busy_timeout = 0")
    store.delay_s = BUSY_S
    other = sqlite3.connect(scene.house.db_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def release() -> None:
        other.execute("ROLLBACK")
        other.close()
        store.delay_s = 0.0

    scene.undo.callback(release)


async def _hang_database(scene: Scene) -> None:
    store = scene.guard.store
    store.is_hanging = True
    scene.undo.callback(setattr, store, "is_hanging", False)


async def _fill_disk(scene: Scene) -> None:
    """The lock file has room of its own, kept back for this."""
    store = scene.guard.store
    store.is_down = True
    scene.undo.callback(setattr, store, "is_down", False)


def _database_files(scene: Scene) -> list[Path]:
    return sorted(scene.house.folder.glob(f"{scene.house.db_path.name}*"))


async def _lose_database(scene: Scene) -> None:
    await scene.stop()
    for file in _database_files(scene):
        file.unlink()


async def _garble_database(scene: Scene) -> None:
    await scene.stop()
    for file in _database_files(scene):
        file.write_bytes(b"this was a database" * 1000)


DATABASE_LOCKED = Fault(_lock_database, _heal)
DATABASE_HANGS = Fault(_hang_database, _heal)
DISK_FULL = Fault(_fill_disk, _heal)
DATABASE_LOST = Fault(_lose_database, _start)
DATABASE_UNREADABLE = Fault(_garble_database, _start)


# --- the lock file ----------------------------------------------------------------------------


async def _delete_lock(scene: Scene) -> None:
    scene.house.lock_path.unlink()


async def _nothing(_scene: Scene) -> None:
    """It is over already."""


async def _forbid_lock(scene: Scene) -> None:
    scene.house.lock_fails = True
    scene.undo.callback(setattr, scene.house, "lock_fails", False)


async def _lose_lock(scene: Scene) -> None:
    await scene.stop()
    scene.house.lock_path.unlink()


async def _garble_lock(scene: Scene) -> None:
    await scene.stop()
    scene.house.lock_path.write_text('{"version": 2, "locked', encoding="utf-8")


LOCK_DELETED = Fault(_delete_lock, _nothing)
LOCK_UNWRITABLE = Fault(_forbid_lock, _heal)
LOCK_LOST = Fault(_lose_lock, _start)
LOCK_UNREADABLE = Fault(_garble_lock, _start)


# --- the clock --------------------------------------------------------------------------------


def _clock(by_s: float, *, between_runs: bool) -> Fault:
    async def set_clock(scene: Scene) -> None:
        if between_runs:
            scene.kill()
        scene.house.clock.jump(by_s)

    return Fault(set_clock, _start if between_runs else _nothing)


CLOCK_FORWARD = _clock(HOUR, between_runs=False)
CLOCK_BACK = _clock(-HOUR, between_runs=False)
STARTED_LATER = _clock(HOUR, between_runs=True)
STARTED_EARLIER = _clock(-HOUR, between_runs=True)


# --- the guard's own code ---------------------------------------------------------------------


async def _trip_adapter(scene: Scene) -> None:
    scene.venue.plan("fetch_reading", Trouble.BUG)


def _break_deciding(scene: Scene, fault: Exception) -> None:
    """Let every decision about a reading fail."""
    patch = scene.undo.enter_context(pytest.MonkeyPatch.context())

    def broken(memory: Memory, observation: Observation, policy: Policy) -> Decision:
        if any(seen.reading is not None for seen in observation.scopes):
            raise fault
        return decide(memory, observation, policy)

    patch.setattr("guardian.decide", broken)
    patch.setattr("scope_watch.decide", broken)


async def _trip_deciding(scene: Scene) -> None:
    _break_deciding(scene, ValueError("an odd number"))


async def _break_invariant(scene: Scene) -> None:
    """The guard ends itself; whoever supervises it starts it again."""
    _break_deciding(scene, InvariantViolation("a size that must never be"))
    with pytest.raises(InvariantViolation):
        await scene.guard.running
    await scene.has_ended()


async def _mend_and_start(scene: Scene) -> None:
    scene.undo.close()
    await scene.start()


ADAPTER_TRIPS = Fault(_trip_adapter, _calm_venue)
DECIDING_TRIPS = Fault(_trip_deciding, _heal)
INVARIANT_BROKEN = Fault(_break_invariant, _mend_and_start)


# --- the configuration ------------------------------------------------------------------------


OTHER = ScopeId("other_futures")


async def _take_out(scene: Scene) -> None:
    """The guard is started again with another account in the place of this one."""
    await scene.stop()
    house = scene.house
    exchange = House(folder=house.folder, clock=house.clock).exchange
    house.others[OTHER] = MemoryVenue(exchange=exchange, clock=house.clock, scope=OTHER)
    (known,) = house.policy.books
    scene.undo.callback(setattr, house, "policy", house.policy)
    other = replace(known, name=BookName(OTHER), scopes=(OTHER,))
    house.policy = replace(house.policy, books=(other,))
    await scene.start()


async def _put_back(scene: Scene) -> None:
    await scene.stop()
    await _mend_and_start(scene)


NOT_CONFIGURED = Fault(_take_out, _put_back)


# --- what is beside the guard -----------------------------------------------------------------


def _with_redis(house: House) -> MemoryRedis:
    house.redis = MemoryRedis(clock=house.clock, value="running")
    return house.redis


def _with_target(house: House) -> Receiver:
    receiver = Receiver(house.clock)
    house.make_alerts = told_by(house, receiver)
    return receiver


async def _refuse(scene: Scene) -> None:
    match scene.beside:
        case MemoryRedis() as redis:
            redis.why_silent = "connection refused"
        case Receiver() as receiver:
            receiver.refuses = lambda _alert: "connection refused"


async def _never_answer(scene: Scene) -> None:
    match scene.beside:
        case MemoryRedis() as redis:
            redis.delay_s = HOUR
        case Receiver() as receiver:
            receiver.takes_s = HOUR


async def _answer(scene: Scene) -> None:
    match scene.beside:
        case MemoryRedis() as redis:
            redis.why_silent, redis.delay_s = "", 0.0
        case Receiver() as receiver:
            receiver.refuses, receiver.takes_s = lambda _alert: "", 0.0


REDIS_DEAD = Fault(_refuse, _answer, _with_redis)
REDIS_HANGS = Fault(_never_answer, _answer, _with_redis)
TARGET_DEAD = Fault(_refuse, _answer, _with_target)
TARGET_HANGS = Fault(_never_answer, _answer, _with_target)
