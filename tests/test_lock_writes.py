"""The benchmark of lock writes finds what it looks for; test_trading_lock runs it smaller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.lock_writes import NOW, document, look, main
from trading_lock import LockFile


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda text: text, ""),
        (lambda text: text[:-9], "torn after document 2"),
        (lambda text: text.replace("a_futures", "b_futures"), "does not say what was written"),
        (lambda text: text.replace('"sequence": 2', '"sequence": 1'), "document 1 was read when 2"),
        (lambda text: text.replace(str(NOW), str(NOW - 99.0)), "does not say what was written"),
        (lambda text: text.replace('"heartbeat_ts": 1', '"heartbeat_ts": 9'), "a bot read"),
    ],
)
def test_a_reader_notices(tmp_path: Path, damage: Callable[[str], str], fault: str) -> None:
    """What would find nothing in a torn, old or changed file would prove nothing either."""
    path = tmp_path / "lock.json"
    writer = LockFile(path, pid=1, host="here", now=lambda: NOW)
    writer.replace(document(1))
    writer.replace(document(2))
    path.write_text(damage(path.read_text()))
    found, _ = look(path, at_least=2)
    assert fault in found
    assert bool(found) == bool(fault)


def test_the_benchmark_prints_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """`python3 -m benchmarks.lock_writes` exits 0 when nothing was wrong."""
    assert main(["--writes", "20"]) == 0
    assert capsys.readouterr().out.startswith("20 writes in ")
