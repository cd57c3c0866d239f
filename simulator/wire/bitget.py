"""Bitget as a dialect: classic accounts (v2, futures and spot) and unified ones (v3) on one host.

Paths may carry the real host as their first segment, which is how a client is redirected by
rewriting its URLs. Each family of endpoints refuses the accounts of the other. Parts of the venue
that are not simulated (margin, coin-margined) do not answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from model import OrderKind, PositionMode
from simulator.exchange import Exchange
from simulator.house_rules import HouseRules
from simulator.reasons import Rejected
from simulator.spot_state import SpotView
from simulator.state import Account, AccountView
from simulator.wire import bitget_account as accounts
from simulator.wire import bitget_gate as gate
from simulator.wire import bitget_orders as orders
from simulator.wire import bitget_public as public
from simulator.wire import bitget_spot as spot
from simulator.wire import bitget_unified as unified
from simulator.wire import bitget_unified_orders as unified_orders
from simulator.wire import bitget_unified_spot as spot_orders
from simulator.wire.bitget_codes import (
    CLASSIC_ONLY,
    TOO_MANY,
    UNIFIED_ONLY,
    BitgetError,
    envelope,
    translate,
)
from simulator.wire.protocol import Circumstances, WireAnswer, WireRequest

NOT_FOUND = 404
RULES = HouseRules(
    takes_flag_when_hedged=True,
    hedged_closes_take_the_rest=True,
    newer_reducers_win=True,
    reducers_skip_min_notional=False,
    client_ids_stay_taken=True,
    client_id=re.compile(r"^[.A-Z:/a-z0-9_-]{1,32}$"),
    max_orders={OrderKind.REGULAR: 400, OrderKind.CONDITIONAL: 400},
)
"""From the venue's pages; the longest id is that of unified accounts.

That hedged closes may say that they only reduce is in none of them: bots that trade send it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way to its handler. `account` and `view` exist on signed routes."""

    exchange: Exchange
    sent: Mapping[str, object]
    circumstances: Circumstances
    signed_account: Account | None = None

    @property
    def account(self) -> Account:
        """The account behind the key."""
        if self.signed_account is None:
            raise ValueError("a public route has no account")
        return self.signed_account

    @property
    def view(self) -> AccountView:
        """What a read answers from; earlier than now when a stale answer is wanted."""
        return self.exchange.view(
            self.account.api_key,
            as_of=self.circumstances.stale_as_of,
            revision=self.circumstances.stale_revision,
        )

    @property
    def spot_view(self) -> SpotView:
        """The same of the spot side."""
        return self.exchange.spot.view(
            self.account.api_key,
            as_of=self.circumstances.stale_as_of,
            revision=self.circumstances.stale_revision,
        )

    @property
    def mode_view(self) -> AccountView:
        """The view that answers about settings; its position mode may be made wrong."""
        view = self.view
        if not self.circumstances.wrong_mode:
            return view
        hedged = view.position_mode is PositionMode.HEDGE
        wrong = PositionMode.ONE_WAY if hedged else PositionMode.HEDGE
        return replace(view, position_mode=wrong, position_modes={})


Answer = Callable[[Call], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint: its handler and how often a second it may be asked.

    `is_unified` is the family it belongs to; None for those of everybody, which are not signed.
    """

    handler: Answer
    per_second: int = 10
    is_unified: bool | None = False


def _public(handler: Answer, per_second: int = 20) -> Route:
    return Route(handler=handler, per_second=per_second, is_unified=None)


def _classic(handler: Answer, per_second: int = 10) -> Route:
    return Route(handler=handler, per_second=per_second)


def _unified(handler: Answer, per_second: int = 20) -> Route:
    return Route(handler=handler, per_second=per_second, is_unified=True)


def _acting(handler: Callable[[Exchange, Account, Mapping[str, object]], object]) -> Answer:
    return lambda call: handler(call.exchange, call.account, call.sent)


def _looking(handler: Callable[[AccountView, Mapping[str, object]], object]) -> Answer:
    return lambda call: handler(call.view, call.sent)


def _place(call: Call) -> object:
    fraction = call.circumstances.fill_fraction
    return orders.place(call.exchange, call.account, call.sent, fill_fraction=fraction)


def _place_spot(call: Call) -> object:
    fraction = call.circumstances.fill_fraction
    return spot.place(call.exchange, call.account, call.sent, fill_fraction=fraction)


def _place_batch(call: Call) -> object:
    fraction = call.circumstances.fill_fraction
    return orders.place_batch(call.exchange, call.account, call.sent, fill_fraction=fraction)


def _place_unified(call: Call) -> object:
    fraction = call.circumstances.fill_fraction
    if spot_orders.is_of_spot(call.sent):
        return spot_orders.place(call.exchange, call.account, call.sent, fill_fraction=fraction)
    return unified_orders.place(call.exchange, call.account, call.sent, fill_fraction=fraction)


PUBLIC_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v2/public/time"): _public(lambda call: public.server_time(call.exchange)),
    ("GET", "/api/v2/mix/market/contracts"): _public(
        lambda call: public.contracts(call.exchange, call.sent)
    ),
    ("GET", "/api/v2/mix/market/tickers"): _public(
        lambda call: public.tickers(call.exchange, call.sent)
    ),
    ("GET", "/api/v2/spot/public/symbols"): _public(lambda call: spot.symbols(call.exchange)),
    ("GET", "/api/v2/spot/market/tickers"): _public(lambda call: spot.tickers(call.exchange)),
    ("GET", "/api/v3/market/instruments"): _public(
        lambda call: (
            spot_orders.instruments(call.exchange)
            if spot_orders.is_of_spot(call.sent)
            else public.instruments(call.exchange, call.sent)
        )
    ),
    ("GET", "/api/v3/market/tickers"): _public(
        lambda call: public.unified_tickers(call.exchange, call.sent)
    ),
}

CLASSIC_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v2/mix/account/accounts"): _classic(_looking(accounts.accounts)),
    ("GET", "/api/v2/mix/account/account"): _classic(
        lambda call: accounts.account(call.mode_view, call.sent)
    ),
    ("GET", "/api/v2/mix/account/bill"): _classic(
        lambda call: accounts.bills(call.view, call.account, call.sent)
    ),
    ("GET", "/api/v2/mix/position/all-position"): _classic(_looking(accounts.all_positions), 5),
    ("GET", "/api/v2/mix/position/single-position"): _classic(_looking(accounts.single_position)),
    ("GET", "/api/v2/spot/account/assets"): _classic(lambda call: spot.assets(call.spot_view)),
    ("GET", "/api/v2/spot/account/bills"): _classic(_acting(spot.bills)),
    ("GET", "/api/v2/spot/trade/unfilled-orders"): _classic(
        lambda call: spot.unfilled(call.spot_view, call.sent), 20
    ),
    ("GET", "/api/v2/spot/trade/current-plan-order"): _classic(
        lambda call: spot.plans(call.spot_view, call.sent), 20
    ),
    ("GET", "/api/v2/spot/trade/orderInfo"): _classic(_acting(spot.order_info), 20),
    ("GET", "/api/v2/spot/trade/history-orders"): _classic(_acting(spot.history), 20),
    ("POST", "/api/v2/spot/trade/place-order"): _classic(_place_spot),
    ("POST", "/api/v2/spot/trade/cancel-order"): _classic(_acting(spot.cancel)),
    ("POST", "/api/v2/spot/trade/cancel-plan-order"): _classic(_acting(spot.cancel_plan), 20),
    ("GET", "/api/v2/spot/account/info"): _classic(lambda call: accounts.key_info(call.account), 1),
    ("GET", "/api/v2/mix/order/orders-pending"): _classic(_looking(orders.pending)),
    ("GET", "/api/v2/mix/order/orders-plan-pending"): _classic(_looking(orders.plans_pending)),
    ("GET", "/api/v2/mix/order/detail"): _classic(_acting(orders.detail)),
    ("POST", "/api/v2/mix/order/place-order"): _classic(_place),
    ("POST", "/api/v2/mix/order/batch-place-order"): _classic(_place_batch, 5),
    ("POST", "/api/v2/mix/order/cancel-order"): _classic(_acting(orders.cancel)),
    ("POST", "/api/v2/mix/order/batch-cancel-orders"): _classic(_acting(orders.cancel_batch)),
    ("POST", "/api/v2/mix/order/cancel-all-orders"): _classic(_acting(orders.cancel_all)),
    ("POST", "/api/v2/mix/order/cancel-plan-order"): _classic(_acting(orders.cancel_plans)),
    ("POST", "/api/v2/mix/order/close-positions"): _classic(_acting(orders.close_positions), 1),
}

UNIFIED_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/account/settings"): _unified(lambda call: unified.settings(call.mode_view)),
    ("GET", "/api/v3/account/assets"): _unified(
        lambda call: unified.assets(call.view, call.spot_view)
    ),
    ("GET", "/api/v3/account/funding-assets"): _unified(lambda _: []),
    ("GET", "/api/v3/account/info"): _unified(lambda call: unified.key_info(call.account), 1),
    ("GET", "/api/v3/account/financial-records"): _unified(
        lambda call: unified.records(call.view, call.account, call.sent)
    ),
    ("GET", "/api/v3/position/current-position"): _unified(_looking(unified.positions)),
    ("GET", "/api/v3/trade/unfilled-orders"): _unified(
        lambda call: (
            spot_orders.unfilled(call.spot_view, call.sent)
            if spot_orders.is_of_spot(call.sent)
            else unified_orders.unfilled(call.view, call.sent)
        )
    ),
    ("GET", "/api/v3/trade/unfilled-strategy-orders"): _unified(
        _looking(unified_orders.strategies)
    ),
    ("GET", "/api/v3/trade/order-info"): _unified(_acting(spot_orders.order_info)),
    ("POST", "/api/v3/trade/place-order"): _unified(_place_unified, 10),
    ("POST", "/api/v3/trade/cancel-order"): _unified(_acting(spot_orders.cancel), 10),
    ("POST", "/api/v3/trade/cancel-strategy-order"): _unified(
        _acting(unified_orders.cancel_strategy), 10
    ),
    ("POST", "/api/v3/trade/cancel-symbol-order"): _unified(
        _acting(unified_orders.cancel_symbol), 5
    ),
    ("POST", "/api/v3/trade/close-positions"): _unified(_acting(unified_orders.close_positions), 5),
}

ROUTES = PUBLIC_ROUTES | CLASSIC_ROUTES | UNIFIED_ROUTES
RECORDS = (
    "/api/v2/mix/account/bill",
    "/api/v2/spot/account/bills",
    "/api/v3/account/financial-records",
)
"""What a key without the right to read transfers may not ask."""


class BitgetDialect:
    """Answers as Bitget does, from one exchange in memory."""

    name = "bitget"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.limits = gate.Limits()
        exchange.world.rules = RULES
        exchange.world.hedge_close_waives_min_notional = False

    def normalise(self, path: str) -> str:
        """Strip a host segment: it is the first one and has a dot, which no endpoint has."""
        first, _, rest = path.lstrip("/").partition("/")
        return f"/{rest}" if "." in first else path

    def parameters(self, request: WireRequest) -> dict[str, str]:
        """Return what was sent; secrets stand in the headers alone."""
        try:
            sent = gate.parameters(request)
        except BitgetError:
            return {}
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in sent.items()
        }

    def error(self, code: int, message: str) -> str:
        """Return the body of an error."""
        return envelope(None, now_ms=self._now_ms, code=str(code), message=message)

    def too_often(self, *, status: int, seconds: float) -> WireAnswer:
        """Return the refusal of a request too many."""
        return WireAnswer(
            status=status,
            body=self.error(TOO_MANY, "Too many requests"),
            headers={"Retry-After": f"{seconds:g}"},
        )

    def answer(self, request: WireRequest, circumstances: Circumstances) -> WireAnswer:
        """Answer a request completely; refusals are answers too."""
        path = self.normalise(request.path)
        route = ROUTES.get((request.method, path))
        try:
            if route is None:
                raise BitgetError("40404", "Request URL NOT FOUND", status=NOT_FOUND)
            content = self._carry_out(route, request, circumstances, path=path)
        except Rejected as refusal:
            is_unified = route is not None and route.is_unified is True
            return self._refusal(translate(refusal, is_unified=is_unified))
        except BitgetError as error:
            return self._refusal(error)
        return WireAnswer(status=200, body=envelope(content, now_ms=self._now_ms))

    @property
    def _now_ms(self) -> int:
        return round(self.exchange.now * 1000)

    def _carry_out(
        self, route: Route, request: WireRequest, circumstances: Circumstances, *, path: str
    ) -> object:
        call = Call(
            exchange=self.exchange, sent=gate.parameters(request), circumstances=circumstances
        )
        caller = ""
        account = None
        if route.is_unified is not None:
            account = gate.find_account(
                self.exchange.accounts,
                request,
                path=path,
                now=self.exchange.now,
                slack_s=circumstances.clock_slack_s,
            )
            caller = account.api_key
        self.limits.spend(caller, path, most=route.per_second, at=circumstances.monotonic)
        if account is None:
            return route.handler(call)
        if account.is_unified is not route.is_unified:
            code, message = UNIFIED_ONLY if account.is_unified else CLASSIC_ONLY
            raise BitgetError(code, message)
        if account.is_unified:
            # One wallet backs contracts and spot markets alike.
            self.exchange.spot.share_purse(account.api_key, account.wallet)
        if request.method != "GET" and not account.can_trade:
            raise BitgetError("40014", "Incorrect permissions, need future order write permissions")
        if path in RECORDS and not account.can_read_transfers:
            raise BitgetError(
                "40014", "Incorrect permissions, need future position read permissions"
            )
        return route.handler(replace(call, signed_account=account))

    def _refusal(self, error: BitgetError) -> WireAnswer:
        body = envelope(None, now_ms=self._now_ms, code=error.code, message=error.message)
        return WireAnswer(status=error.status, body=body)
