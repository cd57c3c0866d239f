"""What is no loss and what is: doubt, blindness, money from outside, a clock that jumps."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from decision import Observation, decide
from lock_document import FOREVER_TS, LockEntry, LockMode
from memory import BookMemory, Memory, Severity
from model import Asset, Coin, LedgerKind, Side, Stage, Trust, Want
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    FALLING_WALLET,
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
    asked,
    at_stage_1,
    btc,
    calm,
    dark,
    key,
    live,
    losing,
    position,
    record,
    remains,
    seen,
    transfer,
)

NORMAL = Stage.NORMAL


# --- doubt --------------------------------------------------------------------------------------


def test_doubt_neither_counts_nor_resets() -> None:
    """Two readings in breach, a failed and an implausible one, then the third in breach acts."""
    guard = calm()
    guard.lose(10, 0.045)
    guard.lose(13, 0.045)
    counted = guard.book.streaks
    dark_one = guard.look(dark(16))
    doubted = guard.look(seen(19, *losing(0.0), wallet=7_000.0))
    assert [d.verdicts[0].trust for d in (dark_one, doubted)] == [Trust.UNAVAILABLE, Trust.SUSPECT]
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


def test_a_listed_withdrawal_is_no_loss_while_another_is_in_doubt() -> None:
    """5 % are lost, 800 leave twice, the venue lists one: 5 % are proven, not 13 %.

    Prices and the listed record explain 8,700 of which 9,500 / 10,000 are left: without the record
    in the peak it would be over the 10 % of stage 3.
    """
    guard = calm()
    for at in (10, 13):
        guard.lose(at, 0.044)
    guard.look(seen(16, *losing(0.05), wallet=8_400.0, ledger=()))
    one_of_two = (transfer(15, -800.0),)
    for at in (19, 22, 25):
        decision = guard.look(seen(at, *losing(0.05), wallet=8_400.0, ledger=one_of_two))
        assert decision.verdicts[0].trust is Trust.TRUSTED
        assert decision.verdicts[0].equity == 8_700.0
        assert decision.verdicts[0].drawdowns[0].fraction == pytest.approx(0.05)
    assert guard.incident.stage is ONE


def test_a_position_that_a_list_lacked_for_once_is_no_new_loss() -> None:
    """The short has lost 4 % when it is missing in one list whose total is complete.

    Back in the list it would count as opened with its whole loss: 8 %, and stage 2.
    """
    guard = calm()
    guard.lose(10, 0.04)
    short, long = losing(0.04)
    for at, held in ((13, (long,)), (16, (short, long)), (19, (short, long))):
        whole = seen(at, *held, equity=9_600.0)
        assert whole.reading is not None
        decision = guard.look(replace(whole, reading=replace(whole.reading, unrealised_pnl=-400.0)))
        assert decision.verdicts[0].trust is Trust.TRUSTED
        assert decision.verdicts[0].drawdowns[0].fraction == pytest.approx(0.04)
    assert dict(guard.scope.results)[SOL] == pytest.approx(-400.0)


@pytest.mark.parametrize("shown", ["20", "0"])
def test_a_coin_that_a_doubted_reading_lacks_keeps_its_hedge(shown: str) -> None:
    """10,000 with 40 SOL in it, 40 SOL short beside them; ETH takes 1,200, and coins are missing.

    Prices prove 8,800, so stage 3 acts on the readings that nobody believes. What became of the
    coins is as unknown as the rest of the missing money: their hedge stays.
    """
    guard = Guard()
    whole = Coin(asset=Asset("SOL"), quantity=Decimal(40), price=100.0)
    hedge = position("SOL", Side.SHORT, "40", 100.0)
    eth = position("ETH", Side.SHORT, "100", 100.0)
    guard.look(seen(0, hedge, eth, equity=10_000.0, coins=(whole,), ledger=()))
    eth = position("ETH", Side.SHORT, "100", 112.0)
    part = replace(whole, quantity=Decimal(shown))
    equity = 8_800.0 - 100.0 * (40.0 - float(shown))
    coins = (part,) if part.quantity else ()
    for at, is_second in ((10, False), (11, True)):
        decision = guard.look(
            seen(at, hedge, eth, equity=equity, coins=coins, ledger=(), is_second=is_second)
        )
        assert decision.verdicts[0].equity == 8_800.0
    assert guard.incident.stage is THREE
    assert remains(guard.incident.targets) == {key("ETH", Side.SHORT): Decimal(0)}


@pytest.mark.parametrize("left", [10_000.0, 10_050.0, 9_990.0])
def test_a_position_that_was_closed_before_its_price_ran_is_no_loss(left: float) -> None:
    """The short is closed at 100 and its price goes to 112: by prices 12 % are lost, in truth 0.

    A deposit of 50 or a fee of 10 beside it does not make the stop that worked a doubt, nor a loss.
    """
    guard = calm()
    guard.look(seen(10, *losing(0.0)))
    for at in (13, 16, 19):
        marks = {SOL.symbol: 112.0}
        decision = guard.look(seen(at, btc(), equity=left, marks=marks))
        assert decision.verdicts[0].trust is Trust.TRUSTED
        assert decision.verdicts[0].equity == left
    assert guard.book == BookMemory(name=BOOK)


def test_what_was_closed_in_a_doubt_is_lost_as_far_as_the_records_say() -> None:
    """Closed 5 % down by the records; the price goes on to 12 %, and 3,000 are missing besides.

    Proven are the 5 %, which is stage 1; by the present price it would be 12 %, and stage 3.
    """
    guard = calm()
    for at in (10, 13):
        guard.lose(at, 0.045)
    realised = replace(record("close", 14, -500.0, LedgerKind.REALISED), symbol=SOL.symbol)
    for at in (16, 19, 22):
        gone = seen(at, btc(), wallet=6_500.0, ledger=(realised,), marks={SOL.symbol: 112.0})
        decision = guard.look(gone)
        assert decision.verdicts[0].equity == 9_500.0
        assert decision.verdicts[0].drawdowns[0].fraction == pytest.approx(0.05)
    assert guard.incident.stage is ONE


def test_a_position_that_was_closed_at_its_entry_lost_its_fee_alone() -> None:
    """No result is listed of it, only a fee; the price goes on to 112 while 3,000 are missing.

    By the present price 1,200 would be proven, which is stage 3 of a loss that nobody made.
    """
    guard = calm()
    fee = replace(record("fee", 5, -1.0, LedgerKind.FEE), symbol=SOL.symbol)
    for at in (10, 13, 16, 19):
        gone = seen(at, btc(), wallet=6_999.0, ledger=(fee,), marks={SOL.symbol: 112.0})
        assert guard.look(gone).verdicts[0].equity is None
    assert guard.book.incident is None


def test_a_fee_alone_undoes_no_loss_that_was_seen() -> None:
    """The short is closed 5 % down, its fee is listed and its result is not; 3,000 are missing.

    Counted from the entry, as a close without a result would be, it would have won its 500 back.
    """
    guard = calm()
    for at in (10, 13):
        guard.lose(at, 0.05)
    fee = replace(record("fee", 14, -1.0, LedgerKind.FEE), symbol=SOL.symbol)
    gone = seen(16, btc(), wallet=6_499.0, ledger=(fee,), marks={SOL.symbol: 105.0})
    verdict = guard.look(gone).verdicts[0]
    assert verdict.equity == 9_499.0
    assert guard.incident.stage is ONE


def test_a_price_that_runs_on_after_a_close_explains_no_withdrawal() -> None:
    """Closed 5 % down by the records, and 800 withdrawn that are not listed yet.

    By a price of 112 all of 1,200 would be the closed position's and 100 open; the records leave
    800 open, so the doubt stays until the withdrawal is listed, and no more than 5 % is proven.
    """
    guard = calm()
    for at in (10, 13):
        guard.lose(at, 0.045)
    realised = replace(record("close", 14, -500.0, LedgerKind.REALISED), symbol=SOL.symbol)
    for at, price in ((16, 105.0), (19, 112.0), (22, 112.0)):
        gone = seen(at, btc(), wallet=8_700.0, ledger=(realised,), marks={SOL.symbol: price})
        decision = guard.look(gone)
        assert decision.verdicts[0].equity == 9_500.0
    assert guard.incident.stage is ONE
    withdrawal = record("out", 15, -800.0, LedgerKind.TRANSFER)
    listed = seen(
        25, btc(), wallet=8_700.0, ledger=(realised, withdrawal), marks={SOL.symbol: 112.0}
    )
    assert guard.look(listed).verdicts[0].drawdowns[0].fraction == pytest.approx(0.05, abs=0.005)
    assert guard.incident.stage is ONE


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


def test_an_unexplained_drawdown_acts_when_the_records_were_waited_for() -> None:
    """Complete at 17 s with all of it unexplained: it waits, and acts when that is over."""
    guard = calm(ONLY_THREE)
    for at, wallet in FALLING_WALLET:
        guard.look(seen(at, *losing(0.0), wallet=wallet))
    waiting = guard.look(seen(17, *losing(0.0), wallet=8_900.0, is_second=True))
    assert (waiting.opened, waiting.is_waiting(SCOPE)) == ((), True)
    assert waiting.wants_of(SCOPE) == (Want.LEDGER,)
    assert guard.book.streak(THREE).count == 2
    decision = guard.look(seen(20, *losing(0.0), wallet=8_900.0, has_waited=True))
    assert not decision.is_waiting(SCOPE)
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


def test_a_streak_that_nothing_explains_asks_again_when_the_records_failed() -> None:
    """4.7 % were withdrawn, too little for a doubt, and the first answer is lost.

    Stage 1 would be complete at 16 s; the second answer ends its streak.
    """
    guard = calm(ONLY_ONE)
    first = guard.look(seen(10, *losing(0.0), wallet=9_530.0))
    second = guard.look(seen(13, *losing(0.0), wallet=9_530.0))
    assert first.wants_of(SCOPE) == second.wants_of(SCOPE) == (Want.LEDGER,)
    taken = (transfer(9, -470.0),)
    third = guard.look(seen(16, *losing(0.0), wallet=9_530.0, ledger=taken))
    assert (third.opened, guard.book.streaks) == ((), ())


def test_a_streak_that_was_answered_asks_no_more() -> None:
    """It acted: to ask at every reading for as long as the breach lasts would explain nothing."""
    guard = calm(ONLY_ONE)
    for at in (10, 13, 16):
        decision = guard.look(seen(at, *losing(0.0), wallet=9_530.0, has_waited=True))
    assert [one.incident.stage for one in decision.opened] == [ONE]
    assert decision.wants_of(SCOPE) == ()
    again = guard.look(seen(19, *losing(0.0), wallet=9_530.0))
    assert (again.wants_of(SCOPE), again.is_waiting(SCOPE)) == ((), False)


def test_a_streak_that_prices_explain_asks_nobody() -> None:
    """The records have nothing to say about it. At 10 s they are asked because a streak begins."""
    guard = calm(ONLY_ONE)
    guard.lose(10, 0.045)
    assert guard.lose(13, 0.045).wants_of(SCOPE) == ()


def test_a_quarter_unexplained_does_not_wait() -> None:
    """8 % lost by the short and 2 % by nobody: 20 % of the drawdown, stage 3 acts at once."""
    guard = calm(ONLY_THREE)
    guard.look(seen(10, *losing(0.08), wallet=9_800.0))
    decision = guard.look(seen(11, *losing(0.08), wallet=9_800.0, is_second=True))
    assert [one.incident.stage for one in decision.opened] == [THREE]


def test_a_lower_stage_that_need_not_wait_acts_first() -> None:
    """The records reach to where stage 2 began, not to stage 3: that one waits alone."""
    guard = calm(live(stages=BOOK_POLICY.stages[1:]))
    guard.look(seen(10, *losing(0.0), wallet=9_600.0))
    guard.look(seen(13, *losing(0.0), wallet=9_200.0, ledger=()))
    guard.look(seen(16, *losing(0.0), wallet=8_900.0))
    assert [one.incident.stage for one in guard.decisions[-1].opened] == [TWO]
    waiting = guard.look(seen(17, *losing(0.0), wallet=8_900.0, is_second=True))
    assert (waiting.opened, waiting.wants_of(SCOPE)) == ((), (Want.LEDGER,))
    assert waiting.is_waiting(SCOPE)
    later = guard.look(seen(19, *losing(0.0), wallet=8_900.0, has_waited=True))
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


@pytest.mark.parametrize("jump_s", [7_200.0, -7_200.0])
def test_what_was_left_of_a_cooldown_is_left_after_the_clock_was_set(jump_s: float) -> None:
    """Done at 20 s, cooldown until 1,820 s; two hours forth or back change nothing of it."""
    guard = at_stage_1()
    guard.finish(20)
    guard.lose(30, 0.045)
    moved = guard.settle(
        Observation(
            now=NOON + 40 + jump_s,
            clock_jump_s=jump_s,
            scopes=(seen(40 + jump_s, *losing(0.045)),),
        )
    )
    assert moved.verdicts[0].trust is Trust.TRUSTED
    assert moved.records.scopes == (guard.scope,)
    assert [(one.event, one.scope, one.severity) for one in moved.records.audits] == [
        ("clock_moved", "*", Severity.WARNING)
    ]
    assert moved.records.audits[0].message.startswith(f"the clock was set by {jump_s:+.0f} s")
    assert guard.book.cooldowns[0] == NOON + 1_820 + jump_s
    guard.lose(1_819 + jump_s, 0.045)
    assert (guard.book.stage, len(guard.book.locks)) == (ONE, 1)
    assert guard.lose(1_820 + jump_s, 0.045).lock.locks == ()


@pytest.mark.parametrize("jump_s", [7_200.0, -7_200.0, 90_000.0])
def test_a_clock_that_is_set_hides_no_loss_and_ends_no_streak(jump_s: float) -> None:
    """Two readings of 4.5 %, the clock is set (even by 25 hours), and the third acts."""
    guard = calm()
    guard.lose(10, 0.045)
    guard.lose(13, 0.045)
    third = seen(16 + jump_s, *losing(0.045))
    decision = guard.settle(Observation(now=third.asked_at, clock_jump_s=jump_s, scopes=(third,)))
    assert [one.incident.stage for one in decision.opened] == [ONE]
    assert guard.book.streak(ONE).began_at == NOON + 10 + jump_s


def test_a_clock_that_is_set_keeps_the_wait_for_records() -> None:
    """Complete a second after its streak began, by the old clock as by the new."""
    guard = calm(ONLY_THREE)
    for at, wallet in FALLING_WALLET:
        guard.look(seen(at, *losing(0.0), wallet=wallet))
    second = seen(3_617, *losing(0.0), wallet=8_900.0, is_second=True)
    decision = guard.settle(
        Observation(now=second.asked_at, clock_jump_s=3_600.0, scopes=(second,))
    )
    assert (decision.opened, decision.wants_of(SCOPE)) == ((), (Want.LEDGER,))


def test_a_clock_set_back_a_little_lays_no_old_peak_open() -> None:
    """9,500 at 8 s, reset on it at 10 s, the clock goes back 3 s: the 10,000 stay forgotten."""
    guard = calm(ONLY_THREE)
    guard.lose(8, 0.05)
    guard.ask(10, asked("reset"))
    guard.lose(7, 0.10)
    assert guard.book.baseline_at == NOON + 8
    for at in (9, 11, 12, 15):
        decision = guard.lose(at, 0.10)
        worst = max(one.fraction for one in decision.verdicts[0].drawdowns)
        assert round(worst, 6) == round(500 / 9_500, 6)
    assert guard.book.stage is Stage.NORMAL
