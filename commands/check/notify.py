"""`check --notify`: sends a test message to every target of alerts and says what became of each."""

from __future__ import annotations

from alerts import TEST
from commands.alerting import sender_of, targets_of
from findings import Finding, Level, Topic
from memory import AuditEntry, Severity
from notifier import send_each
from redaction import Redactor
from settings import Settings


async def try_targets(settings: Settings, *, now: float) -> tuple[Finding, ...]:
    """Send to all targets at once, whatever their least severity."""
    entry = AuditEntry(
        at=now,
        scope="*",
        event=TEST,
        message="this is a test: alerts of this guard arrive here",
        dry_run=settings.dry_run,
        severity=Severity.INFO,
    )
    alert = sender_of(settings.to_policy()).alert(entry)
    assert alert is not None
    redactor = Redactor(settings.secrets())
    targets = targets_of(settings, redactor)
    refusals = await send_each(targets, alert)
    return tuple(
        Finding(
            level=Level.FAULT,
            topic=Topic.ALERTS,
            subject=target.name,
            what=f"the test message was not taken: {redactor.text(why)}",
            remedy=f"look at the address in {target.name} (docs/alerts.md)",
        )
        if why
        else Finding(
            level=Level.FINE, topic=Topic.ALERTS, subject=target.name, what="took the test message"
        )
        for target, why in zip(targets, refusals, strict=True)
    )
