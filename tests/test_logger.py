"""Nothing of a secret reaches the log, and a log that fails stops nothing."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import os
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logger import REPEAT_S, configure_logging, get_logger
from redaction import MASK, NOTHING_HIDDEN, Redactor

LONG = "canary/KEY+of=the?venue&0123456789"
SHORT = "pass phrase"
LINES = "first line of a canary key\nsecond line of a canary key\n"
SECRETS = (LONG, SHORT, LINES, "")
HANGS_S = 20.0


class Mute(Exception):
    """What a library raises whose words need a request that never was."""

    def __str__(self) -> str:
        """Fail."""
        raise AttributeError("real_url")


def configured(*, json_output: bool = True, verbose: bool = False) -> io.StringIO:
    """A configured log and what it has written."""
    stream = io.StringIO()
    configure_logging(
        redactor=Redactor(SECRETS),
        json_output=json_output,
        verbose=verbose,
        stream=stream,
        now=lambda: 90.5,
    )
    return stream


def only(stream: io.StringIO) -> dict[str, object]:
    """The one event that was written."""
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert isinstance(event, dict)
    return event


def test_a_decision_is_one_structured_event() -> None:
    """Time in UTC, level, module and every figure of its own."""
    stream = configured()
    get_logger("guardian").warning("trigger", stage=2, drawdown=0.11, scopes=("a", "b"))
    assert list(only(stream))[:3] == ["timestamp", "level", "event"]
    assert only(stream) == {
        "event": "trigger",
        "level": "warning",
        "module": "guardian",
        "timestamp": "1970-01-01T00:01:30.500+00:00",
        "stage": 2,
        "drawdown": 0.11,
        "scopes": ["a", "b"],
    }


class Opaque:
    """An object whose description holds a secret."""

    def __repr__(self) -> str:
        return f"Opaque({LONG})"


class Word(str):
    """A text that is not exactly a str."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        LONG,
        Word(LONG),
        f"https://venue/?apiKey={quote(LONG, safe='')}&x=1",
        f"https://venue/?apiKey={quote(LONG)}",
        base64.b64encode(LONG.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{LONG}".encode()).decode(),
        base64.b64encode(f"us:{LONG}:tail".encode()).decode(),
        LONG.encode(),
        LONG.encode().hex(),
        {"headers": {"X-API-KEY": [LONG]}},
        {LONG: 1},
        (1, {LONG}),
        Opaque(),
        ValueError(LONG),
        LONG[:10],
        LONG[-9:],
        f"...{LONG[5:20]}...",
        SHORT,
        quote(SHORT),
        LINES,
        repr(LINES),
        json.dumps({"key": LINES}),
        LINES.splitlines()[1],
    ],
)
@pytest.mark.parametrize("json_output", [True, False])
def test_a_secret_is_masked_wherever_it_stands(value: object, json_output: bool) -> None:
    """Plain, nested, as a key, in an object, URL-encoded, base64, hex, escaped, or a part of it."""
    stream = configured(json_output=json_output)
    get_logger("venue").info("answer", value=value)
    text = stream.getvalue()
    assert MASK in text
    for secret in (LONG, SHORT, *LINES.splitlines()):
        assert secret not in text
    fragments = {LONG[n : n + 8] for n in range(len(LONG) - 7)}
    assert not [fragment for fragment in fragments if fragment in text]


def raise_two() -> None:
    """A cause and what it led to, both with a secret in their text, one with a line break."""
    try:
        raise ValueError(f"GET /?key={LONG}")
    except ValueError as error:
        raise RuntimeError(f"one\n{SHORT}") from error


def failed(stream: io.StringIO) -> str:
    """What the log says of an exception in the guard."""
    try:
        raise_two()
    except RuntimeError:
        get_logger("venue").exception("failed")
    text = stream.getvalue()
    assert LONG not in text
    assert SHORT not in text
    return text


def test_an_exception_is_one_line_of_json() -> None:
    """In words, and as the whole traceback with causes; both masked, each one string."""
    (line,) = failed(configured()).splitlines()
    event = json.loads(line)
    assert event["level"] == "error"
    assert event["error"].startswith(f"RuntimeError: one {MASK} (test_logger.py:")
    assert event["exception"].startswith("Traceback (most recent call last)")
    assert f"ValueError: GET /?key={MASK}" in event["exception"]


def test_an_exception_is_one_sentence_on_a_terminal_and_whole_when_asked_for() -> None:
    """The place is named in both; a traceback in the middle of the lines hides the lines."""
    brief = failed(configured(json_output=False))
    assert f"RuntimeError: one {MASK} (test_logger.py:" in " ".join(brief.split())
    assert "Traceback" not in brief
    whole = failed(configured(json_output=False, verbose=True))
    assert "Traceback (most recent call last)" in whole
    assert f"ValueError: GET /?key={MASK}" in whole


@pytest.mark.parametrize("json_output", [True, False])
def test_what_libraries_log_passes_the_same_mask(json_output: bool) -> None:
    """Records of the standard library's logging are masked, with arguments and exceptions."""
    stream = configured(json_output=json_output)
    library = logging.getLogger("some.library")
    try:
        raise ValueError(LONG)
    except ValueError:
        library.exception("request %s failed", SHORT)
    text = stream.getvalue()
    assert "library" in text
    assert "some.library" in text
    assert "request" in text
    assert text.count(MASK) >= 2
    assert LONG not in text
    assert SHORT not in text


def test_a_line_of_a_library_that_cannot_be_formatted_is_told_by_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The standard library would print its arguments to stderr, past every mask."""
    stream = configured()
    root = logging.getLogger()
    root.handlers[:] = root.handlers[-1:]  # those of the test's own tool raise
    logging.getLogger("some.library").error("%d requests failed", LONG)
    event = only(stream)
    assert (event["event"], event["level"]) == ("library", "warning")
    assert "some.library" in str(event["message"])
    assert "test_logger.py" in str(event["message"])
    assert capsys.readouterr() == ("", "")


def test_an_exception_that_cannot_be_told_is_an_event_all_the_same() -> None:
    """A log that raises would end the guard where it reports a fault."""
    stream = configured()
    get_logger("test").error("failed", exc_info=Mute())
    event = only(stream)
    assert event["error"] == "Mute: <exception str() failed>"


def test_debug_output_of_libraries_stays_out() -> None:
    """Even a verbose guard does not print other people's request dumps."""
    stream = configured(verbose=True)
    logging.getLogger("some.library").debug("headers")
    assert stream.getvalue() == ""
    logging.getLogger("some.library").info("connected")
    get_logger("guardian").debug("tick")
    assert len(stream.getvalue().splitlines()) == 2


def test_a_quiet_guard_says_what_matters() -> None:
    """Debug events need `verbose`, and libraries are heard from warnings on."""
    stream = configured()
    get_logger("guardian").debug("tick")
    logging.getLogger("some.library").info("connected")
    assert stream.getvalue() == ""


def test_the_same_trouble_is_counted_and_not_repeated() -> None:
    """Told once, then every five minutes with how often it came; another cause is told at once."""
    stream, now = io.StringIO(), 1000.0
    configure_logging(
        redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=stream, now=lambda: now
    )
    log = get_logger("reader")

    def told() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        stream.seek(0)
        stream.truncate()
        return [{k: line[k] for k in ("why", "repeated") if k in line} for line in lines]

    for _ in range(4):
        log.warning("ledger_unavailable", scope="a", why="timed out")
    log.warning("ledger_unavailable", scope="b", why="timed out")
    log.warning("ledger_unavailable", scope="a", why="HTTP 503")
    assert told() == [{"why": "timed out"}, {"why": "timed out"}, {"why": "HTTP 503"}]
    now += REPEAT_S
    log.warning("ledger_unavailable", scope="a", why="timed out")
    assert told() == [{"why": "timed out", "repeated": 3}]
    now -= 2 * REPEAT_S
    log.warning("ledger_unavailable", scope="a", why="timed out")
    assert told() == [{"why": "timed out"}]


def test_decisions_are_told_however_often_they_repeat() -> None:
    """Two equal deposits within a minute are two; only an event that says `why` is counted."""
    stream = configured()
    for _ in range(3):
        get_logger("guardian").info("flow_booked", message="booked +5.00", amount=5.0)
    assert len(stream.getvalue().splitlines()) == 3


def test_causes_without_end_take_no_memory_without_end() -> None:
    """A cause with a number in it is another one every time."""
    stream = configured()
    for number in range(1000):
        get_logger("reader").warning("ledger_unavailable", why=f"timed out after {number} s")
    assert len(stream.getvalue().splitlines()) == 1000


def test_configuring_again_replaces_the_first_log() -> None:
    """Secrets may be known only after the first event; nothing is then written twice."""
    first = configured()
    second = configured()
    logging.getLogger("some.library").warning("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


@pytest.mark.parametrize(("stream", "coloured"), [(io.StringIO(), False), (Terminal(), True)])
def test_colours_are_for_terminals(stream: io.StringIO, coloured: bool) -> None:
    """A pipe or a file gets plain lines."""
    configure_logging(redactor=NOTHING_HIDDEN, json_output=False, verbose=False, stream=stream)
    get_logger("guardian").info("started", dry_run=True)
    text = stream.getvalue()
    assert "started" in text
    assert ("\x1b[" in text) is coloured


class Broken(io.StringIO):
    """A disk that is full, or a pipe that nobody reads."""

    def write(self, text: str) -> int:
        """Fail as a full disk does."""
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Fail as a closed pipe does."""
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Full disk, closed pipe, closed stream: the caller goes on with what matters."""
    closed = io.StringIO()
    configure_logging(redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=closed)
    closed.close()
    get_logger("guardian").error("trigger")
    logging.getLogger("some.library").error("trigger")
    configure_logging(redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=Broken())
    get_logger("guardian").error("trigger")
    logging.getLogger("some.library").error("trigger")
    assert capsys.readouterr() == ("", "")


def test_a_log_whose_reader_has_gone_leaves_nothing_for_the_end() -> None:
    """What a buffer keeps is written when the process ends, fails again, and makes it exit 120."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        configure_logging(redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=stream)
        get_logger("guardian").error("trigger")
        logging.getLogger("some.library").error("trigger")
        stream.flush()


@settings(max_examples=100)
@given(
    secret=st.text(min_size=16, max_size=40),
    before=st.text(max_size=10),
    after=st.text(max_size=10),
    cut=st.integers(0, 31),
)
def test_eight_characters_of_a_long_secret_are_too_many(
    secret: str, before: str, after: str, cut: int
) -> None:
    """Whatever surrounds it, no run of eight characters of the secret is left (lesson 36)."""
    start = cut % (len(secret) - 7)
    left = Redactor((secret,)).text(f"{before}{secret[start:]}{after}").split(MASK)
    fragments = {secret[n : n + 8] for n in range(len(secret) - 7)}
    assert not [part for part in left for fragment in fragments if fragment in part]


def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    """A stopped terminal or a hung log collector: lines are lost and counted, and work goes on."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65_536)
    os.set_blocking(writer, True)
    with os.fdopen(writer, "w") as stream:
        configure_logging(redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=stream)
        log = get_logger("test")

        def write() -> None:
            log.warning("lost", text="y" * 10_000)
            log.warning("lost_too")

        worker = threading.Thread(target=write, daemon=True)
        worker.start()
        worker.join(timeout=10)
        assert not worker.is_alive()
        os.read(reader, 1 << 20)
        log.warning("seen")
        lines = [json.loads(line) for line in os.read(reader, 1 << 20).splitlines() if line]
    os.close(reader)
    assert [line["event"] for line in lines] == ["log_lines_lost", "seen"]
    assert lines[0]["lines"] == 2


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole() -> None:
    """Pieces of a long line follow each other without a break."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        configure_logging(redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=stream)
        get_logger("test").warning("long", text="y" * 20_000)
        (line,) = os.read(reader, 1 << 20).splitlines()
    os.close(reader)
    assert json.loads(line)["text"] == "y" * 20_000


def test_a_file_on_a_disk_that_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that was redirected into a file lies on the disk that the database hangs with."""
    disk, path, write = threading.Event(), tmp_path / "guard.log", os.write

    def hang(descriptor: int, data: bytes) -> int:
        assert disk.wait(HANGS_S), "whoever logs waits for the disk"
        return write(descriptor, data)

    with path.open("w", encoding="utf-8") as file:
        configure_logging(
            redactor=NOTHING_HIDDEN, json_output=True, verbose=False, stream=file, now=lambda: 90.5
        )
        log = get_logger("test")
        log.info("before")
        assert "before" in path.read_text(encoding="utf-8")
        monkeypatch.setattr("logger.os.write", hang)
        monkeypatch.setattr("logger._MOST_WAITING", 2)
        for event in ("first", "second", "third", "fourth"):
            log.info(event)
        disk.set()
        for _ in range(2_000):
            if "second" not in path.read_text(encoding="utf-8"):
                threading.Event().wait(0.001)
        log.info("after")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert [line["event"] for line in lines] == [
        "before",
        "first",
        "second",
        "log_lines_lost",
        "after",
    ]
    assert lines[3]["lines"] == 2
