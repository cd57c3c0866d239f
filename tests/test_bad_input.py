"""A whole guard beside accounts that are not as they should be, over the wire.

Every account has an exchange of its own, 10,000 and 100 SOL short from 100. What is wrong with one
is told so that a person knows what to do, and neither a calm hour nor another account pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from model import OrderSide, PositionMode, Trust
from simulator.faults import Fault, FaultKind
from simulator.state import Leg, OrderRequest, OrderType
from tests.wire_street import Door, Street, play, street

pytestmark = pytest.mark.usefixtures("without_fsync")


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How one exchange refuses a key, lists its markets and its records."""

    refusal: Fault
    records: str
    markets: str
    no_markets: str


NO_MARKETS_OF_BITGET = '{"code": "00000", "msg": "success", "requestTime": 1, "data": []}'
KEY_IS_GONE = Fault(kind=FaultKind.ERROR, status=400, code=40037, message="Apikey does not exist")

MANNERS: Mapping[str, Manner] = {
    "binance": Manner(
        refusal=Fault(
            kind=FaultKind.ERROR,
            status=401,
            code=-2015,
            message="Invalid API-key, IP, or permissions for action.",
        ),
        records="income",
        markets="exchangeInfo",
        no_markets='{"symbols": []}',
    ),
    "bitget": Manner(
        refusal=KEY_IS_GONE,
        records="account/bill",
        markets="market/contracts",
        no_markets=NO_MARKETS_OF_BITGET,
    ),
    "bitget-unified": Manner(
        refusal=KEY_IS_GONE,
        records="financial-records",
        markets="market/instruments",
        no_markets=NO_MARKETS_OF_BITGET,
    ),
    "bybit": Manner(
        refusal=Fault(
            kind=FaultKind.ERROR, status=200, code=33004, message="Your api key has expired."
        ),
        records="transaction-log",
        markets="instruments-info",
        no_markets='{"retCode": 0, "retMsg": "OK", "time": 1, '
        '"result": {"category": "linear", "list": [], "nextPageCursor": ""}}',
    ),
}

FLAT_ROW = {"symbol": "XRPUSDT", "side": "BUY", "type": "LIMIT", "quantity": 100, "price": "0.3"}
LOOK_AT_KEY = "-> look at the key on the exchange"


@pytest.fixture(params=sorted(MANNERS))
def way(request: pytest.FixtureRequest) -> str:
    """Which exchange."""
    return str(request.param)


def doors(way: str) -> tuple[Door, ...]:
    """One sound account, and one for each thing that may be wrong."""
    plain = Door(name="sound", way=way)
    return (
        plain,
        replace(plain, name="gateway_at_first"),
        replace(plain, name="clock_ahead", is_ahead_s=30.0),
        replace(plain, name="clock_behind", is_ahead_s=-30.0),
        replace(plain, name="no_records"),
        replace(plain, name="may_not_trade", seed={"can_trade": False}),
        replace(plain, name="row_of_zero", seed={"orders": [FLAT_ROW]}),
        replace(plain, name="no_markets"),
        replace(plain, name="expired"),
    )


CLOSED = (
    "sound",
    "gateway_at_first",
    "clock_ahead",
    "clock_behind",
    "no_records",
    "row_of_zero",
    "no_markets",
)


def spoil(at: Street, manner: Manner) -> None:
    """Make everything wrong that is not in the seeds."""
    plan = {name: house.service.plan for name, house in at.houses.items()}
    at.fail("gateway_at_first", FaultKind.ANSWER_BEFORE, times=3, status=502, body="<html>")
    plan["no_records"].add(replace(manner.refusal, path=manner.records))
    plan["expired"].add(manner.refusal)
    at.fail(
        "no_markets",
        FaultKind.ANSWER_BEFORE,
        path=manner.markets,
        status=200,
        body=manner.no_markets,
    )


def warned(at: Street, about: str) -> list[str]:
    """What `status` warns of an account."""
    return [line for line in at.status().warnings if f"{about}_futures" in line]


def test_what_is_wrong_is_told_and_a_fall_is_closed_all_the_same(tmp_path: Path, way: str) -> None:
    """100 calm seconds close nothing; a fall of 5 % halves every short that may be traded."""

    async def story() -> None:
        async with street(tmp_path, *doors(way)) as at:
            spoil(at, MANNERS[way])
            async with at.guarded():
                await at.wait(100)
                for name in at.doors:
                    assert at.sent(name) == [], name
                    assert "trigger" not in at.events(name)
                    is_seen = at.shown(name).trust is Trust.TRUSTED
                    assert is_seen is (name != "expired"), (name, at.shown(name))
                assert warned(at, "sound") == []
                assert LOOK_AT_KEY in at.shown("expired").unread
                assert "BLIND" in warned(at, "expired")[0]
                (records,) = warned(at, "no_records")
                assert LOOK_AT_KEY in records
                assert "let the key read transfers" in records
                (ahead,) = warned(at, "clock_ahead")
                (behind,) = warned(at, "clock_behind")
                assert "clock is 30 s behind the exchange's -> run a time server" in ahead
                assert "clock is 30 s ahead of the exchange's -> run a time server" in behind
                for name in at.doors:
                    at.prices(name, SOL=105)
                await at.until(lambda: all(at.held(name) == -50 for name in CLOSED), within_s=17)
                await at.wait(35)
                for name in CLOSED:
                    assert at.held(name) == -50, name
                    assert at.book(name).incident is None
                assert at.held("may_not_trade") == -100
                assert "no progress" in warned(at, "may_not_trade")[0]
                (stuck,) = (book for book in at.status().books if book.open_incident is not None)
                assert stuck.orders is not None
                assert LOOK_AT_KEY in stuck.orders.latest_trouble
                assert at.sent("expired") == []

    play(story)


def trade(at: Street, name: str, side: OrderSide, symbol: str, *, size: int, leg: Leg) -> None:
    """A bot's market order."""
    order = OrderRequest(
        symbol=symbol,
        side=side,
        order_type=OrderType.MARKET,
        quantity=Decimal(size),
        leg=leg,
        price=None,
        trigger_price=None,
        reduce_only=None,
    )
    at.exchange(name).place(at.doors[name].api_key, order)


@pytest.mark.parametrize(
    ("way", "before"),
    [("binance", PositionMode.HEDGE), *((way, PositionMode.ONE_WAY) for way in sorted(MANNERS))],
)
def test_a_position_mode_that_is_switched_while_the_guard_runs_costs_nothing(
    tmp_path: Path, way: str, before: PositionMode
) -> None:
    """A flat account is switched and filled anew between two readings; then SOL rises by 5 %.

    The short of 100 is halved in the mode of now; the small long beside it stays, and no order
    opens anything.
    """
    after = next(mode for mode in PositionMode if mode is not before)
    is_hedged = after is PositionMode.HEDGE
    short, long = (Leg.SHORT, Leg.LONG) if is_hedged else (Leg.BOTH, Leg.BOTH)
    account = Door(
        name="switched", way=way, seed={"positions": [], "position_mode": before.lower()}
    )

    async def story() -> None:
        async with street(tmp_path, account, Door(name="other", way=way)) as at, at.guarded():
            await at.wait(25)
            at.exchange("switched").set_position_mode(account.api_key, after)
            trade(at, "switched", OrderSide.SELL, "SOLUSDT", size=100, leg=short)
            trade(at, "switched", OrderSide.BUY, "XRPUSDT", size=100, leg=long)
            await at.wait(12)
            at.prices("switched", SOL=105.5)
            await at.until(lambda: at.held("switched", leg=short) == -50, within_s=17)
            await at.until(lambda: at.book("switched").incident is None, within_s=15)
            assert at.held("switched", "XRP", long) == 100
            assert at.held("switched", leg=short) == -50
            assert at.sent("other") == []

    play(story)


def test_an_account_that_answers_zero_is_neither_a_loss_nor_a_flat_book_at_once(
    tmp_path: Path,
) -> None:
    """As after an upgrade to another kind of account: the totals are gone, with the positions.

    Nothing triggers while it is in doubt, and the status says what is doubted.
    """
    moved, other = Door(name="moved"), Door(name="other")

    async def story() -> None:
        async with street(tmp_path, moved, other) as at, at.guarded():
            await at.wait(35)
            account = at.exchange("moved").account(moved.api_key)
            account.legs.clear()
            account.wallet["USDT"] = Decimal(0)
            await at.wait(45)
            assert "trigger" not in at.events("moved")
            assert at.shown("moved").trust is Trust.SUSPECT
            assert "doubted" in warned(at, "moved")[0]
            assert at.sent("other") == []
            assert warned(at, "other") == []

    play(story)
