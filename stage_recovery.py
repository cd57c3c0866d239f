"""What a book becomes when the ground under it moved: a lost database, a clock that was set.

Pure. Owns the last two bullets of behaviour.md section 6. Its rules only tighten or keep: what
nobody knows any more is locked until a person resets it, no deadline becomes shorter, and no
baseline lies in the future, where it would hide every peak.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from book_locks import EVERY_BOOK, REASON_STATE_LOST, add_lock, halt_lock
from lock_document import CLOSING, FOREVER_TS, LockEntry, LockMode
from memory import AuditEntry, BookMemory, Severity
from model import CLOSING_STAGES, Stage
from policy import BookPolicy
from stage_machine import is_latching


def adopt_locks(
    book: BookMemory,
    *,
    entries: Iterable[LockEntry],
    policy: BookPolicy,
    now: float,
    dry_run: bool,
) -> BookMemory:
    """Rebuild a book from a lock file whose database is gone; `()` for an unreadable file.

    The entries set the stage as it stands and open no incident. A stage's own entry carries its
    cooldown; at most one whole cooldown from now is believed. Entries of the other kind of run
    (dry or live) set no stage, only a kill counts in both. The halt lock that is added cancels
    nothing and stays until the book's reset.
    """
    own = [entry for entry in entries if entry.scope in (book.name, EVERY_BOOK)]
    binding = [
        entry
        for entry in own
        if entry.mode is LockMode.KILL
        or (entry.mode is LockMode.STAGE and entry.dry_run == dry_run)
    ]
    stage = max((entry.stage for entry in binding), default=Stage.NORMAL)
    locks = book.locks
    for entry in binding:
        if entry.scope == book.name:
            locks = add_lock(locks, entry)
    halt = halt_lock(book.name, now=now, dry_run=dry_run, reason=REASON_STATE_LOST)
    cooldowns = [
        max(known, _adopted_cooldown(binding, stage=one, policy=policy, now=now))
        for one, known in zip(CLOSING_STAGES, book.cooldowns, strict=True)
    ]
    return replace(
        book,
        stage=max(book.stage, stage),
        since=now,
        cooldowns=(cooldowns[0], cooldowns[1], cooldowns[2]),
        locks=add_lock(locks, halt),
        manual_reset_required=book.manual_reset_required
        or is_latching(stage, policy=policy, dry_run=dry_run),
    )


def adoption_audits(
    before: BookMemory, after: BookMemory, *, source: str, now: float, dry_run: bool
) -> tuple[AuditEntry, ...]:
    """One entry for each lock that a book took over, its halt included; `source` says from what."""
    known = {(entry.reason, entry.stage) for entry in before.locks}
    return tuple(
        AuditEntry(
            at=now,
            scope=after.name,
            event="lock_adopted",
            message=f"{source}: {entry.reason} holds, and {after.name} stands at "
            f"{after.stage.name} until its reset"
            + ("; nobody saw its close confirmed" if CLOSING in dict(entry.details) else ""),
            stage=entry.stage,
            mode=entry.mode.value,
            dry_run=dry_run,
            severity=Severity.CRITICAL,
            details=(
                ("reason", entry.reason),
                ("created_ts", entry.created_ts),
                ("expires_ts", entry.expires_ts),
            ),
        )
        for entry in after.locks
        if (entry.reason, entry.stage) not in known
    )


def _adopted_cooldown(
    entries: Iterable[LockEntry], *, stage: Stage, policy: BookPolicy, now: float
) -> float:
    """When the stage may fire again as far as its lock tells, 0 without a lock."""
    settings = policy.stage(stage)
    longest = now if settings is None else now + settings.cooldown_s
    ends = (min(entry.expires_ts, longest) for entry in entries if entry.stage is stage)
    return max(ends, default=0.0)


def shift_deadlines(book: BookMemory, *, by_s: float) -> BookMemory:
    """Move every time of a book with the wall clock, which jumped by `by_s` within this run.

    What was left of a deadline stays left, and no baseline comes to lie in the future. The
    histories of the book's scopes must be moved by the same amount in the same decision.
    """

    def moved(at: float) -> float:
        """The same moment on the new clock; 0 means never and stays."""
        return at + by_s if at > 0 else at

    incident = book.incident
    if incident is not None:
        incident = replace(
            incident,
            opened_at=moved(incident.opened_at),
            last_progress_at=moved(incident.last_progress_at),
            held_at=None if incident.held_at is None else moved(incident.held_at),
        )
    one, two, three = book.stage_baselines
    first, second, third = book.cooldowns
    return replace(
        book,
        since=moved(book.since),
        baseline_at=moved(book.baseline_at),
        stage_baselines=(moved(one), moved(two), moved(three)),
        cooldowns=(moved(first), moved(second), moved(third)),
        streaks=tuple(
            replace(
                streak,
                last_counted_at=moved(streak.last_counted_at),
                began_at=moved(streak.began_at),
            )
            for streak in book.streaks
        ),
        incident=incident,
        locks=tuple(
            entry
            if entry.expires_ts >= FOREVER_TS
            else replace(entry, expires_ts=moved(entry.expires_ts))
            for entry in book.locks
        ),
    )


def with_past_baselines(book: BookMemory, *, now: float, tolerance_s: float = 0.0) -> BookMemory:
    """The book with no baseline after `now`, where it would hide every peak.

    For a clock that was set back: without it the guard measures nothing until that time comes. A
    baseline that lies ahead by `tolerance_s` at most is waited for instead, because coming back
    it would lay open what it was set against.
    """

    def reached(at: float) -> float:
        return now if at > now + tolerance_s else at

    one, two, three = book.stage_baselines
    return replace(
        book,
        baseline_at=reached(book.baseline_at),
        stage_baselines=(reached(one), reached(two), reached(three)),
    )


def recover_book(book: BookMemory, *, now: float) -> BookMemory:
    """Make a book that was just loaded fit for a clock that was set back between two runs.

    Deadlines stay, at most they last longer. A baseline after `now` would leave no peak to
    measure from, and a streak or a progress after `now` would wait for that time to come: the
    first starts now, streaks start anew.
    """
    incident = book.incident
    if incident is not None:
        held_at = incident.held_at
        incident = replace(
            incident,
            opened_at=min(incident.opened_at, now),
            last_progress_at=min(incident.last_progress_at, now),
            held_at=held_at if held_at is not None and held_at <= now else None,
        )
    return replace(
        with_past_baselines(book, now=now),
        since=min(book.since, now),
        streaks=tuple(streak for streak in book.streaks if streak.last_counted_at <= now),
        incident=incident,
    )
