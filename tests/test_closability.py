"""Could every position be closed now: what the venue would refuse, split or leave, and who rests.

Quantities are base units at a mark of 100.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from closability import find_split_hedges, judge_closability
from findings import Finding, Level, Topic, worth_telling
from model import (
    Asset,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    PositionMode,
    Reading,
    ScopeId,
    Stage,
)
from policy import BookPolicy
from tests.closing_values import (
    LONG,
    SHORT,
    book,
    coin,
    market,
    order,
    policy,
    position,
    reading,
)

BUY, SELL = OrderSide.BUY, OrderSide.SELL
HEDGE = PositionMode.HEDGE


def judge(
    of: Reading,
    *orders: Order,
    markets: tuple[MarketLimits, ...] = (),
    of_book: BookPolicy | None = None,
) -> tuple[Finding, ...]:
    """What is found, with every list read."""
    return judge_closability(
        reading=of,
        orders=orders,
        limits={limits.symbol: limits for limits in markets},
        book=of_book,
    )


def only(*found: Finding) -> Finding:
    """The single finding."""
    (one,) = found
    return one


def staged(fraction: str) -> BookPolicy:
    """A book whose first stage closes this part."""
    first = policy(Stage.REDUCED_TOP_RISK, fraction=fraction)
    return replace(book(), stages=(first, policy(Stage.ALL_CLOSED)))


# --- one position -----------------------------------------------------------------------------


def test_a_position_that_can_be_closed_is_said_to_be_closable() -> None:
    """One order of 10, half of it 5, both above the minimum of 0.001."""
    found = only(*judge(reading(position("SOL", LONG, "10")), markets=(market("SOL"),)))
    assert (found.level, found.topic) == (Level.FINE, Topic.CLOSABLE)


def test_an_account_without_positions_has_nothing_to_say() -> None:
    """Nothing is held, so nothing can be or not be closed."""
    assert judge(reading(), markets=(market("SOL"),)) == ()


def test_a_symbol_that_the_market_list_lacks_is_a_fault() -> None:
    """Step, minimum and maximum would be guessed from the position's own digits."""
    found = only(*judge(reading(position("NEW", LONG, "10")), markets=(market("SOL"),)))
    assert (found.level, found.topic, found.subject) == (
        Level.FAULT,
        Topic.UNKNOWN_SYMBOL,
        "NEWUSDT LONG",
    )


def test_a_market_that_does_not_trade_is_a_fault() -> None:
    """A delisted market refuses every order."""
    halted = replace(market("SOL"), is_tradable=False)
    found = only(*judge(reading(position("SOL", LONG, "10")), markets=(halted,)))
    assert (found.level, found.topic) == (Level.FAULT, Topic.NOT_TRADABLE)


@pytest.mark.parametrize(
    ("quantity", "limits", "mode", "words"),
    [
        # 0.4 is below the minimum of 0.5.
        ("0.4", market("SOL", least="0.5"), PositionMode.ONE_WAY, "(0.5 SOL)"),
        # Worth 40, and the venue wants 50 from everybody.
        ("0.4", market("SOL", value="50", waived=False), PositionMode.ONE_WAY, "50 USDT"),
        # The waiver is for reduce-only orders, which hedge mode cannot send.
        ("0.4", market("SOL", value="50"), HEDGE, "50 USDT"),
    ],
)
def test_a_position_below_the_minimum_is_dust_that_stays(
    quantity: str, limits: MarketLimits, mode: PositionMode, words: str
) -> None:
    """It is told alone: what half of it would leave does not matter any more."""
    held = reading(position("SOL", LONG, quantity), mode=mode)
    found = only(*judge(held, markets=(limits,)))
    assert (found.level, found.topic) == (Level.WARNING, Topic.TOO_SMALL)
    assert words in found.what


def test_reduce_only_waives_the_minimum_value_in_one_way_mode() -> None:
    """40 of value where 50 are wanted: closing is exempt, and so is what half of it leaves."""
    found = judge(reading(position("SOL", LONG, "0.4")), markets=(market("SOL", value="50"),))
    assert only(*found).topic is Topic.CLOSABLE


def test_what_is_less_than_a_step_stays() -> None:
    """10.4 at a step of 1: 10 can go."""
    limits = market("SOL", step="1", least="1")
    found = only(*judge(reading(position("SOL", LONG, "10.4")), markets=(limits,)))
    assert (found.level, found.topic) == (Level.WARNING, Topic.OFF_STEP)
    assert found.what.startswith("0.4 of 10.4 stays")


@pytest.mark.parametrize(
    ("quantity", "most", "words"),
    [
        # 100 / 40 is 2.5: three orders.
        ("100", "40", "takes 3 orders:"),
        # 3,700 orders of 1 are more than the 36 of one round: 103 rounds.
        ("3700", "1", "takes 3700 orders in 103 rounds:"),
    ],
)
def test_a_position_over_the_market_maximum_is_split(quantity: str, most: str, words: str) -> None:
    """The guard splits it as `order_sizes.split` does, and that takes longer."""
    limits = market("SOL", most=most)
    found = only(*judge(reading(position("SOL", SHORT, quantity)), markets=(limits,)))
    assert (found.level, found.topic) == (Level.WARNING, Topic.MARKET_MAXIMUM)
    assert words in found.what


@pytest.mark.parametrize("most", ["10", "0.0001", None])
def test_a_maximum_that_is_kept_or_makes_no_sense_splits_nothing(most: str | None) -> None:
    """Exactly the maximum is one order; a maximum below the step is none."""
    limits = market("SOL", most=most)
    found = judge(reading(position("SOL", LONG, "10")), markets=(limits,))
    assert only(*found).topic is Topic.CLOSABLE


@pytest.mark.parametrize(
    ("fraction", "topic"),
    [
        # Half of 1.5 leaves 0.75, below the minimum of 0.8.
        ("0.5", Topic.SMALL_REMAINDER),
        # A third leaves 1.005.
        ("0.33", Topic.CLOSABLE),
        # All of it leaves nothing that could be too small.
        ("1", Topic.CLOSABLE),
    ],
)
def test_a_remainder_below_the_minimum_is_closed_with_the_rest(fraction: str, topic: Topic) -> None:
    """The first stage then closes the whole position."""
    held = reading(position("SOL", LONG, "1.5"))
    found = judge(held, markets=(market("SOL", least="0.8"),), of_book=staged(fraction))
    assert only(*found).topic is topic


def test_without_stages_half_of_a_position_is_judged() -> None:
    """A book that closes no part of anything is judged by the usual part: 50 %."""
    held = reading(position("SOL", LONG, "1.5"))
    found = only(*judge(held, markets=(market("SOL", least="0.8"),), of_book=book()))
    assert found.what.startswith("closing 50 % would leave 0.75")


# --- orders in the way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ((order("1", "SOL", SELL, "10", reduce_only=True),), "a resting reduce-only order claims"),
        ((order("1", "SOL", SELL, "0", close_position=True),), "claims all of it"),
        (
            (
                order("1", "SOL", SELL, "4", reduce_only=True),
                order("2", "SOL", SELL, "3", reduce_only=True),
            ),
            "2 resting reduce-only orders claim 7 of it",
        ),
    ],
)
def test_orders_that_claim_more_than_half_are_in_the_way(
    orders: tuple[Order, ...], words: str
) -> None:
    """Of 10 the first stage leaves 5: what is claimed beyond that blocks even its close."""
    found = only(*judge(reading(position("SOL", LONG, "10")), *orders, markets=(market("SOL"),)))
    assert (found.level, found.topic) == (Level.WARNING, Topic.ORDERS_IN_THE_WAY)
    assert words in found.what


def test_a_resting_close_of_a_leg_is_in_the_way_in_hedge_mode() -> None:
    """It has no reduce-only flag there: its leg makes it one."""
    held = reading(position("SOL", SHORT, "10"), mode=HEDGE)
    found = only(*judge(held, order("1", "SOL", BUY, "10", leg=SHORT), markets=(market("SOL"),)))
    assert found.topic is Topic.ORDERS_IN_THE_WAY


@pytest.mark.parametrize(
    "harmless",
    [
        # Half of it leaves room for the first stage.
        order("1", "SOL", SELL, "5", reduce_only=True),
        # Not triggered yet.
        order("1", "SOL", SELL, "10", reduce_only=True, kind=OrderKind.CONDITIONAL),
        # The other direction, another leg, an order that opens, another symbol.
        order("1", "SOL", BUY, "10", reduce_only=True),
        order("1", "SOL", SELL, "10", leg=SHORT),
        order("1", "SOL", SELL, "10"),
        order("1", "XRP", SELL, "10", reduce_only=True),
    ],
)
def test_other_orders_are_not_in_the_way(harmless: Order) -> None:
    """Only what the venue counts against the position is."""
    found = judge(reading(position("SOL", LONG, "10")), harmless, markets=(market("SOL"),))
    assert only(*found).topic is Topic.CLOSABLE


# --- the account ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ((order("1", "ETH", BUY, kind=OrderKind.CONDITIONAL),), "a conditional order (LIMIT)"),
        (
            (
                order("1", "ETH", BUY, kind=OrderKind.CONDITIONAL),
                order("2", "ETH", SELL, reduce_only=True, kind=OrderKind.CONDITIONAL),
            ),
            "2 conditional orders (LIMIT): could open",
        ),
        (
            (order("1", "ETH", SELL, reduce_only=True, kind=OrderKind.CONDITIONAL),),
            "would act on the next one",
        ),
    ],
)
def test_conditional_orders_on_a_flat_symbol_are_named(left: tuple[Order, ...], words: str) -> None:
    """They live behind another endpoint, which an ordinary cancel-all does not reach."""
    found = only(*judge(reading(), *left, markets=(market("ETH"),)))
    assert (found.level, found.topic, found.subject) == (
        Level.WARNING,
        Topic.ORDERS_ON_FLAT_SYMBOL,
        "ETHUSDT",
    )
    assert words in found.what


@pytest.mark.parametrize(
    "usual",
    [
        # Entries of a bot.
        order("1", "ETH", BUY),
        # The stop of a position that is held.
        order("1", "SOL", SELL, reduce_only=True, kind=OrderKind.CONDITIONAL),
    ],
)
def test_the_usual_orders_of_a_bot_are_not_named(usual: Order) -> None:
    """Otherwise every account that trades would have warnings, and nobody would read them."""
    found = judge(reading(position("SOL", LONG, "10")), usual, markets=(market("SOL"),))
    assert only(*found).topic is Topic.CLOSABLE


def test_stops_on_a_spot_market_are_no_leftovers() -> None:
    """A stop-loss of a coin that is held, and a plan that would buy another."""
    stop = replace(
        order("stop", "SOL", SELL, kind=OrderKind.CONDITIONAL, reduce_only=True),
        base=Asset("SOL"),
        quote=Asset("USDT"),
    )
    plan = replace(stop, side=BUY, reduce_only=False)
    assert judge(reading(coins=(coin("SOL", "2"),)), stop, plan) == ()


def test_two_legs_in_a_one_way_account_contradict_each_other() -> None:
    """Closes would be sent with parameters that the venue refuses."""
    held = reading(position("SOL", LONG, "10"), position("SOL", SHORT, "10"))
    found = only(*judge(held, markets=(market("SOL"),)))
    assert (found.level, found.topic, found.subject) == (
        Level.FAULT,
        Topic.POSITION_MODE,
        "SOLUSDT",
    )


def test_two_legs_in_a_hedged_account_are_in_order() -> None:
    """That is what hedge mode is for."""
    held = reading(position("SOL", LONG, "10"), position("SOL", SHORT, "10"), mode=HEDGE)
    assert only(*judge(held, markets=(market("SOL"),))).topic is Topic.CLOSABLE


@pytest.mark.parametrize(
    ("sells", "sellable", "words"),
    [
        (True, "0", "no stage can sell these coins here: BTC"),
        (True, "1", ""),
        (False, "0", ""),
    ],
)
def test_coins_that_the_book_lets_go_and_no_stage_can_sell_are_named(
    sells: bool, sellable: str, words: str
) -> None:
    """`sell_collateral: true` promises what not every account can keep; owed coins are none."""
    coins = (
        replace(coin("BTC", "2"), sellable=Decimal(sellable)),
        replace(coin("ETH", "-2"), sellable=Decimal(0)),
    )
    found = judge(reading(coins=coins), of_book=replace(book(), sell_collateral=sells))
    assert [(one.topic, one.what) for one in found] == (
        [(Topic.NOT_TRADABLE, words)] if words else []
    )


def test_lists_that_could_not_be_read_are_faults_of_their_own() -> None:
    """And nothing is called closable on what is not known."""
    held = reading(position("SOL", LONG, "10"))
    found = judge_closability(reading=held, orders=None, limits=None, book=None)
    assert [(one.level, one.topic) for one in found] == [
        (Level.FAULT, Topic.OPEN_ORDERS),
        (Level.FAULT, Topic.MARKETS),
    ]


def test_what_is_worth_telling_comes_with_the_faults_first() -> None:
    """What is fine is left out."""
    held = reading(
        position("AAA", LONG, "0.4"), position("NEW", LONG, "10"), position("SOL", LONG, "10")
    )
    markets = (market("AAA", least="0.5"), market("SOL"))
    topics = [found.topic for found in worth_telling(judge(held, markets=markets))]
    assert topics == [Topic.UNKNOWN_SYMBOL, Topic.TOO_SMALL]


# --- between books ----------------------------------------------------------------------------


def test_one_base_long_in_one_book_and_short_in_another_is_told() -> None:
    """Each leg is judged alone: 10 x 100 long here, 4 x 100 short there."""
    here = reading(position("BTC", LONG, "10"), position("SOL", LONG, "1"))
    there = reading(position("BTC", SHORT, "4"), scope=ScopeId("bybit_futures"))
    found = only(*find_split_hedges({"binance": [here], "bybit": [there]}))
    assert (found.level, found.topic, found.subject) == (Level.WARNING, Topic.SPLIT_HEDGE, "BTC")
    assert found.what.startswith("long 1,000 in binance, short 400 in bybit:")


def test_a_coin_counts_as_the_long_leg_of_a_split_hedge() -> None:
    """A spot holding hedged by a short elsewhere is two legs as well."""
    spot = reading(coins=(coin("BTC", "2"),))
    found = only(
        *find_split_hedges({"spot": [spot], "perp": [reading(position("BTC", SHORT, "2"))]})
    )
    assert found.subject == "BTC"


def test_a_hedge_inside_one_book_is_none_between_books() -> None:
    """One book judges both legs together; a leg of 0 is no leg."""
    held = reading(position("BTC", LONG, "10"), position("BTC", SHORT, "10"), mode=HEDGE)
    other = reading(position("BTC", LONG, "1"))
    assert find_split_hedges({"one": [held], "two": [other]}) == ()


def test_sizes_in_findings_are_plain_digits() -> None:
    """No exponent reaches a person: 100 is not 1E+2."""
    limits = market("SOL", step="10", least="10", most="50")
    held = reading(position("SOL", LONG, "103"))
    found = judge(held, markets=(limits,))
    assert {one.topic for one in found} == {Topic.OFF_STEP, Topic.MARKET_MAXIMUM}
    assert not any("E+" in one.what for one in found)
