"""Draws the account of a story: its markets, positions and resting orders, as a seed file has them.

About 10,000 of equity. The side that is to lose has enough notional to lose it in a move of a few
per cent.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from model import Side
from simulator.markets import CATALOGUE, Market, default_market

PRICES = {
    "BTCUSDT": "60000", "ETHUSDT": "3000", "BNBUSDT": "500", "SOLUSDT": "100", "XRPUSDT": "0.5",
    "DOGEUSDT": "0.1", "ADAUSDT": "0.4", "AVAXUSDT": "30", "LINKUSDT": "15", "LTCUSDT": "80",
    "DOTUSDT": "6", "TRXUSDT": "0.1", "BCHUSDT": "400",
}  # fmt: skip
MORE = tuple(f"C{number:02d}USDT" for number in range(47))
EQUITY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One account: a seed for the exchange, the marks, and what is where."""

    seed: Mapping[str, Any]
    marks: Mapping[str, Decimal]
    markets: tuple[Market, ...]
    rows: tuple[tuple[str, Side, Decimal], ...]
    is_hedged: bool

    def market(self, symbol: str) -> Market:
        """The market of a symbol."""
        return next(market for market in self.markets if market.symbol == symbol)

    def notional(self, side: Side) -> float:
        """What one side is worth at the start."""
        return sum(float(q * self.marks[s]) for s, held, q in self.rows if held is side)


def draw_book(rng: random.Random) -> Book:
    """An account with 1 to 60 positions."""
    count = rng.choice(
        (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 8, 12, 20, 60) if rng.random() < 0.5 else (1, 2, 3, 4, 5, 6)
    )
    is_hedged = rng.random() < 0.4
    symbols = rng.sample([*PRICES, *MORE] if count > 12 else [*PRICES, *MORE[:2]], count)
    marks = {
        symbol: Decimal(PRICES.get(symbol, rng.choice(("0.02", "1.5", "40"))))
        for symbol in (*PRICES, *MORE)
    }
    known = {market.symbol: market for market in CATALOGUE}
    markets = [known.get(s) or default_market(s, price=marks[s]) for s in (*PRICES, *MORE[:2])]
    markets += [default_market(s, price=marks[s]) for s in symbols if s in MORE[2:]]
    positions: list[dict[str, Any]] = []
    rows: list[tuple[str, Side, Decimal]] = []
    changes: list[dict[str, Any]] = []
    leaning = rng.choice((0.0, 1.0, 0.5, 0.3, 0.7))
    total = rng.uniform(0.8, 3.0) * EQUITY
    shares = [rng.uniform(0.3, 1.0) for _ in symbols]
    for symbol, share in zip(symbols, shares, strict=True):
        market = next(m for m in markets if m.symbol == symbol)
        value = total * share / sum(shares)
        if rng.random() < 0.08:
            value = rng.uniform(1.0, 30.0)
        quantity = _floor(Decimal(value) / marks[symbol], market.step)
        if quantity < market.min_quantity:
            quantity = market.min_quantity
        if rng.random() < 0.2 and quantity >= 4 * market.step:
            most = _floor(quantity / rng.choice((2, 3)), market.step)
            changes.append({"symbol": symbol, "market_max": str(most)})
            markets[markets.index(market)] = replace(market, market_max=most)
        side = Side.LONG if rng.random() < leaning else Side.SHORT
        sides = [side, side.opposite] if is_hedged and rng.random() < 0.2 else [side]
        mode = "isolated" if rng.random() < 0.15 else "cross"
        for number, held in enumerate(sides):
            part = quantity if number == 0 else max(_floor(quantity / 3, market.step), market.step)
            rows.append((symbol, held, part))
            positions.append(
                {
                    "symbol": symbol,
                    "side": held.value,
                    "quantity": str(part),
                    "entry_price": str(marks[symbol]),
                    "margin_mode": mode,
                    "leverage": rng.choice((5, 10, 20)),
                }
            )
    orders = [order for row in rows for order in draw_orders(rng, row, marks, markets, is_hedged)]
    seed = {
        "position_mode": "hedge" if is_hedged else "one_way",
        "wallet": {"USDT": EQUITY},
        "prices": {symbol: str(marks[symbol]) for symbol in (*PRICES, *MORE[:2])},
        "markets": [
            *(
                {"symbol": m.symbol, "price": str(marks[m.symbol]), "depth": None}
                for m in markets
                if m.symbol in MORE
            ),
            *changes,
        ],
        "positions": positions,
        "orders": orders,
    }
    return Book(
        seed=seed, marks=marks, markets=tuple(markets), rows=tuple(rows), is_hedged=is_hedged
    )


def draw_orders(
    rng: random.Random,
    row: tuple[str, Side, Decimal],
    marks: Mapping[str, Decimal],
    markets: list[Market],
    is_hedged: bool,
) -> list[dict[str, Any]]:
    """What rests beside a position: take-profits, stops, entries; most stories have few."""
    symbol, side, quantity = row
    market = next(m for m in markets if m.symbol == symbol)
    mark = marks[symbol]
    closing, adding = side.closing_order.value, side.opposite.closing_order.value
    leg = {"position_side": side.value} if is_hedged else {}
    sign = side.sign
    near = Decimal(rng.choice((4, 30, 30)))

    def away(percent: Decimal) -> str:
        price = mark * (1 + percent / 100)
        return str((price / market.tick).to_integral_value(ROUND_DOWN) * market.tick)

    made: list[dict[str, Any]] = []
    if rng.random() < 0.15:
        reduce = {} if is_hedged else {"reduce_only": True}
        made.append(
            {
                "symbol": symbol,
                "side": closing,
                "type": "LIMIT",
                "quantity": str(quantity),
                "price": away(sign * near),
                **reduce,
                **leg,
            }
        )
    if rng.random() < 0.15:
        made.append(
            {
                "symbol": symbol,
                "side": closing,
                "type": "STOP_MARKET",
                "close_position": True,
                "trigger_price": away(-sign * near),
                **leg,
            }
        )
    whole = min(quantity, market.market_max)
    if rng.random() < 0.1 and not is_hedged and whole * mark > 2 * market.min_notional:
        made.append(
            {
                "symbol": symbol,
                "side": closing,
                "type": "STOP_MARKET",
                "quantity": str(min(quantity * rng.choice((1, 2)), market.market_max)),
                "trigger_price": away(-sign * Decimal(30)),
            }
        )
    if rng.random() < 0.15 and quantity * mark > 60:
        kind = rng.choice(
            (
                {"type": "LIMIT", "price": away(-sign * near)},
                {"type": "STOP_MARKET", "trigger_price": away(sign * near)},
            )
        )
        value = max(quantity / 10, market.min_notional * 2 / mark)
        amount = _floor(value, market.step) + market.step
        made.append({"symbol": symbol, "side": adding, "quantity": str(amount), **kind, **leg})
    return made


def _floor(quantity: Decimal, step: Decimal) -> Decimal:
    return (quantity / step).to_integral_value(rounding=ROUND_DOWN) * step
