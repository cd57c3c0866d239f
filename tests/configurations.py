"""Configurations written for a test: text in, settings or the lines of a refusal out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from errors import ConfigurationError
from policy import BookPolicy
from settings import Settings, load_settings

KEYS = {"BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"}
SUB_KEYS = {"BINANCE_SUB1_API_KEY": "sub-key", "BINANCE_SUB1_API_SECRET": "sub-secret"}
BITGET_KEYS = {
    "BITGET_API_KEY": "bitget-key",
    "BITGET_API_SECRET": "bitget-secret",
    "BITGET_PASSWORD": "test-phrase",
}

Load = Callable[..., Settings]


def loader(folder: Path) -> Load:
    """A function that loads the given text as config.yaml in `folder`."""

    def _load(
        text: str, environ: Mapping[str, str] = KEYS, *, require_venues: bool = True
    ) -> Settings:
        path = folder / "config.yaml"
        path.write_text(dedent(text), encoding="utf-8")
        return load_settings(path, environ, require_venues=require_venues)

    return _load


def problems(load: Load, text: str, environ: Mapping[str, str] = KEYS) -> list[str]:
    """The lines of a configuration that must be refused, without the folder's name."""
    with pytest.raises(ConfigurationError) as caught:
        load(text, environ)
    return [re.sub(r"^\S*/", "", line) for line in caught.value.problems]


def futures(text: str) -> str:
    """A file whose only content is keys of the futures account."""
    head = "exchanges:\n  binance:\n    accounts:\n      futures:\n"
    body = dedent(text).strip("\n").splitlines()
    return head + "\n".join(f"        {line}" for line in body) + "\n"


def only_book(loaded: Settings) -> BookPolicy:
    """The single book of the policy."""
    (book,) = loaded.to_policy().books
    return book
