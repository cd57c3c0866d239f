"""How near a book is to its next stage, in two steps that do not flap.

Pure. Owns the two levels of warning before anything acts: half of a threshold, and most of it. A
level is told when it is reached, and once more only after the drawdown was clearly below it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from alerts import HALF_WAY, NEAR
from drawdown import WindowDrawdown
from memory import AuditEntry, Severity
from model import BookName
from openings import say_window


class Level(IntEnum):
    """How much of a threshold the drawdown is."""

    CALM = 0
    HALF = 1
    NEAR = 2


SHARES = {Level.HALF: 0.5, Level.NEAR: 0.8}
SLACK = 0.1
"""So far below its share of the threshold a level ends: equity that trembles tells it once."""

_SAID = {Level.HALF: (HALF_WAY, Severity.INFO), Level.NEAR: (NEAR, Severity.WARNING)}


def nearest(drawdowns: Iterable[WindowDrawdown]) -> WindowDrawdown | None:
    """The drawdown that is nearest to its threshold among those that are judged."""
    judged = (drawdown for drawdown in drawdowns if drawdown.is_judged)
    return max(judged, key=lambda drawdown: drawdown.severity, default=None)


def advance(level: Level, share: float) -> Level:
    """The level after a look that showed `share` of a threshold (1 is a breach)."""
    reached = max((to for to, least in SHARES.items() if share >= least), default=Level.CALM)
    held = max((to for to, least in SHARES.items() if share >= least - SLACK), default=Level.CALM)
    return max(reached, min(level, held))


def audit_of(
    book: BookName, level: Level, found: WindowDrawdown, *, equity: float, at: float, dry_run: bool
) -> AuditEntry:
    """What is told of a level that was reached; `level` is not CALM. It stands in no audit."""
    event, severity = _SAID[level]
    window = say_window(found.window_s)
    return AuditEntry(
        at=at,
        scope=book,
        event=event,
        message=f"drawdown {found.fraction:.2%} over {window}; {found.stage.name} acts at "
        f"{found.threshold:.2%}; equity {equity:,.2f}, its peak was {found.peak_equity:,.2f}",
        dry_run=dry_run,
        severity=severity,
    )
