"""What Binance's spot answers to orders prove: a table of its own, as codes differ from futures.

Two codes stand for many causes, -1013 for every filter and -2010 for every refusal of a new order.
Both prove that nothing was executed; which size or balance was the matter stands in the text alone,
in words that the venue's documentation fixes.
"""

from __future__ import annotations

from collections.abc import Mapping

from model import RefusalReason, Refused, Unknown
from venues.binance_errors import code_of, judge_by
from venues.failure import Failure

_R = RefusalReason

REFUSALS: Mapping[int, RefusalReason] = {
    -1003: _R.RATE_LIMITED,
    -1008: _R.RATE_LIMITED,
    -1015: _R.RATE_LIMITED,
    -1021: _R.CLOCK,
    -1111: _R.BAD_PRECISION,
    -1121: _R.NOT_TRADABLE,
    -1002: _R.NOT_ALLOWED,
    -1022: _R.NOT_ALLOWED,
    -2014: _R.NOT_ALLOWED,
    -2015: _R.NOT_ALLOWED,
    # No orders on the book: nobody to sell to at this moment.
    -1112: _R.OTHER,
    -1013: _R.OTHER,
    -2010: _R.OTHER,
}
"""Codes of `api/v3` whose documentation says that the order was not executed."""

TEXTS: Mapping[int, tuple[tuple[str, RefusalReason], ...]] = {
    -1013: (
        # A part that the words of another filter contain stands after it.
        ("MARKET_LOT_SIZE", _R.TOO_LARGE),
        ("LOT_SIZE", _R.BAD_PRECISION),
        ("NOTIONAL", _R.TOO_SMALL),
        ("Invalid quantity", _R.TOO_SMALL),
        ("Market is closed", _R.NOT_TRADABLE),
    ),
    -2010: (
        # Sold or taken by another order since the balance was read: read it again.
        ("insufficient balance", _R.NOTHING_TO_REDUCE),
        ("Duplicate order", _R.DUPLICATE_ID),
        ("Price * QTY is zero", _R.TOO_SMALL),
        ("Market is closed", _R.NOT_TRADABLE),
        ("Market orders are not supported", _R.NOT_TRADABLE),
        ("not permitted for this account", _R.NOT_TRADABLE),
        ("restricted for this account", _R.NOT_TRADABLE),
        ("disabled on this account", _R.NOT_ALLOWED),
        ("may not place or cancel orders", _R.NOT_ALLOWED),
    ),
}


def judge(failure: Failure, *, venue_now_ms: float) -> Refused | Unknown:
    """Say what a failed spot order or cancel proves."""
    return judge_by(failure, reason=_reason_of(failure.body), venue_now_ms=venue_now_ms)


def _reason_of(body: object) -> RefusalReason | None:
    code = code_of(body)
    if code is None:
        return None
    text = body.get("msg") if isinstance(body, dict) else None
    said = text if isinstance(text, str) else ""
    named = (reason for words, reason in TEXTS.get(code, ()) if words in said)
    return next(named, REFUSALS.get(code))
