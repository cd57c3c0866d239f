"""The log of a run: every call with its answer, every commit, lock and transition, and its hash.

Two runs of one seed are the same run when their hashes are. The lines themselves are kept only
when somebody wants to read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(slots=True)
class Trace:
    """Takes lines as they happen; `digest` tells them from any others."""

    is_kept: bool = False
    lines: list[str] = field(default_factory=list)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def note(self, at_s: float, kind: str, text: str) -> None:
        """Add a line: the time of the story, what kind of thing happened, and what."""
        line = f"{at_s:9.3f}  {kind:<9} {text}"
        self._hash.update(line.encode())
        if self.is_kept:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        """The first half of the hash of all lines so far."""
        return self._hash.hexdigest()[:32]
