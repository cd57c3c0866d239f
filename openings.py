"""What a triggered stage opens: an incident, from who lost, what is closed and what may remain.

Pure. Owns the way from "stage n may act" to an incident with its targets, and to what a report
shows of it. Whether a stage may act is `stage_machine`'s to say, who lost is
`risk_attribution`'s, what is closed is `plans`'s; what the incident does to the book is
`incidents`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from book_locks import open_incident
from coin_sales import LIMITS_BY_SCOPE, as_position, coins_for_sale
from drawdown import WindowDrawdown, worst_breach
from memory import BookMemory, CloseTarget, Incident, Point, ScopeMemory, TargetStatus
from model import (
    BookName,
    IncidentId,
    Position,
    Reading,
    RowKey,
    ScopeObservation,
    Source,
    Stage,
    StageMode,
)
from order_sizes import is_too_small, round_down, step_of, subtract
from plans import Plan, merge_targets, plan_stage
from policy import BookPolicy, Policy, StagePolicy
from risk_attribution import Attribution, ScoredRow, attribute, score_rows

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

APPEARED = "positions appeared while everything must stay closed"
KILLED = "the operator's kill"
IN_THE_DARK = "no reading can be trusted while everything must stay closed"

NOBODY_LOST = Attribution(
    source=Source.UNKNOWN,
    measured=Source.UNKNOWN,
    results=(),
    losses_long=0.0,
    losses_short=0.0,
    unexplained_fraction=0.0,
)
"""What is known of who lost where nobody asks: a kill closes all sides."""


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
    `is_halted`: the operator's halt keeps stages 1 and 2 from acting.
    """

    now: float
    policy: Policy
    book: BookPolicy
    seen: ScopeObservation
    reading: Reading
    memory: ScopeMemory
    equity: float
    drawdowns: tuple[WindowDrawdown, ...]
    is_halted: bool = False

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


@dataclass(frozen=True, slots=True, kw_only=True)
class KillFacts:
    """What is known of a book when the operator's kill comes; nothing of it was read for that.

    `limits` are the market rules as far as anybody has them.
    """

    now: float
    policy: Policy
    book: BookPolicy
    memories: tuple[ScopeMemory, ...]
    limits: LIMITS_BY_SCOPE

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The last trusted reading of each scope, whatever its age."""
        known = (memory.last_trusted for memory in self.memories)
        return tuple(reading for reading in known if reading is not None)

    @property
    def equity(self) -> float:
        """The last trusted equity of the book, 0 before the first."""
        lasts = ((memory.history.last, memory.units) for memory in self.memories)
        return sum(last.nav * units for last, units in lasts if last is not None)


def incident_id(*, policy: Policy, book: BookName, now: float) -> IncidentId:
    """Make an id of at most 13 letters and digits: instance, milliseconds, number of the book.

    A kill opens one for every book in one moment: the next 36 books bear the next millisecond.
    """
    number = [known.name for known in policy.books].index(book)
    milliseconds, letters = int(now * 1000) + number // 36, ""
    while milliseconds > 0:
        milliseconds, digit = divmod(milliseconds, 36)
        letters = _BASE36[digit] + letters
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


def open_for_appeared(book: BookMemory, facts: Facts) -> Opening | None:
    """Plan the follow-up for positions that no running incident closes; None without any.

    In LOCKDOWN as the kill closes, else as stage 3 does, None without settings for that.

    Dust asks for nothing: the venue refuses to close it, so it would open incidents for ever.
    """
    settings = facts.book.stage(Stage.ALL_CLOSED)
    if book.stage is Stage.LOCKDOWN:
        settings = kill_settings(facts.book)
        facts = replace(facts, book=_kill_book(facts.book))
    if settings is None:
        return None
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


def kill_settings(book: BookPolicy) -> StagePolicy:
    """What a kill does: as stage 3; without settings of it, close what is no coin."""
    own = book.stage(Stage.ALL_CLOSED)
    if own is not None:
        return replace(own, stage=Stage.LOCKDOWN)
    return StagePolicy(
        stage=Stage.LOCKDOWN,
        thresholds=(),
        mode=StageMode.CLOSE_ALL_POSITIONS,
        cooldown_s=0.0,
        confirm_consecutive=1,
    )


def _kill_book(book: BookPolicy) -> BookPolicy:
    """The settings by which a kill plans: which coins to sell only stage 3 says."""
    is_told = book.stage(Stage.ALL_CLOSED) is not None
    return book if is_told else replace(book, sell_collateral=False)


def open_for_kill(book: BookMemory, facts: KillFacts) -> Opening:
    """Plan the incident of the operator's kill from what was last trusted, maybe nothing.

    The targets of a running incident go on in it. What no reading shows, the executor finds.
    """
    settings = kill_settings(facts.book)
    ranked, plan = _plan_kill(facts, facts.readings)
    running = open_incident(book)
    targets = plan.targets if running is None else merge_targets(running.targets, plan.targets)
    incident = Incident(
        incident_id=incident_id(policy=facts.policy, book=facts.book.name, now=facts.now),
        book=facts.book.name,
        stage=settings.stage,
        mode=settings.mode.value,
        source=Source.UNKNOWN,
        opened_at=facts.now,
        dry_run=facts.policy.dry_run,
        reason=KILLED,
        targets=targets,
        last_progress_at=facts.now,
    )
    return Opening(
        incident=incident,
        breach=None,
        attribution=NOBODY_LOST,
        ranked=ranked,
        plan=plan,
        equity=facts.equity,
        takes_over=None if running is None else running.incident_id,
    )


def targets_for_found(
    running: Incident, found: Sequence[Position], facts: KillFacts
) -> tuple[CloseTarget, ...]:
    """The targets for positions that the executor found and that a running kill does not cover.

    What offsets a coin that stays is kept by the coins that were last trusted.
    """
    scope = facts.book.scopes[0]
    trusted = facts.readings[0] if facts.readings else None
    covered = {target.key for target in running.targets}
    new = {RowKey(scope, p.symbol, p.side): p for p in found}
    known = () if trusted is None else trusted.positions
    held = tuple(p for p in known if RowKey(scope, p.symbol, p.side) not in new)
    seen = Reading(
        scope=scope,
        asked_at=facts.now,
        equity=facts.equity,
        wallet=None,
        unrealised_pnl=None,
        positions=(*new.values(), *held),
        coins=() if trusted is None else trusted.coins,
    )
    if trusted is not None:
        seen = replace(seen, position_mode=trusted.position_mode)
    _, plan = _plan_kill(facts, (seen,))
    return tuple(t for t in plan.targets if t.key in new and t.key not in covered)


def _plan_kill(
    facts: KillFacts, readings: tuple[Reading, ...]
) -> tuple[tuple[ScoredRow, ...], Plan]:
    rows = tuple(row for reading in readings for row in reading.rows())
    ranked = score_rows(attribution=NOBODY_LOST, rows=rows, equity=facts.equity)
    plan = plan_stage(
        stage_policy=kill_settings(facts.book),
        book=_kill_book(facts.book),
        source=Source.UNKNOWN,
        ranked=ranked,
        readings=readings,
        limits=facts.limits,
    )
    return ranked, plan


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
