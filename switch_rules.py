"""The operator's switch: what two stores, one of which may be silent, make the guard do.

Pure. Owns the rules of behaviour.md section 12 from a look at the stores to the state that counts;
the words are `switch_model`'s, reading and writing the stores is the shell's.

The theory
    The local store and Redis each hold a state, and the more severe one counts. Tightening takes
    effect when it is seen. Loosening takes effect only when it is seen, too: the guard writes it,
    and believes it once it reads it back, so that what was never written loosens nothing.

    Redis stands for the state that it was last seen to hold, whatever has become of it: silent,
    flushed, or out of the configuration. While it is silent it stands for at least halt, and only
    a value ends that: a server that comes back without its data has said nothing yet. A key that
    is missing is written again, only if it is still missing then.

    The local row counts its own writes. One that counts fewer than were seen before is an old copy
    of the file: of such a row nothing milder is believed, and what was known is written over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from book_locks import halt_lock, kill_lock, pause_lock
from lock_document import EVERY_BOOK, LockEntry
from memory import AuditEntry, Severity
from policy import Policy
from switch_model import (
    RedisMissing,
    RedisSeen,
    RedisSilent,
    RedisValue,
    RedisWrite,
    SwitchMemory,
    SwitchSeen,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)

REASON_REDIS_SILENT = "operator_redis_silent"
"""The halt that nobody has set: Redis does not say what the operator wants."""

WRITE_AGAIN_S = 5.0
"""A key that is still missing after so long is written again: the first write did not arrive."""

GUARD = "killswitch"
"""The actor of what the guard keeps or writes back by itself."""
NAMELESS = "somebody"
"""The actor of a value in Redis that came without a name."""

SHOWN_OF_A_VALUE = 40
"""An unknown value of more characters is not repeated: a part of a secret is not masked."""

MEANINGS = {
    SwitchState.RUNNING: "bots may trade",
    SwitchState.PAUSE: "bots take no new signals; positions and orders are untouched",
    SwitchState.HALT: "bots place no orders; entry orders are cancelled, positions are kept",
    SwitchState.KILL: "every position is closed, every order cancelled, LOCKDOWN until reset",
}
"""What each state does, for a person."""


# --- what counts ------------------------------------------------------------------------------


def explicit(switch: SwitchMemory) -> SwitchState:
    """The more severe of what both stores hold, as far as it was ever seen."""
    return max((setting.state for _, setting in _settings(switch)), key=_severity)


def effective(switch: SwitchMemory) -> SwitchState:
    """The state that counts: a silent Redis stands for halt at least."""
    if switch.silent_since is None:
        return explicit(switch)
    return max(explicit(switch), SwitchState.HALT, key=_severity)


def cancels_entries(switch: SwitchMemory, *, policy: Policy, now: float) -> bool:
    """Whether what could open a position is to be cancelled now.

    At once where a store says halt or kill, after `redis_grace_s` where Redis is only silent.
    """
    if explicit(switch).severity >= SwitchState.HALT.severity:
        return True
    since = switch.silent_since
    return since is not None and now - since >= policy.switch.redis_grace_s


def operator_locks(switch: SwitchMemory, *, dry_run: bool) -> tuple[LockEntry, ...]:
    """The lock that the switch sets for the bots of every book, real in a dry run as well."""
    state = effective(switch)
    if state is SwitchState.RUNNING:
        return ()
    holding = [setting.since for _, setting in _settings(switch) if setting.state is state]
    since = min(holding, default=switch.silent_since or 0.0)
    match state:
        case SwitchState.KILL:
            entry = kill_lock(EVERY_BOOK, now=since, dry_run=dry_run)
        case SwitchState.PAUSE:
            entry = pause_lock(EVERY_BOOK, now=since, dry_run=dry_run)
        case _:
            entry = halt_lock(EVERY_BOOK, now=since, dry_run=dry_run)
            if not holding:
                entry = replace(entry, reason=REASON_REDIS_SILENT)
    return (replace(entry, details=_say_holders(switch)),)


def _say_holders(switch: SwitchMemory) -> tuple[tuple[str, str], ...]:
    """Which store holds what, and who set it; for the details of the lock."""
    said = tuple(
        (f"switch_{store}", f"{setting.state} by {_say_who(setting.actor, setting.reason)}")
        for store, setting in _settings(switch)
        if setting.state is not SwitchState.RUNNING
    )
    return said if switch.silent_since is None else (*said, ("redis_silent", switch.silent_why))


def _say_who(actor: str, reason: str) -> str:
    return f"{actor}: {reason}" if reason else actor


def _settings(switch: SwitchMemory) -> tuple[tuple[SwitchStore, SwitchSetting], ...]:
    local = (SwitchStore.LOCAL, switch.local)
    return (local,) if switch.redis is None else (local, (SwitchStore.REDIS, switch.redis))


def _severity(state: SwitchState) -> int:
    return state.severity


# --- a look at the stores ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchLook:
    """What one look comes to. Nothing is new where `memory` is as before.

    `transitions` are the changes that were seen, for those who want to be told; `recorded` are
    those of them that no writer of a store has recorded yet. `record` is what the store must keep,
    None for nothing. `writes` are for Redis.
    """

    memory: SwitchMemory
    record: SwitchMemory | None = None
    transitions: tuple[SwitchTransition, ...] = ()
    recorded: tuple[SwitchTransition, ...] = ()
    audits: tuple[AuditEntry, ...] = ()
    writes: tuple[RedisWrite, ...] = ()


def look(switch: SwitchMemory, seen: SwitchSeen, *, policy: Policy, now: float) -> SwitchLook:
    """Take in what both stores were seen to hold."""
    found = SwitchLook(memory=switch)
    if seen.local is not None and seen.local != switch.local:
        found = _look_at_local(found, seen.local, now=now)
    elif seen.local is not None and switch.written_over is not None:
        found = replace(found, memory=replace(switch, written_over=None))
    if seen.redis is not None:
        found = _look_at_redis(found, seen.redis, now=now)
    if found.memory == switch:
        return found
    told = tuple(
        _changed_audit(one, before=switch, after=found.memory, policy=policy, now=now)
        for one in found.transitions
    )
    return replace(found, audits=(*told, *found.audits))


def _look_at_local(found: SwitchLook, seen: SwitchSetting, *, now: float) -> SwitchLook:
    """Believe the row, unless it is milder than what was known and not newer."""
    known = found.memory.local
    if seen.revision > known.revision or seen.state.severity >= known.state.severity:
        transitions = found.transitions
        if seen.state is not known.state:
            transitions += (_transition(SwitchStore.LOCAL, known.state, seen, now=seen.since),)
        memory = replace(found.memory, local=seen, written_over=None)
        return replace(found, memory=memory, transitions=transitions)
    if seen == found.memory.written_over:
        return found
    kept = replace(known, revision=seen.revision + 1)
    why = "the local row is an old copy: what was known is kept"
    again = replace(kept, actor=GUARD, reason=why)
    transition = _transition(SwitchStore.LOCAL, seen.state, again, now=now)
    memory = replace(found.memory, local=kept, written_over=seen)
    return replace(
        found,
        memory=memory,
        record=memory,
        recorded=(*found.recorded, transition),
        audits=(*found.audits, _restored_audit(SwitchStore.LOCAL, kept, why=why, now=now)),
    )


def _look_at_redis(found: SwitchLook, seen: RedisSeen, *, now: float) -> SwitchLook:
    found = replace(found, memory=replace(found.memory, has_redis=True))
    match seen:
        case RedisSilent():
            return _silent(found, seen, now=now)
        case RedisMissing():
            return _missing(found, now=now)
        case RedisValue():
            return _valued(found, seen, now=now)
        case _:
            assert_never(seen)


def _silent(found: SwitchLook, seen: RedisSilent, *, now: float) -> SwitchLook:
    """Hold at least halt from the first silent look on."""
    if found.memory.silent_since is not None:
        return found
    memory = replace(found.memory, silent_since=now, silent_why=seen.why)
    return replace(found, memory=memory, audits=(*found.audits, _silent_audit(seen, now=now)))


def _missing(found: SwitchLook, *, now: float) -> SwitchLook:
    """Keep what was known and have it written again; a first key says running."""
    memory = found.memory
    asked_at = memory.asked_at
    if asked_at is not None and abs(now - asked_at) < WRITE_AGAIN_S:
        return found
    known = memory.redis or SwitchSetting(actor=GUARD)
    write = RedisWrite(state=known.state, actor=known.actor, reason=known.reason)
    audits = found.audits
    if asked_at is None and known.state is not SwitchState.RUNNING:
        why = "the key is gone: the last state is kept and written back"
        audits += (_restored_audit(SwitchStore.REDIS, known, why=why, now=now),)
    return replace(
        found,
        memory=replace(memory, asked_at=now),
        audits=audits,
        writes=(*found.writes, write),
    )


def _valued(found: SwitchLook, seen: RedisValue, *, now: float) -> SwitchLook:
    """Take the value over; one that is no state tightens to halt and loosens nothing."""
    memory, audits = found.memory, found.audits
    if memory.silent_since is not None:
        audits += (_answers_audit(memory, now=now),)
        memory = replace(memory, silent_since=None, silent_why="")
    memory = replace(memory, asked_at=None)
    known = memory.redis
    last = SwitchState.RUNNING if known is None else known.state
    named, reason = SwitchState.parse(seen.text), seen.reason
    if named is None:
        reason = f"{_say_value(seen.text)} is no state and counts as halt"
    state = named or max(last, SwitchState.HALT, key=_severity)
    if known is not None and known.state is state and (named or known.reason == reason):
        return replace(found, memory=memory, audits=audits)
    setting = SwitchSetting(state=state, since=now, actor=seen.actor or NAMELESS, reason=reason)
    transitions, recorded = found.transitions, found.recorded
    if state is not last:
        transition = _transition(SwitchStore.REDIS, last, setting, now=now)
        transitions, recorded = (*transitions, transition), (*recorded, transition)
    elif named is None:
        audits += (_unreadable_audit(setting, now=now),)
    memory = replace(memory, redis=setting)
    return replace(
        found,
        memory=memory,
        record=memory if found.record is None else replace(found.record, redis=setting),
        transitions=transitions,
        recorded=recorded,
        audits=audits,
    )


def _say_value(text: str) -> str:
    return repr(text) if len(text) <= SHOWN_OF_A_VALUE else f"a text of {len(text)} characters"


def _transition(
    store: SwitchStore, old: SwitchState, setting: SwitchSetting, *, now: float
) -> SwitchTransition:
    return SwitchTransition(
        at=now,
        old=old,
        new=setting.state,
        store=store,
        actor=setting.actor,
        reason=setting.reason,
    )


# --- loosening --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosening:
    """What it takes to make both stores hold no more than a state; believed when it is seen.

    `memory` differs only where nobody would ever see it: in a Redis that this run does not ask.
    """

    memory: SwitchMemory
    record: SwitchMemory
    transitions: tuple[SwitchTransition, ...]
    writes: tuple[RedisWrite, ...]


def loosen(
    switch: SwitchMemory, state: SwitchState, *, actor: str, reason: str, now: float
) -> Loosening | None:
    """Plan what an accepted request writes; None where neither store holds more than that."""
    memory, local = switch, switch.local
    transitions: tuple[SwitchTransition, ...] = ()
    writes: tuple[RedisWrite, ...] = ()
    if local.state.severity > state.severity:
        local = SwitchSetting(
            state=state, since=now, actor=actor, reason=reason, revision=local.revision + 1
        )
        old = switch.local.state
        transitions += (_transition(SwitchStore.LOCAL, old, local, now=now),)
    redis = switch.redis
    if redis is not None and redis.state.severity > state.severity:
        writes += (
            RedisWrite(
                state=state,
                actor=actor,
                reason=reason,
                is_only_if_missing=False,
                replaces=redis.state,
            ),
        )
        if not switch.has_redis:
            lifted = SwitchSetting(state=state, since=now, actor=actor, reason=reason)
            memory = replace(switch, redis=lifted)
            transitions += (_transition(SwitchStore.REDIS, redis.state, lifted, now=now),)
    if not (transitions or writes):
        return None
    return Loosening(
        memory=memory,
        record=replace(memory, local=local),
        transitions=transitions,
        writes=writes,
    )


# --- a lost database --------------------------------------------------------------------------


def adopt_entries(
    switch: SwitchMemory, entries: Iterable[LockEntry], *, now: float
) -> SwitchMemory | None:
    """The switch with what a lock file says of the operator; None where it says nothing more."""
    found = [
        (state, entry)
        for entry in entries
        if (state := locked_state(entry)) is not None and entry.expires_ts > now
    ]
    if not found:
        return None
    state, entry = max(found, key=lambda pair: pair[0].severity)
    if state.severity <= explicit(switch).severity:
        return None
    said = "; ".join(f"{name}: {value}" for name, value in entry.details)
    reason = f"{entry.reason} in the lock file" + (f" ({said})" if said else "")
    return replace(
        switch,
        local=SwitchSetting(
            state=state,
            since=entry.created_ts,
            actor=GUARD,
            reason=reason,
            revision=switch.local.revision + 1,
        ),
    )


def locked_state(entry: LockEntry) -> SwitchState | None:
    """The state of the switch that a lock of every book stands for; None for any other lock."""
    if entry.scope != EVERY_BOOK or not entry.reason.startswith("operator_"):
        return None
    return SwitchState.parse(entry.mode)


def adoption(before: SwitchMemory, after: SwitchMemory, *, now: float) -> SwitchTransition:
    """The change of the local store by which a lock file was taken over."""
    return _transition(SwitchStore.LOCAL, before.local.state, after.local, now=now)


def adoption_audit(
    before: SwitchMemory, after: SwitchMemory, *, source: str, now: float, dry_run: bool
) -> AuditEntry:
    """The switch was taken over from the lock file; `source` says why."""
    return AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_adopted",
        message=f"{source}: the switch says {after.local.state} ({after.local.reason}) until: "
        "switch running",
        mode=after.local.state,
        dry_run=dry_run,
        severity=Severity.CRITICAL,
        details=(("old", explicit(before).value), ("new", after.local.state.value)),
    )


# --- what a person is told --------------------------------------------------------------------


def _changed_audit(
    change: SwitchTransition,
    *,
    before: SwitchMemory,
    after: SwitchMemory,
    policy: Policy,
    now: float,
) -> AuditEntry:
    counts, counted = effective(after), effective(before)
    who = _say_who(change.actor, change.reason)
    what = f"{change.store}: {change.old} -> {change.new} by {who}"
    said = f"now {counts}" if counts is not counted else f"still {counts}"
    dry = ""
    if policy.dry_run and change.new is SwitchState.KILL:
        dry = ". DRY RUN: NOTHING IS CLOSED AND NO ORDER IS CANCELLED"
    is_severe = change.new.severity >= SwitchState.HALT.severity
    is_tightened = change.new.severity > change.old.severity
    return AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_changed",
        message=f"{what}; the switch is {said}: {MEANINGS[counts]}{dry}",
        mode=counts,
        severity=Severity.CRITICAL if is_severe and is_tightened else Severity.WARNING,
        details=(
            ("store", change.store.value),
            ("old", change.old.value),
            ("new", change.new.value),
            ("actor", change.actor),
            ("reason", change.reason),
            ("effective", counts.value),
        ),
    )


def _restored_audit(
    store: SwitchStore, setting: SwitchSetting, *, why: str, now: float
) -> AuditEntry:
    is_severe = setting.state.severity >= SwitchState.HALT.severity
    return AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_restored",
        message=f"{store}: {why} ({setting.state} by {setting.actor})",
        mode=setting.state,
        severity=Severity.CRITICAL if is_severe else Severity.WARNING,
        details=(("store", store.value), ("new", setting.state.value)),
    )


def _silent_audit(seen: RedisSilent, *, now: float) -> AuditEntry:
    return AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_silent",
        message=f"Redis does not say what the operator wants ({seen.why}): at least halt until it "
        "does",
        mode=SwitchState.HALT,
        severity=Severity.CRITICAL,
        details=(("why", seen.why),),
    )


def _answers_audit(switch: SwitchMemory, *, now: float) -> AuditEntry:
    return AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_answers",
        message="Redis says again what the operator wants",
        severity=Severity.WARNING,
        details=(("silent_s", round(now - (switch.silent_since or now), 3)),),
    )


def _unreadable_audit(setting: SwitchSetting, *, now: float) -> AuditEntry:
    return AuditEntry(
        at=now,
        scope=EVERY_BOOK,
        event="switch_unreadable",
        message=f"redis: {setting.reason}; {setting.state} stays",
        mode=setting.state,
        severity=Severity.WARNING,
        details=(("reason", setting.reason),),
    )
