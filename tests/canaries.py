"""Secrets made for one run, a venue that sends them back, and the search for what is left of them.

The search is written without `redaction`, so that it does not share its mistakes.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

VENUES = ("BINANCE", "BYBIT", "BITGET")
FRAGMENT = 8


def new_canaries() -> dict[str, str]:
    """A key, a secret and a password for every venue, by the variable that holds each."""
    found: dict[str, str] = {}
    for venue in VENUES:
        found[f"{venue}_API_KEY"] = secrets.token_hex(16) + secrets.token_urlsafe(24)
        found[f"{venue}_API_SECRET"] = secrets.token_urlsafe(48)
        found[f"{venue}_PASSWORD"] = f"{secrets.token_urlsafe(9)}/+&=$ {secrets.token_urlsafe(9)}"
    return found


def write_dotenv(folder: Path, canaries: Mapping[str, str]) -> None:
    """Store them where the guard looks for them."""
    lines = [f"{name}='{value}'\n" for name, value in canaries.items()]
    (folder / ".env").write_text("".join(lines), encoding="utf-8")


# --- the search -------------------------------------------------------------------------------


def forms(secret: str) -> dict[str, str]:
    """The ways in which a secret travels, by name; base64 as it looks inside a longer text."""
    raw = secret.encode()
    found = {
        "plain": secret,
        "url": quote(secret, safe=""),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "json": json.dumps(secret)[1:-1],
    }
    for offset in range(3):
        # Characters of either end also depend on what stands beside the secret.
        inner = base64.b64encode(b"x" * offset + raw).decode()[2 + offset : -4]
        found[f"base64+{offset}"] = inner
        found[f"base64url+{offset}"] = inner.replace("+", "-").replace("/", "_")
    return found


def find_canaries(places: Mapping[str, bytes], canaries: Mapping[str, str]) -> list[str]:
    """Where any canary is, whole in any form or eight of its characters in a row."""
    return sorted(
        f"{name} as {form} in {place}"
        for place, content in places.items()
        for name, secret in canaries.items()
        for form, text in _needles(secret)
        if text.encode() in content
    )


def _needles(secret: str) -> Iterator[tuple[str, str]]:
    yield from forms(secret).items()
    for start in range(len(secret) - FRAGMENT + 1):
        yield "a part", secret[start : start + FRAGMENT]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file of a state directory as raw bytes, the log of the database included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- the venue that talks too much --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer in the place of the venue's; `{}` in the body becomes what is sent back."""

    status: int = 400
    body: str = json.dumps({"code": -4141, "msg": "{}"})
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "answer"


@dataclass(slots=True, kw_only=True)
class _Plan:
    method: str
    path: str
    answers: list[Answer]


class Echo:
    """Sends requests back in its errors, headers and signature and all, as some gateways do.

    It even knows the secret, which no venue should.
    """

    def __init__(self, canaries: Mapping[str, str]) -> None:
        self._plans: list[_Plan] = []
        self._sayings = cycle(
            text
            for name, secret in canaries.items()
            for text in (
                f"{name} is {secret}",
                *(f"{name} in {form} is {text}" for form, text in forms(secret).items()),
                f"{name} begins with {secret[:9]} and ends with {secret[-9:]}",
            )
        )
        self.sent = 0

    def plan(self, method: str, path: str, answers: Iterable[Answer]) -> None:
        """Answer the next requests of this kind so, one after the other."""
        self._plans.append(_Plan(method=method, path=path, answers=list(answers)))

    @property
    def is_over(self) -> bool:
        """True when every planned answer was given."""
        return not any(plan.answers for plan in self._plans)

    def middleware(self) -> web.middleware:  # type: ignore[valid-type]
        """What the simulator's server asks first."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            for plan in self._plans:
                is_meant = request.method == plan.method and re.search(plan.path, request.path)
                if is_meant and plan.answers:
                    self.sent += 1
                    return await self._give(plan.answers.pop(0), request)
            return await handler(request)

        return answer

    async def _give(self, answer: Answer, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if answer.how == "reset":
            request.transport.abort()
            return web.Response()
        if answer.how == "cut":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"orderId": 1')
            request.transport.close()
            return response
        said = f"{next(self._sayings)} {request.raw_path} {dict(request.headers)}"
        if "html" in answer.content_type:
            said = f"{said} {await request.text()} {[next(self._sayings) for _ in range(30)]}"
        body = answer.body.replace("{}", json.dumps(said)[1:-1])
        return web.Response(
            text=body,
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
        )
