"""A database whose disk takes nothing, or whose file went away: read, waited for, put back."""

from __future__ import annotations

import errno
import random
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from errors import StoreError, StoreUnreadable
from memory import AuditEntry, BookMemory, Records
from model import BookName, Stage
from position_store import PositionStore
from store import stopgap
from store.views import read_status

NOW = 1_800_000_000.0
BOOK = BookMemory(name=BookName("venue_futures"), stage=Stage.ALL_CLOSED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "state" / "guard.sqlite3"


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process grows, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def opened(path: Path) -> Iterator[PositionStore]:
    """A store of a live run."""
    store = PositionStore.open(path, rng=random.Random(1))
    try:
        store.load_memory(dry_run=False, now=NOW)
        yield store
    finally:
        store.close()


def said(event: str) -> Records:
    """A commit that can be recognised."""
    return Records(audits=(AuditEntry(at=NOW, scope="*", event=event, message="."),))


def events(path: Path) -> list[str]:
    """What was recorded, oldest first."""
    return [entry.event for entry in reversed(read_status(path, dry_run=False).actions)]


def stages(store: PositionStore) -> list[Stage]:
    """The stages of all books."""
    return [book.stage for book in store.load_memory(dry_run=False, now=NOW).books]


# --- a full disk ------------------------------------------------------------------------------


def stop(path: Path) -> None:
    """Leave a database as an orderly end does."""
    with opened(path) as store:
        store.commit(Records(books=(BOOK,)))


def die(path: Path) -> None:
    """Leave a database as a killed guard does: its last commit stands in the log alone."""
    kept = path.parent.with_name("kept")
    with opened(path) as store:
        store.commit(Records(books=(BOOK,)))
        shutil.copytree(path.parent, kept)
    shutil.rmtree(path.parent)
    kept.rename(path.parent)


@pytest.mark.parametrize("end", [stop, die])
def test_a_full_disk_is_read_at_the_start_and_written_when_there_is_room(
    path: Path, end: Callable[[Path], None]
) -> None:
    """What was stored is known; a commit fails, and the first one after that is written."""
    end(path)
    with no_room():
        store = PositionStore.open(path, rng=random.Random(2))
        tag = store.instance_tag()
        assert not store.is_new
        assert stages(store) == [Stage.ALL_CLOSED]
        for _ in range(2):
            with pytest.raises(StoreError):
                store.commit(said("too soon"))
            with pytest.raises(StoreError):
                store.add_request(at=NOW, actor="ann", command="reset")
            assert not store.thin(NOW)
        assert store.pending_requests() == ()
        assert stages(store) == [Stage.ALL_CLOSED]
    store.commit(said("in time"))
    assert events(path) == ["in time"]
    assert (stages(store), store.instance_tag()) == ([Stage.ALL_CLOSED], tag)
    store.close()


def test_a_first_start_on_a_full_disk_remembers_in_memory_until_there_is_room(path: Path) -> None:
    """Its books and its tag are on disk in the end; whoever reads meanwhile finds nothing."""
    path.parent.mkdir()
    with no_room():
        store = PositionStore.open(path, rng=random.Random(1))
        store.load_memory(dry_run=False, now=NOW)
        tag = store.instance_tag()
        assert store.is_new
        with pytest.raises(StoreError):
            store.commit(Records(books=(BOOK,)))
    with pytest.raises(StoreError, match="put back"):
        store.commit(Records(books=(BOOK,)))
    store.commit(Records(books=(BOOK,)))
    store.close()
    with opened(path) as again:
        assert (stages(again), again.instance_tag()) == ([Stage.ALL_CLOSED], tag)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_database_that_is_damaged_is_no_full_disk(path: Path) -> None:
    """It is moved aside by the caller, whatever the disk has."""
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with no_room(), pytest.raises(StoreUnreadable):
        PositionStore.open(path, rng=random.Random(1))


def test_a_database_that_another_program_holds_alone_is_an_error_that_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can read it: the caller ends, and is started again."""
    stop(path)
    monkeypatch.setattr("store.schema.BUSY_TIMEOUT_MS", 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            PositionStore.open(path, rng=random.Random(1))


def test_status_reads_a_database_at_rest_on_a_full_disk(path: Path) -> None:
    """A reader cannot add the files that it wants, and can do without."""
    stop(path)
    with no_room():
        assert [book.stage for book in read_status(path, dry_run=False).books] == [BOOK.stage]


# --- a file that went away --------------------------------------------------------------------


def remove_all(path: Path) -> None:
    """`rm state/killswitch.db state/killswitch.db-*`."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def remove_one(path: Path) -> None:
    """`rm state/killswitch.db`."""
    path.unlink()


def remove_folder(path: Path) -> None:
    """`rm -r state`."""
    shutil.rmtree(path.parent)


def replace_by_another(path: Path) -> None:
    """A command that found no database has made one."""
    remove_all(path)
    PositionStore.open(path, rng=random.Random(9)).close()


def replace_by_nonsense(path: Path) -> None:
    """Something else was put there."""
    remove_all(path)
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    "removal", [remove_all, remove_one, remove_folder, replace_by_another, replace_by_nonsense]
)
def test_a_file_that_went_away_is_put_back_whole(
    path: Path, removal: Callable[[Path], None]
) -> None:
    """The next write says so and the one after it goes on; nothing that was stored is missing."""
    with opened(path) as store:
        tag = store.instance_tag()
        store.commit(Records(books=(BOOK,)))
        store.commit(said("before"))
        removal(path)
        with pytest.raises(StoreError, match="put back"):
            store.commit(said("lost"))
        assert events(path) == ["before"]
        store.commit(said("after"))
        assert stages(store) == [Stage.ALL_CLOSED]
    assert events(path) == ["before", "after"]
    with opened(path) as again:
        assert (stages(again), again.instance_tag()) == ([Stage.ALL_CLOSED], tag)


@pytest.mark.parametrize("removal", [replace_by_another, replace_by_nonsense])
def test_what_lay_in_its_place_is_kept(path: Path, removal: Callable[[Path], None]) -> None:
    """Perhaps somebody wanted it there: it is not for the guard to throw away."""
    with opened(path) as store:
        for number in range(2):
            removal(path)
            there = path.read_bytes()
            with pytest.raises(StoreError, match="put back"):
                store.commit(said("lost"))
            mark = "replaced" if number == 0 else "replaced-1"
            assert path.with_name(f"{path.name}.{mark}").read_bytes() == there


def test_a_file_that_cannot_be_put_back_yet_is_put_back_later(path: Path) -> None:
    """A disk that is full as well: nothing is lost, and nothing is left half done."""
    with opened(path) as store:
        store.commit(Records(books=(BOOK,)))
        remove_all(path)
        with no_room():
            for _ in range(2):
                with pytest.raises(StoreError):
                    store.commit(said("too soon"))
                assert stages(store) == [Stage.ALL_CLOSED]
                assert list(path.parent.iterdir()) == []
        with pytest.raises(StoreError, match="put back"):
            store.commit(said("lost"))
        store.commit(said("in time"))
    assert events(path) == ["in time"]


def test_a_file_that_cannot_be_opened_after_it_was_put_back_is_opened_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy stands; only the way to it fails for a moment."""
    with opened(path) as store:
        store.commit(Records(books=(BOOK,)))
        remove_all(path)

        def fails(_path: Path) -> stopgap.Opened:
            raise StoreError("no descriptor left")

        with monkeypatch.context() as patched:
            patched.setattr("position_store.open_whole", fails)
            with pytest.raises(StoreError, match="no descriptor"):
                store.commit(said("too soon"))
        store.commit(said("in time"))
        assert stages(store) == [Stage.ALL_CLOSED]
    assert events(path) == ["in time"]


@pytest.mark.parametrize("removal", [remove_all, remove_one, replace_by_another])
def test_a_file_that_fails_to_take_its_place_is_put_back_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, removal: Callable[[Path], None]
) -> None:
    """A dying disk fails at the very end: what is open is still all there is, and stays open."""
    rename = Path.rename

    def fails(source: Path, target: Path) -> Path:
        if source.name.endswith(".restored"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(source, target)

    with opened(path) as store:
        store.commit(Records(books=(BOOK,)))
        removal(path)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", fails)
            for _ in range(2):
                with pytest.raises(StoreError, match="putting"):
                    store.commit(said("too soon"))
                assert stages(store) == [Stage.ALL_CLOSED]
        with pytest.raises(StoreError, match="put back"):
            store.commit(said("lost"))
        store.commit(said("in time"))
        assert stages(store) == [Stage.ALL_CLOSED]
    assert events(path) == ["in time"]
    with opened(path) as again:
        assert stages(again) == [Stage.ALL_CLOSED]


def test_a_folder_that_cannot_be_synced_leaves_no_copies(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file stands in its place: to put it back again with every try would fill the disk."""

    def fails(_folder: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(stopgap, "sync_folder", fails)
    with opened(path) as store:
        store.commit(Records(books=(BOOK,)))
        remove_all(path)
        with pytest.raises(StoreError, match="put back"):
            store.commit(said("lost"))
        store.commit(said("in time"))
        assert stages(store) == [Stage.ALL_CLOSED]
        assert list(path.parent.glob("*.re*")) == []
    assert events(path) == ["in time"]


def test_a_folder_that_is_a_file_now_is_told_and_waited_for(path: Path) -> None:
    """The database is still open; it comes back with its folder."""
    with opened(path) as store:
        store.commit(said("before"))
        shutil.rmtree(path.parent)
        path.parent.touch()
        with pytest.raises(StoreError, match="putting"):
            store.commit(said("too soon"))
        path.parent.unlink()
        with pytest.raises(StoreError, match="put back"):
            store.commit(said("lost"))
        assert events(path) == ["before"]
