"""Tells a run of the guard on a terminal, so that a trader understands it at a glance.

Owns words and tables; computes nothing but what it prints. Colours vanish in a pipe.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from commands.test_mock.proof import OUR_PREFIX, Claim
from decision import Decision
from memory import AuditEntry, IncidentStatus
from model import RowKey, Side
from openings import Opening, say_window
from simulator.book_file import BookFile
from simulator.tape import Tape

PIPE_WIDTH = 100
TOLD_EVENTS = ("rearmed", "reset", "incident_stuck", "blind", "suspect")
ENDINGS = {
    IncidentStatus.DONE: "done: every target holds, seen twice",
    IncidentStatus.SIMULATED: "simulated: nothing was sent",
    IncidentStatus.EXPIRED: "expired",
    IncidentStatus.ABANDONED: "abandoned",
}
STAGE_COLOURS = {1: "yellow", 2: "dark_orange", 3: "red", 4: "red"}


class Progress:
    """A bar that moves with the tape, on a terminal only; use it as a context manager.

    Shares the story's console where that is the terminal, so that the bar stays below the text;
    when the story goes into a pipe or a file, the bar is on stderr.
    """

    def __init__(self, story: Story, *, begin: float, end: float, rounds: int = 1) -> None:
        console = story.console if story.console.is_terminal else Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not (sys.stderr.isatty() and console.is_terminal),
        )
        self._begin, self._span_s = begin, end - begin
        self._round = 0
        self._task = self._bar.add_task("playing the tape", total=rounds * self._span_s)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def move(self, at: float) -> None:
        """The tape stands at `at` (UTC seconds)."""
        done = self._round * self._span_s + at - self._begin
        day = datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")
        self._bar.update(self._task, completed=done, description=f"tape at {day}")

    def next_round(self) -> None:
        """The same tape begins again."""
        self._round += 1


class Story:
    """Prints what happens, as it happens; times are counted from the start of the tape."""

    def __init__(self, *, starts_at: float, shows_dates: bool = False) -> None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=PIPE_WIDTH)
        self._out = console
        self._starts_at = starts_at
        self._shows_dates = shows_dates
        self._equity = 0.0
        self._drawdown = ""
        self._peak = 0.0
        self._stages: dict[str, int] = {}

    @property
    def console(self) -> Console:
        """Where the story is told."""
        return self._out

    def _when(self, at: float) -> str:
        if self._shows_dates:
            return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M:%S")
        minutes, seconds = divmod(int(at - self._starts_at + 0.5), 60)
        return f"{minutes:02d}:{seconds:02d}"

    def opening(self, book: BookFile, tape: Tape, *, polls: tuple[int, int] | None = None) -> None:
        """Introduce the account and the tape; `polls` are told where they are not the default."""
        begin, end = (
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
            for at in (tape.starts_at, tape.ends_at)
        )
        mode = book.position_mode.value.lower().replace("_", "-")
        self._out.rule("[bold]Killswitch[/bold]")
        self._out.print(
            f"A simulated Binance futures account, {mode} mode, "
            f"equity {float(book.equity):,.0f}. Prices from {begin} to {end} UTC."
        )
        for side in Side:
            held = ", ".join(
                f"{position.symbol} {float(position.notional):,.0f}"
                if position.notional is not None
                else f"{position.symbol} {position.quantity} units"
                for position in book.positions
                if position.side is side
            )
            self._out.print(f"  {side.value.lower():>5}  {held or 'nothing'}")
        if polls is not None:
            self._out.print(
                f"A long tape: the guard reads every {polls[0]} s, and every {polls[1]} s on alert."
            )

    def act(self, title: str) -> None:
        """Begin a new act."""
        self._out.print()
        self._out.rule(f"[bold]{title}[/bold]", align="left")

    def caption(self, at: float, what: str) -> None:
        """Say what the market does from here on."""
        seen = f"equity {self._equity:,.2f}{self._drawdown}" if self._equity else ""
        self._out.print(f"{self._when(at)}  [dim]{what}[/dim]" + (f"  ({seen})" if seen else ""))

    def decision(self, decision: Decision, now: float) -> None:
        """Tell what a decision changed; a quiet one says nothing."""
        for verdict in decision.verdicts:
            if verdict.equity is not None:
                self._equity = verdict.equity
                self._peak = max(self._peak, verdict.equity)
                fallen = (self._peak - verdict.equity) / self._peak if self._peak > 0 else 0.0
                self._drawdown = f", {fallen:.2%} below its peak"
        for opening in decision.opened:
            self._opened(opening, now)
        for incident in decision.records.incidents:
            if incident.status in ENDINGS:
                word = ENDINGS[incident.status]
                self._out.print(f"{self._when(now)}  stage {int(incident.stage)} {word}")
        for entry in decision.records.audits:
            if entry.event in TOLD_EVENTS:
                self._told(entry, now)

    def _told(self, entry: AuditEntry, now: float) -> None:
        self._out.print(f"{self._when(now)}  {entry.event.replace('_', ' ')}: {entry.message}")

    def _opened(self, opening: Opening, now: float) -> None:
        """One trigger: how far, who lost, the ranking with the plan beside it."""
        incident, found = opening.incident, opening.attribution
        self._stages[incident.incident_id] = int(incident.stage)
        colour = STAGE_COLOURS.get(int(incident.stage), "red")
        self._out.print()
        self._out.print(
            Text.assemble(
                f"{self._when(now)}  ",
                (f"STAGE {int(incident.stage)} {incident.stage.name}", f"bold {colour}"),
                f"  {incident.mode}" + ("  (dry run)" if incident.dry_run else ""),
            )
        )
        if opening.breach is not None:
            breach = opening.breach
            self._out.print(
                f"       equity {opening.equity:,.2f}, peak {breach.peak_equity:,.2f}: drawdown "
                f"{breach.fraction:.2%} in {say_window(breach.window_s)}, "
                f"threshold {breach.threshold:.2%}"
            )
        self._out.print(
            f"       who lost: shorts {found.losses_short:,.2f}, longs {found.losses_long:,.2f}"
            f"  ->  source [bold]{found.source.value}[/bold]"
        )
        self._out.print(_ranking(opening))
        plan = opening.plan
        directional = "  more directional than before" if plan.is_more_directional else ""
        self._out.print(
            f"       net exposure {float(plan.exposure_before.total):+,.0f} -> "
            f"{float(plan.exposure_after.total):+,.0f}{directional}"
        )

    def fills(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Show executions of ours as the exchange booked them."""
        for entry in entries:
            if entry["event"] != "fill" or not str(entry["client_id"]).startswith(OUR_PREFIX):
                continue
            self._out.print(
                f"       [bold]{entry['side']}[/bold] {entry['quantity']} {entry['symbol']} "
                f"@ {float(entry['price']):,.6g}"
                f"  position {_plain(entry['position_before'])} -> "
                f"{_plain(entry['position_after'])}"
                f"  [dim]{entry['client_id']}[/dim]"
            )

    def lock(self, *, is_locked: bool, reason: str, now: float) -> None:
        """Show what bots read from now on."""
        word = f"LOCKED  {reason}" if is_locked else "free"
        self._out.print(f"{self._when(now)}  lock file: [bold]{word}[/bold]")

    def over(self, at: float) -> None:
        """Say why the rest of the tape is not played."""
        self._out.print(
            f"{self._when(at)}  nothing is held any more: the rest of the tape cannot change it"
        )

    def closings(
        self, ledger: Sequence[Mapping[str, Any]], positions: Sequence[Mapping[str, Any]]
    ) -> None:
        """Show everything that was closed, by which stage, what remained and what it had made.

        `positions` are those of the seed: nothing on a tape adds to them, so their entries hold.
        """
        fills = [
            entry
            for entry in ledger
            if entry["event"] == "fill" and str(entry["client_id"]).startswith(OUR_PREFIX)
        ]
        entries = {(p["symbol"], p["side"]): float(p["entry_price"]) for p in positions}
        table = Table(title="closed by the guard, results before fees", title_justify="left")
        for name in ("time", "stage", "symbol", "side"):
            table.add_column(name, justify="right" if name == "stage" else "left")
        for name in ("held", "closed", "remains", "price", "realised"):
            table.add_column(name, justify="right")
        total = 0.0
        for fill in fills:
            side = Side.LONG if float(fill["position_before"]) > 0 else Side.SHORT
            price, quantity = float(fill["price"]), float(fill["quantity"])
            realised = side.sign * quantity * (price - entries[fill["symbol"], side.value])
            total += realised
            table.add_row(
                self._when(fill["at"]),
                str(self._stages.get(str(fill["client_id"]).split("-")[1], "")),
                str(fill["symbol"]),
                side.value,
                _plain(abs(float(fill["position_before"]))),
                _plain(quantity),
                _plain(abs(float(fill["position_after"]))),
                f"{price:,.6g}",
                f"{realised:+,.2f}",
            )
        self._out.print()
        if not fills:
            self._out.print("the guard closed nothing")
            return
        table.add_section()
        table.add_row("", "", "", "", "", "", "", "sum", f"{total:+,.2f}")
        self._out.print(table)

    def comparison(
        self,
        *,
        guarded: Sequence[tuple[float, float]],
        alone: Sequence[tuple[float, float]],
        liquidations: tuple[int, int] = (0, 0),
    ) -> None:
        """Put equity with the guard beside equity without it; both by the exchange's books.

        `liquidations` count the positions that the exchange took, with and without the guard.
        """
        table = Table(title="the same prices, with and without", title_justify="left")
        for name in ("", "with the guard", "without"):
            table.add_column(name, justify="right" if name else "left")
        both = (guarded, alone)
        table.add_row("equity at the start", *(f"{run[0][1]:,.2f}" for run in both))
        table.add_row("lowest equity", *(f"{min(e for _, e in run):,.2f}" for run in both))
        table.add_row("equity at the end", *(f"{run[-1][1]:,.2f}" for run in both))
        table.add_row("result", *(f"{run[-1][1] / run[0][1] - 1:+.2%}" for run in both))
        table.add_row("largest drawdown", *(f"{_largest_fall(run):.2%}" for run in both))
        if any(liquidations):
            table.add_row("positions liquidated", *(str(count) for count in liquidations))
        self._out.print()
        self._out.print(table)

    def claims(self, claims: Sequence[Claim]) -> None:
        """Show what was proved, and what was not."""
        self._out.print()
        self._out.print("Proved from the exchange's books, its request log and the lock file:")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(overflow="fold")
        for claim in claims:
            mark = "[green]yes[/green]" if claim.holds else "[bold red]NO[/bold red]"
            table.add_row(f"  {mark}", claim.text, f"[dim]{claim.figures}[/dim]")
        self._out.print(table)

    def where_to_look(self, folder: Path) -> None:
        """Name the files of the run and how to look inside."""
        self._out.print()
        self._out.print("Look inside:")
        state = folder / "live" / "state"
        database = state / "killswitch.db"
        query = "SELECT datetime(ts, 'unixepoch'), outcome, message FROM actions"
        self._out.print(f'  sqlite3 {database} "{query}"', soft_wrap=True)
        self._out.print(f"  cat {state / 'trading_lock.json'}", soft_wrap=True)
        self._out.print(f"  less {folder / 'guard.log'}", soft_wrap=True)

    def requests_served(self, *counts: Mapping[str, int]) -> None:
        """The last line: what the exchange was asked, by endpoint."""
        total: dict[str, int] = {}
        for count in counts:
            for endpoint, number in count.items():
                total[endpoint] = total.get(endpoint, 0) + number
        told = ", ".join(f"{endpoint} {number}" for endpoint, number in sorted(total.items()))
        self._out.print(f"requests served: {told}", soft_wrap=True)


def _ranking(opening: Opening) -> Table:
    """Every open row with its result since the peak, its score, and what may remain of it."""
    remains = {target.key: target for target in opening.incident.targets}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("      ")
    for name in ("symbol", "side"):
        table.add_column(name)
    for name in ("since peak", "score", "held", "may remain"):
        table.add_column(name, justify="right")
    for scored in opening.ranked:
        target = remains.get(scored.row.key)
        table.add_row(
            "",
            scored.row.key.symbol,
            scored.row.key.side.value,
            f"{scored.result:+,.2f}",
            f"{scored.score:.4f}",
            f"{scored.row.quantity:g}",
            "-" if target is None else f"{target.may_remain:f}",
            style="bold" if target is not None else "dim",
        )
    gone = _gone(opening, {scored.row.key for scored in opening.ranked})
    for key, result in gone:
        table.add_row("", key.symbol, key.side.value, f"{result:+,.2f}", "", "closed", "-")
    return table


def _gone(opening: Opening, shown: set[RowKey]) -> list[tuple[RowKey, float]]:
    """Rows that are closed by now but made or lost money since the peak."""
    return [
        (found.key, found.result)
        for found in opening.attribution.results
        if found.key not in shown and found.result != 0
    ]


def _largest_fall(points: Sequence[tuple[float, float]]) -> float:
    peak, worst = 0.0, 0.0
    for _, equity in points:
        peak = max(peak, equity)
        worst = max(worst, (peak - equity) / peak if peak > 0 else 0.0)
    return worst


def _plain(quantity: object) -> str:
    return f"{float(str(quantity)):,.10g}"
