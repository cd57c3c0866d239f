"""Shows the lock document to bots on other machines, beside the file and never before it.

Owns which document is sent and when. Knows no Redis: `send` gets text and time to live, and says
why it failed. Rules:

- The newest document only, one at a time: a slow Redis delays neither the file nor a later lock.
- A document lives on the other side no longer than its own heartbeat allows, however late it got
  there; when it is gone, bots are locked.
- After a failure nobody knows when the lost write arrives, hence the first that succeeds is
  repeated: the older document must not stand above the newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from attempts import Missed, attempt
from clock import Clock
from trading_lock import HEARTBEAT_MAX_AGE_S
from troubles import Troubles

NAME = "lock_mirror"
REST_S = 30.0
AGAIN_AFTER_S = 1.0
LAST_WITHIN_S = 1.0
"""What the end of the guard waits for its last document."""


class Send(Protocol):
    """Puts a text where others find it for `ttl_s` seconds; returns '' or why it could not."""

    def __call__(self, text: str, *, ttl_s: float) -> Coroutine[Any, Any, str]:
        """Send it; takes a bounded time and never raises."""


@dataclass(frozen=True, slots=True)
class _Shown:
    sequence: int
    text: str
    at: float


class LockMirror:
    """The newest lock document on its way. Make it where the event loop runs.

    `Supervisor.repeat(NAME, mirror.step, until=..., bell=mirror.bell)` is its task.
    """

    def __init__(self, send: Send, *, clock: Clock, troubles: Troubles) -> None:
        self._send = send
        self._clock = clock
        self._troubles = troubles
        self._loop = asyncio.get_running_loop()
        self._newest: _Shown | None = None
        self._sent = -1
        self._is_uncertain = False
        self.bell = asyncio.Event()

    def show(self, text: str, sequence: int) -> None:
        """Take a document from any thread; returns at once, also when the loop has ended."""
        with suppress(RuntimeError):
            shown = _Shown(sequence, text, self._clock.monotonic())
            self._loop.call_soon_threadsafe(self._take, shown)

    def _take(self, shown: _Shown) -> None:
        if self._newest is None or shown.sequence > self._newest.sequence:
            self._newest = shown
            self.bell.set()

    async def step(self) -> float:
        """Send the newest document if that is still to be done; returns the pause in seconds."""
        shown = self._newest
        if shown is None or shown.sequence == self._sent:
            return REST_S
        ttl_s = HEARTBEAT_MAX_AGE_S - (self._clock.monotonic() - shown.at)
        if ttl_s <= 0:
            return REST_S
        # Not certain before there is an answer: whoever cuts this off may leave it on its way.
        was_uncertain, self._is_uncertain = self._is_uncertain, True
        why = await self._send(shown.text, ttl_s=ttl_s)
        if why:
            self._troubles.begin("lock_mirror", why)
            return AGAIN_AFTER_S
        self._troubles.end("lock_mirror")
        self._is_uncertain = False
        if was_uncertain:
            return 0.0
        self._sent = shown.sequence
        return REST_S

    async def finish(self) -> None:
        """Send the last document, within `LAST_WITHIN_S`; call it after the last write."""
        ended = await attempt(self._finish(), within_s=LAST_WITHIN_S, what=NAME)
        if isinstance(ended, Missed):
            self._troubles.begin("lock_mirror", ended.why)

    async def _finish(self) -> None:
        while await self.step() == 0.0:
            pass
