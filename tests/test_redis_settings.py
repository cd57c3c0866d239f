"""The section `operator_switch` and the variables of Redis become a place, or a clear mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from policy import SwitchPolicy
from redis_place import RedisPlace
from tests.configurations import KEYS, Load, loader, problems

PLAIN = "dry_run: true\n"
HERE = RedisPlace(hosts=(("127.0.0.1", 6379),))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the given text as config.yaml in an empty folder."""
    return loader(tmp_path)


def redis(keys: str) -> str:
    """A file with these keys in `operator_switch.redis`."""
    return f"operator_switch: {{redis: {{{keys}}}}}\n"


def test_without_a_word_the_switch_is_here_alone(load: Load) -> None:
    """No Redis, two minutes of grace, and a halt leaves the stages armed."""
    loaded = load(PLAIN)
    assert loaded.redis is None
    assert loaded.to_policy().switch == SwitchPolicy(halt_suspends_stages=False, redis_grace_s=120)


def test_what_the_section_says_reaches_the_policy(load: Load) -> None:
    """Both keys that decisions depend on."""
    loaded = load("operator_switch: {halt_suspends_stages: true, redis_grace_s: 0}\n")
    assert loaded.to_policy().switch == SwitchPolicy(halt_suspends_stages=True, redis_grace_s=0)


@pytest.mark.parametrize(
    ("text", "environ", "place"),
    [
        (PLAIN, {"REDIS_HOST": "127.0.0.1"}, HERE),
        (PLAIN, {"REDIS_URL": "redis://127.0.0.1"}, HERE),
        (PLAIN, {"REDIS_URL": "redis://127.0.0.1", "REDIS_HOST": "127.0.0.1"}, HERE),
        (PLAIN, {"REDIS_PORT": "6379", "REDIS_PASSWORD": "alone"}, None),
        (redis("enabled: false"), {"REDIS_HOST": "127.0.0.1"}, None),
        (redis("enabled: true"), {"REDIS_HOST": "127.0.0.1"}, HERE),
        (redis("url: 'redis://127.0.0.1'"), {}, HERE),
        (redis("url: 'redis://127.0.0.1'"), {"REDIS_HOST": "other"}, HERE),
        (redis("host_env: R_HOST"), {"REDIS_HOST": "other", "R_HOST": "127.0.0.1"}, HERE),
        (redis("host_env: R_HOST"), {"REDIS_HOST": "other"}, None),
        (PLAIN, {"REDIS_HOST": "::1"}, RedisPlace(hosts=(("::1", 6379),))),
        (
            redis("db: 3, tls: true, key_prefix: 'g:'"),
            {
                "REDIS_HOST": "h",
                "REDIS_PORT": "7",
                "REDIS_USERNAME": "u",
                "REDIS_PASSWORD": "pw",
            },
            RedisPlace(
                hosts=(("h", 7),),
                username="u",
                password=SecretStr("pw"),
                db=3,
                is_tls=True,
                key_prefix="g:",
            ),
        ),
        (
            PLAIN,
            {
                "REDIS_URL": "redis+sentinel://a,b/main/2",
                "REDIS_PASSWORD": "pw",
                "REDIS_SENTINEL_PASSWORD": "spw",
            },
            RedisPlace(
                hosts=(("a", 26379), ("b", 26379)),
                service="main",
                password=SecretStr("pw"),
                sentinel_password=SecretStr("spw"),
                db=2,
            ),
        ),
        (
            redis("db: 0"),
            {"REDIS_URL": "redis://u:pw@h/2", "REDIS_PASSWORD": "pw"},
            RedisPlace(hosts=(("h", 6379),), username="u", password=SecretStr("pw")),
        ),
    ],
)
def test_file_and_variables_name_one_redis(
    load: Load, text: str, environ: Mapping[str, str], place: RedisPlace | None
) -> None:
    """`auto` is on when host or URL hold something; what the file names comes first."""
    assert load(text, {**KEYS, **environ}).redis == place


def test_the_authority_lies_beside_the_file(load: Load, tmp_path: Path) -> None:
    """A relative path starts at the folder of the configuration."""
    text = redis("url: 'rediss://h', tls_ca_file: tls/ca.pem")
    place = load(text).redis
    assert place is not None
    assert place.ca_file == tmp_path / "tls" / "ca.pem"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("enable: true", "is an unknown key -> did you mean enabled?"),
        ("enabled: maybe", "is not known -> write auto, true or false"),
        ("enabled: true", "is on, and REDIS_HOST is empty"),
        ("password: short", "is an unknown key -> keep secrets in the environment or .env"),
        ("url: 'redis://:hidden-word@h'", "= ***  holds a login -> write the whole URL into"),
        ("url: 'http://h'", "is no URL of a Redis"),
        ("url: ", "is not a text"),
        ("url_env: 'redis://h'", "is not the name of an environment variable"),
        ("db: 16", "lies outside 0 to 15"),
        ("db: 1.5", "is not a whole number"),
        ("tls: yes please", "is neither true nor false"),
        ("tls_ca_file: ca.pem, url: 'redis://h'", "is used with TLS only -> write tls: true"),
        ("tls_ca_file: ~ca/x, url: 'rediss://h'", "has a ~ that leads nowhere"),
        ("grace_s: 5", "is an unknown key"),
        ("redis_grace_s: 5", "stands in the wrong place -> move it to operator_switch"),
    ],
)
def test_a_wrong_key_of_the_section_is_one_line(load: Load, keys: str, said: str) -> None:
    """Each names line and remedy, and quotes no secret."""
    (line,) = problems(load, redis(keys))
    assert line.startswith("config.yaml:1  operator_switch.redis")
    assert said in line
    assert "hidden-word" not in line


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"REDIS_URL": "h:6379"}, "REDIS_URL is no URL of a Redis -> write redis://"),
        ({"REDIS_URL": "redis://u:hidden-word@h:x"}, "REDIS_URL has no port after the colon"),
        ({"REDIS_HOST": "h:7"}, "REDIS_HOST holds more than a host"),
        ({"REDIS_HOST": "redis://h"}, "REDIS_HOST holds more than a host"),
        ({"REDIS_HOST": "a b"}, "REDIS_HOST has signs that no host has"),
        ({"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:6379"}, "REDIS_PORT has no port"),
        ({"REDIS_URL": "redis://a", "REDIS_HOST": "b"}, "REDIS_URL and REDIS_HOST name different"),
        ({"REDIS_HOST": "h", "REDIS_USERNAME": "u"}, "REDIS_USERNAME has no password"),
        (
            {"REDIS_URL": "redis://:hidden-word@h", "REDIS_PASSWORD": "another-word"},
            "REDIS_PASSWORD differs from what the URL says -> keep one of the two",
        ),
    ],
)
def test_a_wrong_variable_is_one_line(load: Load, environ: Mapping[str, str], said: str) -> None:
    """With the name of the variable and without what it holds."""
    (line,) = problems(load, PLAIN, {**KEYS, **environ})
    assert said in line
    assert " -> " in line
    assert "-word" not in line


def test_all_mistakes_are_told_at_once(load: Load) -> None:
    """Of the section, of Redis and of a variable."""
    text = "operator_switch: {redis_grace_s: -1, what: 1, redis: {db: x, port_env: R_PORT}}\n"
    lines = problems(load, text, {**KEYS, "REDIS_HOST": "h", "R_PORT": "0"})
    assert len(lines) == 4
    assert any("the variable of line 1 has no port" in line for line in lines)


def test_a_redis_that_is_wanted_stops_no_command_without_venues(load: Load) -> None:
    """`status` in another shell has not the variables of the daemon."""
    loaded = load(redis("enabled: true"), {}, require_venues=False)
    assert loaded.redis is None


def test_the_secrets_of_redis_are_known_and_never_shown(load: Load) -> None:
    """Of a URL the password alone, too; an address without a login is no secret."""
    environ = {**KEYS, "REDIS_URL": "redis://u:hid%40den@h", "REDIS_SENTINEL_PASSWORD": "third"}
    loaded = load(PLAIN, environ)
    assert {"redis://u:hid%40den@h", "hid@den", "third"} <= set(loaded.secrets())
    assert all(word not in repr(loaded) for word in ("hid@den", "hid%40den", "third"))
    assert "redis://h" not in load(PLAIN, {**KEYS, "REDIS_URL": "redis://h"}).secrets()


def test_a_password_that_is_not_used_is_known(load: Load) -> None:
    """Redis is off, or its variables have other names."""
    text = redis("enabled: false, password_env: OTHER")
    environ = {**KEYS, "REDIS_PASSWORD": "first", "OTHER": "second"}
    assert {"first", "second"} <= set(load(text, environ).secrets())
