"""The programs beside the guard: they teach, start fast, judge rightly and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import tick
from benchmarks.scene import SCOPE, STEP_S, Past, seed
from position_store import PositionStore
from settings import load_settings
from simulator.candles import load_tape
from simulator.control import start_simulator
from tools import dryrun_smoke, e2e_demo_runner
from tools.dryrun_smoke import Found, Watch, judge
from tools.e2e_demo_runner import SCENARIOS, Scenario, Seen, Verdict, exits, says

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"}
PROGRAMS = (
    ("tools/e2e_demo_runner.py",),
    ("tools/dryrun_smoke.py",),
    ("tools/switch_drill.py",),
    ("tools/kill_test.py",),
    ("tools/mutants.py",),
    ("-m", "tools.check_recordings"),
    ("-m", "benchmarks.tick"),
    ("-m", "benchmarks.soak"),
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the project."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[-1])
def test_help_teaches(program: tuple[str, ...]) -> None:
    """What it is for, its options and its exit codes."""
    done = run(*program, "--help")
    assert done.returncode == 0
    assert "Exit code 0" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize("program", PROGRAMS[:5], ids=lambda program: program[-1])
def test_help_loads_nothing_heavy(program: tuple[str, ...]) -> None:
    """Neither the exchange library nor the settings are imported to print a page."""
    listed = run("-X", "importtime", *program, "--help").stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in listed.splitlines()}
    assert "argparse" in imported
    assert imported.isdisjoint({"ccxt", "aiohttp", "pydantic", "rich", "settings", "simulator"})


@pytest.mark.parametrize("program", PROGRAMS[:5], ids=lambda program: program[-1])
def test_wrong_usage_exits_2(program: tuple[str, ...]) -> None:
    """An unknown option is told, not ignored."""
    assert run(*program, "--unknown").returncode == 2


# --- e2e_demo_runner --------------------------------------------------------------------------


def test_every_scenario_is_listed_with_what_must_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """The list names all of them, and each name once."""
    assert e2e_demo_runner.main(["--list"]) == 0
    printed = capsys.readouterr().out
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names) == 8
    assert all(name in printed for name in names)
    assert all(scenario.checks for scenario in SCENARIOS)


def test_a_flat_market_passes_and_leaves_nothing(tmp_path: Path) -> None:
    """The whole way: tape, book, process, verdict, JSON, and an empty folder afterwards."""
    done = run("tools/e2e_demo_runner.py", "--only", "flat", "--json", TMPDIR=str(tmp_path))
    (verdict,) = json.loads(done.stdout)
    assert (done.returncode, verdict["name"], verdict["passed"]) == (0, "flat", True)
    assert "[1/1] flat" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failing_scenario_is_told_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict names what does not hold; one failure fails the run."""
    bad = Scenario(name="bad", what="", checks=(exits(0), says("hello")))

    def pretend(scenario: Scenario, folder: Path) -> Verdict:
        seen = Seen.of(0, "goodbye")
        failed = tuple(check.text for check in scenario.checks if not check.holds(seen))
        return Verdict(scenario=scenario, took_s=0.1, failed=failed, output="goodbye\n")

    monkeypatch.setattr(e2e_demo_runner, "SCENARIOS", (bad,))
    monkeypatch.setattr(e2e_demo_runner, "run", pretend)
    assert e2e_demo_runner.main(["--verbose"]) == 1
    printed = capsys.readouterr().out
    assert "not so: says 'hello'" in printed
    assert "| goodbye" in printed
    assert "0 of 1 scenarios passed" in printed


STORY = """
01-01 00:04:26  STAGE 1 REDUCED_TOP_RISK  CLOSE_TOP_RISK_CONTRIBUTORS
│ 01-01 00:04:26 │     1 │ DOGEUSDT │ LONG │ 58,333 │ 29,167 │  29,166 │ 0.117051 │   -86.00 │
│ equity at the end   │      10,232.64 │  3,805.06 │
│ largest drawdown    │          7.47% │    70.95% │
"""


def test_the_figures_are_read_out_of_the_story() -> None:
    """Stages, closes, equities and drawdowns; none of them in an empty text."""
    seen = Seen.of(0, STORY)
    assert (seen.stages, seen.closed) == ((1,), ((1, "LONG"),))
    assert (seen.ends, seen.falls) == ((10232.64, 3805.06), (7.47, 70.95))
    assert Seen.of(0, "").ends is None


CRASH = next(scenario for scenario in SCENARIOS if scenario.name == "crash")


@pytest.mark.parametrize(
    ("story", "failed"),
    [
        (STORY.replace("LONG", "SHORT"), {"closes a LONG first", "no SHORT is closed"}),
        (STORY.replace("STAGE 1", "STAGE 3"), {"the highest stage is 2"}),
        (STORY.replace("7.47%", "77.47%"), {"the drawdown is smaller"}),
        (STORY.replace("10,232.64", "232.64"), {"more is left"}),
    ],
)
def test_every_check_of_a_crash_can_fail(story: str, failed: set[str]) -> None:
    """A check that holds for any output checks nothing."""
    texts = [check.text for check in CRASH.checks if not check.holds(Seen.of(0, story))]
    assert all(any(text.startswith(start) for text in texts) for start in failed)


def test_an_invented_tape_is_the_same_every_time(tmp_path: Path) -> None:
    """The candles of a scenario depend on its name alone, and load as a tape."""
    for name in ("a.csv", "b.csv"):
        e2e_demo_runner.write_tape("crash", tmp_path / name)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    tape = load_tape(tmp_path / "a.csv")
    assert tape.ends_at - tape.starts_at == e2e_demo_runner.TAPE_S
    assert len(tape.symbols) == 10


# --- dryrun_smoke -----------------------------------------------------------------------------


def write_config(folder: Path, url: str) -> Path:
    """Settings of an account on the simulated exchange, read every second, keys in .env."""
    path = folder / "config.yaml"
    path.write_text(
        "poll_seconds: 1\nalert_poll_seconds: 1\n"
        f"exchanges:\n  binance:\n    enabled: true\n    simulator_url: {url}\n",
        encoding="utf-8",
    )
    lines = "".join(f"{name}={value}\n" for name, value in KEYS.items())
    (folder / ".env").write_text(lines, encoding="utf-8")
    return path


async def test_a_healthy_dry_run_passes_and_only_reads(tmp_path: Path) -> None:
    """The daemon runs, reads, ends when asked; the exchange saw nothing but GET."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    async with start_simulator(seed()) as (control, url):
        config = write_config(home, url)
        done = await asyncio.to_thread(
            run,
            *("tools/dryrun_smoke.py", "--minutes", "0.05", "--config", str(config), "--json"),
            TMPDIR=str(temporary),
        )
        requests = (await control.requests())["requests"]
    report = json.loads(done.stdout)
    assert (done.returncode, report["passed"]) == (0, True), report
    assert report["readings"] == report["trusted"]
    assert report["readings"][SCOPE] >= 2
    assert report["orders"] == 0
    assert {entry["method"] for entry in requests} == {"GET"}
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in home.iterdir()) == [".env", "config.yaml"]


def test_unusable_settings_exit_2_with_their_own_words(tmp_path: Path) -> None:
    """The same lines as the guard's own."""
    done = run("tools/dryrun_smoke.py", "--config", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "none.yaml" in done.stderr


WATCH = Watch(
    watched_s=60.0,
    memory=[100.0, 110.0],
    descriptors=[10, 12],
    oldest_heartbeat_s=1.0,
    exit_code=0,
)
FOUND = Found(
    readings={SCOPE: 60},
    trusted={SCOPE: 60},
    events=Counter({"started": 1}),
    is_dry_run=True,
)


@pytest.mark.parametrize(
    ("watch", "found", "failed"),
    [
        ({}, {}, set()),
        ({}, {"is_dry_run": False}, {"started in dry run"}),
        ({"ended_early": True}, {}, {"ran until it was told to stop"}),
        ({"exit_code": None}, {}, {"stopped when asked, exit code 0"}),
        ({}, {"events": Counter({"task_failed": 1})}, {"no fault inside the guard"}),
        ({}, {"readings": {SCOPE: 47}, "trusted": {SCOPE: 47}}, {f"{SCOPE}: read at its pace"}),
        ({}, {"trusted": {SCOPE: 56}}, {f"{SCOPE}: readings are trusted"}),
        ({}, {"orders": 1}, {"no order and no cancel was sent"}),
        ({}, {"events": Counter({"order_sent": 1})}, {"no order and no cancel was sent"}),
        ({"was_locked": True}, {}, {"the lock file was fresh and stopped no bot"}),
        ({"memory": [100.0, 165.0]}, {}, {"memory did not grow"}),
        ({"descriptors": [10, 19]}, {}, {"file descriptors did not grow"}),
    ],
)
def test_each_fault_of_a_dry_run_fails_its_check(
    watch: dict[str, object], found: dict[str, object], failed: set[str], tmp_path: Path
) -> None:
    """60 s at one reading a second: 48 readings and 95 % trusted are the least."""
    settings = load_settings(write_config(tmp_path, "http://127.0.0.1:1"), {})
    checks = judge(settings, replace(WATCH, **watch), replace(FOUND, **found))  # type: ignore[arg-type]
    assert {check.text for check in checks if not check.holds} == failed


def test_a_failed_dry_run_shows_kinds_and_the_end_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are counted by kind; lines that are no JSON do no harm."""
    warning = {"event": "scope_unavailable", "level": "warning", "why": "too slow"}
    lines = ["Traceback", json.dumps(warning), json.dumps(warning), "[1]"]
    (tmp_path / "guard.log").write_text("\n".join(lines), encoding="utf-8")
    found = dryrun_smoke.look_into(tmp_path)
    assert found.errors["scope_unavailable: too slow"] == 2
    assert found.readings == {}
    dryrun_smoke.show((dryrun_smoke.Check(text="a", holds=False),), found)
    printed = capsys.readouterr().out
    assert "2  scope_unavailable: too slow" in printed
    assert "Traceback" in printed


# --- benchmarks -------------------------------------------------------------------------------


def test_the_filled_database_is_a_past_that_the_guard_loads(tmp_path: Path) -> None:
    """48 of the 72 h come back, ten positions a side, with the loss of the last twenty minutes."""
    past = Past(ends_at=1_767_225_600.0, step_s=600.0)
    assert past.fill(tmp_path / "killswitch.db") == 432
    store = PositionStore.open(tmp_path / "killswitch.db", rng=random.Random(0))
    try:
        memory = store.load_memory(dry_run=False, now=past.ends_at).scope(SCOPE)
    finally:
        store.close()
    points = tuple(memory.history.points())
    assert len(points) == 48 * 6 + 1
    assert [points[0].equity, points[-1].equity] == [10_000.0, 9_600.0]
    assert memory.last_trusted is not None
    assert len(memory.last_trusted.positions) == 20


async def test_the_benchmark_measures_quiet_and_firing_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reads a tick on both databases, and stage 2 fires in its scene."""
    monkeypatch.setattr(tick, "WARM_UP_TICKS", 2)
    past = Past(ends_at=1_767_225_600.0, step_s=60.0, span_s=7200.0)
    past.fill(tmp_path / "filled.db")
    bench = tick.Bench(folder=tmp_path, filled=tmp_path / "filled.db", ends_at=past.ends_at)
    report = tick.Report()
    await tick.measure_quiet(report, bench, ticks=5)
    assert report.requests_per_tick["GET /fapi/v3/account"] == 1.0
    assert report.requests_per_tick["GET /fapi/v3/positionRisk"] == 1.0
    assert all(0 < figure.value < 1000 for figure in report.figures)
    fired = await tick.measure_fire(bench, "fire")
    assert 0 < fired["left_ms"] < fired["answered_ms"] < fired["cpu_ms"]


def test_a_missed_aim_fails_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says so, and the JSON names the figure."""

    async def pretend(options: Namespace) -> tick.Report:
        report = tick.Report()
        report.add("quiet tick", 9.0, "ms", aim=8.0)
        return report

    monkeypatch.setattr(tick, "measure", pretend)
    assert tick.main(["--json"]) == 1
    (figure,) = json.loads(capsys.readouterr().out)["figures"]
    assert (figure["value"], figure["is_met"], STEP_S) == (9.0, False, 3.0)
    assert tick.main([]) == 1
    assert "MISSED" in capsys.readouterr().out
