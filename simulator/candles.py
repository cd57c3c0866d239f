"""Tapes from candle files: one CSV with all symbols, or a folder with one file per symbol.

Owns the two file forms and every complaint about them. Refuses to guess: a row that makes no
sense ends the loading with one line that says file, row and remedy, because a silently skipped
row would be a price move that nobody sees.

- One file: `ts,symbol,open,high,low,close`, plain or `.gz`; symbols may alternate, each symbol's
  rows are ordered by time. The bar length of a symbol is its smallest distance between two rows.
- A folder: `EVENT_SYMBOL_RES.csv` or `.csv.gz` with `ts,open,high,low,close,volume`; RES is `30s`,
  `1m`, `3m`, `1h`, `1d`. Other files are ignored. The finest resolution of a symbol wins.

`ts` is the bar's start in UTC seconds. Further columns are allowed and ignored.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from simulator.tape import Bar, PricePath, Tape, TapeError

DEFAULT_QUOTE = "USDT"
SINGLE_BAR_S = 60.0
"""Bar length of a symbol with one row, whose file gives no second one to measure against."""
LATEST_TS_S = 1e11
"""Seconds beyond the year 5000: such a `ts` is in milliseconds."""

_FILE_NAME = re.compile(r"(?P<event>.+)_(?P<symbol>[A-Z0-9]+)_(?P<bar>[1-9]\d*[smhd])\.csv(\.gz)?")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleFile:
    """A file of a candle folder, as its name describes it."""

    path: Path
    event: str
    symbol: str
    bar_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which part of the data a tape is made from; None everywhere means no limit."""

    begin: float | None
    end: float | None
    symbols: frozenset[str] | None

    def takes(self, symbol: str) -> bool:
        """True for a symbol that was asked for; without a list, for every one quoted in USDT."""
        if self.symbols is not None:
            return symbol in self.symbols
        return symbol.endswith(DEFAULT_QUOTE) and symbol != DEFAULT_QUOTE

    def overlapping(self, bars: Sequence[Bar], *, bar_s: float) -> list[Bar]:
        """The bars that have any part between `begin` and `end`."""
        begin = -math.inf if self.begin is None else self.begin
        end = math.inf if self.end is None else self.end
        return [bar for bar in bars if bar.start < end and bar.start + bar_s > begin]


def load_tape(
    path: Path | str,
    *,
    event: str | None = None,
    begin: float | None = None,
    end: float | None = None,
    symbols: Collection[str] | None = None,
) -> Tape:
    """Read a tape from one CSV file or from a folder of candle files.

    `event` keeps the files of a folder whose name begins with it. `begin` and `end` (UTC seconds)
    cut the tape; a bar that reaches into the span is kept. `symbols` names exactly the symbols to
    load; without it every symbol quoted in USDT is loaded. Raises TapeError with one line.
    """
    source = Path(path)
    if begin is not None and end is not None and not begin < end:
        raise TapeError(f"{source}: begin {begin:g} is not before end {end:g}; swap or widen them")
    wanted = Selection(
        begin=begin, end=end, symbols=None if symbols is None else frozenset(symbols)
    )
    if source.is_dir():
        paths = [
            drawn
            for file in candle_files(source, event=event, wanted=wanted)
            if (drawn := _draw(file.symbol, _file_bars(file), file.bar_s, wanted)) is not None
        ]
    elif source.is_file():
        if event is not None:
            raise TapeError(f"{source}: an event selects files of a folder; leave it out here")
        paths = [
            drawn
            for symbol, bars in sorted(_bars_by_symbol(source, wanted).items())
            if (drawn := _draw(symbol, bars, _bar_length(bars), wanted)) is not None
        ]
    else:
        raise TapeError(f"{source}: no such file or folder; check the path")
    _refuse_absent(source, wanted, {drawn.symbol for drawn in paths})
    return Tape.of(paths, begin=begin, end=end)


def candle_files(
    folder: Path, *, event: str | None, wanted: Selection | None = None
) -> tuple[CandleFile, ...]:
    """The candle files of one event, the finest of each symbol, ordered by symbol.

    Raises TapeError when none matches, when several events match, or when a symbol has two files
    of the same resolution.
    """
    chosen: dict[str, CandleFile] = {}
    events: set[str] = set()
    for path in sorted(folder.iterdir()):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or not path.name.startswith(event or ""):
            continue
        events.add(match["event"])
        if wanted is not None and not wanted.takes(match["symbol"]):
            continue
        file = CandleFile(
            path=path,
            event=match["event"],
            symbol=match["symbol"],
            bar_s=float(match["bar"][:-1]) * _UNIT_S[match["bar"][-1]],
        )
        known = chosen.get(file.symbol)
        if known is not None and known.event == file.event and known.bar_s == file.bar_s:
            raise TapeError(
                f"{path}: {known.path.name} has the same symbol and resolution; remove one of them"
            )
        if known is None or file.bar_s < known.bar_s:
            chosen[file.symbol] = file
    if len(events) > 1:
        raise TapeError(
            f"{folder}: several events match ({', '.join(sorted(events))}); choose one of them"
        )
    if not events:
        wish = "" if event is None else f" that begins with {event!r}"
        raise TapeError(
            f"{folder}: no file{wish} is named EVENT_SYMBOL_RES.csv or .csv.gz; check the folder"
        )
    return tuple(chosen[symbol] for symbol in sorted(chosen))


def _refuse_absent(source: Path, wanted: Selection, found: set[str]) -> None:
    """Raise TapeError when a symbol that was asked for, or everything, is missing."""
    missing = sorted((wanted.symbols or frozenset()) - found)
    if missing:
        raise TapeError(
            f"{source}: no candles for {', '.join(missing)} in the chosen span; "
            "check the symbols, the event and the times"
        )
    if not found:
        raise TapeError(
            f"{source}: no candles of a symbol quoted in {DEFAULT_QUOTE} in the chosen span; "
            "name the symbols or widen the times"
        )


def _draw(symbol: str, bars: Sequence[Bar], bar_s: float, wanted: Selection) -> PricePath | None:
    """The path of the chosen part of the bars, None when no bar reaches into the span."""
    kept = wanted.overlapping(bars, bar_s=bar_s)
    return PricePath.of_bars(symbol, kept, bar_s=bar_s) if kept else None


def _file_bars(file: CandleFile) -> list[Bar]:
    """All bars of a folder's file; each begins at or after the end of the one before."""
    bars: list[Bar] = []
    for row_number, row in _rows(file.path, ("ts", *_PRICES)):
        bar = _parse_bar(file.path, row_number, row)
        if bars and bar.start < bars[-1].start + file.bar_s:
            _refuse_order(file.path, row_number, bar=bar, before=bars[-1], bar_s=file.bar_s)
        bars.append(bar)
    if not bars:
        raise TapeError(f"{file.path}: the file holds no candles; remove it or fetch it again")
    return bars


def _bars_by_symbol(path: Path, wanted: Selection) -> dict[str, list[Bar]]:
    """All bars of a file that holds every symbol, of the wanted symbols only."""
    bars: dict[str, list[Bar]] = {}
    for row_number, (ts, symbol, *prices) in _rows(path, ("ts", "symbol", *_PRICES)):
        if not symbol:
            _refuse(path, row_number, "the symbol is empty; name it")
        bar = _parse_bar(path, row_number, (ts, *prices))
        if not wanted.takes(symbol):
            continue
        mine = bars.setdefault(symbol, [])
        if mine and bar.start <= mine[-1].start:
            _refuse_order(path, row_number, bar=bar, before=mine[-1], bar_s=0.0)
        mine.append(bar)
    return bars


def _bar_length(bars: Sequence[Bar]) -> float:
    """The smallest distance in seconds between two bars, `SINGLE_BAR_S` for one bar."""
    distances = (later.start - earlier.start for earlier, later in pairwise(bars))
    return min(distances, default=SINGLE_BAR_S)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Give each data row's number (the header is row 1) and its cells in the order of `columns`.

    Raises TapeError for a file that cannot be read, a missing column or a row of another width.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with closing(opened(path, "rt", encoding="utf-8-sig", newline="")) as text:
            reader = csv.reader(text)
            header = [name.strip().lower() for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                _refuse(path, 1, f"column {', '.join(missing)} is missing; add it to the header")
            places = [header.index(name) for name in columns]
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    _refuse(
                        path,
                        reader.line_num,
                        f"{len(cells)} cells where the header has {len(header)}; complete the row",
                    )
                yield reader.line_num, tuple(cells[place].strip() for place in places)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise TapeError(f"{path}: cannot be read ({cause}); fetch the file again") from error


def _parse_bar(path: Path, row_number: int, cells: Sequence[str]) -> Bar:
    """One row as a bar, ordered ts, open, high, low, close. Raises TapeError when it is none."""
    try:
        bar = Bar(*map(float, cells))
    except ValueError:
        _refuse_cell(path, row_number, cells)
    # Written so that a NaN anywhere makes it false.
    is_sound = (
        0.0 <= bar.start < LATEST_TS_S
        and 0.0 < bar.low <= bar.open <= bar.high < math.inf
        and bar.low <= bar.close <= bar.high
    )
    if not is_sound:
        _refuse_values(path, row_number, bar)
    return bar


def _refuse(path: Path, row_number: int, complaint: str) -> NoReturn:
    raise TapeError(f"{path}: row {row_number}: {complaint}")


def _refuse_cell(path: Path, row_number: int, cells: Sequence[str]) -> NoReturn:
    """Name the first cell that is no number."""
    for name, cell in zip(("ts", *_PRICES), cells, strict=True):
        try:
            float(cell)
        except ValueError:
            _refuse(path, row_number, f"{name} {cell!r} is no number; correct or remove the row")
    raise AssertionError("called for a row whose cells are all numbers")


def _refuse_values(path: Path, row_number: int, bar: Bar) -> NoReturn:
    """Say which rule the numbers of a row break."""
    for name, value in zip(("ts", *_PRICES), bar, strict=True):
        if not math.isfinite(value) or value < 0.0 or (name != "ts" and value == 0.0):
            _refuse(
                path, row_number, f"{name} is {value:g}, not a usable value; correct or remove it"
            )
    if bar.start >= LATEST_TS_S:
        _refuse(path, row_number, f"ts {bar.start:.0f} is no UTC second; divide by 1000")
    _refuse(
        path,
        row_number,
        f"open {bar.open:g} and close {bar.close:g} are not within low {bar.low:g} and "
        f"high {bar.high:g}; correct or remove the row",
    )


def _refuse_order(path: Path, row_number: int, *, bar: Bar, before: Bar, bar_s: float) -> NoReturn:
    """Say how a row's time contradicts the row before it of the same symbol."""
    if bar.start == before.start:
        _refuse(path, row_number, f"ts {bar.start:.0f} stands twice; remove one of the rows")
    if bar.start < before.start:
        _refuse(
            path,
            row_number,
            f"ts {bar.start:.0f} comes after {before.start:.0f}; sort the rows by time",
        )
    _refuse(
        path,
        row_number,
        f"ts {bar.start:.0f} lies within the bar of {bar_s:g} s before it; "
        "correct the resolution in the file's name",
    )
