"""`db stats`: true counts, readable words, nothing written, and an answer in every case."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from commands.database import render, say_size, show_statistics, to_document
from memory import Records
from store import schema
from store.retention import CLOCK
from store.statistics import Kept, StoreStatistics, TableStatistics, read_statistics
from tests.guard_files import busy, config_in, opened, settings_in
from tests.old_files import DAY, HOUR, NOW, Run, every, fill
from tests.test_commands import run


def many(folder: Path) -> Path:
    """A file with an hour of each age: today, 3 days ago, 20 days ago and 100 days ago."""
    path = folder / "killswitch.db"
    for days in (100, 20, 3):
        fill(path, every(20.0, since=NOW - days * DAY, until=NOW - days * DAY + HOUR))
    fill(path, every(20.0, since=NOW - HOUR))
    return path


def test_rows_are_counted_by_age_and_what_is_due_is_told(tmp_path: Path) -> None:
    """180 readings in each of four hours, two positions each; nothing is thinned yet.

    Due of the readings: 2 of 3 in two hours of minutes (120 each), all but one of the oldest hour.
    Due of the positions: 240 of the hour in which one a minute stays, 358 of the one in which one
    an hour does, and all 360 of the oldest.
    """
    path = many(tmp_path)
    run = Run(path=path)
    run.look(NOW)
    found = read_statistics(path)
    assert found.readings == Kept(raw=181, minute=360, hour=180, due=120 + 120 + 179)
    assert found.positions == Kept(raw=362, minute=360, hour=720, due=240 + 358 + 360)
    assert found.closed_positions == 0
    assert (found.version, found.faults) == (schema.SCHEMA_VERSION, ())
    tables = {table.name: table for table in found.tables}
    assert tables["snapshots"] == TableStatistics(
        name="snapshots", rows=721, oldest=NOW - 100 * DAY, newest=NOW
    )
    assert tables["row_results"].oldest is None
    assert set(tables) == schema.table_names()
    assert found.file_bytes == path.stat().st_size
    assert found.log_bytes > 0, "the guard that writes is still there"
    run.close()


def test_thinning_leaves_nothing_due(tmp_path: Path) -> None:
    """What is counted as due is what thinning deletes, and the space of it is free again."""
    path = many(tmp_path)
    run = Run(path=path)
    run.look(NOW)
    before = read_statistics(path)
    run.age_whole()
    run.thin(hours=100 * 24 / 24 + 2)
    run.close()
    after = read_statistics(path)
    assert (after.readings.due, after.positions.due) == (0, 0)
    for kept, was in ((after.readings, before.readings), (after.positions, before.positions)):
        assert kept.raw + kept.minute + kept.hour == was.raw + was.minute + was.hour - was.due
    assert after.free_bytes > before.free_bytes
    assert (after.behind_s, before.behind_s) == (0.0, 0.0)


def test_a_day_is_told_from_what_the_last_hours_brought(tmp_path: Path) -> None:
    """One reading and two positions every 20 s: 4,320 readings, 12,960 rows a day.

    Settled: a raw day (12,960), 89 days of minutes (128,160), 6 days of two positions a minute
    (17,280) and 83 days of two an hour (3,984).
    """
    path = tmp_path / "killswitch.db"
    fill(path, every(20.0, since=NOW - 2 * HOUR))
    found = read_statistics(path)
    assert found.rows_a_day == pytest.approx(12_960)
    assert found.bytes_a_day is not None and found.settled_bytes is not None
    assert found.settled_bytes / found.bytes_a_day == pytest.approx(
        (12_960 + 128_160 + 17_280 + 3_984) / 12_960
    )


def test_a_file_without_readings_knows_no_day(tmp_path: Path) -> None:
    """Unknown is not zero: nothing is estimated from nothing, nor from one reading."""
    path = tmp_path / "killswitch.db"
    fill(path, [])
    assert read_statistics(path).bytes_a_day is None
    fill(path, [NOW])
    found = read_statistics(path)
    assert (found.rows_a_day, found.settled_bytes) == (None, None)
    assert "a day" not in text(found)


def test_a_backlog_is_told_with_its_pace(tmp_path: Path) -> None:
    """A file of months that thinning has only begun with."""
    path = many(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO store_facts VALUES (?, ?)", (CLOCK, repr(NOW - 50 * HOUR)))
    found = read_statistics(path)
    assert found.behind_s == 50 * HOUR - 20.0
    assert "Thinning has 2 d 1 h to make good; an hour of running makes good 24 hours." in text(
        found
    )


# --- words --------------------------------------------------------------------------------------

KNOWN = StoreStatistics(
    path=Path("/home/ann/killswitch/state/killswitch.db"),
    file_bytes=131_203_072,
    log_bytes=4_132_392,
    free_bytes=83_939_328,
    version=1,
    faults=(),
    tables=(
        TableStatistics(name="actions", rows=12, oldest=NOW - 5 * DAY, newest=NOW - 60.0),
        TableStatistics(name="position_snapshots", rows=1_728_000, oldest=NOW - DAY, newest=NOW),
        TableStatistics(name="row_results", rows=20, oldest=None, newest=None),
    ),
    readings=Kept(raw=8_671, minute=20_130, hour=240, due=0),
    positions=Kept(raw=173_420, minute=316_200, hour=1_440, due=7),
    closed_positions=12,
    rows_a_day=181_440.0,
    bytes_a_day=11_900_000.0,
    settled_bytes=34_300_000.0,
    behind_s=60.0,
)

SCREEN = """\
/home/ann/killswitch/state/killswitch.db
file 131.2 MB (83.9 MB of it free again), log 4.1 MB, schema 1, no fault found

table                     rows   oldest (UTC)          newest (UTC)
actions                     12   2027-01-10 08:00:00   2027-01-15 07:59:00
position_snapshots   1,728,000   2027-01-14 08:00:00   2027-01-15 08:00:00
row_results                 20   -                     -

kept        raw, 24 h   a minute   an hour   due to go
readings        8,671     20,130       240           0
positions     173,420    316,200     1,440           7

About 181,440 rows (11.9 MB) a day; thinned, it settles near 34.3 MB."""


def text(found: StoreStatistics) -> str:
    """The page as a person reads it at 80 columns."""
    out = io.StringIO()
    Console(file=out, width=80).print(render(found))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip()


def test_the_page_at_80_columns() -> None:
    """Every figure with its unit, nothing that needs colour."""
    assert text(KNOWN) == SCREEN


def test_damage_comes_first_with_what_to_do() -> None:
    """A fault is not one figure among others."""
    damaged = replace(KNOWN, faults=("Tree 5 page 6: btreeInitPage() returns error code 11",))
    lines = text(damaged).splitlines()
    assert lines[1].startswith("DAMAGED -> stop the guard and keep a copy of the file")
    assert "  Tree 5 page 6" in lines[3]
    assert "no fault found" not in text(damaged)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (4096, "4.1 kB"),
        (2.5e6, "2.5 MB"),
        (1.2e12, "1,200.0 GB"),
    ],
)
def test_sizes_are_told_in_the_unit_one_would_choose(size: float, words: str) -> None:
    """Powers of 1000, as `ls -lh --si` and disks count."""
    assert say_size(size) == words


# --- the command --------------------------------------------------------------------------------


def test_the_command_answers_while_the_guard_writes_and_changes_nothing(tmp_path: Path) -> None:
    """Page and document tell the same file, through the real command line, in a pipe."""
    settings = busy(tmp_path)
    with opened(settings) as store:
        store.commit(Records())
        before = settings.state_db.read_bytes()
        page = run(settings, "db", "stats")
        shown = run(settings, "db", "stats", "--json")
        assert settings.state_db.read_bytes() == before
    assert (page.code, page.err, shown.code, shown.err) == (0, "", 0, "")
    assert str(settings.state_db) in page.out.replace("\n", "")
    document = json.loads(shown.out)
    assert document["is_sound"] is True
    assert document["schema_version"] == schema.SCHEMA_VERSION
    assert document["tables"]["orders"]["rows"] == 2
    assert document["readings"]["raw"] == 3
    assert document == {
        **to_document(read_statistics(settings.state_db)),
        "log_bytes": document["log_bytes"],
    }


def test_without_a_database_one_line_says_so(tmp_path: Path) -> None:
    """Exit 1, and no file is made by looking."""
    settings = settings_in(tmp_path)
    ended = run(settings, "db", "stats")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"db stats: no database at {settings.state_db}: the guard has not run with this "
        "configuration\n"
    )
    assert not settings.state_db.exists()


def test_a_bad_configuration_is_exit_2(tmp_path: Path) -> None:
    """As for every command."""
    settings = settings_in(tmp_path)
    settings.path.write_text("poll_second: 10\n")
    assert run(settings, "db", "stats").code == 2


def test_a_damaged_file_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether SQLite's check names the place or reading stops at it."""
    settings = settings_in(tmp_path)
    fill(settings.state_db, every(20.0, since=NOW - HOUR))
    content = settings.state_db.read_bytes()
    middle = len(content) // 4096 // 2 * 4096
    settings.state_db.write_bytes(content[:middle] + b"\xa5" * 4096 + content[middle + 4096 :])
    assert show_statistics(config_in(tmp_path), as_json=False) == 1
    said = capsys.readouterr()
    assert "DAMAGED" in said.out or "malformed" in said.err


def test_a_fault_that_reading_does_not_meet_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that its column forbids: every count works, and the check names it."""
    settings = settings_in(tmp_path)
    fill(settings.state_db, every(20.0, since=NOW - HOUR))
    with closing(sqlite3.connect(settings.state_db, isolation_level=None)) as connection:
        connection.execute("INSERT INTO actions VALUES (1, 1, '*', 0, '', 0, 'x', 'INFO', '', '')")
        connection.execute("ALTER TABLE actions ADD COLUMN note TEXT")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'note TEXT', 'note TEXT NOT NULL')"
            " WHERE name = 'actions'"
        )
    assert show_statistics(config_in(tmp_path), as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["is_sound"] is False
    assert "NULL value in actions.note" in document["faults"][0]


def test_the_help_teaches(tmp_path: Path) -> None:
    """What is kept how long, and that the file does not shrink; the first page names it."""
    settings = settings_in(tmp_path)
    taught = " ".join(run(settings, "db", "stats", "--help").out.split())
    for words in ("one a minute", "for 90 days", "for 7 days", "never shrinks", "VACUUM"):
        assert words in taught
    assert "db      Look at the guard's database." in run(settings, "--help").out
