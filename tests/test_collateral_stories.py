"""A whole guard over the one wallet of a unified account, on the wire: which coins it sells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from model import Stage
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind
from simulator.seeds import spot_order_request
from tests.memory_venue import KEY
from tests.simulated import seed
from tests.virtual_house import policy
from tests.wire_house import Prices, play_over_http

COINS: Mapping[str, Any] = {
    "wallet": {"USDT": 5000, "ETH": 2, "SOL": 10},
    "prices": {"BTCUSDT": 60000, "ETHUSDT": 2000, "SOLUSDT": 100},
    "positions": [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.05", "entry_price": 60000},
    ],
}
"""10,000 in all: 5,000 USDT, 2 ETH and 10 SOL, and a long of 0.05 BTC beside them."""


@pytest.mark.parametrize("way", ["bybit", "bitget-unified"])
@pytest.mark.parametrize("sells", [True, False])
def test_coins_that_back_the_account_are_sold_only_where_the_owner_says_so(
    tmp_path: Path, way: str, sells: bool
) -> None:
    """ETH at 1,700 loses 6 %: half of it goes. At 1,000 all coins go, and what orders hold of them.

    Without `sell_collateral` every coin stays, and the long is closed in stage 3 all the same.
    """
    stages: list[Stage] = []
    wallets: list[dict[str, Decimal]] = []

    def rest(exchange: Exchange) -> None:
        entry = {"symbol": "SOLUSDT", "side": "SELL", "type": "LIMIT", "quantity": 5, "price": 900}
        exchange.spot.place(KEY, spot_order_request(entry))

    def look(exchange: Exchange) -> None:
        held = exchange.account(KEY).wallet
        wallets.append({coin: held.get(coin, Decimal(0)) for coin in ("ETH", "SOL")})

    own = policy()
    (book,) = own.books
    exchange = asyncio.run(
        play_over_http(
            way,
            home=tmp_path,
            seed=seed(**COINS),
            policy=replace(own, books=(replace(book, sell_collateral=sells),)),
            script=[
                (60.0, rest),
                (120.0, Prices({"ETHUSDT": 1700})),
                (240.0, look),
                (300.0, Prices({"ETHUSDT": 1000})),
            ],
            ends_s=420.0,
            request_poll_s=10.0,
            on_decision=lambda _now_s, decision: stages.extend(
                one.incident.stage for one in decision.opened
            ),
        )
    )
    look(exchange)
    assert (stages[0], stages[-1]) == (Stage.REDUCED_TOP_RISK, Stage.ALL_CLOSED)
    assert exchange.account(KEY).legs == {}
    before, after = wallets
    if sells:
        assert before == {"ETH": Decimal(1), "SOL": Decimal(10)}
        assert after == {"ETH": Decimal(0), "SOL": Decimal(0)}
        assert exchange.spot.view(KEY).orders == {}
    else:
        assert before == after == {"ETH": Decimal(2), "SOL": Decimal(10)}
        assert len(exchange.spot.view(KEY).orders) == 1
    assert not [entry for entry in exchange.ledger if entry["event"] == "spot_rejected"]


@pytest.mark.parametrize(
    ("way", "wallet"), [("bybit", "wallet-balance"), ("bitget-unified", "account/assets")]
)
def test_a_wallet_that_shows_a_sale_late_is_not_sold_from_twice(
    tmp_path: Path, way: str, wallet: str
) -> None:
    """A sale is only acknowledged, and the wallet shows it 3 s later: half stays half."""
    own = policy()
    (book,) = own.books
    exchange = asyncio.run(
        play_over_http(
            way,
            home=tmp_path,
            seed=seed(**COINS),
            policy=replace(own, books=(replace(book, sell_collateral=True),)),
            script=[(120.0, Prices({"ETHUSDT": 1700}))],
            ends_s=290.0,
            request_poll_s=10.0,
            on_decision=lambda _now_s, _decision: None,
            faults=(Fault(kind=FaultKind.STALE, path=wallet, seconds=3.0),),
        )
    )
    sales = [entry["quantity"] for entry in exchange.ledger if entry["event"] == "spot_order"]
    assert sales == ["1"]
    assert exchange.account(KEY).wallet["ETH"] == 1
