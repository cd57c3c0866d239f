"""A trading day at a venue that fails a share of all requests: the line, the market, money, a bot.

Owns what happens outside the guard, drawn from one seed, and the truth about it: the account's
value per unit and how far it fell in each window. Prices are held so that no stage's threshold is
reached in truth, until a crash is asked for. What the exchange keeps of old events is thrown away,
so that a long run measures the guard's memory and not the exchange's.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from configuration.schema import STAGE_DEFAULTS
from model import LedgerKind, OrderSide, RefusalReason
from simulator.reasons import Rejected
from simulator.state import Leg
from tests.memory_venue import KEY, MemoryVenue, Planned, Trouble
from tests.virtual_house import EPOCH, House, policy

POLL_S = 3.0
STEP_S = 3.0
"""How often prices move; never in step with the polls, whose pauses depend on the line."""
EQUITY = 10_000.0
NOTIONAL = 1_200.0
START_PRICE = 10.0
RESERVE = 6
"""Symbols beside those that are held, for the bot to open."""
STEP_MOVE = 0.0016
"""Standard deviation of one symbol's move in a step: 20 hedged positions then make the account
swing by about 1.5 % in 15 minutes."""
PULL = 0.0005
"""The share of its distance from the start that a price comes back in a step."""
LEASH = 0.85
"""The share of a threshold that the account may lose in truth."""
TRADE_EVERY_S = 45.0
FLOW_EVERY_S = 1500.0
FLOW_SHARES = (0.003, 0.01, 0.03, 0.047, 0.08, 0.15)
"""Of equity: small, large, nearly stage 1's threshold, and more than a doubt needs."""
FUNDING_EVERY_S = 3600.0
CRASH_S = 60.0
CRASH_SHARE = 0.12
RECORDS_KEPT_S = 3 * 3600.0
KEPT = 500

READ_TROUBLES = (
    (Trouble.UNAVAILABLE, 0.0, 0.0),
    (Trouble.UNAVAILABLE, 1.0, 15.0),
    (Trouble.MALFORMED, 0.0, 0.0),
    (Trouble.BUG, 0.0, 0.0),
    (Trouble.HANG, 0.0, 0.0),
    (Trouble.SLOW, 0.5, 12.0),
    (Trouble.STALE, 3.0, 120.0),
)
SUBMIT_TROUBLES = (
    (Trouble.REFUSE, 1.0, 5.0),
    (Trouble.LOST_BEFORE, 0.0, 0.0),
    (Trouble.LOST_AFTER, 0.0, 0.0),
    (Trouble.LATE, 1.0, 10.0),
    (Trouble.SLOW, 0.5, 8.0),
    (Trouble.HANG, 0.0, 0.0),
    (Trouble.BUG, 0.0, 0.0),
)
"""Each kind with the bounds of its seconds."""


@dataclass(kw_only=True)
class FailingVenue(MemoryVenue):
    """A line on which each request fails with one chance, in a way drawn at random."""

    rng: random.Random
    share: float
    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def _meet(self, name: str, about: str) -> Planned | None:
        del self.calls[:-KEPT]
        self.asked[name] += 1
        planned = super()._meet(name, about)
        if planned is not None or self.rng.random() >= self.share:
            return planned
        troubles = SUBMIT_TROUBLES if name.startswith("submit") else READ_TROUBLES
        trouble, least_s, most_s = self.rng.choice(troubles)
        self.failed[trouble.value] += 1
        return Planned(
            on=name,
            trouble=trouble,
            seconds=self.rng.uniform(least_s, most_s),
            reason=RefusalReason.RATE_LIMITED,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueFlow:
    """Money that really came or went."""

    record_id: str
    at: float
    amount: float


class Truth:
    """What the account was worth per unit, and how far that fell: what no reading can get wrong."""

    def __init__(self) -> None:
        self.units = 1.0
        self._lowest: dict[float, float] = {}
        for stage in STAGE_DEFAULTS:
            for threshold in stage.thresholds:
                known = self._lowest.get(threshold.window_s, math.inf)
                self._lowest[threshold.window_s] = min(known, threshold.fraction)
        self._peaks: dict[float, deque[tuple[float, float]]] = {w: deque() for w in self._lowest}

    def see(self, at: float, equity: float) -> None:
        """Take note of the account's value."""
        nav = equity / self.units
        for window_s, peaks in self._peaks.items():
            while peaks and peaks[-1][1] <= nav:
                peaks.pop()
            peaks.append((at, nav))
            while peaks[0][0] <= at - window_s:
                peaks.popleft()

    def flow(self, equity: float, amount: float) -> None:
        """Money came or went; `equity` is the value before it."""
        self.units *= (equity + amount) / equity

    def severity(self, equity: float) -> float:
        """The largest drawdown as a multiple of the lowest threshold of its window."""
        nav = equity / self.units
        return max(
            (
                (peaks[0][1] - nav) / peaks[0][1] / self._lowest[window_s]
                for window_s, peaks in self._peaks.items()
                if peaks
            ),
            default=0.0,
        )


class BadDay:
    """The world around a guard. `aside` is entered around all work that is not the guard's."""

    def __init__(
        self,
        house: House,
        *,
        seed: int,
        positions: int,
        crash_at_s: float = math.inf,
        aside: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.house = house
        self.truth = Truth()
        self.flows: list[TrueFlow] = []
        self.worst = 0.0
        self.breached_at: float | None = None
        self._rng = random.Random(f"world {seed}")
        self._positions = positions
        self._symbols = symbols(positions + RESERVE)
        self._crash_at = EPOCH + crash_at_s
        self._crash_from: Mapping[str, float] = {}
        self._rise = 0.0
        self._aside = aside
        self._next = dict.fromkeys(("trade", "flow", "funding"), EPOCH + 30.0)

    @property
    def equity(self) -> float:
        """What the account is worth."""
        account = self.house.exchange.account(KEY)
        marks = self.house.exchange.marks
        open_profit = sum(
            float(leg.amount * (marks[leg.symbol] - leg.entry_price))
            for leg in account.legs.values()
        )
        return float(account.wallet["USDT"]) + open_profit

    @property
    def worth(self) -> float:
        """What it is worth per unit, so that no flow changes it."""
        return self.equity / self.truth.units

    @property
    def lasted_s(self) -> float:
        """How long the day has lasted."""
        return self.house.clock.now() - EPOCH

    @property
    def held(self) -> dict[str, float]:
        """The signed notional of every position."""
        marks = self.house.exchange.marks
        legs = self.house.exchange.account(KEY).legs.values()
        return {leg.symbol: float(leg.amount * marks[leg.symbol]) for leg in legs}

    @property
    def line(self) -> FailingVenue:
        """The connection that the guard has."""
        assert isinstance(self.house.venue, FailingVenue)
        return self.house.venue

    @property
    def sent(self) -> int:
        """How many orders and cancels the guard has sent."""
        return sum(n for name, n in self.line.asked.items() if name.startswith("submit"))

    def calm_down(self) -> None:
        """From here on every request is answered, nobody trades and no money moves."""
        self.line.share = 0.0
        self._next = dict.fromkeys(self._next, math.inf)

    async def live(self) -> None:
        """Go on for ever."""
        while True:
            is_crash = self.house.clock.now() >= self._crash_at
            await self.house.clock.sleep(1.0 if is_crash else STEP_S)
            with self._aside():
                self.step()

    def step(self) -> None:
        """Let the world move by one step."""
        now = self.house.clock.now()
        if now >= self._crash_at:
            self._crash(now)
        else:
            self._wander(now)
            self._happen(now)
        equity = self.equity
        self.truth.see(now, equity)
        severity = self.truth.severity(equity)
        self.worst = max(self.worst, severity)
        if severity >= 1 and self.breached_at is None:
            self.breached_at = now
        if not self._rng.randrange(400):
            self._forget(now)

    # --- the market ---------------------------------------------------------------------------

    def _wander(self, now: float) -> None:
        """Every price moves; where that would cost too much, all of them move the other way."""
        prices = {symbol: float(self.house.exchange.marks[symbol]) for symbol in self._symbols}
        moves = {
            symbol: self._rng.gauss(0.0, STEP_MOVE) - PULL * math.log(price / START_PRICE)
            for symbol, price in prices.items()
        }
        equity = self.equity
        made = sum(notional * moves[symbol] for symbol, notional in self.held.items())
        nav = equity / self.truth.units / EQUITY
        rises = self._rng.random() < min(0.8, max(0.2, 0.5 + 2.5 * (1.0 - nav)))
        would_cost_too_much = self.truth.severity(equity - abs(made)) > LEASH
        if (rises or would_cost_too_much) == (made < 0):
            moves = {symbol: -move for symbol, move in moves.items()}
        self._set_prices({s: price * math.exp(moves[s]) for s, price in prices.items()}, now)

    def _crash(self, now: float) -> None:
        """What is held short rises, steadily for a minute, then everything stands still."""
        if not self._crash_from:
            shorts = {symbol: size for symbol, size in self.held.items() if size < 0}
            self._rise = CRASH_SHARE * self.equity / -sum(shorts.values())
            self._crash_from = {s: float(self.house.exchange.marks[s]) for s in shorts}
        done = min(1.0, (now - self._crash_at) / CRASH_S)
        rise = 1.0 + done * self._rise
        self._set_prices({s: price * rise for s, price in self._crash_from.items()}, now)

    def _set_prices(self, prices: Mapping[str, float], now: float) -> None:
        self.house.exchange.set_prices({s: f"{price:.6f}" for s, price in prices.items()}, at=now)

    # --- money and the bot --------------------------------------------------------------------

    def _happen(self, now: float) -> None:
        """Whatever is due beside prices."""
        if now >= self._next["trade"]:
            self._next["trade"] = now + self._rng.expovariate(1 / TRADE_EVERY_S)
            self._trade()
        if now >= self._next["flow"]:
            is_followed = self._rng.random() < 0.2
            pause_s = 20.0 if is_followed else FLOW_EVERY_S
            self._next["flow"] = now + self._rng.expovariate(1 / pause_s)
            self._move_money(now)
        if now >= self._next["funding"]:
            self._next["funding"] = now + FUNDING_EVERY_S
            rates = {symbol: f"{self._rng.gauss(0, 1e-4):.8f}" for symbol in self._symbols}
            self.house.exchange.apply_funding(rates)

    def _move_money(self, now: float) -> None:
        """A deposit, or a withdrawal when the account is large."""
        equity = self.equity
        share = self._rng.choice(FLOW_SHARES) * self._rng.uniform(0.9, 1.1)
        leaves = self._rng.random() < min(0.9, max(0.1, 0.5 + (equity / EQUITY - 1.0)))
        amount = Decimal(f"{-share * equity if leaves else share * equity:.2f}")
        kind = LedgerKind.TRANSFER if leaves or self._rng.random() < 0.8 else LedgerKind.BONUS
        try:
            self.house.exchange.transfer(KEY, "USDT", amount, kind=kind)
        except Rejected:
            return
        record = self.house.exchange.account(KEY).income[-1]
        self.flows.append(TrueFlow(record_id=str(record.record_id), at=now, amount=float(amount)))
        self.truth.flow(equity, float(amount))

    def _trade(self) -> None:
        """The bot opens, adds, reduces, closes or turns a position, unless it is locked."""
        if self.house.stops_a_bot():
            return
        held = self.held
        symbol = self._rng.choice(self._symbols)
        size = held.get(symbol, 0.0)
        if not size and len(held) >= self._positions:
            symbol = self._rng.choice(sorted(held))
            size = held[symbol]
        deed = self._rng.random()
        if not size:
            net = sum(held.values())
            self._order(symbol, -math.copysign(NOTIONAL, net) * self._rng.uniform(0.7, 1.3))
        elif deed < 0.3 or abs(size) > 2 * NOTIONAL:
            self._order(symbol, -size, reduce_only=True)
        elif deed < 0.6:
            self._order(symbol, -size * self._rng.uniform(0.2, 0.6), reduce_only=True)
        elif deed < 0.85:
            self._order(symbol, size * self._rng.uniform(0.2, 0.5))
        elif deed < 0.95:
            self._order(symbol, -2 * size)
        else:
            price = float(self.house.exchange.marks[symbol])
            self._order(symbol, NOTIONAL / 4, type="LIMIT", price=f"{price * 0.97:.3f}")

    def _order(self, symbol: str, notional: float, **order: Any) -> None:
        price = float(self.house.exchange.marks[symbol])
        market = self.house.exchange.markets[symbol]
        quantity = market.floor(Decimal(repr(abs(notional) / price)))
        if order.get("reduce_only"):
            quantity = max(quantity, market.min_quantity)
        side = OrderSide.BUY if notional > 0 else OrderSide.SELL
        try:
            self.house.bot_order(symbol, side.value, quantity=quantity, **order)
        except Rejected:
            return

    # --- what would grow ----------------------------------------------------------------------

    def _forget(self, now: float) -> None:
        """Throw away what the exchange keeps of old events."""
        account = self.house.exchange.account(KEY)
        del self.house.exchange.ledger[:-KEPT]
        del account.trades[:-KEPT]
        account.income = [i for i in account.income if i.at >= now - RECORDS_KEPT_S]
        for order_id in list(account.done)[:-KEPT]:
            del account.done[order_id]
        for order in list(account.orders.values())[:-5]:
            self.house.exchange.cancel_all(KEY, order.symbol, order.kind)


def symbols(count: int) -> tuple[str, ...]:
    """The symbols of the market."""
    return tuple(f"ALT{number:02d}USDT" for number in range(count))


def furnish(folder: Path, *, seed: int, positions: int, share: float, **house: Any) -> House:
    """A house on whose exchange the day begins, half of the positions long and half short."""
    listed = symbols(positions + RESERVE)
    made = House(
        folder=folder,
        policy=policy(poll_s=POLL_S, max_reading_age_s=2 * POLL_S + 5),
        seed={
            "wallet": {"USDT": EQUITY},
            "prices": dict.fromkeys(listed, START_PRICE),
            "positions": [
                {
                    "symbol": symbol,
                    "side": (Leg.LONG, Leg.SHORT)[number % 2].value,
                    "quantity": str(NOTIONAL / START_PRICE),
                    "entry_price": str(START_PRICE),
                }
                for number, symbol in enumerate(listed[:positions])
            ],
        },
        **house,
    )
    made.venue = FailingVenue(
        exchange=made.exchange,
        clock=made.clock,
        rng=random.Random(f"line {seed}"),
        share=share,
    )
    return made
