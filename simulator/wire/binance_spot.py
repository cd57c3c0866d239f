"""The spot side of Binance: what `api/v3` answers, and the records that `sapi` keeps of money.

Reads answer from a `SpotView`, so that a stale answer is the same code on an older view; records
are append-only and cut at the view's time. Orders are MARKET and LIMIT.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from model import OrderSide
from simulator.exchange import Exchange
from simulator.reasons import Reason, Rejected
from simulator.spot_markets import SpotMarket
from simulator.spot_state import SpotOrder, SpotRecord, SpotRecordKind, SpotRequest, SpotView
from simulator.state import ZERO, Account, OrderType, TimeInForce, to_decimal
from simulator.wire.binance_codes import BinanceError, missing, unknown_order_to_cancel
from simulator.wire.binance_gate import SPOT_ORDERS_PER_TEN_SECONDS, SPOT_WEIGHT_PER_MINUTE
from simulator.wire.binance_shapes import Row, milliseconds, money

RECORDS_MAX = 1000
TRANSFERS_MAX = 100
NOT_TRADED = "0.00000000"
TRANSFER_IN, TRANSFER_OUT = "UMFUTURE_MAIN", "MAIN_UMFUTURE"
TRANSFER_TYPES = frozenset(
    {
        TRANSFER_IN,
        TRANSFER_OUT,
        *(f"MAIN_{other}" for other in ("CMFUTURE", "MARGIN", "FUNDING", "OPTION")),
        *(f"{other}_MAIN" for other in ("CMFUTURE", "MARGIN", "FUNDING", "OPTION")),
        "MAIN_PORTFOLIO_MARGIN",
        "PORTFOLIO_MARGIN_MAIN",
    }
)


def exchange_info(exchange: Exchange) -> Row:
    """Return `exchangeInfo` of the spot markets."""
    return {
        "timezone": "UTC",
        "serverTime": milliseconds(exchange.now),
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, SPOT_WEIGHT_PER_MINUTE),
            _limit("ORDERS", "SECOND", 10, SPOT_ORDERS_PER_TEN_SECONDS),
            _limit("ORDERS", "DAY", 1, 200000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 61000),
        ],
        "exchangeFilters": [],
        "symbols": [_symbol_row(market) for market in exchange.spot.markets.values()],
    }


def _limit(kind: str, interval: str, number: int, limit: int) -> Row:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _symbol_row(market: SpotMarket) -> Row:
    return {
        "symbol": market.symbol,
        "status": "TRADING" if market.is_tradable else "BREAK",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": money(market.tick),
                "maxPrice": "1000000.00000000",
                "tickSize": money(market.tick),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": money(market.min_quantity),
                "maxQty": money(market.limit_max),
                "stepSize": money(market.step),
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": NOT_TRADED,
                "maxQty": money(market.market_max),
                "stepSize": NOT_TRADED,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": money(market.min_notional),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def book_ticker(exchange: Exchange, symbol: str) -> object:
    """Return `ticker/bookTicker`; a market without a price has zeros on both sides."""
    if symbol:
        return _book_row(exchange, exchange.spot.market(symbol))
    return [_book_row(exchange, market) for market in exchange.spot.markets.values()]


def _book_row(exchange: Exchange, market: SpotMarket) -> Row:
    mid = exchange.spot.mid(market.symbol)
    quantity = NOT_TRADED if mid is None else money(market.limit_max)
    return {
        "symbol": market.symbol,
        "bidPrice": NOT_TRADED if mid is None else money(market.bid(mid)),
        "bidQty": quantity,
        "askPrice": NOT_TRADED if mid is None else money(market.ask(mid)),
        "askQty": quantity,
    }


def ticker_24h(exchange: Exchange, symbol: str) -> Row:
    """Return `ticker/24hr` of one market: what was paid last."""
    market = exchange.spot.market(symbol)
    last = exchange.spot.last_price(symbol)
    return {
        "symbol": market.symbol,
        "lastPrice": NOT_TRADED if last is None else money(last),
        "openTime": milliseconds(exchange.now - 86400),
        "closeTime": milliseconds(exchange.now),
        "count": 0 if last is None else 1,
    }


def account(view: SpotView, account: Account) -> Row:
    """Return `account`: every asset with a balance, free and locked."""
    return {
        "makerCommission": 10,
        "takerCommission": 10,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": "0.00100000",
            "taker": "0.00100000",
            "buyer": NOT_TRADED,
            "seller": NOT_TRADED,
        },
        "canTrade": account.can_trade,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": milliseconds(view.at),
        "accountType": "SPOT",
        "balances": [
            {
                "asset": asset,
                "free": money(view.free(asset)),
                "locked": money(view.locked(asset)),
            }
            for asset, held in view.balances.items()
            if held
        ],
        "permissions": ["SPOT"],
        "uid": 354937868,
    }


# --- orders ---------------------------------------------------------------------------------------


def order_request(sent: Mapping[str, str]) -> SpotRequest:
    """Read the parameters of a spot order. Raises BinanceError."""
    symbol = _required(sent, "symbol")
    side = _required(sent, "side")
    kind = _required(sent, "type")
    if side not in tuple(OrderSide):
        raise BinanceError(-1117, "Invalid side.")
    if kind not in (OrderType.MARKET, OrderType.LIMIT):
        raise BinanceError(-1116, "Invalid orderType.")
    if kind == OrderType.LIMIT:
        _required(sent, "timeInForce")
        _required(sent, "price")
    elif "price" in sent or "timeInForce" in sent:
        name = "price" if "price" in sent else "timeInForce"
        raise BinanceError(-1106, f"Parameter '{name}' sent when not required.")
    if "reduceOnly" in sent or "positionSide" in sent:
        raise BinanceError(-1104, "Not all sent parameters were read.")
    return SpotRequest(
        symbol=symbol,
        side=OrderSide(side),
        order_type=OrderType(kind),
        quantity=_number(sent, "quantity"),
        price=_number(sent, "price") if kind == OrderType.LIMIT else None,
        client_id=sent.get("newClientOrderId", ""),
        time_in_force=TimeInForce(sent.get("timeInForce") or TimeInForce.GTC),
    )


def _required(sent: Mapping[str, str], name: str) -> str:
    if not sent.get(name):
        raise missing(name)
    return sent[name]


def _number(sent: Mapping[str, str], name: str) -> Decimal:
    try:
        return to_decimal(_required(sent, name))
    except ValueError:
        text = f"Illegal characters found in parameter '{name}'."
        raise BinanceError(-1100, text) from None


def place_order(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, str],
    *,
    fill_fraction: Decimal | None,
    acknowledge_only: bool,
) -> Row:
    """Carry out `POST order`; market orders answer FULL unless asked otherwise."""
    request = order_request(sent)
    order = exchange.spot.place(account.api_key, request, fill_fraction=fill_fraction)
    kind = sent.get("newOrderRespType") or "FULL"
    if acknowledge_only or kind == "ACK":
        return {
            "symbol": order.symbol,
            "orderId": order.order_id,
            "orderListId": -1,
            "clientOrderId": order.client_id,
            "transactTime": milliseconds(order.created_at),
        }
    row = order_row(order)
    row["transactTime"] = row.pop("updateTime")
    del row["time"]
    if kind == "FULL":
        row["fills"] = [
            {
                "price": money(fill.price),
                "qty": money(fill.quantity),
                "commission": money(fill.fee),
                "commissionAsset": fill.fee_asset,
                "tradeId": fill.trade_id,
            }
            for fill in order.fills
        ]
    return row


def query_order(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `GET order`."""
    return order_row(_find(exchange, account, sent))


def cancel_order(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `DELETE order`. Raises BinanceError -2011."""
    try:
        order = _find(exchange, account, sent)
        done = exchange.spot.cancel(account.api_key, order.symbol, order_id=order.order_id)
    except Rejected as refusal:
        if refusal.reason is Reason.UNKNOWN_ORDER:
            raise unknown_order_to_cancel() from None
        raise
    row = order_row(done)
    row["origClientOrderId"] = row["clientOrderId"]
    return row


def _find(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> SpotOrder:
    symbol = _required(sent, "symbol")
    exchange.spot.market(symbol)
    number, text = sent.get("orderId", ""), sent.get("origClientOrderId")
    if not number and not text:
        raise BinanceError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent.")
    return exchange.spot.find_order(
        account.api_key, symbol, order_id=int(number) if number else None, client_id=text
    )


def open_orders(view: SpotView, symbol: str) -> list[Row]:
    """Return `openOrders`, of one symbol or all."""
    return [order_row(order) for order in view.orders.values() if symbol in ("", order.symbol)]


def order_row(order: SpotOrder) -> Row:
    """Write an order as queries do."""
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": money(order.price),
        "origQty": money(order.quantity),
        "executedQty": money(order.filled),
        "origQuoteOrderQty": money(ZERO),
        "cummulativeQuoteQty": money(order.quote_filled),
        "status": order.status.value,
        "timeInForce": order.time_in_force.value,
        "type": order.order_type.value,
        "side": order.side.value,
        "stopPrice": money(ZERO),
        "icebergQty": money(ZERO),
        "time": milliseconds(order.created_at),
        "updateTime": milliseconds(order.updated_at),
        "isWorking": True,
        "workingTime": milliseconds(order.created_at),
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


# --- records of money -----------------------------------------------------------------------------


def _records(
    exchange: Exchange, account: Account, sent: Mapping[str, str], kind: SpotRecordKind
) -> list[SpotRecord]:
    """Records of one kind within the times asked for, the newest first, as the venue lists them."""
    start = int(sent.get("startTime") or 0)
    end = int(sent.get("endTime") or milliseconds(exchange.now))
    return [
        record
        for record in reversed(exchange.spot.wallet(account.api_key).records)
        if record.kind is kind and start <= milliseconds(record.at) <= end
    ]


def _page(rows: list[Row], sent: Mapping[str, str]) -> list[Row]:
    offset = int(sent.get("offset") or 0)
    return rows[offset : offset + min(RECORDS_MAX, int(sent.get("limit") or RECORDS_MAX))]


def deposits(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> list[Row]:
    """Return `capital/deposit/hisrec`."""
    rows: list[Row] = [
        {
            "id": str(record.record_id),
            "amount": money(record.amount),
            "coin": record.asset,
            "network": record.asset,
            "status": 1,
            "address": "simulated",
            "addressTag": "",
            "txId": f"simulated-{record.record_id}",
            "insertTime": milliseconds(record.at),
            "completeTime": milliseconds(record.at),
            "transferType": 0,
            "confirmTimes": "1/1",
            "unlockConfirm": 0,
            "walletType": 0,
        }
        for record in _records(exchange, account, sent, SpotRecordKind.DEPOSIT)
    ]
    return _page(rows, sent)


def withdrawals(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> list[Row]:
    """Return `capital/withdraw/history`, whose times are texts in UTC."""
    rows: list[Row] = [
        {
            "id": f"simulated-{record.record_id}",
            "amount": money(-record.amount),
            "transactionFee": "0",
            "coin": record.asset,
            "status": 6,
            "address": "simulated",
            "txId": f"simulated-{record.record_id}",
            "applyTime": _text_time(record.at),
            "network": record.asset,
            "transferType": 0,
            "info": "",
            "confirmNo": 3,
            "walletType": 0,
            "txKey": "",
            "completeTime": _text_time(record.at),
        }
        for record in _records(exchange, account, sent, SpotRecordKind.WITHDRAWAL)
    ]
    return _page(rows, sent)


def _text_time(at: float) -> str:
    return datetime.fromtimestamp(int(at), tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def transfers(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Return `asset/transfer` of one type, by pages counted from 1."""
    kind = _required(sent, "type")
    if kind not in TRANSFER_TYPES:
        raise missing("type")
    sign = {TRANSFER_IN: 1, TRANSFER_OUT: -1}.get(kind, 0)
    rows: list[Row] = [
        {
            "asset": record.asset,
            "amount": money(abs(record.amount)),
            "type": kind,
            "status": "CONFIRMED",
            "tranId": record.record_id,
            "timestamp": milliseconds(record.at),
        }
        for record in _records(exchange, account, sent, SpotRecordKind.TRANSFER)
        if record.amount * sign > 0
    ]
    size = min(TRANSFERS_MAX, int(sent.get("size") or 10))
    first = (int(sent.get("current") or 1) - 1) * size
    answer: Row = {"total": len(rows)}
    if rows:
        answer["rows"] = rows[first : first + size]
    return answer
