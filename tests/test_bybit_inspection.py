"""What Bybit tells about a key and about what is not watched, read without a better guess."""

from __future__ import annotations

from typing import Any

import pytest

from errors import Malformed
from inspection import AccountFamily
from model import Symbol
from tests.bybit_answers import Row, account_info, answer, listed, position_row
from venues.bybit_inspection import (
    parse_family,
    parse_fees,
    parse_funding,
    parse_open,
    parse_rights,
    parse_spreads,
)


def key(**changes: Any) -> Row:
    """A key that may trade contracts, bound to two addresses."""
    permissions = {
        "ContractTrade": ["Order", "Position"],
        "Spot": [],
        "Wallet": ["AccountTransfer"],
        "Options": [],
        "Derivatives": ["DerivativesTrade"],
    }
    return answer(
        {
            "id": "1",
            "note": "key",
            "apiKey": "XXXXXXXX",
            "readOnly": 0,
            "secret": "",
            "permissions": permissions | changes.pop("permissions", {}),
            "ips": ["203.0.113.1", "203.0.113.2"],
            "type": 1,
            "deadlineDay": -2,
            "expiredAt": "1970-01-01T00:00:00Z",
            "createdAt": "2025-10-13T03:20:45Z",
            "uta": 1,
            **changes,
        }
    )


def test_a_key_is_what_it_says() -> None:
    """It may trade and not withdraw, is bound to addresses, and never ends."""
    rights = parse_rights(key())
    assert (rights.can_read, rights.can_trade, rights.can_withdraw) == (True, True, False)
    assert (rights.is_bound_to_ip, rights.expires_at) == (True, None)
    assert rights.can_read_transfers is None


@pytest.mark.parametrize(
    ("changes", "can_trade", "can_withdraw"),
    [
        ({"permissions": {"Wallet": ["AccountTransfer", "Withdraw"]}}, True, True),
        ({"permissions": {"ContractTrade": ["Position"]}}, False, False),
        ({"readOnly": 1, "permissions": {"Wallet": ["Withdraw"]}}, False, False),
    ],
)
def test_what_a_key_may_do_follows_from_both_of_its_settings(
    changes: Row, *, can_trade: bool, can_withdraw: bool
) -> None:
    """A list of permissions, and whether it may write at all."""
    rights = parse_rights(key(**changes))
    assert (rights.can_trade, rights.can_withdraw) == (can_trade, can_withdraw)


@pytest.mark.parametrize(
    "damaged",
    [
        key(permissions={"Wallet": None}),
        key(permissions={"Wallet": "Withdraw"}),
        key(permissions={"Wallet": [""]}),
        key(permissions={"ContractTrade": None}),
        key(readOnly=None),
        answer({}),
    ],
)
def test_rights_that_are_not_told_are_not_good_ones(damaged: Row) -> None:
    """A list that is missing is no list without a right in it."""
    with pytest.raises(Malformed, match="query-api"):
        parse_rights(damaged)


def test_a_key_that_ends_and_one_that_works_from_anywhere() -> None:
    """A key without addresses ends after three months."""
    rights = parse_rights(key(ips=["*"], expiredAt="2030-01-01T00:00:00Z"))
    assert (rights.is_bound_to_ip, rights.expires_at) == (False, 1_893_456_000.0)
    assert parse_rights(key(expiredAt="soon")).expires_at is None


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({}, AccountFamily.UNIFIED),
        ({"unifiedMarginStatus": 3}, AccountFamily.UNIFIED),
        ({"unifiedMarginStatus": 1}, AccountFamily.CLASSIC),
        ({"marginMode": "PORTFOLIO_MARGIN"}, AccountFamily.PORTFOLIO_MARGIN),
    ],
)
def test_the_account_says_of_which_family_it_is(changes: Row, family: AccountFamily) -> None:
    """Only unified ones can be watched."""
    assert parse_family(account_info(**changes)) is family


def test_what_else_there_is_is_named_in_a_line() -> None:
    """Four names and the number of the others; flat rows and empty coins are nothing."""
    coins = [{"coin": f"C{n}", "walletBalance": str(n)} for n in range(7)]
    assert parse_funding(answer({"balance": coins})) == "C1, C2, C3, C4 and 2 more"
    assert parse_funding(answer({"balance": []})) == ""
    rows = [position_row(symbol="BTCUSD"), position_row(symbol="ETHUSD", size="0")]
    assert parse_open(listed(*rows)) == "BTCUSD"


def test_costs_are_fractions_and_a_book_of_one_side_has_no_spread() -> None:
    """99 to 101 is 2 of 100."""
    rows = [
        {"symbol": "AUSDT", "bid1Price": "99", "ask1Price": "101"},
        {"symbol": "BUSDT", "bid1Price": "", "ask1Price": "101"},
        {"symbol": "CUSDT", "bid1Price": "0", "ask1Price": "101"},
    ]
    assert parse_spreads(answer({"list": rows})) == {Symbol("AUSDT"): 0.02}
    fees = [{"symbol": "AUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}]
    assert parse_fees(answer({"list": fees})) == {Symbol("AUSDT"): 0.00055}
