"""What coins are worth, where they are sold, and what an account adds up to: tables."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from model import Asset, MarketLimits, Symbol
from venues.spot_values import (
    Balance,
    choose_markets,
    holdings,
    limits_by_coin,
    market_by_name,
    price_assets,
    value_balances,
)

USDT, USDC, BTC, ETH, SOL = (Asset(name) for name in ("USDT", "USDC", "BTC", "ETH", "SOL"))
STABLES = (USDT, USDC)


def mids(**books: float | None) -> dict[Symbol, float | None]:
    """Every market that is listed, with its mid."""
    return {Symbol(name): mid for name, mid in books.items()}


@pytest.mark.parametrize(
    ("asset", "books", "price"),
    [
        ("SOL", mids(SOLUSDT=100.0, SOLUSDC=99.0), 100.0),
        # USDT first, then the next stable, also when the first market has an empty book.
        ("SOL", mids(SOLUSDT=None, SOLUSDC=99.0), 99.0),
        ("SOL", mids(SOLBTC=0.002, BTCUSDT=60_000.0), 120.0),
        ("SOL", mids(SOLETH=0.04, ETHUSDT=3_000.0), 120.0),
        # BTC before ETH; over ETH when BTC has no price.
        ("SOL", mids(SOLBTC=0.002, SOLETH=0.05, BTCUSDT=60_000.0, ETHUSDT=3_000.0), 120.0),
        ("SOL", mids(SOLBTC=0.002, SOLETH=0.05, BTCUSDT=None, ETHUSDT=3_000.0), 150.0),
        # A market that quotes the stable in the asset.
        ("TRY", mids(USDTTRY=40.0), 0.025),
        ("SOL", mids(SOLUSDT=None), None),
        ("SOL", mids(SOLBNB=0.2, BNBUSDT=600.0), None),
        ("SOL", mids(), None),
    ],
)
def test_price_is_direct_or_over_a_bridge(
    asset: str, books: Mapping[Symbol, float | None], price: float | None
) -> None:
    """Against a stable, else over BTC or ETH, else none."""
    found = price_assets([Asset(asset)], mids=books, stables=STABLES)
    assert found == ({} if price is None else {Asset(asset): pytest.approx(price)})


def rules(base: str, quote: str, *, least: str = "5", tradable: bool = True) -> MarketLimits:
    """A market."""
    return MarketLimits(
        symbol=Symbol(base + quote),
        base=Asset(base),
        quote=Asset(quote),
        step=Decimal("0.01"),
        min_quantity=Decimal("0.01"),
        market_max=Decimal(100),
        min_notional=Decimal(least),
        reduce_only_waives_min_notional=False,
        is_tradable=tradable,
    )


@pytest.mark.parametrize(
    ("markets", "expected"),
    [
        ([rules("SOL", "USDC"), rules("SOL", "USDT")], {"SOL": "SOLUSDT"}),
        ([rules("SOL", "USDT", tradable=False), rules("SOL", "USDC")], {"SOL": "SOLUSDC"}),
        ([rules("SOL", "BTC"), rules("BTC", "USDT")], {"SOL": "SOLBTC", "BTC": "BTCUSDT"}),
        ([rules("SOL", "ETH"), rules("ETH", "USDC")], {"SOL": "SOLETH", "ETH": "ETHUSDC"}),
        # BTC cannot be sold for a stable itself: that way ends nowhere.
        ([rules("SOL", "BTC")], {}),
        ([rules("SOL", "BTC"), rules("BTC", "USDT", tradable=False)], {}),
        # ETH over BTC is a bridge over a bridge, and a direct market beats it.
        ([rules("ETH", "BTC"), rules("BTC", "USDT")], {"ETH": "ETHBTC", "BTC": "BTCUSDT"}),
        ([rules("USDC", "USDT"), rules("SOL", "BNB"), rules("BNB", "USDT")], {"BNB": "BNBUSDT"}),
    ],
)
def test_coin_is_sold_for_a_stable_or_over_a_bridge(
    markets: list[MarketLimits], expected: dict[str, str]
) -> None:
    """Stables are never sold, halted markets never chosen, and no way has three steps."""
    chosen = choose_markets(markets, stables=STABLES)
    assert {asset: market.symbol for asset, market in chosen.items()} == expected


def test_least_value_is_told_in_money() -> None:
    """0.0001 BTC at 60,000 are 6; without a price the venue's refusal tells."""
    chosen = {SOL: rules("SOL", "BTC", least="0.0001"), BTC: rules("BTC", "USDT")}
    limits = limits_by_coin(chosen, prices={BTC: 60_000.0})
    assert limits[Symbol("SOL")].min_notional == 6
    assert limits[Symbol("SOL")].quote == "BTC"
    assert limits[Symbol("BTC")].min_notional == 5
    assert limits_by_coin(chosen, prices={})[Symbol("SOL")].min_notional == 0


def test_account_is_worth_its_stables_and_its_priced_coins() -> None:
    """100 + 50 + 0.5 x 60,000 + 10 x 100 = 31,150; XYZ counts 0 and is named."""
    balances = (
        Balance(asset=USDT, free=Decimal(60), locked=Decimal(40)),
        Balance(asset=USDC, lent=Decimal(50)),
        Balance(asset=BTC, free=Decimal("0.1"), locked=Decimal("0.1"), lent=Decimal("0.3")),
        Balance(asset=SOL, free=Decimal(10)),
        Balance(asset=Asset("XYZ"), free=Decimal(7)),
    )
    value = value_balances(
        balances, stables=STABLES, prices={BTC: 60_000.0, SOL: 100.0}, sellable={BTC}
    )
    assert value.equity == pytest.approx(31_150.0)
    assert [(coin.asset, coin.quantity, coin.sellable) for coin in value.coins] == [
        ("BTC", Decimal("0.5"), Decimal("0.2")),
        ("SOL", Decimal(10), Decimal(0)),
    ]
    assert value.unpriced == ("XYZ",)


def test_what_closes_are_sized_by_leaves_out_stables_and_what_is_lent() -> None:
    """Only what could be sold is there; a price that is not known is 0."""
    balances = (
        Balance(asset=USDT, free=Decimal(60)),
        Balance(asset=BTC, free=Decimal("0.1"), locked=Decimal("0.1"), lent=Decimal(5)),
        Balance(asset=SOL, lent=Decimal(10)),
        Balance(asset=ETH, free=Decimal(1)),
    )
    found = holdings(balances, stables=STABLES, prices={BTC: 60_000.0})
    assert [(p.symbol, p.quantity, p.locked, p.mark_price) for p in found] == [
        ("BTC", Decimal("0.2"), Decimal("0.1"), 60_000.0),
        ("ETH", Decimal(1), Decimal(0), 0.0),
    ]


def test_market_by_name_needs_no_rules() -> None:
    """Until the market rules are known, a listed name serves."""
    listed = mids(SOLBTC=None, SOLUSDC=99.0)
    assert market_by_name(SOL, mids=listed, stables=STABLES) == "SOLUSDC"
    assert market_by_name(BTC, mids=listed, stables=STABLES) is None
