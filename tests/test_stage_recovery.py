"""What a book becomes after a lost database or a clock that was set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from book_locks import EVERY_BOOK, REASON_STATE_LOST, kill_lock, refresh_locks, stage_lock
from lock_document import FOREVER_TS, LockEntry, LockMode
from memory import BookMemory
from model import Stage
from policy import BookPolicy
from stage_events import RearmDue, ResetRequested, StageRefusal
from stage_machine import advance
from stage_recovery import adopt_locks, adoption_audits, recover_book, shift_deadlines
from tests.stage_cases import (
    BOOK,
    COOLDOWN,
    EMPTY_POLICY,
    MANUAL_POLICY,
    NOW,
    POLICY,
    book,
    incident,
    streak,
    target,
)

S0, S1, S2, S3, S4 = Stage
BLANK = BookMemory(name=BOOK)


def lock(stage: Stage, *, expires_ts: float = NOW + 600, dry_run: bool = False) -> LockEntry:
    """The lock of a stage as a lock file gives it back."""
    settings = POLICY.stage(stage)
    assert settings is not None
    entry = stage_lock(BOOK, policy=settings, now=NOW - 60, dry_run=dry_run)
    return replace(entry, expires_ts=expires_ts)


def adopt(
    *entries: LockEntry,
    policy: BookPolicy = POLICY,
    dry_run: bool = False,
    state: BookMemory = BLANK,
) -> BookMemory:
    """Adopt the entries of a lock file."""
    return adopt_locks(state, entries=entries, policy=policy, now=NOW, dry_run=dry_run)


def has_halt(state: BookMemory) -> bool:
    """True when the halt of a lost database is among the book's locks."""
    return any(
        entry.mode is LockMode.HALT and entry.reason == REASON_STATE_LOST for entry in state.locks
    )


def test_unreadable_lock_file_leaves_a_halt_until_reset() -> None:
    """Nobody knows what was closed: NORMAL, no incident, bots wait for the operator."""
    adopted = adopt()
    assert (adopted.stage, adopted.incident, adopted.cooldowns) == (S0, None, (0.0, 0.0, 0.0))
    assert has_halt(adopted)
    reset = ResetRequested(confirmation="", is_switch_running=True, has_trusted_reading=True)
    after = advance(adopted, reset, policy=POLICY, now=NOW, dry_run=False)
    assert after.book.locks == ()


def test_an_adoption_is_one_audit_entry_for_each_lock_that_is_new() -> None:
    """The stage's and the halt, with what the file said; a second adoption has nothing to add."""
    adopted = adopt(lock(S2))
    stage, halt = adoption_audits(BLANK, adopted, source="found", now=NOW, dry_run=True)
    assert (stage.stage, stage.mode, stage.scope, stage.dry_run) == (S2, "stage", BOOK, True)
    assert dict(stage.details)["expires_ts"] == NOW + 600
    assert (halt.stage, halt.mode, halt.at) == (S0, "halt", NOW)
    assert halt.message == (
        f"found: state_lost holds, and {BOOK} stands at DOMINANT_CLOSED until its reset"
    )
    left = replace(lock(S2), details=(("closing", "not confirmed yet"),))
    (told, _) = adoption_audits(BLANK, adopt(left), source="found", now=NOW, dry_run=True)
    assert told.message.endswith("until its reset; nobody saw its close confirmed")
    again = adopt(lock(S2), state=adopted)
    assert adoption_audits(adopted, again, source="found", now=NOW, dry_run=True) == ()


@pytest.mark.parametrize(
    ("entries", "expected", "is_latched"),
    [
        ((lock(S1),), S1, False),
        ((lock(S1), lock(S2)), S2, False),
        ((lock(S3, expires_ts=FOREVER_TS),), S3, True),
        ((kill_lock(BOOK, now=NOW, dry_run=False), lock(S1)), S4, True),
        ((kill_lock(EVERY_BOOK, now=NOW, dry_run=True),), S4, True),
        ((replace(lock(S3), scope="other"),), S0, False),
        ((lock(S3, dry_run=True),), S0, False),
    ],
)
def test_entries_set_the_stage_as_it_stands(
    entries: tuple[LockEntry, ...], expected: Stage, is_latched: bool
) -> None:
    """The tightest entry of this book and this kind of run counts; a kill counts in both."""
    adopted = adopt(*entries)
    assert adopted.stage is expected
    assert adopted.incident is None
    assert adopted.manual_reset_required is is_latched
    assert has_halt(adopted)


def test_manual_settings_latch_an_adopted_stage() -> None:
    """With auto_rearm off the adopted stage waits for a reset as it did before."""
    assert adopt(lock(S1), policy=MANUAL_POLICY).manual_reset_required


@pytest.mark.parametrize(
    ("expires_ts", "expected"),
    [
        (NOW + 600, NOW + 600),
        (NOW - 600, NOW - 600),
        (FOREVER_TS, NOW + COOLDOWN[S1]),  # at most one whole cooldown is believed
    ],
)
def test_adopted_lock_carries_its_cooldown(expires_ts: float, expected: float) -> None:
    """The same stage rests as long as its lock said, and re-arms no earlier."""
    adopted = adopt(lock(S1, expires_ts=expires_ts))
    assert adopted.cooldowns == (expected, 0.0, 0.0)
    event = RearmDue(has_trusted_reading=True)
    after = advance(adopted, event, policy=POLICY, now=NOW, dry_run=False)
    assert after.refusal is (StageRefusal.COOLDOWN_RUNNING if expected > NOW else None)
    assert has_halt(after.book)


def test_adopted_stage_without_settings_does_not_rest() -> None:
    """A stage that is no longer used has no cooldown to believe in."""
    assert adopt(lock(S1), policy=EMPTY_POLICY).cooldowns == (NOW, 0.0, 0.0)


def test_adopting_never_loosens_what_is_known() -> None:
    """A book that already holds more keeps it."""
    known = replace(book(S3), manual_reset_required=True, cooldowns=(NOW + 9_000, 0.0, 0.0))
    adopted = adopt(lock(S1), state=known)
    assert adopted.stage is S3
    assert adopted.manual_reset_required
    assert adopted.cooldowns == (NOW + 9_000, 0.0, 0.0)


def test_adopted_kill_of_every_book_gets_the_books_own_lock() -> None:
    """The switch may be loosened later; the book stays in lockdown with a lock of its own."""
    adopted = adopt(kill_lock(now=NOW, dry_run=False))
    locks = refresh_locks(adopted, policy=POLICY, now=NOW, dry_run=False)
    assert {(entry.scope, entry.mode) for entry in locks} == {
        (BOOK, LockMode.HALT),
        (BOOK, LockMode.KILL),
    }


@pytest.mark.parametrize("by_s", [3_600.0, -3_600.0])
def test_deadlines_move_with_the_clock(by_s: float) -> None:
    """What was left stays left, 0 stays never, and a lock without an end stays without."""
    held = replace(
        incident(S2, target(), opened_at=NOW - 50), last_progress_at=NOW - 20, held_at=NOW - 2
    )
    state = BookMemory(
        name=BOOK,
        stage=S2,
        since=NOW - 50,
        baseline_at=NOW - 900,
        stage_baselines=(NOW - 10, NOW - 10, 0.0),
        cooldowns=(0.0, NOW + 100, 0.0),
        streaks=(streak(S3, at=NOW - 5),),
        incident=held,
        locks=(lock(S2), kill_lock(BOOK, now=NOW, dry_run=False)),
    )
    moved = shift_deadlines(state, by_s=by_s)
    assert moved == BookMemory(
        name=BOOK,
        stage=S2,
        since=NOW - 50 + by_s,
        baseline_at=NOW - 900 + by_s,
        stage_baselines=(NOW - 10 + by_s, NOW - 10 + by_s, 0.0),
        cooldowns=(0.0, NOW + 100 + by_s, 0.0),
        streaks=(streak(S3, at=NOW - 5 + by_s),),
        incident=replace(
            held,
            opened_at=NOW - 50 + by_s,
            last_progress_at=NOW - 20 + by_s,
            held_at=NOW - 2 + by_s,
        ),
        locks=(
            replace(lock(S2), expires_ts=NOW + 600 + by_s),
            kill_lock(BOOK, now=NOW, dry_run=False),
        ),
    )
    assert shift_deadlines(moved, by_s=-by_s) == state


def test_shifting_a_quiet_book_invents_no_incident() -> None:
    """No incident, no held target: nothing but times moves."""
    assert shift_deadlines(BLANK, by_s=60.0) == BLANK
    running = incident(S1, target())
    moved = shift_deadlines(book(S1, running=running), by_s=60.0)
    assert moved.incident == replace(running, opened_at=NOW + 60)


def test_clock_set_back_between_runs_hides_no_peak() -> None:
    """Baselines and progress come back to now, streaks of the future go, deadlines stay."""
    later = NOW + 3_600
    state = replace(
        book(S1, running=replace(incident(S1, target(), opened_at=later), held_at=later)),
        since=later,
        baseline_at=later,
        stage_baselines=(later, NOW - 5, 0.0),
        cooldowns=(later, 0.0, 0.0),
        streaks=(streak(S1, at=later), streak(S2, at=NOW - 5)),
        locks=(lock(S1),),
    )
    found = recover_book(state, now=NOW)
    assert (found.since, found.baseline_at) == (NOW, NOW)
    assert found.stage_baselines == (NOW, NOW - 5, 0.0)
    assert found.streaks == (streak(S2, at=NOW - 5),)
    assert found.incident == incident(S1, target(), opened_at=NOW)
    assert (found.cooldowns, found.locks) == (state.cooldowns, state.locks)


def test_loading_a_sound_book_changes_nothing() -> None:
    """With the clock in order every time stays, a held target included."""
    held = replace(incident(S2, target(), opened_at=NOW - 50), held_at=NOW - 3)
    for state in (book(S0), book(S2, running=held)):
        assert recover_book(state, now=NOW) == state
