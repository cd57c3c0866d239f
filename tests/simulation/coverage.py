"""Counts what the stories of a run met, and says which cells of the table stayed empty.

A simulation that never met a fault while it closed proves nothing about it. Cells that cannot be
met are listed here, each with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from switch_model import SwitchState
from tests.simulation.draw import Effect
from tests.simulation.faults import Fault, Phase
from tests.simulation.operator import RedisFault
from tests.simulation.venues import DRAWN

LEAST_SEEDS = 5_000
LEAST_MET = 20
LEAST_CLOSING = 0.6

REFUSALS = (
    "NOTHING_TO_REDUCE", "RATE_LIMITED", "RESTING_ORDER_IN_THE_WAY", "TOO_LARGE",
    "WRONG_POSITION_MODE",
)  # fmt: skip
"""Reasons that the venues of stories give. The others cannot be met here, or not often enough to be
asked for: DUPLICATE_ID needs an id that is sent twice by us; NO_SUCH_ORDER answers look-ups alone;
NOT_TRADABLE, NOT_ALLOWED and CLOCK are answers of a venue that these do not give; TOO_SMALL and
BAD_PRECISION need market rules that were wrong, and stories have right ones or none. With none, a
venue that does not exempt closing orders says TOO_SMALL of what is near its minimum."""

COUNTS = ("stories with coins", "coins moved", "hedges of coins kept", "LOCKDOWN left")
VENUES = tuple(
    f"{name} {met}"
    for name in sorted({ways.name for ways in DRAWN})
    for met in ("drawn", "closed at")
)
"""Stories at each venue, and incidents that closed something there."""
TRANSITIONS = (
    "0>1", "0>2", "0>3", "1>2", "1>3", "2>3", "1>0", "2>0", "3>0", "0>4", "1>4", "2>4", "3>4",
)  # fmt: skip
MOMENTS = ("before", "after")


def is_possible(fault: Fault, phase: Phase) -> bool:
    """Whether a fault can strike in a phase: without an incident nothing is sent."""
    return not (fault.is_of_orders and phase in (Phase.CALM, Phase.CONFIRMING))


@dataclass(slots=True)
class Tally:
    """What was met, by kind. Tallies of several processes add up."""

    faults: Counter[tuple[Fault, Phase]] = field(default_factory=Counter)
    crashes: Counter[tuple[Effect, str, Phase]] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    venues: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    switched: Counter[tuple[SwitchState, Phase]] = field(default_factory=Counter)
    redis: Counter[tuple[RedisFault, SwitchState]] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Take in what another run met."""
        for each in fields(self):
            getattr(self, each.name).update(getattr(other, each.name))

    def cells(self) -> Iterator[tuple[str, int]]:
        """Every possible cell with its count."""
        for fault in Fault:
            for phase in Phase:
                if is_possible(fault, phase):
                    yield f"{fault} {phase}", self.faults[fault, phase]
        for effect in Effect:
            for moment in MOMENTS:
                met = sum(self.crashes[effect, moment, phase] for phase in Phase)
                yield f"crash {moment} {effect}", met
        recovering = sum(
            n for (_, _, phase), n in self.crashes.items() if phase is Phase.RECOVERING
        )
        yield "crash in the recovery", recovering
        yield from ((f"stage {name}", self.transitions[name]) for name in TRANSITIONS)
        yield from ((name, self.outcomes[name]) for name in ("DONE", "REFUSED", "UNKNOWN"))
        yield from ((name, self.refusals[name]) for name in REFUSALS)
        yield from ((name, self.counts[name]) for name in COUNTS)
        yield from ((f"venue {name}", self.venues[name]) for name in VENUES)
        for state in SwitchState:
            yield from ((f"switch {state} {p}", self.switched[state, p]) for p in Phase)
            yield from ((f"{each} {state}", self.redis[each, state]) for each in RedisFault)

    @property
    def closing_share(self) -> float:
        """Which share of the incidents closed something, or was a dry run's with a target."""
        return self.counts["closed"] / max(1, self.counts["incidents"])

    def shortcomings(self, seeds: int) -> list[str]:
        """What a run of so many seeds did not meet often enough; nothing for a small run."""
        if seeds < LEAST_SEEDS:
            return []
        found = [f"{name}: {met}" for name, met in self.cells() if met < LEAST_MET]
        if self.closing_share < LEAST_CLOSING:
            found.append(f"only {self.closing_share:.0%} of the incidents closed something")
        return found

    def table(self) -> str:
        """The table for a person."""
        lines = [f"{'':<18}" + "".join(f"{phase:>12}" for phase in Phase)]
        for fault in Fault:
            cells = (
                str(self.faults[fault, phase]) if is_possible(fault, phase) else "-"
                for phase in Phase
            )
            lines.append(f"{fault:<18}" + "".join(f"{cell:>12}" for cell in cells))
        for effect in Effect:
            for moment in MOMENTS:
                met = (self.crashes[effect, moment, phase] for phase in Phase)
                name = f"crash {moment} {effect}"
                lines.append(f"{name:<20}" + "".join(f"{n:>12}" for n in met)[2:])
        lines.append(f"{'':<18}" + "".join(f"{state:>12}" for state in SwitchState))
        for phase in Phase:
            cells = (str(self.switched[state, phase]) for state in SwitchState)
            lines.append(f"{'switch, ' + phase:<18}" + "".join(f"{cell:>12}" for cell in cells))
        for each in RedisFault:
            cells = (str(self.redis[each, state]) for state in SwitchState)
            lines.append(f"{each:<18}" + "".join(f"{cell:>12}" for cell in cells))
        for title, counter in (
            ("stages", self.transitions),
            ("outcomes", self.outcomes),
            ("refusals", self.refusals),
            ("venues", self.venues),
            ("in all", self.counts),
        ):
            told = ", ".join(f"{name} {counter[name]}" for name in sorted(counter))
            lines.append(f"{title}: {told}")
        lines.append(f"incidents that closed something: {self.closing_share:.0%}")
        return "\n".join(lines)
