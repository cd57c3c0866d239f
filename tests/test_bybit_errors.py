"""What each answer of Bybit proves: a table of codes, and doubt about everything else."""

from __future__ import annotations

import pytest

from model import RefusalReason, Refused, Unknown
from venues.bybit_errors import (
    BAN_S,
    GONE,
    REFUSALS,
    code_of,
    is_clock_refusal,
    is_error_body,
    is_gone,
    judge,
    retry_after_s,
)
from venues.failure import Failure

R = RefusalReason
NOW_MS = 1_700_000_000_000.0
PROVEN = {
    10001: R.BAD_PRECISION,
    10002: R.CLOCK,
    10003: R.NOT_ALLOWED,
    10004: R.NOT_ALLOWED,
    10005: R.NOT_ALLOWED,
    10007: R.NOT_ALLOWED,
    10008: R.NOT_ALLOWED,
    10009: R.NOT_ALLOWED,
    10010: R.NOT_ALLOWED,
    10024: R.NOT_ALLOWED,
    10027: R.NOT_ALLOWED,
    33004: R.NOT_ALLOWED,
    110124: R.NOT_ALLOWED,
    429: R.RATE_LIMITED,
    10006: R.RATE_LIMITED,
    10018: R.RATE_LIMITED,
    110017: R.NOTHING_TO_REDUCE,
    110034: R.NOTHING_TO_REDUCE,
    110030: R.DUPLICATE_ID,
    110072: R.DUPLICATE_ID,
    110094: R.TOO_SMALL,
    170131: R.NOTHING_TO_REDUCE,
    170121: R.NOT_TRADABLE,
    170124: R.TOO_LARGE,
    170136: R.TOO_SMALL,
    170140: R.TOO_SMALL,
    170137: R.BAD_PRECISION,
    170141: R.DUPLICATE_ID,
    10029: R.NOT_TRADABLE,
    110063: R.NOT_TRADABLE,
    110066: R.NOT_TRADABLE,
    110074: R.NOT_TRADABLE,
    110003: R.OTHER,
    110004: R.OTHER,
    110006: R.OTHER,
    110007: R.OTHER,
    110011: R.OTHER,
    110012: R.OTHER,
    110020: R.OTHER,
    110023: R.OTHER,
    110035: R.OTHER,
    110040: R.OTHER,
    110090: R.OTHER,
    3400139: R.OTHER,
}
UNPROVEN = (10000, 10014, 10016, 110001, 110079, 170007, 170146, 170147, 3400214, 99999, 1)


def told(code: object, message: str = "text", status: int | None = 200) -> Failure:
    """A refusal as its body makes it."""
    return Failure(
        cause=f"HTTP {status}, code {code}: {message}",
        status=status,
        body={"retCode": code, "retMsg": message, "result": {}},
    )


def reason_of(failure: Failure) -> RefusalReason | None:
    """Why it is refused, None when nothing is proved."""
    outcome = judge(failure, venue_now_ms=NOW_MS)
    return outcome.reason if isinstance(outcome, Refused) else None


@pytest.mark.parametrize(("code", "reason"), PROVEN.items())
def test_a_listed_code_proves_a_refusal(code: int, reason: RefusalReason) -> None:
    """As a number or as text, whatever its text says."""
    for written in (code, str(code)):
        for message in ("text", "", "order was executed"):
            outcome = judge(told(written, message), venue_now_ms=NOW_MS)
            assert isinstance(outcome, Refused)
            assert (outcome.reason, outcome.code) == (reason, str(code))


def test_the_table_holds_what_is_proven_and_nothing_else() -> None:
    """A new entry needs its evidence, and its line here."""
    assert dict(REFUSALS) == PROVEN
    assert not set(UNPROVEN) & set(REFUSALS)
    assert not GONE & set(REFUSALS)


@pytest.mark.parametrize("code", UNPROVEN)
def test_every_other_code_proves_nothing(code: int) -> None:
    """Server time-outs and errors, which ccxt takes for refusals, and codes nobody listed."""
    assert reason_of(told(code)) is None
    assert isinstance(judge(told(code), venue_now_ms=NOW_MS), Unknown)


@pytest.mark.parametrize("code", sorted(PROVEN))
def test_a_server_error_proves_nothing(code: int) -> None:
    """On a status 5xx, and without any status, an order may have been executed."""
    for status in (500, 502, 524, None):
        assert reason_of(told(code, status=status)) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("position idx not match position mode", R.WRONG_POSITION_MODE),
        ("Position idx not match position mode", R.WRONG_POSITION_MODE),
        ("positionIdx is invalid", R.WRONG_POSITION_MODE),
        ("The number of contracts exceeds minimum limit allowed", R.BAD_PRECISION),
        ("Qty invalid", R.BAD_PRECISION),
    ],
)
def test_the_text_of_a_bad_parameter_only_chooses_what_is_read_again(
    message: str, reason: RefusalReason
) -> None:
    """That nothing was executed is the code's to say, with any text."""
    assert reason_of(told(10001, message)) is reason


@pytest.mark.parametrize(
    "failure",
    [
        Failure(cause="timed out"),
        Failure(cause="page", status=200),
        Failure(cause="list", status=200, body=[]),
        Failure(cause="page", status=404),
        Failure(cause="no code", status=200, body={"retMsg": "error"}),
        Failure(cause="a boolean", status=200, body={"retCode": True}),
        Failure(cause="no number", status=200, body={"retCode": "1e5"}),
    ],
)
def test_an_answer_without_a_code_proves_nothing(failure: Failure) -> None:
    """Time-outs, pages, and bodies of another shape."""
    assert reason_of(failure) is None


def test_a_ban_and_a_request_too_many_are_refusals_without_a_body() -> None:
    """The gateway turned it away; a ban lasts ten minutes."""
    ban = judge(Failure(cause="page", status=403), venue_now_ms=NOW_MS)
    assert ban == Refused(
        reason=R.RATE_LIMITED, code="HTTP 403", message="page", retry_after_s=BAN_S
    )
    assert reason_of(Failure(cause="page", status=429)) is R.RATE_LIMITED


def test_what_was_not_sent_was_not_executed() -> None:
    """Held back by a limit with its pause, or not connected."""
    held = Failure(cause="held", was_sent=False, retry_after_s=2.0)
    assert judge(held, venue_now_ms=NOW_MS) == Refused(
        reason=R.RATE_LIMITED, code="", message="held", retry_after_s=2.0
    )
    assert reason_of(Failure(cause="refused", was_sent=False)) is R.NOT_REACHED


@pytest.mark.parametrize(
    ("failure", "pause_s"),
    [
        (told(10006), 1.0),
        (told(429), 1.0),
        (told(10018), 5.0),
        (Failure(cause="", status=403), 600.0),
        (Failure(cause="", status=429, retry_after_s=7.0), 7.0),
        (Failure(cause="", status=429, retry_after_s=1e6), 600.0),
        (Failure(cause="", status=503, retry_after_s=7.0), None),
        (told(110017), None),
    ],
)
def test_the_pause_is_that_of_the_limit_that_was_reached(
    failure: Failure, pause_s: float | None
) -> None:
    """A second, five seconds of an address, ten minutes of a ban; a server error asks for none."""
    assert retry_after_s(failure, venue_now_ms=NOW_MS) == pause_s


def test_success_is_no_error() -> None:
    """0 as a number or as text."""
    assert not is_error_body({"retCode": 0})
    assert not is_error_body({"retCode": "0"})
    assert is_error_body({"retCode": 10006})
    assert code_of([]) is None


@pytest.mark.parametrize("code", sorted(GONE))
def test_an_order_that_is_gone_is_not_open_any_more(code: int) -> None:
    """Filled, cancelled or never there; on a server error nothing is proved."""
    assert is_gone(told(code))
    assert not is_gone(told(code, status=502))
    assert not is_gone(told(110017))


def test_a_refused_time_stamp_is_known() -> None:
    """The clock is measured again then."""
    assert is_clock_refusal(told(10002))
    assert not is_clock_refusal(told(10003))
