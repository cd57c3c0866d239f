"""What reading a position has in common, whichever exchange tells of it."""

from __future__ import annotations

from collections.abc import Iterable

from errors import Malformed
from model import Position


def mend_prices(*, entry: float, mark: float, gain: float, what: str) -> tuple[float, float]:
    """Entry and mark; where the venue gives 0 for one of them, what the other and the profit say.

    `gain` is mark minus entry, from the profit of one unit. A market that is being delisted has a
    mark of 0 while its profit stands: without this, one such row would blind the whole account.
    Raises Malformed when a price is not above zero all the same.
    """
    if mark == 0 < entry:
        mark = entry + gain
    elif entry == 0 < mark:
        entry = mark - gain
    for name, price in (("entry price", entry), ("mark price", mark)):
        if price <= 0:
            raise Malformed(f"{what}: {name} is not above zero")
    return entry, mark


def require_each_once(positions: Iterable[Position], what: str) -> None:
    """Raise Malformed when a position is there twice."""
    held = [(position.symbol, position.side) for position in positions]
    if len(set(held)) != len(held):
        raise Malformed(f"{what}: a position is listed twice")
