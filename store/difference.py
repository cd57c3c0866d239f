"""What a history in memory holds otherwise than the file: what a commit still has to write.

Owns comparisons of frozen values and nothing else. Every commit of every tick asks, with two days
of points in hand; chunks are shared values, so identity tells what need not be looked at.
"""

from __future__ import annotations

import math
from operator import is_

from aging import EXACT_S
from memory import Chunk, History, Point, RowResults
from model import RowKey


def difference(old: History, new: History) -> tuple[tuple[Point, ...], tuple[float, ...]]:
    """Points of `new` that `old` holds otherwise or not at all, and times that `new` dropped.

    What was trimmed from the front is not dropped: it is only older than memory reaches. Points
    that differ in their results alone do not differ: these stand in other rows and never change,
    memory only shares them between the points of a minute.
    """
    before_chunks, now_chunks = _unshared(old.chunks, new.chunks)
    before = {point.at: point for chunk in before_chunks for point in chunk.points}
    now = [point for chunk in now_chunks for point in chunk.points]
    changed = tuple(
        point
        for point in now
        if (earlier := before.get(point.at)) is not point
        and (earlier is None or _figures(earlier) != _figures(point))
    )
    first = new.chunks[0].points[0].at if new.chunks else float("-inf")
    gone = before.keys() - {point.at for point in now}
    return changed, tuple(at for at in gone if at >= first)


def _unshared(
    old: tuple[Chunk, ...], new: tuple[Chunk, ...]
) -> tuple[tuple[Chunk, ...], tuple[Chunk, ...]]:
    """The chunks of each history that are not the same value as one of the other.

    A tick trims whole chunks in front and grows the last one; what lies between is recognised by
    one comparison of identities, because a day of chunks is looked at in every commit.
    """
    first = new[0] if new else None
    start = next((n for n, chunk in enumerate(old) if chunk is first), len(old))
    begun, grown = old[start:-1], new[:-1]
    if start < len(old) and all(map(is_, begun, grown)) and len(begun) <= len(grown):
        return (*old[:start], *old[-1:]), new[len(begun) :]
    shared = {id(chunk) for chunk in old} & {id(chunk) for chunk in new}
    return (
        tuple(chunk for chunk in old if id(chunk) not in shared),
        tuple(chunk for chunk in new if id(chunk) not in shared),
    )


def _figures(point: Point) -> tuple[float, float, float, bool]:
    return point.equity, point.nav, point.unexplained, point.may_be_peak


def later(history: History, at: float | None) -> dict[float, Point]:
    """The points of `history` after `at`, all of them for None."""
    later: dict[float, Point] = {}
    for point in history.points_backwards():
        if at is not None and point.at <= at:
            break
        later[point.at] = point
    return later


def peaks_to_come(history: History) -> dict[float, Point]:
    """The points that a drawdown may still be measured from: those that no later one is above.

    A late flow may make a peak of any point of the last hour.
    """
    last = history.last
    found: dict[float, Point] = {}
    highest = -math.inf
    for point in history.points_backwards():
        is_recent = last is not None and point.at >= last.at - EXACT_S
        if is_recent or (point.may_be_peak and point.nav > highest):
            found[point.at] = point
        if point.may_be_peak:
            highest = max(highest, point.nav)
    return found


def moved(before: RowResults, now: RowResults) -> list[RowKey]:
    """The rows whose results differ, or stand in one of the two only."""
    if len(before) == len(now) and all(
        old is new for (old, _), (new, _) in zip(before, now, strict=True)
    ):
        return [
            key
            for (key, result), (_, earlier) in zip(now, before, strict=True)
            if result != earlier
        ]
    old, new = dict(before), dict(now)
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]
