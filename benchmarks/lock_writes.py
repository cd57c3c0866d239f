"""Lock writes against readers in other processes: no torn and no weaker document is ever read.

    python3 -m benchmarks.lock_writes --writes 10000

Every document locks for longer than the one before, so each says by its expiry how strict it is. A
reader notes what was in place before it looked; what it then reads must be whole and at least as
strict. The writer is the guard's own, with every fsync; the readers read as fast as they can.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

from lock_document import LockContent, LockEntry, LockMode
from model import Stage
from trading_lock import LockFile, read_lock

NOW = 1_800_000_000.0
READERS = 4
START_WITHIN_S = 30.0
PADDINGS = (0, 20_000, 500, 5_000)
"""Documents grow and shrink, so that a part of one never looks like another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the readers saw. `faults` tells the first reads of each reader that were wrong."""

    writes: int
    reads: int
    documents_seen: int
    faults: tuple[str, ...]
    took_s: float


def document(number: int) -> dict[str, object]:
    """The document that stands when `number` writes are done; its lock ends at NOW + number."""
    lock = LockEntry(
        scope="a_futures",
        stage=Stage.REDUCED_TOP_RISK,
        mode=LockMode.STAGE,
        reason="x" * PADDINGS[number % len(PADDINGS)],
        created_ts=NOW,
        expires_ts=NOW + number,
    )
    return LockContent(locks=(lock,)).to_document(NOW)


def measure(path: Path, *, writes: int, readers: int = READERS) -> Result:
    """Write that many documents while the readers look; raises RuntimeError if one dies."""
    context = multiprocessing.get_context("fork")
    writer = LockFile(path, pid=1, host="here", now=lambda: NOW)
    writer.replace(document(1))
    in_place = context.Value("q", 1)
    watchers = [_Watcher(context, path, in_place) for _ in range(readers)]
    try:
        for watcher in watchers:
            watcher.wait_until_it_reads()
        began = time.monotonic()
        for number in range(2, writes + 1):
            writer.replace(document(number))
            in_place.value = number
        took_s = time.monotonic() - began
    finally:
        reports = [watcher.finish() for watcher in watchers]
    return Result(
        writes=writes,
        reads=sum(report["reads"] for report in reports),
        documents_seen=sum(report["documents"] for report in reports),
        faults=tuple(fault for report in reports for fault in report["faults"]),
        took_s=took_s,
    )


class _Watcher:
    """One reader in a process of its own."""

    def __init__(self, context: ForkContext, path: Path, in_place: Any) -> None:
        self._stop = context.Event()
        self._reads = context.Event()
        self._report, there = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_watch, args=(path, in_place, self._stop, self._reads, there), daemon=True
        )
        self._process.start()
        there.close()

    def wait_until_it_reads(self) -> None:
        if not self._reads.wait(START_WITHIN_S):
            raise RuntimeError("a reader did not start")

    def finish(self) -> dict[str, Any]:
        self._stop.set()
        try:
            report: dict[str, Any] = self._report.recv()
        except EOFError as error:
            raise RuntimeError("a reader died") from error
        finally:
            self._report.close()
            self._process.join()
            self._process.close()
        return report


def _watch(path: Path, in_place: Any, stop: Any, reads: Any, report: Any) -> None:
    """Read until told to stop, and tell what was wrong."""
    count, documents, last = 0, 0, 0
    faults: list[str] = []
    while not stop.is_set():
        fault, number = look(path, at_least=max(last, in_place.value))
        if fault and len(faults) < 3:
            faults.append(fault)
        documents += number > last
        last = max(last, number)
        count += 1
        reads.set()
    report.send({"reads": count, "documents": documents, "faults": faults})


def look(path: Path, *, at_least: int) -> tuple[str, int]:
    """Read once as a program does and once as a bot does; what is wrong, and which was read."""
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text)
    except ValueError as error:
        return f"torn after document {at_least}: {error}", at_least
    number = found["sequence"]
    if number < at_least:
        return f"document {number} was read when {at_least} was in place", at_least
    if {name: found[name] for name in document(number)} != document(number):
        return f"document {number} does not say what was written", number
    state = read_lock(path, now=NOW)
    if not state.locked or not state.is_answer or state.expires_ts < NOW + number:
        return f"a bot read {state} when {number} was in place", number
    return "", number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, print the figures, and return 1 when anything was read that must not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writes", type=int, default=10_000, metavar="N")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder) / "trading_lock.json", writes=asked.writes)
    print(
        f"{result.writes:,} writes in {result.took_s:.1f} s, {result.reads:,} reads by {READERS} "
        f"processes, {result.documents_seen:,} times a new document, {len(result.faults)} faults"
    )
    for fault in result.faults:
        print(f"  {fault}")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
