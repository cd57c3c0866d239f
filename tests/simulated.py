"""A simulated venue inside the test's own loop, and the real ccxt classes pointed at it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import ccxt.async_support as ccxt
from aiohttp.typedefs import Middleware

from clock import Clock, SystemClock
from simulator.control import ControlClient
from simulator.exchange import Exchange
from simulator.wire.control_port import build_control, seed_service
from simulator.wire.dialects import DIALECTS
from simulator.wire.server import build_api, listen
from simulator.wire.service import Service

KEY, SECRET = "test-key", "test-secret"
LOOPBACK = re.compile(r"^http://127\.0\.0\.1:\d+/")

LINEAR_ONLY = {
    "fetchCurrencies": False,
    "fetchMargins": False,
    "fetchMarkets": {"types": ["linear"]},
    "fetchOpenOrders": {"warnWithoutSymbol": False},
    "leverageBrackets": {},
}
"""The simulator has no spot and no coin-margined markets to ask for."""


def seed(**changes: Any) -> dict[str, Any]:
    """One account with 10,000 USDT and two positions, changed as asked."""
    return {
        "api_key": KEY,
        "api_secret": SECRET,
        "wallet": {"USDT": 10000},
        "prices": {"SOLUSDT": 100, "XRPUSDT": "0.5"},
        "markets": [{"symbol": name, "depth": None} for name in ("BTCUSDT", "SOLUSDT", "XRPUSDT")],
        "positions": [
            {
                "symbol": "BTCUSDT",
                "side": "LONG",
                "quantity": "0.5",
                "entry_price": 61000,
                "mark_price": 60000,
                "leverage": 10,
            },
            {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 10, "entry_price": 90},
        ],
        **changes,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A running venue: its insides, its control client, its address."""

    service: Service
    control: ControlClient
    url: str

    @property
    def exchange(self) -> Exchange:
        """The exchange in memory."""
        return self.service.exchange


@asynccontextmanager
async def simulated(
    *seeds: Mapping[str, Any],
    venue: str = "binance",
    middlewares: Sequence[Middleware] = (),
    clock: Clock | None = None,
) -> AsyncIterator[Simulated]:
    """Serve the seeds on loopback for the length of the block; middlewares see requests first."""
    clock = clock or SystemClock()
    exchange = Exchange(now=clock.now())
    service = Service(exchange, DIALECTS[venue](exchange), clock)
    for content in seeds:
        seed_service(service, content)
    app = build_api(service)
    app.middlewares.extend(middlewares)
    api, port = await listen(app, host="127.0.0.1", port=0)
    control, control_port = await listen(build_control(service), host="127.0.0.1", port=0)
    try:
        async with ControlClient(control_port) as client:
            yield Simulated(service=service, control=client, url=f"http://127.0.0.1:{port}")
    finally:
        service.stop()
        await api.cleanup()
        await control.cleanup()


@asynccontextmanager
async def binance(url: str, *, secret: str = SECRET, **settings: Any) -> AsyncIterator[Any]:
    """The real `binanceusdm`, with only its addresses redirected."""
    client = ccxt.binanceusdm(
        {
            "apiKey": KEY,
            "secret": secret,
            "enableRateLimit": False,
            "timeout": 5000,
            "timeout_on_exit": 0,
            "options": LINEAR_ONLY,
            **settings,
        }
    )
    redirect(client, url)
    try:
        yield client
    finally:
        await client.close()


def redirect(client: Any, url: str) -> None:
    """Point a client of the exchange library at the simulated venue, whatever it asks."""
    client.urls["api"] = {
        name: re.sub(r"^https?://", f"{url}/", address)
        for name, address in client.urls["api"].items()
        if isinstance(address, str)
    }
    client.verify = False  # No TLS here, and to read whom to trust takes 0.02 s for each client.
    # The venue's own error table is chosen by host; a redirected host would switch it off.
    original = type(client).get_exceptions_by_url
    client.get_exceptions_by_url = lambda address, kind: original(
        client, LOOPBACK.sub("https://", address), kind
    )
