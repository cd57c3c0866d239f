"""What one run knows of an incident's closing: how far it got, and when to go on.

Owns the pauses between rounds and the proof that targets hold. Knows neither how to read nor how
to send; the executor does both and tells it what came of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from memory import Incident
from model import Position, PositionMode, RowKey, ScopeId, Stage, Symbol
from order_fates import OrderFates
from order_safety import RoundPlan
from order_sender import OrderSender

HOLD_GAP_S = 60.0
"""Good reads further apart say nothing of the time between them, and the first counts no more.

Twice the longest pause between two rounds, so that a venue that fails often can still confirm.
"""
FIRST_PAUSE_S = 0.25
"""Between rounds that get somewhere; others double it. Without it, a bot that places an order
after each of our cancels would use up the venue's request limit."""
LEAST_PAUSE_S = 0.1
"""Before a look-up, and before the look at what a round has left whose closes were all executed."""
ANSWERS_PAUSE_S = 1.0
"""Before another look while closes wait for the venue's limits: reads have limits as well."""
MAX_INLINE_PAUSE_S = 2.0
MAX_PAUSE_S = 30.0


@dataclass(slots=True)
class ClosingWork:
    """What is known of one incident's sending, within this run. Times are monotonic.

    `held_from` and `held_until` are when the first and the latest of the good position reads were
    asked for that showed every target holding, with none between them that did not.
    """

    scope: ScopeId
    fates: OrderFates
    sender: OrderSender
    believed_mode: PositionMode
    rounds: int = 0
    rounds_here: int = 0
    excess: dict[RowKey, Decimal] = field(default_factory=dict)
    waits_for_store: bool = True
    pause_s: float = FIRST_PAUSE_S
    not_before: float = float("-inf")
    held_from: float | None = None
    held_until: float = float("-inf")
    failed_reads: int = 0
    told: set[str] = field(default_factory=set)
    found: set[RowKey] = field(default_factory=set)
    is_progress_owed: bool = False
    is_all_taken: bool = False

    def grown_pause(self) -> float:
        """The pause before the next try; the one after it will be twice as long.

        While the fate of an order is waited for nothing fails: it is known within seconds.
        """
        most_s = MAX_INLINE_PAUSE_S if self.fates.is_waiting else MAX_PAUSE_S
        pause_s = min(most_s, self.pause_s)
        self.pause_s = min(most_s, pause_s * 2)
        return pause_s

    def note_taken(self, *, is_told: bool) -> None:
        """Closes were accepted; `is_told` says that the venue told what they executed.

        What is left, of a partial fill above all, must not wait as long as a failure. An
        acknowledgement alone shortens the pause once, until something got smaller: an empty book
        cancels each of them, and those of a dozen markets would use up the order limit.
        """
        if is_told or not self.is_progress_owed:
            self.pause_s = FIRST_PAUSE_S
        self.is_progress_owed = not is_told

    def read_pause(self) -> float:
        """The pause after one more failed read; a good one ends their row."""
        self.failed_reads += 1
        return min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failed_reads - 1, 10))

    def news(self, notes: Sequence[str]) -> tuple[str, ...]:
        """Those of the notes that were not told yet."""
        fresh = tuple(note for note in dict.fromkeys(notes) if note not in self.told)
        self.told.update(fresh)
        return fresh

    def news_of_positions(
        self, incident: Incident, positions: Sequence[Position], *, spared: Collection[Symbol]
    ) -> tuple[Position, ...]:
        """What a kill finds held that it has no target for and did not tell of yet.

        Coins wait for a trusted reading: which of them go is more than a quantity can say.
        """
        if incident.stage is not Stage.LOCKDOWN:
            return ()
        known = self.found | {target.key for target in incident.targets}
        return tuple(
            position
            for position in positions
            if RowKey(self.scope, position.symbol, position.side) not in known
            and position.symbol not in spared
            and str(position.symbol) != position.base
        )

    def note_told(self, found: Sequence[Position]) -> None:
        """These positions were told of: a report that nobody takes tells of nothing."""
        self.found.update(RowKey(self.scope, each.symbol, each.side) for each in found)

    def note_progress(
        self, incident: Incident, plan: RoundPlan, *, held: Mapping[RowKey, Decimal], now: float
    ) -> Incident:
        """Carry the targets' state on, and remember when anything got smaller."""
        excess = {
            target.key: max(Decimal(0), held.get(target.key, Decimal(0)) - target.may_remain)
            for target in plan.targets
        }
        if any(excess.get(key, before) < before for key, before in self.excess.items()):
            incident = replace(incident, last_progress_at=now)
            self.pause_s = FIRST_PAUSE_S
            self.is_progress_owed = False
        self.excess = excess
        judged = {target.number: target for target in plan.targets}
        return replace(incident, targets=tuple(judged.get(t.number, t) for t in incident.targets))

    def note_hold(
        self, incident: Incident, plan: RoundPlan, *, asked_at: float, now: float
    ) -> Incident:
        """Remember from which good read on every target has held, in all good reads of this run.

        A target that came in meanwhile has taken `held_at` away: it must hold twice as well.
        """
        if not plan.holds:
            self.held_from = None
            return replace(incident, held_at=None)
        is_lost = incident.held_at is None or asked_at - self.held_until > HOLD_GAP_S
        self.held_until = asked_at
        if self.held_from is not None and not is_lost:
            return incident
        self.held_from = asked_at
        return replace(incident, held_at=now)

    def only_waits(self, plan: RoundPlan) -> bool:
        """True when what is left to do is under way, and the last answer should end the pause."""
        return self.sender.is_waiting and not (plan.closes or plan.cancels)

    def pause_after(self, plan: RoundPlan, *, monotonic: float) -> float:
        """Seconds until the next round, when nothing but this one has its say."""
        look_up_s = self.fates.next_look_up_at - monotonic
        if self.only_waits(plan):
            return min(ANSWERS_PAUSE_S, max(LEAST_PAUSE_S, look_up_s))
        pause_s = self.grown_pause()
        if plan.closes and not plan.cancels and self.is_all_taken:
            # The first time nothing can have gone wrong that a pause would help.
            return 0.0 if self.rounds_here == 1 else LEAST_PAUSE_S
        return min(pause_s, max(LEAST_PAUSE_S, look_up_s))
