"""Who may ask Binance, and how often: parameters, signatures, timestamps, weights, order counts.

Signatures are checked over the query and the body exactly as they were sent, because that is what
the venue does and what catches a client that signs one thing and sends another.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from simulator.state import Account
from simulator.wire.binance_codes import (
    BANNED,
    TOO_MANY,
    UNAUTHORISED,
    BinanceError,
    missing,
)
from simulator.wire.protocol import WireRequest

DEFAULT_RECV_WINDOW_MS = 5000
MAX_AHEAD_MS = 1000
WEIGHT_PER_MINUTE = 2400
ORDERS_PER_TEN_SECONDS = 300
ORDERS_PER_MINUTE = 1200
SPOT_WEIGHT_PER_MINUTE = 6000
SPOT_ORDERS_PER_TEN_SECONDS = 100
PORTFOLIO_WEIGHT_PER_MINUTE = 6000
REFUSALS_BEFORE_BAN = 20
BAN_S = 120
MINUTE_S = 60
TEN_S = 10


def split_parameters(text: str) -> list[tuple[str, str]]:
    """Split an encoded query or body; also one whose JSON was not encoded, as batches send it."""
    pairs = (part.partition("=") for part in text.split("&") if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


def parameters(request: WireRequest) -> dict[str, str]:
    """Return the parameters of query and body together; the body wins."""
    return dict(split_parameters(request.raw_query) + split_parameters(request.raw_body))


def find_account(accounts: Mapping[str, Account], request: WireRequest) -> Account:
    """Find the account of the key in the header. Raises BinanceError -2014 or -2015."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    key = headers.get("x-mbx-apikey", "")
    if not key:
        raise BinanceError(-2014, "API-key format invalid.", status=UNAUTHORISED)
    if key not in accounts:
        raise refused_key()
    return accounts[key]


def refused_key() -> BinanceError:
    """Return the refusal of a key that is unknown or may not do this."""
    return BinanceError(
        -2015,
        "Invalid API-key, IP, or permissions for action.",
        status=UNAUTHORISED,
    )


def check_signature(account: Account, request: WireRequest) -> None:
    """Check the HMAC over what was sent, without its signature. Raises BinanceError -1022."""
    signed, given = "", ""
    for text in (request.raw_query, request.raw_body):
        kept = []
        for part in text.split("&"):
            if part.startswith("signature="):
                given = part.removeprefix("signature=")
            elif part:
                kept.append(part)
        signed += "&".join(kept)
    if not given:
        raise missing("signature")
    wanted = hmac.new(account.api_secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, given):
        raise BinanceError(-1022, "Signature for this request is not valid.")


def check_timestamp(sent: Mapping[str, str], *, now: float, slack_s: float) -> None:
    """Check timestamp and recvWindow. Raises BinanceError -1021.

    `slack_s` is how long the exchange's clock has been standing still while the caller's went on.
    """
    try:
        stamp = int(sent["timestamp"])
        window = int(sent.get("recvWindow") or DEFAULT_RECV_WINDOW_MS)
    except (KeyError, ValueError):
        raise missing("timestamp") from None
    server = int(now * 1000)
    if stamp >= server + int(slack_s * 1000) + MAX_AHEAD_MS:
        raise BinanceError(
            -1021, "Timestamp for this request was 1000ms ahead of the server's time."
        )
    if server - stamp > window:
        raise BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")


@dataclass(slots=True)
class Limits:
    """Weights per minute for all callers together, order counts per account."""

    weight_per_minute: int = WEIGHT_PER_MINUTE
    orders_per_ten_s: int = ORDERS_PER_TEN_SECONDS
    window: int = -1
    weight: int = 0
    refusals: int = 0
    banned_until: float = 0.0
    ten: dict[str, tuple[int, int]] = field(default_factory=lambda: defaultdict(lambda: (-1, 0)))
    minute: dict[str, tuple[int, int]] = field(default_factory=lambda: defaultdict(lambda: (-1, 0)))

    def spend(self, weight: int, *, at: float) -> None:
        """Count a request. Raises BinanceError 429, and 418 for one who goes on regardless."""
        if at < self.banned_until:
            raise self._refusal(BANNED, self.banned_until - at)
        window = int(at // MINUTE_S)
        if window != self.window:
            self.window, self.weight, self.refusals = window, 0, 0
        self.weight += weight
        if self.weight <= self.weight_per_minute:
            return
        self.refusals += 1
        if self.refusals > REFUSALS_BEFORE_BAN:
            self.banned_until = at + BAN_S
            raise self._refusal(BANNED, BAN_S)
        raise self._refusal(TOO_MANY, (window + 1) * MINUTE_S - at)

    def spend_orders(self, account: str, *, ten_s: int, minute: int, at: float) -> None:
        """Count orders. Raises BinanceError -1015 when a counter is full."""
        now_ten = _counted(self.ten[account], window=int(at // TEN_S), count=ten_s)
        now_minute = _counted(self.minute[account], window=int(at // MINUTE_S), count=minute)
        for (_, used), limit, interval, name in (
            (now_ten, self.orders_per_ten_s, TEN_S, "TEN_SECONDS"),
            (now_minute, ORDERS_PER_MINUTE, MINUTE_S, "MINUTE"),
        ):
            if used > limit:
                raise BinanceError(
                    -1015,
                    f"Too many new orders; current limit is {limit} orders per {name}.",
                    status=TOO_MANY,
                    headers={"Retry-After": str(int(interval - at % interval) + 1)},
                )
        self.ten[account] = now_ten
        self.minute[account] = now_minute

    def headers(self, account: str | None) -> dict[str, str]:
        """Return the usage headers; order counts only after an order."""
        headers = {"X-MBX-USED-WEIGHT-1M": str(self.weight)}
        if account is not None:
            headers["X-MBX-ORDER-COUNT-10S"] = str(self.ten[account][1])
            headers["X-MBX-ORDER-COUNT-1M"] = str(self.minute[account][1])
        return headers

    def _refusal(self, status: int, pause_s: float) -> BinanceError:
        text = (
            f"Way too many requests; IP banned until {int(self.banned_until * 1000)}."
            if status == BANNED
            else "Too many requests; current limit is "
            f"{self.weight_per_minute} requests per minute."
        )
        return BinanceError(
            -1003, text, status=status, headers={"Retry-After": str(int(pause_s) + 1)}
        )


def _counted(kept: tuple[int, int], *, window: int, count: int) -> tuple[int, int]:
    return (window, kept[1] + count if kept[0] == window else count)
