"""What the file keeps: the right rows, nothing that memory needs is lost, in small steps."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aging import HISTORY_S, RAW_S
from drawdown import find_peak
from errors import StoreError
from flows import rescale
from memory import AuditEntry, Records, RowResults
from model import ScopeId
from store import retention
from store.access import ThreadedStore
from store.schema import LOG_LIMIT_BYTES
from store.views import read_status
from tests.old_files import (
    DAY,
    HELD,
    HOUR,
    MINUTE,
    NOW,
    SCOPE,
    Run,
    every,
    fill,
    key,
    rows,
    times_of,
)
from trust import move_times


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test lies."""
    return tmp_path / "killswitch.db"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's own clock is where the newest reading is as soon as a second has passed."""
    monkeypatch.setattr(retention, "SPEED", 1e9)


def wave(at: float) -> float:
    """A nav of which every minute and every hour has one best, somewhere in its middle."""
    return 100.0 + (at // 7.0 * 37.0) % 101.0 / 10.0


def best_of_each(times: list[float], span_s: float) -> list[float]:
    """The time of the largest nav in each span, the later of equals."""
    return [
        max(group, key=lambda at: (wave(at), at))
        for _, group in groupby(times, key=lambda at: at // span_s)
    ]


def run_on(path: Path, *, hours: float = 100.0) -> Run:
    """A run that loads a file, looks once, and has had all the time it needs to thin it."""
    run = Run(path=path)
    run.look(NOW, wave(NOW))
    run.age_whole()
    run.thin(hours=hours, step_s=HOUR / 60)
    return run


# --- which rows stay ----------------------------------------------------------------------------


def test_raw_rows_stay_for_a_day_and_then_the_best_of_each_minute(path: Path) -> None:
    """Three days at 20 s: 24 h whole, before that one reading a minute with its positions."""
    times = every(20.0, since=NOW - 3 * DAY)
    fill(path, times, nav=wave)
    run_on(path).close()
    raw_from = (NOW - RAW_S) // MINUTE * MINUTE
    old = [at for at in times if at < raw_from]
    expected = [*best_of_each(old, MINUTE), *(at for at in times if at >= raw_from), NOW]
    assert times_of(path) == expected
    assert times_of(path, "position_snapshots") == expected
    assert raw_from <= NOW - DAY
    assert rows(path, "SELECT count(*) FROM position_snapshots") == [(len(HELD) * len(expected),)]


def test_old_rows_become_one_an_hour_and_old_positions_go(path: Path) -> None:
    """Positions: a minute for 7 days, an hour for 90, then none. Equity: a minute for 90 days."""
    times = [
        *every(30.0, since=NOW - 100 * DAY, until=NOW - 100 * DAY + 5 * HOUR),
        *every(30.0, since=NOW - 20 * DAY, until=NOW - 20 * DAY + 5 * HOUR),
        *every(30.0, since=NOW - 6 * DAY, until=NOW - 6 * DAY + 5 * HOUR),
    ]
    fill(path, times, nav=wave)
    run_on(path, hours=101 * 24 / retention.SPEED + 1).close()
    ancient, old, recent = (
        [at for at in times if low <= at < low + DAY]
        for low in (NOW - 100 * DAY, NOW - 20 * DAY, NOW - 6 * DAY)
    )
    minutes = [*best_of_each(old, MINUTE), *best_of_each(recent, MINUTE)]
    assert times_of(path) == [*best_of_each(ancient, HOUR), *minutes, NOW]
    assert times_of(path, "position_snapshots") == [
        *best_of_each(old, HOUR),
        *best_of_each(recent, MINUTE),
        NOW,
    ]


def test_a_minute_that_was_only_doubted_keeps_its_last_doubt(path: Path) -> None:
    """Doubts are no points; beside a trusted reading they need not stay."""
    old = NOW - 2 * DAY
    fill(
        path,
        every(10.0, since=old, until=old + 3 * MINUTE),
        nav=lambda at: None if at >= old + MINUTE or at == old else 100.0,
    )
    run_on(path).close()
    assert times_of(path)[:-1] == [old + 50.0, old + 110.0, old + 170.0]


def test_a_point_that_was_taken_back_stands_for_nothing(path: Path) -> None:
    """A clock that was set moved the points away; their old rows go, here the whole minute."""
    old = NOW - 2 * DAY
    fill(path, every(10.0, since=old, until=old + 2 * MINUTE))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE snapshots SET nav = NULL WHERE ts < ?", (old + MINUTE,))
    run_on(path).close()
    assert times_of(path)[:-1] == [old + 110.0]


def test_every_scope_is_thinned_and_one_that_is_not_watched_is_left_alone(path: Path) -> None:
    """Of a scope without a point in memory nothing says how old its rows are."""
    other, gone = ScopeId("bybit_futures"), ScopeId("old_futures")
    times = every(30.0, since=NOW - 30 * HOUR, until=NOW - 29 * HOUR)
    for scope in (SCOPE, other, gone):
        fill(path, times, scope=scope)
    fill(path, [NOW], scope=other)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE snapshots SET ts = ts - 400000 WHERE scope = ?", (gone,))
    run = Run(path=path)
    run.look(NOW)
    # Memory of the other scope has not grown old, so only what lies before it could go.
    run.age_whole()
    run.thin(hours=48)
    run.close()
    counts = rows(path, "SELECT scope, count(*) FROM snapshots GROUP BY scope")
    assert dict(counts) == {SCOPE: 60 + 1, other: 120 + 1, gone: 120}


# --- what memory needs --------------------------------------------------------------------------


def test_a_run_and_a_restarted_run_remember_the_same_and_give_the_same_drawdowns(
    path: Path,
) -> None:
    """Over 26 h with thinning all the way: every point, its results, and every window's peak."""
    run = Run(path=path, now=NOW - 26 * HOUR)
    for number, at in enumerate(every(30.0, since=NOW - 26 * HOUR)):
        run.look(at, wave(at), held=HELD if number // 40 % 2 else HELD[:1])
        if number % 10 == 0:
            run.thin()
    before = run.memory
    run.restart()
    assert list(run.memory.history.points()) == list(before.history.points())
    assert replace(run.memory, history=before.history) == before
    assert len(times_of(path)) == pytest.approx(RAW_S / 30.0 + (26 * HOUR - RAW_S) / 60.0, abs=5)
    for window_s in (900.0, HOUR, 4 * HOUR, DAY):
        peaks = [
            find_peak(memory.history, window_s=window_s, not_before=0.0, now=NOW)
            for memory in (before, run.memory)
        ]
        assert peaks[0] == peaks[1] is not None
    run.close()


def test_a_start_shares_the_minutes_that_the_run_has_shared(path: Path) -> None:
    """65 minutes at 10 s, ending in the middle of a minute: results are equal point by point."""
    run = Run(path=path)
    for at in every(10.0, since=NOW + 5.0, until=NOW + 65 * MINUTE + 50.0):
        run.look(at, wave(at))
    before = list(run.memory.history.points())
    run.restart()
    assert list(run.memory.history.points()) == before
    # 394 readings: the five minutes that ended before 5:35 have one result each, the rest their own
    assert len({point.results for point in before}) == 394 - 30 + 5
    run.close()


def test_a_late_flow_brings_no_thinned_row_back(path: Path) -> None:
    """A withdrawal that is learnt of 25 h late re-scales what stays; the file does not grow."""
    run = Run(path=path, now=NOW - 27 * HOUR)
    for at in every(30.0, since=NOW - 27 * HOUR):
        run.look(at, wave(at))
    run.thin(hours=2)
    before = times_of(path)
    assert len([at for at in before if at < NOW - RAW_S - HOUR]) == pytest.approx(115, abs=2)
    run.memory = rescale(run.memory, from_at=NOW - 25 * HOUR, factor=0.5, unexplained=0.0)
    run.commit(Records())
    assert times_of(path) == before
    assert rows(path, "SELECT ts, nav FROM snapshots ORDER BY ts") == [
        (at, wave(at) * (2.0 if at >= NOW - 25 * HOUR else 1.0)) for at in before
    ]
    remembered = list(run.memory.history.points())
    run.restart()
    assert list(run.memory.history.points()) == remembered
    run.close()


def test_only_what_memory_has_thinned_is_thinned_on_disk(path: Path) -> None:
    """A file of an earlier version: a minute that memory still holds whole stays whole."""
    times = every(20.0, since=NOW - 3 * DAY)
    fill(path, times, nav=wave)
    run = Run(path=path)
    run.look(NOW, wave(NOW))
    run.thin(hours=100)
    held = {point.at for point in run.memory.history.points()}
    stays = set(times_of(path))
    assert held <= stays
    assert len([at for at in times if at >= NOW - HISTORY_S]) > len(held), "memory began to"
    run.restart()
    assert {point.at for point in run.memory.history.points()} == held
    run.close()


SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")


@st.composite
def careers(draw: st.DrawFn) -> list[tuple[float, tuple[str, ...], RowResults]]:
    """What was held and made over some days, with rows that close, earn late and are forgotten."""
    made: dict[str, float] = {}
    at = NOW - draw(st.sampled_from((3.0, 6.0))) * DAY
    steps: list[tuple[float, tuple[str, ...], RowResults]] = []
    for _ in range(draw(st.integers(2, 12))):
        at += draw(st.sampled_from((7.0, 31.0, HOUR, 9 * HOUR)))
        held = tuple(sorted(draw(st.sets(st.sampled_from(SYMBOLS)))))
        for symbol in {*held, *draw(st.sets(st.sampled_from(SYMBOLS), max_size=1))}:
            made[symbol] = float(draw(st.integers(-9, 9)))
        for symbol in draw(st.sets(st.sampled_from(SYMBOLS), max_size=1)):
            if symbol not in held:
                made.pop(symbol, None)
        results = tuple((key(symbol), made[symbol]) for symbol in sorted(made))
        steps.append((at, held, results))
    return steps


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(career=careers(), last=st.sampled_from((NOW - 60.0, NOW)))
def test_what_closed_rows_made_is_never_lost(
    tmp_path_factory: pytest.TempPathFactory,
    at_once: None,
    career: list[tuple[float, tuple[str, ...], RowResults]],
    last: float,
) -> None:
    """Whatever opened, closed, earned late or was forgotten: a restart knows what it made."""
    run = Run(path=tmp_path_factory.mktemp("career") / "killswitch.db", now=career[0][0])
    for number, (at, held, results) in enumerate((*career, (last + DAY, (), career[-1][2]))):
        run.look(at, 100.0, held=held, made=results)
        if number % 3 == 0:
            run.thin()
    run.thin(hours=0.1)
    before = [point for point in run.memory.history.points() if point.at >= run.now - HISTORY_S]
    results = run.memory.results
    run.restart()
    assert list(run.memory.history.points()) == before
    assert run.memory.results == results
    run.close()


def test_rows_of_closed_positions_do_not_add_up(path: Path) -> None:
    """A bot that closes every half hour for ten days leaves two days of rows, and one more."""
    run = Run(path=path, now=NOW - 10 * DAY)
    for number, at in enumerate(every(900.0, since=NOW - 10 * DAY)):
        made = ((key("SOLUSDT"), float(number)),)
        run.look(at, 100.0, held=("SOLUSDT",) if number % 2 else (), made=made)
        run.thin(hours=0.25)
    run.thin(hours=20)
    run.close()
    found = rows(path, "SELECT ts FROM position_snapshots WHERE mark_price IS NULL ORDER BY ts")
    recent = [at for (at,) in found if at >= NOW - HISTORY_S - HOUR]
    assert len(found) - len(recent) == 1
    assert len(recent) == pytest.approx(96, abs=4)


def test_of_a_row_that_was_forgotten_nothing_stays(path: Path) -> None:
    """Closed, and two days later dropped from memory: its last row goes with those before it."""
    run = Run(path=path, now=NOW - 5 * DAY)
    made = ((key("SOLUSDT"), -5.0),)
    run.look(NOW - 5 * DAY, held=("SOLUSDT",), made=made)
    run.look(NOW - 5 * DAY + 30.0, held=(), made=made)
    run.look(NOW - 3 * DAY, held=(), made=())
    assert len(rows(path, "SELECT ts FROM position_snapshots WHERE mark_price IS NULL")) == 2
    run.look(NOW, held=(), made=())
    run.thin(hours=5)
    run.close()
    assert rows(path, "SELECT ts FROM position_snapshots WHERE mark_price IS NULL") == []


# --- clocks -------------------------------------------------------------------------------------


def a_past(path: Path) -> None:
    """An hour 40 days ago, an hour 6 days ago, and the last 30 h; two readings a minute."""
    times = [
        *every(30.0, since=NOW - 40 * DAY, until=NOW - 40 * DAY + HOUR),
        *every(30.0, since=NOW - 6 * DAY, until=NOW - 6 * DAY + HOUR),
        *every(30.0, since=NOW - 30 * HOUR),
    ]
    fill(path, times, nav=wave)
    run_on(path).close()


def test_a_clock_that_is_a_year_ahead_deletes_a_day_an_hour(path: Path) -> None:
    """A wrong date at a start does not delete the history on the spot: it can still be put right.

    After one hour of running the file's own clock has moved by a day, so what was raw became one
    a minute, and everything else is as it was.
    """
    a_past(path)
    before = times_of(path)
    positions = times_of(path, "position_snapshots")
    run = Run(path=path, now=NOW + 365 * DAY)
    run.look(NOW + 365 * DAY)
    run.look(NOW + 365 * DAY + 10.0)
    run.thin(hours=1)
    run.close()
    kept = set(times_of(path))
    raw = [at for at in before if at >= NOW - RAW_S]
    assert {at for at in before if at < NOW - RAW_S} <= kept
    assert len(kept & set(raw)) >= len(raw) / 2, "one a minute of two"
    assert {at for at in positions if at < NOW - RAW_S} <= set(times_of(path, "position_snapshots"))
    again = Run(path=path, now=NOW + 2 * HOUR)
    assert find_peak(again.memory.history, window_s=DAY, not_before=0.0, now=NOW + 2 * HOUR), (
        "with the date put right the peak is found again"
    )
    again.close()


def test_a_clock_that_jumps_within_a_run_moves_the_files_clock_by_minutes(path: Path) -> None:
    """Between two steps lies a minute at most, whatever the wall clock says."""
    a_past(path)
    before = times_of(path)
    run = Run(path=path)
    run.store.thin(NOW)
    for number in range(1, 4):
        run.look(NOW + 365 * DAY + number)
        run.thin()
    run.close()
    lost = sorted(set(before) - set(times_of(path)))
    # The minute and the two seconds that count are 25 of the file's own: one of two readings goes.
    assert len(lost) == pytest.approx(25, abs=2)
    assert lost[-1] - lost[0] <= 25 * MINUTE


@pytest.mark.parametrize("by_s", [2 * HOUR, -2 * HOUR, 40.0, -25 * HOUR])
def test_a_clock_that_was_set_keeps_what_rows_had_made_at_every_peak(
    path: Path, by_s: float
) -> None:
    """All points move; after a restart a stage blames whom it would have blamed without one.

    Times coincide with those of before (readings every 30 s) or fall between them (40 s).
    """
    run = Run(path=path)
    for number, at in enumerate(every(30.0, since=NOW, until=NOW + 5 * HOUR)):
        held = ("AUSDT", *(("BUSDT",) if number < 400 else ()))
        made = ((key("AUSDT"), float(-number)), (key("BUSDT"), float(min(number, 400))))
        run.look(at, wave(at) - number / 10.0, held=held, made=made)
    run.memory = move_times(run.memory, by_s=by_s)
    last = max(point.at for point in run.memory.history.points())
    run.look(last + 10.0, 50.0, held=("AUSDT",), made=run.memory.results)
    before = run.memory
    run.restart()
    assert [point.at for point in run.memory.history.points()] == [
        point.at for point in before.history.points()
    ]
    seen: set[float] = set()
    for window_s in every(150.0, since=0.0, until=5 * HOUR):
        peaks = [
            find_peak(memory.history, window_s=window_s, not_before=0.0, now=run.now)
            for memory in (before, run.memory)
        ]
        assert peaks[0] == peaks[1]
        seen.update(peak.at for peak in peaks if peak is not None)
    assert len(seen) > 20
    run.close()


def test_what_a_clock_set_back_leaves_ahead_is_swept_away(path: Path) -> None:
    """The moved points' old rows would be shown as the latest reading for as long as the jump."""
    run = Run(path=path)
    for at in every(30.0, since=NOW, until=NOW + HOUR):
        run.look(at, held=HELD if at < NOW + 30 * MINUTE else HELD[:1])
    run.memory = move_times(run.memory, by_s=-2 * HOUR)
    run.commit(Records())
    run.look(NOW - HOUR + 10.0, held=HELD[:1])
    run.thin()
    run.close()
    assert max(times_of(path)) == NOW - HOUR + 10.0
    assert max(times_of(path, "position_snapshots")) == NOW - HOUR + 10.0
    assert read_status(path, dry_run=False).scopes[0].at == NOW - HOUR + 10.0


def test_where_a_clock_was_set_back_to_rows_are_thinned_once_more(path: Path) -> None:
    """An hour that is lived through twice does not stay raw for ever."""
    fill(path, every(30.0, since=NOW - 3 * DAY, until=NOW), nav=wave)
    run_on(path).close()
    run = Run(path=path)
    run.memory = move_times(run.memory, by_s=-40 * HOUR)
    run.commit(Records())
    begin = NOW - 40 * HOUR + 60.0
    for at in every(30.0, since=begin, until=begin + HOUR):
        run.look(at, wave(at))
        run.thin()
    lived_twice = "SELECT count(*) FROM snapshots WHERE ts >= ? AND ts < ?"
    assert rows(path, lived_twice, begin, begin + HOUR) == [(120,)]
    run.look(NOW - 10 * HOUR, wave(NOW))
    run.age_whole()
    run.thin(hours=5)
    run.close()
    assert rows(path, lived_twice, begin, begin + HOUR) == [(60,)]


# --- small steps --------------------------------------------------------------------------------


def changes(run: Run) -> int:
    """Rows that the run's connection has written or deleted so far."""
    return run.store._connection.total_changes


def test_a_step_is_bounded_in_rows_and_all_steps_together_do_it(path: Path, at_once: None) -> None:
    """Ten positions every 3 s, a day of it due: no step deletes more than it may."""
    held = tuple(f"{letter}USDT" for letter in "ABCDEFGHIJ")
    fill(path, every(3.0, since=NOW - 60 * HOUR, until=NOW - 50 * HOUR), held=held)
    run = Run(path=path)
    run.look(NOW)
    most, steps = 0, 0
    for passed in range(1000):
        before = changes(run)
        steps += run.store.thin(NOW + passed)
        most = max(most, changes(run) - before)
    run.close()
    a_reading_and_its_places = 1 + len(held) + 8
    assert retention.STEP_ROWS < most <= retention.STEP_ROWS + a_reading_and_its_places
    # 12,000 readings with 10 positions each, of which 600 stay
    assert steps >= 11_400 * 11 / most
    assert len(times_of(path)) == 600 + 1


def test_a_minute_with_more_rows_than_a_step_may_delete_is_done_in_several(path: Path) -> None:
    """200 positions read every second: 12,000 rows a minute, and the same reading stays."""
    held = tuple(f"S{number}USDT" for number in range(200))
    old = NOW - 3 * DAY
    fill(path, every(1.0, since=old, until=old + MINUTE), nav=wave, held=held)
    run = run_on(path)
    run.close()
    assert times_of(path)[:-1] == best_of_each(every(1.0, since=old, until=old + MINUTE), MINUTE)


def test_more_readings_in_one_minute_than_a_step_looks_at(path: Path) -> None:
    """Not even a file that someone filled stops the work."""
    old = NOW - 3 * DAY
    times = every(0.1, since=old, until=old + MINUTE - 1)
    assert len(times) > retention.LOOK_ROWS
    fill(path, times, nav=wave, held=())
    run_on(path).close()
    assert times_of(path)[:-1] == best_of_each(times, MINUTE)


def test_where_nothing_is_due_nothing_is_written(path: Path) -> None:
    """A poll of 60 s leaves nothing to thin: no transaction, but the place is kept each hour."""
    fill(path, every(60.0, since=NOW - 3 * DAY), held=())
    run = run_on(path)
    before = changes(run)
    assert not run.store.thin(NOW + 101 * HOUR)
    assert changes(run) == before
    run.restart()
    asked: list[str] = []
    run.store._connection.set_trace_callback(asked.append)
    run.thin()
    assert len([query for query in asked if "FROM snapshots" in query]) <= 2
    run.close()


def test_a_step_does_not_wait_for_somebody_elses_lock(path: Path, at_once: None) -> None:
    """A person's shell in a transaction: the step is put off, and no decision queues behind it."""
    fill(path, every(20.0, since=NOW - 3 * DAY, until=NOW - 60 * HOUR))
    run = Run(path=path)
    run.look(NOW)
    run.store.thin(NOW)
    assert run.store.thin(NOW + 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        count = len(times_of(path))
        assert not run.store.thin(NOW + 2)
        foreign.execute("ROLLBACK")
    assert len(times_of(path)) == count
    assert run.store._connection.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
    run.thin(hours=4)
    assert len(times_of(path)) < count
    run.close()


def test_a_step_that_fails_is_done_again(
    path: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle: nothing of the step stays, and nothing is skipped later."""
    times = every(20.0, since=NOW - 3 * DAY, until=NOW - 60 * HOUR)
    fill(path, times, nav=wave)
    run = Run(path=path)
    run.look(NOW)
    run.store.thin(NOW)
    for passed, statement in enumerate(("DROP_READING", "KEEP_PLACE", "DROP_READING"), start=1):
        with monkeypatch.context() as broken:
            broken.setattr(retention, statement, "DELETE FROM absent WHERE ?1 = ?2")
            with pytest.raises(StoreError, match="absent"):
                run.store.thin(NOW + passed)
    assert len(times_of(path)) == len(times) + 1
    run.thin(hours=1)
    run.close()
    assert times_of(path)[:-1] == best_of_each(times, MINUTE)


def test_a_decision_waits_for_one_step_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that arrives during a step comes right after it, before any further step."""
    order: list[str] = []
    is_in_step, may_go_on = threading.Event(), threading.Event()

    class Slow(retention.Retention):
        """A step that takes as long as the test wants."""

        def step(self, *, now: float, histories: object) -> bool:
            """Wait, and note it."""
            is_in_step.set()
            may_go_on.wait(10)
            order.append("step")
            return True

    monkeypatch.setattr("position_store.Retention", Slow)

    async def story() -> None:
        store = await ThreadedStore.open(path, rng=random.Random(1))
        await store.load_memory(dry_run=False, now=NOW)
        first = asyncio.create_task(store.thin(NOW))
        await asyncio.to_thread(is_in_step.wait, 10)
        audit = AuditEntry(at=NOW, scope="*", event="trigger", message=".")
        decision = asyncio.create_task(store.commit(Records(audits=(audit,))))
        decision.add_done_callback(lambda _: order.append("decision"))
        await asyncio.sleep(0)
        second = asyncio.create_task(store.thin(NOW))
        await asyncio.sleep(0)
        assert order == []
        may_go_on.set()
        await asyncio.gather(first, decision, second)
        await store.aclose()

    asyncio.run(story())
    assert order.index("decision") <= 2
    assert order[0] == "step"
    assert [event.event for event in read_status(path, dry_run=False).actions] == ["trigger"]


# --- size ---------------------------------------------------------------------------------------


def pages(path: Path) -> int:
    """The size of the file in pages."""
    return int(rows(path, "PRAGMA page_count")[0][0])


def test_freed_pages_are_used_again(path: Path) -> None:
    """The file is as large as its largest moment, not as its age: two days, then minutes only."""
    run = Run(path=path, now=NOW)
    sizes: list[int] = []
    for day in range(6):
        begin = NOW + day * DAY
        run.close()
        fill(path, every(20.0, since=begin, until=begin + DAY - 20.0))
        run.now = begin + DAY - 20.0
        run.start()
        run.look(begin + DAY - 20.0)
        run.age_whole()
        run.thin(hours=3)
        sizes.append(pages(path))
    run.close()
    # A day of minutes is a third of a raw one.
    assert sizes[5] - sizes[2] < (sizes[1] - sizes[0]) * 3
    assert sizes[5] < 2.2 * sizes[1]


def test_the_log_shrinks_when_a_reader_that_stayed_has_gone(path: Path) -> None:
    """A shell left in a transaction keeps the log from beginning anew; afterwards it is cut."""
    log = path.with_name(path.name + "-wal")
    run = Run(path=path)
    run.look(NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM snapshots").fetchone()
        at = NOW
        while log.stat().st_size < 2 * LOG_LIMIT_BYTES:
            at += 3.0
            audit = AuditEntry(at=at, scope="*", event="noise", message="x" * 200_000)
            run.store.commit(Records(audits=(audit,)))
    run.look(at + 3.0)
    run.look(at + 6.0)
    assert log.stat().st_size <= LOG_LIMIT_BYTES
    for _ in range(50):
        audit = AuditEntry(at=at, scope="*", event="noise", message="x" * 200_000)
        run.store.commit(Records(audits=(audit,)))
    assert log.stat().st_size <= LOG_LIMIT_BYTES
    run.close()


@pytest.mark.parametrize(
    "query",
    [
        retention.OLDEST_READING,
        retention.LOOK_AT_READINGS,
        retention.LOOK_AT_CARRIERS,
        retention.LOOK_AHEAD,
        retention.DROP_READING,
        retention.DROP_HELD,
        retention.DROP_CARRIER,
    ],
)
def test_what_is_due_is_found_by_an_index(path: Path, query: str) -> None:
    """No step searches the file for its work."""
    run = Run(path=path)
    plan = run.store._connection.execute(f"EXPLAIN QUERY PLAN {query}", (0,) * query.count("?"))
    steps = [row["detail"] for row in plan.fetchall()]
    assert steps
    assert all(step.startswith("SEARCH") for step in steps), steps
    run.close()
