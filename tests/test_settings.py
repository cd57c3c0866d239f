"""config.yaml and the environment become settings: values, venues, secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from configuration.schema import FUTURES_MODES
from model import SourceMode, Stage, StageMode
from policy import Threshold
from settings import VenueSettings, load_settings
from tests.configurations import (
    BITGET_KEYS,
    KEYS,
    SUB_KEYS,
    Load,
    futures,
    loader,
    only_book,
    problems,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the given text as config.yaml in an empty folder."""
    return loader(tmp_path)


# What a good file becomes.


def test_defaults_are_the_table_of_the_specification(load: Load) -> None:
    """A file that says nothing of stages gets 4.5/7, 7/10/15 and 10/14/20 percent."""
    loaded = load("dry_run: true\n")
    minute, hour, day = 900.0, 3600.0, 86_400.0
    stages = only_book(loaded).stages
    assert [stage.stage for stage in stages] == [
        Stage.REDUCED_TOP_RISK,
        Stage.DOMINANT_CLOSED,
        Stage.ALL_CLOSED,
    ]
    assert [[(t.window_s, t.fraction) for t in stage.thresholds] for stage in stages] == [
        [(minute, 0.045), (hour, 0.07)],
        [(minute, 0.07), (hour, 0.10), (day, 0.15)],
        [(minute, 0.10), (hour, 0.14), (day, 0.20)],
    ]
    assert [stage.confirm_consecutive for stage in stages] == [3, 2, 1]
    assert [stage.cooldown_s for stage in stages] == [1800.0, 5400.0, 21_600.0]
    assert [stage.mode for stage in stages] == list(FUTURES_MODES)


def test_defaults_of_the_top_level(load: Load, tmp_path: Path) -> None:
    """Cadence, patience and paths without a word in the file; the age limit is 2 x 10 + 5."""
    loaded = load("dry_run: true\n")
    policy = loaded.to_policy()
    assert loaded.dry_run is True
    assert policy.dry_run is True
    assert (policy.poll_s, policy.alert_poll_s, policy.max_reading_age_s) == (10, 3, 25)
    assert (policy.confirm_spacing_s, policy.suspect_grace_s) == (2, 120)
    assert (policy.blind_alert_s, policy.blind_lock_s, policy.flow_poll_s) == (60, 120, 60)
    assert (policy.min_equity, loaded.store_deadline_s) == (100, 1.0)
    assert policy.enforce_lock_in_dry_run is False
    assert loaded.path == tmp_path / "config.yaml"
    assert loaded.state_db == tmp_path / "state" / "killswitch.db"
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.trading_lock_file == tmp_path / "state" / "trading_lock.json"
    (venue,) = loaded.venues
    assert (venue.name, venue.id, venue.scopes) == ("binance", "binance", ("binance_futures",))
    assert "USDT" in venue.stables


def test_every_key_reaches_the_policy(load: Load) -> None:
    """Minutes become seconds, names become enums, windows of any spelling become one."""
    loaded = load(
        """
        dry_run: false
        poll_seconds: 4
        alert_poll_seconds: 2
        min_equity: 55.5
        store_deadline_ms: 250
        auto_rearm: false
        stables_keep: [usdt, USDC]
        trading_lock: {enforce_in_dry_run: true}
        exchanges:
          binance:
            enabled: true
            simulator_url: http://127.0.0.1:8900/
            accounts:
              futures:
                never_touch: [BTC/USDT:USDT, ethusdt, SOL/USDT, BTCUSDT]
                never_touch_even_in_stage_3: true
                sell_collateral: true
                stage_1:
                  thresholds: {1h: 0.06, 15: 0.04, 60: 0.06}
                  mode: close_dominant_loss_direction
                  cooldown_min: 7.5
                  confirm_consecutive: 5
                  source_mode: SHORT
                  source_threshold: 0.8
                  top_n: 2
                  close_fraction: 0.25
                  full_close_if_liq_distance_below_pct: 0
                  cancel_entry_orders_before_close: false
                  set_trading_lock: no
        """
    )
    policy, book = loaded.to_policy(), only_book(loaded)
    assert (policy.dry_run, policy.poll_s, policy.max_reading_age_s) == (False, 4, 13)
    assert policy.enforce_lock_in_dry_run is True
    assert policy.practice_scopes == (("binance_futures", "simulator"),)
    assert loaded.venues[0].simulator_url == "http://127.0.0.1:8900"
    assert loaded.venues[0].stables == ("USDT", "USDC")
    assert loaded.store_deadline_s == 0.25
    assert book.never_touch == ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    assert book.never_touch_even_in_stage_3
    assert book.sell_collateral
    assert book.auto_rearm is False
    stage = book.stages[0]
    assert stage.thresholds == (
        Threshold(window_s=900.0, fraction=0.04),
        Threshold(window_s=3600.0, fraction=0.06),
    )
    assert stage.mode is StageMode.CLOSE_DOMINANT_LOSS_DIRECTION
    assert (stage.cooldown_s, stage.confirm_consecutive, stage.top_n) == (450.0, 5, 2)
    assert (stage.source_mode, stage.source_threshold) == (SourceMode.SHORT, 0.8)
    assert stage.close_fraction == Decimal("0.25")
    assert stage.full_close_distance == 0
    assert not stage.cancel_entry_orders
    assert not stage.set_trading_lock


def test_every_key_of_a_spot_account_reaches_its_book(load: Load) -> None:
    """A spot book sells coins; a stage without a mode only locks, at the thresholds of the rest."""
    loaded = load(
        """
        spot_routing: {sell_intermediate_delta_only: false}
        exchanges:
          binance:
            accounts:
              futures: {enabled: false}
              spot:
                enabled: true
                windows: [15m, 1h]
                never_touch: [btc, WBTC]
                never_touch_even_in_stage_3: true
                stage_1:
                  thresholds: {15m: 0.05}
                  mode: SELL_BLACKLIST_ONLY_KEEP_STABLES
                  blacklist: [doge, SHIB]
                stage_3: {mode: sell_all_non_usdt_keep_stables}
        """
    )
    book = only_book(loaded)
    assert (book.name, book.scopes) == ("binance_spot", ("binance_spot",))
    assert book.sell_collateral
    assert not book.sell_intermediate_delta_only
    assert book.never_touch == ("BTC", "WBTC")
    assert book.never_touch_even_in_stage_3
    assert [stage.mode for stage in book.stages] == [
        StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES,
        StageMode.LOCK_ONLY,
        StageMode.SELL_ALL_NON_USDT_KEEP_STABLES,
    ]
    assert [stage.blacklist for stage in book.stages] == [("DOGE", "SHIB"), (), ()]
    assert book.stages[0].thresholds == (Threshold(window_s=900.0, fraction=0.05),)
    assert [t.window_s for t in book.stages[1].thresholds] == [900.0, 3600.0]


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("enabled: true", "live"),
        ("simulator_url: http://127.0.0.1:1", "simulator"),
        ("sandbox: true", "sandbox"),
        ("demo: true", "demo"),
    ],
)
def test_an_account_is_of_one_kind(load: Load, line: str, origin: str) -> None:
    """What was seen of a practice account is no past of a real one."""
    (venue,) = load(f"exchanges:\n  binance:\n    {line}\n").venues
    assert venue.origin == origin


def test_policy_follows_what_is_replaced(load: Load) -> None:
    """`--dry-run` replaces one field of the settings, and decisions must see it."""
    loaded = load("dry_run: false\n")
    assert loaded.to_policy().dry_run is False
    assert replace(loaded, dry_run=True).to_policy().dry_run is True
    assert replace(loaded, venues=()).to_policy().books == ()


def test_a_second_account_is_a_scope_of_its_own(load: Load) -> None:
    """`binance_sub1` with `id: binance` takes its own variables and name."""
    text = "exchanges:\n  binance: {enabled: auto}\n  binance_sub1: {enabled: auto, id: binance}\n"
    loaded = load(text, {**KEYS, **SUB_KEYS})
    assert [(venue.name, venue.id, venue.scopes) for venue in loaded.venues] == [
        ("binance", "binance", ("binance_futures",)),
        ("binance_sub1", "binance", ("binance_sub1_futures",)),
    ]
    assert loaded.venues[1].api_key.get_secret_value() == "sub-key"
    assert [book.name for book in loaded.to_policy().books] == [
        "binance_futures",
        "binance_sub1_futures",
    ]


def test_own_variable_names_are_used(load: Load) -> None:
    """`api_key_env` names the variable; the default name is then not looked at."""
    text = """
        exchanges:
          binance: {api_key_env: MY_KEY, api_secret_env: MY_SECRET, password_env: MY_PASSWORD}
        """
    environ = {"MY_KEY": " key ", "MY_SECRET": "secret", "MY_PASSWORD": "word", **KEYS}
    (venue,) = load(text, environ).venues
    assert venue.api_key.get_secret_value() == "key"
    assert venue.api_secret.get_secret_value() == "secret"
    assert venue.password.get_secret_value() == "word"


def test_windows_drop_the_defaults_outside_them(load: Load) -> None:
    """An account judged over 15m and 1h has no daily threshold left."""
    book = only_book(load(futures("windows: [15m, 60]")))
    assert [[t.window_s for t in stage.thresholds] for stage in book.stages] == [[900, 3600]] * 3


def test_anchors_share_a_stage(load: Load) -> None:
    """YAML's own way of writing a stage once: an alias, or `<<` with something changed."""
    text = """
        stage_1: &careful
          thresholds: {15m: 0.03}
          top_n: 5
        stage_2:
          <<: *careful
          top_n: 6
        """
    stages = only_book(load(futures(text))).stages
    assert stages[1].thresholds == (Threshold(window_s=900.0, fraction=0.03),)
    assert (stages[0].top_n, stages[1].top_n) == (5, 6)


def test_merge_reaches_through_a_merged_section(load: Load) -> None:
    """A section that merges a section that merges one gets the keys of both."""
    text = """
        stage_1: &one {top_n: 5}
        stage_2: &two {<<: [*one], close_fraction: 0.4}
        stage_3: {<<: *two, top_n: 7}
        """
    stage = only_book(load(futures(text))).stages[2]
    assert (stage.top_n, stage.close_fraction) == (7, Decimal("0.4"))


# The environment.


def test_dotenv_beside_the_file_is_read_and_the_environment_wins(
    load: Load, tmp_path: Path
) -> None:
    """`.env` fills in what the environment lacks, expands nothing and is not exported."""
    (tmp_path / ".env").write_text(
        "BINANCE_API_KEY=stored-key\nexport BINANCE_API_SECRET='a${HOME}b'\nBINANCE_PASSWORD\n"
    )
    (venue,) = load("dry_run: true\n", {"BINANCE_API_KEY": "real-key", "HOME": "/root"}).venues
    assert venue.api_key.get_secret_value() == "real-key"
    assert venue.api_secret.get_secret_value() == "a${HOME}b"
    assert "BINANCE_API_SECRET" not in os.environ


def test_an_empty_variable_is_the_same_as_none(load: Load, tmp_path: Path) -> None:
    """Containers pass empty variables on; they must not hide what `.env` holds."""
    (tmp_path / ".env").write_text("BINANCE_API_KEY=stored\nBINANCE_API_SECRET=stored-too\n")
    (venue,) = load("dry_run: true\n", {"BINANCE_API_KEY": "  "}).venues
    assert venue.api_key.get_secret_value() == "stored"


def test_a_broken_dotenv_is_told_without_its_content(load: Load, tmp_path: Path) -> None:
    """A line that cannot be parsed would leave a venue unwatched without a word."""
    (tmp_path / ".env").write_text("BINANCE_API_KEY=ok\n= hidden-secret\n")
    (line,) = problems(load, "dry_run: true\n", KEYS)
    assert line == ".env:2  is no NAME=value line -> write NAME=value, or # before a remark"


def test_an_unreadable_dotenv_is_told(load: Load, tmp_path: Path) -> None:
    """A folder in its place, or bytes that are no text."""
    (tmp_path / ".env").mkdir()
    (line,) = problems(load, "dry_run: true\n", KEYS)
    assert line == ".env  cannot be read -> make it a UTF-8 file"


def test_no_secret_is_shown_anywhere(load: Load) -> None:
    """Settings, venues and policy print no secret; `secrets()` gives them for redaction."""
    loaded = load("dry_run: true\n", {**KEYS, "BINANCE_PASSWORD": "test-password"})
    shown = repr(loaded) + str(loaded) + repr(loaded.venues) + repr(loaded.to_policy())
    for secret in ("test-key", "test-secret", "test-password"):
        assert secret not in shown
    assert loaded.secrets() == ("test-password", "test-secret", "test-key")


def test_every_secret_of_the_environment_is_known_used_or_not(load: Load, tmp_path: Path) -> None:
    """Not watched, switched off, not in the file, named otherwise, or for a later version."""
    text = """
        exchanges:
          binance: {api_key_env: MY_KEY}
          binance_sub1: {id: binance, enabled: false}
        """
    environ = {
        "MY_KEY": "used-key",
        "BINANCE_API_SECRET": "used-secret",
        "BINANCE_API_KEY": "default-key",
        "BITGET_API_KEY": "not-watched",
        "BINANCE_SUB1_API_SECRET": "switched-off",
        "BYBIT_PASSWORD": "not-in-the-file",
        "HOME": "/no-secret",
        "SSH_AUTH_SOCK": "/no-secret-either",
    }
    (tmp_path / ".env").write_text("REDIS_PASSWORD=of-later\nLOG_LEVEL=no-secret\n")
    assert set(load(text, environ).secrets()) == {
        "used-key",
        "used-secret",
        "default-key",
        "not-watched",
        "switched-off",
        "not-in-the-file",
        "of-later",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Later(VenueSettings):
    """Settings of a later version, with secrets in new places."""

    token: SecretStr
    channels: Mapping[str, tuple[SecretStr, ...]]
    section: BaseModel


class LaterSection(BaseModel):
    """A section as pydantic reads it."""

    webhook: SecretStr
    retries: int


def test_a_secret_in_a_new_field_cannot_be_forgotten(load: Load) -> None:
    """`secrets()` walks what is there; nobody has to add a field to a list."""
    loaded = load("dry_run: true\n", KEYS)
    (venue,) = loaded.venues
    later = Later(
        **{field.name: getattr(venue, field.name) for field in fields(venue)},
        token=SecretStr("new-token"),
        channels={"a": (SecretStr("in-a-mapping"),)},
        section=LaterSection(webhook=SecretStr("in-a-section"), retries=3),
    )
    new = {"new-token", "in-a-mapping", "in-a-section"}
    assert set(replace(loaded, venues=(later,)).secrets()) == set(loaded.secrets()) | new


# Which venues are watched.


def test_every_exchange_is_watched_when_it_has_its_keys(load: Load) -> None:
    """Under auto: its account is there with keys, and silence without."""
    text = "exchanges:\n  binance: {}\n  bybit: {enabled: auto}\n  bitget: {enabled: auto}\n"
    more = {"BYBIT_API_KEY": "a", "BYBIT_API_SECRET": "b", **BITGET_KEYS}
    assert [venue.id for venue in load(text).venues] == ["binance"]
    assert [venue.id for venue in load(text, {**KEYS, **more}).venues] == [
        "binance",
        "bybit",
        "bitget",
    ]


@pytest.mark.parametrize(
    ("enabled", "found", "said"),
    [
        ("auto", {"BITGET_PASSWORD": ""}, "BITGET_PASSWORD is empty -> set it in"),
        ("true", {"BITGET_PASSWORD": ""}, "BITGET_PASSWORD is empty -> set it in"),
        ("auto", {"BITGET_API_KEY": ""}, "BITGET_API_KEY is empty -> set it in"),
        (
            "auto",
            {"BITGET_API_KEY": "", "BITGET_API_SECRET": ""},
            "BITGET_API_KEY and BITGET_API_SECRET are empty -> set them in",
        ),
    ],
)
def test_a_passphrase_is_needed_where_the_exchange_wants_one(
    load: Load, enabled: str, found: dict[str, str], said: str
) -> None:
    """Without it every request would be refused: that is a mistake of the start, not blindness."""
    text = f"exchanges:\n  bitget: {{enabled: {enabled}}}\n"
    (line,) = problems(load, text, {**BITGET_KEYS, **found})
    assert said in line
    (venue,) = load(text, BITGET_KEYS).venues
    assert venue.password.get_secret_value() == "test-phrase"


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("", {"BYBIT_API_KEY": "other-key"}, "bybit: keys found, not in config.yaml, NOT WATCHED"),
        ("", {"BITGET_API_SECRET": "x-1"}, "bitget: keys found, not in config.yaml, NOT WATCHED"),
        ("", {"BYBIT_PASSWORD": "x-1"}, ""),
        ("", {"BYBIT_API_KEY": "  "}, ""),
        ("  bybit: {enabled: false}\n", {"BYBIT_API_KEY": "other-key"}, ""),
        (
            "  sub1: {id: bybit, enabled: false, api_key_env: BYBIT_API_KEY}\n",
            {"BYBIT_API_KEY": "other-key"},
            "",
        ),
    ],
    ids=["key", "half-a-pair", "only-a-password", "blank", "switched-off", "read-by-another"],
)
def test_keys_of_a_venue_that_the_file_does_not_mention_are_named(
    load: Load, text: str, found: dict[str, str], said: str
) -> None:
    """Who put keys there expects a guard; an account that is switched off is no surprise."""
    loaded = load(f"exchanges:\n  binance: {{}}\n{text}", {**KEYS, **found})
    assert loaded.unwatched == ((said,) if said else ())


def test_a_venue_under_another_name_speaks_for_its_keys(load: Load) -> None:
    """`main` reads the variables of `binance`: that account is watched, so nothing is missing."""
    text = "exchanges:\n  main:\n    id: binance\n    api_key_env: BINANCE_API_KEY\n"
    assert load(f"{text}    api_secret_env: BINANCE_API_SECRET\n").unwatched == ()


@pytest.mark.parametrize(
    ("accounts", "scopes"),
    [
        ("{}", ("binance_futures",)),
        ("{spot: {}}", ("binance_futures",)),
        ("{spot: {enabled: false}}", ("binance_futures",)),
        ("{spot: {enabled: true}}", ("binance_futures", "binance_spot")),
        ("{spot: {enabled: auto}}", ("binance_futures", "binance_spot")),
        ("{futures: {enabled: false}, spot: {enabled: auto}}", ("binance_spot",)),
    ],
)
def test_a_spot_account_is_watched_only_where_it_is_switched_on(
    load: Load, accounts: str, scopes: tuple[str, ...]
) -> None:
    """Off unless enabled; each watched account is a book of its own."""
    loaded = load(f"exchanges:\n  binance:\n    accounts: {accounts}\n")
    assert [scope for venue in loaded.venues for scope in venue.scopes] == list(scopes)
    assert tuple(book.name for book in loaded.to_policy().books) == scopes
    assert loaded.unwatched == ()


@pytest.mark.parametrize("sells", [True, False])
def test_an_adapter_is_told_whether_coins_are_for_sale(load: Load, sells: bool) -> None:
    """It asks for spot markets only then; a book says the same."""
    keys = {"BYBIT_API_KEY": "k", "BYBIT_API_SECRET": "s"}
    line = f"{{futures: {{sell_collateral: {str(sells).lower()}}}}}"
    loaded = load(f"exchanges:\n  bybit:\n    accounts: {line}\n", keys)
    (only,) = loaded.venues
    assert only.sells_coins is sells
    assert only_book(loaded).sell_collateral is sells


@pytest.mark.parametrize(("venue", "has_spot"), [("bitget", True), ("bybit", False)])
def test_spot_under_auto_is_watched_where_it_is_an_account_of_its_own(
    load: Load, venue: str, has_spot: bool
) -> None:
    """With keys: Bitget's is; a Bybit account is one wallet, which is watched with the futures."""
    keys = {
        f"{venue.upper()}_API_KEY": "k",
        f"{venue.upper()}_API_SECRET": "s",
        f"{venue.upper()}_PASSWORD": "p",
    }
    loaded = load(f"exchanges:\n  {venue}:\n    accounts: {{spot: {{enabled: auto}}}}\n", keys)
    (only,) = loaded.venues
    expected = (f"{venue}_futures", f"{venue}_spot") if has_spot else (f"{venue}_futures",)
    assert only.scopes == expected
    assert loaded.unwatched == ()


@pytest.mark.parametrize(
    ("venue", "said"),
    [
        (
            "bybit: {accounts: {spot: {enabled: true}}}",
            "one wallet: its coins are rows of bybit_futures -> remove accounts.spot; sell_coll",
        ),
        ("binance: {enabled: true, accounts: {futures: {enabled: false}}}", "no account switched"),
        ("binanse: {enabled: auto}", "did you mean binance?"),
        ("sub1: {enabled: auto}", "add `id: binance` below it"),
        ("sub1: {id: binence}", "did you mean binance?"),
        ("sub1: {id: okx}", "write id: binance"),
        ("Binance-1: {id: binance}", "cannot name a venue"),
        ("binance: {sandbox: true, demo: true}", "excludes sandbox"),
        ("binance: {demo: true, simulator_url: 'http://[::1]:80'}", "excludes demo"),
        ("binance: {enabled: maybe}", "write auto, true or false"),
        ("binance:", "is an empty section"),
        ("binance: auto", "is not a section"),
        ("binance: {accounts: {margin: {}}}", "is an unknown key"),
        ("binance: {accounts: {future: {}}}", "did you mean futures?"),
        ("binance: {accounts: {spot: {sell_collateral: true}}}", "stands in the wrong place"),
        ("binance: {accounts: {spot: {never_touch: [BTCUSDT]}}}", "is a market, and a spot acco"),
        ("binance: {accounts: {futures: {stage_1: {blacklist: [DOGE]}}}}", "accounts.spot.stage_1"),
        (
            "binance: {accounts: {futures: {stage_3: {mode: SELL_ALL_NON_USDT_KEEP_STABLES}}}}",
            "is for spot accounts -> write one of CLOSE_TOP_RISK_CONTRIBUTORS, ",
        ),
        (
            "binance: {accounts: {spot: {stage_3: {mode: SELL_BLACKLIST_ONLY_KEEP_STABLES}}}}",
            "has no blacklist of coins to sell -> add e.g. `blacklist: [DOGE]`",
        ),
        (
            "binance: {accounts: {spot: {stage_3: {blacklist: [DOGE]}}}}",
            "is used by no mode of this stage -> write mode: SELL_BLACKLIST_ONLY_KEEP_STABLES",
        ),
        (
            "binance: {accounts: {spot: {stage_3: {mode: SELL_BLACKLIST_ONLY_KEEP_STABLES, "
            "blacklist: [DOGE, USDC]}}}}",
            "holds USDC, which stables_keep keeps -> remove it here",
        ),
    ],
)
def test_a_venue_that_cannot_be_watched_is_one_line(load: Load, venue: str, said: str) -> None:
    """Each impossible venue gives exactly its own mistake."""
    environ = {**KEYS, "SUB1_API_KEY": "k", "SUB1_API_SECRET": "s"}
    (line,) = problems(load, f"exchanges:\n  {venue}\n", environ)
    assert line.startswith("config.yaml:2  exchanges.")
    assert said in line


def test_nothing_to_watch_is_one_helpful_line(load: Load) -> None:
    """Without keys anywhere the start says what to put where."""
    (line,) = problems(load, "dry_run: true\n", {})
    assert line == (
        "config.yaml  no venue to watch -> put BINANCE_API_KEY and BINANCE_API_SECRET into the "
        "environment or .env (see .env.example), or look at a dry run without keys: "
        "python3 killswitch.py --test-mock"
    )
    (line,) = problems(load, "exchanges: {sub1: {id: bybit}}\n", {"BYBIT_API_KEY": "k"})
    assert "no venue to watch (bybit: keys found, not in config.yaml, NOT WATCHED)" in line


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "BINANCE_API_KEY and BINANCE_API_SECRET are empty -> set them in"),
        ({"BINANCE_API_KEY": "k"}, "BINANCE_API_SECRET is empty -> set it in"),
        ({"BINANCE_API_SECRET": "s"}, "BINANCE_API_KEY is empty -> set it in"),
    ],
)
def test_missing_keys_of_an_enabled_venue_are_named(
    load: Load, environ: dict[str, str], said: str
) -> None:
    """`enabled: true` without its keys must not start unwatched."""
    (line,) = problems(load, "exchanges:\n  binance:\n    enabled: true\n", environ)
    assert line.startswith("config.yaml:3  exchanges.binance.enabled = true  ")
    assert said in line


def test_half_a_pair_of_keys_is_a_mistake_under_auto(load: Load) -> None:
    """A key without its secret was meant to be watched."""
    (line,) = problems(load, "exchanges:\n  binance: {}\n", {"BINANCE_API_KEY": "k"})
    assert line.startswith("config.yaml:2  exchanges.binance = {...}  BINANCE_API_SECRET is empty")


def test_an_own_variable_that_is_empty_is_named_by_its_line(load: Load) -> None:
    """The text under api_key_env could be the secret itself, so it is never printed."""
    text = """\
        exchanges:
          binance:
            enabled: true
            api_key_env: MY_KEY
            api_secret_env: MY_SECRET
            password_env: MY_PASSWORD
        """
    (line,) = problems(load, text, KEYS)
    assert "the variable named in line 4 and the variable named in line 5 are empty" in line
    assert "MY_" not in line
    (line,) = problems(load, text, {"MY_KEY": "k", "MY_SECRET": "s"})
    assert line.startswith("config.yaml:6  exchanges.binance.password_env = ***  names a variable")


def test_one_account_under_two_names_is_refused(load: Load) -> None:
    """The same key twice would judge and close one account twice (lesson 7)."""
    text = "exchanges:\n  binance: {}\n  again: {id: binance, api_key_env: BINANCE_API_KEY}\n"
    (line,) = problems(load, text, {**KEYS, "AGAIN_API_SECRET": "test-secret"})
    assert line.startswith("config.yaml:3  exchanges.again = {...}  has the same API key as")


def test_commands_without_keys_still_get_their_books(load: Load) -> None:
    """`status`, `reset` and `flow` need state and books, and no key of an exchange."""
    text = "exchanges:\n  binance: {enabled: true}\n  binance_sub1: {id: binance}\n  bybit: {}\n"
    loaded = load(text, {}, require_venues=False)
    assert [book.name for book in loaded.to_policy().books] == [
        "binance_futures",
        "binance_sub1_futures",
        "bybit_futures",
    ]
    assert loaded.secrets() == ()
    assert load("exchanges: {binance: {enabled: false}}\n", {}, require_venues=False).venues == ()


def test_paths_may_begin_at_home(load: Load) -> None:
    """`~/` is the HOME of the environment that was passed in."""
    loaded = load("state_db: ~/guard/a.db\n", {**KEYS, "HOME": "/home/trader"})
    assert loaded.state_db == Path("/home/trader/guard/a.db")


# The files that ship, and the cost of importing.


@pytest.mark.parametrize(
    ("name", "watched"),
    [
        ("config.yaml", ["binance", "bitget"]),
        ("config_stage_based_example.yaml", ["binance", "binance_sub1"]),
        ("config_bitget_futures_only.yaml", ["bitget"]),
    ],
)
def test_shipped_files_are_right(name: str, watched: list[str], tmp_path: Path) -> None:
    """Each loads as it is, starts dry, and watches what has keys."""
    path = tmp_path / name
    path.write_bytes((ROOT / name).read_bytes())
    loaded = load_settings(path, {**KEYS, **SUB_KEYS, **BITGET_KEYS})
    assert loaded.dry_run is True
    assert [venue.name for venue in loaded.venues] == watched


def test_config_yaml_writes_the_defaults(tmp_path: Path, load: Load) -> None:
    """What config.yaml shows as the default is the default."""
    path = tmp_path / "shipped.yaml"
    path.write_bytes((ROOT / "config.yaml").read_bytes())
    shipped = load_settings(path, KEYS)
    bare = load("dry_run: true\n")
    assert shipped.to_policy() == bare.to_policy()
    assert shipped.venues == bare.venues
    assert shipped.store_deadline_s == bare.store_deadline_s


def test_env_example_holds_names_and_no_values() -> None:
    """The example is copied as it is; a value in it would be taken for a key."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    assert names == ["BINANCE_API_KEY=", "BINANCE_API_SECRET="]


def test_importing_settings_loads_no_exchange_library() -> None:
    """`status` must answer at once: ccxt alone takes seconds to import."""
    code = "import sys, settings; print('ccxt' in sys.modules, 'asyncio' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
