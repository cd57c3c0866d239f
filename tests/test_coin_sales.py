"""Coins for sale: which are chosen, what may remain, what is sold over what, and in which order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cancels import OrderClass, classify_order, plan_cancels
from errors import InvariantViolation
from memory import CloseTarget, Incident, TargetStatus
from model import (
    Asset,
    ClientOrderId,
    Coin,
    MarketLimits,
    Order,
    OrderKind,
    OrderSide,
    Position,
    PositionMode,
    Reading,
    RowKey,
    Side,
    Source,
    Stage,
    StageMode,
    Symbol,
    VenueOrderId,
)
from order_safety import RoundPlan, Sold, VenueAnswers, ViolationKind, approve, plan_round
from plans import KeepReason, Plan, plan_stage
from policy import BookPolicy
from tests.closing_values import LONG, SCOPE, SHORT, Ranked, book, incident, policy, position
from tests.closing_values import reading as reading_of

BUY, SELL = OrderSide.BUY, OrderSide.SELL
OPEN, HELD, DUST = TargetStatus.OPEN, TargetStatus.HELD, TargetStatus.DUST


def held(asset: str, quantity: str, *, price: float = 100.0, sellable: str | None = None) -> Coin:
    """A coin, all of it for sale unless said otherwise."""
    return Coin(
        asset=Asset(asset),
        quantity=Decimal(quantity),
        price=price,
        sellable=Decimal(quantity if sellable is None else sellable),
    )


def row(asset: str) -> RowKey:
    """The row of a coin."""
    return RowKey(SCOPE, Symbol(asset), LONG)


def sold_on(
    asset: str, quote: str = "USDT", *, step: str = "0.001", least: str = "5", most: str = "1000"
) -> MarketLimits:
    """The market that a coin is sold on, under the coin's own name."""
    return MarketLimits(
        symbol=Symbol(asset),
        base=Asset(asset),
        quote=Asset(quote),
        step=Decimal(step),
        min_quantity=Decimal(step),
        market_max=Decimal(most),
        min_notional=Decimal(least),
        reduce_only_waives_min_notional=False,
    )


MARKETS = {
    market.symbol: market
    for market in (
        sold_on("BTC", step="0.00001"),
        sold_on("ETH"),
        sold_on("SOL"),
        sold_on("QRX", "BTC", step="1", most="1000000"),
        sold_on("GLM", "ETH", step="1", most="1000000"),
    )
}


def planned(
    mode: StageMode,
    seen: Reading,
    *,
    stage: Stage = Stage.ALL_CLOSED,
    source: Source = Source.LONG,
    blacklist: tuple[str, ...] = (),
    of_book: BookPolicy | None = None,
    losses: dict[str, float] | None = None,
) -> Plan:
    """Plan one stage of a spot book; `losses` gives the money lost by coin, which also ranks it."""
    rows = {one.key: one for one in seen.rows()}
    settings = policy(stage, mode=mode)
    return plan_stage(
        stage_policy=replace(settings, blacklist=tuple(Asset(name) for name in blacklist)),
        book=of_book or book(sell_collateral=True),
        source=source,
        ranked=tuple(
            Ranked(row=rows[row(name)], result=-lost, score=lost / 1000)
            for name, lost in (losses or {}).items()
        ),
        readings=(seen,),
        limits={SCOPE: MARKETS},
    )


def remains(found: Plan) -> dict[str, str]:
    """What may remain, by coin."""
    return {target.key.symbol: f"{target.may_remain.normalize():f}" for target in found.targets}


# --- which coins ------------------------------------------------------------------------------

COINS = (held("BTC", "0.5", price=60_000), held("SOL", "40"), held("ETH", "2", price=3000))


@pytest.mark.parametrize(
    ("mode", "blacklist", "expected"),
    [
        (StageMode.SELL_ALL_NON_USDT_KEEP_STABLES, (), {"BTC": "0", "ETH": "0", "SOL": "0"}),
        (StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES, ("SOL", "DOGE"), {"SOL": "0"}),
        (StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES, (), {}),
        (StageMode.CLOSE_ALL_POSITIONS, (), {"BTC": "0", "ETH": "0", "SOL": "0"}),
        (StageMode.CLOSE_DOMINANT_LOSS_DIRECTION, (), {"BTC": "0", "ETH": "0", "SOL": "0"}),
        # Two losers of three, half of each: 40 x 0.5 and 2 x 0.5.
        (StageMode.CLOSE_TOP_RISK_CONTRIBUTORS, (), {"ETH": "1", "SOL": "20"}),
        (StageMode.LOCK_ONLY, ("SOL",), {}),
    ],
)
def test_mode_chooses_its_coins(
    mode: StageMode, blacklist: tuple[str, ...], expected: dict[str, str]
) -> None:
    """Each mode sells what its name says, and no other coin."""
    found = planned(
        mode,
        reading_of(coins=COINS),
        blacklist=blacklist,
        losses={"SOL": 300.0, "ETH": 500.0},
    )
    assert remains(found) == expected


def test_spot_modes_leave_positions_alone() -> None:
    """A mode that sells coins closes no position beside them."""
    seen = reading_of(position("SOL", SHORT, "5"), coins=(held("BTC", "0.5"),))
    found = planned(StageMode.SELL_ALL_NON_USDT_KEEP_STABLES, seen)
    assert remains(found) == {"BTC": "0"}


def test_stage_1_leaves_no_remainder_that_the_market_would_not_take() -> None:
    """Half of 0.08 SOL at 100 is worth 4, below the minimum of 5: nothing may remain.

    Half of 0.2 is worth 10 and stays: spot knows no reduce-only order that would be exempt.
    """
    for quantity, expected in (("0.08", "0"), ("0.2", "0.1")):
        found = planned(
            StageMode.CLOSE_TOP_RISK_CONTRIBUTORS,
            reading_of(coins=(held("SOL", quantity),)),
            stage=Stage.REDUCED_TOP_RISK,
            losses={"SOL": 10.0},
        )
        assert remains(found) == {"SOL": expected}


def test_never_touch_coin_stays_until_stage_3() -> None:
    """It is named as kept in stages 1 and 2; stage 3 takes it."""
    spared = book(sell_collateral=True, never_touch=("BTC",))
    seen = reading_of(coins=COINS)
    mode = StageMode.SELL_ALL_NON_USDT_KEEP_STABLES
    found = planned(mode, seen, stage=Stage.DOMINANT_CLOSED, of_book=spared)
    assert remains(found) == {"ETH": "0", "SOL": "0"}
    assert [(kept.key, kept.reason) for kept in found.kept] == [
        (row("BTC"), KeepReason.NEVER_TOUCH)
    ]
    assert set(remains(planned(mode, seen, of_book=spared))) == {"BTC", "ETH", "SOL"}


def test_what_cannot_be_sold_stays_and_is_named() -> None:
    """Of 3 BTC 1 is lent out; of XYZ there is no market. The target counts what can be sold."""
    seen = reading_of(coins=(held("BTC", "3", sellable="2"), held("XYZ", "10", sellable="0")))
    found = planned(StageMode.SELL_ALL_NON_USDT_KEEP_STABLES, seen)
    assert [(t.key.symbol, t.initial_quantity) for t in found.targets] == [("BTC", Decimal(2))]
    assert "coins stay (no way to sell them here): XYZ" in found.notes
    assert "BTC: 1 of it cannot be sold here and stays" in found.notes
    # 3 BTC and 10 XYZ at 100 before, 1 BTC and 10 XYZ after.
    assert found.exposure_before.total == pytest.approx(1300.0)
    assert found.exposure_after.total == pytest.approx(1100.0)


def test_stage_without_a_mode_says_that_nothing_is_sold() -> None:
    """The plan is empty and tells why."""
    found = planned(StageMode.LOCK_ONLY, reading_of(coins=COINS))
    assert found.is_empty
    assert "nothing is sold: no mode was chosen for this stage" in found.notes


def test_coin_that_is_sold_protects_no_hedge() -> None:
    """With the coin for sale, stage 3 closes the short beside it as well."""
    seen = reading_of(position("BTC", SHORT, "1"), coins=(held("BTC", "1"),))
    found = planned(StageMode.CLOSE_ALL_POSITIONS, seen)
    assert remains(found) == {"BTC": "0", "BTCUSDT": "0"}


def test_coin_that_is_not_chosen_keeps_its_hedge() -> None:
    """Stage 2 of a losing short side: the short offsets a coin that stays, so it stays too."""
    seen = reading_of(position("BTC", SHORT, "1"), coins=(held("BTC", "1"),))
    found = planned(
        StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
        seen,
        stage=Stage.DOMINANT_CLOSED,
        source=Source.SHORT,
    )
    assert found.is_empty
    assert found.kept[0].reason is KeepReason.OFFSETS_WHAT_STAYS


def test_coin_that_offsets_an_untouchable_short_stays() -> None:
    """Sold, it would leave the short naked: 0.4 of 1 BTC stay against a short of 0.4."""
    seen = reading_of(position("BTC", SHORT, "0.4"), coins=(held("BTC", "1"),))
    spared = book(sell_collateral=True, never_touch=("BTCUSDT",))
    found = planned(
        StageMode.CLOSE_DOMINANT_LOSS_DIRECTION,
        seen,
        stage=Stage.DOMINANT_CLOSED,
        of_book=spared,
    )
    assert remains(found) == {"BTC": "0.4"}


# --- over another coin ------------------------------------------------------------------------


def test_coin_without_a_stable_market_is_sold_over_another_which_keeps_what_it_was() -> None:
    """QRX pays in BTC: BTC gets a target that leaves all that is held, to the last digit."""
    seen = reading_of(coins=(held("BTC", "1.000000019"), held("QRX", "500", price=0.6)))
    found = planned(StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES, seen, blacklist=("QRX",))
    assert remains(found) == {"QRX": "0", "BTC": "1.000000019"}
    assert [target.is_passage for target in found.targets] == [False, True]
    assert "QRX is sold over BTC" in found.notes


def test_passage_of_a_coin_that_is_not_held_leaves_nothing() -> None:
    """Nothing was there before, so all that comes in goes on."""
    seen = reading_of(coins=(held("GLM", "500", price=0.4),))
    found = planned(StageMode.SELL_ALL_NON_USDT_KEEP_STABLES, seen)
    assert remains(found) == {"GLM": "0", "ETH": "0"}
    assert found.targets[1].initial_quantity == 0


def test_coin_that_is_sold_itself_gets_one_target() -> None:
    """BTC is on the list too: one target of 0, which the proceeds of QRX fall under."""
    seen = reading_of(coins=(held("BTC", "1"), held("QRX", "500", price=0.6)))
    found = planned(StageMode.SELL_ALL_NON_USDT_KEEP_STABLES, seen)
    assert remains(found) == {"BTC": "0", "QRX": "0"}
    assert not found.targets[0].is_passage


@pytest.mark.parametrize(
    ("delta_only", "never_touch", "left"),
    [(True, (), "1"), (False, (), "0"), (False, ("BTC",), "1")],
)
def test_setting_lets_all_of_the_second_coin_go_unless_it_is_spared(
    delta_only: bool, never_touch: tuple[str, ...], left: str
) -> None:
    """`sell_intermediate_delta_only: false` sells all of it; `never_touch` outranks that."""
    seen = reading_of(coins=(held("BTC", "1"), held("QRX", "500", price=0.6)))
    own = replace(
        book(sell_collateral=True, never_touch=never_touch),
        sell_intermediate_delta_only=delta_only,
    )
    found = planned(
        StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES,
        seen,
        stage=Stage.REDUCED_TOP_RISK,
        blacklist=("QRX",),
        of_book=own,
    )
    assert remains(found) == {"QRX": "0", "BTC": left}


# --- rounds -----------------------------------------------------------------------------------


def there(asset: str, quantity: str, *, locked: str = "0", price: float = 100.0) -> Position:
    """What a round reads of a coin."""
    return Position(
        symbol=Symbol(asset),
        base=Asset(asset),
        side=Side.LONG,
        quantity=Decimal(quantity),
        entry_price=price,
        mark_price=price,
        unrealised_pnl=0.0,
        locked=Decimal(locked),
    )


def aim(number: int, asset: str, may_remain: str, initial: str) -> CloseTarget:
    """A target of a coin."""
    return CloseTarget(
        number=number,
        key=row(asset),
        may_remain=Decimal(may_remain),
        initial_quantity=Decimal(initial),
    )


def resting(
    name: str, symbol: str, side: OrderSide, *, base: str, quote: str, quantity: str = "1"
) -> Order:
    """A resting spot order of somebody else, as adapters tell it."""
    return Order(
        scope=SCOPE,
        order_id=VenueOrderId(name),
        client_id=ClientOrderId("bot"),
        symbol=Symbol(symbol),
        kind=OrderKind.REGULAR,
        side=side,
        position_side=None,
        quantity=Decimal(quantity),
        reduce_only=side is SELL,
        close_position=False,
        order_type="LIMIT",
        base=Asset(base),
        quote=Asset(quote),
    )


def a_round(
    of: Incident,
    *positions: Position,
    orders: tuple[Order, ...] = (),
    untouchable: tuple[str, ...] = (),
    answers: VenueAnswers | None = None,
) -> RoundPlan:
    """Plan one round of a spot scope."""
    return plan_round(
        incident=of,
        scope=SCOPE,
        positions=positions,
        orders=orders,
        limits=MARKETS,
        position_mode=PositionMode.ONE_WAY,
        round_number=1,
        untouchable=tuple(Symbol(name) for name in untouchable),
        answers=answers,
    )


def sales(found: RoundPlan) -> dict[str, str]:
    """What is sold, by coin."""
    return {close.symbol: f"{close.quantity.normalize():f}" for close in found.closes}


def test_only_what_is_free_is_sold_and_what_holds_the_rest_is_cancelled() -> None:
    """40 SOL, 30 of them in a sale that rests: 10 go now, the order goes, then the other 30."""
    of = incident(aim(1, "SOL", "0", "40"))
    rest = resting("1", "SOLUSDT", SELL, base="SOL", quote="USDT", quantity="30")
    first = a_round(of, there("SOL", "40", locked="30"), orders=(rest,))
    assert sales(first) == {"SOL": "10"}
    assert first.cancels == (rest,)
    assert sales(a_round(of, there("SOL", "30"))) == {"SOL": "30"}


def test_nothing_is_sold_while_orders_hold_everything() -> None:
    """All is locked: the order goes first."""
    rest = resting("1", "SOLUSDT", SELL, base="SOL", quote="USDT", quantity="40")
    of = incident(aim(1, "SOL", "0", "40"))
    found = a_round(of, there("SOL", "40", locked="40"), orders=(rest,))
    assert found.closes == ()
    assert found.cancels == (rest,)
    assert not found.holds


def test_resting_sale_stays_while_enough_is_free() -> None:
    """Half of 40 goes, 20 are free: the order that holds the other half protects what stays."""
    rest = resting("1", "SOLUSDT", SELL, base="SOL", quote="USDT", quantity="20")
    of = incident(aim(1, "SOL", "20", "40"), stage=1)
    found = a_round(of, there("SOL", "40", locked="20"), orders=(rest,))
    assert sales(found) == {"SOL": "20"}
    assert found.cancels == ()


def test_purchase_that_holds_a_coin_is_in_the_way_of_its_sale() -> None:
    """Buying SOL with BTC holds BTC: it goes when BTC is to be sold, even if entries may stay."""
    buys = resting("1", "SOLBTC", BUY, base="SOL", quote="BTC")
    found = plan_cancels(
        scope=SCOPE,
        orders=(buys,),
        positions=(there("BTC", "1", locked="1"),),
        targets=(aim(1, "BTC", "0", "1"),),
        stage=Stage.REDUCED_TOP_RISK,
        position_mode=PositionMode.ONE_WAY,
        is_complete=False,
        cancel_entry_orders=False,
        blocked=(row("BTC"),),
    )
    assert found == (buys,)


@pytest.mark.parametrize(
    ("side", "expected"), [(SELL, OrderClass.CLOSING_GUARDED), (BUY, OrderClass.OPENING)]
)
def test_spot_purchase_opens_even_where_a_short_of_that_name_is_held(
    side: OrderSide, expected: OrderClass
) -> None:
    """A unified account may hold a short on BTCUSDT: a spot purchase there closes nothing of it."""
    rest = replace(resting("1", "BTCUSDT", side, base="BTC", quote="USDT"), reduce_only=False)
    found = classify_order(rest, position_mode=PositionMode.ONE_WAY, held_side=Side.SHORT)
    assert found is expected


@pytest.mark.parametrize(("stage", "left"), [(Stage.ALL_CLOSED, ["ETH"]), (Stage.LOCKDOWN, [])])
def test_sale_of_a_coin_that_stays_stays_after_stage_3(stage: Stage, left: list[str]) -> None:
    """SOL was sold by a blacklist; the stop of ETH still protects ETH. A kill takes it."""
    orders = (
        resting("1", "SOLUSDT", SELL, base="SOL", quote="USDT"),
        resting("2", "ETHUSDT", SELL, base="ETH", quote="USDT"),
        resting("3", "ETHUSDT", BUY, base="ETH", quote="USDT"),
    )
    gone = plan_cancels(
        scope=SCOPE,
        orders=orders,
        positions=(there("ETH", "2", locked="1"),),
        targets=(replace(aim(1, "SOL", "0", "40"), status=HELD),),
        stage=stage,
        position_mode=PositionMode.ONE_WAY,
        is_complete=True,
    )
    assert [one.base for one in orders if one not in gone] == left


def test_orders_of_a_spared_coin_are_left_alone_under_its_own_name() -> None:
    """`never_touch: [BTC]` spares the purchase on BTCUSDT, not that of SOL."""
    btc = resting("1", "BTCUSDT", BUY, base="BTC", quote="USDT")
    sol = resting("2", "SOLUSDT", BUY, base="SOL", quote="USDT")
    of = incident(aim(1, "SOL", "0", "40"), stage=1)
    found = a_round(of, there("SOL", "40"), orders=(btc, sol), untouchable=("BTC",))
    assert found.cancels == (sol,)


def test_second_step_sells_what_the_first_one_brought_and_no_more() -> None:
    """1 BTC was there; the sale of QRX brought 0.005004: 0.005 of it are on the step and go."""
    of = incident(aim(1, "QRX", "0", "500"), aim(2, "BTC", "1", "1"))
    before = a_round(of, there("QRX", "500", price=0.6), there("BTC", "1", price=60_000))
    assert sales(before) == {"QRX": "500"}
    after = a_round(of, there("BTC", "1.005004", price=60_000))
    assert sales(after) == {"BTC": "0.005"}
    done = a_round(of, there("BTC", "1.000004", price=60_000))
    assert done.closes == ()
    assert done.holds


SALE = Sold(quantity=Decimal(500), brought=Decimal("0.005"))


@pytest.mark.parametrize(
    ("sold", "expected"),
    [
        # 1 BTC was there, 0.005 came in, and somebody else added 0.3.
        ({row("QRX"): SALE}, "0.005"),
        # Part of it was sold in an earlier round.
        ({row("QRX"): SALE, row("BTC"): Sold(quantity=Decimal("0.003"))}, "0.002"),
        ({row("QRX"): SALE, row("BTC"): Sold(quantity=Decimal("0.005"))}, None),
        ({}, None),
        # Not all is told: then only what was there before is safe.
        ({row("QRX"): None}, "0.305"),
        ({row("QRX"): SALE, row("BTC"): None}, "0.305"),
        (None, "0.305"),
    ],
)
def test_what_others_add_meanwhile_is_not_sold(
    sold: dict[RowKey, Sold | None] | None, expected: str | None
) -> None:
    """The second step takes no more than the first one brought, as far as every sale is told."""
    of = incident(aim(1, "QRX", "0", "500"), aim(2, "BTC", "1", "1"))
    found = a_round(of, there("BTC", "1.305", price=60_000), answers=VenueAnswers(sold=sold))
    assert sales(found) == ({} if expected is None else {"BTC": expected})
    assert found.holds is (expected is None)
    assert found.targets[1].may_remain == 1


def test_passage_is_no_growth_and_is_carried_out_on_a_spared_coin() -> None:
    """What comes in is expected, and selling it touches nothing that was there."""
    of = incident(aim(1, "QRX", "0", "500"), aim(2, "BTC", "1", "1"), stage=1)
    found = a_round(of, there("BTC", "1.5", price=60_000), untouchable=("BTC",))
    assert sales(found) == {"BTC": "0.5"}
    assert found.violations == ()
    grown = a_round(incident(aim(1, "SOL", "0", "40")), there("SOL", "41"))
    assert [one.kind for one in grown.violations] == [ViolationKind.GREW]


def test_orders_of_a_coin_that_only_passes_stay() -> None:
    """BTC was never held: that its target of 0 holds is no reason to cancel a sale of BTC."""
    of = incident(aim(1, "SOL", "0", "40"), aim(2, "BTC", "0", "0"), stage=1)
    rest = resting("1", "BTCUSDT", SELL, base="BTC", quote="USDT")
    found = a_round(of, there("SOL", "40"), orders=(rest,))
    assert found.cancels == ()


@pytest.mark.parametrize(
    ("quantity", "price", "status"),
    [
        # At 100, 0.049 are worth 4.9, below the minimum of 5, and 0.05 exactly 5.
        ("0.049", 100.0, DUST),
        ("0.05", 100.0, OPEN),
        # Below one step.
        ("0.0009", 100.0, DUST),
        # A price that is not known proves nothing.
        ("0.049", 0.0, OPEN),
    ],
)
def test_what_is_below_the_minimum_is_dust(
    quantity: str, price: float, status: TargetStatus
) -> None:
    """Dust counts as done; the minimum holds for every sale, there is no waiver."""
    of = incident(aim(1, "SOL", "0", "40"))
    found = a_round(of, there("SOL", quantity, price=price))
    assert found.targets[0].status is status


def test_sale_of_more_than_is_free_is_refused_as_our_own_fault() -> None:
    """What a resting order holds is not ours to sell, whoever planned it."""
    of = incident(aim(1, "SOL", "0", "40"))
    (close,) = a_round(of, there("SOL", "40")).closes
    with pytest.raises(InvariantViolation, match="that no order holds"):
        approve(
            (close,),
            incident=of,
            scope=SCOPE,
            positions=(there("SOL", "40", locked="1"),),
            position_mode=PositionMode.ONE_WAY,
            limits=MARKETS,
        )


# --- properties -------------------------------------------------------------------------------

AMOUNTS = st.decimals(min_value=0, max_value=1000, places=6, allow_nan=False)


@given(
    was=AMOUNTS,
    now=AMOUNTS,
    share_locked=st.decimals(min_value=0, max_value=1, places=2),
    keep=AMOUNTS,
    flying=AMOUNTS,
)
@settings(max_examples=300, deadline=None)
def test_no_round_sells_more_than_is_free_or_what_may_remain(
    was: Decimal, now: Decimal, share_locked: Decimal, keep: Decimal, flying: Decimal
) -> None:
    """Whatever is held, locked, wanted and under way: all orders of a round together fit."""
    locked = now * share_locked
    held_now = (there("SOL", f"{now}", locked=f"{locked}"),) if now > 0 else ()
    found = a_round(
        incident(aim(1, "SOL", f"{keep}", f"{was}")),
        *held_now,
        answers=VenueAnswers(in_flight={row("SOL"): flying}),
    )
    sold = sum((close.quantity for close in found.closes), Decimal(0))
    assert sold <= now - locked
    assert sold == 0 or now - sold - flying >= keep


@given(
    before=AMOUNTS,
    brought=AMOUNTS,
    added=AMOUNTS,
    sold=st.decimals(min_value=0, max_value=1, places=3),
)
@settings(max_examples=300, deadline=None)
def test_second_step_never_takes_what_was_there_or_was_added(
    before: Decimal, brought: Decimal, added: Decimal, sold: Decimal
) -> None:
    """However the coin grows meanwhile, no more of it goes than the first step brought."""
    gone = (brought * sold).quantize(Decimal("0.000001"))
    now = before + brought - gone + added
    of = incident(aim(1, "QRX", "0", "500"), aim(2, "BTC", f"{before}", f"{before}"))
    found = a_round(
        of,
        *((there("BTC", f"{now}", price=60_000),) if now > 0 else ()),
        answers=VenueAnswers(
            sold={
                row("QRX"): Sold(quantity=Decimal(500), brought=brought),
                row("BTC"): Sold(quantity=gone),
            }
        ),
    )
    goes = sum((close.quantity for close in found.closes), Decimal(0))
    assert goes <= brought - gone
    assert now - goes >= before + added
