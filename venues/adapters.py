"""Which adapter reads which kind of account of which exchange."""

from __future__ import annotations

from clock import Clock
from model import Asset, ScopeId
from venues.access import Access
from venues.binance import BinanceFutures
from venues.binance_spot import BinanceSpot
from venues.bitget import BitgetFutures
from venues.bitget_selling import BitgetSelling
from venues.bitget_spot import BitgetSpot
from venues.bybit import BybitUnified
from venues.bybit_selling import BybitSelling
from venues.protocol import Venue


def connect_account(
    exchange: str,
    account: str,
    *,
    scope: ScopeId,
    access: Access,
    clock: Clock,
    stables: tuple[Asset, ...],
    sells_coins: bool = False,
) -> Venue:
    """Make the connection to one account, without talking to it yet.

    `exchange` is an id of the configuration, `account` the kind (`futures`, `spot`). With
    `sells_coins` the coins of a unified account are for sale where an adapter can sell them. Raises
    ConfigurationError for an access that cannot be used, ValueError for a pair nobody can read.
    """
    match exchange, account:
        case "binance", "futures":
            return BinanceFutures(scope=scope, access=access, clock=clock, stables=stables)
        case "binance", "spot":
            return BinanceSpot(scope=scope, access=access, clock=clock, stables=stables)
        case "bitget", "futures":
            make_bitget = BitgetSelling if sells_coins else BitgetFutures
            return make_bitget(scope=scope, access=access, clock=clock, stables=stables)
        case "bitget", "spot":
            return BitgetSpot(scope=scope, access=access, clock=clock, stables=stables)
        case "bybit", "futures":
            make_bybit = BybitSelling if sells_coins else BybitUnified
            return make_bybit(scope=scope, access=access, clock=clock, stables=stables)
        case _:
            raise ValueError(f"{exchange} {account}: no adapter")
