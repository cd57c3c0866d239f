"""The whole decision of a tick: what a reading, a report or a request makes of what is known."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from decision import Decision, Observation, decide
from draft import ScopeVerdict
from drawdown import WindowDrawdown
from errors import InvariantViolation
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Incident,
    IncidentStatus,
    Memory,
    Records,
    ScopeMemory,
    Severity,
    Streak,
)
from model import ScopeId, Source, SourceMode, Stage, Symbol, Trust, Want
from policy import BookPolicy
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    BTC,
    DRY,
    HOUR,
    LIVE,
    NOON,
    ONE,
    ONLY_ONE,
    ONLY_THREE,
    SCOPE,
    SOL,
    THREE,
    TWO,
    Guard,
    at_stage_1,
    at_stage_3,
    calm,
    dark,
    live,
    losing,
    remains,
    seen,
    sol,
    told,
)
from trust import observe_scope

NORMAL = Stage.NORMAL


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
        details=(
            ("incident_id", incident.incident_id),
            ("cause", incident.reason),
            ("closing", "not confirmed yet"),
        ),
    )
    book = BookMemory(
        name=BOOK,
        stage=ONE,
        since=NOON + 16,
        streaks=(
            Streak(
                stage=ONE, count=3, last_counted_at=NOON + 16, began_at=NOON + 10, is_answered=True
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
    assert (scope.failures, scope.trouble) == (1, "timeout")
    assert decision == Decision(
        memory=Memory(scopes=(scope,), books=(before,)),
        lock=LockContent(dry_run=False, details=(("unread_binance_futures", "timeout"),)),
        records=Records(scopes=(scope,)),
        verdicts=(
            ScopeVerdict(scope=SCOPE, trust=Trust.UNAVAILABLE, equity=None, reasons=("timeout",)),
        ),
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
    """Those of 15 minutes, one reading every 3 s; the highest complete stage wins (lesson 15)."""
    guard = calm()
    opened = {at: guard.lose(at, fraction).opened for at in (10, 13, 16)}
    assert [at for at, found in opened.items() if found] == ([] if acts_at is None else [acts_at])
    assert guard.book.stage is stage
    assert remains(() if acts_at is None else guard.incident.targets) == expected


@pytest.mark.parametrize(("hours", "stage"), [(7.0, ONE), (7.5, TWO), (9.5, TWO), (10.0, THREE)])
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
    assert [told(decision) for decision in decisions] == [[], [], [(ONE, "LOWER_STAGE")], [], []]
    assert guard.book.stage is TWO


# --- who lost -----------------------------------------------------------------------------------


def test_stage_1_of_an_unknown_source_closes_nothing_but_locks_and_rests() -> None:
    """490 of 10,000 are gone and no price explains it: nobody is known to have lost it."""
    guard = calm(ONLY_ONE)
    for at in (10, 13, 16):
        guard.look(seen(at, *losing(0.0), wallet=9_510.0, has_waited=True))
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
