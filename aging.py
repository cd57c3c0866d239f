"""How the history of a scope grows old: what stays exact, what is shared, what is thinned out.

Pure. Owns the rule by which a long run and a restarted one remember the same, and by which the
file keeps what memory keeps. Refuses to know SQL; `store.retention` thins the file.

Rules:
- Age is told from the newest trusted point, never from a clock: after a blackout nothing is old.
- For an hour every point has its own results: flows are searched and undone within an hour, so
  any point may become a peak. Before that the points of a minute share the results of the one
  that stands for it.
- For a day every point stays: the longest window, and the last point before a shorter one, are
  exact. Before that only the point stays that stands for its minute.
- The best point stands for a minute (or an hour, in the file): the largest nav that may be a peak,
  the later of equals. So the highest peak outlives its neighbours. Where none may be a peak it is
  the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from memory import CHUNK_SIZE, Chunk, History, Point, best_of

MINUTE_S = 60.0

EXACT_S = 3_600.0
"""How long every point keeps its own results."""

RAW_S = 86_400.0 + 300.0
"""How long every point stays: 24 h, and a little for a clock set back by less than shows."""

HISTORY_S = 172_800.0
"""How far memory reaches back, 48 h: the longest rolling peak that anything looks at."""

STEP_POINTS = 256
"""About so many points are worked on at a time, so that a day that was loaded delays no tick."""


def start_of(at: float, span_s: float) -> float:
    """The start of the minute (or hour) that a time lies in."""
    return at // span_s * span_s


def standing_for(points: Sequence[Point]) -> Point:
    """The one of some points, at least one, that stands for all of them."""
    return best_of(tuple(points)) or points[-1]


def _by_minute(points: Sequence[Point]) -> Iterator[tuple[float, tuple[Point, ...]]]:
    """Group points by the start of their minute."""
    for minute, group in groupby(points, key=lambda point: start_of(point.at, MINUTE_S)):
        yield minute, tuple(group)


def grow_old(history: History) -> History:
    """Share and thin what has become old since the last time, as far as one step goes."""
    last = history.last
    if last is None:
        return history
    exact_from = start_of(last.at - EXACT_S, MINUTE_S)
    if history.shared_until < exact_from:
        chunks, reached = _work(history, since=history.shared_until, until=exact_from, by=_shared)
        history = replace(history, chunks=chunks, shared_until=reached)
    raw_from = start_of(last.at - RAW_S, MINUTE_S)
    if history.thinned_until < raw_from:
        chunks, reached = _work(history, since=history.thinned_until, until=raw_from, by=_thinned)
        history = replace(history, chunks=chunks, thinned_until=reached)
    return history


def _shared(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The points of one minute with the results of the one that stands for it."""
    results = standing_for(points).results
    return tuple(
        point if point.results is results else replace(point, results=results) for point in points
    )


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    return (standing_for(points),)


def _work(
    history: History,
    *,
    since: float,
    until: float,
    by: Callable[[tuple[Point, ...]], tuple[Point, ...]],
) -> tuple[tuple[Chunk, ...], float]:
    """Work on the minutes from `since` to `until`, and say how far it went.

    Chunks that thinning leaves half empty are filled up by the next step.
    """
    chunks = history.chunks
    first = next(n for n, chunk in enumerate(chunks) if chunk.points[-1].at >= since)
    if first and len(chunks[first - 1].points) < CHUNK_SIZE:
        first -= 1
    taken: list[Point] = []
    end, reached = first, until
    while end < len(chunks) and chunks[end].points[0].at < until:
        minute = start_of(chunks[end].points[0].at, MINUTE_S)
        if len(taken) >= STEP_POINTS and start_of(taken[-1].at, MINUTE_S) < minute:
            reached = minute
            break
        taken.extend(chunks[end].points)
        end += 1
    worked: list[Point] = []
    for minute, points in _by_minute(taken):
        worked.extend(by(points) if since <= minute < until else points)
    if len(worked) == len(taken) and all(map(_is, worked, taken)):
        return chunks, reached
    return (*chunks[:first], *History.of(tuple(worked)).chunks, *chunks[end:]), reached


def _is(one: Point, other: Point) -> bool:
    return one is other
