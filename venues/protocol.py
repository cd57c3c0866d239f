"""What the guard asks of an exchange connection, whichever exchange it is.

Owns no code that talks: adapters do. Fetches raise `Unavailable` or `Malformed` and never answer
with a default. Submits never raise for what the venue or the network did: they return an
`Outcome`, and everything that is not proved is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from inspection import Inspection
from model import (
    ClientOrderId,
    CloseInstruction,
    Ledger,
    MarketLimits,
    Order,
    Outcome,
    Position,
    PositionMode,
    Reading,
    ScopeId,
    Symbol,
)


class Venue(Protocol):
    """One connection to one exchange with one set of credentials."""

    @property
    def scopes(self) -> tuple[ScopeId, ...]:
        """The accounts this connection watches."""

    @property
    def lands_within_s(self) -> float:
        """Past so many seconds an order whose answer was lost can no longer take effect.

        The longest that one waits before it is signed, and as long as the venue takes its stamp.
        """

    async def start(self) -> None:
        """Make the connection ready: clock offset, account kind; may be repeated.

        Raises Unavailable or Malformed; calling it again after a failure is right.
        """

    async def fetch_reading(self, scope: ScopeId) -> Reading:
        """Read equity, positions and coins together; all legs succeed or it raises."""

    async def fetch_positions(self, scope: ScopeId) -> tuple[Position, ...]:
        """Read the positions alone, for sizing and verifying closes; never a cached answer."""

    async def fetch_orders(self, scope: ScopeId) -> tuple[Order, ...]:
        """Read every open order of every kind and page, on all symbols."""

    async def fetch_marks(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, float]:
        """Read current marks, also of symbols without a position; raises if one is missing."""

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """Read transfers, bonuses, funding, fees, realised results and liquidations since then."""

    async def fetch_market_limits(self) -> Mapping[Symbol, MarketLimits]:
        """Read what every market accepts; loads what start-up needs and may be repeated."""

    async def fetch_position_mode(self, scope: ScopeId) -> PositionMode:
        """Read whether the account is one-way or hedged."""

    def make_ready(self, closes: int) -> None:
        """Begin what makes so many closes quicker if they come soon; sends and promises nothing."""

    async def submit_close(self, instruction: CloseInstruction) -> Outcome:
        """Send one closing order."""

    async def submit_closes(self, instructions: Sequence[CloseInstruction]) -> tuple[Outcome, ...]:
        """Send several closing orders at once; outcomes stand in the order of the instructions."""

    async def submit_cancel(self, order: Order) -> Outcome:
        """Cancel one order; an order that is already gone is Done."""

    async def submit_cancel_all(self, scope: ScopeId, symbol: Symbol) -> Outcome:
        """Cancel every order of one symbol, conditional ones included."""

    async def find_order(self, scope: ScopeId, client_id: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look an order up by our own id: Done, Refused NO_SUCH_ORDER, or Unknown."""

    async def inspect(self, scope: ScopeId, symbols: Sequence[Symbol]) -> Inspection:
        """Ask what `check` shows: account, key, clock, what is not watched, cost of `symbols`.

        Sends nothing that changes anything and raises no ObservationError: a part that could not
        be read is a value that says why. Never on the way to a close.
        """

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
