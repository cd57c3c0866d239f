"""Faults in a bad moment: what the guard does with them, judged by the exchange's own books."""

from __future__ import annotations

import pytest

from tests.memory_venue import Trouble
from tests.test_executor import HALF, SOL, Bench
from tests.virtual_house import play


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_close_that_got_through_ends_the_pauses_that_grew_before_it(lost: int) -> None:
    """Its effect is read at once, not 16 s later: a partial fill must not wait in a crash.

    Every lost order takes 15 s until it can no longer land. From the fill on: two reads 5 s
    apart, and the tick of 3 s that the second one waits for.
    """

    async def story() -> None:
        bench = Bench(targets=HALF)
        bench.venue.plan("submit_close", Trouble.LOST_BEFORE, times=lost)
        await bench.finish(within_s=200)
        sent_at = bench.venue.called("submit_close")[-1].at
        read_at = [call.at for call in bench.venue.called("fetch_positions") if call.at > sent_at]
        assert read_at[0] - sent_at < 1
        assert bench.clock.now() - sent_at <= 12
        assert bench.held(SOL) == -50

    play(story)
