"""How a history grows old: what is exact stays exact, and memory does not grow for ever."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aging
from aging import EXACT_S, HISTORY_S, MINUTE_S, RAW_S, grow_old, standing_for
from drawdown import find_peak
from memory import CHUNK_SIZE, History, Point, RowResults
from model import RowKey, ScopeId, Side, Symbol

NOON = 1_800_000_000.0
HOUR = 3600.0
KEY = RowKey(ScopeId("venue_futures"), Symbol("SOLUSDT"), Side.SHORT)


def point(at: float, nav: float = 100.0, *, made: float = 0.0, may_be_peak: bool = True) -> Point:
    """A point at which the row has made that much."""
    results: RowResults = ((KEY, made),)
    return Point(at=at, equity=nav, nav=nav, results=results, may_be_peak=may_be_peak)


def made_at(history: History) -> list[float]:
    """What the row had made at each point."""
    return [at.results[0][1] for at in history.points()]


def aged(points: list[Point]) -> History:
    """A history after as many steps as it takes."""
    history = History.of(tuple(points))
    for _ in range(len(points) + 2):
        history = grow_old(history)
    return history


def as_written(points: list[Point]) -> list[tuple[float, float]]:
    """The rule, word by word: the time and result of each point that stays."""
    last = points[-1].at
    exact_from = (last - EXACT_S) // MINUTE_S * MINUTE_S
    raw_from = (last - RAW_S) // MINUTE_S * MINUTE_S
    kept: list[tuple[float, float]] = []
    for minute, group in groupby(points, key=lambda at: at.at // MINUTE_S * MINUTE_S):
        of_minute = list(group)
        peaks = [at for at in of_minute if at.may_be_peak] or of_minute[-1:]
        best = max(peaks, key=lambda at: (at.nav, at.at))
        kept.extend(
            (at.at, (at if minute >= exact_from else best).results[0][1])
            for at in of_minute
            if minute >= raw_from or at is best
        )
    return kept


@st.composite
def pasts(draw: st.DrawFn) -> list[Point]:
    """Points over up to two days, in bursts of a few within one or two minutes."""
    points: list[Point] = []
    at = NOON
    for _ in range(draw(st.integers(1, 12))):
        at += draw(st.sampled_from((90.0, HOUR, 5 * HOUR, 20 * HOUR)))
        for _ in range(draw(st.integers(1, 6))):
            at += draw(st.floats(min_value=1.0, max_value=25.0))
            nav = draw(st.sampled_from((99.0, 100.0, 101.0)))
            points.append(point(at, nav, made=float(len(points)), may_be_peak=draw(st.booleans())))
    return points


@settings(deadline=None)
@given(past=pasts())
def test_a_history_grows_old_by_the_rule(past: list[Point]) -> None:
    """An hour exact, a day raw, then the best of each minute; figures of what stays are its own."""
    history = aged(past)
    stays = list(history.points())
    assert [(at.at, at.results[0][1]) for at in stays] == as_written(past)
    by_time = {at.at: at for at in past}
    assert all(replace(at, results=()) == replace(by_time[at.at], results=()) for at in stays)
    assert grow_old(history) is history


@settings(deadline=None)
@given(past=pasts(), window=st.sampled_from((900.0, HOUR, 4 * HOUR, 24 * HOUR)))
def test_no_peak_of_any_window_changes(past: list[Point], window: float) -> None:
    """What a threshold is measured from is the same point before and after, also after an hour."""
    history, last = History.of(tuple(past)), past[-1].at
    for now in (last, last + 600.0, last + HOUR):
        for not_before in (0.0, past[len(past) // 2].at):
            peak = find_peak(history, window_s=window, not_before=not_before, now=now)
            after = find_peak(aged(past), window_s=window, not_before=not_before, now=now)
            assert (peak and peak.at) == (after and after.at)


@given(past=pasts())
def test_a_long_run_and_a_late_look_remember_the_same(past: list[Point]) -> None:
    """Growing old with every reading ends where growing old once does."""
    run = History()
    for at in past:
        run = grow_old(run.append(at))
    for _ in past:
        run = grow_old(run)
    assert list(run.points()) == list(aged(past).points())


@pytest.mark.parametrize(
    ("navs", "stands"),
    [
        (((100.0, True), (101.0, True), (99.0, True)), 1),
        (((101.0, True), (101.0, True), (99.0, True)), 1),
        (((101.0, False), (100.0, True), (99.0, True)), 1),
        (((101.0, False), (100.0, False)), 1),
    ],
)
def test_the_best_point_stands_for_its_minute(
    navs: tuple[tuple[float, bool], ...], stands: int
) -> None:
    """The later of equals; none that may not be a peak, unless none may: then the last."""
    points = [
        point(NOON + n, nav, may_be_peak=may_be_peak) for n, (nav, may_be_peak) in enumerate(navs)
    ]
    assert standing_for(points) is points[stands]


def test_a_blackout_makes_nothing_old() -> None:
    """Age counts from the newest point: a guard that was blind for a week forgot nothing."""
    points = [point(NOON + n, made=float(n)) for n in range(30)]
    assert made_at(grow_old(History.of(tuple(points)))) == [float(n) for n in range(30)]
    assert grow_old(History()) == History()


def test_a_day_that_was_loaded_is_thinned_in_small_steps() -> None:
    """28,800 raw points from before are worked off over many readings, not in one."""
    begin = NOON - HISTORY_S
    points = tuple(point(begin + 3.0 * n) for n in range(int(HISTORY_S / 3.0)))
    history = History.of(points)
    count = len(points)
    steps = 0
    while (older := grow_old(history)) is not history:
        left = sum(1 for _ in older.points())
        # A step ends with the chunk in which it is full, and with the minute that goes on there.
        assert count - left <= aging.STEP_POINTS + 2 * CHUNK_SIZE
        history, count, steps = older, left, steps + 1
    assert steps >= (HISTORY_S - RAW_S) / 3.0 / (aging.STEP_POINTS + 2 * CHUNK_SIZE)
    # 24 h of minutes, and the raw day of 28,800 and a little
    assert 1430 <= count - RAW_S / 3.0 <= 1460


def test_memory_holds_no_more_results_after_a_week_than_after_two_days() -> None:
    """20 positions every 3 s: an hour of results, and one per minute before; then it is full."""
    history = History()
    held: list[int] = []
    for number in range(int(60 * HOUR / 20.0)):
        at = NOON + 20.0 * number
        history = grow_old(history.append(point(at, made=float(number))).since(at - HISTORY_S))
        if number * 20.0 % (10 * HOUR) == 0:
            held.append(len({id(known.results) for known in history.points()}))
    # 180 of the last hour, and 60 of every hour before it, for two days at most
    assert held[1] == pytest.approx(180 + 9 * 60, abs=4)
    assert held[-1] == pytest.approx(180 + 47 * 60, abs=70)
    assert sum(1 for _ in history.points()) == pytest.approx(24 * 180 + 24 * 60, abs=100)
    sizes = [len(chunk.points) for chunk in history.chunks]
    assert sum(size < CHUNK_SIZE for size in sizes) <= 4, "thinned chunks are filled up again"


def test_a_clock_that_was_set_has_the_minutes_looked_at_anew() -> None:
    """Moved points lie in other minutes; how far the work had come says nothing about them."""
    history = aged([point(NOON + 20.0 * n) for n in range(400)])
    moved = History.of(tuple(replace(at, at=at.at + 30.0) for at in history.points()))
    assert (moved.shared_until, moved.thinned_until) == (float("-inf"), float("-inf"))
    assert history.since(NOON).shared_until == history.shared_until > NOON
