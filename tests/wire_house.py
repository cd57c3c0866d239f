"""A whole guard over real HTTP in told time: any exchange's dialect, its adapter and its client.

Time stands still while anything is asked, so that a story of hours takes seconds, and goes on when
every part of the guard waits. What happens outside is a script of moments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, cast

from decision import Decision
from policy import Policy
from simulator.exchange import Exchange
from simulator.faults import Fault
from simulator.virtual_time import LoopClock, TapeClock
from simulator.wire.service import Service
from tests.memory_redis import MemoryRedis
from tests.memory_venue import KEY, MemoryVenue
from tests.simulated import SECRET, simulated
from tests.venue_rigs import STABLES, WAYS, access_to
from tests.virtual_house import EPOCH, House
from venues.adapters import connect_account


class Happening(Protocol):
    """Something that happens outside the guard."""

    def __call__(self, exchange: Exchange) -> None:
        """Let it happen; the exchange's clock is set already."""


@dataclass(frozen=True, slots=True)
class Prices:
    """New marks."""

    marks: Mapping[str, Decimal | float | str]

    def __call__(self, exchange: Exchange) -> None:
        """Set them."""
        exchange.set_prices(self.marks)


async def play_over_http(
    way: str,
    *,
    home: Path,
    seed: Mapping[str, Any],
    policy: Policy,
    script: Sequence[tuple[float, Happening]],
    ends_s: float,
    on_decision: Callable[[float, Decision], None],
    account: str = "futures",
    faults: Sequence[Fault] = (),
    on_open: Callable[[Service], None] = lambda _service: None,
    redis: MemoryRedis | None = None,
    request_poll_s: float = 1.0,
) -> Exchange:
    """Let a guard watch an account until `ends_s`, and return the exchange as it stands then.

        from simulator.wire.service import Service
        from tests.memory_redis import MemoryRedis
    from tests.memory_venue import KEY, SCOPE, MemoryVenue
    """
    exchange_id, dialect, changes = WAYS[way]
    content = {"api_key": KEY, "api_secret": SECRET, "at": EPOCH, **seed, **changes}
    moments = list(script)
    async with simulated(content, venue=dialect) as service:
        on_open(service.service)

        async def advance(at: float) -> None:
            while moments and EPOCH + moments[0][0] <= at:
                at_s, happening = moments.pop(0)
                service.exchange.set_time(EPOCH + at_s)
                happening(service.exchange)
            service.exchange.set_time(at)
            if at >= EPOCH + ends_s:
                guard.guardian.stop()

        for fault in faults:
            service.service.plan.add(fault)
        clock = TapeClock(starts_at=EPOCH, parties=0, advance=advance)
        venue = connect_account(
            exchange_id,
            account,
            scope=policy.books[0].scopes[0],
            access=access_to(exchange_id, service.url, is_paced=False),
            clock=clock,
            stables=STABLES,
            sells_coins=policy.books[0].sell_collateral,
        )
        told_clock = cast("LoopClock", clock)
        house = House(folder=home, policy=policy, clock=told_clock, request_poll_s=request_poll_s)
        house.exchange = service.exchange
        if redis is not None:
            redis.clock, house.redis = clock, redis
        house.others[policy.books[0].scopes[0]] = cast("MemoryVenue", venue)
        house.on_decision = lambda decision: on_decision(clock.now() - EPOCH, decision)
        guard = await house.assemble()
        clock.parties = guard.guardian.party_count
        try:
            await guard.guardian.run()
        finally:
            await guard.switch.aclose()
            await guard.store.aclose()
            await venue.aclose()
        return service.exchange
