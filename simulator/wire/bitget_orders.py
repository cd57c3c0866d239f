"""Orders of a classic Bitget account, turned into requests to the exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    OrderType,
    TimeInForce,
    to_decimal,
)
from simulator.wire.bitget_account import legs_of, number, page_size
from simulator.wire.bitget_codes import BitgetError, missing, translate
from simulator.wire.bitget_shapes import (
    FORCES,
    MARGIN_MODES,
    PAGE_DEFAULT,
    Row,
    closing_side,
    order_row,
    orders_of,
    plan_row,
    plan_type,
    product_named,
    product_of,
)

BATCH_MAX = 50
PROFIT_LOSS = ("profit_plan", "loss_plan", "moving_plan", "pos_profit", "pos_loss")
PLAN_FILTERS: Mapping[str, Sequence[str]] = {
    "normal_plan": ("normal_plan",),
    "track_plan": ("track_plan",),
    "profit_loss": PROFIT_LOSS,
}
CANCELLED_PLANS = ("normal_plan", "track_plan", *PROFIT_LOSS)
SAYS_YES = {"yes": True, "no": False, "": None}


def required(sent: Mapping[str, object], name: str) -> str:
    """Return a parameter that must be there. Raises BitgetError."""
    value = str(sent.get(name) or "")
    if not value:
        raise missing(name)
    return value


def quantity_of(sent: Mapping[str, object], name: str) -> Decimal:
    """Return a positive number that must be there. Raises BitgetError."""
    try:
        return to_decimal(required(sent, name))
    except ValueError:
        raise BitgetError("40020", f"Parameter {name} error") from None


def word(sent: Mapping[str, object], name: str, allowed: Sequence[str]) -> str:
    """Return a parameter that is one of the allowed words, in small letters."""
    value = required(sent, name).lower()
    if value not in allowed:
        raise BitgetError("40020", f"Parameter {name} error")
    return value


def flag(sent: Mapping[str, object], name: str) -> bool | None:
    """Return a YES/NO parameter, None when it was not sent."""
    value = str(sent.get(name) or "").lower()
    if value not in SAYS_YES:
        raise BitgetError("40020", f"Parameter {name} error")
    return SAYS_YES[value]


def check_margin_mode(account: Account, symbol: str, told: str) -> None:
    """Refuse an order of another margin mode than that of a position that is held."""
    is_held = any(leg.symbol == symbol for leg in account.legs.values())
    if is_held and told != MARGIN_MODES[account.setting(symbol).margin_mode]:
        raise translate(Rejected(Reason.MARGIN_MODE_HELD_BY_POSITION, symbol))


def hedged_flag(flagged: bool | None, *, closes: bool) -> bool | None:
    """What counts of `reduceOnly` in hedge mode: it says of a close what the leg says already."""
    return True if flagged and closes else None


def order_request(account: Account, sent: Mapping[str, object]) -> OrderRequest:
    """Read the parameters of an order. Raises BitgetError.

    In hedge mode the side names the leg and `tradeSide` what is done to it. In one-way mode
    `tradeSide` is ignored and the side is the direction: a close meant for a hedged account opens,
    unless `reduceOnly` keeps it from that.
    """
    symbol = required(sent, "symbol").upper()
    side = word(sent, "side", ("buy", "sell"))
    is_limit = word(sent, "orderType", ("limit", "market")) == "limit"
    check_margin_mode(account, symbol, word(sent, "marginMode", tuple(MARGIN_MODES.values())))
    required(sent, "marginCoin")
    reduce_only = flag(sent, "reduceOnly")
    leg = Leg.BOTH
    direction = OrderSide(side.upper())
    if account.mode_of(symbol) is PositionMode.HEDGE:
        if not sent.get("tradeSide"):
            raise translate(Rejected(Reason.LEG_MISMATCH, symbol))
        leg = Leg.LONG if side == "buy" else Leg.SHORT
        closes = word(sent, "tradeSide", ("open", "close")) == "close"
        direction = closing_side(leg) if closes else direction
        reduce_only = hedged_flag(reduce_only, closes=closes)
    return OrderRequest(
        symbol=symbol,
        side=direction,
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        quantity=quantity_of(sent, "size"),
        leg=leg,
        price=quantity_of(sent, "price") if is_limit else None,
        reduce_only=reduce_only,
        client_id=str(sent.get("clientOid") or ""),
        time_in_force=in_force(sent, "force"),
    )


def in_force(sent: Mapping[str, object], name: str) -> TimeInForce:
    """How long a limit order may rest; `gtc` when nothing was sent."""
    wanted = str(sent.get(name) or "gtc").lower()
    found = next((value for value, written in FORCES.items() if written == wanted), None)
    if found is None:
        raise BitgetError("40020", f"Parameter {name} error")
    return found


def place(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    *,
    fill_fraction: Decimal | None,
) -> Row:
    """Carry out `place-order`. The answer names ids alone, never what was filled.

    A reduce-only order that others had to make way for is answered without its id.
    """
    product = product_named(sent.get("productType"))
    request = order_request(account, sent)
    _check_product(exchange, request.symbol, product)
    return placed(exchange, account, request, fill_fraction=fill_fraction)


def placed(
    exchange: Exchange, account: Account, request: OrderRequest, *, fill_fraction: Decimal | None
) -> Row:
    """Place an order and answer with its ids."""
    resting = set(account.orders)
    order = exchange.place(account.api_key, request, fill_fraction=fill_fraction)
    gave_way = bool(request.reduce_only) and resting - set(account.orders)
    order_id = None if gave_way else str(order.order_id)
    return {"clientOid": order.client_id, "orderId": order_id}


def _check_product(exchange: Exchange, symbol: str, product: str) -> None:
    if symbol not in exchange.markets or product_of(exchange.markets[symbol]) != product:
        raise translate(Rejected(Reason.UNKNOWN_SYMBOL, "symbol"))


def place_batch(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    *,
    fill_fraction: Decimal | None,
) -> Row:
    """Carry out `batch-place-order`: orders of one symbol, successes and failures apart."""
    entries = sent.get("orderList")
    if not isinstance(entries, list) or not 1 <= len(entries) <= BATCH_MAX:
        raise missing("orderList")
    shared = {name: value for name, value in sent.items() if name != "orderList"}
    success: list[Row] = []
    failure: list[Row] = []
    for entry in entries:
        try:
            whole = {**shared, **entry}
            success.append(place(exchange, account, whole, fill_fraction=fill_fraction))
        except (Rejected, BitgetError) as refusal:
            failure.append(failed(refusal, client_id=str(entry.get("clientOid") or "")))
    return {"successList": success, "failureList": failure}


def failed(refusal: Rejected | BitgetError, *, client_id: str = "", order_id: str = "") -> Row:
    """Write one failure among several."""
    error = translate(refusal) if isinstance(refusal, Rejected) else refusal
    return {
        "orderId": order_id,
        "clientOid": client_id,
        "errorMsg": error.message,
        "errorCode": error.code,
    }


def detail(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `order/detail`, by the venue's id or our own. Raises BitgetError 40768."""
    product_named(sent.get("productType"))
    order = named(exchange, account, sent, OrderKind.REGULAR, symbol=required(sent, "symbol"))
    return order_row(account.view(exchange.world), order, status_name="state")


def named(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    kind: OrderKind,
    *,
    symbol: str,
) -> ExchangeOrder:
    """Find the order that a request names; the venue's id outranks our own."""
    order_id, client_id = number(sent, "orderId"), str(sent.get("clientOid") or "")
    if order_id is None and not client_id:
        raise missing("orderId")
    return exchange.find_order(
        account.api_key, symbol.upper(), kind=kind, order_id=order_id, client_id=client_id or None
    )


def cancel(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `cancel-order`."""
    product_named(sent.get("productType"))
    return cancelled(
        exchange, account, sent, OrderKind.REGULAR, symbol=required(sent, "symbol").upper()
    )


def cancelled(
    exchange: Exchange,
    account: Account,
    sent: Mapping[str, object],
    kind: OrderKind,
    *,
    symbol: str,
) -> Row:
    """Cancel the order that a request names and answer with its ids."""
    found = named(exchange, account, sent, kind, symbol=symbol)
    done = exchange.cancel(account.api_key, found.symbol, kind=kind, order_id=found.order_id)
    return {"orderId": str(done.order_id), "clientOid": done.client_id}


def cancel_batch(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `batch-cancel-orders`: those that are listed, or all of the symbol."""
    entries = _listed(sent)
    if entries:
        return _cancel_listed(
            exchange, account, entries, OrderKind.REGULAR, symbol=required(sent, "symbol").upper()
        )
    return cancel_all(exchange, account, sent)


def cancel_all(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Cancel every ordinary order of a product, or of one of its symbols. Raises 22001."""
    product = product_named(sent.get("productType"))
    symbol = str(sent.get("symbol") or "").upper()
    view = account.view(exchange.world)
    mine = [
        order
        for order in orders_of(view, OrderKind.REGULAR, product=product)
        if symbol in ("", order.symbol)
    ]
    return _cancel_each(exchange, account, mine)


def cancel_plans(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out `cancel-plan-order`; without a plan type it means `normal_plan` alone."""
    product = product_named(sent.get("productType"))
    wanted = str(sent.get("planType") or "normal_plan")
    if wanted not in CANCELLED_PLANS:
        raise BitgetError("40020", "Parameter planType error")
    symbol = str(sent.get("symbol") or "").upper()
    entries = _listed(sent)
    if entries and not symbol:
        raise missing("symbol")
    view = account.view(exchange.world)
    mine = [
        order
        for order in orders_of(view, OrderKind.CONDITIONAL, product=product)
        if symbol in ("", order.symbol) and plan_type(order) == wanted
    ]
    if not entries:
        return _cancel_each(exchange, account, mine)
    known = {str(order.order_id) for order in mine} | {order.client_id for order in mine}
    success: list[Row] = []
    failure: list[Row] = []
    for entry in entries:
        name = str(entry.get("orderId") or entry.get("clientOid") or "")
        if name in known:
            success.append(
                cancelled(exchange, account, entry, OrderKind.CONDITIONAL, symbol=symbol)
            )
        else:
            gone = BitgetError("43025", "Plan order does not exist")
            failure.append(failed(gone, order_id=name))
    return {"successList": success, "failureList": failure}


def _listed(sent: Mapping[str, object]) -> list[Mapping[str, object]]:
    entries = sent.get("orderIdList")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _cancel_listed(
    exchange: Exchange,
    account: Account,
    entries: Sequence[Mapping[str, object]],
    kind: OrderKind,
    *,
    symbol: str,
) -> Row:
    success: list[Row] = []
    failure: list[Row] = []
    for entry in entries:
        try:
            success.append(cancelled(exchange, account, entry, kind, symbol=symbol))
        except (Rejected, BitgetError) as refusal:
            failure.append(failed(refusal, order_id=str(entry.get("orderId") or "")))
    return {"successList": success, "failureList": failure}


def _cancel_each(exchange: Exchange, account: Account, mine: Sequence[ExchangeOrder]) -> Row:
    if not mine:
        raise BitgetError("22001", "No order to cancel")
    for order in mine:
        exchange.cancel(account.api_key, order.symbol, kind=order.kind, order_id=order.order_id)
    return {
        "successList": [
            {"orderId": str(order.order_id), "clientOid": order.client_id} for order in mine
        ],
        "failureList": [],
    }


def pending(view: AccountView, sent: Mapping[str, object]) -> Row:
    """Return a page of `orders-pending`; a list of none is null."""
    product = product_named(sent.get("productType"))
    mine = orders_of(view, OrderKind.REGULAR, product=product)
    return _page(mine, sent, [order_row(view, order, status_name="status") for order in mine])


def plans_pending(view: AccountView, sent: Mapping[str, object]) -> Row:
    """Return a page of `orders-plan-pending` of one kind of plan."""
    product = product_named(sent.get("productType"))
    wanted = PLAN_FILTERS.get(required(sent, "planType"))
    if wanted is None:
        raise BitgetError("40020", "Parameter planType error")
    mine = [
        order
        for order in orders_of(view, OrderKind.CONDITIONAL, product=product)
        if plan_type(order) in wanted
    ]
    return _page(mine, sent, [plan_row(view, order) for order in mine])


def _page(orders: Sequence[ExchangeOrder], sent: Mapping[str, object], rows: Sequence[Row]) -> Row:
    last = number(sent, "idLessThan")
    symbol = str(sent.get("symbol") or "").upper()
    chosen = [
        (order, row)
        for order, row in zip(orders, rows, strict=True)
        if (last is None or order.order_id < last) and symbol in ("", order.symbol)
    ][: page_size(sent, default=PAGE_DEFAULT)]
    if not chosen:
        return {"entrustedList": None, "endId": None}
    return {
        "entrustedList": [row for _, row in chosen],
        "endId": str(chosen[-1][0].order_id),
    }


def close_positions(exchange: Exchange, account: Account, sent: Mapping[str, object]) -> Row:
    """Carry out the flash close of a product, of a symbol, or of one leg of it."""
    product = product_named(sent.get("productType"))
    symbol = str(sent.get("symbol") or "").upper()
    hold_side = str(sent.get("holdSide") or "").lower()
    success: list[Row] = []
    for leg in legs_of(account.view(exchange.world), product):
        if symbol not in ("", leg.symbol) or hold_side not in ("", leg.side.value.lower()):
            continue
        request = OrderRequest(
            symbol=leg.symbol,
            side=leg.side.closing_order,
            order_type=OrderType.MARKET,
            quantity=abs(leg.amount),
            leg=leg.leg,
            reduce_only=True if leg.leg is Leg.BOTH else None,
        )
        success.append(placed(exchange, account, request, fill_fraction=None))
    if not success:
        raise translate(Rejected(Reason.NOTHING_TO_REDUCE, symbol))
    return {"successList": success, "failureList": []}
