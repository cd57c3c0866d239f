"""`reset BOOK`: say what a reset will and will not do, ask for confirmation, hand it over."""

from __future__ import annotations

import sys
from pathlib import Path

from commands.requests import ask
from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, read_settings
from errors import StoreError, StoreMissing, StoreUnreadable
from memory import BookMemory
from model import BookName, Stage
from settings import Settings
from store.views import read_status


def reset_book(
    config: Path, *, book: str, confirmation: str | None, reason: str, force: bool
) -> int:
    """Reset one book; returns the exit code."""
    settings = read_settings(config, require_venues=False)
    if settings is None:
        return EXIT_CONFIGURATION
    policy = settings.to_policy()
    is_configured = policy.book(BookName(book)) is not None
    try:
        state = _state_of(settings, BookName(book), dry_run=policy.dry_run)
        live = _state_of(settings, BookName(book), dry_run=False)
    except StoreError as error:
        print(f"reset: {error}", file=sys.stderr)
        return EXIT_FAILED
    if not is_configured and not state.holds_back:
        names = ", ".join(known.name for known in policy.books)
        print(f"reset: there is no book {book!r} -> write one of: {names}", file=sys.stderr)
        return EXIT_CONFIGURATION
    print(_explain(state, is_configured=is_configured), file=sys.stderr)
    if policy.dry_run and live.stage is not Stage.NORMAL:
        print(
            f"The live guard left {book} in {live.stage.name}. This reset is of the dry run alone; "
            "that state and its lock stay until a reset with dry_run: false.",
            file=sys.stderr,
        )
    if state.stage >= Stage.ALL_CLOSED and confirmation is None:
        if not sys.stdin.isatty():
            print(f"reset: write --confirm {book} to go on", file=sys.stderr)
            return EXIT_CONFIGURATION
        confirmation = _typed(f"Type the book's name to reset it ({book}): ")
    return ask(
        settings,
        command="reset",
        arguments={"book": book, "reason": reason, "force": "true" if force else "false"},
        confirmation=confirmation or "",
    )


def _state_of(settings: Settings, book: BookName, *, dry_run: bool) -> BookMemory:
    """What the database knows of a book; a blank state where there is no database to read.

    A lost database is recovered by whoever carries the reset out. Raises StoreError otherwise.
    """
    try:
        known = read_status(settings.state_db, dry_run=dry_run).books
    except (StoreMissing, StoreUnreadable):
        known = ()
    return next((memory for memory in known if memory.name == book), BookMemory(name=book))


def _typed(question: str) -> str:
    """What the operator types, nothing when the terminal goes away."""
    try:
        return input(question).strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _explain(state: BookMemory, *, is_configured: bool) -> str:
    """What the book's state is, and what a reset changes and leaves."""
    lines = [f"{state.name} is in {state.stage.name}."]
    if not is_configured:
        lines.append(
            "It is no longer configured: nobody reads or closes there, so that only --force can "
            "reset it. Put the account back to have an open incident carried on."
        )
    if state.incident is not None:
        open_targets = len(state.incident.targets)
        lines.append(
            f"An incident with {open_targets} targets is open. It is abandoned only with --force "
            "as long as a target of it is not reached."
        )
    lines.append(
        "A reset makes it NORMAL, measures drawdown from now on, clears streaks and cooldowns, and "
        "lifts the book's lock, so bots may trade."
    )
    lines.append(
        "It does not buy back what was closed, restore cancelled orders, or touch other books."
    )
    return "\n".join(lines)
