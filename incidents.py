"""Opening, carrying on and ending incidents: what a triggered stage means for one book.

Pure. Owns the way from "stage n is complete" to an incident with targets, its lock and its record,
and what a person is told about it. Whether a stage may act is `stage_machine`'s to say, who lost
is `risk_attribution`'s, what is closed is `plans`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from book_locks import add_lock, blind_lock, compose_lock, lift_locks, open_incident, refresh_locks
from drawdown import WindowDrawdown, worst_breach
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Detail,
    Incident,
    IncidentReport,
    ScopeMemory,
    Severity,
)
from model import (
    BookName,
    BookPolicy,
    IncidentId,
    LockContent,
    LockMode,
    OperatorRequest,
    Policy,
    Reading,
    ScopeId,
    ScopeObservation,
    Stage,
    StagePolicy,
    Trust,
)
from plans import Plan, merge_targets, plan_stage
from risk_attribution import Attribution, ScoredRow, attribute, score_rows
from stage_events import (
    ExpiryDue,
    IncidentEnded,
    PositionsAppeared,
    RearmDue,
    ResetRequested,
    StageEvent,
    Transition,
    Triggered,
)
from stage_machine import advance, choose_trigger

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One incident as it was opened, with everything that led to it. For reports and tests."""

    incident: Incident
    breach: WindowDrawdown | None
    attribution: Attribution
    ranked: tuple[ScoredRow, ...]
    plan: Plan
    equity: float
    takes_over: IncidentId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookStep:
    """What one step made of a book."""

    book: BookMemory
    audits: tuple[AuditEntry, ...] = ()
    opened: tuple[Opening, ...] = ()
    ended: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a book in the tick that brought a trusted reading of it."""

    now: float
    policy: Policy
    book: BookPolicy
    seen: ScopeObservation
    reading: Reading
    memory: ScopeMemory
    equity: float
    drawdowns: tuple[WindowDrawdown, ...]


def incident_id(*, policy: Policy, book: BookName, now: float) -> IncidentId:
    """Make an id of at most 13 letters and digits: instance, milliseconds, number of the book."""
    milliseconds, letters = int(now * 1000), ""
    while milliseconds:
        milliseconds, digit = divmod(milliseconds, 36)
        letters = _BASE36[digit] + letters
    number = [known.name for known in policy.books].index(book)
    return IncidentId(f"{policy.instance_tag}{letters}{_BASE36[number % 36]}")


# --- opening ----------------------------------------------------------------------------------


def trigger(book: BookMemory, ready: Collection[Stage], facts: Facts) -> BookStep:
    """Open an incident for the highest complete stage that may act; tell why others may not."""
    choice = choose_trigger(
        book,
        triggered=ready,
        policy=facts.book,
        now=facts.now,
        dry_run=facts.policy.dry_run,
    )
    audits = tuple(
        AuditEntry(
            at=facts.now,
            scope=book.name,
            event="trigger_refused",
            message=f"{stage.name} is confirmed but may not act: {refusal.sentence}",
            stage=stage,
            details=(("reason", refusal.value),),
        )
        for stage, refusal in choice.refusals
        if _is_news(book, stage, facts)
    )
    if choice.stage is None:
        return BookStep(book=book, audits=audits)
    step = _open(book, choice.stage, facts, is_followup=False)
    return replace(step, audits=audits + step.audits)


def _is_news(book: BookMemory, stage: Stage, facts: Facts) -> bool:
    """Whether the streak was completed by this very reading: a refusal is told once."""
    settings = facts.book.stage(stage)
    needed = 2 if settings is None else max(2, settings.confirm_consecutive)
    return book.streak(stage).count == needed


def follow_up(book: BookMemory, facts: Facts) -> BookStep:
    """Open an incident for what appeared while everything must stay closed (behaviour.md 9)."""
    if book.stage < Stage.ALL_CLOSED or open_incident(book) is not None:
        return BookStep(book=book)
    if not facts.reading.positions or facts.book.stage(Stage.ALL_CLOSED) is None:
        return BookStep(book=book)
    return _open(book, Stage.ALL_CLOSED, facts, is_followup=True)


def _open(book: BookMemory, stage: Stage, facts: Facts, *, is_followup: bool) -> BookStep:
    settings = facts.book.stage(stage)
    assert settings is not None
    breach = worst_breach(facts.drawdowns, stage)
    attribution = _attribute(settings, breach, facts)
    ranked = score_rows(attribution=attribution, rows=facts.reading.rows(), equity=facts.equity)
    plan = plan_stage(
        stage_policy=settings,
        book=facts.book,
        source=attribution.source,
        ranked=ranked,
        readings=(facts.reading,),
        limits={facts.seen.scope: facts.seen.limits},
    )
    if is_followup and plan.is_empty:
        return BookStep(book=book)
    running = open_incident(book)
    targets = plan.targets if running is None else merge_targets(running.targets, plan.targets)
    incident = Incident(
        incident_id=incident_id(policy=facts.policy, book=book.name, now=facts.now),
        book=book.name,
        stage=stage,
        mode=settings.mode.value,
        source=attribution.source,
        opened_at=facts.now,
        dry_run=facts.policy.dry_run,
        reason=_reason(breach, is_followup=is_followup),
        targets=targets,
        last_progress_at=facts.now,
        is_followup=is_followup,
        had_positions_since_peak=_had_positions(breach, facts),
    )
    event: StageEvent = (
        PositionsAppeared(incident=incident) if is_followup else Triggered(incident=incident)
    )
    transition = _advance(book, event, facts.book, facts.now, dry_run=facts.policy.dry_run)
    if transition.opened is None:
        return BookStep(book=book)
    opening = Opening(
        incident=transition.opened,
        breach=breach,
        attribution=attribution,
        ranked=ranked,
        plan=plan,
        equity=facts.equity,
        takes_over=None if running is None else running.incident_id,
    )
    step = BookStep(
        book=transition.book,
        audits=(_opening_audit(opening, facts.now),),
        opened=(opening,),
        ended=() if transition.ended is None else (transition.ended,),
    )
    if facts.policy.dry_run:
        ended = end(step.book, policy=facts.book, now=facts.now, dry_run=True)
        step = replace(
            step,
            book=ended.book,
            audits=step.audits + ended.audits,
            ended=step.ended + ended.ended,
        )
    return step


def _attribute(settings: StagePolicy, breach: WindowDrawdown | None, facts: Facts) -> Attribution:
    """Who lost since the peak of the breached window; without one nobody is known to have lost."""
    peak = None if breach is None else breach.peak
    return attribute(
        peak=facts.memory.results if peak is None else peak.results,
        now=facts.memory.results,
        rows=facts.reading.rows(),
        never_touch=facts.book.never_touch,
        source_mode=settings.source_mode,
        source_threshold=settings.source_threshold,
        drawdown_money=0.0 if breach is None else breach.peak_equity - facts.equity,
        unexplained_since_peak=0.0 if peak is None else facts.memory.unexplained - peak.unexplained,
    )


def _had_positions(breach: WindowDrawdown | None, facts: Facts) -> bool:
    if facts.reading.positions or breach is None or breach.peak is None:
        return True
    return dict(breach.peak.results) != dict(facts.memory.results)


def _reason(breach: WindowDrawdown | None, *, is_followup: bool) -> str:
    if is_followup:
        return "positions appeared while everything must stay closed"
    if breach is None:
        return "no breach"
    return (
        f"drawdown {breach.fraction:.2%} over {say_window(breach.window_s)} reached "
        f"{breach.threshold:.2%}"
    )


def say_window(window_s: float) -> str:
    """A window the way the settings write it: 15m, 1h, 1d."""
    for unit_s, unit in ((86_400.0, "d"), (3600.0, "h")):
        if window_s >= unit_s and window_s % unit_s == 0:
            return f"{window_s / unit_s:.0f}{unit}"
    return f"{window_s / 60:g}m"


def _opening_audit(opening: Opening, now: float) -> AuditEntry:
    incident, found, plan = opening.incident, opening.attribution, opening.plan
    details: tuple[tuple[str, Detail], ...] = (
        ("incident_id", incident.incident_id),
        ("reason", incident.reason),
        ("equity", round(opening.equity, 2)),
        ("source", found.source.value),
        ("losses_long", round(found.losses_long, 2)),
        ("losses_short", round(found.losses_short, 2)),
        ("unexplained_fraction", round(found.unexplained_fraction, 4)),
        ("targets", say_targets(incident.targets)),
        ("net_exposure_before", round(float(plan.exposure_before.total), 2)),
        ("net_exposure_after", round(float(plan.exposure_after.total), 2)),
        ("is_more_directional", plan.is_more_directional),
        ("notes", "; ".join(plan.notes)),
    )
    if opening.breach is not None:
        details += (
            ("drawdown", round(opening.breach.fraction, 6)),
            ("threshold", opening.breach.threshold),
            ("window", say_window(opening.breach.window_s)),
            ("peak_equity", round(opening.breach.peak_equity, 2)),
        )
    directional = " The book ends more directional." if plan.is_more_directional else ""
    return AuditEntry(
        at=now,
        scope=incident.book,
        event="follow_up" if incident.is_followup else "trigger",
        message=f"{incident.stage.name}: {incident.reason}; source {found.source.value}; "
        f"{say_targets(incident.targets) or 'nothing to close'}.{directional}",
        stage=incident.stage,
        mode=incident.mode,
        severity=Severity.CRITICAL,
        details=details,
    )


def say_targets(targets: tuple[CloseTarget, ...]) -> str:
    """The targets in one line: what is held, and what may remain of it."""
    return ", ".join(
        f"{target.key.symbol} {target.key.side} {target.initial_quantity:f} -> "
        f"{target.may_remain:f}"
        for target in targets
    )


# --- carrying on and ending -------------------------------------------------------------------


def carry_on(
    book: BookMemory, report: IncidentReport, *, policy: BookPolicy, now: float, dry_run: bool
) -> BookStep:
    """Take in how the open incident stands; end it when its targets are confirmed."""
    running = open_incident(book)
    if running is None or running.incident_id != report.incident.incident_id:
        return BookStep(book=book)
    noted = tuple(
        AuditEntry(
            at=now,
            scope=book.name,
            event="incident_note",
            message=note,
            stage=running.stage,
            mode=running.mode,
            severity=Severity.WARNING,
            details=(("incident_id", running.incident_id),),
        )
        for note in dict.fromkeys(report.notes)
    )
    book = replace(book, incident=report.incident)
    if not report.is_done:
        return BookStep(book=book, audits=noted)
    step = end(book, policy=policy, now=now, dry_run=dry_run)
    return replace(step, audits=noted + step.audits)


def end(book: BookMemory, *, policy: BookPolicy, now: float, dry_run: bool) -> BookStep:
    """End the open incident as done, or as simulated in a dry run."""
    return _told(_advance(book, IncidentEnded(), policy, now, dry_run=dry_run), now)


def keep_up(book: BookMemory, *, policy: BookPolicy, now: float, dry_run: bool) -> BookStep:
    """Expire what made no progress, and keep the locks as long as the state demands."""
    step = _told(_advance(book, ExpiryDue(), policy, now, dry_run=dry_run), now)
    locks = refresh_locks(step.book, policy=policy, now=now, dry_run=dry_run)
    return replace(step, book=replace(step.book, locks=locks))


def rearm(book: BookMemory, facts: Facts) -> BookStep:
    """Arm the book in full again, when nothing objects."""
    transition = _advance(
        book,
        RearmDue(has_trusted_reading=True),
        facts.book,
        facts.now,
        dry_run=facts.policy.dry_run,
    )
    if transition.refusal is not None:
        return BookStep(book=book)
    entry = AuditEntry(
        at=facts.now,
        scope=book.name,
        event="rearmed",
        message=f"{book.stage.name} is over: the book is armed in full and its lock is lifted",
        stage=book.stage,
    )
    return BookStep(book=transition.book, audits=(entry,))


def reset(
    book: BookMemory,
    request: OperatorRequest,
    *,
    policy: BookPolicy,
    now: float,
    has_trusted_reading: bool,
    dry_run: bool,
) -> tuple[BookStep, bool, str]:
    """Carry out or refuse a reset; returns the step, whether it was done, and the answer."""
    transition = _advance(
        book,
        ResetRequested(
            confirmation=request.confirmation,
            is_switch_running=True,
            has_trusted_reading=has_trusted_reading,
            is_forced=request.argument("force") == "true",
        ),
        policy,
        now,
        dry_run=dry_run,
    )
    if transition.refusal is not None:
        return BookStep(book=book), False, transition.refusal.sentence
    missed = say_targets(transition.missed)
    answer = f"{policy.name} is NORMAL; drawdown counts from now; its lock is lifted"
    if missed:
        answer += f"; the open incident was abandoned, not at target: {missed}"
    entry = AuditEntry(
        at=now,
        scope=book.name,
        event="reset",
        message=f"{request.actor} reset {policy.name} from {book.stage.name}"
        + (f": {request.argument('reason')}" if request.argument("reason") else ""),
        stage=book.stage,
        severity=Severity.WARNING,
        details=(("actor", request.actor), ("abandoned", missed)),
    )
    step = _told(transition, now)
    return replace(step, audits=(*step.audits, entry)), True, answer


def _advance(
    book: BookMemory, event: StageEvent, policy: BookPolicy, now: float, *, dry_run: bool
) -> Transition:
    return advance(book, event, policy=policy, now=now, dry_run=dry_run)


def _told(transition: Transition, now: float) -> BookStep:
    """The step of a transition, with one audit entry for an incident that ended by it."""
    ended = transition.ended
    if ended is None:
        return BookStep(book=transition.book)
    missed = say_targets(transition.missed)
    rows = ", ".join(
        f"{target.key.symbol} {target.key.side} {target.status.value}" for target in ended.targets
    )
    entry = AuditEntry(
        at=now,
        scope=ended.book,
        event=f"incident_{ended.status.value.lower()}",
        message=f"{ended.stage.name} {ended.status.value}: {rows or 'nothing was to be closed'}"
        + (f"; missed: {missed}" if missed else ""),
        stage=ended.stage,
        mode=ended.mode,
        severity=Severity.WARNING if missed else Severity.INFO,
        details=(("incident_id", ended.incident_id), ("rounds", ended.rounds)),
    )
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
    """Lock a book whose scope is not seen; a trusted reading that breaches nothing lifts it."""
    if is_blind:
        entry = blind_lock(book.name, scope=scope, now=now, dry_run=dry_run)
        return BookStep(book=replace(book, locks=add_lock(book.locks, entry)))
    if trust is not Trust.TRUSTED or any(drawdown.is_breach for drawdown in drawdowns):
        return BookStep(book=book)
    locks = lift_locks(book.locks, modes=(LockMode.BLIND,), reason=f"blind_{scope}")
    return BookStep(book=book if locks == book.locks else replace(book, locks=locks))


def compose(books: tuple[BookMemory, ...], *, policy: Policy) -> LockContent:
    """Everything the lock file must say, with what is simulated and what is not watched."""
    details = tuple(
        (f"not_watched_{number}", line) for number, line in enumerate(policy.unwatched, start=1)
    )
    if policy.simulated_scopes:
        details = (("SIMULATOR", ", ".join(policy.simulated_scopes)), *details)
    return compose_lock(
        books,
        dry_run=policy.dry_run,
        enforce_in_dry_run=policy.enforce_lock_in_dry_run,
        details=details,
    )
