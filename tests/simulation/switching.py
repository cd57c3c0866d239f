"""The switch of a story: a Redis that fails as it was drawn, and the operator's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from switch_model import RedisMissing, RedisSeen, RedisSilent, RedisValue, RedisWrite, SwitchState
from tests.memory_redis import MemoryRedis
from tests.simulation.operator import Deed, RedisFault, SwitchAct, SwitchStory
from tests.simulation.switch_judge import SwitchJudge
from tests.virtual_house import BOOK

if TYPE_CHECKING:
    from tests.simulation.world import StoryHouse


def judge_of(house: StoryHouse) -> SwitchJudge:
    """Who holds this house to its switch."""
    judge = house.monitor.switch
    assert judge is not None
    return judge


@dataclass(kw_only=True)
class StoryRedis(MemoryRedis):
    """The Redis of a story; what a dead run asks for is never answered."""

    house: StoryHouse
    spell: RedisFault | None = None
    _met: tuple[RedisFault, SwitchState] | None = None

    async def read(self) -> RedisSeen:
        """What stands in the key; the judge hears what the guard does."""
        run = self.house.runs
        try:
            seen = await super().read()
        except asyncio.CancelledError:
            self._hear(run, RedisSilent(why="given up"))
            raise
        await self._alive(run)
        self._hear(run, seen)
        return seen

    async def write(self, what: RedisWrite) -> str:
        """Set the key, unless it is there and must stay."""
        run = self.house.runs
        why = await self._answer() or self.refuses_writes
        await self._alive(run)
        if self.refuses_writes:
            self._meet(RedisFault.READ_ONLY)
        if not why and (self.value is None or not what.is_only_if_missing):
            self._judge.on_redis_write(what, self.value)
            self.house.note("redis", f"{self.value!r} becomes {what.state}")
            self.set(what.state.value, actor=what.actor)
        return why

    async def publish(self, event: Mapping[str, object]) -> str:
        """Nobody listens."""
        return await self._answer()

    async def _alive(self, run: int) -> None:
        if self.house.is_dark or run != self.house.runs:
            await asyncio.get_running_loop().create_future()

    @property
    def _judge(self) -> SwitchJudge:
        return judge_of(self.house)

    def _hear(self, run: int, seen: RedisSeen) -> None:
        house = self.house
        if house.is_dark or run != house.runs:
            return
        match seen:
            case RedisSilent():
                self._meet(self.spell or RedisFault.SLOW)
            case RedisMissing():
                self._meet(RedisFault.MISSING)
            case RedisValue() if SwitchState.parse(seen.text) is None:
                self._meet(RedisFault.UNKNOWN)
            case _ if self.spell is RedisFault.SLOW:
                self._meet(RedisFault.SLOW)
            case _ if self.spell is not RedisFault.READ_ONLY:
                self._met = None
        # The guard looks once more before it loosens, and believes nothing of that look.
        is_writing = house.current is not None and house.current.guardian._switch._writing.locked()
        self._judge.hear(seen, is_certain=not (is_writing and self._judge.was_loosened))

    def _meet(self, fault: RedisFault) -> None:
        state = self._judge.stores.effective
        if self._met != (fault, state):
            self._met = (fault, state)
            self.house.tally.redis[fault, state] += 1
            self.house.note("redis", f"{fault} under {state}")


@dataclass(kw_only=True)
class Hands:
    """Carries out what somebody does to the switch, and lets Redis fail when it is due."""

    house: StoryHouse
    switch: SwitchStory
    redis: StoryRedis | None
    waiting: list[SwitchAct] = field(init=False)
    emptied: int = 0

    def __post_init__(self) -> None:
        self.waiting = list(self.switch.acts)

    def move(self, now_s: float) -> None:
        """Everything that is due."""
        if self.redis is not None:
            self._fail(self.redis, now_s)
        if now_s >= self.house.story.ends_s - 2.0:
            self.waiting.clear()
        phase = self.house.phase
        due = [a for a in self.waiting if a.at_s <= now_s and a.only in (None, phase)]
        loop = asyncio.get_running_loop()
        for act in due:
            self.waiting.remove(act)
            loop.call_later(act.after_s, self._do, act)

    def _fail(self, redis: StoryRedis, now_s: float) -> None:
        on = [spell for spell in self.switch.spells if spell.from_s <= now_s < spell.until_s]
        redis.spell = on[0].fault if on else None
        faults = {spell.fault: spell for spell in on}
        redis.why_silent = "refused" if RedisFault.SILENT in faults else ""
        redis.refuses_writes = "a replica" if RedisFault.READ_ONLY in faults else ""
        redis.delay_s = max((spell.seconds for spell in on), default=0.0)
        for number, spell in enumerate(self.switch.spells):
            if spell in on and spell.loses_data and not self.emptied >> number & 1:
                self.emptied |= 1 << number
                redis.set(None)
                self.house.note("redis", "is empty")

    def _do(self, act: SwitchAct) -> None:
        house, redis = self.house, self.redis
        is_running = house.current is not None and not house.is_dark
        state = SwitchState.parse(act.text)
        house.note("hand", f"{act.deed} {act.text!r}")
        match act.deed:
            case Deed.COMMAND | Deed.BOTH if state is not None:
                house.switch(state)
                judge_of(house).on_command()
                if act.deed is Deed.BOTH and redis is not None and not redis.why_silent:
                    held = SwitchState.parse(redis.value or "") or SwitchState.RUNNING
                    if state.severity > held.severity:
                        redis.set(state.value, actor="operator@test")
            case Deed.BY_HAND if redis is not None:
                redis.set(act.text)
            case Deed.DELETE if redis is not None:
                redis.set(None)
            case Deed.REQUEST if is_running:
                word = "kill" if act.is_confirmed else ""
                house.ask("switch", confirm=word, state=act.text, actor="me", reason="drawn")
            case Deed.RESET if is_running:
                house.ask("reset", confirm=BOOK)
            case _:
                pass
