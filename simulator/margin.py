"""The arithmetic of margin: profit, initial and maintenance margin, balances, liquidation price.

Pure functions over an `AccountView`; nothing here changes anything. Every amount is in the margin
asset of its market (its quote) unless it says USD. In single-asset mode each asset stands for
itself; in multi-assets mode all of them together back every cross position, coins at their mark
times the collateral rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from model import MarginMode
from simulator.state import ZERO, AccountView, ExchangeOrder, PositionLeg

STABLES = ("USDT", "USDC", "FDUSD", "BUSD", "USD")
DEFAULT_COLLATERAL_RATE = Decimal("0.95")
"""What a coin counts as margin in multi-assets mode, when the account names no other rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What one asset, or in multi-assets mode the whole account in USD, amounts to."""

    wallet: Decimal
    cross_wallet: Decimal
    unrealised: Decimal
    cross_unrealised: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    cross_maintenance: Decimal

    @property
    def margin_balance(self) -> Decimal:
        """Wallet plus unrealised profit: the equity."""
        return self.wallet + self.unrealised

    @property
    def initial(self) -> Decimal:
        """Initial margin of positions and open orders."""
        return self.position_initial + self.order_initial

    @property
    def cross_margin_balance(self) -> Decimal:
        """What backs the cross positions."""
        return self.cross_wallet + self.cross_unrealised


def usd_value(view: AccountView, asset: str) -> Decimal:
    """Price of one unit of a margin asset in USD, without any haircut; 0 without a price."""
    return Decimal(1) if asset in STABLES else view.marks.get(f"{asset}USDT", ZERO)


def collateral_rate(view: AccountView, asset: str) -> Decimal:
    """Fraction of its value that an asset counts in multi-assets mode."""
    return view.collateral.get(asset, Decimal(1) if asset in STABLES else DEFAULT_COLLATERAL_RATE)


def margin_asset(view: AccountView, symbol: str) -> str:
    """Asset in which a market's profit is paid."""
    return view.markets[symbol].quote


def mark_of(view: AccountView, leg: PositionLeg) -> Decimal:
    """Mark price of a leg; its entry while no mark was ever set."""
    return view.marks.get(leg.symbol, leg.entry_price)


def unrealised(view: AccountView, leg: PositionLeg) -> Decimal:
    """Profit of a leg at the mark: amount x (mark - entry)."""
    return leg.amount * (mark_of(view, leg) - leg.entry_price)


def notional(view: AccountView, leg: PositionLeg) -> Decimal:
    """Signed size of a leg in quote at the mark."""
    return leg.amount * mark_of(view, leg)


def is_isolated(view: AccountView, symbol: str) -> bool:
    """True when positions of the symbol have a margin of their own."""
    return view.setting(symbol).margin_mode is MarginMode.ISOLATED


def initial_margin(view: AccountView, leg: PositionLeg) -> Decimal:
    """Notional over leverage."""
    return abs(notional(view, leg)) / view.setting(leg.symbol).leverage


def maintenance_margin(view: AccountView, leg: PositionLeg) -> Decimal:
    """Notional times the market's maintenance rate."""
    return abs(notional(view, leg)) * view.markets[leg.symbol].maintenance_rate


def order_margin(view: AccountView, order: ExchangeOrder) -> Decimal:
    """Initial margin that a resting order reserves; nothing for one that can only reduce."""
    if order.reduce_only or order.close_position or not order.price:
        return ZERO
    held = view.legs.get((order.symbol, order.leg))
    reducing = abs(held.amount) if held and held.amount * order.sign < 0 else ZERO
    adding = max(ZERO, order.remaining - reducing)
    return adding * order.price / view.setting(order.symbol).leverage


def legs_of_asset(view: AccountView, asset: str) -> Iterator[PositionLeg]:
    """Legs whose profit is paid in `asset`."""
    return (leg for leg in view.legs.values() if margin_asset(view, leg.symbol) == asset)


def balance(view: AccountView, asset: str) -> Balance:
    """Amounts of one margin asset, in that asset."""
    if asset not in view.worked_out:
        view.worked_out[asset] = _balance(view, asset)
    worked_out: Balance = view.worked_out[asset]
    return worked_out


def _balance(view: AccountView, asset: str) -> Balance:
    """Work out the amounts of one margin asset."""
    wallet = view.wallet.get(asset, ZERO)
    isolated_wallet = profit = cross_profit = initial = maintenance = cross_maintenance = ZERO
    for leg in legs_of_asset(view, asset):
        # After every order this runs over everything held: nothing is looked up twice.
        mark, setting = mark_of(view, leg), view.setting(leg.symbol)
        gain, worth = leg.amount * (mark - leg.entry_price), abs(leg.amount) * mark
        needed = worth * view.markets[leg.symbol].maintenance_rate
        profit += gain
        maintenance += needed
        initial += worth / setting.leverage
        if setting.margin_mode is MarginMode.ISOLATED:
            isolated_wallet += leg.isolated_wallet
        else:
            cross_profit += gain
            cross_maintenance += needed
    reserved = sum(
        (
            order_margin(view, order)
            for order in view.orders.values()
            if margin_asset(view, order.symbol) == asset
        ),
        ZERO,
    )
    return Balance(
        wallet=wallet,
        cross_wallet=wallet - isolated_wallet,
        unrealised=profit,
        cross_unrealised=cross_profit,
        position_initial=initial,
        order_initial=reserved,
        maintenance=maintenance,
        cross_maintenance=cross_maintenance,
    )


def assets_of(view: AccountView) -> tuple[str, ...]:
    """Every asset with a wallet or a position, in order of the name."""
    held = set(view.wallet) | {margin_asset(view, leg.symbol) for leg in view.legs.values()}
    return tuple(sorted(held))


def total(view: AccountView) -> Balance:
    """Amounts of the account as its venue totals them.

    Single-asset mode: USDT alone. Multi-assets mode: all assets in USD, coins with their haircut.
    """
    if not view.multi_assets:
        return balance(view, "USDT")
    sums = dict.fromkeys(Balance.__slots__, ZERO)
    for asset in assets_of(view):
        worth = usd_value(view, asset) * collateral_rate(view, asset)
        part = balance(view, asset)
        for name in sums:
            sums[name] += getattr(part, name) * worth
    return Balance(**sums)


def backing(view: AccountView, asset: str) -> Balance:
    """What stands behind a cross position paid in `asset`: the asset, or the whole account."""
    return total(view) if view.multi_assets else balance(view, asset)


def available(view: AccountView, asset: str) -> Decimal:
    """Margin free for new orders, never negative: cross balance minus cross initial margin."""
    pot = backing(view, asset)
    legs = view.legs.values() if view.multi_assets else legs_of_asset(view, asset)
    tied = sum(
        (initial_margin(view, leg) for leg in legs if not is_isolated(view, leg.symbol)),
        pot.order_initial,
    )
    return max(ZERO, pot.cross_margin_balance - tied)


def equity_usd(view: AccountView) -> Decimal:
    """Value of everything in the account at full price, unrealised profit included."""
    return sum(
        (balance(view, asset).margin_balance * usd_value(view, asset) for asset in assets_of(view)),
        ZERO,
    )


def liquidation_price(view: AccountView, leg: PositionLeg) -> Decimal:
    """Mark at which the position is liquidated while all other marks stand still; 0 for none.

    Solves balance + sum q (p - e) = rate x p x sum |q| for p, where the balance is the isolated
    wallet, or the cross wallet plus the profit and minus the maintenance of other symbols. Both
    legs of a hedged cross position move together and share one price.
    """
    rate = view.markets[leg.symbol].maintenance_rate
    if is_isolated(view, leg.symbol):
        together = [leg]
        pot = leg.isolated_wallet
    else:
        asset = margin_asset(view, leg.symbol)
        together = [other for other in view.legs.values() if other.symbol == leg.symbol]
        whole = backing(view, asset)
        pot = whole.cross_margin_balance - whole.cross_maintenance
        for other in together:
            pot += maintenance_margin(view, other) - unrealised(view, other)
    net = sum((other.amount for other in together), ZERO)
    gross = sum((abs(other.amount) for other in together), ZERO)
    cost = sum((other.amount * other.entry_price for other in together), ZERO)
    slope = gross * rate - net
    if slope == 0:
        return ZERO
    return max(ZERO, (pot - cost) / slope)
