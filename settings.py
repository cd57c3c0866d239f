"""What the operator configured: config.yaml and the environment as one frozen, checked value.

Owns assembling `Settings` and turning it into the `Policy` that decisions take. The package
`configuration` has the keys (`schema`), the rules between keys, and the secrets (`environment`).
Rules:
- All mistakes are told at once, one line each, and nothing starts with any of them.
- `repr` of anything here shows no secret.
- A venue is never dropped in silence: it is watched, switched off by the operator, without keys
  under `auto`, or named in `unwatched`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from pydantic import BaseModel, SecretStr

from configuration.config_file import ConfigFile, read_config_file
from configuration.environment import (
    Environment,
    default_names,
    note_secrets,
    read_credentials,
    read_environment,
    say_missing,
    variable_names,
)
from configuration.notifications import (
    NO_NOTIFICATIONS,
    NotificationSettings,
    read_notifications,
)
from configuration.redis_login import read_redis
from configuration.rules import (
    KNOWN_IDS,
    SPOT_IDS,
    check_account,
    check_files,
    check_general,
    check_spot,
    check_venue,
    thresholds_of,
)
from configuration.schema import STAGE_KEYS, FuturesAccount, General, SpotAccount
from configuration.sections import AccountSections, Sections, VenueSections, read_sections
from errors import ConfigurationError
from model import Asset, BookName, ScopeId, StageMode
from policy import AccountKind, BookPolicy, Policy, StagePolicy, SwitchPolicy, Threshold
from redaction import Redactor
from redis_place import RedisPlace

_UNLISTED = "keys found, not in {file}, NOT WATCHED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSettings:
    """One connection to open: an exchange, its credentials and the scopes to watch there.

    The secrets are empty only when the settings were loaded without `require_venues`.
    `simulator_url` is a loopback address without a slash at its end. `allow_withdrawal_keys`
    concerns `check` alone; `sells_coins` is `sell_collateral` of the futures account.
    """

    name: str
    id: str
    scopes: tuple[ScopeId, ...]
    api_key: SecretStr
    api_secret: SecretStr
    password: SecretStr
    sandbox: bool
    demo: bool
    simulator_url: str | None
    stables: tuple[Asset, ...]
    allow_withdrawal_keys: bool = False
    sells_coins: bool = False

    @property
    def origin(self) -> AccountKind:
        """What kind of account this is."""
        if self.simulator_url is not None:
            return AccountKind.SIMULATOR
        if self.sandbox:
            return AccountKind.SANDBOX
        return AccountKind.DEMO if self.demo else AccountKind.LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the guard was told. All paths are absolute; `path` is the file itself.

    `unwatched` holds one printable line for each account that has keys and no guard;
    `redis` is where the operator's switch is kept beside the local one, None without a Redis;
    `found_secrets` are all that the environment and `.env` held, used or not. `base_policy` is
    completed by `to_policy()`; change `dry_run`, `venues` or `unwatched` with
    `dataclasses.replace` and the policy follows.
    """

    path: Path
    dry_run: bool
    state_db: Path
    trading_lock_file: Path
    store_deadline_s: float
    venues: tuple[VenueSettings, ...]
    unwatched: tuple[str, ...]
    base_policy: Policy
    redis: RedisPlace | None = None
    found_secrets: tuple[SecretStr, ...] = ()
    notifications: NotificationSettings = NO_NOTIFICATIONS

    @property
    def state_dir(self) -> Path:
        """The folder of the database; one guard at a time may hold it."""
        return self.state_db.parent

    def secrets(self) -> tuple[str, ...]:
        """Every secret in clear, longest first, for cutting them out of texts; never print it.

        Found by walking all settings: no `SecretStr` that a later field brings can be forgotten.
        """
        values = set(_secrets_in(self))
        return tuple(sorted(values - {""}, key=lambda value: (-len(value), value)))

    def to_policy(self) -> Policy:
        """What decisions depend on: one book for each watched scope, of the same name."""
        scopes = {scope for venue in self.venues for scope in venue.scopes}
        return dataclasses.replace(
            self.base_policy,
            books=tuple(
                book for book in self.base_policy.books if not scopes.isdisjoint(book.scopes)
            ),
            dry_run=self.dry_run,
            practice_scopes=tuple(
                (scope, venue.origin)
                for venue in self.venues
                if venue.origin is not AccountKind.LIVE
                for scope in venue.scopes
            ),
            unwatched=self.unwatched,
        )


def _secrets_in(value: object) -> Iterator[str]:
    """Every secret inside a value: in fields, entries and items, however deep."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _secrets_in(getattr(value, field.name))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from _secrets_in(item)


def load_settings(
    path: Path, environ: Mapping[str, str], *, require_venues: bool = True
) -> Settings:
    """Read, check and assemble the configuration at `path`.

    `environ` is the environment to look into; a `.env` beside the file is read beneath it.
    Without `require_venues` (for commands that only need the state) missing keys are no mistake,
    and every venue of this version that is not switched off is among `venues`, keys or not.
    Raises ConfigurationError with one line for each mistake.
    """
    config = read_config_file(path)
    sections = read_sections(config)
    own = path.absolute()
    environment = read_environment(config, folder=own.parent, environ=environ)
    note_secrets(environment, venues=sections.venues, ids=KNOWN_IDS)
    notifications = read_notifications(
        config, sections.alerts, environment, is_checked=require_venues
    )
    general = sections.general
    resolve = partial(_resolve, config, own=own, environment=environment)
    state_db = resolve("state_db", general.state_db)
    lock_file = resolve("trading_lock_file", general.trading_lock_file)
    check_general(config, general)
    check_files(config, state_db=state_db, lock_file=lock_file, own=own)
    for venue in sections.venues:
        check_venue(config, venue)
        check_account(config, venue.futures)
        check_account(config, venue.spot)
        check_spot(config, venue.spot, stables=general.stables_keep)
    roster = _Roster(config=config, environment=environment, require_keys=require_venues)
    for venue in sections.venues:
        roster.consider(venue, general)
    roster.name_unlisted(sections.venues)
    redis = read_redis(
        config, sections.redis, environment, resolve=resolve, require_keys=require_venues
    )
    if require_venues and not config.problems and not roster.venues:
        raise ConfigurationError((_nothing_to_watch(config, roster),))
    if config.problems:
        # A key that was pasted into the file by mistake often stands in the environment as well.
        known = Redactor(secret.get_secret_value() for secret in environment.secrets)
        raise ConfigurationError(tuple(known.text(line) for line in config.report()))
    return Settings(
        path=own,
        dry_run=general.dry_run,
        state_db=state_db,
        trading_lock_file=lock_file,
        store_deadline_s=general.store_deadline_ms / 1000,
        venues=tuple(roster.venues),
        unwatched=tuple(roster.unwatched),
        base_policy=_policy(config, sections),
        redis=redis,
        found_secrets=environment.secrets,
        notifications=notifications,
    )


def _resolve(
    config: ConfigFile, key: str, written: str, *, own: Path, environment: Environment
) -> Path:
    """An absolute path for a dotted key; relative ones start at the folder of the configuration."""
    if written.startswith("~"):
        home = environment.get("HOME")
        if not written.startswith("~/") or not home:
            config.add(
                tuple(key.split(".")),
                wrong="has a ~ that leads nowhere",
                remedy="write the whole path",
            )
        written = str(Path(home) / written[2:])
    return Path(os.path.normpath(own.parent / written))


def _nothing_to_watch(config: ConfigFile, roster: _Roster) -> str:
    """The one helpful line for a start without any keys."""
    found = f" ({'; '.join(roster.unwatched)})" if roster.unwatched else ""
    return (
        f"{config.file}  no venue to watch{found} -> put BINANCE_API_KEY and BINANCE_API_SECRET "
        "into the environment or .env (see .env.example), or look at a dry run without keys: "
        "python3 killswitch.py --test-mock"
    )


class _Roster:
    """Decides venue by venue what is watched, what is named as unwatched, and what is missing."""

    def __init__(self, *, config: ConfigFile, environment: Environment, require_keys: bool) -> None:
        self._config = config
        self._environment = environment
        self._require_keys = require_keys
        self._names_by_key: dict[str, str] = {}
        self.venues: list[VenueSettings] = []
        self.unwatched: list[str] = []

    def consider(self, venue: VenueSections, general: General) -> None:
        """Sort one venue in; whatever cannot be as configured is recorded as a mistake."""
        if venue.venue.enabled is False or not self._config.is_sound((*venue.path, "enabled")):
            return
        if venue.id not in KNOWN_IDS:
            return
        credentials = read_credentials(venue, self._environment)
        self._refuse_second_wallet(venue)
        scopes = _scopes(venue)
        if not scopes:
            if venue.venue.enabled is True and venue.spot.account.enabled is False:
                wrong, remedy = "has no account switched on", "write enabled: false for the venue"
                self._config.add((*venue.path, "enabled"), wrong=wrong, remedy=remedy)
            return
        if self._require_keys:
            if not credentials.is_complete:
                is_wanted = venue.venue.enabled is True or not credentials.is_absent
                if is_wanted:
                    self._say_missing(venue)
                return
            self._check_single_use(venue, credentials.api_key.get_secret_value())
        self._check_password(venue, credentials.password.get_secret_value())
        self.venues.append(
            VenueSettings(
                name=venue.name,
                id=venue.id,
                scopes=scopes,
                api_key=credentials.api_key,
                api_secret=credentials.api_secret,
                password=credentials.password,
                sandbox=venue.venue.sandbox,
                demo=venue.venue.demo,
                simulator_url=venue.venue.simulator_url,
                stables=general.stables_keep,
                allow_withdrawal_keys=venue.venue.allow_withdrawal_keys,
                sells_coins=isinstance(venue.futures.account, FuturesAccount)
                and venue.futures.account.sell_collateral,
            )
        )

    def name_unlisted(self, listed: Collection[VenueSections]) -> None:
        """Name the venues that have keys under their own names and that the file says nothing of.

        Keys that another venue of the file reads, or would if it were switched on, are spoken for.
        """
        known = {name for venue in listed for name in (venue.name, *variable_names(venue).values())}
        for venue_id in KNOWN_IDS:
            names = default_names(venue_id)
            keys = {names["api_key_env"], names["api_secret_env"]}
            if known.isdisjoint({venue_id, *keys}) and any(map(self._environment.get, keys)):
                said = _UNLISTED.format(file=Path(self._config.file).name)
                self.unwatched.append(f"{venue_id}: {said}")

    def _refuse_second_wallet(self, venue: VenueSections) -> None:
        """An account that is one wallet has no spot account beside its futures."""
        path = (*venue.spot.path, "enabled")
        if venue.id in SPOT_IDS or venue.spot.account.enabled is not True:
            return
        if self._config.is_sound(path):
            watched = _scope(venue, venue.futures)
            self._config.add(
                path,
                wrong=f"an account of {venue.id} is one wallet: its coins are rows of {watched}",
                remedy="remove accounts.spot; sell_collateral of accounts.futures says what "
                "becomes of its coins",
            )

    def _say_missing(self, venue: VenueSections) -> None:
        """Keys are missing where the operator asked for the venue, or half of a pair is."""
        missing = say_missing(self._config, venue, self._environment)
        verb, them = ("are", "them") if " and " in missing else ("is", "it")
        path = (*venue.path, "enabled")
        self._config.add(
            path if path in self._config.lines else venue.path,
            wrong=f"{missing} {verb} empty",
            remedy=f"set {them} in the environment or .env, or write enabled: false",
        )

    def _check_single_use(self, venue: VenueSections, api_key: str) -> None:
        """One account under two names would be judged, and closed, twice."""
        other = self._names_by_key.setdefault(api_key, venue.name)
        if other != venue.name:
            self._config.add(
                venue.path,
                wrong=f"has the same API key as exchanges.{other}",
                remedy="keep one of the two, or name other variables in api_key_env",
            )

    def _check_password(self, venue: VenueSections, password: str) -> None:
        """A variable that the file names on purpose must hold something."""
        path = (*venue.path, "password_env")
        if self._require_keys and venue.venue.password_env is not None and not password:
            remedy = "set it in the environment or .env, or remove the line"
            self._config.add(path, wrong="names a variable that is empty", remedy=remedy)


def _scope(venue: VenueSections, account: AccountSections) -> ScopeId:
    """The name of one account of a venue, in tables, log, lock and commands."""
    return ScopeId(f"{venue.name}_{account.path[-1]}")


def _scopes(venue: VenueSections) -> tuple[ScopeId, ...]:
    """The accounts of a venue that are to be watched."""
    accounts = (venue.futures, venue.spot) if venue.id in SPOT_IDS else (venue.futures,)
    return tuple(
        _scope(venue, account) for account in accounts if account.account.enabled is not False
    )


def _policy(config: ConfigFile, sections: Sections) -> Policy:
    """The policy with a book for every account; `to_policy` keeps the watched ones."""
    general = sections.general
    max_age = general.max_reading_age_s
    return Policy(
        books=tuple(
            _book(config, sections, venue, account)
            for venue in sections.venues
            for account in (venue.futures, venue.spot)
        ),
        poll_s=general.poll_seconds,
        alert_poll_s=general.alert_poll_seconds,
        max_reading_age_s=2 * general.poll_seconds + 5 if max_age is None else max_age,
        confirm_spacing_s=general.confirm_spacing_s,
        suspect_grace_s=general.suspect_grace_s,
        blind_alert_s=general.blind_alert_s,
        blind_lock_s=general.blind_lock_s,
        flow_poll_s=general.flow_poll_s,
        min_equity=general.min_equity,
        enforce_lock_in_dry_run=sections.trading_lock.enforce_in_dry_run,
        switch=SwitchPolicy(
            halt_suspends_stages=sections.operator_switch.halt_suspends_stages,
            redis_grace_s=sections.operator_switch.redis_grace_s,
        ),
    )


def _book(
    config: ConfigFile, sections: Sections, venue: VenueSections, of: AccountSections
) -> BookPolicy:
    """A scope that is its own book, and shares its name. In a spot account coins are for sale."""
    account = of.account
    scope = _scope(venue, of)
    return BookPolicy(
        name=BookName(scope),
        scopes=(scope,),
        stages=tuple(_stage(config, of, key) for key in STAGE_KEYS),
        never_touch=tuple(dict.fromkeys(account.never_touch)),
        never_touch_even_in_stage_3=account.never_touch_even_in_stage_3,
        sell_collateral=not isinstance(account, FuturesAccount) or account.sell_collateral,
        sell_intermediate_delta_only=sections.spot_routing.sell_intermediate_delta_only,
        auto_rearm=sections.general.auto_rearm,
    )


def _stage(config: ConfigFile, account: AccountSections, key: str) -> StagePolicy:
    """One stage: what the file says over the defaults of that stage; minutes become seconds."""
    section, default = account.stages[key], STAGE_KEYS[key]
    is_spot = isinstance(account.account, SpotAccount)
    confirmations = section.confirm_consecutive
    entries = thresholds_of(config, account, key)
    return StagePolicy(
        stage=default.stage,
        thresholds=tuple(
            Threshold(window_s=entry.window_s, fraction=entry.fraction)
            for entry in sorted(entries, key=lambda entry: entry.window_s)
        ),
        mode=section.mode or (StageMode.LOCK_ONLY if is_spot else default.mode),
        blacklist=account.blacklist(key),
        cooldown_s=default.cooldown_s
        if section.cooldown_min is None
        else section.cooldown_min * 60,
        confirm_consecutive=default.confirm_consecutive if confirmations is None else confirmations,
        source_mode=section.source_mode,
        source_threshold=section.source_threshold,
        top_n=section.top_n,
        close_fraction=Decimal(section.close_fraction),
        full_close_distance=section.full_close_if_liq_distance_below_pct,
        cancel_entry_orders=section.cancel_entry_orders_before_close,
        set_trading_lock=section.set_trading_lock,
    )
