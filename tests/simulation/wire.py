"""The same story twice: over the venue in memory, and over real HTTP through ccxt and the adapter.

The simulation proves what it proves for a venue without a wire. Here a story without faults is
played on both; what the guard decides and what the exchange executes must be the same to the last
digit, or one of the two venues is not what the other is. Prices move a third of a second after the
guard has looked, so that neither way of making time decides who comes first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, cast

from decision import Decision
from simulator.exchange import Exchange
from simulator.markets import CATALOGUE
from simulator.virtual_time import LoopClock, TapeClock
from tests.memory_venue import KEY, SCOPE, MemoryVenue
from tests.simulated import SECRET, simulated
from tests.simulation.draw import Story, draw_story
from tests.virtual_house import EPOCH, House, play
from venues.access import Access
from venues.binance import BinanceFutures

PRICES_AFTER_S = 0.37
LINGERS_S = 30.0
"""After the last price: what was opened by then is closed and confirmed."""


@dataclass(slots=True)
class Course:
    """What was decided and executed, each with the second of the story."""

    lines: list[str] = field(default_factory=list)

    def take(self, now_s: float, decision: Decision) -> None:
        """Note what a decision came to; one that changes nothing says which reading it judged."""
        for verdict in decision.verdicts:
            equity = decision.memory.scope(verdict.scope).last_trusted
            shown = "-" if equity is None else f"{equity.equity:.4f}"
            self.lines.append(f"{now_s:7.2f} {verdict.trust} {shown} alert={verdict.is_alert}")
        for opening in decision.opened:
            aims = [
                f"{target.key.symbol} {target.key.side} {target.may_remain.normalize():f}"
                for target in opening.incident.targets
            ]
            self.lines.append(
                f"{now_s:7.2f} stage {opening.incident.stage.value} for "
                f"{opening.attribution.source}: {', '.join(aims) or 'nothing to close'}"
            )
        for book in decision.records.books:
            self.lines.append(f"{now_s:7.2f} {book.name} at stage {book.stage.value}")

    def add_fills(self, exchange: Exchange) -> None:
        """Note what the exchange executed for the guard."""
        for entry in exchange.ledger:
            if entry["event"] == "fill" and str(entry["client_id"]).startswith("ks-"):
                quantity = Decimal(str(entry["quantity"])).normalize()
                told = " ".join(str(entry[name]) for name in ("client_id", "symbol", "side"))
                self.lines.append(f"{told} {quantity:f}")


def plain_story(seed: int) -> Story:
    """The story of a seed without anything that goes wrong, and without other people."""
    story = draw_story(seed)
    rules = replace(story.policy, dry_run=False)
    return replace(story, policy=rules, spans=(), crashes=(), moves=(), transfers=(), wishes=())


def in_memory(story: Story) -> tuple[str, ...]:
    """The course of a story over the venue in memory."""
    course = Course()

    async def tell(home: Path) -> None:
        house = House(folder=home, policy=story.policy, seed=_seed_of(story))
        house.venue.latency_s = 0.0
        house.on_decision = lambda decision: course.take(house.clock.monotonic(), decision)
        async with house.guard():
            for at_s, marks in story.prices:
                await house.wait(at_s + PRICES_AFTER_S - house.clock.monotonic())
                house.exchange.set_prices(marks, at=house.clock.now())
            await house.wait(_ends_s(story) - house.clock.monotonic())
        course.add_fills(house.exchange)

    with tempfile.TemporaryDirectory(prefix="killswitch-course-") as home:
        play(partial(tell, Path(home)))
    return tuple(course.lines)


async def over_http(story: Story, home: Path) -> tuple[str, ...]:
    """The course of a story over the simulated Binance, through the real adapter and ccxt."""
    course = Course()
    seed = {"api_key": KEY, "api_secret": SECRET, "at": EPOCH, **_seed_of(story)}
    prices = list(story.prices)
    async with simulated(seed) as service:

        async def advance(at: float) -> None:
            while prices and EPOCH + prices[0][0] + PRICES_AFTER_S <= at:
                at_s, marks = prices.pop(0)
                service.exchange.set_prices(marks, at=EPOCH + at_s + PRICES_AFTER_S)
            service.exchange.set_time(at)
            if at >= EPOCH + _ends_s(story):
                guard.guardian.stop()

        clock = TapeClock(starts_at=EPOCH, parties=0, advance=advance)
        venue = BinanceFutures(
            scope=SCOPE,
            access=Access(
                credentials={"apiKey": KEY, "secret": SECRET},
                simulator_url=service.url,
                is_paced=False,
            ),
            clock=clock,
            stables=("USDT", "USDC"),
        )
        house = House(folder=home, policy=story.policy, clock=cast("LoopClock", clock))
        house.exchange, house.venue = service.exchange, cast("MemoryVenue", venue)
        house.on_decision = lambda decision: course.take(clock.now() - EPOCH, decision)
        guard = await house.assemble()
        clock.parties = guard.guardian.party_count
        try:
            await guard.guardian.run()
        finally:
            await guard.store.aclose()
            await venue.aclose()
        course.add_fills(service.exchange)
    return tuple(course.lines)


def _seed_of(story: Story) -> Mapping[str, Any]:
    markets = [{"symbol": market.symbol, "depth": None} for market in CATALOGUE]
    return {**story.book.seed, "markets": [*markets, *story.book.seed["markets"]]}


def _ends_s(story: Story) -> float:
    return (story.prices[-1][0] if story.prices else 0.0) + LINGERS_S + 0.5
