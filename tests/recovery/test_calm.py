"""Calm: no fault may lock, forget or close anything on its own, and the next fall is still seen.

A fall to 9,520 is 6.67 % below the peak of 10,200 and 4.80 % below the 10,000 that were read last,
so the figure in the trigger's reason tells which peak was known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.recovery import faults
from tests.recovery.cells import Stop, each, holds_in_every_cell, proves, was_as_told
from tests.recovery.faults import HOUR, Fault
from tests.recovery.scene import Phase, Scene, enact

NEXT_FALL = {"SOL": "103.8", "XRP": "0.52"}
FROM_PEAK, FROM_LAST = "6.67", "4.80"
BLIND = ("blind", "blind_lock_set", "sight_regained", "blind_lock_lifted")
SILENT = ("switch_silent", "switch_answers")
SETTLES_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """A fault in a calm hour: when it stops bots, what is told, and which peak is left."""

    name: str
    fault: Fault
    for_s: float = 20.0
    simple: Stop | None = None
    strict: Stop | None = None
    told: tuple[str, ...] = ()
    keeps_readings: bool = False
    drawdown: str = FROM_PEAK
    acts_within_s: float = 30.0


STALE = Stop(50, 61, 1)
DARKNESS = Stop(110, 121, 31)

CELLS = (
    Calm(name="1a", fault=faults.KILLED),
    Calm(name="2a", fault=faults.STOPPED),
    Calm(name="3a", fault=faults.KILLED, for_s=2 * HOUR, strict=STALE, drawdown=FROM_LAST),
    Calm(
        name="5a",
        fault=faults.DARK,
        for_s=300,
        simple=DARKNESS,
        strict=DARKNESS,
        told=BLIND,
    ),
    Calm(
        name="6a-hangs",
        fault=faults.HANGING,
        for_s=300,
        simple=DARKNESS,
        strict=DARKNESS,
        told=BLIND,
    ),
    # Calm readings come every 10 s and take 9, alert ones every 3; then the position read takes 9.
    Calm(name="6a-slow", fault=faults.SLOW, for_s=300),
    Calm(name="7a", fault=faults.FLICKERING, for_s=600),
    Calm(
        name="8a",
        fault=faults.KEY_REFUSED,
        for_s=300,
        simple=Stop(110, 121, 1),
        strict=Stop(110, 121, 1),
        told=BLIND,
    ),
    # Slow first, then refused: each reason is told.
    Calm(
        name="9a",
        fault=faults.DATABASE_LOCKED,
        for_s=60,
        told=("store_trouble", "store_trouble", "store_recovered"),
        keeps_readings=True,
    ),
    Calm(
        name="10a",
        fault=faults.DATABASE_HANGS,
        for_s=300,
        told=("store_trouble", "store_recovered"),
        keeps_readings=True,
    ),
    # Thinning old readings is the first to meet the full disk.
    Calm(
        name="11a",
        fault=faults.DISK_FULL,
        for_s=300,
        told=("store_upkeep_trouble", "store_trouble", "store_recovered", "store_upkeep_recovered"),
        keeps_readings=True,
    ),
    Calm(name="14a", fault=faults.LOCK_DELETED, simple=Stop(0, 1, 10), strict=Stop(0, 1, 10)),
    Calm(
        name="15a",
        fault=faults.LOCK_UNWRITABLE,
        for_s=300,
        strict=Stop(50, 61, 11),
        told=("lock_trouble", "lock_recovered"),
    ),
    Calm(name="16a-lost", fault=faults.LOCK_LOST, simple=Stop(0, 1, 1), strict=Stop(0, 1, 1)),
    Calm(
        name="16a-unreadable",
        fault=faults.LOCK_UNREADABLE,
        simple=Stop(0, 1, 1),
        strict=Stop(0, 1, 1),
    ),
    Calm(name="17a", fault=faults.CLOCK_FORWARD, strict=Stop(0, 1, 2), told=("clock_moved",)),
    Calm(name="18a", fault=faults.CLOCK_BACK, strict=Stop(0, 1, 10), told=("clock_moved",)),
    Calm(name="19a", fault=faults.STARTED_LATER, strict=Stop(0, 1, 1), drawdown=FROM_LAST),
    Calm(name="20a", fault=faults.STARTED_EARLIER, strict=Stop(0, 1, 1), told=("clock_set_back",)),
    Calm(
        name="24a-adapter",
        fault=faults.ADAPTER_TRIPS,
        for_s=300,
        simple=DARKNESS,
        strict=DARKNESS,
        told=BLIND,
    ),
    Calm(
        name="24a-deciding",
        fault=faults.DECIDING_TRIPS,
        for_s=180,
        simple=Stop(110, 121, 31),
        strict=Stop(110, 121, 31),
        told=("task_failed", *BLIND),
    ),
    Calm(
        name="25a",
        fault=faults.INVARIANT_BROKEN,
        simple=Stop(0, 10.5, 1),
        strict=Stop(0, 10.5, 1),
        told=("task_failed",),
    ),
    Calm(name="26a", fault=faults.NOT_CONFIGURED),
    Calm(
        name="27a-dead",
        fault=faults.REDIS_DEAD,
        for_s=300,
        simple=Stop(0, 1, 1),
        strict=Stop(0, 1, 1),
        told=SILENT,
    ),
    Calm(
        name="27a-hangs",
        fault=faults.REDIS_HANGS,
        for_s=300,
        simple=Stop(5, 7, 6),
        strict=Stop(5, 7, 6),
        told=SILENT,
    ),
    Calm(name="28a-dead", fault=faults.TARGET_DEAD, for_s=300),
    Calm(name="28a-hangs", fault=faults.TARGET_HANGS, for_s=300),
)


@each(CELLS)
def test_a_fault_in_a_calm_hour_locks_as_long_as_it_must_and_forgets_no_more_than_said(
    tmp_path: Path, cell: Calm
) -> None:
    """Both bots and the audit as in the table; nothing is sent; the next fall is acted on."""

    async def story(scene: Scene) -> None:
        began = await cell.fault.last(scene, for_s=cell.for_s)
        ended = scene.time
        await scene.house.wait(SETTLES_S)
        assert was_as_told(scene.simple, cell.simple, began=began, ended=ended)
        assert was_as_told(scene.strict, cell.strict, began=began, ended=ended)
        assert tuple(scene.house.events()) == cell.told
        assert not cell.keeps_readings or scene.stored_readings() == len(scene.venue.given)
        assert scene.venue.sent == []
        scene.house.prices(**NEXT_FALL)
        await scene.until(scene.is_halved, within_s=cell.acts_within_s)
        (trigger,) = scene.house.audit("trigger")
        assert f"drawdown {cell.drawdown}%" in trigger.message

    holds_in_every_cell(enact(tmp_path, Phase.CALM, story, furnish=cell.fault.furnish))


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """How long the guard was down while the account fell, and whether it acts on that."""

    name: str
    for_s: float
    acts: bool


@each(
    [Down(name="3a-fell", for_s=2 * HOUR, acts=True), Down(name="4a", for_s=25 * HOUR, acts=False)]
)
def test_what_was_lost_while_the_guard_was_down_counts_for_a_day(
    tmp_path: Path, cell: Down
) -> None:
    """From the last reading before the stop; from the first after it when that is a day old."""

    async def story(scene: Scene) -> None:
        scene.kill()
        await scene.house.wait(cell.for_s)
        scene.house.prices(**NEXT_FALL)
        await scene.start()
        if cell.acts:
            await scene.until(scene.is_acting, within_s=10)
            assert f"drawdown {FROM_LAST}%" in scene.house.audit("trigger")[0].message
            return
        await scene.house.wait(60)
        assert scene.house.events() == []
        scene.house.prices(SOL="108.2")
        await scene.until(scene.is_acting, within_s=30)
        # 9,520 to 9,080
        assert "drawdown 4.62%" in scene.house.audit("trigger")[0].message

    holds_in_every_cell(enact(tmp_path, Phase.CALM, story))


LOST = {"12a": faults.DATABASE_LOST, "13a": faults.DATABASE_UNREADABLE}


@proves(*LOST)
def test_without_its_database_a_calm_guard_locks_until_the_reset(tmp_path: Path, cell: str) -> None:
    """Nobody knows what was open: bots stop with the start, the guard watches on from there."""

    async def story(scene: Scene) -> None:
        await LOST[cell].last(scene, for_s=20)
        started = scene.time
        await scene.house.wait(60)
        assert scene.simple.when(True, since=started) in (0, 1)
        assert not scene.simple.was_ever(False, since=started + 1)
        lock = scene.house.lock()
        assert (lock["reason"], lock["manual_reset_required"]) == ("state_lost", True)
        assert scene.guard.notices[-1].endswith("bots stay locked until every book is reset")
        assert len(list(scene.house.folder.glob("*.unreadable-*[0-9]"))) == (cell == "13a")
        scene.house.ask("reset")
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=3)
        scene.house.prices(**NEXT_FALL)
        await scene.until(scene.is_halved, within_s=30)
        assert f"drawdown {FROM_LAST}%" in scene.house.audit("trigger")[0].message

    holds_in_every_cell(enact(tmp_path, Phase.CALM, story))
