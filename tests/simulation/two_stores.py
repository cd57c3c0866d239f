"""What the operator wants, by the rules of behaviour.md section 12 read once more.

Fed with what the local row holds and with what Redis has answered; nothing here calls the guard's
own rules. Times are seconds of the story.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from switch_model import RedisMissing, RedisSeen, RedisSilent, RedisValue, SwitchState

RUNNING, HALT, KILL = SwitchState.RUNNING, SwitchState.HALT, SwitchState.KILL


def more_severe(*states: SwitchState) -> SwitchState:
    """The one that counts of several."""
    return max(states, key=tuple(SwitchState).index)


def read_value(text: str, known: SwitchState) -> SwitchState:
    """What a value stands for: one that is no state is a halt at least, and loosens nothing."""
    for state in SwitchState:
        if text.strip().lower() == state.value:
            return state
    return more_severe(known, HALT)


@dataclass(slots=True)
class TwoStores:
    """The local row, and what Redis was last heard to say; `silent_s` since when it says nothing.

    `hinted_s` is since when it may have said nothing to those who listen. `entitled_s` is when
    cancels were last asked for, as far as anybody can have heard.
    """

    grace_s: float
    local: SwitchState = RUNNING
    redis: SwitchState = RUNNING
    silent_s: float | None = None
    hinted_s: float | None = None
    since: deque[tuple[float, SwitchState, SwitchState]] = field(default_factory=deque)
    entitled_s: float = float("-inf")

    @property
    def explicit(self) -> SwitchState:
        """What somebody has set."""
        return more_severe(self.local, self.redis)

    @property
    def effective(self) -> SwitchState:
        """What binds: silence is a halt at least."""
        return more_severe(self.explicit, RUNNING if self.silent_s is None else HALT)

    def begin(self, now_s: float, *, local: SwitchState, redis: SwitchState) -> None:
        """A run begins and knows what is stored."""
        self.local, self.redis = local, redis
        self.silent_s = self.hinted_s = None
        self.since.clear()
        self.note(now_s)

    def set_local(self, now_s: float, state: SwitchState) -> None:
        """The row holds this."""
        self.local = state
        self.note(now_s)

    def hear(self, now_s: float, seen: RedisSeen, *, is_certain: bool) -> None:
        """Redis answered, or did not. What was perhaps asked for another reason binds nobody."""
        match seen:
            case RedisSilent():
                self.hinted_s = now_s if self.hinted_s is None else self.hinted_s
                if is_certain and self.silent_s is None:
                    self.silent_s = now_s
            case RedisValue():
                state = read_value(seen.text, self.redis)
                self.silent_s = self.hinted_s = None
                if is_certain or more_severe(state, self.redis) is self.redis:
                    self.redis = state
            case RedisMissing():
                pass
        self.note(now_s)

    def note(self, now_s: float) -> None:
        """Keep what binds from now on."""
        if not self.since or self.since[-1][1:] != (self.explicit, self.effective):
            self.since.append((now_s, self.explicit, self.effective))
        if self.asks_for_cancels(now_s) or self._is_long(now_s, self.hinted_s):
            self.entitled_s = now_s

    def asks_for_cancels(self, now_s: float) -> bool:
        """Whether what could open is to go: a halt that was set, or a silence of some length."""
        is_set = more_severe(self.explicit, HALT) is self.explicit
        return is_set or self._is_long(now_s, self.silent_s)

    def _is_long(self, now_s: float, since_s: float | None) -> bool:
        return since_s is not None and now_s - since_s >= self.grace_s

    def least(self, now_s: float, *, within_s: float) -> tuple[SwitchState, SwitchState]:
        """The mildest that was explicit, and that was effective, in so long a time until now."""
        while len(self.since) > 1 and self.since[1][0] <= now_s - within_s:
            self.since.popleft()
        if not self.since:
            return RUNNING, RUNNING
        order = tuple(SwitchState).index
        explicit = min((explicit for _, explicit, _ in self.since), key=order)
        return explicit, min((effective for _, _, effective in self.since), key=order)
