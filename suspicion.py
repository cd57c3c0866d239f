"""Is this reading believable, and how does a doubt end.

Pure. Owns the judgement of behaviour.md section 3. Uses `explanation.py` (what explains a move)
and `flows.py` (money from outside). Refuses to know what a breach leads to.

The theory: between the last trusted reading (the reference) and this one, equity moved; prices,
records and flows explain a part of that. A large rest makes the reading SUSPECT, and a suspicion
begins. While it lasts the reference stays where it is. It ends when
- a later reading leaves no large rest, or flows or losses in the ledger account for it;
- the rest takes back what nothing explained two minutes ago at most: one of the two answers was
  wrong. When the next reading agrees it was the first, of which the history keeps what was
  explained; else the step back is taken back in turn;
- the rest undoes an inferred inflow or an accepted loss, for three readings: back to what was
  proven;
- a rise stays the same for three readings: booked as an inferred inflow, never a peak;
- a fall stays the same for `suspect_grace_s`: accepted as a loss;
- `suspect_limit_s` have passed: the finite value is trusted whatever it is (a rise as an inflow).
Meanwhile a reading that breaches already at its explained equity is trusted at that value, so a
doubt about a part never disarms the proven rest.

Shares "of equity" mean the last trusted equity, and at least the least equity worth judging, so
that dust in an empty account is no suspicion. Deadlines are wall-clock times kept in the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise

from explanation import GAP_S, Explanation, explain_by_prices
from flows import (
    Settled,
    compute_unexplained,
    is_small,
    matches,
    settle,
    take_effect,
    undo,
    with_newest,
)
from memory import (
    AuditEntry,
    Chunk,
    Doubt,
    Flow,
    History,
    Point,
    ScopeMemory,
    Severity,
    Suspicion,
)
from model import LedgerKind, RecordId, Trust
from verdict import Attempt, Case, Verdict, accept, add_results, audit_of

SUSPECT_SHARE = 0.05
"""An unexplained part over this share of equity makes a reading SUSPECT."""

DOUBTFUL_SHARE = 0.01
"""With a failed cross-check, or at an equity of 0 or less, an unexplained part over this does."""

CONSISTENT_SHARE = 0.01
CONSISTENT_SPACING_S = 2.0
"""Doubts agree when they are this close in amount; closer in time they are one doubt."""

AGREEING_READINGS = 3
"""Agreeing readings after which an unexplained rise is booked as an inflow, or something undone."""

TAKEN_BACK_WITHIN_S = 120.0
"""How long an answer that was wrong may stand, stale ones above all, and still be taken back."""

LEDGER_LOSS_SHARE = 0.5
"""The share of an unexplained fall that the ledger must show for the rest to be believed."""


ROUNDING = 1e-9
"""A proven value is compared after a division and a multiplication by the same units."""


def doubts_of(case: Case, unexplained: float, checks: tuple[str, ...]) -> tuple[str, ...]:
    """The reasons not to believe a finite reading; none when it is believed."""
    reasons: list[str] = []
    if abs(unexplained) > SUSPECT_SHARE * case.scale:
        reasons.append(f"{unexplained:+.2f} of {case.scale:.2f} is unexplained")
    if abs(unexplained) > DOUBTFUL_SHARE * case.scale:
        if case.reading.equity <= 0:
            reasons.append(f"equity is {case.reading.equity:.2f}")
        reasons.extend(checks)
    return tuple(reasons)


def suspect(
    case: Case,
    doubt: Doubt | None,
    *,
    explained_equity: float,
    by: Explanation,
    reasons: tuple[str, ...],
) -> Verdict:
    """SUSPECT, or TRUSTED at the explained equity where that breaches already."""
    suspicion = advance(case, doubt)
    memory = replace(case.memory, suspicion=suspicion)
    unexplained = doubt.unexplained if doubt is not None else 0.0
    audits: tuple[AuditEntry, ...] = ()
    if case.memory.suspicion is None:
        audits = (audit_of(case, "suspect", "; ".join(reasons), Severity.WARNING, unexplained),)
    verdict = Verdict(
        settled=Settled(memory=memory),
        trust=Trust.SUSPECT,
        reasons=reasons,
        unexplained=unexplained,
        audits=audits,
    )
    if case.breach_equity is None or not math.isfinite(explained_equity):
        return verdict
    point = Point(
        at=case.reading.asked_at,
        equity=explained_equity,
        nav=explained_equity / memory.units,
        results=add_results(memory.results, by.results),
        unexplained=memory.unexplained,
        may_be_peak=False,
    )
    settled = _proven(case, memory, point)
    newest = settled.memory.history.last
    assert newest is not None
    # Against the breach as it was before: a withdrawal on the way is no loss that is proven.
    if newest.nav * memory.units > case.breach_equity * (1 + ROUNDING):
        return verdict
    return replace(
        verdict,
        settled=settled,
        trust=Trust.TRUSTED,
        equity=explained_equity,
        reasons=(*reasons, f"in breach already at the explained {explained_equity:.2f}"),
    )


def _proven(case: Case, memory: ScopeMemory, point: Point) -> Settled:
    """The memory with a point at its explained value, and in effect the flows that explain it.

    The point accounts for them already: nothing unexplained is left for them to relieve.
    """
    settled = settle(
        replace(memory, history=memory.history.append(point)),
        equity=case.reference.equity,
        min_equity=case.policy.min_equity,
        newest_began_at=case.reference.at,
    )
    newest = settled.memory.history.last
    assert newest is not None
    newest = replace(newest, unexplained=point.unexplained)
    history = with_newest(settled.memory.history, newest)
    told = replace(settled.memory, history=history, unexplained=point.unexplained)
    return replace(settled, memory=told)


# --- how a doubt grows and ends ---------------------------------------------------------------


def advance(case: Case, doubt: Doubt | None) -> Suspicion:
    """The suspicion with one more doubt; None is a reading without any figure to compare.

    The run of agreeing doubts keeps its first, so that a slow drift is no agreement. A doubt about
    something else after a long silence is a new one: what was not looked at is not in doubt.
    """
    known, at = case.memory.suspicion, case.reading.asked_at
    since = known.since if known is not None else at
    if doubt is None:
        return Suspicion(since=since, doubts=(), consistent_since=None)
    alone = Suspicion(since=at, doubts=(doubt,), consistent_since=at)
    if known is None or not known.doubts:
        return replace(alone, since=since)
    last = known.doubts[-1]
    if abs(at - last.at) < CONSISTENT_SPACING_S:
        return known
    tolerance = CONSISTENT_SHARE * case.scale
    agreeing = [d for d in known.doubts if abs(d.unexplained - doubt.unexplained) <= tolerance]
    if last not in agreeing:
        is_new = at - last.at > GAP_S
        return alone if is_new else replace(alone, since=known.since, consistent_since=None)
    if len(agreeing) < len(known.doubts):
        return Suspicion(
            since=since, doubts=(last, doubt), consistent_since=last.at, consistent_count=2
        )
    return Suspicion(
        since=since,
        doubts=(*known.doubts[:1], *known.doubts[1:][-2:], doubt),
        consistent_since=known.doubts[0].at,
        consistent_count=known.consistent_count + 1,
    )


def find_ending(
    case: Case, attempt: Attempt, doubt: Doubt, *, undoing: Verdict | None
) -> Verdict | None:
    """The verdict with which a suspicion ends, None while it lasts.

    `undoing` is the verdict that waits for as many agreeing readings as an inflow does: what
    several readings have shown is not undone by a single one, which may be stale.
    """
    if _is_loss_in_ledger(case, attempt):
        message = "the ledger shows at least half of the fall as losses"
        return accept(case, attempt, audits=(audit_of(case, "suspicion_ended", message),))
    suspicion = advance(case, doubt)
    if undoing is not None and suspicion.consistent_count >= AGREEING_READINGS:
        return undoing
    if doubt.unexplained > 0 and suspicion.consistent_count >= AGREEING_READINGS:
        return _as_inflow(case, attempt, _inflow_audit(case, doubt))
    began_at = suspicion.consistent_since
    grace_s = case.policy.suspect_grace_s
    if doubt.unexplained < 0 and began_at is not None and doubt.at - began_at >= grace_s:
        message = f"{doubt.unexplained:+.2f} is accepted as a loss that nothing explains"
        audit = audit_of(case, "unexplained_loss", message, Severity.CRITICAL, doubt.unexplained)
        return _as_loss(case, attempt, doubt, audit)
    if not is_limit_reached(case, suspicion):
        return None
    message = f"in doubt for {doubt.at - suspicion.since:.0f} s; the newest value is trusted"
    audit = audit_of(case, "forced_trust", message, Severity.CRITICAL, doubt.unexplained)
    if doubt.unexplained > 0:
        return _as_inflow(case, attempt, audit)
    return _as_loss(case, attempt, doubt, audit)


def is_limit_reached(case: Case, suspicion: Suspicion) -> bool:
    """Say whether a doubt has lasted so long that the newest finite value is trusted anyway."""
    return case.reading.asked_at - suspicion.since >= case.policy.suspect_limit_s


def find_undoing(case: Case, attempt: Attempt) -> Verdict | None:
    """A step back to what was proven: of an inferred inflow, or of an accepted loss.

    None for any other step, and for one that is small beside what the account has become. It is a
    doubt by itself: on the higher equity that an inflow left, its undoing may be less than what
    makes a reading SUSPECT.
    """
    rest = attempt.unexplained
    if is_small(rest, equity=case.reference.equity):
        return None
    memory = attempt.settled.memory
    for flow in memory.flows:
        is_concluded = flow.is_inferred and flow.kind is LedgerKind.OTHER
        is_standing = not flow.is_cancelled and flow.effective_at is not None
        if is_concluded and is_standing and matches(-rest, flow.amount):
            settled = attempt.settled.then(undo(memory, flow, amount=rest))
            message = f"{rest:+.2f} undoes the inferred inflow of {flow.amount:.2f}"
            audits = (audit_of(case, "inferred_inflow_undone", message, Severity.WARNING, rest),)
            return accept(case, replace(attempt, settled=settled, unexplained=0.0), audits=audits)
    for loss in memory.accepted_losses:
        if matches(rest, -loss.unexplained):
            losses = tuple(other for other in memory.accepted_losses if other != loss)
            settled = replace(attempt.settled, memory=replace(memory, accepted_losses=losses))
            message = f"{rest:+.2f} undoes the accepted loss of {loss.unexplained:.2f}"
            audits = (audit_of(case, "unexplained_loss_undone", message, Severity.WARNING, rest),)
            return accept(case, replace(attempt, settled=settled), audits=audits)
    return None


def take_back(case: Case, attempt: Attempt) -> Verdict | None:
    """A step back to where the unexplained total stood before a wrong answer, None for others.

    The wrong answer was small enough to be trusted; the way back may be more than that. Which of
    the two was wrong only the next reading tells: until then nothing is forgotten.
    """
    rest = attempt.unexplained
    if is_small(rest, equity=case.reference.equity):
        return None
    now_at = case.reading.asked_at
    before = _level_before(case.memory, case.memory.history.points_backwards(), rest, at=now_at)
    return None if before is None else accept(case, attempt, audits=())


def forget_wrong(case: Case, attempt: Attempt) -> tuple[Attempt, tuple[AuditEntry, ...]]:
    """The attempt without a wrong answer that was taken back, once a later reading agrees.

    The history keeps what was explained meanwhile (a real peak may lie there) and loses the rest.
    As a fall it would make the way back look like money that came in, as a rise it would be a peak
    that the account never had, and either way a step that a flow could be mistaken for.
    """
    equity, memory = case.reference.equity, case.memory
    points = memory.history.points_backwards()
    back = next(points, None)
    if back is None or not is_small(attempt.unexplained, equity=equity):
        return attempt, ()
    for point in points:
        if back.at < case.reading.asked_at - TAKEN_BACK_WITHIN_S:
            break
        step = back.unexplained - point.unexplained
        if is_small(memory.unexplained - point.unexplained, equity=equity):
            back = point
            continue
        wrong = _level_before(memory, chain((point,), points), step, at=back.at)
        if wrong is None:
            break
        message = f"{step:+.2f} takes back what nothing explained since then"
        audit = audit_of(case, "step_taken_back", message, unexplained=step)
        known = attempt.settled.memory
        history = _corrected(known.history, wrong, until=back)
        settled = replace(attempt.settled, memory=replace(known, history=history))
        return replace(attempt, settled=settled), (audit,)
    return attempt, ()


def _level_before(
    memory: ScopeMemory, points: Iterator[Point], step: float, *, at: float
) -> Point | None:
    """The first point of a wrong answer that a step at a time takes back, None where none was.

    `points` run backwards from the one before the step.
    """
    level: float | None = None
    for wrong, before in pairwise(points):
        level = wrong.unexplained if level is None else level
        is_proven = any(loss.at == wrong.at for loss in memory.accepted_losses)
        if wrong.at < at - TAKEN_BACK_WITHIN_S or is_proven:
            return None
        if matches(step, before.unexplained - level):
            return wrong
    return None


def _corrected(history: History, wrong: Point, *, until: Point) -> History:
    """The history with what is explained of its points from a wrong one to the one that told it."""

    def corrected(point: Point) -> Point:
        if not wrong.at <= point.at < until.at:
            return point
        equity = point.equity - (point.unexplained - until.unexplained)
        is_whole = point.equity > 0 and equity > 0
        return replace(
            point,
            equity=equity,
            nav=point.nav * equity / point.equity if is_whole else point.nav,
            unexplained=until.unexplained,
            may_be_peak=point.may_be_peak and is_whole,
        )

    chunks = tuple(
        chunk if chunk.points[-1].at < wrong.at else Chunk.of(tuple(map(corrected, chunk.points)))
        for chunk in history.chunks
    )
    return replace(history, chunks=chunks)


def _is_loss_in_ledger(case: Case, attempt: Attempt) -> bool:
    """Whether records account for at least half of the fall that prices and flows leave open."""
    bare = explain_by_prices(replace(case.interval, entries=()))
    rest = compute_unexplained(move=case.move, explained=bare.total + attempt.known)
    shown = attempt.unexplained - rest
    return rest < 0 and attempt.unexplained <= 0 and shown >= LEDGER_LOSS_SHARE * -rest


def _inflow_audit(case: Case, doubt: Doubt) -> AuditEntry:
    message = f"{doubt.unexplained:+.2f} is booked as an inflow until the venue's record comes"
    return audit_of(case, "inferred_inflow", message, Severity.WARNING, doubt.unexplained)


def _as_inflow(case: Case, attempt: Attempt, audit: AuditEntry) -> Verdict:
    """Trust an unexplained rise as money from outside, so that it cannot become a false peak."""
    at = case.reading.asked_at
    flow = Flow(
        record_id=RecordId(f"inferred:{at:.3f}"),
        scope=case.reading.scope,
        at=at,
        amount=attempt.unexplained,
        kind=LedgerKind.OTHER,
        is_inferred=True,
    )
    memory = attempt.settled.memory
    memory = replace(memory, flows=(*memory.flows, flow))
    newest = memory.history.last
    assert newest is not None
    settled = attempt.settled.then(
        take_effect(memory, flow, newest, unexplained=0.0, min_equity=case.policy.min_equity)
    )
    return accept(case, replace(attempt, settled=settled, unexplained=0.0), audits=(audit,))


def _as_loss(case: Case, attempt: Attempt, doubt: Doubt, audit: AuditEntry) -> Verdict:
    """Trust an unexplained fall, and remember it in case a rise undoes it."""
    memory = attempt.settled.memory
    memory = replace(memory, accepted_losses=(*memory.accepted_losses, doubt))
    settled = replace(attempt.settled, memory=memory)
    return accept(case, replace(attempt, settled=settled), audits=(audit,))
