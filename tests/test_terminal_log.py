"""How an event looks to somebody at a terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator, Mapping

import pytest

from terminal_log import INDENT, TerminalRenderer

STAMP = {"timestamp": "2026-03-04T05:06:07.890+00:00", "level": "warning", "module": "killswitch"}
TRIGGER = {
    **STAMP,
    "level": "critical",
    "event": "trigger",
    "scope": "binance_futures",
    "message": "REDUCED_TOP_RISK: drawdown 5.00% over 15m reached 4.50%; source SHORT",
    "incident_id": "abc1",
    "drawdown": 0.05,
    "kept": "",
    "losses_long": 0.0,
    "takes_over": None,
    "is_more_directional": False,
    "locks": ["killswitch_stage_1", "blind_binance_futures"],
}


def shown(event: Mapping[str, object], *, is_verbose: bool = False) -> str:
    """The event as it is shown, without its fold."""
    text = TerminalRenderer(io.StringIO(), is_verbose=is_verbose)(None, "", dict(event))
    return " ".join(text.split())


def test_a_line_has_time_level_event_scope_and_sentence() -> None:
    """What the sentence says is not said twice; what it cannot know stands beside it."""
    assert shown(TRIGGER) == (
        "2026-03-04 05:06:07Z critical trigger binance_futures: REDUCED_TOP_RISK: drawdown 5.00% "
        "over 15m reached 4.50%; source SHORT incident_id=abc1 "
        "locks=killswitch_stage_1, blind_binance_futures"
    )


def test_all_figures_are_shown_when_asked_for() -> None:
    """A figure of 0 is one; what is empty is none."""
    text = shown(TRIGGER, is_verbose=True)
    assert "drawdown=0.05" in text
    assert "losses_long=0.0" in text
    for nothing in ("kept", "takes_over", "is_more_directional", "module"):
        assert nothing not in text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"why": "timed out", "failures": 0}, "x timed out failures=0"),
        ({"message": "it failed", "why": "timed out", "failures": 1}, "x it failed: timed out"),
        (
            {"error": "ValueError: a (b.py:1)", "task": "office"},
            "x ValueError: a (b.py:1) task=office",
        ),
        ({"scope": "*", "message": "all of it"}, "x all of it"),
        ({"scope": "a", "message": "a: bots are locked"}, "x a: bots are locked"),
        (
            {"scope": "a", "message": "bots may trade", "locks": []},
            "x a: bots may trade locks=none",
        ),
        ({"streaks": {"ONE": 2, "TWO": 1}, "reasons": []}, "x streaks=ONE:2 TWO:1"),
    ],
)
def test_sentences_and_fields(fields: Mapping[str, object], expected: str) -> None:
    """An event without a message shows its fields; no field is shown twice."""
    assert shown({**STAMP, "event": "x", **fields}).partition("warning ")[2] == expected


@pytest.fixture
def screen() -> Iterator[tuple[io.TextIOWrapper, int]]:
    """A terminal as a stream, and its descriptor."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream, theirs
    os.close(ours)


@pytest.mark.parametrize(("columns", "width"), [(0, 80), (80, 80), (120, 120), (10, 40)])
def test_a_line_is_folded_at_words_to_the_width_of_the_terminal(
    screen: tuple[io.TextIOWrapper, int], columns: int, width: int
) -> None:
    """The continuation is indented; a size that nobody set, or that is too small, is replaced."""
    stream, descriptor = screen
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    coloured = TerminalRenderer(stream, is_verbose=True)(None, "", dict(TRIGGER))
    lines = [_plain(line) for line in coloured.split("\n")]
    assert len(lines) > 1
    assert max(map(len, lines)) <= width
    assert all(line.startswith(INDENT + line.strip()[0]) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == shown(TRIGGER, is_verbose=True)


def _plain(text: str) -> str:
    for code in ("0", "1", "2", "31", "32", "33", "1;31"):
        text = text.replace(f"\x1b[{code}m", "")
    assert "\x1b" not in text
    return text


def test_a_word_longer_than_a_line_is_kept_whole() -> None:
    """A path that is folded cannot be copied."""
    path = "/" + "folder/" * 30 + "killswitch.db"
    text = TerminalRenderer(io.StringIO(), is_verbose=False)(
        None, "", {**STAMP, "event": "x", "message": f"see {path} there"}
    )
    assert f"{INDENT}{path}\n{INDENT}there" in text


@pytest.mark.parametrize("field", ["message", "why", "event", "scope", "reason"])
@pytest.mark.parametrize("odd", ["a\nb", "a\x1b[2Jb", "a\rb", "a\x9bb", "a\u202eb", "a\ud800b"])
def test_nothing_that_others_wrote_moves_the_cursor(field: str, odd: str) -> None:
    """A venue, or whoever types a reason, could otherwise forge a line or hide one."""
    event = {**STAMP, "event": "x", field: odd}
    text = TerminalRenderer(io.StringIO(), is_verbose=True)(None, "", event)
    assert all(c.isprintable() for c in text)
    assert "a\\" in text


@pytest.mark.parametrize(
    ("level", "is_verbose", "is_shown"),
    [("error", False, False), ("error", True, True), ("critical", False, True)],
)
def test_a_traceback_is_for_those_who_ask_or_for_the_end(
    level: str, is_verbose: bool, is_shown: bool
) -> None:
    """In between, one line with the place says enough."""
    event = {
        **STAMP,
        "level": level,
        "event": "task_failed",
        "error": "ValueError: odd (b.py:1)",
        "exception": "Traceback:\n  line\x1b[2J\nValueError: odd",
    }
    text = TerminalRenderer(io.StringIO(), is_verbose=is_verbose)(None, "", event)
    assert ("Traceback:\n" in text) is is_shown
    assert "\x1b" not in text
