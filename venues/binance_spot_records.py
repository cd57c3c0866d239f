"""Turns Binance's spot orders and the records of money into the guard's model.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. Owns which
record moved money into or out of the spot account, and when. Trades move none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from errors import Malformed
from model import (
    Asset,
    ClientOrderId,
    Done,
    LedgerKind,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    RecordId,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.binance_records import IncomeRow
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    optional_decimal,
    optional_text,
    required_decimal,
    required_integer,
    required_number,
    required_rows,
    required_text,
)

_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL")
"""Quotes of spot markets, for an order on one that exchangeInfo did not name yet."""

CREDITED = frozenset({1, 6})
"""Deposits that are in the balance: done, and credited but not to be withdrawn yet."""
NEVER_LEFT = frozenset({1, 3, 5})
"""Withdrawals that were cancelled, rejected, or failed."""
FUNDING_WALLET = 1

OTHER_WALLETS = ("UMFUTURE", "CMFUTURE", "MARGIN", "FUNDING", "OPTION", "PORTFOLIO_MARGIN")
TRANSFER_SIGNS: Mapping[str, int] = {
    **{f"MAIN_{other}": -1 for other in OTHER_WALLETS},
    **{f"{other}_MAIN": 1 for other in OTHER_WALLETS},
}
"""Transfers between the spot account (MAIN) and the owner's others, seen from the spot account."""


def parse_open_orders(
    answer: object, *, scope: ScopeId, markets: Mapping[Symbol, MarketLimits]
) -> tuple[Order, ...]:
    """Read `openOrders` of all markets, the legs of order lists and conditional orders included."""
    return tuple(_parse_order(row, scope, markets) for row in as_rows(answer, "openOrders"))


def _parse_order(row: Fields, scope: ScopeId, markets: Mapping[Symbol, MarketLimits]) -> Order:
    order_id = VenueOrderId(required_text(row, "orderId", "openOrders"))
    what = f"openOrders {order_id}"
    symbol = Symbol(required_text(row, "symbol", what))
    side = required_text(row, "side", what)
    if side not in (OrderSide.BUY, OrderSide.SELL):
        raise Malformed(f"{what}: side is neither BUY nor SELL")
    remaining = required_decimal(row, "origQty", what) - required_decimal(row, "executedQty", what)
    if remaining < 0:
        raise Malformed(f"{what}: more executed than ordered")
    market = markets.get(symbol)
    base, quote = (market.base, market.quote) if market else split_symbol(symbol)
    return Order(
        scope=scope,
        order_id=order_id,
        client_id=ClientOrderId(optional_text(row, "clientOrderId", what)),
        symbol=symbol,
        kind=OrderKind.REGULAR,
        side=OrderSide(side),
        position_side=None,
        quantity=remaining,
        reduce_only=side == OrderSide.SELL,
        close_position=False,
        order_type=required_text(row, "type", what),
        price=optional_decimal(row, "price", what) or None,
        trigger_price=optional_decimal(row, "stopPrice", what) or None,
        base=base,
        quote=quote,
    )


def split_symbol(symbol: Symbol) -> tuple[Asset, Asset]:
    """Base and quote of a market by its spelling; a quote that is not known leaves both open."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return Asset(symbol.removesuffix(quote)), Asset(quote)
    return Asset(symbol), Asset("")


def with_proceeds(outcome: Done | Unknown, answer: object, *, paid_in: Asset) -> Done | Unknown:
    """The outcome of a sale with what it brought, where its answer tells that completely.

    Each fill names its fee, which is kept of what comes in unless the account pays in another coin.
    """
    if isinstance(outcome, Unknown) or outcome.filled is None:
        return outcome
    try:
        fields = as_fields(answer, "order")
        brought = required_decimal(fields, "cummulativeQuoteQty", "order")
        fees = [
            required_decimal(fill, "commission", "fills")
            for fill in required_rows(fields, "fills", "order")
            if required_text(fill, "commissionAsset", "fills") == paid_in
        ]
    except Malformed:
        return outcome
    return replace(outcome, brought=brought - sum(fees, Decimal(0)))


def parse_deposits(answer: object) -> tuple[tuple[IncomeRow, ...], int]:
    """Read a page of `deposit/hisrec`; returns what was credited, and how many rows it had.

    A deposit counts from when it was credited; the time at which it was first seen on its chain
    stands in where the venue does not tell.
    """
    rows = as_rows(answer, "deposits")
    return tuple(found for row in rows if (found := _parse_deposit(row)) is not None), len(rows)


def _parse_deposit(row: Fields) -> IncomeRow | None:
    number = required_text(row, "id", "deposits")
    what = f"deposits {number}"
    is_elsewhere = optional_decimal(row, "walletType", what) == FUNDING_WALLET
    if required_integer(row, "status", what) not in CREDITED or is_elsewhere:
        return None
    has_end = optional_decimal(row, "completeTime", what) is not None
    return _record(
        row,
        record_id=f"DEPOSIT:{number}",
        at_ms=required_integer(row, "completeTime" if has_end else "insertTime", what),
        amount=required_number(row, "amount", what),
        asset="coin",
        what=what,
    )


def parse_withdrawals(answer: object) -> tuple[tuple[IncomeRow, ...], int]:
    """Read a page of `withdraw/history`; returns what left, fees included, and how many rows."""
    rows = as_rows(answer, "withdrawals")
    return tuple(found for row in rows if (found := _parse_withdrawal(row)) is not None), len(rows)


def _parse_withdrawal(row: Fields) -> IncomeRow | None:
    number = required_text(row, "id", "withdrawals")
    what = f"withdrawals {number}"
    is_elsewhere = optional_decimal(row, "walletType", what) == FUNDING_WALLET
    if required_integer(row, "status", what) in NEVER_LEFT or is_elsewhere:
        return None
    fee = optional_decimal(row, "transactionFee", what) or Decimal(0)
    return _record(
        row,
        record_id=f"WITHDRAWAL:{number}",
        at_ms=_text_time_ms(required_text(row, "applyTime", what), what),
        amount=-(required_number(row, "amount", what) + float(fee)),
        asset="coin",
        what=what,
    )


def _text_time_ms(text: str, what: str) -> int:
    """A time that the venue writes as `2019-10-12 11:12:02`, in UTC."""
    try:
        at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed(f"{what}: applyTime is no time") from None
    return round(at.timestamp() * 1000)


def parse_transfers(answer: object, kind: str) -> tuple[tuple[IncomeRow, ...], int]:
    """Read a page of `asset/transfer` of one kind; returns what went through, and how many rows.

    Where there is none the venue leaves the list out and says a total of 0.
    """
    fields = as_fields(answer, "transfers")
    if "rows" not in fields and required_integer(fields, "total", "transfers") == 0:
        return (), 0
    rows = required_rows(fields, "rows", "transfers")
    return tuple(_parse_transfer(row, kind) for row in rows if _is_confirmed(row)), len(rows)


def _is_confirmed(row: Fields) -> bool:
    return required_text(row, "status", "transfers") == "CONFIRMED"


def _parse_transfer(row: Fields, kind: str) -> IncomeRow:
    number = required_text(row, "tranId", "transfers")
    what = f"transfers {number}"
    return _record(
        row,
        record_id=f"{kind}:{number}",
        at_ms=required_integer(row, "timestamp", what),
        amount=TRANSFER_SIGNS[kind] * required_number(row, "amount", what),
        asset="asset",
        what=what,
    )


def _record(
    row: Fields, *, record_id: str, at_ms: int, amount: float, asset: str, what: str
) -> IncomeRow:
    return IncomeRow(
        record_id=RecordId(record_id),
        kind=LedgerKind.TRANSFER,
        at_ms=at_ms,
        amount=amount,
        asset=Asset(required_text(row, asset, what)),
        symbol=None,
    )


def each_once(rows: Sequence[IncomeRow]) -> tuple[IncomeRow, ...]:
    """The records of several pages, each once, oldest first."""
    each = {row.record_id: row for row in rows}
    return tuple(sorted(each.values(), key=lambda row: (row.at_ms, row.record_id)))
