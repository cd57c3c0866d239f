"""The same book on the same tape with nobody watching: what the guard is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.exchange import Exchange
from simulator.margin import equity_usd
from simulator.seeds import apply_seed
from simulator.tape import Tape

LEAST_SPACING_S = 2.0
"""Paths with more corners than one in two seconds hide no extreme between two readings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unguarded:
    """What became of the book: (time, equity), and the exchange's own ledger."""

    equities: tuple[tuple[float, float], ...]
    ledger: tuple[Mapping[str, Any], ...]


def corners_of(tape: Tape) -> tuple[float, ...]:
    """The times at which any price of the tape turns: highs and lows lie there and nowhere else.

    Whoever skips them misses the worst of a candle. Empty for a tape whose path is dense.
    """
    corners = {
        at
        for path in tape.paths.values()
        for at in path.times
        if tape.starts_at < at < tape.ends_at
    }
    is_dense = len(corners) * LEAST_SPACING_S > tape.ends_at - tape.starts_at
    return () if is_dense else tuple(sorted(corners))


def play_unguarded(seed: Mapping[str, Any], tape: Tape, *, times: Sequence[float]) -> Unguarded:
    """Play the tape over the book alone, liquidations included.

    It is looked at whenever the guarded book was (`times`) and at every corner of a price path,
    so that both are compared at the same moments and no extreme is missed.
    """
    exchange = Exchange(now=tape.starts_at)
    apply_seed(exchange, seed)
    key = str(seed["api_key"])
    points: list[tuple[float, float]] = []
    for at in sorted({tape.starts_at, *times, *corners_of(tape), tape.ends_at}):
        exchange.set_prices(tape.prices_at(at), at)
        points.append((at, float(equity_usd(exchange.view(key)))))
    return Unguarded(equities=tuple(points), ledger=tuple(exchange.ledger))
