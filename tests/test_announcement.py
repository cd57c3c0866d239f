"""The first lines of a run: what it is, on what, and what it does not watch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from commands.assembly import Assembly
from commands.run import _announce
from logger import Logger
from tests.guard_files import BOOK, settings_in
from tests.virtual_house import Logbook


def announced(folder: Path, *, dry_run: bool = False, notices: tuple[str, ...] = ()) -> Logbook:
    """What is logged when a guard with these settings starts."""
    settings = settings_in(folder, dry_run=dry_run)
    guard = SimpleNamespace(policy=settings.to_policy(), notices=notices, alerts=None)
    log = Logbook()
    _announce(settings, cast("Assembly", guard), cast("Logger", log))
    return log


@pytest.mark.parametrize(("dry_run", "mode"), [(False, "LIVE"), (True, "DRY RUN: nothing is sent")])
def test_the_first_line_says_the_mode_the_books_and_the_simulator(
    tmp_path: Path, dry_run: bool, mode: str
) -> None:
    """Whoever believes to be live and is not, or the reverse, must see it at once."""
    event, told = announced(tmp_path, dry_run=dry_run).lines[0]
    assert (event, told["mode"], told["books"]) == ("started", mode, [BOOK])
    assert told["message"] == f"{mode}, watching {BOOK} on the SIMULATOR ({BOOK})"
    assert told["practice"] == {"simulator": [BOOK]}


def test_what_is_not_watched_is_one_line_each_at_the_start(tmp_path: Path) -> None:
    """Keys were found, and nobody looks after that account."""
    (told,) = announced(tmp_path).of("not_watched")
    assert told == {"message": "bybit: keys found, not in config.yaml, NOT WATCHED"}


def test_what_was_recovered_is_told_at_the_start(tmp_path: Path) -> None:
    """A lost database must not look like an ordinary start."""
    log = announced(tmp_path, notices=("the database could not be read",))
    assert log.of("recovered") == [{"message": "the database could not be read"}]
