"""`check`: asks every account with its real keys, or on the simulator, and says what it found."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from clock import Clock, SystemClock
from commands.check.ask import Tell, check_accounts, judge_between
from commands.check.document import to_document
from commands.check.machine import judge_machine
from commands.check.report import CheckReport
from commands.check.screen import render
from commands.run import (
    EXIT_CONFIGURATION,
    EXIT_FAILED,
    EXIT_FINE,
    LEAVE_WITHIN_S,
    begin_log,
    bounded_end,
    read_settings,
)
from errors import ConfigurationError
from findings import Finding, Level, Topic
from settings import Settings
from state_lock import find_holder


def show_check(config: Path, *, as_json: bool, is_notifying: bool = False) -> int:
    """Check everything once; returns the exit code: 1 with any fault, 2 for the configuration.

    With `is_notifying` every target of alerts gets a test message.
    """
    settings = read_settings(config)
    if settings is None:
        return EXIT_CONFIGURATION
    if is_notifying and not settings.notifications.targets:
        print("check: notifications.targets is empty -> see docs/alerts.md", file=sys.stderr)
        return EXIT_CONFIGURATION
    log = begin_log(settings)
    try:
        with bounded_end(within_s=LEAVE_WITHIN_S, log=log) as end_with:
            done = _run(settings, as_json=as_json, is_notifying=is_notifying, end_with=end_with)
            return asyncio.run(done)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIGURATION


async def _run(
    settings: Settings, *, as_json: bool, is_notifying: bool, end_with: Callable[[int], None]
) -> int:
    """Check and print; what still hangs afterwards, as a name server does, is not waited for."""
    with _progress() as tell:
        report = await check(settings, clock=SystemClock(), tell=tell)
    if is_notifying:
        from commands.check.notify import try_targets

        report = replace(report, alerts=await try_targets(settings, now=report.now))
    if as_json:
        print(json.dumps(to_document(report), indent=2, allow_nan=False))
    else:
        Console().print(render(report))
    sys.stdout.flush()
    code = EXIT_FAILED if report.has_fault else EXIT_FINE
    end_with(code)
    return code


async def check(settings: Settings, *, clock: Clock, tell: Tell) -> CheckReport:
    """Ask everything and judge it. Raises ConfigurationError."""
    scopes = await check_accounts(settings, clock=clock, tell=tell)
    now = clock.now()
    holder = find_holder(settings.state_dir)
    return CheckReport(
        now=now,
        config=str(settings.path),
        dry_run=settings.dry_run,
        pid=None if holder is None else holder.pid or 0,
        machine=judge_machine(settings, is_running=holder is not None, now=now),
        scopes=scopes,
        between=(
            *judge_between(scopes, settings.to_policy()),
            *(_not_watched(line) for line in settings.unwatched),
        ),
    )


def _not_watched(line: str) -> Finding:
    return Finding(
        level=Level.WARNING,
        topic=Topic.NOT_WATCHED,
        what=line,
        remedy="watch it by other means, or write enabled: false",
    )


@contextmanager
def _progress() -> Iterator[Tell]:
    """On a terminal, a line that names who has not answered yet and vanishes at the end."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _waiting: None
        return
    with console.status("asking") as status:
        yield lambda waiting: status.update(f"asking {waiting}" if waiting else "judging")
