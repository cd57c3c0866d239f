"""What a person reads about incidents: sentences, figures and how loudly they are said."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from exposure import Exposure
from incident_audits import (
    blindness_audit,
    ended_audit,
    extended_audit,
    opening_audit,
    say_exposure,
    say_kept,
    say_locks,
    say_targets,
)
from memory import AuditEntry, BookMemory, IncidentStatus, Severity, TargetStatus
from model import Asset, Side, Symbol
from tests.decision_values import (
    BOOK,
    BTC,
    LIVE,
    NOON,
    SCOPE,
    SOL,
    THREE,
    Guard,
    at_stage_1,
    at_stage_3,
    calm,
    flat,
    live,
    position,
    seen,
)

CLASHING = {field.name for field in fields(AuditEntry)} | {"event", "message"}


def test_an_opening_is_told_with_all_that_led_to_it() -> None:
    """The short lost 10 %; 50 BTC at 100 less 100 SOL at 110 were held (lesson 8)."""
    guard = at_stage_3()
    opening = guard.decisions[-1].opened[0]
    assert opening_audit(opening) == AuditEntry(
        at=NOON + 11,
        scope=BOOK,
        event="trigger",
        message="ALL_CLOSED: drawdown 10.00% over 15m reached 10.00%; source SHORT; "
        "SOLUSDT SHORT 100 -> 0, BTCUSDT LONG 50 -> 0.",
        stage=THREE,
        mode="CLOSE_ALL_POSITIONS",
        severity=Severity.CRITICAL,
        details=(
            ("incident_id", opening.incident.incident_id),
            ("takes_over", None),
            ("reason", "drawdown 10.00% over 15m reached 10.00%"),
            ("equity", 9_000.0),
            ("source", "SHORT"),
            ("losses_long", 0.0),
            ("losses_short", 1_000.0),
            ("unexplained_fraction", 0.0),
            ("targets", "SOLUSDT SHORT 100 -> 0, BTCUSDT LONG 50 -> 0"),
            ("kept", ""),
            ("net_exposure_before", "-6000.00 (BTC 5000.00, SOL -11000.00)"),
            ("net_exposure_after", "0.00 (BTC 0.00, SOL 0.00)"),
            ("is_more_directional", False),
            ("notes", ""),
            ("drawdown", 0.1),
            ("threshold", 0.10),
            ("window", "15m"),
            ("peak_equity", 10_000.0),
        ),
    )


def test_an_empty_plan_and_what_it_kept_are_said() -> None:
    """The only loser may not be touched: nothing to close, and its name stands in the report."""
    guard = at_stage_1(live(never_touch=(Symbol("SOLUSDT"),)))
    entry = opening_audit(guard.decisions[-1].opened[0])
    assert entry.message.endswith(
        "source UNKNOWN; nothing to close. Kept: SOLUSDT SHORT 100 (NEVER_TOUCH)."
    )
    assert dict(entry.details)["kept"] == "SOLUSDT SHORT 100 (NEVER_TOUCH)"


def test_a_book_that_ends_more_directional_says_so() -> None:
    """100 SOL short against 100 BTC long, about even; without the short the long stands alone."""
    guard = calm()
    for at in (10, 13):
        guard.look(
            seen(
                at,
                position("SOL", Side.SHORT, "100", 108.0),
                position("BTC", Side.LONG, "100", 100.0),
            )
        )
    entry = opening_audit(guard.decisions[-1].opened[0])
    assert entry.message.endswith(" The book ends more directional.")
    assert dict(entry.details)["is_more_directional"] is True


def test_a_follow_up_is_told_without_a_drawdown() -> None:
    """No threshold asked for it."""
    guard = flat()
    look = seen(30, position("ETH", Side.LONG, "10", 100.0), wallet=9_000.0)
    entry = opening_audit(guard.look(look).opened[0])
    assert entry.event == "follow_up"
    assert entry.message == (
        "ALL_CLOSED: positions appeared while everything must stay closed; source UNKNOWN; "
        "ETHUSDT LONG 10 -> 0."
    )
    assert "drawdown" not in dict(entry.details)


def test_what_is_added_to_a_running_incident_is_told_apart() -> None:
    """The message names what appeared, the details all that is to be closed now."""
    opening = at_stage_3().decisions[-1].opened[0]
    extended = opening.incident
    added = replace(opening, incident=replace(extended, targets=extended.targets[1:]))
    entry = extended_audit(added, extended, now=NOON + 20)
    assert entry.message.endswith("added to the open incident: BTCUSDT LONG 50 -> 0.")
    assert dict(entry.details)["targets"] == "SOLUSDT SHORT 100 -> 0, BTCUSDT LONG 50 -> 0"
    assert (entry.at, entry.severity) == (NOON + 20, Severity.CRITICAL)


@pytest.mark.parametrize(
    ("status", "severity"),
    [
        (IncidentStatus.DONE, Severity.INFO),
        (IncidentStatus.SIMULATED, Severity.INFO),
        (IncidentStatus.TAKEN_OVER, Severity.INFO),
        (IncidentStatus.EXPIRED, Severity.CRITICAL),
        (IncidentStatus.ABANDONED, Severity.WARNING),
    ],
)
def test_an_incident_that_was_given_up_is_warned_of(
    status: IncidentStatus, severity: Severity
) -> None:
    """Even when no target was missed."""
    entry = ended_audit(replace(at_stage_3().incident, status=status), (), now=NOON)
    assert (entry.event, entry.severity) == (f"incident_{status.value.lower()}", severity)


def test_an_end_says_how_every_target_stands() -> None:
    """Done or missed, and "nothing was to be closed" for an empty plan."""
    incident = replace(at_stage_3().incident, status=IncidentStatus.ABANDONED, rounds=4)
    missed = (replace(incident.targets[0], status=TargetStatus.MISSED),)
    entry = ended_audit(
        replace(incident, targets=(*missed, *incident.targets[1:])), missed, now=NOON
    )
    assert entry.message == (
        "ALL_CLOSED ABANDONED: SOLUSDT SHORT 100 -> 0 MISSED, BTCUSDT LONG 50 -> 0 OPEN; "
        "missed: SOLUSDT SHORT 100 -> 0"
    )
    assert entry.details == (("incident_id", incident.incident_id), ("rounds", 4))
    empty = ended_audit(replace(incident, targets=()), (), now=NOON)
    assert empty.message == "ALL_CLOSED ABANDONED: nothing was to be closed"


def test_what_an_expired_incident_leaves_open_is_named_with_what_to_do() -> None:
    """No target holds it any longer: whoever reads this is the last to act."""
    incident = replace(at_stage_3().incident, status=IncidentStatus.EXPIRED)
    missed = (replace(incident.targets[0], status=TargetStatus.MISSED),)
    entry = ended_audit(replace(incident, targets=missed), missed, now=NOON)
    assert entry.message == (
        "ALL_CLOSED EXPIRED: SOLUSDT SHORT 100 -> 0 MISSED; "
        "still above its target: SOLUSDT SHORT 100 -> 0; "
        "nothing is closed of it until a stage is confirmed anew -> close it by hand"
    )
    unconfirmed = ended_audit(replace(incident, targets=()), (), now=NOON)
    assert unconfirmed.message == (
        "ALL_CLOSED EXPIRED: nothing was to be closed; every target held when it was last read, "
        "not twice -> compare with the exchange"
    )


def test_blindness_is_told_when_it_begins_and_when_it_ends() -> None:
    """With the scope that is not seen."""
    book = BookMemory(name=BOOK)
    begins = blindness_audit(book, scope=SCOPE, is_set=True, now=NOON)
    ends = blindness_audit(book, scope=SCOPE, is_set=False, now=NOON)
    assert (begins.message, begins.severity) == (
        "binance_futures: bots are locked until there is a trusted reading that breaches nothing",
        Severity.WARNING,
    )
    assert (ends.message, ends.severity) == (
        "binance_futures: the blind lock ends with a trusted reading that breaches nothing",
        Severity.INFO,
    )


def test_short_forms() -> None:
    """Targets, kept positions, exposure and locks in one line, or in none."""
    guard = at_stage_3()
    assert say_targets(()) == ""
    assert say_kept(()) == ""
    assert say_exposure(Exposure()) == "0.00"
    assert say_exposure(Exposure(by_base=((Asset("BTC"), -1.0),), total=-1.0)) == (
        "-1.00 (BTC -1.00)"
    )
    assert say_locks(BookMemory(name=BOOK)) == "its lock is lifted"
    assert say_locks(guard.book) == "still locked by killswitch_stage_3_close_all_positions"
    assert {target.key for target in guard.incident.targets} == {SOL, BTC}


def all_audits() -> list[AuditEntry]:
    """What a short eventful life leaves."""
    guard = Guard(policy=LIVE)
    for source in (at_stage_1(), at_stage_3(), flat()):
        guard.decisions += source.decisions
    return [entry for decision in guard.decisions for entry in decision.records.audits]


def test_details_repeat_no_key_and_no_field() -> None:
    """A log line shows entry and details side by side; a key given twice would be an error."""
    entries = all_audits()
    assert len(entries) > 3
    for entry in entries:
        names = [name for name, _ in entry.details]
        assert len(names) == len(set(names))
        assert not CLASHING & set(names)
