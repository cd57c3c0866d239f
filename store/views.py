"""What other processes may read of the database while the guard writes it.

Owns the read-only connection of `status` and the other commands. Cannot change anything: the
file is opened with `mode=ro`, and nobody waits for a reader in WAL mode. Values come back frozen;
a caller gets one consistent moment, because everything is read in one transaction.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from errors import StoreMissing
from memory import AuditEntry, BookMemory, History, Point, RequestAnswer, ScopeMemory
from model import IncidentId, OperatorRequest, Reading, ScopeId, Trust
from position_store import LOAD_FLOW, LOAD_OPEN_INCIDENTS, PENDING_REQUESTS, load_books
from store.codec import Columns, flow_from, flow_ids_from, scope_from
from store.files import written_at
from store.history import LOAD_POINTS
from store.journal import answer_from, audit_from, request_from
from store.schema import open_for_reading, strictly
from store.switch_tables import load_switch, load_transitions
from switch_model import SwitchMemory, SwitchTransition

LATEST_SNAPSHOT = "SELECT * FROM snapshots WHERE scope = ? ORDER BY ts DESC LIMIT 1"
LATEST_POINT = """
SELECT ts, nav FROM snapshots WHERE scope = ? AND nav IS NOT NULL ORDER BY ts DESC LIMIT 1"""
ORDER_TALLY = """
SELECT action, COALESCE(outcome, 'SENT') AS outcome, COUNT(*) AS count FROM orders
WHERE incident_id = ? GROUP BY 1, 2 ORDER BY 1, 2"""
LATEST_TROUBLE = """
SELECT COALESCE(code || ' ', '') || message AS trouble FROM orders
WHERE incident_id = ? AND outcome IN ('REFUSED', 'UNKNOWN') ORDER BY order_number DESC LIMIT 1"""
RECENT_ACTIONS = "SELECT * FROM actions WHERE dry_run = ? ORDER BY action_id DESC LIMIT ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeStatus:
    """The latest reading of one scope as it was judged, and the last one that was trusted.

    `at` is when it was asked for (UTC seconds), `equity` the value that counts in the account's
    quote, None when it was not a number. Both times are None before the first reading. `memory`
    holds what the guard remembers of the scope, with the points that were asked for, whose
    `results` are left out: they cost the most to read and no drawdown needs them.
    """

    scope: ScopeId
    at: float | None
    trust: Trust
    equity: float | None
    reasons: str
    trusted_at: float | None
    last_trusted: Reading | None
    is_suspected_since: float | None
    memory: ScopeMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTally:
    """The orders and cancels of one incident.

    `counts` names action, outcome (`SENT` while there is none) and how many; `latest_trouble` is
    what the venue or the network said last to one that was not carried out, empty without any.
    """

    incident_id: IncidentId
    counts: tuple[tuple[str, str, int], ...]
    latest_trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """The state of one kind of run. Books carry stage, cooldowns, streaks, locks and incident.

    `actions` are the latest audit entries, newest first; `requests` those nobody has answered.
    `other_open_incidents` names the books with an open incident of the other kind of run, which
    this kind neither shows nor works on. `tallies` are about the incidents of `books`. `written_at`
    is when the files were last written, None where nobody can tell. `switch` is what both of its
    stores hold as far as the file knows, `transitions` are its latest changes, newest first.
    """

    books: tuple[BookMemory, ...]
    scopes: tuple[ScopeStatus, ...]
    actions: tuple[AuditEntry, ...]
    requests: tuple[OperatorRequest, ...]
    other_open_incidents: tuple[str, ...] = ()
    tallies: tuple[OrderTally, ...] = ()
    written_at: float | None = None
    switch: SwitchMemory = field(default_factory=SwitchMemory)
    transitions: tuple[SwitchTransition, ...] = ()


def read_status(
    path: Path, *, dry_run: bool, action_limit: int = 20, history_s: float | None = None
) -> StoreStatus:
    """Read what `status` shows, without touching the guard.

    Of each scope's history the last `history_s` seconds before its latest trusted reading are
    read, none for None. Raises StoreMissing when the guard has never run with this configuration,
    StoreUnreadable for a damaged file, StoreError for anything else that stops reading.
    """
    with closing(open_for_reading(path)) as connection, strictly(f"reading {path}"):
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        scopes = connection.execute("SELECT * FROM scope_state ORDER BY scope").fetchall()
        actions = connection.execute(RECENT_ACTIONS, (dry_run, action_limit)).fetchall()
        requests = connection.execute(PENDING_REQUESTS).fetchall()
        books = load_books(connection, dry_run=dry_run)
        return StoreStatus(
            books=books,
            scopes=tuple(_scope_status(connection, row, history_s=history_s) for row in scopes),
            actions=tuple(audit_from(row) for row in actions),
            requests=tuple(request_from(row) for row in requests),
            other_open_incidents=tuple(
                row["book"]
                for row in connection.execute(LOAD_OPEN_INCIDENTS, (not dry_run,)).fetchall()
            ),
            tallies=tuple(
                _tally(connection, book.incident.incident_id)
                for book in books
                if book.incident is not None
            ),
            written_at=written_at(path),
            switch=load_switch(connection),
            transitions=load_transitions(connection, action_limit),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchStatus:
    """What the file knows of the switch, and its latest changes, newest first."""

    switch: SwitchMemory = field(default_factory=SwitchMemory)
    transitions: tuple[SwitchTransition, ...] = ()


def read_switch(path: Path, *, transition_limit: int) -> SwitchStatus:
    """Read the switch alone; nothing was ever set where there is no database.

    Otherwise raises as `read_status`.
    """
    try:
        connection = open_for_reading(path)
    except StoreMissing:
        return SwitchStatus()
    with closing(connection), strictly(f"reading {path}"):
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        return SwitchStatus(
            switch=load_switch(connection),
            transitions=load_transitions(connection, transition_limit),
        )


def read_answer(path: Path, request_id: int) -> RequestAnswer | None:
    """The answer to an operator's request, None while there is none; raises as `read_status`."""
    with closing(open_for_reading(path)) as connection, strictly(f"reading {path}"):
        connection.row_factory = sqlite3.Row
        row = connection.execute(
            "SELECT * FROM operator_requests WHERE request_id = ? AND answered_ts IS NOT NULL",
            (request_id,),
        ).fetchone()
        return None if row is None else answer_from(row)


def _tally(connection: sqlite3.Connection, incident_id: IncidentId) -> OrderTally:
    counts = connection.execute(ORDER_TALLY, (incident_id,)).fetchall()
    trouble = connection.execute(LATEST_TROUBLE, (incident_id,)).fetchone()
    return OrderTally(
        incident_id=incident_id,
        counts=tuple((row["action"], row["outcome"], row["count"]) for row in counts),
        latest_trouble="" if trouble is None else trouble["trouble"],
    )


def _scope_status(
    connection: sqlite3.Connection, row: Columns, *, history_s: float | None
) -> ScopeStatus:
    memory = scope_from(row)
    flows = (
        connection.execute(LOAD_FLOW, (memory.scope, record_id)).fetchone()
        for record_id in flow_ids_from(row)
    )
    snapshot = connection.execute(LATEST_SNAPSHOT, (memory.scope,)).fetchone()
    point = connection.execute(LATEST_POINT, (memory.scope,)).fetchone()
    history = History()
    if point is not None and history_s is not None:
        history = _history(connection, memory.scope, oldest=point["ts"] - history_s)
    memory = replace(memory, flows=tuple(flow_from(flow) for flow in flows), history=history)
    return ScopeStatus(
        scope=memory.scope,
        at=None if snapshot is None else snapshot["ts"],
        trust=Trust.UNAVAILABLE if snapshot is None else Trust(snapshot["trust"]),
        equity=None if snapshot is None else snapshot["equity"],
        reasons="" if snapshot is None else snapshot["reasons"],
        trusted_at=None if point is None else point["ts"],
        last_trusted=memory.last_trusted,
        is_suspected_since=None if memory.suspicion is None else memory.suspicion.since,
        memory=memory,
    )


def _history(connection: sqlite3.Connection, scope: ScopeId, *, oldest: float) -> History:
    """The points of a scope as drawdowns need them: navs and times are exact, results left out."""
    return History.of(
        tuple(
            Point(
                at=ts,
                equity=equity,
                nav=nav,
                unexplained=unexplained,
                may_be_peak=bool(may_be_peak),
            )
            for ts, equity, nav, unexplained, may_be_peak in connection.execute(
                LOAD_POINTS, (scope, oldest)
            )
        )
    )
