"""The exceptions of the guard, and when each may be raised.

    KillSwitchError
    |- ConfigurationError    start-up only: names file, key, value and remedy
    |- ObservationError      a read that gave no believable answer
    |  |- Unavailable        the venue did not answer, or refused to
    |  `- Malformed          it answered, but a field is missing or makes no sense
    |- StoreError            SQLite could not keep or give back a record
    |  |- StoreUnreadable    the file is damaged or no database: move it aside, go on with a halt
    |  `- StoreMissing       a reader found no database: the guard has never run here
    |- StateLockHeld         another process works on this state directory
    |- LockError             the lock file could not be written or read
    `- InvariantViolation    our own bug: lock, record, exit, let the supervisor restart

Refusals and outcomes of orders are values (`model.Outcome`), never exceptions.
"""

from __future__ import annotations


class KillSwitchError(Exception):
    """The root of everything the guard raises on purpose."""


class ConfigurationError(KillSwitchError):
    """The settings cannot be used; `problems` holds one printable line each, never a secret."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ObservationError(KillSwitchError):
    """A read gave nothing that may be believed. Never treat it as an empty account."""


class Unavailable(ObservationError):
    """The venue did not answer, answered with an error, or refused the login.

    `retry_after_s` is the pause the venue asked for, in seconds, None when it named none.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Malformed(ObservationError):
    """The venue answered, but a field is missing, empty or not a number. Missing is never 0."""


class StoreError(KillSwitchError):
    """The database could not be opened, read or written."""


class StoreUnreadable(StoreError):
    """The file is not a database, is damaged, or holds values that make no sense."""


class StoreMissing(StoreError):
    """There is no database at the place where a reader looked for one."""


class StateLockHeld(KillSwitchError):
    """Another process holds the state directory; `pid` is None when it cannot be told."""

    def __init__(self, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{holder} holds this state directory")
        self.pid = pid


class LockError(KillSwitchError):
    """The lock file could not be written or read; `number` is the system's error, if it was one."""

    def __init__(self, message: str, *, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


class InvariantViolation(KillSwitchError):
    """Something that must never happen did: a fault of this program, not of the world."""
