"""What it takes to reach an account, without anything that does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from venues.pacer import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one account is reached: credentials by ccxt's names for them, and addresses.

    `simulator_url` (literal loopback only) redirects everything. `is_paced=False` is for simulated
    time, in which a minute's allowance is spent in a second. `address` is shared by all accounts
    of one exchange that are reached from this machine.
    """

    credentials: Mapping[str, str] = field(repr=False)
    simulator_url: str | None = field(default=None, repr=False)
    sandbox: bool = False
    demo: bool = False
    read_timeout_s: float = 10.0
    order_timeout_s: float = 5.0
    is_paced: bool = True
    address: Address = field(default_factory=Address)
