"""The table of drawdowns: one line per window, a scale with the thresholds on it, a cell per stage.

It shows how near each stage is, which is the question a person opens `status` with.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from commands.status.report import ScopeView
from commands.status.wording import say_money, say_percent, say_time
from drawdown import WindowDrawdown
from model import Stage
from openings import say_window

WIDE = 100
"""From this width on there is room for when a peak was."""


def drawdown_parts(scope: ScopeView) -> Iterator[RenderableType]:
    """One line per window: how far it fell, and where the stages stand on the way."""
    if not scope.drawdowns:
        return
    windows: dict[float, list[WindowDrawdown]] = {}
    for drawdown in scope.drawdowns:
        windows.setdefault(drawdown.window_s, []).append(drawdown)
    stages = sorted({drawdown.stage for drawdown in scope.drawdowns})
    yield _DrawdownTable(stages=stages, windows=dict(sorted(windows.items())), at=scope.equity_at)


class _DrawdownTable:
    """The table of windows; it leaves out when the peaks were where there is no room."""

    def __init__(
        self, *, stages: list[Stage], windows: dict[float, list[WindowDrawdown]], at: float | None
    ) -> None:
        self._stages = stages
        self._windows = windows
        self._at = at

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        is_wide = options.max_width >= WIDE - 4
        table = Table(
            box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim"
        )
        table.add_column("window", no_wrap=True)
        table.add_column("drawdown", justify="right", no_wrap=True)
        table.add_column(ratio=1)
        for stage in self._stages:
            table.add_column(f"stage {stage.value}", justify="right", no_wrap=True)
        table.add_column("peak", justify="right", no_wrap=True)
        if is_wide:
            table.add_column("", no_wrap=True)
        for window_s, drawdowns in self._windows.items():
            table.add_row(*self._cells(window_s, drawdowns, is_wide=is_wide))
        yield table

    def _cells(
        self, window_s: float, drawdowns: list[WindowDrawdown], *, is_wide: bool
    ) -> Iterator[RenderableType]:
        by_stage = {drawdown.stage: drawdown for drawdown in drawdowns}
        # A higher stage measures from the older peak, so the highest shows the whole fall.
        shown = by_stage[max(by_stage)]
        yield say_window(window_s)
        yield Text(f"{say_percent(shown.fraction)} %", style=_nearness_style(drawdowns))
        # A stage that has acted measures from then on: its threshold is not on this scale.
        yield _Bar([d for d in drawdowns if _is_like(d, shown)], style=_nearness_style(drawdowns))
        for stage in self._stages:
            yield _threshold(by_stage.get(stage), shown)
        if shown.peak is None:
            yield Text("none yet", style="dim")
        else:
            yield say_money(shown.peak_equity)
        if is_wide:
            at = shown.peak.at if shown.peak is not None else None
            yield "" if at is None else Text(say_time(at, now=self._at or at), style="dim")


def _threshold(drawdown: WindowDrawdown | None, shown: WindowDrawdown) -> Text:
    """The threshold of a stage, with its own drawdown where that differs from the one shown."""
    if drawdown is None:
        return Text("-", style="dim")
    own = "" if _is_like(drawdown, shown) else f"{say_percent(drawdown.fraction)} of "
    mark = "!" if drawdown.is_breach else "?" if drawdown.is_in_doubt else ""
    return Text(f"{own}{mark}{say_percent(drawdown.threshold)}", style=_nearness_style([drawdown]))


def _is_like(drawdown: WindowDrawdown, shown: WindowDrawdown) -> bool:
    """Whether two stages see the same fall, as far as it is written."""
    return say_percent(drawdown.fraction) == say_percent(shown.fraction)


def _nearness_style(drawdowns: list[WindowDrawdown]) -> str:
    """Red in breach, yellow from half of the nearest threshold on, as the faster pace begins."""
    if any(drawdown.is_breach for drawdown in drawdowns):
        return "bold red"
    if not all(drawdown.is_judged for drawdown in drawdowns):
        return "dim"
    return "yellow" if any(drawdown.severity >= 0.5 for drawdown in drawdowns) else "green"


class _Bar:
    """A scale from 0 to the highest threshold, a tick at each one, filled as far as it fell."""

    def __init__(self, drawdowns: list[WindowDrawdown], *, style: str) -> None:
        self._fraction = max(drawdown.fraction for drawdown in drawdowns)
        self._thresholds = sorted(drawdown.threshold for drawdown in drawdowns)
        self._style = style

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        del console
        return Measurement(10, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        full, empty, tick = ("#", ".", "|") if options.ascii_only else ("█", "·", "│")
        width, top = options.max_width, self._thresholds[-1]
        filled = round(min(1.0, self._fraction / top) * width)
        ticks = {max(0, round(threshold / top * width) - 1) for threshold in self._thresholds}
        cells = [
            (tick, self._style if cell < filled else "dim")
            if cell in ticks
            else (full if cell < filled else empty, self._style)
            for cell in range(width)
        ]
        text = Text(no_wrap=True)
        for (sign, style), run in groupby(cells):
            text.append(sign * len(list(run)), style=style)
        yield text
