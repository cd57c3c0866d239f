"""What a person far from the machine is told, and in which words.

Pure. Owns the table of events that become alerts and the sentences of an alert. Decides nothing:
an alert says again what the audit says already, with more of what led to it where that is known.
When repeats are kept back is `quietening`'s to say, how near a book is to a stage `approach`'s.
Rules:

- What the audit calls critical is told although the table does not know it.
- An alert can be read alone, on a telephone: who, what, the figures, when, and that nothing was
  sent where that is so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from incident_audits import say_exposure, say_kept
from memory import AuditEntry, CloseTarget, Severity
from model import RowKey, Side
from openings import Opening, say_window
from policy import AccountKind
from risk_attribution import ScoredRow

MOST_ROWS = 8
"""Rows of an opening that are spelt out: more than fit on a screen say less."""
MOST_TEXT = 1_500
"""Characters of one alert; the strictest of the common services takes 2,000."""

LATE_AFTER_S = 60.0
"""What waited so long for its target may be overtaken by what arrived before it."""

Key = tuple[str, str, str]
"""What makes two alerts the same: event, scope and subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One message: `title` is one line, `body` some.

    `subject` is what it is about: the incident or stage, and the words where those differ by cause.
    """

    at: float
    event: str
    scope: str
    severity: Severity
    title: str
    body: str
    subject: str = ""

    @property
    def key(self) -> Key:
        """Alerts with the same key are repeats."""
        return self.event, self.scope, self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one event is told.

    `is_always_told`: each is an event of its own, which nothing keeps back and no acknowledgement
    silences. `is_reminder`: it comes at a pace of its own about what was told, so that only an
    acknowledgement keeps it back. `has_many_causes`: only the same words are a repeat. `ends` names
    the events that are over with it: should one of them come again, it is news.
    `todo` is what the reader should do, where the words of the audit do not say it.
    """

    title: str
    todo: str = ""
    is_always_told: bool = False
    is_reminder: bool = False
    has_many_causes: bool = False
    ends: tuple[str, ...] = ()


def _always(title: str) -> Kind:
    return Kind(title=title, is_always_told=True)


def _end_of(title: str, *events: str) -> Kind:
    return Kind(title=title, ends=events)


HALF_WAY = "threshold_half"
NEAR = "threshold_near"
ACKNOWLEDGED = "alerts_acknowledged"
TEST = "test"

KINDS: Mapping[str, Kind] = {
    "started": _always("the guard has started"),
    TEST: _always("a test"),
    "stopped": _always("the guard has stopped"),
    HALF_WAY: Kind(title="half way to a stage"),
    NEAR: Kind(title="close to a stage", todo="now is the time to reduce by hand"),
    "trigger": _always("a stage acts"),
    "kill": _always("the operator's KILL is carried out"),
    "follow_up": _always("a position appeared, it is to be closed"),
    "trigger_refused": Kind(title="a stage may not act", has_many_causes=True),
    "incident_note": Kind(title="seen while closing", has_many_causes=True),
    "incident_stuck": Kind(
        title="NOT CLOSED YET", is_reminder=True, todo="close by hand what is named"
    ),
    "incident_done": _always("closed as planned"),
    "incident_simulated": _always("would have been closed"),
    "incident_taken_over": _always("a higher stage goes on"),
    "incident_expired": _always("GIVEN UP with positions open"),
    "incident_abandoned": _always("ended by a reset"),
    "rearmed": _always("armed again"),
    "reset": _always("reset"),
    "book_not_configured": Kind(title="nobody guards it any more"),
    "blind": Kind(
        title="BLIND, nothing is guarded", todo="look at the exchange, the key and the network"
    ),
    "sight_regained": _end_of("sees again", "blind"),
    "blind_lock_set": Kind(title="bots are locked out, because nothing is seen"),
    "blind_lock_lifted": _end_of("that lock is gone", "blind_lock_set"),
    "suspect": Kind(title="a reading is in doubt", todo="was it you? else wait, it ends by itself"),
    "suspicion_ended": _end_of("the doubt is over", "suspect"),
    "unexplained_loss": Kind(
        title="a loss that nothing explains", todo="if you moved money: flow BOOK AMOUNT"
    ),
    "unexplained_loss_undone": _end_of("that loss is undone", "unexplained_loss"),
    "inferred_inflow": Kind(title="a rise that nothing explains"),
    "inferred_inflow_undone": _end_of("that rise is undone", "inferred_inflow"),
    "forced_trust": Kind(title="in doubt for too long, believed now"),
    "cross_check_failed": Kind(title="the exchange contradicts itself"),
    "switch_changed": _always("the operator's switch changed"),
    "switch_restored": Kind(title="the switch was put back"),
    "switch_adopted": Kind(title="the switch was taken over from the lock file"),
    "switch_unreadable": Kind(title="the switch in Redis cannot be understood"),
    "switch_silent": Kind(title="Redis is silent, bots are halted", todo="bring Redis back"),
    "switch_answers": _end_of("Redis answers again", "switch_silent"),
    "local_switch_trouble": Kind(
        title="the switch in the database cannot be read",
        todo="set the switch in Redis; look at the disk",
    ),
    "local_switch_recovered": _end_of("it can be read again", "local_switch_trouble"),
    "redis_switch_trouble": Kind(
        title="Redis does not take the switch", todo="look at the rights of its user"
    ),
    "redis_switch_recovered": _end_of("Redis takes the switch again", "redis_switch_trouble"),
    "lock_mirror_trouble": Kind(title="the lock does not reach Redis", todo="bring Redis back"),
    "lock_mirror_recovered": _end_of("the lock reaches Redis again", "lock_mirror_trouble"),
    "entry_orders_trouble": Kind(
        title="entry orders are NOT CANCELLED", todo="cancel by hand what is named"
    ),
    "entry_orders_recovered": _end_of("entry orders can be cancelled", "entry_orders_trouble"),
    ACKNOWLEDGED: _always("somebody has seen it"),
    "store_trouble": Kind(
        title="the database cannot be written",
        todo="free the disk; do not stop the guard before it has recovered",
    ),
    "store_recovered": _end_of("the database is written again", "store_trouble"),
    "lock_trouble": Kind(
        title="the lock file cannot be written", todo="look at its folder and its disk"
    ),
    "lock_recovered": _end_of("the lock file is written again", "lock_trouble"),
    "room_trouble": Kind(title="the disk of the lock file is full", todo="free the disk"),
    "room_recovered": _end_of("the disk has room again", "room_trouble"),
    "descriptors_trouble": Kind(
        title="too many open files", todo="restart the guard soon, raise the limit"
    ),
    "descriptors_recovered": _end_of("files can be opened again", "descriptors_trouble"),
    "store_upkeep_trouble": Kind(title="the database cannot be thinned"),
    "store_upkeep_recovered": _end_of("the database is thinned again", "store_upkeep_trouble"),
    "ledger_trouble": Kind(
        title="the exchange's records cannot be read",
        todo="check the key's right to read transfers; meanwhile book with flow",
    ),
    "ledger_recovered": _end_of("the records can be read again", "ledger_trouble"),
    "alerts_trouble": Kind(title="alerts do not arrive everywhere", todo="check --notify"),
    "alerts_recovered": _end_of("alerts arrive again", "alerts_trouble"),
    "check_warning": Kind(title="something would hinder a close", has_many_causes=True),
    "not_watched": Kind(title="something is not watched"),
    "lock_adopted": Kind(
        title="a lock of the last run was taken over",
        has_many_causes=True,
        todo="look at the account, then reset",
    ),
    "record_refused": Kind(title="the database refused a record"),
    "clock_moved": Kind(title="the clock of the machine was set"),
    "clock_set_back": Kind(title="the clock of the machine is behind"),
    "task_failed": Kind(
        title="a fault of the guard", has_many_causes=True, todo="report it with the log"
    ),
}
"""Every event that is told. docs/alerts.md says of each what it means and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whose alerts these are: the machine, and what kind of account each scope is.

    `kinds` names the scopes that hold no real money.
    """

    host: str
    kinds: Mapping[str, AccountKind]

    def alert(self, entry: AuditEntry, *, opening: Opening | None = None) -> Alert | None:
        """The alert that an audit entry becomes, None for what only the log keeps.

        `opening` is the one that a trigger is about, where it is known.
        """
        if entry.event not in KINDS and entry.severity is not Severity.CRITICAL:
            return None
        text = entry.message if opening is None else say_opening(opening)
        return Alert(
            at=entry.at,
            event=entry.event,
            scope=entry.scope,
            severity=entry.severity,
            title=self._title(entry),
            body=f"{_shortened(text)}\n{_advice(entry)}{self._foot(entry)}",
            subject=_subject(entry),
        )

    def _title(self, entry: AuditEntry) -> str:
        kind = KINDS.get(entry.event)
        said = entry.event.replace("_", " ") if kind is None else kind.title
        who = "" if entry.scope == "*" else f" {entry.scope}"
        marks = [mark for mark in (self._kind_of(entry), "DRY RUN" * entry.dry_run) if mark]
        practice = f" ({', '.join(marks)})" if marks else ""
        return f"{entry.severity.value}{who}{practice}: {said}"

    def _foot(self, entry: AuditEntry) -> str:
        """When and where it was, and that nothing is sent in a dry run."""
        at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        dry = ", dry run: nothing is sent" if entry.dry_run else ""
        return f"{at}, {self.host}{dry}"

    def _kind_of(self, entry: AuditEntry) -> str:
        kind = self.kinds.get(entry.scope)
        return "" if kind is None else kind.upper()


def with_more(alert: Alert, count: int) -> Alert:
    """The alert, saying that so many like it were kept back before."""
    return alert if not count else replace(alert, body=f"{alert.body}\nand {count} more like it")


def with_lost(alert: Alert, count: int) -> Alert:
    """The alert, saying that so many before it never left."""
    if not count:
        return alert
    lost = f"{count} earlier alert{'' if count == 1 else 's'} could not be delivered here"
    return replace(alert, body=f"{alert.body}\n{lost}")


def with_delay(alert: Alert, waited_s: float) -> Alert:
    """The alert, saying on its first line how long it could not be delivered, if that was long."""
    if waited_s < LATE_AFTER_S:
        return alert
    return replace(alert, title=f"{alert.title} ({waited_s / 60:.0f} min late)")


def say_opening(opening: Opening) -> str:
    """What a stage that was triggered does and why, in the order in which a person asks."""
    incident, found, plan = opening.incident, opening.attribution, opening.plan
    lines = [f"{incident.stage.name}: {incident.reason}", _say_equity(opening)]
    losses = ", ".join(
        f"{side.value} {found.losses_of(side):,.2f}" for side in (Side.SHORT, Side.LONG)
    )
    unexplained = (
        f"; {found.unexplained_fraction:.0%} of the fall is unexplained"
        if found.unexplained_fraction >= 0.01
        else ""
    )
    lines.append(f"lost by: {found.source.value} ({losses}{unexplained})")
    targets = {target.key: target for target in incident.targets}
    lines += [_say_row(row, targets) for row in opening.ranked[:MOST_ROWS]]
    if len(opening.ranked) > MOST_ROWS:
        lines.append(f"- and {len(opening.ranked) - MOST_ROWS} more")
    closed = sum(not target.is_passage for target in incident.targets)
    lines.append(f"positions to close or reduce: {closed}" if closed else "nothing to close")
    if plan.kept:
        lines.append(f"kept: {say_kept(plan.kept)}")
    before, after = say_exposure(plan.exposure_before), say_exposure(plan.exposure_after)
    lines.append(f"net exposure {before} -> {after}")
    if plan.is_more_directional:
        lines.append("the book ends more directional")
    return "\n".join((*lines, *plan.notes, f"incident {incident.incident_id}"))


def _say_equity(opening: Opening) -> str:
    breach = opening.breach
    assert breach is not None
    window = say_window(breach.window_s)
    return f"equity {opening.equity:,.2f}, its peak over {window} was {breach.peak_equity:,.2f}"


def _say_row(scored: ScoredRow, targets: Mapping[RowKey, CloseTarget]) -> str:
    """One row: what it made, how risky it is, and what becomes of it."""
    row, target = scored.row, targets.get(scored.row.key)
    made = f"- {row.key.symbol} {row.key.side.value} {scored.result:+,.2f}, risk {scored.score:.2f}"
    if target is None:
        return f"{made}: stays"
    return f"{made}: {target.initial_quantity:f} -> {target.may_remain:f}"


def _subject(entry: AuditEntry) -> str:
    incident_id = str(dict(entry.details).get("incident_id") or "")
    if entry.event in (HALF_WAY, NEAR):
        return entry.stage.name
    kind = KINDS.get(entry.event)
    return f"{incident_id} {entry.message}" if kind and kind.has_many_causes else incident_id


def _advice(entry: AuditEntry) -> str:
    """A line that says what to do, nothing where nothing is to be done."""
    kind = KINDS.get(entry.event)
    return f"-> {kind.todo}\n" if kind is not None and kind.todo else ""


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."
