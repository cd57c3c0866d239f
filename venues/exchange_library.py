"""The exchange library with the four classes that the adapters use, and no other.

The library's packages import more than a hundred exchanges, which a guard never asks: half of its
memory and of its start. Everything else of them is imported as it is. Whatever another program
part has already imported whole stays whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PACKAGES = ("ccxt", "ccxt.async_support")
_USED = frozenset({"binance", "binanceusdm", "bitget", "bybit"})


class _PassedOver(MetaPathFinder, Loader):
    """Finds the exchanges that nobody uses, as modules whose class is None."""

    def __init__(self, exchanges: frozenset[str]) -> None:
        self._exchanges = exchanges

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module that stands for an exchange, None for everything else."""
        package, _, name = fullname.rpartition(".")
        is_unused = package in _PACKAGES and name in self._exchanges
        return ModuleSpec(fullname, self) if is_unused else None

    def exec_module(self, module: ModuleType) -> None:
        """Let the package find the name that it asks the module for."""
        setattr(module, module.__name__.rpartition(".")[2], None)


@contextmanager
def _without_the_unused() -> Iterator[None]:
    """Import nothing of an exchange that is not used, as long as the block lasts."""
    found = PathFinder.find_spec("ccxt")
    places = (found and found.submodule_search_locations) or ()
    # Each exchange has its list of endpoints in a folder where nothing else lies.
    listed = {path.stem for place in places for path in Path(place, "abstract").glob("*.py")}
    finder = _PassedOver(frozenset(listed - _USED))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _without_the_unused():
    from ccxt.async_support import binance, binanceusdm, bitget, bybit
    from ccxt.base.errors import (
        AuthenticationError,
        BaseError,
        ExchangeClosedByUser,
        NotSupported,
    )

__all__ = [
    "AuthenticationError",
    "BaseError",
    "ExchangeClosedByUser",
    "NotSupported",
    "binance",
    "binanceusdm",
    "bitget",
    "bybit",
]
