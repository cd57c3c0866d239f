"""The files of a database: which one lies at a path, and how one gets out of the way.

Owns renames, never contents. A database is up to three files (itself, `-wal`, `-shm`), and they go
together: a write-ahead log that is left behind would be replayed into the next database of that
name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from errors import StoreError

LOG = "-wal"
COMPANIONS = (LOG, "-shm")

FileId = tuple[int, int]


def identify(path: Path) -> FileId | None:
    """Which file lies there (device and number), None when there is none. Raises StoreError."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"looking for {path}: {error}") from error
    return (found.st_dev, found.st_ino)


def written_at(path: Path) -> float | None:
    """When a database was last written, by the machine's clock; None where nobody can tell.

    An empty log does not count: readers make one.
    """
    found = []
    for ending in (LOG, ""):
        with suppress(OSError):
            found.append(path.with_name(path.name + ending).stat())
    return max((file.st_mtime for file in found if file.st_size), default=None)


def holds_nothing(path: Path) -> bool:
    """True when there is no file, or an empty one. Raises StoreError."""
    try:
        return identify(path) is None or path.stat().st_size == 0
    except OSError as error:
        raise StoreError(f"looking at {path}: {error}") from error


def move_aside(path: Path, now: float) -> Path:
    """Rename an unreadable database with its companions; gives the new name of the database.

    Raises StoreError when the folder cannot be changed.
    """
    return rename_apart(path, f"unreadable-{int(now)}")


def rename_apart(path: Path, mark: str) -> Path:
    """Give a database and its companions another name, which ends in `mark`; gives that name.

    Raises StoreError when the folder cannot be changed.
    """
    target = path.with_name(f"{path.name}.{mark}")
    number = 0
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{mark}-{number}")
    try:
        for suffix in (*COMPANIONS, ""):
            source = path.with_name(path.name + suffix)
            if source.exists():
                source.rename(target.with_name(target.name + suffix))
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"moving {path} aside: {error}") from error
    return target


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder survive a power cut; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
