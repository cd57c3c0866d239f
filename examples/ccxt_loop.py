"""A bot on ccxt that obeys the guard: it opens while the lock is free, and closes at any time.

Copy `trading_lock.py` beside it, then:

    export BINANCE_API_KEY=... BINANCE_API_SECRET=...
    python3 ccxt_loop.py /path/to/trading_lock.json

What it trades on is a placeholder (above a price it wants to be long). What to copy is `turn`: the
lock is asked last, after every slow request and right before the order that opens, and is not asked
before the order that closes.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import ccxt

from trading_lock import read_lock

SYMBOL = "BTC/USDT:USDT"
QUANTITY = 0.01
LONG_ABOVE = 60_000.0
PAUSE_S = 5.0


def turn(exchange: Any, lock_path: str) -> str:
    """Look at the market and the position, do at most one thing, and say what."""
    wants_long = exchange.fetch_ticker(SYMBOL)["last"] > LONG_ABOVE
    rows = exchange.fetch_positions([SYMBOL])
    held = sum(row["contracts"] for row in rows if row["side"] == "long")
    if held and not wants_long:
        # Reduce-only: if the guard closed first, this must not open a short.
        exchange.create_order(SYMBOL, "market", "sell", held, None, {"reduceOnly": True})
        return f"closed {held}"
    if held or not wants_long:
        return "nothing to do"
    # Without a scope every lock binds. With scope="binance_futures" only that book's do.
    lock = read_lock(lock_path)
    if lock.locked:
        return f"opens nothing: {lock.reason}"
    exchange.create_order(SYMBOL, "market", "buy", QUANTITY)
    return f"opened {QUANTITY}"


def main() -> None:
    """Turn for ever. An answer that did not come is no reason to send the order again blindly."""
    keys = {"apiKey": os.environ["BINANCE_API_KEY"], "secret": os.environ["BINANCE_API_SECRET"]}
    exchange = ccxt.binanceusdm(keys)
    while True:
        try:
            print(turn(exchange, sys.argv[1]), flush=True)
        except ccxt.BaseError as error:
            # The next turn reads the position first, so an order that got through is seen.
            print(f"{type(error).__name__}: {error}", flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
