"""The account that is measured and the database it has left: 20 positions, three days at 3 s.

Owns the figures of the scene, so that the simulated exchange and the database tell one story: the
shorts have lost 4 % since twenty minutes, which is alert pace in the 1 h window and no breach yet.
Rows are written in bulk through the store's own schema; what only a commit can write (the scope's
memory) is committed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from memory import Point, ReadingRecord, Records
from model import (
    Asset,
    MarginMode,
    Position,
    PositionMode,
    Reading,
    RowKey,
    ScopeId,
    Side,
    Symbol,
    Trust,
)
from position_store import PositionStore
from store.schema import open_for_writing, transaction

SCOPE = ScopeId("binance_futures")
STEP_S = 3.0
DAYS_S = 72 * 3600.0
EQUITY = 10_000.0
NOTIONAL = 1_200
POSITIONS_PER_SIDE = 10
LOST_BEFORE_S = 1200.0
"""Twenty minutes ago: in the 1 h window, out of the 15 min one."""
LOST_FRACTION = 0.04
"""Over half of stage 1's 0.07 in 1 h, so the guard polls at its alert pace; no breach."""
FALL_FRACTION = 0.065
"""A further fall: 10.5 % in 1 h fires stage 2, 6.8 % in 15 min stays below it."""

_READING_ROW = """
INSERT INTO snapshots (scope, ts, asked_ts, judged_ts, trust, equity, reported_equity, wallet,
    unrealised_pnl, nav, unexplained, may_be_peak, position_mode, reasons)
VALUES (?, ?, ?, ?, 'TRUSTED', ?, ?, ?, ?, ?, 0.0, 1, 'ONE_WAY', '')"""

_POSITION_ROW = """
INSERT INTO position_snapshots (scope, ts, symbol, side, quantity, entry_price, mark_price,
    unrealised_pnl, liquidation_price, margin, margin_mode, result)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, 'CROSS', ?)"""


def symbols() -> tuple[tuple[str, Side], ...]:
    """The 20 symbols with their sides, ten long and ten short."""
    return tuple(
        (f"{'L' if side is Side.LONG else 'S'}{number:02d}USDT", side)
        for side in Side
        for number in range(POSITIONS_PER_SIDE)
    )


def prices(short_loss_fraction: float) -> dict[str, float]:
    """Prices at which the shorts together have lost that fraction of the account's 10,000."""
    rise = short_loss_fraction * EQUITY / (POSITIONS_PER_SIDE * NOTIONAL)
    return {symbol: 10.0 if side is Side.LONG else 10.0 * (1 + rise) for symbol, side in symbols()}


def seed() -> dict[str, Any]:
    """The simulated exchange when the guard starts; its clock runs until a time is set."""
    return {
        "api_key": "test-key",
        "api_secret": "test-secret",
        "wallet": {"USDT": EQUITY},
        "prices": prices(LOST_FRACTION),
        "positions": [
            {
                "symbol": symbol,
                "side": side.value,
                "quantity": str(NOTIONAL // 10),
                "entry_price": "10",
                "leverage": 10,
            }
            for symbol, side in symbols()
        ],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the database holds: readings up to `ends_at` (UTC seconds), one every `step_s`."""

    ends_at: float
    step_s: float = STEP_S
    span_s: float = DAYS_S

    def fill(self, path: Path) -> int:
        """Write it into a new database; gives the number of readings."""
        count = int(self.span_s / self.step_s)
        times = [self.ends_at - self.step_s * number for number in range(count - 1, 0, -1)]
        connection, _ = open_for_writing(path)
        with closing(connection), transaction(connection, full_sync=False):
            connection.executemany(_READING_ROW, self._reading_rows(times))
            connection.executemany(_POSITION_ROW, self._position_rows(times))
        with closing(PositionStore.open(path, rng=random.Random(0))) as store:
            self._commit_last(store)
        return count

    def _lost_at(self, at: float) -> float:
        """The fraction of 10,000 that the shorts had lost by then."""
        return LOST_FRACTION if at >= self.ends_at - LOST_BEFORE_S else 0.0

    def _reading_rows(self, times: list[float]) -> Iterator[tuple[object, ...]]:
        for at in times:
            lost = self._lost_at(at) * EQUITY
            equity = EQUITY - lost
            yield (SCOPE, at, at, at, equity, equity, EQUITY, -lost, equity)

    def _position_rows(self, times: list[float]) -> Iterator[tuple[object, ...]]:
        for at in times:
            for position in _positions(self._lost_at(at)):
                yield (
                    SCOPE,
                    at,
                    position.symbol,
                    position.side.value,
                    str(position.quantity),
                    position.entry_price,
                    position.mark_price,
                    position.unrealised_pnl,
                    position.margin,
                    position.unrealised_pnl,
                )

    def _commit_last(self, store: PositionStore) -> None:
        """Commit the last reading, with what the scope remembers beside its history."""
        memory = store.load_memory(dry_run=False, now=self.ends_at).scope(SCOPE)
        lost = LOST_FRACTION * EQUITY
        reading = Reading(
            scope=SCOPE,
            asked_at=self.ends_at,
            equity=EQUITY - lost,
            wallet=EQUITY,
            unrealised_pnl=-lost,
            positions=_positions(LOST_FRACTION),
            position_mode=PositionMode.ONE_WAY,
            wallet_defines_equity=True,
        )
        results = tuple(
            sorted(
                (RowKey(SCOPE, position.symbol, position.side), position.unrealised_pnl)
                for position in reading.positions
            )
        )
        point = Point(at=self.ends_at, equity=reading.equity, nav=reading.equity, results=results)
        memory = replace(
            memory,
            history=memory.history.append(point),
            last_trusted=reading,
            results=results,
            ledger_until=self.ends_at,
            ledger_asked_at=self.ends_at,
            watch_began_at=self.ends_at - self.span_s,
        )
        record = ReadingRecord(reading=reading, trust=Trust.TRUSTED, at=self.ends_at, point=point)
        store.commit(Records(readings=(record,), scopes=(memory,)))


@cache
def _positions(lost_fraction: float) -> tuple[Position, ...]:
    """The positions at one of the scene's two price levels."""
    at = prices(lost_fraction)
    quantity = Decimal(NOTIONAL // 10)
    return tuple(
        Position(
            symbol=Symbol(symbol),
            base=Asset(symbol.removesuffix("USDT")),
            side=side,
            quantity=quantity,
            entry_price=10.0,
            mark_price=at[symbol],
            unrealised_pnl=side.sign * float(quantity) * (at[symbol] - 10.0),
            liquidation_price=None,
            margin_mode=MarginMode.CROSS,
            margin=120.0,
        )
        for symbol, side in symbols()
    )
