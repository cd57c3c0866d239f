"""Whether the guard could keep its records and its lock here: folders, files, room.

Looks and changes nothing but one file without a name in a folder, which vanishes at once. It takes
no lock, so that it works beside a running guard.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from commands.status.lock import look_at_lock
from commands.status.machine import say_troubles
from commands.status.wording import say_span
from errors import StoreError, StoreMissing
from findings import Finding, Level, Topic
from settings import Settings
from store.views import read_status

LEAST_ROOM_BYTES = 100_000_000
"""Less than this and a day of readings, with SQLite's log beside it, may not find its place."""
MEGABYTE = 1_000_000


def judge_machine(settings: Settings, *, is_running: bool, now: float) -> tuple[Finding, ...]:
    """Judge database, lock file and the disks that they lie on."""
    return (
        *_judge_store(settings),
        *_judge_lock(settings, is_running=is_running, now=now),
        *_judge_room(settings),
    )


def _judge_store(settings: Settings) -> Iterator[Finding]:
    path = settings.state_db
    fault = _why_not_writable(path.parent)
    if fault:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.STORE,
            what=f"the state directory {path.parent} {fault}",
            remedy="change its owner or state_db",
        )
        return
    try:
        read_status(path, dry_run=settings.dry_run, history_s=0.0)
    except StoreMissing:
        yield Finding(
            level=Level.FINE, topic=Topic.STORE, what="no database yet: the first start makes it"
        )
    except (StoreError, OSError) as error:
        yield Finding(
            level=Level.FAULT,
            topic=Topic.STORE,
            what=f"the database cannot be read: {error}",
            remedy="keep a copy; the next start moves it aside and locks every book until reset",
        )
    else:
        yield Finding(level=Level.FINE, topic=Topic.STORE, what="the database can be read")


def _judge_lock(settings: Settings, *, is_running: bool, now: float) -> Iterator[Finding]:
    path = settings.trading_lock_file
    fault = "is a folder" if path.is_dir() else ""
    folder_fault = _why_not_writable(path.parent)
    if fault or folder_fault:
        what = f"the lock file {path} {fault}" if fault else ""
        yield Finding(
            level=Level.FAULT,
            topic=Topic.LOCK_FILE,
            what=what or f"the lock folder {path.parent} {folder_fault}",
            remedy="change its owner or trading_lock_file: the guard does not start so",
        )
        return
    lock = look_at_lock(path, now=now)
    if is_running and (not lock.is_readable or lock.is_stale):
        age = "" if lock.heartbeat_age_s is None else f" for {say_span(lock.heartbeat_age_s)}"
        yield Finding(
            level=Level.FAULT,
            topic=Topic.LOCK_FILE,
            what=f"a guard runs, and its lock file has not been written{age}",
            remedy="see its log and the disk of the lock file",
        )
    elif is_running and lock.troubles:
        for line in say_troubles(lock):
            what, _, remedy = line.partition(" -> ")
            yield Finding(level=Level.FAULT, topic=Topic.LOCK_FILE, what=what, remedy=remedy)
    else:
        yield Finding(level=Level.FINE, topic=Topic.LOCK_FILE, what="the lock file can be written")


def _judge_room(settings: Settings) -> Iterator[Finding]:
    """One finding for each disk; two folders on one disk are one."""
    folders = {
        folder.stat().st_dev: folder
        for folder in map(_nearest, (settings.trading_lock_file.parent, settings.state_db.parent))
    }
    for folder in folders.values():
        free = shutil.disk_usage(folder).free
        is_short = free < LEAST_ROOM_BYTES
        yield Finding(
            level=Level.FAULT if is_short else Level.FINE,
            topic=Topic.DISK,
            what=f"{free / MEGABYTE:,.0f} MB are free on the disk of {folder}"
            if is_short
            else "there is room on the disk",
            remedy="make room: a full disk keeps the lock from the bots" if is_short else "",
        )


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _why_not_writable(folder: Path) -> str:
    """Why no file could be made there, empty when it could."""
    nearest = _nearest(folder)
    if not nearest.is_dir():
        return f"cannot be: {nearest} is a file"
    if nearest != folder:
        return "" if os.access(nearest, os.W_OK | os.X_OK) else "cannot be made"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"is not writable ({error.strerror})"
