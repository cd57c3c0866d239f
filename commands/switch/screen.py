"""`switch` for a person: what counts first, then who says so, what it does, and what changed.

Owns words and colours. Nothing is said by colour alone, and text that came from elsewhere is never
read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from commands.status.switch import BOTS, GUARD, SwitchView, warn_of_switch
from commands.status.wording import say_span, say_time
from switch_model import SwitchSetting, SwitchState, SwitchStore, SwitchTransition

STYLES = {
    SwitchState.RUNNING: "bold green",
    SwitchState.PAUSE: "bold yellow",
    SwitchState.HALT: "bold bright_red",
    SwitchState.KILL: "bold magenta",
}

NOT_DONE = {
    SwitchState.RUNNING: "It resets no stage and lifts no lock of a book: reset BOOK does. "
    "Nothing is bought back.",
    SwitchState.PAUSE: "It cancels no order and closes no position.",
    SwitchState.HALT: "It closes no position; stops and targets stay, an open incident goes on.",
    SwitchState.KILL: "Leaving it does not end LOCKDOWN: that takes reset BOOK for each book.",
}
"""What people expect of each state that it does not do."""


def render(view: SwitchView, *, now: float) -> Group:
    """Everything there is to show, readable in 80 columns and in a pipe."""
    return Group(*_parts(view, now=now))


def _parts(view: SwitchView, *, now: float) -> Iterator[RenderableType]:
    yield _headline(view, now=now)
    for line in warn_of_switch(view):
        yield Text(f" ! {line}", style="bold red")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for store, setting in view.settings:
        grid.add_row(store.value, _store(view, store, setting, now=now))
    grid.add_row("bots", BOTS[view.effective])
    grid.add_row("guard", _say_guard(view))
    grid.add_row("", Text(NOT_DONE[view.effective], style="dim"))
    yield grid
    yield from _changes(view.transitions, now=now)


def _headline(view: SwitchView, *, now: float) -> Text:
    text = Text.assemble(("Switch  ", "bold"), (view.effective.value, STYLES[view.effective]))
    if view.effective is not SwitchState.RUNNING:
        if view.since is not None:
            text.append(f"  since {say_time(view.since, now=now)} UTC")
            text.append(f" ({say_span(now - view.since, is_short=True)})")
        text.append(f"  held by {view.say_holder()}")
    return text


def _store(
    view: SwitchView, store: SwitchStore, setting: SwitchSetting | None, *, now: float
) -> Text:
    """What one store holds, since when and by whom; or why nobody knows."""
    if store is SwitchStore.LOCAL and view.local_fault:
        return Text(f"unknown: {view.local_fault}", style="red")
    text = Text()
    if store is SwitchStore.REDIS and view.silent_why:
        text.append(f"silent, halt until it answers: {view.silent_why}", style="red")
        if setting is not None:
            text.append("; seen last: ")
    elif store is SwitchStore.REDIS and not view.has_redis:
        text.append("none is configured here")
        if setting is not None:
            text.append("; the guard has seen: ")
    elif setting is None:
        text.append("the key is not there, which counts as running")
    if setting is not None:
        text.append(setting.state.value, style=STYLES[setting.state])
        if setting.since > 0:
            text.append(f"  since {say_time(setting.since, now=now)} UTC")
        if setting.actor:
            text.append(f"  by {setting.actor}")
        if setting.reason:
            text.append(f": {setting.reason}")
    return text


def _say_guard(view: SwitchView) -> str:
    said = GUARD[view.effective]
    if view.effective is SwitchState.HALT and view.is_halt_suspending:
        said = said.replace("its stages act", "stages 1 and 2 wait, stage 3 acts")
    if view.dry_run and view.effective.severity >= SwitchState.HALT.severity:
        said += " (dry run: sends nothing)"
    return said if view.is_guarded else f"not running; once started it {said}"


def _changes(transitions: tuple[SwitchTransition, ...], *, now: float) -> Iterator[RenderableType]:
    if not transitions:
        yield Text("No changes yet", style="dim")
        return
    yield Text("Last changes", style="bold")
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for one in transitions:
        grid.add_row(
            Text(say_time(one.at, now=now), style="dim"),
            one.store.value,
            f"{one.old} -> {one.new}",
            Text(f"{one.actor}: {one.reason}" if one.reason else one.actor),
        )
    yield grid
