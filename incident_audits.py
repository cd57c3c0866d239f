"""What a person is told about an incident: its audit entries and the sentences in them.

Pure. Owns wording and figures only; nothing here decides. Keys of details repeat no field of the
entry itself, because a log line shows both side by side.
"""

from __future__ import annotations

from exposure import Exposure
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Detail,
    Incident,
    IncidentReport,
    IncidentStatus,
    Severity,
    TargetStatus,
)
from model import OperatorRequest, Reading, ScopeId, Stage
from openings import Opening, say_window
from plans import KeptPosition
from stage_events import StageRefusal, Transition


def refused_audit(
    book: BookMemory, stage: Stage, refusal: StageRefusal, *, now: float
) -> AuditEntry:
    """A confirmed stage that may not act, and why."""
    return AuditEntry(
        at=now,
        scope=book.name,
        event="trigger_refused",
        message=f"{stage.name} is confirmed but may not act: {refusal.sentence}",
        stage=stage,
        severity=Severity.WARNING,
        details=(("reason", refusal.value),),
    )


def opening_audit(opening: Opening) -> AuditEntry:
    """An incident that was opened, with who lost, what is closed and what that leaves."""
    incident, found, plan = opening.incident, opening.attribution, opening.plan
    details: tuple[tuple[str, Detail], ...] = (
        ("incident_id", incident.incident_id),
        ("takes_over", opening.takes_over),
        ("reason", incident.reason),
        ("equity", round(opening.equity, 2)),
        ("source", found.source.value),
        ("losses_long", round(found.losses_long, 2)),
        ("losses_short", round(found.losses_short, 2)),
        ("unexplained_fraction", round(found.unexplained_fraction, 4)),
        ("targets", say_targets(incident.targets)),
        ("kept", say_kept(plan.kept)),
        ("net_exposure_before", say_exposure(plan.exposure_before)),
        ("net_exposure_after", say_exposure(plan.exposure_after)),
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
    kept = f" Kept: {say_kept(plan.kept)}." if plan.kept else ""
    directional = " The book ends more directional." if plan.is_more_directional else ""
    return AuditEntry(
        at=incident.opened_at,
        scope=incident.book,
        event="follow_up" if incident.is_followup else "trigger",
        message=f"{incident.stage.name}: {incident.reason}; source {found.source.value}; "
        f"{say_targets(incident.targets) or 'nothing to close'}.{kept}{directional}",
        stage=incident.stage,
        mode=incident.mode,
        severity=Severity.CRITICAL,
        details=details,
    )


def extended_audit(opening: Opening, extended: Incident, *, now: float) -> AuditEntry:
    """What appeared while an incident was running was added to it."""
    return AuditEntry(
        at=now,
        scope=extended.book,
        event="follow_up",
        message=f"{extended.stage.name}: {opening.incident.reason}; added to the open incident: "
        f"{say_targets(opening.incident.targets)}.",
        stage=extended.stage,
        mode=extended.mode,
        severity=Severity.CRITICAL,
        details=(
            ("incident_id", extended.incident_id),
            ("targets", say_targets(extended.targets)),
        ),
    )


def kill_audit(opening: Opening, *, readings: tuple[Reading, ...]) -> AuditEntry:
    """The operator's kill of one book: what is closed as far as it is known, and from when that is.

    A dry run says aloud that it does nothing.
    """
    incident, plan = opening.incident, opening.plan
    asked_at = min((reading.asked_at for reading in readings), default=None)
    age = "no reading was ever trusted" if asked_at is None else "by the last trusted reading"
    kept = f" Kept: {say_kept(plan.kept)}." if plan.kept else ""
    dry = " DRY RUN: NOTHING IS CLOSED AND NO ORDER IS CANCELLED." if incident.dry_run else ""
    return AuditEntry(
        at=incident.opened_at,
        scope=incident.book,
        event="kill",
        message=f"{incident.stage.name}: {incident.reason}; {age}: "
        f"{say_targets(incident.targets) or 'nothing to close'}.{kept}{dry}",
        stage=incident.stage,
        mode=incident.mode,
        severity=Severity.CRITICAL,
        details=(
            ("incident_id", incident.incident_id),
            ("takes_over", opening.takes_over),
            ("reason", incident.reason),
            ("equity", round(opening.equity, 2)),
            ("reading_age_s", None if asked_at is None else round(incident.opened_at - asked_at)),
            ("targets", say_targets(incident.targets)),
            ("kept", say_kept(plan.kept)),
            ("net_exposure_before", say_exposure(plan.exposure_before)),
            ("net_exposure_after", say_exposure(plan.exposure_after)),
            ("is_more_directional", plan.is_more_directional),
            ("notes", "; ".join(plan.notes)),
        ),
    )


def found_audit(found: Incident, extended: Incident, *, now: float) -> AuditEntry:
    """Positions that a kill found on the account were added to what it closes."""
    return AuditEntry(
        at=now,
        scope=extended.book,
        event="follow_up",
        message=f"{extended.stage.name}: {extended.reason}; found on the account: "
        f"{say_targets(found.targets)}.",
        stage=extended.stage,
        mode=extended.mode,
        severity=Severity.CRITICAL,
        details=(
            ("incident_id", extended.incident_id),
            ("targets", say_targets(extended.targets)),
        ),
    )


def note_audits(report: IncidentReport, *, now: float) -> tuple[AuditEntry, ...]:
    """What the executor noticed, each sentence once."""
    incident = report.incident
    return tuple(
        AuditEntry(
            at=now,
            scope=incident.book,
            event="incident_note",
            message=note,
            stage=incident.stage,
            mode=incident.mode,
            severity=Severity.WARNING,
            details=(("incident_id", incident.incident_id),),
        )
        for note in dict.fromkeys(report.notes)
    )


def stuck_audit(incident: Incident, *, now: float) -> AuditEntry:
    """An incident that stays open: for how long, and what of it is not closed yet."""
    missed = [target for target in incident.targets if target.status is TargetStatus.OPEN]
    names = ", ".join(f"{target.key.symbol} {target.key.side}" for target in missed)
    return AuditEntry(
        at=now,
        scope=incident.book,
        event="incident_stuck",
        message=f"open for {now - incident.opened_at:.0f} s, "
        + (f"not at target: {names}" if missed else "its targets are not confirmed yet"),
        stage=incident.stage,
        mode=incident.mode,
        severity=Severity.CRITICAL,
        details=(("incident_id", incident.incident_id), ("rounds", incident.rounds)),
    )


def unconfigured_audit(book: BookMemory, *, now: float) -> AuditEntry:
    """A book that still binds and that nobody reads or closes for, and what to do about it."""
    incident = book.incident
    closing = "" if incident is None else "an incident is open and nobody works on it; "
    return AuditEntry(
        at=now,
        scope=book.name,
        event="book_not_configured",
        message=f"{book.name} is {book.stage.name} and no longer configured: {closing}"
        f"{say_locks(book)} -> put the account back, or: reset {book.name} --force",
        stage=book.stage,
        severity=Severity.CRITICAL,
        details=(("incident_id", None if incident is None else incident.incident_id),),
    )


def ended_audit(ended: Incident, missed: tuple[CloseTarget, ...], *, now: float) -> AuditEntry:
    """An incident that ended: how each target stands, and what was given up."""
    rows = ", ".join(f"{say_targets((target,))} {target.status.value}" for target in ended.targets)
    is_expired = ended.status is IncidentStatus.EXPIRED
    if is_expired:
        left = _say_left_open(missed)
    else:
        left = f"; missed: {say_targets(missed)}" if missed else ""
    is_warned_of = bool(missed) or ended.status is IncidentStatus.ABANDONED
    severity = Severity.WARNING if is_warned_of else Severity.INFO
    return AuditEntry(
        at=now,
        scope=ended.book,
        event=f"incident_{ended.status.value.lower()}",
        message=f"{ended.stage.name} {ended.status.value}: "
        f"{rows or 'nothing was to be closed'}{left}",
        stage=ended.stage,
        mode=ended.mode,
        # Nobody asked for it, and no target holds any longer what it leaves open.
        severity=Severity.CRITICAL if is_expired else severity,
        details=(("incident_id", ended.incident_id), ("rounds", ended.rounds)),
    )


def _say_left_open(missed: tuple[CloseTarget, ...]) -> str:
    """What an incident that was given up leaves behind, and what a person should do."""
    if not missed:
        return "; every target held when it was last read, not twice -> compare with the exchange"
    return (
        f"; still above its target: {say_targets(missed)}; nothing is closed of it until a stage "
        "is confirmed anew -> close it by hand"
    )


def rearmed_audit(before: BookMemory, after: BookMemory, *, now: float) -> AuditEntry:
    """A book that is armed in full again."""
    return AuditEntry(
        at=now,
        scope=before.name,
        event="rearmed",
        message=f"{before.stage.name} is over: the book is armed in full; {say_locks(after)}",
        stage=before.stage,
    )


def reset_audit(
    before: BookMemory, transition: Transition, request: OperatorRequest, *, now: float
) -> AuditEntry:
    """A reset that was carried out: who, when and why, and what was given up."""
    reason, forced = request.argument("reason"), request.argument("force") == "true"
    return AuditEntry(
        at=now,
        scope=before.name,
        event="reset",
        message=f"{request.actor} reset {before.name} from {before.stage.name}"
        + (" by force" if forced else "")
        + (f": {reason}" if reason else ""),
        stage=before.stage,
        severity=Severity.WARNING,
        details=(
            ("actor", request.actor),
            ("reason", reason),
            ("is_forced", forced),
            ("abandoned", None if transition.ended is None else transition.ended.incident_id),
            ("missed", say_targets(transition.missed)),
        ),
    )


def blindness_audit(book: BookMemory, *, scope: ScopeId, is_set: bool, now: float) -> AuditEntry:
    """Bots are locked out because a scope is not seen, or are not any more."""
    what = "bots are locked until there is" if is_set else "the blind lock ends with"
    return AuditEntry(
        at=now,
        scope=book.name,
        event="blind_lock_set" if is_set else "blind_lock_lifted",
        message=f"{scope}: {what} a trusted reading that breaches nothing",
        stage=book.stage,
        severity=Severity.WARNING if is_set else Severity.INFO,
    )


def say_reset(transition: Transition) -> str:
    """The answer to a reset that was carried out."""
    book, ended = transition.book, transition.ended
    answer = f"{book.name} is NORMAL; drawdown counts from now; {say_locks(book)}"
    if ended is None:
        return answer
    missed = say_targets(transition.missed)
    return f"{answer}; the open incident was abandoned" + (
        f", not at target: {missed}" if missed else ", all of its targets were reached"
    )


def say_locks(book: BookMemory) -> str:
    """Whether the book's own locks still stop the bots, and which do."""
    reasons = ", ".join(entry.reason for entry in book.locks)
    return f"still locked by {reasons}" if reasons else "its lock is lifted"


def say_targets(targets: tuple[CloseTarget, ...]) -> str:
    """The targets in one line: what is held, and what may remain of it."""
    return ", ".join(
        f"{target.key.symbol} {target.key.side} {target.initial_quantity:f} -> "
        f"{target.may_remain:f}"
        for target in targets
    )


def say_kept(kept: tuple[KeptPosition, ...]) -> str:
    """What a plan leaves alone on purpose, in one line, with the reason."""
    return ", ".join(
        f"{one.key.symbol} {one.key.side} {one.quantity:f} ({one.reason.value})" for one in kept
    )


def say_exposure(exposure: Exposure) -> str:
    """Net exposure in quote money: in total, and per base asset."""
    by_base = ", ".join(f"{base} {net:.2f}" for base, net in exposure.by_base)
    return f"{exposure.total:.2f}" + (f" ({by_base})" if by_base else "")
