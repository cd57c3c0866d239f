"""One worker per state directory: the daemon, or one command that acts in its place.

And one daemon per lock file, wherever their state lies: each of two would write over the locks of
the other, and free its bots.

The kernel holds the lock (flock) and drops it when the process dies, however it dies, so there is
no stale lock to clean up. It lies on the directory itself: whoever clears the directory under a
running guard does not let a second one in. The file `daemon.lock` only tells who holds it.

A worker holds the lock exclusively. Who only looks (`find_holder`) shares it for a moment, so a
worker that finds it taken waits that moment out before it believes that another one is there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from errors import LockError, StateLockHeld

LOCK_NAME = "daemon.lock"
MOST_DIGITS = 20
"""No process id is longer; what else lies there names nobody."""

LOOK_S = 0.1
"""A look lasts microseconds; this also covers one put aside by a busy machine."""
_LOOK_AGAIN_S = 0.002
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StateLock:
    """The hold on a state directory; also a context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @staticmethod
    def acquire(state_dir: Path) -> StateLock:
        """Take the directory, creating it if need be, and write our process id into the file.

        On a full disk the file stays empty: the hold is what counts. Raises StateLockHeld when
        another process (or another hold in this one) has it, after a tenth of a second, and
        OSError when the directory cannot be written.
        """
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
        is_held = False
        try:
            if not _take(descriptor):
                raise StateLockHeld(_pid_in(state_dir))
            _tell_pid(state_dir)
            is_held = True
        finally:
            if not is_held:
                os.close(descriptor)
        return StateLock(descriptor)

    def close(self) -> None:
        """Let the directory go; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def claim_lock_file(path: Path) -> AbstractContextManager[object]:
    """Keep every other guard from writing this lock file until the end of the block.

    Raises LockError when one has it. A folder that takes no file is told of by the first lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.writer"), os.O_RDONLY | os.O_CREAT)
    except OSError:
        return nullcontext()
    claim = StateLock(descriptor)
    with suppress(OSError):
        # Another guard may run as another user, under any mask.
        os.fchmod(descriptor, 0o644)
    # A file system without locks has no room for this care, and the guard goes first.
    is_taken_by_another = False
    with suppress(OSError):
        is_taken_by_another = not _take(descriptor)
    if not is_taken_by_another:
        return claim
    claim.close()
    raise LockError(
        f"another guard writes {path} -> give each guard a trading_lock_file of its own"
    )


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that works on a state directory; `pid` is None when it cannot be told."""

    pid: int | None


def find_holder(state_dir: Path) -> Holder | None:
    """Tell who works on the directory, None when nobody does; changes nothing and waits for nobody.

    A command that acts in the daemon's place holds it like the daemon. Raises OSError when the
    directory is there and cannot be opened.
    """
    try:
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder(_pid_in(state_dir))
    finally:
        os.close(descriptor)
    return None


def _take(descriptor: int) -> bool:
    """Take the lock for ourselves; False when another worker has it."""
    give_up_at = time.monotonic() + LOOK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_LOOK_AGAIN_S)
        else:
            return True


def _tell_pid(state_dir: Path) -> None:
    """Write our process id; raises OSError when the directory cannot be written."""
    try:
        descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno in _FULL:
            return
        raise
    try:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    finally:
        os.close(descriptor)


def _pid_in(state_dir: Path) -> int | None:
    """The process id in the file, None while its owner has not written it."""
    try:
        text = (state_dir / LOCK_NAME).read_text("ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and len(text) < MOST_DIGITS else None
