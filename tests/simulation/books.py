"""Draws the account of a story: its markets, positions and resting orders, as a seed file has them.

About 10,000 of equity. The side that is to lose has enough notional to lose it in a move of a few
per cent.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    """One account: a seed for the exchange, the marks, and what is where.

    `coins` are what its wallet holds beside the stable one, by asset.
    """

    seed: Mapping[str, Any]
    marks: Mapping[str, Decimal]
    markets: tuple[Market, ...]
    rows: tuple[tuple[str, Side, Decimal], ...]
    is_hedged: bool
    coins: Mapping[str, Decimal] = field(default_factory=dict)

    def market(self, symbol: str) -> Market:
        """The market of a symbol."""
        return next(market for market in self.markets if market.symbol == symbol)

    def notional(self, side: Side) -> float:
        """What one side is worth at the start."""
        return sum(float(q * self.marks[s]) for s, held, q in self.rows if held is side)


@dataclass(slots=True)
class _Draft:
    """A book while it is drawn; `changes` are markets with another maximum than their own."""

    marks: Mapping[str, Decimal]
    markets: dict[str, Market]
    is_hedged: bool
    rows: list[tuple[str, Side, Decimal]] = field(default_factory=list)
    positions: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)


def draw_book(rng: random.Random) -> Book:
    """An account with 1 to 60 positions."""
    few = (1, 2, 3, 4, 5, 6)
    some = (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 8, 12, 20, 60)
    count = rng.choice(some if rng.random() < 0.5 else few)
    is_hedged = rng.random() < 0.4
    symbols = rng.sample([*PRICES, *MORE] if count > 12 else [*PRICES, *MORE[:2]], count)
    marks = {
        symbol: Decimal(PRICES.get(symbol, rng.choice(("0.02", "1.5", "40"))))
        for symbol in (*PRICES, *MORE)
    }
    listed = (*PRICES, *MORE[:2], *(symbol for symbol in symbols if symbol in MORE[2:]))
    known = {market.symbol: market for market in CATALOGUE}
    markets = {s: known.get(s) or default_market(s, price=marks[s]) for s in listed}
    draft = _Draft(marks=marks, markets=markets, is_hedged=is_hedged)
    leaning = rng.choice((0.0, 1.0, 0.5, 0.3, 0.7))
    total = rng.uniform(0.8, 3.0) * EQUITY
    shares = [rng.uniform(0.3, 1.0) for _ in symbols]
    for symbol, share in zip(symbols, shares, strict=True):
        _draw_rows(rng, draft, symbol, value=total * share / sum(shares), leaning=leaning)
    orders = [order for row in draft.rows for order in draw_orders(rng, draft, row)]
    invented = [
        {"symbol": symbol, "price": str(marks[symbol]), "depth": None}
        for symbol in markets
        if symbol in MORE
    ]
    seed = {
        "position_mode": "hedge" if is_hedged else "one_way",
        "wallet": {"USDT": EQUITY},
        "prices": {symbol: str(marks[symbol]) for symbol in (*PRICES, *MORE[:2])},
        "markets": [*invented, *draft.changes],
        "positions": draft.positions,
        "orders": orders,
    }
    return Book(
        seed=seed,
        marks=marks,
        markets=tuple(draft.markets.values()),
        rows=tuple(draft.rows),
        is_hedged=is_hedged,
    )


def _draw_rows(
    rng: random.Random, draft: _Draft, symbol: str, *, value: float, leaning: float
) -> None:
    """One position, now and then dust or over the market's maximum; hedged ones may have two."""
    market = draft.markets[symbol]
    if rng.random() < 0.08:
        value = rng.uniform(1.0, 30.0)
    quantity = max(_floor(Decimal(value) / draft.marks[symbol], market.step), market.min_quantity)
    if rng.random() < 0.2 and quantity >= 4 * market.step:
        most = _floor(quantity / rng.choice((2, 3)), market.step)
        draft.changes.append({"symbol": symbol, "market_max": str(most)})
        draft.markets[symbol] = replace(market, market_max=most)
    side = Side.LONG if rng.random() < leaning else Side.SHORT
    sides = [side, side.opposite] if draft.is_hedged and rng.random() < 0.2 else [side]
    mode = "isolated" if rng.random() < 0.15 else "cross"
    for number, held in enumerate(sides):
        part = quantity if number == 0 else max(_floor(quantity / 3, market.step), market.step)
        draft.rows.append((symbol, held, part))
        draft.positions.append(
            {
                "symbol": symbol,
                "side": held.value,
                "quantity": str(part),
                "entry_price": str(draft.marks[symbol]),
                "margin_mode": mode,
                "leverage": rng.choice((5, 10, 20)),
            }
        )


def draw_orders(
    rng: random.Random, draft: _Draft, row: tuple[str, Side, Decimal]
) -> list[dict[str, Any]]:
    """What rests beside a position: take-profits, stops, entries; most stories have few."""
    is_hedged = draft.is_hedged
    symbol, side, quantity = row
    market, mark = draft.markets[symbol], draft.marks[symbol]
    closing, adding = side.closing_order.value, side.opposite.closing_order.value
    leg = {"position_side": side.value} if is_hedged else {}
    sign = side.sign
    near = Decimal(rng.choice((4, 30, 30)))

    def away(percent: Decimal) -> str:
        price = mark * (1 + percent / 100)
        return str((price / market.tick).to_integral_value(ROUND_DOWN) * market.tick)

    made: list[dict[str, Any]] = []

    def rest(order_side: str, kind: str, **order: Any) -> None:
        made.append({"symbol": symbol, "side": order_side, "type": kind, **order, **leg})

    if rng.random() < 0.15:
        reduce = {} if is_hedged else {"reduce_only": True}
        rest(closing, "LIMIT", quantity=str(quantity), price=away(sign * near), **reduce)
    if rng.random() < 0.15:
        rest(closing, "STOP_MARKET", close_position=True, trigger_price=away(-sign * near))
    whole = min(quantity, market.market_max)
    if rng.random() < 0.1 and not is_hedged and whole * mark > 2 * market.min_notional:
        amount = min(quantity * rng.choice((1, 2)), market.market_max)
        rest(closing, "STOP_MARKET", quantity=str(amount), trigger_price=away(-sign * Decimal(30)))
    if rng.random() < 0.15 and quantity * mark > 60:
        value = max(quantity / 10, market.min_notional * 2 / mark)
        amount = _floor(value, market.step) + market.step
        if rng.choice((True, False)):
            rest(adding, "LIMIT", quantity=str(amount), price=away(-sign * near))
        elif amount <= market.market_max:
            rest(adding, "STOP_MARKET", quantity=str(amount), trigger_price=away(sign * near))
    return made


def _floor(quantity: Decimal, step: Decimal) -> Decimal:
    return (quantity / step).to_integral_value(rounding=ROUND_DOWN) * step
