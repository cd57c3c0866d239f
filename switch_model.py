"""The words of the operator's switch: its states, what a store holds and what was read of it.

Pure. Owns values only; `switch_rules` says what follows from them, `operator_switch` reads Redis
and `store` the local row. behaviour.md section 12 is the table behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SwitchState(StrEnum):
    """What the operator wants, from the mildest to the most severe."""

    RUNNING = "running"
    PAUSE = "pause"
    HALT = "halt"
    KILL = "kill"

    @property
    def severity(self) -> int:
        """Rank: kill > halt > pause > running."""
        return list(SwitchState).index(self)

    @staticmethod
    def parse(text: str) -> SwitchState | None:
        """The state that a text names, trimmed and in any case; None for no state at all."""
        word = text.strip().lower()
        return SwitchState(word) if word in list(SwitchState) else None


class SwitchStore(StrEnum):
    """Where a state is kept."""

    LOCAL = "local"
    REDIS = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSetting:
    """What one store holds: the state, since when (UTC seconds), by whom and why.

    `revision` counts the writes of the local store, so that a loosening which did not see a later
    tightening changes nothing; it is 0 for Redis.
    """

    state: SwitchState = SwitchState.RUNNING
    since: float = 0.0
    actor: str = ""
    reason: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisValue:
    """The key is there; `text` is what stands in it, whatever that is.

    `actor` and `reason` are what the one who set it left beside it, empty when nobody did.
    """

    text: str
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisMissing:
    """Redis answers, and the key is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSilent:
    """Nothing can be known: unreachable, too slow, or it refuses the login; `why` says which."""

    why: str


RedisSeen = RedisValue | RedisMissing | RedisSilent


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSeen:
    """What one look at the stores found; None for a store that was not read (the last one holds).

    Redis is None, too, where none is configured.
    """

    local: SwitchSetting | None = None
    redis: RedisSeen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchTransition:
    """One change of one store, as `switch_transitions`, the log and the channel tell it."""

    at: float
    old: SwitchState
    new: SwitchState
    store: SwitchStore
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisWrite:
    """What Redis must be told: a state, only where the key is missing unless it may replace one.

    `replaces` is the state that it loosens: what somebody else has set since must stay.
    """

    state: SwitchState
    actor: str
    reason: str = ""
    is_only_if_missing: bool = True
    replaces: SwitchState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchMemory:
    """What is remembered of the switch.

    `redis` is the last state that Redis was seen to hold, None before the first; it binds while
    Redis is silent, was flushed or is no longer configured. `silent_since` is when Redis was last
    found silent for the first time, None while it answers. `has_redis`: this run asks a Redis.
    `asked_at` is when it was last asked to write its missing key, None while the key is there.
    `written_over` is the old copy of the local row over which what was known is being written.
    Only what the stores hold is stored; the rest each run finds out for itself.
    """

    local: SwitchSetting = SwitchSetting()
    redis: SwitchSetting | None = None
    silent_since: float | None = None
    silent_why: str = ""
    has_redis: bool = False
    asked_at: float | None = None
    written_over: SwitchSetting | None = None
