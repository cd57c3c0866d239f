"""The operator's switch in the database: what each store holds, and every change of it.

Owns the rows of `switch_state` and `switch_transitions`. Two hands write the local row: a command
that tightens, in any process, and the guard, which loosens. So each write raises the row's
revision by one, and the guard writes only over the revision that it has seen: whoever tightened
meanwhile stands. What Redis was last seen to hold is written by the guard alone.

A state that this program does not know counts as halt, as it does in Redis: a row that somebody
edited by hand must not cost the whole database.
"""

from __future__ import annotations

import sqlite3

from store.codec import Columns
from switch_model import (
    SwitchMemory,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)

LOAD_SETTING = "SELECT * FROM switch_state WHERE store = ?"
LAST_REVISION = 2**63 - 1
"""No column holds more: a row that was edited up to there must still be tightened."""
RECENT_TRANSITIONS = "SELECT * FROM switch_transitions ORDER BY transition_id DESC LIMIT ?"

_PUT = """
INSERT INTO switch_state (store, state, since_ts, actor, reason, revision)
VALUES (:store, :state, :since_ts, :actor, :reason, :revision)
ON CONFLICT (store) DO UPDATE SET state = excluded.state, since_ts = excluded.since_ts,
    actor = excluded.actor, reason = excluded.reason, revision = excluded.revision"""
_PUT_OVER_WHAT_WAS_SEEN = f"{_PUT} WHERE switch_state.revision = excluded.revision - 1"
_NOTE = """
INSERT INTO switch_transitions (ts, old_state, new_state, store, actor, reason)
VALUES (:ts, :old_state, :new_state, :store, :actor, :reason)"""


def load_setting(connection: sqlite3.Connection, store: SwitchStore) -> SwitchSetting | None:
    """What a store holds as far as the file knows, None where nothing was ever written."""
    row = connection.execute(LOAD_SETTING, (store,)).fetchone()
    return None if row is None else _setting_from(row)


def load_switch(connection: sqlite3.Connection) -> SwitchMemory:
    """What is remembered of both stores."""
    return SwitchMemory(
        local=load_setting(connection, SwitchStore.LOCAL) or SwitchSetting(),
        redis=load_setting(connection, SwitchStore.REDIS),
    )


def load_transitions(connection: sqlite3.Connection, limit: int) -> tuple[SwitchTransition, ...]:
    """The latest changes, newest first."""
    rows = connection.execute(RECENT_TRANSITIONS, (limit,)).fetchall()
    return tuple(
        SwitchTransition(
            at=row["ts"],
            old=_state_from(row["old_state"]),
            new=_state_from(row["new_state"]),
            store=SwitchStore(row["store"]),
            actor=row["actor"],
            reason=row["reason"],
        )
        for row in rows
    )


def write_switch(
    connection: sqlite3.Connection,
    switch: SwitchMemory | None,
    transitions: tuple[SwitchTransition, ...],
) -> None:
    """Write what the guard makes of the switch, within the caller's transaction.

    The local row, and the transitions that tell of it, only over the revision before its own.
    """
    is_local_written = False
    if switch is not None:
        columns = _setting_columns(SwitchStore.LOCAL, switch.local)
        if switch.local.revision > 0:
            is_local_written = connection.execute(_PUT_OVER_WHAT_WAS_SEEN, columns).rowcount > 0
        if switch.redis is not None:
            connection.execute(_PUT, _setting_columns(SwitchStore.REDIS, switch.redis))
    for transition in transitions:
        if transition.store is not SwitchStore.LOCAL or is_local_written:
            connection.execute(_NOTE, _transition_columns(transition))


def tighten(
    connection: sqlite3.Connection, state: SwitchState, *, actor: str, reason: str, now: float
) -> SwitchTransition | None:
    """Tighten the local store within the caller's transaction; None where that much holds.

    A state that is repeated leaves its row as it is and raises the revision, so that a loosening
    under way, which has not seen this, changes nothing.
    """
    known = load_setting(connection, SwitchStore.LOCAL) or SwitchSetting()
    if state.severity < known.state.severity or state is SwitchState.RUNNING:
        return None
    if state is known.state:
        connection.execute(
            "UPDATE switch_state SET revision = min(revision + 1, ?) WHERE store = ?",
            (LAST_REVISION, SwitchStore.LOCAL),
        )
        return None
    setting = SwitchSetting(
        state=state,
        since=now,
        actor=actor,
        reason=reason,
        revision=min(known.revision + 1, LAST_REVISION),
    )
    transition = SwitchTransition(
        at=now,
        old=known.state,
        new=state,
        store=SwitchStore.LOCAL,
        actor=actor,
        reason=reason,
    )
    connection.execute(_PUT, _setting_columns(SwitchStore.LOCAL, setting))
    connection.execute(_NOTE, _transition_columns(transition))
    return transition


def _setting_columns(store: SwitchStore, setting: SwitchSetting) -> dict[str, object]:
    return {
        "store": store,
        "state": setting.state,
        "since_ts": setting.since,
        "actor": _plain(setting.actor),
        "reason": _plain(setting.reason),
        "revision": setting.revision,
    }


def _setting_from(row: Columns) -> SwitchSetting:
    return SwitchSetting(
        state=_state_from(row["state"]),
        since=row["since_ts"],
        actor=row["actor"],
        reason=row["reason"],
        revision=row["revision"],
    )


def _transition_columns(transition: SwitchTransition) -> dict[str, object]:
    return {
        "ts": transition.at,
        "old_state": transition.old,
        "new_state": transition.new,
        "store": transition.store,
        "actor": _plain(transition.actor),
        "reason": _plain(transition.reason),
    }


def _state_from(text: str) -> SwitchState:
    return SwitchState.parse(text) or SwitchState.HALT


def _plain(text: str) -> str:
    """What can be stored: a terminal of another encoding hands over what is no character."""
    return text.encode(errors="replace").decode()
