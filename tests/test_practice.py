"""Accounts without real money: asked where they live, named wherever somebody looks, never mixed.

The real client decides which hosts a testnet or a demo account is asked at; here they are
redirected to the simulator, which keeps the host as the first part of the path.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from clock import SystemClock
from commands.assembly import MakeVenue, access_of, assemble
from errors import ConfigurationError
from logger import get_logger
from model import ScopeId, Trust
from policy import AccountKind
from settings import Settings, VenueSettings, load_settings
from tests.configurations import KEYS
from tests.guard_files import screen
from tests.venue_rigs import BTC
from tests.wire_street import Door, Street, play, street
from venues.adapters import connect_account
from venues.protocol import Venue

HOSTS: Mapping[str, Mapping[AccountKind, str]] = {
    "binance": {
        AccountKind.DEMO: "demo-fapi.binance.com",
        AccountKind.SANDBOX: "testnet.binancefuture.com",
    },
    "bitget": {
        AccountKind.DEMO: "api.bitget.com for paper",
        AccountKind.SANDBOX: "api.bitget.com for paper",
    },
    "bybit": {
        AccountKind.DEMO: "api-demo.bybit.com",
        AccountKind.SANDBOX: "api-testnet.bybit.com",
    },
}
PRACTICE = re.compile("demo|testnet|for paper")
TELL_NO_RIGHTS = ("binance",)
"""Where a practice account is not told what its key may do."""


@pytest.fixture(params=sorted(HOSTS))
def way(request: pytest.FixtureRequest) -> str:
    """Which exchange."""
    return str(request.param)


def redirected(at: Street) -> MakeVenue:
    """The connections that the configuration describes, but for where they end."""

    def make(venue: VenueSettings, scope: ScopeId) -> Venue:
        return connect_account(
            venue.id,
            "futures",
            scope=scope,
            access=replace(access_of(venue), simulator_url=at.houses[venue.name].url),
            clock=at.clock,
            stables=venue.stables,
        )

    return make


@pytest.mark.usefixtures("without_fsync")
def test_practice_accounts_are_guarded_at_their_own_hosts_and_named_as_what_they_are(
    tmp_path: Path, way: str
) -> None:
    """Read, told apart in lock and status, and closed; beside them one on the simulator."""
    kinds = {kind.value: host for kind, host in HOSTS[way].items()}
    doors = [Door(name=f"my_{kind}", way=way, lines=(f"{kind}: true",)) for kind in kinds]

    async def story() -> None:
        async with (
            street(tmp_path, *doors, Door(name="mine", way=way)) as at,
            at.guarded(redirected(at)),
        ):
            await at.wait(35)
            for kind in kinds:
                name = f"my_{kind}"
                assert at.shown(name).trust is Trust.TRUSTED
                assert at.shown(name).kind == kind
                assert at.lock()["details"][kind.upper()] == f"{name}_futures"
                assert f"{name}_futures  NORMAL  {kind.upper()}" in screen(at.status())
                at.prices(name, SOL=105)
            await at.until(lambda: all(at.held(f"my_{kind}") == -50 for kind in kinds), within_s=17)
            assert {kind: at.hosts[f"my_{kind}"] for kind in kinds} == {
                kind: {host} for kind, host in kinds.items()
            }
            assert at.lock()["details"]["SIMULATOR"] == "mine_futures"
            assert "trouble_ledger" not in str(at.lock()["details"])

    play(story)


def test_an_inspection_asks_a_practice_account_for_nothing_that_it_does_not_have(
    tmp_path: Path, way: str
) -> None:
    """No request goes to a live host; what the place does not offer is not told, never assumed."""
    kinds = {kind.value: host for kind, host in HOSTS[way].items()}
    doors = [Door(name=f"my_{kind}", way=way, lines=(f"{kind}: true",)) for kind in kinds]

    async def story() -> None:
        async with street(tmp_path, *doors) as at:
            for venue in at.load().venues:
                connection = redirected(at)(venue, venue.scopes[0])
                told = await connection.inspect(venue.scopes[0], (BTC,))
                await connection.aclose()
                if way in TELL_NO_RIGHTS:
                    assert told.rights.can_withdraw is None
                    assert told.rights.reason
                assert at.asked(venue.name, "sapi") == []
                assert all(PRACTICE.search(host) for host in at.hosts[venue.name])

    play(story)


LINES = {
    AccountKind.LIVE: "enabled: true",
    AccountKind.SIMULATOR: "simulator_url: http://127.0.0.1:9",
    AccountKind.SANDBOX: "sandbox: true",
    AccountKind.DEMO: "demo: true",
}


def settings_of(folder: Path, kind: AccountKind) -> Settings:
    """A configuration of one account of that kind, with the files of the folder."""
    path = folder / "config.yaml"
    path.write_text(f"exchanges:\n  binance:\n    {LINES[kind]}\n", encoding="utf-8")
    return load_settings(path, KEYS)


async def begin(settings: Settings) -> None:
    """Open everything and close it again."""
    async with assemble(settings, clock=SystemClock(), log=get_logger("test")):
        pass


@pytest.mark.usefixtures("without_fsync")
@pytest.mark.parametrize("first", list(AccountKind))
def test_a_database_serves_one_kind_of_account_alone(tmp_path: Path, first: AccountKind) -> None:
    """What was seen of one would be a loss, or a peak, of the other (decision 0016)."""
    asyncio.run(begin(settings_of(tmp_path, first)))
    for later in set(AccountKind) - {first}:
        with pytest.raises(ConfigurationError, match=f"is {later}, .* knows it as {first}"):
            asyncio.run(begin(settings_of(tmp_path, later)))
    asyncio.run(begin(settings_of(tmp_path, first)))
