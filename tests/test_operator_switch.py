"""The switch in a real redis-server: what each of its moods is read as, and that writing is safe.

A server that hangs is one whose process is stopped: it takes commands and answers none.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from pydantic import SecretStr

import operator_switch
from clock import SystemClock
from operator_switch import CHANNEL, KEY, KEY_BY, KEY_LOCK, NOT_A_TEXT, RedisSwitch
from redis_place import RedisPlace
from switch_model import (
    RedisMissing,
    RedisSeen,
    RedisSilent,
    RedisValue,
    RedisWrite,
    SwitchState,
)
from tests.redis_doors import door
from tests.redis_server import HOST, RedisServer, free_port, redis_server

SHORT_S = 0.3
ACL = (
    "+get +set ~trading_switch ~trading_switch:by ~killswitch:trading_lock +publish"
    " &trading_switch:events"
)
"""The least that the guard needs."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server that holds nothing yet."""
    async with redis_server(tmp_path, port=free_port()) as running:
        yield running


@asynccontextmanager
async def switch_at(place: RedisPlace) -> AsyncIterator[RedisSwitch]:
    """The guard's end of it."""
    switch = RedisSwitch(place, clock=SystemClock())
    try:
        yield switch
    finally:
        await switch.aclose()


def place_at(port: int, *, password: str = "") -> RedisPlace:
    """A plain server on this machine."""
    return RedisPlace(hosts=((HOST, port),), password=SecretStr(password))


def why_silent(seen: RedisSeen) -> str:
    """Why nothing was heard; fails when something was."""
    assert isinstance(seen, RedisSilent), seen
    return seen.why


def told(state: SwitchState, *, is_only_if_missing: bool = False) -> RedisWrite:
    """A write by somebody for some reason."""
    return RedisWrite(
        state=state, actor="anna", reason="a test", is_only_if_missing=is_only_if_missing
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("kill", "kill"),
        (" Pause ", "Pause"),
        ("halt\r\n", "halt"),
        ("stop", "stop"),
        ("", ""),
        ("runn\xefng", "runn\xefng"),
        ("running" + " " * 70 + "x", "running" + " " * 57 + "..."),
        ("a\x1bb", r"'a\x1bb'"),
    ],
)
async def test_the_value_is_given_as_it_stands(server: RedisServer, value: str, text: str) -> None:
    """Trimmed, and nothing that is not exactly a state can look like one."""
    await server.cli("SET", KEY, value)
    async with switch_at(server.place) as switch:
        assert await switch.read() == RedisValue(text=text)


async def test_what_is_no_text_is_a_value_that_no_state_has(server: RedisServer) -> None:
    """A key of another kind and bytes that are no text count as unknown, not as silence."""
    async with switch_at(server.place) as switch:
        await server.cli("LPUSH", KEY, "running")
        assert await switch.read() == RedisValue(text=NOT_A_TEXT)
        await server.cli("DEL", KEY)
        await server.cli("SETBIT", KEY, "0", "1")
        assert await switch.read() == RedisValue(text=r"\x80")
        await server.cli("SET", KEY, "kill")
        await server.cli("LPUSH", KEY_BY, "anna")
        assert await switch.read() == RedisValue(text="kill")


async def test_a_missing_and_a_flushed_key_are_missing(server: RedisServer) -> None:
    """An empty Redis is not a silent one."""
    async with switch_at(server.place) as switch:
        assert await switch.read() == RedisMissing()
        assert await switch.write(told(SwitchState.KILL)) == ""
        await server.cli("FLUSHALL")
        assert await switch.read() == RedisMissing()


@pytest.mark.parametrize(
    "note",
    [
        '{"state": "halt", "actor": "ben", "reason": "earlier"}',
        "no json",
        "[1]",
        "[" * 100_000,
        '{"state": "kill", "actor": 7, "reason": null}',
    ],
)
async def test_a_note_of_another_state_is_not_believed(server: RedisServer, note: str) -> None:
    """Who set the switch by hand left no note, and the last one speaks of another state."""
    await server.cli("SET", KEY, "kill")
    await server.cli("SET", KEY_BY, note)
    async with switch_at(server.place) as switch:
        assert await switch.read() == RedisValue(text="kill")


async def test_a_write_stands_with_its_note(server: RedisServer) -> None:
    """Actor and reason come back with the state; the note holds when."""
    async with switch_at(server.place) as switch:
        assert await switch.write(told(SwitchState.HALT)) == ""
        assert await switch.read() == RedisValue(text="halt", actor="anna", reason="a test")
    note = json.loads(await server.cli("GET", KEY_BY))
    assert (note["state"], note["at"] > 0) == ("halt", True)


async def test_no_look_falls_between_a_state_and_its_note(server: RedisServer) -> None:
    """Who set it would be lost for good: the next look finds nothing new."""
    async with switch_at(server.place) as writer, switch_at(server.place) as reader:
        assert await writer.write(told(SwitchState.PAUSE)) == ""
        seen: list[RedisSeen] = []

        async def look() -> None:
            while True:
                seen.append(await reader.read())

        looking = asyncio.create_task(look())
        for state in (SwitchState.HALT, SwitchState.PAUSE) * 100:
            assert await writer.write(told(state)) == ""
        looking.cancel()
    assert len(seen) > 20
    assert {found.actor for found in seen if isinstance(found, RedisValue)} == {"anna"}


async def test_a_write_for_a_missing_key_changes_none_that_is_there(server: RedisServer) -> None:
    """Somebody's kill between the look and the write stays, and keeps its note."""
    async with switch_at(server.place) as switch:
        assert await switch.write(told(SwitchState.RUNNING, is_only_if_missing=True)) == ""
        assert await server.cli("GET", KEY) == "running"
        await server.cli("SET", KEY, "kill")
        await server.cli("DEL", KEY_BY)
        assert await switch.write(told(SwitchState.RUNNING, is_only_if_missing=True)) == ""
        assert await switch.read() == RedisValue(text="kill")
        assert await server.cli("EXISTS", KEY_BY) == "0"


async def test_keys_and_channel_carry_the_prefix(server: RedisServer) -> None:
    """Two guards share a Redis without hearing each other."""
    async with switch_at(replace(server.place, key_prefix="a:")) as switch:
        assert await switch.write(told(SwitchState.PAUSE)) == ""
        assert await switch.mirror("{}", ttl_s=60.0) == ""
    assert sorted((await server.cli("KEYS", "*")).split()) == [
        f"a:{KEY_LOCK}",
        f"a:{KEY}",
        f"a:{KEY_BY}",
    ]


async def test_the_mirror_ends_with_its_time_to_live(server: RedisServer) -> None:
    """A guard that is gone leaves no document that says that trading is free."""
    async with switch_at(server.place) as switch:
        assert await switch.mirror('{"locked": true}', ttl_s=60.0) == ""
    assert await server.cli("GET", KEY_LOCK) == '{"locked": true}'
    assert 0 < int(await server.cli("PTTL", KEY_LOCK)) <= 60_000


async def test_down_at_the_start_down_later_and_back_again(tmp_path: Path) -> None:
    """Each look says what it found, and the first one after the return hears it."""
    port = free_port()
    async with switch_at(place_at(port, password="test-password")) as switch:
        assert "nothing listens there" in why_silent(await switch.read())
        async with redis_server(tmp_path, port=port) as server:
            await server.cli("SET", KEY, "pause")
            assert await switch.read() == RedisValue(text="pause")
            await server.stop()
            # The first words are those that are told as long as it lasts.
            assert "Error 111" not in why_silent(await switch.read())
            assert "nothing listens there" in why_silent(await switch.read())
        assert "nothing listens there" in await switch.write(told(SwitchState.KILL))
        async with redis_server(tmp_path, port=port) as server:
            await server.cli("SET", KEY, "kill")
            assert await switch.read() == RedisValue(text="kill")


async def test_a_server_that_is_six_seconds_slow_is_silent(server: RedisServer) -> None:
    """The look ends after five; the next one hears what Redis says then."""
    await server.cli("SET", KEY, "running")
    async with (
        door(server.port) as slow,
        switch_at(replace(server.place, hosts=((HOST, slow.port),))) as switch,
    ):
        assert await switch.read() == RedisValue(text="running")
        slow.lag_s = 6.0
        assert "no answer in 5 s" in why_silent(await switch.read())
        await server.cli("SET", KEY, "kill")
        slow.lag_s = 0.0
        assert await switch.read() == RedisValue(text="kill")


async def test_a_late_answer_is_never_taken_for_that_of_a_later_look(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say `running` when Redis has held `kill` for long."""
    await server.cli("SET", KEY, "running")
    async with switch_at(server.place) as switch:
        assert await switch.read() == RedisValue(text="running")
        monkeypatch.setattr(operator_switch, "DEADLINE_S", SHORT_S)
        with server.hanging():
            for _ in range(3):
                assert "no answer" in why_silent(await switch.read())
        monkeypatch.undo()
        await server.cli("SET", KEY, "kill")
        assert await switch.read() == RedisValue(text="kill")


async def test_looks_of_a_hanging_server_do_not_pile_up(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty looks at once all end in time, and leave no connection behind."""
    monkeypatch.setattr(operator_switch, "DEADLINE_S", SHORT_S)
    async with switch_at(server.place) as switch:
        with server.hanging():
            seen = await asyncio.gather(*(switch.read() for _ in range(20)))
            assert all("no answer" in why_silent(one) for one in seen)
        monkeypatch.undo()
        assert await switch.read() == RedisMissing()
        clients = await server.cli("CLIENT", "LIST")
        assert sum("cmd=get" in line for line in clients.splitlines()) == 1


async def test_a_slow_write_delays_no_look(server: RedisServer) -> None:
    """Redis holds writes back (a failover does) and goes on to answer looks."""
    async with switch_at(server.place) as switch:
        await server.cli("SET", KEY, "halt")
        assert await switch.mirror("{}", ttl_s=60.0) == ""
        assert await switch.publish({}) == ""
        await server.cli("CLIENT", "PAUSE", "60000", "WRITE")
        writing = asyncio.ensure_future(switch.write(told(SwitchState.KILL)))
        showing = asyncio.ensure_future(switch.mirror("{}", ttl_s=60.0))
        await asyncio.sleep(0)
        assert await switch.read() == RedisValue(text="halt")
        assert not writing.done()
        assert not showing.done()
        await server.cli("CLIENT", "UNPAUSE")
        assert [await writing, await showing] == ["", ""]


async def test_a_user_needs_no_more_than_the_least_rights(server: RedisServer) -> None:
    """Everything the guard does goes with them, and what is missing is said."""
    await server.cli(
        "ACL", "SETUSER", "guard", "on", ">guard-password", "resetchannels", *ACL.split()
    )
    place = replace(server.place, username="guard", password=SecretStr("guard-password"))
    async with switch_at(place) as switch:
        assert await switch.read() == RedisMissing()
        assert await switch.write(told(SwitchState.HALT)) == ""
        assert await switch.publish({"new": "halt"}) == ""
        assert await switch.mirror("{}", ttl_s=60.0) == ""
        assert await switch.read() == RedisValue(text="halt", actor="anna", reason="a test")
        await server.cli("ACL", "SETUSER", "guard", "-set")
        for why in (
            await switch.write(told(SwitchState.KILL)),
            await switch.mirror("{}", ttl_s=60.0),
        ):
            assert "the user may not do that -> " in why
        assert isinstance(await switch.read(), RedisValue)
        await server.cli("ACL", "SETUSER", "guard", "resetkeys", f"~{KEY}")
        assert await switch.read() == RedisValue(text="halt")
        await server.cli("ACL", "SETUSER", "guard", "-get")
        assert "the user may not do that -> " in why_silent(await switch.read())
    async with switch_at(replace(place, db=1)) as switch:
        assert "+select for a database other than 0" in why_silent(await switch.read())
        await server.cli("ACL", "SETUSER", "guard", "+get", "+select")
        assert await switch.read() == RedisMissing()


async def test_events_are_heard_on_the_channel(server: RedisServer) -> None:
    """One JSON object for each."""
    async with switch_at(server.place) as switch, listening(server) as heard:
        assert await switch.publish({"old": "running", "new": "kill"}) == ""
        assert json.loads(await heard()) == {"old": "running", "new": "kill"}


@asynccontextmanager
async def listening(server: RedisServer) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Give what is told on the channel, event by event."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    try:
        writer.write(f"AUTH test-password\r\nSUBSCRIBE {CHANNEL}\r\n".encode())
        await reader.readuntil(b":1\r\n")

        async def heard() -> str:
            for _ in range(6):
                await reader.readline()
            return (await reader.readline()).decode()

        yield heard
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_replica_takes_no_write(server: RedisServer) -> None:
    """The reason names the remedy."""
    await server.cli("SET", KEY, "halt")
    await server.cli("REPLICAOF", HOST, str(free_port()))
    async with switch_at(server.place) as switch:
        assert "name the master" in await switch.write(told(SwitchState.KILL))
        assert await switch.read() == RedisValue(text="halt")


async def test_a_redis_without_room_takes_no_write(server: RedisServer) -> None:
    """It still answers looks."""
    await server.cli("SET", KEY, "halt")
    await server.cli("CONFIG", "SET", "maxmemory", "1")
    async with switch_at(server.place) as switch:
        assert "its memory is full" in await switch.write(told(SwitchState.KILL))
        assert await switch.read() == RedisValue(text="halt")


async def test_a_redis_that_cannot_save_takes_no_write() -> None:
    """The words are those of a server whose last save failed."""
    said = b"-MISCONF Redis is configured to save RDB snapshots, but it is failing\r\n"
    async with answering(lambda _: 2 * said) as port, switch_at(place_at(port)) as switch:
        assert "look at its disk" in await switch.write(told(SwitchState.KILL))


@pytest.mark.parametrize(
    ("username", "password", "words"),
    [
        ("", "wrong-password", "it refuses the login"),
        ("nobody", "test-password", "it refuses the login"),
        ("", "", "it asks for a password"),
    ],
)
async def test_a_refused_login_is_silence_without_the_password(
    server: RedisServer, username: str, password: str, words: str
) -> None:
    """It binds as halt, is told with a remedy, and heals when the password is right."""
    await server.cli("SET", KEY, "running")
    place = replace(server.place, username=username, password=SecretStr(password))
    async with switch_at(place) as switch:
        for why in (why_silent(await switch.read()), await switch.write(told(SwitchState.KILL))):
            assert words in why
            assert not password or password not in why


async def test_a_password_that_nobody_asks_for_is_refused(server: RedisServer) -> None:
    """Whoever believes that the switch is protected is told that it is not."""
    await server.cli("CONFIG", "SET", "requirepass", "")
    async with switch_at(place_at(server.port, password="some-password")) as switch:
        assert "it has no password, and one is given" in why_silent(await switch.read())


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A port whose every reply is made of what was sent; empty replies are none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done.add(ended := asyncio.Event())
        try:
            while sent := await reader.read(65_536):
                writer.write(answer(sent))
        finally:
            writer.close()
            ended.set()

    done: set[asyncio.Event] = set()
    listener = await asyncio.start_server(serve, HOST, 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.gather(*(ended.wait() for ended in done))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"$x\r\n", "ValueError"),
        (b":7\r\n:7\r\n", "no value of a key"),
        (b"*1\r\n$4\r\nkill\r\n$-1\r\n", "no value of a key"),
        (b"\x00\xff\r\n", ""),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "it is loading its data"),
        (b"-MOVED 1 10.0.0.1:6379\r\n$-1\r\n", "it is a cluster"),
        (b"-MASTERDOWN Link with MASTER is down\r\n$-1\r\n", "MASTER is down"),
        (b"", "no answer in"),
    ],
)
async def test_what_is_no_answer_of_a_redis_is_silence(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str
) -> None:
    """Another service on the port, rubbish, or nothing at all."""
    if not answer:
        monkeypatch.setattr(operator_switch, "DEADLINE_S", SHORT_S)
    async with answering(lambda _: answer) as port, switch_at(place_at(port)) as switch:
        why = why_silent(await switch.read())
        assert why.startswith(f"{HOST}:{port}: ")
        assert words in why


async def test_a_server_that_repeats_the_password_makes_nobody_read_it() -> None:
    """An error quotes what was sent; the reason does not."""
    password = "correct-horse-battery"

    def repeat(sent: bytes) -> bytes:
        return b"-ERR unknown command: " + sent.replace(b"\r\n", b" ") + b"\r\n"

    async with answering(repeat) as port, switch_at(place_at(port, password=password)) as switch:
        why = why_silent(await switch.read())
    assert "unknown command" in why
    assert password not in why


async def test_a_name_that_nobody_knows_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be known again at the next look."""

    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with switch_at(RedisPlace(hosts=(("unknown.test", 6379),))) as switch:
        assert "unknown.test:6379: nobody knows the name" in why_silent(await switch.read())


async def test_a_lookup_that_hangs_takes_no_thread_of_the_exchanges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their names are looked up on the loop's own threads, of which there are few."""
    let_go, asked = threading.Event(), list[str]()

    def hang(host: str, *_: object, **__: object) -> NoReturn:
        asked.append(threading.current_thread().name)
        let_go.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(operator_switch, "CONNECT_WITHIN_S", 0.05)
    async with switch_at(RedisPlace(hosts=(("slow.test", 6379),))) as switch:
        for _ in range(3):
            assert "looking its name up takes too long" in why_silent(await switch.read())
            assert "looking its name up" in await switch.write(told(SwitchState.KILL))
            assert "looking its name up" in await switch.mirror("{}", ttl_s=60.0)
        assert asked == ["redis-names"]
        let_go.set()


async def test_a_name_is_as_good_as_an_address(server: RedisServer) -> None:
    """Looked up once, and again after a failure."""
    await server.cli("SET", KEY, "halt")
    place = replace(server.place, hosts=(("localhost", server.port),))
    async with switch_at(place) as switch:
        for _ in range(2):
            assert await switch.read() == RedisValue(text="halt")
