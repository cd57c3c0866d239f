"""What the database never got, in the log: the only place for it once the process ends.

Pure but for the logger it is handed. A disk that takes no record takes no other file either, so
nothing is kept for the next start; that one believes positions and the lock file.
"""

from __future__ import annotations

from logger import Logger
from memory import BookMemory, Incident, OrderRecord, Records
from model import outcome_word


def log_unwritten(log: Logger, records: Records) -> None:
    """Log every decision, order and answer that ends with the process, in its last state.

    Readings are not repeated here, nor audit entries, which were logged when they were made.
    """
    for book in records.books:
        log.critical("unwritten_book", **_book(book))
    incidents = {
        book.incident.incident_id: book.incident for book in records.books if book.incident
    }
    incidents.update((incident.incident_id, incident) for incident in records.incidents)
    for incident in incidents.values():
        log.critical("unwritten_incident", **_incident(incident))
    orders = {(order.action, order.client_id, order.subject): order for order in records.orders}
    for order in orders.values():
        log.critical("unwritten_order", **_order(order))
    if records.switch is not None:
        redis = records.switch.redis
        log.critical(
            "unwritten_switch",
            local=records.switch.local.state.value,
            redis=None if redis is None else redis.state.value,
        )
    for answer in records.answers:
        log.critical(
            "unwritten_answer",
            request_id=answer.request_id,
            accepted=answer.accepted,
            answer=answer.message,
        )


def _book(book: BookMemory) -> dict[str, object]:
    return {
        "book": book.name,
        "stage": book.stage.name,
        "since_ts": book.since,
        "baseline_ts": book.baseline_at,
        "cooldowns_ts": list(book.cooldowns),
        "locks": [lock.reason for lock in book.locks],
        "manual_reset_required": book.manual_reset_required,
    }


def _incident(incident: Incident) -> dict[str, object]:
    return {
        "incident_id": incident.incident_id,
        "book": incident.book,
        "stage": incident.stage.name,
        "status": incident.status.value,
        "opened_ts": incident.opened_at,
        "reason": incident.reason,
        "targets": [
            f"{target.key.symbol} {target.key.side} {target.initial_quantity:f} -> "
            f"{target.may_remain:f} {target.status.value}"
            for target in incident.targets
        ],
    }


def _order(order: OrderRecord) -> dict[str, object]:
    return {
        "incident_id": order.incident_id,
        "action": order.action.value,
        "client_id": order.client_id,
        "subject": order.subject,
        "scope": order.scope,
        "order": f"{order.symbol} {order.order_side} {order.quantity:f}",
        "sent_ts": order.created_at,
        "outcome": "SENT" if order.outcome is None else outcome_word(order.outcome),
    }
