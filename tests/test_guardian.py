"""Whole stories of the guard in virtual time, with real decisions, database and lock file.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %. Stage 1 fires at
4.5 %, stage 2 at 7 %, stage 3 at 10 % within 15 minutes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from configuration.schema import STAGE_DEFAULTS
from decision import Decision, decide
from errors import InvariantViolation, LockError
from lock_document import FOREVER_TS, LockEntry, LockMode
from memory import IncidentStatus
from model import BookName, RefusalReason, ScopeId, Stage
from policy import BookPolicy, Policy
from simulator.state import Leg
from store.views import read_answer
from switch_model import SwitchState
from tests.memory_venue import KEY, SCOPE, MemoryVenue, Trouble
from tests.virtual_house import BOOK, House, play, policy

pytestmark = pytest.mark.usefixtures("without_fsync")
HEDGED = {"position_mode": "hedge"}
ONE_WAY: dict[str, str] = {}


def short_rests(of: Policy) -> Policy:
    """The policy with cooldowns of 5 minutes, because every tick writes to a real disk."""
    stages = tuple(replace(stage, cooldown_s=300.0) for stage in STAGE_DEFAULTS)
    return replace(of, books=tuple(replace(book, stages=stages) for book in of.books))


def leg_of(seed: dict[str, str], side: Leg) -> Leg:
    """The leg of a position in the mode of the seed."""
    return side if seed else Leg.BOTH


def shrinks_only(house: House) -> bool:
    """Every execution of ours made a position smaller and crossed nothing."""
    return all(
        before * after >= 0 and abs(after) < abs(before)
        for before, after in (
            (Decimal(str(fill["position_before"])), Decimal(str(fill["position_after"])))
            for fill in house.fills()
        )
    )


def heartbeat_age(house: House) -> float:
    """How old the lock document looks to a bot."""
    age: float = house.clock.now() - house.lock()["heartbeat_ts"]
    return age


# --- the three stages -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [ONE_WAY, HEDGED], ids=["one-way", "hedge"])
def test_a_crash_is_answered_stage_by_stage(tmp_path: Path, seed: dict[str, str]) -> None:
    """5 %: half of the worst short; 9 %: all shorts; then the long falls: everything."""

    async def story() -> None:
        house = House(folder=tmp_path, seed=seed)
        short, long = leg_of(seed, Leg.SHORT), leg_of(seed, Leg.LONG)
        async with house.guard() as guard:
            await house.wait(35)
            assert not house.stops_a_bot()
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL", short) == -50, within_s=20)
            await house.until(lambda: guard.book.incident is None, within_s=10)
            assert house.held("XRP", short) == -5000
            assert house.held("BTC", long) == Decimal("0.05")
            assert house.stops_a_bot()
            house.prices(SOL=113)
            await house.until(lambda: house.held("SOL", short) == 0, within_s=10)
            assert house.held("XRP", short) == 0
            assert house.held("BTC", long) == Decimal("0.05")
            await house.until(lambda: guard.book.incident is None, within_s=10)
            house.prices(BTC=40_000)
            await house.until(lambda: house.held("BTC", long) == 0, within_s=15)
            await house.until(lambda: guard.book.incident is None, within_s=10)
            assert guard.book.stage is Stage.ALL_CLOSED
            assert house.lock()["manual_reset_required"]
            house.ask("reset", confirm=BOOK)
            await house.until(lambda: not house.stops_a_bot(), within_s=3)
        assert shrinks_only(house)
        assert [e for e in house.events() if e == "incident_done"] == ["incident_done"] * 3

    play(story)


def test_the_lock_stands_before_the_first_order_is_sent(tmp_path: Path) -> None:
    """Bots are stopped, and the incident is on disk, when the first close leaves."""

    async def story() -> None:
        house = House(folder=tmp_path)
        seen: list[tuple[bool, int]] = []
        async with house.guard():
            await house.wait(20)
            house.venue.witness = lambda call: (
                seen.append((house.stops_a_bot(), len(house.audit("trigger"))))
                if call.name.startswith("submit")
                else None
            )
            house.prices(SOL=105)
            await house.until(lambda: bool(seen), within_s=30)
        assert seen[0] == (True, 1)

    play(story)


def test_positions_are_read_while_the_lock_is_written(tmp_path: Path) -> None:
    """A lock that takes 0.2 s hides a read of 0.05; the close leaves when the lock stands."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(20)
            house.lock_delay_s = 0.2
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.01)
        first = house.venue.sent[0]
        looks = [call.at for call in house.venue.called("fetch_reading") if call.at < first.at]
        reads = [call.at for call in house.venue.called("fetch_positions") if call.at <= first.at]
        answered_at = looks[-1] + house.venue.latency_s
        waits_s = [at - answered_at for at in (*reads, first.at)]
        assert waits_s == [pytest.approx(0.0, abs=1e-3), pytest.approx(0.2, abs=1e-3)]

    play(story)


def test_positions_are_read_while_the_second_reading_is_judged(tmp_path: Path) -> None:
    """It most likely opens stage 3; nothing is asked again, and nothing sent before the record."""

    async def story() -> None:
        house = House(folder=tmp_path)
        decided: list[tuple[str, bool]] = []
        async with house.guard() as guard:
            await house.wait(20)
            house.venue.witness = lambda call: decided.append(
                (call.name, guard.book.incident is not None)
            )
            house.prices(SOL=115)
            await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.01)
        closing = [each for each in decided if each[0] in ("fetch_positions", "submit_close")]
        assert closing[:2] == [("fetch_positions", False), ("submit_close", True)]
        assert ("fetch_orders", False) in decided

    play(story)


def test_one_reading_never_flattens(tmp_path: Path) -> None:
    """A spike over stage 3 that is gone at the second reading a second later closes nothing."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(35)
            house.prices(SOL=125)
            readings = len(house.venue.called("fetch_reading"))
            await house.until(
                lambda: len(house.venue.called("fetch_reading")) > readings,
                within_s=12,
                step_s=0.01,
            )
            await house.wait(0.5)
            house.prices(SOL=100)
            await house.wait(30)
            assert house.venue.sent == []

    play(story)


def test_what_was_asked_for_beside_a_second_reading_serves_no_later_kill(tmp_path: Path) -> None:
    """It opened nothing. An entry order placed since is cancelled together with the first close."""

    async def story() -> None:
        house = House(folder=tmp_path, has_switch=True)
        async with house.guard():
            await house.wait(35)
            house.prices(SOL=125)
            readings = len(house.venue.called("fetch_reading"))
            await house.until(
                lambda: len(house.venue.called("fetch_reading")) > readings,
                within_s=12,
                step_s=0.01,
            )
            await house.wait(0.5)
            house.prices(SOL=100)
            await house.wait(5)
            assert len(house.venue.called("fetch_orders")) == 1
            house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=5, price=120)
            house.switch(SwitchState.KILL)
            await house.until(lambda: bool(house.venue.sent), within_s=5, step_s=0.01)
            await house.wait(0.01)
            assert {call.name for call in house.venue.sent} >= {"submit_close", "submit_cancel"}

    play(story)


def test_what_appears_while_everything_is_closed_is_closed_again(tmp_path: Path) -> None:
    """In ALL_CLOSED a bot that does not read the lock gets its position closed."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=115)
            await house.until(lambda: guard.book.stage is Stage.ALL_CLOSED, within_s=15)
            await house.until(lambda: guard.book.incident is None, within_s=15)
            house.bot_order("SOLUSDT", "BUY", quantity=3)
            await house.until(lambda: house.held("SOL") == 0, within_s=15)
            await house.wait(15)
            assert house.audit("follow_up") != []
            assert guard.book.stage is Stage.ALL_CLOSED
        assert shrinks_only(house)

    play(story)


def test_stage_1_rearms_after_its_cooldown_and_frees_the_bots(tmp_path: Path) -> None:
    """5 minutes after the close; the old peak in the window does not fire again (lesson 34)."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.stage is Stage.REDUCED_TOP_RISK, within_s=30)
            await house.wait(290)
            assert house.stops_a_bot()
            await house.until(lambda: guard.book.stage is Stage.NORMAL, within_s=60, step_s=1)
            assert not house.stops_a_bot()
            await house.wait(120)
            assert len(house.audit("trigger")) == 1

    play(story)


# --- what must not delay a close --------------------------------------------------------------


def closing_time(folder: Path, trouble: Any) -> float:
    """Seconds from the fall to the first close order, with something wrong from the fall on."""
    folder.mkdir()

    async def story() -> float:
        house = House(folder=folder)
        async with house.guard() as guard:
            await house.wait(35)
            house.prices(SOL=105)
            trouble(house, guard)
            took = await house.until(
                lambda: bool(house.venue.called("submit_close")), within_s=120, step_s=0.01
            )
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            guard.store.is_down, guard.store.delay_s = False, 0.0
            house.lock_fails, house.lock_delay_s = False, 0.0
            house.venue.calm()
            return took

    return play(story)


def _store_down(_house: House, guard: Any) -> None:
    guard.store.is_down = True


def _store_hangs(_house: House, guard: Any) -> None:
    guard.store.delay_s = 300.0


def _lock_down(house: House, _guard: Any) -> None:
    house.lock_fails = True


def _lock_hangs(house: House, _guard: Any) -> None:
    house.lock_delay_s = 300.0


def _ledger_hangs(house: House, _guard: Any) -> None:
    house.venue.plan("fetch_ledger", Trouble.HANG)


def _limits_hang(house: House, _guard: Any) -> None:
    house.venue.plan("fetch_market_limits", Trouble.HANG)


def _orders_hang(house: House, _guard: Any) -> None:
    house.venue.plan("fetch_orders", Trouble.HANG)


def _orders_trip(house: House, _guard: Any) -> None:
    house.venue.plan("fetch_orders", Trouble.BUG)


@pytest.mark.parametrize(
    ("trouble", "allowed_s"),
    [
        (_store_down, 0.1),
        (_store_hangs, 2 * 1.0 + 0.2),  # the record of the incident once, the order's intent once
        (_lock_down, 0.1),
        (_lock_hangs, 3 * 0.3 + 0.2),  # three readings confirm, each is written to the lock
        (_ledger_hangs, 3 * 0.3 + 0.2),  # each of them gives the ledger 0.3 s
        (_limits_hang, 0.1),
        (_orders_hang, 1.1),
        (_orders_trip, 0.1),
    ],
)
def test_nothing_that_only_helps_delays_a_close(
    tmp_path: Path, trouble: Any, allowed_s: float
) -> None:
    """Store, lock, ledger, rules and order list may fail or hang: the close leaves on time."""
    undisturbed = closing_time(tmp_path / "calm", lambda _house, _guard: None)
    assert closing_time(tmp_path / "troubled", trouble) <= undisturbed + allowed_s


def test_a_database_that_has_hung_for_long_delays_a_close_no_more(tmp_path: Path) -> None:
    """Known to be in trouble, it is not given another second, nor one for the order's intent."""

    async def story() -> float:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            guard.store.delay_s = 300.0
            await house.wait(25)
            assert guard.recorder.is_in_trouble
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30, step_s=0.01)
            took = await house.until(
                lambda: bool(house.venue.called("submit_close")), within_s=30, step_s=0.01
            )
            guard.store.delay_s = 0.0
            return took

    assert play(story) <= 0.2


def test_a_withdrawal_is_looked_up_at_once_and_triggers_nothing(tmp_path: Path) -> None:
    """20 % leave: the ledger is asked with the next reading, and explains it (lesson 4)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.exchange.set_time(house.clock.now())
            house.exchange.transfer(KEY, "USDT", Decimal(-2000))
            left_at = house.clock.now()
            await house.wait(60)
            asked = [call.at for call in house.venue.called("fetch_ledger") if call.at > left_at]
            assert asked[0] - left_at <= 10 + 3.5
            assert house.audit("trigger") == []
            assert guard.guardian.memory.scope(SCOPE).suspicion is None
            assert not house.stops_a_bot()

    play(story)


def test_closing_keeps_the_pause_that_the_reading_was_told(tmp_path: Path) -> None:
    """Banned for a minute in an incident: nothing is asked until it is over (lesson 25)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            ban = house.venue.plan("fetch_reading", Trouble.UNAVAILABLE, times=1, seconds=60.0)
            await house.until(lambda: ban.met == 1, within_s=40)
            await house.wait(0.2)
            began = len(house.venue.calls)
            await house.wait(55)
            assert house.venue.calls[began:] == []
            house.venue.calm()
            await house.until(lambda: house.held("SOL") == -50, within_s=40)

    play(story)


@pytest.mark.parametrize(
    "reason", [RefusalReason.BAD_PRECISION, RefusalReason.TOO_SMALL, RefusalReason.TOO_LARGE]
)
def test_a_size_that_the_venue_refuses_has_its_market_rules_read_again(
    tmp_path: Path, reason: RefusalReason
) -> None:
    """It changed a step an hour ago; otherwise no close would fit until the rules are 6 h old."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
            house.venue.plan("submit_close", Trouble.REFUSE, reason=reason)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            read = len(house.venue.called("fetch_market_limits"))
            await house.wait(80)
            assert len(house.venue.called("fetch_market_limits")) - read in (1, 2)

    play(story)


def test_a_database_that_fails_for_a_minute_loses_no_record(tmp_path: Path) -> None:
    """Incident, orders with outcomes, readings and audit are all there after it recovers."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(20)
            guard.store.is_down = True
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.wait(45)
            assert guard.recorder.is_behind
            guard.store.is_down = False
            await house.until(lambda: not guard.recorder.is_behind, within_s=15)
            (trigger,) = house.audit("trigger")
            incident_id = dict(trigger.details)["incident_id"]
            records = await guard.store.order_records(incident_id)  # type: ignore[arg-type]
            assert [record.outcome is not None for record in records] == [True] * len(records)
            assert house.events().count("incident_done") == 1
            assert house.log.of("record_lost") == []
            (book,) = house.status().books
            assert book.stage is Stage.REDUCED_TOP_RISK

    play(story)


def test_a_lock_that_cannot_be_written_is_told_once_and_catches_up(tmp_path: Path) -> None:
    """A folder that turns read-only: one alarm, the closing goes on, the file follows later."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(20)
            house.lock_fails = True
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.wait(120)
            assert len(house.log.of("lock_trouble")) == 1
            assert not house.stops_a_bot()
            house.lock_fails = False
            await house.until(house.stops_a_bot, within_s=15)
            assert len(house.log.of("lock_recovered")) == 1

    play(story)


# --- darkness ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [
        (Trouble.UNAVAILABLE, 0.0),
        (Trouble.UNAVAILABLE, 900.0),  # banned for 15 minutes: it is not asked again meanwhile
        (Trouble.HANG, 0.0),
        (Trouble.BUG, 0.0),
        (Trouble.MALFORMED, 0.0),
    ],
)
def test_darkness_is_alerted_locks_and_lifts(
    tmp_path: Path, trouble: Trouble, seconds: float
) -> None:
    """Alert after 60 s, lock after 120 s, a heartbeat all along; the next good reading frees."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(35)
            house.venue.plan("fetch", trouble, seconds=seconds)
            began = house.clock.now()
            oldest = 0.0
            while house.clock.now() < began + 400:
                await house.wait(1)
                oldest = max(oldest, heartbeat_age(house))
            assert oldest <= 30
            (blind,) = house.audit("blind")
            assert 60 - 10 <= blind.at - began <= 60 + 1.5
            (lock,) = house.lock()["locks"]
            assert (lock["mode"], lock["reason"]) == ("blind", f"blind_{BOOK}")
            assert 120 - 10 <= lock["created_ts"] - began <= 120 + 1.5
            assert house.stops_a_bot()
            asked = len(house.venue.called("fetch_reading"))
            if seconds:
                await house.wait(300)
                assert len(house.venue.called("fetch_reading")) == asked
            house.venue.calm()
            await house.until(lambda: not house.stops_a_bot(), within_s=45 + seconds)
            assert house.venue.sent == []

    play(story)


def pace_of(house: House, *, since: float) -> set[float]:
    """The whole seconds between readings from a moment on."""
    times = [call.at for call in house.venue.called("fetch_reading") if call.at >= since]
    return {round(later - earlier) for earlier, later in pairwise(times)}


def test_the_pace_follows_the_danger(tmp_path: Path) -> None:
    """10 s while calm; 3 s from half of 4.5 % on, and while a close cannot be finished."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(100)
            assert pace_of(house, since=0.0) == {10}
            house.prices(SOL=102.3)
            await house.wait(15)
            alert_since = house.clock.now()
            await house.wait(60)
            assert guard.book.incident is None
            assert pace_of(house, since=alert_since) == {3}
            house.prices(SOL=100)
            await house.wait(15)
            calm_since = house.clock.now()
            await house.wait(60)
            assert pace_of(house, since=calm_since) == {10}
            house.venue.plan("submit_close", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            house.prices(SOL=100)
            await house.wait(15)
            open_since = house.clock.now()
            await house.wait(60)
            assert guard.book.incident is not None
            assert pace_of(house, since=open_since) == {3}

    play(story)


def test_a_failing_venue_is_asked_again_for_ever_at_most_30_s_apart(tmp_path: Path) -> None:
    """The pauses grow to 30 s and stay there (lesson 12)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        house.venue.plan("fetch", Trouble.UNAVAILABLE)
        async with house.guard():
            await house.wait(1200)
            times = [call.at for call in house.venue.called("fetch_reading")]
            pauses = [later - earlier for earlier, later in pairwise(times)]
            assert max(pauses) <= 31
            assert len(times) >= 1200 / 31

    play(story)


def test_an_account_that_only_the_greeting_fails_for_is_guarded(tmp_path: Path) -> None:
    """Market rules and the first greeting help; without them the account is read and closed."""

    async def story() -> None:
        house = House(folder=tmp_path)
        house.venue.plan("^start$|limits", Trouble.UNAVAILABLE)
        async with house.guard():
            await house.wait(35)
            assert not house.stops_a_bot()
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=20)

    play(story)


def test_a_scope_whose_task_hangs_goes_blind_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever holds a tick up for ever, the heartbeat goes on and the bots are stopped."""

    async def hang(*_: Any, **__: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            monkeypatch.setattr(guard.guardian._watches[SCOPE].reader, "observe", hang)
            for _ in range(200):
                await house.wait(1)
                assert heartbeat_age(house) <= 30
            assert house.stops_a_bot()
            assert house.lock()["mode"] == "blind"
            assert "no attempt to read it has ended" in house.audit("blind")[0].message

    play(story)


def test_a_slow_venue_delays_only_itself(tmp_path: Path) -> None:
    """One of two accounts hangs; the other is closed as fast as alone."""
    other = ScopeId("binance_sub1_futures")
    book = BookPolicy(name=BookName(other), scopes=(other,), stages=STAGE_DEFAULTS)

    async def story() -> None:
        house = House(folder=tmp_path)
        house.policy = replace(house.policy, books=(*house.policy.books, book))
        second = House(folder=tmp_path, clock=house.clock)
        house.others[other] = MemoryVenue(exchange=second.exchange, clock=house.clock, scope=other)
        async with house.guard() as guard:
            await house.wait(35)
            house.others[other].plan("fetch", Trouble.HANG)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=17)
            await house.wait(150)
            assert guard.guardian.memory.book(BookName(other)).locks[0].mode is LockMode.BLIND
            assert {lock["mode"] for lock in house.lock()["locks"]} == {"stage", "blind"}

    play(story)


# --- restarts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [ONE_WAY, HEDGED], ids=["one-way", "hedge"])
def test_a_power_cut_at_any_moment_closes_nothing_twice(
    tmp_path: Path, seed: dict[str, str]
) -> None:
    """Whenever it dies after the trigger, the next one ends with exactly half left (lesson 26)."""
    short = leg_of(seed, Leg.SHORT)

    async def story(folder: Path, dies_after_s: float) -> None:
        house = House(folder=folder, seed=seed)
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30, step_s=0.01)
            await house.wait(dies_after_s)
            house.venue.plan("submit", Trouble.HANG)  # what it would still send is lost with it
            await guard.crash()
        house.venue.calm()
        await house.wait(2)
        async with house.guard() as guard:
            await house.until(
                lambda: guard.book.incident is None and guard.book.stage is Stage.REDUCED_TOP_RISK,
                within_s=60,
            )
            assert house.stops_a_bot()
            await house.wait(20)
        assert house.held("SOL", short) == -50
        assert shrinks_only(house)
        ids = [fill["client_id"] for fill in house.fills()]
        assert len(ids) == len(set(ids))

    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        play(lambda: story(folder, dies_after_s=0.025 * number))  # noqa: B023 - played at once


def test_a_restart_goes_on_before_it_reads_anything_else(tmp_path: Path) -> None:
    """An open incident comes first; its account may still be unreadable as a whole (lesson 14)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.LOST_BEFORE)
            house.prices(SOL=105)
            await house.until(lambda: len(house.venue.sent) > 0, within_s=30)
            await guard.crash()
        house.venue.calm()
        house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
        await house.wait(20)
        async with house.guard():
            await house.until(lambda: house.held("SOL") == -50, within_s=10)

    play(story)


def test_a_restart_keeps_stage_lock_and_peak(tmp_path: Path) -> None:
    """A stopped guard's lock stands, and the fall that went on meanwhile is seen."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)
        assert house.stops_a_bot()
        await house.wait(120)
        house.prices(SOL=112)
        async with house.guard() as guard:
            await house.wait(1)
            assert guard.book.stage is Stage.REDUCED_TOP_RISK
            await house.until(lambda: house.held("SOL") == 0, within_s=30)

    play(story)


# --- shutdown ---------------------------------------------------------------------------------


def test_a_stop_in_the_middle_of_a_round_keeps_its_outcome(tmp_path: Path) -> None:
    """SIGTERM while a close is on its way: the round ends, is recorded, and no other begins."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit_close", Trouble.SLOW, seconds=3.0)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.01)
            began = house.clock.now()
            await guard.stop()
            assert house.clock.now() - began <= 5
            assert len(house.venue.sent) == 1
            (book,) = house.status().books
            assert book.incident is not None
            assert book.incident.status is IncidentStatus.OPEN
            records = await guard.store.order_records(book.incident.incident_id)
            assert [record.outcome is not None for record in records] == [True]
            assert not guard.recorder.is_behind

    play(story)


@pytest.mark.parametrize("on", ["fetch", "submit"])
def test_a_stop_does_not_wait_for_a_venue_that_hangs(tmp_path: Path, on: str) -> None:
    """Readings are cut off at once; an order in hand is waited for until its deadline."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            if on == "submit":
                house.venue.plan(on, Trouble.HANG)
                house.prices(SOL=105)
                await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.01)
            else:
                house.venue.plan(on, Trouble.HANG)
                await house.wait(15)
            began = house.clock.now()
            await guard.stop()
            assert house.clock.now() - began <= (12 if on == "submit" else 1)

    play(story)


def test_a_stop_between_two_rounds_begins_no_other(tmp_path: Path) -> None:
    """A close that keeps being refused pauses; SIGTERM ends the pause and sends nothing more."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.01)
            await house.wait(0.1)
            began = house.clock.now()
            await guard.stop()
            assert house.clock.now() - began <= 0.1
            assert len(house.venue.sent) == 1

    play(story)


# --- dry run ----------------------------------------------------------------------------------


def test_a_dry_run_sends_nothing_and_locks_nobody(tmp_path: Path) -> None:
    """It decides as live does; incidents are simulated, stage 3 re-arms by itself (lesson 37)."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy(dry_run=True)))
        house.bot_order("SOLUSDT", "SELL", type="LIMIT", quantity=1, price=130)
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=115)
            await house.until(lambda: guard.book.stage is Stage.ALL_CLOSED, within_s=30)
            await house.wait(5)
            assert not house.stops_a_bot()
            assert house.lock()["would_lock"][0]["stage"] == 3
            await house.until(lambda: guard.book.stage is Stage.NORMAL, within_s=1000, step_s=5)
        assert house.venue.sent == []
        assert house.held("SOL") == -100
        assert house.open_orders == 1
        assert house.events(dry_run=True).count("incident_simulated") == 1
        assert house.events() == []

    play(story)


def test_a_dry_run_leaves_a_live_guards_lock_in_force(tmp_path: Path) -> None:
    """Bots that a live stage 3 stopped are not freed by a rehearsal on the same files."""
    live = LockEntry(
        scope=BOOK,
        stage=Stage.ALL_CLOSED,
        mode=LockMode.STAGE,
        reason="killswitch_stage_3_close_all_positions",
        created_ts=1.0,
        expires_ts=FOREVER_TS,
        manual_reset_required=True,
    )

    async def story() -> None:
        house = House(folder=tmp_path, policy=policy(dry_run=True), standing=(live,))
        async with house.guard():
            await house.wait(60)
            assert house.stops_a_bot()
            assert house.lock()["reason"] == live.reason

    play(story)


# --- the operator -----------------------------------------------------------------------------


def test_a_reset_with_a_close_open_needs_force_and_ends_the_closing(tmp_path: Path) -> None:
    """Without --force it is refused; with it nothing more is sent, also after a restart."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            first = house.ask("reset")
            await house.until(lambda: read_answer(house.db_path, first) is not None, within_s=5)
            answer = read_answer(house.db_path, first)
            assert answer is not None and not answer.accepted
            assert house.stops_a_bot()
            second = house.ask("reset", force="true")
            await house.until(lambda: read_answer(house.db_path, second) is not None, within_s=5)
            await house.until(lambda: not house.stops_a_bot(), within_s=2)
            house.venue.calm()
            house.prices(SOL=100)
            sent = len(house.venue.sent)
            await house.wait(60)
            assert len(house.venue.sent) == sent
            assert guard.book.stage is Stage.NORMAL
        async with house.guard() as guard:
            await house.wait(30)
            assert guard.book.incident is None
            assert len(house.venue.sent) == sent
            assert house.held("SOL") == -100

    play(story)


@pytest.mark.parametrize("slow", ["fetch_positions", "find_order", "fetch_orders"])
def test_a_reset_in_the_middle_of_a_round_stops_the_orders_of_that_round(
    tmp_path: Path, slow: str
) -> None:
    """Between reading and sending the incident may end: then nothing is sent for it."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.LOST_BEFORE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            house.venue.plan(slow, Trouble.SLOW, seconds=1.9)
            rounds = len(house.venue.called(slow))
            await house.until(lambda: len(house.venue.called(slow)) > rounds, within_s=40)
            house.ask("reset", force="true")
            sent = len(house.venue.sent)
            await house.until(lambda: guard.book.stage is Stage.NORMAL, within_s=3)
            late = len(house.venue.sent) - sent
            house.venue.calm()
            house.prices(SOL=100)
            await house.wait(60)
            assert len(house.venue.sent) - sent == late <= 1
            (book,) = house.status().books
            assert book.incident is None

    play(story)


def test_a_request_is_decided_once_while_its_answer_cannot_be_written(tmp_path: Path) -> None:
    """A reset that repeats every second would forget every peak: it waits for the database."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            request = house.ask("reset")
            guard.store.is_down = True
            await house.wait(30)
            moved = guard.book.baseline_at
            await house.wait(30)
            assert guard.book.baseline_at == moved
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            guard.store.is_down = False
            await house.until(lambda: read_answer(house.db_path, request) is not None, within_s=15)

    play(story)


def test_a_lock_is_lifted_only_after_its_record_is_safe(tmp_path: Path) -> None:
    """Sight returns while the database fails: bots stay stopped until it is written."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("fetch", Trouble.UNAVAILABLE)
            await house.until(house.stops_a_bot, within_s=200)
            guard.store.is_down = True
            house.venue.calm()
            await house.wait(90)
            assert guard.book.locks == ()
            assert house.stops_a_bot()
            assert heartbeat_age(house) <= 30
            guard.store.is_down = False
            await house.until(lambda: not house.stops_a_bot(), within_s=25)

    play(story)


def test_a_request_nobody_answered_for_long_is_refused(tmp_path: Path) -> None:
    """A reset of last night must not free the bots this morning."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)
        request = house.ask("reset")
        await house.wait(700)
        async with house.guard() as guard:
            await house.wait(5)
            answer = read_answer(house.db_path, request)
            assert answer is not None
            assert not answer.accepted
            assert "ask again" in answer.message
            assert guard.book.stage is Stage.REDUCED_TOP_RISK

    play(story)


# --- faults of our own ------------------------------------------------------------------------


def test_a_fault_in_deciding_locks_the_book_and_the_closing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A computation that fails never means "no lock": blind, and targets are closed (lesson 11)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)

            def broken(memory: Any, observation: Any, its_policy: Any) -> Decision:
                if any(seen.reading is not None for seen in observation.scopes):
                    raise ValueError("an odd number")
                return decide(memory, observation, its_policy)

            monkeypatch.setattr("guardian.decide", broken)
            await house.wait(30)  # the drive in hand has come to its end
            house.venue.calm()
            await house.until(lambda: house.held("SOL") == -50, within_s=40)
            await house.until(
                lambda: "blind" in {lock["mode"] for lock in house.lock()["locks"]}, within_s=200
            )
            assert house.audit("task_failed") != []
            monkeypatch.undo()

    play(story)


def test_what_is_only_shown_may_fail(tmp_path: Path) -> None:
    """Whoever is shown the decisions raises at each: told, and guarded all the same (lesson 31)."""

    def trip(_decision: Decision) -> None:
        raise KeyError("a screen that is gone")

    async def story() -> None:
        house = House(folder=tmp_path, on_decision=trip)
        async with house.guard():
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
        assert "a screen that is gone" in house.audit("task_failed")[0].message

    play(story)


def test_a_cancellation_from_inside_does_not_end_a_task_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that cancels its own future must not leave an account unwatched."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(15)
            reader = guard.guardian._watches[SCOPE].reader
            real = reader.observe

            async def cancelled(*_: Any, **__: Any) -> None:
                raise asyncio.CancelledError

            monkeypatch.setattr(reader, "observe", cancelled)
            await house.wait(30)
            monkeypatch.setattr(reader, "observe", real)
            assert len(house.audit("task_failed")) == 1
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=60)

    play(story)


def test_a_broken_invariant_ends_the_guard_with_every_bot_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own bug: it is recorded, the lock says so, and the process ends to be restarted."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            guard.is_crashed = True
            await house.wait(15)

            def broken(*_: Any) -> Decision:
                raise InvariantViolation("a size that must never be")

            monkeypatch.setattr("guardian.decide", broken)
            with pytest.raises(InvariantViolation):
                await guard.running
            assert house.stops_a_bot()
            assert house.lock()["reason"] == "blind_internal_fault"
            assert "must never be" in house.audit("task_failed")[0].message
            monkeypatch.undo()
        async with house.guard():
            await house.wait(15)
            assert not house.stops_a_bot()

    play(story)


def test_a_start_that_cannot_decide_locks_every_bot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each restart ends in the same way, so nobody would ever tighten what the last run left."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
        assert not house.stops_a_bot()

        def broken(*_: Any) -> Decision:
            raise KeyError("what an odd memory holds")

        monkeypatch.setattr("guardian.decide", broken)
        guard = await house.assemble()
        with pytest.raises(InvariantViolation, match="no first decision"):
            await guard.guardian.run()
        await guard.switch.aclose()
        await guard.store.aclose()
        assert house.stops_a_bot()
        assert "an odd memory" in house.audit("task_failed")[0].message

    play(story)


def test_a_fault_beside_a_decision_keeps_it_from_neither_record_nor_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the switch makes of a decision comes between its taking effect and its writing."""

    def trip(*_given: object, **_named: object) -> None:
        raise KeyError("an odd account")

    monkeypatch.setattr("switch_watch.SwitchWatch.follow", trip)

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
            house.prices(SOL=105)
            await house.wait(40)
            assert house.held("SOL") == -50
            assert house.stops_a_bot()
        assert "following the switch" in house.audit("task_failed")[0].message
        assert house.audit("trigger")

    play(story)


def test_a_lock_that_cannot_be_written_at_the_start_ends_the_start(tmp_path: Path) -> None:
    """Nobody would be stopped by it."""

    async def story() -> None:
        house = House(folder=tmp_path)
        house.lock_fails = True
        async with house.guard() as guard:
            guard.is_crashed = True
            with pytest.raises(LockError):
                await guard.running
            assert house.venue.calls == []

    play(story)


# --- the clock, and a single look -------------------------------------------------------------


def test_a_clock_set_forward_shortens_no_cooldown(tmp_path: Path) -> None:
    """An hour's jump: what was left of 5 minutes stays left, and it is told."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await house.wait(15)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30)
            await house.until(lambda: guard.book.incident is None, within_s=15)
            house.clock.jump(3600)
            await house.wait(240)
            assert guard.book.stage is Stage.REDUCED_TOP_RISK
            assert house.stops_a_bot()
            assert len(house.audit("clock_moved")) == 1
            await house.until(lambda: guard.book.stage is Stage.NORMAL, within_s=100, step_s=5)

    play(story)


def test_a_single_look_keeps_the_reading_and_touches_nothing_else(tmp_path: Path) -> None:
    """`--once` in the middle of a crash: no stage, no lock, no order; the reading is stored."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(15)
        house.prices(SOL=120)
        before = house.lock()
        guard = await house.assemble()
        for _ in range(5):
            await house.wait(3)
            assert await guard.guardian.run_once() == {SCOPE: ""}
        assert guard.book.streaks == ()
        assert house.venue.sent == []
        assert house.lock() == before
        assert house.status().scopes[0].equity == 8000.0
        house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
        await house.wait(3)
        assert await guard.guardian.run_once() == {SCOPE: "fetch_reading: down"}
        await guard.store.aclose()

    play(story)
