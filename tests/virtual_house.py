"""A whole guard in virtual time: real decision, executor, SQLite and lock file; exchange in memory.

Nothing waits in real time. A `House` outlives the guards that run in it, as the machine, the
exchange and the files outlive a process. `crash` ends a guard as a power cut does: nothing of it
takes effect any more, not even what it would do on its way out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast

from commands.alerting import Alerts
from commands.assembly import MakeAlerts, put_together
from commands.recall import recall
from configuration.schema import STAGE_DEFAULTS
from decision import Decision
from errors import LockError, StoreError
from guardian import Guardian
from lock_document import LockEntry
from logger import Logger
from memory import AuditEntry, BookMemory, OrderRecord, Records
from model import BookName, IncidentId, OperatorRequest, ScopeId
from policy import BookPolicy, Policy
from position_store import PositionStore
from recorder import Recorder
from redaction import NOTHING_HIDDEN, Redactor
from simulator.exchange import Exchange
from simulator.markets import CATALOGUE
from simulator.seeds import apply_seed, order_request
from simulator.state import Cause, Leg
from simulator.virtual_time import LoopClock, VirtualLoop
from store.access import ThreadedStore
from store.switch_reader import SwitchReader
from store.views import StoreStatus, read_status
from switch_model import SwitchSetting, SwitchState
from switch_watch import SwitchStores
from tests.conventions import BINANCE, Conventions
from tests.memory_redis import MemoryRedis
from tests.memory_venue import KEY, SCOPE, MemoryVenue
from trading_lock import LockFile
from venues.protocol import Venue

EPOCH = 1_700_000_000.0
BOOK = BookName(SCOPE)
Value = TypeVar("Value")

POSITIONS = (
    {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 100, "entry_price": 100},
    {"symbol": "XRPUSDT", "side": "SHORT", "quantity": 5000, "entry_price": "0.5"},
    {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.05", "entry_price": 60000},
)
"""Against 10,000 of equity: each 1 that SOL rises costs 100, which is 1 %."""


def play(story: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
    """Run a story in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story())


def policy(*, dry_run: bool = False, **changes: Any) -> Policy:
    """The default policy of one book, changed as asked."""
    book = BookPolicy(name=BOOK, scopes=(SCOPE,), stages=STAGE_DEFAULTS)
    return Policy(books=(book,), dry_run=dry_run, instance_tag="test", **changes)


class Logbook:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _write(self, event: str, **details: Any) -> None:
        self.lines.append((event, details))

    debug = info = warning = error = critical = exception = _write

    def of(self, event: str) -> list[dict[str, Any]]:
        """The details of every line of one event."""
        return [details for name, details in self.lines if name == event]


@dataclass(slots=True)
class Power:
    """The power of one run of the guard; without it nothing of that run goes on."""

    is_off: bool = False

    async def needed(self) -> None:
        """Return at once, or never."""
        if self.is_off:
            await asyncio.get_running_loop().create_future()


class Line:
    """A venue as one run of the guard reaches it; what was under way when it died arrives."""

    def __init__(self, venue: MemoryVenue, power: Power) -> None:
        self._venue = venue
        self._power = power

    def __getattr__(self, name: str) -> Any:
        """A call of the venue, or a fact about it; a call that nobody waits for asks nothing."""
        value = getattr(self._venue, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def call(*arguments: Any) -> Any:
            await self._power.needed()
            return await value(*arguments)

        return call


class TroubledStore(ThreadedStore):
    """The real store, with a disk that may be slow, full or dead."""

    clock: LoopClock
    is_down = False
    is_dead = False
    is_hanging = False
    delay_s = 0.0
    commits = 0
    steps = 0

    @staticmethod
    def refuses(_records: Records) -> bool:
        """Whether a record has no place in the tables."""
        return False

    @staticmethod
    async def while_thinning() -> None:
        """What happens in a step."""

    async def _disk(self) -> None:
        while self.is_hanging:
            await self.clock.sleep(0.5)
        if self.delay_s:
            await self.clock.sleep(self.delay_s)
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        if self.is_down:
            full = "database or disk is full"
            raise StoreError(full) from sqlite3.OperationalError(full)

    async def commit(self, records: Records) -> None:
        """Write one decision."""
        await self._disk()
        if self.refuses(records):
            raise ValueError("a value without a column")
        self.commits += 1
        await super().commit(records)

    async def pending_requests(self) -> tuple[OperatorRequest, ...]:
        """Requests without an answer; a full disk can still be read."""
        if self.is_dead or self.is_hanging or self.delay_s:
            await self._disk()
        return await super().pending_requests()

    async def order_records(
        self, incident_id: IncidentId, and_since: float = math.inf
    ) -> tuple[OrderRecord, ...]:
        """Orders of an incident."""
        await self._disk()
        return await super().order_records(incident_id, and_since)

    async def thin(self, now: float) -> bool:
        """Delete a little of what need not be kept."""
        self.steps += 1
        await self._disk()
        await self.while_thinning()
        return await super().thin(now)


@dataclass(kw_only=True)
class Guard:
    """One run of the guard, as a process would be one."""

    guardian: Guardian
    store: TroubledStore
    recorder: Recorder
    power: Power
    switch: SwitchReader
    notices: tuple[str, ...] = ()
    alerts: Alerts | None = None
    running: asyncio.Task[None] = field(init=False)
    is_crashed: bool = False

    @property
    def book(self) -> BookMemory:
        """What it remembers of its book."""
        return self.guardian.memory.book(BOOK)

    async def stop(self) -> None:
        """Stop it as SIGTERM does, and wait."""
        self.guardian.stop()
        await self.running

    def die(self) -> None:
        """Cut the power: from here on nothing of this run has any effect."""
        self.is_crashed = self.store.is_dead = self.power.is_off = True
        self.running.cancel()

    async def crash(self) -> None:
        """Cut the power, and wait until nothing of this run is left."""
        self.die()
        await asyncio.gather(self.running, return_exceptions=True)


@dataclass(kw_only=True)
class House:
    """Machine, files and exchange. `policy` is what the next guard is started with.

    `ways` are the conventions of the venue. The switch is watched with `has_switch` or a `redis`.
    """

    folder: Path
    policy: Policy = field(default_factory=policy)
    ways: Conventions = BINANCE
    seed: Mapping[str, Any] = field(default_factory=dict)
    clock: LoopClock = field(default_factory=lambda: LoopClock(epoch=EPOCH))
    log: Logbook = field(default_factory=Logbook)
    exchange: Exchange = field(init=False)
    venue: MemoryVenue = field(init=False)
    others: dict[ScopeId, MemoryVenue] = field(default_factory=dict)
    standing: tuple[LockEntry, ...] = ()
    has_switch: bool = False
    redis: MemoryRedis | None = None
    on_decision: Callable[[Decision], None] | None = None
    make_alerts: MakeAlerts | None = None
    lock_fails: bool = False
    lock_errno: int | None = None
    lock_delay_s: float = 0.0
    request_poll_s: float = 1.0
    redactor: Redactor = NOTHING_HIDDEN
    store_type: type[TroubledStore] = TroubledStore
    power: Power = field(init=False)

    def __post_init__(self) -> None:
        markets = [replace(market, depth=None) for market in CATALOGUE]
        self.exchange = Exchange(now=EPOCH, markets=markets)
        self.ways.rule(self.exchange)
        apply_seed(
            self.exchange,
            {
                "api_key": KEY,
                "api_secret": "test-secret",
                "wallet": {"USDT": 10_000},
                "positions": POSITIONS,
                **self.seed,
            },
        )
        self.venue = self._make_venue()

    def _make_venue(self) -> MemoryVenue:
        """The venue as guards reach it."""
        return MemoryVenue(exchange=self.exchange, clock=self.clock, ways=self.ways)

    @property
    def lock_path(self) -> Path:
        """The lock file."""
        return self.folder / "trading_lock.json"

    @property
    def db_path(self) -> Path:
        """The database."""
        return self.folder / "killswitch.db"

    # --- the world ----------------------------------------------------------------------------

    def prices(self, **prices: float | str) -> None:
        """Set marks by base: `prices(SOL=105)`."""
        marks = {f"{base}USDT": Decimal(str(price)) for base, price in prices.items()}
        self.exchange.set_prices(marks, at=self.clock.now())

    def bot_order(self, symbol: str, side: str, **order: Any) -> None:
        """Another program's order."""
        self.exchange.set_time(self.clock.now())
        entry = {"symbol": symbol, "side": side, **order}
        self.exchange.place(KEY, order_request(entry, cause=Cause.BOT))

    def held(self, base: str, leg: Leg = Leg.BOTH) -> Decimal:
        """The signed size of a position."""
        return self.exchange.amount(KEY, f"{base}USDT", leg)

    @property
    def open_orders(self) -> int:
        """How many orders rest on the account."""
        return len(self.exchange.account(KEY).orders)

    def fills(self) -> list[dict[str, object]]:
        """Executions of the guard's own orders."""
        return [
            entry
            for entry in self.exchange.ledger
            if entry["event"] == "fill" and str(entry["client_id"]).startswith("ks-")
        ]

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

    # --- what the guard leaves ----------------------------------------------------------------

    def lock(self) -> dict[str, Any]:
        """The lock document, as it lies on disk."""
        document: dict[str, Any] = json.loads(self.lock_path.read_text(encoding="utf-8"))
        return document

    def stops_a_bot(self) -> bool:
        """The four lines of behaviour.md section 11."""
        lock = self.lock()
        return bool(lock.get("locked") and lock.get("expires_ts", 0) > self.clock.now())

    def status(self, *, dry_run: bool = False) -> StoreStatus:
        """What the database says."""
        return read_status(self.db_path, dry_run=dry_run, action_limit=10_000)

    def events(self, *, dry_run: bool = False) -> list[str]:
        """The events of the audit, oldest first."""
        return [entry.event for entry in reversed(self.status(dry_run=dry_run).actions)]

    def audit(self, event: str, *, dry_run: bool = False) -> list[AuditEntry]:
        """The audit entries of one event, oldest first."""
        actions = self.status(dry_run=dry_run).actions
        return [entry for entry in reversed(actions) if entry.event == event]

    def ask(self, command: str, *, confirm: str = "", **arguments: str) -> int:
        """Leave an operator's request for the guard."""
        store = PositionStore.open(self.db_path, rng=random.Random(1))
        try:
            return store.add_request(
                at=self.clock.now(),
                actor="operator@test",
                command=command,
                arguments=tuple(sorted({"book": BOOK, **arguments}.items())),
                confirmation=confirm,
            )
        finally:
            store.close()

    def switch(self, state: SwitchState, *, reason: str = "") -> None:
        """What the command `switch` writes when it tightens."""
        store = PositionStore.open(self.db_path, rng=random.Random(1))
        try:
            store.set_switch(state, actor="operator@test", reason=reason, now=self.clock.now())
        finally:
            store.close()

    # --- running ------------------------------------------------------------------------------

    async def assemble(self) -> Guard:
        """Put a guard together on the files of this house, as a start of the process does."""
        every = {SCOPE: self.venue, **self.others}
        opened: list[TroubledStore] = []
        power = self.power = Power()

        async def replace_lock(document: Mapping[str, object]) -> None:
            await power.needed()
            await self._replace_lock(document)

        async def open_store(path: Path) -> ThreadedStore:
            store = await self.store_type.open(path, rng=self._store_rng())
            store.clock = self.clock
            self._look_after(store)
            opened.append(store)
            return store

        recalled = await recall(
            self.db_path,
            lock_path=self.lock_path,
            policy=self.policy,
            now=self.clock.now(),
            open_store=open_store,
        )
        switch = SwitchReader(self.db_path)

        async def read_switch() -> SwitchSetting | None:
            await power.needed()
            return await switch.read()

        stores = SwitchStores(read_local=read_switch, redis=self.redis)
        assembly = put_together(
            self.policy,
            replace(recalled, standing=(*recalled.standing, *self.standing)),
            venues={
                scope: cast("Venue", Line(venue, power))
                for scope, venue in every.items()
                if self.policy.book_of(scope)
            },
            replace_lock=replace_lock,
            clock=self.clock,
            log=cast("Logger", self.log),
            redactor=self.redactor,
            on_decision=self.on_decision,
            request_poll_s=self.request_poll_s,
            make_alerts=self.make_alerts,
            switch=stores if self.has_switch or self.redis is not None else None,
        )
        return Guard(
            switch=switch,
            store=opened[-1],
            recorder=assembly.recorder,
            power=power,
            guardian=assembly.guardian,
            notices=assembly.notices,
            alerts=assembly.alerts,
        )

    def _store_rng(self) -> random.Random:
        """What a new database is marked by."""
        return random.Random(1)

    def _look_after(self, store: TroubledStore) -> None:
        """Make a store that was just opened ready for what this house has planned."""

    async def _replace_lock(self, document: Mapping[str, object]) -> None:
        if self.lock_delay_s:
            await self.clock.sleep(self.lock_delay_s)
        if self.lock_fails:
            raise LockError("Read-only file system", number=self.lock_errno)
        LockFile(self.lock_path, pid=1, host="test", now=self.clock.now).replace(document)

    @asynccontextmanager
    async def guard(self, **told: Callable[..., None]) -> AsyncIterator[Guard]:
        """A running guard; stopped at the end of the block unless it crashed.

        `told` are hooks of `Guardian.run`.
        """
        guard = await self.assemble()
        guard.running = asyncio.create_task(guard.guardian.run(**told))
        try:
            yield guard
            if not guard.is_crashed:
                await guard.stop()
        finally:
            guard.running.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(guard.running, return_exceptions=True)
            if guard.alerts is not None:
                await guard.alerts.aclose()
            guard.store.is_dead = False
            await guard.switch.aclose()
            await guard.store.aclose()
