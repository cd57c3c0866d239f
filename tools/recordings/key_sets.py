"""Compares the fields of recordings with what parsers look at and what the simulator answers.

A field is written with its path: `data.list[].qty`. Fields of objects in a list are those of any
of them. Kinds (text, number, flag) are compared as they were recorded; null and an empty text tell
nothing about a kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import currentframe
from typing import Any

from tools.recordings.answers import Recording
from tools.recordings.reading import Reader

PARSERS = "venues."

Kinds = dict[str, set[str]]
"""The kinds seen at each path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One endpoint: fields by what is odd about them.

    `missing`: our parsers look at them, and so many of the recordings do not have them.
    `made_up`: the simulator answers them, no recording does. `not_made`: the reverse.
    `other_kind`: both have them, as different kinds.
    """

    venue: str
    endpoint: str
    recordings: int
    is_simulated: bool
    missing: Sequence[str]
    made_up: Sequence[str]
    not_made: Sequence[str]
    other_kind: Sequence[str]

    def told(self) -> list[tuple[str, Sequence[str]]]:
        """What is odd, in words, without what is not."""
        named = (
            ("read but not recorded", self.missing),
            ("simulated but not recorded", self.made_up),
            ("recorded but not simulated", self.not_made),
            ("of another kind", self.other_kind),
        )
        return [(name, fields) for name, fields in named if fields]


class Watched(dict[str, Any]):
    """An object of an answer that notes which fields a parser looks at, and which are not there."""

    def __init__(self, content: Mapping[str, Any], path: str, absent: set[str]) -> None:
        super().__init__(
            (name, watched(value, f"{path}.{name}".lstrip("."), absent))
            for name, value in content.items()
        )
        self._path = path
        self._absent = absent

    def get(self, name: str, default: Any = None, /) -> Any:
        """As a dict does."""
        self._look(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self._look(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._look(str(name))
        return super().__contains__(name)

    def _look(self, name: str) -> None:
        """Note it; what a reader compares by itself does not count."""
        if super().__contains__(name):
            return
        frame = currentframe()
        asker = frame and frame.f_back and frame.f_back.f_back
        if asker and str(asker.f_globals.get("__name__")).startswith(PARSERS):
            self._absent.add(f"{self._path}.{name}".lstrip("."))


def watched(value: Any, path: str, absent: set[str]) -> Any:
    """The same answer, which notes into `absent` what a parser looked for in vain."""
    if isinstance(value, dict):
        return Watched(value, path, absent)
    if isinstance(value, list):
        return [watched(item, f"{path}[]", absent) for item in value]
    return value


def looked_for_in_vain(recording: Recording, reader: Reader) -> set[str]:
    """The fields that our parsers look at and this recording does not have."""
    absent: set[str] = set()
    reader(replace(recording, answer=watched(recording.answer, "", absent)))
    return absent


def category_of(answer: Any) -> str:
    """What an answer says it is about, where one endpoint answers about several things."""
    result = answer.get("result") if isinstance(answer, dict) else None
    return str(result.get("category", "")) if isinstance(result, dict) else ""


def kinds_in(values: Iterable[Any]) -> Kinds:
    """The fields of answers and their kinds."""
    kinds: Kinds = defaultdict(set)
    for value in values:
        for path, kind in _walk(value, ""):
            kinds[path] |= {kind} if kind else set()
    return dict(kinds)


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            below = f"{path}.{name}".lstrip(".")
            yield below, _kind(inner)
            yield from _walk(inner, below)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, f"{path}[]")


def _kind(value: Any) -> str:
    """Empty for what tells no kind."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "number"
    return "object" if isinstance(value, dict) else "list"


def compare(
    recordings: Sequence[Recording], *, reader: Reader, simulated: Sequence[Any]
) -> Difference:
    """What differs between the recordings of one endpoint and the simulator's answers to it."""
    recorded = kinds_in(each.written for each in recordings)
    kept = {category_of(each.written) for each in recordings}
    made = kinds_in(answer for answer in simulated if category_of(answer) in kept)
    absent: dict[str, int] = defaultdict(int)
    for each in recordings:
        for path in looked_for_in_vain(each, reader):
            absent[path] += 1
    both = recorded.keys() & made.keys()
    return Difference(
        venue=recordings[0].venue,
        endpoint=recordings[0].endpoint,
        recordings=len(recordings),
        is_simulated=bool(simulated),
        missing=[
            f"{path} ({count} of {len(recordings)})" for path, count in sorted(absent.items())
        ],
        made_up=sorted(_outermost(made.keys() - recorded.keys(), within=recorded)),
        not_made=sorted(_outermost(recorded.keys() - made.keys(), within=made)),
        other_kind=[
            f"{path} ({' or '.join(sorted(recorded[path]))} recorded, "
            f"{' or '.join(sorted(made[path]))} simulated)"
            for path in sorted(both)
            if recorded[path] and made[path] and not recorded[path] & made[path]
        ],
    )


def _outermost(paths: Iterable[str], *, within: Mapping[str, object]) -> Iterator[str]:
    """The paths whose surroundings the other side has: of an empty list nothing is known."""
    rows = {path.rpartition(".")[0] for path in within}
    for path in paths:
        parent = path.rpartition(".")[0]
        if parent in rows:
            yield path
