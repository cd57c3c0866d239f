"""The lock file as `status` shows it: what stands in it, and what a bot makes of it.

The file itself is read, not what the database thinks it says: bots see nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lock_document import (
    HINDRANCE,
    NOT_WATCHED,
    TROUBLE,
    LockEntry,
    parse_lock_entries,
    parse_lock_entry,
)
from trading_lock import HEARTBEAT_MAX_AGE_S, LockState, read_lock

STALE = "lock_stale"
MISSING = "lock_missing"
_UNREAD = "unread_"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFileView:
    """One look at the lock file.

    `strict` is what the strict reader of `trading_lock.py` tells a bot that asks for every scope.
    `locked` and `expires_ts` are what a bot sees that reads only the top level; `locked` is None
    when there is no document to read. `heartbeat_age_s` is None without a heartbeat. `details` are
    the document's own.
    """

    path: Path
    strict: LockState
    locked: bool | None = None
    expires_ts: float = 0.0
    heartbeat_ts: float | None = None
    heartbeat_age_s: float | None = None
    heartbeat_max_age_s: float = HEARTBEAT_MAX_AGE_S
    pid: int | None = None
    dry_run: bool | None = None
    locks: tuple[LockEntry, ...] = ()
    would_lock: tuple[LockEntry, ...] = ()
    details: tuple[tuple[str, str], ...] = ()

    @property
    def is_readable(self) -> bool:
        """True when there is a document of this version, whatever its age."""
        return self.locked is not None

    @property
    def is_stale(self) -> bool:
        """True when the heartbeat is older than bots accept, or lies in the future by as much."""
        return self.strict.reason == STALE

    @property
    def not_watched(self) -> tuple[str, ...]:
        """What the guard which wrote this found and does not watch: accounts, other wallets."""
        return tuple(line for name, line in self.details if name.startswith(NOT_WATCHED))

    @property
    def hindrances(self) -> tuple[str, ...]:
        """What would hinder or surprise a close, as the guard found when this was written."""
        return tuple(line for name, line in self.details if name.startswith(HINDRANCE))

    @property
    def troubles(self) -> tuple[tuple[str, str], ...]:
        """What failed on the guard's machine when this was written: name, since when and why."""
        return tuple(
            (name.removeprefix(TROUBLE), why)
            for name, why in self.details
            if name.startswith(TROUBLE)
        )

    @property
    def unread(self) -> Mapping[str, str]:
        """Why each account that the guard could not read last was not read."""
        return {
            name.removeprefix(_UNREAD): why
            for name, why in self.details
            if name.startswith(_UNREAD)
        }


def look_at_lock(path: Path, *, now: float) -> LockFileView:
    """Read the lock file; never raises for what is wrong with it."""
    strict = read_lock(path, now=now)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _view(path, document, strict=strict, now=now)
    except (OSError, ValueError, AttributeError, OverflowError, RecursionError):
        return LockFileView(path=path, strict=strict)


def _view(
    path: Path, document: Mapping[str, object], *, strict: LockState, now: float
) -> LockFileView:
    """Take a sound document apart; ValueError for anything that is not wholly ours."""
    locks = parse_lock_entries(document)
    would_lock = document.get("would_lock", [])
    details = document.get("details", {})
    if not isinstance(would_lock, list) or not isinstance(details, Mapping):
        raise ValueError("lock document with ill-typed would_lock or details")
    heartbeat_ts = _number(document, "heartbeat_ts")
    pid, dry_run = document.get("pid"), document.get("dry_run")
    return LockFileView(
        path=path,
        strict=strict,
        locked=bool(document["locked"]),
        expires_ts=_number(document, "expires_ts"),
        heartbeat_ts=heartbeat_ts,
        heartbeat_age_s=now - heartbeat_ts,
        heartbeat_max_age_s=_number(document, "heartbeat_max_age_s"),
        pid=pid if isinstance(pid, int) else None,
        dry_run=dry_run if isinstance(dry_run, bool) else None,
        locks=locks,
        would_lock=tuple(parse_lock_entry(item) for item in would_lock),
        details=tuple((str(name), str(value)) for name, value in details.items()),
    )


def _number(document: Mapping[str, object], name: str) -> float:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"lock document whose {name} is no number")
    if not math.isfinite(value):
        raise ValueError(f"lock document whose {name} is not finite")
    return float(value)
