"""Every ten minutes: could all be closed? Each change is told once, and nobody waits for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from calm_check import EVERY_S, INSPECT_EVERY_S
from inspection import Presence, Unwatched
from memory import Severity
from model import Stage
from tests.memory_venue import KEY, Trouble
from tests.virtual_house import House, play, policy

pytestmark = pytest.mark.usefixtures("without_fsync")
A_WHILE_S = EVERY_S + 30.0
"""Longer than from one review to the next, with the time that it takes."""


def slow(folder: Path, **given: Any) -> House:
    """A house whose guard looks twice a minute: hours pass here for the sake of few reviews."""
    looks = policy(poll_s=30.0, max_reading_age_s=65.0)
    return House(folder=folder, policy=looks, request_poll_s=10.0, **given)


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
    return [event for event in house.events() if event.startswith("check_")]


def test_a_sound_account_is_told_nothing_of(tmp_path: Path) -> None:
    """Three positions that the venue closes at once."""

    async def story() -> None:
        house = slow(tmp_path)
        async with house.guard():
            await house.wait(A_WHILE_S)
        assert told(house) == []
        assert len(house.venue.called("fetch_orders")) == 1

    play(story)


def test_what_hinders_a_close_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    """Three reviews with a symbol that is not listed are one warning; listed again, one word."""

    async def story() -> None:
        house = slow(tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(3 * A_WHILE_S)
            assert told(house) == ["check_warning"]
            (entry,) = house.audit("check_warning")
            assert entry.severity is Severity.WARNING
            assert entry.message.startswith("SOLUSDT SHORT is not in the venue's market list")
            assert entry.message.endswith("-> `check` says what to do")
            assert len(house.log.of("check_warning")) == 1
            change_market(house, "SOL", is_listed=True)
            await house.wait(A_WHILE_S)
            assert told(house)[-1] == "check_clear"

    play(story)


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    """A second matter beside one that is known; the first is not repeated."""

    async def story() -> None:
        house = slow(tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
            house.prices(DOGE="0.1")
            house.bot_order(
                "DOGEUSDT", "BUY", type="STOP_MARKET", quantity=100, trigger_price="0.2"
            )
            await house.wait(A_WHILE_S)
        first, second = house.audit("check_warning")
        assert "SOLUSDT" in first.message
        assert "DOGEUSDT holds nothing" in second.message and "SOLUSDT" not in second.message

    play(story)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    """Five are spelt out, the rest is counted: seven stops on seven flat symbols."""

    async def story() -> None:
        house = slow(tmp_path)
        for base in ("ADA", "AVAX", "BCH", "DOGE", "DOT", "LINK", "LTC"):
            house.prices(**{base: 10})
            house.bot_order(f"{base}USDT", "BUY", type="STOP_MARKET", quantity=10, trigger_price=20)
        async with house.guard():
            await house.wait(A_WHILE_S)
        (entry,) = house.audit("check_warning")
        assert entry.message.count("holds nothing") == 5
        assert "; and 2 more -> " in entry.message

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.HANG, Trouble.BUG])
def test_orders_that_cannot_be_read_are_neither_finding_nor_all_clear(
    tmp_path: Path, trouble: Trouble
) -> None:
    """What was told stands until a review that could see everything."""

    async def story() -> None:
        house = slow(tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
            change_market(house, "SOL", is_listed=True)
            house.venue.plan("fetch_orders", trouble)
            await house.wait(2 * A_WHILE_S)
            assert told(house) == ["check_warning"]
            house.venue.calm()
            await house.wait(A_WHILE_S)
            assert told(house) == ["check_warning", "check_clear"]

    play(story)


def test_a_check_that_hangs_delays_no_reading_and_no_close(tmp_path: Path) -> None:
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
            await house.wait(EVERY_S - 30)
            house.prices(SOL=113)
            await house.until(lambda: guard.book.incident is not None, within_s=25)
            await house.wait(60)
            assert guard.book.incident is not None
            assert guard.book.incident.stage is Stage.ALL_CLOSED
        assert told(house) == []

    play(story)


def test_an_account_that_is_not_seen_is_not_judged_by_what_was_seen_before(tmp_path: Path) -> None:
    """What it held an hour ago may be closed, and its orders with it."""

    async def story() -> None:
        house = slow(tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(30)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
            await house.wait(2 * A_WHILE_S)
            assert told(house) == []
            house.venue.calm()
            await house.wait(A_WHILE_S)
            assert told(house) == ["check_warning"]

    play(story)


def test_a_stop_ends_a_check_that_hangs(tmp_path: Path) -> None:
    """Nobody waits for it."""

    async def story() -> None:
        house = slow(tmp_path)
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
        house = slow(tmp_path)
        house.policy = replace(house.policy, dry_run=True)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
        assert house.audit("check_warning", dry_run=True)
        assert house.venue.sent == []

    play(story)


# --- what is shown, and what the venue tells --------------------------------------------------


def shown(house: House, kind: str) -> list[str]:
    """What the lock document says under details of this kind."""
    details = house.lock()["details"]
    return [line for name, line in details.items() if name.startswith(kind)]


def test_what_holds_stands_in_the_lock_document_until_it_is_over(tmp_path: Path) -> None:
    """Told once, shown all the time: status reads it there."""

    async def story() -> None:
        house = slow(tmp_path)
        unlist(house, "SOL")
        async with house.guard():
            await house.wait(A_WHILE_S)
            (line,) = shown(house, "hinders_")
            assert line.startswith("binance_futures: SOLUSDT SHORT is not in the venue's market")
            await house.wait(A_WHILE_S)
            assert shown(house, "hinders_") == [line]
            change_market(house, "SOL", is_listed=True)
            await house.wait(A_WHILE_S)
            assert shown(house, "hinders_") == []

    play(story)


def test_the_venue_is_asked_about_the_key_once_an_hour(tmp_path: Path) -> None:
    """A right that is taken away is told within the hour, a right to withdraw is not its matter."""

    async def story() -> None:
        house = slow(tmp_path, seed={"can_withdraw": True})
        async with house.guard():
            await house.wait(A_WHILE_S)
            assert told(house) == []
            house.exchange.account(KEY).can_read_transfers = False
            await house.wait(INSPECT_EVERY_S + A_WHILE_S)
            (entry,) = house.audit("check_warning")
            assert "a withdrawal would look like a loss" in entry.message
            assert len(house.venue.called("inspect")) == 2

    play(story)


def test_a_venue_that_tells_nothing_is_asked_again_the_next_time(tmp_path: Path) -> None:
    """And what it does not tell is no finding."""

    async def story() -> None:
        house = slow(tmp_path)
        house.venue.plan("inspect", Trouble.UNAVAILABLE)
        async with house.guard():
            await house.wait(3 * A_WHILE_S)
        assert told(house) == []
        assert len(house.venue.called("inspect")) == 3

    play(story)


def test_what_of_the_venue_is_not_watched_is_told_once_and_shown(tmp_path: Path) -> None:
    """As a wallet beside the account that is not empty."""

    async def story() -> None:
        house = slow(tmp_path)
        house.venue.elsewhere = (
            Unwatched(part="coin-margined futures", presence=Presence.HOLDS, detail="ETH"),
        )
        async with house.guard():
            await house.wait(3 * A_WHILE_S)
            (entry,) = house.audit("not_watched")
            assert "coin-margined futures (ETH)" in entry.message
            assert shown(house, "not_watched_") == [f"binance_futures: {entry.message}"]
        assert told(house) == []

    play(story)
