"""The words of one value in config.yaml: windows, fractions, symbols, names of variables.

Owns turning a single value into its typed form, or into "what is wrong -> what to write" raised
as `WrongValue`. Knows no file, no key and no other value. A remedy is a value the operator can
copy: 4.5 was meant as 0.045, `10s` as 10.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from pydantic_core import PydanticCustomError

from model import Asset, Symbol
from redis_place import BadRedisUrl, parse_redis_url

LONGEST_WINDOW_S = 86_400.0
"""Raw readings are kept for 24 h (behaviour.md section 13); no peak can be older."""
_SHORTEST_WINDOW_S = 60.0
_UNIT_S = {"": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_WINDOW = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(m|h|d|)")
_NUMBER_IN_TEXT = re.compile(r"\s*([-+]?[0-9]{1,12}(?:[.,][0-9]{1,12})?)\s*([A-Za-z]*|%)\s*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_ASSET = re.compile(r"[A-Z0-9]{2,20}")
_VENUE_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# `localhost` is left out on purpose: what it resolves to is somebody else's decision.
_OCTET = r"(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_LOOPBACK = re.compile(rf"https?://(127(?:\.{_OCTET}){{3}}|\[::1\])(?::([1-9][0-9]{{0,4}}))?/?")

_UNIFIED = re.compile(r"([^\W_]+)/([^\W_]+)(?::([^\W_]+)(?:-([0-9]{6}))?)?")
_VENUE_SYMBOL = re.compile(r"[^\W_]+(?:_[0-9]{6})?")
_STABLES = ("USDT", "USDC", "FDUSD", "BUSD")
_QUOTES = (*_STABLES, "USD1", "USD", "BTC", "ETH")

Kind = TypeVar("Kind", bound=StrEnum)


def wrong_value(wrong: str, remedy: str) -> PydanticCustomError:
    """The exception that carries our own words through pydantic."""
    return PydanticCustomError("wrong_value", "{wrong}", {"wrong": wrong, "remedy": remedy})


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, None when nothing is close."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)
    return found[0] if found else None


def number_text(number: float) -> str:
    """A number the way a person writes it: 10, 0.045."""
    return f"{number:.10g}"


def _number_meant(value: object) -> tuple[float, str] | None:
    """The number and unit in text such as `10s`, `4.5%` or `0,045`; None when there is none."""
    found = _NUMBER_IN_TEXT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    return float(found[1].replace(",", ".")), found[2]


def read_number(value: object, *, least: float, most: float, unit: str, example: str) -> float:
    """A finite number within its bounds; `unit` and `example` word the remedy."""
    if value is None:
        raise wrong_value("has no value", f"write {unit}, e.g. {example}, or remove the line")
    if isinstance(value, bool) or not isinstance(value, int | float):
        meant = _number_meant(value)
        # `10m` is not 10 seconds: only the unit that the key has anyway may be left out.
        is_usable = (
            meant is not None
            and least <= meant[0] <= most
            and unit.startswith(meant[1].lower())
            and meant[1].lower() in ("", "s", "sec", "min")
        )
        written = number_text(meant[0]) if meant is not None and is_usable else example
        raise wrong_value("is not a number", f"write {unit} as a plain number, e.g. {written}")
    if not math.isfinite(value):
        raise wrong_value("is not a finite number", f"write {unit}, e.g. {example}")
    if value < least or value > most:
        bounds = f"lies outside {number_text(least)} to {number_text(most)}"
        raise wrong_value(bounds, f"write {unit}, e.g. {example}")
    return float(value)


def read_count(value: object, *, most: int, unit: str, example: str, least: int = 1) -> int:
    """A whole number of at least 1, or of at least `least`."""
    number = read_number(value, least=least, most=most, unit=unit, example=example)
    if number != int(number):
        raise wrong_value("is not a whole number", f"write {unit}, e.g. {example}")
    return int(number)


def read_fraction(
    value: object, *, example: str, may_be_zero: bool = False, may_be_one: bool = False
) -> float:
    """A fraction between 0 and 1; percent and negative numbers get the fraction they meant."""
    if value is None:
        raise wrong_value("has no value", f"write a fraction, e.g. {example}, or remove the line")
    if isinstance(value, bool) or not isinstance(value, int | float):
        meant = _number_meant(value)
        raise wrong_value("is not a number", f"write a fraction: {_fraction_meant(meant, example)}")
    if not math.isfinite(value):
        raise wrong_value("is not a finite number", f"write a fraction, e.g. {example}")
    if value < 0:
        meant_text = _fraction_meant((-value, ""), example)
        raise wrong_value("is negative; fractions are positive", f"write {meant_text}")
    if value == 0 and not may_be_zero:
        raise wrong_value("would always be reached", f"write a fraction above 0, e.g. {example}")
    if value > 1 or (value == 1 and not may_be_one):
        meant_text = _fraction_meant((float(value), ""), example)
        raise wrong_value("is percent, but this is a fraction", f"write {meant_text}")
    return float(value)


def _fraction_meant(meant: tuple[float, str] | None, example: str) -> str:
    """The fraction that was probably meant: 4.5 and `4.5%` are 0.045."""
    if meant is None:
        return f"e.g. {example}"
    number, unit = abs(meant[0]), meant[1]
    fraction = number / 100 if unit == "%" or number >= 1 else number
    return number_text(fraction) if 0 < fraction < 1 else f"e.g. {example}"


def read_flag(value: object) -> bool:
    """True or false, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise wrong_value("is neither true nor false", "write true or false")
    return value


def read_text(value: object, *, example: str) -> str:
    """A non-empty text."""
    if not isinstance(value, str) or not value.strip():
        raise wrong_value("is not a text", f"write e.g. {example}")
    return value.strip()


def read_kind(value: object, *, kinds: Iterable[Kind]) -> Kind:
    """One word of an enumeration; capitals do not matter."""
    kinds = tuple(kinds)
    for kind in kinds:
        if isinstance(value, str) and value.strip().upper() == kind.value:
            return kind
    choices = [kind.value for kind in kinds]
    lowered = {choice.lower(): choice for choice in choices}
    close = nearest(value, lowered) if isinstance(value, str) else None
    if close is not None:
        raise wrong_value("is not known", f"did you mean {lowered[close]}?")
    raise wrong_value("is not known", f"write one of {', '.join(choices)}")


def read_switch(value: object) -> bool | None:
    """`enabled`: True, False, or None for auto."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() == "auto":
        return None
    raise wrong_value("is not known", "write auto, true or false")


def window_s(value: object) -> float:
    """Seconds of a window written `15m`, `1h`, `1d` or as minutes; from 1 minute to 1 day."""
    text = number_text(value) if isinstance(value, int | float) else value
    found = _WINDOW.fullmatch(text) if isinstance(text, str) else None
    if found is None or isinstance(value, bool):
        raise wrong_value("is not a window", "write 15m, 1h, 4h, 1d or a number of minutes")
    seconds = float(found[1]) * _UNIT_S[found[2]]
    if seconds > LONGEST_WINDOW_S:
        raise wrong_value("is a window longer than the 24 h of kept readings", "write 1d at most")
    if seconds < _SHORTEST_WINDOW_S:
        raise wrong_value("is a window shorter than a minute", "write 1m at least")
    return seconds


def window_key(value: str) -> str:
    """A window as the key of a thresholds map: checked, and kept as written."""
    window_s(value)
    return value


def read_symbol(value: object) -> Symbol:
    """The venue's id of a market written `BTCUSDT`, `BTC/USDT` or `BTC/USDT:USDT`.

    A bare coin is refused: it would look protected and match nothing.
    """
    text = value.strip().upper() if isinstance(value, str) else ""
    unified = _UNIFIED.fullmatch(text)
    if unified is not None:
        base, quote, settled_in, delivery = unified.groups()
        if settled_in not in (None, quote):
            remedy = f"write {base}/USDT:USDT"
            raise wrong_value("is a coin-margined market, which is not watched", remedy)
        return Symbol(f"{base}{quote}" + (f"_{delivery}" if delivery else ""))
    plain = text.partition("_")[0]
    if _VENUE_SYMBOL.fullmatch(text) and any(
        plain.endswith(quote) and plain != quote for quote in _QUOTES
    ):
        return Symbol(text)
    base = re.sub(r"[\W_].*", "", text)
    example = f"{base}/USDT:USDT" if base else "BTC/USDT:USDT"
    raise wrong_value("is not a market", f"write it like BTCUSDT or {example}")


def read_asset(value: object) -> Asset:
    """A coin such as USDT."""
    text = value.strip().upper() if isinstance(value, str) else ""
    if not _ASSET.fullmatch(text):
        raise wrong_value("is not a coin", "write it like USDT")
    return Asset(text)


def read_coin(value: object) -> Symbol:
    """A coin of a spot account such as BTC, which stands for all of its markets.

    A market is refused: it would look protected and match nothing. Coins that merely end like one
    (WBTC, STETH) are none.
    """
    asset = read_asset(value)
    base = next((asset.removesuffix(quote) for quote in _STABLES if asset.endswith(quote)), "")
    if base:
        raise wrong_value("is a market, and a spot account holds coins", f"write {base}")
    return Symbol(asset)


def read_variable_name(value: object) -> str:
    """The name of an environment variable; a secret written in its place is recognised."""
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value) or _is_dense(value):
        raise wrong_value(
            "is not the name of an environment variable",
            "write a name such as BINANCE_API_KEY; a secret that stood here must be replaced",
        )
    return value


def _is_dense(text: str) -> bool:
    """True for a long run of capitals and digits, as a key has and a name has not."""
    return any(len(run) >= 16 and re.search("[0-9]", run) for run in text.split("_"))


def read_simulator_url(value: object) -> str:
    """An address on this very machine, literally; without the slash at its end."""
    found = _LOOPBACK.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[2] or 80) > 65_535:
        raise wrong_value(
            "is not a literal loopback address", "write e.g. http://127.0.0.1:8080 or remove it"
        )
    return found[0].rstrip("/")


def read_redis_url(value: object) -> str:
    """Where a Redis is, without the login: the file is no place for a password."""
    text = read_text(value, example="redis://127.0.0.1:6379")
    if "@" in text:
        remedy = "write the whole URL into REDIS_URL in .env; replace a password that stood here"
        raise wrong_value("holds a login", remedy)
    try:
        parse_redis_url(text)
    except BadRedisUrl as bad:
        raise wrong_value(bad.wrong, bad.remedy) from None
    return text


def is_venue_name(text: str) -> bool:
    """True for a name that can stand in a scope: small letters, digits, single underscores."""
    return _VENUE_NAME.fullmatch(text) is not None
