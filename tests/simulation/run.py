"""Plays one story from beginning to end and says what was violated, if anything was."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import InvariantViolation, LockError, StoreError
from memory import IncidentStatus
from simulator.reasons import Rejected
from tests.memory_venue import KEY
from tests.simulation.bots import Bots
from tests.simulation.coins import QUOTE
from tests.simulation.coverage import Tally
from tests.simulation.draw import Story, Transfer, draw_story
from tests.simulation.faults import Fault
from tests.simulation.monitor import Violation
from tests.simulation.trace import Trace
from tests.simulation.world import SERVICE_RESTARTS_S, StoryHouse
from tests.virtual_house import BOOK, EPOCH, play

STEP_S = 1.0
SETTLES_WITHIN_S = 420.0
"""After the last fault: a doubt of 60 s, a flow of 60 s, an incident of 150 s, and another."""
MEMORY_FOLDER = Path("/dev/shm")
UNPLANNED = ("task_failed", "stray_fault", "record_lost", "records_unwritten")
"""Lines of the log that no story plans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a story ended. `digest` identifies the run."""

    seed: int
    violations: tuple[Violation, ...]
    tally: Tally
    digest: str
    lines: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Teller:
    """Lets the events of a story happen when they are due."""

    house: StoryHouse
    bots: Bots
    stray: list[str]
    _prices: int = 0
    _moves: int = 0
    _transfers: int = 0
    _wishes: int = 0
    _jumps: int = 0

    @property
    def story(self) -> Story:
        """What is told."""
        return self.house.story

    async def tell(self) -> None:
        """Go through the story until everything has settled after its end, or something broke."""
        house, monitor = self.house, self.house.monitor
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_stray)
        house.start()
        settled_s = 0.0
        ends_s = self.story.ends_s + SETTLES_WITHIN_S
        while not monitor.violations:
            await asyncio.sleep(STEP_S)
            now_s = loop.time()
            self._happen(now_s)
            self._tend_guard(now_s)
            monitor.look()
            if now_s < self.story.ends_s:
                continue
            settled_s = settled_s + STEP_S if self._is_settled() else 0.0
            if settled_s > 8.0 + self.story.lingers_s:
                break
            if now_s > ends_s:
                why = "" if monitor.switch is None else f": {monitor.switch.unsettled()}"
                monitor.hold(3, f"not settled {SETTLES_WITHIN_S:.0f} s after the last fault{why}")
        await self._stop()

    def _on_stray(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.stray.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- events ---------------------------------------------------------------------------------

    def _happen(self, now_s: float) -> None:
        """Everything that is due: time, prices, bots, transfers, wishes, jumps of the clock."""
        house, story, exchange = self.house, self.story, self.house.exchange
        exchange.set_time(EPOCH + now_s)
        house.apply_machine_faults()
        if house.hands is not None:
            house.hands.move(now_s)
        while self._prices < len(story.prices) and story.prices[self._prices][0] <= now_s:
            exchange.set_prices(story.prices[self._prices][1])
            self._prices += 1
            house.monitor.look_at_fills()
        while self._moves < len(story.moves) and story.moves[self._moves].at_s <= now_s:
            move = story.moves[self._moves]
            self._moves += 1
            if not (move.obeys and house.stops_a_bot()):
                house.note("bot", f"{move.act} {move.number}")
                self.bots.act(move)
                house.monitor.look_at_fills()
        while self._transfers < len(story.transfers):
            transfer = story.transfers[self._transfers]
            if transfer.at_s > now_s:
                break
            self._transfers += 1
            self._transfer(transfer, listed_s=now_s + transfer.listed_after_s)
        while self._wishes < len(story.wishes) and story.wishes[self._wishes].at_s <= now_s:
            wish = story.wishes[self._wishes]
            self._wishes += 1
            if house.current is not None and not house.is_dark:
                house.note("wish", wish.command)
                arguments = dict(wish.arguments)
                house.monitor.truth.by_hand += abs(float(arguments.get("amount", 0))) / 5_000
                house.ask(wish.command, confirm=BOOK if wish.is_confirmed else "", **arguments)
        for number, span in enumerate(story.spans):
            is_jump = span.fault in (Fault.CLOCK_AHEAD, Fault.CLOCK_BACK)
            is_done = self._jumps >> number & 1
            if is_jump and not is_done and span.is_on(now_s, house.phase) and not house.is_dark:
                self._jumps |= 1 << number
                house.met(span.fault)
                house.clock.jump(span.seconds)
                house.monitor.on_jump(span.seconds)
                if house.ticks == 0:
                    house.monitor.truth.on_unseen_jump()

    def _transfer(self, transfer: Transfer, *, listed_s: float) -> None:
        house, truth = self.house, self.house.monitor.truth
        account = house.exchange.account(KEY)
        before = truth.equity()
        with suppress(Rejected):
            house.exchange.transfer(KEY, transfer.asset, transfer.amount)
            record = account.income[-1].record_id
            house.listed_at[record] = listed_s
            truth.on_transfer(transfer.asset, transfer.amount, record, before=before)
            house.tally.counts["coins moved"] += transfer.asset != QUOTE
            unit = "" if transfer.asset == QUOTE else f" {transfer.asset}"
            house.note("transfer", f"{transfer.amount}{unit} listed at {listed_s:.0f}")

    # --- the guard ------------------------------------------------------------------------------

    def _tend_guard(self, now_s: float) -> None:
        """Start a guard where there is none, and look at what the present one has logged."""
        house = self.house
        session = house.session
        assert session is not None
        if not house.is_dark and session.done():
            self._judge_exit(session)
            house.cut(pause_s=SERVICE_RESTARTS_S)
        if house.is_dark:
            # What began in the moment of the power cut is left as well.
            house.keep_dead()
            if now_s >= house.restart_at_s:
                self._bury()
                house.start()
            return
        for event, details in house.log.lines:
            if event in UNPLANNED and not self._is_planned(details):
                house.monitor.hold(8, f"{event} {details}")
        house.log.lines.clear()
        for what in self.stray:
            house.monitor.hold(8, what)

    def _is_planned(self, details: dict[str, Any]) -> bool:
        """Whether a failed task only met the disk that the story has made fail."""
        has_bad_disk = any(span.fault is Fault.STORE_DOWN for span in self.story.spans)
        return has_bad_disk and isinstance(details.get("exc_info"), StoreError)

    def _judge_exit(self, session: asyncio.Task[None]) -> None:
        """An end that nobody asked for: only a lock that cannot be written may bring it."""
        fault = None if session.cancelled() else session.exception()
        is_planned = isinstance(fault, LockError) and any(
            span.fault is Fault.LOCK_FAILS for span in self.story.spans
        )
        if not is_planned:
            self.house.monitor.hold(8, f"the guard ended: {fault!r}")
        self.house.note("exit", repr(fault))

    def _bury(self) -> None:
        """Close the files of a dead run, as the system does for a process."""
        for store in self.house.stores:
            store._store.close()
        for reader in self.house.readers:
            reader._let_go()
        self.house.readers.clear()

    def _is_settled(self) -> bool:
        """Whether nothing is under way any more."""
        house = self.house
        if house.is_dark or house.current is None or house.ticks == 0:
            return False
        memory = house.current.guardian.memory
        book = memory.book(BOOK)
        scope = memory.scope(house.venue.scope)
        is_open = book.incident is not None and book.incident.status is IncidentStatus.OPEN
        is_late = bool(house.monitor.truth.waiting())
        switch = house.monitor.switch
        if switch is not None and switch.unsettled():
            return False
        return not (
            is_open or scope.suspicion or scope.trouble or is_late
            or house.current.recorder.is_behind
        )  # fmt: skip

    async def _stop(self) -> None:
        """Stop the guard in good order, and judge what it leaves."""
        house = self.house
        assert house.session is not None
        if house.monitor.violations or house.is_dark or house.current is None:
            house.power.is_off = True
            return
        house.current.guardian.stop()
        await asyncio.wait((house.session,), timeout=120.0)
        if not house.session.done():
            house.monitor.hold(8, "the guard did not stop")
            return
        if house.session.exception() is not None:
            self._judge_exit(house.session)
        house.monitor.look_at_fills()
        house.monitor.finish()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, with a database that is ready."""
    home = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="killswitch-story-", dir=home) as name:
        yield Path(name)


def simulate(seed: int, *, is_traced: bool = False) -> Result:
    """Play the story of a seed."""
    return simulate_story(draw_story(seed), is_traced=is_traced)


def simulate_story(story: Story, *, is_traced: bool = False) -> Result:
    """Play a story."""
    trace, tally = Trace(is_kept=is_traced), Tally()
    violations: list[Violation] = []
    with folder() as home:

        async def tell() -> None:
            house = StoryHouse(
                folder=home,
                policy=story.policy,
                ways=story.ways,
                seed=story.book.seed,
                story=story,
                tally=tally,
                trace=trace,
            )
            stray: list[str] = []
            try:
                await Teller(
                    house=house,
                    bots=Bots(exchange=house.exchange, book=story.book, ways=story.ways),
                    stray=stray,
                ).tell()
            finally:
                violations.extend(house.monitor.violations)
                house.monitor.close()
                for store in house.stores:
                    store._store.close()
                for reader in house.readers:
                    reader._let_go()

        try:
            play(tell)
        except InvariantViolation as deadlock:
            violations.append(Violation(0.0, 8, f"{deadlock}"))
    tally.counts["stories"] += 1
    tally.venues[f"{story.ways.name} drawn"] += 1
    tally.counts["stories with coins"] += bool(story.book.coins)
    return Result(
        seed=story.seed,
        violations=tuple(violations),
        tally=tally,
        digest=trace.digest,
        lines=tuple(trace.lines),
    )
