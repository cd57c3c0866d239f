"""docs/recovery.md: every cell has a test, every test a cell, and what it says to type works."""

from __future__ import annotations

import importlib
import random
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from killswitch import app
from position_store import PositionStore
from tests.recovery.scene import Phase

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parent.parent / "docs" / "recovery.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \*\*(\d+)\*\* ", re.MULTILINE)
CELL = re.compile(r"\((\d+[a-e])\)")
NAME = re.compile(r"\b\d+[a-e]\b")
IN_REAL_PROCESSES = {21, 22, 23}
COLUMNS = "".join(phase.value for phase in Phase if phase is not Phase.LATCHED)


def cells_with_a_test() -> set[str]:
    """The cells that the suites of this folder are for, by the names of their tests."""
    cells: set[str] = set()
    for file in HERE.glob("test_*.py"):
        for test in vars(importlib.import_module(f"tests.recovery.{file.stem}")).values():
            for mark in getattr(test, "pytestmark", ()):
                if mark.name == "parametrize" and mark.args[0] == "cell":
                    cells.update(cell for name in mark.kwargs["ids"] for cell in NAME.findall(name))
    return cells


def commands(program: str) -> list[str]:
    """The lines of the page that begin with a program."""
    return re.findall(rf"^ *({re.escape(program)} .*)$", PAGE, re.MULTILINE)


def test_every_cell_of_the_page_has_a_test_and_every_test_a_cell() -> None:
    """A cell without a test is a promise; a test without a cell is found by nobody."""
    tested, written = cells_with_a_test(), CELL.findall(PAGE)
    assert len(tested) > 100
    assert sorted(tested - set(written)) == []
    assert sorted(set(written) - tested) == []


def test_every_fault_has_a_cell_for_every_phase() -> None:
    """Rows are numbered without holes, each with four cells of its own, and one for stage 3."""
    numbers = [int(number) for number in ROW.findall(PAGE)]
    assert numbers == list(range(1, len(numbers) + 1))
    for line in (line for line in PAGE.splitlines() if ROW.match(line)):
        number, *cells = [CELL.findall(text) for text in line.strip("| ").split(" | ")]
        assert number == []
        (row,) = ROW.findall(line)
        assert cells == [[f"{row}{letter}"] for letter in COLUMNS], line
    latched = [cell for cell in CELL.findall(PAGE) if cell.endswith(Phase.LATCHED.value)]
    assert sorted(latched, key=lambda cell: int(cell[:-1])) == [
        f"{number}{Phase.LATCHED.value}" for number in numbers if number not in IN_REAL_PROCESSES
    ]


@pytest.mark.parametrize("line", commands("sqlite3"))
def test_what_is_asked_of_the_database_can_be_asked(tmp_path: Path, line: str) -> None:
    """At three in the morning nobody corrects a column's name."""
    path = tmp_path / "killswitch.db"
    PositionStore.open(path, rng=random.Random(1)).close()
    question = shlex.split(line)[-1]
    assert question.startswith("SELECT ")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(question).fetchall() == []


def is_understood(line: str) -> bool:
    """Whether the words and options of a command are known; nothing is done."""
    words = shlex.split(line, comments=True)[2:]
    return CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize("line", dict.fromkeys(commands("python3 killswitch.py")))
def test_the_commands_of_the_page_are_understood(line: str) -> None:
    """Words and options are those of the command line."""
    assert is_understood(line)


@pytest.mark.parametrize("words", ["rest binance_futures", "status --jason", "--onse"])
def test_a_command_that_is_not_understood_is_found(words: str) -> None:
    """A word and options that do not exist."""
    assert not is_understood(f"python3 killswitch.py {words}")
