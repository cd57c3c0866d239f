"""`status`: what the guard sees and has done, from its files, whether it runs or not.

Reads the database without the right to write, the lock file, and who holds the state directory.
It talks to no exchange and needs no keys.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from clock import Clock, SystemClock
from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_FINE, read_settings
from commands.status.document import to_document
from commands.status.lock import look_at_lock
from commands.status.machine import say_troubles
from commands.status.report import (
    StatusReport,
    build_report,
    is_dry_run,
    needed_history_s,
)
from commands.status.screen import render
from commands.status.wording import say_span
from errors import StoreError, StoreMissing
from settings import Settings
from state_lock import find_holder
from store.views import read_status

WATCH_S = 2.0


def show_status(config: Path, *, as_json: bool, watch: bool) -> int:
    """Show the status once, or every two seconds until Ctrl-C; returns the exit code."""
    settings = read_settings(config, require_venues=False)
    if settings is None:
        return EXIT_CONFIGURATION
    clock, console = SystemClock(), Console()
    report = _read(settings, clock)
    if isinstance(report, str):
        print(report, file=sys.stderr)
        return EXIT_FAILED
    if watch:
        pause = Event().wait
        return watch_status(settings, console=console, as_json=as_json, clock=clock, pause=pause)
    _print(report, console, as_json=as_json)
    return EXIT_FINE


def read_report(settings: Settings, *, now: float) -> StatusReport:
    """Read everything at `now`; raises as `read_status`, and OSError for the state directory."""
    policy = settings.to_policy()
    holder = find_holder(settings.state_dir)
    lock = look_at_lock(settings.trading_lock_file, now=now)
    dry_run = is_dry_run(lock, holder, configured=settings.dry_run)
    return build_report(
        read_status(settings.state_db, dry_run=dry_run, history_s=needed_history_s(policy)),
        policy=policy,
        dry_run=dry_run,
        holder=holder,
        lock=lock,
        config=str(settings.path),
        state_db=str(settings.state_db),
        now=now,
    )


def watch_status(
    settings: Settings,
    *,
    console: Console,
    as_json: bool,
    clock: Clock,
    pause: Callable[[float], object],
) -> int:
    """Show the status every two seconds until Ctrl-C; returns the exit code.

    On a terminal it takes the whole screen and leaves the last report behind; elsewhere every
    round is printed below the one before, JSON on one line each. A round that cannot be read says
    why, and the next one tries again.
    """
    last: StatusReport | str = ""
    with suppress(KeyboardInterrupt):
        if as_json or not console.is_terminal:
            while True:
                _print(_read(settings, clock), console, as_json=as_json, indent=None)
                pause(WATCH_S)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                last = _read(settings, clock)
                live.update(_screen(last), refresh=True)
                pause(WATCH_S)
    if last:
        console.print(_screen(last))
    return EXIT_FINE


def _read(settings: Settings, clock: Clock) -> StatusReport | str:
    """The report of this moment, or in one line why there is none."""
    try:
        return read_report(settings, now=clock.now())
    except StoreMissing as error:
        return f"status: {error}"
    except (StoreError, OSError) as error:
        return "\n".join((f"status: {error}", *_say_lock(settings, now=clock.now())))


def _say_lock(settings: Settings, *, now: float) -> Iterator[str]:
    """What is known of guard and bots without the database."""
    lock = look_at_lock(settings.trading_lock_file, now=now)
    if lock.heartbeat_ts is not None:
        yield f"the guard wrote its lock {say_span(now - lock.heartbeat_ts)} ago"
    yield f"bots must not open: {lock.strict.reason}" if lock.strict.locked else "bots may trade"
    yield from say_troubles(lock)


def _screen(report: StatusReport | str) -> RenderableType:
    return Text(report, style="bold red") if isinstance(report, str) else render(report)


def _print(
    report: StatusReport | str, console: Console, *, as_json: bool, indent: int | None = 2
) -> None:
    """Write one report; what hinders it goes to stderr, so that a reader of JSON sees JSON only."""
    if isinstance(report, str):
        print(report, file=sys.stderr)
    elif as_json:
        print(json.dumps(to_document(report), indent=indent, allow_nan=False), flush=True)
    else:
        console.print(render(report))
