"""From a look at both stores to the state that counts; nothing that fails ever loosens it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import switch_rules
from lock_document import EVERY_BOOK, FOREVER_TS, LockEntry, LockMode
from memory import Severity
from model import Stage
from policy import SwitchPolicy
from switch_model import (
    RedisMissing,
    RedisSeen,
    RedisSilent,
    RedisValue,
    RedisWrite,
    SwitchMemory,
    SwitchSeen,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)
from switch_rules import (
    WRITE_AGAIN_S,
    SwitchLook,
    cancels_entries,
    effective,
    explicit,
    look,
    loosen,
    operator_locks,
)
from tests.decision_values import DRY, LIVE, NOON

RUNNING, PAUSE, HALT, KILL = SwitchState
LOCAL, REDIS = SwitchStore
SILENT = RedisSilent(why="refused")
MISSING = RedisMissing()


def value(text: str, *, actor: str = "", reason: str = "") -> RedisValue:
    """The key is there."""
    return RedisValue(text=text, actor=actor, reason=reason)


def setting(state: SwitchState, *, revision: int = 0, at: float = 0, **who: str) -> SwitchSetting:
    """What a store holds since `at` seconds after noon."""
    return SwitchSetting(state=state, since=NOON + at, revision=revision, **who)


def held(local: SwitchState, redis: SwitchState | None = None) -> SwitchMemory:
    """What is remembered when both stores were seen in these states."""
    return SwitchMemory(
        local=setting(local, revision=0 if local is RUNNING else 3, actor="ann"),
        redis=None if redis is None else setting(redis, actor="bob"),
        has_redis=redis is not None,
    )


def looked(
    switch: SwitchMemory,
    redis: RedisSeen | None = None,
    *,
    local: SwitchSetting | None = None,
    at: float = 10,
    dry_run: bool = False,
) -> SwitchLook:
    """One look, `at` seconds after noon."""
    policy = DRY if dry_run else LIVE
    return look(switch, SwitchSeen(local=local, redis=redis), policy=policy, now=NOON + at)


def told(found: SwitchLook) -> list[tuple[str, Severity]]:
    """What a person is told."""
    return [(one.event, one.severity) for one in found.audits]


# --- the matrix ---------------------------------------------------------------------------------

UNKNOWN = value("stop everything")
AT_LEAST_HALT = {RUNNING: HALT, PAUSE: HALT, HALT: HALT, KILL: KILL}
KEPT = {state: state for state in SwitchState}

MATRIX: dict[str, tuple[tuple[RedisSeen | None, ...], dict[SwitchState, SwitchState]]] = {
    "missing": ((MISSING,), KEPT),
    "flushed": ((MISSING, MISSING), KEPT),
    "silent at start": ((SILENT,), AT_LEAST_HALT),
    "silent later": ((SILENT, SILENT), AT_LEAST_HALT),
    "back, and flushed": ((SILENT, MISSING), AT_LEAST_HALT),
    "unknown value": ((UNKNOWN,), AT_LEAST_HALT),
    "unknown after silence": ((SILENT, UNKNOWN), AT_LEAST_HALT),
    "removed": ((None,), KEPT),
}
"""What Redis shows after it was seen in a state, and what counts then, whatever the local store
holds below that."""


@pytest.mark.parametrize("last", SwitchState)
@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("is_new_run", [False, True], ids=["same run", "after a restart"])
def test_whatever_fails_the_last_state_of_redis_counts(
    name: str, last: SwitchState, is_new_run: bool
) -> None:
    """Each way of failing after each state, with the effective state that section 12 asks for."""
    shown, expected = MATRIX[name]
    switch = held(RUNNING, last)
    if is_new_run:
        switch = SwitchMemory(local=switch.local, redis=switch.redis)
    for number, seen in enumerate(shown):
        switch = looked(switch, seen, at=10 + number).memory
    assert effective(switch) is expected[last]


@pytest.mark.parametrize("last", SwitchState)
@pytest.mark.parametrize("now", SwitchState)
def test_back_again_redis_counts_as_what_it_says(last: SwitchState, now: SwitchState) -> None:
    """A value that somebody has set ends the silence, a milder one as well."""
    silent = looked(held(RUNNING, last), SILENT).memory
    back = looked(silent, value(now), at=20)
    assert effective(back.memory) is now
    assert back.memory.silent_since is None
    assert "switch_answers" in [one.event for one in back.audits]


@pytest.mark.parametrize("local", SwitchState)
@pytest.mark.parametrize("redis", SwitchState)
def test_the_more_severe_store_counts(local: SwitchState, redis: SwitchState) -> None:
    """Sixteen pairs, also while Redis is silent."""
    switch = held(local, redis)
    worst = max(local, redis, key=lambda state: state.severity)
    assert (explicit(switch), effective(switch)) == (worst, worst)
    silent = looked(switch, SILENT).memory
    assert (explicit(silent), effective(silent)) == (worst, AT_LEAST_HALT[worst])


@pytest.mark.parametrize("local", SwitchState)
def test_a_redis_that_was_never_seen_adds_nothing(local: SwitchState) -> None:
    """Not configured: the local store is all there is."""
    assert effective(looked(held(local)).memory) is local


# --- Redis --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "state"),
    [(" KILL\n", KILL), ("Halt", HALT), ("pause", PAUSE), ("", HALT), ("1", HALT), ("\x00", HALT)],
)
def test_values_are_trimmed_in_any_case_and_an_unknown_one_is_a_halt(
    text: str, state: SwitchState
) -> None:
    """Whoever mistypes in a hurry wanted bots to stop."""
    found = looked(held(RUNNING, RUNNING), value(text))
    assert effective(found.memory) is state
    assert [(one.new, one.store) for one in found.recorded] == [(state, REDIS)]


def test_a_change_in_redis_is_recorded_and_told() -> None:
    """Time, old, new, store, actor and reason; what stands in Redis without a name is Redis's."""
    found = looked(held(RUNNING, RUNNING), value("kill", actor="bob", reason="flash crash"))
    change = SwitchTransition(
        at=NOON + 10, old=RUNNING, new=KILL, store=REDIS, actor="bob", reason="flash crash"
    )
    assert found.transitions == found.recorded == (change,)
    kept = setting(KILL, at=10, actor="bob", reason="flash crash")
    assert found.record == found.memory == replace(held(RUNNING, RUNNING), redis=kept)
    assert [one.message for one in found.audits] == [
        "redis: running -> kill by bob: flash crash; the switch is now kill: every position is "
        "closed, every order cancelled, LOCKDOWN until reset"
    ]
    nameless = looked(held(RUNNING, RUNNING), value("pause")).memory.redis
    assert nameless == setting(PAUSE, at=10, actor="somebody")


@pytest.mark.parametrize(
    ("last", "now", "severity"),
    [
        (RUNNING, PAUSE, Severity.WARNING),
        (RUNNING, HALT, Severity.CRITICAL),
        (HALT, KILL, Severity.CRITICAL),
        (KILL, HALT, Severity.WARNING),
        (HALT, RUNNING, Severity.WARNING),
    ],
)
def test_halt_and_kill_wake_somebody(
    last: SwitchState, now: SwitchState, severity: Severity
) -> None:
    """Pause and whatever loosens are told by day."""
    assert told(looked(held(RUNNING, last), value(now))) == [("switch_changed", severity)]


def test_a_milder_value_lifts_only_what_redis_had_set() -> None:
    """The local halt stays."""
    found = looked(held(HALT, KILL), value("running"))
    assert effective(found.memory) is HALT
    assert "the switch is now halt" in found.audits[0].message


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_dry_run_says_aloud_that_kill_closes_nothing(is_dry: bool) -> None:
    """Nobody must believe that the account is flat."""
    (told_of,) = looked(held(RUNNING, RUNNING), value("kill"), dry_run=is_dry).audits
    assert told_of.message.endswith("NOTHING IS CLOSED AND NO ORDER IS CANCELLED") == is_dry


def test_a_first_value_of_running_is_kept_and_not_told() -> None:
    """There is nothing to tell of a Redis that says what was assumed."""
    found = looked(SwitchMemory(), value("running"))
    assert (found.audits, found.transitions) == ((), ())
    assert found.record is not None and found.record.redis == setting(
        RUNNING, at=10, actor="somebody"
    )
    assert looked(found.memory, value("running"), at=11) == SwitchLook(memory=found.memory)


def test_a_missing_key_is_first_written_as_running() -> None:
    """Only if it is still missing; once, and again when the write did not arrive."""
    first = looked(SwitchMemory(), MISSING)
    assert first.writes == (RedisWrite(state=RUNNING, actor="killswitch"),)
    assert (effective(first.memory), first.audits) == (RUNNING, ())
    soon = looked(first.memory, MISSING, at=10 + WRITE_AGAIN_S - 0.25)
    assert soon == SwitchLook(memory=first.memory)
    again = looked(first.memory, MISSING, at=10 + WRITE_AGAIN_S)
    assert again.writes == first.writes
    assert looked(again.memory, value("running"), at=16).memory.asked_at is None


@pytest.mark.parametrize(
    ("last", "severity"),
    [(PAUSE, Severity.WARNING), (HALT, Severity.CRITICAL), (KILL, Severity.CRITICAL)],
)
def test_a_state_that_was_flushed_is_kept_written_back_and_told_once(
    last: SwitchState, severity: Severity
) -> None:
    """With the name of who had set it (lesson 16)."""
    found = looked(held(RUNNING, last), MISSING)
    assert found.writes == (RedisWrite(state=last, actor="bob"),)
    assert told(found) == [("switch_restored", severity)]
    again = looked(found.memory, MISSING, at=10 + WRITE_AGAIN_S)
    assert (again.writes, again.audits) == (found.writes, ())


def test_a_server_that_comes_back_without_its_data_has_said_nothing_yet() -> None:
    """Somebody may have set kill while we could not see it: a value ends the halt, ours too."""
    silent = looked(held(RUNNING, RUNNING), SILENT).memory
    empty = looked(silent, MISSING, at=20)
    assert (effective(empty.memory), len(empty.writes)) == (HALT, 1)
    assert effective(looked(empty.memory, value("running"), at=21).memory) is RUNNING


def test_an_unknown_value_loosens_nothing_and_is_told_once() -> None:
    """Kill, then a slip of the keyboard: kill stays."""
    found = looked(held(RUNNING, KILL), value("kil"))
    assert (effective(found.memory), found.transitions) == (KILL, ())
    assert told(found) == [("switch_unreadable", Severity.WARNING)]
    assert "'kil' is no state and counts as halt; kill stays" in found.audits[0].message
    assert looked(found.memory, value("kil"), at=11) == SwitchLook(memory=found.memory)
    assert effective(looked(found.memory, value("halt"), at=12).memory) is HALT


def test_a_long_value_is_not_repeated() -> None:
    """Whatever somebody pasted there: a part of a key would be masked by nobody."""
    found = looked(held(RUNNING, RUNNING), value("x" * 41))
    assert found.memory.redis is not None
    assert found.memory.redis.reason == "a text of 41 characters is no state and counts as halt"


def test_silence_is_told_once_and_remembered_from_its_first_look() -> None:
    """Later looks have nothing new, whatever reason they give."""
    found = looked(held(RUNNING, RUNNING), SILENT)
    assert told(found) == [("switch_silent", Severity.CRITICAL)]
    assert (found.memory.silent_since, found.memory.silent_why) == (NOON + 10, "refused")
    later = looked(found.memory, RedisSilent(why="slow"), at=11)
    assert later == SwitchLook(memory=found.memory)


# --- the local store ----------------------------------------------------------------------------


def test_a_row_that_cannot_be_read_changes_nothing() -> None:
    """The last one holds."""
    switch = held(KILL)
    assert looked(switch) == SwitchLook(memory=switch)


def test_a_change_of_the_row_is_told_and_not_recorded_again() -> None:
    """Whoever wrote the row wrote its transition."""
    row = setting(HALT, revision=1, at=9, actor="ann", reason="news")
    found = looked(SwitchMemory(), local=row)
    change = SwitchTransition(
        at=NOON + 9, old=RUNNING, new=HALT, store=LOCAL, actor="ann", reason="news"
    )
    assert (found.transitions, found.recorded, found.record) == ((change,), (), None)
    assert found.memory.local == row
    assert told(found) == [("switch_changed", Severity.CRITICAL)]


def test_a_newer_row_loosens() -> None:
    """That is how an accepted request takes effect."""
    found = looked(held(KILL), local=setting(RUNNING, revision=4, actor="ann"))
    assert effective(found.memory) is RUNNING


@pytest.mark.parametrize("revision", [0, 2, 3])
def test_an_old_copy_of_the_row_loosens_nothing(revision: int) -> None:
    """A restored backup, or a lost file: what was known is written over it."""
    found = looked(held(KILL), local=setting(RUNNING, revision=revision))
    kept = replace(held(KILL).local, revision=revision + 1)
    assert found.memory.local == kept
    assert found.record == found.memory
    assert [(one.old, one.new, one.actor) for one in found.recorded] == [
        (RUNNING, KILL, "killswitch")
    ]
    assert told(found) == [("switch_restored", Severity.CRITICAL)]
    pending = looked(found.memory, local=setting(RUNNING, revision=revision))
    assert pending == SwitchLook(memory=found.memory)
    written = looked(found.memory, local=kept)
    assert (written.memory, written.record) == (replace(held(KILL), local=kept), None)
    again = looked(written.memory, local=setting(RUNNING, revision=revision))
    assert again.record == found.record


def test_the_first_kill_is_written_again_into_a_file_that_never_had_it() -> None:
    """It was seen in a file that the guard then put aside; there it was the first write."""
    seen = looked(SwitchMemory(), local=setting(KILL, revision=1, actor="ann"))
    found = looked(seen.memory, local=SwitchSetting())
    assert found.record is not None
    assert (found.record.local.state, found.record.local.revision) == (KILL, 1)


def test_an_old_copy_that_is_as_severe_is_believed() -> None:
    """Nothing is loosened by it, and the next write must fit its count."""
    row = setting(KILL, revision=1, actor="ann")
    found = looked(held(HALT), local=row)
    assert found.memory.local == row
    repeated = looked(found.memory, local=replace(row, revision=2))
    assert (repeated.memory.local.revision, repeated.audits) == (2, ())


def test_both_stores_in_one_look() -> None:
    """A kept local row and a new value of Redis are written together."""
    found = looked(held(KILL, RUNNING), value("halt"), local=setting(RUNNING, revision=1))
    assert found.record == found.memory
    assert (found.memory.local.revision, effective(found.memory)) == (2, KILL)
    assert [one.store for one in found.recorded] == [LOCAL, REDIS]
    assert [one.event for one in found.audits] == ["switch_changed", "switch_restored"]
    assert "the switch is still kill" in found.audits[0].message


# --- nothing loosens by itself ------------------------------------------------------------------

FAILING = st.sampled_from([None, SILENT, MISSING, UNKNOWN, value(""), value("KILLED")])
STATES = st.sampled_from(list(SwitchState))


def no_milder(known: SwitchState) -> st.SearchStrategy[SwitchState]:
    """A state that is as severe at least."""
    return st.sampled_from(list(SwitchState)[known.severity :])


def rows(known: SwitchSetting) -> st.SearchStrategy[SwitchSetting | None]:
    """A local row that was not read, is no newer than the known one, or tightens it."""
    newest = known.revision
    old = st.builds(setting, STATES, revision=st.integers(0, newest))
    return (
        st.none() | old | st.builds(setting, no_milder(known.state), revision=st.just(newest + 1))
    )


def values(known: SwitchSetting | None) -> st.SearchStrategy[RedisSeen | None]:
    """Anything that may fail, and a value that is no milder than the last."""
    last = RUNNING if known is None else known.state
    return FAILING | st.builds(value, no_milder(last))


@given(st.data(), STATES, st.none() | STATES, st.integers(1, 8))
def test_without_an_explicit_milder_value_nothing_ever_loosens(
    data: st.DataObject, local: SwitchState, redis: SwitchState | None, looks: int
) -> None:
    """What the stores stand for never; what counts only where a value ends a silence."""
    switch = held(local, redis)
    for number in range(looks):
        seen = SwitchSeen(
            local=data.draw(rows(switch.local)), redis=data.draw(values(switch.redis))
        )
        after = look(switch, seen, policy=LIVE, now=NOON + number).memory
        assert explicit(after).severity >= explicit(switch).severity
        if not isinstance(seen.redis, RedisValue):
            assert effective(after).severity >= effective(switch).severity
        switch = after


# --- orders and the lock ------------------------------------------------------------------------


@pytest.mark.parametrize("state", SwitchState)
def test_a_halt_that_somebody_set_cancels_at_once(state: SwitchState) -> None:
    """Halt and kill of either store."""
    for switch in (held(state), held(RUNNING, state)):
        assert cancels_entries(switch, policy=LIVE, now=NOON) == (state in (HALT, KILL))


@pytest.mark.parametrize(("after_s", "is_due"), [(0, False), (29.9, False), (30, True)])
def test_a_silent_redis_cancels_after_its_grace(after_s: float, is_due: bool) -> None:
    """A network that stutters costs no orders."""
    policy = replace(LIVE, switch=SwitchPolicy(redis_grace_s=30.0))
    switch = looked(held(PAUSE), SILENT).memory
    assert cancels_entries(switch, policy=policy, now=NOON + 10 + after_s) == is_due


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        (held(RUNNING, RUNNING), None),
        (held(PAUSE), (LockMode.PAUSE, "operator_pause", 0, False, Stage.NORMAL)),
        (held(RUNNING, HALT), (LockMode.HALT, "operator_halt", 0, False, Stage.NORMAL)),
        (held(KILL, HALT), (LockMode.KILL, "operator_kill", 0, True, Stage.LOCKDOWN)),
        (
            looked(held(PAUSE, RUNNING), SILENT).memory,
            (LockMode.HALT, "operator_redis_silent", 10, False, Stage.NORMAL),
        ),
        (
            looked(held(HALT, RUNNING), SILENT).memory,
            (LockMode.HALT, "operator_halt", 0, False, Stage.NORMAL),
        ),
    ],
)
def test_the_switch_locks_every_book(
    switch: SwitchMemory,
    expected: tuple[LockMode, str, float, bool, Stage] | None,
    dry_run: bool,
) -> None:
    """One entry on every scope, since the state holds, until the switch lifts it."""
    locks = operator_locks(switch, dry_run=dry_run)
    if expected is None:
        assert locks == ()
        return
    mode, reason, since, is_manual, stage = expected
    assert locks == (
        LockEntry(
            scope=EVERY_BOOK,
            stage=stage,
            mode=mode,
            reason=reason,
            created_ts=NOON + since,
            expires_ts=FOREVER_TS,
            manual_reset_required=is_manual,
            dry_run=dry_run,
            details=locks[0].details,
        ),
    )


def test_the_lock_names_who_holds_the_switch() -> None:
    """Both stores, and a silence."""
    switch = replace(
        looked(held(PAUSE, HALT), SILENT).memory,
        redis=setting(HALT, actor="bob", reason="news"),
    )
    assert operator_locks(switch, dry_run=False)[0].details == (
        ("switch_local", "pause by ann"),
        ("switch_redis", "halt by bob: news"),
        ("redis_silent", "refused"),
    )


# --- loosening ----------------------------------------------------------------------------------


def loosened(switch: SwitchMemory, state: SwitchState) -> switch_rules.Loosening | None:
    """Cem asks for a milder state."""
    return loosen(switch, state, actor="cem", reason="calm", now=NOON + 20)


def test_loosening_writes_both_stores_and_counts_once_it_is_seen() -> None:
    """What is never written loosens nothing."""
    switch = held(KILL, HALT)
    found = loosened(switch, RUNNING)
    assert found is not None
    row = setting(RUNNING, revision=4, at=20, actor="cem", reason="calm")
    assert (found.memory, found.record) == (switch, replace(switch, local=row))
    assert found.transitions == (
        SwitchTransition(
            at=NOON + 20, old=KILL, new=RUNNING, store=LOCAL, actor="cem", reason="calm"
        ),
    )
    assert found.writes == (
        RedisWrite(
            state=RUNNING, actor="cem", reason="calm", is_only_if_missing=False, replaces=HALT
        ),
    )
    seen = looked(switch, value("running", actor="cem"), local=row, at=21)
    assert effective(seen.memory) is RUNNING


def test_only_what_holds_more_is_loosened() -> None:
    """Kill in Redis, pause here: to halt, Redis alone is told."""
    found = loosened(held(PAUSE, KILL), HALT)
    assert found is not None
    assert (found.transitions, len(found.writes)) == ((), 1)
    assert found.record == held(PAUSE, KILL)


@pytest.mark.parametrize("state", [HALT, KILL])
def test_what_would_not_loosen_is_nothing(state: SwitchState) -> None:
    """Tightening needs no request."""
    assert loosened(held(HALT, PAUSE), state) is None
    assert loosened(looked(held(HALT), SILENT).memory, state) is None


def test_a_redis_that_is_no_longer_configured_is_lifted_here() -> None:
    """Nobody would ever see it change."""
    switch = replace(held(RUNNING, KILL), has_redis=False)
    found = loosened(switch, PAUSE)
    assert found is not None
    assert found.memory.redis == setting(PAUSE, at=20, actor="cem", reason="calm")
    assert found.record == found.memory
    assert [(one.old, one.new, one.store) for one in found.transitions] == [(KILL, PAUSE, REDIS)]


# --- a lost database ----------------------------------------------------------------------------


def entry(mode: LockMode, reason: str, *, scope: str = EVERY_BOOK, ends: float = 0) -> LockEntry:
    """A lock of the file, made at noon."""
    return LockEntry(
        scope=scope,
        stage=Stage.NORMAL,
        mode=mode,
        reason=reason,
        created_ts=NOON,
        expires_ts=NOON + ends if ends else FOREVER_TS,
        details=(("switch_redis", "halt by bob"),),
    )


def test_the_operators_lock_is_adopted_as_the_local_state() -> None:
    """The most severe one, with what it says of who had set it."""
    locks = (entry(LockMode.PAUSE, "operator_pause"), entry(LockMode.HALT, "operator_halt"))
    adopted = switch_rules.adopt_entries(held(PAUSE), locks, now=NOON + 5)
    assert adopted is not None
    assert adopted.local == SwitchSetting(
        state=HALT,
        since=NOON,
        actor="killswitch",
        reason="operator_halt in the lock file (switch_redis: halt by bob)",
        revision=4,
    )
    audit = switch_rules.adoption_audit(
        held(PAUSE), adopted, source="lost", now=NOON + 5, dry_run=True
    )
    assert (audit.severity, audit.dry_run, audit.mode) == (Severity.CRITICAL, True, "halt")
    change = switch_rules.adoption(held(PAUSE), adopted, now=NOON + 5)
    assert (change.at, change.old, change.new, change.store) == (NOON + 5, PAUSE, HALT, LOCAL)


def test_a_silence_is_adopted_as_a_halt() -> None:
    """With the database what Redis had said before is lost as well."""
    lock = replace(entry(LockMode.HALT, "operator_redis_silent"), details=())
    adopted = switch_rules.adopt_entries(SwitchMemory(), (lock,), now=NOON)
    assert adopted is not None
    assert (adopted.local.state, adopted.local.reason) == (
        HALT,
        "operator_redis_silent in the lock file",
    )


@pytest.mark.parametrize(
    "lock",
    [
        entry(LockMode.KILL, "operator_kill", scope="binance_futures"),
        entry(LockMode.HALT, "state_lost"),
        entry(LockMode.HALT, "operator_halt", ends=1),
        entry(LockMode.PAUSE, "operator_pause"),
        entry(LockMode.STAGE, "operator_stage"),
    ],
)
def test_nothing_else_is_adopted(lock: LockEntry) -> None:
    """A book's own kill, another halt, what has run out, what is milder, what is no state."""
    assert switch_rules.adopt_entries(held(HALT), (lock,), now=NOON + 5) is None
