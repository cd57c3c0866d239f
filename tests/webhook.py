"""A receiver of alerts on this machine: keeps what came, and may be slow, refuse or hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from alerts import Alert
from memory import Severity
from tests.decision_values import NOON, SCOPE

SECRET_PATH = "path-that-must-not-be-seen"
"""Stands for the token in the address of a webhook."""
LOGIN_PAGE = "/login"
"""What a redirection leads to; it says 200 to everything."""


@dataclass(kw_only=True)
class Webhook:
    """What came, and how the next ones are answered. `status` 0: never."""

    port: int = 0
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)
    pings: int = 0
    waiting: int = 0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def address(self) -> str:
        """Where apprise sends to."""
        return f"json://127.0.0.1:{self.port}/{SECRET_PATH}"

    @property
    def ping_address(self) -> str:
        """What a heartbeat asks."""
        return f"http://127.0.0.1:{self.port}/{SECRET_PATH}"

    @property
    def titles(self) -> list[str]:
        """The first lines of what came."""
        return [str(one["title"]) for one in self.got]

    async def until(self, count: int, *, within_s: float = 20.0) -> None:
        """Wait until so many alerts came."""
        async with asyncio.timeout(within_s), self.came:
            await self.came.wait_for(lambda: len(self.got) >= count)

    async def until_waiting(self, count: int, *, within_s: float = 20.0) -> None:
        """Wait until so many requests hang here."""
        async with asyncio.timeout(within_s), self.came:
            await self.came.wait_for(lambda: self.waiting >= count)

    async def until_pinged(self, count: int, *, within_s: float = 20.0) -> None:
        """Wait until it was asked so often."""
        async with asyncio.timeout(within_s), self.came:
            await self.came.wait_for(lambda: self.pings >= count)

    async def answer(self, request: web.Request) -> web.Response:
        """Take one alert or one ping."""
        body = await request.json() if request.method == "POST" else None
        async with self.came:
            if not self.status:
                self.waiting += 1
            elif body is None:
                self.pings += 1
            elif self.status < 300:
                self.got.append(body)
            self.came.notify_all()
        if not self.status:
            await self.is_over.wait()
        if self.status in range(300, 400) and request.path != LOGIN_PAGE:
            return web.Response(status=self.status, headers={"Location": LOGIN_PAGE})
        return web.Response(status=200 if request.path == LOGIN_PAGE else self.status or 503)


@asynccontextmanager
async def webhook(*, status: int = 200) -> AsyncIterator[Webhook]:
    """A receiver while the block runs."""
    hook = Webhook(status=status)
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", hook.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield hook
    finally:
        hook.is_over.set()
        await runner.cleanup()


def an_alert(number: int = 0, severity: Severity = Severity.CRITICAL) -> Alert:
    """An alert whose title is its number."""
    return Alert(
        at=NOON,
        event="blind",
        scope=SCOPE,
        severity=severity,
        title=f"alert {number}",
        body=f"body of {number}",
    )
