"""Two venues: whatever one of them does, the other is read, closed, restarted and stopped on time.

Each account holds 10,000 and 100 SOL short from 100: each 1 that SOL rises costs 1 % there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from configuration.schema import STAGE_DEFAULTS
from lock_document import LockMode
from model import BookName, ScopeId, Stage
from policy import BookPolicy
from tests.memory_venue import MemoryVenue, Planned, Trouble
from tests.virtual_house import House, play

pytestmark = pytest.mark.usefixtures("without_fsync")

OTHER = ScopeId("binance_sub1_futures")
OTHER_BOOK = BookPolicy(name=BookName(OTHER), scopes=(OTHER,), stages=STAGE_DEFAULTS)


@dataclass(kw_only=True)
class Street:
    """A house whose guard watches a second account beside its own."""

    house: House
    second: House

    @staticmethod
    def in_folder(folder: Path) -> Street:
        """Two exchanges with an account each, one clock, one guard."""
        house = House(folder=folder)
        house.policy = replace(house.policy, books=(*house.policy.books, OTHER_BOOK))
        second = House(folder=folder, clock=house.clock)
        house.others[OTHER] = MemoryVenue(exchange=second.exchange, clock=house.clock, scope=OTHER)
        return Street(house=house, second=second)

    @property
    def other(self) -> MemoryVenue:
        """The second venue."""
        return self.house.others[OTHER]


def everything(venue: MemoryVenue) -> Planned:
    """No answer to anything."""
    return venue.plan("", Trouble.HANG)


def reads(venue: MemoryVenue) -> Planned:
    """No answer to reads."""
    return venue.plan("fetch", Trouble.HANG)


def orders(venue: MemoryVenue) -> Planned:
    """No answer to orders and cancels."""
    return venue.plan("submit", Trouble.HANG)


def positions(venue: MemoryVenue) -> Planned:
    """No answer to what orders are sized from."""
    return venue.plan("fetch_positions|fetch_orders", Trouble.HANG)


TROUBLES = pytest.mark.parametrize("trouble", [everything, reads, orders, positions])


@TROUBLES
def test_both_fall_and_one_hangs(tmp_path: Path, trouble: Callable[[MemoryVenue], Planned]) -> None:
    """The other one's close is as fast as alone, and its incident ends."""

    async def alone(folder: Path) -> float:
        house = House(folder=folder)
        async with house.guard():
            await house.wait(35)
            house.prices(SOL=105)
            return await house.until(lambda: house.held("SOL") == -50, within_s=20, step_s=0.01)

    async def story(folder: Path) -> float:
        street = Street.in_folder(folder)
        house = street.house
        async with house.guard() as guard:
            await house.wait(35)
            trouble(street.other)
            house.prices(SOL=105)
            street.second.prices(SOL=105)
            took = await house.until(lambda: house.held("SOL") == -50, within_s=20, step_s=0.01)
            await house.until(lambda: guard.book.incident is None, within_s=10)
            street.other.calm()
            await house.until(lambda: street.second.held("SOL") == -50, within_s=60)
            return took

    for name in ("alone", "both"):
        (tmp_path / name).mkdir()
    assert play(lambda: story(tmp_path / "both")) <= play(lambda: alone(tmp_path / "alone")) + 0.02


def test_readings_of_one_keep_their_pace_while_the_other_hangs(tmp_path: Path) -> None:
    """10 s apart, although each reading of the other takes its whole deadline."""

    async def story() -> None:
        street = Street.in_folder(tmp_path)
        house = street.house
        async with house.guard() as guard:
            await house.wait(35)
            everything(street.other)
            await house.wait(200)
            times = [call.at for call in house.venue.called("fetch_reading")]
            assert {round(b - a) for a, b in pairwise(times)} == {10}
            locks = guard.guardian.memory.book(OTHER_BOOK.name).locks
            assert [lock.mode for lock in locks] == [LockMode.BLIND]
            assert guard.book.locks == ()

    play(story)


def test_a_start_waits_for_no_venue_but_its_own(tmp_path: Path) -> None:
    """One never answers its greeting: the other is guarded from its second reading on."""

    async def story() -> None:
        street = Street.in_folder(tmp_path)
        house = street.house
        everything(street.other)
        async with house.guard():
            await house.until(
                lambda: len(house.venue.called("fetch_reading")) == 1, within_s=1, step_s=0.01
            )
            await house.wait(10)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=20)

    play(story)


def test_a_restart_takes_up_each_incident_for_itself(tmp_path: Path) -> None:
    """Both were open; one venue is down by now, the other's close goes on at once."""

    async def story() -> None:
        street = Street.in_folder(tmp_path)
        house = street.house
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            street.other.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            street.second.prices(SOL=105)
            await house.until(
                lambda: bool(house.venue.sent) and bool(street.other.sent), within_s=30
            )
            await guard.crash()
        house.venue.calm()
        street.other.calm()
        everything(street.other)
        async with house.guard() as guard:
            await house.until(lambda: house.held("SOL") == -50, within_s=5)
            await house.until(lambda: guard.book.incident is None, within_s=15)
            other = guard.guardian.memory.book(OTHER_BOOK.name)
            assert other.incident is not None
            assert other.stage is Stage.REDUCED_TOP_RISK

    play(story)


@pytest.mark.parametrize(("trouble", "within_s"), [(reads, 0.1), (orders, 10.2)])
def test_a_stop_finishes_every_round_and_waits_for_no_read(
    tmp_path: Path, trouble: Callable[[MemoryVenue], Planned], within_s: float
) -> None:
    """The round of one is finished and recorded; an order that hangs at the other ends in 10 s."""

    async def story() -> None:
        street = Street.in_folder(tmp_path)
        house = street.house
        async with house.guard() as guard:
            await house.wait(15)
            trouble(street.other)
            house.prices(SOL=105)
            street.second.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.01)
            began = house.clock.now()
            await guard.stop()
            assert house.clock.now() - began <= within_s
            assert house.held("SOL") == -50
            incident = guard.book.incident
            assert incident is not None
            records = await guard.store.order_records(incident.incident_id)
            assert [record.outcome is not None for record in records] == [True]

    play(story)
