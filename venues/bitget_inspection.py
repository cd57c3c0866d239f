"""What Bitget tells about key, clock and kind of account, for `check` alone.

Every request stands for itself: what one of them cannot tell is a value with a reason, and the
rest is told all the same. Sends nothing that changes anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

from clock import Clock
from errors import Malformed, ObservationError
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
from model import PositionMode, ScopeId, Symbol
from venues.bitget_errors import code_of
from venues.bitget_family import PRODUCTS, Family, data_of, required_symbol, rows_in
from venues.bitget_pacing import DEFAULT_RATES, ORDERS, SECOND_S
from venues.ccxt_client import Params
from venues.connection import VenueConnection
from venues.failure import Failure
from venues.pacer import Urgency
from venues.parsing import (
    as_fields,
    as_rows,
    optional_decimal,
    required_integer,
    required_number,
    required_text,
)

NOT_ALLOWED = frozenset({"40014", "40018", "40037", "40006", "40012"})
"""Refusals that are about the rights of the key, not about the moment."""
COIN_FUTURES = "COIN-FUTURES"
_WITHDRAW = frozenset({"wwow", "withdraw"})
_TRADE = frozenset({"coow", "cpow", "trade", "uta_trade"})
"""Rights of a key to trade contracts, as both kinds of account and older keys spell them."""
SPOT_TRADE = frozenset({"stow", "trade"})
"""Rights of a key to trade on spot markets."""

Answer = TypeVar("Answer")


async def inspect_account(
    connection: VenueConnection,
    family: Family | NotTold,
    *,
    is_unified: bool,
    clock: Clock,
    scope: ScopeId,
    symbols: Sequence[Symbol],
) -> Inspection:
    """Ask everything at once and put together what was told."""
    asked_at = clock.now()
    (latency_s, offset_s), mode, rights, costs, unwatched = await asyncio.gather(
        _measure(connection, clock),
        _mode(family),
        _rights(connection, is_unified=is_unified),
        _costs(connection, symbols),
        _look_around(connection, is_unified=is_unified, scope=scope),
    )
    kind = AccountFamily.UNIFIED if is_unified else AccountFamily.CLASSIC
    return Inspection(
        scope=scope,
        asked_at=asked_at,
        latency_s=latency_s,
        server_offset_s=offset_s,
        family=family if isinstance(family, NotTold) else kind,
        position_mode=mode,
        rights=rights,
        dead_man=_dead_man(is_unified=is_unified),
        pace=OrderPace(most=DEFAULT_RATES[ORDERS[0]].most, within_s=SECOND_S),
        unwatched=unwatched,
        costs=costs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of the venue beside the futures: where it is told, and what a row of it holds.

    `named` is the field with the row's name and `amounts` those that are zero where it is empty.
    """

    part: str
    endpoint: str
    params: Params
    named: str
    amounts: tuple[str, ...]
    under: str = ""
    is_spot: bool = False

    def parse(self, answer: object) -> str:
        """The names of what is held there, empty when nothing is."""
        data = data_of(answer, self.part)
        rows = rows_in(answer, self.under, self.part) if self.under else as_rows(data, self.part)
        return ", ".join(
            required_text(row, self.named, self.part)
            for row in rows
            if any(optional_decimal(row, amount, self.part) for amount in self.amounts)
        )


_OF_CLASSIC = (
    _Part(
        part="coin-margined futures",
        endpoint="privateMixGetV2MixAccountAccounts",
        params={"productType": COIN_FUTURES},
        named="marginCoin",
        amounts=("accountEquity",),
    ),
    _Part(
        part="spot",
        endpoint="privateSpotGetV2SpotAccountAssets",
        params={},
        named="coin",
        amounts=("available", "frozen", "locked"),
        is_spot=True,
    ),
)
_OF_UNIFIED = (
    _Part(
        part="coin-margined futures",
        endpoint="privateUtaGetV3PositionCurrentPosition",
        params={"category": COIN_FUTURES},
        named="symbol",
        amounts=("total",),
        under="list",
    ),
    _Part(
        part="funding account",
        endpoint="privateUtaGetV3AccountFundingAssets",
        params={},
        named="coin",
        amounts=("balance",),
    ),
)
"""The spot coins of a unified account are its wallet."""


async def _look_around(
    connection: VenueConnection, *, is_unified: bool, scope: ScopeId
) -> tuple[Unwatched, ...]:
    """What else there is, as far as the key may look."""
    parts = _OF_UNIFIED if is_unified else _OF_CLASSIC
    answers = await asyncio.gather(
        *(_ask(connection, part.endpoint, part.parse, part.params) for part in parts)
    )
    spot = ScopeId(f"{scope.removesuffix('_futures')}_spot")
    return tuple(
        Unwatched(
            part=part.part,
            presence=Presence.UNSEEN if isinstance(told, NotTold) else Presence.HOLDS,
            detail=told.reason if isinstance(told, NotTold) else told,
            covered_by=spot if part.is_spot else None,
        )
        for part, told in zip(parts, answers, strict=True)
        if told
    )


def _dead_man(*, is_unified: bool) -> DeadManSwitch:
    if is_unified:
        return DeadManSwitch(
            state=DeadManState.NOT_TOLD,
            reason="Bitget grants it on application and does not tell whether it runs",
        )
    return DeadManSwitch(
        state=DeadManState.NOT_ELIGIBLE, reason="Bitget has none for classic accounts"
    )


async def _ask(
    connection: VenueConnection,
    endpoint: str,
    parse: Callable[[object], Answer],
    params: Params | None = None,
) -> Answer | NotTold:
    """The parsed answer, or why there is none."""
    told = await connection.ask(endpoint, params or {}, urgency=Urgency.READING)
    if isinstance(told, Failure):
        return NotTold(reason=told.cause)
    try:
        return parse(told)
    except Malformed as malformed:
        return NotTold(reason=str(malformed))


async def _measure(
    connection: VenueConnection, clock: Clock
) -> tuple[float | NotTold, float | NotTold]:
    """Round trip and offset of the venue's clock.

    The second of two requests counts: the first may have had to open a connection.
    """
    trip_s = offset_s = 0.0
    for _ in range(2):
        before, started = clock.now(), clock.monotonic()
        told = await _ask(connection, "publicCommonGetV2PublicTime", _parse_time)
        if isinstance(told, NotTold):
            return told, told
        trip_s = clock.monotonic() - started
        offset_s = told - (before + clock.now()) / 2
    return trip_s, offset_s


async def _mode(family: Family | NotTold) -> PositionMode | NotTold:
    if isinstance(family, NotTold):
        return family
    try:
        return await family.fetch_mode()
    except ObservationError as failed:
        return NotTold(reason=str(failed))


async def _rights(connection: VenueConnection, *, is_unified: bool) -> KeyRights:
    """What the key may do, by what the venue says of it and by trying to read records."""
    endpoint, records = "privateSpotGetV2SpotAccountInfo", "privateMixGetV2MixAccountBill"
    params: Params = {"productType": PRODUCTS[0], "limit": 1}
    if is_unified:
        endpoint = "privateUtaGetV3AccountInfo"
        records = "privateUtaGetV3AccountFinancialRecords"
        params = {"category": PRODUCTS[0], "limit": 1}
    told, tried = await asyncio.gather(
        _ask(connection, endpoint, parse_rights),
        connection.ask(records, params, urgency=Urgency.READING),
    )
    reasons = []
    can_read: bool | None = True
    if isinstance(tried, Failure):
        can_read = False if code_of(tried.body) in NOT_ALLOWED else None
        reasons.append(f"account records: {tried.cause}")
    if isinstance(told, NotTold):
        reasons.insert(0, f"rights of the key: {told.reason}")
        told = KeyRights()
    return KeyRights(
        can_read=can_read,
        can_trade=told.can_trade,
        can_withdraw=told.can_withdraw,
        can_read_transfers=can_read,
        is_bound_to_ip=told.is_bound_to_ip,
        reason="; ".join(reasons),
    )


async def _costs(
    connection: VenueConnection, symbols: Sequence[Symbol]
) -> Mapping[Symbol, TradingCost]:
    """Spread of each symbol; the fee of the account is not asked for."""
    if not symbols:
        return {}
    answers = await asyncio.gather(
        *(
            _ask(
                connection,
                "publicMixGetV2MixMarketTickers",
                parse_spreads,
                {"productType": product},
            )
            for product in PRODUCTS
        )
    )
    known: dict[Symbol, float] = {}
    for answer in answers:
        known |= {} if isinstance(answer, NotTold) else answer
    return {symbol: TradingCost(spread=known[symbol]) for symbol in symbols if symbol in known}


def _parse_time(answer: object) -> float:
    fields = as_fields(data_of(answer, "time"), "time")
    return required_integer(fields, "serverTime", "time") / 1000


def parse_rights(answer: object, *, trading: Set[str] = _TRADE) -> KeyRights:
    """Read `account/info` of either kind of account: its list of rights and its addresses.

    Any of `trading` allows closing.
    """
    what = "account info"
    fields = as_fields(data_of(answer, what), what)
    name = "authorities" if "authorities" in fields else "permissions"
    listed = fields.get(name)
    if not isinstance(listed, list):
        raise Malformed(f"{what}: neither authorities nor permissions is a list")
    if not all(isinstance(right, str) and right for right in listed):
        raise Malformed(f"{what}: a right in {name} is not told")
    rights = {str(right).lower() for right in listed}
    is_read_only = re.sub(r"[^a-z]", "", str(fields.get("permType")).lower()) == "readonly"
    return KeyRights(
        can_trade=bool(rights & trading) and not is_read_only,
        can_withdraw=bool(rights & _WITHDRAW) and not is_read_only,
        is_bound_to_ip=bool(str(fields.get("ips") or "")),
    )


def parse_spreads(answer: object) -> dict[Symbol, float]:
    """Read `tickers`; a book without both sides is left out."""
    spreads: dict[Symbol, float] = {}
    for row in as_rows(data_of(answer, "tickers"), "tickers"):
        symbol = required_symbol(row, "tickers")
        try:
            bid = required_number(row, "bidPr", f"tickers {symbol}")
            ask = required_number(row, "askPr", f"tickers {symbol}")
        except Malformed:
            continue
        if 0 < bid <= ask:
            spreads[symbol] = (ask - bid) / ((ask + bid) / 2)
    return spreads
