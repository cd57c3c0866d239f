"""Keeps the requests of one connection within the limits that its venue publishes.

Owns the counting: what was spent in each window, what the venue says that all programs together
have used, and the pauses it asks for. `Pacer` is arithmetic; `Gate` makes requests wait by it. Its
rules:

- A burst goes out at once while there is room; what has none follows as soon as there is.
- What is more urgent goes first, equals in the order in which they came, and nothing waits for
  another that needs none of the same allowance.
- Readings leave a reserve of every allowance to closing, and cancels half of it: a book of
  thousands of orders must not use up what the reads need that size the closes.
- A pause that the venue asks for holds everything.
- What the venue counts for an address is counted for all accounts that are reached from it.
- What cannot go within the time it has is told at once, with the seconds until it may be tried.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter

from clock import Clock

Cost = Mapping[str, int]
"""Units that a request takes, by the name of the allowance."""

SLACK_S = 1.0
"""A window counts as this much longer: requests may come closer together than they were sent.
One of a second says how much it needs; a whole second more would halve what it allows."""
ANSWERED_SLACK_S = 0.02
"""An answered request was counted before its answer came, so its window needs no more from there:
only the venue's clock may differ by a little."""
LEAST_NAP_S = 0.001


class Urgency(IntEnum):
    """Who goes first; readings also leave the reserve, and cancels half of it."""

    CLOSE = 0
    """Closes, and what is asked in order to close."""
    CANCEL = 1
    READING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `most` units in `within_s` seconds, of which readings leave `reserve`.

    `is_of_address`: the venue counts all accounts together that it is asked about from one address.
    `slack_s` is how much longer its window counts as it is, for as long as nothing is answered.
    """

    most: int
    within_s: float
    reserve: int = 0
    is_of_address: bool = False
    slack_s: float = SLACK_S


@dataclass(slots=True)
class Spent:
    """What one request took of one rate, and the monotonic time at which it is free again."""

    units: int
    until: float
    answered_kept_s: float = 0.0

    def settle(self, *, now: float) -> None:
        """Its request is answered: it was counted by now, and not at some time to come."""
        self.until = min(self.until, now + self.answered_kept_s)


class Allowance:
    """What was used of one rate: by us, and by others as far as the venue told."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._spent: deque[Spent] = deque()
        self._own = 0
        self._others = Spent(0, float("-inf"))

    def spend(self, units: int, *, now: float) -> Spent:
        """Count a request that leaves now."""
        spent = Spent(units, now + self._kept_s, self.rate.within_s + ANSWERED_SLACK_S)
        self._spent.append(spent)
        self._own += units
        return spent

    def learn(self, used: int, *, now: float, is_idle: bool, was_let_in: bool) -> None:
        """Take the venue's own count, which knows of other programs as well.

        While requests of ours are under way it may not know of them yet, so it only adds. A count
        above the rate that comes with a request that was let in says that the rate is not the
        account's (some are granted more), or nothing: then only our own count is left.
        """
        self._forget(now)
        if was_let_in and used > self.rate.most:
            self._others = Spent(0, float("-inf"))
            return
        others = max(0, used - self._own)
        if is_idle or others >= self._others.units:
            self._others = Spent(others, now + self._kept_s)

    def wait_s(self, units: int, *, now: float, ahead: int = 0, reserve: int = 0) -> float:
        """Seconds until so many units may be spent after those `ahead`; 0 when they may now."""
        self._forget(now)
        used = self._own + self._others.units
        over = used + ahead + units - max(0, self.rate.most - reserve)
        if over <= 0 or not used + ahead:
            # A request larger than the whole allowance goes alone; it would never go otherwise.
            return 0.0
        # One that is not answered yet may be free later than those that left after it.
        for spent in sorted((*self._spent, self._others), key=attrgetter("until")):
            over -= spent.units
            if over <= 0:
                return max(0.0, spent.until - now)
        return self._kept_s

    @property
    def _kept_s(self) -> float:
        return self.rate.within_s + self.rate.slack_s

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0].until <= now:
            self._own -= self._spent.popleft().units
        if self._others.until <= now:
            self._others = Spent(0, float("-inf"))


@dataclass(slots=True)
class Address:
    """What the connections to one exchange have in common: what it counts for all of them.

    A dozen accounts that fall together would otherwise each use the whole allowance, and be banned
    together in the middle of closing.
    """

    allowances: dict[str, Allowance] = field(default_factory=dict)
    paused_until: float = float("-inf")
    under_way: int = 0


class Pacer:
    """The allowances of one connection and its pause; all times are monotonic seconds."""

    def __init__(self, rates: Mapping[str, Rate], address: Address | None = None) -> None:
        self.address = address or Address()
        self._allowances = {
            name: self.address.allowances.setdefault(name, Allowance(rate))
            if rate.is_of_address
            else Allowance(rate)
            for name, rate in rates.items()
        }
        self._paused_until = float("-inf")

    def adopt(self, rates: Mapping[str, Rate]) -> None:
        """Take over the rates that the venue publishes; what was counted stays."""
        for name, rate in rates.items():
            self._allowances[name].rate = rate

    def pause(self, seconds: float, *, now: float, is_of_address: bool = False) -> None:
        """Hold everything for so long; a shorter pause ends no longer one."""
        if is_of_address:
            self.address.paused_until = max(self.address.paused_until, now + seconds)
        else:
            self._paused_until = max(self._paused_until, now + seconds)

    def spend(self, cost: Cost, *, now: float) -> tuple[Spent, ...]:
        """Count a request that leaves now."""
        return tuple(self._allowances[name].spend(units, now=now) for name, units in cost.items())

    def pause_left_s(self, *, now: float) -> float:
        """Seconds that are left of the pause, 0 without one."""
        return max(0.0, max(self._paused_until, self.address.paused_until) - now)

    def learn(
        self, used: Mapping[str, int], *, now: float, is_idle: bool, was_let_in: bool
    ) -> None:
        """Take the venue's own counts; names that are not paced are passed over."""
        for name in used.keys() & self._allowances.keys():
            allowance = self._allowances[name]
            is_alone = is_idle and (not allowance.rate.is_of_address or self.address.under_way <= 1)
            allowance.learn(used[name], now=now, is_idle=is_alone, was_let_in=was_let_in)

    def wait_s(self, cost: Cost, *, urgency: Urgency, now: float, ahead: Cost) -> float:
        """Seconds until a request may leave after those `ahead`, 0 when it may now."""
        waits = [self.pause_left_s(now=now)]
        for name, units in cost.items():
            allowance = self._allowances[name]
            # Of what readings leave, cancels leave half.
            reserve = allowance.rate.reserve * urgency // Urgency.READING
            waits.append(
                allowance.wait_s(units, now=now, ahead=ahead.get(name, 0), reserve=reserve)
            )
        return max(waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A request may leave, and what it took; or `wait_s` seconds until it may be tried again."""

    wait_s: float = 0.0
    spent: tuple[Spent, ...] = ()


@dataclass(slots=True, order=True)
class _Waiter:
    """Who waits at the gate."""

    urgency: Urgency
    number: int
    cost: Cost = field(compare=False)
    ends_at: float = field(compare=False)
    told: asyncio.Future[Passage] = field(compare=False)


class Gate:
    """Lets the requests of one connection pass as its pacer allows.

    `is_paced=False` keeps to the venue's pauses alone: in simulated time a minute's allowance is
    spent in a second.
    """

    def __init__(self, pacer: Pacer, clock: Clock, *, is_paced: bool = True) -> None:
        self._pacer = pacer
        self._clock = clock
        self._is_paced = is_paced
        self._waiting: list[_Waiter] = []
        self._numbers = 0
        self._under_way = 0
        self._alarm: asyncio.Task[None] | None = None

    async def enter(self, cost: Cost, *, urgency: Urgency, within_s: float) -> Passage:
        """Wait until the request may leave: then `wait_s` is 0, and `leave` has to follow.

        Otherwise it would have to wait longer than `within_s`, and nothing was counted.
        """
        self._numbers += 1
        waiter = _Waiter(
            urgency,
            self._numbers,
            cost=cost if self._is_paced else {},
            ends_at=self._clock.monotonic() + within_s,
            told=asyncio.get_running_loop().create_future(),
        )
        insort(self._waiting, waiter)
        self._admit()
        try:
            return await waiter.told
        except asyncio.CancelledError:
            if waiter.told.cancelled():
                self._admit()
            elif not waiter.told.result().wait_s:
                self.leave()
            raise

    def leave(self, *answered: Spent) -> None:
        """The request that was let in has ended; `answered` is what it took, if it was answered."""
        self._under_way -= 1
        self._pacer.address.under_way -= 1
        now = self._clock.monotonic()
        for spent in answered:
            spent.settle(now=now)
        if answered and self._waiting:
            self._admit()

    @property
    def pause_left_s(self) -> float:
        """Seconds that are left of the venue's pause, 0 without one."""
        return self._pacer.pause_left_s(now=self._clock.monotonic())

    def learn(self, used: Mapping[str, int], *, was_let_in: bool) -> None:
        """Take the venue's own counts out of an answer, before its request leaves."""
        now, is_idle = self._clock.monotonic(), self._under_way <= 1
        self._pacer.learn(used, now=now, is_idle=is_idle, was_let_in=was_let_in)
        self._admit()

    def adopt(self, rates: Mapping[str, Rate]) -> None:
        """Take over the rates that the venue publishes."""
        self._pacer.adopt(rates)
        self._admit()

    def pause(self, seconds: float, *, is_of_address: bool = False) -> None:
        """Hold everything for so long; of the address, also what goes through its other gates."""
        self._pacer.pause(seconds, now=self._clock.monotonic(), is_of_address=is_of_address)
        self._admit()

    def _admit(self) -> None:
        """Tell everybody in their order who may go, and who would wait in vain."""
        now = self._clock.monotonic()
        waiting, self._waiting = self._waiting, []
        ahead: dict[str, int] = {}
        next_s = float("inf")
        for waiter in waiting:
            if waiter.told.cancelled():
                continue
            wait_s = self._pacer.wait_s(waiter.cost, urgency=waiter.urgency, now=now, ahead=ahead)
            if wait_s <= 0:
                spent = self._pacer.spend(waiter.cost, now=now)
                self._under_way += 1
                self._pacer.address.under_way += 1
                waiter.told.set_result(Passage(spent=spent))
            elif now + wait_s > waiter.ends_at:
                waiter.told.set_result(Passage(wait_s=wait_s))
            else:
                self._waiting.append(waiter)
                next_s = min(next_s, wait_s)
                for name, units in waiter.cost.items():
                    ahead[name] = ahead.get(name, 0) + units
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._waiting:
            self._alarm = asyncio.create_task(self._ring(max(next_s, LEAST_NAP_S)))

    async def _ring(self, after_s: float) -> None:
        await self._clock.sleep(after_s)
        self._alarm = None
        self._admit()
