"""Recorded answers are read whole, and what is not read is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import bitget_answers as bitget
from tests import bybit_answers as bybit
from tests import test_binance_parsing as binance
from tools.check_recordings import KNOWN, Verdict, check, judge, main
from tools.recordings.answers import Recording
from tools.recordings.key_sets import compare
from tools.recordings.reading import Reader
from tools.recordings.simulated import listen

ROOT = Path(__file__).resolve().parent.parent
FAPI, BYBIT, BITGET = "fapi.binance.com", "api.bybit.com", "api.bitget.com"

ACCOUNT = f"GET /{FAPI}/fapi/v3/account"
RISK = f"GET /{FAPI}/fapi/v3/positionRisk"
INCOME = f"GET /{FAPI}/fapi/v1/income"
ORDERS = f"GET /{FAPI}/fapi/v1/openOrders"
WALLET = f"GET /{BYBIT}/v5/account/wallet-balance ?accountType=UNIFIED"
HELD = f"GET /{BYBIT}/v5/position/list ?settleCoin=USDT&category=linear"
RESTING = f"GET /{BYBIT}/v5/order/realtime ?settleCoin=USDT&category=linear"
LOG = f"GET /{BYBIT}/v5/account/transaction-log"
PURSE = f"GET /{BITGET}/api/v2/mix/account/accounts ?productType=USDT-FUTURES"
BILLS = f"GET /{BITGET}/api/v2/mix/account/bill ?productType=USDT-FUTURES"
ASSETS = f"GET /{BITGET}/api/v3/account/assets"
RECORDS = f"GET /{BITGET}/api/v3/account/financial-records ?category=USDT-FUTURES"
STRATEGIES = f"GET /{BITGET}/api/v3/trade/unfilled-strategy-orders ?category=USDT-FUTURES"

TWO_ASSETS = binance.account_answer(
    binance.asset_row("USDT", "900", "-40.5", "859.5"),
    binance.asset_row("BNB", "2", "0", "2"),
    wallet="1000",
    unrealised="-40.5",
    margin="959.5",
)


def record(folder: Path, wire: str, answer: object, name: str = "one") -> None:
    """Write one recording in the project's own form."""
    content = {"description": "", "source": "", "requests": [wire], "httpResponse": answer}
    (folder / f"{name}.json").write_text(json.dumps(content))


def told(folder: Path) -> tuple[Verdict, str]:
    """Verdict and words of the one recording in a folder."""
    (line,) = check(folder).lines
    return line.verdict, line.told


@pytest.mark.parametrize(
    ("wire", "answer", "words"),
    [
        (
            ACCOUNT,
            TWO_ASSETS,
            "equity 861.5 = sum of 2 marginBalances with BNB at 1, not walletBalance, which is "
            "902, in multi-assets mode 959.5 = totalMarginBalance, not totalWalletBalance, which "
            "is 1000",
        ),
        (
            RISK,
            [binance.position_row(), binance.position_row(symbol="XUSDT", positionAmt="0")],
            "1 position, 1 row of size zero",
        ),
        (ORDERS, [binance.order_row()], "1 order"),
        (INCOME, [binance.income_row(incomeType="TRANSFER")], "1 record: 1 flow"),
        (
            WALLET,
            bybit.wallet(bybit.coin_row("USDT", "70"), equity="81.5", totalWalletBalance="70"),
            "equity 81.5 = totalEquity, not totalWalletBalance, which is 70, 1 coin",
        ),
        (
            WALLET,
            bybit.wallet(
                bybit.coin_row("ETH", "-3", walletBalance="0", spotBorrow="3"), equity="9"
            ),
            "equity 9 = totalEquity, 1 coin, 1 owed",
        ),
        (
            HELD,
            bybit.listed(bybit.position_row(), bybit.position_row(symbol="XUSDT", size="0")),
            "1 position, 1 row of size zero",
        ),
        (RESTING, bybit.listed(bybit.order_row(), cursor="next"), "1 order, more pages follow"),
        (
            LOG,
            bybit.listed(bybit.log_row(), bybit.transfer_row("25.5")),
            "2 records: 1 flow",
        ),
        (
            PURSE,
            bitget.envelope([bitget.account_row()]),
            "equity 1150.75 = accountEquity of 1 margin coin, not accountEquity less unrealizedPL, "
            "which is 1000.00",
        ),
        (
            ASSETS,
            bitget.envelope(bitget.assets(bitget.coin_row("USDT", "1150.75", "1150.75"))),
            "equity 1150.75 = accountEquity, not accountEquity less unrealisedPnl, which is "
            "1000.00, 1 coin",
        ),
        (
            RECORDS,
            bitget.envelope(
                {
                    "list": [
                        bitget.record_row(),
                        bitget.record_row(id="612", type="TRANSFER_IN"),
                        bitget.record_row(id="613", type="ORDER_DEALT_IN"),
                    ],
                    "cursor": "",
                }
            ),
            "3 records: 1 flow, 1 within the account",
        ),
        (STRATEGIES, bitget.envelope([bitget.strategy_row()]), "1 order"),
    ],
)
def test_what_was_read_is_told_with_the_field_that_is_the_equity(
    tmp_path: Path, wire: str, answer: object, words: str
) -> None:
    """The equity is the one with profit, and the figure without it is named beside it."""
    record(tmp_path, wire, answer)
    assert told(tmp_path) == (Verdict.OK, words)
    assert main([str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("wire", "answer", "words"),
    [
        # Not known at all: the answer of another endpoint.
        (f"GET /{FAPI}/fapi/v9/everything", {}, "an endpoint that is not known"),
        # A field is missing.
        (RISK, [{**binance.position_row(), "markPrice": None}], "markPrice is null"),
        (WALLET, bybit.wallet(bybit.coin_row("USDT", ""), equity="5"), "equity is empty"),
        (PURSE, bitget.envelope([{"marginCoin": "USDT"}]), "accountEquity is missing"),
        # A row is lost: one record has the id of another, one order is there twice.
        (INCOME, [binance.income_row(), binance.income_row(income="7")], "2 records recorded, 1"),
        (
            LOG,
            bybit.listed(bybit.log_row(), bybit.log_row(change="-7", cashFlow="-6.5")),
            "4 parts of records recorded, 2 read",
        ),
        (RESTING, bybit.listed(bybit.order_row(), bybit.order_row(qty="9")), "2 orders recorded"),
        (
            BILLS,
            bitget.envelope({"bills": [bitget.bill_row(), bitget.bill_row()], "endId": "1"}),
            "2 records recorded, 1 read",
        ),
        # A kind of record that nobody knows.
        (INCOME, [binance.income_row(incomeType="NEW_TAX")], "the type NEW_TAX is not known"),
        (LOG, bybit.listed(bybit.log_row(type="NEW_TAX")), "the type NEW_TAX is not known"),
        (
            BILLS,
            bitget.envelope({"bills": [bitget.bill_row(businessType="new_tax")], "endId": "1"}),
            "the type new_tax is not known",
        ),
        # Another kind of answer altogether.
        (WALLET, bybit.answer({"list": []}), "cannot be compared: IndexError"),
        (ACCOUNT, {"code": -2015, "msg": "Invalid API-key"}, "cannot be compared: KeyError"),
    ],
)
def test_what_is_not_read_whole_is_a_fault(
    tmp_path: Path, wire: str, answer: object, words: str
) -> None:
    """Missing, unknown or merged with another row: each is said with its reason."""
    record(tmp_path, wire, answer)
    verdict, reason = told(tmp_path)
    assert verdict is Verdict.FAULT
    assert words in reason
    assert main([str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (f"GET /{FAPI}/fapi/v2/positionRisk", "not asked for: instead /fapi/v3/positionRisk"),
        (f"GET /{BYBIT}/v5/asset/deposit/query-record", "/v5/account/transaction-log"),
        (f"GET /{BITGET}/api/v3/account/funding-assets", "is not watched, and `check` names it"),
    ],
)
def test_what_the_guard_never_asks_for_is_no_fault(tmp_path: Path, wire: str, words: str) -> None:
    """It is said what is asked instead, or that nothing is."""
    record(tmp_path, wire, {})
    verdict, reason = told(tmp_path)
    assert verdict is Verdict.NOT_ASKED
    assert words in reason
    assert main([str(tmp_path)]) == 0


def test_the_last_request_is_the_one_that_was_answered(tmp_path: Path) -> None:
    """A client may have asked for something else before."""
    content = {"requests": [f"GET /{FAPI}/fapi/v1/leverageBracket", ORDERS], "httpResponse": []}
    (tmp_path / "orders.json").write_text(json.dumps(content))
    assert told(tmp_path) == (Verdict.OK, "0 orders")


def test_a_file_without_requests_is_known_by_its_name(tmp_path: Path) -> None:
    """And its venue by the folder."""
    (tmp_path / "bybit").mkdir()
    answer = bybit.answer(
        {
            "readOnly": 0,
            "ips": ["*"],
            "permissions": {"ContractTrade": ["Order"], "Wallet": ["Withdraw"]},
            "expiredAt": "2031-01-01T00:00:00Z",
        }
    )
    content = {"httpResponse": [answer, answer]}
    (tmp_path / "bybit" / "queryApi-7.json").write_text(json.dumps(content))
    lines = check(tmp_path).lines
    assert [line.told for line in lines] == ["can trade, can withdraw, not bound to addresses"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"httpResponse": {}}',
        json.dumps({"requests": ["something"], "httpResponse": {}}),
        json.dumps({"requests": ["GET /example.com/v1"], "httpResponse": {}}),
    ],
)
def test_a_file_that_is_no_recording_is_a_fault(tmp_path: Path, text: str) -> None:
    """What cannot be told apart from a lost recording is not passed over."""
    (tmp_path / "some.json").write_text(text)
    assert told(tmp_path)[0] is Verdict.FAULT


LIBRARY = """GET
/fapi/v1/openOrders
true
UriParams: {"symbol": "ETHUSDT"}
%s
"""


def test_a_librarys_collection_is_read_as_far_as_it_concerns_the_guard(tmp_path: Path) -> None:
    """Comments behind fields and trailing commas are left out; other endpoints are counted."""
    folder = tmp_path / "tests_of_binance"
    folder.mkdir()
    row = json.dumps(binance.order_row(), indent=1).replace(",\n", ", // what it is\n", 3)
    (folder / "GetOpenOrders.txt").write_text(LIBRARY % f"[ {row},\n ]")
    (folder / "Short.txt").write_text(LIBRARY % '[ {"orderId": 5} ]')
    (folder / "GetDepth.txt").write_text('GET\n/fapi/v1/depth\nfalse\n{"bids": []}')
    (folder / "Message.txt").write_text('> {"method": "account.status"}')
    routes = {
        "/fapi/v1/income": {"GET": [{"data": [binance.income_row()]}, {"data": {"code": -1021}}]}
    }
    (folder / "http.json").write_text(json.dumps({"routes": routes}))
    checked = check(tmp_path)
    assert [(line.file, line.verdict) for line in checked.lines] == [
        ("tests_of_binance/GetOpenOrders.txt", Verdict.OK),
        ("tests_of_binance/Short.txt", Verdict.LACKS),
        ("tests_of_binance/http.json", Verdict.OK),
    ]
    assert checked.others == 2
    assert main([str(tmp_path)]) == 0


def test_numbers_keep_every_digit_that_was_recorded(tmp_path: Path) -> None:
    """Also those that are no text in the answer, which a float would round."""
    written = json.dumps([binance.position_row(positionAmt="DIGITS")])
    digits = "12345678901234567890.123456789"
    text = json.dumps({"requests": [RISK], "httpResponse": []}).replace(
        '"httpResponse": []', f'"httpResponse": {written.replace(json.dumps("DIGITS"), digits)}'
    )
    (tmp_path / "exact.json").write_text(text)
    assert told(tmp_path) == (Verdict.OK, "1 position")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a person would, its output going into a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "tools.check_recordings", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_line_each_and_a_total_without_colours_in_a_pipe(tmp_path: Path) -> None:
    """Lines are not broken at the width of a terminal; the status says that something was lost."""
    record(tmp_path, ORDERS, [binance.order_row()], name="good")
    record(tmp_path, f"GET /{FAPI}/fapi/v2/account", {}, name="other")
    record(tmp_path, RISK, [{}], name="short")
    done = run(str(tmp_path), COLUMNS="40")
    assert done.stdout.splitlines() == [
        "ok    good.json  GET /fapi/v1/openOrders  1 order",
        "-     other.json  GET /fapi/v2/account  not asked for: instead /fapi/v3/account",
        "FAULT short.json  GET /fapi/v3/positionRisk  positionRisk: symbol is missing",
        "3 recorded answers: 1 read without loss, 1 not asked for, 0 of other collections lack "
        "what is read, 1 at fault; 0 more of other collections concern no endpoint of the guard",
    ]
    assert done.returncode == 1


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For machines: every line with its verdict."""
    record(tmp_path, ORDERS, [])
    assert main([str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "answers": [
            {
                "file": "one.json",
                "endpoint": "GET /fapi/v1/openOrders",
                "verdict": "ok",
                "told": "0 orders",
            }
        ],
        "others": 0,
        "fields": [],
    }


def test_a_folder_that_is_not_there_is_another_status(tmp_path: Path) -> None:
    """An empty one holds nothing that was lost."""
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(tmp_path)]) == 0


def compared(reader: Reader, written: Any, simulated: Any) -> dict[str, Any]:
    """What is odd about one recording beside one simulated answer."""
    answer = json.loads(json.dumps(written), parse_int=str)
    recording = Recording(
        file="f", venue="binance", method="GET", path="/p", answer=answer, written=written
    )
    return dict(compare([recording], reader=reader, simulated=[simulated]).told())


def test_fields_are_compared_with_what_is_read_and_what_is_simulated() -> None:
    """What a parser misses, what the simulator makes up or leaves out, and numbers as text."""
    from tools.recordings.binance import read_orders

    recorded = binance.order_row()
    del recorded["clientOrderId"]
    recorded |= {"priceRate": "0.3", "goodTillDate": 0, "stopPrice": ""}
    simulated = {**binance.order_row(), "made": 1, "goodTillDate": "0", "stopPrice": 0}
    assert compared(read_orders, [recorded], [simulated]) == {
        "read but not recorded": ["[].clientOrderId (1 of 1)"],
        "simulated but not recorded": ["[].clientOrderId", "[].made"],
        "recorded but not simulated": ["[].priceRate"],
        "of another kind": ["[].goodTillDate (number recorded, text simulated)"],
    }
    assert compared(read_orders, [binance.order_row()], [binance.order_row()]) == {}
    assert compared(read_orders, [binance.order_row()], []) == {}


async def test_every_answer_of_the_simulated_exchanges_is_read_without_loss() -> None:
    """What the adapters ask is known, so that no recording of it is passed over one day."""
    heard = await listen(modes=("hedge",))
    unread = {
        at: KNOWN[at[0]].instead.get(at[1]) for at in heard if at[1] not in KNOWN[at[0]].reads
    }
    assert None not in unread.values(), unread
    lines = [
        judge(
            Recording(
                file="heard",
                venue=venue,
                method=endpoint.partition(" ")[0],
                path=endpoint.partition(" ")[2],
                answer=json.loads(json.dumps(answer), parse_int=str, parse_float=str),
                written=answer,
            )
        )
        for (venue, endpoint), answers in heard.items()
        if (venue, endpoint) not in unread
        for answer in answers
    ]
    assert [line for line in lines if line is None or line.verdict is not Verdict.OK] == []
    assert len(lines) > 100
