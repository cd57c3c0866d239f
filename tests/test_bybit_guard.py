"""A whole guard over a simulated Bybit account: stages 1 and 3, one-way and hedged, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decision import Decision
from model import Stage
from simulator.control import start_simulator
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind
from simulator.state import Leg
from tests.memory_venue import KEY
from tests.simulated import SECRET, seed
from tests.test_integration import Place
from tests.virtual_house import policy
from tests.wire_house import Happening, Prices, play_over_http

Held = dict[tuple[str, Leg], Decimal]
PRICES = {"BTCUSDT": 60000, "BTCPERP": 60000, "SOLUSDT": 100, "XRPUSDT": "0.5"}
ONE_WAY: Mapping[str, Any] = {
    "prices": PRICES,
    "positions": [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.05", "entry_price": 60000},
        {"symbol": "BTCPERP", "side": "LONG", "quantity": "0.02", "entry_price": 60000},
        {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 10, "entry_price": 100},
    ],
    "orders": [
        {"symbol": "XRPUSDT", "side": "BUY", "type": "LIMIT", "quantity": 100, "price": "0.4"},
        {
            "symbol": "SOLUSDT",
            "side": "BUY",
            "type": "STOP_MARKET",
            "quantity": 10,
            "trigger_price": 900,
            "reduce_only": True,
        },
    ],
}
HEDGED: Mapping[str, Any] = {
    "prices": PRICES,
    "positions": [
        {"symbol": "BTCPERP", "side": "LONG", "quantity": "0.02", "entry_price": 60000},
        *(
            {
                "symbol": "SOLUSDT",
                "side": side,
                "quantity": quantity,
                "entry_price": 100,
                "position_mode": "hedge",
            }
            for side, quantity in (("LONG", 1), ("SHORT", 11))
        ),
    ],
    "orders": [
        {
            "symbol": "SOLUSDT",
            "side": "SELL",
            "type": "LIMIT",
            "quantity": 1,
            "price": 500,
            "position_side": "SHORT",
        },
    ],
}


@dataclass(slots=True)
class Course:
    """What was decided, and what was held and resting at moments of interest."""

    stages: list[Stage] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    resting: list[int] = field(default_factory=list)

    def take(self, _now_s: float, decision: Decision) -> None:
        """Note the stages that were opened."""
        self.stages += [one.incident.stage for one in decision.opened]

    def look(self, exchange: Exchange) -> None:
        """Note what is there."""
        account = exchange.account(KEY)
        self.held.append({key: leg.amount for key, leg in account.legs.items()})
        self.resting.append(len(account.orders))


def play(
    home: Path,
    content: Mapping[str, Any],
    *,
    ends_s: float = 420.0,
    faults: Sequence[Fault] = (),
) -> tuple[Course, Exchange]:
    """SOL rises to 150 (500 of 10,000 lost by the short) and later to 280."""
    course = Course()
    script: list[tuple[float, Happening]] = [
        (60.0, course.look),
        (120.0, Prices({"SOLUSDT": 150})),
        (240.0, course.look),
        (300.0, Prices({"SOLUSDT": 280})),
    ]
    exchange = asyncio.run(
        play_over_http(
            "bybit",
            home=home,
            seed=seed(**content),
            policy=policy(),
            script=script,
            ends_s=ends_s,
            request_poll_s=10.0,
            on_decision=course.take,
            faults=faults,
        )
    )
    course.look(exchange)
    return course, exchange


ONE_WAY_LEFT: Held = {
    ("BTCUSDT", Leg.BOTH): Decimal("0.05"),
    ("BTCPERP", Leg.BOTH): Decimal("0.02"),
    ("SOLUSDT", Leg.BOTH): Decimal(-5),
}
HEDGED_LEFT: Held = {
    ("BTCPERP", Leg.BOTH): Decimal("0.02"),
    ("SOLUSDT", Leg.LONG): Decimal(1),
    ("SOLUSDT", Leg.SHORT): Decimal("-5.5"),
}


@pytest.mark.parametrize(
    ("content", "left", "resting"),
    [(ONE_WAY, ONE_WAY_LEFT, [2, 1, 0]), (HEDGED, HEDGED_LEFT, [1, 0, 0])],
    ids=["one-way", "one symbol hedged"],
)
def test_stage_1_halves_the_loser_and_stage_3_closes_everything(
    tmp_path: Path, content: Mapping[str, Any], left: Held, resting: list[int]
) -> None:
    """Half of the short, entries cancelled, protection kept; then all of it, in both coins."""
    course, exchange = play(tmp_path, content)
    assert course.stages == [Stage.REDUCED_TOP_RISK, Stage.ALL_CLOSED]
    assert course.held[1:] == [left, {}]
    assert course.resting == resting
    closes = [
        entry
        for entry in exchange.ledger
        if entry["event"] == "fill" and str(entry["client_id"]).startswith("ks-")
    ]
    assert closes
    for entry in closes:
        before, after = (Decimal(str(entry[name])) for name in POSITIONS)
        assert entry["reduce_only"] is True
        assert 0 <= after / before < 1
    assert not [entry for entry in exchange.ledger if entry["event"] == "rejected"]


POSITIONS = ("position_before", "position_after")


def test_what_shows_late_is_not_closed_twice(tmp_path: Path) -> None:
    """Orders are only acknowledged, and positions show them 3 s later: half stays half."""
    late = Fault(kind=FaultKind.STALE, path="position/list", seconds=3.0)
    course, exchange = play(tmp_path, ONE_WAY, ends_s=290.0, faults=(late,))
    assert course.stages == [Stage.REDUCED_TOP_RISK]
    assert course.held[-1] == ONE_WAY_LEFT
    fills = [entry["quantity"] for entry in exchange.ledger if entry["event"] == "fill"]
    assert fills == ["5"]


async def test_a_configured_account_is_watched_end_to_end(tmp_path: Path) -> None:
    """config.yaml, keys in the environment, one process, one trusted reading."""
    async with start_simulator(seed(), venue="bybit", realtime=True) as (control, url):
        (tmp_path / "config.yaml").write_text(
            f"dry_run: true\nexchanges:\n  bybit:\n    enabled: true\n    simulator_url: {url}\n",
            encoding="utf-8",
        )
        here = Place(folder=tmp_path, keys={"BYBIT_API_KEY": KEY, "BYBIT_API_SECRET": SECRET})
        done = await here.run("--once")
        assert done.code == 0, done.err
        assert "bybit_futures" in done.out + done.err
        counts = (await control.requests())["counts"]
        assert counts["GET /v5/account/wallet-balance"] >= 1
        assert not [name for name in counts if name.startswith("POST")]
