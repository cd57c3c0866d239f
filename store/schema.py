"""The database file: its tables, its versions, and how a connection to it is opened.

Owns the DDL, the migrations and the one way to begin a transaction. Refuses to know what the
values mean: `store.codec` turns them into columns and `position_store` decides what is written.

Rules:
- Times are REAL UTC seconds in columns named `ts` or `..._ts`; quantities are TEXT so that they
  stay exact; enums are their text; a stage is its number; 0 and 1 are the claims `is_...`.
- Rows that belong to a dry run or to a live run carry `dry_run`; readings, flows, what is known
  of a scope and the operator's switch are the same in both.
- A migration is a tuple of statements that lifts the file by one version, inside one transaction
  together with its `PRAGMA user_version`. Versions that have shipped are never edited.
- `position_snapshots` holds, beside the rows of a reading, rows without a mark price: they carry
  the last `result` of a row that is no longer held (quantity 0), or of a point whose reading was
  never stored (quantity NULL, because unknown is not zero).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import InvalidOperation
from pathlib import Path

from errors import StoreError, StoreMissing, StoreUnreadable

BUSY_TIMEOUT_MS = 5000
"""A foreign lock may hold a write this long; the caller's own deadline is far shorter."""

CHECKPOINT_PAGES = 1000
"""From so many pages (4 MB) on a commit empties the write-ahead log into the file."""

LOG_LIMIT_BYTES = 16 * 1024 * 1024
"""What is left of the log's size when it begins anew: a reader that stays in one transaction for
hours makes it grow, and without a limit the file would keep that size for ever."""

_FIRST_VERSION = (
    """CREATE TABLE store_facts (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE snapshots (
        scope TEXT NOT NULL,
        ts REAL NOT NULL,
        asked_ts REAL,
        judged_ts REAL,
        trust TEXT NOT NULL,
        equity REAL,
        reported_equity REAL,
        wallet REAL,
        unrealised_pnl REAL,
        nav REAL,
        unexplained REAL,
        may_be_peak INTEGER,
        position_mode TEXT,
        reasons TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (scope, ts)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE position_snapshots (
        scope TEXT NOT NULL,
        ts REAL NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT,
        entry_price REAL,
        mark_price REAL,
        unrealised_pnl REAL,
        liquidation_price REAL,
        margin REAL,
        margin_mode TEXT,
        result REAL,
        PRIMARY KEY (scope, ts, symbol, side)
    ) STRICT, WITHOUT ROWID""",
    """CREATE INDEX position_snapshots_not_held
        ON position_snapshots (scope, ts, symbol, side, result) WHERE mark_price IS NULL""",
    """CREATE TABLE flows (
        scope TEXT NOT NULL,
        record_id TEXT NOT NULL,
        ts REAL NOT NULL,
        amount REAL NOT NULL,
        kind TEXT NOT NULL,
        asset TEXT NOT NULL,
        effective_ts REAL,
        factor REAL NOT NULL,
        is_inferred INTEGER NOT NULL,
        is_cancelled INTEGER NOT NULL,
        PRIMARY KEY (scope, record_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX flows_by_ts ON flows (scope, ts)",
    """CREATE TABLE scope_state (
        scope TEXT PRIMARY KEY,
        units REAL NOT NULL,
        unexplained REAL NOT NULL,
        ledger_until_ts REAL NOT NULL,
        ledger_asked_ts REAL NOT NULL,
        watch_began_ts REAL NOT NULL,
        failures INTEGER NOT NULL,
        cross_check_alerted INTEGER NOT NULL,
        blind_alerted INTEGER NOT NULL,
        suspicion TEXT,
        flow_ids TEXT NOT NULL,
        accepted_losses TEXT NOT NULL,
        entries TEXT NOT NULL,
        last_trusted TEXT
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE row_results (
        scope TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        result REAL NOT NULL,
        PRIMARY KEY (scope, symbol, side)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE scope_stage_state (
        book TEXT NOT NULL,
        dry_run INTEGER NOT NULL,
        stage INTEGER NOT NULL CHECK (stage BETWEEN 0 AND 4),
        since_ts REAL NOT NULL,
        baseline_ts REAL NOT NULL,
        stage_1_baseline_ts REAL NOT NULL,
        stage_2_baseline_ts REAL NOT NULL,
        stage_3_baseline_ts REAL NOT NULL,
        stage_1_cooldown_ts REAL NOT NULL,
        stage_2_cooldown_ts REAL NOT NULL,
        stage_3_cooldown_ts REAL NOT NULL,
        manual_reset_required INTEGER NOT NULL,
        incident_id TEXT,
        streaks TEXT NOT NULL,
        locks TEXT NOT NULL,
        PRIMARY KEY (book, dry_run)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE incidents (
        incident_id TEXT PRIMARY KEY,
        book TEXT NOT NULL,
        dry_run INTEGER NOT NULL,
        stage INTEGER NOT NULL,
        mode TEXT NOT NULL,
        source TEXT NOT NULL,
        reason TEXT NOT NULL,
        status TEXT NOT NULL,
        opened_ts REAL NOT NULL,
        ended_ts REAL,
        last_progress_ts REAL NOT NULL,
        held_ts REAL,
        rounds INTEGER NOT NULL,
        alerts_sent INTEGER NOT NULL,
        is_followup INTEGER NOT NULL,
        had_positions_since_peak INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX incidents_open ON incidents (dry_run, book) WHERE status = 'OPEN'",
    """CREATE TABLE close_targets (
        incident_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        dry_run INTEGER NOT NULL,
        scope TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        initial_quantity TEXT NOT NULL,
        may_remain TEXT NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (incident_id, number)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE orders (
        order_number INTEGER PRIMARY KEY,
        incident_id TEXT NOT NULL,
        action TEXT NOT NULL,
        client_id TEXT NOT NULL,
        subject TEXT NOT NULL,
        round_number INTEGER NOT NULL,
        dry_run INTEGER NOT NULL,
        scope TEXT NOT NULL,
        symbol TEXT NOT NULL,
        row_symbol TEXT,
        row_side TEXT,
        order_side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        created_ts REAL NOT NULL,
        answered_ts REAL,
        outcome TEXT,
        venue_order_id TEXT,
        filled TEXT,
        refusal TEXT,
        code TEXT,
        message TEXT,
        retry_after_s REAL,
        UNIQUE (incident_id, action, client_id, subject, round_number)
    ) STRICT""",
    """CREATE TABLE operator_requests (
        request_id INTEGER PRIMARY KEY AUTOINCREMENT,
        ts REAL NOT NULL,
        actor TEXT NOT NULL,
        command TEXT NOT NULL,
        arguments TEXT NOT NULL,
        confirmation TEXT NOT NULL,
        answered_ts REAL,
        accepted INTEGER,
        answer TEXT
    ) STRICT""",
    """CREATE INDEX operator_requests_pending
        ON operator_requests (request_id) WHERE answered_ts IS NULL""",
    """CREATE TABLE actions (
        action_id INTEGER PRIMARY KEY AUTOINCREMENT,
        ts REAL NOT NULL,
        scope TEXT NOT NULL,
        stage INTEGER NOT NULL,
        mode TEXT NOT NULL,
        dry_run INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        severity TEXT NOT NULL,
        message TEXT NOT NULL,
        details TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX actions_by_kind ON actions (dry_run, action_id)",
)

_SECOND_VERSION = (
    """CREATE TABLE switch_state (
        store TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        since_ts REAL NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE switch_transitions (
        transition_id INTEGER PRIMARY KEY AUTOINCREMENT,
        ts REAL NOT NULL,
        old_state TEXT NOT NULL,
        new_state TEXT NOT NULL,
        store TEXT NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST_VERSION, _SECOND_VERSION)
"""`MIGRATIONS[n]` lifts a file from version n to n + 1."""

SCHEMA_VERSION = len(MIGRATIONS)

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BAD_READS = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
PRIMARY_CODE = 0xFF
"""The low byte of an extended result code is the code itself."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what SQLite raises into StoreUnreadable (damage) or StoreError (everything else)."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & PRIMARY_CODE in _DAMAGE:
            raise StoreUnreadable(f"{doing}: {error}") from error
        raise StoreError(f"{doing}: {error}") from error


@contextmanager
def strictly(doing: str) -> Iterator[None]:
    """Translate SQLite's errors, and call a file unreadable whose values make no sense."""
    try:
        with translated(doing):
            yield
    except (ValueError, LookupError, TypeError, AttributeError, InvalidOperation) as error:
        raise StoreUnreadable(f"{doing}: a stored value makes no sense: {error!r}") from error


@contextmanager
def transaction(connection: sqlite3.Connection, *, full_sync: bool) -> Iterator[None]:
    """Run the body in one write transaction; an exception in it leaves nothing behind.

    `full_sync` waits until the disk has it, so that a power cut loses no decision; without it a
    power cut may lose the last few readings, never the consistency of the file. It is set before
    the transaction because SQLite ignores it inside one.
    """
    connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def open_for_writing(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open or create the database and lift it to this version; True means it was created now.

    Raises StoreUnreadable when the file is no database of ours that can be read, StoreError when
    it cannot be opened, belongs to something else or was written by a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent}: {error}") from error
    with translated(f"opening {path}"):
        connection = sqlite3.connect(path, isolation_level=None)
        is_ready = False
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}")
            is_new = migrate(connection, path)
            is_ready = True
        finally:
            if not is_ready:
                connection.close()
    return connection, is_new


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the database without any way to change it, also while the guard is writing.

    Raises StoreMissing when there is none yet, StoreError for another version, StoreUnreadable
    for a damaged file.
    """
    if not path.exists():
        raise StoreMissing(f"no database at {path}: the guard has not run with this configuration")
    with translated(f"reading {path}"):
        if _is_at_rest(path) and not os.access(path.parent, os.W_OK):
            return _open_reader(path, options="mode=ro&immutable=1")
        try:
            return _open_reader(path, options="mode=ro")
        except sqlite3.OperationalError as error:
            if not (takes_nothing(error) and _is_at_rest(path)):
                raise
        return _open_reader(path, options="mode=ro&immutable=1")


def open_to_watch(path: Path, *, patience_ms: int) -> sqlite3.Connection:
    """Open the database to read one thing again and again while the guard writes.

    Never as it lies: that would show what it held when it was opened, for ever. A foreign lock is
    waited for by `patience_ms`. Raises as `open_for_reading`.
    """
    with translated(f"reading {path}"):
        return _open_reader(path, options="mode=ro", patience_ms=patience_ms)


def _open_reader(
    path: Path, *, options: str, patience_ms: int = BUSY_TIMEOUT_MS
) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)
    is_ready = False
    try:
        connection.execute(f"PRAGMA busy_timeout = {patience_ms}")
        version = _version(connection)
        if version == 0:
            raise StoreMissing(f"{path} holds nothing yet: the guard has not finished a start")
        if version != SCHEMA_VERSION:
            raise StoreError(_other_version(path, version))
        is_ready = True
    finally:
        if not is_ready:
            connection.close()
    return connection


def _is_at_rest(path: Path) -> bool:
    """True when the file holds everything, because there is no log beside it.

    A clean end removes the write-ahead log. Where a reader may or can not add the files that WAL
    needs (a folder of somebody else's, a full disk), SQLite would refuse it, although there is
    nothing it could miss: a guard that starts meanwhile writes to a new log first.
    """
    log = path.with_name(f"{path.name}-wal")
    return not log.exists() or log.stat().st_size == 0


def was_not_given(error: StoreError) -> bool:
    """True where the disk failed to give what is stored; asked once more it may."""
    return getattr(error.__cause__, "sqlite_errorcode", None) in _BAD_READS


def takes_nothing(error: sqlite3.Error) -> bool:
    """True for what a disk without room, or without a file to spare, answers."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & PRIMARY_CODE in _NO_ROOM


def _version(connection: sqlite3.Connection) -> int:
    row = connection.execute("PRAGMA user_version").fetchone()
    return int(row[0])


def _other_version(path: Path, version: int) -> str:
    """What a person should do about a file whose tables this program does not read."""
    if version < SCHEMA_VERSION:
        age, remedy = "an earlier", "start the guard once: it converts the file and keeps every row"
    else:
        age, remedy = "a later", "use that version of the program"
    return (
        f"{path} was left by {age} version of the program "
        f"(tables of version {version}, this one reads {SCHEMA_VERSION}) -> {remedy}"
    )


def _tables(connection: sqlite3.Connection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return frozenset(name for (name,) in rows)


def table_names() -> frozenset[str]:
    """The tables that a file of this version holds."""
    statements = (statement for migration in MIGRATIONS for statement in migration)
    words = (statement.split() for statement in statements)
    return frozenset(word[2] for word in words if word[:2] == ["CREATE", "TABLE"])


def migrate(connection: sqlite3.Connection, path: Path) -> bool:
    """Lift the file to this version; True when it held nothing before."""
    version = _version(connection)
    if version == SCHEMA_VERSION:
        missing = table_names() - _tables(connection)
        if missing:
            raise StoreUnreadable(f"{path} lacks {', '.join(sorted(missing))}")
        return False
    with transaction(connection, full_sync=True):
        # Another process may have created the file while this one waited for the lock.
        version = _version(connection)
        if version > SCHEMA_VERSION:
            raise StoreError(_other_version(path, version))
        if version == 0 and _tables(connection):
            raise StoreError(f"{path} is a database of something else; choose another state_db")
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return version == 0
