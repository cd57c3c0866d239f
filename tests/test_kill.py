"""A guard that is killed with -9 in the middle of an incident, started again, and where it ends.

Eight kills of over 300 that `make kill-test` plays, and the proof that their judge can fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lock_document import FOREVER_TS
from model import OrderSide, PositionMode
from simulator.exchange import Exchange
from simulator.seeds import apply_seed
from simulator.state import Leg, OrderRequest, OrderType
from tests import kill_runs
from tests.kill_runs import Held, Kill, Release, Rest, Run, Standing, carry_out, prepare
from tests.kill_scenes import BINDING, SCENES, Scene, judge, judge_lock
from tests.simulated import KEY
from tools import kill_test

BY_NAME = {scene.name: scene for scene in SCENES}
STAGE_3 = Standing(
    stage=3,
    cooldowns_s=(0, 0, 6 * 3600),
    lock=(True, "binance_futures", 3, "stage", "killswitch_stage_3_close_all_positions", True),
    lock_ends_s=None,
)
STAGE_2 = Standing(
    stage=2,
    cooldowns_s=(0, 90 * 60, 0),
    lock=(
        True,
        "binance_futures",
        2,
        "stage",
        "killswitch_stage_2_close_dominant_loss_direction",
        False,
    ),
    lock_ends_s=90 * 60,
)


@pytest.mark.parametrize(
    ("name", "leaves", "kills"),
    [
        (
            "hedge-3",
            STAGE_3,
            (
                Kill(nth=3, method="POST", held=Held.BEFORE, release=Release.BEHIND),
                Kill(nth=12, method="POST", held=Held.AFTER, rest=Rest.SENT),
                Kill(nth=2, method="DELETE", held=Held.BEFORE),
                Kill(
                    nth=11,
                    method="DELETE",
                    held=Held.AFTER,
                    release=Release.AFTER_SECOND,
                    second=30,
                ),
            ),
        ),
        (
            "one-way-2",
            STAGE_2,
            (
                Kill(nth=10, method="POST", held=Held.BEFORE, release=Release.AHEAD),
                Kill(
                    nth=1, method="POST", held=Held.AFTER, release=Release.AFTER_SECOND, second=45
                ),
                Kill(nth=5, method="DELETE", held=Held.BEFORE, rest=Rest.SENT),
                Kill(nth=9, method="DELETE", held=Held.AFTER, release=Release.BEHIND),
            ),
        ),
    ],
    ids=["stage 3", "stage 2"],
)
async def test_a_guard_that_was_killed_ends_where_an_undisturbed_one_does(
    tmp_path: Path, name: str, leaves: Standing, kills: tuple[Kill, ...]
) -> None:
    """At an order or a cancel, before its effect or after it; stage, cooldown and lock as ever."""
    scene = BY_NAME[name]
    await prepare(scene, tmp_path / "prepared")
    runs = await asyncio.gather(
        *(
            carry_out(
                scene,
                kill,
                prepared=tmp_path / "prepared",
                folder=tmp_path / str(number),
                undisturbed=leaves,
            )
            for number, kill in enumerate(kills)
        )
    )
    assert [run.faults for run in runs] == [()] * len(kills)
    assert [run.standing for run in runs] == [leaves] * len(kills)
    assert [run.died_at.split()[0] for run in runs] == [kill.method for kill in kills]
    assert [run.kills for run in runs] == [1 if kill.second is None else 2 for kill in kills]


@pytest.mark.parametrize("count", [30, 45, 54])
def test_every_request_dies_once_before_and_once_after_its_effect(count: int) -> None:
    """And every way to go on comes up for both."""
    kills = [Kill.numbered(number) for number in range(2 * count)]
    assert {(kill.nth, kill.held) for kill in kills} == {
        (nth, held) for nth in range(1, count + 1) for held in Held
    }
    ways = {(kill.held, kill.rest, kill.release) for kill in kills}
    assert len(ways) == len(Held) * len(Rest) * len(Release)
    assert all(
        (kill.second is None) == (kill.release is not Release.AFTER_SECOND) for kill in kills
    )


# --- the judge --------------------------------------------------------------------------------


def closed(scene: Scene) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ledger and account of a scene that a faultless guard has closed as far as it must."""
    exchange = Exchange()
    account = apply_seed(exchange, scene.after_the_fall())
    for order in list(account.orders.values()):
        if order.client_id not in scene.kept:
            exchange.cancel(KEY, order.symbol, kind=order.kind, order_id=order.order_id)
    for (symbol, leg), held in scene.held.items():
        close(exchange, scene, symbol=symbol, leg=Leg(leg), is_long=held > 0)
    view = exchange.view(KEY)
    state = {
        "positions": [
            {"symbol": leg.symbol, "position_side": leg.leg.value, "amount": str(leg.amount)}
            for leg in view.legs.values()
        ],
        "orders": [{"client_id": order.client_id} for order in view.orders.values()],
    }
    return [dict(entry) for entry in exchange.ledger], state


def close(exchange: Exchange, scene: Scene, *, symbol: str, leg: Leg, is_long: bool) -> None:
    """Bring one position to its target, in as many orders as its market asks for."""
    due = abs(scene.remains.get((symbol, leg.value), Decimal(0)))
    for part in range(1, 10):
        excess = abs(exchange.amount(KEY, symbol, leg)) - due
        if not excess:
            return
        exchange.place(
            KEY,
            OrderRequest(
                symbol=symbol,
                side=OrderSide.SELL if is_long else OrderSide.BUY,
                order_type=OrderType.MARKET,
                quantity=min(excess, exchange.markets[symbol].market_max),
                leg=leg,
                reduce_only=True if scene.mode is PositionMode.ONE_WAY else None,
                client_id=f"ks-a-{symbol.lower()}-{leg.value.lower()}-{part}",
            ),
        )


@pytest.mark.parametrize("name", BY_NAME)
def test_a_faultless_incident_is_found_faultless(name: str) -> None:
    """Otherwise the judge would say nothing by its verdict."""
    ledger, account = closed(BY_NAME[name])
    assert judge(BY_NAME[name], ledger=ledger, account=account) == ()


Plant = Callable[[list[dict[str, Any]], dict[str, Any]], None]


def fills(ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The executions in a ledger."""
    return [entry for entry in ledger if entry["event"] == "fill"]


def in_the_last_fill(**changes: Any) -> Plant:
    """The last execution was another."""
    return lambda ledger, _account: fills(ledger)[-1].update(changes)


def once_more(event: str, /, **changes: Any) -> Plant:
    """The last event of that name of an order of ours came again, with changes."""

    def plant(ledger: list[dict[str, Any]], _account: dict[str, Any]) -> None:
        last = [e for e in ledger if e["event"] == event and e["cause"] == "order"][-1]
        ledger.append({**last, **changes})

    return plant


def in_the_account(**more: dict[str, Any]) -> Plant:
    """There is a position or an order too many."""

    def plant(_ledger: list[dict[str, Any]], account: dict[str, Any]) -> None:
        for kind, entry in more.items():
            account[kind].append(entry)

    return plant


def without_the_first(kind: str) -> Plant:
    """A position or an order that should be there is not."""
    return lambda _ledger, account: account[kind].pop(0)


PLANTED: dict[str, tuple[str, Plant, str]] = {
    "filled twice": ("hedge-3", once_more("fill"), "was executed 2 times"),
    "filled twice under two ids": (
        "hedge-3",
        once_more("fill", client_id="ks-a-2-2-2", order_id=7),
        "was closed and not",
    ),
    "flipped": (
        "one-way-3",
        in_the_last_fill(position_before="5", position_after="-1"),
        "the other side was opened",
    ),
    "increased": (
        "one-way-3",
        in_the_last_fill(position_before="5", position_after="6"),
        "opened or increased",
    ),
    "opened": (
        "one-way-3",
        in_the_last_fill(position_before="0", position_after="1"),
        "opened or increased",
    ),
    "liquidated": (
        "one-way-3",
        in_the_last_fill(client_id="autoclose", cause="liquidation"),
        "none of ours",
    ),
    "a position left": (
        "one-way-3",
        in_the_account(positions={"symbol": "S00USDT", "position_side": "BOTH", "amount": "-0.1"}),
        "S00USDT BOTH: -0.1 is left and not 0",
    ),
    "the other side left": (
        "one-way-3",
        in_the_account(positions={"symbol": "S00USDT", "position_side": "BOTH", "amount": "1"}),
        "S00USDT BOTH: 1 is left and not 0",
    ),
    "an order left": ("hedge-3", in_the_account(orders={"client_id": "entry-0"}), "still rests"),
    "a winner closed": ("hedge-2", without_the_first("positions"), "0 is left and not"),
    "a protection gone": ("hedge-2", without_the_first("orders"), "is gone"),
    "a protection cancelled": (
        "one-way-2",
        once_more("accepted", event="cancelled", client_id="long-tp"),
        "should protect",
    ),
    "one that could open": (
        "one-way-2",
        once_more("accepted", client_id="ks-a-9-9-9", reduce_only=False),
        "could have opened",
    ),
    "the opening side of a leg": (
        "hedge-2",
        once_more("accepted", client_id="ks-a-9-9-9", side="SELL", position_side="SHORT"),
        "could have opened",
    ),
    "taken twice": ("hedge-2", once_more("accepted"), "was taken 2 times"),
    "halved twice": (
        "one-way-1",
        in_the_account(positions={"symbol": "S00USDT", "position_side": "BOTH", "amount": "-1"}),
        "S00USDT BOTH: -1 is left and not",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_fault_is_found(what: str) -> None:
    """A ledger that is wrong in one place is never passed, and the verdict names the place."""
    name, plant, says = PLANTED[what]
    ledger, account = closed(BY_NAME[name])
    plant(ledger, account)
    found = judge(BY_NAME[name], ledger=ledger, account=account)
    assert any(says in fault for fault in found), found


LOCK = {
    **dict(zip(BINDING, STAGE_2.lock, strict=True)),
    "expires_ts": 5400.0,
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"expires_ts": 6000.0}, None),
        ({"expires_ts": 5399.0}, "1 s earlier"),
        ({"expires_ts": 0.0}, "does not bind"),
        ({"locked": False}, "does not bind"),
        ({"stage": 1}, "does not bind"),
        ({"stage": 3, "expires_ts": FOREVER_TS}, "does not bind"),
        ({"reason": "blind_binance_futures", "mode": "blind"}, "the lock's mode was"),
        ({"manual_reset_required": True}, "the lock's manual_reset_required was"),
    ],
)
def test_a_lock_that_binds_less_than_before_is_found(
    changes: dict[str, Any], says: str | None
) -> None:
    """Its end may move away, everything else stays, and it always is that of the stage."""
    found = tuple(judge_lock(BY_NAME["one-way-2"], {**LOCK, **changes}, bound=LOCK, now=100.0))
    assert (found == ()) if says is None else any(says in fault for fault in found), found


# --- the program ------------------------------------------------------------------------------


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Incidents of six requests that nobody plays; kill 3 of hedge-3 has a fault."""
    names: list[str] = []

    async def pretend(scene: Scene, kill: Kill | None, **folders: Any) -> Run:
        names.append(scene.name)
        folders["folder"].mkdir(parents=True)
        is_bad = kill is not None and (scene.name, kill.number) == ("hedge-3", 3)
        return Run(
            kill=kill,
            faults=("S00USDT SHORT: 5 -> -1: the other side was opened",) if is_bad else (),
            standing=STAGE_3,
            sent=6,
            died_at="" if kill is None else "POST S00USDT",
            kills=0 if kill is None else 1,
            flat_after_s=1.5,
        )

    async def prepare_nothing(_scene: Scene, _folder: Path) -> None:
        return None

    monkeypatch.setattr(kill_runs, "carry_out", pretend)
    monkeypatch.setattr(kill_runs, "prepare", prepare_nothing)
    return names


def test_a_failed_kill_exits_1_with_the_command_that_replays_it(
    played: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command plays that one kill and nothing else."""
    assert kill_test.main(["--scene", "hedge-3"]) == 1
    printed = capsys.readouterr().out
    assert "the other side was opened" in printed
    command = "python3 tools/kill_test.py --scene hedge-3 --start 3 --kills 1"
    assert command in printed
    played.clear()
    assert kill_test.main([*command.split()[2:], "--json"]) == 1
    assert played == ["hedge-3", "hedge-3"]  # undisturbed, and the kill
    document = json.loads(capsys.readouterr().out)
    assert (document["passed"], document["kills"]) == (False, 1)
    (scene,) = document["scenes"]
    assert scene["failed"][0]["replay"] == command


@pytest.mark.parametrize(
    ("arguments", "code", "runs"),
    [
        (["--scene", "one-way-2"], 0, 1 + 12),
        (["--scene", "one-way-2", "--start", "10"], 0, 1 + 2),
        (["--scene", "one-way-2", "--start", "12"], 0, 1 + 1),
        (["--scene", "one-way-2", "--scene", "hedge-2", "--kills", "13"], 0, 2 + 13),
        (["--kills", "0"], 0, 5),
    ],
)
def test_what_was_asked_for_is_played(
    played: list[str], arguments: list[str], code: int, runs: int
) -> None:
    """Two runs a request, from the number given on, and no more than were asked for."""
    assert (kill_test.main(arguments), len(played)) == (code, runs)


def test_a_whole_run_with_too_few_kills_fails(
    played: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incident that became small would prove little, and nobody would notice."""
    monkeypatch.setattr(kill_test, "SCENES", ("one-way-2",))
    for least, code in ((12, 0), (13, 1)):
        monkeypatch.setattr(kill_test, "LEAST_KILLS", least)
        assert kill_test.main([]) == code
        assert (f"fewer than {least} kills" in capsys.readouterr().out) == bool(code)


def test_a_program_that_is_told_to_end_leaves_no_guard_behind(tmp_path: Path) -> None:
    """An abandoned guard would go on for ever, and so would its folder."""
    with subprocess.Popen(
        [
            sys.executable,
            str(kill_runs.ROOT / "tools" / "kill_test.py"),
            *("--scene", "hedge-2", "--kills", "1"),
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not any(tmp_path.glob("*/hedge-2/undisturbed/guard.log")):
            time.sleep(0.05)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (1, "stopped")
    assert list(tmp_path.iterdir()) == []
    homes = [home for home in map(home_of, Path("/proc").glob("[0-9]*")) if str(tmp_path) in home]
    assert homes == []


def home_of(process: Path) -> str:
    """The working folder of a process, empty for one that has just ended."""
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""


def test_the_program_names_every_scene() -> None:
    """It cannot ask the scenes for their names before it has printed its help."""
    assert sorted(kill_test.SCENES) == sorted(BY_NAME)
