"""Forty minutes at a venue that fails a fifth of all requests, and then a crash.

`make soak` runs the same for a day and longer, and measures what it costs.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import soak
from benchmarks.bad_day import CRASH_SHARE
from benchmarks.hourly import Hour
from benchmarks.soak import Plan, Report
from tests.virtual_house import play

FAILED_AT_LEAST = 5
"""Of each kind of trouble in forty minutes."""


def run(folder: Path, plan: Plan) -> tuple[Report, list[Hour]]:
    """Soak without a log."""
    hours: list[Hour] = []

    async def story() -> Report:
        return await soak.soak(folder, plan, hours.append)

    return play(story), hours


def test_noise_triggers_nothing_and_a_crash_is_met_in_the_midst_of_it(tmp_path: Path) -> None:
    """Deposits, withdrawals and a bot all along; then 12 % of the account within a minute."""
    plan = Plan(seed=11, positions=8, crash_at=40 / 60, is_logged=False)
    report, (hour,) = run(tmp_path, plan)
    assert (hour.triggers, hour.closes, hour.stage) == (0, 0, 0)
    assert hour.trusted > 300
    assert hour.dark > 30
    assert min(report.failed.values()) >= FAILED_AT_LEAST
    crash = report.crash
    assert crash is not None
    assert crash.first_close_s is not None
    assert crash.first_close_s < 30
    assert crash.settled_s is not None
    assert crash.lost_share < CRASH_SHARE
    assert crash.wrong == ()
    assert report.is_fine
