"""What the suites of the matrix share: names of cells, and what holds in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.recovery.scene import Scene, Timeline

NEVER = 1e9


class Named(Protocol):
    """A cell by its name: row, letter of the phase, and a variant after a dash."""

    @property
    def name(self) -> str:
        """For instance `6b-slow`."""


def each(cells: Iterable[Named]) -> pytest.MarkDecorator:
    """Run a test once for every cell, under its name."""
    listed = tuple(cells)
    return pytest.mark.parametrize("cell", listed, ids=[cell.name for cell in listed])


def proves(*names: str) -> pytest.MarkDecorator:
    """Name the cells that a test is for; it gets each as `cell`."""
    return pytest.mark.parametrize("cell", names, ids=names)


@dataclass(frozen=True, slots=True)
class Stop:
    """When a bot is stopped by a fault, in seconds from its beginning, and freed after its end."""

    earliest_s: float
    latest_s: float
    freed_within_s: float

    def holds_of(self, bot: Timeline, *, began: float, ended: float) -> bool:
        """Whether the bot was stopped and freed in time."""
        stopped_s = bot.when(True, since=began)
        freed_s = bot.when(False, since=max(ended, began + (stopped_s or 0.0)))
        return (
            stopped_s is not None
            and self.earliest_s <= stopped_s <= self.latest_s
            and freed_s is not None
            and freed_s <= self.freed_within_s
        )


def was_as_told(bot: Timeline, stop: Stop | None, *, began: float, ended: float) -> bool:
    """Whether a bot was stopped as said, or never for None."""
    if stop is None:
        return not bot.was_ever(True, since=began)
    return stop.holds_of(bot, began=began, ended=ended)


def holds_in_every_cell(scene: Scene, *, weak_s: float = 0.0) -> None:
    """Check what no fault may break: sizes only shrink, ids are used once, the lock comes first.

    `weak_s` is how long the lock on disk may say too little, because it could not be written.
    """
    scene.closes()
    ids = [fill["client_id"] for fill in scene.house.fills()]
    assert len(ids) == len(set(ids))
    assert scene.house.log.of("record_lost") == []
    assert scene.weak_s <= weak_s
    assert weak_s or scene.unlocked == []
