"""What Bitget tells about a spot account, its key and its costs, for `check` alone.

Every request stands for itself, and what one of them cannot tell is a value with a reason. What
else the owner has on the venue is told by the futures account's own inspection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

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
from venues.asking import Asker
from venues.bitget_inspection import SPOT_TRADE, parse_rights, parse_spreads
from venues.bitget_pacing import DEFAULT_RATES, SECOND_S, SPOT_ORDERS

NO_TIMER = DeadManSwitch(
    state=DeadManState.NOT_ELIGIBLE, reason="Bitget has none for classic accounts"
)


async def inspect_spot(
    asker: Asker, *, now: float, scope: ScopeId, markets: Mapping[Symbol, Symbol]
) -> Inspection:
    """Ask everything at once; `markets` are those that the inspected coins are sold on."""
    (latency_s, offset_s), rights, records, spreads = await asyncio.gather(
        asker.measure(),
        asker.ask(
            "privateSpotGetV2SpotAccountInfo",
            lambda answer: parse_rights(answer, trading=SPOT_TRADE),
        ),
        asker.may_ask("privateSpotGetV2SpotAccountBills", {"limit": 1}),
        asker.ask("publicSpotGetV2SpotMarketTickers", parse_spreads),
    )
    known = {} if isinstance(spreads, NotTold) else spreads
    reasons = [
        f"{what}: {told.reason}"
        for what, told in (("rights of the key", rights), ("records of money", records))
        if isinstance(told, NotTold)
    ]
    told = KeyRights() if isinstance(rights, NotTold) else rights
    can_read = None if isinstance(records, NotTold) else records
    return Inspection(
        scope=scope,
        asked_at=now,
        latency_s=latency_s,
        server_offset_s=offset_s,
        family=AccountFamily.SPOT,
        position_mode=PositionMode.ONE_WAY,
        rights=replace(
            told,
            can_read=can_read,
            can_read_transfers=can_read,
            reason="; ".join(reasons),
        ),
        dead_man=NO_TIMER,
        pace=OrderPace(most=DEFAULT_RATES[SPOT_ORDERS].most, within_s=SECOND_S),
        costs={
            symbol: TradingCost(spread=known[market])
            for symbol, market in markets.items()
            if market in known
        },
    )
