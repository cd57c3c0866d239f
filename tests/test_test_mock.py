"""The demo as a user starts it: a process, its exit code, its story, and what it leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from commands.test_mock.play import LONG_TAPE_POLLS, LONG_TAPE_S, _tape_plan, _time, play
from commands.test_mock.unguarded import corners_of, play_unguarded
from commands.test_mock.watched_run import _is_over
from memory import BookMemory, Incident, IncidentStatus, Memory, ScopeMemory
from model import BookName, IncidentId, Reading, ScopeId, Side, Source, Stage
from simulator.book_file import BookFile, BookPosition, demo_book, to_seed
from simulator.scenarios import Scenario, demo_squeeze, generate_tape
from simulator.tape import Bar, PricePath, Tape, TapeError
from tools.e2e_demo_runner import LONG_BOOK, write_book, write_tape

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 60
SCOPE = ScopeId("binance_futures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One finished run and the folder that was its TMPDIR."""

    exit_code: int
    text: str
    errors: str
    folder: Path


def demo(folder: Path, *arguments: str) -> Ran:
    """Run the demo with temporary files, home and working directory under `folder`."""
    for name in ("tmp", "home", "here"):
        (folder / name).mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, str(ROOT / "killswitch.py"), "--test-mock", *arguments],
        cwd=folder / "here",
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Ran(
        exit_code=done.returncode, text=done.stdout, errors=done.stderr, folder=folder / "tmp"
    )


def project_files() -> set[Path]:
    """Every file of the project, without what interpreters and test runners keep there."""
    found: set[Path] = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        found |= {Path(folder) / name for name in names if not name.startswith(".")}
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo, once for all that look at it, whichever process of the test run they are in."""
    own, run = tmp_path_factory.getbasetemp(), os.environ.get("PYTEST_XDIST_TESTRUNUID")
    shared = own.parent / f"demo-{run}" if run else own / "demo"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = shared / "ran.json"
        if not kept.exists():
            before = project_files()
            ran = demo(shared / "run")
            assert project_files() == before
            kept.write_text(json.dumps([ran.exit_code, ran.text, ran.errors, str(ran.folder)]))
    exit_code, text, errors, folder = json.loads(kept.read_text())
    return Ran(exit_code=exit_code, text=text, errors=errors, folder=Path(folder))


# --- the demo ---------------------------------------------------------------------------------


def test_the_demo_succeeds_and_tells_its_story(shown: Ran) -> None:
    """Dry run and live run each go through the three stages, in this order."""
    assert (shown.exit_code, shown.errors) == (0, "")
    acts = shown.text.index("Dry run: it decides"), shown.text.index("Live: the same minutes")
    stages = [(found.start(), found[1]) for found in re.finditer(r"  STAGE (\d) ", shown.text)]
    assert [stage for at, stage in stages if acts[0] < at < acts[1]] == ["1", "2", "3"]
    assert [stage for at, stage in stages if at > acts[1]] == ["1", "2", "3"]
    assert shown.text.count("source SHORT") == 6
    assert shown.text.count("done: every target holds, seen twice") == 3
    for marker in ("five calm minutes", "LOCKED  killswitch_stage_3", "reset: operator@demo"):
        assert marker in shown.text


def test_every_claim_of_the_demo_is_proved(shown: Ran) -> None:
    """Ten claims, each with a yes in front, and no NO."""
    claims = shown.text.partition("Proved from the exchange's books")[2].partition("Look")[0]
    assert re.findall(r"^  (yes|NO) ", claims, re.MULTILINE) == ["yes"] * 10


def test_the_request_log_shows_nine_orders_and_nothing_else_that_writes(shown: Ran) -> None:
    """3 + 4 + 2 closes of the live run; the dry run adds none, and nothing rests to cancel."""
    last = shown.text.strip().splitlines()[-1]
    counts = dict(re.findall(r"((?:GET|POST|PUT|DELETE) \S+) (\d+)", last))
    writing = {endpoint: count for endpoint, count in counts.items() if "GET" not in endpoint}
    assert writing == {"POST /fapi/v1/order": "9"}
    assert int(counts["GET /fapi/v3/account"]) > 100


def test_the_guarded_book_loses_less(shown: Ran) -> None:
    """The table at the end: 10 % lost beside 25 %, from the same start."""
    rows = dict(re.findall(r"│ (equity at the \w+|largest drawdown)\s+│(.+)│", shown.text))
    start = [cell.strip() for cell in rows["equity at the start"].split("│")]
    assert start == ["10,000.00", "10,000.00"]
    guarded, alone = (float(cell.strip(" %")) for cell in rows["largest drawdown"].split("│"))
    assert 10 <= guarded < 12
    assert 25 <= alone < 26


def test_the_demo_writes_into_the_temporary_folder_only(shown: Ran) -> None:
    """One folder, named at the end with files that exist; home and working directory stay empty."""
    (left,) = shown.folder.iterdir()
    assert left.name.startswith("killswitch-demo-")
    named = [Path(path) for path in re.findall(r"(?:cat|less|sqlite3) (\S+)", shown.text)]
    assert len(named) == 3
    assert all(path.is_file() and path.is_relative_to(left) for path in named)
    for empty in ("home", "here"):
        assert list((shown.folder.parent / empty).iterdir()) == []


def test_two_demos_are_equal_but_for_their_folders(shown: Ran, tmp_path: Path) -> None:
    """Time, prices and ids come from the tape: every line is the same again."""
    again = demo(tmp_path / "again")

    def without_paths(ran: Ran) -> str:
        return re.sub(r"/\S*killswitch-demo-\w+", "FOLDER", ran.text)

    assert without_paths(again) == without_paths(shown)


@pytest.mark.parametrize(
    ("sabotage", "refuted"),
    [
        ("reduce_only", "every order of ours was marked reduce-only"),
        ("side", "every execution made a position smaller"),
    ],
)
def test_a_sabotaged_guard_is_found_out(sabotage: str, refuted: str, tmp_path: Path) -> None:
    """A proof that nothing could refute would prove nothing."""
    ran = demo(tmp_path / "run", "--break", sabotage)
    assert ran.exit_code == 1
    assert f"  NO   {refuted}" in ran.text


# --- candles ----------------------------------------------------------------------------------


@pytest.fixture
def crash(tmp_path: Path) -> tuple[str, ...]:
    """The arguments that play a small crash; stages 1 and 2 fire within its first 6 minutes."""
    write_tape("crash", tmp_path / "tape.csv")
    write_book(LONG_BOOK, tmp_path / "book.yaml")
    return ("--tape", str(tmp_path / "tape.csv"), "--book", str(tmp_path / "book.yaml"))


def test_candles_are_played_and_compared(crash: tuple[str, ...], tmp_path: Path) -> None:
    """Stages 1 and 2 close the longs; what each close realised adds up."""
    ran = demo(tmp_path / "run", *crash, "--to", "2026-01-01T00:06")
    assert (ran.exit_code, ran.errors) == (0, "")
    rows = re.findall(r"│ 01-01 \S+ │ +(\d) │ (\S+) +│ (\S+) +│.*│ +(\S+) │", ran.text)
    assert {side for _, _, side, _ in rows} == {"LONG"}
    assert [stage for stage, *_ in rows] == ["1"] * 3 + ["2"] * 4
    total = re.search(r"sum │ +(\S+) │", ran.text)
    assert total is not None
    realised = sum(float(made.replace(",", "")) for *_, made in rows)
    assert float(total[1].replace(",", "")) == pytest.approx(realised, abs=0.05)
    assert "largest drawdown" in ran.text


def test_progress_shows_on_a_terminal_and_never_in_a_pipe(
    crash: tuple[str, ...], tmp_path: Path
) -> None:
    """With stderr on a terminal the bar is there, and the piped story stays clean."""
    reader, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [
                sys.executable,
                str(ROOT / "killswitch.py"),
                "--test-mock",
                *crash,
                "--to",
                "2026-01-01T00:00:30",
            ],
            env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=DEADLINE_S,
            check=True,
        )
        seen = os.read(reader, 100_000)
    finally:
        os.close(terminal)
        os.close(reader)
    assert b"tape at 01-01" in seen
    assert b"tape at" not in done.stdout


CANDLES = "ts,symbol,open,high,low,close\n1700000000,BTCUSDT,100,101,99,100\n"
BAD_FILES = {
    "words.csv": "hello\n",
    "letter.csv": CANDLES + "1700000060,BTCUSDT,100,x,99,100\n",
    "good.csv": CANDLES + "1700000060,BTCUSDT,100,101,99,100\n",
    "strange.yaml": "equity: 10000\npositions:\n  - {symbol: AUSDT, side: long, notional: 100}\n",
    "broken.yaml": ": : [",
}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tape": "missing.csv"}, "missing.csv: no such file or folder"),
        ({"tape": "words.csv"}, "words.csv: row 1: column ts"),
        ({"tape": "letter.csv"}, "letter.csv: row 3: high 'x' is no number"),
        ({"tape": "good.csv", "event": "2021"}, "an event selects files of a folder"),
        ({"tape": "good.csv", "begin": "yesterday"}, "--from yesterday: not a time"),
        ({"tape": "good.csv", "end": "nan"}, "--to nan: not a time"),
        ({"tape": "good.csv", "begin": "1700000000000"}, "--from 1700000000000: not a time"),
        ({"tape": "good.csv", "begin": "20", "end": "10"}, "--from 20 is not before --to 10"),
        ({"tape": "good.csv", "begin": "2024-01-01"}, "good.csv: no candles"),
        ({"tape": "good.csv", "book": "missing.yaml"}, "missing.yaml: cannot be read"),
        ({"tape": "good.csv", "book": "broken.yaml"}, "broken.yaml: is no YAML"),
        ({"tape": "good.csv", "book": "strange.yaml"}, "AUSDT: the tape has no price for it"),
        ({"tape": "good.csv", "broken": "side"}, "--break belongs to the demo"),
        ({"begin": "2021-05-19"}, "--event, --from, --to and --book belong to --tape"),
        ({"broken": "everything"}, "--break: 'everything' is not known"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(
    given: dict[str, str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is started and nothing is left for an argument that cannot be used."""
    for name, content in BAD_FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    paths = {name: tmp_path / value for name, value in given.items() if name in ("tape", "book")}
    nothing = dict.fromkeys(("tape", "event", "begin", "end", "book", "broken"))
    assert play(**{**nothing, **given, **paths}) == 2  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert printed.err.count("\n") == 1


def test_times_are_read_as_utc() -> None:
    """A day, a minute, an offset and plain seconds; nothing depends on the machine's zone."""
    assert _time("--from", None) is None
    assert _time("--from", "1970-01-02") == 86_400
    assert _time("--from", "1970-01-01T00:01") == 60
    assert _time("--from", "1970-01-01T01:01+01:00") == 60
    assert _time("--from", "12.5") == 12.5
    with pytest.raises(TapeError):
        _time("--from", "1970-13-01")


def test_a_long_tape_is_read_less_often() -> None:
    """Up to a day at the default pace; beyond it a reading per corner of a one-minute candle."""
    day = generate_tape(Scenario.FLAT, duration_s=LONG_TAPE_S, step_s=60)
    longer = generate_tape(Scenario.FLAT, duration_s=LONG_TAPE_S + 60, step_s=60)
    assert _tape_plan(day, demo_book()).polls is None
    assert _tape_plan(longer, demo_book()).polls == LONG_TAPE_POLLS


def test_only_what_the_book_holds_is_played() -> None:
    """A folder of a hundred coins costs no more than the six that matter."""
    plan = _tape_plan(generate_tape(Scenario.FLAT, duration_s=60), book_of("SOLUSDT"))
    assert plan.tape.symbols == ("SOLUSDT",)


def book_of(symbol: str) -> BookFile:
    """A book with one long position."""
    position = next(p for p in demo_book().positions if p.symbol == symbol)
    return demo_book().model_copy(update={"positions": (position,)})


def test_both_books_are_looked_at_at_the_same_moments() -> None:
    """Otherwise the lowest equity of one could lie between two looks at it."""
    tape, book = demo_squeeze(), demo_book()
    seed = to_seed(book, tape.prices_at(tape.starts_at))
    times = [tape.starts_at + wait_s for wait_s in (10, 13, 100)]
    seen = [at for at, _ in play_unguarded(seed, tape, times=times).equities]
    assert seen == [tape.starts_at, *times, tape.ends_at]


def test_the_extremes_of_a_candle_are_never_skipped() -> None:
    """Minute bars turn every 20 s; a low between two looks still counts, 8,000 x 0.1 here."""
    bars = [
        Bar(start=0.0, open=100.0, high=100.0, low=100.0, close=100.0),
        Bar(start=60.0, open=100.0, high=100.0, low=90.0, close=100.0),
    ]
    tape = Tape.of([PricePath.of_bars("SOLUSDT", bars, bar_s=60.0)])
    assert corners_of(tape) == (20.0, 40.0, 60.0, 80.0, 100.0)
    position = BookPosition(symbol="SOLUSDT", side=Side.LONG, notional=Decimal(8000), leverage=10)
    seed = to_seed(
        BookFile(equity=Decimal(10_000), positions=(position,)), tape.prices_at(tape.starts_at)
    )
    equities = dict(play_unguarded(seed, tape, times=[75.0, 85.0]).equities)
    assert min(equities.values()) == equities[80.0] == 9200.0


def test_a_dense_path_has_no_corners_to_visit() -> None:
    """A tape of a price a second is read as it is, not twice as often."""
    assert corners_of(generate_tape(Scenario.FLAT, duration_s=60, step_s=1)) == ()


FLAT = Reading(
    scope=SCOPE, asked_at=1.0, equity=9000.0, wallet=9000.0, unrealised_pnl=0.0, positions=()
)
INCIDENT = Incident(
    incident_id=IncidentId("a"),
    book=BookName("binance_futures"),
    stage=Stage.ALL_CLOSED,
    mode="",
    source=Source.LONG,
    opened_at=1.0,
    dry_run=False,
    reason="",
)


@pytest.mark.parametrize(
    ("stage", "status", "reading", "is_over"),
    [
        (Stage.ALL_CLOSED, IncidentStatus.DONE, FLAT, True),
        (Stage.NORMAL, IncidentStatus.DONE, FLAT, True),
        (Stage.ALL_CLOSED, IncidentStatus.OPEN, FLAT, False),
        (Stage.DOMINANT_CLOSED, IncidentStatus.DONE, FLAT, False),
        (Stage.ALL_CLOSED, IncidentStatus.DONE, None, False),
    ],
)
def test_a_tape_ends_early_only_when_nothing_can_change(
    stage: Stage, status: IncidentStatus, reading: Reading | None, *, is_over: bool
) -> None:
    """Flat, nothing being closed, and no re-arm to come; an unread account is not flat."""
    book = BookMemory(
        name=BookName("binance_futures"), stage=stage, incident=replace(INCIDENT, status=status)
    )
    memory = Memory(scopes=(ScopeMemory(scope=SCOPE, last_trusted=reading),), books=(book,))
    assert _is_over(memory) is is_over
