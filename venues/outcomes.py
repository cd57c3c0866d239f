"""What several answers prove together, for requests that one outcome has to stand for."""

from __future__ import annotations

from collections.abc import Iterable

from model import Done, Outcome, Refused, Unknown, VenueOrderId

EVERY = VenueOrderId("")
"""Stands for the id of a cancel that names no single order."""


def as_one(outcomes: Iterable[Outcome]) -> Outcome:
    """Done only when all are; else the first doubt, or without any the first refusal."""
    listed = tuple(outcomes)
    for kind in (Unknown, Refused):
        for outcome in listed:
            if isinstance(outcome, kind):
                return outcome
    return Done(order_id=EVERY)
