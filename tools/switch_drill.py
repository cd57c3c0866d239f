#!/usr/bin/env python3
"""Walk the checklist of docs/operator.md against a guard that runs in dry run.

    python3 tools/switch_drill.py --config config.yaml
    python3 tools/switch_drill.py --config config.yaml --with-redis

Pauses, halts and kills by both stores, looks at what bots see, leaves kill, resets the books that
the kill locked down, and puts the switch back. It takes about 15 seconds, during which bots that
obey this guard are stopped.

EVERYBODY who obeys the same Redis takes part: a live guard would halt and kill for real. Hence
--with-redis must be said where the settings name one; give the guard of a drill a key_prefix of
its own.

It begins only while the switch says running and every book is NORMAL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from commands.status.report import StatusReport
    from settings import Settings
    from switch_model import SwitchState

SEEN_WITHIN_S = 5.0
"""The guard looks four times a second; a loaded machine may take longer."""
COMMAND_WITHIN_S = 60.0
LOOK_EVERY_S = 0.02
ACTOR = "switch_drill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the checklist: what was proved, the command that proves it, and the figures."""

    number: int
    text: str
    command: str
    verdict: str
    figures: str = ""


@dataclass(slots=True)
class Drill:
    """The lines so far. `redis` sets the key as a telephone does; None without a Redis."""

    settings: Settings
    redis: Callable[[SwitchState], Any] | None
    lines: list[Line] = field(default_factory=list)

    # --- looking --------------------------------------------------------------------------

    def report(self) -> StatusReport:
        """What `status` shows."""
        from commands.status.show import read_report

        return read_report(self.settings, now=time.time())

    def obeyed(self) -> str:
        """What the lock file says of the switch."""
        from commands.status.lock import look_at_lock
        from commands.status.switch import obeyed_state

        found = obeyed_state(look_at_lock(self.settings.trading_lock_file, now=time.time()))
        return "nothing that holds" if found is None else found.value

    async def sees(self, state: str) -> tuple[bool, str]:
        """Whether the lock file says that soon, and how soon."""
        began = time.monotonic()
        while (shown := self.obeyed()) != state:
            if time.monotonic() - began > SEEN_WITHIN_S:
                return False, f"the lock file says {shown} after {SEEN_WITHIN_S:g} s, not {state}"
            await asyncio.sleep(LOOK_EVERY_S)
        return True, f"lock file after {time.monotonic() - began:.2f} s"

    # --- doing ----------------------------------------------------------------------------

    async def run(self, *words: str) -> tuple[int, str]:
        """A command of the guard: its exit code and its last line."""
        command = [sys.executable, str(ROOT / "killswitch.py"), *words]
        return await self._run([*command, "--config", str(self.settings.path)])

    async def ask_as_a_bot(self) -> int:
        """The exit code of `trading_lock.py`, as bots in any language ask it."""
        reader = [sys.executable, str(ROOT / "trading_lock.py")]
        return (await self._run([*reader, str(self.settings.trading_lock_file)]))[0]

    async def _run(self, command: list[str]) -> tuple[int, str]:
        try:
            ended = await asyncio.to_thread(
                subprocess.run,
                command,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, f"no end in {COMMAND_WITHIN_S:g} s"
        told = (ended.stderr + ended.stdout).strip().splitlines()
        return ended.returncode, told[-1] if told else ""

    async def set_redis(self, state: SwitchState, *, note: str) -> tuple[bool, str]:
        """Set the key, and wait until the lock file says `note`."""
        if self.redis is None:
            return False, "no Redis"
        why = await self.redis(state)
        return (False, why) if why else await self.sees(note)

    def tell(self, text: str, command: str, *, holds: bool | None, figures: str = "") -> None:
        """Add a line; `holds` None: there is nothing to prove here."""
        verdict = "none" if holds is None else "pass" if holds else "FAIL"
        self.lines.append(
            Line(
                number=len(self.lines) + 1,
                text=text,
                command=command,
                verdict=verdict,
                figures=figures,
            )
        )


# --- the ten lines ----------------------------------------------------------------------------


async def walk(drill: Drill) -> None:
    """The checklist from its first line to its last."""
    from switch_model import SwitchState

    has_redis = drill.redis is not None
    lock = drill.settings.trading_lock_file
    await _begin(drill)
    code, told = await drill.run("switch", "pause", "--actor", ACTOR)
    holds, figures = await drill.sees("pause")
    drill.tell(
        "pause on this machine reaches every store, and the guard obeys",
        "python3 killswitch.py switch pause",
        holds=code == 0 and holds,
        figures=figures if code == 0 else told,
    )
    code = await drill.ask_as_a_bot()
    drill.tell(
        "a bot is stopped by it",
        f"python3 trading_lock.py {lock}",
        holds=code == 1,
        figures=f"exit {code}, 1 is locked",
    )
    holds, figures = await drill.set_redis(SwitchState.HALT, note="halt")
    drill.tell(
        "the more severe of both stores counts: a halt in Redis",
        "redis-cli SET trading_switch halt",
        holds=holds if has_redis else None,
        figures=figures,
    )
    holds, figures = await drill.set_redis(SwitchState.RUNNING, note="pause")
    drill.tell(
        "running in Redis lifts only what Redis had set: the pause stays",
        "redis-cli SET trading_switch running",
        holds=holds if has_redis else None,
        figures=figures,
    )
    await _kill(drill)
    await _leave(drill)
    _recorded(drill)


async def _begin(drill: Drill) -> None:
    """Lines 1 to 3: the guard runs, Redis is the one that it reads, bots are free."""
    report = drill.report()
    kind = "dry run" if report.dry_run else "LIVE"
    age = report.lock.heartbeat_age_s
    drill.tell(
        "a guard runs, and its lock file is fresh",
        "python3 killswitch.py status",
        holds=report.holder is not None and report.lock.is_readable and not report.lock.is_stale,
        figures=f"{kind}, heartbeat {0.0 if age is None else age:.0f} s ago",
    )
    found = await _document(drill)
    silent = found["redis_silent"]
    drill.tell(
        "Redis answers, and holds the key",
        "redis-cli GET trading_switch",
        holds=(found["stores"]["redis"] is not None and not silent)
        if drill.redis is not None
        else None,
        figures=silent or ("no Redis" if drill.redis is None else "running"),
    )
    code = await drill.ask_as_a_bot()
    drill.tell(
        "a bot is free to trade",
        f"python3 trading_lock.py {drill.settings.trading_lock_file}",
        holds=code == 0,
        figures=f"exit {code}, 0 is free",
    )


async def _document(drill: Drill) -> dict[str, Any]:
    """What `switch --json` shows, read in this process."""
    from clock import SystemClock
    from commands.status.switch import to_document
    from commands.switch.look import look

    return to_document(await look(drill.settings, clock=SystemClock()))


async def _kill(drill: Drill) -> None:
    """Line 8: by the shortest way there is; every book is locked down."""
    from model import Stage
    from switch_model import SwitchState

    if drill.redis is not None:
        command = "redis-cli SET trading_switch kill"
        holds, figures = await drill.set_redis(SwitchState.KILL, note="kill")
    else:
        command = "python3 killswitch.py switch kill --yes"
        await drill.run("switch", "kill", "--yes", "--actor", ACTOR)
        holds, figures = await drill.sees("kill")
    give_up_at = time.monotonic() + SEEN_WITHIN_S
    books = drill.report().books
    while time.monotonic() < give_up_at:
        books = drill.report().books
        if all(book.state.stage is Stage.LOCKDOWN for book in books):
            break
        await asyncio.sleep(LOOK_EVERY_S)
    free = [book.state.name for book in books if book.state.stage is not Stage.LOCKDOWN]
    drill.tell(
        "kill locks every bot and every book down",
        command,
        holds=holds and not free,
        figures=figures if not free else f"{figures}; not in LOCKDOWN: {', '.join(free)}",
    )


async def _leave(drill: Drill) -> None:
    """Line 9: leaving kill leaves LOCKDOWN, which a reset ends."""
    from model import Stage

    code, told = await drill.run("switch", "running", "--yes", "--actor", ACTOR)
    books = drill.report().books
    stays = all(book.state.stage is Stage.LOCKDOWN for book in books)
    locked = await drill.ask_as_a_bot()
    figures = [] if code == 0 else [told]
    figures += [] if stays and locked == 1 else ["leaving kill has ended LOCKDOWN"]
    figures += await reset_books(drill)
    free = await drill.ask_as_a_bot()
    figures += [] if free == 0 else ["bots are still locked"]
    drill.tell(
        "leaving kill keeps LOCKDOWN; reset ends it, and bots are free",
        "python3 killswitch.py switch running --yes; python3 killswitch.py reset BOOK",
        holds=not figures,
        figures="; ".join(figures) or f"{len(books)} book(s) reset",
    )


async def reset_books(drill: Drill) -> list[str]:
    """Reset every book in LOCKDOWN; what could not be reset."""
    from model import Stage

    failed = []
    for book in drill.report().books:
        name = book.state.name
        if book.state.stage is Stage.LOCKDOWN:
            code, told = await drill.run("reset", name, "--confirm", name, "--reason", ACTOR)
            failed += [] if code == 0 else [f"reset {name}: {told}"]
    return failed


def _recorded(drill: Drill) -> None:
    """Line 10: each change stands in the database, with store and actor."""
    report = drill.report()
    found = {
        f"{one.store} {one.old}->{one.new}"
        for one in report.switch.transitions
        if one.actor == ACTOR
    }
    wanted = {"local running->pause", "local pause->running"}
    if drill.redis is not None:
        wanted |= {"redis pause->halt", "redis halt->running", "redis running->kill"}
        wanted |= {"redis kill->running"}
    missing = sorted(wanted - found)
    drill.tell(
        "every change is recorded with time, store and actor",
        "python3 killswitch.py switch",
        holds=not missing,
        figures=f"missing: {', '.join(missing)}" if missing else f"{len(wanted)} changes",
    )


# --- before and after -------------------------------------------------------------------------


def refuse(drill: Drill, options: argparse.Namespace) -> str:
    """Why the drill does not begin; empty when it may."""
    from errors import StoreError
    from model import Stage
    from switch_model import SwitchState

    try:
        report = drill.report()
    except (StoreError, OSError) as error:
        return f"{error} -> start the guard in dry run"
    if report.holder is None:
        return "no guard runs -> start it: python3 killswitch.py --dry-run"
    if not report.dry_run and not options.close_everything:
        return "the guard is LIVE, and the kill would close everything -> start it with --dry-run"
    if drill.settings.redis is not None and not options.with_redis:
        place = drill.settings.redis
        return f"whoever obeys the Redis at {place} takes part -> write --with-redis to go on"
    if report.switch.effective is not SwitchState.RUNNING:
        return f"the switch says {report.switch.effective} -> end that first, see `switch`"
    raised = [book.state.name for book in report.books if book.state.stage is not Stage.NORMAL]
    return f"not NORMAL: {', '.join(raised)} -> reset first" if raised else ""


async def put_back(drill: Drill) -> list[str]:
    """Leave the switch running and the books NORMAL, as they were; what could not be put back."""
    from model import Stage
    from switch_model import SwitchState

    failed: list[str] = []
    if drill.redis is not None and (why := await drill.redis(SwitchState.RUNNING)):
        failed.append(f"redis: {why}")
    report = drill.report()
    if report.switch.effective is not SwitchState.RUNNING:
        code, told = await drill.run("switch", "running", "--yes", "--actor", ACTOR)
        failed += [] if code == 0 else [told]
    if any(book.state.stage is Stage.LOCKDOWN for book in report.books):
        failed += await reset_books(drill)
    return failed


@asynccontextmanager
async def _phone(settings: Settings) -> AsyncIterator[Callable[[SwitchState], Any] | None]:
    """Sets the key as anybody with its password does."""
    from clock import SystemClock
    from commands.switch.stores import redis_at
    from switch_model import RedisWrite

    if settings.redis is None:
        yield None
        return
    async with redis_at(settings.redis, clock=SystemClock()) as redis:

        async def set_key(state: SwitchState) -> str:
            what = RedisWrite(state=state, actor=ACTOR, reason="drill", is_only_if_missing=False)
            return await redis.write(what)

        yield set_key


async def run_drill(settings: Settings, options: argparse.Namespace) -> int:
    """Walk, put back, tell; returns the exit code."""
    async with _phone(settings) as phone:
        drill = Drill(settings=settings, redis=phone)
        why = refuse(drill, options)
        if why:
            print(f"switch_drill: {why}", file=sys.stderr)
            return 2
        at, left = time.time(), ["it was interrupted"]
        try:
            await walk(drill)
        finally:
            left = await put_back(drill)
    document = to_document(drill, at=at, left=left)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        show(drill, at=at, left=left)
    return 0 if document["passed"] else 1


# --- telling ----------------------------------------------------------------------------------


def to_document(drill: Drill, *, at: float, left: list[str]) -> dict[str, Any]:
    """The result for machines."""
    return {
        "version": 1,
        "ts": at,
        "config": str(drill.settings.path),
        "passed": not left and not any(line.verdict == "FAIL" for line in drill.lines),
        "lines": [asdict(line) for line in drill.lines],
        "not_put_back": left,
    }


def show(drill: Drill, *, at: float, left: list[str]) -> None:
    """The result for a person, to be kept."""
    print(f"Switch drill  {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC")
    print(f"{drill.settings.path}")
    for line in drill.lines:
        print(f"{line.number:2d}  {line.verdict}  {line.text}  ({line.figures})")
        if line.verdict == "FAIL":
            print(f"          prove it by hand: {line.command}")
    for what in left:
        print(f"NOT PUT BACK: {what}")
    counts = [line.verdict for line in drill.lines]
    print(
        f"{counts.count('pass')} pass, {counts.count('FAIL')} fail, "
        f"{counts.count('none')} without a Redis to prove"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong usage ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="tools/switch_drill.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 when every line passes, 1 otherwise, 2 where it did not begin.",
    )
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="settings file (config.yaml)"
    )
    parser.add_argument(
        "--with-redis", action="store_true", help="whoever obeys this Redis takes part in it"
    )
    parser.add_argument(
        "--close-everything",
        action="store_true",
        help="drill a LIVE guard: the kill closes every position for real",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill; returns the exit code."""
    options = parse(arguments)
    from errors import ConfigurationError
    from settings import load_settings

    try:
        settings = load_settings(options.config, os.environ, require_venues=False)
    except ConfigurationError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    return asyncio.run(run_drill(settings, options))


if __name__ == "__main__":
    sys.exit(main())
