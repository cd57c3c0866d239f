"""Turns Bitget's account and position answers into the guard's model, of both account families.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Equity is read
from the fields that include what is not realised.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from errors import Malformed
from model import Asset, Coin, MarginMode, Position, PositionMode, Side, Symbol
from venues.bitget_family import (
    Held,
    base_of,
    data_of,
    parse_margin_mode,
    parse_mode,
    required_symbol,
)
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    optional_text,
    required_decimal,
    required_number,
    required_rows,
    required_text,
)
from venues.position_rows import mend_prices, require_each_once
from venues.spot_values import Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """One margin coin of a classic account, in its own units.

    `usdt_equity` is the venue's own valuation of it; `unrealised` is None where it is not told.
    """

    coin: Asset
    equity: Decimal
    usdt_equity: float
    unrealised: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """The account of one product. In union mode other coins, the `pledged`, back it as well.

    They stand beside its equity and are not in it: the equity of a union account whose loss is
    covered by other coins is below zero.
    """

    margins: tuple[Margin, ...]
    is_union: bool
    pledged: Mapping[Asset, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """An account in USD, and the coins whose price moves it."""

    equity: float
    unrealised_pnl: float | None
    coins: tuple[Coin, ...]


def parse_purse(answer: object) -> Purse:
    """Read `mix/account/accounts` of one product. A list of none is an account never used."""
    what = "accounts"
    margins: list[Margin] = []
    pledged: dict[Asset, Decimal] = {}
    is_union = False
    for row in as_rows(data_of(answer, what), what):
        coin = Asset(required_text(row, "marginCoin", what).upper())
        unrealised = optional_decimal(row, "unrealizedPL", f"{what} {coin}")
        margins.append(
            Margin(
                coin=coin,
                equity=required_decimal(row, "accountEquity", f"{what} {coin}"),
                usdt_equity=required_number(row, "usdtEquity", f"{what} {coin}"),
                unrealised=None if unrealised is None else float(unrealised),
            )
        )
        if _is_union(row, f"{what} {coin}"):
            is_union = True
            pledged |= _pledged(row, f"{what} {coin}", equity=margins[-1].usdt_equity)
    if len({held.coin for held in margins}) != len(margins):
        raise Malformed(f"{what}: a margin coin is listed twice")
    return Purse(margins=tuple(margins), is_union=is_union, pledged=pledged)


def _is_union(row: Fields, what: str) -> bool:
    """Whether coins back the account; where that goes untold, whether any are listed."""
    mode = optional_text(row, "assetMode", what)
    return mode == "union" if mode else bool(row.get("assetList"))


def _pledged(row: Fields, what: str, *, equity: float) -> dict[Asset, Decimal]:
    """The coins of a union account; without them what they are worth would be missing.

    A list of none is written as null. That is not believed of an account whose total is larger
    than what its margin coin alone comes to.
    """
    if row.get("assetList") is None and "assetList" in row:
        total = optional_decimal(row, "unionTotalMargin", what)
        if total is not None and float(total) > equity + max(1.0, 0.01 * abs(equity)):
            raise Malformed(f"{what}: assetList is null while the total counts more")
        return {}
    return {
        Asset(required_text(entry, "coin", what).upper()): required_decimal(entry, "balance", what)
        for entry in required_rows(row, "assetList", what)
    }


def pledged_coins(purses: Sequence[Purse]) -> dict[Asset, Decimal]:
    """The coins that back union accounts and have no row of their own, each once.

    Two products in union mode share one wallet, so that a coin listed by both is the same money.
    """
    union = [purse for purse in purses if purse.is_union]
    listed = {margin.coin for purse in union for margin in purse.margins}
    return {
        coin: balance
        for purse in reversed(union)
        for coin, balance in purse.pledged.items()
        if coin not in listed and balance
    }


def value_purses(
    purses: Sequence[Purse], *, stables: Collection[Asset], prices: Mapping[Asset, float]
) -> Valuation:
    """Value the accounts of all products: stable coins at 1, others as the venue prices them.

    Raises Malformed when no margin coin is listed at all, and for a pledged coin without a price.
    """
    margins = _each_margin(purses)
    if not margins:
        raise Malformed("accounts: no margin coin is listed")
    equity = 0.0
    unrealised: float | None = 0.0
    coins: list[Coin] = []
    for held in margins:
        price = 1.0
        if held.coin not in stables and held.equity:
            price = held.usdt_equity / float(held.equity)
            coins.append(Coin(asset=held.coin, quantity=held.equity, price=price))
        equity += float(held.equity) * price
        if held.unrealised is None or unrealised is None:
            unrealised = None
        else:
            unrealised += held.unrealised * price
    for coin, balance in sorted(pledged_coins(purses).items()):
        if coin in stables:
            equity += float(balance)
            continue
        if coin not in prices:
            raise Malformed(f"accounts: no price for {coin}; stables_keep may name it")
        equity += float(balance) * prices[coin]
        coins.append(Coin(asset=coin, quantity=balance, price=prices[coin]))
    return Valuation(equity=equity, unrealised_pnl=unrealised, coins=tuple(coins))


def _each_margin(purses: Sequence[Purse]) -> list[Margin]:
    """The margin coins of all products; one that union accounts both list counts once."""
    margins: list[Margin] = []
    in_union: set[Asset] = set()
    for purse in purses:
        for margin in purse.margins:
            if purse.is_union and margin.coin in in_union:
                continue
            margins.append(margin)
            if purse.is_union:
                in_union.add(margin.coin)
    return margins


def parse_assets(answer: object, *, stables: Collection[Asset]) -> Valuation:
    """Read `account/assets` of a unified account: the venue's own totals, in USD.

    A coin's price is what the venue's own valuation makes of it; one that is owed has a quantity
    below zero. Raises Malformed when nothing is listed while the totals are not zero.
    """
    what = "assets"
    fields = as_fields(data_of(answer, what), what)
    equity = required_number(fields, "accountEquity", what)
    unrealised = required_number(fields, "unrealisedPnl", what)
    rows = required_rows(fields, "assets", what)
    if not rows and (equity or unrealised):
        raise Malformed("assets: nothing is listed while the totals are not zero")
    coins: list[Coin] = []
    for row in rows:
        coin = Asset(required_text(row, "coin", what).upper())
        held = required_decimal(row, "equity", f"{what} {coin}")
        worth = required_number(row, "usdValue", f"{what} {coin}")
        if coin not in stables and held and worth:
            coins.append(Coin(asset=coin, quantity=held, price=abs(worth / float(held))))
    if len({coin.asset for coin in coins}) != len(coins):
        raise Malformed("assets: a coin is listed twice")
    return Valuation(equity=equity, unrealised_pnl=unrealised, coins=tuple(coins))


def parse_balances(answer: object) -> tuple[Balance, ...]:
    """Read what of each coin of a unified account may be sold, and what spot orders hold of that.

    Of a coin of which anything is owed nothing is for sale: a sale would have to borrow more.
    """
    what = "assets"
    fields = as_fields(data_of(answer, what), what)
    found = []
    for row in required_rows(fields, what, what):
        coin = Asset(required_text(row, "coin", what).upper())
        held, locked, owed = (
            required_decimal(row, name, f"{what} {coin}") for name in ("balance", "locked", "debt")
        )
        if not owed and held > 0:
            locked = min(held, max(Decimal(0), locked))
            found.append(Balance(asset=coin, free=held - locked, locked=locked))
    return tuple(found)


def require_nothing_held(answer: object) -> None:
    """Confirm from the totals of a unified account that it holds no position.

    A list of none is written as null, and so is one that was lost on its way: an incident would
    end over positions that are open. Raises Malformed.
    """
    what = "assets"
    fields = as_fields(data_of(answer, what), what)
    for name in ("unrealisedPnl", "mmr"):
        if required_number(fields, name, what):
            raise Malformed(f"current-position: list is null while {name} is not zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionNames:
    """How one account family names the fields of a position."""

    side: str
    entry: str
    profit: str
    margin: str
    mode: str


CLASSIC_NAMES = PositionNames(
    side="holdSide",
    entry="openPriceAvg",
    profit="unrealizedPL",
    margin="marginSize",
    mode="posMode",
)
UNIFIED_NAMES = PositionNames(
    side="posSide",
    entry="avgPrice",
    profit="unrealisedPnl",
    margin="positionBalance",
    mode="holdMode",
)
_SIDES: Mapping[str, Side] = {"long": Side.LONG, "short": Side.SHORT}


def parse_held(
    rows: Sequence[Fields],
    names: PositionNames,
    *,
    product: str,
    bases: Mapping[Symbol, Asset],
    is_lenient: bool,
) -> tuple[Held, ...]:
    """Read the positions of a product; rows of size zero are not positions.

    Lenient, for closing: a row whose prices make no sense (the mark of a market that is being
    delisted) has prices and profit of 0, which means unknown, and does not keep every position
    from being closed. A symbol, side, size or mode that makes no sense is Malformed all the same.
    """
    found: list[Held] = []
    for row in rows:
        symbol = required_symbol(row, "position")
        what = f"position {symbol}"
        quantity = required_decimal(row, "total", what)
        if quantity < 0:
            raise Malformed(f"{what}: total is below zero")
        if quantity == 0:
            continue
        mode = parse_mode(row, names.mode, what)
        try:
            position = _parse_position(row, names, base=bases.get(symbol) or base_of(symbol))
        except Malformed:
            if not is_lenient:
                raise
            position = Position(
                symbol=symbol,
                base=bases.get(symbol) or base_of(symbol),
                side=_parse_side(row, names, what),
                quantity=quantity,
                entry_price=0.0,
                mark_price=0.0,
                unrealised_pnl=0.0,
                margin_mode=parse_margin_mode(row, what),
            )
        found.append(Held(position=position, product=product, mode=mode))
    require_each_once((held.position for held in found), "position")
    return tuple(found)


def _parse_side(row: Fields, names: PositionNames, what: str) -> Side:
    side = _SIDES.get(required_text(row, names.side, what))
    if side is None:
        raise Malformed(f"{what}: {names.side} is neither long nor short")
    return side


def _parse_position(row: Fields, names: PositionNames, *, base: Asset) -> Position:
    """Read one row whole. A liquidation price that is absent, empty, 0 or negative is none."""
    symbol = required_symbol(row, "position")
    what = f"position {symbol}"
    side = _parse_side(row, names, what)
    quantity = required_decimal(row, "total", what)
    profit = required_number(row, names.profit, what)
    entry, mark = mend_prices(
        entry=required_number(row, names.entry, what),
        mark=required_number(row, "markPrice", what),
        gain=side.sign * profit / float(quantity),
        what=what,
    )
    liquidation = optional_decimal(row, "liquidationPrice", what)
    margin_mode = parse_margin_mode(row, what)
    # The most that an isolated position can lose: without it, its loss has no bound.
    is_isolated = margin_mode is MarginMode.ISOLATED
    read = required_decimal if is_isolated else optional_decimal
    margin = read(row, names.margin, what)
    return Position(
        symbol=symbol,
        base=base,
        side=side,
        quantity=quantity,
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=profit,
        liquidation_price=float(liquidation) if liquidation and liquidation > 0 else None,
        margin_mode=margin_mode,
        margin=float(margin) if margin and margin > 0 else None,
        margin_asset=Asset(required_text(row, "marginCoin", what).upper()),
    )


def mode_shown(held: Sequence[Held]) -> PositionMode | None:
    """The mode that positions prove, None when nothing is held; HEDGE where products differ.

    The mode is set for each product and cannot be switched while one of its positions is open. The
    guard is more careful with a hedged account, so one hedged position makes it one.
    """
    modes = {each.mode for each in held}
    if not modes:
        return None
    return PositionMode.HEDGE if PositionMode.HEDGE in modes else PositionMode.ONE_WAY
