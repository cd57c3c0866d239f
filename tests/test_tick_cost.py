"""What a tick asks of the database costs the same in a file of three days and in one of 90.

Counted are the steps of SQLite's own machine, which do not depend on what else this machine does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memory import AuditEntry, IncidentStatus, Records, RequestAnswer
from model import BookName, IncidentId
from store import views
from store.schema import open_for_reading
from store.views import read_status
from tests.guard_files import INCIDENT, STATE
from tests.old_files import DAY, HOUR, NOW, Run, every, fill

DAYS = (3, 90)


def journal(number: int) -> Records:
    """An incident that is over, with its audit and an answered request."""
    over = replace(
        INCIDENT, incident_id=IncidentId(f"old{number}"), status=IncidentStatus.DONE, ended_at=NOW
    )
    audit = AuditEntry(at=NOW, scope=INCIDENT.book, event="incident_done", message="done")
    answer = RequestAnswer(request_id=number + 1, at=NOW, accepted=True, message="done")
    return Records(incidents=(over,), audits=(audit,) * 5, answers=(answer,))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two files as retention leaves them: a raw day, minutes, hours, and a journal as long."""
    found: dict[int, Path] = {}
    for days in DAYS:
        path = found[days] = tmp_path_factory.mktemp("files") / f"{days}.db"
        week = NOW - min(days, 7) * DAY
        minutes = every(60.0, since=NOW - days * DAY, until=week)
        fill(path, [at for at in minutes if at % HOUR], held=())
        fill(path, [at for at in minutes if at % HOUR == 0])
        fill(path, every(60.0, since=week, until=NOW - DAY))
        fill(path, every(30.0, since=NOW - DAY))
        run = Run(path=path)
        for number in range(days):
            run.store.add_request(at=NOW, actor="ann", command="reset")
            run.store.commit(journal(number))
        run.age_whole()
        run.thin(hours=days + 2)
        run.close()
    return found


class Counter:
    """Counts the steps of SQLite's machine."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self) -> int:
        """Note one step; SQLite goes on after a 0."""
        self.steps += 1
        return 0

    @contextmanager
    def watching(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Count what this connection does in the block."""
        connection.set_progress_handler(self, 1)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 1)


def quiet_tick(run: Run) -> None:
    """A reading that changes nothing but the history."""
    run.look(run.now + 30.0)


def doubted_tick(run: Run) -> None:
    """A reading that is not believed."""
    run.doubt(run.now + 30.0)


def deciding_tick(run: Run) -> None:
    """A stage, its incident and its audit."""
    audit = AuditEntry(at=run.now, scope="*", event="trigger", message=".")
    books = (replace(STATE, name=BookName("binance_futures")),)
    run.commit(Records(books=books, audits=(audit,)))


def asking(run: Run) -> None:
    """What the operator waits for, and the orders of an incident."""
    assert run.store.pending_requests() == ()
    assert run.store.order_records(INCIDENT.incident_id) == ()
    assert not run.store.has_open_incident(True)


def start(run: Run) -> None:
    """All that a restarted guard remembers."""
    run.store.load_memory(dry_run=False, now=NOW)


def minute_of_thinning(run: Run) -> None:
    """A minute passes, and the oldest raw one is thinned."""
    for _ in range(3):
        run.look(run.now + 30.0)
    while run.store.thin(run.now):
        pass


@pytest.mark.parametrize(
    "tick", [quiet_tick, doubted_tick, deciding_tick, asking, start, minute_of_thinning]
)
def test_a_file_of_90_days_costs_what_one_of_3_days_does(
    files: dict[int, Path], tick: Callable[[Run], None]
) -> None:
    """Every statement of a tick, of a start and of thinning takes the same number of steps."""
    counted: list[int] = []
    for days in DAYS:
        run, counter = Run(path=files[days]), Counter()
        with counter.watching(run.store._connection):
            tick(run)
        counted.append(counter.steps)
        run.close()
    assert counted[1] == pytest.approx(counted[0], rel=0.02)
    assert counted[0] > 10


def test_status_costs_the_same_as_well(
    files: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be asked every two seconds."""
    counted: list[int] = []
    counter = Counter()

    def opened(path: Path) -> sqlite3.Connection:
        connection = open_for_reading(path)
        connection.set_progress_handler(counter, 1)
        return connection

    monkeypatch.setattr(views, "open_for_reading", opened)
    for days in DAYS:
        counter.steps = 0
        read_status(files[days], dry_run=False, history_s=DAY)
        counted.append(counter.steps)
    assert counted[1] == pytest.approx(counted[0], rel=0.02)
    assert counted[0] > 1000


def test_the_count_sees_a_table_that_is_searched_through(files: dict[int, Path]) -> None:
    """Otherwise the tests above could not fail."""
    counted: list[int] = []
    for days in DAYS:
        run, counter = Run(path=files[days]), Counter()
        with counter.watching(run.store._connection):
            run.store._connection.execute("SELECT MAX(equity) FROM snapshots").fetchone()
        counted.append(counter.steps)
        run.close()
    assert counted[1] > 5 * counted[0]
