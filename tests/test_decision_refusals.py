"""Confirmed stages that may not act: refused aloud, once, and not for longer than needed."""

from __future__ import annotations

from memory import AuditEntry, Memory, Severity
from policy import Policy
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    FALLING_WALLET,
    NOON,
    ONE,
    ONLY_ONE,
    ONLY_THREE,
    THREE,
    TWO,
    Guard,
    at_stage_1,
    live,
    losing,
    resting,
    seen,
    told,
)

# --- refusals -----------------------------------------------------------------------------------


def test_a_cooldown_refuses_once_and_the_stage_acts_when_it_is_over() -> None:
    """Stage 1 rests until 40 s: the third reading is refused and told, the one at 40 s acts."""
    guard = Guard(policy=ONLY_ONE, memory=Memory(books=(resting(ONE, 40),)))
    guard.look(seen(0, *losing(0.0), ledger=()))
    assert [told(guard.lose(at, 0.05)) for at in (10, 13, 16, 19, 22, 37)] == [
        [],
        [],
        [(ONE, "SAME_STAGE_COOLDOWN")],
        [],
        [],
        [],
    ]
    assert guard.events.count("trigger_refused") == 1
    decision = guard.lose(40, 0.05)
    assert [one.incident.stage for one in decision.opened] == [ONE]
    assert told(decision) == []


def test_a_refusal_is_a_warning_with_its_reason() -> None:
    """What a person reads when a confirmed loss is not acted upon."""
    guard = Guard(policy=ONLY_ONE, memory=Memory(books=(resting(ONE, 40),)))
    guard.look(seen(0, *losing(0.0), ledger=()))
    for at in (10, 13, 16):
        decision = guard.lose(at, 0.05)
    assert decision.records.audits == (
        AuditEntry(
            at=NOON + 16,
            scope=BOOK,
            event="trigger_refused",
            message="REDUCED_TOP_RISK is confirmed but may not act: "
            "this stage has acted and its cooldown is not over",
            stage=ONE,
            severity=Severity.WARNING,
            details=(("reason", "SAME_STAGE_COOLDOWN"),),
        ),
    )


def test_a_reading_that_adds_nothing_does_not_repeat_a_refusal() -> None:
    """Stage 1 is refused at 16 s; the second reading for stage 3 comes a second later."""
    guard = Guard(memory=Memory(books=(resting(ONE, 1_000),)), policy=without_stage_2())
    guard.look(seen(0, *losing(0.0), ledger=()))
    guard.lose(10, 0.05)
    guard.lose(13, 0.05)
    assert told(guard.lose(16, 0.10)) == [(ONE, "SAME_STAGE_COOLDOWN")]
    assert told(guard.lose(17, 0.09, is_second=True)) == []


def without_stage_2() -> Policy:
    """Stages 1 and 3 alone."""
    return live(stages=(BOOK_POLICY.stages[0], BOOK_POLICY.stages[2]))


def test_a_refusal_after_the_wait_for_records_is_told() -> None:
    """Complete at 17 s but waiting, refused when that is over: told then, and only then."""
    guard = Guard(policy=ONLY_THREE, memory=Memory(books=(resting(THREE, 1_000),)))
    guard.look(seen(0, *losing(0.0), ledger=()))
    for at, wallet in (*FALLING_WALLET, (17, 8_900.0)):
        assert told(guard.look(seen(at, *losing(0.0), wallet=wallet))) == []
    assert told(guard.look(seen(20, *losing(0.0), wallet=8_900.0, has_waited=True))) == [
        (THREE, "SAME_STAGE_COOLDOWN")
    ]
    assert told(guard.look(seen(23, *losing(0.0), wallet=8_900.0))) == []


def test_a_streak_that_begins_anew_is_refused_anew() -> None:
    """The breach ends and comes back within the cooldown: a second refusal."""
    guard = Guard(policy=ONLY_ONE, memory=Memory(books=(resting(ONE, 1_000),)))
    guard.look(seen(0, *losing(0.0), ledger=()))
    for at, fraction in ((10, 0.05), (13, 0.05), (16, 0.05), (19, 0.0)):
        guard.lose(at, fraction)
    for at in (22, 25, 28):
        guard.lose(at, 0.05)
    assert guard.events == ["trigger_refused", "trigger_refused"]


def test_a_resting_stage_3_does_not_silence_stage_2() -> None:
    """Doing less is better than doing nothing; that stage 3 may not act is told beside it."""
    guard = Guard(memory=Memory(books=(resting(THREE, 1_000),)))
    guard.look(seen(0, *losing(0.0), ledger=()))
    guard.lose(10, 0.10)
    decision = guard.lose(13, 0.10)
    assert [one.incident.stage for one in decision.opened] == [TWO]
    assert told(decision) == [(THREE, "SAME_STAGE_COOLDOWN")]
    assert [audit.event for audit in decision.records.audits] == ["trigger_refused", "trigger"]


def test_the_streak_of_an_open_incident_is_no_refusal() -> None:
    """The breach goes on while the incident is carried out: nothing is refused, nothing told."""
    guard = at_stage_1()
    for at in (19, 22, 25):
        guard.lose(at, 0.05)
    assert guard.events == ["trigger"]
