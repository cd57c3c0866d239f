"""Books, incidents and settings that the tests of the stage machine and its locks share."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from lock_document import LockEntry, LockMode
from memory import BookMemory, CloseTarget, Incident, Streak, TargetStatus
from model import BookName, IncidentId, RowKey, ScopeId, Side, Source, Stage, StageMode, Symbol
from policy import BookPolicy, StagePolicy, Threshold
from stage_events import StageEvent, Transition, Triggered
from stage_machine import advance

NOW = 1_000_000.0
BOOK = BookName("binance_futures")
MINUTE = 60.0
COOLDOWN = {
    Stage.REDUCED_TOP_RISK: 30 * MINUTE,
    Stage.DOMINANT_CLOSED: 90 * MINUTE,
    Stage.ALL_CLOSED: 360 * MINUTE,
}
MODES = {
    Stage.REDUCED_TOP_RISK: StageMode.CLOSE_TOP_RISK_CONTRIBUTORS,
    Stage.DOMINANT_CLOSED: StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
    Stage.ALL_CLOSED: StageMode.CLOSE_ALL_POSITIONS,
}

POLICY = BookPolicy(
    name=BOOK,
    scopes=(ScopeId("binance_futures"),),
    stages=tuple(
        StagePolicy(
            stage=stage,
            thresholds=(Threshold(window_s=3_600.0, fraction=0.07),),
            mode=MODES[stage],
            cooldown_s=cooldown,
            confirm_consecutive=1,
        )
        for stage, cooldown in COOLDOWN.items()
    ),
)
MANUAL_POLICY = replace(POLICY, auto_rearm=False)
UNLOCKED_POLICY = replace(
    POLICY, stages=tuple(replace(stage, set_trading_lock=False) for stage in POLICY.stages)
)
EMPTY_POLICY = replace(POLICY, stages=())


def target(
    symbol: str = "BTCUSDT",
    *,
    number: int = 1,
    may_remain: str = "0",
    status: TargetStatus = TargetStatus.OPEN,
) -> CloseTarget:
    """A close target for a short of 10."""
    return CloseTarget(
        number=number,
        key=RowKey(ScopeId("binance_futures"), Symbol(symbol), Side.SHORT),
        may_remain=Decimal(may_remain),
        initial_quantity=Decimal(10),
        status=status,
    )


def incident(
    stage: Stage,
    *targets: CloseTarget,
    dry_run: bool = False,
    opened_at: float = NOW,
    had_positions: bool = True,
    identity: str = "",
) -> Incident:
    """An open incident of a stage; without targets its plan is empty."""
    return Incident(
        incident_id=IncidentId(identity or f"incident-{stage.value}"),
        book=BOOK,
        stage=stage,
        mode=MODES.get(stage, StageMode.CLOSE_ALL_POSITIONS).value,
        source=Source.SHORT,
        opened_at=opened_at,
        dry_run=dry_run,
        reason="drawdown 0.08 over 1h",
        targets=targets,
        had_positions_since_peak=had_positions,
    )


def book(stage: Stage = Stage.NORMAL, *, running: Incident | None = None) -> BookMemory:
    """A book that reached a state some time ago; nothing rests and no streak runs."""
    return BookMemory(name=BOOK, stage=stage, since=NOW - 10_000.0, incident=running)


def streak(stage: Stage, *, count: int = 1, at: float = NOW) -> Streak:
    """A streak of one stage."""
    return Streak(stage=stage, count=count, last_counted_at=at)


def step(
    state: BookMemory,
    event: StageEvent,
    *,
    policy: BookPolicy = POLICY,
    now: float = NOW,
    dry_run: bool = False,
) -> Transition:
    """Advance with ordinary settings."""
    return advance(state, event, policy=policy, now=now, dry_run=dry_run)


def trigger(stage: Stage) -> Triggered:
    """A trigger with one position to close."""
    return Triggered(incident=incident(stage, target()))


def lock_of(state: BookMemory, stage: Stage) -> LockEntry:
    """The one lock of a stage."""
    (entry,) = [e for e in state.locks if e.mode is LockMode.STAGE and e.stage is stage]
    return entry
