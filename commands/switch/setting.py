"""Sets the switch: tightens each store by itself, and has the guard loosen.

Tightening waits for nobody: a store that fails keeps the other from nothing, and a kill looks at
nothing before it writes. Loosening is a request that the guard answers; without a guard the same
decision code does, in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import switch_rules
from clock import Clock
from commands.run import begin_log
from commands.status.lock import look_at_lock
from commands.status.switch import SwitchView, obeyed_state
from commands.switch.look import holder_of
from commands.switch.stores import (
    StoreResult,
    redis_at,
    say_tightened,
    tighten_local,
    tighten_redis,
)
from errors import KillSwitchError, StateLockHeld
from settings import Settings
from state_lock import StateLock, claim_lock_file
from switch_model import SwitchState

if TYPE_CHECKING:
    from commands.assembly import Assembly

OBEYED_WITHIN_S = 6.0
"""The guard looks four times a second and then writes its lock; a slow Redis may cost more."""
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be set, by whom and why; `is_confirmed`: the word kill was given."""

    state: SwitchState
    actor: str
    reason: str
    is_confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a wish: a line for each step, and whether all of them are done."""

    is_done: bool
    lines: tuple[str, ...]


async def set_switch(
    settings: Settings, wish: Wish, *, view: SwitchView | None, clock: Clock
) -> Outcome:
    """Set both stores; `view` is what they hold, None for a kill, which looks at nothing first."""
    try:
        held = StateLock.acquire(settings.state_dir)
    except (StateLockHeld, OSError):
        return await _beside_the_guard(settings, wish, view=view, clock=clock)
    with held:
        return await _without_a_guard(settings, wish, view=view, clock=clock)


def must_loosen(view: SwitchView | None, state: SwitchState) -> bool:
    """Whether a store holds more than that, as far as is known; a kill loosens nothing."""
    if view is None:
        return False
    is_local_unknown = bool(view.local_fault) and state is SwitchState.RUNNING
    return is_local_unknown or switch_rules.explicit(view.memory).severity > state.severity


async def _tighten(
    settings: Settings,
    wish: Wish,
    *,
    clock: Clock,
    set_local: Callable[[], Awaitable[StoreResult]],
) -> tuple[StoreResult, ...]:
    """Both stores side by side; nothing is tighter than running."""
    if wish.state is SwitchState.RUNNING:
        return ()
    return tuple(await asyncio.gather(set_local(), *_redis_part(settings, wish, clock=clock)))


def _redis_part(
    settings: Settings, wish: Wish, *, clock: Clock
) -> tuple[Awaitable[StoreResult], ...]:
    place = settings.redis
    if place is None:
        return ()

    async def tighten() -> StoreResult:
        async with redis_at(place, clock=clock) as redis:
            return await tighten_redis(redis, wish.state, actor=wish.actor, reason=wish.reason)

    return (tighten(),)


# --- a guard runs -----------------------------------------------------------------------------


async def _beside_the_guard(
    settings: Settings, wish: Wish, *, view: SwitchView | None, clock: Clock
) -> Outcome:
    async def set_local() -> StoreResult:
        return await tighten_local(
            settings.state_db, wish.state, actor=wish.actor, reason=wish.reason, clock=clock
        )

    results = await _tighten(settings, wish, clock=clock, set_local=set_local)
    lines = [str(result) for result in results]
    is_done = all(result.is_done for result in results)
    if must_loosen(view, wish.state):
        is_loosened, said = await _request(settings, wish)
        lines.append(said)
        is_done = is_done and is_loosened
        if not is_loosened:
            return Outcome(is_done=False, lines=tuple(lines))
    if any(result.is_done for result in results) or must_loosen(view, wish.state):
        is_obeyed, said = await _until_obeyed(settings, wish.state, clock=clock)
        lines.append(said)
        is_done = is_done and is_obeyed
    return Outcome(is_done=is_done, lines=tuple(lines))


async def _request(settings: Settings, wish: Wish) -> tuple[bool, str]:
    # Here and below: a kill beside a guard must not wait for what it does not need.
    from commands.requests import put_request

    try:
        answer = await put_request(
            settings,
            command="switch",
            arguments=_arguments(wish),
            confirmation=_word(wish),
        )
    except (KillSwitchError, OSError) as error:
        return False, f"guard: cannot be asked to loosen: {error}"
    if answer is None:
        return False, (
            "guard: no answer in 10 s; it may still loosen within ten minutes -> look at its log"
        )
    return answer.accepted, f"guard: {answer.message}"


def _word(wish: Wish) -> str:
    return SwitchState.KILL.value if wish.is_confirmed else ""


def _arguments(wish: Wish) -> dict[str, str]:
    return {"state": wish.state.value, "actor": wish.actor, "reason": wish.reason}


async def _until_obeyed(
    settings: Settings, state: SwitchState, *, clock: Clock
) -> tuple[bool, str]:
    """Wait until the lock file says what was set; more than that may be another store's word."""
    give_up_at = clock.monotonic() + OBEYED_WITHIN_S
    while True:
        shown = obeyed_state(look_at_lock(settings.trading_lock_file, now=clock.now()))
        if shown is state:
            return True, f"guard: obeys, its lock file says {shown}"
        if clock.monotonic() >= give_up_at:
            break
        await clock.sleep(LOOK_EVERY_S)
    if holder_of(settings) is None:
        return False, "guard: none runs, or it cannot be seen from here -> start it"
    if shown is not None and shown.severity > state.severity:
        return state is not SwitchState.RUNNING, (
            f"guard: its lock file says {shown}, which is more -> see `switch`"
        )
    return False, (
        f"guard: its lock file says {shown or 'nothing that holds'} after "
        f"{OBEYED_WITHIN_S:g} s -> look at its log; if it does not act, close by hand"
    )


# --- no guard runs ----------------------------------------------------------------------------


async def _without_a_guard(
    settings: Settings, wish: Wish, *, view: SwitchView | None, clock: Clock
) -> Outcome:
    """Do the guard's part here: it recovers the database, decides, and writes the lock file."""
    from commands.assembly import assemble

    lines: list[str] = []
    redis = asyncio.gather(
        *(() if wish.state is SwitchState.RUNNING else _redis_part(settings, wish, clock=clock))
    )
    is_done = True
    try:
        log = begin_log(settings)
        with _claim(settings, wish.state):
            async with assemble(settings, clock=clock, log=log, may_act=False) as guard:
                lines.extend(guard.notices)
                is_done, said = await _decide_here(guard, wish, view=view, clock=clock)
                lines.extend(said)
    except (KillSwitchError, OSError) as error:
        is_done = False
        lines.append(f"local: not set to {wish.state}: {error}")
    results = await redis
    lines.extend(str(result) for result in results)
    is_done = is_done and all(result.is_done for result in results)
    if wish.state is SwitchState.RUNNING:
        lines.append("guard: none runs -> start it")
    else:
        lines.append(f"guard: NONE RUNS, so that nothing carries out {wish.state} -> start it")
    return Outcome(is_done=is_done, lines=tuple(lines))


def _claim(settings: Settings, state: SwitchState) -> AbstractContextManager[object]:
    """Free no bots beside a guard with a state of its own; what locks them asks nobody."""
    if state is not SwitchState.RUNNING:
        return nullcontext()
    return claim_lock_file(settings.trading_lock_file)


async def _decide_here(
    guard: Assembly, wish: Wish, *, view: SwitchView | None, clock: Clock
) -> tuple[bool, list[str]]:
    from commands.requests import answer_of

    lines: list[str] = []
    is_done = True
    if wish.state is not SwitchState.RUNNING:
        made = await guard.store.set_switch(
            wish.state, actor=wish.actor, reason=wish.reason, now=clock.now()
        )
        lines.append(str(say_tightened(made, wish.state)))
    if must_loosen(view, wish.state):
        answer = await answer_of(
            guard,
            command="switch",
            arguments=_arguments(wish),
            confirmation=_word(wish),
        )
        is_done = answer is not None and answer.accepted
        lines.append(answer.message if answer is not None else "the request was not decided")
    if is_done:
        await guard.guardian.look_at_switch()
        await guard.guardian.flush()
    return is_done, lines
