"""The log: one structured event per decision, and never a secret in it.

Owns the configuration of structlog and of the standard library's logging, whose records (ccxt,
asyncio, redis) pass through the same processors. Refuses to know what is logged.

Rules
- Every secret that was loaded is masked in every string of an event: message, values, nested
  values, keys, exception text; also URL-encoded, as base64 at any offset, as hex or with escapes.
  Of a long secret, eight characters in a row are already too many.
- A log that cannot be written stops nothing: a full disk or a closed pipe is swallowed here, and
  a pipe or terminal that nobody reads is not waited for.
- Times are ISO 8601 in UTC, from the clock that is given.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import select
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import TextIO, cast
from urllib.parse import quote, quote_plus

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from clock import SystemClock

MASK = "[redacted]"

_SHORTEST = 4
"""Shorter secrets cannot be masked without masking ordinary text; no venue gives such keys."""

_LONG = 16
_FRAGMENT = 8
"""Of a secret of `_LONG` characters or more, this many in a row count as the secret."""


_PIECE = 1_000
"""Characters, at most 4,000 bytes: what a pipe with any room at all takes without waiting."""

Logger = FilteringBoundLogger
"""What every part that logs is handed."""


class Redactor:
    """Masks known secrets in any value; also the structlog processor that does so."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
        self._whole = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        self._fragments = frozenset(
            form[start : start + _FRAGMENT]
            for form in forms
            if len(form) >= _LONG
            for start in range(len(form) - _FRAGMENT + 1)
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Mask every value of an event."""
        del logger, method
        return {self.text(str(key)): self.value(item) for key, item in event.items()}

    def value(self, value: object) -> object:
        """Mask a value of any type; what is no plain value becomes its masked description."""
        if value is None or isinstance(value, bool | int | float):
            return value if type(value) in (bool, int, float, type(None)) else self.text(str(value))
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", errors="replace"))
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        return self.text(str(value))

    def text(self, text: str) -> str:
        """Mask whole secrets, then fragments of long ones."""
        for form in self._whole:
            if form in text:
                text = text.replace(form, MASK)
        if not self._fragments or len(text) < _FRAGMENT:
            return text
        spans = [
            start
            for start in range(len(text) - _FRAGMENT + 1)
            if text[start : start + _FRAGMENT] in self._fragments
        ]
        return _cover(text, spans) if spans else text


def _cover(text: str, starts: list[int]) -> str:
    """Replace the fragments that begin at `starts`, overlapping ones by a single mask."""
    parts: list[str] = []
    end = 0
    for start in starts:
        if start >= end:
            parts += [text[end:start], MASK]
        end = start + _FRAGMENT
    return "".join([*parts, text[end:]])


def _forms(secret: str) -> set[str]:
    """The secret as it may turn up in a URL, a header, a body or a representation."""
    lines = {line.strip() for line in secret.splitlines()}
    forms: set[str] = set()
    for plain in {secret, secret.strip(), *lines} - {""}:
        raw = plain.encode("utf-8", errors="surrogatepass")
        forms |= {plain, quote(plain, errors="replace"), quote(plain, safe="", errors="replace")}
        forms |= {quote_plus(plain, errors="replace"), json.dumps(plain)[1:-1], repr(plain)[1:-1]}
        forms |= {raw.hex(), raw.hex().upper()}
        for offset in range(3):
            forms |= _base64_at(raw, offset)
    return forms


def _base64_at(raw: bytes, offset: int) -> set[str]:
    """The part of a base64 text that only `raw` decides when it begins `offset` bytes in."""
    first = -(-offset * 8 // 6) if offset else 0
    last = (offset + len(raw)) * 8 // 6
    padded = b"\0" * offset + raw
    both = (base64.b64encode(padded), base64.urlsafe_b64encode(padded))
    return {encoded.decode()[first:last] for encoded in both} - {""}


class _Output:
    """A stream whose failures stay here: a log that cannot be written stops nothing.

    A pipe or terminal that nobody reads would hold the writer up for ever, closes included. What
    it does not take at once is lost, and how much was lost is told when it takes lines again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            if self._lost and _takes_more(self._stream):
                told = json.dumps({"event": "log_lines_lost", "lines": self._lost})
                self._stream.write(f"\n{told}\n")
                self._lost = 0
            for start in range(0, len(text), _PIECE):
                if not _takes_more(self._stream):
                    self._lost += 1
                    return start
                self._stream.write(text[start : start + _PIECE])
                self._stream.flush()
            return len(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _takes_more(stream: TextIO) -> bool:
    """Whether a piece can be written without waiting; files and streams in memory always take it.

    Raises OSError or ValueError for a stream that is closed.
    """
    try:
        descriptor = stream.fileno()
    except UnsupportedOperation:
        return True
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return True
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return bool(poller.poll(0))


class _LibraryHandler(logging.StreamHandler[_Output]):
    """Our handler on the root logger, told apart from those of others."""


def configure_logging(
    *,
    secrets: tuple[str, ...],
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

    redactor = Redactor(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
        structlog.processors.format_exc_info,
        redactor,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if json_output
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Output(stream))),
        cache_logger_on_first_use=False,
    )
    handler = _LibraryHandler(_Output(stream))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
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


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of one module; its events carry `name` as `module`.

    May be made at import: it follows the configuration that holds when it writes.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))
