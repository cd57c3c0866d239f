"""Forty minutes at a venue that fails a fifth of all requests, then a crash; and what judges it.

`make soak` runs the same for a day and longer, and measures what it costs.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.bad_day import CRASH_SHARE, FailingVenue, Truth, furnish
from benchmarks.hourly import Aside, Hour, Meter
from benchmarks.soak import Claim, Plan, Report, resource_claims
from errors import Malformed, Unavailable
from tests.memory_venue import SCOPE
from tests.virtual_house import play

FAILED_AT_LEAST = 5
"""Of each kind of trouble with reading in forty minutes."""
MIDST = Plan(seed=14, positions=8, crash_at=40 / 60, is_logged=False)


def run(folder: Path, plan: Plan) -> tuple[Report, list[Hour]]:
    """Soak; gives the report and the hours as they were told."""
    told: list[Hour] = []

    async def story() -> Report:
        return await soak.soak(folder, plan, told.append)

    return play(story), told


def test_noise_triggers_nothing_and_a_crash_in_the_midst_of_it_is_met(tmp_path: Path) -> None:
    """Deposits, withdrawals and a bot all along; then 12 % of the account within a minute."""
    report, (told,) = run(tmp_path, MIDST)
    assert (told.triggers, told.closes, told.stage) == (0, 0, 0)
    assert told.trusted > 400
    assert told.dark > 60
    reads = {"UNAVAILABLE", "MALFORMED", "BUG", "HANG", "SLOW", "STALE"}
    assert {kind for kind in reads if report.failed[kind] < FAILED_AT_LEAST} == set()
    crash = report.crash
    assert crash is not None
    assert crash.first_close_s is not None
    assert crash.first_close_s < 20
    assert crash.settled_s is not None
    assert crash.lost_share < CRASH_SHARE
    assert crash.wrong == ()
    assert report.is_fine


def test_the_same_seed_is_the_same_day(tmp_path: Path) -> None:
    """What a run shows can be shown again; another seed is another day."""

    def day(name: str, seed: int) -> tuple[object, ...]:
        plan = Plan(seed=seed, positions=4, hours=0.05, is_logged=True)
        (tmp_path / name).mkdir()
        report, (told,) = run(tmp_path / name, plan)
        assert report.is_fine, [claim for claim in report.claims if not claim.holds]
        assert sum(report.log.values()) == told.log_lines > 0
        return report.asked, report.failed, told.trusted, told.rows, told.worst_true

    first = day("first", 1)
    assert day("again", 1) == first
    assert day("other", 2) != first


def test_a_share_of_all_requests_fails(tmp_path: Path) -> None:
    """None, or each of them; whatever is drawn is a failure as it is known."""

    async def story() -> None:
        house = furnish(tmp_path, seed=1, positions=4, share=0.0)
        line = house.venue
        assert isinstance(line, FailingVenue)
        for _ in range(20):
            await line.fetch_reading(SCOPE)
        assert line.failed == {}
        line.share = 1.0
        for _ in range(40):
            try:
                async with asyncio.timeout(20):
                    await line.fetch_reading(SCOPE)
            except (Unavailable, Malformed, KeyError, TimeoutError):
                continue
        assert (line.failed.total(), len(line.failed)) == (40, 6)
        assert len(line.calls) == 60

    play(story)


# --- the truth --------------------------------------------------------------------------------


def test_the_truth_is_measured_per_unit() -> None:
    """10,000, a deposit of 1,000, then 10,450: 5 % of 11,000 lost, 1.11 times the 4.5 % of 15m."""
    truth = Truth()
    truth.see(0.0, 10_000.0)
    truth.flow(10_000.0, 1_000.0)
    truth.see(3.0, 11_000.0)
    assert truth.units == 1.1
    assert truth.severity(11_000.0) == pytest.approx(0.0)
    assert truth.severity(10_450.0) == pytest.approx(0.05 / 0.045)


def test_the_truth_forgets_a_peak_with_its_window() -> None:
    """After 15 min 5 % are measured against the 7 % of 1 h, after 1 h against the 15 % of a day."""
    truth = Truth()
    truth.see(0.0, 10_000.0)
    for at, threshold in ((899.0, 0.045), (900.0, 0.07), (3600.0, 0.15)):
        truth.see(at, 9_500.0)
        assert truth.severity(9_500.0) == pytest.approx(0.05 / threshold)
    truth.see(86_400.0, 9_500.0)
    assert truth.severity(9_500.0) == 0.0


# --- the judge --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Hour:
    """An hour as a run shows it."""
    plan = Plan(seed=1, positions=4, hours=0.02, is_logged=False)
    _, (told,) = run(tmp_path_factory.mktemp("soak"), plan)
    return told


def judged(*hours: Hour) -> list[bool]:
    """Which claims about resources hold: tick time, memory, descriptors, database."""
    return [claim.holds for claim in resource_claims(hours)]


def test_what_grows_fails_the_soak(ordinary: Hour) -> None:
    """1.31 times the tick; 8.1 MB that the history does not account for; one file; one row."""
    first, second = replace(ordinary, hour=1, tick_ms=2.0), replace(ordinary, hour=2, tick_ms=2.2)
    last = replace(second, hour=3, tick_ms=2.6)
    assert judged(first, second, last) == [True] * 4
    assert judged(first, second, replace(last, tick_ms=2.62))[0] is False
    larger = replace(last, rss_mb=last.rss_mb + 18.0, history_mb=last.history_mb + 10.0)
    assert judged(first, second, larger) == [True] * 4
    assert judged(first, second, replace(larger, rss_mb=larger.rss_mb + 0.1))[1] is False
    assert judged(first, second, replace(last, fds=last.fds + 1))[2] is False
    assert judged(first, replace(second, overdue=1), last)[3] is False
    assert judged(first, second) == []


def test_a_full_history_may_not_grow_any_more(ordinary: Hour) -> None:
    """From hour 49 on, as much goes as comes: then the history is no excuse."""
    hours = [replace(ordinary, hour=number) for number in range(1, 51)]
    assert judged(*hours)[1] is True
    last = hours[-1]
    hours.append(replace(last, hour=51, rss_mb=last.rss_mb + 9, history_mb=last.history_mb + 9))
    assert judged(*hours)[1] is False


def test_a_false_flow_fails_the_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money that was never booked is missed, and the units no longer agree."""
    monkeypatch.setattr("benchmarks.bad_day.FLOW_SHARES", (0.1,))
    monkeypatch.setattr("benchmarks.bad_day.FLOW_EVERY_S", 20.0)
    plan = Plan(seed=2, positions=4, hours=0.04, fail=0.0, is_logged=False)
    assert run(tmp_path / "told", plan)[0].is_fine
    monkeypatch.setattr(FailingVenue, "fetch_ledger", _nothing_is_listed)
    report, _ = run(tmp_path / "untold", plan)
    broken = [claim.text for claim in report.claims if not claim.holds]
    assert "every flow is booked, and nothing else" in broken


async def _nothing_is_listed(_venue: FailingVenue, _scope: str, _since: float) -> None:
    raise Unavailable("no records")


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_a_broken_claim_is_the_exit_code(
    holds: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is told by name, in words and as JSON."""

    async def pretend(_folder: Path, plan: Plan, _tell: object) -> Report:
        assert (plan.hours, plan.crash_at) == (72.0, 1.5)
        return Report(claims=[Claim(text="memory flat", holds=holds, seen="+9.0 MB")])

    monkeypatch.setattr(soak, "soak", pretend)
    words = ["--hours", "72", "--crash-at", "1.5"]
    assert soak.main(words) == code
    assert ("BROKEN" in capsys.readouterr().out) is not holds
    assert soak.main([*words, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert (document["is_fine"], document["claims"][0]["seen"]) == (holds, "+9.0 MB")


def test_a_fill_that_left_more_or_the_other_side_is_wrong() -> None:
    """From -2: to -1 and 0 is a close; to -3 and +1 is none."""
    fills = [{"position_before": "-2", "position_after": after} for after in ("-1", "0", "-3", "1")]
    assert [soak.is_wrong(dict(fill)) for fill in fills] == [False, False, True, True]


# --- the meter --------------------------------------------------------------------------------


class Cpu:
    """CPU time that a test spends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spent_s = 0.0
        monkeypatch.setattr("benchmarks.hourly.time.process_time", lambda: self.spent_s)


def test_only_the_guards_own_cpu_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 s of our own, 2 s and a nested 4 s of others, 8 s of a call in two steps."""
    cpu = Cpu(monkeypatch)
    meter = Meter()

    async def call() -> str:
        cpu.spent_s += 5
        await asyncio.sleep(0)
        cpu.spent_s += 3
        return "answer"

    async def story() -> str:
        cpu.spent_s += 1
        with meter.aside():
            cpu.spent_s += 2
            with meter.aside():
                cpu.spent_s += 4
        return str(await Aside(call(), meter))

    assert play(story) == "answer"
    assert meter.own_s() == 1.0


def test_work_aside_fails_and_ends_as_it_would_alone() -> None:
    """A fault comes through, and so does a cancellation."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise Malformed("no number")

    async def story() -> None:
        with pytest.raises(Malformed, match="no number"):
            await Aside(fail(), Meter())

        async def wait() -> None:
            await Aside(asyncio.sleep(math.inf), Meter())

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    play(story)


def test_the_collector_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of 1 s and 3 s."""
    cpu = Cpu(monkeypatch)
    meter = Meter()
    for took_s in (1.0, 3.0):
        meter.see_collection("start", {})
        cpu.spent_s += took_s
        meter.see_collection("stop", {})
    assert (meter.collecting_s, meter.longest_collection_s) == (4.0, 3.0)
