"""Every field of every answer of every exchange, empty, null, missing or an object in its place.

An answer is recorded once over the wire and then given again with one damage. The adapter says
that it cannot be believed, or says what it said before: never a smaller account, never fewer
positions or orders, never that an order was refused or filled when nobody knows.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from errors import ObservationError
from model import (
    ClientOrderId,
    Done,
    Ledger,
    LedgerEntry,
    LedgerKind,
    MarginMode,
    MarketLimits,
    Order,
    OrderSide,
    Outcome,
    Position,
    PositionMode,
    Reading,
    Refused,
    Side,
    Unknown,
)
from simulator.state import Leg, OrderRequest, OrderType
from tests.simulated import KEY
from tests.venue_rigs import BTC, SOL, WAYS, XRP, Rig, hedged, rig_of
from venues.ccxt_client import Params
from venues.connection import Kept, VenueConnection
from venues.failure import Failure
from venues.pacer import Urgency

Path = tuple[str | int, ...]
Ask = Callable[[], Awaitable[Any]]

MISSING = object()
DAMAGES: Mapping[str, object] = {"empty": "", "null": None, "missing": MISSING, "object": {}}
FEW = 9
"""Of longer lists only the rows that matter to the account are damaged."""
SAME_PLACES = 2
AN_EPOCH_MS = 10**12
"""Numbers of this size are times: the same question is asked at another time."""


@dataclass(kw_only=True)
class Line:
    """The line of one connection: what was answered once is answered again, but for one damage."""

    connection: VenueConnection
    genuine: Callable[..., Awaitable[Any]] = field(init=False)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_live: bool = True
    damaged: str = ""
    path: Path = ()
    damage: object = None

    def __post_init__(self) -> None:
        self.genuine = self.connection._send_once
        self.connection._send_once = self.send  # type: ignore[method-assign]

    async def send(
        self,
        endpoint: str,
        params: Params,
        *,
        urgency: Urgency,
        on_leave: Callable[[], None] = lambda: None,
    ) -> Any:
        """Answer one request."""
        name = f"{endpoint} {_timeless(params)}"
        if self.is_live:
            self.asked.append(name)
            answer = await self.genuine(endpoint, params, urgency=urgency, on_leave=on_leave)
            self.answers[name] = copy.deepcopy(answer)
            return answer
        answer = copy.deepcopy(self.answers.get(name, Failure(cause="never asked before")))
        if name != self.damaged:
            return answer
        if isinstance(answer, Failure):
            return replace(answer, body=_with(answer.body, self.path, self.damage))
        answer = _with(answer, self.path, self.damage)
        if self.connection._manners.is_error_body(answer):
            return Failure(cause="the venue says no", status=200, body=answer)
        return answer


def _timeless(params: Params) -> str:
    kept = {name: value for name, value in params.items() if not _is_time(value)}
    return str(sorted(kept.items(), key=str))


def _is_time(value: object) -> bool:
    return str(value).isdecimal() and int(str(value)) > AN_EPOCH_MS


def _paths(node: object, at: Path = ()) -> Iterator[Path]:
    """Every place in an answer below its root."""
    children: Sequence[tuple[str | int, object]] = ()
    if isinstance(node, dict):
        children = tuple(node.items())
    elif isinstance(node, list):
        children = tuple((n, row) for n, row in enumerate(node) if len(node) < FEW or _is_ours(row))
    for name, child in children:
        yield (*at, name)
        yield from _paths(child, (*at, name))


def _told_apart(paths: Iterator[Path]) -> Iterator[Path]:
    """The first two of the places that differ in nothing but the row they are in."""
    seen: Counter[str] = Counter()
    for path in paths:
        kind = str(["*" if isinstance(name, int) else name for name in path])
        seen[kind] += 1
        if seen[kind] <= SAME_PLACES:
            yield path


def _at(answer: Any, path: Path) -> Any:
    for name in path:
        answer = answer[name]
    return answer


def _is_ours(row: object) -> bool:
    return any(symbol in str(row) for symbol in (SOL, XRP, "BNBUSD"))


def _with(answer: Any, path: Path, damage: object) -> Any:
    """The answer with the damage in one place."""
    node = answer
    for name in path[:-1]:
        node = node[name]
    if damage is not MISSING:
        node[path[-1]] = damage
    elif isinstance(node, dict):
        del node[path[-1]]
    return answer


def _is_as_good(told: Any, known: Any) -> bool:
    """Whether a damaged answer told the same, or less of what may go untold."""
    match known:
        case Done():
            # How much was filled goes untold until the venue tells it.
            return told in (known, replace(known, filled=None)) or isinstance(told, Unknown)
        case Refused():
            is_refused = isinstance(told, Refused) and told.reason is known.reason
            return is_refused or isinstance(told, Unknown)
        case tuple() if known and all(isinstance(one, Outcome) for one in known):
            return len(told) == len(known) and all(map(_is_as_good, told, known))
        case Reading():
            # Totals that go untold check nothing; the equity is told, or there is no reading.
            # A date that goes untold tells no old answer.
            dates = told.changed_at if set(told.changed_at) <= set(known.changed_at) else ()
            known = replace(known, changed_at=dates)
            wallet = known.wallet if told.wallet is not None else None
            profit = known.unrealised_pnl if told.unrealised_pnl is not None else None
            return bool(told == replace(known, wallet=wallet, unrealised_pnl=profit))
        case Listed():
            # A fee that goes untold leaves a part of a loss in doubt; it makes none.
            return bool(told.flows == known.flows and told.result >= known.result)
        case tuple() if known and all(isinstance(one, Order) for one in known):
            return len(told) == len(known) and all(map(_is_order, told, known))
        case frozenset():
            return bool(told <= known)
        case dict() if any(isinstance(one, MarketLimits) for one in known.values()):
            # A market that cannot be read is left out, and closing goes on without its rules.
            return all(_is_market(market, known.get(symbol)) for symbol, market in told.items())
        case _:
            return bool(told == known)


def _is_order(told: Order, known: Order) -> bool:
    """The same order, or one that is held to be able to do more harm, so that it is cancelled."""
    if known.reduce_only and not told.reduce_only:
        return told.order_id == known.order_id
    if told.close_position:
        known = replace(known, close_position=True, quantity=told.quantity)
    if known.reduce_only and told.position_side is None:
        known = replace(known, position_side=None)
    return told == known


def _is_market(told: MarketLimits, known: MarketLimits | None) -> bool:
    """The same rules; of a least value or a largest size that goes untold a refusal tells."""
    if known is not None and not told.min_notional:
        known = replace(known, min_notional=told.min_notional)
    if known is not None and told.market_max is None:
        known = replace(known, market_max=None)
    return told == known


@dataclass(kw_only=True)
class Sweep:
    """All damages of all answers to one question."""

    rig: Rig
    line: Line
    count: int = 0
    faults: list[str] = field(default_factory=list)
    manner: Mapping[str, object] = field(init=False)

    def __post_init__(self) -> None:
        """Remember how the adapter goes about it before it has learnt anything."""
        own = vars(self.rig.venue).items()
        self.manner = {name: value for name, value in own if isinstance(value, bool | float)}

    async def over(self, name: str, ask: Ask) -> None:
        """Ask once over the wire, then once for each damage."""
        self.line.is_live, self.line.asked = True, []
        self.line.damaged = ""
        known = await self._ask(ask)
        self.line.is_live = False
        assert await self._ask(ask) == known, f"{name} is not repeated as it was"
        for endpoint in dict.fromkeys(self.line.asked):
            answer = self.line.answers[endpoint]
            body = answer.body if isinstance(answer, Failure) else answer
            for path in _told_apart(_paths(body)):
                for kind, damage in DAMAGES.items():
                    if kind == "null" and self._is_none_written_so(name, _at(body, path)):
                        continue
                    if kind != "object" and self._may_be_left_out(endpoint, path):
                        continue
                    self.line.damaged, self.line.path, self.line.damage = endpoint, path, damage
                    await self._judge(ask, known, f"{name}: {endpoint} {path} {kind}")

    def _is_none_written_so(self, name: str, node: object) -> bool:
        """Bitget writes a list of no orders, or of no records, as null."""
        is_bitget = self.rig.name.startswith("bitget")
        return is_bitget and name in ("orders", "ledger") and isinstance(node, list)

    def _may_be_left_out(self, endpoint: str, path: Path) -> bool:
        """A stop of a unified Bitget account may name no leg: it is of what its symbol holds."""
        return "UnfilledStrategyOrders" in endpoint and path[-1:] == ("posSide",)

    async def _judge(self, ask: Ask, known: Any, what: str) -> None:
        self.count += 1
        try:
            told = await self._ask(ask)
        except ObservationError as error:
            if "\n" in str(error) or len(str(error)) > 250:
                self.faults.append(f"{what}: {error}")
            return
        if not _is_as_good(told, known):
            self.faults.append(f"{what}: {told}")

    async def _ask(self, ask: Ask) -> Any:
        """Ask as if nothing had been asked before: kept facts are read, batches are tried."""
        vars(self.rig.venue).update(self.manner)
        for kept in vars(self.rig.venue).values():
            if isinstance(kept, Kept):
                kept.doubt()
        return await ask()


async def sweep_reads(sweep: Sweep) -> None:
    """Everything that is read."""
    rig, venue, scope = sweep.rig, sweep.rig.venue, sweep.rig.scope

    async def reading() -> Any:
        told = await venue.fetch_reading(scope)
        return replace(
            told,
            asked_at=0.0,
            server_offset_s=None,
            positions=tuple(map(_without_what_may_go_untold, told.positions)),
        )

    async def sizes() -> Any:
        held = await venue.fetch_positions(scope)
        return {(one.symbol, one.side, one.quantity) for one in held}

    async def orders() -> Any:
        return tuple(map(_without_what_only_informs, await venue.fetch_orders(scope)))

    async def ledger() -> Any:
        return Listed.of(await venue.fetch_ledger(scope, rig.exchange.now - 3600))

    async def clock() -> Any:
        await sweep.line.connection.measure_clock()
        return abs(sweep.line.connection.server_offset_s) < 60

    await sweep.over("reading", reading)
    await sweep.over("sizes", sizes)
    await sweep.over("orders", orders)
    await sweep.over("marks", lambda: venue.fetch_marks((SOL, XRP)))
    await sweep.over("mode", lambda: venue.fetch_position_mode(scope))
    await sweep.over("ledger", ledger)
    await sweep.over("clock", clock)
    await sweep.over("limits", venue.fetch_market_limits)


async def sweep_submits(sweep: Sweep) -> None:
    """Everything that is sent: filled, refused, looked up, cancelled."""
    rig, venue, scope = sweep.rig, sweep.rig.venue, sweep.rig.scope
    close = rig.close(BTC, Side.LONG, "0.1")
    flat = rig.close(XRP, Side.LONG, "10")
    several = [rig.close(BTC, Side.LONG, "0.1"), flat, rig.close(BTC, Side.LONG, "0.05")]
    await sweep.over("close", lambda: venue.submit_close(close))
    await sweep.over("refused", lambda: venue.submit_close(flat))
    await sweep.over("batch", lambda: venue.submit_closes(several))
    await sweep.over("lookup", lambda: venue.find_order(scope, close.client_id, BTC))
    await sweep.over("no such", lambda: venue.find_order(scope, ClientOrderId("ks-none"), BTC))
    sweep.line.is_live = True
    for order in await venue.fetch_orders(scope):
        if order.symbol == BTC:
            await sweep.over(f"cancel {order.kind}", partial(venue.submit_cancel, order))
            await sweep.over(f"gone {order.kind}", partial(venue.submit_cancel, order))
    await sweep.over("cancel all", lambda: venue.submit_cancel_all(scope, XRP))


def _without_what_only_informs(order: Order) -> Order:
    """What is cancelled follows from side, size and purpose; an order may have no price."""
    return replace(
        order, client_id=ClientOrderId(""), price=None, trigger_price=None, order_type=""
    )


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Flows, each as it is, and what everything else comes to, however it is divided."""

    flows: tuple[LedgerEntry, ...]
    result: float

    @staticmethod
    def of(ledger: Ledger) -> Listed:
        """Add up what a ledger lists."""
        flows = (LedgerKind.TRANSFER, LedgerKind.BONUS)
        return Listed(
            flows=tuple(one for one in ledger.entries if one.kind in flows),
            result=round(sum(one.amount for one in ledger.entries if one.kind not in flows), 6),
        )


def _without_what_may_go_untold(position: Position) -> Position:
    """A position may have no liquidation price; what a cross position reserves only informs."""
    is_cross = position.margin_mode is MarginMode.CROSS
    margin = None if is_cross else position.margin
    return replace(position, margin=margin, liquidation_price=None)


def live_through(rig: Rig) -> None:
    """Leave records and orders of every kind on the account."""
    is_hedged = rig.account.position_mode is PositionMode.HEDGE
    rig.exchange.transfer(KEY, "USDT", Decimal(-50))
    rig.exchange.apply_funding({BTC: "0.0001"})
    side, short = OrderSide.BUY, Leg.SHORT if is_hedged else Leg.BOTH
    symbol, size = (BTC, "0.01") if is_hedged else (SOL, "1")
    rig.exchange.place(
        KEY,
        OrderRequest(
            symbol=symbol,
            side=side,
            order_type=OrderType.MARKET,
            quantity=Decimal(size),
            leg=short,
            price=None,
            trigger_price=None,
            reduce_only=None,
        ),
    )
    leg = Leg.LONG if is_hedged else Leg.BOTH
    rig.rest(BTC, OrderSide.SELL, "0.1", price="70000", leg=leg)
    rig.rest(XRP, OrderSide.BUY, "100", price="0.3", leg=leg)
    rig.rest(BTC, OrderSide.SELL, "0.1", price="50000", is_stop=True, leg=leg)
    rig.rest(BTC, OrderSide.BUY, "0.1", price="50000", leg=leg)


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """Which exchange."""
    return str(request.param)


ISOLATED = {
    "symbol": "SOLUSDT",
    "side": "SHORT",
    "quantity": 10,
    "entry_price": 90,
    "margin_mode": "isolated",
    "isolated_margin": 200,
}
LONG = {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 61000}
SCENES: Mapping[str, Mapping[str, Any]] = {
    "one-way": {
        "positions": [LONG, ISOLATED],
        "prices": {"BTCUSDT": 60000, "SOLUSDT": 100, "XRPUSDT": "0.5"},
    },
    "hedged, with coins": {
        **hedged(),
        "multi_assets": True,
        "wallet": {"USDT": 10000, "USDC": 500, "BNB": 2},
        "collateral": {"BNB": 0.95},
        "prices": {"BTCUSDT": 60000, "SOLUSDT": 100, "XRPUSDT": "0.5", "BNBUSDT": 600},
    },
}


@asynccontextmanager
async def swept(way: str, scene: str, **changes: Any) -> AsyncIterator[Sweep]:
    """An account with something of everything, on a line that can be damaged."""
    async with rig_of(way, **{**SCENES[scene], **changes}) as rig:
        live_through(rig)
        connection = rig.venue._connection  # type: ignore[attr-defined]
        yield Sweep(rig=rig, line=Line(connection=connection))


@pytest.mark.parametrize("scene", SCENES)
async def test_a_damaged_read_is_no_smaller_account(way: str, scene: str) -> None:
    """Equity, positions, coins, orders, records, marks, mode, clock and rules."""
    async with swept(way, scene) as sweep:
        await sweep_reads(sweep)
        assert sweep.faults == []
        assert sweep.count > 500


async def test_a_damaged_answer_to_an_order_proves_nothing_that_is_not_so(way: str) -> None:
    """Filled, refused, one of a batch, looked up, not found, cancelled, gone: so, or unknown."""
    async with swept(way, "one-way") as sweep:
        await sweep_submits(sweep)
        assert sweep.faults == []
        assert sweep.count > 300


async def test_a_damaged_answer_about_the_key_is_never_a_good_one(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that may withdraw and may not trade: so, or not told."""
    async with swept(way, "one-way", can_withdraw=True, can_trade=False) as sweep:
        venue, scope = sweep.rig.venue, sweep.rig.scope
        # Some ask over a connection of its own, which has to be the one that is damaged.
        line = sweep.line.connection
        monkeypatch.setattr(line, "aclose", partial(asyncio.sleep, 0))
        monkeypatch.setattr("venues.asking.VenueConnection", lambda *_: line)

        async def rights() -> Any:
            told = await venue.inspect(scope, (BTC,))
            claims = {
                "may not withdraw": told.rights.can_withdraw is False,
                "may trade": told.rights.can_trade is True,
            }
            return frozenset(claim for claim, is_made in claims.items() if is_made)

        await sweep.over("inspect", rights)
        monkeypatch.undo()
        assert sweep.faults == []
        assert sweep.count > 100
