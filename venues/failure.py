"""A request that gave no usable answer, described so that its meaning can be judged.

Owns what is known of a failed request (was it sent, status, body, the pause asked for) and the
removal of secrets from everything that may be shown. Knows no venue: which code proves what is
each venue's own table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from errors import Unavailable
from redaction import NOTHING_HIDDEN, Redactor

_URL = re.compile(r"https?://\S+")
_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{28,}")
"""Keys, secrets and signatures are at least this long; words and order ids of ours are shorter."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
MESSAGE_LENGTH = 160
"""Longest text of a venue that is repeated: enough for its reason, too short for a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one request gave no usable JSON.

    `was_sent` is False only where it is proved that nothing left this machine. `status` is None
    when no answer came. `body` is the decoded JSON of the answer, None when there was none.
    `retry_after_s` is the pause the answer's header asked for, in seconds; on a request that was
    not sent, how long the venue's limits hold it back.
    """

    cause: str
    was_sent: bool = True
    status: int | None = None
    body: object = None
    retry_after_s: float | None = None


class KeyRefused(Unavailable):
    """The venue refused the key, or this kind of account: asking again later changes nothing."""


class RequestFailed(Exception):
    """Raised between a client and its adapter only; adapters turn it into errors or outcomes."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


def scrub(text: str, redactor: Redactor = NOTHING_HIDDEN) -> str:
    """Make a venue's text showable: no URL, key, signature or control character, and short.

    Masked before it is cut: a part of a secret that the cut leaves would not be recognised.
    """
    text = _LONG_TOKEN.sub("***", _URL.sub("<url>", redactor.text(text)))
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 3] + "..."


def unavailable(
    what: str,
    failure: Failure,
    retry_after_s: float | None,
    *,
    remedy: str = "",
    kind: type[Unavailable] = Unavailable,
) -> Unavailable:
    """The error a fetch raises for a failed request; `what` names the read."""
    message = with_remedy(f"{what}: {failure.cause}", remedy)
    return kind(message, retry_after_s=retry_after_s)


def with_remedy(message: str, remedy: str) -> str:
    """The message with what a person can do about it, where there is anything to do."""
    return f"{message} -> {remedy}" if remedy else message
