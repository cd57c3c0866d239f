"""The lock document: what it says, and how it is read back.

Pure. Owns the lock entries as values, the order of their severity, and both directions between
them and the plain mapping that `trading_lock.py` writes (behaviour.md section 11).

A document is read back on the day its database is gone. The lock file is then the only record of
which stages stand (section 6), so nothing in it is guessed: a document that is not wholly ours and
sound raises ValueError, and the caller treats it as unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from model import Stage

FOREVER_TS = 253402300799.0
"""9999-12-31T23:59:59Z: the expiry of a lock that only rewriting lifts (behaviour.md 11)."""


LOCK_VERSION = 2
"""The form of the lock document; readers treat any other as locked."""

EVERY_BOOK = "*"
"""The scope of a lock that binds every bot."""

TROUBLE = "trouble_"
"""How the keys of `details` begin that say what fails on the guard's own machine."""
NOT_WATCHED = "not_watched_"
"""How those begin that name what has keys, or is the same owner's, and is not guarded."""
CLOSING = "closing"
"""What a stage's lock says in its details while its close is not confirmed."""
HINDRANCE = "hinders_"
"""How those begin that say what would hinder or surprise a close."""


class LockMode(StrEnum):
    """Why bots must stop; the order of severity is `LOCK_SEVERITY`."""

    NONE = "none"
    PAUSE = "pause"
    BLIND = "blind"
    REGIME = "regime"
    STAGE = "stage"
    HALT = "halt"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """One active lock. `scope` is the book's name, or `*` for every book."""

    scope: str
    stage: Stage
    mode: LockMode
    reason: str
    created_ts: float
    expires_ts: float
    manual_reset_required: bool = False
    dry_run: bool = False
    details: tuple[tuple[str, str], ...] = ()

    @property
    def severity(self) -> int:
        """Rank: kill > stage 3 > halt > stage 2 > stage 1 > regime > blind > pause."""
        match self.mode:
            case LockMode.KILL:
                return 8
            case LockMode.STAGE if self.stage >= Stage.ALL_CLOSED:
                return 7
            case LockMode.HALT:
                return 6
            case LockMode.STAGE:
                return 5 if self.stage is Stage.DOMINANT_CLOSED else 4
            case LockMode.REGIME:
                return 3
            case LockMode.BLIND:
                return 2
            case LockMode.PAUSE:
                return 1
            case LockMode.NONE:
                return 0
            case _:
                assert_never(self.mode)

    def to_document(self) -> dict[str, object]:
        """This lock as the plain mapping that the lock file and the database hold."""
        return {
            "scope": self.scope,
            "stage": int(self.stage),
            "mode": self.mode.value,
            "reason": self.reason,
            "created_ts": self.created_ts,
            "expires_ts": self.expires_ts,
            "manual_reset_required": self.manual_reset_required,
            "dry_run": self.dry_run,
            "details": dict(self.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LockContent:
    """What the lock file must say: the locks that bind bots, and those a dry run would set."""

    locks: tuple[LockEntry, ...] = ()
    would_lock: tuple[LockEntry, ...] = ()
    dry_run: bool = False
    details: tuple[tuple[str, str], ...] = field(default_factory=tuple)

    @property
    def is_locked(self) -> bool:
        """True when at least one lock binds the bots."""
        return bool(self.locks)

    def to_document(self, now: float) -> dict[str, object]:
        """The lock file's content at `now`, without what only the writer knows (behaviour.md 11).

        The top level speaks for the most severe lock, with the latest expiry of all, so that a bot
        that reads nothing else is stopped. Without a lock it says `none` and has expired at 0; its
        `created_ts` is then `now`. Locks stay until they are taken away: one that has expired but
        still stands here keeps `locked` true, and the expiry frees the bots. `locks` begins with
        the most severe.
        """
        worst = max(
            self.locks,
            key=lambda lock: (lock.severity, lock.expires_ts, lock.scope),
            default=LockEntry(
                scope=EVERY_BOOK,
                stage=Stage.NORMAL,
                mode=LockMode.NONE,
                reason="",
                created_ts=now,
                expires_ts=0.0,
            ),
        )
        return {
            "version": LOCK_VERSION,
            "locked": self.is_locked,
            **worst.to_document(),
            "expires_ts": max((lock.expires_ts for lock in self.locks), default=0.0),
            "manual_reset_required": any(lock.manual_reset_required for lock in self.locks),
            "dry_run": self.dry_run,
            "details": {**dict(worst.details), **dict(self.details)},
            "locks": [
                lock.to_document()
                for lock in sorted(self.locks, key=lambda lock: lock.severity, reverse=True)
            ],
            "would_lock": [lock.to_document() for lock in self.would_lock],
        }


def parse_lock_entries(document: Mapping[str, object]) -> tuple[LockEntry, ...]:
    """The active locks of a document, in its order; expired ones included.

    Raises ValueError for another version, a missing or ill-typed field, or a document that says
    `locked` without naming a lock.
    """
    if document.get("version") != LOCK_VERSION:
        raise ValueError(f"lock document of version {document.get('version')!r}")
    is_locked = document.get("locked")
    items = document.get("locks")
    if not isinstance(is_locked, bool) or not isinstance(items, list):
        raise ValueError("lock document without `locked` or `locks`")
    if is_locked != bool(items):
        raise ValueError("lock document contradicts itself")
    return tuple(parse_lock_entry(item) for item in items)


def parse_lock_entry(item: object) -> LockEntry:
    """One lock from its mapping; raises ValueError when a field is missing or makes no sense."""
    if not isinstance(item, Mapping):
        raise ValueError("a lock is not a mapping")
    details = item.get("details")
    if not isinstance(details, Mapping):
        raise ValueError("a lock without details")
    return LockEntry(
        scope=_text(item, "scope"),
        stage=Stage(int(_number(item, "stage"))),
        mode=LockMode(_text(item, "mode")),
        reason=_text(item, "reason"),
        created_ts=_number(item, "created_ts"),
        expires_ts=_number(item, "expires_ts"),
        manual_reset_required=_claim(item, "manual_reset_required"),
        dry_run=_claim(item, "dry_run"),
        details=tuple((str(name), str(value)) for name, value in details.items()),
    )


def _text(item: Mapping[object, object], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise ValueError(f"a lock whose {name} is no text")
    return value


def _number(item: Mapping[object, object], name: str) -> float:
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a lock whose {name} is no number")
    # Written so that NaN fails too, and an integer too large for a float needs no conversion.
    if not abs(value) < math.inf:
        raise ValueError(f"a lock whose {name} is not finite")
    return value


def _claim(item: Mapping[object, object], name: str) -> bool:
    value = item.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"a lock whose {name} is neither true nor false")
    return value
