"""What the simulation proves over the venue in memory holds over HTTP as well."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.other_conventions import CONVENTIONS
from tests.simulation.venues import DRAWN
from tests.simulation.wire import in_memory, over_http, plain_story
from tests.venue_rigs import WAYS

SEEDS = (1, 2, 3, 5, 8, 12)
"""One-way and hedge mode, longs and shorts, one position and many; every one closes something."""

WITH_COINS = (18, 21, 35, 40)
"""Multi-assets and single-asset mode, hedged and not, with shorts that are kept beside their coin.

The adapter adds up what the venue has rounded: where coins are valued by it, the last digit that is
printed may differ for other seeds.
"""

OTHER_WAYS = sorted(set(CONVENTIONS) - {"binance"})
ELSEWHERE = (1, 3, 13, 21, 35)
"""The last three are, on the exchange where each symbol has its own, in both modes at once."""

ALIKE = (1, 3, 5, 8, 12)
"""Accounts that can be held everywhere as they are; in that of seed 2 some positions are isolated
and some are not, which on one exchange is one choice for all."""

COURSES = [
    *(("binance", seed) for seed in (*SEEDS, *WITH_COINS[:2])),
    *((way, seed) for way in OTHER_WAYS for seed in ELSEWHERE),
]


def test_every_way_to_an_account_has_its_conventions() -> None:
    """And each is drawn. Orders of a portfolio account are those of Binance: it has none itself."""
    assert set(CONVENTIONS) == set(WAYS) - {"binance-portfolio"}
    assert {ways.name for ways in DRAWN} == set(CONVENTIONS)


@pytest.mark.parametrize(("way", "seed"), COURSES)
def test_a_story_takes_the_same_course_over_the_wire(way: str, seed: int, tmp_path: Path) -> None:
    """Every reading, stage, target and execution, to the last digit and the same second."""
    story = plain_story(seed, way)
    course = in_memory(story)
    assert any(line.startswith("ks-") for line in course.lines)
    told = asyncio.run(over_http(story, tmp_path))
    assert (told.lines, told.left) == (course.lines, course.left)


def test_coins_and_mixed_modes_are_among_them() -> None:
    """What the seeds were chosen for."""
    assert all(plain_story(seed, way).book.coins for way in CONVENTIONS for seed in WITH_COINS)
    for seed in ELSEWHERE[-3:]:
        positions = plain_story(seed, "bybit").book.seed["positions"]
        assert any("position_mode" in position for position in positions)


@pytest.mark.parametrize("seed", ALIKE)
@pytest.mark.parametrize("way", OTHER_WAYS)
def test_the_same_incident_ends_the_same_on_every_exchange(way: str, seed: int) -> None:
    """The same stages with the same targets, and the same positions left.

    An exchange that only acknowledges orders is looked at once more, so that seconds differ.
    """
    course, told = (in_memory(plain_story(seed, name)) for name in ("binance", way))
    assert course.aims
    assert (told.aims, told.left) == (course.aims, course.left)
