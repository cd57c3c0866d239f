"""The memory that outlives the process: one SQLite file, one transaction per decision.

Owns the connection that writes. Refuses to decide anything and to know a clock. `store.schema`
has the tables, `store.codec` and `store.journal` the columns, `store.history` the readings,
`store.retention` what becomes of old ones, `store.views` what other processes may read; only this
family imports sqlite3.

Rules
- `commit` writes all of a decision or nothing. Decisions wait for the disk (synchronous FULL),
  mere readings do not.
- What belongs to a dry run or a live run is written and read by its own kind only, so that a dry
  run never acts later. The kind is named once, by `load_memory`, before anything else.
- The operator's switch is one for both kinds. The guard writes it over what it has seen only, so
  that a command which tightened meanwhile stands (`store.switch_tables`).
- `load_memory` gives back what was committed. An open incident is found even when the state of
  its book does not name it: what was begun is never forgotten.
- A file that is damaged, or holds values that make no sense, raises StoreUnreadable; the caller
  moves it aside and goes on with a halt. A full disk or a foreign lock raises StoreError; the
  caller goes on and commits the next decision. A disk that is full at the start is read all the
  same, and every write tries anew to open the file.
- Before each write a look tells whether the file at our path is still ours. One that was removed
  or replaced is put back from what is still open, and that write raises StoreError to say so.
- One thread at a time; `store.access` provides it.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from aging import HISTORY_S
from errors import StoreError
from memory import (
    BookMemory,
    Flow,
    Incident,
    Memory,
    OrderRecord,
    Records,
    RequestAnswer,
    ScopeMemory,
)
from model import BookName, IncidentId, LedgerEntry, OperatorRequest, Reading, ScopeId
from store.codec import (
    Columns,
    book_columns,
    book_from,
    entries_to_text,
    flow_columns,
    flow_from,
    flow_ids_from,
    incident_columns,
    incident_from,
    reading_to_text,
    scope_columns,
    scope_from,
    target_columns,
    target_from,
)
from store.files import identify
from store.history import HistoryTables
from store.journal import (
    answer_from,
    arguments_to_text,
    audit_columns,
    order_columns,
    order_from,
    request_from,
)
from store.retention import Retention
from store.schema import strictly, transaction, translated
from store.stopgap import Opened, open_somehow, open_stopgap, open_whole, put_back
from store.switch_tables import load_switch, tighten, write_switch
from switch_model import SwitchState, SwitchTransition

TAG_LENGTH = 4
"""1.7 million tags tell our orders from those of a second guard; client ids leave no more room."""

_TAG_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_TAG = "instance_tag"

LOAD_TARGETS = "SELECT * FROM close_targets WHERE incident_id = ? ORDER BY number"
LOAD_OPEN_INCIDENTS = """
SELECT * FROM incidents WHERE dry_run = ? AND status = 'OPEN' ORDER BY opened_ts, incident_id"""
PENDING_REQUESTS = "SELECT * FROM operator_requests WHERE answered_ts IS NULL ORDER BY request_id"
LOAD_ORDERS = "SELECT * FROM orders WHERE incident_id = ? ORDER BY order_number"
LOAD_RECENT_ORDERS = """
SELECT * FROM orders
WHERE order_number > (SELECT max(order_number) - 5000 FROM orders)
    AND created_ts >= ? AND incident_id <> ? ORDER BY order_number"""
"""Bounded, because it is asked while something waits to be closed, of a table of years."""
LOAD_FACT = "SELECT value FROM store_facts WHERE name = ?"
LATEST_ACTION = "SELECT ts FROM actions WHERE dry_run = ? ORDER BY action_id DESC LIMIT 1"
LOAD_FLOW = "SELECT * FROM flows WHERE scope = ? AND record_id = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """Values of a scope that the file holds already, and the texts of the larger ones."""

    last_trusted: Reading | None = None
    text: str | None = None
    entries: tuple[LedgerEntry, ...] = ()
    entries_text: str = "[]"
    flows: tuple[Flow, ...] = ()


class PositionStore:
    """The database of one guard, open for writing. Make it with `open`."""

    def __init__(self, path: Path, opened: Opened) -> None:
        self._path = path
        self._dry_run: bool | None = None
        self._is_new = opened.is_new
        self._use(opened)

    def _use(self, opened: Opened) -> None:
        """Work on this file; what it holds is looked up when it matters."""
        self._opened = opened
        self._connection = opened.connection
        # Histories are long: their rows come as plain tuples, all others by column name.
        self._history = HistoryTables(self._connection.cursor())
        self._retention = Retention(self._connection)
        self._connection.row_factory = sqlite3.Row
        self._written: dict[ScopeId, _Written] = {}

    @staticmethod
    def open(path: Path, *, rng: random.Random) -> PositionStore:
        """Open or create the database, with its folder, and lift it to this version.

        `rng` draws the instance tag of a new database. Raises StoreUnreadable for a damaged file
        (see `move_aside`), StoreError for one that cannot be opened or is not ours.
        """
        opened = open_somehow(path)
        is_ready = False
        try:
            store = PositionStore(path, opened)
            store.ensure_tag(rng)
            is_ready = True
        finally:
            if not is_ready:
                opened.connection.close()
        return store

    @property
    def is_new(self) -> bool:
        """True when there was no database (or an empty file): what a lock file says is then all."""
        return self._is_new

    def ensure_tag(self, rng: random.Random) -> None:
        """Give a database without an instance tag its tag."""
        tag = "".join(rng.choice(_TAG_ALPHABET) for _ in range(TAG_LENGTH))
        with translated("naming the database"):
            self._settle_fact(_TAG, tag)

    def claim(self, scope: ScopeId, origin: str) -> str:
        """Say what kind of account a scope is; gives what was said first, which stands."""
        with translated("naming an account"):
            return self._settle_fact(f"origin/{scope}", origin)

    def _settle_fact(self, name: str, value: str) -> str:
        """The fact of that name, which is `value` if there was none."""
        found = self._connection.execute(LOAD_FACT, (name,)).fetchone()
        if found is not None:
            return str(found["value"])
        with transaction(self._connection, full_sync=True):
            self._connection.execute(
                "INSERT OR IGNORE INTO store_facts VALUES (?, ?)", (name, value)
            )
        return value

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with translated("closing the database"):
            self._connection.close()

    def instance_tag(self) -> str:
        """Four lowercase base-36 characters that mark the client order ids of this database."""
        with strictly("reading the instance tag"):
            return str(self._connection.execute(LOAD_FACT, (_TAG,)).fetchone()["value"])

    # Writing.

    def commit(self, records: Records) -> None:
        """Write all of one decision in one transaction; nothing of it when this raises.

        Raises StoreError (also when books are written before `load_memory` named the kind of run)
        and StoreUnreadable.
        """
        self._come_home()
        staged: dict[ScopeId, _Written] = {}
        is_kept = False
        try:
            with (
                translated("writing a decision"),
                transaction(self._connection, full_sync=records.needs_full_sync),
            ):
                self._history.write(records.readings, records.scopes)
                for memory in records.scopes:
                    staged[memory.scope] = self._write_scope(memory)
                self._write_flows(records.flows)
                self._write_books(records.books)
                for incident in records.incidents:
                    self._write_incident(incident)
                write_switch(self._connection, records.switch, records.transitions)
                self._write_journal(records)
            is_kept = True
        finally:
            if is_kept:
                self._history.keep()
                self._written.update(staged)
            else:
                self._history.forget()

    def add_request(
        self,
        *,
        at: float,
        actor: str,
        command: str,
        arguments: tuple[tuple[str, str], ...] = (),
        confirmation: str = "",
    ) -> int:
        """Ask the daemon for a decision; gives the request's id."""
        self._come_home()
        values = (at, actor, command, arguments_to_text(arguments), confirmation)
        with (
            translated("writing a request"),
            transaction(self._connection, full_sync=True),
        ):
            cursor = self._connection.execute(
                "INSERT INTO operator_requests (ts, actor, command, arguments, confirmation)"
                " VALUES (?, ?, ?, ?, ?)",
                values,
            )
        return int(cursor.lastrowid or 0)

    def set_switch(
        self, state: SwitchState, *, actor: str, reason: str, now: float
    ) -> SwitchTransition | None:
        """Tighten the local switch at once; None when it holds as much already.

        Never loosens: that takes a request. Raises StoreError.
        """
        self._come_home()
        with (
            translated("writing the switch"),
            transaction(self._connection, full_sync=True),
        ):
            return tighten(self._connection, state, actor=actor, reason=reason, now=now)

    def _come_home(self) -> None:
        """Make sure that what is written goes into the file at our path; StoreError if not."""
        if identify(self._path) != self._opened.file:
            with translated(f"putting {self._path} back"):
                put_back(self._connection, self._path)
            self._opened = replace(self._opened, file=identify(self._path), is_stopgap=True)
            self._use(open_whole(self._path))
            raise StoreError(f"{self._path} was not there, or not ours; it was put back")
        if self._opened.is_stopgap:
            # Alone with the file, the stopgap would keep us out ourselves.
            self._connection.close()
            try:
                self._use(open_whole(self._path))
            except StoreError:
                self._use(open_stopgap(self._path))
                raise

    def thin(self, now: float) -> bool:
        """Delete a little of what need not be kept; True while more may be due.

        Takes some milliseconds. Does nothing while another connection is writing, nor while the
        file cannot be written. Raises StoreError.
        """
        if self._opened.is_stopgap:
            return False
        with strictly("thinning old readings"):
            return self._retention.step(now=now, histories=self._history.committed)

    # Reading.

    def latest_action_at(self, *, dry_run: bool) -> float:
        """When the newest audit entry of this kind of run was made, 0 without any."""
        with strictly("reading the audit"):
            row = self._connection.execute(LATEST_ACTION, (dry_run,)).fetchone()
            return 0.0 if row is None else float(row["ts"])

    def load_books(self, *, dry_run: bool) -> tuple[BookMemory, ...]:
        """The books of one kind of run, whatever the kind of this one."""
        with strictly("reading books"):
            return load_books(self._connection, dry_run=dry_run)

    def load_memory(self, *, dry_run: bool, now: float) -> Memory:
        """Rebuild what the guard remembered, with histories since `now` - 48 h.

        From here on books are written as those of this kind of run. Raises StoreUnreadable when a
        row makes no sense, StoreError when the file cannot be read.
        """
        self._dry_run = dry_run
        with strictly("loading the memory"):
            scopes = self._connection.execute("SELECT * FROM scope_state ORDER BY scope").fetchall()
            return Memory(
                scopes=tuple(self._load_scope(row, oldest=now - HISTORY_S) for row in scopes),
                books=load_books(self._connection, dry_run=dry_run),
                switch=load_switch(self._connection),
            )

    def has_open_incident(self, dry_run: bool) -> bool:
        """True when an incident of this kind of run is not finished."""
        with strictly("looking for open incidents"):
            found = self._connection.execute(f"{LOAD_OPEN_INCIDENTS} LIMIT 1", (dry_run,))
            return found.fetchone() is not None

    def pending_requests(self) -> tuple[OperatorRequest, ...]:
        """Requests that nobody has answered, oldest first."""
        with strictly("reading requests"):
            rows = self._connection.execute(PENDING_REQUESTS).fetchall()
            return tuple(request_from(row) for row in rows)

    def answer(self, request_id: int) -> RequestAnswer | None:
        """The answer to a request, None while there is none."""
        with strictly("reading an answer"):
            row = self._connection.execute(
                "SELECT * FROM operator_requests WHERE request_id = ? AND answered_ts IS NOT NULL",
                (request_id,),
            ).fetchone()
            return None if row is None else answer_from(row)

    def order_records(
        self, incident_id: IncidentId, and_since: float = math.inf
    ) -> tuple[OrderRecord, ...]:
        """All orders and cancels of an incident, in the order in which they were recorded.

        Before them those that were made for any other since the UTC second `and_since`.
        """
        with strictly("reading orders"):
            others = self._connection.execute(LOAD_RECENT_ORDERS, (and_since, incident_id))
            own = self._connection.execute(LOAD_ORDERS, (incident_id,))
            return tuple(order_from(row) for row in (*others.fetchall(), *own.fetchall()))

    # Parts of a commit.

    def _write_scope(self, memory: ScopeMemory) -> _Written:
        """Write what is known of a scope; what is the same value as last time is not redone."""
        before = self._written.get(memory.scope, _Written())
        text = before.text
        if memory.last_trusted is not before.last_trusted:
            text = None if memory.last_trusted is None else reading_to_text(memory.last_trusted)
        entries_text = before.entries_text
        if memory.entries is not before.entries:
            entries_text = entries_to_text(memory.entries)
        columns = scope_columns(memory, last_trusted=text, entries=entries_text)
        self._upsert("scope_state", "scope", columns)
        known = {flow.record_id: flow for flow in before.flows}
        self._write_flows(f for f in memory.flows if known.get(f.record_id) != f)
        return _Written(
            last_trusted=memory.last_trusted,
            text=text,
            entries=memory.entries,
            entries_text=entries_text,
            flows=memory.flows,
        )

    def _write_flows(self, flows: Iterable[Flow]) -> None:
        for flow in flows:
            self._upsert("flows", "scope, record_id", flow_columns(flow))

    def _write_books(self, books: tuple[BookMemory, ...]) -> None:
        for book in books:
            if self._dry_run is None:
                raise StoreError("books are written after load_memory has named the kind of run")
            if book.incident is not None:
                self._write_incident(book.incident)
            columns = book_columns(book, dry_run=self._dry_run)
            self._upsert("scope_stage_state", "book, dry_run", columns)

    def _write_incident(self, incident: Incident) -> None:
        self._upsert("incidents", "incident_id", incident_columns(incident))
        self._connection.execute(
            "DELETE FROM close_targets WHERE incident_id = ?", (incident.incident_id,)
        )
        targets = [target_columns(target, incident) for target in incident.targets]
        self._upsert("close_targets", "incident_id, number", *targets)

    def _write_journal(self, records: Records) -> None:
        identity = "incident_id, action, client_id, subject, round_number"
        self._upsert("orders", identity, *map(order_columns, records.orders))
        for answer in records.answers:
            # The first answer stands: it was the one that a person has read.
            self._connection.execute(
                "UPDATE operator_requests SET answered_ts = ?, accepted = ?, answer = ?"
                " WHERE request_id = ? AND answered_ts IS NULL",
                (answer.at, answer.accepted, answer.message, answer.request_id),
            )
        for entry in records.audits:
            self._connection.execute(_insert("actions", audit_columns(entry)), audit_columns(entry))

    def _upsert(self, table: str, identity: str, *rows: dict[str, object]) -> None:
        """Insert rows, or replace all columns of those with the same identity.

        With one statement for all of them: orders wait for fifty such rows.
        """
        if not rows:
            return
        changes = ", ".join(f"{name} = excluded.{name}" for name in rows[0])
        self._connection.executemany(
            f"{_insert(table, rows[0])} ON CONFLICT ({identity}) DO UPDATE SET {changes}", rows
        )

    # Parts of loading.

    def _load_scope(self, row: Columns, *, oldest: float) -> ScopeMemory:
        memory = scope_from(row)
        history, results = self._history.load(memory.scope, oldest=oldest)
        flows = tuple(
            flow_from(self._connection.execute(LOAD_FLOW, (memory.scope, record_id)).fetchone())
            for record_id in flow_ids_from(row)
        )
        self._written[memory.scope] = _Written(
            last_trusted=memory.last_trusted,
            text=row["last_trusted"],
            entries=memory.entries,
            entries_text=row["entries"],
            flows=flows,
        )
        return replace(memory, history=history, results=results, flows=flows)


def _insert(table: str, columns: dict[str, object]) -> str:
    """The statement that inserts `columns`; names come from this program only."""
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - no value enters the text
        f" VALUES ({', '.join(f':{name}' for name in columns)})"
    )


def _load_incident(connection: sqlite3.Connection, row: Columns) -> Incident:
    targets = connection.execute(LOAD_TARGETS, (row["incident_id"],)).fetchall()
    return incident_from(row, tuple(target_from(target) for target in targets))


def load_books(connection: sqlite3.Connection, *, dry_run: bool) -> tuple[BookMemory, ...]:
    """The books of one kind of run with their incidents, ordered by name.

    An incident that is still open belongs to its book whatever the book's row says.
    """
    open_incidents: dict[BookName, Incident] = {}
    for row in connection.execute(LOAD_OPEN_INCIDENTS, (dry_run,)).fetchall():
        incident = _load_incident(connection, row)
        open_incidents[incident.book] = incident
    books: dict[BookName, BookMemory] = {
        name: BookMemory(name=name, incident=incident) for name, incident in open_incidents.items()
    }
    rows = connection.execute("SELECT * FROM scope_stage_state WHERE dry_run = ?", (dry_run,))
    for row in rows.fetchall():
        named = None
        if row["incident_id"] is not None and BookName(row["book"]) not in open_incidents:
            found = connection.execute(
                "SELECT * FROM incidents WHERE incident_id = ?", (row["incident_id"],)
            ).fetchone()
            named = None if found is None else _load_incident(connection, found)
        book = book_from(row, open_incidents.get(BookName(row["book"]), named))
        books[book.name] = book
    return tuple(books[name] for name in sorted(books))
