"""`status` for a person: the report as rich renderables, readable at 80 columns and in a pipe.

Owns words, order and colours, and no judgement. The order is what a trader asks: does it run, what
is wrong, how near is each stage, what is being done, may the bots trade, what happened last.
Nothing is said by colour alone, and text that came from elsewhere is never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from commands.status.drawdowns import drawdown_parts
from commands.status.lock import LockFileView
from commands.status.report import BookView, Holdings, ScopeView, StatusReport
from commands.status.wording import say_money, say_span, say_time
from lock_document import EVERY_BOOK, FOREVER_TS, LockEntry, LockMode
from memory import AuditEntry, Incident, Severity, TargetStatus
from model import CLOSING_STAGES, OperatorRequest, Stage, Trust
from policy import AccountKind
from store.views import OrderTally
from switch_model import SwitchState
from switch_rules import REASON_REDIS_SILENT

ACTIONS_SHOWN = 8

_STAGE_STYLES = {
    Stage.NORMAL: "green",
    Stage.REDUCED_TOP_RISK: "yellow",
    Stage.DOMINANT_CLOSED: "bright_red",
    Stage.ALL_CLOSED: "bold red",
    Stage.LOCKDOWN: "bold magenta",
}
_TRUST_STYLES = {Trust.TRUSTED: "green", Trust.SUSPECT: "yellow", Trust.UNAVAILABLE: "red"}
_SEVERITY_STYLES = {Severity.INFO: "", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}


def render(report: StatusReport) -> Group:
    """Everything there is to show, from the most urgent to the oldest."""
    return Group(*_parts(report))


def _parts(report: StatusReport) -> Iterator[RenderableType]:
    yield _headline(report)
    for line in report.not_watched:
        yield _hanging(" ", Text(line), style="yellow")
    for line in report.warnings:
        yield _hanging(" ! ", Text(line), style="bold red")
    if not report.books:
        yield Text(" no account is configured: nothing to guard", style="bold red")
    for book in report.books:
        yield _book(book, now=report.now)
    yield _switch(report)
    yield _lock(report)
    if report.requests:
        yield _requests(report)
    yield _actions(report)


def _hanging(mark: str, text: Text, *, style: str = "") -> Table:
    """Text whose further lines stand under its first one, behind a mark."""
    grid = Table.grid()
    grid.add_column(style=style, no_wrap=True)
    grid.add_column(style=style, overflow="fold")
    grid.add_row(mark, text)
    return grid


def _headline(report: StatusReport) -> Table:
    kind = Text(" DRY RUN ", style="black on cyan") if report.dry_run else _live()
    left = Text.assemble(("Killswitch", "bold"), "  ", kind)
    for place, _ in report.practice_places:
        left.append(f"  {place.upper()}", style="magenta")
    if report.holder is None:
        left.append("  not running", style="bold red")
    else:
        pid = "" if report.holder.pid is None else f", pid {report.holder.pid}"
        left.append(f"  running{pid}", style="green")
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, Text(f"{say_time(report.now, now=report.now)} UTC", style="dim"))
    return grid


def _live() -> Text:
    return Text(" LIVE ", style="white on red")


# --- a book -----------------------------------------------------------------------------------


def _book(book: BookView, *, now: float) -> Panel:
    state = book.state
    style = _STAGE_STYLES[state.stage]
    title = Text.assemble((state.name, "bold"), "  ", (_say_state(book, now=now), style))
    for place in sorted({scope.kind for scope in book.scopes} - {AccountKind.LIVE}):
        title.append(f"  {place.upper()}", style="magenta")
    parts: list[RenderableType] = []
    for scope in book.scopes:
        parts += [_facts(scope, book, now=now), *drawdown_parts(scope)]
    if not book.scopes:
        parts.append(Text("no longer configured: nobody reads it", style="red"))
    incident = book.open_incident
    if incident is not None:
        parts.append(_incident(incident, book, now=now))
    return Panel(Group(*parts), title=title, title_align="left", border_style=style, padding=(0, 1))


def _say_state(book: BookView, *, now: float) -> str:
    state = book.state
    number = "" if state.stage is Stage.NORMAL else f"stage {state.stage.value} "
    since = f" for {say_span(now - state.since)}" if number and state.since else ""
    return f"{number}{state.stage.name}{since}"


def _facts(scope: ScopeView, book: BookView, *, now: float) -> Table:
    """The labelled lines above the drawdowns."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if len(book.scopes) > 1:
        grid.add_row("account", scope.scope)
    grid.add_row("equity", _equity(scope, now=now))
    if scope.unread:
        grid.add_row("not read", Text(scope.unread, style="red"))
    if scope.suspected_since is not None:
        grid.add_row("doubt", Text(_say_doubt(scope, now=now), style="yellow"))
    elif scope.reasons:
        grid.add_row("note", Text(scope.reasons, style="yellow"))
    if any(drawdown.peak for drawdown in scope.drawdowns) and not scope.is_judged:
        grid.add_row("note", Text("not judged: it never held min_equity", style="yellow"))
    if scope.pending_flow:
        grid.add_row("flow", f"{say_money(scope.pending_flow, signed=True)} on its way")
    if scope.holdings is not None:
        grid.add_row("positions", _holdings(scope.holdings, scope, now=now))
    for label, line in (("streaks", _say_streaks(book)), ("cooldown", _say_cooldowns(book, now))):
        if line and scope is book.scopes[-1]:
            grid.add_row(label, Text(line, style="yellow"))
    return grid


def _equity(scope: ScopeView, *, now: float) -> Text:
    if scope.equity is None or scope.equity_at is None:
        return Text("never read", style="red")
    return Text.assemble(
        (say_money(scope.equity), "bold"),
        f"  {say_span(now - scope.equity_at)} ago  ",
        (scope.trust.value, _TRUST_STYLES[scope.trust]),
        f"  {scope.failures} failed in a row" if scope.failures else "",
    )


def _say_doubt(scope: ScopeView, *, now: float) -> str:
    since = say_span(now - (scope.suspected_since or now))
    claim = "no number" if scope.reported_equity is None else say_money(scope.reported_equity)
    end = ""
    if scope.believed_at is not None:
        end = f"; believed in {say_span(max(0.0, scope.believed_at - now))} if it stays"
    return f"for {since}: reads {claim}; {scope.reasons}{end}"


def _holdings(holdings: Holdings, scope: ScopeView, *, now: float) -> Text:
    unpriced = [f"without a price, counted as 0: {', '.join(holdings.unpriced)}"]
    if not holdings.long_count and not holdings.short_count:
        return Text("\n".join(["none", *(unpriced if holdings.unpriced else [])]))
    lines = [
        f"{holdings.long_count} long {say_money(holdings.long_notional)}   "
        f"{holdings.short_count} short {say_money(holdings.short_notional)}",
        f"net {say_money(holdings.net_exposure, signed=True)}   "
        f"unrealised {say_money(holdings.unrealised_pnl, signed=True)}",
    ]
    gross = holdings.long_notional + holdings.short_notional
    if scope.equity is not None and scope.equity > 0:
        lines[1] += f"   gross {gross / scope.equity:.1f} x equity"
    if scope.equity_at is not None and scope.equity_at - holdings.at > 1:
        lines[0] += f"   {say_span(now - holdings.at)} ago"
    lines += unpriced if holdings.unpriced else []
    return Text("\n".join(lines))


def _say_streaks(book: BookView) -> str:
    """How many breaching readings in a row there are, of how many a stage needs."""
    return "   ".join(
        f"stage {streak.stage.value}: {min(streak.count, needed)} of {needed}"
        for streak in book.streaks
        for needed in (book.needed(streak.stage),)
    )


def _say_cooldowns(book: BookView, now: float) -> str:
    left = {stage: book.cooldown_left_s(stage, now=now) for stage in CLOSING_STAGES}
    return "   ".join(
        f"stage {stage.value}: {say_span(seconds)} left"
        for stage, seconds in left.items()
        if seconds
    )


# --- incident, lock, requests, actions --------------------------------------------------------


def _incident(incident: Incident, book: BookView, *, now: float) -> RenderableType:
    head = Text.assemble(
        ("incident ", "bold red"),
        f"{incident.incident_id}  stage {incident.stage.value} {incident.mode}  "
        f"source {incident.source.value}\n",
        f"{incident.reason}; open for {say_span(now - incident.opened_at)}, "
        f"round {incident.rounds}, last progress {say_span(now - incident.last_progress_at)} ago",
    )
    parts: list[RenderableType] = [head]
    if book.orders is not None and book.orders.counts:
        parts.append(Text(_say_orders(book.orders)))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("target", "side", "had", "may remain", "last read", "state"):
        is_number = name in ("had", "may remain", "last read")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for target in incident.targets:
        style = "bold red" if target.status is TargetStatus.OPEN else "green"
        table.add_row(
            target.key.symbol,
            target.key.side.value,
            f"{target.initial_quantity:f}",
            f"{target.may_remain:f}",
            book.held(target.key) or "?",
            Text(target.status.value, style=style),
        )
    parts.append(table if incident.targets else Text("nothing was to be closed"))
    return Group(*parts)


def _say_orders(orders: OrderTally) -> str:
    counts = ", ".join(
        f"{count} {action.lower()} {outcome}" for action, outcome, count in orders.counts
    )
    trouble = f"; latest trouble: {orders.latest_trouble}" if orders.latest_trouble else ""
    return f"orders: {counts}{trouble}"


def _switch(report: StatusReport) -> RenderableType:
    """What the operator wants, who says so and since when; `switch` shows the rest."""
    view, now = report.switch, report.now
    style = "green" if view.effective is SwitchState.RUNNING else "bold red"
    text = Text.assemble((view.effective.value, style))
    if view.since is not None:
        text.append(f"  since {say_time(view.since, now=now)}")
    said = view.say_holder()
    text.append(f"  held by {said}" if said else "")
    return Padding(_hanging("Switch  ", text), (0, 1))


def _lock(report: StatusReport) -> RenderableType:
    lock, now, is_named = report.lock, report.now, len(report.books) > 1
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row("Lock", _verdict(lock, now=now))
    for entry in lock.locks:
        grid.add_row("", Text(_say_entry(entry, now=now, is_named=is_named)))
    for entry in lock.would_lock:
        grid.add_row(
            "", Text(f"would lock: {_say_entry(entry, now=now, is_named=is_named)}", style="dim")
        )
    return Padding(grid, (0, 1))


def _verdict(lock: LockFileView, *, now: float) -> Text:
    """What bots make of the file at this moment."""
    if not lock.is_readable:
        return Text(f"{lock.strict.reason}: strict readers stop", style="bold red")
    age = f"heartbeat {say_span(lock.heartbeat_age_s or 0.0)} ago"
    if lock.is_stale:
        simple = "LOCKED" if lock.locked and lock.expires_ts > now else "free to trade"
        return Text(
            f"STALE: {age}, {say_span(lock.heartbeat_max_age_s)} allowed. Strict readers stop; "
            f"bots that read only `locked` are {simple}",
            style="bold red",
        )
    if lock.strict.locked:
        return Text.assemble(("LOCKED, bots must not open", "bold red"), f"  {age}")
    return Text.assemble(("free, bots may trade", "green"), f"  {age}")


def _say_entry(entry: LockEntry, *, now: float, is_named: bool) -> str:
    scope = "every book: " if entry.scope == EVERY_BOOK else f"{entry.scope}: " if is_named else ""
    return f"{scope}{entry.reason} {_say_end(entry, now=now)}"


def _say_end(entry: LockEntry, *, now: float) -> str:
    """How a lock ends: by a person, by what caused it, or by time."""
    if entry.manual_reset_required:
        return "until you reset it"
    if entry.expires_ts < FOREVER_TS:
        left_s = entry.expires_ts - now
        if left_s <= 0:
            return f"ran out {say_span(-left_s)} ago"
        return f"until {say_time(entry.expires_ts, now=now)} ({say_span(left_s, is_short=True)})"
    if entry.reason == REASON_REDIS_SILENT:
        return "until Redis answers"
    return "until it sees again" if entry.mode is LockMode.BLIND else "until you lift it"


def _requests(report: StatusReport) -> RenderableType:
    lines = [_say_request(request, now=report.now) for request in report.requests]
    return Padding(_hanging("Requests  ", Text("\n".join(lines)), style="yellow"), (0, 1))


def _say_request(request: OperatorRequest, *, now: float) -> str:
    words = " ".join(f"{name}={value}" for name, value in request.arguments if value)
    return f"{request.command} {words} by {request.actor}, {say_span(now - request.at)} ago"


def _actions(report: StatusReport) -> RenderableType:
    """The latest entries of the audit, newest first; the mark says how loud an entry is."""
    if not report.actions:
        return Padding(Text("No actions yet", style="dim"), (0, 1))
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for action in report.actions[:ACTIONS_SHOWN]:
        style = _SEVERITY_STYLES[action.severity]
        grid.add_row(
            say_time(action.at, now=report.now),
            Text("" if action.severity is Severity.INFO else "!", style=style),
            _action(action, style=style, is_named=len(report.books) > 1),
        )
    return Padding(Group(Text("Last actions", style="bold"), grid), (0, 1))


def _action(action: AuditEntry, *, style: str, is_named: bool) -> Text:
    scope = f"{action.scope}: " if is_named or action.scope == "*" else ""
    return Text.assemble((action.event, style or "bold"), f"  {scope}{action.message}")
