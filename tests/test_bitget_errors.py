"""What each answer of Bitget proves: a table of codes, and doubt about everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from model import RefusalReason, Refused, Unknown
from venues.bitget_errors import (
    GONE,
    LONGEST_PAUSE_S,
    NO_SUCH_ORDER,
    REFUSALS,
    code_of,
    is_clock_refusal,
    is_error_body,
    is_gone,
    is_unknown_order,
    judge,
    retry_after_s,
)
from venues.failure import Failure

R = RefusalReason
PROVEN: Mapping[str, RefusalReason] = {
    "429": R.RATE_LIMITED,
    "30007": R.RATE_LIMITED,
    "45129": R.RATE_LIMITED,
    "40005": R.CLOCK,
    "40008": R.CLOCK,
    "22002": R.NOTHING_TO_REDUCE,
    "43043": R.NOTHING_TO_REDUCE,
    "25227": R.NOTHING_TO_REDUCE,
    "40717": R.RESTING_ORDER_IN_THE_WAY,
    "40757": R.RESTING_ORDER_IN_THE_WAY,
    "40804": R.RESTING_ORDER_IN_THE_WAY,
    "40939": R.RESTING_ORDER_IN_THE_WAY,
    "43029": R.RESTING_ORDER_IN_THE_WAY,
    "25225": R.RESTING_ORDER_IN_THE_WAY,
    "25226": R.RESTING_ORDER_IN_THE_WAY,
    "25231": R.RESTING_ORDER_IN_THE_WAY,
    "25232": R.RESTING_ORDER_IN_THE_WAY,
    "25242": R.RESTING_ORDER_IN_THE_WAY,
    "45005": R.RESTING_ORDER_IN_THE_WAY,
    "40762": R.TOO_LARGE,
    "40888": R.TOO_LARGE,
    "43007": R.TOO_LARGE,
    "25208": R.TOO_LARGE,
    "45112": R.TOO_LARGE,
    "45113": R.TOO_LARGE,
    "22034": R.TOO_SMALL,
    "22038": R.TOO_SMALL,
    "25207": R.TOO_SMALL,
    "43006": R.TOO_SMALL,
    "43010": R.TOO_SMALL,
    "43027": R.TOO_SMALL,
    "45110": R.TOO_SMALL,
    "45111": R.TOO_SMALL,
    "45114": R.TOO_SMALL,
    "40808": R.BAD_PRECISION,
    "40774": R.WRONG_POSITION_MODE,
    "43075": R.WRONG_POSITION_MODE,
    "45021": R.WRONG_POSITION_MODE,
    "45109": R.WRONG_POSITION_MODE,
    "25236": R.WRONG_POSITION_MODE,
    "25237": R.WRONG_POSITION_MODE,
    "40786": R.DUPLICATE_ID,
    "43118": R.DUPLICATE_ID,
    "45034": R.DUPLICATE_ID,
    "50060": R.DUPLICATE_ID,
    "25212": R.DUPLICATE_ID,
    "40309": R.NOT_TRADABLE,
    "40844": R.NOT_TRADABLE,
    "40845": R.NOT_TRADABLE,
    "45043": R.NOT_TRADABLE,
    "40006": R.NOT_ALLOWED,
    "40009": R.NOT_ALLOWED,
    "40012": R.NOT_ALLOWED,
    "40014": R.NOT_ALLOWED,
    "40018": R.NOT_ALLOWED,
    "40037": R.NOT_ALLOWED,
    "40038": R.NOT_ALLOWED,
    "40931": R.NOT_ALLOWED,
    "45108": R.NOT_ALLOWED,
    "40084": R.NOT_REACHED,
    "40085": R.NOT_REACHED,
    "40200": R.NOT_REACHED,
    "40017": R.OTHER,
    "400172": R.OTHER,
    "40019": R.OTHER,
    "40020": R.OTHER,
    "40034": R.OTHER,
    "43011": R.OTHER,
    "43012": R.OTHER,
    "25200": R.OTHER,
    "25238": R.OTHER,
}
UNPROVEN = (
    # The venue's own pages: the order may have arrived, look it up.
    "40010",
    "40725",
    "45001",
    # Said by a gateway or a system that gave up, or of looking up and cancelling.
    "40015",
    "40910",
    "40109",
    "40768",
    "43001",
    "43004",
    "22001",
    "25204",
    "25000",
    "25001",
    "25003",
    "25004",
    # Nothing that is known.
    "00000",
    "40000",
    "99999",
)


def failure(code: object, status: int | None = 400, **changes: object) -> Failure:
    """An answer with that code, of a request that was sent."""
    body = None if code is None else {"code": code, "msg": "text", "data": None}
    return Failure(cause="what was said", was_sent=True, status=status, body=body, **changes)  # type: ignore[arg-type]


def judged(code: object, status: int | None = 400) -> RefusalReason | None:
    """The reason of a refusal, None where nothing is proven."""
    outcome = judge(failure(code, status), venue_now_ms=0.0)
    assert isinstance(outcome, Refused | Unknown)
    return outcome.reason if isinstance(outcome, Refused) else None


def test_the_table_is_whole() -> None:
    """Every code that counts as proof stands above, with its reason."""
    assert dict(REFUSALS) == PROVEN


@pytest.mark.parametrize("status", [200, 400])
def test_the_code_counts_and_not_the_status(status: int) -> None:
    """The venue refuses with 400 and with 200; the number may be a text or not."""
    assert {code: judged(code, status) for code in PROVEN} == dict(PROVEN)
    assert {code: judged(int(code), status) for code in PROVEN} == dict(PROVEN)
    assert {judged(code, status) for code in UNPROVEN} == {None}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, None])
def test_nothing_is_proven_by_a_server_error_or_without_an_answer(status: int | None) -> None:
    """An executed order is possible whatever its body says."""
    assert {judged(code, status) for code in (*PROVEN, *UNPROVEN)} == {None}


def test_an_answer_without_a_code_proves_nothing() -> None:
    """Except that a gateway's 429 turned the request away, whatever stands on its page."""
    bodies: tuple[object, ...] = (
        None,
        "<html>",
        [],
        {"code": True},
        {"code": None},
        {"code": "x"},
    )
    for body in bodies:
        page = Failure(cause="a page", was_sent=True, status=400, body=body)
        assert isinstance(judge(page, venue_now_ms=0.0), Unknown)
        refused = judge(replace(page, status=429), venue_now_ms=0.0)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.code) == (R.RATE_LIMITED, "HTTP 429")


def test_what_was_not_sent_was_not_executed() -> None:
    """Held back by our own pacing it is a matter of waiting, else of the line."""
    not_sent = Failure(cause="connection refused", was_sent=False)
    held_back = Failure(cause="held back", was_sent=False, retry_after_s=0.5)
    assert judge(not_sent, venue_now_ms=0.0) == Refused(
        reason=R.NOT_REACHED, code="", message="connection refused"
    )
    assert judge(held_back, venue_now_ms=0.0) == Refused(
        reason=R.RATE_LIMITED, code="", message="held back", retry_after_s=0.5
    )


@pytest.mark.parametrize(
    ("told", "pause_s"),
    [
        (failure("429", 429), 1.0),
        (failure("30007"), 1.0),
        (failure("30007", 200), 1.0),
        (failure("429", 429, retry_after_s=17.0), 17.0),
        (failure("429", 429, retry_after_s=1e9), LONGEST_PAUSE_S),
        (failure("22002"), None),
        (failure("429", 503), None),
        (failure(None, 502, retry_after_s=60.0), None),
    ],
)
def test_pauses_are_those_that_the_venue_asks_for(told: Failure, pause_s: float | None) -> None:
    """Its windows last a second; a gateway's page holds nothing back."""
    assert retry_after_s(told, venue_now_ms=0.0) == pause_s


def test_success_is_one_code_alone() -> None:
    """An empty object, an error and a page are none; the number may be a text or not."""
    assert not is_error_body({"code": "00000", "data": None})
    bodies: tuple[object, ...] = ({}, {"code": "40009"}, {"code": 0}, {"code": None}, "ok", None)
    assert all(is_error_body(body) for body in bodies)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"code": "40009"}, "40009"),
        ({"code": 40009}, "40009"),
        ({"code": "4 0009"}, None),
        ({"code": "4000900"}, None),
        ({"code": "٤٠"}, None),
        ({"code": True}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_code_is_a_short_number(body: object, code: str | None) -> None:
    """Anything else is no code, so that it cannot stand in a log as one."""
    assert code_of(body) == code


def test_gone_is_what_no_longer_rests() -> None:
    """A look-up that knows no order, and a cancel of one that is not open; no server error."""
    assert NO_SUCH_ORDER < GONE
    for code in GONE:
        assert is_gone(failure(code))
        assert not is_gone(failure(code, 503))
        assert not is_gone(failure(code, None))
        assert is_unknown_order(failure(code)) is (code in NO_SUCH_ORDER)
    assert not is_gone(failure("40009"))


def test_a_refused_time_stamp_is_told_by_its_code() -> None:
    """Wrong and expired."""
    assert [is_clock_refusal(failure(code)) for code in ("40005", "40008", "40009")] == [
        True,
        True,
        False,
    ]
