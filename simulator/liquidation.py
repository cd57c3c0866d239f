"""What the exchange takes when margin runs out.

- An isolated position is liquidated when its margin (set aside + profit) no longer covers its
  maintenance; its owner loses exactly the margin set aside, no more.
- Cross positions are liquidated together when what backs them no longer covers their maintenance.
  The insurance fund takes a fee per position out of what is left, and pays what is missing.

Each step leaves a fill with cause `liquidation` and a LIQUIDATION record, so that wallet and
records always agree.
"""

from __future__ import annotations

from decimal import Decimal

from model import LedgerKind
from simulator import margin
from simulator.matching import cancel
from simulator.positions import Fill, book_fill, book_income
from simulator.state import ZERO, Account, AccountView, Cause, PositionLeg, World


def liquidate_where_due(world: World, account: Account) -> None:
    """Liquidate every position whose margin is used up at the present marks."""
    if not account.legs:
        return
    view = account.view(world)
    isolated = [leg for leg in view.legs.values() if margin.is_isolated(view, leg.symbol)]
    for leg in isolated:
        _isolated(world, account, view, leg)
    if isolated:
        view = account.view(world)
    assets = ("",) if account.multi_assets else margin.assets_of(view)
    for asset in assets:
        pot = margin.backing(view, asset)
        if pot.cross_maintenance > 0 and pot.cross_margin_balance < pot.cross_maintenance:
            _cross(world, account, view, asset)


def _isolated(world: World, account: Account, view: AccountView, leg: PositionLeg) -> None:
    left = leg.isolated_wallet + margin.unrealised(view, leg)
    if left >= margin.maintenance_margin(view, leg):
        return
    _cancel_orders(world, account, {leg.symbol})
    _close(world, account, view, leg)
    _take(world, account, symbol=leg.symbol, amount=-left)


def _cross(world: World, account: Account, view: AccountView, asset: str) -> None:
    doomed = [
        leg
        for leg in view.legs.values()
        if not margin.is_isolated(view, leg.symbol)
        and asset in ("", margin.margin_asset(view, leg.symbol))
    ]
    _cancel_orders(world, account, {leg.symbol for leg in doomed})
    left = margin.backing(view, asset).cross_margin_balance
    for leg in doomed:
        _close(world, account, view, leg)
    for leg in doomed:
        wanted = abs(margin.notional(view, leg)) * world.market(leg.symbol).liquidation_fee
        fee = max(ZERO, min(wanted, left))
        left -= fee
        _take(world, account, symbol=leg.symbol, amount=-fee)
    if left < 0:
        _take(world, account, symbol=doomed[-1].symbol, amount=-left)


def _close(world: World, account: Account, view: AccountView, leg: PositionLeg) -> None:
    order_id = world.next_id()
    book_fill(
        world,
        account,
        Fill(
            symbol=leg.symbol,
            side=leg.side.closing_order,
            leg=leg.leg,
            quantity=abs(leg.amount),
            price=margin.mark_of(view, leg),
            fee_rate=ZERO,
            is_maker=False,
            cause=Cause.LIQUIDATION,
            order_id=order_id,
            client_id=f"autoclose-{order_id}",
        ),
    )


def _take(world: World, account: Account, *, symbol: str, amount: Decimal) -> None:
    book_income(
        world,
        account,
        kind=LedgerKind.LIQUIDATION,
        asset=world.market(symbol).quote,
        amount=amount,
        symbol=symbol,
    )


def _cancel_orders(world: World, account: Account, symbols: set[str]) -> None:
    for order in list(account.orders.values()):
        if order.symbol in symbols:
            cancel(world, account, order)
