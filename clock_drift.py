"""Notices that the machine's clock was set, and moves what is remembered along with it.

Owns the last rule but one of behaviour.md section 6: when wall clock and monotonic clock drift
apart by more than 30 s within a run, deadlines move with the wall clock, so that what was left of
them stays left. Knows no clock itself: it is told both times.
"""

from __future__ import annotations

from dataclasses import replace

from memory import AuditEntry, Memory, Records, Severity
from stage_recovery import shift_deadlines
from trust import move_times

MAX_DRIFT_S = 30.0
"""More than a time server corrects in one step of its daily work, less than any deadline."""


class DriftWatch:
    """Compares the two clocks of one run."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def find_jump(self, *, now: float, monotonic: float) -> float:
        """By how many seconds the wall clock moved since it was last in step; 0 while it is."""
        offset_s = now - monotonic
        if self._offset_s is None:
            self._offset_s = offset_s
        moved_s = offset_s - self._offset_s
        if abs(moved_s) <= MAX_DRIFT_S:
            return 0.0
        self._offset_s = offset_s
        return moved_s


def move_memory(memory: Memory, *, by_s: float, now: float) -> tuple[Memory, Records]:
    """Move histories and deadlines by the same amount; returns the memory and what to record."""
    scopes = tuple(move_times(scope, by_s=by_s) for scope in memory.scopes)
    books = tuple(shift_deadlines(book, by_s=by_s) for book in memory.books)
    moved = replace(memory, scopes=scopes, books=books)
    entry = AuditEntry(
        at=now,
        scope="*",
        event="clock_moved",
        message=f"the machine's clock moved by {by_s:+.0f} s against elapsed time; "
        "deadlines moved with it",
        severity=Severity.WARNING,
        details=(("moved_s", round(by_s, 3)),),
    )
    return moved, Records(scopes=scopes, books=books, audits=(entry,))
