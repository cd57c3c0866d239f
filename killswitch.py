#!/usr/bin/env python3
"""The command line of the guard: parses words, hands them on, decides nothing.

Every command's work lives in `commands/`, imported only when it is asked for, so that `--help`
answers at once and never loads the exchange library.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

MISSING = "killswitch: the package {} is missing -> pip install -r requirements.txt\n"

try:
    import typer
except ModuleNotFoundError as missing:
    sys.stderr.write(MISSING.format(missing.name))
    sys.exit(2)

DEFAULT_CONFIG = Path("config.yaml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file; config.yaml when not given.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
db = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look at the guard's database.")
app.add_typer(db, name="db")


@dataclass(frozen=True, slots=True)
class _Common:
    """What was given before a command's name."""

    config: Path


def _config(context: typer.Context, given: Path | None) -> Path:
    common = context.obj
    if given is not None:
        return given
    return common.config if isinstance(common, _Common) else DEFAULT_CONFIG


def _leave(code: int) -> None:
    raise typer.Exit(code)


HELP = """Watch accounts and, when one falls, close the side that lost.

Without a command the guard runs until it is stopped: it reads every account whose keys are in
the environment or .env, remembers what it read, and acts by the stages in config.yaml.

\b
First steps:
  python3 killswitch.py --test-mock   a whole crash, played on this machine
  python3 killswitch.py check         is the key right, could everything be closed?
  python3 killswitch.py --once        read your accounts once and show them
  python3 killswitch.py --dry-run     decide on your accounts, send nothing
  python3 killswitch.py status        what the guard sees and has done
  python3 killswitch.py switch halt   stop the bots; `kill` closes everything

\b
Exit codes: 0 fine, 1 failed or found a fault, 2 wrong usage or configuration,
3 another instance holds this state directory.
"""


@app.callback(invoke_without_command=True, help=HELP)
def run(
    context: typer.Context,
    config: ConfigOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Read every account once, print it, and end.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Decide and report, send nothing, whatever the file says."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log every tick, all figures, and tracebacks.")
    ] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log JSON on a terminal, as everywhere else.")
    ] = False,
    test_mock: Annotated[
        bool,
        typer.Option(
            "--test-mock", help="Play a crash against a simulated exchange; needs no keys."
        ),
    ] = False,
    tape: Annotated[
        Path | None,
        typer.Option(
            "--tape", metavar="PATH", help="With --test-mock: candles, one CSV or a folder."
        ),
    ] = None,
    event: Annotated[
        str | None,
        typer.Option("--event", metavar="PREFIX", help="With --tape: files whose name begins so."),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="With --tape: begin at this UTC time."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="With --tape: end at this UTC time.")
    ] = None,
    book: Annotated[
        Path | None,
        typer.Option("--book", metavar="FILE", help="With --tape: the positions to begin with."),
    ] = None,
    broken: Annotated[str | None, typer.Option("--break", hidden=True)] = None,
) -> None:
    """Run the guard until it is stopped, or hand over to a command."""
    context.obj = _Common(config=config or DEFAULT_CONFIG)
    if context.invoked_subcommand is not None:
        # Ignored in silence, `--dry-run reset BOOK` would carry out a reset in earnest.
        switches = {"--once": once, "--dry-run": dry_run, "--test-mock": test_mock}
        misplaced = [name for name, is_given in switches.items() if is_given]
        if misplaced:
            command = context.invoked_subcommand
            typer.echo(f"{', '.join(misplaced)} does not go with {command}", err=True)
            _leave(2)
        return
    if test_mock:
        from commands.test_mock.play import play

        _leave(play(tape=tape, event=event, begin=begin, end=end, book=book, broken=broken))
    if any(value is not None for value in (tape, event, begin, end, book, broken)):
        typer.echo("--tape and its options belong to --test-mock", err=True)
        _leave(2)
    from commands.run import run_guard

    _leave(
        run_guard(
            config or DEFAULT_CONFIG,
            once=once,
            force_dry_run=dry_run,
            verbose=verbose,
            log_json=log_json,
        )
    )


@app.command()
def status(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds.")
    ] = False,
) -> None:
    """Show books, drawdowns, stages, lock, actions."""
    from commands.status.show import show_status

    _leave(show_status(_config(context, config), as_json=as_json, watch=watch))


CHECK_HELP = """Ask every account whether the guard could close it now.

Shows the connection, the clock, what the key may do, what is not watched, everything that would
hinder a close of today's positions, and what each stage would close, cost and take.

It sends no order and changes nothing; a guard may run beside it. Exit 1: a fault was found.
"""


@app.command(help=CHECK_HELP, short_help="Could everything be closed now?")
def check(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    notify: Annotated[
        bool, typer.Option("--notify", help="Send a test message to every target of alerts.")
    ] = False,
) -> None:
    """Ask every account whether the guard could close it now."""
    from commands.check.show import show_check

    _leave(show_check(_config(context, config), as_json=as_json, is_notifying=notify))


@app.command()
def reset(
    context: typer.Context,
    book: Annotated[str, typer.Argument(help="The book's name, as status shows it.")],
    config: ConfigOption = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="BOOK", help="The name again, where none can be typed."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Reset without fresh readings and with a close open.")
    ] = False,
) -> None:
    """Bring a book back to NORMAL.

    The book's baseline moves to now, its lock is lifted and an open incident ends as ABANDONED.
    Nothing is bought back and no order is restored.
    """
    from commands.reset import reset_book

    _leave(
        reset_book(
            _config(context, config), book=book, confirmation=confirm, reason=reason, force=force
        )
    )


@app.command(context_settings={"ignore_unknown_options": True})
def flow(
    context: typer.Context,
    book: Annotated[str, typer.Argument(help="The book's name, as status shows it.")],
    amount: Annotated[float, typer.Argument(help="Money that came in, or left: -250.")],
    config: ConfigOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
) -> None:
    """Book a deposit or withdrawal by hand.

    Money that came or went is then neither a gain nor a loss.
    """
    from commands.flow import book_flow

    _leave(book_flow(_config(context, config), book=book, amount=amount, reason=reason))


SWITCH_HELP = """Show what bots and guard are to do, or set it.

\b
  running  bots trade, the guard watches
  pause    bots take no new signals; positions and orders are untouched
  halt     bots place no orders; what could open is cancelled, positions stay
  kill     every position is closed, every order cancelled, LOCKDOWN until reset

Two stores hold a state, the guard's database and a Redis where one is configured; the more severe
counts. Setting writes each of them by itself, whatever the other does. What is milder than before
the guard loosens, or this command where none runs. kill, and leaving it, ask for the word; --yes
stands for it in scripts.

Leaving kill does not end LOCKDOWN: `reset BOOK` does. No state but kill closes anything.

\b
From any machine, with nothing but a Redis (its password in the environment, not on the line):
  REDIS_PASSWORD=... python3 killswitch.py switch kill --yes --redis-url redis://HOST:6379
A key in Redis is all there is to it: redis-cli SET trading_switch kill

Exit 1: a store that should hold it does not, or the guard does not show that it obeys.
"""


@app.command(help=SWITCH_HELP, short_help="Show or set: running, pause, halt, kill.")
def switch(
    context: typer.Context,
    state: Annotated[
        str | None, typer.Argument(metavar="[STATE]", help="running, pause, halt or kill.")
    ] = None,
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the word kill.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    actor: Annotated[
        str, typer.Option("--actor", help="Who; your user and machine when not given.")
    ] = "",
    redis_url: Annotated[
        str | None,
        typer.Option(
            "--redis-url",
            metavar="URL",
            help="This Redis alone, without a configuration. REDIS_URL where there is none.",
        ),
    ] = None,
    redis_prefix: Annotated[
        str, typer.Option("--redis-prefix", help="With --redis-url: the guard's key_prefix.")
    ] = "",
    redis_ca_file: Annotated[
        Path | None, typer.Option("--redis-ca-file", help="With --redis-url: its tls_ca_file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what bots and guard are to do, or set it."""
    from commands.switch.run import SwitchOptions, run_switch

    options = SwitchOptions(
        state=state,
        is_confirmed=yes,
        reason=reason,
        actor=actor,
        as_json=as_json,
        redis_url=redis_url,
        key_prefix=redis_prefix,
        ca_file=redis_ca_file,
    )
    _leave(run_switch(_config(context, config), options))


@app.command()
def ack(
    context: typer.Context,
    config: ConfigOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
) -> None:
    """Silence the repeats of what alerts now.

    Something new, something more severe, and what comes again after it was over sound as before.
    Nothing but the alerts changes.
    """
    from commands.ack import acknowledge

    _leave(acknowledge(_config(context, config), reason=reason))


STATS_HELP = """Show how large the database is, what it keeps, and whether it is sound.

Every reading is kept for a day. Then one a minute stays, the best of it: equity for 90 days and
from there on one an hour, positions for 7 days and from there to 90 days one an hour. Stages,
incidents, orders, flows and actions stay for ever. The guard thins in small steps while it rests.

The file never shrinks: room that was freed is used again. To give it back to the disk, stop the
guard and run: sqlite3 FILE VACUUM

The database is only read, whether the guard runs or not. Exit 1: there is none, or it is damaged.
"""


@db.command("stats", help=STATS_HELP, short_help="Show its size and content; is it sound?")
def db_stats(
    context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show the size and content of the database."""
    from commands.database import show_statistics

    _leave(show_statistics(_config(context, config), as_json=as_json))


if __name__ == "__main__":
    from uncaught import watch_process

    watch_process()
    try:
        # Called through `app()`, typer would put its own hook in the place of ours.
        sys.exit(typer.main.get_command(app)())
    except ModuleNotFoundError as missing:
        sys.stderr.write(MISSING.format(missing.name))
        sys.exit(2)
