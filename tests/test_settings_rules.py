"""Every mistake in a key, or between two keys, is one line that says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from configuration.schema import LATER_SECTIONS
from tests.configurations import Load, futures, loader, only_book, problems


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the given text as config.yaml in an empty folder."""
    return loader(tmp_path)


def test_ten_mistakes_give_ten_lines_in_order(load: Load) -> None:
    """Unknown, misspelt, type, percent, negative, order, duplicate, one window, keys, retention."""
    text = """\
        dry_run: true
        colour: blue
        poll_second: 10
        alert_poll_seconds: soon
        min_equity: 50
        min_equity: 60
        exchanges:
          binance:
            enabled: true
            accounts:
              futures:
                stage_1:
                  thresholds: {15m: 4.5, 1h: 0.07}
                stage_2:
                  thresholds:
                    15m: -0.07
                    1h: 0.05
                    2d: 0.3
                stage_3:
                  thresholds:
                    60: 0.14
                    1h: 0.15
        """
    at = "exchanges.binance.accounts.futures"
    assert problems(load, text, {}) == [
        "config.yaml:2  colour = blue  is an unknown key -> remove the line",
        "config.yaml:3  poll_second = 10  is an unknown key -> did you mean poll_seconds?",
        "config.yaml:4  alert_poll_seconds = soon  is not a number"
        " -> write seconds as a plain number, e.g. 3",
        "config.yaml:6  min_equity = 60  stands here a second time (first in line 5)"
        " -> remove one of the two",
        "config.yaml:9  exchanges.binance.enabled = true  BINANCE_API_KEY and BINANCE_API_SECRET"
        " are empty -> set them in the environment or .env, or write enabled: false",
        f"config.yaml:13  {at}.stage_1.thresholds.15m = 4.5  is percent, but this is a fraction"
        " -> write 0.045",
        f"config.yaml:16  {at}.stage_2.thresholds.15m = -0.07  is negative; fractions are positive"
        " -> write 0.07",
        f"config.yaml:17  {at}.stage_2.thresholds.1h = 0.05  is below stage_1, which has 0.07 for"
        " this window -> write 0.07 or more",
        f"config.yaml:18  {at}.stage_2.thresholds.2d = 0.3  is a window longer than the 24 h of"
        " kept readings -> write 1d at most",
        f"config.yaml:22  {at}.stage_3.thresholds.1h = 0.15  is the same window as 60, which has"
        " 0.14 -> keep one of 60 and 1h",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("poll_seconds: 0.5", "lies outside 1 to 60 -> write seconds, e.g. 10"),
        ("poll_seconds: true", "is not a number"),
        ("poll_seconds: '8'", "write seconds as a plain number, e.g. 8"),
        ("poll_seconds: 8s", "e.g. 8"),
        ("poll_seconds: 8m", "e.g. 10"),
        ("poll_seconds: 010", "is not a number"),
        ("poll_seconds: 1:30", "is not a number"),
        ("poll_seconds: .nan", "is not a finite number"),
        ("poll_seconds: -.inf", "is not a finite number"),
        ("poll_seconds: 1" + "0" * 5000, "is not a finite number"),
        ("poll_seconds: [10]", "is not a number"),
        ("poll_seconds:", "has no value"),
        ("min_equity: -1", "lies outside"),
        ("min_equity: 0", "lies outside"),
        ("max_reading_age_s: 5", "would call every reading too old"),
        ("blind_alert_s: 15", "would alert between two polls"),
        ("blind_lock_s: 15", "would lock between two polls"),
        ("alert_poll_seconds: 11", "would poll slower while losing"),
        ("poll_seconds: 2", "would poll slower while losing"),
        ("dry_run: 1", "is neither true nor false"),
        ("dry_run: 'false'", "is neither true nor false"),
        ("state_db: ''", "is not a text"),
        ("state_db: 7", "is not a text"),
        ("state_db: .", "is a folder"),
        ("state_db: config.yaml", "would overwrite the configuration"),
        ("state_db: config.yaml/x.db", "lies below a file"),
        ("state_db: state/../state/trading_lock.json", "both database and lock"),
        ("state_db: ~other/x.db", "has a ~ that leads nowhere"),
        ("trading_lock_file: state/killswitch.db", "both database and lock"),
        (f"trading_lock_file: {'x' * 300}", "cannot be used (File name too long)"),
        ("trading_lock: true", "is not a section"),
        ("trading_lock:", "is an empty section"),
        ("trading_lock: {enforce: true}", "is an unknown key"),
        ("stables_keep: USDT", "is not a list"),
        ("stables_keep: [USDC]", "does not hold USDT"),
        ("stables_keep: [USDT, 5]", "is not a coin"),
        ("cooldown_min: 30", "move it to exchanges.<venue>.accounts.futures.stage_1"),
        ("dry_rum: true", "did you mean dry_run?"),
        ("exchanges: [binance]", "is not a section"),
        ("dry_run: !!python/name:os.system x", "carries a YAML tag"),
        ("stables_keep: &me [USDT, *me]", "contains itself"),
        ("<<: [5]", "merges what is no section"),
        ("? [a, b]\n: 1", "has a key that is no word"),
    ],
)
def test_a_wrong_key_at_the_top_is_one_line(load: Load, line: str, said: str) -> None:
    """Each mistake gives one line that names line 1 and the remedy."""
    (problem,) = problems(load, line + "\n")
    assert problem.startswith("config.yaml:1  ")
    assert said in problem
    assert " -> " in problem
    assert "\n" not in problem


@pytest.mark.parametrize("section", LATER_SECTIONS)
def test_sections_of_later_versions_are_refused(load: Load, section: str) -> None:
    """A section that is silently ignored would be relied upon."""
    (line,) = problems(load, f"{section}: {{enabled: true}}\n")
    assert line == (
        f"config.yaml:1  {section} = {{...}}  is not in this version yet -> remove the section"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage_1: {thresholds: {}}", "holds no thresholds"),
        ("stage_1: {thresholds: 0.05}", "holds no thresholds"),
        ("stage_1: {thresholds: }", "holds no thresholds"),
        ("stage_1:", "is an empty section"),
        ("stage_1: {thresholds: {15m: 0}}", "would always be reached"),
        ("stage_1: {thresholds: {15m: }}", "has no value"),
        ("stage_1: {thresholds: {15m: .nan}}", "is not a finite number"),
        ("stage_1: {thresholds: {15m: true}}", "is not a number"),
        ("stage_1: {thresholds: {15m: 4.5%}}", "write a fraction: 0.045"),
        ("stage_1: {thresholds: {15m: '0,045'}}", "write a fraction: 0.045"),
        ("stage_1: {thresholds: {15m: none}}", "write a fraction: e.g. 0.045"),
        ("stage_1: {thresholds: {15m: 1}}", "is percent, but this is a fraction -> write 0.01"),
        ("stage_1: {thresholds: {15m: 450}}", "write e.g. 0.045"),
        (
            "stage_1: {thresholds: {15m: -4.5}}",
            "is negative; fractions are positive -> write 0.045",
        ),
        ("stage_1: {thresholds: {15x: 0.04}}", "is not a window"),
        ("stage_1: {thresholds: {30s: 0.04}}", "is not a window"),
        ("stage_1: {thresholds: {0.5: 0.04}}", "shorter than a minute"),
        ("stage_1: {thresholds: {1441: 0.04}}", "longer than the 24 h"),
        ("stage_1: {thresholds: {15m: 0.09}}", "above the default of stage_2, 0.07"),
        ("stage_1: {thresholds: {15m: 0.5}}", "above the default of stage_2, 0.07"),
        ("stage_2: {thresholds: {15m: 0.04}}", "is below stage_1, which has 0.045"),
        ("stage_3: {thresholds: {1h: 0.08}}", "is below stage_2, which has 0.1"),
        ("stage_1: {mode: CLOSE_ALL}", "write one of CLOSE_TOP_RISK_CONTRIBUTORS, CLOSE_DOM"),
        ("stage_1: {mode: CLOSE_ALL_POSITION}", "did you mean CLOSE_ALL_POSITIONS?"),
        ("stage_1: {mode: 3}", "is not known"),
        ("stage_1: {cooldown_min: 0}", "lies outside 1 to 10080"),
        ("stage_1: {confirm_consecutive: 2.5}", "is not a whole number"),
        ("stage_1: {confirm_consecutive: 0}", "lies outside"),
        ("stage_1: {source_mode: BOTH}", "write one of AUTO, LONG, SHORT, MIXED"),
        ("stage_1: {source_threshold: 0.5}", "would let both sides be the source"),
        ("stage_1: {close_fraction: 50}", "is percent, but this is a fraction -> write 0.5"),
        ("stage_1: {full_close_if_liq_distance_below_pct: 5}", "write 0.05"),
        ("stage_1: {blacklist: [XX]}", "move it to exchanges.<venue>.accounts.spot.stage_1"),
        ("stage_4: {top_n: 3}", "did you mean stage_"),
        ("enabled: 1", "write auto, true or false"),
        ("never_touch: BTCUSDT", "is not a list"),
        ("never_touch: [BTC]", "write it like BTCUSDT or BTC/USDT:USDT"),
        ("never_touch: [BTC/USD:BTC]", "is a coin-margined market"),
        ("never_touch: [5]", "is not a market"),
        ("windows: 15m", "is not a list"),
        ("windows: [15m, 2d]", "longer than the 24 h"),
        ("windows: [true, 15m]", "is not a window"),
    ],
)
def test_a_wrong_key_of_an_account_is_one_line(load: Load, text: str, said: str) -> None:
    """Each mistake in the futures account gives one line that names line 5."""
    (line,) = problems(load, futures(text))
    assert line.startswith("config.yaml:5  exchanges.binance.accounts.futures")
    assert said in line


def test_thresholds_and_windows_must_agree(load: Load) -> None:
    """A threshold outside `windows`, and a stage that `windows` leaves empty."""
    text = "windows: [15m, 1h]\nstage_1: {thresholds: {30m: 0.04}}"
    (line,) = problems(load, futures(text))
    assert "30m = 0.04  is not one of the account's windows" in line
    lines = problems(load, futures("windows: [1d]"))
    assert ["leaves stage_1 without a threshold" in line for line in lines] == [True]


def test_equal_thresholds_of_two_stages_are_allowed(load: Load) -> None:
    """Only a higher stage *below* a lower one is a mistake: the highest triggered stage wins."""
    book = only_book(load(futures("stage_2: {thresholds: {15m: 0.045, 1h: 0.07}}")))
    assert book.stages[1].thresholds == book.stages[0].thresholds


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8900",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "http://127.0.0.1:80\\@example.com",
        "http://0.0.0.0:8900",
        "http://192.168.0.1",
        "http://[::2]",
        "http://127.1",
        "http://127.0.0.1:99999",
        "http://127.0.0.256",
        "http://127.0.0.1/?to=x",
        "ftp://127.0.0.1",
        "127.0.0.1:8900",
    ],
)
def test_a_simulator_is_never_off_this_machine(load: Load, url: str) -> None:
    """Keys must not leave for a host that only looks like loopback."""
    (line,) = problems(load, f"exchanges:\n  binance:\n    simulator_url: '{url}'\n")
    assert "is not a literal loopback address" in line
