"""What requests take of Bybit's allowances, and how fast a burst of closes goes out."""

from __future__ import annotations

import pytest

from venues.bybit import MANNERS
from venues.bybit_pacing import (
    ADDRESS,
    BATCHED,
    CANCEL_ALLS,
    CANCELS,
    LOG,
    OPEN_ORDERS,
    ORDERS,
    POSITIONS,
    RATES,
    cost_of,
)
from venues.ccxt_client import Params
from venues.pacer import Allowance, Cost, Pacer, Rate, Urgency


@pytest.mark.parametrize(
    ("endpoint", "params", "cost"),
    [
        ("privatePostV5OrderCreate", {}, {ORDERS: 1}),
        ("privatePostV5OrderCreateBatch", {"request": [{}, {}, {}]}, {BATCHED: 3}),
        ("privatePostV5OrderCreateBatch", {"request": "odd"}, {BATCHED: 1}),
        ("privatePostV5OrderCancel", {}, {CANCELS: 1}),
        ("privatePostV5OrderCancelAll", {}, {CANCEL_ALLS: 1}),
        ("privateGetV5PositionList", {}, {POSITIONS: 1}),
        ("privateGetV5OrderRealtime", {}, {OPEN_ORDERS: 1}),
        ("privateGetV5AccountTransactionLog", {}, {LOG: 1}),
        ("privateGetV5AccountWalletBalance", {}, {}),
        ("publicGetV5MarketTickers", {}, {}),
    ],
)
def test_each_request_costs_what_bybit_counts(endpoint: str, params: Params, cost: Cost) -> None:
    """Every one of them is also one of its address."""
    assert cost_of(endpoint, params) == {**cost, ADDRESS: 1}
    assert cost.keys() <= RATES.keys()


def test_a_window_of_a_second_is_not_doubled_by_its_slack() -> None:
    """A whole second more would halve what the venue allows."""
    short = Allowance(Rate(most=10, within_s=1.0, slack_s=0.1))
    short.spend(10, now=0.0)
    assert short.wait_s(1, now=0.5) == pytest.approx(0.6)
    usual = Allowance(Rate(most=10, within_s=1.0))
    usual.spend(10, now=0.0)
    assert usual.wait_s(1, now=0.5) == pytest.approx(1.5)


def test_twenty_closes_go_out_at_once_and_fifty_within_what_orders_may_wait() -> None:
    """Ten singly and ten in batches in each window, of which none is answered in time."""
    pacer = Pacer(RATES)
    left_at: list[float] = []
    now = 0.0
    for number in range(50):
        name = (ORDERS, BATCHED)[number % 2]
        cost = {name: 1, ADDRESS: 1}
        wait_s = pacer.wait_s(cost, urgency=Urgency.CLOSE, now=now, ahead={})
        now += wait_s
        pacer.spend(cost, now=now)
        left_at.append(now)
    assert left_at[19] == 0
    assert left_at[39] == pytest.approx(1.45)
    assert left_at[49] == pytest.approx(2.9)
    assert left_at[49] < MANNERS.order_waits_s


def test_readings_leave_closing_its_reads() -> None:
    """30 of 50 position reads in a second, and 400 of 600 requests in five."""
    pacer = Pacer(RATES)
    pacer.spend({POSITIONS: 30}, now=0.0)
    read = {POSITIONS: 1}
    assert pacer.wait_s(read, urgency=Urgency.READING, now=0.0, ahead={}) > 0
    assert pacer.wait_s(read, urgency=Urgency.CLOSE, now=0.0, ahead={}) == 0
    pacer.spend({ADDRESS: 400}, now=0.0)
    request = {ADDRESS: 1}
    assert pacer.wait_s(request, urgency=Urgency.READING, now=0.0, ahead={}) > 0
    assert pacer.wait_s(request, urgency=Urgency.CLOSE, now=0.0, ahead={}) == 0
