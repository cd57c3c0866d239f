"""Plans: which rows a stage takes, how much of each may remain, and what the book looks like."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exposure import Exposure
from memory import TargetStatus
from model import Asset, PositionMode, RowKey, ScopeId, Side, Source, Stage, StageMode, Symbol
from plans import KeepReason, KeptPosition, Plan, merge_targets, plan_stage, untouchable_symbols
from tests.closing_values import (
    LONG,
    SCOPE,
    SHORT,
    book,
    coin,
    key,
    market,
    plan,
    policy,
    position,
    reading,
    target,
)

OTHER = ScopeId("bybit_futures")
BTC, ETH = Asset("BTC"), Asset("ETH")


def remains(found: Plan) -> dict[RowKey, Decimal]:
    """What may remain, by row."""
    return {one.key: one.may_remain for one in found.targets}


WORKED = reading(
    position("SOL", SHORT, "10", mark=130.0, liquidation=200.0),
    position("XRP", SHORT, "2000", mark=0.60, liquidation=0.63),
    position("DOGE", SHORT, "5001", mark=0.10),
    position("BTC", LONG, "0.01", mark=62_000.0, liquidation=40_000.0),
)
RESULTS = {
    key("SOL", SHORT): (-300.0, 0.5876),
    key("XRP", SHORT): (-80.0, 0.3753),
    key("DOGE", SHORT): (-20.0, 0.0250),
    key("BTC", LONG): (10.0, 0.0626),
}
MARKETS = (
    market("SOL", step="1", least="1"),
    market("XRP", step="0.1", least="0.1"),
    market("DOGE", step="1", least="1"),
    market("BTC"),
)


# --- stage 1 ------------------------------------------------------------------------------------


def test_stage_1_halves_the_worst_of_the_losing_side() -> None:
    """SOL 10 -> 5; XRP is 5 % from liquidation ((0.63 - 0.60) / 0.60): 0; 5,001 -> 2,500."""
    found = plan(1, Source.SHORT, WORKED, results=RESULTS, markets=MARKETS)
    assert [(t.number, t.key.symbol, t.may_remain) for t in found.targets] == [
        (1, "SOLUSDT", Decimal(5)),
        (2, "XRPUSDT", Decimal(0)),
        (3, "DOGEUSDT", Decimal(2500)),
    ]
    assert found.targets[2].initial_quantity == Decimal(5001)
    assert "XRPUSDT SHORT is close to liquidation: closed whole" in found.notes
    assert not found.is_empty


def test_stage_1_takes_only_the_first_top_n() -> None:
    """Ranked by score, whatever order the rows come in."""
    backwards = dict(reversed(RESULTS.items()))
    found = plan(1, Source.SHORT, WORKED, results=backwards, markets=MARKETS, top_n=1)
    assert remains(found) == {key("SOL", SHORT): Decimal(5)}


def test_stage_1_leaves_winners_of_the_losing_side() -> None:
    """A short that made money since the peak is not what lost."""
    results = {**RESULTS, key("SOL", SHORT): (5.0, 0.9), key("XRP", SHORT): (0.0, 0.8)}
    found = plan(1, Source.SHORT, WORKED, results=results, markets=MARKETS)
    assert remains(found) == {key("DOGE", SHORT): Decimal(2500)}


def test_stage_1_of_a_mixed_source_takes_both_sides() -> None:
    """MIXED: the worst losers whatever their side."""
    results = {**RESULTS, key("BTC", LONG): (-500.0, 0.9)}
    found = plan(1, Source.MIXED, WORKED, results=results, markets=MARKETS, top_n=2)
    assert remains(found) == {key("BTC", LONG): Decimal("0.005"), key("SOL", SHORT): Decimal(5)}


def test_stage_1_of_an_unknown_source_closes_nothing() -> None:
    """UNKNOWN: the plan is empty and says so."""
    found = plan(1, Source.UNKNOWN, WORKED, results=RESULTS, markets=MARKETS)
    assert found.is_empty
    assert found.notes == ("nothing to close (source UNKNOWN)",)


def test_rows_that_are_gone_take_no_place() -> None:
    """A loser that is already closed neither becomes a target nor uses up top_n."""
    results = {key("GONE", SHORT): (-900.0, 0.99), **RESULTS}
    found = plan(1, Source.SHORT, WORKED, results=results, markets=MARKETS, top_n=1)
    assert remains(found) == {key("SOL", SHORT): Decimal(5)}


@pytest.mark.parametrize(
    ("side", "mark", "liquidation", "expected"),
    [
        (LONG, 100.0, 95.0, "0"),  # (100 - 95) / 100 = 0.05
        (LONG, 100.0, 94.9, "5"),  # 0.051
        (LONG, 100.0, 101.0, "0"),  # past it
        (SHORT, 100.0, 105.0, "0"),
        (SHORT, 100.0, 105.1, "5"),
        (SHORT, 100.0, 99.0, "0"),
        (LONG, 100.0, None, "5"),
        (SHORT, 100.0, 0.0, "5"),  # some venues write 0 for none
        (LONG, 0.0, 95.0, "5"),  # no mark, no distance
    ],
)
def test_positions_close_to_liquidation_are_closed_whole(
    side: Side, mark: float, liquidation: float | None, expected: str
) -> None:
    """0 may remain at a distance of 0.05 or less, and half of 10 elsewhere."""
    found = plan(
        1,
        Source(side),
        reading(position("X", side, "10", mark=mark, liquidation=liquidation)),
        results={key("X", side): (-1.0, 0.5)},
        markets=(market("X"),),
    )
    assert remains(found) == {key("X", side): Decimal(expected)}


@pytest.mark.parametrize(
    ("quantity", "limits", "mode", "expected"),
    [
        ("5001", market("X", step="1", least="1"), PositionMode.ONE_WAY, "2500"),
        ("1", market("X", step="1", least="1"), PositionMode.ONE_WAY, "0"),
        # 5 would be below the least quantity of 6: nothing may remain
        ("10", market("X", step="1", least="6"), PositionMode.ONE_WAY, "0"),
        # 5 x 100 = 500 < 600: not closable later, unless reduce-only orders are exempt
        ("10", market("X", value="600", waived=False), PositionMode.ONE_WAY, "0"),
        ("10", market("X", value="600", waived=True), PositionMode.ONE_WAY, "5"),
        ("10", market("X", value="600", waived=True), PositionMode.HEDGE, "0"),
        ("0.011", None, PositionMode.ONE_WAY, "0.005"),  # own digits: step 0.001
        ("5001", None, PositionMode.ONE_WAY, "2500"),
    ],
)
def test_a_remainder_stays_closable(
    quantity: str, limits: object, mode: PositionMode, expected: str
) -> None:
    """Rounded down to the step, and 0 below what the venue would later accept."""
    found = plan(
        1,
        Source.LONG,
        reading(position("X", LONG, quantity), mode=mode),
        results={key("X"): (-1.0, 0.5)},
        markets=(limits,) if limits is not None else (),  # type: ignore[arg-type]
    )
    assert remains(found) == {key("X"): Decimal(expected)}


# --- stage 2 ------------------------------------------------------------------------------------


def test_stage_2_closes_the_whole_losing_side() -> None:
    """Every short, winners and unranked ones included; no long. Ranked ones come first."""
    results = {key("DOGE", SHORT): (20.0, 0.3), key("SOL", SHORT): (-300.0, 0.5)}
    found = plan(2, Source.SHORT, WORKED, results=results, markets=MARKETS)
    assert [one.key for one in found.targets] == [
        key("SOL", SHORT),
        key("DOGE", SHORT),
        key("XRP", SHORT),
    ]
    assert set(remains(found).values()) == {Decimal(0)}


@pytest.mark.parametrize("source", [Source.MIXED, Source.UNKNOWN])
@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((60.0, 40.0), ["A"]),  # 60 of 100 is enough
        ((59.0, 41.0), ["A", "B"]),
        ((10.0, 80.0, 10.0), ["A", "B"]),  # by score: A first, then B reaches 90
        ((0.1, 0.2, 0.3, 0.4), ["A", "B", "C"]),  # 0.6 of 1.0, in spite of binary fractions
        ((-50.0, 100.0), ["B"]),  # a winner is never taken, however risky
        ((-50.0, 0.0), []),
    ],
)
def test_stage_2_without_one_source_takes_the_fewest_heavy_losers(
    source: Source, losses: tuple[float, ...], expected: list[str]
) -> None:
    """By score until 60 % of the losses are covered; names are in order of score."""
    names = "ABCD"[: len(losses)]
    found = plan(
        2,
        source,
        reading(*(position(name, LONG, "1") for name in names)),
        results={
            key(name): (-loss, 0.9 - 0.1 * place)
            for place, (name, loss) in enumerate(zip(names, losses, strict=True))
        },
    )
    assert [one.key for one in found.targets] == [key(name) for name in expected]


def test_losses_already_realised_stand_in_for_nothing() -> None:
    """A closed loser of 900 leaves A (60 of the remaining 100) to be closed."""
    found = plan(
        2,
        Source.UNKNOWN,
        reading(position("A", LONG, "1"), position("B", SHORT, "1")),
        results={key("GONE"): (-900.0, 1.0), key("A"): (-60.0, 0.5), key("B", SHORT): (-40.0, 0.4)},
    )
    assert list(remains(found)) == [key("A")]


# --- stage 3 and what must not be touched -------------------------------------------------------


@pytest.mark.parametrize("stage", [3, 4])
@pytest.mark.parametrize("source", list(Source))
def test_stage_3_and_kill_close_everything(stage: int, source: Source) -> None:
    """Both sides, winners, unranked rows, in every scope of the book that was read."""
    found = plan(
        stage,
        source,
        reading(position("A", LONG, "1"), position("B", SHORT, "2")),
        reading(position("A", LONG, "3"), scope=OTHER),
        of_book=book(scopes=(SCOPE, OTHER)),
    )
    assert remains(found) == dict.fromkeys(
        (key("A"), key("B", SHORT), key("A", LONG, OTHER)), Decimal(0)
    )


def test_limits_are_those_of_the_positions_own_venue() -> None:
    """Two venues name a market alike: 1.55 coins keep 1.5 at step 0.1 (at step 1 it were 1)."""
    found = plan_stage(
        stage_policy=policy(Stage.REDUCED_TOP_RISK, mode=StageMode.CLOSE_ALL_POSITIONS),
        book=book(scopes=(SCOPE, OTHER)),
        source=Source.MIXED,
        ranked=(),
        readings=(
            reading(position("A", SHORT, "2"), coins=(coin("A", "1.55"),)),
            reading(position("A", SHORT, "2"), scope=OTHER),
        ),
        limits={
            SCOPE: {Symbol("AUSDT"): market("A", step="1", least="1")},
            OTHER: {Symbol("AUSDT"): market("A", step="0.1", least="0.1")},
        },
    )
    assert remains(found) == {
        key("A", SHORT, SCOPE): Decimal(0),
        key("A", SHORT, OTHER): Decimal("1.5"),
    }


def test_other_books_and_unread_scopes_are_not_planned() -> None:
    """A reading of a foreign scope is ignored; a member without a reading is named."""
    foreign = ScopeId("bitget_futures")
    found = plan(
        3,
        Source.LONG,
        reading(position("A", LONG, "1")),
        reading(position("A", LONG, "1"), scope=foreign),
        of_book=book(scopes=(SCOPE, OTHER)),
    )
    assert list(remains(found)) == [key("A")]
    assert "bybit_futures was not read: nothing is planned there" in found.notes


@pytest.mark.parametrize(
    ("stage", "even_in_stage_3", "is_spared"),
    [(1, False, True), (2, False, True), (3, False, False), (3, True, True), (4, True, True)],
)
def test_never_touch_symbols(stage: int, even_in_stage_3: bool, is_spared: bool) -> None:
    """Left alone and named in 1 and 2; taken in stage 3 unless the book says otherwise."""
    of_book = book(never_touch=("AUSDT",), even_in_stage_3=even_in_stage_3)
    found = plan(
        stage,
        Source.LONG,
        reading(position("A", LONG, "4"), position("B", LONG, "4")),
        results={key("A"): (-50.0, 0.9), key("B"): (-50.0, 0.1)},
        of_book=of_book,
        top_n=1,
    )
    assert (key("A") not in remains(found)) is is_spared
    assert key("B") in remains(found)
    kept = KeptPosition(key=key("A"), quantity=Decimal(4), reason=KeepReason.NEVER_TOUCH)
    assert found.kept == ((kept,) if is_spared else ())
    assert untouchable_symbols(of_book, Stage(stage)) == ({"AUSDT"} if is_spared else set())


# --- what offsets something that stays ----------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "held", "coins", "side", "expected"),
    [
        (3, "2", "2", SHORT, None),  # covers the coin: kept whole, no target
        (3, "2", "3", SHORT, None),
        (3, "2", "1.5555", SHORT, "1.555"),  # rounded down to the step
        (3, "2", "0.0004", SHORT, "0"),  # too small to remain
        (2, "2", "1.5", SHORT, "1.5"),
        (1, "2", "1.5", SHORT, "1.5"),  # more than the half that stays anyhow
        (1, "2", "0.5", SHORT, "1"),  # less than it
        (3, "2", "-2", LONG, None),  # a borrowed coin is a short
        (3, "2", "2", LONG, "0"),  # the same direction offsets nothing
    ],
)
def test_what_offsets_a_coin_is_kept_up_to_the_coin(
    stage: int, held: str, coins: str, side: Side, expected: str | None
) -> None:
    """Closing it would leave the coin unhedged."""
    found = plan(
        stage,
        Source(side),
        reading(position("BTC", side, held), coins=(coin("BTC", coins),)),
        results={key("BTC", side): (-10.0, 0.5)},
        markets=(market("BTC"),),
    )
    row = key("BTC", side)
    assert remains(found) == ({} if expected is None else {row: Decimal(expected)})
    if expected is None:
        assert found.kept == (
            KeptPosition(key=row, quantity=Decimal(held), reason=KeepReason.OFFSETS_WHAT_STAYS),
        )


def test_a_kept_hedge_takes_no_place_among_the_worst() -> None:
    """The hedge of a coin loses when the coin wins; the next loser is reduced in its place."""
    found = plan(
        1,
        Source.SHORT,
        reading(
            position("BTC", SHORT, "1"), position("SOL", SHORT, "4"), coins=(coin("BTC", "1"),)
        ),
        results={key("BTC", SHORT): (-900.0, 0.9), key("SOL", SHORT): (-10.0, 0.1)},
        markets=(market("BTC"), market("SOL")),
        top_n=1,
    )
    assert remains(found) == {key("SOL", SHORT): Decimal(2)}
    assert [(one.key, one.quantity) for one in found.kept] == [(key("BTC", SHORT), Decimal(1))]


def test_positions_that_stay_anyhow_use_the_coin_up_first() -> None:
    """The winner BTCUSDC short stays and offsets the coin, so the loser is fully judged."""
    winner = position("BTC", SHORT, "1", symbol="BTCUSDC")
    found = plan(
        1,
        Source.SHORT,
        reading(position("BTC", SHORT, "2"), winner, coins=(coin("BTC", "1"),)),
        results={key("BTC", SHORT): (-900.0, 0.9)},
        markets=(market("BTC"),),
    )
    assert remains(found) == {key("BTC", SHORT): Decimal(1)}
    assert found.kept == ()


def test_of_several_offsets_the_least_risky_is_kept_first() -> None:
    """3 coins against shorts of 2 (riskiest), 2 and 2: kept 0, 1 and 2."""
    symbols = ("BTCUSDT", "BTCUSDC", "BTCUSD1")
    rows = [RowKey(SCOPE, Symbol(symbol), SHORT) for symbol in symbols]
    found = plan(
        3,
        Source.SHORT,
        reading(
            *(position("BTC", SHORT, "2", symbol=symbol) for symbol in symbols),
            coins=(coin("BTC", "3"),),
        ),
        results={row: (-10.0, 0.9 - 0.1 * place) for place, row in enumerate(rows)},
    )
    assert remains(found) == {rows[0]: Decimal(0), rows[1]: Decimal(1)}
    assert {one.key: one.quantity for one in found.kept} == {
        rows[1]: Decimal(1),
        rows[2]: Decimal(2),
    }


def test_what_offsets_a_never_touch_position_is_kept() -> None:
    """A never_touch long of 2 keeps 2 of a short of 3 in stage 2, and nothing once it is taken."""
    held = reading(position("BTC", LONG, "2", symbol="BTCUSDC"), position("BTC", SHORT, "3"))
    of_book = book(never_touch=("BTCUSDC",))
    second = plan(2, Source.SHORT, held, of_book=of_book, markets=(market("BTC"),))
    third = plan(3, Source.SHORT, held, of_book=of_book, markets=(market("BTC"),))
    assert remains(second) == {key("BTC", SHORT): Decimal(2)}
    assert remains(third)[key("BTC", SHORT)] == 0


def test_a_coin_that_is_already_offset_protects_nothing_more() -> None:
    """Coin +1 and never_touch short -1 stay together; the second short goes."""
    found = plan(
        2,
        Source.SHORT,
        reading(
            position("BTC", SHORT, "1", symbol="BTCUSDC"),
            position("BTC", SHORT, "1"),
            coins=(coin("BTC", "1"),),
        ),
        of_book=book(never_touch=("BTCUSDC",)),
    )
    assert remains(found) == {key("BTC", SHORT): Decimal(0)}


def test_a_hedge_on_another_venue_of_the_book_is_a_hedge() -> None:
    """The coin lies in one scope, the short in another; the book holds both."""
    found = plan(
        3,
        Source.SHORT,
        reading(coins=(coin("BTC", "1"),), scope=OTHER),
        reading(position("BTC", SHORT, "1")),
        of_book=book(scopes=(SCOPE, OTHER)),
    )
    assert found.is_empty


@pytest.mark.parametrize(
    ("sell", "why"), [(False, "not to be sold"), (True, "no way to sell them here")]
)
def test_coins_are_never_targets(sell: bool, why: str) -> None:
    """Not for sale, or nowhere to be sold: they stay, are named, and their hedge with them."""
    found = plan(
        3,
        Source.LONG,
        reading(position("BTC", SHORT, "1"), coins=(coin("BTC", "1"), coin("ADA", "5"))),
        of_book=book(sell_collateral=sell),
        results={RowKey(SCOPE, Symbol("ADA"), LONG): (-500.0, 0.9)},
    )
    assert found.is_empty
    assert f"coins stay ({why}): ADA, BTC" in found.notes


# --- exposure -----------------------------------------------------------------------------------


def test_a_plan_states_the_exposure_before_and_after() -> None:
    """Coin +100, BTC short -300, ETH long +200: net 0; without the shorts over the coin: +200."""
    found = plan(
        2,
        Source.SHORT,
        reading(position("BTC", SHORT, "3"), position("ETH", LONG, "2"), coins=(coin("BTC", "1"),)),
    )
    assert found.exposure_before == Exposure(by_base=((BTC, -200.0), (ETH, 200.0)), total=0.0)
    assert found.exposure_after == Exposure(by_base=((BTC, 0.0), (ETH, 200.0)), total=200.0)
    assert found.is_more_directional
    assert found.more_directional_bases == ()
    assert "the book ends more directional: net 0.00 before, 200.00 after" in found.notes


def test_a_base_that_ends_more_directional_is_named() -> None:
    """BTC: -100 + 80 = -20 becomes +80. The book: -100 + 80 - 500 = -520 becomes +80."""
    found = plan(
        2,
        Source.SHORT,
        reading(
            position("BTC", SHORT, "1"),
            position("BTC", LONG, "0.8", symbol="BTCUSDC"),
            position("ETH", SHORT, "5"),
        ),
    )
    assert not found.is_more_directional
    assert found.more_directional_bases == ("BTC",)
    assert "BTC ends more directional: net -20.00 before, 80.00 after" in found.notes


def test_an_empty_plan_changes_no_exposure() -> None:
    """Nothing there: nothing before, nothing after."""
    assert plan(3, Source.LONG, reading()) == Plan(notes=("nothing to close (source LONG)",))


# --- merging ------------------------------------------------------------------------------------


def test_targets_merge_by_the_smaller_remainder() -> None:
    """Numbers and initial quantities stay; new ones go on; what became tighter is open again."""
    held = TargetStatus.HELD
    old = (
        target(1, key("A"), "5", initial="10", status=held),
        target(2, key("B"), "0", initial="10", status=held),
        target(4, key("C"), "3", initial="10"),
        target(5, key("D"), "3", initial="10", status=TargetStatus.DUST),
    )
    new = (
        target(1, key("E"), "0", initial="7"),
        target(2, key("A"), "0", initial="5"),
        target(3, key("B"), "2", initial="10"),
        target(4, key("C"), "4", initial="10"),
    )
    assert merge_targets(old, new) == (
        target(1, key("A"), "0", initial="10"),
        target(2, key("B"), "0", initial="10", status=held),
        target(4, key("C"), "3", initial="10"),
        target(5, key("D"), "3", initial="10", status=TargetStatus.DUST),
        target(6, key("E"), "0", initial="7"),
    )


def test_a_missed_target_is_tried_again_when_planned_again() -> None:
    """Given up in stage 2, asked for again in stage 3: open, with the smaller remainder."""
    missed = target(1, key("A"), "2", status=TargetStatus.MISSED)
    assert merge_targets((missed,), (target(1, key("A"), "5"),)) == (target(1, key("A"), "2"),)
    assert merge_targets((missed,), ()) == (missed,)


def test_merging_into_nothing_numbers_from_one() -> None:
    """The first plan of an incident."""
    assert merge_targets((), (target(9, key("A"), "5"),)) == (target(1, key("A"), "5"),)


# --- properties ---------------------------------------------------------------------------------

BASES = ("A", "B", "C")
quantities = st.integers(1, 5000).map(lambda units: Decimal(units) / 100)
rows = st.lists(
    st.tuples(
        st.sampled_from(BASES),
        st.sampled_from(Side),
        quantities,
        st.floats(-100, 100),
        st.floats(0, 1),
    ),
    max_size=6,
    unique_by=lambda row: (row[0], row[1]),
)


@settings(max_examples=100)
@given(
    held=rows,
    stage=st.sampled_from([1, 2, 3]),
    source=st.sampled_from(Source),
    coins=st.dictionaries(st.sampled_from(BASES), quantities, max_size=2),
    least=st.sampled_from(["0.01", "0.1", "3"]),
    mode=st.sampled_from(PositionMode),
    spared=st.sampled_from([(), ("AUSDT",)]),
)
def test_every_plan_only_ever_reduces(
    held: list[tuple[str, Side, Decimal, float, float]],
    stage: int,
    source: Source,
    coins: dict[str, Decimal],
    least: str,
    mode: PositionMode,
    spared: tuple[str, ...],
) -> None:
    """Targets lie below their position, on the step, closable, and on a side that may be taken."""
    markets = tuple(
        market(base, step="0.01", least=least, value="50", waived=False) for base in BASES
    )
    read = reading(
        *(position(base, side, str(quantity)) for base, side, quantity, _, _ in held),
        coins=tuple(coin(asset, str(quantity)) for asset, quantity in coins.items()),
        mode=mode,
    )
    found = plan(
        stage,
        source,
        read,
        results={key(base, side): (made, score) for base, side, _, made, score in held},
        markets=markets,
        of_book=book(never_touch=spared),
    )
    assert [one.number for one in found.targets] == list(range(1, len(found.targets) + 1))
    quantity_of = {key(base, side): quantity for base, side, quantity, _, _ in held}
    for one in found.targets:
        assert one.initial_quantity == quantity_of[one.key]
        assert 0 <= one.may_remain < one.initial_quantity
        assert one.may_remain % Decimal("0.01") == 0
        assert one.may_remain == 0 or one.may_remain >= Decimal(least)
        assert one.may_remain == 0 or one.may_remain * 100 >= 50
        if stage < 3:
            assert one.key.symbol not in spared
        if stage < 3 and source in (Source.LONG, Source.SHORT):
            assert one.key.side.value == source.value
    if stage == 1:
        assert len(found.targets) <= 3
    accounted = {one.key for one in found.targets} | {one.key for one in found.kept}
    if stage == 3:
        assert accounted == set(quantity_of)


@settings(max_examples=100)
@given(
    old=st.dictionaries(st.sampled_from("ABCDE"), st.integers(0, 9), max_size=5),
    new=st.dictionaries(st.sampled_from("ABCDE"), st.integers(0, 9), max_size=5),
    status=st.sampled_from(TargetStatus),
)
def test_merging_never_loosens(old: dict[str, int], new: dict[str, int], status: str) -> None:
    """Every row ends at the smallest remainder asked for, under a number of its own."""
    first = tuple(
        target(number, key(name), str(remain), status=TargetStatus(status))
        for number, (name, remain) in enumerate(old.items(), start=1)
    )
    second = tuple(
        target(number, key(name), str(remain))
        for number, (name, remain) in enumerate(new.items(), start=1)
    )
    merged = merge_targets(first, second)
    assert {one.key: one.may_remain for one in merged} == {
        key(name): Decimal(min(old.get(name, 9), new.get(name, 9))) for name in {*old, *new}
    }
    assert len({one.number for one in merged}) == len(merged)
    assert merged[: len(first)] == tuple(
        replace(after, number=before.number) for before, after in zip(first, merged, strict=False)
    )
    for before, after in zip(first, merged, strict=False):
        assert after.status in (before.status, TargetStatus.OPEN)
        if after.may_remain < before.may_remain:
            assert after.status is TargetStatus.OPEN
    assert merge_targets(merged, second) == merged
