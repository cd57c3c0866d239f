"""Secrets of a real `.env` are found nowhere after a whole incident full of errors.

Real processes, a simulated venue that sends every secret back in its errors, and a search through
all that the guard wrote, printed or showed to other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import secrets
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clock import SystemClock
from commands.run import read_settings
from errors import Unavailable
from model import ScopeId
from redaction import MASK
from tests.canaries import (
    Answer,
    Echo,
    files_below,
    find_canaries,
    forms,
    new_canaries,
    write_dotenv,
)
from tests.canned_venue import Canned, canned_venue
from tests.simulated import Simulated, simulated
from tests.test_binance_wire import account, close_of
from tests.test_integration import BOOK, ROOT, until
from tests.test_log_page import documented_events
from tests.warm_start import WarmProcess
from venues.access import Access
from venues.binance import BinanceFutures

PRICES = {
    "SOLUSDT": 100.0,
    "XRPUSDT": 0.5,
    "ETHUSDT": 2000.0,
    "BNBUSDT": 500.0,
    "DOGEUSDT": 0.1,
    "ADAUSDT": 0.4,
}
PAGE = Answer(status=503, body="<html><p>{}</p></html>", content_type="text/html")
GREETED = ("time$", "exchangeInfo$", "accountConfig$", "income$", "v3/account$", "positionRisk$")
GREETINGS = (
    Answer(status=401),
    PAGE,
    Answer(status=200, body="<html>{}</html>", content_type="text/html"),
    Answer(status=429, headers={"Retry-After": "1"}),
    Answer(status=403, body=json.dumps({"code": -2015, "msg": "{}"})),
    Answer(status=200, body=json.dumps([{"symbol": "{}", "positionAmt": "{}"}])),
)
ORDERS = (
    Answer(),
    Answer(status=401, body=json.dumps({"code": -2015, "msg": "{}"})),
    Answer(status=500, body=json.dumps({"code": -1000, "msg": "{}"})),
    PAGE,
    Answer(how="reset"),
    Answer(how="cut"),
)


def seed(canaries: dict[str, str], **changes: Any) -> dict[str, Any]:
    """An account of 10,000 with six shorts of 1,500 each and a long."""
    prices = {"BTCUSDT": 60_000.0, **PRICES}
    return {
        "api_key": canaries["BINANCE_API_KEY"],
        "api_secret": canaries["BINANCE_API_SECRET"],
        "wallet": {"USDT": 10_000},
        "prices": prices,
        "positions": [
            *(
                {
                    "symbol": symbol,
                    "side": "SHORT",
                    "quantity": 1500 / price,
                    "entry_price": price,
                }
                for symbol, price in PRICES.items()
            ),
            {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.02", "entry_price": 60000},
        ],
        **changes,
    }


@dataclass(kw_only=True)
class Scene:
    """One folder with a configuration and a `.env`, and everything that was seen of its runs."""

    folder: Path
    seen: dict[str, bytes] = field(default_factory=dict)

    def write(self, url: str, canaries: dict[str, str], *, more: str = "") -> None:
        """A configuration that watches one venue, switches one off and names none of the third."""
        self.folder.mkdir()
        write_dotenv(self.folder, canaries)
        (self.folder / "config.yaml").write_text(
            "dry_run: false\npoll_seconds: 1\nalert_poll_seconds: 1\nconfirm_spacing_s: 1\n"
            "blind_alert_s: 5\nblind_lock_s: 6\n"
            "trading_lock_file: state/trading_lock.json\n"
            f"exchanges:\n  binance: {{simulator_url: '{url}'}}\n"
            "  bitget: {enabled: false}\n" + more,
            encoding="utf-8",
        )

    async def begin(self, *words: str, stderr: int = asyncio.subprocess.PIPE) -> Process:
        """Start a process in the folder, with nothing secret in its environment."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "TERM": "xterm"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )

    def look(self, name: str, process: Process) -> None:
        """Keep what other processes of this machine see of a running one."""
        for part in ("cmdline", "environ"):
            self.seen[f"{name}/{part}"] = Path(f"/proc/{process.pid}/{part}").read_bytes()
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8")
        (cores,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        self.seen[f"{name}/cores"] = cores.encode()

    async def run(self, name: str, *words: str, code: int = 0) -> str:
        """Run a command of the guard to its end; what it printed."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TERM": "xterm"}
        process = WarmProcess(*words, folder=self.folder, environment=environment)
        out, err = await process.communicate()
        self.seen[f"{name}/stdout"], self.seen[f"{name}/stderr"] = out, err
        assert process.returncode == code, err.decode()
        return (out + err).decode()

    def keep_files(self, when: str) -> None:
        """Keep the state directory as it lies on disk now."""
        for name, content in files_below(self.folder / "state").items():
            self.seen[f"{when}/{name}"] = content


Process = asyncio.subprocess.Process


@asynccontextmanager
async def talkative(
    canaries: dict[str, str], **changes: Any
) -> AsyncIterator[tuple[Simulated, Echo]]:
    """A simulated venue that can be told to send requests back in its errors."""
    echo = Echo(canaries)
    async with simulated(seed(canaries, **changes), middlewares=[echo.middleware()]) as venue:
        yield venue, echo


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, list[bytes]]]:
    """A terminal of the usual width: its end for a process, and what was written to it."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    written: list[bytes] = []
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: written.append(_read(ours)))
    try:
        yield theirs, written
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def _read(descriptor: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.read(descriptor, 65_536)
    return b""


# --- the stories ------------------------------------------------------------------------------


async def whole_incident(scene: Scene, canaries: dict[str, str], is_closing: asyncio.Event) -> None:
    """Errors at the start, while reading and to every order; status, flow, reset, SIGTERM."""
    pasted = canaries["BITGET_API_SECRET"]
    async with talkative(canaries) as (venue, echo):
        for path, answer in zip(GREETED, GREETINGS, strict=True):
            echo.plan("GET", path, [answer])
        scene.write(venue.url, canaries)
        daemon = await scene.begin(str(ROOT / "killswitch.py"), "--verbose")
        reading = asyncio.create_task(_drained(daemon))
        try:
            await until(lambda: _is_trusted(scene.folder))
            scene.look("daemon", daemon)
            echo.plan("POST", "order$", ORDERS)
            await venue.control.set_prices(
                {symbol: price * 1.09 for symbol, price in PRICES.items()}
            )
            await until(lambda: _holds_only_the_long(venue))
            is_closing.set()
            await asyncio.gather(
                scene.run("status", "status", "--json"),
                scene.run("flow", "flow", BOOK, "5", "--reason", f"pasted {pasted}"),
                scene.run("refused", "flow", BOOK, "1e16", code=1),
            )
            scene.keep_files("running")
            await until(lambda: "incident_done" in _outcomes(scene.folder))
            await scene.run("reset", "reset", BOOK, "--confirm", BOOK, "--reason", "looked")
            daemon.send_signal(signal.SIGTERM)
        finally:
            if not reading.done():
                with contextlib.suppress(ProcessLookupError):
                    daemon.send_signal(signal.SIGTERM)
            scene.seen["daemon/stdout"], scene.seen["daemon/stderr"] = await reading
        assert daemon.returncode == 0
        assert echo.is_over
    scene.keep_files("after")


async def _drained(process: Process) -> tuple[bytes, bytes]:
    return await process.communicate()


async def _holds_only_the_long(venue: Simulated) -> bool:
    (account,) = (await venue.control.state())["accounts"].values()
    return [position["symbol"] for position in account["positions"]] == ["BTCUSDT"]


def _is_trusted(folder: Path) -> bool:
    path = folder / "state" / "killswitch.db"
    if not path.exists():
        return False
    found = "SELECT count(*) FROM snapshots WHERE trust = 'TRUSTED'"
    with (
        closing(sqlite3.connect(path)) as connection,
        contextlib.suppress(sqlite3.OperationalError),
    ):
        return bool(connection.execute(found).fetchone()[0])
    return False


def _outcomes(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "state" / "killswitch.db")) as connection:
        return {row[0] for row in connection.execute("SELECT outcome FROM actions")}


async def refused_key(scene: Scene, canaries: dict[str, str]) -> None:
    """The venue does not know the key; the guard runs on a terminal, is blind, and is stopped."""
    async with talkative(canaries, api_key="test-key", api_secret="test-secret") as (venue, echo):
        scene.write(venue.url, canaries)
        echo.plan("GET", "exchangeInfo$", ORDERS[:1])
        with terminal() as (theirs, written):
            daemon = await scene.begin(str(ROOT / "killswitch.py"), "--verbose", stderr=theirs)
            await until(lambda: b"UNAVAILABLE" in b"".join(written))
            scene.look("terminal", daemon)
            daemon.send_signal(signal.SIGTERM)
            await daemon.communicate()
            await until(lambda: b"stopped" in b"".join(written))
            scene.seen["terminal/stderr"] = b"".join(written)
    assert daemon.returncode == 0
    scene.keep_files("refused key")


async def one_look(scene: Scene, canaries: dict[str, str]) -> None:
    """`--once` while the venue answers with everything it was sent."""
    async with talkative(canaries) as (venue, echo):
        scene.write(venue.url, canaries)
        echo.plan("GET", "v3/account$", GREETINGS[4:5] * 2)
        told = await scene.run("once", "--once", code=1)
        assert "no trusted reading" in told
    scene.keep_files("once")


CRASHES = f"""
import runpy, sys, threading, warnings
from pathlib import Path
from dotenv import dotenv_values
sys.path.insert(0, {str(ROOT)!r})
import commands.run as run
said = " ".join(dotenv_values(".env").values())

class Last:
    def __del__(self):
        raise OSError("last " + said)

def fail(*given, **named):
    warnings.warn("warned " + said)
    worker = threading.Thread(target=int, args=("number " + said,))
    worker.start()
    worker.join()
    Last()
    raise RuntimeError("planted " + said)

when = sys.argv.pop(1)
setattr(run, {{"early": "load_settings", "late": "_announce"}}[when], fail)
sys.argv[0] = "killswitch.py"
runpy.run_path({str(ROOT / "killswitch.py")!r}, run_name="__main__")
"""
"""A guard with a fault that says all it knows, before the secrets are read or after."""


async def crash(scene: Scene, canaries: dict[str, str]) -> None:
    """Uncaught in the main thread, in another one, in a finalizer, and a warning."""
    scene.write("http://127.0.0.1:9", canaries)
    (scene.folder / "crash.py").write_text(CRASHES, encoding="utf-8")
    for when in ("early", "late"):
        process = await scene.begin("crash.py", when)
        out, err = await process.communicate()
        scene.seen[f"crash {when}/stdout"], scene.seen[f"crash {when}/stderr"] = out, err
        assert process.returncode == 1
        for word in ("RuntimeError", "ValueError", "OSError", "crash.py"):
            assert word in err.decode(), err.decode()
    scene.keep_files("crash")


WITH_MASKS = (
    "daemon/stderr",
    "running/killswitch.db-wal",
    "terminal/stderr",
    "once/stderr",
    "crash late/stderr",
)
"""Where a secret would have been without the masks: what is clean there was cleaned.

What the log of the database says of an order without an answer is replaced when it is found, so
the file at the end need not hold a mask.
"""

Story = Callable[[Scene, dict[str, str]], Awaitable[None]]


# --- the proof --------------------------------------------------------------------------------


async def test_secrets_are_found_nowhere_after_a_whole_incident(tmp_path: Path) -> None:
    """Both logs, database, WAL, lock file, exceptions, command lines, environments (lesson 36)."""
    canaries = new_canaries()
    stories: tuple[Story, ...] = (refused_key, one_look, crash)
    incident = Scene(folder=tmp_path / "incident")
    scenes = {story: Scene(folder=tmp_path / story.__name__) for story in stories}
    is_closing = asyncio.Event()

    async def play(story: Story) -> None:
        # A close is confirmed after 5 s; the other stories need no time of their own then.
        await is_closing.wait()
        await story(scenes[story], canaries)

    await asyncio.gather(whole_incident(incident, canaries, is_closing), *map(play, stories))

    seen = dict(incident.seen)
    for scene in scenes.values():
        seen |= scene.seen
    assert find_canaries(seen, canaries) == []
    for name in WITH_MASKS:
        assert MASK.encode() in seen[name], f"nothing secret was ever on its way to {name}"
    for name in ("daemon/cores", "terminal/cores"):
        assert seen[name].split()[-3:-1] == [b"0", b"0"]
    check_log(seen["daemon/stderr"].decode())


def check_log(text: str) -> None:
    """One JSON object a line, fields in order, events and levels of the page, told at the start."""
    events = [json.loads(line) for line in text.splitlines()]
    documented = documented_events()
    for event in events:
        assert list(event)[:3] == ["timestamp", "level", "event"]
        assert event["level"] in documented[event["event"]]
    names = [event["event"] for event in events]
    for name in ("tick", "trigger", "order_done", "order_refused", "order_unknown", "flow_booked"):
        assert name in names
    for name in ("incident_done", "request_refused", "reset", "watching", "scope_unavailable"):
        assert names.count(name) == 1
    assert names[0] == "started"
    assert f"SIMULATOR ({BOOK})" in events[0]["message"]
    (not_watched,) = [event["message"] for event in events if event["event"] == "not_watched"]
    assert not_watched == "bybit: keys found, not in config.yaml, NOT WATCHED"
    (trigger,) = [event for event in events if event["event"] == "trigger"]
    assert trigger["locks"] == ["killswitch_stage_2_close_dominant_loss_direction"]
    assert names[-1] == "stopped"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 418, 429, 500, 503])
async def test_no_text_of_the_adapter_repeats_a_secret(status: int) -> None:
    """Exceptions and outcomes are clean at their source, whatever form the venue sends back."""
    canaries = {"KEY": secrets.token_urlsafe(48), "SECRET": secrets.token_urlsafe(48)}
    key, secret = canaries.values()
    said = [
        text
        for canary in canaries.values()
        for text in (*forms(canary).values(), canary[3:14], f"{canary[:20]} {canary[20:]}")
    ]
    shown: list[str] = []
    async with canned_venue() as server:
        adapter = BinanceFutures(
            scope=ScopeId(BOOK),
            access=Access(credentials={"apiKey": key, "secret": secret}, simulator_url=server.url),
            clock=SystemClock(),
            stables=("USDT",),
        )
        time_path = "/fapi.binance.com/fapi/v1/time"
        server.set("GET", time_path, Canned(json={"serverTime": int(time.time() * 1000)}))
        server.set("GET", "/fapi.binance.com/fapi/v3/account", Canned(json=account()))
        for text in said:
            body = {"code": -2015, "msg": f"{text} is wrong", "secret": text}
            answer = Canned(json=body, status=status, headers={"Retry-After": "0"})
            server.set("GET", "/fapi.binance.com/fapi/v3/positionRisk", answer)
            server.set("POST", "/fapi.binance.com/fapi/v1/order", answer)
            with pytest.raises(Unavailable) as refused:
                await adapter.fetch_positions(ScopeId(BOOK))
            shown.append(repr(refused.value))
            shown.append(repr(await adapter.submit_close(close_of())))
        await adapter.aclose()
    assert all("is wrong" in text for text in shown)
    assert find_canaries({"texts": "\n".join(shown).encode()}, canaries) == []


def test_the_search_finds_a_planted_secret(tmp_path: Path) -> None:
    """In every form, in the middle of a binary file, and eight characters of it."""
    canaries = {"KEY": new_canaries()["BINANCE_API_KEY"]}
    for form, text in forms(canaries["KEY"]).items():
        (tmp_path / "file.db").write_bytes(b"\0SQLite\xff" + text.encode() + b"\0")
        found = find_canaries(files_below(tmp_path), canaries)
        assert f"KEY as {form} in file.db" in found
    for start in (0, 5, len(canaries["KEY"]) - 8):
        part = canaries["KEY"][start : start + 8].encode()
        assert find_canaries({"x": b"a " + part + b" b"}, canaries) == ["KEY as a part in x"]
        assert find_canaries({"x": b"a " + part[:7] + b" b"}, canaries) == []


def test_secrets_in_the_configuration_are_not_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted into config.yaml in all the wrong places, and into a file that is no YAML."""
    canaries = new_canaries()
    keys = list(canaries.values())
    scene = Scene(folder=tmp_path / "scene")
    more = (
        f"api_key: {keys[0]}\n{keys[1]}: 1\npoll_seconds: {keys[2]!r}\n"
        f"notifications: {{url: 'https://127.0.0.1/{keys[3]}'}}\n"
    )
    scene.write("http://127.0.0.1:9", canaries, more=more)
    config = scene.folder / "config.yaml"
    assert read_settings(config) is None
    config.write_text(f"a: [{keys[4]}\nb: }}{keys[5]}", encoding="utf-8")
    assert read_settings(config) is None
    told = capsys.readouterr().err
    assert told.count("config.yaml") >= 4
    assert find_canaries({"stderr": told.encode()}, canaries) == []


def test_what_stands_in_dotenv_is_exported_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`os.environ` is what children get; it stays as it was."""
    monkeypatch.delenv("BINANCE_API_KEY", raising=False)
    scene = Scene(folder=tmp_path / "scene")
    canaries = new_canaries()
    scene.write("http://127.0.0.1:9", canaries)
    before = dict(os.environ)
    settings = read_settings(scene.folder / "config.yaml")
    assert settings is not None
    assert set(settings.secrets()) == set(canaries.values())
    assert dict(os.environ) == before
