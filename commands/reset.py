"""`reset BOOK`: say what a reset will and will not do, ask for confirmation, hand it over."""

from __future__ import annotations

import sys
from pathlib import Path

from commands.requests import ask
from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, read_settings
from errors import StoreError
from memory import BookMemory
from model import BookName, Stage
from store_views import read_status


def reset_book(
    config: Path, *, book: str, confirmation: str | None, reason: str, force: bool
) -> int:
    """Reset one book; returns the exit code."""
    settings = read_settings(config, require_venues=False)
    if settings is None:
        return EXIT_CONFIGURATION
    policy = settings.to_policy()
    if policy.book(BookName(book)) is None:
        names = ", ".join(known.name for known in policy.books)
        print(f"reset: there is no book {book!r} -> write one of: {names}", file=sys.stderr)
        return EXIT_CONFIGURATION
    try:
        known = read_status(settings.state_db, dry_run=policy.dry_run).books
    except StoreError as error:
        print(f"reset: {error}", file=sys.stderr)
        return EXIT_FAILED
    state = next((m for m in known if m.name == book), BookMemory(name=BookName(book)))
    print(_explain(state), file=sys.stderr)
    if state.stage >= Stage.ALL_CLOSED and confirmation is None:
        if not sys.stdin.isatty():
            print(f"reset: write --confirm {book} to go on", file=sys.stderr)
            return EXIT_CONFIGURATION
        confirmation = input(f"Type the book's name to reset it ({book}): ").strip()
    return ask(
        settings,
        command="reset",
        arguments={"book": book, "reason": reason, "force": "true" if force else "false"},
        confirmation=confirmation or "",
    )


def _explain(state: BookMemory) -> str:
    """What the book's state is, and what a reset changes and leaves."""
    lines = [f"{state.name} is in {state.stage.name}."]
    if state.incident is not None:
        open_targets = len(state.incident.targets)
        lines.append(f"An incident with {open_targets} targets is recorded; it will be abandoned.")
    lines.append(
        "A reset makes it NORMAL, measures drawdown from now on, clears streaks and cooldowns, and "
        "lifts the book's lock, so bots may trade."
    )
    lines.append(
        "It does not buy back what was closed, restore cancelled orders, or touch other books."
    )
    return "\n".join(lines)
