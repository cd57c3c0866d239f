"""How far a book has fallen in each of its windows, and how often in a row it breached a stage.

Pure. Owns behaviour.md sections 4 (drawdown) and 5 (confirmation). Refuses to know where a
reading came from, what a flow is (history is kept in units, so that a flow changes nothing here)
and what is done about a breach.

Rules:
- The peak of a window is the largest flow-adjusted equity among the trusted points in
  (now - window, now] and the last one before them, which may be 24 h old. So two readings are
  enough, and a blackout or a restart does not forget the peak.
- No peak is older than the book's baseline, nor, for a stage, than that stage's own baseline.
- A point that may not be a peak is passed over, also as the last one before the window.
- A point later than `now` (the clock was set back) counts as if it were from now.
- Doubt neither counts for a streak nor resets it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from errors import InvariantViolation
from memory import BookMemory, Chunk, History, Point, Streak
from model import CLOSING_STAGES, Stage, Trust
from policy import BookPolicy, Policy

CARRY_S = 86_400.0
"""The oldest a reading from before the window may be and still serve as its peak."""

FRACTION_TOLERANCE = 1e-9
"""Rounding of nav x units must not hide a breach that is exact on paper."""

STREAK_LIFE_S = 60.0
"""A streak whose last counted reading is older (or than four polls, if that is more) is gone."""

SECOND_READING_SPACING_S = 1.0
"""The least time between the two readings that a stage with one confirmation acts upon."""

LEDGER_WAIT_S = 3.0
"""The longest that a complete streak waits for the venue's ledger to explain its drawdown."""

LEDGER_WAIT_SHARE = 0.25
"""The unexplained share of a drawdown from which its streak waits for the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDrawdown:
    """The drawdown that one threshold of one stage judges, as a fraction of the peak.

    `peak` is None and `fraction` 0 without any point to measure from. `is_judged` is False while
    the peak is under the smallest equity worth judging: such a book is shown, never in breach.
    While a flow is on its way, `is_breach` claims that the breach holds with and without it, and
    `is_in_doubt` that only one of the two breaches.
    """

    stage: Stage
    window_s: float
    threshold: float
    fraction: float
    peak: Point | None
    peak_equity: float
    is_breach: bool
    is_judged: bool
    is_in_doubt: bool = False

    @property
    def severity(self) -> float:
        """Drawdown as a multiple of its threshold; 1 and more is a breach."""
        return self.fraction / self.threshold if self.threshold > 0 else math.inf


def find_peak(history: History, *, window_s: float, not_before: float, now: float) -> Point | None:
    """Find the point from which the drawdown of a window is measured, None when there is none.

    The later one of equal peaks. Chunks that lie wholly inside the window answer with their best
    point, so that a day of readings costs some tens of microseconds.
    """
    start, oldest = now - window_s, now - CARRY_S
    inside = _first_inside(history.chunks, start=start, not_before=not_before)
    peak = _best_of_chunks(history.chunks[inside:])
    for chunk in reversed(history.chunks[:inside]):
        for point in reversed(chunk.points):
            is_before_window = point.at <= start
            if point.at < not_before or (is_before_window and point.at < oldest):
                return peak
            if not point.may_be_peak:
                continue
            if peak is None or point.nav > peak.nav:
                peak = point
            if is_before_window:
                return peak
    return peak


def _first_inside(chunks: Sequence[Chunk], *, start: float, not_before: float) -> int:
    """The number of the first chunk that lies wholly inside a window; a binary search."""
    low, high = 0, len(chunks)
    while low < high:
        middle = (low + high) // 2
        first = chunks[middle].points[0].at
        if first > start and first >= not_before:
            high = middle
        else:
            low = middle + 1
    return low


def _best_of_chunks(chunks: Sequence[Chunk]) -> Point | None:
    """The best point of whole chunks, the later one of equals; this is done in every tick."""
    navs = [-math.inf if chunk.best is None else chunk.best.nav for chunk in chunks]
    top = max(navs, default=-math.inf)
    if top == -math.inf:
        return None
    return chunks[len(navs) - 1 - navs[::-1].index(top)].best


def compute_drawdowns(
    *,
    history: History,
    units: float,
    equity: float,
    book: BookPolicy,
    book_memory: BookMemory,
    min_equity: float,
    now: float,
    pending_flow: float = 0.0,
) -> tuple[WindowDrawdown, ...]:
    """Compute the drawdown of every threshold of a book, in the order of its policy.

    `units` turns nav into today's money, `equity` is the trusted equity of this moment, and
    `pending_flow` the sum of flows whose step has not been seen. Raises InvariantViolation for
    figures that are not finite: a NaN compares false both ways and would disarm the guard.
    """
    if not (math.isfinite(equity) and math.isfinite(pending_flow) and 0 < units < math.inf):
        raise InvariantViolation(f"{book.name}: drawdown of equity {equity} with units {units}")
    peaks: dict[tuple[float, float], Point | None] = {}
    drawdowns: list[WindowDrawdown] = []
    for policy in book.stages:
        not_before = max(book_memory.baseline_at, _stage_baseline(book_memory, policy.stage))
        for threshold in policy.thresholds:
            key = (threshold.window_s, not_before)
            if key not in peaks:
                peaks[key] = find_peak(
                    history, window_s=threshold.window_s, not_before=not_before, now=now
                )
            peak = peaks[key]
            peak_equity = peak.nav * units if peak is not None else 0.0
            is_judged = peak_equity > 0 and peak_equity >= min_equity
            breaches = [
                is_judged and fraction >= threshold.fraction - FRACTION_TOLERANCE
                for fraction in (
                    _fraction(peak_equity, equity),
                    _fraction(peak_equity, equity - pending_flow),
                )
            ]
            drawdowns.append(
                WindowDrawdown(
                    stage=policy.stage,
                    window_s=threshold.window_s,
                    threshold=threshold.fraction,
                    fraction=_fraction(peak_equity, equity),
                    peak=peak,
                    peak_equity=peak_equity,
                    is_breach=all(breaches),
                    is_judged=is_judged,
                    is_in_doubt=any(breaches) and not all(breaches),
                )
            )
    return tuple(drawdowns)


def _stage_baseline(book_memory: BookMemory, stage: Stage) -> float:
    """When measuring for `stage` began; an incident of a higher stage moves the lower ones too."""
    return max(book_memory.stage_baselines[stage - 1 :], default=0.0)


def _fraction(peak_equity: float, equity: float) -> float:
    return max(0.0, (peak_equity - equity) / peak_equity) if peak_equity > 0 else 0.0


def breach_equity(drawdowns: tuple[WindowDrawdown, ...]) -> float | None:
    """Compute the equity at or below which at least one threshold is breached.

    None when nothing can be breached: no peak yet, or one too small to be judged.
    """
    return max(
        (d.peak_equity * (1 - d.threshold) for d in drawdowns if d.is_judged),
        default=None,
    )


def breached_stages(drawdowns: tuple[WindowDrawdown, ...]) -> tuple[Stage, ...]:
    """List the stages with a breach in at least one of their windows, lowest first."""
    return tuple(sorted({d.stage for d in drawdowns if d.is_breach}))


def worst_breach(drawdowns: tuple[WindowDrawdown, ...], stage: Stage) -> WindowDrawdown | None:
    """Find the breached window of a stage with the largest drawdown / threshold.

    Its peak is the peak reading from which attribution counts; None when nothing is breached.
    """
    return max(
        (d for d in drawdowns if d.stage is stage and d.is_breach),
        key=lambda d: d.severity,
        default=None,
    )


def needs_alert_pace(drawdowns: tuple[WindowDrawdown, ...]) -> bool:
    """Say whether any drawdown has reached half of the lowest threshold of its window."""
    lowest: dict[float, float] = {}
    for d in drawdowns:
        lowest[d.window_s] = min(d.threshold, lowest.get(d.window_s, math.inf))
    return any(
        d.is_judged and d.fraction >= lowest[d.window_s] / 2 - FRACTION_TOLERANCE for d in drawdowns
    )


def compute_unexplained_share(breach: WindowDrawdown, *, unexplained: float) -> float:
    """Compute which share of a drawdown nothing explains, summed since its peak; 0 or more.

    `unexplained` is the scope's running total now; falls that nothing explained make it smaller.
    """
    lost = breach.peak_equity * breach.fraction
    if breach.peak is None or lost <= 0:
        return 0.0
    return max(0.0, breach.peak.unexplained - unexplained) / lost


def must_wait_for_ledger(
    *, breach: WindowDrawdown, unexplained: float, streak: Streak, ledger_until: float
) -> bool:
    """Say whether a complete streak still waits for the venue's records (behaviour.md 4).

    It does while more than a quarter of its drawdown is unexplained and no answer reaches to its
    beginning; once it was answered, nothing waits any more. For how long is `LEDGER_WAIT_S`, from
    the moment at which it would act: that is for the caller to keep, who waits.
    """
    return (
        not streak.is_answered
        and ledger_until < streak.began_at
        and compute_unexplained_share(breach, unexplained=unexplained) > LEDGER_WAIT_SHARE
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreakStep:
    """What one reading made of the streaks of a book.

    `streaks` holds the running ones only. `triggered` stages are complete and breached by this
    very reading, lowest first: the highest wins. `wants_second_reading` names the stages that may
    not act before all legs have been read once more.
    """

    streaks: tuple[Streak, ...] = ()
    triggered: tuple[Stage, ...] = ()
    wants_second_reading: tuple[Stage, ...] = ()


def advance_streaks(
    *,
    streaks: tuple[Streak, ...],
    drawdowns: tuple[WindowDrawdown, ...],
    book: BookPolicy,
    policy: Policy,
    trust: Trust,
    at: float,
    is_second_reading: bool = False,
    least_confirmations: int = 1,
) -> StreakStep:
    """Count one reading for or against the streak of every stage (behaviour.md 3 and 5).

    `at` is the time the reading was asked for. A reading that is not TRUSTED, and a breach that
    holds only with or only without a flow on its way, neither count nor reset. A stage with one
    confirmation stands at 1 after its first breach and is complete with a second breaching
    reading at least 1 s later; a second reading without a breach leaves it at 1.
    `least_confirmations` raises the number every stage needs (3 while a member is estimated).
    """
    life_s = max(STREAK_LIFE_S, 4 * policy.poll_s)
    breached = breached_stages(drawdowns)
    doubted = {d.stage for d in drawdowns if d.is_in_doubt}
    running: list[Streak] = []
    triggered: list[Stage] = []
    wanted: list[Stage] = []
    for stage in CLOSING_STAGES:
        stage_policy = book.stage(stage)
        if stage_policy is None:
            continue
        streak = next((s for s in streaks if s.stage is stage), Streak(stage=stage))
        if abs(at - streak.last_counted_at) > life_s:
            streak = Streak(stage=stage)
        acts_on_two = stage_policy.confirm_consecutive <= 1
        needed = max(2 if acts_on_two else stage_policy.confirm_consecutive, least_confirmations)
        if trust is Trust.TRUSTED and stage in breached:
            is_pair = acts_on_two and streak.count == 1
            spacing_s = SECOND_READING_SPACING_S if is_pair else policy.confirm_spacing_s
            streak = _counted(streak, at=at, spacing_s=spacing_s)
            if streak.count >= needed:
                triggered.append(stage)
            elif acts_on_two and streak.count == 1 and needed == 2:
                wanted.append(stage)
        elif trust is Trust.TRUSTED and stage not in doubted:
            is_undecided = acts_on_two and is_second_reading and streak.count == 1
            streak = streak if is_undecided else Streak(stage=stage)
        if streak.count:
            running.append(streak)
    return StreakStep(
        streaks=tuple(running), triggered=tuple(triggered), wants_second_reading=tuple(wanted)
    )


def _counted(streak: Streak, *, at: float, spacing_s: float) -> Streak:
    """The streak with one more breach, unless it is too close to the last one.

    A distance to either side counts: readings out of order never get here, so a last count that
    lies ahead means that the clock was set back, and waiting for it would delay the close.
    """
    if streak.count and abs(at - streak.last_counted_at) < spacing_s:
        return streak
    return replace(
        streak,
        count=streak.count + 1,
        last_counted_at=at,
        began_at=streak.began_at if streak.count else at,
    )
