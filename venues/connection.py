"""A signed connection to one account of a venue: two ccxt clients, one gate, the venue's clock.

Two clients, so that orders and the position reads that size them never share a time-out or a pool
of connections with slow reads. Both pass one gate, because the venue counts them together, and a
pause that it asks of one holds the other. Neither loads ccxt's market tables (over 100 MB, and
private requests that a trade-only key is refused). Knows no venue: what differs from one to the
next stands in its `Manners`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from clock import Clock
from errors import ConfigurationError, ObservationError, Unavailable
from logger import get_logger
from model import ClientOrderId, RefusalReason, Refused, Unknown
from redaction import Redactor
from venues.access import Access
from venues.ccxt_client import (
    IsErrorBody,
    Params,
    describe_answer,
    make_client,
    open_connections,
    redirect,
    send,
)
from venues.failure import Failure, KeyRefused, RequestFailed, unavailable, with_remedy
from venues.pacer import Cost, Gate, Pacer, Rate, Spent, Urgency

_log = get_logger("venues.connection")

REFRESH_S = 600.0
"""Age at which the clock offset, and what is kept of an account, are read again."""
REFRESH_RETRY_S = 60.0
"""Pause after a failed refresh; the kept value serves meanwhile."""
CLOCK_OFF_S = 5.0
"""A clock that is further off is told; a slow answer alone makes one seem off by half its time."""
CLOCK_WAIT_S = 1.0
"""Longest that an order, or a read that sizes it, waits for the clock to be measured."""
ORDER_WAITS_S = 2.0
"""Longest that an order waits for the venue's limits; it is refused with the rest of the pause.

With the clock and the request itself that stays below what the executor waits for an answer.
"""

LEAST_READY = 2
"""The read of the positions that precedes every order may be one of two lists."""
MOST_READY = 12
"""Connections opened ahead: as many as the venues that count orders take requests at once."""

OF_A_WHOLE_BATCH = frozenset(
    {
        RefusalReason.RATE_LIMITED,
        RefusalReason.CLOCK,
        RefusalReason.NOT_ALLOWED,
        RefusalReason.NOT_REACHED,
    }
)
"""What may turn a batch away before any of its orders is looked at."""

Value = TypeVar("Value")


class Judge(Protocol):
    """Says what a failed order or cancel proves."""

    def __call__(self, failure: Failure, *, venue_now_ms: float) -> Refused | Unknown:
        """Judge it; the time is the venue's, in ms."""


class RetryAfter(Protocol):
    """Gives the pause in seconds that a venue asks for, None without one."""

    def __call__(self, failure: Failure, *, venue_now_ms: float) -> float | None:
        """Read it; the time is the venue's, in ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What one venue does in its own way.

    `client_class` is ccxt's; `options` are those that keep it from asking anything of its own
    accord. `time_endpoint` answers the venue's clock, which `parse_time` reads in ms.
    `is_clock_refusal` is true of a refused time stamp, `is_key_refusal` of a key without the right
    or of an account of another kind. `pauses_s` is what is paused after a status that names no
    time. `rates` hold until the venue tells its own, `cost_of` is what a request takes of them, and
    `counted_by_venue` reads the venue's count out of the headers of an answer; `kept_as` names the
    rate that a count belongs to, by the URL of its request. `is_of_address` is true of a failure
    for which the venue holds every account of this machine. `remedy_of` says what a person can do
    about a failure, empty when there is nothing to do. `order_waits_s` is longer where the windows
    of a limit are short: a burst then goes out in one round, one window after the other.
    """

    name: str
    client_class: Any
    options: Mapping[str, object]
    time_endpoint: str
    parse_time: Callable[[object], int]
    is_error_body: IsErrorBody
    judge: Judge
    retry_after_s: RetryAfter
    is_clock_refusal: Callable[[Failure], bool]
    rates: Mapping[str, Rate]
    cost_of: Callable[[str, Params], Cost]
    counted_by_venue: Callable[[Mapping[str, str]], dict[str, int]] = lambda _headers: {}
    kept_as: Callable[[str, str], str] = lambda name, _url: name
    is_key_refusal: Callable[[Failure], bool] = lambda _failure: False
    pauses_s: Mapping[int | None, float] = field(default_factory=dict)
    is_of_address: Callable[[Failure], bool] = lambda _failure: False
    remedy_of: Callable[[Failure], str] = lambda _failure: ""
    order_waits_s: float = ORDER_WAITS_S


class Kept(Generic[Value]):
    """A fact about the account that is read again after ten minutes, or when it is doubted.

    `fetch` takes whether closes wait for it.
    """

    def __init__(self, fetch: Callable[[bool], Awaitable[Value]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: Value | None = None
        self._due_at = 0.0

    @property
    def value(self) -> Value | None:
        """What is known of it, None before it was ever read."""
        return self._value

    async def fetch(self, *, is_urgent: bool = False) -> Value:
        """Read it afresh. Raises Unavailable or Malformed."""
        value = await self._fetch(is_urgent)
        self._value = value
        self._due_at = self._clock.monotonic() + REFRESH_S
        return value

    def doubt(self) -> None:
        """Have it read again the next time."""
        self._due_at = float("-inf")

    async def renew(self) -> Value:
        """Read it if it is due; a failure keeps what was known.

        Raises Unavailable or Malformed only when it never was known.
        """
        if self._value is None:
            return await self.fetch()
        now = self._clock.monotonic()
        if now >= self._due_at:
            try:
                return await self.fetch()
            except ObservationError:
                self._due_at = now + REFRESH_RETRY_S
        return self._value


class VenueConnection:
    """Sends signed requests for one account and keeps what they depend on.

    `on_refusal` hears of every refused order and `on_failure` of every failed request, because some
    contradict a kept fact. Raises ConfigurationError for an unusable address or for sandbox and
    demo together.
    """

    def __init__(
        self,
        manners: Manners,
        access: Access,
        clock: Clock,
        *,
        on_refusal: Callable[[Refused], None] = lambda _refused: None,
        on_failure: Callable[[Failure], None] = lambda _failure: None,
    ) -> None:
        if access.sandbox and access.demo:
            raise ConfigurationError(
                (f"{manners.name}: sandbox and demo exclude each other; keep one",)
            )
        self._manners = manners
        self._clock = clock
        self._on_refusal = on_refusal
        self._on_failure = on_failure
        self._read_timeout_s = access.read_timeout_s
        self._order_timeout_s = access.order_timeout_s
        self._redactor = Redactor(access.credentials.values())
        self._gate = Gate(Pacer(manners.rates, access.address), clock, is_paced=access.is_paced)
        self._reader = self._make_client(access, timeout_s=access.read_timeout_s)
        self._trader = self._make_client(access, timeout_s=access.order_timeout_s)
        self._server_offset_s = 0.0
        self._clock_due_at = 0.0
        self._is_clock_trusted = False
        self._measuring: asyncio.Task[ObservationError | None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._held_back: set[ClientOrderId] = set()

    @property
    def server_offset_s(self) -> float:
        """The venue's clock minus ours, 0 until it was measured."""
        return self._server_offset_s

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        for task in (self._measuring, self._opening):
            if task is not None:
                task.cancel()
        await asyncio.gather(self._reader.close(), self._trader.close())

    def make_ready(self, orders: int, *, host: str) -> None:
        """Begin to open connections for orders that may leave soon; nothing is sent.

        `host` is ccxt's name for where they go. They would open them themselves, two round trips
        later each.
        """
        if self._opening is not None and not self._opening.done():
            return
        url = self._trader.implode_hostname(self._trader.urls["api"][host])
        opening = open_connections(
            self._trader,
            url,
            count=max(LEAST_READY, min(orders, MOST_READY)),
            deadline_s=self._order_timeout_s,
        )
        self._opening = asyncio.create_task(opening)

    def adopt_rates(self, rates: Mapping[str, Rate]) -> None:
        """Keep to the limits that the venue publishes."""
        self._gate.adopt(rates)

    async def read(self, endpoint: str, what: str, params: Params | None = None) -> Any:
        """Read what no order waits for. Raises Unavailable, naming `what`."""
        return await self._fetch(endpoint, what, params=params, urgency=Urgency.READING)

    async def read_at_once(self, endpoint: str, what: str, params: Params | None = None) -> Any:
        """Read before all other reads, for what an order waits for. Raises Unavailable."""
        await self._settle_clock_if_it_can_be(endpoint)
        return await self._fetch(endpoint, what, params=params, urgency=Urgency.CLOSE)

    async def ask(
        self,
        endpoint: str,
        params: Params,
        *,
        urgency: Urgency = Urgency.CLOSE,
        on_leave: Callable[[], None] = lambda: None,
    ) -> Any | Failure:
        """Send an order, a cancel or a lookup at once, and once; a Failure is for `judge`."""
        await self._settle_clock_if_it_can_be(endpoint)
        return await self._send_once(endpoint, params, urgency=urgency, on_leave=on_leave)

    async def place(
        self, endpoint: str, params: Params, *, orders: Collection[ClientOrderId]
    ) -> Any | Failure:
        """Send orders at once, and once; while they wait for the limits nobody looks them up."""
        self._held_back.update(orders)
        try:
            return await self.ask(endpoint, params, on_leave=partial(self._release, orders))
        finally:
            self._release(orders)

    def _release(self, orders: Collection[ClientOrderId]) -> None:
        self._held_back.difference_update(orders)

    async def look_up(
        self, endpoint: str, params: Params, *, order: ClientOrderId
    ) -> Any | Failure:
        """Look an order up, unless it did not leave yet: fifty such questions delay those orders.

        A Failure is for `judge`.
        """
        if order in self._held_back:
            return Failure(cause="it waits for the venue's limits", was_sent=False)
        return await self.ask(endpoint, params)

    async def inquire(self, endpoint: str, params: Params) -> Any | Failure:
        """Read once what only a person wants to know; a Failure is for `judge`."""
        return await self._send_once(endpoint, params, urgency=Urgency.READING)

    async def time_round_trip(self) -> tuple[float, float] | Failure:
        """Seconds of a round trip, and the venue's clock minus ours.

        The second of two requests counts: the first may have had to open a connection. Raises
        Malformed.
        """
        trip_s = offset_s = 0.0
        for _ in range(2):
            before, started = self._clock.now(), self._clock.monotonic()
            answer = await self.inquire(self._manners.time_endpoint, {})
            if isinstance(answer, Failure):
                return answer
            trip_s = self._clock.monotonic() - started
            midway = (before + self._clock.now()) / 2
            offset_s = self._manners.parse_time(answer) / 1000 - midway
        return trip_s, offset_s

    def judge(self, failure: Failure) -> Refused | Unknown:
        """Say what a failed order or cancel proves, and tell of a refusal."""
        outcome = self._manners.judge(failure, venue_now_ms=self._venue_now_ms())
        if isinstance(outcome, Refused):
            self._on_refusal(outcome)
            remedy = self._manners.remedy_of(failure)
            return replace(outcome, message=with_remedy(outcome.message, remedy))
        return outcome

    def judge_row(self, row: object) -> Refused | Unknown:
        """Say what one refusal among the answers of a batch proves; each stands for itself."""
        failure = Failure(
            cause=describe_answer(200, row, row, self._redactor), status=200, body=row
        )
        self._learn_from(failure)
        return self.judge(failure)

    def judge_whole(self, failure: Failure) -> Refused | Unknown:
        """Say what a batch that failed as a whole proves of each order in it.

        What is wrong with one order is said in its own row; said of the whole, it names none.
        """
        outcome = self.judge(failure)
        if isinstance(outcome, Refused) and outcome.reason not in OF_A_WHOLE_BATCH:
            return Unknown(cause=failure.cause)
        return outcome

    async def settle_clock(self) -> None:
        """Measure the venue's clock where it never was, or a time stamp was refused.

        Every signed request would be refused otherwise. Raises Unavailable or Malformed.
        """
        if self._is_clock_trusted:
            return
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.ensure_future(self._try_to_measure_clock())
        # Shared, so that fifty closes measure once, and shielded, so that one that gives up
        # waiting does not take the measurement from the others.
        failed = await asyncio.shield(self._measuring)
        if failed is not None:
            raise failed

    async def _settle_clock_if_it_can_be(self, endpoint: str) -> None:
        """Wait a moment for the clock; without it a request of closing is sent all the same.

        It may still get through, and is refused without harm if it does not.
        """
        try:
            async with asyncio.timeout(CLOCK_WAIT_S):
                await self.settle_clock()
        except (ObservationError, TimeoutError):
            _log.warning("clock_doubtful", why=f"{endpoint} is sent with a doubtful clock")

    async def _try_to_measure_clock(self) -> ObservationError | None:
        """Measure the clock; the error as a value, because perhaps nobody waits for it any more."""
        try:
            await self.measure_clock()
        except ObservationError as failed:
            return failed
        return None

    async def measure_clock(self) -> None:
        """Measure the venue's clock and sign with it from now on.

        For signing, the venue's stamp counts as just taken: that errs towards the past, which the
        receive window allows for, while a stamp from the future is refused after one second.
        """
        before = self._clock.now()
        answer = await self._send_once(self._manners.time_endpoint, {}, urgency=Urgency.CLOSE)
        arrived_ms, after = self._trader.milliseconds(), self._clock.now()
        if isinstance(answer, Failure):
            raise self._unavailable("time", answer)
        server_ms = self._manners.parse_time(answer)
        for client in (self._reader, self._trader):
            client.options["timeDifference"] = arrived_ms - server_ms
        self._server_offset_s = server_ms / 1000 - (before + after) / 2
        self._clock_due_at = self._clock.monotonic() + REFRESH_S
        self._is_clock_trusted = True
        if abs(self._server_offset_s) > CLOCK_OFF_S:
            name, off_s = self._manners.name, -self._server_offset_s
            _log.warning("clock_off", why=f"{name}: this machine's clock is off by {off_s:+.1f} s")

    async def renew_clock(self) -> None:
        """Measure the clock again when that is due; a failure keeps what was known."""
        now = self._clock.monotonic()
        if now >= self._clock_due_at:
            try:
                await self.measure_clock()
            except ObservationError:
                self._clock_due_at = now + REFRESH_RETRY_S

    async def _fetch(
        self, endpoint: str, what: str, *, params: Params | None, urgency: Urgency
    ) -> Any:
        """Send one read; after a refused time stamp the clock is measured and it is sent again.

        The refusal proves that nothing happened, and after a jump of either clock (a resumed
        machine, a corrected time) every read would otherwise be lost once.
        """
        answer = await self._send_once(endpoint, params or {}, urgency=urgency)
        if isinstance(answer, Failure) and self._manners.is_clock_refusal(answer):
            await self.settle_clock()
            answer = await self._send_once(endpoint, params or {}, urgency=urgency)
        if isinstance(answer, Failure):
            raise self._unavailable(what, answer)
        return answer

    async def _send_once(
        self,
        endpoint: str,
        params: Params,
        *,
        urgency: Urgency,
        on_leave: Callable[[], None] = lambda: None,
    ) -> Any | Failure:
        """Send one request when the venue's limits allow it, and learn from its failure."""
        is_reading = urgency is Urgency.READING
        client = self._reader if is_reading else self._trader
        deadline_s = self._read_timeout_s if is_reading else self._order_timeout_s
        waits_s = deadline_s / 2 if is_reading else self._manners.order_waits_s
        passage = await self._gate.enter(
            self._manners.cost_of(endpoint, params), urgency=urgency, within_s=waits_s
        )
        if (pause_s := passage.wait_s) > 0:
            cause = f"held back by the venue's limits, for {pause_s:.1f} s"
            if urgency is not Urgency.CLOSE:
                # Kept from what is left for closing: no reason for closing to rest as well.
                pause_s = self._gate.pause_left_s
            return Failure(cause=cause, was_sent=False, retry_after_s=pause_s or None)
        answered: tuple[Spent, ...] = ()
        on_leave()
        try:
            answer = await send(client, endpoint, params, deadline_s=deadline_s)
            answered = passage.spent
            return answer
        except RequestFailed as failed:
            if failed.failure.status is not None:
                answered = passage.spent
            self._learn_from(failed.failure)
            return failed.failure
        finally:
            self._gate.leave(*answered)

    def _unavailable(self, what: str, failure: Failure) -> Unavailable:
        """The error of a failed read, with the pause that the venue asked for."""
        pause_s = self._manners.retry_after_s(failure, venue_now_ms=self._venue_now_ms())
        kind = KeyRefused if self._manners.is_key_refusal(failure) else Unavailable
        remedy = self._manners.remedy_of(failure)
        return unavailable(what, failure, pause_s, remedy=remedy, kind=kind)

    def _learn_from(self, failure: Failure) -> None:
        """Distrust the clock after a refused time stamp; rest where the venue asks for it."""
        self._on_failure(failure)
        if self._manners.is_clock_refusal(failure):
            self._is_clock_trusted = False
        pause_s = self._manners.retry_after_s(failure, venue_now_ms=self._venue_now_ms())
        if pause_s is None:
            pause_s = self._manners.pauses_s.get(failure.status)
        if pause_s is not None:
            self._gate.pause(pause_s, is_of_address=self._manners.is_of_address(failure))

    def _learn_counts(self, status: int, headers: Mapping[str, str], url: str) -> None:
        """Take the venue's own counts out of any answer."""
        told = self._manners.counted_by_venue(headers)
        counted = {self._manners.kept_as(name, url): count for name, count in told.items()}
        self._gate.learn(counted, was_let_in=status not in self._manners.pauses_s)

    def _venue_now_ms(self) -> float:
        """The time on the venue's clock."""
        return (self._clock.now() + self._server_offset_s) * 1000

    def _make_client(self, access: Access, *, timeout_s: float) -> Any:
        """One ccxt client that sends nothing of its own accord and never repeats a request."""
        settings = {
            **access.credentials,
            "enableRateLimit": False,
            "timeout": int(timeout_s * 1000),
            "options": {**self._manners.options, "maxRetriesOnFailure": 0},
        }
        client = make_client(
            self._manners.client_class,
            settings,
            is_error_body=self._manners.is_error_body,
            on_answer=self._learn_counts,
        )
        # Signed with the same clock that measured the venue's, whatever the machine's says.
        client.milliseconds = lambda: int(self._clock.now() * 1000)
        if access.sandbox:
            client.set_sandbox_mode(True)
        if access.demo:
            client.enable_demo_trading(True)
        if access.simulator_url is not None:
            redirect(client, access.simulator_url)
        return client


async def together(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run reads at once; the first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(read) for read in reads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
