"""Which conditional orders of a unified Bitget account may be believed to close."""

from __future__ import annotations

from typing import Any

import pytest

from model import ScopeId
from venues.bitget_records import TPSL, TRIGGER, parse_strategy
from venues.bitget_unified import strategy_of


def row(**changes: str) -> dict[str, Any]:
    """A stop-loss on a long position, changed as asked."""
    return {
        "orderId": "700200300",
        "clientOid": "stop-7",
        "category": "USDT-FUTURES",
        "symbol": "ETHUSDT",
        "qty": "0.4",
        "posSide": "long",
        "tpTriggerBy": "mark",
        "slTriggerBy": "mark",
        "takeProfit": "",
        "stopLoss": "1700",
        "createdTime": "1761000000000",
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "strategy"),
    [
        ({}, TPSL),
        ({"stopLoss": "", "takeProfit": "2500"}, TPSL),
        ({"triggerPrice": ""}, TPSL),
        ({"triggerPrice": "0"}, TPSL),
        ({"triggerPrice": "1900"}, TRIGGER),
        ({"triggerPrice": "1900", "takeProfit": "2500"}, TRIGGER),
        ({"stopLoss": "", "triggerPrice": "1900"}, TRIGGER),
        ({"stopLoss": ""}, TRIGGER),
    ],
)
def test_an_order_with_a_trigger_price_of_its_own_opens_whatever_is_attached_to_it(
    changes: dict[str, str], strategy: str
) -> None:
    """The venue may list it with the take-profits and stop-losses: it is still no closing order."""
    found = row(**changes)
    assert strategy_of(found, TPSL) == strategy
    order = parse_strategy(found, scope=ScopeId("bitget_futures"), strategy=strategy)
    assert order.reduce_only is (strategy == TPSL)
    assert strategy_of(found, TRIGGER) == TRIGGER
