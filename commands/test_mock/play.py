"""`--test-mock`: a whole crash against a simulated exchange, on this machine, without keys.

The real guard runs: settings, real exchange library, HTTP, database, lock file. Only the exchange
is a process of our own. The clock stands still while work is done and moves together with the
prices when the guard sleeps, so a quarter of an hour passes in seconds and the same story is told
every time. What is claimed at the end is proved from the exchange's books, its request log and
the lock file alone (`proof`), never from what the guard says of itself.

With `--tape` the prices are candles, of any days and any book.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands.test_mock.proof import prove_dry_run, prove_live_run
from commands.test_mock.story import Progress, Story
from commands.test_mock.unguarded import play_unguarded
from commands.test_mock.watched_run import SABOTAGES, Plan, Watched, watch
from errors import KillSwitchError
from logger import configure_logging
from model import PositionMode
from redaction import NOTHING_HIDDEN
from simulator.book_file import BookFile, BookFileError, default_book, demo_book, load_book
from simulator.candles import load_tape
from simulator.scenarios import DEMO_WAYPOINTS, demo_squeeze
from simulator.tape import Tape, TapeError

LONG_TAPE_S = 24 * 3600.0
LONG_TAPE_POLLS = (20, 5)
"""Days of candles hold one price path a minute, whose corners lie 20 s apart: reading it every
10 s, and every 3 s on alert, shows nothing more and takes twice the time."""
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
MEMORY_NEEDED_BYTES = 512 * 1024 * 1024
LATEST_TIME_S = 1e11
"""Seconds beyond the year 5000: such a time is in milliseconds."""


def play(
    *,
    tape: Path | None,
    event: str | None,
    begin: str | None,
    end: str | None,
    book: Path | None,
    broken: str | None,
) -> int:
    """Play the demo, or candles; returns the exit code."""
    if broken is not None and broken not in SABOTAGES:
        return _wrong(f"--break: {broken!r} is not known -> write one of {', '.join(SABOTAGES)}")
    if tape is None and any(value is not None for value in (event, begin, end, book)):
        return _wrong("--event, --from, --to and --book belong to --tape")
    if tape is not None and broken is not None:
        return _wrong("--break belongs to the demo -> leave --tape out")
    try:
        if tape is None:
            return _in_folder(lambda folder: _play_demo(folder, broken=broken))
        began, ended = _time("--from", begin), _time("--to", end)
        if began is not None and ended is not None and began >= ended:
            return _wrong(f"--from {begin} is not before --to {end} -> swap or widen them")
        candles = load_tape(tape, event=event, begin=began, end=ended)
        chosen = load_book(book) if book else default_book(candles)
        plan = _tape_plan(candles, chosen)
        plan.seed()
        return _in_folder(lambda folder: _play_tape(folder, plan))
    except (TapeError, BookFileError) as error:
        return _wrong(str(error))
    except KillSwitchError as error:
        print(error, file=sys.stderr)
        return 1


def _wrong(what: str) -> int:
    """Say what is wrong with the command; the exit code of wrong usage."""
    print(what, file=sys.stderr)
    return 2


def _time(option: str, text: str | None) -> float | None:
    """UTC seconds of `2021-05-19`, `2021-05-19T12:30` or a plain number of seconds."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            given = datetime.fromisoformat(text)
        except ValueError:
            raise TapeError(
                f"{option} {text}: not a time -> write it like 2021-05-19T12:30 (UTC)"
            ) from None
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
    if not (math.isfinite(seconds) and 0 <= seconds < LATEST_TIME_S):
        raise TapeError(f"{option} {text}: not a time in UTC seconds -> 2021-05-19T12:30 will do")
    return seconds


def _in_folder(run: Callable[[Path], Coroutine[Any, Any, int]]) -> int:
    """Run with a new folder and the guard's log in it."""
    folder = Path(tempfile.mkdtemp(prefix="killswitch-demo-"))
    with (folder / "guard.log").open("w", encoding="utf-8") as log:
        configure_logging(redactor=NOTHING_HIDDEN, json_output=False, verbose=False, stream=log)
        return asyncio.run(run(folder))


async def _play_demo(folder: Path, *, broken: str | None) -> int:
    tape, book = demo_squeeze(), demo_book()
    book = book.model_copy(update={"position_mode": PositionMode.ONE_WAY})
    story = Story(starts_at=tape.starts_at)
    story.opening(book, tape)
    begins = (0.0, *(point.at_s for point in DEMO_WAYPOINTS))
    captions = {
        tape.starts_at + at_s: point.what
        for at_s, point in zip(begins, DEMO_WAYPOINTS, strict=False)
    }
    plan = Plan(tape=tape, book=book, dry_run=True, captions=captions)
    with Progress(story, begin=tape.starts_at, end=tape.ends_at, rounds=2) as progress:
        story.act("Dry run: it decides and sends nothing")
        dry = await watch(folder / "dry-run", plan, story=story, progress=progress)
        progress.next_round()
        story.act("Live: the same minutes again, and now it closes")
        live_plan = replace(plan, dry_run=False, broken=broken, has_operator=True)
        live = await watch(folder / "live", live_plan, story=story, progress=progress)
    _compare(plan, live, story)
    claims = (*prove_dry_run(dry.evidence), *prove_live_run(live.evidence))
    story.claims(claims)
    story.where_to_look(folder)
    story.requests_served(dry.evidence.request_counts, live.evidence.request_counts)
    return 0 if all(claim.holds for claim in claims) else 1


def _tape_plan(candles: Tape, book: BookFile) -> Plan:
    """Play only what the book holds; at the ordinary pace unless the tape is long."""
    held = {position.symbol for position in book.positions} & candles.paths.keys()
    kept = [candles.paths[symbol] for symbol in sorted(held)]
    tape = replace(candles, paths={path.symbol: path for path in kept}) if kept else candles
    is_long = tape.ends_at - tape.starts_at > LONG_TAPE_S
    return Plan(tape=tape, book=book, dry_run=False, polls=LONG_TAPE_POLLS if is_long else None)


async def _play_tape(folder: Path, plan: Plan) -> int:
    tape = plan.tape
    story = Story(starts_at=tape.starts_at, shows_dates=True)
    story.opening(plan.book, tape, polls=plan.polls)
    with (
        Progress(story, begin=tape.starts_at, end=tape.ends_at) as progress,
        _quick_folder(folder / "live") as quick,
    ):
        live = await watch(quick, plan, story=story, progress=progress)
    if live.over_at is not None:
        story.over(live.over_at)
    story.closings(live.evidence.ledger, plan.seed()["positions"])
    _compare(plan, live, story)
    story.where_to_look(folder)
    story.requests_served(live.evidence.request_counts)
    return 0


def _compare(plan: Plan, live: Watched, story: Story) -> None:
    """Put the run beside the same prices with nobody watching, at the same moments."""
    alone = play_unguarded(plan.seed(), plan.tape, times=[at for at, _ in live.equities])
    story.comparison(
        guarded=live.equities,
        alone=alone.equities,
        liquidations=(_liquidations(live.evidence.ledger), _liquidations(alone.ledger)),
    )


def _liquidations(ledger: Sequence[Mapping[str, Any]]) -> int:
    """How many positions the exchange took away."""
    return sum(1 for entry in ledger if entry.get("cause") == "liquidation")


@contextmanager
def _quick_folder(target: Path) -> Iterator[Path]:
    """A folder whose writes need no disk, moved to `target` at the end.

    A tape of days writes the lock some ten thousand times and waits for the disk each time. The
    guard still syncs every write; in memory that costs nothing. A TMPDIR that was set is kept.
    """
    is_usable = (
        "TMPDIR" not in os.environ
        and os.access(MEMORY_FOLDER, os.W_OK)
        and shutil.disk_usage(MEMORY_FOLDER).free > MEMORY_NEEDED_BYTES
    )
    if not is_usable:
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="killswitch-demo-", dir=MEMORY_FOLDER) as quick:
        try:
            yield Path(quick) / target.name
        finally:
            if (Path(quick) / target.name).exists():
                shutil.move(Path(quick) / target.name, target)
