"""The keys of config.yaml: one model per section, with type, bounds and default of every key.

Owns which keys exist and what one section may hold. Knows no other section, no environment and no
file; `sections` feeds it. Every model refuses unknown keys, and every check speaks in the words of
`values`. None as a default means: decided from something else (see each key).
Units are in the names; thresholds and other fractions are between 0 and 1.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from configuration.values import (
    read_asset,
    read_coin,
    read_count,
    read_flag,
    read_fraction,
    read_kind,
    read_number,
    read_redis_url,
    read_simulator_url,
    read_switch,
    read_symbol,
    read_text,
    read_variable_name,
    window_key,
    window_s,
    wrong_value,
)
from memory import Severity
from model import Asset, SourceMode, Stage, StageMode, Symbol
from policy import StagePolicy, Threshold
from redis_place import MAX_DB


def _seconds(least: float, most: float, example: str) -> BeforeValidator:
    return BeforeValidator(
        partial(read_number, least=least, most=most, unit="seconds", example=example)
    )


def _listed(value: object) -> tuple[object, ...]:
    """A list; a single word is the usual mistake."""
    if not isinstance(value, list):
        raise wrong_value("is not a list", "write it in brackets: [a, b]")
    return tuple(value)


def _thresholds(value: object) -> object:
    """A map of windows with at least one entry: a stage without thresholds guards nothing."""
    if not isinstance(value, dict) or not value:
        raise wrong_value("holds no thresholds", "write e.g. {15m: 0.045, 1h: 0.07}")
    return value


def _decimal_fraction(value: object) -> Decimal:
    """A fraction that ends up in an order size."""
    return Decimal(str(read_fraction(value, example="0.5", may_be_one=True)))


def _source_threshold(value: object) -> float:
    """Above one half: at one half both sides could be the source."""
    fraction = read_fraction(value, example="0.65", may_be_one=True)
    if fraction <= 0.5:
        raise wrong_value("would let both sides be the source", "write more than 0.5, e.g. 0.65")
    return fraction


def _address_name(value: object) -> str:
    """The name of the variable that holds an address; the address itself is a secret."""
    if isinstance(value, str) and "://" in value:
        wrong = "is an address, and addresses are secrets"
        raise wrong_value(wrong, "put it into .env as NAME=..., and write that NAME here")
    return read_variable_name(value)


FUTURES_MODES = (
    StageMode.CLOSE_TOP_RISK_CONTRIBUTORS,
    StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
    StageMode.CLOSE_ALL_POSITIONS,
)


def _futures_mode(value: object) -> StageMode:
    """One of the three modes of a futures account; those of spot accounts close nothing there."""
    if isinstance(value, str) and value.strip().upper() in set(StageMode) - set(FUTURES_MODES):
        choices = ", ".join(mode.value for mode in FUTURES_MODES)
        raise wrong_value("is for spot accounts", f"write one of {choices}")
    return read_kind(value, kinds=FUTURES_MODES)


Flag = Annotated[bool, BeforeValidator(read_flag)]
Switch = Annotated[bool | None, BeforeValidator(read_switch)]
Variable = Annotated[str, BeforeValidator(read_variable_name)]
Fraction = Annotated[float, BeforeValidator(partial(read_fraction, example="0.045"))]
WindowKey = Annotated[str, AfterValidator(window_key)]
PathText = Annotated[str, BeforeValidator(partial(read_text, example="state/killswitch.db"))]


class _Section(BaseModel):
    """What all sections share."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True
    )


class General(_Section):
    """The keys at the top of the file.

    `max_reading_age_s` None: twice the poll plus 5 s.
    """

    dry_run: Flag = True
    poll_seconds: Annotated[float, _seconds(1, 60, "10")] = 10.0
    alert_poll_seconds: Annotated[float, _seconds(1, 60, "3")] = 3.0
    state_db: PathText = "state/killswitch.db"
    trading_lock_file: PathText = "state/trading_lock.json"
    min_equity: Annotated[
        float,
        BeforeValidator(partial(read_number, least=1, most=1e9, unit="USDT", example="100")),
    ] = 100.0
    max_reading_age_s: Annotated[float | None, _seconds(2, 600, "25")] = None
    confirm_spacing_s: Annotated[float, _seconds(1, 30, "2")] = 2.0
    suspect_grace_s: Annotated[float, _seconds(10, 600, "120")] = 120.0
    blind_alert_s: Annotated[float, _seconds(5, 3600, "60")] = 60.0
    blind_lock_s: Annotated[float, _seconds(5, 3600, "120")] = 120.0
    flow_poll_s: Annotated[float, _seconds(10, 600, "60")] = 60.0
    store_deadline_ms: Annotated[
        float,
        BeforeValidator(
            partial(read_number, least=50, most=10_000, unit="milliseconds", example="1000")
        ),
    ] = 1000.0
    stables_keep: Annotated[
        tuple[Annotated[Asset, BeforeValidator(read_asset)], ...],
        BeforeValidator(_listed),
    ] = (Asset("USDT"), Asset("USDC"), Asset("FDUSD"), Asset("USD1"), Asset("BFUSD"))
    auto_rearm: Flag = True


class TradingLock(_Section):
    """`trading_lock:`: how the lock file is used; where it lies is `trading_lock_file`."""

    enforce_in_dry_run: Flag = False


class Venue(_Section):
    """`exchanges.<name>:` without its accounts.

    `enabled` None is auto. `id` None: the venue's name. The names of variables None:
    `{NAME}_API_KEY`, `{NAME}_API_SECRET`, `{NAME}_PASSWORD`.
    """

    enabled: Switch = None
    id: Annotated[str | None, BeforeValidator(partial(read_text, example="binance"))] = None
    api_key_env: Variable | None = None
    api_secret_env: Variable | None = None
    password_env: Variable | None = None
    sandbox: Flag = False
    demo: Flag = False
    simulator_url: Annotated[str | None, BeforeValidator(read_simulator_url)] = None
    allow_withdrawal_keys: Flag = False


class FuturesAccount(_Section):
    """`exchanges.<name>.accounts.futures:` without its stages.

    `windows` None: every window that a threshold names.
    """

    enabled: Switch = True
    windows: Annotated[
        tuple[Annotated[float, BeforeValidator(window_s)], ...] | None,
        BeforeValidator(_listed),
    ] = None
    never_touch: Annotated[
        tuple[Annotated[Symbol, BeforeValidator(read_symbol)], ...],
        BeforeValidator(_listed),
    ] = ()
    never_touch_even_in_stage_3: Flag = False
    sell_collateral: Flag = False


class SpotAccount(_Section):
    """`exchanges.<name>.accounts.spot:` without its stages; `never_touch` names coins.

    `windows` None: every window that a threshold names.
    """

    enabled: Switch = False
    windows: Annotated[
        tuple[Annotated[float, BeforeValidator(window_s)], ...] | None,
        BeforeValidator(_listed),
    ] = None
    never_touch: Annotated[
        tuple[Annotated[Symbol, BeforeValidator(read_coin)], ...],
        BeforeValidator(_listed),
    ] = ()
    never_touch_even_in_stage_3: Flag = False


class SpotRouting(_Section):
    """`spot_routing:`: how coins are sold that no market trades against a stable."""

    sell_intermediate_delta_only: Flag = True


class Notifications(_Section):
    """`notifications:` without its targets. No address stands here: each is a secret.

    `heartbeat_url_env` None: nothing is pinged.
    """

    heartbeat_url_env: Annotated[str | None, BeforeValidator(_address_name)] = None
    heartbeat_s: Annotated[float, _seconds(10, 3600, "60")] = 60.0
    repeat_s: Annotated[float, _seconds(30, 86_400, "600")] = 600.0


class AlertTarget(_Section):
    """One entry of `notifications.targets:`. `url_env` is missing where it was wrong."""

    url_env: Annotated[str, BeforeValidator(_address_name)] = ""
    min_severity: Annotated[Severity, BeforeValidator(partial(read_kind, kinds=Severity))] = (
        Severity.INFO
    )


class OperatorSwitch(_Section):
    """`operator_switch:` without `redis`."""

    halt_suspends_stages: Flag = False
    redis_grace_s: Annotated[float, _seconds(0, 3600, "120")] = 120.0


class RedisSection(_Section):
    """`operator_switch.redis:`. `enabled` None is auto.

    `url` holds no login; None: what the variables say. `db` None: the one of the URL, or 0.
    `tls_ca_file` None: the authorities that the machine trusts.
    """

    enabled: Switch = None
    url: Annotated[str | None, BeforeValidator(read_redis_url)] = None
    url_env: Variable = "REDIS_URL"
    host_env: Variable = "REDIS_HOST"
    port_env: Variable = "REDIS_PORT"
    username_env: Variable = "REDIS_USERNAME"
    password_env: Variable = "REDIS_PASSWORD"  # noqa: S105 - the name of a variable
    sentinel_password_env: Variable = "REDIS_SENTINEL_PASSWORD"  # noqa: S105 - a name
    db: Annotated[
        int | None,
        BeforeValidator(partial(read_count, least=0, most=MAX_DB, unit="a database", example="0")),
    ] = None
    tls: Flag = False
    tls_ca_file: Annotated[
        str | None, BeforeValidator(partial(read_text, example="redis-ca.pem"))
    ] = None
    key_prefix: Annotated[str, BeforeValidator(partial(read_text, example="guard1:"))] = ""


class StageSection(_Section):
    """`stage_1:` to `stage_3:` of one account. None: the default of that stage."""

    thresholds: Annotated[dict[WindowKey, Fraction] | None, BeforeValidator(_thresholds)] = None
    mode: Annotated[StageMode | None, BeforeValidator(_futures_mode)] = None
    cooldown_min: Annotated[
        float | None,
        BeforeValidator(partial(read_number, least=1, most=10_080, unit="minutes", example="30")),
    ] = None
    confirm_consecutive: Annotated[
        int | None,
        BeforeValidator(partial(read_count, most=20, unit="a number of readings", example="3")),
    ] = None
    source_mode: Annotated[SourceMode, BeforeValidator(partial(read_kind, kinds=SourceMode))] = (
        SourceMode.AUTO
    )
    source_threshold: Annotated[float, BeforeValidator(_source_threshold)] = 0.65
    top_n: Annotated[
        int, BeforeValidator(partial(read_count, most=1000, unit="positions", example="3"))
    ] = 3
    close_fraction: Annotated[Decimal, BeforeValidator(_decimal_fraction)] = Decimal("0.5")
    full_close_if_liq_distance_below_pct: Annotated[
        float, BeforeValidator(partial(read_fraction, example="0.05", may_be_zero=True))
    ] = 0.05
    cancel_entry_orders_before_close: Flag = True
    set_trading_lock: Flag = True


class SpotStageSection(StageSection):
    """`stage_1:` to `stage_3:` of a spot account. Without a mode a stage sells nothing."""

    mode: Annotated[StageMode | None, BeforeValidator(partial(read_kind, kinds=StageMode))] = None
    blacklist: Annotated[
        tuple[Annotated[Asset, BeforeValidator(read_coin)], ...],
        BeforeValidator(_listed),
    ] = ()


STAGE_DEFAULTS = (
    StagePolicy(
        stage=Stage.REDUCED_TOP_RISK,
        thresholds=(
            Threshold(window_s=900.0, fraction=0.045),
            Threshold(window_s=3600.0, fraction=0.07),
        ),
        mode=StageMode.CLOSE_TOP_RISK_CONTRIBUTORS,
        cooldown_s=1800.0,
        confirm_consecutive=3,
    ),
    StagePolicy(
        stage=Stage.DOMINANT_CLOSED,
        thresholds=(
            Threshold(window_s=900.0, fraction=0.07),
            Threshold(window_s=3600.0, fraction=0.10),
            Threshold(window_s=86_400.0, fraction=0.15),
        ),
        mode=StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
        cooldown_s=5400.0,
        confirm_consecutive=2,
    ),
    StagePolicy(
        stage=Stage.ALL_CLOSED,
        thresholds=(
            Threshold(window_s=900.0, fraction=0.10),
            Threshold(window_s=3600.0, fraction=0.14),
            Threshold(window_s=86_400.0, fraction=0.20),
        ),
        mode=StageMode.CLOSE_ALL_POSITIONS,
        cooldown_s=21_600.0,
        confirm_consecutive=1,
    ),
)
"""The table of behaviour.md section 5."""

STAGE_KEYS = {f"stage_{default.stage.value}": default for default in STAGE_DEFAULTS}
"""Section name and defaults of each stage, ascending."""

LATER_SECTIONS = (
    "portfolio",
    "regime_guard",
    "metrics",
)
"""Sections that belong to the design and that this version does not have."""

KEYS_OF_SECTION: dict[str, tuple[str, ...]] = {
    "the top of the file": (
        *General.model_fields,
        "trading_lock",
        "spot_routing",
        "notifications",
        "operator_switch",
        "exchanges",
    ),
    "notifications": (*Notifications.model_fields, "targets"),
    "notifications.targets": tuple(AlertTarget.model_fields),
    "trading_lock": tuple(TradingLock.model_fields),
    "spot_routing": tuple(SpotRouting.model_fields),
    "operator_switch": (*OperatorSwitch.model_fields, "redis"),
    "operator_switch.redis": tuple(RedisSection.model_fields),
    "exchanges.<venue>": (*Venue.model_fields, "accounts"),
    "exchanges.<venue>.accounts": ("futures", "spot"),
    "exchanges.<venue>.accounts.futures": (*FuturesAccount.model_fields, *STAGE_KEYS),
    "exchanges.<venue>.accounts.futures.stage_1": tuple(StageSection.model_fields),
    "exchanges.<venue>.accounts.spot": (*SpotAccount.model_fields, *STAGE_KEYS),
    "exchanges.<venue>.accounts.spot.stage_1": tuple(SpotStageSection.model_fields),
}
"""Every key there is, by the section it belongs to; for suggestions and for the documentation."""


def every_key() -> tuple[str, ...]:
    """Every key of config.yaml that has a fixed name, sorted."""
    return tuple(sorted({key for keys in KEYS_OF_SECTION.values() for key in keys}))
