"""Binance USD-M futures through real ccxt: which endpoint answers which question.

The account may be one of its own or the USD-M part of a portfolio-margin account: `binance_family`
finds out which, and `binance_routes` holds the endpoints of each. Fields are read by
`binance_account`, `binance_portfolio` and `binance_records`; prices and trading rules come from
`binance_markets`, records from `binance_ledger`; what a refusal proves is in `binance_errors`;
clients and clock are in `connection`.
Requests use ccxt's implicit endpoint methods, so that quantities stay the venue's own strings and
a listing that ccxt has not loaded can be closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clock import Clock
from errors import InvariantViolation, Malformed, ObservationError, Unavailable
from inspection import Inspection
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    Ledger,
    MarketLimits,
    Order,
    Outcome,
    Position,
    PositionMode,
    Reading,
    RefusalReason,
    Refused,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.access import Access
from venues.asking import asking
from venues.binance_account import (
    AccountMode,
    Valuation,
    parse_account,
    parse_account_mode,
    parse_changes,
    parse_positions,
    parse_sizes,
    position_mode_shown,
    value_account,
)
from venues.binance_errors import (
    PAUSES_S,
    code_of,
    is_clock_refusal,
    is_error_body,
    is_gone,
    is_key_refused,
    is_of_address,
    judge,
    remedy_of,
    retry_after_s,
)
from venues.binance_family import Whereabouts
from venues.binance_inspection import inspect_account
from venues.binance_ledger import fetch_records
from venues.binance_markets import Markets
from venues.binance_orders import cancel_request, close_params, judge_cancel
from venues.binance_pacing import DEFAULT_RATES, cost_of, counted_by_venue, kept_as
from venues.binance_portfolio import parse_equity, parse_pots, unstable_assets, value_portfolio
from venues.binance_records import (
    judge_batch,
    judge_order,
    parse_conditional_orders,
    parse_orders,
)
from venues.binance_routes import FUTURES, PORTFOLIO, Routes
from venues.connection import Kept, Manners, VenueConnection, together
from venues.exchange_library import binanceusdm
from venues.failure import Failure, KeyRefused
from venues.outcomes import EVERY, as_one
from venues.pacer import Urgency
from venues.parsing import as_fields, required_integer

LEDGER_REACH_S = 89 * 86400.0
"""The venue keeps three months of account records, and of transfers six."""
CLOCK_CHANGE_S = 1.0
"""By so much two measurements of the venue's clock never differ unless one of the clocks was set.
Records asked for by the old one leave some out, and their times are wrong by as much."""
BATCH = 5
"""Most orders that the venue takes in one request."""
BATCH_REST_S = 600.0
"""After a batch that proved nothing orders go one by one for so long, lest all fail together."""
LANDS_WITHIN_S = 15.0
"""It takes a request for 10 s, by the window that the library names to it."""


def _parse_time(answer: object) -> int:
    return required_integer(as_fields(answer, "time"), "serverTime", "time")


MANNERS = Manners(
    name="binance",
    client_class=binanceusdm,
    options={
        "fetchCurrencies": False,
        "fetchMargins": False,
        "leverageBrackets": {},
        "disableFuturesSandboxWarning": True,
    },
    time_endpoint="fapiPublicGetTime",
    parse_time=_parse_time,
    is_error_body=is_error_body,
    judge=judge,
    retry_after_s=retry_after_s,
    is_clock_refusal=is_clock_refusal,
    rates=DEFAULT_RATES,
    cost_of=cost_of,
    counted_by_venue=counted_by_venue,
    kept_as=kept_as,
    is_key_refusal=is_key_refused,
    pauses_s=PAUSES_S,
    is_of_address=is_of_address,
    remedy_of=remedy_of,
)
"""How Binance USD-M wants to be talked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look at the account showed; held positions prove the mode they show."""

    value: Valuation
    positions: tuple[Position, ...]
    mode: PositionMode
    mode_shown: PositionMode | None
    changed_at: tuple[tuple[str, float], ...]


class BinanceFutures:
    """One Binance USD-M futures account (`venues.protocol.Venue`).

    `stables` are the assets worth 1. Raises ConfigurationError for an access that cannot be used.
    """

    def __init__(
        self, *, scope: ScopeId, access: Access, clock: Clock, stables: tuple[str, ...]
    ) -> None:
        self.lands_within_s = LANDS_WITHIN_S
        self._scope = scope
        self._access = access
        self._clock = clock
        self._stables = frozenset(Asset(name) for name in stables)
        self._connection = VenueConnection(MANNERS, access, clock, on_refusal=self._heed)
        self._mode = Kept(self._fetch_mode, clock)
        self._whereabouts = Whereabouts(
            self._connection,
            clock,
            has_portfolio=not (access.sandbox or access.demo),
            on_change=self._mode.doubt,
        )
        self._markets = Markets(self._connection)
        self._coin_weight = 1.0
        self._single_until = float("-inf")

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account of this connection."""
        return (self._scope,)

    async def start(self) -> None:
        """Learn the venue's clock, the account's family and its mode; may be called again.

        Raises Unavailable or Malformed; reads work without it and catch up on what is missing.
        """
        await self._connection.measure_clock()
        await self._whereabouts.settle()
        await self._mode.fetch()

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        await self._connection.aclose()

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read account and positions together; prices of other coins follow when there are any."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        seen = await self._see()
        self._coin_weight = seen.value.coin_weight
        if seen.mode_shown is not None and seen.mode_shown is not seen.mode:
            self._mode.doubt()
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=seen.value.equity,
            wallet=seen.value.wallet,
            unrealised_pnl=seen.value.unrealised_pnl,
            positions=seen.positions,
            coins=seen.value.coins,
            position_mode=seen.mode_shown or seen.mode,
            wallet_defines_equity=seen.value.wallet is not None,
            server_offset_s=self._connection.server_offset_s,
            changed_at=seen.changed_at,
        )

    async def _see(self) -> _Seen:
        """Read the account where it lives; who is refused there looks at the other place."""
        routes = await self._whereabouts.settle()
        try:
            return await (self._see_futures() if routes is FUTURES else self._see_portfolio())
        except KeyRefused as refused:
            if routes is PORTFOLIO:
                return await self._see_futures()
            await self._whereabouts.ask_elsewhere(refused)
        return await self._see_portfolio()

    async def _see_futures(self) -> _Seen:
        """Read an account of USD-M's own; one that shows nothing may live in portfolio margin.

        Raises Unavailable while nothing proves where an account without money or position lives.
        """
        account_answer, positions_answer, mode = await together(
            self._connection.read(FUTURES.account, "account"),
            self._connection.read(FUTURES.positions, "positionRisk"),
            self._renew(),
        )
        account = parse_account(account_answer, is_multi_assets=mode.is_multi_assets)
        positions = parse_positions(positions_answer, bases=self._markets.bases)
        if positions or not account.is_blank:
            self._whereabouts.prove_futures()
        elif await self._whereabouts.ask_elsewhere(None) is PORTFOLIO:
            return await self._see_portfolio()
        prices = await self._markets.fetch_prices(account.unstable_assets(self._stables))
        return _Seen(
            value=value_account(account, stables=self._stables, prices=prices),
            positions=positions,
            mode=mode.position_mode,
            mode_shown=position_mode_shown(positions_answer),
            changed_at=parse_changes(
                as_fields(account_answer, "account")["assets"], positions_answer
            ),
        )

    async def _see_portfolio(self) -> _Seen:
        """Read an account in portfolio margin: the whole wallet, and USD-M's positions in it."""
        account_answer, balance_answer, positions_answer, mode = await together(
            self._connection.read(PORTFOLIO.account, "account"),
            self._connection.read("papiGetBalance", "balance"),
            self._connection.read(PORTFOLIO.positions, "positionRisk"),
            self._renew(),
        )
        pots = parse_pots(balance_answer)
        prices = await self._markets.fetch_prices(unstable_assets(pots, self._stables))
        return _Seen(
            value=value_portfolio(
                parse_equity(account_answer), pots, stables=self._stables, prices=prices
            ),
            positions=parse_positions(
                positions_answer, bases=self._markets.bases, backing=PORTFOLIO.backing
            ),
            mode=mode.position_mode,
            mode_shown=position_mode_shown(positions_answer),
            changed_at=parse_changes(balance_answer, positions_answer),
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read the positions alone, past the reader's queue; figures of 0 are unknown."""
        self._require_scope(scope)
        routes = await self._whereabouts.settle(is_urgent=True)
        answer = await self._connection.read_at_once(routes.positions, "positionRisk")
        return parse_sizes(answer, bases=self._markets.bases, backing=routes.backing)

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read regular and conditional orders of all symbols; both lists, or it raises."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        routes = await self._whereabouts.settle()
        regular, conditional = await together(
            self._connection.read(routes.open_orders, "openOrders"),
            self._connection.read(routes.open_conditional, "openAlgoOrders"),
        )
        return (
            *parse_orders(regular, scope=scope, tells_closers=routes.tells_closers),
            *parse_conditional_orders(conditional, scope=scope),
        )

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Read marks; the row of a coin bears the asset's name and is priced as the asset."""
        return await self._markets.fetch_marks(symbols)

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read account records since then, valued at current marks, times on our clock.

        Coins are valued as the last reading's totals counted them.

        Raises Unavailable when there are more than 20,000 records, when their order leaves doubt
        whether some were skipped, when the clock they were asked by proved wrong meanwhile, and
        for a key that may not read one kind of them. What is older than 89 days is not asked for.
        """
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        since = max(since, asked_at - LEDGER_REACH_S)
        offset_s = self._connection.server_offset_s
        rows = await fetch_records(
            self._connection,
            await self._whereabouts.settle(),
            start_ms=int((since + offset_s) * 1000),
            end_ms=int((asked_at + offset_s) * 1000),
        )
        if abs(self._connection.server_offset_s - offset_s) > CLOCK_CHANGE_S:
            raise Unavailable("income: the clock was measured anew meanwhile")
        assets = tuple(sorted({row.asset for row in rows} - self._stables))
        prices = await self._markets.fetch_prices(assets)
        unpriced = [asset for asset in assets if asset not in prices]
        if unpriced:
            raise Malformed(f"income: no price for {unpriced[0]}; stables_keep may name it")
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                row.to_entry(
                    scope=scope,
                    at=row.at_ms / 1000 - offset_s,
                    price=prices[row.asset] * self._coin_weight if row.asset in prices else 1.0,
                )
                for row in rows
            ),
        )

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read what every market accepts, and learn the bases of their symbols."""
        return await self._markets.fetch_limits()

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """Read whether the account is one-way or hedged, afresh."""
        self._require_scope(scope)
        return (await self._mode.fetch(is_urgent=True)).position_mode

    async def _fetch_mode(self, is_urgent: bool) -> AccountMode:
        read = self._connection.read_at_once if is_urgent else self._connection.read
        routes = await self._whereabouts.settle(is_urgent=is_urgent)
        return parse_account_mode(await read(routes.mode, "accountConfig"))

    async def _renew(self) -> AccountMode:
        """The account's mode; what is due is read again."""
        await self._connection.renew_clock()
        return await self._mode.renew()

    def _heed(self, refused: Refused) -> None:
        """Drop the kept mode when a refusal contradicts it."""
        if refused.reason is RefusalReason.WRONG_POSITION_MODE:
            self._mode.doubt()

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """Ask what `check` shows; a part that is not told is a value."""
        self._require_scope(scope)
        try:
            routes = await self._whereabouts.settle()
        except ObservationError:
            routes = FUTURES
        async with asking(MANNERS, self._access, self._clock) as asker:
            return await inspect_account(
                asker, routes, now=self._clock.now(), scope=scope, symbols=symbols
            )

    def make_ready(self, closes: int) -> None:
        """Begin to open connections for closes that may come soon."""
        self._connection.make_ready(closes, host=self._whereabouts.likely.host)

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing market order.

        One-way accounts get the reduce-only flag. Hedge accounts refuse that flag; there the order
        is bound to its leg, and a SELL of a LONG leg (or a BUY of a SHORT one) can only close.
        Raises InvariantViolation for anything but an approved instruction of this account.
        """
        params = self._close_params(instruction)
        routes = await self._routes_of_orders()
        if isinstance(routes, Refused):
            return routes
        answer = await self._connection.place(routes.order, params, orders=(instruction.client_id,))
        if isinstance(answer, Failure):
            return self._connection.judge(answer)
        return judge_order(answer, client_id=instruction.client_id, is_lookup=False)

    async def _routes_of_orders(self) -> Routes | Refused:
        """Where orders go: only where the account is proved to live. Else nothing is sent."""
        try:
            return await self._whereabouts.settle(is_urgent=True)
        except ObservationError as failed:
            return Refused(reason=RefusalReason.NOT_REACHED, code="", message=str(failed))

    def _close_params(self, instruction: CloseInstruction) -> dict[str, str | int]:
        """The order as the venue wants it; anything but an approved close of ours raises."""
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        self._require_scope(instruction.scope)
        return close_params(instruction)

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several closing orders at once, five to a request; each has its own outcome.

        Raises InvariantViolation before anything is sent if one of them may not be.
        """
        for instruction in instructions:
            self._close_params(instruction)
        parts = [instructions[n : n + BATCH] for n in range(0, len(instructions), BATCH)]
        outcomes = await asyncio.gather(*map(self._submit_part, parts))
        return tuple(outcome for part in outcomes for outcome in part)

    async def _submit_part(self, part: Sequence[CloseInstruction]) -> Sequence[Outcome]:
        """Send up to five orders; after a batch that was at fault itself they go one by one."""
        now = self._clock.monotonic()
        routes = await self._routes_of_orders()
        if isinstance(routes, Refused):
            return [routes] * len(part)
        if routes.batch is None or len(part) == 1 or now < self._single_until:
            return await asyncio.gather(*map(self.submit_close, part))
        params = [self._close_params(instruction) for instruction in part]
        ids = [close.client_id for close in part]
        answer = await self._connection.place(routes.batch, {"batchOrders": params}, orders=ids)
        outcomes: Sequence[Outcome] = (
            [self._connection.judge_whole(answer)] * len(part)
            if isinstance(answer, Failure)
            else judge_batch(answer, ids, refusal=self._connection.judge_row)
        )
        if any(map(_may_be_due_to_the_batch, outcomes)):
            self._single_until = now + BATCH_REST_S
        return outcomes

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order where its kind lives; an order already gone is Done."""
        self._require_scope(order.scope)
        routes = await self._routes_of_orders()
        if isinstance(routes, Refused):
            return routes
        endpoint, params = cancel_request(order, routes)
        answer = await self._connection.ask(endpoint, params, urgency=Urgency.CANCEL)
        return self._judge_cancel(answer, order_id=order.order_id)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel regular and conditional orders of a symbol; Done only when both are."""
        self._require_scope(scope)
        routes = await self._routes_of_orders()
        if isinstance(routes, Refused):
            return routes
        answers = await asyncio.gather(
            *(
                self._connection.ask(endpoint, {"symbol": symbol}, urgency=Urgency.CANCEL)
                for endpoint in routes.cancel_all
            )
        )
        outcomes = [self._judge_cancel(answer, order_id=EVERY) for answer in answers]
        return as_one(outcomes)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look a regular order up by our own id.

        "Does not exist" can be said too early, right after the order was sent: the caller asks
        again before it believes it.
        """
        self._require_scope(scope)
        routes = await self._routes_of_orders()
        if isinstance(routes, Refused):
            return Unknown(cause=routes.message)
        params = {"symbol": symbol, "origClientOrderId": client_id}
        answer = await self._connection.look_up(routes.look_up, params, order=client_id)
        if not isinstance(answer, Failure):
            return judge_order(answer, client_id=client_id, is_lookup=True)
        if is_gone(answer):
            return Refused(
                reason=RefusalReason.NO_SUCH_ORDER,
                code=str(code_of(answer.body)),
                message=answer.cause,
            )
        return Unknown(cause=answer.cause)

    def _judge_cancel(self, answer: object, *, order_id: VenueOrderId) -> Outcome:
        """Say what the answer to a cancel proves; an order that is gone already is done."""
        if isinstance(answer, Failure):
            return Done(order_id=order_id) if is_gone(answer) else self._connection.judge(answer)
        return judge_cancel(answer, order_id=order_id)

    def _require_scope(self, scope: ScopeId) -> None:
        """Refuse work for another account: it would be carried out on this one."""
        if scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {scope}")


def _may_be_due_to_the_batch(outcome: Outcome) -> bool:
    """True for an order in doubt, and for a refused signature: a batch alone signs a list."""
    if isinstance(outcome, Refused):
        return outcome.reason is RefusalReason.NOT_ALLOWED
    return isinstance(outcome, Unknown)
