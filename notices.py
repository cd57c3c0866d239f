"""What the guard found while it was calm, shown in the lock document for as long as it holds.

Nobody may read the log; whoever opens `status` sees what stands here. Bots may ignore it.
"""

from __future__ import annotations

from lock_document import HINDRANCE, NOT_WATCHED
from model import ScopeId


class Notices:
    """The latest line of each kind for each account; an empty line is none."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def show_hindrances(self, scope: ScopeId, line: str) -> None:
        """Show what would hinder or surprise a close on an account."""
        self._lines[f"{HINDRANCE}{scope}"] = line

    def show_unwatched(self, scope: ScopeId, line: str) -> None:
        """Show what of an account's venue is not watched."""
        self._lines[f"{NOT_WATCHED}{scope}"] = line

    def details(self) -> dict[str, str]:
        """The entries for the lock document, empty while there is nothing to show."""
        return {name: line for name, line in self._lines.items() if line}
