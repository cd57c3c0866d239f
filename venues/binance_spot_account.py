"""Turns Binance's spot balances, books and market rules into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns what is
Binance's own: `LD` assets, which are coins lent to Simple Earn, and the filters of `api/v3`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from errors import Malformed
from model import Asset, MarketLimits, Symbol
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    required_decimal,
    required_flag,
    required_integer,
    required_number,
    required_rows,
    required_text,
)
from venues.spot_values import Balance, Mids, is_listed

LENT = "LD"
"""What the venue puts before the name of a coin that earns interest."""


def parse_balances(answer: object, *, mids: Mids, stables: Sequence[Asset]) -> tuple[Balance, ...]:
    """Read `account`: each asset once, what is lent counted to its coin; zeros are left out.

    A list that is empty is an honest zero (what is not held was not asked for); a missing one
    never is. `mids` tell `LDBTC`, which no market trades, from `LDO`, a coin of its own.
    """
    rows = required_rows(as_fields(answer, "account"), "balances", "account")
    found: dict[Asset, Balance] = {}
    seen: set[Asset] = set()
    for row in rows:
        asset = Asset(required_text(row, "asset", "account.balances"))
        if asset in seen:
            raise Malformed("account: an asset is listed twice")
        seen.add(asset)
        what = f"account.balances {asset}"
        free, locked = (required_decimal(row, name, what) for name in ("free", "locked"))
        if free < 0 or locked < 0:
            raise Malformed(f"{what}: a balance is below zero")
        coin = lent_coin(asset, mids=mids, stables=stables)
        known = found.get(coin or asset, Balance(asset=coin or asset))
        if coin is not None:
            found[coin] = replace(known, lent=known.lent + free + locked)
        else:
            found[asset] = replace(known, free=free, locked=locked)
    return tuple(balance for balance in found.values() if balance.total > 0)


def lent_coin(asset: Asset, *, mids: Mids, stables: Sequence[Asset]) -> Asset | None:
    """The coin behind an `LD` asset, None for every other asset."""
    coin = Asset(asset.removeprefix(LENT))
    if coin in ("", asset) or is_listed(asset, mids=mids, stables=stables):
        return None
    is_known = coin in stables or is_listed(coin, mids=mids, stables=stables)
    return coin if is_known else None


def parse_mids(answer: object) -> dict[Symbol, float | None]:
    """Read `ticker/bookTicker` of all markets: the mid of each, None where a side is missing.

    A row that makes no sense has no price, so that a neighbour's odd value cannot blind the guard;
    an answer without a single price raises Malformed.
    """
    mids: dict[Symbol, float | None] = {}
    for row in as_rows(answer, "bookTicker"):
        symbol = Symbol(required_text(row, "symbol", "bookTicker"))
        book = parse_book(row, f"bookTicker {symbol}")
        mids[symbol] = None if book is None else sum(book) / 2
    if not any(mids.values()):
        raise Malformed("bookTicker: no market has a price")
    return mids


def parse_book(row: Fields, what: str) -> tuple[float, float] | None:
    """Best bid and ask of one market, None where a side is missing or both make no sense."""
    try:
        bid, ask = (required_number(row, name, what) for name in ("bidPrice", "askPrice"))
    except Malformed:
        return None
    return (bid, ask) if 0 < bid <= ask else None


def parse_last_price(answer: object) -> float | None:
    """Read `ticker/24hr` of one market: what was paid last, None if nothing was within the day.

    An answer that is none, or makes no sense, tells no price.
    """
    try:
        fields = as_fields(answer, "ticker/24hr")
        if required_integer(fields, "count", "ticker/24hr") <= 0:
            return None
        price = required_number(fields, "lastPrice", "ticker/24hr")
    except Malformed:
        return None
    return price if price > 0 else None


def parse_markets(answer: object) -> dict[Symbol, MarketLimits]:
    """Read `exchangeInfo`: spot markets of every status, by the venue's own id.

    A market whose rules cannot be read is left out; without a single one it raises Malformed.
    """
    markets: dict[Symbol, MarketLimits] = {}
    fault = "it lists none"
    for row in required_rows(as_fields(answer, "exchangeInfo"), "symbols", "exchangeInfo"):
        try:
            market = _parse_market(row)
        except Malformed as malformed:
            fault = str(malformed)
            continue
        markets[market.symbol] = market
    if not markets:
        raise Malformed(f"exchangeInfo: no market can be read ({fault})")
    return markets


def _parse_market(row: Fields) -> MarketLimits:
    """Read one market. A filter of 0 is switched off, as MARKET_LOT_SIZE often is in part."""
    symbol = Symbol(required_text(row, "symbol", "exchangeInfo"))
    what = f"exchangeInfo {symbol}"
    filters = {
        required_text(rule, "filterType", what): rule
        for rule in required_rows(row, "filters", what)
    }
    if "LOT_SIZE" not in filters:
        raise Malformed(f"{what}: LOT_SIZE is missing")
    lot, market_lot = filters["LOT_SIZE"], filters.get("MARKET_LOT_SIZE", {})
    step = required_decimal(lot, "stepSize", what)
    if step <= 0:
        raise Malformed(f"{what}: stepSize is not above zero")
    maxima = [
        largest for rule in (lot, market_lot) if (largest := optional_decimal(rule, "maxQty", what))
    ]
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseAsset", what)),
        quote=Asset(required_text(row, "quoteAsset", what)),
        step=max(step, optional_decimal(market_lot, "stepSize", what) or Decimal(0)),
        min_quantity=max(
            optional_decimal(rule, "minQty", what) or Decimal(0) for rule in (lot, market_lot)
        ),
        market_max=min(maxima) if maxima else None,
        min_notional=_least_value(filters, what),
        reduce_only_waives_min_notional=False,
        is_tradable=required_text(row, "status", what) == "TRADING"
        and required_flag(row, "isSpotTradingAllowed", what)
        and "MARKET" in _order_types(row),
    )


def _order_types(row: Fields) -> Sequence[object]:
    kinds = row.get("orderTypes")
    return kinds if isinstance(kinds, list) else ()


def _least_value(filters: Mapping[str, Fields], what: str) -> Decimal:
    """The least value of a market order in the market's quote, 0 where none applies.

    Newer markets say NOTIONAL, older ones MIN_NOTIONAL; each says whether market orders count.
    """
    for name, applies in (("NOTIONAL", "applyMinToMarket"), ("MIN_NOTIONAL", "applyToMarket")):
        rule = filters.get(name)
        if rule is not None and required_flag(rule, applies, f"{what} {name}"):
            return required_decimal(rule, "minNotional", f"{what} {name}")
    return Decimal(0)
