"""Answers of Bitget's spot endpoints as its pages show them, changed as a test asks."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def asset_row(**changes: object) -> Row:
    """2 BTC, of which 0.5 are held by an order and 0.25 are set aside for something else."""
    return {
        "coin": "BTC",
        "available": "1.25",
        "limitAvailable": "0",
        "frozen": "0.5",
        "locked": "0.25",
        "uTime": "1699937566000",
        **changes,
    }


def ticker_row(**changes: object) -> Row:
    """BTC between 59,990 and 60,010."""
    return {
        "open": "59000",
        "symbol": "BTCUSDT",
        "high24h": "61000",
        "low24h": "58000",
        "lastPr": "59995",
        "quoteVolume": "519127705.303",
        "baseVolume": "13907.0386",
        "usdtVolume": "519127705.302908",
        "ts": "1700532903261",
        "bidPr": "59990",
        "askPr": "60010",
        "bidSz": "0.0007",
        "askSz": "0.0829",
        "openUtc": "59500",
        "changeUtc24h": "0.00359",
        "change24h": "0.00321",
        **changes,
    }


def symbol_row(**changes: object) -> Row:
    """BTC for USDT: five places, at least 1 in money, no largest order."""
    return {
        "symbol": "BTCUSDT",
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "minTradeAmount": "0",
        "maxTradeAmount": "0",
        "takerFeeRate": "0.001",
        "makerFeeRate": "0.001",
        "pricePrecision": "2",
        "quantityPrecision": "5",
        "quotePrecision": "7",
        "minTradeUSDT": "1",
        "status": "online",
        "buyLimitPriceRatio": "0.05",
        "sellLimitPriceRatio": "0.05",
        **changes,
    }


def open_row(**changes: object) -> Row:
    """A limit sale of 2 ETH at 4,000, half a coin of it executed."""
    return {
        "userId": "7264631750",
        "symbol": "ETHUSDT",
        "orderId": "111",
        "clientOid": "web-1",
        "priceAvg": "4000.0000000000000000",
        "size": "2.0000000000000000",
        "orderType": "limit",
        "side": "sell",
        "status": "partially_filled",
        "basePrice": "0",
        "baseVolume": "0.5000000000000000",
        "quoteVolume": "2000",
        "enterPointSource": "WEB",
        "orderSource": "normal",
        "tpslType": "normal",
        "triggerPrice": None,
        "cTime": "1700728077966",
        "uTime": "1700728077966",
        **changes,
    }


def plan_row(**changes: object) -> Row:
    """A plan that sells 2 ETH once 1,500 are paid."""
    return {
        "orderId": "112",
        "clientOid": "1111503385910648832",
        "symbol": "ETHUSDT",
        "size": "2",
        "planType": "amount",
        "executePrice": "1490",
        "triggerPrice": "1500",
        "status": "live",
        "orderType": "limit",
        "side": "sell",
        "triggerType": "fill_price",
        "enterPointSource": "API",
        "cTime": "1700728978617",
        "uTime": "1700728978617",
        **changes,
    }


def done_row(**changes: object) -> Row:
    """A sale of ours: 2 ETH for 4,000 USDT, of which 4 were kept."""
    return {
        "userId": "7264631750",
        "symbol": "ETHUSDT",
        "orderId": "113",
        "clientOid": "ks-1",
        "price": "0",
        "size": "2.0000000000000000",
        "orderType": "market",
        "side": "sell",
        "status": "filled",
        "priceAvg": "2000",
        "baseVolume": "2.0000000000000000",
        "quoteVolume": "4000.0000000000000000",
        "enterPointSource": "API",
        "feeDetail": '{"newFees":{"c":0,"d":0,"deduction":false,"r":-4.0,"t":-4.0,'
        '"totalDeductionFee":0},"USDT":{"deduction":false,"feeCoinCode":"USDT",'
        '"totalDeductionFee":0,"totalFee":-4.00000}}',
        "orderSource": "market",
        "cancelReason": "",
        "cTime": "1695865232127",
        "uTime": "1695865233051",
        **changes,
    }


def bill_row(**changes: object) -> Row:
    """11.5 USDT that were moved to another account of the owner."""
    return {
        "billId": "1111506298997215233",
        "coin": "USDT",
        "groupType": "transfer",
        "businessType": "transfer_out",
        "size": "-11.5",
        "balance": "0.00000000",
        "fees": "0.00000000",
        "cTime": "1700729673028",
        **changes,
    }
