"""Three hundred drawn stories hold, the same ones every time; and every invariant can fail.

`make simulate` plays more. A seed that fails is told by `python3 -m tools.simulate --start SEED
--trace`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import switch_rules
from lock_document import FOREVER_TS, LockContent, LockEntry, LockMode
from memory import CloseTarget
from model import RowKey, Side, Source, Stage, Symbol
from simulator.exchange import Exchange
from simulator.markets import default_market
from simulator.seeds import apply_seed
from simulator.state import OrderRequest
from switch_model import RedisMissing, RedisSilent, RedisValue, SwitchMemory, SwitchState
from switch_rules import SwitchLook
from tests.memory_venue import SCOPE
from tests.simulation import invariants
from tests.simulation.coverage import LEAST_MET, LEAST_SEEDS, Tally, is_possible
from tests.simulation.draw import draw_story
from tests.simulation.faults import Fault, Phase
from tests.simulation.invariants import Aim, Made
from tests.simulation.operator import RedisFault
from tests.simulation.run import simulate, simulate_story
from tests.simulation.truth import Truth
from tests.simulation.two_stores import TwoStores
from tools.simulate import main

ROOT = Path(__file__).resolve().parent.parent
SHARES = 10
SEEDS = 300
SOL = RowKey(SCOPE, Symbol("SOLUSDT"), Side.SHORT)
HALF = CloseTarget(number=1, key=SOL, may_remain=Decimal(50), initial_quantity=Decimal(100))


@pytest.mark.parametrize("share", range(SHARES))
def test_drawn_stories_hold(share: int) -> None:
    """Crashes, faults, bots, transfers and the switch, drawn: no invariant is ever violated."""
    for seed in range(1 + share, SEEDS + 1, SHARES):
        assert simulate(seed).violations == (), draw_story(seed).name


def test_a_seed_is_one_run_whatever_the_hashes_of_the_process() -> None:
    """The same seed in two processes with different string hashes leaves the same trace."""
    code = "from tests.simulation.run import simulate as s; print(*(s(n).digest for n in (7, 42)))"
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(set(told[0].split())) == 2


# --- every invariant can fail -------------------------------------------------------------------


def fill(before: int, after: int) -> dict[str, object]:
    """An execution of ours as the exchange's ledger has it."""
    return {
        "client_id": "ks-a-1-1-1",
        "symbol": "SOLUSDT",
        "position_before": str(before),
        "position_after": str(after),
    }


@pytest.mark.parametrize(
    ("before", "after", "is_fine"),
    [
        (-100, -50, True),
        (-100, 0, True),
        (100, 10, True),
        (-100, -101, False),  # increased
        (0, 5, False),  # opened
        (-100, 20, False),  # turned
        (100, -1, False),
        (50, 50, False),  # an execution that changed nothing was none
    ],
)
def test_an_order_that_adds_risk_is_found(before: int, after: int, is_fine: bool) -> None:
    """Invariant 1, from the exchange's ledger alone."""
    assert (invariants.risk_added(fill(before, after)) == "") is is_fine


@pytest.mark.parametrize(
    ("after", "taken", "is_fine"),
    [(-50, 0, True), (-49, 0, True), (-48, 0, False), (-40, 9, True), (-40, 8, False)],
)
def test_a_target_that_is_undershot_is_found(after: int, taken: int, is_fine: bool) -> None:
    """Invariant 2: 50 may remain, a step is 1, and what others took is theirs."""
    aim = Aim(target=HALF, stage=Stage.REDUCED_TOP_RISK, source=Source.SHORT, step=Decimal(1))
    found = invariants.undershot(fill(-100, after), aim, reduced_by_others=Decimal(taken))
    assert (found == "") is is_fine


@pytest.mark.parametrize(
    ("stage", "source", "is_fine"),
    [
        (Stage.REDUCED_TOP_RISK, Source.SHORT, True),
        (Stage.DOMINANT_CLOSED, Source.LONG, False),
        (Stage.DOMINANT_CLOSED, Source.MIXED, True),
        (Stage.ALL_CLOSED, Source.LONG, True),
    ],
)
def test_a_close_on_the_side_that_did_not_lose_is_found(
    stage: Stage, source: Source, is_fine: bool
) -> None:
    """Invariant 2: a short is closed."""
    aim = Aim(target=HALF, stage=stage, source=source, step=Decimal(1))
    assert (invariants.wrong_side(aim) == "") is is_fine


def test_a_side_that_is_blamed_without_a_loss_is_found() -> None:
    """Invariant 2: the long lost 500, the short nothing."""
    history = [
        Made(at_s=at, results={("BTCUSDT", Side.LONG): made, ("SOLUSDT", Side.SHORT): 0.0})
        for at, made in ((1.0, 0.0), (2.0, -500.0))
    ]
    assert invariants.blameless(Source.LONG, history, threshold=0.65) == ""
    assert invariants.blameless(Source.SHORT, history, threshold=0.65) != ""


@pytest.mark.parametrize(
    ("coin", "remains", "is_fine"),
    [
        ("0", "0", True),
        ("40", "40", True),
        ("40.7", "40", True),  # a step is 1
        ("40", "39", False),
        ("500", "50", False),  # it covers all 100: no target at all
        ("4", "0", True),  # 4 at 1 are under the least of 5 that the venue closes
        ("5", "4", False),
    ],
)
def test_a_hedge_of_a_coin_that_is_closed_is_found(coin: str, remains: str, is_fine: bool) -> None:
    """Invariant 2: of a short of 100 so much is kept as there is of its coin."""
    target = replace(HALF, may_remain=Decimal(remains))
    market = replace(
        default_market("SOLUSDT", price=Decimal(1)), step=Decimal(1), min_notional=Decimal(5)
    )
    found = invariants.unhedged(target, coin=Decimal(coin), market=market, mark=Decimal(1))
    assert (found == "") is is_fine
    long = replace(target, key=replace(SOL, side=Side.LONG))
    assert invariants.unhedged(long, coin=Decimal(coin), market=market, mark=Decimal(1)) == ""


def test_an_end_that_is_none_is_found() -> None:
    """Invariant 3: done with more than may remain, or never done."""
    assert invariants.unkept(HALF, held=Decimal(50), is_dust=False) == ""
    assert invariants.unkept(HALF, held=Decimal(51), is_dust=True) == ""
    assert invariants.unkept(HALF, held=Decimal(51), is_dust=False) != ""
    assert invariants.unended(150.0, within_s=150.0) == ""
    assert invariants.unended(151.0, within_s=150.0) != ""


@pytest.mark.parametrize(
    ("remains", "position_side", "order", "is_fine"),
    [
        ("0", "", {"side": "BUY", "close_position": True}, False),
        ("50", "", {"side": "BUY", "close_position": True}, True),  # a part is left to protect
        ("0", "", {"side": "SELL", "close_position": True}, True),  # of a long
        ("0", "", {"side": "SELL", "quantity": 1}, False),
        ("0", "SHORT", {"side": "BUY", "quantity": 1}, False),
        ("0", "LONG", {"side": "SELL", "quantity": 1}, True),
    ],
)
def test_an_order_that_outlives_its_position_is_found(
    remains: str, position_side: str, order: dict[str, Any], is_fine: bool
) -> None:
    """Invariant 3: of a short of SOL that was to go whole."""
    exchange = Exchange()
    stop = {"symbol": "SOLUSDT", "type": "STOP_MARKET", **order}
    stop["trigger_price"] = 120 if order["side"] == "BUY" else 80
    if position_side:
        stop["position_side"] = position_side
    mode = "hedge" if position_side else "one_way"
    account = apply_seed(
        exchange,
        {
            "api_key": "test-key",
            "api_secret": "test-secret",
            "position_mode": mode,
            "prices": {"SOLUSDT": 100},
            "orders": [stop],
        },
    )
    target = replace(HALF, may_remain=Decimal(remains))
    assert (invariants.left_behind(target, account.orders.values()) == "") is is_fine


def test_a_stage_that_falls_by_itself_is_found() -> None:
    """Invariant 4: on disk the stage falls beside a re-arm or a reset only."""
    assert invariants.fell_without_reason(2, 0, ["rearmed"]) == ""
    assert invariants.fell_without_reason(1, 2, []) == ""
    assert invariants.fell_without_reason(2, 1, ["trigger"]) != ""


def test_a_lock_that_is_weaker_than_the_record_is_found() -> None:
    """Invariant 4: lifted before its record, or missing at the first close."""
    assert invariants.lifted_early(2, 0, recorded=0) == ""
    assert invariants.lifted_early(2, 0, recorded=2) != ""
    assert invariants.closed_unlocked(2, Stage.DOMINANT_CLOSED) == ""
    assert invariants.closed_unlocked(1, Stage.DOMINANT_CLOSED) != ""
    with pytest.raises(ValueError, match="version"):
        invariants.lock_stage({"version": 1}, now=0.0)


def test_a_rehearsal_that_sends_is_found() -> None:
    """Invariant 5."""
    assert invariants.sent_in_rehearsal("submit_cancel", dry_run=False) == ""
    assert invariants.sent_in_rehearsal("submit_cancel", dry_run=True) != ""


def test_a_record_that_is_gone_is_found() -> None:
    """Invariant 6: committed once, another thing or nothing later; or never completed."""
    assert invariants.lost_records({"a": "DONE"}, {"a": "DONE", "b": ""}) == ""
    assert invariants.lost_records({"a": "DONE"}, {"a": ""}) != ""
    assert invariants.lost_records({"a": "DONE"}, {}) != ""
    assert invariants.unanswered({"a": "", "b": "DONE"}, excused={"a"}) == ""
    assert invariants.unanswered({"a": ""}, excused=set()) != ""


def test_an_answer_that_comes_late_or_for_nothing_is_found() -> None:
    """Invariant 7: a loss that stays is acted on, and no stage opens without one."""
    assert invariants.late(0.06, 0.045, for_s=50.0, within_s=50.0) == ""
    assert invariants.late(0.06, 0.045, for_s=51.0, within_s=50.0) != ""
    assert invariants.groundless(0.045, 0.045, slack=0.004) == ""
    assert invariants.groundless(0.04, 0.045, slack=0.004) != ""


RESTING_UNENDED, FORGOTTEN_JUMP = 88, 2086
"""Stories in which a guard is killed while it closes and its disk takes nothing; in the second the
clock was set by an hour just before."""


def test_an_interrupted_close_that_rests_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 7: what a killed stage 2 left open is closed, although the stage was adopted."""
    assert simulate(RESTING_UNENDED).violations == ()
    monkeypatch.setattr("stage_guards.is_closing", lambda *_given: False)
    assert [found.number for found in simulate(RESTING_UNENDED).violations] == [7]


@pytest.mark.parametrize("has_bad_disk", [False, True])
def test_only_a_jump_that_is_on_no_disk_is_forgotten(
    has_bad_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 7: one that was written down excuses no silence of the next run."""
    story = draw_story(FORGOTTEN_JUMP)
    spans = tuple(span for span in story.spans if has_bad_disk or span.fault != Fault.STORE_DOWN)
    excused: list[Truth] = []
    excuse = Truth.on_forgotten_jump

    def excuse_and_tell(truth: Truth) -> None:
        excused.append(truth)
        excuse(truth)

    monkeypatch.setattr(Truth, "on_forgotten_jump", excuse_and_tell)
    assert simulate_story(replace(story, spans=spans)).violations == ()
    assert len(excused) == has_bad_disk


# --- the switch ---------------------------------------------------------------------------------

RUNNING, PAUSE, HALT, KILL = SwitchState


def document(*modes: str, reason: str = "operator", scope: str = "*") -> dict[str, Any]:
    """A lock document with such entries."""
    entries = [
        LockEntry(
            scope=scope,
            stage=Stage.NORMAL,
            mode=LockMode(mode),
            reason=reason,
            created_ts=1.0,
            expires_ts=FOREVER_TS,
        )
        for mode in modes
    ]
    return LockContent(locks=tuple(entries)).to_document(1.0)


def test_a_lock_that_is_milder_than_the_switch_is_found() -> None:
    """Invariant 9, from the document alone; a book's own lock does not stand for the switch."""
    assert invariants.lock_switch(None) is RUNNING
    assert invariants.lock_switch(document("pause", "halt")) is HALT
    assert invariants.lock_switch(document("halt", scope=SCOPE)) is RUNNING
    silent = document("halt", reason="operator_redis_silent")
    assert invariants.lock_switch(silent) is HALT
    assert invariants.lock_switch(silent, explicit_only=True) is RUNNING
    assert invariants.unlocked(HALT, PAUSE) == ""
    assert invariants.unlocked(PAUSE, HALT) != ""


def test_a_switch_that_loosens_by_itself_is_found() -> None:
    """Invariant 9: a milder state needs an accepted request for it, and nothing is forgotten."""
    assert invariants.loosened(HALT, RUNNING, wished=["running"]) == ""
    assert invariants.loosened(HALT, KILL, wished=[]) == ""
    assert invariants.loosened(HALT, RUNNING, wished=["pause"]) != ""
    assert invariants.forgotten(HALT, HALT) == ""
    assert invariants.forgotten(KILL, HALT) != ""
    assert invariants.unseen(6.0, within_s=6.0) == ""
    assert invariants.unseen(6.1, within_s=6.0) != ""


def test_a_lockdown_that_is_left_without_a_reset_is_found() -> None:
    """Invariant 10: no re-arm ends it."""
    assert invariants.fell_without_reason(4, 0, ["reset"]) == ""
    assert invariants.fell_without_reason(4, 0, ["rearmed"]) != ""


def test_a_kill_that_waits_is_found() -> None:
    """Invariant 10: beside what the venue takes to answer it takes a second at most."""
    assert invariants.idle(1.3, within_s=1.3) == ""
    assert invariants.idle(1.4, within_s=1.3) != ""


def test_a_halt_that_cancels_nothing_or_too_early_is_found() -> None:
    """Invariant 11."""
    assert invariants.unasked("SOL 1", for_s=3.0, within_s=3.0) == ""
    assert invariants.unasked("SOL 1", for_s=4.0, within_s=3.0) != ""
    assert invariants.left_standing("SOL 1", for_s=20.0, within_s=20.0) == ""
    assert invariants.left_standing("SOL 1", for_s=21.0, within_s=20.0) != ""


SAID = {
    "a state": ("Pause\n", PAUSE, True),
    "a milder state": ("running", RUNNING, True),
    "no state": ("stop", HALT, True),
    "no state, while a halt is known": ("", HALT, True),
    "a look that nobody may have believed": ("kill", HALT, False),
    "a milder one of that kind": ("pause", PAUSE, False),
}


@pytest.mark.parametrize("name", SAID)
def test_the_judge_of_the_switch_reads_redis_by_the_rules(name: str) -> None:
    """Behaviour.md section 12: the last word of Redis counts, and a silence is a halt at least."""
    text, state, is_certain = SAID[name]
    stores = TwoStores(grace_s=10.0, redis=HALT)
    stores.hear(1.0, RedisMissing(), is_certain=True)
    stores.hear(2.0, RedisSilent(why="refused"), is_certain=True)
    assert stores.effective is HALT
    stores.hear(3.0, RedisValue(text=text), is_certain=is_certain)
    assert (stores.redis, stores.silent_s) == (state, None)


def test_the_judge_of_the_switch_waits_for_what_binds_long_enough() -> None:
    """What has just been set is wanted of the lock later, what was loosened no more at once."""
    stores = TwoStores(grace_s=10.0)
    stores.begin(0.0, local=RUNNING, redis=KILL)
    stores.hear(5.0, RedisSilent(why="refused"), is_certain=True)
    stores.hear(6.0, RedisValue(text="running"), is_certain=True)
    assert stores.least(6.0, within_s=2.0) == (RUNNING, RUNNING)
    stores.set_local(7.0, HALT)
    assert stores.least(8.5, within_s=2.0) == (RUNNING, RUNNING)
    assert stores.least(9.0, within_s=2.0) == (HALT, HALT)
    stores.set_local(9.0, RUNNING)
    stores.hear(20.0, RedisSilent(why="refused"), is_certain=True)
    assert not stores.asks_for_cancels(29.9)
    assert stores.asks_for_cancels(30.0)


async def nothing(*_given: object, **_named: object) -> None:
    """Do nothing, whatever was asked for."""


def thrice(**wanted: Any) -> OrderRequest:
    """The order without what keeps it from opening the other side."""
    return OrderRequest(**{**wanted, "quantity": wanted["quantity"] * 3, "reduce_only": None})


def emptied(found: SwitchLook, *, now: float) -> SwitchLook:
    """A key that is gone, taken for permission."""
    return switch_rules._valued(found, RedisValue(text="running"), now=now)


def without_patience(switch: SwitchMemory, **_given: object) -> bool:
    """A halt that nobody has set cancels as if somebody had."""
    return switch_rules.effective(switch) is HALT


SABOTAGE: dict[str, tuple[int, str, Any]] = {
    "an order three times as large": (1, "tests.memory_venue.OrderRequest", thrice),
    "an incident that never ends": (3, "executor.CONFIRM_AFTER_S", 1e9),
    "a lock that is never written": (4, "tests.virtual_house.House._replace_lock", nothing),
    "orders without a record": (6, "executor.Executor._write", nothing),
    "a guard that forgets its coins": (2, "plans.compute_staying", lambda **_given: {}),
    "orders that are never cancelled": (3, "cancels.DONE_STATUSES", ()),
    "a guard that sees no breach": (7, "drawdown.breached_stages", lambda _drawdowns: ()),
    "a switch that nobody looks at": (9, "switch_watch.SwitchWatch._take_in", lambda *_given: None),
    "a switch that locks nobody": (9, "incidents.operator_locks", lambda *_given, **_named: ()),
    "a flushed Redis that loosens": (9, "switch_rules._missing", emptied),
    "a silence that is no halt": (9, "switch_rules._silent", lambda found, *_given, **_now: found),
    "a kill that is not carried out": (
        10,
        "decision.carry_out_kill",
        lambda *_given, **_named: None,
    ),
    "a kill that waits for the next reading": (10, "drives.Drives.kill", lambda *_given: None),
    "a halt that takes protection": (
        11,
        "entry_cancels.plan_cancels",
        lambda **given: given["orders"],
    ),
    "a halt that waits for nothing": (11, "drives.cancels_entries", without_patience),
    "a halt that cancels nothing": (11, "switch_watch.EntryCancels.begin", lambda *_given: None),
}
EVENTFUL = (104, 23)
"""Stories in which a kill and a halt meet most; whatever is not found in them is looked for on."""
SWITCHED = [*EVENTFUL, *(seed for seed in range(1, 200) if draw_story(seed).switch is not None)]


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_guard_that_was_sabotaged_is_found_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that is built in shows within a few stories, as a violation of its own invariant."""
    number, place, replacement = SABOTAGE[name]
    monkeypatch.setattr(place, replacement)
    seeds = range(1, 60) if number <= 8 else SWITCHED
    found = (violation.number for seed in seeds for violation in simulate(seed).violations)
    assert number in found


# --- coverage -----------------------------------------------------------------------------------


def test_a_long_run_that_never_met_something_fails() -> None:
    """Of 5,000 seeds every possible cell is wanted; a small run only tells."""
    tally = Tally()
    assert tally.shortcomings(LEAST_SEEDS - 1) == []
    assert f"{Fault.ORDER_LATE} {Phase.CLOSING}: 0" in tally.shortcomings(LEAST_SEEDS)
    tally.faults[Fault.ORDER_LATE, Phase.CLOSING] = LEAST_MET
    assert f"{Fault.ORDER_LATE} {Phase.CLOSING}: 0" not in tally.shortcomings(LEAST_SEEDS)
    assert not is_possible(Fault.ORDER_LATE, Phase.CALM)
    for cell in (f"switch {KILL} {Phase.RECOVERING}", f"{RedisFault.MISSING} {HALT}"):
        assert f"{cell}: 0" in tally.shortcomings(LEAST_SEEDS)
    assert "only 0% of the incidents closed something" in tally.shortcomings(LEAST_SEEDS)


# --- the tool -----------------------------------------------------------------------------------


def test_the_tool_tells_what_was_met(capsys: pytest.CaptureFixture[str]) -> None:
    """A table for a person, or JSON with every cell; a small run fails for no empty cell."""
    assert main(["--seeds", "2", "--start", "3", "--jobs", "1"]) == 0
    assert "2 seeds in" in capsys.readouterr().out
    assert main(["--seeds", "1", "--start", "3", "--jobs", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seeds"], told["violations"], told["missed"]) == (1, {}, [])
    assert told["cells"].keys() == dict(Tally().cells()).keys()


def test_the_tool_names_a_violated_seed_and_replays_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a violation with the command that tells it; the trace ends with what was wrong."""
    monkeypatch.setattr("tests.virtual_house.House._replace_lock", nothing)
    broken = next(seed for seed in range(1, 40) if simulate(seed).violations)
    assert main(["--seeds", "1", "--start", str(broken), "--jobs", "1"]) == 1
    assert f"python3 -m tools.simulate --start {broken} --trace" in capsys.readouterr().out
    assert main(["--start", str(broken), "--trace"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"seed {broken}: ")
    assert told[-1].startswith("invariant 4 at ")
