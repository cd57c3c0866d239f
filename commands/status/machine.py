"""What fails around the guard, as `status` says it: each trouble with what to do.

The guard names its troubles in the lock document. What it cannot even write there shows as files
that have grown old while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from commands.status.lock import LockFileView
from commands.status.wording import say_span
from policy import Policy
from state_lock import Holder
from store.views import StoreStatus

LATE_WRITE_S = 30.0
"""A guard writes its lock every 10 s, and its readings with every tick: at most 30 s apart."""

_REMEDIES = {
    "store": ("database", "what waits is lost if the guard ends first: see to the disk, then wait"),
    "store_upkeep": ("database upkeep", "old readings stay in the file: see to the disk"),
    "lock": ("lock file", "bots may see an older lock: see to its folder and its disk"),
    "room": ("room", "make some before the next lock finds none"),
    "descriptors": ("files", "restart the guard soon and allow it more open files"),
    "ledger": (
        "records",
        "a withdrawal would be taken for a loss: let the key read transfers and account records",
    ),
}


def say_troubles(lock: LockFileView) -> Iterator[str]:
    """One line for each trouble that the guard has named in its lock document."""
    for name, why in lock.troubles:
        kind, _, scope = name.partition(" ")
        word, remedy = _REMEDIES.get(kind, (kind, "see its log"))
        yield f"{word}{scope and f' of {scope}'}: {why} -> {remedy}"


def warn_of_machine(
    lock: LockFileView,
    stored: StoreStatus,
    holder: Holder | None,
    *,
    policy: Policy,
    now: float,
) -> Iterator[str]:
    """What fails while a guard runs; a dead one's troubles have ended with it."""
    if holder is None:
        return
    yield from say_troubles(lock)
    silent_s = 0.0 if stored.written_at is None else now - stored.written_at
    if silent_s > max(LATE_WRITE_S, 3 * policy.poll_s):
        yield (
            f"the database has not been written for {say_span(silent_s)}: what stands below is as "
            "old, what has happened since stands in the guard's log"
        )
