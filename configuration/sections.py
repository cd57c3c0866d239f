"""From the parsed file to typed sections: each section judged by itself, mistakes recorded.

Owns walking the file, unknown and misspelt keys, and keeping what is right of a section that has
mistakes, so that one mistake neither hides another nor invents one. Knows no rule that needs two
sections: those are in `configuration.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from configuration.config_file import ConfigFile, KeyPath, Section, Value, holds_secret
from configuration.schema import (
    KEYS_OF_SECTION,
    LATER_SECTIONS,
    LATER_STAGE_KEYS,
    STAGE_KEYS,
    FuturesAccount,
    General,
    SpotAccount,
    StageSection,
    TradingLock,
    Venue,
)
from configuration.values import is_venue_name, nearest

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSections:
    """A futures account and its stages by section name (`stage_1`)."""

    path: KeyPath
    account: FuturesAccount
    stages: Mapping[str, StageSection]


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSections:
    """One venue as the file has it; `id` is already resolved to a name."""

    name: str
    path: KeyPath
    venue: Venue
    futures: AccountSections
    spot: SpotAccount

    @property
    def id(self) -> str:
        """The exchange behind the name."""
        return self.venue.id or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """The whole file, typed."""

    general: General
    trading_lock: TradingLock
    venues: tuple[VenueSections, ...]


def read_sections(config: ConfigFile) -> Sections:
    """Type every section of the file; what is wrong is recorded in `config` and left out."""
    top = dict(config.root)
    for key in LATER_SECTIONS:
        if key in top:
            del top[key]
            config.add((key,), wrong="is not in this version yet", remedy="remove the section")
    trading_lock = _taken(config, top, ("trading_lock",))
    exchanges = _taken(config, top, ("exchanges",))
    if "exchanges" not in config.root:
        exchanges = {"binance": {}}
    return Sections(
        general=_typed(config, General, top, path=(), home="the top of the file"),
        trading_lock=_typed(
            config, TradingLock, trading_lock, path=("trading_lock",), home="trading_lock"
        ),
        venues=tuple(_venue(config, exchanges, name) for name in tuple(exchanges)),
    )


def _venue(config: ConfigFile, exchanges: Section, name: str) -> VenueSections:
    """One venue with its accounts and stages."""
    path = ("exchanges", name)
    if not is_venue_name(name):
        config.add(
            path,
            wrong="cannot name a venue",
            remedy="use small letters, digits and single underscores, e.g. binance_sub1",
        )
    venue = _taken(config, exchanges, path)
    accounts = _taken(config, venue, (*path, "accounts"))
    at = (*path, "accounts", "futures")
    futures = _taken(config, accounts, at)
    spot = _taken(config, accounts, (*path, "accounts", "spot"))
    for key in accounts:
        _add_unknown(config, (*path, "accounts", key), home="exchanges.<venue>.accounts")
    return VenueSections(
        name=name,
        path=path,
        venue=_typed(config, Venue, venue, path=path, home="exchanges.<venue>"),
        futures=AccountSections(
            path=at,
            stages={key: _stage(config, futures, (*at, key)) for key in STAGE_KEYS},
            account=_typed(
                config,
                FuturesAccount,
                futures,
                path=at,
                home="exchanges.<venue>.accounts.futures",
            ),
        ),
        spot=_spot(config, spot, (*path, "accounts", "spot")),
    )


def _stage(config: ConfigFile, futures: Section, path: KeyPath) -> StageSection:
    """One stage of an account; its section is taken out of the account's keys."""
    section = _taken(config, futures, path)
    for key in LATER_STAGE_KEYS:
        if key in section:
            del section[key]
            config.add((*path, key), wrong="is not in this version yet", remedy="remove the line")
    home = "exchanges.<venue>.accounts.futures.stage_1"
    return _typed(config, StageSection, section, path=path, home=home)


def _spot(config: ConfigFile, section: Section, path: KeyPath) -> SpotAccount:
    """A spot account: only its switch may stand there until spot accounts are watched."""
    for key in tuple(section):
        if key not in SpotAccount.model_fields:
            del section[key]
            config.add(
                (*path, key),
                wrong="belongs to a spot account, which this version does not watch yet",
                remedy="keep only `enabled: auto` or `enabled: false` there",
            )
    return _typed(config, SpotAccount, section, path=path, home="exchanges.<venue>.accounts.spot")


def _taken(config: ConfigFile, section: Section, path: KeyPath) -> Section:
    """Take a sub-section out of `section`; absent or no section at all is an empty one."""
    key = path[-1]
    if key not in section:
        return {}
    value = section.pop(key)
    if isinstance(value, dict):
        return dict(value)
    if config.is_sound(path):
        if value is None:
            remedy = "write its keys below it, indented, or remove the line"
            config.add(path, wrong="is an empty section", remedy=remedy)
        else:
            remedy = "write `key: value` lines below it, indented"
            config.add(path, wrong="is not a section", remedy=remedy)
    return {}


def _typed(
    config: ConfigFile, model: type[Model], section: Section, *, path: KeyPath, home: str
) -> Model:
    """Validate one section; record its mistakes and validate what is left without them."""
    left: Section = {key: _copied(value) for key, value in section.items()}
    for attempt in range(3):
        try:
            return model.model_validate(left)
        except ValidationError as error:
            # The first attempt words the mistakes. A map that lost all its entries to them fails
            # once more, as a whole, and that is no mistake of its own.
            for details in error.errors(include_url=False, include_input=False):
                found = _location(details)
                if attempt == 0:
                    _add(config, details, path=(*path, *found), home=home)
                _drop(left, found if attempt == 0 else found[:1])
    return model.model_validate({})


def _copied(value: Value) -> Value:
    """A copy that entries can be dropped from."""
    return dict(value) if isinstance(value, dict) else value


def _location(details: ErrorDetails) -> KeyPath:
    """Where in the section: the key, and the entry of a map or list; no names of pydantic's."""
    parts = [str(part) for part in details["loc"] if part != "[key]"]
    return tuple(parts[:2])


def _drop(section: Section, found: KeyPath) -> None:
    """Remove the entry of a map, or the whole key."""
    inner = section.get(found[0])
    if len(found) == 2 and isinstance(inner, dict):
        inner.pop(found[1], None)
    else:
        section.pop(found[0], None)


def _add(config: ConfigFile, details: ErrorDetails, *, path: KeyPath, home: str) -> None:
    """Record one mistake that pydantic found, in our words."""
    if details["type"] == "extra_forbidden":
        _add_unknown(config, path, home=home)
        return
    context = details.get("ctx", {})
    wrong = str(context.get("wrong", "is not what belongs here"))
    remedy = str(context.get("remedy", "see config_stage_based_example.yaml"))
    config.add(path, wrong=wrong, remedy=remedy)


def _add_unknown(config: ConfigFile, path: KeyPath, *, home: str) -> None:
    """Record an unknown key, with the key that was probably meant or the place it belongs to."""
    key = path[-1]
    known = KEYS_OF_SECTION.get(home, ())
    close = nearest(key, known)
    places = (
        []
        if key in known
        else [place for place, keys in KEYS_OF_SECTION.items() if key in keys and place != home]
    )
    if holds_secret(path):
        config.add(
            path,
            wrong="is an unknown key",
            remedy="keep secrets in the environment or .env; replace one that stood in this file",
        )
    elif places:
        config.add(path, wrong="stands in the wrong place", remedy=f"move it to {places[0]}")
    elif close is not None:
        config.add(path, wrong="is an unknown key", remedy=f"did you mean {close}?")
    else:
        config.add(path, wrong="is an unknown key", remedy="remove the line")
