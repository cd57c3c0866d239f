"""The same story on every exchange: the guard decides the same, whoever carries the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from decision import Decision
from model import Stage
from simulator.exchange import Exchange
from tests.memory_venue import KEY
from tests.simulated import seed
from tests.venue_rigs import WAYS
from tests.virtual_house import policy
from tests.wire_house import Happening, Prices, play_over_http

LIVE = policy()


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """Which exchange."""
    return str(request.param)


@dataclass(slots=True)
class Told:
    """What the guard decided: each stage it opened and when, each event it told."""

    opened: list[tuple[Stage, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def take(self, now_s: float, decision: Decision) -> None:
        """Note one decision."""
        self.opened += [(one.incident.stage, now_s) for one in decision.opened]
        self.events += [audit.event for audit in decision.records.audits]

    @property
    def stages(self) -> list[Stage]:
        """The stages in their order."""
        return [stage for stage, _ in self.opened]


def transfer(amount: int) -> Happening:
    """Money that comes or goes, with the venue's record of it."""
    return lambda exchange: exchange.transfer(KEY, "USDT", Decimal(amount))


def vanish(amount: int) -> Happening:
    """Money that is gone without any record."""

    def take(exchange: Exchange) -> None:
        exchange.account(KEY).wallet["USDT"] -= amount

    return take


def play(
    way: str, home: Path, script: Sequence[tuple[float, Happening]], *, ends_s: float
) -> tuple[Told, Exchange]:
    """Long 0.5 BTC and short 10 SOL, equity 9,400, watched by a guard with the default stages."""
    told = Told()
    exchange = asyncio.run(
        play_over_http(
            way,
            home=home,
            seed=seed(),
            policy=LIVE,
            script=script,
            ends_s=ends_s,
            request_poll_s=10.0,
            on_decision=told.take,
        )
    )
    return told, exchange


def test_a_withdrawal_of_thirty_percent_in_a_calm_hour_is_no_loss(way: str, tmp_path: Path) -> None:
    """9,400 to 6,580: nothing is opened, nothing closed, while any window would hold the fall."""
    told, exchange = play(way, tmp_path, [(60.0, transfer(-2_820))], ends_s=420.0)
    assert told.opened == []
    assert exchange.amount(KEY, "BTCUSDT") == Decimal("0.5")


def test_the_same_fall_without_a_record_is_a_loss_after_the_doubt(way: str, tmp_path: Path) -> None:
    """Doubted for 120 s of agreeing readings, then stage 3."""
    told, exchange = play(way, tmp_path, [(60.0, vanish(2_820))], ends_s=300.0)
    ((stage, at_s),) = told.opened
    assert stage is Stage.ALL_CLOSED
    assert 180 <= at_s <= 200
    assert not exchange.account(KEY).legs


def test_a_deposit_during_a_drawdown_does_not_hide_it(way: str, tmp_path: Path) -> None:
    """2,000 come in while the short loses 60 a minute: 5 % of 9,400 are lost all the same.

    Ten SOL from 100 to 150 lose 500 of 9,400, with the deposit equity is above where it began.
    """
    fall = [(60.0 + 5 * n, Prices({"SOLUSDT": 100 + n})) for n in range(1, 51)]
    script = sorted([*fall, (160.0, transfer(2_000))], key=lambda moment: moment[0])
    told, exchange = play(way, tmp_path, script, ends_s=430.0)
    assert told.stages[:1] == [Stage.REDUCED_TOP_RISK]
    assert exchange.amount(KEY, "SOLUSDT") == -5
    assert exchange.amount(KEY, "BTCUSDT") == Decimal("0.5")
