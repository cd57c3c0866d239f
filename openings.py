"""What a triggered stage opens: an incident, from who lost, what is closed and what may remain.

Pure. Owns the way from "stage n may act" to an incident with its targets, and to what a report
shows of it. Whether a stage may act is `stage_machine`'s to say, who lost is
`risk_attribution`'s, what is closed is `plans`'s; what the incident does to the book is
`incidents`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from book_locks import open_incident
from coin_sales import as_position, coins_for_sale
from drawdown import WindowDrawdown, worst_breach
from memory import BookMemory, CloseTarget, Incident, Point, ScopeMemory, TargetStatus
from model import BookName, IncidentId, Reading, RowKey, ScopeObservation
from order_sizes import is_too_small, round_down, step_of, subtract
from plans import Plan, merge_targets, plan_stage
from policy import BookPolicy, Policy, StagePolicy
from risk_attribution import Attribution, ScoredRow, attribute, score_rows

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

APPEARED = "positions appeared while everything must stay closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One incident as it was opened, with everything that led to it. For reports and tests.

    `breach` is None for a follow-up: no drawdown asked for it.
    """

    incident: Incident
    breach: WindowDrawdown | None
    attribution: Attribution
    ranked: tuple[ScoredRow, ...]
    plan: Plan
    equity: float
    takes_over: IncidentId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a book in the tick that brought a trusted reading of it.

    `memory` is the scope's after the reading, whose point is therefore the last of its history.
    """

    now: float
    policy: Policy
    book: BookPolicy
    seen: ScopeObservation
    reading: Reading
    memory: ScopeMemory
    equity: float
    drawdowns: tuple[WindowDrawdown, ...]

    @property
    def point(self) -> Point:
        """The reading as history sees it.

        What rows made stands here and not in the scope's totals, which stay behind while a
        suspicion lets a reading count at its explained value.
        """
        point = self.memory.history.last
        assert point is not None
        return point

    @property
    def planned_on(self) -> Reading:
        """The reading that a plan is made from: in a doubt, with the coins that were last trusted.

        Coins that a doubted reading lacks may well be there, and what offsets them stays.
        """
        trusted = self.memory.last_trusted
        if self.memory.suspicion is None or trusted is None:
            return self.reading
        return replace(self.reading, coins=trusted.coins)


def incident_id(*, policy: Policy, book: BookName, now: float) -> IncidentId:
    """Make an id of at most 13 letters and digits: instance, milliseconds, number of the book."""
    milliseconds, letters = int(now * 1000), ""
    while milliseconds > 0:
        milliseconds, digit = divmod(milliseconds, 36)
        letters = _BASE36[digit] + letters
    number = [known.name for known in policy.books].index(book)
    return IncidentId(f"{policy.instance_tag}{letters}{_BASE36[number % 36]}")


def open_for_breach(book: BookMemory, settings: StagePolicy, facts: Facts) -> Opening:
    """Plan the incident of a stage that is complete and may act.

    The targets of a running incident go on in it, each with the smaller remainder.
    """
    breach = worst_breach(facts.drawdowns, settings.stage)
    assert breach is not None
    opening = _open(settings, breach, facts)
    running = open_incident(book)
    if running is None:
        return opening
    targets = merge_targets(running.targets, opening.plan.targets)
    return replace(
        opening,
        incident=replace(opening.incident, targets=targets),
        takes_over=running.incident_id,
    )


def open_for_appeared(book: BookMemory, settings: StagePolicy, facts: Facts) -> Opening | None:
    """Plan the follow-up for positions that no running incident closes; None without any.

    Dust asks for nothing: the venue refuses to close it, so it would open incidents for ever.
    """
    running = open_incident(book)
    cared_for = {
        target.key
        for target in (() if running is None else running.targets)
        if target.status is not TargetStatus.MISSED
    }
    seen = facts.planned_on
    coins = (as_position(coin) for coin in coins_for_sale(seen, facts.book))
    held = {RowKey(seen.scope, p.symbol, p.side) for p in (*seen.positions, *coins)}
    if held <= cared_for:
        return None
    opening = _open(settings, None, facts)
    targets = tuple(
        target
        for target in opening.plan.targets
        if target.key not in cared_for and (target.is_passage or not _is_dust(target, facts))
    )
    if all(target.is_passage for target in targets):
        return None
    return replace(opening, incident=replace(opening.incident, targets=targets))


def _is_dust(target: CloseTarget, facts: Facts) -> bool:
    """Whether what has to go is too small for the venue, as the executor will judge it."""
    limits = facts.seen.limits.get(target.key.symbol)
    step = step_of(limits, target.initial_quantity, target.may_remain)
    excess = round_down(subtract(target.initial_quantity, target.may_remain), step)
    mark = next(row.mark_price for row in facts.planned_on.rows() if row.key == target.key)
    return is_too_small(excess, limits=limits, mark_price=mark)


def _open(settings: StagePolicy, breach: WindowDrawdown | None, facts: Facts) -> Opening:
    """One incident with the targets of its own plan; without a breach, a follow-up."""
    peak = facts.point if breach is None or breach.peak is None else breach.peak
    attribution = _attribute(
        settings,
        facts,
        peak=peak,
        drawdown_money=0.0 if breach is None else breach.peak_equity - facts.equity,
    )
    ranked = score_rows(attribution=attribution, rows=facts.reading.rows(), equity=facts.equity)
    plan = plan_stage(
        stage_policy=settings,
        book=facts.book,
        source=attribution.source,
        ranked=ranked,
        readings=(facts.planned_on,),
        limits={facts.seen.scope: facts.seen.limits},
    )
    incident = Incident(
        incident_id=incident_id(policy=facts.policy, book=facts.book.name, now=facts.now),
        book=facts.book.name,
        stage=settings.stage,
        mode=settings.mode.value,
        source=attribution.source,
        opened_at=facts.now,
        dry_run=facts.policy.dry_run,
        reason=APPEARED if breach is None else _reason(breach),
        targets=plan.targets,
        last_progress_at=facts.now,
        is_followup=breach is None,
        had_positions_since_peak=_had_positions(peak, facts),
    )
    return Opening(
        incident=incident,
        breach=breach,
        attribution=attribution,
        ranked=ranked,
        plan=plan,
        equity=facts.equity,
    )


def _attribute(
    settings: StagePolicy, facts: Facts, *, peak: Point, drawdown_money: float
) -> Attribution:
    """Who lost since the peak; a follow-up counts from now, so nobody is known to have lost."""
    return attribute(
        peak=peak.results,
        now=facts.point.results,
        rows=facts.reading.rows(),
        never_touch=facts.book.never_touch,
        source_mode=settings.source_mode,
        source_threshold=settings.source_threshold,
        drawdown_money=drawdown_money,
        unexplained_since_peak=facts.point.unexplained - peak.unexplained,
    )


def _had_positions(peak: Point, facts: Facts) -> bool:
    """Whether any row was held since the peak reading, as far as what rows made can tell.

    Totals that are gone by now belong to rows that made nothing for longer than any peak lives.
    """
    made_at_peak = dict(peak.results)
    has_coins = bool(coins_for_sale(facts.reading, facts.book))
    return (
        has_coins
        or bool(facts.reading.positions)
        or any(made_at_peak.get(key) != made for key, made in facts.point.results)
    )


def _reason(breach: WindowDrawdown) -> str:
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
