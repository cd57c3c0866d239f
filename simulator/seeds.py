"""Seed files: what an exchange looks like before anything happens.

A seed is a YAML or JSON mapping. Every number may be a string.

    api_key: test-key
    api_secret: test-secret
    passphrase: test-pass                   where a venue asks for one
    unified: false                          where a venue keeps two kinds of account: on Binance one
                                            of portfolio margin, whose wallets may be below zero
    position_mode: one_way | hedge          (one_way)
    multi_assets: false
    wallet: {USDT: 10000}
    collateral: {BTC: 0.95}                 what a coin counts as margin in multi-assets mode
    prices: {BTCUSDT: 60000}
    markets: [{symbol: NEWUSDT, step: 0.1, price: 2}]
    positions:
      - {symbol: BTCUSDT, side: LONG, quantity: 0.5, entry_price: 61000, mark_price: 60000,
         leverage: 10, margin_mode: cross | isolated, isolated_margin: 500,
         position_mode: hedge}              of this symbol alone, where the venue allows that
    orders:
      - {symbol: BTCUSDT, side: SELL, type: LIMIT, quantity: 0.5, price: 70000, reduce_only: true,
         trigger_price: ..., close_position: ..., position_side: LONG, client_id: tp-1}
    spot: {BTC: 0.5, USDT: 2000}            what the account holds on the spot side
    spot_prices: {QRXBTC: 0.00001}          mids; other spot markets follow the perpetual's mark
    spot_markets: [{symbol: NEWBTC, base: NEW, quote: BTC, step: 0.1}]
    spot_orders: [{symbol: BTCUSDT, side: SELL, type: LIMIT, quantity: 0.1, price: 90000}]
    can_trade: true                         what the key may do
    can_withdraw: false
    can_read_transfers: true
    is_bound_to_ip: false
    key_expires_at: 1900000000
    elsewhere: {spot: {BTC: 0.1}, coin_margined: {ETH: 2}}    also margin, options,
                                            portfolio_margin: what other parts of the venue hold
    sub_accounts: 0
    clock_offset_s: 0                       the venue's clock minus the machine's
    at: 1700000000                          freezes the clock there; absent: the wall clock

It refuses keys it does not know, so that a typing error is not a silently different scene.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from model import MarginMode, OrderSide, PositionMode
from simulator.exchange import Exchange
from simulator.markets import market_from_mapping
from simulator.spot_markets import spot_market_from_mapping
from simulator.spot_state import SpotBook, SpotRequest
from simulator.state import (
    DEFAULT_LEVERAGE,
    ZERO,
    Account,
    Cause,
    Leg,
    OrderRequest,
    OrderType,
    PositionLeg,
    SymbolSettings,
    TimeInForce,
    to_decimal,
)

Seed = Mapping[str, Any]
SEED_KEYS = frozenset(
    {
        "api_key",
        "api_secret",
        "passphrase",
        "unified",
        "position_mode",
        "multi_assets",
        "wallet",
        "collateral",
        "prices",
        "markets",
        "positions",
        "orders",
        "spot",
        "spot_prices",
        "spot_markets",
        "spot_orders",
        "can_trade",
        "can_withdraw",
        "can_read_transfers",
        "is_bound_to_ip",
        "key_expires_at",
        "elsewhere",
        "sub_accounts",
        "clock_offset_s",
        "at",
    }
)
POSITION_KEYS = frozenset(
    {
        "symbol",
        "side",
        "quantity",
        "entry_price",
        "mark_price",
        "leverage",
        "margin_mode",
        "isolated_margin",
        "position_mode",
    }
)
ORDER_KEYS = frozenset(
    {
        "symbol",
        "side",
        "type",
        "quantity",
        "price",
        "trigger_price",
        "activation_price",
        "callback_percent",
        "reduce_only",
        "close_position",
        "position_side",
        "client_id",
        "time_in_force",
        "working_type",
    }
)


SPOT_ORDER_KEYS = frozenset(
    {"symbol", "side", "type", "quantity", "price", "client_id", "book", "trigger_price"}
)


def load_seed(path: Path) -> Seed:
    """Read a seed file. Raises ValueError when it is not a mapping."""
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: a seed is a mapping")
    return content


def apply_seed(exchange: Exchange, seed: Seed) -> Account:
    """Put a seed's markets, prices and account in place. Raises ValueError or Rejected.

    `at` moves the exchange's clock; whether that freezes it, and `clock_offset_s`, are the
    server's business.
    """
    _refuse_unknown(seed, SEED_KEYS, "seed")
    for entry in seed.get("markets") or ():
        symbol = str(entry["symbol"])
        exchange.add_market(market_from_mapping(entry, known=exchange.markets.get(symbol)))
    mode = PositionMode(str(seed.get("position_mode", "one_way")).upper())
    account = Account(
        api_key=str(seed["api_key"]),
        api_secret=str(seed["api_secret"]),
        passphrase=str(seed.get("passphrase", "")),
        is_unified=bool(seed.get("unified", False)),
        position_mode=mode,
        multi_assets=bool(seed.get("multi_assets", False)) or bool(seed.get("unified", False)),
        can_trade=bool(seed.get("can_trade", True)),
        can_withdraw=bool(seed.get("can_withdraw", False)),
        can_read_transfers=bool(seed.get("can_read_transfers", True)),
        is_bound_to_ip=bool(seed.get("is_bound_to_ip", False)),
        key_expires_at=None
        if seed.get("key_expires_at") is None
        else float(seed["key_expires_at"]),
        elsewhere={
            part: {asset: to_decimal(amount) for asset, amount in held.items()}
            for part, held in (seed.get("elsewhere") or {}).items()
        },
        sub_accounts=int(seed.get("sub_accounts", 0)),
        wallet={asset: to_decimal(held) for asset, held in (seed.get("wallet") or {}).items()},
        collateral={
            asset: to_decimal(rate) for asset, rate in (seed.get("collateral") or {}).items()
        },
    )
    positions: Sequence[Mapping[str, Any]] = seed.get("positions") or ()
    for entry in positions:
        _refuse_unknown(entry, POSITION_KEYS, "positions")
    marks = {
        str(entry["symbol"]): entry["mark_price"] for entry in positions if "mark_price" in entry
    }
    exchange.accounts.pop(account.api_key, None)
    exchange.set_prices({**(seed.get("prices") or {}), **marks}, at=seed.get("at"))
    for entry in positions:
        if "position_mode" in entry:
            own = PositionMode(str(entry["position_mode"]).upper())
            account.position_modes[str(entry["symbol"])] = own
        account.settings[str(entry["symbol"])] = SymbolSettings(
            leverage=int(entry.get("leverage", DEFAULT_LEVERAGE)),
            margin_mode=MarginMode(str(entry.get("margin_mode", "cross")).upper()),
        )
    seeded = exchange.seed_account(
        account,
        positions=[_leg(entry, account.mode_of(str(entry["symbol"]))) for entry in positions],
        orders=[order_request(entry) for entry in seed.get("orders") or ()],
    )
    _apply_spot(exchange, seed, api_key=account.api_key)
    return seeded


def _apply_spot(exchange: Exchange, seed: Seed, *, api_key: str) -> None:
    """Put the spot side of a seed in place; one without a spot side holds nothing there."""
    for entry in seed.get("spot_markets") or ():
        known = exchange.spot.markets.get(str(entry["symbol"]))
        exchange.spot.list_market(spot_market_from_mapping(entry, known=known))
    exchange.spot.set_prices(seed.get("spot_prices") or {})
    held = seed.get("spot") or (seed.get("elsewhere") or {}).get("spot") or {}
    exchange.spot.seed(api_key, {asset: to_decimal(amount) for asset, amount in held.items()})
    for entry in seed.get("spot_orders") or ():
        exchange.spot.place(api_key, spot_order_request(entry))


def spot_order_request(entry: Mapping[str, Any], *, cause: Cause = Cause.SEED) -> SpotRequest:
    """Read a spot order of a seed file or of the control port. Raises ValueError."""
    _refuse_unknown(entry, SPOT_ORDER_KEYS, "spot_orders")
    price, trigger = entry.get("price"), entry.get("trigger_price")
    return SpotRequest(
        symbol=str(entry["symbol"]),
        side=OrderSide(str(entry["side"]).upper()),
        order_type=OrderType(str(entry.get("type", "MARKET")).upper()),
        quantity=to_decimal(entry["quantity"]),
        price=None if price is None else to_decimal(price),
        client_id=str(entry.get("client_id", "")),
        cause=cause,
        book=SpotBook(str(entry.get("book", "NORMAL")).upper()),
        trigger_price=None if trigger is None else to_decimal(trigger),
    )


def _leg(entry: Mapping[str, Any], mode: PositionMode) -> PositionLeg:
    side = Leg(str(entry["side"]).upper())
    quantity = to_decimal(entry["quantity"])
    if quantity <= 0 or side is Leg.BOTH:
        raise ValueError(f"{entry['symbol']}: side is LONG or SHORT and quantity is positive")
    return PositionLeg(
        symbol=str(entry["symbol"]),
        leg=side if mode is PositionMode.HEDGE else Leg.BOTH,
        amount=quantity if side is Leg.LONG else -quantity,
        entry_price=to_decimal(entry["entry_price"]),
        isolated_wallet=to_decimal(entry.get("isolated_margin", ZERO)),
    )


def order_request(entry: Mapping[str, Any], *, cause: Cause = Cause.SEED) -> OrderRequest:
    """Read an order entry of a seed file or of the control port. Raises ValueError."""
    _refuse_unknown(entry, ORDER_KEYS, "orders")

    def number(name: str) -> Any:
        value = entry.get(name)
        return None if value is None else to_decimal(value)

    reduce_only = entry.get("reduce_only")
    return OrderRequest(
        symbol=str(entry["symbol"]),
        side=OrderSide(str(entry["side"]).upper()),
        order_type=OrderType(str(entry.get("type", "MARKET")).upper()),
        quantity=number("quantity"),
        leg=Leg(str(entry.get("position_side", "BOTH")).upper()),
        price=number("price"),
        trigger_price=number("trigger_price"),
        activation_price=number("activation_price"),
        callback_percent=number("callback_percent"),
        reduce_only=None if reduce_only is None else bool(reduce_only),
        close_position=bool(entry.get("close_position", False)),
        client_id=str(entry.get("client_id", "")),
        time_in_force=TimeInForce(str(entry.get("time_in_force", "GTC"))),
        working_type=str(entry.get("working_type", "CONTRACT_PRICE")),
        cause=cause,
    )


def _refuse_unknown(entry: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}")
