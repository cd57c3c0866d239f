#!/usr/bin/env python3
"""Put the worst faults into the source, one at a time, and see whether the tests notice.

    make mutants                                     all of them
    python3 tools/mutants.py --only round-up         one of them
    python3 tools/mutants.py --json                  for machines

Each mutant is a patch of one place, applied to a fresh copy of the project, where the tests that
must catch it are run. A mutant that they let live fails the run, and so does one whose place in
the source is gone: it would prove nothing any more. The same tests run once on a copy without a
patch, where they must pass. Nothing is changed here. Needs the packages of requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = os.cpu_count() or 1
LONGEST_S = 300.0
"""A mutant whose tests take longer is not caught: nobody waits for a test that never ends."""
GONE_WITHIN_S = 5.0
FAILED_TEST = re.compile(r"^FAILED (\S+)(?: - (.*))?", re.MULTILINE)
NO_PROGRAM = re.compile(r"^E +(?:NameError|SyntaxError|ImportError|AttributeError)", re.MULTILINE)
"""A patch that Python cannot run fails every test, and shows nothing about them."""
OF_THIS_RUN = ("PYTEST_", "COV_", "COVERAGE_", "PYTHONPATH")
"""What tests that are running already leave in the environment would lead out of the copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault: in `file` the text `old` becomes `new`, and one of `tests` must fail.

    `old` stands there exactly once. `money` says what the fault would do to an account.
    """

    name: str
    money: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> bool:
        """Patch the copy in `root`; False where the place is gone or not the only one."""
        path = root / self.file
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if source.count(self.old) != 1:
            return False
        path.write_text(source.replace(self.old, self.new), encoding="utf-8")
        return True


MUTANTS = (
    Mutant(
        name="drop-reduce-only",
        money="A close larger than what is left opens the other side.",
        file="venues/binance_orders.py",
        old='params["reduceOnly"] = "true"',
        new="pass",
        tests=(
            "tests/test_binance_simulated.py::test_a_close_larger_than_the_position_never_flips_it",
        ),
    ),
    Mutant(
        name="drop-hedge-side",
        money="No close of a hedged account is accepted, and the loss runs on.",
        file="venues/binance_orders.py",
        old='params["positionSide"] = instruction.side.value',
        new="pass",
        tests=("tests/test_binance_simulated.py::test_a_hedged_close_touches_its_own_leg_alone",),
    ),
    Mutant(
        name="bitget-drop-reduce-only",
        money="A close larger than what is left opens the other side.",
        file="venues/bitget_classic.py",
        old='params["reduceOnly"] = "YES"',
        new="pass",
        tests=(
            "tests/test_bitget_simulated.py::test_a_close_larger_than_the_position_never_flips_it",
        ),
    ),
    Mutant(
        name="bitget-unified-drop-reduce-only",
        money="The same in a unified account.",
        file="venues/bitget_unified.py",
        old='params["reduceOnly"] = "yes"',
        new="pass",
        tests=(
            "tests/test_bitget_simulated.py::test_a_close_larger_than_the_position_never_flips_it",
        ),
    ),
    Mutant(
        name="bybit-sells-with-leverage",
        money="A sale of a coin that is not there leaves a debt.",
        file="venues/bybit_orders.py",
        old='"isLeverage": 0',
        new='"isLeverage": 1',
        tests=("tests/test_bybit_selling.py::test_sale_as_it_goes_over_the_wire",),
    ),
    Mutant(
        name="bitget-sells-on-margin",
        money="The same on Bitget, where the category alone decides.",
        file="venues/bitget_unified.py",
        old='SPOT = "SPOT"',
        new='SPOT = "MARGIN"',
        tests=("tests/test_bitget_selling.py::test_sale_as_it_goes_over_the_wire",),
    ),
    Mutant(
        name="bitget-side-is-a-direction",
        money="A hedged close of the long closes the short.",
        file="venues/bitget_classic.py",
        old='params["side"] = "buy" if instruction.side is Side.LONG else "sell"',
        new='params["side"] = "sell" if instruction.side is Side.LONG else "buy"',
        tests=("tests/test_bitget_simulated.py::test_a_hedged_close_touches_its_own_leg_alone",),
    ),
    Mutant(
        name="bitget-mode-of-the-account",
        money="Where one product is hedged, a close of the other opens.",
        file="venues/bitget.py",
        old="mode = self._modes.get(symbol, instruction.position_mode)",
        new="mode = instruction.position_mode",
        tests=(
            "tests/test_bitget_simulated.py"
            "::test_each_product_of_a_classic_account_is_closed_in_its_own_mode",
        ),
    ),
    Mutant(
        name="bitget-any-failure-is-classic",
        money="After one bad answer a unified account is neither read nor closed.",
        file="venues/bitget.py",
        old="if code_of(answer.body) == IS_CLASSIC and (answer.status or 500) < 500:",
        new="if code_of(answer.body) is None or code_of(answer.body) == IS_CLASSIC:",
        tests=(
            "tests/test_bitget_wire.py"
            "::test_an_answer_that_does_not_tell_the_kind_of_account_proves_nothing",
        ),
    ),
    Mutant(
        name="bybit-drop-reduce-only",
        money="A close larger than what is left opens the other side.",
        file="venues/bybit_orders.py",
        old='            "reduceOnly": True,\n',
        new="",
        tests=("tests/test_bybit_simulated.py::test_the_venue_splits_what_is_too_large_by_itself",),
    ),
    Mutant(
        name="bybit-mode-of-the-account",
        money="Where one symbol is hedged, no position of the others is ever closed.",
        file="venues/bybit_orders.py",
        old="if listed is not None:",
        new="if listed is None:",
        tests=("tests/test_bybit_simulated.py::test_each_symbol_is_closed_in_its_own_mode",),
    ),
    Mutant(
        name="bybit-one-coin",
        money="Positions settled in USDC are neither judged nor closed.",
        file="venues/bybit_account.py",
        old='SETTLE_COINS = (Asset("USDT"), Asset("USDC"))',
        new='SETTLE_COINS = (Asset("USDT"),)',
        tests=("tests/test_bybit_simulated.py::test_a_reading_agrees_with_the_exchange",),
    ),
    Mutant(
        name="skip-look-up",
        money="An order whose answer was lost is sent again, and what was to remain goes too.",
        file="executor.py",
        old="await work.fates.look_up()",
        new="work.fates._in_flight.clear()",
        tests=(
            "tests/test_executor.py::"
            "test_an_order_that_may_still_land_is_not_sent_again_where_a_part_must_remain",
            "tests/test_executor.py::"
            "test_an_order_without_an_answer_is_looked_up_before_anything_is_sent_again",
        ),
    ),
    Mutant(
        name="new-id-when-sent",
        money="The look-up asks for an id that never left: what was executed is sent once more.",
        file="venues/binance_orders.py",
        old='"newClientOrderId": instruction.client_id,',
        new='"newClientOrderId": f"{instruction.client_id}{id(object()) % 1000}",',
        tests=(
            "tests/test_binance_simulated.py::test_a_lost_answer_is_unknown_and_the_lookup_tells",
        ),
    ),
    Mutant(
        name="round-up",
        money="Each order takes up to a step more than the plan allows to go.",
        file="order_sizes.py",
        old="return EXACT.multiply(EXACT.divide_int(quantity, step), step)",
        new="return EXACT.multiply((quantity / step).to_integral_value('ROUND_UP'), step)",
        tests=(
            "tests/test_actions.py::test_a_round_sends_only_the_excess",
            "tests/test_logic.py::test_a_remainder_stays_closable",
        ),
    ),
    Mutant(
        name="relative-target",
        money="Every round sells what the plan named once more, down to nothing.",
        file="order_safety.py",
        old="excess = subtract(position.quantity, target.may_remain)\n    return",
        new="excess = subtract(target.initial_quantity, target.may_remain)\n    return",
        tests=(
            "tests/test_actions.py::test_the_plans_own_quantity_never_sizes_an_order",
            "tests/test_executor.py::test_whatever_goes_wrong_exactly_the_target_remains",
        ),
    ),
    Mutant(
        name="failed-read-is-flat",
        money="A venue that cannot be read counts as closed: the position stays, and runs on.",
        file="eyes.py",
        old="return positions\n",
        new="positions = Got(())\n",
        tests=("tests/test_executor.py::test_positions_that_cannot_be_read_are_never_flat",),
    ),
    Mutant(
        name="partial-read-is-whole",
        money="Positions that could not be read are none: nothing is judged and nothing closed.",
        file="venues/connection.py",
        old="return await asyncio.gather(*tasks)",
        new="return [[] if isinstance(found, Exception) else found for found in"
        " await asyncio.gather(*tasks, return_exceptions=True)]",
        tests=("tests/test_binance_wire.py::test_a_reading_needs_all_legs[positionRisk]",),
    ),
    Mutant(
        name="skip-intent-record",
        money="A guard that dies while it sends forgets the order, and its successor doubles it.",
        file="executor.py",
        old="await self._write(Records(orders=records, incidents=(incident,)), work)",
        new="await self._write(Records(incidents=(incident,)), work)",
        tests=("tests/test_executor.py::test_the_intent_is_recorded_before_the_order_leaves",),
    ),
    Mutant(
        name="skip-target-record",
        money="After a crash nobody knows how much was to remain, and half of the loser stays.",
        file="position_store.py",
        old="for target in incident.targets]",
        new="for target in ()]",
        tests=(
            "tests/test_guardian.py::test_a_restart_goes_on_before_it_reads_anything_else",
            "tests/test_guardian.py::test_a_power_cut_at_any_moment_closes_nothing_twice",
        ),
    ),
    Mutant(
        name="lock-after-closes",
        money="Bots buy back what is being closed, because their lock comes too late.",
        file="guardian.py",
        old="await self._writer.write(decision, is_forced=is_forced)\n",
        new="written = self._writer.write(decision, is_forced=is_forced)\n"
        "        asyncio.get_running_loop().call_later(2.0, asyncio.ensure_future, written)\n",
        tests=("tests/test_guardian.py::test_the_lock_stands_before_the_first_order_is_sent",),
    ),
    Mutant(
        name="sort-ascending",
        money="The least of the losers is halved, and the worst runs on.",
        file="plans.py",
        old="key=lambda holding: (-holding.score, holding.key)",
        new="key=lambda holding: (holding.score, holding.key)",
        tests=(
            "tests/test_logic.py::test_stage_1_takes_only_the_first_top_n",
            "tests/test_logic.py::test_stage_2_without_one_source_takes_the_fewest_heavy_losers",
        ),
    ),
    Mutant(
        name="source-inverted",
        money="The side that won is closed, and the side that lost is left alone in the crash.",
        file="risk_attribution.py",
        old="larger = Source.LONG if losses_long > losses_short else Source.SHORT",
        new="larger = Source.SHORT if losses_long > losses_short else Source.LONG",
        tests=(
            "tests/test_guardian.py::test_a_crash_is_answered_stage_by_stage",
            "tests/test_decision.py::test_stage_1_opens_on_its_third_reading",
        ),
    ),
    Mutant(
        name="lower-stage-on-restart",
        money="A restart arms stage 1 anew: what was halved is halved again, and bots may trade.",
        file="stage_recovery.py",
        old="since=min(book.since, now),",
        new="since=min(book.since, now), stage=Stage(max(0, book.stage - 1)),",
        tests=(
            "tests/test_guardian.py::test_a_restart_keeps_stage_lock_and_peak",
            "tests/test_restarts.py::test_a_cooldown_goes_on_over_restarts",
        ),
    ),
    Mutant(
        name="silence-frees",
        money="Bots trade on while nobody can read that the operator wants them stopped.",
        file="switch_rules.py",
        old="    return max(explicit(switch), SwitchState.HALT, key=_severity)",
        new="    return explicit(switch)",
        tests=("tests/test_switch_rules.py",),
    ),
    Mutant(
        name="slip-ends-a-kill",
        money="A mistyped value makes a halt of a kill.",
        file="switch_rules.py",
        old="state = named or max(last, SwitchState.HALT, key=_severity)",
        new="state = named or SwitchState.HALT",
        tests=("tests/test_switch_rules.py",),
    ),
    Mutant(
        name="loosen-unseen",
        money="A kill set while a loosening is under way is lost.",
        file="store/switch_tables.py",
        old=" WHERE switch_state.revision = excluded.revision - 1",
        new="",
        tests=("tests/test_switch_store.py",),
    ),
    Mutant(
        name="kill-needs-stage-3",
        money="A book that another stage holds is not closed by the kill.",
        file="switch_steps.py",
        old="if book.stage is not Stage.LOCKDOWN:",
        new="if book.stage is Stage.NORMAL:",
        tests=("tests/test_decision_switch.py",),
    ),
    Mutant(
        name="kill-waits-for-a-reading",
        money="An account whose readings hang is not closed when the operator kills.",
        file="drives.py",
        old="self._unbroken.begin(self._supervisor.attend(name, partial(self._kill, scope)))",
        new="del name",
        tests=("tests/test_switch_stories.py::test_a_kill_flattens_at_once_in_every_phase",),
    ),
    Mutant(
        name="kill-waits-for-the-disk",
        money="A disk that hangs holds up the operator's kill.",
        file="executor.py",
        old="waits_for_store=incident.stage is not Stage.LOCKDOWN,",
        new="waits_for_store=True,",
        tests=("tests/test_executor.py::test_a_kill_waits_for_no_write",),
    ),
    Mutant(
        name="halt-takes-protection",
        money="One failed read under a halt takes the stops from positions that are kept.",
        file="entry_cancels.py",
        old="positions=read.value if isinstance(read, Got) else halted.positions,",
        new="positions=read.value if isinstance(read, Got) else None,",
        tests=("tests/test_entry_cancels.py",),
    ),
    Mutant(
        name="faulty-redis-is-no-news",
        money="Redis cannot be read and bots trade on.",
        file="switch_watch.py",
        old="return seen.value if isinstance(seen, Got) else RedisSilent(why=seen.why)",
        new="return seen.value if isinstance(seen, Got) else None",
        tests=("tests/test_switch_stories.py",),
    ),
    Mutant(
        name="loosen-before-its-record",
        money="Bots start again although nothing proves that somebody wanted it.",
        file="switch_watch.py",
        old="while not what.is_only_if_missing and not await self._recorder.wait(",
        new="while False and not await self._recorder.wait(",
        tests=("tests/test_switch_stories.py",),
    ),
)


def pytest_command(tests: Sequence[str]) -> tuple[str, ...]:
    """What runs these tests in a copy: 0 when all pass, 1 when one fails."""
    return (sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests)


CATCHERS: tuple[Callable[[Sequence[str]], tuple[str, ...]], ...] = (pytest_command,)
"""Programs that must each end with 1 on a mutant, and with 0 on a copy without one.

They are given the tests of the mutant, which one that plays seeds can do without.
"""


class Verdict(StrEnum):
    """What became of a copy."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    GONE = "PLACE GONE"
    """The old text does not stand in the source exactly once."""
    BROKEN = "BROKEN"
    """The tests did not run to a verdict: nothing is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a copy fared: which test failed and why, or else the end of what was printed."""

    name: str
    money: str
    verdict: Verdict
    by: str = ""
    why: str = ""
    took_s: float = 0.0
    said: str = ""


async def run(command: Sequence[str], folder: Path) -> tuple[int | None, str]:
    """Run a program in a copy; its exit code, None when it did not end, and what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OF_THIS_RUN)}
    environment["COLUMNS"] = "200"  # a narrow pytest leaves the reason of a failure out
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        return None, f"no end within {LONGEST_S:g} s"
    finally:
        # Whatever a test has started goes with it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_WITHIN_S):
                await process.communicate()
    return process.returncode, printed.decode(errors="replace")


async def try_out(mutant: Mutant, folder: Path) -> Result:
    """Patch the copy in `folder` and let every catcher judge it."""
    began = time.monotonic()
    result = Result(name=mutant.name, money=mutant.money, verdict=Verdict.GONE)
    if mutant.apply(folder):
        for catcher in CATCHERS:
            result = judge(result, *await run(catcher(mutant.tests), folder))
            if result.verdict is not Verdict.CAUGHT:
                break
    return replace(result, took_s=round(time.monotonic() - began, 1))


def judge(result: Result, code: int | None, said: str) -> Result:
    """The result with what the end of a catcher says."""
    if code == 0:
        return replace(result, verdict=Verdict.SURVIVED, said=said[-2000:])
    if code != 1 or NO_PROGRAM.search(said):
        return replace(result, verdict=Verdict.BROKEN, said=said[-2000:])
    failed = FAILED_TEST.search(said)
    by, why = failed.group(1, 2) if failed else ("", "")
    return replace(result, verdict=Verdict.CAUGHT, by=by or result.by, why=why or result.why)


async def try_unpatched(mutants: Sequence[Mutant], folder: Path) -> str:
    """Run every test that is relied upon without a patch; what is wrong, empty if nothing."""
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    for catcher in CATCHERS:
        code, said = await run(catcher(tests), folder)
        if code != 0:
            return said[-2000:]
    return ""


def copy_of(root: Path, folder: Path) -> Path:
    """Copy the project without hidden folders, caches and databases."""
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "*.db*")
    shutil.copytree(root, folder, ignore=unwanted, symlinks=True)
    return folder


async def play(
    mutants: Sequence[Mutant], folder: Path, *, tell: Callable[[str, str], None]
) -> tuple[str, tuple[Result, ...]]:
    """Try every mutant, as many at a time as there are cores.

    Returns what is wrong without a patch, and the results in order. `tell` is given a name and
    what became of it.
    """
    playing = asyncio.current_task()
    assert playing is not None
    # The tests would outlive a program that ends without ado.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    plain = copy_of(ROOT, folder / "unpatched")
    gate = asyncio.Semaphore(JOBS)

    async def one(mutant: Mutant) -> Result:
        async with gate:
            copy = copy_of(plain, folder / mutant.name)
            result = await try_out(mutant, copy)
            shutil.rmtree(copy)
        tell(mutant.name, result.verdict.value)
        return result

    async def unpatched() -> str:
        async with gate:
            fault = await try_unpatched(mutants, copy_of(plain, folder / "without"))
        tell("without a patch", "FAILS" if fault else "passes")
        return fault

    fault, results = await asyncio.gather(unpatched(), asyncio.gather(*map(one, mutants)))
    return fault, tuple(results)


# --- telling ----------------------------------------------------------------------------------


def show(fault: str, results: Sequence[Result], *, took_s: float) -> None:
    """Print every mutant with what caught it, and of each fault the end of what was printed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    caught = sum(result.verdict is Verdict.CAUGHT for result in results)
    table = Table(title=f"{caught} of {len(results)} mutants caught in {took_s:.0f} s")
    for column in ("mutant", "what it would do", "verdict", "by"):
        table.add_column(column, overflow="fold", no_wrap=column == "verdict")
    for result in results:
        by = result.by.rpartition("::")[2].replace("_", " ")
        table.add_row(result.name, result.money, result.verdict.value, escape(by))
    Console().print(table)
    for result in results:
        if result.verdict is not Verdict.CAUGHT:
            print(f"FAILED  {result.name}: {result.verdict.value}\n{result.said}")
    if fault:
        print(f"FAILED  the tests fail without any patch\n{fault}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong usage ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="tools/mutants.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 when every mutant is caught, 1 otherwise, 2 for wrong usage.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[mutant.name for mutant in MUTANTS],
        metavar="NAME",
        help="try this mutant; may be repeated: " + ", ".join(mutant.name for mutant in MUTANTS),
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try and judge; returns the exit code."""
    options = parse(arguments)
    chosen = [mutant for mutant in MUTANTS if mutant.name in (options.only or [mutant.name])]
    began = time.monotonic()
    done: list[str] = []

    def tell(name: str, what: str) -> None:
        done.append(name)
        print(f"[{len(done)}/{len(chosen) + 1}] {name}: {what}", file=sys.stderr, flush=True)

    folder = Path(tempfile.mkdtemp(prefix="killswitch-mutants-"))
    try:
        fault, results = asyncio.run(play(chosen, folder, tell=tell))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    took_s = time.monotonic() - began
    is_passed = not fault and all(result.verdict is Verdict.CAUGHT for result in results)
    if options.json:
        mutants = [asdict(result) for result in results]
        print(json.dumps({"passed": is_passed, "without_a_patch": fault, "mutants": mutants}))
    else:
        show(fault, results, took_s=took_s)
    return 0 if is_passed else 1


if __name__ == "__main__":
    sys.exit(main())
