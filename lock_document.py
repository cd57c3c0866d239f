"""Reading our own lock document back, for the day its database is gone.

The lock file is then the only record of which stages stand (behaviour.md section 6), so nothing
in it is guessed: a document that is not wholly ours and sound raises ValueError, and the caller
treats it as unreadable. The writing direction is `LockContent.to_document`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from model import LOCK_VERSION, LockEntry, LockMode, Stage


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
