"""What coins are worth and where they are sold, for the spot side of every venue.

Pure: takes balances, the mids of markets and their rules; owns which market prices a coin, on which
it is sold, and what an account adds up to. Markets are named by base and quote put together, as
Binance, Bybit and Bitget do. Its rules:

- Stables count 1 and are never sold. A coin is priced by its first market against one of them, in
  the order in which they are configured, else over BTC or ETH.
- A coin that nobody prices counts 0 and is named: to take its disappearance for a loss would sell
  all others.
- Where a coin is priced and where it is sold are two questions: a market may show prices and take
  no orders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from model import Asset, Coin, MarketLimits, Position, Side, Symbol

BRIDGES = (Asset("BTC"), Asset("ETH"))
"""The coins that others are priced and sold over, the deeper one first."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an account has of one asset; `locked` is what resting orders hold of it.

    `lent` is the part that cannot be sold here although it is ours (Simple Earn, staking).
    """

    asset: Asset
    free: Decimal = ZERO
    locked: Decimal = ZERO
    lent: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """Everything of it."""
        return self.free + self.locked + self.lent


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotValue:
    """A spot account in money, its coins, and the coins that nobody prices."""

    equity: float
    coins: tuple[Coin, ...]
    unpriced: tuple[Asset, ...]


Mids = Mapping[Symbol, float | None]
"""Every market that the venue lists; None where its book lacks a side."""


def price_assets(
    assets: Iterable[Asset], *, mids: Mids, stables: Sequence[Asset]
) -> dict[Asset, float]:
    """Price assets in money; those that no market prices are left out."""
    prices: dict[Asset, float] = {}
    for asset in assets:
        price = _direct(asset, mids=mids, stables=stables)
        if price is None:
            price = _over_a_bridge(asset, mids=mids, stables=stables)
        if price is not None:
            prices[asset] = price
    return prices


def _direct(asset: Asset, *, mids: Mids, stables: Sequence[Asset]) -> float | None:
    """The price against a stable; some markets quote the stable in the asset (`USDTTRY`)."""
    for stable in stables:
        mid = mids.get(Symbol(asset + stable))
        if mid is not None:
            return mid
    for stable in stables:
        mid = mids.get(Symbol(stable + asset))
        if mid is not None:
            return 1 / mid
    return None


def _over_a_bridge(asset: Asset, *, mids: Mids, stables: Sequence[Asset]) -> float | None:
    for bridge in BRIDGES:
        mid = mids.get(Symbol(asset + bridge))
        worth = _direct(bridge, mids=mids, stables=stables)
        if mid is not None and worth is not None:
            return mid * worth
    return None


def is_listed(asset: Asset, *, mids: Mids, stables: Sequence[Asset]) -> bool:
    """Whether any market trades this asset for a stable or a bridge, priced or not."""
    return market_by_name(asset, mids=mids, stables=stables) is not None


def market_by_name(asset: Asset, *, mids: Mids, stables: Sequence[Asset]) -> Symbol | None:
    """The market that a coin is sold on as far as names tell, None where none is listed."""
    names = (Symbol(asset + quote) for quote in (*stables, *BRIDGES))
    return next((name for name in names if name in mids), None)


def choose_markets(
    markets: Iterable[MarketLimits], *, stables: Sequence[Asset]
) -> dict[Asset, MarketLimits]:
    """Choose the market that each coin is sold on; a coin without one is left out.

    Against a stable if it can be, else over BTC or ETH, as long as that one can be sold itself.
    """
    tradable = {(market.base, market.quote): market for market in markets if market.is_tradable}
    chosen: dict[Asset, MarketLimits] = {}
    for base in dict.fromkeys(base for base, _ in tradable):
        if base in stables:
            continue
        quotes = [quote for quote in stables if (base, quote) in tradable]
        quotes += [
            bridge
            for bridge in BRIDGES
            if (base, bridge) in tradable
            and any((bridge, stable) in tradable for stable in stables)
        ]
        if quotes:
            chosen[base] = tradable[base, quotes[0]]
    return chosen


def limits_by_coin(
    chosen: Mapping[Asset, MarketLimits], *, prices: Mapping[Asset, float]
) -> dict[Symbol, MarketLimits]:
    """Return the market rules under the coins' own names, least values in money.

    A least value in a coin whose price is not known is left out: the venue's refusal tells then.
    """
    return {
        Symbol(asset): replace(
            market,
            symbol=Symbol(asset),
            min_notional=market.min_notional
            if market.quote not in BRIDGES
            else market.min_notional * Decimal(prices.get(market.quote, 0.0)),
        )
        for asset, market in chosen.items()
    }


def value_balances(
    balances: Iterable[Balance],
    *,
    stables: Collection[Asset],
    prices: Mapping[Asset, float],
    sellable: Collection[Asset],
) -> SpotValue:
    """Value an account; coins that are not in `sellable` can be sold nowhere."""
    equity = 0.0
    coins: list[Coin] = []
    unpriced: list[Asset] = []
    for balance in balances:
        if balance.asset in stables:
            equity += float(balance.total)
        elif balance.asset in prices:
            price = prices[balance.asset]
            equity += float(balance.total) * price
            here = balance.free + balance.locked if balance.asset in sellable else ZERO
            coins.append(
                Coin(asset=balance.asset, quantity=balance.total, price=price, sellable=here)
            )
        else:
            unpriced.append(balance.asset)
    return SpotValue(
        equity=equity,
        coins=tuple(sorted(coins, key=lambda coin: coin.asset)),
        unpriced=tuple(sorted(unpriced)),
    )


def holdings(
    balances: Iterable[Balance], *, stables: Collection[Asset], prices: Mapping[Asset, float]
) -> tuple[Position, ...]:
    """Return what could be sold of each coin, for sizing; a price of 0 is not known."""
    return tuple(
        Position(
            symbol=Symbol(balance.asset),
            base=balance.asset,
            side=Side.LONG,
            quantity=balance.free + balance.locked,
            entry_price=0.0,
            mark_price=prices.get(balance.asset, 0.0),
            unrealised_pnl=0.0,
            locked=balance.locked,
        )
        for balance in balances
        if balance.asset not in stables and balance.free + balance.locked > 0
    )
