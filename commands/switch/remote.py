"""The switch in Redis alone, from any machine: no configuration, no database, no guard.

Shows and sets what stands in the key. A guard obeys the more severe of Redis and its own store, so
that nothing set here loosens what was set there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from clock import Clock
from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_FINE
from commands.status.switch import BOTS, GUARD
from commands.switch.setting import Outcome, Wish
from commands.switch.stores import StoreResult, held_in, loosen_redis, redis_at, tighten_redis
from redis_place import BadRedisUrl, RedisPlace, parse_redis_url
from switch_model import RedisMissing, RedisSeen, RedisSilent, RedisValue, SwitchState

if TYPE_CHECKING:
    from operator_switch import RedisSwitch

VERSION = 1
"""The form of the JSON document; it grows when a key changes its meaning or goes."""


def place_of(
    url: str, environ: Mapping[str, str], *, key_prefix: str, ca_file: Path | None
) -> RedisPlace | int:
    """Where the URL leads, with the login of the environment; the exit code where it cannot be."""
    try:
        place = parse_redis_url(url)
    except BadRedisUrl as bad:
        print(f"switch: the URL {bad}", file=sys.stderr)
        return EXIT_CONFIGURATION
    if ca_file is not None and not place.is_tls:
        print("switch: --redis-ca-file needs a URL with rediss://", file=sys.stderr)
        return EXIT_CONFIGURATION
    password = place.password.get_secret_value() or environ.get("REDIS_PASSWORD", "")
    return replace(
        place,
        username=place.username or environ.get("REDIS_USERNAME", ""),
        password=SecretStr(password),
        sentinel_password=SecretStr(environ.get("REDIS_SENTINEL_PASSWORD", "")),
        key_prefix=key_prefix,
        ca_file=ca_file,
    )


async def see(place: RedisPlace, *, clock: Clock) -> RedisSeen:
    """What stands in the key."""
    async with redis_at(place, clock=clock) as redis:
        return await redis.read()


def show(place: RedisPlace, seen: RedisSeen, *, as_json: bool) -> int:
    """Print what stands there; returns the exit code, 1 where that cannot be known."""
    if as_json:
        print(json.dumps(_document(place, seen), indent=2))
    elif isinstance(seen, RedisSilent):
        print(f"switch: {seen.why}", file=sys.stderr)
        print("Guards that read this Redis hold at least halt.", file=sys.stderr)
    else:
        print(f"Redis {place}: {_say(seen)}")
        state = held_in(seen) or SwitchState.RUNNING
        print(f"bots   {BOTS[state]}")
        print(f"guard  {GUARD[state]}")
        print("A guard's own store may hold more: `switch` on its machine shows both.")
    return EXIT_FAILED if isinstance(seen, RedisSilent) else EXIT_FINE


def _say(seen: RedisValue | RedisMissing) -> str:
    if isinstance(seen, RedisMissing):
        return "the key is not there; a guard writes back what it has seen last, or running"
    is_state = SwitchState.parse(seen.text) is not None
    said = seen.text if is_state else f"{seen.text!r} is no state and counts as halt"
    who = f" by {seen.actor}" if seen.actor else ""
    return said + who + (f": {seen.reason}" if seen.reason else "")


def _document(place: RedisPlace, seen: RedisSeen) -> dict[str, object]:
    state = held_in(seen)
    value = seen if isinstance(seen, RedisValue) else RedisValue(text="")
    return {
        "version": VERSION,
        "redis": str(place),
        "state": None if state is None else state.value,
        "value": seen.text if isinstance(seen, RedisValue) else None,
        "actor": value.actor,
        "reason": value.reason,
        "is_missing": isinstance(seen, RedisMissing),
        "silent_why": seen.why if isinstance(seen, RedisSilent) else "",
    }


async def set_there(
    place: RedisPlace, wish: Wish, seen: RedisSeen | None, *, clock: Clock
) -> Outcome:
    """Set the key; `seen` is what it held, None for a kill."""
    async with redis_at(place, clock=clock) as redis:
        result = await _set(redis, wish, seen)
    lines = [str(result)]
    if result.is_done:
        lines.append(
            "guards: they obey within a second where they run and see this Redis -> `switch` or "
            "`status` on their machine tells"
        )
        if is_loosening(seen, wish.state):
            lines.append(
                "not done: what a guard's own store holds stays (`switch running` on its machine), "
                "and LOCKDOWN stays until `reset BOOK`"
            )
    else:
        lines.append("not done: say it again, or set it on the guard's machine: `switch STATE`")
    return Outcome(is_done=result.is_done, lines=tuple(lines))


async def _set(redis: RedisSwitch, wish: Wish, seen: RedisSeen | None) -> StoreResult:
    change = loosen_redis if is_loosening(seen, wish.state) else tighten_redis
    return await change(redis, wish.state, actor=wish.actor, reason=wish.reason)


def is_loosening(seen: RedisSeen | None, state: SwitchState) -> bool:
    """Whether the key holds more than that; running is never a tightening."""
    held = held_in(seen)
    return state is SwitchState.RUNNING or (held is not None and held.severity > state.severity)
