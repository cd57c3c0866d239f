"""What an order and a cancel say to Binance USD-M, and what the answer to a cancel proves.

Pure. Owns the parameters: one table for both families of accounts, because portfolio margin takes
the same ones. Which endpoint takes them stands in `binance_routes`.
"""

from __future__ import annotations

from typing import assert_never

from model import CloseInstruction, Done, Order, OrderKind, PositionMode, Unknown, VenueOrderId
from venues.binance_errors import code_of
from venues.binance_routes import Routes
from venues.parsing import plain_text


def close_params(instruction: CloseInstruction) -> dict[str, str | int]:
    """The closing market order of an approved instruction.

    One-way accounts get the reduce-only flag. Hedge accounts refuse that flag; there the order
    is bound to its leg, and a SELL of a LONG leg (or a BUY of a SHORT one) can only close.
    """
    params: dict[str, str | int] = {
        "symbol": instruction.symbol,
        "side": instruction.side.closing_order.value,
        "type": "MARKET",
        "quantity": plain_text(instruction.quantity),
        "newClientOrderId": instruction.client_id,
        "newOrderRespType": "RESULT",
    }
    match instruction.position_mode:
        case PositionMode.ONE_WAY:
            params["reduceOnly"] = "true"
        case PositionMode.HEDGE:
            params["positionSide"] = instruction.side.value
        case _:
            assert_never(instruction.position_mode)
    return params


def cancel_request(order: Order, routes: Routes) -> tuple[str, dict[str, str | int]]:
    """Endpoint and parameters that cancel one order where its kind lives."""
    symbol: dict[str, str | int] = {"symbol": order.symbol}
    match order.kind:
        case OrderKind.REGULAR:
            return routes.cancel, symbol | {"orderId": order.order_id}
        case OrderKind.CONDITIONAL:
            named = symbol if routes.cancels_by_symbol else {}
            return routes.cancel_conditional, named | {"algoId": order.order_id}
        case _:
            assert_never(order.kind)


def judge_cancel(answer: object, *, order_id: VenueOrderId) -> Done | Unknown:
    """Say what an answer with status 200 proves; `order_id` is empty for a cancel of many.

    It echoes the id, says code 200, or, of a conditional order in portfolio margin, `complete`.
    """
    fields = answer if isinstance(answer, dict) else {}
    echoed = {str(fields.get(name)) for name in ("orderId", "algoId")}
    is_told = code_of(answer) == 200 or fields.get("complete") is True
    if is_told or (order_id and order_id in echoed):
        return Done(order_id=order_id)
    return Unknown(cause="cancel: the answer confirms nothing")
