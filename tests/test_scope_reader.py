"""One attempt to read a scope: only the reading is waited for, and nothing it needs is lost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import cast

import pytest

from logger import Logger
from memory import ScopeMemory
from model import Symbol, Want
from scope_reader import LIMITS_MIN_PAUSE_S, ScopeReader
from simulator.exchange import Exchange
from simulator.seeds import apply_seed
from simulator.virtual_time import LoopClock
from tests.memory_spot import SPOT, MemorySpot
from tests.memory_venue import KEY, SCOPE, MemoryVenue, Trouble
from tests.virtual_house import EPOCH, POSITIONS, Logbook, play
from troubles import Troubles

NOTHING = ScopeMemory(scope=SCOPE)


class Desk:
    """A reader of a simulated account."""

    def __init__(self) -> None:
        self.clock, self.log = LoopClock(epoch=EPOCH), Logbook()
        self.exchange = Exchange(now=EPOCH)
        apply_seed(
            self.exchange,
            {
                "api_key": KEY,
                "api_secret": "test-secret",
                "wallet": {"USDT": 10_000},
                "positions": POSITIONS,
            },
        )
        self.venue = MemoryVenue(exchange=self.exchange, clock=self.clock)
        log = cast("Logger", self.log)
        self.troubles = Troubles(clock=self.clock, log=log, dry_run=False)
        self.troubles.record = lambda _records: None
        self.reader = ScopeReader(
            scope=SCOPE, venue=self.venue, clock=self.clock, log=log, troubles=self.troubles
        )


def test_a_ledger_that_arrives_with_the_reading_is_judged_with_it() -> None:
    """The ordinary case: both are asked for at once."""

    async def story() -> None:
        desk = Desk()
        seen = await desk.reader.observe(NOTHING)
        assert seen.reading is not None
        assert seen.ledger is not None
        assert desk.reader.wants == ()

    play(story)


def test_a_late_ledger_comes_with_a_later_reading() -> None:
    """It is neither waited for nor asked for again meanwhile."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", Trouble.SLOW, seconds=1.9)
        began = desk.clock.monotonic()
        seen = await desk.reader.observe(NOTHING)
        assert desk.clock.monotonic() - began < 0.6
        assert seen.ledger is None
        desk.reader.wants = (Want.LEDGER,)
        await desk.clock.sleep(1)
        assert (await desk.reader.observe(NOTHING)).ledger is None
        await desk.clock.sleep(1)
        assert (await desk.reader.observe(NOTHING)).ledger is not None
        assert len(desk.venue.called("fetch_ledger")) == 1

    play(story)


@pytest.mark.parametrize(
    ("trouble", "seconds", "asked_at"),
    [
        (Trouble.UNAVAILABLE, 0.0, [0.0, 1.05, 2.1]),
        (Trouble.HANG, 0.0, [0.0, 3.0, 6.0]),
        (Trouble.SLOW, 4.0, [0.0, 3.0, 6.0]),
        (Trouble.UNAVAILABLE, 60.0, [0.0]),
    ],
    ids=["failed", "hung", "slow", "told to wait"],
)
def test_a_ledger_that_is_lost_is_asked_for_again_between_two_readings(
    trouble: Trouble, seconds: float, asked_at: list[float]
) -> None:
    """1 s after a failure or 2 s of silence, twice; but not while the venue wants a pause."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", trouble, times=2, seconds=seconds)
        await desk.reader.observe(NOTHING)
        await desk.clock.sleep(12)
        seen = await desk.reader.observe(NOTHING)
        times = [call.at for call in desk.venue.called("fetch_ledger")]
        assert [round(at - times[0], 2) for at in times] == asked_at
        assert (seen.ledger is not None) is (len(asked_at) > 1)

    play(story)


def test_the_last_try_for_a_ledger_is_patient() -> None:
    """A venue that takes 15 s for every answer answers all the same."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", Trouble.SLOW, seconds=15.0)
        await desk.reader.observe(NOTHING)
        await desk.clock.sleep(22)
        assert (await desk.reader.observe(NOTHING)).ledger is not None

    play(story)


def test_records_count_although_their_reading_failed() -> None:
    """They may be what explains the next one."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_reading", Trouble.SLOW, seconds=20.0)
        seen = await desk.reader.observe(NOTHING)
        assert seen.reading is None
        assert seen.ledger is not None

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.BUG, Trouble.HANG])
def test_a_ledger_that_fails_may_be_asked_for_again(trouble: Trouble) -> None:
    """It is given up after 26 s at most, and is no ledger that shows nothing."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", trouble)
        for _ in range(3):
            assert (await desk.reader.observe(NOTHING)).ledger is None
            await desk.clock.sleep(10)
        desk.venue.calm()
        desk.reader.wants = (Want.LEDGER,)
        assert (await desk.reader.observe(NOTHING)).ledger is not None

    play(story)


def test_records_that_stay_unreadable_are_a_trouble_of_their_account() -> None:
    """A key without that right: a withdrawal would look like a loss, and somebody has to know."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", Trouble.UNAVAILABLE)
        for _ in range(2):
            assert desk.log.of("ledger_trouble") == []
            desk.reader.wants = (Want.LEDGER,)
            await desk.reader.observe(NOTHING)
            await asyncio.sleep(120)
            desk.reader.begin_ledger(NOTHING)
        (told,) = desk.log.of("ledger_trouble")
        assert told["scope"] == SCOPE
        assert list(desk.troubles.details()) == [f"trouble_ledger {SCOPE}"]
        desk.venue.calm()
        desk.reader.wants = (Want.LEDGER,)
        assert (await desk.reader.observe(NOTHING)).ledger is not None
        assert desk.troubles.details() == {}

    play(story)


def test_a_reading_that_hangs_costs_three_seconds() -> None:
    """It is asked for anew, and the time of what counts is that of the second question."""

    async def story() -> None:
        desk = Desk()
        await desk.reader.observe(NOTHING)
        desk.venue.plan("fetch_reading", Trouble.HANG, times=1)
        began = desk.clock.now()
        seen = await desk.reader.observe(NOTHING)
        assert seen.reading is not None
        assert seen.asked_at == seen.reading.asked_at == pytest.approx(began + 3)
        assert desk.clock.now() - began <= 3.2
        assert desk.reader.failures == 0

    play(story)


def test_a_venue_that_takes_five_seconds_for_every_answer_is_read() -> None:
    """What is slow but alive is not given up for something that is no faster."""

    async def story() -> None:
        desk = Desk()
        await desk.reader.observe(NOTHING)
        desk.venue.plan("fetch_reading", Trouble.SLOW, seconds=5.0)
        for _ in range(3):
            began = desk.clock.now()
            assert (await desk.reader.observe(NOTHING)).reading is not None
            assert desk.clock.now() - began == pytest.approx(5.0)

    play(story)


def test_the_pause_that_a_venue_wants_before_its_records_is_kept() -> None:
    """However often they are wanted meanwhile."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", Trouble.UNAVAILABLE, times=1, seconds=60.0)
        for _ in range(20):
            desk.reader.wants = (Want.LEDGER,)
            await desk.reader.observe(NOTHING)
            await desk.clock.sleep(3)
        first, second, *_ = (call.at for call in desk.venue.called("fetch_ledger"))
        assert 60 <= second - first <= 61

    play(story)


def test_waiting_for_records_ends_with_an_answer_that_reaches_far_enough() -> None:
    """One that was asked for too early does not: they are asked for once more."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", Trouble.SLOW, times=1, seconds=1.0)
        await desk.reader.observe(NOTHING)
        reaching, began = desk.clock.now(), desk.clock.monotonic()
        ledger = await desk.reader.wait_for_ledger(NOTHING, reaching=reaching, until=began + 3)
        assert ledger is not None
        assert ledger.asked_at >= reaching
        assert desk.clock.monotonic() - began == pytest.approx(0.75, abs=0.1)

    play(story)


def test_waiting_for_records_keeps_one_that_reaches_less_far() -> None:
    """It may explain something all the same."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_ledger", Trouble.SLOW, times=1, seconds=1.0)
        await desk.reader.observe(NOTHING)
        desk.venue.plan("fetch_ledger", Trouble.HANG)
        reaching, began = desk.clock.now(), desk.clock.monotonic()
        ledger = await desk.reader.wait_for_ledger(NOTHING, reaching=reaching, until=began + 3)
        assert ledger is not None
        assert ledger.asked_at < reaching
        assert desk.clock.monotonic() - began == pytest.approx(3.0)
        desk.reader.close()

    play(story)


def test_the_mark_of_a_position_that_is_gone_is_asked_for() -> None:
    """What was closed or liquidated explains itself by the later price."""

    async def story() -> None:
        desk = Desk()
        first = await desk.reader.observe(NOTHING)
        known = ScopeMemory(scope=SCOPE, last_trusted=first.reading)
        account = desk.exchange.account(KEY)
        account.legs = {key: leg for key, leg in account.legs.items() if key[0] != "SOLUSDT"}
        desk.exchange.set_prices({"SOLUSDT": Decimal(107)})
        assert (await desk.reader.observe(known)).marks == {"SOLUSDT": 107.0}
        desk.venue.plan("fetch_marks", Trouble.HANG)
        began = desk.clock.monotonic()
        assert (await desk.reader.observe(known)).marks == {}
        assert desk.clock.monotonic() - began <= 2.5

    play(story)


def test_the_price_of_a_coin_that_is_gone_is_asked_for() -> None:
    """A coin that was sold explains itself likewise, also beside one that nobody prices."""

    async def story() -> None:
        desk = Desk()
        desk.exchange.spot.seed(KEY, {"SOL": Decimal(5), "USDT": Decimal(1000)})
        venue = MemorySpot(exchange=desk.exchange, clock=desk.clock, scope=SPOT)
        reader = ScopeReader(
            scope=SPOT,
            venue=venue,
            clock=desk.clock,
            log=cast("Logger", desk.log),
            troubles=desk.troubles,
        )
        nothing = ScopeMemory(scope=SPOT)
        first = await reader.observe(nothing)
        known = ScopeMemory(scope=SPOT, last_trusted=first.reading)
        desk.exchange.spot.seed(KEY, {"USDT": Decimal(1500)})
        desk.exchange.set_prices({"SOLUSDT": Decimal(90)})
        assert (await reader.observe(known)).marks == {"SOL": 90.0}

    play(story)


def test_a_symbol_that_the_rules_do_not_know_has_them_read_again() -> None:
    """Once a minute, beside the readings."""

    async def story() -> None:
        desk = Desk()
        await desk.reader.observe(NOTHING)
        desk.reader.limits = {
            symbol: limit for symbol, limit in desk.reader.limits.items() if symbol != "SOLUSDT"
        }
        for _ in range(10):
            await desk.reader.observe(NOTHING)
            await desk.clock.sleep(1)
        assert len(desk.venue.called("limits")) == 1
        await desk.clock.sleep(LIMITS_MIN_PAUSE_S)
        await desk.reader.observe(NOTHING)
        await desk.clock.sleep(1)
        await desk.reader.observe(NOTHING)
        assert Symbol("SOLUSDT") in desk.reader.limits
        assert len(desk.venue.called("limits")) == 2

    play(story)


def test_a_greeting_that_hangs_costs_three_seconds() -> None:
    """Then the account is read all the same."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("^start$", Trouble.HANG)
        seen = await desk.reader.observe(NOTHING)
        assert seen.reading is not None
        assert desk.clock.monotonic() <= 3.5
        desk.reader.close()

    play(story)


def test_a_pause_that_was_asked_for_is_kept_without_asking() -> None:
    """The scope is dark meanwhile, with the reason."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch_reading", Trouble.UNAVAILABLE, times=1, seconds=30.0)
        await desk.reader.observe(NOTHING)
        await desk.clock.sleep(10)
        seen = await desk.reader.observe(NOTHING)
        assert "asked for a pause" in seen.failure
        assert len(desk.venue.called("fetch_reading")) == 1
        assert desk.reader.failures == 1  # keeping a pause is no failure, and lengthens no other
        await desk.clock.sleep(25)
        assert (await desk.reader.observe(NOTHING)).reading is not None

    play(story)


def test_of_failures_in_a_row_few_are_logged() -> None:
    """The first and every twentieth, of the reading and of everything beside it."""

    async def story() -> None:
        desk = Desk()
        desk.venue.plan("fetch|^start$", Trouble.UNAVAILABLE)
        for _ in range(45):
            desk.reader.wants = (Want.LEDGER,)
            await desk.reader.observe(NOTHING)
            await desk.reader.prepare()
            await desk.clock.sleep(LIMITS_MIN_PAUSE_S)
        events = ["scope_unavailable", "limits_unavailable", "ledger_unavailable"]
        for event in (*events, "position_mode_unread"):
            assert [line["failures"] for line in desk.log.of(event)] == [1, 20, 40], event
        greetings = [line["failures"] for line in desk.log.of("connection_unready")]
        assert greetings == [1, 20, 40, 60, 80]  # each attempt greets, prepare does as well
        desk.venue.calm()
        await desk.reader.observe(NOTHING)
        desk.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
        await desk.reader.observe(NOTHING)
        assert desk.log.of("scope_unavailable")[-1]["failures"] == 1

    play(story)
