"""What each stage would do now, by the real planner, what it costs, and how far away it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from close_previews import (
    MAX_ROUNDS,
    StageDistance,
    StagePreview,
    measure_distances,
    preview_stages,
)
from inspection import OrderPace, TradingCost
from model import (
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    Position,
    Reading,
    Side,
    Source,
    Stage,
    Symbol,
)
from policy import BookPolicy, Threshold
from tests.closing_values import LONG, SHORT, book, coin, market, order, policy, position, reading

PACE = OrderPace(most=10, within_s=1.0)
COST = TradingCost(spread=0.001, fee=0.0005)


def staged(*stages: int, never_touch: tuple[str, ...] = ()) -> BookPolicy:
    """A book with these stages."""
    return replace(
        book(never_touch=never_touch), stages=tuple(policy(Stage(stage)) for stage in stages)
    )


def losing(base: str, side: Side, quantity: str, *, loss: float) -> Position:
    """A position at a mark of 100 that has lost so much on paper."""
    return replace(position(base, side, quantity), unrealised_pnl=-loss)


def preview(
    of: Reading,
    *orders: Order,
    stages: tuple[int, ...] = (1, 2, 3),
    markets: tuple[MarketLimits, ...] = (market("SOL"), market("XRP")),
    costs: dict[str, TradingCost] | None = None,
    pace: OrderPace | None = PACE,
    never_touch: tuple[str, ...] = (),
) -> tuple[StagePreview, ...]:
    """Preview the stages of a book, 0.1 s from the venue."""
    told = {"SOLUSDT": COST, "XRPUSDT": COST} if costs is None else costs
    return preview_stages(
        reading=of,
        orders=orders,
        limits={limits.symbol: limits for limits in markets},
        book=staged(*stages, never_touch=never_touch),
        costs={Symbol(symbol): cost for symbol, cost in told.items()},
        pace=pace,
        latency_s=0.1,
    )


HELD = reading(losing("SOL", SHORT, "10", loss=300.0), losing("XRP", LONG, "20", loss=-50.0))
"""A short of 1,000 that lost 300 and a long of 2,000 that made 50."""


def test_each_stage_closes_what_the_planner_says() -> None:
    """Stage 1 half of the loser, stage 2 the losing side, stage 3 everything."""
    first, second, third = preview(HELD)
    assert [(t.key.symbol, f"{t.may_remain:f}") for t in first.targets] == [("SOLUSDT", "5.000")]
    assert [(t.key.symbol, f"{t.may_remain:f}") for t in second.targets] == [("SOLUSDT", "0")]
    assert {t.key.symbol for t in third.targets} == {"SOLUSDT", "XRPUSDT"}
    assert (first.source, first.orders, third.orders) == (Source.SHORT, 1, 2)
    assert all(one.is_finished for one in (first, second, third))


def test_costs_are_half_the_spread_and_the_fee() -> None:
    """Stage 1 closes 5 x 100: 500 x 0.001 / 2 = 0.25 and 500 x 0.0005 = 0.25."""
    first = preview(HELD, stages=(1,))[0]
    assert (first.value, first.spread_cost, first.fee_cost) == pytest.approx((500.0, 0.25, 0.25))
    assert first.cost == pytest.approx(0.5)
    assert first.uncosted == ()


def test_what_the_venue_does_not_tell_is_named_and_left_out() -> None:
    """XRP has no fee: only its spread counts, 2,000 x 0.001 / 2 = 1; SOL has nothing at all."""
    third = preview(HELD, stages=(3,), costs={"XRPUSDT": TradingCost(spread=0.001)})[0]
    assert third.uncosted == ("SOLUSDT", "XRPUSDT")
    assert (third.spread_cost, third.fee_cost) == pytest.approx((1.0, 0.0))


def test_time_is_a_read_and_the_orders_of_each_round() -> None:
    """25 parts at 10 a second: two full seconds and an answer of 0.1 s, after a read of 0.1 s."""
    markets = (market("SOL", most="4"),)
    held = reading(losing("SOL", SHORT, "100", loss=300.0))
    third = preview(held, stages=(3,), markets=markets)[0]
    assert (third.orders, third.rounds) == (25, 1)
    assert third.seconds == pytest.approx(0.1 + 2.0 + 0.1)


def test_more_parts_than_one_round_sends_take_another_round() -> None:
    """50 orders of 2: 36 in the first round, 14 in the second; 0.2 s and 3 and 1 windows."""
    markets = (market("SOL", most="2"),)
    held = reading(losing("SOL", SHORT, "100", loss=300.0))
    third = preview(held, stages=(3,), markets=markets)[0]
    assert (third.orders, third.rounds, third.is_finished) == (50, 2, True)
    assert third.seconds == pytest.approx((0.2 + 3.0) + (0.2 + 1.0))


def test_a_position_that_needs_more_rounds_than_are_followed_is_told_as_unfinished() -> None:
    """1,000 orders of 0.1 at 36 a round are 28 rounds."""
    markets = (market("SOL", most="0.1"),)
    held = reading(losing("SOL", SHORT, "100", loss=300.0))
    third = preview(held, stages=(3,), markets=markets)[0]
    assert (third.rounds, third.is_finished) == (MAX_ROUNDS, False)


def test_without_a_pace_there_is_no_time() -> None:
    """Not known is not zero."""
    assert preview(HELD, stages=(3,), pace=None)[0].seconds is None


def test_nobody_has_lost_so_nothing_would_be_closed() -> None:
    """Stages 1 and 2 close losers; stage 3 closes everything all the same."""
    winners = reading(losing("SOL", LONG, "10", loss=-300.0))
    first, second, third = preview(winners)
    assert first.targets == second.targets == ()
    assert (first.source, first.orders, first.seconds) == (Source.UNKNOWN, 0, 0.0)
    assert third.orders == 1


def test_cancels_are_those_of_every_round() -> None:
    """An entry order goes at once, the stop of the position when nothing of it is left."""
    stop = order("1", "SOL", OrderSide.BUY, reduce_only=True, kind=OrderKind.CONDITIONAL)
    entry = order("2", "XRP", OrderSide.BUY, "1")
    first, _, third = preview(HELD, entry, stop)
    assert (first.cancels, third.cancels) == (1, 2)


def test_what_must_not_be_touched_is_in_no_preview() -> None:
    """As in the real plan: stage 2 leaves it, stage 3 takes it."""
    second, third = preview(HELD, stages=(2, 3), never_touch=("SOLUSDT",))
    assert not any(target.key.symbol == "SOLUSDT" for target in second.targets)
    assert any(target.key.symbol == "SOLUSDT" for target in third.targets)


def test_a_symbol_without_market_rules_is_closed_by_its_own_digits() -> None:
    """As it would be in earnest."""
    third = preview(HELD, stages=(3,), markets=())[0]
    assert (third.orders, third.is_finished) == (2, True)


# --- distances --------------------------------------------------------------------------------


def distances(of: Reading, *fractions: float) -> tuple[StageDistance, ...]:
    """How far it is to stages with these thresholds."""
    stages = tuple(
        replace(
            policy(Stage(number)),
            thresholds=(
                Threshold(window_s=3600.0, fraction=fraction + 0.02),
                Threshold(window_s=900.0, fraction=fraction),
            ),
        )
        for number, fraction in enumerate(fractions, start=1)
    )
    return measure_distances(reading=of, book=replace(book(), stages=stages))


def test_distances_by_side_and_net() -> None:
    """Equity 10,000 at 5 %: 500 to lose; 2,000 long, 8,000 short.

    All against: 500 / 10,000 = 5 %. Longs alone 25 %, shorts alone 6.25 %. The market: net short
    6,000, so a rise of 8.33 %.
    """
    held = reading(position("SOL", LONG, "20"), position("XRP", SHORT, "80"))
    (found,) = distances(held, 0.05)
    assert (found.loss, found.threshold.window_s) == (500.0, 900.0)
    assert found.everything == pytest.approx(0.05)
    assert found.longs_down == pytest.approx(0.25)
    assert found.shorts_up == pytest.approx(0.0625)
    assert found.market == pytest.approx(0.0833, abs=1e-4)


def test_a_net_long_is_hurt_by_a_fall_and_coins_count_as_longs() -> None:
    """3,000 of coins and 2,000 of longs: 500 are 10 % down; there is nothing short."""
    held = reading(position("SOL", LONG, "20"), coins=(coin("BTC", "30"),))
    (found,) = distances(held, 0.05)
    assert found.market == pytest.approx(-0.1)
    assert found.shorts_up is None


def test_longs_cannot_fall_by_more_than_all() -> None:
    """400 of longs can never lose 500; shorts of 400 can, at a rise of 125 %."""
    (of_longs,) = distances(reading(position("SOL", LONG, "4")), 0.05)
    assert (of_longs.everything, of_longs.longs_down, of_longs.market) == (None, None, None)
    (of_shorts,) = distances(reading(position("SOL", SHORT, "4")), 0.05)
    assert of_shorts.everything == of_shorts.shorts_up == of_shorts.market == pytest.approx(1.25)


def test_a_full_hedge_has_no_distance_by_the_whole_market() -> None:
    """What one side loses the other makes."""
    held = reading(position("SOL", LONG, "20"), position("XRP", SHORT, "20"))
    (found,) = distances(held, 0.05)
    assert found.market is None


@pytest.mark.parametrize("equity", [0.0, -5.0, float("nan")])
def test_without_an_equity_there_is_no_distance(equity: float) -> None:
    """A fraction of nothing is nothing."""
    held = replace(reading(position("SOL", LONG, "20")), equity=equity)
    assert distances(held, 0.05) == ()
