"""What `status` has to say, as one frozen value; screen and JSON are two ways to write it.

Owns what follows from the database, the lock file and the state directory taken together: which
kind of run is shown, what is trusted right now, what is blind, and what deserves a warning.
Drawdowns come from the same pure function that the guard decides with, over the same points, at
the time of the last trusted reading: they are what the guard judged, not an estimate of now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from commands.status.lock import LockFileView
from commands.status.machine import LATE_WRITE_S, warn_of_machine
from commands.status.switch import SwitchView, view_switch, warn_of_switch
from commands.status.wording import say_span
from drawdown import CARRY_S, STREAK_LIFE_S, WindowDrawdown, compute_drawdowns
from exposure import compute_exposure
from flows import sum_pending
from memory import AuditEntry, BookMemory, Incident, IncidentStatus, ScopeMemory, Streak, Suspicion
from model import OperatorRequest, Reading, RowKey, ScopeId, Side, Stage, Trust
from policy import AccountKind, BookPolicy, Policy
from state_lock import Holder
from store.views import OrderTally, ScopeStatus, StoreStatus

STUCK_S = 30.0
"""An incident that has come no further for so long needs a person's eyes (behaviour.md 10)."""
CLOCK_OFF_S = 5.0
"""A machine's clock that is further off the exchange's is worth a person's while."""
LATE_ANSWER_S = 10.0
"""A command waits so long for its answer; a request that is older was left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Positions and coins of the last trusted reading, in quote money at their mark prices."""

    at: float
    long_count: int
    short_count: int
    long_notional: float
    short_notional: float
    net_exposure: float
    unrealised_pnl: float
    quantities: tuple[tuple[str, Side, str], ...]
    unpriced: tuple[str, ...] = ()

    @staticmethod
    def of(reading: Reading) -> Holdings:
        """Add up what a reading holds; coins count as longs."""
        rows = reading.rows()
        longs = [row for row in rows if row.key.side is Side.LONG]
        shorts = [row for row in rows if row.key.side is Side.SHORT]
        return Holdings(
            at=reading.asked_at,
            long_count=len(longs),
            short_count=len(shorts),
            long_notional=sum(row.notional for row in longs),
            short_notional=sum(row.notional for row in shorts),
            net_exposure=compute_exposure(readings=(reading,), remains={}).total,
            unrealised_pnl=sum(row.unrealised_pnl for row in rows),
            quantities=(
                *((p.symbol, p.side, f"{p.quantity:f}") for p in reading.positions),
                *((coin.asset, Side.LONG, f"{coin.sellable:f}") for coin in reading.coins),
            ),
            unpriced=reading.unpriced,
        )

    def quantity(self, symbol: str, side: Side) -> str:
        """What is held of one position, `0` when it is not among them."""
        return next((q for s, d, q in self.quantities if (s, d) == (symbol, side)), "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeView:
    """One account. `trust` is what the guard would say of its latest reading at this moment.

    `equity` is the last trusted value and `equity_at` its time, None before the first one.
    `reported_equity` is what a doubted reading claims and `unexplained` its unexplained part;
    `suspected_since` is None while there is no doubt, and `believed_at` the latest moment at which
    it ends if the next readings say the same. `unread` is why the latest attempt brought no
    reading, in the venue's own words. `silent_s` is the time without a trusted reading in this run,
    None while nobody watches. `server_offset_s` is the venue's clock minus ours, None if unknown.
    """

    scope: ScopeId
    kind: AccountKind
    trust: Trust
    reasons: str = ""
    unread: str = ""
    equity: float | None = None
    equity_at: float | None = None
    reported_equity: float | None = None
    unexplained: float | None = None
    suspected_since: float | None = None
    believed_at: float | None = None
    failures: int = 0
    silent_s: float | None = None
    is_blind: bool = False
    pending_flow: float = 0.0
    holdings: Holdings | None = None
    drawdowns: tuple[WindowDrawdown, ...] = ()
    server_offset_s: float | None = None

    @property
    def is_judged(self) -> bool:
        """False while the account is too small, or too new, for any drawdown to count."""
        return any(drawdown.is_judged for drawdown in self.drawdowns)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookView:
    """One book: its state, its settings (None when it is no longer configured), its accounts."""

    state: BookMemory
    policy: BookPolicy | None
    scopes: tuple[ScopeView, ...]
    streaks: tuple[Streak, ...]
    orders: OrderTally | None = None

    @property
    def open_incident(self) -> Incident | None:
        """The incident that is being carried out, None when there is none."""
        incident = self.state.incident
        return incident if incident and incident.status is IncidentStatus.OPEN else None

    def held(self, key: RowKey) -> str | None:
        """The quantity of a row in the last trusted reading, None where there is none."""
        holdings = next((scope.holdings for scope in self.scopes if scope.scope == key.scope), None)
        return None if holdings is None else holdings.quantity(key.symbol, key.side)

    def needed(self, stage: Stage) -> int:
        """How many readings complete the streak of a stage; one confirmation is two readings."""
        settings = None if self.policy is None else self.policy.stage(stage)
        return 2 if settings is None else max(2, settings.confirm_consecutive)

    def cooldown_left_s(self, stage: Stage, *, now: float) -> float:
        """How long a closing stage may not fire again, 0 when it may."""
        return max(0.0, self.state.cooldowns[stage - 1] - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Everything `status` shows. `holder` is None while nobody works on the state directory."""

    now: float
    config: str
    state_db: str
    dry_run: bool
    configured_dry_run: bool
    holder: Holder | None
    not_watched: tuple[str, ...]
    practice_places: tuple[tuple[AccountKind, tuple[ScopeId, ...]], ...]
    books: tuple[BookView, ...]
    lock: LockFileView
    requests: tuple[OperatorRequest, ...]
    actions: tuple[AuditEntry, ...]
    warnings: tuple[str, ...]
    switch: SwitchView


def needed_history_s(policy: Policy) -> float:
    """How much history before the last trusted reading its drawdowns need, in seconds."""
    windows = [t.window_s for book in policy.books for s in book.stages for t in s.thresholds]
    return max([CARRY_S, *windows])


def is_dry_run(lock: LockFileView, holder: Holder | None, *, configured: bool) -> bool:
    """The kind of run to show: that of the running guard, else the one that is configured.

    A guard may have been started with `--dry-run` or before the file was changed.
    """
    is_its_own = holder is not None and holder.pid is not None and holder.pid == lock.pid
    return lock.dry_run if is_its_own and lock.dry_run is not None else configured


def build_report(
    stored: StoreStatus,
    *,
    policy: Policy,
    dry_run: bool,
    holder: Holder | None,
    lock: LockFileView,
    config: str,
    state_db: str,
    now: float,
) -> StatusReport:
    """Put together what was read at `now`; `dry_run` is the kind of run that `stored` is about."""
    scopes = {scope.scope: scope for scope in stored.scopes}
    states = {state.name: state for state in stored.books}
    configured = tuple(
        _book(
            states.get(book.name, BookMemory(name=book.name)),
            policy=policy,
            book=book,
            scopes=scopes,
            unread=lock.unread,
            is_watched=holder is not None,
            now=now,
        )
        for book in policy.books
    )
    left = tuple(
        BookView(state=state, policy=None, scopes=(), streaks=())
        for name, state in states.items()
        if policy.book(name) is None and state.holds_back
    )
    tallies = {tally.incident_id: tally for tally in stored.tallies}
    books = tuple(
        replace(book, orders=tallies.get(book.open_incident.incident_id))
        if book.open_incident is not None
        else book
        for book in (*configured, *left)
    )
    switch = view_switch(
        stored.switch,
        stored.transitions,
        lock=lock,
        is_guarded=holder is not None,
        dry_run=dry_run,
        has_redis=stored.switch.redis is not None,
        is_halt_suspending=policy.switch.halt_suspends_stages,
    )
    return StatusReport(
        now=now,
        config=config,
        state_db=state_db,
        dry_run=dry_run,
        configured_dry_run=policy.dry_run,
        holder=holder,
        not_watched=tuple(dict.fromkeys((*policy.unwatched, *lock.not_watched))),
        practice_places=policy.practice_places(),
        books=books,
        lock=lock,
        requests=stored.requests,
        actions=stored.actions,
        switch=switch,
        warnings=(
            *_warn_of_guard(lock, holder, now=now),
            *warn_of_switch(switch),
            *warn_of_machine(lock, stored, holder, policy=policy, now=now),
            *_warn_of_mode(dry_run, configured=policy.dry_run),
            *_warn_of_other_kind(stored, dry_run=dry_run),
            *(line for book in books for line in _warn_of_book(book, now=now)),
            *_warn_of_requests(stored.requests, now=now),
            *_warn_of_hindrances(lock, holder),
        ),
    )


def _book(
    state: BookMemory,
    *,
    policy: Policy,
    book: BookPolicy,
    scopes: dict[ScopeId, ScopeStatus],
    unread: Mapping[str, str],
    is_watched: bool,
    now: float,
) -> BookView:
    life_s = max(STREAK_LIFE_S, 4 * policy.poll_s)
    return BookView(
        state=state,
        policy=book,
        scopes=tuple(
            _scope(
                scopes.get(scope),
                scope=scope,
                policy=policy,
                book=book,
                state=state,
                unread=unread.get(scope, ""),
                is_watched=is_watched,
                now=now,
            )
            for scope in book.scopes
        ),
        streaks=tuple(s for s in state.streaks if abs(now - s.last_counted_at) <= life_s),
    )


def _scope(
    known: ScopeStatus | None,
    *,
    scope: ScopeId,
    policy: Policy,
    book: BookPolicy,
    state: BookMemory,
    unread: str,
    is_watched: bool,
    now: float,
) -> ScopeView:
    kind = policy.kind_of(scope)
    if known is None:
        return ScopeView(scope=scope, kind=kind, trust=Trust.UNAVAILABLE, unread=unread)
    memory = known.memory
    last = memory.history.last
    trusted_at = known.trusted_at
    silent_s = now - max(memory.watch_began_at, trusted_at or 0.0) if is_watched else None
    doubt = memory.suspicion.doubts[-1] if memory.suspicion and memory.suspicion.doubts else None
    return ScopeView(
        scope=scope,
        kind=kind,
        trust=_trust_now(known, policy=policy, now=now),
        reasons=known.reasons,
        unread=unread,
        equity=None if last is None else last.equity,
        equity_at=trusted_at,
        reported_equity=known.equity if known.trust is Trust.SUSPECT else None,
        unexplained=None if doubt is None else doubt.unexplained,
        suspected_since=known.is_suspected_since,
        believed_at=_believed_at(memory.suspicion, policy=policy),
        failures=memory.failures,
        silent_s=silent_s,
        is_blind=silent_s is not None and silent_s >= policy.blind_alert_s,
        pending_flow=_pending_flow(memory),
        holdings=None if known.last_trusted is None else Holdings.of(known.last_trusted),
        drawdowns=_drawdowns(memory, policy=policy, book=book, state=state),
        server_offset_s=None if known.last_trusted is None else known.last_trusted.server_offset_s,
    )


def _trust_now(known: ScopeStatus, *, policy: Policy, now: float) -> Trust:
    """A reading that is too old, or followed by failed attempts, is no reading (behaviour.md 3)."""
    is_old = known.at is None or now - known.at > policy.max_reading_age_s
    return Trust.UNAVAILABLE if is_old or known.memory.failures else known.trust


def _believed_at(suspicion: Suspicion | None, *, policy: Policy) -> float | None:
    """When a doubt ends by itself: a fall that stays the same sooner than anything else."""
    if suspicion is None:
        return None
    limit_at = suspicion.since + policy.suspect_limit_s
    is_fall = bool(suspicion.doubts) and suspicion.doubts[-1].unexplained < 0
    if not is_fall or suspicion.consistent_since is None:
        return limit_at
    return min(limit_at, suspicion.consistent_since + policy.suspect_grace_s)


def _pending_flow(memory: ScopeMemory) -> float:
    last = memory.history.last
    return 0.0 if last is None else sum_pending(memory, equity=last.equity, now=last.at)


def _drawdowns(
    memory: ScopeMemory, *, policy: Policy, book: BookPolicy, state: BookMemory
) -> tuple[WindowDrawdown, ...]:
    """The drawdowns as the last trusted reading showed them, empty before the first one."""
    last = memory.history.last
    if last is None:
        return ()
    return compute_drawdowns(
        history=memory.history,
        units=memory.units,
        equity=last.equity,
        book=book,
        book_memory=state,
        min_equity=policy.min_equity,
        now=last.at,
        pending_flow=_pending_flow(memory),
    )


# --- what a person should not have to look for ------------------------------------------------


def _warn_of_guard(lock: LockFileView, holder: Holder | None, *, now: float) -> list[str]:
    """Nobody guards, or whoever does gives no sign of life."""
    if holder is None:
        sign = (
            ""
            if lock.heartbeat_ts is None
            else f", last sign {say_span(now - lock.heartbeat_ts)} ago"
        )
        return [f"no guard is running{sign}: nothing is watched, nothing will be closed"]
    age_s = lock.heartbeat_age_s
    if age_s is not None and (lock.is_stale or age_s > LATE_WRITE_S) and lock.pid == holder.pid:
        return [
            f"the guard has not written its lock for {say_span(age_s)}: it hangs, "
            "or cannot write there"
        ]
    if lock.is_stale or not lock.is_readable:
        return ["a process holds the state directory but has not written the lock yet"]
    return []


def _warn_of_hindrances(lock: LockFileView, holder: Holder | None) -> tuple[str, ...]:
    """What the running guard found for the next close; a dead one's findings are old."""
    return () if holder is None else lock.hindrances


def _warn_of_mode(dry_run: bool, *, configured: bool) -> list[str]:
    """What the file says holds at the next start only, and a dry run may be asked for there."""
    if dry_run == configured:
        return []
    kind = "a dry run" if dry_run else "LIVE"
    return [
        f"the running guard is {kind}, the configuration says dry_run: {str(configured).lower()}"
    ]


def _warn_of_other_kind(stored: StoreStatus, *, dry_run: bool) -> list[str]:
    other = "live" if dry_run else "dry-run"
    return [
        f"{book}: a {other} incident is open, and this kind of run does not work on it"
        for book in stored.other_open_incidents
    ]


def _warn_of_book(book: BookView, *, now: float) -> list[str]:
    """What stands in the way of this book being guarded."""
    name, incident = book.state.name, book.open_incident
    warnings: list[str] = []
    if incident is not None and now - incident.last_progress_at >= STUCK_S:
        stuck = say_span(now - incident.last_progress_at)
        warnings.append(f"{name}: closing has made no progress for {stuck}")
    if book.policy is None:
        closing = "" if incident is None else ", and nobody works on its open incident"
        warnings.append(
            f"{name}: still {book.state.stage.name}, but no longer configured{closing} -> "
            f"put the account back, or: python3 killswitch.py reset {name} --force"
        )
    for scope in book.scopes:
        if scope.is_blind and scope.silent_s is not None:
            warnings.append(
                f"{scope.scope}: BLIND, no trusted reading for {say_span(scope.silent_s)}"
            )
        elif scope.suspected_since is not None:
            warnings.append(f"{scope.scope}: the latest readings are doubted")
        offset_s = scope.server_offset_s or 0.0
        if abs(offset_s) > CLOCK_OFF_S:
            off = f"{abs(offset_s):.0f} s {'behind' if offset_s > 0 else 'ahead of'}"
            warnings.append(
                f"{scope.scope}: this machine's clock is {off} the exchange's -> run a time server"
            )
    if book.state.manual_reset_required and book.policy is not None:
        warnings.append(f"{name}: waits for you: python3 killswitch.py reset {name}")
    return warnings


def _warn_of_requests(requests: tuple[OperatorRequest, ...], *, now: float) -> list[str]:
    return [
        f"nobody has answered: {request.command}, asked {say_span(now - request.at)} ago"
        for request in requests
        if now - request.at > LATE_ANSWER_S
    ]
