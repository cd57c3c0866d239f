"""What a process says when a fault of its own ends it, before and after the secrets are known."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from logger import configure_logging, get_logger
from redaction import MASK, Redactor
from uncaught import LastWords, learn_secrets, watch_process

SECRET = "swordfish-of-binance"


def fault() -> RuntimeError:
    """An exception with a cause, both with a secret in their text."""
    try:
        try:
            raise ValueError(f"GET /?key={SECRET}")
        except ValueError as cause:
            raise RuntimeError(f"lost {SECRET}") from cause
    except RuntimeError as error:
        return error


def tell_all(words: LastWords, error: BaseException) -> None:
    """The same exception from all three sides."""
    words.of_process(type(error), error, error.__traceback__)
    words.of_thread(cast("threading.ExceptHookArgs", SimpleNamespace(exc_value=error)))
    words.of_finalizer(cast("sys.UnraisableHookArgs", SimpleNamespace(exc_value=error)))


def test_before_the_secrets_are_known_nothing_is_quoted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Types and places are told, of the cause as well; nobody could mask the texts."""
    tell_all(LastWords(), fault())
    told = capsys.readouterr().err
    assert SECRET not in told
    assert told.count("which led to") == 3
    assert told.count("RuntimeError (not quoted") == told.count("ValueError (not quoted") == 3
    assert "test_uncaught.py" in told


def test_what_is_known_is_masked_where_there_is_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    """`status` has no log and must not print a key either."""
    words = LastWords()
    words.know(Redactor((SECRET,)), None)
    tell_all(words, fault())
    told = capsys.readouterr().err
    assert SECRET not in told
    assert told.count(f"RuntimeError: lost {MASK}") == 3
    assert told.count(f"ValueError: GET /?key={MASK}") == 3


def test_last_words_are_events_of_the_log() -> None:
    """One line of JSON each, with the traceback as one string."""
    stream, redactor = io.StringIO(), Redactor((SECRET,))
    configure_logging(redactor=redactor, json_output=True, verbose=False, stream=stream)
    words = LastWords()
    words.know(redactor, get_logger("killswitch"))
    tell_all(words, fault())
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(event["event"], event["level"]) for event in events] == [
        ("crashed", "critical"),
        ("thread_failed", "error"),
        ("fault_ignored", "error"),
    ]
    assert all(f"ValueError: GET /?key={MASK}" in event["exception"] for event in events)
    assert SECRET not in stream.getvalue()


def test_an_interrupt_and_an_exit_are_no_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is how people stop a command; a thread may end by SystemExit."""
    words = LastWords()
    words.of_process(KeyboardInterrupt, KeyboardInterrupt(), None)
    words.of_thread(cast("threading.ExceptHookArgs", SimpleNamespace(exc_value=SystemExit(0))))
    assert capsys.readouterr().err == ""


def test_a_stderr_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager may close it; the exit code says enough then."""
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        tell_all(LastWords(), fault())


def test_the_hooks_are_installed_once_and_learn_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, as in a test or a tool, learning does nothing; no memory image is allowed."""
    limits: list[Any] = []
    monkeypatch.setattr("uncaught.resource.setrlimit", lambda *given: limits.append(given))
    monkeypatch.setattr("uncaught.logging.captureWarnings", lambda *, capture: None)
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    redactor = Redactor((SECRET,))
    learn_secrets(redactor)
    watch_process()
    assert limits == [(resource.RLIMIT_CORE, (0, 0))]
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    learn_secrets(redactor)
    error = fault()
    sys.excepthook(type(error), error, error.__traceback__)
    assert f"RuntimeError: lost {MASK}" in stream.getvalue()


@pytest.mark.parametrize("fault_of_limit", [ValueError("not allowed"), OSError(1, "not permitted")])
def test_a_machine_that_forbids_to_set_limits_does_not_end_the_guard(
    monkeypatch: pytest.MonkeyPatch, fault_of_limit: Exception
) -> None:
    """A sandbox refuses the call: then its own limits have to keep memory images away."""

    def refuse(*_given: object) -> None:
        raise fault_of_limit

    monkeypatch.setattr("uncaught.resource.setrlimit", refuse)
    monkeypatch.setattr("uncaught.logging.captureWarnings", lambda *, capture: None)
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    watch_process()
    assert isinstance(getattr(sys.excepthook, "__self__", None), LastWords)


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_a_process_that_was_started_without_streams_gets_some_that_lead_nowhere(
    closed: str,
) -> None:
    """The next file that is opened, the database, would bear the number of stderr."""
    code = (
        "import os, sys, uncaught\n"
        "uncaught.fill_streams()\n"
        "sys.stderr.write('nobody hears this')\n"
        "print(os.readlink('/proc/self/fd/2'), open(os.devnull).fileno() > 2)"
    )
    ended = subprocess.run(
        ("sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code),
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ended.stdout == "/dev/null True\n"
