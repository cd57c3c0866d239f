"""docs/log.md names every event of the log and of the audit, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from memory import IncidentStatus
from tests.test_tidy import ROOT, tracked_files

OUTSIDE = ("tests/", "tools/", "benchmarks/", "simulator/", "examples/")
LEVELS = {"debug", "info", "warning", "error", "critical"}
EXPANSIONS = {
    "incident_": {
        f"incident_{status.value.lower()}"
        for status in IncidentStatus
        if status is not IncidentStatus.OPEN
    }
}
"""What a name that is put together can become, by its first part."""
FORWARDERS = {
    "alert_desk.py",
    "approach.py",
    "commands/check/notify.py",
    "decision_log.py",
    "scope_reader.py",
    "store/journal.py",
    "troubles.py",
    "uncaught.py",
    "verdict.py",
}
"""Files that hand on a name which is written elsewhere."""
TROUBLE = re.compile(r"""troubles\.(begin|end)(?:, |\()["'](\w+)["']""")
"""A trouble begins and ends as two events, whose names `troubles.py` makes of its own."""
RESERVE = re.compile(r"""^class \w+Reserve:\n(?:.*\n)*?    name = ["'](\w+)["']$""", re.MULTILINE)
"""So does the use of a reserve, by the reserve's name."""
OF_THE_LOG_ITSELF = {"library", "log_lines_lost"}
"""Made by the log's own processors, not by a call."""
_LEVEL = f"(?:{'|'.join(sorted(LEVELS))})"
ROW = re.compile(rf"^\| `(\w+)` \| ({_LEVEL}(?:, {_LEVEL})*) \|", re.MULTILINE)

Found = tuple[str, str | None]
"""An event, and its level where the call says so; `?` for a name that cannot be read."""


def documented_events() -> dict[str, set[str]]:
    """The levels of every event in the tables of the page."""
    page = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    rows = ROW.findall(page)
    assert len(rows) == len(dict(rows)), "an event has two rows"
    return {name: set(levels.split(", ")) for name, levels in rows}


def events_in(text: str) -> Iterator[Found]:
    """Every event that a source file logs or writes into the audit."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else ""
        name = called.id if isinstance(called, ast.Name) else name
        for keyword in node.keywords:
            if name == "AuditEntry" and keyword.arg == "event":
                yield from ((event, None) for event in _names(keyword.value))
        place = {"audit_of": 1, "tell": 0, "_tell": 0, "_is_got": 0}.get(name)
        if isinstance(called, ast.Attribute) and name in LEVELS:
            yield from ((event, name) for event in _names(node.args[0]))
        elif place is not None and len(node.args) > place and not _is_handed_on(node.args[place]):
            yield from ((event, None) for event in _names(node.args[place]))

    for verb, trouble in TROUBLE.findall(text):
        yield f"{trouble}_{'trouble' if verb == 'begin' else 'recovered'}", None
    for reserve in RESERVE.findall(text):
        yield from ((f"{reserve}_{event}", None) for event in ("trouble", "recovered"))


def _is_handed_on(expression: ast.expr) -> bool:
    """True for a variable: whoever filled it wrote the name."""
    return not isinstance(expression, ast.Constant | ast.IfExp | ast.JoinedStr)


def _names(expression: ast.expr) -> set[str]:
    match expression:
        case ast.Constant(value=str(name)):
            return {name}
        case ast.IfExp():
            return _names(expression.body) | _names(expression.orelse)
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if start in EXPANSIONS:
            return EXPANSIONS[start]
        case _:
            return {"?"}


def all_events() -> dict[str, set[Found]]:
    """The events of every file of the product."""
    paths = [path for path in tracked_files() if path.endswith(".py")]
    return {
        path: set(events_in((ROOT / path).read_text(encoding="utf-8")))
        for path in paths
        if not path.startswith(OUTSIDE)
    }


def test_every_event_is_documented_and_every_documented_one_exists() -> None:
    """Whoever filters by a word must find it on the page; whoever reads the page, in the log."""
    used = {name for found in all_events().values() for name, _ in found} - {"?"}
    assert used | OF_THE_LOG_ITSELF == set(documented_events())


def test_every_event_has_the_level_that_the_page_says() -> None:
    """`critical` is what wakes people; a level that drifts wakes them too often, or never."""
    documented = documented_events()
    wrong = [
        f"{path}: {name} is logged as {level}"
        for path, found in all_events().items()
        for name, level in found
        if level is not None and name in documented and level not in documented[name]
    ]
    assert wrong == []


def test_names_are_written_where_they_are_logged() -> None:
    """A name that is computed cannot be found by whoever looks for it."""
    assert {path for path, found in all_events().items() if "?" in dict(found)} <= FORWARDERS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("self._log.warning('a', x=1)", {("a", "warning")}),
        ("log.info('a' if x else 'b')", {("a", "info"), ("b", "info")}),
        ("AuditEntry(event=f'incident_{x}')", {(n, None) for n in EXPANSIONS["incident_"]}),
        ("audit_of(case, 'a', message)", {("a", None)}),
        ("tell('a', why)", {("a", None)}),
        ("partial(troubles.begin, 'a')", {("a_trouble", None)}),
        ("troubles.end('a')", {("a_recovered", None)}),
        (
            "class ThisReserve:\n    'Doc.'\n\n    name = 'a'\n",
            {("a_trouble", None), ("a_recovered", None)},
        ),
        ("self._is_got('a', outcome)", {("a", None)}),
        ("self._tell('a')", {("a", None)}),
        ("self._tell(decision)", set()),
        ("log.info(name)", {("?", "info")}),
        ("AuditEntry(event=f'{x}_done')", {("?", None)}),
        ("print('a')", set()),
        ("play(event='a')", set()),
    ],
)
def test_planted_events_are_found(text: str, expected: set[Found]) -> None:
    """A search that finds nothing would hold for ever."""
    assert set(events_in(text)) == expected
