"""How Binance USD-M writes things: numbers as strings, and the fields of each kind of row."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from model import LedgerKind
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

Row = dict[str, object]
EIGHT = Decimal("0.00000001")
INCOME_TYPES: dict[LedgerKind, str] = {
    LedgerKind.TRANSFER: "TRANSFER",
    LedgerKind.BONUS: "WELCOME_BONUS",
    LedgerKind.FUNDING: "FUNDING_FEE",
    LedgerKind.FEE: "COMMISSION",
    LedgerKind.REALISED: "REALIZED_PNL",
    LedgerKind.LIQUIDATION: "INSURANCE_CLEAR",
    LedgerKind.OTHER: "API_REBATE",
}


def money(value: Decimal) -> str:
    """Eight decimals."""
    return format(value.quantize(EIGHT, rounding=ROUND_HALF_EVEN), "f")


def places(value: Decimal, decimals: int) -> str:
    """Write a number with the given decimals."""
    return format(value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN), "f")


def plain(value: Decimal) -> str:
    """Write as many decimals as it takes, `0` for zero."""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def milliseconds(at: float) -> int:
    """Turn seconds into the venue's time stamps."""
    return round(at * 1000)


def order_row(view: AccountView, order: ExchangeOrder, *, as_new: bool = False) -> Row:
    """Write an order as the answer to placing or cancelling it; `as_new` hides what it did."""
    market = view.markets[order.symbol]
    done = order.filled if not as_new else ZERO
    average = order.average_price if not as_new else ZERO
    spent = order.quote_filled if not as_new else ZERO
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": (OrderStatus.NEW if as_new else order.status).value,
        "clientOrderId": order.client_id,
        "price": places(order.price, market.price_decimals),
        "avgPrice": places(average, max(2, market.price_decimals + 3)),
        "origQty": places(order.quantity, market.quantity_decimals),
        "executedQty": places(done, market.quantity_decimals),
        "cumQty": places(done, market.quantity_decimals),
        "cumQuote": places(spent, 5),
        "timeInForce": order.time_in_force.value,
        "type": order.order_type.value,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": order.leg.value,
        "stopPrice": places(order.trigger_price, market.price_decimals),
        "workingType": order.working_type,
        "priceProtect": False,
        "origType": order.order_type.value,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "updateTime": milliseconds(order.updated_at),
    }


def stored_order_row(view: AccountView, order: ExchangeOrder) -> Row:
    """Write an order as queries do: with its time, without cumQty."""
    row = order_row(view, order)
    del row["cumQty"]
    row["time"] = milliseconds(order.created_at)
    return row


def algo_row(view: AccountView, order: ExchangeOrder, *, is_query: bool) -> Row:
    """Write a conditional order; queries add what became of it."""
    market = view.markets[order.symbol]
    statuses = {OrderStatus.TRIGGERED: "FINISHED", OrderStatus.PARTIALLY_FILLED: "NEW"}
    row: Row = {
        "algoId": order.order_id,
        "clientAlgoId": order.client_id,
        "algoType": "CONDITIONAL",
        "orderType": order.order_type.value,
        "symbol": order.symbol,
        "side": order.side.value,
        "positionSide": order.leg.value,
        "timeInForce": order.time_in_force.value,
        "quantity": places(order.quantity, market.quantity_decimals),
        "algoStatus": statuses.get(order.status, order.status.value),
        "triggerPrice": places(order.trigger_price, market.price_decimals),
        "price": places(order.price, market.price_decimals),
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": order.working_type,
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": False,
        "reduceOnly": order.reduce_only,
        "createTime": milliseconds(order.created_at),
        "updateTime": milliseconds(order.updated_at),
        "triggerTime": milliseconds(order.triggered_at or 0),
        "goodTillDate": 0,
    }
    if is_query:
        row["actualOrderId"] = str(order.triggered_order_id or "")
        row["actualPrice"] = "0.00000"
        for name in ("tpTriggerPrice", "tpPrice", "slTriggerPrice", "slPrice"):
            row[name] = "0.000"
        row["tpOrderType"] = ""
    else:
        trails = order.order_type is OrderType.TRAILING_STOP_MARKET
        row["activatePrice"] = plain(order.activation_price or ZERO) if trails else ""
        row["callbackRate"] = plain(order.callback_percent or ZERO) if trails else ""
    return row


def empty_leg(symbol: str, leg: Leg) -> PositionLeg:
    """Return a flat position, for the rows that show zero."""
    return PositionLeg(symbol=symbol, leg=leg, amount=ZERO, entry_price=ZERO)


def isolated_margin(view: AccountView, leg: PositionLeg) -> Decimal:
    """Margin set aside plus the profit it has made; 0 for a cross position."""
    if not leg.amount or not margin.is_isolated(view, leg.symbol):
        return ZERO
    return leg.isolated_wallet + margin.unrealised(view, leg)


def orders_margin(view: AccountView, leg: PositionLeg) -> Decimal:
    """Initial margin that the open orders of a leg reserve."""
    return sum(
        (
            margin.order_margin(view, order)
            for order in view.orders.values()
            if (order.symbol, order.leg) == (leg.symbol, leg.leg)
        ),
        ZERO,
    )


def break_even(view: AccountView, leg: PositionLeg) -> Decimal:
    """Entry price with the taker's fee on it."""
    fee = view.markets[leg.symbol].taker_fee
    return leg.entry_price * (1 + fee if leg.amount > 0 else 1 - fee)


def position_risk_row(view: AccountView, leg: PositionLeg) -> Row:
    """Write a row of `v3/positionRisk`."""
    market = view.markets[leg.symbol]
    initial = margin.initial_margin(view, leg)
    reserved = orders_margin(view, leg)
    return {
        "symbol": leg.symbol,
        "positionSide": leg.leg.value,
        "positionAmt": places(leg.amount, market.quantity_decimals),
        "entryPrice": plain(leg.entry_price) if leg.amount else "0.0",
        "breakEvenPrice": plain(break_even(view, leg)) if leg.amount else "0.0",
        "markPrice": money(margin.mark_of(view, leg)),
        "unRealizedProfit": money(margin.unrealised(view, leg)),
        "liquidationPrice": liquidation_text(view, leg),
        "isolatedMargin": zero_or_money(isolated_margin(view, leg)),
        "notional": zero_or_money(margin.notional(view, leg)),
        "marginAsset": market.quote,
        "isolatedWallet": zero_or_money(leg.isolated_wallet),
        "initialMargin": zero_or_money(initial + reserved),
        "maintMargin": zero_or_money(margin.maintenance_margin(view, leg)),
        "positionInitialMargin": zero_or_money(initial),
        "openOrderInitialMargin": zero_or_money(reserved),
        "adl": 1 if leg.amount else 0,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": milliseconds(leg.updated_at),
    }


def position_risk_v2_row(view: AccountView, leg: PositionLeg) -> Row:
    """Write a row of `v2/positionRisk`."""
    setting = view.setting(leg.symbol)
    row = position_risk_row(view, leg)
    kept = (
        "symbol",
        "positionAmt",
        "entryPrice",
        "breakEvenPrice",
        "markPrice",
        "unRealizedProfit",
        "liquidationPrice",
        "isolatedMargin",
        "positionSide",
        "notional",
        "isolatedWallet",
        "updateTime",
    )
    return {name: row[name] for name in kept} | {
        "leverage": str(setting.leverage),
        "maxNotionalValue": "100000000",
        "marginType": "isolated" if margin.is_isolated(view, leg.symbol) else "cross",
        "isAutoAddMargin": "false",
    }


def liquidation_text(view: AccountView, leg: PositionLeg) -> str:
    """Write the liquidation price, `0` where there is none."""
    price = margin.liquidation_price(view, leg) if leg.amount else ZERO
    return money(price) if price > 0 else "0"


def zero_or_money(value: Decimal) -> str:
    """Eight decimals, but `0` for zero, as positions are written."""
    return money(value) if value else "0"


def income_row(income: Income) -> Row:
    """Write a row of the income history."""
    name = INCOME_TYPES[income.kind]
    return {
        "symbol": income.symbol,
        "incomeType": name,
        "income": money(income.amount),
        "asset": income.asset,
        "time": milliseconds(income.at),
        "info": name if income.trade_id is None else str(income.trade_id),
        "tranId": income.record_id,
        "tradeId": "" if income.trade_id is None else str(income.trade_id),
    }


def trade_row(trade: Trade) -> Row:
    """Write a row of the account's trades."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side.value,
        "price": plain(trade.price),
        "qty": plain(trade.quantity),
        "realizedPnl": money(trade.realised),
        "quoteQty": money(trade.price * trade.quantity),
        "commission": money(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": milliseconds(trade.at),
        "positionSide": trade.leg.value,
        "buyer": trade.side.value == "BUY",
        "maker": trade.is_maker,
    }
