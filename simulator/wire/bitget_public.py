"""What Bitget tells everybody: time, contracts, marks, in the words of both account families."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from simulator.exchange import Exchange
from simulator.markets import Market
from simulator.reasons import Reason, Rejected
from simulator.wire.bitget_codes import translate
from simulator.wire.bitget_shapes import Row, milliseconds, product_named, product_of, text


def server_time(exchange: Exchange) -> Row:
    """Return `public/time`."""
    return {"serverTime": milliseconds(exchange.now)}


def markets_of(exchange: Exchange, product: str, symbol: str = "") -> list[Market]:
    """The markets of one product, or one of them. Raises BitgetError 40034."""
    if symbol and symbol not in exchange.markets:
        raise translate(Rejected(Reason.UNKNOWN_SYMBOL, symbol))
    return [
        market
        for market in exchange.markets.values()
        if product_of(market) == product and symbol in ("", market.symbol)
    ]


def contracts(exchange: Exchange, sent: Mapping[str, object]) -> list[Row]:
    """Return `mix/market/contracts`."""
    product = product_named(sent.get("productType"))
    found = markets_of(exchange, product, _symbol(sent))
    return [_contract(market) for market in found if market.is_listed]


def _symbol(sent: Mapping[str, object]) -> str:
    return str(sent.get("symbol") or "").upper()


def _contract(market: Market) -> Row:
    end_step = market.tick.scaleb(market.price_decimals)
    return {
        "symbol": market.symbol,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "buyLimitPriceRatio": text(market.take_bound),
        "sellLimitPriceRatio": text(market.take_bound),
        "feeRateUpRatio": "0.005",
        "makerFeeRate": text(market.maker_fee),
        "takerFeeRate": text(market.taker_fee),
        "openCostUpRatio": "0.01",
        "supportMarginCoins": [market.quote],
        "minTradeNum": text(market.min_quantity),
        "priceEndStep": text(end_step),
        "volumePlace": str(market.quantity_decimals),
        "pricePlace": str(market.price_decimals),
        "sizeMultiplier": text(market.step),
        "symbolType": "perpetual",
        "minTradeUSDT": text(market.min_notional),
        "maxSymbolOrderNum": "200",
        "maxProductOrderNum": "400",
        "maxPositionNum": "150",
        "symbolStatus": "normal" if market.is_tradable else "off",
        "offTime": "-1",
        "limitOpenTime": "-1",
        "deliveryTime": "",
        "deliveryStartTime": "",
        "launchTime": "",
        "fundInterval": "8",
        "minLever": "1",
        "maxLever": str(market.max_leverage),
        "posLimit": "0.05",
        "maintainTime": "",
        "maxMarketOrderQty": text(market.market_max),
        "maxOrderQty": text(market.limit_max),
    }


def tickers(exchange: Exchange, sent: Mapping[str, object]) -> list[Row]:
    """Return `mix/market/tickers`; nothing moved within a day, because no history is kept here."""
    product = product_named(sent.get("productType"))
    return [_ticker(exchange, market) for market in _priced(exchange, product, _symbol(sent))]


def _priced(exchange: Exchange, product: str, symbol: str) -> list[Market]:
    found = markets_of(exchange, product, symbol)
    return [market for market in found if market.symbol in exchange.marks]


def _ticker(exchange: Exchange, market: Market) -> Row:
    price = text(exchange.marks[market.symbol])
    size = text(market.fillable(exchange.marks[market.symbol]) or market.limit_max)
    return {
        "symbol": market.symbol,
        "lastPr": price,
        "askPr": price,
        "bidPr": price,
        "bidSz": size,
        "askSz": size,
        "high24h": price,
        "low24h": price,
        "ts": milliseconds(exchange.now),
        "change24h": "0",
        "baseVolume": "0",
        "quoteVolume": "0",
        "usdtVolume": "0",
        "openUtc": price,
        "changeUtc24h": "0",
        "indexPrice": price,
        "fundingRate": "0.0001",
        "holdingAmount": "0",
        "deliveryStartTime": "",
        "deliveryTime": "",
        "deliveryStatus": "delivery_normal",
        "open24h": price,
        "markPrice": price,
    }


def instruments(exchange: Exchange, sent: Mapping[str, object]) -> list[Row]:
    """Return `market/instruments` of the unified account."""
    product = product_named(sent.get("category"))
    found = markets_of(exchange, product, _symbol(sent))
    return [_instrument(market) for market in found if market.is_listed]


def _instrument(market: Market) -> Row:
    return {
        "symbol": market.symbol,
        "category": product_of(market),
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "isRwa": "NO",
        "buyLimitPriceRatio": text(market.take_bound),
        "sellLimitPriceRatio": text(market.take_bound),
        "feeRateUpRatio": "0.005",
        "makerFeeRate": text(market.maker_fee),
        "takerFeeRate": text(market.taker_fee),
        "openCostUpRatio": "0.01",
        "minOrderQty": text(market.min_quantity),
        "maxOrderQty": text(market.limit_max),
        "pricePrecision": str(market.price_decimals),
        "quantityPrecision": str(market.quantity_decimals),
        "quotePrecision": "",
        "priceMultiplier": text(market.tick),
        "quantityMultiplier": text(market.step),
        "type": "perpetual",
        "minOrderAmount": text(market.min_notional),
        "maxSymbolOrderNum": "",
        "maxProductOrderNum": "400",
        "maxPositionNum": "200",
        "status": "online" if market.is_tradable else "offline",
        "offTime": "-1",
        "limitOpenTime": "-1",
        "deliveryTime": "",
        "deliveryStartTime": "",
        "deliveryPeriod": "",
        "launchTime": "0",
        "fundInterval": "8",
        "minLeverage": "1",
        "maxLeverage": str(market.max_leverage),
        "maintainTime": "",
        "symbolType": "crypto",
        "maxMarketOrderQty": text(market.market_max),
    }


def unified_tickers(exchange: Exchange, sent: Mapping[str, object]) -> list[Row]:
    """Return `market/tickers` of the unified account."""
    product = product_named(sent.get("category"))
    return [
        _unified_ticker(exchange, market) for market in _priced(exchange, product, _symbol(sent))
    ]


def _unified_ticker(exchange: Exchange, market: Market) -> Row:
    mark: Decimal = exchange.marks[market.symbol]
    price = text(mark)
    size = text(market.fillable(mark) or market.limit_max)
    return {
        "category": product_of(market),
        "symbol": market.symbol,
        "ts": milliseconds(exchange.now),
        "lastPrice": price,
        "openPrice24h": price,
        "highPrice24h": price,
        "lowPrice24h": price,
        "ask1Price": price,
        "bid1Price": price,
        "bid1Size": size,
        "ask1Size": size,
        "price24hPcnt": "0",
        "volume24h": "0",
        "turnover24h": "0",
        "indexPrice": price,
        "markPrice": price,
        "fundingRate": "0.0001",
        "openInterest": "0",
        "deliveryStartTime": "",
        "deliveryTime": "",
        "deliveryStatus": "",
    }
