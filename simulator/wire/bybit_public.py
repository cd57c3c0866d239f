"""What Bybit v5 tells everybody: time, markets, tickers."""

from __future__ import annotations

from simulator.markets import Market
from simulator.wire.bybit_codes import bad_parameter
from simulator.wire.bybit_shapes import Row, milliseconds, page_of, plain
from simulator.wire.call import Call


def server_time(call: Call) -> Row:
    """Return `market/time`."""
    now = call.exchange.now
    return {"timeSecond": str(int(now)), "timeNano": str(milliseconds(now) * 1_000_000)}


def instruments(call: Call) -> Row:
    """Return `market/instruments-info`: by default what is traded, 500 markets to a page."""
    category = str(call.sent.get("category") or "")
    if category not in ("linear", "inverse", "spot", "option"):
        raise bad_parameter("category")
    status = str(call.sent.get("status") or "Trading")
    rows = [
        _market_row(market)
        for market in call.exchange.markets.values()
        if category == "linear"
        and market.is_listed
        and call.symbol in ("", market.symbol)
        and status == ("Trading" if market.is_tradable else "Delivering")
    ]
    page, cursor = page_of(rows, call.sent, usual=500, most=1000)
    return {"category": category, "list": list(page), "nextPageCursor": cursor}


def _market_row(market: Market) -> Row:
    return {
        "symbol": market.symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading" if market.is_tradable else "Delivering",
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(market.price_decimals),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": f"{market.max_leverage}.00",
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": plain(market.tick),
            "maxPrice": "1999999.80",
            "tickSize": plain(market.tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": plain(market.limit_max),
            "minOrderQty": plain(market.min_quantity),
            "qtyStep": plain(market.step),
            "postOnlyMaxOrderQty": plain(market.limit_max),
            "maxMktOrderQty": plain(market.market_max),
            "minNotionalValue": plain(market.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": market.quote,
        "copyTrading": "both",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
        "isPreListing": False,
        "preListingInfo": None,
        "displayName": "",
    }


def tickers(call: Call) -> Row:
    """Return `market/tickers`; nothing moved within a day, because no history is kept here."""
    category = str(call.sent.get("category") or "")
    if category not in ("linear", "inverse", "spot", "option"):
        raise bad_parameter("category")
    marks = call.exchange.marks if category == "linear" else {}
    if call.symbol and call.symbol not in marks:
        raise bad_parameter(f"symbol invalid {call.symbol}")
    rows = []
    for symbol, mark in marks.items():
        if call.symbol not in ("", symbol):
            continue
        price = plain(mark)
        rows.append(
            {
                "symbol": symbol,
                "lastPrice": price,
                "indexPrice": price,
                "markPrice": price,
                "prevPrice24h": price,
                "price24hPcnt": "0",
                "highPrice24h": price,
                "lowPrice24h": price,
                "prevPrice1h": price,
                "openInterest": "0",
                "openInterestValue": "0",
                "turnover24h": "0",
                "volume24h": "0",
                "fundingRate": "0.0001",
                "nextFundingTime": "0",
                "predictedDeliveryPrice": "",
                "basisRate": "",
                "deliveryFeeRate": "",
                "deliveryTime": "0",
                "ask1Size": "1",
                "bid1Price": price,
                "ask1Price": price,
                "bid1Size": "1",
                "basis": "",
            }
        )
    return {"category": category, "list": rows}


def no_coins(_: Call) -> Row:
    """Return `asset/coin/query-info` of a venue part that is not simulated."""
    return {"rows": []}
