"""The guard on a disk that hangs: started like `killswitch.py`, and stopped by files.

While `hang-fsync` lies in the working directory no fsync of Python ends, which is how the lock file
is written; while `hang-commit` lies there no commit of the database does.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

ROOT = Path(__file__).resolve().parent.parent
Given = ParamSpec("Given")
Value = TypeVar("Value")


def held_by(name: str, work: Callable[Given, Value]) -> Callable[Given, Value]:
    """The work, which does not begin while a file of that name is there."""

    def hold(*given: Given.args, **named: Given.kwargs) -> Value:
        while Path(name).exists():
            time.sleep(0.01)
        return work(*given, **named)

    return hold


def main() -> None:
    """Run the guard with the arguments of this process."""
    sys.path.insert(0, str(ROOT))
    from position_store import PositionStore

    os.fsync = held_by("hang-fsync", os.fsync)
    PositionStore.commit = held_by("hang-commit", PositionStore.commit)  # type: ignore[method-assign]
    sys.argv[0] = str(ROOT / "killswitch.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
