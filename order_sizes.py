"""How large an order or a remainder may be on one market: rounding, minimums, splitting.

Pure arithmetic on exact decimals. Knows market limits and one price; knows nothing of plans,
incidents or orders. Its rules:

- Everything is rounded down, and never by the process-wide decimal context: ccxt sets that
  context to round half up while it formats numbers.
- Limits that are missing or make no sense never stop a close: the position's own digits then
  give the step, and there is no minimum and no maximum.
- A minimum value is judged only where a price is known; an unknown price is not a price of 0.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal

from model import MarketLimits

EXACT = Context(prec=60, rounding=ROUND_DOWN)
"""Wide enough that no sum or difference of two venue quantities is ever rounded."""

ZERO = Decimal(0)

MAX_PARTS = 36
"""Orders towards one target in one round; what is left goes in the next round."""


def step_of(limits: MarketLimits | None, *quantities: Decimal) -> Decimal:
    """Return the step on which sizes of this market lie, in base units, always positive.

    Without usable limits it is the last digit that the venue itself has shown in any of
    `quantities`, and never more than 1: 2.5 after 2.47 is still a multiple of 0.01.
    """
    if limits is not None and limits.step > 0:
        return limits.step
    exponents = [quantity.as_tuple().exponent for quantity in quantities]
    return Decimal((0, (1,), min([0, *(e for e in exponents if isinstance(e, int))])))


def round_down(quantity: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` that is not larger than `quantity` (both >= 0)."""
    return EXACT.multiply(EXACT.divide_int(quantity, step), step)


def subtract(quantity: Decimal, part: Decimal) -> Decimal:
    """Return quantity - part, exactly."""
    return EXACT.subtract(quantity, part)


def is_too_small(
    quantity: Decimal,
    *,
    limits: MarketLimits | None,
    mark_price: float,
    waiver_counts: bool = True,
) -> bool:
    """Say whether the venue would refuse a close of `quantity` base units for its size.

    `waiver_counts=False` judges by the minimum value even where the venue waives it for
    reduce-only orders. A mark price of 0 or less is unknown and proves nothing.
    """
    if quantity <= 0:
        return True
    if limits is None:
        return False
    if quantity < limits.min_quantity:
        return True
    if waiver_counts and limits.reduce_only_waives_min_notional:
        return False
    if mark_price <= 0:
        return False
    return EXACT.multiply(quantity, Decimal(mark_price)) < limits.min_notional


def compute_remainder(
    quantity: Decimal,
    *,
    step: Decimal,
    limits: MarketLimits | None,
    mark_price: float,
    hedged: bool,
) -> Decimal:
    """Return how much of `quantity` may remain, so that the rest can still be closed later.

    Rounded down to the step, and 0 when the venue would not accept an order of that size. In
    hedge mode the minimum value counts even where reduce-only orders are exempt: a hedge-mode
    close cannot be marked reduce-only, and whether the exemption holds there is not known.
    """
    remainder = round_down(quantity, step)
    small = is_too_small(remainder, limits=limits, mark_price=mark_price, waiver_counts=not hedged)
    return ZERO if small else remainder


def least_order(limits: MarketLimits | None, *, step: Decimal, mark_price: float) -> Decimal:
    """Return the least size in base units of which it is sure that the venue takes it; 0 unknown.

    The minimum value counts even where reduce-only orders are exempt, as with remainders.
    """
    if limits is None:
        return ZERO
    if mark_price <= 0:
        return limits.min_quantity
    price = Decimal(mark_price)
    by_value = round_down(EXACT.divide(limits.min_notional, price), step)
    if EXACT.multiply(by_value, price) < limits.min_notional:
        by_value = EXACT.add(by_value, step)
    return max(limits.min_quantity, by_value)


def split(
    quantity: Decimal, *, step: Decimal, largest: Decimal | None, smallest: Decimal
) -> tuple[Decimal, ...]:
    """Cut `quantity` (a positive multiple of `step`) into at most `MAX_PARTS` market orders.

    No part is larger than `largest` (None, or less than a step: no maximum). Parts are as even
    as the step allows, because filling up the maximum would leave a last part below the minimum
    that the venue refuses in every round. Where even parts would be below `smallest`, only full
    parts are sent and the rest is left for the next round.
    """
    largest_units = 0 if largest is None else int(EXACT.divide_int(largest, step))
    units = int(EXACT.divide_int(quantity, step))
    if largest_units < 1 or units <= largest_units:
        return (quantity,)
    count = -(-units // largest_units)
    part_units, larger_parts = divmod(units, count)
    if EXACT.multiply(step, Decimal(part_units)) < smallest:
        count = units // largest_units
        part_units, larger_parts = largest_units, 0
    return tuple(
        EXACT.multiply(step, Decimal(part_units + (1 if index < larger_parts else 0)))
        for index in range(min(count, MAX_PARTS))
    )
