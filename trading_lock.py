"""The lock file that trading bots obey: written atomically by the guard, read by the bots.

This file needs the standard library only, so it can be copied beside a bot:

    from trading_lock import is_locked, read_lock

    if is_locked("/path/to/trading_lock.json"):
        raise RuntimeError("Trading locked")

    state = read_lock("/path/to/trading_lock.json", scope="binance_futures")
    if state.locked:
        raise RuntimeError(f"Trading locked: {state.reason}")

Bots in other languages ask `python3 trading_lock.py PATH [--scope BOOK]`: it exits 0 when trading
is free, 1 when it is locked, 2 when the file gives no answer. Anything but 0 means: open nothing.

Rules of reading: a file that is missing, unreadable, of another version or older than its own
heartbeat allows means locked, because a guard that is silent guards nothing. Closing positions is
always allowed; the lock stops what opens.

Rules of writing: a temporary file in the same folder, fsync, rename, fsync of the folder, so that
a reader sees the old document or the new one and never a part. The content comes from the caller;
the writer adds the heartbeat. An older document never replaces a newer one. When the disk hangs,
the caller may put a document in place that the disk has not confirmed: bots see it at once, and a
power cut may leave a file that they cannot read, which means locked.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

VERSION = 2
"""The form of the document that this file writes and understands."""

HEARTBEAT_MAX_AGE_S = 60.0
"""How long bots may trust a document: several ticks, also with slow venues."""

_FILE_MODE = 0o644
"""Bots may run as other users; they read, only the guard writes."""

_EVERY_SCOPE = "*"
_OPERATOR_REASON = "operator_"
_FOREVER_TS = 253402300799.0

EXIT_FREE = 0
EXIT_LOCKED = 1
EXIT_NO_ANSWER = 2


class LockWriteError(OSError):
    """The lock file could not be replaced; bots still see the previous document."""


class LockFile:
    """The guard's side of the lock file. One writer at a time; calls from any thread.

    `mirror` is told the text of every document and its sequence before the disk is, on the thread
    that writes: what the disk does with it is then no matter. It must not wait.
    """

    def __init__(
        self,
        path: Path,
        *,
        pid: int,
        host: str,
        now: Callable[[], float] = time.time,
        mirror: Callable[[str, int], None] | None = None,
    ) -> None:
        self._path = path
        self._pid = pid
        self._host = host
        self._now = now
        self._mirror = mirror
        self._order = threading.Lock()
        self._renaming = threading.Lock()
        self._sequence: int | None = None
        self._written = -1

    @property
    def path(self) -> Path:
        """Where the document lies."""
        return self._path

    def replace(self, document: Mapping[str, object], *, is_confirmed: bool = True) -> None:
        """Put `document` with a fresh heartbeat in place of what bots read now.

        A call that a later call has overtaken (its disk hung meanwhile) changes nothing.
        `is_confirmed=False` does not wait for the disk. Raises LockWriteError when the file cannot
        be written; the previous document then still stands.
        """
        with self._order:
            if self._sequence is None:
                self._sequence = self._last_sequence()
                self._remove_leftovers()
            self._sequence += 1
            sequence = self._sequence
        content = {
            **document,
            "heartbeat_ts": self._now(),
            "heartbeat_max_age_s": HEARTBEAT_MAX_AGE_S,
            "pid": self._pid,
            "host": self._host,
            "sequence": sequence,
        }
        try:
            text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise LockWriteError(f"{self._path}: no lock document: {error}") from error
        if self._mirror is not None:
            self._mirror(text, sequence)
        self._write(text, sequence, is_confirmed=is_confirmed)

    def _write(self, text: str, sequence: int, *, is_confirmed: bool) -> None:
        """Write beside the file, then rename over it; leaves no temporary file behind."""
        folder = self._path.parent
        temporary = folder / f"{self._prefix}{self._pid}-{sequence}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), _FILE_MODE)
                file.write(text)
                file.flush()
                if is_confirmed:
                    os.fsync(file.fileno())
            # Not around the write: one whose disk hangs must not keep a later one from its place.
            with self._renaming:
                if sequence > self._written:
                    temporary.replace(self._path)
                    self._written = sequence
            if is_confirmed:
                _sync_folder(folder)
        except OSError as error:
            why = error.strerror or str(error)
            raise LockWriteError(error.errno, f"{self._path}: {why}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    @property
    def _prefix(self) -> str:
        return f".{self._path.name}."

    def _last_sequence(self) -> int:
        """The sequence of the document that stands there, 0 when there is none to read."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8")).get("sequence")
        except (OSError, ValueError, AttributeError, RecursionError):
            return 0
        return found if isinstance(found, int) and not isinstance(found, bool) else 0

    def _remove_leftovers(self) -> None:
        """Remove temporary files of writers that died; the state lock allows one writer only."""
        with suppress(OSError):
            for entry in list(self._path.parent.iterdir()):
                if entry.name.startswith(self._prefix) and entry.name.endswith(".tmp"):
                    entry.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class LockState:
    """What a bot needs to know. `reason` is empty when it may trade.

    `expires_ts` is the latest expiry of the locks that bind, 0.0 when the reason is the file
    itself. `heartbeat_age_s` is None when the file could not be read.
    """

    locked: bool
    reason: str = ""
    mode: str = "none"
    stage: int = 0
    expires_ts: float = 0.0
    heartbeat_age_s: float | None = None

    @property
    def is_answer(self) -> bool:
        """False when the file itself is the reason: missing, unreadable, foreign or stale."""
        return not self.locked or self.expires_ts > 0.0

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        if not self.is_answer:
            return EXIT_NO_ANSWER
        return EXIT_LOCKED if self.locked else EXIT_FREE


def is_locked(path: str | os.PathLike[str], *, now: float | None = None) -> bool:
    """True when no bot may open anything; never raises for what is wrong with the file."""
    return read_lock(path, now=now).locked


def read_lock(
    path: str | os.PathLike[str],
    *,
    scope: str | None = None,
    now: float | None = None,
    max_age_s: float | None = None,
) -> LockState:
    """Read the lock for one scope, or for all when `scope` is None.

    A scope is bound by its own locks, by those for every scope, and by the operator's. `now` is
    UTC seconds (the machine's clock when None); `max_age_s` replaces the document's own limit on
    the age of its heartbeat. Everything that is wrong with the file means locked, with a reason
    that begins with `lock_`.
    """
    at = time.time() if now is None else now
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return LockState(locked=True, reason="lock_missing")
    except (OSError, ValueError, RecursionError):
        return LockState(locked=True, reason="lock_unreadable")
    if not isinstance(document, dict):
        return LockState(locked=True, reason="lock_unreadable")
    if document.get("version") != VERSION:
        return LockState(locked=True, reason="lock_version")
    heartbeat = _number(document.get("heartbeat_ts"))
    limit = _number(document.get("heartbeat_max_age_s")) if max_age_s is None else max_age_s
    if heartbeat is None or limit is None:
        return LockState(locked=True, reason="lock_unreadable")
    # A heartbeat from the future would keep a dead guard looking alive.
    if abs(at - heartbeat) > limit:
        return LockState(locked=True, reason="lock_stale", heartbeat_age_s=at - heartbeat)
    return _judge(document, scope=scope, at=at, age_s=at - heartbeat)


def _judge(document: dict[str, object], *, scope: str | None, at: float, age_s: float) -> LockState:
    """Judge a document whose heartbeat is fresh."""
    locks = document.get("locks")
    claim = document.get("locked")
    expiry = _number(document.get("expires_ts"))
    if not isinstance(claim, bool) or not isinstance(locks, list) or expiry is None:
        return LockState(locked=True, reason="lock_unreadable", heartbeat_age_s=age_s)
    if not claim and not locks:
        return LockState(locked=False, heartbeat_age_s=age_s)
    # The top level is the most severe lock with the latest expiry, so it answers for all scopes;
    # a document whose two halves disagree is judged by the half that locks.
    is_about_all = scope is None or not (claim and locks)
    candidates = [document, *locks] if is_about_all else locks
    binding: list[tuple[dict[str, object], float]] = []
    for lock in candidates:
        expires_ts = _number(lock.get("expires_ts")) if isinstance(lock, dict) else None
        if expires_ts is None:
            return LockState(locked=True, reason="lock_unreadable", heartbeat_age_s=age_s)
        if expires_ts > at and (lock is document or _binds(lock, scope)):
            binding.append((lock, expires_ts))
    if not binding:
        return LockState(locked=False, heartbeat_age_s=age_s)
    first = binding[0][0]
    stage = _number(first.get("stage"))
    return LockState(
        locked=True,
        reason=str(first.get("reason") or "lock_without_reason"),
        mode=str(first.get("mode")),
        stage=0 if stage is None else int(stage),
        expires_ts=max(expires_ts for _, expires_ts in binding),
        heartbeat_age_s=age_s,
    )


def _binds(lock: dict[str, object], scope: str | None) -> bool:
    """True when this lock stops a bot of `scope`."""
    if scope is None or lock.get("scope") in (scope, _EVERY_SCOPE):
        return True
    return lock.get("mode") == "kill" or str(lock.get("reason")).startswith(_OPERATOR_REASON)


def _number(value: object) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


_HELP = """\
Ask whether a bot may open positions. For bots in any language:

    python3 trading_lock.py /path/to/trading_lock.json && place_the_order

Anything but 0 means: open nothing. Closing is always allowed.
"""
_EXITS = """\
exit code:
  0  free: a living guard says that nothing binds this bot
  1  locked: a lock binds it, and the line says which and until when
  2  no answer: the file is missing, torn, of another version, or older than its heartbeat
     allows, which means that nobody is guarding; wrong usage also exits 2

Ask before every order and use the answer at once: it is true now and not in a minute.
"""


def main(arguments: Sequence[str] | None = None, *, now: float | None = None) -> int:
    """Read the lock for the command line, print one line, and return the exit code."""
    import argparse  # noqa: PLC0415 - a bot that imports this file needs no command line

    parser = argparse.ArgumentParser(
        prog="trading_lock.py",
        description=_HELP,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="PATH", help="the guard's trading_lock_file")
    parser.add_argument(
        "--scope",
        metavar="BOOK",
        help="the book the bot trades on, spelt as in `status`; without it every lock binds",
    )
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    asked = parser.parse_args(arguments)
    state = read_lock(asked.path, scope=asked.scope, now=now)
    if asked.json:
        print(json.dumps({"is_answer": state.is_answer, **asdict(state)}))
    else:
        print(_line(state))
    return state.exit_code


def _line(state: LockState) -> str:
    """The answer in one line of plain ASCII, whatever the reason holds."""
    age = "" if state.heartbeat_age_s is None else f"  heartbeat {state.heartbeat_age_s:.0f} s old"
    if not state.locked:
        return f"free{age}"
    reason = " ".join(state.reason.split()).encode("ascii", "backslashreplace").decode()
    if not state.is_answer:
        return f"no answer  {reason}{age}"
    if state.expires_ts >= _FOREVER_TS:
        return f"locked  {reason}  until it is lifted{age}"
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(state.expires_ts))
    return f"locked  {reason}  until {until}{age}"


if __name__ == "__main__":
    sys.exit(main())
