"""The client order ids of our closes: made from incident, target, round and part, and read back.

Pure. An id is `ks-<incident>-<target>-<round>-<part>`, numbers in base 36, at most 32 characters
of `[a-z0-9-]`: the strictest of Binance (36, `[.A-Z:/a-z0-9_-]`), Bybit (36, `[A-Za-z0-9_-]`) and
the unified account of Bitget (32, `[.A-Z:/a-z0-9_-]`).
It is derived and not drawn, so an order can be looked up by it after a crash, and a second guard
on the same account shows itself by ids with our prefix and an incident we never had.
"""

from __future__ import annotations

from dataclasses import dataclass

from errors import InvariantViolation
from model import ClientOrderId, IncidentId

PREFIX = "ks"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
MAX_LENGTH = 32
MAX_TOKEN_LENGTH = 13
"""Enough for 64 bits in base 36, and leaves 13 characters for target, round and part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseId:
    """What an id of our form says. `incident` is the token of the incident, not its id."""

    incident: str
    target: int
    round_number: int
    part: int


def client_order_id(
    *, incident_id: IncidentId, target: int, round_number: int, part: int
) -> ClientOrderId:
    """Make the id of one order; the numbers are >= 0.

    Raises InvariantViolation when the id would be longer than a venue accepts.
    """
    numbers = "-".join(base36(number) for number in (target, round_number, part))
    text = f"{PREFIX}-{incident_token(incident_id)}-{numbers}"
    if len(text) > MAX_LENGTH:
        raise InvariantViolation(f"client order id {text} is longer than {MAX_LENGTH}")
    return ClientOrderId(text)


def parse_client_order_id(client_id: str) -> CloseId | None:
    """Read an id of our form back, None for every other id. Only what we could have made counts."""
    match client_id.split("-"):
        case [prefix, incident, target, round_number, part] if prefix == PREFIX:
            numbers = (target, round_number, part)
        case _:
            return None
    if not _is_token(incident) or not all(_is_number(number) for number in numbers):
        return None
    return CloseId(
        incident=incident,
        target=int(target, 36),
        round_number=int(round_number, 36),
        part=int(part, 36),
    )


def is_of_incident(parsed: CloseId, incident_id: IncidentId) -> bool:
    """Say whether an id was made for this incident."""
    return parsed.incident == incident_token(incident_id)


def incident_token(incident_id: IncidentId) -> str:
    """Return the incident's id as it stands in an order id.

    Up to 13 lower-case letters and digits stand for themselves; anything else becomes its 64-bit
    FNV-1a hash, so that no form of incident id can stop a close.
    """
    if _is_token(incident_id):
        return incident_id
    value = 0xCBF29CE484222325
    for byte in incident_id.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return base36(value)


def _is_token(text: str) -> bool:
    return 0 < len(text) <= MAX_TOKEN_LENGTH and not text.strip(DIGITS)


def _is_number(text: str) -> bool:
    """True for the one way in which a number is written: no leading zeros, not empty."""
    return not text.strip(DIGITS) and (text == "0" or text[:1] not in ("", "0"))


def base36(number: int) -> str:
    """Write a number >= 0 in base 36, in lower case."""
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
    return text or "0"
