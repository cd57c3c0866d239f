"""What every venue owes the guard, whichever exchange it is: one suite, run against each.

In memory, and over HTTP with the real client against each dialect of the simulator. A venue that
needs an exception here would need one in the guard.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from errors import InvariantViolation, Malformed, Unavailable
from inspection import AccountFamily, NotTold
from model import (
    ClientOrderId,
    Done,
    LedgerKind,
    OrderKind,
    OrderSide,
    PositionMode,
    RefusalReason,
    Refused,
    ScopeId,
    Side,
    Symbol,
    Unknown,
)
from simulator.state import Leg
from simulator.wire.bitget_gate import WINDOW_S
from tests.conventions import number_of
from tests.venue_rigs import BTC, RIGS, SOL, XRP, Rig, hedged, rig_of

HOUR_S = 3600.0
MANY = 230
"""More positions than the largest page of any venue, which is 200."""


@pytest.fixture(params=sorted(RIGS))
def name(request: pytest.FixtureRequest) -> str:
    """Which implementation."""
    return str(request.param)


@pytest.fixture
async def rig(name: str) -> AsyncIterator[Rig]:
    """Long 0.5 BTC from 61,000 at 60,000, short 10 SOL from 90 at 100, in one-way mode."""
    async with rig_of(name) as made:
        yield made


@pytest.fixture
async def pair(name: str) -> AsyncIterator[Rig]:
    """Long 0.5 and short 0.3 BTC in hedge mode."""
    async with rig_of(name, **hedged()) as made:
        yield made


# --- reading ----------------------------------------------------------------------------------


async def test_equity_includes_what_is_not_realised(rig: Rig) -> None:
    """10,000 - 0.5 x 1,000 - 10 x 10 = 9,400."""
    reading = await rig.venue.fetch_reading(rig.scope)
    assert reading.equity == pytest.approx(9_400)
    assert reading.unrealised_pnl in (None, pytest.approx(-600))
    if reading.wallet_defines_equity and reading.wallet is not None:
        assert reading.wallet == pytest.approx(10_000)


async def test_a_reading_says_what_is_held(rig: Rig) -> None:
    """Side, size, entry, mark and profit of each position, as the exchange has them."""
    reading = await rig.venue.fetch_reading(rig.scope)
    assert reading.position_mode is PositionMode.ONE_WAY
    long, short = sorted(reading.positions, key=lambda position: position.symbol)
    assert (long.symbol, long.side, long.quantity, long.base) == (
        BTC,
        Side.LONG,
        Decimal("0.5"),
        "BTC",
    )
    assert (long.entry_price, long.mark_price) == (61_000, 60_000)
    assert (short.symbol, short.side, short.quantity) == (SOL, Side.SHORT, Decimal(10))
    assert [long.unrealised_pnl, short.unrealised_pnl] == pytest.approx([-500, -100])
    assert (long.margin_asset, short.margin_asset) == ("USDT", "USDT")


async def test_a_reading_dates_what_it_shows(pair: Rig) -> None:
    """Each leg has its own date; a close moves that of its leg, and no date ever moves back."""
    first = dict((await pair.venue.fetch_reading(pair.scope)).changed_at)
    closed = await pair.venue.submit_close(pair.close(BTC, Side.LONG, "0.2"))
    then = dict((await pair.venue.fetch_reading(pair.scope)).changed_at)
    legs = {name for name in first if BTC in name}
    assert (len(legs), isinstance(closed, Done)) == (2, True)
    assert sum(then[name] > first[name] for name in legs) == 1
    assert all(then[name] >= first[name] for name in first)


async def test_both_legs_of_a_hedge_are_read(pair: Rig) -> None:
    """A long and a short of one symbol never become one net position."""
    reading = await pair.venue.fetch_reading(pair.scope)
    assert reading.position_mode is PositionMode.HEDGE
    held = {position.side: position.quantity for position in reading.positions}
    assert held == {Side.LONG: Decimal("0.5"), Side.SHORT: Decimal("0.3")}


async def test_sizes_alone_agree_with_a_whole_reading(pair: Rig) -> None:
    """What closes are sized by is the same account."""
    whole = (await pair.venue.fetch_reading(pair.scope)).positions
    alone = await pair.venue.fetch_positions(pair.scope)
    assert {(p.symbol, p.side, p.quantity) for p in alone} == {
        (p.symbol, p.side, p.quantity) for p in whole
    }


async def test_every_position_is_read_however_many_there_are(name: str) -> None:
    """A page that is full is not the end."""
    symbols = [f"C{number:03d}USDT" for number in range(MANY)]
    positions = [
        {"symbol": symbol, "side": "LONG", "quantity": 1, "entry_price": 10, "mark_price": 10}
        for symbol in symbols
    ]
    async with rig_of(name, markets=[], prices={}, positions=positions) as rig:
        reading = await rig.venue.fetch_reading(rig.scope)
        assert sorted(position.symbol for position in reading.positions) == symbols
        alone = await rig.venue.fetch_positions(rig.scope)
        assert sorted(position.symbol for position in alone) == symbols


async def test_an_account_without_positions_is_flat_and_not_unknown(name: str) -> None:
    """Nothing held is an answer."""
    async with rig_of(name, positions=[]) as rig:
        reading = await rig.venue.fetch_reading(rig.scope)
        assert reading.positions == ()
        assert reading.equity == pytest.approx(10_000)
        assert await rig.venue.fetch_positions(rig.scope) == ()
        assert await rig.venue.fetch_orders(rig.scope) == ()


async def test_marks_are_told_of_symbols_without_a_position_too(rig: Rig) -> None:
    """Positions that were closed between two readings count to the later mark."""
    marks = await rig.venue.fetch_marks((BTC, XRP))
    assert marks == {BTC: 60_000, XRP: 0.5}


async def test_the_rules_of_a_market_are_the_venues(rig: Rig) -> None:
    """Step, minimum, largest market order and least value of every market."""
    limits = await rig.venue.fetch_market_limits()
    for symbol in (BTC, SOL, XRP):
        market, told = rig.exchange.markets[symbol], limits[symbol]
        assert (told.step, told.min_quantity) == (market.step, market.min_quantity)
        assert told.market_max in (market.market_max, None)
        assert told.min_notional == market.min_notional
        assert (told.base, told.quote, told.is_tradable) == (market.base, "USDT", True)


async def test_the_position_mode_is_read_afresh(name: str) -> None:
    """Switched behind our back while the account was flat."""
    async with rig_of(name, positions=[]) as rig:
        assert await rig.venue.fetch_position_mode(rig.scope) is PositionMode.ONE_WAY
        rig.account.position_mode = PositionMode.HEDGE
        assert await rig.venue.fetch_position_mode(rig.scope) is PositionMode.HEDGE


# --- closing ----------------------------------------------------------------------------------


async def test_a_close_makes_a_position_smaller(rig: Rig) -> None:
    """0.2 of a long of 0.5 and 4 of a short of 10."""
    for symbol, side, quantity, left in (
        (BTC, Side.LONG, "0.2", Decimal("0.3")),
        (SOL, Side.SHORT, "4", Decimal(-6)),
    ):
        outcome = await rig.venue.submit_close(rig.close(symbol, side, quantity))
        assert isinstance(outcome, Done)
        assert outcome.filled in (None, Decimal(quantity))
        assert rig.held(symbol) == left


async def test_a_close_acts_on_its_own_leg_alone(pair: Rig) -> None:
    """The short leg closes by a buy that must not touch the long leg."""
    for side, left in ((Side.LONG, ("0.3", "-0.3")), (Side.SHORT, ("0.3", "-0.1"))):
        assert isinstance(await pair.venue.submit_close(pair.close(BTC, side, "0.2")), Done)
        assert pair.held(BTC, Leg.LONG) == Decimal(left[0])
        assert pair.held(BTC, Leg.SHORT) == Decimal(left[1])


@pytest.mark.parametrize("is_hedged", [False, True])
async def test_a_close_larger_than_its_position_never_opens(name: str, *, is_hedged: bool) -> None:
    """Clipped or refused, as the venue likes: nothing of the other sign ever appears."""
    changes = hedged() if is_hedged else {}
    async with rig_of(name, **changes) as rig:
        leg = Leg.LONG if is_hedged else Leg.BOTH
        for quantity in ("0.8", "0.8"):
            await rig.venue.submit_close(rig.close(BTC, Side.LONG, quantity))
            assert 0 <= rig.held(BTC, leg) <= Decimal("0.5")
        if is_hedged:
            assert rig.held(BTC, Leg.SHORT) == Decimal("-0.3")


@pytest.mark.parametrize("is_hedged", [False, True])
async def test_nothing_left_to_close_is_a_refusal_that_says_so(
    name: str, *, is_hedged: bool
) -> None:
    """A flat symbol; in hedge mode the other leg is there."""
    changes = (
        hedged({"symbol": "BTCUSDT", "side": "SHORT", "quantity": "0.3", "entry_price": 59000})
        if is_hedged
        else {}
    )
    symbol = BTC if is_hedged else XRP
    async with rig_of(name, **changes) as rig:
        outcome = await rig.venue.submit_close(rig.close(symbol, Side.LONG, "0.3"))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.NOTHING_TO_REDUCE
        assert rig.held(symbol, Leg.LONG if is_hedged else Leg.BOTH) == 0


async def test_the_other_side_is_nothing_to_reduce(rig: Rig) -> None:
    """Closing a long where a short is held opens nothing."""
    outcome = await rig.venue.submit_close(rig.close(SOL, Side.LONG, "4"))
    assert isinstance(outcome, Refused)
    assert outcome.reason is RefusalReason.NOTHING_TO_REDUCE
    assert rig.held(SOL) == -10


async def test_the_outcomes_of_many_closes_stand_in_their_order(name: str) -> None:
    """Twelve closes, one of them of a position that is not there."""
    symbols = [Symbol(f"C{number:02d}USDT") for number in range(12)]
    held = [symbol for symbol in symbols if symbol != "C05USDT"]
    positions = [
        {"symbol": symbol, "side": "LONG", "quantity": 10, "entry_price": 10, "mark_price": 10}
        for symbol in held
    ]
    prices = {"C05USDT": 10}
    async with rig_of(name, markets=[], prices=prices, positions=positions) as rig:
        closes = [rig.close(symbol, Side.LONG, "10") for symbol in symbols]
        outcomes = await rig.venue.submit_closes(closes)
        for symbol, outcome in zip(symbols, outcomes, strict=True):
            assert isinstance(outcome, Done if symbol in held else Refused), (symbol, outcome)
            assert rig.held(symbol) == 0


async def test_an_order_that_is_too_large_says_so(name: str) -> None:
    """A venue that splits it by itself has closed everything; none opens anything."""
    position = {"symbol": "BTCUSDT", "side": "LONG", "quantity": 500, "entry_price": 60000}
    async with rig_of(name, wallet={"USDT": 10_000_000}, positions=[position]) as rig:
        outcome = await rig.venue.submit_close(rig.close(BTC, Side.LONG, "500"))
        if rig.held(BTC):
            assert isinstance(outcome, Refused)
            assert outcome.reason is RefusalReason.TOO_LARGE


async def test_one_id_never_closes_twice_what_it_closed(rig: Rig) -> None:
    """The same order again: refused as a duplicate, or for want of a position."""
    first = rig.close(BTC, Side.LONG, "0.5", "ks-twice-1")
    assert isinstance(await rig.venue.submit_close(first), Done)
    assert isinstance(await rig.venue.submit_close(first), Refused)
    assert rig.held(BTC) == 0


async def test_only_an_instruction_of_this_account_becomes_an_order(rig: Rig) -> None:
    """Anything else is our own bug, and nothing is sent."""
    foreign = replace(rig.close(BTC, Side.LONG, "0.1"), scope=ScopeId("other_futures"))
    with pytest.raises(InvariantViolation):
        await _within_the_adapter(rig, foreign)
    assert rig.held(BTC) == Decimal("0.5")


async def _within_the_adapter(rig: Rig, foreign: object) -> None:
    """The memory venue serves any scope; its rig stands for the adapters' check."""
    if rig.service is None:
        raise InvariantViolation("not an adapter")
    await rig.venue.submit_close(foreign)  # type: ignore[arg-type]


# --- what became of an order ------------------------------------------------------------------


async def test_an_order_is_found_by_our_own_id(rig: Rig) -> None:
    """With what it filled."""
    close = rig.close(BTC, Side.LONG, "0.2")
    await rig.venue.submit_close(close)
    found = await rig.venue.find_order(rig.scope, close.client_id, BTC)
    assert isinstance(found, Done)
    assert found.filled == Decimal("0.2")


async def test_an_order_that_never_was_is_not_found(rig: Rig) -> None:
    """Which is no failure of the look-up."""
    found = await rig.venue.find_order(rig.scope, ClientOrderId("ks-never"), BTC)
    assert isinstance(found, Refused)
    assert found.reason is RefusalReason.NO_SUCH_ORDER


@pytest.mark.parametrize("is_executed", [False, True])
async def test_a_lost_answer_proves_nothing_and_the_look_up_tells(
    name: str, *, is_executed: bool
) -> None:
    """The connection is reset before or after the order took effect."""
    async with rig_of(name) as rig:
        rig.lose_orders(is_executed=is_executed)
        close = rig.close(BTC, Side.LONG, "0.2")
        assert isinstance(await rig.venue.submit_close(close), Unknown)
        rig.mend()
        found = await rig.venue.find_order(rig.scope, close.client_id, BTC)
        assert isinstance(found, Done if is_executed else Refused)
        assert rig.held(BTC) == Decimal("0.3" if is_executed else "0.5")


# --- orders -----------------------------------------------------------------------------------


async def test_every_open_order_of_every_kind_is_listed(rig: Rig) -> None:
    """60 resting orders and 25 stops on three symbols, one of which is flat."""
    numbers = {
        rig.rest(symbol, OrderSide.BUY, quantity, price=price)
        for symbol, quantity, price in (
            (BTC, "0.01", "50000"),
            (SOL, "1", "80"),
            (XRP, "100", "0.4"),
        )
        for _ in range(20)
    }
    stops = {
        rig.rest(symbol, OrderSide.SELL, quantity, price=price, is_stop=True)
        for symbol, quantity, price, count in (
            (BTC, "0.01", "55000", 10),
            (SOL, "1", "80", 10),
            (XRP, "100", "0.4", 5),
        )
        for _ in range(count)
    }
    orders = await rig.venue.fetch_orders(rig.scope)
    by_kind = {
        kind: {number_of(order) for order in orders if order.kind is kind} for kind in OrderKind
    }
    assert len(orders) == len(numbers) + len(stops)
    assert by_kind == {OrderKind.REGULAR: numbers, OrderKind.CONDITIONAL: stops}


async def test_an_order_says_what_it_can_still_do(rig: Rig) -> None:
    """Side, rest, price and whether it can only reduce."""
    rig.rest(BTC, OrderSide.SELL, "0.2", price="70000", reduce_only=True)
    (order,) = await rig.venue.fetch_orders(rig.scope)
    assert (order.symbol, order.side, order.quantity) == (BTC, OrderSide.SELL, Decimal("0.2"))
    assert (order.reduce_only, order.close_position) == (True, False)
    assert (order.price, order.position_side) == (Decimal(70_000), None)


@pytest.mark.parametrize("symbol", [BTC, SOL])
async def test_a_stop_is_of_the_side_that_it_closes(rig: Rig, symbol: Symbol) -> None:
    """Also where the venue names none, and once its position is gone: else it would stay."""
    (held,) = [h for h in await rig.venue.fetch_positions(rig.scope) if h.symbol == symbol]
    closing = held.side.closing_order
    price = "50000" if symbol == BTC else "120"
    rig.rest(symbol, closing, "0.1", price=price, is_stop=True, reduce_only=True)
    for _ in range(2):
        (order,) = await rig.venue.fetch_orders(rig.scope)
        assert (order.side, order.reduce_only, order.position_side) == (closing, True, None)
        await rig.venue.submit_close(rig.close(symbol, held.side, f"{held.quantity}"))
        assert rig.held(symbol) == 0


async def test_an_order_of_a_hedge_names_its_leg(pair: Rig) -> None:
    """A sell of the long leg closes, a sell of the short leg opens."""
    pair.rest(BTC, OrderSide.SELL, "0.2", price="70000", leg=Leg.LONG)
    pair.rest(BTC, OrderSide.SELL, "0.1", price="71000", leg=Leg.SHORT)
    orders = await pair.venue.fetch_orders(pair.scope)
    legs = {order.position_side: order.side for order in orders}
    assert legs == {Side.LONG: OrderSide.SELL, Side.SHORT: OrderSide.SELL}


@pytest.mark.parametrize("is_stop", [False, True])
async def test_one_order_is_cancelled_where_its_kind_lives(name: str, *, is_stop: bool) -> None:
    """And one that is gone already is done as well."""
    async with rig_of(name) as rig:
        rig.rest(BTC, OrderSide.SELL, "0.1", price="55000" if is_stop else "70000", is_stop=is_stop)
        kept = rig.rest(SOL, OrderSide.BUY, "1", price="80")
        orders = await rig.venue.fetch_orders(rig.scope)
        (order,) = [order for order in orders if order.symbol == BTC]
        for _ in range(2):
            assert isinstance(await rig.venue.submit_cancel(order), Done)
        left = await rig.venue.fetch_orders(rig.scope)
        assert [number_of(order) for order in left] == [kept]


async def test_cancelling_all_of_a_symbol_leaves_nothing_there_and_touches_no_other(
    rig: Rig,
) -> None:
    """Resting ones and stops, entries and reducers."""
    for is_stop, price in ((False, "70000"), (True, "55000")):
        rig.rest(BTC, OrderSide.SELL, "0.1", price=price, is_stop=is_stop, reduce_only=True)
        rig.rest(BTC, OrderSide.SELL, "0.1", price=price, is_stop=is_stop)
    kept = rig.rest(SOL, OrderSide.BUY, "1", price="80")
    for _ in range(2):
        assert isinstance(await rig.venue.submit_cancel_all(rig.scope, BTC), Done)
    left = await rig.venue.fetch_orders(rig.scope)
    assert [number_of(order) for order in left] == [kept]


# --- records ----------------------------------------------------------------------------------


async def test_money_that_left_is_a_flow_and_a_realised_loss_is_none(rig: Rig) -> None:
    """A withdrawal of 300, a deposit of 50, and half of the short closed at 100: 5 x 10 lost."""
    since = rig.exchange.now - HOUR_S
    rig.exchange.transfer(rig.account.api_key, "USDT", Decimal(-300))
    rig.exchange.transfer(rig.account.api_key, "USDT", Decimal(50))
    await rig.venue.submit_close(rig.close(SOL, Side.SHORT, "5"))
    ledger = await rig.venue.fetch_ledger(rig.scope, since)
    flows = [entry for entry in ledger.entries if entry.kind.is_flow]
    assert sorted(entry.amount for entry in flows) == [-300, 50]
    made = [e for e in ledger.entries if e.kind is LedgerKind.REALISED and e.symbol == SOL]
    assert sum(entry.amount for entry in made) == pytest.approx(-50)
    fees = [entry for entry in ledger.entries if entry.kind is LedgerKind.FEE]
    assert sum(entry.amount for entry in fees) == pytest.approx(-500 * 0.0005)
    assert len({entry.record_id for entry in ledger.entries}) == len(ledger.entries)


async def test_funding_names_its_symbol_and_is_no_flow(rig: Rig) -> None:
    """0.01 % on 30,000 of a long: 3 are paid."""
    since = rig.exchange.now - HOUR_S
    rig.exchange.apply_funding({"BTCUSDT": "0.0001"})
    ledger = await rig.venue.fetch_ledger(rig.scope, since)
    (funding,) = [entry for entry in ledger.entries if entry.kind is LedgerKind.FUNDING]
    assert funding.symbol == BTC
    assert funding.amount == pytest.approx(-3)


async def test_all_records_are_read_however_many_there_are(rig: Rig) -> None:
    """130 transfers: more than two pages of the smallest venue, less than one of the largest."""
    since = rig.exchange.now - HOUR_S
    for _ in range(130):
        rig.exchange.transfer(rig.account.api_key, "USDT", Decimal(1))
    twice = [await rig.venue.fetch_ledger(rig.scope, since) for _ in range(2)]
    ids = [[entry.record_id for entry in ledger.entries] for ledger in twice]
    assert len(set(ids[0])) == len(ids[0]) == 130
    assert sorted(ids[0]) == sorted(ids[1])


# --- a venue that fails -----------------------------------------------------------------------


async def test_a_read_that_fails_is_never_an_empty_answer(rig: Rig) -> None:
    """502 with a page: every fetch raises Unavailable, a look-up proves nothing."""
    rig.fail_reads()
    for read in (
        rig.venue.fetch_reading(rig.scope),
        rig.venue.fetch_positions(rig.scope),
        rig.venue.fetch_orders(rig.scope),
        rig.venue.fetch_ledger(rig.scope, rig.exchange.now - HOUR_S),
        rig.venue.fetch_marks((BTC,)),
        rig.venue.fetch_market_limits(),
        rig.venue.fetch_position_mode(rig.scope),
    ):
        with pytest.raises(Unavailable):
            await read
    if rig.service is not None:
        found = await rig.venue.find_order(rig.scope, ClientOrderId("ks-1"), BTC)
        assert isinstance(found, Unknown)
    rig.mend()
    assert len((await rig.venue.fetch_reading(rig.scope)).positions) == 2


async def test_an_answer_that_says_nothing_is_malformed_and_not_empty(rig: Rig) -> None:
    """`{}` instead of positions, orders, records."""
    rig.garble_reads()
    for read in (
        rig.venue.fetch_reading(rig.scope),
        rig.venue.fetch_positions(rig.scope),
        rig.venue.fetch_orders(rig.scope),
        rig.venue.fetch_ledger(rig.scope, rig.exchange.now - HOUR_S),
        rig.venue.fetch_market_limits(),
    ):
        with pytest.raises((Malformed, Unavailable)):
            await read


async def test_closing_an_account_twice_is_allowed(rig: Rig) -> None:
    """The end of a run may come in more than one way."""
    await rig.venue.aclose()
    await rig.venue.aclose()


async def test_a_lost_order_counts_for_as_long_as_the_venue_may_take_it(rig: Rig) -> None:
    """It may wait 4 s before it is signed; then its stamp is good for as long as the venue says."""
    windows_s = {"binance": 10, "bybit": 5, "bitget": WINDOW_S, "bitget-unified": WINDOW_S}
    assert rig.venue.lands_within_s >= 4 + windows_s.get(rig.name, 10)


# --- inspection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planted", "right", "value"),
    [
        ({"can_withdraw": True}, "can_withdraw", True),
        ({"can_withdraw": False}, "can_withdraw", False),
        ({"can_trade": False}, "can_trade", False),
        ({"can_read_transfers": False}, "can_read_transfers", False),
        ({"is_bound_to_ip": True}, "is_bound_to_ip", True),
    ],
)
async def test_an_inspection_tells_what_the_key_may_do(
    name: str, planted: Mapping[str, bool], right: str, value: bool
) -> None:
    """As the venue says it, each right for itself."""
    async with rig_of(name, **planted) as rig:
        told = await rig.venue.inspect(rig.scope, (BTC,))
    assert getattr(told.rights, right) is value
    # At Bitget reading and records are one right.
    assert told.rights.can_read is True or right == "can_read_transfers"


async def test_an_inspection_tells_how_the_account_is_set(pair: Rig) -> None:
    """Mode, family, clock and distance."""
    told = await pair.venue.inspect(pair.scope, (BTC,))
    # Where every symbol has a mode of its own, the account has none to tell.
    assert isinstance(told.position_mode, NotTold) or told.position_mode is PositionMode.HEDGE
    assert isinstance(told.family, AccountFamily)
    assert isinstance(told.latency_s, float) and isinstance(told.server_offset_s, float)
    assert abs(told.server_offset_s) < 1.0


async def test_an_inspection_of_a_venue_that_fails_raises_nothing(rig: Rig) -> None:
    """What is not told is a value with a reason, and never a good answer."""
    rig.fail_reads()
    told = await rig.venue.inspect(rig.scope, (BTC,))
    assert isinstance(told.latency_s, NotTold) and told.latency_s.reason
    assert isinstance(told.position_mode, NotTold)
    assert told.rights.can_trade is None and told.rights.can_withdraw is None
    assert told.rights.can_read_transfers is None and told.rights.reason
    assert told.costs == {}
