#!/usr/bin/env python3
"""Kill the guard with -9 at every order and every cancel of an incident, and see where it ends.

    make kill-test                                          every kill of every scene
    python3 tools/kill_test.py --scene hedge-3              one scene
    python3 tools/kill_test.py --scene hedge-3 --start 17 --kills 1

For each request there are two runs: killed before it has its effect, and after it, before its
answer. The real program is started again on the same files, some of the time only to be killed
once more. The simulated exchange's ledger is the judge: the account at the targets of the stage,
nothing executed twice, nothing opened, no position of the other sign; and state, cooldown and lock
as without a kill. Needs no keys and no network, and the packages of requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from tests.kill_runs import Kill, Run
    from tests.kill_scenes import Scene

SCENES = ("one-way-1", "one-way-3", "hedge-3", "one-way-2", "hedge-2")
JOBS = 3 * (os.cpu_count() or 1)
"""Incidents at a time: two thirds of one are waiting."""
COLUMNS = ("scene", "stage", "sent", "runs", "kills", "missed", "late", "flat", "end", "failed")
TOLD_EVERY = 25
"""Runs between two lines of progress where there is no terminal to draw on."""
LEAST_KILLS = 200
"""A whole run with fewer has lost something."""


@dataclass(slots=True, kw_only=True)
class Told:
    """One scene and everything that was played of it."""

    scene: Scene
    undisturbed: Run
    runs: list[Run] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How often a guard was killed."""
        return sum(run.kills for run in self.runs)

    @property
    def missed(self) -> int:
        """Runs whose incident ended without the request at which the guard was to die."""
        return sum(not run.died_at for run in self.runs)

    @property
    def failed(self) -> tuple[Run, ...]:
        """The runs that somebody has to look at."""
        return tuple(run for run in (self.undisturbed, *self.runs) if run.faults)


def replay(scene: str, kill: Kill | None) -> str:
    """The command that plays a run again."""
    which = "--kills 0" if kill is None else f"--start {kill.number} --kills 1"
    return f"python3 tools/kill_test.py --scene {scene} {which}"


async def play(
    options: argparse.Namespace, folder: Path, *, tell: Callable[[str, Run, int], None]
) -> tuple[Told, ...]:
    """Play the chosen kills; `tell` is given scene, run and how many runs there will be."""
    from tests import kill_scenes
    from tests.kill_runs import Kill, carry_out, prepare

    playing = asyncio.current_task()
    assert playing is not None
    # The guards would outlive a program that ends without ado.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    gate = asyncio.Semaphore(options.jobs)
    scenes = {scene.name: scene for scene in kill_scenes.SCENES}

    async def begin(name: str) -> Told:
        async with gate:
            await prepare(scenes[name], folder / name / "prepared")
            run = await carry_out(
                scenes[name],
                None,
                prepared=folder / name / "prepared",
                folder=folder / name / "undisturbed",
            )
        return Told(scene=scenes[name], undisturbed=run)

    stories = await asyncio.gather(*(begin(name) for name in options.scene or SCENES))
    planned = [
        (told, Kill.numbered(number))
        for told in stories
        for number in range(options.start, max(options.start + 1, 2 * told.undisturbed.sent))
    ][: options.kills]

    async def kill_once(told: Told, kill: Kill) -> None:
        name = told.scene.name
        async with gate:
            run = await carry_out(
                told.scene,
                kill,
                prepared=folder / name / "prepared",
                folder=folder / name / str(kill.number),
                undisturbed=told.undisturbed.standing,
            )
        told.runs.append(run)
        tell(name, run, len(planned))
        if not run.faults:
            shutil.rmtree(folder / name / str(kill.number))

    await asyncio.gather(*(kill_once(told, kill) for told, kill in planned))
    return tuple(stories)


# --- telling ----------------------------------------------------------------------------------


def show(stories: Sequence[Told], *, took_s: float) -> None:
    """Print the figures of every scene, and for each failure what is wrong and how to see it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        padding=(0, 0, 0, 1),
        title=f"{sum(told.kills for told in stories)} kills in {took_s:.0f} s",
        caption="sent: orders and cancels of the incident; missed: it ended without the request"
        " at which the guard was to die; late: orders executed after the kill; flat, end: seconds"
        " from the last start, the worst",
        caption_justify="left",
    )
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "scene" else "right", no_wrap=True)
    for told in stories:
        figures = summary(told)
        table.add_row(
            told.scene.name,
            str(told.scene.stage.value),
            str(told.undisturbed.sent),
            str(len(told.runs)),
            str(told.kills),
            str(told.missed),
            str(figures["late_orders"]),
            f"{figures['worst_restart_to_flat_s']:.1f}",
            f"{figures['worst_restart_to_end_s']:.1f}",
            str(len(told.failed)),
        )
    Console().print(table)
    for told in stories:
        for run in told.failed:
            print(f"FAILED  {replay(told.scene.name, run.kill)}")
            print(f"        {describe(run)}")
            for fault in run.faults:
                print(f"        {fault}")


def describe(run: Run) -> str:
    """A kill in words."""
    kill = run.kill
    if kill is None:
        return "undisturbed"
    again = "" if kill.second is None else f" at request {kill.second} of the recovery"
    return (
        f"killed at request {kill.nth} ({run.died_at or 'never sent'}), held {kill.held} its "
        f"effect, the rest of the burst {kill.rest}, released {kill.release}{again}"
    )


def summary(told: Told) -> dict[str, Any]:
    """The figures of one scene."""
    killed = [run for run in told.runs if run.died_at]
    return {
        "scene": told.scene.name,
        "stage": told.scene.stage.value,
        "orders_and_cancels": told.undisturbed.sent,
        "runs": len(told.runs),
        "kills": told.kills,
        "no_such_request": told.missed,
        "late_orders": sum(run.is_late_order for run in killed),
        "worst_restart_to_flat_s": max((run.flat_after_s for run in killed), default=0.0),
        "worst_restart_to_end_s": max((run.ended_after_s for run in killed), default=0.0),
        "failed": [
            {
                "replay": replay(told.scene.name, run.kill),
                "what": describe(run),
                "faults": run.faults,
            }
            for run in told.failed
        ],
    }


def to_document(stories: Sequence[Told], *, took_s: float, is_passed: bool) -> dict[str, Any]:
    """The same for machines, with every run."""
    return {
        "passed": is_passed,
        "kills": sum(told.kills for told in stories),
        "seconds": round(took_s, 1),
        "scenes": [summary(told) | {"all": [asdict(r) for r in told.runs]} for told in stories],
    }


# --- the command line -------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong usage ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="tools/kill_test.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 when every run ends as it must, 1 otherwise, 2 for wrong usage.",
    )
    parser.add_argument(
        "--scene", action="append", choices=SCENES, help="play this scene; may be repeated"
    )
    parser.add_argument(
        "--start", type=_count, default=0, help="number of the first run of each scene (0)"
    )
    parser.add_argument("--kills", type=_count, metavar="N", help="at most so many runs in all")
    parser.add_argument("--jobs", type=_count, default=JOBS, help=f"runs at a time ({JOBS})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--keep", action="store_true", help="keep database, lock and log of what failed"
    )
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("write a number, 0 or more")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and judge; returns the exit code."""
    options = parse(arguments)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="killswitch-kill-"))
    bar = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "{task.description}")
    try:
        with Progress(*bar, console=Console(stderr=True)) as progress:
            task = progress.add_task("preparing", total=None)

            def tell(scene: str, run: Run, total: int) -> None:
                progress.update(task, advance=1, total=total, description=scene)
                done = int(progress.tasks[task].completed)
                if not progress.console.is_terminal and done % TOLD_EVERY == 0:
                    print(f"{done} of {total} runs", file=sys.stderr, flush=True)
                if run.faults:
                    progress.console.print(f"FAILED  {replay(scene, run.kill)}", markup=False)

            stories = asyncio.run(play(options, folder, tell=tell))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 1
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    took_s = time.monotonic() - began
    is_whole = options.scene is None and options.start == 0 and options.kills is None
    is_enough = not is_whole or sum(told.kills for told in stories) >= LEAST_KILLS
    is_passed = is_enough and not any(told.failed for told in stories)
    if options.json:
        print(json.dumps(to_document(stories, took_s=took_s, is_passed=is_passed)))
    else:
        show(stories, took_s=took_s)
        if not is_enough:
            print(f"FAILED  fewer than {LEAST_KILLS} kills")
    return 0 if is_passed else 1


if __name__ == "__main__":
    sys.exit(main())
