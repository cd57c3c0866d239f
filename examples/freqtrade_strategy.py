"""A freqtrade strategy that obeys the guard. What to copy are the three methods at its end.

Copy this file and `trading_lock.py` into `user_data/strategies` and start freqtrade with

    export TRADING_LOCK_FILE=/path/to/trading_lock.json

Freqtrade asks `confirm_trade_entry` before a new trade and before nothing else, so:

- what adds to a trade (`adjust_trade_position`) must ask by itself, as below;
- an entry order that rests already is neither asked about again nor cancelled: the guard does that;
- an error inside `confirm_trade_entry` counts as yes. `read_lock` raises none; keep it that way;
- exits are never asked about, and must not be.
"""

from __future__ import annotations

import os
from typing import Any

from freqtrade.strategy import IStrategy
from pandas import DataFrame

from trading_lock import LockState, read_lock

# Read at import: without it the strategy does not load, and nothing trades unguarded.
LOCK_FILE = os.environ["TRADING_LOCK_FILE"]


class GuardedStrategy(IStrategy):
    """Above its mean of 20 candles it wants to be long; a placeholder for your own signals."""

    INTERFACE_VERSION = 3
    timeframe = "5m"
    stoploss = -0.10
    minimal_roi = {"0": 0.02}  # noqa: RUF012 - the form that freqtrade asks for
    startup_candle_count = 20
    position_adjustment_enable = True

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add the mean."""
        dataframe["mean"] = dataframe["close"].rolling(20).mean()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Mark where a long is wanted; the lock is not asked here, as this is about the past."""
        dataframe.loc[dataframe["close"] > dataframe["mean"], "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Mark where a long is to be left."""
        dataframe.loc[dataframe["close"] < dataframe["mean"], "exit_long"] = 1
        return dataframe

    def confirm_trade_entry(self, **_kwargs: Any) -> bool:
        """Right before a new trade is opened: no, while the lock binds."""
        return not self.lock().locked

    def adjust_trade_position(self, **kwargs: Any) -> float | None:
        """Right before a trade is changed: smaller always, larger only while the lock is free."""
        stake = self.wanted_change(**kwargs)
        return None if stake is not None and stake > 0 and self.lock().locked else stake

    def lock(self) -> LockState:
        """The lock of every book; a backtest plays the past, for which there is none."""
        mode = getattr(self.config.get("runmode"), "value", None)
        if mode in ("backtest", "hyperopt"):
            return LockState(locked=False)
        return read_lock(LOCK_FILE)

    def wanted_change(self, **_kwargs: Any) -> float | None:
        """Your own position adjustment; here there is none."""
        return None
