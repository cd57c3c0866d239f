"""What one attempt to read a scope is worth, and what to do about it at once.

Pure. Owns behaviour.md section 3 from the attempt to the verdict: unavailable readings, what a
reading is compared with, wants, the record. How a doubt grows and ends is `suspicion.py`, how long
a scope may go unseen `sight.py`. Refuses to know what a breach leads to.

Rules:
- A failed, old or overtaken reading is UNAVAILABLE, never an empty account; so is an answer that
  shows what was before the trusted one, by the dates that the venue puts on balances and positions.
- Records that came along count all the same.
- The ledger is wanted while anything large is unexplained, while a suspicion lasts, when a streak
  begins and every `flow_poll_s`, but never twice within a second.
- A history that lies ahead of the clock means that the clock was set back: it is moved along,
  because waiting for the old time would be blindness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from explanation import (
    GAP_S,
    Explanation,
    Interval,
    explain_by_ledger,
    explain_by_prices,
    failed_cross_checks,
    newly_listed_profit,
)
from flows import Settled, is_small, settle, sum_pending
from ledger import learn_ledger
from memory import (
    AuditEntry,
    Doubt,
    Flow,
    History,
    Point,
    ReadingRecord,
    ScopeMemory,
    Severity,
)
from model import Reading, ScopeObservation, Symbol, Trust, Want
from policy import Policy
from sight import begin_watch, judge_silence, regain_sight
from suspicion import (
    CONSISTENT_SPACING_S,
    doubts_of,
    find_ending,
    find_undoing,
    forget_wrong,
    is_limit_reached,
    suspect,
    take_back,
)
from verdict import (
    Attempt,
    Case,
    Verdict,
    accept,
    attempt_with,
    audit_of,
    best_attempt,
    sum_known_flows,
)

REPEAT_LEDGER_S = 1.0
"""The ledger is never asked twice within this time: it costs the most of the rate limit."""

OLD_ANSWERS_S = 30.0
"""For so long an answer is refused that shows a state before the trusted one; then the venue's
dates are what is wrong, and no account goes unread for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeStep:
    """What one attempt to read a scope came to.

    `equity` is the value that counts while `trust` is TRUSTED, None otherwise. `pending_flow` is
    the sum of flows on their way: a breach counts only if it holds with and without it.
    `baseline_at` is where the book's baseline must start, because a flow left too little to scale
    by. `unexplained` is the part of this step's move that nothing explains. `flows` are new or
    changed ones for the store.
    """

    memory: ScopeMemory
    trust: Trust
    equity: float | None
    reasons: tuple[str, ...] = ()
    pending_flow: float = 0.0
    wants: tuple[Want, ...] = ()
    flows: tuple[Flow, ...] = ()
    baseline_at: float | None = None
    audits: tuple[AuditEntry, ...] = ()
    record: ReadingRecord | None = None
    is_blind: bool = False
    unexplained: float = 0.0


def observe_scope(
    memory: ScopeMemory,
    seen: ScopeObservation,
    *,
    policy: Policy,
    now: float,
    breach_equity: float | None,
    running_streak: bool,
) -> ScopeStep:
    """Judge one attempt to read a scope, and take in the records that came with it.

    `breach_equity` is the equity at or below which a threshold of the book is breached, None when
    none can be; `running_streak` says that a streak of the book runs already.
    """
    memory, clock_audits = _moved_with_clock(memory, seen, policy=policy, now=now)
    if not 0 < memory.watch_began_at <= now:
        memory = begin_watch(memory, now=now)
    settled = learn_ledger(memory, seen.ledger, now=now, min_equity=policy.min_equity)
    last = memory.history.last
    if last is not None:
        settled = settled.then(
            settle(settled.memory, equity=last.equity, min_equity=policy.min_equity)
        )
    verdict = _verdict(settled.memory, seen, policy=policy, now=now, breach_equity=breach_equity)
    settled = settled.then(verdict.settled)
    memory, blind_audits, is_blind = _watched(settled.memory, verdict, policy=policy, now=now)
    begins_streak = (
        not running_streak
        and verdict.equity is not None
        and breach_equity is not None
        and verdict.equity <= breach_equity
    )
    memory, wants = _wanted(memory, verdict, policy=policy, now=now, begins_streak=begins_streak)
    last = memory.history.last
    return ScopeStep(
        memory=memory,
        trust=verdict.trust,
        equity=verdict.equity,
        reasons=verdict.reasons,
        pending_flow=sum_pending(memory, equity=last.equity if last else 0.0, now=now),
        wants=wants,
        flows=settled.changed,
        baseline_at=settled.baseline_at,
        audits=(*clock_audits, *verdict.audits, *blind_audits),
        record=_record(memory, seen, verdict),
        is_blind=is_blind,
        unexplained=verdict.unexplained,
    )


def _verdict(
    memory: ScopeMemory,
    seen: ScopeObservation,
    *,
    policy: Policy,
    now: float,
    breach_equity: float | None,
) -> Verdict:
    """UNAVAILABLE with its reason, or what the judgement says."""
    reading, last = seen.reading, memory.history.last
    if reading is None:
        refusal = seen.failure or "no reading"
        memory = replace(memory, failures=memory.failures + 1)
    elif now - reading.asked_at > policy.max_reading_age_s:
        refusal = f"the reading is {now - reading.asked_at:.0f} s old"
    elif last is not None and reading.asked_at <= last.at:
        refusal = "the reading is not newer than the last trusted one"
    elif _shows_what_was(memory.last_trusted, reading):
        refusal = "the answer shows what was before the last trusted one"
    else:
        return _judge(
            replace(memory, failures=0),
            reading,
            marks=seen.marks,
            policy=policy,
            breach_equity=breach_equity,
        )
    return Verdict(settled=Settled(memory=memory), trust=Trust.UNAVAILABLE, reasons=(refusal,))


def _shows_what_was(trusted: Reading | None, reading: Reading) -> bool:
    """Whether the venue dates a balance or position earlier than the trusted reading showed it."""
    if trusted is None or reading.asked_at - trusted.asked_at > OLD_ANSWERS_S:
        return False
    known = dict(trusted.changed_at)
    return any(at < known.get(name, at) for name, at in reading.changed_at)


def _judge(
    memory: ScopeMemory,
    reading: Reading,
    *,
    marks: Mapping[Symbol, float],
    policy: Policy,
    breach_equity: float | None,
) -> Verdict:
    """Judge a reading that is recent and newer than the history (behaviour.md 3)."""
    if memory.history.last is None:
        return _judge_first(memory, reading, policy=policy)
    case = _case(memory, reading, marks=marks, policy=policy, breach_equity=breach_equity)
    by_prices = explain_by_prices(case.interval)
    if not (math.isfinite(reading.equity) and math.isfinite(by_prices.total)):
        explained = case.reference.equity + by_prices.total + sum_known_flows(case, memory)
        return suspect(
            case,
            None,
            explained_equity=explained,
            by=by_prices,
            reasons=("equity or a price is not a number",),
        )
    attempt, explanation = best_attempt(case, by_prices)
    taken_back = take_back(case, attempt)
    if taken_back is not None:
        return taken_back
    undoing = find_undoing(case, attempt)
    checks = failed_cross_checks(reading, equity=case.scale)
    reasons = doubts_of(case, attempt.unexplained, checks)
    if not reasons and undoing is None:
        return _without_doubt(case, attempt, checks)
    doubt = Doubt(at=reading.asked_at, equity=reading.equity, unexplained=attempt.unexplained)
    ending = find_ending(case, attempt, doubt, undoing=undoing)
    if ending is not None:
        return replace(ending, reasons=reasons)
    proven = _proven(case, explanation)
    return suspect(
        case,
        doubt,
        explained_equity=case.reference.equity + proven.total + attempt.known,
        by=proven,
        reasons=reasons,
    )


def _proven(case: Case, explanation: Explanation) -> Explanation:
    """The explanation, or that of the ledger where it shows that less was lost.

    What was closed meanwhile counts to the present price, which it did not wait for: that alone
    proves no breach once the records tell better.
    """
    by_ledger = explain_by_ledger(case.interval)
    is_better = by_ledger is not None and by_ledger.total > explanation.total
    return by_ledger if by_ledger is not None and is_better else explanation


def _judge_first(memory: ScopeMemory, reading: Reading, *, policy: Policy) -> Verdict:
    """The first reading of a scope: there is nothing to compare it with but itself."""
    case = Case(
        memory=memory,
        reading=reading,
        reference=Point(at=reading.asked_at, equity=reading.equity, nav=reading.equity),
        interval=Interval(
            earlier=(), later=(), entries=(), marks={}, is_gap=False, is_covered=False
        ),
        policy=policy,
        breach_equity=None,
    )
    is_finite = math.isfinite(reading.equity)
    is_empty = reading.equity == 0 and not reading.positions and not reading.coins
    is_due = memory.suspicion is not None and is_limit_reached(case, memory.suspicion)
    if is_finite and (reading.equity > 0 or is_empty or is_due):
        attempt = attempt_with(case, Explanation(results=()))
        return _without_doubt(case, attempt, failed_cross_checks(reading, equity=reading.equity))
    reason = "the first equity is not above 0" if is_finite else "equity is not a number"
    return suspect(
        case, None, explained_equity=math.nan, by=Explanation(results=()), reasons=(reason,)
    )


def _case(
    memory: ScopeMemory,
    reading: Reading,
    *,
    marks: Mapping[Symbol, float],
    policy: Policy,
    breach_equity: float | None,
) -> Case:
    """Find the reference of a reading and what lies between the two."""
    trusted = memory.last_trusted
    reference = memory.history.last
    if trusted is not None:
        points = memory.history.points_backwards()
        reference = next((p for p in points if p.at <= trusted.asked_at), reference)
    assert reference is not None
    is_gap = trusted is None or reading.asked_at - trusted.asked_at > GAP_S
    return Case(
        memory=memory,
        reading=reading,
        reference=reference,
        interval=Interval(
            earlier=trusted.rows() if trusted is not None else (),
            later=reading.rows(),
            entries=tuple(
                entry for entry in memory.entries if reference.at < entry.at <= reading.asked_at
            ),
            marks=marks,
            is_gap=is_gap,
            is_covered=memory.ledger_until >= reading.asked_at - policy.flow_poll_s,
            unlisted=0.0
            if trusted is None
            else newly_listed_profit(trusted, reading, equity=reference.equity),
        ),
        policy=policy,
        breach_equity=breach_equity,
    )


def _without_doubt(case: Case, attempt: Attempt, checks: tuple[str, ...]) -> Verdict:
    """The reading is believed; a failed cross-check alone is shown, and alerted once."""
    audits: list[AuditEntry] = []
    if case.memory.suspicion is not None:
        audits.append(audit_of(case, "suspicion_ended", "the reading is believed again"))
    if checks and not case.memory.cross_check_alerted:
        message = f"a cross-check failed: {'; '.join(checks)}"
        audits.append(audit_of(case, "cross_check_failed", message, Severity.WARNING))
    attempt, forgotten = forget_wrong(case, attempt)
    audits.extend(forgotten)
    memory = replace(attempt.settled.memory, cross_check_alerted=bool(checks))
    attempt = replace(attempt, settled=replace(attempt.settled, memory=memory))
    return replace(accept(case, attempt, audits=tuple(audits)), reasons=checks)


def _record(memory: ScopeMemory, seen: ScopeObservation, verdict: Verdict) -> ReadingRecord | None:
    """The reading as it was judged, None when there is none worth keeping."""
    if seen.reading is None or verdict.trust is Trust.UNAVAILABLE:
        return None
    return ReadingRecord(
        reading=seen.reading,
        trust=verdict.trust,
        at=seen.reading.asked_at,
        point=memory.history.last if verdict.trust is Trust.TRUSTED else None,
        reasons=verdict.reasons,
    )


def _watched(
    memory: ScopeMemory, verdict: Verdict, *, policy: Policy, now: float
) -> tuple[ScopeMemory, tuple[AuditEntry, ...], bool]:
    """The memory with why it was not read, what is told of its sight, and whether it is blind."""
    is_unread = verdict.trust is Trust.UNAVAILABLE
    memory = replace(memory, trouble="; ".join(verdict.reasons) if is_unread else "")
    if verdict.trust is not Trust.TRUSTED:
        return judge_silence(memory, policy=policy, now=now)
    return *regain_sight(memory, now=now), False


def _wanted(
    memory: ScopeMemory, verdict: Verdict, *, policy: Policy, now: float, begins_streak: bool
) -> tuple[ScopeMemory, tuple[Want, ...]]:
    """Ask for the venue's records where they could explain something, or are due."""
    last = memory.history.last
    is_large = last is not None and not is_small(verdict.unexplained, equity=last.equity)
    waited_s = now - memory.ledger_asked_at
    is_due = not 0 <= waited_s < policy.flow_poll_s
    has_reason = is_large or memory.suspicion is not None or begins_streak or is_due
    if not has_reason or 0 <= waited_s < REPEAT_LEDGER_S:
        return memory, ()
    return replace(memory, ledger_asked_at=now), (Want.LEDGER,)


def _moved_with_clock(
    memory: ScopeMemory, seen: ScopeObservation, *, policy: Policy, now: float
) -> tuple[ScopeMemory, tuple[AuditEntry, ...]]:
    """The memory in the time of a clock that was set back beyond the age of a reading.

    Everything moves together, so that a suspicion keeps its age.
    """
    newest = _newest_time(memory)
    if newest <= now + policy.max_reading_age_s:
        return memory, ()
    set_back_to = min(seen.asked_at, now) - CONSISTENT_SPACING_S
    by_s = set_back_to - newest
    audit = AuditEntry(
        at=now,
        scope=memory.scope,
        event="clock_set_back",
        message=f"the clock was set back by about {-by_s:.0f} s; the history is moved along",
        severity=Severity.WARNING,
    )
    return replace(move_times(memory, by_s=by_s), set_back_to=set_back_to), (audit,)


def _newest_time(memory: ScopeMemory) -> float:
    """The latest time of our own clock in what was read of a scope, 0 before the first."""
    last, suspicion = memory.history.last, memory.suspicion
    trusted_at = last.at if last is not None else 0.0
    if suspicion is None:
        return trusted_at
    return max(trusted_at, suspicion.since, *(doubt.at for doubt in suspicion.doubts))


def move_times(memory: ScopeMemory, *, by_s: float) -> ScopeMemory:
    """Move every time in a scope's memory, those of records too: they were told on our clock.

    A record left where it was would find no step, confirm no inflow, or explain a move to come.
    """
    trusted, suspicion = memory.last_trusted, memory.suspicion
    points = tuple(replace(point, at=point.at + by_s) for point in memory.history.points())
    return replace(
        memory,
        history=replace(History.of(points), moved_s=memory.history.moved_s + by_s),
        last_trusted=replace(trusted, asked_at=trusted.asked_at + by_s) if trusted else None,
        suspicion=replace(
            suspicion,
            since=suspicion.since + by_s,
            doubts=tuple(replace(doubt, at=doubt.at + by_s) for doubt in suspicion.doubts),
            consistent_since=None
            if suspicion.consistent_since is None
            else suspicion.consistent_since + by_s,
        )
        if suspicion
        else None,
        flows=tuple(
            replace(
                flow,
                at=flow.at + by_s,
                effective_at=None if flow.effective_at is None else flow.effective_at + by_s,
            )
            for flow in memory.flows
        ),
        entries=tuple(replace(entry, at=entry.at + by_s) for entry in memory.entries),
        accepted_losses=tuple(replace(loss, at=loss.at + by_s) for loss in memory.accepted_losses),
        ledger_asked_at=memory.ledger_asked_at + by_s,
        ledger_until=memory.ledger_until + by_s,
        watch_began_at=memory.watch_began_at + by_s,
        set_back_to=memory.set_back_to and memory.set_back_to + by_s,
    )
