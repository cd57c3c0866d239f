"""Bitget's words for refusals: code, text and HTTP status of every reason, and the envelope.

Codes and texts follow the venue's published error tables. A code is a text, `"00000"` is success,
and a business refusal may come with status 400 or 200.
"""

from __future__ import annotations

import json

from simulator.reasons import Reason, Rejected

BAD_REQUEST = 400
TOO_MANY = 429
SUCCESS = "00000"


class BitgetError(Exception):
    """A refusal in the venue's own words."""

    def __init__(self, code: str, message: str, *, status: int = BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


CODES: dict[Reason, tuple[str, str]] = {
    Reason.UNKNOWN_SYMBOL: ("40034", "Parameter {detail} does not exist"),
    Reason.SYMBOL_CLOSED: ("40309", "The contract has been removed"),
    Reason.BAD_PARAMETER: ("40017", "Parameter verification failed {detail}"),
    Reason.MISSING_PARAMETER: ("40019", "Parameter {detail} cannot be empty"),
    Reason.BAD_CLIENT_ID: ("40017", "Parameter verification failed clientOid"),
    Reason.DUPLICATE_CLIENT_ID: ("40786", "Duplicate clientOid"),
    Reason.LEG_MISMATCH: (
        "40774",
        "The order type for unilateral position must also be the unilateral position type.",
    ),
    Reason.REDUCE_ONLY_NOT_SENT_HERE: ("400172", "Parameter verification failed {detail}"),
    Reason.NOTHING_TO_REDUCE: ("22002", "No position to close"),
    Reason.MORE_THAN_HELD: (
        "40804",
        "The number of closed positions cannot exceed the number of positions held",
    ),
    Reason.REDUCE_BLOCKED_BY_ORDERS: ("40757", "Not enough position is available."),
    Reason.CLOSE_POSITION_WITH_QUANTITY: ("40017", "Parameter verification failed size"),
    Reason.QUANTITY_NOT_POSITIVE: ("40020", "Parameter size error"),
    Reason.QUANTITY_TOO_PRECISE: (
        "40808",
        "Parameter verification exception size checkBDScale error value={detail}",
    ),
    Reason.QUANTITY_OFF_STEP: (
        "40808",
        "Parameter verification exception size checkScale error value={detail}",
    ),
    Reason.QUANTITY_TOO_SMALL: ("45111", "less than the minimum order quantity"),
    Reason.QUANTITY_TOO_LARGE: ("45112", "more than the maximum order quantity"),
    Reason.MARKET_QUANTITY_TOO_LARGE: ("45112", "more than the maximum order quantity"),
    Reason.NOTIONAL_TOO_SMALL: ("45110", "less than the minimum amount {detail} USDT"),
    Reason.PRICE_NOT_POSITIVE: ("40020", "Parameter price error"),
    Reason.PRICE_OFF_TICK: ("45115", "The price you enter should be a multiple of {detail}"),
    Reason.MARGIN_INSUFFICIENT: ("40762", "The order size is greater than the max open size"),
    Reason.BALANCE_INSUFFICIENT: ("43012", "Insufficient balance"),
    Reason.WOULD_TRIGGER_AT_ONCE: ("40831", "The trigger price is already reached"),
    Reason.WOULD_TAKE: ("40815", "A post-only order would be executed at once"),
    Reason.NOT_FILLABLE_AT_ONCE: ("40815", "The order cannot be filled at once"),
    Reason.TOO_MANY_ORDERS: ("40715", "delegate count can not high max of open count"),
    Reason.UNKNOWN_ORDER: ("40768", "Order does not exist"),
    Reason.NO_PRICE: ("40034", "Parameter {detail} does not exist"),
    Reason.LEVERAGE_OUT_OF_RANGE: ("40797", "Exceeded the maximum settable leverage"),
    Reason.MARGIN_MODE_UNCHANGED: ("40017", "Parameter verification failed marginMode"),
    Reason.MARGIN_MODE_HELD_BY_POSITION: (
        "45117",
        "Currently holding positions or orders, the margin mode cannot be adjusted",
    ),
    Reason.MARGIN_MODE_HELD_BY_ORDERS: (
        "45117",
        "Currently holding positions or orders, the margin mode cannot be adjusted",
    ),
    Reason.POSITION_MODE_UNCHANGED: ("40017", "Parameter verification failed posMode"),
    Reason.POSITION_MODE_HELD_BY_POSITION: (
        "40920",
        "Position or order exists, the position mode cannot be switched",
    ),
    Reason.POSITION_MODE_HELD_BY_ORDERS: (
        "40920",
        "Position or order exists, the position mode cannot be switched",
    ),
    Reason.MULTI_ASSETS_UNCHANGED: ("40017", "Parameter verification failed assetMode"),
    Reason.MULTI_ASSETS_HELD_BY_ISOLATED: ("40017", "Parameter verification failed assetMode"),
}

UNIFIED_CODES: dict[Reason, tuple[str, str]] = {
    Reason.NOTHING_TO_REDUCE: ("25227", "no position available"),
    Reason.REDUCE_ONLY_NOT_SENT_HERE: ("25238", "{detail} do not assign values at the same"),
    Reason.UNKNOWN_ORDER: ("25204", "Order does not exist"),
    Reason.BALANCE_INSUFFICIENT: ("25202", "Insufficient balance"),
}

CLASSIC_ONLY = (
    "40084",
    "You are in Classic Account mode, and the Unified Account API is not supported at this time",
)
UNIFIED_ONLY = (
    "40085",
    "You are in Unified Account mode, and the Classic Account API is not supported at this time",
)


def envelope(data: object, *, now_ms: int, code: str = SUCCESS, message: str = "success") -> str:
    """Return the body that every answer of this venue has."""
    content = {"code": code, "msg": message, "requestTime": now_ms, "data": data}
    return json.dumps(content, separators=(",", ":"))


def translate(refusal: Rejected, *, is_unified: bool = False) -> BitgetError:
    """Say a neutral refusal in the venue's words; unified accounts have a few of their own."""
    code, text = CODES[refusal.reason]
    if is_unified:
        code, text = UNIFIED_CODES.get(refusal.reason, (code, text))
    return BitgetError(code, text.format(detail=refusal.detail))


def missing(parameter: str) -> BitgetError:
    """Return the refusal of a request that lacks a parameter."""
    return translate(Rejected(Reason.MISSING_PARAMETER, parameter))
