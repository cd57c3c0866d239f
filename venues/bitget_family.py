"""What the two kinds of Bitget account have in common: products, held positions, requests.

A classic account answers the endpoints of v2, a unified one those of v3, and each refuses the
other's. `venues.bitget` finds out which it is; everything behind this protocol knows one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Coin,
    MarginMode,
    MarketLimits,
    Order,
    OrderSide,
    Outcome,
    Position,
    PositionMode,
    RecordId,
    ScopeId,
    Symbol,
)
from model import LedgerKind as Kind
from venues.ccxt_client import Params
from venues.parsing import Fields, as_fields, as_rows, optional_text, required_text

USDT_FUTURES, USDC_FUTURES = "USDT-FUTURES", "USDC-FUTURES"
MARGIN_COINS: Mapping[str, Asset] = {USDT_FUTURES: Asset("USDT"), USDC_FUTURES: Asset("USDC")}
PRODUCTS = tuple(MARGIN_COINS)
"""What is watched: contracts paid in USDT and in USDC. Coin-margined ones are not."""

_QUOTES = ("USDT", "USDC", "PERP", "USD")
"""Ends of symbols, to find the base of a listing that no list of markets named yet."""
_MODES: Mapping[str, PositionMode] = {
    "one_way_mode": PositionMode.ONE_WAY,
    "hedge_mode": PositionMode.HEDGE,
}
_MARGIN_MODES: Mapping[str, MarginMode] = {
    "crossed": MarginMode.CROSS,
    "cross": MarginMode.CROSS,
    "isolated": MarginMode.ISOLATED,
}
MARGIN_MODE_TEXTS: Mapping[MarginMode, str] = {
    MarginMode.CROSS: "crossed",
    MarginMode.ISOLATED: "isolated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A position, with what only this venue needs to know of it to close it."""

    position: Position
    product: str
    mode: PositionMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a reading holds of an account, in USD; `unrealised_pnl` is None where it is not told."""

    equity: float
    unrealised_pnl: float | None
    held: tuple[Held, ...]
    coins: tuple[Coin, ...]
    changed_at: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A market and the product it belongs to."""

    limits: MarketLimits
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One account record as the venue tells it: `amount` in `asset`, `at_ms` on its clock."""

    record_id: RecordId
    kind: Kind
    at_ms: int
    amount: float
    asset: Asset
    symbol: Symbol | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An endpoint and what it is to be sent.

    `success_is_all`: its answer names nothing, so that success alone confirms it.
    """

    endpoint: str
    params: Params
    success_is_all: bool = False


class Family(Protocol):
    """One kind of account: where to ask, and what the answers mean. Fetches raise."""

    async def fetch_account(self) -> Account:
        """Read money and positions together."""

    async def fetch_held(self) -> tuple[Held, ...]:
        """Read positions alone, past the reader's queue; figures of 0 are unknown."""

    async def fetch_mode(self) -> PositionMode:
        """Read the position mode that the account is set to."""

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read every open order of every kind and page."""

    async def fetch_records(self, *, start_ms: int, end_ms: int) -> Sequence[Record]:
        """Read every account record of a span of at most thirty days."""

    async def fetch_listings(self) -> Sequence[Listing]:
        """Read the rules of every market."""

    async def fetch_marks(self) -> Mapping[Symbol, float]:
        """Read the marks of all contracts."""

    def close_request(
        self, instruction: CloseInstruction, *, product: str, mode: PositionMode, is_flagged: bool
    ) -> Request:
        """The closing order as it goes over the wire, saying that it only reduces or not."""

    def lookup_request(self, client_id: ClientOrderId, symbol: Symbol, *, product: str) -> Request:
        """The look-up of an order by our own id."""

    def judge_lookup(self, answer: object, *, client_id: ClientOrderId) -> Outcome:
        """Say what the answer to a look-up proves."""

    def cancel_request(self, order: Order, *, product: str) -> Request:
        """The cancel of one order where its kind lives."""

    async def cancel_all_requests(self, symbol: Symbol, *, product: str) -> Sequence[Request]:
        """Requests that together leave no order of a symbol; raises when they cannot be known."""


def data_of(answer: object, what: str) -> object:
    """What an answer carries; raises Malformed when it carries nothing at all."""
    fields = as_fields(answer, what)
    if "data" not in fields:
        raise Malformed(f"{what}: data is missing")
    return fields["data"]


def rows_in(answer: object, name: str, what: str) -> tuple[Fields, ...]:
    """The list under `name` in the data of an answer; a list of none is written as null."""
    fields = as_fields(data_of(answer, what), what)
    if name not in fields:
        raise Malformed(f"{what}: {name} is missing")
    return as_list(fields[name], what)


def as_list(value: object, what: str) -> tuple[Fields, ...]:
    """The rows of a list; one of none is written as null."""
    return () if value is None else as_rows(value, what)


def end_of(answer: object, name: str, ids: Sequence[str]) -> str:
    """Where the next page begins: where the venue says, else at the last row of this one."""
    fields = as_fields(data_of(answer, "page"), "page")
    return optional_text(fields, name, "page") or ids[-1]


def coin_prices(marks: Mapping[Symbol, float]) -> dict[Asset, float]:
    """Prices of coins by the marks of their USDT contracts."""
    return {
        Asset(symbol.removesuffix("USDT")): mark
        for symbol, mark in marks.items()
        if symbol.endswith("USDT")
    }


def required_symbol(row: Fields, what: str) -> Symbol:
    """The symbol of a row, in capitals as the venue's lists have it."""
    return Symbol(required_text(row, "symbol", what).upper())


def parse_mode(row: Fields, name: str, what: str) -> PositionMode:
    """One-way or hedge, as a row names it."""
    mode = _MODES.get(required_text(row, name, what))
    if mode is None:
        raise Malformed(f"{what}: {name} is neither one_way_mode nor hedge_mode")
    return mode


def parse_margin_mode(row: Fields, what: str) -> MarginMode:
    """Cross or isolated, as a row names it."""
    mode = _MARGIN_MODES.get(required_text(row, "marginMode", what))
    if mode is None:
        raise Malformed(f"{what}: marginMode is neither crossed nor isolated")
    return mode


def parse_order_side(row: Fields, what: str) -> OrderSide:
    """Buy or sell, as a row names it."""
    side = required_text(row, "side", what).upper()
    if side not in (OrderSide.BUY, OrderSide.SELL):
        raise Malformed(f"{what}: side is neither buy nor sell")
    return OrderSide(side)


def product_of(symbol: Symbol) -> str:
    """The product of a symbol by its spelling, for one that no answer has named yet."""
    return USDC_FUTURES if symbol.endswith(("PERP", "USDC")) else USDT_FUTURES


def base_of(symbol: Symbol) -> Asset:
    """The base of a symbol by its spelling (`NEWUSDT`, `BTCPERP`), else the symbol."""
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "")
    return Asset(symbol.removesuffix(quote) if quote else symbol)
