"""Every implementation of the venue protocol over the same exchange, ready for one suite.

A rig is an account of the simulated exchange and a venue that reads it: in memory, or through the
real client and the HTTP dialect of one exchange. What is specific to one is here; the suite knows
none of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from clock import Clock, SystemClock
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    IncidentId,
    OrderSide,
    ScopeId,
    Side,
    Symbol,
)
from simulator.exchange import Exchange
from simulator.faults import Fault, FaultKind
from simulator.seeds import apply_seed
from simulator.state import Account, Leg, OrderRequest, OrderType
from simulator.wire.service import Service
from tests.conventions import Conventions
from tests.memory_venue import MemoryVenue, Trouble
from tests.other_conventions import CONVENTIONS
from tests.simulated import KEY, SECRET, seed, simulated
from venues.access import Access
from venues.adapters import connect_account
from venues.protocol import Venue

MakeRig = Callable[[Mapping[str, Any], Clock], AbstractAsyncContextManager["Rig"]]

BTC, SOL, XRP = Symbol("BTCUSDT"), Symbol("SOLUSDT"), Symbol("XRPUSDT")
STABLES = (Asset("USDT"), Asset("USDC"))
NEED_A_PASSPHRASE = ("bitget",)
PASSPHRASE = "test-phrase"


@dataclass(kw_only=True)
class Rig:
    """One account, the venue that reads it, and the ways in which its line may fail."""

    name: str
    exchange: Exchange
    venue: Venue
    scope: ScopeId
    service: Service | None = None
    next_id: int = field(default=0)

    @property
    def account(self) -> Account:
        """The account behind the venue."""
        return self.exchange.account(KEY)

    def held(self, symbol: Symbol, leg: Leg = Leg.BOTH) -> Decimal:
        """Signed size of a position."""
        return self.exchange.amount(KEY, symbol, leg)

    def close(
        self, symbol: Symbol, side: Side, quantity: str, client_id: str = ""
    ) -> CloseInstruction:
        """An approved close in the account's own modes."""
        self.next_id += 1
        return CloseInstruction(
            scope=self.scope,
            symbol=symbol,
            side=side,
            quantity=Decimal(quantity),
            client_id=ClientOrderId(client_id or f"ks-contract-{self.next_id}"),
            position_mode=self.account.mode_of(symbol),
            margin_mode=self.account.setting(symbol).margin_mode,
            incident_id=IncidentId("incident"),
        )

    def rest(
        self,
        symbol: Symbol,
        side: OrderSide,
        quantity: str,
        *,
        price: str,
        is_stop: bool = False,
        reduce_only: bool | None = None,
        leg: Leg = Leg.BOTH,
    ) -> int:
        """Let a bot place an order that rests; returns its number."""
        order = self.exchange.place(
            KEY,
            OrderRequest(
                symbol=symbol,
                side=side,
                order_type=OrderType.STOP_MARKET if is_stop else OrderType.LIMIT,
                quantity=Decimal(quantity),
                price=None if is_stop else Decimal(price),
                trigger_price=Decimal(price) if is_stop else None,
                reduce_only=reduce_only,
                leg=leg,
            ),
        )
        return order.order_id

    def fail_reads(self) -> None:
        """From here on the venue's gateway answers with an error page."""
        if isinstance(self.venue, MemoryVenue):
            self.venue.plan("fetch|inspect", Trouble.UNAVAILABLE)
        else:
            self._plan(FaultKind.ANSWER_BEFORE, status=502, body="<html>", content_type="text/html")

    def garble_reads(self) -> None:
        """From here on a read is answered with an empty object."""
        if isinstance(self.venue, MemoryVenue):
            self.venue.plan("fetch", Trouble.MALFORMED)
        else:
            self._plan(FaultKind.ANSWER_BEFORE, method="GET", status=200, body="{}")

    def lose_orders(self, *, is_executed: bool) -> None:
        """The next order is lost on its way there, or its answer on its way back."""
        if isinstance(self.venue, MemoryVenue):
            trouble = Trouble.LOST_AFTER if is_executed else Trouble.LOST_BEFORE
            self.venue.plan("submit_close", trouble, times=1)
        else:
            kind = FaultKind.DROP_AFTER if is_executed else FaultKind.DROP_BEFORE
            self._plan(kind, method="POST", times=1)

    def mend(self) -> None:
        """Nothing fails any more."""
        if isinstance(self.venue, MemoryVenue):
            self.venue.calm()
        if self.service is not None:
            self.service.plan.clear()

    def _plan(self, kind: FaultKind, **fault: Any) -> None:
        assert self.service is not None
        self.service.plan.add(Fault(kind=kind, **fault))


@asynccontextmanager
async def _in_memory(
    ways: Conventions, content: Mapping[str, Any], clock: Clock
) -> AsyncIterator[Rig]:
    exchange = Exchange(now=clock.now())
    ways.rule(exchange)
    apply_seed(exchange, content)
    venue = MemoryVenue(exchange=exchange, clock=clock, ways=ways, latency_s=0.0)
    yield Rig(name=f"memory-{ways.name}", exchange=exchange, venue=venue, scope=venue.scope)


WAYS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "binance": ("binance", "binance", {}),
    "binance-portfolio": ("binance", "binance", {"unified": True}),
    "bitget": ("bitget", "bitget", {"passphrase": PASSPHRASE}),
    "bitget-unified": ("bitget", "bitget", {"passphrase": PASSPHRASE, "unified": True}),
    "bybit": ("bybit", "bybit", {}),
}
"""Each way to an account over HTTP: the exchange's id, its dialect, what its seeds say besides."""


def access_to(exchange_id: str, url: str, **changes: Any) -> Access:
    """How the simulated account of an exchange is reached."""
    credentials = {"apiKey": KEY, "secret": SECRET}
    if exchange_id in NEED_A_PASSPHRASE:
        credentials["password"] = PASSPHRASE
    return replace(Access(credentials=credentials, simulator_url=url), **changes)


@asynccontextmanager
async def _on_the_wire(way: str, content: Mapping[str, Any], clock: Clock) -> AsyncIterator[Rig]:
    exchange_id, dialect, changes = WAYS[way]
    scope = ScopeId(f"{exchange_id}_futures")
    async with simulated({**content, **changes}, venue=dialect) as at:
        access = access_to(exchange_id, at.url, order_timeout_s=2.0, read_timeout_s=5.0)
        venue = connect_account(
            exchange_id, "futures", scope=scope, access=access, clock=clock, stables=STABLES
        )
        try:
            await venue.start()
            yield Rig(name=way, exchange=at.exchange, venue=venue, scope=scope, service=at.service)
        finally:
            await venue.aclose()


RIGS: Mapping[str, MakeRig] = {
    **{f"memory-{name}": partial(_in_memory, ways) for name, ways in CONVENTIONS.items()},
    **{way: partial(_on_the_wire, way) for way in WAYS},
}
"""The suite runs once with each."""


@asynccontextmanager
async def rig_of(name: str, **changes: Any) -> AsyncIterator[Rig]:
    """The rig of that name over the standard account, changed as asked."""
    async with RIGS[name](seed(**changes), SystemClock()) as rig:
        yield rig


def hedged(*positions: Mapping[str, Any]) -> dict[str, Any]:
    """An account in hedge mode with a long and a short of BTC, or those that are given."""
    both = (
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000},
        {"symbol": "BTCUSDT", "side": "SHORT", "quantity": "0.3", "entry_price": 59000},
    )
    return {
        "position_mode": "hedge",
        "prices": {"BTCUSDT": 60000, "SOLUSDT": 100, "XRPUSDT": "0.5"},
        "positions": list(positions or both),
    }
