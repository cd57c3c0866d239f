"""Read recorded answers of exchanges with the project's own parsers, and lose nothing.

    python3 -m tools.check_recordings FOLDER               one line for each answer, and a total
    python3 -m tools.check_recordings FOLDER --key-sets    also: fields, against the simulator's
    python3 -m tools.check_recordings FOLDER --json        for machines

The recordings are somebody's who has an account; none are part of the project. An answer is `ok`
when as many rows were read as there are, with the same quantities and amounts to the last digit,
and with the equity out of the field that includes the profit that is not realised. It is `-` when
the guard never asks for it. Everything else is a FAULT: an endpoint nobody knows, a type of record
nobody knows, a row that cannot be read or is missing.

Collections of client libraries are read as far as they concern endpoints of the guard. Many of
their answers are shortened by hand or older than the endpoint: one that `lacks` what a parser needs
is named and is no fault. Agreement with recordings is not agreement with the exchange. Needs no
keys and no network, and the packages of requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.text import Text

from errors import Malformed
from tools.recordings import (
    binance,
    binance_portfolio,
    binance_spot,
    bitget,
    bitget_spot,
    bybit,
)
from tools.recordings.answers import Recording, Unreadable, files_below, load
from tools.recordings.key_sets import Difference, compare
from tools.recordings.reading import Lost, NotAsked, Venue, counted

KNOWN: Mapping[str, Venue] = {
    "binance": replace(
        binance.VENUE, reads=binance.READS | binance_portfolio.READS | binance_spot.READS
    ),
    "bitget": replace(bitget.VENUE, reads={**bitget.READS, **bitget_spot.READS}),
    "bybit": bybit.VENUE,
}


class Verdict(StrEnum):
    """What became of one recorded answer."""

    OK = "ok"
    NOT_ASKED = "-"
    LACKS = "lacks"
    FAULT = "FAULT"


STYLES: Mapping[Verdict, str] = {
    Verdict.OK: "green",
    Verdict.NOT_ASKED: "dim",
    Verdict.LACKS: "yellow",
    Verdict.FAULT: "bold red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One recorded answer and what was read of it."""

    file: str
    endpoint: str
    verdict: Verdict
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """All lines, the recordings that were read, and how many concern no endpoint of the guard."""

    lines: Sequence[Line]
    read: Sequence[Recording]
    others: int


def judge(recording: Recording) -> Line | None:
    """Read one recording; None for one out of a foreign collection that nobody asks for."""
    venue = KNOWN[recording.venue]
    reader = venue.reads.get(recording.endpoint)
    instead = venue.instead.get(recording.endpoint)
    is_answer = recording.answer is not None and not venue.is_error(recording.answer)
    if recording.is_foreign and (reader is None or not is_answer):
        return None
    try:
        if reader is None and instead is None:
            raise Lost("an endpoint that is not known")
        if reader is None:
            raise NotAsked(instead)
        told, verdict = reader(recording), Verdict.OK
    except NotAsked as other:
        told, verdict = f"not asked for: {other}", Verdict.NOT_ASKED
    except Malformed as fault:
        told, verdict = str(fault), Verdict.LACKS if recording.is_foreign else Verdict.FAULT
    except Lost as fault:
        told, verdict = str(fault), Verdict.FAULT
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as fault:
        told, verdict = f"cannot be compared: {type(fault).__name__} {fault}", Verdict.FAULT
    return Line(file=recording.file, endpoint=recording.endpoint, verdict=verdict, told=told)


def check(folder: Path) -> Checked:
    """Read everything below a folder."""
    lines: list[Line] = []
    read: list[Recording] = []
    others = 0
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        try:
            recordings = load(path, name=name)
        except (Unreadable, OSError, UnicodeDecodeError) as fault:
            lines.append(Line(file=name, endpoint="", verdict=Verdict.FAULT, told=str(fault)))
            continue
        for recording in recordings:
            line = judge(recording)
            if line is None:
                others += 1
                continue
            lines.append(line)
            if line.verdict is Verdict.OK:
                read.append(recording)
    return Checked(lines=lines, read=read, others=others)


def total(checked: Checked) -> str:
    """The last line."""
    counts = Counter(line.verdict for line in checked.lines)
    return (
        f"{len(checked.lines)} recorded answers: {counts[Verdict.OK]} read without loss, "
        f"{counts[Verdict.NOT_ASKED]} not asked for, {counts[Verdict.LACKS]} of other collections "
        f"lack what is read, {counts[Verdict.FAULT]} at fault; {checked.others} more of other "
        "collections concern no endpoint of the guard"
    )


def compare_all(read: Sequence[Recording]) -> list[Difference]:
    """Compare every endpoint that was read with the simulator's own answers."""
    from tools.recordings.simulated import listen

    simulated = asyncio.run(listen())
    by_endpoint: dict[tuple[str, str], list[Recording]] = defaultdict(list)
    for recording in read:
        by_endpoint[recording.venue, recording.endpoint].append(recording)
    return [
        compare(
            recordings,
            reader=KNOWN[venue].reads[endpoint],
            simulated=simulated.get((venue, endpoint), []),
        )
        for (venue, endpoint), recordings in sorted(by_endpoint.items())
    ]


def show_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Print what is odd about the fields of each endpoint; most have nothing."""
    console.print("\nfields: the recordings, what is read of them, what the simulator answers")
    odd = [found for found in differences if found.told() or not found.is_simulated]
    for found in odd:
        console.print(f"{found.venue}  {found.endpoint}", style="cyan", soft_wrap=True)
        if not found.is_simulated:
            console.print("  no adapter had this answer of a simulated exchange", soft_wrap=True)
        for name, fields in found.told():
            console.print(f"  {name}: {', '.join(fields)}", soft_wrap=True, markup=False)
    same = counted(len(differences) - len(odd), "endpoint")
    console.print(f"{same} without any difference", soft_wrap=True)


def show(console: Console, lines: Iterable[Line]) -> None:
    """Print the lines; colours only where a person looks."""
    for line in lines:
        text = Text.assemble(
            (f"{line.verdict.value:<6}", STYLES[line.verdict]),
            f"{line.file}  ",
            (f"{line.endpoint}  ", "cyan"),
            line.told,
        )
        console.print(text, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.check_recordings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0: all that the guard asks for was read without loss. "
        "1: something was not. 2: there is no such folder.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the recordings are")
    parser.add_argument(
        "--key-sets", action="store_true", help="also compare fields with the simulator's answers"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        print(f"{options.folder}: no such folder", file=sys.stderr)
        return 2
    checked = check(options.folder)
    differences = compare_all(checked.read) if options.key_sets else []
    if options.json:
        answers = [asdict(line) for line in checked.lines]
        fields = [asdict(found) for found in differences]
        print(json.dumps({"answers": answers, "others": checked.others, "fields": fields}))
    else:
        console = Console(highlight=False)
        show(console, checked.lines)
        if options.key_sets:
            show_differences(console, differences)
        console.print(total(checked), soft_wrap=True)
    return 1 if any(line.verdict is Verdict.FAULT for line in checked.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
