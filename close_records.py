"""How the carrying out of an incident is written down: its orders, and what a round found.

Pure. Owns no decision: it turns what a round did and found into records and sentences.
"""

from __future__ import annotations

from memory import Incident, OrderAction, OrderRecord
from model import ClientOrderId, CloseInstruction, Done, IncidentId, Order, RowKey
from order_safety import RoundPlan


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


def cancel_record(
    order: Order, *, incident_id: IncidentId, round_number: int, number: int, now: float
) -> OrderRecord:
    """The intent of one cancel, the `number`-th of its round."""
    return OrderRecord(
        client_id=ClientOrderId(f"{incident_id}-c{round_number}-{number}"),
        incident_id=incident_id,
        scope=order.scope,
        key=None,
        action=OrderAction.CANCEL,
        symbol=order.symbol,
        order_side=order.side.value,
        quantity=order.quantity,
        round_number=round_number,
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


def aims_of(incident: Incident) -> tuple[object, ...]:
    """What an incident is after: the same one with other targets is another task."""
    targets = tuple((t.number, t.key, t.may_remain) for t in incident.targets)
    return (incident.incident_id, incident.stage, targets)


def was_taken(record: OrderRecord) -> bool:
    """True for a close that the venue accepted, unless it says that nothing was executed.

    Some only acknowledge: what became of the order shows in the positions, a moment later.
    """
    done = record.outcome
    return isinstance(done, Done) and done.filled != 0


def is_told(record: OrderRecord) -> bool:
    """True for a cancel, and for a close of which the venue tells that something was executed."""
    is_close = record.action is OrderAction.CLOSE
    return not is_close or (isinstance(record.outcome, Done) and record.outcome.filled is not None)
