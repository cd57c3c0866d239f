"""What outlives a tick: the frozen state that a decision starts from and the records it leaves.

The store keeps all of it and gives it back after a restart. Nothing here decides anything.

The history of a scope is kept in *units*, as funds do it: `nav = equity / units`. A flow changes
the units and never the nav, so a flow changes no drawdown by construction. With E the equity of
the first reading that contains a flow F, earlier equities count E / (E - F) times (behaviour.md
section 4); in units: `units_after = units_before * E / (E - F)`, and nav * units is the
flow-adjusted equity in today's money.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from itertools import takewhile

from lock_document import LockEntry
from model import (
    USDT,
    Asset,
    BookName,
    ClientOrderId,
    IncidentId,
    LedgerEntry,
    LedgerKind,
    Outcome,
    Position,
    Reading,
    RecordId,
    RowKey,
    ScopeId,
    Source,
    Stage,
    Trust,
)
from switch_model import SwitchMemory, SwitchTransition

RowResults = tuple[tuple[RowKey, float], ...]
"""Money each row has made since the store began, ordered by key; differences are what count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trusted reading as history sees it.

    `results` and `unexplained` are running totals in quote money: subtract two points to learn
    what a row made, or how much of a move nothing explained, between them. `may_be_peak` is False
    while a flow is on its way whose step has not been seen.
    """

    at: float
    equity: float
    nav: float
    results: RowResults = ()
    unexplained: float = 0.0
    may_be_peak: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A run of consecutive points and the best of them, so that a peak is found quickly."""

    points: tuple[Point, ...]
    best: Point | None

    @staticmethod
    def of(points: tuple[Point, ...]) -> Chunk:
        """Make a chunk; the best is the earliest point with the largest nav that may be a peak."""
        return Chunk(points=points, best=best_of(points))


def best_of(points: tuple[Point, ...]) -> Point | None:
    """The point with the largest nav among those that may be a peak; the later one of equals."""
    best: Point | None = None
    for point in points:
        if point.may_be_peak and (best is None or point.nav >= best.nav):
            best = point
    return best


CHUNK_SIZE = 64
"""Points in one chunk: a day at 3 s is then 450 chunks, found through in tens of microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The trusted points of one scope, oldest first, strictly increasing in time.

    Before `shared_until` the points of one minute share their results, before `thinned_until` a
    minute has one point; `aging` moves both on. They tell how far that work has come and nothing
    about the points, so histories with the same points are equal. `moved_s` is how far the points
    were moved since they were loaded, because the clock was set.
    """

    chunks: tuple[Chunk, ...] = ()
    shared_until: float = field(default=-math.inf, compare=False)
    thinned_until: float = field(default=-math.inf, compare=False)
    moved_s: float = field(default=0.0, compare=False)

    @staticmethod
    def of(points: tuple[Point, ...]) -> History:
        """Build a history from points ordered by time."""
        return History(
            chunks=tuple(
                Chunk.of(points[start : start + CHUNK_SIZE])
                for start in range(0, len(points), CHUNK_SIZE)
            )
        )

    def append(self, point: Point) -> History:
        """The history with one later point at its end.

        Raises ValueError for a point that is not later than the last one.
        """
        last = self.last
        if last is not None and point.at <= last.at:
            raise ValueError("points are appended in order of time")
        if self.chunks and len(self.chunks[-1].points) < CHUNK_SIZE:
            tail = self.chunks[-1]
            best = tail.best
            if point.may_be_peak and (best is None or point.nav >= best.nav):
                best = point
            grown = Chunk(points=(*tail.points, point), best=best)
            return replace(self, chunks=(*self.chunks[:-1], grown))
        return replace(self, chunks=(*self.chunks, Chunk.of((point,))))

    def since(self, oldest: float) -> History:
        """The history without chunks that end before `oldest` (whole chunks only)."""
        gone = sum(1 for _ in takewhile(lambda c: c.points[-1].at < oldest, self.chunks))
        return replace(self, chunks=self.chunks[gone:]) if gone else self

    @property
    def last(self) -> Point | None:
        """The latest point, None when there is none."""
        return self.chunks[-1].points[-1] if self.chunks else None

    def points(self) -> Iterator[Point]:
        """All points, oldest first."""
        for chunk in self.chunks:
            yield from chunk.points

    def points_backwards(self) -> Iterator[Point]:
        """All points, latest first."""
        for chunk in reversed(self.chunks):
            yield from reversed(chunk.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Money that entered (+) or left (-) a scope, and when the history began to contain it.

    `effective_at` is the time of the first trusted reading that contains it, None while that step
    has not been seen; `factor` is E / (E - F) there, 1.0 while pending. `is_inferred` marks a flow
    that was concluded from an unexplained rise, or booked by hand, and waits for the venue's own
    record. `is_cancelled` says that it is settled otherwise: replaced by that record (then it has
    no `effective_at` and a factor of 1.0), or undone by a second flow (then both keep theirs).
    So the units at any time are the product of the factors of all flows effective by then.
    """

    record_id: RecordId
    scope: ScopeId
    at: float
    amount: float
    kind: LedgerKind
    asset: Asset = USDT
    effective_at: float | None = None
    factor: float = 1.0
    is_inferred: bool = False
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One SUSPECT reading: when, the equity it claimed and the part that nothing explained."""

    at: float
    equity: float
    unexplained: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A doubt that has not ended yet: since when, its latest readings, and since when they agree.

    `doubts` holds the last few readings, oldest first; `consistent_since` is the time of the first
    reading of the present run whose unexplained parts agree, None while the last two disagree.
    """

    since: float
    doubts: tuple[Doubt, ...]
    consistent_since: float | None
    consistent_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeMemory:
    """What is remembered of one scope.

    `last_trusted` is the last trusted reading with its positions, `history.last` its equity as it
    was trusted; only while a suspicion is open may the history run ahead of it, with points that
    are trusted at their explained value. `units` turns nav into today's money. `ledger_until` is
    the time up to which the venue's records are known, `ledger_asked_at` when they were last asked
    for, and `entries` the recent ones that are no flows, so that each is counted once.
    `accepted_losses` are falls that nothing explained and that a rise may still undo.
    `watch_began_at` is when this scope was first watched in this run: blindness counts from there
    at the earliest. `set_back_to` is where the history was moved to behind a clock that was set
    back, 0 once the venue's records were asked for after that: when they tell of something new, it
    happened since. `trouble` is why the latest attempt brought no reading, empty after one that
    did; it is not stored, because the next run makes its own attempts.
    """

    scope: ScopeId
    history: History = field(default_factory=History)
    last_trusted: Reading | None = None
    results: RowResults = ()
    unexplained: float = 0.0
    units: float = 1.0
    suspicion: Suspicion | None = None
    flows: tuple[Flow, ...] = ()
    ledger_until: float = 0.0
    ledger_asked_at: float = 0.0
    entries: tuple[LedgerEntry, ...] = ()
    accepted_losses: tuple[Doubt, ...] = ()
    watch_began_at: float = 0.0
    set_back_to: float = 0.0
    failures: int = 0
    trouble: str = ""
    cross_check_alerted: bool = False
    blind_alerted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Consecutive confirmed breaches of one stage, and when the first and last were counted.

    `is_answered`: an incident was opened for it, or the refusal to open one was told.
    """

    stage: Stage
    count: int = 0
    last_counted_at: float = 0.0
    began_at: float = 0.0
    is_answered: bool = False


class TargetStatus(StrEnum):
    """How a close target stands. Everything but OPEN counts as done."""

    OPEN = "OPEN"
    HELD = "HELD"
    DUST = "DUST"
    MISSED = "MISSED"
    SIMULATED = "SIMULATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTarget:
    """The largest quantity of one position that may remain; absolute, so repeating it is safe."""

    number: int
    key: RowKey
    may_remain: Decimal
    initial_quantity: Decimal
    status: TargetStatus = TargetStatus.OPEN

    @property
    def is_passage(self) -> bool:
        """True for a coin that others are sold over: what was held of it stays."""
        return self.may_remain >= self.initial_quantity


class IncidentStatus(StrEnum):
    """How an incident stands; OPEN ones are worked on until they leave that state.

    TAKEN_OVER: a higher stage or the kill goes on with its targets, merged into its own.
    """

    OPEN = "OPEN"
    DONE = "DONE"
    EXPIRED = "EXPIRED"
    ABANDONED = "ABANDONED"
    SIMULATED = "SIMULATED"
    TAKEN_OVER = "TAKEN_OVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Everything from one trigger until its targets are confirmed.

    `is_followup` marks one opened for positions that appeared while everything must stay closed.
    `held_at` is the first position read of the present run in which every target held.
    `rounds` counts executor rounds over the incident's life, across restarts.
    """

    incident_id: IncidentId
    book: BookName
    stage: Stage
    mode: str
    source: Source
    opened_at: float
    dry_run: bool
    reason: str
    status: IncidentStatus = IncidentStatus.OPEN
    targets: tuple[CloseTarget, ...] = ()
    rounds: int = 0
    held_at: float | None = None
    last_progress_at: float = 0.0
    ended_at: float | None = None
    alerts_sent: int = 0
    is_followup: bool = False
    had_positions_since_peak: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BookMemory:
    """The state of one book.

    `baseline_at`: no peak is older than this. `stage_baselines[n - 1]` and `cooldowns[n - 1]`
    belong to stage n: its drawdown is measured from the first and it may not fire again before
    the second. `locks` are the book's own lock entries.
    """

    name: BookName
    stage: Stage = Stage.NORMAL
    since: float = 0.0
    baseline_at: float = 0.0
    stage_baselines: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cooldowns: tuple[float, float, float] = (0.0, 0.0, 0.0)
    streaks: tuple[Streak, ...] = ()
    incident: Incident | None = None
    locks: tuple[LockEntry, ...] = ()
    manual_reset_required: bool = False

    @property
    def holds_back(self) -> bool:
        """Whether anything of it still binds: a state, a lock or an incident."""
        return self.stage is not Stage.NORMAL or bool(self.locks) or self.incident is not None

    def streak(self, stage: Stage) -> Streak:
        """The running streak of `stage`, an empty one when none runs."""
        return next((s for s in self.streaks if s.stage is stage), Streak(stage=stage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything the guard remembers. Scopes and books are ordered by name."""

    scopes: tuple[ScopeMemory, ...] = ()
    books: tuple[BookMemory, ...] = ()
    switch: SwitchMemory = field(default_factory=SwitchMemory)

    def scope(self, scope: ScopeId) -> ScopeMemory:
        """What is remembered of `scope`, a blank memory when nothing is."""
        return next((m for m in self.scopes if m.scope == scope), ScopeMemory(scope=scope))

    def book(self, name: BookName) -> BookMemory:
        """What is remembered of the named book, a blank memory when nothing is."""
        return next((m for m in self.books if m.name == name), BookMemory(name=name))


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentReport:
    """How an incident stands after the executor worked on it.

    `is_done`: its targets held in two position reads far enough apart. `found` are positions that
    were read while a LOCKDOWN incident was carried out and that no target of it covers.
    """

    incident: Incident
    is_done: bool = False
    notes: tuple[str, ...] = ()
    found: tuple[Position, ...] = ()


# --- records: what one decision or one round of closing leaves in the store -------------------

Detail = str | int | float | bool | None
"""A value that may stand in the details of an audit entry."""


class Severity(StrEnum):
    """How loudly an audit entry speaks to the operator."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the append-only audit: what was decided or seen, and the figures behind it.

    `event` is a short snake_case word (`trigger`, `refused`, `incident_done`, `suspect`);
    `message` is one sentence for a person. `details` may repeat a key never.
    """

    at: float
    scope: str
    event: str
    message: str
    stage: Stage = Stage.NORMAL
    mode: str = ""
    dry_run: bool = False
    severity: Severity = Severity.INFO
    details: tuple[tuple[str, Detail], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswer:
    """What the daemon answers to an operator's request."""

    request_id: int
    at: float
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRecord:
    """One reading as it was judged. `equity` is the value that counts, `point` its history."""

    reading: Reading
    trust: Trust
    at: float
    point: Point | None
    reasons: tuple[str, ...] = ()


class OrderAction(StrEnum):
    """What an order record asked the venue for."""

    CLOSE = "CLOSE"
    CANCEL = "CANCEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order or cancel of ours: written before it is sent, completed by its outcome.

    A cancel carries the venue's id of the cancelled order in `subject`, a close leaves it empty.
    """

    client_id: ClientOrderId
    incident_id: IncidentId
    scope: ScopeId
    key: RowKey | None
    action: OrderAction
    symbol: str
    order_side: str
    quantity: Decimal
    round_number: int
    created_at: float
    dry_run: bool
    subject: str = ""
    outcome: Outcome | None = None
    answered_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What one commit writes, in one transaction. Books, incidents and flows are replaced whole."""

    readings: tuple[ReadingRecord, ...] = ()
    scopes: tuple[ScopeMemory, ...] = ()
    flows: tuple[Flow, ...] = ()
    books: tuple[BookMemory, ...] = ()
    incidents: tuple[Incident, ...] = ()
    orders: tuple[OrderRecord, ...] = ()
    answers: tuple[RequestAnswer, ...] = ()
    audits: tuple[AuditEntry, ...] = ()
    switch: SwitchMemory | None = None
    transitions: tuple[SwitchTransition, ...] = ()

    @property
    def needs_full_sync(self) -> bool:
        """True when losing this commit in a power cut would lose a decision."""
        return bool(self.books or self.incidents or self.orders or self.answers or self.switch)
