"""What Binance USD-M tells an account about itself: balances, positions, records, settings.

Every function answers from an `AccountView`, so that a stale answer is the same code on an older
view. Only what is append-only (income, trades) is read from the account, cut at the view's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from model import LedgerKind, PositionMode
from simulator import margin
from simulator.margin import Balance
from simulator.state import ZERO, Account, AccountView, Leg, PositionLeg
from simulator.wire.binance_codes import BinanceError, missing
from simulator.wire.binance_shapes import (
    INCOME_TYPES,
    Row,
    empty_leg,
    income_row,
    isolated_margin,
    milliseconds,
    money,
    orders_margin,
    places,
    position_risk_row,
    position_risk_v2_row,
    trade_row,
    zero_or_money,
)

WEEK_MS = 7 * 24 * 3600 * 1000
MAX_ROWS = 1000


def legs_to_show(view: AccountView, symbol: str) -> list[PositionLeg]:
    """Positions, and flat legs that have open orders: what the third version lists."""
    keys = {key for key, leg in view.legs.items() if leg.amount}
    keys |= {(order.symbol, order.leg) for order in view.orders.values()}
    return [view.legs.get(key) or empty_leg(*key) for key in sorted(keys) if symbol in ("", key[0])]


def all_legs(view: AccountView, symbol: str) -> list[PositionLeg]:
    """Every leg of every market with a price, flat ones included: what the second version lists."""
    legs = (Leg.BOTH,) if view.position_mode is PositionMode.ONE_WAY else (Leg.LONG, Leg.SHORT)
    return [
        view.legs.get((name, leg)) or empty_leg(name, leg)
        for name in sorted(view.marks)
        if symbol in ("", name)
        for leg in legs
    ]


def position_risk(view: AccountView, symbol: str) -> list[Row]:
    """Return `v3/positionRisk`."""
    return [position_risk_row(view, leg) for leg in legs_to_show(view, symbol)]


def position_risk_v2(view: AccountView, symbol: str) -> list[Row]:
    """Return `v2/positionRisk`."""
    return [position_risk_v2_row(view, leg) for leg in all_legs(view, symbol)]


def account_v3(view: AccountView) -> Row:
    """Return `v3/account`: totals, assets with a balance, positions or orders."""
    return {
        **_totals(view),
        "assets": [_asset_row(view, asset) for asset in margin.assets_of(view)],
        "positions": [_position_row(view, leg) for leg in legs_to_show(view, "")],
    }


def account_v2(view: AccountView, account: Account) -> Row:
    """Return `v2/account`: flags, totals, assets, every symbol's position."""
    return {
        **_flags(view, account),
        **_totals(view),
        "assets": [
            _asset_row(view, asset) | {"marginAvailable": True}
            for asset in sorted({"USDT", "USDC", *margin.assets_of(view)})
        ],
        "positions": [_position_v2_row(view, leg) for leg in all_legs(view, "")],
    }


def account_config(view: AccountView, account: Account) -> Row:
    """Return `accountConfig`: what the account may do and how it is set."""
    return {
        **_flags(view, account),
        "dualSidePosition": view.position_mode is PositionMode.HEDGE,
    }


def _flags(view: AccountView, account: Account) -> Row:
    return {
        "feeTier": 0,
        "canTrade": account.can_trade,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": view.multi_assets,
        "tradeGroupId": -1,
    }


def _amounts(amounts: Balance) -> dict[str, Decimal]:
    return {
        "initialMargin": amounts.initial,
        "maintMargin": amounts.maintenance,
        "walletBalance": amounts.wallet,
        "unrealizedProfit": amounts.unrealised,
        "marginBalance": amounts.margin_balance,
        "positionInitialMargin": amounts.position_initial,
        "openOrderInitialMargin": amounts.order_initial,
        "crossWalletBalance": amounts.cross_wallet,
        "crossUnPnl": amounts.cross_unrealised,
    }


def _totals(view: AccountView) -> Row:
    free = margin.available(view, "USDT")
    totals = _amounts(margin.total(view))
    names = {"maintMargin": "totalMaintMargin", "crossUnPnl": "totalCrossUnPnl"}
    row: Row = {
        names.get(name, f"total{name[0].upper()}{name[1:]}"): money(value)
        for name, value in totals.items()
    }
    return row | {"availableBalance": money(free), "maxWithdrawAmount": money(free)}


def _asset_row(view: AccountView, asset: str) -> Row:
    free = margin.available(view, asset)
    if view.multi_assets:
        worth = margin.usd_value(view, asset)
        free = free / worth if worth else ZERO
    wallet = view.wallet.get(asset, ZERO)
    amounts = _amounts(margin.balance(view, asset))
    return {
        "asset": asset,
        **{name: money(value) for name, value in amounts.items()},
        "availableBalance": money(free),
        "maxWithdrawAmount": money(max(ZERO, min(free, wallet))),
        "updateTime": milliseconds(view.wallet_updated_at.get(asset, 0)),
    }


def _position_row(view: AccountView, leg: PositionLeg) -> Row:
    decimals = view.markets[leg.symbol].quantity_decimals
    initial = margin.initial_margin(view, leg) + orders_margin(view, leg)
    return {
        "symbol": leg.symbol,
        "positionSide": leg.leg.value,
        "positionAmt": places(leg.amount, decimals),
        "unrealizedProfit": money(margin.unrealised(view, leg)),
        "isolatedMargin": zero_or_money(isolated_margin(view, leg)),
        "notional": zero_or_money(margin.notional(view, leg)),
        "isolatedWallet": zero_or_money(leg.isolated_wallet),
        "initialMargin": zero_or_money(initial),
        "maintMargin": zero_or_money(margin.maintenance_margin(view, leg)),
        "updateTime": milliseconds(leg.updated_at),
    }


def _position_v2_row(view: AccountView, leg: PositionLeg) -> Row:
    row = _position_row(view, leg)
    initial = margin.initial_margin(view, leg)
    return row | {
        "positionInitialMargin": zero_or_money(initial),
        "openOrderInitialMargin": zero_or_money(orders_margin(view, leg)),
        "leverage": str(view.setting(leg.symbol).leverage),
        "isolated": margin.is_isolated(view, leg.symbol),
        "entryPrice": position_risk_row(view, leg)["entryPrice"],
        "breakEvenPrice": position_risk_row(view, leg)["breakEvenPrice"],
        "maxNotional": "100000000",
        "bidNotional": "0",
        "askNotional": "0",
    }


def balances(view: AccountView, alias: str) -> list[Row]:
    """Return `v2/balance` and `v3/balance`."""
    rows: list[Row] = []
    for asset in margin.assets_of(view):
        row = _asset_row(view, asset)
        rows.append(
            {
                "accountAlias": alias,
                "asset": asset,
                "balance": row["walletBalance"],
                "crossWalletBalance": row["crossWalletBalance"],
                "crossUnPnl": row["crossUnPnl"],
                "availableBalance": row["availableBalance"],
                "maxWithdrawAmount": row["maxWithdrawAmount"],
                "marginAvailable": True,
                "updateTime": row["updateTime"],
            }
        )
    return rows


def _integer(sent: Mapping[str, str], name: str) -> int | None:
    text = sent.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise BinanceError(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        ) from None


def income_history(
    view: AccountView,
    account: Account,
    sent: Mapping[str, str],
    *,
    without: LedgerKind | None = None,
) -> list[Row]:
    """Return a page of `income`, oldest first; without a start, the newest of the past week.

    `limit` is 100 unless asked for, 1000 at most; `page` counts from 1. Records of the kind
    `without` are kept elsewhere.
    """
    kind = sent.get("incomeType", "")
    if kind and kind not in INCOME_TYPES.values():
        raise BinanceError(-1128, "Combination of optional parameters invalid.")
    start = _integer(sent, "startTime")
    end = _integer(sent, "endTime")
    limit = min(_integer(sent, "limit") or 100, MAX_ROWS)
    page = _integer(sent, "page")
    now = milliseconds(view.at)
    first = start if start is not None else (end or now) - WEEK_MS
    last = end if end is not None else now
    wanted = [
        income_row(record)
        for record in account.income
        if first <= milliseconds(record.at) <= last
        and record.at <= view.at
        and record.kind is not without
        and kind in ("", INCOME_TYPES[record.kind])
        and sent.get("symbol", "") in ("", record.symbol)
    ]
    if page is not None:
        return wanted[(page - 1) * limit : page * limit]
    return wanted[:limit] if start is not None else wanted[-limit:]


def user_trades(view: AccountView, account: Account, sent: Mapping[str, str]) -> list[Row]:
    """Return `userTrades` of one symbol: from an id, of an order, or within at most a week."""
    symbol = sent.get("symbol", "")
    if not symbol:
        raise missing("symbol")
    start = _integer(sent, "startTime")
    end = _integer(sent, "endTime")
    if start is not None and end is not None and end - start > WEEK_MS:
        raise BinanceError(-4165, "Invalid time interval, maximum time interval is 7 days.")
    limit = min(_integer(sent, "limit") or 500, MAX_ROWS)
    from_id = _integer(sent, "fromId")
    order_id = _integer(sent, "orderId")
    now = milliseconds(view.at)
    if from_id is None and start is None:
        start = (end or now) - WEEK_MS
    rows = [
        trade_row(trade)
        for trade in account.trades
        if trade.symbol == symbol
        and trade.at <= view.at
        and (start is None or milliseconds(trade.at) >= start)
        and (end is None or milliseconds(trade.at) <= end)
        and (from_id is None or trade.trade_id >= from_id)
        and order_id in (None, trade.order_id)
    ]
    return rows[:limit] if from_id is not None or "startTime" in sent else rows[-limit:]
