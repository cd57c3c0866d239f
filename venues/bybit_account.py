"""Turns Bybit v5 wallet, account and position answers into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns which money
a unified account holds, the side and index of its positions, and what backs them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from errors import Malformed
from model import Asset, Coin, MarginMode, Position, PositionMode, Side, Symbol
from venues.parsing import (
    Fields,
    as_fields,
    optional_decimal,
    required_decimal,
    required_integer,
    required_number,
    required_rows,
    required_text,
)
from venues.position_rows import mend_prices, require_each_once

SETTLE_COINS = (Asset("USDT"), Asset("USDC"))
"""Coins in which linear contracts are settled; each has lists of its own."""
UNIFIED = frozenset({3, 4, 5, 6})
"""`unifiedMarginStatus` of unified accounts; 1 is a classic one."""

MARGIN_MODES: Mapping[str, MarginMode] = {
    "REGULAR_MARGIN": MarginMode.CROSS,
    "PORTFOLIO_MARGIN": MarginMode.CROSS,
    "ISOLATED_MARGIN": MarginMode.ISOLATED,
}
"""How a unified account is backed; it is one choice for all its positions."""

LEGS: Mapping[int, Side | None] = {0: None, 1: Side.LONG, 2: Side.SHORT}
"""`positionIdx`: the one position of a symbol in one-way mode, or a leg of it in hedge mode."""

_SIDES: Mapping[str, Side] = {"Buy": Side.LONG, "Sell": Side.SHORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One coin of the wallet in its own units, negative when it is owed.

    `price` is what the venue values it at in USD, None where it does not tell. `locked` is what
    spot orders hold of it, None where that is not told. `is_owed`: some of it was borrowed.
    """

    asset: Asset
    quantity: Decimal
    price: float | None
    locked: Decimal | None = None
    is_owed: bool = False

    @property
    def sellable(self) -> Decimal:
        """What may be sold without owing anything; of a coin that is owed in part, nothing."""
        return Decimal(0) if self.is_owed or self.locked is None else max(Decimal(0), self.quantity)

    @property
    def held_by_orders(self) -> Decimal:
        """The part of that which spot orders hold."""
        return min(self.sellable, self.locked or Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """A wallet answer in USD. `equity` includes profit, and coins that back nothing.

    The wallet's total is None where the venue gives none. It counts collateral alone, so that it
    does not add up to the equity. The profit is that of linear contracts, None where it is not
    told: the venue's own total counts inverse ones as well, whose positions are not read.
    """

    equity: float
    wallet: float | None
    unrealised_pnl: float | None
    holdings: tuple[Holding, ...]

    def unstable(self, stables: Iterable[Asset]) -> tuple[Holding, ...]:
        """The coins whose price moves the account, owed ones included."""
        stable = frozenset(stables)
        return tuple(
            holding for holding in self.holdings if holding.asset not in stable and holding.quantity
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A position, and the index by which the venue knows it."""

    position: Position
    index: int


def result_of(answer: object, what: str) -> Fields:
    """The payload of an answer."""
    return as_fields(as_fields(answer, what).get("result"), what)


def parse_page(answer: object, what: str) -> tuple[tuple[Fields, ...], str]:
    """The rows of one page of a list, and the cursor of the next page, empty after the last.

    A page without the field is no last page: whatever follows it would be missing in silence.
    """
    fields = result_of(answer, what)
    cursor = fields.get("nextPageCursor")
    if not isinstance(cursor, str):
        raise Malformed(f"{what}: nextPageCursor is missing or no text")
    return parse_rows(answer, what), cursor


def parse_rows(answer: object, what: str) -> tuple[Fields, ...]:
    """The rows of a list that has no pages."""
    return required_rows(result_of(answer, what), "list", what)


def parse_margin_mode(answer: object) -> MarginMode:
    """Read `account/info`. Raises Malformed for an account that is not a unified one."""
    fields = result_of(answer, "account")
    status = required_integer(fields, "unifiedMarginStatus", "account")
    if status not in UNIFIED:
        raise Malformed(
            f"account: a classic account (unifiedMarginStatus {status}) is not supported; "
            "upgrade it to a unified trading account"
        )
    mode = required_text(fields, "marginMode", "account")
    if mode not in MARGIN_MODES:
        raise Malformed("account: marginMode is not known")
    return MARGIN_MODES[mode]


def parse_wallet(answer: object) -> Wallet:
    """Read `wallet-balance` of the unified account.

    Coins of zero are not listed by the venue, and an account without any coin is worth nothing:
    an empty list beside another equity is a truncated answer.
    """
    accounts = [
        row
        for row in required_rows(result_of(answer, "wallet"), "list", "wallet")
        if row.get("accountType") == "UNIFIED"
    ]
    if len(accounts) != 1:
        raise Malformed("wallet: there is not exactly one unified account")
    account = accounts[0]
    equity = required_number(account, "totalEquity", "wallet")
    holdings = tuple(map(_parse_holding, required_rows(account, "coin", "wallet")))
    if len({holding.asset for holding in holdings}) != len(holdings):
        raise Malformed("wallet: a coin is listed twice")
    if equity and not holdings:
        raise Malformed("wallet: no coin is listed while the equity is not zero")
    return Wallet(
        equity=equity,
        wallet=_number_or_empty(account, "totalWalletBalance", "wallet"),
        unrealised_pnl=_linear_profit(account),
        holdings=holdings,
    )


def _linear_profit(account: Fields) -> float | None:
    """The profit in the coins that linear contracts are settled in."""
    total = Decimal(0)
    for row in required_rows(account, "coin", "wallet"):
        if row.get("coin") in SETTLE_COINS:
            profit = optional_decimal(row, "unrealisedPnl", "wallet.coin")
            if profit is None:
                return None
            total += profit
    return float(total)


def _parse_holding(row: Fields) -> Holding:
    """Read one coin.

    What is owed stands apart from the balance. The value is that of the equity, profit included.
    """
    asset = Asset(required_text(row, "coin", "wallet.coin"))
    what = f"wallet.coin {asset}"
    equity = required_number(row, "equity", what)
    value = _number_or_empty(row, "usdValue", what) or 0.0
    price = value / equity if equity else 0.0
    borrowed = required_decimal(row, "spotBorrow", what)
    return Holding(
        asset=asset,
        quantity=required_decimal(row, "walletBalance", what) - borrowed,
        price=price if price > 0 else None,
        locked=optional_decimal(row, "locked", what),
        is_owed=bool(borrowed or optional_decimal(row, "borrowAmount", what)),
    )


def _number_or_empty(fields: Fields, name: str, what: str) -> float | None:
    """A number that the venue leaves empty in some account modes; the field itself is there."""
    if fields.get(name) == "":
        return None
    return required_number(fields, name, what)


def value_coins(
    holdings: Iterable[Holding],
    *,
    prices: Mapping[Asset, float],
    for_sale: Container[Asset] = (),
) -> tuple[Coin, ...]:
    """The coins as rows, at the venue's own price or else at `prices`.

    One without either is left out of the rows; the venue's equity counts it all the same. Those in
    `for_sale` have a market that they can be sold on.
    """
    return tuple(
        Coin(
            asset=holding.asset,
            quantity=holding.quantity,
            price=price,
            sellable=holding.sellable if holding.asset in for_sale else Decimal(0),
        )
        for holding in holdings
        if (price := holding.price or prices.get(holding.asset)) is not None
    )


def parse_positions(
    rows: Iterable[Fields],
    *,
    settle: Asset,
    bases: Mapping[Symbol, Asset],
    margin_mode: MarginMode,
    is_for_closing: bool = False,
) -> tuple[Held, ...]:
    """Read rows of `position/list` settled in one coin; rows of size zero are not positions.

    `is_for_closing`: a row whose other figures make no sense (the mark of a market that is being
    delisted) has prices and profit of 0, which means unknown: it must not keep every position from
    being closed. A symbol, side, index or size that makes no sense is Malformed all the same.
    """
    found: list[Held] = []
    for row in rows:
        symbol = Symbol(required_text(row, "symbol", "position"))
        what = f"position {symbol}"
        quantity = required_decimal(row, "size", what)
        if quantity == 0:
            continue
        index = required_integer(row, "positionIdx", what)
        bare = Position(
            symbol=symbol,
            base=bases.get(symbol) or base_of(symbol),
            side=_side_of(row, index, what),
            quantity=_positive(quantity, what),
            entry_price=0.0,
            mark_price=0.0,
            unrealised_pnl=0.0,
            margin_mode=margin_mode,
            margin_asset=settle,
        )
        try:
            position = _with_figures(row, bare, what)
        except Malformed:
            if not is_for_closing:
                raise
            position = bare
        found.append(Held(position=position, index=index))
    return tuple(found)


def _positive(quantity: Decimal, what: str) -> Decimal:
    if quantity < 0:
        raise Malformed(f"{what}: size is below zero")
    return quantity


def _side_of(row: Fields, index: int, what: str) -> Side:
    """The side of a position, which a leg of hedge mode names twice."""
    name = required_text(row, "side", what)
    if name not in _SIDES:
        raise Malformed(f"{what}: side is neither Buy nor Sell")
    if index not in LEGS:
        raise Malformed(f"{what}: positionIdx is neither 0, 1 nor 2")
    side, leg = _SIDES[name], LEGS[index]
    if leg not in (None, side):
        raise Malformed(f"{what}: side contradicts positionIdx")
    return side


def _with_figures(row: Fields, bare: Position, what: str) -> Position:
    """The position with prices, profit and margin.

    Under portfolio margin there is no liquidation price and no margin of one position, and the
    venue leaves those fields empty.
    """
    profit = required_number(row, "unrealisedPnl", what)
    entry, mark = mend_prices(
        entry=required_number(row, "avgPrice", what),
        mark=required_number(row, "markPrice", what),
        gain=bare.side.sign * profit / float(bare.quantity),
        what=what,
    )
    liquidation = _number_or_empty(row, "liqPrice", what) or 0.0
    if bare.margin_mode is MarginMode.ISOLATED:
        margin = required_number(row, "positionBalance", what)
    else:
        margin = _number_or_empty(row, "positionIM", what) or 0.0
    return Position(
        symbol=bare.symbol,
        base=bare.base,
        side=bare.side,
        quantity=bare.quantity,
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=profit,
        liquidation_price=liquidation if liquidation > 0 else None,
        margin_mode=bare.margin_mode,
        margin=margin if margin > 0 else None,
        margin_asset=bare.margin_asset,
    )


def positions_of(held: Iterable[Held]) -> tuple[Position, ...]:
    """The positions alone; raises Malformed when one is there twice."""
    positions = tuple(each.position for each in held)
    require_each_once(positions, "position")
    return positions


def position_mode_of(held: Sequence[Held]) -> PositionMode | None:
    """The mode of an account whose symbols have each their own: hedged as soon as one leg is.

    The stricter one for an account of both kinds: with it nobody takes two legs of one symbol for
    one position, and a plain order, which the other mode lets open, is not spared as a closing one.
    None without positions, where nothing shows it.
    """
    if not held:
        return None
    return PositionMode.HEDGE if any(each.index for each in held) else PositionMode.ONE_WAY


def parse_mode(rows: Sequence[Fields]) -> PositionMode:
    """Read the mode of one symbol out of its rows, which are listed without a position too."""
    indices = {required_integer(row, "positionIdx", "position") for row in rows}
    if not indices:
        raise Malformed("position: a symbol that was asked for is not listed")
    return PositionMode.ONE_WAY if indices == {0} else PositionMode.HEDGE


def base_of(symbol: Symbol) -> Asset:
    """The base of a symbol by its spelling, else the symbol.

    `NEWUSDT`, `BTCPERP` (USDC), `BTC-24MAR23`, `BTCUSDT-21FEB25`.
    """
    pair = symbol.partition("-")[0]
    quote = next((end for end in ("USDT", "PERP", "USDC", "USD") if pair.endswith(end)), "")
    return Asset(pair.removesuffix(quote) or symbol)
