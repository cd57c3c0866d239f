"""Steps of a book: what a trigger, a report, an end, a reset and blindness make of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

import incidents
from book_locks import blind_lock, kill_lock, pause_lock, stage_lock
from drawdown import WindowDrawdown
from incidents import BookStep
from lock_document import LockContent, LockEntry, LockMode
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Incident,
    IncidentReport,
    IncidentStatus,
    Memory,
    Point,
    ScopeMemory,
    Severity,
    Streak,
    TargetStatus,
)
from model import BookName, IncidentId, ScopeId, Source, Stage, Trust
from openings import Facts
from policy import AccountKind
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    BTC,
    DRY,
    LIVE,
    NOON,
    ONE,
    SCOPE,
    SOL,
    THREE,
    TWO,
    asked,
    calm,
    held,
    losing,
    seen,
)

NORMAL = Stage.NORMAL
TARGET = CloseTarget(number=1, key=SOL, may_remain=Decimal(50), initial_quantity=Decimal(100))


def incident(stage: Stage = ONE, *targets: CloseTarget, dry_run: bool = False) -> Incident:
    """An open incident of the book; without targets, of one."""
    settings = BOOK_POLICY.stage(stage)
    assert settings is not None
    return Incident(
        incident_id=IncidentId(f"open-{stage.value}"),
        book=BOOK,
        stage=stage,
        mode=settings.mode.value,
        source=Source.SHORT,
        opened_at=NOON,
        dry_run=dry_run,
        reason="drawdown",
        targets=targets or (TARGET,),
        last_progress_at=NOON,
    )


def book(stage: Stage = ONE, running: Incident | None = None, *streaks: Streak) -> BookMemory:
    """The book in a state, perhaps with an open incident."""
    return BookMemory(name=BOOK, stage=stage, since=NOON, incident=running, streaks=streaks)


def facts(at: float = 10, fraction: float = 0.10, *, dry_run: bool = False) -> Facts:
    """What a trusted reading with this loss brings, `at` seconds after noon."""
    guard = calm(DRY if dry_run else LIVE)
    look = seen(at, *losing(fraction))
    decision = guard.look(look)
    assert look.reading is not None
    equity = decision.verdicts[0].equity
    assert equity is not None
    return Facts(
        now=NOON + at,
        policy=guard.policy,
        book=BOOK_POLICY,
        seen=look,
        reading=look.reading,
        memory=guard.scope,
        equity=equity,
        drawdowns=decision.verdicts[0].drawdowns,
    )


def carry_on(state: BookMemory, report: IncidentReport, *, at: float = 30) -> BookStep:
    """Carry on with the live default policy."""
    return incidents.carry_on(state, report, policy=BOOK_POLICY, now=NOON + at, dry_run=False)


# --- triggers -----------------------------------------------------------------------------------


def streak(stage: Stage, *, count: int = 3, is_answered: bool = False) -> Streak:
    """A running streak."""
    return Streak(
        stage=stage, count=count, last_counted_at=NOON, began_at=NOON, is_answered=is_answered
    )


def test_the_highest_stage_that_may_act_opens() -> None:
    """All three complete: stage 3, and the streaks of all three are answered by it."""
    state = book(NORMAL, None, streak(ONE), streak(TWO), streak(THREE))
    step = incidents.trigger(state, (ONE, TWO, THREE), facts())
    assert [one.incident.stage for one in step.opened] == [THREE]
    assert [one.is_answered for one in step.book.streaks] == [True, True, True]
    assert (step.ended, [one.event for one in step.audits]) == ((), ["trigger"])


def test_streaks_of_higher_stages_are_not_answered_by_a_lower_one() -> None:
    """Stage 1 acts while stage 3 is still being confirmed."""
    state = book(NORMAL, None, streak(ONE), streak(THREE, count=1))
    step = incidents.trigger(state, (ONE,), facts())
    assert [(one.stage, one.is_answered) for one in step.book.streaks] == [
        (ONE, True),
        (THREE, False),
    ]


def test_all_refusals_of_one_reading_are_told_and_then_no_more() -> None:
    """Stages 1 and 2 below a state of 3: each once, highest first."""
    state = book(THREE, None, streak(ONE), streak(TWO))
    step = incidents.trigger(state, (ONE, TWO), facts())
    assert [(one.event, one.stage) for one in step.audits] == [
        ("trigger_refused", TWO),
        ("trigger_refused", ONE),
    ]
    assert step.opened == ()
    again = incidents.trigger(step.book, (ONE, TWO), facts(13))
    assert again == BookStep(book=step.book)


def test_nothing_complete_opens_and_tells_nothing() -> None:
    """The stages that are ready may be none."""
    state = book(NORMAL, None, streak(ONE, count=1))
    assert incidents.trigger(state, (), facts()) == BookStep(book=state)


def test_a_dry_run_trigger_ends_in_the_same_step() -> None:
    """Opened, simulated, rested; the streaks up to it are gone."""
    state = book(NORMAL, None, streak(ONE), streak(TWO), streak(THREE, count=1))
    step = incidents.trigger(state, (ONE, TWO), facts(dry_run=True))
    assert [one.event for one in step.audits] == ["trigger", "incident_simulated"]
    (simulated,) = step.ended
    assert simulated.status is IncidentStatus.SIMULATED
    assert {one.status for one in simulated.targets} == {TargetStatus.SIMULATED}
    assert step.opened[0].incident.status is IncidentStatus.OPEN
    assert step.book.incident is None
    assert [one.stage for one in step.book.streaks] == [THREE]


# --- reports ------------------------------------------------------------------------------------


def test_a_report_carries_progress_and_nothing_else() -> None:
    """Rounds, hold, progress and targets; what the incident is stays what it was."""
    running = incident()
    told = replace(held(running), rounds=3, held_at=NOON + 25, last_progress_at=NOON + 20)
    odd = replace(
        told, stage=THREE, mode="x", status=IncidentStatus.DONE, dry_run=True, alerts_sent=7
    )
    for report in (told, odd):
        step = carry_on(book(ONE, running), IncidentReport(incident=report))
        assert step == BookStep(book=book(ONE, told))


@pytest.mark.parametrize(
    ("known", "told", "after"), [(0, 20, 20), (20, 0, 20), (0, 7_200, 30), (-7_200, -7_000, -7_000)]
)
def test_progress_told_by_a_clock_that_was_set_since_moves_no_deadline(
    known: float, told: float, after: float
) -> None:
    """Told at 30 s: what is known stays known, and no progress lies in the future."""
    running = replace(incident(), last_progress_at=NOON + known)
    report = IncidentReport(incident=replace(running, last_progress_at=NOON + told))
    step = carry_on(book(ONE, running), report)
    assert step.book.incident is not None
    assert step.book.incident.last_progress_at == NOON + after


def test_a_report_takes_no_target_away() -> None:
    """BTC came in while a round was in hand: it stays open, and the hold begins anew."""
    added = CloseTarget(number=2, key=BTC, may_remain=Decimal(0), initial_quantity=Decimal(50))
    running = incident(THREE, TARGET, added)
    told = replace(incident(THREE, replace(TARGET, status=TargetStatus.HELD)), held_at=NOON + 20)
    step = carry_on(book(THREE, running), IncidentReport(incident=told, is_done=True))
    assert step.book.incident == replace(
        running, targets=(replace(TARGET, status=TargetStatus.HELD), added)
    )
    assert (step.ended, step.audits) == ((), ())


def test_a_report_loosens_no_target() -> None:
    """A remainder that became smaller meanwhile is not forgotten for a judgement of the old."""
    tighter = replace(TARGET, may_remain=Decimal(0))
    running = incident(THREE, tighter)
    told = incident(THREE, replace(TARGET, status=TargetStatus.HELD))
    step = carry_on(book(THREE, running), IncidentReport(incident=told, is_done=True))
    assert step.book.incident == running


@pytest.mark.parametrize("running", [None, incident(TWO)])
def test_of_a_report_about_another_incident_only_notes_are_kept(running: Incident | None) -> None:
    """It was reset or taken over while the round was in hand."""
    report = IncidentReport(incident=incident(ONE), is_done=True, notes=("a", "b", "a"))
    step = carry_on(book(TWO, running), report)
    assert step.book == book(TWO, running)
    assert step.ended == ()
    assert step.audits == tuple(
        AuditEntry(
            at=NOON + 30,
            scope=BOOK,
            event="incident_note",
            message=note,
            stage=ONE,
            mode="CLOSE_TOP_RISK_CONTRIBUTORS",
            severity=Severity.WARNING,
            details=(("incident_id", "open-1"),),
        )
        for note in ("a", "b")
    )


def test_a_report_cannot_end_what_is_still_open() -> None:
    """`is_done` with an open target is no end: the book goes on, nothing rests."""
    running = incident()
    step = carry_on(book(ONE, running), IncidentReport(incident=running, is_done=True))
    assert step == BookStep(book=book(ONE, running))


@pytest.mark.parametrize("status", [TargetStatus.HELD, TargetStatus.DUST, TargetStatus.MISSED])
def test_an_incident_ends_with_every_target_dealt_with(status: TargetStatus) -> None:
    """Held, too small, or not to be touched; a missed one is warned of."""
    running = incident()
    report = IncidentReport(incident=held(running, status), is_done=True)
    step = carry_on(book(ONE, running), report)
    assert [one.status for one in step.ended] == [IncidentStatus.DONE]
    assert step.audits[0].severity is (
        Severity.WARNING if status is TargetStatus.MISSED else Severity.INFO
    )
    assert step.book.cooldowns[0] == NOON + 30 + 1_800


# --- alerts, expiry and locks -------------------------------------------------------------------


def keep_up(state: BookMemory, at: float, *, may_expire: bool = True) -> BookStep:
    """Keep up with the live default policy."""
    return incidents.keep_up(
        state, policy=BOOK_POLICY, now=NOON + at, dry_run=False, may_expire=may_expire
    )


def test_keeping_up_a_quiet_book_does_nothing() -> None:
    """NORMAL, no lock, no incident."""
    state = book(NORMAL)
    assert keep_up(state, 10_000) == BookStep(book=state)


def test_an_incident_that_stays_open_is_alerted_on_time() -> None:
    """At 30 s, 2 min and every 10 min from there; the next time is known after each."""
    state = replace(book(THREE), incident=replace(incident(THREE), opened_at=NOON))
    times: list[float] = []
    at = incidents.next_alert_at(state)
    while at is not None and at <= NOON + 1_920:
        assert keep_up(state, at - NOON - 0.1).audits == ()
        step = keep_up(state, at - NOON)
        assert [one.event for one in step.audits] == ["incident_stuck"]
        times.append(at - NOON)
        state = step.book
        at = incidents.next_alert_at(state)
    assert times == [30, 120, 720, 1_320, 1_920]
    assert incidents.next_alert_at(book(NORMAL)) is None


def test_of_alerts_that_were_missed_the_latest_is_sent_once() -> None:
    """A guard that was down for two hours: one alert, and the next when it is due."""
    state = replace(book(THREE), incident=replace(incident(THREE), opened_at=NOON))
    step = keep_up(state, 7_200)
    assert [one.message for one in step.audits] == ["open for 7200 s, not at target: SOLUSDT SHORT"]
    assert keep_up(step.book, 7_319).audits == ()
    assert incidents.next_alert_at(step.book) == NOON + 7_320


def test_targets_that_hold_and_are_not_confirmed_are_alerted_too() -> None:
    """Nobody can read the account any more: bots are out, and somebody must know why."""
    running = replace(held(incident(THREE)), opened_at=NOON)
    step = keep_up(book(THREE, running), 30)
    assert step.audits[0].message == "open for 30 s, its targets are not confirmed yet"


def test_an_incident_that_nobody_has_worked_on_yet_does_not_expire() -> None:
    """The guard was down for its cooldown: it is tried first."""
    state = book(ONE, incident())
    assert keep_up(state, 10_000, may_expire=False).ended == ()
    assert keep_up(state, 10_000).ended != ()


def test_an_expired_incident_is_always_warned_of() -> None:
    """Even when every target held but no second look confirmed it."""
    state = book(ONE, held(incident()))
    assert keep_up(state, 1_799).ended == ()
    step = keep_up(state, 1_800)
    assert [(one.event, one.severity) for one in step.audits] == [
        ("incident_expired", Severity.CRITICAL)
    ]
    assert [one.status for one in step.ended] == [IncidentStatus.EXPIRED]


def test_a_lock_that_the_state_demands_is_set_again() -> None:
    """Whatever took it away."""
    step = keep_up(book(TWO), 5)
    assert [(one.stage, one.expires_ts) for one in step.book.locks] == [(TWO, NOON + 5 + 5_400)]


def test_a_lock_is_kept_while_its_incident_is_open_and_dropped_when_it_has_run_out() -> None:
    """An empty plan of stage 1 leaves NORMAL; its lock ends with the cooldown."""
    settings = BOOK_POLICY.stages[0]
    lock = stage_lock(BOOK, policy=settings, now=NOON, dry_run=False)
    running = replace(incident(), targets=())
    state = replace(book(NORMAL, running), locks=(lock,))
    assert keep_up(state, 100).book.locks[0].expires_ts == NOON + 1_900
    ended = replace(state, incident=None)
    assert keep_up(ended, 1_799).book.locks == (lock,)
    assert keep_up(ended, 1_800).book.locks == ()


# --- re-arming and reset ------------------------------------------------------------------------


def test_re_arming_waits_for_a_reading_without_doubt() -> None:
    """The same facts with one breach that a flow on its way may explain."""
    state = book(ONE)
    clear = facts(fraction=0.0)
    assert incidents.rearm(state, clear).book.stage is NORMAL
    doubted = replace(clear, drawdowns=(replace(clear.drawdowns[0], is_in_doubt=True),))
    assert incidents.rearm(state, doubted) == BookStep(book=state)


def test_a_refused_re_arming_is_silent() -> None:
    """It is asked on every reading."""
    state = book(NORMAL)
    assert incidents.rearm(state, facts()) == BookStep(book=state)


def test_a_refused_reset_leaves_the_book_and_says_why() -> None:
    """The caller answers with the sentence."""
    state = book(THREE)
    step, is_accepted, message = incidents.reset(
        state,
        asked("reset"),
        policy=BOOK_POLICY,
        now=NOON,
        measured_at=NOON,
        is_switch_running=True,
        dry_run=False,
    )
    assert (step, is_accepted) == (BookStep(book=state), False)
    assert message == "the book's name must be typed as confirmation"


# --- follow-ups ---------------------------------------------------------------------------------


def test_a_book_without_stage_3_has_nothing_to_follow_up_with() -> None:
    """It reached the state under earlier settings."""
    told = replace(facts(), book=replace(BOOK_POLICY, stages=BOOK_POLICY.stages[:2]))
    assert incidents.follow_up(book(THREE), told) == BookStep(book=book(THREE))


def test_a_dry_run_follows_up_nothing() -> None:
    """Nothing was closed, so nothing reappeared."""
    told = facts(dry_run=True)
    assert incidents.follow_up(book(THREE), told) == BookStep(book=book(THREE))


# --- blindness ----------------------------------------------------------------------------------

BLIND = blind_lock(BOOK, scope=SCOPE, now=NOON + 10, dry_run=False)
OTHER = blind_lock(BOOK, scope=ScopeId("bybit_futures"), now=NOON, dry_run=False)


def window(*, is_breach: bool = False, is_in_doubt: bool = False) -> WindowDrawdown:
    """One judged window."""
    return WindowDrawdown(
        stage=ONE,
        window_s=900.0,
        threshold=0.045,
        fraction=0.05,
        peak=Point(at=NOON, equity=1.0, nav=1.0),
        peak_equity=1.0,
        is_breach=is_breach,
        is_judged=True,
        is_in_doubt=is_in_doubt,
    )


@pytest.mark.parametrize(
    ("before", "is_blind", "trust", "drawdowns", "after"),
    [
        ((), True, Trust.UNAVAILABLE, (), (BLIND,)),
        ((OTHER,), True, Trust.SUSPECT, (), (OTHER, BLIND)),
        ((BLIND, OTHER), True, Trust.UNAVAILABLE, (), (BLIND, OTHER)),  # set already
        ((BLIND,), False, Trust.UNAVAILABLE, (), (BLIND,)),
        ((BLIND,), False, Trust.SUSPECT, (), (BLIND,)),
        ((BLIND,), False, Trust.TRUSTED, (window(is_breach=True),), (BLIND,)),
        ((BLIND,), False, Trust.TRUSTED, (window(is_in_doubt=True),), (BLIND,)),
        ((BLIND, OTHER), False, Trust.TRUSTED, (window(),), (OTHER,)),
        ((OTHER,), False, Trust.TRUSTED, (), (OTHER,)),
        ((), False, Trust.TRUSTED, (), ()),
    ],
)
def test_the_blind_lock_of_a_scope(
    before: tuple[LockEntry, ...],
    is_blind: bool,
    trust: Trust,
    drawdowns: tuple[WindowDrawdown, ...],
    after: tuple[LockEntry, ...],
) -> None:
    """Set while blind, lifted by a trusted reading without breach or doubt; each scope its own."""
    state = replace(book(NORMAL), locks=before)
    step = incidents.judge_blindness(
        state,
        scope=SCOPE,
        is_blind=is_blind,
        trust=trust,
        drawdowns=drawdowns,
        now=NOON + 10,
        dry_run=False,
    )
    assert step.book == replace(state, locks=after)
    told = [one.event for one in step.audits]
    if before == after:
        assert told == []
    else:
        assert told == ["blind_lock_set" if is_blind else "blind_lock_lifted"]


# --- the lock document --------------------------------------------------------------------------


def test_the_lock_names_what_is_simulated_and_what_is_not_watched() -> None:
    """A bot's owner reads it in the file itself; the most severe lock comes first."""
    policy = replace(
        LIVE,
        practice_scopes=(
            (ScopeId("d"), AccountKind.DEMO),
            (SCOPE, AccountKind.SIMULATOR),
            (ScopeId("x"), AccountKind.SIMULATOR),
        ),
        unwatched=("bybit: keys found", "bitget: keys found"),
    )
    pause, kill = (
        pause_lock("b", now=NOON, dry_run=False),
        kill_lock("a", now=NOON, dry_run=False),
    )
    books = (
        BookMemory(name=BookName("b"), locks=(pause,)),
        BookMemory(name=BookName("a"), locks=(kill,)),
    )
    scopes = (ScopeMemory(scope=SCOPE), ScopeMemory(scope=ScopeId("x"), trouble="down " * 100))
    assert incidents.compose(Memory(scopes=scopes, books=books), policy=policy) == LockContent(
        locks=(kill, pause),
        dry_run=False,
        details=(
            ("SIMULATOR", "binance_futures, x"),
            ("DEMO", "d"),
            ("not_watched_1", "bybit: keys found"),
            ("not_watched_2", "bitget: keys found"),
            ("unread_x", "down " * 60),
        ),
    )
    assert incidents.compose(Memory(), policy=LIVE) == LockContent(dry_run=False)


@pytest.mark.parametrize("is_enforced", [False, True])
def test_a_dry_run_only_would_lock_unless_it_is_enforced(is_enforced: bool) -> None:
    """Stage and blind locks are shown; what the operator set binds in every mode."""
    stage = stage_lock(BOOK, policy=BOOK_POLICY.stages[0], now=NOON, dry_run=True)
    kill = kill_lock(BOOK, now=NOON, dry_run=True)
    books = (BookMemory(name=BOOK, locks=(stage, BLIND, kill)),)
    policy = replace(DRY, enforce_lock_in_dry_run=is_enforced)
    content = incidents.compose(Memory(books=books), policy=policy)
    assert content.locks == ((kill, stage, BLIND) if is_enforced else (kill,))
    assert content.would_lock == (() if is_enforced else (stage, BLIND))
    assert LockMode.KILL in {one.mode for one in content.locks}
