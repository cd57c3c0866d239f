"""Keeps the lock file at what was decided, in the order that is safe.

Owns when the file is written: tightening at once and beside its record, loosening only after its
record is on disk (behaviour.md section 1). Knows nothing of files: `replace` puts a document in
place or raises LockError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from attempts import Missed, outcome_of
from book_locks import HELD_AHEAD_S
from clock import Clock
from decision import Decision
from errors import LockError
from lock_document import EVERY_BOOK, FOREVER_TS, LockContent, LockEntry, LockMode
from model import Stage
from recorder import Recorder
from troubles import may_pass

LOCK_DEADLINE_S = 0.3
REASON_FAULT = "blind_internal_fault"
"""The guard stopped because of a fault of its own; the next start lifts it by rewriting."""


class LockWriter:
    """Keeps the lock file at the newest content, one write at a time, never out of order.

    A write that is still going on when newer content arrives is followed by that newest content.
    `on_trouble` is told each reason once while writing fails or lags, `on_recovery` when it works
    again.
    """

    def __init__(
        self,
        replace: Callable[[Mapping[str, object]], Awaitable[None]],
        *,
        on_trouble: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._replace = replace
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._wanted: Mapping[str, object] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        self.fault = ""
        self.may_pass = False

    async def write(self, document: Mapping[str, object], *, deadline_s: float) -> bool:
        """Write the document, waiting at most `deadline_s`; returns whether it is on disk.

        `fault` says why the latest finished write failed, and is empty when it did not; `may_pass`
        whether that may end by itself, as a full disk does and a wrong path does not.
        """
        self._wanted = document
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._drain())
        await asyncio.wait((self._writer,), timeout=deadline_s)
        if not self._writer.done():
            self._report("the lock file is slow to write")
            return False
        ended = outcome_of(self._writer, what="lock file")
        if isinstance(ended, Missed):
            # A fault that nobody expected, and still no lock on disk.
            self.fault = ended.why
            self._report(f"the lock file cannot be written: {self.fault}")
        return not self.fault

    async def _drain(self) -> None:
        while self._wanted is not None:
            document, self._wanted = self._wanted, None
            try:
                await self._replace(document)
            except LockError as error:
                self.fault, self.may_pass = str(error), may_pass(error.number)
                self._report(f"writing the lock file: {error}")
                continue
            self.fault = ""
        if self._told and not self.fault:
            self._told.clear()
            self._on_recovery()

    def _report(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._on_trouble(message)


class DecisionWriter:
    """Writes record and lock of every decision.

    `standing` are locks that this run did not set and may not lift: those of a live guard while a
    dry run works in its place.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        lock: LockWriter,
        clock: Clock,
        store_deadline_s: float,
        standing: tuple[LockEntry, ...] = (),
    ) -> None:
        self._recorder = recorder
        self._lock = lock
        self._clock = clock
        self._store_deadline_s = store_deadline_s
        self._standing = standing
        self._shown = LockContent()

    def write(
        self,
        decision: Decision,
        *,
        is_forced: bool = False,
        lock_deadline_s: float = LOCK_DEADLINE_S,
    ) -> Awaitable[None]:
        """Queue the record at once, then wait for record and lock, each within its deadline.

        A store that is known to be slow or failing is not waited for. `is_forced` lifts locks
        without waiting for their record: the operator said so.
        """
        ticket = self._recorder.add(decision.records)
        content = replace(
            decision.lock, locks=(*decision.lock.locks, *self._unexpired(self._standing))
        )
        return self._write(ticket, content, is_forced=is_forced, lock_deadline_s=lock_deadline_s)

    async def _write(
        self, ticket: int, content: LockContent, *, is_forced: bool, lock_deadline_s: float
    ) -> None:
        patience_s = 0.0 if self._recorder.is_in_trouble else self._store_deadline_s
        lifted = () if is_forced else self._lifted_by(content)
        # What tightens goes out at once; what loosens stays in force until its record is safe.
        held = replace(content, locks=(*content.locks, *lifted))
        is_safe, _ = await asyncio.gather(
            self._recorder.wait(ticket, deadline_s=patience_s),
            self._show(held, deadline_s=lock_deadline_s),
        )
        if lifted and is_safe and self._shown is held:
            await self._show(content, deadline_s=lock_deadline_s)

    async def _show(self, content: LockContent, *, deadline_s: float) -> None:
        self._shown = content
        await self._lock.write(content.to_document(self._clock.now()), deadline_s=deadline_s)

    def _lifted_by(self, content: LockContent) -> tuple[LockEntry, ...]:
        """The locks bots obey now and would no longer, or not as long, with `content`.

        They are kept ahead of the clock: none runs out while its record is waited for.
        """
        kept_until = self._clock.now() + HELD_AHEAD_S
        return tuple(
            replace(entry, expires_ts=max(entry.expires_ts, kept_until))
            for entry in self._unexpired(self._shown.locks)
            if not any(_covers(other, entry) for other in content.locks)
        )

    def _unexpired(self, entries: tuple[LockEntry, ...]) -> tuple[LockEntry, ...]:
        now = self._clock.now()
        return tuple(entry for entry in entries if entry.expires_ts > now)

    async def lock_for_fault(self, why: str, *, is_shown_only: bool) -> None:
        """Lock every bot because the guard ends by a fault of its own."""
        now = self._clock.now()
        entry = LockEntry(
            scope=EVERY_BOOK,
            stage=Stage.NORMAL,
            mode=LockMode.BLIND,
            reason=REASON_FAULT,
            created_ts=now,
            expires_ts=FOREVER_TS,
            dry_run=self._shown.dry_run,
            details=(("fault", why),),
        )
        content = self._shown
        if is_shown_only:
            content = replace(content, would_lock=(*content.would_lock, entry))
        else:
            content = replace(content, locks=(*content.locks, entry))
        await self._show(content, deadline_s=LOCK_DEADLINE_S)


def _covers(new: LockEntry, old: LockEntry) -> bool:
    """True when the new lock is the old one, for at least as long."""
    same = (new.scope, new.mode, new.stage, new.reason) == (
        old.scope,
        old.mode,
        old.stage,
        old.reason,
    )
    return same and new.expires_ts >= old.expires_ts
