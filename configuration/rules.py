"""Rules that need more than one key of config.yaml, each recorded as one line.

Owns what must hold between keys: cadence, paths, stages of an account, switches of a venue. A rule
looks only at keys that are right by themselves, so that a mistake is reported once and not again by
every rule it touches.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configuration.config_file import ConfigFile, KeyPath
from configuration.schema import STAGE_KEYS, General
from configuration.sections import AccountSections, VenueSections
from configuration.values import nearest, number_text, window_s
from model import USDT, Asset, StageMode

SPOT_IDS = ("binance", "bitget")
"""Exchanges that have spot accounts beside the futures. An account of the others is one wallet:
what is spot there is watched with the futures."""
KNOWN_IDS = ("binance", "bybit", "bitget")
"""Exchanges this version has an adapter for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One threshold and the key it came from; a default has a path that the file does not hold."""

    path: KeyPath
    window_s: float
    fraction: float


def check_general(config: ConfigFile, general: General) -> None:
    """Check cadence against deadlines, and that the quote coin is not sold."""
    poll = general.poll_seconds
    if not config.is_sound(("poll_seconds",)):
        poll = 0.0
    floors = (
        ("max_reading_age_s", general.max_reading_age_s, poll, "would call every reading too old"),
        ("blind_alert_s", general.blind_alert_s, 2 * poll, "would alert between two polls"),
        ("blind_lock_s", general.blind_lock_s, 2 * poll, "would lock between two polls"),
    )
    for key, value, floor, wrong in floors:
        if value is not None and value < floor and config.is_sound((key,)):
            path = (key,) if (key,) in config.lines else ("poll_seconds",)
            remedy = f"write {key}: {number_text(floor)} or more (poll_seconds is {poll:g})"
            config.add(path, wrong=f"{key} {value:g} {wrong}", remedy=remedy)
    if 0 < poll < general.alert_poll_seconds and config.is_sound(("alert_poll_seconds",)):
        key = "alert_poll_seconds" if ("alert_poll_seconds",) in config.lines else "poll_seconds"
        config.add(
            (key,),
            wrong="would poll slower while losing than otherwise",
            remedy=f"write alert_poll_seconds: {poll:g} or less",
        )
    if USDT not in general.stables_keep and config.is_sound(("stables_keep",)):
        config.add(
            ("stables_keep",),
            wrong="does not hold USDT, in which the account is counted",
            remedy="add USDT",
        )


def check_files(config: ConfigFile, *, state_db: Path, lock_file: Path, own: Path) -> None:
    """Check that database and lock file can be files of their own."""
    for key, path in (("state_db", state_db), ("trading_lock_file", lock_file)):
        fault = _fault_of_file(path)
        if fault is not None and config.is_sound((key,)):
            config.add((key,), wrong=fault, remedy="write the path of a file in a folder")
        if _same(path, own):
            config.add(
                (key,), wrong="would overwrite the configuration", remedy="name another file"
            )
    if _same(state_db, lock_file):
        key = "trading_lock_file" if ("trading_lock_file",) in config.lines else "state_db"
        config.add(
            (key,), wrong="is used for both database and lock", remedy="name two different files"
        )


def _same(one: Path, other: Path) -> bool:
    """True for two spellings of one path; links are not followed."""
    return os.path.normpath(one) == os.path.normpath(other)


def _fault_of_file(path: Path) -> str | None:
    """Why no file can be written at `path`, None when nothing speaks against it."""
    try:
        if path.is_dir():
            return "is a folder"
        above = next((parent for parent in path.parents if parent.exists()), None)
        if above is not None and not above.is_dir():
            return "lies below a file, not a folder"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    return None


def check_venue(config: ConfigFile, venue: VenueSections) -> None:
    """Check the exchange behind the name and that one trading place is meant."""
    if venue.id not in KNOWN_IDS and config.is_sound((*venue.path, "id")):
        close = nearest(venue.id, KNOWN_IDS)
        if venue.venue.id is not None:
            remedy = f"did you mean {close}?" if close else "write id: binance"
            config.add((*venue.path, "id"), wrong="is not a known exchange", remedy=remedy)
        else:
            remedy = f"did you mean {close}?" if close else "add `id: binance` below it"
            config.add(venue.path, wrong="is not a known exchange", remedy=remedy)
    places = [
        (key, value)
        for key, value in (
            ("sandbox", venue.venue.sandbox),
            ("demo", venue.venue.demo),
            ("simulator_url", venue.venue.simulator_url),
        )
        if value and config.is_sound((*venue.path, key))
    ]
    if len(places) > 1:
        config.add(
            (*venue.path, places[-1][0]),
            wrong=f"excludes {places[0][0]}",
            remedy="keep one of sandbox, demo and simulator_url",
        )


def thresholds_of(config: ConfigFile, account: AccountSections, key: str) -> tuple[Entry, ...]:
    """The usable thresholds of one stage, those of the file or else the defaults.

    Defaults outside the account's `windows` fall away. Entries that were reported as wrong are
    left out, and a window written twice counts with its first value.
    """
    path = (*account.path, key, "thresholds")
    section = account.stages[key]
    if section.thresholds is not None:
        entries: dict[float, Entry] = {}
        for written, fraction in section.thresholds.items():
            seconds = window_s(written)
            entry = Entry(path=(*path, written), window_s=seconds, fraction=fraction)
            entries.setdefault(seconds, entry)
        return tuple(entries.values())
    if path in config.lines or not config.is_sound(path):
        return ()
    windows = account.account.windows
    return tuple(
        Entry(path=path, window_s=default.window_s, fraction=default.fraction)
        for default in STAGE_KEYS[key].thresholds
        if windows is None or default.window_s in windows
    )


def check_account(config: ConfigFile, account: AccountSections) -> None:
    """Check windows and thresholds of one account, within and across its stages."""
    for key in STAGE_KEYS:
        _check_same_window(config, account, key)
        _check_windows(config, account, key)
    _check_stage_order(config, account)


def check_spot(config: ConfigFile, account: AccountSections, *, stables: Sequence[Asset]) -> None:
    """Check that each stage has the coins that its mode sells, and that none is a stable."""
    selling = StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES
    for key in STAGE_KEYS:
        path, mode = (*account.path, key), account.stages[key].mode
        blacklist = account.blacklist(key)
        if not config.is_sound((*path, "blacklist")) or not config.is_sound((*path, "mode")):
            continue
        if mode is selling and not blacklist:
            remedy = "add e.g. `blacklist: [DOGE]`, or choose another mode"
            config.add((*path, "mode"), wrong="has no blacklist of coins to sell", remedy=remedy)
        elif blacklist and mode is not selling:
            remedy = f"write mode: {selling.value}, or remove the line"
            config.add(
                (*path, "blacklist"), wrong="is used by no mode of this stage", remedy=remedy
            )
        kept = [asset for asset in blacklist if asset in stables]
        if kept:
            remedy = "remove it here, or from stables_keep"
            wrong = f"holds {kept[0]}, which stables_keep keeps"
            config.add((*path, "blacklist"), wrong=wrong, remedy=remedy)


def _check_same_window(config: ConfigFile, account: AccountSections, key: str) -> None:
    """`60` and `1h` are one window: two values for it leave open which is meant."""
    first: dict[float, tuple[str, float]] = {}
    path = (*account.path, key, "thresholds")
    for written, fraction in (account.stages[key].thresholds or {}).items():
        seconds = window_s(written)
        name, value = first.setdefault(seconds, (written, fraction))
        if value != fraction:
            wrong = f"is the same window as {name}, which has {number_text(value)}"
            config.add((*path, written), wrong=wrong, remedy=f"keep one of {name} and {written}")
            config.spoilt.add((*path, name))


def _check_windows(config: ConfigFile, account: AccountSections, key: str) -> None:
    """When `windows` is given, every threshold names one of them and each stage has one."""
    windows = account.account.windows
    path = (*account.path, "windows")
    if windows is None or not config.is_sound(path):
        return
    entries = thresholds_of(config, account, key)
    for entry in entries:
        if entry.window_s not in windows and config.is_sound(entry.path):
            remedy = "add the window there, or remove this line"
            config.add(entry.path, wrong="is not one of the account's windows", remedy=remedy)
    thresholds = (*account.path, key, "thresholds")
    if not entries and thresholds not in config.lines and config.is_sound(thresholds):
        wrong = f"leaves {key} without a threshold"
        remedy = f"write {key}.thresholds, or add 15m and 1h"
        config.add(path, wrong=wrong, remedy=remedy)


def _check_stage_order(config: ConfigFile, account: AccountSections) -> None:
    """A higher stage never has a lower threshold for the same window than a lower stage."""
    highest: dict[float, tuple[str, Entry]] = {}
    for key in STAGE_KEYS:
        for entry in thresholds_of(config, account, key):
            if not config.is_sound(entry.path):
                continue
            name, lower = highest.setdefault(entry.window_s, (key, entry))
            if entry.fraction >= lower.fraction:
                highest[entry.window_s] = (key, entry)
                continue
            limit, own = number_text(lower.fraction), number_text(entry.fraction)
            if entry.path in config.lines:
                wrong = f"is below {name}, which has {limit} for this window"
                config.add(entry.path, wrong=wrong, remedy=f"write {limit} or more")
            else:
                wrong = f"is above the default of {key}, {own} for this window"
                config.add(lower.path, wrong=wrong, remedy=f"write {own} or less, or set {key} too")
                highest.pop(entry.window_s)
