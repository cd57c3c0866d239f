"""Bybit's and Bitget's columns of `tests.conventions`.

What a refusal means and how an open order reads come out of the dialect's words and the adapter's
reading of them, so that there is no second table of either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from inspection import AccountFamily
from model import Order, OrderKind, Outcome, ScopeId, Side
from simulator.reasons import Rejected
from simulator.state import AccountView, ExchangeOrder
from simulator.wire import bitget_codes, bitget_shapes, bybit_codes, bybit_shapes
from simulator.wire import bitget_unified_orders as unified_orders
from simulator.wire.bitget import RULES as BITGET_RULES
from simulator.wire.bybit import RULES as BYBIT_RULES
from tests.conventions import BINANCE, Conventions
from venues import bitget_errors, bybit_errors
from venues.bitget_records import parse_plan, parse_regular, parse_strategy, parse_unified
from venues.bybit_orders import BATCH
from venues.bybit_records import parse_orders
from venues.failure import Failure


def _judge_bybit(refusal: Rejected) -> Outcome:
    error = bybit_codes.translate(refusal)
    body = {"retCode": error.code, "retMsg": error.message}
    failure = Failure(cause=error.message, status=200, body=body)
    return bybit_errors.judge(failure, venue_now_ms=0.0)


def _judge_bitget(refusal: Rejected, *, is_unified: bool) -> Outcome:
    error = bitget_codes.translate(refusal, is_unified=is_unified)
    body = {"code": error.code, "msg": error.message}
    failure = Failure(cause=error.message, status=error.status, body=body)
    return bitget_errors.judge(failure, venue_now_ms=0.0)


def _read_bybit(
    view: AccountView, order: ExchangeOrder, scope: ScopeId, _held: Side | None
) -> Order:
    (read,) = parse_orders((bybit_shapes.order_row(view, order),), scope=scope)
    return read


def _read_classic(
    view: AccountView, order: ExchangeOrder, scope: ScopeId, _held: Side | None
) -> Order:
    if order.kind is OrderKind.CONDITIONAL:
        return parse_plan(bitget_shapes.plan_row(view, order), scope=scope)
    row = bitget_shapes.order_row(view, order, status_name="status")
    return parse_regular(row, scope=scope)


def _read_unified(
    view: AccountView, order: ExchangeOrder, scope: ScopeId, held: Side | None
) -> Order:
    if order.kind is OrderKind.CONDITIONAL:
        row = unified_orders.strategy_row(view, order)
        strategy = unified_orders.strategy_type(order)
        return parse_strategy(row, scope=scope, strategy=strategy, held=held)
    return parse_unified(unified_orders.order_row(view, order), scope=scope)


BYBIT = Conventions(
    name="bybit",
    rules=BYBIT_RULES,
    judge=_judge_bybit,
    read_order=_read_bybit,
    family=AccountFamily.UNIFIED,
    coins_count_whole=True,
    wallet_defines_equity=False,
    dates_wallet=False,
    waives_min_notional=False,
    has_modes_by_symbol=True,
    closes_as_listed=True,
    flags_hedged_closes=True,
    tells_filled=False,
    batch=BATCH,
)
BITGET = Conventions(
    name="bitget",
    rules=BITGET_RULES,
    hedge_close_waives_min_notional=False,
    judge=partial(_judge_bitget, is_unified=False),
    read_order=_read_classic,
    family=AccountFamily.CLASSIC,
    coins_count_whole=True,
    tells_wallet=False,
    wallet_defines_equity=False,
    dates_wallet=False,
    waives_min_notional=False,
    closes_as_listed=True,
    flags_hedged_closes=True,
    ignores_leg_in_one_way=True,
    side_names_leg=True,
    tells_filled=False,
    hides_winners=True,
)
BITGET_UNIFIED = Conventions(
    name="bitget-unified",
    rules=BITGET_RULES,
    hedge_close_waives_min_notional=False,
    judge=partial(_judge_bitget, is_unified=True),
    read_order=_read_unified,
    family=AccountFamily.UNIFIED,
    coins_count_whole=True,
    tells_wallet=False,
    wallet_defines_equity=False,
    dates_wallet=False,
    waives_min_notional=False,
    closes_as_listed=True,
    flags_hedged_closes=True,
    ignores_leg_in_one_way=True,
    tells_filled=False,
    hides_winners=True,
)

CONVENTIONS: Mapping[str, Conventions] = {
    each.name: each for each in (BINANCE, BITGET, BITGET_UNIFIED, BYBIT)
}
