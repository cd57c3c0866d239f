"""The simulated Bybit against the real client of the venue, and its own rules one by one."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import pytest

from simulator.exchange import Exchange
from simulator.seeds import apply_seed
from simulator.state import Leg
from simulator.wire.bybit import BybitDialect
from simulator.wire.protocol import Circumstances, WireAnswer, WireRequest
from tests.bybit_answers import (
    account_info,
    coin_row,
    log_row,
    lot_row,
    market_row,
    order_row,
    position_row,
    wallet,
)
from tests.simulated import KEY, SECRET, seed, simulated

NOW = 1_800_000_000.0
WEEK_MS = 7 * 86400 * 1000


class Line:
    """Signed requests straight to the dialect; time stands where it is put."""

    def __init__(self, **changes: Any) -> None:
        self.exchange = Exchange(now=NOW)
        self.dialect = BybitDialect(self.exchange)
        apply_seed(self.exchange, {**seed(**changes), "at": NOW})
        self.monotonic = 0.0
        self.answer = WireAnswer(status=0, body="")

    def ask(
        self, method: str, path: str, *, skew_s: float = 0.0, secret: str = SECRET, **sent: Any
    ) -> Any:
        """One request; its decoded body."""
        stamp = str(int((self.exchange.now + skew_s) * 1000))
        text = (
            json.dumps(sent)
            if method == "POST"
            else "&".join(f"{name}={value}" for name, value in sent.items())
        )
        signed = f"{stamp}{KEY}5000{text}"
        request = WireRequest(
            method=method,
            path=f"/api.bybit.com/v5/{path}",
            raw_query="" if method == "POST" else text,
            raw_body=text if method == "POST" else "",
            headers={
                "X-BAPI-API-KEY": KEY,
                "X-BAPI-TIMESTAMP": stamp,
                "X-BAPI-RECV-WINDOW": "5000",
                "X-BAPI-SIGN": hmac.new(
                    secret.encode(), signed.encode(), hashlib.sha256
                ).hexdigest(),
            },
        )
        self.answer = self.dialect.answer(request, Circumstances(monotonic=self.monotonic))
        if not self.answer.body.startswith("{"):
            return self.answer.body
        return json.loads(self.answer.body)

    def get(self, path: str, **sent: Any) -> Any:
        """The result of a read."""
        return self.ask("GET", path, **sent)["result"]

    def order(self, **changes: Any) -> Any:
        """A market order to close 0.1 BTC, changed as asked; its code."""
        sent = {
            "category": "linear",
            "symbol": "BTCUSDT",
            "side": "Sell",
            "orderType": "Market",
            "qty": "0.1",
            "positionIdx": 0,
            "reduceOnly": True,
            **changes,
        }
        return self.ask("POST", "order/create", **sent)["retCode"]


def kinds(row: dict[str, Any]) -> dict[str, str]:
    """The keys of a row and the JSON kind of each value."""
    return {name: type(value).__name__ for name, value in row.items()}


# --- the shapes -------------------------------------------------------------------------------


def test_every_row_has_the_keys_and_kinds_of_the_venues_own() -> None:
    """Wallet, coin, position, order, record, market: numbers are strings throughout."""
    line = Line()
    line.order()
    line.ask("POST", "order/create", **LIMIT)
    account = line.get("account/wallet-balance", accountType="UNIFIED")["list"][0]
    asked: dict[str, Any] = {"category": "linear", "settleCoin": "USDT"}
    ours = {
        "wallet": account,
        "coin": account["coin"][0],
        "position": line.get("position/list", **asked)["list"][0],
        "order": line.get("order/realtime", **asked)["list"][0],
        "log": line.get("account/transaction-log")["list"][0],
        "market": line.get("market/instruments-info", category="linear")["list"][0],
        "info": line.get("account/info"),
    }
    ours["lot"] = ours["market"]["lotSizeFilter"]
    theirs = {
        "wallet": wallet(equity="0")["result"]["list"][0],
        "coin": coin_row("USDT", "5"),
        "position": position_row(),
        "order": order_row(),
        "log": log_row(),
        "market": market_row(),
        "info": account_info()["result"],
        "lot": lot_row(),
    }
    for name, row in theirs.items():
        assert kinds(ours[name]) == kinds(row), name


LIMIT: dict[str, Any] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Buy",
    "orderType": "Limit",
    "qty": "0.1",
    "price": "50000",
    "orderLinkId": "bot-1",
}


@asynccontextmanager
async def library(url: str) -> AsyncIterator[Any]:
    """The real client of the venue with nothing but its addresses changed."""
    client = ccxt.bybit(
        {
            "apiKey": KEY,
            "secret": SECRET,
            "enableRateLimit": False,
            "timeout_on_exit": 0,
            "options": {"fetchMarkets": {"types": ["linear"]}},
        }
    )
    client.has["fetchCurrencies"] = False
    client.urls["api"] = {
        name: re.sub(r"^https?://", f"{url}/", address)
        for name, address in client.urls["api"].items()
        if isinstance(address, str)
    }
    try:
        yield client
    finally:
        await client.close()


async def test_the_real_client_reads_and_trades_here() -> None:
    """Its unified calls ask what the account is, and understand what they are told."""
    async with (
        simulated(seed(), venue="bybit") as at,
        library(at.url) as client,
    ):
        balance = await client.fetch_balance()
        # 10,000 - 0.5 x 1,000 - 10 x 10 = 9,400; its own total leaves the profit out.
        assert balance["info"]["result"]["list"][0]["totalEquity"] == "9400"
        assert balance["USDT"]["total"] == 10000
        held = {row["symbol"]: row for row in await client.fetch_positions()}
        assert held["BTC/USDT:USDT"]["side"] == "long"
        assert held["SOL/USDT:USDT"]["contracts"] == 10
        limit = await client.create_order("BTC/USDT:USDT", "limit", "buy", 0.1, 50000)
        assert [row["id"] for row in await client.fetch_open_orders()] == [limit["id"]]
        await client.cancel_order(limit["id"], "BTC/USDT:USDT")
        assert await client.fetch_open_orders() == []
        made = await client.create_order(
            "BTC/USDT:USDT", "market", "sell", 0.2, None, {"reduceOnly": True}
        )
        assert made["status"] is None
        assert at.exchange.amount(KEY, "BTCUSDT") == Decimal("0.3")
        with pytest.raises(ccxt.InvalidOrder, match="110017"):
            await client.create_order(
                "BTC/USDT:USDT", "market", "buy", 0.2, None, {"reduceOnly": True}
            )
        (trade, *_) = await client.fetch_my_trades()
        assert trade["amount"] == 0.2
        assert len(await client.fetch_ledger()) == 1


# --- who may ask ------------------------------------------------------------------------------


def test_a_request_is_checked_for_key_signature_and_time() -> None:
    """Refusals come with status 200."""
    line = Line()
    read = ("GET", "account/info")
    assert line.ask(*read)["retCode"] == 0
    assert line.ask(*read, secret="another")["retCode"] == 10004
    assert line.answer.status == 200
    for skew_s, code in ((-4.9, 0), (-5.1, 10002), (0.9, 0), (1.1, 10002)):
        assert line.ask(*read, skew_s=skew_s)["retCode"] == code
    del line.exchange.accounts[KEY]
    assert line.ask(*read)["retCode"] == 10003


def test_a_key_that_may_not_trade_only_reads() -> None:
    """And the venue says so of it."""
    line = Line(can_trade=False)
    assert line.order() == 10005
    assert line.get("user/query-api")["readOnly"] == 1


def test_the_eleventh_order_of_a_second_is_refused() -> None:
    """Headers say what is left; a second later there is room again."""
    line = Line()
    for left in range(9, -1, -1):
        assert line.order(qty="0.01") == 0
        assert line.answer.headers["X-Bapi-Limit-Status"] == str(left)
    assert line.order(qty="0.01") == 10006
    assert line.answer.status == 200
    resets_ms = int(line.answer.headers["X-Bapi-Limit-Reset-Timestamp"])
    assert resets_ms == (NOW + 1) * 1000
    line.monotonic = 1.0
    assert line.order(qty="0.01") == 0


def test_a_batch_spends_what_it_holds_of_an_allowance_of_its_own() -> None:
    """Six orders and then six: the second batch is one too many."""
    line = Line()
    entry = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.01"}
    for code in (0, 10006):
        told = line.ask(
            "POST",
            "order/create-batch",
            category="linear",
            request=[{**entry, "reduceOnly": True} for _ in range(6)],
        )
        assert told["retCode"] == code
    assert line.order(qty="0.01") == 0


def test_an_address_that_asks_too_often_is_shut_out_for_ten_minutes() -> None:
    """600 in five seconds; the answer is no JSON any more."""
    line = Line()
    for _ in range(600):
        line.ask("GET", "market/time")
        line.monotonic += 0.001
    assert line.ask("GET", "market/time") == "access too frequent"
    assert line.answer.status == 403
    line.monotonic += 599
    assert line.ask("GET", "market/time") == "access too frequent"
    line.monotonic += 2
    assert line.ask("GET", "market/time")["retCode"] == 0


# --- orders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0),
        ({"side": "Buy"}, 110017),
        ({"symbol": "XRPUSDT", "qty": "100"}, 110017),
        ({"positionIdx": 1}, 10001),
        ({"qty": "0.0001"}, 10001),
        ({"qty": "0"}, 10001),
        ({"qty": 0.1}, 10001),
        ({"symbol": "NOPEUSDT"}, 10001),
        ({"category": "spot"}, 10001),
        ({"reduceOnly": "true"}, 10001),
        ({"orderLinkId": "a.b"}, 10001),
        ({"orderLinkId": "x" * 37}, 10001),
        ({"reduceOnly": False, "side": "Buy", "qty": "100"}, 110007),
        ({"qty": "0.001"}, 110094),
        ({"qty": "700"}, 0),
        ({"qty": "0", "closeOnTrigger": True}, 0),
    ],
    ids=str,
)
def test_an_order_is_taken_or_refused_as_the_venue_would(change: dict[str, Any], code: int) -> None:
    """Closing never opens, whatever was asked for."""
    line = Line()
    assert line.order(**change) == code
    assert 0 <= line.exchange.amount(KEY, "BTCUSDT") <= Decimal("0.5")


@pytest.mark.parametrize(
    ("change", "code", "left"),
    [
        ({"positionIdx": 1}, 0, ("0.4", "-0.3")),
        ({"positionIdx": 2, "side": "Buy"}, 0, ("0.5", "-0.2")),
        ({"positionIdx": 2, "side": "Buy", "qty": "0.9"}, 0, ("0.5", "0")),
        ({"positionIdx": 1, "side": "Buy"}, 110017, ("0.5", "-0.3")),
        ({"positionIdx": 0}, 10001, ("0.5", "-0.3")),
        ({"positionIdx": 2}, 110017, ("0.5", "-0.3")),
    ],
    ids=str,
)
def test_a_hedged_order_acts_on_the_leg_of_its_index(
    change: dict[str, Any], code: int, left: tuple[str, str]
) -> None:
    """With the flag it can only reduce there."""
    both = [
        {"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5", "entry_price": 60000},
        {"symbol": "BTCUSDT", "side": "SHORT", "quantity": "0.3", "entry_price": 60000},
    ]
    line = Line(position_mode="hedge", prices={"BTCUSDT": 60000}, positions=both)
    assert line.order(**change) == code
    held = [line.exchange.amount(KEY, "BTCUSDT", leg) for leg in (Leg.LONG, Leg.SHORT)]
    assert held == [Decimal(amount) for amount in left]


def test_a_symbol_is_switched_by_itself() -> None:
    """Only while it is flat; its rows are listed without a position."""
    line = Line()

    def switch(symbol: str) -> Any:
        sent: dict[str, Any] = {"category": "linear", "symbol": symbol, "mode": 3}
        return line.ask("POST", "position/switch-mode", **sent)["retCode"]

    assert (switch("XRPUSDT"), switch("XRPUSDT"), switch("BTCUSDT")) == (0, 110025, 110024)
    rows = line.get("position/list", category="linear", symbol="XRPUSDT")["list"]
    assert [(row["positionIdx"], row["side"], row["size"]) for row in rows] == [
        (1, "", "0"),
        (2, "", "0"),
    ]


def test_lists_come_in_small_pages_and_open_orders_of_all_kinds() -> None:
    """20 unless asked for, 50 at most; the filter chooses a kind."""
    line = Line(wallet={"USDT": 1_000_000})
    for number in range(25):
        line.monotonic += 1
        line.ask("POST", "order/create", **{**LIMIT, "orderLinkId": f"bot-{number}"})
    stop = {"triggerPrice": "70000", "triggerDirection": 1, "orderLinkId": "stop"}
    line.monotonic += 1
    line.ask("POST", "order/create", **{**LIMIT, "orderType": "Market", **stop})
    asked: dict[str, Any] = {"category": "linear", "settleCoin": "USDT"}
    page = line.get("order/realtime", **asked)
    assert len(page["list"]) == 20
    rest = line.get("order/realtime", **asked, cursor=page["nextPageCursor"])
    assert (len(rest["list"]), rest["nextPageCursor"]) == (6, "")
    assert page["list"][0]["orderStatus"] == "Untriggered"
    assert len(line.get("order/realtime", **asked, limit=50)["list"]) == 26
    assert line.ask("GET", "order/realtime", **asked, limit=51)["retCode"] == 10001
    only = line.get("order/realtime", **asked, orderFilter="StopOrder")["list"]
    assert [row["orderLinkId"] for row in only] == ["stop"]
    assert line.get("order/realtime", category="linear", settleCoin="USDC")["list"] == []
    assert line.ask("GET", "order/realtime", category="linear")["retCode"] == 10001


def test_a_closed_order_is_found_by_its_id_in_both_lists() -> None:
    """The list of the open ones leaves it out."""
    line = Line()
    assert line.order(orderLinkId="ks-1") == 0
    asked: dict[str, Any] = {"category": "linear", "symbol": "BTCUSDT"}
    assert line.get("order/realtime", **asked)["list"] == []
    for path in ("order/realtime", "order/history"):
        (row,) = line.get(path, **asked, orderLinkId="ks-1")["list"]
        assert (row["orderStatus"], row["cumExecQty"]) == ("Filled", "0.1")


def test_records_are_asked_for_by_the_week() -> None:
    """A day without an end or a beginning; more than seven days are refused."""
    line = Line()
    line.exchange.transfer(KEY, "USDT", Decimal(5))
    line.exchange.set_time(NOW + 2 * 86400)
    assert line.get("account/transaction-log")["list"] == []
    at_ms = int(NOW * 1000)
    (row,) = line.get("account/transaction-log", startTime=at_ms)["list"]
    assert (row["type"], row["change"]) == ("TRANSFER_IN", "5")
    for span_ms, code in ((WEEK_MS, 0), (WEEK_MS + 1, 10001)):
        told = line.ask("GET", "account/transaction-log", startTime=at_ms, endTime=at_ms + span_ms)
        assert told["retCode"] == code


def test_what_is_not_simulated_is_no_json() -> None:
    """A path that nobody knows."""
    line = Line()
    assert line.ask("GET", "spread/order/realtime") == "404 page not found"
    assert line.answer.status == 404


def test_the_exchange_says_too_often_in_its_own_words() -> None:
    """What the control port plans as a rate limit."""
    line = Line()
    limited = line.dialect.too_often(status=429, seconds=2.0)
    assert (limited.status, json.loads(limited.body)["retCode"]) == (200, 10006)
    assert limited.headers["X-Bapi-Limit-Reset-Timestamp"] == str(int((NOW + 2) * 1000))
    assert line.dialect.too_often(status=403, seconds=2.0).status == 403
