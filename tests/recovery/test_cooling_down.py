"""Cooling down: stage 1 is done, its cooldown of 300 s runs, bots are locked.

The end of the cooldown stays where it was, and so does the lock until the guard is whole again:
it re-arms with the first trusted reading after that end. A fault either ends before it (`for_s` of
60) or outlasts it (400).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model import Stage
from tests.recovery import faults
from tests.recovery.cells import each, holds_in_every_cell, proves
from tests.recovery.faults import HOUR, Fault
from tests.recovery.scene import HALVES, REST_S, Phase, Scene, enact

SHORT_S, LONG_S = 60.0, 400.0
LOOK_S = 1.0
"""Bots and the state of the guard are looked at once a second."""
BLIND = ("blind", "blind_lock_set", "sight_regained", "rearmed", "blind_lock_lifted")

SILENT = ("switch_silent", "switch_answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """How soon the guard re-arms once cooldown and fault are over, and what is told by then.

    `holds_up`: not while the fault lasts. `later_s`: so much longer than it was to, it lasts.

    `frees_early`: nobody can extend the lock in the file, so a simple bot goes by its end there.
    `weak_s` is how long the lock may say too little meanwhile, `strict_until_s` when a strict bot
    is freed at the earliest, in seconds from the beginning of the fault.
    """

    name: str
    fault: Fault
    for_s: float = SHORT_S
    rearms_within_s: float = 3.5
    holds_up: bool = True
    later_s: float = 0.0
    told: tuple[str, ...] = ("rearmed",)
    frees_early: bool = False
    weak_s: float = 0.0
    strict_until_s: float = 0.0


CELLS = (
    Cooling(name="1d", fault=faults.KILLED),
    Cooling(name="2d", fault=faults.STOPPED),
    Cooling(name="3d", fault=faults.KILLED, for_s=LONG_S, frees_early=True),
    Cooling(
        name="4d",
        fault=faults.KILLED,
        for_s=25 * HOUR,
        frees_early=True,
    ),
    # A dark venue is asked again at most 30 s later.
    Cooling(name="5d-short", fault=faults.DARK, for_s=20, rearms_within_s=10.5),
    Cooling(name="5d-long", fault=faults.DARK, for_s=LONG_S, rearms_within_s=31, told=BLIND),
    Cooling(name="6d-hangs", fault=faults.HANGING, for_s=LONG_S, rearms_within_s=31, told=BLIND),
    Cooling(
        name="6d-slow",
        fault=faults.SLOW,
        for_s=LONG_S,
        holds_up=False,
        rearms_within_s=3.5 + faults.SLOW_S,
    ),
    Cooling(name="7d", fault=faults.FLICKERING, for_s=LONG_S, holds_up=False, rearms_within_s=20),
    Cooling(name="8d", fault=faults.KEY_REFUSED, for_s=LONG_S, told=BLIND),
    Cooling(
        name="9d-short",
        fault=faults.DATABASE_LOCKED,
        told=("store_trouble", "store_trouble", "store_recovered", "rearmed"),
    ),
    Cooling(
        name="10d-short",
        fault=faults.DATABASE_HANGS,
        told=("store_trouble", "store_recovered", "rearmed"),
    ),
    Cooling(
        name="11d-short",
        fault=faults.DISK_FULL,
        told=(
            "store_upkeep_trouble",
            "store_trouble",
            "store_recovered",
            "store_upkeep_recovered",
            "rearmed",
        ),
    ),
    # The file says when the lock ends, and nobody can write another time into it.
    Cooling(
        name="15d-long",
        fault=faults.LOCK_UNWRITABLE,
        for_s=LONG_S,
        holds_up=False,
        told=("lock_trouble", "rearmed", "lock_recovered"),
        frees_early=True,
        weak_s=4.0,
        strict_until_s=LONG_S,
    ),
    Cooling(name="14d", fault=faults.LOCK_DELETED),
    Cooling(
        name="15d-short",
        fault=faults.LOCK_UNWRITABLE,
        told=("lock_trouble", "lock_recovered", "rearmed"),
    ),
    Cooling(name="16d-lost", fault=faults.LOCK_LOST),
    Cooling(name="16d-unreadable", fault=faults.LOCK_UNREADABLE),
    Cooling(
        name="17d",
        fault=faults.CLOCK_FORWARD,
        rearms_within_s=4.0,
        told=("clock_moved", "rearmed"),
        frees_early=True,
        weak_s=2.0,
    ),
    Cooling(
        name="18d", fault=faults.CLOCK_BACK, rearms_within_s=4.0, told=("clock_moved", "rearmed")
    ),
    # What was left of the cooldown is over by the clock.
    Cooling(
        name="19d",
        fault=faults.STARTED_LATER,
        for_s=20,
        later_s=-REST_S,
        frees_early=True,
    ),
    Cooling(
        name="20d",
        fault=faults.STARTED_EARLIER,
        for_s=3000,
        rearms_within_s=10.5,
        later_s=HOUR,
        told=("clock_set_back", "rearmed"),
    ),
    Cooling(
        name="24d-adapter", fault=faults.ADAPTER_TRIPS, for_s=LONG_S, rearms_within_s=31, told=BLIND
    ),
    Cooling(
        name="24d-deciding",
        fault=faults.DECIDING_TRIPS,
        for_s=40,
        rearms_within_s=4.0,
        told=("task_failed", "rearmed"),
    ),
    Cooling(
        name="25d",
        fault=faults.INVARIANT_BROKEN,
        rearms_within_s=3.5,
        told=("task_failed", "rearmed"),
    ),
    Cooling(
        name="26d",
        fault=faults.NOT_CONFIGURED,
        for_s=LONG_S,
        told=("book_not_configured", "rearmed"),
    ),
    Cooling(name="27d-dead", fault=faults.REDIS_DEAD, told=(*SILENT, "rearmed")),
    Cooling(name="27d-hangs", fault=faults.REDIS_HANGS, told=(*SILENT, "rearmed")),
    Cooling(
        name="28d-dead",
        fault=faults.TARGET_DEAD,
        for_s=LONG_S,
        holds_up=False,
        told=("rearmed", "alerts_trouble", "alerts_recovered"),
    ),
    Cooling(
        name="28d-hangs",
        fault=faults.TARGET_HANGS,
        for_s=LONG_S,
        holds_up=False,
        told=("rearmed", "alerts_trouble", "alerts_recovered"),
    ),
)


@each(CELLS)
def test_the_guard_rearms_at_the_same_moment_and_bots_are_locked_until_then(
    tmp_path: Path, cell: Cooling
) -> None:
    """With the first reading after the end of the cooldown, once; nothing is sent (lesson 26)."""

    async def story(scene: Scene) -> None:
        began = scene.time
        left_s = scene.rest_left_s()
        sent = len(scene.venue.sent)
        told = len(scene.house.events())
        await cell.fault.last(scene, for_s=cell.for_s)
        over_s = max(left_s + cell.later_s, scene.time - began if cell.holds_up else 0.0)
        await scene.house.until(lambda: scene.stage is Stage.NORMAL, within_s=2 * HOUR, step_s=1)
        await scene.house.wait(60)
        rearmed_s = scene.normal.when(True, since=began) or 0.0
        assert over_s <= rearmed_s <= over_s + cell.rearms_within_s + LOOK_S
        freed_s = scene.simple.when(False, since=began) or 0.0
        if cell.frees_early:
            assert freed_s < rearmed_s
        else:
            assert rearmed_s <= freed_s <= rearmed_s + LOOK_S
        strictly_freed_s = scene.strict.when(False, since=began) or 0.0
        assert max(rearmed_s, cell.strict_until_s) <= strictly_freed_s
        assert strictly_freed_s <= max(rearmed_s, cell.strict_until_s + 3) + LOOK_S
        assert tuple(scene.house.events()[told:]) == cell.told
        assert len(scene.venue.sent) == sent

    scene = enact(tmp_path, Phase.COOLING, story, furnish=cell.fault.furnish)
    holds_in_every_cell(scene, weak_s=cell.weak_s)


@proves("3d-fell")
def test_a_fall_while_the_guard_was_down_keeps_it_from_rearming(tmp_path: Path, cell: str) -> None:
    """The cooldown is over; 9,600 to 9,150 acts again, and from the start on nobody trades."""

    async def story(scene: Scene) -> None:
        scene.kill()
        await scene.house.wait(2 * HOUR)
        scene.house.prices(SOL="113", XRP="0.52")
        started = scene.time
        await scene.start()
        await scene.until(scene.is_acting, within_s=10)
        assert scene.readings_since(started) == 3
        assert "rearmed" not in scene.house.events()
        assert not scene.simple.was_ever(False, since=started + LOOK_S)
        await scene.until(lambda: scene.house.held("SOL") == HALVES["SOL"] / 2, within_s=10)

    holds_in_every_cell(enact(tmp_path, Phase.COOLING, story))


UNRECORDED = {
    "9d": faults.DATABASE_LOCKED,
    "10d": faults.DATABASE_HANGS,
    "11d": faults.DISK_FULL,
}


@proves(*UNRECORDED)
def test_bots_are_freed_after_the_rearming_is_on_record(tmp_path: Path, cell: str) -> None:
    """The cooldown ends while nothing can be written: armed again, and still locked."""

    async def story(scene: Scene) -> None:
        began, left_s = scene.time, scene.rest_left_s()
        await scene.house.wait(left_s - 20)
        await UNRECORDED[cell].strike(scene)
        await scene.house.wait(200)
        assert scene.stage is Stage.NORMAL
        assert not scene.simple.was_ever(False, since=began)
        await UNRECORDED[cell].heal(scene)
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=11)
        assert "rearmed" in scene.house.events()

    holds_in_every_cell(enact(tmp_path, Phase.COOLING, story))


@proves("27d-long")
def test_bots_wait_for_a_silent_redis_although_the_guard_is_armed(
    tmp_path: Path, cell: str
) -> None:
    """The cooldown ends meanwhile: what the operator wants there is known with the first answer."""

    async def story(scene: Scene) -> None:
        began, left_s = scene.time, scene.rest_left_s()
        await faults.REDIS_DEAD.strike(scene)
        await scene.house.wait(left_s + 100)
        assert scene.stage is Stage.NORMAL
        assert not scene.simple.was_ever(False, since=began)
        assert not scene.strict.was_ever(False, since=began)
        assert scene.house.lock()["reason"] == "operator_redis_silent"
        await faults.REDIS_DEAD.heal(scene)
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=1)

    scene = enact(tmp_path, Phase.COOLING, story, furnish=faults.REDIS_DEAD.furnish)
    holds_in_every_cell(scene)


LOST = {"12d": faults.DATABASE_LOST, "13d": faults.DATABASE_UNREADABLE}


@proves(*LOST)
def test_without_its_database_the_cooldown_of_the_lock_holds_and_bots_wait_for_the_reset(
    tmp_path: Path, cell: str
) -> None:
    """It re-arms at the end that the lock names; the halt stays until the reset."""

    async def story(scene: Scene) -> None:
        began, left_s = scene.time, scene.rest_left_s()
        await LOST[cell].last(scene, for_s=SHORT_S)
        assert scene.stage is Stage.REDUCED_TOP_RISK
        await scene.house.wait(left_s)
        rearmed_s = scene.normal.when(True, since=began)
        assert rearmed_s is not None
        assert left_s <= rearmed_s <= left_s + 10.5
        assert not scene.simple.was_ever(False, since=began)
        assert scene.house.lock()["reason"] == "state_lost"
        scene.house.ask("reset")
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=3)

    holds_in_every_cell(enact(tmp_path, Phase.COOLING, story))
