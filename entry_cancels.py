"""Cancels what could open while the operator's halt stands, on accounts where nothing is closed.

Owns a round of it on one account: list the open orders, cancel those that `cancels` calls openers,
write down what came of it. Whether the halt asks for it, and of which account, is for its caller.
Its rules:

- One round at a time for each account, in a task of its own: no other account waits for it, nor a
  reading, and a list that fails is asked for again with the next round.
- Positions are read after the orders: what came in between would take its stop for an entry. Those
  that cannot be read leave the judgement to those that were last trusted: protection is not taken
  away because one read failed.
- Nothing is sent while an incident of the account is worked on: it cancels itself.
- A cancel is repeated for as long as its order is listed, whatever was answered: one that the
  venue refuses of itself ever more rarely, because each is a record for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from attempts import Got, Missed, Unbroken, attempt
from cancels import plan_cancels
from client_ids import base36
from clock import Clock
from close_records import cancel_record
from decision_log import log_audit
from logger import Logger
from memory import AuditEntry, OrderRecord, Records, Severity
from model import (
    Done,
    IncidentId,
    Order,
    Position,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Stage,
    Symbol,
    VenueOrderId,
)
from order_sender import OrderSender
from recorder import Recorder
from supervision import Supervisor
from troubles import Troubles
from venues.protocol import Venue

LIST_WITHIN_S = 10.0
ROUNDS_APART_S = 5.0
"""Listing all orders is the most expensive read there is; in the pace of a crash it would use up
what the readings need. All accounts of one exchange together list them no more often."""
MOST_APART_S = 300.0
"""The longest pause between two cancels of an order that the venue refuses to cancel."""
AT_ONCE = 50
"""Cancels under way at once: a kill's closes go through the same hundred connections."""
OF_THE_LINE = (RefusalReason.RATE_LIMITED, RefusalReason.NOT_REACHED, RefusalReason.CLOCK)
"""Refusals that say nothing of the order itself."""
NAMED = 5
"""Most symbols that an entry names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltedScope:
    """What is known of an account whose entry orders are to go.

    `positions` are those last trusted, None before any. The venue allows no request before the
    monotonic time `not_before`.
    """

    positions: tuple[Position, ...] | None
    position_mode: PositionMode
    untouchable: Collection[Symbol] = ()
    not_before: float = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """When a refused cancel is sent again, on the monotonic clock, and after which pause."""

    at: float = float("-inf")
    pause_s: float = ROUNDS_APART_S / 2


class EntryCancels:
    """Rounds of cancelling on the accounts of `venues`; of a dry run there are none.

    `find_halted` tells what is known of an account, None while its orders are nobody's business
    here: no halt asks for it, or something is being closed there.
    """

    def __init__(
        self,
        *,
        venues: Mapping[ScopeId, Venue],
        find_halted: Callable[[ScopeId], HaltedScope | None],
        unbroken: Unbroken,
        supervisor: Supervisor,
        recorder: Recorder,
        troubles: Troubles,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._venues = venues
        self._find_halted = find_halted
        self._unbroken = unbroken
        self._supervisor = supervisor
        self._recorder = recorder
        self._troubles = troubles
        self._clock = clock
        self._log = log
        self._running: dict[ScopeId, asyncio.Task[None]] = {}
        self._began_at: dict[ScopeId, float] = {}
        self._rests_until: dict[ScopeId, float] = {}
        self._refused: dict[ScopeId, dict[VenueOrderId, _Again]] = {}
        self._rounds = 0
        self._is_asked = False

    def follow(self, *, is_asked: bool) -> None:
        """Begin a round on every account at once when a halt begins to ask for it."""
        was_asked, self._is_asked = self._is_asked, is_asked
        if is_asked and not was_asked:
            self._began_at.clear()
            for scope in self._venues:
                self.begin(scope)

    def begin(self, scope: ScopeId) -> None:
        """Begin a round, unless one is under way, too short ago, or not asked for."""
        now = self._clock.monotonic()
        running = self._running.get(scope)
        if scope not in self._venues or (running is not None and not running.done()):
            return
        kind = type(self._venues[scope])
        sharing = sum(type(venue) is kind for venue in self._venues.values())
        is_early = now < self._began_at.get(scope, float("-inf")) + ROUNDS_APART_S * sharing
        if is_early or self._is_resting(scope):
            return
        halted = self._find_halted(scope)
        if halted is None or now < halted.not_before:
            return
        self._began_at[scope] = now
        name = f"entry orders {scope}"
        work = self._supervisor.attend(name, lambda: self._round(scope))
        self._running[scope] = self._unbroken.begin(work)

    def _is_resting(self, scope: ScopeId) -> bool:
        """Whether the venue asked for a pause."""
        return self._clock.monotonic() < self._rests_until.get(scope, float("-inf"))

    async def _round(self, scope: ScopeId) -> None:
        venue = self._venues[scope]
        listed = await attempt(
            venue.fetch_orders(scope), within_s=LIST_WITHIN_S, what="open orders"
        )
        if isinstance(listed, Missed):
            self._rests_until[scope] = self._clock.monotonic() + listed.retry_after_s
            if self._find_halted(scope) is not None:
                self._troubles.begin("entry_orders", f"cannot be listed: {listed.why}", scope=scope)
            return
        # After the orders: what a stop among them protects was there before it.
        read = await attempt(venue.fetch_positions(scope), within_s=LIST_WITHIN_S, what="positions")
        halted = self._find_halted(scope)
        if halted is None:
            self._troubles.end("entry_orders", scope=scope)
            return
        going = plan_cancels(
            scope=scope,
            orders=listed.value,
            positions=read.value if isinstance(read, Got) else halted.positions,
            targets=(),
            stage=Stage.NORMAL,
            position_mode=halted.position_mode,
            is_complete=False,
            untouchable=halted.untouchable,
        )
        left = await self._cancel(scope, going)
        if left:
            self._troubles.begin("entry_orders", f"not cancelled: {_say(left)}", scope=scope)
        else:
            self._troubles.end("entry_orders", scope=scope)

    async def _cancel(self, scope: ScopeId, going: Sequence[Order]) -> tuple[Order, ...]:
        """Cancel what of these orders is due; returns those that are not cancelled."""
        known, monotonic = self._refused.get(scope, {}), self._clock.monotonic()
        self._refused[scope] = again = {
            order.order_id: known[order.order_id] for order in going if order.order_id in known
        }
        due = tuple(
            order
            for order in going
            if order.order_id not in again or monotonic >= again[order.order_id].at
        )
        answered: tuple[OrderRecord, ...] = ()
        for first in range(0, len(due), AT_ONCE):
            if first and (self._find_halted(scope) is None or self._is_resting(scope)):
                break
            answered += await self._send(scope, due[first : first + AT_ONCE])
        self._tell(scope, answered, of=len(due))
        monotonic = self._clock.monotonic()
        for record in answered:
            order_id = VenueOrderId(record.subject)
            if isinstance(record.outcome, Refused) and record.outcome.reason not in OF_THE_LINE:
                pause_s = min(MOST_APART_S, 2 * again.get(order_id, _Again()).pause_s)
                again[order_id] = _Again(at=monotonic + pause_s, pause_s=pause_s)
        done = {record.subject for record in answered if isinstance(record.outcome, Done)}
        return tuple(order for order in going if order.order_id not in done)

    async def _send(self, scope: ScopeId, going: Sequence[Order]) -> tuple[OrderRecord, ...]:
        """Send the cancels and write down what came of them."""
        self._rounds += 1
        now = self._clock.now()
        records = tuple(
            cancel_record(
                order,
                incident_id=IncidentId(f"halt{base36(int(now * 1000))}"),
                round_number=self._rounds,
                number=number,
                now=now,
            )
            for number, order in enumerate(going, start=1)
        )
        # Nobody waits for the record: tightening never does.
        self._recorder.add(Records(orders=records))
        sender = OrderSender(venue=self._venues[scope], clock=self._clock)
        sender.send(records, closes=(), cancels=going)
        await sender.wait_for_all()
        answered = sender.collect()
        pauses = (
            r.outcome.retry_after_s or 0.0 for r in answered if isinstance(r.outcome, Refused)
        )
        self._rests_until[scope] = self._clock.monotonic() + max(pauses, default=0.0)
        self._recorder.add(Records(orders=answered))
        return answered

    def _tell(self, scope: ScopeId, answered: Sequence[OrderRecord], *, of: int) -> None:
        done = tuple(record for record in answered if isinstance(record.outcome, Done))
        if not done:
            return
        entry = AuditEntry(
            at=self._clock.now(),
            scope=scope,
            event="entry_orders_cancelled",
            message=f"{len(done)} of {of} entry orders cancelled: {_say(done)}",
            severity=Severity.WARNING,
            details=(("cancelled", len(done)), ("left", of - len(done))),
        )
        log_audit(self._log, entry)
        self._recorder.add(Records(audits=(entry,)))


def _say(orders: Iterable[Order | OrderRecord]) -> str:
    """The symbols of orders, so many of them named."""
    symbols = sorted({order.symbol for order in orders})
    more = f" and {len(symbols) - NAMED} more" if len(symbols) > NAMED else ""
    return ", ".join(symbols[:NAMED]) + more
