"""A Redis without any wire, as the guard's watch sees one: one key, a channel, and its moods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clock import Clock
from switch_model import RedisMissing, RedisSeen, RedisSilent, RedisValue, RedisWrite

DEADLINE_S = 5.0
"""What takes longer is silent, as the real one has it."""


@dataclass(kw_only=True)
class MemoryRedis:
    """The switch's key; `why_silent` is empty while it answers, `delay_s` what an answer takes.

    `is_unread`: reads fail, and writes would arrive.
    """

    clock: Clock
    value: str | None = None
    actor: str = ""
    why_silent: str = ""
    delay_s: float = 0.0
    refuses_writes: str = ""
    reads: int = 0
    written: list[RedisWrite] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    is_dead: bool = False
    is_unread: bool = False

    def set(self, value: str | None, *, actor: str = "") -> None:
        """What `redis-cli SET trading_switch` does, or DEL."""
        self.value, self.actor = value, actor

    async def _answer(self) -> str:
        """Wait as a command would; returns why there is no answer."""
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        await self.clock.sleep(min(DEADLINE_S, self.delay_s))
        return self.why_silent or ("no answer in 5 s" if self.delay_s >= DEADLINE_S else "")

    async def read(self) -> RedisSeen:
        """What stands in the key."""
        self.reads += 1
        why = await self._answer() or ("reset" if self.is_unread else "")
        if why:
            return RedisSilent(why=why)
        if self.value is None:
            return RedisMissing()
        return RedisValue(text=self.value, actor=self.actor)

    async def write(self, what: RedisWrite) -> str:
        """Set the key, unless it is there and must stay."""
        why = await self._answer() or self.refuses_writes
        if not why:
            self.written.append(what)
            if self.value is None or not what.is_only_if_missing:
                self.set(what.state.value, actor=what.actor)
        return why

    async def publish(self, event: Mapping[str, object]) -> str:
        """Tell whoever listens."""
        why = await self._answer()
        if not why:
            self.events.append(event)
        return why
