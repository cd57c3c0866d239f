"""Rules of believable readings, and of how a doubt begins and ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory import AuditEntry, Doubt, ScopeMemory, Severity
from model import (
    Asset,
    Coin,
    Ledger,
    LedgerEntry,
    LedgerKind,
    MarginMode,
    Position,
    Reading,
    RecordId,
    RowKey,
    ScopeId,
    ScopeObservation,
    Side,
    Symbol,
    Trust,
    Want,
)
from policy import Policy
from trust import ScopeStep, move_times, observe_scope

SCOPE = ScopeId("binance_futures")
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
NOON = 1_700_000_000.0
POLICY = Policy(books=())
TRUSTED, SUSPECT, UNAVAILABLE = Trust.TRUSTED, Trust.SUSPECT, Trust.UNAVAILABLE


def position(
    quantity: str,
    entry: float,
    mark: float,
    *,
    symbol: Symbol = BTC,
    side: Side = Side.LONG,
    margin: float | None = None,
) -> Position:
    """A position whose profit follows from its prices; isolated when it has a margin."""
    return Position(
        symbol=symbol,
        base=Asset(symbol.removesuffix("USDT")),
        side=side,
        quantity=Decimal(quantity),
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=side.sign * float(quantity) * (mark - entry),
        margin=margin,
        margin_mode=MarginMode.CROSS if margin is None else MarginMode.ISOLATED,
    )


def record(
    number: str, kind: LedgerKind, at: float, amount: float, symbol: Symbol | None = None
) -> LedgerEntry:
    """A record of the venue, `at` seconds after noon."""
    return LedgerEntry(
        record_id=RecordId(number),
        scope=SCOPE,
        kind=kind,
        at=NOON + at,
        amount=amount,
        asset=Asset("USDT"),
        symbol=symbol,
    )


@dataclass
class Watch:
    """A scope being watched: feeds readings and remembers."""

    policy: Policy = POLICY
    memory: ScopeMemory = field(default_factory=lambda: ScopeMemory(scope=SCOPE))
    steps: list[ScopeStep] = field(default_factory=list)

    def see(
        self,
        at: float,
        equity: float | None,
        *positions: Position,
        coins: tuple[Coin, ...] = (),
        ledger: Iterable[LedgerEntry] | None = None,
        marks: Mapping[Symbol, float] | None = None,
        wallet: float | None = None,
        unrealised: float | None = None,
        breach_equity: float | None = None,
        running_streak: bool = False,
        late_s: float = 0.0,
        changed_at: Mapping[str, float] | tuple[tuple[str, float], ...] = (),
    ) -> ScopeStep:
        """Observe `at` seconds after noon; an equity of None is a failed read."""
        reading = None
        if equity is not None:
            reading = Reading(
                scope=SCOPE,
                asked_at=NOON + at,
                equity=equity,
                wallet=wallet,
                unrealised_pnl=unrealised,
                positions=positions,
                coins=coins,
                changed_at=tuple(changed_at.items())
                if isinstance(changed_at, Mapping)
                else changed_at,
            )
        seen = ScopeObservation(
            scope=SCOPE,
            asked_at=NOON + at,
            reading=reading,
            failure="" if reading else "timeout",
            marks=marks or {},
            ledger=None
            if ledger is None
            else Ledger(scope=SCOPE, since=NOON - 3600, asked_at=NOON + at, entries=tuple(ledger)),
        )
        step = observe_scope(
            self.memory,
            seen,
            policy=self.policy,
            now=NOON + at + late_s,
            breach_equity=breach_equity,
            running_streak=running_streak,
        )
        self.memory = step.memory
        self.steps.append(step)
        return step

    @property
    def adjusted(self) -> list[float]:
        """All equities of the history in today's money, rounded to a cent."""
        return [round(p.nav * self.memory.units, 2) for p in self.memory.history.points()]


def watching(*readings: tuple[float, float]) -> Watch:
    """A scope that has seen these (seconds, equity) without positions."""
    watch = Watch()
    for at, equity in readings:
        watch.see(at, equity)
    return watch


def events(step: ScopeStep) -> list[str]:
    """The words of the audit entries."""
    return [audit.event for audit in step.audits]


# --- availability -----------------------------------------------------------------------------


def test_failed_read_is_unavailable_and_never_an_empty_account() -> None:
    """The memory keeps its last equity, the reason is the venue's (lesson 10)."""
    watch = watching((0, 10_000))
    step = watch.see(10, None)
    assert (step.trust, step.equity, step.reasons) == (UNAVAILABLE, None, ("timeout",))
    assert step.record is None
    assert watch.memory.failures == 1
    assert watch.adjusted == [10_000]
    assert watch.see(20, 10_000).memory.failures == 0


def test_failed_read_without_a_reason_still_has_one() -> None:
    """An empty failure must not look like no reason."""
    seen = ScopeObservation(scope=SCOPE, asked_at=NOON, reading=None)
    step = observe_scope(
        ScopeMemory(scope=SCOPE),
        seen,
        policy=POLICY,
        now=NOON,
        breach_equity=None,
        running_streak=False,
    )
    assert step.reasons == ("no reading",)


@pytest.mark.parametrize(("late_s", "trust"), [(25.0, TRUSTED), (25.1, UNAVAILABLE)])
def test_reading_that_took_too_long_is_unavailable(late_s: float, trust: Trust) -> None:
    """max_reading_age_s is 25."""
    assert watching((0, 10_000)).see(10, 9_999, late_s=late_s).trust is trust


@pytest.mark.parametrize("at", [10.0, 9.0])
def test_overtaken_reading_is_dropped(at: float) -> None:
    """A slow answer to an older question must not replace a newer one."""
    watch = watching((0, 10_000), (10, 9_990))
    step = watch.see(at, 9_000)
    assert step.trust is UNAVAILABLE
    assert watch.adjusted == [10_000, 9_990]
    assert watch.memory.failures == 0


# --- the first reading ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equity", "held", "trust"),
    [
        (10_000.0, (), TRUSTED),
        (0.0, (), TRUSTED),  # honestly empty
        (0.0, (position("1", 100, 100),), SUSPECT),
        (-5.0, (), SUSPECT),
        (math.nan, (), SUSPECT),
        (math.inf, (), SUSPECT),
    ],
)
def test_first_reading_is_trusted_if_it_can_be_true(
    equity: float, held: tuple[Position, ...], trust: Trust
) -> None:
    """Finite, and above 0 or honestly empty."""
    step = Watch().see(0, equity, *held)
    assert step.trust is trust
    assert (step.memory.history.last is not None) is (trust is TRUSTED)


def test_empty_first_reading_with_a_coin_is_not_empty() -> None:
    """Coins worth something cannot add up to 0."""
    coin = Coin(asset=Asset("BTC"), quantity=Decimal(1), price=50_000.0)
    assert Watch().see(0, 0.0, coins=(coin,)).trust is SUSPECT


def test_first_reading_in_doubt_is_trusted_after_the_limit() -> None:
    """An account at -5 for 600 s is at -5; no doubt lasts for ever."""
    watch = Watch()
    watch.see(0, -5.0)
    assert watch.see(599, -5.0).trust is SUSPECT
    assert watch.see(600, -5.0).equity == -5.0


def test_first_reading_with_a_failed_cross_check_only_alerts() -> None:
    """Nothing is unexplained yet."""
    step = Watch().see(0, 10_000, wallet=5_000, unrealised=0)
    assert step.trust is TRUSTED
    assert events(step) == ["cross_check_failed"]


# --- explained and unexplained ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("equity", "mark", "unexplained", "trust"),
    [
        (9_000.0, 900.0, 0.0, TRUSTED),  # long 10 fell by 100: -1,000, all explained
        (9_200.0, 900.0, 0.0, TRUSTED),  # the fall is smaller: the bot's stop worked
        (8_800.0, 900.0, -200.0, TRUSTED),  # 2 %
        (8_400.0, 900.0, -600.0, SUSPECT),  # 6 %
        (10_600.0, 1_000.0, 600.0, SUSPECT),
        (10_500.0, 1_000.0, 500.0, TRUSTED),  # 5 % is not over 5 %
        (10_400.0, 900.0, 1_400.0, SUSPECT),  # up although the position fell
        (10_000.0, 900.0, 1_000.0, SUSPECT),  # not moved at all: a stale equity
    ],
)
def test_unexplained_is_what_prices_leave_over(
    equity: float, mark: float, unexplained: float, trust: Trust
) -> None:
    """Long 10 at mark 1,000 in an account of 10,000."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    step = watch.see(10, equity, position("10", 1_000, mark))
    assert step.unexplained == pytest.approx(unexplained)
    assert step.trust is trust
    assert step.equity == (equity if trust is TRUSTED else None)


def test_closed_position_explains_its_loss_at_the_later_mark() -> None:
    """A crash in which the position is gone: long 10, 1,000 -> 850, so -1,500 is explained."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    step = watch.see(10, 8_500, marks={BTC: 850.0})
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert watch.memory.results == ((RowKey(SCOPE, BTC, Side.LONG), -1_500.0),)


@pytest.mark.parametrize("beside", [-2_000.0, 2_000.0])
def test_a_new_position_explains_itself_beside_one_that_is_never_listed(beside: float) -> None:
    """Coin-margined profit of 2,000 is in the total before and after: a loss of 800 is new."""
    watch = Watch()
    watch.see(0, 10_000, unrealised=beside)
    step = watch.see(10, 9_200, position("10", 1_000, 920), unrealised=beside - 800)
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert dict(step.memory.results)[RowKey(SCOPE, BTC, Side.LONG)] == -800.0


def test_a_position_that_is_listed_again_makes_no_loss_anew() -> None:
    """Its loss of 800 was in the total while the list lacked it, beside 2,000 of another."""
    watch = Watch()
    watch.see(0, 10_000, unrealised=-2_800)
    step = watch.see(10, 10_000, position("10", 1_000, 920), unrealised=-2_800)
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert dict(step.memory.results)[RowKey(SCOPE, BTC, Side.LONG)] == 0.0


def test_isolated_position_explains_at_most_its_margin() -> None:
    """Margin 300 of a fall of 1,500: -1,200 of 10,000 stays unexplained."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000, margin=300.0))
    step = watch.see(10, 8_500, marks={BTC: 850.0})
    assert (step.trust, step.unexplained) == (SUSPECT, -1_200.0)


def test_row_results_and_the_unexplained_part_add_up() -> None:
    """-100, then +40 with 5 unexplained: running totals -60 and 5."""
    watch = Watch()
    watch.see(0, 10_000, position("1", 1_000, 1_000))
    watch.see(10, 9_900, position("1", 1_000, 900))
    step = watch.see(20, 9_945, position("1", 1_000, 940))
    last = step.memory.history.last
    assert last is not None
    assert last.results == ((RowKey(SCOPE, BTC, Side.LONG), -60.0),)
    assert (last.unexplained, step.memory.unexplained) == (5.0, 5.0)
    assert step.record is not None
    assert step.record.point == last


def test_funding_and_fees_explain_and_belong_to_the_row_they_name() -> None:
    """Funding -40 on BTC, a fee of -10 without a symbol; a realised result is no third cost."""
    watch = Watch()
    watch.see(0, 10_000, position("1", 1_000, 1_000))
    step = watch.see(
        10,
        9_950,
        position("1", 1_000, 1_000),
        ledger=[
            record("f", LedgerKind.FUNDING, 5, -40, BTC),
            record("c", LedgerKind.FEE, 6, -10),
            record("r", LedgerKind.REALISED, 7, -500, BTC),
        ],
    )
    assert step.unexplained == pytest.approx(0.0)
    assert dict(step.memory.results)[RowKey(SCOPE, BTC, Side.LONG)] == pytest.approx(-40.0)


def test_funding_of_a_hedged_symbol_is_split_by_notional() -> None:
    """Long 3 and short 1 at the same mark: -40 is -30 and -10."""
    watch = Watch()
    both = (position("3", 100, 100), position("1", 100, 100, side=Side.SHORT))
    watch.see(0, 10_000, *both)
    watch.see(10, 9_960, *both, ledger=[record("f", LedgerKind.FUNDING, 5, -40, BTC)])
    assert [made for _, made in watch.memory.results] == pytest.approx([-30.0, -10.0])


def test_what_a_closed_leg_realised_is_not_laid_at_the_other_legs_door() -> None:
    """A spike to 1,080 and back stops the short 10 out; the long 10 beside it lost nothing."""
    legs = position("10", 1_000, 1_000), position("10", 1_000, 1_000, side=Side.SHORT)
    watch = Watch()
    watch.see(0, 10_000, *legs)
    stopped = record("1", LedgerKind.REALISED, 5, -800.0, BTC)
    step = watch.see(10, 9_200, legs[0], ledger=[stopped], marks={BTC: 1_000.0})
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert step.memory.results == (
        (RowKey(SCOPE, BTC, Side.LONG), 0.0),
        (RowKey(SCOPE, BTC, Side.SHORT), -800.0),
    )


def test_what_came_and_went_between_two_readings_is_no_loss_of_the_leg_beside_it() -> None:
    """A short that was opened and stopped out meanwhile lost 800; the long 10 did not change."""
    long = position("10", 1_000, 1_000)
    watch = Watch()
    watch.see(0, 10_000, long)
    stopped = record("1", LedgerKind.REALISED, 5, -800.0, BTC)
    step = watch.see(10, 9_200, long, ledger=[stopped])
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert step.memory.results == ((RowKey(SCOPE, BTC, Side.LONG), 0.0),)


def test_late_funding_moves_from_unexplained_to_its_row_once() -> None:
    """-50 at 5 s is judged at 10 s, told at 60 s, told again at 120 s."""
    watch = Watch()
    held = position("1", 1_000, 1_000)
    watch.see(0, 10_000, held)
    watch.see(10, 9_950, held)
    assert watch.memory.unexplained == -50.0
    told = [record("f", LedgerKind.FUNDING, 5, -50, BTC)]
    for at in (60, 120):
        watch.see(at, 9_950, held, ledger=told)
        assert watch.memory.unexplained == 0.0
        assert dict(watch.memory.results)[RowKey(SCOPE, BTC, Side.LONG)] == -50.0


def test_late_funding_of_a_closed_position_is_found_among_the_results() -> None:
    """The position is gone when the record comes; a symbol never held is credited nowhere."""
    watch = Watch()
    watch.see(0, 10_000, position("1", 1_000, 1_000))
    watch.see(10, 9_950, marks={BTC: 1_000.0})
    watch.see(
        20,
        9_950,
        ledger=[
            record("f", LedgerKind.FUNDING, 5, -30, BTC),
            record("g", LedgerKind.FUNDING, 5, -20, ETH),
        ],
    )
    assert watch.memory.results == ((RowKey(SCOPE, BTC, Side.LONG), -30.0),)
    assert watch.memory.unexplained == 0.0


def test_old_records_from_before_the_first_reading_are_not_credited() -> None:
    """They are in the first equity already, as are empty and unreadable ones."""
    watch = watching((0, 10_000))
    watch.see(
        10,
        10_000,
        ledger=[
            record("f", LedgerKind.FUNDING, -50, -30, BTC),
            record("z", LedgerKind.FEE, -40, 0.0),
            record("n", LedgerKind.FEE, -40, math.nan),
        ],
    )
    assert watch.memory.unexplained == 0.0
    assert [entry.record_id for entry in watch.memory.entries] == ["f"]


def test_records_older_than_an_hour_behind_the_last_answer_are_not_taken_in_again() -> None:
    """Their ids are forgotten by then, so they would count twice."""
    watch = watching((0, 10_000))
    told = [record("f", LedgerKind.FUNDING, 5, -50)]
    watch.see(10, 9_950, ledger=told)
    for at in range(20, 4_000, 300):
        watch.see(at, 9_950, ledger=told)
    assert watch.memory.entries == ()
    assert watch.memory.unexplained == 0.0


def test_coin_prices_explain_a_spot_account() -> None:
    """2 BTC from 50,000 to 45,000: -10,000."""
    watch = Watch()
    coin = Coin(asset=Asset("BTC"), quantity=Decimal(2), price=50_000.0)
    watch.see(0, 100_000, coins=(coin,))
    step = watch.see(10, 90_000, coins=(replace(coin, price=45_000.0),))
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)


def test_an_owed_coin_that_rises_explains_a_fall() -> None:
    """2 BTC owed, from 50,000 to 55,000: -10,000, on the side of the shorts."""
    watch = Watch()
    coin = Coin(asset=Asset("BTC"), quantity=Decimal(-2), price=50_000.0)
    watch.see(0, 100_000, coins=(coin,))
    step = watch.see(10, 90_000, coins=(replace(coin, price=55_000.0),))
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert [(key.side, made) for key, made in step.memory.results] == [(Side.SHORT, -10_000)]


# --- long gaps --------------------------------------------------------------------------------


def test_after_a_long_gap_unchanged_positions_explain_themselves() -> None:
    """Eleven minutes; long 10 at the same entry fell by 100."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    assert watch.see(660, 9_000, position("10", 1_000, 900)).trust is TRUSTED


def test_after_a_long_gap_a_changed_position_is_decided_by_the_ledger() -> None:
    """Long 10 -> 5 with -700 realised on the half, and -500 unrealised on the rest: -1,200.

    Without the ledger nothing explains it; with it everything does.
    """
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    after = position("5", 1_000, 900)
    step = watch.see(660, 8_800, after)
    assert (step.trust, step.unexplained) == (SUSPECT, -1_200.0)
    assert step.wants == (Want.LEDGER,)
    step = watch.see(663, 8_800, after, ledger=[record("r", LedgerKind.REALISED, 300, -700, BTC)])
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert dict(watch.memory.results)[RowKey(SCOPE, BTC, Side.LONG)] == pytest.approx(-1_200.0)


def test_within_ten_minutes_a_changed_position_explains_itself() -> None:
    """Ten minutes exactly: the closed half counts to the later mark."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    assert watch.see(600, 9_000, position("5", 1_000, 900)).trust is TRUSTED


def test_gap_in_which_the_ledger_is_told_in_part_explains_only_that_part() -> None:
    """BTC closed with -900 on record; ETH changed too, but the answer is from long before now."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000), position("10", 500, 500, symbol=ETH))
    watch.see(300, None, ledger=[record("r", LedgerKind.REALISED, 200, -900, BTC)])
    step = watch.see(900, 8_300, position("5", 500, 460, symbol=ETH))
    assert step.unexplained == pytest.approx(-800.0)


def test_coin_that_changed_over_a_gap_explains_nothing() -> None:
    """1 BTC at 50,000 became 1.5 at 40,000; beside it a position with a record."""
    watch = Watch()
    coin = Coin(asset=Asset("BTC"), quantity=Decimal(1), price=50_000.0)
    watch.see(0, 100_000, position("1", 1_000, 1_000, symbol=ETH), coins=(coin,))
    step = watch.see(
        900,
        90_000,
        coins=(replace(coin, quantity=Decimal("1.5"), price=40_000.0),),
        ledger=[record("r", LedgerKind.REALISED, 300, -2_000, ETH)],
    )
    assert step.unexplained == pytest.approx(-8_000.0)


def test_history_without_positions_is_compared_all_the_same() -> None:
    """A store that lost the last reading still knows the last equity."""
    watch = watching((0, 10_000))
    watch.memory = replace(watch.memory, last_trusted=None)
    assert watch.see(10, 9_000).trust is SUSPECT


# --- SUSPECT ----------------------------------------------------------------------------------


@pytest.mark.parametrize("equity", [math.nan, math.inf, -math.inf])
def test_equity_that_is_not_a_number_is_suspect(equity: float) -> None:
    """A NaN compares false both ways; it must not slip through as believed."""
    watch = watching((0, 10_000))
    step = watch.see(10, equity)
    assert (step.trust, step.unexplained) == (SUSPECT, 0.0)
    assert watch.memory.suspicion is not None
    assert watch.memory.suspicion.doubts == ()
    assert watch.adjusted == [10_000]


def test_price_that_is_not_a_number_is_suspect() -> None:
    """An unpriced coin makes the explanation worthless, not the doubt."""
    watch = Watch()
    coin = Coin(asset=Asset("BTC"), quantity=Decimal(1), price=50_000.0)
    watch.see(0, 100_000, coins=(coin,))
    step = watch.see(10, 99_000, coins=(replace(coin, price=math.nan),))
    assert step.trust is SUSPECT
    assert watch.memory.results == ()


@pytest.mark.parametrize(
    ("mark", "trust"),
    [
        (0.0, TRUSTED),  # -10,000 explained, equity 0
        (3.0, TRUSTED),  # 30 left over: 0.3 %
        (30.0, SUSPECT),  # 300 left over: 3 %, and equity is 0
    ],
)
def test_equity_of_nothing_needs_an_explanation(mark: float, trust: Trust) -> None:
    """Long 10 at 1,000, account of 10,000, equity now 0."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    assert watch.see(10, 0.0, position("10", 1_000, mark)).trust is trust


@pytest.mark.parametrize(
    ("equity", "wallet", "unrealised", "trust", "audits"),
    [
        (9_800.0, 9_800.0, 0.0, TRUSTED, []),  # 2 % unexplained, checks hold
        (9_800.0, 9_600.0, 0.0, SUSPECT, ["suspect"]),  # wallet is 200 short
        (9_800.0, 9_600.0, 200.0, SUSPECT, ["suspect"]),  # positions add up to 0, not 200
        (9_950.0, 9_700.0, 0.0, TRUSTED, ["cross_check_failed"]),  # 0.5 % unexplained
        (9_800.0, 9_700.0, 0.0, TRUSTED, []),  # 100 is within 1 % of equity
        (9_800.0, math.nan, 0.0, SUSPECT, ["suspect"]),
        (9_800.0, None, 0.0, TRUSTED, []),  # nothing to check
    ],
)
def test_failed_cross_check_needs_one_percent_unexplained(
    equity: float, wallet: float | None, unrealised: float, trust: Trust, audits: list[str]
) -> None:
    """Account of 10,000 without positions."""
    watch = watching((0, 10_000))
    step = watch.see(10, equity, wallet=wallet, unrealised=unrealised)
    assert (step.trust, events(step)) == (trust, audits)


@pytest.mark.parametrize(("defines_equity", "trust"), [(True, SUSPECT), (False, TRUSTED)])
def test_wallet_and_profit_are_compared_with_equity_only_where_they_define_it(
    defines_equity: bool, trust: Trust
) -> None:
    """A multi-asset account counts coins beside its wallet: 9,800 against 9,600 is no doubt."""
    watch = watching((0, 10_000))
    reading = Reading(
        scope=SCOPE,
        asked_at=NOON + 10,
        equity=9_800.0,
        wallet=9_600.0,
        unrealised_pnl=0.0,
        positions=(),
        wallet_defines_equity=defines_equity,
    )
    step = observe_scope(
        watch.memory,
        ScopeObservation(scope=SCOPE, asked_at=NOON + 10, reading=reading),
        policy=POLICY,
        now=NOON + 10,
        breach_equity=None,
        running_streak=False,
    )
    assert step.trust is trust


def test_cross_check_tolerance_grows_with_gross_notional() -> None:
    """0.5 % of 100,000 is 500: a total 400 off its positions still agrees."""
    watch = Watch()
    held = position("100", 1_000, 1_000)
    watch.see(0, 10_000, held)
    step = watch.see(10, 9_800, held, wallet=9_800, unrealised=400.0)
    assert step.trust is TRUSTED


def test_failed_cross_check_is_shown_each_time_and_alerted_once() -> None:
    """Ten polls with the same fault are one alert; a new fault is a new one."""
    watch = watching((0, 10_000))
    shown = [watch.see(at, 10_000, wallet=9_000, unrealised=0) for at in (10, 20)]
    assert [events(step) for step in shown] == [["cross_check_failed"], []]
    assert all(step.reasons for step in shown)
    watch.see(30, 10_000, wallet=10_000, unrealised=0)
    assert events(watch.see(40, 10_000, wallet=9_000, unrealised=0)) == ["cross_check_failed"]


def test_suspect_reading_leaves_no_trace_in_the_history() -> None:
    """Never a peak: an absurdly high reading and its record."""
    watch = watching((0, 10_000))
    step = watch.see(10, 99_000)
    assert (step.trust, step.equity) == (SUSPECT, None)
    assert watch.adjusted == [10_000]
    assert step.record is not None
    assert (step.record.trust, step.record.point) == (SUSPECT, None)
    assert watch.memory.last_trusted is not None
    assert watch.memory.last_trusted.equity == 10_000


def test_glitch_that_goes_away_ends_the_suspicion() -> None:
    """999 -> 517 -> 999: a leg was missing for a moment."""
    watch = watching((0, 999))
    begun = watch.see(10, 517)
    assert (begun.trust, events(begun)) == (SUSPECT, ["suspect"])
    assert begun.audits[0].severity is Severity.WARNING
    step = watch.see(13, 999)
    assert (step.trust, events(step)) == (TRUSTED, ["suspicion_ended"])
    assert watch.memory.suspicion is None


def test_three_wrong_samples_within_eight_seconds_confirm_nothing() -> None:
    """The fall must stay the same for 120 s."""
    watch = watching((0, 999))
    assert [watch.see(at, 517).trust for at in (2, 5, 8)] == [SUSPECT] * 3


def test_dust_in_an_empty_account_is_no_suspicion() -> None:
    """0 -> 4 is measured against the least equity worth judging, 100."""
    assert watching((0, 0.0)).see(10, 4.0).trust is TRUSTED
    assert watching((0, 0.0)).see(10, 6.0).trust is SUSPECT


# --- proven part ------------------------------------------------------------------------------


def test_breach_at_the_explained_equity_is_trusted_at_that_value() -> None:
    """Long 10 fell by 100: 9,000 is proven. The venue says 8,000, or 12,000, or nothing at all."""
    for claimed in (8_000.0, 12_000.0, math.nan):
        watch = Watch()
        watch.see(0, 10_000, position("10", 1_000, 1_000))
        step = watch.see(10, claimed, position("10", 1_000, 900), breach_equity=9_550.0)
        assert (step.trust, step.equity) == (TRUSTED, 9_000.0)
        assert watch.memory.suspicion is not None
        last = watch.memory.history.last
        assert last is not None
        assert (last.equity, last.may_be_peak) == (9_000.0, False)
        assert step.record is not None
        assert step.record.point == last


def test_explained_equity_above_the_breach_stays_in_doubt() -> None:
    """9,600 is proven and breaches nothing."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    step = watch.see(10, 8_000, position("10", 1_000, 960), breach_equity=9_550.0)
    assert step.trust is SUSPECT


def test_doubt_goes_on_beside_its_proven_part() -> None:
    """Proven 9,000, claimed 8,000 for 120 s: the other 1,000 becomes a loss, counted once."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    fallen = position("10", 1_000, 900)
    values = [
        watch.see(at, 8_000, fallen, breach_equity=9_550.0).equity for at in (10, 70, 129, 130)
    ]
    assert values == [9_000.0, 9_000.0, 9_000.0, 8_000.0]
    assert events(watch.steps[-1]) == ["unexplained_loss"]
    assert dict(watch.memory.results) == {RowKey(SCOPE, BTC, Side.LONG): -1_000.0}
    assert watch.memory.unexplained == -1_000.0


def test_a_withdrawal_is_no_loss_that_is_proven() -> None:
    """3,000 were withdrawn in the dark, and 700 are missing: 7,000 are explained, not lost."""
    watch = watching((0, 10_000))
    gone = [record("w", LedgerKind.TRANSFER, 300, -3_000)]
    for at in (700, 703):
        step = watch.see(at, 6_300, ledger=gone, breach_equity=9_550.0)
        assert step.trust is SUSPECT
    assert watch.adjusted == [10_000]
    assert [flow.effective_at for flow in watch.memory.flows] == [None]


def test_a_loss_beside_a_withdrawal_is_proven() -> None:
    """BTC lost 600, 3,000 were withdrawn and 700 are missing: 6 % of 10,000, and of 6,808.51.

    What the record explains was never counted as unexplained, so it relieves nothing: a later fall
    of as much is a doubt, and takes nothing back.
    """
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    gone = [record("w", LedgerKind.TRANSFER, 300, -3_000)]
    step = watch.see(610, 5_700, position("10", 1_000, 940), ledger=gone, breach_equity=9_550.0)
    assert (step.trust, step.equity, step.unexplained) == (TRUSTED, 6_400.0, -700.0)
    assert [flow.factor for flow in step.flows] == [pytest.approx(6_400 / 9_400)]
    assert watch.adjusted == [6_808.51, 6_400]
    told = [*gone, record("v", LedgerKind.TRANSFER, 305, -700)]
    assert watch.see(613, 5_700, position("10", 1_000, 940), ledger=told).trust is TRUSTED
    assert watch.memory.unexplained == 0.0
    assert watch.see(620, 2_800, position("10", 1_000, 940)).trust is SUSPECT


def test_explained_equity_without_prices_proves_nothing() -> None:
    """An unpriced coin: no figure to trust, breach or not."""
    watch = Watch()
    coin = Coin(asset=Asset("BTC"), quantity=Decimal(1), price=50_000.0)
    watch.see(0, 100_000, coins=(coin,))
    nothing = replace(coin, price=math.nan)
    assert watch.see(10, 50_000, coins=(nothing,), breach_equity=95_500.0).trust is SUSPECT


# --- how a suspicion ends ---------------------------------------------------------------------


def test_flow_in_the_ledger_ends_a_suspicion() -> None:
    """12:00 10,000; 12:05 withdrawal of 2,000: suspect, then booked and trusted; drawdown 0."""
    watch = watching((0, 10_000), (290, 10_000))
    assert watch.see(300, 8_000).trust is SUSPECT
    step = watch.see(303, 8_000, ledger=[record("w", LedgerKind.TRANSFER, 299, -2_000)])
    assert (step.trust, step.equity, step.unexplained) == (TRUSTED, 8_000.0, 0.0)
    assert [flow.factor for flow in step.flows] == [0.8]
    assert watch.adjusted == [8_000, 8_000, 8_000]
    assert watch.memory.unexplained == 0.0


def test_flow_that_explains_only_a_part_leaves_the_rest_in_doubt() -> None:
    """A withdrawal of 1,000 of a fall of 2,000; the rest is a loss in the end."""
    watch = watching((0, 10_000))
    told = [record("w", LedgerKind.TRANSFER, 9, -1_000)]
    step = watch.see(10, 8_000, ledger=told)
    assert (step.trust, step.unexplained) == (SUSPECT, -1_000.0)
    step = watch.see(130, 8_000, ledger=told)
    assert (step.trust, step.unexplained) == (TRUSTED, -1_000.0)
    # 10,000 before the withdrawal counts 10,000 x 8,000 / 9,000 = 8,888.89 now.
    assert watch.adjusted == [8_888.89, 8_000]


@pytest.mark.parametrize(
    ("kind", "shown", "trust"),
    [
        (LedgerKind.LIQUIDATION, -1_900.0, TRUSTED),
        (LedgerKind.REALISED, -1_000.0, TRUSTED),  # half
        (LedgerKind.REALISED, -990.0, SUSPECT),  # less than half
        (LedgerKind.FUNDING, -1_000.0, TRUSTED),
        (LedgerKind.FEE, -1_000.0, TRUSTED),
        (LedgerKind.OTHER, -1_900.0, SUSPECT),
    ],
)
def test_losses_in_the_ledger_for_half_of_the_fall_are_believed_at_once(
    kind: LedgerKind, shown: float, trust: Trust
) -> None:
    """A fall of 2,000 without any position to explain it."""
    watch = watching((0, 10_000))
    assert watch.see(10, 8_000).trust is SUSPECT
    step = watch.see(13, 8_000, ledger=[record("x", kind, 8, shown, BTC)])
    assert step.trust is trust
    if trust is TRUSTED:
        assert events(step) == ["suspicion_ended"]
        assert step.unexplained == pytest.approx(-2_000 - shown)


def test_liquidation_below_every_mark_seen_is_credited_to_its_row() -> None:
    """Long 10 at entry 1,000, liquidated at 850 (-1,500 realised); the mark is back at 990.

    Prices explain -100, the ledger all of it.
    """
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    assert watch.see(10, 8_500, marks={BTC: 990.0}).unexplained == pytest.approx(-1_400.0)
    told = [record("l", LedgerKind.LIQUIDATION, 5, -1_500, BTC)]
    step = watch.see(13, 8_500, marks={BTC: 990.0}, ledger=told)
    assert (step.trust, step.unexplained) == (TRUSTED, 0.0)
    assert dict(watch.memory.results)[RowKey(SCOPE, BTC, Side.LONG)] == pytest.approx(-1_500.0)


def test_ledger_replaces_prices_only_where_it_tells() -> None:
    """BTC liquidated at 850 (mark 990 again) is told; ETH, closed at its mark, explains itself.

    -1,500 from the ledger and -200 from ETH: 10 x (500 - 520).
    """
    watch = Watch()
    eth = position("10", 520, 520, symbol=ETH)
    watch.see(0, 10_000, position("10", 1_000, 1_000), eth)
    told = [record("l", LedgerKind.LIQUIDATION, 5, -1_500, BTC)]
    step = watch.see(10, 8_300, marks={BTC: 990.0, ETH: 500.0}, ledger=told)
    assert step.trust is TRUSTED
    assert step.unexplained == pytest.approx(0.0)
    assert [made for _, made in watch.memory.results] == pytest.approx([-1_500.0, -200.0])


def test_realised_loss_that_was_unrealised_before_explains_nothing_new() -> None:
    """Long 10 stood at -1,500 already; closing it at that price moves no equity.

    The venue claims another 2,000 less: the record must not lend it credit.
    """
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 850))
    told = [record("r", LedgerKind.REALISED, 5, -1_500, BTC)]
    step = watch.see(10, 8_000, marks={BTC: 850.0}, ledger=told)
    assert (step.trust, step.unexplained) == (SUSPECT, -2_000.0)


def test_ledger_that_explains_too_much_ends_nothing() -> None:
    """A fall of 800 and a record of -4,000: the rest of 3,200 is a doubt of its own."""
    watch = watching((0, 10_000))
    watch.see(10, 9_200)
    step = watch.see(13, 10_600, ledger=[record("f", LedgerKind.FUNDING, 8, -4_000)])
    assert (step.trust, step.unexplained) == (SUSPECT, 4_600.0)


def test_consistent_rise_is_booked_as_an_inflow_and_no_peak() -> None:
    """10,000 -> 12,000 three times: factor 12,000 / 10,000, so today's peak is 12,000, not more.

    A fall to 11,400 then is 600 / 12,000 = 0.05.
    """
    watch = watching((0, 10_000))
    trusts = [watch.see(at, 12_000).trust for at in (10, 13, 16)]
    assert trusts == [SUSPECT, SUSPECT, TRUSTED]
    step = watch.steps[-1]
    assert events(step) == ["inferred_inflow"]
    (flow,) = step.flows
    assert (flow.amount, flow.factor, flow.is_inferred) == (2_000.0, 1.2, True)
    assert step.unexplained == 0.0
    assert watch.adjusted == [12_000, 12_000]


def test_rise_that_keeps_changing_is_no_inflow() -> None:
    """More than 1 % of equity apart: no agreement, however many."""
    watch = watching((0, 10_000))
    for at, equity in ((10, 12_000), (13, 12_200), (16, 12_400), (19, 12_600)):
        assert watch.see(at, equity).trust is SUSPECT


def test_slow_drift_is_no_agreement() -> None:
    """Each within 1 % of its neighbour, the third 1.6 % from the first; then it settles."""
    watch = watching((0, 10_000))
    trusts = [watch.see(at, e).trust for at, e in ((10, 12_000), (13, 12_080), (16, 12_160))]
    assert trusts == [SUSPECT] * 3
    assert watch.see(19, 12_160).trust is TRUSTED


def test_disagreement_starts_the_count_anew() -> None:
    """12,000, 13,000 and then 12,000 again: the third agrees with the one before it only."""
    watch = watching((0, 10_000))
    for at, equity in ((10, 12_000), (13, 13_000), (16, 12_000), (19, 12_000)):
        assert watch.see(at, equity).trust is SUSPECT
    suspicion = watch.memory.suspicion
    assert suspicion is not None
    assert (suspicion.since, suspicion.consistent_since) == (NOON + 10, NOON + 16)
    assert watch.see(22, 12_000).trust is TRUSTED


def test_doubts_less_than_two_seconds_apart_are_one() -> None:
    """Three readings within 3 s are two doubts."""
    watch = watching((0, 10_000))
    trusts = [watch.see(at, 12_000).trust for at in (10, 11.5, 13, 15)]
    assert trusts == [SUSPECT, SUSPECT, SUSPECT, TRUSTED]


def test_record_replaces_the_inferred_inflow_it_confirms() -> None:
    """Inferred 2,000; the venue tells of 1,900 at 12:00:09. One flow stays, factor 12 / 10.1."""
    watch = watching((0, 10_000))
    for at in (10, 13, 16):
        watch.see(at, 12_000)
    told = [record("d", LedgerKind.TRANSFER, 9, 1_900)]
    step = watch.see(60, 12_000, ledger=told)
    gone, flow = step.flows
    assert (gone.is_cancelled, gone.effective_at, gone.factor) == (True, None, 1.0)
    assert (flow.record_id, flow.effective_at) == ("d", NOON + 16)
    assert flow.factor == pytest.approx(12_000 / 10_100)
    assert watch.adjusted == [round(10_000 * 12_000 / 10_100, 2), 12_000, 12_000]
    assert watch.memory.unexplained == pytest.approx(100.0)
    assert watch.see(70, 12_000, ledger=told).flows == ()


@pytest.mark.parametrize(
    ("at", "amount"),
    [(9, 1_700.0), (9, -2_000.0), (-3_700, 2_000.0)],
)
def test_record_that_does_not_match_replaces_nothing(at: float, amount: float) -> None:
    """15 % off, of the other sign, or more than an hour apart."""
    watch = watching((-4_000, 10_000), (0, 10_000))
    for when in (10, 13, 16):
        watch.see(when, 12_000)
    watch.see(17, 12_000, ledger=[record("d", LedgerKind.TRANSFER, at, amount)])
    assert [flow.is_cancelled for flow in watch.memory.flows if flow.is_inferred] == [False]


def test_step_that_undoes_an_inferred_inflow_cancels_it() -> None:
    """10,000 -> 12,000 for a while -> 10,050 again: nothing was lost, and 12,000 is no peak."""
    watch = watching((0, 10_000))
    for at in (10, 13, 16, 30):
        watch.see(at, 12_000)
    assert [watch.see(at, 10_050).trust for at in (40, 43)] == [SUSPECT, SUSPECT]
    step = watch.see(46, 10_050)
    assert (step.trust, events(step)) == (TRUSTED, ["inferred_inflow_undone"])
    assert [flow.is_cancelled for flow in step.flows] == [True, True]
    assert watch.adjusted == [10_000, 10_000, 10_000, 10_050]
    assert watch.memory.units == pytest.approx(1.0)


def test_undoing_of_five_percent_needs_no_suspicion() -> None:
    """5.2 % up, and down again: 520 is 4.9 % of 10,520, too little to be doubted for its size.

    It is doubted for what it undoes, until three readings agree, and then no drawdown.
    """
    watch = watching((0, 10_000))
    for at in (10, 13, 16):
        watch.see(at, 10_520)
    assert events(watch.see(20, 10_000)) == ["suspect"]
    watch.see(23, 10_000)
    assert events(watch.see(26, 10_000)) == ["inferred_inflow_undone"]
    assert max(watch.adjusted) == 10_000


def test_a_step_that_is_small_by_now_undoes_nothing() -> None:
    """8 were inferred when there were 20. Beside 9,700, 8 less are no doubt and no new baseline."""
    watch = watching((0, 20.0), (10, 28.0), (13, 28.0), (16, 28.0))
    assert [flow.is_inferred for flow in watch.memory.flows] == [True]
    watch.see(60, 10_028, ledger=[record("d", LedgerKind.TRANSFER, 59, 10_000)])
    watch.see(70, 9_700)
    for at in (1_000, 1_003, 1_006):
        step = watch.see(at, 9_692)
        assert (step.trust, step.baseline_at, step.flows) == (TRUSTED, None, ())


def test_one_stale_answer_undoes_no_inflow() -> None:
    """Money came, its record is not listed yet, and one answer is from before: 12,000 stays."""
    watch = watching((0, 10_000))
    for at in (10, 13, 16):
        watch.see(at, 12_000)
    assert watch.see(20, 10_000).trust is SUSPECT
    step = watch.see(23, 12_000)
    assert (step.trust, step.flows) == (TRUSTED, ())
    assert watch.memory.units == pytest.approx(1.2)
    assert watch.adjusted == [12_000, 12_000, 12_000]


def test_inflow_into_nothing_starts_the_baseline_anew() -> None:
    """50 -> 10,050: E - F is 50, under 100. Undone, the baseline moves once more."""
    watch = watching((0, 50))
    steps = [watch.see(at, 10_050) for at in (10, 13, 16)]
    assert [step.baseline_at for step in steps] == [None, None, NOON + 16]
    assert [watch.see(at, 50).baseline_at for at in (40, 43, 46)] == [None, None, NOON + 46]


@pytest.mark.parametrize("ledger", [(), None], ids=["shows nothing", "cannot be read"])
def test_consistent_fall_is_a_loss_after_the_grace(ledger: tuple[LedgerEntry, ...] | None) -> None:
    """2,000 gone and no record of it: 120 s of agreement, alerted from the start."""
    watch = watching((0, 10_000))
    assert events(watch.see(10, 8_000, ledger=ledger)) == ["suspect"]
    assert watch.see(129, 8_000, ledger=ledger).trust is SUSPECT
    step = watch.see(130, 8_000, ledger=ledger)
    assert (step.trust, step.equity, step.unexplained) == (TRUSTED, 8_000.0, -2_000.0)
    assert [(a.event, a.severity) for a in step.audits] == [
        ("unexplained_loss", Severity.CRITICAL),
        ("sight_regained", Severity.INFO),
    ]
    assert watch.adjusted == [10_000, 8_000]
    assert watch.memory.unexplained == -2_000.0


def test_grace_counts_agreement_only() -> None:
    """The figure changes at 70 s: the 120 s begin there."""
    watch = watching((0, 10_000))
    for at, equity in ((10, 8_000), (70, 7_000), (129, 7_000), (189, 7_000)):
        assert watch.see(at, equity).trust is SUSPECT
    assert watch.see(190, 7_000).trust is TRUSTED


def test_failed_reads_and_restarts_do_not_stop_the_timer() -> None:
    """Everything is in the memory: a failed read in between, and the next run goes on."""
    watch = watching((0, 10_000))
    watch.see(10, 8_000)
    watch.see(60, None)
    restarted = Watch(memory=watch.memory)
    assert restarted.see(130, 8_000).trust is TRUSTED


def test_withdrawal_told_after_it_was_accepted_as_a_loss_is_none() -> None:
    """The record comes five minutes late: the peak is scaled, and no loss is left to undo."""
    watch = watching((0, 10_000))
    watch.see(10, 8_000)
    watch.see(130, 8_000)
    assert len(watch.memory.accepted_losses) == 1
    watch.see(300, 8_000, ledger=[record("w", LedgerKind.TRANSFER, 9, -2_000)])
    assert watch.adjusted == [8_000, 8_000, 8_000]
    assert watch.memory.unexplained == 0.0
    assert not watch.memory.accepted_losses


def test_rise_that_undoes_an_accepted_loss_is_no_inflow() -> None:
    """8,000 accepted, then 10,050 again: the peak of 10,000 stands, nothing is booked."""
    watch = watching((0, 10_000))
    watch.see(10, 8_000)
    watch.see(130, 8_000)
    assert [watch.see(at, 10_050).trust for at in (140, 143)] == [SUSPECT, SUSPECT]
    step = watch.see(146, 10_050)
    assert (step.trust, events(step)) == (TRUSTED, ["unexplained_loss_undone"])
    assert step.flows == ()
    assert watch.adjusted == [10_000, 8_000, 10_050]
    assert watch.memory.accepted_losses == ()
    assert watch.memory.unexplained == 50.0


def test_one_stale_answer_takes_no_accepted_loss_back() -> None:
    """What agreed for 120 s is not forgotten for one reading that says otherwise."""
    watch = watching((0, 10_000))
    for at in (10, 130, 133):
        watch.see(at, 8_000)
    assert watch.see(136, 10_000).trust is SUSPECT
    assert watch.see(139, 8_000).trust is TRUSTED
    assert watch.adjusted == [10_000, 8_000, 8_000, 8_000]
    assert len(watch.memory.accepted_losses) == 1


@pytest.mark.parametrize("wrong", [9_600, 10_400])
def test_a_wrong_answer_leaves_the_history_when_it_is_taken_back(wrong: float) -> None:
    """4 % nobody explains, for three readings: as a rise it would be a peak for a day."""
    watch = watching((0, 10_000), (3, 10_010))
    for at in (6, 9, 12):
        assert watch.see(at, wrong).trust is TRUSTED
    step = watch.see(15, 10_020)
    assert (step.trust, step.equity, events(step)) == (TRUSTED, 10_020.0, [])
    assert watch.adjusted == [10_000, 10_010, wrong, wrong, wrong, 10_020]
    step = watch.see(18, 10_020)
    assert (step.trust, step.equity, events(step)) == (TRUSTED, 10_020.0, ["step_taken_back"])
    assert watch.adjusted == [10_000, 10_010, 10_020, 10_020, 10_020, 10_020, 10_020]
    assert watch.memory.unexplained == 20.0


@pytest.mark.parametrize("stale_at", [(15,), (15, 30), (15, 18)])
def test_a_stale_answer_takes_nothing_right_back(stale_at: tuple[float, ...]) -> None:
    """340 leave and no record says so yet; answers of before that come once more, or twice."""
    watch = watching((0, 10_000), (3, 10_000))
    for at in range(6, 61, 3):
        watch.see(at, 10_000 if at in stale_at else 9_660)
    assert watch.adjusted[:2] == [10_000] * 2
    if stale_at == (15, 18):
        # Two in a row agree with one another: what was right is forgotten, and then they are.
        assert watch.adjusted[2:5] == [10_000] * 3
    else:
        assert set(watch.adjusted[2:]) == {9_660}
    assert watch.memory.unexplained == -340
    watch.see(63, 9_660, ledger=[record("w", LedgerKind.TRANSFER, 5, -340)])
    if stale_at != (15, 18):
        assert set(watch.adjusted) == {9_660}


@pytest.mark.parametrize("wrong_at", [(15,), (15, 21)])
def test_a_wrong_answer_is_forgotten_beside_another(wrong_at: tuple[float, ...]) -> None:
    """400 too much at second 6; before the right value is confirmed 200 too little come."""
    watch = watching((0, 10_000), (6, 10_400), (9, 10_000))
    for at in range(12, 40, 3):
        watch.see(at, 9_800 if at in wrong_at else 10_000)
    assert set(watch.adjusted) == {10_000}


def test_a_real_peak_beside_a_wrong_answer_is_kept() -> None:
    """BTC makes 500, 150 come and go unexplained, BTC loses 600: the peak was 10,500."""
    watch = Watch()
    watch.see(0, 10_000, position("10", 1_000, 1_000))
    watch.see(10, 10_650, position("10", 1_000, 1_050))
    for at, told in ((100, []), (103, ["step_taken_back"])):
        step = watch.see(at, 9_900, position("10", 1_000, 990))
        assert (step.trust, events(step)) == (TRUSTED, told)
    assert watch.adjusted == [10_000, 10_500, 9_900, 9_900]
    assert [point.unexplained for point in watch.memory.history.points()] == [0.0] * 4


def test_where_nothing_was_left_beside_a_wrong_answer_is_no_peak() -> None:
    """30 go unexplained, BTC loses 970, makes 500, and the 30 come back: 0 cannot be scaled."""
    watch = Watch()
    watch.see(0, 1_000, position("10", 1_000, 1_000))
    watch.see(10, 970, position("10", 1_000, 1_000))
    watch.see(20, 0, position("10", 1_000, 903))
    for at, told in ((30, []), (33, ["step_taken_back"])):
        step = watch.see(at, 530, position("10", 1_000, 953))
        assert (step.trust, events(step)) == (TRUSTED, told)
    points = list(watch.memory.history.points())
    assert [point.equity for point in points] == [1_000, 1_000, 30, 530, 530]
    assert [point.may_be_peak for point in points] == [True, True, False, True, True]


def test_the_way_back_from_a_wrong_answer_is_no_inflow() -> None:
    """A stale answer is 4.9 % short of a deposit; the way back is 5.2 % of what it left."""
    watch = watching((0, 10_000))
    watch.see(10, 10_490, ledger=[record("d", LedgerKind.TRANSFER, 9, 490)])
    assert watch.see(13, 9_976).trust is TRUSTED
    for at, told in ((16, []), (19, ["step_taken_back"])):
        step = watch.see(at, 10_490)
        assert (step.trust, events(step), step.flows) == (TRUSTED, told, ())
    assert watch.adjusted == [10_490] * 5


def test_a_wrong_answer_is_taken_back_in_parts() -> None:
    """Two stale answers, the second from before another 200: each step back is one."""
    watch = watching((0, 10_000), (3, 9_700), (6, 9_500), (9, 9_700))
    assert events(watch.see(12, 10_000)) == []
    assert events(watch.see(15, 10_000)) == ["step_taken_back"]
    assert watch.adjusted == [10_000] * 6


@pytest.mark.parametrize(("at", "peak"), [(130, 10_000), (131, 10_400)])
def test_what_stood_for_two_minutes_was_no_wrong_answer(at: float, peak: float) -> None:
    """400 came 10 s after noon and left again: after 120 s that was a peak."""
    watch = watching((0, 10_000), (10, 10_400))
    watch.see(at, 10_000)
    watch.see(at + 3, 10_000)
    assert max(watch.adjusted) == peak


def test_a_small_step_takes_nothing_back() -> None:
    """99 of 10,000 are under 1 %."""
    watch = watching((0, 10_000), (10, 10_099), (20, 10_000), (23, 10_000))
    assert watch.adjusted == [10_000, 10_099, 10_000, 10_000]


def test_a_history_of_many_chunks_keeps_what_came_before_a_wrong_answer() -> None:
    """The wrong answer is the last point of a full chunk, or the first of the next one."""
    for count in (63, 64):
        watch = watching(*((3 * number, 10_000) for number in range(count)))
        watch.see(3 * count, 10_400)
        watch.see(3 * count + 3, 10_400)
        watch.see(3 * count + 6, 10_000)
        watch.see(3 * count + 9, 10_000)
        assert watch.adjusted == [10_000] * (count + 4)


def test_rise_unlike_the_accepted_loss_is_an_inflow() -> None:
    """2,000 lost, 1,000 up: 50 % off."""
    watch = watching((0, 10_000))
    watch.see(10, 8_000)
    watch.see(130, 8_000)
    assert watch.see(140, 9_000).trust is SUSPECT


def test_doubt_ends_after_ten_minutes_whatever_it_is() -> None:
    """A fall that jumps about for 600 s: the newest value is trusted, with an alert."""
    watch = watching((0, 10_000))
    at = 10
    while at < 600:
        assert watch.see(at, 8_000 - (at % 20) * 40).trust is SUSPECT
        at += 50
    step = watch.see(610, 7_000)
    assert (step.trust, step.equity) == (TRUSTED, 7_000.0)
    assert "forced_trust" in events(step)
    assert len(watch.memory.accepted_losses) == 1


def test_a_doubt_from_before_a_long_silence_ends_no_other_one() -> None:
    """One odd reading, then the guard is down for 20 minutes in which 3,000 are withdrawn.

    The first reading after it is doubted like any other until the records tell of it.
    """
    watch = watching((0, 10_000), (10, 12_000))
    for at in (1_210, 1_213, 1_216):
        assert watch.see(at, 7_000).trust is SUSPECT
    gone = [record("w", LedgerKind.TRANSFER, 600, -3_000)]
    assert watch.see(1_219, 7_000, ledger=gone).trust is TRUSTED
    assert max(watch.adjusted) == 7_000


def test_rise_in_doubt_for_ten_minutes_is_trusted_as_an_inflow() -> None:
    """Poison that jumps about must not become a peak either."""
    watch = watching((0, 10_000))
    for number in range(12):
        watch.see(10 + number * 50, 20_000 + 3_000 * (number % 2))
    step = watch.see(610, 20_000)
    assert (step.trust, step.equity) == (TRUSTED, 20_000.0)
    assert events(step)[0] == "forced_trust"
    assert watch.adjusted == [20_000, 20_000]


def test_number_after_a_doubt_without_one_is_a_first_doubt() -> None:
    """A NaN in between breaks the agreement."""
    watch = watching((0, 10_000))
    for at, equity in ((10, 12_000.0), (13, math.nan), (16, 12_000.0), (19, 12_000.0)):
        assert watch.see(at, equity).trust is SUSPECT
    assert watch.see(22, 12_000).trust is TRUSTED


# --- wants ------------------------------------------------------------------------------------


def test_ledger_is_wanted_every_flow_poll() -> None:
    """At the first sight, and 60 s later."""
    watch = Watch()
    wants = [bool(watch.see(at, 10_000).wants) for at in (0, 10, 59, 60, 70)]
    assert wants == [True, False, False, True, False]


@pytest.mark.parametrize(("equity", "wanted"), [(9_901.0, False), (9_899.0, True)])
def test_ledger_is_wanted_over_one_percent_unexplained(equity: float, wanted: bool) -> None:
    """max(1 % of 10,000, 10) is 100; the reading itself is trusted."""
    step = watching((0, 10_000)).see(10, equity)
    assert step.trust is TRUSTED
    assert (step.wants == (Want.LEDGER,)) is wanted


def test_ledger_is_wanted_at_each_poll_of_a_suspicion_but_not_twice_a_second() -> None:
    """Second readings follow within a second; the ledger need not."""
    watch = watching((0, 10_000))
    wants = [bool(watch.see(at, 8_000).wants) for at in (10, 10.5, 11, 14)]
    assert wants == [True, False, True, True]
    assert watch.see(17, None).wants == (Want.LEDGER,)


@pytest.mark.parametrize(
    ("breach_equity", "running", "wanted"),
    [(9_950.0, False, True), (9_950.0, True, False), (9_900.0, False, False), (None, False, False)],
)
def test_ledger_is_wanted_when_a_streak_begins(
    breach_equity: float | None, running: bool, wanted: bool
) -> None:
    """Equity 9,950, nothing large unexplained."""
    step = watching((0, 10_000)).see(10, 9_950, breach_equity=breach_equity, running_streak=running)
    assert bool(step.wants) is wanted


# --- blindness --------------------------------------------------------------------------------


def test_blindness_is_alerted_once_and_locks_later() -> None:
    """Failed reads since 12:00:00: alert at 60 s, blind at 120 s, both over with one reading."""
    watch = watching((0, 10_000))
    assert events(watch.see(59, None)) == []
    step = watch.see(60, None)
    assert (events(step), step.is_blind) == (["blind"], False)
    assert step.audits[0].severity is Severity.CRITICAL
    assert watch.see(119, None).is_blind is False
    step = watch.see(120, None)
    assert (events(step), step.is_blind) == ([], True)
    step = watch.see(130, 10_000)
    assert (events(step), step.is_blind) == (["sight_regained"], False)


def test_suspect_readings_are_blindness_too() -> None:
    """Readings that nobody can believe see nothing."""
    watch = watching((0, 10_000))
    assert watch.see(60, math.nan).audits[-1].event == "blind"
    assert watch.see(120, math.nan).is_blind


def test_blindness_counts_from_the_start_of_the_watch() -> None:
    """The first reading of the run has 120 s, however long ago the last run ended."""
    watch = watching((0, 10_000))
    watch.memory = replace(watch.memory, watch_began_at=NOON + 5_000)
    assert watch.see(5_119, None).is_blind is False
    assert watch.see(5_120, None).is_blind is True


def test_scope_never_read_is_blind_as_well() -> None:
    """The watch begins with the first attempt."""
    watch = Watch()
    watch.see(0, None)
    assert watch.memory.watch_began_at == NOON
    assert watch.see(120, None).is_blind


# --- clock and housekeeping -------------------------------------------------------------------


def test_clock_set_back_is_no_blindness() -> None:
    """An hour back: the history moves along, peak and suspicion included, and reading goes on."""
    watch = watching((3_600, 10_000), (3_610, 10_010))
    watch.see(3_620, 8_000, ledger=[record("f", LedgerKind.FEE, 3_605, -1)])
    watch.see(3_623, None)
    step = watch.see(23, 8_000)
    assert (step.trust, events(step)[0]) == (SUSPECT, "clock_set_back")
    assert watch.memory.suspicion is not None
    assert watch.memory.suspicion.consistent_count == 2
    assert watch.see(26, 10_010).trust is TRUSTED
    assert watch.adjusted == [10_000, 10_010, 10_010]


def test_a_withdrawal_of_the_silence_before_a_clock_was_set_back_explains_the_fall() -> None:
    """An hour back, in a silence of unknown length: the record may lie well before its end.

    The history ends 2 s before the reading of second 23, the record lies at -300; 200 are gone.
    """
    watch = watching((3_600, 10_000), (3_610, 10_000))
    step = watch.see(23, 9_800, ledger=[record("w", LedgerKind.TRANSFER, -300, -200)])
    assert step.trust is TRUSTED
    assert watch.adjusted == [9_800, 9_800, 9_800]


def test_a_close_of_the_silence_before_a_clock_was_set_back_explains_the_fall() -> None:
    """A position came and went in it and lost 700; where the record lies says nothing."""
    watch = watching((3_600, 10_000), (3_610, 10_000))
    lost = record("r", LedgerKind.REALISED, -300, -700, BTC)
    assert watch.see(23, 9_300, ledger=[lost]).trust is TRUSTED
    assert watch.adjusted == [10_000, 10_000, 9_300]


@pytest.mark.parametrize("kind", [LedgerKind.TRANSFER, LedgerKind.REALISED])
def test_a_record_that_is_known_moves_with_the_clock(kind: LedgerKind) -> None:
    """It was judged before the clock was set back: the fall of the silence is another one."""
    known = record("w", kind, 3_605, -200)
    watch = watching((3_600, 10_000))
    watch.see(3_610, 9_800, ledger=[known])
    step = watch.see(23, 8_000, ledger=[replace(known, at=NOON + 5)])
    assert (step.trust, events(step)[0]) == (SUSPECT, "clock_set_back")


def test_a_suspicion_keeps_its_age_when_the_clock_is_set_back() -> None:
    """90 s old when the clock goes back an hour: the fall is a loss 30 s later, as it would be."""
    watch = watching((3_600, 10_000))
    for at in (3_610, 3_640, 3_670, 3_700):
        watch.see(at, 8_000)
    assert watch.see(102, 8_000).trust is SUSPECT
    assert watch.see(129, 8_000).trust is SUSPECT
    assert watch.see(130, 8_000).trust is TRUSTED


def test_a_doubt_about_the_first_reading_ends_after_the_clock_was_set_back() -> None:
    """Nothing was ever trusted: the doubt of an hour ahead must not last an hour longer."""
    watch = Watch()
    for at in (3_600, 3_900):
        assert watch.see(at, -5).trust is SUSPECT
    assert watch.see(0, -5).trust is SUSPECT
    assert watch.see(597, -5).trust is SUSPECT
    assert watch.see(598, -5).trust is TRUSTED


def test_times_move_with_everything_that_hangs_on_them() -> None:
    """Flows stay at their points, accepted losses and agreements keep their age."""
    watch = watching((0, 10_000))
    watch.see(10, 12_000)
    watch.see(13, 13_000)
    moved = move_times(watch.memory, by_s=-100.0)
    assert moved.suspicion is not None
    assert moved.suspicion.consistent_since is None
    for at in (16, 19):
        watch.see(at, 13_000)
    watch.see(30, 10_500)
    watch.see(150, 10_500)
    assert watch.memory.accepted_losses
    watch.memory = replace(
        watch.memory,
        flows=(*watch.memory.flows, replace(watch.memory.flows[0], effective_at=None)),
    )
    moved = move_times(watch.memory, by_s=-100.0)
    times = {point.at for point in moved.history.points()}
    assert moved.flows[0].effective_at in times
    assert moved.flows[1].effective_at is None
    assert moved.accepted_losses[0].at == watch.memory.accepted_losses[0].at - 100.0
    assert moved.suspicion is None
    blank = ScopeMemory(scope=SCOPE)
    assert move_times(blank, by_s=5.0).last_trusted is None


def test_a_deposit_and_a_withdrawal_between_two_readings_replace_one_inferred_inflow() -> None:
    """4,000 came and 1,500 went, both listed late: 2,500 are inferred, and counted once.

    Neither record is within 10 % of what was inferred; booked beside it they would be a peak of
    15,000, and the 12,500 that are there a drawdown of 17 %.
    """
    watch = watching((0, 10_000))
    for at in (10, 13, 16):
        watch.see(at, 12_500, ledger=())
    assert [flow.amount for flow in watch.memory.flows] == [2_500.0]
    late = (
        record("1", LedgerKind.TRANSFER, 8, -1_500.0),
        record("2", LedgerKind.TRANSFER, 9, 4_000.0),
    )
    watch.see(20, 12_500, ledger=late)
    assert watch.adjusted == [12_500.0] * 3
    assert [flow.is_cancelled for flow in watch.memory.flows] == [True, False, False]
    assert watch.memory.unexplained == pytest.approx(0.0)


@pytest.mark.parametrize("jump_s", [7_200.0, -7_200.0])
def test_a_record_told_after_the_clock_was_set_still_confirms_its_inflow(jump_s: float) -> None:
    """Two hours forth or back: booked once, no peak of 15,000 beside an account of 12,000."""
    watch = watching((0, 10_000), (10, 12_000), (13, 12_000), (16, 12_000))
    watch.memory = move_times(watch.memory, by_s=jump_s)
    for at in (20, 30, 100):
        told = [record("d", LedgerKind.TRANSFER, jump_s + 9, 2_000)]
        watch.see(jump_s + at, 12_000, ledger=told)
    assert max(watch.adjusted) == 12_000
    assert [flow.is_cancelled for flow in watch.memory.flows] == [True, False]


@pytest.mark.parametrize("jump_s", [300.0, -300.0])
def test_records_told_before_the_clock_was_set_still_explain(jump_s: float) -> None:
    """A withdrawal whose step had not come, and a loss in the middle of a doubt."""
    watch = watching((0, 10_000))
    watch.see(10, 10_000, ledger=[record("w", LedgerKind.TRANSFER, 9, -2_000)])
    watch.memory = move_times(watch.memory, by_s=jump_s)
    assert watch.see(jump_s + 20, 8_000).trust is TRUSTED
    assert watch.adjusted == [8_000, 8_000, 8_000]
    told = [record("f", LedgerKind.FUNDING, jump_s + 25, -600)]
    assert watch.see(jump_s + 30, 6_500, ledger=told).unexplained == -900.0
    watch.memory = move_times(watch.memory, by_s=jump_s)
    assert watch.see(2 * jump_s + 40, 6_500).unexplained == -900.0


def test_history_and_results_are_forgotten_after_two_days() -> None:
    """A closed row that made nothing for 48 h goes; one still held stays."""
    watch = Watch()
    eth = position("1", 500, 500, symbol=ETH)
    watch.see(0, 10_000, position("1", 1_000, 1_000), eth)
    watch.see(10, 9_900, eth, marks={BTC: 900.0})
    for number in range(1, 200):
        watch.see(10 + number * 900, 9_900, eth)
    assert [key.symbol for key, _ in watch.memory.results] == [BTC, ETH]
    for number in range(200, 330):
        watch.see(10 + number * 900, 9_900, eth)
    assert [key.symbol for key, _ in watch.memory.results] == [ETH]
    assert next(watch.memory.history.points()).at > NOON + 10


def test_accepted_losses_and_flows_are_forgotten_after_two_days() -> None:
    """A rise three days later has nothing to do with them."""
    watch = watching((0, 10_000))
    watch.memory = replace(
        watch.memory,
        accepted_losses=(Doubt(at=NOON, equity=8_000.0, unexplained=-2_000.0),),
    )
    watch.see(10, 10_000, ledger=[record("b", LedgerKind.BONUS, 5, 5.0)])
    assert len(watch.memory.flows) == len(watch.memory.accepted_losses) == 1
    watch.see(172_900, 10_000)
    assert not watch.memory.flows
    assert not watch.memory.accepted_losses


def test_audit_entries_name_scope_and_figures() -> None:
    """The operator sees what is measured; a NaN is written as a word."""
    watch = watching((0, 10_000))
    audit: AuditEntry = watch.see(10, math.nan).audits[0]
    assert audit.scope == SCOPE
    assert dict(audit.details) == {"equity": "nan", "unexplained": 0.0}


# --- properties -------------------------------------------------------------------------------


@given(
    moves=st.lists(
        st.tuples(
            st.floats(min_value=1.0, max_value=30.0),
            st.one_of(
                st.none(),
                st.floats(min_value=0.0, max_value=3e4),
                st.sampled_from([10_000.0, 10_000.0, 12_000.0, math.nan, math.inf]),
            ),
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_is_read_the_memory_stays_sound(
    moves: list[tuple[float, float | None]],
) -> None:
    """Finite units above 0, finite navs, times in order, a value exactly when TRUSTED, no blur."""
    watch = watching((0, 10_000))
    at = 0.0
    for gap, equity in moves:
        at += gap
        step = watch.see(at, equity)
        assert (step.equity is not None) is (step.trust is TRUSTED)
        assert step.equity is None or math.isfinite(step.equity)
    points = list(watch.memory.history.points())
    assert 0 < watch.memory.units < math.inf
    assert all(math.isfinite(point.nav) and math.isfinite(point.unexplained) for point in points)
    assert all(one.at < two.at for one, two in pairwise(points))
    last = points[-1]
    assert last.nav * watch.memory.units == pytest.approx(last.equity)


@given(
    seconds=st.integers(min_value=2, max_value=30),
    equity=st.floats(min_value=-1e4, max_value=1e5),
)
@settings(max_examples=50, deadline=None)
def test_no_doubt_about_a_finite_value_lasts_longer_than_its_limit(
    seconds: int, equity: float
) -> None:
    """Whatever the value and however often it is read: trusted within 600 s and one poll."""
    watch = watching((0, 10_000))
    at = 0.0
    while at <= 600 + 2 * seconds:
        at += seconds
        if watch.see(at, equity).trust is TRUSTED:
            return
    raise AssertionError("still in doubt")


def test_memory_does_not_grow_with_every_reading_for_ever() -> None:
    """After 26 h at 30 s: a day whole, before it one a minute; an hour of results, then shared."""
    watch = Watch()
    for number in range(26 * 120):
        watch.see(30.0 * number, 10_000.0, position("1", 100.0, 100.0 + number % 7))
    points = list(watch.memory.history.points())
    assert len(points) == pytest.approx(24 * 120 + 2 * 60, abs=12)
    assert len({id(point.results) for point in points}) == pytest.approx(120 + 25 * 60, abs=12)


# --- answers that show what was ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("dates", "trust"),
    [
        ({"USDT": 5, "BTCUSDT": 8}, TRUSTED),  # nothing changed since
        ({"USDT": 11, "BTCUSDT": 11}, TRUSTED),
        ({"USDT": 5}, TRUSTED),  # the position was closed
        ({"USDT": 5, "ETHUSDT": 1}, TRUSTED),  # another one, of which nothing is known
        ({}, TRUSTED),  # a venue that dates nothing
        ({"USDT": 4, "BTCUSDT": 8}, UNAVAILABLE),  # before money moved
        ({"USDT": 11, "BTCUSDT": 7}, UNAVAILABLE),  # one leg of it is old
    ],
)
def test_an_answer_that_shows_what_was_before_is_none(
    dates: Mapping[str, float], trust: Trust
) -> None:
    """The trusted one had the balance of second 5 and the position of second 8."""
    watch = Watch()
    watch.see(10, 10_000, changed_at={"USDT": 5, "BTCUSDT": 8})
    step = watch.see(13, 9_700, changed_at=dates)
    assert (step.trust, step.equity) == (trust, None if trust is UNAVAILABLE else 9_700)


def test_old_answers_leave_no_mark_on_a_withdrawal() -> None:
    """340 leave at second 9; the answers of seconds 13 and 16 are of before that."""
    watch = Watch()
    watch.see(8, 10_240, changed_at={"USDT": 1})
    watch.see(10, 9_900, changed_at={"USDT": 9})
    watch.see(13, 10_240, changed_at={"USDT": 1})
    watch.see(16, 10_240, changed_at={"USDT": 1})
    watch.see(19, 9_900, changed_at={"USDT": 9})
    watch.see(22, 9_900, changed_at={"USDT": 9}, ledger=[record("w", LedgerKind.TRANSFER, 9, -340)])
    assert watch.adjusted == [9_900, 9_900, 9_900, 9_900]


@pytest.mark.parametrize(("at", "trust"), [(40, UNAVAILABLE), (40.1, TRUSTED)])
def test_wrong_dates_blind_nobody_for_long(at: float, trust: Trust) -> None:
    """A date from the future was trusted at second 10: 30 s later the venue's word counts less."""
    watch = Watch()
    watch.see(10, 10_000, changed_at={"USDT": 4_000})
    assert watch.see(at, 9_700, changed_at={"USDT": 12}).trust is trust
    if trust is TRUSTED:
        assert watch.see(at + 3, 9_700, changed_at={"USDT": 12}).trust is TRUSTED


def test_rows_that_share_a_name_refuse_no_right_answer() -> None:
    """Two legs that an answer does not tell apart: each was changed at a time of its own."""
    watch = Watch()

    def seen(at: float, *dates: float) -> Trust:
        return watch.see(at, 10_000, changed_at=tuple(("BTCUSDT", on) for on in dates)).trust

    assert [seen(at, 5, 9) for at in (10, 13)] == [TRUSTED] * 2
    assert [seen(16, 5), seen(19, 5, 18), seen(22, 4, 18)] == [TRUSTED, TRUSTED, UNAVAILABLE]
