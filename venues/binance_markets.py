"""What Binance tells everybody: trading rules, mark prices and asset indices.

Owns which symbols are listed, and how a coin is priced. The functions are pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

from errors import Malformed, Unavailable
from model import Asset, MarketLimits, Symbol
from venues.binance_pacing import parse_rates
from venues.connection import VenueConnection
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    required_decimal,
    required_number,
    required_rows,
    required_text,
)


def parse_market_limits(answer: object) -> dict[Symbol, MarketLimits]:
    """Read `exchangeInfo`: perpetual and delivery contracts of every status, by symbol.

    A market whose rules cannot be read is left out, so that one odd listing does not hide the
    rest; an answer without a single readable market raises Malformed.
    """
    limits: dict[Symbol, MarketLimits] = {}
    fault = "it lists none"
    for row in required_rows(as_fields(answer, "exchangeInfo"), "symbols", "exchangeInfo"):
        try:
            market = parse_market(row)
        except Malformed as malformed:
            fault = str(malformed)
            continue
        limits[market.symbol] = market
    if not limits:
        raise Malformed(f"exchangeInfo: no market can be read ({fault})")
    return limits


def parse_market(row: Fields) -> MarketLimits:
    """Read one market. A market order has to satisfy LOT_SIZE and MARKET_LOT_SIZE both.

    Reduce-only waives the minimum notional in one-way mode. Hedge mode forbids that flag, and
    whether a closing order is exempt there is not documented: the venue's refusal tells.
    """
    symbol = Symbol(required_text(row, "symbol", "exchangeInfo"))
    what = f"exchangeInfo {symbol}"
    filters = {
        required_text(rule, "filterType", what): rule
        for rule in required_rows(row, "filters", what)
    }
    lot = _filter(filters, "LOT_SIZE", what)
    market_lot = _filter(filters, "MARKET_LOT_SIZE", what)
    step = required_decimal(lot, "stepSize", what)
    if step <= 0:
        raise Malformed(f"{what}: stepSize is not above zero")
    maxima = [
        maximum for rule in (lot, market_lot) if (maximum := required_decimal(rule, "maxQty", what))
    ]
    return MarketLimits(
        symbol=symbol,
        base=Asset(required_text(row, "baseAsset", what)),
        quote=Asset(required_text(row, "quoteAsset", what)),
        step=max(step, optional_decimal(market_lot, "stepSize", what) or Decimal(0)),
        min_quantity=max(required_decimal(rule, "minQty", what) for rule in (lot, market_lot)),
        market_max=min(maxima) if maxima else None,
        min_notional=required_decimal(
            _filter(filters, "MIN_NOTIONAL", what), "notional", f"{what} MIN_NOTIONAL"
        ),
        reduce_only_waives_min_notional=True,
        is_tradable=required_text(row, "status", what) == "TRADING",
    )


def _filter(filters: Mapping[str, Fields], name: str, what: str) -> Fields:
    """One of a market's rules, which must be there."""
    if name not in filters:
        raise Malformed(f"{what}: {name} is missing")
    return filters[name]


def parse_marks(answer: object, *, wanted: Collection[str]) -> dict[Symbol, float]:
    """Read the wanted marks out of `premiumIndex`, for one symbol (an object) or all (a list).

    A mark of 0 (a contract that does not trade yet) is left out: it is no price. Rows that are not
    wanted are not judged, so that a neighbour's odd value cannot blind the guard.
    """
    rows = as_rows([answer] if isinstance(answer, Mapping) else answer, "premiumIndex")
    marks: dict[Symbol, float] = {}
    for row in rows:
        symbol = Symbol(required_text(row, "symbol", "premiumIndex"))
        if symbol not in wanted:
            continue
        mark = required_number(row, "markPrice", f"premiumIndex {symbol}")
        if mark > 0:
            marks[symbol] = mark
    return marks


def parse_asset_prices(answer: object, *, wanted: Collection[Asset]) -> dict[Asset, float]:
    """Read the wanted assets out of `assetIndex`, the venue's USD price of each (`BNBUSD`)."""
    prices: dict[Asset, float] = {}
    for row in as_rows(answer, "assetIndex"):
        pair = required_text(row, "symbol", "assetIndex")
        asset = Asset(pair.removesuffix("USD"))
        if asset not in wanted or asset == pair:
            continue
        index = required_number(row, "index", f"assetIndex {pair}")
        if index > 0:
            prices[asset] = index
    return prices


class Markets:
    """The venue's public answers; `bases` are those of the symbols listed when last asked."""

    def __init__(self, connection: VenueConnection) -> None:
        self._connection = connection
        self.bases: Mapping[Symbol, Asset] = {}

    async def fetch_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read what every market accepts, and learn the bases and the venue's own pace."""
        answer = await self._connection.read("fapiPublicGetExchangeInfo", "exchangeInfo")
        self._connection.adopt_rates(parse_rates(answer))
        limits = parse_market_limits(answer)
        self.bases = {symbol: market.base for symbol, market in limits.items()}
        return limits

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Read marks; the row of a coin bears the asset's name and is priced as the asset."""
        if not symbols:
            return {}
        one = {"symbol": symbols[0]} if len(symbols) == 1 and symbols[0] in self.bases else {}
        answer = await self._connection.read("fapiPublicGetPremiumIndex", "premiumIndex", one)
        marks = parse_marks(answer, wanted=frozenset(symbols))
        coins = await self.fetch_prices(
            tuple(Asset(name) for name in sorted(set(symbols) - set(marks) - set(self.bases)))
        )
        found = {**marks, **{Symbol(asset): price for asset, price in coins.items()}}
        missing = sorted(set(symbols) - set(found))
        if missing:
            raise Unavailable(f"premiumIndex: no mark for {', '.join(missing)}")
        return found

    async def fetch_prices(self, assets: Collection[Asset]) -> dict[Asset, float]:
        """Price assets by their USDT (else USDC) mark, else by the venue's asset index.

        An asset that neither knows is left out of the answer.
        """
        if not assets:
            return {}
        names = {asset: (Symbol(f"{asset}USDT"), Symbol(f"{asset}USDC")) for asset in assets}
        only = next(iter(names.values()))[0]
        params = {"symbol": only} if len(names) == 1 and only in self.bases else {}
        answer = await self._connection.read("fapiPublicGetPremiumIndex", "premiumIndex", params)
        marks = parse_marks(answer, wanted={name for pair in names.values() for name in pair})
        prices = {
            asset: marks[name]
            for asset, pair in names.items()
            for name in reversed(pair)
            if name in marks
        }
        missing = set(assets) - set(prices)
        if missing:
            index = await self._connection.read("fapiPublicGetAssetIndex", "assetIndex")
            prices |= parse_asset_prices(index, wanted=missing)
        return prices
