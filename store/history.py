"""Readings on disk: what each scope was worth, what it held, and what each row has made.

Owns `snapshots`, `position_snapshots` and `row_results`. Refuses to judge a reading: it writes
what it is given and gives back the same history.

How a history is kept
- One row of `snapshots` per reading; those with a `nav` are the points of the history, and the
  history in memory is the truth about them. When a late flow re-scales earlier points, the
  committed memory holds other points than the file: every commit compares the two and rewrites
  what differs, so that `nav` on disk is never stale and needs no flows to be understood. Chunks of
  the history are shared values, so the comparison costs one look per 64 points.
- One row of `position_snapshots` per position or coin per reading, with the running `result` of
  that row. A row that is no longer held, or whose result changes afterwards (a late funding fee),
  leaves one more row without a mark price. The results at a point are therefore its own rows and,
  for everything else, the latest row without a mark price before it.
- Results of a committed point never change. When a clock that was set moves all points, those of
  the points that may still be a peak are written once more, where they lie now.

How a history is loaded
- Every point of the last `HISTORY_S`, with the results that memory holds too (`aging`): those of a
  minute that is over an hour old are the results of the point that stands for it. So a start reads
  the rows of some thousand readings, however many positions were watched how often.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aging import EXACT_S, HISTORY_S, MINUTE_S, standing_for, start_of
from memory import History, Point, ReadingRecord, RowResults, ScopeMemory
from model import Reading, RowKey, ScopeId, Side, Symbol, Trust
from store.codec import plain
from store.difference import difference, later, moved, peaks_to_come

Held = frozenset[tuple[Symbol, Side]]
Results = dict[RowKey, float]

_WRITE_READING = """
INSERT OR REPLACE INTO snapshots (scope, ts, asked_ts, judged_ts, trust, equity, reported_equity,
    wallet, unrealised_pnl, nav, unexplained, may_be_peak, position_mode, reasons)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_WRITE_POINT = """
INSERT INTO snapshots (scope, ts, trust, equity, nav, unexplained, may_be_peak)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, ts) DO UPDATE SET equity = excluded.equity, nav = excluded.nav,
    unexplained = excluded.unexplained, may_be_peak = excluded.may_be_peak"""

_COMPLETE_ROW = """
UPDATE position_snapshots SET result = ?
WHERE scope = ? AND ts = ? AND symbol = ? AND side = ?"""

_FORGET_CARRIERS = """
DELETE FROM position_snapshots WHERE scope = ? AND ts >= ? AND mark_price IS NULL"""
_FORGET_POINT = "UPDATE snapshots SET nav = NULL WHERE scope = ? AND ts = ?"

_WRITE_ROW = """
INSERT OR REPLACE INTO position_snapshots (scope, ts, symbol, side, quantity, entry_price,
    mark_price, unrealised_pnl, liquidation_price, margin, margin_mode, result)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_WRITE_RESULT = "INSERT OR REPLACE INTO row_results (scope, symbol, side, result) VALUES (?,?,?,?)"
_FORGET_RESULT = "DELETE FROM row_results WHERE scope = ? AND symbol = ? AND side = ?"

LOAD_POINTS = """
SELECT ts, equity, nav, unexplained, may_be_peak FROM snapshots
WHERE scope = ? AND ts >= ? AND nav IS NOT NULL ORDER BY ts"""

LOAD_ROWS = """
SELECT symbol, side, result FROM position_snapshots
WHERE scope = ? AND ts = ? AND mark_price IS NOT NULL"""

LOAD_NOT_HELD = """
SELECT ts, symbol, side, result FROM position_snapshots
WHERE scope = ? AND ts <= ? AND mark_price IS NULL ORDER BY ts"""

LOAD_RESULTS = "SELECT symbol, side, result FROM row_results WHERE scope = ?"

_GONE = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the file holds of one scope, so that a commit writes only what is new.

    `held` and `point_results` belong to its latest point.
    """

    history: History = field(default_factory=History)
    held: Held = frozenset()
    point_results: RowResults = ()
    results: RowResults = ()


class HistoryTables:
    """Reads and writes the histories of all scopes through one cursor of plain tuples.

    Writing happens inside the caller's transaction; afterwards the caller says how it ended, with
    `keep` or `forget`, because what was rolled back is not in the file.
    """

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._known: dict[ScopeId, _Known] = {}
        self._staged: dict[ScopeId, _Known] = {}

    @property
    def committed(self) -> Mapping[ScopeId, History]:
        """The points of each scope as the file holds them."""
        return {scope: known.history for scope, known in self._known.items()}

    def keep(self) -> None:
        """The transaction was committed."""
        self._known.update(self._staged)
        self._staged.clear()

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._staged.clear()

    def write(self, readings: tuple[ReadingRecord, ...], scopes: tuple[ScopeMemory, ...]) -> None:
        """Write judged readings, and bring histories and results to what `scopes` remember."""
        memories = {memory.scope: memory for memory in scopes}
        for scope in sorted({record.reading.scope for record in readings} | memories.keys()):
            own = tuple(record for record in readings if record.reading.scope == scope)
            self._write_scope(scope, own, memories.get(scope))

    def _write_scope(
        self, scope: ScopeId, readings: tuple[ReadingRecord, ...], memory: ScopeMemory | None
    ) -> None:
        if scope not in self._known:
            # Before the first write, so that this sees what earlier commits left and no more.
            self.load(scope, oldest=_oldest(readings, memory))
        known = self._staged[scope] = self._known[scope]
        pointed = {record.point.at: record for record in readings if record.point is not None}
        for record in readings:
            if record.point is None:
                self._write_reading(record)
        written = known.history
        last = None if written.last is None else written.last.at
        missed = {} if memory is None else later(memory.history, last)
        if memory is not None and memory.history.moved_s != written.moved_s:
            self._forget_moved(scope, written, memory.history)
            written, missed = History(), peaks_to_come(memory.history)
        for at in sorted(pointed.keys() | missed.keys()):
            if at in pointed:
                self._write_reading(pointed[at])
            else:
                self._write_missed(scope, missed[at])
        if memory is not None:
            self._write_points(memory, written, pointed)
            self._write_results(memory, known.results)
            self._stage(scope, history=memory.history, results=memory.results)

    def _write_reading(self, record: ReadingRecord) -> None:
        """Write one judged reading and, when it is a point, what its rows have made."""
        reading, point = record.reading, record.point
        ts = reading.asked_at if point is None else point.at
        self._cursor.execute(
            _WRITE_READING,
            (
                reading.scope,
                ts,
                reading.asked_at,
                record.at,
                record.trust.value,
                reading.equity if point is None else point.equity,
                reading.equity,
                reading.wallet,
                reading.unrealised_pnl,
                None if point is None else point.nav,
                None if point is None else point.unexplained,
                None if point is None else point.may_be_peak,
                reading.position_mode.value,
                "; ".join(record.reasons),
            ),
        )
        results = {} if point is None else dict(point.results)
        self._cursor.executemany(_WRITE_ROW, _held_rows(reading, ts, results))
        if point is not None:
            self._write_not_held(reading.scope, point, held=_held(reading), quantity=_GONE)
            history = self._staged[reading.scope].history
            if history.last is None or history.last.at < point.at:
                self._stage(reading.scope, history=history.append(point))

    def _write_missed(self, scope: ScopeId, point: Point) -> None:
        """Write the results of a point whose reading never came, or came before as a doubt."""
        rows = self._cursor.execute(LOAD_ROWS, (scope, point.at)).fetchall()
        held = frozenset((Symbol(symbol), Side(side)) for symbol, side, _ in rows)
        results = dict(point.results)
        self._cursor.executemany(
            _COMPLETE_ROW,
            (
                (results.get(RowKey(scope, symbol, side)), scope, point.at, symbol, side.value)
                for symbol, side in held
            ),
        )
        self._write_not_held(scope, point, held=held, quantity=None)

    def _forget_moved(self, scope: ScopeId, old: History, moved: History) -> None:
        """Take back the points of before, and the results that were told where they lie now."""
        self._cursor.executemany(_FORGET_POINT, ((scope, point.at) for point in old.points()))
        first = next(moved.points(), None)
        if first is not None:
            self._cursor.execute(_FORGET_CARRIERS, (scope, first.at))
        self._stage(scope, held=frozenset(), point_results=())

    def _write_not_held(
        self, scope: ScopeId, point: Point, *, held: Held, quantity: str | None
    ) -> None:
        """Write the rows that carry a result without being held at `point`."""
        known = self._staged[scope]
        if point.results is not known.point_results or held != known.held:
            rows = {RowKey(scope, symbol, side) for symbol, side in known.held}
            rows.update(moved(known.point_results, point.results))
            results = dict(point.results)
            self._cursor.executemany(
                _WRITE_ROW,
                (
                    _row_without_mark(key, point.at, quantity, results.get(key))
                    for key in sorted(rows)
                    if (key.symbol, key.side) not in held
                ),
            )
        self._stage(scope, held=held, point_results=point.results)

    def _write_points(
        self, memory: ScopeMemory, written: History, pointed: Mapping[float, ReadingRecord]
    ) -> None:
        """Bring the points in the file to those in memory."""
        changed, gone = difference(written, memory.history)
        for point in changed:
            record = pointed.get(point.at)
            if record is not None and record.point == point:
                continue
            self._cursor.execute(
                _WRITE_POINT,
                (
                    memory.scope,
                    point.at,
                    Trust.TRUSTED.value,
                    point.equity,
                    point.nav,
                    point.unexplained,
                    point.may_be_peak,
                ),
            )
        self._cursor.executemany(_FORGET_POINT, ((memory.scope, at) for at in gone))

    def _write_results(self, memory: ScopeMemory, written: RowResults) -> None:
        """Write the running results that differ from those in the file."""
        if memory.results is written:
            return
        results = dict(memory.results)
        for key in moved(written, memory.results):
            row = (memory.scope, key.symbol, key.side.value)
            if key in results:
                self._cursor.execute(_WRITE_RESULT, (*row, results[key]))
            else:
                self._cursor.execute(_FORGET_RESULT, row)

    def _stage(self, scope: ScopeId, **changes: Any) -> None:
        self._staged[scope] = replace(self._staged[scope], **changes)

    def load(self, scope: ScopeId, *, oldest: float) -> tuple[History, RowResults]:
        """Give back a scope's history since `oldest` and its running results."""
        rows = self._cursor.execute(LOAD_POINTS, (scope, oldest)).fetchall()
        exact_from = start_of(rows[-1][0] - EXACT_S, MINUTE_S) if rows else 0.0
        points = tuple(self._points(scope, rows, exact_from))
        results = _ordered(
            {
                RowKey(scope, Symbol(symbol), Side(side)): result
                for symbol, side, result in self._cursor.execute(LOAD_RESULTS, (scope,))
            }
        )
        held: Held = frozenset()
        if points:
            last = self._cursor.execute(LOAD_ROWS, (scope, points[-1].at))
            held = frozenset((Symbol(symbol), Side(side)) for symbol, side, _ in last)
        history = replace(History.of(points), shared_until=exact_from)
        self._known[scope] = _Known(
            history=history,
            held=held,
            point_results=points[-1].results if points else (),
            results=results,
        )
        return history, results

    def _points(
        self, scope: ScopeId, rows: list[tuple[float, float, float, float, int]], exact_from: float
    ) -> Iterator[Point]:
        """Turn rows of `snapshots` into points with their results, oldest first."""
        if not rows:
            return
        not_held = self._cursor.execute(LOAD_NOT_HELD, (scope, rows[-1][0])).fetchall()
        resting: Results = {}
        carried = 0
        keys: dict[tuple[str, str], RowKey] = {}
        for bucket in _buckets(rows, exact_from):
            chosen = standing_for(bucket)
            while carried < len(not_held) and not_held[carried][0] <= chosen.at:
                _, symbol, side, result = not_held[carried]
                _put(resting, _key(keys, scope, symbol, side), result)
                carried += 1
            at_point = dict(resting)
            for symbol, side, result in self._cursor.execute(LOAD_ROWS, (scope, chosen.at)):
                _put(at_point, _key(keys, scope, symbol, side), result)
            results = _ordered(at_point)
            for point in bucket:
                yield Point(
                    at=point.at,
                    equity=point.equity,
                    nav=point.nav,
                    results=results,
                    unexplained=point.unexplained,
                    may_be_peak=point.may_be_peak,
                )


def _buckets(
    rows: Iterable[tuple[float, float, float, float, int]], exact_from: float
) -> Iterator[tuple[Point, ...]]:
    """Group rows by minute, those since `exact_from` one by one; points still lack results."""
    bucket: list[Point] = []
    minute: float | None = None
    for ts, equity, nav, unexplained, may_be_peak in rows:
        this_minute = ts if ts >= exact_from else start_of(ts, MINUTE_S)
        if bucket and this_minute != minute:
            yield tuple(bucket)
            bucket.clear()
        minute = this_minute
        bucket.append(
            Point(
                at=ts,
                equity=equity,
                nav=nav,
                unexplained=unexplained,
                may_be_peak=bool(may_be_peak),
            )
        )
    if bucket:
        yield tuple(bucket)


def _oldest(readings: tuple[ReadingRecord, ...], memory: ScopeMemory | None) -> float:
    """How far back the file is compared when nothing of a scope has been loaded yet."""
    times = [record.reading.asked_at for record in readings]
    if memory is not None and memory.history.chunks:
        times.append(memory.history.chunks[0].points[0].at)
    return min(times, default=0.0) - HISTORY_S


def _held(reading: Reading) -> Held:
    """The keys of all rows that a reading holds."""
    positions = ((position.symbol, position.side) for position in reading.positions)
    return frozenset(positions) | {(Symbol(coin.asset), coin.side) for coin in reading.coins}


def _held_rows(
    reading: Reading, ts: float, results: Mapping[RowKey, float]
) -> Iterator[tuple[object, ...]]:
    """The rows of `position_snapshots` for what a reading holds."""
    scope = reading.scope
    for position in reading.positions:
        yield (
            scope,
            ts,
            position.symbol,
            position.side.value,
            plain(position.quantity),
            position.entry_price,
            position.mark_price,
            position.unrealised_pnl,
            position.liquidation_price,
            position.margin,
            position.margin_mode.value,
            results.get(RowKey(scope, position.symbol, position.side)),
        )
    for coin in reading.coins:
        key = RowKey(scope, Symbol(coin.asset), coin.side)
        empty = (None,) * 4
        yield (
            *(scope, ts, key.symbol, key.side.value, plain(abs(coin.quantity)), None, coin.price),
            *empty,
            results.get(key),
        )


def _row_without_mark(
    key: RowKey, ts: float, quantity: str | None, result: float | None
) -> tuple[object, ...]:
    return (key.scope, ts, key.symbol, key.side.value, quantity, *(None,) * 6, result)


def _key(keys: dict[tuple[str, str], RowKey], scope: ScopeId, symbol: str, side: str) -> RowKey:
    """One shared key per row: a day of points would otherwise hold a million equal ones."""
    key = keys.get((symbol, side))
    if key is None:
        key = keys[symbol, side] = RowKey(scope, Symbol(symbol), Side(side))
    return key


def _put(results: Results, key: RowKey, result: float | None) -> None:
    """Set a result; a row whose result was forgotten has none."""
    if result is None:
        results.pop(key, None)
    else:
        results[key] = result


def _ordered(results: Mapping[RowKey, float]) -> RowResults:
    return tuple(sorted(results.items()))
