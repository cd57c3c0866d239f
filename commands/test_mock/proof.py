"""What the demo claims, proved from the exchange's own books, its request log and the lock file.

Refuses to know the guard: nothing here comes from its memory, database or messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

OUR_PREFIX = "ks-"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSeen:
    """What a bot read from the lock file at some moment."""

    stage: int
    is_locked: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the exchange and the disk say of one run."""

    ledger: tuple[Mapping[str, Any], ...]
    requests: tuple[Mapping[str, Any], ...]
    request_counts: Mapping[str, int]
    state: Mapping[str, Any]
    locks: tuple[LockSeen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing that must be true, and whether it is."""

    text: str
    holds: bool
    figures: str = ""


def prove_dry_run(evidence: Evidence) -> tuple[Claim, ...]:
    """A dry run reads and never writes."""
    sent = [entry for entry in evidence.requests if entry["method"] != "GET"]
    fills = our_fills(evidence)
    return (
        Claim(
            text="dry run: no POST, PUT or DELETE reached the exchange",
            holds=not sent and not fills,
            figures=f"{len(evidence.requests)} requests, {len(sent)} of them not GET",
        ),
        Claim(
            text="dry run: bots were never locked",
            holds=not any(lock.is_locked for lock in evidence.locks),
        ),
    )


def our_fills(evidence: Evidence) -> list[Mapping[str, Any]]:
    """Every execution of an order of ours, in order of time."""
    return [
        entry
        for entry in evidence.ledger
        if entry["event"] == "fill" and str(entry["client_id"]).startswith(OUR_PREFIX)
    ]


def by_incident(fills: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Fills grouped by the incident that their client order id names, in order of time."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for fill in fills:
        groups.setdefault(str(fill["client_id"]).split("-")[1], []).append(fill)
    return list(groups.values())


def prove_live_run(evidence: Evidence) -> tuple[Claim, ...]:
    """The side that lost was closed first, the rest only at the end, and nothing else happened."""
    fills = our_fills(evidence)
    groups = by_incident(fills)
    early = [fill for group in groups[:2] for fill in group]
    late = [fill for group in groups[2:] for fill in group]
    orders = _orders(evidence)
    account = next(iter(evidence.state["accounts"].values()))
    return (
        Claim(
            text="three incidents closed something, one after the other",
            holds=len(groups) == 3,
            figures=f"{len(groups)} incidents, {len(fills)} executions",
        ),
        Claim(
            text="stages 1 and 2 closed shorts and nothing else",
            holds=bool(early) and all(_before(fill) < 0 for fill in early),
            figures=_names(early),
        ),
        Claim(
            text="no long was touched before stage 3",
            holds=bool(late) and any(_before(fill) > 0 for fill in late),
            figures=_names(late),
        ),
        Claim(
            text="every execution made a position smaller, none crossed zero",
            holds=bool(fills) and all(_is_smaller(fill) for fill in fills),
        ),
        Claim(
            text="every order of ours was marked reduce-only",
            holds=bool(orders) and all(_is_reduce_only(order) for order in orders),
            figures=f"{len(orders)} orders",
        ),
        Claim(
            text="no order was executed twice",
            holds=len({fill["client_id"] for fill in fills}) == len(fills),
        ),
        Claim(
            text="the account is flat and no order rests",
            holds=not account["positions"] and not account["orders"],
            figures=f"equity {float(account['equity']):,.2f}",
        ),
        Claim(
            text="bots were locked in stages 1, 2 and 3 and free after the reset",
            holds=[lock.stage for lock in evidence.locks if lock.is_locked] == [1, 2, 3]
            and not evidence.locks[-1].is_locked,
            figures=" -> ".join(
                f"stage {lock.stage}" if lock.is_locked else "free" for lock in evidence.locks
            ),
        ),
    )


def _orders(evidence: Evidence) -> list[Mapping[str, Any]]:
    return [
        entry
        for entry in evidence.requests
        if entry["method"] == "POST" and str(entry["path"]).endswith("/order")
    ]


def _is_reduce_only(order: Mapping[str, Any]) -> bool:
    return bool(order["parameters"].get("reduceOnly") == "true")


def _before(fill: Mapping[str, Any]) -> Decimal:
    return Decimal(str(fill["position_before"]))


def _is_smaller(fill: Mapping[str, Any]) -> bool:
    before, after = _before(fill), Decimal(str(fill["position_after"]))
    return abs(after) < abs(before) and before * after >= 0


def _names(fills: list[Mapping[str, Any]]) -> str:
    return ", ".join(
        dict.fromkeys(
            f"{fill['symbol']} {'SHORT' if _before(fill) < 0 else 'LONG'}" for fill in fills
        )
    )
