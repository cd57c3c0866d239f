"""`check` for a person: one screen per account, readable at 80 columns and in a pipe.

Owns words, order and colours, and no judgement. What is wrong comes first, each with its remedy;
what is fine is said in one line per matter, because silence would not tell it from not asked.
Nothing is said by colour alone, and text that came from elsewhere is never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from close_previews import StageDistance, StagePreview
from commands.check.report import CheckReport, ScopeCheck
from commands.status.wording import say_money, say_percent, say_span, say_time
from findings import Finding, Level, Topic, worth_telling
from model import Source, Stage
from openings import say_window

_STYLES = {Level.FAULT: "bold red", Level.WARNING: "yellow", Level.FINE: "green"}
_MARKS = {Level.FAULT: "FAULT", Level.WARNING: "warning", Level.FINE: ""}
_FACTS: tuple[tuple[str, tuple[Topic, ...]], ...] = (
    ("connection", (Topic.CONNECTION, Topic.CLOCK)),
    ("account", (Topic.ACCOUNT_FAMILY, Topic.POSITION_MODE)),
    (
        "key",
        (
            Topic.KEY_READS,
            Topic.KEY_TRADES,
            Topic.KEY_WITHDRAWS,
            Topic.KEY_READS_TRANSFERS,
            Topic.KEY_ADDRESSES,
            Topic.KEY_EXPIRY,
        ),
    ),
    ("dead-man switch", (Topic.DEAD_MAN_SWITCH,)),
    ("elsewhere", (Topic.NOT_WATCHED,)),
)
"""What is fine, line by line. What is not stands among the findings instead."""


def render(report: CheckReport) -> Group:
    """Everything there is to show."""
    return Group(*_parts(report))


def _parts(report: CheckReport) -> Iterator[RenderableType]:
    yield _headline(report)
    for scope in report.scopes:
        yield _scope(scope)
    yield _matter("Accounts together", report.between, fine="")
    yield _matter("This machine", report.machine, fine=_join(report.machine))
    if report.alerts:
        fine = ", ".join(f"{one.subject} {one.what}" for one in report.alerts if not one.remedy)
        yield _matter("Alerts", report.alerts, fine=fine)
    yield Padding(_verdict(report), (0, 1))


def _headline(report: CheckReport) -> Table:
    kind = Text(" DRY RUN ", style="black on cyan") if report.dry_run else _live()
    left = Text.assemble(("Killswitch check", "bold"), "  ", kind)
    match report.pid:
        case None:
            left.append("  no guard runs", style="yellow")
        case 0:
            left.append("  a guard runs beside it", style="green")
        case pid:
            left.append(f"  a guard runs beside it, pid {pid}", style="green")
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, Text(f"{say_time(report.now, now=report.now)} UTC", style="dim"))
    return grid


def _live() -> Text:
    return Text(" LIVE ", style="white on red")


# --- one account ------------------------------------------------------------------------------


def _scope(check: ScopeCheck) -> Panel:
    worst = _worst(check.findings)
    title = Text.assemble(
        (check.scope, "bold"), "  ", (_say_counts(check.findings), _STYLES[worst])
    )
    if check.place != "live":
        title.append(f"  {check.place.upper()}", style="magenta")
    parts: list[RenderableType] = [_facts(check)]
    told = worth_telling(check.findings)
    if told:
        parts += [Text(), _findings(told)]
    if any(preview.targets for preview in check.previews):
        parts += [Text(), _previews(check.previews)]
    if any(distance.everything is not None for distance in check.distances):
        parts += [Text(), _distances(check.distances)]
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        border_style=_STYLES[worst],
        padding=(0, 1),
    )


def _worst(findings: Sequence[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next((level for level in Level if level in levels), Level.FINE)


def _say_counts(findings: Sequence[Finding]) -> str:
    counts = [
        (sum(finding.level is level for finding in findings), word)
        for level, word in ((Level.FAULT, "fault"), (Level.WARNING, "warning"))
    ]
    return ", ".join(_count(number, word) for number, word in counts if number) or "fine"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _facts(check: ScopeCheck) -> Table:
    """The labelled lines: what is fine, and what there is."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, topics in _FACTS:
        fine = _join([finding for finding in check.findings if finding.topic in topics])
        fine = fine.replace("the key ", "") if label == "key" else fine
        if fine:
            grid.add_row(label, Text(fine))
        if label == "account":
            grid.add_row("holds", Text(_say_holdings(check)))
    return grid


def _say_holdings(check: ScopeCheck) -> str:
    if check.reading is None:
        return "not read"
    reading = check.reading
    closable = [finding for finding in check.findings if finding.topic is Topic.CLOSABLE]
    words = [
        f"equity {say_money(reading.equity)}",
        _count(len(reading.positions), "position"),
        "orders not read" if check.orders is None else _count(check.orders, "open order"),
    ]
    if reading.coins:
        words.append(f"coins: {', '.join(coin.asset for coin in reading.coins)}")
    return ", ".join(words) + (f"; {closable[0].what}" if closable else "")


def _join(findings: Sequence[Finding]) -> str:
    """What is fine, in one line."""
    return ", ".join(finding.what for finding in findings if finding.level is Level.FINE)


def _findings(findings: Sequence[Finding]) -> Table:
    """What is wrong, the worst first, each with what to do about it."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        style = _STYLES[finding.level]
        what = Text()
        if finding.subject:
            what.append(f"{finding.subject}  ", style="bold")
        what.append(finding.what)
        if finding.remedy:
            what.append(f"\n-> {finding.remedy}", style="dim")
        grid.add_row(Text(_MARKS[finding.level], style=style), what)
    return grid


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, name in enumerate(names):
        table.add_column(
            name, justify="left" if number == 0 else "right", no_wrap=number > 0, overflow="fold"
        )
    return table


def _previews(previews: Sequence[StagePreview]) -> Group:
    """What each stage would do if it fired now."""
    table = _table("stage", "closes", "worth", "orders", "cancels", "cost", "time")
    for preview in previews:
        table.add_row(
            _say_stage(preview),
            f"{len(preview.targets)}",
            say_money(preview.value),
            f"{preview.orders}",
            f"{preview.cancels}",
            _say_cost(preview),
            "?" if preview.seconds is None else _say_seconds(preview.seconds),
        )
    title = Text.assemble(
        ("What a stage would close now", "bold"), ("  by what is lost on paper", "dim")
    )
    return Group(title, table, *map(_note, _notes(previews)))


def _say_stage(preview: StagePreview) -> str:
    names = {
        Source.LONG: "longs",
        Source.SHORT: "shorts",
        Source.MIXED: "both sides",
        Source.UNKNOWN: "nobody loses",
    }
    source = names[preview.source] if preview.stage < Stage.ALL_CLOSED else "everything"
    return f"{preview.stage.value}, {source}"


def _say_cost(preview: StagePreview) -> str:
    """What is not told is no 0: a sum of nothing but that is unknown."""
    if not preview.uncosted:
        return say_money(preview.cost)
    return f"{say_money(preview.cost)} + ?" if preview.cost else "?"


def _say_seconds(seconds: float) -> str:
    if seconds >= 60:
        return say_span(seconds)
    return f"{seconds:.1f} s" if seconds >= 0.1 or not seconds else "<0.1 s"


def _notes(previews: Sequence[StagePreview]) -> Iterator[str]:
    """What the planner says besides; what it says of several stages alike is said once."""
    stages: dict[str, list[str]] = {}
    for preview in previews:
        notes = [note for note in preview.notes if not note.startswith("nothing to close")]
        if not preview.is_finished:
            notes.append("would not come to its end: see above")
        for note in notes:
            stages.setdefault(note, []).append(str(preview.stage.value))
    for note, told in stages.items():
        yield f"stage{'s' if len(told) > 1 else ''} {', '.join(told)}: {note}"
    uncosted = sorted({symbol for preview in previews for symbol in preview.uncosted})
    if uncosted:
        yield f"? spread or fee not told: {', '.join(uncosted)}"
    yield "cost: half the spread and the taker fee, not what a large order moves"


def _distances(distances: Sequence[StageDistance]) -> Group:
    """How far prices must move from here until a stage is breached."""
    table = _table("stage", "loss", "all against", "longs fall", "shorts rise", "market")
    for distance in distances:
        threshold = distance.threshold
        table.add_row(
            f"{distance.stage.value}, {threshold.fraction * 100:.4g} % "
            f"in {say_window(threshold.window_s)}",
            say_money(distance.loss),
            _say_move(distance.everything),
            _say_move(distance.longs_down),
            _say_move(distance.shorts_up),
            _say_move(distance.market, signed=True),
        )
    title = Text.assemble(
        ("How far prices must move", "bold"), ("  as if equity were at its peak now", "dim")
    )
    return Group(title, table)


def _note(text: str) -> Text:
    return Text(text, style="dim")


def _say_move(fraction: float | None, *, signed: bool = False) -> str:
    if fraction is None:
        return "-"
    sign = ("+" if fraction > 0 else "-") if signed else ""
    return f"{sign}{say_percent(abs(fraction))} %"


# --- beside the accounts ----------------------------------------------------------------------


def _matter(name: str, findings: Sequence[Finding], *, fine: str) -> RenderableType:
    told = worth_telling(findings)
    parts: list[RenderableType] = []
    if fine:
        parts.append(Text.assemble((f"{name}  ", "bold"), fine))
    elif told:
        parts.append(Text(name, style="bold"))
    if told:
        parts.append(_findings(told))
    return Padding(Group(*parts), (0, 1)) if parts else Group()


def _verdict(report: CheckReport) -> Text:
    faults, warnings = report.count(Level.FAULT), report.count(Level.WARNING)
    if not faults and not warnings:
        return Text("Fine: everything here can be seen and closed.", style="bold green")
    counts = _say_counts(tuple(report.findings()))
    if faults:
        return Text(f"{counts}: set the faults right before you rely on the guard.", "bold red")
    return Text(f"{counts}, no fault.", style="yellow")
