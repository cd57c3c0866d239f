"""One request on its way to its handler, whichever venue's it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from model import PositionMode
from simulator.exchange import Exchange
from simulator.spot_state import SpotView
from simulator.state import Account, AccountView
from simulator.wire.protocol import Circumstances


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked of whom. `account` and `view` exist on signed routes."""

    exchange: Exchange
    sent: Mapping[str, Any]
    circumstances: Circumstances
    signed_account: Account | None = None

    @property
    def symbol(self) -> str:
        """The symbol asked about, empty for all."""
        return str(self.sent.get("symbol") or "")

    @property
    def account(self) -> Account:
        """The account behind the key."""
        if self.signed_account is None:
            raise ValueError("a public route has no account")
        return self.signed_account

    @property
    def view(self) -> AccountView:
        """What a read answers from; earlier than now when a stale answer is wanted.

        A venue may show an account otherwise than it is: that one has no earlier views.
        """
        if self.account is not self.exchange.account(self.account.api_key):
            return self.account.view(self.exchange.world)
        return self.exchange.view(
            self.account.api_key,
            as_of=self.circumstances.stale_as_of,
            revision=self.circumstances.stale_revision,
        )

    @property
    def spot_view(self) -> SpotView:
        """What a read of the spot side answers from."""
        return self.exchange.spot.view(
            self.account.api_key,
            as_of=self.circumstances.stale_as_of,
            revision=self.circumstances.stale_revision,
        )

    @property
    def mode_view(self) -> AccountView:
        """The view that answers about settings; its position mode may be made wrong."""
        view = self.view
        if not self.circumstances.wrong_mode:
            return view
        hedged = view.position_mode is PositionMode.HEDGE
        return replace(view, position_mode=PositionMode.ONE_WAY if hedged else PositionMode.HEDGE)


def strip_host(path: str) -> str:
    """Strip a host segment: it is the first one and has a dot, which no endpoint has."""
    first, _, rest = path.lstrip("/").partition("/")
    return f"/{rest}" if "." in first else path
