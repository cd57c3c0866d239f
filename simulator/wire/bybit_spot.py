"""The spot markets of Bybit v5: rules, prices and orders on the one wallet of a unified account.

Nobody borrows here: an order with `isLeverage` 1 is refused, and so is what is not in the wallet.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from model import OrderSide
from simulator.reasons import Reason, Rejected
from simulator.spot_markets import SpotMarket
from simulator.spot_state import SpotBook, SpotOrder, SpotRequest
from simulator.state import OrderType, TimeInForce, to_decimal
from simulator.wire.bybit_codes import bad_parameter, translate_spot
from simulator.wire.bybit_shapes import (
    SIDES,
    STATUSES,
    Row,
    milliseconds,
    money,
    order_id_number,
    order_id_text,
    page_of,
    plain,
)
from simulator.wire.call import Call


def instruments(call: Call) -> Row:
    """Return `market/instruments-info` of the spot markets."""
    rows = [
        _market_row(market)
        for market in call.exchange.spot.markets.values()
        if call.symbol in ("", market.symbol)
    ]
    page, cursor = page_of(rows, call.sent, usual=500, most=1000)
    return {"category": "spot", "list": list(page), "nextPageCursor": cursor}


def _market_row(market: SpotMarket) -> Row:
    return {
        "symbol": market.symbol,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": "Trading" if market.is_tradable else "Closed",
        "marginTrading": "both",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": plain(market.step),
            "quotePrecision": "0.0000001",
            "minOrderQty": plain(market.min_quantity),
            "maxOrderQty": plain(market.limit_max),
            "minOrderAmt": plain(market.min_notional),
            "maxOrderAmt": "9000000",
            "maxLimitOrderQty": plain(market.limit_max),
            "maxMarketOrderQty": plain(market.market_max),
        },
        "priceFilter": {"tickSize": plain(market.tick)},
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
    }


def tickers(call: Call) -> Row:
    """Return `market/tickers` of the spot markets that have a price."""
    desk = call.exchange.spot
    rows = []
    for market in desk.markets.values():
        mid = desk.mid(market.symbol)
        if mid is None or call.symbol not in ("", market.symbol):
            continue
        price = plain(mid)
        rows.append(
            {
                "symbol": market.symbol,
                "bid1Price": plain(market.bid(mid)),
                "bid1Size": "1",
                "ask1Price": plain(market.ask(mid)),
                "ask1Size": "1",
                "lastPrice": price,
                "prevPrice24h": price,
                "price24hPcnt": "0",
                "highPrice24h": price,
                "lowPrice24h": price,
                "turnover24h": "0",
                "volume24h": "0",
                "usdIndexPrice": price,
            }
        )
    return {"category": "spot", "list": rows}


def _number(call: Call, name: str) -> Decimal | None:
    value = call.sent.get(name)
    if value in (None, ""):
        return None
    try:
        return to_decimal(value)
    except ValueError:
        raise bad_parameter(name) from None


def create(call: Call) -> Row:
    """Carry out `order/create` on a spot market: acknowledged, as of contracts.

    A market order that buys names money unless it says otherwise; of those there are none here.
    """
    sent = call.sent
    side, kind = str(sent.get("side") or ""), str(sent.get("orderType") or "")
    if side not in SIDES.values() or kind not in ("Market", "Limit"):
        raise bad_parameter("side or orderType")
    if sent.get("isLeverage") not in (None, 0):
        raise bad_parameter("isLeverage")
    if kind == "Market" and (side == "Buy" or sent.get("marketUnit") != "baseCoin"):
        raise bad_parameter("marketUnit")
    if "reduceOnly" in sent or "positionIdx" in sent:
        raise bad_parameter("reduceOnly")
    quantity = _number(call, "qty")
    if quantity is None:
        raise bad_parameter("qty is required")
    request = SpotRequest(
        symbol=call.symbol,
        side=OrderSide(side.upper()),
        order_type=OrderType(kind.upper()),
        quantity=quantity,
        price=_number(call, "price") if kind == "Limit" else None,
        client_id=str(sent.get("orderLinkId") or ""),
        time_in_force=TimeInForce.GTC,
    )
    key = call.account.api_key
    try:
        order = call.exchange.spot.place(
            key, request, fill_fraction=call.circumstances.fill_fraction
        )
    except Rejected as refusal:
        raise translate_spot(refusal) from None
    call.exchange.settle(key)
    return {
        "orderId": order_id_text(order.order_id),
        "orderLinkId": str(sent.get("orderLinkId") or ""),
    }


def cancel(call: Call) -> Row:
    """Carry out `order/cancel` on a spot market; the kind of order has to be the right one."""
    wanted = order_id_number(str(call.sent.get("orderId") or ""))
    books = {"Order": SpotBook.NORMAL, "StopOrder": SpotBook.PLAN, "tpslOrder": SpotBook.TPSL}
    book = books.get(str(call.sent.get("orderFilter") or "Order"))
    order = call.exchange.spot.wallet(call.account.api_key).orders.get(wanted)
    if order is None or order.book is not book or order.symbol != call.symbol:
        raise translate_spot(Rejected(Reason.UNKNOWN_ORDER))
    done = call.exchange.spot.cancel(call.account.api_key, order.symbol, order_id=wanted)
    return {"orderId": order_id_text(done.order_id), "orderLinkId": done.client_id}


def realtime(call: Call) -> Row:
    """Return a page of `order/realtime`: what is open, or one order whatever became of it."""
    if call.sent.get("orderId") or call.sent.get("orderLinkId"):
        wallet = call.exchange.spot.wallet(call.account.api_key)
        known = [*wallet.done.values(), *wallet.orders.values()]
        return _listed(call, (order for order in known if _is_named(call, order)))
    return _listed(call, call.spot_view.orders.values())


def history(call: Call) -> Row:
    """Return a page of `order/history`: what is no longer open."""
    done = call.exchange.spot.wallet(call.account.api_key).done.values()
    named = bool(call.sent.get("orderId") or call.sent.get("orderLinkId"))
    return _listed(call, (order for order in done if not named or _is_named(call, order)))


def _is_named(call: Call, order: SpotOrder) -> bool:
    if call.sent.get("orderId"):
        return order.order_id == order_id_number(str(call.sent["orderId"]))
    return order.client_id == call.sent.get("orderLinkId")


def _listed(call: Call, orders: Iterable[SpotOrder]) -> Row:
    found = [order for order in orders if call.symbol in ("", order.symbol)]
    newest = sorted(found, key=lambda order: order.order_id, reverse=True)
    page, cursor = page_of(newest, call.sent, usual=20, most=50)
    return {
        "list": [_order_row(order) for order in page],
        "nextPageCursor": cursor,
        "category": "spot",
    }


STOP_TYPES = {SpotBook.NORMAL: "", SpotBook.PLAN: "Stop", SpotBook.TPSL: "tpslOrder"}


def _order_row(order: SpotOrder) -> Row:
    waits = order.book is not SpotBook.NORMAL and order.status.is_open
    is_limit = order.order_type is OrderType.LIMIT
    left = order.remaining if order.status.is_open else Decimal(0)
    average = order.quote_filled / order.filled if order.filled else None
    return {
        "orderId": order_id_text(order.order_id),
        "orderLinkId": "" if order.client_id.startswith("auto") else order.client_id,
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": plain(order.price),
        "qty": plain(order.quantity),
        "side": SIDES[order.side.value],
        "isLeverage": "0",
        "positionIdx": 0,
        "orderStatus": "Untriggered" if waits else STATUSES[order.status],
        "rejectReason": "EC_NoError",
        "avgPrice": "" if average is None else plain(average),
        "leavesQty": plain(left),
        "leavesValue": money(left * order.price),
        "cumExecQty": plain(order.filled),
        "cumExecValue": money(order.quote_filled),
        "cumExecFee": "0",
        "timeInForce": "GTC" if is_limit else "IOC",
        "orderType": "Limit" if is_limit else "Market",
        "stopOrderType": STOP_TYPES[order.book],
        "triggerPrice": plain(order.trigger_price),
        "marketUnit": "baseCoin",
        "reduceOnly": False,
        "closeOnTrigger": False,
        "createdTime": str(milliseconds(order.created_at)),
        "updatedTime": str(milliseconds(order.updated_at)),
    }
