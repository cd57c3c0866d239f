"""Notices that the machine's clock was set within a run (behaviour.md section 6).

Knows no clock itself: it is told both times. What follows from a jump is `decision`'s to say.
"""

from __future__ import annotations

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
