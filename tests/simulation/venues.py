"""Draws at whose venue the account of a story is, and makes it one that can be held there.

Half of all accounts are at Binance; what is drawn for them is what it was before there were other
venues. A venue's own limits may forbid an order that another takes: then it does not rest there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from model import Side
from tests.conventions import BINANCE, Conventions
from tests.other_conventions import BITGET, BITGET_UNIFIED, BYBIT
from tests.simulation.books import Book

DRAWN = (BINANCE, BINANCE, BINANCE, BINANCE, BYBIT, BYBIT, BITGET, BITGET_UNIFIED)
MIXED = 0.35
"""Of the accounts whose symbols have each their own mode, the share that makes use of it."""
LOWEST = Decimal("0.6")
"""The share of its price to which a market falls in no story."""
Entry = Mapping[str, Any]


def draw_ways(rng: random.Random) -> Conventions:
    """Whose venue it is."""
    return rng.choice(DRAWN)


def settle(rng: random.Random, book: Book, ways: Conventions) -> Book:
    """The same account at another venue."""
    if ways is BINANCE:
        return book
    positions: Sequence[Entry] = book.seed["positions"]
    orders = [order for order in book.seed["orders"] if _is_large_enough(order, book)]
    if book.coins:
        positions = [{**entry, "margin_mode": "cross"} for entry in positions]
    if ways is BYBIT:
        margin_mode = positions[0]["margin_mode"]
        positions = [{**entry, "margin_mode": margin_mode} for entry in positions]
    if ways.has_modes_by_symbol and rng.random() < MIXED:
        positions, orders = _mix_modes(rng, book, positions, orders)
    seed = {
        **book.seed,
        "unified": ways is BITGET_UNIFIED,
        "multi_assets": bool(book.coins),
        "markets": [entry for entry in book.seed["markets"] if _can_be_closed(entry, book)],
        "positions": positions,
        "orders": orders,
    }
    return replace(book, seed=seed)


def _is_large_enough(order: Entry, book: Book) -> bool:
    """Whether it reaches the minimum value, of which reducers are not exempt here."""
    if "quantity" not in order:
        return True
    symbol = order["symbol"]
    price = Decimal(order.get("price", book.marks[symbol]))
    return Decimal(order["quantity"]) * price >= book.market(symbol).min_notional


def _can_be_closed(market: Entry, book: Book) -> bool:
    """Whether its largest market order stays above the minimum value when prices have fallen."""
    symbol = market["symbol"]
    largest = Decimal(market.get("market_max", "Infinity"))
    return largest * book.marks[symbol] * LOWEST >= book.market(symbol).min_notional


def _mix_modes(
    rng: random.Random, book: Book, positions: Sequence[Entry], orders: Sequence[Entry]
) -> tuple[list[Entry], list[Entry]]:
    """Let some symbols have the other mode; one that holds two legs keeps its own."""
    held = Counter(symbol for symbol, _, _ in book.rows)
    sides = {symbol: side for symbol, side, _ in book.rows}
    own = {symbol for symbol in sorted(held) if held[symbol] == 1 and rng.random() < 0.5}
    mode = "one_way" if book.is_hedged else "hedge"
    return (
        [{**e, "position_mode": mode} if e["symbol"] in own else e for e in positions],
        [_in_mode(mode, e, sides[e["symbol"]]) if e["symbol"] in own else e for e in orders],
    )


def _in_mode(mode: str, order: Entry, side: Side) -> Entry:
    """The order as it is placed in the other mode beside a position of this side."""
    if mode == "hedge":
        return {**order, "position_side": side.value}
    left = {name: value for name, value in order.items() if name != "position_side"}
    if order["type"] == "LIMIT" and order["side"] == side.closing_order.value:
        left["reduce_only"] = True
    return left
