"""A whole guard over the wire beside Bitget accounts of both kinds, through stages 1 and 3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from model import OrderSide, Stage
from simulator.control import start_simulator
from simulator.exchange import Exchange
from simulator.reasons import Reason
from simulator.state import Leg
from simulator.wire.bitget import RULES
from tests.memory_venue import KEY
from tests.simulated import SECRET, seed
from tests.test_integration import Place
from tests.test_venue_stories import LIVE, Told
from tests.venue_rigs import PASSPHRASE, WAYS, hedged
from tests.wire_house import Happening, Prices, play_over_http

BITGET = sorted(way for way in WAYS if way.startswith("bitget"))
LONG = {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000}
SHORT = {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 10, "entry_price": 90}
MODES: Mapping[str, Mapping[str, Any]] = {
    "one-way": {},
    "hedged": hedged(LONG, SHORT),
}
ISOLATED = {"margin_mode": "isolated", "leverage": 10, "isolated_margin": 4000}
BTC_FALLS: Happening = Prices({"BTCUSDT": 58_800})


def refuse_the_flag(exchange: Exchange) -> None:
    """From here on a hedged account takes no order that says that it only reduces."""
    exchange.world.rules = replace(RULES, takes_flag_when_hedged=False)


def play(
    way: str, home: Path, *, before: Sequence[tuple[float, Happening]] = (), **changes: Any
) -> tuple[Told, Exchange]:
    """SOL rises from 100 to 150 within 250 s, which costs 500 of 9,400; then BTC falls by 2 %."""
    told = Told()
    rise: list[tuple[float, Happening]] = [
        (300.0 + 5 * n, Prices({"SOLUSDT": 100 + n})) for n in range(1, 51)
    ]
    exchange = asyncio.run(
        play_over_http(
            way,
            home=home,
            seed=seed(
                **{"prices": {"BTCUSDT": 60000, "SOLUSDT": 100, "XRPUSDT": "0.5"}, **changes}
            ),
            policy=LIVE,
            script=[*before, *rise, (600.0, BTC_FALLS)],
            ends_s=660.0,
            on_decision=told.take,
        )
    )
    return told, exchange


@pytest.mark.parametrize("margin", ["cross", "isolated"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", BITGET)
def test_an_account_is_taken_through_stages_1_and_3(
    way: str, mode: str, margin: str, tmp_path: Path
) -> None:
    """Stage 1 halves the short that lost, stage 3 closes the rest; no order ever opened anything.

    500 of 9,400 are 5.3 %; the short of 5 SOL and 600 on half a BTC make it 11.7 %.
    """
    changes = dict(MODES[mode])
    if margin == "isolated":
        positions = changes.get("positions", [LONG, SHORT])
        changes["positions"] = [{**position, **ISOLATED} for position in positions]
    told, exchange = play(way, tmp_path, **changes)
    assert told.stages == [Stage.REDUCED_TOP_RISK, Stage.ALL_CLOSED]
    account = exchange.account(KEY)
    assert not account.legs
    ours = [order for order in account.done.values() if order.client_id.startswith("ks-")]
    assert sorted((order.symbol, order.side, order.filled) for order in ours) == [
        ("BTCUSDT", OrderSide.SELL, Decimal("0.5")),
        ("SOLUSDT", OrderSide.BUY, Decimal(5)),
        ("SOLUSDT", OrderSide.BUY, Decimal(5)),
    ]
    for order in ours:
        closes_leg = order.leg is (Leg.LONG if order.symbol == "BTCUSDT" else Leg.SHORT)
        assert closes_leg if mode == "hedged" else order.reduce_only


@pytest.mark.parametrize("way", BITGET)
def test_a_venue_that_refuses_the_flag_of_hedged_closes_is_closed_without_it(
    way: str, tmp_path: Path
) -> None:
    """The first close of stage 1 is refused; what follows, in stage 3 too, never says it again."""
    told, exchange = play(way, tmp_path, before=[(0.0, refuse_the_flag)], **MODES["hedged"])
    assert told.stages == [Stage.REDUCED_TOP_RISK, Stage.ALL_CLOSED]
    assert not exchange.account(KEY).legs
    refused = [entry for entry in exchange.world.ledger if entry["event"] == "rejected"]
    assert [entry["reason"] for entry in refused] == [Reason.REDUCE_ONLY_NOT_SENT_HERE]


@pytest.mark.parametrize("is_unified", [False, True])
async def test_check_tells_a_spot_account_from_one_wallet(tmp_path: Path, is_unified: bool) -> None:
    """config.yaml with both accounts: read and sellable, or the line that has to be removed."""
    content = seed(
        passphrase=PASSPHRASE,
        unified=is_unified,
        spot={} if is_unified else {"SOL": 5, "USDT": 100},
        is_bound_to_ip=True,
    )
    async with start_simulator(content, venue="bitget", realtime=True) as (control, url):
        (tmp_path / "config.yaml").write_text(
            "dry_run: true\nexchanges:\n  bitget:\n    enabled: true\n"
            f"    simulator_url: {url}\n    accounts: {{spot: {{enabled: true}}}}\n",
            encoding="utf-8",
        )
        keys = {"BITGET_API_KEY": KEY, "BITGET_API_SECRET": SECRET, "BITGET_PASSWORD": PASSPHRASE}
        done = await Place(folder=tmp_path, keys=keys).run("check", "--json")
        counts = (await control.requests())["counts"]
    scopes = {one["scope"]: one for one in json.loads(done.out)["scopes"]}
    spot = scopes["bitget_spot"]
    if is_unified:
        assert "one wallet: remove accounts.spot" in json.dumps(spot["findings"])
    else:
        assert spot["reading"]["equity"] == pytest.approx(600.0)
        assert spot["inspection"]["family"] == "SPOT"
        assert "not watched, and not empty" not in json.dumps(scopes["bitget_futures"])
    assert not [name for name in counts if name.startswith("POST")]
