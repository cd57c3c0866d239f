"""The drill of the switch: ten passes on a guard that works, and a failure named where it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.redis_server import free_port, redis_server
from tests.simulated import seed, simulated
from tests.test_integration import ROOT, Ended, Place, place, until
from tests.test_switch_command import KEY, row, scene, shown, with_redis

DRILL = ROOT / "tools" / "switch_drill.py"


async def drill(here: Place, *words: str) -> Ended:
    """Run the drill on this configuration."""
    return await replace(here, program=DRILL).run("--json", *words)


def verdicts(ended: Ended) -> list[str]:
    """The verdict of each line, first to last."""
    found: dict[str, Any] = json.loads(ended.out)
    return [line["verdict"] for line in found["lines"]]


async def test_the_drill_passes_ten_lines_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    """With a real guard, a real redis-server and commands as they are typed."""
    async with scene(tmp_path) as now:
        # Whoever shares the Redis takes part: that must be said.
        bare = await drill(now.here)
        assert (bare.code, "--with-redis" in bare.err) == (2, True)
        ended = await drill(now.here, "--with-redis")
        assert verdicts(ended) == ["pass"] * 10, ended
        assert ended.code == 0
        assert await now.redis.cli("GET", KEY) == "running"
        assert (row(now.here) or ("",))[0] == "running"
        assert shown(now.here) is None
        assert now.here.lock()["locked"] is False


async def test_a_guard_that_reads_another_redis_fails_the_lines_that_need_it(
    tmp_path: Path,
) -> None:
    """The operator's shell knows a Redis, the guard was started without: what is set is unseen."""
    async with redis_server(tmp_path, port=free_port()) as redis, simulated(seed()) as venue:
        here = place(tmp_path / "guard", venue.url, dry_run=True)
        operator = with_redis(here, redis.port)
        await redis.cli("SET", KEY, "running")
        async with here.daemon():
            await until(lambda: shown(here) is None)
            ended = await drill(operator, "--with-redis")
            told = json.loads(ended.out)
            failed = {line["number"]: line["figures"] for line in told["lines"]}
            failed = {n: failed[n] for n, word in enumerate(verdicts(ended), 1) if word == "FAIL"}
            assert ended.code == 1
            assert failed[6] == "the lock file says pause after 5 s, not halt"
            assert "not halt" in failed[6]
            assert {6, 8} <= set(failed)
            assert not {1, 3, 4, 5} & set(failed)
            assert told["not_put_back"] == []
            assert shown(here) is None
            assert await redis.cli("GET", KEY) == "running"


async def test_a_drill_begins_only_where_it_hurts_nobody(tmp_path: Path) -> None:
    """No guard, a live one, a switch that is set, an unusable file: exit 2 and nothing written."""
    here = place(tmp_path / "none", dry_run=True)
    nobody = await drill(here)
    assert (nobody.code, "start the guard" in nobody.err) == (2, True)
    async with simulated(seed()) as venue:
        live = place(tmp_path / "live", venue.url)
        async with live.daemon():
            refused = await drill(live)
        assert (refused.code, "the guard is LIVE" in refused.err) == (2, True)
        paused = place(tmp_path / "paused", venue.url, dry_run=True)
        async with paused.daemon():
            assert (await paused.run("switch", "pause")).code == 0
            refused = await drill(paused)
            assert (refused.code, "the switch says pause" in refused.err) == (2, True)
            assert shown(paused) == "pause"
    wrong = await drill(here, "--config", "none.yaml")
    assert (wrong.code, "none.yaml" in wrong.err) == (2, True)
