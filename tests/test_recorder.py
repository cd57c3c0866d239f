"""The queue in front of the database: nothing lost, nothing out of order, nobody held up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import StoreError, StoreUnreadable
from memory import AuditEntry, BookMemory, Incident, Records, RequestAnswer
from model import BookName, IncidentId, Source, Stage
from recorder import MAX_WAITING, Recorder, merge_records, split_records
from tests.virtual_house import play


def note(number: int) -> Records:
    """A record that can be told from others."""
    return Records(audits=(AuditEntry(at=0.0, scope="*", event=f"note_{number}", message=""),))


def full_disk() -> StoreError:
    """What a full disk raises, as the store translates it."""
    error = StoreError("database or disk is full")
    error.__cause__ = sqlite3.OperationalError("database or disk is full")
    return error


def broken_constraint() -> StoreError:
    """What a value raises that no column takes."""
    error = StoreError("cannot store REAL value in TEXT column")
    error.__cause__ = sqlite3.IntegrityError("cannot store REAL value in TEXT column")
    return error


class Disk:
    """A store that writes into a list, and fails, lags or refuses as told."""

    def __init__(self) -> None:
        self.written: list[Records] = []
        self.fault: Callable[[], Exception] | None = None
        self.refuses: Callable[[Records], Exception | None] = lambda _records: None
        self.delay_s = 0.0
        self.tries = 0

    async def commit(self, records: Records) -> None:
        """Write, or fail."""
        self.tries += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.fault is not None:
            raise self.fault()
        refusal = self.refuses(records)
        if refusal is not None:
            raise refusal
        self.written.append(records)

    @property
    def events(self) -> list[str]:
        """The events of all audit entries, in the order of writing."""
        return [entry.event for records in self.written for entry in records.audits]


class Told:
    """What the recorder told its owner."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.recoveries = 0
        self.losses: list[str] = []

    def recovered(self) -> None:
        """Count a recovery."""
        self.recoveries += 1


def recorder(disk: Disk, told: Told | None = None) -> Recorder:
    """A recorder on that disk."""
    told = told or Told()
    return Recorder(
        disk,
        on_trouble=told.troubles.append,
        on_recovery=told.recovered,
        on_loss=told.losses.append,
        probe=lambda why: Records(
            audits=(AuditEntry(at=0.0, scope="*", event="probe", message=why),)
        ),
    )


def incident(number: str = "a", *, rounds: int = 0) -> Incident:
    """An incident in some state."""
    return Incident(
        incident_id=IncidentId(number),
        book=BookName("book"),
        stage=Stage.ALL_CLOSED,
        mode="mode",
        source=Source.SHORT,
        opened_at=0.0,
        dry_run=False,
        reason="test",
        rounds=rounds,
    )


def test_a_record_that_is_written_in_time_is_safe() -> None:
    """True means that it is on disk."""

    async def story() -> None:
        disk = Disk()
        assert await recorder(disk).record(note(1), deadline_s=1.0)
        assert disk.events == ["note_1"]

    play(story)


def test_what_is_given_is_shown_at_once_and_an_empty_record_to_nobody() -> None:
    """Alerts take it from there; a disk that fails keeps nothing from them."""

    async def story() -> None:
        disk = Disk()
        disk.fault = full_disk
        queue = recorder(disk)
        shown: list[Records] = []
        queue.on_given = shown.append
        queue.add(note(1))
        queue.add(Records())
        assert shown == [note(1)]

    play(story)


def test_a_slow_disk_holds_nobody_up_beyond_the_deadline() -> None:
    """False means that it follows; it does, in its order."""

    async def story() -> None:
        disk, told = Disk(), Told()
        disk.delay_s = 5.0
        mine = recorder(disk, told)
        loop = asyncio.get_running_loop()
        assert not await mine.record(note(1), deadline_s=1.0)
        assert loop.time() == pytest.approx(1.0)
        assert mine.is_in_trouble
        assert not await mine.record(note(2), deadline_s=0.0)
        assert loop.time() == pytest.approx(1.0)
        assert await mine.flush(deadline_s=60)
        assert disk.events == ["note_1", "note_2"]
        assert not mine.is_in_trouble
        assert (len(told.troubles), told.recoveries) == (1, 1)

    play(story)


def test_a_failing_disk_is_not_waited_for_and_loses_nothing() -> None:
    """Each record fails at once; after the recovery all are there, in order."""

    async def story() -> None:
        disk, told = Disk(), Told()
        disk.fault = full_disk
        mine = recorder(disk, told)
        for number in range(5):
            assert not await mine.record(note(number), deadline_s=1.0)
        assert asyncio.get_running_loop().time() == 0.0
        assert mine.waiting == 5
        disk.fault = None
        assert await mine.record(note(5), deadline_s=1.0)
        assert disk.events == [f"note_{number}" for number in range(6)]
        assert (len(told.troubles), told.recoveries, told.losses) == (1, 1, [])

    play(story)


def test_a_waiter_waits_for_its_own_record_only() -> None:
    """What others add meanwhile does not make a safe record look unsafe."""

    async def story() -> None:
        disk = Disk()
        disk.delay_s = 0.4
        mine = recorder(disk)
        waiting = asyncio.create_task(mine.record(note(0), deadline_s=1.0))
        await asyncio.sleep(0)
        for number in range(1, 10):
            mine.add(note(number))
        assert await waiting
        assert asyncio.get_running_loop().time() == pytest.approx(0.4)

    play(story)


def test_a_caller_that_is_cancelled_has_lost_nothing() -> None:
    """The record is queued before anybody waits."""

    async def story() -> None:
        disk = Disk()
        disk.delay_s = 1.0
        mine = recorder(disk)
        caller = asyncio.create_task(mine.record(note(1), deadline_s=9.0))
        await asyncio.sleep(0.1)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert await mine.flush(deadline_s=9.0)
        assert disk.events == ["note_1"]

    play(story)


def test_an_empty_record_is_not_written_but_tries_what_waits() -> None:
    """A heartbeat without news costs no transaction."""

    async def story() -> None:
        disk = Disk()
        mine = recorder(disk)
        assert await mine.record(Records(), deadline_s=1.0)
        assert disk.tries == 0
        disk.fault = full_disk
        mine.add(note(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        disk.fault = None
        assert await mine.record(Records(), deadline_s=1.0)
        assert disk.events == ["note_1"]

    play(story)


@pytest.mark.parametrize(
    "refusal",
    [
        broken_constraint,
        lambda: ValueError("a surrogate"),
        lambda: OverflowError("int too large to convert"),
        lambda: TypeError("not a number"),
        lambda: KeyError("kind"),
    ],
)
def test_a_record_that_is_itself_at_fault_does_not_block_the_queue(
    refusal: Callable[[], Exception],
) -> None:
    """Its good parts are written, the bad one is named, and what follows is written too."""

    async def story() -> None:
        disk, told = Disk(), Told()
        disk.refuses = lambda records: (
            refusal() if any(entry.event == "note_1" for entry in records.audits) else None
        )
        mine = recorder(disk, told)
        poison = merge_records(note(0), note(1), Records(incidents=(incident(),)))
        await mine.record(poison, deadline_s=1.0)
        for number in range(2, 6):
            await mine.record(note(number), deadline_s=1.0)
        assert not mine.is_behind
        assert [e for e in disk.events if e != "probe"] == [
            "note_0",
            *(f"note_{n}" for n in range(2, 6)),
        ]
        assert [i.incident_id for r in disk.written for i in r.incidents] == ["a"]
        (loss,) = told.losses
        assert "note_1" in loss

    play(story)


@pytest.mark.parametrize(
    "fault", [full_disk, lambda: StoreUnreadable("database disk image is malformed")]
)
def test_a_store_that_is_down_is_never_taken_for_a_bad_record(
    fault: Callable[[], StoreError],
) -> None:
    """However often it fails, everything is kept."""

    async def story() -> None:
        disk, told = Disk(), Told()
        disk.fault = fault
        mine = recorder(disk, told)
        for number in range(300):
            await mine.record(note(number), deadline_s=1.0)
        assert told.losses == []
        disk.fault = None
        assert await mine.flush(deadline_s=1.0)
        assert disk.events == [f"note_{number}" for number in range(300)]

    play(story)


def test_a_full_disk_that_still_takes_small_records_loses_no_large_one() -> None:
    """A probe that fits does not make the record that did not fit a bad one."""

    async def story() -> None:
        disk, told = Disk(), Told()
        disk.refuses = lambda records: full_disk() if records == note(1) else None
        mine = recorder(disk, told)
        for number in range(1, 9):
            await mine.record(note(number), deadline_s=1.0)
        assert told.losses == []
        disk.refuses = lambda _records: None
        assert await mine.flush(deadline_s=1.0)
        assert disk.events == [f"note_{number}" for number in range(1, 9)]

    play(story)


def test_a_store_that_goes_down_while_a_record_is_taken_apart_loses_nothing() -> None:
    """A refusal counts only while the store takes a probe right after it."""

    async def story() -> None:
        disk, told = Disk(), Told()
        disk.refuses = lambda _records: broken_constraint()
        mine = recorder(disk, told)
        for number in range(5):
            await mine.record(note(number), deadline_s=1.0)
        assert told.losses == []
        disk.refuses = lambda _records: None
        assert await mine.flush(deadline_s=1.0)
        assert disk.events == [f"note_{number}" for number in range(5)]

    play(story)


def test_a_long_outage_keeps_the_queue_short() -> None:
    """Beyond 64 waiting records the newest absorbs what comes; nothing is missing afterwards."""

    async def story() -> None:
        disk = Disk()
        disk.fault = full_disk
        mine = recorder(disk)
        for number in range(1000):
            mine.add(note(number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        assert mine.waiting == 1000
        disk.fault = None
        assert await mine.flush(deadline_s=1.0)
        assert len(disk.written) <= MAX_WAITING + 1
        assert disk.events == [f"note_{number}" for number in range(1000)]

    play(story)


def test_flushing_a_store_that_stays_down_ends_at_the_deadline() -> None:
    """A shutdown does not hang on a dead disk."""

    async def story() -> None:
        disk = Disk()
        disk.delay_s = 1e6
        mine = recorder(disk)
        mine.add(note(1))
        assert not await mine.flush(deadline_s=2.0)
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)
        assert mine.waiting == 1

    play(story)


def test_each_reason_of_a_trouble_is_told_once() -> None:
    """Slow first, full later: who looks must learn the second as well, and not every second."""

    async def story() -> None:
        disk, told = Disk(), Told()
        mine = recorder(disk, told)
        disk.delay_s, disk.fault = 3.0, full_disk
        for number in range(6):
            await mine.record(note(number), deadline_s=1.0)
            await asyncio.sleep(5)
        assert [why.partition(":")[0] for why in told.troubles] == [
            "the database is slow; records follow when it recovers",
            "database write failed",
        ]
        disk.delay_s, disk.fault = 0.0, None
        assert await mine.flush(deadline_s=1.0)
        assert told.recoveries == 1

    play(story)


def test_what_is_recorded_of_a_trouble_is_written_with_the_rest() -> None:
    """Its beginning in its place, and its end although the queue is empty then."""

    async def story() -> None:
        disk = Disk()
        lost: list[str] = []

        def begun(_why: str) -> None:
            mine.add(note(50))

        def over() -> None:
            mine.add(note(99))

        mine = Recorder(
            disk,
            on_trouble=begun,
            on_recovery=over,
            on_loss=lost.append,
            probe=lambda _why: note(0),
        )
        disk.fault = full_disk
        for number in range(2):
            await mine.record(note(number), deadline_s=1.0)
        disk.fault = None
        await mine.record(note(2), deadline_s=1.0)
        await asyncio.sleep(0.1)
        assert disk.events == ["note_0", "note_50", "note_1", "note_2", "note_99"]
        assert (lost, mine.is_behind, mine.is_in_trouble) == ([], False, False)

    play(story)


def test_flushing_gives_a_busy_store_one_fair_try() -> None:
    """The try in hand began long ago and fails; the hold ends within the next one."""

    async def story() -> None:
        disk = Disk()
        mine = recorder(disk)
        disk.delay_s, disk.fault = 5.0, full_disk
        mine.add(note(1))
        await asyncio.sleep(4.9)
        flushing = asyncio.create_task(mine.flush(deadline_s=6.0))
        await asyncio.sleep(1)
        disk.fault = None
        assert await flushing
        assert disk.events == ["note_1"]

    play(story)


def test_flushing_a_full_disk_tries_twice_and_gives_up() -> None:
    """It answers at once, so there is nothing to wait for."""

    async def story() -> None:
        disk = Disk()
        disk.fault = full_disk
        mine = recorder(disk)
        mine.add(note(1))
        assert not await mine.flush(deadline_s=6.0)
        assert (disk.tries, asyncio.get_running_loop().time()) == (2, 0.0)
        mine.add(note(2))
        assert mine.unwritten() == merge_records(note(1), note(2))

    play(story)


def test_merging_keeps_the_last_state_of_what_is_replaced_whole() -> None:
    """Books and incidents by their last version, everything else complete and in order."""
    book = BookMemory(name=BookName("book"))
    answer = RequestAnswer(request_id=1, at=0.0, accepted=True, message="")
    merged = merge_records(
        Records(books=(book,), incidents=(incident(rounds=1), incident("b"))),
        merge_records(note(1), Records(answers=(answer,))),
        Records(
            books=(BookMemory(name=BookName("book"), stage=Stage.ALL_CLOSED),),
            incidents=(incident(rounds=2),),
        ),
        note(2),
    )
    assert [b.stage for b in merged.books] == [Stage.ALL_CLOSED]
    assert {i.incident_id: i.rounds for i in merged.incidents} == {"a": 2, "b": 0}
    assert [entry.event for entry in merged.audits] == ["note_1", "note_2"]
    assert merged.answers == (answer,)


@given(numbers=st.lists(st.integers(0, 5), max_size=8), incidents=st.integers(0, 3))
def test_a_record_taken_apart_is_complete(numbers: list[int], incidents: int) -> None:
    """Its pieces, put together, are the record."""
    whole = merge_records(
        Records(incidents=tuple(incident(str(number)) for number in range(incidents))),
        *(note(number) for number in numbers),
    )
    assert merge_records(Records(), *split_records(whole)) == whole
