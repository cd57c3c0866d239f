"""May this order be accepted, and for how much: the filters, the modes and the reduce-only rules.

Decides and changes nothing: it returns the quantity that will be worked on, or raises `Rejected`.
Where venues differ, `world.rules` decides. By default the reduce-only rules follow what was
measured or documented on Binance USD-M:

- nothing on the other side to reduce: refused;
- resting orders that already reduce all of it, or too much of it for this one: refused as blocked,
  also for a market order;
- a one-way market order larger than the position is cut down to it, a hedged one is refused;
- an order that can only reduce is exempt from the minimum notional.
"""

from __future__ import annotations

from decimal import Decimal
from typing import assert_never

from model import OrderKind, OrderSide, PositionMode
from simulator import margin
from simulator.markets import Market, decimals_of
from simulator.reasons import Reason, Rejected
from simulator.state import (
    ZERO,
    Account,
    Leg,
    OrderRequest,
    OrderStatus,
    OrderType,
    TimeInForce,
    World,
)


def accepted_quantity(world: World, account: Account, request: OrderRequest) -> Decimal:
    """Check a request completely and return the quantity to work on, 0 with close_position.

    Raises Rejected with the first rule that is broken.
    """
    market = world.market(request.symbol)
    mark = world.mark(request.symbol)
    if not market.is_tradable:
        raise Rejected(Reason.SYMBOL_CLOSED, request.symbol)
    _check_identity(world, account, request)
    _check_leg(world, account, request)
    _check_prices(market, request, mark)
    if request.close_position:
        return ZERO
    quantity = request.quantity
    if quantity is None:
        raise Rejected(Reason.MISSING_PARAMETER, "quantity")
    reduces = is_reducing_only(account, request)
    is_bounded = not (reduces and world.rules.splits_large_reducers)
    _check_quantity(market, request, quantity, is_bounded=is_bounded)
    if reduces and request.order_type.kind is OrderKind.REGULAR:
        quantity = reducible(world, account, request, quantity=quantity)
    is_one_way = account.mode_of(request.symbol) is PositionMode.ONE_WAY
    waived = (
        reduces
        and world.rules.reducers_skip_min_notional
        and (is_one_way or world.hedge_close_waives_min_notional)
    )
    price = request.price or mark
    if not waived and quantity * price < market.min_notional:
        raise Rejected(Reason.NOTIONAL_TOO_SMALL, f"{market.min_notional:f}")
    if not reduces and request.order_type.kind is OrderKind.REGULAR:
        _check_margin(world, account, request, quantity=quantity, price=price)
    return quantity


def is_reducing_only(account: Account, request: OrderRequest) -> bool:
    """True when the order cannot open: flagged, or in hedge mode the closing side of its leg."""
    if account.mode_of(request.symbol) is PositionMode.ONE_WAY:
        return bool(request.reduce_only) or request.close_position
    closing = OrderSide.SELL if request.leg is Leg.LONG else OrderSide.BUY
    return request.side is closing or bool(request.reduce_only)


def reducible(
    world: World, account: Account, request: OrderRequest, *, quantity: Decimal
) -> Decimal:
    """Return how much of `quantity` a reduce-only order may take. Raises Rejected."""
    amount = account.amount(request.symbol, request.leg)
    sign = 1 if request.side is OrderSide.BUY else -1
    if amount * sign >= 0:
        raise Rejected(Reason.NOTHING_TO_REDUCE, request.symbol)
    hedged = account.mode_of(request.symbol) is PositionMode.HEDGE
    resting = sum(
        (
            order.remaining
            for order in account.orders.values()
            if order.kind is OrderKind.REGULAR
            and (order.symbol, order.leg, order.side) == (request.symbol, request.leg, request.side)
            and (order.reduce_only or hedged)
        ),
        ZERO,
    )
    free = abs(amount)
    gives_way = not hedged and world.rules.newer_reducers_win
    if world.rules.resting_reducers_block and not gives_way:
        free -= resting
    if quantity <= free:
        return quantity
    if free < abs(amount):
        if hedged and world.rules.hedged_closes_take_the_rest and free > 0:
            return free
        raise Rejected(Reason.REDUCE_BLOCKED_BY_ORDERS, request.symbol)
    if hedged and not world.rules.clips_hedged_closes:
        raise Rejected(Reason.MORE_THAN_HELD, request.symbol)
    return free


def _check_identity(world: World, account: Account, request: OrderRequest) -> None:
    rules = world.rules
    if request.client_id:
        if not rules.client_id.match(request.client_id):
            raise Rejected(Reason.BAD_CLIENT_ID, request.client_id)
        taken = list(account.orders.values())
        if rules.client_ids_stay_taken:
            # An order that was triggered lives on, under its id, as the one that it became.
            done = account.done.values()
            taken += [order for order in done if order.status is not OrderStatus.TRIGGERED]
        if any(order.client_id == request.client_id for order in taken):
            raise Rejected(Reason.DUPLICATE_CLIENT_ID, request.client_id)
    kind = request.order_type.kind
    count = sum(
        order.kind is kind and (order.symbol == request.symbol or not rules.counts_orders_by_symbol)
        for order in account.orders.values()
    )
    if count >= rules.max_orders[kind]:
        raise Rejected(Reason.TOO_MANY_ORDERS, kind)


def _check_leg(world: World, account: Account, request: OrderRequest) -> None:
    mode = account.mode_of(request.symbol)
    match mode:
        case PositionMode.ONE_WAY:
            if request.leg is not Leg.BOTH:
                raise Rejected(Reason.LEG_MISMATCH, request.leg)
        case PositionMode.HEDGE:
            if request.leg is Leg.BOTH:
                raise Rejected(Reason.LEG_MISMATCH, request.leg)
            if request.reduce_only is not None and not world.rules.takes_flag_when_hedged:
                raise Rejected(Reason.REDUCE_ONLY_NOT_SENT_HERE, "reduceonly")
        case _:
            assert_never(mode)


def _check_prices(market: Market, request: OrderRequest, mark: Decimal) -> None:
    wanted = {
        "price": request.price if request.order_type.needs_price else None,
        "trigger": request.trigger_price,
        "activation": request.activation_price,
    }
    for name, price in wanted.items():
        if price is None:
            continue
        if price <= 0:
            raise Rejected(Reason.PRICE_NOT_POSITIVE, name)
        if price % market.tick:
            raise Rejected(Reason.PRICE_OFF_TICK, name)
    if request.order_type.needs_price and request.price is None:
        raise Rejected(Reason.MISSING_PARAMETER, "price")
    if request.order_type.kind is OrderKind.REGULAR:
        if request.close_position:
            raise Rejected(Reason.BAD_PARAMETER, "closeposition")
        marketable = request.price is not None and is_marketable(
            side=request.side, price=request.price, mark=mark
        )
        post_only = request.time_in_force is TimeInForce.GTX
        if request.order_type is OrderType.LIMIT and post_only and marketable:
            raise Rejected(Reason.WOULD_TAKE, request.symbol)
        return
    if request.close_position and (request.quantity is not None or request.reduce_only):
        raise Rejected(Reason.CLOSE_POSITION_WITH_QUANTITY, request.symbol)
    if request.order_type is OrderType.TRAILING_STOP_MARKET:
        if request.callback_percent is None or request.callback_percent <= 0:
            raise Rejected(Reason.MISSING_PARAMETER, "callbackRate")
        return
    if request.trigger_price is None:
        raise Rejected(Reason.MISSING_PARAMETER, "triggerPrice")
    if is_triggered(
        order_type=request.order_type, side=request.side, trigger=request.trigger_price, mark=mark
    ):
        raise Rejected(Reason.WOULD_TRIGGER_AT_ONCE, request.symbol)


def _check_quantity(
    market: Market, request: OrderRequest, quantity: Decimal, *, is_bounded: bool
) -> None:
    if quantity <= 0:
        raise Rejected(Reason.QUANTITY_NOT_POSITIVE, f"{quantity:f}")
    if decimals_of(quantity) > market.quantity_decimals:
        raise Rejected(Reason.QUANTITY_TOO_PRECISE, f"{quantity:f}")
    if quantity % market.step:
        raise Rejected(Reason.QUANTITY_OFF_STEP, f"{quantity:f}")
    if quantity < market.min_quantity:
        raise Rejected(Reason.QUANTITY_TOO_SMALL, f"{market.min_quantity:f}")
    largest = market.limit_max if request.order_type.needs_price else market.market_max
    if is_bounded and quantity > largest:
        raise Rejected(Reason.QUANTITY_TOO_LARGE, f"{largest:f}")


def _check_margin(
    world: World, account: Account, request: OrderRequest, *, quantity: Decimal, price: Decimal
) -> None:
    amount = account.amount(request.symbol, request.leg)
    sign = 1 if request.side is OrderSide.BUY else -1
    adding = quantity - abs(amount) if amount * sign < 0 else quantity
    if adding <= 0:
        return
    market = world.market(request.symbol)
    view = account.view(world)
    needed = adding * price * (1 / Decimal(account.setting(request.symbol).leverage))
    needed += quantity * price * market.taker_fee
    if needed > margin.available(view, market.quote):
        raise Rejected(Reason.MARGIN_INSUFFICIENT, f"{needed:f}")


def is_marketable(*, side: OrderSide, price: Decimal, mark: Decimal) -> bool:
    """True when a limit order at `price` would trade at once."""
    return price >= mark if side is OrderSide.BUY else price <= mark


def is_triggered(
    *, order_type: OrderType, side: OrderSide, trigger: Decimal, mark: Decimal
) -> bool:
    """True when a conditional order's price has been reached.

    A stop waits for the price to move against a position, a take-profit for it to move in favour.
    """
    waits_for_rise = side is OrderSide.BUY
    if order_type in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_MARKET):
        waits_for_rise = not waits_for_rise
    return mark >= trigger if waits_for_rise else mark <= trigger
