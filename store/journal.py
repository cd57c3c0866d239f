"""How orders, operator requests and the audit become columns of the database, and come back.

The other half of `store.codec`, under the same rules: both directions side by side, no SQL, and
a column that makes no sense raises ValueError, KeyError, TypeError or decimal.InvalidOperation.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import assert_never

from memory import AuditEntry, Detail, OrderAction, OrderRecord, RequestAnswer, Severity
from model import (
    ClientOrderId,
    Done,
    IncidentId,
    OperatorRequest,
    Outcome,
    RefusalReason,
    Refused,
    RowKey,
    ScopeId,
    Side,
    Stage,
    Symbol,
    Unknown,
    VenueOrderId,
    outcome_word,
)
from store.codec import Columns, compact, flag, plain


def _outcome_columns(outcome: Outcome | None) -> dict[str, object]:
    columns: dict[str, object] = dict.fromkeys(
        ("outcome", "venue_order_id", "filled", "refusal", "code", "message", "retry_after_s")
    )
    if outcome is None:
        return columns
    columns["outcome"] = outcome_word(outcome)
    match outcome:
        case Done():
            columns["venue_order_id"] = outcome.order_id
            columns["filled"] = None if outcome.filled is None else plain(outcome.filled)
        case Refused():
            columns["refusal"] = outcome.reason
            columns["code"] = outcome.code
            columns["message"] = outcome.message
            columns["retry_after_s"] = outcome.retry_after_s
        case Unknown():
            columns["message"] = outcome.cause
        case _:
            assert_never(outcome)
    return columns


def _outcome_from(row: Columns) -> Outcome | None:
    match row["outcome"]:
        case None:
            return None
        case "DONE":
            filled = row["filled"]
            return Done(
                order_id=VenueOrderId(row["venue_order_id"]),
                filled=None if filled is None else Decimal(filled),
            )
        case "REFUSED":
            return Refused(
                reason=RefusalReason(row["refusal"]),
                code=row["code"],
                message=row["message"],
                retry_after_s=row["retry_after_s"],
            )
        case "UNKNOWN":
            return Unknown(cause=row["message"])
        case word:
            raise ValueError(f"no outcome: {word!r}")


def order_columns(order: OrderRecord) -> dict[str, object]:
    """The row of `orders`; the row that is closed lies in the order's own scope."""
    return {
        "incident_id": order.incident_id,
        "action": order.action,
        "client_id": order.client_id,
        "subject": order.subject,
        "round_number": order.round_number,
        "dry_run": order.dry_run,
        "scope": order.scope,
        "symbol": order.symbol,
        "row_symbol": None if order.key is None else order.key.symbol,
        "row_side": None if order.key is None else order.key.side,
        "order_side": order.order_side,
        "quantity": plain(order.quantity),
        "created_ts": order.created_at,
        "answered_ts": order.answered_at,
        **_outcome_columns(order.outcome),
    }


def order_from(row: Columns) -> OrderRecord:
    """Read a row of `orders`."""
    scope = ScopeId(row["scope"])
    return OrderRecord(
        client_id=ClientOrderId(row["client_id"]),
        incident_id=IncidentId(row["incident_id"]),
        scope=scope,
        key=None
        if row["row_symbol"] is None
        else RowKey(scope, Symbol(row["row_symbol"]), Side(row["row_side"])),
        action=OrderAction(row["action"]),
        symbol=row["symbol"],
        order_side=row["order_side"],
        quantity=Decimal(row["quantity"]),
        round_number=row["round_number"],
        created_at=row["created_ts"],
        dry_run=flag(row["dry_run"]),
        subject=row["subject"],
        outcome=_outcome_from(row),
        answered_at=row["answered_ts"],
    )


def arguments_to_text(arguments: tuple[tuple[str, str], ...]) -> str:
    """Write the arguments of a request as one JSON object."""
    return compact(dict(arguments))


def request_from(row: Columns) -> OperatorRequest:
    """Read the question half of a row of `operator_requests`."""
    return OperatorRequest(
        request_id=row["request_id"],
        at=row["ts"],
        actor=row["actor"],
        command=row["command"],
        arguments=tuple(json.loads(row["arguments"]).items()),
        confirmation=row["confirmation"],
    )


def answer_from(row: Columns) -> RequestAnswer:
    """Read the answered half of a row of `operator_requests`."""
    return RequestAnswer(
        request_id=row["request_id"],
        at=row["answered_ts"],
        accepted=flag(row["accepted"]),
        message=row["answer"],
    )


def _json_safe(value: Detail) -> Detail:
    """SQLite's JSON functions refuse NaN and Infinity, so these are written as words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def audit_columns(entry: AuditEntry) -> dict[str, object]:
    """The row of `actions`; the event is its `outcome`."""
    return {
        "ts": entry.at,
        "scope": entry.scope,
        "stage": int(entry.stage),
        "mode": entry.mode,
        "dry_run": entry.dry_run,
        "outcome": entry.event,
        "severity": entry.severity,
        "message": entry.message,
        "details": compact({name: _json_safe(value) for name, value in entry.details}),
    }


def audit_from(row: Columns) -> AuditEntry:
    """Read a row of `actions`."""
    return AuditEntry(
        at=row["ts"],
        scope=row["scope"],
        event=row["outcome"],
        message=row["message"],
        stage=Stage(row["stage"]),
        mode=row["mode"],
        dry_run=flag(row["dry_run"]),
        severity=Severity(row["severity"]),
        details=tuple(json.loads(row["details"]).items()),
    )
