"""Stage 3 is latched: the account is flat, bots are locked, and only the operator ends that.

No fault does. What a bot opens all the same is closed again as soon as the guard sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model import Stage
from tests.recovery import faults
from tests.recovery.cells import each, holds_in_every_cell
from tests.recovery.faults import HOUR, Fault
from tests.recovery.scene import HELD, Phase, Scene, enact
from tests.virtual_house import BOOK


@dataclass(frozen=True, slots=True, kw_only=True)
class Latched:
    """How soon what appeared during a fault is closed, in seconds from the fault's end.

    0 where the fault keeps nobody from closing it while it lasts.
    """

    name: str
    fault: Fault
    closes_within_s: float
    for_s: float = 60.0
    locks: frozenset[str] = frozenset({"stage"})


CELLS = (
    Latched(name="1e", fault=faults.KILLED, closes_within_s=1),
    Latched(name="2e", fault=faults.STOPPED, closes_within_s=1),
    Latched(name="3e", fault=faults.KILLED, for_s=2 * HOUR, closes_within_s=1),
    Latched(name="4e", fault=faults.KILLED, for_s=25 * HOUR, closes_within_s=1),
    Latched(name="5e", fault=faults.DARK, for_s=200, closes_within_s=31),
    Latched(name="6e-hangs", fault=faults.HANGING, for_s=200, closes_within_s=31),
    Latched(name="6e-slow", fault=faults.SLOW, closes_within_s=0),
    Latched(name="7e", fault=faults.FLICKERING, for_s=120, closes_within_s=0),
    Latched(name="8e", fault=faults.KEY_REFUSED, for_s=200, closes_within_s=1),
    Latched(name="9e", fault=faults.DATABASE_LOCKED, closes_within_s=0),
    Latched(name="10e", fault=faults.DATABASE_HANGS, closes_within_s=0),
    Latched(name="11e", fault=faults.DISK_FULL, closes_within_s=0),
    Latched(
        name="12e",
        fault=faults.DATABASE_LOST,
        closes_within_s=1,
        locks=frozenset({"stage", "halt"}),
    ),
    Latched(
        name="13e",
        fault=faults.DATABASE_UNREADABLE,
        closes_within_s=1,
        locks=frozenset({"stage", "halt"}),
    ),
    Latched(name="14e", fault=faults.LOCK_DELETED, closes_within_s=0),
    Latched(name="15e", fault=faults.LOCK_UNWRITABLE, closes_within_s=0),
    Latched(name="16e-lost", fault=faults.LOCK_LOST, closes_within_s=1),
    Latched(name="16e-unreadable", fault=faults.LOCK_UNREADABLE, closes_within_s=1),
    Latched(name="17e", fault=faults.CLOCK_FORWARD, closes_within_s=0),
    Latched(name="18e", fault=faults.CLOCK_BACK, closes_within_s=0),
    Latched(name="19e", fault=faults.STARTED_LATER, closes_within_s=1),
    Latched(name="20e", fault=faults.STARTED_EARLIER, closes_within_s=1),
    Latched(name="24e-adapter", fault=faults.ADAPTER_TRIPS, closes_within_s=31),
    Latched(name="24e-deciding", fault=faults.DECIDING_TRIPS, closes_within_s=31),
    Latched(name="25e", fault=faults.INVARIANT_BROKEN, closes_within_s=1),
    Latched(name="26e", fault=faults.NOT_CONFIGURED, for_s=200, closes_within_s=1),
    Latched(name="27e-dead", fault=faults.REDIS_DEAD, for_s=200, closes_within_s=0),
    Latched(name="27e-hangs", fault=faults.REDIS_HANGS, for_s=200, closes_within_s=0),
    Latched(name="28e-dead", fault=faults.TARGET_DEAD, closes_within_s=0),
    Latched(name="28e-hangs", fault=faults.TARGET_HANGS, closes_within_s=0),
)


@each(CELLS)
def test_nothing_but_the_reset_ends_stage_3(tmp_path: Path, cell: Latched) -> None:
    """Locked all along, what appears is closed, and free 3 s after the reset (lesson 34)."""

    async def story(scene: Scene) -> None:
        began = scene.time
        await cell.fault.strike(scene)
        scene.house.bot_order("SOLUSDT", "BUY", quantity=3)
        await scene.house.wait(cell.for_s)
        if not cell.closes_within_s:
            assert scene.house.held("SOL") == 0
        await cell.fault.heal(scene)
        await scene.until(
            lambda: not any(map(scene.house.held, HELD)), within_s=cell.closes_within_s or 1
        )
        await scene.until(lambda: not scene.is_acting(), within_s=45)
        await scene.house.wait(15)
        assert scene.stage is Stage.ALL_CLOSED
        lock = scene.house.lock()
        assert {entry["mode"] for entry in lock["locks"]} == cell.locks
        assert lock["manual_reset_required"]
        assert not scene.simple.was_ever(False, since=began)
        assert not scene.strict.was_ever(False, since=began)
        scene.house.ask("reset")
        await scene.house.wait(3)
        assert scene.stage is Stage.ALL_CLOSED
        scene.house.ask("reset", confirm=BOOK)
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=3)

    holds_in_every_cell(enact(tmp_path, Phase.LATCHED, story, furnish=cell.fault.furnish))
