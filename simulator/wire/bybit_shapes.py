"""How Bybit v5 writes things: numbers as strings, and the fields of each kind of row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, TypeVar
from urllib.parse import quote, unquote
from uuid import UUID

from model import LedgerKind, OrderKind
from simulator import margin
from simulator.state import (
    ZERO,
    AccountView,
    ExchangeOrder,
    Income,
    Leg,
    OrderStatus,
    OrderType,
    PositionLeg,
    Trade,
)
from simulator.wire.bybit_codes import bad_parameter

Row = dict[str, Any]
Item = TypeVar("Item")
INDICES: Mapping[Leg, int] = {Leg.BOTH: 0, Leg.LONG: 1, Leg.SHORT: 2}
SIDES = {"BUY": "Buy", "SELL": "Sell"}
STATUSES: Mapping[OrderStatus, str] = {
    OrderStatus.NEW: "New",
    OrderStatus.PARTIALLY_FILLED: "PartiallyFilled",
    OrderStatus.FILLED: "Filled",
    OrderStatus.CANCELED: "Cancelled",
    OrderStatus.EXPIRED: "Cancelled",
    OrderStatus.TRIGGERED: "Triggered",
    OrderStatus.REJECTED: "Rejected",
}
STOP_TYPES: Mapping[OrderType, str] = {
    OrderType.STOP_MARKET: "Stop",
    OrderType.STOP: "Stop",
    OrderType.TAKE_PROFIT_MARKET: "TakeProfit",
    OrderType.TAKE_PROFIT: "TakeProfit",
    OrderType.TRAILING_STOP_MARKET: "TrailingStop",
}
LOG_TYPES: Mapping[LedgerKind, str] = {
    LedgerKind.BONUS: "BONUS",
    LedgerKind.FUNDING: "SETTLEMENT",
    LedgerKind.FEE: "TRADE",
    LedgerKind.REALISED: "TRADE",
    LedgerKind.LIQUIDATION: "LIQUIDATION",
    LedgerKind.OTHER: "AIRDROP",
}
EIGHT = Decimal("0.00000001")


def money(value: Decimal) -> str:
    """At most eight decimals, `0` for zero."""
    return plain(value.quantize(EIGHT, rounding=ROUND_HALF_EVEN))


def plain(value: Decimal) -> str:
    """Write as many decimals as it takes, `0` for zero."""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def milliseconds(at: float) -> int:
    """Turn seconds into the venue's time stamps."""
    return round(at * 1000)


def order_id_text(order_id: int) -> str:
    """Write an order id as the venue does, which is no number."""
    return str(UUID(int=order_id))


def order_id_number(text: str) -> int:
    """Read an order id; 0 for one that was never given out."""
    try:
        return UUID(text).int
    except ValueError:
        return 0


def page_of(
    rows: Sequence[Item], sent: Mapping[str, Any], *, usual: int, most: int
) -> tuple[Sequence[Item], str]:
    """Return the page that was asked for and the cursor of the next one, encoded for a URL."""
    try:
        limit = int(sent.get("limit") or usual)
        start = int(unquote(str(sent.get("cursor") or "page=0")).removeprefix("page="))
    except ValueError:
        raise bad_parameter("limit or cursor") from None
    if not 1 <= limit <= most or start < 0:
        raise bad_parameter("limit or cursor")
    following = start + limit
    cursor = quote(f"page={following}") if following < len(rows) else ""
    return rows[start:following], cursor


def order_row(view: AccountView, order: ExchangeOrder) -> Row:
    """Write an order, open or closed."""
    conditional = order.kind is OrderKind.CONDITIONAL
    waiting = conditional and order.status.is_open
    limit = order.order_type.needs_price
    left = order.remaining if order.status.is_open else ZERO
    return {
        "orderId": order_id_text(order.order_id),
        "orderLinkId": "" if order.client_id.startswith("auto") else order.client_id,
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": plain(order.price),
        "qty": plain(order.quantity),
        "side": SIDES[order.side.value],
        "isLeverage": "",
        "positionIdx": INDICES[order.leg],
        "orderStatus": "Untriggered" if waiting else STATUSES[order.status],
        "createType": "CreateByUser",
        "cancelType": "CancelByUser" if order.status is OrderStatus.CANCELED else "UNKNOWN",
        "rejectReason": "EC_NoError",
        "avgPrice": plain(order.average_price) if order.filled else "",
        "leavesQty": plain(left),
        "leavesValue": money(left * (order.price or view.marks.get(order.symbol, ZERO))),
        "cumExecQty": plain(order.filled),
        "cumExecValue": money(order.quote_filled),
        "cumExecFee": "0",
        "timeInForce": "GTC" if limit else "IOC",
        "orderType": "Limit" if limit else "Market",
        "stopOrderType": STOP_TYPES.get(order.order_type, "UNKNOWN"),
        "orderIv": "",
        "triggerPrice": plain(order.trigger_price),
        "takeProfit": "",
        "stopLoss": "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "triggerDirection": _direction(order),
        "triggerBy": "MarkPrice" if conditional else "",
        "lastPriceOnCreated": "",
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": order.close_position,
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "tpslMode": "Full" if order.close_position else "",
        "tpLimitPrice": "",
        "slLimitPrice": "",
        "placeType": "",
        "createdTime": str(milliseconds(order.created_at)),
        "updatedTime": str(milliseconds(order.updated_at)),
    }


def _direction(order: ExchangeOrder) -> int:
    """1 for a trigger on a rise, 2 on a fall, 0 without one."""
    if order.kind is not OrderKind.CONDITIONAL:
        return 0
    profits = STOP_TYPES[order.order_type] == "TakeProfit"
    return 1 if (order.side.value == "BUY") is not profits else 2


def empty_leg(symbol: str, leg: Leg) -> PositionLeg:
    """Return a flat position, for the rows that show zero."""
    return PositionLeg(symbol=symbol, leg=leg, amount=ZERO, entry_price=ZERO)


def position_row(view: AccountView, leg: PositionLeg) -> Row:
    """Write a position; a flat one has no side."""
    initial = margin.initial_margin(view, leg)
    isolated = margin.is_isolated(view, leg.symbol)
    liquidation = margin.liquidation_price(view, leg) if leg.amount else ZERO
    side = "" if not leg.amount else ("Buy" if leg.amount > 0 else "Sell")
    return {
        "positionIdx": INDICES[leg.leg],
        "riskId": 1,
        "riskLimitValue": "2000000",
        "symbol": leg.symbol,
        "side": side,
        "size": plain(abs(leg.amount)),
        "avgPrice": plain(leg.entry_price),
        "positionValue": money(abs(leg.amount) * leg.entry_price),
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": 0,
        "adlRankIndicator": 1 if leg.amount else 0,
        "leverage": str(view.setting(leg.symbol).leverage),
        "breakEvenPrice": plain(leg.entry_price),
        "positionBalance": money(leg.isolated_wallet if isolated else initial),
        "markPrice": plain(margin.mark_of(view, leg)),
        "liqPrice": money(liquidation) if liquidation > 0 else "",
        "bustPrice": "",
        "positionMM": money(margin.maintenance_margin(view, leg)),
        "positionMMByMp": money(margin.maintenance_margin(view, leg)),
        "positionIM": money(initial),
        "positionIMByMp": money(initial),
        "tpslMode": "Full",
        "takeProfit": "0",
        "stopLoss": "0",
        "trailingStop": "0",
        "unrealisedPnl": money(margin.unrealised(view, leg)),
        "curRealisedPnl": "0",
        "cumRealisedPnl": "0",
        "seq": view.revision,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "sessionAvgPrice": "",
        "createdTime": str(milliseconds(leg.updated_at)),
        "updatedTime": str(milliseconds(leg.updated_at)),
    }


def trade_row(trade: Trade) -> Row:
    """Write an execution."""
    return {
        "symbol": trade.symbol,
        "orderType": "Limit" if trade.is_maker else "Market",
        "orderLinkId": "",
        "orderId": order_id_text(trade.order_id),
        "side": SIDES[trade.side.value],
        "execId": order_id_text(trade.trade_id),
        "execPrice": plain(trade.price),
        "execQty": plain(trade.quantity),
        "execValue": money(trade.price * trade.quantity),
        "execFee": money(trade.fee),
        "feeCurrency": "",
        "execType": "Trade",
        "isMaker": trade.is_maker,
        "closedSize": plain(trade.quantity) if trade.realised else "0",
        "execTime": str(milliseconds(trade.at)),
    }


def log_row(incomes: Sequence[Income], *, category: str) -> Row:
    """Write one row of the transaction log: the records of one event, change = flow - fee."""
    first = incomes[0]

    def total(wanted: Callable[[LedgerKind], bool]) -> Decimal:
        return sum((income.amount for income in incomes if wanted(income.kind)), ZERO)

    fee = -total(lambda kind: kind is LedgerKind.FEE)
    funding = total(lambda kind: kind is LedgerKind.FUNDING)
    apart = (LedgerKind.FEE, LedgerKind.FUNDING)
    flow = total(lambda kind: kind not in apart)
    log_type = LOG_TYPES.get(first.kind) or ("TRANSFER_IN" if flow > 0 else "TRANSFER_OUT")
    trade = "" if first.trade_id is None else order_id_text(first.trade_id)
    return {
        "transSubType": "",
        "id": f"{first.record_id}_{first.symbol or first.asset}_{milliseconds(first.at)}",
        "symbol": first.symbol,
        "side": "None",
        "funding": money(funding) if first.kind is LedgerKind.FUNDING else "",
        "orderLinkId": "",
        "orderId": "",
        "fee": money(fee),
        "change": money(flow + funding - fee),
        "cashFlow": money(flow),
        "transactionTime": str(milliseconds(first.at)),
        "type": log_type,
        "feeRate": "0",
        "bonusChange": "",
        "size": "0",
        "qty": "0",
        "cashBalance": "0",
        "currency": first.asset,
        "category": category,
        "tradePrice": "0",
        "tradeId": trade,
        "extraFees": "",
    }
