"""Answers of Bybit v5 as the venue writes them, every key included, for tests to change."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
AT_MS = 1_700_000_000_000


def answer(result: object, *, extra: Row | None = None, code: int = 0, message: str = "OK") -> Row:
    """Any answer, with what every answer has around its result."""
    return {
        "retCode": code,
        "retMsg": message,
        "result": result,
        "retExtInfo": extra or {},
        "time": AT_MS,
    }


def listed(*rows: Row, cursor: str = "") -> Row:
    """One page of a list."""
    return answer({"list": list(rows), "nextPageCursor": cursor, "category": "linear"})


def coin_row(coin: str, equity: str, **changes: object) -> Row:
    """One coin of a wallet, worth 1 USD a piece unless told otherwise."""
    return {
        "availableToBorrow": "",
        "bonus": "0",
        "accruedInterest": "0",
        "availableToWithdraw": "",
        "totalOrderIM": "0",
        "equity": equity,
        "totalPositionMM": "0",
        "usdValue": equity,
        "spotHedgingQty": "0",
        "unrealisedPnl": "0",
        "collateralSwitch": True,
        "borrowAmount": "0",
        "totalPositionIM": "0",
        "walletBalance": equity,
        "cumRealisedPnl": "0",
        "locked": "0",
        "marginCollateral": True,
        "coin": coin,
        "spotBorrow": "0",
        **changes,
    }


def wallet(*coins: Row, equity: str, **changes: object) -> Row:
    """The wallet of a unified account."""
    totals: Row = {
        "totalEquity": equity,
        "accountIMRate": "0",
        "accountIMRateByMp": "0",
        "totalMarginBalance": equity,
        "totalInitialMargin": "0",
        "totalInitialMarginByMp": "0",
        "accountType": "UNIFIED",
        "totalAvailableBalance": equity,
        "accountMMRate": "0",
        "accountMMRateByMp": "0",
        "totalPerpUPL": "0",
        "totalWalletBalance": equity,
        "accountLTV": "0",
        "totalMaintenanceMargin": "0",
        "totalMaintenanceMarginByMp": "0",
        "coin": list(coins),
        **changes,
    }
    return answer({"list": [totals]})


def position_row(**changes: object) -> Row:
    """A long of 1.5 ETH in one-way mode, entered at 2,000, at 2,100.5 now: 150.75 made."""
    return {
        "positionIdx": 0,
        "riskId": 1,
        "riskLimitValue": "150",
        "symbol": "ETHUSDT",
        "side": "Buy",
        "size": "1.5",
        "avgPrice": "2000",
        "positionValue": "3000",
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": 0,
        "adlRankIndicator": 2,
        "leverage": "10",
        "breakEvenPrice": "2001",
        "positionBalance": "301.5",
        "markPrice": "2100.5",
        "liqPrice": "1200",
        "bustPrice": "",
        "positionMM": "15",
        "positionMMByMp": "15",
        "positionIM": "315.1",
        "positionIMByMp": "315.1",
        "tpslMode": "Full",
        "takeProfit": "0",
        "stopLoss": "0",
        "trailingStop": "0",
        "unrealisedPnl": "150.75",
        "curRealisedPnl": "-1",
        "cumRealisedPnl": "-10",
        "seq": 8000100200,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "sessionAvgPrice": "",
        "createdTime": "1730000000258",
        "updatedTime": "1731000000007",
        **changes,
    }


def order_row(**changes: object) -> Row:
    """A resting buy of 0.1 ETH at 1,600, of which 0.04 are filled, in one-way mode."""
    return {
        "orderId": "9a5b3c1d-0000-4000-8000-000000000003",
        "orderLinkId": "bot-5",
        "blockTradeId": "",
        "symbol": "ETHUSDT",
        "price": "1600.00",
        "qty": "0.10",
        "side": "Buy",
        "isLeverage": "",
        "positionIdx": 0,
        "orderStatus": "PartiallyFilled",
        "createType": "CreateByUser",
        "cancelType": "UNKNOWN",
        "rejectReason": "EC_NoError",
        "avgPrice": "",
        "leavesQty": "0.06",
        "leavesValue": "96",
        "cumExecQty": "0.04",
        "cumExecValue": "64",
        "cumExecFee": "0",
        "timeInForce": "GTC",
        "orderType": "Limit",
        "stopOrderType": "UNKNOWN",
        "orderIv": "",
        "triggerPrice": "0.00",
        "takeProfit": "2500.00",
        "stopLoss": "1500.00",
        "tpTriggerBy": "LastPrice",
        "slTriggerBy": "LastPrice",
        "triggerDirection": 0,
        "triggerBy": "UNKNOWN",
        "lastPriceOnCreated": "",
        "reduceOnly": False,
        "closeOnTrigger": False,
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "tpslMode": "Full",
        "tpLimitPrice": "",
        "slLimitPrice": "",
        "placeType": "",
        "createdTime": "1731000000559",
        "updatedTime": "1731000000561",
        **changes,
    }


def stop_row(**changes: object) -> Row:
    """The stop loss of a position in full, which waits."""
    return order_row(
        **{
            "orderId": "5e1b7a54-0001-4ad0-8ec1-0a1b2c3d4e5f",
            "orderLinkId": "",
            "price": "0",
            "qty": "0",
            "side": "Sell",
            "orderStatus": "Untriggered",
            "leavesQty": "0",
            "cumExecQty": "0",
            "orderType": "Market",
            "stopOrderType": "StopLoss",
            "triggerPrice": "1500",
            "triggerDirection": 2,
            "reduceOnly": True,
            "closeOnTrigger": True,
            **changes,
        }
    )


def log_row(**changes: object) -> Row:
    """A close of XRP that lost 4.5 and cost 0.5 of fees."""
    return {
        "transSubType": "",
        "id": "410027_XRPUSDT_700200300400",
        "symbol": "XRPUSDT",
        "side": "Sell",
        "funding": "",
        "orderLinkId": "ks-1",
        "orderId": "71c0ffee-0000-4000-8000-000000000001",
        "fee": "0.5",
        "change": "-5",
        "cashFlow": "-4.5",
        "transactionTime": str(AT_MS),
        "type": "TRADE",
        "feeRate": "0.0006",
        "bonusChange": "",
        "size": "0",
        "qty": "88",
        "cashBalance": "5086.5",
        "currency": "USDT",
        "category": "linear",
        "tradePrice": "0.3615",
        "tradeId": "71c0ffee-0000-4000-8000-000000000002",
        "extraFees": "",
        **changes,
    }


def transfer_row(amount: str, **changes: object) -> Row:
    """Money that came, or with a minus went."""
    return log_row(
        **{
            "id": f"transfer_{amount}",
            "symbol": "",
            "fee": "0",
            "change": amount,
            "cashFlow": amount,
            "type": "TRANSFER_OUT" if amount.startswith("-") else "TRANSFER_IN",
            "category": "",
            "tradeId": "",
            **changes,
        }
    )


def market_row(**changes: object) -> Row:
    """The rules of ETHUSDT; changes to its lot size go by `lotSizeFilter`."""
    return {
        "symbol": "ETHUSDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": "ETH",
        "quoteCoin": "USDT",
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": "2",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.01", "maxPrice": "1999999.80", "tickSize": "0.01"},
        "lotSizeFilter": lot_row(),
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": "USDT",
        "copyTrading": "both",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
        "isPreListing": False,
        "preListingInfo": None,
        "displayName": "",
        **changes,
    }


def lot_row(**changes: object) -> Row:
    """The sizes of a market."""
    return {
        "maxOrderQty": "8000",
        "minOrderQty": "0.01",
        "qtyStep": "0.01",
        "postOnlyMaxOrderQty": "8000",
        "maxMktOrderQty": "1500",
        "minNotionalValue": "5",
        **changes,
    }


def ticker_row(symbol: str, mark: str) -> Row:
    """One row of the tickers."""
    return {"symbol": symbol, "lastPrice": mark, "markPrice": mark, "indexPrice": mark}


def account_info(**changes: object) -> Row:
    """A unified account under cross margin."""
    return answer(
        {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": "1697078946000",
            "unifiedMarginStatus": 6,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
            **changes,
        }
    )
