"""`check --json`: the report as one document for machines.

Keys are the words of docs/behaviour.md with their unit last; times are UTC seconds in `..._ts`,
fractions positive, money in the account's quote. What is not known is null, never 0.
"""

from __future__ import annotations

import math

from close_previews import StageDistance, StagePreview
from commands.check.report import CheckReport, ScopeCheck
from findings import Finding, Level
from inspection import Inspection, NotTold
from model import Reading

VERSION = 1
"""The form of the document; it grows when a key changes its meaning or goes."""


def to_document(report: CheckReport) -> dict[str, object]:
    """Turn a report into plain values; every number in it is finite."""
    return {
        "version": VERSION,
        "ts": report.now,
        "config": report.config,
        "dry_run": report.dry_run,
        "is_running": report.pid is not None,
        "pid": report.pid or None,
        "has_fault": report.has_fault,
        "faults": report.count(Level.FAULT),
        "warnings": report.count(Level.WARNING),
        "machine": [_finding(finding) for finding in report.machine],
        "between": [_finding(finding) for finding in report.between],
        "alerts": [_finding(finding) for finding in report.alerts],
        "scopes": [_scope(check) for check in report.scopes],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "level": finding.level.value,
        "topic": finding.topic.value,
        "subject": finding.subject,
        "what": finding.what,
        "remedy": finding.remedy,
    }


def _scope(check: ScopeCheck) -> dict[str, object]:
    return {
        "scope": check.scope,
        "exchange": check.exchange,
        "place": check.place,
        "open_orders": check.orders,
        "markets": check.markets,
        "reading": None if check.reading is None else _reading(check.reading),
        "inspection": None if check.inspection is None else _inspection(check.inspection),
        "findings": [_finding(finding) for finding in check.findings],
        "previews": [_preview(preview) for preview in check.previews],
        "distances": [_distance(distance) for distance in check.distances],
    }


def _reading(reading: Reading) -> dict[str, object]:
    return {
        "ts": reading.asked_at,
        "equity": reading.equity if math.isfinite(reading.equity) else None,
        "position_mode": reading.position_mode.value,
        "positions": [
            {
                "symbol": position.symbol,
                "side": position.side.value,
                "quantity": f"{position.quantity:f}",
                "notional": position.notional,
                "unrealised_pnl": position.unrealised_pnl,
            }
            for position in reading.positions
        ],
        "coins": [
            {"asset": coin.asset, "quantity": f"{coin.quantity:f}", "price": coin.price}
            for coin in reading.coins
        ],
    }


def _inspection(told: Inspection) -> dict[str, object]:
    rights = told.rights
    return {
        "latency_s": _told(told.latency_s),
        "server_offset_s": _told(told.server_offset_s),
        "family": _told(told.family),
        "position_mode": _told(told.position_mode),
        "key": {
            "can_read": rights.can_read,
            "can_trade": rights.can_trade,
            "can_withdraw": rights.can_withdraw,
            "can_read_transfers": rights.can_read_transfers,
            "is_bound_to_ip": rights.is_bound_to_ip,
            "expires_ts": rights.expires_at,
        },
        "dead_man_switch": {"state": told.dead_man.state.value, "reason": told.dead_man.reason},
        "unwatched": [
            {"part": part.part, "presence": part.presence.value, "detail": part.detail}
            for part in told.unwatched
        ],
    }


def _told(value: object) -> object:
    return None if isinstance(value, NotTold) else value


def _preview(preview: StagePreview) -> dict[str, object]:
    return {
        "stage": int(preview.stage),
        "mode": preview.mode.value,
        "source": preview.source.value,
        "targets": [
            {
                "symbol": target.key.symbol,
                "side": target.key.side.value,
                "quantity": f"{target.initial_quantity:f}",
                "may_remain": f"{target.may_remain:f}",
            }
            for target in preview.targets
        ],
        "orders": preview.orders,
        "rounds": preview.rounds,
        "cancels": preview.cancels,
        "value": preview.value,
        "spread_cost": preview.spread_cost,
        "fee_cost": preview.fee_cost,
        "uncosted": list(preview.uncosted),
        "time_s": preview.seconds,
        "is_finished": preview.is_finished,
        "notes": list(preview.notes),
    }


def _distance(distance: StageDistance) -> dict[str, object]:
    return {
        "stage": int(distance.stage),
        "threshold_fraction": distance.threshold.fraction,
        "window_s": distance.threshold.window_s,
        "loss": distance.loss,
        "everything_fraction": distance.everything,
        "longs_down_fraction": distance.longs_down,
        "shorts_up_fraction": distance.shorts_up,
        "market_move_fraction": distance.market,
    }
