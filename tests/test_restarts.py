"""What survives a stop, a long downtime and a clock that is set, with the real database.

Equity is 10,000 and 100 SOL are short from 100: each 1 that SOL rises costs 1 %. Stage 1 fires at
4.5 % within 15 minutes after three readings, stage 2 at 7 % after two.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from configuration.schema import STAGE_DEFAULTS
from memory import IncidentStatus
from model import Done, Stage, Trust
from policy import Policy
from tests.memory_venue import KEY, SCOPE, Trouble
from tests.virtual_house import BOOK, Guard, House, play, policy

pytestmark = pytest.mark.usefixtures("without_fsync")

HOUR_S = 3_600.0
REST_S = 300.0


def short_rests(of: Policy) -> Policy:
    """The policy with cooldowns of 5 minutes."""
    stages = tuple(replace(stage, cooldown_s=REST_S) for stage in STAGE_DEFAULTS)
    return replace(of, books=tuple(replace(book, stages=stages) for book in of.books))


def take(house: House, amount: int) -> None:
    """Money leaves, and no record of it can be read."""
    house.venue.plan("fetch_ledger", Trouble.UNAVAILABLE)
    house.exchange.set_time(house.clock.now())
    house.exchange.transfer(KEY, "USDT", Decimal(-amount))


async def at_stage_1(house: House, guard: Guard) -> None:
    """Stage 1 has acted and its incident is done."""
    await house.wait(15)
    house.prices(SOL=105)
    await house.until(lambda: house.held("SOL") == -50, within_s=30)
    await house.until(lambda: guard.book.incident is None, within_s=15)


async def two_of_three(house: House, guard: Guard) -> None:
    """Stage 1 needs one more reading."""
    await house.wait(15)
    house.prices(SOL=105)
    await house.until(
        lambda: guard.book.streak(Stage.REDUCED_TOP_RISK).count == 2, within_s=20, step_s=0.02
    )


# --- downtime -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "sol", "left"),
    [
        (5, 105, Decimal(-50)),  # longer than 15 min and 1 h: stage 1 after three readings
        (5, 108, Decimal(0)),  # stage 2 after two
        (23, 105, Decimal(-50)),
        (25, 105, Decimal(-100)),  # nothing before is younger than 24 h: a new peak
    ],
)
def test_a_fall_that_happened_while_the_guard_was_down_is_acted_on(
    tmp_path: Path, hours: float, sol: float, left: Decimal
) -> None:
    """The last trusted reading before the windows counts, one alone proves nothing (lesson 13)."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard():
            await house.wait(60)
        await house.wait(hours * HOUR_S)
        house.prices(SOL=sol)
        began = len(house.venue.called("fetch_reading"))
        async with house.guard() as guard:
            await house.wait(1)
            assert len(house.venue.called("fetch_reading")) == began + 1
            assert house.venue.sent == []
            await house.wait(30)
            assert house.held("SOL") == left
            assert guard.book.stage is (Stage.NORMAL if left == -100 else Stage(1 if left else 2))

    play(story)


def test_an_incident_that_expired_while_the_guard_was_down_is_tried_first(tmp_path: Path) -> None:
    """Its cooldown has passed; the venue takes the close now, so that it is done and rests."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            await guard.crash()
        house.venue.calm()
        await house.wait(2 * REST_S)
        async with house.guard() as guard:
            await house.until(lambda: house.held("SOL") == -50, within_s=5)
            await house.until(lambda: guard.book.incident is None, within_s=20)
        assert "incident_expired" not in house.events()
        (book,) = house.status().books
        assert book.cooldowns[0] > house.clock.now()

    play(story)


@pytest.mark.parametrize("trouble", [Trouble.REFUSE, Trouble.HANG])
def test_an_incident_that_expired_while_the_guard_was_down_ends_if_nothing_helps(
    tmp_path: Path, trouble: Trouble
) -> None:
    """Tried once more, then EXPIRED with an alert: no cooldown or baseline, streaks decide anew."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit", trouble)
            house.prices(SOL=105)
            await house.until(lambda: bool(house.venue.sent), within_s=30)
            first = guard.book.incident
            await guard.crash()
        await house.wait(2 * REST_S)
        sent = len(house.venue.sent)
        async with house.guard() as guard:
            began = house.clock.now()
            await house.wait(0.1)
            assert house.stops_a_bot()
            await house.until(lambda: "incident_expired" in house.events(), within_s=60)
            assert len(house.venue.sent) > sent
            (expired,) = house.audit("incident_expired")
            assert expired.at > began
            assert guard.book.cooldowns == (0.0, 0.0, 0.0)
            assert guard.book.stage_baselines == (0.0, 0.0, 0.0)
            house.venue.calm()
            await house.until(lambda: house.held("SOL") == -50, within_s=60)
            assert first is not None
            assert guard.book.incident is not None
            assert guard.book.incident.incident_id != first.incident_id
            assert guard.book.incident.status is IncidentStatus.OPEN

    play(story)


# --- timers over a restart ----------------------------------------------------------------------


@pytest.mark.parametrize("is_crash", [False, True])
def test_a_suspicion_goes_on_where_it_was(tmp_path: Path, is_crash: bool) -> None:
    """20 % are missing and nothing explains it: a loss after 120 s, the downtime included."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            take(house, 2_000)
            memory = guard.guardian.memory
            await house.until(
                lambda: guard.guardian.memory.scope(SCOPE).suspicion is not None, within_s=15
            )
            began = house.clock.now()
            await house.wait(60)
            assert memory.scope(SCOPE).suspicion is None
            if is_crash:
                await guard.crash()
        await house.wait(30)
        async with house.guard() as guard:
            await house.wait(20)
            assert guard.guardian.memory.scope(SCOPE).suspicion is not None
            await house.until(lambda: "unexplained_loss" in house.events(), within_s=30)
            (loss,) = house.audit("unexplained_loss")
            assert 118 <= loss.at - began <= 126

    play(story)


@pytest.mark.parametrize(("down_s", "acts_within_s"), [(20.0, 1.0), (70.0, None)])
def test_a_streak_goes_on_for_a_minute(
    tmp_path: Path, down_s: float, acts_within_s: float | None
) -> None:
    """Two of three readings, then a stop: the third counts within 60 s, later they begin anew."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await two_of_three(house, guard)
            assert house.venue.sent == []
        await house.wait(down_s)
        async with house.guard() as guard:
            took = await house.until(lambda: bool(house.venue.sent), within_s=20, step_s=0.05)
        if acts_within_s is None:
            assert 6 <= took <= 8  # three readings of its own, 3 s apart
        else:
            assert took <= acts_within_s

    play(story)


def test_a_streak_outlives_a_short_darkness_and_not_a_long_one(tmp_path: Path) -> None:
    """Unread for 20 s: two of three still count. Unread for 70 s: counted anew."""

    async def story(folder: Path, dark_s: float) -> int:
        house = House(folder=folder)
        async with house.guard() as guard:
            await two_of_three(house, guard)
            house.venue.plan("fetch_reading", Trouble.UNAVAILABLE)
            await house.wait(dark_s)
            house.venue.calm()
            read = len(house.venue.called("fetch_reading"))
            await house.until(lambda: bool(house.venue.sent), within_s=60, step_s=0.02)
            return len(house.venue.called("fetch_reading")) - read

    for name, dark_s, readings in (("short", 20, 1), ("long", 70, 3)):
        folder = tmp_path / name
        folder.mkdir()
        assert play(lambda: story(folder, dark_s)) == readings  # noqa: B023 - played at once


def test_a_cooldown_goes_on_over_restarts(tmp_path: Path) -> None:
    """Of 5 minutes 100 s have passed, then two starts: armed again no sooner and no later."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await at_stage_1(house, guard)
            until = guard.book.cooldowns[0]
            await house.wait(100)
            await guard.crash()
        await house.wait(50)
        async with house.guard() as guard:
            await house.wait(20)
        async with house.guard() as guard:
            while house.clock.now() < until - 1:
                assert guard.book.stage is Stage.REDUCED_TOP_RISK
                assert house.stops_a_bot()
                await house.wait(1)
            await house.until(lambda: guard.book.stage is Stage.NORMAL, within_s=15)
            assert not house.stops_a_bot()
            assert len(house.audit("trigger")) == 1

    play(story)


# --- a clock that is set within a run -----------------------------------------------------------

JUMPS = pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 26 * HOUR_S])


@JUMPS
def test_a_clock_that_is_set_ends_no_suspicion(tmp_path: Path, jump_s: float) -> None:
    """In the middle of 120 s of doubt: the loss comes 120 s after the doubt began."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            take(house, 2_000)
            await house.until(
                lambda: guard.guardian.memory.scope(SCOPE).suspicion is not None, within_s=15
            )
            await house.wait(60)
            house.clock.jump(jump_s)
            await house.wait(55)
            assert guard.guardian.memory.scope(SCOPE).suspicion is not None
            assert "unexplained_loss" not in house.events()
            await house.until(lambda: "unexplained_loss" in house.events(), within_s=12)
            assert house.events().count("clock_moved") == 1

    play(story)


@JUMPS
def test_a_clock_that_is_set_ends_no_streak(tmp_path: Path, jump_s: float) -> None:
    """Two of three readings, the clock is set, and the third acts."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await two_of_three(house, guard)
            house.clock.jump(jump_s)
            took = await house.until(lambda: bool(house.venue.sent), within_s=20, step_s=0.02)
            assert took <= 3.5

    play(story)


@JUMPS
def test_a_clock_that_is_set_moves_no_cooldown(tmp_path: Path, jump_s: float) -> None:
    """What was left of 5 minutes is left, and bots stay out for as long."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await at_stage_1(house, guard)
            left_s = guard.book.cooldowns[0] - house.clock.now()
            await house.wait(60)
            house.clock.jump(jump_s)
            await house.wait(left_s - 65)
            assert guard.book.stage is Stage.REDUCED_TOP_RISK
            assert house.stops_a_bot()
            await house.until(lambda: guard.book.stage is Stage.NORMAL, within_s=20)

    play(story)


@JUMPS
def test_a_clock_that_is_set_neither_blinds_nor_alerts(tmp_path: Path, jump_s: float) -> None:
    """The silence counts in seconds that passed, and an open incident is as old as it was."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            house.clock.jump(jump_s)
            await house.wait(40)
            assert "blind" not in house.events()
            house.venue.plan("submit", Trouble.REFUSE)
            house.prices(SOL=105)
            await house.until(lambda: guard.book.incident is not None, within_s=30)
            house.clock.jump(-jump_s)
            await house.wait(25)
            assert "incident_stuck" not in house.events()
            await house.wait(10)
            assert house.events().count("incident_stuck") == 1

    play(story)


# --- a clock that is set between two runs -------------------------------------------------------


def test_a_clock_set_back_between_runs_shortens_no_cooldown(tmp_path: Path) -> None:
    """An hour back: the cooldown ends at the time it was to end at, so it lasts longer."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await at_stage_1(house, guard)
            until = guard.book.cooldowns[0]
        house.clock.jump(-HOUR_S)
        async with house.guard() as guard:
            await house.wait(2 * REST_S)
            assert guard.book.cooldowns[0] == until
            assert guard.book.stage is Stage.REDUCED_TOP_RISK
            assert house.stops_a_bot()

    play(story)


def test_a_clock_set_back_between_runs_hides_no_fall(tmp_path: Path) -> None:
    """Peak and streak are of an hour ahead: the fall is confirmed by three new readings."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(45)
            await two_of_three(house, guard)
        house.clock.jump(-HOUR_S)
        async with house.guard() as guard:
            took = await house.until(lambda: bool(house.venue.sent), within_s=30, step_s=0.05)
            assert 5 <= took <= 10
            assert guard.guardian.memory.scope(SCOPE).last_trusted is not None
            await house.until(lambda: house.held("SOL") == -50, within_s=5)
        assert house.events().count("clock_set_back") == 1
        (book,) = house.status().books
        assert book.name == BOOK
        assert house.status().scopes[0].trust is Trust.TRUSTED

    play(story)


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_a_suspicion_survives_a_clock_set_between_runs(tmp_path: Path, jump_s: float) -> None:
    """Set back it keeps its age; set forward it has lasted longer, and is over all the sooner."""

    async def story() -> None:
        house = House(folder=tmp_path)
        async with house.guard() as guard:
            await house.wait(35)
            take(house, 2_000)
            await house.until(
                lambda: guard.guardian.memory.scope(SCOPE).suspicion is not None, within_s=15
            )
            await house.wait(60)
        house.clock.jump(jump_s)
        async with house.guard() as guard:
            took = await house.until(
                lambda: "unexplained_loss" in house.events(), within_s=75, step_s=1
            )
            if jump_s < 0:
                assert took >= 45
            await house.until(lambda: bool(house.venue.sent), within_s=20)

    play(story)


def test_an_order_that_arrived_in_the_last_moment_gets_its_outcome(tmp_path: Path) -> None:
    """The power goes while its answer is on the way; the next run finds it and says so."""

    async def story() -> None:
        house = House(folder=tmp_path, policy=short_rests(policy()))
        async with house.guard() as guard:
            await house.wait(15)
            house.venue.plan("submit_close", Trouble.LOST_AFTER)
            house.prices(SOL=105)
            await house.until(lambda: house.held("SOL") == -50, within_s=30, step_s=0.01)
            incident = guard.book.incident
            assert incident is not None
            await guard.crash()
        house.venue.calm()
        async with house.guard() as guard:
            (sent,) = await guard.store.order_records(incident.incident_id)
            assert sent.outcome is None
            await house.until(lambda: guard.book.incident is None, within_s=60)
            (found,) = await guard.store.order_records(incident.incident_id)
            assert isinstance(found.outcome, Done)
            assert (found.outcome.filled, found.client_id) == (Decimal(50), sent.client_id)
            assert house.held("SOL") == -50

    play(story)
