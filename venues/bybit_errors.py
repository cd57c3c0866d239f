"""What Bybit's answers to orders prove: a table of codes, and nothing else decides.

Refusals come with status 200 and a `retCode`. A code is in the table only where Bybit's
documentation says that the order was not taken. Everything else (10000 "server timeout", 10016
"server error", 3400214, time-outs, resets, 5xx, pages, unknown codes) proves nothing and is
`Unknown`. The code decides, never the text and never ccxt's class for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from model import RefusalReason, Refused, Unknown
from venues.failure import Failure
from venues.remedies import ASK_SUPPORT, COPY_BOTH, KEEP_TIME, LOOK_AT_THE_KEY

_R = RefusalReason

BAD_PARAMETERS = 10001

REFUSALS: Mapping[int, RefusalReason] = {
    # The request is at odds with the market's rules or with the position mode of its symbol; see
    # `_reason_of`.
    BAD_PARAMETERS: _R.BAD_PRECISION,
    10002: _R.CLOCK,
    # Key, signature, permission, address, region, or the account's own restriction.
    10003: _R.NOT_ALLOWED,
    10004: _R.NOT_ALLOWED,
    10005: _R.NOT_ALLOWED,
    10007: _R.NOT_ALLOWED,
    10008: _R.NOT_ALLOWED,
    10009: _R.NOT_ALLOWED,
    10010: _R.NOT_ALLOWED,
    10024: _R.NOT_ALLOWED,
    10027: _R.NOT_ALLOWED,
    33004: _R.NOT_ALLOWED,
    110124: _R.NOT_ALLOWED,
    # The limits of the account, of the address, and the venue's overload protection.
    429: _R.RATE_LIMITED,
    10006: _R.RATE_LIMITED,
    10018: _R.RATE_LIMITED,
    # Reduce-only with nothing on that side, or with less than one step of it.
    110017: _R.NOTHING_TO_REDUCE,
    110034: _R.NOTHING_TO_REDUCE,
    # This attempt was refused because an earlier one with the same id was taken: the caller has to
    # look that one up before it concludes anything. Ids are taken for ever.
    110030: _R.DUPLICATE_ID,
    110072: _R.DUPLICATE_ID,
    110094: _R.TOO_SMALL,
    # Of spot markets. A coin sold or taken by another order since it was read: read it again.
    170131: _R.NOTHING_TO_REDUCE,
    170121: _R.NOT_TRADABLE,
    170124: _R.TOO_LARGE,
    170136: _R.TOO_SMALL,
    170140: _R.TOO_SMALL,
    170137: _R.BAD_PRECISION,
    170141: _R.DUPLICATE_ID,
    10029: _R.NOT_TRADABLE,
    110063: _R.NOT_TRADABLE,
    110066: _R.NOT_TRADABLE,
    110074: _R.NOT_TRADABLE,
    # Refused by a check before the book: price, balance, number of orders, liquidation, tier.
    110003: _R.OTHER,
    110004: _R.OTHER,
    110006: _R.OTHER,
    110007: _R.OTHER,
    110011: _R.OTHER,
    110012: _R.OTHER,
    110020: _R.OTHER,
    110023: _R.OTHER,
    110035: _R.OTHER,
    110040: _R.OTHER,
    110090: _R.OTHER,
    3400139: _R.OTHER,
}

GONE = frozenset({110001, 110008, 110010, 170142, 170213})
"""A cancel of an order that the venue no longer (or never) has open."""

BAN_S = 600.0
"""After a 403 the address is shut out for ten minutes, and asking on may prolong it."""
ADDRESS_WINDOW_S = 5.0
SECOND_S = 1.0
_PAUSES_OF_CODES: Mapping[int, float] = {
    429: SECOND_S,
    10006: SECOND_S,
    10018: ADDRESS_WINDOW_S,
}
"""Limits are counted over a rolling second, those of an address over five."""
PAUSES_S: Mapping[int | None, float] = {403: BAN_S, 429: SECOND_S}
"""What is paused after these answers when they name no time: the ban, and one too many."""

REMEDIES: Mapping[int, str] = {
    10002: KEEP_TIME,
    10003: LOOK_AT_THE_KEY,
    10004: COPY_BOTH,
    10005: LOOK_AT_THE_KEY,
    10007: LOOK_AT_THE_KEY,
    10008: ASK_SUPPORT,
    10010: LOOK_AT_THE_KEY,
    10024: ASK_SUPPORT,
    33004: LOOK_AT_THE_KEY,
}
"""What a person can do about a refusal, where nobody else can do anything."""

TOO_MANY_OF_ADDRESS = 10018

_OF_THE_MODE = re.compile(r"position ?(idx|mode)", re.IGNORECASE)


def is_error_body(body: object) -> bool:
    """True for `{"retCode": 110017, ...}`."""
    return code_of(body) not in (None, 0)


def code_of(body: object) -> int | None:
    """The venue's code in a decoded body, None when it has none that is a number."""
    code = body.get("retCode") if isinstance(body, dict) else None
    if isinstance(code, bool):
        return None
    if isinstance(code, int):
        return code
    if isinstance(code, str) and re.fullmatch(r"\d{1,9}", code, re.ASCII):
        return int(code)
    return None


def judge(failure: Failure, *, venue_now_ms: float) -> Refused | Unknown:
    """Say what a failed order or cancel request proves."""
    if not failure.was_sent:
        is_held_back = failure.retry_after_s is not None
        return Refused(
            reason=_R.RATE_LIMITED if is_held_back else _R.NOT_REACHED,
            code="",
            message=failure.cause,
            retry_after_s=failure.retry_after_s,
        )
    code = code_of(failure.body)
    reason = _reason_of(failure, code)
    if reason is None:
        return Unknown(cause=failure.cause)
    return Refused(
        reason=reason,
        code=str(code) if code is not None else f"HTTP {failure.status}",
        message=failure.cause,
        retry_after_s=retry_after_s(failure, venue_now_ms=venue_now_ms),
    )


def remedy_of(failure: Failure) -> str:
    """What a person can do about it, empty when there is nothing to do but wait."""
    return REMEDIES.get(code_of(failure.body) or 0, "")


def is_of_address(failure: Failure) -> bool:
    """True of a refusal that counts for all accounts together which ask from one address."""
    return failure.status == 403 or code_of(failure.body) == TOO_MANY_OF_ADDRESS


def _reason_of(failure: Failure, code: int | None) -> RefusalReason | None:
    """Why the venue refused, None where that is not proved.

    One code stands for every parameter that does not fit. That it refuses is sure; its text only
    chooses what is read again before the next try, the position mode or the market's rules.
    """
    if failure.status is None or failure.status >= 500:
        return None
    if failure.status in (403, 429):
        # The gateway turned it away; a body is not needed to know that.
        return _R.RATE_LIMITED
    if code == BAD_PARAMETERS and _OF_THE_MODE.search(failure.cause):
        return _R.WRONG_POSITION_MODE
    return REFUSALS.get(code) if code is not None else None


def is_clock_refusal(failure: Failure) -> bool:
    """True when the time stamp was refused."""
    return code_of(failure.body) == 10002


def is_gone(failure: Failure) -> bool:
    """True when the venue says that it has no such order open (any more)."""
    return code_of(failure.body) in GONE and (failure.status or 500) < 500


def retry_after_s(failure: Failure, *, venue_now_ms: float) -> float | None:
    """The pause to make in seconds: of the ban, or until a window has moved on.

    The venue names the end of a window in a header, which is never more than a window away.
    """
    del venue_now_ms
    if failure.status == 403:
        return BAN_S
    if failure.status is not None and failure.status >= 500:
        return None
    code = code_of(failure.body)
    pause_s = _PAUSES_OF_CODES.get(code) if code is not None else None
    if failure.retry_after_s is None:
        return pause_s
    return min(BAN_S, max(failure.retry_after_s, pause_s or 0.0))
