"""Handing an operator's request to the guard, whether one is running or not.

Commands never change stages themselves. They add a row to `operator_requests`; a running daemon
answers it, and without one the command takes the state directory and runs the same decision code.
"""

from __future__ import annotations

import asyncio
import getpass
import random
import secrets
import socket
import sys

from clock import SystemClock
from commands.assembly import Assembly, assemble
from commands.run import begin_log
from errors import KillSwitchError, StateLockHeld
from memory import RequestAnswer
from redaction import Redactor
from settings import Settings
from state_lock import StateLock, claim_lock_file
from store.access import ThreadedStore

ANSWER_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1


def ask(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str = ""
) -> int:
    """Put the request, wait for its answer and print it; returns the exit code."""
    # What a person types or pastes is kept for ever: no key by mistake.
    mask = Redactor(settings.secrets()).text
    arguments = {
        name: mask(value) if name == "reason" else value for name, value in arguments.items()
    }
    confirmation = mask(confirmation)
    try:
        answer = asyncio.run(
            put_request(settings, command=command, arguments=arguments, confirmation=confirmation)
        )
    except (KillSwitchError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    if answer is None:
        print(
            f"{command}: no answer within {ANSWER_WITHIN_S:.0f} s; it may still be carried out in "
            "the next ten minutes, then it is refused -> look at the daemon's log",
            file=sys.stderr,
        )
        return 1
    print(answer.message, file=sys.stdout if answer.accepted else sys.stderr)
    return 0 if answer.accepted else 1


async def put_request(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str
) -> RequestAnswer | None:
    """Leave the request to the guard that runs, or answer it here; None: nobody has answered.

    Raises KillSwitchError and OSError.
    """
    try:
        held = StateLock.acquire(settings.state_dir)
    except StateLockHeld:
        return await _ask_daemon(
            settings, command=command, arguments=arguments, confirmation=confirmation
        )
    # Beside a guard with a state of its own this would lift the locks of that one.
    with held, claim_lock_file(settings.trading_lock_file):
        return await _answer_here(
            settings, command=command, arguments=arguments, confirmation=confirmation
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
    """Leave the row to the daemon that holds the state directory.

    Its database is never moved aside here, whatever seems to be wrong with it.
    """
    rng = random.Random(secrets.randbits(64))  # noqa: S311 - a tag, not a secret
    store = await ThreadedStore.open(settings.state_db, rng=rng)
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
    async with assemble(
        settings, clock=SystemClock(), log=begin_log(settings), may_act=False
    ) as guard:
        for notice in guard.notices:
            print(notice, file=sys.stderr)
        await guard.guardian.run_once()
        return await answer_of(
            guard, command=command, arguments=arguments, confirmation=confirmation
        )


async def answer_of(
    guard: Assembly, *, command: str, arguments: dict[str, str], confirmation: str
) -> RequestAnswer | None:
    """Put the request to a guard of this process, and everything that waits before it."""
    request_id = await _add(
        guard.store, command=command, arguments=arguments, confirmation=confirmation
    )
    await guard.guardian.answer_alone()
    return await guard.store.answer(request_id)
