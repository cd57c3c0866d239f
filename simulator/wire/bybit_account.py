"""What Bybit v5 tells a unified account about itself: wallet, positions, records, permissions.

Every function answers from an `AccountView`, so that a stale answer is the same code on an older
view. Only what is append-only (records, trades) is read from the account, cut at the view's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from model import LedgerKind, MarginMode, PositionMode
from simulator import margin
from simulator.state import ZERO, AccountView, Income, Leg, PositionLeg
from simulator.wire.bybit_codes import BybitError, bad_parameter
from simulator.wire.bybit_shapes import (
    Row,
    empty_leg,
    log_row,
    milliseconds,
    money,
    order_id_text,
    page_of,
    plain,
    position_row,
    trade_row,
)
from simulator.wire.call import Call

DAY_MS = 24 * 3600 * 1000
WEEK_MS = 7 * DAY_MS


def require_linear(sent: Mapping[str, Any]) -> None:
    """Refuse what is not simulated. Raises BybitError."""
    if sent.get("category") != "linear":
        raise bad_parameter("category")


def wallet_balance(call: Call) -> Row:
    """Return `account/wallet-balance`: totals in USD, and every coin that is not zero."""
    if call.sent.get("accountType") != "UNIFIED":
        raise BybitError(10001, "accountType only support UNIFIED.")
    view = call.view
    sums = margin.total(view)
    spot = call.spot_view
    coins = [_coin_row(view, asset, locked=spot.locked(asset)) for asset in margin.assets_of(view)]
    totals: Row = {
        "totalEquity": money(margin.equity_usd(view)),
        "accountIMRate": "0",
        "accountIMRateByMp": "0",
        "totalMarginBalance": money(sums.margin_balance),
        "totalInitialMargin": money(sums.initial),
        "totalInitialMarginByMp": money(sums.initial),
        "accountType": "UNIFIED",
        "totalAvailableBalance": money(margin.available(view, "USDT")),
        "accountMMRate": "0",
        "accountMMRateByMp": "0",
        "totalPerpUPL": money(sums.unrealised),
        "totalWalletBalance": money(sums.wallet),
        "accountLTV": "0",
        "totalMaintenanceMargin": money(sums.maintenance),
        "totalMaintenanceMarginByMp": money(sums.maintenance),
        "coin": [coin for coin in coins if coin is not None],
    }
    return {"list": [totals]}


def _coin_row(view: AccountView, asset: str, *, locked: Decimal) -> Row | None:
    """Write a coin; what was borrowed stands beside a wallet of 0.

    `locked` is what spot orders hold of it.
    """
    part = margin.balance(view, asset)
    if not part.wallet and not part.unrealised:
        return None
    borrowed = max(ZERO, -part.wallet)
    return {
        "availableToBorrow": "",
        "bonus": "0",
        "accruedInterest": "0",
        "availableToWithdraw": "",
        "totalOrderIM": money(part.order_initial),
        "equity": money(part.margin_balance),
        "totalPositionMM": money(part.maintenance),
        "usdValue": money(part.margin_balance * margin.usd_value(view, asset)),
        "spotHedgingQty": "0",
        "unrealisedPnl": money(part.unrealised),
        "collateralSwitch": True,
        "borrowAmount": money(borrowed),
        "totalPositionIM": money(part.position_initial),
        "walletBalance": money(max(ZERO, part.wallet)),
        "cumRealisedPnl": "0",
        "locked": money(locked),
        "marginCollateral": True,
        "coin": asset,
        "spotBorrow": money(borrowed),
    }


def positions(call: Call) -> Row:
    """Return a page of `position/list`: flat legs only when asked for a symbol."""
    if call.sent.get("category") in ("inverse", "option"):
        return {"list": [], "nextPageCursor": "", "category": call.sent["category"]}
    require_linear(call.sent)
    view, settle = call.view, call.sent.get("settleCoin")
    if not call.symbol and not settle:
        raise bad_parameter("symbol or settleCoin")
    if call.symbol:
        legs = _legs_of(view, call.symbol)
    else:
        legs = [
            leg
            for key, leg in sorted(view.legs.items())
            if leg.amount and view.markets[key[0]].quote == settle
        ]
    page, cursor = page_of(legs, call.sent, usual=20, most=200)
    rows = [position_row(view, leg) for leg in page]
    return {"list": rows, "nextPageCursor": cursor, "category": "linear"}


def _legs_of(view: AccountView, symbol: str) -> list[PositionLeg]:
    if symbol not in view.markets:
        raise bad_parameter(f"symbol invalid {symbol}")
    is_hedged = view.mode_of(symbol) is PositionMode.HEDGE
    legs = (Leg.LONG, Leg.SHORT) if is_hedged else (Leg.BOTH,)
    return [view.legs.get((symbol, leg)) or empty_leg(symbol, leg) for leg in legs]


def account_info(call: Call) -> Row:
    """Return `account/info`: the kind of account and how it is backed."""
    modes = {setting.margin_mode for setting in call.view.settings.values()}
    isolated = MarginMode.ISOLATED in modes
    return {
        "marginMode": "ISOLATED_MARGIN" if isolated else "REGULAR_MARGIN",
        "updatedTime": "1697078946000",
        "unifiedMarginStatus": 6,
        "dcpStatus": "OFF",
        "timeWindow": 10,
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


def key_permissions(call: Call) -> Row:
    """Return `user/query-api`: what the key itself may do."""
    account = call.account
    trades = account.can_trade
    wallet = ["AccountTransfer", "SubMemberTransfer"] if account.can_withdraw else []
    return {
        "id": "1",
        "note": "key",
        "apiKey": account.api_key,
        "readOnly": 0 if trades or account.can_withdraw else 1,
        "secret": "",
        "permissions": {
            "ContractTrade": ["Order", "Position"] if trades else [],
            "Spot": ["SpotTrade"] if trades else [],
            "Wallet": [*wallet, "Withdraw"] if account.can_withdraw else [],
            "Options": [],
            "Derivatives": ["DerivativesTrade"] if trades else [],
            "CopyTrading": [],
            "BlockTrade": [],
            "Exchange": ["ExchangeHistory"],
            "NFT": [],
            "Affiliate": [],
            "Earn": [],
        },
        "ips": ["127.0.0.1"] if account.is_bound_to_ip else ["*"],
        "type": 1,
        "deadlineDay": 83,
        "expiredAt": "2100-01-01T00:00:00Z",
        "createdAt": "2024-01-01T00:00:00Z",
        "unified": 0,
        "uta": 1,
        "userID": 1,
        "inviterID": 0,
        "vipLevel": "No VIP",
        "mktMakerLevel": "0",
        "affiliateID": 0,
        "rsaPublicKey": "",
        "isMaster": True,
        "parentUid": "0",
        "kycLevel": "LEVEL_1",
        "kycRegion": "",
    }


def _time(sent: Mapping[str, Any], name: str) -> int | None:
    text = str(sent.get(name) or "")
    if not text:
        return None
    if not text.isdigit():
        raise bad_parameter(name)
    return int(text)


def _period(sent: Mapping[str, Any], now_ms: int) -> tuple[int, int]:
    """The period asked about: a day unless both ends are named, at most seven days."""
    start, end = _time(sent, "startTime"), _time(sent, "endTime")
    if start is not None and end is not None:
        if end - start > WEEK_MS:
            raise BybitError(10001, "The time range between startTime and endTime exceeds 7 days")
        return start, end
    if start is not None:
        return start, start + DAY_MS
    last = now_ms if end is None else end
    return last - DAY_MS, last


def transaction_log(call: Call) -> Row:
    """Return a page of `account/transaction-log`, newest first; one row for one event."""
    view = call.view
    first, last = _period(call.sent, milliseconds(view.at))
    events: dict[tuple[int, str], list[Income]] = {}
    for income in call.account.income:
        if income.at <= view.at and first <= milliseconds(income.at) <= last:
            number = income.record_id if income.trade_id is None else income.trade_id
            events.setdefault((number, income.asset), []).append(income)
    rows = [
        log_row(event, category="linear" if event[0].symbol else "")
        for event in reversed(events.values())
    ]
    wanted = str(call.sent.get("type") or "")
    rows = [row for row in rows if wanted in ("", row["type"])]
    page, cursor = page_of(rows, call.sent, usual=20, most=50)
    return {"nextPageCursor": cursor, "list": list(page)}


def funding_account(call: Call) -> Row:
    """Return `asset/transfer/query-account-coins-balance`: nothing, it is not simulated."""
    if call.sent.get("accountType") != "FUND":
        raise bad_parameter("accountType")
    return {"memberId": "1", "accountType": "FUND", "balance": []}


def fee_rates(call: Call) -> Row:
    """Return `account/fee-rate` of every market."""
    require_linear(call.sent)
    rows = [
        {
            "symbol": market.symbol,
            "baseCoin": "",
            "takerFeeRate": plain(market.taker_fee),
            "makerFeeRate": plain(market.maker_fee),
        }
        for market in call.exchange.markets.values()
        if call.symbol in ("", market.symbol)
    ]
    return {"category": "linear", "list": rows}


def executions(call: Call) -> Row:
    """Return a page of `execution/list`, newest first."""
    require_linear(call.sent)
    view = call.view
    rows = [
        trade_row(trade)
        for trade in reversed(call.account.trades)
        if trade.at <= view.at and call.symbol in ("", trade.symbol)
    ]
    page, cursor = page_of(rows, call.sent, usual=50, most=100)
    return {"nextPageCursor": cursor, "category": "linear", "list": list(page)}


def transfers(call: Call) -> Row:
    """Return a page of `asset/transfer/query-inter-transfer-list`."""
    view = call.view
    rows = [
        {
            "transferId": f"selfTransfer_{order_id_text(income.record_id)}",
            "coin": income.asset,
            "amount": plain(abs(income.amount)),
            "fromAccountType": "FUND" if income.amount > 0 else "UNIFIED",
            "toAccountType": "UNIFIED" if income.amount > 0 else "FUND",
            "timestamp": str(milliseconds(income.at)),
            "status": "SUCCESS",
        }
        for income in reversed(call.account.income)
        if income.kind is LedgerKind.TRANSFER and income.at <= view.at
    ]
    page, cursor = page_of(rows, call.sent, usual=20, most=50)
    return {"list": list(page), "nextPageCursor": cursor}
