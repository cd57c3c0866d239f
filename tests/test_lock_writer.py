"""The lock file follows the decisions: tightening at once, loosening after its record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from decision import Decision
from errors import LockError
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from lock_writer import DecisionWriter, LockWriter
from memory import AuditEntry, Memory, Records
from model import Stage
from simulator.virtual_time import LoopClock
from tests.test_recorder import Disk, full_disk, recorder
from tests.virtual_house import EPOCH, play

STAGE_1 = LockEntry(
    scope="book",
    stage=Stage.REDUCED_TOP_RISK,
    mode=LockMode.STAGE,
    reason="stage_1",
    created_ts=EPOCH,
    expires_ts=EPOCH + 600,
)
BLIND = replace(
    STAGE_1, stage=Stage.NORMAL, mode=LockMode.BLIND, reason="blind", expires_ts=FOREVER_TS
)
NEWS = Records(audits=(AuditEntry(at=0.0, scope="*", event="news", message=""),))


class File:
    """A lock file in memory that may be slow or fail."""

    def __init__(self) -> None:
        self.documents: list[Mapping[str, object]] = []
        self.fails = False
        self.delay_s = 0.0
        self.stray: Exception | None = None

    async def replace(self, document: Mapping[str, object]) -> None:
        """Put a document in place."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.stray is not None:
            raise self.stray
        if self.fails:
            raise LockError("Read-only file system")
        self.documents.append(document)

    @property
    def reasons(self) -> list[str]:
        """The reasons of the locks that stand there."""
        locks = self.documents[-1]["locks"]
        assert isinstance(locks, list)
        return [lock["reason"] for lock in locks]


def file_writer(file: File) -> tuple[LockWriter, list[str]]:
    """A writer, and what it told of troubles and recoveries."""
    told: list[str] = []
    writer = LockWriter(
        file.replace, on_trouble=told.append, on_recovery=lambda: told.append("recovered")
    )
    return writer, told


def decision(*locks: LockEntry, records: Records = NEWS) -> Decision:
    """A decision with these locks."""
    return Decision(memory=Memory(), lock=LockContent(locks=locks), records=records)


class Desk:
    """A decision writer with its disk and its file."""

    def __init__(self, *standing: LockEntry) -> None:
        self.disk, self.file = Disk(), File()
        self.clock = LoopClock(epoch=EPOCH)
        self.writer = DecisionWriter(
            recorder=recorder(self.disk),
            lock=file_writer(self.file)[0],
            clock=self.clock,
            store_deadline_s=1.0,
            standing=standing,
        )


# --- the file ---------------------------------------------------------------------------------


def test_a_slow_file_ends_with_the_newest_content() -> None:
    """What came while it hung is written once, and the oldest never last."""

    async def story() -> None:
        file = File()
        writer, told = file_writer(file)
        file.delay_s = 2.0
        for number in range(5):
            assert not await writer.write({"n": number}, deadline_s=0.3)
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)
        await asyncio.sleep(10)
        assert [document["n"] for document in file.documents] == [0, 4]
        assert told == ["the lock file is slow to write", "recovered"]

    play(story)


def test_a_fault_that_nobody_expected_is_no_written_lock() -> None:
    """It is told like any other, and the next document is tried."""

    async def story() -> None:
        file = File()
        writer, told = file_writer(file)
        file.stray = ValueError("an odd document")
        assert not await writer.write({"n": 1}, deadline_s=0.3)
        assert writer.fault == "lock file: ValueError: an odd document"
        file.stray = None
        assert await writer.write({"n": 2}, deadline_s=0.3)
        assert [document["n"] for document in file.documents] == [2]
        assert told == [
            "the lock file cannot be written: lock file: ValueError: an odd document",
            "recovered",
        ]

    play(story)


def test_a_file_that_fails_is_told_once_and_tried_with_every_decision() -> None:
    """`fault` says why, until a write works."""

    async def story() -> None:
        file = File()
        writer, told = file_writer(file)
        file.fails = True
        for number in range(3):
            assert not await writer.write({"n": number}, deadline_s=0.3)
        assert writer.fault == "Read-only file system"
        file.fails = False
        assert await writer.write({"n": 3}, deadline_s=0.3)
        assert writer.fault == ""
        assert told == [
            "writing the lock file: Read-only file system",
            "recovered",
        ]

    play(story)


# --- record and lock --------------------------------------------------------------------------


def test_a_lock_is_set_although_its_record_fails() -> None:
    """Tightening waits for nothing."""

    async def story() -> None:
        desk = Desk()
        desk.disk.fault = full_disk
        await desk.writer.write(decision(STAGE_1))
        assert desk.file.reasons == ["stage_1"]
        assert desk.clock.monotonic() == 0.0

    play(story)


def test_the_record_is_queued_before_anybody_waits() -> None:
    """A caller that is cut off in the same instant has lost nothing."""

    async def story() -> None:
        desk = Desk()
        writing = asyncio.ensure_future(desk.writer.write(decision(STAGE_1)))
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert desk.disk.events == ["news"]

    play(story)


@pytest.mark.parametrize("changed", [(), (replace(STAGE_1, expires_ts=EPOCH + 60),)])
def test_a_lock_is_lifted_or_shortened_only_with_its_record_on_disk(
    changed: tuple[LockEntry, ...],
) -> None:
    """While the database fails the old lock stays, new ones join it; then it goes."""

    async def story() -> None:
        desk = Desk()
        await desk.writer.write(decision(STAGE_1))
        desk.disk.fault = full_disk
        await desk.writer.write(decision(*changed))
        assert desk.file.reasons == [*(["stage_1"] * len(changed)), "stage_1"]
        await desk.writer.write(decision(*changed, BLIND))
        assert set(desk.file.reasons) == {"stage_1", "blind"}
        desk.disk.fault = None
        await desk.writer.write(decision(*changed))
        assert desk.file.reasons == ["stage_1"] * len(changed)

    play(story)


def test_a_lock_that_was_lifted_does_not_run_out_before_its_record() -> None:
    """Lifted with 10 s left while the database fails: bots obey it 90 s later, until it is told."""

    async def story() -> None:
        desk = Desk()
        await desk.writer.write(decision(STAGE_1))
        await asyncio.sleep(590)
        desk.disk.fault = full_disk
        for _ in range(10):
            await desk.writer.write(decision())
            await asyncio.sleep(10)
            assert desk.file.reasons == ["stage_1"]
            until = desk.file.documents[-1]["expires_ts"]
            assert isinstance(until, float)
            assert until > desk.clock.now()
        desk.disk.fault = None
        await desk.writer.write(decision())
        assert desk.file.reasons == []

    play(story)


def test_a_lock_is_lifted_at_once_when_its_record_is_written_at_once() -> None:
    """In the ordinary case nobody waits for another tick."""

    async def story() -> None:
        desk = Desk()
        await desk.writer.write(decision(STAGE_1))
        await desk.writer.write(decision())
        assert desk.file.reasons == []

    play(story)


def test_the_operators_force_lifts_without_a_record() -> None:
    """Only that waives it."""

    async def story() -> None:
        desk = Desk()
        await desk.writer.write(decision(STAGE_1))
        desk.disk.fault = full_disk
        await desk.writer.write(decision(), is_forced=True)
        assert desk.file.reasons == []

    play(story)


def test_a_lock_that_has_run_out_needs_no_record_to_go() -> None:
    """Nobody obeys it any more."""

    async def story() -> None:
        desk = Desk()
        await desk.writer.write(decision(STAGE_1))
        desk.disk.fault = full_disk
        await asyncio.sleep(601)
        await desk.writer.write(decision())
        assert desk.file.reasons == []

    play(story)


def test_a_store_in_trouble_is_waited_for_once() -> None:
    """The first decision gives it its second, later ones go on without."""

    async def story() -> None:
        desk = Desk()
        desk.disk.delay_s = 300.0
        await desk.writer.write(decision(STAGE_1))
        assert desk.clock.monotonic() == pytest.approx(1.0)
        await desk.writer.write(decision(STAGE_1))
        assert desk.clock.monotonic() == pytest.approx(1.0)

    play(story)


def test_a_standing_lock_stays_until_it_runs_out() -> None:
    """A live guard's lock, while a dry run works in its place."""

    async def story() -> None:
        desk = Desk(STAGE_1)
        await desk.writer.write(decision())
        assert desk.file.reasons == ["stage_1"]
        await asyncio.sleep(601)
        await desk.writer.write(decision())
        assert desk.file.reasons == []

    play(story)


@pytest.mark.parametrize("is_shown_only", [True, False])
def test_a_fault_of_our_own_locks_every_bot(is_shown_only: bool) -> None:
    """Beside the locks that stand; in a dry run it is only shown."""

    async def story() -> None:
        desk = Desk()
        await desk.writer.write(decision(STAGE_1))
        await desk.writer.lock_for_fault("a bug", is_shown_only=is_shown_only)
        document = desk.file.documents[-1]
        where = document["would_lock" if is_shown_only else "locks"]
        assert isinstance(where, list)
        (entry,) = [lock for lock in where if lock["reason"] == "blind_internal_fault"]
        assert (entry["scope"], entry["expires_ts"]) == ("*", FOREVER_TS)
        assert "stage_1" in desk.file.reasons

    play(story)
