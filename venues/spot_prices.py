"""What the coins of a spot account are worth: by the books read last, else by what they were worth.

One for each account. Owns how long a price is believed; which market prices a coin is in
`spot_values`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clock import Clock
from model import Asset
from venues.spot_values import Mids, market_by_name, price_assets

PRICE_LIFE_S = 86400.0
"""An empty book leaves a coin its last price for so long (behaviour.md section 15)."""


class SpotPrices:
    """The mids of all markets, and the last price of each coin that was asked for.

    `stables` are worth 1, in the order in which coins are sold for them.
    """

    def __init__(self, *, stables: Sequence[Asset], clock: Clock) -> None:
        self.mids: Mids = {}
        self._stables = stables
        self._clock = clock
        self._known: dict[Asset, tuple[float, float]] = {}

    def of(self, assets: Iterable[Asset]) -> dict[Asset, float]:
        """Price coins; those that have none, or had their last a day ago, are left out."""
        now = self._clock.monotonic()
        coins = [asset for asset in assets if asset not in self._stables]
        fresh = price_assets(coins, mids=self.mids, stables=self._stables)
        self._known.update((asset, (price, now)) for asset, price in fresh.items())
        return {
            asset: known[0]
            for asset in coins
            if (known := self._known.get(asset)) is not None and now - known[1] <= PRICE_LIFE_S
        }

    def latest(self) -> dict[Asset, float]:
        """Every price that was ever asked for, however old."""
        return {asset: price for asset, (price, _) in self._known.items()}

    def take_last_paid(
        self, asset: Asset, *, paid: float | None, prices: Mapping[Asset, float]
    ) -> None:
        """Price a coin by what was last paid on its market, in what that pays in."""
        market = market_by_name(asset, mids=self.mids, stables=self._stables)
        if market is None or paid is None:
            return
        quote = Asset(market.removeprefix(asset))
        worth = 1.0 if quote in self._stables else prices.get(quote, 0.0)
        if worth > 0:
            self._known[asset] = (paid * worth, self._clock.monotonic())
