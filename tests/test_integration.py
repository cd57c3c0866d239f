"""The command line as a user starts it: real processes, real ccxt, real files, a simulated venue.

Each story ends in a clear message or in a guard that goes on. The stories of one test run side by
side, because most of their time is Python starting up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from errors import StoreMissing
from model import ScopeId
from position_store import PositionStore
from simulator.control import start_simulator
from store.views import read_status
from tests.simulated import KEY, SECRET, Simulated, simulated
from tests.warm_start import PROGRAM, WarmProcess

ROOT = Path(__file__).resolve().parent.parent
BOOK = "binance_futures"
SEED = {
    "api_key": KEY,
    "api_secret": SECRET,
    "wallet": {"USDT": 10_000},
    "prices": {"SOLUSDT": 100, "XRPUSDT": "0.5", "BTCUSDT": 60000},
    "positions": [
        {"symbol": "SOLUSDT", "side": "SHORT", "quantity": 100, "entry_price": 100},
        {"symbol": "XRPUSDT", "side": "SHORT", "quantity": 5000, "entry_price": "0.5"},
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.05", "entry_price": 60000},
    ],
}
EMPTY = {"api_key": KEY, "api_secret": SECRET, "wallet": {"USDT": 0}}


PAGE = (ROOT / "docs" / "behaviour.md").read_text(encoding="utf-8")
BOT_LINES = PAGE.partition("## 11. ")[2].partition("```python\n")[2].partition("```")[0]
ODD_FIELDS: tuple[str | None, ...] = ("NaN", None)


Running = asyncio.subprocess.Process | WarmProcess
"""A process of the guard."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with a configuration, and the environment that commands get there.

    With `is_cold` commands are started as a user starts them, otherwise warm.
    """

    folder: Path
    keys: dict[str, str]
    program: Path = PROGRAM
    stderr: int | None = None
    is_cold: bool = False

    @property
    def lock_path(self) -> Path:
        """The lock file."""
        return self.folder / "lock" / "trading_lock.json"

    @property
    def db_path(self) -> Path:
        """The database."""
        return self.folder / "state" / "killswitch.db"

    async def begin(self, *arguments: str) -> Running:
        """Start a command."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.keys}
        if not self.is_cold:
            return WarmProcess(
                *arguments,
                folder=self.folder,
                environment=environment,
                program=self.program,
                stderr=self.stderr,
            )
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(self.program),
            *arguments,
            cwd=self.folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if self.stderr is None else self.stderr,
        )

    async def run(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        process = await self.begin(*arguments)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        assert "Traceback" not in err.decode(), err.decode()
        return Ended(code=process.returncode, out=out.decode(), err=err.decode())

    async def read(self, readings: int = 2) -> None:
        """Wait until the guard has trusted so many more readings."""
        for _ in range(readings):
            at = time.time()
            await until(lambda at=at: self.db_path.exists() and self._trusted_at() > at)

    async def beat(self, times: int) -> None:
        """Wait until the lock was written so many more times by the guard that runs now."""
        began = self.lock()["sequence"]
        await until(lambda: self.lock()["sequence"] >= began + times)

    def _trusted_at(self) -> float:
        try:
            scopes = read_status(self.db_path, dry_run=False).scopes
        except StoreMissing:
            return 0.0
        return (scopes[0].trusted_at or 0.0) if scopes else 0.0

    @asynccontextmanager
    async def daemon(self, *arguments: str) -> AsyncIterator[Running]:
        """A running guard, ready when its lock stands; killed if it is left running."""
        process = await self.begin("--log-json", *arguments)
        try:
            await until(self.lock_path.exists)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def lock(self) -> dict[str, Any]:
        """The lock document."""
        document: dict[str, Any] = json.loads(self.lock_path.read_text(encoding="utf-8"))
        return document

    def bot_may_trade(self) -> bool:
        """What a bot concludes that has nothing but the lines of behaviour.md section 11."""
        names = {"lock_path": str(self.lock_path), "json": json, "time": time}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                exec(BOT_LINES, names)
            except RuntimeError as locked:
                assert self.lock()["reason"] in str(locked)
                return False
        return True

    def events(self) -> list[str]:
        """The events of the audit of live runs, oldest first."""
        actions = read_status(self.db_path, dry_run=False, action_limit=1000).actions
        return [entry.event for entry in reversed(actions)]


def place(
    folder: Path,
    url: str = "http://127.0.0.1:9",
    *,
    dry_run: bool = False,
    keys: bool = True,
    lock: str = "lock/trading_lock.json",
    secret: str = SECRET,
    is_cold: bool = False,
) -> Place:
    """Write a configuration that polls every second."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        f"dry_run: {str(dry_run).lower()}\n"
        "poll_seconds: 1\n"
        "alert_poll_seconds: 1\n"
        "confirm_spacing_s: 1\n"
        f"trading_lock_file: {lock}\n"
        "exchanges:\n"
        "  binance:\n"
        "    enabled: auto\n"
        f"    simulator_url: {url}\n",
        encoding="utf-8",
    )
    environment = {"BINANCE_API_KEY": KEY, "BINANCE_API_SECRET": secret} if keys else {}
    return Place(folder=folder, keys=environment, is_cold=is_cold)


async def until(
    claim: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within_s: float = 30.0
) -> None:
    """Wait until something holds in another process."""
    give_up_at = time.monotonic() + within_s
    while True:
        holds = claim()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < give_up_at, f"not so within {within_s:g} s"
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def closing_db(path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection to the database, as an operator with sqlite3 has it."""
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


# --- the whole story --------------------------------------------------------------------------


async def test_bots_stay_out_from_stage_1_to_the_reset(tmp_path: Path) -> None:
    """Three falls, three stages, a flat account, a second guard refused, a reset, SIGTERM."""
    async with start_simulator(SEED, realtime=True) as (control, url):

        async def held() -> dict[str, float]:
            account = (await control.state())["accounts"][KEY]
            return {leg["symbol"]: abs(float(leg["amount"])) for leg in account["positions"]}

        async def has(**quantities: float) -> bool:
            return await held() == quantities

        here = place(tmp_path, url, is_cold=True)
        async with here.daemon() as process:
            await here.read()
            assert here.bot_may_trade()
            stories: list[tuple[dict[str, float], dict[str, float]]] = [
                ({"SOLUSDT": 105}, {"SOLUSDT": 50, "XRPUSDT": 5000, "BTCUSDT": 0.05}),
                ({"SOLUSDT": 113}, {"BTCUSDT": 0.05}),
                ({"BTCUSDT": 40000}, {}),
            ]
            for stage, (prices, left) in enumerate(stories, start=1):
                await control.set_prices(prices)
                await until(lambda left=left: has(**left))
                assert here.lock()["stage"] == stage
                assert not here.bot_may_trade()
            second, unconfirmed = await asyncio.gather(here.run(), here.run("reset", BOOK))
            assert second.code == 3
            assert f"process {process.pid} holds" in second.err
            assert unconfirmed.code == 2
            assert f"--confirm {BOOK}" in unconfirmed.err
            assert not here.bot_may_trade()
            reset = await here.run("reset", BOOK, "--confirm", BOOK, "--reason", "looked")
            assert (reset.code, "is NORMAL" in reset.out) == (0, True)
            await until(here.bot_may_trade, within_s=5)
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
            assert process.returncode == 0
            assert "Traceback" not in err.decode()
        fills = [entry for entry in await control.ledger() if entry["event"] == "fill"]
        assert all(0 <= float(f["position_after"]) / float(f["position_before"]) < 1 for f in fills)
        assert "task_failed" not in here.events()


async def test_odd_answers_trigger_nothing_and_end_nothing(tmp_path: Path) -> None:
    """A page, NaN and null in place of the equity, half an answer: one after another (lesson 9)."""
    account = {"asset": "USDT", "walletBalance": "1", "unrealizedProfit": "0"}
    plain: dict[str, Any] = {"kind": "answer_before", "status": 200}
    answers: list[dict[str, Any]] = [
        {**plain, "body": "<html>", "content_type": "text/html"},
        *(
            {
                **plain,
                "body": json.dumps({"assets": [{**account, "marginBalance": odd}]}),
                "path": "v3/account",
            }
            for odd in ODD_FIELDS
        ),
        {"kind": "truncate", "path": "positionRisk"},
    ]
    async with simulated(SEED) as venue:
        here = place(tmp_path, venue.url)
        async with here.daemon() as process:
            await here.read()
            for fault in answers:
                await venue.control.add_fault(**fault)
                await until(lambda: any(plan["applied"] for plan in venue.service.plan.describe()))
                await venue.control.clear_faults()
                await here.read(1)
            at = time.time()
            assert process.returncode is None
            assert here.bot_may_trade()
            assert here.lock()["heartbeat_ts"] > at - 5
        sent = [r for r in venue.service.log if r.method != "GET"]
        assert sent == []
        assert not {"trigger", "task_failed", "record_refused"} & set(here.events())


# --- one look, side by side -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OnceCase:
    """An account or a fault, and what `--once` must say about it."""

    name: str
    code: int
    says: str
    seed: dict[str, Any]
    fault: dict[str, Any] | None = None
    secret: str = SECRET
    at: float | None = None


ONCE = [
    OnceCase(name="fine", code=0, says="SOLUSDT", seed=SEED),
    OnceCase(name="empty", code=0, says="no positions", seed=EMPTY),
    OnceCase(name="wrong-key", code=1, says="-1022", seed=SEED, secret="wrong-secret"),
    OnceCase(name="wrong-clock", code=0, says="SOLUSDT", seed=SEED, at=time.time() - 7200),
    OnceCase(
        name="html",
        code=1,
        says="not a JSON result",
        seed=SEED,
        fault={
            "kind": "answer_before",
            "status": 200,
            "body": "<html>maintenance</html>",
            "content_type": "text/html",
        },
    ),
    OnceCase(
        name="nan",
        code=1,
        says="marginBalance",
        seed=SEED,
        fault={
            "kind": "answer_before",
            "status": 200,
            "path": "v3/account",
            "body": json.dumps(
                {
                    "assets": [
                        {
                            "asset": "USDT",
                            "walletBalance": "1",
                            "unrealizedProfit": "0",
                            "marginBalance": "NaN",
                        }
                    ]
                }
            ),
        },
    ),
    OnceCase(
        name="new-listing",
        code=0,
        says="FRESHUSDT",
        seed={
            **EMPTY,
            "wallet": {"USDT": 1000},
            "prices": {"FRESHUSDT": 2},
            "positions": [{"symbol": "FRESHUSDT", "side": "LONG", "quantity": 5, "entry_price": 2}],
        },
        fault={
            "kind": "answer_before",
            "status": 200,
            "path": "exchangeInfo",
            "body": json.dumps({"symbols": []}),
        },
    ),
]


@pytest.mark.parametrize("cases", [ONCE[:4], ONCE[4:]], ids=["accounts", "answers"])
async def test_one_look_says_what_it_found(tmp_path: Path, cases: list[OnceCase]) -> None:
    """Exit 0 with the account, or 1 with the venue's own reason in one line; no secret, no lock."""

    async def look(case: OnceCase) -> None:
        seed = case.seed if case.at is None else {**case.seed, "at": case.at}
        async with simulated(seed) as venue:
            if case.fault is not None:
                await venue.control.add_fault(**case.fault)
            folder, is_cold = tmp_path / case.name, case is ONCE[0]
            here = place(folder, venue.url, secret=case.secret, is_cold=is_cold)
            ended = await here.run("--once")
            told = ended.out + ended.err
            assert (case.name, ended.code) == (case.name, case.code), told
            assert case.says in (ended.out if case.code == 0 else ended.err), told
            assert "no trusted reading" in told or case.code == 0
            assert case.secret not in told
            assert not here.lock_path.exists()
            assert [r.method for r in venue.service.log if r.method != "GET"] == []

    await asyncio.gather(*(look(case) for case in cases))


# --- starts that cannot be, or must be all the same --------------------------------------------


async def test_a_start_that_cannot_be_says_why_in_one_line(tmp_path: Path) -> None:
    """No keys 2, a wrong key in the file 2, a lock folder that cannot be written 1."""
    keyless = place(tmp_path / "keyless", keys=False, is_cold=True)
    mistaken = place(tmp_path / "mistaken", is_cold=True)
    with (tmp_path / "mistaken" / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("pol_seconds: 3\n")
    # A folder that not even the superuser can write to.
    lockless = place(
        tmp_path / "lockless", lock="/proc/trading_lock/trading_lock.json", is_cold=True
    )
    ended = await asyncio.gather(keyless.run(), mistaken.run(), lockless.run())
    assert [one.code for one in ended] == [2, 2, 1]
    lines = [[line for line in one.err.splitlines() if line.strip()] for one in ended]
    assert [len(said) for said in lines] == [1, 1, 1]
    assert "BINANCE_API_KEY" in lines[0][0]
    assert "pol_seconds" in lines[1][0]
    assert "not writable" in lines[2][0]


async def test_a_rehearsal_that_was_left_the_lock_file_of_a_live_guard_does_not_start(
    tmp_path: Path,
) -> None:
    """It has a state of its own, and would tell the bots of the other one that they may trade.

    So would its reset, and its switch.
    """
    async with simulated(SEED) as venue:
        live = place(tmp_path / "live", venue.url)
        async with live.daemon() as process:
            await live.read()
            rehearsal = place(
                tmp_path / "rehearsal", venue.url, dry_run=True, lock=str(live.lock_path)
            )
            ended = await rehearsal.run()
            assert ended.code == 1
            assert "another guard writes" in ended.err
            assert not rehearsal.db_path.exists()
            assert live.lock()["pid"] == process.pid
            reset = await rehearsal.run("reset", BOOK, "--force")
            assert (reset.code, "another guard writes" in reset.err) == (1, True)
            await rehearsal.run("switch", "pause")
            freed = await rehearsal.run("switch", "running")
            assert (freed.code, "another guard writes" in freed.out + freed.err) == (1, True)
            # A pause asks nobody: it stands in the lock until the live guard writes it again.
            await until(lambda: live.lock()["pid"] == process.pid)


async def test_what_was_seen_of_another_kind_of_account_guards_no_account(tmp_path: Path) -> None:
    """The peak of a practice account would close a smaller real one: exit 2 (lesson 5)."""
    here = place(tmp_path)
    store = PositionStore.open(here.db_path, rng=random.Random(1))
    store.claim(ScopeId(BOOK), "live")
    store.close()
    ended = await here.run()
    (line,) = ended.err.splitlines()
    assert ended.code == 2
    assert "binance is simulator" in line
    assert "as live" in line
    assert "-> name another state_db and trading_lock_file" in line
    assert not here.lock_path.exists()


async def test_a_venue_that_is_down_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """The guard starts, is blind, keeps its heartbeat, and SIGTERM ends it with 0."""
    here = place(tmp_path)
    async with here.daemon() as process:
        await here.beat(2)
        assert here.bot_may_trade()
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0


async def test_a_refused_key_and_a_wrong_clock_at_the_start_are_waited_for(tmp_path: Path) -> None:
    """Refused: it is blind, says why in status, and goes on. Two hours off: it is guarded."""

    async def refused(folder: Path) -> None:
        async with simulated(SEED) as venue:
            here = place(folder, venue.url, secret="wrong-secret")
            async with here.daemon() as process:
                await here.beat(2)
                told = await here.run("status", "--json")
                (scope,) = json.loads(told.out)["books"][0]["scopes"]
                assert scope["trust"] == "UNAVAILABLE"
                assert "-1022" in scope["unread"], told.out
                assert process.returncode is None
                process.send_signal(signal.SIGTERM)
                _, err = await process.communicate()
            assert process.returncode == 0
            assert "wrong-secret" not in told.out + err.decode() + here.lock_path.read_text()
            assert [r.method for r in venue.service.log if r.method != "GET"] == []

    async def off(folder: Path) -> None:
        async with simulated({**SEED, "at": time.time() - 7200}) as venue:
            here = place(folder, venue.url)
            async with here.daemon() as process:
                await here.read()
                assert here.bot_may_trade()
                process.send_signal(signal.SIGTERM)
                await process.communicate()
            assert process.returncode == 0

    await asyncio.gather(refused(tmp_path / "refused"), off(tmp_path / "off"))


async def test_an_unreadable_database_is_moved_aside_and_bots_wait_for_a_reset(
    tmp_path: Path,
) -> None:
    """The stage in the lock file is adopted, a second start does not forget it, the guard runs."""
    async with simulated(SEED) as venue:
        here = place(tmp_path, venue.url)
        async with here.daemon():
            await here.read()
            await venue.control.set_prices({"SOLUSDT": 105})
            await until(lambda: here.lock()["stage"] == 1)
        here.db_path.write_bytes(b"this was a database" * 1000)
        for suffix in ("-wal", "-shm"):
            here.db_path.with_name(here.db_path.name + suffix).unlink(missing_ok=True)
        for _ in range(2):
            async with here.daemon():
                await here.beat(2)
                assert not here.bot_may_trade()
                modes = {(lock["mode"], lock["stage"]) for lock in here.lock()["locks"]}
                assert modes == {("halt", 0), ("stage", 1)}
        assert len(list(here.db_path.parent.glob("killswitch.db.unreadable-*"))) == 1
        reset = await here.run("reset", BOOK)
        assert (reset.code, reset.err.count("Traceback")) == (0, 0), reset.err
        assert here.bot_may_trade()


# --- commands without a daemon ----------------------------------------------------------------


async def test_commands_without_a_daemon_do_the_daemons_work(tmp_path: Path) -> None:
    """A flow is booked; a reset without a fresh reading is refused and with --force done."""
    async with simulated(SEED) as venue:
        here = place(tmp_path, venue.url)
        looked = await here.run("--once")
        assert looked.code == 0
        booked, unknown = await here.run("flow", BOOK, "250"), await here.run("flow", "nobody", "5")
        assert (booked.code, "+250.00" in booked.out) == (0, True)
        assert (unknown.code, BOOK in unknown.err) == (2, True)
        with closing_db(here.db_path) as connection:
            rows = connection.execute("SELECT amount FROM flows").fetchall()
        assert rows == [(250.0,)]
    gone = place(tmp_path / "gone")
    refused, forced = await gone.run("reset", BOOK), await gone.run("reset", BOOK, "--force")
    assert (refused.code, "no fresh reading" in refused.err) == (1, True), refused.err
    assert (forced.code, "is NORMAL" in forced.out) == (0, True), forced.err


def _refusals(venue: Simulated) -> int:
    return sum(r.method == "POST" and r.status == 400 for r in venue.service.log)


async def test_a_dry_run_does_not_start_over_an_open_live_incident(tmp_path: Path) -> None:
    """It would leave it unattended; nor does it free the bots of a live stage."""

    async def stage_1(venue: Simulated, here: Place) -> None:
        async with here.daemon():
            await here.read()
            await venue.control.add_fault(
                "error", path="order$", method="POST", code=-4141, status=400
            )
            await venue.control.set_prices({"SOLUSDT": 105})
            # An order without an answer would be waited for after the restart.
            await until(lambda: _refusals(venue) > 1)

    async with simulated(SEED) as venue:
        here = place(tmp_path, venue.url)
        await stage_1(venue, here)
        ended = await here.run("--dry-run")
        assert ended.code == 1
        assert "live incident is open" in ended.err
        assert not here.bot_may_trade()
        await venue.control.clear_faults()
        async with here.daemon():
            await until(lambda: "incident_done" in here.events())
        async with here.daemon("--dry-run"):
            await here.beat(2)
            assert not here.bot_may_trade()
