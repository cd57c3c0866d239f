"""The log: one structured event per decision, and never a secret in it.

Owns the configuration of structlog and of the standard library's logging, whose records (ccxt,
asyncio, warnings) pass through the same processors. Refuses to know what is logged; the words of
the log are docs/log.md. How a line looks on a terminal is `terminal_log`.

Rules
- Every string of an event passes the redactor: message, values, nested values, keys, exceptions.
- A log that cannot be written stops nothing: a full disk or a closed pipe is swallowed here, and
  neither a pipe or terminal that nobody reads is waited for, nor a file on a disk that hangs.
- An event is one line of JSON, whatever it holds; an exception is one string in it.
- An event that says `why` and was told with the same words a moment ago is counted, not repeated.
- Times are ISO 8601 in UTC, from the clock that is given.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import stat
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from datetime import UTC, datetime
from io import UnsupportedOperation
from pathlib import PurePath
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from attempts import words_of
from clock import SystemClock
from own_thread import OwnThread
from redaction import Redactor
from terminal_log import TerminalRenderer

REPEAT_S = 300.0
"""So long the same trouble with the same cause is counted: it is looked for every few seconds."""
_MOST_CAUSES = 256

_PIECE = 4_000
"""Bytes that a pipe with any room at all takes without waiting."""

_HOLDS_S = 0.05
"""A file takes a line at once; one that does not lies on a disk that hangs."""
_MOST_WAITING = 1_000
"""Lines kept for such a disk."""
_END_WAITS_S = 1.0
"""What the end of the process gives a disk that is only slow: last words count most."""

_FIRST_FIELDS = ("timestamp", "level", "event")

Logger = FilteringBoundLogger
"""What every part that logs is handed."""


class _Output:
    """A stream whose failures stay here: a log that cannot be written stops nothing.

    A pipe or terminal that nobody reads would hold the writer up for ever, closes included, and so
    would a file on a disk that hangs. What a pipe does not take at once is lost, and so is what a
    file has no place left for; how much was lost is told when lines are taken again.
    Nothing is left in the stream's own buffer, where it would fail once more when the process
    ends, and turn its exit code into 120.
    """

    def __init__(self, stream: TextIO, say_lost: Callable[[int], str]) -> None:
        self._stream = stream
        self._say_lost = say_lost
        self._lost = 0
        self._thread = OwnThread("log")
        self._waiting: list[Future[bool]] = []
        atexit.register(self._finish)

    def write(self, text: str) -> int:
        if self._lost and self._put(f"\n{self._say_lost(self._lost)}\n"):
            self._lost = 0
        if self._lost or not self._put(text):
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def _put(self, text: str) -> bool:
        """Write the text, or as much of it as is taken at once; whether that was all."""
        # RuntimeError: there is no thread to be had.
        with suppress(OSError, ValueError, RuntimeError):
            try:
                descriptor = self._stream.fileno()
            except UnsupportedOperation:
                self._stream.write(text)
                self._stream.flush()
                return True
            left = text.encode(self._stream.encoding or "utf-8", "backslashreplace")
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return self._put_into_file(descriptor, left)
            return _write(descriptor, left, may_go_on=_takes_more)
        return False

    def _put_into_file(self, descriptor: int, left: bytes) -> bool:
        """Write on a thread of its own: only the first line waits a moment for a disk that hangs.

        Raises OSError and RuntimeError.
        """
        self._waiting = [writing for writing in self._waiting if not writing.done()]
        is_hanging, is_full = bool(self._waiting), len(self._waiting) >= _MOST_WAITING
        if is_full:
            return False
        writing = self._thread.submit(_write, descriptor, left)
        self._waiting.append(writing)
        with suppress(TimeoutError):
            return is_hanging or writing.result(_HOLDS_S)
        return True

    def _finish(self) -> None:
        wait(self._waiting, timeout=_END_WAITS_S)


def _write(
    descriptor: int, left: bytes, *, may_go_on: Callable[[int], bool] = lambda _descriptor: True
) -> bool:
    """Write all of it, or as much as may be written; whether that was all. Raises OSError."""
    while left and may_go_on(descriptor):
        left = left[os.write(descriptor, left[:_PIECE]) :]
    return not left


def _takes_more(descriptor: int) -> bool:
    """Whether a piece can be written without waiting. Raises OSError for a closed descriptor."""
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return bool(poller.poll(0))


class _LibraryHandler(logging.StreamHandler[_Output]):
    """Our handler on the root logger, told apart from those of others."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Say where a line comes from that cannot be formatted.

        The standard library would print it with its arguments to stderr, past every mask.
        """
        place = f"{PurePath(record.pathname).name}:{record.lineno}"
        message = f"a line of {record.name} ({place}) cannot be formatted"
        get_logger("logger").warning("library", message=message)


class _Repeats:
    """Drops an event that only repeats a cause; the next one tells how many were dropped."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._told: dict[str, tuple[float, int]] = {}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        if "why" not in event:
            return event
        key, now = repr(event), self._now()
        told_at, count = self._told.get(key, (float("-inf"), 0))
        # A clock that was set back must not silence a trouble for long.
        if abs(now - told_at) < REPEAT_S:
            self._told[key] = (told_at, count + 1)
            raise structlog.DropEvent
        if len(self._told) >= _MOST_CAUSES:
            self._told.clear()
        self._told[key] = (now, 0)
        if count:
            event["repeated"] = count
        return event


def configure_logging(
    *,
    redactor: Redactor,
    json_output: bool,
    verbose: bool,
    stream: TextIO,
    now: Callable[[], float] | None = None,
) -> None:
    """Send every event of this process to `stream`, masked.

    `json_output` writes one JSON object per line; otherwise lines for people, with colours only
    when the stream is a terminal. `verbose` adds debug events of ours and informational ones of
    libraries, never their debug output. `now` gives UTC seconds, the machine's when None. May be
    called again, when secrets become known.
    """
    clock = SystemClock().now if now is None else now

    def stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        event["timestamp"] = datetime.fromtimestamp(clock(), UTC).isoformat(timespec="milliseconds")
        return event

    def mask(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        first = {name: event.pop(name) for name in _FIRST_FIELDS}
        return {redactor.text(k): redactor.value(v) for k, v in {**first, **event}.items()}

    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if json_output
        else TerminalRenderer(stream, is_verbose=verbose)
    )

    def say_lost(lines: int) -> str:
        event: EventDict = {"level": "warning", "event": "log_lines_lost", "lines": lines}
        return str(renderer(None, "warning", mask(None, "warning", stamp(None, "warning", event))))

    shared: list[Processor] = [structlog.stdlib.add_log_level, stamp, _describe_exception, mask]
    structlog.configure(
        processors=[_Repeats(clock), *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Output(stream, say_lost))),
        cache_logger_on_first_use=False,
    )
    handler = _LibraryHandler(_Output(stream, say_lost))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _name_library],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *shared,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    for earlier in [old for old in root.handlers if isinstance(old, _LibraryHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose else logging.WARNING)


def _name_library(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Give what a library says an event's name of its own: its text is no word of ours."""
    del logger, method
    event["message"] = str(event["event"]).strip()
    event["event"] = "library"
    return event


def _describe_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into `error`, one line for people, and `exception`, the whole traceback."""
    del logger, method
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    elif given and not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    if isinstance(given, BaseException):
        event["error"] = _say_exception(given)
        event["exception"] = "".join(traceback.format_exception(given)).rstrip()
    return event


def _say_exception(error: BaseException) -> str:
    """An exception in one line: what, why, and the place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(words_of(error).split())}{place}"


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of one module; its events carry `name` as `module`.

    May be made at import: it follows the configuration that holds when it writes.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))
