"""The rules of layout and habit, as functions from one source file to what breaks them.

Owns what may import what (docs/architecture.md section 2) and what may be called where. Knows no
file: `test_tidy` reads them. Every rule takes a `Source` and gives lines `path:line  what`. Names
are resolved through the file's own imports, so `import time as t; t.time()` is found as well.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

PURE_STANDARD = frozenset(
    {
        "__future__",
        "collections",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "functools",
        "itertools",
        "math",
        "typing",
    }
)
SQLITE_VIEWERS: frozenset[str] = frozenset()
"""Files outside the store that may open the database, and then only to read it."""
SIMULATOR_USERS = (
    "simulator/",
    "replay/",
    "tools/",
    "benchmarks/",
    "tests/",
    "commands/test_mock/",
)
PRINT_HOMES = ("commands/", "tools/", "benchmarks/", "examples/", "simulator/", "trading_lock.py")
CLOCK_HOMES = ("clock.py", "trading_lock.py", "examples/", "tools/", "benchmarks/", "tests/")
EXCHANGES = ("binance", "bybit", "bitget")
ADAPTERS = (
    "venues",
    "position_store",
    "state_lock",
    "trading_lock",
    "operator_switch",
    "service_manager",
    "notifier",
    "heartbeat",
    "metrics",
)
"""What talks to one outside thing each. `store/` is a part of the position store."""
_SHELL_ORDER = (
    "killswitch",
    "commands",
    "guardian",
    "switch_watch",
    "drives",
    "scope_watch",
    "executor",
)

BANNED_CLOCKS = frozenset(
    {
        "time.time",
        "time.time_ns",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
    }
)
UNFINISHED = ("TO" + "DO", "FIX" + "ME")
"""Spelt in halves, so that this file does not break its own rule."""
_UNFINISHED_WORD = re.compile(rf"\b({'|'.join(UNFINISHED)})\b")
_SKIPS = frozenset({"skip", "skipif", "xfail", "importorskip", "skipUnless", "skipIf", "SkipTest"})
NEEDS_A_PROGRAM = frozenset({"tests/test_service_unit.py", "tests/test_node_bot.py"})
"""Suites with a judge of their own, systemd or node, that not every machine has."""
_BROAD = frozenset({"Exception", "BaseException"})


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `from a.b import c` is module `a.b` and name `a.b.c`."""

    line: int
    module: str
    name: str

    @property
    def root(self) -> str:
        """The first part: the library, root module or folder."""
        return self.module.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its path from the root of the project and its text."""

    path: str
    text: str
    nodes: tuple[ast.AST, ...] = field(init=False)
    """Its whole tree, walked once for all rules."""

    def __post_init__(self) -> None:
        tree = ast.parse(self.text, filename=self.path)
        object.__setattr__(self, "nodes", tuple(ast.walk(tree)))

    @property
    def module(self) -> str:
        """The dotted name that other files import it by."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def root(self) -> str:
        """The root module or folder this file belongs to."""
        return self.module.partition(".")[0]

    def is_in(self, homes: tuple[str, ...]) -> bool:
        """True when the path begins with one of the homes (a folder ends with a slash)."""
        return self.path.startswith(homes)

    def imports(self) -> Iterator[Import]:
        """Every import, also inside functions and under TYPE_CHECKING."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(node.lineno, alias.name, alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    yield Import(node.lineno, module, f"{module}.{alias.name}")

    def _absolute(self, node: ast.ImportFrom) -> str:
        """The module of a from-import; a relative one starts at this file's folder."""
        if node.level == 0:
            return node.module or ""
        folder = PurePosixPath(self.path).parent.parts
        base = folder[: len(folder) - node.level + 1]
        return ".".join((*base, *([node.module] if node.module else [])))

    def uses(self) -> Iterator[tuple[int, str]]:
        """Every name and attribute chain, spelt out through the file's imports."""
        known = self._aliases()
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute):
                dotted = _dotted(node)
                if dotted is not None:
                    first, dot, rest = dotted.partition(".")
                    yield node.lineno, known.get(first, first) + dot + rest

    def _aliases(self) -> dict[str, str]:
        """What each imported local name stands for."""
        known: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname is not None:
                        known[alias.asname] = alias.name
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    known[alias.asname or alias.name] = f"{module}.{alias.name}"
        return known


def _dotted(node: ast.expr) -> str | None:
    """`a.b.c` for a chain of attributes that begins with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


Found = Iterator[str]
Rule = Callable[[Source], Found]


def _at(source: Source, line: int, what: str) -> str:
    return f"{source.path}:{line}  {what}"


def pure_files_stay_pure(source: Source, *, pure: frozenset[str]) -> Found:
    """Pure files import pure files and harmless standard modules, nothing else."""
    if "/" in source.path or source.module not in pure:
        return
    for imported in source.imports():
        if imported.root not in PURE_STANDARD | pure:
            yield _at(source, imported.line, f"a pure file imports {imported.module}")


def ccxt_stays_in_venues(source: Source) -> Found:
    """Only adapters (and tests of the wire, and bots of users) meet the exchange library."""
    if source.is_in(("venues/", "tests/", "examples/")):
        return
    for imported in source.imports():
        if imported.root == "ccxt":
            yield _at(source, imported.line, "imports ccxt outside venues/")


def apprise_stays_in_the_notifier(source: Source) -> Found:
    """Only one file meets the library of alerts, and only when there is somebody to alert."""
    if source.path == "notifier.py" or source.is_in(("tests/",)):
        return
    for imported in source.imports():
        if imported.root == "apprise":
            yield _at(source, imported.line, "imports apprise outside the notifier")


def sqlite_stays_in_the_store(source: Source) -> Found:
    """Only the store opens the database; viewers are listed, and tests look at files."""
    is_store = source.path == "position_store.py" or source.is_in(("store/",))
    if is_store or source.path in SQLITE_VIEWERS or source.is_in(("tests/",)):
        return
    for imported in source.imports():
        if imported.root == "sqlite3":
            yield _at(source, imported.line, "imports sqlite3 outside the store")


def redis_stays_in_the_operator_switch(source: Source) -> Found:
    """One module speaks with Redis (and tests, and bots of users): one place for its failures."""
    if source.path == "operator_switch.py" or source.is_in(("tests/", "examples/")):
        return
    for imported in source.imports():
        if imported.root == "redis":
            yield _at(source, imported.line, "imports redis outside operator_switch.py")


def the_lock_reader_stands_alone(source: Source) -> Found:
    """`trading_lock.py` is copied beside bots, where nothing of ours is installed."""
    if source.path != "trading_lock.py":
        return
    for imported in source.imports():
        if imported.root not in sys.stdlib_module_names:
            yield _at(source, imported.line, f"imports {imported.module}, which bots do not have")


def the_simulator_stays_out_of_production(source: Source) -> Found:
    """What guards money never depends on the simulated exchange."""
    if source.is_in(SIMULATOR_USERS):
        return
    for imported in source.imports():
        if imported.root == "simulator":
            yield _at(source, imported.line, "imports the simulator")


def adapters_do_not_meet(source: Source) -> Found:
    """Adapters never import each other, and one exchange's files never another's."""
    own = "position_store" if source.is_in(("store/",)) else source.root
    if own not in ADAPTERS:
        return
    for imported in source.imports():
        other = "position_store" if imported.root == "store" else imported.root
        if other in ADAPTERS and other != own:
            yield _at(source, imported.line, f"adapter {own} imports adapter {other}")
    here = _exchange(source.module)
    for imported in source.imports():
        there = _exchange(imported.name)
        if here is not None and there is not None and here != there:
            yield _at(source, imported.line, f"the {here} adapter imports {imported.module}")


def _exchange(module: str) -> str | None:
    """The exchange a module of `venues` belongs to, None for what they share."""
    if not module.startswith("venues."):
        return None
    stem = module.split(".")[1]
    return next((name for name in EXCHANGES if re.match(rf"{name}(_|$)", stem)), None)


def imports_point_one_way(source: Source) -> Found:
    """The order is that of `_SHELL_ORDER`, with everything else below it."""
    if source.root in _SHELL_ORDER:
        above = _SHELL_ORDER[: _SHELL_ORDER.index(source.root)]
    elif source.is_in(("tests/", "tools/", "benchmarks/", "replay/")):
        return
    else:
        above = _SHELL_ORDER
    for imported in source.imports():
        if imported.root in above:
            yield _at(source, imported.line, f"imports {imported.root}, which stands above it")


def the_clock_is_read_at_home(source: Source) -> Found:
    """`now` is injected, so that a simulation can bend it."""
    if source.is_in(CLOCK_HOMES):
        return
    for line, name in source.uses():
        if name in BANNED_CLOCKS:
            yield _at(source, line, f"reads the clock by {name}")


def printing_is_for_commands(source: Source) -> Found:
    """The daemon logs; only what talks to a person at a terminal prints."""
    if source.is_in(PRINT_HOMES):
        return
    for line, name in source.uses():
        if name == "print":
            yield _at(source, line, "prints")


def randomness_is_injected(source: Source) -> Found:
    """`random.Random(seed)` is a value; the functions of the module are hidden global state."""
    for line, name in source.uses():
        if re.match(r"random\.(?!Random\b)\w", name):
            yield _at(source, line, f"uses {name} instead of an injected random.Random")


def nothing_is_left_undone(source: Source) -> Found:
    """Unfinished work belongs into the list of limitations, where users see it."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if _UNFINISHED_WORD.search(line):
            yield _at(source, number, "marks unfinished work")


def errors_are_caught_by_name(source: Source) -> Found:
    """One broad handler in the whole program: `supervise` in supervision.py."""
    home = _lines_of_supervise(source) if source.path == "supervision.py" else range(0)
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = {_last_name(name) for name in _caught(node.type)}
            if (node.type is None or caught & _BROAD) and node.lineno not in home:
                yield _at(source, node.lineno, "catches everything")
        elif (
            isinstance(node, ast.Call)
            and _last_name(node.func) == "suppress"
            and {_last_name(name) for name in node.args} & _BROAD
        ):
            yield _at(source, node.lineno, "suppresses everything")


def _lines_of_supervise(source: Source) -> range:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_supervise(node.name):
            return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return range(0)


def _is_supervise(name: str) -> bool:
    return name.lstrip("_") == "supervise"


def _caught(expression: ast.expr | None) -> list[ast.expr]:
    if expression is None:
        return []
    return list(expression.elts) if isinstance(expression, ast.Tuple) else [expression]


def _last_name(node: ast.expr) -> str:
    return (_dotted(node) or "").rpartition(".")[2]


def no_test_is_skipped(source: Source) -> Found:
    """A skipped test is one that cannot fail; a program that is not installed judges nothing."""
    if source.path in NEEDS_A_PROGRAM:
        return
    for line, name in source.uses():
        parts = name.split(".")
        if parts[0] in ("pytest", "unittest") and _SKIPS & set(parts[1:]):
            yield _at(source, line, f"uses {name}")


def closes_are_made_by_order_safety(source: Source) -> Found:
    """Only the file that sizes closes may construct one."""
    if source.path == "order_safety.py" or source.is_in(("tests/",)):
        return
    for node in source.nodes:
        if isinstance(node, ast.Call) and _last_name(node.func) == "CloseInstruction":
            yield _at(source, node.lineno, "constructs a CloseInstruction")
    for imported in source.imports():
        # Under another name the constructor would not be recognised above.
        if imported.name == "model.CloseInstruction" and _is_renamed(source, "CloseInstruction"):
            yield _at(source, imported.line, "imports CloseInstruction under another name")


def _is_renamed(source: Source, name: str) -> bool:
    return any(
        alias.name == name and alias.asname not in (None, name)
        for node in source.nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def names_do_not_hide_the_standard_library(source: Source) -> Found:
    """A root module called `operator` or `signal` breaks everything that imports the real one."""
    if source.root in sys.stdlib_module_names:
        yield _at(source, 1, f"is named after the standard module {source.root}")


RULES: tuple[Rule, ...] = (
    ccxt_stays_in_venues,
    apprise_stays_in_the_notifier,
    sqlite_stays_in_the_store,
    redis_stays_in_the_operator_switch,
    the_lock_reader_stands_alone,
    the_simulator_stays_out_of_production,
    adapters_do_not_meet,
    imports_point_one_way,
    the_clock_is_read_at_home,
    printing_is_for_commands,
    randomness_is_injected,
    nothing_is_left_undone,
    errors_are_caught_by_name,
    no_test_is_skipped,
    closes_are_made_by_order_safety,
    names_do_not_hide_the_standard_library,
)
"""Every rule but `pure_files_stay_pure`, which needs the list of pure files."""


def pure_modules(makefile: str) -> frozenset[str]:
    """The list `PURE :=` of the Makefile: the same that must be covered whole by tests."""
    found = re.search(r"^PURE\s*:=\s*((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    return frozenset(found[1].replace("\\", " ").split()) if found else frozenset()


def undocumented(names: tuple[str, ...], text: str) -> list[str]:
    """The names that do not stand in the text as words of their own."""
    return [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def refusal_reasons(source: Source) -> tuple[str, ...]:
    """The values of every enum in the file that says why something was refused."""
    return tuple(
        statement.value.value
        for node in source.nodes
        if isinstance(node, ast.ClassDef)
        and re.search(r"Refus|Blocked", node.name)
        and any(_last_name(base) == "StrEnum" for base in node.bases)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
