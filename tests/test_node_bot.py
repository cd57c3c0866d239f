"""The Node example, run by node: it opens while the guard says so, and is never freer than ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from model import Stage
from tests.bot_process import EXAMPLES, bot
from trading_lock import LockFile, read_lock

NOW = 1_800_000_000.0
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="the program `node` is not installed, so examples/node_bot.js was not run"
)
HALT = LockEntry(
    scope="*",
    stage=Stage.NORMAL,
    mode=LockMode.HALT,
    reason="operator_halt",
    created_ts=NOW,
    expires_ts=FOREVER_TS,
)
BRIEF = LockEntry(
    scope="a_futures",
    stage=Stage.REDUCED_TOP_RISK,
    mode=LockMode.STAGE,
    reason="killswitch_stage_1",
    created_ts=NOW - 9.0,
    expires_ts=NOW + 9.0,
)
ASK = """
const { whyLocked } = require(process.argv[1]);
const asked = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(asked.map(([path, now]) => whyLocked(path, now))));
"""


def written(path: Path, *locks: LockEntry, **changes: object) -> Path:
    """A document of the guard, changed as asked."""
    content = {**LockContent(locks=locks).to_document(NOW), **changes}
    LockFile(path, pid=1, host="here", now=lambda: NOW).replace(content)
    return path


def why_locked(*asked: tuple[Path, float]) -> list[str]:
    """What the bot's reader answers for each file and time."""
    done = subprocess.run(
        [str(NODE), "-e", ASK, str(EXAMPLES / "node_bot.js")],
        input=json.dumps([[str(path), now] for path, now in asked]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers = json.loads(done.stdout)
    assert isinstance(answers, list)
    return answers


def test_the_reader_of_the_node_bot_agrees_with_ours(tmp_path: Path) -> None:
    """Documents of a guard: free, halted, locked for a while, over, stale, from the future."""
    free = written(tmp_path / "free.json")
    halt = written(tmp_path / "halt.json", HALT, BRIEF)
    brief = written(tmp_path / "brief.json", BRIEF)
    cases = [
        (free, NOW, ""),
        (free, NOW + 60.0, ""),
        (free, NOW + 60.1, "lock_stale"),
        (free, NOW - 60.1, "lock_stale"),
        (halt, NOW + 30.0, "operator_halt"),
        (brief, NOW + 8.9, "killswitch_stage_1"),
        (brief, NOW + 9.0, ""),
    ]
    assert why_locked(*((path, now) for path, now, _ in cases)) == [why for *_, why in cases]
    assert [read_lock(path, now=now).reason for path, now, _ in cases] == [why for *_, why in cases]


def test_the_reader_of_the_node_bot_is_never_freer_than_ours(tmp_path: Path) -> None:
    """Whatever is wrong with the file locks both."""
    torn = tmp_path / "torn.json"
    torn.write_text('{"version": 2, "locked": fal')
    files = [tmp_path / "missing.json", tmp_path, torn]
    for number, text in enumerate(("", "null", "[]", "7", "{}", '{"version": 3}', '"free"')):
        files.append(tmp_path / f"text{number}.json")
        files[-1].write_text(text)
    nonsense: tuple[object, ...] = (None, "0", [], {})
    damages: list[dict[str, object]] = [
        {name: value}
        for name in ("locked", "locks", "expires_ts", "heartbeat_ts", "heartbeat_max_age_s")
        for value in nonsense
        if (name, value) != ("locks", [])
    ]
    damages += [
        {"version": "2"},
        {"locked": False, "locks": [HALT.to_document()]},
        {"locked": True, "locks": [], "expires_ts": FOREVER_TS},
        {"locked": True, "locks": [None], "expires_ts": 0.0},
        {"locked": True, "locks": [{"scope": "b", "expires_ts": None}], "expires_ts": 0.0},
        {"locked": True, "locks": [HALT.to_document()], "expires_ts": 0.0},
    ]
    for number, damage in enumerate(damages):
        path = tmp_path / f"damage{number}.json"
        # Past the writer, which would put its own heartbeat over a damaged one.
        path.write_text(json.dumps({**json.loads(written(path).read_text()), **damage}))
        files.append(path)
    assert [path.name for path in files if not read_lock(path, now=NOW).locked] == []
    answers = why_locked(*((path, NOW) for path in files))
    assert [path.name for path, why in zip(files, answers, strict=True) if not why] == []


async def test_the_node_bot_opens_only_while_the_lock_is_free(tmp_path: Path) -> None:
    """As a process beside a lock file that changes: nobody, free, halted."""
    path = tmp_path / "trading_lock.json"
    writer = LockFile(path, pid=1, host="here")
    command = (str(NODE), str(EXAMPLES / "node_bot.js"), str(path), "0.02")
    async with bot(*command, cwd=tmp_path, env=os.environ) as running:
        assert await running.line() == "opens nothing: lock_unreadable"
        writer.replace(LockContent().to_document(NOW))
        assert set(await running.until("would open")) <= {"opens nothing: lock_unreadable"}
        writer.replace(LockContent(locks=(HALT,)).to_document(NOW))
        assert set(await running.until("opens nothing: operator_halt")) <= {"would open"}
        assert {await running.line() for _ in range(5)} == {"opens nothing: operator_halt"}
