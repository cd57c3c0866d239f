"""The markets a simulated exchange lists, and a sensible market for a symbol nobody listed.

The default catalogue resembles the large perpetuals: steps, minimums and the difference between
the largest market order and the largest limit order. Quantities are base units, `min_notional`
and `depth` quote money, rates fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache

ONE_PERCENT = Decimal("0.01")
DEFAULT_DEPTH = Decimal(2_000_000_000)
"""Quote money that moves the average fill by 1 %: a 10,000 order costs 0.00005 of a percent."""
QUOTES = ("USDT", "USDC", "FDUSD", "BUSD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What the exchange accepts on one perpetual market.

    `market_max` bounds a market order and `limit_max` a limit order. `depth` is the quote money
    that moves the *average* fill price by 1 % against the taker, None for no slippage; a market
    order fills only while its last unit costs less than `take_bound` from the mark.
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
    max_leverage: int = 75
    maintenance_rate: Decimal = Decimal("0.005")
    depth: Decimal | None = DEFAULT_DEPTH
    taker_fee: Decimal = Decimal("0.0005")
    maker_fee: Decimal = Decimal("0.0002")
    liquidation_fee: Decimal = Decimal("0.0125")
    take_bound: Decimal = Decimal("0.05")
    is_tradable: bool = True
    is_listed: bool = True
    """False: it trades, and the list of markets does not name it yet, as with a new listing."""

    @property
    def quantity_decimals(self) -> int:
        """Number of decimals of a quantity."""
        return decimals_of(self.step)

    @property
    def price_decimals(self) -> int:
        """Number of decimals of a price."""
        return decimals_of(self.tick)

    def floor(self, quantity: Decimal) -> Decimal:
        """Round a quantity down to the step."""
        return (quantity / self.step).to_integral_value(rounding=ROUND_DOWN) * self.step

    def impact(self, notional: Decimal) -> Decimal:
        """Return the fraction by which the average fill of `notional` is worse than the mark."""
        return Decimal(0) if self.depth is None else ONE_PERCENT * notional / self.depth

    def fillable(self, price: Decimal) -> Decimal | None:
        """Return the largest quantity a market order finds at `price`; None for no bound.

        The average moves linearly, so the last unit is twice as far from the mark as the average.
        """
        if self.depth is None:
            return None
        return self.floor(self.depth * self.take_bound / 2 / ONE_PERCENT / price)


@lru_cache(maxsize=1024)
def decimals_of(increment: Decimal) -> int:
    """Count the decimals of a step or tick: 3 for 0.001, 0 for 1 and above."""
    exponent = increment.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _listed(
    symbol: str,
    *,
    step: str,
    tick: str,
    market_max: str,
    limit_max: str,
    min_notional: str = "5",
    max_leverage: int = 75,
    maintenance_rate: str = "0.005",
) -> Market:
    return Market(
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        quote="USDT",
        step=Decimal(step),
        min_quantity=Decimal(step),
        market_max=Decimal(market_max),
        limit_max=Decimal(limit_max),
        min_notional=Decimal(min_notional),
        tick=Decimal(tick),
        max_leverage=max_leverage,
        maintenance_rate=Decimal(maintenance_rate),
    )


CATALOGUE: tuple[Market, ...] = (
    _listed(
        "BTCUSDT",
        step="0.001",
        tick="0.10",
        market_max="120",
        limit_max="1000",
        min_notional="100",
        max_leverage=125,
        maintenance_rate="0.004",
    ),
    _listed(
        "ETHUSDT",
        step="0.001",
        tick="0.01",
        market_max="2000",
        limit_max="10000",
        min_notional="20",
        max_leverage=125,
        maintenance_rate="0.004",
    ),
    _listed("BNBUSDT", step="0.01", tick="0.010", market_max="2000", limit_max="10000"),
    _listed("SOLUSDT", step="0.01", tick="0.0100", market_max="15000", limit_max="1000000"),
    _listed("XRPUSDT", step="0.1", tick="0.0001", market_max="2000000", limit_max="10000000"),
    _listed("DOGEUSDT", step="1", tick="0.000010", market_max="30000000", limit_max="50000000"),
    _listed("ADAUSDT", step="1", tick="0.00010", market_max="2000000", limit_max="10000000"),
    _listed("AVAXUSDT", step="1", tick="0.0010", market_max="50000", limit_max="1000000"),
    _listed("LINKUSDT", step="0.01", tick="0.001", market_max="50000", limit_max="1000000"),
    _listed(
        "LTCUSDT",
        step="0.001",
        tick="0.01",
        market_max="5000",
        limit_max="10000",
        min_notional="20",
    ),
    _listed("DOTUSDT", step="0.1", tick="0.001", market_max="250000", limit_max="1000000"),
    _listed("TRXUSDT", step="1", tick="0.00001", market_max="5000000", limit_max="10000000"),
    _listed(
        "BCHUSDT",
        step="0.001",
        tick="0.01",
        market_max="2000",
        limit_max="10000",
        min_notional="20",
    ),
)


def split_symbol(symbol: str) -> tuple[str, str]:
    """Split `SOLUSDT` or `SOLPERP` into base and quote.

    Raises ValueError for a quote that is not known.
    """
    if symbol.endswith("PERP") and symbol != "PERP":
        return symbol.removesuffix("PERP"), "USDC"
    for quote in QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    raise ValueError(f"{symbol}: cannot tell its quote, list it under markets")


def default_market(symbol: str, *, price: Decimal) -> Market:
    """Invent a market whose step is worth at most 1 quote, so that 10 quote can be expressed."""
    base, quote = split_symbol(symbol)
    worth_one = Decimal(1) / price
    step = min(Decimal(1), Decimal(1).scaleb(worth_one.adjusted()))
    return Market(
        symbol=symbol,
        base=base,
        quote=quote,
        step=step,
        min_quantity=step,
        market_max=_round_up_to_power(Decimal(1_000_000) / price),
        limit_max=_round_up_to_power(Decimal(10_000_000) / price),
        min_notional=Decimal(5),
        tick=Decimal(1).scaleb(price.adjusted() - 4),
        max_leverage=50,
        maintenance_rate=Decimal("0.01"),
    )


def _round_up_to_power(value: Decimal) -> Decimal:
    return Decimal(1).scaleb(value.adjusted() + 1)


def market_from_mapping(settings: Mapping[str, object], *, known: Market | None) -> Market:
    """Build or change a market from a seed entry; numbers may be strings, ints or floats.

    Without a known market, `price` in the entry shapes the default one. Raises ValueError for a
    field that a market does not have.
    """
    wanted = {key: value for key, value in settings.items() if key != "price"}
    kinds = {field.name: str(field.type) for field in fields(Market)}
    for name in wanted:
        if name not in kinds:
            raise ValueError(f"markets: {name} is no field of a market")
    symbol = str(wanted["symbol"])
    base = known or default_market(symbol, price=Decimal(str(settings.get("price", 1))))
    changes: dict[str, object] = {}
    for name, value in wanted.items():
        if kinds[name].startswith("Decimal"):
            changes[name] = None if value is None else Decimal(str(value))
        else:
            changes[name] = value
    return replace(base, **changes)  # type: ignore[arg-type]
