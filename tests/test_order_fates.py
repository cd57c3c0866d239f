"""What an answer, a silence or a look-up teaches the next round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import cast

import pytest

from logger import Logger
from memory import OrderAction, OrderRecord
from model import (
    ClientOrderId,
    Done,
    IncidentId,
    Outcome,
    PositionMode,
    RefusalReason,
    Refused,
    RowKey,
    Side,
    Symbol,
    Unknown,
    VenueOrderId,
)
from order_fates import LOOK_UP_AFTER_S, SHOWS_WITHIN_S, OrderFates
from order_safety import Sold
from simulator.exchange import Exchange
from simulator.seeds import apply_seed, order_request
from simulator.virtual_time import LoopClock
from tests.memory_venue import KEY, SCOPE, MemoryVenue, Trouble
from tests.virtual_house import EPOCH, Logbook, play

ROW = RowKey(SCOPE, Symbol("SOLUSDT"), Side.SHORT)
OTHER = RowKey(SCOPE, Symbol("DOGEUSDT"), Side.SHORT)
LOST = Unknown(cause="no answer")
LANDS_WITHIN_S = MemoryVenue.lands_within_s


class Case:
    """Fates over an account that never had our orders."""

    def __init__(self) -> None:
        self.clock = LoopClock(epoch=EPOCH)
        exchange = Exchange(now=EPOCH)
        apply_seed(exchange, {"api_key": KEY, "api_secret": "test-secret", "wallet": {"USDT": 1}})
        self.venue = MemoryVenue(exchange=exchange, clock=self.clock, latency_s=0.0)
        self.fates = self.fresh()
        self.learnt: list[OrderRecord] = []

    def fresh(self) -> OrderFates:
        """The fates of another incident."""
        return OrderFates(
            scope=SCOPE,
            venue=self.venue,
            clock=self.clock,
            log=cast("Logger", Logbook()),
            position_mode=PositionMode.ONE_WAY,
        )

    async def send(
        self, *outcomes: Outcome, held: str = "10", key: RowKey = ROW, round_number: int = 1
    ) -> float:
        """Send one close of 5 for each outcome and learn it; returns the pause asked for."""
        records = tuple(
            replace(close(number, key=key), round_number=round_number)
            for number in range(len(outcomes))
        )
        self.fates.sending(records, {key: Decimal(held)})
        return await self.fates.learn(
            tuple(
                replace(record, outcome=outcome)
                for record, outcome in zip(records, outcomes, strict=True)
            )
        )

    async def look(self) -> float:
        """Look up when the next order is due; returns that monotonic time."""
        due_at = self.fates.next_look_up_at
        await self.clock.sleep(due_at - self.clock.monotonic())
        self.learnt += await self.fates.look_up()
        return due_at

    def in_flight(self, held: str = "10", *, partly: bool = True) -> Mapping[RowKey, Decimal]:
        """What must not be sent, for a position read of that size."""
        rows = (ROW,) if partly else ()
        learnt = self.fates.answers(
            {ROW: Decimal(held)}, asked_at=self.clock.monotonic(), must_partly_remain=rows
        )
        return learnt.in_flight


def close(
    number: int = 0, *, quantity: str = "5", key: RowKey = ROW, outcome: Outcome | None = None
) -> OrderRecord:
    """A close of ours."""
    return OrderRecord(
        client_id=ClientOrderId(f"ks-a-{len(key.symbol) % 2}-1-{number}"),
        incident_id=IncidentId("a"),
        scope=SCOPE,
        key=key,
        action=OrderAction.CLOSE,
        symbol=key.symbol,
        order_side="BUY",
        quantity=Decimal(quantity),
        round_number=1,
        created_at=EPOCH,
        dry_run=False,
        outcome=outcome,
    )


def done(filled: str | None = "5") -> Done:
    """An accepted order."""
    return Done(order_id=VenueOrderId("1"), filled=None if filled is None else Decimal(filled))


def refused(reason: RefusalReason, *, pause_s: float | None = None) -> Refused:
    """A refusal."""
    return Refused(reason=reason, code="test", retry_after_s=pause_s)


@pytest.mark.parametrize(
    ("age_s", "left_s"),
    [(0.0, 5.0), (4.0, 1.0), (6.0, 0.0), (-3_600.0, 5.0)],  # the clock was set back meanwhile
)
def test_a_pause_counts_from_the_answer_that_asked_for_it(age_s: float, left_s: float) -> None:
    """An answer that is taken in late asks for what is left of its 5 s."""

    async def story() -> None:
        case = Case()
        case.fates.sending((close(),), {ROW: Decimal(10)})
        told = close(outcome=refused(RefusalReason.RATE_LIMITED, pause_s=5.0))
        late = replace(told, answered_at=case.clock.now() - age_s)
        assert await case.fates.learn((late,)) == left_s

    play(story)


def test_an_order_counts_as_in_flight_from_before_it_is_sent() -> None:
    """Whatever happens between sending and learning, it is not sent again."""

    async def story() -> None:
        case = Case()
        case.fates.sending((close(),), {ROW: Decimal(10)})
        assert case.in_flight() == {ROW: 5}
        assert case.fates.is_waiting

    play(story)


@pytest.mark.parametrize(
    ("outcome", "held", "pending"),
    [
        (done("5"), "5", None),  # 10 - 5 shows: nothing is missing
        (done("5"), "10", 5),  # the read lags: 5 were executed and do not show
        (done("5"), "8", 3),  # 2 of them show
        (done("5"), "20", 5),  # a bot added 10: no more than was executed may be missing
        (done("2"), "8", None),  # a thin book filled 2
        (done(None), "10", 5),  # accepted, fill not told: all of it may have been executed
        (done("0"), "10", None),  # nothing was executed
        (refused(RefusalReason.OTHER), "10", None),
        (refused(RefusalReason.DUPLICATE_ID), "10", 5),  # an earlier request landed
        (LOST, "10", 5),
    ],
)
def test_what_must_not_be_sent_again_where_a_part_remains(
    outcome: Outcome, held: str, pending: int | None
) -> None:
    """A close of 5 from 10, its outcome, the next position read, and what it may not close."""

    async def story() -> None:
        case = Case()
        await case.send(outcome)
        assert case.in_flight(held) == ({} if pending is None else {ROW: pending})

    play(story)


def test_a_read_that_still_does_not_show_it_after_seconds_is_believed() -> None:
    """Then somebody has added to the position, and the excess is real."""

    async def story() -> None:
        case = Case()
        await case.send(done("5"))
        await case.clock.sleep(SHOWS_WITHIN_S - 0.1)
        assert case.in_flight("10") == {ROW: 5}
        asked_at = case.clock.monotonic()
        await case.clock.sleep(0.2)
        assert case.in_flight("10") == {}
        # What counts is when it was asked for, not when it is acted upon.
        late = case.fates.answers({ROW: Decimal(10)}, asked_at=asked_at, must_partly_remain=(ROW,))
        assert late.in_flight == {ROW: 5}

    play(story)


def test_the_parts_of_one_round_add_up() -> None:
    """Two orders of 5 from 20: 10 must show."""

    async def story() -> None:
        case = Case()
        await case.send(done("5"), done("5"), held="20")
        assert case.in_flight("20") == {ROW: 10}
        assert case.in_flight("15") == {ROW: 5}
        assert case.in_flight("10") == {}

    play(story)


def test_rounds_that_follow_while_reads_lag_add_up() -> None:
    """3 of 5 filled (seen), then 2 more: a read of 7 still misses the 2."""

    async def story() -> None:
        case = Case()
        await case.send(done("3"))
        await case.send(done("2"), held="7")
        assert case.in_flight("7") == {ROW: 2}
        assert case.in_flight("5") == {}

    play(story)


def test_where_everything_goes_a_lagging_read_withholds_something_for_250_ms_only() -> None:
    """At once it would be refused and use up the order limit; later it may be a new position."""

    async def story() -> None:
        case = Case()
        await case.send(done("5"))
        assert case.in_flight("10", partly=False) == {ROW: 5}
        await case.clock.sleep(0.25)
        assert case.in_flight("10", partly=False) == {}

    play(story)


def test_an_unknown_order_is_sent_again_after_three_vain_look_ups_where_everything_goes() -> None:
    """And only when it can no longer land where a part must remain."""

    async def story() -> None:
        case = Case()
        await case.send(LOST)
        for _ in LOOK_UP_AFTER_S:
            assert case.in_flight(partly=False) == {ROW: 5}
            await case.look()
        assert case.in_flight(partly=False) == {}
        assert case.in_flight(partly=True) == {ROW: 5}
        await case.clock.sleep(LANDS_WITHIN_S)
        await case.fates.look_up()
        assert case.in_flight(partly=True) == {}
        assert not case.fates.is_waiting

    play(story)


def test_it_is_asked_once_more_after_it_can_no_longer_land() -> None:
    """It may have landed in the last moment."""

    async def story() -> None:
        case = Case()
        await case.send(LOST)
        await case.clock.sleep(LANDS_WITHIN_S + 1)
        asked = len(case.venue.called("find_order"))
        await case.fates.look_up()
        assert len(case.venue.called("find_order")) == asked + 1
        assert case.fates.is_waiting

    play(story)


def test_an_order_that_is_found_at_work_may_still_be_executed_whole() -> None:
    """The look-up finds it with nothing filled yet: all of it is missing until a read shows it."""

    async def story() -> None:
        case = Case()
        case.venue.exchange.set_prices({"SOLUSDT": 100})
        entry = {"symbol": "SOLUSDT", "side": "BUY", "type": "LIMIT", "price": 1, "quantity": 5}
        account = case.venue.exchange.account(KEY)
        account.wallet["USDT"] = Decimal(1000)
        request = order_request({**entry, "client_id": close().client_id})
        case.venue.exchange.place(KEY, request)
        await case.send(LOST)
        await case.look()
        assert not case.fates.is_waiting
        assert case.in_flight("10") == {ROW: 5}
        assert case.in_flight("5") == {}

    play(story)


@pytest.mark.parametrize(
    ("kind", "filled"), [({"type": "MARKET"}, "5"), ({"type": "LIMIT", "price": 1}, None)]
)
def test_what_a_look_up_finds_is_to_be_recorded(
    kind: dict[str, object], filled: str | None
) -> None:
    """With its quantity only where it is final: one at work may still be executed whole."""

    async def story() -> None:
        case = Case()
        case.venue.exchange.set_prices({"SOLUSDT": 100})
        case.venue.exchange.account(KEY).wallet["USDT"] = Decimal(1000)
        entry = {"symbol": "SOLUSDT", "side": "BUY", "quantity": 5, **kind}
        request = order_request({**entry, "client_id": close().client_id})
        case.venue.exchange.place(KEY, request)
        case.fates.recall((close(),))
        await case.look()
        (found,) = case.learnt
        assert isinstance(found.outcome, Done)
        assert found.outcome.filled == (None if filled is None else Decimal(filled))
        assert found == replace(close(outcome=found.outcome), answered_at=case.clock.now())

    play(story)


@pytest.mark.parametrize("known", [None, LOST])
def test_an_order_that_never_arrived_is_recorded_as_unknown_once(known: Outcome | None) -> None:
    """What the run that sent it knew of it says more, where there is anything."""

    async def story() -> None:
        case = Case()
        await case.clock.sleep(LANDS_WITHIN_S)
        case.fates.recall((close(outcome=known),))
        for _ in LOOK_UP_AFTER_S:
            await case.look()
        assert not case.fates.is_waiting
        causes = [one.outcome.cause for one in case.learnt if isinstance(one.outcome, Unknown)]
        never = "sent by an earlier run; the venue knows no such order"
        assert causes == ([never] if known is None else [])

    play(story)


def test_a_silence_of_this_run_is_not_recorded_over() -> None:
    """Its own words say what went wrong; only a proof replaces them."""

    async def story() -> None:
        case = Case()
        await case.send(LOST)
        await case.clock.sleep(LANDS_WITHIN_S)
        for _ in LOOK_UP_AFTER_S:
            await case.look()
        assert case.learnt == []
        assert not case.fates.is_waiting

    play(story)


def test_an_order_without_an_answer_is_looked_up_after_100_300_and_900_ms() -> None:
    """From the loss of the answer on, however often a round asks; later every 0.9 s."""

    async def story() -> None:
        case = Case()
        await case.clock.sleep(50.0)
        await case.send(LOST)
        await case.fates.look_up()
        assert case.venue.called("find_order") == []
        times = [await case.look() for _ in range(5)]
        assert times == pytest.approx([50.1, 50.3, 50.9, 51.8, 52.7])
        assert len(case.venue.called("find_order")) == 5

    play(story)


def test_an_order_whose_answer_may_still_come_is_looked_up_without_counting() -> None:
    """It is at work perhaps: "no such order" proves nothing before its answer is lost."""

    async def story() -> None:
        case = Case()
        case.fates.sending((close(),), {ROW: Decimal(10)})
        for _ in range(6):
            await case.look()
            assert case.in_flight(partly=False) == {ROW: 5}
        await case.fates.learn((close(outcome=LOST),))
        for _ in LOOK_UP_AFTER_S:
            assert case.in_flight(partly=False) == {ROW: 5}
            await case.look()
        assert case.in_flight(partly=False) == {}

    play(story)


@pytest.mark.parametrize("partly", [False, True])
def test_an_answer_that_was_mislaid_holds_its_row_up_for_seconds_only(partly: bool) -> None:
    """A fault came between an answer and what it was to teach: nobody will bring it again."""

    async def story() -> None:
        case = Case()
        case.fates.sending((close(),), {ROW: Decimal(10)})
        while case.in_flight(partly=partly):
            assert case.clock.now() - EPOCH <= LANDS_WITHIN_S + 3
            await case.look()
        assert case.clock.now() - EPOCH > LANDS_WITHIN_S

    play(story)


def test_a_look_up_that_hangs_holds_a_round_up_for_300_ms_and_still_counts() -> None:
    """Its answer is learnt when the next round begins, which asks for the second time."""

    async def story() -> None:
        case = Case()
        case.venue.plan("find_order", Trouble.SLOW, seconds=1.0, times=1)
        await case.send(LOST)
        due_at = await case.look()
        assert case.clock.monotonic() - due_at == pytest.approx(0.3)
        await case.clock.sleep(1.0)
        await case.fates.look_up()
        at = [call.at - EPOCH for call in case.venue.called("find_order")]
        assert at == pytest.approx([due_at, due_at + 1.3], abs=1e-5)

    play(story)


def test_refusals_teach_sizes_and_what_stands_in_the_way() -> None:
    """The smallest too large, the largest too small; what blocked holds for one round."""

    async def story() -> None:
        case = Case()
        pause_s = await case.send(
            refused(RefusalReason.TOO_LARGE),
            refused(RefusalReason.TOO_SMALL),
            refused(RefusalReason.RESTING_ORDER_IN_THE_WAY, pause_s=3.0),
            refused(RefusalReason.RATE_LIMITED, pause_s=7.0),
        )
        learnt = case.fates.answers({}, asked_at=0.0, must_partly_remain=())
        assert pause_s == 7.0
        assert learnt.too_large == {ROW: 5}
        assert learnt.too_small == {ROW: 5}
        assert learnt.blocked == (ROW,)
        await case.send(done())
        assert case.fates.answers({}, asked_at=0.0, must_partly_remain=()).blocked == ()

    play(story)


def test_nothing_left_to_reduce_twice_in_a_row_means_an_order_in_the_way() -> None:
    """Of two parts of one round nothing is learnt; an execution between two refusals counts."""

    async def story() -> None:
        case = Case()
        nothing = refused(RefusalReason.NOTHING_TO_REDUCE)
        rounds: tuple[tuple[Outcome, ...], ...] = (
            (nothing, nothing),
            (nothing,),
            (done(),),
            (nothing,),
            (nothing,),
        )
        blocked = []
        for number, outcomes in enumerate(rounds, start=1):
            await case.send(*outcomes, round_number=number)
            learnt = case.fates.answers({}, asked_at=0.0, must_partly_remain=())
            blocked.append(learnt.blocked)
        assert blocked == [(), (ROW,), (), (), (ROW,)]

    play(story)


def test_a_wrong_position_mode_is_asked_for_once_and_kept_if_that_fails() -> None:
    """Two refusals of one round cost one question."""

    async def story() -> None:
        case = Case()
        case.venue.plan("fetch_position_mode", Trouble.UNAVAILABLE, times=1)
        wrong = refused(RefusalReason.WRONG_POSITION_MODE)
        case.fates.position_mode = PositionMode.HEDGE
        modes = []
        for _ in range(2):
            await case.send(wrong, wrong)
            modes.append(case.fates.position_mode)
        assert modes == [PositionMode.HEDGE, PositionMode.ONE_WAY]
        assert len(case.venue.called("fetch_position_mode")) == 2

    play(story)


def test_the_incident_that_takes_over_inherits_what_is_under_way() -> None:
    """Orders of the lower stage may still land, or not show yet."""

    async def story() -> None:
        case = Case()
        await case.send(LOST)
        await case.send(done("5"), key=OTHER)
        heir = case.fresh()
        heir.inherit(case.fates)
        held = {ROW: Decimal(10), OTHER: Decimal(10)}
        learnt = heir.answers(held, asked_at=0.0, must_partly_remain=(ROW, OTHER))
        assert learnt.in_flight == {ROW: 5, OTHER: 5}

    play(story)


@pytest.mark.parametrize(
    ("answered_ago_s", "waits_s"), [(0.0, 5.0), (3.0, 2.0), (5.0, 0.0), (-60.0, 5.0)]
)
def test_what_an_earlier_run_executed_just_now_need_not_show_yet(
    answered_ago_s: float, waits_s: float
) -> None:
    """Nobody knows what it was sent from, so 5 s must pass; a clock set back waits no longer."""

    async def story() -> None:
        case = Case()
        order = replace(close(outcome=done()), answered_at=EPOCH - answered_ago_s)
        case.fates.recall((order,))
        assert not case.fates.is_waiting
        for after_s, in_flight in ((waits_s - 0.1, {ROW: 5}), (0.2, {})):
            if after_s > 0:
                await case.clock.sleep(after_s)
                assert case.in_flight("10") == in_flight

    play(story)


def test_a_duplicate_id_of_an_earlier_run_is_taken_up() -> None:
    """It proves that a request under this id had landed: a part that must remain would go too."""

    async def story() -> None:
        case = Case()
        case.fates.recall((close(outcome=refused(RefusalReason.DUPLICATE_ID)),))
        assert case.in_flight() == {ROW: 5}

    play(story)


def test_what_an_earlier_run_left_unanswered_is_taken_up() -> None:
    """Not what was answered, and only until it can no longer land."""

    async def story() -> None:
        case = Case()
        await case.clock.sleep(10)  # the records are 10 s old
        case.fates.recall(
            (
                close(0),
                close(1, outcome=LOST),
                close(2, outcome=done()),
                close(3, outcome=refused(RefusalReason.OTHER)),
                replace(close(4), action=OrderAction.CANCEL, key=None),
            )
        )
        assert case.in_flight() == {ROW: 10}
        await case.clock.sleep(LANDS_WITHIN_S - 10)
        for _ in LOOK_UP_AFTER_S:
            await case.look()
        assert case.in_flight() == {}

    play(story)


def sold(case: Case) -> Mapping[RowKey, Sold | None] | None:
    """What the sales of an incident came to, as the next round gets it."""
    learnt = case.fates.answers({}, asked_at=case.clock.monotonic(), must_partly_remain=())
    return learnt.sold


def brought(filled: str, amount: str | None) -> Done:
    """A sale with what it brought."""
    return replace(done(filled), brought=None if amount is None else Decimal(amount))


def test_what_sales_brought_is_added_up_and_taken_over() -> None:
    """3 and 2 brought 0.3 and 0.2; the incident of a higher stage goes on from there."""

    async def story() -> None:
        case = Case()
        assert sold(case) == {}
        await case.send(brought("3", "0.3"), brought("2", "0.2"))
        expected = {ROW: Sold(quantity=Decimal(5), brought=Decimal("0.5"))}
        assert sold(case) == expected
        earlier, case.fates = case.fates, case.fresh()
        case.fates.inherit(earlier)
        assert sold(case) == expected

    play(story)


@pytest.mark.parametrize("untold", [brought("2", None), done(None), LOST])
def test_one_sale_that_does_not_tell_spoils_the_sum(untold: Outcome) -> None:
    """Half of the sum would keep proceeds back; a sale under way is not told either."""

    async def story() -> None:
        case = Case()
        await case.send(brought("3", "0.3"), untold)
        assert sold(case) == {ROW: None}

    play(story)


@pytest.mark.parametrize("is_read", [True, False])
def test_what_an_earlier_run_sold_is_not_known(is_read: bool) -> None:
    """Its records do not hold what its sales brought, whether they can be read or not."""

    async def story() -> None:
        case = Case()
        if is_read:
            case.fates.recall(())
        else:
            case.fates.miss()
        await case.send(brought("3", "0.3"))
        assert sold(case) is None
        earlier, case.fates = case.fates, case.fresh()
        case.fates.inherit(earlier)
        assert sold(case) is None

    play(story)
