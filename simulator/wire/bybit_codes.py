"""Bybit v5's words for refusals: code and text of every reason, in an answer with status 200.

Codes and texts follow the venue's published error table, and error texts that users reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from simulator.reasons import Reason, Rejected

FORBIDDEN = 403
NOT_FOUND = 404


class BybitError(Exception):
    """A refusal in the venue's own words."""

    def __init__(
        self, code: int, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Banned(Exception):
    """The address asked too often and gets no JSON any more."""


_BAD_POSITION = (10001, "position idx not match position mode")
_TOO_LARGE = (10001, "The number of contracts exceeds maximum limit allowed")
_TOO_SMALL = (10001, "The number of contracts exceeds minimum limit allowed")
_BAD_QUANTITY = (10001, "Qty invalid")
_BAD_PRICE = (10001, "Price invalid")
CODES: dict[Reason, tuple[int, str]] = {
    Reason.UNKNOWN_SYMBOL: (10001, "symbol invalid {detail}"),
    Reason.SYMBOL_CLOSED: (110074, "This contract is not live"),
    Reason.BAD_PARAMETER: (10001, "params error: {detail}"),
    Reason.MISSING_PARAMETER: (10001, "params error: {detail} is required"),
    Reason.BAD_CLIENT_ID: (10001, "OrderLinkID is invalid"),
    Reason.DUPLICATE_CLIENT_ID: (110072, "OrderLinkedID is duplicate"),
    Reason.LEG_MISMATCH: _BAD_POSITION,
    Reason.REDUCE_ONLY_NOT_SENT_HERE: (10001, "params error: {detail}"),
    Reason.NOTHING_TO_REDUCE: (
        110017,
        "current position is zero, cannot fix reduce-only order qty",
    ),
    Reason.MORE_THAN_HELD: (110017, "orderQty will be truncated to zero."),
    Reason.REDUCE_BLOCKED_BY_ORDERS: (110017, "orderQty will be truncated to zero."),
    Reason.CLOSE_POSITION_WITH_QUANTITY: _BAD_QUANTITY,
    Reason.QUANTITY_NOT_POSITIVE: _BAD_QUANTITY,
    Reason.QUANTITY_TOO_PRECISE: _BAD_QUANTITY,
    Reason.QUANTITY_OFF_STEP: _BAD_QUANTITY,
    Reason.QUANTITY_TOO_SMALL: _TOO_SMALL,
    Reason.QUANTITY_TOO_LARGE: _TOO_LARGE,
    Reason.NOTIONAL_TOO_SMALL: (110094, "Order does not meet minimum order value {detail}USDT"),
    Reason.PRICE_NOT_POSITIVE: _BAD_PRICE,
    Reason.PRICE_OFF_TICK: _BAD_PRICE,
    Reason.MARGIN_INSUFFICIENT: (110007, "ab not enough for new order"),
    Reason.BALANCE_INSUFFICIENT: (110012, "Insufficient available balance."),
    Reason.WOULD_TRIGGER_AT_ONCE: (110092, "expect Rising, but trigger_price <= current"),
    Reason.WOULD_TAKE: (10001, "params error: PostOnly"),
    Reason.NOT_FILLABLE_AT_ONCE: (10001, "params error: FOK"),
    Reason.TOO_MANY_ORDERS: (110020, "Not allowed to have more than 500 active orders."),
    Reason.UNKNOWN_ORDER: (110001, "order not exists or too late to cancel"),
    Reason.NO_PRICE: (110074, "This contract is not live"),
    Reason.LEVERAGE_OUT_OF_RANGE: (110013, "Cannot set leverage due to risk limit level."),
    Reason.MARGIN_MODE_UNCHANGED: (110026, "Cross/isolated margin mode is not modified"),
    Reason.MARGIN_MODE_HELD_BY_POSITION: (110024, "You have an existing position."),
    Reason.MARGIN_MODE_HELD_BY_ORDERS: (110028, "You have existing open orders."),
    Reason.POSITION_MODE_UNCHANGED: (110025, "Position mode has not been modified."),
    Reason.POSITION_MODE_HELD_BY_POSITION: (
        110024,
        "You have an existing position, so the position mode cannot be switched.",
    ),
    Reason.POSITION_MODE_HELD_BY_ORDERS: (
        110028,
        "You have existing open orders, so the position mode cannot be switched.",
    ),
    Reason.MULTI_ASSETS_UNCHANGED: (10001, "params error"),
    Reason.MULTI_ASSETS_HELD_BY_ISOLATED: (10001, "params error"),
}

SPOT_CODES: dict[Reason, tuple[int, str]] = {
    Reason.UNKNOWN_SYMBOL: (170121, "Invalid symbol."),
    Reason.SYMBOL_CLOSED: (170121, "Invalid symbol."),
    Reason.DUPLICATE_CLIENT_ID: (170141, "Duplicate clientOrderId."),
    Reason.QUANTITY_TOO_PRECISE: (170137, "Order quantity has too many decimals."),
    Reason.QUANTITY_OFF_STEP: (170137, "Order quantity has too many decimals."),
    Reason.QUANTITY_TOO_SMALL: (170136, "Order quantity lower than the minimum."),
    Reason.QUANTITY_TOO_LARGE: (170124, "Order amount too large."),
    Reason.MARKET_QUANTITY_TOO_LARGE: (170124, "Order amount too large."),
    Reason.NOTIONAL_TOO_SMALL: (170140, "Order value exceeded lower limit."),
    Reason.BALANCE_INSUFFICIENT: (170131, "Balance insufficient."),
    Reason.UNKNOWN_ORDER: (170213, "Order does not exist."),
}
"""Spot markets have a table of their own; what is not in it is said as of contracts."""


def translate_spot(refusal: Rejected) -> BybitError:
    """Say a neutral refusal of a spot order in the venue's words."""
    code, text = SPOT_CODES.get(refusal.reason) or CODES[refusal.reason]
    return BybitError(code, text.format(detail=refusal.detail))


def envelope(
    result: object,
    *,
    at_ms: int,
    code: int = 0,
    message: str = "OK",
    extra: Mapping[str, object] | None = None,
) -> str:
    """Return the JSON body of any answer; `extra` says what became of the parts of a batch."""
    content = {
        "retCode": code,
        "retMsg": message,
        "result": result,
        "retExtInfo": dict(extra or {}),
        "time": at_ms,
    }
    return json.dumps(content, separators=(",", ":"))


def translate(refusal: Rejected) -> BybitError:
    """Say a neutral refusal in the venue's words."""
    code, text = CODES[refusal.reason]
    return BybitError(code, text.format(detail=refusal.detail))


def bad_parameter(detail: str) -> BybitError:
    """Return the refusal of a parameter that is missing or makes no sense."""
    return BybitError(10001, f"params error: {detail}")
