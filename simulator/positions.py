"""What a fill does: the leg, the wallet, the records, the trade and the ledger entry.

The only place where a wallet or a leg changes. Refuses to know why a fill happens or whether it
is allowed: that was decided in `order_rules` or in `liquidation`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from model import LedgerKind, MarginMode, OrderSide
from simulator.state import (
    MONEY,
    ZERO,
    Account,
    Cause,
    ExchangeOrder,
    Income,
    Leg,
    PositionLeg,
    Trade,
    World,
)

ENTRY_PLACES = Decimal("0.000000000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution about to be booked. `fee_rate` is a fraction of the quote value."""

    symbol: str
    side: OrderSide
    leg: Leg
    quantity: Decimal
    price: Decimal
    fee_rate: Decimal
    is_maker: bool
    cause: Cause
    order_id: int
    client_id: str = ""
    reduce_only: bool = False

    @property
    def signed(self) -> Decimal:
        """Positive for a buy, negative for a sell."""
        return self.quantity if self.side is OrderSide.BUY else -self.quantity


def leg_after(
    held: PositionLeg, *, signed: Decimal, price: Decimal
) -> tuple[Decimal, Decimal, Decimal]:
    """Return amount, average entry and realised profit after trading `signed` at `price`.

    Example: long 10 at 100, sell 4 at 90: 6 left at 100, realised 4 x (90 - 100) = -40.
    Crossing zero realises the whole old position and opens the rest at `price`.
    """
    amount = held.amount + signed
    if held.amount * signed >= 0:
        cost = held.amount * held.entry_price + signed * price
        return amount, (cost / amount).quantize(ENTRY_PLACES), ZERO
    closed = min(abs(signed), abs(held.amount))
    direction = 1 if held.amount > 0 else -1
    realised = closed * (price - held.entry_price) * direction
    if amount == 0:
        return ZERO, ZERO, realised
    return amount, held.entry_price if amount * held.amount > 0 else price, realised


def isolated_wallet_after(
    account: Account, held: PositionLeg, *, amount: Decimal, price: Decimal
) -> Decimal:
    """Return the margin set aside: grown by notional / leverage, released in proportion."""
    setting = account.setting(held.symbol)
    if setting.margin_mode is not MarginMode.ISOLATED or amount == 0:
        return ZERO
    if held.amount * amount > 0 and abs(amount) <= abs(held.amount):
        return (held.isolated_wallet * abs(amount) / abs(held.amount)).quantize(MONEY)
    kept = held.isolated_wallet if held.amount * amount > 0 else ZERO
    added = abs(amount - held.amount) if held.amount * amount > 0 else abs(amount)
    return kept + (added * price / setting.leverage).quantize(MONEY)


def book_income(
    world: World,
    account: Account,
    *,
    kind: LedgerKind,
    asset: str,
    amount: Decimal,
    symbol: str = "",
    trade_id: int | None = None,
) -> None:
    """Change a wallet and write the record that explains it; nothing for an amount of zero."""
    amount = amount.quantize(MONEY)
    if amount == 0:
        return
    account.wallet[asset] = account.wallet.get(asset, ZERO) + amount
    account.wallet_updated_at[asset] = world.now
    account.income.append(
        Income(
            record_id=world.next_id(),
            kind=kind,
            asset=asset,
            amount=amount,
            symbol=symbol,
            at=world.now,
            trade_id=trade_id,
        )
    )


def book_fill(world: World, account: Account, fill: Fill) -> Trade:
    """Carry out one execution completely and return the trade."""
    market = world.market(fill.symbol)
    key = (fill.symbol, fill.leg)
    held = account.legs.get(key) or PositionLeg(
        symbol=fill.symbol, leg=fill.leg, amount=ZERO, entry_price=ZERO
    )
    amount, entry, realised = leg_after(held, signed=fill.signed, price=fill.price)
    margin = isolated_wallet_after(account, held, amount=amount, price=fill.price)
    trade_id = world.next_id()
    fee = (fill.quantity * fill.price * fill.fee_rate).quantize(MONEY)
    for kind, change in ((LedgerKind.REALISED, realised), (LedgerKind.FEE, -fee)):
        book_income(
            world,
            account,
            kind=kind,
            asset=market.quote,
            amount=change,
            symbol=fill.symbol,
            trade_id=trade_id,
        )
    if amount == 0:
        account.legs.pop(key, None)
    else:
        account.legs[key] = PositionLeg(
            symbol=fill.symbol,
            leg=fill.leg,
            amount=amount,
            entry_price=entry,
            isolated_wallet=margin,
            updated_at=world.now,
        )
    trade = Trade(
        trade_id=trade_id,
        order_id=fill.order_id,
        symbol=fill.symbol,
        side=fill.side,
        leg=fill.leg,
        quantity=fill.quantity,
        price=fill.price,
        fee=fee,
        fee_asset=market.quote,
        realised=realised.quantize(MONEY),
        is_maker=fill.is_maker,
        at=world.now,
    )
    account.trades.append(trade)
    world.record(
        "fill",
        account=account.api_key,
        symbol=fill.symbol,
        side=fill.side.value,
        position_side=fill.leg.value,
        quantity=fill.quantity,
        price=fill.price,
        reduce_only=fill.reduce_only,
        client_id=fill.client_id,
        order_id=fill.order_id,
        position_before=held.amount,
        position_after=amount,
        cause=fill.cause.value,
    )
    return trade


def change_isolated_wallet(account: Account, leg: PositionLeg, amount: Decimal) -> None:
    """Let funding reach the margin that was set aside for a position."""
    if account.setting(leg.symbol).margin_mode is MarginMode.ISOLATED:
        account.legs[(leg.symbol, leg.leg)] = replace(
            leg, isolated_wallet=leg.isolated_wallet + amount.quantize(MONEY)
        )


def record_order(world: World, account: Account, order: ExchangeOrder, event: str) -> None:
    """Write what became of an order, beside the position as it stands."""
    amount = account.amount(order.symbol, order.leg)
    world.record(
        event,
        account=account.api_key,
        symbol=order.symbol,
        side=order.side.value,
        position_side=order.leg.value,
        quantity=order.remaining,
        price=order.price,
        reduce_only=order.reduce_only,
        close_position=order.close_position,
        client_id=order.client_id,
        order_id=order.order_id,
        order_type=order.order_type.value,
        position_before=amount,
        position_after=amount,
        cause=order.cause.value,
    )
