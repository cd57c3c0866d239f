"""Store and lock in trouble, in virtual time: deadlines of a close, what is told, what follows.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from memory import IncidentStatus, Severity
from model import IncidentId, Stage
from tests.virtual_house import BOOK, Guard, House, play

Trouble = Callable[[House, Guard], None]


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of heartbeats need no disk that is safe from power cuts; the files are real."""
    monkeypatch.setattr("trading_lock.os.fsync", lambda _descriptor: None)


def calm(house: House, guard: Guard) -> None:
    """Everything works."""
    guard.store.is_down = house.lock_fails = False
    guard.store.delay_s = house.lock_delay_s = 0.0


def full(house: House, guard: Guard) -> None:
    """A full disk: every write fails at once."""
    guard.store.is_down = house.lock_fails = True


def hanging(house: House, guard: Guard) -> None:
    """A disk that hangs: no write ends."""
    guard.store.delay_s = house.lock_delay_s = 300.0


def slow_lock(house: House, guard: Guard) -> None:
    """The lock takes longer than a heartbeat, and the database does not answer."""
    house.lock_delay_s, guard.store.delay_s = 15.0, 300.0


def no_store(_house: House, guard: Guard) -> None:
    """Only the database is on a full disk."""
    guard.store.is_down = True


def no_lock(house: House, _guard: Guard) -> None:
    """Only the lock folder cannot be written."""
    house.lock_fails = True


def is_flat(house: House) -> bool:
    """Every position is closed."""
    return all(house.held(base) == 0 for base in ("SOL", "XRP", "BTC"))


@pytest.mark.parametrize(
    ("trouble", "allowed_s"),
    [
        (full, 0.2),
        # Two readings show the fall; each gives the lock 0.3 s and the first the store its second,
        # as the lower stages that they trigger do. What is in trouble is waited for no more.
        (hanging, 2 * 1.0 + 4 * 0.3 + 0.2),
        (no_store, 0.2),
        (no_lock, 0.2),
    ],
)
def test_stage_3_is_carried_out_in_time_and_recorded_afterwards(
    tmp_path: Path, trouble: Trouble, allowed_s: float
) -> None:
    """Flat as fast as on a calm day but for the deadlines; then everything is on disk, in order."""
    calm_s = flat_after(tmp_path / "calm", calm)
    assert flat_after(tmp_path / "bad", trouble) <= calm_s + allowed_s


def flat_after(folder: Path, begin: Trouble) -> float:
    """Seconds from a fall of 12 % to a flat account; everything is on disk a while later."""
    folder.mkdir()

    async def story() -> float:
        house = House(folder=folder)
        async with house.guard() as guard:
            await house.wait(14.5)
            begin(house, guard)
            house.prices(SOL=112)
            took = await house.until(lambda: is_flat(house), within_s=60, step_s=0.01)
            await house.wait(60)
            calm(house, guard)
            await house.until(lambda: not guard.recorder.is_behind, within_s=330)
            await house.until(lambda: house.lock()["manual_reset_required"], within_s=330)
            await judge_records(house, guard)
            return took

    return play(story)


async def judge_records(house: House, guard: Guard) -> None:
    """Stage, incidents, orders with their outcomes and the audit: complete, once, in order."""
    (book,) = house.status().books
    assert book.stage is Stage.ALL_CLOSED
    ids = [str(dict(entry.details)["incident_id"]) for entry in house.audit("trigger")]
    assert len(set(ids)) == len(ids)
    stored = [await guard.store.order_records(IncidentId(one)) for one in ids]
    orders = [record for records in stored for record in records]
    assert len(orders) >= 3
    assert [record for record in orders if record.outcome is None] == []
    times = [entry.at for entry in reversed(house.status().actions)]
    assert times == sorted(times)
    assert house.log.of("record_lost") == []


@pytest.mark.parametrize(
    ("trouble", "name"), [(no_store, "store"), (slow_lock, "store"), (slow_lock, "lock")]
)
def test_a_trouble_stands_in_the_lock_until_it_ends(
    tmp_path: Path, trouble: Trouble, name: str
) -> None:
    """Whoever reads the document learns it within a heartbeat, and also that it is over."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            assert house.lock()["details"] == {}
            trouble(house, guard)
            await house.until(lambda: f"trouble_{name}" in house.lock()["details"], within_s=45)
            assert not house.stops_a_bot()
            calm(house, guard)
            await house.until(lambda: house.lock()["details"] == {}, within_s=330)
            (begun,) = house.audit(f"{name}_trouble")
            (ended,) = house.audit(f"{name}_recovered")
            assert (begun.severity, ended.severity) == (Severity.CRITICAL, Severity.INFO)
            assert begun.message in ended.message

    play(story)


def test_a_lock_that_finds_no_room_at_the_start_does_not_end_it(tmp_path: Path) -> None:
    """A full disk passes, an account does not wait: it is guarded, and the lock follows."""

    async def story() -> None:
        house = House(folder=tmp_path, lock_fails=True, lock_errno=errno.ENOSPC)
        async with house.guard() as guard:
            await house.wait(15)
            assert not house.lock_path.exists()
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            calm(house, guard)
            await house.until(house.lock_path.exists, within_s=15)
            assert house.stops_a_bot()

    play(story)


def test_an_end_waits_out_a_hold_of_a_few_seconds(tmp_path: Path) -> None:
    """What waits is written when the database is free again within six seconds."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            guard.store.delay_s = 4.0
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            guard.store.delay_s = 0.5
        assert house.log.of("records_unwritten") == []
        assert len(house.audit("trigger")) == 1

    play(story)


def test_what_is_never_written_stands_in_the_log_in_its_last_state(tmp_path: Path) -> None:
    """Every book, incident, order and answer once, so that nothing ends in silence."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            request = house.ask("reset", force="true")
            guard.store.is_down = True
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)
        assert house.events() == []
        (book,) = house.log.of("unwritten_book")
        assert (book["book"], book["stage"]) == (BOOK, "REDUCED_TOP_RISK")
        (incident,) = house.log.of("unwritten_incident")
        assert incident["status"] == IncidentStatus.DONE.value
        assert incident["targets"] == ["SOLUSDT SHORT 100 -> 50.00 HELD"]
        (order,) = house.log.of("unwritten_order")
        assert (order["order"], order["outcome"]) == ("SOLUSDT BUY 50.00", "DONE")
        (answer,) = house.log.of("unwritten_answer")
        assert answer["request_id"] == request

    play(story)


def test_an_end_without_a_trouble_logs_nothing_unwritten(tmp_path: Path) -> None:
    """Everything is on disk."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
        assert [event for event, _ in house.log.lines if "unwritten" in event] == []

    play(story)


def test_a_restart_on_a_disk_that_is_still_full_adopts_the_lock(tmp_path: Path) -> None:
    """The stage that was never recorded is taken from the lock, and nothing is closed twice."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            guard.store.is_down = True
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)
        async with house.guard() as again:
            await house.wait(60)
            assert again.book.stage is Stage.REDUCED_TOP_RISK
            assert house.held("SOL") == -50
            assert "newer than the database" in again.notices[0]
            assert house.stops_a_bot()

    play(story)
