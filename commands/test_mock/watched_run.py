"""One run of the real guard against a simulated exchange, on a clock that moves with a tape.

Owns the exchange's process, the guard's assembly, the operator of the demo and the sabotaged
exchange that proves the proof. Equity is taken from the exchange's books at every move of the
clock, never from what the guard believes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.assembly import Assembly, MakeVenue, access_of, assemble, connect
from commands.test_mock.proof import Evidence, LockSeen
from commands.test_mock.story import Progress, Story
from commands.test_mock.unguarded import corners_of
from decision import Decision
from logger import get_logger
from memory import IncidentStatus, Memory
from model import CloseInstruction, ScopeId, Stage
from settings import Settings, VenueSettings, load_settings
from simulator.book_file import BookFile, to_seed
from simulator.control import ControlClient, start_simulator
from simulator.tape import Tape
from simulator.virtual_time import TapeClock
from venues.binance import BinanceFutures
from venues.protocol import Venue

BOOK = "binance_futures"
KEYS = {"BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"}
RESET_AFTER_S = 60.0
OPERATOR_LOOKS_EVERY_S = 5.0
TAPE_REQUEST_POLL_S = 3600.0
"""A tape of days is played without an operator, who would be looked for every second."""
SABOTAGES = ("reduce_only", "side")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is played, and how; `broken` is one of SABOTAGES.

    `polls` are the seconds between readings, ordinary and on alert, None for the defaults.
    `has_operator` brings somebody who resets the book after stage 3; without one the run ends as
    soon as nothing is held and nothing can change any more.
    """

    tape: Tape
    book: BookFile
    dry_run: bool
    polls: tuple[int, int] | None = None
    captions: Mapping[float, str] | None = None
    broken: str | None = None
    has_operator: bool = False

    def seed(self) -> dict[str, Any]:
        """The exchange at the start of the tape."""
        prices = self.tape.prices_at(self.tape.starts_at)
        return {**to_seed(self.book, prices), "at": self.tape.starts_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one run leaves for proof and comparison.

    `equities` are (time, equity) by the exchange's books; `over_at` is when everything was closed
    for good, None when the tape was played to its end.
    """

    evidence: Evidence
    equities: tuple[tuple[float, float], ...]
    over_at: float | None


async def watch(folder: Path, plan: Plan, *, story: Story, progress: Progress) -> Watched:
    """Run the guard over the tape against a fresh exchange, and gather the evidence."""
    async with start_simulator(plan.seed()) as (control, url):
        settings = _settings(folder, url, plan)
        run = _Run(
            plan=plan,
            control=control,
            story=story,
            progress=progress,
            lock_path=settings.trading_lock_file,
        )
        await run.go(settings)
        state = await control.state()
        requests = await control.requests()
        return Watched(
            evidence=Evidence(
                ledger=tuple(await control.ledger()),
                requests=tuple(requests["requests"]),
                request_counts=requests["counts"],
                state=state,
                locks=tuple(run.locks),
            ),
            equities=(*run.equities, (plan.tape.ends_at, equity_of(state))),
            over_at=run.over_at,
        )


def equity_of(state: Mapping[str, Any]) -> float:
    """The equity of the only account, as the exchange states it."""
    return float(next(iter(state["accounts"].values()))["equity"])


def _settings(folder: Path, url: str, plan: Plan) -> Settings:
    """Settings as a user would write them, pointing at the simulator."""
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    polls = "" if plan.polls is None else "poll_seconds: {}\nalert_poll_seconds: {}\n"
    path.write_text(
        f"dry_run: {str(plan.dry_run).lower()}\n"
        + polls.format(*(plan.polls or ()))
        + "exchanges:\n"
        "  binance:\n"
        "    enabled: true\n"
        f"    simulator_url: {url}\n",
        encoding="utf-8",
    )
    return load_settings(path, KEYS)


class _Run:
    """One run of the guard on the tape's clock."""

    def __init__(
        self,
        *,
        plan: Plan,
        control: ControlClient,
        story: Story,
        progress: Progress,
        lock_path: Path,
    ) -> None:
        self._plan = plan
        self._tape = plan.tape
        self._control = control
        self._story = story
        self._progress = progress
        self._captions = dict(plan.captions or {})
        self._corners = deque(corners_of(plan.tape))
        self._lock_path = lock_path
        self._guard: Assembly | None = None
        self.locks: list[LockSeen] = []
        self.equities: list[tuple[float, float]] = []
        self.over_at: float | None = None
        self._told_ledger = 0
        self._expects_fills = False

    async def go(self, settings: Settings) -> None:
        """Run until the tape ends, or nothing on it can matter any more."""
        clock = TapeClock(starts_at=self._tape.starts_at, parties=0, advance=self._advance)
        has_operator = self._plan.has_operator
        self.equities.append((clock.now(), float(self._plan.book.equity)))
        async with assemble(
            settings,
            clock=clock,
            log=get_logger("demo"),
            on_decision=lambda decision: self._see(decision, clock.now()),
            make_venue=_maker(clock, self._plan.broken),
            request_poll_s=1.0 if has_operator else TAPE_REQUEST_POLL_S,
            switch_look_s=TAPE_REQUEST_POLL_S,
            rng=random.Random(0),  # noqa: S311 - the same story twice
        ) as guard:
            self._guard = guard
            clock.parties = guard.guardian.party_count + (1 if has_operator else 0)
            operator = asyncio.create_task(self._operate(guard, clock)) if has_operator else None
            await guard.guardian.run()
            if operator is not None:
                operator.cancel()
                await asyncio.gather(operator, return_exceptions=True)

    async def _advance(self, at: float) -> None:
        """Move prices with the clock; the end of the tape ends the run."""
        assert self._guard is not None
        while self._corners and self._corners[0] < at:
            await self._set_prices(self._corners.popleft())
        await self._set_prices(at)
        self._progress.move(at)
        for told in [moment for moment in self._captions if moment <= at]:
            self._story.caption(told, self._captions.pop(told))
        if self._expects_fills:
            entries = await self._control.ledger(since=self._told_ledger)
            self._told_ledger += len(entries)
            self._story.fills(entries)
            self._expects_fills = _has_open_incident(self._guard.guardian.memory)
        if at >= self._tape.ends_at:
            self._guard.guardian.stop()

    async def _set_prices(self, at: float) -> None:
        """Move the market and note what the exchange says the account is worth then."""
        state = await self._control.set_prices(self._tape.prices_at(at), at=at)
        self.equities.append((at, equity_of(state)))

    def _see(self, decision: Decision, now: float) -> None:
        """Watch every decision go by, as somebody with a terminal would."""
        self._story.decision(decision, now)
        self._expects_fills = self._expects_fills or bool(decision.opened)
        self._look_at_lock(now)
        if not self._plan.has_operator and self.over_at is None and _is_over(decision.memory):
            assert self._guard is not None
            self.over_at = now
            self._guard.guardian.stop()

    def _look_at_lock(self, now: float) -> None:
        """Read the lock file as a bot does; told when it says something new."""
        seen = _read_lock(self._lock_path)
        if seen is None or (self.locks and seen == self.locks[-1]):
            return
        if self.locks or seen.is_locked:
            self._story.lock(is_locked=seen.is_locked, reason=seen.reason, now=now)
        self.locks.append(seen)

    async def _operate(self, guard: Assembly, clock: TapeClock) -> None:
        """Be the operator: reset the book a minute after everything was closed."""
        while True:
            await clock.sleep(OPERATOR_LOOKS_EVERY_S)
            book = guard.guardian.memory.book(guard.policy.books[0].name)
            if book.stage is Stage.ALL_CLOSED and book.incident is None:
                break
            ended = book.incident is not None and book.incident.ended_at is not None
            if book.stage is Stage.ALL_CLOSED and ended:
                break
        await clock.sleep(RESET_AFTER_S)
        await guard.store.add_request(
            at=clock.now(),
            actor="operator@demo",
            command="reset",
            arguments=(("book", BOOK), ("reason", "demo: positions checked")),
            confirmation=BOOK,
        )
        while True:
            await clock.sleep(3600.0)


def _has_open_incident(memory: Memory) -> bool:
    return any(
        book.incident is not None and book.incident.status is IncidentStatus.OPEN
        for book in memory.books
    )


def _is_over(memory: Memory) -> bool:
    """Nothing is held, nothing is being closed, and no re-arm is still to come."""
    readings = [scope.last_trusted for scope in memory.scopes]
    is_flat = all(reading is not None and not reading.positions for reading in readings)
    is_settled = all(book.stage in (Stage.NORMAL, Stage.ALL_CLOSED) for book in memory.books)
    return bool(readings) and is_flat and is_settled and not _has_open_incident(memory)


def _read_lock(path: Path) -> LockSeen | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return LockSeen(
        stage=document["stage"], is_locked=document["locked"], reason=document["reason"]
    )


def _maker(clock: TapeClock, broken: str | None) -> MakeVenue:
    def make(venue: VenueSettings, scope: ScopeId) -> Venue:
        if broken is None:
            return connect(venue, scope, clock=clock, is_paced=False)
        return _SabotagedBinance(
            broken,
            scope=scope,
            access=access_of(venue, is_paced=False),
            clock=clock,
            stables=venue.stables,
        )

    return make


class _SabotagedBinance(BinanceFutures):
    """Sends wrong orders on purpose, so that the proof can be seen to notice."""

    def __init__(self, sabotage: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._sabotage = sabotage

    def _close_params(self, instruction: CloseInstruction) -> dict[str, str | int]:
        params = super()._close_params(instruction)
        if self._sabotage == "side":
            params["side"] = "SELL" if params["side"] == "BUY" else "BUY"
        params.pop("reduceOnly", None)
        return params
