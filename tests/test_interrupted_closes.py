"""A guard that is killed while it closes, when only the lock file knows of it.

Equity is 10,000, 100 SOL and 5,000 XRP are short and 0.05 BTC long: each 1 that SOL rises costs
1 %. Stage 2 fires at 7 % within 15 minutes after two readings and closes both shorts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from configuration.schema import STAGE_DEFAULTS
from lock_document import LockMode
from model import Stage
from policy import Policy
from tests.memory_venue import Trouble
from tests.virtual_house import Guard, House, play, policy

pytestmark = pytest.mark.usefixtures("without_fsync")

REST_S = 300.0


def short_rests() -> Policy:
    """The default policy with cooldowns of 5 minutes."""
    plain = policy()
    stages = tuple(replace(stage, cooldown_s=REST_S) for stage in STAGE_DEFAULTS)
    return replace(plain, books=tuple(replace(book, stages=stages) for book in plain.books))


async def killed_while_closing(
    house: House, *, sol: float, lost: str, ends: Callable[[Guard], bool] | None = None
) -> None:
    """The disk takes nothing, both rise, the closes of `lost` vanish, and the power goes.

    It goes once `ends` holds, else with the first close that arrives.
    """
    async with house.guard() as guard:
        await house.wait(15)
        guard.store.is_down = True
        if lost:
            house.venue.plan("submit_close", Trouble.LOST_BEFORE, symbol=lost)
        house.prices(SOL=sol, XRP="0.51")
        await house.until(
            lambda: ends(guard) if ends else house.held("XRP") != -5000, within_s=40, step_s=0.01
        )
        await guard.crash()
    house.venue.calm()


def bots_wait_for_a_reset(house: House) -> bool:
    """Whether the halt of a lost state stands."""
    return any(
        entry["mode"] == LockMode.HALT and entry["reason"] == "state_lost"
        for entry in house.lock()["locks"]
    )


def test_a_stage_2_that_was_killed_closes_what_it_left_once_it_is_confirmed_anew(
    tmp_path: Path,
) -> None:
    """Nobody knows that it ended, so it does not rest: SOL goes as well, and XRP only once."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests())
        await killed_while_closing(house, sol=108, lost="SOL")
        assert [house.held(base) for base in ("SOL", "XRP")] == [Decimal(-100), Decimal(0)]
        async with house.guard() as guard:
            assert (guard.book.stage, guard.book.incident) == (Stage.DOMINANT_CLOSED, None)
            await house.until(lambda: house.held("SOL") == 0, within_s=20)
            await house.until(lambda: guard.book.incident is None, within_s=15)
            assert guard.book.cooldowns[1] >= house.clock.now() + REST_S - 15
            assert bots_wait_for_a_reset(house)
        assert len(house.audit("trigger")) == 1
        assert house.held("BTC") == Decimal("0.05")
        sold = [(fill["symbol"], fill["quantity"]) for fill in house.fills()]
        assert sorted(sold) == [("SOLUSDT", "100.00"), ("XRPUSDT", "5000.0")]

    play(story)


def test_a_stage_2_that_ended_before_it_was_killed_rests(tmp_path: Path) -> None:
    """The lock says that its close was confirmed: the loss that it answered fires nothing anew."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests())
        await killed_while_closing(
            house, sol=108, lost="", ends=lambda guard: guard.book.cooldowns[1] > 0
        )
        house.bot_order("SOLUSDT", "SELL", quantity=10)
        async with house.guard() as guard:
            await house.wait(60)
            assert (guard.book.stage, guard.book.incident) == (Stage.DOMINANT_CLOSED, None)
            assert house.held("SOL") == -10
            assert bots_wait_for_a_reset(house)
        (refused,) = (one for one in house.audit("trigger_refused") if one.stage == 2)
        assert "its cooldown is not over" in refused.message

    play(story)


def test_a_stage_1_that_was_killed_halves_nothing_twice_and_stage_2_stands_by(
    tmp_path: Path,
) -> None:
    """XRP is halved and SOL perhaps: stage 1 rests, and a further fall closes what is left."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests())
        await killed_while_closing(house, sol=105, lost="SOL")
        assert [house.held(base) for base in ("SOL", "XRP")] == [Decimal(-100), Decimal(-2500)]
        async with house.guard() as guard:
            await house.wait(60)
            assert guard.book.stage is Stage.REDUCED_TOP_RISK
            assert [house.held(base) for base in ("SOL", "XRP")] == [Decimal(-100), Decimal(-2500)]
            house.prices(SOL=108)
            await house.until(lambda: house.held("SOL") == house.held("XRP") == 0, within_s=20)

    play(story)


def test_without_its_database_an_interrupted_stage_2_acts_on_a_new_loss_alone(
    tmp_path: Path,
) -> None:
    """The peak is gone with the file: nothing more is closed until 7 % are lost once more."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests())
        await killed_while_closing(house, sol=108, lost="SOL")
        for file in house.folder.glob("killswitch.db*"):
            file.unlink()
        async with house.guard() as guard:
            await house.wait(60)
            assert guard.book.stage is Stage.DOMINANT_CLOSED
            assert house.held("SOL") == -100
            house.prices(SOL=115)
            await house.until(lambda: house.held("SOL") == 0, within_s=20)

    play(story)
