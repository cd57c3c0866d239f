"""The operator's switch as `status` and `switch` show it: what counts, who holds it, since when.

Owns the answer to "may the bots trade, and who says so", from what the database remembers of both
stores, what was just read of Redis, and what the lock file shows that the guard obeys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import switch_rules
from commands.status.lock import LockFileView
from lock_document import LockEntry
from switch_model import (
    SwitchMemory,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)

UNKNOWN_LOCAL = "cannot be read"

BOTS = {
    SwitchState.RUNNING: "trade",
    SwitchState.PAUSE: "take no new signals",
    SwitchState.HALT: "place no orders",
    SwitchState.KILL: "stop for good",
}
"""What each state asks of bots."""

GUARD = {
    SwitchState.RUNNING: "watches; its stages act",
    SwitchState.PAUSE: "leaves positions and orders alone; its stages act",
    SwitchState.HALT: "cancels what could open, also what appears later; positions stay; "
    "its stages act",
    SwitchState.KILL: "closes every position, cancels every order, LOCKDOWN until reset",
}
"""What each state asks of the guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchView:
    """The switch at one moment.

    `memory` is what counts; in it the local store is as it was read. `local_fault` says why the
    local store could not be read, empty where it could. `obeyed` is what the lock file of a running
    guard shows, None while none runs or its file says nothing that holds. `has_redis`: a Redis is
    configured here. `is_halt_suspending`: stages 1 and 2 wait while the switch says halt.
    """

    memory: SwitchMemory
    transitions: tuple[SwitchTransition, ...] = ()
    local_fault: str = ""
    redis_fault: str = ""
    has_redis: bool = False
    is_guarded: bool = False
    obeyed: SwitchState | None = None
    obeyed_entry: LockEntry | None = None
    dry_run: bool = False
    is_halt_suspending: bool = False

    @property
    def effective(self) -> SwitchState:
        """The state that counts; of a guard that obeys more than the stores say, that."""
        states = (switch_rules.effective(self.memory), self.obeyed or SwitchState.RUNNING)
        return max(states, key=lambda state: state.severity)

    @property
    def holders(self) -> tuple[tuple[SwitchStore, SwitchSetting], ...]:
        """The stores that hold the state which counts, the local one first."""
        return tuple(
            (store, setting)
            for store, setting in self.settings
            if setting is not None and setting.state is self.effective
        )

    @property
    def settings(self) -> tuple[tuple[SwitchStore, SwitchSetting | None], ...]:
        """What each store holds; None where that is not known, or never was."""
        local = None if self.local_fault else self.memory.local
        return ((SwitchStore.LOCAL, local), (SwitchStore.REDIS, self.memory.redis))

    @property
    def since(self) -> float | None:
        """Since when the state counts (UTC seconds), None where nobody knows."""
        known = [setting.since for _, setting in self.holders if setting.since > 0]
        if known:
            return min(known)
        if self.obeyed_entry is not None and self.obeyed is self.effective:
            return self.obeyed_entry.created_ts
        return None

    @property
    def silent_why(self) -> str:
        """Why Redis says nothing, empty while it does, or where there is none."""
        if self.redis_fault:
            return self.redis_fault
        details = dict(() if self.obeyed_entry is None else self.obeyed_entry.details)
        return details.get("redis_silent", "")

    def say_holder(self) -> str:
        """Which store holds the state and who set it, in one line; empty for an untouched one."""
        said = [
            f"{store} by {_say_who(setting)}" for store, setting in self.holders if setting.actor
        ]
        if said:
            return ", ".join(said)
        if self.effective is SwitchState.RUNNING:
            return ""
        if self.silent_why:
            return f"nobody: Redis is silent ({self.silent_why})"
        return ", ".join(store.value for store, _ in self.holders) or "the guard's lock file"


def _say_who(setting: SwitchSetting) -> str:
    return f"{setting.actor}: {setting.reason}" if setting.reason else setting.actor


def obeyed_of(lock: LockFileView) -> LockEntry | None:
    """The lock that the switch sets, where the file is fresh enough to hold; None without one."""
    if not lock.is_readable or lock.is_stale:
        return None
    locks = [entry for entry in lock.locks if switch_rules.locked_state(entry) is not None]
    return max(locks, key=lambda entry: entry.severity, default=None)


def obeyed_state(lock: LockFileView) -> SwitchState | None:
    """What the guard's lock file stands for; None where it says nothing that holds."""
    if not lock.is_readable or lock.is_stale:
        return None
    entry = obeyed_of(lock)
    found = None if entry is None else switch_rules.locked_state(entry)
    return found or SwitchState.RUNNING


def view_switch(
    memory: SwitchMemory,
    transitions: tuple[SwitchTransition, ...],
    *,
    lock: LockFileView,
    is_guarded: bool,
    dry_run: bool,
    local_fault: str = "",
    redis_fault: str = "",
    has_redis: bool = False,
    is_halt_suspending: bool = False,
) -> SwitchView:
    """Put together what was read; the lock file counts only where a guard keeps it."""
    return SwitchView(
        memory=memory,
        transitions=transitions,
        local_fault=local_fault,
        redis_fault=redis_fault,
        has_redis=has_redis,
        is_guarded=is_guarded,
        obeyed=obeyed_state(lock) if is_guarded else None,
        obeyed_entry=obeyed_of(lock) if is_guarded else None,
        dry_run=dry_run,
        is_halt_suspending=is_halt_suspending,
    )


def warn_of_switch(view: SwitchView) -> Iterator[str]:
    """What a person should know who believes that setting the switch was enough."""
    held = switch_rules.effective(view.memory)
    if view.effective is not SwitchState.RUNNING and not view.is_guarded:
        yield f"the switch says {view.effective}, and no guard runs that carries it out"
    elif view.obeyed is not None and view.obeyed.severity < held.severity:
        yield f"the guard's lock file says {view.obeyed}, the stores say {held}: see its log"
    if view.dry_run and view.effective is SwitchState.KILL:
        yield "DRY RUN: the kill locks the bots, and closes nothing and cancels no order"


def to_document(view: SwitchView) -> dict[str, object]:
    """The switch as plain values; times are UTC seconds, what is not known is null."""
    return {
        "effective": view.effective.value,
        "held_by": [store.value for store, _ in view.holders],
        "since_ts": view.since,
        "actor": next((setting.actor for _, setting in view.holders), None),
        "reason": next((setting.reason for _, setting in view.holders), None),
        "bots": BOTS[view.effective],
        "guard": GUARD[view.effective],
        "obeyed": None if view.obeyed is None else view.obeyed.value,
        "has_redis": view.has_redis,
        "redis_silent": view.silent_why,
        "local_fault": view.local_fault,
        "stores": {store.value: _setting(setting) for store, setting in view.settings},
        "transitions": [_transition(one) for one in view.transitions],
    }


def _setting(setting: SwitchSetting | None) -> dict[str, object] | None:
    if setting is None:
        return None
    return {
        "state": setting.state.value,
        "since_ts": setting.since or None,
        "actor": setting.actor,
        "reason": setting.reason,
    }


def _transition(one: SwitchTransition) -> dict[str, object]:
    return {
        "ts": one.at,
        "store": one.store.value,
        "old": one.old.value,
        "new": one.new.value,
        "actor": one.actor,
        "reason": one.reason,
    }
