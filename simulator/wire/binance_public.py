"""What Binance USD-M tells everybody: markets, time, marks and tickers."""

from __future__ import annotations

from decimal import Decimal

from simulator.exchange import Exchange
from simulator.markets import Market
from simulator.reasons import Reason, Rejected
from simulator.wire.binance_codes import translate
from simulator.wire.binance_gate import (
    ORDERS_PER_MINUTE,
    ORDERS_PER_TEN_SECONDS,
    WEIGHT_PER_MINUTE,
)
from simulator.wire.binance_shapes import Row, milliseconds, money, places, plain

PERPETUAL_DELIVERY = 4133404800000
FUNDING_INTERVAL_S = 8 * 3600
MARGIN_ASSETS = ("USDT", "BTC", "BNB", "ETH", "USDC")


def order_limits() -> list[Row]:
    """Return the order counters and their limits."""
    return [
        _limit("ORDERS", "SECOND", 10, ORDERS_PER_TEN_SECONDS),
        _limit("ORDERS", "MINUTE", 1, ORDERS_PER_MINUTE),
    ]


def _limit(kind: str, interval: str, number: int, limit: int) -> Row:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def exchange_info(exchange: Exchange) -> Row:
    """Return `exchangeInfo` of the perpetuals."""
    return {
        "timezone": "UTC",
        "serverTime": milliseconds(exchange.now),
        "futuresType": "U_MARGINED",
        "rateLimits": [_limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_PER_MINUTE), *order_limits()],
        "exchangeFilters": [],
        "assets": [
            {"asset": asset, "marginAvailable": True, "autoAssetExchange": "0"}
            for asset in MARGIN_ASSETS
        ],
        "symbols": [
            _symbol_row(market) for market in exchange.markets.values() if market.is_listed
        ],
    }


def _symbol_row(market: Market) -> Row:
    tick = format(market.tick, "f")
    step = format(market.step, "f")
    minimum = format(market.min_quantity, "f")
    return {
        "symbol": market.symbol,
        "pair": market.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_DELIVERY,
        "onboardDate": 1569398400000,
        "status": "TRADING" if market.is_tradable else "SETTLING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": market.price_decimals,
        "quantityPrecision": market.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": places(market.liquidation_fee, 6),
        "marketTakeBound": plain(market.take_bound),
        "maxMoveOrderLimit": 10000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "10000000",
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": minimum,
                "maxQty": plain(market.limit_max),
                "stepSize": step,
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": minimum,
                "maxQty": plain(market.market_max),
                "stepSize": step,
            },
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": plain(market.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def priced(exchange: Exchange, symbol: str) -> list[str]:
    """Return the symbols to report: the one asked for, or all with a price."""
    if not symbol:
        return list(exchange.marks)
    if symbol not in exchange.markets or symbol not in exchange.marks:
        raise translate(Rejected(Reason.UNKNOWN_SYMBOL, symbol))
    return [symbol]


def one_or_all(rows: list[Row], symbol: str) -> object:
    """Return the single row for a single symbol, the list otherwise."""
    return rows[0] if symbol else rows


def premium_index(exchange: Exchange, symbol: str) -> object:
    """Return `premiumIndex`: mark and index price, funding."""
    following = (exchange.now // FUNDING_INTERVAL_S + 1) * FUNDING_INTERVAL_S
    rows: list[Row] = [
        {
            "symbol": name,
            "markPrice": money(exchange.marks[name]),
            "indexPrice": money(exchange.marks[name]),
            "estimatedSettlePrice": money(exchange.marks[name]),
            "lastFundingRate": "0.00010000",
            "interestRate": "0.00010000",
            "nextFundingTime": milliseconds(following),
            "time": milliseconds(exchange.now),
        }
        for name in priced(exchange, symbol)
    ]
    return one_or_all(rows, symbol)


def ticker_24h(exchange: Exchange, symbol: str) -> object:
    """Return `ticker/24hr`; nothing moved within a day, because no history is kept here."""
    rows: list[Row] = []
    for name in priced(exchange, symbol):
        price = plain(exchange.marks[name])
        rows.append(
            {
                "symbol": name,
                "priceChange": "0",
                "priceChangePercent": "0.000",
                "weightedAvgPrice": price,
                "lastPrice": price,
                "lastQty": "1",
                "openPrice": price,
                "highPrice": price,
                "lowPrice": price,
                "volume": "0",
                "quoteVolume": "0",
                "openTime": milliseconds(exchange.now - 86400),
                "closeTime": milliseconds(exchange.now),
                "firstId": 1,
                "lastId": 1,
                "count": 1,
            }
        )
    return one_or_all(rows, symbol)


def book_ticker(exchange: Exchange, symbol: str) -> object:
    """Return `ticker/bookTicker`: both sides at the mark, as deep as the market allows."""
    rows: list[Row] = []
    for name in priced(exchange, symbol):
        market = exchange.markets[name]
        price = exchange.marks[name]
        size = market.fillable(price)
        quantity = plain(market.limit_max if size is None else size)
        rows.append(
            {
                "symbol": name,
                "bidPrice": plain(price),
                "bidQty": quantity,
                "askPrice": plain(price),
                "askQty": quantity,
                "time": milliseconds(exchange.now),
                "lastUpdateId": exchange.world.revision,
            }
        )
    return one_or_all(rows, symbol)


def ticker_price(exchange: Exchange, symbol: str) -> object:
    """Return `ticker/price`."""
    rows: list[Row] = [
        {
            "symbol": name,
            "price": plain(exchange.marks[name]),
            "time": milliseconds(exchange.now),
        }
        for name in priced(exchange, symbol)
    ]
    return one_or_all(rows, symbol)


def leverage_brackets(exchange: Exchange, symbol: str) -> list[Row]:
    """Return `leverageBracket`: one bracket per market."""
    if symbol and symbol not in exchange.markets:
        raise translate(Rejected(Reason.UNKNOWN_SYMBOL, symbol))
    return [
        {
            "symbol": market.symbol,
            "notionalCoef": 1.0,
            "brackets": [
                {
                    "bracket": 1,
                    "initialLeverage": market.max_leverage,
                    "notionalCap": 100000000,
                    "notionalFloor": 0,
                    "maintMarginRatio": float(market.maintenance_rate),
                    "cum": 0.0,
                }
            ],
        }
        for market in exchange.markets.values()
        if symbol in ("", market.symbol)
    ]


def empty_exchange_info(exchange: Exchange) -> Row:
    """Return `exchangeInfo` of a venue part that lists nothing here: spot, coin-margined."""
    return {
        "timezone": "UTC",
        "serverTime": milliseconds(exchange.now),
        "rateLimits": [],
        "exchangeFilters": [],
        "symbols": [],
    }


def asset_index(exchange: Exchange) -> list[Row]:
    """Return `assetIndex`: what coins are worth in USD."""
    rows: list[Row] = []
    for asset in MARGIN_ASSETS:
        price = exchange.marks.get(f"{asset}USDT")
        if price is None:
            continue
        rows.append(
            {
                "symbol": f"{asset}USD",
                "time": milliseconds(exchange.now),
                "index": money(price),
                "bidBuffer": "0.05000000",
                "askBuffer": "0.05000000",
                "bidRate": money(price * Decimal("0.95")),
                "askRate": money(price * Decimal("1.05")),
            }
        )
    return rows
