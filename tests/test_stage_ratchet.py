"""The ratchet over any sequence of events: nothing loosens except by re-arm and reset."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from book_locks import refresh_locks
from lock_document import LockEntry
from memory import BookMemory, Incident, TargetStatus
from model import CLOSING_STAGES, Stage
from policy import BookPolicy
from stage_events import (
    ExpiryDue,
    IncidentEnded,
    Killed,
    PositionsAppeared,
    RearmDue,
    ResetRequested,
    StageEvent,
    Transition,
    Triggered,
)
from stage_machine import advance
from tests.stage_cases import BOOK, MANUAL_POLICY, NOW, POLICY, book, incident, target


def any_incident(stage: Stage, number: int, size: int) -> Incident:
    """An incident with some open targets."""
    targets = tuple(target(f"S{n}", number=n) for n in range(1, size + 1))
    return incident(stage, *targets, had_positions=number % 2 == 0, identity=f"i-{number}")


MOVES = (
    *("trigger 1", "trigger 2", "trigger 3", "appear", "hold", "end", "expire"),
    *("rearm", "reset", "force", "kill"),
)


def event_of(move: str, *, number: int, size: int, is_quiet: bool) -> StageEvent | None:
    """The event behind a move; `hold` only confirms targets."""
    match move.split():
        case ["trigger", stage]:
            return Triggered(incident=any_incident(Stage(int(stage)), number, size))
        case ["appear"]:
            return PositionsAppeared(incident=any_incident(Stage.LOCKDOWN, number, size))
        case ["end"]:
            return IncidentEnded()
        case ["expire"]:
            return ExpiryDue()
        case ["rearm"]:
            return RearmDue(has_trusted_reading=is_quiet)
        case ["reset"] | ["force"]:
            return ResetRequested(
                is_forced=move == "force",
                has_trusted_reading=is_quiet,
                is_switch_running=is_quiet,
                confirmation=BOOK if number % 3 else "",
            )
        case ["kill"]:
            return Killed(incident=any_incident(Stage.LOCKDOWN, number, size))
    return None


def with_targets_held(state: BookMemory) -> BookMemory:
    """The book after the executor confirmed every target."""
    running = state.incident
    if running is None:
        return state
    held = tuple(replace(t, status=TargetStatus.HELD) for t in running.targets)
    return replace(state, incident=replace(running, targets=held))


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(MOVES),
            st.floats(min_value=1.0, max_value=7_200.0),
            st.integers(min_value=0, max_value=2),
            st.booleans(),
        ),
        max_size=25,
    ),
    dry_run=st.booleans(),
    policy=st.sampled_from([POLICY, MANUAL_POLICY]),
)
def test_ratchet_holds_over_any_sequence(
    steps: list[tuple[str, float, int, bool]], dry_run: bool, policy: BookPolicy
) -> None:
    """State, cooldowns, baselines and locks only loosen through re-arm and reset.

    No target that is open ever vanishes without being merged, missed or simulated.
    """
    now, state = NOW, book()
    for number, (move, wait_s, size, is_quiet) in enumerate(steps):
        now += wait_s
        event = event_of(move, number=number, size=size, is_quiet=is_quiet)
        if event is None:
            state = with_targets_held(state)
            continue
        before = state
        after = advance(before, event, policy=policy, now=now, dry_run=dry_run)
        state = after.book
        if after.refusal is not None:
            assert state is before
        if not isinstance(event, ResetRequested):
            for old, new in zip(before.cooldowns, state.cooldowns, strict=True):
                assert new >= old
            for old, new in zip(before.stage_baselines, state.stage_baselines, strict=True):
                assert new >= old
        if not isinstance(event, ResetRequested | RearmDue):
            assert state.stage >= before.stage
            assert_no_lock_shrank(before.locks, state.locks)
        if isinstance(event, RearmDue) and after.refusal is None:
            assert before.incident is None
            assert before.stage in CLOSING_STAGES
            assert before.cooldowns[before.stage - 1] <= now
        assert_targets_accounted_for(before, after)
        state = replace(state, locks=refresh_locks(state, policy=policy, now=now, dry_run=dry_run))
        if state.stage is not Stage.NORMAL:
            assert any(entry.expires_ts >= now + 60 for entry in state.locks)


def assert_no_lock_shrank(old: tuple[LockEntry, ...], new: tuple[LockEntry, ...]) -> None:
    """Every lock is still there and ends no earlier."""
    for entry in old:
        (same,) = [e for e in new if (e.mode, e.stage) == (entry.mode, entry.stage)]
        assert same.expires_ts >= entry.expires_ts
        assert same.manual_reset_required >= entry.manual_reset_required


def assert_targets_accounted_for(before: BookMemory, after: Transition) -> None:
    """What was open before is still to be closed, or the ended incident says what became of it."""
    was_open = {
        t.key
        for t in (before.incident.targets if before.incident else ())
        if t.status is TargetStatus.OPEN
    }
    still = {
        t.key
        for t in (after.book.incident.targets if after.book.incident else ())
        if t.status is TargetStatus.OPEN
    }
    given_up = {t.key for t in after.missed}
    assert was_open <= still | given_up
