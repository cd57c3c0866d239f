"""Whether the guard stays what it is: a day or more at a venue that fails a fifth of all requests.

    python3 -m benchmarks.soak [--hours 24] [--seed 1] [--positions 20] [--fail 0.2]
                               [--crash-at HOUR] [--tracemalloc] [--json]

Time is virtual, the exchange is in memory, everything else of the guard is real: decision,
executor, SQLite, lock file and log on disk. One line an hour tells how it goes. The CPU is the
guard's own; compare it between hours of one run on a machine that is not busy otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from benchmarks.bad_day import BadDay, furnish
from benchmarks.hourly import Hour, Meter, MeteredVenue, Watcher
from logger import configure_logging, get_logger
from memory import IncidentStatus
from redaction import NOTHING_HIDDEN
from tests.memory_venue import KEY, SCOPE
from tests.virtual_house import Guard, House, play

HOUR_S = 3600.0
SETTLES_S = 240.0
"""With a line that works again every doubt has ended after so long: the grace of an unexplained
fall, twice."""
FULL_HISTORY_H = 49
"""From here on the history of 48 h gives up as much as it takes in."""
MOST_SLOWDOWN = 1.3
MOST_GROWTH_MB = 8.0
"""What a process may gain beside its history: an allocator does not give everything back."""
MOST_UNITS_OFF = 0.02
CRASH_WATCHED_S = 1200.0
LOOK_EVERY_S = 0.25

COLUMNS = (
    ("hour", "hour"), ("wall s", "wall_s"), ("RSS MB", "rss_mb"), ("hist MB", "history_mb"),
    ("fds", "fds"), ("db MB", "db_mb"), ("WAL MB", "wal_mb"), ("readings", "readings"),
    ("rows", "rows"), ("overdue", "overdue"), ("ticks", "ticks"), ("tick ms", "tick_ms"),
    ("p90", "p90_ms"), ("max", "most_ms"), ("gc ms", "gc_ms"), ("long gc", "longest_gc_ms"),
    ("cpu s", "cpu_s"), ("trusted", "trusted"), ("suspect", "suspect"), ("dark", "dark"),
    ("dark s", "longest_dark_s"), ("true", "worst_true"), ("seen", "worst_seen"),
    ("trigger", "triggers"), ("blind", "alerts"), ("locks", "blind_locks"), ("stage", "stage"),
    ("log", "log_lines"), ("audit", "audits"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Something that must hold, and what was seen."""

    text: str
    holds: bool
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """How the guard met the crash; seconds from the breach in truth, a share of the account.

    `wrong` are symbols on which a close opened, added or turned anything.
    """

    first_close_s: float | None
    losing_side_flat_s: float | None
    settled_s: float | None
    stage: int
    lost_share: float
    sent: int
    wrong: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """All that a run showed."""

    hours: list[Hour] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    crash: Crash | None = None
    events: dict[str, int] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. `crash_at` is an hour, None for none; `is_logged` writes the log of a guard."""

    hours: float = 24.0
    seed: int = 1
    positions: int = 20
    fail: float = 0.2
    crash_at: float | None = None
    is_logged: bool = True

    @property
    def quiet_s(self) -> float:
        """How long nothing happens but noise."""
        hours = self.hours if self.crash_at is None else self.crash_at
        return HOUR_S * hours

    @property
    def crash_at_s(self) -> float:
        """When the crash comes."""
        return math.inf if self.crash_at is None else HOUR_S * self.crash_at


# --- the run ----------------------------------------------------------------------------------


async def soak(folder: Path, plan: Plan, tell: Callable[[Hour], None]) -> Report:
    """Run a guard through noise, then through the crash if one is planned."""
    meter = Meter()
    house = furnish(folder, seed=plan.seed, positions=plan.positions, share=plan.fail)
    day = BadDay(
        house,
        seed=plan.seed,
        positions=plan.positions,
        crash_at_s=plan.crash_at_s,
        aside=meter.aside,
    )
    log_path = folder / "guard.log" if plan.is_logged else None
    watcher = Watcher(house, day, meter, log_path=log_path)
    house.on_decision = watcher.see
    house.others[SCOPE] = cast("Any", MeteredVenue(house.venue, meter))
    report = Report()
    gc.callbacks.append(meter.see_collection)
    log = None if log_path is None else log_path.open("w", encoding="utf-8", buffering=1)
    try:
        if log is not None:
            write_log(house, log)
        async with house.guard() as guard:
            watcher.measure(guard)
            world = asyncio.create_task(day.live())
            while (left_s := plan.quiet_s - day.lasted_s) > 0:
                await house.wait(min(left_s, HOUR_S - day.lasted_s % HOUR_S))
                with meter.aside():
                    tell(watcher.read_out(guard))
            if plan.crash_at is None:
                report.claims = await quiet_claims(guard, day, watcher)
            else:
                report.crash = await watch_crash(guard, day)
            world.cancel()
            with suppress(asyncio.CancelledError):
                await world
    finally:
        gc.callbacks.remove(meter.see_collection)
        if log is not None:
            log.close()
    report.hours, report.events, report.log = watcher.hours, dict(watcher.events), dict(watcher.log)
    report.asked, report.failed = dict(day.line.asked), dict(day.line.failed)
    if report.crash is not None:
        report.claims = crash_claims(report.crash)
    report.claims += resource_claims(watcher.hours)
    return report


def write_log(house: House, stream: TextIO) -> None:
    """Let the guard log as the daemon does, because what that costs is a part of a tick."""
    configure_logging(
        redactor=NOTHING_HIDDEN,
        json_output=True,
        verbose=False,
        stream=stream,
        now=house.clock.now,
    )
    house.log = cast("Any", get_logger("soak"))


async def quiet_claims(guard: Guard, day: BadDay, watcher: Watcher) -> list[Claim]:
    """What must hold after hours in which nothing happened but noise; the line works again."""
    house = day.house
    day.calm_down()
    await house.wait(SETTLES_S)
    memory = guard.guardian.memory.scope(SCOPE)
    strays = [flow for flow in memory.flows if flow.is_inferred and not flow.is_cancelled]
    known = {flow.record_id for flow in memory.flows if flow.effective_at is not None}
    oldest = house.clock.now() - 47 * HOUR_S
    missed = [flow for flow in day.flows if flow.at > oldest and flow.record_id not in known]
    off = memory.units / day.truth.units - 1
    triggers = sum(hour.triggers for hour in watcher.hours) + watcher.tally.opened
    is_locked = bool(house.lock()["locked"])
    return [
        Claim(text="no false trigger", holds=not triggers, seen=f"{triggers} incidents"),
        Claim(text="no order sent", holds=not day.sent, seen=f"{day.sent} orders and cancels"),
        Claim(text="no lock left behind", holds=not is_locked, seen=f"locked: {is_locked}"),
        Claim(
            text="every flow is booked, and nothing else",
            holds=not strays and not missed and abs(off) < MOST_UNITS_OFF,
            seen=f"{len(day.flows)} flows, {len(missed)} missed, {len(strays)} booked that were "
            f"none, units off by {off:+.2%}",
        ),
    ]


def resource_claims(hours: Sequence[Hour]) -> list[Claim]:
    """What must not grow. The first hour warms up."""
    if len(hours) < 3:
        return []
    first, second, last = hours[0], hours[1], hours[-1]
    slowdown = last.tick_ms / first.tick_ms
    full = [hour for hour in hours if hour.hour >= FULL_HISTORY_H]
    is_full = len(full) > 1
    base = full[0] if is_full else second
    grown = last.rss_mb - base.rss_mb - (0.0 if is_full else last.history_mb - base.history_mb)
    overdue = max(hour.overdue for hour in hours)
    return [
        Claim(
            text=f"tick time of the last hour within {MOST_SLOWDOWN} of the first",
            holds=slowdown <= MOST_SLOWDOWN,
            seen=f"{last.tick_ms:.2f} ms, {slowdown:.2f} times {first.tick_ms:.2f} ms",
        ),
        Claim(
            text=f"memory flat {'with a full history' if is_full else 'beside the history'}",
            holds=grown <= MOST_GROWTH_MB,
            seen=f"{grown:+.1f} MB in hours {base.hour} to {last.hour}, {last.rss_mb:.0f} MB",
        ),
        Claim(
            text="file descriptors flat",
            holds=last.fds <= second.fds,
            seen=f"{second.fds} in hour {second.hour}, {last.fds} in hour {last.hour}",
        ),
        Claim(
            text="database within the retention rule",
            holds=not overdue,
            seen=f"{overdue} readings overdue at most, {last.db_mb:.1f} MB",
        ),
    ]


# --- the crash --------------------------------------------------------------------------------


async def watch_crash(guard: Guard, day: BadDay) -> Crash:
    """Let the crash happen and take the times until the losing side is closed and confirmed."""
    house = day.house
    began, worth = house.clock.now(), day.worth
    losing = [symbol for symbol, notional in day.held.items() if notional < 0]
    times: dict[str, float] = {}
    while "settled" not in times and house.clock.now() - began < CRASH_WATCHED_S:
        await house.wait(LOOK_EVERY_S)
        incident = guard.book.incident
        is_open = incident is not None and incident.status is IncidentStatus.OPEN
        if house.fills():
            times.setdefault("closing", house.clock.now())
        if not any(house.exchange.amount(KEY, symbol) for symbol in losing):
            times.setdefault("flat", house.clock.now())
        if "flat" in times and not is_open:
            times["settled"] = house.clock.now()
    breached = day.breached_at or began
    since = {what: round(at - breached, 1) for what, at in times.items()}
    return Crash(
        first_close_s=since.get("closing"),
        losing_side_flat_s=since.get("flat"),
        settled_s=since.get("settled"),
        stage=int(guard.book.stage),
        lost_share=round(1 - day.worth / worth, 4),
        sent=day.sent,
        wrong=tuple(str(entry["symbol"]) for entry in house.fills() if is_wrong(entry)),
    )


def is_wrong(fill: dict[str, object]) -> bool:
    """Whether a fill left more than there was, or the other side."""
    before, after = (float(str(fill[f"position_{when}"])) for when in ("before", "after"))
    return abs(after) > abs(before) or after * before < 0


def crash_claims(crash: Crash) -> list[Claim]:
    """What must hold after a real loss."""
    return [
        Claim(
            text="the losing side is closed, and that is confirmed",
            holds=crash.settled_s is not None,
            seen=f"first close {crash.first_close_s} s after the breach, closed after "
            f"{crash.losing_side_flat_s} s, confirmed after {crash.settled_s} s; "
            f"stage {crash.stage}, lost {crash.lost_share:.1%}",
        ),
        Claim(
            text="no close opened, added or turned a position",
            holds=not crash.wrong,
            seen=f"{crash.sent} orders and cancels sent",
        ),
    ]


# --- telling ----------------------------------------------------------------------------------


def show_hour(hour: Hour, *, stream: TextIO) -> None:
    """One line of the table, with its head every day."""
    if hour.hour % 24 == 1:
        print(" ".join(f"{title:>8}" for title, _ in COLUMNS), file=stream)
    values = (getattr(hour, name) for _, name in COLUMNS)
    print(" ".join(f"{value:>8}" for value in values), file=stream, flush=True)


def show(report: Report) -> None:
    """The verdict, and what the operator would have been told."""
    for claim in report.claims:
        print(f"{'holds' if claim.holds else 'BROKEN':7} {claim.text}: {claim.seen}")
    for name in ("events", "log", "asked", "failed"):
        counts = sorted(getattr(report, name).items(), key=lambda pair: -pair[1])
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and judge; 0 when every claim holds, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.soak",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Exit code 0 when everything held, 1 otherwise.",
    )
    parser.add_argument("--hours", type=float, default=24.0, help="virtual hours (24)")
    parser.add_argument("--seed", type=int, default=1, help="decides everything (1)")
    parser.add_argument("--positions", type=int, default=20, help="positions held (20)")
    parser.add_argument("--fail", type=float, default=0.2, help="share of requests (0.2)")
    parser.add_argument(
        "--crash-at", type=float, metavar="HOUR", help="end with a real fall of 12 %% there"
    )
    parser.add_argument("--tracemalloc", action="store_true", help="trace memory; slow")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    stream = sys.stderr if options.json else sys.stdout
    plan = Plan(
        hours=options.hours,
        seed=options.seed,
        positions=options.positions,
        fail=options.fail,
        crash_at=options.crash_at,
    )
    if options.tracemalloc:
        tracemalloc.start()

    async def story() -> Report:
        with tempfile.TemporaryDirectory(prefix="killswitch-soak-") as folder:
            return await soak(Path(folder), plan, lambda hour: show_hour(hour, stream=stream))

    report = play(story)
    if options.json:
        print(json.dumps(asdict(report) | {"is_fine": report.is_fine}))
    else:
        show(report)
    return 0 if report.is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
