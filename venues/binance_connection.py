"""The connection to Binance USD-M: two ccxt clients, the venue's clock, and the account's mode.

Two clients, so that orders and the position reads that size them never share a time-out or a pool
of connections with slow reads. Both pass one gate, because the venue counts them together, and a
pause that it asks of one holds the other. Neither loads ccxt's market tables (over 100 MB, and
private requests that a trade-only key is refused). Cached facts are read again after ten minutes,
and at once when an answer of the venue contradicts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from ccxt.async_support import binanceusdm

from clock import Clock
from errors import ConfigurationError, ObservationError, Unavailable
from logger import get_logger
from model import RefusalReason, Refused, Unknown
from redaction import Redactor
from venues.binance_account import AccountMode, parse_account_mode
from venues.binance_errors import (
    OF_A_WHOLE_BATCH,
    code_of,
    is_error_body,
    judge,
    retry_after_s,
)
from venues.binance_pacing import DEFAULT_RATES, cost_of, counted_by_venue
from venues.ccxt_client import Params, describe_answer, make_client, redirect, send
from venues.failure import Failure, RequestFailed, unavailable
from venues.pacer import Gate, Pacer, Rate, Urgency
from venues.parsing import as_fields, required_integer

_log = get_logger("venues.binance")

REFRESH_S = 600.0
"""Age at which the clock offset and the account mode are read again."""
REFRESH_RETRY_S = 60.0
"""Pause after a failed refresh; the cached value serves meanwhile."""
CLOCK_WAIT_S = 1.0
"""Longest that an order, or a read that sizes it, waits for the clock to be measured."""
ORDER_WAITS_S = 2.0
"""Longest that an order waits for the venue's limits; it is refused with the rest of the pause.

With the clock and the request itself that stays below what the executor waits for an answer.
"""
PAUSES_S: Mapping[int | None, float] = {429: 1.0, 418: 30.0}
"""What is paused after these answers when they name no time: one too many, and a ban."""
_CLOCK_CODES = frozenset({-1021, -5028})


class BinanceConnection:
    """Sends signed requests for one account and keeps what they depend on."""

    def __init__(
        self,
        *,
        api_key: str,
        api_secret: str,
        clock: Clock,
        simulator_url: str | None,
        sandbox: bool,
        demo: bool,
        read_timeout_s: float,
        order_timeout_s: float,
        is_paced: bool = True,
    ) -> None:
        if sandbox and demo:
            raise ConfigurationError(("binance: sandbox and demo exclude each other; keep one",))
        self._clock = clock
        self._read_timeout_s = read_timeout_s
        self._order_timeout_s = order_timeout_s
        keys = {"apiKey": api_key, "secret": api_secret}
        self._redactor = Redactor(keys.values())
        self._gate = Gate(Pacer(DEFAULT_RATES), clock, is_paced=is_paced)
        self._reader = self._make_client(keys, timeout_s=read_timeout_s)
        self._trader = self._make_client(keys, timeout_s=order_timeout_s)
        for client in (self._reader, self._trader):
            # Signed with the same clock that measured the venue's, whatever the machine's says.
            client.milliseconds = lambda: int(clock.now() * 1000)
            if sandbox:
                client.set_sandbox_mode(True)
            if demo:
                client.enable_demo_trading(True)
            if simulator_url is not None:
                redirect(client, simulator_url)
        self._mode: AccountMode | None = None
        self._mode_due_at = 0.0
        self._server_offset_s = 0.0
        self._clock_due_at = 0.0
        self._is_clock_trusted = False
        self._measuring: asyncio.Task[ObservationError | None] | None = None

    @property
    def server_offset_s(self) -> float:
        """The venue's clock minus ours, 0 until it was measured."""
        return self._server_offset_s

    async def aclose(self) -> None:
        """Release every connection; safe to call twice."""
        if self._measuring is not None:
            self._measuring.cancel()
        await asyncio.gather(self._reader.close(), self._trader.close())

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
        self, endpoint: str, params: Params, *, urgency: Urgency = Urgency.CLOSE
    ) -> Any | Failure:
        """Send an order, a cancel or a lookup at once, and once; a Failure is for `judge`."""
        await self._settle_clock_if_it_can_be(endpoint)
        return await self._send_once(endpoint, params, urgency=urgency)

    def judge(self, failure: Failure) -> Refused | Unknown:
        """Say what a failed order or cancel proves, and drop cached facts that it contradicts."""
        outcome = judge(failure, venue_now_ms=self._venue_now_ms())
        if isinstance(outcome, Refused) and outcome.reason is RefusalReason.WRONG_POSITION_MODE:
            self._mode_due_at = 0.0
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
        answer = await self._send_once("fapiPublicGetTime", {}, urgency=Urgency.CLOSE)
        arrived_ms, after = self._trader.milliseconds(), self._clock.now()
        if isinstance(answer, Failure):
            raise self._unavailable("time", answer)
        server_ms = required_integer(as_fields(answer, "time"), "serverTime", "time")
        for client in (self._reader, self._trader):
            client.options["timeDifference"] = arrived_ms - server_ms
        self._server_offset_s = server_ms / 1000 - (before + after) / 2
        self._clock_due_at = self._clock.monotonic() + REFRESH_S
        self._is_clock_trusted = True

    async def fetch_mode(self, *, is_urgent: bool = False) -> AccountMode:
        """Read the account's mode afresh and remember it; urgent when closes wait for it."""
        read = self.read_at_once if is_urgent else self.read
        mode = parse_account_mode(await read("fapiPrivateGetAccountConfig", "accountConfig"))
        self._mode = mode
        self._mode_due_at = self._clock.monotonic() + REFRESH_S
        return mode

    def doubt_mode(self) -> None:
        """Have the mode read again with the next reading."""
        self._mode_due_at = 0.0

    async def renew(self) -> AccountMode:
        """The account's mode; what is due is read again, and a failure keeps what was known.

        Raises Unavailable or Malformed only when the mode never was known.
        """
        now = self._clock.monotonic()
        if now >= self._clock_due_at:
            try:
                await self.measure_clock()
            except ObservationError:
                self._clock_due_at = now + REFRESH_RETRY_S
        if self._mode is None:
            return await self.fetch_mode()
        if now >= self._mode_due_at:
            try:
                return await self.fetch_mode()
            except ObservationError:
                self._mode_due_at = now + REFRESH_RETRY_S
        return self._mode

    async def _fetch(
        self, endpoint: str, what: str, *, params: Params | None, urgency: Urgency
    ) -> Any:
        """Send one read; after a refused time stamp the clock is measured and it is sent again.

        The refusal proves that nothing happened, and after a jump of either clock (a resumed
        machine, a corrected time) every read would otherwise be lost once.
        """
        answer = await self._send_once(endpoint, params or {}, urgency=urgency)
        if isinstance(answer, Failure) and code_of(answer.body) in _CLOCK_CODES:
            await self.settle_clock()
            answer = await self._send_once(endpoint, params or {}, urgency=urgency)
        if isinstance(answer, Failure):
            raise self._unavailable(what, answer)
        return answer

    async def _send_once(self, endpoint: str, params: Params, *, urgency: Urgency) -> Any | Failure:
        """Send one request when the venue's limits allow it, and learn from its failure."""
        is_reading = urgency is Urgency.READING
        client = self._reader if is_reading else self._trader
        deadline_s = self._read_timeout_s if is_reading else self._order_timeout_s
        waits_s = deadline_s / 2 if is_reading else ORDER_WAITS_S
        pause_s = await self._gate.enter(
            cost_of(endpoint, params), urgency=urgency, within_s=waits_s
        )
        if pause_s > 0:
            cause = f"held back by the venue's limits, for {pause_s:.1f} s"
            if urgency is not Urgency.CLOSE:
                # Kept from what is left for closing: no reason for closing to rest as well.
                pause_s = self._gate.pause_left_s
            return Failure(cause=cause, was_sent=False, retry_after_s=pause_s or None)
        try:
            return await send(client, endpoint, params, deadline_s=deadline_s)
        except RequestFailed as failed:
            self._learn_from(failed.failure)
            return failed.failure
        finally:
            self._gate.leave()

    def _unavailable(self, what: str, failure: Failure) -> Unavailable:
        """The error of a failed read, with the pause that the venue asked for."""
        pause_s = retry_after_s(failure, venue_now_ms=self._venue_now_ms())
        return unavailable(what, failure, pause_s)

    def _learn_from(self, failure: Failure) -> None:
        """Distrust the clock after a refused time stamp; rest where the venue asks for it."""
        if code_of(failure.body) in _CLOCK_CODES:
            self._is_clock_trusted = False
        pause_s = retry_after_s(failure, venue_now_ms=self._venue_now_ms())
        if pause_s is None:
            pause_s = PAUSES_S.get(failure.status)
        if pause_s is not None:
            self._gate.pause(pause_s)

    def _learn_counts(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the venue's own counts out of any answer."""
        self._gate.learn(counted_by_venue(headers), was_let_in=status not in PAUSES_S)

    def _venue_now_ms(self) -> float:
        """The time on the venue's clock."""
        return (self._clock.now() + self._server_offset_s) * 1000

    def _make_client(self, keys: Mapping[str, str], *, timeout_s: float) -> Any:
        """One ccxt client that sends nothing of its own accord and never repeats a request."""
        settings = {
            **keys,
            "enableRateLimit": False,
            "timeout": int(timeout_s * 1000),
            "options": {
                "fetchCurrencies": False,
                "fetchMargins": False,
                "leverageBrackets": {},
                "maxRetriesOnFailure": 0,
                "disableFuturesSandboxWarning": True,
            },
        }
        return make_client(
            binanceusdm,
            settings,
            is_error_body=is_error_body,
            on_answer=self._learn_counts,
        )


async def together(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run reads at once; the first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(read) for read in reads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
