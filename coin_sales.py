"""Coins that are for sale: which they are, and what selling one over another coin needs.

Pure. Owns the part of behaviour.md section 15 that plans share with positions: a coin for sale is a
holding like a position, under its own name, and its target says how much may remain. Its rules:

- A coin is for sale where the book says so and the venue lets us sell it. Stables never are: no
  reading lists them as coins.
- A coin whose market pays in another coin is sold over that one, in two steps. The plan then holds
  a target for it too, whose remainder is what was held when the plan was made, to the last digit:
  so the second step sells what the first one brought, after a crash between them as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from memory import CloseTarget
from model import Coin, MarketLimits, Position, Reading, RowKey, ScopeId, Side, Symbol
from order_sizes import ZERO
from policy import BookPolicy

LIMITS_BY_SCOPE = Mapping[ScopeId, Mapping[Symbol, MarketLimits]]
"""Market limits of each scope: two venues of one book may name a market alike."""


def coins_for_sale(reading: Reading, book: BookPolicy) -> tuple[Coin, ...]:
    """Return the coins of a reading that the book lets go and the venue takes."""
    if not book.sell_collateral:
        return ()
    return tuple(coin for coin in reading.coins if coin.sellable > 0)


def as_position(coin: Coin) -> Position:
    """Return what can be sold of a coin in the form of a long position; its cost is not known."""
    return Position(
        symbol=Symbol(coin.asset),
        base=coin.asset,
        side=Side.LONG,
        quantity=coin.sellable,
        entry_price=coin.price,
        mark_price=coin.price,
        unrealised_pnl=0.0,
    )


def plan_passages(
    targets: Sequence[CloseTarget],
    *,
    readings: Sequence[Reading],
    limits: LIMITS_BY_SCOPE,
    book: BookPolicy,
    spared: Collection[Symbol],
) -> tuple[CloseTarget, ...]:
    """Plan the targets of the coins that those of `targets` are sold over, numbered on.

    All that was held of such a coin stays, unless it is a target itself or the book wants all of it
    sold; of a spared one it always stays.
    """
    held = {
        RowKey(reading.scope, Symbol(coin.asset), Side.LONG): coin.sellable
        for reading in readings
        for coin in reading.coins
    }
    known = {target.key for target in targets}
    found: list[CloseTarget] = []
    for target in targets:
        over = _sold_over(target.key, limits)
        if over is None or over in known:
            continue
        known.add(over)
        quantity = held.get(over, ZERO)
        keeps = book.sell_intermediate_delta_only or over.symbol in spared
        found.append(
            CloseTarget(
                number=len(targets) + len(found) + 1,
                key=over,
                may_remain=quantity if keeps else ZERO,
                initial_quantity=quantity,
            )
        )
    return tuple(found)


def is_sold_over(key: RowKey, over: RowKey, limits: Mapping[Symbol, MarketLimits]) -> bool:
    """Say whether a coin is sold for the coin `over`, by the market rules of their scope."""
    return _sold_over(key, {key.scope: limits}) == over


def _sold_over(key: RowKey, limits: LIMITS_BY_SCOPE) -> RowKey | None:
    """The row of the coin that the market of `key` pays in, None where it pays in money."""
    of_scope = limits.get(key.scope, {})
    market = of_scope.get(key.symbol)
    if market is None or Symbol(market.base) != key.symbol or Symbol(market.quote) not in of_scope:
        return None
    return RowKey(key.scope, Symbol(market.quote), Side.LONG)


def say_coins(
    targets: Sequence[CloseTarget],
    *,
    readings: Sequence[Reading],
    limits: LIMITS_BY_SCOPE,
    book: BookPolicy,
) -> tuple[str, ...]:
    """Say what stays of the coins and why, and what is sold over what, one sentence each."""
    coins = [coin for reading in readings for coin in reading.coins]
    if not book.sell_collateral:
        names = sorted({coin.asset for coin in coins})
        return (f"coins stay (not to be sold): {', '.join(names)}",) if names else ()
    notes = []
    stuck = sorted({coin.asset for coin in coins if coin.sellable <= 0})
    if stuck:
        notes.append(f"coins stay (no way to sell them here): {', '.join(stuck)}")
    partly = [coin for coin in coins if 0 < coin.sellable < coin.quantity]
    notes += [
        f"{coin.asset}: {coin.quantity - coin.sellable:f} of it cannot be sold here and stays"
        for coin in partly
    ]
    for target in targets:
        over = _sold_over(target.key, limits)
        if over is not None:
            notes.append(f"{target.key.symbol} is sold over {over.symbol}")
    return tuple(notes)
