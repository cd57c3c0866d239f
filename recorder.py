"""Writes that must follow an order but never hold up a close: records and the lock file.

Owns the queue in front of the store and the deadlines of behaviour.md section 10: a write that
takes too long goes on alone while closing starts, and a write that fails is kept and tried again
before the next one. Knows nothing of what the records mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from errors import LockError, StoreError
from memory import Records

MAX_BACKLOG = 10_000
"""Records kept while the store fails; at 3 s this is over eight hours of ticks."""


class AsyncStore(Protocol):
    """The one thing the recorder needs of a store."""

    async def commit(self, records: Records) -> None:
        """Write in one transaction, or raise StoreError."""


class Recorder:
    """Commits records in the order they were given; nothing is dropped while it runs.

    `on_trouble` is told once when writing begins to fail or lag, `on_recovery` once when the
    backlog is empty again.
    """

    def __init__(
        self,
        store: AsyncStore,
        *,
        on_trouble: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._store = store
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._backlog: deque[Records] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._in_trouble = False

    @property
    def is_behind(self) -> bool:
        """True while a record waits to be written."""
        return bool(self._backlog)

    async def record(self, records: Records, *, deadline_s: float) -> bool:
        """Queue the records and wait at most `deadline_s` for them to be safe on disk.

        Returns whether they are; False means that they follow, not that they are lost.
        """
        if len(self._backlog) >= MAX_BACKLOG:
            self._backlog.popleft()
        self._backlog.append(records)
        writer = self._ensure_writer()
        if deadline_s <= 0:
            return False
        await asyncio.wait((writer,), timeout=deadline_s)
        if writer.done() and not self._backlog:
            return True
        self._report("the database is slow or failing; records follow when it recovers")
        return False

    def _ensure_writer(self) -> asyncio.Task[None]:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._drain())
        return self._writer

    async def _drain(self) -> None:
        while self._backlog:
            try:
                await self._store.commit(self._backlog[0])
            except StoreError as error:
                self._report(f"database write failed: {error}")
                return
            self._backlog.popleft()
        if self._in_trouble:
            self._in_trouble = False
            self._on_recovery()

    def _report(self, message: str) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._on_trouble(message)

    async def flush(self, *, deadline_s: float) -> bool:
        """Try once more to write everything that waits; returns whether all is on disk."""
        if not self._backlog:
            return True
        await asyncio.wait((self._ensure_writer(),), timeout=deadline_s)
        return not self._backlog


class LockWriter:
    """Keeps the lock file at the newest content, one write at a time, never out of order.

    A write that is still going on when newer content arrives is followed by that newest content.
    """

    def __init__(
        self,
        replace: Callable[[Mapping[str, object]], Awaitable[None]],
        *,
        on_trouble: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._replace = replace
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._wanted: Mapping[str, object] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._in_trouble = False

    async def write(self, document: Mapping[str, object], *, deadline_s: float) -> bool:
        """Write the document, waiting at most `deadline_s`; returns whether it is on disk."""
        self._wanted = document
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._drain())
        await asyncio.wait((self._writer,), timeout=deadline_s)
        if self._writer.done() and self._wanted is None and not self._in_trouble:
            return True
        self._report("the lock file is slow to write")
        return False

    async def _drain(self) -> None:
        while self._wanted is not None:
            document, self._wanted = self._wanted, None
            try:
                await self._replace(document)
            except LockError as error:
                self._report(f"the lock file cannot be written: {error}")
                return
        if self._in_trouble:
            self._in_trouble = False
            self._on_recovery()

    def _report(self, message: str) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._on_trouble(message)
