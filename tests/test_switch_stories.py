"""The operator's switch against a whole guard in virtual time: who is stopped, what is closed.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %. XRP is short and
BTC long beside it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from model import Stage
from switch_model import SwitchState
from tests.memory_redis import MemoryRedis
from tests.virtual_house import House, play

pytestmark = pytest.mark.usefixtures("without_fsync")


def is_flat(house: House) -> bool:
    """Nothing is held and nothing rests."""
    return not any(house.held(base) for base in ("SOL", "XRP", "BTC")) and not house.open_orders


def house_with_redis(folder: Path, value: str | None = "running") -> tuple[House, MemoryRedis]:
    """A house whose switch has both stores."""
    house = House(folder=folder, has_switch=True)
    redis = house.redis = MemoryRedis(clock=house.clock, value=value)
    return house, redis


def test_a_kill_flattens_within_a_second_and_stays(tmp_path: Path) -> None:
    """All is closed and read back, orders are gone, bots are locked until a reset."""

    async def story() -> None:
        house, redis = house_with_redis(tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
            redis.set("kill", actor="phone")
            took = await house.until(lambda: is_flat(house), within_s=5, step_s=0.01)
            assert took <= 1.0
            assert house.lock()["mode"] == "kill"
            assert guard.book.stage is Stage.LOCKDOWN
            await house.until(lambda: guard.book.incident is None, within_s=20)
            house.switch(SwitchState.PAUSE)
        assert house.stops_a_bot()

    play(story)
