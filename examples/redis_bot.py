"""The main loop of a bot that the operator drives over Redis: `redis-cli SET trading_switch pause`.

    pip install redis
    python3 redis_bot.py redis://:PASSWORD@HOST:6379

    running  takes signals and looks after its orders
    pause    takes no new signal, and still looks after its orders
    halt     sends no order at all
    kill     puts its own affairs in order and ends; the guard closes the positions

An unknown value counts as halt, and so does a Redis that is missing, slow, or refuses the login: a
bot that cannot hear the operator does not trade.

The switch is the operator's word and no more. The locks of the guard's stages stand in the lock
file: a bot on the guard's machine asks `trading_lock.read_lock` before it opens, as ccxt_loop.py.
"""

from __future__ import annotations

import sys
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

KEY = "trading_switch"
STATES = ("running", "pause", "halt", "kill")
PAUSE_S = 1.0
PATIENCE_S = 2.0


def switch_state(client: redis.Redis) -> str:
    """What the operator wants now; `halt` when that cannot be known."""
    try:
        value = client.get(KEY)
    except redis.RedisError as error:
        print(f"redis: {type(error).__name__}", flush=True)
        return "halt"
    # Bytes, because a value that is no text must not be an error either. None: nobody guards.
    text = value.decode(errors="replace").strip().lower() if isinstance(value, bytes) else ""
    return text if text in STATES else "halt"


class Bot:
    """Your strategy stands here."""

    def take_signals(self) -> None:
        """Look for new trades."""

    def look_after_orders(self) -> None:
        """Move stops, take profits, re-quote."""

    def close(self) -> None:
        """Save what must be known after a restart, and leave nothing half done."""


def run(client: redis.Redis, bot: Bot) -> None:
    """Ask before every turn until the operator kills; a restart asks first, and ends again."""
    while (state := switch_state(client)) != "kill":
        print(state, flush=True)
        if state in ("running", "pause"):
            bot.look_after_orders()
        if state == "running":
            bot.take_signals()
        time.sleep(PAUSE_S)
    bot.close()
    print("kill: closed", flush=True)


def main(url: str, bot: Bot) -> None:
    """Connect without retries: the client would try for seconds before it told that it cannot."""
    run(
        redis.Redis.from_url(
            url,
            socket_timeout=PATIENCE_S,
            socket_connect_timeout=PATIENCE_S,
            retry=Retry(NoBackoff(), 0),
        ),
        bot,
    )


if __name__ == "__main__":
    main(sys.argv[1], Bot())
