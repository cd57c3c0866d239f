"""Price tapes: paths within candles, candle files and their faults, scenarios and the demo."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.candles import load_tape
from simulator.scenarios import (
    DEMO_START_PRICES,
    DEMO_WAYPOINTS,
    Scenario,
    ScenarioCoin,
    Waypoint,
    demo_squeeze,
    generate_tape,
)
from simulator.tape import Bar, PricePath, Tape, TapeError

HEADER = "ts,open,high,low,close,volume"
JOINT_HEADER = "ts,symbol,open,high,low,close"
ROOT = Path(__file__).resolve().parent.parent


def write(path: Path, *rows: str) -> Path:
    """Write rows to a plain or gzipped file, by its name."""
    text = "\n".join(rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def path_of(*bars: Bar, bar_s: float = 60.0) -> PricePath:
    """A path of one symbol from bars."""
    return PricePath.of_bars("AUSDT", bars, bar_s=bar_s)


# --- the path within and between candles ------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "price"),
    [
        (0.0, 10.0),
        (10.0, 9.0),  # half way from open 10 to low 8
        (20.0, 8.0),
        (30.0, 10.0),  # half way from low 8 to high 12
        (40.0, 12.0),
        (50.0, 11.5),  # half way from high 12 to close 11
        (60.0, 11.0),
    ],
)
def test_a_rising_bar_visits_its_low_first(t: float, price: float) -> None:
    """Open -> low -> high -> close, each a third of the bar."""
    path = path_of(Bar(0.0, 10.0, 12.0, 8.0, 11.0))
    assert path.price_at(t) == pytest.approx(price)


@pytest.mark.parametrize(
    ("t", "price"), [(0.0, 11.0), (20.0, 12.0), (30.0, 10.0), (40.0, 8.0), (60.0, 10.0)]
)
def test_a_falling_bar_visits_its_high_first(t: float, price: float) -> None:
    """Open -> high -> low -> close, each a third of the bar."""
    path = path_of(Bar(0.0, 11.0, 12.0, 8.0, 10.0))
    assert path.price_at(t) == pytest.approx(price)


def test_a_bar_that_closes_at_its_open_counts_as_rising() -> None:
    """Close >= open: the low comes first."""
    assert path_of(Bar(0.0, 10.0, 12.0, 8.0, 10.0)).price_at(20.0) == 8.0


def test_the_next_bars_open_counts_from_its_start() -> None:
    """A gap between close and open is a jump, not a slope."""
    path = path_of(Bar(0.0, 10.0, 10.0, 10.0, 10.0), Bar(60.0, 20.0, 20.0, 20.0, 20.0))
    assert path.price_at(59.9) == pytest.approx(10.0)
    assert path.price_at(60.0) == 20.0


def test_a_hole_in_the_data_holds_the_close() -> None:
    """No price moves between two bars that are an hour apart."""
    path = path_of(Bar(0.0, 10.0, 11.0, 9.0, 10.5), Bar(3600.0, 20.0, 20.0, 20.0, 20.0))
    assert [path.price_at(t) for t in (60.0, 1800.0, 3599.0)] == [10.5, 10.5, 10.5]
    assert path.price_at(3600.0) == 20.0


def test_outside_its_bars_a_symbol_keeps_its_nearest_price() -> None:
    """Before the first bar its first open, after the last its last close."""
    tape = Tape.of(
        [
            path_of(Bar(600.0, 10.0, 12.0, 8.0, 11.0)),
            PricePath.of_bars("BUSDT", [Bar(0.0, 5.0, 6.0, 4.0, 5.5)], bar_s=60.0),
        ]
    )
    assert (tape.starts_at, tape.ends_at) == (0.0, 660.0)
    assert tape.prices_at(0.0) == {"AUSDT": 10.0, "BUSDT": 5.0}
    assert tape.prices_at(1e9) == {"AUSDT": 11.0, "BUSDT": 5.5}


def test_high_and_low_between_two_times_count_both_ends() -> None:
    """Rising bar 10 -> 8 -> 12 -> 11 over a minute: corners inside, straight lines at the ends."""
    tape = Tape.of([path_of(Bar(0.0, 10.0, 12.0, 8.0, 11.0))])
    assert tape.high_low_between("AUSDT", 0.0, 60.0) == (12.0, 8.0)
    assert tape.high_low_between("AUSDT", 30.0, 40.0) == (12.0, 10.0)
    assert tape.high_low_between("AUSDT", 5.0, 10.0) == pytest.approx((9.5, 9.0))


@st.composite
def bars_of_a_minute(draw: st.DrawFn) -> list[Bar]:
    """A few bars in order of time, some of them with holes before them."""
    bars, start = [], 0.0
    for _ in range(draw(st.integers(1, 6))):
        start += 60.0 * draw(st.integers(1, 3))
        low, low_body, high_body, high = sorted(
            draw(st.lists(st.floats(0.01, 1e5), min_size=4, max_size=4))
        )
        body = (low_body, high_body) if draw(st.booleans()) else (high_body, low_body)
        bars.append(Bar(start, body[0], high, low, body[1]))
    return bars


@given(bars=bars_of_a_minute(), share=st.floats(0.0, 0.999))
def test_a_path_stays_within_its_bar_and_visits_both_extremes(
    bars: list[Bar], share: float
) -> None:
    """No price outside low..high of the current bar; both extremes are reached."""
    path = path_of(*bars)
    for bar in bars:
        price = path.price_at(bar.start + share * 60.0)
        assert bar.low * (1 - 1e-9) <= price <= bar.high * (1 + 1e-9)
        high, low = path.high_low_between(bar.start, bar.start + 59.9)
        assert (high, low) == pytest.approx((bar.high, bar.low), rel=1e-9)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0.0, 1.0), (1.0, float("nan"))],
        [(0.0, 1.0), (1.0, float("inf"))],
        [(0.0, 1.0), (1.0, 0.0)],
        [(1.0, 1.0), (0.0, 1.0)],
        [(float("nan"), 1.0)],
    ],
)
def test_a_path_refuses_what_is_no_price_or_no_time(points: list[tuple[float, float]]) -> None:
    """NaN, infinity, zero, no point, or time going back."""
    with pytest.raises(TapeError):
        PricePath.of_points("AUSDT", points)


def test_a_tape_needs_a_symbol_once_and_a_span() -> None:
    """No symbol, one symbol twice, and an empty span are refused."""
    path = path_of(Bar(0.0, 1.0, 1.0, 1.0, 1.0))
    with pytest.raises(TapeError, match="at least one symbol"):
        Tape.of([])
    with pytest.raises(TapeError, match="at least one symbol"):
        Tape(paths={}, starts_at=0.0, ends_at=1.0)
    with pytest.raises(TapeError, match="each symbol once"):
        Tape.of([path, path])
    with pytest.raises(TapeError, match="ends after it starts"):
        Tape.of([path], begin=60.0)


# --- candle files -----------------------------------------------------------------------------


def test_one_file_holds_all_symbols(tmp_path: Path) -> None:
    """Symbols alternate; other quotes than USDT are left out; bar lengths are measured."""
    file = write(
        tmp_path / "candles.csv",
        JOINT_HEADER,
        "0,AUSDT,10,12,8,11",
        "0,BUSDT,5,5,5,5",
        "0,ABTC,1,1,1,1",
        "60,AUSDT,11,11,11,11",
        "300,BUSDT,6,6,6,6",
    )
    tape = load_tape(file)
    assert tape.symbols == ("AUSDT", "BUSDT")
    assert (tape.starts_at, tape.ends_at) == (0.0, 600.0)
    assert (tape.bars("AUSDT"), tape.price_at("AUSDT", 20.0)) == (2, 8.0)


def test_columns_may_stand_in_any_order_and_a_file_may_be_packed(tmp_path: Path) -> None:
    """The header says where a column is; .gz is read like plain text; blank lines are nothing."""
    file = write(
        tmp_path / "candles.csv.gz",
        "symbol,close,low,high,open,ts,note",
        "AUSDT,11,8,12,10,0,x",
        "",
    )
    tape = load_tape(file)
    assert tape.prices_at(40.0) == {"AUSDT": 12.0}
    assert tape.ends_at == 60.0  # one bar alone counts as a minute


def test_the_finest_resolution_of_a_symbol_wins(tmp_path: Path) -> None:
    """AUSDT exists at 5m and 3m, BUSDT only at 5m; other files are ignored."""
    write(tmp_path / "2020-01-01_AUSDT_5m.csv.gz", HEADER, "0,10,10,10,10,1")
    write(tmp_path / "2020-01-01_AUSDT_3m.csv.gz", HEADER, "0,20,20,20,20,1", "180,21,21,21,21,1")
    write(tmp_path / "2020-01-01_BUSDT_5m.csv", HEADER, "0,30,30,30,30,1")
    write(tmp_path / "2020-01-01_ABTC_1m.csv", HEADER, "0,1,1,1,1,1")
    write(tmp_path / "README.md", "about")
    tape = load_tape(tmp_path)
    assert tape.prices_at(0.0) == {"AUSDT": 20.0, "BUSDT": 30.0}
    assert tape.bars("AUSDT") == 2
    assert tape.ends_at == 360.0


def test_an_event_is_chosen_by_the_beginning_of_the_name(tmp_path: Path) -> None:
    """Two events in a folder: one must be named."""
    write(tmp_path / "2020-01-01_AUSDT_1m.csv", HEADER, "0,10,10,10,10,1")
    write(tmp_path / "2021-01-01_AUSDT_1m.csv", HEADER, "0,20,20,20,20,1")
    assert load_tape(tmp_path, event="2021").prices_at(0.0) == {"AUSDT": 20.0}
    with pytest.raises(TapeError, match="several events match"):
        load_tape(tmp_path)


def test_a_tape_is_cut_to_the_asked_time_and_symbols(tmp_path: Path) -> None:
    """Begin and end shorten the span; a bar that reaches into it stays."""
    file = write(
        tmp_path / "candles.csv",
        JOINT_HEADER,
        *(
            f"{60 * n},{symbol},{n + 1},{n + 1},{n + 1},{n + 1}"
            for n in range(5)
            for symbol in "AB"
        ),
    )
    tape = load_tape(file, begin=90.0, end=180.0, symbols=["B"])
    assert tape.symbols == ("B",)
    assert (tape.starts_at, tape.ends_at) == (90.0, 180.0)
    assert tape.bars("B") == 2
    assert tape.price_at("B", 90.0) == 2.0


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "row 1: column ts, symbol, open, high, low, close is missing"),
        (["ts,symbol,open,high,low", "0,AUSDT,1,1,1"], "row 1: column close is missing"),
        ([JOINT_HEADER], "no candles of a symbol quoted in USDT"),
        ([JOINT_HEADER, "0,AUSDT,1,1,1"], "row 2: 5 cells where the header has 6"),
        ([JOINT_HEADER, "0,,1,1,1,1"], "row 2: the symbol is empty"),
        ([JOINT_HEADER, "0,AUSDT,1,1,x,1"], "row 2: low 'x' is no number"),
        ([JOINT_HEADER, "0,AUSDT,1,1,,1"], "row 2: low '' is no number"),
        ([JOINT_HEADER, "0,AUSDT,1,1,1,nan"], "row 2: close is nan"),
        ([JOINT_HEADER, "nan,AUSDT,1,1,1,1"], "row 2: ts is nan"),
        ([JOINT_HEADER, "0,AUSDT,1,inf,1,1"], "row 2: high is inf"),
        ([JOINT_HEADER, "0,AUSDT,1,1,0,1"], "row 2: low is 0"),
        ([JOINT_HEADER, "0,AUSDT,1,1,-1,1"], "row 2: low is -1"),
        ([JOINT_HEADER, "1600000000000,AUSDT,1,1,1,1"], "row 2: ts 1600000000000 is no UTC second"),
        ([JOINT_HEADER, "0,AUSDT,3,2,1,1"], "row 2: open 3 and close 1 are not within low 1"),
        (
            [JOINT_HEADER, "60,AUSDT,1,1,1,1", "0,AUSDT,1,1,1,1"],
            "row 3: ts 0 comes after 60; sort the rows",
        ),
        (
            [JOINT_HEADER, "0,AUSDT,1,1,1,1", "0,BUSDT,1,1,1,1", "0,AUSDT,1,1,1,1"],
            "row 4: ts 0 stands twice",
        ),
    ],
)
def test_a_bad_candle_file_is_named_with_row_and_cause(
    tmp_path: Path, rows: list[str], complaint: str
) -> None:
    """One line: file, row, what is wrong; never a row skipped in silence."""
    file = write(tmp_path / "candles.csv", *rows)
    with pytest.raises(TapeError) as caught:
        load_tape(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rows", "complaint"),
    [
        ("E_AUSDT_5m.csv", [HEADER, "0,1,1,1,1,1", "60,1,1,1,1,1"], "within the bar of 300 s"),
        ("E_AUSDT_1m.csv", [HEADER], "the file holds no candles"),
        ("other.csv", [HEADER], "no file is named EVENT_SYMBOL_RES.csv"),
        ("E_ABTC_1m.csv", [HEADER, "0,1,1,1,1,1"], "no candles of a symbol quoted in USDT"),
    ],
)
def test_a_bad_candle_folder_is_refused(
    tmp_path: Path, name: str, rows: list[str], complaint: str
) -> None:
    """Wrong resolution, empty file, no matching file, no wanted symbol."""
    write(tmp_path / name, *rows)
    with pytest.raises(TapeError, match=complaint):
        load_tape(tmp_path)


def test_two_files_of_one_symbol_and_resolution_are_refused(tmp_path: Path) -> None:
    """A plain and a packed copy may differ; choosing one would be a guess."""
    write(tmp_path / "E_AUSDT_1m.csv", HEADER, "0,1,1,1,1,1")
    write(tmp_path / "E_AUSDT_1m.csv.gz", HEADER, "0,2,2,2,2,1")
    with pytest.raises(TapeError, match="same symbol and resolution"):
        load_tape(tmp_path)


def test_what_was_asked_for_and_is_absent_is_named(tmp_path: Path) -> None:
    """A missing path, event, symbol or time span is never an empty tape."""
    write(tmp_path / "E_AUSDT_1m.csv", HEADER, "0,1,1,1,1,1")
    file = write(tmp_path / "all.csv", JOINT_HEADER, "0,AUSDT,1,1,1,1")
    with pytest.raises(TapeError, match="no such file or folder"):
        load_tape(tmp_path / "absent")
    with pytest.raises(TapeError, match="no file that begins with 'F' is named"):
        load_tape(tmp_path, event="F")
    with pytest.raises(TapeError, match="no candles for BUSDT, CUSDT in the chosen span"):
        load_tape(tmp_path, symbols=["CUSDT", "AUSDT", "BUSDT"])
    with pytest.raises(TapeError, match="in the chosen span"):
        load_tape(tmp_path, begin=1000.0)
    with pytest.raises(TapeError, match="begin 5 is not before end 5"):
        load_tape(tmp_path, begin=5.0, end=5.0)
    with pytest.raises(TapeError, match="an event selects files of a folder"):
        load_tape(file, event="E")


@pytest.mark.parametrize("cut", [0, 10, 40])
def test_a_damaged_packed_file_is_named(tmp_path: Path, cut: int) -> None:
    """Truncated, empty or no gzip at all: one line, no traceback."""
    whole = write(tmp_path / "good.csv.gz", JOINT_HEADER, "0,AUSDT,1,1,1,1").read_bytes()
    file = tmp_path / "bad.csv.gz"
    file.write_bytes(whole[:cut])
    with pytest.raises(TapeError) as caught:
        load_tape(file)
    assert str(caught.value).startswith(f"{file}: ")
    file.write_bytes(b"no gzip here")
    with pytest.raises(TapeError, match="cannot be read"):
        load_tape(file)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Bytes that are no UTF-8."""
    file = tmp_path / "candles.csv"
    file.write_bytes(b"ts,symbol\xff\xfe")
    with pytest.raises(TapeError, match="cannot be read"):
        load_tape(file)


# --- scenarios --------------------------------------------------------------------------------


def move(tape: Tape, symbol: str, share: float) -> float:
    """The relative move of a symbol from the start to a share of the duration."""
    span = tape.ends_at - tape.starts_at
    start = tape.price_at(symbol, tape.starts_at)
    return tape.price_at(symbol, tape.starts_at + share * span) / start - 1.0


@pytest.mark.parametrize(
    ("scenario", "share", "expected"),
    [
        (Scenario.CRASH, 0.15, 0.0),
        (Scenario.CRASH, 0.7, -0.2),  # ETHUSDT has beta 1: the full depth
        (Scenario.SHORT_SQUEEZE, 0.8, 1.15**0.2 - 1),  # ETHUSDT follows with beta 0.2
        (Scenario.SLOW_BLEED, 0.5, -0.04),  # a straight line to -0.08
        (Scenario.SLOW_BLEED, 1.0, -0.08),
        (Scenario.V_RECOVERY, 0.5, -0.15),
        (Scenario.V_RECOVERY, 1.0, 0.0),
        (Scenario.FLAT, 0.5, 0.0),
    ],
)
def test_a_scenario_follows_its_shape(scenario: Scenario, share: float, expected: float) -> None:
    """The move of ETHUSDT without noise is the depth to the power of beta and level at a corner."""
    tape = generate_tape(scenario, noise_fraction=0.0)
    assert move(tape, "ETHUSDT", share) == pytest.approx(expected, abs=1e-9)


def test_a_squeeze_moves_small_coins_more_than_majors() -> None:
    """A book short of small coins and long of majors loses."""
    tape = generate_tape(Scenario.SHORT_SQUEEZE)
    assert move(tape, "XLMUSDT", 0.8) > 0.3
    assert move(tape, "BTCUSDT", 0.8) < 0.03


def test_a_scenario_takes_its_parameters() -> None:
    """Duration, step, coins, start and depth are as asked for."""
    tape = generate_tape(
        Scenario.CRASH,
        starts_at=1000.0,
        duration_s=10.0,
        step_s=3.0,
        coins=[ScenarioCoin(symbol="AUSDT", start_price=2.0, beta=2.0)],
        depth_fraction=0.5,
        noise_fraction=0.0,
    )
    assert (tape.symbols, tape.starts_at, tape.ends_at) == (("AUSDT",), 1000.0, 1010.0)
    assert tape.bars("AUSDT") == 4  # 3 + 3 + 3 + 1
    assert tape.price_at("AUSDT", 1000.0) == 2.0
    assert tape.price_at("AUSDT", 1010.0) == pytest.approx(2.0 * 0.5 ** (2.0 * 0.85))


@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 0.02))
def test_noise_is_bounded_and_starts_at_nothing(seed: int, noise: float) -> None:
    """At most ten times the step's noise, and none in the first price."""
    coins = [ScenarioCoin(symbol="AUSDT", start_price=1.0, beta=1.0)]
    tape = generate_tape(
        Scenario.FLAT, seed=seed, duration_s=200.0, coins=coins, noise_fraction=noise
    )
    assert tape.price_at("AUSDT", tape.starts_at) == 1.0
    high, low = tape.high_low_between("AUSDT", tape.starts_at, tape.ends_at)
    assert 1.0 - 10.0 * noise - 1e-12 <= low <= high <= 1.0 + 10.0 * noise + 1e-12


def test_one_seed_gives_one_tape_in_two_processes() -> None:
    """The hash seed of the process, the other symbols and the order of coins do not matter."""
    program = (
        "from simulator.scenarios import *\n"
        "tape = generate_tape(Scenario.CRASH, seed=7, duration_s=100)\n"
        "print([tape.prices_at(tape.starts_at + t) for t in range(100)])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(answers) == 1
    whole = generate_tape(Scenario.CRASH, seed=7)
    alone = generate_tape(
        Scenario.CRASH, seed=7, coins=[ScenarioCoin(symbol="ETHUSDT", start_price=3000.0, beta=1.0)]
    )
    assert whole.paths["ETHUSDT"] == alone.paths["ETHUSDT"]
    assert generate_tape(Scenario.CRASH, seed=8).paths["ETHUSDT"] != whole.paths["ETHUSDT"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth_fraction": 1.0},
        {"depth_fraction": -0.1},
        {"depth_fraction": float("nan")},
        {"duration_s": 0.0},
        {"duration_s": float("inf")},
        {"step_s": 0.0},
        {"step_s": float("nan")},
        {"step_s": 1e-9},
        {"noise_fraction": 0.03},
        {"noise_fraction": float("nan")},
        {"coins": []},
        {"coins": [ScenarioCoin(symbol="AUSDT", start_price=0.0, beta=1.0)]},
    ],
)
def test_a_scenario_refuses_parameters_that_make_no_tape(wrong: dict[str, float]) -> None:
    """One line instead of an endless or absurd tape."""
    with pytest.raises(TapeError):
        generate_tape(Scenario.CRASH, **wrong)  # type: ignore[arg-type]


# --- the demo ---------------------------------------------------------------------------------


def test_the_demo_is_calm_for_five_minutes() -> None:
    """Nobody moves more than a tenth of a percent before the first step."""
    tape = demo_squeeze()
    for symbol in DEMO_START_PRICES:
        high, low = tape.high_low_between(symbol, tape.starts_at, tape.starts_at + 300.0)
        assert high / low < 1.002


def test_the_demo_reaches_its_waypoints() -> None:
    """Without noise every named move is exact, and a symbol that is not named stays."""
    tape = demo_squeeze(noise_fraction=0.0)
    assert tape.ends_at - tape.starts_at == DEMO_WAYPOINTS[-1].at_s
    known = dict.fromkeys(DEMO_START_PRICES, 0.0)
    for waypoint in DEMO_WAYPOINTS:
        known |= waypoint.moves
        for symbol, expected in known.items():
            price = tape.price_at(symbol, tape.starts_at + waypoint.at_s)
            assert price == pytest.approx(DEMO_START_PRICES[symbol] * (1.0 + expected))


def test_the_demo_refuses_waypoints_that_make_no_script() -> None:
    """Out of order, at the start itself, of an unknown symbol, or none at all."""
    early = Waypoint(at_s=10.0, moves={}, what="")
    for waypoints in ([early, early], [Waypoint(at_s=0.0, moves={}, what="")]):
        with pytest.raises(TapeError, match="is not after the last one"):
            demo_squeeze(waypoints=waypoints)
    with pytest.raises(TapeError, match="names PEPEUSDT"):
        demo_squeeze(waypoints=[Waypoint(at_s=1.0, moves={"PEPEUSDT": 0.1}, what="")])
    with pytest.raises(TapeError, match="ends after it starts"):
        demo_squeeze(waypoints=[])
