"""The locks of a book: which one each cause sets, how long it holds, and what binds the bots.

Pure. Owns the lock entries of behaviour.md sections 3, 6, 11 and 12 as values; `trading_lock.py`
writes them. Knows no file, and decides neither stages nor blindness.

Rules:
- Setting and extending are free, lifting is not: an entry's end never moves closer, and only
  `lift_locks` takes one away that has not run out.
- A stage's lock outlives its stage: while the incident is open it reaches one cooldown ahead,
  while the state holds the stage at least a minute, so that bots never trade in a gap between
  the end of a lock and the moment the guard is whole again.
- A lock that only a person lifts says so (`manual_reset_required`) and never runs out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from lock_document import CLOSING, FOREVER_TS, LockContent, LockEntry, LockMode
from memory import BookMemory, Incident, IncidentStatus
from model import BookName, ScopeId, Stage
from policy import BookPolicy, StagePolicy

EVERY_BOOK = "*"
"""The scope of a lock that binds the bots of every book: the operator's switch."""

HELD_AHEAD_S = 60.0
"""How far the lock of a stage that has not re-armed yet reaches at least (behaviour.md 6)."""

REASON_HALT = "operator_halt"
REASON_KILL = "operator_kill"
REASON_PAUSE = "operator_pause"
REASON_STATE_LOST = "state_lost"
"""The database is gone or unreadable: nobody knows what the guard had closed or promised."""


def stage_lock(
    book: BookName,
    *,
    policy: StagePolicy,
    now: float,
    dry_run: bool,
    is_manual: bool = False,
    details: tuple[tuple[str, str], ...] = (),
) -> LockEntry:
    """Make the lock of a stage; it reaches one cooldown ahead, for ever if a person must lift it.

    `is_manual` is True for a stage that latches its book (`stage_machine.is_latching`).
    """
    return LockEntry(
        scope=book,
        stage=policy.stage,
        mode=LockMode.STAGE,
        reason=f"killswitch_stage_{policy.stage.value}_{policy.mode.value.lower()}",
        created_ts=now,
        expires_ts=FOREVER_TS if is_manual else now + policy.cooldown_s,
        manual_reset_required=is_manual,
        dry_run=dry_run,
        details=details,
    )


def blind_lock(book: BookName, *, scope: ScopeId, now: float, dry_run: bool) -> LockEntry:
    """Make the lock of a book that has a member without a trusted reading; `scope` is the member.

    A trusted reading that breaches nothing lifts it, no time does.
    """
    return LockEntry(
        scope=book,
        stage=Stage.NORMAL,
        mode=LockMode.BLIND,
        reason=f"blind_{scope}",
        created_ts=now,
        expires_ts=FOREVER_TS,
        dry_run=dry_run,
    )


def pause_lock(scope: str = EVERY_BOOK, *, now: float, dry_run: bool) -> LockEntry:
    """Make the lock of the operator's pause; the switch lifts it."""
    return LockEntry(
        scope=scope,
        stage=Stage.NORMAL,
        mode=LockMode.PAUSE,
        reason=REASON_PAUSE,
        created_ts=now,
        expires_ts=FOREVER_TS,
        dry_run=dry_run,
    )


def halt_lock(
    scope: str = EVERY_BOOK, *, now: float, dry_run: bool, reason: str = REASON_HALT
) -> LockEntry:
    """Make a halt lock: the operator's (for every book) or the one a lost database leaves.

    With `REASON_STATE_LOST` it stands in the book's own locks, cancels nothing, and only that
    book's reset lifts it; hence it asks for one.
    """
    return LockEntry(
        scope=scope,
        stage=Stage.NORMAL,
        mode=LockMode.HALT,
        reason=reason,
        created_ts=now,
        expires_ts=FOREVER_TS,
        manual_reset_required=reason == REASON_STATE_LOST,
        dry_run=dry_run,
    )


def kill_lock(scope: str = EVERY_BOOK, *, now: float, dry_run: bool) -> LockEntry:
    """Make the lock of LOCKDOWN; it stays when the switch runs again, until the book's reset."""
    return LockEntry(
        scope=scope,
        stage=Stage.LOCKDOWN,
        mode=LockMode.KILL,
        reason=REASON_KILL,
        created_ts=now,
        expires_ts=FOREVER_TS,
        manual_reset_required=True,
        dry_run=dry_run,
    )


def _is_same(one: LockEntry, other: LockEntry) -> bool:
    """True for two entries of one cause; a stage has one lock, a blind scope one each."""
    if (one.scope, one.mode, one.stage) != (other.scope, other.mode, other.stage):
        return False
    return one.mode is LockMode.STAGE or one.reason == other.reason


def add_lock(locks: tuple[LockEntry, ...], entry: LockEntry) -> tuple[LockEntry, ...]:
    """Add a lock, or strengthen the one of the same cause: the later end and the stricter word.

    The first entry's `created_ts` stays, because bots have been locked since then.
    """
    merged = entry
    for known in locks:
        if _is_same(known, entry):
            merged = replace(
                merged,
                created_ts=min(known.created_ts, merged.created_ts),
                expires_ts=max(known.expires_ts, merged.expires_ts),
                manual_reset_required=known.manual_reset_required or merged.manual_reset_required,
            )
    return (*(known for known in locks if not _is_same(known, entry)), merged)


def lift_locks(
    locks: tuple[LockEntry, ...],
    *,
    modes: Collection[LockMode],
    stages: Collection[Stage] = tuple(Stage),
    reason: str = "",
) -> tuple[LockEntry, ...]:
    """Take away the locks of these modes and stages.

    With a `reason` only the locks that give it go: `blind_binance_futures` for one scope.
    """
    return tuple(
        entry
        for entry in locks
        if entry.mode not in modes or entry.stage not in stages or reason not in ("", entry.reason)
    )


def extend_stage_lock(
    locks: tuple[LockEntry, ...], *, stage: Stage, until: float
) -> tuple[LockEntry, ...]:
    """Let the lock of `stage`, where there is one, hold at least until then."""
    return tuple(
        replace(entry, expires_ts=max(entry.expires_ts, until))
        if entry.mode is LockMode.STAGE and entry.stage is stage
        else entry
        for entry in locks
    )


def is_closing(locks: Iterable[LockEntry], stage: Stage) -> bool:
    """Whether the lock of `stage` says that its close is not confirmed."""
    return any(
        entry.mode is LockMode.STAGE and entry.stage is stage and CLOSING in dict(entry.details)
        for entry in locks
    )


def without_closing(locks: tuple[LockEntry, ...], *, up_to: Stage) -> tuple[LockEntry, ...]:
    """Let no lock of a stage up to this one say any more that its close is not confirmed."""
    return tuple(
        replace(entry, details=tuple(item for item in entry.details if item[0] != CLOSING))
        if entry.mode is LockMode.STAGE and entry.stage <= up_to
        else entry
        for entry in locks
    )


def refresh_locks(
    book: BookMemory, *, policy: BookPolicy, now: float, dry_run: bool
) -> tuple[LockEntry, ...]:
    """Bring a book's locks up to this tick (behaviour.md 6 and 11); run it after every decision.

    The lock of an open incident reaches one cooldown ahead; locks of stages up to the book's own
    reach a minute ahead until it is re-armed or reset; a lock that the state demands and that is
    not there is set again; what has run out is dropped.
    """
    locks = book.locks
    demanded = _demanded_lock(book, policy=policy, now=now, dry_run=dry_run)
    if demanded is not None and not any(_is_same(entry, demanded) for entry in locks):
        locks = add_lock(locks, demanded)
    kept = (
        replace(entry, expires_ts=_least_expiry(entry, book=book, policy=policy, now=now))
        for entry in locks
    )
    return tuple(entry for entry in kept if entry.expires_ts > now)


def _demanded_lock(
    book: BookMemory, *, policy: BookPolicy, now: float, dry_run: bool
) -> LockEntry | None:
    """The lock without which the book's state would let bots trade; None where it needs none."""
    if book.stage is Stage.LOCKDOWN:
        return kill_lock(book.name, now=now, dry_run=dry_run)
    settings = policy.stage(book.stage)
    if settings is None or not settings.set_trading_lock:
        return None
    manual = book.manual_reset_required
    return stage_lock(book.name, policy=settings, now=now, dry_run=dry_run, is_manual=manual)


def _least_expiry(entry: LockEntry, *, book: BookMemory, policy: BookPolicy, now: float) -> float:
    """When an entry may end at the earliest; never before its present end."""
    if entry.mode is not LockMode.STAGE:
        return entry.expires_ts
    until = entry.expires_ts
    incident = open_incident(book)
    settings = policy.stage(entry.stage)
    if incident is not None and incident.stage is entry.stage:
        until = max(until, now + (HELD_AHEAD_S if settings is None else settings.cooldown_s))
    if entry.stage <= book.stage:
        until = max(until, now + HELD_AHEAD_S)
    return until


def open_incident(book: BookMemory) -> Incident | None:
    """The incident that is being carried out, None when there is none."""
    incident = book.incident
    return incident if incident is not None and incident.status is IncidentStatus.OPEN else None


def compose_lock(
    books: Iterable[BookMemory],
    *,
    dry_run: bool,
    enforce_in_dry_run: bool,
    operator_locks: Iterable[LockEntry] = (),
    details: tuple[tuple[str, str], ...] = (),
) -> LockContent:
    """Put every book's locks and the operator's together, the most severe first.

    In a dry run what the guard itself decides (stage, regime, blind) only shows as `would_lock`,
    unless it is enforced; what the operator set, and the halt after a lost database, binds in
    every mode.
    """
    entries = [*operator_locks, *(entry for book in books for entry in book.locks)]
    entries.sort(key=lambda entry: (-entry.severity, entry.scope, entry.stage, entry.reason))
    shown_only = (LockMode.STAGE, LockMode.REGIME, LockMode.BLIND)
    is_shown = dry_run and not enforce_in_dry_run
    return LockContent(
        locks=tuple(entry for entry in entries if not (is_shown and entry.mode in shown_only)),
        would_lock=tuple(entry for entry in entries if is_shown and entry.mode in shown_only),
        dry_run=dry_run,
        details=details,
    )
