"""The switch behind TLS and behind a sentinel: it proves who it is, and the master is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

import operator_switch
from clock import SystemClock
from operator_switch import KEY, RedisSwitch
from redis_place import RedisPlace
from switch_model import RedisSilent, RedisValue, RedisWrite, SwitchState
from tests.redis_doors import (
    SERVICE,
    authority,
    sentinel,
    server_context,
    tell_sentinel,
    tls_before,
)
from tests.redis_server import HOST, PASSWORD, RedisServer, free_port, redis_server

KILL = RedisWrite(state=SwitchState.KILL, actor="anna", is_only_if_missing=False)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server whose switch is at `halt`."""
    async with redis_server(tmp_path, port=free_port()) as running:
        await running.cli("SET", KEY, "halt")
        yield running


@asynccontextmanager
async def switch_at(place: RedisPlace) -> AsyncIterator[RedisSwitch]:
    """The guard's end of it."""
    switch = RedisSwitch(place, clock=SystemClock())
    try:
        yield switch
    finally:
        await switch.aclose()


def tls_place(port: int, *, ca_file: Path | None, host: str = HOST) -> RedisPlace:
    """A server behind TLS."""
    return RedisPlace(
        hosts=((host, port),), password=SecretStr(PASSWORD), is_tls=True, ca_file=ca_file
    )


async def test_a_certificate_of_the_known_authority_is_believed(
    tmp_path: Path, server: RedisServer
) -> None:
    """By address and by name; reading and writing."""
    own = authority(tmp_path, name="own")
    for host in (HOST, "localhost"):
        context = server_context(tmp_path, by=own, host=host)
        async with (
            tls_before(server.port, context) as port,
            switch_at(tls_place(port, ca_file=own.file, host=host)) as switch,
        ):
            await server.cli("SET", KEY, "halt")
            assert await switch.read() == RedisValue(text="halt")
            assert await switch.write(KILL) == ""
            assert await switch.read() == RedisValue(text="kill", actor="anna")


@pytest.mark.parametrize(
    ("signed_by", "shown_host", "has_file"),
    [("stranger", HOST, True), ("own", "other.example.net", True), ("own", HOST, False)],
    ids=["unknown authority", "wrong host name", "authority of nobody's"],
)
async def test_a_certificate_that_proves_nothing_is_silence(
    tmp_path: Path, server: RedisServer, signed_by: str, shown_host: str, *, has_file: bool
) -> None:
    """Somebody between guard and Redis could otherwise switch everything to running."""
    known = {name: authority(tmp_path, name=name) for name in ("own", "stranger")}
    context = server_context(tmp_path, by=known[signed_by], host=shown_host)
    ca_file = known["own"].file if has_file else None
    async with (
        tls_before(server.port, context) as port,
        switch_at(tls_place(port, ca_file=ca_file)) as switch,
    ):
        seen = await switch.read()
        assert isinstance(seen, RedisSilent)
        assert "its certificate is not trusted -> tls_ca_file" in seen.why
        assert "its certificate is not trusted" in await switch.write(KILL)
    assert await server.cli("GET", KEY) == "halt"


async def test_tls_where_there_is_none_is_silence(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard never falls back to plain text; a plain one at a TLS port is silence, too."""
    own = authority(tmp_path, name="own")
    monkeypatch.setattr(operator_switch, "CONNECT_WITHIN_S", 0.3)
    async with switch_at(tls_place(server.port, ca_file=own.file)) as switch:
        seen = await switch.read()
        assert isinstance(seen, RedisSilent)
        assert "no connection in time" in seen.why
    context = server_context(tmp_path, by=own, host=HOST)
    async with tls_before(server.port, context) as port:
        place = RedisPlace(hosts=((HOST, port),), password=SecretStr(PASSWORD))
        async with switch_at(place) as switch:
            assert isinstance(await switch.read(), RedisSilent)


async def test_an_authority_that_is_not_there_is_said(tmp_path: Path, server: RedisServer) -> None:
    """With the key that names it."""
    async with switch_at(tls_place(server.port, ca_file=tmp_path / "gone.pem")) as switch:
        seen = await switch.read()
        assert isinstance(seen, RedisSilent)
        assert "the file of tls_ca_file is not there" in seen.why


def sentinel_place(*ports: int) -> RedisPlace:
    """What the sentinels call the master."""
    return RedisPlace(
        hosts=tuple((HOST, port) for port in ports), service=SERVICE, password=SecretStr(PASSWORD)
    )


async def test_the_master_is_found_through_the_sentinels(
    tmp_path: Path, server: RedisServer
) -> None:
    """The first of them is down, and the second knows."""
    async with sentinel(tmp_path, master=server.port) as port:
        async with switch_at(sentinel_place(free_port(), port)) as switch:
            assert await switch.read() == RedisValue(text="halt")
            assert await switch.write(KILL) == ""
        assert await server.cli("GET", KEY) == "kill"


async def test_no_sentinel_and_no_master_are_silence(tmp_path: Path, server: RedisServer) -> None:
    """All are down; or they know no service of that name."""
    async with switch_at(sentinel_place(free_port(), free_port())) as switch:
        seen = await switch.read()
        assert isinstance(seen, RedisSilent)
        assert "no sentinel names a master" in seen.why
    async with sentinel(tmp_path, master=server.port) as port:
        await tell_sentinel(port, "SENTINEL", "REMOVE", SERVICE)
        async with switch_at(sentinel_place(port)) as switch:
            seen = await switch.read()
            assert isinstance(seen, RedisSilent)
            assert "no sentinel names a master" in seen.why


async def test_another_master_is_followed_although_the_old_one_answers_on(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was cut off would say `halt` for ever, and never hear the operator's kill."""
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    async with (
        redis_server(other_folder, port=free_port()) as other,
        sentinel(tmp_path, master=server.port) as port,
        switch_at(sentinel_place(port)) as switch,
    ):
        await other.cli("SET", KEY, "kill")
        assert await switch.read() == RedisValue(text="halt")
        await tell_sentinel(port, "SENTINEL", "REMOVE", SERVICE)
        await tell_sentinel(port, "SENTINEL", "MONITOR", SERVICE, HOST, str(other.port), "1")
        await tell_sentinel(port, "SENTINEL", "SET", SERVICE, "auth-pass", PASSWORD)
        assert await switch.read() == RedisValue(text="halt")
        monkeypatch.setattr(operator_switch, "ASK_SENTINELS_EVERY_S", 0.0)
        assert await switch.read() == RedisValue(text="kill")


async def test_tls_holds_for_the_sentinels_as_well(tmp_path: Path, server: RedisServer) -> None:
    """Whoever could answer for a sentinel would name a master of his own."""
    own = authority(tmp_path, name="own")
    stranger = authority(tmp_path, name="stranger")
    context = server_context(tmp_path, by=own, host=HOST)
    async with (
        tls_before(server.port, context) as master,
        sentinel(tmp_path, master=master) as plain,
        tls_before(plain, context) as port,
    ):
        place = replace(sentinel_place(port), is_tls=True, ca_file=own.file)
        async with switch_at(place) as switch:
            assert await switch.read() == RedisValue(text="halt")
        async with switch_at(replace(place, ca_file=stranger.file)) as switch:
            assert isinstance(await switch.read(), RedisSilent)
