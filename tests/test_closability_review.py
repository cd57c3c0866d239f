"""Every ten minutes: could all be closed? Each change is told once, and nobody waits for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from closability_review import EVERY_S
from memory import Severity
from model import Stage
from tests.memory_venue import Trouble
from tests.virtual_house import House, play

pytestmark = pytest.mark.usefixtures("without_fsync")
A_WHILE_S = EVERY_S + 30.0
"""Longer than from one review to the next, with the time that it takes."""


def change_market(house: House, base: str, **changes: object) -> None:
    """Let the venue change what it accepts on a market."""
    symbol = f"{base}USDT"
    market = replace(house.exchange.markets[symbol], **changes)  # type: ignore[arg-type]
    house.exchange.add_market(market)


def unlist(house: House, base: str) -> None:
    """Take a market off the list."""
    change_market(house, base, is_listed=False)


def told(house: House) -> list[str]:
    """What was told of closability, oldest first."""
    return [event for event in house.events() if event.startswith("closability")]


def test_a_sound_account_is_told_nothing_of(tmp_path: Path) -> None:
    """Three positions that the venue closes at once."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(A_WHILE_S)
        assert told(house) == []
        assert len(house.venue.called("fetch_orders")) == 1

    play(story)


def test_what_hinders_a_close_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    """Three reviews with a symbol that is not listed are one warning; listed again, one word."""

    async def story() -> None:
        house = House(folder=tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(3 * A_WHILE_S)
            assert told(house) == ["closability_in_doubt"]
            (entry,) = house.audit("closability_in_doubt")
            assert entry.severity is Severity.WARNING
            assert entry.message.startswith("SOLUSDT SHORT is not in the venue's market list")
            assert entry.message.endswith("-> `check` says what to do")
            assert len(house.log.of("closability_in_doubt")) == 1
            change_market(house, "SOL", is_listed=True)
            await house.wait(A_WHILE_S)
            assert told(house)[-1] == "closability_restored"

    play(story)


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    """A second matter beside one that is known; the first is not repeated."""

    async def story() -> None:
        house = House(folder=tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
            house.prices(DOGE="0.1")
            house.bot_order(
                "DOGEUSDT", "BUY", type="STOP_MARKET", quantity=100, trigger_price="0.2"
            )
            await house.wait(A_WHILE_S)
        first, second = house.audit("closability_in_doubt")
        assert "SOLUSDT" in first.message
        assert "DOGEUSDT holds nothing" in second.message and "SOLUSDT" not in second.message

    play(story)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    """Five are spelt out, the rest is counted: seven stops on seven flat symbols."""

    async def story() -> None:
        house = House(folder=tmp_path)
        for base in ("ADA", "AVAX", "BCH", "DOGE", "DOT", "LINK", "LTC"):
            house.prices(**{base: 10})
            house.bot_order(f"{base}USDT", "BUY", type="STOP_MARKET", quantity=10, trigger_price=20)
        async with house.guard():
            await house.wait(A_WHILE_S)
        (entry,) = house.audit("closability_in_doubt")
        assert entry.message.count("holds nothing") == 5
        assert "; and 2 more -> " in entry.message

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.HANG, Trouble.BUG])
def test_orders_that_cannot_be_read_are_neither_finding_nor_all_clear(
    tmp_path: Path, trouble: Trouble
) -> None:
    """What was told stands until a review that could see everything."""

    async def story() -> None:
        house = House(folder=tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
            change_market(house, "SOL", is_listed=True)
            house.venue.plan("fetch_orders", trouble)
            await house.wait(2 * A_WHILE_S)
            assert told(house) == ["closability_in_doubt"]
            house.venue.calm()
            await house.wait(A_WHILE_S)
            assert told(house) == ["closability_in_doubt", "closability_restored"]

    play(story)


def test_a_review_that_hangs_delays_no_reading_and_no_close(tmp_path: Path) -> None:
    """The list of orders never comes; the crash in that minute is answered as ever."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            house.venue.plan("fetch_orders", Trouble.HANG, times=1)
            await house.until(lambda: bool(house.venue.called("fetch_orders")), within_s=A_WHILE_S)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == Decimal(-50), within_s=20)

    play(story)


def test_nothing_is_reviewed_while_something_is_being_closed(tmp_path: Path) -> None:
    """The venue's allowance belongs to the closes: no list is read but by the executor."""

    async def story() -> None:
        house = House(folder=tmp_path)
        unlist(house, "XRP")
        house.venue.plan("submit_close", Trouble.LOST_BEFORE)
        async with house.guard() as guard:
            await house.wait(30)
            house.prices(SOL=113)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            await house.wait(2 * A_WHILE_S)
            assert guard.book.incident is not None
            assert guard.book.incident.stage is Stage.ALL_CLOSED
        assert told(house) == []

    play(story)


def test_a_stop_ends_a_review_that_hangs(tmp_path: Path) -> None:
    """Nobody waits for it."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            house.venue.plan("fetch_orders", Trouble.HANG)
            await house.until(lambda: bool(house.venue.called("fetch_orders")), within_s=A_WHILE_S)
            began = house.clock.monotonic()
            await guard.stop()
            assert house.clock.monotonic() - began < 5.0

    play(story)


def test_a_dry_run_reviews_as_well(tmp_path: Path) -> None:
    """It sends nothing, and this sends nothing."""

    async def story() -> None:
        house = House(folder=tmp_path)
        house.policy = replace(house.policy, dry_run=True)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
        assert house.audit("closability_in_doubt", dry_run=True)
        assert house.venue.sent == []

    play(story)
