"""The venues that can be simulated, by the name that `--venue` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.exchange import Exchange
from simulator.wire.binance import BinanceDialect
from simulator.wire.bitget import BitgetDialect
from simulator.wire.bybit import BybitDialect
from simulator.wire.protocol import Dialect

DIALECTS: Mapping[str, Callable[[Exchange], Dialect]] = {
    "binance": BinanceDialect,
    "bitget": BitgetDialect,
    "bybit": BybitDialect,
}
