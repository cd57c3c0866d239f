"""What a venue tells about itself, the account and the key: the answers that `check` judges.

Frozen values alone; adapters fill them in (`Venue.inspect`), nothing here judges them. A part that
could not be read is a value with a reason (`NotTold`, or None where a flag has three states), so
that one refused request hides none of the others. Unknown is never a good answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from model import PositionMode, ScopeId, Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTold:
    """A part that is not known; `reason` is one printable line, never with a secret in it."""

    reason: str


class AccountFamily(StrEnum):
    """How an account holds its money, which decides what its numbers mean."""

    SINGLE_ASSET = "SINGLE_ASSET"
    MULTI_ASSETS = "MULTI_ASSETS"
    PORTFOLIO_MARGIN = "PORTFOLIO_MARGIN"
    UNIFIED = "UNIFIED"
    CLASSIC = "CLASSIC"
    SPOT = "SPOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRights:
    """What the API key may do. None: the venue does not say, or could not be asked.

    `can_trade` is about the watched account: the key may send closing orders there.
    `can_read_transfers` is about the records that tell a withdrawal from a loss. `is_bound_to_ip`:
    the key works from listed addresses alone. `expires_at` is None for a key without an end and
    for one whose end is not told. `reason` says why something is None.
    """

    can_read: bool | None = None
    can_trade: bool | None = None
    can_withdraw: bool | None = None
    can_read_transfers: bool | None = None
    is_bound_to_ip: bool | None = None
    expires_at: float | None = None
    reason: str = ""


class Presence(StrEnum):
    """What is known about a part of the venue that is not watched. Empty parts are not listed."""

    HOLDS = "HOLDS"
    """Something is there."""
    UNSEEN = "UNSEEN"
    """It could not be looked at: something may be there."""
    INSTEAD = "INSTEAD"
    """It holds what the watched account seems to hold: that one answers 0 and guards nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwatched:
    """A part of the venue beside the inspected scope: coin-margined futures, options, spot.

    `covered_by` is the scope that watches it where that one is configured: then it is watched
    after all, and not named.
    """

    part: str
    presence: Presence
    detail: str
    covered_by: ScopeId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingCost:
    """What a market order costs on one symbol, as fractions of its value.

    `spread` is (ask - bid) / mid, of which one order pays half; `fee` is the taker rate of this
    account. None: not told.
    """

    spread: float | None = None
    fee: float | None = None


class DeadManState(StrEnum):
    """The venue's own switch that cancels orders when nobody calls any more. It never closes."""

    ARMED = "ARMED"
    NOT_ARMED = "NOT_ARMED"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    LOOKS_ARMED_BUT_IS_NOT = "LOOKS_ARMED_BUT_IS_NOT"
    NOT_TOLD = "NOT_TOLD"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadManSwitch:
    """The state of that switch, and why it is believed."""

    state: DeadManState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPace:
    """How many orders the venue takes of one account: `most` within `within_s` seconds."""

    most: int
    within_s: float

    def seconds_for(self, orders: int, *, latency_s: float) -> float:
        """How long it takes until the last of so many orders is answered, sent all at once."""
        if orders <= 0:
            return 0.0
        return (orders - 1) // self.most * self.within_s + latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything one scope's venue told when it was asked at `asked_at`.

    `latency_s` is one round trip of a small request over an open connection, `server_offset_s` the
    venue's clock minus ours. `position_mode` is NotTold where it differs by symbol. `costs` lacks
    a symbol of which nothing could be read. `pace` is the one that closing keeps to.
    """

    scope: ScopeId
    asked_at: float
    latency_s: float | NotTold
    server_offset_s: float | NotTold
    family: AccountFamily | NotTold
    position_mode: PositionMode | NotTold
    rights: KeyRights
    dead_man: DeadManSwitch
    pace: OrderPace
    unwatched: tuple[Unwatched, ...] = ()
    costs: Mapping[Symbol, TradingCost] = field(default_factory=dict)
