"""What may happen to a book in which state, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from book_locks import refresh_locks, without_closing
from errors import InvariantViolation
from lock_document import FOREVER_TS, LockEntry, LockMode
from memory import BookMemory, IncidentStatus, TargetStatus
from model import CLOSING_STAGES, Stage
from policy import BookPolicy
from stage_events import (
    EventName,
    ExpiryDue,
    IncidentEnded,
    Killed,
    PositionsAppeared,
    RearmDue,
    ResetRequested,
    StageEvent,
    StageRefusal,
    Triggered,
)
from stage_machine import TABLE, choose_trigger, is_latching
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
    lock_of,
    step,
    streak,
    target,
    trigger,
)

S0, S1, S2, S3, S4 = Stage
REARM = RearmDue(has_trusted_reading=True)
RESET = ResetRequested(confirmation=BOOK, is_switch_running=True, has_trusted_reading=True)
R = StageRefusal
PAIRS: list[tuple[EventName, StageEvent, tuple[Stage | StageRefusal, ...]]] = [
    # what each event makes of NORMAL, stage 1, stage 2, stage 3, LOCKDOWN, nothing else at work
    (EventName.TRIGGER_1, trigger(S1), (S1, S1, R.LOWER_STAGE, R.LOWER_STAGE, R.LOCKED_DOWN)),
    (EventName.TRIGGER_2, trigger(S2), (S2, S2, S2, R.LOWER_STAGE, R.LOCKED_DOWN)),
    (EventName.TRIGGER_3, trigger(S3), (S3, S3, S3, S3, R.LOCKED_DOWN)),
    (
        EventName.POSITIONS_APPEARED,
        PositionsAppeared(incident=incident(S3, target())),
        (R.NOT_FLATTENED, R.NOT_FLATTENED, R.NOT_FLATTENED, S3, S4),
    ),
    (EventName.INCIDENT_ENDED, IncidentEnded(), (R.NO_INCIDENT,) * 5),
    (EventName.EXPIRY_DUE, ExpiryDue(), (R.NO_INCIDENT,) * 5),
    (
        EventName.REARM_DUE,
        REARM,
        (R.ALREADY_NORMAL, S0, S0, R.MANUAL_RESET_ONLY, R.MANUAL_RESET_ONLY),
    ),
    (EventName.RESET_REQUESTED, RESET, (S0, S0, S0, S0, S0)),
    (EventName.KILLED, Killed(incident=incident(S4, target())), (S4, S4, S4, S4, R.LOCKED_DOWN)),
]


@pytest.mark.parametrize(
    ("event", "state", "expected"),
    [
        pytest.param(event, state, answers[state], id=f"{name} in {state.name}")
        for name, event, answers in PAIRS
        for state in Stage
    ],
)
def test_every_event_in_every_state(
    event: StageEvent, state: Stage, expected: Stage | StageRefusal
) -> None:
    """The whole table, with nothing running and nothing resting."""
    before = book(state)
    after = step(before, event)
    if isinstance(expected, StageRefusal):
        assert after.refusal is expected
        assert after.book is before
    else:
        assert after.refusal is None
        assert after.book.stage is expected


def test_table_is_complete() -> None:
    """Every event has a cell in every state, and the pairs above name every event."""
    assert set(TABLE) == set(EventName) == {name for name, _, _ in PAIRS}
    assert all(set(row) == set(Stage) for row in TABLE.values())


def test_every_refusal_says_why() -> None:
    """Each reason has a sentence of its own for the operator."""
    sentences = [refusal.sentence for refusal in StageRefusal]
    assert all(sentences)
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("state", [S1, S2])
def test_same_stage_rests_until_its_cooldown_is_over(state: Stage) -> None:
    """One second before the end it is blocked, at the end it may fire."""
    resting = replace(book(state), cooldowns=(NOW, NOW, NOW))
    assert step(resting, trigger(state), now=NOW - 1).refusal is R.SAME_STAGE_COOLDOWN
    assert step(resting, trigger(state), now=NOW).refusal is None


@pytest.mark.parametrize(
    ("stage", "refusal"), [(S1, R.SAME_STAGE_COOLDOWN), (S2, None), (S3, None)]
)
def test_a_stage_that_nobody_saw_end_does_not_rest_unless_it_leaves_a_share(
    stage: Stage, refusal: R | None
) -> None:
    """Its cooldown never began; half of what stage 1 left may be half of a half already."""
    left = step(book(), Triggered(incident=incident(stage, target()))).book
    adopted = replace(left, incident=None, cooldowns=(NOW + 500, NOW + 500, NOW + 500))
    assert step(adopted, trigger(stage)).refusal is refusal
    ended = replace(adopted, locks=without_closing(adopted.locks, up_to=stage))
    assert step(ended, trigger(stage)).refusal is R.SAME_STAGE_COOLDOWN


def test_higher_stage_fires_during_the_cooldown_of_a_lower_one() -> None:
    """Stage 1 rests; stage 2 does not wait for it."""
    resting = replace(book(S1), cooldowns=(NOW + 500, 0.0, 0.0))
    assert step(resting, trigger(S2)).book.stage is S2


def test_stage_that_ended_empty_rests_although_the_state_did_not_change() -> None:
    """An empty plan of stage 2 in NORMAL blocks stage 2, and stage 1 and 3 stay free."""
    resting = replace(book(S0), cooldowns=(0.0, NOW + 500, 0.0))
    assert step(resting, trigger(S1)).refusal is None
    assert step(resting, trigger(S2)).refusal is R.SAME_STAGE_COOLDOWN
    assert step(resting, trigger(S3)).refusal is None


@pytest.mark.parametrize(
    ("running", "asked", "expected"),
    [
        (S1, S1, R.INCIDENT_OPEN),
        (S1, S2, None),
        (S2, S2, R.INCIDENT_OPEN),
        (S2, S3, None),
        (S3, S3, R.INCIDENT_OPEN),
    ],
)
def test_open_incident_blocks_its_own_stage(
    running: Stage, asked: Stage, expected: StageRefusal | None
) -> None:
    """While an incident of stage n is open, stage n is blocked and higher ones are not."""
    state = book(running, running=incident(running, target()))
    assert step(state, trigger(asked)).refusal is expected


def test_open_incident_with_an_empty_plan_blocks_lower_stages_too() -> None:
    """The state is still NORMAL, yet stage 3 is at work: stage 1 adds nothing."""
    state = book(S0, running=incident(S3, had_positions=False))
    assert step(state, trigger(S1)).refusal is R.INCIDENT_OPEN


def test_incident_that_ended_blocks_nothing() -> None:
    """An incident in any status but OPEN is history."""
    ended = replace(incident(S1, target()), status=IncidentStatus.DONE)
    assert step(book(S1, running=ended), trigger(S1)).refusal is None


def test_stage_without_settings_is_not_used() -> None:
    """A trigger for a stage that the book does not have changes nothing."""
    assert step(book(), trigger(S1), policy=EMPTY_POLICY).refusal is R.STAGE_NOT_USED


def test_trigger_records_incident_state_and_lock() -> None:
    """Stage 2 fires: the state moves, the incident is open, the lock reaches one cooldown ahead."""
    after = step(book(), trigger(S2))
    assert (after.book.stage, after.book.since) == (S2, NOW)
    assert after.opened == after.book.incident == incident(S2, target())
    assert after.ended is None
    entry = lock_of(after.book, S2)
    assert entry.reason == "killswitch_stage_2_close_dominant_loss_direction"
    assert entry.expires_ts == NOW + 90 * 60
    assert not entry.manual_reset_required
    assert dict(entry.details) == {
        "incident_id": "incident-2",
        "cause": "drawdown 0.08 over 1h",
        "closing": "not confirmed yet",
    }
    assert not after.book.manual_reset_required


def test_same_stage_again_keeps_the_time_the_state_began() -> None:
    """`since` says how long the book has been in its state, not when it last fired."""
    assert step(book(S1), trigger(S1)).book.since == book(S1).since


def test_trigger_is_never_for_lockdown() -> None:
    """Only the kill leads there; an incident of that stage from a drawdown is our own bug."""
    with pytest.raises(InvariantViolation):
        step(book(), trigger(S4))


@pytest.mark.parametrize(
    ("stage", "policy", "dry_run", "expected"),
    [
        (S0, MANUAL_POLICY, False, False),
        (S1, POLICY, False, False),
        (S1, MANUAL_POLICY, False, True),
        (S2, MANUAL_POLICY, False, True),
        (S2, MANUAL_POLICY, True, False),
        (S3, POLICY, False, True),
        (S3, POLICY, True, False),
        (S4, POLICY, False, True),
        (S4, POLICY, True, True),
    ],
)
def test_latching_states(stage: Stage, policy: BookPolicy, dry_run: bool, expected: bool) -> None:
    """Stage 3, stages without auto_rearm and LOCKDOWN need a reset; a dry run only the last."""
    assert is_latching(stage, policy=policy, dry_run=dry_run) is expected


@pytest.mark.parametrize("stage", CLOSING_STAGES)
def test_latched_stage_has_a_lock_without_an_end(stage: Stage) -> None:
    """With auto_rearm off the lock is manual as well; in a dry run it ends with the cooldown."""
    live = step(book(), trigger(stage), policy=MANUAL_POLICY)
    assert live.book.manual_reset_required
    assert lock_of(live.book, stage).manual_reset_required
    assert lock_of(live.book, stage).expires_ts == FOREVER_TS
    dry = step(book(), trigger(stage), policy=MANUAL_POLICY, dry_run=True)
    assert not dry.book.manual_reset_required
    assert lock_of(dry.book, stage).dry_run
    assert lock_of(dry.book, stage).expires_ts == NOW + COOLDOWN[stage]


def test_stage_without_a_trading_lock_sets_none() -> None:
    """`set_trading_lock: false` closes and leaves the bots alone."""
    assert step(book(), trigger(S2), policy=UNLOCKED_POLICY).book.locks == ()


@pytest.mark.parametrize(
    ("triggered", "expected", "refusals"),
    [
        ((), None, ()),
        ((S1,), S1, ()),
        ((S1, S2, S3), S3, ()),
        ((S2, S1), None, ((S2, R.SAME_STAGE_COOLDOWN), (S1, R.LOWER_STAGE))),
    ],
)
def test_highest_triggered_stage_wins(
    triggered: tuple[Stage, ...],
    expected: Stage | None,
    refusals: tuple[tuple[Stage, StageRefusal], ...],
) -> None:
    """3 before 2 before 1, each refusal with its reason."""
    state = book() if expected else replace(book(S2), cooldowns=(0.0, NOW + 1, 0.0))
    choice = choose_trigger(state, triggered=triggered, policy=POLICY, now=NOW, dry_run=False)
    assert choice.stage is expected
    assert choice.refusals == refusals


def test_blocked_higher_stage_does_not_silence_a_lower_one() -> None:
    """Stage 3 rests after an empty plan; stage 1 still protects what was opened since."""
    state = replace(book(), cooldowns=(0.0, 0.0, NOW + 1))
    choice = choose_trigger(state, triggered=(S1, S3), policy=POLICY, now=NOW, dry_run=False)
    assert choice.stage is S1
    assert choice.refusals == ((S3, R.SAME_STAGE_COOLDOWN),)


@pytest.mark.parametrize(
    ("change", "event", "policy", "expected"),
    [
        ({}, REARM, MANUAL_POLICY, R.AUTO_REARM_OFF),
        ({"manual_reset_required": True}, REARM, POLICY, R.MANUAL_RESET_ONLY),
        ({"incident": incident(S1)}, REARM, POLICY, R.CLOSE_UNRESOLVED),
        ({"cooldowns": (NOW + 1, 0.0, 0.0)}, REARM, POLICY, R.COOLDOWN_RUNNING),
        ({"cooldowns": (NOW, NOW + 1, NOW + 1)}, REARM, POLICY, None),
        ({}, RearmDue(has_trusted_reading=False), POLICY, R.NO_TRUSTED_READING),
        ({"streaks": (streak(S3),)}, REARM, POLICY, R.STREAK_RUNNING),
        ({"streaks": (streak(S3, count=0),)}, REARM, POLICY, None),
    ],
)
def test_rearm_needs_everything_to_be_quiet(
    change: dict[str, object], event: RearmDue, policy: BookPolicy, expected: StageRefusal | None
) -> None:
    """Each condition blocks alone; a stage higher than the state may rest."""
    state = replace(book(S1), **change)  # type: ignore[arg-type]  # any field of the book
    assert step(state, event, policy=policy).refusal is expected


def test_rearm_lifts_the_lock_in_the_same_moment() -> None:
    """Stage 2 after its cooldown: NORMAL and no lock, although it was held a minute ahead."""
    state = step(step(book(), trigger(S2)).book, IncidentEnded(), dry_run=False).book
    assert state.incident is not None  # a live target is open, so the end was refused
    state = replace(state, incident=replace(state.incident, targets=()))
    state = step(state, IncidentEnded()).book
    later = NOW + 5_400
    state = replace(state, locks=refresh_locks(state, policy=POLICY, now=later, dry_run=False))
    assert lock_of(state, S2).expires_ts == later + 60
    after = step(state, REARM, now=later).book
    assert (after.stage, after.since, after.locks) == (S0, later, ())
    assert after.stage_baselines == (NOW, NOW, 0.0)


def test_rearm_leaves_locks_of_stages_that_still_rest() -> None:
    """A lower stage with a longer cooldown can not fire yet, so its lock stays; halts stay too."""
    state = step(book(), Triggered(incident=incident(S1))).book
    state = step(state, IncidentEnded()).book  # empty plan: stage 1 rests until NOW + 1,800
    state = step(state, trigger(S2)).book
    state = replace(state, incident=None)
    after = step(state, REARM, now=NOW + 60).book
    assert [(entry.mode, entry.stage) for entry in after.locks] == [(LockMode.STAGE, S1)]


@pytest.mark.parametrize("state", CLOSING_STAGES)
def test_dry_run_rearms_from_every_stage(state: Stage) -> None:
    """Stage 3 and auto_rearm: false included, once the cooldown is over."""
    resting = replace(book(state), cooldowns=(NOW, NOW, NOW))
    early = step(resting, REARM, policy=MANUAL_POLICY, now=NOW - 1, dry_run=True)
    assert early.refusal is R.COOLDOWN_RUNNING
    after = step(resting, REARM, policy=MANUAL_POLICY, dry_run=True)
    assert after.book.stage is S0


def test_dry_run_does_not_rearm_from_lockdown() -> None:
    """The kill is the operator's own in every mode."""
    assert step(book(S4), REARM, dry_run=True).refusal is R.MANUAL_RESET_ONLY


@pytest.mark.parametrize("state", [S3, S4])
@pytest.mark.parametrize("typed", ["", "yes", "binance", "BINANCE_FUTURES"])
def test_reset_of_a_latched_book_asks_for_its_name(state: Stage, typed: str) -> None:
    """Nothing but the book's own name will do, forced or not."""
    for is_forced in (False, True):
        event = replace(RESET, confirmation=typed, is_forced=is_forced)
        assert step(book(state), event).refusal is R.CONFIRMATION_MISSING


def test_reset_from_lockdown_needs_the_switch_to_run() -> None:
    """Otherwise the kill would fire again at once; stage 3 does not care."""
    event = replace(RESET, confirmation=f" {BOOK}\n", is_switch_running=False, is_forced=True)
    assert step(book(S4), event).refusal is R.SWITCH_NOT_RUNNING
    assert step(book(S3), event).book.stage is S0


@pytest.mark.parametrize("state", list(Stage))
def test_reset_needs_a_trusted_reading_and_confirmed_closes(state: Stage) -> None:
    """What loosens needs to know; only --force waives that."""
    blind = replace(RESET, has_trusted_reading=False)
    assert step(book(state), blind).refusal is R.NO_TRUSTED_READING
    assert step(book(state), replace(blind, is_forced=True)).refusal is None
    closing = book(state, running=incident(S3, target()))
    assert step(closing, RESET).refusal is R.CLOSE_UNRESOLVED
    assert step(closing, replace(RESET, is_forced=True)).refusal is None


def test_reset_starts_anew_and_names_what_it_gives_up() -> None:
    """Baseline now, nothing rests, locks lifted but blindness, the incident is ABANDONED."""
    running = incident(S3, target("A", status=TargetStatus.HELD), target("B", number=2))
    state = replace(
        step(book(), Triggered(incident=running)).book,
        cooldowns=(NOW + 1, NOW + 2, NOW + 3),
        stage_baselines=(1.0, 2.0, 3.0),
        streaks=(streak(S1),),
    )
    blind = LockEntry(
        scope=BOOK,
        stage=S0,
        mode=LockMode.BLIND,
        reason=f"blind_{BOOK}",
        created_ts=NOW,
        expires_ts=FOREVER_TS,
    )
    halt = replace(blind, mode=LockMode.HALT, reason="state_lost")
    state = replace(state, locks=(*state.locks, halt, blind))
    after = step(state, replace(RESET, is_forced=True), now=NOW + 5)
    assert after.ended is not None
    assert after.ended.status is IncidentStatus.ABANDONED
    assert after.ended.ended_at == NOW + 5
    assert [t.key.symbol for t in after.missed] == ["B"]
    assert after.book == BookMemory(name=BOOK, since=NOW + 5, baseline_at=NOW + 5, locks=(blind,))


def test_reset_without_an_incident_ends_none() -> None:
    """There is nothing to abandon."""
    after = step(book(S2), RESET)
    assert (after.ended, after.missed) == (None, ())


@pytest.mark.parametrize("dry_run", [False, True])
def test_kill_takes_over_and_locks_until_reset(dry_run: bool) -> None:
    """LOCKDOWN with a lock without an end, in a dry run as well; open targets go on."""
    running = incident(S2, target("A"), dry_run=dry_run)
    state = replace(book(S2, running=running), streaks=(streak(S3),))
    asked = incident(S4, target("B"), dry_run=dry_run)
    after = step(state, Killed(incident=asked), dry_run=dry_run)
    assert after.ended == replace(running, status=IncidentStatus.TAKEN_OVER, ended_at=NOW)
    assert after.opened is not None
    assert [t.key.symbol for t in after.opened.targets] == ["B", "A"]
    assert after.book.manual_reset_required
    assert after.book.streaks == ()
    (entry,) = after.book.locks
    assert (entry.mode, entry.stage, entry.reason) == (LockMode.KILL, S4, "operator_kill")
    assert (entry.expires_ts, entry.manual_reset_required) == (FOREVER_TS, True)
