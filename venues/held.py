"""What the rows of positions have in common, whichever exchange lists them.

Pure. Owns that one odd price does not hide a position, and that none counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from errors import Malformed
from model import Position


def entry_and_mark(*, entry: float, mark: float, gain: float, what: str) -> tuple[float, float]:
    """Entry and mark; where the venue gives 0 for one of them, what the other and the profit say.

    `gain` is mark minus entry, from the profit of one unit. A market that is being delisted has a
    mark of 0 while its profit stands: without this, one such row would blind the whole account.
    """
    if mark == 0 < entry:
        mark = entry + gain
    elif entry == 0 < mark:
        entry = mark - gain
    for name, price in (("entry price", entry), ("mark price", mark)):
        if price <= 0:
            raise Malformed(f"{what}: the {name} is not above zero")
    return entry, mark


def each_once(positions: Iterable[Position], what: str) -> tuple[Position, ...]:
    """The positions as they are; raises Malformed when one is there twice."""
    listed = tuple(positions)
    if len({(position.symbol, position.side) for position in listed}) != len(listed):
        raise Malformed(f"{what}: a position is listed twice")
    return listed
