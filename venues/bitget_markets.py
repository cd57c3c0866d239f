"""Reads Bitget's public market answers: trading rules and marks, of both account families."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from errors import Malformed
from model import Asset, MarketLimits, Symbol
from venues.bitget_family import Listing, data_of, required_symbol
from venues.parsing import (
    Fields,
    as_rows,
    optional_decimal,
    required_decimal,
    required_integer,
    required_number,
    required_text,
)

CLOSABLE = frozenset({"normal", "limit_open", "online"})
"""Statuses in which a position can be closed; `limit_open` forbids opening alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketNames:
    """How one account family names the rules of a market."""

    what: str
    step: str
    min_quantity: str
    min_notional: str
    status: str


CLASSIC_NAMES = MarketNames(
    what="contracts",
    step="sizeMultiplier",
    min_quantity="minTradeNum",
    min_notional="minTradeUSDT",
    status="symbolStatus",
)
UNIFIED_NAMES = MarketNames(
    what="instruments",
    step="quantityMultiplier",
    min_quantity="minOrderQty",
    min_notional="minOrderAmount",
    status="status",
)


def parse_listings(answer: object, names: MarketNames, *, product: str) -> tuple[Listing, ...]:
    """Read the markets of a product.

    One whose rules cannot be read is left out, so that one odd listing does not hide the rest; an
    answer without a single readable market raises Malformed.
    """
    listings: list[Listing] = []
    fault = "it lists none"
    rows = as_rows(data_of(answer, names.what), names.what)
    for row in rows:
        try:
            listings.append(Listing(limits=_parse_market(row, names), product=product))
        except Malformed as malformed:
            fault = str(malformed)
    if rows and not listings:
        raise Malformed(f"{names.what}: no market can be read ({fault})")
    return tuple(listings)


def _parse_market(row: Fields, names: MarketNames) -> MarketLimits:
    """Read one market. No page of the venue lifts the least value for closing orders."""
    symbol = required_symbol(row, names.what)
    what = f"{names.what} {symbol}"
    step = required_decimal(row, names.step, what)
    if step <= 0:
        raise Malformed(f"{what}: {names.step} is not above zero")
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseCoin", what)),
        quote=Asset(required_text(row, "quoteCoin", what)),
        step=step,
        min_quantity=required_decimal(row, names.min_quantity, what),
        market_max=optional_decimal(row, "maxMarketOrderQty", what) or None,
        min_notional=required_decimal(row, names.min_notional, what),
        reduce_only_waives_min_notional=False,
        is_tradable=required_text(row, names.status, what) in CLOSABLE,
    )


def parse_spot_instruments(answer: object) -> dict[Symbol, MarketLimits]:
    """Read the spot `instruments`; a market whose rules cannot be read is left out."""
    markets: dict[Symbol, MarketLimits] = {}
    for row in as_rows(data_of(answer, "spot instruments"), "spot instruments"):
        try:
            market = _parse_spot_instrument(row)
        except Malformed:
            continue
        markets[market.symbol] = market
    return markets


def _parse_spot_instrument(row: Fields) -> MarketLimits:
    """Read one spot market; the least value is taken to be money, whatever the market pays in."""
    symbol = required_symbol(row, "spot instruments")
    what = f"spot instruments {symbol}"
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseCoin", what).upper()),
        quote=Asset(required_text(row, "quoteCoin", what).upper()),
        step=step_of_places(row, what),
        min_quantity=required_decimal(row, "minOrderQty", what),
        market_max=optional_decimal(row, "maxMarketOrderQty", what)
        or optional_decimal(row, "maxOrderQty", what)
        or None,
        min_notional=required_decimal(row, "minOrderAmount", what),
        reduce_only_waives_min_notional=False,
        is_tradable=required_text(row, "status", what) == "online",
    )


def step_of_places(row: Fields, what: str) -> Decimal:
    """The step of a spot market, which is told as a number of decimal places."""
    places = required_integer(row, "quantityPrecision", what)
    if not 0 <= places <= 20:
        raise Malformed(f"{what}: quantityPrecision is no number of places")
    return Decimal(1).scaleb(-places)


def parse_marks(answer: object) -> dict[Symbol, float]:
    """Read the marks out of `tickers`. A row without one that is a price is left out.

    What is missing is for the caller to miss: a neighbour's odd value must not blind the guard.
    """
    marks: dict[Symbol, float] = {}
    for row in as_rows(data_of(answer, "tickers"), "tickers"):
        symbol = required_symbol(row, "tickers")
        try:
            mark = required_number(row, "markPrice", f"tickers {symbol}")
        except Malformed:
            continue
        if mark > 0:
            marks[symbol] = mark
    return marks
