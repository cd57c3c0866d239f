"""The loop's way to the store: every answer comes from its thread, and no write is lost."""

from __future__ import annotations

import asyncio
import gc
import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from attempts import Missed, attempt
from errors import StoreError, StoreUnreadable
from memory import AuditEntry, BookMemory, Memory, Records, RequestAnswer
from model import BookName, IncidentId, Stage
from store.access import ThreadedStore
from store.views import read_status

NOW = 1_800_000_000.0
BOOK = BookMemory(name=BookName("venue_futures"), stage=Stage.ALL_CLOSED)


async def threaded(path: Path) -> ThreadedStore:
    """The store of the daemon."""
    return await ThreadedStore.open(path, rng=random.Random(1))


def said(event: str) -> Records:
    """A commit that can be recognised."""
    return Records(audits=(AuditEntry(at=NOW, scope="*", event=event, message="."),))


def events(path: Path) -> list[str]:
    """What was recorded, newest first."""
    return [entry.event for entry in read_status(path, dry_run=False).actions]


async def test_every_answer_of_the_store_comes_through(tmp_path: Path) -> None:
    """What is asked on the loop is answered from the thread, also after a second close."""
    path = tmp_path / "guard.sqlite3"
    store = await threaded(path)
    assert store.is_new
    assert await store.load_memory(dry_run=False, now=NOW) == Memory()
    await store.commit(Records(books=(BOOK,)))
    assert await store.load_memory(dry_run=False, now=NOW) == Memory(books=(BOOK,))
    assert not await store.has_open_incident(False)
    assert await store.order_records(IncidentId("none")) == ()
    number = await store.add_request(at=NOW, actor="ann", command="reset")
    (request,) = await store.pending_requests()
    assert request.request_id == number
    assert await store.answer(number) is None
    answer = RequestAnswer(request_id=number, at=NOW, accepted=True, message="done")
    await store.commit(Records(answers=(answer,)))
    assert await store.answer(number) == answer
    tag = await store.instance_tag()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError):
        await store.commit(Records(books=(BOOK,)))
    again = await threaded(path)
    assert not again.is_new
    assert await again.instance_tag() == tag
    await again.aclose()


async def test_a_write_that_nobody_waits_for_still_happens(tmp_path: Path) -> None:
    """Closing starts at the deadline; the record of the decision follows, in its order."""
    path = tmp_path / "guard.sqlite3"
    store = await threaded(path)
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)

    hanging = asyncio.ensure_future(store._run(hang))
    await begun.wait()
    for event in ("first", "second"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await store.commit(said(event))
    go_on.set()
    await hanging
    await store.commit(said("third"))
    assert events(path) == ["third", "second", "first"]
    await store.aclose()


async def test_how_an_abandoned_commit_ended_can_be_seen(tmp_path: Path) -> None:
    """The caller that gave up learns of the failure later, and of the recovery."""
    path = tmp_path / "guard.sqlite3"
    store = await threaded(path)
    await store._run(lambda: store._store._connection.execute("PRAGMA busy_timeout = 1"))
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.commit(said("first"))
    await store._run(lambda: None)
    assert "locked" in str(store.failure)
    with pytest.raises(StoreError, match="locked"):
        await store.commit(said("second"))
    foreign.execute("ROLLBACK")
    foreign.close()
    await store.commit(said("third"))
    assert store.failure is None
    assert events(path) == ["third"]
    await store.aclose()


async def test_an_abandoned_commit_that_fails_is_told_once(tmp_path: Path) -> None:
    """`failure` tells it; the loop does not complain of an exception that nobody fetched."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
    store = await threaded(tmp_path / "guard.sqlite3")
    await store._run(store._store.close)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.commit(said("first"))
    for _ in range(3):
        await store._run(lambda: None)
    gc.collect()
    assert store.failure is not None
    assert complaints == []
    await store.aclose()


async def test_a_damaged_file_is_reported_from_the_thread(tmp_path: Path) -> None:
    """The thread ends and the caller can move the file aside."""
    path = tmp_path / "guard.sqlite3"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnreadable):
        await threaded(path)
    for thread in threading.enumerate():
        if thread.name.startswith("store"):
            thread.join(10)
            assert not thread.is_alive()


async def test_a_disk_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is left to the end of the process; SQLite survives that."""
    monkeypatch.setattr("store.access.CLOSE_WITHIN_S", 0.01)
    path = tmp_path / "guard.sqlite3"
    store = await threaded(path)
    await store.commit(said("before"))
    go_on = threading.Event()
    hanging = asyncio.ensure_future(store._run(lambda: go_on.wait(10)))
    await asyncio.sleep(0)
    await store.aclose()
    assert not hanging.done()
    with pytest.raises(StoreError, match="closed"):
        await store.commit(said("after"))
    assert events(path) == ["before"]
    go_on.set()
    assert await hanging


async def test_everything_happens_on_one_thread_of_its_own(tmp_path: Path) -> None:
    """The loop's thread never waits for a disk."""
    store = await threaded(tmp_path / "guard.sqlite3")
    names = {await store._run(lambda: threading.current_thread().name) for _ in range(5)}
    assert names == {"store"}
    await store.aclose()


async def test_what_is_asked_again_and_again_does_not_pile_up_before_a_disk_that_hangs(
    tmp_path: Path,
) -> None:
    """The operator's requests are looked for every second, however long it hangs."""
    store = await threaded(tmp_path / "guard.sqlite3")
    number = await store.add_request(at=NOW, actor="ann", command="reset")
    disk = threading.Event()
    store._thread.submit(disk.wait)
    for _ in range(20):
        assert isinstance(
            await attempt(store.pending_requests(), within_s=0.001, what="it"), Missed
        )
    assert store._thread._jobs.qsize() == 1
    disk.set()
    assert [request.request_id for request in await store.pending_requests()] == [number]
    await store.aclose()
