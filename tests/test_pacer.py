"""Requests keep within the venue's limits, and wait no longer than those demand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.virtual_time import LoopClock
from tests.virtual_house import EPOCH, play
from venues.binance_pacing import (
    DEFAULT_RATES,
    ORDERS_1M,
    ORDERS_10S,
    WEIGHT_1M,
    cost_of,
    counted_by_venue,
    parse_rates,
)
from venues.pacer import SLACK_S, Address, Gate, Pacer, Rate, Urgency

CLOSE, CANCEL, READING = Urgency.CLOSE, Urgency.CANCEL, Urgency.READING
WINDOW_S = 10.0
KEPT_S = WINDOW_S + SLACK_S


def gate(most: int = 5, *, reserve: int = 0, is_paced: bool = True) -> Gate:
    """A gate with one allowance, `a`."""
    rates = {"a": Rate(most=most, within_s=WINDOW_S, reserve=reserve)}
    return Gate(Pacer(rates), LoopClock(epoch=EPOCH), is_paced=is_paced)


async def waited(
    at: Gate, name: str = "a", *, urgency: Urgency = CLOSE, within_s: float = 0
) -> float:
    """Seconds that a request at this gate is told to wait, 0 for one that was let in."""
    return (await at.enter({name: 1}, urgency=urgency, within_s=within_s)).wait_s


class Line:
    """Requests that come one after the other, and when each was let in."""

    def __init__(self, at: Gate) -> None:
        self.gate = at
        self.let_in: list[tuple[float, str]] = []
        self.tasks: list[asyncio.Task[float]] = []

    def come(
        self, name: str, units: int = 1, *, urgency: Urgency = CLOSE, within_s: float = 1e6
    ) -> asyncio.Task[float]:
        """One more request, after those that came before."""

        async def enter() -> float:
            passage = await self.gate.enter({"a": units}, urgency=urgency, within_s=within_s)
            if not passage.wait_s:
                self.let_in.append((asyncio.get_running_loop().time(), name))
                self.gate.leave()
            return passage.wait_s

        self.tasks.append(asyncio.create_task(enter()))
        return self.tasks[-1]

    async def all_in(self) -> list[tuple[float, str]]:
        """When and in which order they were let in, rounded to a millisecond."""
        await asyncio.gather(*self.tasks)
        return [(round(at, 3), name) for at, name in self.let_in]


COMING = st.lists(
    st.tuples(st.floats(0, 8), st.integers(1, 4), st.sampled_from(Urgency)),
    min_size=1,
    max_size=40,
)


@given(coming=COMING, most=st.integers(4, 12))
@settings(max_examples=150, deadline=None)
def test_no_window_ever_holds_more_than_the_limit_and_equals_keep_their_order(
    coming: list[tuple[float, int, Urgency]], most: int
) -> None:
    """Whatever comes when: any 10 s hold at most the limit, and nobody overtakes an equal."""

    async def story() -> None:
        line = Line(gate(most))
        sizes: dict[str, int] = {}
        for number, (pause_s, units, urgency) in enumerate(coming):
            await asyncio.sleep(pause_s)
            sizes[f"{number}"] = units
            line.come(f"{number}", units, urgency=urgency)
        await line.all_in()
        for began, _ in line.let_in:
            within = [sizes[name] for at, name in line.let_in if began <= at < began + WINDOW_S]
            assert sum(within) <= most
        for urgency in Urgency:
            equals = [int(n) for _, n in line.let_in if coming[int(n)][2] is urgency]
            assert equals == sorted(equals)

    play(story)


@given(most=st.integers(1, 60), count=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_nothing_waits_while_there_is_room(most: int, count: int) -> None:
    """Of a burst the first `most` leave at once; each next `most` when the window is over."""

    async def story() -> None:
        line = Line(gate(most))
        for number in range(count):
            line.come(f"{number}")
        expected = [(round(number // most * KEPT_S, 3), f"{number}") for number in range(count)]
        for (at, name), (due_at, due_name) in zip(await line.all_in(), expected, strict=True):
            assert name == due_name
            assert at == pytest.approx(due_at, abs=0.05)

    play(story)


def test_the_more_urgent_goes_first() -> None:
    """Room for two: when it comes, closes go before cancels before readings."""

    async def story() -> None:
        line = Line(gate(2))
        for name, urgency in (
            ("full", READING),
            ("full", READING),
            ("reading", READING),
            ("cancel", CANCEL),
            ("close", CLOSE),
        ):
            line.come(name, urgency=urgency)
            await asyncio.sleep(0)
        names = [name for _, name in await line.all_in()]
        assert names == ["full", "full", "close", "cancel", "reading"]

    play(story)


def test_readings_leave_the_reserve_to_closing() -> None:
    """5 of which 2 are kept: the fourth reading waits, two closes do not."""

    async def story() -> None:
        line = Line(gate(5, reserve=2))
        for number in range(4):
            line.come(f"reading {number}", urgency=READING)
        await asyncio.sleep(1)
        for number in range(2):
            line.come(f"close {number}")
        at = {name: at for at, name in await line.all_in()}
        assert at["reading 2"] == 0
        assert at["close 1"] == 1
        assert at["reading 3"] >= KEPT_S

    play(story)


def test_one_that_waits_for_one_allowance_holds_up_nobody_who_needs_another() -> None:
    """Orders are counted apart from weight: a full order counter delays no read."""

    async def story() -> None:
        rates = {name: Rate(most=1, within_s=WINDOW_S) for name in "ab"}
        both = Gate(Pacer(rates), LoopClock(epoch=EPOCH))
        assert await waited(both, "a") == 0
        waiting = asyncio.create_task(waited(both, "a", within_s=60))
        await asyncio.sleep(1)
        assert await waited(both, "b", urgency=READING) == 0
        assert not waiting.done()
        assert await waiting == 0

    play(story)


def test_what_cannot_go_in_time_is_told_at_once_how_long_it_has_to_wait() -> None:
    """And costs nothing: whoever comes later is not behind it."""

    async def story() -> None:
        line = Line(gate(1))
        await line.come("first")
        await asyncio.sleep(4)
        assert await line.come("second", within_s=2) == pytest.approx(KEPT_S - 4)
        assert asyncio.get_running_loop().time() == 4
        assert await line.come("third", within_s=8) == 0

    play(story)


def test_a_pause_holds_everything_and_a_shorter_one_ends_no_longer_one() -> None:
    """Closes, cancels and readings alike, although there is room."""

    async def story() -> None:
        line = Line(gate(9))
        line.gate.pause(30)
        line.gate.pause(5)
        for urgency in Urgency:
            assert await line.come("short", urgency=urgency, within_s=2) == pytest.approx(30)
            line.come("long", urgency=urgency)
        assert [at for at, _ in await line.all_in()] == pytest.approx([30.0] * 3, abs=0.05)

    play(story)


def test_without_pacing_only_the_pauses_count() -> None:
    """In simulated time a minute's allowance is spent in a second."""

    async def story() -> None:
        line = Line(gate(1, is_paced=False))
        for number in range(9):
            line.come(f"{number}")
        assert {at for at, _ in await line.all_in()} == {0.0}
        line.gate.pause(3)
        assert await line.come("paused", within_s=0) == pytest.approx(3)

    play(story)


def test_one_that_is_given_up_while_it_waits_is_in_nobodys_way() -> None:
    """The task was cancelled: the next one goes when its own turn comes."""

    async def story() -> None:
        line = Line(gate(2))
        await line.come("first")
        given_up = line.come("given up", 2)
        await asyncio.sleep(1)
        behind = line.come("behind", 1)
        await asyncio.sleep(1)
        assert not behind.done()
        given_up.cancel()
        assert await behind == 0
        assert asyncio.get_running_loop().time() == 2

    play(story)


SHORT = Rate(most=2, within_s=1.0, slack_s=0.35)


def test_the_window_of_an_answered_request_is_over_a_moment_after_it_is() -> None:
    """It was counted before its answer came: 0.1 + 1.0 + 0.02 s instead of 1.35 s."""

    async def story() -> None:
        at = Gate(Pacer({"a": SHORT}), LoopClock(epoch=EPOCH))
        passages = [await at.enter({"a": 1}, urgency=CLOSE, within_s=0) for _ in range(2)]
        waiting = asyncio.create_task(waited(at, within_s=9))
        await asyncio.sleep(0.1)
        for passage in passages:
            at.leave(*passage.spent)
        assert await waiting == 0
        assert asyncio.get_running_loop().time() == pytest.approx(1.12, abs=0.005)

    play(story)


@pytest.mark.parametrize("answered_at", [None, 5.0])
def test_one_whose_answer_is_late_holds_its_place_no_longer_than_its_window_and_slack(
    answered_at: float | None,
) -> None:
    """Nothing says when it was counted; an answer after the window makes it no longer."""

    async def story() -> None:
        at = Gate(Pacer({"a": SHORT}), LoopClock(epoch=EPOCH))
        late, quick = [await at.enter({"a": 1}, urgency=CLOSE, within_s=0) for _ in range(2)]
        await asyncio.sleep(0.1)
        at.leave(*quick.spent)
        assert await waited(at) == pytest.approx(1.02)
        for free_at in (1.12, 1.35):
            assert await waited(at, within_s=9) == 0
            assert asyncio.get_running_loop().time() == pytest.approx(free_at, abs=0.005)
        if answered_at is not None:
            await asyncio.sleep(answered_at)
            at.leave(*late.spent)
            assert [await waited(at) for _ in range(2)] == [0, 0]

    play(story)


@given(trips=st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)), min_size=3, max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_window_of_the_venue_holds_more_than_the_limit_however_long_requests_travel(
    trips: list[tuple[float, float]],
) -> None:
    """They arrive late and are answered later: any second of arrivals holds at most two."""

    async def story() -> None:
        at = Gate(Pacer({"a": SHORT}), LoopClock(epoch=EPOCH))
        arrived: list[float] = []

        async def ask(there_s: float, back_s: float) -> None:
            passage = await at.enter({"a": 1}, urgency=CLOSE, within_s=1e6)
            await asyncio.sleep(there_s)
            arrived.append(asyncio.get_running_loop().time())
            await asyncio.sleep(back_s)
            at.leave(*passage.spent)

        await asyncio.gather(*(ask(*trip) for trip in trips))
        for began in arrived:
            assert sum(began <= other < began + SHORT.within_s for other in arrived) <= SHORT.most

    play(story)


# --- what the venue says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "under_way", "wait_s"),
    [
        ((3,), 0, 0.0),  # ours alone: 3 of 5
        ((5,), 0, KEPT_S),  # another program used 2
        ((5, 3), 0, 0.0),  # and its window is over
        ((5, 3), 2, KEPT_S),  # an answer that does not know yet of what is under way
        ((1,), 0, 0.0),  # the venue's window began anew: our own count stays
        ((0, 9), 0, KEPT_S),
    ],
)
def test_the_venues_own_count_knows_of_other_programs(
    told: tuple[int, ...], under_way: int, wait_s: float
) -> None:
    """Three orders of ours out of five; then the counts of answers, and how long a fourth waits."""

    async def story() -> None:
        told_gate = gate(5)
        for number in range(3):
            assert await waited(told_gate) == 0
            if number >= under_way:
                told_gate.leave()
        for used in told:
            told_gate.learn({"a": used, "unknown": 7}, was_let_in=used <= 5)
        assert await waited(told_gate) == pytest.approx(wait_s)

    play(story)


def test_a_count_above_the_limit_of_what_was_let_in_takes_back_what_others_were_said_to_use() -> (
    None
):
    """Then the limit is not the account's; of a request that was turned away it counts."""

    async def story() -> None:
        told = gate(5)
        told.learn({"a": 5}, was_let_in=True)
        told.learn({"a": 6}, was_let_in=True)
        assert await waited(told) == 0
        told.learn({"a": 6}, was_let_in=False)
        assert await waited(told) > 0

    play(story)


def test_cancels_leave_half_of_the_reserve_to_closing() -> None:
    """5 of which readings leave 4 and cancels 2."""

    async def story() -> None:
        found = gate(5, reserve=4)
        let_in = {
            urgency: [await waited(found, urgency=urgency) for _ in range(5)]
            for urgency in (READING, CANCEL, CLOSE)
        }
        assert {urgency: waits.count(0.0) for urgency, waits in let_in.items()} == {
            READING: 1,
            CANCEL: 2,
            CLOSE: 2,
        }

    play(story)


def test_what_others_used_is_forgotten_with_its_window() -> None:
    """It was told 11 s ago and not since."""

    async def story() -> None:
        told = gate(5)
        told.learn({"a": 5}, was_let_in=True)
        assert await waited(told, within_s=60) == 0
        assert asyncio.get_running_loop().time() == pytest.approx(KEPT_S, abs=0.05)

    play(story)


def test_published_limits_replace_the_defaults_and_wake_who_waits() -> None:
    """What was counted stays counted."""

    async def story() -> None:
        line = Line(gate(2))
        for number in range(3):
            line.come(f"{number}")
        await asyncio.sleep(1)
        line.gate.adopt({"a": Rate(most=3, within_s=WINDOW_S)})
        assert (await line.all_in())[-1] == (1.0, "2")

    play(story)


def test_a_request_larger_than_the_whole_allowance_goes_alone() -> None:
    """It would never go otherwise."""

    async def story() -> None:
        line = Line(gate(3))
        await line.come("small")
        line.come("large", 5)
        (_, small), (at, large) = await line.all_in()
        assert (small, large) == ("small", "large")
        assert at == pytest.approx(KEPT_S, abs=0.05)

    play(story)


# --- Binance ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "params", "cost"),
    [
        ("fapiPrivatePostOrder", {"symbol": "X"}, {ORDERS_10S: 1, ORDERS_1M: 1}),
        (
            "fapiPrivatePostBatchOrders",
            {"batchOrders": [{}, {}, {}]},
            {ORDERS_10S: 3, ORDERS_1M: 1, WEIGHT_1M: 5},
        ),
        ("fapiPrivateV3GetPositionRisk", {}, {WEIGHT_1M: 5}),
        ("fapiPrivateGetOpenOrders", {}, {WEIGHT_1M: 40}),
        ("fapiPrivateGetOpenOrders", {"symbol": "X"}, {WEIGHT_1M: 1}),
        ("fapiPublicGetPremiumIndex", {}, {WEIGHT_1M: 10}),
        ("fapiPrivateGetIncome", {}, {WEIGHT_1M: 30}),
        ("fapiPrivateDeleteOrder", {"symbol": "X"}, {WEIGHT_1M: 1}),
    ],
)
def test_each_request_costs_what_binance_counts(
    endpoint: str, params: Mapping[str, object], cost: Mapping[str, int]
) -> None:
    """An order is counted and weighs nothing; a batch is one order of the minute, five weight."""
    assert cost_of(endpoint, params) == cost  # type: ignore[arg-type]


def test_the_counts_in_the_headers_are_found_in_any_case_and_nonsense_is_passed_over() -> None:
    """Behind HTTP/2 header names are lower case."""
    headers = {
        "x-mbx-used-weight-1m": "17",
        "X-MBX-ORDER-COUNT-10S": "3",
        "X-MBX-ORDER-COUNT-1M": "many",
        "Date": "5",
    }
    assert counted_by_venue(headers) == {WEIGHT_1M: 17, ORDERS_10S: 3}


def limit(kind: str, interval: str, number: object, most: object) -> dict[str, object]:
    """One row of `rateLimits`."""
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": most}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"rateLimits": [limit("ORDERS", "SECOND", 10, 100)]}, {ORDERS_10S: 100}),
        ({"rateLimits": [limit("ORDERS", "MINUTE", 1, 600)]}, {ORDERS_1M: 600}),
        ({"rateLimits": [limit("REQUEST_WEIGHT", "MINUTE", 1, 6000)]}, {WEIGHT_1M: 6000}),
        ({"rateLimits": [limit("RAW_REQUESTS", "MINUTE", 5, 61000)]}, {}),
        ({"rateLimits": [limit("ORDERS", "SECOND", 10, 0)]}, {}),
        (
            {"rateLimits": [limit("ORDERS", "MINUTE", None, 9), limit("ORDERS", "MINUTE", 1, 8)]},
            {ORDERS_1M: 8},
        ),
        ({"rateLimits": "none"}, {}),
        ({}, {}),
        ([], {}),
    ],
)
def test_published_limits_are_taken_where_they_can_be_read(
    answer: object, found: Mapping[str, int]
) -> None:
    """A row that nobody can read leaves the default in force and breaks nothing."""
    rates = parse_rates(answer)
    assert {name: rate.most for name, rate in rates.items()} == found
    for name, rate in rates.items():
        assert rate.within_s == DEFAULT_RATES[name].within_s
        assert rate.reserve <= rate.most // 2


# --- accounts at one address --------------------------------------------------------------------


def neighbours(most: int = 5) -> tuple[Gate, Gate]:
    """Two gates at one address: `a` is counted for both, `own` for each."""
    address = Address()
    rates = {
        "a": Rate(most=most, within_s=WINDOW_S, is_of_address=True),
        "own": Rate(most=most, within_s=WINDOW_S),
    }
    one, other = (Gate(Pacer(rates, address), LoopClock(epoch=EPOCH)) for _ in range(2))
    return one, other


def test_what_one_account_used_of_an_address_is_gone_for_the_other() -> None:
    """Five of five: together they would use ten and be banned. Orders are each account's own."""

    async def story() -> None:
        one, other = neighbours()
        assert [await waited(one, "a") for _ in range(5)] == [0.0] * 5
        assert await waited(other, "a") == pytest.approx(KEPT_S)
        assert [await waited(at, "own") for at in (one, one, one, one, one, other)] == [0.0] * 6

    play(story)


def test_a_count_that_may_not_know_of_a_neighbours_request_only_adds() -> None:
    """The venue told of 4; a lower count is believed when nothing of either is under way."""

    async def story() -> None:
        one, other = neighbours()
        one.learn({"a": 4}, was_let_in=True)
        assert await waited(other, "a") == 0
        assert await waited(one, "own") == 0
        one.learn({"a": 1}, was_let_in=True)
        assert await waited(one, "a") > 0
        other.leave()
        one.learn({"a": 1}, was_let_in=True)
        assert await waited(one, "a") == 0

    play(story)


@pytest.mark.parametrize("is_of_address", [True, False])
def test_a_pause_of_the_address_holds_every_account_and_no_other_pause_does(
    is_of_address: bool,
) -> None:
    """Too many orders of one account are its own affair; too much weight is everybody's."""

    async def story() -> None:
        one, other = neighbours()
        one.pause(7.0, is_of_address=is_of_address)
        assert one.pause_left_s == 7.0
        assert other.pause_left_s == (7.0 if is_of_address else 0.0)
        assert await waited(other, "own") == (7.0 if is_of_address else 0.0)

    play(story)
