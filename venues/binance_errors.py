"""What Binance's answers to orders prove: a table of codes, and nothing else decides.

A code is in the table only where Binance's documentation says that the order was not executed.
Everything else (time-outs, resets, 5xx, codes -1000, -1001, -1006 and -1007, pages, unknown codes)
proves nothing and is `Unknown`. The code counts, never the text and never ccxt's class for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from model import RefusalReason, Refused, Unknown
from venues.failure import Failure
from venues.remedies import COPY_BOTH, COPY_THE_KEY, KEEP_TIME, LOOK_AT_THE_KEY, MAKE_A_KEY

_R = RefusalReason

REFUSALS: Mapping[int, RefusalReason] = {
    # The order or request counters, or the venue's overload protection, turned it away.
    -1003: _R.RATE_LIMITED,
    -1008: _R.RATE_LIMITED,
    -1015: _R.RATE_LIMITED,
    # The time stamp was outside recvWindow, at the gateway or at the matching engine.
    -1021: _R.CLOCK,
    -5028: _R.CLOCK,
    # Reduce-only with no position on that side; in hedge mode it comes without the flag too.
    -2022: _R.NOTHING_TO_REDUCE,
    -2024: _R.NOTHING_TO_REDUCE,
    # Resting reduce-only orders already claim the whole position.
    -4118: _R.RESTING_ORDER_IN_THE_WAY,
    -4005: _R.TOO_LARGE,
    -4003: _R.TOO_SMALL,
    -4004: _R.TOO_SMALL,
    -4164: _R.TOO_SMALL,
    -1111: _R.BAD_PRECISION,
    -4023: _R.BAD_PRECISION,
    # positionSide or reduceOnly does not suit the account's position mode.
    -1106: _R.WRONG_POSITION_MODE,
    -4061: _R.WRONG_POSITION_MODE,
    -4062: _R.WRONG_POSITION_MODE,
    # This attempt was refused because an earlier one with the same id arrived and is still open:
    # the caller has to look that one up before it concludes anything.
    -4116: _R.DUPLICATE_ID,
    -1121: _R.NOT_TRADABLE,
    -4140: _R.NOT_TRADABLE,
    -4141: _R.NOT_TRADABLE,
    # Key, signature, permission, or the account's own restriction.
    -1022: _R.NOT_ALLOWED,
    -2014: _R.NOT_ALLOWED,
    -2015: _R.NOT_ALLOWED,
    -2017: _R.NOT_ALLOWED,
    -4087: _R.NOT_ALLOWED,
    -4088: _R.NOT_ALLOWED,
    -4192: _R.NOT_ALLOWED,
    -4400: _R.NOT_ALLOWED,
    -4401: _R.NOT_ALLOWED,
    # Sent to portfolio margin for an account that is none (any more).
    -21001: _R.NOT_ALLOWED,
    # Refused by a check before the book: margin, leverage tier, trigger price, price band.
    -2019: _R.OTHER,
    -2021: _R.OTHER,
    -2027: _R.OTHER,
    -4131: _R.OTHER,
}

GONE = frozenset({-2011, -2013})
"""A cancel or a query of an order that the venue no longer (or never) has."""

KEY_REFUSED = frozenset({-1002, -2014, -2015, -2017, -21001})
"""About the rights of the key or the kind of the account, not about the moment. One code can mean
either: portfolio margin says -2015 to every account that is none."""

_PROVED_ON_SERVER_ERROR = frozenset({-1008})
"""The only code that proves anything on a status 5xx, where executed orders are possible."""

LONGEST_BAN_S = 3 * 86400.0
LONGEST_WINDOW_S = 300.0
"""No pause that is longer than the longest ban, or without one the longest window, is believed: a
mistaken figure must not keep an account from being closed for ever."""

PAUSES_S: Mapping[int | None, float] = {429: 1.0, 418: 30.0}
"""What is paused after these answers when they name no time: one too many, and a ban."""
REMEDIES: Mapping[int, str] = {
    -1002: LOOK_AT_THE_KEY,
    -1021: KEEP_TIME,
    -1022: COPY_BOTH,
    -2014: COPY_THE_KEY,
    -2015: LOOK_AT_THE_KEY,
    -2017: MAKE_A_KEY,
}
"""What a person can do about a refusal, where nobody else can do anything."""

TOO_MANY_ORDERS = -1015
"""Counted for each account; everything else that is too much counts for the address."""

_CLOCK_CODES = frozenset({-1021, -5028})

_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b", re.ASCII)


def is_error_body(body: object) -> bool:
    """True for `{"code": -1121, ...}`; cancels answer `{"code": 200, ...}` and are none."""
    code = code_of(body)
    return code is not None and code not in (0, 200)


def code_of(body: object) -> int | None:
    """The venue's error code in a decoded body, None when it has none that is a number."""
    code = body.get("code") if isinstance(body, dict) else None
    if isinstance(code, bool):
        return None
    if isinstance(code, int):
        return code
    if isinstance(code, str) and re.fullmatch(r"-?\d{1,6}", code, re.ASCII):
        return int(code)
    return None


def judge(failure: Failure, *, venue_now_ms: float) -> Refused | Unknown:
    """Say what a failed order or cancel request proves."""
    code = code_of(failure.body)
    reason = None if code is None else REFUSALS.get(code)
    return judge_by(failure, reason=reason, venue_now_ms=venue_now_ms)


def judge_by(
    failure: Failure, *, reason: RefusalReason | None, venue_now_ms: float
) -> Refused | Unknown:
    """Say what a failed request proves whose body, by its table, gives this reason (or none)."""
    if not failure.was_sent:
        is_held_back = failure.retry_after_s is not None
        return Refused(
            reason=_R.RATE_LIMITED if is_held_back else _R.NOT_REACHED,
            code="",
            message=failure.cause,
            retry_after_s=failure.retry_after_s,
        )
    code = code_of(failure.body)
    if failure.status in (418, 429):
        # The gateway turned it away; a body is not needed to know that.
        reason = reason or _R.RATE_LIMITED
    elif failure.status is None or (failure.status >= 500 and code not in _PROVED_ON_SERVER_ERROR):
        reason = None
    if reason is None:
        return Unknown(cause=failure.cause)
    return Refused(
        reason=reason,
        code=str(code) if code is not None else f"HTTP {failure.status}",
        message=failure.cause,
        retry_after_s=retry_after_s(failure, venue_now_ms=venue_now_ms),
    )


def is_of_address(failure: Failure) -> bool:
    """True of a refusal for the weight of requests, which counts for all accounts together."""
    return failure.status in (418, 429) and code_of(failure.body) != TOO_MANY_ORDERS


def remedy_of(failure: Failure) -> str:
    """What a person can do about it, empty when there is nothing to do but wait."""
    return REMEDIES.get(code_of(failure.body) or 0, "")


def is_clock_refusal(failure: Failure) -> bool:
    """True when the time stamp was refused, at the gateway or at the matching engine."""
    return code_of(failure.body) in _CLOCK_CODES


def is_gone(failure: Failure) -> bool:
    """True when the venue says that it has no such order (any more)."""
    return code_of(failure.body) in GONE and (failure.status or 500) < 500


def is_key_refused(failure: Failure) -> bool:
    """True when the key, or this kind of account, may not ask; a server error never says so."""
    return code_of(failure.body) in KEY_REFUSED and (failure.status or 500) < 500


def retry_after_s(failure: Failure, *, venue_now_ms: float) -> float | None:
    """The pause the venue asks for in seconds: its header, or the end of a ban in its text.

    A server error limits no requests: what a gateway says on its page holds nothing.
    """
    status = failure.status or 0
    if status >= 500 and code_of(failure.body) not in _PROVED_ON_SERVER_ERROR:
        return None
    text = failure.body.get("msg") if isinstance(failure.body, dict) else None
    banned = _BANNED_UNTIL.search(text) if isinstance(text, str) else None
    longest_s = LONGEST_BAN_S if status == 418 or banned else LONGEST_WINDOW_S
    if failure.retry_after_s is not None:
        return min(longest_s, failure.retry_after_s)
    if banned is None:
        return None
    return min(longest_s, max(0.0, (int(banned[1]) - venue_now_ms) / 1000))
