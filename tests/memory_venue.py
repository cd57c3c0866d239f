"""A venue without any wire: the simulated exchange behind the `Venue` protocol, and its troubles.

Every call takes the venue's latency on the test's clock, is written down, and may meet a planned
trouble: it hangs, fails, lies or refuses. Troubles happen before or after the call takes effect,
as on a real line. Prices move only when a test says so. Whose rules hold, and how its adapter
shows them, is in its conventions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import partial

from clock import Clock
from errors import Malformed, Unavailable
from inspection import (
    AccountFamily,
    DeadManState,
    DeadManSwitch,
    Inspection,
    KeyRights,
    NotTold,
    OrderPace,
    Unwatched,
)
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Coin,
    Done,
    Ledger,
    LedgerEntry,
    MarginMode,
    MarketLimits,
    Order,
    OrderKind,
    Outcome,
    Position,
    PositionMode,
    Reading,
    RecordId,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from simulator import margin
from simulator.exchange import Exchange
from simulator.reasons import Reason, Rejected
from simulator.state import AccountView, Leg, OrderRequest, OrderType, PositionLeg
from tests.conventions import BINANCE, Conventions, number_of

SCOPE = ScopeId("binance_futures")
KEY = "test-key"
FOR_EVER_S = 1e7
NO_SWITCH = DeadManSwitch(state=DeadManState.NOT_ARMED, reason="there is none")
UNCOUNTED = OrderPace(most=1000, within_s=1.0)
LACKS_ONE = -1
"""The revision of a view whose list of positions lacks the first; its totals are complete."""
Effect = Callable[[], Outcome]
"""What a request does when it takes effect."""

Deed = Callable[[], tuple[Outcome, ...]]
"""What a request does with all of its orders."""
TURNS_AWAY = (RefusalReason.RATE_LIMITED, RefusalReason.NOT_REACHED)
"""Of what a story may refuse, the reasons for which a batch is refused before it is looked at."""
BATCH_REST_S = 600.0
"""After a batch that proved nothing closes go one by one for so long."""
SAMPLE = "BTCUSDT"
"""Whose mode stands for all where nothing is held and each symbol has its own."""


class Trouble(StrEnum):
    """What goes wrong with a call."""

    UNAVAILABLE = "UNAVAILABLE"
    """Nothing took effect and the venue says so, with a pause of `seconds` if that is not 0."""
    MALFORMED = "MALFORMED"
    BUG = "BUG"
    """The adapter itself trips over the answer."""
    HANG = "HANG"
    """No answer ever, and no effect."""
    LOST_BEFORE = "LOST_BEFORE"
    """An order whose request never arrives; its outcome is unknown."""
    LOST_AFTER = "LOST_AFTER"
    """An order that is executed while its answer is lost."""
    LATE = "LATE"
    """An order whose answer is lost and which is executed `seconds` later."""
    IN_VAIN = "IN_VAIN"
    """An order that is acknowledged, and cancelled afterwards: the book is empty."""
    REFUSE = "REFUSE"
    """An order refused for `reason`."""
    STALE = "STALE"
    """A read that answers as of `seconds` ago."""
    SLOW = "SLOW"
    """An answer that takes `seconds`."""
    TIMED_OUT = "TIMED_OUT"
    """An order that is executed and never answered, nor refused."""
    TWICE = "TWICE"
    """An order whose request arrives twice; the second time its answer is lost."""
    OVERTAKEN = "OVERTAKEN"
    """A read that is answered at once and delivered `seconds` later."""
    PARTIAL = "PARTIAL"
    """A read that lacks one position and says nothing of it."""
    GLITCH = "GLITCH"
    """A reading whose totals lack a part: half of the wallet."""


@dataclass(slots=True, kw_only=True)
class Planned:
    """A trouble of the calls whose name (and symbol) matches, for the first `times` of them."""

    on: str
    trouble: Trouble
    times: int = 1_000_000
    seconds: float = 0.0
    symbol: str = ""
    reason: RefusalReason = RefusalReason.OTHER
    met: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as it came in: when, of what, about what."""

    at: float
    name: str
    about: str = ""


@dataclass(slots=True)
class Lines:
    """How many closes are under way together and alone, and until when all go alone."""

    together: int = 0
    alone: int = 0
    single_until: float = float("-inf")


@dataclass(kw_only=True)
class MemoryVenue:
    """One account of an `Exchange` in memory (`venues.protocol.Venue`).

    `ways` are the conventions of its venue; the exchange is to follow the same ones. `witness` sees
    every call before it takes effect.
    """

    exchange: Exchange
    clock: Clock
    ways: Conventions = BINANCE
    scope: ScopeId = SCOPE
    latency_s: float = 0.05
    lands_within_s: float = 15.0
    witness: Callable[[Call], None] | None = None
    troubles: list[Planned] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    readied: list[int] = field(default_factory=list)
    elsewhere: tuple[Unwatched, ...] = ()
    _listed: dict[str, PositionMode] = field(default_factory=dict)
    _sides: dict[str, Side] = field(default_factory=dict)
    _flat_mode: PositionMode = PositionMode.ONE_WAY
    _lines: Lines = field(default_factory=Lines)

    def plan(
        self,
        on: str,
        trouble: Trouble,
        *,
        times: int = 1_000_000,
        seconds: float = 0.0,
        symbol: str = "",
        reason: RefusalReason = RefusalReason.OTHER,
    ) -> Planned:
        """Let calls whose name matches `on` meet a trouble."""
        planned = Planned(
            on=on, trouble=trouble, times=times, seconds=seconds, symbol=symbol, reason=reason
        )
        self.troubles.append(planned)
        return planned

    def calm(self) -> None:
        """No trouble from here on."""
        self.troubles.clear()

    def called(self, name: str) -> list[Call]:
        """The calls whose name matches."""
        return [call for call in self.calls if re.search(name, call.name)]

    @property
    def sent(self) -> list[Call]:
        """Everything that could change the account."""
        return self.called("submit")

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account."""
        return (self.scope,)

    # --- reading ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to know nothing of the account."""
        self._listed.clear()
        self._sides.clear()
        self._flat_mode, self._lines = PositionMode.ONE_WAY, Lines()
        await self._read("start")

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Equity and positions of one moment."""
        asked_at = self.clock.now()
        view = await self._read("fetch_reading")
        pot = value_account(view, self.ways)
        positions = self._learn(view)
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=float(pot.equity),
            wallet=float(pot.wallet) if self.ways.tells_wallet else None,
            unrealised_pnl=float(pot.unrealised),
            positions=positions,
            coins=_coins(view),
            position_mode=self._mode_shown(view),
            wallet_defines_equity=self.ways.wallet_defines_equity,
            changed_at=self._changes(view),
        )

    def _changes(self, view: AccountView) -> tuple[tuple[str, float], ...]:
        """When what an answer shows was changed last."""
        wallet = view.wallet_updated_at if self.ways.dates_wallet else {}
        return (
            *wallet.items(),
            *((f"{leg.symbol} {leg.leg.value}", leg.updated_at) for leg in view.legs.values()),
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """The positions alone."""
        return self._learn(await self._read("fetch_positions"))

    def _learn(self, view: AccountView) -> tuple[Position, ...]:
        """The positions listed, whose modes decide the form in which they are closed."""
        positions = _positions(view)
        if self.ways.has_modes_by_symbol:
            self._listed.clear()
        self._listed |= {held.symbol: view.mode_of(held.symbol) for held in positions}
        self._sides |= {held.symbol: held.side for held in positions}
        return positions

    def _mode_shown(self, view: AccountView) -> PositionMode:
        """The account's mode; where each symbol has its own, the strictest of those held."""
        if not self.ways.has_modes_by_symbol:
            return view.position_mode
        modes = {view.mode_of(held.symbol) for held in _positions(view)}
        if not modes:
            return self._flat_mode
        return PositionMode.HEDGE if PositionMode.HEDGE in modes else PositionMode.ONE_WAY

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Open orders of both kinds."""
        view = await self._read("fetch_orders")
        return tuple(
            self.ways.read_order(view, each, self.scope, self._sides.get(each.symbol))
            for each in view.orders.values()
        )

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Marks by symbol; the row of a coin bears the asset's name and is priced as the asset."""
        view = await self._read("fetch_marks")
        return {
            symbol: float(view.marks.get(symbol) or margin.usd_value(view, symbol))
            for symbol in symbols
        }

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """The account's records; coins are valued as the account's totals count them now."""
        asked_at = self.clock.now()
        view = await self._read("fetch_ledger")
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                LedgerEntry(
                    record_id=RecordId(str(income.record_id)),
                    scope=scope,
                    kind=income.kind,
                    at=income.at,
                    amount=float(income.amount * worth_of_one(view, income.asset, self.ways)),
                    asset=Asset(income.asset),
                    symbol=Symbol(income.symbol) if income.symbol else None,
                )
                for income in self.exchange.account(KEY).income
                if since <= income.at <= view.at
            ),
        )

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """The rules of every market."""
        await self._read("fetch_market_limits")
        return {
            Symbol(market.symbol): MarketLimits(
                symbol=Symbol(market.symbol),
                base=Asset(market.base),
                quote=Asset(market.quote),
                step=market.step,
                min_quantity=market.min_quantity,
                market_max=market.market_max,
                min_notional=market.min_notional,
                reduce_only_waives_min_notional=self.ways.waives_min_notional,
                is_tradable=market.is_tradable,
            )
            for market in self.exchange.markets.values()
            if market.is_listed
        }

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """The account's mode; where nothing is held and each has its own, that of one symbol."""
        view = await self._read("fetch_position_mode")
        if not self._learn(view):
            self._flat_mode = view.mode_of(SAMPLE)
        return self._mode_shown(view)

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """The key of the seed, at a venue that counts no orders."""
        asked_at = self.clock.now()
        account = self.exchange.account(KEY)
        try:
            view = await self._read("inspect")
        except (Unavailable, Malformed) as fault:
            return self._untold(asked_at, NotTold(reason=str(fault)))
        return Inspection(
            scope=scope,
            asked_at=asked_at,
            latency_s=self.latency_s,
            server_offset_s=0.0,
            family=self._family(view),
            position_mode=self._mode_shown(view),
            rights=KeyRights(
                can_read=True,
                can_trade=account.can_trade,
                can_withdraw=account.can_withdraw,
                can_read_transfers=account.can_read_transfers,
                is_bound_to_ip=account.is_bound_to_ip,
                expires_at=account.key_expires_at,
            ),
            dead_man=NO_SWITCH,
            pace=UNCOUNTED,
            unwatched=self.elsewhere,
        )

    def _untold(self, asked_at: float, why: NotTold) -> Inspection:
        """Nothing was told."""
        return Inspection(
            scope=self.scope,
            asked_at=asked_at,
            latency_s=why,
            server_offset_s=why,
            family=why,
            position_mode=why,
            rights=KeyRights(reason=why.reason),
            dead_man=NO_SWITCH,
            pace=UNCOUNTED,
        )

    def _family(self, view: AccountView) -> AccountFamily:
        is_single = self.ways.family is AccountFamily.SINGLE_ASSET
        return AccountFamily.MULTI_ASSETS if is_single and view.multi_assets else self.ways.family

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look an order up by our id."""
        try:
            await self._read("find_order", client_id)
        except (Unavailable, Malformed) as fault:
            return Unknown(cause=str(fault))
        try:
            order = self.exchange.find_order(KEY, symbol, client_id=client_id)
        except Rejected as refusal:
            return Refused(reason=RefusalReason.NO_SUCH_ORDER, code=refusal.reason.value)
        return Done(order_id=VenueOrderId(str(order.order_id)), filled=order.filled)

    async def aclose(self) -> None:
        """Nothing to release."""

    # --- sending ------------------------------------------------------------------------------

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing market order."""
        return (await self._send_closes("submit_close", (instruction,)))[0]

    def make_ready(self, closes: int) -> None:
        """Nothing makes it quicker; what was said is kept."""
        self.readied.append(closes)

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several at once, in as many requests as the venue's adapter makes of them."""
        size = self.ways.batch
        parts = [instructions[n : n + size] for n in range(0, len(instructions), size)]
        outcomes = await asyncio.gather(*map(self._submit_part, parts))
        return tuple(outcome for part in outcomes for outcome in part)

    async def _submit_part(self, part: Sequence[CloseInstruction]) -> Sequence[Outcome]:
        """Send it the way that fewer are on; after a batch that left a doubt, one by one."""
        lines, now = self._lines, self.clock.monotonic()
        if len(part) > 1 and now >= lines.single_until and lines.together <= lines.alone:
            lines.together += len(part)
            try:
                outcomes = await self._send_closes("submit_closes", part)
            finally:
                lines.together -= len(part)
            if any(isinstance(outcome, Unknown) for outcome in outcomes):
                lines.single_until = now + BATCH_REST_S
            return outcomes
        lines.alone += len(part)
        try:
            return await asyncio.gather(*map(self.submit_close, part))
        finally:
            lines.alone -= len(part)

    async def _send_closes(
        self, name: str, instructions: Sequence[CloseInstruction]
    ) -> tuple[Outcome, ...]:
        """Send closes in one request."""
        modes = [self._listed_mode(instruction) for instruction in instructions]

        def place() -> tuple[Outcome, ...]:
            return tuple(
                self._carry_out(partial(self._place, instruction, mode))
                for instruction, mode in zip(instructions, modes, strict=True)
            )

        about = ", ".join(
            f"{each.symbol} {each.side} {each.quantity.normalize():f}" for each in instructions
        )
        return await self._submit_together(name, about, place, len(instructions))

    def _listed_mode(self, instruction: CloseInstruction) -> PositionMode:
        """The mode whose form a close takes."""
        if not self.ways.closes_as_listed:
            return instruction.position_mode
        return self._listed.get(instruction.symbol, instruction.position_mode)

    def _place(self, instruction: CloseInstruction, mode: PositionMode) -> Outcome:
        """Place a close in the form of a mode, as the account's own mode then understands it."""
        account = self.exchange.account(KEY)
        is_hedged = mode is PositionMode.HEDGE
        side, leg = instruction.side.closing_order, Leg.BOTH
        is_leg_named = is_hedged and not (
            self.ways.ignores_leg_in_one_way
            and account.mode_of(instruction.symbol) is PositionMode.ONE_WAY
        )
        if is_leg_named:
            leg = Leg(instruction.side.value)
        elif is_hedged and self.ways.side_names_leg:
            side = instruction.side.opposite.closing_order
        request = OrderRequest(
            symbol=instruction.symbol,
            side=side,
            order_type=OrderType.MARKET,
            quantity=instruction.quantity,
            leg=leg,
            reduce_only=True if self.ways.flags_hedged_closes or not is_hedged else None,
            client_id=instruction.client_id,
        )
        resting = set(account.orders)
        order = self.exchange.place(KEY, request)
        if self.ways.hides_winners and request.reduce_only and resting - set(account.orders):
            return Unknown(cause="order: orderId is missing")
        filled = order.filled if self.ways.tells_filled else None
        return Done(order_id=VenueOrderId(str(order.order_id)), filled=filled)

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order; one that is gone is Done."""

        def cancel() -> Outcome:
            try:
                self.exchange.cancel(KEY, order.symbol, kind=order.kind, order_id=number_of(order))
            except Rejected as refusal:
                if refusal.reason is not Reason.UNKNOWN_ORDER:
                    raise
            return Done(order_id=order.order_id)

        return await self._submit("submit_cancel", f"{order.symbol} {order.order_id}", cancel)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel both kinds."""

        def cancel() -> Outcome:
            for kind in OrderKind:
                self.exchange.cancel_all(KEY, symbol, kind)
            return Done(order_id=VenueOrderId(""))

        return await self._submit("submit_cancel_all", symbol, cancel)

    # --- the line -----------------------------------------------------------------------------

    def _meet(self, name: str, about: str) -> Planned | None:
        for planned in self.troubles:
            matches = re.search(planned.on, name) and planned.symbol in about
            if matches and planned.met < planned.times:
                planned.met += 1
                return planned
        return None

    async def _arrive(self, name: str, about: str) -> Planned | None:
        """Write a call down, take the time it takes, and return its trouble."""
        call = Call(at=self.clock.now(), name=name, about=about)
        self.calls.append(call)
        if self.witness is not None:
            self.witness(call)
        met = self._meet(name, about)
        pause_s = self.latency_s
        if met is not None and met.trouble is Trouble.HANG:
            pause_s = FOR_EVER_S
        if met is not None and met.trouble is Trouble.SLOW:
            pause_s = met.seconds
        await self.clock.sleep(pause_s)
        self.exchange.set_time(self.venue_now())
        return met

    def venue_now(self) -> float:
        """The venue's own time, here the guard's."""
        return self.clock.now()

    async def _read(self, name: str, about: str = "") -> AccountView:
        met = await self._arrive(name, about)
        if met is not None:
            match met.trouble:
                case Trouble.UNAVAILABLE:
                    raise Unavailable(f"{name}: down", retry_after_s=met.seconds or None)
                case Trouble.MALFORMED:
                    raise Malformed(f"{name}: a field is missing")
                case Trouble.BUG:
                    raise KeyError(name)
                case Trouble.STALE:
                    return self._earlier(met.seconds)
                case Trouble.OVERTAKEN:
                    view = self.exchange.view(KEY)
                    await self.clock.sleep(met.seconds)
                    return view
                case Trouble.PARTIAL | Trouble.GLITCH:
                    return _without_a_part(self.exchange.view(KEY), met.trouble)
                case _:
                    pass
        return self.exchange.view(KEY)

    def _earlier(self, seconds: float) -> AccountView:
        return self.exchange.view(KEY, as_of=self.clock.now() - seconds)

    async def _submit(self, name: str, about: str, effect: Effect) -> Outcome:
        """Send a request about one order."""
        outcomes = await self._submit_together(name, about, lambda: (self._carry_out(effect),), 1)
        return outcomes[0]

    async def _submit_together(
        self, name: str, about: str, deed: Deed, count: int
    ) -> tuple[Outcome, ...]:
        """Send a request about so many orders; a trouble strikes all of them."""
        met = await self._arrive(name, about)
        lost: tuple[Outcome, ...] = (Unknown(cause="lost"),) * count
        if met is not None:
            match met.trouble:
                case Trouble.REFUSE if count > 1 and met.reason not in TURNS_AWAY:
                    return lost
                case Trouble.REFUSE:
                    refused = Refused(
                        reason=met.reason, code="test", retry_after_s=met.seconds or None
                    )
                    return (refused,) * count
                case Trouble.LOST_BEFORE:
                    return lost
                case Trouble.IN_VAIN:
                    return (Done(order_id=VenueOrderId("1")),) * count
                case Trouble.LOST_AFTER:
                    deed()
                    return lost
                case Trouble.LATE:
                    asyncio.get_running_loop().call_later(met.seconds, deed)
                    return lost
                case Trouble.TIMED_OUT:
                    deed()
                    await self.clock.sleep(FOR_EVER_S)
                case Trouble.TWICE:
                    outcomes = deed()
                    asyncio.get_running_loop().call_later(met.seconds, deed)
                    return outcomes
                case Trouble.BUG:
                    deed()
                    raise KeyError(name)
                case _:
                    pass
        return deed()

    def _carry_out(self, effect: Effect) -> Outcome:
        """Let one order or cancel take effect; what its refusal proves is the adapter's word."""
        try:
            return effect()
        except Rejected as refusal:
            return self.ways.judge(refusal)


def _without_a_part(view: AccountView, trouble: Trouble) -> AccountView:
    """An answer that is wrong: the first position is missing, or half of the wallet."""
    if trouble is Trouble.GLITCH:
        return replace(view, wallet={asset: held / 2 for asset, held in view.wallet.items()})
    return replace(view, revision=LACKS_ONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What an account is worth, as its venue totals it."""

    equity: Decimal
    wallet: Decimal
    unrealised: Decimal


def value_account(view: AccountView, ways: Conventions = BINANCE) -> Value:
    """Value an account in USD as its venue does: coins at their price, or with a haircut."""
    whole = margin.total(view)
    if view.multi_assets and not ways.coins_count_whole:
        return Value(equity=whole.margin_balance, wallet=whole.wallet, unrealised=whole.unrealised)
    pots = [
        (margin.balance(view, asset), margin.usd_value(view, asset))
        for asset in margin.assets_of(view)
    ]
    wallet = sum((pot.wallet * price for pot, price in pots), Decimal(0))
    unrealised = sum((pot.unrealised * price for pot, price in pots), Decimal(0))
    return Value(
        equity=wallet + unrealised,
        wallet=whole.wallet if view.multi_assets else wallet,
        unrealised=unrealised,
    )


def worth_of_one(view: AccountView, asset: str, ways: Conventions = BINANCE) -> Decimal:
    """What one unit adds to the account's totals."""
    has_haircut = view.multi_assets and not ways.coins_count_whole
    rate = margin.collateral_rate(view, asset) if has_haircut else Decimal(1)
    return margin.usd_value(view, asset) * rate


def _coins(view: AccountView) -> tuple[Coin, ...]:
    return tuple(
        Coin(asset=Asset(asset), quantity=held, price=float(margin.usd_value(view, asset)))
        for asset, held in sorted(view.wallet.items())
        if asset not in margin.STABLES and held > 0
    )


def _positions(view: AccountView) -> tuple[Position, ...]:
    positions = tuple(_position(view, leg) for leg in view.legs.values() if leg.amount)
    return positions[1:] if view.revision == LACKS_ONE else positions


def _position(view: AccountView, leg: PositionLeg) -> Position:
    market = view.markets[leg.symbol]
    liquidation = float(margin.liquidation_price(view, leg))
    is_isolated = margin.is_isolated(view, leg.symbol)
    return Position(
        symbol=Symbol(leg.symbol),
        base=Asset(market.base),
        side=Side(leg.side.value),
        quantity=abs(leg.amount),
        entry_price=float(leg.entry_price),
        mark_price=float(margin.mark_of(view, leg)),
        unrealised_pnl=float(margin.unrealised(view, leg)),
        liquidation_price=liquidation if liquidation > 0 else None,
        margin_mode=MarginMode.ISOLATED if is_isolated else MarginMode.CROSS,
        margin=float(leg.isolated_wallet or margin.initial_margin(view, leg)),
    )
