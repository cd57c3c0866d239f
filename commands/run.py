"""`killswitch.py`: watch the accounts until told to stop, or once."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from clock import SystemClock
from commands.service import Service
from errors import ConfigurationError, InvariantViolation, LockError, StateLockHeld, StoreError
from logger import Logger, configure_logging, get_logger
from memory import Memory, Severity
from model import ScopeId
from policy import AccountKind
from redaction import Redactor
from reserves import raise_descriptor_limit
from settings import Settings, load_settings
from state_lock import claim_lock_file
from uncaught import learn_secrets

if TYPE_CHECKING:
    from commands.assembly import Assembly

EXIT_FINE = 0
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_HELD = 3
LEAVE_WITHIN_S = 15.0
"""Longer than SQLite waits for a foreign lock and a connection may take to close, together."""


def read_settings(path: Path, *, require_venues: bool = True) -> Settings | None:
    """Load the settings, or print what is wrong with them to stderr and return None."""
    try:
        settings = load_settings(path, os.environ, require_venues=require_venues)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return None
    learn_secrets(Redactor(settings.secrets()))
    return settings


def begin_log(settings: Settings, *, verbose: bool = False, log_json: bool = False) -> Logger:
    """Send the log to stderr: for people on a terminal, as JSON elsewhere or when asked to."""
    redactor = Redactor(settings.secrets())
    configure_logging(
        redactor=redactor,
        json_output=log_json or not sys.stderr.isatty(),
        verbose=verbose,
        stream=sys.stderr,
    )
    log = get_logger("killswitch")
    learn_secrets(redactor, log)
    return log


def run_guard(
    config: Path, *, once: bool, force_dry_run: bool, verbose: bool, log_json: bool
) -> int:
    """Run the guard; returns the exit code."""
    # First of all: a stop that is asked for while the settings are read is a stop in order, too.
    with nullcontext(Service()) if once else Service.begin(os.environ) as service:
        settings = read_settings(config)
        if settings is None:
            return EXIT_CONFIGURATION
        if force_dry_run:
            settings = replace(settings, dry_run=True)
        log = begin_log(settings, verbose=verbose, log_json=log_json)
        return _run_settled(settings, once=once, service=service, log=log)


def _run_settled(settings: Settings, *, once: bool, service: Service, log: Logger) -> int:
    """Run with settings that are in order; whatever prevents it becomes a line and an exit code."""
    raise_descriptor_limit()
    try:
        with (
            service.take(settings.state_dir),
            claim_lock_file(settings.trading_lock_file),
            bounded_end(within_s=LEAVE_WITHIN_S, log=log) as end_with,
        ):
            guard = _run(settings, once=once, log=log, service=service, end_with=end_with)
            return asyncio.run(guard)
    except StateLockHeld as held:
        if service.is_stopping:
            return EXIT_FINE
        holder = "another process" if held.pid is None else f"process {held.pid}"
        print(f"{holder} holds {settings.state_dir}: one guard at a time", file=sys.stderr)
        return EXIT_HELD
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIGURATION
    except ModuleNotFoundError as missing:
        print(
            f"the package {missing.name} is missing -> "
            "python3 -m pip install --require-hashes -r requirements.txt",
            file=sys.stderr,
        )
        return EXIT_CONFIGURATION
    except InvariantViolation as violation:
        message = f"stopped by a fault of the guard itself: {violation}"
        log.critical("invariant_violated", message=message, exc_info=violation)
        return EXIT_FAILED
    except (StoreError, LockError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED


async def _run(
    settings: Settings,
    *,
    once: bool,
    log: Logger,
    service: Service,
    end_with: Callable[[int], None],
) -> int:
    # Here and not above: the other commands read their settings through this file and must not
    # wait for everything a running guard needs.
    from commands.assembly import assemble
    from supervision import stray_fault_handler

    clock = SystemClock()
    asyncio.get_running_loop().set_exception_handler(stray_fault_handler(log))
    async with assemble(settings, clock=clock, log=log, is_telling=not once) as guard:
        if settings.dry_run and await guard.store.has_open_incident(dry_run=False):
            print(
                "a live incident is open: a dry run would leave it unattended -> "
                "start without --dry-run and with dry_run: false, or end it with reset",
                file=sys.stderr,
            )
            return EXIT_FAILED
        _announce(settings, guard, log)
        code = EXIT_FAILED
        try:
            if once:
                mask = Redactor(settings.secrets()).text
                looks = await guard.guardian.run_once()
                doubts = {scope: mask(why) for scope, why in looks.items()}
                show_accounts(guard.guardian.memory, settings, doubts=doubts)
                code = EXIT_FAILED if any(doubts.values()) else EXIT_FINE
            else:
                await service.watch(guard.guardian, policy=guard.policy, clock=clock)
                said = "as asked; positions and locks stay as they are"
                log.info("stopped", message=said)
                if guard.alerts is not None:
                    guard.alerts.say("stopped", said)
                code = EXIT_FINE
        except InvariantViolation as violation:
            if guard.alerts is not None:
                said = f"by a fault of the guard itself, bots are locked: {violation}"
                guard.alerts.say("stopped", said, Severity.CRITICAL)
            raise
        finally:
            end_with(code)
    return code


@contextmanager
def bounded_end(*, within_s: float, log: Logger) -> Iterator[Callable[[int], None]]:
    """Give a way to say "from here on only files and connections are closed": it may take so long.

    Then the process ends with the code that was told, whatever still hangs. The event loop waits
    for its threads for ever, and one that asks a name server which does not answer would keep the
    state directory from the guard that is to be started next.
    """
    watchdogs: list[threading.Timer] = []

    def leave(code: int) -> None:
        log.error("left_by_force", message=f"something still hung after {within_s:g} s")
        os._exit(code)

    def end_with(code: int) -> None:
        watchdogs.append(threading.Timer(within_s, leave, (code,)))
        watchdogs[-1].daemon = True
        watchdogs[-1].start()

    try:
        yield end_with
    finally:
        for watchdog in watchdogs:
            watchdog.cancel()


def _announce(settings: Settings, guard: Assembly, log: Logger) -> None:
    mode = "DRY RUN: nothing is sent" if settings.dry_run else "LIVE"
    books, places = [book.name for book in guard.policy.books], guard.policy.practice_places()
    on = ",".join(f" on the {kind.upper()} ({', '.join(scopes)})" for kind, scopes in places)
    said = f"{mode}, watching {', '.join(books)}{on}"
    if guard.alerts is not None:
        guard.alerts.say("started", said)
    log.info(
        "started",
        message=said,
        mode=mode,
        books=books,
        practice={kind.value: list(scopes) for kind, scopes in places},
        state_db=str(settings.state_db),
        lock=str(settings.trading_lock_file),
    )
    for line in settings.unwatched:
        log.warning("not_watched", message=line)
    for notice in guard.notices:
        log.warning("recovered", message=notice)


def show_accounts(memory: Memory, settings: Settings, *, doubts: Mapping[ScopeId, str]) -> None:
    """Print equity and positions of every scope that was just read and is trusted.

    Of any other, `doubts` says why not; what was known of it before is not shown as if it held.
    """
    console = Console()
    policy = settings.to_policy()
    for scope in (scope for venue in settings.venues for scope in venue.scopes):
        reading = memory.scope(scope).last_trusted
        if reading is None or doubts.get(scope):
            why = doubts.get(scope) or "nothing was read"
            print(f"{scope}: no trusted reading: {why}", file=sys.stderr)
            continue
        kind = policy.kind_of(scope)
        mark = "" if kind is AccountKind.LIVE else f"  {kind.upper()}"
        table = Table(
            title=f"{scope}{mark}   equity {reading.equity:,.2f}   "
            f"{reading.position_mode.value.lower().replace('_', '-')}",
            title_justify="left",
        )
        for name in ("symbol", "side", "quantity", "entry", "mark", "notional", "unrealised"):
            table.add_column(name, justify="left" if name in ("symbol", "side") else "right")
        for position in sorted(reading.positions, key=lambda p: -p.notional):
            table.add_row(
                position.symbol,
                position.side.value,
                f"{position.quantity:f}",
                f"{position.entry_price:,.6g}",
                f"{position.mark_price:,.6g}",
                f"{position.notional:,.2f}",
                f"{round(position.unrealised_pnl, 2) + 0.0:+,.2f}",
            )
        for coin in sorted(reading.coins, key=lambda c: -float(c.quantity) * c.price):
            value = f"{float(coin.quantity) * coin.price:,.2f}"
            price = f"{coin.price:,.6g}"
            table.add_row(coin.asset, "COIN", f"{coin.quantity:f}", "-", price, value, "-")
        is_empty = not reading.positions and not reading.coins
        console.print(table.title or "" if is_empty else table)
        if is_empty:
            console.print("no positions")
        if reading.unpriced:
            console.print(f"without a price, counted as 0: {', '.join(reading.unpriced)}")
