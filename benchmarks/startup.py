"""How fast the program answers `--help` and how soon after its start it has read an account.

Wall time, because a person or a supervisor waits for it; the smallest of several tries for
`--help`, which measures the program and not the neighbours.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HELP_TRIES = 5
START_DEADLINE_S = 30.0
LOOK_EVERY_S = 0.005
_CCXT_IMPORT = re.compile(r"\|\s+ccxt(\.|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What `--help` costs, and whether it loads the exchange library for nothing."""

    wall_s: float
    imports_ccxt: bool


def time_help() -> Help:
    """Run `killswitch.py --help` several times, and once with its imports listed."""
    command = [sys.executable, "killswitch.py", "--help"]
    times: list[float] = []
    for _ in range(HELP_TRIES):
        began = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        times.append(time.monotonic() - began)
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:]],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    if "| typer" not in listed.stderr:
        raise RuntimeError("the list of imports was not understood")
    return Help(wall_s=min(times), imports_ccxt=bool(_CCXT_IMPORT.search(listed.stderr)))


async def time_to_first_reading(config: Path) -> float:
    """Start the daemon and wait until its lock file, written after the first decision, is there.

    Raises RuntimeError when that takes longer than half a minute.
    """
    lock = config.parent / "state" / "trading_lock.json"
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "killswitch.py",
        "--config",
        str(config),
        cwd=ROOT,
        env={**os.environ, "BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        while time.monotonic() - began < START_DEADLINE_S:
            if lock.exists():
                took_s = time.monotonic() - began
                json.loads(lock.read_text(encoding="utf-8"))
                return took_s
            await asyncio.sleep(LOOK_EVERY_S)
        raise RuntimeError("the guard gave no reading within half a minute")
    finally:
        process.terminate()
        await process.wait()
