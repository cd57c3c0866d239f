"""Answers of Bitget as its pages show them, changed as a test asks; both kinds of account."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def envelope(data: object, code: str = "00000") -> Row:
    """What every answer of this venue is put into."""
    return {"code": code, "msg": "text", "requestTime": 1_700_000_000_000, "data": data}


# Classic accounts.


def account_row(**changes: object) -> Row:
    """The USDT account of a classic account in single-asset mode: 1000 and a profit of 150.75."""
    return {
        "marginCoin": "USDT",
        "locked": "0",
        "available": "1000",
        "accountEquity": "1150.75",
        "usdtEquity": "1150.75",
        "btcEquity": "0.01",
        "crossedRiskRate": "0",
        "unrealizedPL": "150.75",
        "coupon": "0",
        "crossedUnrealizedPL": None,
        "isolatedUnrealizedPL": None,
        "assetMode": "single",
        **changes,
    }


def union_row(*pledged: tuple[str, str], **changes: object) -> Row:
    """A USDT account in union mode, which other coins back."""
    listed = [{"coin": coin, "balance": balance, "available": balance} for coin, balance in pledged]
    return account_row(assetMode="union", assetList=listed, **changes)


def position_row(**changes: object) -> Row:
    """A hedged cross long of 1.5 ETH from 2000, marked 2100.5."""
    return {
        "marginCoin": "USDT",
        "symbol": "ETHUSDT",
        "holdSide": "long",
        "openDelegateSize": "0",
        "marginSize": "300",
        "available": "1.5",
        "locked": "0",
        "total": "1.5",
        "leverage": "10",
        "achievedProfits": "0",
        "openPriceAvg": "2000",
        "marginMode": "crossed",
        "posMode": "hedge_mode",
        "unrealizedPL": "150.75",
        "liquidationPrice": "1500",
        "keepMarginRate": "0.004",
        "markPrice": "2100.5",
        "marginRatio": "0.03",
        "cTime": "1731000507275",
        **changes,
    }


def order_row(**changes: object) -> Row:
    """A hedged limit order that opens a long of 2 ETH, a half of it executed."""
    return {
        "symbol": "ETHUSDT",
        "size": "2",
        "orderId": "111",
        "clientOid": "web-1",
        "baseVolume": "0.5",
        "fee": "0",
        "price": "1900",
        "priceAvg": "",
        "status": "partially_filled",
        "side": "buy",
        "force": "gtc",
        "posSide": "long",
        "marginCoin": "USDT",
        "leverage": "10",
        "marginMode": "crossed",
        "tradeSide": "open",
        "posMode": "hedge_mode",
        "orderType": "limit",
        "reduceOnly": "NO",
        "cTime": "1731000524378",
        **changes,
    }


def plan_row(**changes: object) -> Row:
    """A hedged trigger order that opens a long of 2 ETH."""
    return {
        "planType": "normal_plan",
        "symbol": "ETHUSDT",
        "size": "2",
        "orderId": "211",
        "clientOid": "web-2",
        "price": "1900",
        "callbackRatio": "",
        "triggerPrice": "1901",
        "triggerType": "mark_price",
        "planStatus": "live",
        "side": "buy",
        "posSide": "long",
        "marginCoin": "USDT",
        "marginMode": "crossed",
        "tradeSide": "open",
        "posMode": "hedge_mode",
        "orderType": "limit",
        "cTime": "1731000524378",
        **changes,
    }


def bill_row(**changes: object) -> Row:
    """A closed long that made 40 and cost 1.5."""
    return {
        "billId": "311",
        "symbol": "ETHUSDT",
        "amount": "40",
        "fee": "-1.5",
        "feeByCoupon": "",
        "businessType": "close_long",
        "coin": "USDT",
        "cTime": "1731000034996",
        **changes,
    }


def contract_row(**changes: object) -> Row:
    """The rules of ETHUSDT."""
    return {
        "symbol": "ETHUSDT",
        "baseCoin": "ETH",
        "quoteCoin": "USDT",
        "minTradeNum": "0.01",
        "sizeMultiplier": "0.01",
        "minTradeUSDT": "5",
        "symbolStatus": "normal",
        "maxMarketOrderQty": "420",
        "maxOrderQty": "1000",
        **changes,
    }


# Unified accounts.


def assets(*coins: Row, equity: str = "1150.75", unrealised: str = "150.75") -> Row:
    """`account/assets`: USDT alone unless coins are given."""
    listed = list(coins) or [coin_row("USDT", "1150.75", "1150.75")]
    totals = {"accountEquity": equity, "unrealisedPnl": unrealised, "mmr": "0"}
    return {**totals, "assets": listed}


def coin_row(coin: str, equity: str, worth: str) -> Row:
    """A coin of a unified account."""
    return {"coin": coin, "equity": equity, "usdValue": worth, "balance": equity, "debt": "0"}


def unified_position(**changes: object) -> Row:
    """A hedged cross long of 1.5 ETH from 2000, marked 2100.5."""
    return {
        "category": "USDT-FUTURES",
        "symbol": "ETHUSDT",
        "marginCoin": "USDT",
        "holdMode": "hedge_mode",
        "posSide": "long",
        "marginMode": "crossed",
        "positionBalance": "300",
        "available": "1.5",
        "frozen": "0",
        "total": "1.5",
        "leverage": "10",
        "avgPrice": "2000",
        "unrealisedPnl": "150.75",
        "liquidationPrice": "",
        "markPrice": "2100.5",
        "createdTime": "1736378720620",
        **changes,
    }


def unified_order(**changes: object) -> Row:
    """A hedged limit order that closes 2 ETH of a short."""
    return {
        "orderId": "411",
        "clientOid": "web-4",
        "category": "USDT-FUTURES",
        "symbol": "ETHUSDT",
        "orderType": "limit",
        "side": "buy",
        "price": "1900",
        "qty": "2",
        "cumExecQty": "0",
        "timeInForce": "gtc",
        "orderStatus": "live",
        "posSide": "short",
        "holdMode": "hedge_mode",
        "reduceOnly": "NO",
        "marginMode": "crossed",
        "createdTime": "1730186725663",
        **changes,
    }


def strategy_row(**changes: object) -> Row:
    """A stop-loss of a long of 2 ETH; its rows have no side."""
    return {
        "orderId": "511",
        "clientOid": "web-5",
        "category": "USDT-FUTURES",
        "symbol": "ETHUSDT",
        "qty": "2",
        "posSide": "long",
        "takeProfit": "",
        "stopLoss": "1800",
        "tpOrderType": "market",
        "slOrderType": "market",
        "createdTime": "1731000411736",
        **changes,
    }


def record_row(**changes: object) -> Row:
    """A funding payment of 3 that went out."""
    return {
        "category": "USDT-FUTURES",
        "id": "611",
        "symbol": "ETHUSDT",
        "coin": "USDT",
        "type": "CONTRACT_MAIN_SETTLE_FEE_USER_OUT",
        "amount": "3",
        "fee": "0",
        "balance": "997",
        "ts": "1731000486185",
        **changes,
    }


def instrument_row(**changes: object) -> Row:
    """The rules of ETHUSDT as a unified account is told them."""
    return {
        "symbol": "ETHUSDT",
        "category": "USDT-FUTURES",
        "baseCoin": "ETH",
        "quoteCoin": "USDT",
        "minOrderQty": "0.01",
        "maxOrderQty": "1000",
        "quantityMultiplier": "0.01",
        "minOrderAmount": "5",
        "maxMarketOrderQty": "420",
        "status": "online",
        **changes,
    }
