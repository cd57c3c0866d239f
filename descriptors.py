"""File descriptors: as many as the system gives, and a few kept back for the worst moment.

Owns the reserve. Whatever uses descriptors up, the lock must still be written and the venue still
be reached, so that a book can be closed; until they are back, the guard lives on what it kept.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

RESERVE = 12
"""The lock file and its folder, the database, and connections for reading and closing at once."""


ENOUGH = 65_536
"""More is never needed, and the kernel's own limit may be a billion."""


def raise_limit() -> None:
    """Let this process open more files than the usual 1,024, where the system allows it."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if most == resource.RLIM_INFINITY else min(most, ENOUGH)
    if usual != resource.RLIM_INFINITY and usual < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class DescriptorReserve:
    """Descriptors held open for nothing, to be let go when there are no others."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self.hold()

    @property
    def is_held(self) -> bool:
        """True while the reserve is there to be let go."""
        return bool(self._held)

    def release(self) -> bool:
        """Let the reserve go; False when it is gone already."""
        held, self._held = self._held, []
        for descriptor in held:
            os.close(descriptor)
        return bool(held)

    def hold(self) -> bool:
        """Take the reserve back when there is room for it twice; returns whether it is held."""
        if not self._held:
            taken: list[int] = []
            with suppress(OSError):
                while len(taken) < 2 * RESERVE:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            self._held = taken[:RESERVE] if len(taken) == 2 * RESERVE else []
            for descriptor in taken[len(self._held) :]:
                os.close(descriptor)
        return bool(self._held)
