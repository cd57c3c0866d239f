"""How directional a book is: net exposure per base asset and in total, and the part that stays.

Pure. Knows readings and remainders; knows nothing of stages, losses or orders. Spot coins count
as longs, borrowed coins as shorts. A market whose base has another name than the coin (bundles
such as `1000PEPE`) is an asset of its own: nothing here guesses that two names are one thing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from model import Asset, Reading, RowKey, Side, Symbol
from order_sizes import EXACT, ZERO, subtract

ROUNDING = 1e-9
"""Slack of sums of floats, far below anything that matters to a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Net exposure in quote money, longs positive: per base asset (ordered by it) and in total."""

    by_base: tuple[tuple[Asset, float], ...] = ()
    total: float = 0.0


def compute_exposure(*, readings: Sequence[Reading], remains: Mapping[RowKey, Decimal]) -> Exposure:
    """Compute the exposure of all readings together once nothing is larger than `remains`.

    A position or coin that `remains` does not name counts whole; of a coin, the part that cannot be
    sold always does. An empty mapping is the book as it is.
    """
    net: dict[Asset, float] = {}
    for reading in readings:
        for coin in reading.coins:
            key = RowKey(reading.scope, Symbol(coin.asset), Side.LONG)
            stays = subtract(coin.quantity, coin.sellable)
            quantity = float(stays) + float(remains.get(key, coin.sellable))
            value = quantity * coin.price
            net[coin.asset] = net.get(coin.asset, 0.0) + value
        for position in reading.positions:
            key = RowKey(reading.scope, position.symbol, position.side)
            quantity = float(remains.get(key, position.quantity))
            value = position.side.sign * quantity * position.mark_price
            net[position.base] = net.get(position.base, 0.0) + value
    return Exposure(by_base=tuple(sorted(net.items())), total=sum(net.values()))


def is_larger(after: float, before: float) -> bool:
    """Say whether the size of a net exposure grew by more than rounding."""
    return abs(after) > abs(before) * (1 + ROUNDING) + ROUNDING


def compute_staying(
    *,
    readings: Sequence[Reading],
    spared: Collection[Symbol],
    for_sale: Collection[RowKey] = (),
) -> dict[Asset, Decimal]:
    """Compute the net base quantity, longs positive, of all coins and of the spared symbols.

    Of a coin that is for sale only the part counts that cannot be sold.
    """
    net: dict[Asset, Decimal] = {}
    for reading in readings:
        for coin in reading.coins:
            key = RowKey(reading.scope, Symbol(coin.asset), Side.LONG)
            sold = coin.sellable if key in for_sale else ZERO
            stays = subtract(coin.quantity, sold)
            net[coin.asset] = EXACT.add(net.get(coin.asset, ZERO), stays)
        for position in reading.positions:
            if position.symbol in spared:
                signed = EXACT.multiply(position.quantity, Decimal(position.side.sign))
                net[position.base] = EXACT.add(net.get(position.base, ZERO), signed)
    return net
