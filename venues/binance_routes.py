"""Where Binance keeps USD-M positions: one table of endpoints for each family of accounts.

An account lives in exactly one of them. The other may answer as well, with nothing but zeros, so
that a route is taken from here only after `binance_family` found which family it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from venues.binance_account import Backing, cross_backing, futures_backing


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """ccxt's names for the endpoints of one family, and what its answers do in their own way.

    `host` is ccxt's name for where they are. `account` proves that the account lives here. `batch`
    is None where orders go one by one. `cancels_by_symbol`: the cancel of a conditional order names
    its symbol too. `transfers` is where money that crosses the border of the account is recorded,
    None where `income` tells it.
    `tells_closers`: a regular order says whether it closes the whole position; elsewhere none can.
    `trading_right` is what the key needs to trade there, as the venue names it.
    """

    name: str
    host: str
    account: str
    positions: str
    backing: Backing
    mode: str
    open_orders: str
    open_conditional: str
    order: str
    batch: str | None
    look_up: str
    cancel: str
    cancel_conditional: str
    cancels_by_symbol: bool
    cancel_all: tuple[str, str]
    income: str
    transfers: str | None
    tells_closers: bool
    fee: str
    trading_right: str


FUTURES = Routes(
    name="futures",
    host="fapiPrivate",
    account="fapiPrivateV3GetAccount",
    positions="fapiPrivateV3GetPositionRisk",
    backing=futures_backing,
    mode="fapiPrivateGetAccountConfig",
    open_orders="fapiPrivateGetOpenOrders",
    open_conditional="fapiPrivateGetOpenAlgoOrders",
    order="fapiPrivatePostOrder",
    batch="fapiPrivatePostBatchOrders",
    look_up="fapiPrivateGetOrder",
    cancel="fapiPrivateDeleteOrder",
    cancel_conditional="fapiPrivateDeleteAlgoOrder",
    cancels_by_symbol=False,
    cancel_all=("fapiPrivateDeleteAllOpenOrders", "fapiPrivateDeleteAlgoOpenOrders"),
    income="fapiPrivateGetIncome",
    transfers=None,
    tells_closers=True,
    fee="fapiPrivateGetCommissionRate",
    trading_right="enableFutures",
)
"""A USD-M account of its own, in single-asset or multi-assets mode."""

PORTFOLIO = Routes(
    name="portfolio margin",
    host="papi",
    account="papiGetAccount",
    positions="papiGetUmPositionRisk",
    backing=cross_backing,
    mode="papiGetUmAccountConfig",
    open_orders="papiGetUmOpenOrders",
    open_conditional="papiGetUmAlgoOpenAlgoOrders",
    order="papiPostUmOrder",
    batch=None,
    look_up="papiGetUmOrder",
    cancel="papiDeleteUmOrder",
    cancel_conditional="papiDeleteUmAlgoOrder",
    cancels_by_symbol=True,
    cancel_all=("papiDeleteUmAllOpenOrders", "papiDeleteUmAlgoAllOpenOrders"),
    income="papiGetUmIncome",
    transfers="sapiGetAssetTransfer",
    tells_closers=False,
    fee="papiGetUmCommissionRate",
    trading_right="enablePortfolioMarginTrading",
)
"""The USD-M part of a portfolio-margin account, whose wallet is shared by all its parts."""
