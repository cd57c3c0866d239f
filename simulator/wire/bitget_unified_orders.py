"""Orders of a unified Bitget account (v3), turned into requests to the exchange.

The side is a direction in both modes; in hedge mode `posSide` names the leg besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from model import OrderKind, OrderSide, PositionMode
from simulator.exchange import Exchange
from simulator.reasons import Reason, Rejected
from simulator.state import (
    Account,
    AccountView,
    ExchangeOrder,
    Leg,
    OrderRequest,
    OrderStatus,
    OrderType,
)
from simulator.wire.bitget_account import legs_of, number, page_size
from simulator.wire.bitget_codes import SUCCESS
from simulator.wire.bitget_orders import (
    cancelled,
    check_margin_mode,
    flag,
    hedged_flag,
    in_force,
    named,
    placed,
    quantity_of,
    required,
    word,
)
from simulator.wire.bitget_shapes import (
    CLASSIC_STATUS,
    FORCES,
    MARGIN_MODES,
    PAGE_DEFAULT,
    POSITION_MODES,
    STOPS,
    Row,
    closing_side,
    is_closing,
    milliseconds,
    orders_of,
    product_named,
    product_of,
    text,
)

TPSL, TRIGGER = "tpsl", "trigger"


def place(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    *,
    fill_fraction: Decimal | None,
) -> Row:
    """Carry out `trade/place-order`; the answer names ids alone."""
    product = product_named(sent.get("category"))
    request = _order_request(account, sent)
    market = exchange.markets.get(request.symbol)
    if market is None or product_of(market) != product:
        raise Rejected(Reason.UNKNOWN_SYMBOL, "symbol")
    return placed(exchange, account, request, fill_fraction=fill_fraction)


def _order_request(account: Account, sent: Mapping[str, object]) -> OrderRequest:
    """Read the parameters of an order. A hedged account must be told the leg. Raises BitgetError.

    In one-way mode `posSide` is ignored: a close meant for a hedged account may open, unless
    `reduceOnly` keeps it from that.
    """
    symbol = required(sent, "symbol").upper()
    side = OrderSide(word(sent, "side", ("buy", "sell")).upper())
    is_limit = word(sent, "orderType", ("limit", "market")) == "limit"
    reduce_only = flag(sent, "reduceOnly")
    if sent.get("marginMode"):
        check_margin_mode(account, symbol, word(sent, "marginMode", tuple(MARGIN_MODES.values())))
    leg = Leg.BOTH
    if account.mode_of(symbol) is PositionMode.HEDGE:
        if not sent.get("posSide"):
            raise Rejected(Reason.LEG_MISMATCH, symbol)
        leg = Leg(word(sent, "posSide", ("long", "short")).upper())
        reduce_only = hedged_flag(reduce_only, closes=side is closing_side(leg))
    return OrderRequest(
        symbol=symbol,
        side=side,
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        quantity=quantity_of(sent, "qty"),
        leg=leg,
        price=quantity_of(sent, "price") if is_limit else None,
        reduce_only=reduce_only,
        client_id=str(sent.get("clientOid") or ""),
        time_in_force=in_force(sent, "timeInForce"),
    )


def unfilled(view: AccountView, sent: Mapping[str, object]) -> Row:
    """Return a page of `trade/unfilled-orders`, newest first, older than the cursor."""
    product = product_named(sent.get("category"))
    symbol = str(sent.get("symbol") or "").upper()
    last = number(sent, "cursor")
    mine = [
        order
        for order in orders_of(view, OrderKind.REGULAR, product=product)
        if (last is None or order.order_id < last) and symbol in ("", order.symbol)
    ][: page_size(sent, default=PAGE_DEFAULT)]
    return {
        "list": [order_row(view, order) for order in mine],
        "cursor": str(mine[-1].order_id) if mine else None,
    }


def order_row(view: AccountView, order: ExchangeOrder) -> Row:
    """Write an ordinary order."""
    is_net = order.leg is Leg.BOTH
    mode = PositionMode.ONE_WAY if is_net else PositionMode.HEDGE
    return {
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "category": product_of(view.markets[order.symbol]),
        "symbol": order.symbol,
        "orderType": "market" if order.order_type is OrderType.MARKET else "limit",
        "side": order.side.value.lower(),
        "price": text(order.price) if order.price else "0",
        "qty": text(order.quantity),
        "amount": "0",
        "cumExecQty": text(order.filled),
        "cumExecValue": text(order.quote_filled),
        "avgPrice": text(order.average_price) if order.filled else "0",
        "timeInForce": FORCES[order.time_in_force],
        "orderStatus": _status_of(order),
        "posSide": "" if is_net else order.leg.value.lower(),
        "holdMode": POSITION_MODES[mode],
        "delegateType": "normal",
        "tradeSide": "close" if is_closing(order) else "open",
        "reduceOnly": "YES" if order.reduce_only else "NO",
        "marginMode": MARGIN_MODES[view.setting(order.symbol).margin_mode],
        "stpMode": "none",
        "takeProfit": "",
        "stopLoss": "",
        "feeDetail": [{"feeCoin": None, "fee": None}],
        "cancelReason": "",
        "createdTime": milliseconds(order.created_at),
        "updatedTime": milliseconds(order.updated_at),
    }


def _status_of(order: ExchangeOrder) -> str:
    if order.status is OrderStatus.NEW:
        return "live"
    return CLASSIC_STATUS.get(order.status, "cancelled")


def strategy_type(order: ExchangeOrder) -> str:
    """Which type a conditional order is: a take-profit or stop-loss, or a trigger order."""
    is_plain = order.order_type is not OrderType.TRAILING_STOP_MARKET
    return TPSL if is_plain and is_closing(order) else TRIGGER


def strategies(view: AccountView, sent: Mapping[str, object]) -> list[Row]:
    """Return `trade/unfilled-strategy-orders` of a type: one page, and no side in any row."""
    product = product_named(sent.get("category"))
    wanted = word(sent, "type", (TPSL, TRIGGER)) if sent.get("type") else TPSL
    mine = orders_of(view, OrderKind.CONDITIONAL, product=product)
    return [strategy_row(view, order) for order in mine if strategy_type(order) == wanted]


def strategy_row(view: AccountView, order: ExchangeOrder) -> Row:
    """Write a conditional order, which names no side."""
    trigger = text(order.trigger_price or order.activation_price or Decimal(0))
    is_tpsl = strategy_type(order) == TPSL
    stops = is_tpsl and order.order_type in STOPS
    return {
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "category": product_of(view.markets[order.symbol]),
        "symbol": order.symbol,
        "qty": "" if order.close_position else text(order.quantity),
        "posSide": "" if order.leg is Leg.BOTH else order.leg.value.lower(),
        "status": "pending",
        "tpTriggerBy": "market",
        "slTriggerBy": "market",
        "takeProfit": trigger if is_tpsl and not stops else "",
        "stopLoss": trigger if stops else "",
        "tpOrderType": "market",
        "slOrderType": "market",
        "tpLimitPrice": "",
        "slLimitPrice": "",
        "triggerBy": "" if is_tpsl else "market",
        "triggerPrice": "" if is_tpsl else trigger,
        "triggerOrderType": "" if is_tpsl else "market",
        "triggerOrderPrice": "",
        "createdTime": milliseconds(order.created_at),
        "updatedTime": milliseconds(order.updated_at),
    }


def order_info(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Return `trade/order-info`, by the venue's id or our own. Raises BitgetError."""
    order = named(exchange, account, sent, OrderKind.REGULAR, symbol="")
    return order_row(account.view(exchange.world), order)


def cancel(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `trade/cancel-order`."""
    return cancelled(exchange, account, sent, OrderKind.REGULAR, symbol="")


def cancel_strategy(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> None:
    """Carry out `trade/cancel-strategy-order`, which is answered without any data."""
    cancelled(exchange, account, sent, OrderKind.CONDITIONAL, symbol="")


def cancel_symbol(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Cancel the ordinary orders of a category, or of one of its symbols; none is an empty list."""
    product = product_named(sent.get("category"))
    symbol = str(sent.get("symbol") or "").upper()
    view = account.view(exchange.world)
    mine = orders_of(view, OrderKind.REGULAR, product=product)
    return {
        "list": [
            _done(exchange.cancel(account.api_key, order.symbol, order_id=order.order_id))
            for order in mine
            if symbol in ("", order.symbol)
        ]
    }


def _done(order: ExchangeOrder) -> Row:
    return {
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "code": SUCCESS,
        "msg": "success",
    }


def close_positions(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out the flash close of a category, of a symbol, or of one leg of it."""
    product = product_named(sent.get("category"))
    symbol = str(sent.get("symbol") or "").upper()
    side = str(sent.get("posSide") or "").lower()
    legs = legs_of(account.view(exchange.world), product)
    requests: Iterable[OrderRequest] = (
        OrderRequest(
            symbol=leg.symbol,
            side=leg.side.closing_order,
            order_type=OrderType.MARKET,
            quantity=abs(leg.amount),
            leg=leg.leg,
            reduce_only=True if leg.leg is Leg.BOTH else None,
        )
        for leg in legs
        if symbol in ("", leg.symbol) and side in ("", leg.side.value.lower())
    )
    rows: Sequence[Row] = [
        placed(exchange, account, request, fill_fraction=None) for request in requests
    ]
    if not rows:
        raise Rejected(Reason.NOTHING_TO_REDUCE, symbol)
    return {"list": [{**row, "code": SUCCESS, "msg": "success"} for row in rows]}
