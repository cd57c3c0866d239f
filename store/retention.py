"""What the file keeps of old readings, and the small steps in which the rest is deleted.

Owns behaviour.md section 13's retention of `snapshots` and `position_snapshots`: every row for a
day; then readings one a minute for 90 days and one an hour for ever, positions one a minute for 7
days and one an hour for 90 days. All other tables are kept whole. Refuses to know when there is
time for a step: `guardian` does.

Rules
- The row that stands for a minute or an hour is chosen as in memory (`aging`), and where memory
  reaches, memory has chosen already: no row goes that is a point of it, so nothing that a late flow
  re-scales is missing. Where no reading was trusted, the last doubt stands. A point that memory
  took back (a clock that was set moves points away) stands for nothing.
- What a row of a closed position made stands in rows without a mark price, which a load needs: of
  those that are older than memory the latest of each position stays, and none that forgets.
- Old is what is old against the newest trusted reading, and against a clock of the file's own that
  moves at most `SPEED` times as fast as the guard runs. A machine whose date is wrong by a year
  therefore deletes a day of history an hour, not a year at once.
- How far each scope has come is remembered, so that nothing is ever searched for.
- A step is one transaction of some hundred rows that does not wait for the disk, nor for a lock;
  it also empties the write-ahead log early, so that decisions seldom have to.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

from aging import HISTORY_S, MINUTE_S, RAW_S, standing_for, start_of
from memory import History, Point
from model import ScopeId, Trust
from store.schema import BUSY_TIMEOUT_MS, CHECKPOINT_PAGES, PRIMARY_CODE, transaction

HOUR_S = 3_600.0
DAY_S = 86_400.0
EQUITY_MINUTES_S = 90 * DAY_S
POSITION_MINUTES_S = 7 * DAY_S

SPEED = 24.0
"""The file's clock makes good a day for every hour that the guard runs."""

LONGEST_STEP_S = 60.0
"""Between two steps no more time has passed than this, whatever the wall clock says."""

STEP_ROWS = 500
"""A step ends with the reading at which it has deleted so many rows: some milliseconds."""

LOOK_ROWS = 400
"""Readings looked at in one step."""

CARRIER_ROWS = 2_000
"""Rows without a mark price looked at in one step: more than a venue has markets."""

PLACE_EVERY_S = 3_600.0
"""A place is written down with what was deleted before it, or when it has moved this far."""

EARLY_CHECKPOINT_PAGES = CHECKPOINT_PAGES // 5
"""Emptying the log waits for the disk: better here than in the decision that would find it full."""

PLACE = "kept/"
CLOCK = "kept/clock"
LOAD_PLACES = "SELECT name, value FROM store_facts WHERE name GLOB 'kept/*'"
KEEP_PLACE = "INSERT OR REPLACE INTO store_facts VALUES (?, ?)"

OLDEST_READING = "SELECT ts FROM snapshots WHERE scope = ? ORDER BY ts LIMIT 1"

LOOK_AT_READINGS = """
SELECT ts, trust, nav, may_be_peak FROM snapshots
WHERE scope = ? AND ts >= ? AND ts < ? ORDER BY ts LIMIT ?"""

LOOK_AT_CARRIERS = """
SELECT ts, symbol, side, result FROM position_snapshots
WHERE scope = ? AND ts >= ? AND ts < ? AND mark_price IS NULL ORDER BY ts LIMIT ?"""

LOOK_AHEAD = """
SELECT ts FROM snapshots
WHERE scope = ? AND ts > ? AND trust = 'TRUSTED' AND nav IS NULL ORDER BY ts LIMIT ?"""

DROP_READING = "DELETE FROM snapshots WHERE scope = ? AND ts = ?"
DROP_HELD = "DELETE FROM position_snapshots WHERE scope = ? AND ts = ? AND mark_price IS NOT NULL"
DROP_CARRIER = """
DELETE FROM position_snapshots WHERE scope = ? AND ts = ? AND symbol = ? AND side = ?"""

Row = tuple[float, str, float | None, int | None]
"""ts, trust, nav and may_be_peak of a reading."""

Carrier = tuple[float, str, str, float | None]
"""ts, symbol, side and result of a row without a mark price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """From which age on one reading stands for how long, and what of the others is deleted.

    Without `drops_readings` only their positions are; without `keeps_positions` those of the one
    that stands are, too.
    """

    name: str
    age_s: float
    span_s: float
    drops_readings: bool = True
    keeps_positions: bool = True


TIERS = (
    Tier(name="minute", age_s=RAW_S, span_s=MINUTE_S),
    Tier(name="positions_hour", age_s=POSITION_MINUTES_S, span_s=HOUR_S, drops_readings=False),
    Tier(name="hour", age_s=EQUITY_MINUTES_S, span_s=HOUR_S, keeps_positions=False),
)
"""In the order in which a row meets them; each goes no further than the one before it."""


@dataclass(frozen=True, slots=True)
class _Erasure:
    """One reading to delete, or only what it held."""

    ts: float
    drops_reading: bool


class Retention:
    """Thins the file through the connection that writes it, one small step at a time.

    Make it before the connection is told to give rows by name.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._places: dict[str, float] = {}
        self._written: dict[str, float] | None = None
        self._swept: dict[ScopeId, float] = {}
        self._stepped_at: float | None = None

    def step(self, *, now: float, histories: Mapping[ScopeId, History]) -> bool:
        """Do one step where anything is due; True while more may be.

        `histories` are the points of each scope that the file and memory hold alike. A scope
        without any is left as it is: nothing says how old its rows are.
        """
        newest = {scope: last.at for scope, h in histories.items() if (last := h.last) is not None}
        if not newest:
            return False
        clock = self._move_clock(now, newest)
        try:
            is_busy = any(
                self._step_of(scope, histories[scope], now=min(clock, at))
                for scope, at in newest.items()
            )
            if not is_busy and self._is_worth_writing():
                with self._quietly():
                    pass
        except sqlite3.Error as error:
            # What was rolled back is still to be done.
            self._written = None
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            if code & PRIMARY_CODE == sqlite3.SQLITE_BUSY:
                return False
            raise
        return is_busy

    def _move_clock(self, now: float, newest: Mapping[ScopeId, float]) -> float:
        """Let the file's clock follow the newest reading, at its own speed."""
        if self._written is None:
            found = self._cursor.execute(LOAD_PLACES).fetchall()
            self._written = {name: float(value) for name, value in found}
            self._places = dict(self._written)
        if CLOCK not in self._places:
            asked = (self._cursor.execute(OLDEST_READING, (scope,)).fetchone() for scope in newest)
            self._places[CLOCK] = min((row[0] for row in asked if row is not None), default=now)
        passed_s = 0.0 if self._stepped_at is None else now - self._stepped_at
        self._stepped_at = now
        moved = self._places[CLOCK] + SPEED * min(max(passed_s, 0.0), LONGEST_STEP_S)
        self._places[CLOCK] = min(moved, max(newest.values()))
        return self._places[CLOCK]

    def _step_of(self, scope: ScopeId, history: History, *, now: float) -> bool:
        """One step of one scope whose time is `now`; True when there was something to do."""
        first, last = history.chunks[0].points[0].at, history.chunks[-1].points[-1].at
        until = max(first, history.thinned_until)
        for tier in TIERS:
            aged = start_of(now - tier.age_s, tier.span_s)
            name = f"{PLACE}{tier.name}/{scope}"
            # Where the clock was set back to, readings are written once more.
            place = self._places[name] = min(self._places.get(name, 0.0), aged)
            until = start_of(min(until, aged), tier.span_s)
            if place < until and self._thin(scope, tier, name=name, until=until):
                return True
            until = self._places[name]
        aged = start_of(now - HISTORY_S, HOUR_S)
        return self._merge_carriers(scope, until=aged) or self._sweep_ahead(scope, last)

    def _thin(self, scope: ScopeId, tier: Tier, *, name: str, until: float) -> bool:
        """Thin the next minutes or hours before `until`; False when there were none."""
        asked = (scope, self._places[name], until, LOOK_ROWS)
        rows: list[Row] = self._cursor.execute(LOOK_AT_READINGS, asked).fetchall()
        spans = [
            (start, tuple(group))
            for start, group in groupby(rows, key=lambda row: start_of(row[0], tier.span_s))
        ]
        is_cut = len(rows) == LOOK_ROWS
        if is_cut and len(spans) > 1:
            until = spans.pop()[0]
        erasures = [erasure for _, span in spans for erasure in _erasures(span, tier)]
        if not erasures:
            self._places[name] = until
            return is_cut
        if is_cut and len(spans) == 1:
            until = spans[0][0]
        with self._quietly():
            self._places[name] = self._erase(scope, tier, erasures, until=until)
        return True

    def _erase(
        self, scope: ScopeId, tier: Tier, erasures: Sequence[_Erasure], *, until: float
    ) -> float:
        """Delete until the step is full; gives the time before which all is done."""
        deleted = 0
        for erasure in erasures:
            if deleted >= STEP_ROWS:
                return start_of(erasure.ts, tier.span_s)
            deleted += self._cursor.execute(DROP_HELD, (scope, erasure.ts)).rowcount
            if erasure.drops_reading:
                deleted += self._cursor.execute(DROP_READING, (scope, erasure.ts)).rowcount
        return until

    def _merge_carriers(self, scope: ScopeId, *, until: float) -> bool:
        """Keep of the rows without a mark price the latest of each position before `until`."""
        name = f"{PLACE}carriers/{scope}"
        place = self._places[name] = min(self._places.get(name, 0.0), until)
        rows = self._carriers(scope, place, until, CARRIER_ROWS) if place < until else []
        if not rows:
            self._places[name] = until
            return False
        latest = {row[1:3]: row[:3] for row in self._carriers(scope, 0.0, place, -1)}
        doomed: list[tuple[float, str, str]] = []
        for ts, symbol, side, result in rows:
            if (earlier := latest.pop((symbol, side), None)) is not None:
                doomed.append(earlier)
            if result is None:
                doomed.append((ts, symbol, side))
            else:
                latest[symbol, side] = (ts, symbol, side)
        with self._quietly():
            self._cursor.executemany(DROP_CARRIER, ((scope, *row) for row in doomed))
            self._places[name] = until if len(rows) < CARRIER_ROWS else rows[-1][0]
        return True

    def _carriers(self, scope: ScopeId, since: float, until: float, most: int) -> list[Carrier]:
        return self._cursor.execute(LOOK_AT_CARRIERS, (scope, since, until, most)).fetchall()

    def _sweep_ahead(self, scope: ScopeId, last: float) -> bool:
        """Delete the readings that a clock that was set back has left after the newest point."""
        if last < self._swept.get(scope, math.inf):
            gone = self._cursor.execute(LOOK_AHEAD, (scope, last, LOOK_ROWS)).fetchall()
            if gone:
                erasures = [_Erasure(ts, drops_reading=True) for (ts,) in gone]
                with self._quietly():
                    self._erase(scope, TIERS[0], erasures, until=last)
                return True
        self._swept[scope] = last
        return False

    def _is_worth_writing(self) -> bool:
        """Whether a restart would look at more than an hour once more."""
        known = self._written or {}
        return any(at - known.get(name, 0.0) >= PLACE_EVERY_S for name, at in self._places.items())

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """One transaction that waits for nobody and leaves the write-ahead log short.

        At its end it writes down how far everything has come.
        """
        self._connection.execute("PRAGMA busy_timeout = 0")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {EARLY_CHECKPOINT_PAGES}")
        try:
            with transaction(self._connection, full_sync=False):
                yield
                places = [(name, repr(at)) for name, at in self._places.items()]
                self._cursor.executemany(KEEP_PLACE, places)
            self._written = dict(self._places)
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")


def _erasures(rows: Sequence[Row], tier: Tier) -> Iterator[_Erasure]:
    """What goes of the readings of one minute or hour, oldest first."""
    stands = _standing(rows)
    for ts, *_ in rows:
        if ts != stands:
            yield _Erasure(ts, drops_reading=tier.drops_readings)
        elif not tier.keeps_positions:
            yield _Erasure(ts, drops_reading=False)


def _standing(rows: Sequence[Row]) -> float | None:
    """The time of the reading that stands for all; None where all were taken back."""
    points = [
        Point(at=ts, equity=0.0, nav=nav, may_be_peak=bool(may_be_peak))
        for ts, _, nav, may_be_peak in rows
        if nav is not None
    ]
    if points:
        return standing_for(points).at
    doubts = [ts for ts, trust, *_ in rows if trust != Trust.TRUSTED]
    return doubts[-1] if doubts else None
