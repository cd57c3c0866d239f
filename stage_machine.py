"""The stage machine: what may happen to a book in which state, and what follows.

The theory
    A book is in one of five states, ordered by tightness: NORMAL, REDUCED_TOP_RISK,
    DOMINANT_CLOSED, ALL_CLOSED, LOCKDOWN. It is a ratchet. A confirmed breach moves it up, the
    kill moves it to the top, and only two things move it down, both to NORMAL: re-arming, by
    itself, from the lower stages, and a reset, by the operator, from anywhere.

    A trigger opens an *incident*, which is worked on until its targets are confirmed. One is open
    at a time: a higher stage takes a lower one's over. When it is done, its stage rests for a
    cooldown and everything up to that stage measures from then on, so that no money is lost
    twice: the old peak, still in the window, must not fire again the minute the cooldown ends.
    An incident without anything to close ends like any other, but moves stages 1 and 2 nowhere.

    `TABLE` says for every event in every state what happens: a refusal with its reason, or the
    guards that are asked in order and the effect if none objects. `advance` does nothing but
    look there. A refusal leaves the book exactly as it was.

What it refuses to know: equity, windows and how a streak is counted (`drawdown`), what a plan
closes (`order_safety`), orders, and any clock. Deadlines are wall-clock seconds that the caller
compares through `now`. Entries of the lock are made in `book_locks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import stage_guards as guards
from book_locks import (
    add_lock,
    extend_stage_lock,
    kill_lock,
    lift_locks,
    open_incident,
    stage_lock,
    without_closing,
)
from errors import InvariantViolation
from lock_document import CLOSING, LockMode
from memory import BookMemory, CloseTarget, Incident, IncidentStatus, Streak, TargetStatus
from model import CLOSING_STAGES, Stage
from policy import BookPolicy
from stage_events import (
    EventName,
    ExpiryDue,
    IncidentEnded,
    Killed,
    PositionsAppeared,
    RearmDue,
    ResetRequested,
    StageEvent,
    StageRefusal,
    Transition,
    TriggerChoice,
    Triggered,
)
from stage_guards import Case

_TRIGGER_NAMES: Mapping[Stage, EventName] = {
    Stage.REDUCED_TOP_RISK: EventName.TRIGGER_1,
    Stage.DOMINANT_CLOSED: EventName.TRIGGER_2,
    Stage.ALL_CLOSED: EventName.TRIGGER_3,
}


def is_latching(stage: Stage, *, policy: BookPolicy, dry_run: bool) -> bool:
    """Return True for a state that only a reset leaves; a dry run latches in LOCKDOWN alone."""
    if stage is Stage.LOCKDOWN:
        return True
    if dry_run or stage is Stage.NORMAL:
        return False
    return stage is Stage.ALL_CLOSED or not policy.auto_rearm


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A cell of the table that lets an event through: guards first, then the effect."""

    guards: tuple[Callable[[Case], StageRefusal | None], ...]
    effect: Callable[[Case], Transition]


Cell = StageRefusal | Allowed


def _row(*cells: Cell) -> Mapping[Stage, Cell]:
    """One row of the table, from NORMAL to LOCKDOWN."""
    return dict(zip(Stage, cells, strict=True))


def _without_streaks(streaks: tuple[Streak, ...], *, up_to: Stage) -> tuple[Streak, ...]:
    """The streaks of higher stages: those of the incident's own must be counted anew."""
    return tuple(streak for streak in streaks if streak.stage > up_to)


def _marked(targets: tuple[CloseTarget, ...], status: TargetStatus) -> tuple[CloseTarget, ...]:
    """The targets, with this status where they are still open."""
    return tuple(
        replace(target, status=status) if target.status is TargetStatus.OPEN else target
        for target in targets
    )


def _merged(
    targets: tuple[CloseTarget, ...], more: Iterable[CloseTarget]
) -> tuple[CloseTarget, ...]:
    """Targets with others added: of one position the smaller remainder, and open again."""
    merged = {target.key: target for target in targets}
    number = max((target.number for target in targets), default=0)
    for target in more:
        known = merged.get(target.key)
        if known is None:
            number += 1
            merged[target.key] = replace(target, number=number)
        else:
            remain = min(known.may_remain, target.may_remain)
            merged[target.key] = replace(known, may_remain=remain, status=TargetStatus.OPEN)
    return tuple(merged.values())


def _take_over(case: Case) -> tuple[Incident, Incident | None]:
    """The incident of a case with what a running one still had to close, and that one's end.

    One that goes on under the same id is raised, not replaced, so nothing ends.
    """
    incident, running = case.incident, open_incident(case.book)
    assert incident is not None
    if running is None:
        return incident, None
    left = (target for target in running.targets if target.status is TargetStatus.OPEN)
    merged = replace(incident, targets=_merged(incident.targets, left))
    if running.incident_id == incident.incident_id:
        return merged, None
    return merged, replace(running, status=IncidentStatus.TAKEN_OVER, ended_at=case.now)


def _open(case: Case) -> Transition:
    """Open the incident; the state follows unless the plan is empty, stage 3 then if need be."""
    incident, ended = _take_over(case)
    book, stage = case.book, incident.stage
    was_exposed = stage is Stage.ALL_CLOSED and incident.had_positions_since_peak
    moves = bool(incident.targets) or was_exposed
    latches = moves and is_latching(stage, policy=case.policy, dry_run=case.dry_run)
    settings = case.policy.stage(stage)
    locks = book.locks
    if settings is not None and settings.set_trading_lock:
        entry = stage_lock(
            book.name,
            policy=settings,
            now=case.now,
            dry_run=case.dry_run,
            is_manual=latches,
            details=(
                ("incident_id", incident.incident_id),
                ("cause", incident.reason),
                (CLOSING, "not confirmed yet"),
            ),
        )
        locks = add_lock(locks, entry)
    opened = replace(
        book,
        stage=stage if moves else book.stage,
        since=case.now if moves and stage is not book.stage else book.since,
        incident=incident,
        locks=locks,
        manual_reset_required=book.manual_reset_required or latches,
    )
    return Transition(book=opened, opened=incident, ended=ended)


def _follow_up(case: Case) -> Transition:
    """Open an incident for what appeared, or add it to the one that still runs."""
    appeared, running = case.incident, open_incident(case.book)
    assert appeared is not None
    incident = appeared
    if running is not None:
        targets = _merged(running.targets, appeared.targets)
        incident = replace(running, targets=targets, held_at=None)
    return Transition(book=replace(case.book, incident=incident), opened=incident)


def _end(case: Case) -> Transition:
    """Finish the incident: its stage rests, and all up to it measure from now on."""
    incident = open_incident(case.book)
    assert incident is not None
    status = IncidentStatus.SIMULATED if incident.dry_run else IncidentStatus.DONE
    ended = replace(
        incident,
        status=status,
        ended_at=case.now,
        targets=_marked(incident.targets, TargetStatus.SIMULATED),
    )
    book = case.book
    until = case.now + guards.cooldown_s(case, incident.stage)
    cooldowns = [
        max(known, until) if stage is incident.stage else known
        for stage, known in zip(CLOSING_STAGES, book.cooldowns, strict=True)
    ]
    baselines = [
        max(known, case.now) if stage <= incident.stage else known
        for stage, known in zip(CLOSING_STAGES, book.stage_baselines, strict=True)
    ]
    rested = replace(
        book,
        incident=None,
        cooldowns=(cooldowns[0], cooldowns[1], cooldowns[2]),
        stage_baselines=(baselines[0], baselines[1], baselines[2]),
        streaks=_without_streaks(book.streaks, up_to=incident.stage),
        locks=extend_stage_lock(
            without_closing(book.locks, up_to=incident.stage), stage=incident.stage, until=until
        ),
    )
    return Transition(book=rested, ended=ended)


def _expire(case: Case) -> Transition:
    """Give the incident up without cooldown or baseline, so that streaks decide anew.

    Streaks stay as they are: a breach that still holds fires again, or at least keeps the book
    from re-arming in the middle of it.
    """
    incident = open_incident(case.book)
    assert incident is not None
    ended = replace(
        incident,
        status=IncidentStatus.EXPIRED,
        ended_at=case.now,
        targets=_marked(incident.targets, TargetStatus.MISSED),
    )
    return Transition(book=replace(case.book, incident=None), ended=ended)


def _rearm(case: Case) -> Transition:
    """Arm the book in full; locks end now, save those of lower stages that still rest."""
    book = case.book
    rested = [
        stage
        for stage, until in zip(CLOSING_STAGES, book.cooldowns, strict=True)
        if stage <= book.stage and until <= case.now
    ]
    armed = replace(
        book,
        stage=Stage.NORMAL,
        since=case.now,
        locks=lift_locks(book.locks, modes=(LockMode.STAGE,), stages=rested),
    )
    return Transition(book=armed)


def _reset(case: Case) -> Transition:
    """Start anew: nothing before now counts, nothing rests, and an open incident is given up."""
    book = case.book
    incident = open_incident(book)
    ended = None
    if incident is not None:
        ended = replace(
            incident,
            status=IncidentStatus.ABANDONED,
            ended_at=case.now,
            targets=_marked(incident.targets, TargetStatus.MISSED),
        )
    # A trusted reading lifts the blind lock; of a book without accounts none will ever come.
    is_watched = bool(case.policy.scopes)
    lifted = [mode for mode in LockMode if not (is_watched and mode is LockMode.BLIND)]
    fresh = replace(
        book,
        stage=Stage.NORMAL,
        since=case.now,
        baseline_at=case.now,
        stage_baselines=(0.0, 0.0, 0.0),
        cooldowns=(0.0, 0.0, 0.0),
        streaks=(),
        incident=None,
        manual_reset_required=False,
        locks=lift_locks(book.locks, modes=lifted),
    )
    return Transition(book=fresh, ended=ended)


def _lock_down(case: Case) -> Transition:
    """Go to LOCKDOWN: the kill takes every incident over and only a reset leads out."""
    incident, ended = _take_over(case)
    book = case.book
    entry = kill_lock(book.name, now=case.now, dry_run=case.dry_run)
    killed = replace(
        book,
        stage=Stage.LOCKDOWN,
        since=case.now,
        incident=incident,
        streaks=(),
        locks=add_lock(book.locks, entry),
        manual_reset_required=True,
    )
    return Transition(book=killed, opened=incident, ended=ended)


_FIRE = Allowed(
    guards=(
        guards.stage_is_used,
        guards.no_such_incident_is_open,
        guards.stage_is_rested,
        guards.switch_lets_act,
    ),
    effect=_open,
)
_REARM = Allowed(
    guards=(
        guards.rearms_by_itself,
        guards.needs_no_reset,
        guards.no_incident_is_open,
        guards.cooldown_is_over,
        guards.reading_is_trusted,
        guards.no_streak_runs,
    ),
    effect=_rearm,
)
_RESET = Allowed(guards=(guards.loosening_is_safe,), effect=_reset)
_END = Allowed(guards=(guards.incident_is_open, guards.targets_hold), effect=_end)
_EXPIRE = Allowed(
    guards=(guards.incident_is_open, guards.incident_may_expire, guards.incident_stands_still),
    effect=_expire,
)
_KILL = Allowed(guards=(), effect=_lock_down)
_FOLLOW = Allowed(guards=(guards.positions_were_closed,), effect=_follow_up)

TABLE: Mapping[EventName, Mapping[Stage, Cell]] = {
    EventName.TRIGGER_1: _row(
        _FIRE, _FIRE, StageRefusal.LOWER_STAGE, StageRefusal.LOWER_STAGE, StageRefusal.LOCKED_DOWN
    ),
    EventName.TRIGGER_2: _row(
        _FIRE, _FIRE, _FIRE, StageRefusal.LOWER_STAGE, StageRefusal.LOCKED_DOWN
    ),
    EventName.TRIGGER_3: _row(_FIRE, _FIRE, _FIRE, _FIRE, StageRefusal.LOCKED_DOWN),
    EventName.POSITIONS_APPEARED: _row(*(StageRefusal.NOT_FLATTENED,) * 3, _FOLLOW, _FOLLOW),
    EventName.INCIDENT_ENDED: _row(_END, _END, _END, _END, _END),
    EventName.EXPIRY_DUE: _row(_EXPIRE, _EXPIRE, _EXPIRE, _EXPIRE, _EXPIRE),
    EventName.REARM_DUE: _row(
        StageRefusal.ALREADY_NORMAL,
        _REARM,
        _REARM,
        Allowed(guards=(guards.is_dry_run, *_REARM.guards), effect=_rearm),
        StageRefusal.MANUAL_RESET_ONLY,
    ),
    EventName.RESET_REQUESTED: _row(
        _RESET,
        _RESET,
        _RESET,
        Allowed(guards=(guards.name_is_typed, *_RESET.guards), effect=_reset),
        Allowed(
            guards=(guards.name_is_typed, guards.switch_is_running, *_RESET.guards), effect=_reset
        ),
    ),
    EventName.KILLED: _row(_KILL, _KILL, _KILL, _KILL, StageRefusal.LOCKED_DOWN),
}


def advance(
    book: BookMemory, event: StageEvent, *, policy: BookPolicy, now: float, dry_run: bool
) -> Transition:
    """Apply one event to a book: look the pair up in `TABLE`, ask the guards, take the effect.

    Triggers come before `RearmDue` within a tick. The caller refreshes the locks afterwards
    (`book_locks.refresh_locks`) and records what `Transition` names. Raises InvariantViolation
    for an incident whose stage the event can not open.
    """
    case = _case_of(book, event, policy=policy, now=now, dry_run=dry_run)
    cell = TABLE[case.name][book.stage]
    refusal = _refusal_of(case, cell)
    if refusal is not None or isinstance(cell, StageRefusal):
        return Transition(book=book, refusal=refusal)
    return cell.effect(case)


def choose_trigger(
    book: BookMemory,
    *,
    triggered: Collection[Stage],
    policy: BookPolicy,
    now: float,
    dry_run: bool,
    is_halted: bool = False,
) -> TriggerChoice:
    """Pick the highest of the triggered closing stages that may act, before it is planned.

    A blocked higher stage (resting after an empty plan) does not silence the lower ones: doing
    less is better than doing nothing. `is_halted`: the operator's halt suspends stages 1 and 2.
    """
    refusals: list[tuple[Stage, StageRefusal]] = []
    for stage in sorted(triggered, reverse=True):
        name = _TRIGGER_NAMES[stage]
        case = Case(
            name=name,
            book=book,
            policy=policy,
            now=now,
            dry_run=dry_run,
            stage=stage,
            is_halted=is_halted,
        )
        refusal = _refusal_of(case, TABLE[name][book.stage])
        if refusal is None:
            return TriggerChoice(stage=stage, refusals=tuple(refusals))
        refusals.append((stage, refusal))
    return TriggerChoice(stage=None, refusals=tuple(refusals))


def _case_of(
    book: BookMemory, event: StageEvent, *, policy: BookPolicy, now: float, dry_run: bool
) -> Case:
    """Find the row of an event and lay out what it says."""
    plain = Case(
        name=EventName.INCIDENT_ENDED,
        book=book,
        policy=policy,
        now=now,
        dry_run=dry_run,
        stage=book.stage,
    )
    match event:
        case Triggered():
            stage = event.incident.stage
            if stage not in _TRIGGER_NAMES:
                raise InvariantViolation(f"{book.name}: a drawdown can not trigger {stage.name}")
            return replace(plain, name=_TRIGGER_NAMES[stage], stage=stage, incident=event.incident)
        case PositionsAppeared():
            return replace(plain, name=EventName.POSITIONS_APPEARED, incident=event.incident)
        case IncidentEnded():
            return plain
        case ExpiryDue():
            return replace(plain, name=EventName.EXPIRY_DUE)
        case RearmDue():
            return replace(
                plain, name=EventName.REARM_DUE, has_trusted_reading=event.has_trusted_reading
            )
        case ResetRequested():
            return replace(
                plain,
                name=EventName.RESET_REQUESTED,
                confirmation=event.confirmation,
                is_switch_running=event.is_switch_running,
                has_trusted_reading=event.has_trusted_reading,
                is_forced=event.is_forced,
            )
        case Killed():
            return replace(plain, name=EventName.KILLED, incident=event.incident)
        case _:
            assert_never(event)


def _refusal_of(case: Case, cell: Cell) -> StageRefusal | None:
    """The first objection to a case, None when there is none."""
    if isinstance(cell, StageRefusal):
        return cell
    return next((refusal for guard in cell.guards if (refusal := guard(case))), None)
