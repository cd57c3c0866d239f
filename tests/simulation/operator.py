"""Draws what the operator does: wishes, and in some stories the switch, with Redis' own troubles.

The switch comes out of a generator of its own. Stories without it are as they would be if there
were none.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from switch_model import SwitchState
from tests.simulation.faults import WARM_S, Phase

SWITCHED = 0.25
"""The share of stories in which there is a switch."""
BEFORE_S = 6.0
"""Some set the switch before the guard has seen enough of the account to answer a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the operator asks for."""

    at_s: float
    command: str
    arguments: tuple[tuple[str, str], ...] = ()
    is_confirmed: bool = False


def draw_wishes(rng: random.Random, *, ends_s: float) -> tuple[Wish, ...]:
    """Resets, with and without the name typed, and flows booked by hand."""
    if rng.random() < 0.75:
        return ()
    made = []
    for _ in range(rng.choice((1, 1, 2))):
        at_s = rng.uniform(WARM_S + 10.0, ends_s - 1.0)
        if rng.random() < 0.8:
            made.append(Wish(at_s=at_s, command="reset", is_confirmed=rng.random() < 0.7))
        else:
            amount = rng.choice(("50", "-50"))
            made.append(Wish(at_s=at_s, command="flow", arguments=(("amount", amount),)))
    return tuple(sorted(made, key=lambda wish: wish.at_s))


# --- the switch ---------------------------------------------------------------------------------


class Deed(StrEnum):
    """How somebody changes what a store of the switch holds."""

    COMMAND = "command"
    BOTH = "both"
    BY_HAND = "by_hand"
    REQUEST = "request"
    DELETE = "delete"
    RESET = "reset"


class RedisFault(StrEnum):
    """What may be wrong with Redis when the guard asks it."""

    SILENT = "REDIS_SILENT"
    HANGS = "REDIS_HANGS"
    SLOW = "REDIS_SLOW"
    READ_ONLY = "REDIS_READ_ONLY"
    MISSING = "REDIS_MISSING"
    UNKNOWN = "REDIS_UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchAct:
    """One thing that somebody does to the switch, `after_s` after the first moment that fits.

    It comes at `at_s` or later, with `only` not before the guard is in that phase; without a moment
    of that kind it never happens. `text` is the state, as it is typed.
    """

    at_s: float
    deed: Deed
    text: str = ""
    only: Phase | None = None
    after_s: float = 0.0
    is_confirmed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSpell:
    """A time in which Redis has a trouble; `seconds` is what an answer takes.

    `loses_data`: the server was started again, and is empty.
    """

    fault: RedisFault
    from_s: float
    until_s: float
    seconds: float = 0.0
    loses_data: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchStory:
    """Everything that becomes of the switch. `value` is what the key holds at first.

    `grace_s` and `suspends` are the settings of a halt.
    """

    has_redis: bool
    value: str | None
    acts: tuple[SwitchAct, ...]
    spells: tuple[RedisSpell, ...]
    grace_s: float
    suspends: bool


AFTER_S = (0.0, 0.07, 0.31, 0.55, 0.83)
PHASES = (
    None, None, None, *Phase, Phase.CONFIRMING, Phase.CLOSING, Phase.CLOSING, Phase.RECOVERING,
)  # fmt: skip
NO_STATES = ("on", "", "stop!", "killl", "none")


def draw_switch(rng: random.Random, *, ends_s: float) -> SwitchStory | None:
    """What becomes of the switch in a story, None where there is none."""
    if rng.random() >= SWITCHED:
        return None
    has_redis = rng.random() < 0.85
    acts: list[SwitchAct] = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        acts += _draw_setting(rng, ends_s=ends_s, has_redis=has_redis)
    spells: list[RedisSpell] = []
    if has_redis:
        settings = tuple(acts)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            spell = _draw_spell(rng, settings, ends_s=ends_s)
            spells.append(spell)
            if spell.fault is RedisFault.READ_ONLY:
                acts.append(_act(rng, spell.from_s, Deed.DELETE, "", None))
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            acts.append(_draw_mishap(rng, ends_s=ends_s))
    return SwitchStory(
        has_redis=has_redis,
        value=rng.choice(("running", "running", "running", None, " Pause\n")),
        acts=tuple(sorted(acts, key=lambda act: act.at_s)),
        spells=tuple(sorted(spells, key=lambda spell: spell.from_s)),
        grace_s=rng.choice((4.0, 12.0, 30.0)),
        suspends=rng.random() < 0.3,
    )


def _draw_setting(rng: random.Random, *, ends_s: float, has_redis: bool) -> list[SwitchAct]:
    """Somebody tightens; mostly somebody loosens again, and after a kill asks for the reset."""
    state = rng.choice(("pause", "pause", "pause", "halt", "halt", "kill", "kill", "kill"))
    only = rng.choice(PHASES)
    latest_s = WARM_S + 4.0 if only else ends_s - 10.0
    at_s = rng.uniform(BEFORE_S, latest_s)
    tightening = rng.choice((Deed.COMMAND, Deed.BOTH, Deed.BY_HAND)) if has_redis else Deed.COMMAND
    made = [_act(rng, at_s, tightening, rng.choice((state, f" {state.upper()}\n")), only)]
    if rng.random() < 0.25:
        return made
    milder = rng.choice(("running", "running", "running", "pause", "halt"))
    only = rng.choice(PHASES)
    at_s += 1.0 if only else rng.uniform(0.5, 45.0)
    ways = (Deed.BY_HAND, Deed.REQUEST, Deed.REQUEST) if has_redis else (Deed.REQUEST,)
    made.append(_act(rng, min(at_s, ends_s - 6.0), rng.choice(ways), milder, only))
    if rng.random() < 0.4:
        again = _act(rng, min(at_s + 5.0, ends_s - 5.0), Deed.REQUEST, "running", None)
        made.append(again)
    if state == SwitchState.KILL and rng.random() < 0.6:
        at_s += rng.uniform(5.0, 40.0)
        made.append(_act(rng, min(at_s, ends_s - 3.0), Deed.RESET, "", None))
    return made


def _draw_mishap(rng: random.Random, *, ends_s: float) -> SwitchAct:
    """The key is gone, or something stands in it that is no state."""
    at_s = rng.uniform(BEFORE_S, ends_s - 10.0)
    if rng.random() < 0.3:
        return _act(rng, at_s, Deed.DELETE, "", rng.choice(PHASES))
    return _act(rng, at_s, Deed.BY_HAND, rng.choice(NO_STATES), rng.choice(PHASES))


def _act(rng: random.Random, at_s: float, deed: Deed, text: str, only: Phase | None) -> SwitchAct:
    return SwitchAct(
        at_s=at_s,
        deed=deed,
        text=text,
        only=only,
        after_s=rng.choice(AFTER_S),
        is_confirmed=rng.random() < 0.85,
    )


def _draw_spell(rng: random.Random, acts: tuple[SwitchAct, ...], *, ends_s: float) -> RedisSpell:
    """Redis is out of reach, hangs, is slow or refuses to write; often soon after an act."""
    fault = rng.choice(
        (RedisFault.SILENT, RedisFault.SILENT, RedisFault.HANGS, RedisFault.HANGS,
         RedisFault.SLOW, RedisFault.READ_ONLY)
    )  # fmt: skip
    from_s = rng.uniform(0.0, ends_s - 8.0)
    if rng.random() < 0.6:
        from_s = min(ends_s - 8.0, rng.choice(acts).at_s + rng.uniform(1.0, 12.0))
    lasts_s = rng.choice((4.0, 15.0, 45.0))
    seconds = {RedisFault.SLOW: rng.uniform(0.1, 4.5), RedisFault.HANGS: 60.0}.get(fault, 0.0)
    return RedisSpell(
        fault=fault,
        from_s=from_s,
        until_s=min(ends_s, from_s + lasts_s),
        seconds=seconds,
        loses_data=fault is RedisFault.SILENT and rng.random() < 0.4,
    )
