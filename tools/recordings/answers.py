"""Finds recorded answers below a folder, in the three forms that such collections have.

- `<venue>/<name>.json`: an object with `requests` (as sent; the last one is the answer's) and
  `httpResponse`. Without requests the name says which endpoint it was.
- a text file of a client library's tests: method, path, whether it is signed, lines about the
  request, and then the answer, often with comments behind its fields;
- a JSON file of `routes`: answers by path and method.

Numbers become text, as the exchange library hands them to the parsers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

VENUES = ("binance", "bybit", "bitget")
NAMED: Mapping[str, tuple[str, str]] = {
    "apiRestrictions": ("GET", "/sapi/v1/account/apiRestrictions"),
    "papiAccount": ("GET", "/papi/v1/account"),
    "queryApi": ("GET", "/v5/user/query-api"),
}
"""Endpoints of files without requests, by the first part of their names."""
_WIRE = re.compile(r"(?P<method>[A-Z]+) /(?P<host>[^/ ]+)(?P<path>/[^ ?]*)\s*\??(?P<query>.*)")
_HEAD = re.compile(r"(?P<method>GET|POST|PUT|DELETE)\s+(?P<path>/\S+)\s+(?:true|false)\b")
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')


class Unreadable(ValueError):
    """A file that is none of the three forms; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One answer and the request it belongs to.

    `answer` is as a parser gets it, with numbers as text; `written` has them as numbers.
    `is_foreign`: out of somebody else's collection, of which only a part concerns the guard.
    """

    file: str
    venue: str
    method: str
    path: str
    answer: object
    written: object
    sent: Mapping[str, str] = field(default_factory=dict)
    is_foreign: bool = False

    @property
    def endpoint(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


def files_below(folder: Path) -> list[Path]:
    """Every file that may hold recordings, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".txt"))


def load(path: Path, *, name: str) -> list[Recording]:
    """The recordings of one file; `name` is how it is told, and names its venue.

    Of a file that holds none (a socket's messages, a licence) there are none. Raises Unreadable.
    """
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".txt":
        return list(_of_library(text, name=name))
    answers, written = _decode(text)
    if isinstance(answers, dict) and isinstance(written, dict):
        if "routes" in answers:
            return list(_of_routes(answers["routes"], written["routes"], name=name))
        if "httpResponse" in answers:
            return list(_of_ours(answers, written["httpResponse"], name=name))
    raise Unreadable("neither requests with an answer nor routes")


def _decode(text: str) -> tuple[Any, Any]:
    """JSON twice: with the numbers as the text that was recorded, and as numbers."""
    try:
        return json.loads(text, parse_int=str, parse_float=str), json.loads(text)
    except ValueError as fault:
        raise Unreadable(f"no JSON: {fault}") from None


def _of_ours(content: Mapping[str, Any], written: object, *, name: str) -> Iterator[Recording]:
    requests = content.get("requests")
    sent: dict[str, str] = {}
    if isinstance(requests, list) and requests:
        wire = _WIRE.match(str(requests[-1]))
        if wire is None:
            raise Unreadable("its last request is not written as method, host and path")
        method, path, venue = wire["method"], wire["path"], _venue(wire["host"])
        query, _, body = wire["query"].partition("BODY")
        sent = dict(parse_qsl(query.strip()))
        if body.strip().startswith("{"):
            sent |= {key: str(value) for key, value in json.loads(body).items()}
    else:
        stem = Path(name).stem.partition("-")[0]
        if stem not in NAMED:
            raise Unreadable("it has no requests, and its name is not known")
        (method, path), venue = NAMED[stem], _venue(name)
    answer = content["httpResponse"]
    several = isinstance(answer, list) and bool(answer) and _is_whole(answer[0])
    pairs = zip(answer, written, strict=True) if several else ((answer, written),)  # type: ignore
    for each, as_numbers in pairs:
        yield Recording(
            file=name,
            venue=venue,
            method=method,
            path=path,
            answer=each,
            written=as_numbers,
            sent=sent,
        )


def _is_whole(row: object) -> bool:
    """Whether it is an answer of its own, of which the file lists several."""
    return isinstance(row, dict) and "retCode" in row


def _of_library(text: str, *, name: str) -> Iterator[Recording]:
    head = _HEAD.match(text)
    body = head and re.search(r"^\s*[\[{]", text[head.end() :], re.MULTILINE)
    if head is None or body is None:
        return  # A socket's message, or an endpoint that answers with nothing.
    plain = _COMMENT.sub(lambda found: found[1] or "", text[head.end() + body.start() :])
    answer, written = _decode(re.sub(r",(\s*[\]}])", r"\1", plain))
    yield Recording(
        file=name,
        venue=_venue(name),
        method=head["method"],
        path=head["path"],
        answer=answer,
        written=written,
        is_foreign=True,
    )


def _of_routes(
    routes: Mapping[str, Any], written: Mapping[str, Any], *, name: str
) -> Iterator[Recording]:
    for path, methods in routes.items():
        for method, answers in methods.items():
            for number, answer in enumerate(answers):
                yield Recording(
                    file=name,
                    venue=_venue(name),
                    method=method,
                    path=path,
                    answer=answer["data"],
                    written=written[path][method][number]["data"],
                    sent=dict(parse_qsl(str(answer.get("queryString") or ""))),
                    is_foreign=True,
                )


def _venue(text: str) -> str:
    found = [venue for venue in VENUES if venue in text.lower()]
    if len(found) != 1:
        raise Unreadable("neither its request nor its place names one exchange")
    return found[0]
