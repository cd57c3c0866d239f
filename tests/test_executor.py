"""Rounds of closing on a simulated account in virtual time, with everything that can go wrong."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from errors import InvariantViolation, StoreError
from executor import DriveRules, Executor
from logger import Logger
from memory import (
    CloseTarget,
    Incident,
    IncidentReport,
    OrderAction,
    OrderRecord,
    Records,
    TargetStatus,
)
from model import (
    BookName,
    ClientOrderId,
    Done,
    IncidentId,
    MarketLimits,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    RowKey,
    ScopeId,
    Side,
    Source,
    Stage,
    Symbol,
    VenueOrderId,
)
from simulator.exchange import Exchange
from simulator.markets import CATALOGUE
from simulator.reasons import Reason, Rejected
from simulator.seeds import apply_seed, order_request
from simulator.state import Cause, Leg
from simulator.virtual_time import LoopClock
from tests.conventions import BINANCE, Conventions
from tests.memory_venue import KEY, SCOPE, MemoryVenue, Trouble
from tests.other_conventions import BITGET
from tests.virtual_house import EPOCH, Logbook, play

SOL, XRP = Symbol("SOLUSDT"), Symbol("XRPUSDT")
SOL_SHORT = RowKey(SCOPE, SOL, Side.SHORT)
XRP_SHORT = RowKey(SCOPE, XRP, Side.SHORT)
POSITIONS = (
    {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 100, "entry_price": 100},
    {"symbol": "XRPUSDT", "side": "SHORT", "quantity": 5000, "entry_price": "0.5"},
)


def target(number: int, key: RowKey, may_remain: str, initial: str = "100") -> CloseTarget:
    """How much of a position may remain."""
    return CloseTarget(
        number=number,
        key=key,
        may_remain=Decimal(may_remain),
        initial_quantity=Decimal(initial),
    )


HALF = (target(1, SOL_SHORT, "50"),)
ALL = (target(1, SOL_SHORT, "0"), target(2, XRP_SHORT, "0", "5000"))


@dataclass(kw_only=True)
class Bench:
    """An executor at work on one incident, driven every 3 s as the guard's loop drives it."""

    targets: tuple[CloseTarget, ...] = HALF
    stage: Stage = Stage.REDUCED_TOP_RISK
    seed: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    limits: Mapping[Symbol, MarketLimits] | None = None
    mode: PositionMode | None = None
    ways: Conventions = BINANCE
    earlier: Sequence[OrderRecord] | Exception | None = None
    has_unknown_orders: bool = False
    store_takes_s: float = 0.0
    clock: LoopClock = field(default_factory=lambda: LoopClock(epoch=EPOCH))
    log: Logbook = field(default_factory=Logbook)
    records: list[Records] = field(default_factory=list)
    is_current: bool = True
    loaded_since: float = math.nan

    def __post_init__(self) -> None:
        markets = [replace(market, depth=None) for market in CATALOGUE]
        self.exchange = Exchange(now=EPOCH, markets=markets)
        self.ways.rule(self.exchange)
        content = {
            "api_key": KEY,
            "api_secret": "test-secret",
            "wallet": {"USDT": 10_000},
            "positions": POSITIONS,
            **self.seed,
        }
        apply_seed(self.exchange, content)
        self.venue = MemoryVenue(exchange=self.exchange, clock=self.clock, ways=self.ways)
        self.incident = Incident(
            incident_id=IncidentId("test1"),
            book=BookName(SCOPE),
            stage=self.stage,
            mode="mode",
            source=Source.SHORT,
            opened_at=EPOCH,
            dry_run=self.dry_run,
            reason="test",
            targets=self.targets,
            rounds=0 if self.earlier is None else 4,
            last_progress_at=EPOCH,
        )
        self.executor = Executor(
            scope=SCOPE,
            venue=self.venue,
            clock=self.clock,
            log=cast("Logger", self.log),
            record=self._record,
            load_orders=self._load,
            resumed=() if self.earlier is None else (self.incident.incident_id,),
            has_unknown_orders=self.has_unknown_orders,
        )

    async def _record(self, records: Records, deadline_s: float) -> bool:
        self.records.append(records)
        await self.clock.sleep(min(deadline_s, self.store_takes_s))
        return self.store_takes_s < deadline_s

    async def _load(self, _incident: IncidentId, and_since: float) -> Sequence[OrderRecord]:
        self.loaded_since = and_since
        if self.store_takes_s:
            await self.clock.sleep(self.store_takes_s)
        if isinstance(self.earlier, Exception):
            raise self.earlier
        return self.earlier or ()

    async def drive(self, **more: Any) -> IncidentReport | None:
        """One drive, as one tick makes it."""
        limits = self.limits
        if limits is None:
            limits = await self.venue.fetch_market_limits()
        account = self.exchange.account(KEY)
        report = await self.executor.drive(
            self.incident,
            rules=DriveRules(limits=limits, position_mode=self.mode or account.position_mode),
            is_current=lambda _incident: self.is_current,
            **more,
        )
        if report is not None:
            self.incident = report.incident
        return report

    async def finish(self, *, within_s: float = 60.0) -> float:
        """Drive until it is done; returns after how many seconds. Fails at the deadline."""
        began = self.clock.monotonic()
        while True:
            report = await self.drive()
            if report is not None and report.is_done:
                return self.clock.monotonic() - began
            assert self.clock.monotonic() - began < within_s, self.log.lines
            await self.clock.sleep(3.0)

    def bot_order(self, symbol: str, side: str, **order: Any) -> None:
        """Another program's order."""
        entry = {"symbol": symbol, "side": side, **order}
        self.exchange.place(KEY, order_request(entry, cause=Cause.BOT))

    def held(self, symbol: Symbol, leg: Leg = Leg.BOTH) -> Decimal:
        """The signed size of a position."""
        return self.exchange.amount(KEY, symbol, leg)

    def closes(self) -> list[str]:
        """What was sent to be closed, in order."""
        return [call.about for call in self.venue.called("submit_close")]

    def orders(self) -> list[OrderRecord]:
        """The order records in the order of writing."""
        return [order for records in self.records for order in records.orders]


# --- the plain way ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["one_way", "hedge"])
def test_half_is_closed_and_confirmed_by_two_reads_5_s_apart(mode: str) -> None:
    """One order; done when the target held in reads at least 5 s apart (lesson 27)."""
    leg = Leg.SHORT if mode == "hedge" else Leg.BOTH

    async def story() -> None:
        bench = Bench(seed={"position_mode": mode})
        took = await bench.finish()
        assert bench.held(SOL, leg) == -50
        assert bench.closes() == ["SOLUSDT SHORT 50"]
        assert 5 <= took <= 10
        assert bench.incident.targets[0].status is TargetStatus.HELD

    play(story)


def test_cancels_and_closes_leave_together() -> None:
    """An entry order does not go on filling while the close is on its way."""

    async def story() -> None:
        bench = Bench()
        bench.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
        await bench.drive()
        close, cancel = bench.venue.called("submit")
        assert close.at == cancel.at

    play(story)


def test_the_intent_is_recorded_before_the_order_leaves() -> None:
    """After a crash the next run knows what may be under way."""

    async def story() -> None:
        bench = Bench()
        seen: list[list[OrderRecord]] = []
        bench.venue.witness = lambda call: (
            seen.append(bench.orders()) if call.name == "submit_close" else None
        )
        await bench.drive()
        assert [order.outcome for order in seen[0]] == [None]
        assert isinstance(bench.orders()[-1].outcome, Done)
        assert seen[0][0].client_id == bench.orders()[-1].client_id

    play(story)


def test_what_was_read_ahead_sizes_the_first_round() -> None:
    """The record takes 0.2 s and an answer 0.05: nothing is asked a second time."""

    async def story() -> None:
        bench = Bench()
        limits = await bench.venue.fetch_market_limits()
        bench.executor.look_ahead()
        await bench.clock.sleep(0.2)
        began = bench.clock.now()
        bench.limits = limits
        await bench.drive()
        assert bench.closes()[:1] == ["SOLUSDT SHORT 50"]
        assert bench.venue.sent[0].at == began
        asked = [call.at < began for call in bench.venue.called("fetch_positions|fetch_orders")]
        assert asked[:2] == [True, True]

    play(story)


def test_what_was_read_ahead_too_long_ago_sizes_no_close() -> None:
    """0.6 s later: a bot has closed 30 of 100 meanwhile, so that 20 are left to close, not 50."""

    async def story() -> None:
        bench = Bench()
        bench.executor.look_ahead()
        await bench.clock.sleep(0.6)
        bench.bot_order("SOLUSDT", "BUY", type="MARKET", quantity=30, reduce_only=True)
        await bench.drive()
        assert bench.closes() == ["SOLUSDT SHORT 20"]
        assert bench.held(SOL) == -50

    play(story)


def test_what_was_read_ahead_for_nothing_serves_no_later_incident() -> None:
    """An entry order that came after it is on the list of the first round, and is cancelled."""

    async def story() -> None:
        bench = Bench()
        bench.executor.look_ahead()
        await bench.clock.sleep(0.2)
        bench.executor.drop_ahead()
        bench.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
        await bench.drive()
        close, cancel = bench.venue.called("submit_close|submit_cancel")[:2]
        assert {close.name, cancel.name} == {"submit_close", "submit_cancel"}
        assert close.at == cancel.at

    play(story)


def test_what_was_read_ahead_is_not_asked_for_twice() -> None:
    """Once for the second reading and once for the incident that it opens: two reads, not four."""

    async def story() -> None:
        bench = Bench()
        for _ in range(2):
            bench.executor.look_ahead()
            await bench.clock.sleep(0.02)
        assert [call.name for call in bench.venue.calls] == ["fetch_positions", "fetch_orders"]

    play(story)


def test_an_end_gives_up_what_was_read_ahead() -> None:
    """No round will begin that could use it: nothing of it is left running."""

    async def story() -> None:
        bench = Bench()
        bench.executor.look_ahead()
        await bench.clock.sleep(0.02)
        bench.executor.finish()
        await bench.clock.sleep(0)
        await bench.clock.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(story)


def test_a_round_in_hand_keeps_what_it_asked_for() -> None:
    """A reading that opens nothing takes nothing from an incident that is being worked on."""

    async def story() -> None:
        bench = Bench()
        driving = asyncio.create_task(bench.drive())
        await bench.clock.sleep(0.07)
        bench.executor.drop_ahead()
        await driving
        assert bench.closes() == ["SOLUSDT SHORT 50"]

    play(story)


def test_the_last_answer_ends_the_pause_of_a_round_that_only_waits() -> None:
    """It comes after 1.5 s, between two rounds; what it left is read in the same moment."""

    async def story() -> None:
        bench = Bench(targets=ALL)
        bench.venue.plan("submit_close", Trouble.SLOW, seconds=1.5, symbol="XRP")
        bench.venue.plan("find_order", Trouble.UNAVAILABLE)
        await bench.drive()
        left_at = bench.venue.called("submit_close")[0].at
        answered_at = bench.orders()[-1].answered_at
        assert answered_at == pytest.approx(left_at + 1.5, abs=0.01)
        assert answered_at in [call.at for call in bench.venue.called("fetch_positions")]
        assert bench.held(XRP) == 0

    play(story)


@pytest.mark.parametrize(("trouble", "is_certain"), [(None, True), (Trouble.LOST_AFTER, False)])
def test_positions_are_read_while_answers_are_written_once_every_fate_is_known(
    trouble: Trouble | None, is_certain: bool
) -> None:
    """Writing takes 0.4 s. An order that is in doubt is looked up before."""

    async def story() -> None:
        bench = Bench(targets=ALL, store_takes_s=0.4)
        if trouble is not None:
            bench.venue.plan("submit_close", trouble, times=1)
        await bench.drive()
        left_at = bench.venue.called("submit_close")[0].at
        read_at = [call.at for call in bench.venue.called("fetch_positions") if call.at > left_at]
        assert (
            read_at[0] == pytest.approx(left_at + bench.venue.latency_s, abs=0.01)
        ) is is_certain

    play(story)


def test_nothing_is_read_ahead_of_what_became_of_earlier_orders() -> None:
    """Neither where this run has sent something nor where an earlier one may have."""

    async def story() -> None:
        bench = Bench()
        await bench.drive()
        for one in (bench, Bench(earlier=())):
            count = len(one.venue.calls)
            one.executor.look_ahead()
            await one.clock.sleep(0.2)
            assert len(one.venue.calls) == count

    play(story)


def test_a_dry_run_incident_never_gets_here() -> None:
    """It would send orders."""

    async def story() -> None:
        with pytest.raises(InvariantViolation):
            await Bench(dry_run=True).drive()

    play(story)


def test_a_position_larger_than_the_markets_maximum_goes_in_parts() -> None:
    """100 SOL with at most 30 a market order: four orders in one round (lesson 20)."""

    async def story() -> None:
        bench = Bench(targets=ALL[:1], seed={"markets": [{"symbol": "SOLUSDT", "market_max": 30}]})
        await bench.finish()
        assert bench.closes() == ["SOLUSDT SHORT 25"] * 4
        assert bench.incident.rounds <= 4

    play(story)


@pytest.mark.parametrize("knows_the_market", [True, False])
def test_no_part_falls_below_the_least_value_of_an_order(*, knows_the_market: bool) -> None:
    """123 at 0.1, at most 61 an order, least value 5: even parts of 41 would be worth 4.1 each.

    Nothing would ever be closed. 61 and 61 go, and the 1 that is left is dust; without the market's
    rules the sizes that were refused as too large and as too small say the same.
    """

    async def story() -> None:
        doge = Symbol("DOGEUSDT")
        bench = Bench(
            targets=(target(1, RowKey(SCOPE, doge, Side.LONG), "0"),),
            limits=None if knows_the_market else {},
            ways=BITGET,
            seed={
                "markets": [{"symbol": "DOGEUSDT", "market_max": 61}],
                "positions": [
                    {"symbol": "DOGEUSDT", "side": "LONG", "quantity": 123, "entry_price": "0.1"}
                ],
            },
        )
        await bench.finish()
        assert bench.held(doge) == 1

    play(story)


def test_an_unknown_maximum_is_found_by_halving() -> None:
    """Without market rules "too large" halves the next orders until they fit."""

    async def story() -> None:
        bench = Bench(
            targets=ALL[:1],
            limits={},
            seed={"markets": [{"symbol": "SOLUSDT", "market_max": 30}]},
        )
        await bench.finish()
        assert bench.held(SOL) == 0

    play(story)


def test_a_rest_too_small_for_the_venue_is_told_once_and_counts_as_done() -> None:
    """Dust: 0.004 SOL over the target on a step of 0.01 (lesson 20)."""

    async def story() -> None:
        bench = Bench(targets=(target(1, SOL_SHORT, "99.996"),))
        notes: list[str] = []
        for _ in range(5):
            report = await bench.drive()
            notes += report.notes if report else ()
            await bench.clock.sleep(3)
        assert bench.incident.targets[0].status is TargetStatus.DUST
        assert bench.closes() == []
        assert [note for note in notes if "too small" in note] == notes
        assert len(notes) == 1

    play(story)


# --- unknown outcomes -------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.LATE])
@pytest.mark.parametrize("targets", [HALF, ALL[:1]], ids=["half", "all"])
def test_an_order_without_an_answer_is_looked_up_before_anything_is_sent_again(
    trouble: Trouble, targets: tuple[CloseTarget, ...]
) -> None:
    """Whether it never came, came, or comes seconds later, the target remains (lesson 23)."""

    async def story() -> None:
        bench = Bench(targets=targets)
        bench.venue.plan("submit_close", trouble, times=1, seconds=4.0)
        await bench.finish()
        await bench.clock.sleep(20)
        assert bench.held(SOL) == -targets[0].may_remain
        calls = [call.name for call in bench.venue.calls]
        first = calls.index("submit_close")
        later = calls[first + 1 :]
        if "submit_close" in later:
            assert "find_order" in later[: later.index("submit_close")]

    play(story)


@pytest.mark.parametrize(("lands_within_s", "lands_after_s"), [(15.0, 10.0), (35.0, 30.0)])
def test_an_order_that_may_still_land_is_not_sent_again_where_a_part_must_remain(
    lands_within_s: float, lands_after_s: float
) -> None:
    """It lands late, as its venue may let it: a second one would close all of it (lesson 23)."""

    async def story() -> None:
        bench = Bench()
        bench.venue.lands_within_s = lands_within_s
        bench.venue.plan("submit_close", Trouble.LATE, times=1, seconds=lands_after_s)
        await bench.finish()
        assert bench.held(SOL) == -50
        assert len(bench.closes()) == 1

    play(story)


def test_an_order_that_never_came_is_sent_again_once_it_can_no_longer_land() -> None:
    """15 s after it left, also where a part must remain."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("submit_close", Trouble.LOST_BEFORE, times=1)
        await bench.finish()
        assert bench.held(SOL) == -50
        first, second = (call.at for call in bench.venue.called("submit_close"))
        assert 15 <= second - first <= 18

    play(story)


def test_a_look_up_that_hangs_holds_up_no_other_row() -> None:
    """One order of two is lost and cannot be looked up: the other's rest goes on within seconds."""

    async def story() -> None:
        bench = Bench(targets=ALL)
        bench.venue.plan("submit_close", Trouble.LOST_BEFORE, times=1, symbol="SOLUSDT")
        bench.venue.plan("submit_close", Trouble.REFUSE, times=1, symbol="XRPUSDT")
        bench.venue.plan("find_order", Trouble.HANG)
        await bench.drive()
        _, again = (call for call in bench.venue.called("submit_close") if "XRP" in call.about)
        assert again.at - EPOCH <= 3

    play(story)


def test_a_lost_answer_is_looked_up_at_once_and_holds_up_no_other_row() -> None:
    """SOL's answer is lost, XRP's hangs, DOGE is refused: a look-up soon, and DOGE goes on."""

    async def story() -> None:
        doge = RowKey(SCOPE, Symbol("DOGEUSDT"), Side.SHORT)
        short = {"symbol": "DOGEUSDT", "side": "SHORT", "quantity": 3000, "entry_price": "0.1"}
        bench = Bench(
            targets=(*ALL, target(3, doge, "0", "3000")), seed={"positions": (*POSITIONS, short)}
        )
        bench.venue.plan("submit_close", Trouble.LOST_AFTER, times=1, symbol="SOLUSDT")
        bench.venue.plan("submit_close", Trouble.HANG, times=1, symbol="XRPUSDT")
        bench.venue.plan(
            "submit_close", Trouble.REFUSE, times=1, symbol="DOGE", reason=RefusalReason.OTHER
        )
        await bench.drive()
        sent_at = bench.venue.called("submit_close")[0].at
        lost_at = sent_at + bench.venue.latency_s
        found_at = next(c.at for c in bench.venue.called("find_order"))
        assert found_at - lost_at == pytest.approx(0.2, abs=0.11)
        _, again = (call.at for call in bench.venue.called("submit_close") if "DOGE" in call.about)
        assert again - sent_at < 0.6

    play(story)


def test_an_answer_that_comes_late_is_learnt_when_it_comes() -> None:
    """It takes 3 s: its record is completed, perhaps by a look-up first, and nothing sent twice."""

    async def story() -> None:
        bench = Bench(targets=ALL[:1])
        bench.venue.plan("submit_close", Trouble.SLOW, seconds=3.0, times=1)
        await bench.finish()
        assert len(bench.closes()) == 1
        answered = [order for order in bench.orders() if order.outcome is not None]
        for order in answered:
            assert isinstance(order.outcome, Done)
            assert 3.0 <= (order.answered_at or 0) - EPOCH <= 5.0
        assert isinstance(answered[-1].outcome, Done)
        assert answered[-1].outcome.filled == 100

    play(story)


def test_few_closes_go_one_by_one_and_many_in_parts_of_five(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One lost answer of few leaves one order in doubt; of many, five of them share a request."""

    async def story() -> None:
        for market_max, sizes in ((10, [1] * 10), (9, [5, 5, 2])):
            bench = Bench(
                targets=ALL[:1],
                seed={"markets": [{"symbol": "SOLUSDT", "market_max": market_max}]},
            )
            parts: list[int] = []
            real = bench.venue.submit_closes

            async def counted(closes: Any, real: Any = real, parts: list[int] = parts) -> Any:
                parts.append(len(closes))
                return await real(closes)

            monkeypatch.setattr(bench.venue, "submit_closes", counted)
            await bench.drive()
            assert parts == sizes

    play(story)


@pytest.mark.parametrize("lag_s", [0.5, 2.0, 4.0])
def test_a_position_read_that_lags_closes_nothing_twice(lag_s: float) -> None:
    """The account shows the old size for seconds after the fill; half must remain."""

    async def story() -> None:
        bench = Bench(seed={"markets": [{"symbol": "SOLUSDT", "market_max": 20}]})
        bench.venue.plan("fetch_positions", Trouble.STALE, seconds=lag_s)
        await bench.finish()
        assert bench.held(SOL) == -50

    play(story)


def test_a_fault_in_the_adapter_while_sending_counts_as_unknown() -> None:
    """The order may be out: it is looked up, not sent again blindly."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("submit_close", Trouble.BUG, times=1)
        await bench.finish()
        assert bench.held(SOL) == -50
        assert len(bench.closes()) == 1

    play(story)


def test_fewer_answers_than_orders_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch answer that lacks one leaves all of them unknown."""

    async def story() -> None:
        bench = Bench(targets=ALL)
        real = bench.venue.submit_closes

        async def short(closes: Any) -> Any:
            return (await real(closes))[:-1]

        monkeypatch.setattr(bench.venue, "submit_closes", short)
        await bench.drive(within_s=0.0)
        assert {type(order.outcome).__name__ for order in bench.orders()[-2:]} == {"Unknown"}

    play(story)


# --- refusals ---------------------------------------------------------------------------------


def test_a_resting_reduce_only_order_in_the_way_is_cancelled() -> None:
    """A full-size take-profit makes every close fail until it is gone (lesson 21)."""

    async def story() -> None:
        bench = Bench()
        bench.bot_order("SOLUSDT", "BUY", type="LIMIT", quantity=100, price=80, reduce_only=True)
        await bench.finish()
        assert bench.held(SOL) == -50

    play(story)


@pytest.mark.parametrize("stage", [Stage.REDUCED_TOP_RISK, Stage.ALL_CLOSED])
def test_an_order_in_the_way_is_cancelled_where_the_venue_says_that_nothing_is_left(
    stage: Stage,
) -> None:
    """Binance names -2022 for it as well, and Bybit has one code for both."""

    def judge(refusal: Rejected) -> Outcome:
        if refusal.reason is Reason.REDUCE_BLOCKED_BY_ORDERS:
            return Refused(reason=RefusalReason.NOTHING_TO_REDUCE, code="-2022")
        return BINANCE.judge(refusal)

    async def story() -> None:
        bench = Bench(
            targets=ALL if stage is Stage.ALL_CLOSED else HALF,
            stage=stage,
            ways=replace(BINANCE, judge=judge),
        )
        bench.bot_order("SOLUSDT", "BUY", type="LIMIT", quantity=100, price=80, reduce_only=True)
        await bench.finish()
        assert bench.held(SOL) == (0 if stage is Stage.ALL_CLOSED else -50)

    play(story)


def test_protection_stays_while_nothing_is_left_only_does_not_show_yet() -> None:
    """One refusal is what a read that lags behind brings about; the next read shows it."""

    async def story() -> None:
        bench = Bench()
        bench.bot_order(
            "SOLUSDT", "BUY", type="STOP_MARKET", quantity=100, trigger_price=130, reduce_only=True
        )
        reason = RefusalReason.NOTHING_TO_REDUCE
        bench.venue.plan("submit_close", Trouble.REFUSE, times=1, reason=reason)
        await bench.finish()
        assert len(bench.exchange.account(KEY).orders) == 1

    play(story)


def test_protection_stays_in_stages_1_and_2_and_goes_with_its_position() -> None:
    """A reduce-only stop that blocks nothing survives half a close, and not a whole one."""

    async def story(targets: tuple[CloseTarget, ...]) -> int:
        bench = Bench(targets=targets)
        bench.bot_order(
            "SOLUSDT", "BUY", type="STOP_MARKET", quantity=100, trigger_price=130, reduce_only=True
        )
        await bench.finish()
        return len(bench.exchange.account(KEY).orders)

    assert play(lambda: story(HALF)) == 1
    assert play(lambda: story(ALL[:1])) == 0


def test_every_order_goes_after_stage_3() -> None:
    """Also on symbols that hold nothing, of both kinds (lesson 22)."""

    async def story() -> None:
        bench = Bench(targets=ALL, stage=Stage.ALL_CLOSED, seed={"prices": {"BTCUSDT": 60000}})
        bench.bot_order("BTCUSDT", "BUY", type="LIMIT", quantity="0.01", price=50000)
        bench.bot_order("SOLUSDT", "SELL", type="STOP_MARKET", quantity=5, trigger_price=90)
        await bench.finish()
        assert bench.exchange.account(KEY).orders == {}

    play(story)


def test_the_pause_a_venue_asks_for_is_kept() -> None:
    """Refused for its rate with a pause of 20 s: nothing is sent or read before that."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan(
            "submit_close",
            Trouble.REFUSE,
            times=1,
            reason=RefusalReason.RATE_LIMITED,
            seconds=20.0,
        )
        await bench.finish()
        first, second = bench.venue.called("submit_close")
        assert 20 <= second.at - first.at <= 24
        between = [c for c in bench.venue.called("fetch_pos") if first.at < c.at < second.at - 0.2]
        assert between == []

    play(story)


def test_the_pause_of_a_refused_position_read_is_kept_too() -> None:
    """Reading on through a ban makes it longer."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("fetch_positions", Trouble.UNAVAILABLE, times=1, seconds=20.0)
        await bench.finish()
        first, second = bench.venue.called("fetch_positions")[:2]
        assert second.at - first.at >= 20

    play(story)


def test_nothing_is_asked_before_the_venue_allows_requests_again() -> None:
    """The pause that the reading was told holds for closing as well."""

    async def story() -> None:
        bench = Bench()
        not_before = bench.clock.monotonic() + 10
        assert await bench.drive(not_before=not_before) is None
        assert bench.venue.called("fetch_positions") == []

    play(story)


def test_a_wrong_position_mode_is_found_out_by_one_question() -> None:
    """Told one-way, is hedged: refused, asked once for both rows, closed."""

    async def story() -> None:
        bench = Bench(targets=ALL, mode=PositionMode.ONE_WAY, seed={"position_mode": "hedge"})
        await bench.finish()
        assert bench.held(SOL, Leg.SHORT) == bench.held(XRP, Leg.SHORT) == 0
        assert len(bench.venue.called("fetch_position_mode")) == 1

    play(story)


def test_a_refused_close_is_retried_for_ever_with_pauses_of_at_most_30_s() -> None:
    """A market that is closed: it never ends by itself."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("submit_close", Trouble.REFUSE, reason=RefusalReason.NOT_TRADABLE)
        began = bench.clock.monotonic()
        while bench.clock.monotonic() - began < 1900:
            report = await bench.drive()
            assert report is None or not report.is_done
            await bench.clock.sleep(3)
        times = [call.at for call in bench.venue.called("submit_close")]
        gaps = [after - before for before, after in pairwise(times)]
        assert max(gaps) <= 34

    play(story)


@pytest.mark.parametrize(("targets", "most"), [(ALL, 80), (HALF, 80)])
def test_closes_that_are_acknowledged_in_vain_do_not_use_up_the_order_limit(
    targets: tuple[CloseTarget, ...], most: int
) -> None:
    """An empty book cancels each: its pauses grow as those of refusals do, until it is executed."""

    async def story() -> None:
        bench = Bench(targets=targets)
        bench.venue.plan("submit_close", Trouble.IN_VAIN)
        began = bench.clock.monotonic()
        while bench.clock.monotonic() - began < 600:
            await bench.drive(within_s=3.0)
            await bench.clock.sleep(0.2)
        assert len(bench.closes()) <= most
        bench.venue.calm()
        await bench.finish()

    play(story)


# --- what cannot be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [Trouble.UNAVAILABLE, Trouble.MALFORMED, Trouble.BUG, Trouble.HANG]
)
def test_positions_that_cannot_be_read_are_never_flat(trouble: Trouble) -> None:
    """Nothing is sent and nothing is done, however long the targets held before (lesson 10)."""

    async def story() -> None:
        bench = Bench()
        await bench.drive()
        sent = len(bench.venue.sent)
        bench.venue.plan("fetch_positions", trouble)
        for _ in range(20):
            report = await bench.drive()
            assert report is None or not report.is_done
            await bench.clock.sleep(3)
        assert len(bench.venue.sent) == sent

    play(story)


async def looked(bench: Bench, *plan: tuple[float, Trouble | None]) -> list[float]:
    """Drive once at each of these seconds, with a trouble of its read or none; when it was done."""
    began, done = bench.clock.monotonic(), list[float]()
    for at, trouble in plan:
        await bench.clock.sleep(began + at - bench.clock.monotonic())
        bench.venue.calm()
        if trouble is not None:
            bench.venue.plan("fetch_positions", trouble)
        report = await bench.drive(within_s=0.0)
        if report is not None and report.is_done:
            done.append(at)
    return done


@pytest.mark.parametrize(
    ("failed_at", "good_at", "is_done"),
    [
        ((), 4.9, False),
        ((), 5.0, True),
        ((3.0,), 5.0, True),
        ((1.0, 3.0, 5.0), 8.0, True),
        ((10.0, 20.0, 30.0, 40.0, 50.0), 60.0, True),
        ((10.0, 20.0, 30.0, 40.0, 50.0), 60.1, False),
    ],
)
def test_a_failed_read_between_two_good_ones_proves_nothing(
    failed_at: tuple[float, ...], good_at: float, is_done: bool
) -> None:
    """The targets hold at 0 s and in the next good read, 5 to 60 s later: done."""

    async def story() -> None:
        bench = Bench(targets=(target(1, SOL_SHORT, "100"),))
        bad = [(at, Trouble.UNAVAILABLE) for at in failed_at]
        done = await looked(bench, (0.0, None), *bad, (good_at, None))
        assert done == ([good_at] if is_done else [])

    play(story)


def test_a_failed_read_does_not_hide_one_that_contradicts() -> None:
    """Held, unread, grown, held, unread, held: only the last two count."""

    async def story() -> None:
        bench = Bench(targets=(target(1, SOL_SHORT, "100"),))
        assert await looked(bench, (0.0, None), (2.0, Trouble.BUG)) == []
        bench.bot_order("SOLUSDT", "SELL", quantity=10)
        assert await looked(bench, (1.0, None)) == []
        assert bench.held(SOL) == -100
        plan = ((1.0, None), (3.0, Trouble.BUG), (5.5, None), (7.6, None))
        assert await looked(bench, *plan) == [7.6]

    play(story)


def test_a_target_that_came_in_meanwhile_must_hold_twice_as_well() -> None:
    """The first read was not about it, although it is flat by now."""

    async def story() -> None:
        bench = Bench(targets=(target(1, SOL_SHORT, "100"),))
        assert await looked(bench, (0.0, None), (1.0, None)) == []
        grown = (*bench.incident.targets, target(2, RowKey(SCOPE, XRP, Side.LONG), "0"))
        bench.incident = replace(bench.incident, targets=grown, held_at=None)
        assert await looked(bench, (6.0, None), (11.0, None)) == [11.0]

    play(story)


@pytest.mark.parametrize("seed", range(8))
def test_three_failing_reads_of_ten_delay_the_end_by_seconds(seed: int) -> None:
    """A flat book must not keep its bots out for minutes."""
    chance = random.Random(seed)

    async def story() -> float:
        bench = Bench(targets=ALL, stage=Stage.ALL_CLOSED)

        def flip(call: Any) -> None:
            bench.venue.calm()
            if call.name == "fetch_positions" and chance.random() < 0.3:
                bench.venue.plan("fetch_positions", Trouble.UNAVAILABLE, times=1)

        bench.venue.witness = flip
        return await bench.finish()

    assert play(story) <= 20


def test_a_target_that_stops_holding_must_hold_anew_for_5_s() -> None:
    """The position comes back between two reads: closed again, and confirmed from there."""

    async def story() -> None:
        bench = Bench()
        await bench.drive()
        await bench.clock.sleep(3)
        bench.bot_order("SOLUSDT", "SELL", quantity=10)
        report = await bench.drive()
        assert report is not None
        assert not report.is_done
        assert bench.held(SOL) == -50
        await bench.clock.sleep(3)
        report = await bench.drive()
        assert report is None or not report.is_done

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.BUG, Trouble.HANG])
def test_orders_that_cannot_be_read_delay_the_end_by_a_minute_at_most(trouble: Trouble) -> None:
    """The close leaves at once; "done" waits for the list, then says that it was not read."""

    async def story() -> None:
        bench = Bench(targets=ALL, stage=Stage.ALL_CLOSED)
        bench.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
        bench.venue.plan("fetch_orders", trouble)
        notes: list[str] = []
        began = bench.clock.monotonic()
        while True:
            report = await bench.drive()
            notes += report.notes if report else ()
            if report is not None and report.is_done:
                break
            await bench.clock.sleep(3)
        assert bench.venue.called("submit_close")[0].at - EPOCH <= 0.3
        assert 60 <= bench.clock.monotonic() - began <= 110
        assert "the open orders could not be read" in notes

    play(story)


def test_orders_that_become_readable_are_cancelled_before_the_end() -> None:
    """A list that comes late, or after a failure, still decides."""

    async def story() -> None:
        bench = Bench(targets=ALL, stage=Stage.ALL_CLOSED)
        bench.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
        bench.venue.plan("fetch_orders", Trouble.SLOW, seconds=6.0)
        await bench.finish()
        assert bench.exchange.account(KEY).orders == {}

    play(story)


def test_a_bot_that_orders_after_every_cancel_does_not_use_up_the_request_limit() -> None:
    """Rounds that get nowhere pause: some dozens of requests a minute, not thousands."""

    async def story() -> None:
        bench = Bench(targets=ALL[:1])

        def order_again(call: Any) -> None:
            if call.name == "submit_cancel":
                bench.bot_order("XRPUSDT", "SELL", type="LIMIT", quantity=100, price="0.6")

        bench.bot_order("XRPUSDT", "SELL", type="LIMIT", quantity=100, price="0.6")
        bench.venue.witness = order_again
        await bench.finish(within_s=120)
        assert len(bench.venue.calls) <= 200

    play(story)


def test_positions_that_waited_for_the_order_list_are_read_again() -> None:
    """A close is blocked and needs the list; meanwhile the bot closes 30 of 100: 20 go, not 50."""

    async def story() -> None:
        bench = Bench()
        take_profit = {"type": "LIMIT", "quantity": 100, "price": 50, "reduce_only": True}
        bench.bot_order("SOLUSDT", "BUY", **take_profit)
        bench.venue.plan("fetch_orders", Trouble.SLOW, seconds=2.0)
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, lambda: bench.bot_order("SOLUSDT", "BUY", quantity=30))
        await bench.finish()
        assert bench.held(SOL) == -50
        assert bench.closes()[0] == "SOLUSDT SHORT 50"


def test_closes_do_not_wait_for_the_list_of_orders_and_its_cancels_follow() -> None:
    """The list takes 1.5 s: the close has left long before, the cancel goes when it is there."""

    async def story() -> None:
        bench = Bench()
        bench.bot_order("XRPUSDT", "SELL", type="LIMIT", quantity=100, price="0.6")
        bench.venue.plan("fetch_orders", Trouble.SLOW, seconds=1.5, times=1)
        await bench.drive()
        close, cancel = bench.venue.called("submit")
        assert (close.name, cancel.name) == ("submit_close", "submit_cancel")
        assert close.at - EPOCH < 0.3
        assert 1.5 <= cancel.at - EPOCH < 2.0
        assert len(bench.venue.called("fetch_orders")) == 1

    play(story)


def test_the_list_of_orders_is_asked_for_at_most_every_two_seconds() -> None:
    """It costs 16 times a position read; a crash must leave room for the account's readings."""

    async def story() -> None:
        bench = Bench(targets=ALL)
        bench.venue.plan("submit_close", Trouble.REFUSE, times=12)
        await bench.finish()
        lists = [call.at for call in bench.venue.called("fetch_orders")]
        assert len(bench.venue.called("fetch_positions")) > len(lists)
        assert min(later - earlier for earlier, later in pairwise(lists)) >= 2.0 - 1e-6

    play(story)


# --- the operator's kill ----------------------------------------------------------------------


def killed(bench: Bench, *targets: CloseTarget) -> Incident:
    """The incident of a kill that takes the bench's own over."""
    return replace(
        bench.incident,
        incident_id=IncidentId("kill1"),
        stage=Stage.LOCKDOWN,
        targets=targets,
        rounds=0,
    )


async def take_over(bench: Bench, *, after_s: float) -> float:
    """Drive stage 1, kill after so many seconds; returns when after it the first close left."""
    rules = DriveRules(
        limits=await bench.venue.fetch_market_limits(), position_mode=PositionMode.ONE_WAY
    )
    current = [bench.incident]

    def is_current(incident: Incident) -> bool:
        return incident.incident_id == current[0].incident_id

    lower = asyncio.create_task(
        bench.executor.drive(bench.incident, rules=rules, is_current=is_current)
    )
    await bench.clock.sleep(after_s)
    current[0] = killed(bench, *ALL)
    began, sent = bench.clock.now(), len(bench.venue.called("submit_close"))
    await bench.executor.drive(current[0], rules=rules, is_current=is_current)
    await lower
    return bench.venue.called("submit_close")[sent].at - began


@pytest.mark.parametrize(
    ("trouble", "after_s"),
    [
        ("a pause", 0.5),
        ("a position read that hangs", 5.0),
        ("a store that hangs", 0.5),
        ("a close that hangs", 0.5),
    ],
)
def test_a_kill_waits_for_nothing_of_a_lower_stage_that_only_waits(
    trouble: str, after_s: float
) -> None:
    """Its own position read takes 0.05 s, look-ups of what was sent before hold it up for 0.3."""

    async def story() -> None:
        bench = Bench()
        match trouble:
            case "a pause":
                bench.venue.plan("submit_close", Trouble.REFUSE, times=2)
            case "a position read that hangs":
                bench.venue.plan("fetch_positions", Trouble.HANG, times=1)
            case "a store that hangs":
                bench.store_takes_s = 300.0
            case _:
                bench.venue.plan("submit_close", Trouble.HANG, times=1)
        assert await take_over(bench, after_s=after_s) <= 0.5
        bench.incident = killed(bench, *ALL)
        await bench.finish()
        assert bench.held(SOL) == bench.held(XRP) == 0

    play(story)


def test_a_kill_waits_for_no_write() -> None:
    """Neither for its intents nor for outcomes: the second round follows the first at once."""

    async def story() -> None:
        bench = Bench(store_takes_s=300.0)
        bench.incident = killed(bench, *ALL)
        bench.venue.plan("submit_close", Trouble.REFUSE, times=2)
        limits = bench.limits = await bench.venue.fetch_market_limits()
        assert limits
        began = bench.clock.now()
        await bench.drive()
        times = sorted({round(call.at - began, 2) for call in bench.venue.called("submit_close")})
        assert times[0] <= 0.2
        assert times[1] - times[0] <= 0.5

    play(story)


def test_a_kill_tells_once_of_what_it_finds_beside_its_targets() -> None:
    """XRP has no target: SOL is closed in the same round, and XRP keeps its stop until it has."""

    async def story() -> None:
        bench = Bench()
        bench.incident = killed(bench, ALL[0])
        bench.bot_order(
            "XRPUSDT", "BUY", type="STOP_MARKET", quantity=5000, trigger_price=1, reduce_only=True
        )
        report = await bench.drive()
        assert report is not None
        assert [position.symbol for position in report.found] == [XRP]
        assert bench.closes() == ["SOLUSDT SHORT 100"]
        again = await bench.drive()
        assert again is not None
        assert again.found == ()

    play(story)


def test_a_kill_tells_again_of_what_it_found_for_nobody() -> None:
    """A reading added a target in that round, so its report was of an older task and is lost."""

    async def story() -> None:
        bench = Bench()
        bench.incident = killed(bench, ALL[0])
        bench.venue.witness = lambda call: (
            setattr(bench, "is_current", False) if call.name == "submit_close" else None
        )
        assert await bench.drive() is None
        bench.is_current, bench.venue.witness = True, None
        report = await bench.drive()
        assert report is not None
        assert [position.symbol for position in report.found] == [XRP]

    play(story)


def test_a_kill_without_targets_takes_no_stop_from_what_it_finds() -> None:
    """Nothing was ever trusted: both positions are told of, and nothing is cancelled before."""

    async def story() -> None:
        bench = Bench()
        bench.incident = killed(bench)
        bench.bot_order(
            "XRPUSDT", "BUY", type="STOP_MARKET", quantity=5000, trigger_price=1, reduce_only=True
        )
        report = await bench.drive()
        assert report is not None
        assert {position.symbol for position in report.found} == {SOL, XRP}
        assert bench.venue.sent == []
        bench.incident = killed(bench, *ALL)
        await bench.finish()
        assert bench.held(SOL) == bench.held(XRP) == 0
        assert not bench.exchange.account(KEY).orders

    play(story)


def test_only_a_kill_looks_beside_its_targets() -> None:
    """Stage 3 leaves what appears to the next reading, which plans it."""

    async def story() -> None:
        bench = Bench(targets=ALL[:1], stage=Stage.ALL_CLOSED)
        report = await bench.drive()
        assert report is not None
        assert report.found == ()

    play(story)


# --- being interrupted ------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["find_order", "fetch_positions", "record"])
def test_nothing_is_sent_for_an_incident_that_was_ended_meanwhile(step: str) -> None:
    """Somebody resets between two steps of a round."""

    async def story() -> None:
        bench = Bench()
        if step == "record":
            bench.store_takes_s = 0.5
            asyncio.get_running_loop().call_later(0.4, setattr, bench, "is_current", False)
        else:
            bench.venue.witness = lambda call: (
                setattr(bench, "is_current", False) if call.name == "fetch_positions" else None
            )
        assert await bench.drive() is None
        assert bench.venue.sent == []
        assert all(
            isinstance(order.outcome, Refused)
            for order in bench.orders()[len(bench.orders()) // 2 :]
        )

    play(story)


def test_an_ended_incident_is_not_written_as_open_again() -> None:
    """Its last record says how it ended; a round in hand must not overwrite that."""

    async def story() -> None:
        bench = Bench()
        bench.venue.witness = lambda call: (
            setattr(bench, "is_current", False) if call.name == "fetch_positions" else None
        )
        await bench.drive()
        assert [records.incidents for records in bench.records] == []

    play(story)


def test_a_stop_lets_the_round_end_and_begins_no_other() -> None:
    """Also while it pauses between two rounds."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("submit_close", Trouble.REFUSE)
        asyncio.get_running_loop().call_later(0.2, bench.executor.finish)
        report = await bench.drive()
        assert report is not None
        assert bench.incident.rounds == 1
        assert bench.clock.monotonic() <= 0.3
        await bench.clock.sleep(60)
        await bench.drive()
        assert len(bench.closes()) == 1

    play(story)


def test_an_order_of_the_stage_that_is_taken_over_still_counts() -> None:
    """Stage 1's close of 50 lands late; stage 2 leaves 30: together they close 70, not 120."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("submit_close", Trouble.LATE, times=1, seconds=6.0)
        await bench.drive(within_s=1.0)
        bench.incident = replace(
            bench.incident,
            incident_id=IncidentId("test2"),
            stage=Stage.DOMINANT_CLOSED,
            targets=(target(1, SOL_SHORT, "30"),),
            rounds=0,
        )
        await bench.finish()
        assert bench.held(SOL) == -30

    play(story)


def test_an_order_of_an_earlier_run_counts_for_the_stage_that_takes_over_first() -> None:
    """The run before sent 50 and died; stage 2 acts before stage 1 was driven once in this one."""

    async def story() -> None:
        order = earlier_order(at=EPOCH)
        bench = Bench(earlier=(order,))
        request = {"symbol": SOL, "side": "BUY", "quantity": 50, "reduce_only": True}
        bench.incident = replace(
            bench.incident,
            incident_id=IncidentId("test2"),
            stage=Stage.DOMINANT_CLOSED,
            targets=(target(1, SOL_SHORT, "30"),),
            rounds=0,
        )
        await bench.drive(within_s=1.0)
        bench.exchange.place(KEY, order_request({**request, "client_id": order.client_id}))
        await bench.finish()
        assert bench.held(SOL) == -30

    play(story)


def test_an_order_of_the_stage_that_was_taken_over_before_a_kill_counts() -> None:
    """Stage 1 sent 50, stage 2 took over, the run died: all of 15 s is loaded, of this scope."""

    async def story() -> None:
        order = replace(earlier_order(at=EPOCH), incident_id=IncidentId("lower"))
        elsewhere = replace(order, scope=ScopeId("other"), client_id=ClientOrderId("ks-other"))
        bench = Bench(earlier=(order, elsewhere), targets=(target(1, SOL_SHORT, "30"),))
        request = {"symbol": SOL, "side": "BUY", "quantity": 50, "reduce_only": True}
        await bench.drive(within_s=1.0)
        assert EPOCH - 15 <= bench.loaded_since <= EPOCH - 14
        assert {call.about for call in bench.venue.called("find_order")} == {order.client_id}
        bench.exchange.place(KEY, order_request({**request, "client_id": order.client_id}))
        await bench.finish()
        assert bench.held(SOL) == -30

    play(story)


def test_a_drive_begins_no_round_after_its_time() -> None:
    """The account must be observed again, so that a higher stage can take over."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("fetch_positions", Trouble.SLOW, seconds=4.0)
        bench.venue.plan("submit_close", Trouble.REFUSE)
        began = bench.clock.monotonic()
        await bench.drive(within_s=5.0)
        assert bench.clock.monotonic() - began <= 10

    play(story)


def test_a_store_that_hangs_delays_the_incident_once() -> None:
    """After the first missed write it waits for no other, nor for the outcome's."""

    async def story() -> None:
        bench = Bench(targets=ALL, store_takes_s=300.0)
        bench.venue.plan("submit_close", Trouble.REFUSE, times=2)
        await bench.drive()
        times = sorted({round(call.at - EPOCH, 2) for call in bench.venue.called("submit_close")})
        assert times[0] <= 1.2
        assert times[1] - times[0] <= 0.5

    play(story)


def test_round_numbers_are_used_once_even_if_a_round_ends_in_a_fault() -> None:
    """Order ids come from them; an id used twice would hide what became of the first."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("submit_close", Trouble.REFUSE)
        for _ in range(3):
            incident = bench.incident
            await bench.drive()
            bench.incident = incident  # the report got lost
            await bench.clock.sleep(30)
        ids = [order.client_id for order in bench.orders() if order.outcome is None]
        assert len(ids) == len(set(ids)) >= 3

    play(story)


# --- after a restart --------------------------------------------------------------------------


def earlier_order(*, at: float, outcome: Any = None, round_number: int = 7) -> OrderRecord:
    """A close of SOL that an earlier run wrote down."""
    return OrderRecord(
        client_id=ClientOrderId(f"ks-test1-1-{round_number}-1"),
        incident_id=IncidentId("test1"),
        scope=SCOPE,
        key=SOL_SHORT,
        action=OrderAction.CLOSE,
        symbol="SOLUSDT",
        order_side="BUY",
        quantity=Decimal(50),
        round_number=round_number,
        created_at=at,
        dry_run=False,
        outcome=outcome,
    )


def test_an_order_of_an_earlier_run_without_outcome_is_waited_for() -> None:
    """It left 5 s before the crash and lands 5 s after the start: half remains."""

    async def story() -> None:
        bench = Bench(earlier=(earlier_order(at=EPOCH - 5),))
        entry = {
            "symbol": "SOLUSDT",
            "side": "BUY",
            "quantity": 50,
            "reduce_only": True,
            "client_id": "ks-test1-1-7-1",
        }
        place: Callable[[], object] = lambda: bench.exchange.place(KEY, order_request(entry))  # noqa: E731
        asyncio.get_running_loop().call_later(5, place)
        await bench.finish()
        assert bench.held(SOL) == -50
        assert bench.closes() == []

    play(story)


@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "looked up"])
def test_a_read_that_lags_after_a_restart_closes_nothing_twice(is_answered: bool) -> None:
    """Half was closed in the second before the crash, and positions are shown as of 2 s ago."""

    async def story() -> None:
        order = earlier_order(at=EPOCH)
        if is_answered:
            done = Done(order_id=VenueOrderId("1"), filled=Decimal(50))
            order = replace(order, outcome=done, answered_at=EPOCH)
        bench = Bench(earlier=(order,))
        entry = {"symbol": "SOLUSDT", "side": "BUY", "quantity": 50, "reduce_only": True}
        bench.exchange.place(KEY, order_request({**entry, "client_id": order.client_id}))
        await bench.clock.sleep(0.5)
        bench.venue.plan("fetch_positions", Trouble.STALE, seconds=2.0)
        await bench.finish()
        assert bench.held(SOL) == -50
        assert bench.closes() == []

    play(story)


@pytest.mark.parametrize(("opened_ago_s", "first"), [(0.0, 10), (10.0, 110), (-60.0, 10)])
def test_rounds_go_on_above_those_of_an_earlier_run(opened_ago_s: float, first: int) -> None:
    """7 were recorded; a run that waited for no write may have begun 2 + 10 a second beside them.

    An order sent under the id of another would be looked up as the other.
    """

    async def story() -> None:
        settled = earlier_order(at=EPOCH - 500, outcome=Done(order_id=VenueOrderId("1")))
        bench = Bench(earlier=(settled,))
        bench.incident = replace(bench.incident, opened_at=EPOCH - opened_ago_s)
        await bench.drive()
        assert bench.orders()[0].round_number == first

    play(story)


@pytest.mark.parametrize("takes_s", [0.0, 300.0])
def test_orders_of_an_earlier_run_that_cannot_be_read_stop_nothing(takes_s: float) -> None:
    """A database that fails or hangs costs a second; ids jump ahead so that none is used twice."""

    async def story() -> None:
        bench = Bench(earlier=StoreError("damaged"), store_takes_s=takes_s, targets=ALL)
        bench.incident = replace(bench.incident, opened_at=EPOCH - 300)
        await bench.drive()
        assert bench.held(SOL) == 0
        assert bench.orders()[0].round_number > 1200
        assert bench.venue.called("submit_close")[0].at - EPOCH <= 2.5

    play(story)


@pytest.mark.parametrize(
    "earlier", [{"earlier": StoreError("damaged")}, {"has_unknown_orders": True}]
)
def test_where_a_part_must_remain_orders_that_cannot_be_read_are_waited_out(
    earlier: dict[str, Any],
) -> None:
    """The run before may have sent 50 of 100 a moment ago: half is closed once, by whichever."""

    async def story() -> None:
        bench = Bench(**earlier)
        order = earlier_order(at=EPOCH)
        request = {"symbol": SOL, "side": "BUY", "quantity": 50, "reduce_only": True}
        await bench.drive()
        await bench.clock.sleep(3.0)
        bench.exchange.place(KEY, order_request({**request, "client_id": order.client_id}))
        await bench.finish()
        assert bench.held(SOL) == -50
        assert bench.closes() == []

    play(story)


@pytest.mark.parametrize(("started_s", "left"), [(14.0, -100), (16.0, -50)])
def test_what_is_in_no_record_is_waited_out_from_the_start(started_s: float, left: int) -> None:
    """An incident that opens when nothing of the run before can land any more waits for nothing."""

    async def story() -> None:
        bench = Bench(has_unknown_orders=True)
        await bench.clock.sleep(started_s)
        await bench.drive(within_s=1.0)
        assert bench.held(SOL) == left

    play(story)


@pytest.mark.parametrize("waits_s", [14.0, 20.0])
def test_they_are_waited_out_for_fifteen_seconds(waits_s: float) -> None:
    """Nothing lands later than that; then half is closed as ever."""

    async def story() -> None:
        bench = Bench(earlier=StoreError("damaged"))
        began = bench.clock.monotonic()
        while bench.clock.monotonic() - began < waits_s - 3.0:
            await bench.drive(within_s=1.0)
            await bench.clock.sleep(1.0)
        await bench.drive(within_s=1.0)
        assert bench.held(SOL) == (-50 if waits_s > 15 else -100)

    play(story)


# --- whatever goes wrong ----------------------------------------------------------------------

FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["submit_close", "fetch_positions", "fetch_orders", "find_order"]),
        st.sampled_from(
            [
                Trouble.UNAVAILABLE,
                Trouble.BUG,
                Trouble.LOST_BEFORE,
                Trouble.LOST_AFTER,
                Trouble.LATE,
                Trouble.REFUSE,
                Trouble.SLOW,
                Trouble.STALE,
            ]
        ),
        st.integers(1, 3),
        st.sampled_from([0.3, 2.0, 4.5]),
    ),
    max_size=6,
)


@example(
    # A stale read from before the fill, acted upon after it had waited for a slow order list.
    faults=[
        ("fetch_positions", Trouble.LOST_BEFORE, 2, 0.3),
        ("fetch_positions", Trouble.STALE, 1, 4.5),
        ("fetch_orders", Trouble.SLOW, 2, 2.0),
    ],
    mode="one_way",
    most=7,
)
@given(faults=FAULTS, mode=st.sampled_from(["one_way", "hedge"]), most=st.sampled_from([7, 1000]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_goes_wrong_exactly_the_target_remains(
    faults: list[tuple[str, Trouble, int, float]], mode: str, most: int
) -> None:
    """Lost, late, doubled, stale, refused in any mixture: nothing adds, nothing is too much."""
    leg = Leg.SHORT if mode == "hedge" else Leg.BOTH

    async def story() -> None:
        bench = Bench(
            targets=(target(1, SOL_SHORT, "50"), target(2, XRP_SHORT, "0", "5000")),
            seed={
                "position_mode": mode,
                "markets": [{"symbol": "SOLUSDT", "market_max": most}],
            },
        )
        for on, trouble, times, seconds in faults:
            bench.venue.plan(on, trouble, times=times, seconds=seconds)
        await bench.finish(within_s=400)
        await bench.clock.sleep(30)
        assert bench.held(SOL, leg) == -50
        assert bench.held(XRP, leg) == 0
        for fill in (entry for entry in bench.exchange.ledger if entry["event"] == "fill"):
            before = Decimal(str(fill["position_before"]))
            after = Decimal(str(fill["position_after"]))
            assert before < after <= 0

    play(story)
