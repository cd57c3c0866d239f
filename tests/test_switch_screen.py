"""What `switch` shows a person: what counts, who says so, and what nobody can know."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clock import SystemClock
from commands.status.switch import SwitchView, to_document
from commands.switch.look import look
from commands.switch.screen import render
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from memory import Records
from model import Stage
from switch_model import (
    SwitchMemory,
    SwitchSetting,
    SwitchState,
    SwitchStore,
    SwitchTransition,
)
from tests.guard_files import NOW, settings_in, write, write_lock

ANNA = SwitchSetting(state=SwitchState.PAUSE, since=NOW - 60, actor="anna", reason="lunch")
KILLED = SwitchSetting(state=SwitchState.KILL, since=NOW - 3700, actor="[bold]phone[/bold]")
CHANGE = SwitchTransition(
    at=NOW - 60,
    old=SwitchState.RUNNING,
    new=SwitchState.PAUSE,
    store=SwitchStore.LOCAL,
    actor="anna",
    reason="lunch",
)


def text_of(view: SwitchView, *, width: int = 80) -> str:
    """The screen in a pipe, without the blanks at line ends."""
    out = io.StringIO()
    Console(file=out, width=width).print(render(view, now=NOW))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def halting(why: str = "nothing listens there") -> LockEntry:
    """The lock of a silent Redis."""
    return LockEntry(
        scope="*",
        stage=Stage.NORMAL,
        mode=LockMode.HALT,
        reason="operator_redis_silent",
        created_ts=NOW - 30,
        expires_ts=FOREVER_TS,
        details=(("redis_silent", why),),
    )


RUNNING = SwitchView(memory=SwitchMemory(), is_guarded=True, obeyed=SwitchState.RUNNING)
PAUSED = replace(
    RUNNING,
    memory=SwitchMemory(local=ANNA, redis=SwitchSetting(actor="killswitch")),
    has_redis=True,
    obeyed=SwitchState.PAUSE,
    transitions=(CHANGE,),
)

RUNNING_TEXT = """\
Switch  running
local  running
redis  none is configured here
bots   trade
guard  watches; its stages act
       It resets no stage and lifts no lock of a book: reset BOOK does. Nothing
       is bought back.
No changes yet"""
PAUSED_TEXT = """\
Switch  pause  since 15:05:40 UTC (1 min)  held by local by anna: lunch
local  pause  since 15:05:40 UTC  by anna: lunch
redis  running  by killswitch
bots   take no new signals
guard  leaves positions and orders alone; its stages act
       It cancels no order and closes no position.
Last changes
15:05:40  local  running -> pause  anna: lunch"""


@pytest.mark.parametrize(("view", "text"), [(RUNNING, RUNNING_TEXT), (PAUSED, PAUSED_TEXT)])
def test_the_screen_at_80_columns(view: SwitchView, text: str) -> None:
    """The whole page as it is read, so that every change of it is looked at."""
    assert text_of(view) == text


def test_a_store_that_cannot_be_read_is_unknown_and_never_running() -> None:
    """What holds it is said, in JSON the store is null."""
    view = replace(RUNNING, local_fault="database disk image is malformed")
    assert "local  unknown: database disk image is malformed" in text_of(view)
    told = to_document(view)
    assert told["stores"] == {"local": None, "redis": None}
    assert told["local_fault"] == "database disk image is malformed"


def test_a_silent_redis_is_a_halt_that_names_why() -> None:
    """Nobody set it; what was seen last is shown beside it."""
    view = replace(
        PAUSED,
        memory=replace(PAUSED.memory, silent_since=NOW - 30, silent_why="nothing listens there"),
        redis_fault="nothing listens there",
        obeyed=SwitchState.HALT,
        obeyed_entry=halting(),
    )
    text = text_of(view, width=200)
    assert "Switch  halt  since 15:06:10 UTC (30 s)  held by nobody: Redis is silent (" in text
    assert "redis  silent, halt until it answers: nothing listens there; seen last: running" in text
    assert to_document(view)["held_by"] == []


def test_a_kill_in_a_dry_run_and_one_that_nobody_carries_out_are_warned_of() -> None:
    """Text of an operator is never read as markup."""
    memory = SwitchMemory(redis=KILLED)
    idle = SwitchView(memory=memory, has_redis=True)
    assert " ! the switch says kill, and no guard runs that carries it out" in text_of(idle)
    assert "held by redis by [bold]phone[/bold]" in text_of(idle, width=120)
    assert "guard  not running; once started it closes every position" in text_of(idle, width=120)
    dry = replace(idle, is_guarded=True, obeyed=SwitchState.KILL, dry_run=True)
    assert " ! DRY RUN: the kill locks the bots, and closes nothing" in text_of(dry)
    late = replace(dry, obeyed=SwitchState.RUNNING)
    assert "the guard's lock file says running, the stores say kill" in text_of(late)


def test_a_halt_that_suspends_stages_says_so() -> None:
    """`halt_suspends_stages: true` is no detail to whoever relies on stage 2."""
    halted = replace(
        RUNNING,
        memory=SwitchMemory(local=replace(ANNA, state=SwitchState.HALT)),
        obeyed=SwitchState.HALT,
    )
    assert "its stages act" in text_of(halted, width=200)
    waiting = replace(halted, is_halt_suspending=True)
    assert "stages 1 and 2 wait, stage 3 acts" in text_of(waiting, width=200)


def test_a_lost_database_is_shown_as_the_next_start_takes_it_over(tmp_path: Path) -> None:
    """The lock file still holds the operator's halt: running would be a guess."""
    settings = settings_in(tmp_path)
    entry = replace(halting(), reason="operator_halt", details=())
    write_lock(settings, content=LockContent(locks=(entry,)))
    view = asyncio.run(look(settings, clock=SystemClock()))
    assert view.effective is SwitchState.HALT
    write(settings, Records())
    view = asyncio.run(look(settings, clock=SystemClock()))
    assert view.effective is SwitchState.RUNNING


def test_the_json_document_holds_finite_plain_values() -> None:
    """A machine reads the same as a person."""
    told = to_document(PAUSED)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["effective"], told["held_by"], told["since_ts"]) == ("pause", ["local"], NOW - 60)
    assert told["transitions"] == [
        {
            "ts": NOW - 60,
            "store": "local",
            "old": "running",
            "new": "pause",
            "actor": "anna",
            "reason": "lunch",
        }
    ]
