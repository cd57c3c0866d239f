"""What Binance tells about a spot account, its key and its costs, for `check` alone.

Every request stands for itself, and what one of them cannot tell is a value with a reason. What
else the owner has on the venue is told by the futures account's own inspection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from inspection import (
    AccountFamily,
    DeadManState,
    DeadManSwitch,
    Inspection,
    KeyRights,
    NotTold,
    OrderPace,
    TradingCost,
)
from model import PositionMode, ScopeId, Symbol
from venues.asking import Asker
from venues.binance_pacing import ORDERS_10S, SPOT_RATES
from venues.binance_spot_account import parse_book
from venues.parsing import as_fields, as_rows, required_flag, required_number, required_text

RECORDS = "sapiGetCapitalDepositHisrec"
NO_TIMER = DeadManSwitch(
    state=DeadManState.NOT_ELIGIBLE, reason="Binance has no such switch for spot orders"
)


async def inspect_spot(
    asker: Asker, *, now: float, scope: ScopeId, markets: Mapping[Symbol, Symbol]
) -> Inspection:
    """Ask everything at once; `markets` are those that the inspected coins are sold on."""
    (latency_s, offset_s), rights, records, account, spreads = await asyncio.gather(
        asker.measure(),
        asker.ask("sapiGetAccountApiRestrictions", _parse_rights),
        asker.may_ask(RECORDS, {"limit": 1}),
        asker.ask("privateGetAccount", _parse_account),
        asker.ask("publicGetTickerBookTicker", _parse_spreads),
    )
    rate = SPOT_RATES[ORDERS_10S]
    can_trade, fee = (None, None) if isinstance(account, NotTold) else account
    known = {} if isinstance(spreads, NotTold) else spreads
    reasons = [
        f"{what}: {told.reason}"
        for what, told in (("rights of the key", rights), ("records of money", records))
        if isinstance(told, NotTold)
    ]
    told = KeyRights() if isinstance(rights, NotTold) else rights
    return Inspection(
        scope=scope,
        asked_at=now,
        latency_s=latency_s,
        server_offset_s=offset_s,
        family=AccountFamily.SPOT,
        position_mode=PositionMode.ONE_WAY,
        rights=replace(
            told,
            # The account itself may be kept from trading, whatever its key may do.
            can_trade=False if can_trade is False else told.can_trade,
            can_read_transfers=None if isinstance(records, NotTold) else records,
            reason="; ".join(reasons),
        ),
        dead_man=NO_TIMER,
        pace=OrderPace(most=rate.most, within_s=rate.within_s),
        costs={
            symbol: TradingCost(spread=known.get(market), fee=fee)
            for symbol, market in markets.items()
            if market in known or fee is not None
        },
    )


def _parse_rights(answer: object) -> KeyRights:
    """Read `apiRestrictions`, of which another flag says whether the key may trade here."""
    what = "apiRestrictions"
    fields = as_fields(answer, what)
    return KeyRights(
        can_read=required_flag(fields, "enableReading", what),
        can_trade=required_flag(fields, "enableSpotAndMarginTrading", what),
        can_withdraw=required_flag(fields, "enableWithdrawals", what),
        is_bound_to_ip=required_flag(fields, "ipRestrict", what),
    )


def _parse_account(answer: object) -> tuple[bool, float]:
    """Whether the account may trade, and the taker rate that market orders pay."""
    fields = as_fields(answer, "account")
    rates = as_fields(fields.get("commissionRates"), "commissionRates")
    can_trade = required_flag(fields, "canTrade", "account")
    return can_trade, required_number(rates, "taker", "commissionRates")


def _parse_spreads(answer: object) -> dict[Symbol, float]:
    """(ask - bid) / mid of every market whose book has both sides."""
    spreads: dict[Symbol, float] = {}
    for row in as_rows(answer, "bookTicker"):
        symbol = Symbol(required_text(row, "symbol", "bookTicker"))
        book = parse_book(row, f"bookTicker {symbol}")
        if book is not None:
            bid, ask = book
            spreads[symbol] = (ask - bid) / ((ask + bid) / 2)
    return spreads
