"""Bybit v5 as a dialect: a unified account and its linear contracts, settled in USDT and USDC.

Paths may carry the real host as their first segment (`/api.bybit.com/v5/order/create`). Refusals
are answers with status 200. Parts of the venue that are not simulated (spot, inverse, options)
answer truthfully that they hold nothing, or refuse their category.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from model import OrderKind
from simulator.exchange import Exchange
from simulator.house_rules import HouseRules
from simulator.reasons import Rejected
from simulator.wire import bybit_account as accounts
from simulator.wire import bybit_gate as gate
from simulator.wire import bybit_orders as orders
from simulator.wire import bybit_public as public
from simulator.wire import bybit_spot as spot
from simulator.wire.bybit_codes import (
    FORBIDDEN,
    NOT_FOUND,
    Banned,
    BybitError,
    envelope,
    translate,
)
from simulator.wire.bybit_shapes import milliseconds
from simulator.wire.call import Call, strip_host
from simulator.wire.protocol import Circumstances, WireAnswer, WireRequest

RULES = HouseRules(
    takes_flag_when_hedged=True,
    clips_hedged_closes=True,
    resting_reducers_block=False,
    splits_large_reducers=True,
    reducers_skip_min_notional=False,
    client_ids_stay_taken=True,
    spot_client_ids_stay_taken=True,
    client_id=re.compile(r"^[A-Za-z0-9_-]{1,36}$"),
    max_orders={OrderKind.REGULAR: 500, OrderKind.CONDITIONAL: 10},
    counts_orders_by_symbol=True,
    is_one_wallet=True,
)
"""From the page of `order/create`. Whether a reducer is exempt from the minimum value is not
documented, so that it is not; that resting ones stand in its way is documented nowhere."""

Answer = Callable[[Call], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint: its handler, and how often an account may ask in a second (0: no account)."""

    handler: Answer
    most: int = 50


def _of_category(
    contracts: Callable[[Call], object], spot_markets: Callable[[Call], object]
) -> Callable[[Call], object]:
    """One endpoint, two kinds of markets: the category says which is meant."""
    return lambda call: (spot_markets if call.sent.get("category") == "spot" else contracts)(call)


PUBLIC: dict[tuple[str, str], Route] = {
    ("GET", "/v5/market/time"): Route(handler=public.server_time, most=0),
    ("GET", "/v5/market/instruments-info"): Route(
        handler=_of_category(public.instruments, spot.instruments), most=0
    ),
    ("GET", "/v5/market/tickers"): Route(
        handler=_of_category(public.tickers, spot.tickers), most=0
    ),
}
RECORDS = ("GET", "/v5/account/transaction-log")
READS: dict[tuple[str, str], Route] = {
    ("GET", "/v5/account/wallet-balance"): Route(handler=accounts.wallet_balance),
    ("GET", "/v5/account/info"): Route(handler=accounts.account_info),
    RECORDS: Route(handler=accounts.transaction_log, most=25),
    ("GET", "/v5/user/query-api"): Route(handler=accounts.key_permissions, most=10),
    ("GET", "/v5/account/fee-rate"): Route(handler=accounts.fee_rates, most=5),
    ("GET", "/v5/asset/transfer/query-account-coins-balance"): Route(
        handler=accounts.funding_account, most=5
    ),
    ("GET", "/v5/asset/coin/query-info"): Route(handler=public.no_coins, most=5),
    ("GET", "/v5/asset/transfer/query-inter-transfer-list"): Route(
        handler=accounts.transfers, most=1
    ),
    ("GET", "/v5/position/list"): Route(handler=accounts.positions),
    ("GET", "/v5/execution/list"): Route(handler=accounts.executions),
    ("GET", "/v5/order/realtime"): Route(handler=_of_category(orders.realtime, spot.realtime)),
    ("GET", "/v5/order/history"): Route(handler=_of_category(orders.history, spot.history)),
}
CANCEL_ALL = ("POST", "/v5/order/cancel-all")
CREATE_BATCH = ("POST", "/v5/order/create-batch")
WRITES: dict[tuple[str, str], Route] = {
    ("POST", "/v5/order/create"): Route(handler=_of_category(orders.create, spot.create), most=10),
    CREATE_BATCH: Route(handler=orders.create_batch, most=10),
    ("POST", "/v5/order/cancel"): Route(handler=_of_category(orders.cancel, spot.cancel), most=10),
    ("POST", "/v5/position/switch-mode"): Route(handler=orders.switch_mode, most=10),
    ("POST", "/v5/position/set-leverage"): Route(handler=orders.set_leverage, most=10),
}


class BybitDialect:
    """Answers as Bybit v5 does, from one exchange in memory."""

    name = "bybit"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.limits = gate.Limits()
        exchange.world.rules = RULES
        dice = random.Random(0)
        cancel_all = Route(handler=lambda call: orders.cancel_all(call, dice), most=10)
        self._routes = {**PUBLIC, **READS, **WRITES, CANCEL_ALL: cancel_all}

    def normalise(self, path: str) -> str:
        """Strip a host segment."""
        return strip_host(path)

    def parameters(self, request: WireRequest) -> dict[str, str]:
        """Return what was sent, as text; the signature stands in a header."""
        try:
            sent = gate.parameters(request)
        except BybitError:
            return {}
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in sent.items()
        }

    def error(self, code: int, message: str) -> str:
        """Return the body of an error."""
        at_ms = milliseconds(self.exchange.now)
        return envelope({}, at_ms=at_ms, code=code, message=message)

    def too_often(self, *, status: int, seconds: float) -> WireAnswer:
        """Return the refusal of a request too many; 403 and 418 are the ban, which is no JSON."""
        if status in (FORBIDDEN, 418):
            return self._ban()
        resets_at = self.exchange.now + seconds
        error = gate.too_many_visits(gate.limit_headers(10, left=0, resets_at=resets_at))
        return self._refusal(error)

    def answer(self, request: WireRequest, circumstances: Circumstances) -> WireAnswer:
        """Answer a request completely; refusals are answers too."""
        key = (request.method, self.normalise(request.path))
        route = self._routes.get(key)
        if route is None:
            return WireAnswer(
                status=NOT_FOUND, body="404 page not found", content_type="text/plain"
            )
        try:
            self.limits.enter(at=circumstances.monotonic)
            return self._carry_out(key, route, request, circumstances=circumstances)
        except Banned:
            return self._ban()
        except Rejected as refusal:
            return self._refusal(translate(refusal))
        except BybitError as error:
            return self._refusal(error)

    def _carry_out(
        self,
        key: tuple[str, str],
        route: Route,
        request: WireRequest,
        *,
        circumstances: Circumstances,
    ) -> WireAnswer:
        sent = gate.parameters(request)
        call = Call(exchange=self.exchange, sent=sent, circumstances=circumstances)
        headers: dict[str, str] = {}
        if route.most:
            account = gate.find_account(self.exchange.accounts, request)
            gate.check_timestamp(
                request, now=self.exchange.now, slack_s=circumstances.clock_slack_s
            )
            gate.check_signature(account, request)
            units = len(orders.batch_entries(sent)) if key == CREATE_BATCH else 1
            headers = self.limits.spend(
                account.api_key,
                key[1],
                most=route.most,
                # A batch that is larger than the limit of a second goes alone.
                units=min(units, route.most),
                at=circumstances.monotonic,
                now=self.exchange.now,
            )
            is_refused = request.method != "GET" and not account.can_trade
            if is_refused or (key == RECORDS and not account.can_read_transfers):
                raise BybitError(10005, "Permission denied, please check your API key permissions.")
            # One wallet backs contracts and spot markets alike.
            self.exchange.spot.share_purse(account.api_key, account.wallet)
            call = replace(call, signed_account=account)
        answer = route.handler(call)
        batch = answer if isinstance(answer, orders.Batch) else None
        body = envelope(
            answer if batch is None else batch.result,
            at_ms=milliseconds(self.exchange.now),
            extra=None if batch is None else batch.extra,
        )
        return WireAnswer(status=200, body=body, headers=headers)

    def _refusal(self, error: BybitError) -> WireAnswer:
        return WireAnswer(
            status=200, body=self.error(error.code, error.message), headers=error.headers
        )

    def _ban(self) -> WireAnswer:
        return WireAnswer(status=FORBIDDEN, body="access too frequent", content_type="text/plain")
