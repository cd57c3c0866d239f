"""Handing an operator's request to the guard, whether one is running or not.

Commands never change stages themselves. They add a row to `operator_requests`; a running daemon
answers it, and without one the command takes the state directory and runs the same decision code.
"""

from __future__ import annotations

import asyncio
import getpass
import socket
import sys
from dataclasses import replace

from clock import SystemClock
from commands.assembly import assemble, open_store
from errors import KillSwitchError, StateLockHeld
from logger import configure_logging, get_logger
from memory import RequestAnswer
from settings import Settings, VenueSettings
from state_lock import StateLock
from store_access import ThreadedStore

ANSWER_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1


def ask(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str = ""
) -> int:
    """Put the request, wait for its answer and print it; returns the exit code."""
    try:
        answer = _ask(settings, command=command, arguments=arguments, confirmation=confirmation)
    except (KillSwitchError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    if answer is None:
        print(
            f"{command}: no answer within {ANSWER_WITHIN_S:.0f} s; the request stays and will be "
            "answered by the daemon -> look at its log",
            file=sys.stderr,
        )
        return 1
    print(answer.message, file=sys.stdout if answer.accepted else sys.stderr)
    return 0 if answer.accepted else 1


def _ask(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str
) -> RequestAnswer | None:
    try:
        held = StateLock.acquire(settings.state_dir)
    except StateLockHeld:
        return asyncio.run(
            _ask_daemon(settings, command=command, arguments=arguments, confirmation=confirmation)
        )
    with held:
        return asyncio.run(
            _answer_here(settings, command=command, arguments=arguments, confirmation=confirmation)
        )


async def _add(
    store: ThreadedStore, *, command: str, arguments: dict[str, str], confirmation: str
) -> int:
    return await store.add_request(
        at=SystemClock().now(),
        actor=f"{getpass.getuser()}@{socket.gethostname()}",
        command=command,
        arguments=tuple(sorted(arguments.items())),
        confirmation=confirmation,
    )


async def _ask_daemon(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str
) -> RequestAnswer | None:
    """Leave the row to the daemon that holds the state directory."""
    store, _ = await open_store(settings.state_db, now=SystemClock().now())
    try:
        request_id = await _add(
            store, command=command, arguments=arguments, confirmation=confirmation
        )
        clock = SystemClock()
        deadline = clock.monotonic() + ANSWER_WITHIN_S
        while clock.monotonic() < deadline:
            answer = await store.answer(request_id)
            if answer is not None:
                return answer
            await clock.sleep(LOOK_EVERY_S)
        return None
    finally:
        await store.aclose()


async def _answer_here(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str
) -> RequestAnswer | None:
    """Read the accounts once where keys are there, then decide on what waits."""
    configure_logging(
        secrets=settings.secrets(), json_output=False, verbose=False, stream=sys.stderr
    )
    log = get_logger("killswitch")
    watched = replace(settings, venues=tuple(v for v in settings.venues if _has_keys(v)))
    policy_source = settings if not watched.venues else watched
    async with assemble(policy_source, clock=SystemClock(), log=log, may_act=False) as guard:
        request_id = await _add(
            guard.store, command=command, arguments=arguments, confirmation=confirmation
        )
        if watched.venues:
            await guard.guardian.run_once()
        await guard.guardian.answer_requests()
        return await guard.store.answer(request_id)


def _has_keys(venue: VenueSettings) -> bool:
    return bool(venue.api_key.get_secret_value() and venue.api_secret.get_secret_value())
