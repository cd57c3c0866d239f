"""Databases with a past, and a run that goes on with one: readings of one account at any time."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from aging import HISTORY_S, grow_old
from memory import Point, ReadingRecord, Records, RowResults, ScopeMemory
from model import Asset, Position, PositionMode, Reading, RowKey, ScopeId, Side, Symbol, Trust
from position_store import PositionStore
from store.schema import open_for_writing, transaction

NOW = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC, the start of a minute and of an hour."""
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
SCOPE = ScopeId("binance_futures")
HELD = ("BTCUSDT", "SOLUSDT")

_READING = """
INSERT INTO snapshots (scope, ts, asked_ts, judged_ts, trust, equity, reported_equity, nav,
    unexplained, may_be_peak, position_mode)
VALUES (?1, ?2, ?2, ?2, ?4, ?3, ?3, ?5, ?6, ?6, 'ONE_WAY')"""
_POSITION = """
INSERT INTO position_snapshots (scope, ts, symbol, side, quantity, entry_price, mark_price,
    unrealised_pnl, margin_mode, result)
VALUES (?, ?, ?, 'SHORT', '1', 100.0, 100.0, 0.0, 'CROSS', ?)"""


def every(step_s: float, *, since: float, until: float = NOW) -> list[float]:
    """Times in [since, until), `step_s` apart."""
    return [since + step_s * number for number in range(int((until - since) / step_s))]


def position(symbol: str) -> Position:
    """A short position whose figures do not matter."""
    return Position(
        symbol=Symbol(symbol),
        base=Asset(symbol.removesuffix("USDT")),
        side=Side.SHORT,
        quantity=Decimal(1),
        entry_price=100.0,
        mark_price=100.0,
        unrealised_pnl=0.0,
    )


def reading(at: float, equity: float, held: Iterable[str] = HELD) -> Reading:
    """A reading of the account."""
    return Reading(
        scope=SCOPE,
        asked_at=at,
        equity=equity,
        wallet=equity,
        unrealised_pnl=0.0,
        positions=tuple(position(symbol) for symbol in held),
        position_mode=PositionMode.ONE_WAY,
    )


def key(symbol: str) -> RowKey:
    """The row of a position."""
    return RowKey(SCOPE, Symbol(symbol), Side.SHORT)


def fill(
    path: Path,
    times: Sequence[float],
    *,
    nav: Callable[[float], float | None] = lambda _at: 100.0,
    held: Sequence[str] = HELD,
    scope: ScopeId = SCOPE,
) -> None:
    """Write readings into a database, as an earlier version left them; a nav of None is a doubt.

    What each position had made is the time of the reading.
    """
    connection, _ = open_for_writing(path)
    with closing(connection), transaction(connection, full_sync=False):
        for at in times:
            value = nav(at)
            known = ("SUSPECT", None, None) if value is None else ("TRUSTED", value, 1)
            connection.execute(_READING, (scope, at, 100.0, *known))
            connection.executemany(_POSITION, ((scope, at, symbol, at) for symbol in held))
        connection.execute(
            "INSERT OR IGNORE INTO scope_state VALUES"
            " (?, 1, 0, 0, 0, 0, 0, 0, 0, NULL, '[]', '[]', '[]', NULL)",
            (scope,),
        )


def rows(path: Path, query: str, *values: object) -> list[Any]:
    """What a person with plain sqlite3 sees."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()


def times_of(path: Path, table: str = "snapshots") -> list[float]:
    """The distinct times of a table's rows, oldest first."""
    query = f"SELECT DISTINCT ts FROM {table} ORDER BY ts"  # a name from the tests only
    return [at for (at,) in rows(path, query)]


@dataclass(kw_only=True)
class Run:
    """A run of the guard as its store sees it: it looks, remembers, commits, and thins."""

    path: Path
    now: float = NOW
    store: PositionStore = field(init=False)
    memory: ScopeMemory = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Open the file and remember what is in it."""
        self.store = PositionStore.open(self.path, rng=random.Random(1))
        memory = self.store.load_memory(dry_run=False, now=self.now)
        self.memory = memory.scope(SCOPE)

    def restart(self) -> None:
        """Stop, and start once more."""
        self.store.close()
        self.start()

    def look(
        self,
        at: float,
        nav: float = 100.0,
        *,
        held: Iterable[str] = HELD,
        made: RowResults | None = None,
    ) -> None:
        """Take in a trusted reading, as `verdict.accept` does."""
        self.now = at
        results = tuple((key(symbol), at) for symbol in held) if made is None else made
        point = Point(at=at, equity=nav, nav=nav / self.memory.units, results=results)
        read = reading(at, nav, held)
        history = self.memory.history.append(point).since(at - HISTORY_S)
        self.memory = replace(
            self.memory, history=grow_old(history), last_trusted=read, results=results
        )
        record = ReadingRecord(reading=read, trust=Trust.TRUSTED, at=at, point=point)
        self.commit(Records(readings=(record,)))

    def doubt(self, at: float) -> None:
        """Take in a reading that is not believed."""
        record = ReadingRecord(reading=reading(at, 50.0), trust=Trust.SUSPECT, at=at, point=None)
        self.commit(Records(readings=(record,)))

    def commit(self, records: Records) -> None:
        """Write a decision together with what is remembered."""
        self.store.commit(replace(records, scopes=(self.memory,)))

    def thin(self, *, hours: float = 0.0, step_s: float = 60.0) -> int:
        """Let the store do all that is due by now, and what comes up in some hours of running.

        Returns in how many steps. No reading comes meanwhile.
        """
        steps = 0
        for passed in range(int(hours * HOUR / step_s) + 1):
            while self.store.thin(self.now + passed * step_s):
                steps += 1
        return steps

    def age_whole(self) -> None:
        """Let memory grow old as far as it goes, and write that down."""
        while (older := grow_old(self.memory.history)) is not self.memory.history:
            self.memory = replace(self.memory, history=older)
        self.commit(Records())

    def close(self) -> None:
        """Stop."""
        self.store.close()
