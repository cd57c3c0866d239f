"""When the loop has the file thinned: never while anything is read, written or closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from errors import StoreError
from guardian import STUCK_AFTER_S
from tests.memory_venue import Trouble
from tests.virtual_house import House, play


def test_a_quiet_guard_thins_between_two_readings(tmp_path: Path) -> None:
    """About once a second of rest: with a poll of 10 s nearly every second of a minute."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(5)
            began = guard.store.steps
            await house.wait(60)
            assert 48 <= guard.store.steps - began <= 60

    play(story)


def test_nothing_is_thinned_while_an_incident_is_open(tmp_path: Path) -> None:
    """Closing needs the store for itself; when it is done, thinning goes on."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit_close", Trouble.SLOW, seconds=5)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            began = guard.store.steps
            await house.until(lambda: guard.book.incident is None, within_s=60)
            assert guard.store.steps <= began + 1
            await house.wait(30)
            assert guard.store.steps > began + 5

    play(story)


def test_an_incident_that_is_stuck_for_long_does_not_keep_old_rows_for_ever(
    tmp_path: Path,
) -> None:
    """A market that was delisted closes nothing for weeks, and is read every three seconds."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit_close", Trouble.REFUSE)
            house.prices(SOL=115)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            began = guard.store.steps
            await house.wait(STUCK_AFTER_S - 30)
            assert guard.store.steps <= began + 1
            await house.wait(120)
            assert guard.book.incident is not None
            assert guard.store.steps > began + 20

    play(story)


def test_nothing_is_thinned_while_records_wait_for_the_disk(tmp_path: Path) -> None:
    """A disk in trouble is not given more to do."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            guard.store.is_down = True
            await house.until(lambda: guard.recorder.is_in_trouble, within_s=15)
            began = guard.store.steps
            await house.wait(60)
            assert guard.store.steps == began
            guard.store.is_down = False
            await house.wait(30)
            assert guard.store.steps > began + 5

    play(story)


def test_nothing_is_thinned_while_an_account_is_read(tmp_path: Path) -> None:
    """A venue that answers after 6 s of 10: only the 4 s of rest are used."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("fetch_reading", Trouble.SLOW, seconds=6, times=20)
            await house.wait(20)
            began = guard.store.steps
            await house.wait(60)
            assert 12 <= guard.store.steps - began <= 30

    play(story)


def test_a_step_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    """The disk takes minutes: heartbeat, readings and the operator's answers go on."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)

            async def hang() -> None:
                await asyncio.get_running_loop().create_future()

            guard.store.while_thinning = hang  # type: ignore[method-assign]
            await house.wait(20)
            began, commits = guard.store.steps, guard.store.commits
            number = house.ask("flow", amount="100")
            await house.wait(60)
            assert guard.store.steps == began, "one step at a time"
            assert guard.store.commits > commits + 5
            assert house.clock.now() - house.lock()["heartbeat_ts"] <= 10
            answer = await guard.store.answer(number)
            assert answer is not None

    play(story)


def test_a_disk_that_fails_while_thinning_is_a_trouble_of_the_disk(tmp_path: Path) -> None:
    """The file may be damaged: the guard goes on, a person reads why once, not of a fault of it."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:

            async def fail() -> None:
                raise StoreError("thinning old readings: disk I/O error")

            async def rest() -> None:
                """The disk works again."""

            guard.store.while_thinning = fail  # type: ignore[method-assign]
            commits = guard.store.commits
            await house.wait(45)
            assert guard.store.commits > commits + 3
            (told,) = house.audit("store_upkeep_trouble")
            assert told.message == "thinning old readings: disk I/O error"
            assert told.message in house.lock()["details"]["trouble_store_upkeep"]
            assert house.audit("task_failed") == []
            guard.store.while_thinning = rest  # type: ignore[method-assign]
            await house.wait(15)
            assert len(house.audit("store_upkeep_recovered")) == 1
            assert "trouble_store_upkeep" not in house.lock()["details"]

    play(story)
