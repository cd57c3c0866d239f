"""The unit file: systemd understands every line of it, and its times hold what the guard needs."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import eyes
import order_fates
import order_sender
from commands.assembly import CLOSE_WITHIN_S
from commands.run import EXIT_CONFIGURATION, EXIT_HELD, LEAVE_WITHIN_S
from commands.service import HELD_PATIENCE_S
from drawdown import LEDGER_WAIT_S
from errors import ConfigurationError
from executor import DRIVE_WITHIN_S
from guardian import (
    FLUSH_WITHIN_S,
    SECOND_READING_AFTER_S,
    START_LOCK_DEADLINE_S,
    STOP_WITHIN_S,
)
from lock_writer import LOCK_DEADLINE_S
from model import ScopeId
from scope_reader import GREETING_DEADLINE_S, LEDGER_GRACE_S, MARKS_DEADLINE_S, READ_DEADLINE_S
from settings import Settings, load_settings
from store.schema import BUSY_TIMEOUT_MS
from supervision import MAX_PAUSE_S
from tests.memory_venue import Trouble
from tests.virtual_house import House, play

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "deploy" / "killswitch.service"
PAGE = ROOT / "docs" / "deploy.md"
MOST_POLL_S = 60.0
MOST_STORE_DEADLINE_S = 10.0
KEYS = {"BINANCE_API_KEY": "test-key", "BINANCE_API_SECRET": "test-secret"}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def values(key: str) -> list[str]:
    """What the unit says for a key, line by line."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def value(key: str) -> str:
    """What it says for a key that stands there once."""
    (only,) = values(key)
    return only


# --- systemd's own opinion ---------------------------------------------------------------------


def verify(text: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of `systemd-analyze verify` on a unit with a program that exists.

    It sees no other unit of this machine, whose faults are not ours.
    """
    for target in ("basic", "multi-user", "network-online", "shutdown", "sysinit", "time-sync"):
        (folder / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    copy = folder / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        env={"SYSTEMD_UNIT_PATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    """Exit 0 and not a word: a key that systemd ignores protects nothing and fails nothing."""
    assert verify(UNIT.read_text(encoding="utf-8"), tmp_path) == (0, "")


@needs_systemd
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("WatchdogSec", "WatchdogSecs"),
        ("StateDirectory", "StateDirectry"),
        ("RestartPreventExitStatus", "RestartPreventExitCode"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@system-services"),
        ("Type=notify", "Type=notfy"),
    ],
)
def test_a_misspelt_line_is_seen(tmp_path: Path, right: str, wrong: str) -> None:
    """The check above can fail, for keys and for values."""
    text = UNIT.read_text(encoding="utf-8")
    planted = re.sub(rf"^{right}(?=[=\n])", wrong, text, count=1, flags=re.MULTILINE)
    assert planted != text
    _, output = verify(planted, tmp_path)
    assert wrong.rpartition("=")[2] in output


# --- when it is started again ------------------------------------------------------------------


def test_it_is_started_again_for_ever_except_where_that_cures_nothing() -> None:
    """Configuration and a second guard are for a person; everything else is tried again."""
    assert value("Restart") == "always"
    assert value("StartLimitIntervalSec") == "0"
    assert 1 <= float(value("RestartSec")) <= 30
    prevented = {int(code) for code in value("RestartPreventExitStatus").split()}
    assert prevented == {EXIT_CONFIGURATION, EXIT_HELD}


# --- times -------------------------------------------------------------------------------------


def settle_s(store_s: float) -> float:
    """Record and lock side by side, and the lock again where something is lifted."""
    return store_s + 2 * LOCK_DEADLINE_S


def round_s(store_s: float) -> float:
    """Late answers, look-ups, positions twice around a slow list, intents, orders, answers.

    Answers, late ones and others, are written, and may have the position mode read.
    """
    return (
        order_fates.LOOK_UP_HOLDS_S
        + 2 * eyes.READ_DEADLINE_S
        + store_s
        + order_sender.ANSWERS_WITHIN_S
        + 2 * (store_s + order_fates.MODE_DEADLINE_S)
    )


def act_s(within_s: float, store_s: float) -> float:
    """The orders of an earlier run, rounds until the time is up, the last of them, its report."""
    return store_s + within_s + round_s(store_s) + settle_s(store_s)


def look_s(store_s: float) -> float:
    """One observation and its decision."""
    helped_s = GREETING_DEADLINE_S + LEDGER_GRACE_S + MARKS_DEADLINE_S
    return READ_DEADLINE_S + helped_s + LEDGER_WAIT_S + settle_s(store_s)


def slowest_s(*, poll_s: float, store_s: float) -> float:
    """The longest that two finished ticks of a scope, or a start and its first, lie apart."""
    tick_s = (
        2 * look_s(store_s)
        + act_s(SECOND_READING_AFTER_S, store_s)
        + act_s(DRIVE_WITHIN_S, store_s)
    )
    recovery_s = GREETING_DEADLINE_S + READ_DEADLINE_S + act_s(DRIVE_WITHIN_S, store_s)
    return tick_s + max(poll_s, MAX_PAUSE_S, recovery_s)


def test_the_watchdog_outlasts_the_slowest_tick() -> None:
    """With every deadline used up at once, at the limits of the configuration."""
    assert slowest_s(poll_s=MOST_POLL_S, store_s=MOST_STORE_DEADLINE_S) == pytest.approx(337.5)
    assert slowest_s(poll_s=10, store_s=1) == pytest.approx(184.5)
    assert float(value("WatchdogSec")) >= 324.6


def settings_with(folder: Path, *lines: str) -> Settings:
    """The settings of a file with these lines."""
    (folder / "config.yaml").write_text("\n".join(lines), encoding="utf-8")
    return load_settings(folder / "config.yaml", KEYS)


@pytest.mark.parametrize(
    ("key", "most", "factor"),
    [("poll_seconds", MOST_POLL_S, 1), ("store_deadline_ms", MOST_STORE_DEADLINE_S, 1000)],
)
def test_the_limits_of_the_configuration_are_those_of_the_arithmetic(
    tmp_path: Path, key: str, most: float, factor: int
) -> None:
    """A file that could ask for slower ticks would have the guard killed in the middle of one."""
    settings_with(tmp_path, f"{key}: {most * factor:g}", "blind_alert_s: 600", "blind_lock_s: 600")
    with pytest.raises(ConfigurationError, match=f"{key} .* outside"):
        settings_with(tmp_path, f"{key}: {most * factor + 1:g}")


@pytest.mark.parametrize("hung", ["fetch", "fetch_(orders|positions)|submit", "submit|find"])
def test_ticks_in_the_worst_of_worlds_end_in_time(
    tmp_path: Path, hung: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that answers nothing, or no order, on a disk that hangs, in an open incident."""
    monkeypatch.setattr("trading_lock.os.fsync", lambda _descriptor: None)

    async def story() -> list[float]:
        house = House(folder=tmp_path)
        house.policy = replace(house.policy, poll_s=MOST_POLL_S)
        ended = [0.0]

        def tick_ended(_scope: ScopeId) -> None:
            ended.append(asyncio.get_running_loop().time())

        async with house.guard(on_tick_end=tick_ended) as guard:
            await house.wait(15)
            house.prices(SOL=115)
            house.venue.plan("submit", Trouble.REFUSE, times=2)
            await house.until(lambda: bool(house.venue.sent), within_s=150)
            house.venue.plan(hung, Trouble.HANG)
            guard.store.delay_s = 300.0
            await house.wait(900)
            guard.store.delay_s = 0.0
            house.venue.calm()
        return ended

    gaps = [later - earlier for earlier, later in pairwise(play(story))]
    assert len(gaps) >= 900 / slowest_s(poll_s=MOST_POLL_S, store_s=1)
    assert max(gaps) <= slowest_s(poll_s=MOST_POLL_S, store_s=1)


def test_a_stop_gets_the_time_that_it_needs() -> None:
    """A round in hand, what waits for the disk, then connections and the database."""
    flush_s = max(FLUSH_WITHIN_S, 2 * MOST_STORE_DEADLINE_S)
    needed_s = STOP_WITHIN_S + flush_s + max(LEAVE_WITHIN_S, CLOSE_WITHIN_S)
    assert float(value("TimeoutStopSec")) >= needed_s
    assert (value("KillSignal"), value("KillMode")) == ("SIGTERM", "mixed")


def test_a_start_gets_the_time_that_it_needs() -> None:
    """It may wait for a command, for a foreign hold on the database, and for the lock."""
    needed_s = HELD_PATIENCE_S + BUSY_TIMEOUT_MS / 1000 + START_LOCK_DEADLINE_S
    assert float(value("TimeoutStartSec")) >= 2 * needed_s


# --- where things lie --------------------------------------------------------------------------


def test_the_lock_can_be_read_and_nothing_else() -> None:
    """Bots of other users enter the folder; what the guard writes is its own, the lock excepted."""
    assert (value("StateDirectoryMode"), value("UMask")) == ("0755", "0077")
    assert (value("ProtectSystem"), value("LimitCORE")) == ("strict", "0")


def test_the_page_installs_what_the_unit_expects(tmp_path: Path) -> None:
    """The page's own `sed` puts database and lock into the state directory of the unit."""
    page = PAGE.read_text(encoding="utf-8")
    config = tmp_path / "config.yaml"
    shutil.copy(ROOT / "config.yaml", config)
    (edit,) = re.findall(r"^sudo (sed -i .*(?:\n  -e .*)*)$", page, re.MULTILINE)
    written_to = re.search(r"--config (\S+)$", value("ExecStart"))
    assert written_to is not None
    command = edit.replace(written_to[1], str(config))
    assert command != edit
    subprocess.run(["sh", "-c", command], check=True)
    settings = load_settings(config, KEYS)
    state_dir = Path("/var/lib") / value("StateDirectory")
    assert settings.state_dir == settings.trading_lock_file.parent == state_dir
    for path in (*value("ExecStart").split()[:2], value("EnvironmentFile").lstrip("-")):
        assert path in page
