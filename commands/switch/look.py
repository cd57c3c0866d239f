"""What both stores of the switch hold at this moment, each read on its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import switch_rules
from attempts import Missed, attempt
from clock import Clock
from commands.status.lock import look_at_lock
from commands.status.report import is_dry_run
from commands.status.switch import SwitchView, view_switch
from commands.switch.stores import redis_at
from own_thread import OwnThread
from settings import Settings
from state_lock import Holder, find_holder
from store.views import SwitchStatus, read_switch
from switch_model import RedisSeen, RedisSilent, SwitchMemory, SwitchSeen

READ_WITHIN_S = 6.0
"""Longer than SQLite waits for a foreign lock; what takes longer is a disk that hangs."""
TRANSITIONS_SHOWN = 10


async def look(settings: Settings, *, clock: Clock) -> SwitchView:
    """Read both stores side by side, and what the guard's lock file shows; never raises."""
    stored, seen = await asyncio.gather(_read_local(settings.state_db), _see_redis(settings, clock))
    known = stored if isinstance(stored, SwitchStatus) else SwitchStatus()
    memory, now = known.switch, clock.now()
    lock = look_at_lock(settings.trading_lock_file, now=now)
    if not settings.state_db.exists():
        # A lost database: the next start takes over what the lock file says.
        memory = switch_rules.adopt_entries(memory, lock.locks, now=now) or memory
    if seen is not None:
        found = switch_rules.look(
            memory, SwitchSeen(redis=seen), policy=settings.to_policy(), now=now
        )
        memory = _without_guesses(found.memory, now=now)
    holder = holder_of(settings)
    return view_switch(
        memory,
        known.transitions,
        lock=lock,
        is_guarded=holder is not None,
        dry_run=is_dry_run(lock, holder, configured=settings.dry_run),
        local_fault=stored if isinstance(stored, str) else "",
        redis_fault=seen.why if isinstance(seen, RedisSilent) else "",
        has_redis=settings.redis is not None,
        is_halt_suspending=settings.to_policy().switch.halt_suspends_stages,
    )


def _without_guesses(memory: SwitchMemory, *, now: float) -> SwitchMemory:
    """A value that the guard has not seen yet stands there since nobody knows when."""
    if memory.redis is None or memory.redis.since != now:
        return memory
    return replace(memory, redis=replace(memory.redis, since=0.0))


def runs_dry(settings: Settings, *, now: float) -> bool:
    """Whether the guard that runs, or would, decides and sends nothing."""
    lock = look_at_lock(settings.trading_lock_file, now=now)
    return is_dry_run(lock, holder_of(settings), configured=settings.dry_run)


def holder_of(settings: Settings) -> Holder | None:
    """Who works on the state directory; nobody can tell of one that cannot be opened."""
    try:
        return find_holder(settings.state_dir)
    except OSError:
        return None


async def _read_local(path: Path) -> SwitchStatus | str:
    """What the database holds, or why that is not known. A disk may hang: on a thread of its own.

    Before the guard's first start there is no database, and nothing was ever set.
    """
    thread = OwnThread("switch-view")
    reading = asyncio.get_running_loop().run_in_executor(
        thread, partial(read_switch, path, transition_limit=TRANSITIONS_SHOWN)
    )

    async def read() -> SwitchStatus:
        return await reading

    try:
        got = await attempt(read(), within_s=READ_WITHIN_S, what="the database")
    finally:
        thread.close()
    return got.why if isinstance(got, Missed) else got.value


async def _see_redis(settings: Settings, clock: Clock) -> RedisSeen | None:
    if settings.redis is None:
        return None
    async with redis_at(settings.redis, clock=clock) as redis:
        return await redis.read()
