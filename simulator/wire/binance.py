"""Binance, USD-M and spot, as a dialect: what a path means, who may ask, how refusals are said.

Paths may carry the real host as their first segment (`/fapi.binance.com/fapi/v1/order`), which is
how a client is redirected by rewriting its URLs. Of the parts of the venue that are not simulated
(coin-margined, options) only balances are told: what the seed names, else nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from model import OrderKind, PositionMode
from simulator.exchange import Exchange
from simulator.reasons import Rejected
from simulator.state import Account
from simulator.wire import binance_account as accounts
from simulator.wire import binance_elsewhere as elsewhere
from simulator.wire import binance_gate as gate
from simulator.wire import binance_orders as orders
from simulator.wire import binance_portfolio as portfolio
from simulator.wire import binance_public as public
from simulator.wire import binance_spot as spot
from simulator.wire.binance_codes import NOT_FOUND, BinanceError, error_body, translate
from simulator.wire.binance_shapes import milliseconds
from simulator.wire.call import Call, strip_host
from simulator.wire.protocol import Circumstances, WireAnswer, WireRequest

Answer = Callable[[Call], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint: its handler, its weight (and without a symbol), and whether it is signed."""

    handler: Answer
    weight: int = 1
    weight_for_all: int | None = None
    is_signed: bool = True
    counts_orders: bool = False


def _public(handler: Answer, weight: int = 1, weight_for_all: int | None = None) -> Route:
    return Route(handler=handler, weight=weight, weight_for_all=weight_for_all, is_signed=False)


def _signed(handler: Answer, weight: int = 1, weight_for_all: int | None = None) -> Route:
    return Route(handler=handler, weight=weight, weight_for_all=weight_for_all)


def _place(call: Call) -> object:
    return orders.place_order(
        call.exchange,
        call.account,
        call.sent,
        fill_fraction=call.circumstances.fill_fraction,
        acknowledge_only=call.circumstances.acknowledge_only,
    )


def _place_batch(call: Call) -> object:
    return orders.place_batch(
        call.exchange,
        call.account,
        call.sent,
        fill_fraction=call.circumstances.fill_fraction,
        acknowledge_only=call.circumstances.acknowledge_only,
    )


def _place_spot(call: Call) -> object:
    return spot.place_order(
        call.exchange,
        call.account,
        call.sent,
        fill_fraction=call.circumstances.fill_fraction,
        acknowledge_only=call.circumstances.acknowledge_only,
    )


def _transfers(call: Call) -> object:
    """A portfolio-margin account is a wallet of its own beside the spot one."""
    if call.account.is_unified:
        return portfolio.transfers(call.account, call.sent, now=call.exchange.now)
    return spot.transfers(call.exchange, call.account, call.sent)


def _acting(handler: Callable[[Exchange, Account, Mapping[str, str]], object]) -> Answer:
    return lambda call: handler(call.exchange, call.account, call.sent)


def _cancelling(kind: OrderKind) -> Answer:
    return lambda call: orders.cancel_order(call.exchange, call.account, call.sent, kind)


def _cancelling_all(kind: OrderKind) -> Answer:
    return lambda call: orders.cancel_all(call.exchange, call.account, call.sent, kind)


def _listing(kind: OrderKind) -> Answer:
    return lambda call: orders.open_orders(call.view, call.symbol, kind)


def _empty_list(_: Call) -> object:
    return []


MARKET_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v1/ping"): _public(lambda _: {}),
    ("GET", "/fapi/v1/time"): _public(lambda call: {"serverTime": milliseconds(call.exchange.now)}),
    ("GET", "/fapi/v1/exchangeInfo"): _public(lambda call: public.exchange_info(call.exchange)),
    ("GET", "/fapi/v1/premiumIndex"): _public(
        lambda call: public.premium_index(call.exchange, call.symbol), 1, 10
    ),
    ("GET", "/fapi/v1/ticker/24hr"): _public(
        lambda call: public.ticker_24h(call.exchange, call.symbol), 1, 40
    ),
    ("GET", "/fapi/v1/ticker/bookTicker"): _public(
        lambda call: public.book_ticker(call.exchange, call.symbol), 2, 5
    ),
    ("GET", "/fapi/v1/ticker/price"): _public(
        lambda call: public.ticker_price(call.exchange, call.symbol), 1, 2
    ),
    ("GET", "/fapi/v1/assetIndex"): _public(lambda call: public.asset_index(call.exchange), 1, 10),
    ("GET", "/dapi/v1/exchangeInfo"): _public(
        lambda call: public.empty_exchange_info(call.exchange)
    ),
    ("GET", "/dapi/v1/ping"): _public(lambda _: {}),
    ("GET", "/sapi/v1/capital/config/getall"): _signed(_empty_list, 10),
    ("GET", "/sapi/v1/margin/allPairs"): _signed(_empty_list),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): _signed(_empty_list, 10),
    ("GET", "/sapi/v1/account/info"): _signed(lambda call: portfolio.owner_settings(call.account)),
}

SPOT_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/ping"): _public(lambda _: {}),
    ("GET", "/api/v3/time"): _public(lambda call: {"serverTime": milliseconds(call.exchange.now)}),
    ("GET", "/api/v3/exchangeInfo"): _public(lambda call: spot.exchange_info(call.exchange), 20),
    ("GET", "/api/v3/ticker/bookTicker"): _public(
        lambda call: spot.book_ticker(call.exchange, call.symbol), 2, 4
    ),
    ("GET", "/api/v3/ticker/24hr"): _public(
        lambda call: spot.ticker_24h(call.exchange, call.symbol), 2
    ),
    ("GET", "/api/v3/account"): _signed(
        lambda call: spot.account(call.spot_view, call.account), 20
    ),
    ("GET", "/api/v3/openOrders"): _signed(
        lambda call: spot.open_orders(call.spot_view, call.symbol), 6, 80
    ),
    ("GET", "/api/v3/order"): _signed(_acting(spot.query_order), 4),
    ("POST", "/api/v3/order"): Route(handler=_place_spot, weight=1, counts_orders=True),
    ("DELETE", "/api/v3/order"): _signed(_acting(spot.cancel_order)),
    ("GET", "/sapi/v1/capital/deposit/hisrec"): _signed(_acting(spot.deposits)),
    ("GET", "/sapi/v1/capital/withdraw/history"): _signed(_acting(spot.withdrawals)),
    ("GET", "/sapi/v1/asset/transfer"): _signed(_transfers),
}

ACCOUNT_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v2/account"): _signed(
        lambda call: accounts.account_v2(call.view, call.account), 5
    ),
    ("GET", "/fapi/v3/account"): _signed(lambda call: accounts.account_v3(call.view), 5),
    ("GET", "/fapi/v2/balance"): _signed(
        lambda call: accounts.balances(call.view, call.account.api_key[:4]), 5
    ),
    ("GET", "/fapi/v3/balance"): _signed(
        lambda call: accounts.balances(call.view, call.account.api_key[:4]), 5
    ),
    ("GET", "/fapi/v2/positionRisk"): _signed(
        lambda call: accounts.position_risk_v2(call.view, call.symbol), 5
    ),
    ("GET", "/fapi/v3/positionRisk"): _signed(
        lambda call: accounts.position_risk(call.view, call.symbol), 5
    ),
    ("GET", "/fapi/v1/leverageBracket"): _signed(
        lambda call: public.leverage_brackets(call.exchange, call.symbol)
    ),
    ("GET", "/fapi/v1/positionSide/dual"): _signed(
        lambda call: {"dualSidePosition": call.mode_view.position_mode is PositionMode.HEDGE}, 30
    ),
    ("GET", "/fapi/v1/multiAssetsMargin"): _signed(
        lambda call: {"multiAssetsMargin": call.view.multi_assets}, 30
    ),
    ("GET", "/fapi/v1/accountConfig"): _signed(
        lambda call: accounts.account_config(call.mode_view, call.account), 5
    ),
    ("GET", "/fapi/v1/rateLimit/order"): _signed(lambda _: public.order_limits()),
    ("GET", "/fapi/v1/income"): _signed(
        lambda call: accounts.income_history(call.view, call.account, call.sent), 30
    ),
    ("GET", "/fapi/v1/userTrades"): _signed(
        lambda call: accounts.user_trades(call.view, call.account, call.sent), 5
    ),
    ("POST", "/fapi/v1/positionSide/dual"): _signed(_acting(orders.set_position_mode)),
    ("POST", "/fapi/v1/multiAssetsMargin"): _signed(_acting(orders.set_multi_assets)),
    ("POST", "/fapi/v1/leverage"): _signed(_acting(orders.set_leverage)),
    ("POST", "/fapi/v1/marginType"): _signed(_acting(orders.set_margin_type)),
}

ORDER_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v1/openOrders"): _signed(_listing(OrderKind.REGULAR), 1, 40),
    ("GET", "/fapi/v1/openAlgoOrders"): _signed(_listing(OrderKind.CONDITIONAL), 1, 40),
    ("GET", "/fapi/v1/order"): _signed(_acting(orders.query_order)),
    ("GET", "/fapi/v1/algoOrder"): _signed(_acting(orders.query_algo_order)),
    ("POST", "/fapi/v1/order"): Route(handler=_place, weight=0, counts_orders=True),
    ("POST", "/fapi/v1/batchOrders"): Route(handler=_place_batch, weight=5, counts_orders=True),
    ("POST", "/fapi/v1/algoOrder"): Route(
        handler=_acting(orders.place_algo_order), weight=0, counts_orders=True
    ),
    ("POST", "/fapi/v1/countdownCancelAll"): _signed(_acting(orders.countdown), 10),
    ("DELETE", "/fapi/v1/order"): _signed(_cancelling(OrderKind.REGULAR)),
    ("DELETE", "/fapi/v1/algoOrder"): _signed(_cancelling(OrderKind.CONDITIONAL)),
    ("DELETE", "/fapi/v1/batchOrders"): _signed(_acting(orders.cancel_batch)),
    ("DELETE", "/fapi/v1/allOpenOrders"): _signed(_cancelling_all(OrderKind.REGULAR)),
    ("DELETE", "/fapi/v1/algoOpenOrders"): _signed(_cancelling_all(OrderKind.CONDITIONAL)),
}


def _written_for_portfolio(handler: Answer) -> Answer:
    def answer(call: Call) -> object:
        told = handler(call)
        if isinstance(told, list):
            return [portfolio.as_written_here(row) for row in told]
        return portfolio.as_written_here(told) if isinstance(told, dict) else told

    return answer


def _cancel_algo_of_portfolio(call: Call) -> object:
    orders.cancel_order(call.exchange, call.account, call.sent, OrderKind.CONDITIONAL)
    return {"complete": True}


PORTFOLIO_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/papi/v1/account"): _signed(
        lambda call: (
            portfolio.account(call.view)
            if call.account.is_unified
            else elsewhere.portfolio_account(call.account)
        ),
        20,
    ),
    ("GET", "/papi/v1/balance"): _signed(lambda call: portfolio.balance(call.view), 20),
    ("GET", "/papi/v1/um/positionRisk"): _signed(
        lambda call: portfolio.position_risk(call.view, call.symbol), 5
    ),
    ("GET", "/papi/v1/cm/positionRisk"): _signed(_empty_list),
    ("GET", "/papi/v1/um/accountConfig"): _signed(
        lambda call: {
            **accounts.account_config(call.mode_view, call.account),
            "multiAssetsMargin": False,
        },
        5,
    ),
    ("GET", "/papi/v1/um/income"): _signed(
        lambda call: portfolio.income(call.view, call.account, call.sent), 30
    ),
    ("GET", "/papi/v1/um/openOrders"): _signed(
        _written_for_portfolio(_listing(OrderKind.REGULAR)), 1, 40
    ),
    ("GET", "/papi/v1/um/algo/openAlgoOrders"): _signed(_listing(OrderKind.CONDITIONAL), 1, 40),
    ("GET", "/papi/v1/um/order"): _signed(_written_for_portfolio(_acting(orders.query_order))),
    ("POST", "/papi/v1/um/order"): Route(
        handler=_written_for_portfolio(_place), weight=0, counts_orders=True
    ),
    ("POST", "/papi/v1/um/algo/order"): Route(
        handler=_acting(orders.place_algo_order), weight=0, counts_orders=True
    ),
    ("DELETE", "/papi/v1/um/order"): _signed(
        _written_for_portfolio(_cancelling(OrderKind.REGULAR))
    ),
    ("DELETE", "/papi/v1/um/algo/order"): _signed(_cancel_algo_of_portfolio),
    ("DELETE", "/papi/v1/um/allOpenOrders"): _signed(_cancelling_all(OrderKind.REGULAR)),
    ("DELETE", "/papi/v1/um/algo/allOpenOrders"): _signed(_cancelling_all(OrderKind.CONDITIONAL)),
    ("POST", "/papi/v1/um/positionSide/dual"): _signed(_acting(orders.set_position_mode)),
}

ELSEWHERE_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/sapi/v1/account/apiRestrictions"): _signed(
        lambda call: elsewhere.key_permissions(call.account)
    ),
    ("GET", "/fapi/v1/commissionRate"): _signed(
        lambda call: elsewhere.commission_rate(call.exchange, call.sent), 20
    ),
    ("GET", "/sapi/v1/margin/account"): _signed(
        lambda call: elsewhere.margin_account(call.account), 10
    ),
    ("GET", "/dapi/v1/balance"): _signed(lambda call: elsewhere.coin_margined(call.account)),
    ("GET", "/eapi/v1/marginAccount"): _signed(
        lambda call: elsewhere.options_account(call.account), 3
    ),
    ("GET", "/sapi/v1/sub-account/list"): _signed(
        lambda call: elsewhere.sub_accounts(call.account)
    ),
}

ROUTES = (
    MARKET_ROUTES
    | ACCOUNT_ROUTES
    | ORDER_ROUTES
    | SPOT_ROUTES
    | ELSEWHERE_ROUTES
    | PORTFOLIO_ROUTES
)


_RECORDS = frozenset(
    {
        "/fapi/v1/income",
        "/papi/v1/um/income",
        "/sapi/v1/capital/deposit/hisrec",
        "/sapi/v1/capital/withdraw/history",
        "/sapi/v1/asset/transfer",
    }
)
"""What tells a withdrawal from a loss."""


class BinanceDialect:
    """Answers as Binance USD-M does, from one exchange in memory."""

    name = "binance"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.limits = gate.Limits()
        self.spot_limits = gate.Limits(
            weight_per_minute=gate.SPOT_WEIGHT_PER_MINUTE,
            orders_per_ten_s=gate.SPOT_ORDERS_PER_TEN_SECONDS,
        )
        self.portfolio_limits = gate.Limits(weight_per_minute=gate.PORTFOLIO_WEIGHT_PER_MINUTE)

    def normalise(self, path: str) -> str:
        """Strip a host segment."""
        return strip_host(path)

    def parameters(self, request: WireRequest) -> dict[str, str]:
        """Return what was sent, without the signature."""
        sent = gate.parameters(request)
        sent.pop("signature", None)
        return sent

    def error(self, code: int, message: str) -> str:
        """Return the body of an error."""
        return error_body(code, message)

    def too_often(self, *, status: int, seconds: float) -> WireAnswer:
        """Return the refusal of a request too many, or with 418 of one who is banned."""
        return WireAnswer(
            status=status,
            body=self.error(-1003, "Too many requests."),
            headers={"Retry-After": f"{seconds:g}"},
        )

    def answer(self, request: WireRequest, circumstances: Circumstances) -> WireAnswer:
        """Answer a request completely; refusals are answers too."""
        path = self.normalise(request.path)
        route = ROUTES.get((request.method, path))
        is_spot = path.startswith(("/api/", "/sapi/"))
        limits = self.spot_limits if is_spot else self.limits
        if path.startswith("/papi/"):
            limits = self.portfolio_limits
        counted: str | None = None
        try:
            if route is None:
                text = f"Path {path}, Method {request.method} is invalid"
                raise BinanceError(-5000, text, status=NOT_FOUND)
            content, counted = self._carry_out(
                route, request, path=path, circumstances=circumstances, limits=limits
            )
        except Rejected as refusal:
            return _refusal(translate(refusal, is_spot=is_spot), limits.headers(counted))
        except BinanceError as error:
            return _refusal(error, limits.headers(counted))
        return WireAnswer(
            status=200,
            body=json.dumps(content, separators=(",", ":")),
            headers=limits.headers(counted),
        )

    def _carry_out(
        self,
        route: Route,
        request: WireRequest,
        *,
        path: str,
        circumstances: Circumstances,
        limits: gate.Limits,
    ) -> tuple[object, str | None]:
        sent = gate.parameters(request)
        for_all = route.weight_for_all is not None and not sent.get("symbol")
        weight = route.weight_for_all if for_all else route.weight
        limits.spend(weight or 0, at=circumstances.monotonic)
        call = Call(exchange=self.exchange, sent=sent, circumstances=circumstances)
        if not route.is_signed:
            return route.handler(call), None
        account = gate.find_account(self.exchange.accounts, request)
        gate.check_timestamp(sent, now=self.exchange.now, slack_s=circumstances.clock_slack_s)
        gate.check_signature(account, request)
        if request.method != "GET" and not account.can_trade:
            raise gate.refused_key()
        if path in _RECORDS and not account.can_read_transfers:
            raise gate.refused_key()
        call = replace(call, signed_account=portfolio.seen_at(path, request.method, account))
        if not route.counts_orders:
            return route.handler(call), None
        number = len(orders.batch_entries(sent)) if "batchOrders" in sent else 1
        limits.spend_orders(account.api_key, ten_s=number, minute=1, at=circumstances.monotonic)
        return route.handler(call), account.api_key


def _refusal(error: BinanceError, headers: Mapping[str, str]) -> WireAnswer:
    return WireAnswer(status=error.status, body=error.body, headers={**headers, **error.headers})
