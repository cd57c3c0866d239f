"""How Bitget writes things: everything a text, and which product a market or a coin belongs to."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from model import MarginMode, OrderKind, OrderSide, PositionMode
from simulator.markets import Market
from simulator.state import AccountView, ExchangeOrder, Leg, OrderStatus, OrderType, TimeInForce
from simulator.wire.bitget_codes import BitgetError

Row = dict[str, object]
USDT_FUTURES, USDC_FUTURES, COIN_FUTURES = "USDT-FUTURES", "USDC-FUTURES", "COIN-FUTURES"
MARGIN_COINS = {USDT_FUTURES: "USDT", USDC_FUTURES: "USDC"}
PAGE_DEFAULT = 100
PLACES = Decimal("0.0000000001")

CLASSIC_STATUS = {
    OrderStatus.NEW: "live",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
}
"""Any other status is `canceled`; the unified account writes `cancelled`."""
MARGIN_MODES = {MarginMode.CROSS: "crossed", MarginMode.ISOLATED: "isolated"}
POSITION_MODES = {PositionMode.ONE_WAY: "one_way_mode", PositionMode.HEDGE: "hedge_mode"}
FORCES = {
    TimeInForce.GTC: "gtc",
    TimeInForce.IOC: "ioc",
    TimeInForce.FOK: "fok",
    TimeInForce.GTX: "post_only",
}
STOPS = (OrderType.STOP, OrderType.STOP_MARKET)


def text(value: Decimal) -> str:
    """Write as many decimals as it takes, at most ten."""
    rounded = value.quantize(PLACES, rounding=ROUND_HALF_EVEN)
    written = format(rounded, "f").rstrip("0").rstrip(".")
    return "0" if written in ("", "-0") else written


def milliseconds(at: float) -> str:
    """Turn seconds into the venue's time stamps."""
    return str(round(at * 1000))


def product_of(market: Market) -> str:
    """The product type that a market is traded under."""
    return USDC_FUTURES if market.quote == "USDC" else USDT_FUTURES


def product_named(value: object) -> str:
    """The product type that a request names, in capitals or not. Raises BitgetError 40034."""
    name = str(value or "").upper()
    if name not in MARGIN_COINS:
        raise BitgetError("40034", "Parameter productType does not exist")
    return name


def is_closing(order: ExchangeOrder) -> bool:
    """True for an order that can only close: by its flag, or by its side on its leg."""
    if order.reduce_only or order.close_position:
        return True
    return order.leg is not Leg.BOTH and order.side is closing_side(order.leg)


def closing_side(leg: Leg) -> OrderSide:
    """The side of an order that closes a hedge leg."""
    return OrderSide.SELL if leg is Leg.LONG else OrderSide.BUY


def plan_type(order: ExchangeOrder) -> str:
    """Which of the venue's plan types a conditional order is."""
    closes = is_closing(order)
    if order.order_type is OrderType.TRAILING_STOP_MARKET:
        return "moving_plan" if closes else "track_plan"
    stops = order.order_type in STOPS
    if order.close_position:
        return "pos_loss" if stops else "pos_profit"
    if closes:
        return "loss_plan" if stops else "profit_plan"
    return "normal_plan"


def leg_text(order: ExchangeOrder) -> str:
    """`long` or `short` for a hedge leg, `net` in one-way mode."""
    return "net" if order.leg is Leg.BOTH else order.leg.value.lower()


def wire_side(order: ExchangeOrder) -> str:
    """The side as classic accounts write it: in hedge mode it names the leg, not the direction."""
    if order.leg is Leg.BOTH:
        return order.side.value.lower()
    return "buy" if order.leg is Leg.LONG else "sell"


def trade_side(order: ExchangeOrder) -> str:
    """`open` or `close` in hedge mode, `buy_single` or `sell_single` in one-way mode."""
    if order.leg is Leg.BOTH:
        return f"{order.side.value.lower()}_single"
    return "close" if is_closing(order) else "open"


def order_row(view: AccountView, order: ExchangeOrder, *, status_name: str) -> Row:
    """Write an ordinary order as classic accounts list it."""
    market = view.markets[order.symbol]
    setting = view.setting(order.symbol)
    mode = PositionMode.ONE_WAY if order.leg is Leg.BOTH else PositionMode.HEDGE
    return {
        "symbol": order.symbol,
        "size": text(order.quantity),
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "baseVolume": text(order.filled),
        "fee": "0",
        "price": text(order.price) if order.price else "",
        "priceAvg": text(order.average_price) if order.filled else "",
        status_name: CLASSIC_STATUS.get(order.status, "canceled"),
        "side": wire_side(order),
        "force": FORCES[order.time_in_force],
        "totalProfits": "0",
        "posSide": leg_text(order),
        "marginCoin": market.quote,
        "quoteVolume": text(order.quote_filled),
        "leverage": str(setting.leverage),
        "marginMode": MARGIN_MODES[setting.margin_mode],
        "enterPointSource": "api",
        "tradeSide": trade_side(order),
        "posMode": POSITION_MODES[mode],
        "orderType": "market" if order.order_type is OrderType.MARKET else "limit",
        "orderSource": "normal",
        "presetStopSurplusPrice": "",
        "presetStopLossPrice": "",
        "reduceOnly": "YES" if order.reduce_only else "NO",
        "cTime": milliseconds(order.created_at),
        "uTime": milliseconds(order.updated_at),
    }


def plan_row(view: AccountView, order: ExchangeOrder) -> Row:
    """Write a conditional order as classic accounts list it; one on a whole position has no size.

    It has no reduce-only flag: which of them can only close is told by the plan type.
    """
    market = view.markets[order.symbol]
    mode = PositionMode.ONE_WAY if order.leg is Leg.BOTH else PositionMode.HEDGE
    trigger = order.trigger_price or order.activation_price or Decimal(0)
    callback = order.callback_percent
    return {
        "planType": plan_type(order),
        "symbol": order.symbol,
        "size": "0" if order.close_position else text(order.quantity),
        "orderId": str(order.order_id),
        "clientOid": order.client_id,
        "price": text(order.price) if order.price else "",
        "executePrice": text(order.price) if order.price else "",
        "callbackRatio": "" if callback is None else text(callback),
        "triggerPrice": text(trigger),
        "triggerType": "mark_price",
        "planStatus": "live",
        "side": wire_side(order),
        "posSide": leg_text(order),
        "marginCoin": market.quote,
        "marginMode": MARGIN_MODES[view.setting(order.symbol).margin_mode],
        "enterPointSource": "API",
        "tradeSide": trade_side(order),
        "posMode": POSITION_MODES[mode],
        "orderType": "limit" if order.order_type.needs_price else "market",
        "stopSurplusTriggerPrice": "",
        "stopSurplusExecutePrice": None,
        "stopSurplusTriggerType": "fill_price",
        "stopLossTriggerPrice": None,
        "stopLossExecutePrice": None,
        "stopLossTriggerType": None,
        "cTime": milliseconds(order.created_at),
        "uTime": milliseconds(order.updated_at),
    }


def orders_of(view: AccountView, kind: OrderKind, *, product: str) -> list[ExchangeOrder]:
    """The open orders of one book and product, newest first."""
    mine = [
        order for order in view.orders_of(kind) if product_of(view.markets[order.symbol]) == product
    ]
    return sorted(mine, key=lambda order: -order.order_id)
