"""What was committed is what a restarted guard remembers."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import position_store
from aging import HISTORY_S
from errors import StoreError, StoreMissing, StoreUnreadable
from lock_document import FOREVER_TS, LockEntry, LockMode
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Doubt,
    Flow,
    History,
    Incident,
    IncidentStatus,
    Memory,
    OrderAction,
    OrderRecord,
    Point,
    ReadingRecord,
    Records,
    RequestAnswer,
    RowResults,
    ScopeMemory,
    Severity,
    Streak,
    Suspicion,
    TargetStatus,
)
from model import (
    Asset,
    BookName,
    ClientOrderId,
    Coin,
    Done,
    IncidentId,
    LedgerKind,
    MarginMode,
    Outcome,
    Position,
    PositionMode,
    Reading,
    RecordId,
    RefusalReason,
    Refused,
    RowKey,
    ScopeId,
    Side,
    Source,
    Stage,
    Symbol,
    Trust,
    Unknown,
    VenueOrderId,
)
from position_store import PositionStore
from store import history as store_history
from store import views as store_views
from store.files import move_aside
from store.schema import SCHEMA_VERSION, open_for_reading
from store.views import read_answer, read_status

NOW = 1_800_000_000.0
SCOPE = ScopeId("venue_futures")
OTHER = ScopeId("venue_spot")
BOOK = BookName("venue_futures")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test lies."""
    return tmp_path / "state" / "guard.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[PositionStore]:
    """A new store that has loaded its (empty) live memory."""
    opened = reopen(path)
    yield opened
    opened.close()


def reopen(path: Path, *, dry_run: bool = False) -> PositionStore:
    """A store as a guard opens it after a restart."""
    opened = PositionStore.open(path, rng=random.Random(1))
    opened.load_memory(dry_run=dry_run, now=NOW)
    return opened


def restarted(path: Path, *, dry_run: bool = False, now: float = NOW) -> Memory:
    """What a guard that starts now remembers."""
    opened = PositionStore.open(path, rng=random.Random(2))
    try:
        return opened.load_memory(dry_run=dry_run, now=now)
    finally:
        opened.close()


def key(symbol: str, side: Side = Side.LONG, scope: ScopeId = SCOPE) -> RowKey:
    """The key of one row."""
    return RowKey(scope, Symbol(symbol), side)


def position(symbol: str, *, side: Side = Side.LONG, quantity: str = "1") -> Position:
    """A position whose prices do not matter."""
    return Position(
        symbol=Symbol(symbol),
        base=Asset(symbol.removesuffix("USDT")),
        side=side,
        quantity=Decimal(quantity),
        entry_price=100.25,
        mark_price=101.5,
        unrealised_pnl=1.25,
        liquidation_price=None if side is Side.LONG else 180.0,
        margin_mode=MarginMode.ISOLATED if side is Side.SHORT else MarginMode.CROSS,
        margin=12.5,
    )


def reading(
    at: float, *, positions: tuple[Position, ...] = (), coins: tuple[Coin, ...] = ()
) -> Reading:
    """A reading of the futures scope."""
    return Reading(
        scope=SCOPE,
        asked_at=at,
        equity=10_000.0,
        wallet=9_990.0,
        unrealised_pnl=None,
        positions=positions,
        coins=coins,
        position_mode=PositionMode.HEDGE,
        wallet_defines_equity=False,
        server_offset_s=0.25,
    )


def point(at: float, *, nav: float = 10_000.0, results: RowResults = ()) -> Point:
    """A point of the history."""
    return Point(at=at, equity=nav * 2.0, nav=nav, results=results, unexplained=at % 7.0)


def judged(read: Reading, at: Point | None) -> ReadingRecord:
    """The record of a reading."""
    trust = Trust.SUSPECT if at is None else Trust.TRUSTED
    return ReadingRecord(reading=read, trust=trust, at=read.asked_at + 0.5, point=at)


def remembered(memory: Memory) -> ScopeMemory:
    """What is remembered of the futures scope."""
    return memory.scope(SCOPE)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """What a person with plain sqlite3 sees."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


INCIDENT = Incident(
    incident_id=IncidentId("i-1"),
    book=BOOK,
    stage=Stage.DOMINANT_CLOSED,
    mode="CLOSE_DOMINANT_LOSS_DIRECTION",
    source=Source.SHORT,
    opened_at=NOW - 10.0,
    dry_run=False,
    reason="drawdown 0.11 in 1h",
    targets=(
        CloseTarget(
            number=1,
            key=key("SOLUSDT", Side.SHORT),
            may_remain=Decimal(0),
            initial_quantity=Decimal("10.50"),
        ),
        CloseTarget(
            number=2,
            key=key("XRPUSDT", Side.SHORT),
            may_remain=Decimal("0.00000001"),
            initial_quantity=Decimal("1E+6"),
            status=TargetStatus.DUST,
        ),
    ),
    rounds=3,
    held_at=NOW - 2.0,
    last_progress_at=NOW - 3.0,
    alerts_sent=1,
    is_followup=True,
    had_positions_since_peak=False,
)

STATE = BookMemory(
    name=BOOK,
    stage=Stage.DOMINANT_CLOSED,
    since=NOW - 10.0,
    baseline_at=NOW - 9000.0,
    stage_baselines=(1.5, 2.5, 3.5),
    cooldowns=(NOW + 1.0, NOW + 2.0, 0.0),
    streaks=(Streak(stage=Stage.ALL_CLOSED, count=1, last_counted_at=NOW - 3.0),),
    incident=INCIDENT,
    locks=(
        LockEntry(
            scope=BOOK,
            stage=Stage.DOMINANT_CLOSED,
            mode=LockMode.STAGE,
            reason="killswitch_stage_2_close_dominant_loss_direction",
            created_ts=NOW - 10.0,
            expires_ts=FOREVER_TS,
            manual_reset_required=True,
            details=(("incident", "i-1"), ("source", "SHORT")),
        ),
    ),
    manual_reset_required=True,
)


# --- what is remembered -----------------------------------------------------------------------


def test_a_new_database_remembers_nothing(path: Path) -> None:
    """The caller learns that it is new, because then the lock file is the only record."""
    opened = PositionStore.open(path, rng=random.Random(1))
    assert opened.is_new
    assert opened.load_memory(dry_run=True, now=NOW) == Memory()
    opened.close()
    again = PositionStore.open(path, rng=random.Random(1))
    assert not again.is_new
    again.close()


def test_books_with_their_incident_come_back(store: PositionStore, path: Path) -> None:
    """Stage, deadlines, streaks, locks and every target survive a restart."""
    store.commit(Records(books=(STATE,)))
    assert restarted(path) == Memory(books=(STATE,))


def test_an_incident_updated_alone_is_seen_by_its_book(store: PositionStore, path: Path) -> None:
    """The executor commits rounds without the book; the restart must see them."""
    store.commit(Records(books=(STATE,)))
    held = replace(INCIDENT.targets[0], status=TargetStatus.HELD)
    done = replace(INCIDENT, status=IncidentStatus.DONE, ended_at=NOW, rounds=4, targets=(held,))
    store.commit(Records(incidents=(done,)))
    assert restarted(path).books == (replace(STATE, incident=done),)


def test_an_open_incident_is_found_without_its_book(store: PositionStore, path: Path) -> None:
    """What was begun is never forgotten, whatever the row of its book says."""
    store.commit(Records(incidents=(INCIDENT,)))
    assert restarted(path).books == (BookMemory(name=BOOK, incident=INCIDENT),)
    store.commit(Records(books=(replace(STATE, incident=None),)))
    assert restarted(path).books == (STATE,)


def test_a_dry_run_and_a_live_run_do_not_see_each_other(path: Path) -> None:
    """A dry run never acts later, and a live run never takes over simulated stages."""
    live = reopen(path)
    live.commit(Records(books=(STATE,)))
    live.close()
    dry = reopen(path, dry_run=True)
    assert dry.load_memory(dry_run=True, now=NOW).books == ()
    assert not dry.has_open_incident(True)
    assert dry.has_open_incident(False)
    other = BookMemory(name=BOOK, stage=Stage.ALL_CLOSED)
    dry.commit(Records(books=(other,)))
    dry.close()
    assert restarted(path, dry_run=True).books == (other,)
    assert restarted(path).books == (STATE,)


def test_books_are_not_written_before_the_kind_of_run_is_known(path: Path) -> None:
    """A book of unknown kind could turn a rehearsal into orders."""
    opened = PositionStore.open(path, rng=random.Random(1))
    with pytest.raises(StoreError, match="kind of run"):
        opened.commit(Records(books=(STATE,), audits=(audit("trigger"),)))
    opened.close()
    assert rows(path, "SELECT count(*) FROM actions") == [(0,)], "nothing of a failed decision"


def test_a_scope_comes_back_whole(store: PositionStore, path: Path) -> None:
    """Doubt, flows, units, deadlines and the last trusted positions survive a restart."""
    held = (position("BTCUSDT"), position("SOLUSDT", side=Side.SHORT, quantity="0.00000100"))
    coins = (
        Coin(asset=Asset("ETH"), quantity=Decimal("2.50"), price=3000.5),
        Coin(asset=Asset("SOL"), quantity=Decimal(-4), price=100.0),
    )
    results = ((key("BTCUSDT"), 12.5), (key("ETH"), -1.0), (key("SOL", Side.SHORT), -2.0))
    at = point(NOW - 3.0, results=results)
    inferred = flow("inferred", at=NOW - 100.0, is_inferred=True, is_cancelled=True)
    memory = ScopeMemory(
        scope=SCOPE,
        history=History.of((at,)),
        last_trusted=reading(NOW - 3.0, positions=held, coins=coins),
        results=results,
        unexplained=-4.25,
        units=0.8,
        suspicion=Suspicion(
            since=NOW - 1.0,
            doubts=(Doubt(at=NOW - 1.0, equity=9.5, unexplained=-3.5),),
            consistent_since=None,
            consistent_count=2,
        ),
        flows=(flow("b", at=NOW - 50.0), inferred, flow("a", at=NOW - 60.0, effective_at=NOW)),
        ledger_until=NOW - 60.0,
        ledger_asked_at=NOW - 1.0,
        watch_began_at=NOW - 900.0,
        failures=2,
        cross_check_alerted=True,
        blind_alerted=True,
    )
    assert memory.last_trusted is not None
    record = judged(memory.last_trusted, at)
    store.commit(Records(readings=(record,), scopes=(memory,)))
    assert restarted(path) == Memory(scopes=(memory,))
    owed = "SELECT side, quantity FROM position_snapshots WHERE symbol = 'SOL'"
    assert rows(path, owed) == [("SHORT", "4")]
    calm = replace(memory, suspicion=None, last_trusted=None, flows=memory.flows[:1], results=())
    store.commit(Records(scopes=(calm,)))
    assert restarted(path) == Memory(scopes=(calm,))


def flow(
    name: str,
    *,
    at: float,
    effective_at: float | None = None,
    is_inferred: bool = False,
    is_cancelled: bool = False,
) -> Flow:
    """A withdrawal of 2,000."""
    return Flow(
        record_id=RecordId(name),
        scope=SCOPE,
        at=at,
        amount=-2000.0,
        kind=LedgerKind.TRANSFER,
        effective_at=effective_at,
        factor=1.0 if effective_at is None else 0.8,
        is_inferred=is_inferred,
        is_cancelled=is_cancelled,
    )


def test_a_flow_is_kept_once_by_the_id_of_its_venue(store: PositionStore, path: Path) -> None:
    """The same record seen again, now with its step, replaces the pending one."""
    memory = ScopeMemory(scope=SCOPE, flows=(flow("a", at=NOW),))
    store.commit(Records(scopes=(memory,), flows=memory.flows))
    settled = replace(memory, flows=(flow("a", at=NOW, effective_at=NOW + 1.0),))
    store.commit(Records(scopes=(settled,), flows=settled.flows))
    assert rows(path, "SELECT amount, factor, effective_ts FROM flows") == [
        (-2000.0, 0.8, NOW + 1.0)
    ]
    assert remembered(restarted(path)).flows == settled.flows


def test_flows_that_are_written_already_cost_no_later_commit(
    store: PositionStore, path: Path
) -> None:
    """Each reading brings the flows of two days in a new tuple; only what changed is written."""
    flows = tuple(flow(name, at=NOW) for name in "abc")
    store.commit(Records(scopes=(ScopeMemory(scope=SCOPE, flows=flows),)))
    written: list[str] = []
    store._connection.set_trace_callback(written.append)
    store.commit(Records(scopes=(ScopeMemory(scope=SCOPE, flows=(*flows[:1], *flows[1:])),)))
    assert [text for text in written if "INTO flows" in text] == []
    settled = (*flows[:2], flow("c", at=NOW, effective_at=NOW + 1.0))
    store.commit(Records(scopes=(ScopeMemory(scope=SCOPE, flows=settled),)))
    assert len([text for text in written if "INTO flows" in text]) == 1
    assert remembered(restarted(path)).flows == settled


# --- history ----------------------------------------------------------------------------------


def test_a_late_flow_rewrites_the_points_it_moves(store: PositionStore, path: Path) -> None:
    """A withdrawal of 2,000 seen late: 10,000 -> 8,000 was no loss, so nav after it is rescaled."""
    points = (
        Point(at=NOW - 30.0, equity=10_000.0, nav=10_000.0),
        Point(at=NOW - 20.0, equity=8_000.0, nav=8_000.0, may_be_peak=False),
        Point(at=NOW - 10.0, equity=7_400.0, nav=7_400.0),
    )
    memory = ScopeMemory(scope=SCOPE, history=History.of(points))
    store.commit(Records(scopes=(memory,)))
    # factor 8,000 / 10,000 from the second point on: nav = equity / 0.8
    moved = (
        points[0],
        replace(points[1], nav=10_000.0, may_be_peak=True),
        replace(points[2], nav=9_250.0),
    )
    rescaled = replace(memory, history=History.of(moved), units=0.8)
    store.commit(Records(scopes=(rescaled,), flows=(flow("a", at=NOW),)))
    assert remembered(restarted(path)) == rescaled
    assert rows(path, "SELECT nav, may_be_peak FROM snapshots ORDER BY ts") == [
        (10_000.0, 1),
        (10_000.0, 1),
        (9_250.0, 1),
    ]


def test_a_point_that_memory_gave_up_is_no_point_after_a_restart(
    store: PositionStore, path: Path
) -> None:
    """Points dropped from the middle are gone; points trimmed from the front only aged."""
    points = tuple(point(NOW - 100.0 + n) for n in range(5))
    store.commit(Records(scopes=(ScopeMemory(scope=SCOPE, history=History.of(points)),)))
    kept = ScopeMemory(scope=SCOPE, history=History.of((points[1], points[3], points[4])))
    store.commit(Records(scopes=(kept,)))
    loaded = tuple(remembered(restarted(path)).history.points())
    assert loaded == (points[0], points[1], points[3], points[4])


def test_a_closed_row_keeps_its_result(store: PositionStore, path: Path) -> None:
    """A position closed between two readings leaves one row of quantity 0 with what it made."""
    first = point(NOW - 20.0, results=((key("BTCUSDT"), 10.0), (key("SOLUSDT"), -50.0)))
    second = point(NOW - 10.0, results=((key("BTCUSDT"), 11.0), (key("SOLUSDT"), -120.0)))
    third = point(NOW, results=second.results)
    both = reading(NOW - 20.0, positions=(position("BTCUSDT"), position("SOLUSDT")))
    one = reading(NOW - 10.0, positions=(position("BTCUSDT"),))
    memory = ScopeMemory(scope=SCOPE, history=History.of((first,)), results=first.results)
    store.commit(Records(readings=(judged(both, first),), scopes=(memory,)))
    for read, at in ((one, second), (replace(one, asked_at=NOW), third)):
        memory = replace(memory, history=memory.history.append(at), results=at.results)
        store.commit(Records(readings=(judged(read, at),), scopes=(memory,)))
    assert rows(
        path,
        "SELECT ts, quantity, result FROM position_snapshots WHERE symbol = 'SOLUSDT' ORDER BY ts",
    ) == [(NOW - 20.0, "1", -50.0), (NOW - 10.0, "0", -120.0)]
    assert remembered(restarted(path)) == memory


def test_a_fee_after_the_close_is_remembered(store: PositionStore, path: Path) -> None:
    """A late funding fee changes the result of a row that is no longer held."""
    memory = ScopeMemory(scope=SCOPE)
    for offset, result in ((20.0, -50.0), (10.0, -50.0), (5.0, -53.0)):
        at = point(NOW - offset, results=((key("SOLUSDT"), result),))
        read = reading(NOW - offset, positions=(position("SOLUSDT"),) if offset == 20.0 else ())
        memory = replace(memory, history=memory.history.append(at), results=at.results)
        store.commit(Records(readings=(judged(read, at),), scopes=(memory,)))
    assert remembered(restarted(path)) == memory


def test_a_point_whose_commit_failed_is_written_with_the_next(
    store: PositionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk for one tick leaves no hole that attribution would fall into."""
    results = ((key("BTCUSDT"), 10.0), (key("SOLUSDT"), -5.0))
    read = reading(NOW - 30.0, positions=(position("BTCUSDT"),))
    memory = ScopeMemory(scope=SCOPE)
    for number in range(4):
        moved = tuple((name, made + number) for name, made in results)
        at = point(NOW - 30.0 + number, results=moved)
        memory = replace(memory, history=memory.history.append(at), results=at.results)
        record = judged(replace(read, asked_at=at.at), at)
        if number in (1, 2):
            broken = (replace(AUDIT, message=None),)  # type: ignore[arg-type]
            with pytest.raises(StoreError):
                store.commit(Records(readings=(record,), scopes=(memory,), audits=broken))
        else:
            store.commit(Records(readings=(record,), scopes=(memory,)))
    assert remembered(restarted(path)) == memory
    assert rows(
        path,
        f"SELECT quantity, result FROM position_snapshots WHERE ts = {NOW - 29.0} ORDER BY symbol",
    ) == [(None, 11.0), (None, -4.0)], "no reading was stored, so no quantity is claimed"


def test_a_doubtful_reading_that_becomes_a_point_later_has_results(
    store: PositionStore, path: Path
) -> None:
    """The ledger may clear a reading after it was written as a doubt."""
    read = reading(NOW, positions=(position("BTCUSDT"),))
    store.commit(Records(readings=(judged(read, None),)))
    at = point(NOW, results=((key("BTCUSDT"), 3.0),))
    memory = ScopeMemory(scope=SCOPE, history=History.of((at,)), results=at.results)
    store.commit(Records(scopes=(memory,)))
    assert remembered(restarted(path)) == memory
    assert rows(path, "SELECT quantity, result FROM position_snapshots") == [("1", 3.0)]


def test_a_reading_that_is_not_a_number_is_no_point(store: PositionStore, path: Path) -> None:
    """NaN is stored as unknown, and the audit of it still reads as JSON."""
    doubtful = replace(reading(NOW), equity=float("nan"))
    entry = replace(AUDIT, details=(("equity", float("nan")), ("limit", 5)))
    store.commit(Records(readings=(judged(doubtful, None),), audits=(entry,)))
    assert rows(path, "SELECT trust, equity, nav FROM snapshots") == [("SUSPECT", None, None)]
    assert rows(path, "SELECT json_extract(details, '$.equity') FROM actions") == [("nan",)]


def test_old_points_share_the_results_of_the_best_of_their_minute(
    store: PositionStore, path: Path
) -> None:
    """The point that can be the peak of its minute is exact; loading stays bounded."""
    start = NOW - NOW % 60.0 - 7200.0
    points = tuple(
        point(start + n, nav=100.0 + (n == 2), results=((key("BTCUSDT"), float(n)),))
        for n in (0, 1, 2, 3)
    )
    recent = point(NOW - 1.0, nav=50.0, results=((key("BTCUSDT"), 9.0),))
    memory = ScopeMemory(scope=SCOPE, history=History.of((*points, recent)))
    store.commit(Records(scopes=(memory,)))
    loaded = tuple(remembered(restarted(path)).history.points())
    assert [at.results[0][1] for at in loaded] == [2.0, 2.0, 2.0, 2.0, 9.0]
    assert [replace(at, results=()) for at in loaded] == [
        replace(at, results=()) for at in memory.history.points()
    ]


def test_points_older_than_two_days_stay_on_disk(store: PositionStore, path: Path) -> None:
    """Memory holds 48 h: the longest window and the last point before it."""
    points = (point(NOW - HISTORY_S - 1.0), point(NOW - 10.0))
    memory = ScopeMemory(scope=SCOPE, history=History.of(points))
    store.commit(Records(scopes=(memory,)))
    assert tuple(remembered(restarted(path)).history.points()) == points[1:]
    assert rows(path, "SELECT count(*) FROM snapshots") == [(2,)]


SYMBOLS = ("A", "B", "C", "D")
MONEY = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@st.composite
def careers(draw: st.DrawFn) -> list[tuple[Reading, Point | None, bool]]:
    """What a scope held and made reading by reading, and which commits were lost."""
    made: dict[RowKey, float] = {}
    steps: list[tuple[Reading, Point | None, bool]] = []
    for number in range(draw(st.integers(1, 8))):
        at = NOW - 3000.0 + 7.0 * number
        held = draw(st.lists(st.sampled_from(SYMBOLS), unique=True))
        moving = draw(st.sets(st.sampled_from(SYMBOLS)))
        for symbol in sorted(moving):
            made[key(symbol)] = draw(MONEY)
        for symbol in sorted(draw(st.sets(st.sampled_from(SYMBOLS), max_size=1))):
            made.pop(key(symbol), None)
        is_trusted = draw(st.booleans())
        nav = draw(st.floats(min_value=1.0, max_value=1e6))
        at_point = Point(
            at=at,
            equity=draw(MONEY),
            nav=nav,
            results=tuple(sorted(made.items())),
            unexplained=draw(MONEY),
            may_be_peak=draw(st.booleans()),
        )
        read = reading(at, positions=tuple(position(symbol) for symbol in held))
        steps.append((read, at_point if is_trusted else None, draw(st.booleans())))
    return steps


@settings(max_examples=60, deadline=None)
@given(
    career=careers(), factor=st.floats(min_value=0.5, max_value=2.0), restart_at=st.integers(0, 8)
)
def test_any_history_comes_back_as_it_was_committed(
    tmp_path_factory: pytest.TempPathFactory,
    career: list[tuple[Reading, Point | None, bool]],
    factor: float,
    restart_at: int,
) -> None:
    """Whatever opens, closes, moves, fails to commit or is rescaled: memory survives a restart."""
    path = tmp_path_factory.mktemp("career") / "guard.sqlite3"
    store = reopen(path)
    memory = ScopeMemory(scope=SCOPE)
    for number, (read, at, is_lost) in enumerate(career):
        if number == restart_at:
            store.close()
            store = reopen(path)
            memory = remembered(store.load_memory(dry_run=False, now=NOW))
            memory = replace(memory, scope=SCOPE)
        if at is not None:
            memory = replace(
                memory, history=memory.history.append(at), results=at.results, last_trusted=read
            )
        if not is_lost:
            store.commit(Records(readings=(judged(read, at),), scopes=(memory,)))
    rescaled = tuple(replace(p, nav=p.nav / factor) for p in memory.history.points())
    for final in (memory, replace(memory, history=History.of(rescaled), units=factor)):
        store.commit(Records(scopes=(final,)))
        assert remembered(restarted(path)) == final
    store.close()


# --- orders, requests, audit ------------------------------------------------------------------

AUDIT = AuditEntry(
    at=NOW,
    scope=BOOK,
    event="trigger",
    message="Stage 2: drawdown 0.11 in 1h.",
    stage=Stage.DOMINANT_CLOSED,
    mode="CLOSE_DOMINANT_LOSS_DIRECTION",
    severity=Severity.CRITICAL,
    details=(("drawdown", 0.11), ("window", "1h"), ("is_first", True), ("order", None)),
)


def audit(event: str, *, dry_run: bool = False) -> AuditEntry:
    """An audit entry of one kind of run."""
    return replace(AUDIT, event=event, dry_run=dry_run)


def order(number: int, outcome: Outcome | None = None) -> OrderRecord:
    """One order of the incident."""
    is_cancel = number % 2 == 0
    return OrderRecord(
        client_id=ClientOrderId(f"c{number}"),
        incident_id=INCIDENT.incident_id,
        scope=SCOPE,
        key=None if is_cancel else key("SOLUSDT", Side.SHORT),
        action=OrderAction.CANCEL if is_cancel else OrderAction.CLOSE,
        symbol="SOLUSDT",
        order_side="BUY",
        quantity=Decimal("0.10"),
        round_number=1,
        created_at=NOW,
        dry_run=False,
        subject="42" if is_cancel else "",
        outcome=outcome,
        answered_at=None if outcome is None else NOW + 1.0,
    )


OUTCOMES: tuple[Outcome, ...] = (
    Done(order_id=VenueOrderId("77"), filled=Decimal("0.10")),
    Done(order_id=VenueOrderId("78")),
    Refused(reason=RefusalReason.RATE_LIMITED, code="-1003", message="slow", retry_after_s=2.5),
    Unknown(cause="time-out"),
)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_order_is_completed_by_its_outcome(
    store: PositionStore, path: Path, outcome: Outcome
) -> None:
    """The intent is written before the order is sent, and the answer completes the same row."""
    intents = (order(3), order(2), order(1))
    store.commit(Records(orders=intents))
    assert store.order_records(INCIDENT.incident_id) == intents
    answered = order(2, outcome)
    store.commit(Records(orders=(answered,)))
    expected = (intents[0], answered, intents[2])
    assert store.order_records(INCIDENT.incident_id) == expected
    store.close()
    assert reopen_orders(path) == expected
    assert store_is_empty_for(path, IncidentId("other"))


def reopen_orders(path: Path) -> tuple[OrderRecord, ...]:
    """The orders after a restart."""
    opened = reopen(path)
    try:
        return opened.order_records(INCIDENT.incident_id)
    finally:
        opened.close()


def store_is_empty_for(path: Path, incident_id: IncidentId) -> bool:
    """True when an incident has no orders."""
    opened = reopen(path)
    try:
        return opened.order_records(incident_id) == ()
    finally:
        opened.close()


def test_orders_just_sent_for_another_incident_are_told_with_those_of_one(
    store: PositionStore,
) -> None:
    """A higher stage took over a moment before a kill: what the lower one sent may still land."""
    long_ago = replace(order(1), incident_id=IncidentId("older"), created_at=NOW - 60)
    just_now = replace(order(2), incident_id=IncidentId("lower"), created_at=NOW - 10)
    own = order(3)
    store.commit(Records(orders=(long_ago, just_now, own)))
    assert store.order_records(INCIDENT.incident_id, NOW - 15) == (just_now, own)


def test_a_request_waits_until_it_is_answered_once(store: PositionStore, path: Path) -> None:
    """Another process asks, the daemon answers in the decision's transaction, the first stands."""
    asking = reopen(path)
    arguments = (("book", BOOK), ("reason", "looked at it"))
    number = asking.add_request(
        at=NOW, actor="ann", command="reset", arguments=arguments, confirmation=BOOK
    )
    (request,) = store.pending_requests()
    assert (request.request_id, request.arguments, request.confirmation) == (
        number,
        arguments,
        BOOK,
    )
    assert asking.answer(number) is None
    assert read_answer(path, number) is None
    answer = RequestAnswer(request_id=number, at=NOW + 1.0, accepted=False, message="not yet")
    store.commit(Records(answers=(answer,)))
    store.commit(Records(answers=(replace(answer, accepted=True, message="other"),)))
    assert store.pending_requests() == ()
    assert asking.answer(number) == answer
    assert read_answer(path, number) == answer
    with closing(sqlite3.connect(path)) as connection:
        questions = connection.execute(
            "SELECT ts, actor, command, arguments, confirmation FROM operator_requests"
        ).fetchall()
    asked = json.dumps(dict(arguments), separators=(",", ":"))
    assert questions == [(NOW, "ann", "reset", asked, BOOK)]
    asking.close()


# --- status -----------------------------------------------------------------------------------


def test_status_reads_while_the_guard_writes(store: PositionStore, path: Path) -> None:
    """A reader sees the last whole decision, also in the middle of the next transaction."""
    read = reading(NOW, positions=(position("BTCUSDT"),))
    at = point(NOW)
    memory = ScopeMemory(
        scope=SCOPE,
        history=History.of((at,)),
        last_trusted=read,
        suspicion=Suspicion(since=NOW, doubts=(), consistent_since=None),
    )
    blank = ScopeMemory(scope=OTHER)
    store.commit(
        Records(
            readings=(judged(read, at),),
            scopes=(memory, blank),
            books=(STATE,),
            audits=(audit("first"), audit("dry", dry_run=True), audit("second")),
        )
    )
    number = store.add_request(at=NOW, actor="ann", command="reset")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM actions")
    try:
        status = read_status(path, dry_run=False)
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    assert status.books == (STATE,)
    assert [entry.event for entry in status.actions] == ["second", "first"]
    assert status.actions[0] == audit("second")
    assert [request.request_id for request in status.requests] == [number]
    futures, spot = status.scopes
    assert (futures.at, futures.trust, futures.equity) == (NOW, Trust.TRUSTED, at.equity)
    assert (futures.trusted_at, futures.last_trusted) == (NOW, read)
    assert futures.is_suspected_since == NOW
    assert (spot.at, spot.trust, spot.last_trusted) == (None, Trust.UNAVAILABLE, None)
    assert len(read_status(path, dry_run=True).actions) == 1
    assert len(read_status(path, dry_run=False, action_limit=1).actions) == 1


def test_status_works_after_the_guard_has_stopped(path: Path) -> None:
    """A clean stop removes the write-ahead log; reading must not need it."""
    opened = reopen(path)
    opened.commit(Records(books=(STATE,)))
    opened.close()
    assert not path.with_name(path.name + "-wal").exists()
    assert read_status(path, dry_run=False).books == (STATE,)


def test_status_says_that_nothing_has_run_yet(path: Path) -> None:
    """No database is a plain answer, not a stack trace, and reading creates none."""
    with pytest.raises(StoreMissing, match="has not run"):
        read_status(path, dry_run=False)
    assert not path.exists()
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreMissing, match="nothing yet"):
        read_status(path, dry_run=False)


def test_a_reader_cannot_write(store: PositionStore, path: Path) -> None:
    """Whatever a view asks, the file is opened without the right to change it."""
    store.commit(Records(books=(STATE,)))
    connection = open_for_reading(path)
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM actions")
    finally:
        connection.close()


# --- the file ---------------------------------------------------------------------------------


def test_the_tag_is_drawn_once_per_database(path: Path, tmp_path: Path) -> None:
    """Orders of one guard keep their mark over restarts; another database has another."""
    first = PositionStore.open(path, rng=random.Random(1))
    tag = first.instance_tag()
    first.close()
    assert len(tag) == position_store.TAG_LENGTH
    assert set(tag) <= set("0123456789abcdefghijklmnopqrstuvwxyz")
    again = PositionStore.open(path, rng=random.Random(2))
    assert again.instance_tag() == tag
    again.close()
    other = PositionStore.open(tmp_path / "other.sqlite3", rng=random.Random(2))
    assert other.instance_tag() != tag
    other.close()


def test_a_scope_belongs_to_the_kind_of_account_that_named_it_first(path: Path) -> None:
    """Over restarts, each scope for itself."""
    first = PositionStore.open(path, rng=random.Random(1))
    assert first.claim(SCOPE, "simulator") == "simulator"
    first.close()
    again = PositionStore.open(path, rng=random.Random(1))
    assert again.claim(SCOPE, "live") == "simulator"
    assert again.claim(ScopeId("other"), "live") == "live"
    again.close()


def test_a_file_that_is_no_database_is_unreadable_and_moves_aside(path: Path) -> None:
    """The guard goes on with a new file; the old one and its log stay for a person to look at."""
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 500)
    wal = path.with_name(path.name + "-wal")
    wal.write_bytes(b"log")
    with pytest.raises(StoreUnreadable):
        PositionStore.open(path, rng=random.Random(1))
    with pytest.raises(StoreUnreadable):
        read_status(path, dry_run=False)
    moved = move_aside(path, NOW)
    assert moved.name == f"{path.name}.unreadable-{int(NOW)}"
    assert moved.read_bytes().startswith(b"not a database")
    assert not wal.exists()
    opened = PositionStore.open(path, rng=random.Random(1))
    assert opened.is_new
    opened.close()
    assert move_aside(path, NOW).name == f"{path.name}.unreadable-{int(NOW)}-1"


def test_what_cannot_be_moved_aside_is_an_error(tmp_path: Path) -> None:
    """The caller learns that there is no place for a new database."""
    with pytest.raises(StoreError, match="moving"):
        move_aside(tmp_path / "absent" / "guard.sqlite3", NOW)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE scope_stage_state SET locks = 'no json'",
        "UPDATE scope_stage_state SET locks = '[{}]'",
        "UPDATE scope_stage_state SET streaks = '[{\"stage\": 9}]'",
        "UPDATE incidents SET source = 'SIDEWAYS'",
        "UPDATE incidents SET dry_run = 0, is_followup = 7",
        "UPDATE close_targets SET may_remain = 'a lot'",
        "UPDATE scope_state SET last_trusted = '{}'",
        "UPDATE scope_state SET last_trusted = '[]'",
        "UPDATE scope_state SET flow_ids = '[\"absent\"]'",
        "UPDATE position_snapshots SET side = 'UP'",
        "UPDATE row_results SET side = 'UP'",
    ],
)
def test_a_value_that_makes_no_sense_makes_the_file_unreadable(
    store: PositionStore, path: Path, damage: str
) -> None:
    """A guess in place of a damaged stage or target could leave positions open."""
    at = point(NOW, results=((key("BTCUSDT"), 1.0),))
    read = reading(NOW, positions=(position("BTCUSDT"),))
    memory = ScopeMemory(
        scope=SCOPE, history=History.of((at,)), last_trusted=read, results=at.results
    )
    store.commit(Records(readings=(judged(read, at),), scopes=(memory,), books=(STATE,)))
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(damage)
    connection.close()
    with pytest.raises(StoreUnreadable, match="makes no sense"):
        restarted(path)


def test_an_outcome_that_makes_no_sense_is_unreadable(store: PositionStore, path: Path) -> None:
    """An order whose outcome cannot be read must not pass for unsent."""
    store.commit(Records(orders=(order(1),)))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE orders SET outcome = 'PERHAPS'")
    connection.close()
    with pytest.raises(StoreUnreadable, match="PERHAPS"):
        store.order_records(INCIDENT.incident_id)


def test_damaged_pages_are_unreadable(store: PositionStore, path: Path) -> None:
    """Corruption behind an intact header is found when the memory is loaded, not skipped."""
    books = tuple(replace(STATE, name=BookName(f"book_{n}"), incident=None) for n in range(200))
    store.commit(Records(books=books))
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(StoreUnreadable):
        restarted(path)


def test_a_file_that_lost_a_table_is_unreadable(store: PositionStore, path: Path) -> None:
    """An empty answer from a missing table would be unknown taken for zero."""
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TABLE incidents")
    connection.close()
    with pytest.raises(StoreUnreadable, match="incidents"):
        restarted(path)


def test_a_newer_file_and_a_foreign_one_are_left_alone(path: Path, tmp_path: Path) -> None:
    """Neither is damaged: moving them aside would lose a memory that another program can read."""
    reopen(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match="version") as newer:
        restarted(path)
    with pytest.raises(StoreError, match="version"):
        read_status(path, dry_run=False)
    foreign = tmp_path / "foreign.sqlite3"
    connection = sqlite3.connect(foreign, isolation_level=None)
    connection.execute("CREATE TABLE trades (id INTEGER)")
    connection.close()
    with pytest.raises(StoreError, match="something else") as other:
        restarted(foreign)
    assert not isinstance(newer.value, StoreUnreadable)
    assert not isinstance(other.value, StoreUnreadable)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file in the way of the state directory is reported, not raised as something else."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="state"):
        PositionStore.open(tmp_path / "state" / "guard.sqlite3", rng=random.Random(1))


def test_a_foreign_lock_fails_the_commit_and_nothing_else(
    store: PositionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone's sqlite3 shell in a transaction: this decision is not stored, the next one is."""
    store._connection.execute("PRAGMA busy_timeout = 1")
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.commit(Records(books=(STATE,)))
    foreign.execute("ROLLBACK")
    foreign.close()
    store.commit(Records(books=(STATE,)))
    assert restarted(path).books == (STATE,)


def test_decisions_wait_for_the_disk_and_readings_do_not(store: PositionStore, path: Path) -> None:
    """A power cut may cost a few readings, never a decision: 2 is FULL, 1 is NORMAL."""

    def level() -> object:
        return store._connection.execute("PRAGMA synchronous").fetchone()[0]

    store.commit(Records(books=(STATE,)))
    assert level() == 2
    store.commit(Records(scopes=(ScopeMemory(scope=SCOPE),)))
    assert level() == 1
    store.commit(Records(orders=(order(1),)))
    assert level() == 2
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


@pytest.mark.parametrize(
    "query",
    [
        store_history.LOAD_POINTS,
        store_history.LOAD_ROWS,
        store_history.LOAD_NOT_HELD,
        store_history.LOAD_RESULTS,
        position_store.LOAD_TARGETS,
        position_store.LOAD_OPEN_INCIDENTS,
        position_store.LOAD_ORDERS,
        position_store.LOAD_RECENT_ORDERS,
        position_store.LOAD_FLOW,
        store_views.LATEST_SNAPSHOT,
        store_views.LATEST_POINT,
        store_views.RECENT_ACTIONS,
        store_history._FORGET_POINT,
        store_history._COMPLETE_ROW,
    ],
)
def test_queries_use_an_index(store: PositionStore, path: Path, query: str) -> None:
    """A tick must not slow down as the file grows: every table is searched, none is scanned."""
    plan = store._connection.execute(f"EXPLAIN QUERY PLAN {query}", (0,) * query.count("?"))
    steps = [row["detail"] for row in plan.fetchall()]
    searches = ("SEARCH", "USE TEMP B-TREE", "SCALAR SUBQUERY")
    assert all(step.startswith(searches) for step in steps), steps


def test_pending_requests_read_the_unanswered_only(store: PositionStore) -> None:
    """Asked every second: the index holds nothing but what waits for an answer."""
    plan = store._connection.execute(f"EXPLAIN QUERY PLAN {position_store.PENDING_REQUESTS}")
    assert "operator_requests_pending" in plan.fetchall()[0]["detail"]
