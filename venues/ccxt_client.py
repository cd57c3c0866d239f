"""Makes ccxt clients that tell what really happened, and sends requests through them.

ccxt decides by exception class, and its classes mislead: a venue's "timed out, status unknown"
can arrive as a plain refusal, an HTML page with status 200 as success, and on a loopback host its
per-market table is off. Every client made here therefore looks at each answer itself, within the
request it belongs to (several run at once on one client), and raises `RequestFailed` with status
and body. Nothing of a request (URL, header, signature) reaches a message or a log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yarl

from errors import ConfigurationError
from redaction import Redactor
from venues.exchange_library import (
    AuthenticationError,
    BaseError,
    ExchangeClosedByUser,
    NotSupported,
)
from venues.failure import Failure, RequestFailed, scrub

Params = Mapping[str, str | int | list[dict[str, str | int]]]
"""What a request says; only a batch of orders says a list."""

IsErrorBody = Callable[[object], bool]
"""Whether a decoded body of status 200 is an error after all."""

_FAULTS = (
    BaseError,
    aiohttp.ClientError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)
"""What a request may raise inside ccxt and aiohttp, odd answers that trip them up included."""

_CREDENTIALS = ("apiKey", "secret", "password", "uid", "privateKey", "token")
"""The settings of a ccxt client that a venue may send back in the text of an error."""

_quiet = logging.getLogger("killswitch.ccxt")
_quiet.setLevel(logging.WARNING)
"""ccxt logs headers with the key and signed URLs at DEBUG, whatever the root logger allows."""


def make_client(
    exchange_class: Any,
    settings: Mapping[str, object],
    *,
    is_error_body: IsErrorBody,
    on_answer: Callable[[int, Mapping[str, str], str], None],
) -> Any:
    """Make one ccxt client whose answers are judged here instead of by ccxt's exception tables.

    `on_answer` sees status, headers and URL of every answer, refusals included. The URL is signed.
    """
    redactor = Redactor(str(settings[name]) for name in _CREDENTIALS if name in settings)

    class ObservedClient(exchange_class):  # type: ignore[misc]
        """The exchange's client; an answer that is no JSON result raises `RequestFailed`."""

        def handle_errors(self, *answer: Any) -> None:
            """Judge one answer; ccxt calls this inside the request it belongs to."""
            status, _reason, url, _method, headers, body, decoded, *_request = answer
            on_answer(status, headers or {}, url)
            if status == 200 and isinstance(decoded, dict | list) and not is_error_body(decoded):
                return
            raise RequestFailed(
                Failure(
                    cause=describe_answer(status, body, decoded, redactor),
                    status=status,
                    body=decoded,
                    retry_after_s=_retry_after_s(headers),
                )
            )

    client = ObservedClient(dict(settings))
    client.logger = _quiet
    # Left to itself each client would read them at its first request, and the loop stand still.
    client.ssl_context = _trusting(client.cafile)
    return client


@cache
def _trusting(cafile: str) -> ssl.SSLContext:
    """What every connection trusts: read once for all clients, because it takes 0.02 s."""
    return ssl.create_default_context(cafile=cafile)


async def send(client: Any, endpoint: str, params: Params, *, deadline_s: float) -> Any:
    """Call one of ccxt's implicit endpoint methods and return the decoded JSON object or array.

    Raises RequestFailed.
    """
    method = getattr(client, endpoint)
    try:
        async with asyncio.timeout(deadline_s):
            return await method(dict(params))
    except RequestFailed as failed:
        failure = failed.failure
    except TimeoutError:
        failure = Failure(cause=f"no answer within {deadline_s:g} s")
    except _FAULTS as fault:
        failure = _describe_fault(fault)
    # Raised outside the handlers, so that no exception with a signed URL hangs on to it.
    raise RequestFailed(failure)


async def open_connections(client: Any, url: str, *, count: int, deadline_s: float) -> None:
    """Have so many connections to the host of `url` ready for requests that follow soon.

    Nothing is sent. Whatever goes wrong is no matter: every request opens what it lacks itself.
    """
    client.open()
    timeout = aiohttp.ClientTimeout(connect=deadline_s, sock_connect=deadline_s)
    all_began = asyncio.Event()

    async def open_one() -> None:
        # By no other way does a connection get into the pool that ccxt's requests take it from.
        request = aiohttp.ClientRequest("GET", yarl.URL(url), session=client.session)
        connection = await client.session.connector.connect(request, traces=[], timeout=timeout)
        try:
            # Given back earlier, one that rested in the pool would count for all of them.
            await all_began.wait()
        finally:
            connection.release()

    opening = asyncio.gather(*(open_one() for _ in range(count)), return_exceptions=True)
    await asyncio.sleep(0)
    all_began.set()
    await opening


def redirect(client: Any, simulator_url: str) -> None:
    """Point every URL of a client at the simulator, keeping the host as the first path part.

    Raises ConfigurationError unless the URL names a literal loopback address.
    """
    base = checked_simulator_url(simulator_url)
    client.urls["api"] = {
        name: re.sub(r"^https?://", f"{base}/", url)
        for name, url in client.urls["api"].items()
        if isinstance(url, str)
    }


def checked_simulator_url(simulator_url: str) -> str:
    """The URL without its trailing slash; a name (even `localhost`) could resolve anywhere."""
    try:
        parts = urlsplit(simulator_url)
        is_loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
        has_port = parts.port is not None
    except ValueError:
        is_loopback, has_port = False, False
    if (
        not is_loopback
        or not has_port
        or parts.scheme != "http"
        or "@" in parts.netloc
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ConfigurationError(
            (
                "simulator_url: not a literal loopback address; "
                "write it like http://127.0.0.1:8800 or remove the key",
            )
        )
    return simulator_url.rstrip("/")


def describe_answer(status: int, body: object, decoded: object, redactor: Redactor) -> str:
    """Say in short what an unusable answer was, with the venue's own code and message."""
    if not isinstance(decoded, dict | list):
        return f"HTTP {status}, " + ("an empty body" if not body else "not a JSON result")
    if isinstance(decoded, dict):
        code = next((decoded[name] for name in ("code", "retCode") if name in decoded), None)
        text = next((decoded[name] for name in ("msg", "retMsg") if name in decoded), None)
        if code is not None or text is not None:
            return f"HTTP {status}, " + scrub(f"code {code}: {text or 'no message'}", redactor)
    return f"HTTP {status}, without a code"


def _describe_fault(fault: BaseException) -> Failure:
    """Describe a request that got no answer; class names only, the texts carry signed URLs."""
    cause = fault.__cause__ if isinstance(fault, BaseError) and fault.__cause__ else fault
    if isinstance(cause, aiohttp.ClientConnectorError | socket.gaierror):
        return Failure(cause="connection refused or host not found", was_sent=False)
    if isinstance(cause, asyncio.TimeoutError):
        return Failure(cause="timed out")
    if isinstance(cause, NotSupported):
        return Failure(cause="not offered here, as in demo and testnet", was_sent=False)
    # The hook above judges every answer, so these are left only for what ccxt checks before it
    # sends: closed clients, missing credentials, missing URLs.
    is_before_sending = isinstance(cause, ExchangeClosedByUser | AuthenticationError)
    return Failure(cause=f"no answer ({type(cause).__name__})", was_sent=not is_before_sending)


def _retry_after_s(headers: Mapping[str, str] | None) -> float | None:
    """The pause named by the Retry-After header in seconds; None when absent or a date."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after" and re.fullmatch(r"\d{1,7}", value, re.ASCII):
            return float(value)
    return None
