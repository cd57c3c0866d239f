"""A sign of life for somebody outside: an address that is asked while every account is seen.

Owns when that is, and one request at a time on a thread of its own. Whoever counts the requests
notices what no alert can tell: that the whole machine is gone. A failed one is told in the log and
delays nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from attempts import Missed, abandon, attempt
from clock import Clock
from decision import Decision
from errors import Unavailable
from logger import Logger
from model import ScopeId, Trust
from own_thread import OwnThread
from policy import Policy
from redaction import Redactor
from supervision import Supervisor

ASK_WITHIN_S = 10.0
GIVEN_UP_AFTER_S = 30.0

Ping = Callable[[], Awaitable[None]]
"""Asks the address once; raises Unavailable, with a reason that holds no secret."""


class Heartbeat:
    """Pings after a tick that found every scope of the policy seen, at most every `every_s`.

    Not while `is_in_trouble`: whoever counts the pings may be the only one who can still tell.
    """

    def __init__(
        self,
        ping: Ping,
        *,
        policy: Policy,
        every_s: float,
        is_in_trouble: Callable[[], bool],
        clock: Clock,
        supervisor: Supervisor,
        log: Logger,
    ) -> None:
        self._ping = ping
        self._policy = policy
        self._every_s = every_s
        self._is_in_trouble = is_in_trouble
        self._clock = clock
        self._supervisor = supervisor
        self._log = log
        self._seen: dict[ScopeId, float] = {}
        self._pinged_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    def see(self, decision: Decision) -> None:
        """Take note of what a tick found; ping if all is well and it is time."""
        now = self._clock.monotonic()
        for verdict in decision.verdicts:
            if verdict.trust is Trust.TRUSTED:
                self._seen[verdict.scope] = now
            else:
                self._seen.pop(verdict.scope, None)
        is_free = self._running is None or self._running.done()
        is_due = now - self._pinged_at >= self._every_s
        if decision.verdicts and is_free and is_due and self._is_healthy(now):
            self._pinged_at = now
            self._running = asyncio.get_running_loop().create_task(self._beat())

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._running is not None:
            abandon(self._running)

    def _is_healthy(self, now: float) -> bool:
        """Whether every scope's latest tick was trusted, none is overdue and nothing fails."""
        oldest = now - self._policy.blind_alert_s
        return not self._is_in_trouble() and all(
            self._seen.get(scope, float("-inf")) >= oldest
            for book in self._policy.books
            for scope in book.scopes
        )

    async def _beat(self) -> None:
        with self._supervisor.supervise("heartbeat"):
            asked = await attempt(_awaited(self._ping()), within_s=GIVEN_UP_AFTER_S, what="ping")
            if isinstance(asked, Missed):
                self._log.warning("heartbeat_failed", why=asked.why)


async def _awaited(work: Awaitable[None]) -> None:
    await work


class HttpPing:
    """Asks an http(s) address by GET, on a thread that nobody waits for."""

    def __init__(self, url: str, *, redactor: Redactor) -> None:
        self._url = url
        self._mask = redactor.text
        self._thread = OwnThread("heartbeat")

    async def __call__(self) -> None:
        """Ask once. Raises Unavailable without an answer that says it was taken."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._ask)

    def _ask(self) -> None:
        request = Request(self._url, headers={"User-Agent": "killswitch"})  # noqa: S310
        try:
            with urlopen(request, timeout=ASK_WITHIN_S):  # noqa: S310 - http or https, checked
                pass
        except HTTPError as refused:
            raise Unavailable(f"the address answers {refused.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise Unavailable(self._mask(str(error) or type(error).__name__)) from None
