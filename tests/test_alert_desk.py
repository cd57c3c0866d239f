"""A whole guard that is told on, in virtual time: what is told of a story, and what it costs.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alert_desk import AT_ONCE, GATHER_S, AlertDesk
from alerts import Alert, Sender
from commands.alerting import Alerts
from commands.assembly import MakeAlerts
from decision import Decision
from logger import Logger
from memory import AuditEntry, Records, Severity
from notifier import Notifier, Target
from policy import Policy
from recorder import Recorder
from redaction import NOTHING_HIDDEN, Redactor
from supervision import Supervisor
from tests.memory_venue import Call, Trouble
from tests.test_notifier import Receiver
from tests.virtual_house import EPOCH, House, play, policy
from troubles import Troubles


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of heartbeats need no disk that is safe from power cuts; the files are real."""
    monkeypatch.setattr("trading_lock.os.fsync", lambda _descriptor: None)


def told_by(
    house: House, *receivers: Receiver, repeat_s: float = 600.0, redactor: Redactor = NOTHING_HIDDEN
) -> MakeAlerts:
    """What makes the guards of a house tell these receivers."""

    def make(of: Policy, recorder: Recorder, troubles: Troubles) -> Alerts:
        log = cast("Logger", house.log)
        supervisor = Supervisor(recorder=recorder, clock=house.clock, log=log, dry_run=of.dry_run)
        notifier = Notifier(
            (
                Target(name=f"HOOK_{number}", min_severity=Severity.INFO, deliver=receiver)
                for number, receiver in enumerate(receivers)
            ),
            clock=house.clock,
            supervisor=supervisor,
            on_trouble=lambda why: troubles.begin("alerts", why),
            on_recovery=lambda: troubles.end("alerts"),
        )
        desk = AlertDesk(
            notifier,
            policy=of,
            sender=Sender(host="guard1", kinds={}),
            clock=house.clock,
            supervisor=supervisor,
            mask=redactor.text,
            repeat_s=repeat_s,
        )
        return Alerts(desk=desk, heartbeat=None)

    return make


def listening(folder: Path, **changes: Any) -> tuple[House, Receiver]:
    """A house whose guards tell one receiver that takes everything."""
    house = House(folder=folder, **changes)
    receiver = Receiver(house.clock)
    house.make_alerts = told_by(house, receiver)
    return house, receiver


def fault(house: House, why: str, *, event: str = "record_refused") -> Records:
    """A record of something critical, as any part of the guard may give one."""
    entry = AuditEntry(
        at=house.clock.now(),
        scope="*",
        event=event,
        message=why,
        severity=Severity.CRITICAL,
    )
    return Records(audits=(entry,))


def titles(receiver: Receiver) -> list[str]:
    """The first lines of what arrived."""
    return [alert.title for alert in receiver.got]


def events(receiver: Receiver) -> list[str]:
    """What arrived, by event."""
    return [alert.event for alert in receiver.got]


# --- what is told of a story --------------------------------------------------------------------


def test_a_fall_is_told_from_half_way_to_its_result(tmp_path: Path) -> None:
    """2.5 % of 4.5 %, then 3.8 %, then 5 %: stage 1 acts, closes, and says so (lesson 8)."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard():
            await house.wait(30)
            for price in (102.5, 103.8, 105):
                house.prices(SOL=price)
                await house.wait(40)
        half, near, next_stage, trigger, done = receiver.got
        assert [half.event, near.event] == ["threshold_half", "threshold_near"]
        assert next_stage.body.startswith("drawdown 5.00% over 15m; ALL_CLOSED acts at 10.00%;")
        assert [trigger.event, done.event] == ["trigger", "incident_done"]
        assert half.title == "INFO binance_futures: half way to a stage"
        assert half.body.splitlines()[0] == (
            "drawdown 2.50% over 15m; REDUCED_TOP_RISK acts at 4.50%; "
            "equity 9,750.00, its peak was 10,000.00"
        )
        assert near.severity is Severity.WARNING
        assert trigger.title == "CRITICAL binance_futures: a stage acts"
        assert "- SOLUSDT SHORT -500.00, risk" in trigger.body
        assert "100 -> 50" in trigger.body
        assert done.title == "INFO binance_futures: closed as planned"
        assert "SOLUSDT SHORT 100 -> 50.00 HELD" in done.body

    play(story)


def test_what_appears_while_something_is_stuck_is_told_by_its_name(tmp_path: Path) -> None:
    """Not as the drawdown and the loser of what was triggered before."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard():
            await house.wait(30)
            house.venue.plan("submit_close", Trouble.REFUSE)
            house.prices(SOL=116, ETH=2_000)
            await house.wait(40)
            house.bot_order("ETHUSDT", "BUY", quantity="1")
            await house.wait(20)
        told = next(alert for alert in receiver.got if alert.event == "follow_up")
        first, *rest = told.body.splitlines()
        assert first.startswith("ALL_CLOSED: positions appeared while everything must stay closed")
        assert "ETHUSDT LONG 1 -> 0" in first
        assert len(rest) == 1

    play(story)


def test_a_dry_run_tells_trigger_before_result(tmp_path: Path) -> None:
    """Both come with one decision; the order is that of the audit."""

    async def story() -> None:
        house, receiver = listening(tmp_path, policy=policy(dry_run=True))
        async with house.guard():
            await house.wait(30)
            house.prices(SOL=105)
            await house.wait(40)
        assert events(receiver)[:3] == ["threshold_near", "trigger", "incident_simulated"]
        assert "(DRY RUN)" in receiver.got[1].title

    play(story)


def test_equity_that_trembles_around_half_way_is_told_once(tmp_path: Path) -> None:
    """2.2 and 2.3 % in turn: one alert; after a way back it is told again, when it may be."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard():
            await house.wait(30)
            for _ in range(10):
                for price in (102.2, 102.3):
                    house.prices(SOL=price)
                    await house.wait(12)
        assert events(receiver) == ["threshold_half"]

    play(story)


def test_a_venue_that_is_silent_is_told_as_blind_and_as_seen_again(tmp_path: Path) -> None:
    """After 60 s, the lock of the bots after 120 s, and the end of both."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard():
            await house.wait(30)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
            await house.wait(200)
            house.venue.calm()
            await house.wait(60)
        assert events(receiver) == [
            "blind",
            "blind_lock_set",
            "sight_regained",
            "blind_lock_lifted",
        ]

    play(story)


def test_a_full_disk_is_told_while_it_is_full(tmp_path: Path) -> None:
    """The alert does not wait for the record of it."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard() as guard:
            await house.wait(30)
            guard.store.is_down = True
            await house.wait(60)
            assert events(receiver) == ["store_trouble"]
            guard.store.is_down = False
            await house.wait(60)
        assert titles(receiver)[1:] == ["INFO: the database is written again"]

    play(story)


def test_what_is_stuck_is_told_at_its_own_pace_until_somebody_has_seen_it(tmp_path: Path) -> None:
    """30 s, 2 min, 12 min; after `ack` silence, until more than information is new (lesson 35)."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard():
            await house.wait(30)
            house.venue.plan("submit_close", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.wait(800)
            stuck = [alert for alert in receiver.got if alert.event == "incident_stuck"]
            triggered = next(alert.at for alert in receiver.got if alert.event == "trigger")
            assert [round(alert.at - triggered, -1) for alert in stuck] == [30, 120, 720]
            house.ask("ack", reason="on it")
            await house.wait(700)
            assert events(receiver)[-1] == "alerts_acknowledged"
            assert "operator@test has seen what sounds: on it" in receiver.got[-1].body
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
            await house.wait(700)
            later = events(receiver)[events(receiver).index("alerts_acknowledged") + 1 :]
            assert {"blind", "incident_stuck"} <= set(later)
            assert later.index("blind") < later.index("incident_stuck")

    play(story)


def test_no_secret_leaves_with_an_alert(tmp_path: Path) -> None:
    """A reason that an operator typed, or a venue wrote, may hold what must not be seen."""

    async def story() -> None:
        house = House(folder=tmp_path)
        receiver = Receiver(house.clock)
        hidden = Redactor(("a-word-to-hide",))
        house.make_alerts = told_by(house, receiver, redactor=hidden)
        async with house.guard():
            await house.wait(15)
            house.ask("ack", reason="it is a-word-to-hide")
            await house.wait(15)
        assert "it is [redacted]" in receiver.got[-1].body

    play(story)


def test_starting_and_stopping_are_told_also_when_nothing_else_is(tmp_path: Path) -> None:
    """What is said at the very end still leaves."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard() as guard:
            assert guard.alerts is not None
            guard.alerts.say("started", "LIVE, watching a")
            await house.wait(10)
            assert titles(receiver) == ["INFO: the guard has started"]
            guard.alerts.say("stopped", "by a fault", Severity.CRITICAL)
        assert titles(receiver)[1:] == ["CRITICAL: the guard has stopped"]

    play(story)


def test_what_comes_and_goes_is_told_when_its_period_is_over(tmp_path: Path) -> None:
    """Three troubles of the disk within ten minutes: the first at once, the last when it is due."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard() as guard:
            await house.wait(10)
            for number in range(3):
                guard.recorder.add(fault(house, f"why {number}"))
                await house.wait(10)
            assert [alert.body.splitlines()[0] for alert in receiver.got] == ["why 0"]
            await house.wait(600)
        assert receiver.got[1].body.splitlines()[0] == "why 2"
        assert receiver.got[1].body.splitlines()[-1] == "and 1 more like it"

    play(story)


# --- what it costs ------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Run:
    """What one run of a story came to."""

    decisions: list[Decision] = field(default_factory=list)
    ledger: list[dict[str, object]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    tried: int = 0
    ended_at: float = 0.0


def dead(receiver: Receiver) -> None:
    """It refuses every alert."""
    receiver.refuses = lambda _alert: "down"


def hanging(receiver: Receiver) -> None:
    """It never answers."""
    receiver.takes_s = 1e9


def broken(receiver: Receiver) -> None:
    """It trips over its own feet."""

    def trip(_alert: Alert) -> str:
        raise RuntimeError("a bug of a library")

    receiver.refuses = trip


Make = Callable[[Receiver], None]


def bad_day(folder: Path, *ills: Make, dry_run: bool = False) -> Run:
    """A fall through two stages beside orders that fail, told to targets with these ills."""
    run = Run()

    async def story() -> None:
        house = House(folder=folder, policy=policy(dry_run=dry_run))
        house.on_decision = run.decisions.append
        receivers = [Receiver(house.clock) for _ in ills]
        if receivers:
            for receiver, make_ill in zip(receivers, ills, strict=True):
                make_ill(receiver)
            house.make_alerts = told_by(house, *receivers)
        async with house.guard() as guard:
            await house.wait(30)
            house.venue.plan("submit_close", Trouble.LOST_AFTER, times=2)
            for price in (103, 105, 108, 112):
                house.prices(SOL=price)
                await house.wait(45)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE, times=20)
            await house.wait(150)
            await guard.stop()
            run.ended_at = house.clock.monotonic()
        run.tried = min((len(receiver.tried) for receiver in receivers), default=0)
        run.ledger, run.calls = list(house.exchange.ledger), list(house.venue.calls)
        run.events = [event for event in house.events(dry_run=dry_run) if "alerts_" not in event]

    folder.mkdir()
    play(story)
    return run


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "ills",
    [(dead,), (hanging,), (broken,), (dead, hanging, broken)],
    ids=lambda ills: "-".join(ill.__name__ for ill in ills),
)
def test_no_target_changes_a_decision_or_a_close(
    tmp_path: Path, ills: tuple[Make, ...], dry_run: bool
) -> None:
    """Every decision, every request to the venue and its time, and every fill are the same."""
    without = bad_day(tmp_path / "without", dry_run=dry_run)
    told = bad_day(tmp_path / "with", *ills, dry_run=dry_run)
    assert any(decision.opened for decision in without.decisions)
    assert told.tried > 3
    assert told.decisions == without.decisions
    assert told.calls == without.calls
    assert told.ledger == without.ledger
    assert told.events == without.events
    assert told.ended_at == without.ended_at


@pytest.mark.parametrize(("name", "task"), [("see", "on_taken"), ("hear", "on_given")])
def test_a_fault_in_taking_note_keeps_no_decision_from_being_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, task: str
) -> None:
    """Between a decision, its record and its lock nothing that only informs may break."""

    def trip(_alerts: Alerts, _given: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(Alerts, name, trip)

    async def story() -> None:
        house = House(folder=tmp_path)
        house.make_alerts = lambda *_given: Alerts(desk=None, heartbeat=None)
        async with house.guard():
            await house.wait(30)
            house.prices(SOL=105)
            await house.wait(40)
            assert house.held("SOL") == -50
            assert house.stops_a_bot()
        assert house.audit("task_failed")[0].message == f"{task}: RuntimeError: a bug of ours"
        assert house.audit("trigger")
        assert house.audit("incident_done")

    play(story)


def test_a_target_that_fails_is_shown_until_it_works_again(tmp_path: Path) -> None:
    """In the audit once, and in the details of the lock file as long as it lasts."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        receiver.refuses = lambda _alert: "the service is down"
        async with house.guard() as guard:
            guard.recorder.add(fault(house, "why"))
            await house.wait(100)
            shown = house.lock()["details"]["trouble_alerts"]
            assert shown.endswith("HOOK_0: the service is down")
            receiver.refuses = lambda _alert: ""
            await house.wait(300)
            assert "trouble_alerts" not in house.lock()["details"]
        assert len(house.audit("alerts_trouble")) == 1
        assert len(house.audit("alerts_recovered")) == 1

    play(story)


def test_a_storm_of_alerts_holds_nothing_up(tmp_path: Path) -> None:
    """Of five hundred at once, whatever else is ready has its turn after every few of them."""

    async def story() -> None:
        house, turns = House(folder=tmp_path), [0]

        def counted(text: str) -> str:
            if not turns[-1]:
                asyncio.get_running_loop().call_soon(turns.append, 0)
            turns[-1] += 1
            return text

        receiver = Receiver(house.clock)
        masked = SimpleNamespace(text=counted)
        house.make_alerts = told_by(house, receiver, redactor=cast("Redactor", masked))
        async with house.guard() as guard:
            await house.wait(10)
            for number in range(500):
                guard.recorder.add(fault(house, f"why {number}", event="incident_note"))
            await house.wait(10)
        assert sum(turns) >= 1_000, "title and body of each"
        assert max(turns) <= 2 * AT_ONCE

    play(story)


def test_nothing_is_told_before_a_close_has_begun(tmp_path: Path) -> None:
    """The first close leaves before the first word about it does."""

    async def story() -> None:
        house, receiver = listening(tmp_path)
        async with house.guard():
            await house.wait(30)
            house.prices(SOL=105)
            await house.wait(60)
        trigger = next(at for at, title in receiver.tried if "a stage acts" in title)
        first_close = house.venue.called("submit_close")[0].at - EPOCH
        assert first_close < trigger <= first_close + GATHER_S + 1

    play(story)


def test_without_targets_a_guard_has_nothing_of_all_this(tmp_path: Path) -> None:
    """No task, no hook, no queue."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(20)
            assert guard.alerts is None
            assert guard.recorder.on_given is None

    play(story)
