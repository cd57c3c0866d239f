"""The lock document for other machines: the newest, never for longer than it may be believed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from clock import SystemClock
from lock_mirror import LAST_WITHIN_S, NAME, LockMirror
from logger import Logger
from memory import AuditEntry, Records
from operator_switch import KEY_LOCK, RedisSwitch
from recorder import Recorder
from simulator.virtual_time import LoopClock
from supervision import Supervisor
from tests.redis_server import free_port, redis_server
from tests.virtual_house import EPOCH, Logbook, play
from trading_lock import HEARTBEAT_MAX_AGE_S, LockFile, LockWriteError
from troubles import Troubles


@dataclass(kw_only=True)
class FarEnd:
    """Where the documents go: what arrived, with its time to live, and how it fails or lags."""

    arrived: list[tuple[str, float]] = field(default_factory=list)
    why: str = ""
    lag_s: float = 0.0

    async def __call__(self, text: str, *, ttl_s: float) -> str:
        """Take one document."""
        await asyncio.sleep(self.lag_s)
        if not self.why:
            self.arrived.append((text, ttl_s))
        return self.why


@dataclass(frozen=True, kw_only=True)
class House:
    """A mirror at work and what was told of it."""

    mirror: LockMirror
    far: FarEnd
    told: list[str]


def tell(story: Callable[[House], Awaitable[None]]) -> None:
    """Run a story in virtual time with the mirror's task beside it."""

    async def whole() -> None:
        clock, far, told = LoopClock(epoch=EPOCH), FarEnd(), list[str]()
        log = cast("Logger", Logbook())
        troubles = Troubles(clock=clock, log=log, dry_run=False)

        def record(records: Records) -> None:
            told.extend(entry.event for entry in records.audits)

        troubles.record = record
        mirror = LockMirror(far, clock=clock, troubles=troubles)
        supervisor = Supervisor(
            recorder=cast("Recorder", None), clock=clock, log=log, dry_run=False
        )
        working = asyncio.ensure_future(
            supervisor.repeat(NAME, mirror.step, until=asyncio.Event(), bell=mirror.bell)
        )
        try:
            await story(House(mirror=mirror, far=far, told=told))
        finally:
            working.cancel()

    play(whole)


def test_each_document_is_sent_once_with_its_time_to_live() -> None:
    """A heartbeat later it is gone, unless another came."""

    async def story(house: House) -> None:
        for sequence in (1, 2):
            house.mirror.show(f"document {sequence}", sequence)
            await asyncio.sleep(10)
        assert [text for text, _ in house.far.arrived] == ["document 1", "document 2"]
        assert all(
            ttl == pytest.approx(HEARTBEAT_MAX_AGE_S, abs=0.1) for _, ttl in house.far.arrived
        )
        assert house.told == []

    tell(story)


def test_a_slow_redis_gets_the_newest_and_skips_what_was_overtaken() -> None:
    """Nothing piles up, and an older document never follows a newer one."""

    async def story(house: House) -> None:
        house.far.lag_s = 4.0
        house.mirror.show("first", 1)
        await asyncio.sleep(1)
        for sequence in (2, 4, 3):
            house.mirror.show(f"document {sequence}", sequence)
        await asyncio.sleep(20)
        assert [text for text, _ in house.far.arrived] == ["first", "document 4"]

    tell(story)


def test_a_failing_mirror_is_told_once_and_so_is_its_end() -> None:
    """It is tried again every second; what follows a failure is sent twice: the lost may land."""

    async def story(house: House) -> None:
        house.far.why = "nothing listens there"
        house.mirror.show("a", 1)
        await asyncio.sleep(20)
        assert house.told == [f"{NAME}_trouble"]
        house.mirror.show("b", 2)
        await asyncio.sleep(5)
        house.far.why = ""
        await asyncio.sleep(5)
        assert house.told == [f"{NAME}_trouble", f"{NAME}_recovered"]
        assert [text for text, _ in house.far.arrived] == ["b", "b"]
        assert all(54 < ttl <= 56 for _, ttl in house.far.arrived)

    tell(story)


def test_a_document_that_is_too_old_is_not_sent_any_more() -> None:
    """A guard that has hung for a minute does not say `free` to other machines."""

    async def story(house: House) -> None:
        house.far.why = "down"
        house.mirror.show("a", 1)
        await asyncio.sleep(HEARTBEAT_MAX_AGE_S + 1)
        house.far.why = ""
        await asyncio.sleep(60)
        assert house.far.arrived == []

    tell(story)


@pytest.mark.parametrize(
    ("lag_s", "arrived", "told"),
    [(0.5 * LAST_WITHIN_S, ["last"], []), (60.0, [], [f"{NAME}_trouble"])],
)
def test_the_last_document_is_sent_within_a_short_time(
    lag_s: float, arrived: list[str], told: list[str]
) -> None:
    """The end of the guard does not wait for a Redis that hangs."""

    async def story(house: House) -> None:
        await asyncio.sleep(1)
        house.far.lag_s = lag_s
        loop = asyncio.get_running_loop()
        house.mirror.show("last", 1)
        await asyncio.sleep(0)
        began = loop.time()
        await house.mirror.finish()
        assert loop.time() - began <= LAST_WITHIN_S
        assert ([text for text, _ in house.far.arrived][:1], house.told) == (arrived, told)

    tell(story)


def test_the_last_document_is_repeated_after_one_that_was_cut_off() -> None:
    """The end of the guard cuts off what is on its way; if that arrives late, it must not stand."""

    async def story() -> None:
        clock, far = LoopClock(epoch=EPOCH), FarEnd(lag_s=10)
        troubles = Troubles(clock=clock, log=cast("Logger", Logbook()), dry_run=False)
        mirror = LockMirror(far, clock=clock, troubles=troubles)
        mirror.show("older", 1)
        await clock.sleep(0)
        sending = asyncio.ensure_future(mirror.step())
        await clock.sleep(1)
        sending.cancel()
        far.lag_s = 0.0
        mirror.show("newer", 2)
        await clock.sleep(0)
        await mirror.finish()
        assert [text for text, _ in far.arrived] == ["newer", "newer"]

    play(story)


def test_a_document_from_another_thread_after_the_end_is_dropped() -> None:
    """A disk that hung lets go of its thread when the loop has ended."""
    kept: list[LockMirror] = []

    async def story(house: House) -> None:
        kept.append(house.mirror)

    tell(story)
    late = threading.Thread(target=kept[0].show, args=("late", 1))
    late.start()
    late.join()


async def test_file_and_mirror_hold_the_same_document(tmp_path: Path) -> None:
    """Byte for byte, in a real Redis; a file that cannot be written does not keep it from there."""
    clock, recorded = SystemClock(), list[AuditEntry]()
    troubles = Troubles(clock=clock, log=cast("Logger", Logbook()), dry_run=False)
    troubles.record = lambda records: recorded.extend(records.audits)
    async with redis_server(tmp_path, port=free_port()) as server:
        switch = RedisSwitch(server.place, clock=clock)
        mirror = LockMirror(switch.mirror, clock=clock, troubles=troubles)
        path = tmp_path / "lock" / "trading_lock.json"
        file = LockFile(path, pid=1, host="here", mirror=mirror.show)
        await asyncio.to_thread(file.replace, {"reason": "free"})
        await mirror.finish()
        assert await server.cli("GET", KEY_LOCK) == path.read_text().strip()
        assert 0 < int(await server.cli("PTTL", KEY_LOCK)) <= HEARTBEAT_MAX_AGE_S * 1000
        path.unlink()
        path.parent.rmdir()
        path.parent.write_text("no folder")
        with pytest.raises(LockWriteError):
            await asyncio.to_thread(file.replace, {"reason": "operator_kill"})
        await mirror.finish()
        assert json.loads(await server.cli("GET", KEY_LOCK))["reason"] == "operator_kill"
        await switch.aclose()
    assert recorded == []
