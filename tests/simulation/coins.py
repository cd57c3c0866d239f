"""Draws what an account holds beside its stable coin, and what becomes of the prices of that.

A fifth of all accounts hold one to three coins of up to a quarter of their equity, most of them in
multi-assets mode, where coins back the positions and count with a haircut. Sometimes a short of
the account offsets a coin. Coins come out of a generator of their own: the other stories, and the
rest of these, are as they would be without.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from model import Side
from simulator.margin import DEFAULT_COLLATERAL_RATE
from tests.simulation.books import EQUITY, PRICES, Book

HELD_BY = 0.2
SMALLEST_SHARE, LARGEST_SHARE, LARGEST_IDLE_SHARE = 0.01, 0.25, 0.15
QUOTE = "USDT"
Tape = tuple[tuple[float, Mapping[str, Decimal]], ...]


def symbol_of(asset: str) -> str:
    """The market whose mark prices a coin."""
    return f"{asset}{QUOTE}"


def add_coins(rng: random.Random, book: Book) -> Book:
    """The same account, with a part of its equity in coins; four of five accounts hold none."""
    if rng.random() >= HELD_BY:
        return book
    shorts = {s.removesuffix(QUOTE): q for s, side, q in book.rows if side is Side.SHORT}
    is_multi_assets = rng.random() < 0.7
    coins: dict[str, Decimal] = {}
    largest = LARGEST_SHARE if is_multi_assets else LARGEST_IDLE_SHARE
    for _ in range(rng.choice((1, 1, 2, 3))):
        if shorts and rng.random() < 0.5:
            asset = rng.choice(sorted(shorts))
            wanted = shorts[asset] * rng.choice((Decimal("0.4"), Decimal(1), Decimal("1.5")))
        else:
            asset = rng.choice(sorted(PRICES)).removesuffix(QUOTE)
            share = rng.uniform(SMALLEST_SHARE, largest)
            wanted = Decimal(share * EQUITY) / book.marks[symbol_of(asset)]
        quantity = min(wanted, Decimal(largest * EQUITY) / book.marks[symbol_of(asset)])
        coins[asset] = quantity.quantize(Decimal("0.0001"), ROUND_DOWN)
    coins = {asset: quantity for asset, quantity in coins.items() if quantity}
    rate = DEFAULT_COLLATERAL_RATE if is_multi_assets else Decimal(1)
    worth = sum((q * book.marks[symbol_of(a)] * rate for a, q in coins.items()), Decimal(0))
    positions = [_fitting(position, is_multi_assets) for position in book.seed["positions"]]
    seed = {
        **book.seed,
        "multi_assets": is_multi_assets,
        "wallet": {QUOTE: str(EQUITY - worth), **{a: str(q) for a, q in coins.items()}},
        "positions": positions,
    }
    return replace(book, seed=seed, coins=coins)


def _fitting(position: Mapping[str, Any], is_multi_assets: bool) -> Mapping[str, Any]:
    """A position as such an account can hold it.

    In multi-assets mode none is isolated; in single-asset mode coins back nothing, so that what is
    left must do with less margin.
    """
    if is_multi_assets:
        return {**position, "margin_mode": "cross"}
    return {**position, "leverage": max(10, position["leverage"])}


def add_coin_prices(rng: random.Random, book: Book, tape: Tape, times: Iterable[float]) -> Tape:
    """The same tape, in which coins without a position move as well, down more often than up.

    A coin with a position moves with that. `times` are those at which prices may move.
    """
    held = {symbol for symbol, _, _ in book.rows}
    loose = sorted(symbol_of(asset) for asset in book.coins if symbol_of(asset) not in held)
    if not loose:
        return tape
    moments, moved = list(times), {at_s: dict(marks) for at_s, marks in tape}
    ticks = {market.symbol: market.tick for market in book.markets}
    for symbol in loose:
        goal = rng.choice((0.0, 0.1, -0.1, -0.2, -0.3, -0.45))
        from_s, lasts_s = rng.choice(moments), rng.choice((1.0, 15.0, 60.0))
        for at_s in moments:
            gone = min(1.0, max(0.0, at_s - from_s) / lasts_s)
            price = book.marks[symbol] * Decimal(1 + goal * gone + rng.gauss(0.0, 0.0005))
            steps = (price / ticks[symbol]).to_integral_value(ROUND_DOWN)
            moved.setdefault(at_s, {})[symbol] = steps * ticks[symbol]
    return tuple(sorted(moved.items()))
