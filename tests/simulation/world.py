"""The world of one story: the house, its venue and its store, with faults and power cuts in them.

Everything that the guard does to the outside passes here: what it sends, commits and writes. Each
is noted in the trace, shown to the monitor, and may be the moment at which the power fails.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from decision import Decision
from errors import LockError, Malformed, StoreError, Unavailable
from memory import IncidentStatus, Records
from model import (
    CloseInstruction,
    Done,
    IncidentId,
    Ledger,
    Outcome,
    Refused,
    ScopeId,
    Unknown,
    outcome_word,
)
from simulator.state import AccountView
from store.switch_reader import SwitchReader
from tests.memory_venue import KEY, Deed, MemoryVenue, Planned
from tests.simulation.coverage import Tally
from tests.simulation.draw import Crash, Effect, Story
from tests.simulation.faults import Fault, Misfortune, Phase
from tests.simulation.monitor import Monitor
from tests.simulation.switching import Hands, StoryRedis
from tests.simulation.trace import Trace
from tests.virtual_house import BOOK, EPOCH, Guard, House, Logbook, TroubledStore

SERVICE_RESTARTS_S = 5.0
"""After an exit of its own the service manager starts the guard again."""

STORY_LOOKS_EVERY_S = 0.5
"""Half as often as in life: looks at the switch would be half of what a story costs."""


@dataclass(kw_only=True)
class StoryVenue(MemoryVenue):
    """The venue of a story. Its own clock is right, whatever becomes of the guard's."""

    house: StoryHouse
    misfortune: Misfortune

    def venue_now(self) -> float:
        """The venue's time."""
        return EPOCH + self.clock.monotonic()

    def _earlier(self, seconds: float) -> AccountView:
        return self.exchange.view(KEY, as_of=self.venue_now() - seconds)

    def _meet(self, name: str, about: str) -> Planned | None:
        return self.misfortune.meet(name)

    async def fetch_ledger(self, scope: ScopeId, since: float) -> Ledger:
        """The records that are listed by now, at the guard's time, as its adapter does it."""
        offset_s = self.clock.now() - self.venue_now()
        asked_at = self.clock.now()
        ledger = await super().fetch_ledger(scope, since - offset_s)
        now_s = self.clock.monotonic()
        entries = tuple(
            replace(entry, at=entry.at + offset_s)
            for entry in ledger.entries
            if self.house.listed_at.get(int(entry.record_id), 0.0) <= now_s
        )
        self.house.monitor.truth.told.update(int(entry.record_id) for entry in entries)
        return replace(ledger, since=since, asked_at=asked_at, entries=entries)

    async def _send_closes(
        self, name: str, instructions: Sequence[CloseInstruction]
    ) -> tuple[Outcome, ...]:
        # A batch is begun a moment after its call, and the power may have failed in between.
        await self.house.power.needed()
        for instruction in instructions:
            self.house.monitor.on_instruction(instruction)
        return await super()._send_closes(name, instructions)

    async def _read(self, name: str, about: str = "") -> AccountView:
        answer = "given up"
        try:
            view = await super()._read(name, about)
            answer = "ok"
            return view
        except (Unavailable, Malformed) as fault:
            answer = type(fault).__name__
            raise
        finally:
            self.house.note("read", f"{name} {about} {answer}")

    async def _submit_together(
        self, name: str, about: str, deed: Deed, count: int
    ) -> tuple[Outcome, ...]:
        house = self.house
        kind = Effect.ORDER if name.startswith("submit_close") else Effect.CANCEL
        house.monitor.on_send(name, about)

        arrived = 0

        def carry_out() -> tuple[Outcome, ...]:
            nonlocal arrived
            arrived += 1
            if house.may_cut(kind, is_after=False):
                return (Unknown(cause="the power failed"),) * count
            try:
                return deed()
            finally:
                house.monitor.look_at_fills(is_repeated=arrived > 1)
                house.may_cut(kind, is_after=True)

        outcomes = await super()._submit_together(name, about, carry_out, count)
        for outcome in outcomes:
            house.note("sent", f"{name} {about} {outcome_word(outcome)} {_reason(outcome)}")
            house.tally.outcomes[outcome_word(outcome)] += 1
            if isinstance(outcome, Refused):
                house.tally.refusals[outcome.reason.value] += 1
        return outcomes


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Refused():
            return outcome.reason.value
        case Done():
            return "" if outcome.filled is None else f"{outcome.filled:f}"
        case _:
            return ""


class StoryStore(TroubledStore):
    """The real store on a disk that may fail as a story has drawn it."""

    house: StoryHouse

    async def _disk(self) -> None:
        for fault, is_met in (
            (Fault.STORE_DOWN, self.is_down),
            (Fault.STORE_SLOW, self.delay_s > 0),
            (Fault.STORE_HANGS, self.is_hanging),
        ):
            if is_met and not self.is_dead:
                self.house.met(fault)
        await super()._disk()

    def _commit(self, records: Records) -> None:
        if self.is_dead or self.house.may_cut(Effect.COMMIT, is_after=False):
            raise StoreError("the power failed")
        super()._commit(records)
        self.house.note("commit", say_records(records))
        self.house.monitor.on_commit(records)
        self.house.may_cut(Effect.COMMIT, is_after=True)


def say_records(records: Records) -> str:
    """What a commit held, in one line."""
    parts = [f"{len(records.readings)} readings"] if records.readings else []
    parts += [f"stage {book.stage.value}" for book in records.books]
    parts += [f"incident {i.incident_id} {i.status} r{i.rounds}" for i in records.incidents]
    parts += [
        f"{o.client_id} {'?' if o.outcome is None else outcome_word(o.outcome)}"
        for o in records.orders
    ]
    parts += [f"[{entry.event}]" for entry in records.audits]
    return ", ".join(parts)


@dataclass(kw_only=True)
class StoryHouse(House):
    """A house in which a story happens. `tally` and `trace` outlive it."""

    story: Story
    tally: Tally
    trace: Trace
    store_type: type[TroubledStore] = StoryStore
    monitor: Monitor = field(init=False)
    misfortune: Misfortune = field(init=False)
    current: Guard | None = None
    session: asyncio.Task[None] | None = None
    stores: list[StoryStore] = field(default_factory=list)
    runs: int = 0
    ticks: int = 0
    left_open: frozenset[IncidentId] = frozenset()
    restart_at_s: float = 0.0
    crashes: list[Crash] = field(default_factory=list)
    counted: int = 0
    listed_at: dict[int, float] = field(default_factory=dict)
    dead: list[asyncio.Task[Any]] = field(default_factory=list)
    readers: list[SwitchReader] = field(default_factory=list)
    hands: Hands | None = None

    def __post_init__(self) -> None:
        self.crashes = list(self.story.crashes)
        self.misfortune = Misfortune(
            spans=self.story.spans,
            rng=random.Random(f"{self.story.seed} calls"),
            now_s=self.clock.monotonic,
            phase=lambda: self.phase,
            met=self.met,
        )
        super().__post_init__()
        switch = self.story.switch
        if switch is not None:
            self.has_switch, self.look_every_s = True, STORY_LOOKS_EVERY_S
            redis = StoryRedis(clock=self.clock, value=switch.value, house=self)
            self.redis = redis if switch.has_redis else None
            self.hands = Hands(house=self, switch=switch, redis=redis if self.redis else None)
        self.monitor = Monitor(
            story=self.story,
            exchange=self.exchange,
            tally=self.tally,
            db_path=self.db_path,
            now_s=self.clock.monotonic,
            wall=self.clock.now,
            note=self.note,
            phase=lambda: self.phase,
            memory=lambda: None if self.current is None else self.current.guardian.memory,
            lock=self.read_lock,
        )

    def _make_venue(self) -> MemoryVenue:
        return StoryVenue(
            exchange=self.exchange,
            clock=self.clock,
            ways=self.ways,
            latency_s=self.story.latency_s,
            house=self,
            misfortune=self.misfortune,
        )

    def note(self, kind: str, text: str) -> None:
        """Write a line of the trace; what a dead run still does has no effect and no line."""
        if not self.is_dark:
            self.trace.note(self.clock.monotonic(), kind, text)

    def read_lock(self) -> dict[str, Any] | None:
        """The lock document on disk, None before the first. Raises ValueError if it is none."""
        if not self.lock_path.exists():
            return None
        document: dict[str, Any] = json.loads(self.lock_path.read_text(encoding="utf-8"))
        return document

    # --- what goes wrong ------------------------------------------------------------------------

    @property
    def is_dark(self) -> bool:
        """Whether the present run lost its power."""
        return self.runs > 0 and self.power.is_off

    @property
    def phase(self) -> Phase:
        """What the guard is about."""
        if self.current is None:
            return Phase.RECOVERING if self.runs > 1 else Phase.CALM
        book = self.current.guardian.memory.book(BOOK)
        incident = book.incident
        is_open = incident is not None and incident.status is IncidentStatus.OPEN
        is_old = incident is not None and incident.incident_id in self.left_open
        if self.runs > 1 and (self.ticks == 0 or (is_open and is_old)):
            return Phase.RECOVERING
        if is_open:
            return Phase.CLOSING
        return Phase.CONFIRMING if book.streaks else Phase.CALM

    def met(self, fault: Fault) -> None:
        """A fault struck."""
        if self.is_dark:
            return
        self.tally.faults[fault, self.phase] += 1
        self.note("fault", fault.value)
        self.monitor.on_fault(fault)

    def apply_machine_faults(self) -> None:
        """Let the machine be as ill as the story says; what changes is noted by who meets it."""
        now_s, phase = self.clock.monotonic(), self.phase
        on = {span.fault: span for span in self.story.spans if span.is_on(now_s, phase)}
        for store in self.stores:
            store.is_down = Fault.STORE_DOWN in on
            store.is_hanging = Fault.STORE_HANGS in on
            slow = on.get(Fault.STORE_SLOW)
            store.delay_s = 0.0 if slow is None else slow.seconds
        self.lock_fails = Fault.LOCK_FAILS in on
        lagging = on.get(Fault.LOCK_SLOW)
        self.lock_delay_s = 0.0 if lagging is None else lagging.seconds

    def _store_rng(self) -> random.Random:
        return random.Random(f"{self.story.seed} store {self.runs}")

    def _look_after(self, store: TroubledStore) -> None:
        assert isinstance(store, StoryStore)
        store.house = self
        self.stores = [store]
        self.apply_machine_faults()

    async def _replace_lock(self, document: Mapping[str, object]) -> None:
        power = self.power
        if self.lock_delay_s:
            self.met(Fault.LOCK_SLOW)
            await self.clock.sleep(self.lock_delay_s)
        await power.needed()
        if self.lock_fails:
            self.met(Fault.LOCK_FAILS)
            raise LockError("Read-only file system", number=30)
        if self.may_cut(Effect.LOCK, is_after=False):
            await power.needed()
        before = self.read_lock()
        delay_s, self.lock_delay_s = self.lock_delay_s, 0.0
        await super()._replace_lock(document)
        self.lock_delay_s = delay_s
        self.note("lock", f"{document['mode']} {document['stage']} {document['locked']}")
        self.monitor.on_lock(before)
        if self.may_cut(Effect.LOCK, is_after=True):
            await power.needed()

    # --- power ----------------------------------------------------------------------------------

    def may_cut(self, effect: Effect, *, is_after: bool) -> bool:
        """Cut the power if this is the moment that the story has drawn; whether it was."""
        now_s = self.clock.monotonic()
        if self.is_dark or not self.crashes or now_s >= self.story.ends_s:
            return False
        crash = self.crashes[0]
        if (crash.effect, crash.is_after) != (effect, is_after) or now_s < crash.from_s:
            return False
        phase = self.phase
        if crash.in_closing and phase not in (Phase.CLOSING, Phase.RECOVERING):
            return False
        self.counted += 1
        if self.counted < crash.ordinal:
            return False
        self.tally.crashes[effect, "after" if is_after else "before", phase] += 1
        self.note("crash", f"{'after' if is_after else 'before'} {effect} {phase}")
        self.crashes.pop(0)
        self.cut(pause_s=crash.pause_s)
        return True

    def cut(self, *, pause_s: float) -> None:
        """End this run as a power cut does."""
        self.counted = 0
        self.monitor.on_cut()
        self.power.is_off = True
        for store in self.stores:
            store.is_dead = True
        if self.session is not None:
            self.session.cancel()
        self.keep_dead()
        self.restart_at_s = self.clock.monotonic() + pause_s

    def keep_dead(self) -> None:
        """Keep what is left of a run: it hangs for ever, and as garbage would come to its end."""
        self.dead = list(asyncio.all_tasks())

    def start(self) -> None:
        """Begin a run of the guard."""
        self.runs += 1
        self.ticks = 0
        self.current = None
        self.log = Logbook()
        self.on_decision = partial(self._decided, self.runs)
        self.session = asyncio.create_task(self._session(self.runs))

    async def _session(self, run: int) -> None:
        guard = await self.assemble()
        self.readers.append(guard.switch)
        if run != self.runs or self.power.is_off:
            return
        self.current = guard
        self.left_open = frozenset(
            book.incident.incident_id
            for book in guard.guardian.memory.books
            if book.incident is not None
        )
        self.note("start", f"run {run}, stage {guard.book.stage.value}, {guard.notices}")
        self.monitor.on_start()

        def count(_scope: ScopeId) -> None:
            self.ticks += 1

        await guard.guardian.run(on_tick_end=count)

    def _decided(self, run: int, decision: Decision) -> None:
        if run == self.runs and not self.is_dark:
            self.monitor.on_decision(decision)
