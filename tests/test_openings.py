"""What a stage opens: ids, reasons, who lost since the peak, and what a follow-up looks for."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from drawdown import compute_drawdowns
from memory import (
    BookMemory,
    CloseTarget,
    History,
    Point,
    RowResults,
    ScopeMemory,
    Suspicion,
    TargetStatus,
)
from model import Asset, BookName, Coin, Position, RowKey, Side, Source, Stage, StageMode, Symbol
from openings import (
    Facts,
    KillFacts,
    Opening,
    incident_id,
    open_for_appeared,
    open_for_breach,
    open_for_kill,
    say_window,
)
from policy import BookPolicy
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    BTC,
    ETH,
    LIMITS,
    LIVE,
    NOON,
    ONE,
    SCOPE,
    SOL,
    THREE,
    at_stage_3,
    losing,
    position,
    seen,
)

NEVER = BookMemory(name=BOOK)


def facts(
    *positions: Position,
    at_peak: RowResults = (),
    now: RowResults = (),
    totals: RowResults | None = None,
    unexplained: float = 0.0,
    equity: float = 9_000.0,
    policy: BookPolicy = BOOK_POLICY,
) -> Facts:
    """A peak of 10,000 at noon and a reading 10 s later.

    `totals` are the scope's own where they differ from the point's.
    """
    look = seen(10, *positions, equity=equity)
    assert look.reading is not None
    history = History.of(
        (
            Point(at=NOON, equity=10_000.0, nav=10_000.0, results=at_peak),
            Point(at=NOON + 10, equity=equity, nav=equity, results=now, unexplained=unexplained),
        )
    )
    memory = ScopeMemory(scope=SCOPE, history=history, results=now if totals is None else totals)
    return Facts(
        now=NOON + 10,
        policy=replace(LIVE, books=(policy,)),
        book=policy,
        seen=look,
        reading=look.reading,
        memory=memory,
        equity=equity,
        drawdowns=compute_drawdowns(
            history=history,
            units=1.0,
            equity=equity,
            book=policy,
            book_memory=NEVER,
            min_equity=100.0,
            now=NOON + 10,
        ),
    )


# --- ids and words ------------------------------------------------------------------------------


def test_an_id_names_instance_time_and_book() -> None:
    """Abcd + 1.7e12 ms in base 36 (loyw3v28) + 0: short enough to stand in an order id."""
    assert incident_id(policy=LIVE, book=BOOK, now=NOON) == "abcdloyw3v280"
    assert incident_id(policy=LIVE, book=BOOK, now=NOON + 0.001) == "abcdloyw3v290"
    assert incident_id(policy=LIVE, book=BOOK, now=0.0) == "abcd0"
    assert len(incident_id(policy=LIVE, book=BOOK, now=2_800_000_000.0)) == 13


def test_books_that_open_in_one_millisecond_have_ids_of_their_own() -> None:
    """The last letter counts the books of the policy."""
    other = replace(BOOK_POLICY, name=BookName("other"))
    policy = replace(LIVE, books=(BOOK_POLICY, other))
    assert [incident_id(policy=policy, book=name, now=NOON)[-1] for name in (BOOK, other.name)] == [
        "0",
        "1",
    ]


def test_a_kill_of_many_books_gives_each_an_id_of_its_own() -> None:
    """All are opened in one moment, and the last letter tells 36 of them apart."""
    names = tuple(BookName(f"book_{number}") for number in range(80))
    books = tuple(replace(BOOK_POLICY, name=name) for name in names)
    policy = replace(LIVE, books=books)
    ids = {incident_id(policy=policy, book=name, now=NOON) for name in names}
    assert len(ids) == len(names)


@pytest.mark.parametrize(
    ("window_s", "said"),
    [
        (900.0, "15m"),
        (3_600.0, "1h"),
        (14_400.0, "4h"),
        (86_400.0, "1d"),
        (90_000.0, "25h"),
        (5_400.0, "90m"),
        (30.0, "0.5m"),
    ],
)
def test_windows_are_said_as_the_settings_write_them(window_s: float, said: str) -> None:
    """The largest unit that divides it."""
    assert say_window(window_s) == said


# --- who lost -----------------------------------------------------------------------------------


def test_losses_count_from_the_peak_of_the_worst_window() -> None:
    """Before the peak the long had lost 5,000; since then the short lost 1,000."""
    found = open_for_breach(
        NEVER,
        BOOK_POLICY.stages[2],
        facts(
            *losing(0.10),
            at_peak=((SOL, 0.0), (BTC, -5_000.0)),
            now=((SOL, -1_000.0), (BTC, -5_000.0)),
        ),
    )
    assert found.attribution.source is Source.SHORT
    assert (found.attribution.losses_short, found.attribution.losses_long) == (1_000.0, 0.0)
    assert found.breach is not None
    assert found.incident.reason == "drawdown 10.00% over 15m reached 10.00%"
    assert found.breach.peak_equity == 10_000.0


def test_what_the_point_shows_counts_and_not_the_totals_of_the_last_belief() -> None:
    """While a suspicion lasts the totals stay behind; the point holds what prices prove."""
    found = open_for_breach(
        NEVER, BOOK_POLICY.stages[1], facts(*losing(0.10), now=((SOL, -1_000.0),), totals=())
    )
    assert found.attribution.source is Source.SHORT
    assert [one.key for one in found.incident.targets] == [SOL]


@pytest.mark.parametrize(
    ("unexplained", "source"), [(-500.0, Source.SHORT), (-500.1, Source.UNKNOWN)]
)
def test_more_than_half_unexplained_names_nobody(unexplained: float, source: Source) -> None:
    """1,000 are gone; 500 of them unexplained is half, a little more is too much."""
    told = facts(*losing(0.05), now=((SOL, -500.0),), unexplained=unexplained)
    found = open_for_breach(NEVER, BOOK_POLICY.stages[1], told)
    assert found.attribution.source is source
    assert found.incident.source is source


@pytest.mark.parametrize(
    ("positions", "at_peak", "now", "expected"),
    [
        (losing(0.1), (), (), True),
        ((), (), (), False),
        ((), (), ((SOL, -1_000.0),), True),  # opened and closed since
        ((), ((SOL, 5.0),), ((SOL, -995.0),), True),
        ((), ((SOL, 5.0),), ((SOL, 5.0),), False),  # closed before the peak
        ((), ((SOL, 5.0),), (), False),  # and forgotten after 48 h
    ],
)
def test_positions_since_the_peak_are_known_by_what_they_made(
    positions: tuple[Position, ...], at_peak: RowResults, now: RowResults, expected: bool
) -> None:
    """Held now, or a result that moved since the peak."""
    told = facts(*positions, at_peak=at_peak, now=now)
    found = open_for_breach(NEVER, BOOK_POLICY.stages[2], told)
    assert found.incident.had_positions_since_peak is expected


def test_never_touch_stays_in_stage_2_and_goes_in_stage_3() -> None:
    """The short may not be touched; stage 3 takes it."""
    policy = replace(BOOK_POLICY, never_touch=(Symbol("SOLUSDT"),))
    told = facts(*losing(0.10), now=((SOL, -1_000.0),), policy=policy)
    two = open_for_breach(NEVER, policy.stages[1], told)
    three = open_for_breach(NEVER, policy.stages[2], told)
    assert (two.incident.targets, [one.key for one in two.plan.kept]) == ((), [SOL])
    assert {one.key for one in three.incident.targets} == {SOL, BTC}


def test_an_opening_without_a_running_incident_takes_over_none() -> None:
    """Its targets are those of its own plan."""
    found = open_for_breach(
        NEVER, BOOK_POLICY.stages[2], facts(*losing(0.10), now=((SOL, -1_000.0),))
    )
    assert (found.takes_over, found.incident.targets) == (None, found.plan.targets)


def test_an_opening_merges_the_targets_of_a_running_incident() -> None:
    """SOL keeps its number 2 and its quantity of 120; BTC is numbered on."""
    running = replace(
        at_stage_3().incident,
        stage=ONE,
        targets=(
            CloseTarget(number=2, key=SOL, may_remain=Decimal(60), initial_quantity=Decimal(120)),
        ),
    )
    told = facts(*losing(0.10), now=((SOL, -1_000.0),))
    found = open_for_breach(replace(NEVER, incident=running), BOOK_POLICY.stages[2], told)
    assert found.takes_over == running.incident_id
    assert found.incident.targets == (
        replace(running.targets[0], may_remain=Decimal(0)),
        CloseTarget(number=3, key=BTC, may_remain=Decimal(0), initial_quantity=Decimal(50)),
    )
    assert [one.number for one in found.plan.targets] == [1, 2]


# --- follow-ups ---------------------------------------------------------------------------------

LONG_ETH = position("ETH", Side.LONG, "10", 100.0)


def test_a_follow_up_closes_whatever_is_there() -> None:
    """Nobody is known to have lost: the source is UNKNOWN, stage 3 takes all the same."""
    found = open_for_appeared(NEVER, facts(*losing(0.1), LONG_ETH))
    assert found is not None
    assert found.breach is None
    assert found.incident.is_followup
    assert found.incident.had_positions_since_peak
    assert {one.key for one in found.incident.targets} == {SOL, BTC, ETH}
    assert (found.attribution.losses, found.incident.source) == (0.0, Source.UNKNOWN)


@pytest.mark.parametrize("status", TargetStatus)
def test_a_follow_up_leaves_what_a_running_incident_cares_for(status: TargetStatus) -> None:
    """All but a target that was given up."""
    target = CloseTarget(
        number=1, key=ETH, may_remain=Decimal(0), initial_quantity=Decimal(10), status=status
    )
    running = replace(at_stage_3().incident, targets=(target,))
    book = replace(NEVER, stage=THREE, incident=running)
    found = open_for_appeared(book, facts(LONG_ETH))
    assert (found is not None) is (status is TargetStatus.MISSED)


@pytest.mark.parametrize(
    ("quantity", "is_known", "is_followed"),
    [("0.0009", True, False), ("0.001", True, True), ("0.0009", False, True)],
)
def test_a_follow_up_leaves_dust(quantity: str, is_known: bool, is_followed: bool) -> None:
    """Under the least quantity of 0.001; without limits nothing is proven to be dust."""
    told = facts(position("ETH", Side.LONG, quantity, 100.0))
    if not is_known:
        told = replace(told, seen=replace(told.seen, limits={}))
    found = open_for_appeared(NEVER, told)
    assert (found is not None) is is_followed


SPOT_BOOK = replace(BOOK_POLICY, sell_collateral=True)


def coin(asset: str, quantity: str, price: float = 100.0) -> Coin:
    """A coin that can be sold."""
    amount = Decimal(quantity)
    return Coin(asset=Asset(asset), quantity=amount, price=price, sellable=amount)


def with_coins(*coins: Coin) -> Facts:
    """A reading that holds coins alone; ADA is sold over BTC, which is sold for USDT."""
    told = facts(policy=SPOT_BOOK)
    limits = {
        Symbol(base): replace(
            LIMITS[SOL.symbol], symbol=Symbol(base), base=Asset(base), quote=Asset(quote)
        )
        for base, quote in (("ADA", "BTC"), ("BTC", "USDT"), ("SOL", "USDT"))
    }
    return replace(
        told,
        reading=replace(told.reading, coins=coins),
        seen=replace(told.seen, limits=limits),
    )


def test_a_follow_up_sells_coins_and_brings_the_second_step_along() -> None:
    """ADA appeared: BTC, of which nothing is held, is a target so that the proceeds go on."""
    found = open_for_appeared(NEVER, with_coins(coin("ADA", "10")))
    assert found is not None
    assert [(t.key.symbol, t.is_passage) for t in found.incident.targets] == [
        ("ADA", False),
        ("BTC", True),
    ]


def test_dust_over_another_coin_opens_no_follow_up() -> None:
    """What is only passed through would not be a reason of its own."""
    told = with_coins(coin("ADA", "0.0009"))
    assert open_for_appeared(NEVER, told) is None


def test_a_running_incident_that_cares_for_every_coin_needs_no_follow_up() -> None:
    """Its target stands already."""
    key = RowKey(SCOPE, Symbol("SOL"), Side.LONG)
    target = CloseTarget(number=1, key=key, may_remain=Decimal(0), initial_quantity=Decimal(10))
    book = replace(NEVER, stage=THREE, incident=replace(at_stage_3().incident, targets=(target,)))
    assert open_for_appeared(book, with_coins(coin("SOL", "10"))) is None


def test_in_a_doubt_the_coins_of_the_last_trusted_reading_are_followed_up() -> None:
    """What a doubted reading lacks is planned, and judged for dust, as it was known."""
    told = with_coins()
    trusted = replace(told.reading, coins=(coin("SOL", "10"), coin("ADA", "0.0009")))
    memory = replace(
        told.memory,
        last_trusted=trusted,
        suspicion=Suspicion(since=NOON, doubts=(), consistent_since=NOON),
    )
    found = open_for_appeared(NEVER, replace(told, memory=memory))
    assert found is not None
    assert [t.key.symbol for t in found.incident.targets if not t.is_passage] == ["SOL"]


def test_coins_for_sale_count_as_held_when_stage_3_is_judged() -> None:
    """A spot account that held coins is latched; one of stables alone is not."""
    opened = open_for_appeared(NEVER, with_coins(coin("SOL", "10")))
    assert opened is not None
    assert opened.incident.had_positions_since_peak


def test_an_empty_account_needs_no_follow_up() -> None:
    """Nothing there."""
    assert open_for_appeared(NEVER, facts()) is None


# --- the operator's kill ------------------------------------------------------------------------


def killing(mode: StageMode, *coins: Coin, knows_limits: bool = True) -> Opening:
    """What a kill opens in a spot account whose stage 3 has this mode."""
    told = with_coins(*coins)
    stage_3 = replace(SPOT_BOOK.stages[2], mode=mode, blacklist=(Asset("ADA"),))
    return open_for_kill(
        NEVER,
        KillFacts(
            now=NOON,
            policy=told.policy,
            book=replace(SPOT_BOOK, stages=(*SPOT_BOOK.stages[:2], stage_3)),
            memories=(replace(told.memory, last_trusted=told.reading),),
            limits={SCOPE: told.seen.limits} if knows_limits else {},
        ),
    )


@pytest.mark.parametrize(
    ("mode", "sold"),
    [
        (StageMode.LOCK_ONLY, []),
        (StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES, [("ADA", False), ("BTC", True)]),
        (StageMode.SELL_ALL_NON_USDT_KEEP_STABLES, [("ADA", False), ("BTC", False)]),
        (StageMode.CLOSE_ALL_POSITIONS, [("ADA", False), ("BTC", False)]),
    ],
)
def test_a_kill_sells_what_stage_3_would(mode: StageMode, sold: list[tuple[str, bool]]) -> None:
    """A spot account without a mode: its orders are cancelled, nothing is sold."""
    opened = killing(mode, coin("ADA", "10"), coin("BTC", "2"))
    targets = opened.incident.targets
    assert sorted((str(one.key.symbol), one.is_passage) for one in targets) == sold
    assert (opened.incident.stage, opened.incident.mode) == (Stage.LOCKDOWN, mode.value)


def test_a_kill_without_market_rules_sells_all_the_same() -> None:
    """Over which coin is then for the next reading to tell."""
    opened = killing(
        StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES, coin("ADA", "10"), knows_limits=False
    )
    assert [one.key.symbol for one in opened.incident.targets] == ["ADA"]
