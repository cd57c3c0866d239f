"""How the guard's loop reaches the lock file, also on a disk that hangs, is full or out of files.

Owns the threads that write it, the use of what is kept back for the worst moment, and the note in
the document of what is wrong on this machine. Knows nothing of locks.

- Bots must see a tightening even when the disk confirms nothing: a write that takes too long is
  followed by one that waits for no disk, on another thread, and that is told as a trouble.
- A write that finds no room or no descriptor is repeated once with what was kept back.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

from errors import LockError
from own_thread import OwnThread
from reserves import Reserve
from trading_lock import LockFile, LockWriteError
from troubles import Troubles

Document = Mapping[str, object]
Replace = Callable[[Document], Awaitable[None]]

CONFIRM_WITHIN_S = 0.2
"""Of the 300 ms that a close waits for the lock; an ordinary disk takes a tenth of it."""


class LockPort:
    """The lock file on threads of its own; `replace` may be called when its last call ended.

    Only one of the threads uses the reserves.
    """

    def __init__(
        self, file: LockFile, *, reserves: tuple[Reserve, ...], troubles: Troubles
    ) -> None:
        self._file = file
        self._reserves = reserves
        self._troubles = troubles
        self._patient, self._hasty = OwnThread("lock"), OwnThread("lock-hasty")
        self._confirming: asyncio.Future[Reserve | None] | None = None

    async def replace(self, document: Document) -> None:
        """Put the document in place and wait until the disk has it, as long as that makes sense.

        Raises LockError when it could not be put there, and also, with ETIMEDOUT, when it stands
        there and the disk has not confirmed it.
        """
        try:
            await self._replace(document)
        except LockWriteError as error:
            raise LockError(str(error), number=error.errno) from error

    async def _replace(self, document: Document) -> None:
        loop = asyncio.get_running_loop()
        if self._confirming is None or self._confirming.done():
            writing = partial(self._write, document)
            self._confirming = loop.run_in_executor(self._patient, writing)
            self._confirming.add_done_callback(_look_away)
            await asyncio.wait((self._confirming,), timeout=CONFIRM_WITHIN_S)
            if self._confirming.done():
                self._tell(self._confirming.result())
                return
        hasty = partial(self._file.replace, document, is_confirmed=False)
        await loop.run_in_executor(self._hasty, hasty)
        raise LockError("it stands, but the disk does not confirm it", number=errno.ETIMEDOUT)

    def _write(self, document: Document) -> Reserve | None:
        """Write the document; gives the reserve that it took, None if it took none."""
        used = None
        try:
            self._file.replace(document)
        except LockWriteError as error:
            used = next(
                (r for r in self._reserves if error.errno in r.numbers and r.release()), None
            )
            if used is None:
                raise
            self._file.replace(document)
        finally:
            for reserve in self._reserves:
                reserve.hold()
        return used

    def _tell(self, used: Reserve | None) -> None:
        for reserve in self._reserves:
            if reserve is used:
                self._troubles.begin(reserve.name, reserve.want)
            elif reserve.is_held:
                self._troubles.end(reserve.name)

    def close(self) -> None:
        """End the threads, without waiting for a disk that hangs."""
        self._patient.close()
        self._hasty.close()


def _look_away(writing: asyncio.Future[Reserve | None]) -> None:
    """What became of a write that was overtaken is nobody's business any more."""
    if not writing.cancelled():
        writing.exception()


class Shown(Protocol):
    """Something that has a say in the lock document beside the locks."""

    def details(self) -> Mapping[str, str]:
        """The entries for its details, empty while there is nothing to say."""


def showing(replace: Replace, *shown: Shown) -> Replace:
    """Write the lock with what each of them has to say in its details."""

    async def replace_and_show(document: Document) -> None:
        details = document.get("details")
        known = details if isinstance(details, Mapping) else {}
        said = {name: line for each in shown for name, line in each.details().items()}
        await replace({**document, "details": {**known, **said}})

    return replace_and_show
