"""The operator's words from the shell: what is asked, what is waited for, what is refused."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import commands.requests
from memory import AuditEntry, BookMemory, Records, RequestAnswer
from model import Stage
from settings import Settings
from state_lock import StateLock
from tests.guard_files import BOOK, NOW, opened, settings_in, write
from tests.warm_start import PROGRAM, ROOT, WarmProcess


@dataclass(frozen=True)
class Ended:
    """A finished command."""

    code: int
    out: str
    err: str


def run(settings: Settings, *words: str, typed: str | None = None) -> Ended:
    """Run a command on this configuration; with `typed` on a terminal of its own."""
    main, terminal = pty.openpty()
    try:
        if typed is not None:
            os.write(main, typed.encode())
        command = WarmProcess(
            *(*words, "--config", str(settings.path)),
            folder=ROOT,
            environment={"PATH": os.environ["PATH"]},
            stdin=None if typed is None else terminal,
        )
        code, out, err = command.finish(within_s=30)
    finally:
        os.close(main)
        os.close(terminal)
    return Ended(code=code, out=out, err=err)


def at_stage_3(folder: Path) -> Settings:
    """A configuration whose book was closed to the last position."""
    settings = settings_in(folder)
    book = BookMemory(name=BOOK, stage=Stage.ALL_CLOSED, since=NOW, manual_reset_required=True)
    write(settings, Records(books=(book,)))
    return settings


def stage_of(settings: Settings) -> Stage:
    """The stage that the database knows of."""
    with opened(settings) as store:
        return store.load_memory(dry_run=False, now=NOW).book(BOOK).stage


def query(settings: Settings, text: str) -> Sequence[tuple[object, ...]]:
    """What plain sqlite3 shows."""
    with closing(sqlite3.connect(settings.state_db)) as connection:
        return connection.execute(text).fetchall()


# --- reset --------------------------------------------------------------------------------------


def test_a_reset_says_beforehand_what_it_does_and_does_not(tmp_path: Path) -> None:
    """Before anything is asked or changed, also where it is refused (lesson 33)."""
    settings = at_stage_3(tmp_path)
    ended = run(settings, "reset", BOOK)
    assert "is in ALL_CLOSED" in ended.err
    assert "lifts the book's lock" in ended.err
    assert "does not buy back what was closed" in ended.err
    assert stage_of(settings) is Stage.ALL_CLOSED


def test_without_a_terminal_a_reset_of_stage_3_needs_the_books_name(tmp_path: Path) -> None:
    """Exit 2 with the words to write; with a wrong name refused, with the right one done."""
    settings = at_stage_3(tmp_path)
    bare = run(settings, "reset", BOOK, "--force")
    assert (bare.code, f"--confirm {BOOK}" in bare.err) == (2, True)
    wrong = run(settings, "reset", BOOK, "--force", "--confirm", "binance")
    assert (wrong.code, "must be typed as confirmation" in wrong.err) == (1, True)
    assert stage_of(settings) is Stage.ALL_CLOSED
    right = run(settings, "reset", BOOK, "--force", "--confirm", BOOK)
    assert (right.code, "is NORMAL" in right.out) == (0, True)
    assert stage_of(settings) is Stage.NORMAL


@pytest.mark.parametrize(("typed", "stage"), [(BOOK, Stage.NORMAL), ("yes", Stage.ALL_CLOSED)])
def test_on_a_terminal_a_reset_of_stage_3_asks_for_the_books_name(
    tmp_path: Path, typed: str, stage: Stage
) -> None:
    """Anything else than the name leaves everything as it is."""
    settings = at_stage_3(tmp_path)
    ended = run(settings, "reset", BOOK, "--force", typed=f"{typed}\n")
    assert "Type the book's name" in ended.out
    assert ended.code == (0 if stage is Stage.NORMAL else 1)
    assert stage_of(settings) is stage


# --- while a daemon runs ------------------------------------------------------------------------


def test_while_a_daemon_runs_a_command_only_adds_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody answers: exit 1 after the wait, the row stays, and no stage has changed."""
    settings = at_stage_3(tmp_path)
    monkeypatch.setattr(commands.requests, "ANSWER_WITHIN_S", 0.3)
    with StateLock.acquire(settings.state_dir):
        code = commands.requests.ask(
            settings, command="reset", arguments={"book": BOOK}, confirmation=BOOK
        )
    assert (code, "no answer within" in capsys.readouterr().err) == (1, True)
    assert query(settings, "SELECT command, confirmation, answered_ts FROM operator_requests") == [
        ("reset", BOOK, None)
    ]
    assert stage_of(settings) is Stage.ALL_CLOSED


def test_a_command_waits_for_the_daemons_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer of another process is printed, and its verdict is the exit code."""
    settings = at_stage_3(tmp_path)

    def answer() -> None:
        with opened(settings) as store:
            while not (waiting := store.pending_requests()):
                threading.Event().wait(0.05)
            told = RequestAnswer(
                request_id=waiting[0].request_id, at=NOW, accepted=False, message="not today"
            )
            store.commit(Records(answers=(told,)))

    daemon = threading.Thread(target=answer)
    daemon.start()
    with StateLock.acquire(settings.state_dir):
        code = commands.requests.ask(settings, command="flow", arguments={"book": BOOK})
    daemon.join()
    assert (code, capsys.readouterr().err) == (1, "not today\n")


# --- the surface --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "status", "check", "reset", "flow", "switch", "db stats"])
def test_every_command_takes_a_configuration(tmp_path: Path, command: str) -> None:
    """Its help says so."""
    shown = run(settings_in(tmp_path), *command.split(), "--help")
    assert (shown.code, "--config FILE" in shown.out) == (0, True)


def test_what_is_not_built_is_absent_from_the_help(tmp_path: Path) -> None:
    """No stub answers to a command of a later version."""
    shown = run(settings_in(tmp_path), "--help")
    for option in ("--once", "--dry-run", "--verbose", "--test-mock", "--tape"):
        assert option in shown.out
    for absent in ("replay", "dashboard"):
        assert f"  {absent} " not in shown.out
        assert run(settings_in(tmp_path), absent).code == 2
    assert "--backtest" not in shown.out
    assert "--break" not in shown.out


def test_a_missing_package_is_one_line_and_exit_2() -> None:
    """No restart cures it, so the supervisor must not try for ever."""
    bare = subprocess.run(
        [sys.executable, "-S", str(PROGRAM)], capture_output=True, text=True, check=False
    )
    assert bare.returncode == 2
    assert bare.stderr == (
        "killswitch: the package typer is missing -> pip install -r requirements.txt\n"
    )


def test_the_audit_is_readable_with_plain_sqlite_and_only_grows(tmp_path: Path) -> None:
    """Columns bear the words of the specification; a later entry leaves earlier ones alone."""
    settings = settings_in(tmp_path)
    for at in (1.0, 2.0):
        entry = AuditEntry(
            at=NOW + at,
            scope=BOOK,
            event="trigger",
            message="stage 1",
            stage=Stage.REDUCED_TOP_RISK,
            mode="CLOSE_TOP_RISK_CONTRIBUTORS",
            details=(("equity", 9_500.0),),
        )
        write(settings, Records(audits=(entry,)))
    shown = query(
        settings,
        "SELECT ts, scope, stage, mode, dry_run, outcome, json_extract(details, '$.equity')"
        " FROM actions ORDER BY action_id",
    )
    assert shown == [
        (NOW + at, BOOK, 1, "CLOSE_TOP_RISK_CONTRIBUTORS", 0, "trigger", 9_500.0)
        for at in (1.0, 2.0)
    ]
