"""Watches the operator's switch, apart from the polling of accounts, and has it carried out.

Owns when the two stores are looked at, that a change of either is settled and acted on at once, on
every account, and what Redis is told. What a look means is for `switch_rules`. Its rules:

- Four looks a second at each store, side by side: neither waits for the other, and only one look
  at a store is under way.
- A look that changes nothing settles nothing.
- Redis is loosened only when the record of it is safe; what tightens or restores goes at once.
- What only tells others of a change is waited for by nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import lock_mirror
from attempts import Got, Unbroken, abandon, attempt
from clock import Clock
from decision import Decision, Observation
from drives import Drives, Settle
from entry_cancels import EntryCancels, HaltedScope
from lock_mirror import LockMirror
from logger import Logger
from memory import Memory
from model import ScopeId
from policy import Policy
from recorder import Recorder
from scope_watch import ScopeWatch
from supervision import Supervisor
from switch_model import (
    RedisSeen,
    RedisSilent,
    RedisValue,
    RedisWrite,
    SwitchSeen,
    SwitchSetting,
    SwitchState,
    SwitchTransition,
)
from switch_rules import look
from troubles import Troubles
from venues.protocol import Venue

LOOK_EVERY_S = 0.25
FIRST_LOOK_WITHIN_S = 2.0
"""A start waits no longer for Redis to say what it holds: until it does it is a halt."""
LOOK_WITHIN_S = 6.0
"""Longer than what Redis itself is given to answer."""
UNKNOWN_LOOKS = 8
"""So many looks in a row that tell nothing are told: a single one may have met a full disk."""
RECORD_WITHIN_S = 1.0
STOP_WITHIN_S = 1.0
REDIS = "redis_switch"
LOCAL = "local_switch"


Step = Callable[[], Coroutine[Any, Any, float]]
"""One of what is repeated; it returns the pause before the next in seconds."""


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
    """Where the switch is read: `read_local` gives None while it cannot be known.

    `mirror` shows the lock document to other machines. Each store is looked at again after
    `look_every_s`.
    """

    read_local: Callable[[], Coroutine[Any, Any, SwitchSetting | None]]
    redis: RedisPort | None = None
    mirror: LockMirror | None = None
    look_every_s: float = LOOK_EVERY_S


class SwitchWatch:
    """Looks at the stores of the switch; without `stores` there is none to look at.

    `remembered` gives the memory as it is now, `settle` decides on an observation and writes the
    decision. Entry orders are cancelled where a watch has an executor: in no dry run.
    """

    def __init__(
        self,
        stores: SwitchStores | None,
        *,
        policy: Policy,
        venues: Mapping[ScopeId, Venue],
        watches: Mapping[ScopeId, ScopeWatch],
        drives: Drives,
        remembered: Callable[[], Memory],
        settle: Settle,
        unbroken: Unbroken,
        supervisor: Supervisor,
        recorder: Recorder,
        troubles: Troubles,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._stores = stores
        self._policy = policy
        self._watches = watches
        self._drives = drives
        self._remembered = remembered
        self._settle = settle
        self._unbroken = unbroken
        self._supervisor = supervisor
        self._recorder = recorder
        self._troubles = troubles
        self._clock = clock
        self._errands: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        self._unknown_looks = 0
        self._cancels = EntryCancels(
            venues={scope: venues[scope] for scope, watch in watches.items() if watch.executor},
            find_halted=self._find_halted,
            unbroken=unbroken,
            supervisor=supervisor,
            recorder=recorder,
            troubles=troubles,
            clock=clock,
            log=log,
        )

    # --- looking ------------------------------------------------------------------------------

    @property
    def steps(self) -> tuple[tuple[str, Step, asyncio.Event | None], ...]:
        """What is to be repeated, each for itself: its name, the step, and what ends its pause."""
        if self._stores is None:
            return ()
        stores = self._stores
        steps: list[tuple[str, Step, asyncio.Event | None]] = [
            (LOCAL, partial(self._look_locally, stores), None)
        ]
        if stores.redis is not None:
            steps.append((REDIS, partial(self._look_at_redis, stores), None))
        if stores.mirror is not None:
            steps.append((lock_mirror.NAME, stores.mirror.step, stores.mirror.bell))
        return tuple(steps)

    async def first_look(self) -> SwitchSeen | None:
        """Look at both stores before anything is announced; what is silent so long is silent."""
        if self._stores is None:
            return None
        local, redis = await asyncio.gather(
            self._read_locally(self._stores),
            _read_redis(self._stores.redis, within_s=FIRST_LOOK_WITHIN_S),
        )
        return SwitchSeen(local=local, redis=redis)

    async def _look_locally(self, stores: SwitchStores) -> float:
        self._take_in(SwitchSeen(local=await self._read_locally(stores)))
        return stores.look_every_s

    async def _look_at_redis(self, stores: SwitchStores) -> float:
        seen = await _read_redis(stores.redis, within_s=LOOK_WITHIN_S)
        self._take_in(SwitchSeen(redis=seen))
        return stores.look_every_s

    async def _read_locally(self, stores: SwitchStores) -> SwitchSetting | None:
        """What the local store holds; a person is told when that stays unknown."""
        read = await attempt(stores.read_local(), within_s=FIRST_LOOK_WITHIN_S, what=LOCAL)
        if isinstance(read, Got) and read.value is not None:
            self._unknown_looks = 0
            self._troubles.end("local_switch")
            return read.value
        self._unknown_looks += 1
        if self._unknown_looks >= UNKNOWN_LOOKS:
            why = "cannot be read, so what is set there is not seen"
            why = why if isinstance(read, Got) else f"{why}: {read.why}"
            self._troubles.begin("local_switch", why)
        return None

    def _take_in(self, seen: SwitchSeen) -> None:
        """Settle what was seen where it changes anything.

        Nobody waits for its records: the next look may bring a kill.
        """
        known, now = self._remembered().switch, self._clock.now()
        if look(known, seen, policy=self._policy, now=now).memory != known:
            observation = Observation(now=now, switch=seen, limits=self._drives.limits)
            settling = partial(self._settle, observation)
            self._unbroken.begin(self._supervisor.attend("switch", settling))
        # Some of what the switch asks for comes with time alone.
        self._cancels.follow(is_asked=self._drives.must_cancel_entries)

    # --- carrying it out ----------------------------------------------------------------------

    def follow(self, decision: Decision, *, before: Memory) -> None:
        """Begin what a decision that has just taken effect asks for, on every account at once."""
        self._drives.kill(before)
        self._cancels.follow(is_asked=self._drives.must_cancel_entries)
        if self._stores is None or self._stores.redis is None:
            return
        for what in decision.redis_writes:
            self._run("redis write", partial(self._write, self._stores.redis, what))
        for told in decision.transitions:
            self._run("redis event", partial(self._publish, self._stores.redis, told))

    def cancel_entries(self, scope: ScopeId) -> None:
        """Have what could open cancelled on an account that was just looked at."""
        self._cancels.begin(scope)

    def _find_halted(self, scope: ScopeId) -> HaltedScope | None:
        """What is known of an account whose entry orders are to go, None where they are not."""
        is_cared_for = self._drives.is_finishing or self._drives.cancels_for_itself(scope)
        if is_cared_for or not self._drives.must_cancel_entries:
            return None
        return self._watches[scope].halted(self._remembered(), self._policy)

    # --- what Redis is told -------------------------------------------------------------------

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        errand = asyncio.create_task(self._do(name, work))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _do(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await self._supervisor.attend(name, work)

    async def _write(self, redis: RedisPort, what: RedisWrite) -> None:
        ticket = self._recorder.ticket
        while not what.is_only_if_missing and not await self._recorder.wait(
            ticket, deadline_s=RECORD_WITHIN_S
        ):
            await self._clock.sleep(RECORD_WITHIN_S)
        async with self._writing:
            held = await self._severer_than(what, redis)
            if isinstance(held, SwitchState):
                return
            why = await redis.write(what) if held is None else held.why
        if why:
            self._troubles.begin("redis_switch", f"cannot be told {what.state}: {why}")
        else:
            self._troubles.end("redis_switch")

    async def _severer_than(
        self, what: RedisWrite, redis: RedisPort
    ) -> SwitchState | RedisSilent | None:
        """What stands for more than a loosening is to replace, None for nothing.

        Whatever may have been set in a silent Redis would be gone before anybody saw it. What a
        server has lost since it was seen still counts.
        """
        if what.replaces is None:
            return None
        seen = await _read_redis(redis, within_s=LOOK_WITHIN_S)
        if isinstance(seen, RedisSilent):
            return seen
        known = self._remembered().switch.redis
        state = SwitchState.RUNNING if known is None else known.state
        if isinstance(seen, RedisValue):
            state = SwitchState.parse(seen.text) or SwitchState.HALT
        return state if state.severity > what.replaces.severity else None

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

    async def stop(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """Wait a moment for what Redis is being told, and give it up then."""
        errands = tuple(self._errands)
        if errands:
            await asyncio.wait(errands, timeout=within_s)
        for errand in errands:
            abandon(errand)

    async def finish(self) -> None:
        """Show other machines the last lock that was written."""
        if self._stores is not None and self._stores.mirror is not None:
            await self._stores.mirror.finish()


async def _read_redis(redis: RedisPort | None, *, within_s: float) -> RedisSeen | None:
    """What Redis holds; whatever keeps it from saying so is silence."""
    if redis is None:
        return None
    seen = await attempt(redis.read(), within_s=within_s, what=REDIS)
    return seen.value if isinstance(seen, Got) else RedisSilent(why=seen.why)
