"""Makes who is told of what the guard does: the desk, its targets, and the sign of life.

Imported only when the configuration names somebody to tell.
"""

from __future__ import annotations

import socket

from alert_desk import AlertDesk
from alerts import Sender
from clock import Clock
from decision import Decision
from heartbeat import Heartbeat, HttpPing
from logger import Logger
from memory import Records, Severity
from notifier import AppriseAddress, Notifier, Target
from policy import Policy
from recorder import Recorder
from redaction import Redactor
from settings import Settings
from supervision import Supervisor
from troubles import Troubles


class Alerts:
    """What a running guard tells the outside, as one thing that it can be given."""

    def __init__(self, *, desk: AlertDesk | None, heartbeat: Heartbeat | None) -> None:
        self._desk = desk
        self._heartbeat = heartbeat

    def see(self, decision: Decision) -> None:
        """Take note of a decision."""
        if self._desk is not None:
            self._desk.see(decision)
        if self._heartbeat is not None:
            self._heartbeat.see(decision)

    def hear(self, records: Records) -> None:
        """Take note of what was given to the store."""
        if self._desk is not None:
            self._desk.hear(records)

    def say(self, event: str, message: str, severity: Severity = Severity.INFO) -> None:
        """Tell that a run begins or ends."""
        if self._desk is not None:
            self._desk.say(event, message, severity)

    async def aclose(self) -> None:
        """Give the last alerts a few seconds."""
        if self._heartbeat is not None:
            self._heartbeat.close()
        if self._desk is not None:
            await self._desk.aclose()


def targets_of(settings: Settings, redactor: Redactor) -> tuple[Target, ...]:
    """The targets of the configuration, nothing of them connected yet."""
    return tuple(
        Target(
            name=target.name,
            min_severity=target.min_severity,
            deliver=AppriseAddress(
                name=target.name, url=target.url.get_secret_value(), redactor=redactor
            ),
        )
        for target in settings.notifications.targets
    )


def sender_of(policy: Policy) -> Sender:
    """Who signs the alerts of this machine."""
    return Sender(host=socket.gethostname(), kinds=dict(policy.practice_scopes))


def make_alerts(
    settings: Settings,
    *,
    policy: Policy,
    recorder: Recorder,
    troubles: Troubles,
    clock: Clock,
    log: Logger,
) -> Alerts:
    """Make what the section `notifications` asks for."""
    redactor, asked = Redactor(settings.secrets()), settings.notifications
    supervisor = Supervisor(recorder=recorder, clock=clock, log=log, dry_run=policy.dry_run)
    desk = heartbeat = None
    if asked.targets:
        notifier = Notifier(
            targets_of(settings, redactor),
            clock=clock,
            supervisor=supervisor,
            on_trouble=lambda why: troubles.begin("alerts", why),
            on_recovery=lambda: troubles.end("alerts"),
        )
        desk = AlertDesk(
            notifier,
            policy=policy,
            sender=sender_of(policy),
            clock=clock,
            supervisor=supervisor,
            mask=redactor.text,
            repeat_s=asked.repeat_s,
        )
    if asked.heartbeat_url is not None:
        heartbeat = Heartbeat(
            HttpPing(asked.heartbeat_url.get_secret_value(), redactor=redactor),
            policy=policy,
            every_s=asked.heartbeat_s,
            is_in_trouble=lambda: troubles.stands("store", "lock", "room", "alerts"),
            clock=clock,
            supervisor=supervisor,
            log=log,
        )
    return Alerts(desk=desk, heartbeat=heartbeat)
