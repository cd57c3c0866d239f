"""What Binance tells a portfolio-margin account: one wallet, of which USD-M is a part.

The simulated wallet is kept as one number per asset, so that all of it stands in the cross-margin
part, a debt (a negative number) as a loan; the parts of USD-M and coin-margined futures are zero.
Money crosses the border of the account as transfers between it and spot, which are listed newest
first on the spot host and do not show among the income of USD-M.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from model import LedgerKind
from simulator import margin
from simulator.state import ZERO, Account, AccountView, Income
from simulator.wire.binance_account import all_legs, income_history
from simulator.wire.binance_codes import BinanceError, missing
from simulator.wire.binance_gate import refused_key
from simulator.wire.binance_shapes import Row, milliseconds, money, position_risk_row

INTO, OUT_OF = "MAIN_PORTFOLIO_MARGIN", "PORTFOLIO_MARGIN_MAIN"
KEPT_DAYS = 180
TRANSFERS_MAX = 100
DAY_MS = 86_400_000
_ACCOUNT = "/papi/v1/account"
"""Judged where it is answered: an owner may have an account there beside this one."""
_SINGLE_ORDERS = frozenset({"/fapi/v1/order", "/fapi/v1/algoOrder"})


def account(view: AccountView) -> Row:
    """Return `papi/v1/account`; `accountEquity` counts coins by their collateral rate."""
    assets = margin.assets_of(view)
    counted = sum(
        (
            margin.balance(view, asset).margin_balance
            * margin.usd_value(view, asset)
            * margin.collateral_rate(view, asset)
            for asset in assets
        ),
        ZERO,
    )
    maintenance = margin.total(view).maintenance
    return {
        "uniMMR": money(counted / maintenance if maintenance else Decimal(99_999_999)),
        "accountEquity": money(counted),
        "actualEquity": money(margin.equity_usd(view)),
        "accountInitialMargin": money(margin.total(view).initial),
        "accountMaintMargin": money(maintenance),
        "accountStatus": "NORMAL",
        "virtualMaxWithdrawAmount": money(max(ZERO, counted)),
        "totalAvailableBalance": "",
        "totalMarginOpenLoss": "",
        "updateTime": milliseconds(view.at),
    }


def balance(view: AccountView) -> list[Row]:
    """Return `papi/v1/balance`; what an asset has no part in is left empty, not zero."""
    rows: list[Row] = []
    for asset in margin.assets_of(view):
        amounts = margin.balance(view, asset)
        held, owed = max(ZERO, amounts.wallet), max(ZERO, -amounts.wallet)
        rows.append(
            {
                "asset": asset,
                "totalWalletBalance": money(held),
                "crossMarginAsset": money(held),
                "crossMarginBorrowed": money(owed),
                "crossMarginFree": money(held),
                "crossMarginInterest": money(ZERO),
                "crossMarginLocked": money(ZERO),
                "umWalletBalance": money(ZERO),
                "umUnrealizedPNL": money(amounts.unrealised),
                "cmWalletBalance": money(ZERO),
                "cmUnrealizedPNL": "",
                "updateTime": milliseconds(view.wallet_updated_at.get(asset, 0)),
                "negativeBalance": "0",
            }
        )
    return rows


def position_risk(view: AccountView, symbol: str) -> list[Row]:
    """Return `papi/v1/um/positionRisk`: every leg, flat ones included, and no word of margins."""
    kept = (
        "entryPrice",
        "markPrice",
        "positionAmt",
        "notional",
        "symbol",
        "unRealizedProfit",
        "liquidationPrice",
        "positionSide",
        "updateTime",
    )
    return [
        {
            **{name: row[name] for name in kept},
            "leverage": str(view.setting(leg.symbol).leverage),
            "maxNotionalValue": "20000000",
        }
        for leg in all_legs(view, symbol)
        for row in (position_risk_row(view, leg),)
    ]


def income(view: AccountView, account: Account, sent: Mapping[str, str]) -> list[Row]:
    """Return `papi/v1/um/income`: what USD-M made and paid."""
    return income_history(view, account, sent, without=LedgerKind.TRANSFER)


def transfers(account: Account, sent: Mapping[str, str], *, now: float) -> Row:
    """Return `asset/transfer` of one direction, newest first, by pages of at most 100."""
    direction = sent.get("type", "")
    if not direction:
        raise missing("type")
    now_ms = milliseconds(now)
    start = _integer(sent, "startTime", now_ms - 7 * DAY_MS)
    end = _integer(sent, "endTime", now_ms)
    if start < now_ms - KEPT_DAYS * DAY_MS:
        raise BinanceError(-5026, "Start time query records range is too large")
    page, size = _integer(sent, "current", 1), _integer(sent, "size", 10)
    found = [
        _transfer_row(record, direction)
        for record in reversed(account.income)
        if account.is_unified
        and record.kind is LedgerKind.TRANSFER
        and direction == (INTO if record.amount > 0 else OUT_OF)
        and start <= milliseconds(record.at) <= end
    ]
    size = min(size, TRANSFERS_MAX)
    return {"total": len(found), "rows": found[(page - 1) * size : page * size]}


def _transfer_row(record: Income, direction: str) -> Row:
    return {
        "asset": record.asset,
        "amount": money(abs(record.amount)),
        "type": direction,
        "status": "CONFIRMED",
        "tranId": record.record_id,
        "timestamp": milliseconds(record.at),
    }


def _integer(sent: Mapping[str, str], name: str, otherwise: int) -> int:
    text = sent.get(name, "")
    if text and not text.isdigit():
        raise missing(name)
    return int(text) if text else otherwise


def as_written_here(row: Row) -> Row:
    """Write an order as portfolio margin does, which takes none that closes a whole position."""
    left_out = ("closePosition", "stopPrice", "workingType", "priceProtect")
    return {name: told for name, told in row.items() if name not in left_out}


def owner_settings(account: Account) -> Row:
    """Return `sapi/v1/account/info`: what the owner has switched on."""
    return {
        "vipLevel": 0,
        "isMarginEnabled": True,
        "isFutureEnabled": True,
        "isOptionsEnabled": False,
        "isPortfolioMarginRetailEnabled": account.is_unified,
    }


def seen_at(path: str, method: str, account: Account) -> Account:
    """The account as one part of the venue sees it. Raises BinanceError -2015 where it may not ask.

    USD-M by itself reads a portfolio-margin account as one that holds nothing, and takes no order
    of it; portfolio margin refuses every other account in the words for a key without rights.
    """
    if path.startswith("/papi/") and path != _ACCOUNT and not account.is_unified:
        raise refused_key()
    if not path.startswith("/fapi/") or not account.is_unified:
        return account
    if method != "GET" or path in _SINGLE_ORDERS:
        raise refused_key()
    return Account(api_key=account.api_key, api_secret=account.api_secret)
