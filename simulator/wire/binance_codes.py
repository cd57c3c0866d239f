"""Binance USD-M's words for refusals: code, text and HTTP status of every reason.

Codes and texts follow the venue's published error table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from simulator.reasons import Reason, Rejected

BAD_REQUEST = 400
UNAUTHORISED = 401
NOT_FOUND = 404
BANNED = 418
TOO_MANY = 429


class BinanceError(Exception):
    """A refusal in the venue's own words."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int = BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})

    @property
    def body(self) -> str:
        """The JSON body of this refusal."""
        return error_body(self.code, self.message)


CODES: dict[Reason, tuple[int, str]] = {
    Reason.UNKNOWN_SYMBOL: (-1121, "Invalid symbol."),
    Reason.SYMBOL_CLOSED: (-4141, "Symbol is closed."),
    Reason.BAD_PARAMETER: (-1128, "Combination of optional parameters invalid."),
    Reason.MISSING_PARAMETER: (
        -1102,
        "Mandatory parameter '{detail}' was not sent, was empty/null, or malformed.",
    ),
    Reason.BAD_CLIENT_ID: (-4015, "Client order id is not valid."),
    Reason.DUPLICATE_CLIENT_ID: (-4116, "ClientOrderId is duplicated."),
    Reason.LEG_MISMATCH: (-4061, "Order's position side does not match user's setting."),
    Reason.REDUCE_ONLY_NOT_SENT_HERE: (-1106, "Parameter '{detail}' sent when not required."),
    Reason.NOTHING_TO_REDUCE: (-2022, "ReduceOnly Order is rejected."),
    Reason.MORE_THAN_HELD: (-2022, "ReduceOnly Order is rejected."),
    Reason.REDUCE_BLOCKED_BY_ORDERS: (
        -4118,
        "ReduceOnly Order Failed. Please check your existing position and open orders",
    ),
    Reason.CLOSE_POSITION_WITH_QUANTITY: (
        -4136,
        "Target strategy invalid for orderType when closePosition is true",
    ),
    Reason.QUANTITY_NOT_POSITIVE: (-4003, "Quantity less than or equal to zero."),
    Reason.QUANTITY_TOO_PRECISE: (
        -1111,
        "Precision is over the maximum defined for this asset.",
    ),
    Reason.QUANTITY_OFF_STEP: (-4023, "Qty not increased by step size."),
    Reason.QUANTITY_TOO_SMALL: (-4004, "Quantity less than min quantity."),
    Reason.QUANTITY_TOO_LARGE: (-4005, "Quantity greater than max quantity."),
    Reason.NOTIONAL_TOO_SMALL: (
        -4164,
        "Order's notional must be no smaller than {detail} (unless you choose reduce only).",
    ),
    Reason.PRICE_NOT_POSITIVE: (-4001, "Price less than 0."),
    Reason.PRICE_OFF_TICK: (-4014, "Price not increased by tick size."),
    Reason.MARGIN_INSUFFICIENT: (-2019, "Margin is insufficient."),
    Reason.BALANCE_INSUFFICIENT: (-2018, "Balance is insufficient."),
    Reason.WOULD_TRIGGER_AT_ONCE: (-2021, "Order would immediately trigger."),
    Reason.WOULD_TAKE: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    ),
    Reason.NOT_FILLABLE_AT_ONCE: (
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected.",
    ),
    Reason.TOO_MANY_ORDERS: (-2025, "Reach max open order limit."),
    Reason.UNKNOWN_ORDER: (-2013, "Order does not exist."),
    Reason.NO_PRICE: (-4140, "Invalid symbol status for opening position."),
    Reason.LEVERAGE_OUT_OF_RANGE: (-4028, "Leverage {detail} is not valid"),
    Reason.MARGIN_MODE_UNCHANGED: (-4046, "No need to change margin type."),
    Reason.MARGIN_MODE_HELD_BY_POSITION: (
        -4048,
        "Margin type cannot be changed if there exists position.",
    ),
    Reason.MARGIN_MODE_HELD_BY_ORDERS: (
        -4047,
        "Margin type cannot be changed if there exists open orders.",
    ),
    Reason.POSITION_MODE_UNCHANGED: (-4059, "No need to change position side."),
    Reason.POSITION_MODE_HELD_BY_POSITION: (
        -4068,
        "Position side cannot be changed if there exists position.",
    ),
    Reason.POSITION_MODE_HELD_BY_ORDERS: (
        -4067,
        "Position side cannot be changed if there exists open orders.",
    ),
    Reason.MULTI_ASSETS_UNCHANGED: (-4171, "No need to change Multi-Assets mode."),
    Reason.MULTI_ASSETS_HELD_BY_ISOLATED: (
        -4168,
        "Unable to adjust to Multi-Assets mode with symbols of USD-M Futures under isolated-margin"
        " mode.",
    ),
}


SPOT_CODES: dict[Reason, tuple[int, str]] = {
    Reason.SYMBOL_CLOSED: (-1013, "Market is closed."),
    Reason.BAD_CLIENT_ID: (
        -1100,
        "Illegal characters found in parameter 'newClientOrderId'; legal range is"
        " '^[\\.A-Z\\:/a-z0-9_-]{1,36}$'.",
    ),
    Reason.DUPLICATE_CLIENT_ID: (-2010, "Duplicate order sent."),
    Reason.QUANTITY_NOT_POSITIVE: (-1013, "Invalid quantity."),
    Reason.QUANTITY_TOO_PRECISE: (
        -1111,
        "Parameter 'quantity' has too much precision.",
    ),
    Reason.QUANTITY_OFF_STEP: (-1013, "Filter failure: LOT_SIZE"),
    Reason.QUANTITY_TOO_SMALL: (-1013, "Filter failure: LOT_SIZE"),
    Reason.QUANTITY_TOO_LARGE: (-1013, "Filter failure: LOT_SIZE"),
    Reason.MARKET_QUANTITY_TOO_LARGE: (-1013, "Filter failure: MARKET_LOT_SIZE"),
    Reason.NOTIONAL_TOO_SMALL: (-1013, "Filter failure: NOTIONAL"),
    Reason.PRICE_NOT_POSITIVE: (-1013, "Invalid price."),
    Reason.PRICE_OFF_TICK: (-1013, "Filter failure: PRICE_FILTER"),
    Reason.BALANCE_INSUFFICIENT: (-2010, "Account has insufficient balance for requested action."),
    Reason.TOO_MANY_ORDERS: (-1013, "Filter failure: MAX_NUM_ORDERS"),
    Reason.NO_PRICE: (-2010, "Market is closed."),
}
"""What the spot side says where it has words of its own."""


def error_body(code: int, message: str) -> str:
    """Return the JSON body of an error."""
    return json.dumps({"code": code, "msg": message}, separators=(",", ":"))


def translate(refusal: Rejected, *, is_spot: bool = False) -> BinanceError:
    """Say a neutral refusal in the venue's words."""
    codes = CODES | SPOT_CODES if is_spot else CODES
    code, text = codes[refusal.reason]
    return BinanceError(code, text.format(detail=refusal.detail))


def missing(parameter: str) -> BinanceError:
    """Return the refusal of a request that lacks a parameter."""
    return translate(Rejected(Reason.MISSING_PARAMETER, parameter))


def unknown_order_to_cancel() -> BinanceError:
    """Return the refusal to cancel what is not open."""
    return BinanceError(-2011, "Unknown order sent.")
