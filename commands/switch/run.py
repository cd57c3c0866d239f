"""`switch [STATE]`: show what the operator wants of bots and guard, or set it."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import switch_rules
from clock import Clock, SystemClock
from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_FINE, read_settings
from commands.status.switch import SwitchView
from commands.status.switch import to_document as switch_document
from commands.switch import remote
from commands.switch.look import look, runs_dry
from commands.switch.screen import NOT_DONE, render
from commands.switch.setting import Outcome, Wish, must_loosen, set_switch
from commands.switch.stores import held_in
from redaction import Redactor
from settings import Settings
from switch_model import RedisSilent, SwitchState
from uncaught import learn_secrets

VERSION = 1
"""The form of the JSON document; it grows when a key changes its meaning or goes."""
MOST_WORDS = 300
"""A reason is a line, not a report; Redis shows no more of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOptions:
    """What was given on the command line; `state` None: show. `redis_url` is a guard's Redis."""

    state: str | None = None
    is_confirmed: bool = False
    reason: str = ""
    actor: str = ""
    as_json: bool = False
    redis_url: str | None = None
    key_prefix: str = ""
    ca_file: Path | None = None


def run_switch(config: Path, options: SwitchOptions) -> int:
    """Show or set; returns the exit code."""
    state = None
    if options.state is not None:
        state = SwitchState.parse(options.state)
        if state is None:
            names = ", ".join(SwitchState)
            print(f"switch: {options.state!r} is no state -> write {names}", file=sys.stderr)
            return EXIT_CONFIGURATION
    url = options.redis_url
    if url is None and not config.exists() and os.environ.get("REDIS_URL"):
        print(f"switch: there is no {config}: the Redis of REDIS_URL alone", file=sys.stderr)
        url = os.environ["REDIS_URL"]
    clock = SystemClock()
    if url is not None:
        return _run_remote(url, state, options, clock=clock)
    settings = read_settings(config, require_venues=False)
    if settings is None:
        print(
            "switch: without a configuration `switch STATE --redis-url URL` reaches Redis alone",
            file=sys.stderr,
        )
        return EXIT_CONFIGURATION
    if state is None:
        return _show(settings, as_json=options.as_json, clock=clock)
    return _set(settings, state, options, clock=clock)


def _show(settings: Settings, *, as_json: bool, clock: Clock) -> int:
    view = asyncio.run(look(settings, clock=clock))
    now = clock.now()
    if as_json:
        document = {"version": VERSION, "ts": now, **switch_document(view)}
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        Console().print(render(view, now=now))
    return EXIT_FAILED if view.local_fault else EXIT_FINE


def _set(settings: Settings, state: SwitchState, options: SwitchOptions, *, clock: Clock) -> int:
    # A kill looks at nothing first: whatever holds a look up must not hold it up.
    view = None if state is SwitchState.KILL else asyncio.run(look(settings, clock=clock))
    asked = _confirm(state, is_leaving=view is not None and _may_leave_kill(view), options=options)
    if not isinstance(asked, _Confirmed):
        return asked
    if view is not None and state is SwitchState.RUNNING and not must_loosen(view, state):
        if view.effective is SwitchState.RUNNING:
            print("the switch says running already; nothing was written")
            return EXIT_FINE
        print(f"switch: no store holds more than running. {_say_held(view)}", file=sys.stderr)
        return EXIT_FAILED
    wish = _wish(state, options, asked, mask=Redactor(settings.secrets()))
    outcome = asyncio.run(set_switch(settings, wish, view=view, clock=clock))
    if state is SwitchState.KILL and runs_dry(settings, now=clock.now()):
        print("DRY RUN: this kill locks the bots and closes nothing.", file=sys.stderr)
    if settings.redis is None and asyncio.run(look(settings, clock=clock)).memory.redis is not None:
        print(
            "switch: the guard has a Redis that this shell does not know (REDIS_HOST, REDIS_URL); "
            "only the guard itself writes there",
            file=sys.stderr,
        )
    return _tell(outcome, state, as_json=options.as_json)


def _may_leave_kill(view: SwitchView) -> bool:
    """Whether a milder state leaves kill, or may: of a store that cannot be read nobody knows."""
    return bool(view.local_fault) or switch_rules.explicit(view.memory) is SwitchState.KILL


def _say_held(view: SwitchView) -> str:
    """Why the switch does not say running although no store holds more."""
    if view.silent_why:
        return f"Redis is silent ({view.silent_why}): halt stays until it answers"
    return f"The guard's lock file says {view.effective}: look at its log"


def _tell(outcome: Outcome, state: SwitchState, *, as_json: bool) -> int:
    if as_json:
        document = {
            "version": VERSION,
            "state": state.value,
            "is_done": outcome.is_done,
            "lines": list(outcome.lines),
        }
        print(json.dumps(document, indent=2))
    else:
        for line in outcome.lines:
            print(line)
        print(NOT_DONE[state])
    if not outcome.is_done:
        print(
            "switch: not everything took it. What was set stands; the more severe store counts -> "
            "correct what failed and say it again (docs/operator.md, emergencies)",
            file=sys.stderr,
        )
    return EXIT_FINE if outcome.is_done else EXIT_FAILED


def _run_remote(
    url: str, state: SwitchState | None, options: SwitchOptions, *, clock: Clock
) -> int:
    place = remote.place_of(url, os.environ, key_prefix=options.key_prefix, ca_file=options.ca_file)
    if isinstance(place, int):
        return place
    if options.redis_url is not None and "@" in options.redis_url:
        warning = "a password on the command line can be seen by others -> use REDIS_PASSWORD"
        print(f"switch: {warning}", file=sys.stderr)
    secrets = [place.password.get_secret_value(), place.sentinel_password.get_secret_value()]
    mask = Redactor(secret for secret in secrets if secret)
    learn_secrets(mask)
    if state is None:
        seen = asyncio.run(remote.see(place, clock=clock))
        return remote.show(place, seen, as_json=options.as_json)
    seen_before = None if state is SwitchState.KILL else asyncio.run(remote.see(place, clock=clock))
    if isinstance(seen_before, RedisSilent):
        return remote.show(place, seen_before, as_json=options.as_json)
    is_leaving = held_in(seen_before) is SwitchState.KILL
    asked = _confirm(state, is_leaving=is_leaving, options=options)
    if not isinstance(asked, _Confirmed):
        return asked
    wish = _wish(state, options, asked, mask=mask)
    outcome = asyncio.run(remote.set_there(place, wish, seen_before, clock=clock))
    return _tell(outcome, state, as_json=options.as_json)


def _wish(state: SwitchState, options: SwitchOptions, asked: _Confirmed, *, mask: Redactor) -> Wish:
    """What is written for ever: no key by mistake, and one line."""
    actor = options.actor or f"{getpass.getuser()}@{socket.gethostname()}"
    actor, reason = (
        " ".join(mask.text(text).split())[:MOST_WORDS] for text in (actor, options.reason)
    )
    return Wish(state=state, actor=actor, reason=reason, is_confirmed=asked.is_word_given)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Confirmed:
    """It may go on; `is_word_given`: the word kill was typed, or --yes stands for it."""

    is_word_given: bool


def _confirm(state: SwitchState, *, is_leaving: bool, options: SwitchOptions) -> _Confirmed | int:
    """Ask for the word where money depends on it; the exit code where it may not go on."""
    is_needed = state is SwitchState.KILL or is_leaving
    if not is_needed or options.is_confirmed:
        return _Confirmed(is_word_given=options.is_confirmed)
    if not sys.stdin.isatty():
        print("switch: write --yes to go on, there is no terminal to ask on", file=sys.stderr)
        return EXIT_CONFIGURATION
    what = "closes every position" if state is SwitchState.KILL else f"leaves kill for {state}"
    print(f"This {what}. {NOT_DONE[SwitchState.KILL]}", file=sys.stderr)
    try:
        typed = input("Type the word kill to go on: ")
    except (EOFError, KeyboardInterrupt):
        typed = ""
    if typed.strip().lower() == SwitchState.KILL:
        return _Confirmed(is_word_given=True)
    print("switch: not confirmed; nothing was written", file=sys.stderr)
    return EXIT_FAILED
