#!/usr/bin/env python3
"""Run the real guard in dry run for some minutes against real keys, and judge how it went.

    python3 tools/dryrun_smoke.py --minutes 10
    python3 tools/dryrun_smoke.py --minutes 1 --config other/config.yaml

Reads your accounts and sends nothing: the guard is started with --dry-run, and afterwards its
database and its log must show no order. It runs beside a guard that is already running: database
and lock file are put into a temporary folder, the settings and .env are used as they stand. A venue
with `simulator_url` is watched there instead.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from settings import Settings

LEAST_TRUSTED_SHARE = 0.95
LEAST_PACE_SHARE = 0.8
"""Of the readings that the configured pace would give; a slow venue costs some."""
MEMORY_GROWTH_MB = 64.0
DESCRIPTOR_GROWTH = 8
START_S = 30.0
"""Longest wait for the first reading, the time before it is not judged."""
STOP_S = 15.0
LOOK_EVERY_S = 0.5
FATAL_EVENTS = ("task_failed", "thread_failed", "invariant_violated", "crashed")
LAST_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was judged, with the figures behind it."""

    text: str
    holds: bool
    figures: str = ""


@dataclass(slots=True)
class Watch:
    """What was seen of the process while it ran; memory in MB, ages in seconds."""

    began_at: float = 0.0
    watched_s: float = 0.0
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    oldest_heartbeat_s: float = 0.0
    was_locked: bool = False
    ended_early: bool = False
    exit_code: int | None = None
    stop_s: float = 0.0


@dataclass(slots=True)
class Found:
    """What the guard's database and log hold afterwards."""

    readings: dict[str, int] = field(default_factory=dict)
    trusted: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    is_dry_run: bool = False
    last_lines: list[str] = field(default_factory=list)


# --- the run ----------------------------------------------------------------------------------


@contextmanager
def private_config(settings: Settings, *, keeps: bool) -> Iterator[Path]:
    """A copy of the settings file whose database and lock lie beside it; .env is linked to."""
    import yaml

    folder = Path(tempfile.mkdtemp(prefix="killswitch-smoke-"))
    try:
        content = yaml.safe_load(settings.path.read_text(encoding="utf-8")) or {}
        content |= {
            "dry_run": True,
            "state_db": "state/killswitch.db",
            "trading_lock_file": "state/trading_lock.json",
        }
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        secrets = settings.path.parent / ".env"
        if secrets.exists():
            (folder / ".env").symlink_to(secrets.absolute())
        (folder / "state").mkdir()
        yield path
    finally:
        if keeps:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def run_guard(config: Path, *, minutes: float) -> Watch:
    """Start the guard, watch it, and stop it as a supervisor would."""
    watch = Watch(began_at=time.time())
    lock = config.parent / "state" / "trading_lock.json"
    with (config.parent / "guard.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "killswitch.py"),
                "--config",
                str(config),
                "--dry-run",
                "--log-json",
            ],
            cwd=config.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            if _wait_for(lock, process):
                _observe(process, lock, watch, seconds=minutes * 60)
            watch.ended_early = process.poll() is not None
        finally:
            _stop(process, watch)
    return watch


def _wait_for(lock: Path, process: subprocess.Popen[bytes]) -> bool:
    """Wait for the first reading, after which the lock file is there."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if lock.exists():
            return True
        time.sleep(0.05)
    return False


def _observe(process: subprocess.Popen[bytes], lock: Path, watch: Watch, *, seconds: float) -> None:
    """Look at process and lock file until the time is over or the process ends."""
    from trading_lock import read_lock

    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds and process.poll() is None:
        state = read_lock(lock)
        watch.oldest_heartbeat_s = max(watch.oldest_heartbeat_s, state.heartbeat_age_s or 0.0)
        watch.was_locked = watch.was_locked or state.locked
        watch.memory.append(_memory_mb(process.pid))
        watch.descriptors.append(_descriptor_count(process.pid))
        _progress(elapsed, seconds)
        time.sleep(min(LOOK_EVERY_S, max(0.0, seconds - elapsed)))
    watch.watched_s = time.monotonic() - began
    _progress(None, seconds)


def _stop(process: subprocess.Popen[bytes], watch: Watch) -> None:
    """Ask the process to end, and end it when it does not."""
    began = time.monotonic()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        watch.exit_code = process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    watch.stop_s = time.monotonic() - began


def _memory_mb(pid: int) -> float:
    """Resident memory; 0.0 where the process has just gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _descriptor_count(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _progress(elapsed: float | None, seconds: float) -> None:
    """Tell on a terminal how long it still takes; None clears the line."""
    if sys.stderr.isatty():
        told = "" if elapsed is None else f"watching, {seconds - elapsed:.0f} s to go"
        print(f"\r\033[K{told}", end="", file=sys.stderr, flush=True)


# --- judging ----------------------------------------------------------------------------------


def look_into(folder: Path) -> Found:
    """Read the guard's database and log."""
    found = Found()
    _read_log(folder / "guard.log", found)
    _read_database(folder / "state" / "killswitch.db", found)
    return found


def _read_log(path: Path, found: Found) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found.last_lines = lines[-LAST_LINES:]
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict):
            continue
        event = str(entry.get("event"))
        found.events[event] += 1
        if event == "started":
            found.is_dry_run = "DRY RUN" in str(entry.get("mode"))
        if entry.get("level") in ("warning", "error", "critical"):
            why = str(entry.get("why", ""))
            found.errors[f"{event}: {why}" if why else event] += 1


def _read_database(path: Path, found: Found) -> None:
    from errors import StoreError
    from store.schema import open_for_reading

    try:
        with closing(open_for_reading(path)) as connection:
            rows = connection.execute(
                "SELECT scope, count(*), sum(trust = 'TRUSTED') FROM snapshots GROUP BY scope"
            ).fetchall()
            found.orders = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    except StoreError as error:
        found.errors[str(error)] += 1
        return
    for scope, count, trusted in rows:
        found.readings[scope], found.trusted[scope] = count, trusted


def judge(settings: Settings, watch: Watch, found: Found) -> tuple[Check, ...]:
    """Everything that must be true of a healthy dry run."""
    return (
        *_judge_process(watch, found),
        *_judge_readings(settings, watch, found),
        *_judge_silence(watch, found),
        *_judge_growth(watch),
    )


def _judge_process(watch: Watch, found: Found) -> tuple[Check, ...]:
    fatal = sum(found.events[event] for event in FATAL_EVENTS)
    return (
        Check(text="started in dry run", holds=found.is_dry_run),
        Check(
            text="ran until it was told to stop",
            holds=watch.watched_s > 0 and not watch.ended_early,
            figures=f"{watch.watched_s:.0f} s",
        ),
        Check(
            text="stopped when asked, exit code 0",
            holds=watch.exit_code == 0,
            figures=f"exit code {watch.exit_code} after {watch.stop_s:.1f} s",
        ),
        Check(text="no fault inside the guard", holds=fatal == 0, figures=f"{fatal} faults"),
    )


def _judge_readings(settings: Settings, watch: Watch, found: Found) -> Iterator[Check]:
    minutes = max(watch.watched_s, 1.0) / 60
    pace = 60 / settings.base_policy.poll_s
    for scope in (scope for venue in settings.venues for scope in venue.scopes):
        count, trusted = found.readings.get(scope, 0), found.trusted.get(scope, 0)
        least = max(1, int(LEAST_PACE_SHARE * pace * minutes))
        yield Check(
            text=f"{scope}: read at its pace",
            holds=count >= least,
            figures=f"{count / minutes:.1f} readings a minute, {pace:.0f} expected",
        )
        yield Check(
            text=f"{scope}: readings are trusted",
            holds=count > 0 and trusted >= LEAST_TRUSTED_SHARE * count,
            figures=f"{trusted} of {count}" + (f", {trusted / count:.1%}" if count else ""),
        )


def _judge_silence(watch: Watch, found: Found) -> tuple[Check, ...]:
    told = [event for event in found.events if event.startswith(("order", "close", "cancel"))]
    return (
        Check(
            text="no order and no cancel was sent",
            holds=found.orders == 0 and not told,
            figures=f"{found.orders} in the database, {len(told)} in the log",
        ),
        Check(
            text="the lock file was fresh and stopped no bot",
            holds=watch.watched_s > 0 and not watch.was_locked,
            figures=f"oldest heartbeat {watch.oldest_heartbeat_s:.1f} s",
        ),
    )


def _judge_growth(watch: Watch) -> tuple[Check, ...]:
    memory, descriptors = watch.memory or [0.0], watch.descriptors or [0]
    return (
        Check(
            text="memory did not grow",
            holds=memory[-1] - memory[0] <= MEMORY_GROWTH_MB,
            figures=f"{memory[0]:.0f} MB at the start, {memory[-1]:.0f} MB at the end",
        ),
        Check(
            text="file descriptors did not grow",
            holds=descriptors[-1] - descriptors[0] <= DESCRIPTOR_GROWTH,
            figures=f"{descriptors[0]} at the start, {descriptors[-1]} at the end",
        ),
    )


# --- telling ----------------------------------------------------------------------------------


def show(checks: Sequence[Check], found: Found) -> None:
    """Print the verdicts, the warnings by kind, and for a failure the end of the log."""
    for check in checks:
        mark = "ok    " if check.holds else "FAILED"
        print(f"{mark}  {check.text}" + (f"  ({check.figures})" if check.figures else ""))
    print("warnings and errors by kind:" if found.errors else "no warnings, no errors")
    for kind, count in found.errors.most_common():
        print(f"  {count:5d}  {kind}")
    if not all(check.holds for check in checks):
        print("the end of the guard's log:")
        for line in found.last_lines:
            print(f"  {line}")


def to_document(checks: Sequence[Check], watch: Watch, found: Found) -> dict[str, Any]:
    """The same for machines."""
    return {
        "passed": all(check.holds for check in checks),
        "checks": [asdict(check) for check in checks],
        "watched_s": round(watch.watched_s, 1),
        "readings": found.readings,
        "trusted": found.trusted,
        "orders": found.orders,
        "errors": dict(found.errors),
        "memory_mb": [round(value, 1) for value in watch.memory[:1] + watch.memory[-1:]],
        "descriptors": watch.descriptors[:1] + watch.descriptors[-1:],
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong usage ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="tools/dryrun_smoke.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 when all is well, 1 otherwise, 2 for wrong usage or settings.",
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=5.0, help="how long to watch; fractions are fine (5)"
    )
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="settings file (config.yaml)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder with database, lock file and log"
    )
    return parser.parse_args(arguments)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= 7 * 24 * 60:
        raise argparse.ArgumentTypeError("write a number above 0, at most a week")
    return minutes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and judge; returns the exit code."""
    options = parse(arguments)
    from errors import ConfigurationError
    from settings import load_settings

    try:
        settings = load_settings(options.config, os.environ)
    except ConfigurationError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    with private_config(settings, keeps=options.keep) as config:
        watch = run_guard(config, minutes=options.minutes)
        found = look_into(config.parent)
    checks = judge(settings, watch, found)
    if options.json:
        print(json.dumps(to_document(checks, watch, found)))
    else:
        show(checks, found)
    return 0 if all(check.holds for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
