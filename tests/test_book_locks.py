"""Which lock each cause sets, how long it holds, and what binds the bots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from book_locks import (
    EVERY_BOOK,
    REASON_STATE_LOST,
    add_lock,
    blind_lock,
    compose_lock,
    extend_stage_lock,
    halt_lock,
    kill_lock,
    lift_locks,
    open_incident,
    pause_lock,
    refresh_locks,
    stage_lock,
)
from lock_document import FOREVER_TS, LockEntry, LockMode
from memory import BookMemory, IncidentStatus
from model import BookName, ScopeId, Stage
from policy import BookPolicy
from tests.stage_cases import (
    BOOK,
    COOLDOWN,
    EMPTY_POLICY,
    MANUAL_POLICY,
    NOW,
    POLICY,
    UNLOCKED_POLICY,
    book,
    incident,
    target,
)

S0, S1, S2, S3, S4 = Stage


def lock(stage: Stage, *, at: float = NOW, is_manual: bool = False) -> LockEntry:
    """The lock of a stage as its trigger sets it."""
    settings = POLICY.stage(stage)
    assert settings is not None
    return stage_lock(BOOK, policy=settings, now=at, dry_run=False, is_manual=is_manual)


def refreshed(
    state: BookMemory, *, policy: BookPolicy = POLICY, now: float = NOW
) -> tuple[LockEntry, ...]:
    """The locks after a tick of a live run."""
    return refresh_locks(state, policy=policy, now=now, dry_run=False)


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (S1, "killswitch_stage_1_close_top_risk_contributors"),
        (S2, "killswitch_stage_2_close_dominant_loss_direction"),
        (S3, "killswitch_stage_3_close_all_positions"),
    ],
)
def test_stage_lock_names_stage_and_mode(stage: Stage, reason: str) -> None:
    """The reason is what a bot shows; the end is one cooldown away unless a person lifts it."""
    assert lock(stage).reason == reason
    assert lock(stage).expires_ts == NOW + COOLDOWN[stage]
    manual = lock(stage, is_manual=True)
    assert (manual.expires_ts, manual.manual_reset_required) == (FOREVER_TS, True)


@pytest.mark.parametrize(
    ("entry", "scope", "mode", "reason", "is_manual"),
    [
        (
            blind_lock(BookName("all"), scope=ScopeId("bybit_futures"), now=NOW, dry_run=False),
            "all",
            LockMode.BLIND,
            "blind_bybit_futures",
            False,
        ),
        (pause_lock(now=NOW, dry_run=False), "*", LockMode.PAUSE, "operator_pause", False),
        (halt_lock(now=NOW, dry_run=False), "*", LockMode.HALT, "operator_halt", False),
        (
            halt_lock(BOOK, now=NOW, dry_run=False, reason=REASON_STATE_LOST),
            BOOK,
            LockMode.HALT,
            "state_lost",
            True,
        ),
        (kill_lock(now=NOW, dry_run=False), "*", LockMode.KILL, "operator_kill", True),
    ],
)
def test_locks_that_only_rewriting_lifts(
    entry: LockEntry, scope: str, mode: LockMode, reason: str, is_manual: bool
) -> None:
    """No time ends them; only what needs a reset asks for one."""
    assert (entry.scope, entry.mode, entry.reason) == (scope, mode, reason)
    assert (entry.expires_ts, entry.manual_reset_required) == (FOREVER_TS, is_manual)


def test_adding_the_same_cause_only_strengthens() -> None:
    """The later end, the stricter word and the earlier beginning stay, in either order."""
    weak, strong = lock(S3, at=NOW - 10), lock(S3, is_manual=True)
    for locks in (add_lock((weak,), strong), add_lock((strong,), weak)):
        (entry,) = locks
        assert entry.created_ts == NOW - 10
        assert (entry.expires_ts, entry.manual_reset_required) == (FOREVER_TS, True)


def test_different_causes_stand_side_by_side() -> None:
    """Stages, blind scopes and the halt of a lost database are each a lock of their own."""
    entries = (
        lock(S1),
        lock(S2),
        blind_lock(BOOK, scope=ScopeId("one"), now=NOW, dry_run=False),
        blind_lock(BOOK, scope=ScopeId("two"), now=NOW, dry_run=False),
        halt_lock(BOOK, now=NOW, dry_run=False),
        halt_lock(BOOK, now=NOW, dry_run=False, reason=REASON_STATE_LOST),
    )
    locks: tuple[LockEntry, ...] = ()
    for entry in entries:
        locks = add_lock(locks, entry)
    assert locks == entries


def test_lifting_takes_only_what_is_named() -> None:
    """By mode, by stage, and by reason for one blind scope of several."""
    one = blind_lock(BOOK, scope=ScopeId("one"), now=NOW, dry_run=False)
    two = blind_lock(BOOK, scope=ScopeId("two"), now=NOW, dry_run=False)
    locks = (lock(S1), lock(S2), one, two)
    assert lift_locks(locks, modes=(LockMode.STAGE,)) == (one, two)
    assert lift_locks(locks, modes=(LockMode.STAGE,), stages=(S1,)) == (lock(S2), one, two)
    assert lift_locks(locks, modes=(LockMode.BLIND,), reason="blind_one") == (
        lock(S1),
        lock(S2),
        two,
    )


def test_extending_never_shortens() -> None:
    """An end that is further away stays; other stages are not touched."""
    locks = (lock(S1), lock(S2))
    assert extend_stage_lock(locks, stage=S1, until=NOW + 10) == locks
    longer = extend_stage_lock(locks, stage=S1, until=NOW + 9_999)
    assert longer == (replace(lock(S1), expires_ts=NOW + 9_999), lock(S2))


def test_open_incident_is_one_that_is_still_worked_on() -> None:
    """An ended incident is history."""
    running = incident(S1)
    assert open_incident(book()) is None
    assert open_incident(book(S1, running=running)) is running
    ended = replace(running, status=IncidentStatus.DONE)
    assert open_incident(book(S1, running=ended)) is None


def test_lock_of_an_open_incident_reaches_one_cooldown_ahead() -> None:
    """An hour into stage 1's incident its lock ends 30 minutes from now."""
    state = replace(book(S1, running=incident(S1, target())), locks=(lock(S1),))
    (entry,) = refreshed(state, now=NOW + 3_600)
    assert entry.expires_ts == NOW + 3_600 + 1_800


def test_lock_is_held_a_minute_ahead_until_the_book_is_armed() -> None:
    """After the cooldown, before the re-arm: bots that may trade again need the whole guard."""
    state = replace(book(S1), locks=(lock(S1),))
    (entry,) = refreshed(state, now=NOW + 1_700)
    assert entry.expires_ts == NOW + 1_800  # further away than a minute already
    (entry,) = refreshed(state, now=NOW + 9_000)
    assert entry.expires_ts == NOW + 9_060


def test_lock_of_a_stage_that_changed_no_state_ends_with_its_cooldown() -> None:
    """An empty plan: nothing to re-arm, so nothing holds the lock longer, and it is dropped."""
    state = replace(book(S0), locks=(lock(S1),))
    assert refreshed(state, now=NOW + 1_799) == (lock(S1),)
    assert refreshed(state, now=NOW + 1_800) == ()


def test_lock_of_a_stage_without_settings_stays_while_its_incident_runs() -> None:
    """The stage was taken out of the settings: no cooldown to go by, but the state holds it."""
    state = replace(book(S1, running=incident(S1, target())), locks=(lock(S1),))
    (entry,) = refreshed(state, policy=EMPTY_POLICY, now=NOW + 9_000)
    assert entry.expires_ts == NOW + 9_060


@pytest.mark.parametrize(
    ("state", "mode", "expires_ts"),
    [
        (book(S1), LockMode.STAGE, NOW + 1_800),
        (replace(book(S2), manual_reset_required=True), LockMode.STAGE, FOREVER_TS),
        (replace(book(S3), manual_reset_required=True), LockMode.STAGE, FOREVER_TS),
        (book(S4), LockMode.KILL, FOREVER_TS),
    ],
)
def test_missing_lock_of_a_state_is_set_again(
    state: BookMemory, mode: LockMode, expires_ts: float
) -> None:
    """A state without its lock lets bots trade against half a guard; it is not waited for."""
    (entry,) = refreshed(state)
    assert (entry.mode, entry.stage, entry.expires_ts) == (mode, state.stage, expires_ts)
    assert entry.manual_reset_required is (expires_ts == FOREVER_TS)
    assert refreshed(replace(state, locks=(entry,))) == (entry,)


@pytest.mark.parametrize(
    ("state", "policy"),
    [(S0, POLICY), (S2, UNLOCKED_POLICY), (S2, EMPTY_POLICY)],
)
def test_no_lock_is_invented(state: Stage, policy: BookPolicy) -> None:
    """NORMAL needs none, and `set_trading_lock: false` means none."""
    assert refreshed(book(state), policy=policy) == ()


def test_compose_puts_the_most_severe_first() -> None:
    """Kill, stage 3, halt, stage 2, stage 1, regime, blind, pause."""
    regime = replace(lock(S1), stage=S0, mode=LockMode.REGIME, reason="regime_guard")
    blind = blind_lock(BOOK, scope=ScopeId(BOOK), now=NOW, dry_run=False)
    books = (
        replace(book(), locks=(regime, blind, lock(S1), lock(S3))),
        BookMemory(name=BookName("other"), locks=(replace(lock(S2), scope="other"),)),
    )
    operator = tuple(make(now=NOW, dry_run=False) for make in (pause_lock, halt_lock, kill_lock))
    content = compose_lock(
        books,
        dry_run=False,
        enforce_in_dry_run=False,
        operator_locks=operator,
        details=(("note", "SIMULATOR"),),
    )
    assert [entry.severity for entry in content.locks] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert content.locks[0].scope == EVERY_BOOK
    assert content.would_lock == ()
    assert content.is_locked
    assert content.details == (("note", "SIMULATOR"),)


def test_dry_run_only_shows_what_the_guard_decides() -> None:
    """Stage and blind locks would lock; halt and kill do, and enforcing makes all of them real."""
    blind = blind_lock(BOOK, scope=ScopeId(BOOK), now=NOW, dry_run=True)
    kill = kill_lock(BOOK, now=NOW, dry_run=True)
    halt = halt_lock(now=NOW, dry_run=True)
    state = replace(book(S4), locks=(blind, lock(S1), kill))
    shown = compose_lock([state], dry_run=True, enforce_in_dry_run=False, operator_locks=(halt,))
    assert shown.locks == (kill, halt)
    assert shown.would_lock == (lock(S1), blind)
    assert shown.dry_run
    enforced = compose_lock([state], dry_run=True, enforce_in_dry_run=True)
    assert enforced.locks == (kill, lock(S1), blind)
    assert enforced.would_lock == ()
    quiet = compose_lock(
        [replace(book(S1), locks=(lock(S1),))], dry_run=True, enforce_in_dry_run=False
    )
    assert not quiet.is_locked


def test_latched_lock_follows_from_manual_settings() -> None:
    """A stage 1 without auto_rearm that lost its lock gets it back without an end."""
    state = replace(book(S1), manual_reset_required=True)
    (entry,) = refreshed(state, policy=MANUAL_POLICY)
    assert entry.expires_ts == FOREVER_TS
