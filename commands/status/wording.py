"""How commands write times, spans, money and fractions for a person. Machines get plain numbers."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def say_money(amount: float, *, signed: bool = False) -> str:
    """Quote money with two decimals, never `-0.00`."""
    rounded = round(amount, 2) + 0.0
    return f"{rounded:+,.2f}" if signed else f"{rounded:,.2f}"


def say_percent(fraction: float) -> str:
    """A fraction in per cent with two decimals, without the sign: 0.045 is `4.50`."""
    return f"{fraction * 100:.2f}"


def say_span(seconds: float, *, is_short: bool = False) -> str:
    """A span in its two largest units, rounded down: `4 s`, `29 min 50 s`, `2 h 5 min`, `3 d 4 h`.

    The largest alone when `is_short`. Negative spans, as after a clock was set back, keep their
    sign.
    """
    sign, whole = ("-", int(-seconds)) if seconds < 0 else ("", int(seconds))
    for unit_s, unit, part_s, part in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", _MINUTE_S, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{sign}{whole // unit_s} {unit}" + (
                f" {rest} {part}" if rest and not is_short else ""
            )
    return f"{sign if whole else ''}{whole} s"


def say_time(ts: float, *, now: float) -> str:
    """A moment in UTC: the time alone on the day of `now`, with its date on any other."""
    at, today = (datetime.fromtimestamp(seconds, UTC) for seconds in (ts, now))
    return f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%m-%d %H:%M}"
