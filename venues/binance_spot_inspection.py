"""What Binance tells about a spot account, its key and its costs, for `check` alone.

Every request stands for itself, and what one of them cannot tell is a value with a reason. What
else the owner has on the venue is told by the futures account's own inspection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from clock import Clock
from errors import Malformed
from inspection import (
    AccountFamily,
    DeadManState,
    DeadManSwitch,
    Inspection,
    KeyRights,
    NotTold,
    OrderPace,
    TradingCost,
)
from model import PositionMode, ScopeId, Symbol
from venues.binance_errors import code_of
from venues.binance_inspection import NOT_ALLOWED, parse_spreads, parse_time
from venues.binance_pacing import ORDERS_10S, SPOT_RATES
from venues.connection import VenueConnection
from venues.failure import Failure
from venues.pacer import Urgency
from venues.parsing import as_fields, required_flag, required_number

NO_TIMER = DeadManSwitch(
    state=DeadManState.NOT_ELIGIBLE, reason="Binance has no such switch for spot orders"
)

Answer = TypeVar("Answer")


async def inspect_spot(
    connection: VenueConnection,
    *,
    clock: Clock,
    scope: ScopeId,
    markets: Mapping[Symbol, Symbol],
) -> Inspection:
    """Ask everything at once; `markets` are those that the inspected coins are sold on."""

    async def ask(endpoint: str, parse: Callable[[object], Answer]) -> Answer | NotTold:
        told = await connection.ask(endpoint, {}, urgency=Urgency.READING)
        if isinstance(told, Failure):
            return NotTold(reason=told.cause)
        try:
            return parse(told)
        except Malformed as malformed:
            return NotTold(reason=str(malformed))

    asked_at = clock.now()
    await ask("publicGetTime", parse_time)
    before, started = clock.now(), clock.monotonic()
    told_at = await ask("publicGetTime", parse_time)
    latency_s, middle = clock.monotonic() - started, (before + clock.now()) / 2
    rights, fee, spreads, transfers = await asyncio.gather(
        ask("sapiGetAccountApiRestrictions", _parse_rights),
        ask("privateGetAccount", _parse_fee),
        ask("publicGetTickerBookTicker", parse_spreads),
        connection.ask("sapiGetCapitalDepositHisrec", {"limit": 1}, urgency=Urgency.READING),
    )
    known = {} if isinstance(spreads, NotTold) else spreads
    taker = None if isinstance(fee, NotTold) else fee
    rate = SPOT_RATES[ORDERS_10S]
    return Inspection(
        scope=scope,
        asked_at=asked_at,
        latency_s=told_at if isinstance(told_at, NotTold) else latency_s,
        server_offset_s=told_at if isinstance(told_at, NotTold) else told_at - middle,
        family=AccountFamily.SPOT,
        position_mode=PositionMode.ONE_WAY,
        rights=_with_transfers(rights, transfers),
        dead_man=NO_TIMER,
        pace=OrderPace(most=rate.most, within_s=rate.within_s),
        costs={
            symbol: TradingCost(spread=known.get(market), fee=taker)
            for symbol, market in markets.items()
        },
    )


def _parse_rights(answer: object) -> KeyRights:
    """Read `apiRestrictions`, of which another flag says whether the key may trade here."""
    what = "apiRestrictions"
    fields = as_fields(answer, what)
    return KeyRights(
        can_read=required_flag(fields, "enableReading", what),
        can_trade=required_flag(fields, "enableSpotAndMarginTrading", what),
        can_withdraw=required_flag(fields, "enableWithdrawals", what),
        is_bound_to_ip=required_flag(fields, "ipRestrict", what),
    )


def _parse_fee(answer: object) -> float:
    """The taker rate of the account, which market orders pay."""
    rates = as_fields(as_fields(answer, "account").get("commissionRates"), "commissionRates")
    return required_number(rates, "taker", "commissionRates")


def _with_transfers(told: KeyRights | NotTold, transfers: object) -> KeyRights:
    """The rights of the key, with what trying to read the records of money showed."""
    reasons = []
    can_read_transfers: bool | None = True
    if isinstance(transfers, Failure):
        can_read_transfers = False if code_of(transfers.body) in NOT_ALLOWED else None
        reasons.append(f"records of money: {transfers.cause}")
    if isinstance(told, NotTold):
        reasons.insert(0, f"rights of the key: {told.reason}")
        told = KeyRights()
    return KeyRights(
        can_read=told.can_read,
        can_trade=told.can_trade,
        can_withdraw=told.can_withdraw,
        can_read_transfers=can_read_transfers,
        is_bound_to_ip=told.is_bound_to_ip,
        reason="; ".join(reasons),
    )
