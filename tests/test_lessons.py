"""Failures of other people's kill switches (docs/lessons.md), played against the whole guard.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %. Stage 1 fires at
4.5 %, stage 2 at 7 %, stage 3 at 10 % within 15 minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from configuration.schema import STAGE_DEFAULTS
from memory import TargetStatus
from model import BookName, Reading, RefusalReason, ScopeId, Stage
from policy import BookPolicy
from simulator.state import Leg
from tests.memory_venue import SCOPE, MemoryVenue, Trouble
from tests.virtual_house import House, play, policy

pytestmark = pytest.mark.usefixtures("without_fsync")

SMALL = ScopeId("binance_small_futures")
SMALL_BOOK = BookPolicy(name=BookName(SMALL), scopes=(SMALL,), stages=STAGE_DEFAULTS)


@dataclass(kw_only=True)
class Lie:
    """What a venue tells of an equity while it `lasts`; `told` says how often it did.

    `of` makes it from the true equity and from how often it was told.
    """

    of: Callable[[float, int], float]
    lasts: bool = True
    told: int = 0

    def begin(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it between the venue and the guard."""
        truth = house.venue.fetch_reading

        async def fetch_reading(scope: ScopeId) -> Reading:
            reading = await truth(scope)
            if not self.lasts:
                return reading
            self.told += 1
            equity = self.of(reading.equity, self.told)
            return replace(reading, equity=equity, wallet=equity)

        monkeypatch.setattr(house.venue, "fetch_reading", fetch_reading)


def is_flat(house: House) -> bool:
    """No position is left."""
    return not any(house.held(base) for base in ("SOL", "XRP", "BTC"))


# --- it fired although nothing was lost -------------------------------------------------------


def test_half_an_account_missing_from_three_readings_closes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """999 became 517 for some seconds, and the samples agreed (lesson 1)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        lie = Lie(of=lambda equity, _told: equity * 517 / 999)
        async with house.guard():
            await house.wait(35)
            lie.begin(house, monkeypatch)
            await house.until(lambda: lie.told >= 4, within_s=30)
            lie.lasts = False
            await house.wait(200)
            assert house.venue.sent == []
            assert house.audit("trigger") == []
            assert not house.stops_a_bot()

    play(story)


def test_a_loss_whose_position_a_stop_has_closed_is_acted_on_at_once(tmp_path: Path) -> None:
    """15 % are gone with the short that lost them, and no record says so yet (lesson 2)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(35)
            house.venue.plan("fetch_ledger", Trouble.UNAVAILABLE)
            house.prices(SOL=115)
            house.bot_order("SOLUSDT", "BUY", quantity=100)
            assert house.held("SOL") == 0
            await house.until(lambda: is_flat(house), within_s=20)
            assert house.lock()["stage"] == Stage.ALL_CLOSED

    play(story)


@pytest.mark.parametrize("growth", [0, 3], ids=["steady", "growing"])
def test_an_absurd_equity_is_no_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, growth: int
) -> None:
    """Ten times the truth and more, for minutes; nothing is measured from it (lesson 3)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        lie = Lie(of=lambda equity, told: equity * (10 + growth * told))
        async with house.guard():
            await house.wait(35)
            lie.begin(house, monkeypatch)
            await house.wait(150)
            assert lie.told >= 10
            lie.lasts = False
            await house.wait(200)
            assert house.venue.sent == []
            assert house.audit("trigger") == []
            assert not house.stops_a_bot()

    play(story)


def test_tighter_settings_at_the_next_start_do_not_bring_a_peak_back(tmp_path: Path) -> None:
    """4 % down and reset; then stage 1 is at 1.8 %, and nothing was lost since (lesson 5)."""
    tighter = tuple(
        replace(
            stage,
            thresholds=tuple(replace(t, fraction=t.fraction * 0.4) for t in stage.thresholds),
        )
        for stage in STAGE_DEFAULTS
    )

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.prices(SOL=104)
            await house.wait(15)
            house.ask("reset")
            await house.until(lambda: house.audit("reset") != [], within_s=5)
            assert guard.book.baseline_at > 0
        house.policy = replace(
            policy(), books=tuple(replace(book, stages=tighter) for book in policy().books)
        )
        async with house.guard():
            await house.wait(60)
            assert house.venue.sent == []
            assert not house.stops_a_bot()
            house.prices(SOL=106)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)

    play(story)


@pytest.mark.parametrize(("wallet", "held", "left"), [("150", "1", "0"), ("48", "0.3", "-0.3")])
def test_a_small_account_closes_no_large_one(
    tmp_path: Path, wallet: str, held: str, left: str
) -> None:
    """It loses 65 %: its own book is judged, or too small for it, and no other one (lesson 6)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        house.policy = replace(house.policy, books=(*house.policy.books, SMALL_BOOK))
        short = {"symbol": "SOLUSDT", "side": "SHORT", "quantity": held, "entry_price": 100}
        small = House(
            folder=tmp_path,
            clock=house.clock,
            seed={"wallet": {"USDT": wallet}, "positions": [short]},
        )
        house.others[SMALL] = MemoryVenue(exchange=small.exchange, clock=house.clock, scope=SMALL)
        async with house.guard():
            await house.wait(35)
            small.prices(SOL=100 + 0.65 * float(wallet) / float(held))
            await house.wait(60)
            assert small.held("SOL") == Decimal(left)
            assert house.venue.sent == []
            assert {entry["scope"] for entry in house.lock()["locks"]} <= {SMALL}

    play(story)


# --- it stayed quiet although money was lost --------------------------------------------------


def test_an_account_is_guarded_from_the_second_reading_of_a_start_on(tmp_path: Path) -> None:
    """12 % fall right after the first one: flat before a window could fill (lesson 13)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.until(lambda: bool(house.venue.called("fetch_reading")), within_s=5)
            await house.wait(1)
            house.prices(SOL=112)
            await house.until(lambda: is_flat(house), within_s=15)

    play(story)


# --- it fired and the position stayed ---------------------------------------------------------


def test_one_close_that_fails_is_not_hidden_by_another(tmp_path: Path) -> None:
    """Of two shorts one is refused: told by name, and not done until it is (lesson 28)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.venue.plan(
                "submit_close", Trouble.REFUSE, symbol="XRP", reason=RefusalReason.NOT_TRADABLE
            )
            house.prices(SOL=108)
            await house.until(lambda: house.held("SOL") == 0, within_s=30)
            await house.wait(60)
            (book,) = house.status().books
            assert book.incident is not None
            stand = {target.key.symbol: target.status for target in book.incident.targets}
            assert stand == {"SOLUSDT": TargetStatus.HELD, "XRPUSDT": TargetStatus.OPEN}
            assert "XRPUSDT" in house.audit("incident_stuck")[0].message
            assert "incident_done" not in house.events()
            house.venue.calm()
            await house.until(lambda: guard.book.incident is None, within_s=60)
            assert house.held("XRP") == 0

    play(story)


def test_the_operators_own_exit_goes_on_under_the_lock(tmp_path: Path) -> None:
    """His order to take profit on what remains is left alone, and fills (lesson 29)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        house.bot_order("SOLUSDT", "BUY", type="LIMIT", quantity=50, price=95, reduce_only=True)
        async with house.guard() as guard:
            await house.wait(35)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)
            assert house.stops_a_bot()
            assert house.open_orders == 1
            house.prices(SOL=94)
            await house.wait(30)
            assert house.held("SOL") == 0
            assert len(house.venue.sent) == 1

    play(story)


def test_two_legs_that_cancel_out_are_not_flat(tmp_path: Path) -> None:
    """After stage 3 a bot opens 3 long and 3 short: net zero, and both are closed (lesson 30)."""

    async def story() -> None:
        house = House(folder=tmp_path, seed={"position_mode": "hedge"})
        async with house.guard() as guard:
            await house.wait(35)
            house.prices(SOL=115)
            await house.until(lambda: guard.book.stage is Stage.ALL_CLOSED, within_s=15)
            await house.until(lambda: guard.book.incident is None, within_s=15)
            house.bot_order("SOLUSDT", "BUY", quantity=3, position_side="LONG")
            house.bot_order("SOLUSDT", "SELL", quantity=3, position_side="SHORT")
            assert house.held("SOL", Leg.LONG) + house.held("SOL", Leg.SHORT) == 0
            await house.until(
                lambda: not house.held("SOL", Leg.LONG) and not house.held("SOL", Leg.SHORT),
                within_s=15,
            )

    play(story)


def test_an_incident_that_hangs_is_recorded_and_shown_all_along(tmp_path: Path) -> None:
    """Every close is refused: readings, marks and heartbeat stay those of today (lesson 32)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(35)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            for step in range(10):
                house.prices(SOL=105.1 + step / 10)
                await house.wait(12)
                status = house.status()
                (book,), (scope,) = status.books, status.scopes
                assert book.incident is not None
                assert scope.scope == SCOPE
                assert scope.trusted_at is not None
                assert scope.last_trusted is not None
                assert house.clock.now() - scope.trusted_at <= 5
                assert house.clock.now() - house.lock()["heartbeat_ts"] <= 5
                marks = {str(p.symbol): p.mark_price for p in scope.last_trusted.positions}
                assert marks["SOLUSDT"] == pytest.approx(105.1 + step / 10)

    play(story)
