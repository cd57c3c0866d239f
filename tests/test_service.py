"""What the service manager is told, and the orderly end: a real socket, real processes, real ticks.

In virtual time a hang of hours takes no time; what is told is then looked at as calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from commands.service import Service, say_standing
from configuration.schema import STAGE_DEFAULTS
from errors import LockError, StateLockHeld
from guardian import Guardian
from memory import BookMemory, Incident, Memory, ScopeMemory
from model import BookName, IncidentId, ScopeId, Source, Stage
from policy import AccountKind, BookPolicy
from position_store import PositionStore
from service_manager import STATUS_EVERY_S, ServiceManager, ServiceReport
from state_lock import StateLock, find_holder
from tests.memory_venue import SCOPE, MemoryVenue, Trouble
from tests.simulated import simulated
from tests.test_integration import SEED, Place, Running, place, until
from tests.virtual_house import BOOK, House, play, policy

OTHER = ScopeId("binance_sub1_futures")


class Socket:
    """The service manager's end: everything that arrived, message by message."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[dict[str, str]] = []
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._end.bind(address.replace("@", "\0", 1))

    def read(self) -> list[dict[str, str]]:
        """All messages so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._end.recv(4096).decode().split("\n")
                self.messages.append(dict(line.split("=", 1) for line in lines))
        return self.messages

    def said(self, name: str) -> list[str]:
        """The values told under a name so far."""
        return [message[name] for message in self.read() if name in message]

    def close(self) -> None:
        """Go away, as a manager does that is restarted."""
        self._end.close()


@pytest.fixture
def short_folder() -> Iterator[str]:
    """The path of a socket may have 107 characters; those of pytest grow with the test's name."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@pytest.fixture
def manager(short_folder: str) -> Iterator[Socket]:
    """A listening manager."""
    with contextlib.closing(Socket(f"{short_folder}/notify")) as end:
        yield end


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self) -> float:
        """2023-11-14 22:13:20 UTC to begin with."""
        return self.at

    def monotonic(self) -> float:
        """The same number."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.at += seconds


# --- the protocol -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "@"], ids=["path", "abstract"])
def test_a_message_is_one_datagram_of_lines(short_folder: str, kind: str) -> None:
    """Both kinds of address; a text of several lines cannot smuggle in an assignment."""
    with contextlib.closing(Socket(f"{kind}{short_folder}/notify")) as manager:
        ServiceManager(manager.address).tell(READY="1", STATUS="one\nWATCHDOG=1  two")
        assert manager.read() == [{"READY": "1", "STATUS": "one WATCHDOG=1 two"}]


@pytest.mark.parametrize(
    ("variables", "is_present", "is_watchdog"),
    [
        ({}, False, False),
        ({"NOTIFY_SOCKET": ""}, False, False),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, False, False),
        ({"WATCHDOG_USEC": "1000000"}, False, False),
        ({"NOTIFY_SOCKET": "/run/n"}, True, False),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "1000000"}, True, True),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7"}, True, True),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "8"}, True, False),
    ],
)
def test_the_environment_says_who_listens_and_is_cleared(
    variables: dict[str, str], is_present: bool, is_watchdog: bool
) -> None:
    """The watchdog of another process is not ours; nothing that we start can speak for us."""
    environ = {"PATH": "/bin", **variables}
    found = ServiceManager.of(environ, pid=7)
    assert (found.is_present, found.is_watchdog) == (is_present, is_watchdog)
    assert environ == {"PATH": "/bin"}
    if not is_present:
        found.tell(READY="1")


def test_a_manager_that_does_not_read_holds_nobody_up(manager: Socket) -> None:
    """What it missed comes with the next message, except a sign of life that is an old one."""
    ours = ServiceManager(manager.address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as noise:
        with contextlib.suppress(BlockingIOError):
            while True:
                noise.sendto(b"NOISE=1", manager.address)
        for news in ({"READY": "1", "STATUS": "old"}, {"WATCHDOG": "1"}):
            teller = threading.Thread(target=ours.tell, kwargs=news, daemon=True)
            teller.start()
            teller.join(timeout=30)
            assert not teller.is_alive()
    manager.read().clear()
    ours.tell(STATUS="new")
    ours.tell(WATCHDOG="1")
    assert manager.read() == [{"READY": "1", "STATUS": "new"}, {"WATCHDOG": "1"}]


def test_a_signal_in_the_middle_of_a_message_loses_nothing(manager: Socket) -> None:
    """SIGTERM comes while a start says what it waits for: its handler speaks in between."""
    ours = ServiceManager(manager.address)

    class Interrupted(str):
        """A text at which the signal arrives."""

        __slots__ = ()

        def split(self, *_given: Any) -> list[str]:
            """Let the handler speak."""
            ours.tell(STOPPING="1", STATUS="stopping")
            return ["waiting"]

    ours.tell(STATUS=Interrupted("waiting"), EXTEND="1")
    assert [message.get("STOPPING") for message in manager.read()].count("1") >= 1
    ours.tell(STATUS="later")
    assert manager.read()[-1] == {"STATUS": "later"}


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nobody", "/" + "x" * 200])
def test_a_manager_that_is_gone_troubles_nobody(address: str) -> None:
    """A dead address, or one that cannot be an address, raises nothing."""
    ServiceManager(address).tell(READY="1")


# --- what is told when ------------------------------------------------------------------------


def report_to(manager: Socket, *, scopes: tuple[ScopeId, ...], says: list[str]) -> ServiceReport:
    """A report whose standing a test changes."""
    return ServiceReport(
        ServiceManager(manager.address, is_watchdog=True),
        scopes=scopes,
        describe=lambda: says[0],
        clock=HandClock(),
    )


@pytest.mark.parametrize(
    ("ticks", "fed"),
    [
        ("A", 0),
        ("AAAA", 0),  # B has never finished one
        ("AB", 1),
        ("ABB", 1),
        ("ABAB", 2),
        ("ABAAAAAAA", 1),  # B hangs: however busy A is, the manager hears nothing
        ("ABAAAAAB", 2),
    ],
)
def test_the_watchdog_is_fed_when_every_scope_has_finished_a_tick(
    manager: Socket, ticks: str, fed: int
) -> None:
    """One account that is not watched is one too many."""
    report = report_to(manager, scopes=(SCOPE, OTHER), says=["LIVE"])
    for tick in ticks:
        report.tick_ended({"A": SCOPE, "B": OTHER}[tick])
    assert manager.said("WATCHDOG") == ["1"] * fed


def test_no_watchdog_is_fed_that_nobody_asked_for(manager: Socket) -> None:
    """Without WATCHDOG_USEC only the status is told."""
    ours = ServiceManager(manager.address)
    report = ServiceReport(ours, scopes=(SCOPE,), describe=lambda: "LIVE", clock=HandClock())
    report.tick_ended(SCOPE)
    assert manager.read() == [{"STATUS": "LIVE, last tick 22:13:20 UTC"}]


def test_the_status_is_told_on_change_and_otherwise_rarely(manager: Socket) -> None:
    """Twenty ticks of 1 s without news are 4 lines; a new stage is shown with its tick."""
    clock, says = HandClock(), ["stage 0"]
    ours = ServiceManager(manager.address)
    report = ServiceReport(ours, scopes=(SCOPE,), describe=lambda: says[0], clock=clock)
    for _ in range(20):
        report.tick_ended(SCOPE)
        clock.at += 1
    assert len(manager.said("STATUS")) == 20 / STATUS_EVERY_S
    report.tick_ended(SCOPE)
    says[0] = "stage 1"
    clock.at += 1
    report.tick_ended(SCOPE)
    assert manager.said("STATUS")[-1] == "stage 1, last tick 22:13:41 UTC"


def incident() -> Incident:
    """An open incident."""
    return Incident(
        incident_id=IncidentId("abcd1"),
        book=BOOK,
        stage=Stage.DOMINANT_CLOSED,
        mode="CLOSE_DOMINANT_LOSS_DIRECTION",
        source=Source.SHORT,
        opened_at=1.0,
        dry_run=False,
        reason="a fall",
        targets=(),
        last_progress_at=1.0,
    )


@pytest.mark.parametrize(
    ("memory", "changes", "says"),
    [
        (Memory(), {}, "LIVE, 1 book, stage 0"),
        (Memory(), {"dry_run": True}, "DRY RUN, 1 book, stage 0"),
        (
            Memory(),
            {"practice_scopes": ((SCOPE, AccountKind.SIMULATOR),)},
            "LIVE on the SIMULATOR, 1 book, stage 0",
        ),
        (
            Memory(),
            {
                "books": (BookPolicy(name=BOOK, scopes=(SCOPE, ScopeId("x")), stages=()),),
                "practice_scopes": ((SCOPE, AccountKind.DEMO),),
            },
            "LIVE with 1 of 2 accounts on the DEMO, 1 book, stage 0",
        ),
        (
            Memory(books=(BookMemory(name=BOOK, stage=Stage.ALL_CLOSED, incident=incident()),)),
            {},
            "LIVE, 1 book, stage 3, closing",
        ),
        (
            Memory(scopes=(ScopeMemory(scope=SCOPE, failures=2),)),
            {},
            f"LIVE, 1 book, stage 0, no reading of {SCOPE}",
        ),
    ],
)
def test_the_status_says_how_the_guard_stands(
    memory: Memory, changes: dict[str, Any], says: str
) -> None:
    """Mode, books, the highest stage, whether it closes, and which account is dark."""
    assert say_standing(memory, replace(policy(), **changes)) == says


# --- the guard's hooks, in virtual time --------------------------------------------------------


def test_ready_comes_after_the_lock_stands(tmp_path: Path) -> None:
    """On a slow disk the lock takes a second; bots that start after READY find it."""

    async def story() -> None:
        house = House(folder=tmp_path, lock_delay_s=1.0)
        stood: list[bool] = []
        async with house.guard(on_ready=lambda: stood.append(house.lock_path.exists())):
            await house.wait(0.9)
            assert stood == []
            await house.wait(0.2)
            assert stood == [True]
            await house.wait(60)
            assert stood == [True]

    play(story)


def test_a_lock_that_cannot_be_written_is_never_ready(tmp_path: Path) -> None:
    """The start fails instead, and the manager tries again."""

    async def story() -> None:
        house = House(folder=tmp_path, lock_fails=True)
        ready: list[bool] = []
        async with house.guard(on_ready=lambda: ready.append(True)) as guard:
            guard.is_crashed = True
            await house.wait(10)
            assert isinstance(guard.running.exception(), LockError)
            assert ready == []

    play(story)


def two_accounts(folder: Path) -> House:
    """Two accounts on two venues, each its own book."""
    house = House(folder=folder)
    book = BookPolicy(name=BookName(OTHER), scopes=(OTHER,), stages=STAGE_DEFAULTS)
    house.policy = replace(house.policy, books=(*house.policy.books, book))
    second = House(folder=folder, clock=house.clock)
    house.others[OTHER] = MemoryVenue(exchange=second.exchange, clock=house.clock, scope=OTHER)
    return house


async def _hang(*_: Any, **__: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def _trip(*_: Any, **__: Any) -> None:
    raise LookupError("a fault of ours")


@pytest.mark.parametrize("fault", [_hang, _trip], ids=["hangs", "fails every time"])
def test_a_scope_that_is_not_watched_starves_the_watchdog(
    tmp_path: Path, manager: Socket, fault: Callable[..., Any]
) -> None:
    """One of two tasks gets nowhere: no sign of life any more, while the other's ticks go on."""

    async def story() -> None:
        house = two_accounts(tmp_path)
        report = report_to(manager, scopes=(SCOPE, OTHER), says=["LIVE"])
        ended: list[ScopeId] = []

        def tick_ended(scope: ScopeId) -> None:
            ended.append(scope)
            report.tick_ended(scope)

        async with house.guard(on_tick_end=tick_ended) as guard:
            await house.wait(35)
            assert len(manager.said("WATCHDOG")) == 4  # at 0, 10, 20 and 30 s
            guard.guardian._watches[OTHER].reader.observe = fault  # type: ignore[method-assign]
            await house.wait(15)
            fed, ticks = len(manager.said("WATCHDOG")), ended.count(SCOPE)
            await house.wait(600)
            assert len(manager.said("WATCHDOG")) == fed <= 5
            assert ended.count(SCOPE) >= ticks + 50

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.HANG, Trouble.MALFORMED])
def test_a_venue_that_is_down_does_not_starve_the_watchdog(
    tmp_path: Path, manager: Socket, trouble: Trouble
) -> None:
    """A tick that found the venue dark is a finished one: a restart would not bring it back."""

    async def story() -> None:
        house = two_accounts(tmp_path)
        house.others[OTHER].plan("fetch", trouble)
        report = report_to(manager, scopes=(SCOPE, OTHER), says=["LIVE"])
        fed: list[float] = [0.0]

        def ended(scope: ScopeId) -> None:
            before = len(manager.said("WATCHDOG"))
            report.tick_ended(scope)
            if len(manager.said("WATCHDOG")) > before:
                fed.append(asyncio.get_running_loop().time())

        async with house.guard(on_tick_end=ended):
            await house.wait(600)
        # At most 30 s of pause, 3 s of greeting, 10 s of waiting and what is recorded.
        assert max(later - earlier for earlier, later in pairwise(fed)) <= 45

    play(story)


# --- real processes ---------------------------------------------------------------------------


def managed(here: Place, manager: Socket, **variables: str) -> Place:
    """The place with a manager in the environment of its commands."""
    return replace(here, keys={**here.keys, "NOTIFY_SOCKET": manager.address, **variables})


async def end_of(process: Running) -> tuple[int | None, str]:
    """Exit code and errors of a process that has been told to stop."""
    try:
        async with asyncio.timeout(30):
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, err.decode()


async def test_a_daemon_is_ready_alive_and_stops(tmp_path: Path, manager: Socket) -> None:
    """READY once lock and database are there, a sign of life per tick, STOPPING at SIGTERM."""
    async with simulated(SEED) as venue:
        here = managed(place(tmp_path, venue.url), manager, WATCHDOG_USEC="360000000")
        process = await here.begin("--log-json")
        try:
            await until(lambda: bool(manager.read()))
            first = manager.messages[0]
            assert (first["READY"], here.lock_path.exists(), here.db_path.exists()) == (
                "1",
                True,
                True,
            )
            assert first["STATUS"] == "LIVE on the SIMULATOR, 1 book, stage 0, no tick yet"
            await until(lambda: len(manager.said("WATCHDOG")) >= 3)
            assert here.bot_may_trade()
            process.send_signal(signal.SIGTERM)
        finally:
            code, _ = await end_of(process)
    assert code == 0
    assert len(manager.said("READY")) == len(manager.said("STOPPING")) == 1
    assert "STOPPING" in manager.messages[-1]
    assert any("stage 0, last tick " in status for status in manager.said("STATUS"))


async def test_ready_waits_for_no_venue_and_never_comes_without_a_lock(
    tmp_path: Path, manager: Socket
) -> None:
    """A venue that is down delays nothing; a lock folder that cannot be written ends the start."""
    dark = managed(place(tmp_path / "dark"), manager)
    async with dark.daemon() as process:
        await until(lambda: "no reading of binance_futures" in manager.said("STATUS")[-1])
        assert len(manager.said("READY")) == 1
        assert "WATCHDOG" not in {name for message in manager.read() for name in message}
        process.send_signal(signal.SIGTERM)
        assert (await end_of(process))[0] == 0
    manager.read().clear()
    lockless = place(tmp_path / "lockless", lock="/proc/trading_lock/trading_lock.json")
    ended = await managed(lockless, manager).run()
    assert (ended.code, manager.read()) == (1, [])


async def test_a_stop_in_the_middle_of_a_start_is_a_stop_in_order(
    tmp_path: Path, manager: Socket
) -> None:
    """SIGTERM while the database is held by somebody: exit 0, never ready, nothing announced."""
    here = managed(place(tmp_path), manager)
    state_dir = here.db_path.parent
    state_dir.mkdir(parents=True)
    PositionStore.open(here.db_path, rng=random.Random(1)).close()
    with contextlib.closing(sqlite3.connect(here.db_path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        process = await here.begin()
        await until(lambda: getattr(find_holder(state_dir), "pid", None) == process.pid)
        process.send_signal(signal.SIGTERM)
        await until(lambda: manager.said("STOPPING") == ["1"])
        other.execute("ROLLBACK")
    code, err = await end_of(process)
    assert (code, "Traceback" in err) == (0, False)
    assert manager.said("READY") == []
    assert not here.lock_path.exists()


async def test_a_guard_waits_for_a_command_that_holds_its_state(
    tmp_path: Path, manager: Socket
) -> None:
    """Exit 3 is for good, so a restart in the middle of a `reset` waits; SIGTERM ends the wait."""
    here = managed(place(tmp_path), manager)
    state_dir = here.db_path.parent
    for is_stopped in (True, False):
        with StateLock.acquire(state_dir):
            process = await here.begin()
            await until(lambda: "waiting for process" in "".join(manager.said("STATUS")))
            if is_stopped:
                process.send_signal(signal.SIGTERM)
                assert ((await end_of(process))[0], manager.said("READY")) == (0, [])
        if not is_stopped:
            await until(lambda: manager.said("READY") == ["1"])
            process.send_signal(signal.SIGTERM)
            assert (await end_of(process))[0] == 0
        manager.read().clear()


def test_the_wait_for_the_state_ends(tmp_path: Path, manager: Socket) -> None:
    """Somebody at a terminal is told at once; a manager when it lasts longer than a command."""
    with StateLock.acquire(tmp_path):
        for ours in (ServiceManager(), ServiceManager(manager.address)):
            with pytest.raises(StateLockHeld) as held:
                Service(ours).take(tmp_path, patience_s=0.5)
            assert held.value.pid == os.getpid()
            waited = manager.said("STATUS")
            assert len(waited) == (0 if not ours.is_present else 1)


async def test_what_a_start_has_made_is_never_searched_for_garbage() -> None:
    """A full collection of three days of history would hold up a close for 0.1 s."""
    frozen: list[int] = []

    class Watcher:
        """Stands where the guard does."""

        memory = Memory()
        scopes = (SCOPE,)

        def stop(self) -> None:
            """Nothing runs."""

        async def run(self, **_told: object) -> None:
            """Look how much the collector leaves alone."""
            frozen.append(gc.get_freeze_count())

    try:
        with Service.begin({}) as service:
            await service.watch(cast("Guardian", Watcher()), policy=policy(), clock=HandClock())
    finally:
        gc.unfreeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert frozen[0] > 10_000
