"""Of the exchange library a guard loads what it uses: a small machine has little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import sys
import venues.adapters
from venues import exchange_library
homes = (module for name, module in sys.modules.items() if name.startswith("ccxt.async_support."))
files = (getattr(module, "__file__", None) for module in homes)
print(*sorted(file.rpartition("/")[2] for file in files if file and "/base/" not in file))
print(*(getattr(exchange_library, name).__name__ for name in exchange_library.__all__))
print(any(type(finder).__name__ == "_PassedOver" for finder in sys.meta_path))
"""


def test_of_a_hundred_exchanges_the_four_that_are_used_are_loaded() -> None:
    """Every adapter is imported; the library's other classes are not, and the hook is gone."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files, classes, is_still_in_the_way = done.stdout.splitlines()
    assert files.split() == ["binance.py", "binanceusdm.py", "bitget.py", "bybit.py"]
    errors = ["AuthenticationError", "BaseError", "ExchangeClosedByUser", "NotSupported"]
    assert classes.split() == [*errors, "binance", "binanceusdm", "bitget", "bybit"]
    assert is_still_in_the_way == "False"
