"""Bitget futures through real ccxt: one account, classic or unified, whichever it is.

Which of the two is found out by one question to the unified endpoints, never by the library: that
takes any failure for a classic account, for the life of the process. What each asks is in
`bitget_classic` and `bitget_unified`, what answers mean in `bitget_account`, `bitget_records`,
`bitget_ledger` and `bitget_markets`, what a refusal proves in `bitget_errors`.
Requests use ccxt's implicit endpoint methods, so that quantities stay the venue's own strings and
a listing that ccxt has not loaded can be closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from clock import Clock
from errors import InvariantViolation, Malformed, ObservationError, Unavailable
from inspection import Inspection, NotTold
from logger import get_logger
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    Ledger,
    LedgerEntry,
    MarketLimits,
    Order,
    Outcome,
    Position,
    PositionMode,
    Reading,
    RecordId,
    RefusalReason,
    Refused,
    ScopeId,
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.access import Access
from venues.bitget_account import mode_shown
from venues.bitget_classic import ClassicAccount
from venues.bitget_errors import (
    IS_CLASSIC,
    IS_UNIFIED,
    PAUSES_S,
    code_of,
    is_clock_refusal,
    is_error_body,
    is_gone,
    is_unknown_order,
    judge,
    may_be_for_its_form,
    remedy_of,
    retry_after_s,
)
from venues.bitget_family import Family, Held, Record, coin_prices, data_of, product_of
from venues.bitget_inspection import inspect_account
from venues.bitget_pacing import DEFAULT_RATES, cost_of
from venues.bitget_records import judge_cancelled, judge_cancelled_all, judge_placed
from venues.bitget_unified import SETTINGS, UnifiedAccount
from venues.connection import Kept, Manners, VenueConnection, together
from venues.exchange_library import bitget
from venues.failure import Failure, unavailable
from venues.outcomes import EVERY, as_one
from venues.pacer import Urgency
from venues.parsing import as_fields, required_integer

_log = get_logger("venues.bitget")

LEDGER_REACH_S = 89 * 86400.0
"""The venue keeps ninety days of account records."""
LEDGER_WINDOW_S = 29 * 86400.0
"""It takes at most thirty days in one question."""
CLOCK_CHANGE_S = 1.0
"""By so much two measurements of the venue's clock never differ unless one of the clocks was set.
Records asked for by the old one leave some out, and their times are wrong by as much."""
ORDER_WAITS_S = 5.5
"""Fifty orders go out in one round, ten in each window, also where every answer is late."""
LANDS_WITHIN_S = 37.0
"""It takes a request for 30 s, and no request can name a shorter window to it."""
FAMILY_WAIT_S = 1.0
"""Longest that anything waits to learn whether a known account has become one of the other kind."""


def _parse_time(answer: object) -> int:
    return required_integer(as_fields(data_of(answer, "time"), "time"), "serverTime", "time")


MANNERS = Manners(
    name="bitget",
    client_class=bitget,
    # The library asks for the kind of account by itself unless it is told one; which, does not
    # matter here: it never chooses an endpoint of ours.
    options={"uta": False, "fetchCurrencies": False},
    time_endpoint="publicCommonGetV2PublicTime",
    parse_time=_parse_time,
    is_error_body=is_error_body,
    judge=judge,
    retry_after_s=retry_after_s,
    is_clock_refusal=is_clock_refusal,
    rates=DEFAULT_RATES,
    cost_of=cost_of,
    pauses_s=PAUSES_S,
    order_waits_s=ORDER_WAITS_S,
    remedy_of=remedy_of,
)
"""How Bitget wants to be talked to."""


class BitgetFutures:
    """One Bitget futures account, USDT and USDC contracts (`venues.protocol.Venue`).

    `stables` are the assets worth 1. Raises ConfigurationError for an access that cannot be used.
    """

    def __init__(
        self, *, scope: ScopeId, access: Access, clock: Clock, stables: tuple[str, ...]
    ) -> None:
        self.lands_within_s = LANDS_WITHIN_S
        self._scope = scope
        self._clock = clock
        self._stables = tuple(Asset(name) for name in stables)
        self._connection = VenueConnection(
            MANNERS, access, clock, on_refusal=self._heed_refusal, on_failure=self._heed_failure
        )
        self._bases: dict[Symbol, Asset] = {}
        self._products: dict[Symbol, str] = {}
        self._modes: dict[Symbol, PositionMode] = {}
        self._flags_hedged_closes = True
        self._own_prices: dict[Asset, float] = {}
        self._classic = ClassicAccount(self._connection, stables=self._stables, bases=self._bases)
        self._unified = UnifiedAccount(self._connection, stables=self._stables, bases=self._bases)
        self._family: Family | None = None
        self._is_family_doubted = False
        self._probe: asyncio.Task[ObservationError | None] | None = None
        self._mode = Kept(self._fetch_mode_set, clock)

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account of this connection."""
        return (self._scope,)

    async def start(self) -> None:
        """Learn the venue's clock, the kind of account and its mode; may be called again.

        Raises Unavailable or Malformed; reads work without it and catch up on what is missing.
        """
        await self._connection.measure_clock()
        self._is_family_doubted = True
        await self._known_family()
        await self._mode.fetch()

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        if self._probe is not None:
            self._probe.cancel()
        await self._connection.aclose()

    async def _known_family(self) -> Family:
        """The kind of account; asked for while it is not known or an answer contradicted it.

        A doubt that the venue does not answer within a moment keeps what was known: closes wait
        for this. Raises Unavailable or Malformed when it never was.
        """
        if self._family is not None and not self._is_family_doubted:
            return self._family
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._try_to_probe())
        # Shared, so that fifty closes ask once, and not cancelled with one that gives up waiting.
        probe, is_known = self._probe, self._family is not None
        await asyncio.wait((probe,), timeout=FAMILY_WAIT_S if is_known else None)
        if self._family is None:
            raise probe.result() or Unavailable("kind of account: not told")
        return self._family

    async def _try_to_probe(self) -> ObservationError | None:
        """Learn the kind of account; the error as a value: perhaps nobody waits any more."""
        try:
            self._family = await self._probe_family()
        except ObservationError as failed:
            return failed
        self._is_family_doubted = False
        return None

    async def _probe_family(self) -> Family:
        """Ask which kind of account this is. Only two answers tell; any other raises.

        40084 is what the unified endpoints say to a classic account.
        """
        answer = await self._connection.ask(SETTINGS, {})
        if not isinstance(answer, Failure):
            as_fields(data_of(answer, "settings"), "settings")
            return self._unified
        if code_of(answer.body) == IS_CLASSIC and (answer.status or 500) < 500:
            return self._classic
        pause_s = retry_after_s(answer, venue_now_ms=0.0)
        raise unavailable("kind of account", answer, pause_s)

    async def _fetch_mode_set(self, is_urgent: bool) -> PositionMode:
        del is_urgent  # Both families read it past the reader's queue.
        return await (await self._known_family()).fetch_mode()

    def _heed_refusal(self, refused: Refused) -> None:
        """Drop kept facts that a refused order contradicts."""
        if refused.reason is RefusalReason.WRONG_POSITION_MODE:
            self._mode.doubt()

    def _heed_failure(self, failure: Failure) -> None:
        """Ask again for the kind of account when the other kind's endpoints were refused."""
        told = code_of(failure.body)
        expected = IS_UNIFIED if self._family is self._classic else IS_CLASSIC
        if self._family is not None and told == expected:
            self._is_family_doubted = True

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read money and positions together; prices of coins follow where they are needed."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        family = await self._known_family()
        account, mode = await together(family.fetch_account(), self._renew())
        self._learn(account.held, is_late=True)
        self._own_prices |= {coin.asset: coin.price for coin in account.coins}
        shown = mode_shown(account.held)
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=account.equity,
            wallet=None,
            unrealised_pnl=account.unrealised_pnl,
            positions=tuple(each.position for each in account.held),
            coins=account.coins,
            position_mode=shown or mode,
            wallet_defines_equity=False,
            server_offset_s=self._connection.server_offset_s,
            changed_at=account.changed_at,
        )

    async def _renew(self) -> PositionMode:
        """Read again what is due; a failure keeps what was known."""
        await self._connection.renew_clock()
        return await self._mode.renew()

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read the positions alone, past the reader's queue; figures of 0 are unknown."""
        self._require_scope(scope)
        held = await (await self._known_family()).fetch_held()
        self._learn(held)
        return tuple(each.position for each in held)

    def _learn(self, held: Sequence[Held], *, is_late: bool = False) -> None:
        """Remember what a close of these positions has to say.

        A reading may come late and show what was before the mode was switched: it tells a mode
        only where no read that closes are sized from has shown one.
        """
        for each in held:
            symbol = each.position.symbol
            self._products[symbol] = each.product
            if not (is_late and symbol in self._modes):
                self._modes[symbol] = each.mode

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read orders of all kinds, products and pages; all lists, or it raises."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        return await (await self._known_family()).fetch_orders(scope)

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Read marks; the row of a coin bears the coin's name and is priced by its contract.

        One that has no contract has the price by which the wallet valued it last.
        """
        if not symbols:
            return {}
        marks = await (await self._known_family()).fetch_marks()
        priced = self._own_prices | coin_prices(marks)
        prices = {Symbol(asset): price for asset, price in priced.items()}
        prices.update(marks)
        missing = sorted(set(symbols) - set(prices))
        if missing:
            raise Unavailable(f"tickers: no mark for {', '.join(missing)}")
        return {symbol: prices[symbol] for symbol in symbols}

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read account records since then, valued at current marks, times on our clock.

        Raises Unavailable when there are more than 6,000 records of one list, or when the clock
        they were asked by proved wrong meanwhile. What is older than 89 days is not asked for.
        """
        self._require_scope(scope)
        await self._connection.settle_clock()
        family = await self._known_family()
        asked_at = self._clock.now()
        since = max(since, asked_at - LEDGER_REACH_S)
        offset_s = self._connection.server_offset_s
        records: dict[RecordId, Record] = {}
        start = since
        while start <= asked_at:
            end = min(asked_at + CLOCK_CHANGE_S, start + LEDGER_WINDOW_S)
            found = await family.fetch_records(
                start_ms=int((start + offset_s) * 1000), end_ms=int((end + offset_s) * 1000)
            )
            records.update((record.record_id, record) for record in found)
            start = end
        if abs(self._connection.server_offset_s - offset_s) > CLOCK_CHANGE_S:
            raise Unavailable("account records: the clock was measured anew meanwhile")
        prices = await self._prices_of({record.asset for record in records.values()}, family)
        ordered = sorted(records.values(), key=lambda record: (record.at_ms, record.record_id))
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                LedgerEntry(
                    record_id=record.record_id,
                    scope=scope,
                    kind=record.kind,
                    at=record.at_ms / 1000 - offset_s,
                    amount=record.amount * prices.get(record.asset, 1.0),
                    asset=record.asset,
                    symbol=record.symbol,
                )
                for record in ordered
            ),
        )

    async def _prices_of(self, assets: set[Asset], family: Family) -> Mapping[Asset, float]:
        """Prices of the assets that are not stable, of those without a contract the wallet's last.

        Raises Malformed when one has none.
        """
        wanted = sorted(assets - set(self._stables))
        if not wanted:
            return {}
        prices = self._own_prices | coin_prices(await family.fetch_marks())
        for asset in wanted:
            if asset not in prices:
                raise Malformed(f"account records: no price for {asset}; stables_keep may name it")
        return {asset: prices[asset] for asset in wanted}

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read what every market accepts, and learn the bases and products of their symbols."""
        listings = await (await self._known_family()).fetch_listings()
        limits = {listing.limits.symbol: listing.limits for listing in listings}
        if not limits:
            raise Malformed("markets: none is listed")
        self._bases.update((symbol, market.base) for symbol, market in limits.items())
        self._products |= {listing.limits.symbol: listing.product for listing in listings}
        return limits

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """Read whether the account is one-way or hedged, afresh; held positions prove it best."""
        self._require_scope(scope)
        held, mode = await together(
            (await self._known_family()).fetch_held(), self._mode.fetch(is_urgent=True)
        )
        self._learn(held)
        return mode_shown(held) or mode

    def make_ready(self, closes: int) -> None:
        """Begin to open connections for closes that may come soon; both families have one host."""
        self._connection.make_ready(closes, host="mix")

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing market order.

        It has the form of the mode that its own position shows: each product has a mode of its
        own, and a one-way account reads the hedged form as another order. The flag keeps that
        one from opening. Raises InvariantViolation for anything but an approved instruction of
        this account.
        """
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        self._require_scope(instruction.scope)
        try:
            family = await self._known_family()
        except ObservationError as unknown:
            return Refused(reason=RefusalReason.NOT_REACHED, code="", message=str(unknown))
        symbol = instruction.symbol
        mode = self._modes.get(symbol, instruction.position_mode)
        is_hedged = mode is PositionMode.HEDGE
        request = family.close_request(
            instruction,
            product=self._product(symbol),
            mode=mode,
            is_flagged=self._flags_hedged_closes or not is_hedged,
        )
        answer = await self._connection.place(
            request.endpoint, request.params, orders=(instruction.client_id,)
        )
        if isinstance(answer, Failure):
            if is_hedged:
                self._heed_hedged_failure(answer)
            return self._connection.judge(answer)
        return judge_placed(answer, client_id=instruction.client_id)

    def _heed_hedged_failure(self, failure: Failure) -> None:
        """Send hedged closes without the flag, as is documented, where it may have been refused."""
        if self._flags_hedged_closes and may_be_for_its_form(failure):
            self._flags_hedged_closes = False
            why = f"hedged closes go without reduceOnly from now on: {failure.cause}"
            _log.warning("close_flag_refused", scope=self._scope, why=why)

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several closing orders at once, each in a request of its own.

        Batches of a classic account hold one symbol, those of a unified one no reduce-only orders.
        Raises InvariantViolation before anything is sent if one of them may not be.
        """
        for instruction in instructions:
            if not isinstance(instruction, CloseInstruction):
                raise InvariantViolation("only a CloseInstruction may become an order")
            self._require_scope(instruction.scope)
        return tuple(await asyncio.gather(*map(self.submit_close, instructions)))

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order where its kind lives; an order already gone is Done."""
        self._require_scope(order.scope)
        try:
            family = await self._known_family()
        except ObservationError as unknown:
            return Refused(reason=RefusalReason.NOT_REACHED, code="", message=str(unknown))
        request = family.cancel_request(order, product=self._product(order.symbol))
        answer = await self._connection.ask(
            request.endpoint, request.params, urgency=Urgency.CANCEL
        )
        if isinstance(answer, Failure):
            return self._judge_failed_cancel(answer, order_id=order.order_id)
        if request.success_is_all:
            return Done(order_id=order.order_id)
        return judge_cancelled(answer, order_id=order.order_id)

    def _judge_failed_cancel(self, failure: Failure, *, order_id: VenueOrderId) -> Outcome:
        return Done(order_id=order_id) if is_gone(failure) else self._connection.judge(failure)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel every kind of order of a symbol; Done only when all kinds are."""
        self._require_scope(scope)
        try:
            family = await self._known_family()
            requests = await family.cancel_all_requests(symbol, product=self._product(symbol))
        except ObservationError as unknown:
            return Unknown(cause=str(unknown))
        answers = await asyncio.gather(
            *(
                self._connection.ask(request.endpoint, request.params, urgency=Urgency.CANCEL)
                for request in requests
            )
        )
        outcomes = [
            self._judge_failed_cancel(answer, order_id=EVERY)
            if isinstance(answer, Failure)
            else Done(order_id=EVERY)
            if request.success_is_all
            else judge_cancelled_all(answer)
            for request, answer in zip(requests, answers, strict=True)
        ]
        return as_one(outcomes)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look an ordinary order up by our own id.

        "Does not exist" can be said too early, right after the order was sent: the caller asks
        again before it believes it.
        """
        self._require_scope(scope)
        try:
            family = await self._known_family()
        except ObservationError as unknown:
            return Unknown(cause=str(unknown))
        request = family.lookup_request(client_id, symbol, product=self._product(symbol))
        answer = await self._connection.look_up(request.endpoint, request.params, order=client_id)
        if not isinstance(answer, Failure):
            return family.judge_lookup(answer, client_id=client_id)
        if is_unknown_order(answer):
            return Refused(
                reason=RefusalReason.NO_SUCH_ORDER,
                code=code_of(answer.body) or "",
                message=answer.cause,
            )
        return Unknown(cause=answer.cause)

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """Ask what `check` shows; never on the way to a close."""
        self._require_scope(scope)
        try:
            family: Family | NotTold = await self._known_family()
        except ObservationError as unknown:
            family = NotTold(reason=str(unknown))
        return await inspect_account(
            self._connection,
            family,
            is_unified=family is self._unified,
            clock=self._clock,
            scope=scope,
            symbols=symbols,
        )

    def _product(self, symbol: Symbol) -> str:
        """The product of a symbol: as an answer named it, else by its spelling."""
        return self._products.get(symbol) or product_of(symbol)

    def _require_scope(self, scope: ScopeId) -> None:
        """Refuse work for another account: it would be carried out on this one."""
        if scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {scope}")
