"""Turns Bitget's spot balances, tickers and market rules into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns what is
Bitget's own: what a balance keeps apart, and least values in money whatever a market pays in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from errors import Malformed
from model import Asset, MarketLimits, Symbol
from venues.bitget_family import data_of, required_symbol
from venues.bitget_markets import step_of_places
from venues.parsing import (
    Fields,
    as_rows,
    optional_decimal,
    required_decimal,
    required_number,
    required_text,
)
from venues.spot_values import Balance

TRADING = "online"
"""Neither `gray` (for chosen accounts), `offline` nor `halt`."""


def parse_balances(answer: object) -> tuple[Balance, ...]:
    """Read `assets`: each coin once; zeros are left out, and an empty list is an honest zero.

    `frozen` is what resting orders hold. What is `locked` serves another purpose that no order
    frees: it counts, and cannot be sold.
    """
    found: dict[Asset, Balance] = {}
    for row in as_rows(data_of(answer, "assets"), "assets"):
        asset = Asset(required_text(row, "coin", "assets").upper())
        if asset in found:
            raise Malformed("assets: a coin is listed twice")
        what = f"assets {asset}"
        free, frozen, locked = (
            required_decimal(row, name, what) for name in ("available", "frozen", "locked")
        )
        if min(free, frozen, locked) < 0:
            raise Malformed(f"{what}: a balance is below zero")
        found[asset] = Balance(asset=asset, free=free, locked=frozen, lent=locked)
    return tuple(balance for balance in found.values() if balance.total > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tickers:
    """All markets: the mid of each, None where a side is missing, and what was paid last.

    `paid` has the markets alone that something was traded on within the day.
    """

    mids: Mapping[Symbol, float | None]
    paid: Mapping[Symbol, float]


def parse_tickers(answer: object) -> Tickers:
    """Read `tickers` of all markets.

    A row that makes no sense has no price, so that a neighbour's odd value cannot blind the guard;
    an answer without a single price raises Malformed.
    """
    mids: dict[Symbol, float | None] = {}
    paid: dict[Symbol, float] = {}
    for row in as_rows(data_of(answer, "tickers"), "tickers"):
        symbol = required_symbol(row, "tickers")
        bid, ask = (_number(row, name) for name in ("bidPr", "askPr"))
        mids[symbol] = (bid + ask) / 2 if 0 < bid <= ask else None
        if _number(row, "lastPr") > 0 and _number(row, "baseVolume") > 0:
            paid[symbol] = _number(row, "lastPr")
    if not any(mids.values()):
        raise Malformed("tickers: no market has a price")
    return Tickers(mids=mids, paid=paid)


def _number(row: Fields, name: str) -> float:
    """The number under `name`, 0 where it makes no sense."""
    try:
        return required_number(row, name, "tickers")
    except Malformed:
        return 0.0


def parse_markets(answer: object) -> dict[Symbol, MarketLimits]:
    """Read `symbols`: markets of every status; `min_notional` is in money, not in the quote.

    A market whose rules cannot be read is left out; without a single one it raises Malformed.
    """
    markets: dict[Symbol, MarketLimits] = {}
    fault = "it lists none"
    for row in as_rows(data_of(answer, "symbols"), "symbols"):
        try:
            market = _parse_market(row)
        except Malformed as malformed:
            fault = str(malformed)
            continue
        markets[market.symbol] = market
    if not markets:
        raise Malformed(f"symbols: no market can be read ({fault})")
    return markets


def _parse_market(row: Fields) -> MarketLimits:
    """Read one market. The most is that of any order; 0 says that there is none."""
    symbol = required_symbol(row, "symbols")
    what = f"symbols {symbol}"
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseCoin", what).upper()),
        quote=Asset(required_text(row, "quoteCoin", what).upper()),
        step=step_of_places(row, what),
        min_quantity=required_decimal(row, "minTradeAmount", what),
        market_max=optional_decimal(row, "maxTradeAmount", what) or None,
        min_notional=required_decimal(row, "minTradeUSDT", what),
        reduce_only_waives_min_notional=False,
        is_tradable=required_text(row, "status", what) == TRADING,
    )
