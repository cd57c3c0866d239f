"""Faults as a plan: which request meets which fault, decided without any transport.

A fault matches requests by method and a pattern searched in the path, and applies to the n-th
match, to the first `times` matches, to all after the first `skip`, to every match, or to each with
a probability drawn from its own seed. Several faults may meet one request; they apply together (a
delay and then a reset). The carrier (the HTTP server, or an in-memory venue) asks `take` once per
request and does what the answer says. `before` a fault means before the request takes effect,
`after` means its effect is real and only the answer suffers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """What happens to a request that meets the fault."""

    DELAY = "delay"
    """Wait `seconds` before anything else."""
    DROP_BEFORE = "drop_before"
    """Reset the connection; nothing took effect."""
    DROP_AFTER = "drop_after"
    """Take effect, then reset the connection."""
    ANSWER_BEFORE = "answer_before"
    """Answer `status` and `body`; nothing took effect."""
    ANSWER_AFTER = "answer_after"
    """Take effect, then answer `status` and `body`."""
    ERROR = "error"
    """Answer the venue's error `code` and `message`; nothing took effect."""
    RATE_LIMIT = "rate_limit"
    """Answer that there were too many requests, for `seconds`; nothing took effect."""
    TRUNCATE = "truncate"
    """Take effect, then send half of the answer."""
    HOLD_BEFORE = "hold_before"
    """Wait for a release; then take effect and answer."""
    HOLD_AFTER = "hold_after"
    """Take effect, then wait for a release before answering."""
    STALE = "stale"
    """Answer a read as of `seconds` or `requests` ago."""
    PARTIAL_FILL = "partial_fill"
    """Fill only `fraction` of a market order; the rest expires."""
    ACKNOWLEDGE_ONLY = "acknowledge_only"
    """Take effect, but answer a new order as NEW with nothing filled."""
    WRONG_MODE = "wrong_mode"
    """Answer reads of the position mode with the opposite of the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planned fault. `nth` counts matches from 1 and applies once; `times` bounds the rest.

    The first `skip` matches are left alone. `method` may name several, as in `POST|DELETE`.
    """

    kind: FaultKind
    path: str = ""
    method: str = ""
    nth: int | None = None
    skip: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.0
    requests: int = 0
    status: int = 503
    body: str = ""
    content_type: str = "application/json"
    code: int = 0
    message: str = ""
    fraction: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        re.compile(self.path)
        if not 0.0 <= self.probability <= 1.0 or not 0.0 <= self.fraction <= 1.0:
            raise ValueError("probability and fraction lie between 0 and 1")
        if self.nth is not None and self.nth < 1:
            raise ValueError("nth counts from 1")


@dataclass(slots=True)
class _Planned:
    fault: Fault
    dice: random.Random
    seen: int = 0
    applied: int = 0


class FaultPlan:
    """The faults that are scheduled, in the order of their scheduling."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._planned: list[_Planned] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Schedule a fault; its counting starts now."""
        self._planned.append(_Planned(fault, random.Random(fault.seed)))

    def clear(self) -> None:
        """Forget every fault. Requests that are being held stay held."""
        self._planned.clear()

    def take(self, method: str, path: str) -> tuple[Fault, ...]:
        """Return the faults that this request meets, and count it."""
        return tuple(planned.fault for planned in self._planned if _meets(planned, method, path))

    def describe(self) -> list[dict[str, object]]:
        """List the scheduled faults with how often each matched and applied."""
        return [
            {
                "kind": planned.fault.kind.value,
                "name": planned.fault.name,
                "method": planned.fault.method,
                "path": planned.fault.path,
                "seen": planned.seen,
                "applied": planned.applied,
            }
            for planned in self._planned
        ]


def _meets(planned: _Planned, method: str, path: str) -> bool:
    fault = planned.fault
    if fault.method and method.upper() not in fault.method.upper().split("|"):
        return False
    if not re.search(fault.path, path):
        return False
    planned.seen += 1
    if planned.seen <= fault.skip or fault.nth not in (None, planned.seen):
        return False
    if fault.times is not None and planned.applied >= fault.times:
        return False
    if fault.probability < 1.0 and planned.dice.random() >= fault.probability:
        return False
    planned.applied += 1
    return True


def fault_from_mapping(entry: Mapping[str, Any]) -> Fault:
    """Read a fault of the control port. Raises ValueError for an unknown field or kind."""
    known = {field.name for field in fields(Fault)}
    unknown = sorted(set(entry) - known)
    if unknown or "kind" not in entry:
        raise ValueError(f"fault: unknown key {', '.join(unknown)}" if unknown else "fault: kind")
    values = dict(entry)
    values["kind"] = FaultKind(str(entry["kind"]))
    return Fault(**values)
