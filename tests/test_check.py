"""`check`: planted faults are all named, a sound account has none, what is broken hides nothing.

Real ccxt on a simulated account over loopback; the machine's own part on real files.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clock import SystemClock
from commands.check.ask import check_accounts, judge_between
from commands.check.document import to_document
from commands.check.machine import LEAST_ROOM_BYTES, judge_machine
from commands.check.report import CheckReport, ScopeCheck
from commands.check.screen import render
from commands.check.show import check
from findings import Finding, Level, Topic
from lock_document import LockContent
from model import ScopeId
from settings import Settings, VenueSettings, load_settings
from simulator.exchange import Exchange
from simulator.seeds import apply_seed
from tests.guard_files import NOW, quiet, settings_in, write_lock
from tests.memory_venue import MemoryVenue, Trouble
from tests.simulated import KEY, SECRET, simulated
from tests.test_integration import place
from tests.venue_rigs import PASSPHRASE, WAYS
from venues.protocol import Venue

KEYS = {"BINANCE_API_KEY": KEY, "BINANCE_API_SECRET": SECRET}
SOUND: Mapping[str, Any] = {
    "api_key": KEY,
    "api_secret": SECRET,
    "wallet": {"USDT": 10000},
    "is_bound_to_ip": True,
    "prices": {"BTCUSDT": 60000, "SOLUSDT": 100},
    "positions": [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.1", "entry_price": 61000},
        {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 10, "entry_price": 90},
    ],
}
PLANTED: Mapping[str, Any] = {
    **SOUND,
    "can_withdraw": True,
    "clock_offset_s": 2,
    "prices": {
        "BTCUSDT": 60000,
        "SOLUSDT": 100,
        "XRPUSDT": "0.5",
        "DOGEUSDT": "0.1",
        "NEWUSDT": 2,
        "ETHUSDT": 3000,
    },
    "markets": [
        # 40 is below half of the 100 that are held.
        {"symbol": "SOLUSDT", "market_max": 40},
        # Half of 1,500 is 750.
        {"symbol": "XRPUSDT", "min_quantity": 800},
        {"symbol": "NEWUSDT", "price": 2, "is_listed": False},
    ],
    "positions": [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.1", "entry_price": 61000},
        {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 100, "entry_price": 98},
        {"symbol": "XRPUSDT", "side": "LONG", "quantity": 1500, "entry_price": "0.55"},
        {"symbol": "DOGEUSDT", "side": "SHORT", "quantity": 5000, "entry_price": "0.098"},
        {"symbol": "NEWUSDT", "side": "LONG", "quantity": 33, "entry_price": "2.1"},
    ],
    "orders": [
        {
            "symbol": "DOGEUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "quantity": 5000,
            "price": "0.08",
            "reduce_only": True,
        },
        {
            "symbol": "ETHUSDT",
            "side": "BUY",
            "type": "STOP_MARKET",
            "quantity": 1,
            "trigger_price": 3300,
        },
    ],
}


def settings_for(
    folder: Path,
    url: str,
    *,
    more: str = "",
    keys: Mapping[str, str] = KEYS,
    exchange: str = "binance",
) -> Settings:
    """A configuration that watches one simulated account, or several."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(
        f"exchanges:\n  {exchange}:\n    enabled: true\n    simulator_url: {url}\n{more}",
        encoding="utf-8",
    )
    return load_settings(path, keys)


async def look(
    folder: Path, seed: Mapping[str, Any], *, more: str = "", way: str = "binance"
) -> CheckReport:
    """Check one simulated account, of the kind that `way` leads to."""
    exchange, dialect, changes = WAYS[way]
    names = {"API_KEY": KEY, "API_SECRET": SECRET, "PASSWORD": PASSPHRASE}
    keys = {f"{exchange.upper()}_{name}": value for name, value in names.items()}
    async with simulated({**seed, **changes}, venue=dialect) as at:
        settings = settings_for(folder, at.url, more=more, keys=keys, exchange=exchange)
        return await check(settings, clock=SystemClock(), tell=lambda _waiting: None)


def told(findings: tuple[Finding, ...]) -> set[tuple[Level, Topic, str]]:
    """What is not fine."""
    return {(f.level, f.topic, f.subject) for f in findings if f.level is not Level.FINE}


def only(report: CheckReport) -> ScopeCheck:
    """The single account."""
    (scope,) = report.scopes
    return scope


def screen(report: CheckReport, *, width: int = 80) -> str:
    """The report as a person reads it."""
    out = io.StringIO()
    Console(file=out, width=width).print(render(report))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


# --- the account ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_every_planted_fault_is_named(tmp_path: Path, way: str) -> None:
    """Each by itself and nothing else, whichever exchange it is (lesson 20) (lesson 38)."""
    report = await look(tmp_path, PLANTED, way=way)
    assert told(only(report).findings) == {
        (Level.FAULT, Topic.KEY_WITHDRAWS, ""),
        (Level.FAULT, Topic.CLOCK, ""),
        (Level.FAULT, Topic.UNKNOWN_SYMBOL, "NEWUSDT LONG"),
        (Level.WARNING, Topic.MARKET_MAXIMUM, "SOLUSDT SHORT"),
        (Level.WARNING, Topic.SMALL_REMAINDER, "XRPUSDT LONG"),
        (Level.WARNING, Topic.ORDERS_IN_THE_WAY, "DOGEUSDT SHORT"),
        (Level.WARNING, Topic.ORDERS_ON_FLAT_SYMBOL, "ETHUSDT"),
    }
    assert report.has_fault
    text = re.sub(r"[│\s]+", " ", screen(report))
    for words in (
        "the key may withdraw",
        "clock is 2.0 s behind",
        "takes 3 orders: the venue takes at most 40 at once",
        "closing 50 % would leave 750, below the venue's minimum (800 XRP",
        "a resting reduce-only order claims all of it",
        "NEWUSDT LONG is not in the venue's market list",
        "ETHUSDT holds nothing and has a conditional order (",
    ):
        assert words in text
    assert all(found.remedy for found in only(report).findings if found.level is not Level.FINE)


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_a_sound_account_shows_none(tmp_path: Path, way: str) -> None:
    """No fault and no warning anywhere, and that is said."""
    report = await look(tmp_path, SOUND, way=way)
    assert told(tuple(report.findings())) == set()
    assert "Fine: everything here can be seen and closed." in screen(report)


@pytest.mark.parametrize(
    ("planted", "topic", "words"),
    [
        ({"can_trade": False}, Topic.KEY_TRADES, "can see, cannot close"),
        (
            {"can_read_transfers": False},
            Topic.KEY_READS_TRANSFERS,
            "a withdrawal would look like a loss",
        ),
        ({"key_expires_at": 1_600_000_000}, Topic.KEY_EXPIRY, "expired"),
        (
            {"elsewhere": {"portfolio_margin": {"USD": 5000}}},
            Topic.NOT_WATCHED,
            "portfolio margin",
        ),
    ],
)
async def test_a_key_or_account_that_cannot_do_its_work_is_a_fault(
    tmp_path: Path, planted: Mapping[str, Any], topic: Topic, words: str
) -> None:
    """Each alone on a sound account."""
    report = await look(tmp_path, {**SOUND, **planted})
    assert {(level, of) for level, of, _ in told(only(report).findings)} == {(Level.FAULT, topic)}
    assert words in re.sub(r"[│\s]+", " ", screen(report))


async def test_a_withdrawal_right_that_is_allowed_by_name_is_no_fault(tmp_path: Path) -> None:
    """For this venue alone, in its own section."""
    allowed = "    allow_withdrawal_keys: true\n"
    report = await look(tmp_path, {**SOUND, "can_withdraw": True}, more=allowed)
    assert told(only(report).findings) == {(Level.WARNING, Topic.KEY_WITHDRAWS, "")}
    assert not report.has_fault


async def test_a_venue_that_does_not_answer_hides_no_other(tmp_path: Path) -> None:
    """One line with a remedy for the dark one; the other is shown whole."""
    dark = (
        "  binance_dark:\n"
        "    id: binance\n"
        "    enabled: true\n"
        "    simulator_url: http://127.0.0.1:9\n"
    )
    keys = {**KEYS, "BINANCE_DARK_API_KEY": "other-key", "BINANCE_DARK_API_SECRET": "other"}
    async with simulated(SOUND) as at:
        settings = settings_for(tmp_path, at.url, more=dark, keys=keys)
        report = await check(settings, clock=SystemClock(), tell=lambda _waiting: None)
    by_scope = {scope.scope: scope for scope in report.scopes}
    assert told(by_scope[ScopeId("binance_futures")].findings) == set()
    (fault,) = by_scope[ScopeId("binance_dark_futures")].findings
    assert (fault.level, fault.topic) == (Level.FAULT, Topic.READING)
    assert fault.remedy


async def test_a_key_that_is_refused_is_told_in_the_venues_words(tmp_path: Path) -> None:
    """Nothing secret among them."""
    report = await look(tmp_path, {**SOUND, "api_secret": "another"})
    assert any(f.topic is Topic.READING and "-1022" in f.what for f in only(report).findings)
    assert SECRET not in json.dumps(to_document(report))


async def test_who_is_waited_for_is_told_until_all_have_answered(tmp_path: Path) -> None:
    """For the line on the terminal."""
    waiting: list[str] = []
    async with simulated(SOUND) as at:
        settings = settings_for(tmp_path, at.url)
        await check(settings, clock=SystemClock(), tell=waiting.append)
    assert waiting == ["binance_futures", ""]


# --- what the adapter may do ------------------------------------------------------------------


def in_memory(seed: Mapping[str, Any], *troubles: str, trouble: Trouble) -> MemoryVenue:
    """An account whose named reads fail."""
    exchange = Exchange(now=NOW)
    apply_seed(exchange, {key: value for key, value in seed.items() if key != "clock_offset_s"})
    venue = MemoryVenue(exchange=exchange, clock=SystemClock(), latency_s=0.0)
    for name in troubles:
        venue.plan(name, trouble)
    return venue


async def look_at(folder: Path, venue: Venue) -> ScopeCheck:
    """Check one account through this venue."""
    settings = settings_for(folder, "http://127.0.0.1:9")

    def make(_venue: VenueSettings, _scope: ScopeId) -> Venue:
        return venue

    (scope,) = await check_accounts(
        settings, clock=SystemClock(), tell=lambda _waiting: None, make_venue=make
    )
    return scope


@pytest.mark.parametrize(
    ("read", "topic"),
    [
        ("fetch_orders", Topic.OPEN_ORDERS),
        ("fetch_market_limits", Topic.MARKETS),
        ("fetch_reading", Topic.READING),
    ],
)
@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.MALFORMED, Trouble.BUG])
async def test_a_read_that_fails_is_a_fault_and_the_rest_is_judged(
    tmp_path: Path, read: str, topic: Topic, trouble: Trouble
) -> None:
    """Whatever the adapter trips over."""
    found = await look_at(tmp_path, in_memory(SOUND, read, trouble=trouble))
    assert told(found.findings) == {(Level.FAULT, topic, "")}
    assert any(read in one.what for one in found.findings), "the reason is told"
    assert found.inspection is not None


async def test_an_adapter_that_trips_over_its_inspection_is_a_fault(tmp_path: Path) -> None:
    """The positions are judged all the same."""
    found = await look_at(tmp_path, in_memory(SOUND, "inspect", trouble=Trouble.BUG))
    assert told(found.findings) == {(Level.FAULT, Topic.CONNECTION, "")}
    assert any(one.topic is Topic.CLOSABLE for one in found.findings)
    assert found.previews and all(preview.seconds is None for preview in found.previews)


async def test_checking_sends_no_order(tmp_path: Path) -> None:
    """It plans closes through the real planner and sends none of them."""
    venue = in_memory(PLANTED, trouble=Trouble.BUG)
    found = await look_at(tmp_path, venue)
    assert [preview.orders for preview in found.previews] == [4, 4, 7]
    assert venue.sent == []


# --- between accounts -------------------------------------------------------------------------


async def test_one_base_on_both_sides_of_two_books_is_told(tmp_path: Path) -> None:
    """Long 0.1 BTC here and short 0.05 there: each leg would be judged alone."""
    other = {
        **SOUND,
        "positions": [
            {"symbol": "BTCUSDT", "side": "SHORT", "quantity": "0.05", "entry_price": 60000}
        ],
    }
    second = (
        "  binance_sub1:\n"
        "    id: binance\n"
        "    enabled: true\n"
        "    simulator_url: http://127.0.0.1:9\n"
    )
    keys = {**KEYS, "BINANCE_SUB1_API_KEY": "sub-key", "BINANCE_SUB1_API_SECRET": "sub"}
    settings = settings_for(tmp_path, "http://127.0.0.1:9", more=second, keys=keys)

    def make(_venue: VenueSettings, scope: ScopeId) -> Venue:
        venue = in_memory(other if "sub1" in scope else SOUND, trouble=Trouble.BUG)
        venue.scope = scope
        return venue

    checks = await check_accounts(
        settings, clock=SystemClock(), tell=lambda _waiting: None, make_venue=make
    )
    (found,) = judge_between(checks, settings.to_policy())
    assert (found.topic, found.subject) == (Topic.SPLIT_HEDGE, "BTC")
    assert "long 6,000 in binance_futures, short 3,000 in binance_sub1_futures" in found.what


async def test_an_account_with_keys_and_no_guard_is_a_warning(tmp_path: Path) -> None:
    """It is not among those that were asked, so that nobody takes silence for health."""
    async with simulated(SOUND) as at:
        settings = replace(
            settings_for(tmp_path, at.url), unwatched=("other: keys found, NOT WATCHED",)
        )
        report = await check(settings, clock=SystemClock(), tell=lambda _waiting: None)
    assert told(report.between) == {(Level.WARNING, Topic.NOT_WATCHED, "")}
    assert "other: keys found, NOT WATCHED" in screen(report)


# --- the machine ------------------------------------------------------------------------------


def machine(settings: Settings, *, is_running: bool = False) -> set[tuple[Level, Topic, str]]:
    """What is wrong with the machine."""
    return told(judge_machine(settings, is_running=is_running, now=NOW))


def test_a_machine_that_never_ran_a_guard_is_fine(tmp_path: Path) -> None:
    """Folders that are not there yet are made at the first start, and not by a look."""
    settings = settings_in(tmp_path)
    assert machine(settings) == set()
    assert not settings.state_dir.exists()


def test_a_machine_that_ran_a_guard_is_fine(tmp_path: Path) -> None:
    """With a database and a lock file whose guard has ended."""
    settings = quiet(tmp_path)
    write_lock(settings)
    assert machine(settings) == set()


def test_a_damaged_database_is_a_fault(tmp_path: Path) -> None:
    """The next start would move it aside and lock every book."""
    settings = quiet(tmp_path)
    settings.state_db.write_bytes(b"no database" * 1000)
    assert machine(settings) == {(Level.FAULT, Topic.STORE, "")}


def test_a_file_in_the_place_of_a_folder_is_a_fault(tmp_path: Path) -> None:
    """Of the state directory and of the lock folder, which is the same here."""
    settings = settings_in(tmp_path)
    settings.state_dir.write_text("", encoding="utf-8")
    assert machine(settings) == {
        (Level.FAULT, Topic.STORE, ""),
        (Level.FAULT, Topic.LOCK_FILE, ""),
    }


def test_a_folder_in_the_place_of_the_lock_file_is_a_fault(tmp_path: Path) -> None:
    """The guard would not start."""
    settings = settings_in(tmp_path)
    settings.trading_lock_file.mkdir(parents=True)
    assert machine(settings) == {(Level.FAULT, Topic.LOCK_FILE, "")}


@pytest.mark.parametrize(
    ("age_s", "is_running", "levels"),
    [(3.0, True, set()), (300.0, True, {Level.FAULT}), (300.0, False, set())],
)
def test_a_lock_that_a_running_guard_does_not_write_is_a_fault(
    tmp_path: Path, age_s: float, is_running: bool, levels: set[Level]
) -> None:
    """Without a guard an old lock is only old."""
    settings = quiet(tmp_path)
    write_lock(settings, at=NOW - age_s)
    assert {level for level, _, _ in machine(settings, is_running=is_running)} == levels


def test_a_trouble_that_the_guard_names_is_a_fault(tmp_path: Path) -> None:
    """With its remedy, as status has it."""
    settings = quiet(tmp_path)
    details = (("trouble_store", "since 10:00: database or disk is full"),)
    write_lock(settings, content=LockContent(details=details))
    (found,) = (
        finding
        for finding in judge_machine(settings, is_running=True, now=NOW)
        if finding.level is Level.FAULT
    )
    assert "disk is full" in found.what and found.remedy


def test_a_disk_without_room_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by the system, once for each disk."""
    settings = quiet(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    little = usage._replace(free=LEAST_ROOM_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: little)
    assert machine(settings) == {(Level.FAULT, Topic.DISK, "")}


# --- what is read -----------------------------------------------------------------------------


def steady(report: CheckReport) -> CheckReport:
    """The report with what differs from run to run made the same."""
    scopes = tuple(
        replace(
            scope,
            findings=tuple(
                replace(finding, what=re.sub(r"in \d+ ms", "in 5 ms", finding.what))
                for finding in scope.findings
            ),
            previews=tuple(replace(preview, seconds=0.3) for preview in scope.previews),
        )
        for scope in report.scopes
    )
    return replace(report, now=NOW, scopes=scopes)


SOUND_SCREEN = """\
Killswitch check   DRY RUN   no guard runs                          15:06:40 UTC
╭─ binance_futures  fine  SIMULATOR ───────────────────────────────────────────╮
│ connection       answers in 5 ms, this machine's clock is within 1 s of the  │
│                  venue's                                                     │
│ account          single-asset, one-way                                       │
│ holds            equity 9,800.00, 2 positions, 0 open orders; each can be    │
│                  closed at once                                              │
│ key              may read, may trade, may not withdraw, may read transfers,  │
│                  works from listed addresses                                 │
│ dead-man switch  not told: Binance has one timer per symbol and does not     │
│                  tell whether it runs                                        │
│                                                                              │
│ What a stage would close now  by what is lost on paper                       │
│ stage          closes     worth  orders  cancels  cost   time                │
│ 1, both sides       2  3,500.00       2        0  1.75  0.3 s                │
│ 2, both sides       2  7,000.00       2        0  3.50  0.3 s                │
│ 3, everything       2  7,000.00       2        0  3.50  0.3 s                │
│ cost: half the spread and the taker fee, not what a large order moves        │
│                                                                              │
│ How far prices must move  as if equity were at its peak now                  │
│ stage              loss  all against  longs fall  shorts rise    market      │
│ 1, 4.5 % in 15m  441.00       6.30 %      7.35 %      44.10 %   -8.82 %      │
│ 2, 7 % in 15m    686.00       9.80 %     11.43 %      68.60 %  -13.72 %      │
│ 3, 10 % in 15m   980.00      14.00 %     16.33 %      98.00 %  -19.60 %      │
╰──────────────────────────────────────────────────────────────────────────────╯
 This machine  no database yet: the first start makes it, the lock file can be
 written, there is room on the disk
 Fine: everything here can be seen and closed."""
PLANTED_SCREEN = """\
Killswitch check   DRY RUN   no guard runs                          15:06:40 UTC
╭─ binance_futures  3 faults, 4 warnings  SIMULATOR ───────────────────────────╮
│ connection       answers in 5 ms                                             │
│ account          single-asset, one-way                                       │
│ holds            equity 9,611.70, 5 positions, 2 open orders                 │
│ key              may read, may trade, may read transfers, works from listed  │
│                  addresses                                                   │
│ dead-man switch  not told: Binance has one timer per symbol and does not     │
│                  tell whether it runs                                        │
│                                                                              │
│ FAULT    this machine's clock is 2.0 s behind the venue's                    │
│          -> set it by the network: timedatectl set-ntp true                  │
│ FAULT    the key may withdraw: whoever steals it takes the money             │
│          -> take that right from the key at the venue, or write              │
│          allow_withdrawal_keys: true for it                                  │
│ FAULT    NEWUSDT LONG  is not in the venue's market list: minimum, maximum   │
│          and step are guessed, and a close may be refused                    │
│          -> close it by hand, or check again once the venue lists it         │
│ warning  DOGEUSDT SHORT  a resting reduce-only order claims all of it: the   │
│          venue may refuse a close because of that                            │
│          -> nothing: the guard cancels what blocks a close and sends it      │
│          again, which takes longer; a conditional order would not be in the  │
│          way                                                                 │
│ warning  SOLUSDT SHORT  closing 100 takes 3 orders: the venue takes at most  │
│          40 at once                                                          │
│          -> nothing: the guard splits it, which takes longer                 │
│ warning  XRPUSDT LONG  closing 50 % would leave 750, below the venue's       │
│          minimum (800 XRP): stage 1 closes it whole                          │
│          -> nothing if that is meant; else hold more of it, or list it in    │
│          never_touch                                                         │
│ warning  ETHUSDT  holds nothing and has a conditional order (STOP_MARKET):   │
│          could open a position, and may outlive an ordinary cancel-all       │
│          -> cancel it by hand, or leave it: the guard cancels it with every  │
│          close                                                               │
│                                                                              │
│ What a stage would close now  by what is lost on paper                       │
│ stage          closes      worth  orders  cancels  cost   time               │
│ 1, both sides       3   8,750.00       4        1  4.38  0.3 s               │
│ 2, both sides       2  16,000.00       4        1  8.00  0.3 s               │
│ 3, everything       5  17,316.00       7        2  8.66  0.3 s               │
│ cost: half the spread and the taker fee, not what a large order moves        │
│                                                                              │
│ How far prices must move  as if equity were at its peak now                  │
│ stage              loss  all against  longs fall  shorts rise    market      │
│ 1, 4.5 % in 15m  432.53       2.50 %      6.35 %       4.12 %  +11.74 %      │
│ 2, 7 % in 15m    672.82       3.89 %      9.87 %       6.41 %  +18.26 %      │
│ 3, 10 % in 15m   961.17       5.55 %     14.10 %       9.15 %  +26.09 %      │
╰──────────────────────────────────────────────────────────────────────────────╯
 This machine  no database yet: the first start makes it, the lock file can be
 written, there is room on the disk
 3 faults, 4 warnings: set the faults right before you rely on the guard."""


@pytest.mark.parametrize(
    ("seed", "golden"), [(SOUND, SOUND_SCREEN), (PLANTED, PLANTED_SCREEN)], ids=["sound", "planted"]
)
async def test_the_screen_at_80_columns(
    tmp_path: Path, seed: Mapping[str, Any], golden: str
) -> None:
    """The whole page as it is read, so that every change of it is looked at."""
    assert screen(steady(await look(tmp_path, seed))) == golden


async def test_a_cost_that_is_not_told_is_a_question_and_no_zero(tmp_path: Path) -> None:
    """A venue without spread and fee; and what is said of several stages alike is said once."""
    seed = {**SOUND, "markets": [{"symbol": "SOLUSDT", "market_max": "0.01"}]}
    found = await look_at(tmp_path, in_memory(seed, trouble=Trouble.BUG))
    report = CheckReport(
        now=NOW, config="", dry_run=False, pid=None, machine=(), scopes=(found,), between=()
    )
    lines = [line.strip("│ ") for line in screen(report).splitlines()]
    first = next(line for line in lines if line.startswith("1, both sides"))
    assert first.split()[-3] == "?"
    assert "? spread or fee not told: BTCUSDT, SOLUSDT" in lines
    assert "stages 2, 3: would not come to its end: see above" in lines


@pytest.mark.parametrize("width", [60, 80, 100, 200])
async def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    """A line that wraps by itself tears the panel."""
    text = screen(await look(tmp_path, PLANTED), width=width)
    assert max(map(len, text.splitlines())) <= width


async def test_the_document_says_what_the_screen_says(tmp_path: Path) -> None:
    """Plain values, finite numbers, null for what is not known."""
    report = await look(tmp_path, PLANTED)
    document = json.loads(json.dumps(to_document(report), allow_nan=False))
    assert (document["has_fault"], document["faults"], document["warnings"]) == (True, 3, 4)
    (scope,) = document["scopes"]
    assert scope["inspection"]["key"]["can_withdraw"] is True
    assert scope["inspection"]["key"]["expires_ts"] is None
    assert len(scope["findings"]) == len(only(report).findings)
    assert [preview["stage"] for preview in scope["previews"]] == [1, 2, 3]
    assert scope["distances"][0]["threshold_fraction"] == 0.045


# --- the command ------------------------------------------------------------------------------


async def test_the_exit_code_is_the_verdict(tmp_path: Path) -> None:
    """0 without a fault, 1 with one, 2 for the configuration; JSON is alone on its line."""
    async with simulated(SOUND) as sound, simulated(PLANTED) as planted:
        fine, faulty, wrong = await asyncio.gather(
            place(tmp_path / "fine", sound.url).run("check"),
            place(tmp_path / "faulty", planted.url).run("check", "--json"),
            place(tmp_path / "wrong", keys=False).run("check"),
        )
    assert (fine.code, faulty.code, wrong.code) == (0, 1, 2)
    assert json.loads(faulty.out)["faults"] == 3
    assert "BINANCE_API_KEY" in wrong.err
    assert "\x1b" not in fine.out
    assert fine.err == faulty.err == ""


async def test_check_works_beside_a_running_guard(tmp_path: Path) -> None:
    """It needs nobody's state directory, and says who holds it; the guard goes on."""
    async with simulated(SOUND) as at:
        here = place(tmp_path, at.url)
        async with here.daemon() as guard:
            await here.read(1)
            ended = await here.run("check")
            await here.beat(2)
    assert f"a guard runs beside it, pid {guard.pid}" in re.sub(r"\s+", " ", ended.out)
    assert (ended.code, ended.err) == (0, "")
