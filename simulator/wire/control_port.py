"""The control port: how tests and demonstrations move the world that the API port shows.

JSON in, JSON out; never reachable through the API port. A wrong request answers 400 with one
`error` line and changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from model import LedgerKind, OrderKind
from simulator import margin
from simulator.faults import fault_from_mapping
from simulator.reasons import Rejected
from simulator.seeds import apply_seed, order_request, spot_order_request
from simulator.spot_state import SpotOrder, SpotRecordKind, SpotView
from simulator.state import Account, AccountView, Cause, ExchangeOrder, to_decimal
from simulator.wire.server import SERVICE
from simulator.wire.service import Service

Body = Mapping[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_control(service: Service) -> web.Application:
    """Return the application of the control port."""
    app = web.Application(middlewares=[_answer_errors])
    app[SERVICE] = service
    app.add_routes(
        [
            web.post("/prices", _prices),
            web.post("/time", _time),
            web.post("/accounts", _accounts),
            web.post("/transfer", _transfer),
            web.post("/bot_order", _bot_order),
            web.post("/bot_cancel", _bot_cancel),
            web.post("/funding", _funding),
            web.post("/spot/prices", _spot_prices),
            web.post("/spot/book", _spot_book),
            web.post("/spot/bot_order", _spot_bot_order),
            web.get("/faults", _list_faults),
            web.post("/faults", _add_faults),
            web.delete("/faults", _clear_faults),
            web.get("/held", _held),
            web.post("/release", _release),
            web.get("/ledger", _ledger),
            web.get("/requests", _requests),
            web.get("/state", _state),
            web.post("/shutdown", _shutdown),
        ]
    )
    return app


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    request.app[SERVICE].follow_clock()
    try:
        return await handler(request)
    except KeyError as error:
        return web.json_response({"error": f"missing or unknown: {error.args[0]}"}, status=400)
    except (Rejected, ValueError, TypeError) as error:
        return web.json_response({"error": str(error)}, status=400)


async def _body(request: web.Request) -> Body:
    content = await request.json() if request.can_read_body else {}
    if not isinstance(content, Mapping):
        raise ValueError("the body is a JSON object")
    return content


def _account(service: Service, body: Body) -> Account:
    """Return the account named in a body, or the only one there is."""
    accounts = service.exchange.accounts
    name = body.get("account")
    if name is None and len(accounts) == 1:
        return next(iter(accounts.values()))
    return accounts[str(name)]


async def _prices(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    if body.get("at") is not None:
        service.freeze()
    service.exchange.set_prices(body["prices"], at=body.get("at"))
    return _state_answer(service)


async def _time(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    at = float(body["at"])
    service.freeze()
    service.exchange.set_time(at)
    return _state_answer(service)


async def _accounts(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    seed_service(service, body)
    return _state_answer(service)


def seed_service(service: Service, seed: Body) -> Account:
    """Apply a seed; one that names a time freezes the clock there, one with an offset shifts it."""
    if "clock_offset_s" in seed:
        service.clock_offset_s = float(seed["clock_offset_s"])
        service.follow_clock()
    if seed.get("at") is not None:
        service.freeze()
    return apply_seed(service.exchange, seed)


async def _transfer(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    service.exchange.transfer(
        _account(service, body).api_key,
        str(body.get("asset", "USDT")),
        to_decimal(body["amount"]),
        kind=LedgerKind(str(body.get("kind", LedgerKind.TRANSFER)).upper()),
    )
    return _state_answer(service)


async def _bot_order(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    account = _account(service, body)
    entry = {name: value for name, value in body.items() if name != "account"}
    order = service.exchange.place(account.api_key, order_request(entry, cause=Cause.BOT))
    return web.json_response(_order(order))


async def _bot_cancel(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    order = service.exchange.cancel(
        _account(service, body).api_key,
        str(body["symbol"]),
        kind=OrderKind(str(body.get("kind", OrderKind.REGULAR)).upper()),
        order_id=body.get("order_id"),
        client_id=body.get("client_id"),
    )
    return web.json_response(_order(order))


async def _funding(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    service.exchange.apply_funding(body["rates"])
    return _state_answer(service)


async def _spot_prices(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    service.exchange.spot.set_prices(body["prices"])
    return _state_answer(service)


async def _spot_book(request: web.Request) -> web.Response:
    """Let money come to the spot side, or leave it; TRANSFER moves it from the futures side."""
    service, body = request.app[SERVICE], await _body(request)
    api_key = _account(service, body).api_key
    kind = SpotRecordKind(str(body["kind"]).upper())
    asset, amount = str(body["asset"]), to_decimal(body["amount"])
    if kind is SpotRecordKind.TRANSFER:
        service.exchange.move_to_spot(api_key, asset, amount)
    else:
        service.exchange.spot.book(api_key, asset, amount, kind=kind)
    return _state_answer(service)


async def _spot_bot_order(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    account = _account(service, body)
    entry = {name: value for name, value in body.items() if name != "account"}
    asked = spot_order_request(entry, cause=Cause.BOT)
    return web.json_response(_spot_order(service.exchange.spot.place(account.api_key, asked)))


async def _list_faults(request: web.Request) -> web.Response:
    return web.json_response({"faults": request.app[SERVICE].plan.describe()})


async def _add_faults(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    faults = [fault_from_mapping(entry) for entry in body.get("faults", [body])]
    for fault in faults:
        service.plan.add(fault)
    return web.json_response({"faults": service.plan.describe()})


async def _clear_faults(request: web.Request) -> web.Response:
    request.app[SERVICE].plan.clear()
    return web.json_response({"faults": []})


async def _held(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    await service.wait_until_held(int(request.query.get("count", "0")))
    return web.json_response(
        {
            "held": [
                entry.request.describe() | {"kind": entry.kind.value}
                for entry in service.held.values()
            ]
        }
    )


async def _release(request: web.Request) -> web.Response:
    service, body = request.app[SERVICE], await _body(request)
    return web.json_response({"released": service.release(body.get("numbers"))})


async def _ledger(request: web.Request) -> web.Response:
    since = int(request.query.get("since", "0"))
    return web.json_response({"ledger": request.app[SERVICE].exchange.ledger[since:]})


async def _requests(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    since = int(request.query.get("since", "0"))
    return web.json_response(
        {
            "requests": [entry.describe() for entry in service.log[since:]],
            "counts": service.counts(),
        }
    )


async def _state(request: web.Request) -> web.Response:
    return _state_answer(request.app[SERVICE])


async def _shutdown(request: web.Request) -> web.Response:
    request.app[SERVICE].stop()
    return web.json_response({"stopping": True})


def _state_answer(service: Service) -> web.Response:
    exchange = service.exchange
    return web.json_response(
        {
            "now": exchange.now,
            "prices": {symbol: _text(price) for symbol, price in exchange.marks.items()},
            "accounts": {
                name: _describe(account, exchange.view(name))
                | {"spot": _describe_spot(exchange.spot.view(name))}
                for name, account in exchange.accounts.items()
            },
        }
    )


def _describe(account: Account, view: AccountView) -> dict[str, object]:
    return {
        "position_mode": account.position_mode.value,
        "multi_assets": account.multi_assets,
        "wallet": {asset: _text(held) for asset, held in view.wallet.items()},
        "equity": _text(margin.equity_usd(view)),
        "positions": [
            {
                "symbol": leg.symbol,
                "position_side": leg.leg.value,
                "amount": _text(leg.amount),
                "entry_price": _text(leg.entry_price),
                "mark_price": _text(margin.mark_of(view, leg)),
                "unrealised": _text(margin.unrealised(view, leg)),
                "liquidation_price": _text(margin.liquidation_price(view, leg)),
                "margin_mode": view.setting(leg.symbol).margin_mode.value,
            }
            for leg in view.legs.values()
        ],
        "orders": [_order(order) for order in view.orders.values()],
    }


def _describe_spot(view: SpotView) -> dict[str, object]:
    return {
        "balances": {
            asset: {"free": _text(view.free(asset)), "locked": _text(view.locked(asset))}
            for asset in sorted(view.balances)
        },
        "orders": [_spot_order(order) for order in view.orders.values()],
    }


def _spot_order(order: SpotOrder) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "client_id": order.client_id,
        "symbol": order.symbol,
        "type": order.order_type.value,
        "side": order.side.value,
        "quantity": _text(order.quantity),
        "filled": _text(order.filled),
        "price": _text(order.price),
        "status": order.status.value,
    }


def _order(order: ExchangeOrder) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "client_id": order.client_id,
        "symbol": order.symbol,
        "kind": order.kind.value,
        "type": order.order_type.value,
        "side": order.side.value,
        "position_side": order.leg.value,
        "quantity": _text(order.quantity),
        "filled": _text(order.filled),
        "average_price": _text(order.average_price),
        "price": _text(order.price),
        "trigger_price": _text(order.trigger_price),
        "reduce_only": order.reduce_only,
        "close_position": order.close_position,
        "status": order.status.value,
    }


def _text(value: Decimal) -> str:
    return format(value, "f")
