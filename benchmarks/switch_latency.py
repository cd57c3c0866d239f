"""How soon after `SET trading_switch kill` the first close order is at the venue.

    python3 -m benchmarks.switch_latency [--json] [--runs 20]

The guard is a process of its own as in production, the Redis a real server with a password, the
exchange another process that answers every request 100 ms late. Time runs from the moment in which
the command is handed to Redis to the arrival of the first closing order at the exchange. The
command comes at another point of the watch's quarter of a second in each run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from errors import StoreMissing
from simulator.control import ControlClient, start_simulator
from store.views import read_status
from switch_watch import LOOK_EVERY_S
from tests.redis_server import HOST, PASSWORD, free_port, redis_server
from tests.simulated import KEY, SECRET, seed

ROOT = Path(__file__).resolve().parent.parent
RUNS = 20
LATENCY_S = 0.1
AIM_MEDIAN_S = 0.5
AIM_MAXIMUM_S = 1.0
WITHIN_S = 60.0
ASK_EVERY_S = 0.05
ORDERS = "/fapi/v1/order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Seconds from SET to the first close order at the venue, one figure for each run."""

    times_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The figure in the middle."""
        return statistics.median(self.times_s)

    @property
    def maximum_s(self) -> float:
        """The longest of all."""
        return max(self.times_s)

    def missed(self) -> list[str]:
        """The aims that are not met."""
        aims = {
            f"median within {AIM_MEDIAN_S:g} s": self.median_s <= AIM_MEDIAN_S,
            f"maximum within {AIM_MAXIMUM_S:g} s": self.maximum_s <= AIM_MAXIMUM_S,
        }
        return [name for name, is_met in aims.items() if not is_met]


async def set_switch(port: int, state: str) -> float:
    """Hand the command to Redis; returns when (UTC seconds)."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"AUTH {PASSWORD}\r\n".encode())
        if await reader.readline() != b"+OK\r\n":
            raise RuntimeError("Redis refused the login")
        at = time.time()
        writer.write(f"SET trading_switch {state}\r\n".encode())
        if await reader.readline() != b"+OK\r\n":
            raise RuntimeError("Redis refused the command")
    finally:
        writer.close()
    return at


@asynccontextmanager
async def guard(folder: Path, *, url: str, redis_port: int) -> AsyncIterator[None]:
    """Run a guard of the account for the length of the block, from its first trusted reading on."""
    config = folder / "config.yaml"
    config.write_text(
        f"dry_run: false\nexchanges:\n  binance:\n    enabled: true\n    simulator_url: {url}\n",
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "killswitch.py",
        "--config",
        str(config),
        cwd=ROOT,
        env={
            **os.environ,
            "BINANCE_API_KEY": KEY,
            "BINANCE_API_SECRET": SECRET,
            "REDIS_HOST": HOST,
            "REDIS_PORT": str(redis_port),
            "REDIS_PASSWORD": PASSWORD,
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        gives_up_at = time.monotonic() + WITHIN_S
        while not has_read(folder / "state" / "killswitch.db"):
            if process.returncode is not None or time.monotonic() > gives_up_at:
                raise RuntimeError("the guard gave no reading")
            await asyncio.sleep(ASK_EVERY_S)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def has_read(database: Path) -> bool:
    """Whether the guard has trusted a reading."""
    if not database.exists():
        return False
    try:
        scopes = read_status(database, dry_run=False).scopes
    except StoreMissing:
        return False
    return any(scope.trusted_at is not None for scope in scopes)


async def first_close_at(control: ControlClient) -> float:
    """Wait for the first closing order; returns when it arrived (UTC seconds)."""
    gives_up_at = time.monotonic() + WITHIN_S
    while time.monotonic() < gives_up_at:
        for request in (await control.requests())["requests"]:
            if request["method"] == "POST" and request["path"].endswith(ORDERS):
                return float(request["at"])
        await asyncio.sleep(ASK_EVERY_S)
    raise RuntimeError("nothing was closed")


async def run_once(folder: Path, *, redis_port: int, offset_s: float) -> float:
    """Kill one guard's account; returns how long the first close took."""
    await set_switch(redis_port, "running")
    async with start_simulator(seed(), realtime=True) as (control, url):
        await control.add_fault("delay", seconds=LATENCY_S)
        async with guard(folder, url=url, redis_port=redis_port):
            await asyncio.sleep(1.0 + offset_s)
            set_at = await set_switch(redis_port, "kill")
            return await first_close_at(control) - set_at


async def measure(runs: int) -> Result:
    """Measure so many runs, each with a guard and an exchange of its own."""
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="switch-") as home:
        async with redis_server(Path(home), port=free_port()) as redis:
            for number in range(runs):
                progress(f"run {number + 1} of {runs}")
                folder = Path(home) / f"run-{number}"
                folder.mkdir()
                offset_s = LOOK_EVERY_S * number / runs
                took_s = await run_once(folder, redis_port=redis.port, offset_s=offset_s)
                times.append(took_s)
    progress("")
    return Result(times_s=tuple(times))


def progress(text: str) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def show(result: Result) -> None:
    """Print the figures beside their aims."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=110)
    table = Table(
        title=f"SET to the first close at the venue, seconds, {len(result.times_s)} runs, "
        f"{LATENCY_S * 1000:.0f} ms",
        title_justify="left",
    )
    for name in ("least", "median", "maximum"):
        table.add_column(name, justify="right")
    table.add_row(f"{min(result.times_s):.3f}", f"{result.median_s:.3f}", f"{result.maximum_s:.3f}")
    console.print(table)
    for name in result.missed():
        console.print(f"[bold red]MISSED[/bold red]: {name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when both aims are met, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.switch_latency",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Takes some minutes. Exit code 0 when both aims are met, 1 otherwise.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how often it is done ({RUNS})")
    options = parser.parse_args(arguments)
    result = asyncio.run(measure(max(1, options.runs)))
    if options.json:
        extra = {"latency_s": LATENCY_S, "missed": result.missed()}
        told = {"median_s": result.median_s, "maximum_s": result.maximum_s}
        print(json.dumps({**asdict(result), **told, **extra}))
    else:
        show(result)
    return 1 if result.missed() else 0


if __name__ == "__main__":
    sys.exit(main())
