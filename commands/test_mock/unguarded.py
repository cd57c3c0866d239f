"""The same book on the same tape with nobody watching: what the guard is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.exchange import Exchange
from simulator.margin import equity_usd
from simulator.seeds import apply_seed
from simulator.tape import Tape

STEPS = 2000
"""At most so many looks at the tape; liquidation is judged at each."""


def play_unguarded(seed: Mapping[str, Any], tape: Tape) -> list[tuple[float, float]]:
    """Play the tape over the book alone; returns (time, equity), liquidations included."""
    exchange = Exchange(now=tape.starts_at)
    apply_seed(exchange, seed)
    step_s = max(1.0, (tape.ends_at - tape.starts_at) / STEPS)
    points: list[tuple[float, float]] = []
    at = tape.starts_at
    while True:
        exchange.set_prices(tape.prices_at(at), at)
        points.append((at, float(equity_usd(exchange.view(str(seed["api_key"]))))))
        if at >= tape.ends_at:
            return points
        at = min(at + step_s, tape.ends_at)
