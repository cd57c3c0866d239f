"""Who lost the money: results of rows between readings, the losing side, and the risk score.

Pure. Owns behaviour.md sections 7 and 8. Knows nothing of drawdowns, stages or orders.
"""

from __future__ import annotations

from collections.abc import Mapping

from model import Row, RowKey, Symbol


def compute_row_results(
    *, earlier: tuple[Row, ...], later: tuple[Row, ...], marks: Mapping[Symbol, float]
) -> dict[RowKey, float]:
    """Compute the money each row made between two consecutive readings (behaviour.md 7).

    `marks` prices rows that are gone from `later`; without one, the earlier mark stands in and
    the row made nothing. The closed part of an isolated position loses at most its share of the
    margin that was set aside. Results are in quote money.
    """
    before = {row.key: row for row in earlier}
    after = {row.key: row for row in later}
    results: dict[RowKey, float] = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None:
            assert new is not None
            results[key] = _opened(new)
        elif new is None:
            mark = marks.get(key.symbol, old.mark_price)
            results[key] = _closed(old, quantity=old.quantity, mark=mark)
        else:
            results[key] = _carried(old, new)
    return results


def _opened(row: Row) -> float:
    """A row opened between the readings: from its entry to its mark; a coin has no entry."""
    if row.entry_price is None:
        return 0.0
    return row.key.side.sign * row.quantity * (row.mark_price - row.entry_price)


def _closed(row: Row, *, quantity: float, mark: float) -> float:
    """The closed part, valued at the later mark; isolated margin is all it can lose."""
    result = row.key.side.sign * quantity * (mark - row.mark_price)
    if row.loss_cap is None:
        return result
    return max(result, -row.loss_cap * quantity / row.quantity)


def _carried(old: Row, new: Row) -> float:
    """A row present in both readings: the part held, and what was added or closed meanwhile."""
    sign = old.key.side.sign
    held = min(old.quantity, new.quantity)
    result = sign * held * (new.mark_price - old.mark_price)
    if new.quantity < old.quantity:
        return result + _closed(old, quantity=old.quantity - new.quantity, mark=new.mark_price)
    if new.quantity > old.quantity and old.entry_price is not None and new.entry_price is not None:
        added = new.quantity - old.quantity
        paid = (new.quantity * new.entry_price - old.quantity * old.entry_price) / added
        return result + sign * added * (new.mark_price - paid)
    return result
