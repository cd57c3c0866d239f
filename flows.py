"""Money that enters or leaves from outside: when a flow takes effect, and what it does to units.

Pure. Owns behaviour.md section 4 (flows). Refuses to know how a flow became known (`ledger.py`)
and whether a reading is believable (`trust.py`).

A flow F that is first contained in a reading with equity E multiplies earlier equities by
E / (E - F). History is kept in units, so the units are multiplied instead, and the navs of points
that already contain the flow are divided. Rules:
- A small flow takes effect at its record: at the first trusted point asked for after it.
- A large one takes effect at the step between two consecutive trusted points that it explains
  best, searched from 60 s before its record on. Until that step comes, for 60 s, it is pending;
  then it takes effect at its record all the same.
- Several flows at one point chain: each counts on what the equity was without the others, so
  their factors multiply to E / (E - sum).
- If E - F is under the least equity worth judging, the factor stays 1 and a baseline begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from memory import Chunk, Flow, History, Point, ScopeMemory
from model import LedgerKind, RecordId

SMALL_SHARE = 0.01
SMALL_AMOUNT = 10.0
"""A flow, or an unexplained part, under max(1 % of equity, 10) is small."""

STEP_SEARCH_S = 60.0
"""How far before and after its record the step of a flow is looked for."""

STEP_SHARE = 0.5
"""The share of a flow that a step must show to be its step; less is more likely the market."""

MATCH_TOLERANCE = 0.10
"""How far a record, or an undoing step, may be from the inferred amount it answers."""

HAND_SEARCH_S = 86_400.0
"""How far back the step of a flow booked by hand is looked for: as far as a peak can lie."""

LARGEST_FACTOR = 1e6
"""A flow that makes an account a million times larger or smaller leaves nothing to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A memory whose flows took effect as far as they could.

    `changed` are flows that are new or differ from before; `forced` are the ids of those that
    took effect although no step showed them; `baseline_at` is where a book's baseline must start.
    """

    memory: ScopeMemory
    changed: tuple[Flow, ...] = ()
    forced: tuple[RecordId, ...] = ()
    baseline_at: float | None = None

    def then(self, later: Settled) -> Settled:
        """This result followed by a later one that started from its memory."""
        known = {flow.record_id: flow for flow in (*self.changed, *later.changed)}
        return Settled(
            memory=later.memory,
            changed=tuple(known.values()),
            forced=(*self.forced, *later.forced),
            baseline_at=_later(self.baseline_at, later.baseline_at),
        )


def _later(one: float | None, other: float | None) -> float | None:
    return max((at for at in (one, other) if at is not None), default=None)


def is_small(amount: float, *, equity: float) -> bool:
    """Say whether an amount is under max(1 % of equity, 10)."""
    return abs(amount) < max(SMALL_SHARE * abs(equity), SMALL_AMOUNT)


def compute_unexplained(*, move: float, explained: float) -> float:
    """Compute the part of an equity move that nothing explains (behaviour.md 3).

    0 where both have one sign and the move is the smaller: a fall smaller than the explained one
    means that the bot's own stop worked.
    """
    if move * explained > 0 and abs(move) < abs(explained):
        return 0.0
    return move - explained


def matches(amount: float, expected: float) -> bool:
    """Say whether an amount has the sign of the expected one and lies within 10 % of it."""
    return amount * expected > 0 and abs(amount - expected) <= MATCH_TOLERANCE * abs(expected)


# --- taking effect ----------------------------------------------------------------------------


def settle(
    memory: ScopeMemory, *, equity: float, min_equity: float, newest_began_at: float | None = None
) -> Settled:
    """Let every pending flow take effect whose point in the history is known by now.

    `equity` tells small flows from large ones. `newest_began_at` is when the newest step began,
    where that is earlier than the point before it.
    """
    settled = Settled(memory=memory)
    is_moving = True
    while is_moving:
        is_moving = False
        for flow in _pending(settled.memory):
            step = _settle_one(
                settled.memory,
                flow,
                equity=equity,
                min_equity=min_equity,
                newest_began_at=newest_began_at,
            )
            if step is not None:
                settled, is_moving = settled.then(step), True
    return settled


def _pending(memory: ScopeMemory) -> list[Flow]:
    """Flows without effect yet; the largest first, because it leaves the clearest step."""
    waiting = (f for f in memory.flows if f.effective_at is None and not f.is_cancelled)
    return sorted(waiting, key=lambda flow: (-abs(flow.amount), flow.at, flow.record_id))


def _settle_one(
    memory: ScopeMemory,
    flow: Flow,
    *,
    equity: float,
    min_equity: float,
    newest_began_at: float | None,
) -> Settled | None:
    """The effect of one pending flow, None while its point has not come."""
    first = next(memory.history.points(), None)
    if first is None:
        return None
    if flow.at < first.at - STEP_SEARCH_S:
        return _replaced(memory, replace(flow, effective_at=flow.at))
    after = _first_after(memory.history, flow.at)
    if is_small(flow.amount, equity=equity):
        if after is None:
            return None
        unexplained = _relief(memory, flow, after)
        return take_effect(memory, flow, after, unexplained=unexplained, min_equity=min_equity)
    point = _find_step(memory, flow, newest_began_at)
    if point is not None:
        unexplained = _relief(memory, flow, point)
        return take_effect(memory, flow, point, unexplained=unexplained, min_equity=min_equity)
    last = memory.last_trusted
    if after is None or last is None or last.asked_at <= flow.at + STEP_SEARCH_S:
        return None
    forced = take_effect(memory, flow, after, unexplained=0.0, min_equity=min_equity)
    return replace(forced, forced=(flow.record_id,))


def take_effect(
    memory: ScopeMemory, flow: Flow, point: Point, *, unexplained: float, min_equity: float
) -> Settled:
    """Let a flow that the memory holds take effect at a point of the history.

    `unexplained` is what to add to the running total from there on.
    """
    present = sum(f.amount for f in memory.flows if f.effective_at == point.at)
    after = point.equity - present
    before = after - flow.amount
    first = next(memory.history.points(), None)
    is_first = first is None or point.at <= first.at
    is_scalable = after > 0 and before > 0 and 1 / LARGEST_FACTOR < after / before < LARGEST_FACTOR
    starts_anew = not is_first and (not is_scalable or before < min_equity)
    factor = 1.0 if is_first or starts_anew else after / before
    settled = _replaced(
        rescale(memory, from_at=point.at, factor=factor, unexplained=unexplained),
        replace(flow, effective_at=point.at, factor=factor),
    )
    return replace(settled, baseline_at=point.at if starts_anew else None)


def undo(memory: ScopeMemory, flow: Flow, *, amount: float) -> Settled:
    """Take an effective flow back at the newest point, which fell by about its amount.

    A second flow with the inverse factor does it: points from before the first are as they were,
    and those between the two, which contained money that was never there, are no false peaks.
    """
    last = memory.history.last
    assert last is not None
    gone = replace(flow, is_cancelled=True)
    counter = Flow(
        record_id=RecordId(f"undo:{flow.record_id}"),
        scope=flow.scope,
        at=last.at,
        amount=amount,
        kind=flow.kind,
        asset=flow.asset,
        effective_at=last.at,
        factor=1 / flow.factor,
        is_inferred=True,
        is_cancelled=True,
    )
    memory = rescale(memory, from_at=last.at, factor=counter.factor, unexplained=0.0)
    settled = _replaced(memory, gone)
    memory = replace(settled.memory, flows=(*settled.memory.flows, counter))
    never_scaled = flow.factor == 1.0
    return Settled(
        memory=memory,
        changed=(gone, counter),
        baseline_at=last.at if never_scaled else None,
    )


def book_flow(
    memory: ScopeMemory, amount: float, now: float, record_id: RecordId, *, min_equity: float
) -> Settled:
    """Book a flow by hand, because the venue's records do not show it.

    It takes effect at the step of the last day that it explains within 10 %, else as a record
    from now would. A later record of the venue within 10 % and 1 h replaces it. The memory stays
    as it is if the id is known. Raises ValueError for an amount of 0 or one that is not finite.
    """
    if not math.isfinite(amount) or amount == 0:
        raise ValueError("a flow has an amount")
    if any(flow.record_id == record_id for flow in memory.flows):
        return Settled(memory=memory)
    steps = [
        (abs(step.raw - amount), step.earlier.at)
        for step in _steps(memory, since=now - HAND_SEARCH_S)
        if matches(step.raw, amount)
    ]
    flow = Flow(
        record_id=record_id,
        scope=memory.scope,
        at=min(steps)[1] if steps else now,
        amount=amount,
        kind=LedgerKind.TRANSFER,
        is_inferred=True,
    )
    booked = Settled(memory=replace(memory, flows=(*memory.flows, flow)), changed=(flow,))
    last = memory.history.last
    equity = last.equity if last is not None else 0.0
    return booked.then(settle(booked.memory, equity=equity, min_equity=min_equity))


def sum_pending(memory: ScopeMemory, *, equity: float, now: float) -> float:
    """Sum the large flows that are younger than 60 s and whose step has not been seen."""
    return math.fsum(flow.amount for flow in _awaited(memory, equity=equity, now=now))


def is_awaiting_step(memory: ScopeMemory, *, equity: float, now: float) -> bool:
    """Say whether a large flow is on its way; until its step comes no reading is a peak."""
    return any(True for _ in _awaited(memory, equity=equity, now=now))


def _awaited(memory: ScopeMemory, *, equity: float, now: float) -> Iterator[Flow]:
    for flow in _pending(memory):
        if not is_small(flow.amount, equity=equity) and now - flow.at < STEP_SEARCH_S:
            yield flow


def rebuild_history(points: Iterable[Point], flows: Iterable[Flow]) -> tuple[History, float]:
    """Rebuild navs and units from stored equities and flows; a flow may have become known late.

    Returns the history and the units of its end. Points must be ordered by time.
    """
    effective = sorted(
        (flow for flow in flows if flow.effective_at is not None),
        key=lambda flow: (flow.effective_at or 0.0, flow.record_id),
    )
    units, number = 1.0, 0
    rebuilt: list[Point] = []
    for point in points:
        while number < len(effective) and (effective[number].effective_at or 0.0) <= point.at:
            units *= effective[number].factor
            number += 1
        rebuilt.append(replace(point, nav=point.equity / units))
    return History.of(tuple(rebuilt)), units


def with_newest(history: History, newest: Point) -> History:
    """The history with its newest point replaced by one of the same time."""
    tail = history.chunks[-1].points
    return replace(history, chunks=(*history.chunks[:-1], Chunk.of((*tail[:-1], newest))))


# --- steps of the history ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Two consecutive points; `raw` is the part of their move that rows and flows leave over."""

    earlier: Point
    later: Point
    raw: float


def _steps(memory: ScopeMemory, *, since: float) -> Iterator[_Step]:
    """The steps that ended after `since`, latest first."""
    for later, earlier in pairwise(memory.history.points_backwards()):
        if later.at <= since:
            return
        before = dict(earlier.results)
        explained = math.fsum(made - before.get(key, 0.0) for key, made in later.results)
        known = math.fsum(
            flow.amount
            for flow in memory.flows
            if flow.effective_at is not None and earlier.at < flow.effective_at <= later.at
        )
        raw = later.equity - earlier.equity - explained - known
        yield _Step(earlier=earlier, later=later, raw=raw)


def _find_step(memory: ScopeMemory, flow: Flow, newest_began_at: float | None) -> Point | None:
    """The later point of the step near its record that a large flow explains best.

    A step of the past that shows it in part only is taken when the search is over: its own step
    may be the next one, and a flow at a wrong step leaves its own to be booked once more.
    """
    found: list[tuple[float, float, Point]] = []
    last, trusted = memory.history.last, memory.last_trusted
    is_over = trusted is not None and trusted.asked_at > flow.at + STEP_SEARCH_S
    pending = _pending(memory)
    for step in _steps(memory, since=flow.at - STEP_SEARCH_S):
        began_at, is_newest = step.earlier.at, False
        if step.later is last and newest_began_at is not None:
            began_at, is_newest = min(began_at, newest_began_at), True
        if began_at >= flow.at + STEP_SEARCH_S:
            continue
        shown = step.raw * math.copysign(1.0, flow.amount) / abs(flow.amount)
        is_clear = matches(step.raw, flow.amount) or is_newest or is_over
        # In and out again between two readings: the step shows what is left of all of them.
        others = math.fsum(
            other.amount
            for other in pending
            if other is not flow and began_at < other.at <= step.later.at
        )
        if shown >= STEP_SHARE and is_clear:
            found.append((abs(step.raw - flow.amount), step.later.at, step.later))
        elif others and matches(step.raw - others, flow.amount):
            found.append((abs(step.raw - others - flow.amount), step.later.at, step.later))
    return min(found)[2] if found else None


def _relief(memory: ScopeMemory, flow: Flow, point: Point) -> float:
    """What the running unexplained total changes by when a flow explains the step to `point`."""
    for step in _steps(memory, since=math.nextafter(point.at, -math.inf)):
        if step.later.at == point.at:
            move = step.later.equity - step.earlier.equity
            explained = move - step.raw
            return compute_unexplained(
                move=move, explained=explained + flow.amount
            ) - compute_unexplained(move=move, explained=explained)
    return 0.0


def _first_after(history: History, at: float) -> Point | None:
    """The first point asked for after a time."""
    found: Point | None = None
    for point in history.points_backwards():
        if point.at <= at:
            break
        found = point
    return found


def point_since(history: History, at: float | None) -> Point | None:
    """The first point of a time or later; None when history begins later.

    The point at which a flow took effect a day ago may have been thinned out since.
    """
    first = next(history.points(), None)
    if at is None or first is None or at < first.at:
        return None
    return _first_after(history, math.nextafter(at, -math.inf))


def _replaced(memory: ScopeMemory, flow: Flow) -> Settled:
    """The memory with one of its flows in a new state."""
    flows = tuple(flow if f.record_id == flow.record_id else f for f in memory.flows)
    return Settled(memory=replace(memory, flows=flows), changed=(flow,))


def rescale(
    memory: ScopeMemory, *, from_at: float, factor: float, unexplained: float
) -> ScopeMemory:
    """Multiply the units from a time on, and shift the unexplained totals since then."""
    if factor == 1.0 and unexplained == 0.0:
        return memory
    chunks = tuple(
        chunk
        if chunk.points[-1].at < from_at
        else Chunk.of(
            tuple(
                point
                if point.at < from_at
                else replace(
                    point,
                    nav=point.nav / factor,
                    unexplained=point.unexplained + unexplained,
                )
                for point in chunk.points
            )
        )
        for chunk in memory.history.chunks
    )
    return replace(
        memory,
        history=replace(memory.history, chunks=chunks),
        units=memory.units * factor,
        unexplained=memory.unexplained + unexplained,
    )
