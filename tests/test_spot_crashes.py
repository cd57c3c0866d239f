"""A spot account in virtual time: the guard dies between two sales, answers are lost.

The account holds 0.5 BTC at 60,000, 20,000 QRX at 0.00005 BTC and 40,000 USDT: 130,000 in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from model import Stage
from simulator.seeds import spot_order_request
from simulator.spot_state import SpotRecordKind
from simulator.state import Cause
from tests.memory_spot import SPOT, MemorySpot
from tests.memory_venue import KEY, Trouble
from tests.test_spot_stories import BLACKLIST, SELL_ALL, TOP, a_policy
from tests.virtual_house import House, play

pytestmark = pytest.mark.usefixtures("without_fsync")

SEED = {
    "prices": {"BTCUSDT": 60_000, "SOLUSDT": 100},
    "positions": [],
    "wallet": {"USDT": 0},
    "spot": {"BTC": "0.5", "QRX": 20_000, "USDT": 40_000},
    "spot_prices": {"QRXBTC": "0.00005"},
    "spot_markets": [{"symbol": name, "spread": 0} for name in ("BTCUSDT", "SOLUSDT", "QRXBTC")],
}


@dataclass(kw_only=True)
class Place:
    """A house whose guard watches the spot account alone."""

    house: House
    venue: MemorySpot

    def held(self, asset: str) -> Decimal:
        """All of an asset."""
        return self.house.exchange.spot.view(KEY).balances.get(asset, Decimal(0))

    def fall(self) -> None:
        """QRX loses three quarters of its price: 45,000 of 130,000."""
        self.house.exchange.set_time(self.house.clock.now())
        self.house.exchange.spot.set_prices({"QRXBTC": "0.0000125"})

    def sales(self) -> list[str]:
        """The markets of the guard's own orders that filled, in their order."""
        return [
            str(entry["symbol"])
            for entry in self.house.exchange.ledger
            if entry["event"] == "spot_order" and str(entry["client_id"]).startswith("ks-")
        ]


@contextmanager
def a_place(folder: Path, policy: object = None, **seed: object) -> Iterator[Place]:
    """A house on the spot account."""
    own = policy or a_policy("binance", {Stage.ALL_CLOSED: BLACKLIST}, blacklist=("QRX",))
    house = House(folder=folder, seed={**SEED, **seed}, policy=own)  # type: ignore[arg-type]
    venue = MemorySpot(exchange=house.exchange, clock=house.clock, scope=SPOT)
    house.others[SPOT] = venue
    yield Place(house=house, venue=venue)


@pytest.mark.parametrize("dies_at", range(8))
def test_guard_that_dies_during_two_sales_finishes_both(tmp_path: Path, dies_at: int) -> None:
    """Whenever it dies, the next run sells what the first step brought, and no BTC of before.

    0.25 BTC come in, less 0.1 %: 0.24975 of them are on the step.
    """

    async def story() -> None:
        with a_place(tmp_path) as place:
            house = place.house
            async with house.guard() as guard:
                await house.wait(35)
                before = len(place.venue.sent)
                place.fall()
                await house.until(lambda: len(place.venue.sent) > before, within_s=30, step_s=0.01)
                # Each 20 ms is another place: under way, answered, before and after the second.
                await house.wait(0.02 * dies_at)
                await guard.crash()
            await house.wait(5)
            async with house.guard():
                await house.until(lambda: place.held("QRX") == 0, within_s=60)
                await house.until(lambda: place.held("BTC") == Decimal("0.5"), within_s=60)
                await house.wait(60)
            assert place.held("BTC") == Decimal("0.5")
            assert place.sales() == ["QRXBTC", "BTCUSDT"]

    play(story)


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.06, 0.2])
def test_deposit_during_the_two_sales_stays(tmp_path: Path, delay_s: float) -> None:
    """1 BTC comes in while QRX is sold over BTC: it stays beside the half that was there."""

    async def story() -> None:
        with a_place(tmp_path) as place:
            house = place.house
            async with house.guard():
                await house.wait(35)
                before = len(place.venue.sent)
                place.fall()
                await house.until(lambda: len(place.venue.sent) > before, within_s=30, step_s=0.01)
                await house.wait(delay_s)
                spot = house.exchange.spot
                spot.book(KEY, "BTC", Decimal(1), kind=SpotRecordKind.DEPOSIT)
                await house.until(lambda: place.held("QRX") == 0, within_s=60)
                await house.wait(60)
            assert place.sales() == ["QRXBTC", "BTCUSDT"]
            assert place.held("BTC") == Decimal("1.5")

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.LOST_AFTER, Trouble.LOST_BEFORE, Trouble.TIMED_OUT])
def test_lost_answer_sells_nothing_twice(tmp_path: Path, trouble: Trouble) -> None:
    """The first sale's answer is lost: both steps are carried out once, the BTC of before stays."""

    async def story() -> None:
        with a_place(tmp_path) as place:
            house = place.house
            place.venue.plan("submit_close", trouble, times=1, symbol="QRX")
            async with house.guard():
                await house.wait(35)
                place.fall()
                await house.until(lambda: place.held("QRX") == 0, within_s=60)
                await house.wait(60)
            assert place.held("BTC") == Decimal("0.5")
            assert place.sales() == ["QRXBTC", "BTCUSDT"]

    play(story)


def test_late_sale_of_half_takes_no_second_half(tmp_path: Path) -> None:
    """Stage 1 sells half; a sale that arrives 3 s after its answer was lost is not repeated."""

    async def story() -> None:
        policy = a_policy("binance", {Stage.REDUCED_TOP_RISK: TOP})
        with a_place(tmp_path, policy, spot={"SOL": 300, "USDT": 70_000}) as place:
            house = place.house
            place.venue.plan("submit_close", Trouble.LATE, times=1, seconds=3.0)
            async with house.guard():
                await house.wait(35)
                house.prices(SOL=82)
                await house.until(lambda: place.held("SOL") == 150, within_s=60)
                await house.wait(60)
            assert place.held("SOL") == 150

    play(story)


def test_order_of_a_bot_that_takes_the_coin_again_goes_again(tmp_path: Path) -> None:
    """A bot rests a sale of everything after each cancel; the coin is sold in the end."""

    async def story() -> None:
        policy = a_policy("binance", {Stage.ALL_CLOSED: SELL_ALL})
        with a_place(tmp_path, policy, spot={"SOL": 300, "USDT": 70_000}) as place:
            house = place.house
            entry = {"symbol": "SOLUSDT", "side": "SELL", "type": "LIMIT", "price": 150}

            def rest() -> None:
                free = house.exchange.spot.view(KEY).free("SOL")
                if free > 0:
                    order = spot_order_request({**entry, "quantity": free}, cause=Cause.BOT)
                    house.exchange.spot.place(KEY, order)

            rest()
            async with house.guard():
                await house.wait(35)
                house.prices(SOL=60)
                for _ in range(20):
                    await house.wait(0.1)
                    rest()
                await house.until(lambda: place.held("SOL") == 0, within_s=60)
            assert not house.exchange.spot.view(KEY).orders

    play(story)


def test_coin_that_comes_in_after_stage_3_is_sold_too(tmp_path: Path) -> None:
    """Everything must stay sold: a deposit of 3 SOL and one of QRX, over BTC, open follow-ups."""

    async def story() -> None:
        policy = a_policy("binance", {Stage.ALL_CLOSED: SELL_ALL})
        with a_place(tmp_path, policy, spot={"SOL": 300, "USDT": 70_000}) as place:
            house = place.house
            async with house.guard():
                await house.wait(35)
                house.prices(SOL=60)
                await house.until(lambda: place.held("SOL") == 0, within_s=60)
                await house.wait(30)
                spot = house.exchange.spot
                spot.book(KEY, "SOL", Decimal(3), kind=SpotRecordKind.DEPOSIT)
                spot.book(KEY, "QRX", Decimal(2000), kind=SpotRecordKind.DEPOSIT)
                await house.until(lambda: place.held("SOL") == place.held("QRX") == 0, within_s=60)
                await house.wait(30)
            # 2,000 QRX bring 0.1 BTC less the fee: 0.0999, all of it on the step.
            assert place.held("BTC") == 0
            assert sorted(place.sales()) == ["BTCUSDT", "QRXBTC", "SOLUSDT", "SOLUSDT"]

    play(story)


def test_blacklist_follows_up_only_what_is_on_it(tmp_path: Path) -> None:
    """After stage 3 a deposit of BTC stays; one of QRX goes, and takes no BTC with it."""

    async def story() -> None:
        with a_place(tmp_path) as place:
            house = place.house
            async with house.guard():
                await house.wait(35)
                place.fall()
                await house.until(lambda: place.held("QRX") == 0, within_s=60)
                await house.wait(30)
                spot = house.exchange.spot
                spot.book(KEY, "BTC", Decimal(1), kind=SpotRecordKind.DEPOSIT)
                await house.wait(30)
                assert place.held("BTC") == Decimal("1.5")
                spot.book(KEY, "QRX", Decimal(8000), kind=SpotRecordKind.DEPOSIT)
                await house.until(lambda: place.held("QRX") == 0, within_s=60)
                await house.wait(30)
            assert place.held("BTC") == Decimal("1.5")

    play(story)


def test_dry_run_sells_nothing(tmp_path: Path) -> None:
    """It plans the two steps and sends neither order nor cancel."""

    async def story() -> None:
        with a_place(tmp_path) as place:
            house = place.house
            house.policy = replace(house.policy, dry_run=True)
            async with house.guard():
                await house.wait(35)
                place.fall()
                await house.wait(60)
            assert place.venue.sent == []
            assert place.held("QRX") == 20_000
            (entry,) = house.audit("trigger", dry_run=True)
            assert "QRX" in str(entry.details)

    play(story)
