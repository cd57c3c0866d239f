"""What Binance tells about key, clock, account family and the parts that are not watched.

Asks for `check` alone, never on the way to a close. Every request stands for itself: what one of
them cannot tell is a value with a reason, and the rest is told all the same. Sends nothing that
changes anything. Emails of sub-accounts are counted, never repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from errors import Malformed
from inspection import (
    AccountFamily,
    DeadManState,
    DeadManSwitch,
    Inspection,
    KeyRights,
    NotTold,
    OrderPace,
    Presence,
    TradingCost,
    Unwatched,
)
from model import ScopeId, Symbol
from venues.asking import Asker, NotAllowed
from venues.binance_account import AccountMode, parse_account_mode, quote_of
from venues.binance_pacing import DEFAULT_RATES, ORDERS_10S
from venues.binance_portfolio import INTO, OUT_OF, parse_pots
from venues.binance_routes import PORTFOLIO, Routes
from venues.parsing import (
    Fields,
    as_fields,
    as_rows,
    required_decimal,
    required_flag,
    required_integer,
    required_number,
    required_rows,
    required_text,
)

SHOWN = 4
"""Most assets that a line names."""
TIMER = DeadManSwitch(
    state=DeadManState.NOT_TOLD,
    reason="Binance has one timer per symbol and does not tell whether it runs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of the venue beside USD-M futures: where to ask, and what its answer holds."""

    name: str
    endpoint: str
    find: Callable[[object], str]


async def inspect_account(
    asker: Asker, routes: Routes, *, now: float, scope: ScopeId, symbols: Sequence[Symbol]
) -> Inspection:
    """Ask everything at once and put together what was told."""
    (latency_s, offset_s), mode, rights, costs, unwatched = await asyncio.gather(
        asker.measure(),
        asker.ask(routes.mode, parse_account_mode),
        _ask_rights(asker, routes),
        _ask_costs(asker, routes, symbols),
        _look_around(asker, routes, scope),
    )
    rate = DEFAULT_RATES[ORDERS_10S]
    return Inspection(
        scope=scope,
        asked_at=now,
        latency_s=latency_s,
        server_offset_s=offset_s,
        family=AccountFamily.PORTFOLIO_MARGIN if routes is PORTFOLIO else _family(mode, unwatched),
        position_mode=mode.position_mode if isinstance(mode, AccountMode) else mode,
        rights=rights,
        dead_man=TIMER,
        pace=OrderPace(most=rate.most, within_s=rate.within_s),
        unwatched=unwatched,
        costs=costs,
    )


def _family(mode: AccountMode | NotTold, unwatched: Sequence[Unwatched]) -> AccountFamily | NotTold:
    if any(part.presence is Presence.INSTEAD for part in unwatched):
        return AccountFamily.PORTFOLIO_MARGIN
    if isinstance(mode, NotTold):
        return mode
    return AccountFamily.MULTI_ASSETS if mode.is_multi_assets else AccountFamily.SINGLE_ASSET


async def _ask_rights(asker: Asker, routes: Routes) -> KeyRights:
    """What the key may do, by what the venue says of it and by trying to read transfers."""
    told, config, transfers = await asyncio.gather(
        asker.ask(
            "sapiGetAccountApiRestrictions",
            partial(parse_restrictions, trading_right=routes.trading_right),
        ),
        asker.ask(routes.mode, _parse_can_trade),
        _may_read_records(asker, routes),
    )
    reasons = [answer.reason for answer in (told, transfers) if isinstance(answer, NotTold)]
    rights = KeyRights() if isinstance(told, NotTold) else told
    return replace(
        rights,
        # The account itself may be kept from trading, whatever its key may do.
        can_trade=False if config is False else rights.can_trade,
        can_read_transfers=None if isinstance(transfers, NotTold) else transfers,
        reason="; ".join(dict.fromkeys(reasons)),
    )


async def _may_read_records(asker: Asker, routes: Routes) -> bool | NotTold:
    """Whether the key may read every kind of record; one that is refused outweighs all."""
    told = [await asker.may_ask(routes.income, {"limit": 1})]
    if routes.transfers is not None:
        told += [
            await asker.may_ask(routes.transfers, {"type": direction, "size": 1})
            for direction in (INTO, OUT_OF)
        ]
    if False in told:
        return False
    return next((answer for answer in told if isinstance(answer, NotTold)), True)


async def _ask_costs(
    asker: Asker, routes: Routes, symbols: Sequence[Symbol]
) -> Mapping[Symbol, TradingCost]:
    """Spread and taker fee of symbols. One fee holds for all contracts of one quote."""
    if not symbols:
        return {}
    by_quote: dict[str, list[Symbol]] = {}
    for symbol in symbols:
        by_quote.setdefault(quote_of(symbol), []).append(symbol)
    spreads, fees = await asyncio.gather(
        asker.ask("fapiPublicGetTickerBookTicker", parse_spreads),
        asyncio.gather(
            *(asker.ask(routes.fee, parse_fee, {"symbol": group[0]}) for group in by_quote.values())
        ),
    )
    known = {} if isinstance(spreads, NotTold) else spreads
    fee_of = {
        symbol: fee
        for group, fee in zip(by_quote.values(), fees, strict=True)
        for symbol in group
        if isinstance(fee, float)
    }
    return {
        symbol: TradingCost(spread=known.get(symbol), fee=fee_of.get(symbol))
        for symbol in symbols
        if symbol in known or symbol in fee_of
    }


async def _look_around(asker: Asker, routes: Routes, scope: ScopeId) -> tuple[Unwatched, ...]:
    """What else this key's owner has on the venue, as far as the key may look."""
    parts = _PORTFOLIO_PARTS if routes is PORTFOLIO else _PARTS
    answers = await asyncio.gather(*(asker.ask(part.endpoint, part.find) for part in parts))
    return tuple(
        found
        for part, told in zip(parts, answers, strict=True)
        if (found := _unwatched(part, told, scope)) is not None
    )


def _unwatched(part: _Part, told: str | NotTold, scope: ScopeId) -> Unwatched | None:
    """One part as it is named, None when it is seen to be empty."""
    if isinstance(told, NotTold):
        # Every ordinary account is refused there.
        if part.name == PORTFOLIO_MARGIN and isinstance(told, NotAllowed):
            return None
        presence, detail = Presence.UNSEEN, told.reason
    elif not told:
        return None
    else:
        is_portfolio = part.name == PORTFOLIO_MARGIN
        presence, detail = Presence.INSTEAD if is_portfolio else Presence.HOLDS, told
    is_spot = part.name == SPOT
    covered_by = ScopeId(f"{scope.removesuffix('_futures')}_spot") if is_spot else None
    return Unwatched(part=part.name, presence=presence, detail=detail, covered_by=covered_by)


# --- reading the answers ----------------------------------------------------------------------


def parse_restrictions(answer: object, *, trading_right: str = "enableFutures") -> KeyRights:
    """Read `apiRestrictions`: what the key may do. It says nothing about account records."""
    what = "apiRestrictions"
    fields = as_fields(answer, what)
    expires_ms = fields.get("tradingAuthorityExpirationTime")
    return KeyRights(
        can_read=required_flag(fields, "enableReading", what),
        can_trade=required_flag(fields, trading_right, what),
        can_withdraw=required_flag(fields, "enableWithdrawals", what),
        is_bound_to_ip=required_flag(fields, "ipRestrict", what),
        expires_at=None
        if expires_ms is None
        else required_integer(fields, "tradingAuthorityExpirationTime", what) / 1000,
    )


def _parse_can_trade(answer: object) -> bool:
    return required_flag(as_fields(answer, "accountConfig"), "canTrade", "accountConfig")


def parse_fee(answer: object) -> float:
    """Read `commissionRate`: the taker rate, which market orders pay."""
    return required_number(
        as_fields(answer, "commissionRate"), "takerCommissionRate", "commissionRate"
    )


def parse_spreads(answer: object) -> dict[Symbol, float]:
    """Read `bookTicker` of all symbols; a book without both sides is left out."""
    spreads: dict[Symbol, float] = {}
    for row in as_rows(answer, "bookTicker"):
        symbol = Symbol(required_text(row, "symbol", "bookTicker"))
        try:
            bid = required_number(row, "bidPrice", f"bookTicker {symbol}")
            ask = required_number(row, "askPrice", f"bookTicker {symbol}")
        except Malformed:
            continue
        if 0 < bid <= ask:
            spreads[symbol] = (ask - bid) / ((ask + bid) / 2)
    return spreads


def _held(rows: Sequence[Fields], names: Sequence[str], what: str) -> str:
    """The assets of which any of the named amounts is not zero, in one line."""
    return _list(
        required_text(row, "asset", what)
        for row in rows
        if any(required_decimal(row, name, what) != Decimal(0) for name in names)
    )


def _list(names: Iterable[str]) -> str:
    """The names in one line, a long list cut short."""
    found = tuple(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{', '.join(found[:SHOWN])}{more}"


def _find_spot(answer: object) -> str:
    rows = required_rows(as_fields(answer, "spot account"), "balances", "spot account")
    return _held(rows, ("free", "locked"), "spot account")


def _find_margin(answer: object) -> str:
    rows = required_rows(as_fields(answer, "margin account"), "userAssets", "margin account")
    return _held(rows, ("free", "locked", "borrowed"), "margin account")


def _find_coin_margined(answer: object) -> str:
    return _held(as_rows(answer, "coin-margined"), ("balance",), "coin-margined")


def _find_coin_margined_positions(answer: object) -> str:
    what = "coin-margined positions"
    return _list(
        required_text(row, "symbol", what)
        for row in as_rows(answer, what)
        if required_decimal(row, "positionAmt", what)
    )


def _find_loans(answer: object) -> str:
    return _list(pot.asset for pot in parse_pots(answer) if pot.owed)


def _find_options(answer: object) -> str:
    rows = required_rows(as_fields(answer, "options"), "asset", "options")
    return _held(rows, ("equity",), "options")


def _find_portfolio(answer: object) -> str:
    fields = as_fields(answer, "portfolio margin")
    equity = required_number(fields, "actualEquity", "portfolio margin")
    return f"equity {equity:,.2f} USD is in it, and USD-M by itself answers 0"


def _find_sub_accounts(answer: object) -> str:
    rows = required_rows(as_fields(answer, "sub-accounts"), "subAccounts", "sub-accounts")
    return f"{len(rows)} with keys of their own" if rows else ""


SPOT = "spot"
PORTFOLIO_MARGIN = "portfolio margin"
_PARTS = (
    _Part(name=SPOT, endpoint="privateGetAccount", find=_find_spot),
    _Part(name="cross margin", endpoint="sapiGetMarginAccount", find=_find_margin),
    _Part(name="coin-margined futures", endpoint="dapiPrivateGetBalance", find=_find_coin_margined),
    _Part(name="options", endpoint="eapiPrivateGetMarginAccount", find=_find_options),
    _Part(name=PORTFOLIO_MARGIN, endpoint="papiGetAccount", find=_find_portfolio),
    _Part(name="sub-accounts", endpoint="sapiGetSubAccountList", find=_find_sub_accounts),
)
_PORTFOLIO_PARTS = (
    *(part for part in _PARTS if part.name in (SPOT, "options", "sub-accounts")),
    _Part(name="loans of the wallet", endpoint="papiGetBalance", find=_find_loans),
    _Part(
        name="coin-margined positions of the wallet",
        endpoint="papiGetCmPositionRisk",
        find=_find_coin_margined_positions,
    ),
)
"""Beside portfolio margin's USD-M. The wallet itself is watched, whatever moves it."""
