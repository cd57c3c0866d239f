"""The spot account of a classic Bitget account: markets, balances, orders, bills.

Reads answer from a `SpotView`, so that a stale answer is the same code on an older view; bills are
append-only and cut at the view's time. A unified account has none: its coins are its wallet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from model import OrderSide
from simulator.exchange import Exchange
from simulator.spot_markets import SpotMarket
from simulator.spot_state import (
    SpotBook,
    SpotOrder,
    SpotRecordKind,
    SpotRequest,
    SpotView,
)
from simulator.state import ZERO, Account, OrderStatus, OrderType
from simulator.wire.bitget_account import USER_ID, number, page_size
from simulator.wire.bitget_codes import BitgetError, missing
from simulator.wire.bitget_orders import in_force, quantity_of, required, word
from simulator.wire.bitget_shapes import Row, milliseconds, text

PAGE, PLAN_PAGE, BILLS_PAGE, BILLS_MAX = 100, 20, 100, 500
"""Rows of an answer that says nothing of its size; bills may be asked for by 500."""
BILL_SPAN_MS = 90 * 24 * 3600 * 1000
BUSINESS: Mapping[SpotRecordKind, tuple[str, str, str]] = {
    SpotRecordKind.DEPOSIT: ("deposit", "DEPOSIT", "DEPOSIT"),
    SpotRecordKind.WITHDRAWAL: ("withdraw", "WITHDRAW", "WITHDRAW"),
    SpotRecordKind.TRANSFER: ("transfer", "TRANSFER_IN", "TRANSFER_OUT"),
}
"""The group of each record, and its type where money came in and where it left."""
STATUS = {
    OrderStatus.NEW: "live",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
}


def symbols(exchange: Exchange) -> list[Row]:
    """Return `spot/public/symbols`."""
    return [_symbol(exchange, market) for market in exchange.spot.markets.values()]


def _symbol(exchange: Exchange, market: SpotMarket) -> Row:
    worth = exchange.spot.last_price(f"{market.quote}USDT") or Decimal(1)
    return {
        "symbol": market.symbol,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "minTradeAmount": text(market.min_quantity),
        "maxTradeAmount": text(market.market_max),
        "takerFeeRate": text(market.fee),
        "makerFeeRate": text(market.fee),
        "pricePrecision": str(max(0, -int(market.tick.normalize().as_tuple().exponent))),
        "quantityPrecision": str(max(0, -int(market.step.normalize().as_tuple().exponent))),
        "quotePrecision": "8",
        "minTradeUSDT": text(market.min_notional * worth),
        "status": "online" if market.is_tradable else "halt",
        "buyLimitPriceRatio": "0.05",
        "sellLimitPriceRatio": "0.05",
    }


def tickers(exchange: Exchange) -> list[Row]:
    """Return `spot/market/tickers`; a market without a price has zeros on both sides."""
    return [_ticker(exchange, market) for market in exchange.spot.markets.values()]


def _ticker(exchange: Exchange, market: SpotMarket) -> Row:
    mid, last = exchange.spot.mid(market.symbol), exchange.spot.last_price(market.symbol)
    paid = text(last or ZERO)
    return {
        "symbol": market.symbol,
        "open": paid,
        "high24h": paid,
        "low24h": paid,
        "lastPr": paid,
        "quoteVolume": paid,
        "baseVolume": "0" if last is None else "1",
        "usdtVolume": paid,
        "ts": milliseconds(exchange.now),
        "bidPr": "0" if mid is None else text(market.bid(mid)),
        "askPr": "0" if mid is None else text(market.ask(mid)),
        "bidSz": "1",
        "askSz": "1",
        "openUtc": paid,
        "changeUtc24h": "0",
        "change24h": "0",
    }


def assets(view: SpotView) -> list[Row]:
    """Return `spot/account/assets`: every coin with a balance."""
    return [
        {
            "coin": asset,
            "available": text(view.free(asset)),
            "limitAvailable": "0",
            "frozen": text(view.locked(asset)),
            "locked": "0",
            "uTime": milliseconds(view.at),
        }
        for asset, held in view.balances.items()
        if held
    ]


# --- orders ---------------------------------------------------------------------------------------


def place(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    *,
    fill_fraction: Decimal | None,
) -> Row:
    """Carry out `spot/trade/place-order`: the answer names the order and nothing of what it did.

    The size of a market order that buys is money. Of those there are none here.
    """
    side = OrderSide(word(sent, "side", ("buy", "sell")).upper())
    is_limit = word(sent, "orderType", ("limit", "market")) == "limit"
    required(sent, "force")
    if side is OrderSide.BUY and not is_limit:
        raise BitgetError("40017", "Parameter verification failed orderType")
    request = SpotRequest(
        symbol=required(sent, "symbol").upper(),
        side=side,
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        quantity=quantity_of(sent, "size"),
        price=quantity_of(sent, "price") if is_limit else None,
        client_id=str(sent.get("clientOid") or ""),
        time_in_force=in_force(sent, "force"),
    )
    order = exchange.spot.place(account.api_key, request, fill_fraction=fill_fraction)
    return {"orderId": str(order.order_id), "clientOid": order.client_id}


def cancel(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `spot/trade/cancel-order`; a take-profit or stop-loss is another book."""
    book = SpotBook(str(sent.get("tpslType") or "normal").upper())
    symbol = required(sent, "symbol").upper()
    done = _cancel(exchange, account, sent, books=(book,), symbol=symbol)
    return {"orderId": str(done.order_id), "clientOid": done.client_id}


def cancel_plan(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `spot/trade/cancel-plan-order`."""
    _cancel(exchange, account, sent, books=(SpotBook.PLAN,))
    return {"result": "success"}


def _cancel(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    *,
    books: Sequence[SpotBook],
    symbol: str = "",
) -> SpotOrder:
    order_id = number(sent, "orderId")
    if order_id is None:
        raise missing("orderId")
    order = exchange.spot.wallet(account.api_key).orders.get(order_id)
    if order is None or order.book not in books or symbol not in ("", order.symbol):
        raise BitgetError("43001", "The order does not exist")
    return exchange.spot.cancel(account.api_key, order.symbol, order_id=order_id)


def unfilled(view: SpotView, sent: Mapping[str, object]) -> list[Row]:
    """Return `spot/trade/unfilled-orders` of one book, newest first."""
    book = SpotBook(str(sent.get("tpslType") or "normal").upper())
    if book is SpotBook.PLAN:
        raise BitgetError("40017", "Parameter verification failed tpslType")
    found = [order for order in view.orders.values() if order.book is book]
    return [_open_row(order) for order in _page(found, sent, most=page_size(sent, default=PAGE))]


def plans(view: SpotView, sent: Mapping[str, object]) -> Row:
    """Return `spot/trade/current-plan-order`, newest first."""
    found = [order for order in view.orders.values() if order.book is SpotBook.PLAN]
    most = page_size(sent, default=PLAN_PAGE)
    page = _page(found, sent, most=most)
    return {
        "nextFlag": len(page) == most,
        "idLessThan": str(page[-1].order_id) if page else None,
        "orderList": [_plan_row(order) for order in page],
    }


def order_info(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> list[Row]:
    """Return `spot/trade/orderInfo`; by the caller's own id only what nothing was executed of."""
    order_id, client_id = number(sent, "orderId"), str(sent.get("clientOid") or "")
    if order_id is None and not client_id:
        raise missing("orderId")
    wallet = exchange.spot.wallet(account.api_key)
    known = [*wallet.orders.values(), *wallet.done.values()]
    if order_id is not None:
        return [_done_row(order) for order in known if order.order_id == order_id]
    untouched = (order for order in wallet.orders.values() if not order.filled)
    return [_done_row(order) for order in untouched if order.client_id == client_id]


def history(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> list[Row]:
    """Return `spot/trade/history-orders`: what is no longer open, newest first."""
    start = number(sent, "startTime") or 0
    symbol = str(sent.get("symbol") or "").upper()
    found = [
        order
        for order in exchange.spot.wallet(account.api_key).done.values()
        if symbol in ("", order.symbol) and order.created_at * 1000 >= start
    ]
    return [_done_row(order) for order in _page(found, sent, most=page_size(sent, default=PAGE))]


def _page(orders: Sequence[SpotOrder], sent: Mapping[str, object], *, most: int) -> list[SpotOrder]:
    last = number(sent, "idLessThan")
    older = [order for order in orders if last is None or order.order_id < last]
    return sorted(older, key=lambda order: -order.order_id)[:most]


def _open_row(order: SpotOrder) -> Row:
    """Write an open order; its price stands under `priceAvg`."""
    is_tpsl = order.book is SpotBook.TPSL
    return {
        "userId": USER_ID,
        "symbol": order.symbol,
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "priceAvg": text(order.price),
        "size": text(order.quantity),
        "orderType": order.order_type.value.lower(),
        "side": order.side.value.lower(),
        "status": STATUS.get(order.status, "cancelled"),
        "basePrice": "0",
        "baseVolume": text(order.filled),
        "quoteVolume": text(order.quote_filled),
        "enterPointSource": "API",
        "orderSource": "normal",
        "presetTakeProfitPrice": "",
        "executeTakeProfitPrice": "",
        "presetStopLossPrice": "",
        "executeStopLossPrice": "",
        "tpslType": "tpsl" if is_tpsl else "normal",
        "triggerPrice": text(order.trigger_price) if is_tpsl else None,
        "cTime": milliseconds(order.created_at),
        "uTime": milliseconds(order.updated_at),
    }


def _plan_row(order: SpotOrder) -> Row:
    return {
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "symbol": order.symbol,
        "size": text(order.quantity),
        "executePrice": "",
        "triggerPrice": text(order.trigger_price),
        "status": "live",
        "orderType": "market",
        "side": order.side.value.lower(),
        "planType": "amount",
        "triggerType": "fill_price",
        "enterPointSource": "API",
        "cTime": milliseconds(order.created_at),
        "uTime": milliseconds(order.updated_at),
    }


def _done_row(order: SpotOrder) -> Row:
    """Write an order as look-ups do: its fees are JSON within a text, and below zero."""
    average = order.quote_filled / order.filled if order.filled else ZERO
    return {
        "userId": USER_ID,
        "symbol": order.symbol,
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "price": text(order.price),
        "size": text(order.quantity),
        "orderType": order.order_type.value.lower(),
        "side": order.side.value.lower(),
        "status": STATUS.get(order.status, "cancelled"),
        "priceAvg": text(average),
        "baseVolume": text(order.filled),
        "quoteVolume": text(order.quote_filled),
        "enterPointSource": "API",
        "feeDetail": _fee_detail(order),
        "orderSource": "market" if order.order_type is OrderType.MARKET else "normal",
        "cancelReason": "",
        "cTime": milliseconds(order.created_at),
        "uTime": milliseconds(order.updated_at),
    }


def _fee_detail(order: SpotOrder) -> str:
    if not order.fills:
        return ""
    coin = order.fills[0].fee_asset
    total = -float(sum((fill.fee for fill in order.fills), ZERO))
    new = {"c": 0, "d": 0, "deduction": False, "r": total, "t": total, "totalDeductionFee": 0}
    own = {"deduction": False, "feeCoinCode": coin, "totalDeductionFee": 0, "totalFee": total}
    return json.dumps({"newFees": new, coin: own}, separators=(",", ":"))


# --- bills ----------------------------------------------------------------------------------------


def bills(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> list[Row]:
    """Return a page of `spot/account/bills`, newest first: money that moved, and trades."""
    start, end = number(sent, "startTime"), number(sent, "endTime")
    if start is not None and end is not None and end - start > BILL_SPAN_MS:
        raise BitgetError("40017", "Parameter verification failed startTime")
    last = number(sent, "idLessThan")
    wanted = [
        row
        for at, bill_id, row in _all_bills(exchange, account)
        if (start is None or at * 1000 >= start)
        and (end is None or at * 1000 <= end)
        and (last is None or bill_id < last)
    ]
    most = min(number(sent, "limit") or BILLS_PAGE, BILLS_MAX)
    return wanted[:most]


def _all_bills(exchange: Exchange, account: Account) -> list[tuple[float, int, Row]]:
    wallet = exchange.spot.wallet(account.api_key)
    found = [
        (record.at, record.record_id, _bill_of(record.kind, record.asset, record.amount))
        for record in wallet.records
    ]
    for order in (*wallet.done.values(), *wallet.orders.values()):
        sells = order.side is OrderSide.SELL
        sign = -1 if sells else 1
        found += [
            (
                order.updated_at,
                fill.trade_id,
                _bill(
                    order.base, sign * fill.quantity, ("transaction", "SELL" if sells else "BUY")
                ),
            )
            for fill in order.fills
        ]
    newest = sorted(found, key=lambda each: -each[1])
    return [
        (at, bill_id, {**row, "billId": str(bill_id), "cTime": milliseconds(at)})
        for at, bill_id, row in newest
    ]


def _bill_of(kind: SpotRecordKind, asset: str, amount: Decimal) -> Row:
    group, came, left = BUSINESS[kind]
    return _bill(asset, amount, (group, came if amount > 0 else left))


def _bill(asset: str, amount: Decimal, kind: tuple[str, str]) -> Row:
    return {
        "coin": asset,
        "groupType": kind[0],
        "businessType": kind[1],
        "size": text(amount),
        "balance": "0",
        "fees": "0",
    }
