"""The venue's API port: carries requests to the dialect and does to sockets what faults ask.

Listens on loopback only. It knows HTTP and nothing of any venue. A client that keeps connections
open may repeat a GET or DELETE by itself when a reused connection is reset (aiohttp does, once), so
a reset planned for a single read can go unnoticed; plan two.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from aiohttp import web

from simulator.faults import Fault, FaultKind
from simulator.wire.protocol import WireAnswer, WireRequest
from simulator.wire.service import LoggedRequest, Service

SHUTDOWN_S = 1.0
SERVICE = web.AppKey("service", Service)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing resets the connection instead of ending it politely."""
ANSWERED_BEFORE = (FaultKind.ANSWER_BEFORE, FaultKind.ERROR, FaultKind.RATE_LIMIT)


def build_api(service: Service) -> web.Application:
    """Return the application of the API port."""
    app = web.Application()
    app[SERVICE] = service
    app.router.add_route("*", "/{path:.*}", _handle)
    return app


async def _handle(http: web.Request) -> web.StreamResponse:
    service = http.app[SERVICE]
    path, _, query = http.raw_path.partition("?")
    request = WireRequest(
        method=http.method,
        path=path,
        raw_query=query,
        raw_body=await http.text(),
        headers=dict(http.headers),
    )
    logged, faults = service.arrive(request)
    refused = await _before(service, http, logged, faults)
    if refused is not None:
        return refused
    answer = service.answer(request, logged, faults)
    return await _after(service, http, logged, faults=faults, answer=answer)


async def _before(
    service: Service, http: web.Request, logged: LoggedRequest, faults: tuple[Fault, ...]
) -> web.StreamResponse | None:
    """Apply what happens before a request takes effect; an answer ends it there."""
    for fault in faults:
        if fault.kind is FaultKind.DELAY:
            await service.sleep(fault.seconds)
        elif fault.kind is FaultKind.HOLD_BEFORE:
            await service.hold(logged, fault.kind)
        elif fault.kind is FaultKind.DROP_BEFORE:
            return _reset(http)
        elif fault.kind in ANSWERED_BEFORE:
            return _response(logged, service.refusal(fault))
    return None


async def _after(
    service: Service,
    http: web.Request,
    logged: LoggedRequest,
    *,
    faults: tuple[Fault, ...],
    answer: WireAnswer,
) -> web.StreamResponse:
    """Apply what happens to the answer of a request that has taken effect."""
    for fault in faults:
        if fault.kind is FaultKind.HOLD_AFTER:
            await service.hold(logged, fault.kind)
        elif fault.kind is FaultKind.DROP_AFTER:
            return _reset(http)
        elif fault.kind is FaultKind.ANSWER_AFTER:
            return _response(logged, service.refusal(fault))
        elif fault.kind is FaultKind.TRUNCATE:
            return await _truncated(http, logged, answer)
    return _response(logged, answer)


def _response(logged: LoggedRequest, answer: WireAnswer) -> web.Response:
    logged.status = answer.status
    return web.Response(
        status=answer.status,
        text=answer.body,
        headers=answer.headers,
        content_type=answer.content_type,
    )


def _reset(http: web.Request) -> web.Response:
    """Reset the connection; the response that is returned reaches nobody."""
    transport = http.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
    return web.Response(status=500)


async def _truncated(
    http: web.Request, logged: LoggedRequest, answer: WireAnswer
) -> web.StreamResponse:
    """Promise the whole answer, send half of it and close."""
    body = answer.body.encode()
    logged.status = answer.status
    response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
    response.content_type = answer.content_type
    response.content_length = len(body)
    await response.prepare(http)
    await response.write(body[: len(body) // 2])
    if http.transport is not None:
        http.transport.close()
    return response


def require_loopback(host: str) -> str:
    """Return the host. Raises ValueError for anything but a literal loopback address."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"{host}: the simulator listens on literal loopback addresses only")
    return host


async def listen(app: web.Application, *, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve an application and return its runner and the port it got."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    site = web.TCPSite(runner, require_loopback(host), port)
    await site.start()
    bound: int = runner.addresses[0][1]
    return runner, bound
