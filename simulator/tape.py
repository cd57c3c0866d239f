"""Price tapes: what every symbol cost at every moment, for driving a simulated exchange.

Owns the value `Tape` and the rule by which a candle becomes a path. Refuses to know accounts,
orders, files and clocks: `candles.py` reads tapes from files, `scenarios.py` invents them.

Rules:
- A path is a polyline: corner points (time, price) joined by straight lines. Two corners at one
  time are a jump, and the later one counts from that time on.
- Inside a candle nobody knows the true path. It is taken as open -> low -> high -> close when the
  candle closed at or above its open, otherwise open -> high -> low -> close, each leg a third of
  the bar. That is the conservative choice: the adverse extreme of whoever was right at the close
  comes first, and both extremes are always visited.
- Between the end of one bar and a later bar's start the close is held: a hole in the data moves
  no price.
- Before a symbol's first corner its first price holds, after the last one its last.
"""

from __future__ import annotations

import math
import operator
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from errors import KillSwitchError


class TapeError(KillSwitchError):
    """A tape cannot be read or made; the message is one line naming the cause and the remedy."""


class Bar(NamedTuple):
    """One candle: its start in UTC seconds and its four prices."""

    start: float
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePath:
    """The price of one symbol over time; `bars` is how many candles or steps it was made from.

    `times` (UTC seconds, never decreasing) and `prices` are arrays because a three-day tape of a
    hundred symbols has millions of corners; nothing writes to them after construction.
    """

    symbol: str
    times: array[float]
    prices: array[float]
    bars: int

    def __post_init__(self) -> None:
        if not self.times or len(self.times) != len(self.prices):
            raise TapeError(f"{self.symbol}: a path needs as many times as prices, at least one")
        if not (math.isfinite(sum(self.prices)) and min(self.prices) > 0):
            raise TapeError(f"{self.symbol}: every price of a path is finite and above 0")
        is_sorted = all(map(operator.le, self.times, self.times[1:]))
        if not (math.isfinite(sum(self.times)) and is_sorted):
            raise TapeError(f"{self.symbol}: the times of a path are finite and never go back")

    @staticmethod
    def of_points(symbol: str, points: Iterable[tuple[float, float]]) -> PricePath:
        """Join (time, price) points, ordered by time, with straight lines. Raises TapeError."""
        times, prices = array("d"), array("d")
        for time, price in points:
            times.append(time)
            prices.append(price)
        return PricePath(symbol=symbol, times=times, prices=prices, bars=max(1, len(times) - 1))

    @staticmethod
    def of_bars(symbol: str, bars: Sequence[Bar], *, bar_s: float) -> PricePath:
        """Draw candles of `bar_s` seconds, ordered by start and not overlapping, as one path.

        Raises TapeError when there is no bar or the bars are out of order.
        """
        times, prices = array("d"), array("d")
        third_s = bar_s / 3.0
        for bar in bars:
            if times and bar.start > times[-1]:
                times.append(bar.start)
                prices.append(prices[-1])
            rose = bar.close >= bar.open
            times.extend(
                (bar.start, bar.start + third_s, bar.start + 2.0 * third_s, bar.start + bar_s)
            )
            first, second = (bar.low, bar.high) if rose else (bar.high, bar.low)
            prices.extend((bar.open, first, second, bar.close))
        return PricePath(symbol=symbol, times=times, prices=prices, bars=len(bars))

    def price_at(self, t: float) -> float:
        """The price at `t` (UTC seconds): on the line, or the nearest end outside the path."""
        after = bisect_right(self.times, t)
        if after == 0:
            return self.prices[0]
        price = self.prices[after - 1]
        if after == len(self.times):
            return price
        began_at = self.times[after - 1]
        share = (t - began_at) / (self.times[after] - began_at)
        return price + (self.prices[after] - price) * share

    def high_low_between(self, begin: float, end: float) -> tuple[float, float]:
        """The highest and lowest price from `begin` to `end`, both included."""
        visited = self.prices[bisect_right(self.times, begin) : bisect_right(self.times, end)]
        visited.append(self.price_at(begin))
        visited.append(self.price_at(end))
        return max(visited), min(visited)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """The prices of several symbols from `starts_at` to `ends_at` (UTC seconds).

    Deterministic: the same tape gives the same price for the same time, in every process.
    """

    paths: Mapping[str, PricePath]
    starts_at: float
    ends_at: float

    def __post_init__(self) -> None:
        if not self.paths:
            raise TapeError("a tape holds at least one symbol")
        if not self.starts_at < self.ends_at:
            raise TapeError("a tape ends after it starts")

    @staticmethod
    def of(
        paths: Iterable[PricePath], *, begin: float | None = None, end: float | None = None
    ) -> Tape:
        """Put paths together, ordered by symbol; `begin` and `end` can only shorten the span.

        Raises TapeError for no path, a symbol given twice, or an empty span.
        """
        ordered = sorted(paths, key=lambda path: path.symbol)
        by_symbol = {path.symbol: path for path in ordered}
        if not ordered:
            raise TapeError("a tape holds at least one symbol")
        if len(by_symbol) != len(ordered):
            raise TapeError("a tape holds each symbol once")
        first = min(path.times[0] for path in ordered)
        last = max(path.times[-1] for path in ordered)
        return Tape(
            paths=by_symbol,
            starts_at=first if begin is None else max(first, begin),
            ends_at=last if end is None else min(last, end),
        )

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols, ordered by name."""
        return tuple(self.paths)

    def prices_at(self, t: float) -> dict[str, float]:
        """The last known price of every symbol at `t` (UTC seconds).

        Before a symbol's first bar this is its first open, after its last bar its last close.
        """
        return {symbol: path.price_at(t) for symbol, path in self.paths.items()}

    def price_at(self, symbol: str, t: float) -> float:
        """The last known price of one symbol at `t`. Raises KeyError for an unknown symbol."""
        return self.paths[symbol].price_at(t)

    def high_low_between(self, symbol: str, begin: float, end: float) -> tuple[float, float]:
        """The extremes of one symbol from `begin` to `end`. Raises KeyError when unknown."""
        return self.paths[symbol].high_low_between(begin, end)

    def bars(self, symbol: str) -> int:
        """How many bars or steps the symbol was made from. Raises KeyError when unknown."""
        return self.paths[symbol].bars
