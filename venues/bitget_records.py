"""Turns Bitget's orders into the guard's model, and says what answers about orders prove.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns what an
order may still do. In hedge mode the venue's own `side` names the leg and not the direction, so
the direction is made from the leg and from whether it opens or closes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Done,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.bitget_errors import GONE, REFUSALS
from venues.bitget_family import (
    base_of,
    data_of,
    parse_mode,
    parse_order_side,
    required_symbol,
)
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    optional_text,
    required_decimal,
    required_text,
)

NORMAL_PLAN, TRACK_PLAN, PROFIT_LOSS = "normal_plan", "track_plan", "profit_loss"
PLAN_LISTS = (NORMAL_PLAN, TRACK_PLAN, PROFIT_LOSS)
"""Lists of conditional orders of a classic account; the last holds five types."""
CLOSING_PLANS = ("profit_plan", "loss_plan", "moving_plan", "pos_profit", "pos_loss")
"""Take-profits and stop-losses: they exist beside a position and can only close it."""
PLAN_TYPES = (NORMAL_PLAN, TRACK_PLAN, *CLOSING_PLANS)
"""Types that `cancel-plan-order` tells apart; without one it means the first."""
TPSL, TRIGGER = "tpsl", "trigger"
STRATEGIES = (TPSL, TRIGGER)
"""Lists of conditional orders of a unified account."""
_LEGS: Mapping[str, Side] = {"long": Side.LONG, "short": Side.SHORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """How one list of orders names its fields."""

    what: str
    kind: OrderKind
    quantity: str
    executed: str | None
    mode: str | None
    trigger: str | None


_REGULAR = _Names(
    what="orders-pending",
    kind=OrderKind.REGULAR,
    quantity="size",
    executed="baseVolume",
    mode="posMode",
    trigger=None,
)
_PLAN = _Names(
    what="orders-plan-pending",
    kind=OrderKind.CONDITIONAL,
    quantity="size",
    executed=None,
    mode="posMode",
    trigger="triggerPrice",
)
_UNIFIED = _Names(
    what="unfilled-orders",
    kind=OrderKind.REGULAR,
    quantity="qty",
    executed="cumExecQty",
    mode="holdMode",
    trigger=None,
)
_UNIFIED_SPOT = _Names(
    what="unfilled spot orders",
    kind=OrderKind.REGULAR,
    quantity="qty",
    executed="cumExecQty",
    mode=None,
    trigger=None,
)
_STRATEGY = _Names(
    what="unfilled-strategy-orders",
    kind=OrderKind.CONDITIONAL,
    quantity="qty",
    executed=None,
    mode=None,
    trigger="triggerPrice",
)


def parse_regular(row: Fields, *, scope: ScopeId) -> Order:
    """Read one ordinary order of a classic account."""
    order_id, what = _identify(row, _REGULAR)
    leg = _leg_of(row, _REGULAR, what)
    closes = _closes(row, what)
    side = parse_order_side(row, what) if leg is None else _direction(leg, closes=closes)
    return _order(
        row, _REGULAR, scope=scope, order_id=order_id, side=side, leg=leg, reduce_only=closes
    )


def parse_plan(row: Fields, *, scope: ScopeId) -> Order:
    """Read one conditional order of a classic account; its plan type is its order type."""
    order_id, what = _identify(row, _PLAN)
    plan_type = required_text(row, "planType", what)
    leg = _leg_of(row, _PLAN, what)
    closes = plan_type in CLOSING_PLANS or _closes(row, what)
    side = parse_order_side(row, what) if leg is None else _direction(leg, closes=closes)
    return _order(
        row,
        _PLAN,
        scope=scope,
        order_id=order_id,
        side=side,
        leg=leg,
        reduce_only=closes,
        order_type=plan_type,
    )


def parse_unified(row: Fields, *, scope: ScopeId) -> Order:
    """Read one ordinary order of a unified account, whose side is a direction in both modes."""
    order_id, what = _identify(row, _UNIFIED)
    return _order(
        row,
        _UNIFIED,
        scope=scope,
        order_id=order_id,
        side=parse_order_side(row, what),
        leg=_leg_of(row, _UNIFIED, what),
        reduce_only=_says_yes(row, "reduceOnly", what),
    )


def parse_unified_spot(
    row: Fields, *, scope: ScopeId, markets: Mapping[Symbol, MarketLimits]
) -> Order:
    """Read one spot order of a unified account: a sale can only make less of its coin."""
    order_id, what = _identify(row, _UNIFIED_SPOT)
    side = parse_order_side(row, what)
    order = _order(
        row,
        _UNIFIED_SPOT,
        scope=scope,
        order_id=order_id,
        side=side,
        leg=None,
        reduce_only=side is OrderSide.SELL,
    )
    market = markets.get(order.symbol)
    base = market.base if market else base_of(order.symbol)
    quote = market.quote if market else Asset(order.symbol.removeprefix(base))
    return replace(order, base=base, quote=quote)


def parse_strategy(
    row: Fields, *, scope: ScopeId, strategy: str, held: Side | None = None
) -> Order:
    """Read one conditional order of a unified account.

    Its rows need not name a side or a leg. A take-profit or stop-loss can only close, and closes
    the side that its symbol was last seen to hold: else it would be taken for one of the other side
    and outlive the short that it belongs to. A trigger
    order of which that is not known is written as one that opens, so that it is cancelled as one.
    """
    order_id, what = _identify(row, _STRATEGY)
    leg = _LEGS.get(optional_text(row, "posSide", what))
    closes = strategy == TPSL or _says_yes(row, "reduceOnly", what)
    if optional_text(row, "side", what):
        side = parse_order_side(row, what)
    else:
        leg = leg or (None if closes else Side.LONG)
        side = _direction(leg or (held if closes else None) or Side.LONG, closes=closes)
    return _order(
        row,
        _STRATEGY,
        scope=scope,
        order_id=order_id,
        side=side,
        leg=leg,
        reduce_only=closes,
        order_type=strategy,
    )


def _identify(row: Fields, names: _Names) -> tuple[VenueOrderId, str]:
    order_id = VenueOrderId(required_text(row, "orderId", names.what))
    return order_id, f"{names.what} {order_id}"


def _leg_of(row: Fields, names: _Names, what: str) -> Side | None:
    """The leg of an order of a hedged account, None in one-way mode."""
    if names.mode is None or parse_mode(row, names.mode, what) is PositionMode.ONE_WAY:
        return None
    leg = _LEGS.get(required_text(row, "posSide", what))
    if leg is None:
        raise Malformed(f"{what}: posSide is neither long nor short in hedge mode")
    return leg


def _direction(leg: Side, *, closes: bool) -> OrderSide:
    return leg.closing_order if closes else leg.opposite.closing_order


def _closes(row: Fields, what: str) -> bool:
    """Whether a classic order can only close: by its flag, or in hedge mode by what it says."""
    trade_side = optional_text(row, "tradeSide", what).lower()
    return _says_yes(row, "reduceOnly", what) or "close" in trade_side.split("_")


def _says_yes(row: Fields, name: str, what: str) -> bool:
    """A flag written as YES or NO, in capitals or not; one that is absent says no."""
    said = optional_text(row, name, what).upper()
    if said not in ("YES", "NO", ""):
        raise Malformed(f"{what}: {name} is neither YES nor NO")
    return said == "YES"


def _order(
    row: Fields,
    names: _Names,
    *,
    scope: ScopeId,
    order_id: VenueOrderId,
    side: OrderSide,
    leg: Side | None,
    reduce_only: bool,
    order_type: str = "",
) -> Order:
    """The fields that all lists share. A closing order without a size closes all there is."""
    what = f"{names.what} {order_id}"
    quantity = optional_decimal(row, names.quantity, what) or Decimal(0)
    takes_all = quantity == 0 and names.kind is OrderKind.CONDITIONAL and reduce_only
    if quantity <= 0 and not takes_all:
        raise Malformed(f"{what}: {names.quantity} is not above zero")
    executed = Decimal(0)
    if names.executed is not None:
        executed = required_decimal(row, names.executed, what)
    if executed > quantity:
        raise Malformed(f"{what}: more executed than ordered")
    return Order(
        scope=scope,
        order_id=order_id,
        client_id=ClientOrderId(optional_text(row, "clientOid", what)),
        symbol=required_symbol(row, what),
        kind=names.kind,
        side=side,
        position_side=leg,
        quantity=quantity - executed,
        reduce_only=reduce_only,
        close_position=takes_all,
        order_type=order_type or required_text(row, "orderType", what),
        price=optional_decimal(row, "price", what) or None,
        trigger_price=_trigger_of(row, names, what),
    )


def _trigger_of(row: Fields, names: _Names, what: str) -> Decimal | None:
    """The price that sets a conditional order off; of a take-profit and stop-loss the latter."""
    if names.trigger is None:
        return None
    candidates = (names.trigger, "stopLoss", "takeProfit")
    found = (optional_decimal(row, name, what) for name in candidates)
    return next((price for price in found if price), None)


# --- what answers prove -----------------------------------------------------------------------

_ENDED = frozenset({"filled", "canceled", "cancelled", "partially_filled"})
"""States of an order that has executed something or will execute no more."""
_AT_WORK = frozenset({"live", "new", "init"})


def judge_placed(answer: object, *, client_id: ClientOrderId) -> Done | Unknown:
    """Say what the answer to a new order proves; without an order's id it proves nothing.

    A reduce-only order that others had to make way for is answered without one: it is looked up.
    """
    try:
        fields = as_fields(data_of(answer, "order"), "order")
        order_id = required_text(fields, "orderId", "order")
        echoed = optional_text(fields, "clientOid", "order")
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    if order_id == "0" or echoed not in ("", client_id):
        return Unknown(cause="order: the answer belongs to another order")
    return Done(order_id=VenueOrderId(order_id))


def judge_lookup(
    answer: object, *, client_id: ClientOrderId, status: str, executed: str
) -> Done | Unknown:
    """Say what a look-up proves: it must name our id, a state that is known, and what is filled."""
    what = "look-up"
    try:
        fields = as_fields(data_of(answer, what), what)
        order_id = required_text(fields, "orderId", what)
        echoed = required_text(fields, "clientOid", what)
        state = required_text(fields, status, what)
        filled = required_decimal(fields, executed, what)
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    if echoed != client_id:
        return Unknown(cause="look-up: the answer belongs to another order")
    if state not in _ENDED | _AT_WORK:
        return Unknown(cause="look-up: the state of the order is not known")
    return Done(order_id=VenueOrderId(order_id), filled=filled)


def judge_cancelled(answer: object, *, order_id: VenueOrderId) -> Outcome:
    """Say what the answer to the cancel of one order proves, or of a list with this one in it."""
    what = "cancel"
    try:
        fields = as_fields(data_of(answer, what), what)
        if optional_text(fields, "orderId", what) == order_id:
            return Done(order_id=order_id)
        done = _ids(fields, "successList")
        failed = _rows(fields, "failureList")
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    if order_id in done:
        return Done(order_id=order_id)
    for row in failed:
        if row.get("orderId") == order_id:
            return _judge_failure(row, order_id)
    return Unknown(cause="cancel: the answer confirms nothing")


def judge_cancelled_all(answer: object) -> Outcome:
    """Say what the cancel of many proves: Done only when none of them failed."""
    what = "cancel"
    every = VenueOrderId("")
    try:
        fields = as_fields(data_of(answer, what), what)
        failed = _rows(fields, "failureList")
        if "list" in fields:
            listed = _rows(fields, "list")
            failed += [row for row in listed if row.get("code") not in (None, "", "00000", "0")]
        elif "successList" not in fields:
            return Unknown(cause="cancel: the answer confirms nothing")
    except Malformed as malformed:
        return Unknown(cause=str(malformed))
    for row in failed:
        outcome = _judge_failure(row, every)
        if not isinstance(outcome, Done):
            return outcome
    return Done(order_id=every)


def _judge_failure(row: Fields, order_id: VenueOrderId) -> Outcome:
    """One order that was not cancelled: gone already, refused, or in doubt."""
    code = str(row.get("errorCode") or row.get("code") or "")
    if code in GONE:
        return Done(order_id=order_id)
    reason = REFUSALS.get(code)
    if reason is None or reason is RefusalReason.DUPLICATE_ID:
        return Unknown(cause=f"cancel: code {code or 'missing'}")
    return Refused(reason=reason, code=code)


def _ids(fields: Fields, name: str) -> list[object]:
    return [row.get("orderId") for row in _rows(fields, name)]


def _rows(fields: Fields, name: str) -> list[Fields]:
    return [] if fields.get(name) is None else list(as_rows(fields[name], f"cancel.{name}"))
