"""Which resting orders must go: whatever could open or add, and what a close leaves behind.

Pure. Owns the paragraph "Orders" of behaviour.md section 9. Judges orders of other people (the
bots' and the operator's); it never makes one. Its rules:

- What cannot be shown to close is treated as able to open.
- An order that the venue itself keeps from opening (reduce-only, close-position, or bound to a
  leg in hedge mode) is protection: it stays until its position is closed or it blocks our close.
- A plain closing order in one-way mode opens the other side once the position is smaller than
  the order, so all of them together must fit into what may remain.
- Orders of symbols that must not be touched are left alone, entry orders included.
- On a spot market a sale can only make less of a coin and never turns it into its opposite, so it
  is protection; what it holds of the coin is free for a close once it is gone. Stage 3 of a spot
  account may leave coins on purpose (a blacklist, no mode at all): then their sales stay with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from memory import CloseTarget, TargetStatus
from model import (
    Order,
    OrderSide,
    Position,
    PositionMode,
    RowKey,
    ScopeId,
    Side,
    Stage,
    Symbol,
)
from order_sizes import subtract

DONE_STATUSES = (TargetStatus.HELD, TargetStatus.DUST)
"""Read back from the venue as closed as far as it can be; MISSED and SIMULATED are not."""


class OrderClass(StrEnum):
    """What a resting order can do to its account."""

    CLOSING_GUARDED = "CLOSING_GUARDED"
    CLOSING_PLAIN = "CLOSING_PLAIN"
    OPENING = "OPENING"


def classify_order(
    order: Order, *, position_mode: PositionMode, held_side: Side | None
) -> OrderClass:
    """Say what `order` can do, given the side held on its symbol (None: flat or not known).

    The leg an order names counts more than the account's mode, because Bybit sets the mode per
    symbol. An order without a leg on a hedged account is taken to open.
    """
    if order.reduce_only or order.close_position:
        return OrderClass.CLOSING_GUARDED
    if order.base is not None:
        sells = order.side is OrderSide.SELL
        return OrderClass.CLOSING_GUARDED if sells else OrderClass.OPENING
    if order.position_side is not None:
        closes = order.side is order.position_side.closing_order
        return OrderClass.CLOSING_GUARDED if closes else OrderClass.OPENING
    if position_mode is PositionMode.HEDGE or held_side is None:
        return OrderClass.OPENING
    closes = order.side is held_side.closing_order
    return OrderClass.CLOSING_PLAIN if closes else OrderClass.OPENING


def plan_cancels(
    *,
    scope: ScopeId,
    orders: tuple[Order, ...],
    positions: tuple[Position, ...] | None,
    targets: tuple[CloseTarget, ...],
    stage: Stage,
    position_mode: PositionMode,
    is_complete: bool,
    cancel_entry_orders: bool = True,
    untouchable: Collection[Symbol] = (),
    blocked: Collection[RowKey] = (),
) -> tuple[Order, ...]:
    """Choose the orders of one scope to cancel, in the order given.

    `positions` None means not known: plain orders then count as able to open. `targets` carry
    their status by the latest position read; those of other scopes are ignored. `is_complete`
    says that every target of the scope holds: from stage 3 on every order goes then.
    `cancel_entry_orders=False` spares orders that open, but not plain closing orders that our own
    close would turn into openers, nor leftovers. `blocked` names rows whose close was refused
    because of a resting order: their closing orders go.
    """
    own_targets = tuple(target for target in targets if target.key.scope == scope)
    held = _held_alone(positions or ())
    classes = {
        order: classify_order(
            order, position_mode=position_mode, held_side=_side_of(held.get(order.symbol))
        )
        for order in orders
    }
    oversized = _oversized(orders=orders, classes=classes, held=held, targets=own_targets)
    finished = tuple(
        target.key
        for target in own_targets
        if target.may_remain == 0 and target.status in DONE_STATUSES and not target.is_passage
    )

    def must_go(order: Order) -> bool:
        if order.row_symbol in untouchable:
            return False
        if is_complete and stage >= Stage.ALL_CLOSED and not _is_kept_sale(order, stage):
            return True
        if any(_belongs_to(order, key) for key in (*finished, *blocked)):
            return True
        match classes[order]:
            case OrderClass.OPENING:
                return cancel_entry_orders
            case OrderClass.CLOSING_PLAIN:
                return order.symbol in oversized
            case OrderClass.CLOSING_GUARDED:
                return False
            case _:
                assert_never(classes[order])

    return tuple(order for order in orders if must_go(order))


def _is_kept_sale(order: Order, stage: Stage) -> bool:
    """True for a spot sale, which goes with the target of its coin; a kill takes every order."""
    return order.base is not None and order.side is OrderSide.SELL and stage is Stage.ALL_CLOSED


def _held_alone(positions: tuple[Position, ...]) -> dict[Symbol, Position]:
    """The positions that are the only one on their symbol; two legs say nothing about a net."""
    count: dict[Symbol, int] = {}
    for position in positions:
        count[position.symbol] = count.get(position.symbol, 0) + 1
    return {position.symbol: position for position in positions if count[position.symbol] == 1}


def _side_of(position: Position | None) -> Side | None:
    return None if position is None else position.side


def _belongs_to(order: Order, key: RowKey) -> bool:
    """True for an order of that symbol and side.

    Without a leg, a guarded order belongs to the side that it closes; a plain one belongs to
    whatever its symbol holds, because the same order closes today and opens once flat. On a spot
    market an order belongs to the coin it trades and to the one it holds.
    """
    if order.base is not None:
        return key.symbol in (order.row_symbol, order.holds)
    if order.symbol != key.symbol:
        return False
    if order.position_side is not None:
        return order.position_side is key.side
    if order.reduce_only or order.close_position:
        return order.side is key.side.closing_order
    return True


def _oversized(
    *,
    orders: tuple[Order, ...],
    classes: Mapping[Order, OrderClass],
    held: Mapping[Symbol, Position],
    targets: tuple[CloseTarget, ...],
) -> frozenset[Symbol]:
    """The symbols whose plain closing orders together are larger than what may remain.

    An order without a quantity has an unknown size, which fits into nothing.
    """
    may_remain = {(target.key.symbol, target.key.side): target.may_remain for target in targets}
    left: dict[Symbol, Decimal] = {}
    unfit: set[Symbol] = set()
    for order in orders:
        if classes[order] is not OrderClass.CLOSING_PLAIN:
            continue
        position = held[order.symbol]
        limit = may_remain.get((position.symbol, position.side), position.quantity)
        room = subtract(left.get(order.symbol, min(limit, position.quantity)), order.quantity)
        left[order.symbol] = room
        if order.quantity <= 0 or room < 0:
            unfit.add(order.symbol)
    return frozenset(unfit)
