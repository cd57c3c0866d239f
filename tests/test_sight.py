"""A scope that goes unseen is alerted and blind on time, whoever tries to read it or does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decision import Observation
from lock_document import LockMode
from memory import BookMemory, ScopeMemory
from model import Stage
from sight import judge_silence, sight_deadlines
from tests.decision_values import (
    BOOK,
    LIVE,
    NOON,
    ONE,
    SCOPE,
    Guard,
    at_stage_1,
    calm,
    dark,
    losing,
    seen,
)
from timekeeping import deadlines

WATCHED = ScopeMemory(scope=SCOPE, watch_began_at=NOON)


def pass_time(guard: Guard, at: float, **more: object) -> None:
    """A decision that nothing was read for."""
    guard.settle(Observation(now=NOON + at, **more))  # type: ignore[arg-type]


def test_a_scope_that_nobody_watches_has_no_deadline() -> None:
    """A command works in the place of the guard; it must not lock a book it never looked at."""
    assert sight_deadlines(ScopeMemory(scope=SCOPE), policy=LIVE) == ()
    guard = calm()
    guard.memory = replace(guard.memory, scopes=(replace(guard.scope, watch_began_at=0.0),))
    pass_time(guard, 10_000)
    assert (guard.events, guard.locks) == ([], [])


def test_both_deadlines_run_from_the_last_trusted_reading() -> None:
    """And from the beginning of the watch where that is later."""
    assert sight_deadlines(WATCHED, policy=LIVE) == (NOON + 60, NOON + 120)
    guard = calm()
    guard.look(seen(10, *losing(0.0)))
    guard.look(dark(40))
    assert sight_deadlines(guard.scope, policy=LIVE) == (NOON + 70, NOON + 130)
    pass_time(guard, 1_000, is_start=True)
    assert sight_deadlines(guard.scope, policy=LIVE) == (NOON + 1_060, NOON + 1_120)


def test_silence_is_judged_between_two_attempts_to_read() -> None:
    """Failed at 40 s, tried again at 150 s: the alert comes at 60 s, the lock at 120 s."""
    guard = calm()
    guard.look(dark(40))
    for at in (59.9, 60, 60.1, 119.9):
        pass_time(guard, at)
        assert guard.locks == []
    assert guard.events == ["blind"]
    pass_time(guard, 120)
    assert [mode for mode, _, _ in guard.locks] == [LockMode.BLIND]
    written = guard.decisions[-1].records
    assert [book.name for book in written.books] == [BOOK]
    guard.look(dark(150))
    assert guard.events == ["blind", "blind_lock_set"]
    alert = guard.decisions[3].records
    assert alert.scopes[0].blind_alerted
    assert alert.audits[0].message == "no trusted reading for 60 s: timeout"


@pytest.mark.parametrize(
    ("trouble", "doubted", "says"),
    [
        ("", False, "no attempt to read it has ended"),
        ("", True, "its readings are in doubt"),
        ("down", True, "down"),
    ],
)
def test_the_alert_says_why(trouble: str, doubted: bool, says: str) -> None:
    """A venue that fails, readings that cannot be believed, or a task that hangs."""
    guard = calm()
    if doubted:
        guard.look(seen(10, *losing(0.0), wallet=5_000.0))
    memory = replace(guard.scope, trouble=trouble)
    _, (alert,), _ = judge_silence(memory, policy=LIVE, now=NOON + 60)
    assert alert.message == f"no trusted reading for 60 s: {says}"


def test_a_new_run_begins_to_watch_every_account_of_its_settings() -> None:
    """One that is never read at all is blind after 120 s as well."""
    guard = Guard()
    pass_time(guard, 0, is_start=True)
    assert guard.scope.watch_began_at == NOON
    assert guard.decisions[-1].records.scopes == (guard.scope,)
    pass_time(guard, 119)
    assert guard.locks == []
    pass_time(guard, 120)
    assert [mode for mode, _, _ in guard.locks] == [LockMode.BLIND]


def test_what_is_due_without_any_reading_is_known_beforehand() -> None:
    """Both deadlines of sight, and the next alert of an open incident."""
    assert deadlines(calm().memory, LIVE) == (NOON + 60, NOON + 120)
    assert deadlines(at_stage_1().memory, LIVE) == (NOON + 76, NOON + 136, NOON + 46)


def test_time_alone_lifts_no_blind_lock() -> None:
    """It was set, and then the clock is set back: only a trusted reading lifts it."""
    guard = calm()
    pass_time(guard, 120)
    pass_time(guard, 10)
    assert [mode for mode, _, _ in guard.locks] == [LockMode.BLIND]


def test_an_incident_open_at_the_start_does_not_expire_before_it_was_tried() -> None:
    """Down for a day in the middle of stage 1: held at first, EXPIRED when that brought nothing."""
    guard = at_stage_1()
    day = 86_400.0
    pass_time(guard, day, is_start=True, untried=(BOOK,))
    pass_time(guard, day + 5, untried=(BOOK,))
    assert guard.book.incident is not None
    assert "incident_expired" not in guard.events
    pass_time(guard, day + 6)
    assert guard.book.incident is None
    assert guard.events[-1] == "incident_expired"
    assert guard.book == BookMemory(
        name=BOOK,
        stage=Stage.REDUCED_TOP_RISK,
        since=NOON + 16,
        streaks=guard.book.streaks,
        locks=guard.book.locks,
    )
    assert guard.locks == [(LockMode.STAGE, ONE, day + 5 + 1_800)]
