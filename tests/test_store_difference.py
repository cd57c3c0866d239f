"""What a commit still has to write is found whole, however chunks are shared."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aging import EXACT_S
from drawdown import find_peak
from memory import CHUNK_SIZE, History, Point
from model import RowKey, ScopeId, Side, Symbol
from store.difference import difference, peaks_to_come


def history(count: int) -> History:
    """A history of so many points, one a second."""
    return History.of(tuple(Point(at=float(n), equity=100.0, nav=100.0) for n in range(count)))


def grown(before: History, count: int) -> History:
    """The same history with later points."""
    last = before.last
    begin = 0.0 if last is None else last.at + 1
    for number in range(count):
        before = before.append(Point(at=begin + number, equity=90.0, nav=90.0))
    return before


@given(
    count=st.integers(1, 3 * CHUNK_SIZE),
    more=st.integers(0, 2 * CHUNK_SIZE),
    trimmed=st.integers(0, 3 * CHUNK_SIZE),
)
def test_growth_and_trimming_leave_exactly_the_new_points(
    count: int, more: int, trimmed: int
) -> None:
    """What was trimmed in front is not gone, what was kept is not written again.

    The newest point is never trimmed: it is what the next reading is compared with.
    """
    before = history(count)
    after = grown(before, more).since(float(min(trimmed, count + more - 1)))
    changed, gone = difference(before, after)
    kept = {point.at for point in after.points()}
    assert [point.at for point in changed] == [
        float(at) for at in range(count, count + more) if float(at) in kept
    ]
    assert gone == ()


@given(count=st.integers(1, 3 * CHUNK_SIZE), changes=st.sets(st.integers(0, 200)))
def test_changed_and_dropped_points_are_found_wherever_they_lie(
    count: int, changes: set[int]
) -> None:
    """A late flow re-scales any point; a point that memory dropped is forgotten on disk too."""
    before = history(count)
    points = tuple(before.points())
    altered = {n for n in changes if n < count and n % 2 == 0}
    dropped = {n for n in changes if 0 < n < count and n % 2 == 1}
    after = History.of(
        tuple(
            replace(point, nav=50.0) if n in altered else point
            for n, point in enumerate(points)
            if n not in dropped
        )
    )
    changed, gone = difference(before, after)
    assert {point.at for point in changed} == {float(n) for n in altered}
    assert set(gone) == {float(n) for n in dropped}


def test_points_that_only_share_results_are_not_written_again() -> None:
    """Growing old gives the points of a minute the results of one; their own rows tell nothing."""
    before = history(CHUNK_SIZE)
    row = RowKey(ScopeId("venue_futures"), Symbol("SOLUSDT"), Side.SHORT)
    sharing = tuple(replace(point, results=((row, 1.0),)) for point in before.points())
    assert difference(before, History.of(sharing)) == ((), ())


@given(
    navs=st.lists(st.sampled_from((98.0, 99.0, 100.0)), min_size=1, max_size=40),
    doubted=st.sets(st.integers(0, 40)),
)
def test_every_point_that_a_drawdown_can_be_measured_from_is_a_peak_to_come(
    navs: list[float], doubted: set[int]
) -> None:
    """Whatever the window and the baseline, now or later: the peak is among them."""
    points = tuple(
        Point(at=600.0 * n, equity=nav, nav=nav, may_be_peak=n not in doubted)
        for n, nav in enumerate(navs)
    )
    known, last = History.of(points), points[-1].at
    coming = peaks_to_come(known)
    for now in (last, last + 3000.0):
        for window_s in (600.0 * n + 1 for n in range(len(navs) + 1)):
            peak = find_peak(known, window_s=window_s, not_before=0.0, now=now)
            assert peak is None or coming[peak.at] is peak
    assert {point.at for point in points if point.at >= last - EXACT_S} <= coming.keys()
