"""What Bitget's answers to orders prove: a table of codes, and nothing else decides.

A code is in the table only where it is documented as a refusal before the book. The venue's own
pages say of 40010, 40725 and 45001 that the order may have arrived and is to be looked up; those,
40015, 40910, time-outs, resets, 5xx, pages and unknown codes prove nothing and are `Unknown`. A
refusal comes with status 400 or with 200: the code counts, never the status or the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from model import RefusalReason, Refused, Unknown
from venues.failure import Failure
from venues.remedies import (
    COPY_ALL_THREE,
    COPY_BOTH,
    COPY_THE_KEY,
    KEEP_TIME,
    LOOK_AT_THE_KEY,
)

_R = RefusalReason

SUCCESS = "00000"

REFUSALS: Mapping[str, RefusalReason] = {
    "429": _R.RATE_LIMITED,
    "30007": _R.RATE_LIMITED,
    "45129": _R.RATE_LIMITED,
    "40005": _R.CLOCK,
    "40008": _R.CLOCK,
    # No position on that side; the last is the unified account's.
    "22002": _R.NOTHING_TO_REDUCE,
    "43043": _R.NOTHING_TO_REDUCE,
    "25227": _R.NOTHING_TO_REDUCE,
    # More than may still be closed: resting orders claim the rest, or the position has shrunk.
    # The answer to both is the same: cancel what rests there, read again, send what is left.
    # The codes that begin with 25 are the unified account's.
    "40757": _R.RESTING_ORDER_IN_THE_WAY,
    "45005": _R.RESTING_ORDER_IN_THE_WAY,
    "40804": _R.RESTING_ORDER_IN_THE_WAY,
    "40717": _R.RESTING_ORDER_IN_THE_WAY,
    "43029": _R.RESTING_ORDER_IN_THE_WAY,
    "40939": _R.RESTING_ORDER_IN_THE_WAY,
    "25225": _R.RESTING_ORDER_IN_THE_WAY,
    "25226": _R.RESTING_ORDER_IN_THE_WAY,
    "25231": _R.RESTING_ORDER_IN_THE_WAY,
    "25232": _R.RESTING_ORDER_IN_THE_WAY,
    "25242": _R.RESTING_ORDER_IN_THE_WAY,
    "40762": _R.TOO_LARGE,
    "45112": _R.TOO_LARGE,
    "45113": _R.TOO_LARGE,
    "43007": _R.TOO_LARGE,
    "40888": _R.TOO_LARGE,
    "25208": _R.TOO_LARGE,
    "45110": _R.TOO_SMALL,
    "45111": _R.TOO_SMALL,
    "45114": _R.TOO_SMALL,
    "43006": _R.TOO_SMALL,
    "43010": _R.TOO_SMALL,
    "43027": _R.TOO_SMALL,
    "22034": _R.TOO_SMALL,
    "22038": _R.TOO_SMALL,
    "25207": _R.TOO_SMALL,
    "40808": _R.BAD_PRECISION,
    "40774": _R.WRONG_POSITION_MODE,
    "43075": _R.WRONG_POSITION_MODE,
    "45021": _R.WRONG_POSITION_MODE,
    "45109": _R.WRONG_POSITION_MODE,
    "25236": _R.WRONG_POSITION_MODE,
    "25237": _R.WRONG_POSITION_MODE,
    # An earlier attempt with the same id arrived: the caller has to look that one up.
    "40786": _R.DUPLICATE_ID,
    "43118": _R.DUPLICATE_ID,
    "45034": _R.DUPLICATE_ID,
    "50060": _R.DUPLICATE_ID,
    "25212": _R.DUPLICATE_ID,
    "40309": _R.NOT_TRADABLE,
    "40844": _R.NOT_TRADABLE,
    "40845": _R.NOT_TRADABLE,
    "45043": _R.NOT_TRADABLE,
    # Key, passphrase, signature, permission, address; closing forbidden.
    "40006": _R.NOT_ALLOWED,
    "40009": _R.NOT_ALLOWED,
    "40012": _R.NOT_ALLOWED,
    "40014": _R.NOT_ALLOWED,
    "40018": _R.NOT_ALLOWED,
    "40037": _R.NOT_ALLOWED,
    "40038": _R.NOT_ALLOWED,
    "40931": _R.NOT_ALLOWED,
    "45108": _R.NOT_ALLOWED,
    # The other family of endpoints is right for this account: it was changed behind our back.
    "40084": _R.NOT_REACHED,
    "40085": _R.NOT_REACHED,
    "40200": _R.NOT_REACHED,
    # Refused by a check of the request or of the margin.
    "40017": _R.OTHER,
    "400172": _R.OTHER,
    "40019": _R.OTHER,
    "40020": _R.OTHER,
    "40034": _R.OTHER,
    "43011": _R.OTHER,
    "43012": _R.OTHER,
    "25200": _R.OTHER,
    "25238": _R.OTHER,
}

SPOT_REFUSALS: Mapping[str, RefusalReason] = {
    # Sold or taken by another order since the balance was read: read it again.
    "43012": _R.NOTHING_TO_REDUCE,
    "25202": _R.NOTHING_TO_REDUCE,
}
"""What codes mean on a spot market that mean something else beside a position."""

BUSY = frozenset({"40010", "40015", "40725", "40910", "45001", "25000", "25001", "25003", "25004"})
"""Doubtful for the venue's own sake, whatever the order said."""

IS_CLASSIC, IS_UNIFIED = "40084", "40085"
"""What the endpoints of one family say to an account of the other."""

NO_SUCH_ORDER = frozenset({"40768", "43001", "40109", "25204"})
"""Answers to a look-up that know no such order; the last is the unified account's."""

GONE = NO_SUCH_ORDER | {"22001", "43004", "43025", "45057", "24056"}
"""Answers to a cancel of what is not open (any more)."""

LONGEST_PAUSE_S = 300.0
"""No longer pause is believed: a mistaken figure must not keep an account from being closed."""
TOO_MANY_PAUSE_S = 1.0
"""Every window of this venue is one second."""
PAUSES_S: Mapping[int | None, float] = {429: TOO_MANY_PAUSE_S}
REMEDIES: Mapping[str, str] = {
    "40005": KEEP_TIME,
    "40008": KEEP_TIME,
    "40006": COPY_THE_KEY,
    "40009": COPY_BOTH,
    "40012": COPY_ALL_THREE,
    "40014": LOOK_AT_THE_KEY,
    "40018": LOOK_AT_THE_KEY,
    "40037": LOOK_AT_THE_KEY,
    "40038": LOOK_AT_THE_KEY,
}
"""What a person can do about a refusal, where nobody else can do anything."""
_CLOCK_CODES = frozenset({"40005", "40008"})
_TOO_MANY_CODES = frozenset({"429", "30007"})


def code_of(body: object) -> str | None:
    """The venue's code in a decoded body, None when it has none."""
    code = body.get("code") if isinstance(body, dict) else None
    if isinstance(code, bool):
        return None
    if isinstance(code, int):
        return str(code)
    return code if isinstance(code, str) and re.fullmatch(r"\d{1,6}", code, re.ASCII) else None


def remedy_of(failure: Failure) -> str:
    """What a person can do about it, empty when there is nothing to do but wait."""
    return REMEDIES.get(code_of(failure.body) or "", "")


def is_error_body(body: object) -> bool:
    """True unless the body says success; an empty object says nothing and is none."""
    return code_of(body) != SUCCESS


def judge_spot(failure: Failure, *, venue_now_ms: float) -> Refused | Unknown:
    """Say what a failed order or cancel request of a spot account proves."""
    return judge(failure, venue_now_ms=venue_now_ms, refusals={**REFUSALS, **SPOT_REFUSALS})


def judge(
    failure: Failure,
    *,
    venue_now_ms: float,
    refusals: Mapping[str, RefusalReason] = REFUSALS,
) -> Refused | Unknown:
    """Say what a failed order or cancel request proves, by a table of codes."""
    if not failure.was_sent:
        is_held_back = failure.retry_after_s is not None
        return Refused(
            reason=_R.RATE_LIMITED if is_held_back else _R.NOT_REACHED,
            code="",
            message=failure.cause,
            retry_after_s=failure.retry_after_s,
        )
    code = code_of(failure.body)
    reason = refusals.get(code) if code is not None else None
    if failure.status == 429:
        # The gateway turned it away; a body is not needed to know that.
        reason = _R.RATE_LIMITED
    elif failure.status is None or failure.status >= 500:
        reason = None
    if reason is None:
        return Unknown(cause=failure.cause)
    return Refused(
        reason=reason,
        code=code if code is not None else f"HTTP {failure.status}",
        message=failure.cause,
        retry_after_s=retry_after_s(failure, venue_now_ms=venue_now_ms),
    )


def is_clock_refusal(failure: Failure) -> bool:
    """True when the time stamp was refused."""
    return code_of(failure.body) in _CLOCK_CODES


def may_be_for_its_form(failure: Failure) -> bool:
    """True when an order may have been refused for how it was written.

    For a parameter or the mode; a code that nobody knows may mean either.
    """
    code = code_of(failure.body)
    if code is None or code in BUSY or (failure.status or 500) >= 500:
        return False
    return REFUSALS.get(code, _R.OTHER) in (_R.OTHER, _R.WRONG_POSITION_MODE)


def is_gone(failure: Failure) -> bool:
    """True when the venue says that no such order is open."""
    return _says(failure, GONE)


def is_unknown_order(failure: Failure) -> bool:
    """True when the venue says that it knows no such order."""
    return _says(failure, NO_SUCH_ORDER)


def _says(failure: Failure, codes: frozenset[str]) -> bool:
    return code_of(failure.body) in codes and (failure.status or 500) < 500


def retry_after_s(failure: Failure, *, venue_now_ms: float) -> float | None:  # noqa: ARG001 - every venue's has it
    """The pause to keep in seconds: the header's, or the venue's window after too many requests.

    A server error limits no requests: what a gateway says on its page holds nothing.
    """
    if (failure.status or 0) >= 500:
        return None
    if failure.retry_after_s is not None:
        return min(LONGEST_PAUSE_S, failure.retry_after_s)
    return TOO_MANY_PAUSE_S if code_of(failure.body) in _TOO_MANY_CODES else None
