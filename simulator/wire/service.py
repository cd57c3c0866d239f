"""One simulated venue at work, without sockets: its clock, its request log and its fault plan.

The exchange's clock follows the wall clock until a control call sets a time; from then on it
stands still between control calls, unless the venue was told to follow the wall clock always.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from decimal import Decimal

from clock import Clock
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind, FaultPlan
from simulator.wire.protocol import Circumstances, Dialect, WireAnswer, WireRequest


@dataclass(slots=True, kw_only=True)
class LoggedRequest:
    """One request as it came; `status` is None while it is worked on and when it was dropped."""

    n: int
    at: float
    method: str
    path: str
    parameters: dict[str, str]
    revision: int
    faults: tuple[str, ...] = ()
    status: int | None = None

    def describe(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "n": self.n,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "parameters": self.parameters,
            "faults": list(self.faults),
            "status": self.status,
        }


@dataclass(slots=True, kw_only=True)
class HeldRequest:
    """A request that waits for its release."""

    request: LoggedRequest
    kind: FaultKind
    released: asyncio.Event = field(default_factory=asyncio.Event)


class Service:
    """Exchange, dialect, faults, log and clock of one venue."""

    def __init__(
        self, exchange: Exchange, dialect: Dialect, clock: Clock, *, realtime: bool = False
    ) -> None:
        self.exchange = exchange
        self.dialect = dialect
        self.plan = FaultPlan()
        self.log: list[LoggedRequest] = []
        self.held: dict[int, HeldRequest] = {}
        self.stopping = asyncio.Event()
        self.clock_offset_s = 0.0
        self._held_changed = asyncio.Condition()
        self._clock = clock
        self._realtime = realtime
        self._frozen_since: float | None = None
        self.follow_clock()

    def follow_clock(self) -> None:
        """Bring the exchange's time up to the wall clock, unless a control call froze it."""
        if self._frozen_since is None:
            self.exchange.set_time(self._clock.now() + self.clock_offset_s)

    def freeze(self) -> None:
        """Stop following the wall clock, because a control call sets the time."""
        if not self._realtime:
            self._frozen_since = self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await self._clock.sleep(seconds)

    def arrive(self, request: WireRequest) -> tuple[LoggedRequest, tuple[Fault, ...]]:
        """Log a request and return it with the faults that it meets."""
        self.follow_clock()
        path = self.dialect.normalise(request.path)
        faults = self.plan.take(request.method, path)
        logged = LoggedRequest(
            n=len(self.log) + 1,
            at=self.exchange.now,
            method=request.method,
            path=path,
            parameters=self.dialect.parameters(request),
            revision=self.exchange.world.revision,
            faults=tuple(fault.kind.value for fault in faults),
        )
        self.log.append(logged)
        return logged, faults

    def refusal(self, fault: Fault) -> WireAnswer:
        """Return the answer of a fault that keeps a request from taking effect."""
        if fault.kind is FaultKind.RATE_LIMIT:
            answer = self.dialect.too_often(status=fault.status, seconds=fault.seconds)
            return replace(answer, body=fault.body or answer.body)
        body = fault.body
        if fault.kind is FaultKind.ERROR:
            body = self.dialect.error(fault.code, fault.message)
        return WireAnswer(status=fault.status, body=body, content_type=fault.content_type)

    def answer(
        self, request: WireRequest, logged: LoggedRequest, faults: tuple[Fault, ...]
    ) -> WireAnswer:
        """Let a request take effect, under the faults that bend its answer."""
        self.follow_clock()
        return self.dialect.answer(request, self._circumstances(logged, faults))

    def _circumstances(self, logged: LoggedRequest, faults: tuple[Fault, ...]) -> Circumstances:
        by_kind = {fault.kind: fault for fault in faults}
        stale = by_kind.get(FaultKind.STALE)
        partial = by_kind.get(FaultKind.PARTIAL_FILL)
        as_of: float | None = None
        revision: int | None = None
        if stale is not None and stale.seconds:
            as_of = self.exchange.now - stale.seconds
        if stale is not None and stale.requests:
            revision = self.log[max(0, logged.n - 1 - stale.requests)].revision
        monotonic = self._clock.monotonic()
        frozen = self._frozen_since
        slack_s = 0.0 if frozen is None else monotonic - frozen
        return Circumstances(
            # Allowances follow the exchange's own time where that is set from outside.
            monotonic=monotonic if frozen is None else self.exchange.now + slack_s,
            clock_slack_s=slack_s,
            stale_as_of=as_of,
            stale_revision=revision,
            fill_fraction=None if partial is None else Decimal(str(partial.fraction)),
            acknowledge_only=FaultKind.ACKNOWLEDGE_ONLY in by_kind,
            wrong_mode=FaultKind.WRONG_MODE in by_kind,
        )

    async def hold(self, logged: LoggedRequest, kind: FaultKind) -> None:
        """Keep a request until it is released or the venue stops."""
        held = HeldRequest(request=logged, kind=kind)
        self.held[logged.n] = held
        async with self._held_changed:
            self._held_changed.notify_all()
        await held.released.wait()
        del self.held[logged.n]

    async def wait_until_held(self, count: int) -> None:
        """Wait until at least `count` requests are held."""
        async with self._held_changed:
            await self._held_changed.wait_for(lambda: len(self.held) >= count)

    def release(self, numbers: list[int] | None = None) -> list[int]:
        """Release held requests, all of them unless numbers are given; returns which."""
        chosen = [n for n in self.held if numbers is None or n in numbers]
        for number in chosen:
            self.held[number].released.set()
        return chosen

    def counts(self) -> dict[str, int]:
        """Return how often each endpoint was asked, by `METHOD path`."""
        counted: dict[str, int] = {}
        for entry in self.log:
            name = f"{entry.method} {entry.path}"
            counted[name] = counted.get(name, 0) + 1
        return counted

    def stop(self) -> None:
        """Ask the server to end; held requests are let go."""
        self.stopping.set()
        self.release()
