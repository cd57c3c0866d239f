"""What a decision says to whoever watches while it happens.

Owns which events one decision leaves in the log (docs/log.md has them all): its audit entries,
what became of the lock, flows of money, every tick for those who ask for it (`--verbose`), and once
an hour a sign of life of each scope. Keeps what that counts, and which locks were told last.
Rules:

- One event for one decision: what the audit says already is not said a second time.
- A change of the lock is told with the decision that made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clock import Clock
from decision import Decision
from draft import ScopeVerdict
from drawdown import WindowDrawdown
from logger import Logger
from memory import AuditEntry, Flow, Severity
from model import ScopeId, Trust
from openings import say_window
from policy import Policy

SIGN_OF_LIFE_S = 3600.0

_OWN_FIELDS = frozenset(
    {"event", "scope", "message", "stage", "mode", "dry_run", "locks", "would_lock"}
)


def log_audit(log: Logger, entry: AuditEntry, **more: object) -> None:
    """Log one audit entry under its event; `more` stands beside its own figures."""
    match entry.severity:
        case Severity.INFO:
            level = log.info
        case Severity.WARNING:
            level = log.warning
        case _:
            level = log.critical
    # No figure may take the place of a field of the entry itself.
    details: dict[str, object] = {
        f"{name}_detail" if name in _OWN_FIELDS else name: value for name, value in entry.details
    }
    level(
        entry.event,
        scope=entry.scope,
        message=entry.message,
        stage=entry.stage.name,
        mode=entry.mode or None,
        dry_run=entry.dry_run,
        **details,
        **more,
    )


@dataclass(slots=True)
class _Watched:
    """What was seen of a scope since its last sign of life, which was at `told_at` (monotonic)."""

    told_at: float | None = None
    readings: int = 0
    trusted: int = 0
    deepest: WindowDrawdown | None = None


class DecisionLog:
    """Tells decisions one after the other."""

    def __init__(self, *, log: Logger, policy: Policy, clock: Clock) -> None:
        self._log = log
        self._policy = policy
        self._clock = clock
        self._locks: dict[str, list[str]] = {"locks": []}
        self._watched: dict[ScopeId, _Watched] = {}

    def tell(self, decision: Decision, next_poll_s: Callable[[ScopeId], float]) -> None:
        """Log everything that is to be said of one decision."""
        for verdict in decision.verdicts:
            self._tell_tick(decision, verdict, next_poll_s(verdict.scope))
        for flow in decision.records.flows:
            # What was concluded or booked by hand has an audit entry of its own.
            if not flow.is_inferred:
                self._tell_flow(flow)
        self._tell_audits(decision)
        for verdict in decision.verdicts:
            self._give_sign_of_life(verdict)

    def _tell_audits(self, decision: Decision) -> None:
        """The audit entries, the last of them with the locks where those changed."""
        audits = decision.records.audits
        locks = _locks_of(decision)
        is_changed, self._locks = locks != self._locks, locks
        for number, entry in enumerate(audits, start=1):
            is_last = number == len(audits)
            log_audit(self._log, entry, **(locks if is_changed and is_last else {}))
        if is_changed and not audits:
            what = "are locked out" if decision.lock.is_locked else "may trade"
            self._log.info("lock_changed", message=f"bots {what}", **locks)

    def _tell_flow(self, flow: Flow) -> None:
        """A transfer that the venue's records show: when it is found, and when its step is."""
        if flow.is_cancelled:
            became = "is settled by another record"
        elif flow.effective_at is None:
            became = "is on its way"
        else:
            became = "counts from now on"
        self._log.info(
            "flow",
            scope=flow.scope,
            message=f"{flow.kind.value} of {flow.amount:+,.2f} {became}",
            amount=flow.amount,
            kind=flow.kind.value,
            asset=flow.asset,
            record_id=flow.record_id,
            effective_at=flow.effective_at,
        )

    def _tell_tick(self, decision: Decision, verdict: ScopeVerdict, next_poll_s: float) -> None:
        """Everything that one reading came to."""
        book = self._policy.book_of(verdict.scope)
        known = None if book is None else decision.memory.book(book.name)
        self._log.debug(
            "tick",
            scope=verdict.scope,
            trust=verdict.trust.value,
            equity=_rounded(verdict.equity),
            reasons=list(verdict.reasons),
            stage=None if known is None else known.stage.name,
            streaks={} if known is None else {s.stage.name: s.count for s in known.streaks},
            **_figures_of(_nearest(verdict.drawdowns)),
            drawdowns=_deepest_by_window(verdict.drawdowns),
            next_poll_s=round(next_poll_s, 3),
        )

    def _give_sign_of_life(self, verdict: ScopeVerdict) -> None:
        """After the first trusted reading, and then every hour."""
        watched = self._watched.setdefault(verdict.scope, _Watched())
        watched.readings += 1
        watched.trusted += verdict.trust is Trust.TRUSTED
        found = (watched.deepest, _nearest(verdict.drawdowns))
        watched.deepest = _nearest(tuple(d for d in found if d is not None))
        now = self._clock.monotonic()
        is_first = watched.told_at is None and verdict.trust is Trust.TRUSTED
        is_due = watched.told_at is not None and now - watched.told_at >= SIGN_OF_LIFE_S
        if not (is_first or is_due):
            return
        equity = "unknown" if verdict.equity is None else f"{verdict.equity:,.2f}"
        deepest = watched.deepest
        self._log.info(
            "watching",
            scope=verdict.scope,
            message=f"equity {equity}; {watched.trusted} of {watched.readings} readings trusted"
            + ("" if deepest is None else f"; nearest to a stage: {_say(deepest)}"),
            equity=_rounded(verdict.equity),
            readings=watched.readings,
            trusted=watched.trusted,
            **_figures_of(deepest),
        )
        self._watched[verdict.scope] = _Watched(told_at=now)


def _locks_of(decision: Decision) -> dict[str, list[str]]:
    """Why bots are locked out, and why a dry run would lock them."""
    lock = decision.lock
    found = {"locks": list(dict.fromkeys(entry.reason for entry in lock.locks))}
    if lock.would_lock:
        found["would_lock"] = list(dict.fromkeys(entry.reason for entry in lock.would_lock))
    return found


def _nearest(drawdowns: tuple[WindowDrawdown, ...]) -> WindowDrawdown | None:
    """The drawdown that is nearest to its threshold, or furthest beyond it."""
    return max(drawdowns, key=lambda drawdown: drawdown.severity, default=None)


def _figures_of(drawdown: WindowDrawdown | None) -> dict[str, object]:
    """A drawdown in the fields that a trigger has for it too."""
    if drawdown is None:
        return {}
    return {
        "drawdown": round(drawdown.fraction, 6),
        "threshold": drawdown.threshold,
        "window": say_window(drawdown.window_s),
        "nearest_stage": drawdown.stage.name,
    }


def _rounded(equity: float | None) -> float | None:
    return None if equity is None else round(equity, 2)


def _deepest_by_window(drawdowns: tuple[WindowDrawdown, ...]) -> dict[str, float]:
    """The drawdown of each window; where stages measure from different times, the deepest."""
    deepest: dict[str, float] = {}
    for drawdown in drawdowns:
        window = say_window(drawdown.window_s)
        deepest[window] = max(deepest.get(window, 0.0), round(drawdown.fraction, 6))
    return deepest


def _say(drawdown: WindowDrawdown) -> str:
    window, name = say_window(drawdown.window_s), drawdown.stage.name
    return f"{drawdown.fraction:.2%} of {drawdown.threshold:.2%} over {window} for {name}"
