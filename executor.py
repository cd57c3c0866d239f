"""Drives one account to its close targets, round by round.

Owns sending: every order of the guard leaves from here. It believes only what it reads: each
round reads positions first and sends only the excess over the targets (behaviour.md section 10).
It knows nothing of drawdowns or stages; `order_safety` says what an order may look like, and
`order_fates` what became of those that were sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from clock import Clock
from errors import InvariantViolation, ObservationError, StoreError
from logger import Logger
from memory import (
    AuditEntry,
    Incident,
    IncidentReport,
    OrderAction,
    OrderRecord,
    Records,
    Severity,
    TargetStatus,
)
from model import (
    ClientOrderId,
    CloseInstruction,
    Done,
    MarketLimits,
    Order,
    Outcome,
    Position,
    PositionMode,
    RowKey,
    ScopeId,
    Symbol,
    Unknown,
)
from order_fates import OrderFates
from order_safety import RoundPlan, plan_round
from venues.protocol import Venue

READ_DEADLINE_S = 10.0
SEND_DEADLINE_S = 10.0
"""One round's reads or sends may not take longer; what hangs then counts as unknown."""
ORDERS_DEADLINE_S = 2.0
"""How long a round waits for the list of open orders once positions are known."""
CONFIRM_AFTER_S = 5.0
"""Targets must hold in two position reads this far apart (behaviour.md section 10)."""
MAX_ROUNDS_PER_DRIVE = 12
"""Then the account is observed again; the next tick goes on."""
FIRST_PAUSE_S = 0.25
MAX_INLINE_PAUSE_S = 2.0
MAX_PAUSE_S = 30.0
STUCK_ALERTS_S = (30.0, 120.0)
STUCK_REPEAT_S = 600.0
LEFTOVER_ROUNDS = 3
"""Cancels that keep failing after the targets hold delay the end by this many rounds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveRules:
    """What the book's policy says about carrying an incident out."""

    limits: Mapping[Symbol, MarketLimits]
    position_mode: PositionMode
    cancel_entry_orders: bool = True
    untouchable: Collection[Symbol] = ()


@dataclass(slots=True)
class _Work:
    """What is known of one incident's sending, within this run."""

    fates: OrderFates
    excess: dict[RowKey, Decimal] = field(default_factory=dict)
    waits_for_store: bool = True
    pause_s: float = FIRST_PAUSE_S
    not_before: float = float("-inf")
    leftover_rounds: int = 0

    def grown_pause(self) -> float:
        """The pause before the next try; the one after it will be twice as long."""
        pause_s, self.pause_s = self.pause_s, min(MAX_PAUSE_S, self.pause_s * 2)
        return pause_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What one round came to; `pause_s` before the next one, None when the tick should go on."""

    incident: Incident
    pause_s: float | None
    is_done: bool = False
    notes: tuple[str, ...] = ()


class Executor:
    """Closes what incidents ask for on one scope. There is none in a dry run.

    `record` writes records in order and tells whether they were safe within the deadline.
    `load_orders` reads the order records of an incident, to learn what an earlier run sent.
    """

    def __init__(
        self,
        *,
        scope: ScopeId,
        venue: Venue,
        clock: Clock,
        log: Logger,
        record: Callable[[Records, float], Awaitable[bool]],
        load_orders: Callable[[Incident], Awaitable[Sequence[OrderRecord]]],
        store_deadline_s: float = 1.0,
    ) -> None:
        self._scope = scope
        self._venue = venue
        self._clock = clock
        self._log = log
        self._record = record
        self._load_orders = load_orders
        self._store_deadline_s = store_deadline_s
        self._work: dict[str, _Work] = {}
        self._in_hand = asyncio.Lock()

    async def wait_until_idle(self) -> None:
        """Return when no round is in hand."""
        async with self._in_hand:
            return

    async def drive(
        self,
        incident: Incident,
        *,
        rules: DriveRules,
        is_current: Callable[[Incident], bool],
        is_recorded: bool = True,
    ) -> IncidentReport | None:
        """Work on the incident until its targets hold or nothing more helps for now.

        Returns how it stands, or None when it was not its turn yet or somebody ended it.
        `is_recorded=False` says that its record is not safe yet: it waits for no write then.
        """
        if incident.dry_run:
            raise InvariantViolation("a dry-run incident reached the executor")
        async with self._in_hand:
            work = await self._work_of(incident, rules)
            work.waits_for_store = work.waits_for_store and is_recorded
            if self._clock.monotonic() < work.not_before:
                return None
            step = _Step(incident=incident, pause_s=0.0)
            notes: tuple[str, ...] = ()
            for _ in range(MAX_ROUNDS_PER_DRIVE):
                step = await self._round(step.incident, work, rules)
                notes += step.notes
                if not is_current(incident):
                    return None
                if step.pause_s is None:
                    break
                if step.pause_s > MAX_INLINE_PAUSE_S:
                    work.not_before = self._clock.monotonic() + step.pause_s
                    break
                await self._clock.sleep(step.pause_s)
            standing = await self._alert_if_stuck(step)
            if step.is_done:
                del self._work[incident.incident_id]
            return IncidentReport(incident=standing, is_done=step.is_done, notes=notes)

    async def _work_of(self, incident: Incident, rules: DriveRules) -> _Work:
        work = self._work.get(incident.incident_id)
        if work is not None:
            return work
        earlier = next(iter(self._work.values()), None)
        fates = OrderFates(
            scope=self._scope,
            venue=self._venue,
            clock=self._clock,
            log=self._log,
            position_mode=rules.position_mode,
        )
        if earlier is not None:
            # A higher stage takes over: what was sent before may still land.
            fates.inherit(earlier.fates)
        work = _Work(fates=fates)
        if incident.rounds:
            try:
                work.fates.recall(await self._load_orders(incident))
            except StoreError as error:
                self._log.warning("orders_unreadable", scope=self._scope, why=str(error))
        self._work = {incident.incident_id: work}
        return work

    # --- one round ----------------------------------------------------------------------------

    async def _round(self, incident: Incident, work: _Work, rules: DriveRules) -> _Step:
        """Read, send the excess, learn the outcomes."""
        await work.fates.look_up()
        positions, orders = await self._read()
        if positions is None:
            return _Step(incident=replace(incident, held_at=None), pause_s=work.grown_pause())
        incident = replace(incident, rounds=incident.rounds + 1)
        plan = plan_round(
            incident=incident,
            scope=self._scope,
            positions=positions,
            orders=orders,
            limits=rules.limits,
            position_mode=work.fates.position_mode,
            round_number=incident.rounds,
            cancel_entry_orders=rules.cancel_entry_orders,
            untouchable=rules.untouchable,
            answers=work.fates.answers(
                must_partly_remain=tuple(t.key for t in incident.targets if t.may_remain > 0)
            ),
        )
        incident = self._note_progress(incident, plan, work, positions)
        notes = _notes(plan)
        if not plan.closes and not plan.cancels:
            return replace(self._judge_hold(incident, plan, work), notes=notes)
        sent = await self._send(incident, plan, work)
        pause_s = await work.fates.learn(sent)
        if plan.holds:
            work.leftover_rounds += 1
            if work.leftover_rounds > LEFTOVER_ROUNDS:
                return replace(self._judge_hold(incident, plan, work), notes=notes)
        if pause_s > 0 or not any(isinstance(record.outcome, Done) for record in sent):
            pause_s = max(pause_s, work.grown_pause())
        else:
            work.pause_s = FIRST_PAUSE_S
        return _Step(incident=incident, pause_s=pause_s, notes=notes)

    async def _read(self) -> tuple[tuple[Position, ...] | None, tuple[Order, ...] | None]:
        """Read positions and orders; None for what could not be read, which is never "flat"."""
        orders = asyncio.ensure_future(self._venue.fetch_orders(self._scope))
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                positions = await self._venue.fetch_positions(self._scope)
                return positions, await self._orders_or_none(orders)
        except (ObservationError, TimeoutError) as error:
            self._log.warning("round_read_failed", scope=self._scope, why=str(error) or "too slow")
            return None, None
        finally:
            orders.cancel()
            await asyncio.gather(orders, return_exceptions=True)

    async def _orders_or_none(
        self, orders: asyncio.Future[tuple[Order, ...]]
    ) -> tuple[Order, ...] | None:
        """The open orders, None when they cannot be read in time: closing does not wait."""
        try:
            async with asyncio.timeout(ORDERS_DEADLINE_S):
                return await orders
        except (ObservationError, TimeoutError) as error:
            self._log.warning("orders_unread", scope=self._scope, why=str(error) or "too slow")
            return None

    def _note_progress(
        self, incident: Incident, plan: RoundPlan, work: _Work, positions: tuple[Position, ...]
    ) -> Incident:
        """Carry the targets' state on, and remember when anything got smaller."""
        held = {
            RowKey(self._scope, position.symbol, position.side): position.quantity
            for position in positions
        }
        excess = {
            target.key: max(Decimal(0), held.get(target.key, Decimal(0)) - target.may_remain)
            for target in plan.targets
        }
        if any(excess.get(key, before) < before for key, before in work.excess.items()):
            incident = replace(incident, last_progress_at=self._clock.now())
        work.excess = excess
        judged = {target.number: target for target in plan.targets}
        return replace(incident, targets=tuple(judged.get(t.number, t) for t in incident.targets))

    def _judge_hold(self, incident: Incident, plan: RoundPlan, work: _Work) -> _Step:
        """Nothing to send: done when the targets hold for the second time, far enough apart."""
        now = self._clock.now()
        if not plan.holds:
            return _Step(incident=replace(incident, held_at=None), pause_s=work.grown_pause())
        if incident.held_at is None or incident.held_at > now:
            return _Step(incident=replace(incident, held_at=now), pause_s=None)
        is_done = now - incident.held_at >= CONFIRM_AFTER_S
        return _Step(incident=incident, pause_s=None, is_done=is_done)

    # --- sending ------------------------------------------------------------------------------

    async def _send(
        self, incident: Incident, plan: RoundPlan, work: _Work
    ) -> tuple[OrderRecord, ...]:
        """Write the intents, then send cancels and closes at once; returns completed records."""
        now = self._clock.now()
        closes = tuple(self._close_record(incident, close, now) for close in plan.closes)
        cancels = tuple(
            self._cancel_record(incident, order, number, now)
            for number, order in enumerate(plan.cancels, start=1)
        )
        await self._write(Records(orders=closes + cancels, incidents=(incident,)), work)
        close_outcomes, cancel_outcomes = await asyncio.gather(
            self._submit_closes(plan.closes), self._submit_cancels(plan.cancels)
        )
        answered_at = self._clock.now()
        done = tuple(
            replace(record, outcome=outcome, answered_at=answered_at)
            for record, outcome in zip(
                closes + cancels, close_outcomes + cancel_outcomes, strict=True
            )
        )
        await self._write(Records(orders=done), work)
        return done

    async def _submit_closes(self, closes: tuple[CloseInstruction, ...]) -> tuple[Outcome, ...]:
        if not closes:
            return ()
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                return await self._venue.submit_closes(closes)
        except TimeoutError:
            return tuple(Unknown(cause="no answer in time") for _ in closes)

    async def _submit_cancels(self, orders: tuple[Order, ...]) -> tuple[Outcome, ...]:
        return tuple(await asyncio.gather(*(self._submit_cancel(order) for order in orders)))

    async def _submit_cancel(self, order: Order) -> Outcome:
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                return await self._venue.submit_cancel(order)
        except TimeoutError:
            return Unknown(cause="no answer in time")

    # --- records and alerts -------------------------------------------------------------------

    async def _write(self, records: Records, work: _Work) -> None:
        """Record within the deadline; after one miss this incident waits for no further write."""
        deadline_s = self._store_deadline_s if work.waits_for_store else 0.0
        is_safe = await self._record(records, deadline_s)
        work.waits_for_store = work.waits_for_store and is_safe

    def _close_record(self, incident: Incident, close: CloseInstruction, now: float) -> OrderRecord:
        return OrderRecord(
            client_id=close.client_id,
            incident_id=incident.incident_id,
            scope=self._scope,
            key=RowKey(self._scope, close.symbol, close.side),
            action=OrderAction.CLOSE,
            symbol=close.symbol,
            order_side=close.side.closing_order.value,
            quantity=close.quantity,
            round_number=incident.rounds,
            created_at=now,
            dry_run=False,
        )

    def _cancel_record(
        self, incident: Incident, order: Order, number: int, now: float
    ) -> OrderRecord:
        return OrderRecord(
            client_id=ClientOrderId(f"{incident.incident_id}-c{incident.rounds}-{number}"),
            incident_id=incident.incident_id,
            scope=self._scope,
            key=None,
            action=OrderAction.CANCEL,
            symbol=order.symbol,
            order_side=order.side.value,
            quantity=order.quantity,
            round_number=incident.rounds,
            created_at=now,
            dry_run=False,
            subject=order.order_id,
        )

    async def _alert_if_stuck(self, step: _Step) -> Incident:
        """Alert at 30 s, 2 min and then every 10 min while the incident stays open."""
        incident = step.incident
        missed = [t for t in incident.targets if t.status is TargetStatus.OPEN]
        open_s = self._clock.now() - incident.opened_at
        if step.is_done or not missed or open_s < _stuck_alert_due_s(incident.alerts_sent):
            return incident
        names = ", ".join(f"{target.key.symbol} {target.key.side}" for target in missed)
        entry = AuditEntry(
            at=self._clock.now(),
            scope=incident.book,
            event="incident_stuck",
            message=f"open for {open_s:.0f} s, not at target: {names}",
            stage=incident.stage,
            mode=incident.mode,
            severity=Severity.CRITICAL,
            details=(("incident_id", incident.incident_id), ("rounds", incident.rounds)),
        )
        self._log.error("incident_stuck", scope=self._scope, message=entry.message)
        await self._record(Records(audits=(entry,)), 0.0)
        return replace(incident, alerts_sent=incident.alerts_sent + 1)


def _stuck_alert_due_s(sent: int) -> float:
    """After how many seconds of an open incident the next alert is due."""
    if sent < len(STUCK_ALERTS_S):
        return STUCK_ALERTS_S[sent]
    return STUCK_ALERTS_S[-1] + STUCK_REPEAT_S * (sent - len(STUCK_ALERTS_S) + 1)


def _notes(plan: RoundPlan) -> tuple[str, ...]:
    """What a round found besides its orders, one sentence each."""
    return (
        *(
            f"{t.key.symbol} {t.key.side}: the rest is too small for the venue to close"
            for t in plan.new_dust
        ),
        *(f"{v.key.symbol} {v.key.side}: {v.kind.value}" for v in plan.violations),
        *(
            f"{order.symbol}: order {order.client_id} carries our mark but is not ours: "
            "a second guard seems to run on this account"
            for order in plan.foreign_orders
        ),
    )
