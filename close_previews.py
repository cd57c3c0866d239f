"""What each stage would do if it fired now: orders, cost, time, and how far prices must move to it.

Pure. Asks the real planner (`plans`, `order_safety`) about the present reading, round after round,
as if every order were filled; nothing of it is ever sent. Its limits:

- Without the history of a fall nobody knows who will have lost: what is lost on paper now counts.
- Costs are half the spread and the taker fee. How far a large order pushes the price is not in
  them, and what a venue does not tell is named and left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from coin_sales import as_position, coins_for_sale
from inspection import OrderPace, TradingCost
from memory import CloseTarget, Incident
from model import (
    IncidentId,
    MarketLimits,
    Order,
    Position,
    Reading,
    RowKey,
    Side,
    Source,
    Stage,
    StageMode,
    Symbol,
)
from order_safety import RoundPlan, plan_round
from order_sizes import subtract
from plans import Plan, plan_stage, untouchable_symbols
from policy import BookPolicy, StagePolicy, Threshold
from risk_attribution import attribute, score_rows

MAX_ROUNDS = 20
"""Rounds that a preview follows; what is still open then is told as unfinished."""
_PREVIEW = IncidentId("preview")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePreview:
    """What one stage would close as of now. Money in quote, `seconds` until the last answer.

    `spread_cost` and `fee_cost` leave out the symbols in `uncosted`. `seconds` is None where the
    venue's pace is not known. `is_finished` is False when the targets would not hold after
    `MAX_ROUNDS`.
    """

    stage: Stage
    mode: StageMode
    source: Source
    targets: tuple[CloseTarget, ...]
    cancels: int
    orders: int
    rounds: int
    value: float
    spread_cost: float
    fee_cost: float
    uncosted: tuple[Symbol, ...]
    seconds: float | None
    notes: tuple[str, ...]
    is_finished: bool

    @property
    def cost(self) -> float:
        """Spread and fees together."""
        return self.spread_cost + self.fee_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDistance:
    """How far prices must move from here, if equity is at its peak now, to breach a stage.

    `threshold` is the smallest of the stage; `loss` the money it means. Moves are fractions: of
    every position against itself, of the longs alone down, of the shorts alone up, and of the
    whole market in the direction that hurts (`market`, negative for a fall). None: no such
    exposure, or none left (a long cannot fall by more than all).
    """

    stage: Stage
    threshold: Threshold
    loss: float
    everything: float | None
    longs_down: float | None
    shorts_up: float | None
    market: float | None


def preview_stages(
    *,
    reading: Reading,
    orders: Sequence[Order],
    limits: Mapping[Symbol, MarketLimits],
    book: BookPolicy,
    costs: Mapping[Symbol, TradingCost],
    pace: OrderPace | None,
    latency_s: float,
) -> tuple[StagePreview, ...]:
    """Preview every stage of the book, lowest first, each by itself from the present reading."""
    return tuple(
        _preview(
            stage_policy,
            book=book,
            reading=reading,
            orders=tuple(orders),
            limits=limits,
            costs=costs,
            pace=pace,
            latency_s=latency_s,
        )
        for stage_policy in book.stages
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    """A plan carried out on paper: how many rounds, orders per round, cancels, sizes by row."""

    rounds: tuple[int, ...] = ()
    cancels: int = 0
    closed: tuple[tuple[RowKey, Decimal], ...] = ()
    is_finished: bool = False


def _preview(
    stage_policy: StagePolicy,
    *,
    book: BookPolicy,
    reading: Reading,
    orders: tuple[Order, ...],
    limits: Mapping[Symbol, MarketLimits],
    costs: Mapping[Symbol, TradingCost],
    pace: OrderPace | None,
    latency_s: float,
) -> StagePreview:
    source, plan = _plan(stage_policy, book=book, reading=reading, limits=limits)
    carried = _carry_out(
        stage_policy, plan.targets, book=book, reading=reading, orders=orders, limits=limits
    )
    marks = {row.key: row.mark_price for row in reading.rows()}
    values = [(key.symbol, float(quantity) * marks[key]) for key, quantity in carried.closed]
    told = [(value, costs.get(symbol, TradingCost())) for symbol, value in values]
    seconds = None
    if pace is not None:
        # Each round reads the positions once more before it sends.
        seconds = sum(
            latency_s + pace.seconds_for(count, latency_s=latency_s) for count in carried.rounds
        )
    return StagePreview(
        stage=stage_policy.stage,
        mode=stage_policy.mode,
        source=source,
        targets=plan.targets,
        cancels=carried.cancels,
        orders=sum(carried.rounds),
        rounds=len(carried.rounds),
        value=sum(value for _, value in values),
        spread_cost=sum(value * (cost.spread or 0.0) / 2 for value, cost in told),
        fee_cost=sum(value * (cost.fee or 0.0) for value, cost in told),
        uncosted=tuple(
            sorted(
                {
                    symbol
                    for (symbol, _), (_, cost) in zip(values, told, strict=True)
                    if cost.spread is None or cost.fee is None
                }
            )
        ),
        seconds=seconds,
        notes=plan.notes,
        is_finished=carried.is_finished,
    )


def _plan(
    stage_policy: StagePolicy,
    *,
    book: BookPolicy,
    reading: Reading,
    limits: Mapping[Symbol, MarketLimits],
) -> tuple[Source, Plan]:
    """The real plan, as if what is lost on paper now had been lost since the peak."""
    rows = reading.rows()
    made = tuple((row.key, row.unrealised_pnl) for row in rows)
    attribution = attribute(
        peak=(),
        now=made,
        rows=rows,
        never_touch=book.never_touch,
        source_mode=stage_policy.source_mode,
        source_threshold=stage_policy.source_threshold,
        drawdown_money=sum(max(0.0, -money) for _, money in made),
        unexplained_since_peak=0.0,
    )
    plan = plan_stage(
        stage_policy=stage_policy,
        book=replace(book, scopes=(reading.scope,)),
        source=attribution.source,
        ranked=score_rows(attribution=attribution, rows=rows, equity=reading.equity),
        readings=(reading,),
        limits={reading.scope: limits},
    )
    return attribution.source, plan


def _carry_out(
    stage_policy: StagePolicy,
    targets: tuple[CloseTarget, ...],
    *,
    book: BookPolicy,
    reading: Reading,
    orders: tuple[Order, ...],
    limits: Mapping[Symbol, MarketLimits],
) -> _Carried:
    """Plan round after round, each from the positions that the last one would have left."""
    incident = Incident(
        incident_id=_PREVIEW,
        book=book.name,
        stage=stage_policy.stage,
        mode=stage_policy.mode.value,
        source=Source.UNKNOWN,
        opened_at=reading.asked_at,
        dry_run=False,
        reason="",
        targets=targets,
    )
    coins = tuple(as_position(coin) for coin in coins_for_sale(reading, book))
    positions, resting = (*reading.positions, *coins), orders
    rounds: list[int] = []
    closed: dict[RowKey, Decimal] = {}
    cancels = 0
    for number in range(1, MAX_ROUNDS + 1):
        plan = plan_round(
            incident=incident,
            scope=reading.scope,
            positions=positions,
            orders=resting,
            limits=limits,
            position_mode=reading.position_mode,
            round_number=number,
            cancel_entry_orders=stage_policy.cancel_entry_orders,
            untouchable=untouchable_symbols(book, stage_policy.stage),
        )
        cancels += len(plan.cancels)
        resting = tuple(order for order in resting if order not in plan.cancels)
        if plan.holds or not plan.closes:
            return _Carried(
                rounds=tuple(rounds),
                cancels=cancels,
                closed=tuple(closed.items()),
                is_finished=plan.holds,
            )
        rounds.append(len(plan.closes))
        positions = _after(plan, positions, closed)
    return _Carried(rounds=tuple(rounds), cancels=cancels, closed=tuple(closed.items()))


def _after(
    plan: RoundPlan, positions: tuple[Position, ...], closed: dict[RowKey, Decimal]
) -> tuple[Position, ...]:
    """The positions once every close of a round is filled; adds what was closed to `closed`."""
    gone: dict[tuple[Symbol, Side], Decimal] = {}
    for close in plan.closes:
        key = RowKey(close.scope, close.symbol, close.side)
        closed[key] = closed.get(key, Decimal(0)) + close.quantity
        place = (close.symbol, close.side)
        gone[place] = gone.get(place, Decimal(0)) + close.quantity
    left = (
        (
            position,
            subtract(position.quantity, gone.get((position.symbol, position.side), Decimal(0))),
        )
        for position in positions
    )
    return tuple(
        replace(position, quantity=quantity) for position, quantity in left if quantity > 0
    )


# --- how far away it is -----------------------------------------------------------------------


def measure_distances(*, reading: Reading, book: BookPolicy) -> tuple[StageDistance, ...]:
    """How far prices must move for each stage, at today's exposure; none for an equity of 0.

    The peak is taken to be now: an account that already fell is nearer (`status` tells). Coins
    count as longs. Margin that caps the loss of an isolated position is not taken into account.
    """
    if not math.isfinite(reading.equity) or reading.equity <= 0:
        return ()
    rows = reading.rows()
    longs = sum(row.notional for row in rows if row.key.side is Side.LONG)
    shorts = sum(row.notional for row in rows if row.key.side is Side.SHORT)
    return tuple(
        _distance(stage.stage, _nearest(stage), equity=reading.equity, longs=longs, shorts=shorts)
        for stage in book.stages
    )


def _nearest(stage: StagePolicy) -> Threshold:
    return min(stage.thresholds, key=lambda threshold: (threshold.fraction, threshold.window_s))


def _distance(
    stage: Stage, threshold: Threshold, *, equity: float, longs: float, shorts: float
) -> StageDistance:
    loss = threshold.fraction * equity
    net = longs - shorts
    down = _move(loss, longs, may_be_over_one=False)
    market = _move(loss, abs(net), may_be_over_one=net < 0)
    return StageDistance(
        stage=stage,
        threshold=threshold,
        loss=loss,
        everything=_move(loss, longs + shorts, may_be_over_one=not longs),
        longs_down=down,
        shorts_up=_move(loss, shorts, may_be_over_one=True),
        market=market if market is None or net < 0 else -market,
    )


def _move(loss: float, exposure: float, *, may_be_over_one: bool) -> float | None:
    """The fraction by which prices must move for `exposure` to lose so much."""
    if exposure <= 0:
        return None
    move = loss / exposure
    return move if may_be_over_one or move <= 1 else None
