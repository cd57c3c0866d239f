"""The same story twice: over the venue in memory, and over real HTTP through ccxt and the adapter.

The simulation proves what it proves for venues without a wire. Here a story without faults is
played on both, with the rules and conventions of any of them; what the guard decides and what the
exchange executes must be the same to the last digit, or one of the two venues is not what the other
is. Prices move a third of a second after the guard has looked, so that neither way of making time
decides who comes first.
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
from simulator.wire.service import Service
from tests.memory_venue import KEY
from tests.other_conventions import CONVENTIONS
from tests.simulation.draw import Story, draw_story
from tests.virtual_house import House, play
from tests.wire_house import Prices, play_over_http

PRICES_AFTER_S = 0.37
LINGERS_S = 30.0
"""After the last price: what was opened by then is closed and confirmed."""


@dataclass(slots=True)
class Course:
    """What was decided and executed, each with the second of the story.

    `aims` are the stages and their targets alone, `left` what the account held in the end.
    """

    lines: list[str] = field(default_factory=list)
    aims: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

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
            self.aims.append(
                f"stage {opening.incident.stage.value} for "
                f"{opening.attribution.source}: {', '.join(aims) or 'nothing to close'}"
            )
            self.lines.append(f"{now_s:7.2f} {self.aims[-1]}")
        for book in decision.records.books:
            self.lines.append(f"{now_s:7.2f} {book.name} at stage {book.stage.value}")

    def end(self, exchange: Exchange) -> None:
        """Note what the exchange executed for the guard, and what is left."""
        legs = exchange.account(KEY).legs.values()
        self.left = [f"{leg.symbol} {leg.leg} {leg.amount.normalize():f}" for leg in legs]
        for entry in exchange.ledger:
            if entry["event"] == "fill" and str(entry["client_id"]).startswith("ks-"):
                quantity = Decimal(str(entry["quantity"])).normalize()
                told = " ".join(str(entry[name]) for name in ("client_id", "symbol", "side"))
                self.lines.append(f"{told} {quantity:f}")


def plain_story(seed: int, way: str = "binance") -> Story:
    """The story of a seed at a venue, without anything that goes wrong or other people."""
    story = draw_story(seed, ways=CONVENTIONS[way])
    rules = replace(story.policy, dry_run=False)
    return replace(
        story, policy=rules, spans=(), crashes=(), moves=(), transfers=(), wishes=(), switch=None
    )


def in_memory(story: Story) -> Course:
    """The course of a story over the venue in memory."""
    course = Course()

    async def tell(home: Path) -> None:
        house = House(folder=home, policy=story.policy, ways=story.ways, seed=_seed_of(story))
        house.venue.latency_s = 0.0
        house.on_decision = lambda decision: course.take(house.clock.monotonic(), decision)
        async with house.guard():
            for at_s, marks in story.prices:
                await house.wait(at_s + PRICES_AFTER_S - house.clock.monotonic())
                house.exchange.set_prices(marks, at=house.clock.now())
            await house.wait(_ends_s(story) - house.clock.monotonic())
        course.end(house.exchange)

    with tempfile.TemporaryDirectory(prefix="killswitch-course-") as home:
        play(partial(tell, Path(home)))
    return course


async def over_http(story: Story, home: Path) -> Course:
    """The course of a story over a simulated exchange, through the real adapter and ccxt."""
    course = Course()
    exchange = await play_over_http(
        story.ways.name,
        home=home,
        seed=_seed_of(story),
        policy=story.policy,
        script=[(at_s + PRICES_AFTER_S, Prices(marks)) for at_s, marks in story.prices],
        ends_s=_ends_s(story),
        on_decision=course.take,
        on_open=_lift_limits,
    )
    course.end(exchange)
    return course


class _Unlimited:
    """Counts nothing."""

    def enter(self, *, at: float) -> None:
        """Let every address in."""

    def spend(self, *_request: object, **_limits: object) -> dict[str, str]:
        """Let every request in."""
        return {}


def _lift_limits(service: Service) -> None:
    """Two exchanges count requests by the second, and here time stands still while they come."""
    if service.dialect.name in ("bitget", "bybit"):
        cast("Any", service.dialect).limits = _Unlimited()


def _seed_of(story: Story) -> Mapping[str, Any]:
    markets = [{"symbol": market.symbol, "depth": None} for market in CATALOGUE]
    return {**story.book.seed, "markets": [*markets, *story.book.seed["markets"]]}


def _ends_s(story: Story) -> float:
    return (story.prices[-1][0] if story.prices else 0.0) + LINGERS_S + 0.5
