"""What a dialect is: a venue's HTTP manners without any HTTP library.

A dialect turns a request into an answer, synchronously. The server owns sockets, faults and time;
a test may call a dialect directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A request as it was sent: raw query and body, because signatures cover them exactly."""

    method: str
    path: str
    raw_query: str = ""
    raw_body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireAnswer:
    """An answer ready to be sent."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How this one request is to be treated: the clock, and the faults that bend its answer.

    `clock_slack_s` is how far the caller's clock may have run on while the exchange's stood still.
    `stale_as_of` and `stale_revision` make reads answer from an earlier view.
    """

    monotonic: float = 0.0
    clock_slack_s: float = 0.0
    stale_as_of: float | None = None
    stale_revision: int | None = None
    fill_fraction: Decimal | None = None
    acknowledge_only: bool = False
    wrong_mode: bool = False


class Dialect(Protocol):
    """One venue's manners."""

    name: str

    def normalise(self, path: str) -> str:
        """Strip the host segment that redirected clients put in front of a path."""

    def parameters(self, request: WireRequest) -> dict[str, str]:
        """Return the parameters of query and body, secrets left out, for the request log."""

    def answer(self, request: WireRequest, circumstances: Circumstances) -> WireAnswer:
        """Answer a request completely; never raises for what the caller did wrong."""

    def error(self, code: int, message: str) -> str:
        """Return the body of an error with this venue's code."""

    def too_often(self, *, status: int, seconds: float) -> WireAnswer:
        """Return what this venue answers to one who asked too often and is to rest for `seconds`.

        `status` tells the single excess (429) from the ban (418) for venues that say it so.
        """
