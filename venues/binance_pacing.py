"""What Binance USD-M counts: the allowances, what each request takes of them, and its own count.

Orders are counted per account in 10 s and in a minute and weigh nothing; everything else weighs.
Weight is counted per address, so that other programs on this machine share it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from errors import Malformed
from venues.ccxt_client import Params
from venues.pacer import Cost, Rate
from venues.parsing import as_fields, as_rows, required_integer, required_text

ORDERS_10S, ORDERS_1M, WEIGHT_1M = "ORDERS_10S", "ORDERS_1M", "WEIGHT_1M"

WEIGHT_RESERVE = 400
"""What readings leave of the weight: 80 position reads, or five lists of the open orders."""

DEFAULT_RATES: Mapping[str, Rate] = {
    ORDERS_10S: Rate(most=300, within_s=10.0),
    ORDERS_1M: Rate(most=1200, within_s=60.0),
    WEIGHT_1M: Rate(most=2400, within_s=60.0, reserve=WEIGHT_RESERVE, is_of_address=True),
}
"""As published; `exchangeInfo` says what holds today."""

_ORDER: Cost = {ORDERS_10S: 1, ORDERS_1M: 1}
_WEIGHTS: Mapping[str, int] = {
    "fapiPrivateV3GetAccount": 5,
    "fapiPrivateV3GetPositionRisk": 5,
    "fapiPrivateGetAccountConfig": 5,
    "fapiPrivateGetIncome": 30,
    "fapiPublicGetAssetIndex": 10,
    "fapiPrivateGetCommissionRate": 20,
    "fapiPublicGetTickerBookTicker": 5,
}
_WEIGHTS_FOR_ALL: Mapping[str, int] = {
    "fapiPrivateGetOpenOrders": 40,
    "fapiPrivateGetOpenAlgoOrders": 40,
    "fapiPublicGetPremiumIndex": 10,
}
"""Weights without a symbol; with one they are 1, as is everything that stands in no table."""

_COUNTED_BY_VENUE: Mapping[str, str] = {
    "x-mbx-order-count-10s": ORDERS_10S,
    "x-mbx-order-count-1m": ORDERS_1M,
    "x-mbx-used-weight-1m": WEIGHT_1M,
}
_NAMES: Mapping[tuple[str, str, int], str] = {
    ("ORDERS", "SECOND", 10): ORDERS_10S,
    ("ORDERS", "MINUTE", 1): ORDERS_1M,
    ("REQUEST_WEIGHT", "MINUTE", 1): WEIGHT_1M,
}


def cost_of(endpoint: str, params: Params) -> Cost:
    """What a request takes; a batch is one order in the minute and each of its own in 10 s."""
    if endpoint == "fapiPrivatePostOrder":
        return _ORDER
    if endpoint == "fapiPrivatePostBatchOrders":
        orders = params["batchOrders"]
        count = len(orders) if isinstance(orders, list) else 1
        return {ORDERS_10S: count, ORDERS_1M: 1, WEIGHT_1M: 5}
    if endpoint in _WEIGHTS_FOR_ALL and "symbol" not in params:
        return {WEIGHT_1M: _WEIGHTS_FOR_ALL[endpoint]}
    return {WEIGHT_1M: _WEIGHTS.get(endpoint, 1)}


def counted_by_venue(headers: Mapping[str, str]) -> dict[str, int]:
    """The venue's own counts out of the headers of an answer; what is no number is left out."""
    return {
        _COUNTED_BY_VENUE[name.lower()]: int(text)
        for name, text in headers.items()
        if name.lower() in _COUNTED_BY_VENUE and re.fullmatch(r"\d{1,9}", text, re.ASCII)
    }


def parse_rates(answer: object) -> dict[str, Rate]:
    """Read the limits out of `exchangeInfo`; one that cannot be read is left out, none raises."""
    rates: dict[str, Rate] = {}
    try:
        rows = as_rows(as_fields(answer, "exchangeInfo").get("rateLimits"), "rateLimits")
    except Malformed:
        return rates
    for row in rows:
        try:
            kind = required_text(row, "rateLimitType", "rateLimits")
            interval = required_text(row, "interval", "rateLimits")
            name = _NAMES.get((kind, interval, required_integer(row, "intervalNum", "rateLimits")))
            most = required_integer(row, "limit", "rateLimits")
        except Malformed:
            continue
        if name is not None and most > 0:
            known = DEFAULT_RATES[name]
            reserve = min(known.reserve, most // 2)
            rates[name] = replace(known, most=most, reserve=reserve)
    return rates
