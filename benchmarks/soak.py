"""Whether the guard stays what it is: a day or more at a venue that fails a fifth of all requests.

    python3 -m benchmarks.soak [--hours 24] [--seed 1] [--positions 20] [--fail 0.2]
                               [--crash-at HOUR] [--tracemalloc] [--json]

Time is virtual, everything else of the guard is real: decision, executor, SQLite and lock file on
disk. Only the exchange is in memory. What the exchange and the market cost is measured apart and
not counted. One line an hour tells how it goes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from benchmarks.bad_day import BadDay, FailingVenue, furnish
from decision import Decision
from memory import History
from model import ScopeId, Trust
from store.schema import open_for_reading
from tests.memory_venue import KEY, SCOPE, MemoryVenue
from tests.virtual_house import EPOCH, Guard, House, play

HOUR_S = 3600.0
PAGE = os.sysconf("SC_PAGE_SIZE")
MEGA = 1024 * 1024
FULL_HISTORY_H = 49
"""From here on the history of 48 h replaces as much as it takes in."""
MOST_SLOWDOWN = 1.3
MOST_GROWTH_MB = 8.0
"""What a process may gain beside its history: allocators do not give everything back."""
CRASH_WATCHED_S = 1200.0


# --- measuring --------------------------------------------------------------------------------


class Meter:
    """CPU time of this process, with the part that is not the guard's taken out."""

    def __init__(self) -> None:
        self.foreign_s = 0.0
        self.collecting_s = 0.0
        self.collections = 0
        self._collection_began = 0.0
        self._is_aside = False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Work that is not the guard's; may be nested."""
        if self._is_aside:
            yield
            return
        self._is_aside = True
        began = time.process_time()
        try:
            yield
        finally:
            self.foreign_s += time.process_time() - began
            self._is_aside = False

    def own_s(self) -> float:
        """CPU seconds of the guard so far."""
        return time.process_time() - self.foreign_s

    def see_collection(self, phase: str, info: dict[str, int]) -> None:
        """Take note of a run of the garbage collector."""
        if phase == "start":
            self._collection_began = time.process_time()
            return
        self.collecting_s += time.process_time() - self._collection_began
        self.collections += info["generation"] == 2


class Aside:
    """A coroutine every step of which is aside."""

    def __init__(self, work: Coroutine[Any, Any, Any], meter: Meter) -> None:
        self._work = work
        self._meter = meter

    def __await__(self) -> Aside:
        return self

    def __iter__(self) -> Aside:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Go on with a value."""
        with self._meter.aside():
            return self._work.send(value)

    def throw(self, *fault: Any) -> Any:
        """Go on with a fault, a cancellation among them."""
        with self._meter.aside():
            return self._work.throw(*fault)

    def close(self) -> None:
        """Give it up."""
        self._work.close()


class MeteredVenue:
    """A venue whose work is not the guard's."""

    def __init__(self, venue: MemoryVenue, meter: Meter) -> None:
        self._venue = venue
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._venue, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def metered(*given: Any, **more: Any) -> Any:
            return await Aside(found(*given, **more), self._meter)

        return metered


class CountingLog:
    """Counts the lines that an operator gets, without those of `--verbose`."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()

    def debug(self, _event: str, **_details: Any) -> None:
        """Nothing."""

    def _write(self, event: str, **_details: Any) -> None:
        self.lines[event] += 1

    info = warning = error = critical = exception = _write


# --- what is seen -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One virtual hour: megabytes, milliseconds of CPU, counts.

    `worst_...` are drawdowns as multiples of their threshold, in truth and as the guard saw them.
    """

    hour: int
    wall_s: float
    rss_mb: float
    history_mb: float
    traced_mb: float
    points: int
    fds: int
    db_mb: float
    wal_mb: float
    readings: int
    rows: int
    actions: int
    ticks: int
    tick_ms: float
    p90_ms: float
    most_ms: float
    cpu_s: float
    gc_ms: float
    full_gcs: int
    trusted: int
    suspect: int
    dark: int
    longest_dark_s: float
    worst_true: float
    worst_seen: float
    triggers: int
    closes: int
    alerts: int
    blind_locks: int
    stage: int
    log_lines: int
    audits: int


@dataclass(slots=True)
class Tally:
    """What happened since it was last read out."""

    tick_s: list[float] = field(default_factory=list)
    trust: Counter[Trust] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    worst_seen: float = 0.0
    longest_dark_s: float = 0.0


class Watcher:
    """Looks at one guard from outside and puts hours together."""

    def __init__(self, house: House, meter: Meter) -> None:
        self.hours: list[Hour] = []
        self.events: Counter[str] = Counter()
        self.audits: list[tuple[float, str, str]] = []
        self.tally = Tally()
        self._house = house
        self._meter = meter
        self._trusted_at = EPOCH
        self._began = time.monotonic()
        self._cpu_began = meter.own_s()
        self._logged = 0
        self._closes = 0

    def see(self, decision: Decision) -> None:
        """Take note of a decision."""
        now = self._house.clock.now()
        tally = self.tally
        tally.opened += len(decision.opened)
        for verdict in decision.verdicts:
            tally.trust[verdict.trust] += 1
            if verdict.trust is Trust.TRUSTED:
                self._trusted_at = now
            seen = max((d.severity for d in verdict.drawdowns), default=0.0)
            tally.worst_seen = max(tally.worst_seen, seen)
        tally.longest_dark_s = max(tally.longest_dark_s, now - self._trusted_at)
        for entry in decision.records.audits:
            tally.events[entry.event] += 1
            self.audits.append((now - EPOCH, entry.event, entry.message))

    def measure(self, guard: Guard) -> None:
        """Time every tick of the guard."""
        tick = guard.guardian.tick

        async def measured(scope: ScopeId) -> None:
            began = self._meter.own_s()
            await tick(scope)
            self.tally.tick_s.append(self._meter.own_s() - began)

        guard.guardian.tick = measured  # type: ignore[method-assign]

    def read_out(self, guard: Guard, day: BadDay) -> Hour:
        """Put an hour together and begin the next."""
        tally, meter, house = self.tally, self._meter, self._house
        venue = cast("FailingVenue", house.venue)
        closes = sum(count for name, count in venue.asked.items() if name.startswith("submit"))
        logged = cast("CountingLog", house.log).lines.total()
        history = guard.guardian.memory.scope(SCOPE).history
        times = sorted(1000 * taken for taken in tally.tick_s) or [0.0, 0.0]
        wal = house.db_path.with_name(house.db_path.name + "-wal")
        own_s = meter.own_s()
        hour = Hour(
            hour=len(self.hours) + 1,
            wall_s=round(time.monotonic() - self._began, 1),
            rss_mb=round(rss_bytes() / MEGA, 2),
            history_mb=round(history_bytes(history) / MEGA, 2),
            traced_mb=round(tracemalloc.get_traced_memory()[0] / MEGA, 2),
            points=sum(len(chunk.points) for chunk in history.chunks),
            fds=len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208 - the list holds itself open
            db_mb=round(house.db_path.stat().st_size / MEGA, 2),
            wal_mb=round(wal.stat().st_size / MEGA, 2) if wal.exists() else 0.0,
            **count_rows(house.db_path),
            ticks=len(times),
            tick_ms=round(statistics.median(times), 3),
            p90_ms=round(statistics.quantiles(times, n=10)[-1], 3),
            most_ms=round(times[-1], 1),
            cpu_s=round(own_s - self._cpu_began, 2),
            gc_ms=round(1000 * meter.collecting_s, 1),
            full_gcs=meter.collections,
            trusted=tally.trust[Trust.TRUSTED],
            suspect=tally.trust[Trust.SUSPECT],
            dark=tally.trust[Trust.UNAVAILABLE],
            longest_dark_s=round(tally.longest_dark_s, 1),
            worst_true=round(day.worst, 3),
            worst_seen=round(tally.worst_seen, 3),
            triggers=tally.opened,
            closes=closes - self._closes,
            alerts=tally.events["blind"],
            blind_locks=tally.events["blind_lock_set"],
            stage=int(guard.book.stage),
            log_lines=logged - self._logged,
            audits=tally.events.total(),
        )
        self.hours.append(hour)
        self.events.update(tally.events)
        self.tally = Tally()
        self._began, self._cpu_began = time.monotonic(), own_s
        self._logged, self._closes = logged, closes
        meter.collecting_s, meter.collections, day.worst = 0.0, 0, 0.0
        return hour


def rss_bytes() -> int:
    """Memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def history_bytes(history: History) -> int:
    """Memory of the points; what neighbours share counts once."""
    total = 0
    before: tuple[object, ...] = ()
    for point in history.points():
        total += sys.getsizeof(point) + 3 * sys.getsizeof(0.0)
        if point.results is before:
            continue
        shared = {id(pair) for pair in before}
        total += sys.getsizeof(point.results)
        for pair in point.results:
            if id(pair) not in shared:
                total += sys.getsizeof(pair) + sys.getsizeof(0.0)
        before = point.results
    return total


def count_rows(path: Path) -> dict[str, int]:
    """Rows of the tables that grow."""
    tables = {"readings": "snapshots", "rows": "position_snapshots", "actions": "actions"}
    with closing(open_for_reading(path)) as connection:
        return {
            name: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for name, table in tables.items()
        }


# --- the run ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Something that must hold at the end."""

    text: str
    holds: bool
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """How the guard met the crash; seconds from the breach in truth, shares of equity."""

    first_close_s: float | None
    losing_side_flat_s: float | None
    settled_s: float | None
    stage: int
    lost_share: float
    closes_sent: int
    grown: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """All that a run showed."""

    hours: list[Hour] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    crash: Crash | None = None
    events: dict[str, int] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    audits: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)


async def soak(folder: Path, options: argparse.Namespace, tell: Callable[[Hour], None]) -> Report:
    """Run a guard for so many hours, then through the crash if one was asked for."""
    meter = Meter()
    house = furnish(folder, seed=options.seed, positions=options.positions, share=options.fail)
    log = CountingLog()
    house.log = cast("Any", log)
    house.others[SCOPE] = cast("Any", MeteredVenue(house.venue, meter))
    watcher = Watcher(house, meter)
    house.on_decision = watcher.see
    crash_at_s = HOUR_S * options.crash_at if options.crash_at is not None else float("inf")
    day = BadDay(
        house,
        seed=options.seed,
        positions=options.positions,
        crash_at_s=crash_at_s,
        aside=meter.aside,
    )
    gc.callbacks.append(meter.see_collection)
    report = Report()
    try:
        async with house.guard() as guard:
            watcher.measure(guard)
            world = asyncio.create_task(day.live())
            quiet_s = min(HOUR_S * options.hours, crash_at_s)
            while (left_s := quiet_s - (house.clock.now() - EPOCH)) > 0:
                await house.wait(min(left_s, HOUR_S - (house.clock.now() - EPOCH) % HOUR_S))
                with meter.aside():
                    tell(watcher.read_out(guard, day))
            if options.crash_at is not None:
                report.crash = await watch_crash(house, guard, day)
            else:
                report.claims += await quiet_claims(house, guard, day, watcher)
            world.cancel()
            with suppress(asyncio.CancelledError):
                await world
    finally:
        gc.callbacks.remove(meter.see_collection)
    venue = cast("FailingVenue", house.venue)
    report.hours, report.events = watcher.hours, dict(watcher.events)
    report.log, report.audits = dict(log.lines), watcher.audits
    report.asked, report.failed = dict(venue.asked), dict(venue.failed)
    report.claims[:0] = resource_claims(watcher.hours)
    if report.crash is not None:
        report.claims += crash_claims(report.crash)
    return report


async def quiet_claims(house: House, guard: Guard, day: BadDay, watcher: Watcher) -> list[Claim]:
    """What must hold after hours in which nothing happened but noise."""
    line = cast("FailingVenue", house.venue)
    line.share = 0.0
    await house.wait(2 * HOUR_S / 60)
    memory = guard.guardian.memory.scope(SCOPE)
    strays = [f for f in memory.flows if f.is_inferred and not f.is_cancelled]
    known = {flow.record_id for flow in memory.flows if flow.effective_at is not None}
    now = house.clock.now()
    missed = [
        record_id
        for record_id, at, _ in day.flows
        if now - 47 * HOUR_S < at < now - 300 and record_id not in known
    ]
    drift = memory.units / day.truth.units - 1
    triggers = sum(hour.triggers for hour in watcher.hours) + watcher.tally.opened
    closes = sum(count for name, count in line.asked.items() if name.startswith("submit"))
    is_locked = bool(house.lock()["locked"])
    return [
        Claim(text="no false trigger", holds=not triggers, seen=f"{triggers} incidents"),
        Claim(text="no order sent", holds=not closes, seen=f"{closes} sent"),
        Claim(text="no lock left behind", holds=not is_locked, seen=f"locked: {is_locked}"),
        Claim(
            text="every flow is booked, and nothing else",
            holds=not strays and not missed and abs(drift) < 0.02,
            seen=f"{len(day.flows)} flows, {len(strays)} that were none, {len(missed)} missed, "
            f"units off by {drift:+.2%}",
        ),
    ]


def resource_claims(hours: Sequence[Hour]) -> list[Claim]:
    """What must not grow. The first hour warms up; of the others the later must be as the first."""
    if len(hours) < 3:
        return []
    first, second, last = hours[0], hours[1], hours[-1]
    slowdown = last.tick_ms / first.tick_ms
    full = [hour for hour in hours if hour.hour >= FULL_HISTORY_H]
    # Beside the history while it fills, as a whole once it is full.
    base = full[0] if len(full) > 1 else second
    grown = last.rss_mb - base.rss_mb
    if len(full) < 2:
        grown -= last.history_mb - base.history_mb
    what = "with a full history" if len(full) > 1 else "beside the history"
    return [
        Claim(
            text=f"tick time of the last hour within {MOST_SLOWDOWN} of the first",
            holds=slowdown <= MOST_SLOWDOWN,
            seen=f"{last.tick_ms:.2f} ms, {slowdown:.2f} times {first.tick_ms:.2f} ms",
        ),
        Claim(
            text=f"memory flat {what}",
            holds=grown <= MOST_GROWTH_MB,
            seen=f"{grown:+.1f} MB in hours {base.hour} to {last.hour}",
        ),
        Claim(
            text="file descriptors flat",
            holds=last.fds <= second.fds,
            seen=f"{second.fds} in hour 2, {last.fds} in the last",
        ),
    ]


async def watch_crash(house: House, guard: Guard, day: BadDay) -> Crash:
    """Let the crash happen and take the times until the losing side is closed."""
    began = house.clock.now()
    before = day.equity / day.truth.units
    held = {symbol: house.exchange.amount(KEY, symbol) for symbol in day.held}
    losing = [symbol for symbol, amount in held.items() if amount < 0]
    first_close = flat = settled = None
    while settled is None and house.clock.now() - began < CRASH_WATCHED_S:
        await house.wait(0.25)
        now = house.clock.now()
        if first_close is None and house.fills():
            first_close = now
        if flat is None and not any(house.exchange.amount(KEY, symbol) for symbol in losing):
            flat = now
        incident = guard.book.incident
        if flat is not None and incident is not None and incident.status.value == "DONE":
            settled = now
    grown = tuple(
        str(entry["symbol"])
        for entry in house.fills()
        if abs(float(str(entry["position_after"]))) > abs(float(str(entry["position_before"])))
        or float(str(entry["position_after"])) * float(str(entry["position_before"])) < 0
    )
    breached = day.breached_at or began

    def since(at: float | None) -> float | None:
        return None if at is None else round(at - breached, 1)

    return Crash(
        first_close_s=since(first_close),
        losing_side_flat_s=since(flat),
        settled_s=since(settled),
        stage=int(guard.book.stage),
        lost_share=round(1 - day.equity / day.truth.units / before, 4),
        closes_sent=cast("FailingVenue", house.venue).asked["submit_close"],
        grown=grown,
    )


def crash_claims(crash: Crash) -> list[Claim]:
    """What must hold after a real loss."""
    return [
        Claim(
            text="the losing side is closed",
            holds=crash.losing_side_flat_s is not None,
            seen=f"first close {crash.first_close_s} s after the breach, flat after "
            f"{crash.losing_side_flat_s} s, confirmed after {crash.settled_s} s, "
            f"lost {crash.lost_share:.1%}",
        ),
        Claim(
            text="no close opened, added or turned a position",
            holds=not crash.grown,
            seen=f"{crash.closes_sent} closes sent",
        ),
    ]


# --- telling ----------------------------------------------------------------------------------

COLUMNS = (
    ("hour", "hour"), ("wall", "wall_s"), ("RSS MB", "rss_mb"), ("hist MB", "history_mb"),
    ("fds", "fds"), ("db MB", "db_mb"), ("WAL", "wal_mb"), ("readings", "readings"),
    ("rows", "rows"), ("ticks", "ticks"), ("tick ms", "tick_ms"), ("p90", "p90_ms"),
    ("max", "most_ms"), ("gc ms", "gc_ms"), ("ok", "trusted"), ("susp", "suspect"),
    ("dark", "dark"), ("dark s", "longest_dark_s"), ("true", "worst_true"),
    ("seen", "worst_seen"), ("trig", "triggers"), ("blind", "alerts"), ("locks", "blind_locks"),
    ("stage", "stage"), ("log", "log_lines"), ("audit", "audits"),
)  # fmt: skip


def show_hour(hour: Hour, *, stream: Any) -> None:
    """One line of the table, with its head every day."""
    if hour.hour % 24 == 1:
        print(" ".join(f"{title:>8}" for title, _ in COLUMNS), file=stream)
    values = (getattr(hour, name) for _, name in COLUMNS)
    print(" ".join(f"{value:>8}" for value in values), file=stream, flush=True)


def show(report: Report) -> None:
    """The verdict, and what the operator would have been told."""
    for claim in report.claims:
        print(f"{'holds' if claim.holds else 'BROKEN':7} {claim.text}: {claim.seen}")
    for name in ("events", "log", "asked", "failed"):
        counts = sorted(getattr(report, name).items(), key=lambda pair: -pair[1])
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and judge; 0 when every claim holds, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.soak",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Exit code 0 when everything held, 1 otherwise.",
    )
    parser.add_argument("--hours", type=float, default=24.0, help="virtual hours (24)")
    parser.add_argument("--seed", type=int, default=1, help="decides everything (1)")
    parser.add_argument("--positions", type=int, default=20, help="positions held (20)")
    parser.add_argument("--fail", type=float, default=0.2, help="share that fails (0.2)")
    parser.add_argument("--crash-at", type=float, metavar="HOUR", help="a real fall of 12 %%")
    parser.add_argument("--tracemalloc", action="store_true", help="trace memory; slow")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    stream = sys.stderr if options.json else sys.stdout
    if options.tracemalloc:
        tracemalloc.start()

    async def story() -> Report:
        with tempfile.TemporaryDirectory(prefix="killswitch-soak-") as folder:
            return await soak(Path(folder), options, lambda hour: show_hour(hour, stream=stream))

    report = play(story)
    if options.json:
        print(json.dumps(asdict(report) | {"is_fine": report.is_fine}))
    else:
        show(report)
    return 0 if report.is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
