"""An outside address is asked while every account is seen, and never while one is not."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from commands.alerting import Alerts
from decision import Decision
from errors import Unavailable
from heartbeat import Heartbeat, HttpPing, Ping
from logger import Logger
from policy import Policy
from recorder import Recorder
from redaction import NOTHING_HIDDEN, Redactor
from supervision import Supervisor
from tests.memory_venue import Trouble
from tests.virtual_house import House, play
from tests.webhook import SECRET_PATH, webhook
from troubles import Troubles

EVERY_S = 60.0


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of heartbeats need no disk that is safe from power cuts; the files are real."""
    monkeypatch.setattr("trading_lock.os.fsync", lambda _descriptor: None)


def pinged(house: House, ping: Ping) -> list[Troubles]:
    """Let the guards of a house ping; what fails of each, as they are made."""
    made: list[Troubles] = []

    def make(of: Policy, recorder: Recorder, troubles: Troubles) -> Alerts:
        made.append(troubles)
        log = cast("Logger", house.log)
        return Alerts(
            desk=None,
            heartbeat=Heartbeat(
                ping,
                policy=of,
                every_s=EVERY_S,
                is_in_trouble=lambda: troubles.stands("store", "lock", "alerts"),
                clock=house.clock,
                supervisor=Supervisor(
                    recorder=recorder, clock=house.clock, log=log, dry_run=of.dry_run
                ),
                log=log,
            ),
        )

    house.make_alerts = make
    return made


class Counter:
    """Counts the pings; may fail or take its time."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.at: list[float] = []
        self.takes_s = 0.0
        self.fails = False

    async def __call__(self) -> None:
        """Take one ping."""
        self.at.append(self.house.clock.monotonic())
        await self.house.clock.sleep(self.takes_s)
        if self.fails:
            raise Unavailable("the address answers 500")


def test_a_guard_that_sees_its_account_pings_at_its_pace(tmp_path: Path) -> None:
    """Ticks come every 10 s; of ten minutes there are about ten pings, a minute or more apart."""

    async def story() -> None:
        house = House(folder=tmp_path)
        counter = Counter(house)
        pinged(house, counter)
        async with house.guard():
            await house.wait(600)
        assert 9 <= len(counter.at) <= 11
        gaps = [late - early for early, late in pairwise(counter.at)]
        assert min(gaps) >= EVERY_S

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.HANG, Trouble.GLITCH])
def test_a_guard_that_does_not_see_is_not_alive(tmp_path: Path, trouble: Trouble) -> None:
    """A reading that fails, hangs or is in doubt: no ping until one is trusted again."""

    async def story() -> None:
        house = House(folder=tmp_path)
        counter = Counter(house)
        pinged(house, counter)
        async with house.guard():
            await house.wait(100)
            before = len(counter.at)
            house.venue.plan("fetch_reading", trouble)
            await house.wait(105)
            assert len(counter.at) == before
            house.venue.calm()
            await house.wait(120)
            assert len(counter.at) > before

    play(story)


@pytest.mark.parametrize("name", ["store", "lock", "alerts"])
def test_a_guard_in_trouble_is_not_alive(tmp_path: Path, name: str) -> None:
    """Where no alert arrives any more, the silence of the heartbeat is what still tells."""

    async def story() -> None:
        house = House(folder=tmp_path)
        counter = Counter(house)
        made = pinged(house, counter)
        async with house.guard():
            await house.wait(100)
            (troubles,), before = made, len(counter.at)
            troubles.begin(name, "out of order")
            await house.wait(120)
            assert len(counter.at) == before
            troubles.end(name)
            await house.wait(120)
            assert len(counter.at) > before

    play(story)


def test_a_ping_that_fails_is_told_in_the_log_and_goes_on(tmp_path: Path) -> None:
    """One line each, which the log itself keeps from repeating."""

    async def story() -> None:
        house = House(folder=tmp_path)
        counter = Counter(house)
        counter.fails = True
        pinged(house, counter)
        async with house.guard():
            await house.wait(200)
        assert len(counter.at) >= 3
        assert house.log.of("heartbeat_failed")[0] == {"why": "the address answers 500"}

    play(story)


def test_a_ping_that_hangs_changes_no_decision_and_is_alone(tmp_path: Path) -> None:
    """The same decisions with and without; never two at once."""

    async def story(folder: Path, *, is_pinging: bool) -> list[Decision]:
        house = House(folder=folder)
        decisions: list[Decision] = []
        house.on_decision = decisions.append
        counter = Counter(house)
        counter.takes_s = 25.0
        if is_pinging:
            pinged(house, counter)
        async with house.guard():
            await house.wait(60)
            house.prices(SOL=105)
            await house.wait(120)
        assert bool(counter.at) is is_pinging
        return decisions

    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    without = play(lambda: story(tmp_path / "without", is_pinging=False))
    assert play(lambda: story(tmp_path / "with", is_pinging=True)) == without


async def test_the_address_is_asked_by_get_on_a_thread_that_nobody_waits_for() -> None:
    """A real request; the thread is one that the interpreter leaves behind."""
    async with webhook() as hook:
        await HttpPing(hook.ping_address, redactor=NOTHING_HIDDEN)()
        assert hook.pings == 1
        thread = next(one for one in threading.enumerate() if one.name == "heartbeat")
        assert thread.daemon


async def test_what_goes_wrong_is_said_without_the_address() -> None:
    """A refusal, a closed port and a name that is none: no part of the address in the reason."""
    async with webhook(status=500) as hook:
        refused = hook.ping_address
        with pytest.raises(Unavailable, match="answers 500") as caught:
            await HttpPing(refused, redactor=Redactor((refused,)))()
    assert SECRET_PATH not in str(caught.value)
    for url in (refused, f"http://no host/{SECRET_PATH}"):
        with pytest.raises(Unavailable) as caught:
            await HttpPing(url, redactor=Redactor((url,)))()
        assert SECRET_PATH not in str(caught.value)
        assert str(caught.value)


async def test_an_end_does_not_wait_for_a_ping() -> None:
    """Closing gives it up; the address still hangs."""
    async with webhook(status=0) as hook:
        ping = asyncio.ensure_future(HttpPing(hook.ping_address, redactor=NOTHING_HIDDEN)())
        await hook.until_waiting(1)
        ping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ping
