"""A clock that was set is told from one that runs."""

from __future__ import annotations

import pytest

from clock_drift import DriftWatch


@pytest.mark.parametrize(
    ("moved_s", "jump_s"), [(0, 0), (30, 0), (31, 31), (-30, 0), (-31, -31), (3600, 3600)]
)
def test_more_than_30_s_against_elapsed_time_is_a_jump(moved_s: float, jump_s: float) -> None:
    """It is told once; from then on the new offset is the right one."""
    watch = DriftWatch()
    assert watch.find_jump(now=1000.0, monotonic=5.0) == 0
    assert watch.find_jump(now=1100.0, monotonic=105.0) == 0
    assert watch.find_jump(now=1200.0 + moved_s, monotonic=205.0) == jump_s
    assert watch.find_jump(now=1300.0 + moved_s, monotonic=305.0) == 0


def test_a_slow_drift_counts_once_it_adds_up() -> None:
    """A second an hour is a jump of 31 s after 31 hours."""
    watch = DriftWatch()
    jumps = [watch.find_jump(now=3601.0 * hour, monotonic=3600.0 * hour) for hour in range(62)]
    assert [jump for jump in jumps if jump] == [31.0]
