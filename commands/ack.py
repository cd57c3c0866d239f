"""`ack`: somebody has seen what sounds now; its repeats are silent until something else comes."""

from __future__ import annotations

import sys
from pathlib import Path

from commands.requests import ask
from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, read_settings
from state_lock import find_holder


def acknowledge(config: Path, *, reason: str) -> int:
    """Silence the repeats of a running guard; returns the exit code."""
    settings = read_settings(config, require_venues=False)
    if settings is None:
        return EXIT_CONFIGURATION
    try:
        is_running = find_holder(settings.state_dir) is not None
    except OSError as error:
        print(f"ack: {error}", file=sys.stderr)
        return EXIT_FAILED
    if not is_running:
        print("ack: no guard runs here, so nothing sounds", file=sys.stderr)
        return EXIT_FAILED
    return ask(settings, command="ack", arguments={"reason": reason})
