"""A whole guard over a simulated spot account, over HTTP: what it sells, and what it leaves.

The same on every exchange that has spot accounts.

The account holds 0.5 BTC at 60,000, 300 SOL at 100 and 40,000 USDT: 100,000 in all, so that each
3 1/3 that SOL falls costs 1 %.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from clock import SystemClock
from close_previews import preview_stages
from configuration.schema import STAGE_DEFAULTS
from decision import Decision
from model import Asset, BookName, Coin, Reading, ScopeId, Stage, StageMode, Symbol
from policy import BookPolicy, Policy
from simulator.exchange import Exchange
from simulator.spot_state import SpotRecordKind
from tests.memory_redis import MemoryRedis
from tests.memory_venue import KEY
from tests.wire_house import Happening, Prices, play_over_http

VENUES = ("binance", "bitget")
SEED: Mapping[str, Any] = {
    "wallet": {"USDT": 0},
    "prices": {"BTCUSDT": 60_000, "SOLUSDT": 100, "ETHUSDT": 3_000},
    "spot": {"BTC": "0.5", "SOL": 300, "USDT": 40_000},
    "spot_markets": [{"symbol": name, "spread": 0} for name in ("BTCUSDT", "SOLUSDT", "QRXBTC")],
}
SELL_ALL = StageMode.SELL_ALL_NON_USDT_KEEP_STABLES
BLACKLIST = StageMode.SELL_BLACKLIST_ONLY_KEEP_STABLES
TOP = StageMode.CLOSE_TOP_RISK_CONTRIBUTORS


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest) -> str:
    """Whose spot account it is."""
    return str(request.param)


def scope_of(venue: str) -> ScopeId:
    """The spot account of a venue."""
    return ScopeId(f"{venue}_spot")


def a_policy(
    venue: str,
    modes: Mapping[Stage, StageMode] | None = None,
    *,
    blacklist: tuple[str, ...] = (),
    never_touch: tuple[str, ...] = (),
) -> Policy:
    """A live spot book; stages without a mode only lock."""
    stages = tuple(
        replace(
            default,
            mode=(modes or {}).get(default.stage, StageMode.LOCK_ONLY),
            blacklist=tuple(Asset(name) for name in blacklist),
        )
        for default in STAGE_DEFAULTS
    )
    book = BookPolicy(
        name=BookName(scope_of(venue)),
        scopes=(scope_of(venue),),
        stages=stages,
        never_touch=tuple(Symbol(name) for name in never_touch),
        sell_collateral=True,
    )
    return Policy(books=(book,), dry_run=False, instance_tag="test")


@dataclass(slots=True)
class Told:
    """What the guard decided."""

    opened: list[Stage] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    targets: dict[str, Decimal] = field(default_factory=dict)

    def take(self, _now_s: float, decision: Decision) -> None:
        """Note one decision."""
        for one in decision.opened:
            self.opened.append(one.incident.stage)
            self.targets |= {t.key.symbol: t.may_remain for t in one.incident.targets}
        self.events += [audit.event for audit in decision.records.audits]
        self.messages += [audit.message for audit in decision.records.audits]


def play(
    home: Path,
    policy: Policy,
    script: Sequence[tuple[float, Happening]],
    *,
    ends_s: float = 400.0,
    redis: MemoryRedis | None = None,
    **seed: Any,
) -> tuple[Told, Exchange]:
    """Let a guard watch the spot account until `ends_s`; its switch with a `redis`."""
    told = Told()
    exchange = asyncio.run(
        play_over_http(
            policy.books[0].scopes[0].removesuffix("_spot"),
            home=home,
            seed={**SEED, **seed},
            policy=policy,
            script=script,
            ends_s=ends_s,
            on_decision=told.take,
            account="spot",
            redis=redis,
            request_poll_s=10.0,
        )
    )
    return told, exchange


def held(exchange: Exchange, asset: str) -> Decimal:
    """All of an asset."""
    return exchange.spot.view(KEY).balances.get(asset, Decimal(0))


def sales(exchange: Exchange) -> list[tuple[object, object]]:
    """The guard's own orders: market and quantity."""
    return [
        (entry["symbol"], entry["quantity"])
        for entry in exchange.ledger
        if entry["event"] == "spot_order" and str(entry["client_id"]).startswith("ks-")
    ]


def fall(**prices: float) -> list[tuple[float, Happening]]:
    """Marks that fall after five calm minutes."""
    marks = {f"{base}USDT": price for base, price in prices.items()}
    return [(300.0, Prices(marks))]


def test_stage_1_sells_half_of_the_coin_that_lost(tmp_path: Path, venue: str) -> None:
    """SOL from 100 to 83 loses 5,100 of 100,000: half of the 300 goes, BTC stays."""
    told, exchange = play(tmp_path, a_policy(venue, {Stage.REDUCED_TOP_RISK: TOP}), fall(SOL=83))
    assert told.opened == [Stage.REDUCED_TOP_RISK]
    assert sales(exchange) == [("SOLUSDT", "150")]
    assert held(exchange, "SOL") == 150
    assert held(exchange, "BTC") == Decimal("0.5")
    assert "done" in " ".join(told.events)


def test_stage_3_sells_every_coin_and_frees_what_orders_hold(tmp_path: Path, venue: str) -> None:
    """SOL at 60 loses 12 %: a bot's sale of 200 SOL is cancelled, and every coin goes whole."""
    told, exchange = play(
        tmp_path,
        a_policy(venue, {Stage.ALL_CLOSED: SELL_ALL}),
        fall(SOL=60),
        spot_orders=[
            {"symbol": "SOLUSDT", "side": "SELL", "type": "LIMIT", "quantity": 200, "price": 150},
            {"symbol": "SOLUSDT", "side": "BUY", "type": "LIMIT", "quantity": 10, "price": 20},
        ],
    )
    assert Stage.ALL_CLOSED in told.opened
    assert held(exchange, "SOL") == held(exchange, "BTC") == 0
    assert exchange.spot.view(KEY).orders == {}
    # 40,000 + 30,000 + 18,000, less 0.1 % of what was sold.
    assert held(exchange, "USDT") == Decimal(88_000) - Decimal(48)


def test_orders_that_wait_for_a_price_go_before_what_they_hold_is_sold(tmp_path: Path) -> None:
    """A stop holds 200 SOL and a plan would buy BTC: both are lists of their own on Bitget."""
    told, exchange = play(
        tmp_path,
        a_policy("bitget", {Stage.ALL_CLOSED: SELL_ALL}),
        fall(SOL=60),
        spot_orders=[
            {
                "symbol": "SOLUSDT",
                "side": "SELL",
                "book": "TPSL",
                "quantity": 200,
                "trigger_price": 20,
            },
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "book": "PLAN",
                "quantity": "0.1",
                "trigger_price": 50_000,
            },
        ],
    )
    assert Stage.ALL_CLOSED in told.opened
    assert held(exchange, "SOL") == held(exchange, "BTC") == 0
    assert exchange.spot.view(KEY).orders == {}


def test_blacklisted_coin_is_sold_over_btc_and_no_btc_that_was_there(
    tmp_path: Path, venue: str
) -> None:
    """20,000 QRX at 0.00005 BTC are 1 BTC; at half of that they bring 0.4995 beside the 0.5.

    0.49950 of them are on the step of BTC and go on; the 0.5 stay to the last digit.
    """
    told, exchange = play(
        tmp_path,
        a_policy(venue, {Stage.ALL_CLOSED: BLACKLIST}, blacklist=("QRX",)),
        [(300.0, lambda at: at.spot.set_prices({"QRXBTC": "0.000025"}))],
        spot={"BTC": "0.5", "QRX": 20_000, "USDT": 40_000},
        spot_prices={"QRXBTC": "0.00005"},
    )
    assert Stage.ALL_CLOSED in told.opened
    assert told.targets == {"QRX": Decimal(0), "BTC": Decimal("0.5")}
    assert [symbol for symbol, _ in sales(exchange)] == ["QRXBTC", "BTCUSDT"]
    assert held(exchange, "QRX") == 0
    assert held(exchange, "BTC") == Decimal("0.5")


@pytest.mark.parametrize("coin", ["BTC", "SOL"])
def test_untouched_coin_stays_in_stage_2(tmp_path: Path, venue: str, coin: str) -> None:
    """`never_touch` holds for sales, and for orders of that coin."""
    told, exchange = play(
        tmp_path,
        a_policy(venue, {Stage.DOMINANT_CLOSED: SELL_ALL}, never_touch=(coin,)),
        fall(SOL=74),
        spot_orders=[
            {"symbol": f"{coin}USDT", "side": "BUY", "type": "LIMIT", "quantity": 1, "price": 20}
        ],
    )
    assert Stage.DOMINANT_CLOSED in told.opened
    other = {"BTC": "SOL", "SOL": "BTC"}[coin]
    assert held(exchange, coin) > 0
    assert held(exchange, other) == 0
    assert len(exchange.spot.view(KEY).orders) == 1


def test_account_without_modes_locks_and_sells_nothing(tmp_path: Path, venue: str) -> None:
    """Stage 3 is opened and latched; entry orders go, every coin stays, and its sale with it."""
    told, exchange = play(
        tmp_path,
        a_policy(venue),
        fall(SOL=60),
        spot_orders=[
            {"symbol": "SOLUSDT", "side": "SELL", "type": "LIMIT", "quantity": 200, "price": 150},
            {"symbol": "SOLUSDT", "side": "BUY", "type": "LIMIT", "quantity": 10, "price": 20},
        ],
    )
    assert Stage.ALL_CLOSED in told.opened
    assert sales(exchange) == []
    assert held(exchange, "SOL") == 300
    assert [order.side for order in exchange.spot.view(KEY).orders.values()] == ["SELL"]


@pytest.mark.parametrize(
    ("state", "mode", "left", "orders"),
    [
        ("halt", SELL_ALL, 300, ["SELL"]),
        ("kill", StageMode.LOCK_ONLY, 300, []),
        ("kill", SELL_ALL, 0, []),
    ],
)
def test_the_operators_switch_on_a_spot_account(
    tmp_path: Path, venue: str, state: str, mode: StageMode, left: int, orders: list[str]
) -> None:
    """Halt: purchases go. Kill: every order goes, and coins only where stage 3 has a mode."""
    redis = MemoryRedis(clock=SystemClock(), value="running")
    told, exchange = play(
        tmp_path,
        a_policy(venue, {Stage.ALL_CLOSED: mode}),
        [(30.0, lambda _at: redis.set(state))],
        ends_s=60.0,
        redis=redis,
        spot_orders=[
            {"symbol": "SOLUSDT", "side": "SELL", "type": "LIMIT", "quantity": 200, "price": 150},
            {"symbol": "SOLUSDT", "side": "BUY", "type": "LIMIT", "quantity": 10, "price": 20},
        ],
    )
    assert "switch_changed" in told.events
    assert held(exchange, "SOL") == left
    assert [order.side for order in exchange.spot.view(KEY).orders.values()] == orders


FLOWS = {
    "withdrawal": lambda at: at.spot.book(
        KEY, "USDT", Decimal(-30_000), kind=SpotRecordKind.WITHDRAWAL
    ),
    "transfer": lambda at: at.move_to_spot(KEY, "USDT", Decimal(-30_000)),
    "coin": lambda at: at.spot.book(KEY, "SOL", Decimal(-300), kind=SpotRecordKind.WITHDRAWAL),
}


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_money_that_leaves_with_a_record_is_no_loss(tmp_path: Path, venue: str, flow: str) -> None:
    """30 % leave in a calm hour, as stables or as a coin: nothing is opened and nothing sold."""
    policy = a_policy(venue, dict.fromkeys(Stage, SELL_ALL))
    told, exchange = play(tmp_path, policy, [(60.0, FLOWS[flow])], ends_s=700.0)
    assert told.opened == []
    assert sales(exchange) == []


def test_the_same_fall_without_a_record_is_a_loss_after_the_doubt(
    tmp_path: Path, venue: str
) -> None:
    """What vanishes unexplained is doubted for 120 s, then every coin is sold."""

    def vanish(exchange: Exchange) -> None:
        exchange.spot.wallet(KEY).balances["USDT"] -= 30_000

    policy = a_policy(venue, {Stage.ALL_CLOSED: SELL_ALL})
    told, exchange = play(tmp_path, policy, [(60.0, vanish)], ends_s=360.0)
    assert told.opened == [Stage.ALL_CLOSED]
    assert held(exchange, "SOL") == held(exchange, "BTC") == 0


def test_empty_book_is_no_loss(tmp_path: Path, venue: str) -> None:
    """Nobody quotes SOL for a while: its last price counts, and nothing is opened."""
    script: list[tuple[float, Happening]] = [
        (60.0, lambda at: at.spot.set_prices({"SOLUSDT": None})),
        (360.0, lambda at: at.spot.set_prices({"SOLUSDT": 99})),
    ]
    policy = a_policy(venue, dict.fromkeys(Stage, SELL_ALL))
    told, exchange = play(tmp_path, policy, script, ends_s=660.0)
    assert told.opened == []
    assert sales(exchange) == []


def test_dust_is_left_and_counts_as_done(tmp_path: Path, venue: str) -> None:
    """0.04 XRP are worth 2 cents: the incident ends without them."""
    told, exchange = play(
        tmp_path,
        a_policy(venue, {Stage.ALL_CLOSED: SELL_ALL}),
        fall(SOL=60),
        spot={"BTC": "0.5", "SOL": 300, "USDT": 40_000, "XRP": "0.04"},
        prices={**SEED["prices"], "XRPUSDT": "0.5"},
    )
    assert held(exchange, "XRP") == Decimal("0.04")
    assert held(exchange, "SOL") == 0
    assert any("too small for the venue" in message for message in told.messages)


def test_check_previews_the_sale_of_coins(venue: str) -> None:
    """Stage 3 would sell 0.5 BTC and 300 SOL, worth 60,000, in two orders of one round."""
    coins = tuple(
        Coin(asset=Asset(name), quantity=Decimal(held), price=price, sellable=Decimal(held))
        for name, held, price in (("BTC", "0.5", 60_000.0), ("SOL", "300", 100.0))
    )
    reading = Reading(
        scope=scope_of(venue),
        asked_at=0.0,
        equity=100_000.0,
        wallet=None,
        unrealised_pnl=None,
        positions=(),
        coins=coins,
    )
    (book,) = a_policy(venue, {Stage.ALL_CLOSED: SELL_ALL}).books
    previews = preview_stages(
        reading=reading, book=book, orders=(), limits={}, costs={}, pace=None, latency_s=0.0
    )
    last = previews[-1]
    assert (last.stage, last.value, last.orders, last.is_finished) == (
        Stage.ALL_CLOSED,
        60_000.0,
        2,
        True,
    )
