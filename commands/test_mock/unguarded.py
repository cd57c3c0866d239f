"""The same book on the same tape with nobody watching: what the guard is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.exchange import Exchange
from simulator.margin import equity_usd
from simulator.seeds import apply_seed
from simulator.tape import Tape

STEP_S = 20.0
"""The corners of a one-minute candle's path lie this far apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unguarded:
    """What became of the book: (time, equity), and the exchange's own ledger."""

    equities: tuple[tuple[float, float], ...]
    ledger: tuple[Mapping[str, Any], ...]


def play_unguarded(seed: Mapping[str, Any], tape: Tape, *, times: Sequence[float]) -> Unguarded:
    """Play the tape over the book alone, liquidations included.

    It is looked at whenever the guarded book was (`times`), so that both are compared at the same
    moments, and at short steps where the guarded run had ended already.
    """
    exchange = Exchange(now=tape.starts_at)
    apply_seed(exchange, seed)
    key = str(seed["api_key"])
    points: list[tuple[float, float]] = []
    for at in _moments(tape, times):
        exchange.set_prices(tape.prices_at(at), at)
        points.append((at, float(equity_usd(exchange.view(key)))))
    return Unguarded(equities=tuple(points), ledger=tuple(exchange.ledger))


def _moments(tape: Tape, times: Sequence[float]) -> list[float]:
    """The given times, filled up where they leave a hole, to the end of the tape."""
    moments = [tape.starts_at]
    for at in sorted({*times, tape.ends_at}):
        while at - moments[-1] > 2 * STEP_S:
            moments.append(moments[-1] + STEP_S)
        if at > moments[-1]:
            moments.append(at)
    return moments
