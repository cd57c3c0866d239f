"""Spot orders of a unified Bitget account (v3): the category SPOT, on the one wallet.

Nobody borrows here: what is not in the wallet is refused. No order waits for a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from model import OrderSide
from simulator.exchange import Exchange
from simulator.reasons import Reason, Rejected
from simulator.spot_markets import SpotMarket
from simulator.spot_state import SpotOrder, SpotRequest, SpotView
from simulator.state import Account, OrderType
from simulator.wire import bitget_unified_orders as contracts
from simulator.wire.bitget_account import number, page_size
from simulator.wire.bitget_codes import BitgetError
from simulator.wire.bitget_orders import quantity_of, required, word
from simulator.wire.bitget_shapes import FORCES, PAGE_DEFAULT, Row, milliseconds, text
from simulator.wire.bitget_spot import STATUS

SPOT = "SPOT"


def is_of_spot(sent: Mapping[str, object]) -> bool:
    """True of a request that names the spot markets."""
    return str(sent.get("category") or "").upper() == SPOT


def instruments(exchange: Exchange) -> list[Row]:
    """Return `market/instruments` of the spot markets."""
    return [_instrument(exchange, market) for market in exchange.spot.markets.values()]


def _instrument(exchange: Exchange, market: SpotMarket) -> Row:
    worth = exchange.spot.last_price(f"{market.quote}USDT") or Decimal(1)
    return {
        "symbol": market.symbol,
        "category": SPOT,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "buyLimitPriceRatio": "0.05",
        "sellLimitPriceRatio": "0.05",
        "feeRateUpRatio": "",
        "minOrderQty": text(market.min_quantity),
        "maxOrderQty": text(market.market_max),
        "pricePrecision": str(max(0, -int(market.tick.normalize().as_tuple().exponent))),
        "quantityPrecision": str(max(0, -int(market.step.normalize().as_tuple().exponent))),
        "quotePrecision": "6",
        "minOrderAmount": text(market.min_notional * worth),
        "maxSymbolOrderNum": "",
        "maxProductOrderNum": "",
        "status": "online" if market.is_tradable else "offline",
        "offTime": "",
        "limitOpenTime": "",
        "maintainTime": "",
        "areaSymbol": "no",
    }


def place(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    *,
    fill_fraction: Decimal | None,
) -> Row:
    """Carry out `trade/place-order` on a spot market; the answer names ids alone."""
    side = OrderSide(word(sent, "side", ("buy", "sell")).upper())
    is_limit = word(sent, "orderType", ("limit", "market")) == "limit"
    if side is OrderSide.BUY and not is_limit:
        raise BitgetError("40017", "Parameter verification failed orderType")
    if "reduceOnly" in sent or "posSide" in sent:
        raise BitgetError("40017", "Parameter verification failed reduceOnly")
    request = SpotRequest(
        symbol=required(sent, "symbol").upper(),
        side=side,
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        quantity=quantity_of(sent, "qty"),
        price=quantity_of(sent, "price") if is_limit else None,
        client_id=str(sent.get("clientOid") or ""),
    )
    order = exchange.spot.place(account.api_key, request, fill_fraction=fill_fraction)
    exchange.settle(account.api_key)
    return {"orderId": str(order.order_id), "clientOid": order.client_id}


def unfilled(view: SpotView, sent: Mapping[str, object]) -> Row:
    """Return a page of `trade/unfilled-orders`, newest first, older than the cursor."""
    last = number(sent, "cursor")
    mine = sorted(
        (order for order in view.orders.values() if last is None or order.order_id < last),
        key=lambda order: -order.order_id,
    )[: page_size(sent, default=PAGE_DEFAULT)]
    return {
        "list": [_order_row(order) for order in mine],
        "cursor": str(mine[-1].order_id) if mine else None,
    }


def order_info(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Return `trade/order-info` of any category, by the venue's id or our own."""
    try:
        return contracts.order_info(exchange, account, sent)
    except Rejected as refusal:
        if refusal.reason is not Reason.UNKNOWN_ORDER:
            raise
    return _order_row(_named(exchange, account, sent))


def cancel(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `trade/cancel-order` of any category."""
    if not is_of_spot(sent):
        return contracts.cancel(exchange, account, sent)
    order = _named(exchange, account, sent)
    done = exchange.spot.cancel(account.api_key, order.symbol, order_id=order.order_id)
    return {"orderId": str(done.order_id), "clientOid": done.client_id}


def _named(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> SpotOrder:
    order_id, client_id = number(sent, "orderId"), str(sent.get("clientOid") or "")
    wallet = exchange.spot.wallet(account.api_key)
    for order in (*wallet.orders.values(), *wallet.done.values()):
        is_meant = order.order_id == order_id if order_id else order.client_id == client_id
        if is_meant:
            return order
    raise Rejected(Reason.UNKNOWN_ORDER, client_id)


def _order_row(order: SpotOrder) -> Row:
    """Write an order; it has neither a leg nor a mode."""
    average = order.quote_filled / order.filled if order.filled else Decimal(0)
    return {
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "category": SPOT,
        "symbol": order.symbol,
        "orderType": order.order_type.value.lower(),
        "side": order.side.value.lower(),
        "price": text(order.price),
        "qty": text(order.quantity),
        "amount": "0",
        "cumExecQty": text(order.filled),
        "cumExecValue": text(order.quote_filled),
        "avgPrice": text(average),
        "timeInForce": FORCES[order.time_in_force],
        "orderStatus": STATUS.get(order.status, "cancelled"),
        "feeDetail": [{"feeCoin": None, "fee": None}],
        "createdTime": milliseconds(order.created_at),
        "updatedTime": milliseconds(order.updated_at),
    }
