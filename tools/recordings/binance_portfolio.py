"""Reads recorded answers of Binance portfolio margin."""

from __future__ import annotations

from decimal import Decimal

from tools.recordings.answers import Recording
from tools.recordings.binance import (
    REGULAR,
    read_cancel,
    read_conditional,
    read_fee,
    read_income,
    read_lookup,
    read_mode,
    read_new_order,
    read_rows_of_positions,
)
from tools.recordings.reading import (
    SCOPE,
    STABLES,
    Reader,
    Row,
    amount,
    as_many,
    beside_profit,
    counted,
    listed,
    number,
    rows_at,
    same,
    told_orders,
)
from venues.binance_account import cross_backing
from venues.binance_portfolio import (
    parse_equity,
    parse_is_portfolio,
    parse_pots,
    unstable_assets,
    value_portfolio,
)
from venues.binance_records import parse_orders

HELD = ("crossMarginFree", "crossMarginLocked", "umWalletBalance", "cmWalletBalance")
OWED = ("crossMarginBorrowed", "crossMarginInterest")


def read_equity(recording: Recording) -> str:
    """The equity of the account, with all profit and coins at their full value."""
    row: Row = recording.answer if isinstance(recording.answer, dict) else {}
    equity = number(row, "actualEquity")
    same(parse_equity(recording.answer), equity, "actualEquity")
    haircut = beside_profit(equity, number(row, "accountEquity"), "accountEquity")
    return listed(f"equity {equity} = actualEquity", haircut)


def read_balance(recording: Recording) -> str:
    """The assets of the wallet, each with what is owed of it."""
    rows, pots = rows_at(recording.answer), parse_pots(recording.answer)
    as_many(len(pots), len(rows), "assets")
    for row, pot in zip(rows, pots, strict=True):
        held = sum((number(row, name) for name in HELD), Decimal(0))
        owed = sum((number(row, name) for name in OWED), Decimal(0))
        same(pot.owed, owed, f"debt of {pot.asset}")
        same(pot.owned, held - owed, f"balance of {pot.asset}")
        if row.get("umUnrealizedPNL") not in (None, ""):
            same(pot.unrealised, number(row, "umUnrealizedPNL"), f"profit of {pot.asset}")
    prices = dict.fromkeys(unstable_assets(pots, STABLES), 1.0)
    value_portfolio(1.0, pots, stables=STABLES, prices=prices)
    profit = sum((amount(row, "umUnrealizedPNL") for row in rows), Decimal(0))
    owned = ", ".join(f"{pot.owned} {pot.asset}" for pot in pots)
    return listed(
        f"{counted(len(rows), 'asset')}: {owned} after what is owed",
        f"profit {profit} beside it" if profit else "",
    )


def read_positions(recording: Recording) -> str:
    """Positions of USD-M contracts, which the whole account backs."""
    return read_rows_of_positions(recording, backing=cross_backing)


def read_orders(recording: Recording) -> str:
    """Regular orders, which do not tell whether they close the whole position."""
    orders = parse_orders(recording.answer, scope=SCOPE, tells_closers=False)
    return told_orders(rows_at(recording.answer), orders, REGULAR)


def read_family(recording: Recording) -> str:
    """Whether the owner's account is a portfolio-margin one."""
    is_portfolio = parse_is_portfolio(recording.answer)
    return "portfolio margin" if is_portfolio else "not portfolio margin"


READS: dict[str, Reader] = {
    "DELETE /papi/v1/um/algo/allOpenOrders": read_cancel,
    "DELETE /papi/v1/um/algo/order": read_cancel,
    "DELETE /papi/v1/um/allOpenOrders": read_cancel,
    "DELETE /papi/v1/um/order": read_cancel,
    "GET /papi/v1/account": read_equity,
    "GET /papi/v1/balance": read_balance,
    "GET /papi/v1/um/accountConfig": read_mode,
    "GET /papi/v1/um/algo/openAlgoOrders": read_conditional,
    "GET /papi/v1/um/commissionRate": read_fee,
    "GET /papi/v1/um/income": read_income,
    "GET /papi/v1/um/openOrders": read_orders,
    "GET /papi/v1/um/order": read_lookup,
    "GET /papi/v1/um/positionRisk": read_positions,
    "GET /sapi/v1/account/info": read_family,
    "POST /papi/v1/um/order": read_new_order,
}
