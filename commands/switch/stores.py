"""Each store of the switch for itself: read, and tightened, whatever the other one does.

Nothing here waits for the other store, and nothing raises for what a store does: each says in one
line what happened to it.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attempts import Missed, attempt
from clock import Clock
from redis_place import RedisPlace
from store.access import ThreadedStore
from switch_model import (
    RedisMissing,
    RedisSeen,
    RedisSilent,
    RedisValue,
    RedisWrite,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)

if TYPE_CHECKING:
    from operator_switch import RedisSwitch

LOCAL_WITHIN_S = 8.0
"""Longer than SQLite waits for a foreign lock; what takes longer is a disk that hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """What became of one store: `is_done` when it holds by now what was asked, or more."""

    store: SwitchStore
    is_done: bool
    said: str

    def __str__(self) -> str:
        return f"{self.store}: {self.said}"


@asynccontextmanager
async def redis_at(place: RedisPlace, *, clock: Clock) -> AsyncIterator[RedisSwitch]:
    """The switch in this Redis for the length of the block; its client is loaded with the first."""
    from operator_switch import RedisSwitch

    redis = RedisSwitch(place, clock=clock)
    try:
        yield redis
    finally:
        await redis.aclose()


def held_in(seen: RedisSeen | None) -> SwitchState | None:
    """The state that a value stands for; None where nothing is known or the key is missing."""
    if not isinstance(seen, RedisValue):
        return None
    return SwitchState.parse(seen.text) or SwitchState.HALT


async def tighten_redis(
    redis: RedisSwitch, state: SwitchState, *, actor: str, reason: str
) -> StoreResult:
    """Write the key unless it holds as much; a kill is written without looking first."""
    seen: RedisSeen | None = None
    if state is not SwitchState.KILL:
        seen = await redis.read()
        if isinstance(seen, RedisSilent):
            return _failed(f"not set to {state}: {seen.why}")
        held = held_in(seen)
        if held is not None and held.severity >= state.severity:
            more = "" if held is state else ", which is more"
            return _done(f"holds {held} already{more}; left as it is")
    why = await redis.write(
        RedisWrite(
            state=state,
            actor=actor,
            reason=reason,
            is_only_if_missing=isinstance(seen, RedisMissing),
            replaces=held_in(seen),
        )
    )
    if why:
        return _failed(f"not set to {state}: {why}")
    return await _read_back(redis, state)


async def loosen_redis(
    redis: RedisSwitch, state: SwitchState, *, actor: str, reason: str
) -> StoreResult:
    """Write a milder state over the one that stands there."""
    seen = await redis.read()
    if isinstance(seen, RedisSilent):
        return _failed(f"not set to {state}: {seen.why}")
    held = held_in(seen)
    if held is state:
        return _done(f"holds {state} already")
    why = await redis.write(
        RedisWrite(
            state=state,
            actor=actor,
            reason=reason,
            is_only_if_missing=isinstance(seen, RedisMissing),
            replaces=held,
        )
    )
    if why:
        return _failed(f"not set to {state}: {why}")
    after = held_in(await redis.read())
    if after is not None and after.severity > state.severity:
        return _failed(f"somebody has set {after} meanwhile, and that stands")
    return _done(f"set to {state}")


async def _read_back(redis: RedisSwitch, state: SwitchState) -> StoreResult:
    """Whether a write that was accepted stands; who cannot be read was written all the same."""
    after = held_in(await redis.read())
    if after is not None and after.severity < state.severity:
        return _failed(f"somebody has set {after} over it meanwhile -> say it again")
    return _done(f"set to {state}")


async def tighten_local(
    path: Path, state: SwitchState, *, actor: str, reason: str, clock: Clock
) -> StoreResult:
    """Write the local row unless it holds as much."""
    setting = _set_in(path, state, actor=actor, reason=reason, now=clock.now())
    done = await attempt(setting, within_s=LOCAL_WITHIN_S, what="the database")
    if isinstance(done, Missed):
        return StoreResult(
            store=SwitchStore.LOCAL, is_done=False, said=f"not set to {state}: {done.why}"
        )
    return say_tightened(done.value, state)


def say_tightened(made: SwitchTransition | None, state: SwitchState) -> StoreResult:
    """What a tightening of the local row came to; None where it held as much."""
    said = f"set to {state}" if made is not None else f"holds {state} or more already"
    return StoreResult(store=SwitchStore.LOCAL, is_done=True, said=said)


async def _set_in(
    path: Path, state: SwitchState, *, actor: str, reason: str, now: float
) -> SwitchTransition | None:
    rng = random.Random(secrets.randbits(64))  # noqa: S311 - a tag, not a secret
    store = await ThreadedStore.open(path, rng=rng)
    try:
        return await store.set_switch(state, actor=actor, reason=reason, now=now)
    finally:
        await store.aclose()


def _done(said: str) -> StoreResult:
    return StoreResult(store=SwitchStore.REDIS, is_done=True, said=said)


def _failed(said: str) -> StoreResult:
    return StoreResult(store=SwitchStore.REDIS, is_done=False, said=said)
