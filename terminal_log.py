"""An event of the log as a person at a terminal reads it; a pipe gets JSON instead.

Owns layout, colours and what is left out. A line holds time, level, event, scope and the sentence
that the event carries; it is folded at words to the width of the terminal. Figures that the
sentence holds already are shown only when asked for (`--verbose`): JSON, the audit and `status`
have them all. Rules:

- Nothing that a venue or a person wrote moves the cursor, changes colours or begins a line.
- The traceback of a fault is one line without `--verbose`, except when it ends the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TextIO

from structlog.typing import EventDict, WrappedLogger

INDENT = "    "
WIDTH = 80
LEAST_WIDTH = 40
"""Narrower than this folding makes nothing more readable."""

_SENTENCES = ("message", "why", "error")
"""The fields that say an event in words; a message holds all figures that matter."""
_HIDDEN = frozenset({"timestamp", "level", "event", "scope", "module", "exception"})
_ALWAYS = frozenset({"incident_id", "locks", "would_lock", "repeated", "logger"})
"""Shown beside a message, which says all the rest."""

_RESET = "\x1b[0m"
_DIM, _BOLD = "\x1b[2m", "\x1b[1m"
_COLOURS = {
    "debug": _DIM,
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}

Word = tuple[str, str]
"""A word and the escape sequence of its style, empty for none."""


class TerminalRenderer:
    """Renders events for one stream; the last processor of the log."""

    def __init__(self, stream: TextIO, *, is_verbose: bool) -> None:
        self._stream = stream
        self._is_verbose = is_verbose
        self._is_coloured = stream.isatty()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The lines of one event, without a line break at the end."""
        del logger, method
        width = max(LEAST_WIDTH, _width_of(self._stream))
        lines = list(self._folded(_words(event, is_verbose=self._is_verbose), width))
        if "exception" in event and (self._is_verbose or event["level"] == "critical"):
            lines += [INDENT + printable(line) for line in str(event["exception"]).splitlines()]
        return "\n".join(lines)

    def _folded(self, words: Iterator[Word], width: int) -> Iterator[str]:
        """Lay words out in lines; one that is longer than a line gets a line of its own."""
        line, length = "", 0
        for text, style in words:
            if line and length + 1 + len(text) > width:
                yield line
                line, length = INDENT, len(INDENT)
            elif line:
                line, length = line + " ", length + 1
            line += f"{style}{text}{_RESET}" if style and self._is_coloured else text
            length += len(text)
        yield line


def _width_of(stream: TextIO) -> int:
    with suppress(OSError, ValueError):
        # A terminal that was never told its size says 0.
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    return WIDTH


def _words(event: Mapping[str, object], *, is_verbose: bool) -> Iterator[Word]:
    """Every word of a line in its order, with its style."""
    level = str(event["level"])
    day, _, rest = str(event["timestamp"]).partition("T")
    yield day, _DIM
    yield rest[:8] + "Z", _DIM
    yield f"{level:<8}", _COLOURS.get(level, "")
    yield printable(str(event["event"])), _BOLD
    said = [name for name in _SENTENCES if event.get(name)]
    sentence = ": ".join(printable(str(event[name])) for name in said)
    scope = printable(str(event.get("scope") or "*"))
    if scope != "*" and not sentence.startswith(f"{scope}: "):
        yield scope + ":", _BOLD
    for word in sentence.split(" ") if sentence else ():
        yield word, ""
    is_brief = "message" in said and not is_verbose
    for name, value in event.items():
        is_left_out = name in _HIDDEN or name in said or (is_brief and name not in _ALWAYS)
        if not is_left_out and (name == "locks" or not _is_empty(value)):
            for word in f"{name}={_say(value)}".split(" "):
                yield word, _DIM


def _is_empty(value: object) -> bool:
    """True for what says nothing; a figure of 0 is none of it."""
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def _say(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_say(item) for item in value) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name}:{_say(item)}" for name, item in value.items())
    return printable(str(value))


def printable(text: str) -> str:
    """The text on one line; what is no visible character is written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
