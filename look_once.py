"""What a single look at a scope leaves behind: its reading, and nothing else.

Pure. Owns the difference between looking and guarding. A look keeps what was read and learnt, so
that the next guard knows it; no streak, stage, incident or lock comes of it, because nobody would
be there to carry it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from decision import Observation, decide
from memory import Memory, Records
from model import ScopeObservation, Trust
from policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The memory after a look, what to record of it, and why it is not TRUSTED (empty: it is)."""

    memory: Memory
    records: Records
    doubt: str


def look_once(memory: Memory, seen: ScopeObservation, *, policy: Policy, now: float) -> Look:
    """Judge one observation of one scope and keep the reading."""
    decision = decide(memory, Observation(now=now, scopes=(seen,)), policy)
    # A flow that was just learnt may move a baseline; forgotten, it would leave a false peak.
    books = tuple(
        replace(book, baseline_at=decision.memory.book(book.name).baseline_at)
        for book in memory.books
    )
    written = decision.records
    (verdict,) = decision.verdicts
    reasons = "; ".join(reason for record in written.readings for reason in record.reasons)
    doubt = seen.failure or reasons or f"the reading is {verdict.trust.value}"
    return Look(
        memory=replace(memory, scopes=decision.memory.scopes, books=books),
        records=Records(
            readings=written.readings,
            scopes=written.scopes,
            flows=written.flows,
            books=tuple(book for book in books if book != memory.book(book.name)),
        ),
        doubt="" if verdict.trust is Trust.TRUSTED else doubt,
    )
