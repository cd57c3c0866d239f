"""Entry orders under a halt, on a simulated account in virtual time: what goes, and what stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import pytest

from attempts import Unbroken
from entry_cancels import AT_ONCE, ROUNDS_APART_S, EntryCancels, HaltedScope
from logger import Logger
from memory import AuditEntry, OrderAction, OrderRecord, Records
from model import Done, Position, PositionMode, RefusalReason, ScopeId, Symbol, Unknown
from order_sender import SEND_DEADLINE_S
from recorder import Recorder
from simulator.exchange import Exchange
from simulator.markets import CATALOGUE
from simulator.seeds import apply_seed, order_request
from simulator.state import Cause
from simulator.virtual_time import LoopClock
from supervision import Supervisor
from tests.memory_venue import KEY, SCOPE, MemoryVenue, Trouble
from tests.virtual_house import EPOCH, Logbook, play
from troubles import Troubles

SHORT = ({"symbol": "SOLUSDT", "side": "SHORT", "quantity": 100, "entry_price": 100},)


class Shelf:
    """A store that keeps what is written, or hangs."""

    def __init__(self) -> None:
        self.kept: list[Records] = []

    async def commit(self, records: Records) -> None:
        """Keep it."""
        self.kept.append(records)


@dataclass(kw_only=True)
class Bench:
    """The cancelling of one account, and what its caller would tell of it."""

    seed: Mapping[str, Any] = field(default_factory=dict)
    mode: PositionMode = PositionMode.ONE_WAY
    untouchable: tuple[Symbol, ...] = ()
    last_trusted: tuple[Position, ...] | None = None
    is_asked: bool = True
    others: tuple[ScopeId, ...] = ()
    clock: LoopClock = field(default_factory=lambda: LoopClock(epoch=EPOCH))
    log: Logbook = field(default_factory=Logbook)
    shelf: Shelf = field(default_factory=Shelf)

    def __post_init__(self) -> None:
        self.exchange = Exchange(now=EPOCH, markets=list(CATALOGUE))
        content = {"api_key": KEY, "api_secret": "test-secret", "wallet": {"USDT": 10_000}}
        apply_seed(self.exchange, {**content, "positions": SHORT, **self.seed})
        self.exchange.set_prices({"XRPUSDT": Decimal("0.5")}, at=EPOCH)
        self.venue = MemoryVenue(exchange=self.exchange, clock=self.clock)
        log = cast("Logger", self.log)
        recorder = Recorder(
            self.shelf,
            on_trouble=lambda _why: None,
            on_recovery=lambda: None,
            on_loss=lambda _what: None,
            probe=lambda _why: Records(),
        )
        self.troubles = Troubles(clock=self.clock, log=log, dry_run=False)
        self.troubles.record = recorder.add
        self.cancels = EntryCancels(
            venues=dict.fromkeys((SCOPE, *self.others), self.venue),
            find_halted=self._find,
            unbroken=Unbroken(),
            supervisor=Supervisor(recorder=recorder, clock=self.clock, log=log, dry_run=False),
            recorder=recorder,
            troubles=self.troubles,
            clock=self.clock,
            log=log,
        )

    def _find(self, _scope: ScopeId) -> HaltedScope | None:
        if not self.is_asked:
            return None
        return HaltedScope(
            positions=self.last_trusted, position_mode=self.mode, untouchable=self.untouchable
        )

    def order(self, symbol: str, side: str, **order: Any) -> None:
        """An order of somebody else."""
        self.exchange.set_time(self.clock.now())
        entry = {"symbol": symbol, "side": side, **order}
        self.exchange.place(KEY, order_request(entry, cause=Cause.BOT))

    def resting(self) -> set[tuple[str, str]]:
        """What rests on the account: symbol and side."""
        return {
            (order.symbol, order.side.value) for order in self.exchange.account(KEY).orders.values()
        }

    async def round(self) -> None:
        """One round after the other, as ticks would begin them."""
        self.cancels.begin(SCOPE)
        await self.clock.sleep(ROUNDS_APART_S + SEND_DEADLINE_S)

    def orders(self) -> list[OrderRecord]:
        """What was written of cancels."""
        return [order for records in self.shelf.kept for order in records.orders]

    def audits(self, event: str) -> list[AuditEntry]:
        """The entries of one event."""
        every = (entry for records in self.shelf.kept for entry in records.audits)
        return [entry for entry in every if entry.event == event]


def test_what_could_open_goes_and_protection_stays() -> None:
    """Entries on a held symbol and on one without a position; a stop and a plain take-profit."""

    async def story() -> None:
        bench = Bench()
        bench.order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.order(
            "SOLUSDT",
            "BUY",
            type="STOP_MARKET",
            quantity=100,
            trigger_price=130,
            reduce_only=True,
        )
        bench.order("SOLUSDT", "BUY", type="LIMIT", quantity=40, price=80)
        await bench.round()
        assert bench.resting() == {("SOLUSDT", "BUY")}
        assert len(bench.exchange.account(KEY).orders) == 2
        (told,) = bench.audits("entry_orders_cancelled")
        assert told.message == "2 of 2 entry orders cancelled: SOLUSDT, XRPUSDT"
        first, _, *answered = bench.orders()
        assert (first.action, first.outcome) == (OrderAction.CANCEL, None)
        assert first.incident_id.startswith("halt")
        assert all(isinstance(record.outcome, Done) for record in answered)

    play(story)


def test_plain_closing_orders_that_together_could_open_the_other_side_go() -> None:
    """100 are short; two plain buys of 60 would leave 20 long."""

    async def story() -> None:
        bench = Bench()
        for price in (80, 81):
            bench.order("SOLUSDT", "BUY", type="LIMIT", quantity=60, price=price)
        await bench.round()
        assert bench.resting() == set()

    play(story)


def test_symbols_that_must_not_be_touched_keep_their_entry_orders() -> None:
    """The operator has taken them out of the guard's hands."""

    async def story() -> None:
        bench = Bench(untouchable=(Symbol("XRPUSDT"),))
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        await bench.round()
        assert bench.venue.sent == []

    play(story)


@pytest.mark.parametrize(("is_known", "stays"), [(True, True), (False, False)])
def test_a_failed_position_read_takes_no_protection_away(*, is_known: bool, stays: bool) -> None:
    """What was last trusted says what a plain order closes; without that it counts as entry."""

    async def story() -> None:
        bench = Bench()
        if is_known:
            bench.last_trusted = await bench.venue.fetch_positions(SCOPE)
        bench.order("SOLUSDT", "BUY", type="LIMIT", quantity=40, price=80)
        bench.venue.plan("fetch_positions", Trouble.UNAVAILABLE)
        await bench.round()
        assert (bench.resting() == {("SOLUSDT", "BUY")}) is stays

    play(story)


def test_the_stop_of_a_position_that_came_while_the_orders_were_listed_stays() -> None:
    """A bot's entry is filled and protected within a second: what it protects is read after it."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("fetch_orders", Trouble.SLOW, times=1, seconds=1.0)
        bench.cancels.begin(SCOPE)
        await bench.clock.sleep(0.5)
        bench.order("XRPUSDT", "BUY", type="MARKET", quantity=100)
        bench.order("XRPUSDT", "SELL", type="STOP_MARKET", quantity=100, trigger_price="0.4")
        await bench.clock.sleep(5.0)
        assert bench.resting() == {("XRPUSDT", "SELL")}

    play(story)


def test_orders_that_appear_later_go_with_a_later_round() -> None:
    """A bot that does not obey places one order after the other."""

    async def story() -> None:
        bench = Bench()
        for _ in range(3):
            bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
            await bench.round()
            assert bench.resting() == set()
        assert len({record.client_id for record in bench.orders()}) == 3

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.REFUSE, Trouble.LOST_BEFORE, Trouble.HANG])
def test_a_cancel_that_failed_is_told_and_tried_again_with_the_next_round(
    trouble: Trouble,
) -> None:
    """Refused, lost or never answered: the order is still listed, so it is cancelled again."""

    async def story() -> None:
        bench = Bench()
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.venue.plan("submit_cancel", trouble, times=1, reason=RefusalReason.OTHER)
        await bench.round()
        assert bench.resting() == {("XRPUSDT", "BUY")}
        (told,) = bench.audits("entry_orders_trouble")
        assert told.message == "not cancelled: XRPUSDT"
        assert bench.troubles.details()
        await bench.round()
        assert bench.resting() == set()
        assert bench.troubles.details() == {}

    play(story)


def test_an_answer_that_was_lost_of_a_cancel_that_arrived_is_settled_by_the_next_list() -> None:
    """The order is not listed any more: nothing is left to be cancelled, and nothing in trouble."""

    async def story() -> None:
        bench = Bench()
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.venue.plan("submit_cancel", Trouble.LOST_AFTER, times=1)
        await bench.round()
        assert isinstance(bench.orders()[-1].outcome, Unknown)
        await bench.round()
        assert bench.troubles.details() == {}
        assert len(bench.venue.sent) == 1

    play(story)


def test_a_list_that_fails_is_told_and_asked_for_again() -> None:
    """A halt that cannot cancel must not look like one that has nothing to cancel."""

    async def story() -> None:
        bench = Bench()
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.venue.plan("fetch_orders", Trouble.MALFORMED, times=1)
        await bench.round()
        (told,) = bench.audits("entry_orders_trouble")
        assert told.message.startswith("cannot be listed: ")
        await bench.round()
        assert bench.resting() == set()
        assert bench.audits("entry_orders_recovered")

    play(story)


def test_the_pause_that_a_venue_asks_for_is_kept() -> None:
    """Thirty seconds: no list is asked for before."""

    async def story() -> None:
        bench = Bench()
        bench.venue.plan("fetch_orders", Trouble.UNAVAILABLE, times=1, seconds=30.0)
        for _ in range(4):
            await bench.round()
        asked = [call.at - EPOCH for call in bench.venue.called("fetch_orders")]
        assert asked[0] < 1
        assert asked[1] >= 30

    play(story)


def test_nothing_is_sent_once_an_incident_is_open_or_the_halt_is_over() -> None:
    """It was asked for when the list was asked for, and is not any more when the list comes."""

    async def story() -> None:
        bench = Bench()
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.venue.witness = lambda call: (
            setattr(bench, "is_asked", False) if call.name == "fetch_orders" else None
        )
        await bench.round()
        assert bench.venue.sent == []
        bench.venue.witness = None
        await bench.round()
        assert len(bench.venue.called("fetch_orders")) == 1

    play(story)


def test_rounds_of_one_account_neither_overlap_nor_follow_each_other_at_once() -> None:
    """A tick every second begins one in five; a halt that begins anew begins one at once."""

    async def story() -> None:
        bench = Bench()
        for _ in range(10):
            bench.cancels.begin(SCOPE)
            await bench.clock.sleep(1.0)
        assert len(bench.venue.called("fetch_orders")) == 2
        bench.cancels.begin(SCOPE)
        await bench.clock.sleep(1.0)
        bench.cancels.follow(is_asked=True)
        bench.cancels.follow(is_asked=True)
        await bench.clock.sleep(1.0)
        assert len(bench.venue.called("fetch_orders")) == 4
        bench.venue.plan("fetch_orders", Trouble.HANG)
        for _ in range(9):
            bench.cancels.follow(is_asked=False)
            bench.cancels.follow(is_asked=True)
            await bench.clock.sleep(1.0)
        assert len(bench.venue.called("fetch_orders")) == 5

    play(story)


def test_many_accounts_of_one_exchange_list_their_orders_no_more_often_than_one() -> None:
    """Twelve rounds a minute: 12 x 80 of the 2,400 that Binance gives an address for everything.

    More would keep the readings of the accounts waiting, and a guard that halts would be blind.
    """

    async def story() -> None:
        others = tuple(ScopeId(f"binance_{number}") for number in range(5))
        bench = Bench(others=others)
        bench.cancels.follow(is_asked=True)
        await bench.clock.sleep(1.0)
        assert len(bench.venue.called("fetch_orders")) == 6
        for _ in range(40):
            for scope in (SCOPE, *others):
                bench.cancels.begin(scope)
            await bench.clock.sleep(3.0)
        assert 18 <= len(bench.venue.called("fetch_orders")) - 6 <= 24

    play(story)


def test_a_cancel_that_is_refused_again_and_again_becomes_rare_and_holds_up_no_other() -> None:
    """An order that the venue will not let go of: 720 cancels an hour would be records for ever."""

    async def story() -> None:
        bench = Bench()
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.venue.plan("submit_cancel", Trouble.REFUSE, symbol="XRPUSDT")
        for _ in range(720):
            bench.cancels.begin(SCOPE)
            await bench.clock.sleep(5.0)
        assert 12 <= len(bench.venue.sent) <= 20
        assert bench.troubles.details()
        bench.order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
        await bench.round()
        assert bench.resting() == {("XRPUSDT", "BUY")}
        bench.venue.calm()
        for _ in range(62):
            bench.cancels.begin(SCOPE)
            await bench.clock.sleep(5.0)
        assert bench.resting() == set()
        assert bench.troubles.details() == {}

    play(story)


def test_cancels_that_the_limits_held_back_follow_with_the_next_round() -> None:
    """Of a thousand orders some have no room in the first second; nothing is wrong with them."""

    async def story() -> None:
        bench = Bench()
        bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100, price="0.2")
        bench.venue.plan(
            "submit_cancel", Trouble.REFUSE, times=5, reason=RefusalReason.RATE_LIMITED
        )
        for _ in range(6):
            bench.cancels.begin(SCOPE)
            await bench.clock.sleep(ROUNDS_APART_S)
        assert bench.resting() == set()

    play(story)


def test_a_kill_waits_behind_no_more_than_fifty_cancels() -> None:
    """All requests of an account share a hundred connections: of 120 orders the rest is left."""

    async def story() -> None:
        bench = Bench()
        for number in range(120):
            bench.order("XRPUSDT", "BUY", type="LIMIT", quantity=100 + number, price="0.2")
        bench.venue.witness = lambda call: (
            setattr(bench, "is_asked", False) if call.name == "submit_cancel" else None
        )
        await bench.round()
        assert len(bench.venue.sent) == AT_ONCE == 50
        bench.is_asked, bench.venue.witness = True, None
        await bench.round()
        assert bench.resting() == set()
        first, second = bench.audits("entry_orders_cancelled")
        assert first.message.startswith("50 of 120 ")
        assert second.message.startswith("70 of 70 ")
        assert len({record.client_id for record in bench.orders()}) == 120

    play(story)
