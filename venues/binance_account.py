"""Turns Binance USD-M account and position answers into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns the sign
of positions, what backs them, and which money an account holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from errors import Malformed
from model import Asset, Coin, MarginMode, Position, PositionMode, Side, Symbol
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    changes_of,
    optional_decimal,
    required_decimal,
    required_flag,
    required_number,
    required_rows,
    required_text,
)
from venues.position_rows import mend_prices, require_each_once

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "BTC", "USD")
"""Quotes of USD-M contracts, to find the base of a listing that exchangeInfo did not name yet."""


LEAST_COIN_WEIGHT = 0.2
"""No haircut is larger; less means that another part of the account is not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backed:
    """What stands behind one position, and where it would be liquidated."""

    margin_mode: MarginMode
    margin: float | None
    margin_asset: Asset
    liquidation_price: float | None


Backing = Callable[[Fields, str], Backed]
"""Reads it out of a row of positions; the text names the row in an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountMode:
    """The two switches of an account that change what its numbers mean."""

    position_mode: PositionMode
    is_multi_assets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One margin asset of the account, in its own units; `margin_balance` includes profit."""

    asset: Asset
    wallet: Decimal
    unrealised: float
    margin_balance: float

    @property
    def is_held(self) -> bool:
        """False when it is entirely zero."""
        return bool(self.wallet or self.unrealised or self.margin_balance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The account's totals in USD; without multi-assets mode they count USDT alone."""

    wallet: float
    unrealised: float
    margin_balance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account answer: its assets, and its totals where the mode makes them meaningful."""

    holdings: tuple[Holding, ...]
    totals: Totals | None

    @property
    def is_blank(self) -> bool:
        """True when not one figure of it differs from zero."""
        return not any(holding.is_held for holding in self.holdings)

    def unstable_assets(self, stables: Iterable[Asset]) -> tuple[Asset, ...]:
        """The assets that need a price: not stable, and not entirely zero."""
        stable = frozenset(stables)
        return tuple(
            sorted(
                holding.asset
                for holding in self.holdings
                if holding.asset not in stable and holding.is_held
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """The account in USD, and the coins whose price moves it; None is a total nobody tells.

    `coin_weight` is the share of their value with which the venue counts coins into its totals.
    """

    equity: float
    wallet: float | None
    unrealised_pnl: float | None
    coins: tuple[Coin, ...]
    coin_weight: float = 1.0


def parse_account_mode(answer: object) -> AccountMode:
    """Read `accountConfig`: hedge or one-way, single-asset or multi-assets."""
    fields = as_fields(answer, "accountConfig")
    is_hedge = required_flag(fields, "dualSidePosition", "accountConfig")
    return AccountMode(
        position_mode=PositionMode.HEDGE if is_hedge else PositionMode.ONE_WAY,
        is_multi_assets=required_flag(fields, "multiAssetsMargin", "accountConfig"),
    )


def parse_account(answer: object, *, is_multi_assets: bool) -> Account:
    """Read `v3/account`. A list of zero balances is an honest zero, a missing list never is.

    The totals are read in multi-assets mode, and to tell an empty account from a truncated answer
    when the venue lists no asset at all.
    """
    fields = as_fields(answer, "account")
    holdings = tuple(_parse_holding(row) for row in required_rows(fields, "assets", "account"))
    if len({holding.asset for holding in holdings}) != len(holdings):
        raise Malformed("account: an asset is listed twice")
    totals = None
    if is_multi_assets or not holdings:
        totals = Totals(
            wallet=required_number(fields, "totalWalletBalance", "account"),
            unrealised=required_number(fields, "totalUnrealizedProfit", "account"),
            margin_balance=required_number(fields, "totalMarginBalance", "account"),
        )
        if not holdings and (totals.wallet or totals.unrealised or totals.margin_balance):
            raise Malformed("account: assets is empty while the totals are not zero")
    return Account(holdings=holdings, totals=totals if is_multi_assets else None)


def _parse_holding(row: Fields) -> Holding:
    """Read one row of the account's assets."""
    asset = Asset(required_text(row, "asset", "account.assets"))
    what = f"account.assets {asset}"
    return Holding(
        asset=asset,
        wallet=required_decimal(row, "walletBalance", what),
        unrealised=required_number(row, "unrealizedProfit", what),
        margin_balance=required_number(row, "marginBalance", what),
    )


def parse_changes(assets: object, positions: object) -> tuple[tuple[str, float], ...]:
    """When each asset and each position was changed last, by the venue's clock.

    The rows of `v3/account` or `papi/v1/balance`, and those of `positionRisk`.
    """
    return (
        *changes_of(as_rows(assets, "account.assets"), names=("asset",), told_in="updateTime"),
        *changes_of(
            as_rows(positions, "positionRisk"),
            names=("symbol", "positionSide"),
            told_in="updateTime",
        ),
    )


def value_account(
    account: Account, *, stables: Iterable[Asset], prices: Mapping[Asset, float]
) -> Valuation:
    """Value an account in USD: stable assets at 1, others at `prices`.

    In multi-assets mode the venue's totals are the values, and a coin without a price is left out
    of the rows. Elsewhere the assets are summed, because the totals would count USDT alone; there
    a non-zero asset without a price raises Malformed.
    """
    stable = frozenset(stables)
    needed = account.unstable_assets(stable)
    coins = tuple(
        Coin(asset=holding.asset, quantity=holding.wallet, price=prices[holding.asset])
        for holding in account.holdings
        if holding.asset in needed and holding.wallet > 0 and holding.asset in prices
    )
    if account.totals is not None:
        return Valuation(
            equity=account.totals.margin_balance,
            wallet=account.totals.wallet,
            unrealised_pnl=account.totals.unrealised,
            coins=coins,
            coin_weight=_coin_weight(account, account.totals, stable=stable, coins=coins),
        )
    equity = wallet = unrealised = 0.0
    for holding in account.holdings:
        if holding.asset in needed and holding.asset not in prices:
            raise Malformed(f"account: no price for {holding.asset}; stables_keep may name it")
        price = prices[holding.asset] if holding.asset in needed else 1.0
        equity += holding.margin_balance * price
        wallet += float(holding.wallet) * price
        unrealised += holding.unrealised * price
    return Valuation(equity=equity, wallet=wallet, unrealised_pnl=unrealised, coins=coins)


def _coin_weight(
    account: Account, totals: Totals, *, stable: frozenset[Asset], coins: Iterable[Coin]
) -> float:
    """Work out from the account itself how much of a coin's value its totals hold, at most all.

    The venue counts collateral with a haircut that differs by coin and changes; a coin that comes
    in at its full value would leave a fall behind that nobody lost.
    """
    whole = sum(float(coin.quantity) * coin.price for coin in coins)
    stables = sum(float(h.wallet) for h in account.holdings if h.asset in stable)
    share = (totals.wallet - stables) / whole if whole > 0 else 1.0
    return share if LEAST_COIN_WEIGHT <= share <= 1.0 else 1.0


def futures_backing(row: Fields, what: str) -> Backed:
    """What backs a row of `v3/positionRisk`.

    v3 does not name the margin mode; a row is isolated when margin was set aside for it. What
    backs it is then `isolatedWallet`, the margin without profit: `isolatedMargin` shrinks as the
    position loses, so it would understate what can still be lost. The initial margin of a cross
    position only informs, so the venue may leave it out.
    """
    liquidation = required_number(row, "liquidationPrice", what)
    isolated_wallet = required_number(row, "isolatedWallet", what)
    is_isolated = isolated_wallet != 0 or required_number(row, "isolatedMargin", what) != 0
    initial_margin = optional_decimal(row, "initialMargin", what)
    margin = isolated_wallet if is_isolated else float(initial_margin or 0)
    return Backed(
        margin_mode=MarginMode.ISOLATED if is_isolated else MarginMode.CROSS,
        margin=margin if margin > 0 else None,
        margin_asset=Asset(required_text(row, "marginAsset", what)),
        liquidation_price=liquidation if liquidation > 0 else None,
    )


def cross_backing(row: Fields, what: str) -> Backed:
    """What backs a row of portfolio margin's `um/positionRisk`: the whole account, always.

    The row names no margin: it is the value over the leverage. Both only inform, and so does a
    liquidation price, which moves with everything else in the account.
    """
    symbol = Symbol(required_text(row, "symbol", what))
    value = optional_decimal(row, "notional", what)
    leverage = optional_decimal(row, "leverage", what)
    liquidation = optional_decimal(row, "liquidationPrice", what)
    return Backed(
        margin_mode=MarginMode.CROSS,
        margin=float(abs(value) / leverage) if value and leverage and leverage > 0 else None,
        margin_asset=quote_of(symbol),
        liquidation_price=float(liquidation) if liquidation and liquidation > 0 else None,
    )


def parse_positions(
    answer: object, *, bases: Mapping[Symbol, Asset], backing: Backing = futures_backing
) -> tuple[Position, ...]:
    """Read `positionRisk`; rows of size zero are not positions."""
    rows = as_rows(answer, "positionRisk")
    return _held(_parse_position(row, bases=bases, backing=backing) for row in rows)


def parse_sizes(
    answer: object, *, bases: Mapping[Symbol, Asset], backing: Backing = futures_backing
) -> tuple[Position, ...]:
    """Read `positionRisk` for closing, which needs to know what is held and how much of it.

    A row whose other figures make no sense (the mark of a market that is being delisted) has
    prices and profit of 0, which means unknown: it must not keep every position from being closed.
    A symbol, side or size that makes no sense is Malformed all the same.
    """
    rows = as_rows(answer, "positionRisk")
    return _held(_parse_size(row, bases=bases, backing=backing) for row in rows)


def _parse_size(row: Fields, *, bases: Mapping[Symbol, Asset], backing: Backing) -> Position | None:
    """Read one row, of which only symbol, side and size are indispensable."""
    symbol = Symbol(required_text(row, "symbol", "positionRisk"))
    side, quantity = _signed_size(row, f"positionRisk {symbol}")
    if quantity == 0:
        return None
    try:
        return _parse_position(row, bases=bases, backing=backing)
    except Malformed:
        return Position(
            symbol=symbol,
            base=bases.get(symbol) or base_of(symbol),
            side=side,
            quantity=quantity,
            entry_price=0.0,
            mark_price=0.0,
            unrealised_pnl=0.0,
        )


def _held(rows: Iterable[Position | None]) -> tuple[Position, ...]:
    """The positions among the rows; raises Malformed when one is there twice."""
    held = tuple(row for row in rows if row is not None)
    require_each_once(held, "positionRisk")
    return held


def _parse_position(
    row: Fields, *, bases: Mapping[Symbol, Asset], backing: Backing
) -> Position | None:
    """Read one row, None when nothing is held."""
    symbol = Symbol(required_text(row, "symbol", "positionRisk"))
    what = f"positionRisk {symbol}"
    side, quantity = _signed_size(row, what)
    if quantity == 0:
        return None
    backed = backing(row, what)
    profit = required_number(row, "unRealizedProfit", what)
    entry, mark = mend_prices(
        entry=required_number(row, "entryPrice", what),
        mark=required_number(row, "markPrice", what),
        gain=side.sign * profit / float(quantity),
        what=what,
    )
    return Position(
        symbol=symbol,
        base=bases.get(symbol) or base_of(symbol),
        side=side,
        quantity=quantity,
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=profit,
        liquidation_price=backed.liquidation_price,
        margin_mode=backed.margin_mode,
        margin=backed.margin,
        margin_asset=backed.margin_asset,
    )


def _signed_size(row: Fields, what: str) -> tuple[Side, Decimal]:
    """Side and size: the sign decides in one-way mode, `positionSide` in hedge mode."""
    amount = required_decimal(row, "positionAmt", what)
    leg = required_text(row, "positionSide", what)
    signed = Side.LONG if amount > 0 else Side.SHORT
    side = signed if leg == "BOTH" else parse_leg(leg, what)
    if amount and side is not signed:
        raise Malformed(f"{what}: the sign of positionAmt contradicts positionSide")
    return side or signed, abs(amount)


def parse_leg(text: str, what: str) -> Side | None:
    """The hedge leg a `positionSide` names, None for BOTH."""
    match text:
        case "LONG":
            return Side.LONG
        case "SHORT":
            return Side.SHORT
        case "BOTH":
            return None
        case _:
            raise Malformed(f"{what}: positionSide is neither LONG, SHORT nor BOTH")


def position_mode_shown(answer: object) -> PositionMode | None:
    """The mode that held positions prove, None when nothing is held.

    The mode cannot be switched while a position is open, so rows outrank a cached setting.
    """
    legs = {
        required_text(row, "positionSide", "positionRisk")
        for row in as_rows(answer, "positionRisk")
        if required_decimal(row, "positionAmt", "positionRisk") != 0
    }
    if not legs:
        return None
    return PositionMode.ONE_WAY if "BOTH" in legs else PositionMode.HEDGE


def base_of(symbol: Symbol) -> Asset:
    """The base of a symbol by its spelling (`NEWUSDT`, `BTCUSDT_260327`), else the symbol."""
    pair = symbol.partition("_")[0]
    quote = next((quote for quote in _QUOTES if pair.endswith(quote) and pair != quote), "")
    return Asset(pair.removesuffix(quote) if quote else pair)


def quote_of(symbol: Symbol) -> Asset:
    """The quote of a symbol by its spelling, empty when it spells none."""
    return Asset(symbol.partition("_")[0].removeprefix(base_of(symbol)))
