"""What can happen to a book, what came of it, and the reasons why nothing did.

Pure. Owns the words of the stage machine: events go into `stage_machine.advance`, a `Transition`
comes out. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memory import BookMemory, CloseTarget, Incident, TargetStatus
from model import Stage


class StageRefusal(StrEnum):
    """Why an event changed nothing; `sentence` says it to a person."""

    ALREADY_NORMAL = "ALREADY_NORMAL"
    AUTO_REARM_OFF = "AUTO_REARM_OFF"
    CLOSE_UNRESOLVED = "CLOSE_UNRESOLVED"
    CONFIRMATION_MISSING = "CONFIRMATION_MISSING"
    COOLDOWN_RUNNING = "COOLDOWN_RUNNING"
    DRY_RUN = "DRY_RUN"
    INCIDENT_OPEN = "INCIDENT_OPEN"
    LOCKED_DOWN = "LOCKED_DOWN"
    LOWER_STAGE = "LOWER_STAGE"
    MANUAL_RESET_ONLY = "MANUAL_RESET_ONLY"
    NEVER_EXPIRES = "NEVER_EXPIRES"
    NOT_FLATTENED = "NOT_FLATTENED"
    NO_INCIDENT = "NO_INCIDENT"
    NO_TRUSTED_READING = "NO_TRUSTED_READING"
    PROGRESS_RECENT = "PROGRESS_RECENT"
    SAME_STAGE_COOLDOWN = "SAME_STAGE_COOLDOWN"
    STAGE_NOT_USED = "STAGE_NOT_USED"
    STREAK_RUNNING = "STREAK_RUNNING"
    SWITCH_HALTS = "SWITCH_HALTS"
    SWITCH_NOT_RUNNING = "SWITCH_NOT_RUNNING"

    @property
    def sentence(self) -> str:
        """The reason for logs and for the operator's answer."""
        return _SENTENCES[self]


_SENTENCES: Mapping[StageRefusal, str] = {
    StageRefusal.ALREADY_NORMAL: "the book is already armed in full",
    StageRefusal.AUTO_REARM_OFF: "auto_rearm is off: only a reset arms this book again",
    StageRefusal.CLOSE_UNRESOLVED: "a close is not confirmed yet",
    StageRefusal.CONFIRMATION_MISSING: "the book's name must be typed as confirmation",
    StageRefusal.COOLDOWN_RUNNING: "the cooldown is not over",
    StageRefusal.DRY_RUN: "nothing was closed in a dry run, so nothing can reappear",
    StageRefusal.INCIDENT_OPEN: "an incident that does at least as much is still open",
    StageRefusal.LOCKED_DOWN: "the book is in lockdown: everything is closed until a reset",
    StageRefusal.LOWER_STAGE: "a higher stage already holds the book",
    StageRefusal.MANUAL_RESET_ONLY: "only a reset by the operator leaves this state",
    StageRefusal.NEVER_EXPIRES: "stage 3 and the kill are carried on until they are done",
    StageRefusal.NOT_FLATTENED: "positions are allowed in this state",
    StageRefusal.NO_INCIDENT: "no incident is open",
    StageRefusal.NO_TRUSTED_READING: "there is no fresh reading that can be trusted",
    StageRefusal.PROGRESS_RECENT: "the incident made progress within its cooldown",
    StageRefusal.SAME_STAGE_COOLDOWN: "this stage has acted and its cooldown is not over",
    StageRefusal.STAGE_NOT_USED: "the book has no settings for this stage",
    StageRefusal.STREAK_RUNNING: "a breach is being confirmed",
    StageRefusal.SWITCH_HALTS: "the switch is on halt, which suspends this stage",
    StageRefusal.SWITCH_NOT_RUNNING: "the switch must be set to running first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggered:
    """A stage's streak is complete; `incident` carries the stage and the plan, maybe an empty one.

    The open targets of a running incident of a lower stage are merged into it.
    """

    incident: Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsAppeared:
    """Positions were found in a book that must stay flat; `incident` is to close them."""

    incident: Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentEnded:
    """The targets of the open incident are confirmed, or were simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryDue:
    """Asked every tick: the open incident may have gone without progress for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RearmDue:
    """Asked every tick, after the triggers: the book may be ready to be armed in full.

    `has_trusted_reading`: this tick brought a trusted reading of every member of the book.
    """

    has_trusted_reading: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetRequested:
    """The operator asks to start anew. `confirmation` is the book's name as it was typed.

    `is_forced` waives the trusted reading and the confirmed closes, never the confirmation.
    """

    confirmation: str
    is_switch_running: bool
    has_trusted_reading: bool
    is_forced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """The switch says kill; `incident` closes what stage 3 would, with stage LOCKDOWN."""

    incident: Incident


StageEvent = (
    Triggered | PositionsAppeared | IncidentEnded | ExpiryDue | RearmDue | ResetRequested | Killed
)


class EventName(StrEnum):
    """The rows of the table."""

    TRIGGER_1 = "TRIGGER_1"
    TRIGGER_2 = "TRIGGER_2"
    TRIGGER_3 = "TRIGGER_3"
    POSITIONS_APPEARED = "POSITIONS_APPEARED"
    INCIDENT_ENDED = "INCIDENT_ENDED"
    EXPIRY_DUE = "EXPIRY_DUE"
    REARM_DUE = "REARM_DUE"
    RESET_REQUESTED = "RESET_REQUESTED"
    KILLED = "KILLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What an event did: the book after it, or the reason why nothing happened.

    `opened` (new, or extended by what appeared) and `ended` are the incidents to record; one that
    is taken over ends as another opens, which then carries its open targets too. After a refusal
    `book` is the same object as before.
    """

    book: BookMemory
    refusal: StageRefusal | None = None
    opened: Incident | None = None
    ended: Incident | None = None

    @property
    def missed(self) -> tuple[CloseTarget, ...]:
        """Targets that the ended incident gave up; to be named to the operator."""
        targets = () if self.ended is None else self.ended.targets
        return tuple(target for target in targets if target.status is TargetStatus.MISSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerChoice:
    """The stage that may act now, None when none may, and why higher or all others may not."""

    stage: Stage | None
    refusals: tuple[tuple[Stage, StageRefusal], ...] = ()
