"""Watches one story and holds every invariant against what it sees, step by step.

It judges from outside: the exchange's ledger, the database and the lock file as they lie on disk.
Of the guard itself it reads what an incident says of itself, to know what to hold it to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from book_locks import open_incident
from client_ids import PREFIX
from decision import Decision
from memory import Incident, IncidentStatus, Memory, Records
from model import (
    CloseInstruction,
    IncidentId,
    PositionMode,
    RowKey,
    Stage,
    Symbol,
    Trust,
    outcome_word,
)
from plans import KeepReason
from simulator.exchange import Exchange
from simulator.state import Leg
from switch_model import SwitchState
from tests.memory_venue import KEY
from tests.simulation import invariants
from tests.simulation.coins import symbol_of
from tests.simulation.coverage import Tally
from tests.simulation.draw import Story
from tests.simulation.faults import Fault, Phase
from tests.simulation.invariants import Aim
from tests.simulation.switch_judge import SwitchJudge
from tests.simulation.truth import Truth
from tests.virtual_house import BOOK, EPOCH

ENDS_WITHIN_S = 150.0
"""Of calm until an incident ends: pauses of 30 s, a fate of 15 s, leftovers of 60 s, margins."""
ORDER_AGE_S = 30.0
"""The oldest position read that an order executed now can have been sized from: a deadline of
10 s, a lag of 4 s, a record of 1 s and 9 s on the way."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never happen did."""

    at_s: float
    number: int
    what: str


@dataclass(kw_only=True)
class Monitor:
    """All that is known of a story so far. `violations` is empty while everything holds."""

    story: Story
    exchange: Exchange
    tally: Tally
    db_path: Path
    now_s: Callable[[], float]
    wall: Callable[[], float]
    note: Callable[[str, str], None]
    phase: Callable[[], Phase]
    memory: Callable[[], Memory | None]
    lock: Callable[[], dict[str, Any] | None]
    violations: list[Violation] = field(default_factory=list)
    truth: Truth = field(init=False)
    entries_seen: int = 0
    aims: dict[str, Aim] = field(default_factory=dict)
    wanted: dict[RowKey, Decimal] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    moved_by_others: list[tuple[float, str, Decimal]] = field(default_factory=list)
    opened_s: dict[IncidentId, float] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    stage: int = 0
    recorded_stage: int = 0
    committed: dict[str, str] = field(default_factory=dict)
    incidents: dict[str, str] = field(default_factory=dict)
    audits: int = 0
    excused: set[str] = field(default_factory=set)
    shown_s: float = float("-inf")
    switch: SwitchJudge | None = None
    unrecorded_jump_s: float = 0.0
    closing: Incident | None = None
    ended_stage: int = 0
    _reader: sqlite3.Connection | None = None

    def __post_init__(self) -> None:
        self.truth = Truth(story=self.story, exchange=self.exchange, now_s=self.now_s)
        if self.story.switch is not None:
            self.switch = SwitchJudge(
                story=self.story,
                exchange=self.exchange,
                now_s=self.now_s,
                hold=self.hold,
                query=self._query,
                memory=self.memory,
                lock=self.lock,
                had_trouble=self._had_trouble,
                met=self.on_switch,
            )

    def hold(self, number: int, what: str) -> None:
        """Take note of a violation; nothing for an empty line."""
        if what:
            self.note("VIOLATION", f"{number}: {what}")
            self.violations.append(Violation(self.now_s(), number, what))

    def close(self) -> None:
        """Release the database."""
        if self._reader is not None:
            self._reader.close()

    def _query(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        if self._reader is None:
            self._reader = sqlite3.connect(self.db_path)
        return self._reader.execute(text, values).fetchall()

    def _had_trouble(self, prefix: str, *, since_s: float) -> bool:
        """Whether the story has planned such a fault for a time since then."""
        now_s = self.now_s()
        return any(
            span.fault.startswith(prefix) and span.from_s <= now_s and span.until_s + 8.0 >= since_s
            for span in self.story.spans
        )

    # --- what is sent and executed --------------------------------------------------------------

    def on_send(self, name: str, about: str) -> None:
        """An order or a cancel leaves the guard."""
        self.hold(
            5, invariants.sent_in_rehearsal(f"{name} {about}", dry_run=self.story.policy.dry_run)
        )
        if self.switch is not None:
            self.switch.on_send(name, about)

    def on_instruction(self, instruction: CloseInstruction) -> None:
        """A closing order leaves the guard: it is recorded, locked, and on the right side."""
        if self.switch is not None:
            self.switch.on_close()
        memory = self.memory()
        incident = None if memory is None else memory.book(BOOK).incident
        if incident is None or incident.incident_id != instruction.incident_id:
            return
        key = RowKey(instruction.scope, instruction.symbol, instruction.side)
        target = next(target for target in incident.targets if target.key == key)
        market = self.exchange.markets[instruction.symbol]
        assert memory is not None
        # While the state is 3 whatever appears is closed, if need be within an older incident:
        # behaviour.md section 9, and the database may have lost the incident that led to it.
        state = memory.book(BOOK).stage
        stage = state if state >= Stage.ALL_CLOSED else incident.stage
        aim = Aim(target=target, stage=stage, source=incident.source, step=market.step)
        self.aims[instruction.client_id] = aim
        self.wanted[key] = target.may_remain
        self.hold(2, invariants.wrong_side(aim))
        opened_s = self.opened_s.get(incident.incident_id, self.now_s())
        # A clock that jumps past the end of a lock is noticed with the next reading, and moves it.
        is_moved = self._had_trouble("CLOCK", since_s=self.now_s())
        if not is_moved and not self._had_trouble("LOCK", since_s=opened_s):
            locked = invariants.lock_stage(self.lock(), now=self.wall() - ENDS_WITHIN_S)
            self.hold(4, invariants.closed_unlocked(locked, incident.stage))
        if instruction.client_id in self.sent:
            self.hold(6, f"{instruction.client_id} is sent again")
        self.sent[instruction.client_id] = self.now_s()
        # What a kill closes waits for no record; that it gets one is judged at the end.
        is_killing = incident.stage is Stage.LOCKDOWN
        is_excused = is_killing or self._had_trouble("STORE", since_s=opened_s)
        if not is_excused and instruction.client_id not in self.committed:
            self.hold(6, f"{instruction.client_id} is sent without a record")
        spared = self.story.policy.books[0]
        is_spared = instruction.symbol in spared.never_touch and (
            stage <= Stage.DOMINANT_CLOSED or spared.never_touch_even_in_stage_3
        )
        self.hold(2, f"{instruction.symbol} is never to be touched" if is_spared else "")

    def look_at_fills(self, *, is_repeated: bool = False) -> None:
        """Judge what the exchange has executed since the last look.

        `is_repeated` says that it was a request of ours that arrived a second time.
        """
        ledger = self.exchange.ledger
        for entry in ledger[self.entries_seen :]:
            if entry["event"] != "fill":
                continue
            symbol, client_id = str(entry["symbol"]), str(entry["client_id"])
            before = Decimal(str(entry["position_before"]))
            after = Decimal(str(entry["position_after"]))
            if not client_id.startswith(f"{PREFIX}-"):
                self.truth.on_close_by_others(entry)
                self.moved_by_others.append((self.now_s(), symbol, abs(before) - abs(after)))
                continue
            self.closed.add(client_id.split("-")[1])
            self.hold(1, invariants.risk_added(entry))
            aim = self.aims.get(client_id)
            if aim is None:
                self.hold(6, f"{client_id} was executed and never sent")
                continue
            if is_repeated:
                # One request, sent once, that the venue took twice: no guard can prevent it. It
                # must not open, increase or flip (1), but what it takes is the venue's doing.
                self.moved_by_others.append((self.now_s(), symbol, abs(before) - abs(after)))
                continue
            # A higher stage may have asked for less since this order was sent, and got it.
            target = aim.target
            remain = min(target.may_remain, self.wanted[target.key])
            aim = replace(aim, target=replace(target, may_remain=remain))
            since_s = self.now_s() - ORDER_AGE_S
            taken = sum(
                (
                    by
                    for at_s, of, by in self.moved_by_others
                    if of == symbol and at_s >= since_s and by > 0
                ),
                Decimal(0),
            )
            self.hold(2, invariants.undershot(entry, aim, reduced_by_others=taken))
        self.entries_seen = len(ledger)

    # --- what is written ------------------------------------------------------------------------

    def on_commit(self, records: Records) -> None:
        """A decision is on disk."""
        if self.switch is not None:
            self.switch.on_commit(records)
        for order in records.orders:
            if order.key is not None:
                word = "" if order.outcome is None else outcome_word(order.outcome)
                self.committed[order.client_id] = word or self.committed.get(order.client_id, "")
        for incident in records.incidents:
            self.incidents[incident.incident_id] = incident.status.value
            if incident.status is IncidentStatus.OPEN:
                # A run that dies here never tells of its decision, but it has acted on the loss.
                self.truth.acted = max(self.truth.acted, incident.stage.value)
            elif incident.status is IncidentStatus.DONE:
                self.ended_stage = max(self.ended_stage, incident.stage.value)
        self.audits += len(records.audits)
        self.unrecorded_jump_s -= sum(
            float(str(dict(entry.details)["by_s"]))
            for entry in records.audits
            if entry.event == "clock_moved"
        )
        if any(reading.trust is Trust.TRUSTED for reading in records.readings):
            self.truth.on_stored()
        events = [entry.event for entry in records.audits]
        if "reset" in events:
            # Here as well: a run that dies right after it never tells of its decision.
            self._begin_anew()
        if not records.books:
            return
        stage = self._stage_on_disk()
        self.hold(4, invariants.fell_without_reason(self.recorded_stage, stage, events))
        self.tally.counts["LOCKDOWN left"] += stage < Stage.LOCKDOWN == self.recorded_stage
        self.recorded_stage = stage

    def _stage_on_disk(self) -> int:
        rows = self._query(
            "SELECT stage FROM scope_stage_state WHERE book = ? AND dry_run = ?",
            BOOK,
            self.story.policy.dry_run,
        )
        return int(rows[0][0]) if rows else 0

    def on_lock(self, before: Mapping[str, object] | None) -> None:
        """A lock document is on disk."""
        try:
            after = invariants.lock_stage(self.lock(), now=self.wall())
        except ValueError as fault:
            self.hold(4, f"no lock document: {fault}")
            return
        if self.switch is not None:
            self.switch.on_lock()
        stood = invariants.lock_stage(before, now=self.wall())
        if not self.story.policy.dry_run:
            self.hold(4, invariants.lifted_early(stood, after, recorded=self.recorded_stage))

    # --- what is decided ------------------------------------------------------------------------

    def on_decision(self, decision: Decision) -> None:
        """A decision took effect in the guard."""
        book = decision.memory.book(BOOK)
        if self.switch is not None:
            self.switch.on_decision(decision)
        if book.stage != self.stage:
            self.tally.transitions[f"{self.stage}>{book.stage.value}"] += 1
            self.note("stage", f"{self.stage} > {book.stage.value}")
            self.stage = book.stage.value
        self.truth.on_decision(decision)
        self.closing = open_incident(book)
        for opening in decision.opened:
            incident = opening.incident
            is_new = incident.incident_id not in self.opened_s
            self.opened_s.setdefault(incident.incident_id, self.now_s())
            targets = [f"{t.key.symbol} {t.key.side} {t.may_remain}" for t in incident.targets]
            told = f"{incident.incident_id} {incident.stage} {incident.source} {targets}"
            self.note("opened", told)
            self._judge_coins(incident)
            if any(kept.reason is KeepReason.OFFSETS_WHAT_STAYS for kept in opening.plan.kept):
                self.tally.counts["hedges of coins kept"] += 1
            if is_new:
                self.tally.counts["incidents"] += 1
                self.tally.counts["with targets"] += bool(incident.targets)
                self._judge_opening(incident, is_followup=opening.breach is None)
        for incident in decision.records.incidents:
            if incident.status is not IncidentStatus.OPEN:
                self.tally.counts[incident.status.value] += 1
                self.note("ended", f"{incident.incident_id} {incident.status}")
            if incident.status is IncidentStatus.DONE:
                self.ended_stage = max(self.ended_stage, incident.stage.value)
                self._judge_end(incident)
        if any(entry.event == "reset" for entry in decision.records.audits):
            self._begin_anew()

    def _begin_anew(self) -> None:
        """The operator has reset the book: nothing that happened before counts."""
        self.ended_stage = 0
        self.truth.on_reset()

    def _judge_opening(self, incident: Incident, *, is_followup: bool) -> None:
        self.truth.acted = max(self.truth.acted, incident.stage.value)
        if is_followup:
            return
        self.hold(7, self.truth.judge_ground(incident.stage))
        rules = self.story.policy.books[0].stage(incident.stage)
        if rules is not None and incident.stage < Stage.ALL_CLOSED:
            self.hold(
                2,
                invariants.blameless(
                    incident.source,
                    self.truth.history,
                    threshold=rules.source_threshold,
                    spared=self.story.policy.books[0].never_touch,
                ),
            )

    def _judge_coins(self, incident: Incident) -> None:
        """Hold an incident to what the account holds beside its positions."""
        coins = self.exchange.account(KEY).wallet
        opened_s = self.opened_s[incident.incident_id]
        is_moved = self.truth.coins_moved_s >= opened_s - ORDER_AGE_S
        aims = {target.key.symbol: target for target in incident.targets}
        for asset in self.story.book.coins:
            self.hold(2, f"{asset} is to be sold" if asset in aims else "")
            target = aims.get(Symbol(symbol_of(asset)))
            if target is None or is_moved:
                continue
            symbol = target.key.symbol
            market, mark = self.exchange.markets[symbol], self.exchange.marks[symbol]
            coin = coins[asset]
            self.hold(2, invariants.unhedged(target, coin=coin, market=market, mark=mark))

    def _judge_end(self, incident: Incident) -> None:
        """Hold a finished incident to its targets, where nobody else traded meanwhile."""
        account = self.exchange.account(KEY)
        since_s = self.now_s() - ORDER_AGE_S
        moved = {symbol for at_s, symbol, _ in self.moved_by_others if at_s >= since_s}
        for target in incident.targets:
            symbol = target.key.symbol
            if symbol in moved or target.status in ("MISSED", "SIMULATED"):
                continue
            is_hedged = account.mode_of(symbol) is PositionMode.HEDGE
            leg = Leg(target.key.side.value) if is_hedged else Leg.BOTH
            amount = account.amount(symbol, leg) * target.key.side.sign
            held = max(Decimal(0), amount)
            market = self.exchange.markets[symbol]
            excess = held - target.may_remain
            is_dust = excess < max(market.step, market.min_quantity) or (
                excess * self.exchange.marks[symbol] < market.min_notional
            )
            self.hold(3, invariants.unkept(target, held=held, is_dust=is_dust))
            opened_s = self.opened_s.get(incident.incident_id, self.now_s())
            if not self._had_trouble("", since_s=opened_s):
                orders = [o for o in account.orders.values() if o.created_at < EPOCH + opened_s]
                self.hold(3, invariants.left_behind(target, orders))

    # --- runs -----------------------------------------------------------------------------------

    def on_fault(self, fault: Fault) -> None:
        """A fault struck."""
        if fault.is_of_reads or fault.startswith("CLOCK"):
            self.truth.unreadable_s = self.now_s()

    def on_jump(self, seconds: float) -> None:
        """The guard's clock was set; it moves its history along and writes that down."""
        self.unrecorded_jump_s += seconds

    def on_switch(self, state: SwitchState) -> None:
        """What binds the bots is another state from now on."""
        self.note("switch", f"{state} binds")
        self.tally.switched[state, self.phase()] += 1

    def on_cut(self) -> None:
        """The power failed: what was under way has no outcome on record, for good."""
        if self.switch is not None:
            self.switch.is_locked = False
        self.excused.update(key for key, word in self.committed.items() if not word)
        self.excused.update(key for key in self.sent if key not in self.committed)
        self.truth.unreadable_s = self.now_s()

    def on_start(self) -> None:
        """A run begins on what the last one left."""
        self.truth.unreadable_s = self.now_s()
        self._compare()
        memory = self.memory()
        assert memory is not None
        stage = memory.book(BOOK).stage.value
        lower = f"stage {self.recorded_stage} on disk became {stage} at a start"
        self.hold(4, lower if stage < self.recorded_stage else "")
        self.stage = stage
        self.truth.acted = max(self.truth.acted, stage)
        left, self.closing = self.closing, memory.book(BOOK).incident
        if left is not None and self.closing is None and self.ended_stage < left.stage == 2:
            # Stage 1 rests, because it must not halve twice; stage 3 closes whatever is there.
            self.truth.on_unfinished(left.stage)
        windows_s = (t.window_s for s in self.story.policy.books[0].stages for t in s.thresholds)
        if self.unrecorded_jump_s >= min(windows_s):
            self.truth.on_forgotten_jump()
        self.unrecorded_jump_s = 0.0
        if self.switch is not None:
            self.switch.on_start()

    def _compare(self) -> None:
        found = {
            str(key): "" if word is None else str(word)
            for key, word in self._query("SELECT client_id, outcome FROM orders WHERE subject = ''")
        }
        self.hold(6, invariants.lost_records(self.committed, found))
        stored = dict(self._query("SELECT incident_id, status FROM incidents"))
        self.hold(6, invariants.lost_records(self.incidents, stored))
        ((count,),) = self._query("SELECT count(*) FROM actions")
        self.hold(6, f"{self.audits} audits, {count} left" if count < self.audits else "")

    def look(self) -> None:
        """Judge what time alone may bring."""
        self.look_at_fills()
        self.truth.look()
        memory = self.memory()
        incident = None if memory is None else memory.book(BOOK).incident
        if incident is not None and incident.status is IncidentStatus.OPEN:
            began_s = max(self.opened_s.get(incident.incident_id, 0.0), self.story.ends_s)
            open_s = self.now_s() - began_s
            self.hold(3, invariants.unended(open_s, within_s=ENDS_WITHIN_S))
        if self.switch is not None:
            self.switch.look()
            self.truth.is_suspended = self.switch.is_suspended
        self.hold(7, self.truth.judge_delay())

    def finish(self) -> None:
        """Judge what a run left that was stopped in good order."""
        self._compare()
        self.tally.counts["closed"] += len(self.closed)
        self.tally.venues[f"{self.story.ways.name} closed at"] += len(self.closed)
        lost = {key for key in self.sent if key not in self.committed and key not in self.excused}
        self.hold(6, f"sent and never recorded: {sorted(lost)[:3]}" if lost else "")
        self.hold(6, invariants.unanswered(self.committed, excused=self.excused))
