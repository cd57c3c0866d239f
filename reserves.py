"""What is kept back for the worst moment, so that the lock can be written when nothing is left.

Owns a few file descriptors and a little room on the disk of the lock file. Whatever uses the rest
up, bots must still be stopped and the venue be reached; what is let go here serves the guard's own
needs first, because they follow at once.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Protocol

DESCRIPTORS = 12
"""The lock file, its folder, the database, and connections for reading and closing at once."""
ROOM_BYTES = 65_536
"""Several lock documents, and blocks that others take in the same moment."""
ENOUGH_DESCRIPTORS = 65_536
"""More is never needed, and the kernel's own limit may be a billion."""


class Reserve(Protocol):
    """Something held for nothing, to be let go when a system error says that none is left."""

    @property
    def name(self) -> str:
        """What it is, as troubles are named."""

    @property
    def want(self) -> str:
        """What is said when it is used."""

    @property
    def numbers(self) -> frozenset[int]:
        """The system errors that letting it go may cure."""

    @property
    def is_held(self) -> bool:
        """True while it is there to be let go."""

    def release(self) -> bool:
        """Let it go; False when it is gone already."""

    def hold(self) -> None:
        """Take it back if that is possible."""


def raise_descriptor_limit() -> None:
    """Let this process open more files than the usual 1,024, where the system allows it."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_DESCRIPTORS
    if most != resource.RLIM_INFINITY:
        wanted = min(most, wanted)
    if usual != resource.RLIM_INFINITY and usual < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class DescriptorReserve:
    """File descriptors, let go all at once: the connections that close positions need them too."""

    name = "descriptors"
    want = "the file descriptors are used up, but for a few that were kept back"
    numbers = frozenset({errno.EMFILE, errno.ENFILE})

    def __init__(self) -> None:
        self._held: list[int] = []
        self.hold()

    @property
    def is_held(self) -> bool:
        """True while they are there to be let go."""
        return bool(self._held)

    def release(self) -> bool:
        """Let them go; False when they are gone already."""
        was_held = self.is_held
        while self._held:
            os.close(self._held.pop())
        return was_held

    def hold(self) -> None:
        """Take them back once there are twice as many."""
        if self._held:
            return
        taken: list[int] = []
        with suppress(OSError):
            while len(taken) < 2 * DESCRIPTORS:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        kept = DESCRIPTORS if len(taken) == 2 * DESCRIPTORS else 0
        self._held = taken[:kept]
        for descriptor in taken[kept:]:
            os.close(descriptor)


class RoomReserve:
    """A file beside the lock file, whose blocks the next document takes when the disk is full.

    It is taken back right after that, before others use up what is left of it.
    """

    name = "room"
    want = "the disk of the lock file is full, but for a little that was kept back"
    numbers = frozenset({errno.ENOSPC, errno.EDQUOT})

    def __init__(self, lock_path: Path) -> None:
        self._path = lock_path.with_name(f".{lock_path.name}.reserve")
        self.is_held = False

    def release(self) -> bool:
        """Remove the file, also one that an earlier run left; False when there is none."""
        self.is_held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def hold(self) -> None:
        """Make the file where it is not known to be there."""
        if self.is_held:
            return
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, ROOM_BYTES)
                self.is_held = True
            finally:
                os.close(descriptor)
                if not self.is_held:
                    self._path.unlink()
