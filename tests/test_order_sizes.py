"""Sizes: rounded down, judged by the venue's own limits, split without an unsendable rest."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_sizes import (
    MAX_PARTS,
    compute_remainder,
    is_too_small,
    least_order,
    round_down,
    split,
    step_of,
    subtract,
)
from tests.closing_values import market


@pytest.mark.parametrize(
    ("quantity", "step", "expected"),
    [
        ("2500.5", "1", "2500"),
        ("0.0019", "0.001", "0.001"),
        ("0.29999999999999993", "0.001", "0.299"),
        ("0.0005", "0.001", "0"),
        ("7", "2.5", "5"),
        ("123456789012345678901.999999999999", "0.00000001", "123456789012345678901.99999999"),
    ],
)
def test_sizes_are_rounded_down(quantity: str, step: str, expected: str) -> None:
    """The largest multiple of the step that is not larger, however many digits there are."""
    assert round_down(Decimal(quantity), Decimal(step)) == Decimal(expected)


def test_sizes_ignore_the_process_wide_decimal_context() -> None:
    """Another library that sets rounding up and few digits changes no size of ours."""
    with decimal.localcontext() as context:
        context.rounding = decimal.ROUND_UP
        context.prec = 3
        assert round_down(Decimal("12345.678"), Decimal("0.01")) == Decimal("12345.67")
        assert subtract(Decimal("12345.678"), Decimal("0.001")) == Decimal("12345.677")


@pytest.mark.parametrize(
    ("quantities", "step"),
    [
        (("5001",), "1"),
        (("0.0120",), "0.0001"),
        (("5E+3",), "1"),
        (("2.5", "2.47", "3"), "0.01"),
        (("NaN",), "1"),
    ],
)
def test_an_unknown_market_steps_by_the_positions_own_digits(
    quantities: tuple[str, ...], step: str
) -> None:
    """A listing that is not loaded can still be closed, by the finest digit ever shown."""
    assert step_of(None, *(Decimal(quantity) for quantity in quantities)) == Decimal(step)


def test_a_step_of_zero_is_no_step() -> None:
    """Limits that make no sense never stop a close by dividing by zero."""
    assert step_of(market("X", step="0"), Decimal("1.25")) == Decimal("0.01")


@pytest.mark.parametrize(
    ("quantity", "least", "value", "waived", "mark", "counts", "expected"),
    [
        ("0", "0", "0", True, 100.0, True, True),
        ("0.9", "1", "0", True, 100.0, True, True),
        ("1", "1", "0", True, 100.0, True, False),
        ("1", "1", "101", False, 100.0, True, True),  # 1 x 100 < 101
        ("1", "1", "100", False, 100.0, True, False),  # 1 x 100 = 100
        ("1", "1", "101", True, 100.0, True, False),  # reduce-only is exempt
        ("1", "1", "101", True, 100.0, False, True),  # the exemption is not relied upon
        ("1", "1", "101", False, 0.0, True, False),  # no price proves nothing
    ],
)
def test_the_venues_minimums(
    quantity: str,
    least: str,
    value: str,
    waived: bool,
    mark: float,
    counts: bool,
    expected: bool,
) -> None:
    """Quantity always counts; value counts where it is not waived and a price is known."""
    limits = market("X", least=least, value=value, waived=waived)
    small = is_too_small(Decimal(quantity), limits=limits, mark_price=mark, waiver_counts=counts)
    assert small is expected


def test_an_unknown_market_has_no_minimum() -> None:
    """Nothing is called dust for want of limits, except nothing itself."""
    assert not is_too_small(Decimal("0.00001"), limits=None, mark_price=1.0)
    assert is_too_small(Decimal(0), limits=None, mark_price=1.0)


@pytest.mark.parametrize(
    ("hedged", "expected"),
    [(False, "0.6"), (True, "0")],
)
def test_a_hedge_mode_remainder_must_reach_the_minimum_value(hedged: bool, expected: str) -> None:
    """0.6 x 100 = 60 < 100: exempt as a reduce-only order, which hedge mode cannot send."""
    remainder = compute_remainder(
        Decimal("0.65"),
        step=Decimal("0.1"),
        limits=market("X", step="0.1", least="0.1", value="100", waived=True),
        mark_price=100.0,
        hedged=hedged,
    )
    assert remainder == Decimal(expected)


@pytest.mark.parametrize(
    ("quantity", "largest", "smallest", "parts"),
    [
        ("10", None, "1", ["10"]),
        ("10", "10", "1", ["10"]),
        ("10", "0.5", "1", ["10"]),  # a maximum below one step is no maximum
        ("10", "3", "2", ["3", "3", "2", "2"]),  # 3, 3, 3, 1 would leave an unsendable 1
        ("1000", "120", "1", ["112", *["111"] * 8]),
        ("7", "6", "5", ["6"]),  # 4 and 3 are both below 5; the 1 left is dust
    ],
)
def test_a_large_close_is_split_evenly(
    quantity: str, largest: str | None, smallest: str, parts: list[str]
) -> None:
    """Every part lies between the venue's minimum and maximum."""
    found = split(
        Decimal(quantity),
        step=Decimal(1),
        largest=None if largest is None else Decimal(largest),
        smallest=Decimal(smallest),
    )
    assert found == tuple(Decimal(part) for part in parts)


@pytest.mark.parametrize(
    ("least", "value", "mark", "expected"),
    [
        ("1", "5", 0.1, "50"),  # 50 x 0.1 = 5
        ("1", "5", 0.09, "56"),  # 55 x 0.09 = 4.95, 56 x 0.09 = 5.04
        ("60", "5", 0.1, "60"),
        ("1", "5", 0.0, "1"),  # an unknown price is not a price of 0
        ("1", "0", 0.1, "1"),
    ],
)
def test_the_least_order_reaches_both_minimums(
    least: str, value: str, mark: float, expected: str
) -> None:
    """The minimum value counts even where it is waived: hedged closes may not be exempt."""
    for waived in (False, True):
        limits = market("X", least=least, value=value, waived=waived)
        assert least_order(limits, step=Decimal(1), mark_price=mark) == Decimal(expected)
    assert least_order(None, step=Decimal(1), mark_price=mark) == 0


def test_a_round_sends_a_bounded_number_of_parts() -> None:
    """An absurd maximum gives a bounded burst, and the rest goes in later rounds."""
    parts = split(Decimal(1000), step=Decimal(1), largest=Decimal(1), smallest=Decimal(1))
    assert parts == (Decimal(1),) * MAX_PARTS


@settings(max_examples=100)
@given(
    units=st.integers(1, 10**9),
    largest=st.integers(1, 10**9),
    smallest=st.integers(0, 1000),
    step=st.sampled_from(["0.001", "0.5", "1", "10"]),
)
def test_parts_never_exceed_quantity_or_maximum(
    units: int, largest: int, smallest: int, step: str
) -> None:
    """Whatever the numbers, parts are positive, on the step, below the maximum, and add up."""
    size = Decimal(step)
    parts = split(
        units * size, step=size, largest=largest * size, smallest=smallest * Decimal("0.01")
    )
    assert parts
    assert all(0 < part <= largest * size and part % size == 0 for part in parts)
    assert sum(parts) <= units * size
    if len(parts) < MAX_PARTS and smallest == 0:
        assert sum(parts) == units * size
