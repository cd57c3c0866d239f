"""Secrets in any form are masked, and nothing else is."""

from __future__ import annotations

import json
from enum import IntEnum
from urllib.parse import quote

import pytest

from redaction import MASK, Redactor

SECRETS = ("canary/KEY+of=the?venue&0123456789", "pass phrase")


def test_plain_values_keep_their_types() -> None:
    """Figures stay figures, so that a machine can read them."""
    redactor = Redactor(SECRETS)
    plain = {"a": 1, "b": 1.5, "c": None, "d": True, "e": "free"}
    assert redactor.value(plain) == plain

    class Number(IntEnum):
        ONE = 1

    assert redactor.value(Number.ONE) == "1"


def test_a_secret_too_short_to_be_one_masks_nothing() -> None:
    """Masking `a` everywhere would hide what the guard did."""
    assert Redactor(("a", "", "xyz")).text("a banana xyz") == "a banana xyz"
    assert Redactor(("wxyz",)).text("a wxyz b") == f"a {MASK} b"


WEBHOOK = "https://hooks.example.test/services/T0123456789/long-token-of-a-channel?room=night-watch"
REDIS = "redis://guard:pa%24sword-of-redis@127.0.0.1:6379/0"


def test_of_an_address_login_path_and_query_are_secret_and_the_host_is_not() -> None:
    """Masking `https://` and a host wherever they stand would say nothing and hide much."""
    text = Redactor((WEBHOOK, REDIS, "amqp://lonely-token@127.0.0.1")).text
    assert text(f"POST {WEBHOOK}: 403") == f"POST {MASK}: 403"
    assert text(f"login {REDIS}") == f"login {MASK}"
    for part in ("T0123456789", "long-token-of-a-channel", "night-watch", "of-a-channel"):
        assert MASK in text(f"got {part} back")
    assert MASK in text("wrong password pa$sword-of-redis")
    assert MASK in text("wrong password pa%24sword-of-redis")
    assert MASK in text("no such user lonely-token")
    for harmless in (
        "https://fapi.binance.com refused",
        "redis://127.0.0.1:6379 is down",
        "guard of 127.0.0.1",
        "hooks.example.test is not known",
    ):
        assert text(harmless) == harmless


@pytest.mark.parametrize("quoted", [quote("a/b+c=d&e?f", safe=""), "a%2fb%2bc%3dd%26e%3ff"])
def test_escapes_are_known_in_both_cases(quoted: str) -> None:
    """RFC 3986 allows `%2f` for `%2F`, and gateways write either."""
    assert Redactor(("a/b+c=d&e?f",)).text(f"/?key={quoted}&x=1") == f"/?key={MASK}&x=1"


def test_a_secret_in_a_page_is_known() -> None:
    """An error page writes `&` and quotes as entities."""
    page = "<p>bad key a&amp;b&lt;c&quot;d&#x27;e</p>"
    assert Redactor(("a&b<c\"d'e",)).text(page) == f"<p>bad key {MASK}</p>"


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_float_that_is_no_number_stays_valid_json(odd: float) -> None:
    """`NaN` in a line makes most readers of JSON give the whole line up."""
    assert json.loads(json.dumps(Redactor(SECRETS).value({"x": odd}))) == {"x": str(odd)}
