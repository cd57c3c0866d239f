"""What a person reads: every state of lock and books in words, within the width there is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from commands.status.document import to_document
from commands.status.screen import render
from commands.status.show import read_report
from commands.status.wording import say_money, say_span, say_time
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from memory import (
    BookMemory,
    Doubt,
    Flow,
    IncidentStatus,
    ReadingRecord,
    Records,
    ScopeMemory,
    Suspicion,
)
from model import Asset, BookName, IncidentId, LedgerKind, RecordId, ScopeId, Stage, Trust
from settings import Settings
from switch_model import SwitchMemory, SwitchSetting, SwitchState
from switch_rules import REASON_REDIS_SILENT
from tests.guard_files import (
    BOOK,
    HELD,
    INCIDENT,
    LOCK,
    NOW,
    SCOPE,
    STATE,
    busy,
    held_report,
    history,
    known,
    quiet,
    reading,
    screen,
    settings_in,
    write,
    write_lock,
)

# --- the lock file ----------------------------------------------------------------------------


def lock_line(settings: Settings, *, now: float = NOW) -> str:
    """What the screen says of the lock, in one line."""
    text = screen(held_report(settings, now=now), width=300)
    start = next(i for i, line in enumerate(text.splitlines()) if line.startswith(" Lock"))
    return "\n".join(text.splitlines()[start : start + 2])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (LOCK, "until 15:35:50 (29 min)"),
        (replace(LOCK, expires_ts=NOW - 5), "ran out 5 s ago"),
        (replace(LOCK, expires_ts=FOREVER_TS, manual_reset_required=True), "until you reset it"),
        (
            replace(LOCK, mode=LockMode.BLIND, stage=Stage.NORMAL, expires_ts=FOREVER_TS),
            "until it sees again",
        ),
        (
            replace(LOCK, mode=LockMode.HALT, scope="*", expires_ts=FOREVER_TS),
            "every book: killswitch_stage_1_close_top_risk_contributors until you lift it",
        ),
        (
            replace(LOCK, mode=LockMode.HALT, reason=REASON_REDIS_SILENT, expires_ts=FOREVER_TS),
            "operator_redis_silent until Redis answers",
        ),
    ],
)
def test_a_lock_says_how_it_ends(tmp_path: Path, entry: LockEntry, words: str) -> None:
    """By time, by a person, or by what caused it."""
    settings = quiet(tmp_path)
    write_lock(settings, content=LockContent(locks=(entry,)))
    assert words in lock_line(settings)


def test_the_lock_of_a_dry_run_binds_nobody(tmp_path: Path) -> None:
    """It shows what would be locked and says that bots trade."""
    settings = quiet(tmp_path)
    write_lock(settings, content=LockContent(would_lock=(LOCK,), dry_run=True))
    said = lock_line(settings)
    assert "free, bots may trade" in said
    assert "would lock: killswitch_stage_1" in said


@pytest.mark.parametrize(
    ("locks", "simple"), [((), "free to trade"), ((LOCK,), "LOCKED"), (None, "free to trade")]
)
def test_a_stale_lock_says_what_each_kind_of_bot_does(
    tmp_path: Path, locks: tuple[LockEntry, ...] | None, simple: str
) -> None:
    """A bot that reads two keys does not notice that the guard is dead; the strict reader does."""
    settings = quiet(tmp_path)
    entries = (replace(LOCK, expires_ts=NOW - 1),) if locks is None else locks
    write_lock(settings, content=LockContent(locks=entries), at=NOW - 90)
    said = lock_line(settings)
    assert "STALE: heartbeat 1 min 30 s ago, 1 min allowed. Strict readers stop" in said
    assert f"bots that read only `locked` are {simple}" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "lock_missing"),
        ("no json", "lock_unreadable"),
        ("[1]", "lock_unreadable"),
        ('{"version": 1}', "lock_version"),
        ('{"version": 2, "locked": true, "locks": [5], "heartbeat_ts": 1e400}', "lock_unreadable"),
    ],
)
def test_a_lock_that_cannot_be_read_is_told_and_stops_nothing(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    """Status goes on with all the rest; what strict bots do is said."""
    settings = quiet(tmp_path)
    settings.trading_lock_file.unlink()
    if text is not None:
        settings.trading_lock_file.write_text(text)
    report = held_report(settings)
    assert f"{reason}: strict readers stop" in lock_line(settings)
    lock = to_document(report)["lock"]
    assert isinstance(lock, dict)
    assert (lock["is_readable"], lock["locked"], lock["reason"]) == (False, None, reason)


@pytest.mark.parametrize(
    "change",
    [
        {"would_lock": 5},
        {"details": []},
        {"expires_ts": "soon"},
        {"expires_ts": float("inf")},
        {"heartbeat_max_age_s": 10**400},
        {"locked": True},
    ],
)
def test_a_document_of_somebody_else_is_not_half_believed(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """A document that is wrong in one place is unreadable as a whole."""
    settings = quiet(tmp_path)
    document = json.loads(settings.trading_lock_file.read_text())
    settings.trading_lock_file.write_text(json.dumps({**document, **change}))
    assert not held_report(settings).lock.is_readable


def test_what_the_guard_does_not_watch_is_told_from_its_lock(tmp_path: Path) -> None:
    """The shell of status may lack the keys that the daemon's environment has."""
    settings = replace(quiet(tmp_path), unwatched=("one: NOT WATCHED",))
    details = (("not_watched_1", "one: NOT WATCHED"), ("not_watched_2", "two: NOT WATCHED"))
    write_lock(settings, content=LockContent(details=details))
    report = held_report(settings)
    assert report.not_watched == ("one: NOT WATCHED", "two: NOT WATCHED")
    assert "two: NOT WATCHED" in screen(report)


def test_what_would_hinder_a_close_is_told_from_the_lock_of_a_running_guard(
    tmp_path: Path,
) -> None:
    """Found by the daemon while it was calm; of a guard that has ended it is old."""
    settings = quiet(tmp_path)
    line = "binance_futures: NEWUSDT LONG is not in the venue's market list"
    write_lock(settings, content=LockContent(details=(("hinders_binance_futures", line),)))
    assert line in held_report(settings).warnings
    assert line not in read_report(settings, now=NOW).warnings


# --- the screen -------------------------------------------------------------------------------
QUIET_SCREEN = """\
Killswitch   LIVE   SIMULATOR  running, pid 7                       15:06:40 UTC
 bybit: keys found, not in config.yaml, NOT WATCHED
╭─ binance_futures  NORMAL  SIMULATOR ─────────────────────────────────────────╮
│ equity     9,800.00  3 s ago  TRUSTED                                        │
│ positions  1 long 6,000.00   1 short 5,500.00                                │
│            net +500.00   unrealised -500.00   gross 1.2 x equity             │
│ window drawdown                            stage 1 stage 2 stage 3      peak │
│ 15m      2.00 % █████······│·····│·······│    4.50    7.00   10.00 10,000.00 │
│ 1h       2.00 % ████········│·····│······│    7.00   10.00   14.00 10,000.00 │
│ 1d       2.00 % ███···············│······│       -   15.00   20.00 10,000.00 │
╰──────────────────────────────────────────────────────────────────────────────╯
 Switch  running
 Lock  free, bots may trade  heartbeat 3 s ago
 No actions yet"""

BUSY_SCREEN = """\
Killswitch   LIVE   SIMULATOR  running, pid 7                       15:06:40 UTC
 bybit: keys found, not in config.yaml, NOT WATCHED
 ! binance_futures: closing has made no progress for 40 s
 ! binance_futures: BLIND, no trusted reading for 1 min 10 s
 ! nobody has answered: flow, asked 12 s ago
╭─ binance_futures  stage 1 REDUCED_TOP_RISK for 50 s  SIMULATOR ──────────────╮
│ equity     9,400.00  1 min 10 s ago  UNAVAILABLE  2 failed in a row          │
│ not read   HTTP 503: busy                                                    │
│ doubt      for 1 min: reads 5,000.00; -4400 unexplained; believed in 1 min   │
│            if it stays                                                       │
│ positions  1 long 6,000.00   1 short 5,500.00                                │
│            net +500.00   unrealised -500.00   gross 1.2 x equity             │
│ streaks    stage 1: 3 of 3   stage 2: 1 of 2                                 │
│ cooldown   stage 2: 1 h 1 min left                                           │
│ window drawdown                            stage 1 stage 2 stage 3      peak │
│ 15m      6.00 % ███████████│████·│·······│   !4.50    7.00   10.00 10,000.00 │
│ 1h       6.00 % ███████████·│·····│······│    7.00   10.00   14.00 10,000.00 │
│ 1d       6.00 % ████████··········│······│       -   15.00   20.00 10,000.00 │
│ incident abcd1  stage 1 CLOSE_TOP_RISK_CONTRIBUTORS  source SHORT            │
│ drawdown 4.60% over 15m reached 4.50%; open for 50 s, round 4, last progress │
│ 40 s ago                                                                     │
│ orders: 1 close SENT, 1 close UNKNOWN; latest trouble: HTTP 503: busy        │
│ target   side    had  may remain  last read  state                           │
│ SOLUSDT  SHORT   100          25         50  OPEN                            │
│ XRPUSDT  SHORT  1000           0          0  HELD                            │
╰──────────────────────────────────────────────────────────────────────────────╯
 Switch  running
 Lock  LOCKED, bots must not open  heartbeat 2 s ago
       killswitch_stage_1_close_top_risk_contributors until 15:35:50 (29 min)
 Requests  flow amount=100.0 by ann@host, 12 s ago
 Last actions
 15:05:50 ! trigger  REDUCED_TOP_RISK: [bold]not markup[/bold]"""


@pytest.mark.parametrize(("make", "golden"), [(quiet, QUIET_SCREEN), (busy, BUSY_SCREEN)])
def test_the_screen_at_80_columns(
    tmp_path: Path, make: Callable[[Path], Settings], golden: str
) -> None:
    """The whole page as it is read, so that every change of it is looked at."""
    assert screen(held_report(make(tmp_path))) == golden


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("make", [quiet, busy])
def test_no_line_is_wider_than_the_terminal(
    tmp_path: Path, make: Callable[[Path], Settings], width: int
) -> None:
    """A line that is cut or wrapped by the terminal would break the table."""
    lines = screen(held_report(make(tmp_path)), width=width).splitlines()
    assert max(cell_len(line) for line in lines) <= width


def test_large_accounts_fit_80_columns(tmp_path: Path) -> None:
    """Ten million, with thresholds in breach and others measured from their own baseline."""
    settings = settings_in(tmp_path)
    memory, readings = known((600, 10_000_000.0), (300, 9_000_000.0), (3, 8_000_000.0))
    state = BookMemory(name=BOOK, stage_baselines=(NOW - 400, NOW - 400, 0.0))
    write(settings, Records(readings=readings, scopes=(memory,), books=(state,)))
    (row,) = (
        line for line in screen(held_report(settings)).splitlines() if line.startswith("│ 1h")
    )
    # Stage 3 sees 1 - 8 / 10 = 0.20, stages 1 and 2 from their baseline 1 - 8 / 9 = 0.1111.
    assert "20.00 %" in row
    assert "11.11 of !7.00" in row
    assert "11.11 of !10.00" in row
    assert "!14.00 10,000,000.00" in row
    assert cell_len(row) == 80


def test_a_wide_screen_says_when_the_peak_was(tmp_path: Path) -> None:
    """Where there is room."""
    assert "10,000.00 14:56:40" in screen(held_report(quiet(tmp_path)), width=120)


def test_colours_only_on_a_terminal(tmp_path: Path) -> None:
    """A log or a mail gets no control codes."""
    report = held_report(busy(tmp_path))
    assert "\x1b[" in screen(report, terminal=True)
    assert "\x1b" not in screen(report)


def test_a_terminal_without_unicode_gets_plain_signs(tmp_path: Path) -> None:
    """A bar that cannot be encoded must not end in a stack trace."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as out:
        Console(file=out, width=80).print(render(held_report(quiet(tmp_path))))
        out.flush()
        text = raw.getvalue().decode("ascii")
    assert "#####......|.....|.......|" in text


def test_an_account_that_is_too_small_says_so(tmp_path: Path) -> None:
    """Its drawdowns are shown and count for nothing (behaviour.md 4)."""
    settings = settings_in(tmp_path)
    memory, readings = known((600, 99.0), (3, 50.0))
    write(settings, Records(readings=readings, scopes=(memory,)))
    report = held_report(settings)
    assert "not judged: it never held min_equity" in screen(report)
    assert "49.49 %" in screen(report)
    assert not any(d.is_breach for d in report.books[0].scopes[0].drawdowns)


def test_a_reset_shows_that_no_peak_counts_yet(tmp_path: Path) -> None:
    """Between a reset and the next reading there is nothing to measure from."""
    settings = quiet(tmp_path)
    write(settings, Records(books=(BookMemory(name=BOOK, baseline_at=NOW - 1),)))
    assert "none yet" in screen(held_report(settings))


def page(settings: Settings, memory: ScopeMemory, readings: tuple[ReadingRecord, ...]) -> str:
    """The page for one scope remembered like this."""
    write(settings, Records(readings=readings, scopes=(memory,)))
    return screen(held_report(settings), width=120)


def test_a_doubt_that_is_not_blindness_yet_is_warned_of(tmp_path: Path) -> None:
    """The alert begins with the first doubted reading, so does the page."""
    memory, readings = known((30, 10_000.0))
    doubt = Doubt(at=NOW - 3, equity=9_000.0, unexplained=-1_000.0)
    suspicion = Suspicion(since=NOW - 3, doubts=(doubt,), consistent_since=NOW - 3)
    doubted = ReadingRecord(
        reading=reading(NOW - 3, 9_000.0),
        trust=Trust.SUSPECT,
        at=NOW - 3,
        point=None,
        reasons=("-1000 unexplained",),
    )
    said = page(settings_in(tmp_path), replace(memory, suspicion=suspicion), (*readings, doubted))
    assert " ! binance_futures: the latest readings are doubted" in said
    assert "10,000.00  30 s ago  SUSPECT" in said
    assert "for 3 s: reads 9,000.00; -1000 unexplained; believed in 1 min 57 s" in said


def test_a_failed_cross_check_is_noted(tmp_path: Path) -> None:
    """The reading is trusted, and what does not add up is shown all the same."""
    memory, (record,) = known((3, 10_000.0))
    record = replace(record, reasons=("the totals disagree",))
    assert "note       the totals disagree" in page(settings_in(tmp_path), memory, (record,))


def test_a_flow_on_its_way_is_shown(tmp_path: Path) -> None:
    """Until its step comes a breach counts only with and without it."""
    memory, readings = known((3, 10_000.0))
    flow = Flow(
        record_id=RecordId("f1"),
        scope=SCOPE,
        at=NOW - 5,
        amount=-2_000.0,
        kind=LedgerKind.TRANSFER,
    )
    said = page(settings_in(tmp_path), replace(memory, flows=(flow,)), readings)
    assert "flow       -2,000.00 on its way" in said


def test_positions_older_than_the_equity_tell_their_age(tmp_path: Path) -> None:
    """While a doubt lasts, explained values run ahead of the last reading that was believed."""
    memory, readings = known((90, 10_000.0), (3, 9_900.0))
    memory = replace(memory, last_trusted=readings[0].reading)
    assert "1 min 30 s ago" in page(settings_in(tmp_path), memory, readings)


def test_a_flat_account_has_no_positions(tmp_path: Path) -> None:
    """And one without equity no multiple of it."""
    memory, _ = known((3, 10_000.0))
    flat = reading(NOW - 3, 10_000.0, positions=())
    settings = settings_in(tmp_path)
    assert "positions  none" in page(settings, replace(memory, last_trusted=flat), ())
    empty = replace(memory, history=history((3, 0.0)))
    assert "x equity" not in page(settings_in(tmp_path), empty, ())


def test_a_book_that_waits_for_a_person_says_how(tmp_path: Path) -> None:
    """The command to type stands there."""
    settings = quiet(tmp_path)
    state = BookMemory(name=BOOK, stage=Stage.ALL_CLOSED, manual_reset_required=True)
    write(settings, Records(books=(state,)))
    said = screen(held_report(settings))
    assert "waits for you: python3 killswitch.py reset binance_futures" in said
    assert "stage 3 ALL_CLOSED" in said


def test_an_incident_without_targets_says_so(tmp_path: Path) -> None:
    """An empty plan is an incident too."""
    settings = busy(tmp_path)
    incident = replace(INCIDENT, incident_id=IncidentId("other"), targets=())
    ended = replace(INCIDENT, status=IncidentStatus.EXPIRED, ended_at=NOW)
    write(
        settings,
        Records(books=(replace(STATE, incident=incident),), incidents=(ended,)),
    )
    said = screen(held_report(settings))
    assert "nothing was to be closed" in said
    assert "orders:" not in said


def test_several_books_and_accounts_are_told_apart(tmp_path: Path) -> None:
    """Names stand before locks, actions and accounts as soon as there is more than one."""
    settings = busy(tmp_path)
    book = next(book for book in settings.base_policy.books if book.name == BOOK)
    other = replace(book, name=BookName("both"), scopes=(SCOPE, ScopeId("second")))
    policy = replace(settings.base_policy, books=(book, other))
    said = screen(held_report(replace(settings, base_policy=policy)), width=120)
    assert "account  second" in said
    assert said.count("cooldown ") == 1
    assert "binance_futures: killswitch_stage_1" in said
    assert "trigger  binance_futures: REDUCED_TOP_RISK" in said


def test_no_account_at_all_is_said(tmp_path: Path) -> None:
    """A page without books would look like a quiet day."""
    settings = replace(quiet(tmp_path), venues=())
    assert "no account is configured" in screen(held_report(settings))


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (59.99, "59 s"),
        (60.0, "1 min"),
        (1790.0, "29 min 50 s"),
        (7500.0, "2 h 5 min"),
        (3600.0, "1 h"),
        (3 * 86_400 + 4 * 3600 + 59, "3 d 4 h"),
        (-0.4, "0 s"),
        (-90.0, "-1 min 30 s"),
    ],
)
def test_spans_are_told_in_two_units(seconds: float, words: str) -> None:
    """Long enough to act on, short enough to read."""
    assert say_span(seconds) == words
    assert say_span(seconds, is_short=True) == " ".join(words.split()[:2])


def test_money_and_times() -> None:
    """No negative zero, and a date only where the day is another."""
    assert [say_money(-0.001), say_money(-0.001, signed=True)] == ["0.00", "+0.00"]
    assert say_money(1234567.891) == "1,234,567.89"
    assert say_time(NOW, now=NOW) == "15:06:40"
    assert say_time(NOW - 86_400, now=NOW) == "06-14 15:06"


def test_coins_that_nobody_prices_are_named(tmp_path: Path) -> None:
    """They count 0, so a person has to know of them; also where nothing else is held."""
    settings = quiet(tmp_path)
    memory, readings = known((600, 10_000.0), (3, 9_800.0))
    for positions in (HELD, ()):
        seen = replace(readings[-1].reading, positions=positions, unpriced=(Asset("XYZ"),))
        write(settings, Records(scopes=(replace(memory, last_trusted=seen),)))
        assert "without a price, counted as 0: XYZ" in screen(held_report(settings))


# --- the switch -------------------------------------------------------------------------------


def held_by(folder: Path, setting: SwitchSetting) -> Settings:
    """A quiet guard whose Redis was seen to hold a state."""
    settings = quiet(folder)
    write(settings, Records(switch=SwitchMemory(redis=setting)))
    return settings


def operator_lock(state: SwitchState, **details: str) -> LockContent:
    """The lock that a guard sets for the switch."""
    entry = LockEntry(
        scope="*",
        stage=Stage.NORMAL,
        mode=LockMode(state.value),
        reason=f"operator_{state}",
        created_ts=NOW - 65,
        expires_ts=FOREVER_TS,
        details=tuple(details.items()),
    )
    return LockContent(locks=(entry,))


def test_the_switch_names_its_store_its_time_and_its_operator(tmp_path: Path) -> None:
    """What a person needs who finds the bots locked and did not do it."""
    setting = SwitchSetting(
        state=SwitchState.PAUSE, since=NOW - 60, actor="anna", reason="[bold]lunch[/bold]"
    )
    settings = held_by(tmp_path, setting)
    write_lock(settings, content=operator_lock(SwitchState.PAUSE))
    report = held_report(settings)
    line = " Switch  pause  since 15:05:40  held by redis by anna: [bold]lunch[/bold]"
    assert line in screen(report)
    told = to_document(report)["switch"]
    assert told["held_by"] == ["redis"]  # type: ignore[index]
    assert told["since_ts"] == NOW - 60  # type: ignore[index]


def test_a_halt_that_nobody_has_set_names_the_silent_redis(tmp_path: Path) -> None:
    """The stores say running; the guard's lock file says why it holds."""
    settings = held_by(tmp_path, SwitchSetting(actor="killswitch"))
    write_lock(settings, content=operator_lock(SwitchState.HALT, redis_silent="nothing listens"))
    report = held_report(settings)
    assert "held by nobody: Redis is silent (nothing listens)" in screen(report, width=120)
    assert to_document(report)["switch"]["redis_silent"] == "nothing listens"  # type: ignore[index]


def test_a_switch_that_nobody_carries_out_is_a_warning(tmp_path: Path) -> None:
    """Without a guard, and with one whose lock says less than the stores."""
    setting = SwitchSetting(state=SwitchState.KILL, since=NOW - 60, actor="anna")
    settings = held_by(tmp_path, setting)
    report = read_report(settings, now=NOW)
    assert "the switch says kill, and no guard runs that carries it out" in report.warnings
    held = "the guard's lock file says running, the stores say kill: see its log"
    assert held in held_report(settings).warnings
