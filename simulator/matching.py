"""Orders at work: taken in, filled against the mark, triggered, cancelled, expired.

There is no other side: the mark is the market, and a taker pays a linear price impact. Rules:

- a market order fills at once, up to what the market's depth offers within its bound; the rest
  expires. A limit order fills at its own price when the mark reaches it;
- a conditional order becomes an ordinary one when its price is reached, with a new order id and
  the same client id; if that one is refused, the conditional order is rejected;
- when a leg becomes flat or changes its side, resting orders that could only reduce it expire.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from model import OrderKind, OrderSide, PositionMode
from simulator.markets import Market
from simulator.order_rules import accepted_quantity, is_marketable, is_triggered, reducible
from simulator.positions import Fill, book_fill, record_order
from simulator.reasons import Reason, Rejected
from simulator.state import (
    ZERO,
    Account,
    ExchangeOrder,
    Leg,
    OrderRequest,
    OrderStatus,
    OrderType,
    TimeInForce,
    World,
)

PRICE_PLACES = Decimal("0.00000001")
HUNDRED = Decimal(100)


def place(
    world: World, account: Account, request: OrderRequest, *, fill_fraction: Decimal | None = None
) -> ExchangeOrder:
    """Take an order in and work on it; returns it as it is afterwards.

    `fill_fraction` fills only that part of a market order and lets the rest expire, as a thin book
    would. Raises Rejected; the refusal is in the ledger too.
    """
    try:
        quantity = accepted_quantity(world, account, request)
        if _cannot_fill_at_once(world, request):
            raise Rejected(Reason.NOT_FILLABLE_AT_ONCE, request.symbol)
    except Rejected as refusal:
        _record_refusal(world, account, request, refusal)
        raise
    _make_way(world, account, request, quantity)
    order = _new_order(world, account, request, quantity)
    account.keep(order)
    record_order(world, account, order, "accepted")
    return _work(world, account, order, fill_fraction=fill_fraction)


def _make_way(world: World, account: Account, request: OrderRequest, quantity: Decimal) -> None:
    """Cancel the oldest resting reducers until a new one fits, where the venue does that."""
    is_one_way = account.mode_of(request.symbol) is PositionMode.ONE_WAY
    if not (world.rules.newer_reducers_win and is_one_way and request.reduce_only):
        return
    older = [
        order
        for order in account.orders.values()
        if order.kind is OrderKind.REGULAR
        and order.reduce_only
        and (order.symbol, order.side) == (request.symbol, request.side)
    ]
    claimed = sum((order.remaining for order in older), quantity)
    for order in older:
        if claimed <= abs(account.amount(request.symbol, request.leg)):
            return
        claimed -= order.remaining
        cancel(world, account, order)


def cancel(world: World, account: Account, order: ExchangeOrder) -> ExchangeOrder:
    """Cancel an open order and return it."""
    return _end(world, account, order, OrderStatus.CANCELED)


def advance(world: World, account: Account) -> None:
    """Let open orders meet the present marks: trailing, triggers, then limits, oldest first."""
    for order_id in list(account.orders):
        order = account.orders.get(order_id)
        mark = world.marks.get(order.symbol) if order else None
        if order is None or mark is None:
            continue
        if order.kind is OrderKind.CONDITIONAL:
            order = account.keep(_trail(order, mark))
            if _is_due(order, mark):
                _trigger(world, account, order)
        elif is_marketable(side=order.side, price=order.price, mark=mark):
            _fill_resting(world, account, order)


def expire_reducers(world: World, account: Account, symbol: str, leg: Leg) -> None:
    """End resting orders that could only reduce a leg which is flat or on the other side now."""
    amount = account.amount(symbol, leg)
    for order in list(account.orders.values()):
        mine = order.symbol == symbol and order.leg is leg and order.kind is OrderKind.REGULAR
        if mine and amount * order.sign >= 0 and _only_reduces(account, order):
            _end(world, account, order, OrderStatus.EXPIRED)


def taker_price(market: Market, *, side: OrderSide, mark: Decimal, quantity: Decimal) -> Decimal:
    """Average price of a market order: the mark, moved against the taker by its size."""
    direction = 1 if side is OrderSide.BUY else -1
    return (mark * (1 + direction * market.impact(quantity * mark))).quantize(PRICE_PLACES)


def _new_order(
    world: World, account: Account, request: OrderRequest, quantity: Decimal
) -> ExchangeOrder:
    order_id = world.next_id()
    mark = world.mark(request.symbol)
    trailing = request.order_type is OrderType.TRAILING_STOP_MARKET
    reducing = bool(request.reduce_only) and (
        world.rules.takes_flag_when_hedged
        or account.mode_of(request.symbol) is PositionMode.ONE_WAY
    )
    return ExchangeOrder(
        order_id=order_id,
        client_id=request.client_id or f"auto{order_id}",
        symbol=request.symbol,
        order_type=request.order_type,
        side=request.side,
        leg=request.leg,
        quantity=quantity,
        requested=request.quantity or ZERO,
        price=(request.price or ZERO) if request.order_type.needs_price else ZERO,
        trigger_price=request.trigger_price or ZERO,
        activation_price=request.activation_price,
        callback_percent=request.callback_percent,
        reduce_only=reducing or request.close_position,
        close_position=request.close_position,
        time_in_force=request.time_in_force,
        working_type=request.working_type,
        cause=request.cause,
        created_at=world.now,
        updated_at=world.now,
        extreme=mark if trailing and request.activation_price is None else None,
        is_active=not (trailing and request.activation_price is not None),
    )


def _cannot_fill_at_once(world: World, request: OrderRequest) -> bool:
    if request.time_in_force is not TimeInForce.FOK or request.price is None:
        return False
    mark = world.mark(request.symbol)
    return not is_marketable(side=request.side, price=request.price, mark=mark)


def _work(
    world: World, account: Account, order: ExchangeOrder, *, fill_fraction: Decimal | None
) -> ExchangeOrder:
    if order.kind is OrderKind.CONDITIONAL:
        return order
    market = world.market(order.symbol)
    mark = world.mark(order.symbol)
    if order.order_type is OrderType.MARKET:
        quantity = order.quantity
        found = market.fillable(mark)
        if found is not None:
            quantity = min(quantity, found)
        if fill_fraction is not None:
            quantity = market.floor(quantity * fill_fraction)
        price = taker_price(market, side=order.side, mark=mark, quantity=quantity)
        return _execute(world, account, order, quantity=quantity, price=price, rest=False)
    if is_marketable(side=order.side, price=order.price, mark=mark):
        price = taker_price(market, side=order.side, mark=mark, quantity=order.quantity)
        bound = min if order.side is OrderSide.BUY else max
        return _execute(
            world,
            account,
            order,
            quantity=order.quantity,
            price=bound(price, order.price),
            rest=True,
        )
    if order.time_in_force is TimeInForce.IOC:
        return _end(world, account, order, OrderStatus.EXPIRED)
    return order


def _execute(
    world: World,
    account: Account,
    order: ExchangeOrder,
    *,
    quantity: Decimal,
    price: Decimal,
    rest: bool,
    is_maker: bool = False,
) -> ExchangeOrder:
    market = world.market(order.symbol)
    if quantity > 0:
        book_fill(
            world,
            account,
            Fill(
                symbol=order.symbol,
                side=order.side,
                leg=order.leg,
                quantity=quantity,
                price=price,
                fee_rate=market.maker_fee if is_maker else market.taker_fee,
                is_maker=is_maker,
                cause=order.cause,
                order_id=order.order_id,
                client_id=order.client_id,
                reduce_only=order.reduce_only,
            ),
        )
    filled = order.filled + quantity
    status = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.NEW
    order = replace(
        order,
        filled=filled,
        quote_filled=order.quote_filled + quantity * price,
        updated_at=world.now,
        status=OrderStatus.FILLED if filled >= order.quantity else status,
    )
    if rest or not order.status.is_open:
        order = account.keep(order)
    else:
        order = _end(world, account, order, OrderStatus.EXPIRED)
    expire_reducers(world, account, order.symbol, order.leg)
    return order


def _fill_resting(world: World, account: Account, order: ExchangeOrder) -> None:
    quantity = order.remaining
    if _only_reduces(account, order):
        amount = account.amount(order.symbol, order.leg)
        quantity = min(quantity, abs(amount)) if amount * order.sign < 0 else ZERO
    if quantity == 0:
        _end(world, account, order, OrderStatus.EXPIRED)
        return
    done = _execute(
        world, account, order, quantity=quantity, price=order.price, rest=True, is_maker=True
    )
    if done.status.is_open and _only_reduces(account, done):
        _end(world, account, done, OrderStatus.EXPIRED)


def _only_reduces(account: Account, order: ExchangeOrder) -> bool:
    if account.mode_of(order.symbol) is PositionMode.ONE_WAY:
        return order.reduce_only
    return order.side is (OrderSide.SELL if order.leg is Leg.LONG else OrderSide.BUY)


def _trail(order: ExchangeOrder, mark: Decimal) -> ExchangeOrder:
    if order.order_type is not OrderType.TRAILING_STOP_MARKET:
        return order
    buys = order.side is OrderSide.BUY
    if not order.is_active:
        goal = order.activation_price or mark
        if not (mark <= goal if buys else mark >= goal):
            return order
        return replace(order, is_active=True, extreme=mark)
    best = min if buys else max
    return replace(order, extreme=best(order.extreme or mark, mark))


def _is_due(order: ExchangeOrder, mark: Decimal) -> bool:
    if order.order_type is not OrderType.TRAILING_STOP_MARKET:
        return is_triggered(
            order_type=order.order_type, side=order.side, trigger=order.trigger_price, mark=mark
        )
    if not order.is_active or order.extreme is None or order.callback_percent is None:
        return False
    back = order.callback_percent / HUNDRED
    if order.side is OrderSide.BUY:
        return mark >= order.extreme * (1 + back)
    return mark <= order.extreme * (1 - back)


def _trigger(world: World, account: Account, order: ExchangeOrder) -> None:
    """Turn a due conditional order into an ordinary one, or reject it."""
    account.keep(replace(order, status=OrderStatus.TRIGGERED, updated_at=world.now))
    record_order(world, account, order, "triggered")
    limit = order.order_type in (OrderType.STOP, OrderType.TAKE_PROFIT)
    request = OrderRequest(
        symbol=order.symbol,
        side=order.side,
        order_type=OrderType.LIMIT if limit else OrderType.MARKET,
        quantity=order.quantity,
        leg=order.leg,
        price=order.price if limit else None,
        reduce_only=True if order.reduce_only and order.leg is Leg.BOTH else None,
        client_id=order.client_id,
        time_in_force=order.time_in_force,
        working_type=order.working_type,
        cause=order.cause,
    )
    try:
        if order.close_position:
            child = _close_whole_leg(world, account, request)
        else:
            child = place(world, account, request)
    except Rejected:
        account.keep(replace(order, status=OrderStatus.REJECTED, updated_at=world.now))
        return
    account.keep(
        replace(
            order,
            status=OrderStatus.TRIGGERED,
            updated_at=world.now,
            triggered_at=world.now,
            triggered_order_id=child.order_id,
        )
    )


def _close_whole_leg(world: World, account: Account, request: OrderRequest) -> ExchangeOrder:
    """Close everything of a leg, whatever its size; close-position orders know no maximum."""
    held = abs(account.amount(request.symbol, request.leg))
    quantity = reducible(world, account, request, quantity=held)
    order = _new_order(world, account, replace(request, quantity=quantity), quantity)
    account.keep(order)
    record_order(world, account, order, "accepted")
    return _work(world, account, order, fill_fraction=None)


def _end(
    world: World, account: Account, order: ExchangeOrder, status: OrderStatus
) -> ExchangeOrder:
    done = account.keep(replace(order, status=status, updated_at=world.now))
    record_order(world, account, done, status.value.lower().replace("canceled", "cancelled"))
    return done


def _record_refusal(
    world: World, account: Account, request: OrderRequest, refusal: Rejected
) -> None:
    amount = account.amount(request.symbol, request.leg)
    world.record(
        "rejected",
        account=account.api_key,
        symbol=request.symbol,
        side=request.side.value,
        position_side=request.leg.value,
        quantity=request.quantity,
        price=request.price,
        reduce_only=bool(request.reduce_only),
        close_position=request.close_position,
        client_id=request.client_id,
        order_type=request.order_type.value,
        position_before=amount,
        position_after=amount,
        cause=request.cause.value,
        reason=refusal.reason.value,
    )
