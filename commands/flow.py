"""`flow BOOK AMOUNT`: book money that came or went, where the venue's records do not show it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from commands.requests import ask
from commands.run import EXIT_CONFIGURATION, read_settings
from model import BookName


def book_flow(config: Path, *, book: str, amount: float, reason: str) -> int:
    """Book a flow by hand; returns the exit code."""
    settings = read_settings(config, require_venues=False)
    if settings is None:
        return EXIT_CONFIGURATION
    policy = settings.to_policy()
    if policy.book(BookName(book)) is None:
        names = ", ".join(known.name for known in policy.books)
        print(f"flow: there is no book {book!r} -> write one of: {names}", file=sys.stderr)
        return EXIT_CONFIGURATION
    if not math.isfinite(amount) or amount == 0:
        print("flow: the amount must be a number other than 0", file=sys.stderr)
        return EXIT_CONFIGURATION
    return ask(
        settings,
        command="flow",
        arguments={"book": book, "amount": repr(amount), "reason": reason},
    )
