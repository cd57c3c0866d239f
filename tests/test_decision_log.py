"""What a decision says in the log: once, with its figures, and in time."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from decision_log import SIGN_OF_LIFE_S, log_audit
from logger import Logger
from memory import AuditEntry, Severity
from tests.memory_venue import KEY, SCOPE, Trouble
from tests.test_guardian import short_rests
from tests.virtual_house import BOOK, House, Logbook, play, policy

STAGE_1 = "killswitch_stage_1_close_top_risk_contributors"


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of heartbeats need no disk that is safe from power cuts; the files are real."""
    monkeypatch.setattr("trading_lock.os.fsync", lambda _descriptor: None)


def of_decisions(log: Logbook) -> list[str]:
    """The events that are no ticks and no signs of life."""
    return [event for event, _ in log.lines if event not in ("tick", "watching", "flow")]


def test_an_incident_is_told_step_by_step_and_nothing_twice(tmp_path: Path) -> None:
    """Every audit entry is one event, in its order; orders and the lock stand where they belong."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=20)
            await house.until(lambda: guard.book.stage == 0, within_s=400, step_s=1)
            await house.wait(1)
        assert of_decisions(house.log) == ["trigger", "order_done", "incident_done", "rearmed"]
        assert house.events() == ["trigger", "incident_done", "rearmed"]

        (trigger,) = house.log.of("trigger")
        assert trigger["scope"] == BOOK
        assert trigger["stage"] == "REDUCED_TOP_RISK"
        assert trigger["mode"] == "CLOSE_TOP_RISK_CONTRIBUTORS"
        assert (trigger["drawdown"], trigger["threshold"]) == (0.05, 0.045)
        assert (trigger["window"], trigger["peak_equity"]) == ("15m", 10_000.0)
        assert trigger["locks"] == [STAGE_1]
        (done,) = house.log.of("order_done")
        assert (done["symbol"], done["quantity"], done["filled"]) == ("SOLUSDT", 50, 50)
        (ended,) = house.log.of("incident_done")
        assert {trigger["incident_id"]} == {done["incident_id"], ended["incident_id"]}
        assert "locks" not in ended
        (rearmed,) = house.log.of("rearmed")
        assert rearmed["locks"] == []

    play(story)


def test_a_lock_that_stood_before_the_start_is_told_alone(tmp_path: Path) -> None:
    """No decision of this run made it, and whoever watches must know of it all the same."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=20)
        house.log.lines.clear()
        async with house.guard():
            await house.wait(25)
        assert of_decisions(house.log) == ["lock_changed"]
        (told,) = house.log.of("lock_changed")
        assert told == {"message": "bots are locked out", "locks": [STAGE_1]}

    play(story)


def test_a_dry_run_tells_what_it_would_lock(tmp_path: Path) -> None:
    """And that bots may trade."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=policy(dry_run=True))
        async with house.guard():
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.log.of("trigger")), within_s=30)
            await house.wait(15)
        (ended,) = house.log.of("incident_simulated")
        assert (ended["locks"], ended["would_lock"]) == ([], [STAGE_1])
        assert ended["dry_run"] is True
        assert house.log.of("lock_changed") == []

    play(story)


def test_every_reading_is_a_tick_with_its_figures(tmp_path: Path) -> None:
    """Calm, near a threshold, in breach, and without a reading: the pause that follows is told."""

    async def story() -> None:
        house = House(folder=tmp_path)
        ticks: list[dict[str, Any]] = []

        async def look(within_s: float) -> dict[str, Any]:
            known = len(house.log.of("tick"))
            await house.until(lambda: len(house.log.of("tick")) > known, within_s=within_s)
            ticks.append(house.log.of("tick")[-1])
            return ticks[-1]

        async with house.guard():
            calm = await look(15)
            house.prices(SOL=103)
            near = await look(15)
            house.prices(SOL=106)
            breach = await look(15)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
            dark = await look(15)
            again = await look(15)
            assert len(house.log.of("tick")) == len(house.venue.called("fetch_reading"))
        assert (calm["trust"], calm["equity"], calm["next_poll_s"]) == ("TRUSTED", 10_000.0, 10)
        assert (calm["drawdown"], calm["streaks"], calm["reasons"]) == (0.0, {}, [])
        assert (near["drawdown"], near["threshold"], near["window"]) == (0.03, 0.045, "15m")
        assert near["nearest_stage"] == "REDUCED_TOP_RISK"
        assert (near["stage"], near["next_poll_s"], near["streaks"]) == ("NORMAL", 3, {})
        assert breach["streaks"] == {"REDUCED_TOP_RISK": 1}
        assert breach["drawdowns"] == {"15m": 0.06, "1h": 0.06, "1d": 0.06}
        assert (dark["trust"], dark["equity"], dark["drawdowns"]) == ("UNAVAILABLE", None, {})
        assert (dark["next_poll_s"], again["next_poll_s"]) == (3, pytest.approx(3 * 1.5))
        assert len(dark["reasons"]) == 1

    play(story)


def test_a_quiet_guard_gives_a_sign_of_life_every_hour(tmp_path: Path) -> None:
    """After the first trusted reading and hourly, with the worst of the hour; then it is forgotten.

    One reading a minute: 20 are lost, and the equity was 3 % down for a while.
    """

    async def story() -> None:
        calm = replace(policy(), poll_s=60.0, alert_poll_s=60.0, max_reading_age_s=125.0)
        house = House(folder=tmp_path, policy=calm, request_poll_s=10.0)
        async with house.guard():
            await house.wait(5)
            (first,) = house.log.of("watching")
            assert (first["readings"], first["trusted"], first["equity"]) == (1, 1, 10_000.0)
            house.prices(SOL=103)
            await house.wait(300)
            house.prices(SOL=100)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE, times=5)
            await house.wait(2 * SIGN_OF_LIFE_S)
        _, worse, calm_again = house.log.of("watching")
        assert worse["drawdown"] == 0.03
        assert worse["readings"] - worse["trusted"] == 5
        assert "nearest to a stage: 3.00% of 4.50% over 15m" in worse["message"]
        assert calm_again["drawdown"] == 0.0
        assert calm_again["readings"] == calm_again["trusted"] == 60

    play(story)


def test_a_transfer_is_told_when_it_counts(tmp_path: Path) -> None:
    """Found in the exchange's records; what was booked by hand has an event of its own."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(35)
            house.exchange.set_time(house.clock.now())
            house.exchange.transfer(KEY, "USDT", Decimal(-2000))
            await house.until(lambda: bool(house.log.of("flow")), within_s=60)
            house.ask("flow", amount="5")
            await house.until(lambda: bool(house.log.of("flow_booked")), within_s=5)
            await house.wait(15)
        told = house.log.of("flow")[-1]
        assert (told["amount"], told["asset"], told["scope"]) == (-2000.0, "USDT", SCOPE)
        assert told["effective_at"] is not None
        assert "counts from now on" in told["message"]
        assert {flow["record_id"] for flow in house.log.of("flow")} == {told["record_id"]}

    play(story)


def test_a_request_that_was_refused_is_told_with_its_author(tmp_path: Path) -> None:
    """Who tried to lift a lock is worth knowing, most of all when it was not lifted."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(5)
            house.ask("flow", amount="much")
            await house.until(lambda: bool(house.log.of("request_refused")), within_s=5)
        (told,) = house.log.of("request_refused")
        assert (told["actor"], told["command"]) == ("operator@test", "flow")
        assert "not an amount" in told["message"]

    play(story)


def test_a_scope_that_is_read_again_is_told(tmp_path: Path) -> None:
    """Once after an outage; after blindness the audit says it, and nothing says it twice."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE, times=2)
            await house.wait(60)
            (told,) = house.log.of("scope_available")
            assert told["why"] == "read again after 2 failures"
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
            await house.until(lambda: bool(house.log.of("blind")), within_s=120)
            house.venue.calm()
            await house.until(lambda: bool(house.log.of("sight_regained")), within_s=60)
            assert len(house.log.of("scope_available")) == 1

    play(story)


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.INFO, "info"),
        (Severity.WARNING, "warning"),
        (Severity.CRITICAL, "critical"),
    ],
)
def test_an_audit_entry_keeps_its_severity_and_hides_no_field(
    severity: Severity, level: str
) -> None:
    """A figure that bears the name of a field stands beside it."""
    told: list[tuple[str, str, dict[str, Any]]] = []

    class Levels:
        def __getattr__(self, name: str) -> Any:
            return lambda event, **fields: told.append((name, event, fields))

    entry = AuditEntry(
        at=1.0,
        scope=BOOK,
        event="reset",
        message="done",
        severity=severity,
        details=(("scope", "other"), ("event", "odd"), ("amount", 5)),
    )
    log_audit(cast("Logger", Levels()), entry)
    assert told == [
        (
            level,
            "reset",
            {
                "scope": BOOK,
                "message": "done",
                "stage": "NORMAL",
                "mode": None,
                "dry_run": False,
                "scope_detail": "other",
                "event_detail": "odd",
                "amount": 5,
            },
        )
    ]
