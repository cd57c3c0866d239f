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
    STAGE_KEYS,
    AlertTarget,
    FuturesAccount,
    General,
    Notifications,
    OperatorSwitch,
    RedisSection,
    SpotAccount,
    SpotRouting,
    SpotStageSection,
    StageSection,
    TradingLock,
    Venue,
)
from configuration.values import is_venue_name, nearest
from model import Asset

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSections:
    """An account and its stages by section name (`stage_1`)."""

    path: KeyPath
    account: FuturesAccount | SpotAccount
    stages: Mapping[str, StageSection]

    def blacklist(self, key: str) -> tuple[Asset, ...]:
        """The coins that a stage of a spot account sells, in the mode that needs them."""
        stage = self.stages[key]
        return stage.blacklist if isinstance(stage, SpotStageSection) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSections:
    """One venue as the file has it; `id` is already resolved to a name."""

    name: str
    path: KeyPath
    venue: Venue
    futures: AccountSections
    spot: AccountSections

    @property
    def id(self) -> str:
        """The exchange behind the name."""
        return self.venue.id or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSections:
    """Where alerts go; each target with the place where it stands."""

    notifications: Notifications
    targets: tuple[tuple[KeyPath, AlertTarget], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """The whole file, typed."""

    general: General
    trading_lock: TradingLock
    spot_routing: SpotRouting
    alerts: AlertSections
    operator_switch: OperatorSwitch
    redis: RedisSection
    venues: tuple[VenueSections, ...]


def read_sections(config: ConfigFile) -> Sections:
    """Type every section of the file; what is wrong is recorded in `config` and left out."""
    top = dict(config.root)
    for key in LATER_SECTIONS:
        if key in top:
            del top[key]
            config.add((key,), wrong="is not in this version yet", remedy="remove the section")
    trading_lock = _taken(config, top, ("trading_lock",))
    spot_routing = _taken(config, top, ("spot_routing",))
    alerts = _alerts(config, _taken(config, top, ("notifications",)))
    switch = _taken(config, top, ("operator_switch",))
    redis = _taken(config, switch, ("operator_switch", "redis"))
    exchanges = _taken(config, top, ("exchanges",))
    if "exchanges" not in config.root:
        exchanges = {"binance": {}}
    return Sections(
        general=_typed(config, General, top, path=(), home="the top of the file"),
        trading_lock=_typed(
            config, TradingLock, trading_lock, path=("trading_lock",), home="trading_lock"
        ),
        spot_routing=_typed(
            config, SpotRouting, spot_routing, path=("spot_routing",), home="spot_routing"
        ),
        alerts=alerts,
        operator_switch=_typed(
            config, OperatorSwitch, switch, path=("operator_switch",), home="operator_switch"
        ),
        redis=_typed(
            config,
            RedisSection,
            redis,
            path=("operator_switch", "redis"),
            home="operator_switch.redis",
        ),
        venues=tuple(_venue(config, exchanges, name) for name in tuple(exchanges)),
    )


def _alerts(config: ConfigFile, section: Section) -> AlertSections:
    """The section `notifications`, with each entry of its list as a section of its own."""
    path, home = ("notifications",), "notifications"
    listed = section.pop("targets", [])
    if not isinstance(listed, list):
        remedy = "write `- url_env: NAME` lines below it, indented"
        config.add((*path, "targets"), wrong="is not a list", remedy=remedy)
        listed = []
    targets: list[tuple[KeyPath, AlertTarget]] = []
    for number, entry in enumerate(listed):
        at = (*path, "targets", str(number))
        if isinstance(entry, dict):
            found = _typed(config, AlertTarget, dict(entry), path=at, home=f"{home}.targets")
            if not entry.get("url_env") and config.is_sound((*at, "url_env")):
                config.add(at, wrong="names no address", remedy="add `url_env: NAME` to it")
            targets.append((at, found))
        else:
            config.add(at, wrong="is not a target", remedy="write `- url_env: NAME`")
    notifications = _typed(config, Notifications, section, path=path, home=home)
    return AlertSections(notifications=notifications, targets=tuple(targets))


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
    futures = _account(
        config, accounts, (*path, "accounts", "futures"), model=FuturesAccount, stage=StageSection
    )
    spot = _account(
        config, accounts, (*path, "accounts", "spot"), model=SpotAccount, stage=SpotStageSection
    )
    for key in accounts:
        _add_unknown(config, (*path, "accounts", key), home="exchanges.<venue>.accounts")
    return VenueSections(
        name=name,
        path=path,
        venue=_typed(config, Venue, venue, path=path, home="exchanges.<venue>"),
        futures=futures,
        spot=spot,
    )


def _account(
    config: ConfigFile,
    accounts: Section,
    path: KeyPath,
    *,
    model: type[FuturesAccount | SpotAccount],
    stage: type[StageSection],
) -> AccountSections:
    """One account with its stages; its section is taken out of the accounts."""
    section = _taken(config, accounts, path)
    home = f"exchanges.<venue>.accounts.{path[-1]}"
    stages = {
        key: _typed(
            config,
            stage,
            _taken(config, section, (*path, key)),
            path=(*path, key),
            home=f"{home}.stage_1",
        )
        for key in STAGE_KEYS
    }
    account = _typed(config, model, section, path=path, home=home)
    return AccountSections(path=path, account=account, stages=stages)


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
