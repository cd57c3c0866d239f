"""Faults of the guard's own machine in real processes: closing goes on, it is told, records follow.

A full disk is a limit of the kernel on the size of files, which every user may set; no room means
the same error path as a disk without a free block.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from errors import StoreError
from memory import AuditEntry
from reserves import DESCRIPTORS
from simulator.state import Leg
from store.views import StoreStatus, read_status
from tests import hanging_guard
from tests.simulated import KEY, Simulated, simulated
from tests.test_integration import SEED, Place, Running, place, until

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A guard of 100 SOL short at work, its venue and its process."""

    here: Place
    venue: Simulated
    process: Running

    @property
    def held(self) -> float:
        """The signed size of the SOL position."""
        return float(self.venue.exchange.amount(KEY, "SOLUSDT", Leg.BOTH))

    @property
    def sent(self) -> int:
        """How many orders reached the venue."""
        return sum(request.method == "POST" for request in self.venue.service.log)

    def stored(self) -> StoreStatus | None:
        """What the database says, None while it says nothing."""
        try:
            return read_status(self.here.db_path, dry_run=False, action_limit=1000)
        except StoreError:
            return None

    def actions(self) -> list[AuditEntry]:
        """The audit, oldest first."""
        stored = self.stored()
        return [] if stored is None else list(reversed(stored.actions))

    def events(self) -> list[str]:
        """Its events."""
        return [entry.event for entry in self.actions()]

    async def is_said(self, words: str) -> bool:
        """True when `status` shows the words."""
        return words in (await self.here.run("status")).out

    def outcomes(self) -> list[str | None]:
        """The outcomes of all orders on record."""
        with closing(sqlite3.connect(self.here.db_path)) as connection:
            return [outcome for (outcome,) in connection.execute("SELECT outcome FROM orders")]

    async def fall(self) -> None:
        """A loss of 5 %, which stage 1 answers by halving the SOL position."""
        await self.venue.control.set_prices({"SOLUSDT": 105})

    async def stop(self) -> str:
        """SIGTERM; gives what was logged after the guard has ended in order."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            _, err = await self.process.communicate()
        assert self.process.returncode == 0
        assert "Traceback" not in err.decode(), err.decode()
        return err.decode()


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """A guard that has read its account twice."""
    async with simulated(SEED) as venue:
        here = replace(place(folder, venue.url), program=Path(hanging_guard.__file__))
        async with here.daemon() as process:
            await here.read()
            yield Scene(here=here, venue=venue, process=process)


# --- while the guard runs ---------------------------------------------------------------------


class Fault:
    """Something that fails on this machine. `says` is what `status` calls it, if it can know.

    `stops_bots` says whether the lock can be written all the same.
    """

    told: tuple[str, ...] = ("store_trouble",)
    says = ""
    stops_bots = True

    def begin(self, scene: Scene) -> None:
        """Let it fail."""
        raise NotImplementedError

    def press(self, scene: Scene) -> None:
        """See to it that it still fails."""

    def end(self, scene: Scene) -> None:
        """Let it work again."""
        raise NotImplementedError


class FullDisk(Fault):
    """No file of the process can grow."""

    told = ("store_trouble", "lock_trouble")
    stops_bots = False

    def begin(self, scene: Scene) -> None:
        """Forbid every byte."""
        limit = (0, resource.RLIM_INFINITY)
        resource.prlimit(scene.process.pid, resource.RLIMIT_FSIZE, limit)

    def end(self, scene: Scene) -> None:
        """Make room."""
        resource.prlimit(scene.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)


class ForeignHold(Fault):
    """Another program holds the database: nobody else may write."""

    says = "database: since"

    def begin(self, scene: Scene) -> None:
        """Take it."""
        self.other = sqlite3.connect(scene.here.db_path, isolation_level=None)
        self.other.execute("BEGIN EXCLUSIVE")

    def end(self, scene: Scene) -> None:
        """Let it go."""
        self.other.close()


class Hang(Fault):
    """A disk that confirms nothing."""

    def __init__(self, what: str, *, told: str, says: str) -> None:
        self.what, self.told, self.says = what, (told,), says

    def begin(self, scene: Scene) -> None:
        """From here on nothing ends."""
        (scene.here.folder / self.what).touch()

    def end(self, scene: Scene) -> None:
        """Everything ends."""
        (scene.here.folder / self.what).unlink()


class LockFolderGone(Fault):
    """The folder of the lock is no folder any more."""

    told = ("lock_trouble",)
    stops_bots = False

    def begin(self, scene: Scene) -> None:
        """Put a file in its place."""
        folder = scene.here.lock_path.parent
        folder.rename(folder.with_name("away"))
        folder.touch()

    def end(self, scene: Scene) -> None:
        """Bring it back."""
        folder = scene.here.lock_path.parent
        folder.unlink()
        folder.with_name("away").rename(folder)


class DatabaseRemoved(Fault):
    """Somebody clears the state directory under the running guard."""

    def begin(self, scene: Scene) -> None:
        """Remove all of its files."""
        for file in scene.here.db_path.parent.glob("killswitch.db*"):
            file.unlink()

    def end(self, scene: Scene) -> None:
        """Nobody helps: the guard puts it back itself."""


class NoDescriptors(Fault):
    """Not one more file or connection can be opened."""

    told = ("descriptors_trouble",)
    says = "files: since"

    def begin(self, scene: Scene) -> None:
        """Allow what is open and no more, as long as nothing of the reserve was let go."""
        open_now = _descriptors(scene)
        if open_now.count(os.devnull) >= DESCRIPTORS:
            limit_descriptors(scene, open_now.index(""))

    def press(self, scene: Scene) -> None:
        """A connection that rested for long is closed: what it leaves is taken away as well."""
        self.begin(scene)

    def end(self, scene: Scene) -> None:
        """Allow as many as before."""
        limit_descriptors(scene, None)


def _descriptors(scene: Scene) -> list[str]:
    """What each descriptor of the process is, by its number; empty for a free one."""
    folder = Path(f"/proc/{scene.process.pid}/fd")
    found = {}
    for entry in list(folder.iterdir()):
        with suppress(FileNotFoundError):
            found[int(entry.name)] = str(entry.readlink())
    return [found.get(number, "") for number in range(max(found) + 2)]


def limit_descriptors(scene: Scene, count: int | None) -> None:
    """Let the process open no descriptor from `count` on; None for as many as it may."""
    _, most = resource.prlimit(scene.process.pid, resource.RLIMIT_NOFILE)
    limit = (most if count is None else count, most)
    resource.prlimit(scene.process.pid, resource.RLIMIT_NOFILE, limit)


FAULTS: dict[str, Fault] = {
    "full-disk": FullDisk(),
    "foreign-hold": ForeignHold(),
    "fsync-hangs": Hang("hang-fsync", told="lock_trouble", says="lock file: since"),
    "commit-hangs": Hang("hang-commit", told="store_trouble", says="database: since"),
    "lock-folder-gone": LockFolderGone(),
    "database-removed": DatabaseRemoved(),
    "no-descriptors": NoDescriptors(),
}


@pytest.mark.parametrize("names", [tuple(FAULTS)[:3], tuple(FAULTS)[3:]], ids=["disk", "files"])
async def test_closing_goes_on_the_operator_is_told_and_records_follow(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Each fault before, during and after a stage acts: half is closed, once, and all is stored."""

    async def is_said(at: Scene, fault: Fault) -> bool:
        fault.press(at)
        return await at.is_said(fault.says)

    async def story(name: str) -> None:
        fault = FAULTS[name]
        async with scene(tmp_path / name) as at:
            fault.begin(at)
            await at.fall()
            await until(lambda: at.held == -50)
            if fault.stops_bots:
                await until(lambda: not at.here.bot_may_trade())
            if fault.says:
                await until(partial(is_said, at, fault))
            fault.end(at)
            await until(lambda: "incident_done" in at.events())
            await until(lambda: at.here.lock()["stage"] == 1)
            await until(lambda: "trouble_" not in json.dumps(at.here.lock()["details"]))
            assert not at.here.bot_may_trade(), name
            events = at.events()
            assert events.index("trigger") < events.index("incident_done"), (name, events)
            assert events.count("trigger") == 1, (name, events)
            told = {entry.event for entry in at.actions() if entry.severity == "CRITICAL"}
            assert set(fault.told) <= told, (name, told)
            log = await at.stop()
            assert all(f'"event": "{event}"' in log for event in fault.told), (name, log)
            assert "records_unwritten" not in log, (name, log)
            assert at.outcomes() == ["DONE"], name
            assert (at.held, at.sent) == (-50, 1), name

    await asyncio.gather(*(story(name) for name in names))


async def test_a_guard_without_descriptors_is_blind_and_not_flat(tmp_path: Path) -> None:
    """Connections are gone and none can be made: nothing is sent, and it closes when it sees."""
    async with scene(tmp_path) as at:
        limit_descriptors(at, 3)
        await at.venue.control.add_fault("drop_before")
        await at.fall()
        cut = len(at.venue.service.log)
        await until(lambda: len(at.venue.service.log) > cut)
        await at.venue.control.clear_faults()
        lock = at.here.lock()
        used_s = cpu_seconds(at.process.pid)
        await asyncio.sleep(3)
        assert cpu_seconds(at.process.pid) - used_s < 1.5
        assert (at.held, at.sent) == (-100, 0)
        assert at.here.lock() == lock
        assert "trigger" not in at.events()
        limit_descriptors(at, None)
        await until(lambda: at.held == -50)
        await until(lambda: not at.here.bot_may_trade())
        await until(lambda: "lock_recovered" in at.events())
        assert "records_unwritten" not in await at.stop()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- at the start -----------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["in order", "killed", "never"])
async def test_a_guard_that_starts_on_a_full_disk_guards(tmp_path: Path, left: str) -> None:
    """With what an earlier run stored, or with nothing: it closes, and writes when it can."""
    async with simulated(SEED) as venue:
        here = replace(place(tmp_path, venue.url), program=Path(hanging_guard.__file__))
        if left != "never":
            async with here.daemon() as process:
                await here.read()
                process.send_signal(signal.SIGTERM if left == "in order" else signal.SIGKILL)
                await process.wait()
        (tmp_path / "no-room").touch()
        process = await here.begin("--log-json")
        at = Scene(here=here, venue=venue, process=process)
        try:
            begun = len(venue.service.log)
            await until(lambda: sum(r.status == 200 for r in venue.service.log[begun:]) > 8)
            await at.fall()
            await until(lambda: at.held == -50)
            FullDisk().end(at)
            await until(lambda: "incident_done" in at.events())
            await until(lambda: at.here.lock()["stage"] == 1)
            assert at.events().count("trigger") == 1
            assert "records_unwritten" not in await at.stop()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert at.outcomes() == ["DONE"]
        assert at.sent == 1


async def test_a_guard_that_starts_beside_a_foreign_hold_guards(tmp_path: Path) -> None:
    """What is stored can be read; the records of this run wait."""
    async with scene(tmp_path) as first:
        await first.stop()
        hold = ForeignHold()
        hold.begin(first)
        async with first.here.daemon() as process:
            at = replace(first, process=process)
            await first.here.beat(3)
            await at.fall()
            await until(lambda: at.held == -50)
            await until(lambda: not at.here.bot_may_trade())
            assert "trigger" not in at.events()
            hold.end(at)
            await until(lambda: "incident_done" in at.events())
            assert "records_unwritten" not in await at.stop()


# --- at the end -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["hang-fsync", "hang-commit"])
async def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path, what: str) -> None:
    """SIGTERM ends the process; what the database never got stands in the log."""
    async with scene(tmp_path) as at:
        (tmp_path / what).touch()
        await at.fall()
        await until(lambda: at.held == -50)
        await until(lambda: not at.here.bot_may_trade())
        log = await at.stop()
        lines = [json.loads(line) for line in log.splitlines()]
        unwritten = {line["event"] for line in lines if line["event"].startswith("unwritten_")}
        if what == "hang-fsync":
            assert unwritten == set()
            assert at.events().count("trigger") == 1
        else:
            assert unwritten == {"unwritten_book", "unwritten_incident", "unwritten_order"}
            (order,) = [line for line in lines if line["event"] == "unwritten_order"]
            assert (order["order"], order["outcome"]) == ("SOLUSDT BUY 50.00", "DONE")
        assert not at.here.bot_may_trade()
