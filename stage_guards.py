"""The questions that the stage machine asks before it moves; each answers None or an objection.

Pure. A guard reads one `Case` and changes nothing. Its name is the claim that must hold; which
guards stand before which effect is written in `stage_machine.TABLE` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from book_locks import is_closing, open_incident
from memory import BookMemory, Incident, TargetStatus
from model import Stage, StageMode
from policy import BookPolicy
from stage_events import EventName, StageRefusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One event in one state, with every fact a guard may ask for.

    `stage` is the triggered stage, and the book's own for events that bring none.
    """

    name: EventName
    book: BookMemory
    policy: BookPolicy
    now: float
    dry_run: bool
    stage: Stage
    incident: Incident | None = None
    confirmation: str = ""
    is_switch_running: bool = False
    has_trusted_reading: bool = False
    is_forced: bool = False
    is_halted: bool = False


def stage_is_used(case: Case) -> StageRefusal | None:
    """The book has settings for the triggered stage."""
    return None if case.policy.stage(case.stage) else StageRefusal.STAGE_NOT_USED


def no_such_incident_is_open(case: Case) -> StageRefusal | None:
    """No open incident does at least what this trigger asks for."""
    incident = open_incident(case.book)
    is_enough = incident is not None and incident.stage >= case.stage
    return StageRefusal.INCIDENT_OPEN if is_enough else None


def stage_is_rested(case: Case) -> StageRefusal | None:
    """The triggered stage's own cooldown is over, whatever the state, or never began.

    A cooldown runs from an incident's end. Where a lock was adopted whose close nobody saw
    confirmed, nothing ended: what is left open would lose on for as long as a stage rests. A mode
    that leaves a share rests all the same, because a share of a share would be closed twice.
    """
    is_resting = case.now < case.book.cooldowns[case.stage - 1]
    settings = case.policy.stage(case.stage)
    assert settings is not None
    leaves_share = settings.mode is StageMode.CLOSE_TOP_RISK_CONTRIBUTORS
    may_go_on = is_closing(case.book.locks, case.stage) and not leaves_share
    return StageRefusal.SAME_STAGE_COOLDOWN if is_resting and not may_go_on else None


def switch_lets_act(case: Case) -> StageRefusal | None:
    """The operator's halt does not keep this stage for him; nothing suspends stage 3."""
    is_suspended = case.is_halted and case.stage < Stage.ALL_CLOSED
    return StageRefusal.SWITCH_HALTS if is_suspended else None


def positions_were_closed(case: Case) -> StageRefusal | None:
    """The positions of this state were closed in earnest."""
    return StageRefusal.DRY_RUN if case.dry_run else None


def incident_is_open(case: Case) -> StageRefusal | None:
    """There is an incident to end."""
    return None if open_incident(case.book) else StageRefusal.NO_INCIDENT


def targets_hold(case: Case) -> StageRefusal | None:
    """No live target is open; a simulated incident has nothing to wait for."""
    incident = open_incident(case.book)
    if incident is None or incident.dry_run:
        return None
    is_missing = any(target.status is TargetStatus.OPEN for target in incident.targets)
    return StageRefusal.CLOSE_UNRESOLVED if is_missing else None


def incident_may_expire(case: Case) -> StageRefusal | None:
    """The incident is of a stage that may be given up."""
    incident = open_incident(case.book)
    assert incident is not None
    return StageRefusal.NEVER_EXPIRES if incident.stage >= Stage.ALL_CLOSED else None


def incident_stands_still(case: Case) -> StageRefusal | None:
    """The incident made no progress for the cooldown of its stage."""
    incident = open_incident(case.book)
    assert incident is not None
    idle_s = case.now - max(incident.opened_at, incident.last_progress_at)
    is_idle = idle_s >= cooldown_s(case, incident.stage)
    return None if is_idle else StageRefusal.PROGRESS_RECENT


def rearms_by_itself(case: Case) -> StageRefusal | None:
    """The operator lets this book re-arm; a dry run always does."""
    if case.dry_run or case.policy.auto_rearm:
        return None
    return StageRefusal.AUTO_REARM_OFF


def needs_no_reset(case: Case) -> StageRefusal | None:
    """The book was not latched, for instance under earlier settings."""
    return StageRefusal.MANUAL_RESET_ONLY if case.book.manual_reset_required else None


def is_dry_run(case: Case) -> StageRefusal | None:
    """Stage 3 re-arms by itself in a dry run alone."""
    return None if case.dry_run else StageRefusal.MANUAL_RESET_ONLY


def no_incident_is_open(case: Case) -> StageRefusal | None:
    """No close is unresolved."""
    return StageRefusal.CLOSE_UNRESOLVED if open_incident(case.book) else None


def cooldown_is_over(case: Case) -> StageRefusal | None:
    """The cooldown of the book's own stage is over."""
    is_running = case.now < case.book.cooldowns[case.book.stage - 1]
    return StageRefusal.COOLDOWN_RUNNING if is_running else None


def reading_is_trusted(case: Case) -> StageRefusal | None:
    """What loosens needs a fresh reading that can be trusted."""
    return None if case.has_trusted_reading else StageRefusal.NO_TRUSTED_READING


def no_streak_runs(case: Case) -> StageRefusal | None:
    """No stage is being confirmed."""
    is_running = any(streak.count > 0 for streak in case.book.streaks)
    return StageRefusal.STREAK_RUNNING if is_running else None


def name_is_typed(case: Case) -> StageRefusal | None:
    """The operator typed the book's name."""
    is_typed = case.confirmation.strip() == case.book.name
    return None if is_typed else StageRefusal.CONFIRMATION_MISSING


def switch_is_running(case: Case) -> StageRefusal | None:
    """The switch stands on running, so that no kill fires again at once."""
    return None if case.is_switch_running else StageRefusal.SWITCH_NOT_RUNNING


def loosening_is_safe(case: Case) -> StageRefusal | None:
    """Closes are confirmed and a reading is trusted, or the operator's --force."""
    return None if case.is_forced else targets_hold(case) or reading_is_trusted(case)


def cooldown_s(case: Case, stage: Stage) -> float:
    """How long the stage rests; a stage that was taken out of the settings does not."""
    settings = case.policy.stage(stage)
    return 0.0 if settings is None else settings.cooldown_s
