"""A lost database: what the lock file says stands, is written down at once, and starts nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from book_locks import REASON_STATE_LOST
from clock import SystemClock
from commands.assembly import assemble, check_lock_file
from commands.recall import READ_TRIES, Recalled, recall
from errors import ConfigurationError, LockError, StoreError
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from logger import get_logger
from memory import AuditEntry, BookMemory, Memory, Records
from model import Stage
from position_store import PositionStore
from settings import Settings
from store.access import ThreadedStore
from store.views import read_status
from switch_model import SwitchMemory, SwitchSetting, SwitchState
from switch_rules import REASON_REDIS_SILENT, operator_locks
from tests.guard_files import (
    BOOK,
    INCIDENT,
    LOCK,
    NOW,
    SCOPE,
    STATE,
    opened,
    settings_in,
    write,
    write_lock,
)

STAGE_3 = replace(LOCK, stage=Stage.ALL_CLOSED, manual_reset_required=True, expires_ts=NOW + 1e6)


class BadDisk(ThreadedStore):
    """A database that can be read and takes no commit."""

    async def commit(self, records: Records) -> None:
        """Fail."""
        raise StoreError("database or disk is full")


class HangingDisk(ThreadedStore):
    """One whose commits do not end."""

    async def commit(self, records: Records) -> None:
        """Hang."""
        await asyncio.get_running_loop().create_future()


async def start_badly(
    folder: Path, store: type[ThreadedStore], *, dry_run: bool = False
) -> Recalled:
    """What a guard remembers that starts on a bad disk."""
    settings = settings_in(folder, dry_run=dry_run)
    found = await recall(
        settings.state_db,
        lock_path=settings.trading_lock_file,
        policy=settings.to_policy(),
        now=NOW,
        open_store=partial(store.open, rng=random.Random(1)),
    )
    await found.store.aclose()
    return found


async def start(folder: Path, *, dry_run: bool = False, now: float = NOW) -> Recalled:
    """What a guard that starts now remembers; its store is closed again."""
    settings = settings_in(folder, dry_run=dry_run)
    found = await recall(
        settings.state_db,
        lock_path=settings.trading_lock_file,
        policy=settings.to_policy(),
        now=now,
        open_store=partial(ThreadedStore.open, rng=random.Random(1)),
    )
    await found.store.aclose()
    return found


def state_of(found: Recalled) -> tuple[Stage, set[LockMode]]:
    """Stage and kinds of locks of the book."""
    book = found.memory.book(BOOK)
    return book.stage, {entry.mode for entry in book.locks}


def adopted_rows(settings: Settings, *, dry_run: bool = False) -> list[AuditEntry]:
    """What the audit says of adopted locks, oldest first."""
    actions = read_status(settings.state_db, dry_run=dry_run).actions
    return [row for row in reversed(actions) if row.event == "lock_adopted"]


async def test_the_first_start_ever_locks_nobody(tmp_path: Path) -> None:
    """Neither database nor lock file: nothing was lost."""
    found = await start(tmp_path)
    assert (found.notices, state_of(found)) == ((), (Stage.NORMAL, set()))


async def test_what_was_adopted_is_known_to_every_later_start(tmp_path: Path) -> None:
    """The second start finds a database and asks the lock file no more."""
    write_lock(settings_in(tmp_path), content=LockContent(locks=(LOCK,)))
    first = await start(tmp_path)
    assert first.notices != ()
    for number in range(2):
        again = await start(tmp_path, now=NOW + number)
        assert again.notices == ()
        assert state_of(again) == (Stage.REDUCED_TOP_RISK, {LockMode.STAGE, LockMode.HALT})
        assert again.memory.book(BOOK).incident is None


async def test_every_lock_that_was_adopted_has_a_row_in_the_audit(tmp_path: Path) -> None:
    """The stage's own and the halt that waits for a reset; a later start adds none."""
    settings = settings_in(tmp_path)
    write_lock(settings, content=LockContent(locks=(LOCK,)))
    for number in range(2):
        await start(tmp_path, now=NOW + number)
        rows = adopted_rows(settings)
        assert [(row.at, row.mode, row.dry_run) for row in rows] == [
            (NOW, "stage", False),
            (NOW, "halt", False),
        ]
        assert [dict(row.details)["reason"] for row in rows] == [LOCK.reason, "state_lost"]
        assert "older than the database" in rows[0].message


async def test_an_unreadable_lock_file_leaves_the_row_of_its_halt(tmp_path: Path) -> None:
    """Why bots are locked is in the audit, also when nothing could be taken over."""
    settings = settings_in(tmp_path)
    settings.trading_lock_file.parent.mkdir(parents=True, exist_ok=True)
    settings.trading_lock_file.write_text("{", encoding="utf-8")
    await start(tmp_path)
    (row,) = adopted_rows(settings)
    assert (row.mode, row.scope) == ("halt", BOOK)
    assert "the lock file cannot be read" in row.message


async def test_a_rehearsal_records_the_adoption_of_both_kinds(tmp_path: Path) -> None:
    """The live stage that it saves is a live row, its own halt one of the dry run."""
    settings = settings_in(tmp_path)
    write_lock(settings, content=LockContent(locks=(STAGE_3,)))
    await start(tmp_path, dry_run=True)
    assert [row.mode for row in adopted_rows(settings)] == ["stage", "halt"]
    assert [row.mode for row in adopted_rows(settings, dry_run=True)] == ["halt"]


async def test_a_halt_that_the_database_never_learnt_of_stays(tmp_path: Path) -> None:
    """The new database took no record before the guard was killed; only a reset may lift it."""
    settings = settings_in(tmp_path)
    write(settings, Records())
    halt = replace(LOCK, mode=LockMode.HALT, stage=Stage.NORMAL, reason=REASON_STATE_LOST)
    halt = replace(halt, manual_reset_required=True, expires_ts=FOREVER_TS)
    write_lock(settings, content=LockContent(locks=(halt,)))
    first = await start(tmp_path)
    assert state_of(first) == (Stage.NORMAL, {LockMode.HALT})
    again = await start(tmp_path, now=NOW + 1)
    assert (again.notices, state_of(again)) == ((), (Stage.NORMAL, {LockMode.HALT}))


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', "{", "", "[" * 100_000, '{"a": 1}'])
async def test_a_lock_file_that_is_no_lock_document_locks(tmp_path: Path, text: str) -> None:
    """Whatever lies there, the guard starts, and bots wait for a reset."""
    settings = settings_in(tmp_path)
    settings.trading_lock_file.parent.mkdir(parents=True, exist_ok=True)
    settings.trading_lock_file.write_text(text, encoding="utf-8")
    found = await start(tmp_path)
    assert state_of(found) == (Stage.NORMAL, {LockMode.HALT})


@pytest.mark.parametrize("damage", ["file", "value"])
async def test_a_database_that_cannot_be_read_is_moved_aside(tmp_path: Path, damage: str) -> None:
    """No database at all, or one whose values make no sense: the guard runs with a halt."""
    settings = settings_in(tmp_path)
    write(settings, Records(books=(BookMemory(name=BOOK),)))
    if damage == "file":
        settings.state_db.write_bytes(b"no database" * 500)
        for suffix in ("-wal", "-shm"):
            companion = settings.state_db.with_name(settings.state_db.name + suffix)
            companion.unlink(missing_ok=True)
    else:
        with closing(sqlite3.connect(settings.state_db)) as connection, connection:
            connection.execute("UPDATE scope_stage_state SET locks = 'no list'")
    found = await start(tmp_path)
    assert "moved to" in found.notices[0]
    assert state_of(found) == (Stage.NORMAL, {LockMode.HALT})
    assert len(list(settings.state_db.parent.glob("*.unreadable-*"))) >= 1
    again = await start(tmp_path)
    assert (again.notices, state_of(again)[1]) == ((), {LockMode.HALT})


@pytest.mark.parametrize("failures", [READ_TRIES - 1, READ_TRIES])
async def test_a_disk_that_goes_on_giving_errors_keeps_no_guard_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """It is asked again first, because an open incident is lost with what is moved aside."""
    monkeypatch.setattr("commands.recall.READ_AGAIN_S", 0.0)
    settings = settings_in(tmp_path)
    write(settings, Records(books=(STATE,), incidents=(INCIDENT,)))
    write_lock(settings, content=LockContent(locks=(LOCK,)))
    load, left = PositionStore.load_memory, iter(range(failures))

    def fail_first(store: PositionStore, *, dry_run: bool, now: float) -> Memory:
        if next(left, None) is not None:
            cause = sqlite3.OperationalError("disk I/O error")
            cause.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
            raise StoreError("loading the memory: disk I/O error") from cause
        return load(store, dry_run=dry_run, now=now)

    monkeypatch.setattr(PositionStore, "load_memory", fail_first)
    found = await start(tmp_path)
    book = found.memory.book(BOOK)
    kept = list(settings.state_db.parent.glob("*.unreadable-*"))
    if failures < READ_TRIES:
        assert (found.notices, kept, book.incident) == ((), [], INCIDENT)
    else:
        assert "disk I/O error" in found.notices[0]
        assert kept
        assert (book.stage, book.incident) == (LOCK.stage, None)
        assert LockMode.HALT in {entry.mode for entry in book.locks}


async def test_a_live_stage_outlives_a_rehearsal_on_a_lost_database(tmp_path: Path) -> None:
    """The dry run that starts first must not be the only one to know of it."""
    write_lock(settings_in(tmp_path), content=LockContent(locks=(STAGE_3,)))
    rehearsal = await start(tmp_path, dry_run=True)
    assert state_of(rehearsal) == (Stage.NORMAL, {LockMode.HALT})
    assert LockMode.STAGE in {entry.mode for entry in rehearsal.standing}
    live = await start(tmp_path)
    assert state_of(live) == (Stage.ALL_CLOSED, {LockMode.STAGE, LockMode.HALT})
    assert live.standing == ()


@pytest.mark.parametrize("store", [BadDisk, HangingDisk])
async def test_what_cannot_be_written_down_is_adopted_all_the_same(
    tmp_path: Path, store: type[ThreadedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard starts with it, within seconds, and hands it on to be written first."""
    monkeypatch.setattr("commands.recall.KEEP_WITHIN_S", 0.01)
    write_lock(settings_in(tmp_path), content=LockContent(locks=(STAGE_3,)))
    found = await start_badly(tmp_path, store)
    assert state_of(found) == (Stage.ALL_CLOSED, {LockMode.STAGE, LockMode.HALT})
    assert found.unwritten.books == (found.memory.book(BOOK),)
    assert "bots stay locked" in found.notices[0]


async def test_a_rehearsal_on_a_bad_disk_leaves_the_live_stage_in_force(tmp_path: Path) -> None:
    """Its own halt is to be written; the live stage stands in the lock until a live run."""
    write_lock(settings_in(tmp_path), content=LockContent(locks=(STAGE_3,)))
    found = await start_badly(tmp_path, BadDisk, dry_run=True)
    assert state_of(found) == (Stage.NORMAL, {LockMode.HALT})
    assert found.unwritten.books == (found.memory.book(BOOK),)
    assert LockMode.STAGE in {entry.mode for entry in found.standing}


async def test_a_dry_run_knows_the_locks_it_must_leave(tmp_path: Path) -> None:
    """Those in force, of stages, kill and halt; not what has run out."""
    settings = settings_in(tmp_path)
    old = replace(LOCK, stage=Stage.DOMINANT_CLOSED, expires_ts=NOW - 1)
    write(settings, Records(books=(BookMemory(name=BOOK, locks=(STAGE_3, old)),)))
    found = await start(tmp_path, dry_run=True)
    assert found.standing == (STAGE_3,)
    assert found.memory.book(BOOK).locks == ()


async def test_a_database_that_cannot_say_whose_account_it_knows_ends_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not keep the guard from guarding; the wrong account must be told."""
    settings = settings_in(tmp_path)
    write(settings, Records(books=(BookMemory(name=BOOK),)))
    with opened(settings) as store:
        store.claim(SCOPE, "live")

    async def start() -> bool:
        async with assemble(settings, clock=SystemClock(), log=get_logger("test")) as guard:
            return guard.guardian.scopes == (SCOPE,)

    with pytest.raises(ConfigurationError, match=r"binance is simulator, and .* knows it as live"):
        await start()

    async def fail(*_asked: object) -> str:
        raise StoreError("database or disk is full")

    monkeypatch.setattr(ThreadedStore, "claim", fail)
    assert await start()


def test_a_lock_that_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """The trial is a file without a name; missing folders are made."""
    check_lock_file(tmp_path / "new" / "trading_lock.json")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_a_want_that_may_pass_does_not_end_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full disk must not keep the guard from guarding; a wrong permission must be told."""

    def fails(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("commands.assembly.tempfile.TemporaryFile", fails)
    check_lock_file(tmp_path / "trading_lock.json")
    (tmp_path / "trading_lock.json").mkdir()
    with pytest.raises(LockError, match="is a folder"):
        check_lock_file(tmp_path / "trading_lock.json")


def test_a_lock_that_cannot_be_written_says_where_and_what_to_do(tmp_path: Path) -> None:
    """A folder nobody can write to, and a folder where the file should be."""
    with pytest.raises(LockError, match=r"not writable .* -> change"):
        check_lock_file(Path("/proc/trading_lock/trading_lock.json"))
    (tmp_path / "trading_lock.json").mkdir()
    with pytest.raises(LockError, match="is a folder -> change"):
        check_lock_file(tmp_path / "trading_lock.json")


# --- the operator's switch ----------------------------------------------------------------------


def switch_lock(state: SwitchState, *, dry_run: bool = False, at: float = NOW) -> LockEntry:
    """What the guard wrote into the lock file while the switch said so since `at`."""
    held = SwitchMemory(local=SwitchSetting(state=state, since=at, actor="ann"))
    (entry,) = operator_locks(held, dry_run=dry_run)
    return entry


SILENT = replace(switch_lock(SwitchState.HALT), reason=REASON_REDIS_SILENT)


@pytest.mark.parametrize("was_dry", [False, True])
@pytest.mark.parametrize("is_dry", [False, True])
@pytest.mark.parametrize("state", [SwitchState.PAUSE, SwitchState.HALT, SwitchState.KILL])
async def test_the_switch_outlives_its_database_in_either_kind_of_run(
    tmp_path: Path, state: SwitchState, was_dry: bool, is_dry: bool
) -> None:
    """It is the operator's word and binds both; a later start finds it in the database."""
    settings = settings_in(tmp_path)
    write_lock(settings, content=LockContent(locks=(switch_lock(state, dry_run=was_dry),)))
    found = await start(tmp_path, dry_run=is_dry)
    assert found.memory.switch.local.state is state
    assert found.memory.switch.local.reason.endswith(f"(switch_local: {state} by ann)")
    assert state_of(found) == (Stage.NORMAL, {LockMode.HALT})
    status = read_status(settings.state_db, dry_run=is_dry)
    assert [row.event for row in status.actions].count("switch_adopted") == 1
    assert [(one.old, one.new) for one in status.transitions] == [(SwitchState.RUNNING, state)]
    again = await start(tmp_path, dry_run=not is_dry)
    assert (again.notices, again.memory.switch) == ((), found.memory.switch)


async def test_a_silent_redis_before_a_lost_database_leaves_a_halt(tmp_path: Path) -> None:
    """What Redis had said before is lost with it."""
    write_lock(settings_in(tmp_path), content=LockContent(locks=(SILENT,)))
    found = await start(tmp_path)
    assert found.memory.switch.local.state is SwitchState.HALT


@pytest.mark.parametrize("text", ["{", "[]"])
async def test_an_unreadable_lock_file_tells_nothing_of_the_switch(
    tmp_path: Path, text: str
) -> None:
    """Every book waits for its reset as it is."""
    settings = settings_in(tmp_path)
    settings.trading_lock_file.parent.mkdir(parents=True, exist_ok=True)
    settings.trading_lock_file.write_text(text, encoding="utf-8")
    assert (await start(tmp_path)).memory.switch == SwitchMemory()


@pytest.mark.parametrize("store", [BadDisk, HangingDisk])
async def test_a_switch_that_cannot_be_written_down_is_adopted_all_the_same(
    tmp_path: Path, store: type[ThreadedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And handed on to be written first."""
    monkeypatch.setattr("commands.recall.KEEP_WITHIN_S", 0.01)
    locks = (switch_lock(SwitchState.KILL), STAGE_3)
    write_lock(settings_in(tmp_path), content=LockContent(locks=locks))
    found = await start_badly(tmp_path, store)
    assert found.memory.switch.local.state is SwitchState.KILL
    assert found.unwritten.switch == found.memory.switch
    assert state_of(found)[0] is Stage.ALL_CLOSED


@pytest.mark.parametrize("is_dry", [False, True])
async def test_a_kill_that_the_database_never_learnt_of_stays(tmp_path: Path, is_dry: bool) -> None:
    """The disk was full when Redis said it, and the guard died; then Redis was flushed."""
    settings = settings_in(tmp_path)
    write(settings, Records())
    write_lock(settings, content=LockContent(locks=(switch_lock(SwitchState.KILL), LOCK)))
    found = await start(tmp_path, dry_run=is_dry)
    assert found.memory.switch.local.state is SwitchState.KILL
    assert "the switch says kill until: switch running" in found.notices[0]
    again = await start(tmp_path, dry_run=is_dry)
    assert (again.notices, again.memory.switch) == ((), found.memory.switch)


async def test_an_unwritten_kill_on_a_bad_disk_is_handed_on_with_its_books(
    tmp_path: Path,
) -> None:
    """Both are to be written before anything else."""
    settings = settings_in(tmp_path)
    write(settings, Records())
    write_lock(settings, content=LockContent(locks=(switch_lock(SwitchState.KILL), STAGE_3)))
    found = await start_badly(tmp_path, BadDisk)
    assert found.unwritten.switch == found.memory.switch
    assert found.unwritten.books == (found.memory.book(BOOK),)
    assert len(found.notices) == 2


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_halt_that_was_lifted_does_not_come_back(tmp_path: Path, dry_run: bool) -> None:
    """The database knows of something newer, in whichever kind of run."""
    settings = settings_in(tmp_path)
    lifted = AuditEntry(at=NOW + 5, scope="*", event="switch_changed", message=".", dry_run=dry_run)
    write(settings, Records(audits=(lifted,)))
    write_lock(settings, content=LockContent(locks=(switch_lock(SwitchState.HALT),)))
    found = await start(tmp_path)
    assert (found.notices, found.memory.switch) == ((), SwitchMemory())


async def test_a_silence_that_the_database_never_learnt_of_is_found_again(tmp_path: Path) -> None:
    """By the next look, if it lasts: it is nobody's word."""
    settings = settings_in(tmp_path)
    write(settings, Records())
    write_lock(settings, content=LockContent(locks=(SILENT,)))
    found = await start(tmp_path)
    assert (found.notices, found.memory.switch) == ((), SwitchMemory())
