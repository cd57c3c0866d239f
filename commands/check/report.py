"""What `check` has to say, as one frozen value; screen and JSON are two ways to write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from close_previews import StageDistance, StagePreview
from findings import Finding, Level
from inspection import Inspection
from model import Reading, ScopeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeCheck:
    """One account: what was read of it and what that means.

    `place` is where it lives (`live`, `simulator`, `sandbox`, `demo`). `reading` and `inspection`
    are None when there is none; `orders` and `markets` are how many there are, None when they could
    not be read.
    """

    scope: ScopeId
    exchange: str
    place: str
    reading: Reading | None
    orders: int | None
    markets: int | None
    inspection: Inspection | None
    findings: tuple[Finding, ...]
    previews: tuple[StagePreview, ...] = ()
    distances: tuple[StageDistance, ...] = ()

    def count(self, level: Level) -> int:
        """How many findings are of that level."""
        return sum(finding.level is level for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything `check` shows.

    `pid` is the guard that runs beside it, 0 when one runs that does not tell, None without one.
    `machine` is about the guard's own files, `between` about accounts taken together and those
    that have keys and no guard, `alerts` about the targets that a test message was sent to.
    """

    now: float
    config: str
    dry_run: bool
    pid: int | None
    machine: tuple[Finding, ...]
    scopes: tuple[ScopeCheck, ...]
    between: tuple[Finding, ...]
    alerts: tuple[Finding, ...] = ()

    def findings(self) -> Iterator[Finding]:
        """Every finding of every part."""
        yield from self.machine
        for scope in self.scopes:
            yield from scope.findings
        yield from self.between
        yield from self.alerts

    def count(self, level: Level) -> int:
        """How many findings are of that level, over all parts."""
        return sum(finding.level is level for finding in self.findings())

    @property
    def has_fault(self) -> bool:
        """Whether anything must be set right."""
        return self.count(Level.FAULT) > 0
