"""The operator's switch in Redis: read four times a second, written, told and mirrored.

Owns every word with Redis; nothing else of the guard imports its client. Gives values only: what
goes wrong is a `RedisSilent` or a reason, never an exception, and never holds a secret. Rules:

- A look ends within `DEADLINE_S`, whatever Redis does. The answer to a look that was given up is
  never taken for that of a later one: its connection is dropped.
- Looks, writes and the mirror have a connection each: none waits for another's slow command.
- Names are looked up on a thread of its own first: a lookup that hangs takes none of the threads
  that the exchanges' names are looked up on.
- Nothing is retried within a look; the next one is a quarter of a second away.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as NotConnectedInTime

from attempts import Got, Missed, attempt, look_away
from clock import Clock
from errors import Unavailable
from own_thread import OwnThread
from redaction import Redactor
from redis_place import RedisPlace
from switch_model import RedisMissing, RedisSeen, RedisSilent, RedisValue, RedisWrite

KEY = "trading_switch"
KEY_BY = f"{KEY}:by"
CHANNEL = f"{KEY}:events"
KEY_LOCK = "killswitch:trading_lock"

DEADLINE_S = 5.0
"""Slower than this is as good as silent (behaviour.md section 12)."""
CONNECT_WITHIN_S = 3.0
SENTINEL_WITHIN_S = 1.0
"""Of each sentinel, so that of three two may be silent."""
ASK_SENTINELS_EVERY_S = 10.0
"""A master that was cut off from its sentinels answers on, with what was true before."""
CLOSE_WITHIN_S = 1.0
MOST_TEXT = 64
MOST_WORDS = 300

NOT_A_TEXT = "(a value that is no text)"
"""What a key of another kind than a string is read as: no state, so it counts as halt."""
_WRONG_KIND = "WRONGTYPE"
_NOT_SAVING = "MISCONF"


class RedisSwitch:
    """The switch in one Redis. Connects when it is first asked, and again after every failure."""

    def __init__(self, place: RedisPlace, *, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._names = _Names(place)
        self._looking = _Line(place, self._names, clock)
        self._writing = _Line(place, self._names, clock)
        self._mirroring = _Line(place, self._names, clock)

    async def read(self) -> RedisSeen:
        """What stands in the key now; never raises, and takes at most `DEADLINE_S`."""
        got = await self._looking.ask(("GET", self._key(KEY)), ("GET", self._key(KEY_BY)))
        if isinstance(got, Missed):
            return RedisSilent(why=got.why)
        value, by = got.value
        if isinstance(value, ResponseError) and str(value).startswith(_WRONG_KIND):
            return RedisValue(text=NOT_A_TEXT)
        if isinstance(value, Exception):
            return RedisSilent(why=self._looking.say(value))
        if value is None:
            return RedisMissing()
        if not isinstance(value, bytes):
            return RedisSilent(why=f"{self._place}: it answers what is no value of a key")
        text = _printable(value.decode(errors="backslashreplace").strip())
        actor, reason = _signed(by, text)
        return RedisValue(text=text, actor=actor, reason=reason)

    async def write(self, what: RedisWrite) -> str:
        """Set the key, and beside it who did so and why; returns '' or why that was not possible.

        With `is_only_if_missing` a key that is there stays, and that is no failure.
        """
        by = {
            "state": what.state.value,
            "actor": what.actor,
            "reason": what.reason,
            "at": self._clock.now(),
        }
        state = ("SET", self._key(KEY), what.state.value)
        note = ("SET", self._key(KEY_BY), json.dumps(by))
        # The note is only a note: the switch stands, whatever becomes of it.
        if not what.is_only_if_missing:
            # In one go, so that no look finds the state without who has set it.
            return _why(self._writing, await self._writing.ask(state, note))
        why, answer = await self._send(*state, "NX")
        if answer is not None and not why:
            await self._send(*note)
        return why

    async def publish(self, event: Mapping[str, object]) -> str:
        """Tell whoever listens on the channel; returns '' or why that was not possible."""
        return (await self._send("PUBLISH", self._key(CHANNEL), json.dumps(dict(event))))[0]

    async def mirror(self, text: str, *, ttl_s: float) -> str:
        """Show the lock document to other machines for `ttl_s` seconds; returns '' or why not."""
        words = ("SET", self._key(KEY_LOCK), text, "PX", max(1, int(ttl_s * 1000)))
        return _why(self._mirroring, await self._mirroring.ask(words))

    async def aclose(self) -> None:
        """Close all connections, without waiting long for any."""
        lines = (self._looking, self._writing, self._mirroring)
        await asyncio.gather(*(line.aclose() for line in lines))
        self._names.close()

    async def _send(self, *words: str) -> tuple[str, object]:
        """One command on the writing connection: why it failed, and what was answered."""
        got = await self._writing.ask(words)
        return _why(self._writing, got), got.value[0] if isinstance(got, Got) else None

    def _key(self, name: str) -> str:
        return self._place.key_prefix + name


def _why(line: _Line, got: Got[list[Any]] | Missed) -> str:
    """Why one command failed, '' when it did not."""
    if isinstance(got, Missed):
        return got.why
    answer = got.value[0]
    return line.say(answer) if isinstance(answer, Exception) else ""


class _Names:
    """Finds out that the names of the place can be looked up, one attempt at a time."""

    def __init__(self, place: RedisPlace) -> None:
        self._hosts = tuple(host for host, _ in place.hosts if not _is_address(host))
        self._thread = OwnThread("redis-names")
        self._asking: asyncio.Future[None] | None = None

    async def settle(self) -> None:
        """Return when every name was looked up, found or not; raises Unavailable when one hangs."""
        if not self._hosts:
            return
        if self._asking is None or self._asking.done():
            loop = asyncio.get_running_loop()
            self._asking = loop.run_in_executor(self._thread, partial(_look_up, self._hosts))
            look_away(self._asking)
        await asyncio.wait((self._asking,), timeout=CONNECT_WITHIN_S)
        if not self._asking.done():
            said = "looking its name up takes too long -> check the name server, or use an address"
            raise Unavailable(f"{','.join(self._hosts)}: {said}")

    def close(self) -> None:
        self._thread.close()


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def _look_up(hosts: tuple[str, ...]) -> None:
    for host in hosts:
        # What is not found says so when it is connected to.
        with suppress(OSError, UnicodeError):
            socket.getaddrinfo(host, None)


class _Line:
    """One connection to the Redis; one command, or a few at once, at a time."""

    def __init__(self, place: RedisPlace, names: _Names, clock: Clock) -> None:
        self._place = place
        self._names = names
        self._is_connected = False
        self._clock = clock
        secrets = (place.password.get_secret_value(), place.sentinel_password.get_secret_value())
        self._redactor = Redactor(secret for secret in secrets if secret)
        self._turn = asyncio.Lock()
        self._sentinel = _sentinel(place) if place.service else None
        self._client = _client(place, self._sentinel)
        self._sentinels_asked_at = float("-inf")

    async def ask(self, *commands: tuple[str | int, ...]) -> Got[list[Any]] | Missed:
        """What is answered to each command, a refusal as an exception among them.

        The deadline holds from now on, waiting for an earlier one to end included.
        """
        got = await attempt(self._ask(commands), within_s=DEADLINE_S, what=str(self._place))
        return got if isinstance(got, Got) else Missed(why=self._clean(got.why))

    async def _ask(self, commands: tuple[tuple[str | int, ...], ...]) -> list[Any]:
        async with self._turn:
            was_connected, self._is_connected = self._is_connected, False
            if not was_connected:
                await self._names.settle()
            try:
                await self._follow_the_master()
                pipeline = self._client.pipeline(transaction=False)
                for words in commands:
                    pipeline.execute_command(*words)
                answers = await pipeline.execute(raise_on_error=False)
            except (RedisError, OSError) as error:
                raise Unavailable(self.say(error)) from error
            self._is_connected = True
            return answers

    async def _follow_the_master(self) -> None:
        """Ask the sentinels again once in a while; another master means another connection."""
        pool = self._client.connection_pool
        now = self._clock.monotonic()
        if (
            isinstance(pool, SentinelConnectionPool)
            and now - self._sentinels_asked_at >= ASK_SENTINELS_EVERY_S
        ):
            await pool.get_master_address()  # type: ignore[no-untyped-call]
            self._sentinels_asked_at = now

    def say(self, error: Exception) -> str:
        """What an error of Redis means, and what helps; without secrets."""
        return self._clean(f"{self._place}: {_plain(error)}")

    def _clean(self, text: str) -> str:
        return _short(self._redactor.text(text), MOST_WORDS)

    async def aclose(self) -> None:
        for closing in (self._client, self._sentinel):
            if closing is not None:
                await attempt(closing.aclose(), within_s=CLOSE_WITHIN_S, what="closing")


def _options(*, connect_within_s: float, answer_within_s: float | None) -> dict[str, Any]:
    """What every connection has. RESP2 and no greeting: a user then needs no right for those."""
    return {
        "socket_timeout": answer_within_s,
        "socket_connect_timeout": connect_within_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }


def _tls(place: RedisPlace) -> dict[str, Any]:
    """Certificate and name are always verified: there is no setting to leave that out."""
    file = None if place.ca_file is None else str(place.ca_file)
    return {"ssl_ca_certs": file, "ssl_cert_reqs": "required", "ssl_check_hostname": True}


def _login(place: RedisPlace) -> dict[str, Any]:
    return {
        "db": place.db,
        "username": place.username or None,
        "password": place.password.get_secret_value() or None,
    }


def _client(place: RedisPlace, sentinel: Sentinel | None) -> Redis:
    options = _options(connect_within_s=CONNECT_WITHIN_S, answer_within_s=None) | _login(place)
    if place.is_tls:
        options |= _tls(place)
    if sentinel is not None:
        if place.is_tls:
            options["ssl"] = True
        master: Redis = sentinel.master_for(place.service, **options)
        return master
    host, port = place.hosts[0]
    kind: type[Connection] = SSLConnection if place.is_tls else Connection
    pool = ConnectionPool(connection_class=kind, host=host, port=port, **options)
    return Redis.from_pool(pool)


def _sentinel(place: RedisPlace) -> Sentinel:
    options = _options(connect_within_s=SENTINEL_WITHIN_S, answer_within_s=SENTINEL_WITHIN_S)
    options["password"] = place.sentinel_password.get_secret_value() or None
    if place.is_tls:
        options |= {"ssl": True, **_tls(place)}
    return Sentinel(  # type: ignore[no-untyped-call]
        place.hosts, sentinel_kwargs=options
    )


_SAID: tuple[tuple[type[Exception], str], ...] = (
    (BusyLoadingError, "it is loading its data -> wait until it has"),
    (
        NoPermissionError,
        f"the user may not do that -> give it +get +set +publish, ~{KEY} ~{KEY_BY} ~{KEY_LOCK} and"
        f" &{CHANNEL}, and +select for a database other than 0 (ACL SETUSER)",
    ),
    (ReadOnlyError, "it is a replica and takes no writes -> name the master"),
    (OutOfMemoryError, "its memory is full -> raise maxmemory"),
    (MovedError, "it is a cluster and keeps the key elsewhere -> use a Redis that is none"),
    (
        NotConnectedInTime,
        "no connection in time -> check host and port, a firewall, and whether TLS is spoken there",
    ),
    (
        MasterNotFoundError,
        "no sentinel names a master -> check the name of the service, and that sentinels answer",
    ),
)
"""What the client's errors mean, and what helps."""

_NOTHING_LISTENS = "nothing listens there -> start redis-server, check host and port"
_REFUSED = f"Error {errno.ECONNREFUSED} connecting to "
"""How the client says so; where a connection ended it loses the system's own error."""
_NOT_REACHED: tuple[tuple[type[BaseException], str], ...] = (
    (
        ssl.SSLCertVerificationError,
        "its certificate is not trusted -> tls_ca_file must hold the authority that signed it, and"
        " the host be a name that stands in it",
    ),
    (ssl.SSLError, "no TLS is spoken there -> check the port, or use redis:// without TLS"),
    (socket.gaierror, "nobody knows the name -> check the host, or use an address"),
    (ConnectionRefusedError, _NOTHING_LISTENS),
    (FileNotFoundError, "the file of tls_ca_file is not there -> correct the path"),
    (PermissionError, "the file of tls_ca_file may not be read -> correct its rights"),
)
"""Why there is no connection, by the system's error beneath the client's."""


def _plain(error: Exception) -> str:
    """The error in words, with a remedy where there is one."""
    for kind, words in _SAID:
        if isinstance(error, kind):
            return words
    if isinstance(error, AuthenticationError):
        return _refused(str(error))
    if str(error).startswith(_NOT_SAVING):
        return "it cannot save and takes no writes -> look at its disk and its log"
    if str(error).startswith(_REFUSED):
        return _NOTHING_LISTENS
    beneath = error.__cause__ or error.__context__ or error
    for reached, words in _NOT_REACHED:
        if isinstance(beneath, reached):
            return words
    return f"{type(error).__name__}: {error}"


def _refused(words: str) -> str:
    """Which of the ways to be refused a login it was; servers differ in the words."""
    text = words.lower()
    if "without any password" in text or "no password is set" in text:
        return "it has no password, and one is given -> set requirepass there, or take it away here"
    if "required" in text:
        return "it asks for a password -> set REDIS_PASSWORD"
    return "it refuses the login -> check REDIS_PASSWORD and REDIS_USERNAME"


def _short(text: str, most: int) -> str:
    """At most so many signs. What was cut off shows, so that no long value is read as a state."""
    return text if len(text) <= most else text[:most] + "..."


def _printable(text: str) -> str:
    """What can be shown of a value; only what is printable can be a state."""
    return _short(text if text.isprintable() else ascii(text), MOST_TEXT)


def _signed(by: object, text: str) -> tuple[str, str]:
    """Actor and reason of the note, if it is one and speaks of this very state."""
    if not isinstance(by, bytes):
        return "", ""
    try:
        note = json.loads(by)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(note, dict) or str(note.get("state")) != text.lower():
        return "", ""
    return _words(note.get("actor")), _words(note.get("reason"))


def _words(value: object) -> str:
    """One line that can be printed."""
    shown = value if isinstance(value, str) else ""
    return _short(shown if shown.isprintable() else ascii(shown), MOST_WORDS)
