"""The whole decision of a tick: what a reading, a report or a request makes of what is known."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from decision import Decision, Observation, ScopeVerdict, decide
from drawdown import WindowDrawdown
from errors import InvariantViolation
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Incident,
    IncidentReport,
    IncidentStatus,
    Memory,
    Records,
    ScopeMemory,
    Severity,
    Streak,
    TargetStatus,
)
from model import (
    FOREVER_TS,
    BookPolicy,
    LockContent,
    LockEntry,
    LockMode,
    Policy,
    ScopeId,
    Source,
    SourceMode,
    Stage,
    Symbol,
    Trust,
    Want,
)
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    BTC,
    COOLDOWN,
    DRY,
    ETH,
    HOUR,
    LIVE,
    NOON,
    ONE,
    SCOPE,
    SOL,
    THREE,
    TWO,
    Guard,
    asked,
    at_stage_1,
    at_stage_3,
    calm,
    dark,
    held,
    live,
    losing,
    position,
    remains,
    seen,
    sol,
    transfer,
)
from trust import observe_scope

NORMAL = Stage.NORMAL
ONLY_ONE = live(stages=BOOK_POLICY.stages[:1])
ONLY_THREE = live(stages=BOOK_POLICY.stages[2:])
FALLING_WALLET = ((10, 9_600.0), (13, 9_200.0), (16, 8_900.0))
"""Steps of 4.0, 4.2 and 3.3 % that no price explains, none of them large enough to be doubted."""


def drawdowns_of(
    policy: BookPolicy, decision: Decision, *, fraction: float, breached: tuple[Stage, ...]
) -> tuple[WindowDrawdown, ...]:
    """The same drawdown in every window, from the first point of the history."""
    peak = next(decision.memory.scope(SCOPE).history.points())
    return tuple(
        WindowDrawdown(
            stage=stage.stage,
            window_s=threshold.window_s,
            threshold=threshold.fraction,
            fraction=pytest.approx(fraction),  # type: ignore[arg-type]
            peak=peak,
            peak_equity=10_000.0,
            is_breach=stage.stage in breached and threshold.window_s <= 900.0,
            is_judged=True,
        )
        for stage in policy.stages
        for threshold in stage.thresholds
    )


# --- whole decisions ----------------------------------------------------------------------------


def test_the_first_reading_is_remembered_and_changes_nothing() -> None:
    """10,000 and no history: trusted, no drawdown, no lock, nothing to do."""
    first = seen(0, *losing(0.0), ledger=())
    step = observe_scope(
        ScopeMemory(scope=SCOPE),
        first,
        policy=LIVE,
        now=NOON,
        breach_equity=None,
        running_streak=False,
    )
    decision = decide(Memory(), Observation(now=NOON, scopes=(first,)), LIVE)
    assert step.record is not None
    assert decision == Decision(
        memory=Memory(scopes=(step.memory,), books=(BookMemory(name=BOOK),)),
        lock=LockContent(dry_run=False),
        records=Records(readings=(step.record,), scopes=(step.memory,)),
        verdicts=(
            ScopeVerdict(
                scope=SCOPE,
                trust=Trust.TRUSTED,
                equity=10_000.0,
                drawdowns=drawdowns_of(BOOK_POLICY, decision, fraction=0.0, breached=()),
                wants=(Want.LEDGER,),
            ),
        ),
    )


def test_stage_1_opens_on_its_third_reading() -> None:
    """4.5 % at 10, 13 and 16 s; the short lost 450: half of it may remain, bots are locked."""
    guard = calm()
    for at in (10, 13):
        assert guard.lose(at, 0.045).opened == ()
    before = guard.memory
    third = seen(16, *losing(0.045))
    step = observe_scope(
        before.scope(SCOPE),
        third,
        policy=LIVE,
        now=NOON + 16,
        breach_equity=9_550.0,
        running_streak=True,
    )
    decision = guard.look(third)
    incident = Incident(
        incident_id=decision.opened[0].incident.incident_id,
        book=BOOK,
        stage=ONE,
        mode="CLOSE_TOP_RISK_CONTRIBUTORS",
        source=Source.SHORT,
        opened_at=NOON + 16,
        dry_run=False,
        reason="drawdown 4.50% over 15m reached 4.50%",
        targets=(
            CloseTarget(number=1, key=SOL, may_remain=Decimal(50), initial_quantity=Decimal(100)),
        ),
        last_progress_at=NOON + 16,
    )
    lock = LockEntry(
        scope=BOOK,
        stage=ONE,
        mode=LockMode.STAGE,
        reason="killswitch_stage_1_close_top_risk_contributors",
        created_ts=NOON + 16,
        expires_ts=NOON + 16 + 1_800,
        details=(("incident_id", incident.incident_id), ("cause", incident.reason)),
    )
    book = BookMemory(
        name=BOOK,
        stage=ONE,
        since=NOON + 16,
        streaks=(
            Streak(
                stage=ONE,
                count=3,
                last_counted_at=NOON + 16,
                began_at=NOON + 10,
                is_answered=True,
            ),
        ),
        incident=incident,
        locks=(lock,),
    )
    assert step.record is not None
    assert decision == Decision(
        memory=Memory(scopes=(step.memory,), books=(book,)),
        lock=LockContent(locks=(lock,), dry_run=False),
        records=Records(
            readings=(step.record,),
            scopes=(step.memory,),
            books=(book,),
            incidents=(incident,),
            audits=(
                AuditEntry(
                    at=NOON + 16,
                    scope=BOOK,
                    event="trigger",
                    message="REDUCED_TOP_RISK: drawdown 4.50% over 15m reached 4.50%; source SHORT;"
                    " SOLUSDT SHORT 100 -> 50.000.",
                    stage=ONE,
                    mode="CLOSE_TOP_RISK_CONTRIBUTORS",
                    severity=Severity.CRITICAL,
                    details=decision.records.audits[0].details,
                ),
            ),
        ),
        verdicts=(
            ScopeVerdict(
                scope=SCOPE,
                trust=Trust.TRUSTED,
                equity=9_550.0,
                drawdowns=drawdowns_of(BOOK_POLICY, decision, fraction=0.045, breached=(ONE,)),
                is_alert=True,
            ),
        ),
        opened=decision.opened,
    )
    opening = decision.opened[0]
    assert opening.incident == incident
    assert (opening.attribution.losses_short, opening.attribution.losses_long) == (450.0, 0.0)
    assert opening.takes_over is None


def test_an_attempt_without_a_reading_changes_no_book() -> None:
    """The failure is counted, and that is all; the last known drawdown keeps its pace."""
    guard = calm()
    before = guard.book
    decision = guard.look(dark(10))
    scope = decision.memory.scope(SCOPE)
    assert scope.failures == 1
    assert decision == Decision(
        memory=Memory(scopes=(scope,), books=(before,)),
        lock=LockContent(dry_run=False),
        records=Records(scopes=(scope,)),
        verdicts=(ScopeVerdict(scope=SCOPE, trust=Trust.UNAVAILABLE, equity=None),),
    )


def test_a_scope_that_no_book_judges_is_our_own_fault() -> None:
    """Nobody would act on it: better to say so than to look away."""
    with pytest.raises(InvariantViolation, match="no book judges other"):
        decide(
            Memory(),
            Observation(now=NOON, scopes=(replace(dark(0), scope=ScopeId("other")),)),
            LIVE,
        )


def test_a_tick_without_news_is_no_news() -> None:
    """An observation of nothing keeps the memory and writes nothing."""
    guard = calm()
    assert guard.settle(Observation(now=NOON + 5)) == Decision(
        memory=guard.memory, lock=LockContent(dry_run=False), records=Records()
    )


def test_books_and_scopes_of_earlier_settings_are_kept() -> None:
    """What is not configured any more is neither judged nor forgotten, nor is its lock."""
    lock = LockEntry(
        scope="old",
        stage=THREE,
        mode=LockMode.STAGE,
        reason="killswitch_stage_3_close_all_positions",
        created_ts=NOON,
        expires_ts=FOREVER_TS,
        manual_reset_required=True,
    )
    old = BookMemory(name=BOOK.__class__("old"), stage=THREE, locks=(lock,))
    guard = Guard(memory=Memory(scopes=(ScopeMemory(scope=ScopeId("old")),), books=(old,)))
    decision = guard.look(seen(0, *losing(0.0)))
    assert [book.name for book in guard.memory.books] == [BOOK, "old"]
    assert [scope.scope for scope in guard.memory.scopes] == [SCOPE, "old"]
    assert decision.lock.locks == (lock,)
    assert decision.records.books == ()


# --- the three stages with their default settings -----------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "acts_at", "stage", "expected"),
    [
        (0.0449, None, NORMAL, {}),
        (0.045, 16, ONE, {SOL: Decimal(50)}),  # three readings
        (0.0699, 16, ONE, {SOL: Decimal(50)}),
        (0.07, 13, TWO, {SOL: Decimal(0)}),  # two readings
        (0.0999, 13, TWO, {SOL: Decimal(0)}),
        (0.10, 13, THREE, {SOL: Decimal(0), BTC: Decimal(0)}),  # one reading, and once more
        (0.30, 13, THREE, {SOL: Decimal(0), BTC: Decimal(0)}),
    ],
)
def test_stages_act_at_their_thresholds_after_their_confirmations(
    fraction: float, acts_at: float | None, stage: Stage, expected: dict[object, Decimal]
) -> None:
    """The 15 minute thresholds, one reading every 3 s; the highest complete stage wins."""
    guard = calm()
    opened = {at: guard.lose(at, fraction).opened for at in (10, 13, 16)}
    assert [at for at, found in opened.items() if found] == ([] if acts_at is None else [acts_at])
    assert guard.book.stage is stage
    assert remains(() if acts_at is None else guard.incident.targets) == expected


@pytest.mark.parametrize(
    ("hours", "stage"),
    [(7.0, ONE), (7.5, TWO), (9.5, TWO), (10.0, THREE)],
)
def test_a_slow_loss_is_seen_by_the_long_windows(hours: float, stage: Stage) -> None:
    """1 % every half hour: no more than 1.6 % in any hour; 15 % in a day is stage 2, 20 % stage 3.

    Without stage 1, which has no daily window, 7 hours (14 %) would be nothing.
    """
    policy = live(stages=BOOK_POLICY.stages[1:])
    guard = calm(policy)
    for half_hour in range(1, int(hours * 2) + 1):
        guard.lose(half_hour * HOUR / 2, half_hour / 100)
    guard.lose(hours * HOUR + 3, hours / 50)
    assert guard.book.stage is (NORMAL if stage is ONE else stage)


def test_an_hour_counts_for_stage_1() -> None:
    """4 % after 10 minutes, 7 % after 26: 3.1 % in 15 minutes, but 7 % in the hour."""
    guard = calm()
    guard.lose(600, 0.04)
    for at in (1_560, 1_563, 1_566):
        guard.lose(at, 0.07)
    assert guard.book.stage is ONE
    assert guard.incident.reason == "drawdown 7.00% over 1h reached 7.00%"


def test_a_pause_in_the_breach_starts_the_count_anew() -> None:
    """Two readings in breach, one not, then three: the third of these acts."""
    guard = calm()
    for at, fraction in ((10, 0.05), (13, 0.05), (16, 0.04), (19, 0.05), (22, 0.05)):
        assert guard.lose(at, fraction).opened == ()
    assert len(guard.lose(25, 0.05).opened) == 1


def test_a_book_below_the_least_equity_is_shown_and_not_judged() -> None:
    """A peak of 99 is under 100: half of it may go without a stage."""
    guard = Guard()
    guard.look(seen(0, wallet=99.0))
    for at in (10, 13, 16):
        decision = guard.look(seen(at, sol(101.0, "1"), wallet=99.0 - 45.0 * (at > 0)))
    assert guard.book.stage is NORMAL
    assert all(not one.is_breach for one in decision.verdicts[0].drawdowns)


# --- reading twice ------------------------------------------------------------------------------


def test_stage_3_reads_once_more_before_it_acts() -> None:
    """10 % at 10 s asks for a second reading; the one a second later opens the incident."""
    guard = calm()
    first = guard.lose(10, 0.10)
    assert Want.SECOND_READING in first.wants_of(SCOPE)
    assert first.opened == ()
    assert guard.book.streak(THREE).count == 1
    second = guard.lose(11, 0.10, is_second=True)
    assert [one.incident.stage for one in second.opened] == [THREE]
    assert Want.SECOND_READING not in second.wants_of(SCOPE)
    assert guard.locks == [(LockMode.STAGE, THREE, FOREVER_TS - NOON)]
    assert guard.book.manual_reset_required


def test_a_second_reading_too_soon_confirms_nothing() -> None:
    """0.9 s later is not a second look."""
    guard = calm()
    guard.lose(10, 0.10)
    assert guard.lose(10.9, 0.10, is_second=True).opened == ()
    assert guard.book.streak(THREE).count == 1


def test_a_second_reading_without_breach_leaves_the_decision_to_the_next() -> None:
    """A spike that is gone a second later closes nothing; the streak stays 1, and asks no more."""
    guard = calm()
    guard.lose(10, 0.10)
    second = guard.lose(11, 0.04, is_second=True)
    assert (second.opened, guard.book.streak(THREE).count) == ((), 1)
    assert Want.SECOND_READING not in second.wants_of(SCOPE)
    assert [one.incident.stage for one in guard.lose(14, 0.10).opened] == [THREE]


def test_the_next_reading_without_breach_ends_it() -> None:
    """Spike, no spike, no spike: nothing is left of it."""
    guard = calm()
    guard.lose(10, 0.10)
    guard.lose(11, 0.04, is_second=True)
    guard.lose(14, 0.04)
    assert guard.book.streaks == ()
    assert guard.lose(17, 0.10).opened == ()


def test_a_failed_second_reading_confirms_nothing_and_forgets_nothing() -> None:
    """The read fails; the next one in breach acts without asking again."""
    guard = calm()
    guard.lose(10, 0.10)
    guard.look(replace(dark(11), is_second_reading=True))
    assert guard.book.streak(THREE).count == 1
    assert [one.incident.stage for one in guard.lose(14, 0.10).opened] == [THREE]


def test_a_complete_lower_stage_does_not_wait_for_the_second_reading() -> None:
    """7 % then 10 %: stage 2 is complete and acts; stage 3 takes over a second later."""
    guard = calm()
    guard.lose(10, 0.07)
    both = guard.lose(13, 0.10)
    assert [one.incident.stage for one in both.opened] == [TWO]
    assert Want.SECOND_READING in both.wants_of(SCOPE)
    lower = guard.incident
    higher = guard.lose(14, 0.10, is_second=True)
    assert [one.incident.stage for one in higher.opened] == [THREE]
    assert higher.opened[0].takes_over == lower.incident_id
    assert guard.book.stage is THREE


# --- escalation ---------------------------------------------------------------------------------


def test_a_higher_stage_takes_the_open_incident_over() -> None:
    """SOL 100 -> 50 becomes 100 -> 0 under its old number; the first incident ends TAKEN_OVER."""
    guard = at_stage_1()
    lower = guard.incident
    guard.lose(19, 0.07)
    decision = guard.lose(22, 0.07)
    higher = guard.incident
    assert (higher.stage, higher.targets) == (
        TWO,
        (replace(lower.targets[0], may_remain=Decimal(0)),),
    )
    taken_over = replace(lower, status=IncidentStatus.TAKEN_OVER, ended_at=NOON + 22)
    assert decision.records.incidents == (taken_over, higher)
    assert guard.book.cooldowns == (0.0, 0.0, 0.0)
    assert [(stage, until) for _, stage, until in guard.locks] == [
        (ONE, 19 + 1_800),
        (TWO, 22 + 5_400),
    ]
    assert decision.lock.locks[0].stage is TWO


def test_targets_of_both_stages_go_on_with_the_smaller_remainder() -> None:
    """Stage 2 is told to close longs: the short's old target of 50 stays beside BTC at 0."""
    stages = tuple(
        replace(stage, source_mode=SourceMode.LONG) if stage.stage is TWO else stage
        for stage in BOOK_POLICY.stages
    )
    guard = at_stage_1(live(stages=stages))
    guard.lose(19, 0.07)
    guard.lose(22, 0.07)
    assert remains(guard.incident.targets) == {SOL: Decimal(50), BTC: Decimal(0)}
    assert [one.number for one in guard.incident.targets] == [1, 2]


def test_a_higher_stage_acts_during_the_cooldown_of_a_lower_one() -> None:
    """Stage 1 is done and rests; 7 % from the peak of the full window is stage 2's business."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(30, 0.07)
    assert [one.incident.stage for one in guard.lose(33, 0.07).opened] == [TWO]


def test_a_lower_stage_is_blocked_by_a_higher_state_and_says_so_once() -> None:
    """Stage 2 is done. A new 4.5 % (9,300 -> 8,860) confirms stage 1, which may not act."""
    guard = calm(live(stages=BOOK_POLICY.stages[:2]))
    for at in (10, 13):
        guard.lose(at, 0.07)
    guard.finish(18)
    guard.lose(21, 0.07)
    decisions = [guard.lose(at, 0.114) for at in (24, 27, 30, 33, 36)]
    assert [told(decision) for decision in decisions] == [
        [],
        [],
        [(ONE, "LOWER_STAGE")],
        [],
        [],
    ]
    assert guard.book.stage is TWO


# --- refusals -----------------------------------------------------------------------------------


def told(decision: Decision) -> list[tuple[Stage, object]]:
    """The refused triggers of one decision."""
    return [
        (audit.stage, dict(audit.details)["reason"])
        for audit in decision.records.audits
        if audit.event == "trigger_refused"
    ]


def resting(stage: Stage, until: float) -> BookMemory:
    """A NORMAL book of which one stage rests until then (it had nothing to close)."""
    cooldowns = [NOON + until if one is stage else 0.0 for one in (ONE, TWO, THREE)]
    return BookMemory(name=BOOK, cooldowns=(cooldowns[0], cooldowns[1], cooldowns[2]))


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
    """Complete at 17 s but waiting, refused at 20 s with a count of 3: told then, and only then."""
    guard = Guard(policy=ONLY_THREE, memory=Memory(books=(resting(THREE, 1_000),)))
    guard.look(seen(0, *losing(0.0), ledger=()))
    for at, wallet in (*FALLING_WALLET, (17, 8_900.0)):
        assert told(guard.look(seen(at, *losing(0.0), wallet=wallet))) == []
    assert told(guard.look(seen(20, *losing(0.0), wallet=8_900.0))) == [
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


# --- who lost -----------------------------------------------------------------------------------


def test_stage_1_of_an_unknown_source_closes_nothing_but_locks_and_rests() -> None:
    """490 of 10,000 are gone and no price explains it: nobody is known to have lost it."""
    guard = calm(ONLY_ONE)
    for at in (10, 13, 16):
        guard.look(seen(at, *losing(0.0), wallet=9_510.0))
    assert (guard.incident.source, guard.incident.targets) == (Source.UNKNOWN, ())
    assert guard.book.stage is NORMAL
    assert guard.locks == [(LockMode.STAGE, ONE, 16 + 1_800)]
    decision = guard.finish(22)
    assert decision.records.incidents[0].status is IncidentStatus.DONE
    assert guard.book.cooldowns == (NOON + 22 + 1_800, 0.0, 0.0)
    assert guard.book.stage_baselines == (NOON + 22, 0.0, 0.0)
    assert guard.locks == [(LockMode.STAGE, ONE, 22 + 1_800)]


def test_what_is_proven_names_its_loser_while_the_rest_is_in_doubt() -> None:
    """Equity is not a number, but the short lost 5 %: stage 1 acts on what prices show."""
    guard = calm()
    for at in (10, 13, 16):
        decision = guard.look(seen(at, *losing(0.05), equity=math.nan))
    assert decision.verdicts[0].trust is Trust.TRUSTED
    assert decision.verdicts[0].equity == pytest.approx(9_500.0)
    assert guard.incident.source is Source.SHORT
    assert remains(guard.incident.targets) == {SOL: Decimal(50)}


def test_a_proven_stage_3_latches_although_the_venue_shows_no_position() -> None:
    """The short is gone from a reading in doubt; its loss of 15 % is proven by the mark."""
    guard = calm(ONLY_THREE)
    marks = {Symbol("SOLUSDT"): 115.0, Symbol("BTCUSDT"): 100.0}
    for at in (10, 11):
        guard.look(seen(at, equity=math.nan, marks=marks, is_second=at == 11))
    assert guard.incident.targets == ()
    assert guard.book.stage is THREE
    assert guard.book.manual_reset_required


# --- empty plans --------------------------------------------------------------------------------


def test_stage_3_of_an_account_without_positions_rests_and_does_not_latch() -> None:
    """Money is gone, nothing was ever held: cancels, lock and cooldown, but no ALL_CLOSED."""
    guard = Guard(policy=ONLY_THREE)
    guard.look(seen(0, ledger=()))
    for at, wallet in (*FALLING_WALLET, (20, 8_900.0)):
        guard.look(seen(at, wallet=wallet))
    assert guard.incident.stage is THREE
    assert (guard.incident.targets, guard.incident.had_positions_since_peak) == ((), False)
    assert guard.book.stage is NORMAL
    assert guard.locks == [(LockMode.STAGE, THREE, 20 + 21_600)]
    guard.finish(30)
    assert guard.locks == [(LockMode.STAGE, THREE, 30 + 21_600)]
    decision = guard.look(seen(30 + 21_600, wallet=8_900.0))
    assert decision.lock == LockContent(dry_run=False)


def test_stage_3_latches_when_a_position_was_held_since_the_peak() -> None:
    """The short lost 15 % and was closed by somebody before the second reading."""
    guard = calm(ONLY_THREE)
    guard.lose(10, 0.15)
    marks = {Symbol("SOLUSDT"): 115.0, Symbol("BTCUSDT"): 100.0}
    guard.look(seen(11, wallet=8_500.0, marks=marks, is_second=True))
    assert (guard.incident.targets, guard.incident.had_positions_since_peak) == ((), True)
    assert guard.book.stage is THREE
    assert guard.locks == [(LockMode.STAGE, THREE, FOREVER_TS - NOON)]


# --- doubt --------------------------------------------------------------------------------------


def test_doubt_neither_counts_nor_resets() -> None:
    """Two readings in breach, a failed and an implausible one, then the third in breach acts."""
    guard = calm()
    guard.lose(10, 0.045)
    guard.lose(13, 0.045)
    counted = guard.book.streaks
    dark_one = guard.look(dark(16))
    doubted = guard.look(seen(19, *losing(0.0), wallet=7_000.0))
    assert [d.verdicts[0].trust for d in (dark_one, doubted)] == [
        Trust.UNAVAILABLE,
        Trust.SUSPECT,
    ]
    assert [d.verdicts[0].is_alert for d in (dark_one, doubted)] == [True, True]
    assert guard.book.streaks == counted
    assert (dark_one.opened, doubted.opened) == ((), ())
    assert [one.incident.stage for one in guard.lose(22, 0.045).opened] == [ONE]


def test_an_implausible_reading_is_no_loss_and_no_peak() -> None:
    """0, half, and a hundred times the equity without any price that moved: nothing happens."""
    guard = calm()
    for at, equity in ((10, 0.0), (13, 5_000.0), (16, 1_000_000.0), (19, math.inf)):
        decision = guard.look(seen(at, *losing(0.0), equity=equity, ledger=()))
        assert decision.verdicts[0].trust is Trust.SUSPECT
        assert decision.verdicts[0].drawdowns == ()
    assert guard.lose(22, 0.0).verdicts[0].equity == 10_000.0
    assert guard.book == BookMemory(name=BOOK)
    assert guard.events == ["suspect", "suspicion_ended"]


def test_a_failed_read_keeps_the_pace_of_the_last_known_drawdown() -> None:
    """2.3 % is over half of 4.5 %; a failed read is no reason to look less often."""
    guard = calm()
    assert guard.lose(10, 0.023).is_alert(SCOPE)
    assert guard.look(dark(13)).is_alert(SCOPE)
    assert not guard.lose(16, 0.02).is_alert(SCOPE)
    assert not guard.look(dark(19)).is_alert(SCOPE)


def test_nothing_is_known_of_a_scope_that_was_not_observed() -> None:
    """No verdict: nothing wanted, no hurry."""
    decision = decide(Memory(), Observation(now=NOON), LIVE)
    assert (decision.wants_of(SCOPE), decision.is_alert(SCOPE)) == ((), False)


def test_a_fall_that_nothing_explains_is_a_loss_in_the_end() -> None:
    """30 % gone, no record, no price: doubted for 120 s, then stage 3 after a second reading."""
    guard = calm()
    for at in range(10, 130, 10):
        guard.look(seen(at, *losing(0.0), wallet=7_000.0, ledger=()))
        assert guard.book.stage is NORMAL
    guard.look(seen(130, *losing(0.0), wallet=7_000.0, ledger=()))
    decision = guard.look(seen(131, *losing(0.0), wallet=7_000.0, ledger=(), is_second=True))
    assert [one.incident.stage for one in decision.opened] == [THREE]


# --- blindness ----------------------------------------------------------------------------------


def test_a_blind_book_is_locked_until_a_reading_breaches_nothing() -> None:
    """Dark from noon: alert at 60 s, lock at 120 s; 4.5 % lifts nothing, 4 % does."""
    guard = calm()
    for at in (30, 60, 119):
        assert guard.look(dark(at)).lock.locks == ()
    locked = guard.look(dark(120))
    lock = LockEntry(
        scope=BOOK,
        stage=NORMAL,
        mode=LockMode.BLIND,
        reason="blind_binance_futures",
        created_ts=NOON + 120,
        expires_ts=FOREVER_TS,
    )
    assert locked.lock.locks == (lock,)
    assert locked.records.books == (guard.book,)
    still = guard.look(dark(150))
    assert (still.lock.locks, still.records.books, still.records.audits) == ((lock,), (), ())
    assert guard.lose(160, 0.045).lock.locks == (lock,)
    assert guard.lose(163, 0.04).lock.locks == ()
    assert guard.events == ["blind", "blind_lock_set", "sight_regained", "blind_lock_lifted"]


def test_a_guard_that_never_saw_its_account_is_blind() -> None:
    """Start without a venue: counted from the first attempt."""
    guard = Guard()
    guard.look(dark(0))
    assert guard.look(dark(119)).lock.locks == ()
    assert [one.mode for one in guard.look(dark(120)).lock.locks] == [LockMode.BLIND]


def test_a_suspect_reading_lifts_no_blind_lock() -> None:
    """Only a reading that can be trusted shows that there is sight."""
    guard = calm()
    guard.look(dark(120))
    assert len(guard.look(seen(130, *losing(0.0), wallet=5_000.0)).lock.locks) == 1


def test_a_breach_in_doubt_lifts_no_blind_lock() -> None:
    """A deposit of 700 is recorded and not in equity yet: without it, 7 % would be missing."""
    guard = calm()
    guard.look(dark(120))
    pending = guard.look(seen(130, *losing(0.0), ledger=(transfer(129, 700.0),)))
    assert any(one.is_in_doubt for one in pending.verdicts[0].drawdowns)
    assert len(pending.lock.locks) == 1
    assert guard.look(seen(133, *losing(0.0), wallet=10_700.0)).lock.locks == ()


# --- re-arming ----------------------------------------------------------------------------------


def test_re_arming_lifts_the_lock_in_the_same_decision() -> None:
    """Done at 20 s, cooldown 30 minutes: locked until the very reading that arms the book."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(30, 0.045)
    before = guard.lose(1_819, 0.045)
    assert [one.expires_ts - NOON for one in before.lock.locks] == [1_879.0]
    decision = guard.lose(1_820, 0.045)
    assert decision.lock.locks == ()
    assert guard.book == BookMemory(
        name=BOOK,
        since=NOON + 1_820,
        cooldowns=(NOON + 1_820, 0.0, 0.0),
        stage_baselines=(NOON + 20, 0.0, 0.0),
    )
    assert decision.records.audits == (
        AuditEntry(
            at=NOON + 1_820,
            scope=BOOK,
            event="rearmed",
            message="REDUCED_TOP_RISK is over: the book is armed in full; its lock is lifted",
            stage=ONE,
        ),
    )


def test_nothing_re_arms_without_a_trusted_reading() -> None:
    """The cooldown is over, the venue is dark: the lock is kept a minute ahead."""
    guard = at_stage_1()
    guard.finish(20)
    guard.look(dark(1_900))
    assert guard.book.stage is ONE
    assert guard.locks[0] == (LockMode.STAGE, ONE, 1_960.0)


def test_nothing_re_arms_while_a_breach_is_being_confirmed() -> None:
    """A new loss of 5 % in the second in which the cooldown ends: first its streak is judged."""
    guard = at_stage_1(ONLY_ONE)
    guard.finish(20)
    guard.lose(1_810, 0.045)
    assert guard.lose(1_820, 0.10).memory.book(BOOK).stage is ONE
    guard.lose(1_823, 0.10)
    assert [one.incident.stage for one in guard.lose(1_826, 0.10).opened] == [ONE]


def test_nothing_re_arms_while_an_incident_is_open() -> None:
    """The cooldown of an earlier incident is over, the close of this one is not confirmed."""
    guard = at_stage_1()
    guard.lose(19, 0.04)
    assert guard.book.stage is ONE
    assert guard.book.streaks == ()


def test_nothing_re_arms_on_a_breach_in_doubt() -> None:
    """A deposit is on its way: without it the book would be 7 % down. It is waited for."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(1_700, 0.045)
    look = seen(1_820, *losing(0.045), ledger=(transfer(1_819, 700.0),))
    assert guard.look(look).memory.book(BOOK).stage is ONE
    assert guard.look(seen(1_823, *losing(0.045), wallet=10_700.0)).lock.locks == ()
    assert guard.book.stage is NORMAL


def test_a_lock_of_a_stage_that_still_rests_outlives_the_re_arming() -> None:
    """Stage 3 closed nothing and rests for 6 hours; stage 1 is over after 30 minutes."""
    guard = at_stage_1()
    guard.finish(20)
    resting_3 = LockEntry(
        scope=BOOK,
        stage=THREE,
        mode=LockMode.STAGE,
        reason="killswitch_stage_3_close_all_positions",
        created_ts=NOON,
        expires_ts=NOON + 21_600,
    )
    book = replace(guard.book, locks=(*guard.book.locks, resting_3))
    guard.memory = replace(guard.memory, books=(book,))
    decision = guard.lose(1_820, 0.045)
    assert guard.book.stage is NORMAL
    assert decision.lock.locks == (resting_3,)
    assert decision.records.audits[-1].message.endswith(
        "still locked by killswitch_stage_3_close_all_positions"
    )


def test_without_auto_rearm_the_lock_stays() -> None:
    """A day later the book is still in stage 1, and its lock needs a person."""
    guard = at_stage_1(live(auto_rearm=False))
    guard.finish(20)
    guard.lose(86_400, 0.045)
    assert guard.book.stage is ONE
    assert guard.locks == [(LockMode.STAGE, ONE, FOREVER_TS - NOON)]


def test_no_new_loss_no_new_close() -> None:
    """The old peak is still in the window when the cooldown ends: nothing fires again."""
    guard = at_stage_1(ONLY_ONE)
    guard.finish(20)
    for at in range(30, 1_900, 30):
        assert guard.lose(at, 0.045).opened == ()
    assert guard.book.stage is NORMAL


# --- carrying incidents on ----------------------------------------------------------------------


def test_an_incident_ends_when_its_targets_are_confirmed() -> None:
    """DONE: the stage rests, all up to it measure from now, the lock lasts the cooldown."""
    guard = at_stage_1()
    running = guard.incident
    decision = guard.report(25, held(running), "SOLUSDT SHORT: GREW", is_done=True)
    done = replace(held(running), status=IncidentStatus.DONE, ended_at=NOON + 25)
    lock = decision.lock.locks[0]
    book = BookMemory(
        name=BOOK,
        stage=ONE,
        since=NOON + 16,
        cooldowns=(NOON + 1_825, 0.0, 0.0),
        stage_baselines=(NOON + 25, 0.0, 0.0),
        locks=(lock,),
    )
    assert lock.expires_ts == NOON + 1_825
    details = (("incident_id", running.incident_id),)
    common = {"at": NOON + 25, "scope": BOOK, "stage": ONE, "mode": running.mode}
    assert decision == Decision(
        memory=replace(guard.memory, books=(book,)),
        lock=LockContent(locks=(lock,), dry_run=False),
        records=Records(
            books=(book,),
            incidents=(done,),
            audits=(
                AuditEntry(
                    event="incident_note",
                    message="SOLUSDT SHORT: GREW",
                    severity=Severity.WARNING,
                    details=details,
                    **common,  # type: ignore[arg-type]
                ),
                AuditEntry(
                    event="incident_done",
                    message="REDUCED_TOP_RISK DONE: SOLUSDT SHORT HELD",
                    details=(*details, ("rounds", 0)),
                    **common,  # type: ignore[arg-type]
                ),
            ),
        ),
    )


def test_a_report_of_a_book_that_is_not_configured_changes_nothing() -> None:
    """A late report after the settings changed."""
    guard = at_stage_1()
    foreign = replace(guard.incident, book=BOOK.__class__("other"))
    decision = guard.settle(
        Observation(now=NOON + 20, reports=(IncidentReport(incident=foreign, is_done=True),))
    )
    assert decision.records.incidents == (guard.incident,)
    assert guard.incident.status is IncidentStatus.OPEN


def test_the_lock_of_an_open_incident_reaches_one_cooldown_ahead() -> None:
    """However long closing takes, bots are not let in before it is done."""
    guard = at_stage_1()
    guard.lose(1_000, 0.045)
    assert guard.locks == [(LockMode.STAGE, ONE, 1_000 + 1_800)]


def test_an_incident_without_progress_expires_and_streaks_decide_anew() -> None:
    """30 minutes without progress: EXPIRED, no cooldown, no baseline; the 7 % acts again."""
    guard = calm(ONLY_ONE)
    for at in (10, 13, 16):
        guard.lose(at, 0.07)
    old = guard.incident
    assert guard.lose(1_815, 0.07).records.audits == ()
    decision = guard.lose(1_818, 0.07)
    missed = held(old, TargetStatus.MISSED)
    assert decision.records.incidents == (
        replace(missed, status=IncidentStatus.EXPIRED, ended_at=NOON + 1_818),
    )
    assert [(one.event, one.severity) for one in decision.records.audits] == [
        ("incident_expired", Severity.WARNING)
    ]
    assert (guard.book.cooldowns, guard.book.stage_baselines) == ((0.0,) * 3, (0.0,) * 3)
    assert guard.book.stage is ONE
    assert len(decision.lock.locks) == 1
    again = guard.lose(1_821, 0.07)
    assert [one.incident.stage for one in again.opened] == [ONE]
    assert guard.incident.incident_id != old.incident_id


def test_progress_postpones_the_expiry() -> None:
    """The executor made something smaller at 1,000 s."""
    guard = at_stage_1()
    guard.report(1_000, replace(guard.incident, last_progress_at=NOON + 1_000))
    guard.look(dark(2_799))
    assert guard.incident.status is IncidentStatus.OPEN
    guard.look(dark(2_800))
    assert guard.book.incident is None


def test_stage_3_never_expires() -> None:
    """A day later it is still being tried."""
    guard = at_stage_3()
    guard.look(dark(86_400))
    assert guard.incident.status is IncidentStatus.OPEN


# --- what appears while everything is closed ----------------------------------------------------


def flat(policy: Policy = LIVE) -> Guard:
    """Stage 3 is done: 9,000 left, nothing held."""
    guard = at_stage_3(policy)
    guard.finish(20)
    guard.look(seen(25, wallet=9_000.0))
    assert guard.book.stage is THREE
    return guard


def test_a_position_that_appears_opens_a_follow_up() -> None:
    """ETH 10 long at 30 s: closed whole, on one trusted reading, under an id of its own."""
    guard = flat()
    first = guard.decisions[2].opened[0].incident.incident_id
    decision = guard.look(seen(30, position("ETH", ETH.side, "10", 100.0), wallet=9_000.0))
    incident = guard.incident
    assert incident == Incident(
        incident_id=incident.incident_id,
        book=BOOK,
        stage=THREE,
        mode="CLOSE_ALL_POSITIONS",
        source=Source.UNKNOWN,
        opened_at=NOON + 30,
        dry_run=False,
        reason="positions appeared while everything must stay closed",
        targets=(
            CloseTarget(number=1, key=ETH, may_remain=Decimal(0), initial_quantity=Decimal(10)),
        ),
        last_progress_at=NOON + 30,
        is_followup=True,
    )
    assert incident.incident_id != first
    assert decision.records.incidents == (incident,)
    assert [one.event for one in decision.records.audits] == ["follow_up"]
    assert guard.locks == [(LockMode.STAGE, THREE, FOREVER_TS - NOON)]
    guard.finish(40)
    assert guard.book.stage is THREE
    assert guard.look(seen(45, wallet=9_000.0)).opened == ()


def test_what_appears_beside_a_close_that_hangs_is_closed_too() -> None:
    """The first incident cannot be finished; ETH is added to it, and told once."""
    guard = at_stage_3()
    stuck = guard.incident
    stuck = replace(stuck, held_at=NOON + 15, rounds=4)
    guard.report(15, stuck)
    held_now = (*losing(0.10), position("ETH", ETH.side, "10", 100.0))
    decision = guard.look(seen(18, *held_now))
    assert guard.incident == replace(
        stuck,
        held_at=None,
        targets=(
            *stuck.targets,
            CloseTarget(number=3, key=ETH, may_remain=Decimal(0), initial_quantity=Decimal(10)),
        ),
    )
    assert [one.event for one in decision.records.audits] == ["follow_up"]
    assert decision.opened[0].incident == guard.incident
    again = guard.look(seen(21, *held_now))
    assert (again.opened, again.records.audits) == ((), ())


def test_a_target_given_up_is_taken_up_again_when_it_may_be_closed() -> None:
    """SOL was untouchable and MISSED; it is no more, and it is still there."""
    guard = at_stage_3()
    running = guard.incident
    given_up = replace(
        running,
        targets=(
            replace(running.targets[0], status=TargetStatus.MISSED),
            replace(running.targets[1], status=TargetStatus.HELD),
        ),
    )
    guard.report(15, given_up)
    guard.look(seen(18, *losing(0.10)))
    assert [one.status for one in guard.incident.targets] == [
        TargetStatus.OPEN,
        TargetStatus.HELD,
    ]


@pytest.mark.parametrize("quantity", ["0.0009", "0.0001"])
def test_dust_opens_no_follow_up(quantity: str) -> None:
    """Under the least quantity of 0.001 the venue closes nothing: it would go on for ever."""
    guard = flat()
    decision = guard.look(seen(30, position("ETH", ETH.side, quantity, 100.0), wallet=9_000.0))
    assert (decision.opened, guard.book.incident) == ((), None)


def test_what_may_never_be_touched_opens_no_follow_up() -> None:
    """`never_touch_even_in_stage_3`: the position stays, and stays unmentioned every tick."""
    policy = live(never_touch=(Symbol("ETHUSDT"),), never_touch_even_in_stage_3=True)
    guard = flat(policy)
    look = seen(30, position("ETH", ETH.side, "10", 100.0), wallet=9_000.0)
    assert guard.look(look).records.audits == ()


def test_a_kill_that_stands_closes_what_reappears() -> None:
    """LOCKDOWN follows up as ALL_CLOSED does, with what stage 3 closes."""
    guard = Guard(memory=Memory(books=(BookMemory(name=BOOK, stage=Stage.LOCKDOWN),)))
    decision = guard.look(seen(0, *losing(0.0)))
    assert remains(guard.incident.targets) == {SOL: Decimal(0), BTC: Decimal(0)}
    assert [one.mode for one in decision.lock.locks] == [LockMode.KILL]


@pytest.mark.parametrize("stage", [NORMAL, ONE, TWO])
def test_positions_are_allowed_below_stage_3(stage: Stage) -> None:
    """The bots' own business."""
    guard = Guard(memory=Memory(books=(BookMemory(name=BOOK, stage=stage),)))
    assert guard.look(seen(0, *losing(0.0))).opened == ()


# --- the dry run --------------------------------------------------------------------------------


def test_a_dry_run_simulates_at_once_and_locks_nobody() -> None:
    """Decided and planned as live does; the incident ends SIMULATED, the lock only would."""
    guard = at_stage_3(DRY)
    decision = guard.decisions[-1]
    opening = decision.opened[0]
    simulated = replace(
        held(opening.incident, TargetStatus.SIMULATED),
        status=IncidentStatus.SIMULATED,
        ended_at=NOON + 11,
    )
    assert opening.incident.dry_run
    assert decision.records.incidents == (simulated,)
    assert guard.book == BookMemory(
        name=BOOK,
        stage=THREE,
        since=NOON + 11,
        cooldowns=(0.0, 0.0, NOON + 11 + 21_600),
        stage_baselines=(NOON + 11,) * 3,
        locks=guard.book.locks,
    )
    assert decision.lock == LockContent(would_lock=guard.book.locks, dry_run=True)
    assert [(one.event, one.dry_run) for one in decision.records.audits] == [
        ("trigger", True),
        ("incident_simulated", True),
    ]


def test_a_dry_run_plans_what_live_would() -> None:
    """The same targets, the same source, the same figures."""
    dry, real = at_stage_3(DRY).decisions[-1], at_stage_3().decisions[-1]
    (simulated,), (opened,) = dry.opened, real.opened
    assert replace(simulated, incident=opened.incident) == opened
    assert simulated.incident == replace(opened.incident, dry_run=True)


@pytest.mark.parametrize("stage", [ONE, TWO, THREE])
def test_a_dry_run_re_arms_every_stage_when_its_cooldown_ends(stage: Stage) -> None:
    """Stage 3 included; positions are still there and open no follow-up."""
    fraction = {ONE: 0.045, TWO: 0.07, THREE: 0.10}[stage]
    guard = calm(DRY)
    for at in (10, 13, 16):
        guard.lose(at, fraction)
    ended = guard.book.cooldowns[stage - 1] - NOON
    assert ended in (13 + COOLDOWN[stage], 16 + COOLDOWN[stage])
    guard.lose(ended - 1, fraction)
    assert guard.book.stage is stage
    decision = guard.lose(ended, fraction)
    assert guard.book.stage is NORMAL
    assert (decision.lock.would_lock, decision.opened) == ((), ())


def test_a_dry_run_may_lock_in_earnest_when_told_to() -> None:
    """`enforce_in_dry_run`."""
    guard = at_stage_3(replace(DRY, enforce_lock_in_dry_run=True))
    lock = guard.decisions[-1].lock
    assert ([one.stage for one in lock.locks], lock.would_lock) == ([THREE], ())


def test_no_dry_run_decision_holds_anything_live() -> None:
    """No open incident, no binding lock, every audit marked: from calm to stage 3 and blindness."""
    guard = calm(DRY)
    for at in range(10, 60, 3):
        guard.lose(at, (at - 10) / 300)
    guard.look(dark(300))
    for decision in guard.decisions:
        assert all(book.incident is None for book in decision.memory.books)
        assert decision.lock.locks == ()
        assert all(audit.dry_run for audit in decision.records.audits)
        assert all(incident.dry_run for incident in decision.records.incidents)
    assert [one.mode for one in guard.decisions[-1].lock.would_lock][-1] is LockMode.BLIND
    assert {"trigger", "incident_simulated"} <= set(guard.events)


# --- money from outside -------------------------------------------------------------------------


@pytest.mark.parametrize("is_known_first", [True, False])
def test_a_withdrawal_of_30_percent_in_a_calm_hour_triggers_nothing(is_known_first: bool) -> None:
    """3,000 leave; the venue's record comes before the step or a reading after it."""
    guard = calm()
    gone = (transfer(9, -3_000.0),)
    first = seen(10, *losing(0.0), wallet=10_000.0, ledger=gone)
    if not is_known_first:
        first = seen(10, *losing(0.0), wallet=7_000.0)
    wanted = guard.look(first)
    assert is_known_first or Want.LEDGER in wanted.wants_of(SCOPE)
    decision = guard.look(seen(13, *losing(0.0), wallet=7_000.0, ledger=gone))
    assert decision.verdicts[0].trust is Trust.TRUSTED
    assert {one.fraction for one in decision.verdicts[0].drawdowns} == {0.0}
    assert {one.peak_equity for one in decision.verdicts[0].drawdowns} == {7_000.0}
    for at in range(20, 3_600, 60):
        guard.look(seen(at, *losing(0.0), wallet=7_000.0))
    assert guard.book == BookMemory(name=BOOK)
    assert all(decision.opened == () for decision in guard.decisions)
    assert [flow.amount for flow in guard.scope.flows] == [-3_000.0]


def test_a_deposit_during_a_drawdown_does_not_hide_it() -> None:
    """5 % lost and 500 paid in: equity is 10,000 again, the drawdown still 5 %.

    The peak of 10,000 counts 10,000 / 9,500 times: (10,526.32 - 10,000) / 10,526.32.
    """
    guard = calm()
    guard.lose(10, 0.03)
    paid_in = (transfer(12, 500.0),)
    for at in (13, 16, 19):
        decision = guard.look(seen(at, *losing(0.05), wallet=10_500.0, ledger=paid_in))
    assert decision.verdicts[0].equity == 10_000.0
    assert decision.verdicts[0].drawdowns[0].fraction == pytest.approx(0.05)
    assert guard.incident.stage is ONE


def test_a_flow_that_leaves_too_little_starts_the_baseline() -> None:
    """10,000 paid into an account of 50: nothing before it can be scaled to it."""
    guard = Guard()
    guard.look(seen(0, wallet=50.0, ledger=()))
    decision = guard.look(seen(10, wallet=10_050.0, ledger=(transfer(9, 10_000.0),)))
    assert decision.verdicts[0].trust is Trust.TRUSTED
    assert guard.book.baseline_at == NOON + 10
    assert decision.records.books == (guard.book,)


def test_an_unexplained_drawdown_waits_for_the_records_at_most_three_seconds() -> None:
    """Complete at 17 s with all of it unexplained: records are wanted. At 20 s it acts."""
    guard = calm(ONLY_THREE)
    for at, wallet in FALLING_WALLET:
        guard.look(seen(at, *losing(0.0), wallet=wallet))
    waiting = guard.look(seen(17, *losing(0.0), wallet=8_900.0, is_second=True))
    assert waiting.opened == ()
    assert waiting.wants_of(SCOPE) == (Want.LEDGER,)
    assert guard.book.streak(THREE).count == 2
    decision = guard.look(seen(20, *losing(0.0), wallet=8_900.0, ledger_failed=True))
    assert [one.incident.stage for one in decision.opened] == [THREE]


def test_records_that_explain_it_end_the_wait_and_the_breach() -> None:
    """The records show that all 1,100 were withdrawn: the streak ends, nothing is closed."""
    guard = calm(ONLY_THREE)
    for at, wallet in FALLING_WALLET:
        guard.look(seen(at, *losing(0.0), wallet=wallet))
    guard.look(seen(17, *losing(0.0), wallet=8_900.0, is_second=True))
    taken = (transfer(9, -400.0), transfer(12, -400.0), transfer(15, -300.0))
    decision = guard.look(seen(18, *losing(0.0), wallet=8_900.0, ledger=taken))
    assert decision.verdicts[0].drawdowns[0].fraction == pytest.approx(0.0)
    assert (guard.book.streaks, guard.book.stage) == ((), NORMAL)


def test_records_that_explain_nothing_end_the_wait() -> None:
    """An answer that reaches past the beginning of the streak: there is nothing to wait for."""
    guard = calm(ONLY_THREE)
    for at, wallet in FALLING_WALLET:
        guard.look(seen(at, *losing(0.0), wallet=wallet))
    look = seen(17, *losing(0.0), wallet=8_900.0, ledger=(), is_second=True)
    assert [one.incident.stage for one in guard.look(look).opened] == [THREE]


def test_a_quarter_unexplained_does_not_wait() -> None:
    """8 % lost by the short and 2 % by nobody: 20 % of the drawdown, stage 3 acts at once."""
    guard = calm(ONLY_THREE)
    guard.look(seen(10, *losing(0.08), wallet=9_800.0))
    decision = guard.look(seen(11, *losing(0.08), wallet=9_800.0, is_second=True))
    assert [one.incident.stage for one in decision.opened] == [THREE]


def test_a_lower_stage_that_need_not_wait_acts_first() -> None:
    """Stage 2 is complete and began long ago; stage 3 still waits for the records."""
    guard = calm(live(stages=BOOK_POLICY.stages[1:]))
    guard.look(seen(10, *losing(0.0), wallet=9_600.0))
    guard.look(seen(13, *losing(0.0), wallet=9_200.0))
    decision = guard.look(seen(16, *losing(0.0), wallet=8_900.0))
    assert [one.incident.stage for one in decision.opened] == [TWO]
    waiting = guard.look(seen(17, *losing(0.0), wallet=8_900.0, is_second=True))
    assert (waiting.opened, waiting.wants_of(SCOPE)) == ((), (Want.LEDGER,))
    later = guard.look(seen(19, *losing(0.0), wallet=8_900.0))
    assert [one.incident.stage for one in later.opened] == [THREE]


# --- the clock ----------------------------------------------------------------------------------


def test_a_clock_set_back_hides_no_peak() -> None:
    """Reset at 7,200 s, then the clock goes back to 3,600: a loss of 10 % still acts."""
    guard = calm(ONLY_THREE)
    guard.look(seen(7_200, *losing(0.0)))
    guard.ask(7_200, asked("reset"))
    guard.look(seen(3_600, *losing(0.0)))
    assert guard.book.baseline_at == NOON + 3_600
    guard.look(seen(3_610, *losing(0.0)))
    guard.lose(3_620, 0.10)
    assert [one.incident.stage for one in guard.lose(3_621, 0.10).opened] == [THREE]


# --- determinism --------------------------------------------------------------------------------


def test_equal_arguments_give_equal_decisions() -> None:
    """Decided twice, from values that were built twice."""
    for policy in (LIVE, DRY):
        one, other = at_stage_3(policy), at_stage_3(policy)
        assert one.decisions == other.decisions
        assert repr(one.decisions) == repr(other.decisions)


def test_deciding_changes_no_argument() -> None:
    """Memory in, memory out: the old one is as it was."""
    guard = at_stage_1()
    before, kept = guard.memory, repr(guard.memory)
    decide(before, Observation(now=NOON + 19, scopes=(seen(19, *losing(0.2)),)), LIVE)
    assert repr(before) == kept
