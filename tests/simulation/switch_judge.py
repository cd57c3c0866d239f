"""Holds the guard to the operator's switch, from the lock on disk and the exchange's own books."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from decision import Decision
from memory import IncidentStatus, Memory, Records
from model import OrderKind, PositionMode, Stage
from simulator.exchange import Exchange
from simulator.state import ExchangeOrder, Leg
from switch_model import RedisSeen, RedisValue, RedisWrite, SwitchState
from tests.memory_venue import KEY
from tests.other_conventions import BITGET_UNIFIED
from tests.simulation import invariants
from tests.simulation.coins import symbol_of
from tests.simulation.draw import Story
from tests.simulation.two_stores import HALT, KILL, RUNNING, TwoStores, more_severe
from tests.virtual_house import BOOK

SHOWN_WITHIN_S = 2.0
"""From a look that shows something more severe to the lock that says so, and to LOCKDOWN."""
LOOKED_AT_WITHIN_S = 6.0
"""A look at Redis takes 5 s at most."""
RECALLED_WITHIN_S = 4.0
"""What a command sets while a run on a bad disk starts, its first look finds: it has recalled the
switch by then, and waits up to twice 2 s for the disk."""
SLOW_START_S = 3.0
"""So much later a run on a bad disk looks again after its first look: it writes what it begins
with before that, the lock, the record and maybe a kill."""
KILLED_WITHIN_S = 1.0
"""From a look that shows a kill to the first close, beside what the venue takes to answer."""
UNDISTURBED_S = 40.0
"""After the last fault: a venue that asked for a pause of 30 s is asked again."""
GOES_WITHIN_S = 12.0
"""Beside a tick: rounds are 5 s apart, and a list and a cancel take their time."""
ON_THE_WAY_S = 3.0
"""A cancel that was asked for may leave so long after the switch asks for none any more."""

Query = Callable[..., list[tuple[Any, ...]]]


@dataclass(kw_only=True)
class SwitchJudge:
    """What is known of the switch in one story. `hold` is told what is wrong, `met` what was met.

    `had_trouble` says whether the story has planned faults of a kind since a time.
    """

    story: Story
    exchange: Exchange
    now_s: Callable[[], float]
    hold: Callable[[int, str], None]
    query: Query
    memory: Callable[[], Memory | None]
    lock: Callable[[], dict[str, Any] | None]
    had_trouble: Callable[..., bool]
    met: Callable[[SwitchState], None]
    stores: TwoStores = field(init=False)
    has_redis: bool = field(init=False)
    is_locked: bool = False
    was_killed: bool = False
    last_effective: SwitchState = RUNNING
    heard_s: float = 0.0
    began_s: float = 0.0
    commanded_s: float = float("-inf")
    was_kill_heard: bool = False
    standing: dict[int, float] = field(default_factory=dict)
    killed_s: float | None = None

    def __post_init__(self) -> None:
        assert self.story.switch is not None
        self.has_redis = self.story.switch.has_redis
        self.stores = TwoStores(grace_s=self.story.switch.grace_s)

    # --- what the stores hold -------------------------------------------------------------------

    def _row(self, store: str) -> SwitchState:
        rows = self.query("SELECT state FROM switch_state WHERE store = ?", store)
        return SwitchState(rows[0][0]) if rows else RUNNING

    def _note(self) -> None:
        """Take note of what binds by now."""
        self.stores.note(self.now_s())
        is_killed = self.stores.explicit is KILL
        if not is_killed or not self.is_locked:
            self.killed_s = None
        elif not self.was_killed:
            self.killed_s = self.now_s()
        self.was_killed = self.was_killed or is_killed
        if self.stores.effective is not self.last_effective:
            self.last_effective = self.stores.effective
            self.met(self.last_effective)

    def on_start(self) -> None:
        """A run begins: what was locked and stored binds it."""
        memory = self.memory()
        assert memory is not None
        before = self.stores.explicit
        redis = memory.switch.redis
        known = (memory.switch.local.state, RUNNING if redis is None else redis.state)
        stored = more_severe(self._row("local"), self._row("redis"))
        locked = invariants.lock_switch(self.lock(), explicit_only=True)
        began = more_severe(*known)
        is_missed = self.now_s() - self.commanded_s <= RECALLED_WITHIN_S
        if not self.had_trouble("CLOCK", since_s=0.0) and not is_missed:
            # What nobody had written down and what was loosened meanwhile binds nobody.
            least = min(before, locked, key=tuple(SwitchState).index)
            self.hold(9, invariants.forgotten(more_severe(least, stored), began))
        self.stores.begin(self.now_s(), local=known[0], redis=known[1])
        self.is_locked = False
        self.heard_s = self.began_s = self.now_s()
        self._note()

    def on_command(self) -> None:
        """The operator's command has written the local row."""
        self.commanded_s = self.now_s()
        self.stores.set_local(self.now_s(), self._row("local"))
        self._note()

    def hear(self, seen: RedisSeen, *, is_certain: bool) -> None:
        """Redis has answered the guard, or the guard has given it up."""
        self.heard_s = self.now_s()
        if isinstance(seen, RedisValue) and SwitchState.parse(seen.text) is KILL:
            self.was_kill_heard = True
        self.stores.hear(self.now_s(), seen, is_certain=is_certain)
        self._note()

    def on_commit(self, records: Records) -> None:
        """A decision is on disk: the local row falls only by a request that was accepted."""
        if any(entry.event == "reset" for entry in records.audits):
            self.was_killed = self.was_kill_heard = self.stores.explicit is KILL
        self._judge_answers({each.request_id for each in records.answers if each.accepted})
        if records.switch is None:
            return
        after = self._row("local")
        if after.severity < self.stores.local.severity:
            asked = {answer.request_id for answer in records.answers if answer.accepted}
            wished = [state for number, state, _ in self._loosenings() if number in asked]
            self.hold(9, invariants.loosened(self.stores.local, after, wished=wished))
        self.stores.set_local(self.now_s(), after)
        self._note()

    @property
    def was_loosened(self) -> bool:
        """Whether any request of the switch was accepted by now."""
        return bool(self._loosenings())

    def _judge_answers(self, accepted: set[int]) -> None:
        """Who leaves a kill has typed it."""
        explicit, _ = self.stores.least(self.now_s(), within_s=SHOWN_WITHIN_S)
        if not accepted or explicit is not KILL or self.had_trouble("STORE", since_s=0.0):
            return
        words = [word for number, _, word in self._loosenings() if number in accepted]
        self.hold(9, "a kill is left without the word" if "" in words else "")

    def _loosenings(self) -> list[tuple[int, str, str]]:
        """The requests of the switch that were accepted."""
        rows = self.query(
            "SELECT request_id, json_extract(arguments, '$.state'), confirmation"
            " FROM operator_requests WHERE command = 'switch' AND accepted = 1"
        )
        return [(int(number), str(state), str(word)) for number, state, word in rows]

    def on_redis_write(self, what: RedisWrite, value: str | None) -> None:
        """Redis was told a state in place of a value; a milder one needs a request."""
        if what.is_only_if_missing:
            self.hold(9, invariants.forgotten(self.stores.redis, what.state))
            return
        wished = [state for _, state, _ in self._loosenings()]
        self.hold(9, invariants.loosened(KILL, what.state, wished=wished))

    # --- what the guard makes of it -------------------------------------------------------------

    def on_lock(self) -> None:
        """A lock document is on disk."""
        self.is_locked = True
        self._judge_lock()

    def _judge_lock(self) -> None:
        now_s = self.now_s()
        if not self.is_locked or self.had_trouble("LOCK", since_s=now_s - 10.0):
            return
        _, effective = self.stores.least(now_s, within_s=SHOWN_WITHIN_S)
        self.hold(9, invariants.unlocked(invariants.lock_switch(self.lock()), effective))

    def look(self) -> None:
        """Judge what time alone may bring."""
        memory = self.memory()
        self._note()
        if memory is None:
            return
        self._judge_lock()
        if self.has_redis and self.is_locked:
            unseen_s = self.now_s() - self.heard_s
            is_slow = self.had_trouble("STORE", since_s=self.began_s)
            is_starting = self.now_s() - self.began_s <= LOOKED_AT_WITHIN_S + 2 * SLOW_START_S
            within_s = LOOKED_AT_WITHIN_S + (SLOW_START_S if is_slow and is_starting else 0.0)
            self.hold(9, invariants.unseen(unseen_s, within_s=within_s))
        explicit, _ = self.stores.least(self.now_s(), within_s=SHOWN_WITHIN_S)
        stage = memory.book(BOOK).stage
        if explicit is KILL and self.is_locked and stage is not Stage.LOCKDOWN:
            self.hold(10, f"killed and at stage {stage.value}")
        self._judge_entries(memory)
        self._judge_delay()

    def on_close(self) -> None:
        """A closing order has left the guard: the kill is being carried out."""
        self.killed_s = None

    def _judge_delay(self) -> None:
        """A kill waits for nothing that works as it should."""
        killed_s = self.killed_s
        if killed_s is None or self.story.policy.dry_run:
            return
        if not self._held_in_lockdown():
            # What a bot opens after that was not there to be closed.
            self.killed_s = None
            return
        for_s = self.now_s() - killed_s
        within_s = KILLED_WITHIN_S + 6 * self.story.latency_s
        since_s = killed_s - UNDISTURBED_S
        if not any(self.had_trouble(kind, since_s=since_s) for kind in ("READ", "ORDER")):
            self.hold(10, invariants.idle(for_s, within_s=within_s))

    def _judge_entries(self, memory: Memory) -> None:
        """What could open goes in good time, where nothing is in the way of it."""
        now_s = self.now_s()
        is_free = self.is_locked and not _is_closing(memory) and not self.story.policy.dry_run
        since_s = now_s - UNDISTURBED_S
        is_well = not any(self.had_trouble(kind, since_s=since_s) for kind in ("READ", "ORDER"))
        if not (is_free and is_well and self.stores.asks_for_cancels(now_s)):
            self.standing.clear()
            return
        opening = [order for order in self._orders() if self._can_open(order)]
        first = self.standing
        self.standing = {each.order_id: first.get(each.order_id, now_s) for each in opening}
        within_s = self.story.policy.poll_s + GOES_WITHIN_S
        for order in opening:
            for_s = now_s - self.standing[order.order_id]
            self.hold(11, invariants.left_standing(_say(order), for_s=for_s, within_s=within_s))

    def on_decision(self, decision: Decision) -> None:
        """A decision took effect: what it opened needs a kill, or a loss."""
        is_low = decision.memory.book(BOOK).stage < Stage.ALL_CLOSED
        for opening in decision.opened:
            # A look beside a loosening may be the one that counts: see `hear`.
            is_asked = self.was_killed or self.was_kill_heard
            if opening.incident.stage is Stage.LOCKDOWN and not is_asked:
                self.hold(11, f"{self.stores.explicit} opened a kill")
            elif opening.breach is None and is_low:
                self.hold(11, f"{self.stores.explicit} opened a stage without a breach")

    def on_send(self, name: str, about: str) -> None:
        """Something leaves the guard; a cancel without an incident is one of a halt."""
        memory = self.memory()
        assert memory is not None
        if _is_closing(memory) or not name.startswith("submit_cancel"):
            return
        now_s = self.now_s()
        self.stores.note(now_s)
        if not self.had_trouble("CLOCK", since_s=self.stores.silent_s or now_s):
            late_s = now_s - self.stores.entitled_s
            self.hold(11, invariants.unasked(about, for_s=late_s, within_s=ON_THE_WAY_S))
        number = about.rpartition(" ")[2]
        order = self.exchange.account(KEY).orders.get(int(number)) if number.isdigit() else None
        if order is None or self._may_open(order):
            return
        self.hold(11, f"a halt cancels {_say(order)}")

    @property
    def is_suspended(self) -> bool:
        """Whether a halt keeps stages 1 and 2 from acting."""
        return self.story.policy.switch.halt_suspends_stages and self.stores.effective is HALT

    # --- what is left ---------------------------------------------------------------------------

    def unsettled(self) -> str:
        """What the switch asks for and is not so yet; empty when all is."""
        now_s, memory = self.now_s(), self.memory()
        if memory is None or not self.is_locked:
            return "no lock"
        shown = invariants.lock_switch(self.lock())
        if shown is not self.stores.effective:
            return f"the lock says {shown} and the stores {self.stores.effective}"
        if self.story.policy.dry_run:
            return ""
        if self.stores.asks_for_cancels(now_s):
            left = [order for order in self._orders() if self._can_open(order)]
            if left:
                return f"{_say(left[0])} is left under a {self.stores.effective}"
        if memory.book(BOOK).stage is Stage.LOCKDOWN:
            return self._held_in_lockdown()
        return ""

    def _orders(self) -> list[ExchangeOrder]:
        """The orders that are anybody's business."""
        memory, book = self.memory(), self.story.policy.books[0]
        assert memory is not None
        is_low = memory.book(BOOK).stage < Stage.ALL_CLOSED
        spared = book.never_touch if is_low or book.never_touch_even_in_stage_3 else ()
        orders = self.exchange.account(KEY).orders.values()
        return [order for order in orders if order.symbol not in spared]

    def _can_open(self, order: ExchangeOrder) -> bool:
        """Whether an order could open or turn a position, alone or with others of its kind."""
        account = self.exchange.account(KEY)
        if order.reduce_only or order.close_position:
            return False
        if order.leg is not Leg.BOTH:
            return order.side.value != _closing(1 if order.leg is Leg.LONG else -1)
        held = account.amount(order.symbol, Leg.BOTH)
        if account.mode_of(order.symbol) is PositionMode.HEDGE or held == 0:
            return True
        if order.side.value != _closing(1 if held > 0 else -1):
            return True
        beside = (
            other.remaining
            for other in account.orders.values()
            if other.symbol == order.symbol
            and other.side is order.side
            and not (other.reduce_only or other.close_position)
        )
        return sum(beside, Decimal(0)) > abs(held)

    def _may_open(self, order: ExchangeOrder) -> bool:
        """Whether an order could open, as far as its venue tells; who is not told must think so."""
        is_told = self.story.ways is not BITGET_UNIFIED or order.kind is not OrderKind.CONDITIONAL
        return not is_told or self._can_open(order)

    def _held_in_lockdown(self) -> str:
        """A position that a kill should have closed."""
        book, account = self.story.policy.books[0], self.exchange.account(KEY)
        coins: Mapping[str, Decimal] = self.story.book.coins
        kept = {symbol_of(asset): max(held, account.wallet[asset]) for asset, held in coins.items()}
        for leg in account.legs.values():
            if leg.symbol in book.never_touch and book.never_touch_even_in_stage_3:
                continue
            market = self.exchange.markets[leg.symbol]
            stays = kept.get(leg.symbol, Decimal(0)) if leg.amount < 0 else Decimal(0)
            excess = abs(leg.amount) - stays
            is_dust = excess < max(market.step, market.min_quantity) or (
                excess * self.exchange.marks[leg.symbol] < market.min_notional
            )
            if not is_dust:
                return f"{leg.amount} of {leg.symbol} is left after a kill"
        return ""


def _is_closing(memory: Memory) -> bool:
    """Whether an incident is open: its own rounds cancel."""
    incident = memory.book(BOOK).incident
    return incident is not None and incident.status is IncidentStatus.OPEN


def _closing(sign: int) -> str:
    """The side of an order that makes a position of this sign smaller."""
    return "SELL" if sign > 0 else "BUY"


def _say(order: ExchangeOrder) -> str:
    return f"{order.order_type} {order.side} {order.quantity} {order.symbol} {order.order_id}"
