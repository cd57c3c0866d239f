"""The pages: links lead somewhere, named tests exist, and nothing speaks of one machine."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
NAMED_TEST = re.compile(r"\b(?:tests/)?((?:\w+/)*test_\w+\.py)::(\w+)(?:::(\w+))?")
MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:Users|home|mnt|root|tmp|work)\b|[A-Z]:\\)")
UPWARD_PATH = re.compile(r"(?<![\w.])(?:\.\./)+[\w./-]*")
LESSON = re.compile(r"\(lesson (\d+)\)")
LESSON_COUNT = 38
STATES = {"held", "partly", "open", "not built yet"}


def pages(root: Path = ROOT) -> list[Path]:
    """Every markdown page that belongs to the project."""
    return sorted(
        page
        for page in root.rglob("*.md")
        if not any(part.startswith(".") for part in page.relative_to(root).parts)
    )


def broken_links(page: Path) -> list[str]:
    """The relative links of a page whose target does not exist; anchors are not looked at."""
    targets = [link.split("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    return [
        target
        for target in targets
        if target
        and not re.match(r"[a-z][a-z0-9+.-]*:", target)
        and not (page.parent / target).exists()
    ]


def paths_outside(page: Path, root: Path) -> list[str]:
    """The `../` paths of a page that lead out of the project."""
    return [
        path
        for path in UPWARD_PATH.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / path).resolve().is_relative_to(root)
    ]


@cache
def defined_in(file: Path) -> frozenset[str]:
    """The functions and classes of a test file; none where there is no such file."""
    if not file.is_file():
        return frozenset()
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )


def missing_tests(text: str, tests: Path) -> list[str]:
    """The tests named in a text that do not exist; `file::Class::name` is understood."""
    missing = []
    for file_name, *names in NAMED_TEST.findall(text):
        if not set(filter(None, names)) <= defined_in(tests / file_name):
            missing.append("::".join(filter(None, (file_name, *names))))
    return missing


def coverage_rows() -> list[tuple[str, str, str]]:
    """The (rule, test, state) rows of docs/coverage.md."""
    rows = []
    for line in (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| \d+\.\d+ ", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 3, line
            rows.append((cells[0], cells[1], cells[2]))
    return rows


def lessons(text: str) -> dict[int, str]:
    """The numbered entries of a page of lessons; a number that stands twice is an error."""
    entries = re.split(r"^(\d+)\. ", text, flags=re.MULTILINE)
    numbers = [int(number) for number in entries[1::2]]
    assert len(set(numbers)) == len(numbers), numbers
    return {n: entry.split("\n## ")[0] for n, entry in zip(numbers, entries[2::2], strict=True)}


def linked_tests(text: str) -> set[tuple[int, str]]:
    """Which lesson of a page links which test, as (number, `file::name`)."""
    return {
        (number, "::".join(filter(None, names)))
        for number, entry in lessons(text).items()
        for names in NAMED_TEST.findall(entry)
    }


def naming_tests(tests: Path) -> set[tuple[int, str]]:
    """Which lesson the docstring of which test names, as (number, `file::name`)."""
    return {
        (int(number), f"{file.relative_to(tests).as_posix()}::{node.name}")
        for file in tests.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for number in LESSON.findall(ast.get_docstring(node) or "")
    }


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    """A link whose target was moved or never written is found here, not by a reader."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_speaks_of_one_machine(page: Path) -> None:
    """A path that exists on one machine only tells a reader nothing."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if MACHINE_PATH.search(line)] == []
    assert paths_outside(page, ROOT) == []


def test_every_test_named_in_the_coverage_page_exists() -> None:
    """A rule that claims a test which was renamed or removed is held by nothing."""
    text = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    placeholder = "tests/test_x.py::test_name"
    assert missing_tests(text.replace(placeholder, ""), ROOT / "tests") == []


def test_coverage_rows_are_numbered_without_holes_in_every_section() -> None:
    """Sections 1 to 17 all have rows, numbered 1, 2, 3 and so on, none twice."""
    numbers: dict[int, list[int]] = {}
    for rule, _, _ in coverage_rows():
        section, place = rule.split()[0].split(".")
        numbers.setdefault(int(section), []).append(int(place))
    assert sorted(numbers) == list(range(1, 18))
    for places in numbers.values():
        assert places == list(range(1, len(places) + 1))


def test_a_rule_counts_as_held_only_with_a_test() -> None:
    """States are the four words; `held` and `partly` name a test, the others none."""
    for rule, test, state in coverage_rows():
        assert state.split(":")[0] in STATES, rule
        assert (NAMED_TEST.search(test) is not None) == state.startswith(("held", "partly")), rule
        assert NAMED_TEST.search(test) or test == "open", rule


def test_every_lesson_has_a_test_or_says_what_is_missing() -> None:
    """Numbered without holes; a lesson that nothing holds will be learnt again, at full price."""
    entries = lessons((ROOT / "docs" / "lessons.md").read_text(encoding="utf-8"))
    assert list(entries) == list(range(1, LESSON_COUNT + 1))
    for number, entry in entries.items():
        has_test = re.search(r"^ +\*Test:\* `tests/", entry, re.MULTILINE)
        says_why = re.search(r"^ +\*Not built yet:\* \S", entry, re.MULTILINE)
        assert has_test or says_why, number
        assert bool(has_test) == bool(NAMED_TEST.search(entry)), number


def test_lessons_and_tests_name_each_other() -> None:
    """Who changes a test sees whose failure it holds, and who reads the page finds the test."""
    text = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    assert missing_tests(text, ROOT / "tests") == []
    assert linked_tests(text) == naming_tests(ROOT / "tests")


def test_every_version_of_the_changelog_begins_with_safety() -> None:
    """Whoever upgrades reads first what changes when the guard acts."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions
    for version in versions:
        assert re.findall(r"^### (.+)$", version, flags=re.MULTILINE)[0] == "Safety"


def test_the_checks_of_this_file_find_faults(tmp_path: Path) -> None:
    """A broken link, a missing test or file, and a path of one machine are seen."""
    page = tmp_path / "page.md"
    page.write_text('[a](absent.md) [b](page.md#x) [c](https://x.org) [d](gone.md "title")')
    assert broken_links(page) == ["absent.md", "gone.md"]
    (tmp_path / "test_a.py").write_text("class TestA:\n    async def test_one(self): ...\n")
    named = "`tests/test_a.py::test_one`, test_a.py::TestA::test_one, test_a.py::test_two"
    assert missing_tests(named, tmp_path) == ["test_a.py::test_two"]
    assert missing_tests("tests/test_b.py::test_one", tmp_path) == ["test_b.py::test_one"]
    (tmp_path / "test_a.py").write_text('def test_one():\n    """Not again (lesson 2)."""\n')
    assert naming_tests(tmp_path) == {(2, "test_a.py::test_one")}
    entries = (
        "1. **A.**\n   *Test:* `tests/test_a.py::test_one`,\n   `test_b.py::test_two`.\n2. B.\n## C"
    )
    assert lessons(entries)[2] == "B."
    assert linked_tests(entries) == {(1, "test_a.py::test_one"), (1, "test_b.py::test_two")}
    assert MACHINE_PATH.search("see /home/me/notes")
    assert not MACHINE_PATH.search("docs/home/page and https://x.org/home/")
    page.write_text("../beside/notes.md and ./page.md")
    assert paths_outside(page, tmp_path) == ["../beside/notes.md"]
    assert paths_outside(page, tmp_path.parent) == []
