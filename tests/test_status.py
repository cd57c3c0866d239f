"""`status` shows what the guard judges, says what is wrong, and changes nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clock import SystemClock
from commands.status.document import to_document
from commands.status.show import read_report, show_status, watch_status
from decision import Observation, decide
from lock_document import LockContent
from memory import (
    Doubt,
    Flow,
    History,
    Memory,
    Point,
    ReadingRecord,
    Records,
    ScopeMemory,
    Suspicion,
)
from model import BookName, LedgerKind, RecordId, ScopeObservation, Stage, Trust
from settings import Settings
from tests.guard_files import (
    NOW,
    SCOPE,
    STATE,
    busy,
    config_in,
    held_report,
    known,
    opened,
    quiet,
    reading,
    screen,
    settings_in,
    write,
    write_lock,
)

# --- the same judgement -----------------------------------------------------------------------


def test_drawdowns_are_those_the_guard_judged(tmp_path: Path) -> None:
    """Every window and threshold is the very value that the decision was taken with."""
    settings = settings_in(tmp_path)
    policy = settings.to_policy()
    memory = Memory()
    with opened(settings) as store:
        for ago, equity in ((1200, 10_100.0), (700, 10_000.0), (60, 9_900.0), (20, 9_700.0)):
            at = NOW - ago
            seen = ScopeObservation(
                scope=SCOPE, asked_at=at, reading=reading(at, equity, positions=())
            )
            decision = decide(memory, Observation(now=at, scopes=(seen,)), policy)
            memory = decision.memory
            store.commit(decision.records)
    (judged,) = decision.verdicts
    ((scope,),) = (book.scopes for book in held_report(settings).books)
    # Peaks carry the results of rows, which status does not read.
    shown = [
        replace(d, peak=None if d.peak is None else replace(d.peak, results=()))
        for d in judged.drawdowns
    ]
    assert list(scope.drawdowns) == shown
    # 1h: 1 - 9,700 / 10,100 = 0.0396; 15m: 10,100 is carried into the window, being the last
    # reading before it, 300 s older than its beginning.
    assert {round(d.fraction, 4) for d in scope.drawdowns} == {0.0396}
    assert scope.equity == judged.equity


def test_a_flow_changes_no_shown_drawdown(tmp_path: Path) -> None:
    """A withdrawal of 2,000 from 10,000 is in the units, so it is no fall of 20 %."""
    settings = settings_in(tmp_path)
    flow = Flow(
        record_id=RecordId("f1"),
        scope=SCOPE,
        at=NOW - 61,
        amount=-2_000.0,
        kind=LedgerKind.TRANSFER,
        effective_at=NOW - 60,
        factor=0.8,
    )
    points = History.of(
        (
            Point(at=NOW - 600, equity=10_000.0, nav=10_000.0),
            Point(at=NOW - 60, equity=8_000.0, nav=10_000.0),
            Point(at=NOW - 3, equity=7_400.0, nav=9_250.0),
        )
    )
    memory = ScopeMemory(scope=SCOPE, history=points, units=0.8, flows=(flow,))
    write(settings, Records(scopes=(memory,), flows=(flow,)))
    (book,) = held_report(settings).books
    # 1 - 7,400 / 8,000 = 0.075, as in behaviour.md section 4.
    assert {round(d.fraction, 9) for d in book.scopes[0].drawdowns} == {0.075}


def test_the_judged_moment_stays_when_the_guard_has_been_down(tmp_path: Path) -> None:
    """Hours later the windows would be empty; what was judged last is what is known."""
    settings = quiet(tmp_path)
    report = read_report(settings, now=NOW + 30 * 86_400)
    ((scope,),) = (book.scopes for book in report.books)
    assert {round(d.fraction, 9) for d in scope.drawdowns} == {0.02}
    assert scope.trust is Trust.UNAVAILABLE
    assert scope.silent_s is None


@pytest.mark.parametrize(
    ("age_s", "failures", "trust"),
    [
        (25.0, 0, Trust.TRUSTED),
        (25.1, 0, Trust.UNAVAILABLE),  # 2 x 10 s poll + 5 s
        (1.0, 1, Trust.UNAVAILABLE),  # the reading after it failed
    ],
)
def test_a_reading_counts_as_long_as_for_the_guard(
    tmp_path: Path, age_s: float, failures: int, trust: Trust
) -> None:
    """An old reading, or one that was followed by a failure, is not shown as trusted."""
    settings = settings_in(tmp_path)
    memory, readings = known((age_s, 10_000.0))
    write(settings, Records(readings=readings, scopes=(replace(memory, failures=failures),)))
    (book,) = held_report(settings).books
    assert book.scopes[0].trust is trust


def test_a_streak_that_is_too_old_is_not_shown(tmp_path: Path) -> None:
    """After 60 s without a count the guard starts anew, so status must not say 1 of 2."""
    report = held_report(busy(tmp_path))
    assert [streak.stage for streak in report.books[0].streaks] == [
        Stage.REDUCED_TOP_RISK,
        Stage.DOMINANT_CLOSED,
    ]


@pytest.mark.parametrize(
    ("unexplained", "consistent_since", "believed_at"),
    [
        (-400.0, NOW - 20, NOW - 20 + 120),  # a fall that stays the same: after the grace
        (-400.0, None, NOW - 60 + 600),  # readings disagree: at the limit
        (400.0, NOW - 20, NOW - 60 + 600),  # a rise waits for the limit at the latest
        (-400.0, NOW + 500, NOW - 60 + 600),  # never later than the limit
    ],
)
def test_a_doubt_says_when_it_ends(
    tmp_path: Path, unexplained: float, consistent_since: float | None, believed_at: float
) -> None:
    """Who sees SUSPECT wants to know how long the guard will wait."""
    settings = settings_in(tmp_path)
    memory, readings = known((70, 10_000.0))
    doubt = Doubt(at=NOW - 3, equity=10_000.0 + unexplained, unexplained=unexplained)
    suspicion = Suspicion(since=NOW - 60, doubts=(doubt,), consistent_since=consistent_since)
    write(settings, Records(readings=readings, scopes=(replace(memory, suspicion=suspicion),)))
    (book,) = held_report(settings).books
    assert book.scopes[0].believed_at == believed_at


# --- which run is shown -----------------------------------------------------------------------


def test_the_running_guard_says_whether_it_is_live(tmp_path: Path) -> None:
    """A guard started with --dry-run is shown as the dry run it is, whatever the file says."""
    settings = quiet(tmp_path)
    write_lock(settings, content=LockContent(dry_run=True))
    report = held_report(settings)
    assert report.dry_run
    assert "the running guard is a dry run, the configuration says dry_run: false" in (
        report.warnings
    )
    assert "DRY RUN" in screen(report)
    assert not read_report(settings, now=NOW).dry_run


def test_only_the_lock_of_the_running_process_is_believed(tmp_path: Path) -> None:
    """A lock file that an earlier dry run left says nothing about the guard that starts now."""
    settings = quiet(tmp_path)
    write_lock(settings, content=LockContent(dry_run=True), pid=6)
    assert not held_report(settings).dry_run


def test_an_open_live_incident_is_told_in_a_dry_run(tmp_path: Path) -> None:
    """A dry run does not work on it, so a person must."""
    busy(tmp_path)
    report = read_report(settings_in(tmp_path, dry_run=True), now=NOW)
    assert report.dry_run
    assert report.books[0].open_incident is None
    assert any("a live incident is open" in line for line in report.warnings)


def test_without_a_guard_the_first_thing_said_is_that(tmp_path: Path) -> None:
    """A lock and a database that look sound guard nothing."""
    report = read_report(quiet(tmp_path), now=NOW)
    assert report.holder is None
    assert report.warnings[0].startswith("no guard is running, last sign 3 s ago")
    assert "not running" in screen(report)


def test_a_guard_that_stopped_beating_is_told(tmp_path: Path) -> None:
    """It holds the directory and writes nothing: it hangs."""
    report = held_report(quiet(tmp_path), now=NOW + 58)
    assert report.warnings[0] == (
        "the guard has not written its lock for 1 min 1 s: it hangs, or cannot write there"
    )


TROUBLES = LockContent(
    details=(
        ("trouble_store", "since 2025-06-15 15:06:00 UTC: database or disk is full"),
        ("trouble_new_one", "since 2025-06-15 15:06:00 UTC: something"),
    )
)


def test_what_fails_on_the_guards_machine_is_told_with_a_remedy(tmp_path: Path) -> None:
    """The guard names it in its lock, because the database may be what fails."""
    settings = quiet(tmp_path)
    write_lock(settings, content=TROUBLES, at=NOW - 3)
    warnings = held_report(settings).warnings
    assert warnings[0] == (
        "database: since 2025-06-15 15:06:00 UTC: database or disk is full -> "
        "what waits is lost if the guard ends first: see to the disk, then wait"
    )
    assert warnings[1].endswith("something -> see its log")
    assert read_report(settings, now=NOW).warnings == (
        "no guard is running, last sign 3 s ago: nothing is watched, nothing will be closed",
    )


def test_records_that_cannot_be_read_are_told_with_their_account(tmp_path: Path) -> None:
    """A key without that right: a withdrawal would be taken for a loss."""
    settings = quiet(tmp_path)
    content = LockContent(details=((f"trouble_ledger {SCOPE}", "since noon: code -2015"),))
    write_lock(settings, content=content, at=NOW - 3)
    assert held_report(settings).warnings == (
        f"records of {SCOPE}: since noon: code -2015 -> a withdrawal would be taken for a loss: "
        "let the key read transfers and account records",
    )


@pytest.mark.parametrize(
    ("offset_s", "says"),
    [
        (None, ()),
        (4.9, ()),
        (30.0, (f"{SCOPE}: this machine's clock is 30 s behind the exchange's",)),
        (-7200.0, (f"{SCOPE}: this machine's clock is 7200 s ahead of the exchange's",)),
    ],
)
def test_a_machine_whose_clock_is_off_is_told(
    tmp_path: Path, offset_s: float | None, says: tuple[str, ...]
) -> None:
    """Nothing fails of it, since requests bear the exchange's time; times in the log do."""
    settings = quiet(tmp_path)
    last = replace(reading(NOW - 3, 9_800.0), server_offset_s=offset_s)
    memory, _ = known((600, 10_000.0), (3, 9_800.0))
    record = ReadingRecord(reading=last, trust=Trust.TRUSTED, at=NOW - 3, point=memory.history.last)
    write(settings, Records(readings=(record,), scopes=(replace(memory, last_trusted=last),)))
    warnings = held_report(settings).warnings
    assert warnings == tuple(f"{line} -> run a time server" for line in says)


def test_a_lock_that_is_late_is_told_before_strict_readers_stop(tmp_path: Path) -> None:
    """A running guard writes it every 10 s; bots that read less than all of it trade on."""
    settings = quiet(tmp_path)
    assert held_report(settings, now=NOW + 27).warnings == ()
    assert "has not written its lock for 31 s" in held_report(settings, now=NOW + 28).warnings[0]


@pytest.mark.parametrize(("age_s", "is_told"), [(29, False), (31, True)])
def test_a_database_that_is_not_written_is_told(
    tmp_path: Path, age_s: float, is_told: bool
) -> None:
    """Every tick is written: what is older than three of them is not what happens now."""
    settings = quiet(tmp_path)
    for file in settings.state_dir.glob("killswitch.db*"):
        os.utime(file, (NOW - age_s, NOW - age_s))
    warnings = held_report(settings).warnings
    assert any("not been written for 31 s" in line for line in warnings) is is_told


def test_a_database_that_cannot_be_read_leaves_the_lock_to_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a crash on a full disk: what bots do, and what fails, without the database."""
    settings = quiet(tmp_path)
    write_lock(settings, content=TROUBLES, at=SystemClock().now())
    settings.state_db.write_bytes(b"no database" * 1000)
    assert show_status(settings.path, as_json=True, watch=False) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0].startswith("status: ")
    assert lines[1].startswith("the guard wrote its lock ")
    assert lines[2] == "bots may trade"
    assert lines[3].startswith("database: since 2025-06-15")
    settings.trading_lock_file.unlink()
    assert show_status(settings.path, as_json=False, watch=False) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["bots must not open: lock_missing"]


def test_a_process_without_a_lock_of_its_own_is_no_proof_of_a_guard(tmp_path: Path) -> None:
    """A guard that only starts, or a command, has written no lock yet."""
    settings = quiet(tmp_path)
    settings.trading_lock_file.unlink()
    assert held_report(settings).warnings[0] == (
        "a process holds the state directory but has not written the lock yet"
    )


def test_a_book_that_left_the_configuration_is_not_forgotten(tmp_path: Path) -> None:
    """Its lock still binds bots, and nobody reads its account."""
    settings = busy(tmp_path)
    left = replace(STATE, name=BookName("binance_old_futures"), incident=None)
    done = replace(STATE, name=BookName("binance_done_futures"), incident=None, locks=())
    write(settings, Records(books=(left, replace(done, stage=Stage.NORMAL))))
    report = held_report(settings)
    assert [book.state.name for book in report.books] == ["binance_futures", "binance_old_futures"]
    assert any("no longer configured" in line for line in report.warnings)
    assert "no longer configured" in screen(report)


def test_why_an_account_is_not_read_is_told(tmp_path: Path) -> None:
    """The venue's own words, from the lock that is written all the time."""
    settings = quiet(tmp_path)
    assert "not read" not in screen(held_report(settings))
    details = (("unread_binance_futures", "[bold]-2015[/bold]: Invalid API-key"),)
    write_lock(settings, content=LockContent(details=details))
    report = held_report(settings)
    assert report.books[0].scopes[0].unread == "[bold]-2015[/bold]: Invalid API-key"
    assert "not read   [bold]-2015[/bold]: Invalid API-key" in screen(report)
    fresh = replace(settings, state_db=tmp_path / "other" / "killswitch.db")
    write(fresh, Records())
    assert "Invalid API-key" in screen(held_report(fresh))


def test_a_new_account_is_never_shown_as_empty(tmp_path: Path) -> None:
    """Unknown is not zero: no reading is `never read`, in JSON null."""
    settings = settings_in(tmp_path)
    write(settings, Records())
    report = held_report(settings)
    assert "never read" in screen(report)
    (scope,) = to_document(report)["books"][0]["scopes"]  # type: ignore[index]
    assert (scope["equity"], scope["holdings"], scope["drawdowns"]) == (None, None, [])


# --- JSON -------------------------------------------------------------------------------------

BUSY_JSON = """\
{
  "version": 1,
  "ts": 1750000000.0,
  "config": "FOLDER/config.yaml",
  "state_db": "FOLDER/state/killswitch.db",
  "dry_run": false,
  "configured_dry_run": false,
  "is_running": true,
  "pid": 7,
  "practice": {
    "simulator": [
      "binance_futures"
    ]
  },
  "not_watched": [
    "bybit: keys found, not in config.yaml, NOT WATCHED"
  ],
  "warnings": [
    "binance_futures: closing has made no progress for 40 s",
    "binance_futures: BLIND, no trusted reading for 1 min 10 s",
    "nobody has answered: flow, asked 12 s ago"
  ],
  "books": [
    {
      "book": "binance_futures",
      "is_configured": true,
      "stage": 1,
      "stage_name": "REDUCED_TOP_RISK",
      "since_ts": 1749999950.0,
      "baseline_ts": null,
      "manual_reset_required": false,
      "cooldowns": [
        {
          "stage": 1,
          "until_ts": null,
          "left_s": 0.0
        },
        {
          "stage": 2,
          "until_ts": 1750003700.0,
          "left_s": 3700.0
        },
        {
          "stage": 3,
          "until_ts": null,
          "left_s": 0.0
        }
      ],
      "streaks": [
        {
          "stage": 1,
          "count": 9,
          "needed": 3,
          "last_counted_ts": 1749999996.0
        },
        {
          "stage": 2,
          "count": 1,
          "needed": 2,
          "last_counted_ts": 1749999996.0
        }
      ],
      "incident": {
        "incident_id": "abcd1",
        "stage": 1,
        "mode": "CLOSE_TOP_RISK_CONTRIBUTORS",
        "source": "SHORT",
        "reason": "drawdown 4.60% over 15m reached 4.50%",
        "status": "OPEN",
        "is_followup": false,
        "opened_ts": 1749999950.0,
        "last_progress_ts": 1749999960.0,
        "rounds": 4,
        "targets": [
          {
            "number": 1,
            "scope": "binance_futures",
            "symbol": "SOLUSDT",
            "side": "SHORT",
            "initial_quantity": "100",
            "may_remain": "25",
            "quantity": "50",
            "status": "OPEN"
          },
          {
            "number": 2,
            "scope": "binance_futures",
            "symbol": "XRPUSDT",
            "side": "SHORT",
            "initial_quantity": "1000",
            "may_remain": "0",
            "quantity": "0",
            "status": "HELD"
          }
        ],
        "orders": [
          {
            "action": "CLOSE",
            "outcome": "SENT",
            "count": 1
          },
          {
            "action": "CLOSE",
            "outcome": "UNKNOWN",
            "count": 1
          }
        ],
        "latest_trouble": "HTTP 503: busy"
      },
      "locks": [
        {
          "scope": "binance_futures",
          "stage": 1,
          "mode": "stage",
          "reason": "killswitch_stage_1_close_top_risk_contributors",
          "created_ts": 1749999950.0,
          "expires_ts": 1750001750.0,
          "manual_reset_required": false,
          "dry_run": false,
          "details": {}
        }
      ],
      "scopes": [
        {
          "scope": "binance_futures",
          "kind": "simulator",
          "trust": "UNAVAILABLE",
          "reasons": "-4400 unexplained",
          "unread": "HTTP 503: busy",
          "equity": 9400.0,
          "equity_ts": 1749999930.0,
          "equity_age_s": 70.0,
          "reported_equity": 5000.0,
          "unexplained": -4400.0,
          "suspected_since_ts": 1749999940.0,
          "believed_ts": 1750000060.0,
          "pending_flow": 0.0,
          "failures": 2,
          "silent_s": 70.0,
          "is_blind": true,
          "holdings": {
            "ts": 1749999930.0,
            "long_count": 1,
            "short_count": 1,
            "long_notional": 6000.0,
            "short_notional": 5500.0,
            "net_exposure": 500.0,
            "unrealised_pnl": -500.0,
            "unpriced": []
          },
          "drawdowns": [
            {
              "stage": 1,
              "window": "15m",
              "window_s": 900.0,
              "drawdown_fraction": 0.06,
              "threshold_fraction": 0.045,
              "peak_equity": 10000.0,
              "peak_ts": 1749999400.0,
              "is_judged": true,
              "is_breach": true,
              "is_in_doubt": false
            }
          ]
        }
      ]
    }
  ],
  "switch": {
    "effective": "running",
    "held_by": [
      "local"
    ],
    "since_ts": null,
    "actor": "",
    "reason": "",
    "bots": "trade",
    "guard": "watches; its stages act",
    "obeyed": "running",
    "has_redis": false,
    "redis_silent": "",
    "local_fault": "",
    "stores": {
      "local": {
        "state": "running",
        "since_ts": null,
        "actor": "",
        "reason": ""
      },
      "redis": null
    },
    "transitions": []
  },
  "lock": {
    "path": "FOLDER/state/trading_lock.json",
    "is_locked": true,
    "reason": "killswitch_stage_1_close_top_risk_contributors",
    "mode": "stage",
    "stage": 1,
    "is_readable": true,
    "is_stale": false,
    "locked": true,
    "expires_ts": 1750001750.0,
    "heartbeat_ts": 1749999998.0,
    "heartbeat_age_s": 2.0,
    "heartbeat_max_age_s": 60.0,
    "pid": 7,
    "dry_run": false,
    "details": {
      "unread_binance_futures": "HTTP 503: busy"
    },
    "locks": [
      {
        "scope": "binance_futures",
        "stage": 1,
        "mode": "stage",
        "reason": "killswitch_stage_1_close_top_risk_contributors",
        "created_ts": 1749999950.0,
        "expires_ts": 1750001750.0,
        "manual_reset_required": false,
        "dry_run": false,
        "details": {}
      }
    ],
    "would_lock": []
  },
  "requests": [
    {
      "request_id": 1,
      "ts": 1749999988.0,
      "age_s": 12.0,
      "actor": "ann@host",
      "command": "flow",
      "arguments": {
        "amount": "100.0"
      },
      "confirmation": ""
    }
  ],
  "actions": [
    {
      "ts": 1749999950.0,
      "scope": "binance_futures",
      "stage": 1,
      "mode": "CLOSE_TOP_RISK_CONTRIBUTORS",
      "dry_run": false,
      "outcome": "trigger",
      "severity": "CRITICAL",
      "message": "REDUCED_TOP_RISK: [bold]not markup[/bold]",
      "details": {
        "source": "SHORT",
        "drawdown": 0.046
      }
    }
  ]
}"""


def test_the_json_document(tmp_path: Path) -> None:
    """The shape that machines rely on; a change of it needs a new version."""
    document = to_document(held_report(busy(tmp_path)))
    text = json.dumps(document, allow_nan=False).replace(str(tmp_path), "FOLDER")
    found = json.loads(text)
    (scope,) = found["books"][0]["scopes"]
    assert len(scope["drawdowns"]) == 8
    scope["drawdowns"] = scope["drawdowns"][:1]
    assert found == json.loads(BUSY_JSON)


def test_a_figure_that_is_no_number_is_null(tmp_path: Path) -> None:
    """JSON knows no NaN, and a parser that refuses it would see nothing at all."""
    settings = settings_in(tmp_path)
    memory, readings = known((30, 10_000.0))
    broken = ReadingRecord(
        reading=reading(NOW - 3, float("nan")), trust=Trust.SUSPECT, at=NOW - 3, point=None
    )
    suspicion = Suspicion(since=NOW - 3, doubts=(), consistent_since=None)
    write(
        settings,
        Records(readings=(*readings, broken), scopes=(replace(memory, suspicion=suspicion),)),
    )
    report = held_report(settings)
    (scope,) = json.loads(json.dumps(to_document(report), allow_nan=False))["books"][0]["scopes"]
    assert (scope["trust"], scope["equity"]) == ("SUSPECT", 10_000.0)
    assert (scope["reported_equity"], scope["unexplained"]) == (None, None)
    assert "reads no number" in screen(report)


# --- the command ------------------------------------------------------------------------------


def test_no_database_is_one_helpful_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guard has never run here: exit 1, and nothing is created."""
    assert show_status(config_in(tmp_path), as_json=True, watch=False) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "the guard has not run with this configuration" in said.err
    assert not (tmp_path / "state").exists()


def test_a_bad_configuration_is_exit_2_with_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As at every start: all mistakes, one line each."""
    path = tmp_path / "config.yaml"
    path.write_text("dry_runn: true\npoll_seconds: -1\n")
    assert show_status(path, as_json=False, watch=False) == 2
    assert capsys.readouterr().err.count("config.yaml:") == 2


def test_the_command_prints_the_page_or_the_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both work without a guard and without keys, and exit 0."""
    path = quiet(tmp_path).path
    assert show_status(path, as_json=False, watch=False) == 0
    page = capsys.readouterr().out
    assert "no guard is running" in page
    assert "\x1b" not in page
    assert show_status(path, as_json=True, watch=False) == 0
    assert json.loads(capsys.readouterr().out)["books"][0]["stage_name"] == "NORMAL"


class Rounds:
    """A pause that ends the watch, as Ctrl-C does, after some rounds."""

    def __init__(self, count: int, *, meanwhile: Callable[[int], object] = lambda _: None) -> None:
        self.waited: list[float] = []
        self._count = count
        self._meanwhile = meanwhile

    def __call__(self, seconds: float) -> None:
        """Wait for no time."""
        self.waited.append(seconds)
        self._meanwhile(len(self.waited))
        if len(self.waited) == self._count:
            raise KeyboardInterrupt


class StoppedClock(SystemClock):
    """A clock that stands at NOW."""

    def now(self) -> float:
        """NOW."""
        return NOW


def watch(settings: Settings, console: Console, rounds: Rounds, *, as_json: bool = False) -> int:
    """Watch until the rounds are over."""
    return watch_status(
        settings, console=console, as_json=as_json, clock=StoppedClock(), pause=rounds
    )


def test_watching_in_a_pipe_prints_once_per_round(tmp_path: Path) -> None:
    """Every two seconds a page, no control codes, and Ctrl-C is a fine end."""
    out, rounds = io.StringIO(), Rounds(3)
    assert watch(quiet(tmp_path), Console(file=out, width=80), rounds) == 0
    assert out.getvalue().count("Killswitch") == 3
    assert "\x1b" not in out.getvalue()
    assert rounds.waited == [2.0, 2.0, 2.0]


def test_watching_as_json_prints_one_line_per_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also on a terminal: whoever asks for JSON reads it line by line."""
    console = Console(file=io.StringIO(), force_terminal=True)
    assert watch(quiet(tmp_path), console, Rounds(2), as_json=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["ts"] for line in lines] == [NOW, NOW]


def test_watching_on_a_terminal_leaves_the_last_page_behind(tmp_path: Path) -> None:
    """The whole screen while it runs; afterwards what was seen last stays in the scrollback."""
    out = io.StringIO()
    console = Console(file=out, width=80, height=40, force_terminal=True)
    assert watch(quiet(tmp_path), console, Rounds(2)) == 0
    shown, _, left = out.getvalue().rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in shown
    assert left.count("Killswitch") == 1


def test_watching_goes_on_when_one_round_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database may be moved aside and made anew while somebody watches."""
    settings = quiet(tmp_path)
    moved = settings.state_db.with_suffix(".away")

    def move(number: int) -> None:
        if number == 1:
            settings.state_db.rename(moved)
        elif number == 2:
            moved.rename(settings.state_db)

    out = io.StringIO()
    assert watch(settings, Console(file=out, width=80), Rounds(3, meanwhile=move)) == 0
    assert out.getvalue().count("Killswitch") == 2
    assert "no database at" in capsys.readouterr().err
    settings.state_db.rename(moved)
    terminal = io.StringIO()
    console = Console(file=terminal, width=80, height=40, force_terminal=True)
    assert watch(settings, console, Rounds(1)) == 0
    assert "no database at" in terminal.getvalue()


def test_status_neither_writes_nor_disturbs(tmp_path: Path) -> None:
    """The files are the guard's: nothing of them changes, and none is left beside them."""
    settings = busy(tmp_path)

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in settings.state_dir.iterdir()}

    before = contents()
    read_report(settings, now=NOW)
    after = contents()
    # A reader of a WAL database may create its two companions, both without content of ours.
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() <= {"killswitch.db-wal", "killswitch.db-shm"}


def test_a_user_who_may_only_read_sees_a_guard_that_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite adds files beside a WAL database, which this user is not allowed to."""
    settings = quiet(tmp_path)
    before = sorted(settings.state_dir.iterdir())
    monkeypatch.setattr("store.schema.os.access", lambda path, mode: False)
    assert read_report(settings, now=NOW).books[0].scopes[0].equity == 9_800.0
    assert sorted(settings.state_dir.iterdir()) == before


def test_status_never_loads_the_exchange_library() -> None:
    """It must answer at once: ccxt alone takes seconds."""
    code = (
        "import sys, killswitch, commands.status\n"
        "heavy = {'ccxt', 'aiohttp', 'executor', 'guardian', 'simulator'} & set(sys.modules)\n"
        "print(*sorted(heavy), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
