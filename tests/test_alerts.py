"""What an alert says: the table of events, and the whole text of each kind that carries figures."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from alerts import (
    KINDS,
    MOST_ROWS,
    MOST_TEXT,
    TEST,
    Alert,
    Sender,
    with_delay,
    with_lost,
    with_more,
)
from memory import AuditEntry, Severity
from model import ScopeId
from openings import Opening
from plans import KeepReason, KeptPosition
from policy import AccountKind
from tests.decision_values import BOOK, BTC, DRY, NOON, SCOPE, THREE, at_stage_1, at_stage_3
from tests.decision_values import calm as calm_guard
from tests.test_log_page import documented_events

SENDER = Sender(host="guard1", kinds={})
PAGE = Path(__file__).resolve().parent.parent / "docs" / "alerts.md"
ONLY_ALERTS = {"threshold_half", "threshold_near", TEST}
"""What is told and stands in no log."""


def entry(event: str, severity: Severity = Severity.WARNING, **changes: object) -> AuditEntry:
    """An audit entry of one account."""
    made = AuditEntry(at=NOON, scope=SCOPE, event=event, message="words", severity=severity)
    return replace(made, **changes)  # type: ignore[arg-type]


def alert_of(told: AuditEntry, sender: Sender = SENDER, opening: Opening | None = None) -> Alert:
    """The alert that an entry must become."""
    alert = sender.alert(told, opening=opening)
    assert alert is not None
    return alert


def opened(stage_guard: object) -> tuple[AuditEntry, Opening]:
    """The trigger of a guard that has just acted, and what it opened."""
    decisions = stage_guard.decisions  # type: ignore[attr-defined]
    decision = next(one for one in decisions if one.opened)
    trigger = next(one for one in decision.records.audits if one.event == "trigger")
    return trigger, decision.opened[0]


# --- what a stage does --------------------------------------------------------------------------


def test_a_trigger_is_one_readable_message() -> None:
    """100 SOL short from 100 at 104.5 lost 450 of 10,000; half of it goes, the long stays."""
    trigger, opening = opened(at_stage_1())
    alert = alert_of(trigger, opening=opening)
    assert alert.title == "CRITICAL binance_futures: a stage acts"
    assert alert.body.splitlines() == [
        "REDUCED_TOP_RISK: drawdown 4.50% over 15m reached 4.50%",
        "equity 9,550.00, its peak over 15m was 10,000.00",
        "lost by: SHORT (SHORT 450.00, LONG 0.00)",
        "- SOLUSDT SHORT -450.00, risk 0.75: 100 -> 50.000",
        "- BTCUSDT LONG +0.00, risk 0.05: stays",
        "positions to close or reduce: 1",
        "net exposure -5450.00 (BTC 5000.00, SOL -10450.00) -> -225.00 (BTC 5000.00, SOL -5225.00)",
        f"incident {opening.incident.incident_id}",
        "2023-11-14 22:13:36 UTC, guard1",
    ]
    assert alert.subject == opening.incident.incident_id
    assert alert.severity is Severity.CRITICAL


def test_a_dry_run_and_a_practice_account_say_so_on_the_first_line() -> None:
    """Whoever is woken must see at once that no money is at stake."""
    trigger, opening = opened(at_stage_1(DRY))
    sender = Sender(host="guard1", kinds={ScopeId(BOOK): AccountKind.SIMULATOR})
    alert = alert_of(trigger, sender, opening)
    assert alert.title == "CRITICAL binance_futures (SIMULATOR, DRY RUN): a stage acts"
    last = "2023-11-14 22:13:36 UTC, guard1, dry run: nothing is sent"
    assert alert.body.splitlines()[-1] == last
    assert alert_of(entry("blind"), sender).title.startswith("WARNING binance_futures (SIMULATOR):")


def test_what_is_kept_and_what_is_unexplained_is_said() -> None:
    """A plan that leaves something alone, or rests on a loss that nothing explains, names it."""
    trigger, opening = opened(at_stage_3())
    kept = KeptPosition(key=BTC, quantity=Decimal(50), reason=KeepReason.NEVER_TOUCH)
    odd = replace(
        opening,
        plan=replace(opening.plan, kept=(kept,), notes=("a note",)),
        attribution=replace(opening.attribution, unexplained_fraction=0.25),
    )
    body = alert_of(trigger, opening=odd).body
    assert "lost by: SHORT (SHORT 1,000.00, LONG 0.00; 25% of the fall is unexplained)" in body
    assert "kept: BTCUSDT LONG 50 (NEVER_TOUCH)" in body
    assert "\na note\n" in body


def test_a_plan_that_ends_more_directional_says_so() -> None:
    """The operator may want to hedge by hand."""
    trigger, opening = opened(at_stage_3())
    plan = opening.plan
    lopsided = replace(
        plan, exposure_before=plan.exposure_after, exposure_after=plan.exposure_before
    )
    body = alert_of(trigger, opening=replace(opening, plan=lopsided)).body
    assert "the book ends more directional" in body.splitlines()


def test_of_many_rows_the_riskiest_are_spelt_out() -> None:
    """A book of thirty symbols must still fit on a telephone."""
    trigger, opening = opened(at_stage_3())
    many = replace(opening, ranked=opening.ranked[:1] * (MOST_ROWS + 3))
    lines = alert_of(trigger, opening=many).body.splitlines()
    assert sum(line.startswith("- SOLUSDT") for line in lines) == MOST_ROWS
    assert "- and 3 more" in lines


def test_a_plan_without_targets_says_that_nothing_is_closed() -> None:
    """Bots are locked out all the same."""
    trigger, opening = opened(at_stage_3())
    empty = replace(opening, incident=replace(opening.incident, targets=()))
    assert "nothing to close" in alert_of(trigger, opening=empty).body.splitlines()


def test_a_trigger_whose_opening_is_not_known_is_told_in_the_words_of_the_audit() -> None:
    """What was lost on the way must not cost the alert."""
    trigger, _ = opened(at_stage_3())
    assert alert_of(trigger).body.splitlines()[0] == trigger.message
    assert trigger.stage is THREE


# --- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", sorted(KINDS))
def test_every_event_of_the_table_is_told(event: str) -> None:
    """Title: how severe, who, what. Body: the words of the audit, what to do, when and where."""
    alert = alert_of(entry(event))
    assert alert.title == f"WARNING binance_futures: {KINDS[event].title}"
    todo = [f"-> {KINDS[event].todo}"] if KINDS[event].todo else []
    assert alert.body.splitlines() == ["words", *todo, "2023-11-14 22:13:20 UTC, guard1"]


def test_whoever_is_woken_reads_what_to_do() -> None:
    """Not in a document that is far away at night."""
    stuck = alert_of(entry("incident_stuck", Severity.CRITICAL, message="not at target: SOL"))
    assert stuck.body.splitlines()[:2] == ["not at target: SOL", "-> close by hand what is named"]
    ends = [kind for kind in KINDS.values() if kind.ends]
    assert not any(kind.todo for kind in ends), "what is over asks for nothing"


def test_what_has_many_causes_repeats_only_with_the_same_words() -> None:
    """Dust must not keep back that a second guard was seen."""
    details = (("incident_id", "i1"),)
    dust = alert_of(entry("incident_note", message="dust", details=details))
    guard = alert_of(entry("incident_note", message="a second guard", details=details))
    assert dust.key == ("incident_note", SCOPE, "i1 dust") != guard.key
    stuck = [alert_of(entry("incident_stuck", message=m, details=details)) for m in ("a", "b")]
    assert stuck[0].key == stuck[1].key == ("incident_stuck", SCOPE, "i1")


@pytest.mark.parametrize("event", ["trigger_refused", "check_warning", "lock_adopted"])
def test_another_reason_is_no_repeat(event: str) -> None:
    """A refused stage 3 is not what a refused stage 1 was, nor one hindrance the other."""
    one, other = (alert_of(entry(event, message=words)) for words in ("one", "other"))
    assert one.key != other.key


def test_what_is_critical_is_told_although_no_table_names_it() -> None:
    """A new event must not be silent because somebody forgot a line."""
    alert = alert_of(entry("some_new_event", Severity.CRITICAL))
    assert alert.title == "CRITICAL binance_futures: some new event"


@pytest.mark.parametrize("severity", [Severity.INFO, Severity.WARNING])
def test_what_is_neither_critical_nor_in_the_table_is_for_the_log(severity: Severity) -> None:
    """A telephone that tells everything is switched off."""
    assert SENDER.alert(entry("flow_booked", severity)) is None


def test_what_concerns_every_book_names_none() -> None:
    """`*` means nothing to whoever reads a message."""
    assert alert_of(entry("store_trouble", scope="*")).title == (
        "WARNING: the database cannot be written"
    )


def test_a_long_text_is_cut() -> None:
    """A service that refuses what is too long would never tell it."""
    alert = alert_of(entry("blind", message="x" * 5_000))
    assert len(alert.body.splitlines()[0]) == MOST_TEXT
    assert alert.body.splitlines()[0].endswith("...")


def test_what_was_kept_back_or_lost_is_counted() -> None:
    """Silence must not pass for calm."""
    alert = alert_of(entry("blind"))
    assert with_more(alert, 0) == with_lost(alert, 0) == alert
    assert with_more(alert, 12).body.splitlines()[-1] == "and 12 more like it"
    one = "1 earlier alert could not be delivered here"
    assert with_lost(alert, 1).body.splitlines()[-1] == one
    seven = "7 earlier alerts could not be delivered here"
    assert with_lost(alert, 7).body.splitlines()[-1] == seven


def test_what_could_not_be_delivered_for_long_says_so_on_its_first_line() -> None:
    """Below a minute it is as good as at once."""
    alert = alert_of(entry("blind"))
    assert with_delay(alert, 59.0) == alert
    late = with_delay(alert, 372.0)
    assert late == replace(alert, title=f"{alert.title} (6 min late)")


def test_events_of_the_table_exist_and_their_pairs_are_in_it() -> None:
    """A word that nothing says would never be told; an end of nothing would end nothing."""
    assert set(KINDS) - ONLY_ALERTS <= set(documented_events())
    assert {event for kind in KINDS.values() for event in kind.ends} <= set(KINDS)


def test_the_end_of_every_trouble_is_told() -> None:
    """Whoever was woken by the one waits for the other."""
    troubles = {event for event in documented_events() if event.endswith("_trouble")}
    assert len(troubles) >= 10
    for event in troubles:
        assert KINDS[f"{event.removesuffix('trouble')}recovered"].ends == (event,)


def test_the_page_explains_every_alert_and_no_other() -> None:
    """Whoever is woken looks the event up."""
    table = PAGE.read_text(encoding="utf-8").partition("## Every alert")[2]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == set(KINDS)


def test_a_calm_guard_tells_nothing() -> None:
    """A trusted reading that breaches nothing is no news."""
    entries = [one for decision in calm_guard().decisions for one in decision.records.audits]
    assert [SENDER.alert(one) for one in entries] == []
