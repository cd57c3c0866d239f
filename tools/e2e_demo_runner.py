#!/usr/bin/env python3
"""Play the demo and small invented markets through the whole program, and judge each by itself.

    python3 tools/e2e_demo_runner.py            every scenario, a verdict each
    python3 tools/e2e_demo_runner.py --list     what there is
    python3 tools/e2e_demo_runner.py --only crash --only flat

Every scenario is a process of its own, `killswitch.py --test-mock ...`, as a user would start it;
what is judged is its exit code and what it printed. Needs no keys and no network, and leaves
nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DEADLINE_S = 300.0
BAR_S = 30
TAPE_S = 1500.0
SEED = 7

_STAGE = re.compile(r"  STAGE (\d) ")
_NUMBER = r"([+-]?[\d,]+\.\d+)%?"
_ENDS = re.compile(rf"equity at the end\W+{_NUMBER}\W+{_NUMBER}")
_FALLS = re.compile(rf"largest drawdown\W+{_NUMBER}\W+{_NUMBER}")
_CLOSING = re.compile(r"│ \S+ \S+ │\s+(\d) │ (\S+)\s+│ (LONG|SHORT)\s+│")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run showed. `closed` are (stage, side) of every close, in order of time.

    `ends` and `falls` are (with the guard, without): equity at the end, largest drawdown in %.
    """

    exit_code: int
    text: str
    stages: tuple[int, ...]
    closed: tuple[tuple[int, str], ...]
    ends: tuple[float, float] | None
    falls: tuple[float, float] | None

    @staticmethod
    def of(exit_code: int, text: str) -> Seen:
        """Read the figures out of the printed story."""
        return Seen(
            exit_code=exit_code,
            text=text,
            stages=tuple(int(stage) for stage in _STAGE.findall(text)),
            closed=tuple((int(stage), side) for stage, _, side in _CLOSING.findall(text)),
            ends=_pair(_ENDS, text),
            falls=_pair(_FALLS, text),
        )


def _pair(pattern: re.Pattern[str], text: str) -> tuple[float, float] | None:
    found = pattern.search(text)
    if found is None:
        return None
    with_guard, without = (float(number.replace(",", "")) for number in found.groups())
    return with_guard, without


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be true of a run."""

    text: str
    holds: Callable[[Seen], bool]


def exits(code: int) -> Check:
    """The exit code is this one."""
    return Check(text=f"exit code {code}", holds=lambda seen: seen.exit_code == code)


def says(words: str, *, times: int = 1) -> Check:
    """The output holds these words at least so often."""
    often = "" if times == 1 else f" {times} times"
    return Check(text=f"says {words!r}{often}", holds=lambda seen: seen.text.count(words) >= times)


def never_says(words: str) -> Check:
    """The output does not hold these words."""
    return Check(text=f"does not say {words!r}", holds=lambda seen: words not in seen.text)


def first_closes(side: str) -> Check:
    """The first thing that is closed is on the side that lost."""
    return Check(
        text=f"closes a {side} first", holds=lambda seen: [s for _, s in seen.closed[:1]] == [side]
    )


def spares_in_stages_1_and_2(side: str) -> Check:
    """Stages 1 and 2 leave the other side alone."""
    return Check(
        text=f"no {side} is closed before stage 3",
        holds=lambda seen: (
            bool(seen.closed) and (1, side) not in seen.closed and (2, side) not in seen.closed
        ),
    )


def reaches(stage: int) -> Check:
    """The highest stage of the run is this one."""
    return Check(
        text=f"the highest stage is {stage}",
        holds=lambda seen: max(seen.stages, default=0) == stage,
    )


LESS_DRAWDOWN = Check(
    text="the drawdown is smaller than without the guard",
    holds=lambda seen: seen.falls is not None and seen.falls[0] < seen.falls[1],
)
MORE_LEFT = Check(
    text="more is left than without the guard",
    holds=lambda seen: seen.ends is not None and seen.ends[0] > seen.ends[1],
)
SAME_AS_ALONE = Check(
    text="equity ends as without the guard",
    holds=lambda seen: seen.ends is not None and seen.ends[0] == seen.ends[1],
)
CLOSES_NOTHING = Check(
    text="nothing is closed", holds=lambda seen: not seen.closed and not seen.stages
)

LONG_BOOK = (
    ("ADAUSDT", "long", 7000),
    ("AVAXUSDT", "long", 7000),
    ("DOGEUSDT", "long", 7000),
    ("SOLUSDT", "long", 7000),
    ("BTCUSDT", "short", 8000),
)
"""In a fall the small coins lose more than the short on BTC earns."""

SHORT_BOOK = (
    ("ADAUSDT", "short", 5000),
    ("DOGEUSDT", "short", 5000),
    ("XLMUSDT", "short", 5000),
    ("XRPUSDT", "short", 5000),
    ("BTCUSDT", "long", 10000),
    ("ETHUSDT", "long", 10000),
)
"""The majors were meant to hedge the shorts and do not follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run of the program. `market` names an invented tape, None plays the demo."""

    name: str
    what: str
    checks: tuple[Check, ...]
    arguments: tuple[str, ...] = ()
    market: str | None = None
    book: tuple[tuple[str, str, int], ...] = LONG_BOOK


SCENARIOS = (
    Scenario(
        name="demo",
        what="the script of the demo: dry run, then live through three stages and a reset",
        checks=(
            exits(0),
            says("STAGE 1", times=2),
            says("STAGE 2", times=2),
            says("STAGE 3", times=2),
            says("no POST, PUT or DELETE reached"),
            says("  yes  ", times=10),
            never_says("  NO  "),
            LESS_DRAWDOWN,
            MORE_LEFT,
        ),
    ),
    Scenario(
        name="break-reduce-only",
        what="the demo with orders that are not reduce-only: its proof must notice",
        arguments=("--break", "reduce_only"),
        checks=(exits(1), says("  NO   every order of ours was marked reduce-only")),
    ),
    Scenario(
        name="break-side",
        what="the demo with orders on the wrong side: its proof must notice",
        arguments=("--break", "side"),
        checks=(exits(1), says("  NO   every execution made a position smaller")),
    ),
    Scenario(
        name="crash",
        what="everything falls by a fifth in two waves: the longs go, the hedge stays and earns",
        market="crash",
        checks=(
            exits(0),
            reaches(2),
            first_closes("LONG"),
            spares_in_stages_1_and_2("SHORT"),
            LESS_DRAWDOWN,
            MORE_LEFT,
        ),
    ),
    Scenario(
        name="short-squeeze",
        what="small coins run away from the majors that should hedge them",
        market="short_squeeze",
        book=SHORT_BOOK,
        checks=(
            exits(0),
            first_closes("SHORT"),
            spares_in_stages_1_and_2("LONG"),
            LESS_DRAWDOWN,
            MORE_LEFT,
        ),
    ),
    Scenario(
        name="slow-bleed",
        what="a steady fall without one large candle",
        market="slow_bleed",
        checks=(exits(0), first_closes("LONG"), LESS_DRAWDOWN, MORE_LEFT),
    ),
    Scenario(
        name="v-recovery",
        what="a fall that comes back: the guard limits it, and what it closed misses the way up",
        market="v_recovery",
        checks=(exits(0), first_closes("LONG"), LESS_DRAWDOWN),
    ),
    Scenario(
        name="flat",
        what="nothing but noise: the guard reads and does nothing",
        market="flat",
        checks=(exits(0), CLOSES_NOTHING, SAME_AS_ALONE),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one scenario went; `failed` names the checks that do not hold."""

    scenario: Scenario
    took_s: float
    failed: tuple[str, ...]
    output: str

    @property
    def is_passed(self) -> bool:
        """True when every check holds."""
        return not self.failed


def write_tape(market: str, path: Path) -> None:
    """Write an invented market as candles, the same ones for the same name."""
    from simulator.scenarios import Scenario as Market
    from simulator.scenarios import generate_tape

    tape = generate_tape(Market(market), seed=SEED, duration_s=TAPE_S)
    lines = ["ts,symbol,open,high,low,close"]
    for at in range(int(tape.starts_at), int(tape.ends_at), BAR_S):
        for symbol in tape.symbols:
            high, low = tape.high_low_between(symbol, at, at + BAR_S)
            first, last = tape.price_at(symbol, at), tape.price_at(symbol, at + BAR_S)
            prices = ",".join(f"{price:.8g}" for price in (first, high, low, last))
            lines.append(f"{at},{symbol},{prices}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_book(rows: Sequence[tuple[str, str, int]], path: Path) -> None:
    """Write the positions of a scenario as a book file."""
    lines = ["equity: 10000", "position_mode: hedge", "positions:"]
    lines += [
        f"  - {{symbol: {symbol}, side: {side}, notional: {notional}, leverage: 10}}"
        for symbol, side, notional in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(scenario: Scenario, folder: Path) -> Verdict:
    """Play one scenario in a folder that everything it writes stays in."""
    folder.mkdir()
    arguments = ["killswitch.py", "--test-mock", *scenario.arguments]
    if scenario.market is not None:
        write_tape(scenario.market, folder / "tape.csv")
        write_book(scenario.book, folder / "book.yaml")
        arguments += ["--tape", str(folder / "tape.csv"), "--book", str(folder / "book.yaml")]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        seen, output = Seen.of(done.returncode, done.stdout), done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        seen = Seen.of(-1, "")
        output = f"no end within {DEADLINE_S:.0f} s\n"
    return Verdict(
        scenario=scenario,
        took_s=time.monotonic() - began,
        failed=tuple(check.text for check in scenario.checks if not check.holds(seen)),
        output=output,
    )


def tell(verdict: Verdict, *, out: TextIO, shows_output: bool) -> None:
    """Print one verdict, and for a failure what the program said."""
    mark = "ok    " if verdict.is_passed else "FAILED"
    count = len(verdict.scenario.checks)
    held = count - len(verdict.failed)
    print(f"{mark}  {held} of {count} checks, {verdict.took_s:.1f} s", file=out)
    for text in verdict.failed:
        print(f"        not so: {text}", file=out)
    if shows_output and not verdict.is_passed:
        for line in verdict.output.splitlines():
            print(f"        | {line}", file=out)


def show_list() -> None:
    """Print every scenario with what must be true of it."""
    for scenario in SCENARIOS:
        print(f"{scenario.name:<18}{scenario.what}")
        print(f"{'':<18}must: {'; '.join(check.text for check in scenario.checks)}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong usage ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="tools/e2e_demo_runner.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 when every check holds, 1 otherwise, 2 for wrong usage.",
    )
    parser.add_argument("--list", action="store_true", help="show the scenarios and end")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[scenario.name for scenario in SCENARIOS],
        help="play this scenario; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    parser.add_argument(
        "--verbose", action="store_true", help="show what a failing program printed"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what was asked for; returns the exit code."""
    options = parse(arguments)
    if options.list:
        show_list()
        return 0
    chosen = [s for s in SCENARIOS if options.only is None or s.name in options.only]
    out = sys.stderr if options.json else sys.stdout
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="killswitch-e2e-") as folder:
        for number, scenario in enumerate(chosen, start=1):
            print(f"[{number}/{len(chosen)}] {scenario.name:<18}", end="", file=out, flush=True)
            verdict = run(scenario, Path(folder) / scenario.name)
            tell(verdict, out=out, shows_output=options.verbose)
            verdicts.append(verdict)
    failures = sum(not verdict.is_passed for verdict in verdicts)
    print(f"{len(verdicts) - failures} of {len(verdicts)} scenarios passed", file=out)
    if options.json:
        print(json.dumps([_document(verdict) for verdict in verdicts]))
    return 1 if failures else 0


def _document(verdict: Verdict) -> dict[str, object]:
    return {
        "name": verdict.scenario.name,
        "passed": verdict.is_passed,
        "failed_checks": list(verdict.failed),
        "checks": len(verdict.scenario.checks),
        "seconds": round(verdict.took_s, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
