"""`--test-mock`: a whole crash against a simulated exchange, on this machine, without keys.

The real guard runs: settings, real exchange library, HTTP, database, lock file. Only the exchange
is a process of our own. The clock stands still while work is done and moves together with the
prices when the guard sleeps, so a quarter of an hour passes in seconds and the same story is told
every time. What is claimed at the end is proved from the exchange's books, its request log and
the lock file alone (`proof`), never from what the guard says of itself.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands.assembly import Assembly, assemble, connect
from commands.test_mock.proof import Evidence, LockSeen, prove_dry_run, prove_live_run
from commands.test_mock.story import Story
from commands.test_mock.unguarded import play_unguarded
from decision import Decision
from errors import KillSwitchError
from logger import configure_logging, get_logger
from model import CloseInstruction, PositionMode, Stage
from settings import Settings, VenueSettings, load_settings
from simulator.book_file import BookFile, BookFileError, default_book, demo_book, load_book, to_seed
from simulator.candles import load_tape
from simulator.control import ControlClient, start_simulator
from simulator.scenarios import DEMO_WAYPOINTS, demo_squeeze
from simulator.tape import Tape, TapeError
from simulator.virtual_time import TapeClock
from venues.binance import BinanceFutures
from venues.protocol import Venue

BOOK = "binance_futures"
KEYS = {"BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"}
RESET_AFTER_S = 60.0
OPERATOR_LOOKS_EVERY_S = 5.0
TAPE_REQUEST_POLL_S = 60.0
"""A tape of days is played without an operator, who would be looked for every second."""
SABOTAGES = ("reduce_only", "side")


def play(
    *,
    tape: Path | None,
    event: str | None,
    begin: str | None,
    end: str | None,
    book: Path | None,
    broken: str | None,
) -> int:
    """Play the demo, or candles; returns the exit code."""
    if broken is not None and broken not in SABOTAGES:
        print(f"--break: write one of {', '.join(SABOTAGES)}", file=sys.stderr)
        return 2
    if tape is None and any(value is not None for value in (event, begin, end, book)):
        print("--event, --from, --to and --book belong to --tape", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="killswitch-demo-"))
    try:
        with (folder / "guard.log").open("w", encoding="utf-8") as log:
            configure_logging(secrets=(), json_output=False, verbose=False, stream=log)
            if tape is None:
                return asyncio.run(_play_demo(folder, broken=broken))
            candles = load_tape(tape, event=event, begin=_time(begin), end=_time(end))
            chosen = load_book(book) if book else default_book(candles)
            return asyncio.run(_play_tape(folder, candles, chosen))
    except (TapeError, BookFileError) as error:
        print(error, file=sys.stderr)
        return 2
    except KillSwitchError as error:
        print(error, file=sys.stderr)
        return 1


def _time(text: str | None) -> float | None:
    """UTC seconds of `2021-05-19`, `2021-05-19T12:30` or a plain number of seconds."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.replace("Z", "")).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise TapeError(f"{text}: not a time -> write it like 2021-05-19T12:30") from None


@dataclass(slots=True)
class Watched:
    """What one run leaves for the proof."""

    evidence: Evidence
    final_equity: float
    equities: list[tuple[float, float]] = field(default_factory=list)


async def _play_demo(folder: Path, *, broken: str | None) -> int:
    tape, book = demo_squeeze(), demo_book()
    book = book.model_copy(update={"position_mode": PositionMode.ONE_WAY})
    story = Story(starts_at=tape.starts_at)
    story.opening(book, tape)
    begins = (0.0, *(point.at_s for point in DEMO_WAYPOINTS))
    captions = {
        tape.starts_at + at_s: point.what
        for at_s, point in zip(begins, DEMO_WAYPOINTS, strict=False)
    }
    story.act("Dry run: it decides and sends nothing")
    dry = await _watch(folder / "dry-run", tape, book, dry_run=True, story=story, captions=captions)
    story.act("Live: the same minutes again, and now it closes")
    live = await _watch(
        folder / "live",
        tape,
        book,
        dry_run=False,
        story=story,
        captions=captions,
        broken=broken,
        resets=True,
    )
    alone = play_unguarded(to_seed(book, tape.prices_at(tape.starts_at)), tape)
    story.comparison(guarded=live.equities, alone=alone)
    claims = (*prove_dry_run(dry.evidence), *prove_live_run(live.evidence))
    story.claims(claims)
    story.where_to_look(folder)
    story.requests_served(dry.evidence.request_counts, live.evidence.request_counts)
    return 0 if all(claim.holds for claim in claims) else 1


async def _play_tape(folder: Path, tape: Tape, book: BookFile) -> int:
    story = Story(starts_at=tape.starts_at, shows_dates=True)
    story.opening(book, tape)
    live = await _watch(folder / "live", tape, book, dry_run=False, story=story)
    alone = play_unguarded(to_seed(book, tape.prices_at(tape.starts_at)), tape)
    story.closings(live.evidence.ledger)
    story.comparison(guarded=live.equities, alone=alone)
    story.where_to_look(folder)
    story.requests_served(live.evidence.request_counts)
    return 0


async def _watch(
    folder: Path,
    tape: Tape,
    book: BookFile,
    *,
    dry_run: bool,
    story: Story,
    captions: Mapping[float, str] | None = None,
    broken: str | None = None,
    resets: bool = False,
) -> Watched:
    """Run the guard over the whole tape against a fresh exchange, and gather the evidence."""
    seed = to_seed(book, tape.prices_at(tape.starts_at))
    async with start_simulator({**seed, "at": tape.starts_at}) as (control, url):
        settings = _settings(folder, url, dry_run=dry_run)
        run = _Run(
            tape=tape,
            control=control,
            story=story,
            captions=dict(captions or {}),
            lock_path=settings.trading_lock_file,
        )
        await run.go(settings, broken=broken, resets=resets)
        state = await control.state()
        requests = await control.requests()
        evidence = Evidence(
            ledger=tuple(await control.ledger()),
            requests=tuple(requests["requests"]),
            request_counts=requests["counts"],
            state=state,
            locks=tuple(run.locks),
        )
        account = next(iter(state["accounts"].values()))
        return Watched(
            evidence=evidence, final_equity=float(account["equity"]), equities=run.equities
        )


def _settings(folder: Path, url: str, *, dry_run: bool) -> Settings:
    """Settings as a user would write them, pointing at the simulator."""
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    path.write_text(
        f"dry_run: {str(dry_run).lower()}\n"
        "exchanges:\n"
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
        tape: Tape,
        control: ControlClient,
        story: Story,
        captions: dict[float, str],
        lock_path: Path,
    ) -> None:
        self._tape = tape
        self._control = control
        self._story = story
        self._captions = captions
        self._lock_path = lock_path
        self._guard: Assembly | None = None
        self.locks: list[LockSeen] = []
        self.equities: list[tuple[float, float]] = []
        self._told_ledger = 0
        self._expects_fills = False

    async def go(self, settings: Settings, *, broken: str | None, resets: bool) -> None:
        """Run until the tape ends."""
        clock = TapeClock(starts_at=self._tape.starts_at, parties=0, advance=self._advance)
        async with assemble(
            settings,
            clock=clock,
            log=get_logger("demo"),
            on_decision=lambda decision: self._see(decision, clock.now()),
            make_venue=_maker(clock, broken),
            request_poll_s=1.0 if resets else TAPE_REQUEST_POLL_S,
            rng=random.Random(0),  # noqa: S311 - the same story twice
        ) as guard:
            self._guard = guard
            clock.parties = guard.guardian.party_count + (1 if resets else 0)
            operator = asyncio.create_task(self._operate(guard, clock)) if resets else None
            await guard.guardian.run()
            if operator is not None:
                operator.cancel()
                await asyncio.gather(operator, return_exceptions=True)

    async def _advance(self, at: float) -> None:
        """Move prices with the clock; the end of the tape ends the run."""
        assert self._guard is not None
        await self._control.set_prices(self._tape.prices_at(at), at=at)
        for told in [moment for moment in self._captions if moment <= at]:
            self._story.caption(told, self._captions.pop(told))
        if self._expects_fills:
            entries = await self._control.ledger(since=self._told_ledger)
            self._told_ledger += len(entries)
            self._story.fills(entries)
        if at >= self._tape.ends_at:
            self._guard.guardian.stop()

    def _see(self, decision: Decision, now: float) -> None:
        """Watch every decision go by, as somebody with a terminal would."""
        for verdict in decision.verdicts:
            if verdict.equity is not None:
                self.equities.append((now, verdict.equity))
        self._story.decision(decision, now)
        self._expects_fills = self._expects_fills or bool(decision.opened)
        self._look_at_lock(now)

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


def _read_lock(path: Path) -> LockSeen | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return LockSeen(
        stage=document["stage"], is_locked=document["locked"], reason=document["reason"]
    )


def _maker(clock: TapeClock, broken: str | None) -> Callable[[VenueSettings], Venue]:
    def make(venue: VenueSettings) -> Venue:
        if broken is None:
            return connect(venue, clock=clock, paces_reads=False)
        return _SabotagedBinance(
            broken,
            scope=venue.scopes[0],
            api_key=venue.api_key.get_secret_value(),
            api_secret=venue.api_secret.get_secret_value(),
            clock=clock,
            stables=venue.stables,
            simulator_url=venue.simulator_url,
            paces_reads=False,
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
