"""Which alerts are told at once, which wait, and which a person has seen already.

Pure. Owns counting. Two alerts are the same when event, scope and subject are. Rules:

- The first is told at once. Of what repeats within the period the newest is told when the period
  is over, and says how many there were: so what was told last is never the opposite of what holds.
- What is more severe than what was told before is news, and so is each event of some kinds.
- An acknowledgement silences the repeats of what was told, until something else comes that is
  more than information, or until it was quiet for a while: the next time is news again.
- Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from alerts import KINDS, Alert, Key, with_more
from memory import Severity

FORGOTTEN_AFTER_S = 1_800.0
"""An incident that is stuck is told every ten minutes; what was silent for so long is over."""
MOST_KEPT = 500

_RANKS = list(Severity)


@dataclass(slots=True)
class _Told:
    """What was told of one key, and what was kept back since; `heard_at` is when it came last.

    `is_over`: its opposite came since. What is kept back then is no repeat of what was told.
    """

    at: float
    heard_at: float
    severity: Severity
    kept_back: int = 0
    newest: Alert | None = None
    is_acknowledged: bool = False
    is_over: bool = False


class Quietening:
    """Lets alerts through; `repeat_s` is the period in seconds."""

    def __init__(self, *, repeat_s: float) -> None:
        self._repeat_s = repeat_s
        self._told: dict[Key, _Told] = {}

    def take(self, alert: Alert, now: float) -> Alert | None:
        """The alert as it is to be told now, None when it is kept back."""
        self._forget(now)
        kind = KINDS.get(alert.event)
        self._settle(alert)
        known = self._told.get(alert.key)
        is_news = kind is not None and kind.is_always_told
        if known is None or is_news or _rank(alert.severity) > _rank(known.severity):
            if alert.severity is not Severity.INFO:
                self._lift()
            return self._tell(alert, now)
        known.heard_at = now
        is_reminder = kind is not None and kind.is_reminder
        is_due = is_reminder or now - known.at >= self._repeat_s
        if is_due and not known.is_acknowledged:
            return self._tell(alert, now)
        known.kept_back, known.newest = known.kept_back + 1, alert
        return None

    def due(self, now: float) -> tuple[Alert, ...]:
        """What was kept back for a whole period, oldest first."""
        ready = [known.newest for known in self._waiting() if now >= known.at + self._repeat_s]
        alerts = sorted((alert for alert in ready if alert is not None), key=lambda one: one.at)
        for alert in alerts:
            self._told[alert.key].kept_back -= 1
        return tuple(self._tell(alert, now) for alert in alerts)

    def next_due(self) -> float | None:
        """When something that was kept back is to be told, None while nothing is."""
        return min((known.at + self._repeat_s for known in self._waiting()), default=None)

    def acknowledge(self) -> None:
        """Somebody has seen all that was told."""
        for known in self._told.values():
            known.is_acknowledged = not known.is_over

    def _waiting(self) -> list[_Told]:
        return [
            known
            for known in self._told.values()
            if known.newest is not None and not known.is_acknowledged
        ]

    def _tell(self, alert: Alert, now: float) -> Alert:
        known = self._told.get(alert.key)
        count = 0 if known is None else known.kept_back
        self._told[alert.key] = _Told(at=now, heard_at=now, severity=alert.severity)
        return with_more(alert, count)

    def _lift(self) -> None:
        for known in self._told.values():
            known.is_acknowledged = False

    def _settle(self, alert: Alert) -> None:
        """Forget what waits of the opposite: told later, it would say what no longer holds."""
        for (event, scope, _), known in self._told.items():
            if scope == alert.scope and _are_opposite(event, alert.event):
                known.newest, known.is_acknowledged, known.is_over = None, False, True

    def _forget(self, now: float) -> None:
        """Drop what was silent for long; of too many, the longest silent."""
        life_s = max(FORGOTTEN_AFTER_S, self._repeat_s)
        order = sorted(self._told, key=lambda key: self._told[key].heard_at)
        too_many = order[: max(0, len(order) - MOST_KEPT)]
        for key in order:
            known = self._told[key]
            is_over = now - known.heard_at > life_s
            if key in too_many or (is_over and (known.newest is None or known.is_acknowledged)):
                del self._told[key]


def _are_opposite(one: str, other: str) -> bool:
    return any(
        event in KINDS and end in KINDS[event].ends for event, end in ((one, other), (other, one))
    )


def _rank(severity: Severity) -> int:
    return _RANKS.index(severity)
