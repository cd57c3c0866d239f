"""Client order ids: derived, bounded, reversible, and recognisably ours."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_ids import (
    CloseId,
    client_order_id,
    incident_token,
    is_of_incident,
    parse_client_order_id,
)
from errors import InvariantViolation
from model import IncidentId

ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,32}")


def test_the_form_of_an_id() -> None:
    """Target 3, round 36 and part 35 in base 36 are 3, 10 and z."""
    made = client_order_id(incident_id=IncidentId("inc1"), target=3, round_number=36, part=35)
    assert made == "ks-inc1-3-10-z"
    assert parse_client_order_id(made) == CloseId(
        incident="inc1", target=3, round_number=36, part=35
    )


def test_another_form_of_incident_id_becomes_its_known_hash() -> None:
    """Published FNV-1a values: the empty text (the offset) and a sentence with blanks."""
    assert int(incident_token(IncidentId("")), 36) == 0xCBF29CE484222325
    assert int(incident_token(IncidentId("chongo was here!\n")), 36) == 0x46810940EFF5F915
    assert incident_token(IncidentId("foobar")) == "foobar"


@settings(max_examples=100)
@given(
    incident=st.text(max_size=60),
    target=st.integers(0, 10**5),
    round_number=st.integers(0, 10**8),
    part=st.integers(0, 36),
)
def test_every_id_fits_the_strictest_venue_and_reads_back(
    incident: str, target: int, round_number: int, part: int
) -> None:
    """At most 32 of `[A-Za-z0-9_-]`, whatever an incident is called, and nothing is lost."""
    name = IncidentId(incident)
    made = client_order_id(incident_id=name, target=target, round_number=round_number, part=part)
    assert ALLOWED.fullmatch(made)
    parsed = parse_client_order_id(made)
    assert parsed is not None
    assert is_of_incident(parsed, name)
    assert (parsed.target, parsed.round_number, parsed.part) == (target, round_number, part)


@pytest.mark.parametrize(
    "client_id",
    [
        "",
        "ks",
        "x-cvBPrNm9abcdef",
        "ks-inc1-1-1",
        "ks-inc1-1-1-1-1",
        "bot-inc1-1-1-1",
        "ks--1-1-1",
        "ks-INC-1-1-1",
        "ks-abcdefghijklmn-1-1-1",
        "ks-inc1-01-1-1",
        "ks-inc1-1--1",
        "ks-inc1-1-1-+1",
    ],
)
def test_ids_that_we_cannot_have_made_are_not_ours(client_id: str) -> None:
    """A bot whose ids resemble ours raises no alarm."""
    assert parse_client_order_id(client_id) is None


def test_zero_is_a_number() -> None:
    """0 is written as itself and read back."""
    made = client_order_id(incident_id=IncidentId("a"), target=0, round_number=0, part=0)
    assert made == "ks-a-0-0-0"
    assert parse_client_order_id(made) == CloseId(incident="a", target=0, round_number=0, part=0)


def test_an_id_that_no_venue_takes_is_a_fault_of_ours() -> None:
    """32 characters are the limit: more would be refused on every try."""
    with pytest.raises(InvariantViolation, match="longer than 32"):
        client_order_id(
            incident_id=IncidentId("abcdefghijklm"), target=10**12, round_number=10**12, part=36
        )
