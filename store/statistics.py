"""How large the database is, what it keeps of which age, and what is still to be thinned.

Owns the questions of `db stats`. Reads only, also while the guard writes; counting walks whole
tables and may take seconds in a file of gigabytes, during which nobody waits for it.
"""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aging import MINUTE_S, RAW_S, start_of
from store.retention import CLOCK, DAY_S, EQUITY_MINUTES_S, HOUR_S, POSITION_MINUTES_S
from store.schema import SCHEMA_VERSION, open_for_reading, strictly, table_names

FAULTS_SHOWN = 5

_TIMES = ("ts", "opened_ts", "created_ts", "since_ts")
"""The columns that say of when a row is; a table without any has one row for each scope or name."""

_NEWEST_POINTS = "SELECT scope, MAX(ts) FROM snapshots WHERE nav IS NOT NULL GROUP BY scope"

_READINGS = """
SELECT COUNT(*), COUNT(DISTINCT CAST(ts / ?4 AS INTEGER)) FROM snapshots
WHERE scope = ?1 AND ts >= ?2 AND ts < ?3"""

_POSITIONS = """
SELECT COALESCE(SUM(rows), 0), COALESCE(SUM(rows * 1.0 / readings), 0)
FROM (SELECT COUNT(*) AS rows, COUNT(DISTINCT ts) AS readings FROM position_snapshots
    WHERE scope = ?1 AND ts >= ?2 AND ts < ?3 AND mark_price IS NOT NULL
    GROUP BY CAST(ts / ?4 AS INTEGER))"""

_OLDEST_RAW = "SELECT MIN(ts) FROM snapshots WHERE scope = ? AND ts >= ?"
_CARRIERS = "SELECT COUNT(*) FROM position_snapshots WHERE mark_price IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatistics:
    """One table; `oldest` and `newest` are UTC seconds, None where rows have no time."""

    name: str
    rows: int
    oldest: float | None
    newest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Rows by the age from which on they are thinned, and how many thinning has yet to delete."""

    raw: int = 0
    minute: int = 0
    hour: int = 0
    due: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(
            raw=self.raw + other.raw,
            minute=self.minute + other.minute,
            hour=self.hour + other.hour,
            due=self.due + other.due,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """Everything `db stats` shows.

    `free_bytes` of the file are waiting for new rows. `faults` is what SQLite's check found.
    `closed_positions` are rows that carry what a position made that is no longer held. A day brings
    `rows_a_day`; thinned, the file settles near `settled_bytes`: all three None before there are
    two readings to tell from. `behind_s` is how much of the past thinning has to make good.
    """

    path: Path
    file_bytes: int
    log_bytes: int
    free_bytes: int
    version: int
    faults: tuple[str, ...]
    tables: tuple[TableStatistics, ...]
    readings: Kept
    positions: Kept
    closed_positions: int
    rows_a_day: float | None
    bytes_a_day: float | None
    settled_bytes: float | None
    behind_s: float


def read_statistics(path: Path) -> StoreStatistics:
    """Count what there is; raises as `store.views.read_status`."""
    with closing(open_for_reading(path)) as connection, strictly(f"reading {path}"):
        tables = tuple(_table(connection, name) for name in sorted(table_names()))
        page_bytes = _number(connection, "PRAGMA page_size")
        free_bytes = page_bytes * _number(connection, "PRAGMA freelist_count")
        file_bytes = page_bytes * _number(connection, "PRAGMA page_count")
        newest = connection.execute(_NEWEST_POINTS).fetchall()
        readings = sum((_readings(connection, *scope) for scope in newest), Kept())
        positions = sum((_positions(connection, *scope) for scope in newest), Kept())
        row_bytes = (file_bytes - free_bytes) / max(1, sum(table.rows for table in tables))
        grown = [_growth(connection, *scope) for scope in newest]
        has_growth = bool(grown) and all(rows > 0 for rows, _ in grown)
        log = path.with_name(f"{path.name}-wal")
        return StoreStatistics(
            path=path,
            file_bytes=path.stat().st_size,
            log_bytes=log.stat().st_size if log.exists() else 0,
            free_bytes=free_bytes,
            version=SCHEMA_VERSION,
            faults=_faults(connection),
            tables=tables,
            readings=readings,
            positions=positions,
            closed_positions=_number(connection, _CARRIERS),
            rows_a_day=math.fsum(rows for rows, _ in grown) if has_growth else None,
            bytes_a_day=math.fsum(rows for rows, _ in grown) * row_bytes if has_growth else None,
            settled_bytes=math.fsum(rows for _, rows in grown) * row_bytes if has_growth else None,
            behind_s=_behind(connection, max((at for _, at in newest), default=0.0)),
        )


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _table(connection: sqlite3.Connection, name: str) -> TableStatistics:
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
    time = next((column for column in _TIMES if column in columns), "NULL")
    counted = f"SELECT COUNT(*), MIN({time}), MAX({time}) FROM {name}"  # noqa: S608 - our own names
    rows, oldest, newest = connection.execute(counted).fetchone()
    return TableStatistics(name=name, rows=rows, oldest=oldest, newest=newest)


def _faults(connection: sqlite3.Connection) -> tuple[str, ...]:
    found = connection.execute(f"PRAGMA quick_check({FAULTS_SHOWN})").fetchall()
    return tuple(text for (text,) in found if text != "ok")


def _readings(connection: sqlite3.Connection, scope: str, newest: float) -> Kept:
    raw_from = start_of(newest - RAW_S, MINUTE_S)
    minute_from = start_of(newest - EQUITY_MINUTES_S, HOUR_S)
    raw, _ = connection.execute(_READINGS, (scope, raw_from, math.inf, MINUTE_S)).fetchone()
    minute, minutes = connection.execute(
        _READINGS, (scope, minute_from, raw_from, MINUTE_S)
    ).fetchone()
    hour, hours = connection.execute(_READINGS, (scope, 0.0, minute_from, HOUR_S)).fetchone()
    return Kept(raw=raw, minute=minute, hour=hour, due=minute - minutes + hour - hours)


def _positions(connection: sqlite3.Connection, scope: str, newest: float) -> Kept:
    raw_from = start_of(newest - RAW_S, MINUTE_S)
    minute_from = start_of(newest - POSITION_MINUTES_S, HOUR_S)
    hour_from = start_of(newest - EQUITY_MINUTES_S, HOUR_S)
    raw, _ = connection.execute(_POSITIONS, (scope, raw_from, math.inf, MINUTE_S)).fetchone()
    minute, minutes = connection.execute(
        _POSITIONS, (scope, minute_from, raw_from, MINUTE_S)
    ).fetchone()
    hour, hours = connection.execute(_POSITIONS, (scope, hour_from, minute_from, HOUR_S)).fetchone()
    over, _ = connection.execute(_POSITIONS, (scope, 0.0, hour_from, HOUR_S)).fetchone()
    due = minute - minutes + hour - hours + over
    return Kept(raw=raw, minute=minute, hour=hour + over, due=round(due))


def _growth(connection: sqlite3.Connection, scope: str, newest: float) -> tuple[float, float]:
    """Rows that a day of this scope brings, and how many stay of 90 days of it; 0 when unknown."""
    raw_from = start_of(newest - RAW_S, MINUTE_S)
    first = connection.execute(_OLDEST_RAW, (scope, raw_from)).fetchone()[0]
    span_s = newest - first
    if span_s < MINUTE_S:
        return 0.0, 0.0
    readings, _ = connection.execute(_READINGS, (scope, first, newest, MINUTE_S)).fetchone()
    positions, _ = connection.execute(_POSITIONS, (scope, first, newest, MINUTE_S)).fetchone()
    a_day = readings * DAY_S / span_s
    held = positions / readings
    minutes_a_day = min(a_day, DAY_S / MINUTE_S)
    stays = (
        a_day * (1 + held)
        + minutes_a_day * (EQUITY_MINUTES_S - DAY_S) / DAY_S
        + minutes_a_day * held * (POSITION_MINUTES_S - DAY_S) / DAY_S
        + held * (EQUITY_MINUTES_S - POSITION_MINUTES_S) / HOUR_S
    )
    return a_day * (1 + held), stays


def _behind(connection: sqlite3.Connection, newest: float) -> float:
    """How far the file's own clock is behind its newest reading, in seconds."""
    found = connection.execute("SELECT value FROM store_facts WHERE name = ?", (CLOCK,)).fetchone()
    return 0.0 if found is None else max(0.0, newest - float(found[0]))
