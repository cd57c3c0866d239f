"""Several accounts and one whole guard: configuration, real clients and HTTP, database, lock file.

Everything runs in one process and in virtual time, the simulated exchanges too: two minutes of a
line that hangs take no time. Each account holds 10,000 and 100 SOL short from 100, so that each 1
that SOL rises costs 1 % there.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from clock import Clock
from commands.assembly import Assembly, MakeVenue, assemble
from commands.status.report import ScopeView, StatusReport
from commands.status.show import read_report
from logger import Logger
from memory import AuditEntry, BookMemory
from model import BookName, ScopeId
from settings import Settings, load_settings
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind
from simulator.state import Leg
from simulator.virtual_time import LoopClock, VirtualLoop
from simulator.wire.service import LoggedRequest
from state_lock import StateLock
from store.views import read_status
from tests.simulated import Simulated, simulated
from tests.venue_rigs import NEED_A_PASSPHRASE, WAYS
from tests.virtual_house import EPOCH, Logbook

Value = TypeVar("Value")

KEY_HEADERS = {"X-MBX-APIKEY", "X-BAPI-API-KEY", "ACCESS-KEY"}
PATIENCE_S = 0.001
"""A socket within this process brings what was sent in less."""
SHORT = {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 100, "entry_price": 100}


def play(story: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
    """Run a story in virtual time, with sockets."""
    loop_factory = partial(VirtualLoop, patience_s=PATIENCE_S)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(story())


@dataclass(frozen=True, kw_only=True)
class Door:
    """One account: its name in the configuration, the way to it, what its seed says besides.

    Doors with one `house` lead to one exchange, whose clock `is_ahead_s`. `lines` stand below the
    venue's name in the file.
    """

    name: str
    way: str = "binance"
    house: str = ""
    is_ahead_s: float = 0.0
    seed: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    key: str = ""

    @property
    def api_key(self) -> str:
        """The key of the account."""
        return self.key or f"key-{self._number}"

    @property
    def api_secret(self) -> str:
        """Its secret."""
        return f"secret-{self._number}"

    @property
    def _number(self) -> str:
        """What tells its key from others; a name in it would be masked wherever it stands."""
        return str(sum(n * ord(letter) for n, letter in enumerate(self.name, start=1)))

    @property
    def scope(self) -> ScopeId:
        """The name of its account."""
        return ScopeId(f"{self.name}_futures")

    def content(self) -> dict[str, Any]:
        """Its seed."""
        return {
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "wallet": {"USDT": 10_000},
            "prices": {"SOLUSDT": 100, "XRPUSDT": "0.5", "BTCUSDT": 60_000},
            "markets": [{"symbol": name, "depth": None} for name in ("SOLUSDT", "XRPUSDT")],
            "positions": [SHORT],
            **self.seed,
            **WAYS[self.way][2],
        }

    def config(self, url: str) -> str:
        """Its part of the configuration."""
        lines = [f"id: {WAYS[self.way][0]}", "enabled: true", *(self.lines or ())]
        if not any(line.startswith(("sandbox", "demo")) for line in lines):
            lines.append(f"simulator_url: {url}")
        return "".join([f"  {self.name}:\n", *(f"    {line}\n" for line in lines)])

    def environ(self) -> dict[str, str]:
        """The variables with its keys."""
        prefix = self.name.upper()
        variables = {f"{prefix}_API_KEY": self.api_key, f"{prefix}_API_SECRET": self.api_secret}
        if WAYS[self.way][0] in NEED_A_PASSPHRASE:
            variables[f"{prefix}_PASSWORD"] = "test-phrase"
        return variables


@dataclass(kw_only=True)
class Street:
    """The exchanges, the files, and the guard while it runs.

    `hosts` are those that were shown a key of an account, or of its house.
    """

    folder: Path
    doors: Mapping[str, Door]
    houses: Mapping[str, Simulated]
    clock: LoopClock
    hosts: Mapping[str, set[str]]
    log: Logbook = field(default_factory=Logbook)
    settings: Settings = field(init=False)
    guard: Assembly = field(init=False)

    def exchange(self, name: str) -> Exchange:
        """The exchange of an account."""
        return self.houses[name].exchange

    def held(self, name: str, base: str = "SOL", leg: Leg = Leg.BOTH) -> Decimal:
        """The signed size of a position."""
        return self.exchange(name).amount(self.doors[name].api_key, f"{base}USDT", leg)

    def prices(self, name: str, **prices: float) -> None:
        """Set marks by base on the exchange of an account."""
        self.exchange(name).set_prices({f"{base}USDT": mark for base, mark in prices.items()})

    def fail(self, name: str, kind: FaultKind, **fault: Any) -> None:
        """Plan a fault of everything that reaches an exchange."""
        self.houses[name].service.plan.add(Fault(kind=kind, **fault))

    def mend(self, name: str) -> None:
        """Nothing fails there any more."""
        self.houses[name].service.plan.clear()

    def sent(self, name: str) -> list[LoggedRequest]:
        """What could change something at an exchange."""
        return [request for request in self.houses[name].service.log if request.method != "GET"]

    def asked(self, name: str, path: str) -> list[float]:
        """When something was asked for."""
        return [entry.at for entry in self.houses[name].service.log if path in entry.path]

    # --- what the guard says ------------------------------------------------------------------

    def book(self, name: str) -> BookMemory:
        """What the guard remembers of an account's book."""
        return self.guard.guardian.memory.book(BookName(self.doors[name].scope))

    def lock(self) -> dict[str, Any]:
        """The lock document, as it lies on disk."""
        path = self.settings.trading_lock_file
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document

    def locked(self) -> list[tuple[str, str]]:
        """Scope and mode of each lock, the most severe first."""
        return [(entry["scope"], entry["mode"]) for entry in self.lock()["locks"]]

    def status(self) -> StatusReport:
        """What `status` would show."""
        return read_report(self.settings, now=self.clock.now())

    def shown(self, name: str) -> ScopeView:
        """What `status` would show of one account."""
        scope = self.doors[name].scope
        return next(
            one for book in self.status().books for one in book.scopes if one.scope == scope
        )

    def actions(self, name: str | None = None) -> list[AuditEntry]:
        """The audit, oldest first; of one account, or all."""
        stored = read_status(self.settings.state_db, dry_run=False, action_limit=1000)
        scope = None if name is None else self.doors[name].scope
        return [entry for entry in reversed(stored.actions) if scope in (None, entry.scope)]

    def events(self, name: str | None = None) -> list[str]:
        """The events of the audit, oldest first."""
        return [entry.event for entry in self.actions(name)]

    # --- time ---------------------------------------------------------------------------------

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def until(
        self, claim: Callable[[], bool], *, within_s: float, step_s: float = 0.1
    ) -> float:
        """Wait until something holds; returns after how many seconds. Fails at the deadline."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not claim():
            assert loop.time() - began < within_s, f"still not so after {within_s} s"
            await asyncio.sleep(step_s)
        return loop.time() - began

    def load(self) -> Settings:
        """Write the configuration and load it, as a start does."""
        text = "dry_run: false\nexchanges:\n" + "".join(
            door.config(self.houses[name].url) for name, door in self.doors.items()
        )
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "config.yaml"
        path.write_text(text, encoding="utf-8")
        environ = {k: v for door in self.doors.values() for k, v in door.environ().items()}
        return load_settings(path, environ)

    @asynccontextmanager
    async def guarded(self, make_venue: MakeVenue | None = None) -> AsyncIterator[Street]:
        """A running guard, stopped at the end of the block."""
        self.settings = self.load()
        with StateLock.acquire(self.settings.state_dir):
            async with assemble(
                self.settings,
                clock=cast("Clock", self.clock),
                log=cast("Logger", self.log),
                make_venue=make_venue,
                rng=random.Random(1),
            ) as self.guard:
                running = asyncio.create_task(self.guard.guardian.run())
                try:
                    yield self
                    self.guard.guardian.stop()
                    await running
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def street(folder: Path, *doors: Door) -> AsyncIterator[Street]:
    """Exchanges for the doors, on one clock."""
    clock = LoopClock(epoch=EPOCH)
    houses: dict[str, list[Door]] = {}
    for door in doors:
        houses.setdefault(door.house or door.name, []).append(door)
    served: dict[str, Simulated] = {}
    hosts: dict[str, set[str]] = {}
    async with AsyncExitStack() as stack:
        for inside in houses.values():
            asked: set[str] = set()
            at = await stack.enter_async_context(
                simulated(
                    *(door.content() for door in inside),
                    venue=WAYS[inside[0].way][1],
                    middlewares=[_noting(asked)],
                    clock=cast("Clock", LoopClock(epoch=EPOCH + inside[0].is_ahead_s)),
                )
            )
            served |= {door.name: at for door in inside}
            hosts |= {door.name: asked for door in inside}
        named = {door.name: door for door in doors}
        yield Street(folder=folder, doors=named, houses=served, clock=clock, hosts=hosts)


def _noting(hosts: set[str]) -> Middleware:
    """Note which hosts were shown a key: the first part of a redirected path.

    Bitget has one for both, and a header that says so.
    """

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_paper = request.headers.get("PAPTRADING") == "1"
        if not KEY_HEADERS.isdisjoint(request.headers):
            hosts.add(request.path.split("/")[1] + (" for paper" if is_paper else ""))
        return await handler(request)

    return note
