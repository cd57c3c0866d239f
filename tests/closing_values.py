"""Builders of readings, markets, orders and incidents for the tests of plans and closes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from memory import CloseTarget, Incident, TargetStatus
from model import (
    Asset,
    BookName,
    ClientOrderId,
    Coin,
    IncidentId,
    MarginMode,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    Position,
    PositionMode,
    Reading,
    Row,
    RowKey,
    ScopeId,
    Side,
    Source,
    Stage,
    StageMode,
    Symbol,
    VenueOrderId,
)
from plans import Plan, plan_stage
from policy import BookPolicy, StagePolicy

SCOPE = ScopeId("binance_futures")
LONG, SHORT = Side.LONG, Side.SHORT
MODES = {
    Stage.REDUCED_TOP_RISK: StageMode.CLOSE_TOP_RISK_CONTRIBUTORS,
    Stage.DOMINANT_CLOSED: StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
    Stage.ALL_CLOSED: StageMode.CLOSE_ALL_POSITIONS,
    Stage.LOCKDOWN: StageMode.CLOSE_ALL_POSITIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A ranked row as the planner asks for it."""

    row: Row
    result: float
    score: float


def key(base: str, side: Side = LONG, scope: ScopeId = SCOPE) -> RowKey:
    """The row of `<base>USDT`."""
    return RowKey(scope, Symbol(f"{base}USDT"), side)


def position(
    base: str,
    side: Side,
    quantity: str,
    *,
    mark: float = 100.0,
    liquidation: float | None = None,
    margin_mode: MarginMode = MarginMode.CROSS,
    symbol: str | None = None,
) -> Position:
    """A position on `<base>USDT` unless another symbol is named."""
    return Position(
        symbol=Symbol(symbol or f"{base}USDT"),
        base=Asset(base),
        side=side,
        quantity=Decimal(quantity),
        entry_price=mark,
        mark_price=mark,
        unrealised_pnl=0.0,
        liquidation_price=liquidation,
        margin_mode=margin_mode,
    )


def coin(asset: str, quantity: str, price: float = 100.0) -> Coin:
    """A coin held beside the positions."""
    return Coin(asset=Asset(asset), quantity=Decimal(quantity), price=price)


def reading(
    *positions: Position,
    coins: tuple[Coin, ...] = (),
    scope: ScopeId = SCOPE,
    mode: PositionMode = PositionMode.ONE_WAY,
) -> Reading:
    """One scope's reading; its equity plays no part in planning."""
    return Reading(
        scope=scope,
        asked_at=0.0,
        equity=10_000.0,
        wallet=None,
        unrealised_pnl=None,
        positions=positions,
        coins=coins,
        position_mode=mode,
    )


def market(
    base: str,
    *,
    step: str = "0.001",
    least: str = "0.001",
    most: str | None = None,
    value: str = "0",
    waived: bool = True,
) -> MarketLimits:
    """What the venue accepts on `<base>USDT`."""
    return MarketLimits(
        symbol=Symbol(f"{base}USDT"),
        base=Asset(base),
        quote=Asset("USDT"),
        step=Decimal(step),
        min_quantity=Decimal(least),
        market_max=None if most is None else Decimal(most),
        min_notional=Decimal(value),
        reduce_only_waives_min_notional=waived,
    )


def book(
    *,
    scopes: tuple[ScopeId, ...] = (SCOPE,),
    never_touch: tuple[str, ...] = (),
    even_in_stage_3: bool = False,
    sell_collateral: bool = False,
) -> BookPolicy:
    """A book whose stages are handed to the planner one by one."""
    return BookPolicy(
        name=BookName("book"),
        scopes=scopes,
        stages=(),
        never_touch=tuple(Symbol(symbol) for symbol in never_touch),
        never_touch_even_in_stage_3=even_in_stage_3,
        sell_collateral=sell_collateral,
    )


def policy(
    stage: Stage, *, mode: StageMode | None = None, top_n: int = 3, fraction: str = "0.5"
) -> StagePolicy:
    """A stage with its default mode."""
    return StagePolicy(
        stage=stage,
        thresholds=(),
        mode=mode or MODES[stage],
        cooldown_s=60.0,
        confirm_consecutive=1,
        top_n=top_n,
        close_fraction=Decimal(fraction),
    )


def plan(
    stage: int,
    source: Source,
    *readings: Reading,
    results: dict[RowKey, tuple[float, float]] | None = None,
    markets: tuple[MarketLimits, ...] = (),
    of_book: BookPolicy | None = None,
    top_n: int = 3,
    fraction: str = "0.5",
) -> Plan:
    """Plan a stage; `results` gives (money made, score) by row, `markets` hold in every scope."""
    judged = book() if of_book is None else of_book
    rows = {row.key: row for one in readings for row in one.rows()}
    limits = {limit.symbol: limit for limit in markets}
    return plan_stage(
        stage_policy=policy(Stage(stage), top_n=top_n, fraction=fraction),
        book=judged,
        source=source,
        ranked=tuple(
            Ranked(row=rows.get(of, _gone(of)), result=result, score=score)
            for of, (result, score) in (results or {}).items()
        ),
        readings=readings,
        limits=dict.fromkeys(judged.scopes, limits),
    )


def _gone(of: RowKey) -> Row:
    """A row that no reading holds any more."""
    return Row(
        key=of,
        base=Asset(of.symbol),
        quantity=1.0,
        entry_price=1.0,
        mark_price=1.0,
        unrealised_pnl=0.0,
    )


def target(
    number: int,
    of: RowKey,
    may_remain: str,
    *,
    initial: str = "1000000",
    status: TargetStatus = TargetStatus.OPEN,
) -> CloseTarget:
    """A close target."""
    return CloseTarget(
        number=number,
        key=of,
        may_remain=Decimal(may_remain),
        initial_quantity=Decimal(initial),
        status=status,
    )


def incident(*targets: CloseTarget, stage: int = 3, dry_run: bool = False) -> Incident:
    """An open incident."""
    return Incident(
        incident_id=IncidentId("inc1"),
        book=BookName("book"),
        stage=Stage(stage),
        mode="mode",
        source=Source.MIXED,
        opened_at=0.0,
        dry_run=dry_run,
        reason="test",
        targets=targets,
    )


def order(
    name: str,
    base: str,
    side: OrderSide,
    quantity: str = "1",
    *,
    leg: Side | None = None,
    reduce_only: bool = False,
    close_position: bool = False,
    client_id: str = "bot",
    kind: OrderKind = OrderKind.REGULAR,
) -> Order:
    """A resting order of somebody else on `<base>USDT`."""
    return Order(
        scope=SCOPE,
        order_id=VenueOrderId(name),
        client_id=ClientOrderId(client_id),
        symbol=Symbol(f"{base}USDT"),
        kind=kind,
        side=side,
        position_side=leg,
        quantity=Decimal(quantity),
        reduce_only=reduce_only,
        close_position=close_position,
        order_type="LIMIT",
    )
