"""Bitget's rules in the simulator one by one, of both kinds of account."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from model import OrderKind, OrderSide
from simulator.exchange import Exchange
from simulator.seeds import apply_seed
from simulator.state import Leg, OrderRequest, OrderType, to_decimal
from simulator.wire.bitget import ROUTES, RULES, BitgetDialect
from simulator.wire.protocol import Circumstances, WireAnswer, WireRequest
from tests import bitget_spot_answers as spot
from tests.bitget_answers import (
    account_row,
    bill_row,
    coin_row,
    contract_row,
    instrument_row,
    order_row,
    plan_row,
    position_row,
    record_row,
    strategy_row,
    unified_order,
    unified_position,
)
from tests.simulated import KEY, SECRET, seed
from tests.venue_rigs import PASSPHRASE, hedged

NOW = 1_800_000_000.0
MIX = "/api/v2/mix"
V3 = "/api/v3"
USDT: dict[str, Any] = {"productType": "USDT-FUTURES"}
CATEGORY: dict[str, Any] = {"category": "USDT-FUTURES"}
UNIFIED: dict[str, Any] = {"unified": True}


class Line:
    """Signed requests straight to the dialect; time stands where it is put."""

    def __init__(self, **changes: Any) -> None:
        self.exchange = Exchange(now=NOW)
        self.dialect = BitgetDialect(self.exchange)
        apply_seed(self.exchange, {**seed(passphrase=PASSPHRASE, **changes), "at": NOW})
        self.monotonic = 0.0
        self.answer = WireAnswer(status=0, body="")

    def ask(
        self,
        method: str,
        path: str,
        sent: dict[str, Any] | None = None,
        *,
        skew_s: float = 0.0,
        secret: str = SECRET,
        **headers: str,
    ) -> Any:
        """One request; its decoded body."""
        self.monotonic += 1.0
        stamp = str(int((self.exchange.now + skew_s) * 1000))
        query = urlencode(sent or {}) if method == "GET" else ""
        body = json.dumps(sent or {}) if method == "POST" else ""
        signed = f"{stamp}{method}{path}{'?' if query else ''}{query}{body}"
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        request = WireRequest(
            method=method,
            path=f"/api.bitget.com{path}",
            raw_query=query,
            raw_body=body,
            headers={
                "ACCESS-KEY": KEY,
                "ACCESS-SIGN": base64.b64encode(digest).decode(),
                "ACCESS-TIMESTAMP": stamp,
                "ACCESS-PASSPHRASE": PASSPHRASE,
                **{name.replace("_", "-"): told for name, told in headers.items()},
            },
        )
        self.answer = self.dialect.answer(request, Circumstances(monotonic=self.monotonic))
        return json.loads(self.answer.body)

    def get(self, path: str, **sent: Any) -> Any:
        """The data of a read that succeeds."""
        answer = self.ask("GET", path, sent)
        assert answer["code"] == "00000", answer
        return answer["data"]

    def order(self, **changes: Any) -> str:
        """A market order of a classic account that sells 0.1 BTC, changed as asked; its code."""
        sent = {
            **USDT,
            "symbol": "BTCUSDT",
            "marginMode": "crossed",
            "marginCoin": "USDT",
            "size": "0.1",
            "side": "sell",
            "orderType": "market",
            "reduceOnly": "YES",
            **changes,
        }
        return str(self.post(f"{MIX}/order/place-order", **sent)["code"])

    def unified_order(self, **changes: Any) -> str:
        """The same of a unified account."""
        sent = {
            **CATEGORY,
            "symbol": "BTCUSDT",
            "qty": "0.1",
            "side": "sell",
            "orderType": "market",
            "reduceOnly": "yes",
            **changes,
        }
        return str(self.post(f"{V3}/trade/place-order", **sent)["code"])

    def post(self, path: str, **sent: Any) -> Any:
        """The whole answer to an order or a cancel; what was not given is left out."""
        return self.ask("POST", path, {name: told for name, told in sent.items() if told != ""})

    def held(self, symbol: str = "BTCUSDT", leg: Leg = Leg.BOTH) -> float:
        """Signed size of a position."""
        return float(self.exchange.amount(KEY, symbol, leg))

    def rest(self, side: OrderSide, quantity: str, at: str, **changes: Any) -> int:
        """A limit order, or a stop when it says so, that a bot left on BTC."""
        order = self.exchange.place(
            KEY,
            OrderRequest(
                **{
                    "symbol": "BTCUSDT",
                    "side": side,
                    "order_type": OrderType.LIMIT,
                    "quantity": to_decimal(quantity),
                    "price": to_decimal(at),
                    **changes,
                }
            ),
        )
        return order.order_id

    def stop(self, side: OrderSide, quantity: str, price: str, **changes: Any) -> int:
        """A stop that a bot left on BTC."""
        trigger: dict[str, Any] = {
            "order_type": OrderType.STOP_MARKET,
            "price": None,
            "trigger_price": to_decimal(price),
        }
        return self.rest(side, quantity, price, **{**trigger, **changes})


BUY, SELL = OrderSide.BUY, OrderSide.SELL


# --- shapes -----------------------------------------------------------------------------------


def kinds(row: dict[str, Any]) -> dict[str, str]:
    """The keys of a row and the JSON kind of each value."""
    return {name: type(told).__name__ for name, told in row.items()}


def shared(ours: dict[str, Any], shown: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The kinds of the keys that the venue's own example has, in our row and in the example."""
    return {name: kind for name, kind in kinds(ours).items() if name in shown}, kinds(shown)


def test_every_row_of_a_classic_account_has_the_keys_and_kinds_of_the_venues_own() -> None:
    """Money, position, order, plan, bill, contract: numbers are texts throughout."""
    line = Line()
    line.order()
    line.rest(BUY, "0.1", "50000")
    line.stop(BUY, "0.1", "70000")
    plans = {**USDT, "planType": "normal_plan"}
    for ours, shown in (
        (line.get(f"{MIX}/position/all-position", **USDT)[0], position_row()),
        (line.get(f"{MIX}/order/orders-pending", **USDT)["entrustedList"][0], order_row()),
        (line.get(f"{MIX}/order/orders-plan-pending", **plans)["entrustedList"][0], plan_row()),
        (line.get(f"{MIX}/account/bill", **USDT)["bills"][0], bill_row()),
        (line.get(f"{MIX}/market/contracts", **USDT)[0], contract_row()),
    ):
        found, expected = shared(ours, shown)
        assert found == expected
    money = line.get(f"{MIX}/account/accounts", **USDT)[0]
    assert set(account_row()) <= set(money)


def test_every_row_of_a_spot_account_has_the_keys_and_kinds_of_the_venues_own() -> None:
    """Coin, market, price, the three books, what is done, bills."""
    sells: dict[str, Any] = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.1"}
    books: list[dict[str, Any]] = [
        {"type": "LIMIT", "price": 90_000},
        {"type": "MARKET"},
        {"book": "PLAN", "trigger_price": 50_000},
    ]
    line = Line(spot={"BTC": 1}, spot_orders=[{**sells, **book} for book in books])
    for path, shown in (
        ("account/assets", spot.asset_row()),
        ("public/symbols", spot.symbol_row()),
        ("market/tickers", spot.ticker_row()),
        ("trade/unfilled-orders", spot.open_row()),
        ("trade/history-orders", spot.done_row()),
        ("account/bills", spot.bill_row()),
    ):
        row = line.get(f"/api/v2/spot/{path}")[0]
        found, expected = shared(row, shown)
        assert found == expected, path
    (plan,) = line.get("/api/v2/spot/trade/current-plan-order")["orderList"]
    found, expected = shared(plan, spot.plan_row())
    assert found == expected


def test_every_row_of_a_unified_account_has_the_keys_and_kinds_of_the_venues_own() -> None:
    """Coin, position, order, strategy order, record, instrument."""
    line = Line(**UNIFIED)
    line.unified_order()
    line.rest(BUY, "0.1", "50000")
    line.stop(SELL, "0.1", "50000", reduce_only=True)
    unfilled = line.get(f"{V3}/trade/unfilled-orders", **CATEGORY)["list"][0]
    strategies = line.get(f"{V3}/trade/unfilled-strategy-orders", **CATEGORY, type="tpsl")
    records = line.get(f"{V3}/account/financial-records", **CATEGORY)["list"]
    for ours, shown in (
        (line.get(f"{V3}/account/assets")["assets"][0], coin_row("USDT", "1", "1")),
        (line.get(f"{V3}/position/current-position", **CATEGORY)["list"][0], unified_position()),
        (unfilled, unified_order()),
        (strategies[0], strategy_row()),
        (records[0], record_row()),
        (line.get(f"{V3}/market/instruments", **CATEGORY)[0], instrument_row()),
    ):
        found, expected = shared(ours, shown)
        assert found == expected


# --- who may ask ------------------------------------------------------------------------------


def test_a_request_is_checked_for_key_phrase_time_and_signature() -> None:
    """Each with its own code, and status 400."""
    line = Line()
    path = f"{MIX}/account/accounts"
    for headers, code in (
        ({"ACCESS_KEY": "another"}, "40006"),
        ({"ACCESS_PASSPHRASE": "another"}, "40012"),
        ({"ACCESS_TIMESTAMP": "soon"}, "40005"),
        ({"ACCESS_SIGN": "another"}, "40009"),
    ):
        assert line.ask("GET", path, USDT, **headers)["code"] == code  # type: ignore[arg-type]
        assert line.answer.status == 400
    assert line.ask("GET", path, USDT, secret="another")["code"] == "40009"
    for skew_s in (-31.0, 31.0):
        assert line.ask("GET", path, USDT, skew_s=skew_s)["code"] == "40008"
    assert line.ask("GET", path, USDT, skew_s=29.0)["code"] == "00000"
    assert line.ask("POST", f"{MIX}/order/place-order", {**USDT})["code"] == "40019"


def test_each_family_of_endpoints_refuses_the_accounts_of_the_other() -> None:
    """40084 to a classic account, 40085 to a unified one; what everybody may ask is answered."""
    for line, refused, code in ((Line(), True, "40084"), (Line(**UNIFIED), False, "40085")):
        told = {
            line.ask(method, path)["code"]
            for (method, path), route in ROUTES.items()
            if route.is_unified is refused
        }
        assert told == {code}
        assert line.get("/api/v2/public/time") == {"serverTime": str(int(NOW * 1000))}


def test_a_key_that_may_not_trade_only_reads() -> None:
    """And says so of itself."""
    line = Line(can_trade=False)
    assert line.order() == "40014"
    assert not {"coow", "cpow"} & set(line.get("/api/v2/spot/account/info")["authorities"])
    line = Line(can_trade=False, **UNIFIED)
    assert line.unified_order() == "40014"
    assert line.get(f"{V3}/account/info")["permType"] == "read-only"


def test_a_second_has_so_many_requests_of_each_endpoint() -> None:
    """The eleventh order is refused with 429 and not carried out; reads go on."""
    line = Line()
    codes = []
    for n in range(11):
        line.monotonic = 5.0 + n / 100 - 1.0  # `ask` adds a second.
        codes.append(line.order(size="0.01", clientOid=f"a-{n}"))
    assert codes == ["00000"] * 10 + ["429"]
    assert line.answer.status == 429
    line.monotonic -= 1.0
    assert line.get(f"{MIX}/position/all-position", **USDT)
    assert line.order(size="0.01") == "00000"


def test_what_is_not_there_is_not_found() -> None:
    """Nobody has margin or coin-margined money here, and demo products are none."""
    line = Line()
    assert line.ask("GET", "/api/v2/margin/crossed/account/assets")["code"] == "40404"
    assert line.answer.status == 404
    demo = {"productType": "SUSDT-FUTURES"}
    assert line.ask("GET", f"{MIX}/account/accounts", demo)["code"] == "40034"
    assert line.get(f"{MIX}/account/accounts", productType="COIN-FUTURES") == []
    assert line.get("/api/v2/spot/account/assets") == []
    line = Line(**UNIFIED)
    assert line.get(f"{V3}/position/current-position", category="COIN-FUTURES") == {"list": []}
    assert line.get(f"{V3}/account/funding-assets") == []


# --- orders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "00000"),
        ({"side": "buy"}, "22002"),
        ({"symbol": "XRPUSDT", "size": "10"}, "22002"),
        ({"symbol": "NOPEUSDT"}, "40034"),
        ({"productType": "USDC-FUTURES"}, "40034"),
        ({"size": "0.0000001"}, "40808"),
        ({"size": "0"}, "40020"),
        ({"size": "x"}, "40020"),
        ({"size": ""}, "40019"),
        ({"side": "close"}, "40020"),
        ({"orderType": "stop"}, "40020"),
        ({"marginMode": "isolated"}, "45117"),
        ({"marginMode": "both"}, "40020"),
        ({"reduceOnly": "maybe"}, "40020"),
        ({"clientOid": "x" * 33}, "40017"),
    ],
)
def test_an_order_of_a_one_way_account_is_taken_or_refused(
    changes: dict[str, Any], code: str
) -> None:
    """Nothing refused has any effect."""
    line = Line()
    assert line.order(**changes) == code
    assert line.held() == (0.4 if code == "00000" else 0.5)


def test_in_one_way_mode_the_form_of_a_hedged_close_opens() -> None:
    """`tradeSide` is ignored there: buy with close adds to a long. The guard must never send it."""
    line = Line()
    assert line.order(side="buy", tradeSide="close", reduceOnly="") == "00000"
    assert line.held() == 0.6


@pytest.mark.parametrize("unified", [False, True])
def test_in_one_way_mode_a_hedged_close_that_is_flagged_only_reduces(*, unified: bool) -> None:
    """Of 0.5 long: nothing by a buy, all by a sale of 0.7; the leg that it names is ignored."""
    line = Line(unified=unified)
    nothing = "25227" if unified else "22002"

    def close(direction: str, size: str) -> str:
        if unified:
            leg = "long" if direction == "sell" else "short"
            return line.unified_order(side=direction, posSide=leg, qty=size)
        return line.order(side=direction, tradeSide="close", size=size)

    assert close("buy", "0.3") == nothing
    assert line.held() == 0.5
    assert close("sell", "0.7") == "00000"
    assert line.held() == 0
    assert close("sell", "0.7") == nothing


@pytest.mark.parametrize("unified", [False, True])
def test_a_hedged_account_may_refuse_the_flag(*, unified: bool) -> None:
    """What it does is not known: it is taken, unless a test has the venue refuse it."""
    line = Line(**hedged(), unified=unified)
    line.exchange.world.rules = replace(RULES, takes_flag_when_hedged=False)
    close = {"posSide": "long"} if unified else {"side": "buy", "tradeSide": "close"}
    order = line.unified_order if unified else line.order
    assert order(**close) == ("25238" if unified else "400172")
    assert line.held(leg=Leg.LONG) == 0.5
    assert order(**close, reduceOnly="") == "00000"
    line.exchange.world.rules = RULES
    assert order(**close) == "00000"
    assert line.held(leg=Leg.LONG) == pytest.approx(0.3)


@pytest.mark.parametrize("flag", ["", "YES", "NO"])
@pytest.mark.parametrize(
    ("side", "trade_side", "long", "short"),
    [
        ("buy", "close", 0.4, -0.3),
        ("sell", "close", 0.5, -0.2),
        ("buy", "open", 0.6, -0.3),
        ("sell", "open", 0.5, -0.4),
    ],
)
def test_in_hedge_mode_the_side_names_the_leg(
    side: str, trade_side: str, long: float, short: float, flag: str
) -> None:
    """A long is closed by buy with close; the flag changes nothing."""
    line = Line(**hedged())
    assert line.order(side=side, tradeSide=trade_side, reduceOnly=flag) == "00000"
    assert line.held(leg=Leg.LONG) == pytest.approx(long)
    assert line.held(leg=Leg.SHORT) == pytest.approx(short)
    assert line.order(side=side) == "40774"


def test_in_a_unified_account_the_side_is_a_direction_in_both_modes() -> None:
    """A leg has to be named in hedge mode."""
    line = Line(**hedged(), **UNIFIED)
    assert line.unified_order(posSide="long", reduceOnly="") == "00000"
    assert line.unified_order(side="buy", posSide="short", reduceOnly="") == "00000"
    assert (line.held(leg=Leg.LONG), line.held(leg=Leg.SHORT)) == (0.4, -0.2)
    assert line.unified_order() == "40774"
    assert line.unified_order(posSide="both") == "40020"
    line = Line(**UNIFIED)
    assert line.unified_order(side="buy") == "25227"
    assert line.unified_order(marginMode="isolated") == "45117"
    assert line.unified_order(category="USDC-FUTURES") == "40034"


def test_a_hedged_close_takes_what_resting_closes_leave() -> None:
    """0.3 of 0.5 are claimed: a close of 0.5 takes 0.2; then nothing is left for another."""
    line = Line(**hedged())
    line.rest(SELL, "0.3", "70000", leg=Leg.LONG)
    close = {"side": "buy", "tradeSide": "close", "reduceOnly": "", "size": "0.5"}
    assert line.order(**close) == "00000"
    assert line.held(leg=Leg.LONG) == 0.3
    assert line.order(**close) == "40757"


def test_a_hedged_close_larger_than_its_leg_is_refused_as_such() -> None:
    """Which is another answer than that nothing is there."""
    line = Line(**hedged())
    close = {"side": "buy", "tradeSide": "close", "reduceOnly": ""}
    assert line.order(**close, size="0.6") == "40804"
    assert line.order(**close, size="0.5") == "00000"
    assert line.order(**close, size="0.5") == "22002"


def test_in_one_way_mode_older_reducers_make_way_for_a_newer_one() -> None:
    """The oldest goes first, and the answer then has no id; orders of other kinds stay."""
    line = Line()
    first, second = (
        line.rest(SELL, "0.2", "70000", reduce_only=True, client_id=name) for name in ("a", "b")
    )
    opening = line.rest(SELL, "0.1", "80000")
    body = {**USDT, "symbol": "BTCUSDT", "marginMode": "crossed", "marginCoin": "USDT"}
    body |= {"size": "0.2", "side": "sell", "orderType": "market", "reduceOnly": "YES"}
    answer = line.post(f"{MIX}/order/place-order", **body, clientOid="ks-1")
    assert answer["data"] == {"clientOid": "ks-1", "orderId": None}
    assert line.held() == 0.3
    resting = set(line.exchange.account(KEY).orders)
    assert first not in resting
    assert {second, opening} <= resting
    fits = line.post(f"{MIX}/order/place-order", **{**body, "size": "0.1"}, clientOid="ks-2")
    assert fits["data"]["orderId"]


def test_an_id_is_taken_for_ever() -> None:
    """Also when its order is done."""
    line = Line()
    assert line.order(clientOid="ks-1") == "00000"
    assert line.order(clientOid="ks-1") == "40786"
    assert line.held() == 0.4


def test_a_batch_holds_one_symbol_and_tells_failures_apart() -> None:
    """Fifty at most."""
    line = Line()
    entries = [
        {"size": "0.1", "side": side, "orderType": "market", "reduceOnly": "YES", "clientOid": name}
        for side, name in (("sell", "ks-1"), ("buy", "ks-2"))
    ]
    shape = {**USDT, "symbol": "BTCUSDT", "marginMode": "crossed", "marginCoin": "USDT"}
    data = line.post(f"{MIX}/order/batch-place-order", **shape, orderList=entries)["data"]
    assert [row["clientOid"] for row in data["successList"]] == ["ks-1"]
    assert [(row["clientOid"], row["errorCode"]) for row in data["failureList"]] == [
        ("ks-2", "22002")
    ]
    too_many = line.post(f"{MIX}/order/batch-place-order", **shape, orderList=entries * 26)
    assert too_many["code"] == "40019"


def test_an_order_is_found_by_either_id() -> None:
    """Open or done; one that was never placed is unknown."""
    line = Line()
    line.order(clientOid="ks-1")
    named = {**USDT, "symbol": "BTCUSDT"}
    row = line.get(f"{MIX}/order/detail", **named, clientOid="ks-1")
    assert (row["state"], row["baseVolume"], row["reduceOnly"]) == ("filled", "0.1", "YES")
    by_id = line.get(f"{MIX}/order/detail", **named, orderId=row["orderId"], clientOid="x")
    assert by_id["clientOid"] == "ks-1"
    assert line.ask("GET", f"{MIX}/order/detail", {**named, "clientOid": "no"})["code"] == "40768"
    assert line.ask("GET", f"{MIX}/order/detail", named)["code"] == "40019"
    line = Line(**UNIFIED)
    line.unified_order(clientOid="ks-1")
    row = line.get(f"{V3}/trade/order-info", clientOid="ks-1")
    assert (row["orderStatus"], row["cumExecQty"], row["side"]) == ("filled", "0.1", "sell")
    assert line.ask("GET", f"{V3}/trade/order-info", {"clientOid": "no"})["code"] == "25204"


def test_lists_of_orders_come_in_pages_of_a_hundred() -> None:
    """Newest first, the next page below the last id; an empty list is null."""
    line = Line()
    ids = [line.rest(BUY, "0.003", str(40_000 + n), client_id=f"b-{n}") for n in range(120)]
    page = line.get(f"{MIX}/order/orders-pending", **USDT, limit=100)
    assert [int(row["orderId"]) for row in page["entrustedList"]] == ids[:19:-1]
    rest = line.get(f"{MIX}/order/orders-pending", **USDT, limit=100, idLessThan=page["endId"])
    assert [int(row["orderId"]) for row in rest["entrustedList"]] == ids[19::-1]
    end = line.get(f"{MIX}/order/orders-pending", **USDT, idLessThan=ids[0])
    assert end == {"entrustedList": None, "endId": None}
    assert line.get(f"{MIX}/order/orders-pending", **USDT, symbol="SOLUSDT")["endId"] is None


def test_plans_are_listed_and_cancelled_by_their_type() -> None:
    """Without a type `cancel-plan-order` means normal plans alone: the others stay."""
    line = Line()
    normal = line.stop(BUY, "0.1", "70000")
    loss = line.stop(SELL, "0.1", "50000", reduce_only=True)
    profit = line.stop(
        SELL, "0.1", "70000", reduce_only=True, order_type=OrderType.TAKE_PROFIT_MARKET
    )

    def listed(plan: str) -> dict[int, str]:
        found = line.get(f"{MIX}/order/orders-plan-pending", **USDT, planType=plan)
        return {int(row["orderId"]): row["planType"] for row in found["entrustedList"] or []}

    assert listed("normal_plan") == {normal: "normal_plan"}
    assert listed("profit_loss") == {loss: "loss_plan", profit: "profit_plan"}
    assert listed("track_plan") == {}
    cancel = f"{MIX}/order/cancel-plan-order"
    shape = {**USDT, "symbol": "BTCUSDT"}
    assert len(line.post(cancel, **shape)["data"]["successList"]) == 1
    assert line.post(cancel, **shape)["code"] == "22001"
    assert set(listed("profit_loss")) == {loss, profit}
    named = [{"orderId": str(loss)}, {"orderId": "9"}]
    data = line.post(cancel, **shape, planType="loss_plan", orderIdList=named)["data"]
    assert [row["orderId"] for row in data["successList"]] == [str(loss)]
    assert [row["errorCode"] for row in data["failureList"]] == ["43025"]
    assert line.post(cancel, **shape, planType="odd")["code"] == "40020"


def test_conditional_orders_of_a_unified_account_are_cancelled_one_by_one() -> None:
    """The cancel of a symbol leaves them; their own cancel is answered without data."""
    line = Line(**UNIFIED)
    regular = line.rest(BUY, "0.1", "50000")
    trigger = line.stop(BUY, "0.1", "70000")
    loss = line.stop(SELL, "0.1", "50000", reduce_only=True)
    data = line.post(f"{V3}/trade/cancel-symbol-order", **CATEGORY, symbol="BTCUSDT")["data"]
    assert [int(row["orderId"]) for row in data["list"]] == [regular]
    for kind, order in (("trigger", trigger), ("tpsl", loss)):
        (row,) = line.get(f"{V3}/trade/unfilled-strategy-orders", **CATEGORY, type=kind)
        assert int(row["orderId"]) == order
        assert "side" not in row
        answer = line.post(f"{V3}/trade/cancel-strategy-order", orderId=row["orderId"])
        assert (answer["code"], answer["data"]) == ("00000", None)
    assert not line.exchange.account(KEY).orders
    assert line.post(f"{V3}/trade/cancel-strategy-order", orderId=str(loss))["code"] == "25204"


@pytest.mark.parametrize("kind", [{}, UNIFIED])
def test_a_flash_close_leaves_nothing(kind: dict[str, Any]) -> None:
    """Of the product, of a symbol; of nothing it is refused."""
    line = Line(**kind)
    path = f"{V3}/trade/close-positions" if kind else f"{MIX}/order/close-positions"
    product = CATEGORY if kind else USDT
    assert line.post(path, **product, symbol="BTCUSDT")["code"] == "00000"
    assert (line.held(), line.held("SOLUSDT")) == (0.0, -10.0)
    assert line.post(path, **product)["code"] == "00000"
    assert line.held("SOLUSDT") == 0.0
    assert line.post(path, **product)["code"] == ("25227" if kind else "22002")


def test_single_orders_are_cancelled_by_either_id() -> None:
    """And by lists; what is gone is told by its code."""
    line = Line()
    first = line.rest(BUY, "0.1", "50000", client_id="a")
    line.rest(BUY, "0.1", "50001", client_id="b")
    shape = {**USDT, "symbol": "BTCUSDT"}
    cancel = f"{MIX}/order/cancel-order"
    assert line.post(cancel, **shape, orderId=str(first))["data"]["clientOid"] == "a"
    assert line.post(cancel, **shape, orderId=str(first))["code"] == "40768"
    entries = [{"clientOid": "b"}, {"clientOid": "c"}]
    data = line.post(f"{MIX}/order/batch-cancel-orders", **shape, orderIdList=entries)["data"]
    assert (len(data["successList"]), data["failureList"][0]["errorCode"]) == (1, "40768")
    assert line.post(f"{MIX}/order/cancel-all-orders", **USDT)["code"] == "22001"
    assert line.post(f"{MIX}/order/batch-cancel-orders", **shape)["code"] == "22001"
    assert not line.exchange.account(KEY).view(line.exchange.world).orders_of(OrderKind.REGULAR)


# --- money ------------------------------------------------------------------------------------


def test_a_union_account_keeps_its_coins_beside_its_equity() -> None:
    """The USDC account has an equity of its own; the BTC stands in a list."""
    wallet = {"USDT": 10_000, "USDC": 500, "BTC": "0.1"}
    line = Line(wallet=wallet, multi_assets=True)
    (usdt,) = line.get(f"{MIX}/account/accounts", **USDT)
    (usdc,) = line.get(f"{MIX}/account/accounts", productType="USDC-FUTURES")
    assert (usdt["assetMode"], usdt["accountEquity"]) == ("union", "9400")
    assert [(row["coin"], row["balance"]) for row in usdt["assetList"]] == [("BTC", "0.1")]
    assert (usdc["accountEquity"], usdc["assetMode"]) == ("500", "single")
    (single,) = Line(wallet=wallet).get(f"{MIX}/account/accounts", **USDT)
    assert "assetList" not in single


def test_a_unified_account_is_worth_all_its_coins() -> None:
    """9,400 and 0.1 BTC at 60,000."""
    line = Line(wallet={"USDT": 10_000, "BTC": "0.1"}, **UNIFIED)
    told = line.get(f"{V3}/account/assets")
    assert (told["accountEquity"], told["unrealisedPnl"]) == ("15400", "-600")
    assert {row["coin"]: row["usdValue"] for row in told["assets"]} == {
        "BTC": "6000",
        "USDT": "9400",
    }


def test_records_name_trades_transfers_and_funding() -> None:
    """Each product and category has its own; a window of more than thirty days is refused."""
    line = Line()
    line.order()
    line.exchange.transfer(KEY, "USDT", to_decimal("-30"))
    told = line.get(f"{MIX}/account/bill", **USDT)
    assert [row["businessType"] for row in told["bills"]] == ["trans_to_exchange", "sell"]
    assert line.get(f"{MIX}/account/bill", productType="USDC-FUTURES") == {
        "bills": [],
        "endId": None,
    }
    month_ms = 31 * 86_400_000
    window = {"startTime": int(NOW * 1000) - month_ms, "endTime": int(NOW * 1000)}
    assert line.ask("GET", f"{MIX}/account/bill", {**USDT, **window})["code"] == "40017"
    line = Line(**UNIFIED)
    line.unified_order()
    line.exchange.transfer(KEY, "USDT", to_decimal("-30"))
    (trade,) = line.get(f"{V3}/account/financial-records", **CATEGORY)["list"]
    (moved,) = line.get(f"{V3}/account/financial-records", category="OTHER")["list"]
    assert (trade["type"], moved["type"], moved["amount"]) == ("SELL_DEAL", "TRANSFER_OUT", "30")
    assert line.ask("GET", f"{V3}/account/financial-records", {"category": "X"})["code"] == "40034"
