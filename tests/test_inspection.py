"""How long so many orders take at a venue's pace."""

from __future__ import annotations

import pytest

from inspection import OrderPace

PACE = OrderPace(most=10, within_s=1.0)


@pytest.mark.parametrize(
    ("orders", "seconds"),
    [
        (0, 0.0),
        # Within the allowance all go out at once: one round trip of 0.2 s.
        (1, 0.2),
        (10, 0.2),
        # The eleventh waits for the next window, the twenty-first for the one after.
        (11, 1.2),
        (21, 2.2),
    ],
)
def test_orders_beyond_the_allowance_wait_for_the_next_window(orders: int, seconds: float) -> None:
    """10 orders a second, 0.2 s for an answer."""
    assert PACE.seconds_for(orders, latency_s=0.2) == pytest.approx(seconds)
