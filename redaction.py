"""Secrets in, a mask for any text out: nothing that was loaded is ever shown, not even in part.

Owns the forms in which a secret may turn up (plain, URL-encoded, HTML-encoded, escaped, hex, base64
at any offset) and their replacement. Knows neither who loaded a secret nor where a text goes: log,
database, lock file and adapters are handed one `Redactor`. Rules:

- Of a long secret, eight characters in a row are already too many.
- Of a secret that is an address only what makes it one is hidden (its login, path and query), each
  on its own: the host and `https://` stand in many a harmless text.
- A text without a secret comes back as it was.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, unquote

MASK = "[redacted]"

_SHORTEST = 4
"""Shorter secrets cannot be masked without masking ordinary text; no venue gives such keys."""

_LONG = 16
_FRAGMENT = 8
"""Of a secret of `_LONG` characters or more, this many in a row count as the secret."""

_ADDRESS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]*://(?P<login>[^/?#]*@)?[^/?#]*(?P<rest>.*)", re.DOTALL
)
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_ESCAPE = re.compile(r"%[0-9A-F]{2}")


class Redactor:
    """Masks known secrets in any value."""

    def __init__(self, secrets: Iterable[str]) -> None:
        whole: set[str] = set()
        fragments: set[str] = set()
        for secret in secrets:
            hidden = _hidden_parts(secret)
            for form in {form for part in hidden for form in _forms(part)}:
                if len(form) >= _SHORTEST:
                    whole.add(form)
                if len(form) >= _LONG:
                    last = len(form) - _FRAGMENT
                    fragments.update(form[at : at + _FRAGMENT] for at in range(last + 1))
            if _ADDRESS.fullmatch(secret.strip()):
                whole.add(secret.strip())
        self._whole = tuple(sorted(whole, key=lambda form: (-len(form), form)))
        self._fragments = frozenset(fragments)

    def value(self, value: object) -> object:
        """Mask a value of any type; what is no plain value becomes its masked description.

        A float that is no number becomes its name, because JSON has no word for it.
        """
        if type(value) in (bool, int, type(None)):
            return value
        if type(value) is float and math.isfinite(value):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", errors="replace"))
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        return self.text(str(value))

    def text(self, text: str) -> str:
        """Mask whole secrets, then fragments of long ones."""
        for form in self._whole:
            if form in text:
                text = text.replace(form, MASK)
        if not self._fragments or len(text) < _FRAGMENT:
            return text
        spans = [
            start
            for start in range(len(text) - _FRAGMENT + 1)
            if text[start : start + _FRAGMENT] in self._fragments
        ]
        return _cover(text, spans) if spans else text


NOTHING_HIDDEN = Redactor(())
"""For what runs without secrets: the demo, simulations, tests."""


def _cover(text: str, starts: list[int]) -> str:
    """Replace the fragments that begin at `starts`, overlapping ones by a single mask."""
    parts: list[str] = []
    end = 0
    for start in starts:
        if start >= end:
            parts += [text[end:start], MASK]
        end = start + _FRAGMENT
    return "".join([*parts, text[end:]])


def _hidden_parts(secret: str) -> set[str]:
    """What of a secret must not be seen: each of its lines, or what an address carries."""
    address = _ADDRESS.fullmatch(secret.strip())
    if address is None:
        lines = {line.strip() for line in secret.splitlines()}
        return {secret, secret.strip(), *lines} - {""}
    login = (address["login"] or "").removesuffix("@")
    user, _, password = login.partition(":")
    words = {word for word in re.split(r"[/?#&=;]", address["rest"]) if len(word) >= _FRAGMENT}
    found = {password or user, *words}
    return (found | {unquote(word) for word in found}) - {""}


def _forms(plain: str) -> set[str]:
    """The secret as it may turn up in a URL, a header, a body, a page or a representation."""
    raw = plain.encode("utf-8", errors="surrogatepass")
    forms = {plain, json.dumps(plain)[1:-1], repr(plain)[1:-1], plain.translate(_ENTITIES)}
    quoted = {
        quote(plain, errors="replace"),
        quote(plain, safe="", errors="replace"),
        quote_plus(plain, errors="replace"),
    }
    forms |= quoted | {_ESCAPE.sub(lambda escape: escape[0].lower(), form) for form in quoted}
    forms |= {raw.hex(), raw.hex().upper()}
    for offset in range(3):
        forms |= _base64_at(raw, offset)
    return forms


def _base64_at(raw: bytes, offset: int) -> set[str]:
    """The part of a base64 text that only `raw` decides when it begins `offset` bytes in."""
    first = -(-offset * 8 // 6) if offset else 0
    last = (offset + len(raw)) * 8 // 6
    padded = b"\0" * offset + raw
    both = (base64.b64encode(padded), base64.urlsafe_b64encode(padded))
    return {encoded.decode()[first:last] for encoded in both} - {""}
