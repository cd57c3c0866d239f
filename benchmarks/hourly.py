"""What a soak measures of a guard, hour by virtual hour: its CPU, memory, files and words.

Owns the measuring and judges nothing. What the exchange, the market and the measuring itself cost
is taken out: they run in the same process, and only the guard is on trial.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aging import MINUTE_S, RAW_S
from benchmarks.bad_day import BadDay
from decision import Decision
from memory import History
from model import ScopeId, Trust
from store.schema import open_for_reading
from tests.memory_venue import SCOPE, MemoryVenue
from tests.virtual_house import EPOCH, Guard, House

PAGE = os.sysconf("SC_PAGE_SIZE")
MEGA = 1024 * 1024

COUNTS = {
    "readings": "SELECT count(*) FROM snapshots",
    "rows": "SELECT count(*) FROM position_snapshots",
    "actions": "SELECT count(*) FROM actions",
}
OVERDUE = f"""
SELECT count(*) - count(DISTINCT scope || CAST(ts / {MINUTE_S} AS INTEGER)) FROM snapshots
WHERE ts < (SELECT max(ts) FROM snapshots) - ?"""
"""Readings beyond the one a minute that stays of what is older than a day."""
THINNING_TAKES_S = 3600.0
"""Small steps once a second: what is due has gone an hour later."""


class Meter:
    """CPU time of this process, with the part that is not the guard's taken out."""

    def __init__(self) -> None:
        self.collecting_s = 0.0
        self.longest_collection_s = 0.0
        self._foreign_s = 0.0
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
            self._foreign_s += time.process_time() - began
            self._is_aside = False

    def own_s(self) -> float:
        """CPU seconds of the guard so far."""
        return time.process_time() - self._foreign_s

    def see_collection(self, phase: str, _info: dict[str, int]) -> None:
        """Take note of a run of the garbage collector (`gc.callbacks`)."""
        if phase == "start":
            self._collection_began = time.process_time()
            return
        took_s = time.process_time() - self._collection_began
        self.collecting_s += took_s
        self.longest_collection_s = max(self.longest_collection_s, took_s)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One virtual hour: megabytes, milliseconds of CPU, counts.

    `overdue` are rows that the retention rule should have deleted by now. `worst_...` are
    drawdowns as multiples of their threshold, in truth and as the guard saw them.
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
    overdue: int
    ticks: int
    tick_ms: float
    p90_ms: float
    most_ms: float
    cpu_s: float
    gc_ms: float
    longest_gc_ms: float
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

    def __init__(self, house: House, day: BadDay, meter: Meter, *, log_path: Path | None) -> None:
        self.hours: list[Hour] = []
        self.events: Counter[str] = Counter()
        self.log: Counter[str] = Counter()
        self.tally = Tally()
        self._house = house
        self._day = day
        self._meter = meter
        self._log_path = log_path
        self._log_read = 0
        self._trusted_at = EPOCH
        self._wall_began = time.monotonic()
        self._cpu_began = meter.own_s()
        self._closes = 0

    def see(self, decision: Decision) -> None:
        """Take note of a decision."""
        now = self._house.clock.now()
        tally = self.tally
        tally.opened += len(decision.opened)
        for verdict in decision.verdicts:
            tally.trust[verdict.trust] += 1
            seen = max((d.severity for d in verdict.drawdowns), default=0.0)
            tally.worst_seen = max(tally.worst_seen, seen)
            if verdict.trust is Trust.TRUSTED:
                tally.longest_dark_s = max(tally.longest_dark_s, now - self._trusted_at)
                self._trusted_at = now
        for entry in decision.records.audits:
            tally.events[entry.event] += 1

    def measure(self, guard: Guard) -> None:
        """Time every tick of the guard."""
        tick = guard.guardian.tick

        async def measured(scope: ScopeId) -> None:
            began = self._meter.own_s()
            await tick(scope)
            self.tally.tick_s.append(self._meter.own_s() - began)

        guard.guardian.tick = measured  # type: ignore[method-assign]

    def read_out(self, guard: Guard) -> Hour:
        """Put an hour together and begin the next."""
        tally, meter, house = self.tally, self._meter, self._house
        closes = self._day.sent
        told = self._read_log()
        history = guard.guardian.memory.scope(SCOPE).history
        times = sorted(1000 * taken for taken in tally.tick_s) or [0.0, 0.0]
        log_file = house.db_path.with_name(house.db_path.name + "-wal")
        own_s = meter.own_s()
        hour = Hour(
            hour=len(self.hours) + 1,
            wall_s=round(time.monotonic() - self._wall_began, 1),
            rss_mb=round(rss_bytes() / MEGA, 2),
            history_mb=round(history_bytes(history) / MEGA, 2),
            traced_mb=round(tracemalloc.get_traced_memory()[0] / MEGA, 2),
            points=sum(len(chunk.points) for chunk in history.chunks),
            fds=count_descriptors(),
            db_mb=round(house.db_path.stat().st_size / MEGA, 2),
            wal_mb=round(log_file.stat().st_size / MEGA, 2) if log_file.exists() else 0.0,
            **count_rows(house.db_path),
            ticks=len(tally.tick_s),
            tick_ms=round(statistics.median(times), 3),
            p90_ms=round(statistics.quantiles(times, n=10)[-1], 3),
            most_ms=round(times[-1], 1),
            cpu_s=round(own_s - self._cpu_began, 2),
            gc_ms=round(1000 * meter.collecting_s, 1),
            longest_gc_ms=round(1000 * meter.longest_collection_s, 1),
            trusted=tally.trust[Trust.TRUSTED],
            suspect=tally.trust[Trust.SUSPECT],
            dark=tally.trust[Trust.UNAVAILABLE],
            longest_dark_s=round(tally.longest_dark_s, 1),
            worst_true=round(self._day.worst, 3),
            worst_seen=round(tally.worst_seen, 3),
            triggers=tally.opened,
            closes=closes - self._closes,
            alerts=tally.events["blind"],
            blind_locks=tally.events["blind_lock_set"],
            stage=int(guard.book.stage),
            log_lines=told.total(),
            audits=tally.events.total(),
        )
        self.hours.append(hour)
        self.events.update(tally.events)
        self.log.update(told)
        self.tally = Tally()
        self._wall_began, self._cpu_began, self._closes = time.monotonic(), own_s, closes
        meter.collecting_s = meter.longest_collection_s = self._day.worst = 0.0
        return hour

    def _read_log(self) -> Counter[str]:
        """The events of the log since the last look."""
        if self._log_path is None:
            return Counter()
        with self._log_path.open("rb") as log:
            log.seek(self._log_read)
            lines = log.readlines()
            self._log_read = log.tell()
        return Counter(json.loads(line)["event"] for line in lines)


def rss_bytes() -> int:
    """Memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def count_descriptors() -> int:
    """Open file descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def history_bytes(history: History) -> int:
    """Memory of the points of a history; what neighbours share counts once."""
    total = 0
    before: tuple[object, ...] = ()
    for point in history.points():
        total += sys.getsizeof(point) + 4 * sys.getsizeof(0.0)
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
    """Rows of the tables that grow, and of readings that should have gone."""
    with closing(open_for_reading(path)) as connection:
        counted = {name: int(connection.execute(q).fetchone()[0]) for name, q in COUNTS.items()}
        old = RAW_S + THINNING_TAKES_S
        return counted | {"overdue": int(connection.execute(OVERDUE, (old,)).fetchone()[0])}
