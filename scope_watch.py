"""What the loop keeps of one scope: who reads it, who closes on it, and how soon it is due again.

Owns the pace of reading, the wait of a complete streak for the venue's records, and the rules that
an executor gets from the settings of the book. It is lost on restart, by design: what must outlive
the process stands in the memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from calm_check import Subject
from clock import Clock
from decision import Decision, Observation, decide
from drawdown import LEDGER_WAIT_S
from entry_cancels import HaltedScope
from executor import DriveRules, Executor
from memory import Incident, Memory, Streak
from model import PositionMode, ScopeId, ScopeObservation
from plans import untouchable_symbols
from policy import Policy
from scope_reader import ScopeReader
from supervision import MAX_PAUSE_S

GROWTH = 1.5
"""By how much each failure in a row, from the second one on, makes the pause longer."""

MAX_PAUSE_IN_DANGER_S = 6.0
"""A line that loses one answer in five loses five in a row now and then: in the middle of a fall
that must not cost half a minute more than the answers themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A decision that was tried out, and what it was made of: equal ones give the same again."""

    memory: Memory
    observation: Observation
    decision: Decision


@dataclass(slots=True, kw_only=True)
class ScopeWatch:
    """One scope while it is watched. Without an `executor` nothing is ever sent.

    `looks` counts the readings that came to a decision, the latest took `look_s` seconds;
    `rests_until` is when the next one begins, on the monotonic clock, and never while one is under
    way; whoever sets the `bell` wants it at once. `waiting_since` is when a complete streak would
    have acted but for the venue's records, on the same clock. `trial` is what the latest
    observation comes to, where that was tried out.
    """

    scope: ScopeId
    reader: ScopeReader
    executor: Executor | None
    is_alert: bool = False
    looks: int = 0
    look_s: float = 0.0
    rests_until: float = float("-inf")
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    waiting_since: float | None = None
    trial: Trial | None = None

    async def wait_for_records(
        self, seen: ScopeObservation, *, memory: Memory, policy: Policy, clock: Clock
    ) -> ScopeObservation:
        """The observation to decide on: with the venue's records if it would act without them.

        What it would come to is tried out. It is held for 3 s at most from the moment at which it
        would act, and not at all while a lower stage acts on it.
        """
        self.trial = None
        streaks = _unanswered(memory, policy, self.scope)
        if streaks and seen.reading is None:
            return seen
        if streaks:
            observation = Observation(now=clock.now(), scopes=(seen,))
            decision = decide(memory, observation, policy)
            self.trial = Trial(memory=memory, observation=observation, decision=decision)
        if self.trial is None or not self.trial.decision.is_waiting(self.scope):
            self.waiting_since = None
            return seen
        if self.waiting_since is None:
            self.waiting_since = clock.monotonic()
        if self.trial.decision.opened:
            return seen
        self.trial = None
        ledger = await self.reader.wait_for_ledger(
            memory.scope(self.scope),
            reaching=max(streak.began_at for streak in streaks),
            until=self.waiting_since + LEDGER_WAIT_S,
        )
        return replace(seen, ledger=ledger or seen.ledger, has_waited=True)

    def take_trial(self, memory: Memory) -> Trial | None:
        """What was tried out last, once, unless anything was decided since."""
        trial, self.trial = self.trial, None
        return trial if trial is not None and trial.memory is memory else None

    def ask_at_once(self, memory: Memory, policy: Policy) -> None:
        """Have the records asked for now, and not with the next reading, while a streak runs.

        Closes get ready for the end of it.
        """
        if not _unanswered(memory, policy, self.scope):
            return
        known = memory.scope(self.scope)
        self.reader.begin_ledger(known)
        if self.executor is not None and known.last_trusted is not None:
            self.executor.get_ready(len(known.last_trusted.positions))

    def take_note(self, decision: Decision) -> None:
        """Remember what a decision asks for next."""
        wants = (*self.reader.wants, *decision.wants_of(self.scope))
        self.reader.wants = tuple(dict.fromkeys(wants))
        self.is_alert = decision.is_alert(self.scope)

    def pace(self, policy: Policy, *, is_closing: bool) -> float:
        """Seconds from one reading to the next; failures make it up to 30 s, in danger 6."""
        is_danger = self.is_alert or is_closing
        pace = policy.alert_poll_s if is_danger else policy.poll_s
        most_s = MAX_PAUSE_IN_DANGER_S if is_danger else MAX_PAUSE_S
        return max(pace, min(most_s, pace * GROWTH ** min(max(self.reader.failures - 1, 0), 10)))

    def drive_rules(
        self, incident: Incident, policy: Policy, *, must_cancel: bool = False
    ) -> DriveRules:
        """What the executor has to respect: the venue's rules, and those of the incident's book.

        `must_cancel`: the operator wants no entry orders, whatever the stage would spare.
        """
        book = policy.book(incident.book)
        stage = None if book is None else book.stage(incident.stage)
        return DriveRules(
            limits=self.reader.limits,
            position_mode=self.reader.position_mode or PositionMode.ONE_WAY,
            cancel_entry_orders=must_cancel or stage is None or stage.cancel_entry_orders,
            untouchable=() if book is None else untouchable_symbols(book, incident.stage),
        )

    def subject(self, memory: Memory, policy: Policy, *, now: float) -> Subject | None:
        """What is known for judging whether the account could be closed; None while it is not."""
        reading, limits = memory.scope(self.scope).last_trusted, self.reader.limits
        if reading is None or not limits or now - reading.asked_at > policy.max_reading_age_s:
            return None
        return Subject(reading=reading, limits=limits)

    def halted(self, memory: Memory, policy: Policy) -> HaltedScope:
        """What cancelling the account's entry orders needs to know."""
        book, last = policy.book_of(self.scope), memory.scope(self.scope).last_trusted
        return HaltedScope(
            positions=None if last is None else last.positions,
            position_mode=self.reader.position_mode or PositionMode.ONE_WAY,
            untouchable=()
            if book is None
            else untouchable_symbols(book, memory.book(book.name).stage),
            not_before=self.reader.quiet_until,
        )


def _unanswered(memory: Memory, policy: Policy, scope: ScopeId) -> tuple[Streak, ...]:
    """The running streaks of a scope's book that nothing was done about yet."""
    book = policy.book_of(scope)
    streaks = () if book is None else memory.book(book.name).streaks
    return tuple(streak for streak in streaks if not streak.is_answered)
