"""Closing: an incident of stage 1 is open, XRP is at its target and the order for SOL under way.

Every cell is played three times: the order is executed and its answer comes late, it is executed
and no answer comes, or it is lost and nobody says so. Whatever happens in between, exactly half
of both is closed in the end and nothing twice, and the lock stands all the time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from model import Stage
from tests.memory_venue import Trouble
from tests.recovery import faults
from tests.recovery.cells import each, holds_in_every_cell, proves
from tests.recovery.faults import HOUR, Fault
from tests.recovery.scene import HALVES, HELD, REST_S, Phase, Scene, enact

ALL = {"SOLUSDT": [Decimal(50)], "XRPUSDT": [Decimal(2500)]}
FATES = (Trouble.SLOW, Trouble.LATE, Trouble.LOST_BEFORE)
DEADLY = (faults.KILLED, faults.STARTED_EARLIER)
"""Whoever dies between an order and its answer leaves the order without an outcome on record."""
STUCK_IN_THE_DARK = ("incident_stuck", "blind", "incident_stuck")


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How soon the incident is done, and which critical events are told besides its trigger.

    `done_within_s` counts from the beginning of the fault. Once nothing is in the way, a lost order
    takes up to 15 s until it can no longer land; then two position reads 5 s apart and the tick
    that follows. Where that may take half a minute, `incident_stuck` may be told or not. `weak_s`
    is how long the lock on disk may say too little.
    """

    name: str
    fault: Fault
    for_s: float = 20.0
    done_within_s: float = 35.0
    told: tuple[str, ...] = ()
    weak_s: float = 0.0


CELLS = (
    Closing(name="1c-soon", fault=faults.KILLED),
    Closing(name="1c-at-once", fault=faults.KILLED, for_s=1),
    Closing(name="2c", fault=faults.STOPPED),
    # Asked again at most 30 s after the read in hand, which takes up to 10. Stuck is told after
    # half a minute and after two.
    Closing(name="5c", fault=faults.DARK, for_s=200, done_within_s=255, told=STUCK_IN_THE_DARK),
    Closing(
        name="6c-hangs",
        fault=faults.HANGING,
        for_s=200,
        # The call that hangs when the venue comes back is first waited for.
        done_within_s=265,
        # Records that hang fail later than those that are refused: it is told after the rest.
        told=(*STUCK_IN_THE_DARK, "ledger_trouble"),
    ),
    # Reading, looking the order up, listing, sending, reading again: each takes 9 s or its limit.
    Closing(
        name="6c-slow",
        fault=faults.SLOW,
        for_s=120,
        done_within_s=110,
    ),
    Closing(name="7c", fault=faults.FLICKERING, for_s=120, done_within_s=60),
    Closing(
        name="8c", fault=faults.KEY_REFUSED, for_s=200, done_within_s=215, told=STUCK_IN_THE_DARK
    ),
    Closing(name="9c", fault=faults.DATABASE_LOCKED, for_s=60, told=("store_trouble",) * 2),
    Closing(name="10c", fault=faults.DATABASE_HANGS, for_s=60, told=("store_trouble",)),
    Closing(name="11c", fault=faults.DISK_FULL, for_s=60, told=("store_trouble",)),
    Closing(name="14c", fault=faults.LOCK_DELETED),
    Closing(name="15c", fault=faults.LOCK_UNWRITABLE, for_s=60, told=("lock_trouble",)),
    Closing(name="16c-lost", fault=faults.LOCK_LOST),
    Closing(name="16c-unreadable", fault=faults.LOCK_UNREADABLE),
    # The clock passes the end that the file names before the guard notices and moves it.
    Closing(name="17c", fault=faults.CLOCK_FORWARD, weak_s=2.0),
    Closing(name="18c", fault=faults.CLOCK_BACK),
    Closing(name="20c", fault=faults.STARTED_EARLIER, done_within_s=50),
    Closing(name="24c-adapter", fault=faults.ADAPTER_TRIPS, for_s=40),
    Closing(name="24c-deciding", fault=faults.DECIDING_TRIPS, for_s=40, told=("task_failed",)),
    Closing(
        name="25c",
        fault=faults.INVARIANT_BROKEN,
        done_within_s=50,
        told=("task_failed",),
    ),
    Closing(
        name="26c",
        fault=faults.NOT_CONFIGURED,
        for_s=200,
        done_within_s=215,
        told=("book_not_configured", "incident_stuck", "incident_stuck"),
    ),
    Closing(name="27c-dead", fault=faults.REDIS_DEAD, for_s=200, told=("switch_silent",)),
    Closing(name="27c-hangs", fault=faults.REDIS_HANGS, for_s=200, told=("switch_silent",)),
    Closing(name="28c-dead", fault=faults.TARGET_DEAD, for_s=60, told=("alerts_trouble",)),
    Closing(name="28c-hangs", fault=faults.TARGET_HANGS, for_s=60, told=("alerts_trouble",)),
)


@pytest.mark.parametrize("fate", FATES)
@each(CELLS)
def test_an_incident_is_brought_to_its_end_and_nothing_is_closed_twice(
    tmp_path: Path, cell: Closing, fate: Trouble
) -> None:
    """Half of both, one order each unless the first was lost, every order on record, in time."""

    async def story(scene: Scene) -> None:
        began = scene.time
        done = asyncio.create_task(
            scene.until(lambda: not scene.is_acting(), within_s=cell.done_within_s)
        )
        await cell.fault.last(scene, for_s=cell.for_s)
        await done
        await scene.house.wait(15)
        assert scene.stage is Stage.REDUCED_TOP_RISK
        assert scene.closes() == ALL
        assert len(scene.venue.sent) == (3 if fate is Trouble.LOST_BEFORE else 2)
        events = scene.house.events()
        assert events.count("trigger") == events.count("incident_done") == 1
        is_slow = "incident_stuck" not in cell.told
        alarms = (a for a in scene.alarms() if not (is_slow and a == "incident_stuck"))
        assert tuple(alarms) == ("trigger", *cell.told)
        assert len(scene.orders_on_record()) == len(scene.venue.sent)
        died_asking = fate is Trouble.SLOW and cell.fault in DEADLY
        assert None not in scene.orders_on_record() or died_asking
        if not cell.weak_s:
            assert not scene.simple.was_ever(False, since=began)

    scene = enact(tmp_path, Phase.CLOSING, story, fate=fate, furnish=cell.fault.furnish)
    holds_in_every_cell(scene, weak_s=cell.weak_s)


# --- long ago ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """How long nobody worked on it; longer than the cooldown of its stage."""

    name: str
    fault: Fault
    for_s: float


LONG = (
    Down(name="3c", fault=faults.KILLED, for_s=2 * HOUR),
    Down(name="4c", fault=faults.KILLED, for_s=25 * HOUR),
    Down(name="19c", fault=faults.STARTED_LATER, for_s=20),
)


@each(LONG)
def test_an_incident_is_taken_up_first_however_long_ago(tmp_path: Path, cell: Down) -> None:
    """The lost order is sent as soon as it can no longer show; the cooldown counts from then."""

    async def story(scene: Scene) -> None:
        await cell.fault.last(scene, for_s=cell.for_s)
        await scene.until(scene.is_halved, within_s=8)
        await scene.until(scene.is_rested, within_s=15)
        assert scene.rest_left_s() >= REST_S - 1
        assert scene.house.stops_a_bot()
        assert scene.house.events() == ["trigger", "incident_stuck", "incident_done"]

    scene = enact(tmp_path, Phase.CLOSING, story, fate=Trouble.LOST_BEFORE)
    assert scene.closes() == ALL
    holds_in_every_cell(scene)


@each(replace(cell, name=f"{cell.name}-refused") for cell in LONG)
def test_one_that_cannot_be_finished_after_long_is_given_up_aloud(
    tmp_path: Path, cell: Down
) -> None:
    """Tried once: then what is open is named, bots are freed, and the next fall counts."""

    async def story(scene: Scene) -> None:
        await cell.fault.strike(scene)
        refused = scene.venue.plan("submit", Trouble.REFUSE)
        await scene.house.wait(cell.for_s)
        await cell.fault.heal(scene)
        await scene.until(lambda: "incident_expired" in scene.house.events(), within_s=30)
        assert refused.met > 0
        (expired,) = scene.house.audit("incident_expired")
        assert "above its target: SOLUSDT SHORT 100 -> 50.00" in expired.message
        assert expired.message.count("XRPUSDT SHORT") == 1, "it was closed, and is only listed"
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=11)
        scene.venue.calm()
        scene.house.prices(SOL="107.5")
        await scene.until(lambda: scene.house.held("SOL") == HALVES["SOL"], within_s=30)

    scene = enact(tmp_path, Phase.CLOSING, story, fate=Trouble.LOST_BEFORE)
    holds_in_every_cell(scene)


@each(replace(cell, name=f"{cell.name}-stage-3") for cell in LONG)
def test_an_incident_of_stage_3_goes_on_however_long_ago(tmp_path: Path, cell: Down) -> None:
    """The orders that were lost are sent with the start; bots are locked all the time."""

    async def story(scene: Scene) -> None:
        scene.venue.plan("submit_close", Trouble.LOST_BEFORE)
        scene.house.prices(SOL="108", XRP="0.52")
        await scene.until(scene.house.stops_a_bot, within_s=30)
        scene.look()
        began = scene.time
        await cell.fault.strike(scene)
        scene.venue.calm()
        await scene.house.wait(cell.for_s)
        await cell.fault.heal(scene)
        started = scene.time
        await scene.until(lambda: not any(map(scene.house.held, HELD)), within_s=2)
        await scene.until(lambda: not scene.is_acting(), within_s=15)
        assert scene.time - started <= 15
        assert not scene.simple.was_ever(False, since=began)
        assert scene.house.lock()["manual_reset_required"]

    holds_in_every_cell(enact(tmp_path, Phase.CALM, story))


# --- without its database ---------------------------------------------------------------------


LOST = {"12c": faults.DATABASE_LOST, "13c": faults.DATABASE_UNREADABLE}


@proves(*LOST)
def test_without_its_database_a_close_is_not_repeated_and_bots_wait_for_the_reset(
    tmp_path: Path, cell: str
) -> None:
    """The lock file knows the stage and not the targets: nothing is sent, the cooldown holds."""

    async def story(scene: Scene) -> None:
        began = scene.time
        await LOST[cell].last(scene, for_s=20)
        sent = len(scene.venue.sent)
        await scene.house.wait(60)
        assert (scene.stage, scene.is_acting()) == (Stage.REDUCED_TOP_RISK, False)
        assert len(scene.venue.sent) == sent
        assert {lock["mode"] for lock in scene.house.lock()["locks"]} == {"halt", "stage"}
        await scene.house.wait(REST_S)
        assert scene.house.events()[-1] == "rearmed"
        assert not scene.simple.was_ever(False, since=began)
        scene.house.ask("reset")
        await scene.until(lambda: not scene.house.stops_a_bot(), within_s=3)

    scene = enact(tmp_path, Phase.CLOSING, story, fate=Trouble.LOST_BEFORE)
    assert scene.closes() == {"XRPUSDT": [Decimal(2500)]}
    holds_in_every_cell(scene)


@proves(*(f"{name}-stage-3" for name in LOST))
def test_without_its_database_stage_3_still_closes_whatever_is_there(
    tmp_path: Path, cell: str
) -> None:
    """The adopted state says that everything stays closed, so what is left is closed as new."""

    async def story(scene: Scene) -> None:
        scene.venue.plan("submit_close", Trouble.LOST_BEFORE, symbol="SOL")
        scene.house.prices(SOL="108", XRP="0.52")
        await scene.until(lambda: scene.house.held("BTC") == 0, within_s=30)
        scene.look()
        began = scene.time
        scene.venue.calm()
        await LOST[cell.removesuffix("-stage-3")].last(scene, for_s=20)
        await scene.until(lambda: scene.house.held("SOL") == 0, within_s=5)
        await scene.house.wait(30)
        assert scene.house.audit("follow_up") != []
        assert scene.stage is Stage.ALL_CLOSED
        assert not scene.simple.was_ever(False, since=began)

    holds_in_every_cell(enact(tmp_path, Phase.CALM, story))


@proves("10c-killed")
def test_a_stage_that_only_the_lock_file_knows_does_not_act_twice(
    tmp_path: Path, cell: str
) -> None:
    """The database hangs while stage 1 closes, then the power goes: the lock tells the start."""

    async def story(scene: Scene) -> None:
        await faults.DATABASE_HANGS.strike(scene)
        await scene.until(scene.is_rested, within_s=30)
        scene.kill()
        scene.undo.close()
        await scene.house.wait(20)
        await scene.start()
        await scene.house.wait(60)
        assert scene.stage is Stage.REDUCED_TOP_RISK
        assert scene.closes() == ALL
        assert {lock["mode"] for lock in scene.house.lock()["locks"]} == {"halt", "stage"}
        assert "newer than the database" in scene.guard.notices[-1]

    holds_in_every_cell(enact(tmp_path, Phase.CONFIRMING, story))
