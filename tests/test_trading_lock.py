"""Bots are stopped by every lock, by a silent guard and by a file that makes no sense."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trading_lock
from benchmarks.lock_writes import measure
from lock_document import (
    EVERY_BOOK,
    FOREVER_TS,
    LOCK_VERSION,
    LockContent,
    LockEntry,
    LockMode,
    parse_lock_entries,
    parse_lock_entry,
)
from model import Stage
from trading_lock import LockFile, LockState, LockWriteError, is_locked, read_lock

NOW = 1_800_000_000.0

SNIPPET = """
lock = json.load(open(lock_path))
if lock.get("locked") and lock.get("expires_ts", 0) > time.time():
    raise RuntimeError(f"Trading locked: {lock['reason']}")
"""


def entry(
    *,
    mode: LockMode = LockMode.STAGE,
    stage: Stage = Stage.NORMAL,
    scope: str = "a_futures",
    reason: str = "why",
    expires: float = NOW + 60.0,
    manual: bool = False,
) -> LockEntry:
    """One lock."""
    return LockEntry(
        scope=scope,
        stage=stage,
        mode=mode,
        reason=reason,
        created_ts=NOW - 5.0,
        expires_ts=expires,
        manual_reset_required=manual,
        details=(("of", reason),),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock of a test lies."""
    return tmp_path / "locks" / "trading_lock.json"


def lock_file(path: Path, now: Callable[[], float] = lambda: NOW) -> LockFile:
    """The guard's side."""
    return LockFile(path, pid=4711, host="here", now=now)


def write(path: Path, *locks: LockEntry, **changes: object) -> dict[str, Any]:
    """Write a document and give back what stands in the file."""
    content = LockContent(locks=locks, details=(("scopes", "all"),))
    lock_file(path).replace({**content.to_document(NOW), **changes})
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


def run_snippet(path: Path, now: float) -> None:
    """Run the check that bots copy from the documentation, with its `time.time()` at `now`."""

    class Time:
        @staticmethod
        def time() -> float:
            return now

    def opened(name: Path) -> Any:
        return Opened(name)

    class Opened:
        def __init__(self, name: Path) -> None:
            self._name = name

        def read(self) -> str:
            return self._name.read_text()

    names = {"json": json, "time": Time, "open": opened, "lock_path": path}
    exec(compile(SNIPPET, "<snippet>", "exec"), names)


# --- the document -----------------------------------------------------------------------------


def test_a_free_document_says_so() -> None:
    """Nothing is locked: mode none, expired at 0, no manual reset."""
    assert LockContent(details=(("version", "1"),)).to_document(NOW) == {
        "version": LOCK_VERSION,
        "locked": False,
        "scope": EVERY_BOOK,
        "stage": 0,
        "mode": "none",
        "reason": "",
        "created_ts": NOW,
        "expires_ts": 0.0,
        "manual_reset_required": False,
        "dry_run": False,
        "details": {"version": "1"},
        "locks": [],
        "would_lock": [],
    }


SEVERITY = (
    entry(mode=LockMode.KILL, stage=Stage.LOCKDOWN, reason="operator_kill"),
    entry(stage=Stage.ALL_CLOSED, reason="stage 3"),
    entry(mode=LockMode.HALT, reason="operator_halt"),
    entry(stage=Stage.DOMINANT_CLOSED, reason="stage 2"),
    entry(stage=Stage.REDUCED_TOP_RISK, reason="stage 1"),
    entry(mode=LockMode.REGIME, reason="regime"),
    entry(mode=LockMode.BLIND, reason="blind"),
    entry(mode=LockMode.PAUSE, reason="operator_pause"),
    entry(mode=LockMode.NONE, reason="none"),
)


@pytest.mark.parametrize(("worse", "milder"), tuple(itertools.combinations(SEVERITY, 2)))
def test_the_most_severe_lock_speaks(worse: LockEntry, milder: LockEntry) -> None:
    """Kill > stage 3 > halt > stage 2 > stage 1 > regime > blind > pause, in either order."""
    for locks in ((worse, milder), (milder, worse)):
        document = LockContent(locks=locks).to_document(NOW)
        assert document["reason"] == worse.reason
        assert document["mode"] == worse.mode.value
        assert document["details"] == {"of": worse.reason}
        assert document["locks"] == [worse.to_document(), milder.to_document()]


def test_expiry_and_manual_reset_are_the_maximum_of_all() -> None:
    """A short severe lock never shortens a long mild one; would-be locks bind nobody."""
    document = LockContent(
        locks=(
            entry(stage=Stage.DOMINANT_CLOSED, expires=NOW + 10.0),
            entry(mode=LockMode.PAUSE, expires=FOREVER_TS, manual=True, scope="b"),
        ),
        would_lock=(entry(mode=LockMode.KILL),),
        dry_run=True,
    ).to_document(NOW)
    assert document["stage"] == 2
    assert document["expires_ts"] == FOREVER_TS
    assert document["manual_reset_required"] is True
    assert document["dry_run"] is True
    assert document["would_lock"] == [entry(mode=LockMode.KILL).to_document()]


ENTRIES = st.builds(
    LockEntry,
    scope=st.sampled_from(["a_futures", "b_spot", EVERY_BOOK]),
    stage=st.sampled_from(Stage),
    mode=st.sampled_from(LockMode),
    reason=st.text(max_size=5),
    created_ts=st.floats(0, FOREVER_TS),
    expires_ts=st.floats(0, FOREVER_TS),
    manual_reset_required=st.booleans(),
    dry_run=st.booleans(),
    details=st.dictionaries(st.text(max_size=3), st.text(max_size=3)).map(
        lambda details: tuple(details.items())
    ),
)


@settings(max_examples=50)
@given(locks=st.lists(ENTRIES, max_size=4).map(tuple))
def test_locks_survive_the_file(locks: tuple[LockEntry, ...]) -> None:
    """What is adopted when the database is gone is what was locked, most severe first."""
    document = json.loads(json.dumps(LockContent(locks=locks).to_document(NOW)))
    expected = tuple(sorted(locks, key=lambda lock: lock.severity, reverse=True))
    assert parse_lock_entries(document) == expected


GOOD = entry().to_document()


@pytest.mark.parametrize(
    "item",
    [
        None,
        {},
        {**GOOD, "scope": 3},
        {**GOOD, "stage": 9},
        {**GOOD, "stage": True},
        {**GOOD, "stage": "1"},
        {**GOOD, "mode": "sideways"},
        {**GOOD, "expires_ts": float("nan")},
        {**GOOD, "expires_ts": float("inf")},
        {**GOOD, "created_ts": None},
        {**GOOD, "dry_run": 0},
        {**GOOD, "details": []},
    ],
)
def test_a_lock_that_makes_no_sense_is_refused(item: object) -> None:
    """Nothing is guessed from a damaged lock file."""
    with pytest.raises(ValueError, match=r"a lock|valid"):
        parse_lock_entry(item)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": 1, "locked": False, "locks": []},
        {"version": 2, "locked": 0, "locks": []},
        {"version": 2, "locked": False, "locks": {}},
        {"version": 2, "locked": True, "locks": []},
        {"version": 2, "locked": False, "locks": [GOOD]},
    ],
)
def test_a_document_that_is_not_ours_is_refused(document: dict[str, object]) -> None:
    """Another version, missing fields, or two halves that contradict each other."""
    with pytest.raises(ValueError, match="document"):
        parse_lock_entries(document)


# --- writing ----------------------------------------------------------------------------------


def test_the_writer_adds_the_heartbeat(path: Path) -> None:
    """Who wrote, when and how often; the folder is made, and everyone may read the file."""
    document = write(path, entry())
    assert document["heartbeat_ts"] == NOW
    assert document["heartbeat_max_age_s"] == 60
    assert (document["pid"], document["host"], document["sequence"]) == (4711, "here", 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    """A guard with umask 077 would lock its bots out for ever."""
    before = os.umask(0o077)
    try:
        write(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("left", "expected"),
    [('{"sequence": 41}', 42), ('{"sequence": "x"}', 1), ("[", 1), ("[]", 1), ("", 1)],
)
def test_the_sequence_goes_on_after_a_restart(path: Path, left: str, expected: int) -> None:
    """A bot that compares sequences never sees one go back, as far as the file can tell."""
    path.parent.mkdir()
    path.write_text(left)
    writer = lock_file(path)
    writer.replace({})
    writer.replace({})
    assert json.loads(path.read_text())["sequence"] == expected + 1


def test_the_disk_confirms_the_file_before_the_rename_and_the_folder_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the old document or the new one; in a hurry neither is waited for."""
    confirmed: list[tuple[str, bool]] = []

    def watch(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        confirmed.append(("folder" if is_folder else "file", path.exists()))

    monkeypatch.setattr(os, "fsync", watch)
    writer = lock_file(path)
    writer.replace({})
    assert confirmed == [("file", False), ("folder", True)]
    writer.replace({}, is_confirmed=False)
    assert len(confirmed) == 2


def test_leftovers_of_a_crash_are_removed(path: Path) -> None:
    """A writer that died between writing and renaming leaves a file; others' files stay."""
    path.parent.mkdir()
    leftover = path.with_name(f".{path.name}.99-7.tmp")
    other = path.with_name(".another.json.99-7.tmp")
    leftover.write_text("{")
    other.write_text("{")
    write(path)
    assert sorted(item.name for item in path.parent.iterdir()) == sorted([other.name, path.name])


def test_a_failed_write_leaves_the_old_document(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full: the caller learns it as an OSError, bots keep what they had, nothing is left."""
    writer = lock_file(path)
    writer.replace({"reason": "old"})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(LockWriteError, match="No space") as failure:
            writer.replace({"reason": "new"})
    assert isinstance(failure.value, OSError)
    assert failure.value.errno == 28
    assert json.loads(path.read_text())["reason"] == "old"
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    writer.replace({"reason": "new"})
    assert json.loads(path.read_text())["sequence"] == 3


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_json_cannot_hold_is_a_write_error(path: Path, value: object) -> None:
    """Bots in other languages refuse NaN; the caller handles one kind of failure."""
    with pytest.raises(LockWriteError, match="no lock document"):
        lock_file(path).replace({"details": value})


def test_a_folder_that_cannot_be_made_is_a_write_error(tmp_path: Path) -> None:
    """At start this is exit 1, later an alert."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LockWriteError):
        lock_file(tmp_path / "file" / "lock.json").replace({})


def test_an_overtaken_write_never_replaces_a_later_one(path: Path) -> None:
    """The guard gives up waiting after 300 ms; the late write must not bring back the old lock."""
    begun, go_on = threading.Event(), threading.Event()

    def hang_once() -> float:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(10)
        return NOW

    writer = lock_file(path, hang_once)
    late = threading.Thread(target=writer.replace, args=({"reason": "old"},))
    late.start()
    assert begun.wait(10)
    writer.replace({"reason": "new"})
    go_on.set()
    late.join(10)
    document = json.loads(path.read_text())
    assert (document["reason"], document["sequence"]) == ("new", 2)


def test_readers_never_see_a_torn_lock(path: Path) -> None:
    """Four processes read while 500 documents are written: each reads old or new, never a part.

    Each document is stricter than the last, and none is read that was replaced before.
    """
    result = measure(path, writes=500)
    assert result.faults == ()
    assert result.documents_seen > 4
    assert json.loads(path.read_text())["sequence"] == 500


# --- reading ----------------------------------------------------------------------------------


def test_the_documented_check_is_right(path: Path) -> None:
    """A bot that knows three fields is stopped while a lock runs, and by nothing else."""
    write(path, entry(mode=LockMode.PAUSE, expires=NOW + 60.0), entry(expires=NOW + 5.0))
    with pytest.raises(RuntimeError, match="Trading locked: why"):
        run_snippet(path, NOW + 59.0)
    run_snippet(path, NOW + 61.0)
    write(path)
    run_snippet(path, NOW)
    dry = LockContent(would_lock=(entry(),), dry_run=True)
    lock_file(path).replace(dry.to_document(NOW))
    run_snippet(path, NOW)


def test_a_free_and_fresh_lock_lets_bots_trade(path: Path) -> None:
    """Also for one scope, and while a dry run only would lock."""
    write(path)
    assert not is_locked(path, now=NOW + 59.0)
    assert read_lock(path, scope="a_futures", now=NOW) == LockState(
        locked=False, heartbeat_age_s=0.0
    )
    lock_file(path).replace(LockContent(would_lock=(entry(),)).to_document(NOW))
    assert not is_locked(path, now=NOW)


def test_the_machine_clock_is_used_when_none_is_given(path: Path) -> None:
    """The reader that bots copy needs no arguments."""
    LockFile(path, pid=1, host="here").replace(LockContent().to_document(NOW))
    assert not is_locked(path)
    assert not is_locked(str(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "lock_missing"),
        ("", "lock_unreadable"),
        ('{"version": 2, "locked": fal', "lock_unreadable"),
        ("\xff", "lock_unreadable"),
        ("[" * 100_000, "lock_unreadable"),
        ("[]", "lock_unreadable"),
        ("{}", "lock_version"),
        ('{"version": 3}', "lock_version"),
        ('{"version": 2}', "lock_unreadable"),
        ('{"version": 2, "heartbeat_ts": "now", "heartbeat_max_age_s": 60}', "lock_unreadable"),
    ],
)
def test_a_file_that_makes_no_sense_locks(path: Path, text: str | None, reason: str) -> None:
    """Missing, torn, foreign: a guard that is silent guards nothing."""
    path.parent.mkdir()
    if text is not None:
        path.write_text(text, encoding="latin-1")
    assert read_lock(path, now=NOW) == LockState(locked=True, reason=reason)
    assert is_locked(path, now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"locked": 0},
        {"locked": None},
        {"locks": {}},
        {"expires_ts": "never"},
        {"expires_ts": True},
        {"locked": True, "locks": [None]},
        {"locked": True, "locks": [{"scope": "b"}]},
        {"locked": True, "locks": [{"scope": "b", "expires_ts": 10**400}]},
    ],
)
def test_a_field_that_makes_no_sense_locks(path: Path, changes: dict[str, object]) -> None:
    """A document of our version with a damaged field is not believed in part."""
    write(path, **changes)
    state = read_lock(path, scope="a_futures", now=NOW)
    assert (state.locked, state.reason) == (True, "lock_unreadable")


@pytest.mark.parametrize(
    ("age", "limit", "locked"),
    [
        (60.0, None, False),
        (60.1, None, True),
        (-60.1, None, True),
        (10.1, 10.0, True),
        (100.0, 120.0, False),
    ],
)
def test_a_stale_heartbeat_locks(path: Path, age: float, limit: float | None, locked: bool) -> None:
    """The guard may be dead; one of the future would make a dead guard look alive (lesson 35)."""
    write(path)
    state = read_lock(path, now=NOW + age, max_age_s=limit)
    assert state.locked is locked
    assert state.reason == ("lock_stale" if locked else "")
    assert state.heartbeat_age_s == pytest.approx(age)


def test_a_lock_binds_its_own_scope(path: Path) -> None:
    """A stage lock of one book leaves the others free, and says all that bind together."""
    write(
        path,
        entry(stage=Stage.DOMINANT_CLOSED, reason="stage 2", expires=NOW + 10.0),
        entry(mode=LockMode.BLIND, reason="blind", expires=NOW + 50.0),
        entry(stage=Stage.ALL_CLOSED, reason="stage 3", scope="b_spot", expires=NOW + 90.0),
    )
    assert read_lock(path, scope="a_futures", now=NOW) == LockState(
        locked=True,
        reason="stage 2",
        mode="stage",
        stage=2,
        expires_ts=NOW + 50.0,
        heartbeat_age_s=0.0,
    )
    assert read_lock(path, scope="a_futures", now=NOW + 20.0).reason == "blind"
    assert not read_lock(path, scope="a_futures", now=NOW + 55.0).locked
    assert not read_lock(path, scope="c_futures", now=NOW).locked
    everyone = read_lock(path, now=NOW)
    assert (everyone.reason, everyone.expires_ts) == ("stage 3", NOW + 90.0)


@pytest.mark.parametrize(
    "lock",
    [
        entry(scope=EVERY_BOOK, mode=LockMode.HALT, reason="halt"),
        entry(scope="b_spot", mode=LockMode.KILL, reason="kill"),
        entry(scope="b_spot", mode=LockMode.HALT, reason="operator_halt"),
        entry(scope="b_spot", mode=LockMode.PAUSE, reason="operator_pause"),
    ],
)
def test_locks_for_all_and_the_operators_bind_every_scope(path: Path, lock: LockEntry) -> None:
    """The operator stops all bots, whatever scope the entry names."""
    write(path, lock)
    assert read_lock(path, scope="a_futures", now=NOW).locked


def test_two_halves_that_disagree_lock(path: Path) -> None:
    """`locked` without an entry, or an entry without `locked`: the half that locks is believed."""
    write(path, locked=True, expires_ts=NOW + 5.0)
    state = read_lock(path, scope="a_futures", now=NOW)
    assert (state.locked, state.reason) == (True, "lock_without_reason")
    write(path, entry(reason="why"), locked=False, expires_ts=0.0, stage=None)
    assert read_lock(path, scope="a_futures", now=NOW).reason == "why"
    write(path, entry(), stage="two")
    assert read_lock(path, now=NOW).stage == 0


def test_the_file_can_be_copied_beside_a_bot(tmp_path: Path) -> None:
    """Standard library only: it runs in an interpreter that knows nothing of this project."""
    shutil.copy(trading_lock.__file__, tmp_path)
    line = "import sys; sys.path.insert(0, '.'); import trading_lock as t; print(t.is_locked('no'))"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.stdout, answer.stderr) == ("True\n", "")


# --- the command ------------------------------------------------------------------------------


def ask(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the copied file as a bot in another language does: no site, no packages, no project."""
    copy = path.with_name("trading_lock.py")
    path.parent.mkdir(exist_ok=True)
    shutil.copy(trading_lock.__file__, copy)
    command = [sys.executable, "-I", "-S", str(copy), str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def answer(
    path: Path, capsys: pytest.CaptureFixture[str], *options: str, now: float = NOW
) -> tuple[int, str]:
    """The exit code and the line for a clock that stands still."""
    code = trading_lock.main([str(path), *options], now=now)
    told = capsys.readouterr()
    assert told.err == ""
    return code, told.out


def test_the_command_exits_with_the_answer(path: Path) -> None:
    """As a process, by the machine's clock: missing 2, free 0, locked 1, wrong usage 2."""
    missing = ask(path)
    assert (missing.returncode, missing.stdout) == (2, "no answer  lock_missing\n")
    living = LockFile(path, pid=1, host="here")
    living.replace(LockContent().to_document(NOW))
    free = ask(path)
    assert free.returncode == 0
    assert re.fullmatch(r"free  heartbeat \d+ s old\n", free.stdout)
    lock = entry(mode=LockMode.HALT, reason="operator_halt", expires=FOREVER_TS)
    living.replace(LockContent(locks=(lock,)).to_document(NOW))
    locked = ask(path, "--scope", "b_spot")
    assert locked.returncode == 1
    assert locked.stdout.startswith("locked  operator_halt  until it is lifted  heartbeat ")
    assert ask(path, "--skope", "b_spot").returncode == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "no answer  lock_missing\n"),
        ('{"version": 2, "locked": fal', "no answer  lock_unreadable\n"),
        ('{"version": 3}', "no answer  lock_version\n"),
        ('{"version": 2}', "no answer  lock_unreadable\n"),
    ],
)
def test_a_file_without_an_answer_exits_2(
    path: Path, capsys: pytest.CaptureFixture[str], text: str | None, line: str
) -> None:
    """A script that only knows 0 does not trade; one that knows 2 calls for help."""
    path.parent.mkdir()
    if text is not None:
        path.write_text(text)
    assert answer(path, capsys) == (2, line)


@pytest.mark.parametrize("locks", [(), (entry(expires=FOREVER_TS),)])
def test_a_stale_file_exits_2_whatever_it_says(
    path: Path, capsys: pytest.CaptureFixture[str], locks: tuple[LockEntry, ...]
) -> None:
    """What a dead guard said last is no answer: neither `free` nor why it locked."""
    write(path, *locks)
    expected = (2, "no answer  lock_stale  heartbeat 61 s old\n")
    assert answer(path, capsys, now=NOW + 61.0) == expected


def test_the_command_answers_for_one_scope(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own lock stops it until the second it expires; another book's does not."""
    write(path, entry(reason="why\nnot \ud800", expires=NOW + 30.0))
    line = "locked  why not \\ud800  until 2027-01-15 08:00:30 UTC  heartbeat 0 s old\n"
    assert answer(path, capsys) == (1, line)
    assert answer(path, capsys, "--scope", "a_futures") == (1, line)
    assert answer(path, capsys, "--scope", "b_spot") == (0, "free  heartbeat 0 s old\n")
    assert answer(path, capsys, "--scope", "a_futures", now=NOW + 30.0)[0] == 0


def test_the_command_tells_machines_the_same(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` is one object with the fields of `LockState`; the exit code does not change."""
    write(path, entry(stage=Stage.DOMINANT_CLOSED))
    code, text = answer(path, capsys, "--json")
    assert code == 1
    assert json.loads(text) == {
        "is_answer": True,
        "locked": True,
        "reason": "why",
        "mode": "stage",
        "stage": 2,
        "expires_ts": NOW + 60.0,
        "heartbeat_age_s": 0.0,
    }
    code, text = answer(path, capsys, "--json", now=NOW + 90.0)
    assert code == 2
    assert (json.loads(text)["is_answer"], json.loads(text)["locked"]) == (False, True)


def test_the_help_teaches_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Who copied the file has no other page."""
    with pytest.raises(SystemExit):
        trading_lock.main(["--help"])
    text = capsys.readouterr().out
    for line in ("0  free", "1  locked", "2  no answer", "Anything but 0 means", "--scope BOOK"):
        assert line in text
