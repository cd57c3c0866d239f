"""How soon a scope is read again."""

from __future__ import annotations

import pytest

from scope_watch import ScopeWatch
from tests.memory_venue import SCOPE
from tests.test_scope_reader import Desk
from tests.virtual_house import play, policy


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
