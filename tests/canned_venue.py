"""A loopback HTTP server that answers what a test tells it to, and keeps every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request as it arrived: `signed` is the text that the signature covers."""

    method: str
    path: str
    fields: Mapping[str, str]
    signed: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """One answer: a JSON value, or a raw text; `how` may break the connection instead."""

    json: object = None
    text: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "answer"


Responder = Canned | Callable[[Heard], Canned]


class CannedVenue:
    """Answers by method and path; a path without an answer gets 404 and an HTML page."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Responder] = {}
        self.heard: list[Heard] = []
        self.url = ""

    def set(self, method: str, path: str, responder: Responder) -> None:
        """Decide the answer to one method and path."""
        self.answers[method, path] = responder

    def of(self, method: str, path: str) -> list[Heard]:
        """The requests heard of one method and path."""
        return [heard for heard in self.heard if (heard.method, heard.path) == (method, path)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep the request and give its answer."""
        text = request.query_string or await request.text()
        heard = Heard(
            method=request.method,
            path=request.path,
            fields=dict(parse_qsl(text, keep_blank_values=True)),
            signed=text.partition("&signature=")[0],
            headers=dict(request.headers),
        )
        self.heard.append(heard)
        responder = self.answers.get((heard.method, heard.path), Canned(text="<html>", status=404))
        canned = responder if isinstance(responder, Canned) else responder(heard)
        match canned.how:
            case "reset":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "cut":
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b'{"orderId": 1')
                assert request.transport is not None
                request.transport.close()
                return response
            case "hang":
                await self.released(request)
                return web.Response()
        if canned.text is not None:
            return web.Response(text=canned.text, status=canned.status, headers=canned.headers)
        return web.json_response(canned.json, status=canned.status, headers=canned.headers)

    async def released(self, request: web.Request) -> None:
        """Wait until the client hangs up."""
        await request.content.read()
        transport = request.transport
        while transport is not None and not transport.is_closing():
            await _moment()


async def _moment() -> None:
    """Let other tasks run for a moment; a server has no other way to notice a hang-up."""
    await asyncio.sleep(0.01)


@asynccontextmanager
async def canned_venue() -> AsyncIterator[CannedVenue]:
    """Serve on a free loopback port."""
    venue = CannedVenue()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", venue.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    venue.url = f"http://{host}:{port}"
    try:
        yield venue
    finally:
        await runner.cleanup()
