"""The faults of tools/mutants.py fit today's source, and the program tells caught from alive."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_docs import missing_tests
from tools import mutants
from tools.mutants import MUTANTS, ROOT, Mutant, Verdict

CHEAP = ("tests/test_order_sizes.py::test_sizes_are_rounded_down",)
ROUND_UP = replace(next(m for m in MUTANTS if m.name == "round-up"), tests=CHEAP)
NOTHING = replace(ROUND_UP, name="nothing", new=ROUND_UP.old)
GONE = replace(ROUND_UP, name="gone", old="no such line\n")
NO_PYTHON = replace(ROUND_UP, name="no-python", new="return absent")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_fits_todays_source(tmp_path: Path, mutant: Mutant) -> None:
    """Its place is there once, the patched file is Python, and the tests it relies on exist."""
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / mutant.file, copy)
    assert mutant.apply(tmp_path)
    patched = copy.read_text(encoding="utf-8")
    assert patched != (ROOT / mutant.file).read_text(encoding="utf-8")
    compile(patched, mutant.file, "exec")
    assert mutant.tests
    assert missing_tests(" ".join(mutant.tests), ROOT / "tests") == []


def test_the_faults_are_there() -> None:
    """Each under a name of its own, with a sentence about money and with tests."""
    names = Counter(mutant.name for mutant in MUTANTS)
    assert (len(names), max(names.values())) == (33, 1)
    assert all(mutant.money.endswith(".") for mutant in MUTANTS)


def test_a_place_that_is_there_twice_is_not_patched(tmp_path: Path) -> None:
    """Nobody could say which of them the tests were asked about."""
    copy = tmp_path / "a.py"
    copy.write_text("pass\npass\n", encoding="utf-8")
    twice = replace(NOTHING, file="a.py", old="pass\n", new="")
    assert not twice.apply(tmp_path)
    assert copy.read_text(encoding="utf-8") == "pass\npass\n"


def test_a_mutant_is_caught_and_one_that_changes_nothing_survives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One survivor, one place that is gone or one patch that is no program fails the run."""
    monkeypatch.setattr(mutants, "MUTANTS", (ROUND_UP, NOTHING, GONE, NO_PYTHON))
    assert mutants.main(["--json"]) == 1
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["passed"], document["without_a_patch"]) == (False, "")
    assert [(m["name"], m["verdict"]) for m in document["mutants"]] == [
        ("round-up", Verdict.CAUGHT),
        ("nothing", Verdict.SURVIVED),
        ("gone", Verdict.GONE),
        ("no-python", Verdict.BROKEN),
    ]
    assert document["mutants"][0]["by"].startswith(CHEAP[0])
    assert "nothing: SURVIVED" in told.err
    assert "[5/5]" in told.err


def test_only_what_was_asked_for_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All caught is exit 0, and the table names the mutant and the test."""
    monkeypatch.setattr(mutants, "MUTANTS", (ROUND_UP, NOTHING))
    assert mutants.main(["--only", "round-up"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 mutants caught" in printed
    assert "nothing" not in printed.split()


def test_tests_that_fail_without_a_patch_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test that always fails would catch every mutant."""

    async def fail(_command: object, _folder: Path) -> tuple[int | None, str]:
        return 1, "FAILED tests/test_x.py::test_y - assert 0\n"

    monkeypatch.setattr(mutants, "MUTANTS", (ROUND_UP,))
    monkeypatch.setattr(mutants, "run", fail)
    assert mutants.main([]) == 1
    printed = capsys.readouterr().out
    assert "1 of 1 mutants caught" in printed
    assert "the tests fail without any patch" in printed


def test_tests_without_an_end_catch_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are ended, with all that they started, and the mutant is not called caught."""
    monkeypatch.setattr(mutants, "LONGEST_S", 0.2)
    code, said = asyncio.run(mutants.run(("sleep", "60"), tmp_path))
    assert (code, said) == (None, "no end within 0.2 s")
    result = mutants.Result(name="slow", money="", verdict=Verdict.GONE)
    assert mutants.judge(result, code, said).verdict is Verdict.BROKEN
