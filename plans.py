"""What a stage closes: how much of which position may remain, and what that does to the book.

Pure. Owns behaviour.md section 9 except its orders (`cancels.py`) and how targets are carried
out (`order_safety.py`). It does not measure losses: it is handed rows ranked by score. Its rules:

- A plan names remainders, never amounts to sell, so carrying it out twice closes nothing twice.
- Coins that are for sale (`coin_sales.py`) are chosen like long positions. All others stay, and
  so does what offsets them.
- A position offsets what stays (coins, and `never_touch` positions) per base asset and net: a
  coin that a `never_touch` short already offsets protects no second short. Positions that the
  plan leaves alone anyhow use the protection up first; of those it takes, the lowest in rank is
  kept first.
- Nothing is planned in a scope that was not read; the plan says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, assert_never

from coin_sales import LIMITS_BY_SCOPE, as_position, coins_for_sale, plan_passages, say_coins
from exposure import ROUNDING, Exposure, compute_exposure, compute_staying, is_larger
from memory import CloseTarget, TargetStatus
from model import (
    Asset,
    MarketLimits,
    Position,
    PositionMode,
    Reading,
    Row,
    RowKey,
    Side,
    Source,
    Stage,
    StageMode,
    Symbol,
)
from order_sizes import EXACT, ZERO, compute_remainder, step_of, subtract
from policy import BookPolicy, StagePolicy

HEAVY_LOSS_SHARE = 0.60
"""Stage 2 without a single source closes the fewest losers that hold this share of the losses."""


class RankedRow(Protocol):
    """One open row as risk attribution ranks it (`risk_attribution.ScoredRow` is one)."""

    @property
    def row(self) -> Row:
        """The row itself; only its key is used here."""

    @property
    def result(self) -> float:
        """Money made since the peak in quote, negative for a loser."""

    @property
    def score(self) -> float:
        """Risk score in [0, 1]; the larger, the sooner it is closed."""


class KeepReason(StrEnum):
    """Why a plan leaves a position that its stage would otherwise have to look at."""

    NEVER_TOUCH = "NEVER_TOUCH"
    OFFSETS_WHAT_STAYS = "OFFSETS_WHAT_STAYS"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPosition:
    """A position, or the part of one (base units), that a plan keeps on purpose."""

    key: RowKey
    quantity: Decimal
    reason: KeepReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one stage wants of one book; the targets are numbered from 1 in rank order."""

    targets: tuple[CloseTarget, ...] = ()
    kept: tuple[KeptPosition, ...] = ()
    notes: tuple[str, ...] = ()
    exposure_before: Exposure = field(default_factory=Exposure)
    exposure_after: Exposure = field(default_factory=Exposure)

    @property
    def is_empty(self) -> bool:
        """True when nothing is there, or nothing that may be closed."""
        return not self.targets

    @property
    def is_more_directional(self) -> bool:
        """True when the net exposure of the whole book ends larger than it was."""
        return is_larger(self.exposure_after.total, self.exposure_before.total)

    @property
    def more_directional_bases(self) -> tuple[Asset, ...]:
        """The base assets whose own net exposure ends larger than it was."""
        before = dict(self.exposure_before.by_base)
        return tuple(
            base for base, after in self.exposure_after.by_base if is_larger(after, before[base])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holding:
    """One position or coin of the book with everything that planning asks about it."""

    key: RowKey
    position: Position
    limits: MarketLimits | None
    is_hedged: bool
    loss: float
    score: float
    is_coin: bool = False

    @property
    def quantity(self) -> Decimal:
        return self.position.quantity

    def remainder(self, quantity: Decimal) -> Decimal:
        """`quantity` as a remainder that the venue can later close."""
        return compute_remainder(
            quantity,
            step=step_of(self.limits, self.quantity),
            limits=self.limits,
            mark_price=self.position.mark_price,
            hedged=self.is_hedged,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What was chosen: the remainders wished and granted, and what dropped out as an offset."""

    wished: Mapping[RowKey, Decimal]
    remains: Mapping[RowKey, Decimal]
    kept_whole: Collection[RowKey]

    def kept_part(self, holding: _Holding) -> Decimal:
        """How much of a position is kept only because it offsets something."""
        if holding.key in self.kept_whole:
            return holding.quantity
        if holding.key not in self.wished:
            return ZERO
        return subtract(self.remains[holding.key], self.wished[holding.key])


def untouchable_symbols(book: BookPolicy, stage: Stage) -> frozenset[Symbol]:
    """The symbols whose positions and orders `stage` must leave alone.

    By the stage, not by its mode: stage 3 and kill take `never_touch` symbols unless the book
    says `never_touch_even_in_stage_3`.
    """
    if stage >= Stage.ALL_CLOSED and not book.never_touch_even_in_stage_3:
        return frozenset()
    return frozenset(book.never_touch)


def plan_stage(
    *,
    stage_policy: StagePolicy,
    book: BookPolicy,
    source: Source,
    ranked: Sequence[RankedRow],
    readings: Sequence[Reading],
    limits: LIMITS_BY_SCOPE,
) -> Plan:
    """Plan what `stage_policy.mode` closes in `book`, from the latest reading of each scope.

    `ranked` need not hold every position (a winner may be missing) and may hold rows that are
    gone; order does not matter, ties break by key. A stage above 3 is the operator's kill.
    """
    own = tuple(reading for reading in readings if reading.scope in book.scopes)
    holdings = _holdings(readings=own, ranked=ranked, limits=limits, book=book)
    spared = untouchable_symbols(book, stage_policy.stage)
    free = tuple(holding for holding in holdings if holding.key.symbol not in spared)
    for_sale = {holding.key for holding in free if holding.is_coin}
    staying = compute_staying(readings=own, spared=spared, for_sale=for_sale)
    chosen = _choose(policy=stage_policy, source=source, free=free, staying=staying)
    kept = tuple(
        KeptPosition(key=h.key, quantity=h.quantity, reason=KeepReason.NEVER_TOUCH)
        for h in holdings
        if h.key.symbol in spared
    ) + tuple(
        KeptPosition(key=h.key, quantity=quantity, reason=KeepReason.OFFSETS_WHAT_STAYS)
        for h in free
        if (quantity := chosen.kept_part(h)) > 0
    )
    targets = tuple(
        CloseTarget(
            number=number,
            key=holding.key,
            may_remain=chosen.remains[holding.key],
            initial_quantity=holding.quantity,
        )
        for number, holding in enumerate((h for h in free if h.key in chosen.remains), start=1)
    )
    passages = plan_passages(targets, readings=own, limits=limits, book=book, spared=spared)
    plan = Plan(
        targets=targets + passages,
        kept=kept,
        exposure_before=compute_exposure(readings=own, remains={}),
        exposure_after=compute_exposure(readings=own, remains=chosen.remains),
    )
    return replace(
        plan,
        notes=say_coins(targets, readings=own, limits=limits, book=book)
        + _notes(plan, policy=stage_policy, source=source, book=book, readings=own, free=free),
    )


def merge_targets(
    old: tuple[CloseTarget, ...], new: tuple[CloseTarget, ...]
) -> tuple[CloseTarget, ...]:
    """Merge the targets of a running incident with those of a higher stage.

    The smaller remainder wins. Old targets keep number and initial quantity, because order ids
    are derived from the number; new ones are numbered on. A target that became tighter, or had
    been given up, is open again.
    """
    tighter = {target.key: target for target in new}
    merged: list[CloseTarget] = []
    for target in old:
        wanted = tighter.pop(target.key, target)
        reopens = wanted.may_remain < target.may_remain or (
            wanted is not target and target.status is TargetStatus.MISSED
        )
        if reopens:
            target = replace(
                target,
                may_remain=min(wanted.may_remain, target.may_remain),
                status=TargetStatus.OPEN,
            )
        merged.append(target)
    first = max((target.number for target in old), default=0) + 1
    added = [target for target in new if target.key in tighter]
    return (
        *merged,
        *(replace(target, number=number) for number, target in enumerate(added, start=first)),
    )


def _holdings(
    *,
    readings: Sequence[Reading],
    ranked: Sequence[RankedRow],
    limits: LIMITS_BY_SCOPE,
    book: BookPolicy,
) -> tuple[_Holding, ...]:
    """All positions and coins for sale of the book, the largest score first."""
    by_key = {scored.row.key: scored for scored in ranked}
    holdings = []
    for reading in readings:
        coins = tuple(as_position(coin) for coin in coins_for_sale(reading, book))
        for position in (*reading.positions, *coins):
            key = RowKey(reading.scope, position.symbol, position.side)
            scored = by_key.get(key)
            holdings.append(
                _Holding(
                    key=key,
                    position=position,
                    limits=limits.get(reading.scope, {}).get(position.symbol),
                    is_hedged=reading.position_mode is PositionMode.HEDGE,
                    loss=0.0 if scored is None else max(0.0, -scored.result),
                    score=0.0 if scored is None else scored.score,
                    is_coin=position in coins,
                )
            )
    return tuple(sorted(holdings, key=lambda holding: (-holding.score, holding.key)))


def _choose(
    *,
    policy: StagePolicy,
    source: Source,
    free: Sequence[_Holding],
    staying: Mapping[Asset, Decimal],
) -> _Choice:
    """Choose what to close, without a place in `top_n` going to a position that is kept whole.

    Each turn chooses again without those that turned out to be kept, at least one, so it ends.
    """
    kept_whole: set[RowKey] = set()
    while True:
        choice = tuple(holding for holding in free if holding.key not in kept_whole)
        wished = _wished(policy=policy, source=source, holdings=choice)
        remains = _keep_offsets(
            wished=wished, holdings=free, staying=_with_coins(staying, free=free, wished=wished)
        )
        whole = {h.key for h in choice if remains.get(h.key, ZERO) >= h.quantity}
        if not whole:
            return _Choice(wished=wished, remains=remains, kept_whole=kept_whole)
        kept_whole |= whole


def _with_coins(
    staying: Mapping[Asset, Decimal],
    *,
    free: Sequence[_Holding],
    wished: Mapping[RowKey, Decimal],
) -> dict[Asset, Decimal]:
    """The net quantities that stay, with what the plan leaves of the coins that are for sale."""
    net = dict(staying)
    for coin in (holding for holding in free if holding.is_coin):
        base = coin.position.base
        net[base] = EXACT.add(net.get(base, ZERO), wished.get(coin.key, coin.quantity))
    return net


def _wished(
    *, policy: StagePolicy, source: Source, holdings: Sequence[_Holding]
) -> dict[RowKey, Decimal]:
    """What may remain of each chosen position, before anything is kept as an offset."""
    sides = _sides_of(source)
    match policy.mode:
        case StageMode.CLOSE_TOP_RISK_CONTRIBUTORS:
            losers = [h for h in holdings if h.loss > 0 and h.key.side in sides]
            return {h.key: _reduced(h, policy) for h in losers[: policy.top_n]}
        case StageMode.CLOSE_DOMINANT_LOSS_DIRECTION:
            if len(sides) == 1:
                return {h.key: ZERO for h in holdings if h.key.side in sides}
            return {h.key: ZERO for h in _heaviest_losers(holdings)}
        case StageMode.CLOSE_ALL_POSITIONS:
            return {h.key: ZERO for h in holdings}
        case StageMode.SELL_ALL_NON_USDT_KEEP_STABLES:
            return {h.key: ZERO for h in holdings if h.is_coin}
        case StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES:
            return {
                h.key: ZERO for h in holdings if h.is_coin and h.position.base in policy.blacklist
            }
        case StageMode.LOCK_ONLY:
            return {}
        case _:
            assert_never(policy.mode)


def _sides_of(source: Source) -> tuple[Side, ...]:
    match source:
        case Source.LONG:
            return (Side.LONG,)
        case Source.SHORT:
            return (Side.SHORT,)
        case Source.MIXED:
            return (Side.LONG, Side.SHORT)
        case Source.UNKNOWN:
            return ()
        case _:
            assert_never(source)


def _reduced(holding: _Holding, policy: StagePolicy) -> Decimal:
    if _is_near_liquidation(holding, policy):
        return ZERO
    share = EXACT.subtract(Decimal(1), policy.close_fraction)
    return holding.remainder(EXACT.multiply(holding.quantity, share))


def _is_near_liquidation(holding: _Holding, policy: StagePolicy) -> bool:
    """True within `full_close_distance` of the liquidation price, or past it."""
    mark, liquidation = holding.position.mark_price, holding.position.liquidation_price
    if liquidation is None or liquidation <= 0 or mark <= 0:
        return False
    distance = holding.key.side.sign * (mark - liquidation) / mark
    return distance <= policy.full_close_distance + ROUNDING


def _heaviest_losers(holdings: Sequence[_Holding]) -> list[_Holding]:
    """The fewest losers, by score, that hold `HEAVY_LOSS_SHARE` of the losses.

    Only losers that are still there and may be closed count, on both sides of the comparison:
    losses that are already realised cannot be closed, and must not stand in for those that can.
    """
    losers = [holding for holding in holdings if holding.loss > 0]
    enough = HEAVY_LOSS_SHARE * sum(holding.loss for holding in losers) * (1 - ROUNDING)
    chosen: list[_Holding] = []
    covered = 0.0
    for holding in losers:
        if covered >= enough:
            break
        chosen.append(holding)
        covered += holding.loss
    return chosen


def _keep_offsets(
    *,
    wished: Mapping[RowKey, Decimal],
    holdings: Sequence[_Holding],
    staying: Mapping[Asset, Decimal],
) -> dict[RowKey, Decimal]:
    """Raise remainders so that what offsets the staying exposure stays with it."""
    room: dict[tuple[Asset, Side], Decimal] = {
        (base, Side.SHORT if net > 0 else Side.LONG): abs(net) for base, net in staying.items()
    }
    for holding in (each for each in holdings if not each.is_coin):
        place = (holding.position.base, holding.key.side)
        if place in room:
            stays = wished.get(holding.key, holding.quantity)
            room[place] = max(ZERO, subtract(room[place], stays))
    remains = dict(wished)
    for holding in reversed(holdings):
        place = (holding.position.base, holding.key.side)
        free = room.get(place, ZERO)
        if holding.key not in wished or free <= 0:
            continue
        target = wished[holding.key]
        extra = min(free, subtract(holding.quantity, target))
        room[place] = subtract(free, extra)
        kept = EXACT.add(target, extra)
        if kept < holding.quantity:
            kept = holding.remainder(kept)
        remains[holding.key] = kept
    return remains


def _notes(
    plan: Plan,
    *,
    policy: StagePolicy,
    source: Source,
    book: BookPolicy,
    readings: Sequence[Reading],
    free: Sequence[_Holding],
) -> tuple[str, ...]:
    """What a person should know about the plan, one sentence each."""
    notes = []
    read = {reading.scope for reading in readings}
    notes += [f"{s} was not read: nothing is planned there" for s in book.scopes if s not in read]
    if plan.is_empty and policy.mode is StageMode.LOCK_ONLY:
        notes.append("nothing is sold: no mode was chosen for this stage")
    elif plan.is_empty:
        notes.append(f"nothing to close (source {source})")
    targets = {target.key for target in plan.targets}
    if policy.mode is StageMode.CLOSE_TOP_RISK_CONTRIBUTORS:
        notes += [
            f"{h.key.symbol} {h.key.side} is close to liquidation: closed whole"
            for h in free
            if h.key in targets and _is_near_liquidation(h, policy)
        ]
    before, after = dict(plan.exposure_before.by_base), dict(plan.exposure_after.by_base)
    if plan.is_more_directional:
        totals = plan.exposure_before.total, plan.exposure_after.total
        notes.append(_more_directional("the book", *totals))
    notes += [
        _more_directional(base, before[base], after[base]) for base in plan.more_directional_bases
    ]
    return tuple(notes)


def _more_directional(name: str, before: float, after: float) -> str:
    return f"{name} ends more directional: net {before:.2f} before, {after:.2f} after"
