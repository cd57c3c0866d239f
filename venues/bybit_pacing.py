"""What Bybit counts: the allowances of an account by endpoint, and of an address in all.

An account may use each endpoint so often in any second; a batch takes as much of its own
allowance as it has orders, and single orders have another, so that both together go twice as
fast. Other programs of the same account take of the same allowances; the refusal tells of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from venues.ccxt_client import Params
from venues.pacer import Cost, Rate

ORDERS, BATCHED, CANCELS, CANCEL_ALLS = "ORDERS", "BATCHED", "CANCELS", "CANCEL_ALLS"
POSITIONS, OPEN_ORDERS, LOG, ADDRESS = "POSITIONS", "OPEN_ORDERS", "LOG", "ADDRESS"

SECOND_S = 1.0
JITTER_S = 0.45
"""Requests may come so much closer together than they were sent, unless an answer says that they
did not: the first of a burst open their connections, those of the next window do not."""

_RESERVED_READS = 20
"""What readings leave of an endpoint that closing reads as well."""
_RESERVED_REQUESTS = 200
"""What readings leave of the address's allowance, a third of it."""


def _in_a_second(most: int, *, reserve: int = 0) -> Rate:
    return Rate(most=most, within_s=SECOND_S, reserve=reserve, slack_s=JITTER_S)


RATES: Mapping[str, Rate] = {
    ORDERS: _in_a_second(10),
    BATCHED: _in_a_second(10),
    CANCELS: _in_a_second(10),
    CANCEL_ALLS: _in_a_second(10),
    POSITIONS: _in_a_second(50, reserve=_RESERVED_READS),
    OPEN_ORDERS: _in_a_second(50, reserve=_RESERVED_READS),
    LOG: _in_a_second(25),
    ADDRESS: Rate(most=600, within_s=5.0, reserve=_RESERVED_REQUESTS, is_of_address=True),
}
"""As published for every account; some are granted more."""

_ALLOWANCES: Mapping[str, str] = {
    "privatePostV5OrderCreate": ORDERS,
    "privatePostV5OrderCancel": CANCELS,
    "privatePostV5OrderCancelAll": CANCEL_ALLS,
    "privateGetV5PositionList": POSITIONS,
    "privateGetV5OrderRealtime": OPEN_ORDERS,
    "privateGetV5AccountTransactionLog": LOG,
}
"""Endpoints that are asked once a tick have an allowance that is never used up."""


def cost_of(endpoint: str, params: Params) -> Cost:
    """What a request takes; a batch takes one unit for each of its orders."""
    if endpoint == "privatePostV5OrderCreateBatch":
        orders = params["request"]
        return {BATCHED: len(orders) if isinstance(orders, list) else 1, ADDRESS: 1}
    allowance = _ALLOWANCES.get(endpoint)
    return {ADDRESS: 1} if allowance is None else {allowance: 1, ADDRESS: 1}
