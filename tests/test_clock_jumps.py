"""What a wall clock that is set within a run does to the guard: nothing (behaviour.md 6)."""

from __future__ import annotations

import pytest

from decision import Observation
from tests.decision_values import COOLDOWN, HOUR, NOON, ONE, Guard, at_stage_1, calm, losing, seen


def set_clock(guard: Guard, at: float, *, by_s: float) -> None:
    """The clock shows `at` and was set by `by_s` since the last observation."""
    guard.settle(Observation(now=NOON + at, clock_jump_s=by_s))


@pytest.mark.parametrize("by_s", [2 * HOUR, -2 * HOUR])
def test_a_clock_that_is_set_keeps_the_peak_in_its_window(by_s: float) -> None:
    """The peak of noon is 100 s old before and after, so 4.5 % from it still trigger stage 1."""
    guard = calm()
    set_clock(guard, 90 + by_s, by_s=by_s)
    for at in (100, 103, 106):
        guard.look(seen(at + by_s, *losing(0.045)))
    assert guard.incident.stage is ONE
    assert "clock_moved" in guard.events


@pytest.mark.parametrize("by_s", [2 * HOUR, -2 * HOUR])
def test_a_clock_that_is_set_neither_ends_nor_lengthens_a_cooldown(by_s: float) -> None:
    """A cooldown with 30 minutes left has 30 minutes left, and the lock reaches as far."""
    guard = at_stage_1()
    guard.finish(20)
    left_s = guard.book.cooldowns[0] - (NOON + 20)
    assert left_s == COOLDOWN[ONE]
    set_clock(guard, 20 + by_s, by_s=by_s)
    assert guard.book.cooldowns[0] - (NOON + 20 + by_s) == left_s
    assert guard.book.stage is ONE
    assert guard.locks[0][2] - (20 + by_s) >= left_s


def test_a_jump_ahead_does_not_forget_a_running_streak() -> None:
    """Two of three confirmations before the jump, the third after it: stage 1."""
    guard = calm()
    guard.lose(10, 0.045)
    guard.lose(13, 0.045)
    set_clock(guard, 14 + HOUR, by_s=HOUR)
    guard.look(seen(16 + HOUR, *losing(0.045)))
    assert guard.incident.stage is ONE
