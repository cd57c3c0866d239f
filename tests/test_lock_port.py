"""The way to the lock file on a bad disk: bots see it, reserves are used, and it is told."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from clock import SystemClock
from errors import LockError
from lock_port import LockPort, showing
from logger import Logger
from memory import AuditEntry, Records
from reserves import DESCRIPTORS, ROOM_BYTES, DescriptorReserve, RoomReserve
from tests.test_integration import until
from tests.virtual_house import Logbook
from trading_lock import LockFile
from troubles import Troubles


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """How long a write is waited for: on a busy machine an ordinary one takes its time."""

    def wait_for(seconds: float) -> None:
        monkeypatch.setattr("lock_port.CONFIRM_WITHIN_S", seconds)

    wait_for(10.0)
    return wait_for


def document(reason: str) -> dict[str, object]:
    """A document that can be told from others."""
    return {"reason": reason, "details": {}}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A port with its file and what it told."""

    path: Path
    port: LockPort
    troubles: Troubles
    log: Logbook
    recorded: list[AuditEntry]
    descriptors: DescriptorReserve
    room: RoomReserve

    async def write(self, reason: str) -> None:
        """Write a document with the troubles of this moment."""
        await showing(self.port.replace, self.troubles)(document(reason))

    def read(self) -> dict[str, Any]:
        """What bots read."""
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """A port on a folder; its threads are ended afterwards."""
    path, log, recorded = folder / "lock.json", Logbook(), list[AuditEntry]()
    troubles = Troubles(clock=SystemClock(), log=cast("Logger", log), dry_run=False)

    def record(records: Records) -> None:
        recorded.extend(records.audits)

    troubles.record = record
    descriptors, room = DescriptorReserve(), RoomReserve(path)
    port = LockPort(
        LockFile(path, pid=1, host="test"), reserves=(descriptors, room), troubles=troubles
    )
    try:
        yield Desk(
            path=path,
            port=port,
            troubles=troubles,
            log=log,
            recorded=recorded,
            descriptors=descriptors,
            room=room,
        )
    finally:
        port.close()
        descriptors.release()


def files_in(folder: Path) -> list[str]:
    """The names of all files."""
    return sorted(file.name for file in folder.iterdir())


# --- a disk that hangs ------------------------------------------------------------------------


class HangingDisk:
    """Every fsync waits until the disk is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._go_on = threading.Event()
        self.waiting = 0
        self.synced = 0
        monkeypatch.setattr("trading_lock.os.fsync", self._sync)

    def _sync(self, _descriptor: int) -> None:
        self.waiting += 1
        assert self._go_on.wait(10)
        self.waiting -= 1
        self.synced += 1

    def let_go(self) -> None:
        """Let every fsync end."""
        self._go_on.set()


async def test_bots_see_a_lock_that_the_disk_does_not_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: Callable[[float], None]
) -> None:
    """Every new document stands at once, one write hangs and no more, and each call says so."""
    async with desk(tmp_path) as at:
        await at.write("free")
        disk = HangingDisk(monkeypatch)
        patience(0.05)
        for reason in ("first", "second", "third"):
            with pytest.raises(LockError, match="does not confirm") as unconfirmed:
                await at.write(reason)
            assert unconfirmed.value.number == errno.ETIMEDOUT
            assert at.read()["reason"] == reason
            await until(lambda: disk.waiting == 1)
        assert disk.synced == 0
        disk.let_go()
        await until(lambda: disk.waiting == 0)


async def test_a_write_that_hung_does_not_bring_its_old_document_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: Callable[[float], None]
) -> None:
    """It ends after later ones: those stand, and nothing is left beside them."""
    async with desk(tmp_path) as at:
        disk = HangingDisk(monkeypatch)
        patience(0.05)
        for reason in ("old", "new"):
            with pytest.raises(LockError):
                await at.write(reason)
        disk.let_go()
        await until(lambda: disk.synced == 2)
        patience(10.0)
        await at.write("newest")
        assert at.read()["reason"] == "newest"
        assert at.read()["sequence"] == 4
        assert files_in(tmp_path) == [".lock.json.reserve", "lock.json"]


# --- a disk without room ----------------------------------------------------------------------


def full_while(monkeypatch: pytest.MonkeyPatch, claim: Callable[[], bool]) -> None:
    """A disk that has no room for a document as long as something holds."""
    real = os.fsync

    def sync(descriptor: int) -> None:
        if claim():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("trading_lock.os.fsync", sync)


async def test_a_full_disk_still_takes_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room beside it is given up for every document and taken back before others use it."""
    async with desk(tmp_path) as at:
        await at.write("free")
        spare = tmp_path / ".lock.json.reserve"
        assert spare.stat().st_blocks * 512 >= ROOM_BYTES
        is_full = [True]
        full_while(monkeypatch, lambda: is_full[0] and spare.exists())
        for reason in ("first", "second"):
            await at.write(reason)
            assert at.read()["reason"] == reason
            assert spare.exists()
        assert "full" in at.read()["details"]["trouble_room"]
        assert len(at.log.of("room_trouble")) == 1
        is_full[0] = False
        await at.write("third")
        await at.write("fourth")
        assert at.read()["details"] == {}
        assert [entry.event for entry in at.recorded] == ["room_trouble", "room_recovered"]


async def test_a_disk_without_any_room_is_a_fault_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reserve did not help: the caller learns why, and the next write finds a new one."""
    async with desk(tmp_path) as at:
        await at.write("free")
        full_while(monkeypatch, lambda: True)
        with pytest.raises(LockError, match="No space left") as full:
            await at.write("lock")
        assert full.value.number == errno.ENOSPC
        assert at.read()["reason"] == "free"


def test_room_is_not_kept_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a reserve would be none, and would take what the lock needs."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reserves.os.posix_fallocate", full)
    room = RoomReserve(tmp_path / "lock.json")
    room.hold()
    assert not room.is_held
    assert not room.release()
    assert files_in(tmp_path) == []


def test_room_that_an_earlier_run_kept_is_there_to_be_used(tmp_path: Path) -> None:
    """A guard that starts on a full disk can write its first lock with it."""
    RoomReserve(tmp_path / "lock.json").hold()
    assert RoomReserve(tmp_path / "lock.json").release()
    assert files_in(tmp_path) == []


# --- no descriptors ---------------------------------------------------------------------------


async def test_without_descriptors_the_lock_takes_those_kept_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let go once and for all, until there are twice as many: connections need them as well."""
    async with desk(tmp_path) as at:
        await at.write("free")
        real, count = os.open, [0]

        def scarce(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
            count[0] += 1
            if at.descriptors.is_held or path == os.devnull:
                raise OSError(errno.EMFILE, "Too many open files")
            return real(path, flags, mode, **more)

        with monkeypatch.context() as patched:
            patched.setattr("os.open", scarce)
            await at.write("lock")
            assert at.read()["reason"] == "lock"
            assert not at.descriptors.is_held
            await at.write("lock")
            assert "descriptors" in at.read()["details"]["trouble_descriptors"]
        await at.write("lock")
        assert at.descriptors.is_held
        assert [entry.event for entry in at.recorded] == [
            "descriptors_trouble",
            "descriptors_recovered",
        ]


def test_a_reserve_of_descriptors_is_let_go_once() -> None:
    """What is let go can be opened by others; what was given back is not closed twice."""
    reserve = DescriptorReserve()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert reserve.release()
    assert not reserve.release()
    assert len(os.listdir("/proc/self/fd")) == before - DESCRIPTORS  # noqa: PTH208
    reserve.hold()
    assert reserve.is_held
    reserve.release()


async def test_other_details_of_a_document_stay(tmp_path: Path) -> None:
    """A trouble stands beside what a lock says of itself."""
    async with desk(tmp_path) as at:
        at.troubles.begin("store", "the disk is full")
        write = showing(at.port.replace, at.troubles)
        await write({"details": {"not_watched_0": "bybit"}})
        assert set(at.read()["details"]) == {"not_watched_0", "trouble_store"}
