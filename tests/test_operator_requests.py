"""Requests: what a reset and a flow by hand do, what refuses them, and that all are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from book_locks import REASON_STATE_LOST, halt_lock
from decision import Decision, Observation
from lock_document import LockContent, LockMode
from memory import (
    AuditEntry,
    BookMemory,
    IncidentStatus,
    Memory,
    Records,
    RequestAnswer,
    Severity,
    TargetStatus,
)
from model import BookName, OperatorRequest, Stage
from tests.decision_values import (
    BOOK,
    DRY,
    LIVE,
    NOON,
    ONE,
    SCOPE,
    THREE,
    Guard,
    asked,
    at_stage_1,
    at_stage_3,
    calm,
    dark,
    flat,
    held,
    losing,
    seen,
)


def answer_of(decision: Decision) -> tuple[bool, str]:
    """Whether the one request was carried out, and what it was told."""
    (answer,) = decision.records.answers
    return answer.accepted, answer.message


# --- every request is answered ------------------------------------------------------------------


def test_every_request_of_a_tick_gets_its_own_answer() -> None:
    """Known, unknown and senseless ones side by side, in the order they came."""
    guard = calm()
    decision = guard.ask(
        5,
        asked("reset", number=7),
        asked("dance", number=8),
        asked("flow", number=9, amount="much"),
        asked("reset", number=10, book="gone"),
        OperatorRequest(request_id=11, at=NOON, actor="ann@desk", command="reset"),
    )
    assert [(a.request_id, a.at, a.accepted) for a in decision.records.answers] == [
        (7, NOON + 5, True),
        (8, NOON + 5, False),
        (9, NOON + 5, False),
        (10, NOON + 5, False),
        (11, NOON + 5, False),
    ]
    assert [a.message for a in decision.records.answers[1:]] == [
        "this version does not know the command 'dance'",
        "'much' is not an amount",
        "there is no book 'gone': binance_futures",
        "there is no book '': binance_futures",
    ]


def test_a_refused_request_changes_nothing_but_its_answer() -> None:
    """The whole decision: nothing but the answer, and who asked is on record."""
    guard = at_stage_3()
    before = guard.memory
    assert guard.ask(12, asked("reset", confirmation="stage 3")) == Decision(
        memory=before,
        lock=LockContent(locks=guard.book.locks, dry_run=False),
        records=Records(
            answers=(
                RequestAnswer(
                    request_id=1,
                    at=NOON + 12,
                    accepted=False,
                    message="the book's name must be typed as confirmation",
                ),
            ),
            audits=(
                AuditEntry(
                    at=NOON + 12,
                    scope=BOOK,
                    event="request_refused",
                    message="reset by ann@desk: the book's name must be typed as confirmation",
                    severity=Severity.WARNING,
                    details=(("request_id", 1), ("command", "reset"), ("actor", "ann@desk")),
                ),
            ),
        ),
    )


# --- reset --------------------------------------------------------------------------------------


def test_a_loss_right_after_a_reset_is_seen() -> None:
    """Reset at 4.5 % lost; then 13 % are gone before the next reading: (9,550 - 8,700) / 9,550."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(25, 0.045)
    guard.ask(26, asked("reset"))
    decision = guard.lose(28, 0.13)
    fractions = {round(drawdown.fraction, 6) for drawdown in decision.verdicts[0].drawdowns}
    assert fractions == {round(850 / 9_550, 6)}


def test_a_reset_starts_anew() -> None:
    """Stage 1 is done and rests: NORMAL, measured from the reading at 25 s, armed, unlocked."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(25, 0.045)
    scopes = guard.memory.scopes
    decision = guard.ask(26, asked("reset", reason="reviewed"))
    book = BookMemory(name=BOOK, since=NOON + 26, baseline_at=NOON + 25)
    assert decision == Decision(
        memory=Memory(scopes=scopes, books=(book,)),
        lock=LockContent(dry_run=False),
        records=Records(
            books=(book,),
            answers=(
                RequestAnswer(
                    request_id=1,
                    at=NOON + 26,
                    accepted=True,
                    message="binance_futures is NORMAL; drawdown counts from now; "
                    "its lock is lifted",
                ),
            ),
            audits=(
                AuditEntry(
                    at=NOON + 26,
                    scope=BOOK,
                    event="reset",
                    message="ann@desk reset binance_futures from REDUCED_TOP_RISK: reviewed",
                    stage=ONE,
                    severity=Severity.WARNING,
                    details=(
                        ("actor", "ann@desk"),
                        ("reason", "reviewed"),
                        ("is_forced", False),
                        ("abandoned", None),
                        ("missed", ""),
                    ),
                ),
            ),
        ),
    )


def test_the_old_peak_does_not_fire_again_after_a_reset() -> None:
    """The whole 10 % is still in the window; only what is lost from now on counts."""
    guard = flat()
    assert answer_of(guard.ask(26, asked("reset", confirmation=BOOK)))[0]
    for at in (30, 33, 36, 39):
        decision = guard.look(seen(at, wallet=9_000.0))
        assert (decision.opened, decision.lock.locks) == ((), ())
    assert guard.book.streaks == ()


@pytest.mark.parametrize(
    ("confirmation", "is_accepted"),
    [(BOOK, True), (f" {BOOK} ", True), ("", False), ("yes", False), ("BINANCE_FUTURES", False)],
)
def test_stage_3_is_reset_only_under_its_name(confirmation: str, is_accepted: bool) -> None:
    """A slip of the keyboard must not let the bots trade."""
    guard = flat()
    decision = guard.ask(26, asked("reset", confirmation=confirmation))
    assert answer_of(decision)[0] is is_accepted
    assert guard.book.stage is (Stage.NORMAL if is_accepted else THREE)
    assert bool(decision.lock.locks) is not is_accepted


def test_force_does_not_waive_the_confirmation() -> None:
    """Nor does a reading that is fresh."""
    guard = at_stage_3()
    decision = guard.ask(12, asked("reset", force="true"))
    assert answer_of(decision) == (False, "the book's name must be typed as confirmation")


@pytest.mark.parametrize(
    ("at", "is_accepted"),
    [
        (50.0, True),  # the reading of 25 s is 25 s old
        (50.1, False),  # max_reading_age_s is 25: it is no reading any more
        (0.0, True),  # the clock was set back by as much
        (-0.1, False),  # or by more: nobody knows how old the reading is
    ],
)
def test_a_reset_needs_a_fresh_reading(at: float, is_accepted: bool) -> None:
    """What loosens must know what it lets go."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(25, 0.045)
    decision = guard.ask(at, asked("reset"))
    refusal = "there is no fresh reading that can be trusted"
    assert answer_of(decision)[0] is is_accepted
    assert is_accepted or answer_of(decision)[1] == refusal


def test_a_reset_waits_for_the_end_of_a_doubt() -> None:
    """Half of the equity is in doubt: reset now, and its loss would be measured from nothing."""
    guard = calm()
    guard.look(seen(10, *losing(0.0), wallet=5_000.0))
    assert not answer_of(guard.ask(11, asked("reset")))[0]
    guard.look(seen(13, *losing(0.0)))
    assert answer_of(guard.ask(14, asked("reset")))[0]


def test_a_scope_that_was_never_read_is_not_fresh() -> None:
    """Before the first reading only force resets."""
    guard = Guard()
    assert not answer_of(guard.ask(0, asked("reset")))[0]
    assert answer_of(guard.ask(0, asked("reset", force="true")))[0]


def test_an_unresolved_close_refuses_a_reset() -> None:
    """The executor still has something to close."""
    guard = at_stage_1()
    decision = guard.ask(17, asked("reset"))
    assert answer_of(decision) == (False, "a close is not confirmed yet")
    assert guard.incident.status is IncidentStatus.OPEN


def test_a_forced_reset_names_what_it_abandons() -> None:
    """The incident ends ABANDONED, its open target MISSED, in record, answer and audit."""
    guard = at_stage_3()
    running = guard.incident
    partly = replace(
        running, targets=(replace(running.targets[0], status=TargetStatus.HELD), running.targets[1])
    )
    guard.report(15, partly)
    decision = guard.ask(40, asked("reset", confirmation=BOOK, force="true"))
    ended = replace(
        partly,
        status=IncidentStatus.ABANDONED,
        ended_at=NOON + 40,
        targets=(partly.targets[0], replace(partly.targets[1], status=TargetStatus.MISSED)),
    )
    assert decision.records.incidents == (ended,)
    assert answer_of(decision) == (
        True,
        "binance_futures is NORMAL; drawdown counts from now; its lock is lifted; "
        "the open incident was abandoned, not at target: BTCUSDT LONG 50 -> 0",
    )
    assert [(one.event, one.message) for one in decision.records.audits] == [
        (
            "incident_abandoned",
            "ALL_CLOSED ABANDONED: SOLUSDT SHORT 100 -> 0 HELD, BTCUSDT LONG 50 -> 0 MISSED; "
            "missed: BTCUSDT LONG 50 -> 0",
        ),
        ("reset", "ann@desk reset binance_futures from ALL_CLOSED by force"),
    ]
    assert dict(decision.records.audits[1].details)["abandoned"] == running.incident_id
    assert decision.lock.locks == ()


def test_a_reset_between_the_last_close_and_its_confirmation_abandons_nothing_open() -> None:
    """All targets hold, the second look is still to come: said so, and warned of."""
    guard = at_stage_1()
    guard.report(18, held(guard.incident))
    decision = guard.ask(19, asked("reset"))
    assert answer_of(decision)[1].endswith(
        "the open incident was abandoned, all of its targets were reached"
    )
    assert decision.records.audits[0].severity is Severity.WARNING


def test_a_reset_forgets_a_breach_that_was_being_confirmed() -> None:
    """A streak of 2 is gone: a third reading in breach would be measured from the reset."""
    guard = calm()
    guard.lose(10, 0.05)
    guard.lose(13, 0.05)
    guard.ask(14, asked("reset"))
    assert guard.lose(16, 0.05).opened == ()
    assert guard.book.streaks == ()


def test_a_reset_lifts_no_blind_lock_and_says_so() -> None:
    """Only sight lifts it; the answer does not promise otherwise."""
    guard = calm()
    guard.look(dark(120))
    decision = guard.ask(121, asked("reset", force="true"))
    assert answer_of(decision) == (
        True,
        "binance_futures is NORMAL; drawdown counts from now; "
        "still locked by blind_binance_futures",
    )
    assert [one.mode for one in decision.lock.locks] == [LockMode.BLIND]


def test_a_reset_lifts_the_halt_of_a_lost_database() -> None:
    """It is the only thing that does, and it binds in a dry run as well."""
    halt = halt_lock(BOOK, now=NOON, dry_run=True, reason=REASON_STATE_LOST)
    guard = Guard(policy=DRY, memory=Memory(books=(BookMemory(name=BOOK, locks=(halt,)),)))
    assert guard.look(seen(0, *losing(0.0))).lock.locks == (halt,)
    assert guard.ask(5, asked("reset")).lock.locks == ()


def test_a_dry_run_is_reset_like_a_live_one() -> None:
    """Its record says that it was a dry run."""
    guard = at_stage_3(DRY)
    assert not answer_of(guard.ask(12, asked("reset")))[0]
    decision = guard.ask(12, asked("reset", confirmation=BOOK))
    assert decision.records.audits[0].dry_run
    assert (guard.book.stage, decision.lock.would_lock) == (Stage.NORMAL, ())


# --- a flow by hand -----------------------------------------------------------------------------


def test_a_flow_by_hand_takes_effect_at_the_step_it_explains() -> None:
    """400 left between 0 and 10 s and no record shows it: 4 % down, and after booking 0 %."""
    guard = calm()
    guard.look(seen(10, *losing(0.0), wallet=9_600.0))
    decision = guard.ask(12, asked("flow", number=3, amount="-400", reason="card"))
    flow = guard.scope.flows[0]
    assert (flow.record_id, flow.amount, flow.effective_at) == ("by-hand-3", -400.0, NOON + 10)
    assert decision == Decision(
        memory=guard.memory,
        lock=LockContent(dry_run=False),
        records=Records(
            scopes=(guard.scope,),
            flows=(flow,),
            answers=(
                RequestAnswer(
                    request_id=3,
                    at=NOON + 12,
                    accepted=True,
                    message="booked -400.00 on binance_futures",
                ),
            ),
            audits=(
                AuditEntry(
                    at=NOON + 12,
                    scope=BOOK,
                    event="flow_booked",
                    message="ann@desk booked -400.00: card",
                    details=(("amount", -400.0), ("actor", "ann@desk"), ("reason", "card")),
                ),
            ),
        ),
    )
    judged = guard.look(seen(20, *losing(0.0), wallet=9_600.0)).verdicts[0]
    assert {round(one.fraction, 12) for one in judged.drawdowns} == {0.0}


def test_a_flow_by_hand_is_booked_once() -> None:
    """A request that is answered again after a crash books nothing twice."""
    guard = calm()
    guard.ask(5, asked("flow", amount="5"))
    again = guard.ask(6, asked("flow", amount="5"))
    assert answer_of(again)[0]
    assert again.records.flows == ()
    assert [flow.amount for flow in guard.scope.flows] == [5.0]


def test_a_flow_that_leaves_too_little_starts_the_baseline() -> None:
    """10,400 less 400 is under a least equity of 10,200: no peak before it can be scaled."""
    guard = calm(replace(LIVE, min_equity=10_200.0))
    guard.look(seen(10, *losing(0.0), wallet=10_400.0))
    decision = guard.ask(12, asked("flow", amount="400"))
    assert guard.book == BookMemory(name=BOOK, baseline_at=NOON + 10)
    assert decision.records.books == (guard.book,)


def test_a_baseline_never_moves_back() -> None:
    """The step lies before the last reset."""
    guard = calm(replace(LIVE, min_equity=10_200.0))
    for at in (10, 11):
        guard.look(seen(at, *losing(0.0), wallet=10_400.0))
    guard.ask(12, asked("reset"))
    guard.ask(13, asked("flow", amount="400"))
    assert guard.book.baseline_at == NOON + 11


@pytest.mark.parametrize("amount", ["", "much", "nan", "inf", "-inf", "0", "1e15", "-1e300"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    """It would be booked for ever and change every drawdown."""
    guard = calm()
    decision = guard.ask(5, asked("flow", amount=amount))
    assert answer_of(decision) == (False, f"{amount!r} is not an amount")
    assert guard.scope.flows == ()


def test_a_flow_may_be_booked_before_the_first_reading() -> None:
    """It waits, and changes nothing that is measured later."""
    guard = Guard()
    assert answer_of(guard.ask(0, asked("flow", amount="-400")))[0]
    guard.look(seen(5, *losing(0.0), ledger=()))
    assert guard.lose(8, 0.0).verdicts[0].drawdowns[0].fraction == 0.0
    assert guard.scope.units == 1.0


def test_a_reset_and_a_reading_may_come_in_one_tick() -> None:
    """Requests are answered first; the reading is then judged from the new baseline."""
    guard = calm()
    guard.lose(10, 0.10)
    decision = guard.settle(
        Observation(
            now=NOON + 11,
            scopes=(seen(11, *losing(0.10), is_second=True),),
            requests=(asked("reset"),),
        )
    )
    assert answer_of(decision)[0]
    assert decision.opened == ()


def test_other_books_are_left_alone() -> None:
    """A reset names one book."""
    other = BookMemory(name=BookName("other"), stage=THREE)
    guard = calm()
    guard.memory = replace(guard.memory, books=(*guard.memory.books, other))
    guard.ask(5, asked("reset"))
    assert guard.memory.book(BookName("other")) == other
    assert guard.memory.scope(SCOPE).flows == ()


# --- ack ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "said"),
    [("", "ann@desk has seen what sounds"), ("on it", "ann@desk has seen what sounds: on it")],
)
def test_an_acknowledgement_is_an_entry_of_the_audit_and_nothing_else(
    reason: str, said: str
) -> None:
    """It names no book and changes none: what sends alerts takes the entry as its cue."""
    guard = calm()
    before = guard.memory
    decision = guard.ask(5, asked("ack", book="", reason=reason))
    assert answer_of(decision) == (
        True,
        "repeats are silent until something new or more severe comes; nothing else changes",
    )
    assert decision.records.audits == (
        AuditEntry(
            at=NOON + 5,
            scope="*",
            event="alerts_acknowledged",
            message=said,
            details=(("actor", "ann@desk"), ("reason", reason)),
        ),
    )
    assert decision.memory == before
