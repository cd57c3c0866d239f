"""The freqtrade example, loaded and called by freqtrade itself: `make test-examples` runs this.

It stands apart from the suites because freqtrade brings 600 MB of packages of its own.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from freqtrade.enums import RunMode
from freqtrade.freqtradebot import FreqtradeBot
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy.interface import IStrategy
from freqtrade.strategy.strategy_wrapper import strategy_safe_wrapper

from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from model import Stage
from trading_lock import LockFile

ROOT = Path(__file__).resolve().parent.parent
NOW = 1_800_000_000.0
ENTRY = {
    "pair": "BTC/USDT:USDT",
    "order_type": "limit",
    "amount": 0.01,
    "rate": 60_000.0,
    "time_in_force": "GTC",
    "current_time": datetime(2026, 1, 1, tzinfo=UTC),
    "entry_tag": None,
    "side": "long",
}
HALT = LockEntry(
    scope="*",
    stage=Stage.NORMAL,
    mode=LockMode.HALT,
    reason="operator_halt",
    created_ts=NOW,
    expires_ts=FOREVER_TS,
)


def may_enter(strategy: Any) -> bool:
    """Ask as `FreqtradeBot.execute_entry` does: an error counts as yes."""
    asked = strategy_safe_wrapper(strategy.confirm_trade_entry, default_retval=True)
    return bool(asked(**ENTRY))


def wanting(stake: float | None) -> Callable[..., float | None]:
    """What a strategy wants to add to a trade, or to take from it."""

    def wanted_change(**_kwargs: Any) -> float | None:
        return stake

    return wanted_change


class TheGuardedStrategy(unittest.TestCase):
    """Copied into a folder beside `trading_lock.py`, as its first lines say."""

    def setUp(self) -> None:
        """Copy the two files and name the lock, in a folder that goes away."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.lock = self.folder / "trading_lock.json"
        shutil.copy(ROOT / "trading_lock.py", self.folder)
        shutil.copy(ROOT / "examples" / "freqtrade_strategy.py", self.folder)
        os.environ["TRADING_LOCK_FILE"] = str(self.lock)
        self.addCleanup(os.environ.pop, "TRADING_LOCK_FILE", None)
        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.path.remove, str(self.folder))

    def strategy(self, mode: RunMode = RunMode.LIVE) -> Any:
        """The strategy as freqtrade finds and loads it."""
        config = {
            "strategy": "GuardedStrategy",
            "strategy_path": str(self.folder),
            "user_data_dir": self.folder,
            "runmode": mode,
            "stake_currency": "USDT",
        }
        return StrategyResolver.load_strategy(config)

    def say(self, *locks: LockEntry, at: float | None = None) -> None:
        """What the guard writes now, or wrote at that time."""
        clock = time.time if at is None else partial(float, at)
        LockFile(self.lock, pid=1, host="here", now=clock).replace(
            LockContent(locks=locks).to_document(NOW)
        )

    def test_a_trade_is_opened_only_while_the_lock_is_free(self) -> None:
        """No file, free, halted, torn, and a guard that died while it said free."""
        for mode in (RunMode.LIVE, RunMode.DRY_RUN):
            strategy = self.strategy(mode)
            self.lock.unlink(missing_ok=True)
            self.assertFalse(may_enter(strategy))
            self.say()
            self.assertTrue(may_enter(strategy))
            self.say(HALT)
            self.assertFalse(may_enter(strategy))
            self.lock.write_text("{")
            self.assertFalse(may_enter(strategy))
            self.say(at=NOW - 1e9)
            self.assertFalse(may_enter(strategy))

    def test_a_trade_grows_only_while_the_lock_is_free_and_shrinks_at_any_time(self) -> None:
        """Freqtrade does not ask `confirm_trade_entry` before it adds."""
        strategy = self.strategy()
        for locks, stake, expected in (
            ((), 50.0, 50.0),
            ((HALT,), 50.0, None),
            ((HALT,), -50.0, -50.0),
            ((HALT,), None, None),
        ):
            self.say(*locks)
            strategy.wanted_change = wanting(stake)
            self.assertEqual(strategy.adjust_trade_position(), expected)

    def test_a_backtest_needs_no_guard(self) -> None:
        """It plays the past."""
        for mode in (RunMode.BACKTEST, RunMode.HYPEROPT):
            self.assertTrue(may_enter(self.strategy(mode)))

    def test_freqtrade_still_asks_as_the_example_says(self) -> None:
        """Before a new trade only, and an error is a yes; a new version may change that."""
        source = " ".join(inspect.getsource(FreqtradeBot.execute_entry).split())
        self.assertIn(
            'if mode == "initial" and not strategy_safe_wrapper( '
            "self.strategy.confirm_trade_entry, default_retval=True )(",
            source,
        )
        for name in ("lock", "wanted_change"):
            self.assertFalse(hasattr(IStrategy, name), f"the example hides IStrategy.{name}")


if __name__ == "__main__":
    unittest.main()
