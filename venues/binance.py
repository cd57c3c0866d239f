"""Binance USD-M futures through real ccxt: which endpoint answers which question.

Fields are read by `binance_account`, `binance_records` and `binance_markets`; what a refusal
proves is in `binance_errors`; clients and clock are in `connection`.
Requests use ccxt's implicit endpoint methods, so that quantities stay the venue's own strings and
a listing that ccxt has not loaded can be closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

from ccxt.async_support import binanceusdm

from clock import Clock
from errors import InvariantViolation, Malformed, Unavailable
from inspection import Inspection
from model import (
    Asset,
    ClientOrderId,
    CloseInstruction,
    Done,
    Ledger,
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
    Symbol,
    Unknown,
    VenueOrderId,
)
from venues.access import Access
from venues.binance_account import (
    AccountMode,
    parse_account,
    parse_account_mode,
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
    is_of_address,
    judge,
    remedy_of,
    retry_after_s,
)
from venues.binance_inspection import inspect_account
from venues.binance_markets import parse_asset_prices, parse_market_limits, parse_marks
from venues.binance_pacing import DEFAULT_RATES, cost_of, counted_by_venue, parse_rates
from venues.binance_records import (
    IncomeRow,
    judge_batch,
    judge_order,
    parse_conditional_orders,
    parse_income,
    parse_orders,
)
from venues.connection import Kept, Manners, VenueConnection, together
from venues.failure import Failure
from venues.pacer import Urgency
from venues.parsing import as_fields, plain_text, required_integer

LEDGER_PAGE = 1000
"""Most records the venue gives at once."""
LEDGER_PAGES = 20
"""Most pages read for one ledger: 30 weight each, a third of a minute's allowance."""
LEDGER_REACH_S = 89 * 86400.0
"""The venue keeps three months of account records."""
CLOCK_CHANGE_S = 1.0
"""By so much two measurements of the venue's clock never differ unless one of the clocks was set.
Records asked for by the old one leave some out, and their times are wrong by as much."""
BATCH = 5
"""Most orders that the venue takes in one request."""
BATCH_REST_S = 600.0
"""After a batch that proved nothing orders go one by one for so long, lest all fail together."""
LANDS_WITHIN_S = 15.0
"""It takes a request for 10 s, by the window that the library names to it."""
_EVERY = VenueOrderId("")
"""Stands for the id of a cancel that names no single order."""


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
    pauses_s=PAUSES_S,
    is_of_address=is_of_address,
    remedy_of=remedy_of,
)
"""How Binance USD-M wants to be talked to."""


class BinanceFutures:
    """One Binance USD-M futures account (`venues.protocol.Venue`).

    `stables` are the assets worth 1. Raises ConfigurationError for an access that cannot be used.
    """

    def __init__(
        self, *, scope: ScopeId, access: Access, clock: Clock, stables: tuple[str, ...]
    ) -> None:
        self.lands_within_s = LANDS_WITHIN_S
        self._scope = scope
        self._clock = clock
        self._stables = frozenset(Asset(name) for name in stables)
        self._connection = VenueConnection(MANNERS, access, clock, on_refusal=self._heed)
        self._mode = Kept(self._fetch_mode, clock)
        self._bases: dict[Symbol, Asset] = {}
        self._coin_weight = 1.0
        self._single_until = float("-inf")

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account of this connection."""
        return (self._scope,)

    async def start(self) -> None:
        """Learn the venue's clock and the account's mode; may be called again.

        Raises Unavailable or Malformed; reads work without it and catch up on what is missing.
        """
        await self._connection.measure_clock()
        await self._mode.fetch()

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        await self._connection.aclose()

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read account and positions together; prices of other coins follow when there are any."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        account_answer, positions_answer, mode = await together(
            self._connection.read("fapiPrivateV3GetAccount", "account"),
            self._connection.read("fapiPrivateV3GetPositionRisk", "positionRisk"),
            self._renew(),
        )
        account = parse_account(account_answer, is_multi_assets=mode.is_multi_assets)
        positions = parse_positions(positions_answer, bases=self._bases)
        prices = await self._fetch_prices(account.unstable_assets(self._stables))
        value = value_account(account, stables=self._stables, prices=prices)
        self._coin_weight = value.coin_weight
        shown = position_mode_shown(positions_answer)
        if shown is not None and shown is not mode.position_mode:
            self._mode.doubt()
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=value.equity,
            wallet=value.wallet,
            unrealised_pnl=value.unrealised_pnl,
            positions=positions,
            coins=value.coins,
            position_mode=shown or mode.position_mode,
            wallet_defines_equity=True,
            server_offset_s=self._connection.server_offset_s,
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read the positions alone, past the reader's queue; figures of 0 are unknown."""
        self._require_scope(scope)
        answer = await self._connection.read_at_once("fapiPrivateV3GetPositionRisk", "positionRisk")
        return parse_sizes(answer, bases=self._bases)

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read regular and conditional orders of all symbols; both lists, or it raises."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        regular, conditional = await together(
            self._connection.read("fapiPrivateGetOpenOrders", "openOrders"),
            self._connection.read("fapiPrivateGetOpenAlgoOrders", "openAlgoOrders"),
        )
        return (
            *parse_orders(regular, scope=scope),
            *parse_conditional_orders(conditional, scope=scope),
        )

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Read marks; the row of a coin bears the asset's name and is priced as the asset."""
        if not symbols:
            return {}
        one = {"symbol": symbols[0]} if len(symbols) == 1 and symbols[0] in self._bases else {}
        answer = await self._connection.read("fapiPublicGetPremiumIndex", "premiumIndex", one)
        marks = parse_marks(answer, wanted=frozenset(symbols))
        coins = await self._fetch_prices(
            tuple(Asset(name) for name in sorted(set(symbols) - set(marks) - set(self._bases)))
        )
        found = {**marks, **{Symbol(asset): price for asset, price in coins.items()}}
        missing = sorted(set(symbols) - set(found))
        if missing:
            raise Unavailable(f"premiumIndex: no mark for {', '.join(missing)}")
        return found

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read account records since then, valued at current marks, times on our clock.

        Coins are valued as the last reading's totals counted them.

        Raises Unavailable when there are more than 20,000 records, when their order leaves doubt
        whether some were skipped, or when the clock they were asked by proved wrong meanwhile.
        What is older than 89 days is not asked for.
        """
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        since = max(since, asked_at - LEDGER_REACH_S)
        offset_s = self._connection.server_offset_s
        rows = await self._fetch_income(start_ms=int((since + offset_s) * 1000))
        if abs(self._connection.server_offset_s - offset_s) > CLOCK_CHANGE_S:
            raise Unavailable("income: the clock was measured anew meanwhile")
        assets = tuple(sorted({row.asset for row in rows} - self._stables))
        prices = await self._fetch_prices(assets)
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

    async def _fetch_income(self, *, start_ms: int) -> tuple[IncomeRow, ...]:
        """Every account record from `start_ms` on, each once, oldest first.

        The next page begins at the last time seen, not after it: one trade leaves several records
        in one millisecond, and a page may end between them.
        """
        rows: dict[RecordId, IncomeRow] = {}
        for _ in range(LEDGER_PAGES):
            params = {"startTime": start_ms, "limit": LEDGER_PAGE}
            page = parse_income(
                await self._connection.read("fapiPrivateGetIncome", "income", params)
            )
            rows.update((row.record_id, row) for row in page)
            if len(page) < LEDGER_PAGE:
                return tuple(sorted(rows.values(), key=lambda row: (row.at_ms, row.record_id)))
            times = [row.at_ms for row in page]
            if times != sorted(times) or times[-1] <= start_ms:
                raise Unavailable("income: the order of a full page leaves records unread")
            start_ms = times[-1]
        raise Unavailable(f"income: more than {LEDGER_PAGES * LEDGER_PAGE} records")

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read what every market accepts, and learn the bases of their symbols."""
        answer = await self._connection.read("fapiPublicGetExchangeInfo", "exchangeInfo")
        self._connection.adopt_rates(parse_rates(answer))
        limits = parse_market_limits(answer)
        self._bases = {symbol: market.base for symbol, market in limits.items()}
        return limits

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """Read whether the account is one-way or hedged, afresh."""
        self._require_scope(scope)
        return (await self._mode.fetch(is_urgent=True)).position_mode

    async def _fetch_mode(self, is_urgent: bool) -> AccountMode:
        read = self._connection.read_at_once if is_urgent else self._connection.read
        return parse_account_mode(await read("fapiPrivateGetAccountConfig", "accountConfig"))

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
        return await inspect_account(
            self._connection, clock=self._clock, scope=scope, symbols=symbols
        )

    async def _fetch_prices(self, assets: Collection[Asset]) -> dict[Asset, float]:
        """Price assets by their USDT (else USDC) mark, else by the venue's asset index.

        An asset that neither knows is left out of the answer.
        """
        if not assets:
            return {}
        names = {asset: (Symbol(f"{asset}USDT"), Symbol(f"{asset}USDC")) for asset in assets}
        only = next(iter(names.values()))[0]
        params = {"symbol": only} if len(names) == 1 and only in self._bases else {}
        answer = await self._connection.read("fapiPublicGetPremiumIndex", "premiumIndex", params)
        marks = parse_marks(answer, wanted={name for pair in names.values() for name in pair})
        prices = {
            asset: marks[name]
            for asset, pair in names.items()
            for name in reversed(pair)
            if name in marks
        }
        missing = set(assets) - set(prices)
        if missing:
            index = await self._connection.read("fapiPublicGetAssetIndex", "assetIndex")
            prices |= parse_asset_prices(index, wanted=missing)
        return prices

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing market order.

        One-way accounts get the reduce-only flag. Hedge accounts refuse that flag; there the order
        is bound to its leg, and a SELL of a LONG leg (or a BUY of a SHORT one) can only close.
        Raises InvariantViolation for anything but an approved instruction of this account.
        """
        params = self._close_params(instruction)
        answer = await self._connection.ask("fapiPrivatePostOrder", params)
        if isinstance(answer, Failure):
            return self._connection.judge(answer)
        return judge_order(answer, client_id=instruction.client_id, is_lookup=False)

    def _close_params(self, instruction: CloseInstruction) -> dict[str, str | int]:
        """The order as the venue wants it; see `docs/architecture.md` for the modes."""
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        self._require_scope(instruction.scope)
        params: dict[str, str | int] = {
            "symbol": instruction.symbol,
            "side": instruction.side.closing_order.value,
            "type": "MARKET",
            "quantity": plain_text(instruction.quantity),
            "newClientOrderId": instruction.client_id,
            "newOrderRespType": "RESULT",
        }
        match instruction.position_mode:
            case PositionMode.ONE_WAY:
                params["reduceOnly"] = "true"
            case PositionMode.HEDGE:
                params["positionSide"] = instruction.side.value
            case _:
                assert_never(instruction.position_mode)
        return params

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
        if len(part) == 1 or now < self._single_until:
            return await asyncio.gather(*map(self.submit_close, part))
        params = [self._close_params(instruction) for instruction in part]
        answer = await self._connection.ask("fapiPrivatePostBatchOrders", {"batchOrders": params})
        outcomes: Sequence[Outcome] = (
            [self._connection.judge_whole(answer)] * len(part)
            if isinstance(answer, Failure)
            else judge_batch(
                answer, [close.client_id for close in part], refusal=self._connection.judge_row
            )
        )
        if any(map(_may_be_due_to_the_batch, outcomes)):
            self._single_until = now + BATCH_REST_S
        return outcomes

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order where its kind lives; an order already gone is Done."""
        self._require_scope(order.scope)
        match order.kind:
            case OrderKind.REGULAR:
                endpoint: str = "fapiPrivateDeleteOrder"
                params = {"symbol": str(order.symbol), "orderId": str(order.order_id)}
            case OrderKind.CONDITIONAL:
                endpoint, params = "fapiPrivateDeleteAlgoOrder", {"algoId": str(order.order_id)}
            case _:
                assert_never(order.kind)
        answer = await self._connection.ask(endpoint, params, urgency=Urgency.CANCEL)
        return self._judge_cancel(answer, order_id=order.order_id)

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel regular and conditional orders of a symbol; Done only when both are."""
        self._require_scope(scope)
        answers = await asyncio.gather(
            *(
                self._connection.ask(endpoint, {"symbol": symbol}, urgency=Urgency.CANCEL)
                for endpoint in (
                    "fapiPrivateDeleteAllOpenOrders",
                    "fapiPrivateDeleteAlgoOpenOrders",
                )
            )
        )
        outcomes = [self._judge_cancel(answer, order_id=_EVERY) for answer in answers]
        for kind in (Unknown, Refused):
            for outcome in outcomes:
                if isinstance(outcome, kind):
                    return outcome
        return Done(order_id=_EVERY)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look a regular order up by our own id.

        "Does not exist" can be said too early, right after the order was sent: the caller asks
        again before it believes it.
        """
        self._require_scope(scope)
        answer = await self._connection.ask(
            "fapiPrivateGetOrder", {"symbol": symbol, "origClientOrderId": client_id}
        )
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
        """Say what the answer to a cancel proves: an echoed id, or the venue's code 200."""
        if isinstance(answer, Failure):
            return Done(order_id=order_id) if is_gone(answer) else self._connection.judge(answer)
        fields = answer if isinstance(answer, dict) else {}
        echoed = {str(fields.get(name)) for name in ("orderId", "algoId")}
        if (order_id and order_id in echoed) or code_of(answer) == 200:
            return Done(order_id=order_id)
        return Unknown(cause="cancel: the answer confirms nothing")

    def _require_scope(self, scope: ScopeId) -> None:
        """Refuse work for another account: it would be carried out on this one."""
        if scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {scope}")


def _may_be_due_to_the_batch(outcome: Outcome) -> bool:
    """True for an order in doubt, and for a refused signature: a batch alone signs a list."""
    if isinstance(outcome, Refused):
        return outcome.reason is RefusalReason.NOT_ALLOWED
    return isinstance(outcome, Unknown)
