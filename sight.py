"""How long a scope may go unseen: alerted after a minute, blind after two (behaviour.md section 3).

Pure. Owns the two deadlines that run from the last TRUSTED reading. They are judged by the clock
and not by attempts to read: a venue that is asked every 30 s, or hangs, must not keep bots trading
on what was seen last. Refuses to know why a reading is not trusted, and what blindness locks.
"""

from __future__ import annotations

from dataclasses import replace

from memory import AuditEntry, ScopeMemory, Severity
from policy import Policy


def begin_watch(memory: ScopeMemory, *, now: float) -> ScopeMemory:
    """The memory of a scope that is watched from now on: nobody was blind before."""
    return replace(memory, watch_began_at=now, trouble="")


def sight_deadlines(memory: ScopeMemory, *, policy: Policy) -> tuple[float, ...]:
    """When the silence of a watched scope must be judged, in UTC seconds; none for one that is not.

    They move with every trusted reading.
    """
    if not memory.watch_began_at:
        return ()
    since = _silent_since(memory)
    return since + policy.blind_alert_s, since + policy.blind_lock_s


def _silent_since(memory: ScopeMemory) -> float:
    last = memory.history.last
    return max(memory.watch_began_at, last.at if last is not None else 0.0)


def judge_silence(
    memory: ScopeMemory, *, policy: Policy, now: float
) -> tuple[ScopeMemory, tuple[AuditEntry, ...], bool]:
    """The memory, the alert if it is due now, and whether the scope is blind.

    For a scope whose latest attempt brought no TRUSTED reading, or that was not read at all.
    """
    since = _silent_since(memory)
    silent_s = now - since
    # Sums as in `sight_deadlines`, so that rounding makes nobody wait for another look.
    is_blind = now >= since + policy.blind_lock_s
    if now < since + policy.blind_alert_s or memory.blind_alerted:
        return memory, (), is_blind
    doubt = "its readings are in doubt" if memory.suspicion else "no attempt to read it has ended"
    alert = AuditEntry(
        at=now,
        scope=memory.scope,
        event="blind",
        message=f"no trusted reading for {silent_s:.0f} s: {memory.trouble or doubt}",
        severity=Severity.CRITICAL,
        details=(("silent_s", round(silent_s, 3)), ("failures", memory.failures)),
    )
    return replace(memory, blind_alerted=True), (alert,), is_blind


def regain_sight(memory: ScopeMemory, *, now: float) -> tuple[ScopeMemory, tuple[AuditEntry, ...]]:
    """The memory of a scope that was just read in trust, and the end of the alert there was."""
    if not memory.blind_alerted:
        return memory, ()
    entry = AuditEntry(
        at=now, scope=memory.scope, event="sight_regained", message="readings are trusted again"
    )
    return replace(memory, blind_alerted=False), (entry,)
