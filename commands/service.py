"""What a guard that runs for months owes whoever started it: an orderly end, and word of itself.

Owns the signals of the process, the wait for a state directory that a command holds for a moment,
and the line that the service manager shows. Decides nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clock import Clock
from errors import StateLockHeld
from memory import Memory
from policy import Policy
from service_manager import ServiceManager, ServiceReport
from state_lock import StateLock

if TYPE_CHECKING:
    from guardian import Guardian

HELD_PATIENCE_S = 60.0
"""A command that works in the guard's place reads every account once, flushes and closes.

Under a service manager exit 3 is for good, so a guard that was restarted during a `reset` must not
give up on it.
"""
_LOOK_AGAIN_S = 0.2
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Service:
    """The life of the process: its wish to end, and the manager that is told of it."""

    def __init__(self, manager: ServiceManager | None = None) -> None:
        self.is_stopping = False
        self._manager = manager or ServiceManager()
        self._guardian: Guardian | None = None

    @staticmethod
    @contextmanager
    def begin(environ: MutableMapping[str, str]) -> Iterator[Service]:
        """Take SIGTERM and SIGINT as a wish from here on, instead of dying of them."""
        service = Service(ServiceManager.of(environ, pid=os.getpid()))
        before = {number: signal.signal(number, service.stop) for number in _STOP_SIGNALS}
        try:
            yield service
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, *_signal: object) -> None:
        """End: a start at its next step, a running guard after the round in hand."""
        self.is_stopping = True
        self._manager.tell(STOPPING="1", STATUS="stopping, after what is in hand")
        if self._guardian is not None:
            self._guardian.stop()

    def take(self, state_dir: Path, *, patience_s: float = HELD_PATIENCE_S) -> StateLock:
        """Take the state directory. Raises StateLockHeld and OSError as `StateLock.acquire`.

        Somebody at a terminal is told at once that another process has it; a service manager only
        when that lasts longer than any command.
        """
        give_up_at = time.monotonic() + (patience_s if self._manager.is_present else 0.0)
        is_told = False
        while True:
            try:
                return StateLock.acquire(state_dir)
            except StateLockHeld as held:
                if self.is_stopping or time.monotonic() >= give_up_at:
                    raise
                if not is_told:
                    status = f"waiting for process {held.pid}, which has {state_dir}"
                    self._manager.tell(STATUS=status)
                is_told = True
            time.sleep(_LOOK_AGAIN_S)

    async def watch(self, guardian: Guardian, *, policy: Policy, clock: Clock) -> None:
        """Run the guard until it is stopped; raises as `Guardian.run`."""
        report = ServiceReport(
            self._manager,
            scopes=guardian.scopes,
            describe=lambda: say_standing(guardian.memory, policy),
            clock=clock,
        )
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            # Only a handler of the loop's own wakes it up.
            loop.add_signal_handler(number, self.stop)
        self._guardian = guardian
        if not self.is_stopping:
            keep_for_good()
            await guardian.run(on_ready=report.ready, on_tick_end=report.tick_ended)


def keep_for_good() -> None:
    """Take what a start has made out of what the garbage collector looks at.

    Modules and three days of history stay. One full look at them takes 0.1 to 0.15 s on a busy
    machine, and the collector does not choose a moment in which nothing is closed.
    """
    gc.collect()
    gc.freeze()


def say_standing(memory: Memory, policy: Policy) -> str:
    """How the guard stands, in a few words: "LIVE, 2 books, stage 0"."""
    books = [memory.book(book.name) for book in policy.books]
    dark = [scope for book in policy.books for scope in book.scopes if memory.scope(scope).failures]
    return ", ".join(
        (
            ("DRY RUN" if policy.dry_run else "LIVE") + _say_places(policy),
            f"{len(books)} book{'' if len(books) == 1 else 's'}",
            f"stage {max((book.stage for book in books), default=0):d}",
            *(("closing",) if any(book.incident for book in books) else ()),
            *((f"no reading of {' and '.join(dark)}",) if dark else ()),
        )
    )


def _say_places(policy: Policy) -> str:
    """Which accounts hold no real money: " on the DEMO", or how many do on which."""
    count = sum(len(book.scopes) for book in policy.books)
    return ",".join(
        f" on the {kind.upper()}"
        if len(scopes) >= count
        else f" with {len(scopes)} of {count} accounts on the {kind.upper()}"
        for kind, scopes in policy.practice_places()
    )
