"""Two accounts of one exchange, over the wire: neither ever delays, hides or touches the other.

`binance` and `binance_sub1` are two keys, on one exchange or on two. Each holds 10,000 and a short
of its own symbol, so that a rise of one symbol is the loss of one account alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulator.faults import FaultKind
from store.views import read_status
from tests.venue_rigs import WAYS
from tests.wire_street import Door, Street, play, street
from trading_lock import read_lock

pytestmark = pytest.mark.usefixtures("without_fsync")

EXCHANGES = sorted({exchange_id for exchange_id, _, _ in WAYS.values()})
MAIN, SUB = "binance", "binance_sub1"
XRP_SHORT = {"symbol": "XRPUSDT", "side": "SHORT", "quantity": 20_000, "entry_price": "0.5"}
ALERT_POLL_S = 3.0
CLOSES_WITHIN_S = 11.5
"""From the fall at 35 s: readings at 40, 43 and 46 s complete the streak of stage 1."""


def doors(way: str, *, house: str = "") -> tuple[Door, Door]:
    """Two accounts, of which the second is short in XRP."""
    second = {"positions": [XRP_SHORT]}
    return Door(name=MAIN, way=way, house=house), Door(name=SUB, way=way, house=house, seed=second)


def fills(at: Street, name: str) -> list[Mapping[str, Any]]:
    """What was executed for an account."""
    key = at.doors[name].api_key
    ledger = at.exchange(name).ledger
    return [entry for entry in ledger if entry["event"] == "fill" and entry["account"] == key]


@pytest.mark.parametrize(
    ("way", "house"), [(MAIN, ""), *((way, "one exchange") for way in EXCHANGES)]
)
def test_each_account_is_read_judged_closed_and_locked_for_itself(
    tmp_path: Path, way: str, house: str
) -> None:
    """One falls by 5 %, a while later the other: half of each short goes, and nothing else."""

    async def story() -> None:
        async with street(tmp_path, *doors(way, house=house)) as at, at.guarded():
            await at.wait(35)
            at.prices(MAIN, SOL=105)
            await at.until(lambda: at.held(MAIN) == -50, within_s=CLOSES_WITHIN_S)
            await at.until(lambda: at.book(MAIN).incident is None, within_s=15)
            assert at.locked() == [(f"{MAIN}_futures", "stage")]
            assert fills(at, SUB) == []
            assert at.held(SUB, "XRP") == -20_000
            assert set(at.events(SUB)) == set()
            lock = at.settings.trading_lock_file
            now = at.clock.now()
            assert read_lock(lock, scope=f"{MAIN}_futures", now=now).locked
            assert not read_lock(lock, scope=f"{SUB}_futures", now=now).locked
            at.prices(SUB, XRP=0.525)
            await at.until(lambda: at.held(SUB, "XRP") == -10_000, within_s=17)
            await at.until(lambda: at.book(SUB).incident is None, within_s=15)
            assert sorted(at.locked()) == [
                (f"{MAIN}_futures", "stage"),
                (f"{SUB}_futures", "stage"),
            ]
            assert at.held(MAIN) == -50
            report = at.status()
            assert [book.state.name for book in report.books] == [
                f"{MAIN}_futures",
                f"{SUB}_futures",
            ]
            stored = read_status(at.settings.state_db, dry_run=False)
            assert {one.scope for one in stored.scopes} == {f"{MAIN}_futures", f"{SUB}_futures"}
            ids = [entry["client_id"] for name in (MAIN, SUB) for entry in fills(at, name)]
            assert len(ids) == len(set(ids)) == 2
            assert {str(one).split("-")[0] for one in ids} == {"ks"}
            assert len({str(one).split("-")[1] for one in ids}) == 2

    play(story)


def gateway(at: Street, name: str) -> None:
    """The gateway answers with its error page."""
    at.fail(name, FaultKind.ANSWER_BEFORE, status=502, body="<html>", content_type="text/html")


def slow(at: Street, name: str) -> None:
    """Every answer takes ten seconds."""
    at.fail(name, FaultKind.DELAY, seconds=10.0)


def silent(at: Street, name: str) -> None:
    """Nothing is answered at all."""
    at.fail(name, FaultKind.HOLD_BEFORE)


def reset(at: Street, name: str) -> None:
    """Every connection is reset."""
    at.fail(name, FaultKind.DROP_BEFORE)


def expired(at: Street, name: str) -> None:
    """Its key is no longer known."""
    del at.exchange(name).accounts[at.doors[name].api_key]


TROUBLES = (gateway, slow, silent, reset, expired)


@pytest.mark.parametrize("way", EXCHANGES)
def test_those_in_trouble_leave_the_other_unharmed(tmp_path: Path, way: str) -> None:
    """Five of six go dark at once: the other is closed on time, each of them locked as blind."""
    names = {f"{MAIN}_{trouble.__name__}": trouble for trouble in TROUBLES}

    async def story() -> None:
        dark = [Door(name=name, way=way) for name in names]
        async with street(tmp_path, Door(name=MAIN, way=way), *dark) as at, at.guarded():
            await at.wait(35)
            for name, trouble in names.items():
                trouble(at, name)
            at.prices(MAIN, SOL=105)
            await at.until(lambda: at.held(MAIN) == -50, within_s=CLOSES_WITHIN_S)
            await at.until(lambda: at.book(MAIN).incident is None, within_s=15)
            await at.until(lambda: len(at.locked()) == 6, within_s=125, step_s=1.0)
            assert set(at.locked()) == {
                (f"{MAIN}_futures", "stage"),
                *((f"{name}_futures", "blind") for name in names),
            }
            for name in names:
                assert at.shown(name).unread
                assert at.sent(name) == []
                assert at.events(name) == ["blind", "blind_lock_set"]
            assert not at.shown(MAIN).unread
            read_at = at.shown(MAIN).equity_at
            assert read_at is not None
            assert at.clock.now() - read_at <= ALERT_POLL_S

    play(story)


def test_ten_accounts_at_one_address_fall_together_and_none_is_turned_away(
    tmp_path: Path,
) -> None:
    """Binance counts weight for the address: sixteen that each used all of it were banned."""
    names = [f"{MAIN}_{number}" for number in range(10)]

    async def story() -> None:
        inside = [Door(name=name, house="one exchange") for name in names]
        async with street(tmp_path, *inside) as at, at.guarded():
            await at.wait(35)
            at.prices(names[0], SOL=105)
            await at.until(
                lambda: all(at.held(name) == -50 for name in names), within_s=CLOSES_WITHIN_S
            )
            await at.wait(5)
            statuses = {request.status for request in at.houses[names[0]].service.log}
            assert statuses <= {200, None}
            assert all(at.held(name) == -50 for name in names)

    play(story)
