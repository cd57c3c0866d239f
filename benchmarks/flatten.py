"""How fast 50 positions are closed, beside a plain loop and beside what no program can beat.

    python3 -m benchmarks.flatten [--json] [--runs 5]

The whole guard as in production: real exchange library, HTTP on loopback, SQLite, lock file with
fsync. The simulated exchange is another process with the venue's real limits, and answers every
request late by the latency. Time runs from the end of the reading that decides (deciding,
recording and locking are part of it) to the last acknowledged close, and to the first read of the
positions that shows none. The loop is what most scripts do: the library as it comes, which paces
itself, read the positions, one order after the other. The floor is the round trips that must
follow each other, what the venue's order limit adds, and the CPU of signing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.guard_process import KEYS
from clock import SystemClock
from commands.assembly import access_of, assemble
from logger import configure_logging, get_logger
from model import CloseInstruction, Outcome, Position, Reading, ScopeId
from redaction import Redactor
from settings import VenueSettings, load_settings
from simulator.control import ControlClient, start_simulator
from tests.simulated import KEY, SECRET, binance
from venues.binance import BinanceFutures
from venues.binance_pacing import DEFAULT_RATES, ORDERS_10S

SCOPE = ScopeId("binance_futures")
POSITIONS = 50
LATENCIES_S = (0.0, 0.05, 0.1)
AIMS_AT_S = 0.1
"""The latency at which seconds are aimed at."""
LEAST_FACTOR = 50.0
MOST_FLOORS = 1.5
FALL = 0.8
"""What prices fall to: 50 longs of 500 each lose a third of an account of 15,000."""


def symbols() -> list[str]:
    """The names of the 50 markets."""
    return [f"C{number:02d}USDT" for number in range(POSITIONS)]


def seed() -> dict[str, Any]:
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
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of one flattening: to the last acknowledged close, and to the read that is flat."""

    left_s: float
    acknowledged_s: float
    confirmed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One latency: medians of the guard, the loop, and the floors; seconds."""

    latency_s: float
    left_s: float
    acknowledged_s: float
    confirmed_s: float
    loop_acknowledged_s: float
    loop_confirmed_s: float
    signing_s: float
    floor_acknowledged_s: float
    floor_confirmed_s: float

    @property
    def factor(self) -> float:
        """How many times faster than the loop."""
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
        aims = {f"at least {LEAST_FACTOR:g} times faster": self.factor >= LEAST_FACTOR}
        if self.latency_s > 0:
            aims[f"within {MOST_FLOORS:g} floors"] = self.floors <= MOST_FLOORS
        if self.latency_s == AIMS_AT_S:
            aims["acknowledged within 0.35 s"] = self.acknowledged_s <= 0.35
            aims["confirmed within 0.5 s"] = self.confirmed_s <= 0.5
        return [name for name, is_met in aims.items() if not is_met]


class TimedBinance(BinanceFutures):
    """Notes when the reading that decides was there, when closes were answered, when it is flat."""

    read_at = left_at = acknowledged_at = flat_at = 0.0

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read, and note the end."""
        reading = await super().fetch_reading(scope)
        if not self.left_at:
            self.read_at = time.perf_counter()
        return reading

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send, between two notes."""
        self.left_at = self.left_at or time.perf_counter()
        outcomes = await super().submit_closes(instructions)
        self.acknowledged_at = time.perf_counter()
        return outcomes

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read, and note when there is nothing left for the first time."""
        positions = await super().fetch_positions(scope)
        if not positions and not self.flat_at:
            self.flat_at = time.perf_counter()
        return positions


async def slow_down(control: ControlClient, latency_s: float) -> None:
    """Let every request of the API take so long."""
    if latency_s > 0:
        await control.add_fault("delay", seconds=latency_s)


async def flatten_by_guard(folder: Path, latency_s: float) -> Times:
    """Let prices fall under a guard that watches, until stage 3 has closed everything."""
    made: list[TimedBinance] = []
    clock = SystemClock()

    def make(venue: VenueSettings, scope: ScopeId) -> TimedBinance:
        made.append(
            TimedBinance(
                scope=scope,
                access=access_of(venue),
                clock=clock,
                stables=venue.stables,
            )
        )
        return made[0]

    async with start_simulator(seed(), realtime=True) as (control, url):
        config = folder / "config.yaml"
        config.write_text(
            "dry_run: false\nexchanges:\n  binance:\n    enabled: true\n"
            f"    simulator_url: {url}\n",
            encoding="utf-8",
        )
        (folder / "state").mkdir()
        settings = load_settings(config, KEYS)
        log = get_logger("benchmark")
        async with assemble(settings, clock=clock, log=log, make_venue=make) as guard:
            await slow_down(control, latency_s)
            for _ in range(2):
                await guard.guardian.tick(SCOPE)
            await control.set_prices(dict.fromkeys(symbols(), 10 * FALL))
            for _ in range(5):
                if not made[0].flat_at:
                    await guard.guardian.tick(SCOPE)
    venue = made[0]
    if not venue.flat_at:
        raise RuntimeError("nothing was closed: the scene and the thresholds no longer fit")
    return Times(
        left_s=venue.left_at - venue.read_at,
        acknowledged_s=venue.acknowledged_at - venue.read_at,
        confirmed_s=venue.flat_at - venue.read_at,
    )


async def flatten_by_loop(latency_s: float) -> Times:
    """Do what most scripts do, with the library as it comes."""
    async with (
        start_simulator(seed(), realtime=True) as (control, url),
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


async def time_signing() -> float:
    """CPU seconds that the library takes to sign 50 orders, the best of several times."""
    params = {
        "symbol": "C00USDT",
        "side": "SELL",
        "type": "MARKET",
        "quantity": "50",
        "reduceOnly": "true",
        "newClientOrderId": "ks-0123456789-1-1-1",
        "newOrderRespType": "RESULT",
    }
    best = float("inf")
    async with binance("http://127.0.0.1:9") as client:
        for _ in range(10):
            began = time.process_time()
            for _ in range(POSITIONS):
                client.sign("order", ["fapiPrivate"], "POST", dict(params))
            best = min(best, time.process_time() - began)
    return best


async def measure(runs: int) -> list[Row]:
    """Measure every latency; the loop once each, because it takes 10 s and hardly varies."""
    rows: list[Row] = []
    for latency_s in LATENCIES_S:
        times: list[Times] = []
        for number in range(runs):
            progress(f"{latency_s * 1000:.0f} ms: run {number + 1} of {runs}")
            with tempfile.TemporaryDirectory(prefix="flatten-") as folder:
                times.append(await flatten_by_guard(Path(folder), latency_s))
        progress(f"{latency_s * 1000:.0f} ms: the plain loop")
        loop = await flatten_by_loop(latency_s)
        rows.append(make_row(latency_s, times, loop=loop, signing_s=await time_signing()))
    progress("")
    return rows


def make_row(latency_s: float, times: Sequence[Times], *, loop: Times, signing_s: float) -> Row:
    """Medians beside the loop and the floors."""
    rate = DEFAULT_RATES[ORDERS_10S]
    limited_s = max(0, POSITIONS - rate.most) / rate.most * rate.within_s
    floor_s = 2 * latency_s + limited_s + signing_s
    return Row(
        latency_s=latency_s,
        left_s=statistics.median(each.left_s for each in times),
        acknowledged_s=statistics.median(each.acknowledged_s for each in times),
        confirmed_s=statistics.median(each.confirmed_s for each in times),
        loop_acknowledged_s=loop.acknowledged_s,
        loop_confirmed_s=loop.confirmed_s,
        signing_s=signing_s,
        floor_acknowledged_s=floor_s,
        floor_confirmed_s=floor_s + latency_s,
    )


def progress(text: str) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def show(rows: Sequence[Row]) -> None:
    """Print the figures beside their aims."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=110)
    table = Table(title=f"closing {POSITIONS} positions on Binance, seconds", title_justify="left")
    for name in ("latency", "leave", "answered", "flat", "loop", "faster", "floors", "of floors"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row.latency_s * 1000:.0f} ms",
            f"{row.left_s:.3f}",
            f"{row.acknowledged_s:.3f}",
            f"{row.confirmed_s:.3f}",
            f"{row.loop_acknowledged_s:.2f}",
            f"{row.factor:.0f} x",
            f"{row.floor_acknowledged_s:.3f} / {row.floor_confirmed_s:.3f}",
            f"{row.acknowledged_s / row.floor_acknowledged_s:.2f} / "
            f"{row.confirmed_s / row.floor_confirmed_s:.2f}",
        )
    console.print(table)
    for row in rows:
        for name in row.missed():
            console.print(f"[bold red]MISSED[/bold red] at {row.latency_s * 1000:.0f} ms: {name}")


def as_json(rows: Sequence[Row]) -> Mapping[str, Any]:
    """Everything measured, for another program."""
    return {
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
    options = parser.parse_args(arguments)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        redactor = Redactor(KEYS.values())
        configure_logging(redactor=redactor, json_output=True, verbose=False, stream=log)
        rows = asyncio.run(measure(max(1, options.runs)))
    if options.json:
        print(json.dumps(as_json(rows)))
    else:
        show(rows)
    return 1 if any(row.missed() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
