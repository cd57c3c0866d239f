"""Where the operator's Redis is and how to log in there, from a URL or from single settings.

Owns the form of the URLs and what is wrong with one in plain words; opens nothing. No message made
here quotes a URL: it may hold the password.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]
    rediss://...                     the same over TLS
    redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT],.../SERVICE[/DB]
    rediss+sentinel://...            the same over TLS, to the sentinels as well
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pydantic import SecretStr

PORT = 6379
SENTINEL_PORT = 26379
MAX_DB = 15
"""The last of the databases that a Redis has without a setting for more."""

_NOWHERE = SecretStr("")
_FORMS = "write redis://:PASSWORD@HOST:6379, rediss://... or redis+sentinel://..."


class BadRedisUrl(ValueError):
    """The URL cannot be used; says what is `wrong` and the `remedy`, and quotes nothing of it."""

    def __init__(self, wrong: str, remedy: str) -> None:
        super().__init__(f"{wrong} -> {remedy}")
        self.wrong = wrong
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPlace:
    """One Redis: host and port, or the sentinels that know the master of `service`.

    `hosts` holds the server alone, or all sentinels. `ca_file` None: the authorities that the
    machine trusts. `key_prefix` stands before every key and the channel.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    username: str = ""
    password: SecretStr = _NOWHERE
    sentinel_password: SecretStr = _NOWHERE
    db: int = 0
    is_tls: bool = False
    ca_file: Path | None = None
    key_prefix: str = ""

    def __str__(self) -> str:
        """The place without any secret, for people."""
        return ",".join(_address(host, port) for host, port in self.hosts) + (
            f"/{self.service}" if self.service else ""
        )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_redis_url(url: str) -> RedisPlace:
    """Read one of the four forms; raises BadRedisUrl."""
    scheme, mark, rest = url.strip().partition("://")
    security, _, kind = scheme.lower().partition("+")
    if not mark or security not in ("redis", "rediss") or kind not in ("", "sentinel"):
        raise BadRedisUrl("is no URL of a Redis", _FORMS)
    # Not by urlsplit: a password may hold "/" and "#", and operators paste it as it is.
    login, at, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    if "?" in path or "#" in path or "?" in hosts:
        # An option that is silently left out could be the one that asks for safety.
        raise BadRedisUrl("has options after ? or #", "take them away")
    username, password = _login(login, is_given=bool(at))
    is_sentinel = kind == "sentinel"
    service, database = _path(path, is_sentinel=is_sentinel)
    default_port = SENTINEL_PORT if is_sentinel else PORT
    found = tuple(_host(written, default_port) for written in hosts.split(","))
    if len(found) > 1 and not is_sentinel:
        raise BadRedisUrl("names several hosts", "write redis+sentinel://H1:P1,H2:P2/SERVICE")
    return RedisPlace(
        hosts=found,
        service=service,
        username=username,
        password=SecretStr(password),
        db=database,
        is_tls=security == "rediss",
    )


def _login(login: str, *, is_given: bool) -> tuple[str, str]:
    username, colon, password = login.partition(":")
    if is_given and not (colon and password):
        raise BadRedisUrl("has a login without a password", "write USER:PASSWORD@ or :PASSWORD@")
    return unquote(username), unquote(password)


def _path(path: str, *, is_sentinel: bool) -> tuple[str, int]:
    service, database = "", path.rstrip("/")
    if is_sentinel:
        service, _, database = database.partition("/")
        service = unquote(service)
        if not service:
            raise BadRedisUrl(
                "names no service", "write redis+sentinel://H1:P1,H2:P2/SERVICE, e.g. /mymaster"
            )
    return service, read_db(database) if database else 0


def read_db(text: str) -> int:
    """The number of a database; raises BadRedisUrl."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_DB))):
        raise BadRedisUrl("has no number of a database at its end", f"write /0 to /{MAX_DB}")
    if int(text) > MAX_DB:
        raise BadRedisUrl("names a database that a Redis does not have", f"write /0 to /{MAX_DB}")
    return int(text)


def _host(written: str, default_port: int) -> tuple[str, int]:
    if written.startswith("["):
        host, bracket, after = written[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise BadRedisUrl("has no closing bracket", "write [ADDRESS]:PORT for IPv6")
        colon, port = after[:1], after[1:]
    else:
        host, colon, port = written.partition(":")
        if ":" in port:
            raise BadRedisUrl("has too many colons", "write [ADDRESS]:PORT for IPv6")
    check_host(host)
    return host, read_port(port) if colon else default_port


def check_host(host: str) -> None:
    """Raises BadRedisUrl for what names no host."""
    if not host:
        raise BadRedisUrl("names no host", "write redis://HOST:6379, e.g. redis://127.0.0.1:6379")
    if not host.isascii() or any(not (sign.isalnum() or sign in ".-_:%") for sign in host):
        raise BadRedisUrl(
            "has signs that no host has", "write @ between login and host, and %40 for an @ in it"
        )


def read_port(text: str) -> int:
    """A TCP port; raises BadRedisUrl."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65_536):
        raise BadRedisUrl("has no port after the colon", "write a number from 1 to 65535")
    return int(text)
