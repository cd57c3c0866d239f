"""What the guard works with while its database file cannot be written or is not there.

Owns how a guard starts on a disk that takes nothing, and how a file comes back that was removed
under it. Refuses to know what is stored.

- A full disk is no reason not to guard. What is stored can be read: in WAL mode SQLite wants a
  small file of its own for that, but not when it has the database to itself (locking mode
  EXCLUSIVE). Other processes cannot read it meanwhile. Without any database the guard remembers
  in memory.
- A file that somebody removed or replaced is still open here, whole. It is copied back, and what
  lies in its place is kept under another name.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from errors import StoreError, StoreUnreadable
from store.files import FileId, holds_nothing, identify, rename_apart, sync_folder
from store.schema import BUSY_TIMEOUT_MS, migrate, open_for_writing, takes_nothing, translated

NOWHERE: FileId = (0, 0)
"""What is identified so lies in no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection, and the file that it reads and writes; a stopgap writes nothing."""

    connection: sqlite3.Connection
    file: FileId | None
    is_new: bool = False
    is_stopgap: bool = False


def open_whole(path: Path) -> Opened:
    """Open or create the database to read and write it; raises as `open_for_writing`."""
    connection, is_new = open_for_writing(path)
    return Opened(connection=connection, file=identify(path), is_new=is_new)


def open_somehow(path: Path) -> Opened:
    """Open the database, on a full disk by a stopgap; raises as `open_for_writing`."""
    try:
        return open_whole(path)
    except StoreUnreadable:
        raise
    except StoreError as fault:
        cause = fault.__cause__
        if not isinstance(cause, sqlite3.Error) or not takes_nothing(cause):
            raise
    return open_stopgap(path)


def open_stopgap(path: Path) -> Opened:
    """Open what stands in for a database that cannot be written; raises StoreError."""
    with translated(f"opening {path} to read it alone"):
        if holds_nothing(path):
            return Opened(
                connection=_open_in_memory(path), file=NOWHERE, is_new=True, is_stopgap=True
            )
        return Opened(connection=_open_alone(path), file=identify(path), is_stopgap=True)


def _open_alone(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    is_ready = False
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA query_only = ON")
        migrate(connection, path)
        is_ready = True
    finally:
        if not is_ready:
            connection.close()
    return connection


def _open_in_memory(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, path)
    return connection


def put_back(connection: sqlite3.Connection, path: Path) -> None:
    """Copy an open database to where it belongs, and close it.

    Raises StoreError or sqlite3.Error; the connection is then open and may be put back again.
    """
    fresh = path.with_name(f"{path.name}.restored")
    is_whole = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(fresh)) as copy:
            connection.backup(copy)
        is_whole = True
        if holds_nothing(path):
            path.unlink(missing_ok=True)
        rename_apart(path, "replaced")
        fresh.rename(path)
        with suppress(OSError):
            # It stands; to do it all again would leave one more copy aside with every try.
            sync_folder(path.parent)
        # Last, because until then this is all there is. The log that bears its name lies aside,
        # and SQLite removes none of a file that has moved.
        connection.close()
    except OSError as error:
        raise StoreError(f"putting {path} back: {error}") from error
    finally:
        if not is_whole:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
