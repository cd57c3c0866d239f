"""`db stats`: how large the database is, what it keeps, and what is still to be thinned."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from commands.run import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_FINE, read_settings
from commands.status.wording import say_span
from errors import StoreError
from store.retention import SPEED
from store.statistics import StoreStatistics, read_statistics

BEHIND_SHOWN_S = 2 * 3600.0
"""Less than this is the file's clock between two of its notes, and no backlog."""

VERSION = 1
"""The form of the JSON document; it grows when a key changes its meaning or goes."""


def show_statistics(config: Path, *, as_json: bool) -> int:
    """Show the database; returns the exit code, 1 where there is none or SQLite finds a fault."""
    settings = read_settings(config, require_venues=False)
    if settings is None:
        return EXIT_CONFIGURATION
    try:
        found = read_statistics(settings.state_db)
    except (StoreError, OSError) as error:
        print(f"db stats: {error}", file=sys.stderr)
        return EXIT_FAILED
    if as_json:
        print(json.dumps(to_document(found), indent=2, allow_nan=False))
    else:
        Console().print(render(found))
    return EXIT_FAILED if found.faults else EXIT_FINE


def to_document(found: StoreStatistics) -> dict[str, object]:
    """Turn statistics into plain values; times are UTC seconds, what is not known is null."""
    return {
        "version": VERSION,
        "state_db": str(found.path),
        "schema_version": found.version,
        "is_sound": not found.faults,
        "faults": list(found.faults),
        "file_bytes": found.file_bytes,
        "free_bytes": found.free_bytes,
        "log_bytes": found.log_bytes,
        "tables": {
            table.name: {"rows": table.rows, "oldest_ts": table.oldest, "newest_ts": table.newest}
            for table in found.tables
        },
        "readings": asdict(found.readings),
        "positions": asdict(found.positions),
        "closed_positions": found.closed_positions,
        "rows_a_day": found.rows_a_day,
        "bytes_a_day": found.bytes_a_day,
        "settled_bytes": found.settled_bytes,
        "behind_s": found.behind_s,
    }


def render(found: StoreStatistics) -> Group:
    """What a person reads, in 80 columns and in a pipe."""
    return Group(*_parts(found))


def _parts(found: StoreStatistics) -> Iterator[RenderableType]:
    yield Text(str(found.path), style="bold", overflow="fold")
    if found.faults:
        yield Text(
            "DAMAGED -> stop the guard and keep a copy of the file; started again, the guard moves "
            "a file aside that it cannot read",
            style="bold red",
        )
        for fault in found.faults:
            yield Text(f"  {fault}", style="red")
    sizes = f"file {say_size(found.file_bytes)} ({say_size(found.free_bytes)} of it free again)"
    sound = "" if found.faults else ", no fault found"
    yield Text(f"{sizes}, log {say_size(found.log_bytes)}, schema {found.version}{sound}")
    yield Text()
    yield _tables(found)
    yield Text()
    yield _kept(found)
    yield Text()
    if found.bytes_a_day is not None and found.settled_bytes is not None:
        yield Text(
            f"About {found.rows_a_day:,.0f} rows ({say_size(found.bytes_a_day)}) a day; "
            f"thinned, it settles near {say_size(found.settled_bytes)}."
        )
    if found.behind_s > BEHIND_SHOWN_S:
        yield Text(
            f"Thinning has {say_span(found.behind_s)} to make good; an hour of running makes good "
            f"{SPEED:.0f} hours.",
            style="yellow",
        )


def _tables(found: StoreStatistics) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("table")
    table.add_column("rows", justify="right")
    table.add_column("oldest (UTC)")
    table.add_column("newest (UTC)")
    for one in found.tables:
        table.add_row(one.name, f"{one.rows:,}", _moment(one.oldest), _moment(one.newest))
    return table


def _kept(found: StoreStatistics) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("kept")
    for name in ("raw, 24 h", "a minute", "an hour", "due to go"):
        table.add_column(name, justify="right")
    for name, kept in (("readings", found.readings), ("positions", found.positions)):
        counts = (kept.raw, kept.minute, kept.hour, kept.due)
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def _moment(ts: float | None) -> str:
    return "-" if ts is None else f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M:%S}"


def say_size(size: float) -> str:
    """A number of bytes in the unit that a person would choose, to three figures or so."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
