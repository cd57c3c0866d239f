"""What a person has to see to: told at once, and shown for as long as it lasts.

Owns the list of what fails right now and how a person learns of it: in the log, in the audit, and
in the details of the lock document, because nobody may read the log and the database may be the
very thing that fails. Most of it is the guard's own machine; a trouble of one account names it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from clock import Clock
from decision_log import log_audit
from lock_document import EVERY_BOOK, TROUBLE
from logger import Logger
from memory import AuditEntry, Records, Severity

_PASSING = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EIO,
    errno.ETIMEDOUT,
)


def may_pass(number: int | None) -> bool:
    """True for the error number of a want that may end by itself: room, descriptors, a dying disk.

    A permission or a path that is wrong stays wrong until somebody changes it.
    """
    return number in _PASSING


TELL_AGAIN_S = 300.0
"""A disk that is slow at every second write is told as often as this, not every ten seconds."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    since: float
    why: str
    is_told: bool


class Troubles:
    """What fails now. `record` is to be set to what takes the audit entries; it may itself fail."""

    record: Callable[[Records], object]

    def __init__(self, *, clock: Clock, log: Logger, dry_run: bool) -> None:
        self._clock = clock
        self._log = log
        self._dry_run = dry_run
        self._standing: dict[tuple[str, str], _Trouble] = {}
        self._told_at: dict[tuple[str, str, str], float] = {}

    def begin(self, name: str, why: str, *, scope: str = EVERY_BOOK) -> None:
        """Tell of a trouble, or of a new reason for one that stands; of each once in a while."""
        known, now = self._standing.get((name, scope)), self._clock.now()
        if known is not None and known.why == why:
            return
        told_at = self._told_at.items()
        self._told_at = {key: at for key, at in told_at if abs(now - at) < TELL_AGAIN_S}
        is_new = (name, scope, why) not in self._told_at
        since = now if known is None else known.since
        was_told = known is not None and known.is_told
        self._standing[name, scope] = _Trouble(since, why, is_told=is_new or was_told)
        if is_new:
            self._told_at[name, scope, why] = now
            self.record(self.tell(f"{name}_trouble", why, Severity.CRITICAL, scope=scope))

    def end(self, name: str, *, scope: str = EVERY_BOOK) -> None:
        """Tell that something works again, if it was told that it did not."""
        known = self._standing.pop((name, scope), None)
        if known is not None and known.is_told:
            what = f"in order again; it was not since {_say(known.since)}: {known.why}"
            self.record(self.tell(f"{name}_recovered", what, Severity.INFO, scope=scope))

    def tell(self, event: str, why: str, severity: Severity, *, scope: str = EVERY_BOOK) -> Records:
        """Log an event at once and make the record of it."""
        entry = AuditEntry(
            at=self._clock.now(),
            scope=scope,
            event=event,
            message=why,
            dry_run=self._dry_run,
            severity=severity,
        )
        log_audit(self._log, entry)
        return Records(audits=(entry,))

    def stands(self, *names: str) -> bool:
        """Whether one of these fails now, for every book or for one."""
        return any(name in names for name, _ in self._standing)

    def details(self) -> dict[str, str]:
        """The entries for the lock document, empty while all is well."""
        return {
            f"{TROUBLE}{name}" + ("" if scope == EVERY_BOOK else f" {scope}"): (
                f"since {_say(trouble.since)}: {trouble.why}"
            )
            for (name, scope), trouble in self._standing.items()
        }


def _say(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
