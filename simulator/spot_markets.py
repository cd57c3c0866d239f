"""The spot markets a simulated exchange lists: what each accepts, and how wide it quotes.

The default catalogue resembles large spot markets: against USDT, and some against BTC or ETH alone.
Quantities are base units, `min_notional` and `depth` the market's own quote, rates fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_DOWN, Decimal

ONE_PERCENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMarket:
    """What the exchange accepts on one spot market.

    `market_max` bounds a market order and `limit_max` a limit order. `spread` is the distance from
    bid to ask as a fraction of the mid. `depth` is the quote money that moves the average fill of a
    market order by 1 % against the taker, None for no slippage.
    """

    symbol: str
    base: str
    quote: str
    step: Decimal
    min_quantity: Decimal
    market_max: Decimal
    limit_max: Decimal
    min_notional: Decimal
    tick: Decimal
    spread: Decimal = Decimal("0.0002")
    depth: Decimal | None = None
    fee: Decimal = Decimal("0.001")
    is_tradable: bool = True

    def floor(self, quantity: Decimal) -> Decimal:
        """Round a quantity down to the step."""
        return (quantity / self.step).to_integral_value(rounding=ROUND_DOWN) * self.step

    def bid(self, mid: Decimal) -> Decimal:
        """The best price somebody pays while the mid is this."""
        return mid * (1 - self.spread / 2)

    def ask(self, mid: Decimal) -> Decimal:
        """The best price somebody sells at while the mid is this."""
        return mid * (1 + self.spread / 2)

    def impact(self, notional: Decimal) -> Decimal:
        """The fraction by which the average fill of `notional` is worse than the best price."""
        return Decimal(0) if self.depth is None else ONE_PERCENT * notional / self.depth


def _listed(
    base: str,
    quote: str,
    *,
    step: str,
    tick: str,
    market_max: str,
    min_notional: str = "5",
) -> SpotMarket:
    return SpotMarket(
        symbol=base + quote,
        base=base,
        quote=quote,
        step=Decimal(step),
        min_quantity=Decimal(step),
        market_max=Decimal(market_max),
        limit_max=Decimal(market_max) * 90,
        min_notional=Decimal(min_notional),
        tick=Decimal(tick),
    )


SPOT_CATALOGUE: tuple[SpotMarket, ...] = (
    _listed("BTC", "USDT", step="0.00001", tick="0.01", market_max="100"),
    _listed("ETH", "USDT", step="0.0001", tick="0.01", market_max="2000"),
    _listed("BNB", "USDT", step="0.001", tick="0.01", market_max="1000"),
    _listed("SOL", "USDT", step="0.001", tick="0.01", market_max="10000"),
    _listed("XRP", "USDT", step="0.1", tick="0.0001", market_max="900000"),
    _listed("DOGE", "USDT", step="1", tick="0.00001", market_max="9000000"),
    _listed("USDC", "USDT", step="1", tick="0.0001", market_max="5000000"),
    _listed("ETH", "BTC", step="0.0001", tick="0.00001", market_max="1000", min_notional="0.0001"),
    _listed("SOL", "BTC", step="0.01", tick="0.0000001", market_max="9000", min_notional="0.0001"),
    _listed("QRX", "BTC", step="1", tick="0.00000001", market_max="500000", min_notional="0.0001"),
    _listed("GLM", "ETH", step="1", tick="0.0000001", market_max="500000", min_notional="0.001"),
)
"""QRX and GLM trade against a coin alone, so that selling them takes two steps."""


def spot_market_from_mapping(
    settings: Mapping[str, object], *, known: SpotMarket | None
) -> SpotMarket:
    """Build or change a spot market from a seed entry; numbers may be strings, ints or floats.

    A market that is not known needs `base` and `quote`. Raises ValueError for a field that a spot
    market does not have.
    """
    kinds = {field.name: str(field.type) for field in fields(SpotMarket)}
    for name in settings:
        if name not in kinds:
            raise ValueError(f"spot_markets: {name} is no field of a spot market")
    changes: dict[str, object] = {}
    for name, value in settings.items():
        if kinds[name].startswith("Decimal"):
            changes[name] = None if value is None else Decimal(str(value))
        else:
            changes[name] = value
    if known is None:
        known = _listed(
            str(settings["base"]),
            str(settings["quote"]),
            step="0.01",
            tick="0.00000001",
            market_max="1000000",
        )
    return replace(known, **changes)  # type: ignore[arg-type]
