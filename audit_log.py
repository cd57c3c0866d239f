"""How an audit entry reads in the log.

Pure but for the logger it is handed. The database holds the same entry; the log is for whoever
watches while it happens.
"""

from __future__ import annotations

from logger import Logger
from memory import AuditEntry, Severity


def log_audit(log: Logger, entry: AuditEntry) -> None:
    """Log one entry under its event; its figures stay together, so that none hides a field."""
    level = log.info if entry.severity is Severity.INFO else log.warning
    level(
        entry.event,
        scope=entry.scope,
        message=entry.message,
        stage=entry.stage.name,
        dry_run=entry.dry_run,
        details=dict(entry.details),
    )
