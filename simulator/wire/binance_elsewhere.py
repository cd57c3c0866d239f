"""What Binance tells beside USD-M futures: the key's rights, and the owner's other wallets.

An account says by seed what it holds elsewhere; what no seed names is there and empty, as for most
owners. Portfolio margin alone refuses who does not have it.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulator.exchange import Exchange
from simulator.reasons import Reason, Rejected
from simulator.state import ZERO, Account
from simulator.wire import binance_gate as gate
from simulator.wire.binance_codes import translate
from simulator.wire.binance_shapes import Row, milliseconds, money, plain

PORTFOLIO_MARGIN = "portfolio_margin"


def key_permissions(account: Account) -> Row:
    """Return the restrictions of the key itself, as the spot host tells them."""
    told: Row = {
        "ipRestrict": account.is_bound_to_ip,
        "createTime": 1600000000000,
        "enableReading": True,
        "enableWithdrawals": account.can_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": account.can_trade,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": account.can_trade,
        "enablePortfolioMarginTrading": account.can_trade
        and (account.is_unified or PORTFOLIO_MARGIN in account.elsewhere),
    }
    if account.key_expires_at is not None:
        told["tradingAuthorityExpirationTime"] = milliseconds(account.key_expires_at)
    return told


def commission_rate(exchange: Exchange, sent: Mapping[str, str]) -> Row:
    """Return `commissionRate` of one symbol."""
    market = exchange.markets.get(sent.get("symbol", ""))
    if market is None:
        raise translate(Rejected(Reason.UNKNOWN_SYMBOL, sent.get("symbol", "")))
    return {
        "symbol": market.symbol,
        "makerCommissionRate": plain(market.maker_fee),
        "takerCommissionRate": plain(market.taker_fee),
    }


def margin_account(account: Account) -> Row:
    """Return the cross margin account; nothing is ever borrowed there."""
    return {
        "borrowEnabled": True,
        "tradeEnabled": True,
        "transferEnabled": True,
        "userAssets": [
            {
                "asset": asset,
                "borrowed": money(ZERO),
                "free": money(amount),
                "interest": money(ZERO),
                "locked": money(ZERO),
                "netAsset": money(amount),
            }
            for asset, amount in account.elsewhere.get("margin", {}).items()
        ],
    }


def coin_margined(account: Account) -> list[Row]:
    """Return the balances of coin-margined futures; the venue lists coins of zero, too."""
    held = {"BTC": ZERO, "ETH": ZERO, **account.elsewhere.get("coin_margined", {})}
    return [
        {
            "accountAlias": account.api_key[:4],
            "asset": asset,
            "balance": money(amount),
            "withdrawAvailable": money(amount),
            "crossWalletBalance": money(amount),
            "crossUnPNL": money(ZERO),
            "availableBalance": money(amount),
            "updateTime": 0,
        }
        for asset, amount in held.items()
    ]


def options_account(account: Account) -> Row:
    """Return the options account."""
    return {
        "asset": [
            {
                "asset": asset,
                "marginBalance": money(amount),
                "equity": money(amount),
                "available": money(amount),
            }
            for asset, amount in account.elsewhere.get("options", {}).items()
        ],
        "greek": [],
        "time": 0,
    }


def portfolio_account(account: Account) -> Row:
    """Return a portfolio margin account beside this one. Raises BinanceError -2015 without one."""
    if PORTFOLIO_MARGIN not in account.elsewhere:
        raise gate.refused_key()
    equity = money(sum(account.elsewhere[PORTFOLIO_MARGIN].values(), start=ZERO))
    return {
        "uniMMR": "999",
        "accountEquity": equity,
        "actualEquity": equity,
        "accountInitialMargin": money(ZERO),
        "accountMaintMargin": money(ZERO),
        "accountStatus": "NORMAL",
        "virtualMaxWithdrawAmount": equity,
        "totalAvailableBalance": "",
        "totalMarginOpenLoss": "",
        "updateTime": 0,
    }


def sub_accounts(account: Account) -> Row:
    """Return the list of sub-accounts."""
    return {
        "subAccounts": [
            {
                "subUserId": number,
                "email": f"sub{number}@example.invalid",
                "isFreeze": False,
                "createTime": 1600000000000,
            }
            for number in range(1, account.sub_accounts + 1)
        ]
    }
