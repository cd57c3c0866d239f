"""How soon a scope is read again."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from decision import decide
from executor import Executor
from logger import Logger
from memory import OrderRecord, Records
from model import IncidentId, ScopeObservation
from scope_watch import ScopeWatch
from tests.decision_values import (
    BOOK_POLICY,
    ONE,
    ONLY_ONE,
    TWO,
    Guard,
    calm,
    dark,
    live,
    losing,
    seen,
)
from tests.memory_venue import SCOPE, Trouble
from tests.test_scope_reader import Desk
from tests.virtual_house import Logbook, play, policy


@pytest.mark.parametrize(
    ("failures", "calm_s", "danger_s"),
    [(0, 10, 3), (1, 10, 3), (2, 15, 4.5), (3, 22.5, 6), (4, 30, 6), (1000, 30, 6)],
)
def test_pauses_grow_from_the_second_failure_on_and_less_in_danger(
    failures: int, calm_s: float, danger_s: float
) -> None:
    """10 x 1.5 each time, at most 30; in danger 3 x 1.5, at most 6: a fall goes on meanwhile."""

    async def story() -> None:
        watch = ScopeWatch(scope=SCOPE, reader=Desk().reader, executor=None)
        watch.reader.failures = failures
        assert watch.pace(policy(), is_closing=False) == calm_s
        assert watch.pace(policy(), is_closing=True) == danger_s
        watch.is_alert = True
        assert watch.pace(policy(), is_closing=False) == danger_s
        slow = policy(poll_s=45, alert_poll_s=20)
        assert watch.pace(slow, is_closing=True) == 20

    play(story)


async def waited(
    watch: ScopeWatch, desk: Desk, guard: Guard, look: ScopeObservation
) -> tuple[ScopeObservation, float]:
    """What is decided on, and how long it was held."""
    await desk.clock.sleep(look.asked_at - desk.clock.now())
    began = desk.clock.monotonic()
    told = await watch.wait_for_records(
        look, memory=guard.memory, policy=guard.policy, clock=desk.clock
    )
    return told, desk.clock.monotonic() - began


def about_to_act() -> Guard:
    """Two readings of 4.7 % that nothing explains: the third completes stage 1."""
    guard = calm(ONLY_ONE)
    for at in (10, 13):
        guard.look(seen(at, *losing(0.0), wallet=9_530.0))
    return guard


def executor_at(desk: Desk) -> Executor:
    """One that writes nothing down and knows of nothing earlier."""

    async def record(_records: Records, _deadline_s: float) -> bool:
        return True

    async def load(_incident: IncidentId, _since: float) -> tuple[OrderRecord, ...]:
        return ()

    return Executor(
        scope=SCOPE,
        venue=desk.venue,
        clock=desk.clock,
        log=cast("Logger", Logbook()),
        record=record,
        load_orders=load,
    )


def test_what_would_act_in_the_dark_is_held_until_the_records_come() -> None:
    """They answer after 0.05 s; a later reading that does not wait is not held."""

    async def story() -> None:
        desk, guard = Desk(), about_to_act()
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        told, took_s = await waited(watch, desk, guard, seen(16, *losing(0.0), wallet=9_530.0))
        assert told.has_waited
        assert took_s == pytest.approx(0.05)
        assert told.ledger is not None
        assert [one.incident.stage for one in guard.look(told).opened] == [ONE]
        told, took_s = await waited(watch, desk, guard, seen(19, *losing(0.0), wallet=9_530.0))
        assert (told.has_waited, took_s, watch.waiting_since) == (False, 0.0, None)

    play(story)


def test_a_restart_in_the_middle_of_a_streak_waits_as_well() -> None:
    """Nothing of a watch outlives the process; the streak does, and its wait is 3 s at most."""

    async def story() -> None:
        desk, guard = Desk(), about_to_act()
        desk.venue.plan("fetch_ledger", Trouble.HANG)
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        told, took_s = await waited(watch, desk, guard, seen(40, *losing(0.0), wallet=9_530.0))
        assert told.has_waited
        assert took_s == pytest.approx(3.0)
        again, took_s = await waited(watch, desk, guard, seen(44, *losing(0.0), wallet=9_530.0))
        assert (again.has_waited, took_s) == (True, 0.0)
        desk.reader.close()

    play(story)


def test_what_acts_is_not_held_by_what_waits() -> None:
    """Stage 2 is covered by records and acts; stage 3 waits, and its 3 s run meanwhile."""

    async def story() -> None:
        desk, guard = Desk(), calm(live(stages=BOOK_POLICY.stages[1:]))
        desk.venue.plan("fetch_ledger", Trouble.HANG)
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        guard.look(seen(10, *losing(0.0), wallet=9_600.0))
        guard.look(seen(13, *losing(0.0), wallet=9_200.0, ledger=()))
        guard.look(seen(14, *losing(0.0), wallet=8_900.0))
        told, took_s = await waited(watch, desk, guard, seen(16, *losing(0.0), wallet=8_900.0))
        assert (told.has_waited, took_s) == (False, 0.0)
        assert [one.incident.stage for one in guard.look(told).opened] == [TWO]
        told, took_s = await waited(watch, desk, guard, seen(17, *losing(0.0), wallet=8_900.0))
        assert told.has_waited
        assert took_s == pytest.approx(2.0)
        desk.reader.close()

    play(story)


def test_while_a_streak_runs_the_venue_is_told_how_many_closes_may_come() -> None:
    """Connections for two positions are opened before the stage acts, and not in calm."""

    async def story() -> None:
        for guard, told in ((calm(ONLY_ONE), []), (about_to_act(), [2])):
            desk = Desk()
            watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=executor_at(desk))
            watch.ask_at_once(guard.memory, guard.policy)
            assert desk.venue.readied == told
            desk.reader.close()

    play(story)


def test_a_failed_reading_is_not_held() -> None:
    """There is nothing that it could act on."""

    async def story() -> None:
        desk, guard = Desk(), about_to_act()
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        assert await waited(watch, desk, guard, dark(16)) == (dark(16), 0.0)

    play(story)


def test_what_was_tried_out_is_what_is_decided() -> None:
    """The third reading of 4.5 %, explained by prices, opens stage 1 and is not decided twice."""

    async def story() -> None:
        desk, guard = Desk(), calm(ONLY_ONE)
        for at in (10, 13):
            guard.look(seen(at, *losing(0.045)))
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        told, _ = await waited(watch, desk, guard, seen(16, *losing(0.045)))
        trial = watch.take_trial(guard.memory)
        assert trial is not None
        assert trial.observation.scopes == (told,)
        assert trial.decision == decide(guard.memory, trial.observation, guard.policy)
        assert [one.incident.stage for one in trial.decision.opened] == [ONE]
        assert watch.take_trial(guard.memory) is None

    play(story)


def test_what_was_tried_out_counts_no_more_once_anything_else_was_decided() -> None:
    """The operator's reset came in between: the same reading is decided on anew."""

    async def story() -> None:
        desk, guard = Desk(), calm(ONLY_ONE)
        guard.look(seen(10, *losing(0.045)))
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        await waited(watch, desk, guard, seen(13, *losing(0.045)))
        assert watch.take_trial(replace(guard.memory)) is None

    play(story)


def test_what_waited_for_the_records_is_decided_with_them() -> None:
    """What was tried out without them is thrown away."""

    async def story() -> None:
        desk, guard = Desk(), about_to_act()
        watch = ScopeWatch(scope=SCOPE, reader=desk.reader, executor=None)
        told, _ = await waited(watch, desk, guard, seen(16, *losing(0.0), wallet=9_530.0))
        assert told.has_waited
        assert watch.take_trial(guard.memory) is None

    play(story)
