"""What a process says and leaves when a fault of its own ends it: masked words, no memory image.

Owns the interpreter's hooks for exceptions that nobody caught (main thread, other threads,
finalizers), the way of warnings into the log, and the core dump that must not be written. The
event loop's own handler logs by itself. Rules:

- An exception's text may hold a signed address or a key. Before the secrets are known, and nothing
  could be masked, only its type and place are told.
- Once there is a log, last words are an event of it.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from redaction import Redactor

if TYPE_CHECKING:
    from logger import Logger


class LastWords:
    """The hooks of one process, and what they know by now."""

    def __init__(self) -> None:
        self._redactor: Redactor | None = None
        self._log: Logger | None = None

    def know(self, redactor: Redactor, log: Logger | None) -> None:
        """Mask with this from now on, and tell the log where there is one."""
        self._redactor = redactor
        self._log = log or self._log

    def of_process(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """`sys.excepthook`: the process ends."""
        del kind, trace
        if not isinstance(error, KeyboardInterrupt):
            self._tell("crashed", error, "the process ends by a fault of its own")

    def of_thread(self, args: threading.ExceptHookArgs) -> None:
        """`threading.excepthook`: a thread ends, the process goes on."""
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            self._tell("thread_failed", args.exc_value, "a thread ended by a fault")

    def of_finalizer(self, args: sys.UnraisableHookArgs) -> None:
        """`sys.unraisablehook`: something could not even be raised."""
        if args.exc_value is not None:
            self._tell("fault_ignored", args.exc_value, "a fault had nobody to go to")

    def _tell(self, event: str, error: BaseException, message: str) -> None:
        if self._log is not None:
            level = self._log.critical if event == "crashed" else self._log.error
            level(event, message=message, exc_info=error)
            return
        if self._redactor is None:
            text = "".join(_places(error))
        else:
            text = self._redactor.text("".join(traceback.format_exception(error)))
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"killswitch: {message}\n{text}")


def _places(error: BaseException) -> Iterator[str]:
    """Types and places of an exception and its causes, without what they say."""
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield from _places(cause)
        yield "which led to\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__} (not quoted: nothing is known of the secrets yet)\n"


def fill_streams() -> None:
    """Give a process that was started without its standard streams some that lead nowhere.

    Without them it could say nothing at all; and the database would bear the number that libraries
    and a dying interpreter write their complaints to.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free, which is its own.
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))


def watch_process() -> None:
    """Install the hooks in this process, and forbid a memory image of it."""
    fill_streams()
    words = LastWords()
    sys.excepthook = words.of_process
    threading.excepthook = words.of_thread
    sys.unraisablehook = words.of_finalizer
    logging.captureWarnings(capture=True)
    # A sandbox may refuse the call; a guard that does not start guards nothing.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def learn_secrets(redactor: Redactor, log: Logger | None = None) -> None:
    """Let the hooks of this process mask what they say; nothing happens where there are none."""
    words = getattr(sys.excepthook, "__self__", None)
    if isinstance(words, LastWords):
        words.know(redactor, log)
