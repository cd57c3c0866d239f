"""Who lost the money: results between readings, the losing side, and the risk score."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import Row, RowKey, Side, Source, SourceMode, Symbol
from risk_attribution import (
    RowResult,
    compute_row_results,
    score_rows,
)
from tests.attribution_cases import LONG, SHORT, blame, key, row


def result_of_one(
    earlier: Row | None, later: Row | None, *, marks: dict[Symbol, float] | None = None
) -> float:
    """The result of the only row there is."""
    results = compute_row_results(
        earlier=() if earlier is None else (earlier,),
        later=() if later is None else (later,),
        marks=marks or {},
    )
    assert len(results) == 1
    return next(iter(results.values()))


@pytest.mark.parametrize(
    ("earlier", "later", "marks", "expected"),
    [
        pytest.param(
            row("A", SHORT, quantity=100, entry=108, mark=100),
            row("A", SHORT, quantity=100, entry=108, mark=107),
            {},
            -700.0,  # -1 x 100 x (107 - 100), although the short still shows +100
            id="held, in profit, falling",
        ),
        pytest.param(
            row("A", SHORT, quantity=10, entry=100, mark=100),
            row("A", SHORT, quantity=5, entry=100, mark=110),
            {},
            -100.0,  # -1 x 5 x 10 held, -1 x 5 x 10 closed
            id="half closed meanwhile",
        ),
        pytest.param(
            row("A", SHORT, quantity=10, entry=100, mark=100),
            None,
            {Symbol("A"): 112.0},
            -120.0,  # -1 x 10 x (112 - 100)
            id="closed entirely",
        ),
        pytest.param(
            row("A", LONG, quantity=10, entry=100, mark=100),
            row("A", LONG, quantity=20, entry=105, mark=110),
            {},
            100.0,  # 10 x 10 held; added at (20 x 105 - 10 x 100) / 10 = 110, so 10 x 0
            id="added to",
        ),
        pytest.param(
            None,
            row("A", LONG, quantity=4, entry=50, mark=48),
            {},
            -8.0,  # 4 x (48 - 50)
            id="opened between",
        ),
    ],
)
def test_results_follow_the_table(
    earlier: Row | None, later: Row | None, marks: dict[Symbol, float], expected: float
) -> None:
    """The five cases of the specification come out to the cent."""
    assert result_of_one(earlier, later, marks=marks) == pytest.approx(expected)


def test_added_part_may_have_cost_far_more_than_both_marks() -> None:
    """A fill at a spike counts with the price that was paid: 10 x 10 + 10 x (110 - 130)."""
    earlier = row("A", LONG, quantity=10, entry=100, mark=100)
    later = row("A", LONG, quantity=20, entry=115, mark=110)
    assert result_of_one(earlier, later) == pytest.approx(-100.0)


@pytest.mark.parametrize(
    ("quantity", "entry"),
    [
        pytest.param(11.0, 200.0, id="implied price 1,200: closed and opened anew"),
        pytest.param(11.0, 80.0, id="implied price -120: no price at all"),
    ],
)
def test_impossible_price_of_the_added_part_invents_no_result(
    quantity: float, entry: float
) -> None:
    """What cannot have been paid says nothing, so the added part counts from the later mark."""
    earlier = row("A", LONG, quantity=10, entry=100, mark=200)
    later = row("A", LONG, quantity=quantity, entry=entry, mark=200)
    assert result_of_one(earlier, later) == 0.0


def test_closed_isolated_position_loses_at_most_its_margin() -> None:
    """Liquidated at 50 with a mark now at 20: 10 x 80 = 800, but only 300 were set aside."""
    earlier = row("A", LONG, quantity=10, entry=100, mark=100, margin=300, loss_cap=300)
    assert result_of_one(earlier, None, marks={Symbol("A"): 20.0}) == -300.0


def test_closed_part_of_an_isolated_position_loses_at_most_its_share() -> None:
    """A quarter closed: at most 75 of 300; the rest is alive and is not capped: -7.5 x 80."""
    earlier = row("A", LONG, quantity=10, entry=100, mark=100, margin=300, loss_cap=300)
    later = row("A", LONG, quantity=7.5, entry=100, mark=20, margin=300, loss_cap=300)
    assert result_of_one(earlier, later) == pytest.approx(-600.0 - 75.0)


def test_negative_margin_turns_no_loss_into_a_gain() -> None:
    """A margin below zero caps at zero; the closed row can not have earned money by it."""
    earlier = row("A", LONG, quantity=10, entry=100, mark=100, loss_cap=-50)
    assert result_of_one(earlier, None, marks={Symbol("A"): 20.0}) == 0.0


@pytest.mark.parametrize("mark", [None, math.nan, math.inf, 0.0, -1.0])
def test_gone_row_without_a_usable_mark_made_nothing(mark: float | None) -> None:
    """A missing or impossible mark never becomes a loss of the whole position."""
    marks = {} if mark is None else {Symbol("A"): mark}
    earlier = row("A", LONG, quantity=10, entry=100, mark=100)
    assert result_of_one(earlier, None, marks=marks) == 0.0


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        (None, row("BTC", LONG, quantity=1, entry=None, mark=100), 0.0),
        (
            row("BTC", LONG, quantity=1, entry=None, mark=100),
            row("BTC", LONG, quantity=3, entry=None, mark=90),
            -10.0,  # only the coin that was there fell by 10
        ),
        (
            row("BTC", LONG, quantity=3, entry=None, mark=100),
            row("BTC", LONG, quantity=1, entry=None, mark=90),
            -30.0,  # 1 held and 2 sold, all of them to the later mark
        ),
        (row("BTC", LONG, quantity=3, entry=None, mark=100), None, 0.0),
    ],
)
def test_coins_count_by_price_alone(
    earlier: Row | None, later: Row | None, expected: float
) -> None:
    """A coin has no entry: what arrives or leaves makes no result, what is held moves."""
    assert result_of_one(earlier, later) == pytest.approx(expected)


def test_flipped_position_is_one_row_closed_and_another_opened() -> None:
    """Long 10 from 100 to 90 loses 100; the short opened at 92 made 2 x 5."""
    results = compute_row_results(
        earlier=(row("A", LONG, quantity=10, entry=100, mark=100),),
        later=(row("A", SHORT, quantity=5, entry=92, mark=90),),
        marks={Symbol("A"): 90.0},
    )
    assert results == {key("A", LONG): -100.0, key("A", SHORT): 10.0}


price = st.floats(min_value=10.0, max_value=19.0)
size = st.floats(min_value=0.01, max_value=1_000.0)


@settings(max_examples=100)
@given(
    held=st.lists(st.tuples(st.sampled_from(Side), size, price, price, price), max_size=6),
)
def test_constant_sizes_add_up_to_the_change_of_profit(
    held: list[tuple[Side, float, float, float, float]],
) -> None:
    """The sum is current minus reference profit, also when the interval is read in the middle."""
    earlier, middle, later = (
        tuple(
            row(f"S{number}", side, quantity=quantity, entry=entry, mark=marks[step])
            for number, (side, quantity, entry, *marks) in enumerate(
                (side, quantity, first, first, second, third)
                for side, quantity, first, second, third in held
            )
        )
        for step in range(3)
    )
    whole = compute_row_results(earlier=earlier, later=later, marks={})
    first = compute_row_results(earlier=earlier, later=middle, marks={})
    second = compute_row_results(earlier=middle, later=later, marks={})
    change = sum(r.unrealised_pnl for r in later) - sum(r.unrealised_pnl for r in earlier)
    assert sum(whole.values()) == pytest.approx(change, abs=1e-6)
    for found, result in whole.items():
        assert first[found] + second[found] == pytest.approx(result, abs=1e-6)


@settings(max_examples=100)
@given(
    side=st.sampled_from(Side),
    old=size,
    added=st.floats(min_value=0.1, max_value=1_000.0),
    prices=st.tuples(price, price, price, price, price),
)
def test_splitting_an_interval_with_an_addition_changes_nothing(
    side: Side, old: float, added: float, prices: tuple[float, float, float, float, float]
) -> None:
    """Held, then added to, then held: two intervals make what the whole one makes."""
    entry, paid, start, middle, end = prices
    average = (old * entry + added * paid) / (old + added)
    before = row("A", side, quantity=old, entry=entry, mark=start)
    between = row("A", side, quantity=old + added, entry=average, mark=middle)
    after = row("A", side, quantity=old + added, entry=average, mark=end)
    expected = side.sign * (old * (end - start) + added * (end - paid))
    halves = result_of_one(before, between) + result_of_one(between, after)
    assert halves == pytest.approx(expected, rel=1e-6, abs=1e-4)
    assert result_of_one(before, after) == pytest.approx(expected, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize(
    ("long_result", "short_result", "threshold", "expected"),
    [
        (-65.0, -35.0, 0.65, Source.LONG),  # 65 / 100 is exactly enough
        (-35.0, -65.0, 0.65, Source.SHORT),
        (-64.9, -35.1, 0.65, Source.MIXED),
        (-10.0, 500.0, 0.65, Source.LONG),  # the winner is not deducted
        (500.0, 1.0, 0.65, Source.UNKNOWN),
        (0.0, 0.0, 0.65, Source.UNKNOWN),
        (-50.0, -50.0, 0.50, Source.MIXED),  # both sides hold half: neither dominates
        (-55.0, -45.0, 0.40, Source.LONG),  # both reach 0.40: the larger one
        (-1e-9, 20.0, 0.65, Source.UNKNOWN),  # rounding of running totals is no loss
    ],
)
def test_source_is_the_side_that_holds_enough_of_the_losses(
    long_result: float, short_result: float, threshold: float, expected: Source
) -> None:
    """Only losses count, and a share equal to the threshold is enough."""
    found = blame({key("A", LONG): long_result, key("B", SHORT): short_result}, threshold=threshold)
    assert found.source is expected
    assert found.measured is expected


def test_results_are_counted_from_the_peak() -> None:
    """A: -30 - (-20) = -10; B opened later: -5 from 0; C lost its 100 before the peak."""
    found = blame(
        {key("A", LONG): -30.0, key("B", SHORT): -5.0, key("C", SHORT): -100.0},
        peak=((key("A", LONG), -20.0), (key("C", SHORT), -100.0)),
    )
    assert [(r.key.symbol, r.result) for r in found.results] == [
        ("A", -10.0),
        ("B", -5.0),
        ("C", 0.0),
    ]
    assert (found.losses_long, found.losses_short, found.losses) == (10.0, 5.0, 15.0)
    assert found.share(LONG) == pytest.approx(2 / 3)
    assert found.losses_of(SHORT) == 5.0
    assert found.result_of(key("A", LONG)) == -10.0
    assert found.result_of(key("Z", LONG)) == 0.0
    assert found.source is Source.LONG


def test_dropped_total_invents_nothing() -> None:
    """A key absent now is not counted as 0: that would turn +500 at the peak into a loss of 500."""
    found = blame({key("A", LONG): -30.0}, peak=((key("B", SHORT), 500.0),))
    assert [r.key for r in found.results] == [key("A", LONG)]
    assert found.losses == 30.0


def test_closed_row_counts_for_its_side_but_is_not_open() -> None:
    """Stopped-out shorts lost the money although only a long is left."""
    held = row("A", LONG, quantity=1, entry=100, mark=95)
    found = blame({held.key: -5.0, key("B", SHORT): -95.0}, rows=(held,))
    assert found.source is Source.SHORT
    assert [(r.key, r.is_open) for r in found.results] == [
        (held.key, True),
        (key("B", SHORT), False),
    ]
    scored = score_rows(attribution=found, rows=(held,), equity=1_000.0)
    assert [s.row.key for s in scored] == [held.key]
    assert scored[0].terms.loss_share == pytest.approx(0.05)  # 5 of all 100, closed ones included


def test_never_touch_rows_are_left_out_and_named() -> None:
    """The largest loser is spared: neither source nor shares see it, the report does."""
    spared = row("BTC", LONG, quantity=1, entry=100, mark=10)
    other = row("A", SHORT, quantity=1, entry=100, mark=110)
    found = blame(
        {spared.key: -90.0, other.key: -10.0},
        rows=(spared, other),
        never_touch=(Symbol("BTC"),),
    )
    assert found.source is Source.SHORT
    assert found.left_out == (RowResult(key=spared.key, result=-90.0, is_open=True),)
    scored = score_rows(attribution=found, rows=(spared, other), equity=1_000.0)
    assert [s.row.key for s in scored] == [other.key]
    assert scored[0].terms.unrealised_share == 1.0  # 10 of 10, the spared 90 do not count


@pytest.mark.parametrize(
    ("drawdown", "unexplained", "fraction", "expected"),
    [
        (100.0, -50.0, 0.5, Source.LONG),  # half is not more than half
        (100.0, -51.0, 0.51, Source.UNKNOWN),
        (100.0, -250.0, 2.5, Source.UNKNOWN),
        (100.0, 80.0, 0.0, Source.LONG),  # an unexplained rise explains no fall away
        (0.0, -10.0, 0.0, Source.LONG),  # no drawdown, nothing to explain
        (math.nan, -10.0, math.inf, Source.UNKNOWN),
        (100.0, math.nan, math.inf, Source.UNKNOWN),
    ],
)
def test_mostly_unexplained_drawdown_has_no_known_source(
    drawdown: float, unexplained: float, fraction: float, expected: Source
) -> None:
    """More than half of the drawdown unexplained by falls: the figures name nobody."""
    found = blame({key("A", LONG): -30.0}, drawdown=drawdown, unexplained=unexplained)
    assert found.unexplained_fraction == pytest.approx(fraction)
    assert found.source is expected


@pytest.mark.parametrize("mode", [SourceMode.LONG, SourceMode.SHORT, SourceMode.MIXED])
@pytest.mark.parametrize(
    ("results", "unexplained", "measured"),
    [
        ({key("A", LONG): -30.0}, 0.0, Source.LONG),
        ({key("A", LONG): 30.0}, 0.0, Source.UNKNOWN),
        ({key("A", LONG): -30.0}, -90.0, Source.UNKNOWN),
    ],
)
def test_forced_source_wins_and_the_measurement_stays_visible(
    mode: SourceMode, results: dict[RowKey, float], unexplained: float, measured: Source
) -> None:
    """The operator's own answer needs no measurement, not even an explained one."""
    found = blame(results, mode=mode, unexplained=unexplained)
    assert found.source.value == mode.value
    assert found.measured is measured


def test_result_that_is_not_known_is_named_and_not_counted() -> None:
    """Neither NaN nor an open row without a total becomes a loss or a zero in the results."""
    fresh = row("C", SHORT, quantity=1, entry=100, mark=100)
    found = blame({key("A", LONG): math.nan, key("B", SHORT): -4.0}, rows=(fresh,))
    assert found.unmeasured == (key("A", LONG), key("C", SHORT))
    assert [r.key for r in found.results] == [key("B", SHORT)]
    assert found.source is Source.SHORT
    scored = score_rows(attribution=found, rows=(fresh,), equity=1_000.0)
    assert "result" in scored[0].missing
    assert scored[0].terms.loss_share == 0.0


def test_nothing_lost_gives_shares_of_zero() -> None:
    """Without losses no side has a share."""
    found = blame({key("A", LONG): 10.0})
    assert (found.share(LONG), found.share(SHORT), found.losses) == (0.0, 0.0, 0.0)
