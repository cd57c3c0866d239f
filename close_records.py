"""How the carrying out of an incident is written down: orders, notes, and the alert of a stuck one.

Pure. Owns no decision: it turns what a round did and found into records and sentences.
"""

from __future__ import annotations

from memory import (
    AuditEntry,
    Incident,
    OrderAction,
    OrderRecord,
    Severity,
    TargetStatus,
)
from model import ClientOrderId, CloseInstruction, Order, RowKey
from order_safety import RoundPlan

STUCK_ALERTS_S = (30.0, 120.0)
STUCK_REPEAT_S = 600.0


def close_record(incident: Incident, close: CloseInstruction, now: float) -> OrderRecord:
    """The intent of one closing order."""
    return OrderRecord(
        client_id=close.client_id,
        incident_id=incident.incident_id,
        scope=close.scope,
        key=RowKey(close.scope, close.symbol, close.side),
        action=OrderAction.CLOSE,
        symbol=close.symbol,
        order_side=close.side.closing_order.value,
        quantity=close.quantity,
        round_number=incident.rounds,
        created_at=now,
        dry_run=False,
    )


def cancel_record(incident: Incident, order: Order, *, number: int, now: float) -> OrderRecord:
    """The intent of one cancel, the `number`-th of its round."""
    return OrderRecord(
        client_id=ClientOrderId(f"{incident.incident_id}-c{incident.rounds}-{number}"),
        incident_id=incident.incident_id,
        scope=order.scope,
        key=None,
        action=OrderAction.CANCEL,
        symbol=order.symbol,
        order_side=order.side.value,
        quantity=order.quantity,
        round_number=incident.rounds,
        created_at=now,
        dry_run=False,
        subject=order.order_id,
    )


def say_round(plan: RoundPlan) -> tuple[str, ...]:
    """What a round found besides its orders, one sentence each."""
    return (
        *(
            f"{t.key.symbol} {t.key.side}: the rest is too small for the venue to close"
            for t in plan.new_dust
        ),
        *(f"{v.key.symbol} {v.key.side}: {v.kind.value}" for v in plan.violations),
        *(
            f"{order.symbol}: order {order.client_id} carries our mark but is not ours: "
            "a second guard seems to run on this account"
            for order in plan.foreign_orders
        ),
    )


def stuck_alert_due_s(sent: int) -> float:
    """After how many seconds of an open incident the next alert is due."""
    if sent < len(STUCK_ALERTS_S):
        return STUCK_ALERTS_S[sent]
    return STUCK_ALERTS_S[-1] + STUCK_REPEAT_S * (sent - len(STUCK_ALERTS_S) + 1)


def say_stuck(incident: Incident, now: float, *, age_s: float) -> AuditEntry | None:
    """The alert of an incident that stays open for `age_s`, None when no target of it is open."""
    missed = [target for target in incident.targets if target.status is TargetStatus.OPEN]
    if not missed:
        return None
    names = ", ".join(f"{target.key.symbol} {target.key.side}" for target in missed)
    return AuditEntry(
        at=now,
        scope=incident.book,
        event="incident_stuck",
        message=f"open for {age_s:.0f} s, not at target: {names}",
        stage=incident.stage,
        mode=incident.mode,
        severity=Severity.CRITICAL,
        details=(("incident_id", incident.incident_id), ("rounds", incident.rounds)),
    )


def aims_of(incident: Incident) -> tuple[object, ...]:
    """What an incident is after: the same one with other targets is another task."""
    targets = tuple((t.number, t.key, t.may_remain) for t in incident.targets)
    return (incident.incident_id, incident.stage, targets)
