"""How an order of ours may look: the only place that makes a `CloseInstruction`.

Pure. Owns the sizing half of behaviour.md section 10. Knows targets, one position read and what
the venue answered so far; it sends nothing and remembers nothing. Its rules:

- A size comes from the position just read, never from the plan: only the excess over the target,
  rounded down, so that no order can open, increase or flip, and none leaves less than may remain.
- A position of the other side is another row. No target of the old side ever touches it.
- Orders that cannot be read delay no close; positions that cannot be read forbid every close,
  hence a round cannot be planned without them.
- Every instruction passes `approve()`, which checks it again from the other end. What it finds
  is a fault of this program: `InvariantViolation`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from cancels import plan_cancels
from client_ids import client_order_id, is_of_incident, parse_client_order_id
from coin_sales import is_sold_over
from errors import InvariantViolation
from memory import CloseTarget, Incident, TargetStatus
from model import (
    ClientOrderId,
    CloseInstruction,
    MarketLimits,
    Order,
    Position,
    PositionMode,
    RowKey,
    ScopeId,
    Side,
    Symbol,
)
from order_sizes import EXACT, ZERO, is_too_small, least_order, round_down, split, step_of, subtract

DUST_VALUE_LIMIT = Decimal(250)
"""Quote value up to which "too small" from a venue is believed without its own published minimum.

The largest published minimum value is 100 (BTC on Binance futures); one wrong answer must not
declare a real position done.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """What our sales took of a coin, and what they brought of what its market pays in."""

    quantity: Decimal = ZERO
    brought: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueAnswers:
    """What the venue's answers to earlier orders of this incident taught, by row. Base units.

    `blocked`: a close was refused because of a resting order. `too_large`: the smallest size
    refused as too large. `too_small`: the largest size refused as too small. `in_flight`: sizes
    of orders whose outcome is still unknown and that may yet be executed; they are not sent
    again. `sold`: what the sales of this incident came to; None for a row of which not all is told
    yet, and None as a whole where an earlier run sold as well.
    """

    blocked: tuple[RowKey, ...] = ()
    too_large: Mapping[RowKey, Decimal] = field(default_factory=dict)
    too_small: Mapping[RowKey, Decimal] = field(default_factory=dict)
    in_flight: Mapping[RowKey, Decimal] = field(default_factory=dict)
    sold: Mapping[RowKey, Sold | None] | None = None


class ViolationKind(StrEnum):
    """Something in a position read that a close alone cannot explain. Noted, never acted on."""

    SIDE_FLIPPED = "SIDE_FLIPPED"
    GREW = "GREW"
    TWO_LEGS_IN_ONE_WAY_MODE = "TWO_LEGS_IN_ONE_WAY_MODE"
    READ_TWICE = "READ_TWICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One such finding. `key` is the row that should not be as it is."""

    kind: ViolationKind
    key: RowKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """What one round sends in one scope, and how its targets stand by the positions just read.

    `targets` are the scope's targets with their new status, `new_dust` those of them that became
    dust in this round (report them once). `holds` says that none is open. `orders_known` is False
    when the orders could not be read: then `cancels` and `foreign_orders` prove nothing.
    """

    closes: tuple[CloseInstruction, ...]
    cancels: tuple[Order, ...]
    targets: tuple[CloseTarget, ...]
    new_dust: tuple[CloseTarget, ...]
    holds: bool
    orders_known: bool
    violations: tuple[Violation, ...]
    foreign_orders: tuple[Order, ...]


def plan_round(
    *,
    incident: Incident,
    scope: ScopeId,
    positions: tuple[Position, ...],
    orders: tuple[Order, ...] | None,
    limits: Mapping[Symbol, MarketLimits],
    position_mode: PositionMode,
    round_number: int,
    cancel_entry_orders: bool = True,
    untouchable: Collection[Symbol] = (),
    answers: VenueAnswers | None = None,
) -> RoundPlan:
    """Plan one round of `incident` in `scope` from positions read just before.

    `orders` None means that they could not be read; closes go ahead without them. `round_number`
    must be new in the life of the incident, because order ids are derived from it. A target on an
    `untouchable` symbol (the operator may have added it since) is given up as MISSED.

    Raises InvariantViolation for a dry-run incident, which sends neither orders nor cancels, and
    for a size that `approve()` refuses.
    """
    if incident.dry_run:
        raise InvariantViolation(f"{incident.incident_id} is a dry run: it has no rounds")
    learnt = answers or VenueAnswers()
    held = _held(scope, positions)
    old = tuple(target for target in incident.targets if target.key.scope == scope)
    judged: list[CloseTarget] = []
    closes: list[CloseInstruction] = []
    for target in old:
        position = held.get(target.key)
        market = limits.get(target.key.symbol)
        if target.key.symbol in untouchable and not target.is_passage:
            judged.append(replace(target, status=TargetStatus.MISSED))
            continue
        aim = _aim(target, position=position, targets=old, limits=limits, learnt=learnt)
        status = _judge(aim, position=position, limits=market, learnt=learnt)
        judged.append(target if status is target.status else replace(target, status=status))
        if status is TargetStatus.OPEN and position is not None:
            closes += _instruct(
                aim,
                incident=incident,
                position=position,
                position_mode=position_mode,
                round_number=round_number,
                sizes=_sizes(aim, position=position, limits=market, learnt=learnt),
            )
    targets = tuple(judged)
    holds = all(target.status is not TargetStatus.OPEN for target in targets)
    cancels = plan_cancels(
        scope=scope,
        orders=orders or (),
        positions=positions,
        targets=targets,
        stage=incident.stage,
        position_mode=position_mode,
        is_complete=holds,
        cancel_entry_orders=cancel_entry_orders,
        untouchable=untouchable,
        blocked=(*learnt.blocked, *_held_by_orders(targets, held=held)),
    )
    return RoundPlan(
        closes=approve(
            tuple(closes),
            incident=incident,
            scope=scope,
            positions=positions,
            position_mode=position_mode,
            limits=limits,
        ),
        cancels=cancels,
        targets=targets,
        new_dust=tuple(
            now
            for before, now in zip(old, targets, strict=True)
            if now.status is TargetStatus.DUST and before.status is not TargetStatus.DUST
        ),
        holds=holds,
        orders_known=orders is not None,
        violations=_violations(
            scope=scope, positions=positions, targets=targets, position_mode=position_mode
        ),
        foreign_orders=find_foreign_orders(orders or (), incident=incident),
    )


def approve(
    closes: tuple[CloseInstruction, ...],
    *,
    incident: Incident,
    scope: ScopeId,
    positions: tuple[Position, ...],
    position_mode: PositionMode,
    limits: Mapping[Symbol, MarketLimits],
) -> tuple[CloseInstruction, ...]:
    """Return `closes` of one scope unchanged once every one is shown to add no risk.

    Each must serve a target of a live incident, lie on the side, mode and margin of a
    position just read, on the step and under the market maximum, under an id of its own; and all
    orders of one row together must leave at least what may remain.

    Raises InvariantViolation otherwise: such an order is our own bug and must never be sent.
    """
    targets = {target.key: target for target in incident.targets}
    held = _held(scope, positions)
    sent: dict[RowKey, Decimal] = {}
    ids: set[ClientOrderId] = set()
    for close in closes:
        key = RowKey(close.scope, close.symbol, close.side)
        _demand(not incident.dry_run, close, "a dry run sends nothing")
        _demand(close.incident_id == incident.incident_id, close, "of another incident")
        _demand(close.position_mode is position_mode, close, "for another position mode")
        _demand(key in targets, close, "serves no target")
        _demand(key in held, close, "there is no such position")
        position = held[key]
        market = limits.get(close.symbol)
        step = _step(targets[key], position=position, limits=market)
        _demand(close.margin_mode is position.margin_mode, close, "for another margin mode")
        _demand(round_down(close.quantity, step) == close.quantity, close, f"off step {step}")
        most = market.market_max if market is not None else None
        fits = most is None or most < step or close.quantity <= most
        _demand(fits, close, f"over the market maximum {most}")
        sent[key] = EXACT.add(sent.get(key, ZERO), close.quantity)
        excess = subtract(position.quantity, max(ZERO, targets[key].may_remain))
        _demand(sent[key] <= excess, close, f"more than the excess {excess}")
        free = subtract(position.quantity, position.locked)
        _demand(sent[key] <= free, close, f"more than the {free} that no order holds")
        parsed = parse_client_order_id(close.client_id)
        ours = parsed is not None and is_of_incident(parsed, incident.incident_id)
        _demand(ours and close.client_id not in ids, close, "its id is not its own")
        ids.add(close.client_id)
    return closes


def find_foreign_orders(orders: tuple[Order, ...], *, incident: Incident) -> tuple[Order, ...]:
    """Find orders that carry our id prefix but were not made for `incident`: a second guard.

    Our own are market orders and do not rest, so none of an older incident is left to be found.
    """
    return tuple(
        order
        for order in orders
        if (parsed := parse_client_order_id(order.client_id)) is not None
        and not is_of_incident(parsed, incident.incident_id)
    )


def _demand(holds: bool, close: CloseInstruction, fault: str) -> None:
    if not holds:
        raise InvariantViolation(
            f"refused to close {close.quantity} {close.symbol} {close.side} in {close.scope} "
            f"as {close.client_id}: {fault}"
        )


def _held(scope: ScopeId, positions: tuple[Position, ...]) -> dict[RowKey, Position]:
    """Positions by row; of a row that was read twice the larger part, closed first."""
    ascending = sorted(positions, key=lambda position: position.quantity)
    return {RowKey(scope, position.symbol, position.side): position for position in ascending}


def _instruct(
    target: CloseTarget,
    *,
    incident: Incident,
    position: Position,
    position_mode: PositionMode,
    round_number: int,
    sizes: tuple[Decimal, ...],
) -> list[CloseInstruction]:
    """The orders of one target in this round, numbered by part."""
    return [
        CloseInstruction(
            scope=target.key.scope,
            symbol=target.key.symbol,
            side=target.key.side,
            quantity=size,
            client_id=client_order_id(
                incident_id=incident.incident_id,
                target=target.number,
                round_number=round_number,
                part=part,
            ),
            position_mode=position_mode,
            margin_mode=position.margin_mode,
            incident_id=incident.incident_id,
        )
        for part, size in enumerate(sizes, start=1)
    ]


def _aim(
    target: CloseTarget,
    *,
    position: Position | None,
    targets: tuple[CloseTarget, ...],
    limits: Mapping[Symbol, MarketLimits],
    learnt: VenueAnswers,
) -> CloseTarget:
    """The target itself; of a coin that others are sold over, no more goes than they brought.

    What somebody else adds to that coin meanwhile is not ours to sell. Where not every sale of ours
    is told, what was held when the plan was made is the only bound.
    """
    if position is None or not target.is_passage or learnt.sold is None:
        return target
    sources = [other.key for other in targets if is_sold_over(other.key, target.key, limits)]
    if not sources:
        return target
    told = [learnt.sold.get(key, Sold()) for key in (target.key, *sources)]
    known = [one for one in told if one is not None]
    if len(known) < len(told):
        return target
    brought = sum((one.brought for one in known[1:]), ZERO)
    left = max(ZERO, subtract(brought, known[0].quantity))
    return replace(target, may_remain=max(target.may_remain, subtract(position.quantity, left)))


def _judge(
    target: CloseTarget,
    *,
    position: Position | None,
    limits: MarketLimits | None,
    learnt: VenueAnswers,
) -> TargetStatus:
    """How a target stands by the position just read (None: not there)."""
    if target.status in (TargetStatus.MISSED, TargetStatus.SIMULATED):
        return target.status
    if position is None or position.quantity <= target.may_remain:
        return TargetStatus.HELD
    excess = _excess(target, position=position, limits=limits)
    if is_too_small(excess, limits=limits, mark_price=position.mark_price):
        return TargetStatus.DUST
    refused = learnt.too_small.get(target.key, ZERO)
    value = EXACT.multiply(excess, Decimal(position.mark_price))
    is_believed = excess <= refused and 0 < value <= DUST_VALUE_LIMIT
    return TargetStatus.DUST if is_believed else TargetStatus.OPEN


def _held_by_orders(
    targets: tuple[CloseTarget, ...], *, held: Mapping[RowKey, Position]
) -> tuple[RowKey, ...]:
    """The coins of which more must go than is free: the orders that hold them have to go first."""
    return tuple(
        target.key
        for target in targets
        if target.status is TargetStatus.OPEN
        and (position := held.get(target.key)) is not None
        and target.may_remain < position.locked
    )


def _excess(target: CloseTarget, *, position: Position, limits: MarketLimits | None) -> Decimal:
    """What has to go of a position, on the step, >= 0."""
    excess = subtract(position.quantity, target.may_remain)
    return round_down(excess, _step(target, position=position, limits=limits))


def _step(target: CloseTarget, *, position: Position, limits: MarketLimits | None) -> Decimal:
    return step_of(limits, position.quantity, target.may_remain, target.initial_quantity)


def _sizes(
    target: CloseTarget,
    *,
    position: Position,
    limits: MarketLimits | None,
    learnt: VenueAnswers,
) -> tuple[Decimal, ...]:
    """The orders to send for an open target; none while enough of it is in flight."""
    step = _step(target, position=position, limits=limits)
    pending = learnt.in_flight.get(target.key, ZERO)
    excess = _excess(target, position=position, limits=limits)
    free = subtract(position.quantity, position.locked)
    size = round_down(max(ZERO, min(subtract(excess, pending), free)), step)
    if is_too_small(size, limits=limits, mark_price=position.mark_price):
        return ()
    largest = None if limits is None else limits.market_max
    refused = learnt.too_large.get(target.key)
    half = None if refused is None else EXACT.divide(refused, Decimal(2))
    if half is not None and half >= step:
        # Of less there is no order, so that its size was not the matter.
        largest = half if largest is None or largest < step else min(largest, half)
    smallest = least_order(limits, step=step, mark_price=position.mark_price)
    too_small = learnt.too_small.get(target.key)
    if too_small is not None:
        smallest = max(smallest, EXACT.add(too_small, step))
    return split(size, step=step, largest=largest, smallest=smallest)


def _violations(
    *,
    scope: ScopeId,
    positions: tuple[Position, ...],
    targets: tuple[CloseTarget, ...],
    position_mode: PositionMode,
) -> tuple[Violation, ...]:
    """What the positions show that a close alone cannot explain."""
    found: list[Violation] = []
    sides: dict[Symbol, list[Side]] = {}
    for position in positions:
        sides.setdefault(position.symbol, []).append(position.side)
    for symbol, held in sides.items():
        for side in sorted(set(held)):
            if held.count(side) > 1:
                key = RowKey(scope, symbol, side)
                found.append(Violation(kind=ViolationKind.READ_TWICE, key=key))
        if len(set(held)) > 1 and position_mode is PositionMode.ONE_WAY:
            key = RowKey(scope, symbol, held[0])
            found.append(Violation(kind=ViolationKind.TWO_LEGS_IN_ONE_WAY_MODE, key=key))
    quantities = {(position.symbol, position.side): position.quantity for position in positions}
    for target in targets:
        symbol, side = target.key.symbol, target.key.side
        has_grown = quantities.get((symbol, side), ZERO) > target.initial_quantity
        if has_grown and not target.is_passage:
            found.append(Violation(kind=ViolationKind.GREW, key=target.key))
        is_flipped = set(sides.get(symbol, ())) == {side.opposite}
        if is_flipped and position_mode is PositionMode.ONE_WAY:
            key = RowKey(scope, symbol, side.opposite)
            found.append(Violation(kind=ViolationKind.SIDE_FLIPPED, key=key))
    return tuple(found)
