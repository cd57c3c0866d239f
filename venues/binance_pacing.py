"""What Binance USD-M counts: the allowances, what each request takes of them, and its own count.

Orders are counted per account in 10 s and in a minute and weigh nothing; everything else weighs.
Weight is counted per address, so that other programs on this machine share it, and for portfolio
margin apart from the rest, under headers of the same names. Its limit of orders is published for a
minute only: that of 10 s is believed to hold there as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from errors import Malformed
from venues.ccxt_client import Params
from venues.pacer import Cost, Rate
from venues.parsing import as_fields, as_rows, required_integer, required_text

ORDERS_10S, ORDERS_1M, WEIGHT_1M = "ORDERS_10S", "ORDERS_1M", "WEIGHT_1M"
PORTFOLIO_WEIGHT_1M, ELSEWHERE = "PORTFOLIO_WEIGHT_1M", "ELSEWHERE"

WEIGHT_RESERVE = 400
"""What readings leave of the weight: 80 position reads, or five lists of the open orders."""

DEFAULT_RATES: Mapping[str, Rate] = {
    ORDERS_10S: Rate(most=300, within_s=10.0),
    ORDERS_1M: Rate(most=1200, within_s=60.0),
    WEIGHT_1M: Rate(most=2400, within_s=60.0, reserve=WEIGHT_RESERVE, is_of_address=True),
    PORTFOLIO_WEIGHT_1M: Rate(most=6000, within_s=60.0, reserve=WEIGHT_RESERVE, is_of_address=True),
}
"""As published; `exchangeInfo` says what holds today, except for portfolio margin."""

_ORDERS = frozenset({"fapiPrivatePostOrder", "papiPostUmOrder"})
_ORDER: Cost = {ORDERS_10S: 1, ORDERS_1M: 1}
_WEIGHTS: Mapping[str, int] = {
    "fapiPrivateV3GetAccount": 5,
    "fapiPrivateV3GetPositionRisk": 5,
    "fapiPrivateGetAccountConfig": 5,
    "fapiPrivateGetIncome": 30,
    "fapiPublicGetAssetIndex": 10,
    "fapiPrivateGetCommissionRate": 20,
    "fapiPublicGetTickerBookTicker": 5,
    "papiGetAccount": 20,
    "papiGetBalance": 20,
    "papiGetUmPositionRisk": 5,
    "papiGetUmAccountConfig": 5,
    "papiGetUmIncome": 30,
    "papiGetUmCommissionRate": 20,
}
_WEIGHTS_FOR_ALL: Mapping[str, int] = {
    "fapiPrivateGetOpenOrders": 40,
    "fapiPrivateGetOpenAlgoOrders": 40,
    "fapiPublicGetPremiumIndex": 10,
    "papiGetUmOpenOrders": 40,
    "papiGetUmAlgoOpenAlgoOrders": 40,
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


SPOT_RATES: Mapping[str, Rate] = {
    ORDERS_10S: Rate(most=50, within_s=10.0),
    WEIGHT_1M: Rate(most=6000, within_s=60.0, reserve=1000),
}
"""Of `api/v3`, whose weight is another pool; the reserve is 50 reads of the balances."""
_SPOT_WEIGHTS: Mapping[str, int] = {
    "privateGetAccount": 20,
    "privateGetOpenOrders": 80,
    "privateGetOrder": 4,
    "publicGetExchangeInfo": 20,
    "publicGetTickerBookTicker": 4,
    "publicGetTicker24hr": 2,
}


def spot_cost_of(endpoint: str, params: Params) -> Cost:
    """What a request to the spot side takes; the records of `sapi` are counted elsewhere."""
    if endpoint == "privatePostOrder":
        return {ORDERS_10S: 1, WEIGHT_1M: 1}
    if endpoint.startswith("sapi"):
        return {}
    if endpoint == "privateGetOpenOrders" and "symbol" in params:
        return {WEIGHT_1M: 6}
    return {WEIGHT_1M: _SPOT_WEIGHTS.get(endpoint, 1)}


def cost_of(endpoint: str, params: Params) -> Cost:
    """What a request takes; a batch is one order in the minute and each of its own in 10 s."""
    if endpoint in _ORDERS:
        return _ORDER
    if endpoint == "fapiPrivatePostBatchOrders":
        orders = params["batchOrders"]
        count = len(orders) if isinstance(orders, list) else 1
        return {ORDERS_10S: count, ORDERS_1M: 1, WEIGHT_1M: 5}
    pool = PORTFOLIO_WEIGHT_1M if endpoint.startswith("papi") else WEIGHT_1M
    if endpoint in _WEIGHTS_FOR_ALL and "symbol" not in params:
        return {pool: _WEIGHTS_FOR_ALL[endpoint]}
    return {pool: _WEIGHTS.get(endpoint, 1)}


def counted_by_venue(headers: Mapping[str, str]) -> dict[str, int]:
    """The venue's own counts out of the headers of an answer; what is no number is left out."""
    return {
        _COUNTED_BY_VENUE[name.lower()]: int(text)
        for name, text in headers.items()
        if name.lower() in _COUNTED_BY_VENUE and re.fullmatch(r"\d{1,9}", text, re.ASCII)
    }


def kept_as(name: str, url: str) -> str:
    """The rate that a count of that name belongs to, by the URL of the request it answers.

    The owner's settings and transfers are counted on a third host, whose limit nothing here nears.
    """
    path = urlsplit(url).path
    if name != WEIGHT_1M or "/fapi/" in path:
        return name
    return PORTFOLIO_WEIGHT_1M if "/papi/" in path else ELSEWHERE


def parse_rates(answer: object, *, defaults: Mapping[str, Rate] = DEFAULT_RATES) -> dict[str, Rate]:
    """Read the limits out of `exchangeInfo`; one that cannot be read is left out, none raises.

    `defaults` are the allowances that are counted; others are passed over.
    """
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
        if name is not None and name in defaults and most > 0:
            known = defaults[name]
            reserve = min(known.reserve, most // 2)
            rates[name] = replace(known, most=most, reserve=reserve)
    return rates
