"""Reads the local switch again and again, whatever the store's own thread is waiting for.

Owns a read-only connection and a thread of its own: a commit that hangs with a disk must not hide
a kill. Refuses to decide what a row means that cannot be read; the caller keeps what it knew.

- One read at a time: while one hangs, others come back without an answer and nothing piles up.
- A database that was replaced, or cannot be read, is opened anew with the next read.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path

from attempts import look_away
from errors import StoreError
from own_thread import OwnThread
from store.files import FileId, identify
from store.schema import open_to_watch, strictly
from store.switch_tables import load_setting
from switch_model import SwitchSetting, SwitchStore

READ_WITHIN_S = 1.0
"""A read takes well under a millisecond; what takes longer is a disk that hangs."""
PATIENCE_MS = 250
"""Nobody waits for a writer in WAL mode; one that holds the whole file is asked again soon."""


class SwitchReader:
    """The local row of the switch, read past everything else. It opens its file when it reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = OwnThread("switch")
        self._connection: sqlite3.Connection | None = None
        self._file: FileId | None = None
        self._reading: asyncio.Future[SwitchSetting | None] | None = None

    async def read(self) -> SwitchSetting | None:
        """What the local store holds now, a running one before anybody wrote; None: unknown."""
        reading = self._reading
        if reading is None or reading.done():
            loop = asyncio.get_running_loop()
            try:
                reading = loop.run_in_executor(self._thread, self._read)
            except RuntimeError:
                return None
            look_away(reading)
            self._reading = reading
        await asyncio.wait((reading,), timeout=READ_WITHIN_S)
        return reading.result() if reading.done() else None

    async def aclose(self) -> None:
        """Close the file, unless a read hangs, and end the thread."""
        with suppress(RuntimeError):
            closing = asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
            look_away(closing)
            await asyncio.wait((closing,), timeout=READ_WITHIN_S)
        self._thread.close()

    def _read(self) -> SwitchSetting | None:
        is_known = False
        try:
            connection = self._open()
            with strictly("reading the switch"):
                setting = load_setting(connection, SwitchStore.LOCAL)
            is_known = True
        except StoreError:
            return None
        finally:
            if not is_known:
                self._let_go()
        return setting or SwitchSetting()

    def _open(self) -> sqlite3.Connection:
        file = identify(self._path)
        if self._connection is None or file != self._file:
            self._let_go()
            connection = open_to_watch(self._path, patience_ms=PATIENCE_MS)
            connection.row_factory = sqlite3.Row
            self._connection, self._file = connection, file
        return self._connection

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
