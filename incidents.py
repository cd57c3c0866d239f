"""What becomes of incidents and of the locks beside them: one step of one book at a time.

Pure. Owns opening, carrying on and ending as steps from a book to a book with everything that
must be recorded of it. What an incident looks like is `openings`'s to say, whether an event is
allowed `stage_machine`'s, and the wording `incident_audits`'s.

Rules:
- A refused trigger is told once in the life of its streak, and never silently dropped.
- A report carries an incident on; it never takes a target away that came in meanwhile.
- A dry-run incident ends in the step that opens it.
- The incident of a book in LOCKDOWN that nobody can read stays open until somebody can.
- Locks are set on whatever is known, and lifted on a reading that is clear of every doubt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from book_locks import add_lock, blind_lock, compose_lock, lift_locks, open_incident, refresh_locks
from drawdown import WindowDrawdown
from incident_audits import (
    blindness_audit,
    ended_audit,
    extended_audit,
    found_audit,
    kill_audit,
    note_audits,
    opening_audit,
    rearmed_audit,
    refused_audit,
    reset_audit,
    say_reset,
    stuck_audit,
)
from lock_document import NOT_WATCHED, LockContent, LockMode
from memory import AuditEntry, BookMemory, Incident, IncidentReport, Memory, TargetStatus
from model import OperatorRequest, ScopeId, Stage, Trust
from openings import (
    IN_THE_DARK,
    Facts,
    KillFacts,
    Opening,
    open_for_appeared,
    open_for_breach,
    open_for_kill,
    targets_for_found,
)
from policy import BookPolicy, Policy
from stage_events import (
    ExpiryDue,
    IncidentEnded,
    Killed,
    PositionsAppeared,
    RearmDue,
    ResetRequested,
    StageEvent,
    Transition,
    Triggered,
)
from stage_machine import advance, choose_trigger
from switch_rules import operator_locks

SHOWN_OF_TROUBLE = 300
"""Characters of a venue's own words that the lock file repeats."""
STUCK_ALERTS_S = (30.0, 120.0)
STUCK_REPEAT_S = 600.0
"""When an incident that stays open is alerted: twice early on, then every ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookStep:
    """What one step made of a book, and what must be recorded of it."""

    book: BookMemory
    audits: tuple[AuditEntry, ...] = ()
    opened: tuple[Opening, ...] = ()
    ended: tuple[Incident, ...] = ()


# --- opening ----------------------------------------------------------------------------------


def trigger(book: BookMemory, ready: Collection[Stage], facts: Facts) -> BookStep:
    """Open an incident for the highest complete stage that may act; tell why others may not."""
    choice = choose_trigger(
        book,
        triggered=ready,
        policy=facts.book,
        now=facts.now,
        dry_run=facts.policy.dry_run,
        is_halted=facts.is_halted,
    )
    audits = tuple(
        refused_audit(book, stage, refusal, now=facts.now)
        for stage, refusal in choice.refusals
        if not book.streak(stage).is_answered
    )
    book = _answered(book, {stage for stage, _ in choice.refusals})
    settings = None if choice.stage is None else facts.book.stage(choice.stage)
    if settings is None:
        return BookStep(book=book, audits=audits)
    book = _answered(book, {stage for stage in Stage if stage <= settings.stage})
    opening = open_for_breach(book, settings, facts)
    transition = _advance(
        book,
        Triggered(incident=opening.incident),
        facts.book,
        facts.now,
        dry_run=facts.policy.dry_run,
    )
    assert transition.opened is not None
    opening = replace(opening, incident=transition.opened)
    audits += (opening_audit(opening),)
    ended = () if transition.ended is None else (transition.ended,)
    if not facts.policy.dry_run:
        return BookStep(book=transition.book, audits=audits, opened=(opening,), ended=ended)
    simulated = end(transition.book, policy=facts.book, now=facts.now, dry_run=True)
    return replace(
        simulated,
        audits=audits + simulated.audits,
        opened=(opening,),
        ended=ended + simulated.ended,
    )


def _answered(book: BookMemory, stages: Collection[Stage]) -> BookMemory:
    """The book with the streaks of these stages marked as dealt with."""
    streaks = tuple(
        replace(streak, is_answered=True) if streak.stage in stages else streak
        for streak in book.streaks
    )
    return replace(book, streaks=streaks)


def follow_up(book: BookMemory, facts: Facts) -> BookStep:
    """Close what appeared while everything must stay closed (behaviour.md 9).

    While an incident is still open its targets grow: one position that cannot be closed must not
    protect another that can.
    """
    if book.stage < Stage.ALL_CLOSED or facts.policy.dry_run:
        return BookStep(book=book)
    opening = open_for_appeared(book, facts)
    if opening is None:
        return BookStep(book=book)
    transition = _advance(
        book, PositionsAppeared(incident=opening.incident), facts.book, facts.now, dry_run=False
    )
    assert transition.opened is not None
    if open_incident(book) is None:
        audit = opening_audit(opening)
    else:
        audit = extended_audit(opening, transition.opened, now=facts.now)
    return BookStep(
        book=transition.book,
        audits=(audit,),
        opened=(replace(opening, incident=transition.opened),),
    )


def kill(book: BookMemory, facts: KillFacts) -> BookStep:
    """Lock a book down by the operator's kill; in a dry run the incident ends at once."""
    dry_run = facts.policy.dry_run
    opening = open_for_kill(book, facts)
    transition = _advance(
        book, Killed(incident=opening.incident), facts.book, facts.now, dry_run=dry_run
    )
    assert transition.opened is not None
    opening = replace(opening, incident=transition.opened)
    step = BookStep(
        book=transition.book,
        audits=(kill_audit(opening, readings=facts.readings),),
        opened=(opening,),
        ended=() if transition.ended is None else (transition.ended,),
    )
    if not dry_run:
        return step
    simulated = end(transition.book, policy=facts.book, now=facts.now, dry_run=True)
    return replace(
        simulated,
        audits=step.audits + simulated.audits,
        opened=step.opened,
        ended=step.ended + simulated.ended,
    )


def watch_in_the_dark(book: BookMemory, facts: KillFacts) -> BookStep:
    """Keep an incident of LOCKDOWN open while nobody can read the book.

    What reappears is shown by trusted readings else, and there are none: the executor finds it.
    """
    if not _is_in_the_dark(book) or open_incident(book) is not None or facts.policy.dry_run:
        return BookStep(book=book)
    opening = open_for_kill(book, facts)
    incident = replace(opening.incident, reason=IN_THE_DARK, is_followup=True)
    transition = _advance(
        book, PositionsAppeared(incident=incident), facts.book, facts.now, dry_run=False
    )
    assert transition.opened is not None
    opening = replace(opening, incident=transition.opened)
    return BookStep(book=transition.book, audits=(opening_audit(opening),), opened=(opening,))


def _is_in_the_dark(book: BookMemory) -> bool:
    """Whether a book must stay closed while nobody can read it."""
    is_blind = any(entry.mode is LockMode.BLIND for entry in book.locks)
    return is_blind and book.stage is Stage.LOCKDOWN


def close_found(book: BookMemory, report: IncidentReport, facts: KillFacts) -> BookStep:
    """Have a running kill close what was found on the account and is in no target of it."""
    running = open_incident(book)
    if running is None or running.stage is not Stage.LOCKDOWN:
        return BookStep(book=book)
    targets = targets_for_found(running, report.found, facts)
    if not targets:
        return BookStep(book=book)
    appeared = replace(running, targets=targets)
    transition = _advance(
        book, PositionsAppeared(incident=appeared), facts.book, facts.now, dry_run=False
    )
    assert transition.opened is not None
    audit = found_audit(appeared, transition.opened, now=facts.now)
    return BookStep(book=transition.book, audits=(audit,))


# --- carrying on and ending -------------------------------------------------------------------


def carry_on(
    book: BookMemory, report: IncidentReport, *, policy: BookPolicy, now: float, dry_run: bool
) -> BookStep:
    """Take in how the open incident stands; end it when its targets are confirmed.

    Of a report about any other incident only what was noticed is kept.
    """
    running = open_incident(book)
    noted = note_audits(report, now=now)
    if running is None or running.incident_id != report.incident.incident_id:
        return BookStep(book=book, audits=noted)
    book = replace(book, incident=_progressed(running, report.incident, now=now))
    if not report.is_done or _is_in_the_dark(book):
        return BookStep(book=book, audits=noted)
    step = end(book, policy=policy, now=now, dry_run=dry_run)
    return replace(step, audits=noted + step.audits)


def _progressed(running: Incident, told: Incident, *, now: float) -> Incident:
    """The incident with the progress of a report, and every target that came in meanwhile.

    Its times may be by a clock that was set since: they are no later than now, and take nothing
    of what is known already.
    """
    judged = {target.key: target for target in told.targets}
    targets = tuple(
        known
        if known.may_remain < judged.get(known.key, known).may_remain
        else judged.get(known.key, known)
        for known in running.targets
    )
    return replace(
        running,
        targets=targets,
        rounds=told.rounds,
        held_at=told.held_at if targets == told.targets else None,
        last_progress_at=max(running.last_progress_at, min(told.last_progress_at, now)),
    )


def end(book: BookMemory, *, policy: BookPolicy, now: float, dry_run: bool) -> BookStep:
    """End the open incident as done, or as simulated in a dry run."""
    return _told(_advance(book, IncidentEnded(), policy, now, dry_run=dry_run), now)


def keep_up(
    book: BookMemory, *, policy: BookPolicy, now: float, dry_run: bool, may_expire: bool
) -> BookStep:
    """Expire what made no progress, alert what stays open, and keep the locks that are demanded.

    `may_expire` is False while nobody has had the chance to make progress.
    """
    step = BookStep(book=book)
    if may_expire:
        step = _told(_advance(book, ExpiryDue(), policy, now, dry_run=dry_run), now)
    step = _alerted(step, now=now)
    locks = refresh_locks(step.book, policy=policy, now=now, dry_run=dry_run)
    return replace(step, book=replace(step.book, locks=locks))


def _alerted(step: BookStep, *, now: float) -> BookStep:
    """The step with an alert of the open incident, if one is due; of several at once the last.

    Of one that is only kept open because nobody can read the book its blindness tells.
    """
    incident = open_incident(step.book)
    if incident is None or now < _alert_at(incident, incident.alerts_sent):
        return step
    sent = incident.alerts_sent
    while now >= _alert_at(incident, sent):
        sent += 1
    alerted = replace(step.book, incident=replace(incident, alerts_sent=sent))
    step = replace(step, book=alerted)
    is_missing = any(target.status is TargetStatus.OPEN for target in incident.targets)
    if _is_in_the_dark(step.book) and not is_missing:
        return step
    return replace(step, audits=(*step.audits, stuck_audit(incident, now=now)))


def _alert_at(incident: Incident, sent: int) -> float:
    """When an open incident is to be alerted once more after so many times."""
    if sent < len(STUCK_ALERTS_S):
        return incident.opened_at + STUCK_ALERTS_S[sent]
    late = sent - len(STUCK_ALERTS_S) + 1
    return incident.opened_at + STUCK_ALERTS_S[-1] + STUCK_REPEAT_S * late


def next_alert_at(book: BookMemory) -> float | None:
    """When the next alert of an open incident is due, None without one."""
    incident = open_incident(book)
    return None if incident is None else _alert_at(incident, incident.alerts_sent)


def rearm(book: BookMemory, facts: Facts) -> BookStep:
    """Arm the book in full again, when nothing objects.

    A reading that breaches with or without a flow on its way is no ground to loosen anything.
    """
    transition = _advance(
        book,
        RearmDue(has_trusted_reading=not any(d.is_in_doubt for d in facts.drawdowns)),
        facts.book,
        facts.now,
        dry_run=facts.policy.dry_run,
    )
    if transition.refusal is not None:
        return BookStep(book=book)
    entry = rearmed_audit(book, transition.book, now=facts.now)
    return BookStep(book=transition.book, audits=(entry,))


def reset(
    book: BookMemory,
    request: OperatorRequest,
    *,
    policy: BookPolicy,
    now: float,
    measured_at: float | None,
    is_switch_running: bool,
    dry_run: bool,
) -> tuple[BookStep, bool, str]:
    """Carry out or refuse a reset; returns the step, whether it was done, and the answer.

    `measured_at` is the time of the fresh trusted reading that a reset needs, None without one.
    Drawdown counts from that reading: what is lost before the next one would be seen by no stage.
    """
    transition = _advance(
        book,
        ResetRequested(
            confirmation=request.confirmation,
            is_switch_running=is_switch_running,
            has_trusted_reading=measured_at is not None,
            is_forced=request.argument("force") == "true",
        ),
        policy,
        now,
        dry_run=dry_run,
    )
    if transition.refusal is not None:
        return BookStep(book=book), False, transition.refusal.sentence
    step = _told(transition, now)
    if measured_at is not None:
        step = replace(
            step, book=replace(step.book, baseline_at=max(book.baseline_at, min(now, measured_at)))
        )
    entry = reset_audit(book, transition, request, now=now)
    return replace(step, audits=(*step.audits, entry)), True, say_reset(transition)


def _advance(
    book: BookMemory, event: StageEvent, policy: BookPolicy, now: float, *, dry_run: bool
) -> Transition:
    return advance(book, event, policy=policy, now=now, dry_run=dry_run)


def _told(transition: Transition, now: float) -> BookStep:
    """The step of a transition, with one audit entry for an incident that ended by it."""
    ended = transition.ended
    if ended is None:
        return BookStep(book=transition.book)
    entry = ended_audit(ended, transition.missed, now=now)
    return BookStep(book=transition.book, audits=(entry,), ended=(ended,))


# --- blindness and the lock -------------------------------------------------------------------


def judge_blindness(
    book: BookMemory,
    *,
    scope: ScopeId,
    is_blind: bool,
    trust: Trust,
    drawdowns: tuple[WindowDrawdown, ...],
    now: float,
    dry_run: bool,
) -> BookStep:
    """Lock a book whose scope is not seen; a trusted reading that breaches nothing lifts it.

    In LOCKDOWN any trusted one does: the kill's lock stays, and no stage acts on the breach.
    """
    entry = blind_lock(book.name, scope=scope, now=now, dry_run=dry_run)
    is_locked = any(known.reason == entry.reason for known in book.locks)
    is_breach = any(d.is_breach or d.is_in_doubt for d in drawdowns)
    is_clear = trust is Trust.TRUSTED and (book.stage is Stage.LOCKDOWN or not is_breach)
    if is_blind and not is_locked:
        locks = add_lock(book.locks, entry)
    elif is_locked and is_clear and not is_blind:
        locks = lift_locks(book.locks, modes=(LockMode.BLIND,), reason=entry.reason)
    else:
        return BookStep(book=book)
    audit = blindness_audit(book, scope=scope, is_set=is_blind, now=now)
    return BookStep(book=replace(book, locks=locks), audits=(audit,))


def compose(memory: Memory, *, policy: Policy) -> LockContent:
    """Everything the lock file must say, with what is for practice, not watched and not read."""
    details = tuple(
        (f"{NOT_WATCHED}{number}", line) for number, line in enumerate(policy.unwatched, start=1)
    ) + tuple(
        (f"unread_{scope.scope}", scope.trouble[:SHOWN_OF_TROUBLE])
        for scope in memory.scopes
        if scope.trouble
    )
    practised = tuple(
        (kind.upper(), ", ".join(scopes)) for kind, scopes in policy.practice_places()
    )
    return compose_lock(
        memory.books,
        dry_run=policy.dry_run,
        enforce_in_dry_run=policy.enforce_lock_in_dry_run,
        operator_locks=operator_locks(memory.switch, dry_run=policy.dry_run),
        details=(*practised, *details),
    )
