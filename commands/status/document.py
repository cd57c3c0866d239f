"""`status --json`: the report as one document for machines.

Keys are the words of docs/behaviour.md with their unit last; times are UTC seconds in `..._ts`,
fractions positive, money in the account's quote. What is not known is null, never 0.
"""

from __future__ import annotations

import math

from commands.status.lock import LockFileView
from commands.status.report import BookView, Holdings, ScopeView, StatusReport
from commands.status.switch import to_document as switch_document
from drawdown import WindowDrawdown
from memory import AuditEntry, CloseTarget, Incident
from model import CLOSING_STAGES, OperatorRequest
from openings import say_window

VERSION = 1
"""The form of the document; it grows when a key changes its meaning or goes."""


def to_document(report: StatusReport) -> dict[str, object]:
    """Turn a report into plain values; every number in it is finite."""
    return {
        "version": VERSION,
        "ts": report.now,
        "config": report.config,
        "state_db": report.state_db,
        "dry_run": report.dry_run,
        "configured_dry_run": report.configured_dry_run,
        "is_running": report.holder is not None,
        "pid": None if report.holder is None else report.holder.pid,
        "practice": {kind.value: list(scopes) for kind, scopes in report.practice_places},
        "not_watched": list(report.not_watched),
        "warnings": list(report.warnings),
        "books": [_book(book, now=report.now) for book in report.books],
        "switch": switch_document(report.switch),
        "lock": _lock(report.lock),
        "requests": [_request(request, now=report.now) for request in report.requests],
        "actions": [_action(action) for action in report.actions],
    }


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN: a figure that is no number is not known."""
    return value if value is not None and math.isfinite(value) else None


def _book(book: BookView, *, now: float) -> dict[str, object]:
    state, incident = book.state, book.open_incident
    return {
        "book": state.name,
        "is_configured": book.policy is not None,
        "stage": int(state.stage),
        "stage_name": state.stage.name,
        "since_ts": state.since or None,
        "baseline_ts": state.baseline_at or None,
        "manual_reset_required": state.manual_reset_required,
        "cooldowns": [
            {
                "stage": int(stage),
                "until_ts": state.cooldowns[stage - 1] or None,
                "left_s": book.cooldown_left_s(stage, now=now),
            }
            for stage in CLOSING_STAGES
        ],
        "streaks": [
            {
                "stage": int(streak.stage),
                "count": streak.count,
                "needed": book.needed(streak.stage),
                "last_counted_ts": streak.last_counted_at,
            }
            for streak in book.streaks
        ],
        "incident": None if incident is None else _incident(incident, book),
        "locks": [lock.to_document() for lock in state.locks],
        "scopes": [_scope(scope, now=now) for scope in book.scopes],
    }


def _scope(scope: ScopeView, *, now: float) -> dict[str, object]:
    return {
        "scope": scope.scope,
        "kind": scope.kind.value,
        "trust": scope.trust.value,
        "reasons": scope.reasons,
        "unread": scope.unread,
        "equity": _finite(scope.equity),
        "equity_ts": scope.equity_at,
        "equity_age_s": None if scope.equity_at is None else now - scope.equity_at,
        "reported_equity": _finite(scope.reported_equity),
        "unexplained": _finite(scope.unexplained),
        "suspected_since_ts": scope.suspected_since,
        "believed_ts": scope.believed_at,
        "pending_flow": scope.pending_flow,
        "failures": scope.failures,
        "silent_s": scope.silent_s,
        "is_blind": scope.is_blind,
        "holdings": None if scope.holdings is None else _holdings(scope.holdings),
        "drawdowns": [_drawdown(drawdown) for drawdown in scope.drawdowns],
    }


def _holdings(holdings: Holdings) -> dict[str, object]:
    return {
        "ts": holdings.at,
        "long_count": holdings.long_count,
        "short_count": holdings.short_count,
        "long_notional": holdings.long_notional,
        "short_notional": holdings.short_notional,
        "net_exposure": holdings.net_exposure,
        "unrealised_pnl": holdings.unrealised_pnl,
        "unpriced": list(holdings.unpriced),
    }


def _drawdown(drawdown: WindowDrawdown) -> dict[str, object]:
    return {
        "stage": int(drawdown.stage),
        "window": say_window(drawdown.window_s),
        "window_s": drawdown.window_s,
        "drawdown_fraction": drawdown.fraction,
        "threshold_fraction": drawdown.threshold,
        "peak_equity": None if drawdown.peak is None else drawdown.peak_equity,
        "peak_ts": None if drawdown.peak is None else drawdown.peak.at,
        "is_judged": drawdown.is_judged,
        "is_breach": drawdown.is_breach,
        "is_in_doubt": drawdown.is_in_doubt,
    }


def _incident(incident: Incident, book: BookView) -> dict[str, object]:
    return {
        "incident_id": incident.incident_id,
        "stage": int(incident.stage),
        "mode": incident.mode,
        "source": incident.source.value,
        "reason": incident.reason,
        "status": incident.status.value,
        "is_followup": incident.is_followup,
        "opened_ts": incident.opened_at,
        "last_progress_ts": incident.last_progress_at,
        "rounds": incident.rounds,
        "targets": [_target(target, book) for target in incident.targets],
        "orders": []
        if book.orders is None
        else [
            {"action": action, "outcome": outcome, "count": count}
            for action, outcome, count in book.orders.counts
        ],
        "latest_trouble": "" if book.orders is None else book.orders.latest_trouble,
    }


def _target(target: CloseTarget, book: BookView) -> dict[str, object]:
    """Quantities are text, exact as in the database; `quantity` is what was held last."""
    return {
        "number": target.number,
        "scope": target.key.scope,
        "symbol": target.key.symbol,
        "side": target.key.side.value,
        "initial_quantity": f"{target.initial_quantity:f}",
        "may_remain": f"{target.may_remain:f}",
        "quantity": book.held(target.key),
        "status": target.status.value,
    }


def _lock(lock: LockFileView) -> dict[str, object]:
    """The verdict of the strict reader first (`is_locked`), then what the file says."""
    return {
        "path": str(lock.path),
        "is_locked": lock.strict.locked,
        "reason": lock.strict.reason,
        "mode": lock.strict.mode,
        "stage": lock.strict.stage,
        "is_readable": lock.is_readable,
        "is_stale": lock.is_stale,
        "locked": lock.locked,
        "expires_ts": lock.expires_ts if lock.is_readable else None,
        "heartbeat_ts": lock.heartbeat_ts,
        "heartbeat_age_s": lock.heartbeat_age_s,
        "heartbeat_max_age_s": lock.heartbeat_max_age_s,
        "pid": lock.pid,
        "dry_run": lock.dry_run,
        "details": dict(lock.details),
        "locks": [entry.to_document() for entry in lock.locks],
        "would_lock": [entry.to_document() for entry in lock.would_lock],
    }


def _request(request: OperatorRequest, *, now: float) -> dict[str, object]:
    return {
        "request_id": request.request_id,
        "ts": request.at,
        "age_s": now - request.at,
        "actor": request.actor,
        "command": request.command,
        "arguments": dict(request.arguments),
        "confirmation": request.confirmation,
    }


def _action(action: AuditEntry) -> dict[str, object]:
    return {
        "ts": action.at,
        "scope": action.scope,
        "stage": int(action.stage),
        "mode": action.mode,
        "dry_run": action.dry_run,
        "outcome": action.event,
        "severity": action.severity.value,
        "message": action.message,
        "details": dict(action.details),
    }
