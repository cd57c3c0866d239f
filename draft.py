"""A decision while it is made: what is remembered so far, and what must be recorded of it.

Pure. Owns no judgement; `decision` and `timekeeping` write into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import incidents
import openings
from drawdown import WindowDrawdown
from memory import (
    AuditEntry,
    BookMemory,
    Flow,
    Incident,
    Memory,
    ReadingRecord,
    RequestAnswer,
    ScopeMemory,
)
from model import BookName, ScopeId, Trust, Want
from policy import Policy
from switch_model import RedisWrite, SwitchMemory, SwitchTransition


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeVerdict:
    """What was made of one scope's reading this tick, and the reasons where it was doubted.

    `is_waiting`: a complete streak would act, had the venue's records been waited for.
    """

    scope: ScopeId
    trust: Trust
    equity: float | None
    drawdowns: tuple[WindowDrawdown, ...] = ()
    wants: tuple[Want, ...] = ()
    is_alert: bool = False
    is_waiting: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Draft:
    """What a decision has made of the memory by now."""

    now: float
    policy: Policy
    scopes: dict[ScopeId, ScopeMemory]
    books: dict[str, BookMemory]
    switch: SwitchMemory
    readings: list[ReadingRecord] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    audits: list[AuditEntry] = field(default_factory=list)
    answers: list[RequestAnswer] = field(default_factory=list)
    verdicts: list[ScopeVerdict] = field(default_factory=list)
    opened: list[openings.Opening] = field(default_factory=list)
    ended: list[Incident] = field(default_factory=list)
    touched_scopes: set[ScopeId] = field(default_factory=set)
    switch_record: SwitchMemory | None = None
    transitions: list[SwitchTransition] = field(default_factory=list)
    recorded_transitions: list[SwitchTransition] = field(default_factory=list)
    redis_writes: list[RedisWrite] = field(default_factory=list)

    def book(self, name: BookName) -> BookMemory:
        """What is remembered of a book."""
        return self.books.get(name, BookMemory(name=name))

    def scope(self, scope: ScopeId) -> ScopeMemory:
        """What is remembered of a scope."""
        return self.scopes.get(scope, ScopeMemory(scope=scope))

    def audit(self, entries: tuple[AuditEntry, ...]) -> None:
        """Put entries down as those of this kind of run."""
        self.audits.extend(replace(entry, dry_run=self.policy.dry_run) for entry in entries)

    def memory(self) -> Memory:
        """All that is remembered by now, ordered by name."""
        return Memory(
            scopes=tuple(self.scopes[name] for name in sorted(self.scopes)),
            books=tuple(self.books[name] for name in sorted(self.books)),
            switch=self.switch,
        )

    def take(self, step: incidents.BookStep) -> None:
        """Keep what one step made of a book."""
        self.books[step.book.name] = step.book
        self.audit(step.audits)
        self.opened.extend(step.opened)
        self.ended.extend(step.ended)
