"""The files of a guard as status finds them: configuration, database, lock, state directory."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from rich.console import Console

from commands.status.report import StatusReport
from commands.status.screen import render
from commands.status.show import read_report
from lock_document import LockContent, LockEntry, LockMode
from memory import (
    AuditEntry,
    BookMemory,
    CloseTarget,
    Doubt,
    History,
    Incident,
    OrderAction,
    OrderRecord,
    Point,
    ReadingRecord,
    Records,
    ScopeMemory,
    Severity,
    Streak,
    Suspicion,
    TargetStatus,
)
from model import (
    Asset,
    BookName,
    ClientOrderId,
    IncidentId,
    Position,
    PositionMode,
    Reading,
    RowKey,
    ScopeId,
    Side,
    Source,
    Stage,
    Symbol,
    Trust,
    Unknown,
)
from position_store import PositionStore
from settings import Settings, load_settings
from state_lock import StateLock
from trading_lock import LockFile

NOW = 1_750_000_000.0
"""2025-06-15 15:06:40 UTC."""
SCOPE = ScopeId("binance_futures")
BOOK = BookName("binance_futures")
KEYS = {
    "BINANCE_API_KEY": "test-key",
    "BINANCE_API_SECRET": "test-secret",
    "BYBIT_API_KEY": "test-key",
    "BYBIT_API_SECRET": "test-secret",
}
CONFIG = """
dry_run: {dry_run}
exchanges:
  binance:
    enabled: true
    simulator_url: http://127.0.0.1:1
"""


def config_in(folder: Path, *, dry_run: bool = False) -> Path:
    """A configuration on disk."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(dry_run=str(dry_run).lower()), encoding="utf-8")
    return path


def settings_in(folder: Path, *, dry_run: bool = False) -> Settings:
    """Its settings, as a shell with the keys sees them."""
    return load_settings(config_in(folder, dry_run=dry_run), KEYS, require_venues=False)


@contextmanager
def opened(settings: Settings, *, dry_run: bool = False) -> Iterator[PositionStore]:
    """The database as the guard writes it."""
    store = PositionStore.open(settings.state_db, rng=random.Random(1))
    try:
        store.load_memory(dry_run=dry_run, now=NOW)
        yield store
    finally:
        store.close()


def write(settings: Settings, records: Records, *, dry_run: bool = False) -> None:
    """One commit of a guard of this kind."""
    with opened(settings, dry_run=dry_run) as store:
        store.commit(records)


def write_lock(
    settings: Settings, *, content: LockContent | None = None, at: float = NOW, pid: int = 7
) -> None:
    """The lock file as the guard wrote it at that time."""
    file = LockFile(settings.trading_lock_file, pid=pid, host="host", now=lambda: at)
    file.replace((LockContent() if content is None else content).to_document(at))


def position(symbol: str, side: Side, quantity: str, *, mark: float = 100.0) -> Position:
    """A position entered at 100."""
    pnl = side.sign * float(quantity) * (mark - 100.0)
    return Position(
        symbol=Symbol(symbol),
        base=Asset(symbol.removesuffix("USDT")),
        side=side,
        quantity=Decimal(quantity),
        entry_price=100.0,
        mark_price=mark,
        unrealised_pnl=pnl,
    )


HELD = (position("BTCUSDT", Side.LONG, "60"), position("SOLUSDT", Side.SHORT, "50", mark=110.0))


def reading(at: float, equity: float, *, positions: tuple[Position, ...] = HELD) -> Reading:
    """A reading of the account."""
    return Reading(
        scope=SCOPE,
        asked_at=at,
        equity=equity,
        wallet=equity,
        unrealised_pnl=0.0,
        positions=positions,
        position_mode=PositionMode.HEDGE,
    )


def history(*equities: tuple[float, float]) -> History:
    """Points of a scope without flows, as (seconds before NOW, equity)."""
    return History.of(tuple(Point(at=NOW - ago, equity=e, nav=e) for ago, e in equities))


def known(*equities: tuple[float, float]) -> tuple[ScopeMemory, tuple[ReadingRecord, ...]]:
    """A scope with these trusted readings, and the records that a guard commits with it."""
    points = history(*equities)
    readings = tuple(
        ReadingRecord(
            reading=reading(point.at, point.equity), trust=Trust.TRUSTED, at=point.at, point=point
        )
        for point in points.points()
    )
    memory = ScopeMemory(
        scope=SCOPE,
        history=points,
        last_trusted=readings[-1].reading,
        watch_began_at=NOW - 3600,
    )
    return memory, readings


def quiet(folder: Path) -> Settings:
    """A guard that runs, sees a fall of 2 % and has nothing to do."""
    settings = settings_in(folder)
    memory, readings = known((600, 10_000.0), (3, 9_800.0))
    write(settings, Records(readings=readings, scopes=(memory,)))
    write_lock(settings, at=NOW - 3)
    return settings


TARGETS = (
    CloseTarget(
        number=1,
        key=RowKey(SCOPE, Symbol("SOLUSDT"), Side.SHORT),
        may_remain=Decimal(25),
        initial_quantity=Decimal(100),
    ),
    CloseTarget(
        number=2,
        key=RowKey(SCOPE, Symbol("XRPUSDT"), Side.SHORT),
        may_remain=Decimal(0),
        initial_quantity=Decimal(1000),
        status=TargetStatus.HELD,
    ),
)
INCIDENT = Incident(
    incident_id=IncidentId("abcd1"),
    book=BOOK,
    stage=Stage.REDUCED_TOP_RISK,
    mode="CLOSE_TOP_RISK_CONTRIBUTORS",
    source=Source.SHORT,
    opened_at=NOW - 50,
    dry_run=False,
    reason="drawdown 4.60% over 15m reached 4.50%",
    targets=TARGETS,
    rounds=4,
    last_progress_at=NOW - 40,
)
LOCK = LockEntry(
    scope=BOOK,
    stage=Stage.REDUCED_TOP_RISK,
    mode=LockMode.STAGE,
    reason="killswitch_stage_1_close_top_risk_contributors",
    created_ts=NOW - 50,
    expires_ts=NOW + 1750,
)
STATE = BookMemory(
    name=BOOK,
    stage=Stage.REDUCED_TOP_RISK,
    since=NOW - 50,
    cooldowns=(0.0, NOW + 3700, 0.0),
    streaks=(
        Streak(stage=Stage.REDUCED_TOP_RISK, count=9, last_counted_at=NOW - 4),
        Streak(stage=Stage.DOMINANT_CLOSED, count=1, last_counted_at=NOW - 4),
        Streak(stage=Stage.ALL_CLOSED, count=1, last_counted_at=NOW - 400),
    ),
    incident=INCIDENT,
    locks=(LOCK,),
)


def busy(folder: Path) -> Settings:
    """A guard in the middle of everything: a close that is stuck, a doubt, a request, failures."""
    settings = settings_in(folder)
    memory, readings = known((600, 10_000.0), (70, 9_400.0))
    doubted = reading(NOW - 30, 5_000.0)
    doubt = Doubt(at=NOW - 30, equity=5_000.0, unexplained=-4_400.0)
    doubts = ReadingRecord(
        reading=doubted,
        trust=Trust.SUSPECT,
        at=NOW - 30,
        point=None,
        reasons=("-4400 unexplained",),
    )
    order = OrderRecord(
        client_id=ClientOrderId("ks-abcd1-1-1-1"),
        incident_id=INCIDENT.incident_id,
        scope=SCOPE,
        key=TARGETS[0].key,
        action=OrderAction.CLOSE,
        symbol="SOLUSDT",
        order_side="BUY",
        quantity=Decimal(75),
        round_number=1,
        created_at=NOW - 49,
        dry_run=False,
    )
    late = replace(order, client_id=ClientOrderId("ks-abcd1-1-2-1"), round_number=2)
    audit = AuditEntry(
        at=NOW - 50,
        scope=BOOK,
        event="trigger",
        message="REDUCED_TOP_RISK: [bold]not markup[/bold]",
        stage=Stage.REDUCED_TOP_RISK,
        mode=INCIDENT.mode,
        severity=Severity.CRITICAL,
        details=(("source", "SHORT"), ("drawdown", 0.046)),
    )
    write(
        settings,
        Records(
            readings=(*readings, doubts),
            scopes=(
                replace(
                    memory,
                    suspicion=Suspicion(since=NOW - 60, doubts=(doubt,), consistent_since=NOW - 60),
                    failures=2,
                ),
            ),
            books=(STATE,),
            orders=(
                replace(order, outcome=Unknown(cause="HTTP 503: busy"), answered_at=NOW - 48),
                late,
            ),
            audits=(audit,),
        ),
    )
    with opened(settings) as store:
        store.add_request(
            at=NOW - 12, actor="ann@host", command="flow", arguments=(("amount", "100.0"),)
        )
    unread = (("unread_binance_futures", "HTTP 503: busy"),)
    write_lock(settings, content=LockContent(locks=(LOCK,), details=unread), at=NOW - 2)
    return settings


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """While a guard, whose process id is 7, holds the state directory."""
    with StateLock.acquire(settings.state_dir):
        (settings.state_dir / "daemon.lock").write_text("7\n")
        yield


def screen(report: StatusReport, *, width: int = 80, terminal: bool = False) -> str:
    """The report as a person reads it."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal)
    console.print(render(report))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def held_report(settings: Settings, *, now: float = NOW) -> StatusReport:
    """What status reads while a guard runs."""
    with running(settings):
        return read_report(settings, now=now)
