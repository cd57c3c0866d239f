"""Carries alerts to telephones, mailboxes and webhooks, and nothing here is ever waited for.

Owns the queue before each target and the only use of apprise, which knows over a hundred services
by address. Refuses to know what an alert is about. Rules:

- One queue, one task and threads of its own for each target: a slow one delays no other. A send
  that hangs is left behind on a thread that the end of the process does not wait for.
- A queue is bounded. The oldest of what is least severe goes first, and the next alert that
  arrives says how many were lost.
- What was not taken is sent again with growing pauses, which end when something critical comes.
  One that is refused again and again lets the others pass, so what waited for long says so on its
  first line. What arrived without our learning of it is told twice: better than never.
- No address and no part of one reaches a text: apprise's own words are masked, its log is not
  listened to.
- apprise is imported by the first address that there is, never before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from alerts import Alert, with_delay, with_lost
from attempts import Missed, abandon, attempt, nap
from clock import Clock
from errors import Unavailable
from memory import Severity
from own_thread import OwnThread
from redaction import Redactor
from supervision import Supervisor

SEND_WITHIN_S = 15.0
FIRST_PAUSE_S = 5.0
MAX_PAUSE_S = 300.0
MOST_WAITING = 64
PATIENCE = 3
"""So often an alert is tried before those behind it come first."""
MOST_TRIES = 100
"""Hours of an outage. More often, and a target that takes alerts without saying so is flooded."""
FAILURES_TOLD = 2
"""One failure in between is the network's habit."""
MOST_HUNG = 3
"""Sends of one target that may hang at once; each holds a thread."""

_RANKS = list(Severity)

Deliver = Callable[[Alert], Awaitable[None]]
"""Hands one alert over; raises Unavailable, with a reason that holds no secret, when not taken."""


class Notify(Protocol):
    """The port of alerts."""

    def tell(self, alert: Alert) -> None:
        """Queue an alert for whoever wants it; returns at once and never fails."""

    async def aclose(self, *, within_s: float) -> None:
        """Give what waits so many seconds, then give up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place that alerts go to, by the name that may be shown."""

    name: str
    min_severity: Severity
    deliver: Deliver


class Notifier:
    """Tells every target.

    `on_trouble` is told which of them fail and why, `on_recovery` once none does any more.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        *,
        clock: Clock,
        supervisor: Supervisor,
        on_trouble: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._failing: dict[str, str] = {}
        self._lines = [
            _Line(target, clock=clock, supervisor=supervisor, tell_state=self._note)
            for target in targets
        ]

    def tell(self, alert: Alert) -> None:
        """Queue an alert for every target that wants to hear of one so severe."""
        for line in self._lines:
            line.put(alert)

    async def aclose(self, *, within_s: float) -> None:
        """Try once more to deliver what waits, all targets at once, and no longer than that."""
        await asyncio.gather(*(line.aclose(within_s=within_s) for line in self._lines))

    def _note(self, name: str, why: str) -> None:
        """A target fails, or with an empty reason no longer does."""
        was_failing = bool(self._failing)
        if why:
            self._failing[name] = why
        else:
            self._failing.pop(name, None)
        if self._failing:
            self._on_trouble("; ".join(f"{n}: {self._failing[n]}" for n in sorted(self._failing)))
        elif was_failing:
            self._on_recovery()


@dataclass(slots=True, eq=False)
class _Waiting:
    alert: Alert
    since: float
    tries: int = 0


class _Line:
    """The queue before one target, and the task that empties it."""

    def __init__(
        self,
        target: Target,
        *,
        clock: Clock,
        supervisor: Supervisor,
        tell_state: Callable[[str, str], None],
    ) -> None:
        self._target = target
        self._clock = clock
        self._supervisor = supervisor
        self._tell_state = tell_state
        self._waiting: list[_Waiting] = []
        self._lost = 0
        self._failures = 0
        self._is_closing = False
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, alert: Alert) -> None:
        """Queue an alert, unless it is not severe enough for this target."""
        if _rank(alert) < _RANKS.index(self._target.min_severity):
            return
        self._waiting.append(_Waiting(alert, self._clock.monotonic()))
        if len(self._waiting) > MOST_WAITING:
            self._drop(min(self._waiting, key=lambda one: _rank(one.alert)))
        if alert.severity is Severity.CRITICAL:
            self._bell.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._empty())

    async def aclose(self, *, within_s: float) -> None:
        """Try what waits once more, and give up after so long."""
        self._is_closing = True
        self._bell.set()
        task = self._task
        if task is not None:
            await asyncio.wait((task,), timeout=within_s)
            abandon(task)

    async def _empty(self) -> None:
        while self._waiting:
            self._bell.clear()
            with self._supervisor.supervise(f"alerts to {self._target.name}"):
                await self._send(min(self._waiting, key=lambda one: one.tries // PATIENCE))
            if self._failures and self._is_closing:
                return
            if self._failures:
                pause_s = FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10)
                await nap(self._clock, min(MAX_PAUSE_S, pause_s), unless=self._bell)

    async def _send(self, one: _Waiting) -> None:
        one.tries += 1
        # Before anything can trip: without a failure there is no pause before the next try.
        had_failed, self._failures = self._failures > 0, self._failures + 1
        alert = with_delay(one.alert, self._clock.monotonic() - one.since)
        lost = self._lost
        alert = with_lost(alert, lost)
        sent = await attempt(
            _awaited(self._target.deliver(alert)), within_s=SEND_WITHIN_S, what="alert"
        )
        if isinstance(sent, Missed):
            if one.tries >= MOST_TRIES:
                self._drop(one)
            if self._failures >= FAILURES_TOLD:
                self._tell_state(self._target.name, sent.why)
            return
        self._waiting = [other for other in self._waiting if other is not one]
        self._lost -= lost
        self._failures = 0
        if had_failed:
            self._tell_state(self._target.name, "")

    def _drop(self, one: _Waiting) -> None:
        self._waiting = [other for other in self._waiting if other is not one]
        self._lost += 1


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _rank(alert: Alert) -> int:
    return _RANKS.index(alert.severity)


# --- apprise ------------------------------------------------------------------------------------


class AppriseAddress:
    """Sends to one address that apprise knows, each alert on a thread of its own."""

    def __init__(self, *, name: str, url: str, redactor: Redactor) -> None:
        self._name = name
        self._url = url
        self._mask = redactor.text
        self._running: list[Future[None]] = []

    async def __call__(self, alert: Alert) -> None:
        """Send one alert. Raises Unavailable when the service did not take it."""
        self._running = [one for one in self._running if not one.done()]
        if len(self._running) >= MOST_HUNG:
            raise Unavailable(f"{len(self._running)} earlier alerts still hang on their way")
        thread = OwnThread(f"alert {self._name}")
        future = thread.submit(self._send, alert)
        thread.close()
        self._running.append(future)
        await asyncio.wrap_future(future)

    def _send(self, alert: Alert) -> None:
        library = _library()
        sender = library.Apprise(asset=_asset())
        if not sender.add(self._url):
            raise Unavailable("no service knows this address")
        types = {
            Severity.INFO: library.NotifyType.INFO,
            Severity.WARNING: library.NotifyType.WARNING,
            Severity.CRITICAL: library.NotifyType.FAILURE,
        }
        result = sender.notify(
            title=alert.title,
            body=alert.body,
            notify_type=types[alert.severity],
            body_format=library.NotifyFormat.TEXT,
        )
        if not result:
            raise Unavailable(self._why(result))

    def _why(self, result: Any) -> str:
        """What apprise says about a failure, in one masked line."""
        said = [" ".join(str(entry.message).split()) for entry in result.logs()]
        return self._mask("; ".join(dict.fromkeys(said)))[:300] or "the service did not take it"


def count_recipients(url: str) -> int:
    """How many an address sends to, 0 when no service knows it or something in it is missing."""
    sender = _library().Apprise.instantiate(url, asset=_asset())
    return 0 if sender is None else len(sender)


async def send_each(
    targets: Sequence[Target], alert: Alert, *, within_s: float = SEND_WITHIN_S
) -> tuple[str, ...]:
    """Send one alert to every target at once; for each why it was not taken, empty if it was."""
    ends = await asyncio.gather(
        *(
            attempt(_awaited(target.deliver(alert)), within_s=within_s, what="alert")
            for target in targets
        )
    )
    return tuple(end.why if isinstance(end, Missed) else "" for end in ends)


@cache
def _library() -> Any:
    """The library, whose own log is not listened to: it could hold what stands in an address."""
    import apprise  # noqa: PLC0415 - a third of a second that only who has targets pays

    log = logging.getLogger("apprise")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    return apprise


def _asset() -> Any:
    """How apprise behaves: one send at a time on the calling thread, nothing kept on disk.

    With a time limit of its own it would send on threads that the end of the process waits for. A
    redirection makes a GET of what is sent, and the page that it leads to takes anything.
    """
    return _library().AppriseAsset(
        app_id="Killswitch",
        app_desc="Killswitch",
        async_mode=False,
        service_timeout=0,
        storage_mode="memory",
        http_redirects=False,
    )
