"""Writes that must follow an order but never hold up a close: records and the lock file.

Owns the queue in front of the store and the deadlines of behaviour.md section 10: a write that
takes too long goes on alone while closing starts, and a write that fails is kept and tried again
before the next one. Knows nothing of what the records mean. Its rules:

- Records are queued the moment they are given, before anybody waits: whoever is cancelled while
  waiting has lost nothing.
- A store that is down keeps everything waiting. A record that a working store refuses is taken
  apart, what can be written of it is, and the rest is named aloud: it must not block what follows.
- Waiting records are merged, so that a long outage costs memory for what must be kept only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from errors import StoreError
from memory import Incident, Records
from switch_model import SwitchMemory

MAX_WAITING = 64
"""Records that wait one by one; from there on the newest absorbs what comes."""
MAX_READINGS = 2_000
"""Readings kept of one merged record; their points are in the history of their scope anyway."""
MAX_AUDITS = 20_000
"""Audit entries kept of one merged record: at one a second over five hours."""
SHOWN_OF_A_LOSS = 2_000
"""Characters shown of what could not be written: enough to know it by."""
POISON_TRIES = 3
"""So often a record must fail before it may be the record's fault and not the store's."""

_UNWRITABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What a value that has no place in a column raises; asking again will not help."""
_REFUSED_BY_SQLITE = ("IntegrityError", "DataError", "InterfaceError", "ProgrammingError")
"""Causes of a StoreError that lie in the values. A full, locked or damaged file is none."""


class AsyncStore(Protocol):
    """The one thing the recorder needs of a store."""

    async def commit(self, records: Records) -> None:
        """Write in one transaction, or raise StoreError."""


@dataclass(slots=True)
class _Waiting:
    """A record in the queue. `ticket` is the last one that it answers for."""

    ticket: int
    records: Records
    failed: int = 0


class Recorder:
    """Commits records in the order they were given; nothing that can be written is dropped.

    `on_trouble` is told each reason once while writing fails or lags, `on_recovery` when the
    backlog is empty again, `on_loss` what was refused for good. `probe` makes a small record that
    any working store accepts, given the reason for asking. `on_given` may be set to what is shown
    everything once it is queued, and only keeps it; it must not fail.
    """

    on_given: Callable[[Records], None] | None = None

    def __init__(
        self,
        store: AsyncStore,
        *,
        on_trouble: Callable[[str], None],
        on_recovery: Callable[[], None],
        on_loss: Callable[[str], None],
        probe: Callable[[str], Records],
    ) -> None:
        self._store = store
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._on_loss = on_loss
        self._probe = probe
        self._backlog: deque[_Waiting] = deque()
        self._given = 0
        self._written = 0
        self._waiters: list[tuple[int, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._told: set[str] = set()

    @property
    def is_behind(self) -> bool:
        """True while a record waits to be written."""
        return bool(self._backlog)

    @property
    def is_in_trouble(self) -> bool:
        """True from the first write that failed or lagged until everything is written."""
        return bool(self._told)

    @property
    def ticket(self) -> int:
        """What to wait for until everything given so far is safe."""
        return self._given

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return self._given - self._written

    def add(self, records: Records) -> int:
        """Queue the records at once; returns the ticket to wait for."""
        if records == Records():
            self._ensure_writer()
            return self._given
        self._given += 1
        # The first may be on its way to the disk and must stay as it is.
        if len(self._backlog) > MAX_WAITING:
            last = self._backlog[-1]
            last.records, last.ticket = merge_records(last.records, records), self._given
        else:
            self._backlog.append(_Waiting(self._given, records))
        self._ensure_writer()
        ticket = self._given
        if self.on_given is not None:
            self.on_given(records)
        return ticket

    async def record(self, records: Records, *, deadline_s: float) -> bool:
        """Queue the records and wait at most `deadline_s` for them to be safe on disk.

        Returns whether they are; False means that they follow, not that they are lost.
        """
        return await self.wait(self.add(records), deadline_s=deadline_s)

    async def wait(self, ticket: int, *, deadline_s: float) -> bool:
        """Wait until everything up to the ticket is safe; False at the deadline or on a failure."""
        if self._written >= ticket:
            return True
        if deadline_s <= 0 or self._writer is None or self._writer.done():
            # Without a writer at work the store has just refused: there is nothing to wait for.
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((ticket, waiter))
        await asyncio.wait((waiter,), timeout=deadline_s)
        if waiter.done():
            return waiter.result()
        waiter.cancel()
        self._report("the database is slow; records follow when it recovers")
        return False

    async def flush(self, *, deadline_s: float) -> bool:
        """Try once more to write everything that waits; returns whether all is on disk."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        # The try in hand may have begun long ago: only the one after it is a fair one.
        for _ in range(2):
            self._ensure_writer()
            if await self.wait(self._given, deadline_s=ends_at - loop.time()):
                return True
        return False

    def unwritten(self) -> Records:
        """Everything that still waits, as one record."""
        return merge_records(Records(), *(waiting.records for waiting in self._backlog))

    def _ensure_writer(self) -> None:
        if self._backlog and (self._writer is None or self._writer.done()):
            self._writer = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        while self._backlog:
            head = self._backlog[0]
            fault = await self._commit(head.records)
            if fault is not None and not await self._get_past(head, fault):
                self._report(f"database write failed: {fault}")
                self._wake(failed=True)
                return
            self._backlog.popleft()
            self._written = head.ticket
            self._wake(failed=False)
            if self._told and not self._backlog:
                self._told.clear()
                self._on_recovery()

    async def _commit(self, records: Records) -> Exception | None:
        try:
            await self._store.commit(records)
        except (StoreError, *_UNWRITABLE) as fault:
            return fault
        return None

    async def _get_past(self, head: _Waiting, fault: Exception) -> bool:
        """Write what can be written of a record that is itself at fault; False to try again.

        Each piece that fails counts as refused only while the store takes a probe right after it.
        """
        head.failed += 1
        if not _is_about_values(fault) or head.failed < POISON_TRIES:
            return False
        pieces = list(split_records(head.records))
        for number, piece in enumerate(pieces):
            refusal = await self._commit(piece)
            if refusal is None:
                continue
            if await self._commit(self._probe(f"a record was refused: {refusal}")) is not None:
                head.records = merge_records(*pieces[number:])
                return False
            self._on_loss(f"{refusal}: {str(piece)[:SHOWN_OF_A_LOSS]}")
        return True

    def _wake(self, *, failed: bool) -> None:
        """Tell those who wait: all of them when the store fails, else those whose turn it was."""
        for ticket, waiter in self._waiters:
            if not waiter.done() and (failed or ticket <= self._written):
                waiter.set_result(not failed)
        self._waiters = [(ticket, waiter) for ticket, waiter in self._waiters if not waiter.done()]

    def _report(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._on_trouble(message)


def _is_about_values(fault: Exception) -> bool:
    """True when the record may be to blame: a value without a column, a broken constraint."""
    cause = fault.__cause__ if isinstance(fault, StoreError) else fault
    if cause is None or isinstance(cause, _UNWRITABLE):
        return True
    return type(cause).__name__ in _REFUSED_BY_SQLITE


def merge_records(first: Records, *others: Records) -> Records:
    """Make one record that leaves the store as the records would, one after the other.

    What is replaced whole is kept in its last state; of readings and audit entries the newest.
    """
    merged = first
    for later in others:
        incidents: dict[str, Incident] = {i.incident_id: i for i in merged.incidents}
        incidents.update((i.incident_id, i) for i in later.incidents)
        merged = Records(
            readings=(*merged.readings, *later.readings)[-MAX_READINGS:],
            scopes=tuple({s.scope: s for s in (*merged.scopes, *later.scopes)}.values()),
            flows=tuple(
                {(f.scope, f.record_id): f for f in (*merged.flows, *later.flows)}.values()
            ),
            books=tuple({b.name: b for b in (*merged.books, *later.books)}.values()),
            incidents=tuple(incidents.values()),
            orders=(*merged.orders, *later.orders),
            answers=(*merged.answers, *later.answers),
            audits=(*merged.audits, *later.audits)[-MAX_AUDITS:],
            switch=_merge_switches(merged.switch, later.switch),
            transitions=(*merged.transitions, *later.transitions),
        )
    return merged


def _merge_switches(first: SwitchMemory | None, later: SwitchMemory | None) -> SwitchMemory | None:
    """The later of two, with the local row of the higher revision: what was set stays set."""
    if first is None or later is None:
        return later or first
    return replace(later, local=max(later.local, first.local, key=lambda local: local.revision))


def split_records(records: Records) -> Iterator[Records]:
    """Take a record apart into the smallest pieces that make sense alone, decisions first.

    The readings of a scope stay with its memory: both write the same history.
    """
    for incident in records.incidents:
        yield Records(incidents=(incident,))
    for book in records.books:
        yield Records(books=(book,))
    if records.switch is not None or records.transitions:
        yield Records(switch=records.switch, transitions=records.transitions)
    for order in records.orders:
        yield Records(orders=(order,))
    for answer in records.answers:
        yield Records(answers=(answer,))
    for flow in records.flows:
        yield Records(flows=(flow,))
    for entry in records.audits:
        yield Records(audits=(entry,))
    scopes = {memory.scope: (memory,) for memory in records.scopes}
    for scope in dict.fromkeys((*scopes, *(r.reading.scope for r in records.readings))):
        own = tuple(record for record in records.readings if record.reading.scope == scope)
        yield Records(readings=own, scopes=scopes.get(scope, ()))
