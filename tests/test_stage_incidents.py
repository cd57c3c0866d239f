"""How incidents open, end, expire and are taken over, and what that does to their book."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from book_locks import is_closing, without_closing
from lock_document import FOREVER_TS
from memory import IncidentStatus, TargetStatus
from model import Stage
from stage_events import (
    ExpiryDue,
    IncidentEnded,
    PositionsAppeared,
    RearmDue,
    StageRefusal,
    Triggered,
)
from tests.stage_cases import (
    COOLDOWN,
    EMPTY_POLICY,
    MANUAL_POLICY,
    NOW,
    book,
    incident,
    lock_of,
    step,
    streak,
    target,
    trigger,
)

S0, S1, S2, S3, S4 = Stage
REARM = RearmDue(has_trusted_reading=True)
R = StageRefusal


def test_higher_stage_takes_over_what_was_still_to_close() -> None:
    """Open targets go on with the smaller remainder, held ones are done, numbers stay apart."""
    running = incident(
        S1,
        target("A", number=1, may_remain="2"),
        target("B", number=2, may_remain="5"),
        target("C", number=3, status=TargetStatus.HELD),
    )
    asked = incident(S2, target("B", number=1, may_remain="7"), target("D", number=2))
    after = step(book(S1, running=running), Triggered(incident=asked))
    assert after.ended == replace(running, status=IncidentStatus.TAKEN_OVER, ended_at=NOW)
    assert after.missed == ()
    assert after.opened is not None
    assert [(t.number, t.key.symbol, t.may_remain) for t in after.opened.targets] == [
        (1, "B", Decimal(5)),
        (2, "D", Decimal(0)),
        (3, "A", Decimal(2)),
    ]
    assert after.book.incident == after.opened


def test_incident_raised_under_its_own_id_ends_nothing() -> None:
    """The same incident goes on with a higher stage: no second record may close it."""
    running = incident(S1, target("A"), identity="one")
    asked = incident(S2, target("A", may_remain="3"), identity="one")
    after = step(book(S1, running=running), Triggered(incident=asked))
    assert after.ended is None
    assert after.book.incident == incident(S2, target("A"), identity="one")


def test_end_starts_cooldown_and_moves_the_baselines_up_to_its_stage() -> None:
    """Stage 2 done at NOW: it rests 90 minutes, 1 and 2 measure from NOW, 3 keeps its window."""
    running = incident(S2, target(status=TargetStatus.HELD), opened_at=NOW - 40)
    state = replace(
        step(book(), Triggered(incident=running), now=NOW - 40).book,
        streaks=(streak(S1), streak(S2), streak(S3)),
    )
    after = step(state, IncidentEnded())
    assert after.ended == replace(running, status=IncidentStatus.DONE, ended_at=NOW)
    assert after.book.incident is None
    assert after.book.stage is S2
    assert after.book.cooldowns == (0.0, NOW + 5_400, 0.0)
    assert after.book.stage_baselines == (NOW, NOW, 0.0)
    assert after.book.streaks == (streak(S3),)
    assert lock_of(after.book, S2).expires_ts == NOW + 5_400
    assert (is_closing(state.locks, S2), is_closing(after.book.locks, S2)) == (True, False)


def test_the_end_of_a_stage_that_took_a_lower_one_over_leaves_no_lock_that_closes() -> None:
    """What stage 1 had to close is confirmed with stage 2; of a lock above nothing is known."""
    lower = step(book(), Triggered(incident=incident(S1, target("A")))).book
    running = incident(S2, target("B", status=TargetStatus.HELD))
    state = step(lower, Triggered(incident=running)).book
    assert state.incident is not None
    held = tuple(replace(known, status=TargetStatus.HELD) for known in state.incident.targets)
    state = replace(state, incident=replace(state.incident, targets=held))
    assert [is_closing(state.locks, stage) for stage in (S1, S2)] == [True, True]
    ended = step(state, IncidentEnded()).book
    assert [is_closing(ended.locks, stage) for stage in (S1, S2)] == [False, False]
    assert is_closing(without_closing(state.locks, up_to=S1), S2)


def test_end_waits_for_every_live_target() -> None:
    """A target that is still open keeps the incident open."""
    running = incident(S1, target(status=TargetStatus.DUST), target("B", number=2))
    assert step(book(S1, running=running), IncidentEnded()).refusal is R.CLOSE_UNRESOLVED


def test_dry_run_incident_ends_as_simulated() -> None:
    """Nothing was closed: open targets become SIMULATED and the cooldown runs as in earnest."""
    running = incident(S3, target(), dry_run=True)
    after = step(book(S3, running=running), IncidentEnded(), dry_run=True)
    assert after.ended is not None
    assert after.ended.status is IncidentStatus.SIMULATED
    assert [t.status for t in after.ended.targets] == [TargetStatus.SIMULATED]
    assert after.book.cooldowns == (0.0, 0.0, NOW + 21_600)


def test_end_of_a_stage_without_settings_starts_no_cooldown() -> None:
    """The operator took the stage out of the settings meanwhile; its incident still ends."""
    after = step(book(S1, running=incident(S1)), IncidentEnded(), policy=EMPTY_POLICY)
    assert after.book.cooldowns == (NOW, 0.0, 0.0)


def test_end_of_a_kill_moves_every_baseline_and_starts_no_cooldown() -> None:
    """LOCKDOWN is left by a reset alone, so nothing has to rest."""
    after = step(book(S4, running=incident(S4)), IncidentEnded())
    assert after.book.cooldowns == (0.0, 0.0, 0.0)
    assert after.book.stage_baselines == (NOW, NOW, NOW)
    assert after.book.stage is S4


@pytest.mark.parametrize("state", [S0, S1])
@pytest.mark.parametrize("stage", [S1, S2])
def test_empty_plan_of_stage_1_and_2_changes_no_state(state: Stage, stage: Stage) -> None:
    """Lock, cooldown and baseline as always, but the state stays and the lock ends with it."""
    opened = step(book(state), Triggered(incident=incident(stage)), policy=MANUAL_POLICY)
    assert opened.book.stage is state
    assert opened.book.since == book(state).since
    after = step(opened.book, IncidentEnded(), policy=MANUAL_POLICY)
    assert after.book.stage is state
    assert after.book.cooldowns[stage - 1] == NOW + COOLDOWN[stage]
    assert after.book.stage_baselines[stage - 1] == NOW
    assert lock_of(after.book, stage).expires_ts == NOW + COOLDOWN[stage]
    assert not after.book.manual_reset_required


@pytest.mark.parametrize(("had_positions", "expected"), [(True, S3), (False, S1)])
def test_empty_plan_of_stage_3_becomes_the_state_if_there_was_something(
    had_positions: bool, expected: Stage
) -> None:
    """Positions since the peak were lost already: latched. None at all: the lock ends by itself."""
    asked = incident(S3, had_positions=had_positions)
    after = step(step(book(S1), Triggered(incident=asked)).book, IncidentEnded())
    assert after.book.stage is expected
    assert after.book.manual_reset_required is had_positions
    end = FOREVER_TS if had_positions else NOW + 21_600
    assert lock_of(after.book, S3).expires_ts == end
    assert after.book.stage_baselines == (NOW, NOW, NOW)


@pytest.mark.parametrize("stage", [S1, S2])
def test_incident_without_progress_expires_after_its_cooldown(stage: Stage) -> None:
    """Neither cooldown nor baseline; streaks decide anew, missed targets are named."""
    running = replace(
        incident(stage, target("A", status=TargetStatus.HELD), target("B", number=2)),
        opened_at=NOW - 9_000,
        last_progress_at=NOW - COOLDOWN[stage],
    )
    state = replace(book(stage, running=running), streaks=(streak(stage, count=2),))
    assert step(state, ExpiryDue(), now=NOW - 1).refusal is R.PROGRESS_RECENT
    after = step(state, ExpiryDue())
    assert after.ended is not None
    assert after.ended.status is IncidentStatus.EXPIRED
    assert [t.key.symbol for t in after.missed] == ["B"]
    assert after.book == replace(state, incident=None)
    assert step(after.book, REARM).refusal is R.STREAK_RUNNING
    assert step(after.book, trigger(stage)).refusal is None


def test_expiry_counts_from_the_opening_where_nothing_was_achieved() -> None:
    """An incident that never made progress gets its whole cooldown."""
    running = incident(S1, target(), opened_at=NOW - 100)
    assert step(book(S1, running=running), ExpiryDue()).refusal is R.PROGRESS_RECENT


@pytest.mark.parametrize("stage", [S3, S4])
def test_stage_3_and_kill_never_expire(stage: Stage) -> None:
    """They are carried on for ever, however long they stand still."""
    running = incident(stage, target(), opened_at=0.0)
    assert step(book(stage, running=running), ExpiryDue()).refusal is R.NEVER_EXPIRES


def test_what_appears_in_a_flat_book_opens_a_follow_up() -> None:
    """State 3, nothing running: the incident is opened and the state stays."""
    asked = replace(incident(S3, target()), is_followup=True)
    after = step(book(S3), PositionsAppeared(incident=asked))
    assert after.opened == after.book.incident == asked
    assert after.book.stage is S3


def test_what_appears_while_closing_joins_the_open_incident() -> None:
    """One unfinishable symbol must not leave new positions alone; a held target opens again."""
    running = replace(
        incident(S4, target("A", number=1), target("B", number=2, status=TargetStatus.HELD)),
        held_at=NOW - 1,
        rounds=7,
    )
    asked = incident(S4, target("B", number=1), target("C", number=2), identity="other")
    after = step(book(S4, running=running), PositionsAppeared(incident=asked))
    assert after.ended is None
    assert after.opened == after.book.incident
    assert after.opened == replace(
        running,
        held_at=None,
        targets=(target("A", number=1), target("B", number=2), target("C", number=3)),
    )


@pytest.mark.parametrize("state", [S3, S4])
def test_nothing_reappears_in_a_dry_run(state: Stage) -> None:
    """The positions were never closed, so each tick would open another follow-up."""
    event = PositionsAppeared(incident=incident(state, target(), dry_run=True))
    assert step(book(state), event, dry_run=True).refusal is R.DRY_RUN
