"""How remembered values become columns of the database, and columns values again.

Owns both directions side by side, so that one cannot change without the other. Refuses to know
SQL and files. Reading back is strict: a column that makes no sense raises ValueError, KeyError,
TypeError or decimal.InvalidOperation, and the store then calls the file unreadable.

JSON stands only where a nested tuple would otherwise need a table of its own. Quantities are
text in plain notation (`0.00001`, never `1E-5`), so that a person reads what the venue said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lock_document import LockEntry, parse_lock_entry
from memory import (
    BookMemory,
    CloseTarget,
    Doubt,
    Flow,
    Incident,
    IncidentStatus,
    ScopeMemory,
    Streak,
    Suspicion,
    TargetStatus,
)
from model import (
    Asset,
    BookName,
    Coin,
    IncidentId,
    LedgerEntry,
    LedgerKind,
    MarginMode,
    Position,
    PositionMode,
    Reading,
    RecordId,
    RowKey,
    ScopeId,
    Side,
    Source,
    Stage,
    Symbol,
)

Columns = Mapping[str, Any]
"""One row of a table by column name; the only untyped values, and they end in this file."""


def plain(quantity: Decimal) -> str:
    """Write a quantity exactly and without an exponent."""
    return format(quantity, "f")


def compact(value: object) -> str:
    """Write a nested value as JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def flag(value: object) -> bool:
    """Read a stored claim; raises ValueError for anything but 0 and 1."""
    if value not in (0, 1):
        raise ValueError(f"neither 0 nor 1: {value!r}")
    return bool(value)


# What is known of a scope.


def reading_to_text(reading: Reading) -> str:
    """Write a whole reading as one JSON object."""
    return compact(
        {
            "scope": reading.scope,
            "asked_at": reading.asked_at,
            "equity": reading.equity,
            "wallet": reading.wallet,
            "unrealised_pnl": reading.unrealised_pnl,
            "position_mode": reading.position_mode,
            "wallet_defines_equity": reading.wallet_defines_equity,
            "server_offset_s": reading.server_offset_s,
            "positions": [
                {
                    "symbol": position.symbol,
                    "base": position.base,
                    "side": position.side,
                    "quantity": plain(position.quantity),
                    "entry_price": position.entry_price,
                    "mark_price": position.mark_price,
                    "unrealised_pnl": position.unrealised_pnl,
                    "liquidation_price": position.liquidation_price,
                    "margin_mode": position.margin_mode,
                    "margin": position.margin,
                    "margin_asset": position.margin_asset,
                }
                for position in reading.positions
            ],
            "coins": [
                {
                    "asset": coin.asset,
                    "quantity": plain(coin.quantity),
                    "price": coin.price,
                    "sellable": plain(coin.sellable),
                }
                for coin in reading.coins
            ],
            "unpriced": list(reading.unpriced),
        }
    )


def reading_from_text(text: str) -> Reading:
    """Read what `reading_to_text` wrote."""
    held = json.loads(text)
    return Reading(
        scope=ScopeId(held["scope"]),
        asked_at=held["asked_at"],
        equity=held["equity"],
        wallet=held["wallet"],
        unrealised_pnl=held["unrealised_pnl"],
        position_mode=PositionMode(held["position_mode"]),
        wallet_defines_equity=held["wallet_defines_equity"],
        server_offset_s=held["server_offset_s"],
        positions=tuple(
            Position(
                symbol=Symbol(item["symbol"]),
                base=Asset(item["base"]),
                side=Side(item["side"]),
                quantity=Decimal(item["quantity"]),
                entry_price=item["entry_price"],
                mark_price=item["mark_price"],
                unrealised_pnl=item["unrealised_pnl"],
                liquidation_price=item["liquidation_price"],
                margin_mode=MarginMode(item["margin_mode"]),
                margin=item["margin"],
                margin_asset=Asset(item["margin_asset"]),
            )
            for item in held["positions"]
        ),
        coins=tuple(
            Coin(
                asset=Asset(item["asset"]),
                quantity=Decimal(item["quantity"]),
                price=item["price"],
                sellable=Decimal(item.get("sellable", "0")),
            )
            for item in held["coins"]
        ),
        unpriced=tuple(Asset(name) for name in held.get("unpriced", ())),
    )


def suspicion_to_text(suspicion: Suspicion | None) -> str | None:
    """Write a running doubt; None when there is none."""
    if suspicion is None:
        return None
    return compact(
        {
            "since": suspicion.since,
            "consistent_since": suspicion.consistent_since,
            "consistent_count": suspicion.consistent_count,
            "doubts": _doubt_items(suspicion.doubts),
        }
    )


def suspicion_from_text(text: str | None) -> Suspicion | None:
    """Read what `suspicion_to_text` wrote."""
    if text is None:
        return None
    held = json.loads(text)
    return Suspicion(
        since=held["since"],
        consistent_since=held["consistent_since"],
        consistent_count=held["consistent_count"],
        doubts=_doubts_from(held["doubts"]),
    )


def _doubt_items(doubts: tuple[Doubt, ...]) -> list[dict[str, float]]:
    return [
        {"at": doubt.at, "equity": doubt.equity, "unexplained": doubt.unexplained}
        for doubt in doubts
    ]


def _doubts_from(items: list[dict[str, float]]) -> tuple[Doubt, ...]:
    return tuple(
        Doubt(at=item["at"], equity=item["equity"], unexplained=item["unexplained"])
        for item in items
    )


def entries_to_text(entries: tuple[LedgerEntry, ...]) -> str:
    """The venue's recent records that are no flows, as JSON."""
    return compact(
        [
            {
                "record_id": entry.record_id,
                "kind": entry.kind,
                "at": entry.at,
                "amount": entry.amount,
                "asset": entry.asset,
                "symbol": entry.symbol,
            }
            for entry in entries
        ]
    )


def entries_from_text(scope: ScopeId, text: str) -> tuple[LedgerEntry, ...]:
    """Read what `entries_to_text` wrote."""
    return tuple(
        LedgerEntry(
            record_id=RecordId(item["record_id"]),
            scope=scope,
            kind=LedgerKind(item["kind"]),
            at=item["at"],
            amount=item["amount"],
            asset=Asset(item["asset"]),
            symbol=None if item["symbol"] is None else Symbol(item["symbol"]),
        )
        for item in json.loads(text)
    )


def scope_columns(
    memory: ScopeMemory, *, last_trusted: str | None, entries: str
) -> dict[str, object]:
    """The row of `scope_state`; history, results and flows have tables of their own.

    `last_trusted` and `entries` are the texts of the reading and the records.
    """
    return {
        "scope": memory.scope,
        "units": memory.units,
        "unexplained": memory.unexplained,
        "ledger_until_ts": memory.ledger_until,
        "ledger_asked_ts": memory.ledger_asked_at,
        "watch_began_ts": memory.watch_began_at,
        "failures": memory.failures,
        "cross_check_alerted": memory.cross_check_alerted,
        "blind_alerted": memory.blind_alerted,
        "suspicion": suspicion_to_text(memory.suspicion),
        "flow_ids": compact([flow.record_id for flow in memory.flows]),
        "accepted_losses": compact(_doubt_items(memory.accepted_losses)),
        "entries": entries,
        "last_trusted": last_trusted,
    }


def scope_from(row: Columns) -> ScopeMemory:
    """The memory of a scope without its history, results and flows."""
    return ScopeMemory(
        scope=ScopeId(row["scope"]),
        units=row["units"],
        unexplained=row["unexplained"],
        ledger_until=row["ledger_until_ts"],
        ledger_asked_at=row["ledger_asked_ts"],
        watch_began_at=row["watch_began_ts"],
        failures=row["failures"],
        cross_check_alerted=flag(row["cross_check_alerted"]),
        blind_alerted=flag(row["blind_alerted"]),
        suspicion=suspicion_from_text(row["suspicion"]),
        accepted_losses=_doubts_from(json.loads(row["accepted_losses"])),
        entries=entries_from_text(ScopeId(row["scope"]), row["entries"]),
        last_trusted=None
        if row["last_trusted"] is None
        else reading_from_text(row["last_trusted"]),
    )


def flow_ids_from(row: Columns) -> tuple[RecordId, ...]:
    """Which flows the memory of this scope holds, in its order."""
    return tuple(RecordId(name) for name in json.loads(row["flow_ids"]))


def flow_columns(flow: Flow) -> dict[str, object]:
    """The row of `flows`."""
    return {
        "scope": flow.scope,
        "record_id": flow.record_id,
        "ts": flow.at,
        "amount": flow.amount,
        "kind": flow.kind,
        "asset": flow.asset,
        "effective_ts": flow.effective_at,
        "factor": flow.factor,
        "is_inferred": flow.is_inferred,
        "is_cancelled": flow.is_cancelled,
    }


def flow_from(row: Columns) -> Flow:
    """Read a row of `flows`."""
    return Flow(
        record_id=RecordId(row["record_id"]),
        scope=ScopeId(row["scope"]),
        at=row["ts"],
        amount=row["amount"],
        kind=LedgerKind(row["kind"]),
        asset=Asset(row["asset"]),
        effective_at=row["effective_ts"],
        factor=row["factor"],
        is_inferred=flag(row["is_inferred"]),
        is_cancelled=flag(row["is_cancelled"]),
    )


# Books and incidents.


def _locks_to_text(locks: tuple[LockEntry, ...]) -> str:
    return compact([lock.to_document() for lock in locks])


def book_columns(book: BookMemory, *, dry_run: bool) -> dict[str, object]:
    """The row of `scope_stage_state`; the incident has a table of its own."""
    return {
        "book": book.name,
        "dry_run": dry_run,
        "stage": int(book.stage),
        "since_ts": book.since,
        "baseline_ts": book.baseline_at,
        **{f"stage_{n}_baseline_ts": at for n, at in enumerate(book.stage_baselines, start=1)},
        **{f"stage_{n}_cooldown_ts": at for n, at in enumerate(book.cooldowns, start=1)},
        "manual_reset_required": book.manual_reset_required,
        "incident_id": None if book.incident is None else book.incident.incident_id,
        "streaks": compact(
            [
                {
                    "stage": int(s.stage),
                    "count": s.count,
                    "last_counted_at": s.last_counted_at,
                    "began_at": s.began_at,
                    "is_answered": s.is_answered,
                }
                for s in book.streaks
            ]
        ),
        "locks": _locks_to_text(book.locks),
    }


def book_from(row: Columns, incident: Incident | None) -> BookMemory:
    """Read a row of `scope_stage_state`."""
    return BookMemory(
        name=BookName(row["book"]),
        stage=Stage(row["stage"]),
        since=row["since_ts"],
        baseline_at=row["baseline_ts"],
        stage_baselines=tuple(row[f"stage_{n}_baseline_ts"] for n in (1, 2, 3)),
        cooldowns=tuple(row[f"stage_{n}_cooldown_ts"] for n in (1, 2, 3)),
        manual_reset_required=flag(row["manual_reset_required"]),
        incident=incident,
        streaks=tuple(
            Streak(
                stage=Stage(item["stage"]),
                count=item["count"],
                last_counted_at=item["last_counted_at"],
                began_at=item.get("began_at", item["last_counted_at"]),
                is_answered=flag(item.get("is_answered", False)),
            )
            for item in json.loads(row["streaks"])
        ),
        locks=tuple(parse_lock_entry(item) for item in json.loads(row["locks"])),
    )


def incident_columns(incident: Incident) -> dict[str, object]:
    """The row of `incidents`; targets have a table of their own."""
    return {
        "incident_id": incident.incident_id,
        "book": incident.book,
        "dry_run": incident.dry_run,
        "stage": int(incident.stage),
        "mode": incident.mode,
        "source": incident.source,
        "reason": incident.reason,
        "status": incident.status,
        "opened_ts": incident.opened_at,
        "ended_ts": incident.ended_at,
        "last_progress_ts": incident.last_progress_at,
        "held_ts": incident.held_at,
        "rounds": incident.rounds,
        "alerts_sent": incident.alerts_sent,
        "is_followup": incident.is_followup,
        "had_positions_since_peak": incident.had_positions_since_peak,
    }


def incident_from(row: Columns, targets: tuple[CloseTarget, ...]) -> Incident:
    """Read a row of `incidents`."""
    return Incident(
        incident_id=IncidentId(row["incident_id"]),
        book=BookName(row["book"]),
        stage=Stage(row["stage"]),
        mode=row["mode"],
        source=Source(row["source"]),
        opened_at=row["opened_ts"],
        dry_run=flag(row["dry_run"]),
        reason=row["reason"],
        status=IncidentStatus(row["status"]),
        targets=targets,
        rounds=row["rounds"],
        held_at=row["held_ts"],
        last_progress_at=row["last_progress_ts"],
        ended_at=row["ended_ts"],
        alerts_sent=row["alerts_sent"],
        is_followup=flag(row["is_followup"]),
        had_positions_since_peak=flag(row["had_positions_since_peak"]),
    )


def target_columns(target: CloseTarget, incident: Incident) -> dict[str, object]:
    """The row of `close_targets`."""
    return {
        "incident_id": incident.incident_id,
        "number": target.number,
        "dry_run": incident.dry_run,
        "scope": target.key.scope,
        "symbol": target.key.symbol,
        "side": target.key.side,
        "initial_quantity": plain(target.initial_quantity),
        "may_remain": plain(target.may_remain),
        "status": target.status,
    }


def target_from(row: Columns) -> CloseTarget:
    """Read a row of `close_targets`."""
    return CloseTarget(
        number=row["number"],
        key=RowKey(ScopeId(row["scope"]), Symbol(row["symbol"]), Side(row["side"])),
        may_remain=Decimal(row["may_remain"]),
        initial_quantity=Decimal(row["initial_quantity"]),
        status=TargetStatus(row["status"]),
    )
