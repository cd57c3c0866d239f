"""What prices and records explain of an equity move, and whether a reading agrees with itself.

Pure. Owns the first half of behaviour.md section 3 (explained, cross-checks). Refuses to judge:
that is `trust.py`.

Rules:
- Rows explain themselves by their results between the two readings (section 7).
- After a gap of more than 10 minutes only rows of unchanged quantity and entry do; for the others
  the ledger decides: what it realised, plus the change of their unrealised profit. Before it has
  answered they explain nothing.
- The same account by the ledger stands in for the prices where these leave a large part open: a
  liquidation at a price that no reading saw.
- Funding and fees belong to the row they name, else to the account; a realised result to the leg
  that got smaller.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ledger import share_by_row
from memory import RowResults
from model import LedgerEntry, LedgerKind, Reading, Row, RowKey, Symbol
from risk_attribution import compute_row_results

GAP_S = 600.0
"""After so long positions may have been closed and opened again; they explain nothing then."""

CHECK_SHARE = 0.01
CHECK_AMOUNT = 10.0
CHECK_NOTIONAL_SHARE = 0.005
"""Tolerance of the cross-checks: venues price totals and positions a moment apart."""

REALISED_KINDS = (LedgerKind.REALISED, LedgerKind.LIQUIDATION)
TRADE_KINDS = (*REALISED_KINDS, LedgerKind.FEE)
"""What a venue lists of a trade; one that made nothing leaves its fee alone."""
RUNNING_COST_KINDS = (LedgerKind.FUNDING, LedgerKind.FEE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What each row made between two readings, and what the account made beside its rows.

    `at_most` is the part of the losses (>= 0) that rows made which got smaller: they count to the
    later mark, and were closed somewhere on the way there.
    """

    results: RowResults
    beside_rows: float = 0.0
    at_most: float = 0.0

    @property
    def total(self) -> float:
        """The explained move in quote money, flows not included; NaN if a price is none."""
        return sum(made for _, made in self.results) + self.beside_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The two readings that an explanation lies between, and the records from between them.

    `is_gap` says that they are too far apart for changed rows to explain themselves, `is_covered`
    that the ledger is known for the time between them. `unlisted` is the profit that the earlier
    reading had in its total and in none of its rows, as far as the later one has it in rows.
    """

    earlier: tuple[Row, ...]
    later: tuple[Row, ...]
    entries: tuple[LedgerEntry, ...]
    marks: Mapping[Symbol, float]
    is_gap: bool
    is_covered: bool
    unlisted: float = 0.0


def explain_by_prices(interval: Interval) -> Explanation:
    """Explain a move by the results of rows, funding and fees."""
    results = compute_row_results(
        earlier=interval.earlier, later=interval.later, marks=interval.marks
    )
    if interval.is_gap:
        changed = _changed_keys(interval)
        results = {key: 0.0 if key in changed else made for key, made in results.items()}
    by_prices = _with_entries(interval, results, kinds=RUNNING_COST_KINDS)
    at_most = sum(max(0.0, -results[key]) for key in _smaller_keys(interval))
    return replace(by_prices, at_most=at_most)


def explain_by_ledger(interval: Interval) -> Explanation | None:
    """Explain a move by the ledger where rows changed; None when the ledger adds nothing.

    A changed position made what the ledger realised on its symbol plus the change of its own
    unrealised profit: realised results count from the entry, not from the last reading. Where only
    the fee of a close is listed, what it realised is still to come, and no loss is undone by it.
    """
    told = {entry.symbol for entry in interval.entries if entry.kind in TRADE_KINDS}
    realised = {entry.symbol for entry in interval.entries if entry.kind in REALISED_KINDS}
    is_deciding = interval.is_gap and interval.is_covered
    if not told and not is_deciding:
        return None
    results = compute_row_results(
        earlier=interval.earlier, later=interval.later, marks=interval.marks
    )
    before = {row.key: row.unrealised_pnl for row in interval.earlier}
    after = {row.key: row.unrealised_pnl for row in interval.later}
    coins = {row.key for row in (*interval.earlier, *interval.later) if row.is_coin}
    smaller = _smaller_keys(interval)
    for key in _changed_keys(interval):
        if key in coins:
            results[key] = 0.0 if interval.is_gap else results[key]
        elif key.symbol in told or is_deciding:
            made = after.get(key, 0.0) - before.get(key, 0.0)
            is_awaited = key.symbol not in realised and key in smaller
            results[key] = min(0.0, made) if is_awaited else made
        elif interval.is_gap:
            results[key] = 0.0
    return _with_entries(interval, results, kinds=(*RUNNING_COST_KINDS, *REALISED_KINDS))


def _smaller_keys(interval: Interval) -> tuple[RowKey, ...]:
    """The rows of which something was closed between the two readings."""
    after = {row.key: row.quantity for row in interval.later}
    return tuple(row.key for row in interval.earlier if after.get(row.key, 0.0) < row.quantity)


def _changed_keys(interval: Interval) -> set[RowKey]:
    """The rows whose quantity or entry differs between the two readings."""
    before = {row.key: (row.quantity, row.entry_price) for row in interval.earlier}
    after = {row.key: (row.quantity, row.entry_price) for row in interval.later}
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _without_unlisted(interval: Interval, results: dict[RowKey, float]) -> None:
    """Take from rows that appeared what they had made before, as far as the total had it already.

    A list that lacked a position would otherwise make its whole loss look new when it is back.
    """
    left, listed = interval.unlisted, {row.key for row in interval.earlier}
    for key in sorted(results.keys() - listed):
        made = results[key]
        had = min(0.0, max(left, made)) if left < 0 else max(0.0, min(left, made))
        results[key] -= had
        left -= had


def _with_entries(
    interval: Interval, results: dict[RowKey, float], *, kinds: tuple[LedgerKind, ...]
) -> Explanation:
    """Add records to the rows they name, or beside them where there is no such row."""
    _without_unlisted(interval, results)
    beside_rows = 0.0
    rows = {row.key: row for row in (*interval.earlier, *interval.later)}
    smaller, changed = frozenset(_smaller_keys(interval)), _changed_keys(interval)
    for entry in interval.entries:
        if entry.kind not in kinds:
            continue
        meant = _meant_keys(entry, rows, smaller=smaller, changed=changed)
        named = [rows[key] for key in meant]
        shares = share_by_row(entry.symbol, entry.amount, named) if entry.symbol else ()
        if not shares:
            beside_rows += entry.amount
        for key, amount in shares:
            results[key] += amount
    return Explanation(results=tuple(sorted(results.items())), beside_rows=beside_rows)


def _meant_keys(
    entry: LedgerEntry,
    keys: Iterable[RowKey],
    *,
    smaller: Collection[RowKey],
    changed: Collection[RowKey],
) -> tuple[RowKey, ...]:
    """The rows that a record may be about.

    A result is that of the leg that got smaller, else of one that changed; where none did, of a
    position that came and went.
    """
    meant = tuple(key for key in keys if key.symbol == entry.symbol)
    if entry.kind not in REALISED_KINDS:
        return meant
    closed = tuple(key for key in meant if key in smaller)
    return closed or tuple(key for key in meant if key in changed)


def failed_cross_checks(reading: Reading, *, equity: float) -> tuple[str, ...]:
    """Name the checks of a reading against itself that fail; empty when it agrees.

    `equity` sets the tolerance: max(1 % of it, 10, 0.5 % of gross notional). A total that is not
    a number fails; one that the venue does not give is not checked.
    """
    tolerance = _tolerance(reading, equity=equity)
    failed: list[str] = []
    total = reading.unrealised_pnl
    if total is None:
        return ()
    summed = _sum_of_rows(reading)
    if not abs(total - summed) <= tolerance:
        failed.append(f"unrealised profit {total:.2f}, positions add up to {summed:.2f}")
    if reading.wallet_defines_equity and reading.wallet is not None:
        sum_of_parts = reading.wallet + total
        if not abs(sum_of_parts - reading.equity) <= tolerance:
            failed.append(f"wallet and profit {sum_of_parts:.2f}, equity {reading.equity:.2f}")
    return tuple(failed)


def _unlisted_profit(reading: Reading, *, equity: float) -> float:
    """The profit that a reading has in its total and in none of its positions; 0 within tolerance.

    0 as well where the venue gives no total, or one that is not a number.
    """
    missing = (reading.unrealised_pnl or 0.0) - _sum_of_rows(reading)
    is_known = reading.unrealised_pnl is not None and math.isfinite(missing)
    return missing if is_known and abs(missing) > _tolerance(reading, equity=equity) else 0.0


def newly_listed_profit(earlier: Reading, later: Reading, *, equity: float) -> float:
    """The part of the earlier reading's unlisted profit that is no longer unlisted in the later.

    What both leave out (contracts that are never listed here) says nothing about a new row.
    """
    before = _unlisted_profit(earlier, equity=equity)
    gone = before - _unlisted_profit(later, equity=equity)
    return max(0.0, min(before, gone)) if before > 0 else min(0.0, max(before, gone))


def _sum_of_rows(reading: Reading) -> float:
    return sum(position.unrealised_pnl for position in reading.positions)


def _tolerance(reading: Reading, *, equity: float) -> float:
    gross = sum(position.notional for position in reading.positions)
    return max(CHECK_SHARE * abs(equity), CHECK_AMOUNT, CHECK_NOTIONAL_SHARE * gross)
