"""What time alone brings to a decision: a new run, a clock that was set, silence, alerts, expiry.

Pure. Owns what happens although nothing was read or reported. Its rule: what is due is done by the
clock, not when the next reading happens to come.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import incidents
import trust
from draft import Draft
from incident_audits import unconfigured_audit
from memory import AuditEntry, Memory, ScopeMemory, Severity
from model import BookName, ScopeId, Trust
from policy import Policy, unconfigured
from sight import begin_watch, judge_silence, sight_deadlines
from stage_recovery import shift_deadlines


def deadlines(memory: Memory, policy: Policy) -> tuple[float, ...]:
    """When something is due that no reading or report brings: alerts and blindness. UTC seconds.

    A decision at or after such a time does what is due.
    """
    silences = (
        at
        for book in policy.books
        for scope in book.scopes
        for at in sight_deadlines(memory.scope(scope), policy=policy)
    )
    alerts = (incidents.next_alert_at(book) for book in memory.books)
    return (*silences, *(at for at in alerts if at is not None))


def start(draft: Draft) -> None:
    """Begin to watch, and tell of what binds and stands in no configuration any more."""
    for scope in (scope for book in draft.policy.books for scope in book.scopes):
        draft.scopes[scope] = begin_watch(draft.scope(scope), now=draft.now)
        draft.touched_scopes.add(scope)
    draft.audit(
        tuple(
            unconfigured_audit(book, now=draft.now)
            for book in draft.books.values()
            if book.holds_back and draft.policy.book(book.name) is None
        )
    )


def move_with_clock(draft: Draft, *, by_s: float) -> None:
    """Move every time of ours with a wall clock that was set within this run.

    What was left of a deadline stays left, and the history stays as long ago as it was: neither
    does a jump ahead end a cooldown and empty the windows, nor one back leave peaks in the future.
    """
    draft.books = {name: shift_deadlines(book, by_s=by_s) for name, book in draft.books.items()}
    draft.scopes = {
        name: trust.move_times(scope, by_s=by_s) for name, scope in draft.scopes.items()
    }
    draft.touched_scopes.update(draft.scopes)
    if draft.switch.silent_since is not None:
        draft.switch = replace(draft.switch, silent_since=draft.switch.silent_since + by_s)
    draft.audit(
        (
            AuditEntry(
                at=draft.now,
                scope="*",
                event="clock_moved",
                message=f"the clock was set by {by_s:+.0f} s; deadlines and history move with it",
                severity=Severity.WARNING,
                details=(("by_s", round(by_s, 3)),),
            ),
        )
    )


def judge_silences(draft: Draft, *, seen: Collection[ScopeId]) -> None:
    """Alert and lock by the clock what was not read now: nobody waits for its next attempt."""
    for book in draft.policy.books:
        for scope in book.scopes:
            known = draft.scope(scope)
            if scope not in seen and known.watch_began_at:
                _judge_silence(draft, book.name, known)


def _judge_silence(draft: Draft, name: BookName, known: ScopeMemory) -> None:
    memory, audits, is_blind = judge_silence(known, policy=draft.policy, now=draft.now)
    if memory != known:
        draft.scopes[known.scope] = memory
        draft.touched_scopes.add(known.scope)
    draft.audit(audits)
    draft.take(
        incidents.judge_blindness(
            draft.book(name),
            scope=known.scope,
            is_blind=is_blind,
            trust=Trust.UNAVAILABLE,
            drawdowns=(),
            now=draft.now,
            dry_run=draft.policy.dry_run,
        )
    )


def keep_books(draft: Draft, *, untried: Collection[BookName]) -> None:
    """Do what is due for every book; one that is no longer configured is held as it stands.

    What is still to be closed in an `untried` book was not worked on by this run: it does not
    expire before that.
    """
    for name in sorted({*draft.books, *(book.name for book in draft.policy.books)}):
        policy = draft.policy.book(BookName(name))
        draft.take(
            incidents.keep_up(
                draft.book(BookName(name)),
                policy=policy or unconfigured(BookName(name)),
                now=draft.now,
                dry_run=draft.policy.dry_run,
                may_expire=policy is not None and name not in untried,
            )
        )
