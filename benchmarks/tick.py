"""What a tick of the guard costs, and how fast it starts.

    python3 -m benchmarks.tick [--json] [--ticks 300] [--fires 10] [--quick]

The CPU of our process is measured (user and system, all threads), never the wall clock: it does
not depend on what else the machine does, and it is what the guard takes from the bots beside it.
Real exchange library, HTTP on loopback, SQLite, lock file with fsync; the exchange is another
process. Every quiet tick is measured in turn on a database with three days of readings and on an
empty one, so that noise of the machine hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import startup
from benchmarks.scene import FALL_FRACTION, LOST_FRACTION, STEP_S, Past, prices, seed
from simulator.control import start_simulator

ROOT = Path(__file__).resolve().parent.parent
WARM_UP_TICKS = 25
"""Over a minute at 3 s: connections, caches and the first ledger are behind us then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value beside its aim; None where there is no aim."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met, None without one."""
        return None if self.aim is None else self.value <= self.aim


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where measuring takes place: a folder, a filled database in it, and when that ends."""

    folder: Path
    filled: Path
    ends_at: float

    def guard(self, name: str, url: str, *, is_full: bool) -> Path:
        """Make the state of one guard; gives its settings file.

        They are what a user would write: live, one venue, everything else by default.
        """
        home = self.folder / name
        (home / "state").mkdir(parents=True)
        if is_full:
            shutil.copy(self.filled, home / "state" / "killswitch.db")
        path = home / "config.yaml"
        path.write_text(
            "dry_run: false\nexchanges:\n  binance:\n    enabled: true\n"
            f"    simulator_url: {url}\n",
            encoding="utf-8",
        )
        return path


@dataclass(slots=True)
class Report:
    """Everything measured in one run."""

    figures: list[Figure] = field(default_factory=list)
    requests_per_tick: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str, **more: Any) -> None:
        """Add one figure."""
        self.figures.append(Figure(name=name, value=round(value, 3), unit=unit, **more))

    def add_spread(self, name: str, values: Sequence[float], *, aim: float | None = None) -> None:
        """Add median and 90th percentile of measured milliseconds."""
        note = f"{len(values)} ticks"
        self.add(f"{name}, median", statistics.median(values), "ms", aim=aim, note=note)
        self.add(f"{name}, p90", statistics.quantiles(values, n=10)[-1], "ms", note=note)


class Guard:
    """The client of one `guard_process`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **order: Any) -> dict[str, Any]:
        """Send one line and read the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        return await self.read()

    async def read(self) -> dict[str, Any]:
        """Read one line; raises RuntimeError when the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the guard's process ended; see what it wrote above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def run_guard(config: Path, *, starts_at: float) -> AsyncIterator[Guard]:
    """Run a guard process for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.guard_process",
        str(config),
        str(starts_at),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        guard = Guard(process)
        await guard.read()
        yield guard
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


def wiggle(number: int) -> float:
    """A loss near the scene's level, another one at every tick, so that no tick is a repetition."""
    return LOST_FRACTION + 0.0005 * ((number * 7) % 11 - 5) / 5


async def measure_quiet(report: Report, bench: Bench, *, ticks: int) -> None:
    """Tick in turn on the full and on the empty database."""
    costs: dict[str, list[float]] = {"full": [], "empty": []}
    before: Mapping[str, int] = {}
    async with start_simulator(seed()) as (control, url):
        await control.set_time(bench.ends_at + 1)
        full = bench.guard("full", url, is_full=True)
        empty = bench.guard("empty", url, is_full=False)
        async with (
            run_guard(full, starts_at=bench.ends_at + 1) as on_full,
            run_guard(empty, starts_at=bench.ends_at + 1) as on_empty,
        ):
            pair = (("full", on_full), ("empty", on_empty))
            for number in range(WARM_UP_TICKS + ticks):
                if number == WARM_UP_TICKS:
                    before = (await control.requests())["counts"]
                at = bench.ends_at + STEP_S * (number + 1)
                await control.set_prices(prices(wiggle(number)), at=at)
                for name, guard in pair if number % 2 else reversed(pair):
                    answer = await guard.ask(do="tick", at=at)
                    if number >= WARM_UP_TICKS:
                        costs[name].append(answer["cpu_ms"])
        after: Mapping[str, int] = (await control.requests())["counts"]
    report.add_spread("quiet tick, 72 h of history", costs["full"], aim=8.0)
    report.add_spread("quiet tick, empty database", costs["empty"])
    report.requests_per_tick = {
        endpoint: round((count - before.get(endpoint, 0)) / (2 * ticks), 3)
        for endpoint, count in sorted(after.items())
        if count > before.get(endpoint, 0)
    }


async def measure_fire(bench: Bench, name: str) -> dict[str, float]:
    """Let the shorts fall until stage 2 fires over the 1 h window; gives that tick's figures."""
    async with start_simulator(seed()) as (control, url):
        await control.set_time(bench.ends_at + 1)
        config = bench.guard(name, url, is_full=True)
        async with run_guard(config, starts_at=bench.ends_at + 1) as guard:
            for number in range(1, 8):
                fallen = 0.0 if number < 4 else FALL_FRACTION
                at = bench.ends_at + STEP_S * number
                await control.set_prices(prices(LOST_FRACTION + fallen), at=at)
                answer = await guard.ask(do="tick", at=at)
                if answer["answered_ms"] is not None:
                    return {key: answer[key] for key in ("left_ms", "answered_ms", "cpu_ms")}
    raise RuntimeError("stage 2 did not fire: the scene and the thresholds no longer fit")


async def measure_fires(report: Report, bench: Bench, *, fires: int) -> None:
    """Repeat the firing tick on fresh copies of the same state."""
    seen: list[dict[str, float]] = []
    for number in range(fires):
        name = f"fire-{number}"
        seen.append(await measure_fire(bench, name))
        shutil.rmtree(bench.folder / name)
        progress(f"stage 2 fired {number + 1} of {fires} times")
    rows = (
        ("left_ms", "stage 2 fires, until the first orders leave", None),
        ("answered_ms", "stage 2 fires, until they are answered", 60.0),
        ("cpu_ms", "stage 2 fires, the whole tick with its second round", None),
    )
    for key, name, aim in rows:
        report.add_spread(name, [answer[key] for answer in seen], aim=aim)


async def measure_start(report: Report, bench: Bench) -> None:
    """Time from the command to the first reading in the lock file."""
    for what, is_full in (("empty database", False), ("72 h of history", True)):
        times: list[float] = []
        for number in range(3):
            name = f"start-{is_full}-{number}"
            async with start_simulator(seed()) as (_, url):
                config = bench.guard(name, url, is_full=is_full)
                times.append(await startup.time_to_first_reading(config))
            shutil.rmtree(bench.folder / name)
        report.add(f"start to first reading, {what}", statistics.median(times), "s", aim=3.0)


def progress(what: str) -> None:
    """Tell on a terminal how far it is; a pipe stays clean."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for the run; the whole of it goes away."""
    with tempfile.TemporaryDirectory(prefix="killswitch-benchmark-") as folder:
        yield Path(folder)


async def measure(options: argparse.Namespace) -> Report:
    """Measure everything that was asked for."""
    report = Report()
    with workplace() as folder:
        progress("filling a database with three days of readings")
        past = Past(ends_at=time.time(), step_s=60.0 if options.quick else STEP_S)
        bench = Bench(folder=folder, filled=folder / "filled.db", ends_at=past.ends_at)
        report.add("readings in the full database", past.fill(bench.filled), "")
        progress("starting up")
        helped = startup.time_help()
        report.add("--help, wall time", helped.wall_s, "s", aim=0.5)
        report.add("--help imports ccxt", float(helped.imports_ccxt), "", aim=0.0)
        await measure_start(report, bench)
        progress("quiet ticks")
        await measure_quiet(report, bench, ticks=options.ticks)
        await measure_fires(report, bench, fires=options.fires)
        progress("")
    return report


def show(report: Report) -> None:
    """Print the figures beside their aims."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=110)
    table = Table(title="what the guard costs", title_justify="left")
    table.add_column("measured")
    for name in ("value", "aim"):
        table.add_column(name, justify="right")
    table.add_column("")
    for figure in report.figures:
        verdict = {None: "", True: "met", False: "[bold red]MISSED[/bold red]"}[figure.is_met]
        table.add_row(
            figure.name + (f" ({figure.note})" if figure.note else ""),
            f"{figure.value:,.10g} {figure.unit}".strip(),
            "" if figure.aim is None else f"{figure.aim:g} {figure.unit}".strip(),
            verdict,
        )
    console.print(table)
    console.print("requests per quiet tick:")
    for endpoint, count in report.requests_per_tick.items():
        console.print(f"  {count:6.3f}  {endpoint}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when every aim is met, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.tick",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Exit code 0 when every aim is met, 1 otherwise.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--ticks", type=int, default=300, help="quiet ticks per database (300)")
    parser.add_argument("--fires", type=int, default=10, help="ticks that fire stage 2 (10)")
    parser.add_argument(
        "--quick", action="store_true", help="a reading a minute instead of every 3 s in the past"
    )
    options = parser.parse_args(arguments)
    report = asyncio.run(measure(options))
    if options.json:
        figures = [asdict(figure) | {"is_met": figure.is_met} for figure in report.figures]
        print(json.dumps({"figures": figures, "requests_per_tick": report.requests_per_tick}))
    else:
        show(report)
    return 1 if any(figure.is_met is False for figure in report.figures) else 0


if __name__ == "__main__":
    sys.exit(main())
