"""Turns Binance portfolio-margin answers into the guard's model: one wallet for every product.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. USD-M positions
are read by `binance_account`. What the other products of the wallet hold (loans, coin-margined
positions) is seen here and named, not watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from errors import Malformed
from model import Asset, Coin, LedgerKind, RecordId
from venues.binance_account import Valuation
from venues.binance_records import IncomeRow
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    required_decimal,
    required_flag,
    required_integer,
    required_number,
    required_rows,
    required_text,
)

INTO, OUT_OF = "MAIN_PORTFOLIO_MARGIN", "PORTFOLIO_MARGIN_MAIN"
"""The transfers that cross the border of the account; those within it are no flows."""
_SIGNS = {INTO: 1, OUT_OF: -1}
_DONE = "CONFIRMED"
_NOT_MOVED = frozenset({"PENDING", "FAILED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pot:
    """One asset of the wallet, in its own units.

    `owned` is what all products hold of it minus what is owed, below zero for a debt; `owed` is
    the loan with its interest. `unrealised` is USD-M's profit, None where the venue leaves it
    empty: unknown, not 0.
    """

    asset: Asset
    owned: Decimal
    owed: Decimal
    unrealised: Decimal | None


def parse_equity(answer: object) -> float:
    """Read `papi/v1/account`: the account in USD with all profit, coins at their full value.

    `accountEquity` beside it counts coins by their collateral rate.
    """
    return required_number(as_fields(answer, "account"), "actualEquity", "account")


def parse_pots(answer: object) -> tuple[Pot, ...]:
    """Read `papi/v1/balance`: every asset of the wallet, each once."""
    pots = tuple(_parse_pot(row) for row in as_rows(answer, "balance"))
    if len({pot.asset for pot in pots}) != len(pots):
        raise Malformed("balance: an asset is listed twice")
    return pots


_HELD = ("crossMarginFree", "crossMarginLocked", "umWalletBalance", "cmWalletBalance")
_OWED = ("crossMarginBorrowed", "crossMarginInterest")


def _parse_pot(row: Fields) -> Pot:
    """Read one asset from its parts: whether the venue's own sums know of loans is not certain."""
    asset = Asset(required_text(row, "asset", "balance"))
    what = f"balance {asset}"
    held = sum(required_decimal(row, name, what) for name in _HELD)
    owed = sum(required_decimal(row, name, what) for name in _OWED)
    return Pot(
        asset=asset,
        owned=Decimal(held - owed),
        owed=Decimal(owed),
        unrealised=optional_decimal(row, "umUnrealizedPNL", what),
    )


def unstable_assets(pots: Sequence[Pot], stables: Iterable[Asset]) -> tuple[Asset, ...]:
    """The assets that need a price: not stable, and not entirely zero."""
    stable = frozenset(stables)
    return tuple(
        sorted(
            pot.asset for pot in pots if pot.asset not in stable and (pot.owned or pot.unrealised)
        )
    )


def value_portfolio(
    equity: float,
    pots: Sequence[Pot],
    *,
    stables: Iterable[Asset],
    prices: Mapping[Asset, float],
) -> Valuation:
    """Put the account's own equity together with the coins whose price moves it.

    A coin that is owed is a coin of negative quantity. One without a price is left out of the
    rows; the equity counts it all the same. The wallet is not told as one figure. The profit is
    that of USD-M, None where one part of it is unknown. Raises Malformed for an empty wallet
    beside an equity that is not zero.
    """
    if equity and not pots:
        raise Malformed("balance: no asset is listed while the equity is not zero")
    stable = frozenset(stables)
    needed = unstable_assets(pots, stable)
    coins = tuple(
        Coin(asset=pot.asset, quantity=pot.owned, price=prices[pot.asset])
        for pot in pots
        if pot.asset in needed and pot.owned and pot.asset in prices
    )
    return Valuation(
        equity=equity,
        wallet=None,
        unrealised_pnl=_profit(pots, stables=stable, prices=prices),
        coins=coins,
    )


def _profit(
    pots: Sequence[Pot], *, stables: frozenset[Asset], prices: Mapping[Asset, float]
) -> float | None:
    """The profit of USD-M in USD, None when a part of it is not told or cannot be valued."""
    total = 0.0
    for pot in pots:
        price = 1.0 if pot.asset in stables else prices.get(pot.asset)
        if pot.unrealised is None or (pot.unrealised and price is None):
            return None
        total += float(pot.unrealised) * (price or 0.0)
    return total


def parse_is_portfolio(answer: object) -> bool:
    """Read `sapi/v1/account/info`: whether the owner's account is a portfolio-margin one."""
    fields = as_fields(answer, "account info")
    return required_flag(fields, "isPortfolioMarginRetailEnabled", "account info")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPage:
    """One page of transfers: the records that moved money, all rows it had, and all there are."""

    rows: tuple[IncomeRow, ...]
    listed: int
    total: int


def parse_transfers(answer: object, *, direction: str) -> TransferPage:
    """Read one page of `sapi/v1/asset/transfer` of one direction.

    What is still under way, or failed, moved nothing. A state of another name, or a row of another
    direction, raises Malformed: nobody could say what it did. Where there is none the venue leaves
    the list out and says a total of 0.
    """
    fields = as_fields(answer, "transfer")
    total = required_integer(fields, "total", "transfer")
    is_left_out = "rows" not in fields and total == 0
    rows = () if is_left_out else required_rows(fields, "rows", "transfer")
    return TransferPage(
        rows=tuple(
            _parse_transfer(row, direction=direction)
            for row in rows
            if _has_moved(row, direction=direction)
        ),
        listed=len(rows),
        total=total,
    )


def _has_moved(row: Fields, *, direction: str) -> bool:
    status = required_text(row, "status", "transfer")
    if required_text(row, "type", "transfer") != direction:
        raise Malformed(f"transfer: a record is not {direction}")
    if status not in _NOT_MOVED | {_DONE}:
        raise Malformed("transfer: the state of a record is not known")
    return status == _DONE


def _parse_transfer(row: Fields, *, direction: str) -> IncomeRow:
    transaction = required_text(row, "tranId", "transfer")
    what = f"transfer {transaction}"
    amount = required_number(row, "amount", what)
    if amount < 0:
        raise Malformed(f"{what}: the amount is below zero")
    return IncomeRow(
        record_id=RecordId(f"{direction}:{transaction}"),
        kind=LedgerKind.TRANSFER,
        at_ms=required_integer(row, "timestamp", what),
        amount=_SIGNS[direction] * amount,
        asset=Asset(required_text(row, "asset", what)),
        symbol=None,
    )
