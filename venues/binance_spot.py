"""A Binance spot account through real ccxt: which endpoint answers which question.

Fields are read by `binance_spot_account` and `binance_spot_records`, coins are valued and routed by
`spot_values`; what a refusal proves is in `binance_spot_errors`. Its rows are coins: a position
read gives what can be sold of each, and a close is a market sale on the coin's own market, with its
base quantity and never with a price.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

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
    Outcome,
    Position,
    PositionMode,
    Reading,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from venues.access import Access
from venues.asking import asking
from venues.binance_errors import (
    PAUSES_S,
    code_of,
    is_clock_refusal,
    is_error_body,
    is_gone,
    retry_after_s,
)
from venues.binance_pacing import SPOT_RATES, counted_by_venue, parse_rates, spot_cost_of
from venues.binance_records import judge_order
from venues.binance_spot_account import (
    parse_balances,
    parse_last_price,
    parse_markets,
    parse_mids,
)
from venues.binance_spot_errors import judge
from venues.binance_spot_inspection import inspect_spot
from venues.binance_spot_ledger import read_records
from venues.binance_spot_records import parse_open_orders, with_proceeds
from venues.ccxt_client import Params
from venues.connection import Manners, VenueConnection, together
from venues.exchange_library import binance
from venues.failure import Failure
from venues.outcomes import as_one
from venues.pacer import Urgency
from venues.parsing import as_fields, plain_text, required_integer
from venues.spot_prices import SpotPrices
from venues.spot_values import (
    BRIDGES,
    Balance,
    choose_markets,
    holdings,
    limits_by_coin,
    market_by_name,
    value_balances,
)

LEDGER_REACH_S = 89 * 86400.0
"""Deposits and withdrawals are told for spans of 90 days at most."""
LAST_PRICEEVERY_S = 600.0
"""A coin without any price is asked for so often: an account may hold many that nobody trades."""
CLOCK_CHANGE_S = 1.0
"""Two measurements of the venue's clock never differ by so much unless a clock was set."""
HELD_ALONE: Params = {"omitZeroBalances": "true"}
"""The venue lists some 600 assets otherwise, of which an account holds a few."""
LANDS_WITHIN_S = 15.0
"""It takes a request for 10 s, by the window that the library names to it."""


def _parse_time(answer: object) -> int:
    return required_integer(as_fields(answer, "time"), "serverTime", "time")


MANNERS = Manners(
    name="binance spot",
    client_class=binance,
    options={"fetchCurrencies": False, "fetchMargins": False},
    time_endpoint="publicGetTime",
    parse_time=_parse_time,
    is_error_body=is_error_body,
    judge=judge,
    retry_after_s=retry_after_s,
    is_clock_refusal=is_clock_refusal,
    rates=SPOT_RATES,
    cost_of=spot_cost_of,
    counted_by_venue=counted_by_venue,
    pauses_s=PAUSES_S,
)
"""How the spot side of Binance wants to be talked to; its limits are another pool than USD-M's."""


class BinanceSpot:
    """One Binance spot account (`venues.protocol.Venue`).

    `stables` are the assets worth 1, in the order in which coins are sold for them. Raises
    ConfigurationError for an access that cannot be used.
    """

    def __init__(
        self, *, scope: ScopeId, access: Access, clock: Clock, stables: tuple[str, ...]
    ) -> None:
        self.lands_within_s = LANDS_WITHIN_S
        self._scope = scope
        self._clock = clock
        self._stables = tuple(Asset(name) for name in stables)
        self._access = access
        self._connection = VenueConnection(MANNERS, access, clock)
        self._markets: Mapping[Symbol, MarketLimits] = {}
        self._sold_on: Mapping[Asset, MarketLimits] = {}
        self._prices = SpotPrices(stables=self._stables, clock=clock)
        self._asked_last: dict[Asset, float] = {}

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The one account of this connection."""
        return (self._scope,)

    async def start(self) -> None:
        """Learn the venue's clock; may be called again. Raises Unavailable or Malformed."""
        await self._connection.measure_clock()

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        await self._connection.aclose()

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read balances and the books of all markets together."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        answer, _mids, _ = await together(
            self._connection.read("privateGetAccount", "account", HELD_ALONE),
            self._read_mids(),
            self._connection.renew_clock(),
        )
        balances = self._parse_balances(answer)
        held = [balance.asset for balance in balances]
        await self._recall_prices(held)
        prices = self._prices.of(held)
        value = value_balances(
            balances,
            stables=self._stables,
            prices=prices,
            sellable={each.asset for each in balances if self._market_of(each.asset) is not None},
        )
        return Reading(
            scope=scope,
            asked_at=asked_at,
            equity=value.equity,
            wallet=None,
            unrealised_pnl=None,
            positions=(),
            coins=value.coins,
            wallet_defines_equity=False,
            server_offset_s=self._connection.server_offset_s,
            unpriced=value.unpriced,
        )

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read what could be sold of each coin, past the reader's queue, at the latest prices."""
        self._require_scope(scope)
        answer = await self._connection.read_at_once("privateGetAccount", "account", HELD_ALONE)
        prices = self._prices.latest()
        return holdings(self._parse_balances(answer), stables=self._stables, prices=prices)

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read every open order of all markets: the venue lists conditional ones among them."""
        self._require_scope(scope)
        await self._connection.settle_clock()
        answer = await self._connection.read("privateGetOpenOrders", "openOrders")
        return parse_open_orders(answer, scope=scope, markets=self._markets)

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Price coins by their names."""
        if not symbols:
            return {}
        await self._read_mids()
        prices = self._prices.of([Asset(symbol) for symbol in symbols])
        missing = sorted(set(symbols) - {Symbol(asset) for asset in prices})
        if missing:
            raise Unavailable(f"bookTicker: no price for {', '.join(missing)}")
        return {Symbol(asset): price for asset, price in prices.items()}

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read on which market each coin is sold and what that accepts, by the coins' names."""
        answer, _ = await together(
            self._connection.read("publicGetExchangeInfo", "exchangeInfo"), self._read_mids()
        )
        self._connection.adopt_rates(parse_rates(answer, defaults=SPOT_RATES))
        self._markets = parse_markets(answer)
        self._sold_on = choose_markets(self._markets.values(), stables=self._stables)
        return limits_by_coin(self._sold_on, prices=self._prices.of(BRIDGES))

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """One-way: there are no legs on a spot market."""
        self._require_scope(scope)
        return PositionMode.ONE_WAY

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """Ask what `check` shows; a part that is not told is a value."""
        self._require_scope(scope)
        markets = {
            symbol: market
            for symbol in symbols
            if (market := self._market_of(Asset(symbol))) is not None
        }
        async with asking(MANNERS, self._access, self._clock) as asker:
            now = self._clock.now()
            return await inspect_spot(asker, now=now, scope=scope, markets=markets)

    # --- prices -------------------------------------------------------------------------------

    async def _read_mids(self) -> None:
        answer = await self._connection.read("publicGetTickerBookTicker", "bookTicker")
        self._prices.mids = parse_mids(answer)

    async def _recall_prices(self, assets: Sequence[Asset]) -> None:
        """Ask what was last paid for coins that have a market, no price there, and none known here.

        After a start their books may be empty; without this such a coin would seem to be lost. One
        that nothing was paid for in a day is asked for again later; a failure is no fault.
        """
        known, now = self._prices.of([*assets, *BRIDGES]), self._clock.monotonic()
        for asset in assets:
            market = market_by_name(asset, mids=self._prices.mids, stables=self._stables)
            is_due = now - self._asked_last.get(asset, float("-inf")) >= LAST_PRICEEVERY_S
            if asset in known or asset in self._stables or market is None or not is_due:
                continue
            self._asked_last[asset] = now
            params = {"symbol": market}
            told = await self._connection.ask(
                "publicGetTicker24hr", params, urgency=Urgency.READING
            )
            self._prices.take_last_paid(asset, paid=parse_last_price(told), prices=known)

    def _parse_balances(self, answer: object) -> tuple[Balance, ...]:
        return parse_balances(answer, mids=self._prices.mids, stables=self._stables)

    def _market_of(self, asset: Asset) -> Symbol | None:
        """The market that a coin is sold on; until the rules are known, by its spelling."""
        if self._sold_on:
            market = self._sold_on.get(asset)
            return None if market is None else market.symbol
        return market_by_name(asset, mids=self._prices.mids, stables=self._stables)

    # --- records ------------------------------------------------------------------------------

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read deposits, withdrawals and transfers since then, at current prices, on our clock.

        Raises Unavailable when there are too many, or when the clock they were asked by proved
        wrong meanwhile. What is older than 89 days is not asked for.
        """
        self._require_scope(scope)
        await self._connection.settle_clock()
        asked_at = self._clock.now()
        since = max(since, asked_at - LEDGER_REACH_S)
        offset_s = self._connection.server_offset_s
        start_ms = int((since + offset_s) * 1000)
        rows = await read_records(self._connection, start_ms=start_ms)
        if abs(self._connection.server_offset_s - offset_s) > CLOCK_CHANGE_S:
            raise Unavailable("records: the clock was measured anew meanwhile")
        assets = sorted({row.asset for row in rows} - set(self._stables))
        if assets:
            await self._read_mids()
        prices = self._prices.of(assets)
        unpriced = [asset for asset in assets if asset not in prices]
        if unpriced:
            raise Malformed(f"records: no price for {unpriced[0]}; stables_keep may name it")
        return Ledger(
            scope=scope,
            since=since,
            asked_at=asked_at,
            entries=tuple(
                row.to_entry(
                    scope=scope, at=row.at_ms / 1000 - offset_s, price=prices.get(row.asset, 1.0)
                )
                for row in rows
            ),
        )

    # --- closing ------------------------------------------------------------------------------

    def make_ready(self, closes: int) -> None:
        """Begin to open connections for sales that may come soon."""
        self._connection.make_ready(closes, host="private")

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Sell a coin on the market that was chosen for it, for what that pays in.

        Spot sells nothing that is not there: the venue refuses what exceeds the free balance.
        Raises InvariantViolation for anything but an approved instruction of this account.
        """
        params = self._sale_params(instruction)
        if isinstance(params, Refused):
            return params
        answer = await self._connection.place(
            "privatePostOrder", params, orders=(instruction.client_id,)
        )
        if isinstance(answer, Failure):
            return self._connection.judge(answer)
        outcome = judge_order(answer, client_id=instruction.client_id, is_lookup=False)
        market = self._sold_on.get(Asset(instruction.symbol))
        return outcome if market is None else with_proceeds(outcome, answer, paid_in=market.quote)

    def _sale_params(self, instruction: CloseInstruction) -> Params | Refused:
        """The order as the venue wants it. A price beside it would make the quantity money."""
        if not isinstance(instruction, CloseInstruction):
            raise InvariantViolation("only a CloseInstruction may become an order")
        self._require_scope(instruction.scope)
        if instruction.side is not Side.LONG or Asset(instruction.symbol) in self._stables:
            raise InvariantViolation(f"{instruction.symbol} {instruction.side} is no coin to sell")
        market = self._market_of(Asset(instruction.symbol))
        if market is None:
            why = "no market is known that it could be sold on"
            return Refused(reason=RefusalReason.NOT_TRADABLE, code="", message=why)
        return {
            "symbol": market,
            "side": instruction.side.closing_order.value,
            "type": "MARKET",
            "quantity": plain_text(instruction.quantity),
            "newClientOrderId": instruction.client_id,
            "newOrderRespType": "FULL",
        }

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several sales at once; the venue takes no batch. Each has its own outcome.

        Raises InvariantViolation before anything is sent if one of them may not be.
        """
        for instruction in instructions:
            self._sale_params(instruction)
        return tuple(await asyncio.gather(*map(self.submit_close, instructions)))

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order; one already gone is Done. A list of orders goes with any of them."""
        self._require_scope(order.scope)
        answer = await self._connection.ask(
            "privateDeleteOrder",
            {"symbol": str(order.symbol), "orderId": str(order.order_id)},
            urgency=Urgency.CANCEL,
        )
        if isinstance(answer, Failure):
            is_done = is_gone(answer)
            return Done(order_id=order.order_id) if is_done else self._connection.judge(answer)
        fields = answer if isinstance(answer, dict) else {}
        if str(fields.get("orderId")) == order.order_id:
            return Done(order_id=order.order_id)
        return Unknown(cause="cancel: the answer confirms nothing")

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel every order that trades or holds a coin, on all of its markets."""
        try:
            orders = await self.fetch_orders(scope)
        except (Unavailable, Malformed) as fault:
            return Unknown(cause=str(fault))
        own = [order for order in orders if symbol in (order.row_symbol, order.holds)]
        outcomes = await asyncio.gather(*map(self.submit_cancel, own))
        return as_one(outcomes)

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look a sale up by our own id, on the market that the coin is sold on.

        "Does not exist" can be said too early, right after the order was sent: the caller asks
        again before it believes it.
        """
        self._require_scope(scope)
        market = self._market_of(Asset(symbol))
        if market is None:
            return Unknown(cause="order: the market that it was sent to is not known")
        params = {"symbol": market, "origClientOrderId": client_id}
        answer = await self._connection.look_up("privateGetOrder", params, order=client_id)
        if not isinstance(answer, Failure):
            return judge_order(answer, client_id=client_id, is_lookup=True)
        if is_gone(answer):
            code = str(code_of(answer.body))
            return Refused(reason=RefusalReason.NO_SUCH_ORDER, code=code, message=answer.cause)
        return Unknown(cause=answer.cause)

    def _require_scope(self, scope: ScopeId) -> None:
        """Refuse work for another account: it would be carried out on this one."""
        if scope != self._scope:
            raise InvariantViolation(f"{self._scope} was asked to act for {scope}")
