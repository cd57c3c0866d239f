"""Handing an operator's request to the guard, whether one is running or not.

Commands never change stages themselves. They add a row to `operator_requests`; a running daemon
answers it, and without one the command takes the state directory and runs the same decision code.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
import time

from clock import SystemClock
from commands.assembly import assemble, open_store
from errors import KillSwitchError
from logger import configure_logging, get_logger
from memory import RequestAnswer
from position_store import PositionStore
from settings import Settings
from state_lock import StateLock, StateLockHeld

ANSWER_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1


def ask(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str = ""
) -> int:
    """Put the request, wait for its answer and print it; returns the exit code."""
    try:
        answer = _ask(
            settings, command=command, arguments=arguments, confirmation=confirmation
        )
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
        return _ask_daemon(
            settings, command=command, arguments=arguments, confirmation=confirmation
        )
    with held:
        store, _ = open_store(settings, now=time.time())
        request_id = _add(store, command=command, arguments=arguments, confirmation=confirmation)
        store.close()
        return asyncio.run(_answer_here(settings, request_id))


def _add(
    store: PositionStore, *, command: str, arguments: dict[str, str], confirmation: str
) -> int:
    return store.add_request(
        at=time.time(),
        actor=f"{getpass.getuser()}@{socket.gethostname()}",
        command=command,
        arguments=tuple(sorted(arguments.items())),
        confirmation=confirmation,
    )


def _ask_daemon(
    settings: Settings, *, command: str, arguments: dict[str, str], confirmation: str
) -> RequestAnswer | None:
    """Leave the row to the daemon that holds the state directory."""
    store = PositionStore.open(settings.state_db)
    try:
        request_id = _add(store, command=command, arguments=arguments, confirmation=confirmation)
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < deadline:
            answer = store.answer(request_id)
            if answer is not None:
                return answer
            time.sleep(LOOK_EVERY_S)
        return None
    finally:
        store.close()


async def _answer_here(settings: Settings, request_id: int) -> RequestAnswer | None:
    """Read the accounts once where keys are there, then decide on what waits."""
    configure_logging(
        secrets=settings.secrets(), json_output=False, verbose=False, stream=sys.stderr
    )
    log = get_logger("killswitch")
    async with assemble(settings, clock=SystemClock(), log=log, may_act=False) as guard:
        await guard.guardian.run_once()
        await guard.guardian.answer_requests()
        return await guard.store.answer(request_id)


def has_environment_keys(settings: Settings) -> bool:
    """Whether any venue of the settings can be read with the keys that are there."""
    return any(venue.api_key.get_secret_value() for venue in settings.venues)


def state_dir_is_held(settings: Settings) -> bool:
    """Whether a daemon runs on this state directory now."""
    if not os.access(settings.state_dir, os.F_OK):
        return False
    try:
        StateLock.acquire(settings.state_dir).close()
    except StateLockHeld:
        return True
    return False
