"""Rules of windows, peaks, breaches and streaks."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawdown import (
    StreakStep,
    WindowDrawdown,
    advance_streaks,
    breach_equity,
    breached_stages,
    compute_drawdowns,
    compute_unexplained_share,
    find_peak,
    must_wait_for_ledger,
    needs_alert_pace,
    worst_breach,
)
from errors import InvariantViolation
from memory import CHUNK_SIZE, BookMemory, History, Point, Streak
from model import BookName, ScopeId, Stage, StageMode, Trust
from policy import BookPolicy, Policy, StagePolicy, Threshold

ONE, TWO, THREE = Stage.REDUCED_TOP_RISK, Stage.DOMINANT_CLOSED, Stage.ALL_CLOSED
M15, H1, D1 = 900.0, 3600.0, 86_400.0
NOON = 1_700_000_000.0
NAME = BookName("binance_futures")


def stage_policy(stage: Stage, confirmations: int, **windows: float) -> StagePolicy:
    """One stage with thresholds given as `m15`, `h1`, `d1`."""
    seconds = {"m15": M15, "h1": H1, "d1": D1}
    return StagePolicy(
        stage=stage,
        thresholds=tuple(
            Threshold(window_s=seconds[name], fraction=fraction)
            for name, fraction in windows.items()
        ),
        mode=StageMode.CLOSE_ALL_POSITIONS,
        cooldown_s=1800,
        confirm_consecutive=confirmations,
    )


BOOK = BookPolicy(
    name=NAME,
    scopes=(ScopeId("binance_futures"),),
    stages=(
        stage_policy(ONE, 3, m15=0.045, h1=0.07),
        stage_policy(TWO, 2, m15=0.07, h1=0.10, d1=0.15),
        stage_policy(THREE, 1, m15=0.10, h1=0.14, d1=0.20),
    ),
)
POLICY = Policy(books=(BOOK,))


def history(*readings: tuple[float, float]) -> History:
    """A history of (seconds after noon, equity) with one unit."""
    return History.of(tuple(Point(at=NOON + at, equity=e, nav=e) for at, e in readings))


def drawdowns(
    past: History,
    equity: float,
    *,
    at: float,
    book_memory: BookMemory | None = None,
    units: float = 1.0,
    pending_flow: float = 0.0,
) -> tuple[WindowDrawdown, ...]:
    """The drawdowns of BOOK, `at` seconds after noon."""
    return compute_drawdowns(
        history=past,
        units=units,
        equity=equity,
        book=BOOK,
        book_memory=book_memory or BookMemory(name=NAME),
        min_equity=100.0,
        now=NOON + at,
        pending_flow=pending_flow,
    )


def fractions(found: tuple[WindowDrawdown, ...], stage: Stage) -> list[float]:
    """The drawdowns of one stage, rounded to a ten-thousandth."""
    return [round(d.fraction, 4) for d in found if d.stage is stage]


def test_guards_from_the_second_reading_on() -> None:
    """10,000 then 9,550 ten seconds later: 450 / 10,000 = 0.045 breaches stage 1 at once."""
    found = drawdowns(history((0, 10_000), (10, 9_550)), 9_550, at=10)
    assert fractions(found, ONE) == [0.045, 0.045]
    assert breached_stages(found) == (ONE,)


def test_one_reading_is_no_drawdown_and_none_is_not_judged() -> None:
    """The first reading is its own peak; without any there is nothing to measure from."""
    assert fractions(drawdowns(history((0, 10_000)), 10_000, at=0), THREE) == [0, 0, 0]
    empty = drawdowns(History(), 10_000, at=0)
    assert all(d.peak is None and not d.is_judged and d.fraction == 0 for d in empty)
    assert breach_equity(empty) is None


@pytest.mark.parametrize(
    ("equity", "stages"),
    [
        (9_550.01, ()),
        (9_550.0, (ONE,)),  # 15m 0.045
        (9_300.0, (ONE, TWO)),  # 15m 0.07
        (9_000.0, (ONE, TWO, THREE)),  # 15m 0.10
        (10_500.0, ()),  # above the peak: 0, never negative
    ],
)
def test_thresholds_breach_at_their_exact_value(equity: float, stages: tuple[Stage, ...]) -> None:
    """Peak 10,000 a minute ago."""
    found = drawdowns(history((0, 10_000), (60, equity)), equity, at=60)
    assert breached_stages(found) == stages
    assert all(d.fraction >= 0 for d in found)


def test_exact_breach_survives_rounding_of_units() -> None:
    """(10,000 / 7) x 7 may be a hair under 10,000; 4.5 % on paper stays a breach."""
    for units in (7.0, 0.3, 1 / 3, 1.1e-7, 9.7e9):
        past = History.of((Point(at=NOON, equity=10_000, nav=10_000 / units),))
        assert ONE in breached_stages(drawdowns(past, 9_550, at=1, units=units))


def test_windows_see_only_their_own_time_and_the_reading_before() -> None:
    """12:00 12,000 | 12:20 10,000 | 13:10 9,900 | 13:25 9,800.

    15m at 13:25: in (13:10, 13:25] only 9,800, and the last one before: 9,900, so 100 / 9,900.
    1h: in (12:25, 13:25] 9,900 and before it 10,000, so 200 / 10,000. 1d: 2,200 / 12,000.
    """
    past = history((0, 12_000), (1_200, 10_000), (4_200, 9_900), (5_100, 9_800))
    found = drawdowns(past, 9_800, at=5_100)
    assert fractions(found, TWO) == [0.0101, 0.02, 0.1833]


def test_blackout_does_not_forget_the_peak() -> None:
    """10,000, then nothing for three hours, then 8,900: 0.11 in every window."""
    found = drawdowns(history((0, 10_000), (10_800, 8_900)), 8_900, at=10_800)
    assert fractions(found, THREE) == [0.11, 0.11, 0.11]


@pytest.mark.parametrize(("age", "expected"), [(D1, 0.11), (D1 + 1, 0.0)])
def test_reading_before_the_window_may_be_a_day_old(age: float, expected: float) -> None:
    """24 h exactly still serves, a second more does not."""
    found = drawdowns(history((0, 10_000), (age, 8_900)), 8_900, at=age)
    assert fractions(found, THREE) == [expected] * 3


def test_window_longer_than_a_day_keeps_its_older_points() -> None:
    """The 24 h bound is for the reading before the window, not for those inside it."""
    past = history((0, 10_000), (D1, 9_000), (D1 * 1.5, 9_500))
    now = NOON + D1 * 1.5
    assert find_peak(past, window_s=2 * D1, not_before=0, now=now) == Point(
        at=NOON, equity=10_000, nav=10_000
    )


def test_no_peak_before_the_book_baseline() -> None:
    """A reset at 12:01 hides the 12,000 of 12:00; the reading at the baseline counts."""
    past = history((0, 12_000), (60, 10_000), (70, 9_900))
    found = drawdowns(past, 9_900, at=70, book_memory=BookMemory(name=NAME, baseline_at=NOON + 60))
    assert fractions(found, ONE) == [0.01, 0.01]


def test_stage_baseline_moves_its_stage_and_the_lower_ones() -> None:
    """An incident of stage 2 ended at 12:01: 1 and 2 measure from 9,900, 3 from 12,000."""
    past = history((0, 12_000), (60, 9_900), (70, 9_702))
    for baselines in ((NOON + 60, NOON + 60, 0.0), (0.0, NOON + 60, 0.0)):
        book_memory = BookMemory(name=NAME, stage_baselines=baselines)
        found = drawdowns(past, 9_702, at=70, book_memory=book_memory)
        assert fractions(found, ONE) == [0.02, 0.02]
        assert fractions(found, TWO) == [0.02, 0.02, 0.02]
        assert fractions(found, THREE) == [0.1915, 0.1915, 0.1915]


def test_point_that_may_not_be_a_peak_is_passed_over() -> None:
    """Inside the window and as the last one before it: the 10,000 under it counts instead."""
    points = (
        Point(at=NOON, equity=10_000, nav=10_000),
        Point(at=NOON + 10, equity=15_000, nav=15_000, may_be_peak=False),
        Point(at=NOON + 2_000, equity=9_900, nav=9_900),
    )
    found = drawdowns(History.of(points), 9_900, at=2_000)
    assert fractions(found, ONE) == [0.01, 0.01]
    only_doubtful = History.of((points[1],))
    assert drawdowns(only_doubtful, 9_900, at=20)[0].peak is None


def test_later_one_of_equal_peaks_is_the_peak_reading() -> None:
    """Attribution counts from the peak reading; nothing was lost between two equal ones."""
    past = history((0, 10_000), (30, 10_000), (60, 9_500))
    assert find_peak(past, window_s=M15, not_before=0, now=NOON + 60) == Point(
        at=NOON + 30, equity=10_000, nav=10_000
    )


def test_point_from_the_future_counts_as_now() -> None:
    """The clock was set back by an hour: the peak of before the jump is not lost."""
    found = drawdowns(history((3_600, 10_000)), 9_000, at=0)
    assert fractions(found, ONE) == [0.1, 0.1]


def test_small_book_is_shown_but_not_judged() -> None:
    """99 -> 50 is half gone, but a book under 100 is dust; 100 is judged."""
    small = drawdowns(history((0, 99), (10, 50)), 50, at=10)
    assert fractions(small, THREE) == [0.4949] * 3
    assert not breached_stages(small)
    assert not needs_alert_pace(small)
    assert breach_equity(small) is None
    assert breached_stages(drawdowns(history((0, 100), (10, 50)), 50, at=10)) == (ONE, TWO, THREE)


def test_worthless_peak_is_no_drawdown() -> None:
    """An equity of 0 or less cannot be a peak, whatever the least equity is."""
    found = compute_drawdowns(
        history=history((0, -5.0)),
        units=1.0,
        equity=-10.0,
        book=BOOK,
        book_memory=BookMemory(name=NAME),
        min_equity=-100.0,
        now=NOON,
    )
    assert all(d.fraction == 0 and not d.is_judged for d in found)


@pytest.mark.parametrize(
    ("equity", "units", "pending"),
    [(math.nan, 1.0, 0.0), (math.inf, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, math.nan)],
)
def test_figures_that_are_not_numbers_are_refused(
    equity: float, units: float, pending: float
) -> None:
    """A NaN compares false both ways; computing on would disarm the guard in silence."""
    with pytest.raises(InvariantViolation):
        drawdowns(history((0, 10_000)), equity, at=0, units=units, pending_flow=pending)


@pytest.mark.parametrize(
    ("pending", "equity", "breach", "doubt"),
    [
        (0.0, 9_000, True, False),
        (-1_000.0, 9_000, False, True),  # the withdrawal may be in: 10,000 of 10,000
        (-1_000.0, 7_900, True, False),  # 8,900 of 10,000 is 0.11 even so
        (1_000.0, 9_500, False, True),  # the deposit may be in: 8,500 of 10,000
        (1_000.0, 10_500, False, False),  # 10,500, or 9,500 of 10,000
    ],
)
def test_breach_counts_only_with_and_without_a_pending_flow(
    pending: float, equity: float, breach: bool, doubt: bool
) -> None:
    """Stage 3 in 15m: 0.10 of 10,000."""
    found = drawdowns(history((0, 10_000)), equity, at=10, pending_flow=pending)
    third = next(d for d in found if d.stage is THREE)
    assert (third.is_breach, third.is_in_doubt) == (breach, doubt)
    assert third.fraction == pytest.approx(max(0.0, 1 - equity / 10_000))


def test_breach_equity_is_the_nearest_threshold() -> None:
    """Peak 10,000 everywhere: stage 1 in 15m at 9,550. At it a breach, above it none."""
    past = history((0, 10_000))
    edge = breach_equity(drawdowns(past, 10_000, at=10))
    assert edge == pytest.approx(9_550.0)
    assert edge is not None
    assert breached_stages(drawdowns(past, edge, at=10)) == (ONE,)
    assert not breached_stages(drawdowns(past, edge * (1 + 1e-6), at=10))


def test_worst_breach_is_the_largest_multiple_of_its_threshold() -> None:
    """1h 0.12 / 0.10 = 1.2 beats 15m 0.0737 / 0.07 = 1.05; 1d is not breached."""
    past = history((0, 10_000), (1_800, 9_500), (3_000, 8_800))
    found = drawdowns(past, 8_800, at=3_000)
    worst = worst_breach(found, TWO)
    assert worst is not None
    assert (worst.window_s, worst.peak and worst.peak.equity) == (H1, 10_000)
    assert worst_breach(found, THREE) is None


def test_severity_of_a_zero_threshold_is_infinite() -> None:
    """A threshold of 0 is refused by the settings; here it must not divide by zero."""
    d = drawdowns(history((0, 10_000)), 9_000, at=1)[0]
    assert d.severity == pytest.approx(0.1 / 0.045)
    assert replace(d, threshold=0.0).severity == math.inf


@pytest.mark.parametrize(
    ("equity", "quick"),
    [(9_776.0, False), (9_775.0, True)],  # half of 0.045 is 0.0225
)
def test_alert_pace_begins_at_half_of_the_lowest_threshold(equity: float, quick: bool) -> None:
    """The lowest threshold of 15m is stage 1's 0.045."""
    assert needs_alert_pace(drawdowns(history((0, 10_000)), equity, at=5)) is quick


def test_alert_pace_measures_a_window_by_its_own_lowest_threshold() -> None:
    """1d has 0.15 as its lowest: 0.07 is under half of it; 1h has 0.07: 0.036 is over half."""
    slow = history((0, 10_000), (80_000, 9_300))
    assert not needs_alert_pace(drawdowns(slow, 9_300, at=85_000))
    assert needs_alert_pace(drawdowns(history((0, 10_000), (2_000, 9_640)), 9_640, at=3_000))


def test_unexplained_share_counts_from_the_peak() -> None:
    """Lost 1,000 since the peak; the running total fell from -50 to -350: 300 / 1,000."""
    past = History.of((Point(at=NOON, equity=10_000, nav=10_000, unexplained=-50.0),))
    breach = drawdowns(past, 9_000, at=10)[0]
    assert compute_unexplained_share(breach, unexplained=-350.0) == pytest.approx(0.3)
    assert compute_unexplained_share(breach, unexplained=500.0) == 0.0
    assert compute_unexplained_share(replace(breach, peak=None), unexplained=-350.0) == 0.0
    assert compute_unexplained_share(replace(breach, fraction=0.0), unexplained=-350.0) == 0.0


@pytest.mark.parametrize(
    ("unexplained", "ledger_until", "is_answered", "waits"),
    [
        (-300.0, NOON - 5, False, True),
        (-250.0, NOON - 5, False, False),  # a quarter is not more than a quarter
        (-300.0, NOON, False, False),  # the ledger has answered since
        (-300.0, NOON - 5, True, False),  # it acted already
    ],
)
def test_a_streak_waits_for_records_that_may_explain_it(
    unexplained: float, ledger_until: float, is_answered: bool, waits: bool
) -> None:
    """Drawdown 1,000 of 10,000."""
    breach = drawdowns(history((0, 10_000)), 9_000, at=0)[0]
    answer = must_wait_for_ledger(
        breach=breach,
        unexplained=unexplained,
        streak=Streak(stage=breach.stage, count=2, began_at=NOON, is_answered=is_answered),
        ledger_until=ledger_until,
    )
    assert answer is waits


# --- streaks ----------------------------------------------------------------------------------


def run(
    *readings: tuple[float, float],
    trusts: dict[float, Trust] | None = None,
    second: tuple[float, ...] = (),
    least: int = 1,
    book: BookPolicy = BOOK,
    pending: dict[float, float] | None = None,
) -> list[StreakStep]:
    """Feed (seconds, equity) against a peak of 10,000 at noon; one step per reading."""
    steps: list[StreakStep] = []
    streaks: tuple[Streak, ...] = ()
    for at, equity in readings:
        step = advance_streaks(
            streaks=streaks,
            drawdowns=drawdowns(
                history((0, 10_000)), equity, at=at, pending_flow=(pending or {}).get(at, 0.0)
            ),
            book=book,
            policy=POLICY,
            trust=(trusts or {}).get(at, Trust.TRUSTED),
            at=NOON + at,
            is_second_reading=at in second,
            least_confirmations=least,
        )
        streaks = step.streaks
        steps.append(step)
    return steps


def counts(step: StreakStep) -> dict[Stage, int]:
    """How far each running streak is."""
    return {streak.stage: streak.count for streak in step.streaks}


def test_stage_triggers_when_its_streak_reaches_the_confirmations() -> None:
    """0.05 three times, 3 s apart: stage 1 on the third; it stays triggered while in breach."""
    steps = run((3, 9_500), (6, 9_500), (9, 9_500), (12, 9_500))
    assert [counts(step).get(ONE) for step in steps] == [1, 2, 3, 4]
    assert [step.triggered for step in steps] == [(), (), (ONE,), (ONE,)]
    assert steps[2].streaks[0] == Streak(
        stage=ONE, count=3, last_counted_at=NOON + 9, began_at=NOON + 3
    )


def test_confirmations_are_spaced() -> None:
    """Readings within 2 s of the last counted one add nothing; at 2 s exactly they do."""
    steps = run((3, 9_500), (4, 9_500), (4.9, 9_500), (5, 9_500))
    assert [counts(step)[ONE] for step in steps] == [1, 1, 1, 2]


def test_complete_streak_triggers_on_a_reading_that_adds_nothing() -> None:
    """It waited for the ledger; the reading a second later is still in breach."""
    assert run((3, 9_500), (5, 9_500), (7, 9_500), (8, 9_500))[-1].triggered == (ONE,)


def test_trusted_reading_without_breach_resets() -> None:
    """Two breaches, one recovery: 0."""
    assert counts(run((3, 9_500), (6, 9_500), (9, 9_900))[-1]) == {}


@pytest.mark.parametrize("trust", [Trust.SUSPECT, Trust.UNAVAILABLE])
@pytest.mark.parametrize("equity", [9_000.0, 9_900.0])
def test_doubt_neither_counts_nor_resets(trust: Trust, equity: float) -> None:
    """Whatever the doubtful reading claims, the streak stays at 2 and nothing triggers."""
    steps = run((3, 9_500), (6, 9_500), (9, equity), trusts={9: trust})
    assert counts(steps[-1]) == {ONE: 2}
    assert steps[-1].triggered == steps[-1].wants_second_reading == ()


def test_breach_in_doubt_over_a_flow_neither_counts_nor_resets() -> None:
    """9,500 with a withdrawal of 500 on its way: perhaps nothing was lost."""
    steps = run((3, 9_500), (6, 9_500), (9, 9_500), pending={9: -500.0})
    assert counts(steps[-1]) == {ONE: 2}


@pytest.mark.parametrize(("gap", "count"), [(60.0, 2), (60.5, 1)])
def test_old_streak_is_forgotten(gap: float, count: int) -> None:
    """Older than max(60 s, 4 polls of 10 s) is 0, so the late breach is the first again."""
    assert counts(run((3, 9_500), (3 + gap, 9_500))[-1]) == {ONE: count}


def test_old_streak_is_forgotten_even_in_doubt() -> None:
    """Age does not need a trusted reading."""
    assert counts(run((3, 9_500), (64, 9_500), trusts={64: Trust.SUSPECT})[-1]) == {}


def test_slow_polling_lengthens_the_life_of_a_streak() -> None:
    """4 polls of 30 s are 120 s."""
    streak = Streak(stage=ONE, count=1, last_counted_at=NOON, began_at=NOON)
    step = advance_streaks(
        streaks=(streak,),
        drawdowns=drawdowns(history((0, 10_000)), 9_500, at=120),
        book=BOOK,
        policy=replace(POLICY, poll_s=30.0),
        trust=Trust.TRUSTED,
        at=NOON + 120,
    )
    assert counts(step) == {ONE: 2}


def test_clock_set_back_delays_no_confirmation() -> None:
    """Counted at 12:00:40, read again at 12:00:10 by a clock set back half a minute."""
    assert counts(run((40, 9_500), (10, 9_500))[-1]) == {ONE: 2}


def test_stage_with_one_confirmation_asks_for_a_second_reading() -> None:
    """0.11: stage 3 wants a second reading, which breaches 1 s later and completes it."""
    steps = run((3, 8_900), (4, 8_900), second=(4,))
    assert steps[0].wants_second_reading == (THREE,)
    assert steps[0].triggered == ()
    assert counts(steps[0]) == {ONE: 1, TWO: 1, THREE: 1}
    assert steps[1].triggered == (THREE,)
    assert counts(steps[1]) == {ONE: 1, TWO: 1, THREE: 2}


def test_second_reading_too_soon_asks_again() -> None:
    """0.9 s later is the same moment."""
    steps = run((3, 8_900), (3.9, 8_900), second=(3.9,))
    assert (steps[1].triggered, steps[1].wants_second_reading) == ((), (THREE,))


def test_second_reading_without_breach_lets_the_next_one_decide() -> None:
    """8,900, then 9,900 as the second reading: the streak stays 1. Then either way."""
    breach = run((3, 8_900), (4, 9_900), (7, 8_900), second=(4,))
    assert counts(breach[1]) == {THREE: 1}
    assert breach[1].triggered == breach[1].wants_second_reading == ()
    assert breach[2].triggered == (THREE,)
    calm = run((3, 8_900), (4, 9_900), (7, 9_900), second=(4,))
    assert counts(calm[2]) == {}


def test_second_reading_in_doubt_lets_the_next_one_decide() -> None:
    """A second reading that fails proves nothing; the next trusted one completes the pair."""
    steps = run((3, 8_900), (4, 8_900), (7, 8_900), second=(4,), trusts={4: Trust.UNAVAILABLE})
    assert counts(steps[1])[THREE] == 1
    assert THREE in steps[2].triggered


def test_lower_stage_acts_without_waiting_for_the_second_reading() -> None:
    """Stage 2 completes with the reading that gives stage 3 its first breach."""
    steps = run((3, 9_200), (6, 8_900))
    assert (steps[1].triggered, steps[1].wants_second_reading) == ((TWO,), (THREE,))


def test_estimates_need_at_least_three_confirmations() -> None:
    """While a member is estimated every stage needs three; no pair of readings stands in."""
    steps = run((3, 8_900), (6, 8_900), (9, 8_900), least=3)
    assert [step.triggered for step in steps] == [(), (), (ONE, TWO, THREE)]
    assert all(step.wants_second_reading == () for step in steps)


def test_stage_that_the_book_does_not_use_has_no_streak() -> None:
    """A book with stage 1 alone, at 0.11."""
    only_first = replace(BOOK, stages=BOOK.stages[:1])
    steps = run((3, 8_900), book=only_first)
    assert counts(steps[0]) == {ONE: 1}


# --- properties -------------------------------------------------------------------------------

EQUITIES = st.floats(min_value=100.0, max_value=1e6)
GAPS = st.floats(min_value=1.0, max_value=20_000.0)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Up to three chunks of points at uneven distances, some of which may not be a peak."""
    size = draw(st.integers(min_value=1, max_value=2 * CHUNK_SIZE + 5))
    gap = draw(GAPS)
    pattern = draw(st.lists(st.tuples(EQUITIES, GAPS, st.booleans()), min_size=1, max_size=12))
    points, at = [], NOON
    for number in range(size):
        equity, extra, may = pattern[number % len(pattern)]
        at += gap / 50 + (extra if number % 17 == 0 else 0.0)
        nav = equity + number % 7
        points.append(Point(at=at, equity=nav, nav=nav, may_be_peak=may))
    return History.of(tuple(points))


def naive_peak(past: History, *, window_s: float, not_before: float, now: float) -> Point | None:
    """The definition, word by word."""
    allowed = [p for p in past.points() if p.at >= not_before and p.may_be_peak]
    inside = [p for p in allowed if p.at > now - window_s]
    before = [p for p in allowed if now - D1 <= p.at <= now - window_s]
    return max(before[-1:] + inside, key=lambda p: (p.nav, p.at), default=None)


@given(
    past=histories(),
    window_s=st.sampled_from([60.0, M15, H1, 4 * H1, D1, 2 * D1]),
    share=st.floats(min_value=0, max_value=1),
    later_s=st.floats(min_value=0, max_value=100_000),
)
@settings(max_examples=100, deadline=None)
def test_peak_found_through_chunks_is_the_peak_by_definition(
    past: History, window_s: float, share: float, later_s: float
) -> None:
    """The quick search and the definition agree, with and without a baseline."""
    points = tuple(past.points())
    now = points[-1].at + later_s
    for not_before in (0.0, points[0].at + share * (points[-1].at - points[0].at)):
        arguments = {"window_s": window_s, "not_before": not_before, "now": now}
        assert find_peak(past, **arguments) == naive_peak(past, **arguments)


@given(past=histories(), equity=EQUITIES, scale=st.floats(min_value=1.0, max_value=1e4))
@settings(max_examples=50, deadline=None)
def test_drawdown_is_scale_free_and_a_fraction(past: History, equity: float, scale: float) -> None:
    """All equities k times as large: the same drawdowns, each in [0, 1]."""
    points = tuple(past.points())
    at = points[-1].at - NOON
    scaled = History.of(
        tuple(replace(p, equity=p.equity * scale, nav=p.nav * scale) for p in points)
    )
    ours, theirs = drawdowns(past, equity, at=at), drawdowns(scaled, equity * scale, at=at)
    for one, other in zip(ours, theirs, strict=True):
        assert 0 <= one.fraction <= 1
        assert one.fraction == pytest.approx(other.fraction, abs=1e-9)


@given(past=histories(), equity=EQUITIES, flow=st.floats(min_value=-0.9, max_value=9.0))
@settings(max_examples=50, deadline=None)
def test_flow_changes_no_drawdown(past: History, equity: float, flow: float) -> None:
    """A flow moves equity and units alike: E' = E + F, units' = units x E' / (E' - F)."""
    at = tuple(past.points())[-1].at - NOON
    after = equity + flow * equity
    before = drawdowns(past, equity, at=at)
    moved = drawdowns(past, after, at=at, units=after / equity)
    for one, other in zip(before, moved, strict=True):
        assert one.fraction == pytest.approx(other.fraction, abs=1e-9)


@given(past=histories(), equity=EQUITIES, lost=st.floats(min_value=0, max_value=1))
@settings(max_examples=50, deadline=None)
def test_more_loss_never_breaches_fewer_stages(past: History, equity: float, lost: float) -> None:
    """Whatever is breached at an equity is breached at every smaller one."""
    at = tuple(past.points())[-1].at - NOON
    assert set(breached_stages(drawdowns(past, equity, at=at))) <= set(
        breached_stages(drawdowns(past, equity * (1 - lost), at=at))
    )


def test_quiet_tick_over_a_day_of_readings_stays_cheap() -> None:
    """28,800 points, all thresholds of the default book: a hundred ticks within a second."""
    past = history(*((3.0 * n, 10_000 + (n * 37 % 101)) for n in range(28_800)))
    began = time.perf_counter()
    for _ in range(100):
        drawdowns(past, 10_000, at=3.0 * 28_800)
    assert time.perf_counter() - began < 1.0
