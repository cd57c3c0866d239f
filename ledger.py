"""The venue's records: flows, funding, fees, realised results; each taken in exactly once.

Pure. Refuses to know when a flow takes effect (`flows.py`) and what a record proves (`trust.py`).
Rules:
- A record is known by the venue's id. Ids are remembered for an hour behind the last answer, and
  what is older than that then is not taken in again.
- Funding and fees are credited to the row they name. Those that arrive after their time has been
  judged are moved there from the unexplained total.
- What is new when the records are asked for after the clock was set back counts as of the time
  since: the real length of that silence is not known.
- A flow record of the same sign, within 10 % and 1 h of an inferred flow, replaces that one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from flows import STEP_SEARCH_S, Settled, matches, point_since, rescale, take_effect
from memory import Flow, RowResults, ScopeMemory
from model import Ledger, LedgerEntry, LedgerKind, Row, Symbol

REPLACE_WITHIN_S = 3_600.0
"""How far apart an inferred flow and the venue's record of it may be."""

ENTRY_LIFE_S = 3_600.0
"""How long records are remembered by their id; venues list some of them minutes late."""

JUST_AFTER_S = 1.0
"""Less than what lies between the end of a history that was moved and the reading it is for."""

FLOW_LIFE_S = 172_800.0
"""48 h, the life of the history that flows explain."""

LEDGER_OVERLAP_S = 600.0
"""How far a new question to the ledger reaches back over the last answer, for late records."""

FIRST_LEDGER_S = 3_600.0
"""How far the first question ever reaches back."""


def ledger_since(memory: ScopeMemory, *, now: float) -> float:
    """Compute from when on the venue's records should be asked for, at most 48 h back."""
    if memory.set_back_to or not 0 < memory.ledger_until <= now:
        return now - FIRST_LEDGER_S
    since = memory.ledger_until - LEDGER_OVERLAP_S
    if memory.last_trusted is not None:
        since = min(since, memory.last_trusted.asked_at - STEP_SEARCH_S)
    return max(since, now - FLOW_LIFE_S)


# --- the venue's records ----------------------------------------------------------------------


def learn_ledger(
    memory: ScopeMemory, ledger: Ledger | None, *, now: float, min_equity: float
) -> Settled:
    """Take in the records that are not known yet.

    Flows become pending, or replace the inferred flow they confirm. Funding and fees that arrive
    after their time has been judged are moved from the unexplained total to their row.
    """
    if ledger is None:
        return Settled(memory=memory)
    settled = Settled(memory=memory)
    # A busy account has thousands of records, and the answer repeats many of them.
    known = {entry.record_id for entry in memory.entries}
    fresh: list[LedgerEntry] = []
    for entry in sorted(ledger.entries, key=lambda entry: (entry.at, entry.record_id)):
        if not math.isfinite(entry.amount) or entry.amount == 0:
            continue
        if entry.kind.is_flow:
            flow = Flow(
                record_id=entry.record_id,
                scope=entry.scope,
                at=max(entry.at, memory.set_back_to),
                amount=entry.amount,
                kind=entry.kind,
                asset=entry.asset,
            )
            settled = settled.then(
                _learn_flow(settled.memory, flow, now=now, min_equity=min_equity)
            )
        elif entry.record_id not in known and not _is_forgotten(memory, entry):
            known.add(entry.record_id)
            dated = _since_set_back(memory, entry)
            fresh.append(dated)
            settled = settled.then(Settled(memory=_credit_late(settled.memory, dated)))
    settled = settled.then(_confirm_together(settled.memory, min_equity=min_equity))
    memory = settled.memory
    until = max(memory.ledger_until, ledger.asked_at)
    oldest = until - ENTRY_LIFE_S
    if memory.last_trusted is not None:
        oldest = min(oldest, memory.last_trusted.asked_at)
    memory = replace(
        memory,
        entries=tuple(entry for entry in (*memory.entries, *fresh) if entry.at > oldest),
        ledger_until=until,
        set_back_to=memory.set_back_to if ledger.asked_at < memory.set_back_to else 0.0,
    )
    return settled.then(Settled(memory=memory))


def _learn_flow(memory: ScopeMemory, flow: Flow, *, now: float, min_equity: float) -> Settled:
    """A flow record: known already, too old to matter, confirming an inferred one, or new."""
    if now - flow.at > FLOW_LIFE_S or any(f.record_id == flow.record_id for f in memory.flows):
        return Settled(memory=memory)
    for inferred in memory.flows:
        if _confirms(flow, inferred):
            memory = replace(memory, flows=(*memory.flows, flow))
            return _replace_inferred(memory, inferred, (flow,), min_equity=min_equity)
    return Settled(memory=replace(memory, flows=(*memory.flows, flow)), changed=(flow,))


def _confirms(flow: Flow, inferred: Flow) -> bool:
    return (
        inferred.is_inferred
        and not inferred.is_cancelled
        and matches(flow.amount, inferred.amount)
        and abs(flow.at - inferred.at) <= REPLACE_WITHIN_S
    )


def _confirm_together(memory: ScopeMemory, *, min_equity: float) -> Settled:
    """Several records that add up to one inferred flow: in and out again between two readings."""
    for inferred in memory.flows:
        together = tuple(
            flow
            for flow in memory.flows
            if flow.effective_at is None
            and not flow.is_inferred
            and abs(flow.at - inferred.at) <= STEP_SEARCH_S
        )
        total = math.fsum(flow.amount for flow in together)
        is_standing = inferred.is_inferred and not inferred.is_cancelled
        if is_standing and len(together) > 1 and matches(total, inferred.amount):
            return _replace_inferred(memory, inferred, together, min_equity=min_equity)
    return Settled(memory=memory)


def _replace_inferred(
    memory: ScopeMemory, inferred: Flow, flows: tuple[Flow, ...], *, min_equity: float
) -> Settled:
    """Let the venue's records, known to the memory, stand where the inferred flow stood."""
    gone = replace(inferred, effective_at=None, factor=1.0, is_cancelled=True)
    swapped = tuple(gone if f.record_id == gone.record_id else f for f in memory.flows)
    point = point_since(memory.history, inferred.effective_at)
    if inferred.effective_at is not None and point is not None:
        memory = rescale(
            memory,
            from_at=inferred.effective_at,
            factor=1 / inferred.factor,
            unexplained=inferred.amount,
        )
    settled = Settled(memory=replace(memory, flows=swapped), changed=(gone, *flows))
    if point is None:
        return settled
    for flow in flows:
        settled = settled.then(
            take_effect(
                settled.memory, flow, point, unexplained=-flow.amount, min_equity=min_equity
            )
        )
    return settled


def _since_set_back(memory: ScopeMemory, entry: LedgerEntry) -> LedgerEntry:
    """A record of the silence before a clock was set back, as of after the last reading."""
    if not memory.set_back_to:
        return entry
    return replace(entry, at=max(entry.at, memory.set_back_to + JUST_AFTER_S))


def _is_forgotten(memory: ScopeMemory, entry: LedgerEntry) -> bool:
    """Whether a record is so old that its id is not remembered: it was taken in before."""
    return memory.ledger_until > 0 and entry.at <= memory.ledger_until - ENTRY_LIFE_S


def _credit_late(memory: ScopeMemory, entry: LedgerEntry) -> ScopeMemory:
    """A new record that is no flow: credited to its row late if its time has been judged."""
    first = next(memory.history.points(), None)
    is_judged = (
        first is not None
        and memory.last_trusted is not None
        and first.at < entry.at <= memory.last_trusted.asked_at
    )
    if not is_judged or entry.kind not in (LedgerKind.FUNDING, LedgerKind.FEE):
        return memory
    assert memory.last_trusted is not None
    return replace(
        memory,
        results=credit(memory.results, entry, memory.last_trusted.rows()),
        unexplained=memory.unexplained - entry.amount,
    )


def credit(results: RowResults, entry: LedgerEntry, rows: Iterable[Row]) -> RowResults:
    """Add a record that names a symbol to the result of its row; unnamed ones change nothing.

    Two sides of one symbol share it by notional. A row that is held no longer is found among the
    results it left.
    """
    if entry.symbol is None:
        return results
    totals = dict(results)
    for key, amount in share_by_row(entry.symbol, entry.amount, rows, results):
        totals[key] = totals.get(key, 0.0) + amount
    return tuple(sorted(totals.items()))


def share_by_row(
    symbol: Symbol, amount: float, rows: Iterable[Row], results: RowResults = ()
) -> RowResults:
    """Divide an amount among the rows of a symbol by their notional, equally without any."""
    weights = {row.key: row.notional for row in rows if row.key.symbol == symbol}
    if not weights:
        weights = {key: 0.0 for key, _ in results if key.symbol == symbol}
    total = sum(weights.values())
    return tuple(
        (key, amount * weight / total if total > 0 else amount / len(weights))
        for key, weight in weights.items()
    )
