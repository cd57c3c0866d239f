"""Who may ask Bitget, and how often: parameters, signatures, time stamps, requests per second.

The signature covers time stamp, method, path, query and body. The query counts as it reads, not as
it is encoded, and the body exactly as it was sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus

from simulator.state import Account
from simulator.wire.bitget_codes import TOO_MANY, BitgetError, missing
from simulator.wire.protocol import WireRequest

WINDOW_S = 30
"""How far a time stamp may be from the venue's clock."""
SECOND_S = 1.0

Sent = Mapping[str, object]


def parameters(request: WireRequest) -> dict[str, object]:
    """Return what was sent: the query of a read, the JSON body of anything else."""
    if request.method == "GET" or not request.raw_body:
        return dict(parse_qsl(request.raw_query, keep_blank_values=True))
    try:
        body = json.loads(request.raw_body)
    except json.JSONDecodeError:
        raise missing("body") from None
    return dict(body) if isinstance(body, dict) else {"orders": body}


def find_account(
    accounts: Mapping[str, Account],
    request: WireRequest,
    *,
    path: str,
    now: float,
    slack_s: float,
) -> Account:
    """Find the account behind the headers of a request. Raises BitgetError.

    `slack_s` is how long the exchange's clock has been standing still while the caller's went on.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    account = accounts.get(headers.get("access-key", ""))
    if account is None:
        raise BitgetError("40006", "Invalid ACCESS_KEY")
    if headers.get("access-passphrase", "") != account.passphrase:
        raise BitgetError("40012", "apikey/password is incorrect")
    stamp = headers.get("access-timestamp", "")
    if not stamp.isdigit():
        raise BitgetError("40005", "Invalid ACCESS_TIMESTAMP")
    server_ms = now * 1000
    is_late = server_ms - int(stamp) > WINDOW_S * 1000
    if is_late or int(stamp) - server_ms > (WINDOW_S + slack_s) * 1000:
        raise BitgetError("40008", "Request timestamp expired")
    query = f"?{unquote_plus(request.raw_query)}" if request.raw_query else ""
    signed = f"{stamp}{request.method}{path}{query}{request.raw_body}"
    digest = hmac.new(account.api_secret.encode(), signed.encode(), hashlib.sha256).digest()
    wanted = base64.b64encode(digest).decode()
    if not hmac.compare_digest(wanted, headers.get("access-sign", "")):
        raise BitgetError("40009", "sign signature error")
    return account


@dataclass(slots=True)
class Limits:
    """Requests of the last second, by caller and endpoint."""

    spent: dict[tuple[str, str], deque[float]] = field(default_factory=dict)

    def spend(self, caller: str, endpoint: str, *, most: int, at: float) -> None:
        """Count a request. Raises BitgetError 429 for one too many; that one is not counted."""
        spent = self.spent.setdefault((caller, endpoint), deque())
        while spent and spent[0] + SECOND_S <= at:
            spent.popleft()
        if len(spent) >= most:
            raise BitgetError("429", "Too many requests", status=TOO_MANY)
        spent.append(at)
