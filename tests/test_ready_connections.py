"""Connections that are opened before the orders leave, at real ports of this machine."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ccxt.async_support import binanceusdm

from venues.ccxt_client import make_client, open_connections, redirect, send

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
TIME = b'{"serverTime":1}'


class Door:
    """A server that counts who connects and what is asked."""

    def __init__(self) -> None:
        self.connected = 0
        self.asked = 0
        self.changed = asyncio.Condition()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the other side closes it."""
        self.connected += 1
        async with self.changed:
            self.changed.notify_all()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                # Nobody is answered before all have asked, so that each needs its own connection.
                await asyncio.sleep(0.05)
                writer.write(ANSWER + TIME)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def have_come(self, count: int) -> None:
        """Wait until so many have connected; fails after 5 s."""
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(lambda: self.connected >= count)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """A server on loopback."""
    found = Door()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()


def make() -> Any:
    """A client of the exchange library."""
    return make_client(
        binanceusdm,
        {"enableRateLimit": False},
        is_error_body=lambda _body: False,
        on_answer=lambda _status, _headers, _url: None,
    )


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    """A client that is closed after the test."""
    found = make()
    yield found
    await found.close()


async def test_requests_take_the_connections_that_were_opened_ahead(
    door: Door, client: Any
) -> None:
    """Five are opened and nothing is asked; five requests open none, a sixth one."""
    redirect(client, door.url)
    await open_connections(client, door.url, count=5, deadline_s=5)
    await door.have_come(5)
    assert (door.connected, door.asked) == (5, 0)
    for count, connected in ((5, 5), (6, 6)):
        await asyncio.gather(
            *(send(client, "fapiPublicGetTime", {}, deadline_s=5) for _ in range(count))
        )
        assert door.connected == connected


async def test_what_is_open_already_is_not_opened_again(door: Door, client: Any) -> None:
    """Five and five are five; seven are two more."""
    redirect(client, door.url)
    for count, connected in ((5, 5), (5, 5), (7, 7)):
        await open_connections(client, door.url, count=count, deadline_s=5)
        await door.have_come(connected)
        assert door.connected == connected


async def test_nobody_at_the_door_is_no_fault(client: Any) -> None:
    """The requests that follow will say what is wrong."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        await open_connections(client, url, count=3, deadline_s=5)


async def test_whom_to_trust_is_read_once_for_all_clients(client: Any) -> None:
    """It would hold the loop up at the first order of each account; and nobody else is trusted."""
    other = make()
    try:
        client.open()
        other.open()
        assert client.ssl_context is other.ssl_context
        trusting = client.ssl_context
        assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert trusting.cert_store_stats()["x509_ca"] > 50
    finally:
        await other.close()
