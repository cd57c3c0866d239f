"""What Bybit tells about key, clock, account family and the parts that are not watched.

Asks for `check` alone, never on the way to a close. Every request stands for itself: what one of
them cannot tell is a value with a reason, and the rest is told all the same. Sends nothing that
changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeGuard, TypeVar

from clock import Clock
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
from model import RefusalReason, ScopeId, Symbol
from venues.bybit_account import UNIFIED, parse_rows, result_of
from venues.bybit_errors import REFUSALS, code_of
from venues.bybit_pacing import BATCHED, ORDERS, RATES
from venues.ccxt_client import Params
from venues.connection import VenueConnection
from venues.failure import Failure
from venues.pacer import Urgency
from venues.parsing import (
    as_fields,
    required_decimal,
    required_integer,
    required_number,
    required_rows,
    required_text,
)

SHOWN = 4
"""Most symbols or coins that a line names."""
SWITCH = DeadManSwitch(
    state=DeadManState.NOT_ELIGIBLE,
    reason="Bybit's needs an institutional account and a live private websocket",
)

Answer = TypeVar("Answer")


async def inspect_account(
    connection: VenueConnection, *, clock: Clock, scope: ScopeId, symbols: Sequence[Symbol]
) -> Inspection:
    """Ask everything at once and put together what was told."""
    asker = _Asker(connection)
    asked_at = clock.now()
    clock_told, family, rights, costs, unwatched = await asyncio.gather(
        asker.measure(clock),
        asker.ask("privateGetV5AccountInfo", parse_family),
        asker.ask_rights(),
        asker.ask_costs(symbols),
        asker.look_around(),
    )
    latency_s, offset_s = clock_told
    return Inspection(
        scope=scope,
        asked_at=asked_at,
        latency_s=latency_s,
        server_offset_s=offset_s,
        family=family,
        position_mode=NotTold(reason="every symbol has its own on Bybit"),
        rights=rights,
        dead_man=SWITCH,
        # Single orders and batches have an allowance each.
        pace=OrderPace(
            most=RATES[ORDERS].most + RATES[BATCHED].most, within_s=RATES[ORDERS].within_s
        ),
        unwatched=unwatched,
        costs=costs,
    )


class _Asker:
    """Asks one question at a time; an answer that is none becomes `NotTold`."""

    def __init__(self, connection: VenueConnection) -> None:
        self._connection = connection

    async def ask(
        self, endpoint: str, parse: Callable[[object], Answer], params: Params | None = None
    ) -> Answer | NotTold:
        """The parsed answer, or why there is none."""
        told = await self._connection.ask(endpoint, params or {}, urgency=Urgency.READING)
        if isinstance(told, Failure):
            return NotTold(reason=told.cause)
        try:
            return parse(told)
        except Malformed as malformed:
            return NotTold(reason=str(malformed))

    async def measure(self, clock: Clock) -> tuple[float | NotTold, float | NotTold]:
        """Round trip and offset of the venue's clock.

        The second of two requests counts: the first may have had to open a connection.
        """
        trip_s = offset_s = 0.0
        for _ in range(2):
            before, started = clock.now(), clock.monotonic()
            told = await self.ask("publicGetV5MarketTime", parse_time)
            if isinstance(told, NotTold):
                return told, told
            trip_s = clock.monotonic() - started
            offset_s = told - (before + clock.now()) / 2
        return trip_s, offset_s

    async def ask_rights(self) -> KeyRights:
        """What the key may do, by what the venue says of it and by trying to read transfers."""
        told, transfers = await asyncio.gather(
            self.ask("privateGetV5UserQueryApi", parse_rights),
            self._connection.ask(
                "privateGetV5AccountTransactionLog", {"limit": 1}, urgency=Urgency.READING
            ),
        )
        reasons = []
        can_read_transfers: bool | None = True
        if isinstance(transfers, Failure):
            refused = REFUSALS.get(code_of(transfers.body) or 0)
            can_read_transfers = False if refused is RefusalReason.NOT_ALLOWED else None
            reasons.append(f"account records: {transfers.cause}")
        if isinstance(told, NotTold):
            reasons.insert(0, f"rights of the key: {told.reason}")
            told = KeyRights()
        return KeyRights(
            can_read=told.can_read,
            can_trade=told.can_trade,
            can_withdraw=told.can_withdraw,
            can_read_transfers=can_read_transfers,
            is_bound_to_ip=told.is_bound_to_ip,
            expires_at=told.expires_at,
            reason="; ".join(reasons),
        )

    async def ask_costs(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, TradingCost]:
        """Spread and taker fee of symbols."""
        if not symbols:
            return {}
        spreads, fees = await asyncio.gather(
            self.ask("publicGetV5MarketTickers", parse_spreads, {"category": "linear"}),
            self.ask("privateGetV5AccountFeeRate", parse_fees, {"category": "linear"}),
        )
        known = {} if isinstance(spreads, NotTold) else spreads
        fee_of = {} if isinstance(fees, NotTold) else fees
        return {
            symbol: TradingCost(spread=known.get(symbol), fee=fee_of.get(symbol))
            for symbol in symbols
            if symbol in known or symbol in fee_of
        }

    async def look_around(self) -> tuple[Unwatched, ...]:
        """What else this account has on the venue, as far as the key may look."""
        funding: Params = {"accountType": "FUND"}
        held, options, inverse = await asyncio.gather(
            self.ask("privateGetV5AssetTransferQueryAccountCoinsBalance", parse_funding, funding),
            self.ask("privateGetV5PositionList", parse_open, {"category": "option"}),
            self.ask("privateGetV5PositionList", parse_open, {"category": "inverse"}),
        )
        parts = (("funding account", held), ("options", options), ("inverse contracts", inverse))
        return tuple(
            Unwatched(
                part=part,
                presence=Presence.UNSEEN if isinstance(told, NotTold) else Presence.HOLDS,
                detail=told.reason if isinstance(told, NotTold) else told,
            )
            for part, told in parts
            if told
        )


# --- reading the answers ----------------------------------------------------------------------


def parse_time(answer: object) -> float:
    """The venue's time in UTC seconds."""
    return required_integer(result_of(answer, "time"), "timeNano", "time") / 1e9


def parse_family(answer: object) -> AccountFamily:
    """Read `account/info`: a unified account or a classic one, portfolio margin or not."""
    fields = result_of(answer, "account")
    if required_integer(fields, "unifiedMarginStatus", "account") not in UNIFIED:
        return AccountFamily.CLASSIC
    if required_text(fields, "marginMode", "account") == "PORTFOLIO_MARGIN":
        return AccountFamily.PORTFOLIO_MARGIN
    return AccountFamily.UNIFIED


def parse_rights(answer: object) -> KeyRights:
    """Read `query-api`: what the key may do. It says nothing about account records."""
    what = "query-api"
    fields = result_of(answer, what)
    permissions = as_fields(fields.get("permissions"), what)
    contracts, wallet = permissions.get("ContractTrade"), permissions.get("Wallet")
    addresses = fields.get("ips")
    if not _are_names(contracts) or not _are_names(wallet):
        raise Malformed(f"{what}: the permissions are no lists of names")
    writes = required_integer(fields, "readOnly", what) == 0
    return KeyRights(
        can_read=True,
        can_trade=writes and "Order" in contracts,
        can_withdraw=writes and "Withdraw" in wallet,
        is_bound_to_ip=isinstance(addresses, list) and addresses not in ([], ["*"]),
        expires_at=_end_of(fields.get("expiredAt")),
    )


def _are_names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _end_of(text: object) -> float | None:
    """When a key ends; one that is bound to addresses never does, which is written as 1970."""
    try:
        ends_at = datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
    return ends_at if ends_at > 0 else None


def parse_fees(answer: object) -> dict[Symbol, float]:
    """Read `fee-rate`: the taker rate of each symbol, which market orders pay."""
    rows = parse_rows(answer, "fee-rate")
    return {
        Symbol(required_text(row, "symbol", "fee-rate")): required_number(
            row, "takerFeeRate", "fee-rate"
        )
        for row in rows
    }


def parse_spreads(answer: object) -> dict[Symbol, float]:
    """Read the linear `tickers`; a book without both sides is left out."""
    spreads: dict[Symbol, float] = {}
    for row in parse_rows(answer, "tickers"):
        symbol = Symbol(required_text(row, "symbol", "tickers"))
        try:
            bid = required_number(row, "bid1Price", f"tickers {symbol}")
            ask = required_number(row, "ask1Price", f"tickers {symbol}")
        except Malformed:
            continue
        if 0 < bid <= ask:
            spreads[symbol] = (ask - bid) / ((ask + bid) / 2)
    return spreads


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def parse_funding(answer: object) -> str:
    """The coins of the funding account, in one line; empty for none."""
    rows = required_rows(result_of(answer, "funding"), "balance", "funding")
    return _named(
        [
            required_text(row, "coin", "funding")
            for row in rows
            if required_decimal(row, "walletBalance", "funding")
        ]
    )


def parse_open(answer: object) -> str:
    """The symbols of the open positions of a list, in one line; empty for none."""
    return _named(
        [
            required_text(row, "symbol", "position")
            for row in parse_rows(answer, "position")
            if required_decimal(row, "size", "position")
        ]
    )
