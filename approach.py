"""How near a book is to each of its stages, in two steps that do not flap.

Pure. Owns the two levels of warning before anything acts: half of a threshold, and most of it. A
level is told when it is reached, and once more only after the drawdown was clearly below it. Each
stage has a level of its own: a stage that has acted must not hide that the next one is near. Of
what is reached with one look the highest level is told, and of equals that of the gravest stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from alerts import HALF_WAY, NEAR
from drawdown import WindowDrawdown
from memory import AuditEntry, Severity
from model import BookName, Stage
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


Levels = Mapping[Stage, Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The levels after a look, and the one that was reached with it and is to be told."""

    levels: Levels
    level: Level = Level.CALM
    found: WindowDrawdown | None = None


def look(levels: Levels, drawdowns: Iterable[WindowDrawdown]) -> Look:
    """Judge the drawdowns of a book; of each stage the window nearest to its threshold counts.

    What is not judged changes no level.
    """
    judged = sorted((one for one in drawdowns if one.is_judged), key=lambda one: one.severity)
    found = {one.stage: one for one in judged}
    before = {stage: levels.get(stage, Level.CALM) for stage in found}
    after = {stage: advance(before[stage], found[stage].severity) for stage in found}
    reached = [stage for stage in found if after[stage] > before[stage]]
    if not reached:
        return Look(levels={**levels, **after})
    told = max(reached, key=lambda stage: (after[stage], stage))
    return Look(levels={**levels, **after}, level=after[told], found=found[told])


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
        stage=found.stage,
        dry_run=dry_run,
        severity=severity,
    )
