"""What each answer of Binance proves: a table of codes, and doubt about everything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import RefusalReason, Refused, Unknown
from redaction import MASK, Redactor
from venues.binance_errors import (
    GONE,
    REFUSALS,
    code_of,
    is_error_body,
    is_gone,
    is_of_address,
    judge,
    remedy_of,
    retry_after_s,
)
from venues.failure import MESSAGE_LENGTH, Failure, scrub

R = RefusalReason
NOW_MS = 1_700_000_000_000.0
PROVEN = {
    -1003: R.RATE_LIMITED,
    -1008: R.RATE_LIMITED,
    -1015: R.RATE_LIMITED,
    -1021: R.CLOCK,
    -5028: R.CLOCK,
    -2022: R.NOTHING_TO_REDUCE,
    -2024: R.NOTHING_TO_REDUCE,
    -4118: R.RESTING_ORDER_IN_THE_WAY,
    -4005: R.TOO_LARGE,
    -4003: R.TOO_SMALL,
    -4004: R.TOO_SMALL,
    -4164: R.TOO_SMALL,
    -1111: R.BAD_PRECISION,
    -4023: R.BAD_PRECISION,
    -1106: R.WRONG_POSITION_MODE,
    -4061: R.WRONG_POSITION_MODE,
    -4062: R.WRONG_POSITION_MODE,
    -4116: R.DUPLICATE_ID,
    -1121: R.NOT_TRADABLE,
    -4140: R.NOT_TRADABLE,
    -4141: R.NOT_TRADABLE,
    -1022: R.NOT_ALLOWED,
    -2014: R.NOT_ALLOWED,
    -2015: R.NOT_ALLOWED,
    -2017: R.NOT_ALLOWED,
    -4087: R.NOT_ALLOWED,
    -4088: R.NOT_ALLOWED,
    -4192: R.NOT_ALLOWED,
    -4400: R.NOT_ALLOWED,
    -4401: R.NOT_ALLOWED,
    -21001: R.NOT_ALLOWED,
    -2019: R.OTHER,
    -2021: R.OTHER,
    -2027: R.OTHER,
    -4131: R.OTHER,
}
UNPROVEN = (-1000, -1001, -1006, -1007, -1013, -1102, -2010, -2020, -2023, -4015, -9999, 0, 200, 1)


def refused_with(code: object, status: int = 400, message: str = "text") -> Failure:
    """A failure as an error body makes it."""
    return Failure(cause="HTTP", status=status, body={"code": code, "msg": message})


@pytest.mark.parametrize(("code", "reason"), PROVEN.items())
def test_a_listed_code_proves_a_refusal(code: int, reason: RefusalReason) -> None:
    """As a number or as text, with status 400 or 200; ccxt's class for it plays no part."""
    for written in (code, str(code)):
        for status in (200, 400):
            outcome = judge(refused_with(written, status), venue_now_ms=NOW_MS)
            assert isinstance(outcome, Refused)
            assert (outcome.reason, outcome.code) == (reason, str(code))


def test_the_table_holds_what_is_proven_and_nothing_else() -> None:
    """A new entry needs its evidence, and its line here."""
    assert dict(REFUSALS) == PROVEN
    assert not set(UNPROVEN) & set(REFUSALS)
    assert not GONE & set(REFUSALS)


@pytest.mark.parametrize("code", UNPROVEN)
def test_every_other_code_proves_nothing(code: int) -> None:
    """Execution status unknown, internal errors and codes nobody listed."""
    for status in (200, 400, 408, 503):
        assert isinstance(judge(refused_with(code, status), venue_now_ms=NOW_MS), Unknown)


@pytest.mark.parametrize("code", sorted(PROVEN))
def test_a_server_error_proves_nothing_but_overload(code: int) -> None:
    """On a status 5xx an order may have been executed; -1008 alone says that it was not."""
    outcome = judge(refused_with(code, 503), venue_now_ms=NOW_MS)
    assert isinstance(outcome, Refused) == (code == -1008)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(cause="timed out"),
        Failure(cause="no answer (ServerDisconnectedError)"),
        Failure(cause="no answer (ClientPayloadError)"),
        Failure(cause="page", status=200),
        Failure(cause="null", status=200, body=None),
        Failure(cause="list", status=200, body=[]),
        Failure(cause="WAF", status=403),
        Failure(cause="no code", status=400, body={}),
        Failure(cause="odd code", status=400, body={"code": True}),
        Failure(cause="odd code", status=400, body={"code": "-2022 "}),
        Failure(cause="gateway", status=502),
        Failure(cause="gateway", status=504),
        Failure(cause="cdn", status=524),
        Failure(cause="no status", body={"code": -2022}),
    ],
)
def test_an_answer_without_a_code_proves_nothing(failure: Failure) -> None:
    """Time-outs, resets, cut-off bodies and pages leave it open whether the order was executed."""
    outcome = judge(failure, venue_now_ms=NOW_MS)
    assert outcome == Unknown(cause=failure.cause)


def test_a_request_that_never_left_was_not_executed() -> None:
    """Connection refused: nothing reached the venue."""
    outcome = judge(Failure(cause="refused", was_sent=False), venue_now_ms=NOW_MS)
    assert outcome == Refused(reason=R.NOT_REACHED, code="", message="refused")


@pytest.mark.parametrize("status", [418, 429])
def test_the_gateway_s_own_refusal_needs_no_body(status: int) -> None:
    """429 and 418 are answered before an order is looked at; the pause comes from the header."""
    outcome = judge(Failure(cause="slow", status=status, retry_after_s=7.0), venue_now_ms=NOW_MS)
    assert outcome == Refused(
        reason=R.RATE_LIMITED, code=f"HTTP {status}", message="slow", retry_after_s=7.0
    )


@pytest.mark.parametrize(
    ("failure", "is_everybodys"),
    [
        (refused_with(-1003, 429), True),
        (refused_with(-1003, 418), True),
        (Failure(cause="page", status=429), True),
        (refused_with(-1015, 429), False),
        (refused_with(-1003, 400), False),
        (Failure(cause="timed out"), False),
    ],
)
def test_too_much_weight_is_counted_for_all_accounts_and_orders_for_each(
    failure: Failure, is_everybodys: bool
) -> None:
    """An address that goes on asking is banned, whichever account asks."""
    assert is_of_address(failure) is is_everybodys


@pytest.mark.parametrize("code", [-1002, -1021, -1022, -2014, -2015, -2017])
def test_a_refusal_that_only_a_person_can_cure_says_how(code: int) -> None:
    """Short enough for the lock file; everything else says nothing that nobody asked for."""
    assert 20 < len(remedy_of(refused_with(code, 401))) < 150
    assert remedy_of(refused_with(-1003, 429)) == ""
    assert remedy_of(Failure(cause="timed out")) == ""


def test_a_ban_names_its_end() -> None:
    """Banned until 90 s from now, on the venue's clock; an end that has passed is no pause."""
    text = "Way too many requests; IP banned until 1700000090000. Please use the websocket."
    banned = refused_with(-1003, 418, text)
    assert retry_after_s(banned, venue_now_ms=NOW_MS) == 90.0
    assert retry_after_s(banned, venue_now_ms=NOW_MS + 95_000) == 0.0
    assert retry_after_s(refused_with(-1003, 429), venue_now_ms=NOW_MS) is None
    assert retry_after_s(Failure(cause="x"), venue_now_ms=NOW_MS) is None
    assert retry_after_s(refused_with(-1, 400, message=7), venue_now_ms=NOW_MS) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        ({"code": 200, "msg": "done"}, False),
        ({"code": "200"}, False),
        ({"code": 0}, False),
        ({"orderId": 1}, False),
        ([], False),
        ([{"code": -2011}], False),
        ({"code": -2011}, True),
        ({"code": "-2011"}, True),
        (None, False),
    ],
)
def test_a_body_is_an_error_by_its_code(body: object, is_error: bool) -> None:
    """Cancels answer with code 200, orders with none; a negative code is an error at any status."""
    assert is_error_body(body) == is_error


@pytest.mark.parametrize("code", sorted(GONE))
def test_an_order_is_gone_only_by_the_venue_s_word(code: int) -> None:
    """Unknown order or no such order, but not on a server error."""
    assert is_gone(refused_with(code))
    assert not is_gone(refused_with(code, 503))
    assert not is_gone(Failure(cause="timed out"))


@given(st.none() | st.integers(0, 999), st.none() | st.integers(-9999, 9999) | st.text(max_size=6))
@settings(max_examples=100)
def test_a_refusal_always_stands_on_the_table_or_the_gateway(
    status: int | None, code: object
) -> None:
    """Whatever comes, nothing else is called refused."""
    outcome = judge(Failure(cause="x", status=status, body={"code": code}), venue_now_ms=NOW_MS)
    if isinstance(outcome, Refused):
        assert code_of({"code": code}) in REFUSALS or status in (418, 429)


def test_nothing_secret_is_repeated() -> None:
    """URLs, keys, signatures and long texts are cut out of what a venue says."""
    text = "bad signature " + "ab12" * 16 + " at https://x.test/a?signature=1 for test-key\nnext"
    shown = scrub(text, Redactor(("test-key", "")))
    assert shown == f"bad signature *** at <url> for {MASK} next"
    assert len(scrub("word " * 100)) == MESSAGE_LENGTH


@pytest.mark.parametrize(
    ("status", "asked_s", "pause_s"),
    [
        (429, 9_999_999.0, 300.0),
        (403, 9_999_999.0, 300.0),
        (418, 7_200.0, 7_200.0),
        (418, 9_999_999.0, 259_200.0),
        (503, 3_600.0, None),
    ],
)
def test_no_pause_is_believed_that_is_longer_than_any_there_is(
    status: int, asked_s: float, pause_s: float | None
) -> None:
    """A ban lasts three days at most, a window five minutes; a server error limits nothing."""
    failure = Failure(cause="x", status=status, retry_after_s=asked_s)
    assert retry_after_s(failure, venue_now_ms=NOW_MS) == pause_s


def test_overload_protection_may_ask_for_a_pause_on_a_server_error() -> None:
    """Its code alone proves something there."""
    overload = replace(refused_with(-1008, 503), retry_after_s=2.0)
    assert retry_after_s(overload, venue_now_ms=NOW_MS) == 2.0


def test_a_ban_without_a_believable_end_ends() -> None:
    """The year 2286 is no date to wait for."""
    banned = refused_with(-1003, 429, message="IP banned until 9999999999999.")
    assert retry_after_s(banned, venue_now_ms=NOW_MS) == 259_200.0
