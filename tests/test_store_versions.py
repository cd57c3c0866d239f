"""Files of every earlier version are lifted whole, or left as they were.

`database_versions/N.sql` is a file of version N as the program of that time wrote it: a stage 1
that closed and was reset, and all that goes with it. A new version comes with a new file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from errors import StoreError
from model import Stage
from store import schema
from store.schema import MIGRATIONS, SCHEMA_VERSION, open_for_writing
from store.views import read_status
from tests.virtual_house import EPOCH, House, play

SAMPLES = Path(__file__).resolve().parent / "database_versions"
ENDS_AT = EPOCH + 64.0
"""When the newest reading of the samples was asked for, and a little."""
VERSIONS = range(1, SCHEMA_VERSION + 1)


def sample(version: int, path: Path) -> Path:
    """A database of that version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SAMPLES / f"{version}.sql").read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA user_version = {version}")
    return path


Row = frozenset[tuple[str, object]]
"""Names and values of one row's columns."""


def content(path: Path) -> dict[str, set[Row]]:
    """Every row of every table, by the names of its columns."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        return {
            table: {
                frozenset(zip(row.keys(), tuple(row), strict=True))
                for row in connection.execute(f"SELECT * FROM {table}")
            }
            for (table,) in found.fetchall()
        }


def shape(path: Path) -> set[tuple[object, ...]]:
    """The tables and indexes of a file."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            (kind, name, " ".join(str(text).split()))
            for kind, name, text in connection.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
            )
        }


def version_of(path: Path) -> int:
    """The version that the file says it has."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_every_version_has_a_sample() -> None:
    """Whoever adds a migration adds a file of the new version; the old ones stay."""
    assert {path.name for path in SAMPLES.iterdir()} == {f"{n}.sql" for n in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_that_has_shipped_is_not_edited(version: int, tmp_path: Path) -> None:
    """The statements up to a version make exactly the tables that its sample has."""
    path = tmp_path / "made.db"
    with closing(sqlite3.connect(path)) as connection:
        for migration in MIGRATIONS[:version]:
            for statement in migration:
                connection.execute(statement)
    assert shape(path) == shape(sample(version, tmp_path / "sample.db"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_any_version_is_lifted_with_every_row(version: int, tmp_path: Path) -> None:
    """Opening it is enough; what it held is there, and more columns do not change a row."""
    path = sample(version, tmp_path / "killswitch.db")
    before = content(path)
    connection, is_new = open_for_writing(path)
    connection.close()
    assert not is_new
    assert version_of(path) == SCHEMA_VERSION
    after = content(path)
    for table, rows in before.items():
        for row in rows:
            assert any(row <= kept for kept in after[table]), (table, row)
    assert sum(map(len, before.values())) >= 60, "the sample is not empty"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_guard_goes_on_with_a_file_of_any_version(version: int, tmp_path: Path) -> None:
    """It remembers the stage that was reset, measures from there, and acts on the next fall."""
    sample(version, tmp_path / "killswitch.db")

    async def story() -> None:
        house = House(folder=tmp_path)
        house.clock.jump(ENDS_AT - EPOCH)
        house.exchange.set_time(ENDS_AT)
        house.prices(SOL=100)
        async with house.guard() as guard:
            assert guard.book.baseline_at == EPOCH + 61.0
            before = {point.at for point in guard.guardian.memory.scopes[0].history.points()}
            assert len(before) >= 10
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.stage is Stage.REDUCED_TOP_RISK, within_s=30)
        assert house.events().count("trigger") == 2
        assert house.events()[0] == "flow_booked"

    play(story)


# --- a lift that does not come to its end -------------------------------------------------------


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A program one version ahead; the test fills in what its migration does."""
    statements: list[str] = []
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, statements))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    return statements


def test_a_lift_is_done_once_and_then_the_file_has_the_new_version(
    tmp_path: Path, next_version: list[str]
) -> None:
    """The machinery of migrations works on the newest sample."""
    next_version += [
        "CREATE TABLE tries (ts REAL) STRICT",
        "ALTER TABLE flows ADD COLUMN note TEXT",
    ]
    path = sample(SCHEMA_VERSION, tmp_path / "killswitch.db")
    before = content(path)
    for _ in range(2):
        open_for_writing(path)[0].close()
    assert version_of(path) == SCHEMA_VERSION + 1
    assert ("tries" in content(path), len(content(path)["flows"])) == (True, len(before["flows"]))


def test_a_lift_that_fails_leaves_the_old_version(tmp_path: Path, next_version: list[str]) -> None:
    """All of a version or nothing: the program of before can still read its file."""
    next_version += ["CREATE TABLE tries (ts REAL) STRICT", "DROP TABLE flows", "NONSENSE"]
    path = sample(SCHEMA_VERSION, tmp_path / "killswitch.db")
    before = content(path)
    with pytest.raises(StoreError, match="NONSENSE"):
        open_for_writing(path)
    assert version_of(path) == SCHEMA_VERSION
    assert content(path) == before


def test_a_power_cut_in_a_lift_leaves_the_old_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on the disk in the middle of it is a file of the version before."""
    path = sample(SCHEMA_VERSION, tmp_path / "killswitch.db")
    before = content(path)
    at_the_cut = tmp_path / "cut"
    at_the_cut.mkdir()

    def statements() -> Iterator[str]:
        yield "CREATE TABLE tries (ts REAL) STRICT"
        # More pages than SQLite keeps in memory, so that some of them are in the log already.
        yield "PRAGMA cache_size = 10"
        yield (
            "INSERT INTO tries WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < 50000) SELECT i FROM n"
        )
        yield "DELETE FROM actions"
        for file in tmp_path.glob("killswitch.db*"):
            shutil.copy(file, at_the_cut)
        yield "CREATE TABLE more (ts REAL) STRICT"

    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, statements()))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(schema, "table_names", frozenset)
    open_for_writing(path)[0].close()
    assert version_of(path) == SCHEMA_VERSION + 1
    cut = at_the_cut / "killswitch.db"
    assert (at_the_cut / "killswitch.db-wal").stat().st_size > 100_000
    monkeypatch.undo()
    connection, is_new = open_for_writing(cut)
    connection.close()
    assert (version_of(cut), is_new) == (SCHEMA_VERSION, False)
    assert content(cut) == before


def test_reading_a_file_that_is_not_lifted_yet_says_what_to_do(
    tmp_path: Path, next_version: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` must not convert a file; the line names both versions and the remedy."""
    path = sample(SCHEMA_VERSION, tmp_path / "killswitch.db")
    with pytest.raises(StoreError) as earlier:
        read_status(path, dry_run=False)
    assert str(earlier.value) == (
        f"{path} was left by an earlier version of the program (tables of version "
        f"{SCHEMA_VERSION}, this one reads {SCHEMA_VERSION + 1}) -> start the guard once: it "
        "converts the file and keeps every row"
    )
    assert version_of(path) == SCHEMA_VERSION
    next_version.append("CREATE TABLE tries (ts REAL) STRICT")
    open_for_writing(path)[0].close()
    monkeypatch.undo()
    refusal = r"left by a later version .* -> use that version"
    with pytest.raises(StoreError, match=refusal):
        read_status(path, dry_run=False)
    with pytest.raises(StoreError, match=refusal):
        open_for_writing(path)
