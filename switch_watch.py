"""Watches the operator's switch, apart from the polling of accounts, and tells what it does.

Owns when the two stores are looked at, that a change of either is settled at once, and what Redis
is told. What a look means is for `switch_rules`. Its rules:

- Four looks a second at each store, side by side: neither waits for the other, and only one look
  at a store is under way.
- A look that changes nothing settles nothing.
- Redis is loosened only when the record of it is safe; what tightens or restores goes at once.
- What only tells others of a change is waited for by nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from attempts import Got, abandon, attempt
from clock import Clock
from decision import Decision, Observation
from memory import Memory
from policy import SwitchPolicy
from recorder import Recorder
from supervision import Supervisor
from switch_model import (
    RedisSeen,
    RedisSilent,
    RedisWrite,
    SwitchMemory,
    SwitchSeen,
    SwitchSetting,
    SwitchStore,
    SwitchTransition,
)
from switch_rules import look
from troubles import Troubles

LOOK_EVERY_S = 0.25
FIRST_LOOK_WITHIN_S = 2.0
"""A start waits no longer for Redis to say what it holds: until it does it is a halt."""
WRITE_AGAIN_AFTER_S = 5.0
"""A Redis that refuses a write is asked as often as this, not with every look."""
RECORD_WITHIN_S = 1.0
STOP_WITHIN_S = 1.0
TROUBLE = "redis"


class RedisPort(Protocol):
    """What the watch needs of Redis; none of it raises for what Redis does."""

    async def read(self) -> RedisSeen:
        """What stands in the key now, or that nothing can be known."""

    async def write(self, what: RedisWrite, /) -> str:
        """Set the key; returns '' or why that was not possible."""

    async def publish(self, event: Mapping[str, object], /) -> str:
        """Tell whoever listens; returns '' or why that was not possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchStores:
    """Where the switch is read: `read_local` gives None while it cannot be known."""

    read_local: Callable[[], Coroutine[Any, Any, SwitchSetting | None]]
    redis: RedisPort | None = None


class SwitchWatch:
    """Looks at the stores of the switch and has every change settled.

    `remembered` gives the memory as it is now, `settle` decides on an observation and writes the
    decision. `on_look` is called after every look, because some of what the switch asks for comes
    with time alone.
    """

    def __init__(
        self,
        stores: SwitchStores,
        *,
        policy: SwitchPolicy,
        remembered: Callable[[], Memory],
        settle: Callable[[Observation], Coroutine[Any, Any, None]],
        on_look: Callable[[], None],
        recorder: Recorder,
        supervisor: Supervisor,
        troubles: Troubles,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._policy = policy
        self._remembered = remembered
        self._settle = settle
        self._on_look = on_look
        self._recorder = recorder
        self._supervisor = supervisor
        self._troubles = troubles
        self._clock = clock
        self._errands: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        self._write_after = float("-inf")

    @property
    def steps(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, float]]]:
        """What is to be repeated, each for itself, by its name."""
        if self._stores.redis is None:
            return {"local switch": self._look_locally}
        return {"local switch": self._look_locally, "redis switch": self._look_at_redis}

    async def first_look(self) -> SwitchSeen:
        """Look at both stores before anything is announced; what is silent so long is silent."""
        local, redis = await asyncio.gather(
            attempt(self._stores.read_local(), within_s=FIRST_LOOK_WITHIN_S, what="local switch"),
            self._first_of_redis(),
        )
        return SwitchSeen(local=local.value if isinstance(local, Got) else None, redis=redis)

    async def _first_of_redis(self) -> RedisSeen | None:
        redis = self._stores.redis
        if redis is None:
            return None
        seen = await attempt(redis.read(), within_s=FIRST_LOOK_WITHIN_S, what="redis")
        return seen.value if isinstance(seen, Got) else RedisSilent(why=seen.why)

    async def _look_locally(self) -> float:
        return await self._take_in(SwitchSeen(local=await self._stores.read_local()))

    async def _look_at_redis(self) -> float:
        assert self._stores.redis is not None
        return await self._take_in(SwitchSeen(redis=await self._stores.redis.read()))

    async def _take_in(self, seen: SwitchSeen) -> float:
        """Settle what was seen where it changes anything; returns the pause before the next."""
        known, now = self._remembered().switch, self._clock.now()
        found = look(known, seen, policy=self._policy, now=now)
        if found.memory != known or (found.writes and self._may_write):
            await self._settle(Observation(now=now, switch=seen))
        self._on_look()
        return LOOK_EVERY_S

    @property
    def _may_write(self) -> bool:
        is_due = self._clock.monotonic() >= self._write_after
        return is_due and not self._writing.locked()

    # --- what Redis is told -------------------------------------------------------------------

    def follow(self, decision: Decision, *, before: SwitchMemory) -> None:
        """Tell Redis what a decision that was just queued for the disk wants it to know."""
        redis = self._stores.redis
        if redis is None:
            return
        for what in decision.redis_writes:
            self._write_after = self._clock.monotonic() + WRITE_AGAIN_AFTER_S
            self._run("redis write", partial(self._write, redis, what))
        for told in changes_between(before, decision.memory.switch, at=self._clock.now()):
            self._run("redis event", partial(self._publish, redis, told))

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        errand = asyncio.create_task(self._do(name, work))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _do(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await self._supervisor.attend(name, work)

    async def _write(self, redis: RedisPort, what: RedisWrite) -> None:
        ticket = self._recorder.ticket
        async with self._writing:
            while not what.is_only_if_missing and not await self._recorder.wait(
                ticket, deadline_s=RECORD_WITHIN_S
            ):
                await self._clock.sleep(RECORD_WITHIN_S)
            why = await redis.write(what)
        if why:
            self._troubles.begin(TROUBLE, f"cannot be told {what.state}: {why}")
        else:
            self._troubles.end(TROUBLE)

    async def _publish(self, redis: RedisPort, told: SwitchTransition) -> None:
        event = {
            "at": told.at,
            "old": told.old.value,
            "new": told.new.value,
            "store": told.store.value,
            "actor": told.actor,
            "reason": told.reason,
        }
        await redis.publish(event)

    async def stop(self) -> None:
        """Wait a moment for what Redis is being told, and give it up then."""
        errands = tuple(self._errands)
        if errands:
            await asyncio.wait(errands, timeout=STOP_WITHIN_S)
        for errand in errands:
            abandon(errand)


def changes_between(
    before: SwitchMemory, after: SwitchMemory, *, at: float
) -> Iterator[SwitchTransition]:
    """The changes of either store, as others are told of them; `at` in UTC seconds."""
    pairs = (
        (SwitchStore.LOCAL, before.local, after.local),
        (SwitchStore.REDIS, before.redis or SwitchSetting(), after.redis or SwitchSetting()),
    )
    for store, old, new in pairs:
        if old.state is not new.state:
            yield SwitchTransition(
                at=at, old=old.state, new=new.state, store=store, actor=new.actor, reason=new.reason
            )
