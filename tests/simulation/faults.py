"""What can go wrong, one word for each, and how a drawn span of it meets a call.

Owns the list of faults and which calls each may meet. The guard assumes some bounds of a venue,
and the faults keep them, because past them no guard can be right:

- a read lags at most 4 s behind (`order_fates.SHOWS_WITHIN_S` is 5);
- a request that was not answered lands within 9 s (the venue's receive window is 10);
- two answers that lie by leaving a position out are at least 30 s apart, and one that does not lie
  is between them: the end of an incident is believed after two position reads, and a venue that
  tells the same lie twice cannot be told from one that tells the truth;
- a clock jumps by little, or by more than the 30 s from which it is noticed: what is between takes
  its length off a doubt, which is 20 s here and not 120;
- totals that lack a part last no longer than `suspect_grace_s`, which is how long the guard
  doubts them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from model import RefusalReason
from tests.memory_venue import Planned, Trouble

WARM_S = 16.0
"""Nothing happens before: the guard has seen the account when the first thing goes wrong."""
LIES_APART_S = 30.0
JUMPS_S = (5.0137, 45.0137, 90.0137, 3600.0137)
"""No round numbers: everything in a story happens at one of few fractions of a second, and the
same millisecond twice would give two incidents one id."""


class Fault(StrEnum):
    """Everything that a story may let happen to the guard."""

    READ_RESET = "READ_RESET"
    READ_PAUSED = "READ_PAUSED"
    READ_MALFORMED = "READ_MALFORMED"
    READ_HANGS = "READ_HANGS"
    READ_SLOW = "READ_SLOW"
    READ_STALE = "READ_STALE"
    READ_OVERTAKEN = "READ_OVERTAKEN"
    READ_PARTIAL = "READ_PARTIAL"
    READ_GLITCH = "READ_GLITCH"
    ORDER_LOST = "ORDER_LOST"
    ORDER_UNANSWERED = "ORDER_UNANSWERED"
    ORDER_LATE = "ORDER_LATE"
    ORDER_HANGS = "ORDER_HANGS"
    ORDER_TIMED_OUT = "ORDER_TIMED_OUT"
    ORDER_SLOW = "ORDER_SLOW"
    ORDER_WITHOUT_ID = "ORDER_WITHOUT_ID"
    ORDER_TWICE = "ORDER_TWICE"
    ORDER_PAUSED = "ORDER_PAUSED"
    ORDER_WRONG_MODE = "ORDER_WRONG_MODE"
    STORE_DOWN = "STORE_DOWN"
    STORE_SLOW = "STORE_SLOW"
    STORE_HANGS = "STORE_HANGS"
    LOCK_FAILS = "LOCK_FAILS"
    LOCK_SLOW = "LOCK_SLOW"
    CLOCK_AHEAD = "CLOCK_AHEAD"
    CLOCK_BACK = "CLOCK_BACK"

    @property
    def is_of_machine(self) -> bool:
        """Whether it strikes the guard's own machine and no call of the venue."""
        return self.value.startswith(("STORE", "LOCK", "CLOCK"))

    @property
    def is_of_reads(self) -> bool:
        """Whether it strikes what the guard reads of the venue."""
        return self.value.startswith("READ")

    @property
    def is_of_orders(self) -> bool:
        """Whether it strikes what the guard sends."""
        return self.value.startswith("ORDER")


class Phase(StrEnum):
    """What the guard was about when something happened."""

    CALM = "calm"
    CONFIRMING = "confirming"
    CLOSING = "closing"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A fault that strikes the share `rate` of the calls it is about, from one time to another.

    `seconds` is what it needs: a pause, a delay, a lag, a jump. Times are seconds of the story.
    With `only` it strikes in that phase alone, so that rare phases meet every fault.
    """

    fault: Fault
    from_s: float
    until_s: float
    rate: float = 1.0
    seconds: float = 0.0
    only: Phase | None = None

    def is_on(self, at_s: float, phase: Phase) -> bool:
        """Whether it may strike now."""
        return self.from_s <= at_s < self.until_s and self.only in (None, phase)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a fault shows at the venue."""

    trouble: Trouble
    calls: tuple[str, ...]
    reason: RefusalReason = RefusalReason.OTHER


_EVERY_READ = ("fetch_", "find_order", "start")
_LISTS = ("fetch_reading", "fetch_positions", "fetch_orders")
_SENT = ("submit_",)
_WAYS = {
    Fault.READ_RESET: _Way(Trouble.UNAVAILABLE, _EVERY_READ),
    Fault.READ_PAUSED: _Way(Trouble.UNAVAILABLE, _EVERY_READ),
    Fault.READ_MALFORMED: _Way(Trouble.MALFORMED, _EVERY_READ),
    Fault.READ_HANGS: _Way(Trouble.HANG, _EVERY_READ),
    Fault.READ_SLOW: _Way(Trouble.SLOW, _EVERY_READ),
    Fault.READ_STALE: _Way(Trouble.STALE, _LISTS),
    Fault.READ_OVERTAKEN: _Way(Trouble.OVERTAKEN, _LISTS),
    Fault.READ_PARTIAL: _Way(Trouble.PARTIAL, ("fetch_reading", "fetch_positions")),
    Fault.READ_GLITCH: _Way(Trouble.GLITCH, ("fetch_reading",)),
    Fault.ORDER_LOST: _Way(Trouble.LOST_BEFORE, _SENT),
    Fault.ORDER_UNANSWERED: _Way(Trouble.LOST_AFTER, _SENT),
    Fault.ORDER_LATE: _Way(Trouble.LATE, _SENT),
    Fault.ORDER_HANGS: _Way(Trouble.HANG, _SENT),
    Fault.ORDER_TIMED_OUT: _Way(Trouble.TIMED_OUT, _SENT),
    Fault.ORDER_SLOW: _Way(Trouble.SLOW, _SENT),
    Fault.ORDER_WITHOUT_ID: _Way(Trouble.LOST_AFTER, _SENT),
    Fault.ORDER_TWICE: _Way(Trouble.TWICE, _SENT),
    Fault.ORDER_PAUSED: _Way(Trouble.REFUSE, _SENT, RefusalReason.RATE_LIMITED),
    Fault.ORDER_WRONG_MODE: _Way(Trouble.REFUSE, _SENT, RefusalReason.WRONG_POSITION_MODE),
}


@dataclass(slots=True)
class Misfortune:
    """Strikes the calls of a venue as a story has drawn it.

    `now_s` tells the time of the story and `phase` what the guard is about; `met` is told each
    fault that struck. Lies are kept apart by `LIES_APART_S`.
    """

    spans: tuple[Span, ...]
    rng: random.Random
    now_s: Callable[[], float]
    phase: Callable[[], Phase]
    met: Callable[[Fault], None]
    lied_at: float = field(default=float("-inf"))
    lied: set[str] = field(default_factory=set)

    def meet(self, name: str) -> Planned | None:
        """The trouble of this call, None for an ordinary one."""
        at_s, phase = self.now_s(), self.phase()
        for span in self.spans:
            way = _WAYS.get(span.fault)
            if way is None or not span.is_on(at_s, phase) or not name.startswith(way.calls):
                continue
            if self.rng.random() >= span.rate or not self._may_lie(span.fault, name, at_s):
                continue
            self.met(span.fault)
            return Planned(
                on=name,
                trouble=way.trouble,
                seconds=span.seconds,
                reason=way.reason,
            )
        self.lied.discard(name)
        return None

    def _may_lie(self, fault: Fault, name: str, at_s: float) -> bool:
        if fault is not Fault.READ_PARTIAL:
            return True
        if name in self.lied or at_s - self.lied_at < LIES_APART_S:
            return False
        self.lied_at = at_s
        self.lied.add(name)
        return True


def draw_seconds(fault: Fault, rng: random.Random) -> float:
    """How long a fault of this kind takes, within the bounds that a venue keeps."""
    match fault:
        case Fault.READ_PAUSED | Fault.ORDER_PAUSED:
            return rng.uniform(2.0, 15.0)
        case Fault.READ_SLOW | Fault.READ_OVERTAKEN:
            return rng.uniform(0.4, 9.0)
        case Fault.READ_STALE:
            return rng.uniform(0.5, 4.0)
        case Fault.ORDER_LATE | Fault.ORDER_TWICE | Fault.ORDER_SLOW:
            return rng.uniform(0.3, 9.0)
        case Fault.STORE_SLOW:
            return rng.uniform(0.2, 3.0)
        case Fault.LOCK_SLOW:
            return rng.uniform(0.1, 2.0)
        case Fault.CLOCK_AHEAD:
            return rng.choice(JUMPS_S)
        case Fault.CLOCK_BACK:
            return -rng.choice(JUMPS_S)
        case _:
            return 0.0
