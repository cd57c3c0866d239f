"""What the simulation proves over the venue in memory holds over HTTP as well."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.simulation.wire import in_memory, over_http, plain_story
from tests.venue_rigs import WAYS

SEEDS = (1, 2, 3, 5, 8, 12)
"""One-way and hedge mode, longs and shorts, one position and many; every one closes something."""

FEW_SEEDS = SEEDS[:3]

WITH_COINS = (18, 21, 35, 40)
"""Multi-assets and single-asset mode, hedged and not, with shorts that are kept beside their coin.

The adapter adds up what the venue has rounded: where coins are valued by it, the last digit that is
printed may differ for other seeds.
"""


@pytest.mark.parametrize("seed", (*SEEDS, *WITH_COINS))
def test_a_story_takes_the_same_course_over_the_wire(seed: int, tmp_path: Path) -> None:
    """Every reading, stage, target and execution, to the last digit and the same second."""
    story = plain_story(seed)
    assert bool(story.book.coins) is (seed in WITH_COINS)
    course = in_memory(story)
    assert any(line.startswith("ks-") for line in course.lines)
    assert asyncio.run(over_http(story, tmp_path)).lines == course.lines


@pytest.mark.parametrize("seed", FEW_SEEDS)
@pytest.mark.parametrize("way", sorted(set(WAYS) - {"binance"}))
def test_the_same_incident_ends_the_same_on_every_exchange(
    way: str, seed: int, tmp_path: Path
) -> None:
    """The same stages with the same targets, and the same positions left.

    An exchange that only acknowledges orders is looked at once more, so that seconds differ.
    """
    story = plain_story(seed)
    course = in_memory(story)
    told = asyncio.run(over_http(story, tmp_path, way))
    assert course.aims
    assert (told.aims, told.left) == (course.aims, course.left)
