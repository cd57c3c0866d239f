"""Orders and settings in Binance USD-M's words, turned into requests to the exchange."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

from model import MarginMode, OrderKind, OrderSide, PositionMode
from simulator.exchange import Exchange
from simulator.reasons import Reason, Rejected
from simulator.state import (
    Account,
    AccountView,
    ExchangeOrder,
    Leg,
    OrderRequest,
    OrderType,
    TimeInForce,
    to_decimal,
)
from simulator.wire.binance_codes import (
    BinanceError,
    error_body,
    missing,
    translate,
    unknown_order_to_cancel,
)
from simulator.wire.binance_shapes import Row, algo_row, order_row, stored_order_row

BATCH_MAX = 5
DONE: Row = {"code": 200, "msg": "success"}
ALL_CANCELLED: Row = {"code": 200, "msg": "The operation of cancel all open order is done."}


def required(sent: Mapping[str, str], name: str) -> str:
    """Return a parameter that must be there. Raises BinanceError -1102."""
    value = sent.get(name, "")
    if not value:
        raise missing(name)
    return value


def _number(sent: Mapping[str, str], *names: str) -> Decimal | None:
    for name in names:
        if sent.get(name):
            try:
                return to_decimal(sent[name])
            except ValueError:
                raise BinanceError(
                    -1100, f"Illegal characters found in parameter '{name}'."
                ) from None
    return None


def flag(sent: Mapping[str, str], name: str) -> bool | None:
    """Return a true/false parameter, None when it was not sent."""
    text = sent.get(name, "").lower()
    if not text:
        return None
    if text not in ("true", "false"):
        raise missing(name)
    return text == "true"


def _word(sent: Mapping[str, str], name: str, allowed: tuple[str, ...], code: int) -> str:
    value = required(sent, name)
    if value not in allowed:
        raise BinanceError(code, f"Invalid {name}.")
    return value


def order_request(sent: Mapping[str, str]) -> OrderRequest:
    """Read the parameters of an order, ordinary or conditional. Raises BinanceError."""
    symbol = required(sent, "symbol")
    side = OrderSide(_word(sent, "side", tuple(OrderSide), -1117))
    order_type = OrderType(_word(sent, "type", tuple(OrderType), -1116))
    if order_type is OrderType.LIMIT:
        required(sent, "timeInForce")
    leg = sent.get("positionSide") or Leg.BOTH.value
    if leg not in tuple(Leg):
        raise BinanceError(-4060, "Invalid position side.")
    in_force = sent.get("timeInForce") or TimeInForce.GTC.value
    if in_force not in tuple(TimeInForce):
        raise BinanceError(-1115, "Invalid timeInForce.")
    close_position = bool(flag(sent, "closePosition"))
    if not close_position:
        required(sent, "quantity")
    return OrderRequest(
        symbol=symbol,
        side=side,
        order_type=order_type,
        quantity=_number(sent, "quantity"),
        leg=Leg(leg),
        price=_number(sent, "price"),
        trigger_price=_number(sent, "triggerPrice", "stopPrice"),
        activation_price=_number(sent, "activatePrice", "activationPrice"),
        callback_percent=_number(sent, "callbackRate"),
        reduce_only=flag(sent, "reduceOnly"),
        close_position=close_position,
        client_id=sent.get("newClientOrderId") or sent.get("clientAlgoId") or "",
        time_in_force=TimeInForce(in_force),
        working_type=sent.get("workingType") or "CONTRACT_PRICE",
    )


def place_order(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, str],
    *,
    fill_fraction: Decimal | None,
    acknowledge_only: bool,
) -> Row:
    """Carry out `POST order`; only RESULT tells what a market order did."""
    request = order_request(sent)
    if request.order_type.kind is OrderKind.CONDITIONAL:
        raise BinanceError(
            -4120,
            "Order type not supported for this endpoint. Please use the Algo Order API endpoints"
            " instead.",
        )
    order = exchange.place(account.api_key, request, fill_fraction=fill_fraction)
    as_new = acknowledge_only or sent.get("newOrderRespType") != "RESULT"
    return order_row(account.view(exchange.world), order, as_new=as_new)


def place_algo_order(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `POST algoOrder`."""
    if required(sent, "algoType") != "CONDITIONAL":
        raise BinanceError(-1102, "Invalid algoType.")
    request = order_request(sent)
    if request.order_type.kind is not OrderKind.CONDITIONAL:
        raise BinanceError(-1116, "Invalid orderType.")
    order = exchange.place(account.api_key, request)
    return algo_row(account.view(exchange.world), order, is_query=False)


def place_batch(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, str],
    *,
    fill_fraction: Decimal | None,
    acknowledge_only: bool,
) -> list[Row]:
    """Carry out `POST batchOrders`: each order answers for itself, in the order of the request."""
    rows: list[Row] = []
    for entry in batch_entries(sent):
        try:
            rows.append(
                place_order(
                    exchange,
                    account,
                    entry,
                    fill_fraction=fill_fraction,
                    acknowledge_only=acknowledge_only,
                )
            )
        except Rejected as refusal:
            rows.append(json.loads(translate(refusal).body))
        except BinanceError as error:
            rows.append(json.loads(error_body(error.code, error.message)))
    return rows


def batch_entries(sent: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the orders of a batch as parameters. Raises BinanceError."""
    try:
        entries = json.loads(required(sent, "batchOrders"))
    except json.JSONDecodeError:
        raise missing("batchOrders") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= BATCH_MAX:
        raise BinanceError(-4082, "Invalid number of batch place orders.")
    return [{name: _text(value) for name, value in entry.items()} for entry in entries]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def find(
    exchange: Exchange, account: Account, sent: Mapping[str, str], kind: OrderKind
) -> ExchangeOrder:
    """Find the order that a query names. Raises BinanceError or Rejected."""
    symbol, order_id, client_id = _named(sent, kind)
    return exchange.find_order(
        account.api_key, symbol, kind=kind, order_id=order_id, client_id=client_id
    )


def _named(sent: Mapping[str, str], kind: OrderKind) -> tuple[str, int | None, str | None]:
    if kind is OrderKind.REGULAR:
        symbol = required(sent, "symbol")
        number, text = sent.get("orderId", ""), sent.get("origClientOrderId")
    else:
        symbol = ""
        number, text = sent.get("algoId", ""), sent.get("clientAlgoId")
    if not number and not text:
        raise BinanceError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent.")
    if number and not number.isdigit():
        raise missing("orderId")
    return symbol, int(number) if number else None, text


def query_order(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `GET order`."""
    found = find(exchange, account, sent, OrderKind.REGULAR)
    return stored_order_row(account.view(exchange.world), found)


def query_algo_order(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `GET algoOrder`."""
    found = find(exchange, account, sent, OrderKind.CONDITIONAL)
    return algo_row(account.view(exchange.world), found, is_query=True)


def cancel_order(
    exchange: Exchange, account: Account, sent: Mapping[str, str], kind: OrderKind
) -> Row:
    """Carry out `DELETE order` or `DELETE algoOrder`. Raises BinanceError -2011."""
    symbol, order_id, client_id = _named(sent, kind)
    try:
        order = exchange.cancel(
            account.api_key, symbol, kind=kind, order_id=order_id, client_id=client_id
        )
    except Rejected as refusal:
        if refusal.reason is Reason.UNKNOWN_ORDER:
            raise unknown_order_to_cancel() from None
        raise
    view = account.view(exchange.world)
    if kind is OrderKind.REGULAR:
        return order_row(view, order)
    return algo_row(view, order, is_query=False)


def cancel_batch(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> list[Row]:
    """Carry out `DELETE batchOrders`, by order ids or client ids."""
    lowered = {name.lower(): value for name, value in sent.items()}
    try:
        by_id = json.loads(lowered.get("orderidlist") or "[]")
        by_client = json.loads(lowered.get("origclientorderidlist") or "[]")
    except json.JSONDecodeError:
        raise missing("orderIdList") from None
    symbol = required(sent, "symbol")
    wanted = [{"symbol": symbol, "orderId": str(number)} for number in by_id]
    wanted += [{"symbol": symbol, "origClientOrderId": str(text)} for text in by_client]
    rows: list[Row] = []
    for entry in wanted:
        try:
            rows.append(cancel_order(exchange, account, entry, OrderKind.REGULAR))
        except BinanceError as error:
            rows.append(json.loads(error.body))
    return rows


def cancel_all(
    exchange: Exchange, account: Account, sent: Mapping[str, str], kind: OrderKind
) -> Row:
    """Carry out `DELETE allOpenOrders` or `DELETE algoOpenOrders` of one symbol."""
    symbol = required(sent, "symbol")
    exchange.world.market(symbol)
    exchange.cancel_all(account.api_key, symbol, kind)
    return ALL_CANCELLED


def open_orders(view: AccountView, symbol: str, kind: OrderKind) -> list[Row]:
    """Return `openOrders` or `openAlgoOrders`."""
    orders = view.orders_of(kind, symbol or None)
    if kind is OrderKind.REGULAR:
        return [stored_order_row(view, order) for order in orders]
    return [algo_row(view, order, is_query=True) for order in orders]


def countdown(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `countdownCancelAll`: milliseconds, 0 disarms."""
    symbol = required(sent, "symbol")
    exchange.world.market(symbol)
    milliseconds = required(sent, "countdownTime")
    if not milliseconds.isdigit():
        raise missing("countdownTime")
    exchange.arm_countdown(account.api_key, symbol, int(milliseconds) / 1000)
    return {"symbol": symbol, "countdownTime": milliseconds}


def set_leverage(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `POST leverage`."""
    symbol, text = required(sent, "symbol"), required(sent, "leverage")
    if not text.isdigit():
        raise translate(Rejected(Reason.LEVERAGE_OUT_OF_RANGE, text))
    exchange.set_leverage(account.api_key, symbol, int(text))
    return {"symbol": symbol, "leverage": int(text), "maxNotionalValue": "100000000"}


def set_margin_type(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `POST marginType`."""
    symbol = required(sent, "symbol")
    modes = {"ISOLATED": MarginMode.ISOLATED, "CROSSED": MarginMode.CROSS}
    mode = modes[_word(sent, "marginType", tuple(modes), -4047)]
    exchange.set_margin_mode(account.api_key, symbol, mode)
    return DONE


def set_position_mode(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `POST positionSide/dual`."""
    required(sent, "dualSidePosition")
    dual = flag(sent, "dualSidePosition")
    mode = PositionMode.HEDGE if dual else PositionMode.ONE_WAY
    exchange.set_position_mode(account.api_key, mode)
    return DONE


def set_multi_assets(exchange: Exchange, account: Account, sent: Mapping[str, str]) -> Row:
    """Carry out `POST multiAssetsMargin`."""
    required(sent, "multiAssetsMargin")
    exchange.set_multi_assets(account.api_key, enabled=bool(flag(sent, "multiAssetsMargin")))
    return DONE
