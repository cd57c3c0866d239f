"""Which Redis holds the operator's switch: the section `operator_switch.redis` and its variables.

Owns which of them counts where several speak. Two that contradict each other are a mistake: the
operator would watch one Redis and the guard another. Nothing made here shows a variable's value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from configuration.config_file import ConfigFile, KeyPath
from configuration.environment import Environment
from configuration.schema import RedisSection
from redis_place import (
    PORT,
    BadRedisUrl,
    RedisPlace,
    check_host,
    parse_redis_url,
    read_port,
)

_PATH = ("operator_switch", "redis")


def read_redis(
    config: ConfigFile,
    section: RedisSection,
    environment: Environment,
    *,
    resolve: Callable[[str, str], Path],
    require_keys: bool,
) -> RedisPlace | None:
    """Where the switch is, None without a Redis; mistakes are recorded in `config`.

    `resolve` makes an absolute path of a key and what is written there.
    Without `require_keys` a Redis that is wanted and named nowhere is no mistake.
    """
    reader = _Reader(config=config, section=section, environment=environment)
    if section.enabled is False or not config.is_sound((*_PATH, "enabled")):
        return None
    place = reader.place()
    if place is None:
        if section.enabled is True and require_keys and config.is_sound((*_PATH, "url")):
            remedy = "set it in the environment or .env, or write enabled: false"
            reader.blame("host_env", f"is on, and {reader.name('host_env')} is empty", remedy)
        return None
    written = section.tls_ca_file
    ca_file = None if written is None else resolve(".".join((*_PATH, "tls_ca_file")), written)
    place = replace(
        place,
        db=place.db if section.db is None else section.db,
        is_tls=place.is_tls or section.tls,
        ca_file=ca_file,
        key_prefix=section.key_prefix,
    )
    if ca_file is not None and not place.is_tls:
        remedy = "write tls: true, or a URL that begins with rediss://"
        config.add((*_PATH, "tls_ca_file"), wrong="is used with TLS only", remedy=remedy)
    return reader.with_login(place)


class _Reader:
    """Looks up the variables of the section; what is wrong with one is recorded at its key."""

    def __init__(
        self, *, config: ConfigFile, section: RedisSection, environment: Environment
    ) -> None:
        self._config = config
        self._section = section
        self._environment = environment
        for variable in {section.password_env, section.sentinel_password_env, "REDIS_PASSWORD"}:
            environment.secret(variable)
        for variable in {section.url_env, "REDIS_URL"}:
            # Without a login it is an address, and masking that would hide which Redis is meant.
            if "@" in environment.get(variable):
                environment.secret(variable)

    def place(self) -> RedisPlace | None:
        """Host and port, or sentinels, and what a URL says beside them."""
        if self._section.url is not None:
            return parse_redis_url(self._section.url)
        url, host = self._value("url_env"), self._value("host_env")
        try:
            if url:
                key = "url_env"
                found = parse_redis_url(url)
                if host and host not in (known for known, _ in found.hosts):
                    said = f"and {self.name('host_env')} name different hosts"
                    self.blame(key, f"{self.name(key)} {said}", "keep one of the two")
                return found
            if host:
                key = "host_env"
                if "/" in host or host.count(":") == 1:
                    raise BadRedisUrl("holds more than a host", "use REDIS_URL, or REDIS_PORT")
                check_host(host)
                key = "port_env"
                port = self._value(key)
                return RedisPlace(hosts=((host, read_port(port) if port else PORT),))
        except BadRedisUrl as bad:
            self.blame(key, f"{self.name(key)} {bad.wrong}", bad.remedy)
            return RedisPlace(hosts=())
        return None

    def with_login(self, place: RedisPlace) -> RedisPlace:
        """The place with user and passwords of their own variables."""
        username = self._one_of("username_env", place.username)
        password = self._one_of("password_env", place.password.get_secret_value())
        if username and not password:
            remedy = f"set {self.name('password_env')} as well"
            self.blame("username_env", f"{self.name('username_env')} has no password", remedy)
        return replace(
            place,
            username=username,
            password=SecretStr(password),
            sentinel_password=self._environment.secret(self._section.sentinel_password_env),
        )

    def _one_of(self, key: str, in_url: str) -> str:
        """The value of the variable or of the URL; two that differ are a mistake."""
        value = self._value(key)
        if value and in_url and value != in_url:
            said = f"{self.name(key)} differs from what the URL says"
            self.blame(key, said, "keep one of the two")
        return value or in_url

    def _value(self, key: str) -> str:
        return self._environment.get(str(getattr(self._section, key)))

    def name(self, key: str) -> str:
        """The variable; a name that stands in the file could be the secret itself."""
        line = self._config.lines.get((*_PATH, key))
        return str(getattr(self._section, key)) if line is None else f"the variable of line {line}"

    def blame(self, key: str, wrong: str, remedy: str) -> None:
        """Record a mistake at the key, or at the section where the key is not written."""
        path: KeyPath = (*_PATH, key)
        places = (path[:depth] for depth in range(len(path), 0, -1))
        written = next((place for place in places if place in self._config.lines), path)
        self._config.add(written, wrong=wrong, remedy=remedy)
