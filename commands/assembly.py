"""Puts the parts of a guard together: settings in, a guardian with its store and venues out.

Owns the order of opening and closing. Decides nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attempts import Got, abandon, attempt
from book_locks import is_closing
from clock import Clock
from commands.recall import Recalled, recall
from decision import Decision
from errors import ConfigurationError, LockError
from executor import Executor
from guardian import REQUEST_POLL_S, Guardian
from lock_mirror import LockMirror
from lock_port import LockPort, Replace, showing
from lock_writer import LockWriter
from logger import Logger
from masking import MaskedStore, mask_lock
from memory import Memory, Records, Severity
from model import CLOSING_STAGES, IncidentId, ScopeId
from notices import Notices
from policy import Policy
from recorder import Recorder
from redaction import NOTHING_HIDDEN, Redactor
from reserves import DescriptorReserve, RoomReserve
from settings import Settings, VenueSettings
from store.access import ThreadedStore
from store.switch_reader import SwitchReader
from supervision import Supervisor
from switch_watch import LOOK_EVERY_S, SwitchStores
from tidying import telling
from trading_lock import LockFile
from troubles import Troubles, may_pass
from venues.access import Access
from venues.pacer import Address
from venues.protocol import Venue

if TYPE_CHECKING:
    from commands.alerting import Alerts
    from operator_switch import RedisSwitch

CLAIM_WITHIN_S = 2.0
"""A start waits so long for a busy disk to say whose account the database is about."""
CLOSE_WITHIN_S = 5.0
"""A connection that does not close in time is left to the end of the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A guard that is ready to run, and what a command may want to look at beside it."""

    guardian: Guardian
    recorder: Recorder
    policy: Policy
    store: ThreadedStore
    notices: tuple[str, ...]
    alerts: Alerts | None = None


MakeAlerts = Callable[[Policy, Recorder, Troubles], "Alerts"]
"""Makes who is told of what a guard does."""
Addresses = dict[tuple[str, str], Address]
"""What each exchange counts for this machine, by its id and where it is reached."""
MakeVenue = Callable[[VenueSettings, ScopeId], Venue]
"""Makes the connection to one account of a venue."""


def access_of(
    venue: VenueSettings, *, is_paced: bool = True, address: Address | None = None
) -> Access:
    """How a venue's settings say that its accounts are reached."""
    secrets_by_name = {
        "apiKey": venue.api_key,
        "secret": venue.api_secret,
        "password": venue.password,
    }
    return Access(
        credentials={
            name: secret.get_secret_value()
            for name, secret in secrets_by_name.items()
            if secret.get_secret_value()
        },
        simulator_url=venue.simulator_url,
        sandbox=venue.sandbox,
        demo=venue.demo,
        is_paced=is_paced,
        address=address or Address(),
    )


def connect(
    venue: VenueSettings,
    scope: ScopeId,
    *,
    clock: Clock,
    is_paced: bool = True,
    addresses: Addresses | None = None,
) -> Venue:
    """Make the connection that a venue's settings describe, without talking to it yet.

    What an exchange counts for all accounts of this machine is counted in `addresses`.
    """
    from venues.adapters import connect_account

    place = (venue.id, venue.simulator_url or venue.origin.value)
    address = None if addresses is None else addresses.setdefault(place, Address())
    return connect_account(
        venue.id,
        scope.removeprefix(f"{venue.name}_"),
        scope=scope,
        access=access_of(venue, is_paced=is_paced, address=address),
        clock=clock,
        stables=venue.stables,
        sells_coins=venue.sells_coins,
    )


@asynccontextmanager
async def assemble(
    settings: Settings,
    *,
    clock: Clock,
    log: Logger,
    on_decision: Callable[[Decision], None] | None = None,
    make_venue: MakeVenue | None = None,
    may_act: bool = True,
    is_telling: bool = False,
    request_poll_s: float = REQUEST_POLL_S,
    switch_look_s: float = LOOK_EVERY_S,
    rng: random.Random | None = None,
) -> AsyncIterator[Assembly]:
    """Open store, lock and venues, yield a guardian, and close everything again.

    With `may_act=False` nothing is sent even when live; with `is_telling` whoever the settings name
    is alerted. Venues without keys are not connected;
    their books keep their place in the policy. Raises StoreError or LockError when the state
    directory or the lock folder cannot be used, ConfigurationError for an unusable connection or a
    database of another kind of account.
    """
    check_lock_file(settings.trading_lock_file)
    rng = rng or random.Random(secrets.randbits(64))  # noqa: S311 - a tag, not a secret
    recalled = await recall(
        settings.state_db,
        lock_path=settings.trading_lock_file,
        policy=settings.to_policy(),
        now=clock.now(),
        open_store=partial(ThreadedStore.open, rng=rng),
    )
    store = recalled.store
    troubles = Troubles(clock=clock, log=log, dry_run=settings.dry_run)
    descriptors = DescriptorReserve()
    redis = _reach_redis(settings, clock)
    mirror = None if redis is None else LockMirror(redis.mirror, clock=clock, troubles=troubles)
    lock = LockPort(
        LockFile(
            settings.trading_lock_file,
            pid=os.getpid(),
            host=socket.gethostname(),
            now=clock.now,
            mirror=mirror.show if mirror else None,
        ),
        reserves=(descriptors, RoomReserve(settings.trading_lock_file)),
        troubles=troubles,
    )
    switch = SwitchReader(settings.state_db)
    connections: dict[ScopeId, Venue] = {}
    assembly: Assembly | None = None
    try:
        await _check_origins(settings, store)
        addresses: Addresses = {}
        make_venue = make_venue or partial(connect, clock=clock, addresses=addresses)
        connections |= _connect_all(settings, make_venue)
        assembly = put_together(
            settings.to_policy(),
            recalled,
            venues=connections,
            replace_lock=lock.replace,
            clock=clock,
            log=log,
            redactor=Redactor(settings.secrets()),
            may_act=may_act,
            store_deadline_s=settings.store_deadline_s,
            on_decision=on_decision,
            request_poll_s=request_poll_s,
            troubles=troubles,
            make_alerts=_alerts_of(settings, clock=clock, log=log) if is_telling else None,
            switch=SwitchStores(
                read_local=switch.read, redis=redis, mirror=mirror, look_every_s=switch_look_s
            ),
        )
        yield assembly
    finally:
        closing = [asyncio.ensure_future(venue.aclose()) for venue in connections.values()]
        if assembly is not None and assembly.alerts is not None:
            closing.append(asyncio.ensure_future(assembly.alerts.aclose()))
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_WITHIN_S)
        for task in closing:
            abandon(task)
        await switch.aclose()
        if redis is not None:
            await redis.aclose()
        await store.aclose()
        lock.close()
        descriptors.release()


def _alerts_of(settings: Settings, *, clock: Clock, log: Logger) -> MakeAlerts | None:
    """Who is to be told, None where nobody is: then nothing of that is even loaded."""
    asked = settings.notifications
    if not asked.targets and asked.heartbeat_url is None:
        return None
    from commands.alerting import make_alerts

    return lambda policy, recorder, troubles: make_alerts(
        settings, policy=policy, recorder=recorder, troubles=troubles, clock=clock, log=log
    )


def _reach_redis(settings: Settings, clock: Clock) -> RedisSwitch | None:
    """The operator's Redis, without talking to it yet; its client is loaded where there is one."""
    if settings.redis is None:
        return None
    from operator_switch import RedisSwitch

    return RedisSwitch(settings.redis, clock=clock)


async def _check_origins(settings: Settings, store: ThreadedStore) -> None:
    """Refuse a database that was filled by another kind of account under the same name.

    A practice account that was larger would look like a loss of the real one, and close it. A disk
    that cannot be asked in time keeps no guard from guarding.
    """
    problems = []
    for venue in settings.venues:
        for scope in venue.scopes:
            claim = store.claim(scope, venue.origin)
            known = await attempt(claim, within_s=CLAIM_WITHIN_S, what="account")
            if isinstance(known, Got) and known.value != venue.origin:
                problems.append(
                    f"{settings.path}: {venue.name} is {venue.origin}, and {settings.state_db} "
                    f"knows it as {known.value} -> name another state_db and trading_lock_file"
                )
    if problems:
        raise ConfigurationError(tuple(problems))


def _connect_all(settings: Settings, make_venue: MakeVenue) -> dict[ScopeId, Venue]:
    """A connection for each account of the venues that have keys."""
    return {
        scope: make_venue(venue, scope)
        for venue in settings.venues
        if venue.api_key.get_secret_value() and venue.api_secret.get_secret_value()
        for scope in venue.scopes
    }


def put_together(
    policy: Policy,
    recalled: Recalled,
    *,
    venues: Mapping[ScopeId, Venue],
    replace_lock: Replace,
    clock: Clock,
    log: Logger,
    redactor: Redactor = NOTHING_HIDDEN,
    may_act: bool = True,
    store_deadline_s: float = 1.0,
    on_decision: Callable[[Decision], None] | None = None,
    request_poll_s: float = REQUEST_POLL_S,
    troubles: Troubles | None = None,
    make_alerts: MakeAlerts | None = None,
    switch: SwitchStores | None = None,
) -> Assembly:
    """Make a guard of what is open already, whose records and lock `redactor` masks.

    With `may_act=False` nothing is sent.
    """
    policy = replace(policy, instance_tag=recalled.instance_tag)
    store = recalled.store
    troubles = troubles or Troubles(clock=clock, log=log, dry_run=policy.dry_run)
    notices = Notices()

    async def replace_masked(document: Mapping[str, object]) -> None:
        await replace_lock(mask_lock(document, redactor))

    recorder = Recorder(
        MaskedStore(store, redactor),
        on_trouble=partial(troubles.begin, "store"),
        on_recovery=partial(troubles.end, "store"),
        on_loss=lambda what: log.critical("record_lost", message=what),
        probe=lambda why: troubles.tell("record_refused", why, Severity.CRITICAL),
    )
    lock_writer = LockWriter(
        showing(replace_masked, troubles, notices),
        on_trouble=partial(troubles.begin, "lock"),
        on_recovery=partial(troubles.end, "lock"),
    )
    troubles.record = recorder.add
    alerts = None if make_alerts is None else make_alerts(policy, recorder, troubles)
    if alerts is not None:
        supervisor = Supervisor(recorder=recorder, clock=clock, log=log, dry_run=policy.dry_run)
        recorder.on_given = partial(_hear, alerts, supervisor)
    recorder.add(recalled.unwritten)

    async def record(records: Records, deadline_s: float) -> bool:
        return await recorder.record(records, deadline_s=deadline_s)

    executors = {
        scope: Executor(
            scope=scope,
            venue=venue,
            clock=clock,
            log=log,
            record=record,
            load_orders=store.order_records,
            store_deadline_s=store_deadline_s,
            resumed=_left_open(recalled.memory, policy, scope),
            has_unknown_orders=_has_unknown_orders(recalled.memory, policy, scope),
        )
        for scope, venue in venues.items()
        if may_act and not policy.dry_run
    }
    guardian = Guardian(
        policy=policy,
        memory=recalled.memory,
        venues=venues,
        executors=executors,
        recorder=recorder,
        lock_writer=lock_writer,
        load_requests=store.pending_requests,
        clock=clock,
        log=log,
        troubles=troubles,
        store_deadline_s=store_deadline_s,
        on_decision=on_decision,
        on_taken=None if alerts is None else alerts.see,
        request_poll_s=request_poll_s,
        standing_locks=recalled.standing,
        notices=notices,
        switch=switch,
        tidy=telling(lambda: store.thin(clock.now()), troubles),
    )
    return Assembly(
        guardian=guardian,
        recorder=recorder,
        policy=policy,
        store=store,
        notices=recalled.notices,
        alerts=alerts,
    )


def _hear(alerts: Alerts, supervisor: Supervisor, records: Records) -> None:
    """Show what was queued to who only tells: a fault there must reach nobody who records."""
    with supervisor.supervise("on_given"):
        alerts.hear(records)


def _left_open(memory: Memory, policy: Policy, scope: ScopeId) -> tuple[IncidentId, ...]:
    """The incident of a scope that an earlier run may have sent orders for."""
    book = policy.book_of(scope)
    incident = None if book is None else memory.book(book.name).incident
    return () if incident is None else (incident.incident_id,)


def _has_unknown_orders(memory: Memory, policy: Policy, scope: ScopeId) -> bool:
    """Whether a lock was adopted whose incident nobody knows: what it sent is in no record."""
    book = policy.book_of(scope)
    known = None if book is None else memory.book(book.name)
    if known is None or known.incident is not None:
        return False
    return any(is_closing(known.locks, stage) for stage in CLOSING_STAGES)


def check_lock_file(path: Path) -> None:
    """Make sure that the lock can be written; raises LockError naming the fault and the remedy."""
    remedy = "change its owner or trading_lock_file"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        # A full disk must not keep the guard from guarding; the first write tells of it.
        if not may_pass(error.errno):
            raise LockError(
                f"the lock folder {path.parent} is not writable ({error.strerror}) -> {remedy}"
            ) from error
    if path.is_dir():
        raise LockError(f"the lock file {path} is a folder -> {remedy}")
