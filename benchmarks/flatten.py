"""How fast 50 positions are closed, beside a plain loop and beside what no program can beat.

    python3 -m benchmarks.flatten [--json] [--runs 5] [--venue bybit]

The whole guard as in production: real exchange library, HTTP on loopback, SQLite, lock file with
fsync. The simulated exchange is another process with the venue's real limits, and answers every
request late by the latency. Time runs from the end of the reading that decides (deciding,
recording and locking are part of it) to the last acknowledged close, and to the first read of the
positions that shows none. The loop is what most scripts do: the library as it comes, which paces
itself, read the positions, one order after the other. The floor is the round trips that must
follow each other, what the venue's order limit adds, and the CPU of signing. Where that limit is
ten or twenty orders a second it is nearly all of it, and the factor over the loop is not aimed at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clock import SystemClock
from commands.assembly import assemble, connect
from logger import configure_logging, get_logger
from model import CloseInstruction, Outcome, Position, Reading, ScopeId
from redaction import Redactor
from settings import VenueSettings, load_settings
from simulator.control import ControlClient, start_simulator
from tests.simulated import KEY, SECRET, binance
from tests.venue_rigs import PASSPHRASE, WAYS
from venues.binance import MANNERS as binance_manners  # noqa: N811 - three of one name
from venues.binance_pacing import DEFAULT_RATES as BINANCE_RATES
from venues.binance_pacing import ORDERS_10S
from venues.bitget import MANNERS as bitget_manners  # noqa: N811
from venues.bybit import MANNERS as bybit_manners  # noqa: N811
from venues.connection import Manners
from venues.protocol import Venue

POSITIONS = 50
LATENCIES_S = (0.0, 0.05, 0.1)
AIMS_AT_S = 0.1
"""The latency at which seconds are aimed at."""
LEAST_FACTOR = 50.0
MOST_FLOORS = 1.5
HALTS_BELOW = 20
"""A venue that takes no more orders at once makes everybody wait: a loop is no comparison."""
GIVES_UP_S = 30.0
TICKS_APART_S = 0.01
FALL = 0.8
"""What prices fall to: 50 longs of 500 each lose a third of an account of 15,000."""


def symbols() -> list[str]:
    """The names of the 50 markets."""
    return [f"C{number:02d}USDT" for number in range(POSITIONS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One venue: the way to its account, its library, and its limit of orders.

    At most `burst` orders at once and in every `within_s` seconds. `order` is one as it is signed,
    at `endpoint` (path and ccxt's name of its interface).
    """

    way: str
    manners: Manners
    burst: int
    within_s: float
    endpoint: tuple[str, object]
    order: Mapping[str, Any]

    @property
    def exchange_id(self) -> str:
        """What the configuration calls it."""
        return WAYS[self.way][0]

    @property
    def scope(self) -> ScopeId:
        """The account."""
        return ScopeId(f"{self.exchange_id}_futures")

    @property
    def is_limited(self) -> bool:
        """True where the venue's limit is most of the time that closing takes."""
        return self.burst <= HALTS_BELOW

    @property
    def keys(self) -> dict[str, str]:
        """The environment of a guard that watches it."""
        name = self.exchange_id.upper()
        keys = {f"{name}_API_KEY": KEY, f"{name}_API_SECRET": SECRET}
        return keys | ({f"{name}_PASSWORD": PASSPHRASE} if self.exchange_id == "bitget" else {})


_RATE = BINANCE_RATES[ORDERS_10S]
SUBJECTS = {
    subject.way: subject
    for subject in (
        Subject(
            way="binance",
            manners=binance_manners,
            burst=_RATE.most,
            within_s=_RATE.within_s,
            endpoint=("order", ["fapiPrivate"]),
            order={
                "symbol": "C00USDT",
                "side": "SELL",
                "type": "MARKET",
                "quantity": "50",
                "reduceOnly": "true",
                "newClientOrderId": "ks-0123456789-1-1-1",
                "newOrderRespType": "RESULT",
            },
        ),
        Subject(
            way="bybit",
            manners=bybit_manners,
            burst=20,
            within_s=1.0,
            endpoint=("v5/order/create", ["private"]),
            order={
                "category": "linear",
                "symbol": "C00USDT",
                "side": "Sell",
                "orderType": "Market",
                "qty": "50",
                "reduceOnly": True,
                "positionIdx": 0,
                "orderLinkId": "ks-0123456789-1-1-1",
            },
        ),
        *(
            Subject(
                way=way,
                manners=bitget_manners,
                burst=10,
                within_s=1.0,
                endpoint=("v2/mix/order/place-order", ["private", "mix"]),
                order={
                    "symbol": "C00USDT",
                    "productType": "USDT-FUTURES",
                    "marginMode": "crossed",
                    "marginCoin": "USDT",
                    "side": "sell",
                    "orderType": "market",
                    "size": "50",
                    "reduceOnly": "YES",
                    "clientOid": "ks-0123456789-1-1-1",
                },
            )
            for way in ("bitget", "bitget-unified")
        ),
    )
}
"""Singles and batches have ten orders a second each on Bybit, Bitget takes ten."""


def seed(subject: Subject) -> dict[str, Any]:
    """An account with 50 longs."""
    return {
        "api_key": KEY,
        "api_secret": SECRET,
        "wallet": {"USDT": 15_000},
        "prices": dict.fromkeys(symbols(), 10),
        "positions": [
            {
                "symbol": symbol,
                "side": "LONG",
                "quantity": 50,
                "entry_price": 10,
                "mark_price": 10,
                "leverage": 5,
            }
            for symbol in symbols()
        ],
        **WAYS[subject.way][2],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of one flattening: to the last acknowledged close, and to the read that is flat."""

    left_s: float
    acknowledged_s: float
    confirmed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One latency: medians of the guard, the loop (None where it is not run), the floors' parts."""

    latency_s: float
    left_s: float
    acknowledged_s: float
    confirmed_s: float
    loop_acknowledged_s: float | None
    limited_s: float
    signing_s: float

    @property
    def floor_acknowledged_s(self) -> float:
        """A fresh read and the orders after it, the venue's limit, and signing."""
        return 2 * self.latency_s + self.limited_s + self.signing_s

    @property
    def floor_confirmed_s(self) -> float:
        """One more read."""
        return self.floor_acknowledged_s + self.latency_s

    @property
    def factor(self) -> float | None:
        """How many times faster than the loop."""
        if self.loop_acknowledged_s is None:
            return None
        return self.loop_acknowledged_s / self.acknowledged_s

    @property
    def floors(self) -> float:
        """How many times the floor, the worse of the two ends."""
        return max(
            self.acknowledged_s / self.floor_acknowledged_s,
            self.confirmed_s / self.floor_confirmed_s,
        )

    def missed(self) -> list[str]:
        """The aims that are not met."""
        aims = {}
        if self.factor is not None:
            aims[f"at least {LEAST_FACTOR:g} times faster"] = self.factor >= LEAST_FACTOR
        if self.latency_s > 0:
            aims[f"within {MOST_FLOORS:g} floors"] = self.floors <= MOST_FLOORS
        if self.latency_s == AIMS_AT_S and not self.limited_s:
            aims["acknowledged within 0.35 s"] = self.acknowledged_s <= 0.35
            aims["confirmed within 0.5 s"] = self.confirmed_s <= 0.5
        return [name for name, is_met in aims.items() if not is_met]


@dataclass(slots=True)
class Stopwatch:
    """When the reading that decides was there, when closes left and were answered, when flat."""

    read_at: float = 0.0
    left_at: float = 0.0
    acknowledged_at: float = 0.0
    flat_at: float = 0.0

    def watch(self, venue: Venue) -> Venue:
        """Note the moments of a venue's calls."""
        read, send, look = venue.fetch_reading, venue.submit_closes, venue.fetch_positions

        async def fetch_reading(scope: ScopeId) -> Reading:
            reading = await read(scope)
            if not self.left_at:
                self.read_at = time.perf_counter()
            return reading

        async def submit_closes(instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
            self.left_at = self.left_at or time.perf_counter()
            outcomes = await send(instructions)
            self.acknowledged_at = time.perf_counter()
            return outcomes

        async def fetch_positions(scope: ScopeId) -> tuple[Position, ...]:
            positions = await look(scope)
            if not positions and not self.flat_at:
                self.flat_at = time.perf_counter()
            return positions

        for method in (fetch_reading, submit_closes, fetch_positions):
            setattr(venue, method.__name__, method)
        return venue


async def slow_down(control: ControlClient, latency_s: float) -> None:
    """Let every request of the API take so long."""
    if latency_s > 0:
        await control.add_fault("delay", seconds=latency_s)


async def flatten_by_guard(subject: Subject, folder: Path, latency_s: float) -> Times:
    """Let prices fall under a guard that watches, until stage 3 has closed everything."""
    clock, watch = SystemClock(), Stopwatch()

    def make(venue: VenueSettings, scope: ScopeId) -> Venue:
        return watch.watch(connect(venue, scope, clock=clock))

    dialect = WAYS[subject.way][1]
    async with start_simulator(seed(subject), venue=dialect, realtime=True) as (control, url):
        config = folder / "config.yaml"
        config.write_text(
            f"dry_run: false\nexchanges:\n  {subject.exchange_id}:\n    enabled: true\n"
            f"    simulator_url: {url}\n",
            encoding="utf-8",
        )
        (folder / "state").mkdir()
        settings = load_settings(config, subject.keys)
        log = get_logger("benchmark")
        async with assemble(settings, clock=clock, log=log, make_venue=make) as guard:
            await slow_down(control, latency_s)
            for _ in range(2):
                await guard.guardian.tick(subject.scope)
            await control.set_prices(dict.fromkeys(symbols(), 10 * FALL))
            gives_up_at = time.perf_counter() + GIVES_UP_S
            while not watch.flat_at and time.perf_counter() < gives_up_at:
                await guard.guardian.tick(subject.scope)
                await clock.sleep(TICKS_APART_S)
    if not watch.flat_at:
        raise RuntimeError("nothing was closed: the scene and the thresholds no longer fit")
    return Times(
        left_s=watch.left_at - watch.read_at,
        acknowledged_s=watch.acknowledged_at - watch.read_at,
        confirmed_s=watch.flat_at - watch.read_at,
    )


async def flatten_by_loop(latency_s: float) -> Times:
    """Do what most scripts do on Binance, with the library as it comes."""
    async with (
        start_simulator(seed(SUBJECTS["binance"]), realtime=True) as (control, url),
        binance(url, enableRateLimit=True) as client,
    ):
        await client.load_markets()
        await slow_down(control, latency_s)
        began = time.perf_counter()
        for position in await client.fetch_positions():
            await client.create_order(
                position["symbol"],
                "market",
                "sell",
                position["contracts"],
                params={"reduceOnly": True},
            )
        acknowledged = time.perf_counter()
        while await client.fetch_positions():
            pass
        ended = time.perf_counter()
    return Times(left_s=0.0, acknowledged_s=acknowledged - began, confirmed_s=ended - began)


async def time_signing(subject: Subject) -> float:
    """CPU seconds that the library takes to sign 50 orders, the best of several times."""
    path, interface = subject.endpoint
    best = float("inf")
    client = subject.manners.client_class(
        {"apiKey": KEY, "secret": SECRET, "password": PASSPHRASE, "timeout_on_exit": 0}
    )
    try:
        for _ in range(10):
            began = time.process_time()
            for _ in range(POSITIONS):
                client.sign(path, interface, "POST", dict(subject.order))
            best = min(best, time.process_time() - began)
    finally:
        await client.close()
    return best


async def measure(subject: Subject, runs: int) -> list[Row]:
    """Measure every latency; the loop once each, because it takes 10 s and hardly varies."""
    rows: list[Row] = []
    for latency_s in LATENCIES_S:
        times: list[Times] = []
        for number in range(runs):
            progress(f"{subject.way}, {latency_s * 1000:.0f} ms: run {number + 1} of {runs}")
            with tempfile.TemporaryDirectory(prefix="flatten-") as folder:
                times.append(await flatten_by_guard(subject, Path(folder), latency_s))
        loop = None
        if not subject.is_limited:
            progress(f"{subject.way}, {latency_s * 1000:.0f} ms: the plain loop")
            loop = await flatten_by_loop(latency_s)
        rows.append(make_row(subject, latency_s, times, loop=loop))
        rows[-1] = replace(rows[-1], signing_s=await time_signing(subject))
    progress("")
    return rows


def make_row(
    subject: Subject, latency_s: float, times: Sequence[Times], *, loop: Times | None
) -> Row:
    """Medians, beside the loop where there is one."""
    return Row(
        latency_s=latency_s,
        left_s=statistics.median(each.left_s for each in times),
        acknowledged_s=statistics.median(each.acknowledged_s for each in times),
        confirmed_s=statistics.median(each.confirmed_s for each in times),
        loop_acknowledged_s=loop.acknowledged_s if loop is not None else None,
        # Of a window that rolls, the last orders of three bursts leave after two whole windows.
        limited_s=(math.ceil(POSITIONS / subject.burst) - 1) * subject.within_s,
        signing_s=0.0,
    )


def progress(text: str) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def show(subject: Subject, rows: Sequence[Row]) -> None:
    """Print the figures beside their aims."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=110)
    table = Table(
        title=f"closing {POSITIONS} positions on {subject.way}, seconds", title_justify="left"
    )
    for name in ("latency", "leave", "answered", "flat", "loop", "faster", "floors", "of floors"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row.latency_s * 1000:.0f} ms",
            f"{row.left_s:.3f}",
            f"{row.acknowledged_s:.3f}",
            f"{row.confirmed_s:.3f}",
            "-" if row.loop_acknowledged_s is None else f"{row.loop_acknowledged_s:.2f}",
            "-" if row.factor is None else f"{row.factor:.0f} x",
            f"{row.floor_acknowledged_s:.3f} / {row.floor_confirmed_s:.3f}",
            f"{row.acknowledged_s / row.floor_acknowledged_s:.2f} / "
            f"{row.confirmed_s / row.floor_confirmed_s:.2f}",
        )
    console.print(table)
    for row in rows:
        for name in row.missed():
            console.print(f"[bold red]MISSED[/bold red] at {row.latency_s * 1000:.0f} ms: {name}")


def as_json(subject: Subject, rows: Sequence[Row]) -> Mapping[str, Any]:
    """Everything measured, for another program."""
    return {
        "venue": subject.way,
        "positions": POSITIONS,
        "rows": [
            {**asdict(row), "factor": row.factor, "floors": row.floors, "missed": row.missed()}
            for row in rows
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when every aim is met, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.flatten",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Takes about a minute and a half. Exit code 0 when every aim is met, 1 otherwise.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--runs", type=int, default=5, help="runs of the guard per latency (5)")
    parser.add_argument("--venue", choices=sorted(SUBJECTS), default="binance")
    options = parser.parse_args(arguments)
    subject = SUBJECTS[options.venue]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        redactor = Redactor(subject.keys.values())
        configure_logging(redactor=redactor, json_output=True, verbose=False, stream=log)
        rows = asyncio.run(measure(subject, max(1, options.runs)))
    if options.json:
        print(json.dumps(as_json(subject, rows)))
    else:
        show(subject, rows)
    return 1 if any(row.missed() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
