"""Puts the parts of a guard together: settings in, a guardian with its store and venues out.

Owns the order of opening and closing. Decides nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from clock import Clock
from decision import Decision
from errors import LockError, StoreError, StoreUnreadable
from executor import Executor
from guardian import Guardian
from logger import Logger
from memory import Memory, Records
from model import Policy, ScopeId
from position_store import PositionStore, ThreadedStore
from recorder import LockWriter, Recorder
from settings import Settings, VenueSettings
from stage_machine import adopt_lock
from trading_lock import LockFile, LockWriteError, read_document
from venues.protocol import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A guard that is ready to run, and what a command may want to look at beside it."""

    guardian: Guardian
    policy: Policy
    store: ThreadedStore
    notices: tuple[str, ...]


def open_store(settings: Settings, *, now: float) -> tuple[PositionStore, str]:
    """Open the database; an unreadable one is moved aside and its new name told.

    Raises StoreError when not even a new one can be made.
    """
    try:
        return PositionStore.open(settings.state_db), ""
    except StoreUnreadable as error:
        aside = PositionStore.move_aside(settings.state_db, now)
        notice = f"the database could not be read ({error}); it was moved to {aside.name}"
        return PositionStore.open(settings.state_db), notice


def connect(venue: VenueSettings, *, clock: Clock) -> Venue:
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
    )


def recall(
    store: PositionStore,
    *,
    settings: Settings,
    policy: Policy,
    now: float,
    was_unreadable: bool,
) -> tuple[Memory, str]:
    """Load what is remembered; without a database, adopt what the lock file says.

    Returns the memory and a notice, empty when there is nothing to tell.
    """
    memory = store.load_memory(dry_run=policy.dry_run, now=now)
    if memory.books and not was_unreadable:
        return memory, ""
    document = read_document(settings.trading_lock_file)
    if document is None and not was_unreadable and not settings.trading_lock_file.exists():
        return memory, ""
    return adopt_lock(memory, document=document, policy=policy, now=now)


@asynccontextmanager
async def assemble(
    settings: Settings,
    *,
    clock: Clock,
    log: Logger,
    on_decision: Callable[[Decision], None] | None = None,
    venues: Mapping[ScopeId, Venue] | None = None,
) -> AsyncIterator[Assembly]:
    """Open store, lock and venues, yield a guardian, and close everything again.

    Raises StoreError or LockError when the state directory or the lock folder cannot be used.
    """
    policy = settings.to_policy()
    store, moved = open_store(settings, now=clock.now())
    policy = replace(policy, instance_tag=store.instance_tag())
    memory, adopted = recall(
        store, settings=settings, policy=policy, now=clock.now(), was_unreadable=bool(moved)
    )
    threaded = ThreadedStore(store)
    lock_file = LockFile(
        settings.trading_lock_file, pid=os.getpid(), host=socket.gethostname(), now=clock.now
    )
    lock_file.check_writable()
    recorder = Recorder(
        threaded,
        on_trouble=lambda why: log.error("store_trouble", why=why),
        on_recovery=lambda: log.info("store_recovered"),
    )
    lock_writer = LockWriter(
        _lock_replacer(lock_file),
        on_trouble=lambda why: log.error("lock_trouble", why=why),
        on_recovery=lambda: log.info("lock_recovered"),
    )
    connections = dict(venues or {})
    if venues is None:
        for venue in settings.venues:
            connection = connect(venue, clock=clock)
            connections.update(dict.fromkeys(venue.scopes, connection))

    async def record(records: Records, deadline_s: float) -> bool:
        return await recorder.record(records, deadline_s=deadline_s)

    executors = (
        {}
        if policy.dry_run
        else {
            scope: Executor(
                scope=scope,
                venue=venue,
                clock=clock,
                log=log,
                record=record,
                load_orders=lambda incident: threaded.order_records(incident.incident_id),
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
        load_requests=threaded.pending_requests,
        clock=clock,
        log=log,
        store_deadline_s=settings.store_deadline_s,
        on_decision=on_decision,
    )
    try:
        yield Assembly(
            guardian=guardian,
            policy=policy,
            store=threaded,
            notices=tuple(notice for notice in (moved, adopted) if notice),
        )
    finally:
        await asyncio.gather(*(venue.aclose() for venue in set(connections.values())))
        await threaded.aclose()


def _lock_replacer(lock_file: LockFile):  # type: ignore[no-untyped-def]
    async def replace_lock(document: Mapping[str, object]) -> None:
        try:
            await asyncio.to_thread(lock_file.replace, document)
        except LockWriteError as error:
            raise LockError(str(error)) from error

    return replace_lock
