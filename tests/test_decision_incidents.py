"""From an incident to the next calm: empty plans, reports, re-arming, follow-ups, dry runs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from decision import Decision, Observation
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Incident,
    IncidentReport,
    IncidentStatus,
    Memory,
    Records,
    Severity,
    TargetStatus,
)
from model import Source, Stage, Symbol
from tests.decision_values import (
    BOOK,
    BTC,
    COOLDOWN,
    DRY,
    ETH,
    FALLING_WALLET,
    NOON,
    ONE,
    ONLY_ONE,
    ONLY_THREE,
    SOL,
    THREE,
    TWO,
    Guard,
    at_stage_1,
    at_stage_3,
    calm,
    dark,
    flat,
    held,
    live,
    losing,
    position,
    remains,
    seen,
    transfer,
)

NORMAL = Stage.NORMAL


# --- empty plans --------------------------------------------------------------------------------


def test_stage_3_of_an_account_without_positions_rests_and_does_not_latch() -> None:
    """Money is gone, nothing was ever held: cancels, lock and cooldown, but no ALL_CLOSED."""
    guard = Guard(policy=ONLY_THREE)
    guard.look(seen(0, ledger=()))
    for at, wallet in (*FALLING_WALLET, (20, 8_900.0)):
        guard.look(seen(at, wallet=wallet, has_waited=True))
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
                    message="REDUCED_TOP_RISK DONE: SOLUSDT SHORT 100 -> 50.000 HELD",
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
    guard.lose(1_815, 0.07)
    decision = guard.lose(1_818, 0.07)
    missed = replace(held(old, TargetStatus.MISSED), alerts_sent=4)
    assert decision.records.incidents == (
        replace(missed, status=IncidentStatus.EXPIRED, ended_at=NOON + 1_818),
    )
    assert [(one.event, one.severity) for one in decision.records.audits] == [
        ("incident_expired", Severity.CRITICAL)
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


# --- what appears while everything is closed ----------------------------------------------------


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
    assert [one.status for one in guard.incident.targets] == [TargetStatus.OPEN, TargetStatus.HELD]


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
