"""Spot accounts in storms: drawn troubles, a death in between, and what holds all the same."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from model import RefusalReason, Stage
from tests.memory_venue import Trouble
from tests.test_spot_crashes import Place, a_place
from tests.test_spot_stories import BLACKLIST, a_policy
from tests.virtual_house import play

pytestmark = pytest.mark.usefixtures("without_fsync")

CALLS = ("submit", "submit_close", "fetch_positions", "fetch_orders", "find_order", "submit_cancel")
TROUBLES = tuple(set(Trouble) - {Trouble.TWICE, Trouble.BUG, Trouble.GLITCH, Trouble.PARTIAL})
"""A request that the line itself delivers twice under one id is sold twice: the venue forgets the
id of an order that is filled."""


def a_scene(rng: random.Random) -> dict[str, Any]:
    """What is held, and which orders hold it."""
    held = {"BTC": "0.5", "QRX": 20_000, "USDT": 40_000}
    if rng.random() < 0.5:
        held["SOL"] = 50
    orders: list[tuple[str, float, float]] = []
    if rng.random() < 0.5:
        quantity = rng.choice((5_000, 20_000))
        orders.append(("QRXBTC", quantity, 0.0002))
    if rng.random() < 0.3:
        orders.append(("BTCUSDT", 0.3, 90_000))
    return {
        "spot": held,
        "spot_orders": [
            {
                "symbol": symbol,
                "side": "SELL",
                "type": "LIMIT",
                "quantity": quantity,
                "price": price,
            }
            for symbol, quantity, price in orders
        ],
    }


def plan_troubles(rng: random.Random, place: Place) -> None:
    """Up to six, on any call that closing makes."""
    for _ in range(rng.randrange(7)):
        place.venue.plan(
            rng.choice(CALLS),
            rng.choice(sorted(TROUBLES)),
            times=rng.randrange(1, 5),
            seconds=rng.choice((0.3, 1.5, 3.0, 6.0)),
            reason=rng.choice(list(RefusalReason)),
        )


@pytest.mark.parametrize("seed", range(12))
def test_every_storm_ends_with_what_the_blacklist_says(tmp_path: Path, seed: int) -> None:
    """QRX and SOL are sold, all that they brought goes on, and the 0.5 BTC of before stay."""
    rng = random.Random(seed)
    policy = a_policy("binance", {Stage.ALL_CLOSED: BLACKLIST}, blacklist=("QRX", "SOL"))

    async def story() -> None:
        with a_place(tmp_path, policy, **a_scene(rng)) as place:
            house = place.house
            async with house.guard() as guard:
                await house.wait(35)
                plan_troubles(rng, place)
                place.fall()
                await house.wait(rng.uniform(0.0, 12.0))
                await guard.crash()
            await house.wait(rng.uniform(0.0, 3.0))
            async with house.guard():
                await house.wait(60)
                place.venue.calm()
                await house.until(lambda: place.held("QRX") == place.held("SOL") == 0, within_s=240)
                await house.wait(60)
            assert Decimal("0.5") <= place.held("BTC") < Decimal("0.50001")

    play(story)
