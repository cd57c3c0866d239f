"""Brings back what the guard remembered, or what can be saved of it when its database is gone.

Owns the order of recovery (behaviour.md sections 6 and 17): an unreadable database is moved aside,
the lock file's entries are adopted, and what was adopted is written down before anything else
happens, because a second start would find a database and ask the lock file no more. What the lock
file says of the operator's switch is taken over in either kind of run; a kill that it holds is then
carried out like any other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import switch_rules
from book_locks import HELD_AHEAD_S, REASON_STATE_LOST, open_incident
from errors import StoreError, StoreUnreadable
from lock_document import EVERY_BOOK, LockEntry, LockMode, parse_lock_entries
from memory import BookMemory, Memory, Records
from model import BookName
from policy import BookPolicy, Policy, unconfigured
from recorder import merge_records
from stage_recovery import adopt_locks, adoption_audits, recover_book
from store.access import ThreadedStore
from store.files import move_aside
from store.schema import was_not_given
from switch_model import SwitchMemory

READ_TRIES = 3
READ_AGAIN_S = 2.0
"""A disk that gives an error for what is stored gets a few seconds: what is moved aside is lost to
the guard, incidents that are open included. One that goes on so must not keep it from guarding.
"""

KEEP_WITHIN_S = 2.0
"""A start waits so long for what it adopted to be written, then it guards."""

NEWER = "the lock file is newer than the database"

OUTLASTING = (LockMode.STAGE, LockMode.KILL, LockMode.HALT)
"""What a live guard's lock stands for when a dry run works in its place; who is blind changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """An open store, what it remembers, and what a person should know about it.

    `standing` are the locks of a live guard that a dry run must leave in force. `unwritten` is what
    was adopted for this kind of run and could not be written: it must be before anything else is.
    """

    store: ThreadedStore
    memory: Memory
    notices: tuple[str, ...]
    standing: tuple[LockEntry, ...]
    instance_tag: str
    unwritten: Records


async def recall(
    state_db: Path,
    *,
    lock_path: Path,
    policy: Policy,
    now: float,
    open_store: Callable[[Path], Awaitable[ThreadedStore]],
) -> Recalled:
    """Open the database and load what is remembered; without one, adopt the lock file.

    Raises StoreError when not even a new one can be made.
    """
    why = ""
    for _ in range(READ_TRIES):
        if why:
            await asyncio.sleep(READ_AGAIN_S)
        try:
            store = await open_store(state_db)
            return await _recall(store, lock_path=lock_path, policy=policy, now=now)
        except StoreUnreadable as error:
            why = str(error)
            break
        except StoreError as error:
            if not was_not_given(error):
                raise
            why = str(error)
    aside = await asyncio.to_thread(move_aside, state_db, now)
    notice = f"the database could not be read ({why}); it was moved to {aside.name}"
    store = await open_store(state_db)
    recalled = await _recall(store, lock_path=lock_path, policy=policy, now=now, was_moved=True)
    return replace(recalled, notices=(notice, *recalled.notices))


async def _recall(
    store: ThreadedStore,
    *,
    lock_path: Path,
    policy: Policy,
    now: float,
    was_moved: bool = False,
) -> Recalled:
    is_ready = False
    try:
        if store.is_new or was_moved:
            adopted = await _adopt(
                store, lock_path=lock_path, policy=policy, now=now, is_lost=was_moved
            )
        else:
            adopted = await _adopt_unrecorded(store, lock_path=lock_path, policy=policy, now=now)
        memory = await store.load_memory(dry_run=policy.dry_run, now=now)
        unwritten = adopted.unwritten(dry_run=policy.dry_run)
        memory = _fit(_with_books(memory, unwritten.books), now=now)
        memory = replace(memory, switch=unwritten.switch or memory.switch)
        standing = await _standing(store, adopted, now=now) if policy.dry_run else ()
        tag = await store.instance_tag()
        is_ready = True
    finally:
        if not is_ready:
            await store.aclose()
    return Recalled(
        store=store,
        memory=memory,
        notices=adopted.notices,
        standing=standing,
        instance_tag=tag,
        unwritten=unwritten,
    )


def _with_books(memory: Memory, books: tuple[BookMemory, ...]) -> Memory:
    """The memory with these books in place of its own."""
    names = {book.name for book in books}
    kept = tuple(book for book in memory.books if book.name not in names)
    return replace(memory, books=tuple(sorted((*kept, *books), key=lambda book: book.name)))


def _fit(memory: Memory, *, now: float) -> Memory:
    """The memory for a new run: deadlines that survive a clock set back, sight that begins now."""
    return replace(
        memory,
        books=tuple(recover_book(book, now=now) for book in memory.books),
        scopes=tuple(replace(scope, watch_began_at=0.0) for scope in memory.scopes),
    )


@dataclass(frozen=True, slots=True)
class _Adopted:
    """What was taken over from the lock file: what to tell, and the books by kind of run.

    Of the books only those that could not be written: the others are in the database.
    """

    notices: tuple[str, ...] = ()
    kept_back: tuple[tuple[bool, Records], ...] = ()

    def unwritten(self, *, dry_run: bool) -> Records:
        """What of one kind of run must be written before anything else."""
        own = (records for kind, records in self.kept_back if kind is dry_run)
        return merge_records(Records(), *own)


def _adopted_books(
    adopted: Sequence[tuple[BookMemory, BookMemory]], *, source: str, now: float, dry_run: bool
) -> Records:
    """What to write of books, given as before and after their adoption."""
    return Records(
        books=tuple(after for _, after in adopted),
        audits=tuple(
            entry
            for before, after in adopted
            for entry in adoption_audits(before, after, source=source, now=now, dry_run=dry_run)
        ),
    )


def _adopted_switch(
    before: SwitchMemory,
    entries: tuple[LockEntry, ...],
    *,
    source: str,
    now: float,
    dry_run: bool,
) -> Records:
    """What to write of the switch, nothing where the lock file says no more of it."""
    after = switch_rules.adopt_entries(before, entries, now=now)
    if after is None:
        return Records()
    audit = switch_rules.adoption_audit(before, after, source=source, now=now, dry_run=dry_run)
    return Records(
        switch=after,
        transitions=(switch_rules.adoption(before, after, now=now),),
        audits=(audit,),
    )


async def _keep(
    store: ThreadedStore, records: Records, *, dry_run: bool
) -> tuple[tuple[bool, Records], ...]:
    """Write what was adopted; gives back what could not be written.

    What kept the stage from being written may last: the guard must run all the same. A write that
    only takes long may leave its audit entries twice. Raises StoreUnreadable.
    """
    try:
        async with asyncio.timeout(KEEP_WITHIN_S):
            await store.commit(records)
    except StoreUnreadable:
        raise
    except (StoreError, TimeoutError):
        return ((dry_run, records),)
    return ()


async def _adopt(
    store: ThreadedStore, *, lock_path: Path, policy: Policy, now: float, is_lost: bool
) -> _Adopted:
    """Take over what the lock file says; there is nothing to tell of a first start ever."""
    entries, told = await asyncio.to_thread(_entries_of, lock_path)
    if entries is None and not is_lost:
        return _Adopted()
    kinds = [policy.dry_run]
    if policy.dry_run and any(_is_live(entry) for entry in entries or ()):
        # The live guard's state is as lost as ours; its stages must outlive this rehearsal.
        kinds.insert(0, False)
    kept_back: tuple[tuple[bool, Records], ...] = ()
    of_books = tuple(entry for entry in entries or () if not _is_of_the_switch(entry))
    for dry_run in kinds:
        memory = await store.load_memory(dry_run=dry_run, now=now)
        adopted: list[tuple[BookMemory, BookMemory]] = []
        for policy_of_book in _books_of(policy, entries or (), dry_run=dry_run):
            book = memory.book(policy_of_book.name)
            after = adopt_locks(
                book, entries=of_books, policy=policy_of_book, now=now, dry_run=dry_run
            )
            adopted.append((book, after))
        records = _adopted_books(adopted, source=told, now=now, dry_run=dry_run)
        if dry_run == policy.dry_run:
            switch = _adopted_switch(
                memory.switch, entries or (), source=told, now=now, dry_run=dry_run
            )
            records = merge_records(records, switch)
        kept_back += await _keep(store, records, dry_run=dry_run)
    return _Adopted((f"{told}; bots stay locked until every book is reset",), kept_back)


async def _adopt_unrecorded(
    store: ThreadedStore, *, lock_path: Path, policy: Policy, now: float
) -> _Adopted:
    """Take over what the lock file holds of a live guard and the database never learnt of.

    The database could not be written when a stage acted or a lost state was taken over, and the
    guard died before it could. Without this the lock would be lifted, and the stage would close
    the same share once more.
    A lock that was lifted has its record: it is older than the newest one.
    """
    entries, _ = await asyncio.to_thread(_entries_of, lock_path)
    switched = await _adopt_unrecorded_switch(store, entries or (), policy=policy, now=now)
    live = tuple(
        entry
        for entry in entries or ()
        if (_is_live(entry) or _is_lost_state(entry))
        and not _is_of_the_switch(entry)
        and entry.expires_ts > now
    )
    if not live:
        return switched
    recorded_at = await store.latest_action_at(dry_run=False)
    memory = await store.load_memory(dry_run=False, now=now)
    adopted: list[tuple[BookMemory, BookMemory]] = []
    for policy_of_book in _books_of(policy, live, dry_run=False):
        book = memory.book(policy_of_book.name)
        new = tuple(
            entry
            for entry in live
            if entry.scope in (book.name, EVERY_BOOK)
            and _is_unrecorded(entry, book=book, recorded_at=recorded_at, now=now)
        )
        if new:
            after = adopt_locks(book, entries=new, policy=policy_of_book, now=now, dry_run=False)
            adopted.append((book, after))
    if not adopted:
        return switched
    names = ", ".join(book.name for book, _ in adopted)
    records = _adopted_books(adopted, source=NEWER, now=now, dry_run=False)
    kept_back = await _keep(store, records, dry_run=False)
    return _Adopted(
        (*switched.notices, f"{NEWER}: {names} stays locked until its reset"),
        (*switched.kept_back, *kept_back),
    )


def _is_unrecorded(entry: LockEntry, *, book: BookMemory, recorded_at: float, now: float) -> bool:
    """Whether the database never learnt of a lock, or of the incident that prolonged it.

    A stage that fires again keeps its lock and moves its end. Only an incident moves that further
    than a lock is held ahead while its stage stands; one that is on record is simply carried on.
    """
    ends = [lock.expires_ts for lock in book.locks if lock.reason == entry.reason]
    if not ends:
        return entry.created_ts > recorded_at
    return open_incident(book) is None and entry.expires_ts > max(now, *ends) + HELD_AHEAD_S


async def _adopt_unrecorded_switch(
    store: ThreadedStore, entries: tuple[LockEntry, ...], *, policy: Policy, now: float
) -> _Adopted:
    """Take over what the operator had set and the database never learnt of, in any kind of run.

    A halt that only a silent Redis stood for is not his word: the next look finds it again.
    """
    told = tuple(
        entry
        for entry in entries
        if _is_of_the_switch(entry) and entry.reason != switch_rules.REASON_REDIS_SILENT
    )
    if not told:
        return _Adopted()
    recorded_at = max([await store.latest_action_at(dry_run=kind) for kind in (False, True)])
    new = tuple(entry for entry in told if entry.created_ts > recorded_at)
    memory = await store.load_memory(dry_run=policy.dry_run, now=now)
    records = _adopted_switch(memory.switch, new, source=NEWER, now=now, dry_run=policy.dry_run)
    if records.switch is None:
        return _Adopted()
    kept_back = await _keep(store, records, dry_run=policy.dry_run)
    state = records.switch.local.state
    return _Adopted((f"{NEWER}: the switch says {state} until: switch running",), kept_back)


def _books_of(
    policy: Policy, entries: tuple[LockEntry, ...], *, dry_run: bool
) -> tuple[BookPolicy, ...]:
    """The books of the settings, and those that only a lock of this kind of run still knows of."""
    named = dict.fromkeys(entry.scope for entry in entries if entry.dry_run == dry_run)
    known = {EVERY_BOOK, *(book.name for book in policy.books)}
    return (*policy.books, *(unconfigured(BookName(name)) for name in named if name not in known))


def _is_of_the_switch(entry: LockEntry) -> bool:
    return switch_rules.locked_state(entry) is not None


def _is_live(entry: LockEntry) -> bool:
    return not entry.dry_run and entry.mode in (LockMode.STAGE, LockMode.KILL)


def _is_lost_state(entry: LockEntry) -> bool:
    return not entry.dry_run and entry.reason == REASON_STATE_LOST


def _entries_of(lock_path: Path) -> tuple[tuple[LockEntry, ...] | None, str]:
    """The entries of a lock file whose database is gone; None when there is no such file."""
    try:
        document = json.loads(lock_path.read_text(encoding="utf-8"))
        if not isinstance(document, Mapping):
            return (), "the lock file cannot be read (it holds no lock document)"
        return parse_lock_entries(document), "the lock file is older than the database"
    except FileNotFoundError:
        return None, "there is neither database nor lock file"
    except (OSError, ValueError, RecursionError) as error:
        return (), f"the lock file cannot be read ({error})"


async def _standing(
    store: ThreadedStore, adopted: _Adopted, *, now: float
) -> tuple[LockEntry, ...]:
    """The locks that a live guard left in force."""
    stored = await store.load_books(dry_run=False)
    live = _with_books(Memory(books=stored), adopted.unwritten(dry_run=False).books)
    return tuple(
        entry
        for book in live.books
        for entry in book.locks
        if entry.mode in OUTLASTING and entry.expires_ts > now
    )
