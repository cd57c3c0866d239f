"""Reads one scope for the guard's loop: the reading itself, and what only helps to understand it.

Owns deadlines, pauses and retries of reading. Its rules:

- Every failure, of whatever kind, becomes an observation without a reading; it raises nothing but
  InvariantViolation.
- Only the reading is waited for. The venue's records, its market rules and the first greeting are
  fetched beside it; what is late comes with a later observation, so that it delays no close.
- A pause that the venue asked for is kept without asking again; the scope is dark meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, TypeVar

from attempts import Got, Missed, abandon, attempt, attempt_beside
from clock import Clock
from clock_drift import MAX_DRIFT_S
from ledger import ledger_since
from logger import Logger
from memory import ScopeMemory
from model import (
    Ledger,
    MarketLimits,
    PositionMode,
    Reading,
    ScopeId,
    ScopeObservation,
    Symbol,
    Want,
)
from troubles import Troubles
from venues.protocol import Venue

READ_DEADLINE_S = 10.0
GREETING_DEADLINE_S = 3.0
"""The first reading waits so long for the connection and the market rules, then goes ahead."""
HELP_DEADLINE_S = 20.0
"""What is fetched beside readings may take long (a ledger of days has many pages)."""
LEDGER_GRACE_S = 0.3
"""A ledger that arrives this soon after its reading is judged together with it."""
LEDGER_TRIES_S = (2.0, 2.0, HELP_DEADLINE_S)
"""One lost answer must not let a withdrawal pass for a loss: a ledger that fails or is late is
asked for again soon, the last time with patience."""
LEDGER_PAUSES_S = (0.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""The pause after a try that failed, by how many failed in the last minute: a fresh need is met
quickly, and a ledger that goes on failing costs at most ten tries a minute."""
LEDGER_PAUSES_COUNT_S = 60.0
LEDGER_TOLD_AFTER_S = 60.0
"""Records that stay unread for so long while the account is read are no passing trouble: somebody
has to know that a withdrawal would look like a loss."""
FRESH_READ_AFTER_S = 3.0
"""A reading that has not come by then is asked for anew, beside the first: a request that hangs
costs no more, and a venue that is slow but alive is still waited for."""
MARKS_DEADLINE_S = 2.0
LIMITS_MAX_AGE_S = 6 * 3600.0
LIMITS_MIN_PAUSE_S = 60.0
LOG_EVERY = 20
"""Of failures in a row, the first and every so many are logged."""

Value = TypeVar("Value")


class ScopeReader:
    """Everything the loop asks of one scope's venue apart from closing.

    `wants` are the reads that the latest decision asked for; the caller sets them.
    """

    def __init__(
        self, *, scope: ScopeId, venue: Venue, clock: Clock, log: Logger, troubles: Troubles
    ) -> None:
        self.wants: tuple[Want, ...] = (Want.LEDGER,)
        self.limits: Mapping[Symbol, MarketLimits] = {}
        self.position_mode: PositionMode | None = None
        self.failures = 0
        self.quiet_until = float("-inf")
        self._misses: dict[str, int] = {}
        self._scope = scope
        self._venue = venue
        self._clock = clock
        self._log = log
        self._troubles = troubles
        self._is_greeted = False
        self._greeting: asyncio.Task[Got[None] | Missed] | None = None
        self._learning: asyncio.Task[Got[Mapping[Symbol, MarketLimits]] | Missed] | None = None
        self._limits_asked_at = float("-inf")
        self._limits_doubted = True
        self._listing: asyncio.Task[Got[Ledger] | Missed] | None = None
        self._listed_at_offset_s = 0.0
        self._ledger_misses: tuple[float, ...] = ()
        self._ledger_rests_until = float("-inf")
        self._ledger_unread_since = float("inf")

    def close(self) -> None:
        """Give up what is still being fetched."""
        for task in (self._greeting, self._learning, self._listing):
            if task is not None:
                abandon(task)

    def doubt_limits(self) -> None:
        """Have the market rules read again with a next reading, once a minute at most."""
        self._limits_doubted = True

    async def prepare(self) -> bool:
        """Learn before the first reading what closing needs; whether the mode is known."""
        await self._get_ready()
        mode = await attempt(
            self._venue.fetch_position_mode(self._scope),
            within_s=READ_DEADLINE_S,
            what="position mode",
        )
        if isinstance(mode, Got):
            self.position_mode = mode.value
        return self._is_got("position_mode_unread", mode)

    async def observe(
        self, known: ScopeMemory, *, is_second_reading: bool = False
    ) -> ScopeObservation:
        """Read the scope once; `known` is what is remembered of it.

        What was asked for before the machine's clock was set bears times of the old one: an hour
        between two readings that never passed would end any doubt. It is no answer.
        """
        offset_s = self._offset_s()
        seen = await self._observe(known, is_second_reading=is_second_reading)
        if self._is_in_step(offset_s):
            return seen
        return self._without_reading("the clock was set meanwhile", asked_at=self._clock.now())

    def _offset_s(self) -> float:
        return self._clock.now() - self._clock.monotonic()

    def _is_in_step(self, offset_s: float) -> bool:
        return abs(self._offset_s() - offset_s) <= MAX_DRIFT_S

    async def _observe(self, known: ScopeMemory, *, is_second_reading: bool) -> ScopeObservation:
        asked_at = self._clock.now()
        pause_s = self.quiet_until - self._clock.monotonic()
        if pause_s > 0:
            # Nothing is asked, so nothing fails: the pause itself must not lengthen what follows.
            why = f"the venue asked for a pause, {pause_s:.0f} s of it are left"
            return self._without_reading(why, asked_at=asked_at)
        await self._get_ready()
        asked_at = self._clock.now()
        self.begin_ledger(known)
        got = await attempt_beside(
            lambda: self._venue.fetch_reading(self._scope),
            within_s=READ_DEADLINE_S,
            again_after_s=FRESH_READ_AFTER_S,
            what="reading",
        )
        ledger = await self._ledger(grace_s=LEDGER_GRACE_S if isinstance(got, Got) else 0.0)
        if isinstance(got, Missed):
            self.quiet_until = self._clock.monotonic() + got.retry_after_s
            self.failures += 1
            self._tell("scope_unavailable", why=got.why, failures=self.failures)
            return self._without_reading(got.why, asked_at=asked_at, ledger=ledger)
        reading = got.value
        if self.failures and not known.blind_alerted:
            # Once it was blind the audit tells that it sees again.
            why = f"read again after {self.failures} failures"
            self._log.info("scope_available", scope=self._scope, why=why)
        self.failures = 0
        self.position_mode = reading.position_mode
        is_missing = any(position.symbol not in self.limits for position in reading.positions)
        self._learn_limits(is_missing=is_missing)
        return ScopeObservation(
            scope=self._scope,
            asked_at=max(asked_at, reading.asked_at),
            reading=reading,
            marks=await self._read_marks(known, reading),
            ledger=ledger,
            limits=self.limits,
            is_second_reading=is_second_reading,
        )

    def _without_reading(
        self, why: str, *, asked_at: float, ledger: Ledger | None = None
    ) -> ScopeObservation:
        """An observation of nothing, and why."""
        return ScopeObservation(
            scope=self._scope,
            asked_at=asked_at,
            reading=None,
            failure=why,
            ledger=ledger,
            limits=self.limits,
        )

    def _is_got(self, event: str, outcome: Got[Any] | Missed) -> bool:
        """Whether it was read; of misses in a row, the first and every so many are logged."""
        if isinstance(outcome, Got):
            self._misses.pop(event, None)
            return True
        count = self._misses[event] = self._misses.get(event, 0) + 1
        self._tell(event, why=outcome.why, failures=count)
        return False

    def _tell(self, event: str, *, why: str, failures: int) -> None:
        if failures == 1 or failures % LOG_EVERY == 0:
            self._log.warning(event, scope=self._scope, failures=failures, why=why)

    # --- what helps ---------------------------------------------------------------------------

    async def _get_ready(self) -> None:
        """Greet the venue and learn its rules; where that fails, reading is tried all the same."""
        if self._is_greeted:
            return
        if self._greeting is None:
            self._greeting = self._fetch(self._venue.start(), "connection")
        self._learn_limits(is_missing=False)
        waiting = {task for task in (self._greeting, self._learning) if task is not None}
        await asyncio.wait(waiting, timeout=GREETING_DEADLINE_S)
        self._take_limits()
        if self._greeting is not None and self._greeting.done():
            greeted = self._greeting.result()
            self._greeting = None
            self._is_greeted = self._is_got("connection_unready", greeted)

    def _fetch(
        self, work: Coroutine[Any, Any, Value], what: str
    ) -> asyncio.Task[Got[Value] | Missed]:
        return asyncio.create_task(attempt(work, within_s=HELP_DEADLINE_S, what=what))

    def _learn_limits(self, *, is_missing: bool) -> None:
        """Have the market rules read again when they are old, or lack a symbol that is held."""
        self._take_limits()
        age_s = self._clock.monotonic() - self._limits_asked_at
        is_urgent = is_missing or self._limits_doubted
        if self._learning is None and age_s >= (
            LIMITS_MIN_PAUSE_S if is_urgent else LIMITS_MAX_AGE_S
        ):
            self._limits_asked_at = self._clock.monotonic()
            self._learning = self._fetch(self._venue.fetch_market_limits(), "market rules")

    def _take_limits(self) -> None:
        if self._learning is None or not self._learning.done():
            return
        learnt = self._learning.result()
        self._learning = None
        self._limits_doubted = not self._is_got("limits_unavailable", learnt)
        if isinstance(learnt, Got):
            self.limits = learnt.value

    def begin_ledger(self, known: ScopeMemory) -> None:
        """Ask for the records if they are wanted; what failed meanwhile is in nobody's way."""
        if self._listing is not None and self._listing.done():
            listed = self._listing.result()
            if isinstance(listed, Missed):
                self._listing = None
                self._take_listed(listed)
        if Want.LEDGER in self.wants and self._listing is None:
            self.wants = tuple(want for want in self.wants if want is not Want.LEDGER)
            since = ledger_since(known, now=self._clock.now())
            self._listing = asyncio.create_task(self._list(since))
            self._listed_at_offset_s = self._offset_s()

    async def wait_for_ledger(
        self, known: ScopeMemory, *, reaching: float, until: float
    ) -> Ledger | None:
        """Wait for records that were asked for since `reaching` (UTC), asking if nobody has.

        At most `until`, on the monotonic clock; None when none come at all.
        """
        ledger: Ledger | None = None
        while (left_s := until - self._clock.monotonic()) > 0:
            self.wants = tuple(dict.fromkeys((*self.wants, Want.LEDGER)))
            self.begin_ledger(known)
            ledger = await self._ledger(grace_s=left_s) or ledger
            if ledger is not None and ledger.asked_at >= reaching:
                break
        return ledger

    async def _list(self, since: float) -> Got[Ledger] | Missed:
        """The venue's records; tried again soon unless the venue asked for a pause."""
        for within_s in LEDGER_TRIES_S:
            await self._clock.sleep(self._ledger_rests_until - self._clock.monotonic())
            work = self._venue.fetch_ledger(self._scope, since)
            listed = await attempt(work, within_s=within_s, what="ledger")
            if isinstance(listed, Missed):
                self._rest_from_ledger(listed.retry_after_s)
            if isinstance(listed, Got) or listed.retry_after_s:
                break
        return listed

    def _rest_from_ledger(self, asked_s: float) -> None:
        """Let the next try wait, as the venue asked or by how often it failed of late."""
        now = self._clock.monotonic()
        recent = [at for at in self._ledger_misses if at > now - LEDGER_PAUSES_COUNT_S]
        self._ledger_misses = (*recent, now)
        own_s = LEDGER_PAUSES_S[min(len(self._ledger_misses), len(LEDGER_PAUSES_S) - 1)]
        self._ledger_rests_until = now + max(asked_s, own_s)

    async def _ledger(self, *, grace_s: float) -> Ledger | None:
        """The venue's records if they have arrived."""
        if self._listing is None:
            return None
        await asyncio.wait((self._listing,), timeout=grace_s)
        if not self._listing.done():
            return None
        listed = self._listing.result()
        self._listing = None
        self._take_listed(listed)
        if not self._is_in_step(self._listed_at_offset_s):
            self.wants = (*self.wants, Want.LEDGER)
            return None
        return listed.value if isinstance(listed, Got) else None

    def _take_listed(self, listed: Got[Ledger] | Missed) -> None:
        """Tell of records that cannot be read: in the log at once, as a trouble when it lasts."""
        self._is_got("ledger_unavailable", listed)
        if isinstance(listed, Got):
            self._ledger_unread_since = float("inf")
            self._troubles.end("ledger", scope=self._scope)
            return
        now = self._clock.monotonic()
        self._ledger_unread_since = min(self._ledger_unread_since, now)
        # An account that cannot be read at all is blind, and that is told already.
        if not self.failures and now - self._ledger_unread_since >= LEDGER_TOLD_AFTER_S:
            self._troubles.begin("ledger", listed.why, scope=self._scope)

    async def _read_marks(self, known: ScopeMemory, reading: Reading) -> Mapping[Symbol, float]:
        """Price what the last trusted reading held and this one does not, coins included.

        Positions and coins apart: a coin that nobody prices any more must not take from a position
        that was closed the mark it counts to.
        """
        last = known.last_trusted
        if last is None:
            return {}
        positions = {row.symbol for row in last.positions} - {r.symbol for r in reading.positions}
        coins = {coin.asset for coin in last.coins} - {coin.asset for coin in reading.coins}
        found = await asyncio.gather(
            self._read_marks_of(positions), self._read_marks_of({Symbol(coin) for coin in coins})
        )
        return {**found[0], **found[1]}

    async def _read_marks_of(self, gone: Collection[Symbol]) -> Mapping[Symbol, float]:
        if not gone:
            return {}
        marks = await attempt(
            self._venue.fetch_marks(sorted(gone)), within_s=MARKS_DEADLINE_S, what="marks"
        )
        self._is_got("marks_unavailable", marks)
        return marks.value if isinstance(marks, Got) else {}
