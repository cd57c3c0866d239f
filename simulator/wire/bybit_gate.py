"""Who may ask Bybit, and how often: parameters, signatures, time stamps, allowances.

Signatures are checked over the query or the body exactly as they were sent, because that is what
the venue does and what catches a client that signs one thing and sends another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from simulator.state import Account
from simulator.wire.bybit_codes import Banned, BybitError, bad_parameter
from simulator.wire.protocol import WireRequest

DEFAULT_RECV_WINDOW_MS = 5000
MAX_AHEAD_MS = 1000
SECOND_S = 1.0
ADDRESS_WINDOW_S = 5.0
ADDRESS_MOST = 600
BAN_S = 600.0


def parameters(request: WireRequest) -> dict[str, Any]:
    """Return the parameters of a query, or of a JSON body. Raises BybitError 10001."""
    if request.method == "POST":
        try:
            content = json.loads(request.raw_body or "{}")
        except json.JSONDecodeError:
            raise bad_parameter("the body is no JSON") from None
        if not isinstance(content, dict):
            raise bad_parameter("the body is no object")
        return content
    pairs = (part.partition("=") for part in request.raw_query.split("&") if part)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _headers(request: WireRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def find_account(accounts: Mapping[str, Account], request: WireRequest) -> Account:
    """Find the account of the key in the header. Raises BybitError 10003."""
    key = _headers(request).get("x-bapi-api-key", "")
    if key not in accounts:
        raise BybitError(10003, "API key is invalid.")
    return accounts[key]


def check_signature(account: Account, request: WireRequest) -> None:
    """Check the HMAC over time, key, window and what was sent. Raises BybitError 10004."""
    headers = _headers(request)
    payload = request.raw_body if request.method == "POST" else request.raw_query
    signed = (
        headers.get("x-bapi-timestamp", "")
        + account.api_key
        + headers.get("x-bapi-recv-window", "")
        + payload
    )
    wanted = hmac.new(account.api_secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, headers.get("x-bapi-sign", "")):
        raise BybitError(10004, "error sign! please check your signature generation algorithm.")


def check_timestamp(request: WireRequest, *, now: float, slack_s: float) -> None:
    """Check the time stamp against the receive window. Raises BybitError 10002.

    `slack_s` is how long the exchange's clock has been standing still while the caller's went on.
    """
    headers = _headers(request)
    try:
        stamp = int(headers["x-bapi-timestamp"])
        window = int(headers.get("x-bapi-recv-window") or DEFAULT_RECV_WINDOW_MS)
    except (KeyError, ValueError):
        raise bad_parameter("timestamp") from None
    server = int(now * 1000)
    if server - window <= stamp < server + int(slack_s * 1000) + MAX_AHEAD_MS:
        return
    raise BybitError(
        10002, "invalid request, please check your server timestamp or recv_window param."
    )


class Limits:
    """Requests of each account in a rolling second, by endpoint; of the address in five."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._address: deque[float] = deque()
        self._banned_until = 0.0

    def enter(self, *, at: float) -> None:
        """Count a request of the address. Raises Banned for one that asks too often."""
        if at < self._banned_until:
            raise Banned
        _forget(self._address, before=at - ADDRESS_WINDOW_S)
        self._address.append(at)
        if len(self._address) > ADDRESS_MOST:
            self._banned_until = at + BAN_S
            raise Banned

    def spend(
        self, account: str, path: str, *, most: int, units: int, at: float, now: float
    ) -> dict[str, str]:
        """Count a request and return the headers that tell of it. Raises BybitError 10006."""
        spent = self._spent[(account, path)]
        _forget(spent, before=at - SECOND_S)
        is_over = len(spent) + units > most
        if not is_over:
            spent.extend([at] * units)
        resets_at = now + (spent[0] + SECOND_S - at if is_over and spent else 0.0)
        headers = limit_headers(most, left=most - len(spent), resets_at=resets_at)
        if is_over:
            raise too_many_visits(headers)
        return headers


def limit_headers(most: int, *, left: int, resets_at: float) -> dict[str, str]:
    """Return the headers that tell an endpoint's limit, what is left of it, and until when."""
    return {
        "X-Bapi-Limit": str(most),
        "X-Bapi-Limit-Status": str(left),
        "X-Bapi-Limit-Reset-Timestamp": str(round(resets_at * 1000)),
    }


def too_many_visits(headers: Mapping[str, str]) -> BybitError:
    """Return the refusal of a request too many."""
    return BybitError(10006, "Too many visits. Exceeded the API Rate Limit.", headers=headers)


def _forget(times: deque[float], *, before: float) -> None:
    while times and times[0] <= before:
        times.popleft()
