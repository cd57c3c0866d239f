"""Half of a threshold and most of it: told once each, and again only after a clear way back."""

from __future__ import annotations

import pytest

from approach import SHARES, Level, Levels, advance, audit_of, look
from drawdown import WindowDrawdown
from memory import AuditEntry, Severity
from model import Stage
from tests.decision_values import BOOK, NOON

ONE, TWO, THREE = Stage.REDUCED_TOP_RISK, Stage.DOMINANT_CLOSED, Stage.ALL_CLOSED
CALM, HALF, NEAR = Level.CALM, Level.HALF, Level.NEAR


def drawdown(
    fraction: float, threshold: float = 0.045, *, stage: Stage = ONE, is_judged: bool = True
) -> WindowDrawdown:
    """The drawdown of a stage over a quarter of an hour, from a peak of 10,000."""
    return WindowDrawdown(
        stage=stage,
        window_s=900.0,
        threshold=threshold,
        fraction=fraction,
        peak=None,
        peak_equity=10_000.0,
        is_breach=fraction >= threshold,
        is_judged=is_judged,
    )


@pytest.mark.parametrize(
    ("level", "share", "expected"),
    [
        (CALM, 0.0, CALM),
        (CALM, 0.49, CALM),
        (CALM, 0.5, HALF),
        (CALM, 0.85, NEAR),
        (CALM, 1.3, NEAR),
        (HALF, 0.79, HALF),
        (HALF, 0.8, NEAR),
        (HALF, 0.41, HALF),
        (HALF, 0.39, CALM),
        (NEAR, 0.71, NEAR),
        (NEAR, 0.69, HALF),
        (NEAR, 0.41, HALF),
        (NEAR, 0.0, CALM),
    ],
)
def test_levels_rise_at_once_and_fall_with_slack(
    level: Level, share: float, expected: Level
) -> None:
    """A level is reached at 0.5 and 0.8 and left below 0.4 and 0.7."""
    assert advance(level, share) is expected


def test_a_drawdown_that_trembles_around_a_level_reaches_it_once() -> None:
    """0.49 to 0.52 and back, twenty times: one alert."""
    level, told = CALM, 0
    for share in (0.49, 0.52) * 20:
        before, level = level, advance(level, share)
        told += level > before
    assert told == 1


def test_a_way_back_arms_the_level_again() -> None:
    """Two falls with a recovery between them are two alerts."""
    level, told = CALM, 0
    for share in (0.55, 0.3, 0.55):
        before, level = level, advance(level, share)
        told += level > before
    assert told == 2
    assert set(SHARES) == {HALF, NEAR}


def three(fraction: float) -> tuple[WindowDrawdown, ...]:
    """One drawdown against 4.5, 7 and 10 %."""
    thresholds = {ONE: 0.045, TWO: 0.07, THREE: 0.10}
    return tuple(drawdown(fraction, least, stage=stage) for stage, least in thresholds.items())


def test_of_each_stage_the_nearest_window_counts_and_only_where_a_book_is_judged() -> None:
    """2.4 % of 4.5 % is nearer than 3 % of 7 %; an empty account is near to nothing."""
    far, near = drawdown(0.03, 0.07), drawdown(0.024)
    assert look({}, (near, far)).found is near
    assert look({}, (far, near)).level is HALF
    unjudged = look({ONE: HALF}, (drawdown(0.04, is_judged=False),))
    assert (unjudged.found, dict(unjudged.levels)) == (None, {ONE: HALF})
    assert look({}, ()).found is None


def test_a_stage_that_has_acted_does_not_hide_the_next() -> None:
    """A fall of 10 % in steps: of each stage half of its way and most of it, where they are."""
    levels: Levels = {}
    told: list[tuple[float, Level, Stage]] = []
    for fraction in (0.023, 0.037, 0.046, 0.05, 0.057, 0.071, 0.081, 0.1):
        seen = look(levels, three(fraction))
        levels = seen.levels
        told += [] if seen.found is None else [(fraction, seen.level, seen.found.stage)]
    assert told == [
        (0.023, HALF, ONE),
        (0.037, NEAR, ONE),
        (0.05, HALF, THREE),
        (0.057, NEAR, TWO),
        (0.081, NEAR, THREE),
    ]


def test_a_fall_in_one_step_is_one_alert_of_the_gravest_stage() -> None:
    """8.5 % at once: all three are near, and what everybody must know is that all may be closed."""
    seen = look({}, three(0.085))
    assert (seen.level, seen.found and seen.found.stage) == (NEAR, THREE)
    assert set(seen.levels.values()) == {NEAR}


@pytest.mark.parametrize(
    ("level", "event", "severity"),
    [(HALF, "threshold_half", Severity.INFO), (NEAR, "threshold_near", Severity.WARNING)],
)
def test_what_is_told_has_the_figures(level: Level, event: str, severity: Severity) -> None:
    """How far it fell, over which window, and what happens where."""
    told = audit_of(BOOK, level, drawdown(0.0225), equity=9_775.0, at=NOON, dry_run=True)
    assert told == AuditEntry(
        at=NOON,
        scope=BOOK,
        event=event,
        message="drawdown 2.25% over 15m; REDUCED_TOP_RISK acts at 4.50%; "
        "equity 9,775.00, its peak was 10,000.00",
        stage=ONE,
        dry_run=True,
        severity=severity,
    )
