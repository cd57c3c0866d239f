"""A reading before its judge: the case, an attempt to explain it, and what acceptance leaves.

Pure. Owns the steps that every ending of behaviour.md section 3 shares. Refuses to decide which
ending applies: that is `suspicion.py`.

An attempt is the memory as it would be if the reading were trusted, its flows settled; a reading
that stays in doubt throws it away, so that a doubtful value never touches the history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from aging import HISTORY_S, grow_old
from explanation import Explanation, Interval, explain_by_ledger
from flows import Settled, compute_unexplained, is_awaiting_step, is_small, settle, with_newest
from memory import AuditEntry, Doubt, Point, RowResults, ScopeMemory, Severity
from model import Reading, RecordId, Trust
from policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a reading is worth. `equity` is the value that counts, None unless TRUSTED."""

    settled: Settled
    trust: Trust
    equity: float | None = None
    reasons: tuple[str, ...] = ()
    unexplained: float = 0.0
    audits: tuple[AuditEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A reading before its judge. `reference` is the point of the last trusted reading."""

    memory: ScopeMemory
    reading: Reading
    reference: Point
    interval: Interval
    policy: Policy
    breach_equity: float | None

    @property
    def scale(self) -> float:
        """The equity that shares are taken of."""
        return max(abs(self.reference.equity), self.policy.min_equity)

    @property
    def move(self) -> float:
        """How far equity moved since the reference."""
        return self.reading.equity - self.reference.equity


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The memory as it would be if the reading were trusted, with one way to explain it.

    `known` are the flows since the reference, `explained` they and the explanation together.
    """

    settled: Settled
    known: float
    explained: float
    unexplained: float


def best_attempt(case: Case, by_prices: Explanation) -> tuple[Attempt, Explanation]:
    """Explain by prices; where a large part stays open, by the ledger if that leaves less.

    In a doubt the ledger also counts where it shows less lost: a price that runs on after a
    position was closed would end the doubt by explaining more and more.
    """
    attempt = attempt_with(case, by_prices)
    is_doubted = case.memory.suspicion is not None
    if is_small(attempt.unexplained, equity=case.reference.equity) and not is_doubted:
        return attempt, by_prices
    by_ledger = explain_by_ledger(case.interval)
    if by_ledger is None or not math.isfinite(by_ledger.total):
        return attempt, by_prices
    other = attempt_with(case, by_ledger)
    is_less_lost = is_doubted and by_ledger.total > by_prices.total
    if is_less_lost or abs(other.unexplained) < abs(attempt.unexplained):
        return other, by_ledger
    return attempt, by_prices


def attempt_with(case: Case, explanation: Explanation) -> Attempt:
    """Put the reading at the end of the history and let the flows take effect that it shows."""
    memory, reading = case.memory, case.reading
    results = add_results(memory.results, explanation.results)
    point = Point(
        at=reading.asked_at,
        equity=reading.equity,
        nav=reading.equity / memory.units,
        results=results,
        unexplained=memory.unexplained,
    )
    settled = settle(
        replace(
            memory,
            history=memory.history.append(point),
            last_trusted=reading,
            results=results,
        ),
        equity=case.reference.equity,
        min_equity=case.policy.min_equity,
        newest_began_at=case.reference.at,
    )
    known = sum_known_flows(case, settled.memory, apart_from=settled.forced)
    explained = explanation.total + known
    unexplained = compute_unexplained(move=case.move - known, explained=explanation.total)
    if unexplained > 0:
        # More is left than prices say: where a position was closed on the way, its stop worked.
        unexplained = max(0.0, unexplained - explanation.at_most)
    return Attempt(
        settled=settled,
        known=known,
        explained=explained,
        unexplained=unexplained,
    )


def sum_known_flows(
    case: Case, memory: ScopeMemory, *, apart_from: tuple[RecordId, ...] = ()
) -> float:
    """Sum the flows that took effect since the reference."""
    return math.fsum(
        flow.amount
        for flow in memory.flows
        if flow.effective_at is not None
        and case.reference.at < flow.effective_at <= case.reading.asked_at
        and flow.record_id not in apart_from
    )


def add_results(totals: RowResults, results: RowResults) -> RowResults:
    """Add what rows made in one step to their running totals."""
    merged = dict(totals)
    for key, made in results:
        merged[key] = merged.get(key, 0.0) + made
    return tuple(sorted(merged.items()))


def accept(case: Case, attempt: Attempt, *, audits: tuple[AuditEntry, ...]) -> Verdict:
    """TRUSTED at the value that was read: the end of any suspicion."""
    reading, memory = case.reading, attempt.settled.memory
    newest = memory.history.last
    assert newest is not None
    unexplained = case.memory.unexplained + attempt.unexplained
    awaits = is_awaiting_step(memory, equity=reading.equity, now=reading.asked_at)
    newest = replace(newest, unexplained=unexplained, may_be_peak=not awaits)
    oldest_at = reading.asked_at - HISTORY_S
    memory = replace(
        memory,
        history=grow_old(with_newest(memory.history, newest).since(oldest_at)),
        results=_pruned(memory, reading, oldest_at=oldest_at),
        unexplained=unexplained,
        suspicion=None,
        flows=tuple(f for f in memory.flows if max(f.at, f.effective_at or 0.0) >= oldest_at),
        accepted_losses=_standing_losses(memory, oldest_at=oldest_at),
    )
    return Verdict(
        settled=replace(attempt.settled, memory=memory),
        trust=Trust.TRUSTED,
        equity=reading.equity,
        unexplained=attempt.unexplained,
        audits=audits,
    )


def _pruned(memory: ScopeMemory, reading: Reading, *, oldest_at: float) -> RowResults:
    """The results without rows that are gone and made nothing in 48 h."""
    first = next(memory.history.points())
    if first.at > oldest_at:
        return memory.results
    held, old = {row.key for row in reading.rows()}, dict(first.results)
    return tuple((key, made) for key, made in memory.results if key in held or old.get(key) != made)


def _standing_losses(memory: ScopeMemory, *, oldest_at: float) -> tuple[Doubt, ...]:
    """The accepted losses that are recent and did not turn out to be a withdrawal."""
    flows = {flow.effective_at for flow in memory.flows}
    return tuple(
        loss for loss in memory.accepted_losses if loss.at >= oldest_at and loss.at not in flows
    )


def audit_of(
    case: Case,
    event: str,
    message: str,
    severity: Severity = Severity.INFO,
    unexplained: float = 0.0,
) -> AuditEntry:
    """An audit entry about a reading, with the figures it claims."""
    equity = case.reading.equity
    return AuditEntry(
        at=case.reading.asked_at,
        scope=case.reading.scope,
        event=event,
        message=message,
        severity=severity,
        details=(
            ("equity", equity if math.isfinite(equity) else str(equity)),
            ("unexplained", unexplained),
        ),
    )
