"""What the simulation proves over the venue in memory holds over HTTP as well."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.simulation.wire import in_memory, over_http, plain_story
from tests.venue_rigs import WAYS

SEEDS = (1, 2, 3, 5, 8, 12)
"""One-way and hedge mode, longs and shorts, one position and many; every one closes something."""

CASES = [
    *(("binance", seed) for seed in SEEDS),
    *((way, seed) for way in sorted(WAYS) if way != "binance" for seed in SEEDS[:3]),
]


@pytest.mark.parametrize(("way", "seed"), CASES)
def test_a_story_takes_the_same_course_over_the_wire(way: str, seed: int, tmp_path: Path) -> None:
    """Every reading, stage, target and execution, to the last digit and the same second."""
    story = plain_story(seed)
    course = in_memory(story)
    assert any(line.startswith("ks-") for line in course)
    assert asyncio.run(over_http(story, tmp_path, way)) == course
