"""The guard on a bad disk: started like `killswitch.py`, and hindered by files in its folder.

While `hang-fsync` lies there no fsync of Python ends, which is how the lock file is written; while
`hang-commit` lies there no commit of the database does; with `no-room` at the start no file grows.
"""

from __future__ import annotations

import os
import resource
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

PROGRAM = Path(__file__).resolve().parent.parent / "killswitch.py"
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
    sys.path.insert(0, str(PROGRAM.parent))
    from position_store import PositionStore

    os.fsync = held_by("hang-fsync", os.fsync)
    PositionStore.commit = held_by("hang-commit", PositionStore.commit)  # type: ignore[method-assign]
    if Path("no-room").exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    sys.argv[0] = str(PROGRAM)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
