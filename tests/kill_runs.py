"""One incident with a kill in it: a real guard, real HTTP, `kill -9`, a restart, and the end.

Owns the moment of the kill. The exchange holds the n-th order or cancel of the incident, before or
after its effect; the process is killed; what it had not sent by then is lost or arrives all the
same; and the held request is let go at a time of the scene's choosing, because a venue that has a
request carries it out, whoever is left to hear of it. What came of it is for `kill_scenes.judge`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from errors import StoreError
from lock_document import FOREVER_TS
from memory import AuditEntry
from simulator.faults import Fault, FaultKind
from simulator.wire.service import LoggedRequest
from store.views import StoreStatus, read_status
from tests.kill_scenes import BINDING, Entry, Scene, judge, judge_lock
from tests.simulated import KEY, SECRET, Simulated, simulated
from tests.warm_start import WarmProcess

ROOT = Path(__file__).resolve().parent.parent
SENDING = "POST|DELETE"
ORDERS = "/(order|algoOrder)$"
"""Every order and every cancel of the guard, and nothing else that it sends."""
WITHIN_S = 60.0
"""The longest that one stretch of a story may take: everything in it is a matter of seconds."""
LOOK_EVERY_S = 0.02
ASK_EVERY_S = 0.2
"""The database is asked for the end less often than the rest is looked at: it costs more."""
RECOVERY_REQUESTS = 60
"""The second kill comes at one of so many first requests of a recovery."""
FAULTS_OF_OURS = ("invariant_violated", "task_failed", "record_lost", "Traceback")


class Held(StrEnum):
    """Whether the request at which the guard dies has had its effect."""

    BEFORE = "before"
    AFTER = "after"


class Rest(StrEnum):
    """What becomes of the orders that the guard sends in the same burst after that one."""

    LOST = "lost"
    SENT = "sent"


class Release(StrEnum):
    """When the held request goes on."""

    AT_ONCE = "at once"
    """Before the guard is started again."""
    AHEAD = "ahead"
    """Just before the first request of the same kind that the new guard sends."""
    BEHIND = "behind"
    """Just after it."""
    AFTER_SECOND = "after a second kill"
    """The new guard is killed in its recovery too, and a third one finishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """At which request of the incident (`nth` of those with that method, from 1) the guard dies.

    `second` is the number of the request of the recovery, of any kind, at which it dies again.
    """

    nth: int
    held: Held
    method: str = SENDING
    rest: Rest = Rest.LOST
    release: Release = Release.AT_ONCE
    second: int | None = None
    number: int = 0

    @staticmethod
    def numbered(number: int) -> Kill:
        """The kills of a scene, from 0: two for every order, and every way to go on in turn."""
        nth = number // 2 + 1
        release = tuple(Release)[nth % 4]
        second = (nth * 7 + number % 2 * 23) % RECOVERY_REQUESTS + 1
        return Kill(
            number=number,
            nth=nth,
            held=tuple(Held)[number % 2],
            rest=tuple(Rest)[nth // 4 % 2],
            release=release,
            second=second if release is Release.AFTER_SECOND else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an incident leaves behind and a kill must not change.

    `cooldowns_s` are the ends of the three cooldowns after the end of the incident, to the second,
    0 where there is none; `lock` is what binds the bots, its end likewise, None for never.
    """

    stage: int
    cooldowns_s: tuple[int, ...]
    lock: tuple[object, ...]
    lock_ends_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How one incident went. `kill` is None for the one that nobody disturbed.

    `sent` are the orders and cancels of the incident, `died_at` the one at which the guard died,
    empty when the incident had no such order. Times in seconds from the last start of the guard.
    """

    kill: Kill | None
    faults: tuple[str, ...]
    standing: Standing | None
    sent: int
    died_at: str = ""
    kills: int = 0
    is_late_order: bool = False
    flat_after_s: float = 0.0
    ended_after_s: float = 0.0


async def prepare(scene: Scene, folder: Path) -> None:
    """Let a guard read the account once before the fall: the peak from which it is measured."""
    async with simulated(scene.seed) as venue:
        guard = _Guard(folder, url=venue.url)
        try:
            guard.start("--once")
            assert await guard.wait() == 0, guard.log_path.read_text(encoding="utf-8")
        finally:
            await guard.kill()


async def carry_out(
    scene: Scene,
    kill: Kill | None,
    *,
    prepared: Path,
    folder: Path,
    undisturbed: Standing | None = None,
) -> Run:
    """Play the incident of a scene, with one kill or two, and judge it.

    `prepared` is the folder that `prepare` filled, `folder` a new one; `undisturbed` is what the
    same incident left behind without a kill.
    """
    shutil.copytree(prepared / "state", folder / "state")
    async with simulated(scene.after_the_fall()) as venue:
        incident = _Incident(scene, venue, _Guard(folder, url=venue.url))
        await incident.play(kill)
        account = (await venue.control.state())["accounts"][KEY]
        incident.faults += judge(scene, ledger=await venue.control.ledger(), account=account)
    return incident.told(kill, undisturbed)


class Broken(Exception):
    """The story cannot go on; says why."""


async def until(claim: Callable[[], object], what: str, *, every_s: float = LOOK_EVERY_S) -> None:
    """Wait until something holds. Raises Broken when it does not in time."""
    give_up_at = time.monotonic() + WITHIN_S
    while not claim():
        if time.monotonic() > give_up_at:
            raise Broken(f"not within {WITHIN_S:g} s: {what}")
        await asyncio.sleep(every_s)


@dataclass(slots=True)
class _Guard:
    """The program in its folder, started again and again."""

    folder: Path
    url: str
    started_at: float = 0.0
    process: WarmProcess | None = None

    @property
    def lock_path(self) -> Path:
        return self.folder / "lock.json"

    @property
    def log_path(self) -> Path:
        return self.folder / "guard.log"

    def start(self, *arguments: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(
            "dry_run: false\n"
            "poll_seconds: 1\n"
            "alert_poll_seconds: 1\n"
            "confirm_spacing_s: 1\n"
            "trading_lock_file: lock.json\n"
            "exchanges:\n"
            "  binance:\n"
            "    enabled: true\n"
            f"    simulator_url: {self.url}\n",
            encoding="utf-8",
        )
        self.started_at = time.time()
        with self.log_path.open("ab") as log:
            self.process = WarmProcess(
                "--log-json",
                *arguments,
                folder=self.folder,
                environment={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.folder),
                    "BINANCE_API_KEY": KEY,
                    "BINANCE_API_SECRET": SECRET,
                },
                stdout=log.fileno(),
                stderr=log.fileno(),
            )

    async def wait(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(WITHIN_S):
            return await self.process.wait()

    async def kill(self) -> None:
        """`kill -9`, and gone."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()

    def status(self) -> StoreStatus | None:
        """What the database says, None while there is none to read."""
        try:
            return read_status(self.folder / "state" / "killswitch.db", dry_run=False)
        except StoreError:
            return None

    def lock(self) -> Entry:
        """The lock document. Raises OSError or ValueError when bots could not read it either."""
        document: Entry = json.loads(self.lock_path.read_text(encoding="utf-8"))
        return document

    def faults(self) -> tuple[str, ...]:
        """Lines of the log that no kill excuses."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return tuple(line for line in lines if any(word in line for word in FAULTS_OF_OURS))


@dataclass(slots=True)
class _Incident:
    """One incident, from the first reading after the fall to its end."""

    scene: Scene
    venue: Simulated
    guard: _Guard
    kills: int = 0
    died_at: str = ""
    is_late_order: bool = False
    faults: list[str] = field(default_factory=list)
    bound: Entry | None = None

    async def play(self, kill: Kill | None) -> None:
        """Play it to its end, watching the lock file, and leave no process behind."""
        watching = asyncio.create_task(self._watch_lock())
        try:
            if kill is None:
                self.guard.start()
            else:
                await self._disturb(kill)
            await self._until_ended()
        except Broken as broken:
            self.faults.append(str(broken))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self.guard.kill()

    async def _disturb(self, kill: Kill) -> None:
        """Start the guard, kill it at the chosen request, and start it again."""
        is_after = kill.held is Held.AFTER
        hold = FaultKind.HOLD_AFTER if is_after else FaultKind.HOLD_BEFORE
        self._plan(Fault(kind=hold, method=kill.method, path=ORDERS, nth=kill.nth))
        if kill.rest is Rest.LOST:
            drop = FaultKind.DROP_BEFORE
            self._plan(Fault(kind=drop, method=kill.method, path=ORDERS, skip=kill.nth))
        self.guard.start()
        if not await self._is_held_before_the_end():
            return
        (held,) = self.venue.service.held.values()
        request = held.request
        self.died_at = f"{request.method} {request.parameters.get('symbol', 'conditional')}"
        await self._die()
        self._look_at_lock()
        await self._go_on(kill, request)
        await until(lambda: request.status, "the answer to the held request")
        is_close = request.method == "POST" and kill.held is Held.BEFORE
        self.is_late_order = is_close and request.status == 200

    async def _go_on(self, kill: Kill, held: LoggedRequest) -> None:
        """Start the guard again, and let the held request go when its time has come."""
        match kill.release:
            case Release.AT_ONCE:
                await self.venue.control.release()
                self.guard.start()
            case Release.BEHIND:
                since = len(self.venue.service.log)
                self.guard.start()
                await self._until_replaced(held.method, since=since)
                await self.venue.control.release()
            case Release.AHEAD:
                hold = FaultKind.HOLD_BEFORE
                self._plan(Fault(kind=hold, method=held.method, path=ORDERS, nth=1))
                self.guard.start()
                await self._is_held_before_the_end(count=2)
                await self.venue.control.release([held.n])
                await self.venue.control.release()
            case Release.AFTER_SECOND:
                self._plan(Fault(kind=FaultKind.HOLD_BEFORE, nth=kill.second))
                self.guard.start()
                await self._is_held_before_the_end(count=2)
                await self._die()
                await self.venue.control.release()
                self.guard.start()
            case _:
                assert_never(kill.release)

    def _plan(self, fault: Fault) -> None:
        self.venue.service.plan.add(fault)

    async def _die(self) -> None:
        await self.guard.kill()
        self.kills += 1
        self.venue.service.plan.clear()

    async def _is_held_before_the_end(self, *, count: int = 1) -> bool:
        """Wait for so many held requests, or for the end of an incident that has no such one."""
        service = self.venue.service
        holding = asyncio.create_task(service.wait_until_held(count))
        ending = asyncio.create_task(self._until_ended())
        try:
            await asyncio.wait((holding, ending), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                ending.result()
            return holding.done()
        finally:
            holding.cancel()
            ending.cancel()
            await asyncio.gather(holding, ending, return_exceptions=True)

    async def _until_replaced(self, method: str, *, since: int) -> None:
        """Wait until the new guard got an answer to such a request, or the incident ended."""
        await until(
            lambda: (
                any(
                    request.method == method and request.status
                    for request in self._orders_sent(since=since)
                )
                or self._ended()
            ),
            "an order of the new guard",
            every_s=ASK_EVERY_S / 4,
        )

    def _orders_sent(self, *, since: int = 0) -> list[LoggedRequest]:
        """The orders and cancels that reached the exchange."""
        return [
            request
            for request in self.venue.service.log[since:]
            if request.method in SENDING.split("|") and re.search(ORDERS, request.path)
        ]

    def _ended(self) -> AuditEntry | None:
        """The entry of the incident's end, None while it is open."""
        status = self.guard.status()
        actions = () if status is None else status.actions
        return next((entry for entry in actions if entry.event == "incident_done"), None)

    def _has_ended(self) -> bool:
        process = self.guard.process
        if process is None or process.returncode is not None:
            raise Broken("the guard ended by itself")
        return self._ended() is not None

    async def _until_ended(self) -> None:
        await until(self._has_ended, "the end of the incident", every_s=ASK_EVERY_S)

    # --- the lock ---------------------------------------------------------------------------

    def _look_at_lock(self) -> None:
        try:
            lock = self.guard.lock()
        except (OSError, ValueError) as error:
            self.faults.append(f"the lock cannot be read: {error}")
            return
        self.faults += judge_lock(self.scene, lock, bound=self.bound, now=time.time())
        self.bound = lock

    async def _watch_lock(self) -> None:
        """From the kill on, look at the lock as often as bots would."""
        while True:
            if self.kills:
                self._look_at_lock()
            await asyncio.sleep(LOOK_EVERY_S)

    # --- what came of it --------------------------------------------------------------------

    def told(self, kill: Kill | None, undisturbed: Standing | None) -> Run:
        """The incident as a run."""
        end = self._ended()
        standing = None if end is None else self._standing(end.at)
        if end is not None and undisturbed not in (None, standing):
            self.faults.append(f"left {standing}, undisturbed {undisturbed}")
        return Run(
            kill=kill,
            faults=(*dict.fromkeys(self.faults), *self.guard.faults()),
            standing=standing,
            sent=len(self._orders_sent()),
            died_at=self.died_at,
            kills=self.kills,
            is_late_order=self.is_late_order,
            flat_after_s=self._flat_after_s(),
            ended_after_s=0.0 if end is None else end.at - self.guard.started_at,
        )

    def _standing(self, ended_at: float) -> Standing:
        status, lock = self.guard.status(), self.guard.lock()
        assert status is not None
        (book,) = status.books
        ends = lock["expires_ts"]
        return Standing(
            stage=book.stage.value,
            cooldowns_s=tuple(round(max(0.0, end - ended_at)) for end in book.cooldowns),
            lock=tuple(lock[name] for name in BINDING),
            lock_ends_s=None if ends == FOREVER_TS else round(ends - ended_at),
        )

    def _flat_after_s(self) -> float:
        """When the last execution came, 0 when it was before the last start."""
        fills = [entry for entry in self.venue.exchange.ledger if entry["event"] == "fill"]
        last = max((float(str(entry["at"])) for entry in fills), default=0.0)
        return max(0.0, last - self.guard.started_at)
