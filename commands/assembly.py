"""Puts the parts of a guard together: settings in, a guardian with its store and venues out.

Owns the order of opening and closing. Decides nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clock import Clock
from decision import Decision
from errors import LockError, StoreUnreadable
from executor import Executor
from guardian import REQUEST_POLL_S, Guardian
from lock_document import parse_lock_entries
from logger import Logger
from memory import Memory, Records
from model import LockEntry, Policy, ScopeId
from recorder import LockWriter, Recorder
from settings import Settings, VenueSettings
from stage_recovery import adopt_locks, recover_book
from store_access import ThreadedStore
from store_schema import move_aside
from trading_lock import LockFile, LockWriteError
from venues.protocol import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A guard that is ready to run, and what a command may want to look at beside it."""

    guardian: Guardian
    policy: Policy
    store: ThreadedStore
    notices: tuple[str, ...]


async def open_store(
    path: Path, *, now: float, rng: random.Random | None = None
) -> tuple[ThreadedStore, str]:
    """Open the database; an unreadable one is moved aside and its new name told.

    `rng` draws the tag of a new database. Raises StoreError when not even a new one can be made.
    """
    rng = rng or random.Random(secrets.randbits(64))  # noqa: S311 - a tag, not a secret
    try:
        return await ThreadedStore.open(path, rng=rng), ""
    except StoreUnreadable as error:
        aside = move_aside(path, now)
        notice = f"the database could not be read ({error}); it was moved to {aside.name}"
        return await ThreadedStore.open(path, rng=rng), notice


def connect(venue: VenueSettings, *, clock: Clock, paces_reads: bool = True) -> Venue:
    """Make the connection that a venue's settings describe, without talking to it yet."""
    from venues.binance import BinanceFutures

    return BinanceFutures(
        scope=venue.scopes[0],
        api_key=venue.api_key.get_secret_value(),
        api_secret=venue.api_secret.get_secret_value(),
        clock=clock,
        stables=venue.stables,
        simulator_url=venue.simulator_url,
        sandbox=venue.sandbox,
        demo=venue.demo,
        paces_reads=paces_reads,
    )


async def recall(
    store: ThreadedStore, *, lock_path: Path, policy: Policy, now: float, was_moved: bool
) -> tuple[Memory, str]:
    """Load what is remembered; without a database, adopt what the lock file says.

    Returns the memory and a notice, empty when there is nothing to tell.
    """
    memory = await store.load_memory(dry_run=policy.dry_run, now=now)
    books = tuple(recover_book(book, now=now) for book in memory.books)
    scopes = tuple(replace(scope, watch_began_at=0.0) for scope in memory.scopes)
    memory = replace(memory, scopes=scopes, books=books)
    if not store.is_new and not was_moved:
        return memory, ""
    entries, told = _entries_of(lock_path)
    if entries is None and not was_moved:
        return memory, ""
    adopted = tuple(
        adopt_locks(
            memory.book(book.name),
            entries=entries or (),
            policy=book,
            now=now,
            dry_run=policy.dry_run,
        )
        for book in policy.books
    )
    notice = f"{told}; bots stay locked until every book is reset"
    return replace(memory, books=tuple(sorted(adopted, key=lambda book: book.name))), notice


def _entries_of(lock_path: Path) -> tuple[tuple[LockEntry, ...] | None, str]:
    """The entries of a lock file whose database is gone; None when there is no such file."""
    try:
        document = json.loads(lock_path.read_text(encoding="utf-8"))
        return parse_lock_entries(document), "the lock file is older than the database"
    except FileNotFoundError:
        return None, "there is neither database nor lock file"
    except (OSError, ValueError) as error:
        return (), f"the lock file cannot be read ({error})"


@asynccontextmanager
async def assemble(
    settings: Settings,
    *,
    clock: Clock,
    log: Logger,
    on_decision: Callable[[Decision], None] | None = None,
    make_venue: Callable[[VenueSettings], Venue] | None = None,
    may_act: bool = True,
    request_poll_s: float = REQUEST_POLL_S,
    rng: random.Random | None = None,
) -> AsyncIterator[Assembly]:
    """Open store, lock and venues, yield a guardian, and close everything again.

    With `may_act=False` nothing is sent even when live. Raises StoreError or LockError when the
    state directory or the lock folder cannot be used.
    """
    store, moved = await open_store(settings.state_db, now=clock.now(), rng=rng)
    policy = replace(settings.to_policy(), instance_tag=await store.instance_tag())
    memory, adopted = await recall(
        store,
        lock_path=settings.trading_lock_file,
        policy=policy,
        now=clock.now(),
        was_moved=bool(moved),
    )
    lock_file = LockFile(
        settings.trading_lock_file, pid=os.getpid(), host=socket.gethostname(), now=clock.now
    )
    check_lock_folder(settings.trading_lock_file.parent)
    recorder = Recorder(
        store,
        on_trouble=lambda why: log.error("store_trouble", why=why),
        on_recovery=lambda: log.info("store_recovered"),
    )
    lock_writer = LockWriter(
        _lock_replacer(lock_file),
        on_trouble=lambda why: log.error("lock_trouble", why=why),
        on_recovery=lambda: log.info("lock_recovered"),
    )
    connections: dict[ScopeId, Venue] = {}
    for venue in settings.venues:
        connection = make_venue(venue) if make_venue else connect(venue, clock=clock)
        connections.update(dict.fromkeys(venue.scopes, connection))

    async def record(records: Records, deadline_s: float) -> bool:
        return await recorder.record(records, deadline_s=deadline_s)

    executors = (
        {}
        if policy.dry_run or not may_act
        else {
            scope: Executor(
                scope=scope,
                venue=venue,
                clock=clock,
                log=log,
                record=record,
                load_orders=lambda incident: store.order_records(incident.incident_id),
                store_deadline_s=settings.store_deadline_s,
            )
            for scope, venue in connections.items()
        }
    )
    guardian = Guardian(
        policy=policy,
        memory=memory,
        venues=connections,
        executors=executors,
        recorder=recorder,
        lock_writer=lock_writer,
        load_requests=store.pending_requests,
        clock=clock,
        log=log,
        store_deadline_s=settings.store_deadline_s,
        on_decision=on_decision,
        request_poll_s=request_poll_s,
    )
    try:
        yield Assembly(
            guardian=guardian,
            policy=policy,
            store=store,
            notices=tuple(notice for notice in (moved, adopted) if notice),
        )
    finally:
        await asyncio.gather(*(venue.aclose() for venue in dict.fromkeys(connections.values())))
        await store.aclose()


def check_lock_folder(folder: Path) -> None:
    """Make sure that the lock can be written; raises LockError naming folder and remedy."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LockError(f"the lock folder {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LockError(
            f"the lock folder {folder} is not writable -> change its owner or trading_lock_file"
        )


def _lock_replacer(lock_file: LockFile) -> Callable[[Mapping[str, object]], Awaitable[None]]:
    async def replace_lock(document: Mapping[str, object]) -> None:
        try:
            await asyncio.to_thread(lock_file.replace, document)
        except LockWriteError as error:
            raise LockError(str(error)) from error

    return replace_lock
