"""What the database keeps of the operator's switch, who may write it, and who reads it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from decision import Observation
from errors import StoreError
from logger import Logger
from memory import Memory, Records
from model import OperatorRequest
from position_store import PositionStore
from recorder import merge_records, split_records
from store.access import ThreadedStore
from store.switch_reader import SwitchReader
from store.views import read_status
from switch_model import (
    SwitchMemory,
    SwitchSeen,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)
from switch_rules import effective
from tests.decision_values import NOON, Guard
from tests.virtual_house import Logbook
from unwritten_log import log_unwritten

NOW = 1_800_000_000.0
RUNNING, PAUSE, HALT, KILL = SwitchState
ANN = "ann@desk"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test lies."""
    return tmp_path / "state" / "guard.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[PositionStore]:
    """A new store."""
    opened = PositionStore.open(path, rng=random.Random(1))
    opened.load_memory(dry_run=False, now=NOW)
    yield opened
    opened.close()


def remembered(path: Path, *, dry_run: bool = False) -> SwitchMemory:
    """What a guard that starts now knows of the switch."""
    opened = PositionStore.open(path, rng=random.Random(2))
    try:
        return opened.load_memory(dry_run=dry_run, now=NOW).switch
    finally:
        opened.close()


def setting(state: SwitchState, revision: int, *, reason: str = "drill") -> SwitchSetting:
    """What Ann set."""
    return SwitchSetting(state=state, since=NOW, actor=ANN, reason=reason, revision=revision)


def change(
    old: SwitchState, new: SwitchState, store: SwitchStore = SwitchStore.LOCAL
) -> SwitchTransition:
    """A change by Ann."""
    return SwitchTransition(at=NOW, old=old, new=new, store=store, actor=ANN, reason="drill")


def tightened(store: PositionStore, state: SwitchState) -> SwitchTransition | None:
    """Ann tightens the local store."""
    return store.set_switch(state, actor=ANN, reason="drill", now=NOW)


def told(path: Path) -> list[tuple[SwitchState, SwitchState, SwitchStore]]:
    """The changes that are recorded, oldest first."""
    found = read_status(path, dry_run=False).transitions
    return [(one.old, one.new, one.store) for one in reversed(found)]


def test_a_new_database_says_running(store: PositionStore, path: Path) -> None:
    """Nobody has set anything, and nothing is recorded."""
    assert remembered(path) == SwitchMemory()
    status = read_status(path, dry_run=False)
    assert (status.switch, status.transitions) == (SwitchMemory(), ())


def test_tightening_writes_row_and_transition_at_once(store: PositionStore, path: Path) -> None:
    """A dry run and a live one obey the same row."""
    assert tightened(store, PAUSE) == change(RUNNING, PAUSE)
    assert tightened(store, KILL) == change(PAUSE, KILL)
    for dry_run in (False, True):
        assert remembered(path, dry_run=dry_run).local == setting(KILL, 2)
        assert read_status(path, dry_run=dry_run).transitions == (
            change(PAUSE, KILL),
            change(RUNNING, PAUSE),
        )


@pytest.mark.parametrize("state", [RUNNING, PAUSE])
def test_it_never_loosens(store: PositionStore, path: Path, state: SwitchState) -> None:
    """That takes a request, with its record."""
    tightened(store, HALT)
    assert tightened(store, state) is None
    assert remembered(path).local == setting(HALT, 1)
    assert told(path) == [(RUNNING, HALT, SwitchStore.LOCAL)]


def test_running_is_nothing_to_tighten_to(store: PositionStore, path: Path) -> None:
    """A new database stays without a row."""
    assert tightened(store, RUNNING) is None
    assert remembered(path) == SwitchMemory()


def test_a_state_that_is_repeated_outvotes_a_loosening_that_has_not_seen_it(
    store: PositionStore, path: Path
) -> None:
    """The guard loosens over revision 1, but Ann said kill again meanwhile: revision 2."""
    tightened(store, KILL)
    assert tightened(store, KILL) is None
    loosened = SwitchMemory(local=setting(RUNNING, 2))
    store.commit(Records(switch=loosened, transitions=(change(KILL, RUNNING),)))
    assert remembered(path).local == setting(KILL, 2)
    assert told(path) == [(RUNNING, KILL, SwitchStore.LOCAL)]


@pytest.mark.parametrize("text", ["Gr\udcf6\udcdfe", "a\x00b", ""])
def test_no_word_beside_it_keeps_a_kill_from_being_set(
    store: PositionStore, path: Path, text: str
) -> None:
    """A terminal of another encoding hands over what is no character; it is shown as ?."""
    assert store.set_switch(KILL, actor=text, reason=text, now=NOW) is not None
    shown = text.replace("\udcf6", "?").replace("\udcdf", "?")
    assert remembered(path).local == replace(setting(KILL, 1, reason=shown), actor=shown)


@pytest.mark.parametrize("state", [HALT, KILL])
def test_a_row_that_was_edited_up_to_the_last_number_is_still_tightened(
    store: PositionStore, path: Path, state: SwitchState
) -> None:
    """Nothing comes after it; what is at least as severe is believed all the same."""
    tightened(store, HALT)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE switch_state SET revision = 9223372036854775807")
        connection.commit()
    tightened(store, state)
    assert remembered(path).local == setting(state, 2**63 - 1)


def test_a_loosening_is_written_over_what_it_has_seen(store: PositionStore, path: Path) -> None:
    """Once: whoever tightens after it is not undone when the same commit is tried again."""
    tightened(store, HALT)
    loosening = Records(
        switch=SwitchMemory(local=setting(RUNNING, 2)), transitions=(change(HALT, RUNNING),)
    )
    store.commit(loosening)
    assert remembered(path).local == setting(RUNNING, 2)
    tightened(store, KILL)
    store.commit(loosening)
    assert remembered(path).local == setting(KILL, 3)
    expected = [(RUNNING, HALT), (HALT, RUNNING), (RUNNING, KILL)]
    assert told(path) == [(*one, SwitchStore.LOCAL) for one in expected]


def test_what_redis_held_is_kept_and_leaves_the_local_row_alone(
    store: PositionStore, path: Path
) -> None:
    """The guard has not seen yet that Ann tightened here as well."""
    tightened(store, KILL)
    redis = SwitchSetting(state=HALT, since=NOW, actor="redis")
    seen = change(RUNNING, HALT, SwitchStore.REDIS)
    store.commit(Records(switch=SwitchMemory(redis=redis), transitions=(seen,)))
    assert remembered(path) == SwitchMemory(local=setting(KILL, 1), redis=redis)
    assert told(path)[-1] == (RUNNING, HALT, SwitchStore.REDIS)


def test_silence_is_not_stored(store: PositionStore, path: Path) -> None:
    """The next run asks for itself."""
    store.commit(Records(switch=SwitchMemory(silent_since=NOW, silent_why="refused")))
    assert remembered(path) == SwitchMemory()


def test_a_state_that_nobody_knows_counts_as_halt(store: PositionStore, path: Path) -> None:
    """Somebody edited the row by hand; the database is not unreadable for that."""
    tightened(store, KILL)
    for text, state in ((" KILL ", KILL), ("stop!", HALT)):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE switch_state SET state = ?", (text,))
        assert remembered(path).local.state is state


def test_a_commit_that_changes_the_switch_waits_for_the_disk() -> None:
    """A power cut must not bring bots back."""
    assert Records(switch=SwitchMemory()).needs_full_sync


async def test_the_daemons_store_tightens_on_its_thread(tmp_path: Path) -> None:
    """What the command asks for comes through, errors included."""
    store = await ThreadedStore.open(tmp_path / "guard.sqlite3", rng=random.Random(1))
    first = await store.set_switch(HALT, actor=ANN, reason="drill", now=NOW)
    assert first == change(RUNNING, HALT)
    memory = await store.load_memory(dry_run=False, now=NOW)
    assert memory == Memory(switch=SwitchMemory(local=setting(HALT, 1)))
    await store.aclose()
    with pytest.raises(StoreError):
        await store.set_switch(KILL, actor=ANN, reason="drill", now=NOW)


@pytest.mark.parametrize("is_tightened", [False, True])
async def test_a_loosening_goes_round_by_the_store(
    store: PositionStore, path: Path, is_tightened: bool
) -> None:
    """Asked, written, read back and believed; unless somebody tightened before it was written."""
    tightened(store, HALT)
    reader = SwitchReader(path)
    guard = Guard()

    async def looked() -> SwitchState:
        seen = SwitchSeen(local=await reader.read())
        guard.settle(Observation(now=NOON, switch=seen))
        return effective(guard.memory.switch)

    assert await looked() is HALT
    number = store.add_request(at=NOW, actor=ANN, command="switch")
    asked = OperatorRequest(
        request_id=number,
        at=NOW,
        actor=ANN,
        command="switch",
        arguments=(("state", "running"),),
        confirmation="",
    )
    decision = guard.ask(1, asked)
    if is_tightened:
        tightened(store, KILL)
    assert await looked() is (KILL if is_tightened else HALT)
    store.commit(decision.records)
    assert await looked() is (KILL if is_tightened else RUNNING)
    answer = store.answer(number)
    assert answer is not None and answer.accepted
    await reader.aclose()


# --- the queue before the store -----------------------------------------------------------------


def test_merged_records_keep_a_loosening_and_what_redis_held_last() -> None:
    """A change in Redis that came while the loosening waited for the disk does not take it back."""
    loosened = Records(
        switch=SwitchMemory(local=setting(RUNNING, 2)), transitions=(change(HALT, RUNNING),)
    )
    redis = SwitchSetting(state=PAUSE, since=NOW, actor="redis")
    seen = Records(
        switch=SwitchMemory(local=setting(HALT, 1), redis=redis),
        transitions=(change(RUNNING, PAUSE, SwitchStore.REDIS),),
    )
    merged = merge_records(loosened, seen, Records())
    assert merged.switch == SwitchMemory(local=setting(RUNNING, 2), redis=redis)
    assert merged.transitions == (*loosened.transitions, *seen.transitions)
    assert merge_records(Records(), *split_records(merged)) == merged


def test_a_switch_that_was_never_written_is_logged() -> None:
    """The last place that can tell of it."""
    log = Logbook()
    redis = SwitchSetting(state=KILL)
    for switch in (SwitchMemory(redis=redis), SwitchMemory(), None):
        log_unwritten(cast(Logger, log), Records(switch=switch))
    assert [(line["local"], line["redis"]) for line in log.of("unwritten_switch")] == [
        ("running", "kill"),
        ("running", None),
    ]


# --- the reader beside it -----------------------------------------------------------------------


async def test_the_reader_sees_each_change_at_once(store: PositionStore, path: Path) -> None:
    """While the guard has the file open, and without waiting for its thread."""
    reader = SwitchReader(path)
    assert await reader.read() == SwitchSetting()
    for number, state in enumerate((PAUSE, HALT, KILL), start=1):
        tightened(store, state)
        assert await reader.read() == setting(state, number)
    await reader.aclose()


async def test_the_reader_does_not_wait_for_a_commit_that_hangs(
    store: PositionStore, path: Path
) -> None:
    """Another hand holds the file for writing: what stands is read."""
    tightened(store, KILL)
    reader = SwitchReader(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await reader.read() == setting(KILL, 1)
        other.execute("ROLLBACK")
    await reader.aclose()


def put_rubbish(path: Path) -> None:
    """A file that is no database."""
    path.parent.mkdir(parents=True)
    path.write_text("no database at all, but long enough to be read as one" * 40)


def remove(path: Path) -> None:
    """The database goes, with its companions."""
    for file in path.parent.iterdir():
        file.unlink()


async def test_what_cannot_be_read_is_unknown_and_comes_back(path: Path) -> None:
    """No file, no database, and then one; one that lies elsewhere is opened anew."""
    reader = SwitchReader(path)
    assert await reader.read() is None
    put_rubbish(path)
    assert await reader.read() is None
    remove(path)
    for state in (PAUSE, KILL):
        fresh = PositionStore.open(path, rng=random.Random(1))
        tightened(fresh, state)
        fresh.close()
        assert await reader.read() == setting(state, 1)
        remove(path)
        assert await reader.read() is None
    await reader.aclose()


async def test_a_table_that_is_gone_is_unknown_and_not_running(
    store: PositionStore, path: Path
) -> None:
    """A damaged file must not pass for a switch that nobody has set."""
    tightened(store, KILL)
    reader = SwitchReader(path)
    assert await reader.read() == setting(KILL, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE switch_state RENAME TO lost")
    assert await reader.read() is None
    await reader.aclose()


async def test_a_read_that_hangs_delays_nobody_and_nothing_piles_up(
    store: PositionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is busy: every further look comes back without an answer, then one with it."""
    monkeypatch.setattr("store.switch_reader.READ_WITHIN_S", 0.01)
    reader = SwitchReader(path)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    busy = loop.run_in_executor(
        reader._thread,
        lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result(),
    )
    assert [await reader.read() for _ in range(3)] == [None, None, None]
    assert reader._thread._jobs.qsize() == 1
    release.set()
    await busy
    monkeypatch.setattr("store.switch_reader.READ_WITHIN_S", 10.0)
    assert await reader.read() == SwitchSetting()
    await reader.aclose()
    await reader.aclose()
    assert await reader.read() is None


def test_parsing_is_generous_about_form_only() -> None:
    """Trimmed, and in any case; anything else is no state."""
    texts = {" Kill\n": KILL, "HALT": HALT, "pause": PAUSE, "\trunning": RUNNING}
    assert {text: SwitchState.parse(text) for text in texts} == texts
    assert [SwitchState.parse(text) for text in ("", "stop", "kill!", "killed")] == [None] * 4
