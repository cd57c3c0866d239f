"""Reads single fields out of untrusted JSON, for every adapter.

Owns the rule that missing is never zero: a field that is absent, null, empty, not a number or
not finite raises `Malformed` naming the answer and the field. Quantities become `Decimal` from
the venue's own text and never pass through a float. Knows no venue and no network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from errors import Malformed

Fields = Mapping[str, object]

_DECIMAL_TEXT = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?", re.ASCII)
"""What venues write for a number; `Decimal` alone also takes `NaN`, `1_000`, foreign digits."""

MOST_DIGITS = 20
"""No time is longer, in any unit; what is cannot be made a number of seconds."""


def as_fields(value: object, what: str) -> Fields:
    """Take `value` as a JSON object; raises Malformed when it is anything else."""
    if not isinstance(value, Mapping):
        raise Malformed(f"{what}: expected an object, got {_kind(value)}")
    return value


def as_rows(value: object, what: str) -> tuple[Fields, ...]:
    """Take `value` as a JSON array of objects; raises Malformed when it is anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Malformed(f"{what}: expected a list, got {_kind(value)}")
    return tuple(as_fields(row, what) for row in value)


def required_rows(fields: Fields, name: str, what: str) -> tuple[Fields, ...]:
    """The array of objects under `name`, which may be empty but must be there."""
    if name not in fields:
        raise Malformed(f"{what}: {name} is missing")
    return as_rows(fields[name], f"{what}.{name}")


def required_text(fields: Fields, name: str, what: str) -> str:
    """The text (or integer id) under `name`, never empty."""
    text = optional_text(fields, name, what)
    if not text:
        raise Malformed(f"{what}: {name} is {_absence(fields, name)}")
    return text


def optional_text(fields: Fields, name: str, what: str) -> str:
    """The text (or integer id) under `name`; empty when it is absent, null or empty."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Malformed(f"{what}: {name} is {_kind(value)}, not text")
    return str(value)


def required_decimal(fields: Fields, name: str, what: str) -> Decimal:
    """The number under `name`, exactly as the venue wrote it; a JSON float is refused."""
    value = fields.get(name)
    if isinstance(value, str) and _DECIMAL_TEXT.fullmatch(value):
        return Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    raise Malformed(f"{what}: {name} is {_absence(fields, name)}")


def optional_decimal(fields: Fields, name: str, what: str) -> Decimal | None:
    """The number under `name`; None when the venue left it out. Nonsense is still Malformed."""
    if fields.get(name) is None or fields.get(name) == "":
        return None
    return required_decimal(fields, name, what)


def required_number(fields: Fields, name: str, what: str) -> float:
    """The finite number under `name`, for analytics; text, integer or float."""
    value = fields.get(name)
    if isinstance(value, float) and math.isfinite(value):
        return value
    number = float(required_decimal(fields, name, what))
    if not math.isfinite(number):
        raise Malformed(f"{what}: {name} is too large")
    return number


def required_integer(fields: Fields, name: str, what: str) -> int:
    """The whole number under `name` (a time in ms, a counter)."""
    number = required_decimal(fields, name, what)
    if number != number.to_integral_value():
        raise Malformed(f"{what}: {name} is not a whole number")
    return int(number)


def required_flag(fields: Fields, name: str, what: str) -> bool:
    """The boolean under `name`; some answers write it as the text `true` or `false`."""
    value = fields.get(name)
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise Malformed(f"{what}: {name} is {_absence(fields, name)}")


def changes_of(
    rows: Iterable[Fields], *, names: Sequence[str], told_in: str
) -> tuple[tuple[str, float], ...]:
    """When each row was last changed, in seconds of the venue's clock; the `names` tell rows apart.

    A row that does not say so, or says 0, is left out: this only helps to know an old answer.
    """
    found: list[tuple[str, float]] = []
    for row in rows:
        told = str(row.get(told_in) or "")
        if told.isascii() and told.isdigit() and len(told) < MOST_DIGITS and int(told) > 0:
            name = " ".join(str(row.get(part)) for part in names)
            found.append((name, int(told) / 1000))
    return tuple(found)


def plain_text(quantity: Decimal) -> str:
    """Write a quantity the way venues read it: no exponent, no trailing zeros, no rounding.

    Trailing zeros count as precision on some venues: `5001.00` is refused at a step of 1.
    """
    text = format(quantity, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _absence(fields: Fields, name: str) -> str:
    """Say what is wrong with a field without repeating its value."""
    if name not in fields:
        return "missing"
    value = fields[name]
    if value is None:
        return "null"
    if value == "":
        return "empty"
    return f"not usable ({_kind(value)})"


def _kind(value: object) -> str:
    """The JSON kind of a value, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    return "an object" if isinstance(value, Mapping) else "a list"
