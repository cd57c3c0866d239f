"""The connection to Binance USD-M: two ccxt clients, the venue's clock, and the account's mode.

Two clients, because one queue would make an emergency order wait behind slow reads: the reader is
paced to the venue's request weight, the trader is not and carries orders and the position reads
that size them. Neither loads ccxt's market tables (over 100 MB, and private requests that a
trade-only key is refused). Cached facts are read again after ten minutes, and at once when an
answer of the venue contradicts them.
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
from venues.binance_account import AccountMode, parse_account_mode
from venues.binance_errors import code_of, is_error_body, judge, retry_after_s
from venues.ccxt_client import make_client, redirect, send
from venues.failure import Failure, RequestFailed, unavailable
from venues.parsing import as_fields, required_integer

Params = Mapping[str, str | int]

_log = get_logger("venues.binance")

REFRESH_S = 600.0
"""Age at which the clock offset and the account mode are read again."""
REFRESH_RETRY_S = 60.0
"""Pause after a failed refresh; the cached value serves meanwhile."""
READER_COST_MS = 30
"""ccxt's unit of pacing: 60,000 / 30 = 2,000 request weight a minute of the venue's 2,400."""
_CLOCK_CODES = frozenset({-1021, -5028})


CLOCK_WAIT_S = 1.0
"""Longest that an order waits for the clock to be measured after its time stamp was refused."""


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
        paces_reads: bool = True,
    ) -> None:
        if sandbox and demo:
            raise ConfigurationError(("binance: sandbox and demo exclude each other; keep one",))
        self._clock = clock
        self._read_timeout_s = read_timeout_s
        self._order_timeout_s = order_timeout_s
        keys = {"apiKey": api_key, "secret": api_secret}
        self._reader = _make_binance_client(keys, timeout_s=read_timeout_s, is_paced=paces_reads)
        self._trader = _make_binance_client(keys, timeout_s=order_timeout_s, is_paced=False)
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

    async def read(self, endpoint: str, what: str, params: Params | None = None) -> Any:
        """Read through the paced client. Raises Unavailable, naming `what`."""
        return await self._fetch(
            self._reader, endpoint, what, params=params, deadline_s=self._read_timeout_s
        )

    async def read_at_once(self, endpoint: str, what: str, params: Params | None = None) -> Any:
        """Read past the reader's queue, for what an order waits for. Raises Unavailable."""
        return await self._fetch(
            self._trader, endpoint, what, params=params, deadline_s=self._order_timeout_s
        )

    async def ask(self, endpoint: str, params: Params) -> Any | Failure:
        """Send an order, a cancel or a lookup at once, and once; a Failure is for `judge`."""
        try:
            async with asyncio.timeout(CLOCK_WAIT_S):
                await self.settle_clock()
        except (ObservationError, TimeoutError):
            # The order may still get through, and is refused without harm if it does not.
            _log.warning("clock_doubtful", why=f"{endpoint} is sent with a doubtful clock")
        return await self._send_once(
            self._trader, endpoint, params, deadline_s=self._order_timeout_s
        )

    def judge(self, failure: Failure) -> Refused | Unknown:
        """Say what a failed order or cancel proves, and drop cached facts that it contradicts."""
        outcome = judge(failure, venue_now_ms=self._venue_now_ms())
        if isinstance(outcome, Refused) and outcome.reason is RefusalReason.WRONG_POSITION_MODE:
            self._mode_due_at = 0.0
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
        answer = await self._send_once(
            self._trader, "fapiPublicGetTime", {}, deadline_s=self._order_timeout_s
        )
        arrived_ms, after = self._trader.milliseconds(), self._clock.now()
        if isinstance(answer, Failure):
            raise self._unavailable("time", answer)
        server_ms = required_integer(as_fields(answer, "time"), "serverTime", "time")
        for client in (self._reader, self._trader):
            client.options["timeDifference"] = arrived_ms - server_ms
        self._server_offset_s = server_ms / 1000 - (before + after) / 2
        self._clock_due_at = self._clock.monotonic() + REFRESH_S
        self._is_clock_trusted = True

    async def fetch_mode(self) -> AccountMode:
        """Read the account's mode afresh and remember it."""
        mode = parse_account_mode(await self.read("fapiPrivateGetAccountConfig", "accountConfig"))
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
        self, client: Any, endpoint: str, what: str, *, params: Params | None, deadline_s: float
    ) -> Any:
        """Send one read; after a refused time stamp the clock is measured and it is sent again.

        The refusal proves that nothing happened, and after a jump of either clock (a resumed
        machine, a corrected time) every read would otherwise be lost once.
        """
        answer = await self._send_once(client, endpoint, params or {}, deadline_s=deadline_s)
        if isinstance(answer, Failure) and code_of(answer.body) in _CLOCK_CODES:
            await self.settle_clock()
            answer = await self._send_once(client, endpoint, params or {}, deadline_s=deadline_s)
        if isinstance(answer, Failure):
            raise self._unavailable(what, answer)
        return answer

    async def _send_once(
        self, client: Any, endpoint: str, params: Params, *, deadline_s: float
    ) -> Any | Failure:
        """Send one request and note what its failure says about the clock."""
        try:
            return await send(client, endpoint, params, deadline_s=deadline_s)
        except RequestFailed as failed:
            self._learn_from(failed.failure)
            return failed.failure

    def _unavailable(self, what: str, failure: Failure) -> Unavailable:
        """The error of a failed read, with the pause that the venue asked for."""
        pause_s = retry_after_s(failure, venue_now_ms=self._venue_now_ms())
        return unavailable(what, failure, pause_s)

    def _learn_from(self, failure: Failure) -> None:
        """Distrust the clock after a refused time stamp."""
        if code_of(failure.body) in _CLOCK_CODES:
            self._is_clock_trusted = False

    def _venue_now_ms(self) -> float:
        """The time on the venue's clock."""
        return (self._clock.now() + self._server_offset_s) * 1000


async def together(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run reads at once; the first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(read) for read in reads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _make_binance_client(keys: Mapping[str, str], *, timeout_s: float, is_paced: bool) -> Any:
    """One ccxt client that sends nothing of its own accord and never repeats a request."""
    settings = {
        **keys,
        "enableRateLimit": is_paced,
        "rateLimiterAlgorithm": "rollingWindow",
        "rateLimit": READER_COST_MS,
        "timeout": int(timeout_s * 1000),
        "options": {
            "fetchCurrencies": False,
            "fetchMargins": False,
            "leverageBrackets": {},
            "maxRetriesOnFailure": 0,
            "disableFuturesSandboxWarning": True,
        },
    }
    return make_client(binanceusdm, settings, is_error_body=is_error_body)
