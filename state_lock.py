"""One worker per state directory: the daemon, or one command that acts in its place.

Owns `daemon.lock` in the state directory. The kernel holds the lock (flock) and drops it when the
process dies, however it dies, so there is no stale lock to clean up. The file itself stays: to
remove it would let two processes hold locks on two files of the same name.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from errors import StateLockHeld

LOCK_NAME = "daemon.lock"


class StateLock:
    """The hold on a state directory; also a context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @staticmethod
    def acquire(state_dir: Path) -> StateLock:
        """Take the directory, creating it if need be, and write our process id into the file.

        Raises StateLockHeld at once when another process (or another hold in this one) has it,
        OSError when the directory cannot be written.
        """
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        is_held = False
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateLockHeld(_holder(descriptor)) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
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


def _holder(descriptor: int) -> int | None:
    """The process id in the file, None while its owner has not written it."""
    text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
    return int(text) if text.isdecimal() else None
