"""config.yaml as text: its keys with their line numbers, and one line for each mistake in it.

Owns reading YAML and wording problems as `file:line  key = value  what is wrong -> what to write`.
Knows no key of the configuration: `configuration.schema` does. Rules:
- Every key has a line, and a key that stands twice in one section is a mistake, because YAML
  would silently keep the second.
- Only plain decimal numbers are numbers. YAML's other spellings (`010` is eight, `1:30` is
  ninety) stay text and are refused where a number is expected.
- A value that may hold a secret is never shown, not even in part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from errors import ConfigurationError

KeyPath = tuple[str, ...]
"""Where a key stands: `("exchanges", "binance", "enabled")`; list items count from 0."""
Scalar = str | int | float | bool | None
Value = Scalar | list["Value"] | dict[str, "Value"]
Section = dict[str, Value]

HIDDEN = "***"
_LONGEST_SHOWN = 40
_MOST_NODES = 20_000
"""A configuration has some hundred values; aliases of aliases could otherwise fill the memory."""

_SECRET_KEY = re.compile(
    r"key|secret|pass|token|credential|auth|webhook|login|dsn|(?<!simulator_)url", re.IGNORECASE
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.\-]*:/", re.IGNORECASE)
_HARMLESS_ADDRESS = re.compile(r"(?:https?|ftp)://[^/?#@\s]*/?")
"""Only the name of a machine; of any other address a part may be the way in."""
_LONG_WORD = re.compile(r"[A-Za-z0-9+=]{16,}|[A-Za-z0-9+=_\-]{32,}")

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_NOTHING = frozenset({"", "~", "null"})
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. `line` is None when it belongs to no line; `subject` is `key = value`."""

    file: str
    line: int | None
    subject: str
    wrong: str
    remedy: str

    def __str__(self) -> str:
        """The line that the operator reads."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        said = f"{self.wrong} -> {self.remedy}"
        return "  ".join(part for part in (place, self.subject, said) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """The parsed file and the list of what is wrong with it, which grows while it is checked."""

    file: str
    root: Section
    lines: Mapping[KeyPath, int]
    texts: Mapping[KeyPath, str]
    problems: list[Problem] = field(default_factory=list)
    spoilt: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, *, wrong: str, remedy: str, line: int | None = None) -> None:
        """Record a mistake at `path`; a secret-looking value is replaced by `***`."""
        self.spoilt.add(path)
        if line is None:
            line = self.lines.get(path)
        value = show_value(path, self.texts.get(path))
        problem = Problem(
            file=self.file,
            line=line,
            subject=f"{show_key(path)} = {value}" if value else show_key(path),
            wrong=wrong,
            remedy=remedy,
        )
        if problem not in self.problems:
            self.problems.append(problem)

    def is_sound(self, path: KeyPath) -> bool:
        """True unless a mistake was recorded at `path` itself or at a section around it."""
        return not any(path[:depth] in self.spoilt for depth in range(1, len(path) + 1))

    def report(self) -> tuple[str, ...]:
        """Every problem as a line: those of this file by line number, then the rest."""
        ordered = sorted(
            self.problems,
            key=lambda problem: (problem.file != self.file, problem.line or float("inf")),
        )
        return tuple(str(problem) for problem in ordered)


def looks_secret(text: str) -> bool:
    """True for text that could be a key of a venue: one long word of letters and digits."""
    return any(
        any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
        for word in _LONG_WORD.findall(text)
    )


def holds_secret(path: KeyPath) -> bool:
    """True when the name of a key says that its value is a secret or the way to one."""
    return any(_SECRET_KEY.search(part) for part in path)


def show_key(path: KeyPath) -> str:
    """The dotted key; a component that looks like a secret is hidden too."""
    return ".".join(HIDDEN if looks_secret(part) else _printable(part) for part in path)


def show_value(path: KeyPath, text: str | None) -> str:
    """The value as it stands in the file, shortened; `***` when it may hold a secret."""
    if text is None:
        return ""
    if holds_secret(path):
        return HIDDEN
    if looks_secret(text) or (_ADDRESS.search(text) and not _HARMLESS_ADDRESS.fullmatch(text)):
        return HIDDEN
    shown = _printable(text)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."


def _printable(text: str) -> str:
    """The text on one line, without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def read_config_file(path: Path) -> ConfigFile:
    """Read and parse `path`; duplicate keys and unusable values are recorded, not raised.

    Raises ConfigurationError with a single line when there is nothing to check: the file is
    missing, unreadable, empty, or no YAML mapping.
    """
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        remedy = "copy config_stage_based_example.yaml there, or name a file with --config FILE"
        raise _fatal(file, wrong="does not exist", remedy=remedy) from None
    except IsADirectoryError:
        remedy = "name the file in it with --config FILE"
        raise _fatal(file, wrong="is a folder", remedy=remedy) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        remedy = "save the file as UTF-8"
        raise _fatal(file, line=line, wrong="is not UTF-8 text", remedy=remedy) from None
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
        remedy = "let the guard's user read it"
        raise _fatal(file, wrong=wrong, remedy=remedy) from None
    return _parse(file=file, text=text)


def _fatal(file: str, *, wrong: str, remedy: str, line: int | None = None) -> ConfigurationError:
    """A problem that leaves nothing to check."""
    problem = Problem(file=file, line=line, subject="", wrong=wrong, remedy=remedy)
    return ConfigurationError((str(problem),))


def _parse(*, file: str, text: str) -> ConfigFile:
    """Parse the text; what PyYAML says is not repeated, since it quotes the file."""
    try:
        # BaseLoader builds nothing but text, lists and mappings, whatever tags the file holds.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        remedy = _yaml_remedy(error)
        raise _fatal(file, line=line, wrong="is not valid YAML", remedy=remedy) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        wrong, remedy = "holds a character that YAML forbids", "remove it"
        raise _fatal(file, line=line, wrong=wrong, remedy=remedy) from None
    except RecursionError:
        wrong, remedy = "is nested too deeply", "keep to the structure of config.yaml"
        raise _fatal(file, wrong=wrong, remedy=remedy) from None
    reader = _Reader(file)
    if node is None or _is_nothing(node):
        remedy = "copy config_stage_based_example.yaml there"
        raise _fatal(file, wrong="is empty", remedy=remedy)
    if not isinstance(node, yaml.MappingNode):
        wrong, remedy = "holds no keys", "write one `key: value` per line, as config.yaml does"
        raise _fatal(file, line=node.start_mark.line + 1, wrong=wrong, remedy=remedy)
    reader.config.root.update(reader.mapping(node, ()))
    return reader.config


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NOTHING


def _yaml_remedy(error: yaml.MarkedYAMLError) -> str:
    """What to do about it, in fixed words."""
    said = f"{error.context} {error.problem}"
    if "'\\t'" in said:
        return "indent with spaces, not tabs"
    if "single document" in said:
        return "keep one document: remove the line `---` in the middle"
    if "alias" in said:
        return "put a value that begins with * into quotes"
    return "check indentation, colons and quotes in this line and the one above"


class _UnusableValue(Exception):
    """A value that was recorded as a problem and is left out of its section."""


class _Reader:
    """Turns YAML nodes into plain values and notes line and text of every key on the way."""

    def __init__(self, file: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        self._texts: dict[KeyPath, str] = {}
        self._around: list[int] = []
        self._count = 0
        self.config = ConfigFile(file=file, root={}, lines=self._lines, texts=self._texts)

    def value(self, node: yaml.Node, path: KeyPath) -> Value:
        """The plain value of any node."""
        self._count += 1
        if self._count > _MOST_NODES:
            wrong, remedy = "holds too many values", "use fewer aliases (*name)"
            raise _fatal(self.config.file, wrong=wrong, remedy=remedy)
        if node.tag not in _PLAIN_TAGS:
            self._texts[path] = HIDDEN
            self.config.add(path, wrong="carries a YAML tag", remedy="remove the word beginning !")
            raise _UnusableValue
        if id(node) in self._around:
            self.config.add(path, wrong="contains itself", remedy="write the values out")
            raise _UnusableValue
        self._around.append(id(node))
        try:
            return self._plain_value(node, path)
        finally:
            self._around.pop()

    def _plain_value(self, node: yaml.Node, path: KeyPath) -> Value:
        if isinstance(node, yaml.MappingNode):
            self._texts[path] = "{...}"
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._texts[path] = "[...]"
            items: list[Value] = []
            for index, item in enumerate(node.value):
                at = (*path, str(index))
                self._lines[at] = item.start_mark.line + 1
                with suppress(_UnusableValue):
                    items.append(self.value(item, at))
            return items
        text = str(node.value)
        self._texts[path] = text
        is_quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return text if is_quoted else _scalar(text)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> Section:
        """The keys of one section, the first of each name, and `<<` merged in beneath them."""
        section: Section = {}
        merged: list[yaml.Node] = []
        seen: set[str] = set()
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.config.add(
                    path, line=line, wrong="has a key that is no word", remedy="write `key: value`"
                )
                continue
            key = str(key_node.value)
            at = (*path, key)
            if key == "<<" and key_node.style is None:
                merged.append(value_node)
            elif key in seen:
                self._note_duplicate(value_node, at=at, line=line)
            else:
                seen.add(key)
                self._lines[at] = line
                with suppress(_UnusableValue):
                    section[key] = self.value(value_node, at)
        for value_node in merged:
            self._merge(section, value_node, path)
        return section

    def _note_duplicate(self, node: yaml.Node, *, at: KeyPath, line: int) -> None:
        """Record the second of two equal keys with the value it carries."""
        first = self._texts.get(at)
        self._texts[at] = str(node.value) if isinstance(node, yaml.ScalarNode) else "{...}"
        wrong = f"stands here a second time (first in line {self._lines[at]})"
        self.config.add(at, line=line, wrong=wrong, remedy="remove one of the two")
        if first is not None:
            self._texts[at] = first

    def _merge(self, section: Section, node: yaml.Node, path: KeyPath) -> None:
        """Take over the keys of `<<: *name` that the section does not set itself."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._around:
                line = node.start_mark.line + 1
                remedy = "write `<<: *name` for a section marked &name"
                self.config.add(path, line=line, wrong="merges what is no section", remedy=remedy)
                continue
            self._around.append(id(source))
            for key_node, value_node in source.value:
                key = str(key_node.value)
                if key == "<<":
                    self._merge(section, value_node, path)
                elif (*path, key) not in self._lines:
                    self._lines[(*path, key)] = key_node.start_mark.line + 1
                    with suppress(_UnusableValue):
                        section[key] = self.value(value_node, (*path, key))
            self._around.pop()


def _scalar(text: str) -> Scalar:
    """What an unquoted word means; an endless row of digits becomes infinity, not an error."""
    lowered = text.lower()
    if lowered in _NOTHING:
        return None
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= 16 else float(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
