"""Play drawn stories against a whole guard in virtual time, and judge every step of each.

    make simulate SEEDS=5000 START=0               many, on all cores
    python3 -m tools.simulate --start 7 --trace    one seed, told line by line
    python3 -m tools.simulate --json               for machines

A story is a book, prices, other bots, transfers, faults of the venue and of the machine, power
cuts and, in one of four, the operator's switch, all drawn from its seed. What the guard does is
judged by the exchange's ledger and by what lies on disk (tests/simulation/invariants.py). Each
violation is one line with the command that plays it again. Needs no keys and no network, and the
packages of requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.simulation.coverage import Tally
from tests.simulation.draw import draw_story
from tests.simulation.run import Result, simulate

TOLD_EVERY_S = 10.0
SEEDS_AT_ONCE = 8


def play(seed: int) -> Result:
    """Play one seed; whatever breaks the simulation itself is told with its seed."""
    is_played = False
    try:
        result = simulate(seed)
        is_played = True
        return result
    finally:
        if not is_played:
            print(f"seed {seed}: the simulation broke", file=sys.stderr, flush=True)


def play_all(seeds: Sequence[int], *, jobs: int) -> Iterator[Result]:
    """Play the seeds on so many processes, in any order."""
    if jobs <= 1:
        yield from map(play, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(play, seeds, chunksize=SEEDS_AT_ONCE)


def replay(seed: int) -> str:
    """The command that tells one seed again."""
    return f"python3 -m tools.simulate --start {seed} --trace"


def tell(seed: int) -> int:
    """Print the trace of one seed."""
    print(draw_story(seed).name)
    result = simulate(seed, is_traced=True)
    print("\n".join(result.lines))
    print(f"hash {result.digest}")
    for violation in result.violations:
        print(f"invariant {violation.number} at {violation.at_s:.3f} s: {violation.what}")
    return 1 if result.violations else 0


def run(seeds: Sequence[int], *, jobs: int, as_json: bool) -> int:
    """Play all seeds, print what was found, and return the exit status."""
    tally, failed = Tally(), []
    began = told = time.monotonic()
    for number, result in enumerate(play_all(seeds, jobs=jobs), start=1):
        tally.add(result.tally)
        if result.violations:
            first = result.violations[0]
            failed.append(result)
            print(
                f"seed {result.seed}: invariant {first.number} at {first.at_s:.1f} s: "
                f"{first.what}    {replay(result.seed)}",
                flush=True,
            )
        if time.monotonic() - told >= TOLD_EVERY_S:
            told = time.monotonic()
            line = f"{number} of {len(seeds)} seeds, {tally.counts['incidents']} incidents"
            print(f"{line}, {len(failed)} violated", file=sys.stderr, flush=True)
    took_s = time.monotonic() - began
    missed = tally.shortcomings(len(seeds))
    if as_json:
        print(json.dumps({
            "seeds": len(seeds), "seconds": round(took_s, 1),
            "violations": {r.seed: [v.what for v in r.violations] for r in failed},
            "cells": dict(tally.cells()), "counts": dict(tally.counts), "missed": missed,
        }, indent=2))  # fmt: skip
    else:
        print(tally.table())
        print(f"{len(seeds)} seeds in {took_s:.0f} s, {len(failed)} violated")
        for cell in missed:
            print(f"not met often enough: {cell}")
    return 1 if failed or missed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 when every invariant held; 1 after a violation, or when a run of 5,000"
        "\nseeds or more never met something that it can meet (tests/simulation/coverage.py).",
    )
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--start", type=int, default=1, metavar="K", help="the first (1)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (all cores)"
    )
    parser.add_argument("--trace", action="store_true", help="tell the first seed, and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    if given.trace:
        return tell(given.start)
    seeds = range(given.start, given.start + given.seeds)
    return run(seeds, jobs=given.jobs, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
