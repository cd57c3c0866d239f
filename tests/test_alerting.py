"""Alerts of a real process: real ccxt, real apprise, real receivers, and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import commands.check.notify
import commands.run
from alerts import Alert
from commands.ack import acknowledge
from commands.service import Service
from errors import InvariantViolation
from logger import get_logger
from memory import Severity
from notifier import Target
from settings import load_settings
from tests.simulated import simulated
from tests.test_check import SOUND
from tests.test_integration import SEED, Place, place
from tests.webhook import SECRET_PATH, webhook


def telling(here: Place, **addresses: str) -> Place:
    """The same place with targets, and HEARTBEAT_URL as what is pinged."""
    targets = [name for name in addresses if name != "HEARTBEAT_URL"]
    text = "notifications:\n  heartbeat_s: 10\n  targets:\n"
    text += "".join(f"    - url_env: {name}\n" for name in targets)
    if "HEARTBEAT_URL" in addresses:
        text += "  heartbeat_url_env: HEARTBEAT_URL\n"
    with (here.folder / "config.yaml").open("a", encoding="utf-8") as config:
        config.write(text)
    return replace(here, keys={**here.keys, **addresses})


def all_bytes(folder: Path) -> bytes:
    """Everything that lies in a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_crash_is_told_from_start_to_stop_beside_a_target_that_is_dead(
    tmp_path: Path,
) -> None:
    """Start, the stage, its result, the stop; no address in the log, the database or the lock."""
    async with webhook() as hook, webhook(status=500) as dead, simulated(SEED) as at:
        here = telling(
            place(tmp_path, at.url),
            HOOK_URL=hook.address,
            DEAD_URL=dead.address,
            HEARTBEAT_URL=hook.ping_address,
        )
        process = await here.begin("--log-json")
        try:
            await hook.until(1)
            await hook.until_pinged(1)
            await at.control.set_prices({"SOLUSDT": 105})
            async with asyncio.timeout(40):
                while not any("closed as planned" in title for title in hook.titles):
                    await hook.until(len(hook.got) + 1, within_s=40)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    said = [
        re.sub(r"^\w+(?: binance_futures)? ?\(SIMULATOR\)|^\w+", "", one) for one in hook.titles
    ]
    assert said[0] == ": the guard has started"
    assert said[-1] == ": the guard has stopped"
    acts = said.index(": a stage acts")
    assert acts < said.index(": closed as planned")
    trigger = hook.got[acts]
    assert "- SOLUSDT SHORT -500.00" in trigger["message"]
    assert trigger["type"] == "failure"
    log = (out + err).decode()
    assert "alerts_trouble" in log
    assert "DEAD_URL" in log
    kept = all_bytes(tmp_path)
    assert b"alerts_trouble" in kept
    for text in (log, kept.decode(errors="replace"), json.dumps(hook.got)):
        assert SECRET_PATH not in text
        assert "test-secret" not in text


async def test_a_fault_of_our_own_is_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard ends and bots are locked: whoever is told of a start hears of that end."""

    async def fail(*_given: object, **_named: object) -> None:
        raise InvariantViolation("a bug of ours")

    monkeypatch.setattr(Service, "watch", fail)
    codes: list[int] = []
    async with webhook() as hook:
        here = telling(place(tmp_path), HOOK_URL=hook.address)
        settings = load_settings(here.folder / "config.yaml", here.keys)
        settings.state_dir.mkdir()
        with pytest.raises(InvariantViolation):
            await commands.run._run(
                settings,
                once=False,
                log=get_logger("test"),
                service=Service(),
                end_with=codes.append,
            )
    assert codes == [1]
    assert hook.titles == [
        "INFO: the guard has started",
        "CRITICAL: the guard has stopped",
    ]
    assert hook.got[1]["message"].startswith(
        "by a fault of the guard itself, bots are locked: a bug of ours"
    )


async def test_an_end_is_not_held_up_by_a_target_that_never_answers(tmp_path: Path) -> None:
    """The last alerts get five seconds; what hangs on a thread is left behind."""
    async with webhook(status=0) as hook, simulated(SEED) as at:
        here = telling(place(tmp_path, at.url), HOOK_URL=hook.address)
        async with here.daemon() as process:
            await hook.until_waiting(1)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(14):
                await process.wait()
            assert process.returncode == 0


async def test_check_notify_says_of_each_target_whether_it_took_the_message(
    tmp_path: Path,
) -> None:
    """One takes it, one refuses: a fault that names the variable, and exit code 1."""
    async with webhook() as hook, webhook(status=500) as refusing, simulated(SOUND) as at:
        good = telling(place(tmp_path / "good", at.url), HOOK_URL=hook.address)
        both = telling(
            place(tmp_path / "both", at.url), HOOK_URL=hook.address, BAD_URL=refusing.address
        )
        none = place(tmp_path / "none", at.url)
        fine, faulty, nobody, silent = await asyncio.gather(
            good.run("check", "--notify"),
            both.run("check", "--notify", "--json"),
            none.run("check", "--notify"),
            good.run("check"),
        )
    assert (fine.code, faulty.code, nobody.code, silent.code) == (0, 1, 2, 0)
    assert "Alerts  HOOK_URL took the test message" in fine.out
    assert "Alerts" not in silent.out
    told = {one["subject"]: one for one in json.loads(faulty.out)["alerts"]}
    assert told["HOOK_URL"]["level"] == "FINE"
    assert told["BAD_URL"]["level"] == "FAULT"
    assert "500" in told["BAD_URL"]["what"]
    assert "docs/alerts.md" in nobody.err
    assert sorted(hook.titles) == ["INFO: a test", "INFO: a test"]
    for ended in (fine, faulty):
        assert SECRET_PATH not in ended.out + ended.err


async def test_what_a_library_trips_over_shows_no_address_in_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody thought of may hold the whole address; the screen shows none."""
    address = f"json://127.0.0.1:9/{SECRET_PATH}"

    async def trip(_alert: Alert) -> None:
        raise RuntimeError(f"cannot reach {address}")

    odd = Target(name="HOOK_URL", min_severity=Severity.INFO, deliver=trip)
    monkeypatch.setattr(commands.check.notify, "targets_of", lambda *_given: (odd,))
    here = telling(place(tmp_path), HOOK_URL=address)
    settings = load_settings(here.folder / "config.yaml", here.keys)
    (finding,) = await commands.check.notify.try_targets(settings, now=0.0)
    assert "RuntimeError: cannot reach" in finding.what
    assert SECRET_PATH not in finding.what


async def test_a_bad_address_ends_a_start_and_names_its_variable(tmp_path: Path) -> None:
    """Exit 2, the name, and nothing of the value; commands that tell nobody do not mind."""
    here = telling(place(tmp_path), HOOK_URL=f"nosuchservice://{SECRET_PATH}")
    started, status = await asyncio.gather(here.run(), here.run("status"))
    assert started.code == 2
    assert "HOOK_URL holds no address of a service that is known" in started.err
    assert SECRET_PATH not in started.err + status.out + status.err
    assert "HOOK_URL" not in status.err


async def test_ack_reaches_the_running_guard(tmp_path: Path) -> None:
    """It is answered, and told to everybody else who is alerted."""
    async with webhook() as hook, simulated(SEED) as at:
        here = telling(place(tmp_path, at.url), HOOK_URL=hook.address)
        async with here.daemon():
            await hook.until(1)
            ended = await here.run("ack", "--reason", "on it")
            await hook.until(2)
    assert ended.code == 0
    assert ended.out.startswith("repeats are silent until something new or more severe comes")
    assert hook.titles[1].endswith(": somebody has seen it")
    assert "has seen what sounds: on it" in hook.got[1]["message"]


def test_ack_without_a_guard_says_that_nothing_sounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It neither reads an account nor pretends."""
    here = place(tmp_path, keys=False)
    assert acknowledge(here.folder / "config.yaml", reason="") == 1
    assert "no guard runs here" in capsys.readouterr().err
    (here.folder / "config.yaml").write_text("colour: 1\n", encoding="utf-8")
    assert acknowledge(here.folder / "config.yaml", reason="") == 2
