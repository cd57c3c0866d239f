"""Orders and settings in Bybit v5's words, turned into requests to the exchange.

An order is only acknowledged: the answer names its ids, and what it did shows in lists later.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from model import OrderKind, OrderSide, PositionMode
from simulator import matching
from simulator.reasons import Reason, Rejected
from simulator.state import (
    ZERO,
    Account,
    ExchangeOrder,
    Leg,
    OrderRequest,
    OrderType,
    TimeInForce,
    to_decimal,
)
from simulator.wire.bybit_account import require_linear
from simulator.wire.bybit_codes import BybitError, bad_parameter, translate
from simulator.wire.bybit_shapes import (
    Row,
    milliseconds,
    order_id_number,
    order_id_text,
    order_row,
    page_of,
)
from simulator.wire.call import Call

BATCH_MAX = 20
CANCELLED_AT_ONCE = 500
CLOSED_KEPT = 500
"""So many closed orders the realtime list still knows; older ones are in the history."""
LEGS = {0: Leg.BOTH, 1: Leg.LONG, 2: Leg.SHORT}
IN_FORCE = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.GTX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The answer to a batch: one list of what was made and one of what became of it."""

    result: Row
    extra: Row


def _required(sent: Mapping[str, Any], name: str) -> str:
    value = sent.get(name)
    if value is None or value == "":
        raise bad_parameter(f"{name} is required")
    return str(value)


def _number(sent: Mapping[str, Any], name: str) -> Decimal | None:
    value = sent.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise bad_parameter(f"{name} is no string")
    try:
        return to_decimal(value)
    except ValueError:
        raise bad_parameter(name) from None


def _flag(sent: Mapping[str, Any], name: str) -> bool:
    value = sent.get(name, False)
    if not isinstance(value, bool):
        raise bad_parameter(f"{name} is no boolean")
    return value


def _order_type(sent: Mapping[str, Any], side: OrderSide) -> OrderType:
    """The kind of order: with a trigger price it waits, for a rise or for a fall."""
    name = _required(sent, "orderType")
    if name not in ("Market", "Limit"):
        raise bad_parameter("orderType")
    if _number(sent, "triggerPrice") is None:
        return OrderType.LIMIT if name == "Limit" else OrderType.MARKET
    direction = sent.get("triggerDirection")
    if direction not in (1, 2):
        raise bad_parameter("triggerDirection is required")
    stops = (direction == 1) is (side is OrderSide.BUY)
    if name == "Limit":
        return OrderType.STOP if stops else OrderType.TAKE_PROFIT
    return OrderType.STOP_MARKET if stops else OrderType.TAKE_PROFIT_MARKET


def order_request(account: Account, sent: Mapping[str, Any]) -> OrderRequest:
    """Read the parameters of an order. Raises BybitError."""
    symbol = _required(sent, "symbol")
    side_name = _required(sent, "side")
    if side_name not in ("Buy", "Sell"):
        raise bad_parameter("side")
    side = OrderSide(side_name.upper())
    index = sent.get("positionIdx", 0)
    if not isinstance(index, int) or index not in LEGS:
        raise bad_parameter("positionIdx")
    order_type = _order_type(sent, side)
    in_force = str(sent.get("timeInForce") or "GTC")
    if in_force not in IN_FORCE:
        raise bad_parameter("timeInForce")
    quantity = _number(sent, "qty")
    reduces, closes = _flag(sent, "reduceOnly"), _flag(sent, "closeOnTrigger")
    if quantity == ZERO and reduces and closes:
        quantity = abs(account.amount(symbol, LEGS[index]))
    if quantity is None:
        raise bad_parameter("qty is required")
    return OrderRequest(
        symbol=symbol,
        side=side,
        order_type=order_type,
        quantity=quantity,
        leg=LEGS[index],
        price=_number(sent, "price") if order_type.needs_price else None,
        trigger_price=_number(sent, "triggerPrice"),
        reduce_only=reduces or closes or None,
        client_id=str(sent.get("orderLinkId") or ""),
        time_in_force=IN_FORCE[in_force] if order_type.needs_price else TimeInForce.GTC,
        working_type=str(sent.get("triggerBy") or "LastPrice"),
    )


def _place(call: Call, sent: Mapping[str, Any]) -> Row:
    order = call.exchange.place(
        call.account.api_key,
        order_request(call.account, sent),
        fill_fraction=call.circumstances.fill_fraction,
    )
    return {
        "orderId": order_id_text(order.order_id),
        "orderLinkId": str(sent.get("orderLinkId") or ""),
    }


def create(call: Call) -> Row:
    """Carry out `order/create`."""
    require_linear(call.sent)
    return _place(call, call.sent)


def batch_entries(sent: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the orders of a batch. Raises BybitError."""
    entries = sent.get("request")
    if not isinstance(entries, list) or not 1 <= len(entries) <= BATCH_MAX:
        raise bad_parameter("request")
    return entries


def create_batch(call: Call) -> Batch:
    """Carry out `order/create-batch`: each order answers for itself, in the request's order."""
    require_linear(call.sent)
    made: list[Row] = []
    told: list[Row] = []
    for entry in batch_entries(call.sent):
        row: Row = {
            "category": "linear",
            "symbol": str(entry.get("symbol") or ""),
            "orderId": "",
            "orderLinkId": str(entry.get("orderLinkId") or ""),
            "createAt": "",
        }
        try:
            placed = _place(call, entry)
        except Rejected as refusal:
            error = translate(refusal)
            told.append({"code": error.code, "msg": error.message})
        except BybitError as error:
            told.append({"code": error.code, "msg": error.message})
        else:
            row |= placed | {"createAt": str(milliseconds(call.exchange.now))}
            told.append({"code": 0, "msg": "OK"})
        made.append(row)
    return Batch(result={"list": made}, extra={"list": told})


def _is_named(order: ExchangeOrder, sent: Mapping[str, Any]) -> bool:
    """True for the order that a request names; the venue's id goes before the caller's."""
    if sent.get("orderId"):
        return order.order_id == order_id_number(str(sent["orderId"]))
    return order.client_id == sent.get("orderLinkId")


def cancel(call: Call) -> Row:
    """Carry out `order/cancel`, of an ordinary or a conditional order."""
    require_linear(call.sent)
    symbol = _required(call.sent, "symbol")
    if not call.sent.get("orderId") and not call.sent.get("orderLinkId"):
        raise bad_parameter("orderId or orderLinkId is required")
    for order in call.account.orders.values():
        if order.symbol == symbol and _is_named(order, call.sent):
            done = call.exchange.cancel(
                call.account.api_key, symbol, kind=order.kind, order_id=order.order_id
            )
            return {"orderId": order_id_text(done.order_id), "orderLinkId": done.client_id}
    raise translate(Rejected(Reason.UNKNOWN_ORDER))


def cancel_all(call: Call, dice: random.Random) -> Row:
    """Carry out `order/cancel-all`: all kinds, but at most 500 of them, picked at random."""
    require_linear(call.sent)
    account, markets = call.account, call.exchange.markets
    settle, base = call.sent.get("settleCoin"), call.sent.get("baseCoin")
    if not (call.symbol or base or settle):
        raise bad_parameter("symbol, baseCoin or settleCoin is required")

    def is_meant(order: ExchangeOrder) -> bool:
        if call.symbol:
            return order.symbol == call.symbol
        market = markets[order.symbol]
        return market.base == base if base else market.quote == settle

    mine = [order for order in _of_filter(account.orders.values(), call.sent) if is_meant(order)]
    if len(mine) > CANCELLED_AT_ONCE:
        mine = dice.sample(mine, CANCELLED_AT_ONCE)
    for order in mine:
        matching.cancel(call.exchange.world, account, order)
    call.exchange.settle(account.api_key)
    rows = [
        {"orderId": order_id_text(order.order_id), "orderLinkId": order.client_id} for order in mine
    ]
    return {"list": rows, "success": "1"}


def _of_filter(orders: Any, sent: Mapping[str, Any]) -> list[ExchangeOrder]:
    """Orders of the kind that `orderFilter` names, of all kinds without it."""
    kinds = {"Order": OrderKind.REGULAR, "StopOrder": OrderKind.CONDITIONAL}
    name = sent.get("orderFilter")
    if name and name not in kinds:
        raise bad_parameter("orderFilter")
    return [order for order in orders if not name or order.kind is kinds[name]]


def realtime(call: Call) -> Row:
    """Return a page of `order/realtime`: what is open, or one order whatever became of it."""
    require_linear(call.sent)
    view, sent = call.view, call.sent
    settle, base = sent.get("settleCoin"), sent.get("baseCoin")
    if sent.get("orderId") or sent.get("orderLinkId"):
        recent = list(call.account.done.values())[-CLOSED_KEPT:]
        closed = [order for order in recent if order.order_id not in view.orders]
        orders = [order for order in [*closed, *view.orders.values()] if _is_named(order, sent)]
    elif call.symbol or base or settle:
        orders = [
            order
            for order in _of_filter(view.orders.values(), sent)
            if call.symbol in ("", order.symbol)
            and (call.symbol or base in (None, view.markets[order.symbol].base))
            and (call.symbol or base or view.markets[order.symbol].quote == settle)
        ]
    else:
        raise bad_parameter("symbol, baseCoin or settleCoin is required")
    return _listed(call, orders)


def history(call: Call) -> Row:
    """Return a page of `order/history`: what is no longer open."""
    require_linear(call.sent)
    named = bool(call.sent.get("orderId") or call.sent.get("orderLinkId"))
    orders = [
        order
        for order in call.account.done.values()
        if call.symbol in ("", order.symbol) and (not named or _is_named(order, call.sent))
    ]
    return _listed(call, orders)


def _listed(call: Call, orders: list[ExchangeOrder]) -> Row:
    newest = sorted(orders, key=lambda order: order.order_id, reverse=True)
    page, cursor = page_of(newest, call.sent, usual=20, most=50)
    rows = [order_row(call.view, order) for order in page]
    return {"list": rows, "nextPageCursor": cursor, "category": "linear"}


def switch_mode(call: Call) -> Row:
    """Carry out `position/switch-mode`, of one symbol: 0 for one-way, 3 for hedge mode."""
    require_linear(call.sent)
    modes = {0: PositionMode.ONE_WAY, 3: PositionMode.HEDGE}
    mode = call.sent.get("mode")
    if not isinstance(mode, int) or mode not in modes:
        raise bad_parameter("mode")
    symbol = _required(call.sent, "symbol")
    call.exchange.set_position_mode(call.account.api_key, modes[mode], symbol=symbol)
    return {}


def set_leverage(call: Call) -> Row:
    """Carry out `position/set-leverage`."""
    require_linear(call.sent)
    symbol, text = _required(call.sent, "symbol"), _required(call.sent, "buyLeverage")
    leverage = _number({"buyLeverage": text}, "buyLeverage") or ZERO
    call.exchange.set_leverage(call.account.api_key, symbol, int(leverage))
    return {}
