"""The spot side of the simulated exchange: balances, resting orders, fills and refusals."""

from __future__ import annotations

from decimal import Decimal

import pytest

from model import OrderSide
from simulator.exchange import Exchange
from simulator.house_rules import HouseRules
from simulator.reasons import Reason, Rejected
from simulator.seeds import apply_seed
from simulator.spot_state import SpotBook, SpotOrder, SpotRecordKind, SpotRequest
from simulator.state import OrderStatus, OrderType

KEY = "test-key"


def an_exchange(**changes: object) -> Exchange:
    """One account with 2 BTC, 50 SOL and 1,000 USDT on the spot side; BTC at 60,000, SOL at 100."""
    exchange = Exchange(now=1_700_000_000.0)
    seed = {
        "api_key": KEY,
        "api_secret": "test-secret",
        "wallet": {"USDT": 500},
        "spot": {"BTC": 2, "SOL": 50, "USDT": 1000},
        "prices": {"BTCUSDT": 60_000, "SOLUSDT": 100},
        "spot_markets": [
            {"symbol": "BTCUSDT", "spread": "0.001"},
            {"symbol": "SOLUSDT", "spread": "0.002"},
        ],
        **changes,
    }
    apply_seed(exchange, seed)
    return exchange


def sell(exchange: Exchange, symbol: str, quantity: str, **changes: object) -> SpotOrder:
    """Sell at the market, changed as asked."""
    request = {
        "symbol": symbol,
        "side": OrderSide.SELL,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(quantity),
        **changes,
    }
    return exchange.spot.place(KEY, SpotRequest(**request))  # type: ignore[arg-type]


def free(exchange: Exchange, asset: str) -> Decimal:
    """What can be used of an asset."""
    return exchange.spot.view(KEY).free(asset)


def test_market_sale_pays_half_the_spread_and_the_fee() -> None:
    """10 SOL at a mid of 100, spread 0.2 %: 10 x 99.9 = 999, less 0.1 % = 998.001 come in."""
    exchange = an_exchange()
    order = sell(exchange, "SOLUSDT", "10")
    assert order.status is OrderStatus.FILLED
    assert order.quote_filled == Decimal(999)
    assert free(exchange, "SOL") == 40
    assert free(exchange, "USDT") == Decimal("1998.001")


def test_resting_order_holds_what_it_gives_away_until_it_is_cancelled() -> None:
    """40 of 50 SOL rest: 10 are free, 11 are too many, and a cancel frees them all."""
    exchange = an_exchange()
    resting = sell(exchange, "SOLUSDT", "40", order_type=OrderType.LIMIT, price=Decimal(150))
    assert free(exchange, "SOL") == 10
    with pytest.raises(Rejected) as refusal:
        sell(exchange, "SOLUSDT", "11")
    assert refusal.value.reason is Reason.BALANCE_INSUFFICIENT
    exchange.spot.cancel(KEY, "SOLUSDT", order_id=resting.order_id)
    assert free(exchange, "SOL") == 50


def test_resting_purchase_holds_its_quote_and_fills_when_the_price_comes() -> None:
    """A purchase of 5 SOL at 90 holds 450 USDT and fills once the ask falls to it."""
    exchange = an_exchange()
    sell(
        exchange,
        "SOLUSDT",
        "5",
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        price=Decimal(90),
    )
    assert free(exchange, "USDT") == 550
    exchange.set_prices({"SOLUSDT": 89})
    assert exchange.spot.view(KEY).orders == {}
    assert free(exchange, "USDT") == 550
    assert free(exchange, "SOL") == Decimal("54.995")


def test_coin_quoted_market_pays_in_the_coin() -> None:
    """10,000 QRX at 0.00001 BTC bring 0.1 BTC less half the spread and the fee."""
    exchange = an_exchange(
        spot={"QRX": 10_000},
        spot_prices={"QRXBTC": "0.00001"},
        spot_markets=[{"symbol": "QRXBTC", "spread": 0}],
    )
    sell(exchange, "QRXBTC", "10000")
    assert free(exchange, "QRX") == 0
    assert free(exchange, "BTC") == Decimal("0.0999")


@pytest.mark.parametrize(
    ("symbol", "quantity", "reason"),
    [
        ("SOLUSDT", "0", Reason.QUANTITY_NOT_POSITIVE),
        ("SOLUSDT", "0.0005", Reason.QUANTITY_OFF_STEP),
        ("SOLUSDT", "0.000000001", Reason.QUANTITY_TOO_PRECISE),
        ("SOLUSDT", "0.04", Reason.NOTIONAL_TOO_SMALL),
        ("SOLUSDT", "10001", Reason.MARKET_QUANTITY_TOO_LARGE),
        ("NOPEUSDT", "1", Reason.UNKNOWN_SYMBOL),
        ("QRXBTC", "1", Reason.NO_PRICE),
    ],
)
def test_order_against_the_rules_is_refused(symbol: str, quantity: str, reason: Reason) -> None:
    """Each rule has a reason of its own, and nothing changes."""
    exchange = an_exchange()
    before = dict(exchange.spot.view(KEY).balances)
    with pytest.raises(Rejected) as refusal:
        sell(exchange, symbol, quantity)
    assert refusal.value.reason is reason
    assert exchange.spot.view(KEY).balances == before


def test_market_with_an_empty_book_has_no_price() -> None:
    """None takes the price away; a number brings it back."""
    exchange = an_exchange()
    exchange.spot.set_prices({"SOLUSDT": None})
    assert exchange.spot.mid("SOLUSDT") is None
    exchange.spot.set_prices({"SOLUSDT": 70})
    assert exchange.spot.mid("SOLUSDT") == 70


def test_thin_book_fills_a_part_and_the_rest_expires() -> None:
    """A fill fraction of 0.5 leaves 25 of 50 SOL where they were."""
    exchange = an_exchange()
    request = SpotRequest(
        symbol="SOLUSDT",
        side=OrderSide.SELL,
        order_type=OrderType.MARKET,
        quantity=Decimal(50),
    )
    order = exchange.spot.place(KEY, request, fill_fraction=Decimal("0.5"))
    assert (order.status, order.filled) == (OrderStatus.EXPIRED, Decimal(25))
    assert free(exchange, "SOL") == 25


def test_transfer_moves_money_between_both_sides_and_leaves_a_record_on_each() -> None:
    """300 from futures to spot: 200 and 1,300, one record each; too much moves nothing."""
    exchange = an_exchange()
    exchange.move_to_spot(KEY, "USDT", Decimal(300))
    assert exchange.account(KEY).wallet["USDT"] == 200
    assert free(exchange, "USDT") == 1300
    (record,) = exchange.spot.wallet(KEY).records
    assert (record.kind, record.amount) == (SpotRecordKind.TRANSFER, Decimal(300))
    assert exchange.account(KEY).income[-1].amount == -300
    with pytest.raises(Rejected):
        exchange.move_to_spot(KEY, "USDT", Decimal(-1301))
    assert free(exchange, "USDT") == 1300


def test_view_of_an_earlier_moment_shows_what_was_held_then() -> None:
    """A stale answer is the same account at an earlier time."""
    exchange = an_exchange()
    exchange.set_time(1_700_000_010.0)
    sell(exchange, "SOLUSDT", "10")
    assert exchange.spot.view(KEY, as_of=1_700_000_005.0).free("SOL") == 50
    assert exchange.spot.view(KEY).free("SOL") == 40


def test_one_purse_can_back_both_sides() -> None:
    """In a unified account a spot sale pays into the wallet that backs the positions."""
    exchange = an_exchange()
    account = exchange.account(KEY)
    account.wallet["SOL"] = Decimal(5)
    exchange.spot.share_purse(KEY, account.wallet)
    sell(exchange, "SOLUSDT", "5")
    assert account.wallet["SOL"] == 0
    assert account.wallet["USDT"] == Decimal(500) + Decimal("499.0005")


@pytest.mark.parametrize(("book", "free_before"), [(SpotBook.TPSL, 30), (SpotBook.PLAN, 50)])
@pytest.mark.parametrize(("trigger", "spared", "fires_at"), [(80, 81, 79), (120, 119, 121)])
def test_an_order_that_waits_for_a_price_is_carried_out_there(
    book: SpotBook, free_before: int, trigger: int, spared: int, fires_at: int
) -> None:
    """20 SOL, from below or from above; a stop holds them from the start, a plan nothing."""
    exchange = an_exchange()
    sell(exchange, "SOLUSDT", "20", book=book, trigger_price=Decimal(trigger))
    assert free(exchange, "SOL") == free_before
    exchange.spot.set_prices({"SOLUSDT": spared})
    assert exchange.spot.view(KEY).balances["SOL"] == 50
    exchange.spot.set_prices({"SOLUSDT": fires_at})
    assert exchange.spot.view(KEY).balances["SOL"] == 30
    assert exchange.spot.view(KEY).orders == {}


def test_a_plan_whose_coins_are_gone_by_then_expires() -> None:
    """It held nothing: 45 of the 50 SOL were sold meanwhile."""
    exchange = an_exchange()
    plan = sell(exchange, "SOLUSDT", "20", book=SpotBook.PLAN, trigger_price=Decimal(80))
    sell(exchange, "SOLUSDT", "45")
    exchange.spot.set_prices({"SOLUSDT": None})
    exchange.spot.set_prices({"SOLUSDT": 79})
    done = exchange.spot.find_order(KEY, "SOLUSDT", order_id=plan.order_id)
    assert done.status is OrderStatus.EXPIRED
    assert free(exchange, "SOL") == 5


def test_what_waits_names_its_price_and_nothing_else_does() -> None:
    """Neither a stop without one, nor a plain order with one, is an order."""
    exchange = an_exchange()
    for changes in ({"book": SpotBook.TPSL}, {"trigger_price": Decimal(80)}):
        with pytest.raises(Rejected):
            sell(exchange, "SOLUSDT", "1", **changes)


@pytest.mark.parametrize("stays_taken", [True, False])
def test_an_id_is_taken_while_its_order_is_open_and_on_some_venues_for_ever(
    stays_taken: bool,
) -> None:
    """The second sale under the id of a filled one."""
    exchange = an_exchange()
    exchange.world.rules = HouseRules(spot_client_ids_stay_taken=stays_taken)
    sell(exchange, "SOLUSDT", "1", client_id="ks-1")
    if stays_taken:
        with pytest.raises(Rejected) as refusal:
            sell(exchange, "SOLUSDT", "1", client_id="ks-1")
        assert refusal.value.reason is Reason.DUPLICATE_CLIENT_ID
    else:
        assert sell(exchange, "SOLUSDT", "1", client_id="ks-1").filled == 1
