"""Reads Bybit's public market answers: trading rules and prices."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from errors import Malformed
from model import Asset, MarketLimits, Symbol
from venues.bybit_account import parse_rows
from venues.parsing import (
    Fields,
    as_fields,
    optional_decimal,
    required_decimal,
    required_number,
    required_text,
)

TRADABLE = frozenset({"Trading", "PreLaunch"})


def parse_market_limits(rows: Iterable[Fields]) -> dict[Symbol, MarketLimits]:
    """Read rows of `instruments-info`, by symbol.

    A market whose rules cannot be read is left out, so that one odd listing does not hide the
    rest; an answer without a single readable market raises Malformed.
    """
    limits: dict[Symbol, MarketLimits] = {}
    fault = "it lists none"
    for row in rows:
        try:
            market = parse_market(row)
        except Malformed as malformed:
            fault = str(malformed)
            continue
        limits[market.symbol] = market
    if not limits:
        raise Malformed(f"instruments: no market can be read ({fault})")
    return limits


def parse_market(row: Fields) -> MarketLimits:
    """Read one market.

    Whether an order that can only reduce may be worth less than the minimum is not documented: it
    counts as no exception, so that no plan leaves a remainder that could not be closed.
    """
    symbol = Symbol(required_text(row, "symbol", "instruments"))
    what = f"instruments {symbol}"
    lot = as_fields(row.get("lotSizeFilter"), what)
    step = required_decimal(lot, "qtyStep", what)
    if step <= 0:
        raise Malformed(f"{what}: qtyStep is not above zero")
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseCoin", what)),
        quote=Asset(required_text(row, "quoteCoin", what)),
        step=step,
        min_quantity=required_decimal(lot, "minOrderQty", what),
        market_max=required_decimal(lot, "maxMktOrderQty", what) or None,
        min_notional=required_decimal(lot, "minNotionalValue", what),
        reduce_only_waives_min_notional=False,
        is_tradable=required_text(row, "status", what) in TRADABLE,
    )


def parse_spot_markets(rows: Iterable[Fields]) -> dict[Symbol, MarketLimits]:
    """Read rows of the spot `instruments-info`; a market whose rules cannot be read is left out."""
    markets: dict[Symbol, MarketLimits] = {}
    for row in rows:
        try:
            market = _parse_spot_market(row)
        except Malformed:
            continue
        markets[market.symbol] = market
    return markets


def _parse_spot_market(row: Fields) -> MarketLimits:
    symbol = Symbol(required_text(row, "symbol", "instruments"))
    what = f"spot instruments {symbol}"
    lot = as_fields(row.get("lotSizeFilter"), what)
    step = required_decimal(lot, "basePrecision", what)
    if step <= 0:
        raise Malformed(f"{what}: basePrecision is not above zero")
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseCoin", what)),
        quote=Asset(required_text(row, "quoteCoin", what)),
        step=step,
        min_quantity=required_decimal(lot, "minOrderQty", what),
        market_max=optional_decimal(lot, "maxMarketOrderQty", what)
        or optional_decimal(lot, "maxOrderQty", what),
        min_notional=required_decimal(lot, "minOrderAmt", what),
        reduce_only_waives_min_notional=False,
        is_tradable=required_text(row, "status", what) == "Trading",
    )


def parse_marks(answer: object, *, wanted: Collection[str]) -> dict[Symbol, float]:
    """Read the wanted marks out of the linear `tickers`; a mark of 0 or none is no price.

    Rows that are not wanted are not judged, so that a neighbour's odd value cannot blind the guard.
    """
    return _parse_prices(answer, wanted=wanted, name="markPrice")


def parse_spot_prices(answer: object, *, wanted: Collection[str]) -> dict[Symbol, float]:
    """Read the last prices of the wanted pairs out of the spot `tickers`."""
    return _parse_prices(answer, wanted=wanted, name="lastPrice")


def _parse_prices(answer: object, *, wanted: Collection[str], name: str) -> dict[Symbol, float]:
    prices: dict[Symbol, float] = {}
    for row in parse_rows(answer, "tickers"):
        symbol = Symbol(required_text(row, "symbol", "tickers"))
        if symbol not in wanted or row.get(name) in (None, ""):
            continue
        price = required_number(row, name, f"tickers {symbol}")
        if price > 0:
            prices[symbol] = price
    return prices
