"""Reads every record of money of a Binance spot account: deposits, withdrawals and transfers.

Owns paging: every list completely, or it raises. What a record says is in `binance_spot_records`.
"""

from __future__ import annotations

from collections.abc import Callable

from errors import Unavailable
from venues.binance_records import IncomeRow
from venues.binance_spot_records import (
    TRANSFER_SIGNS,
    each_once,
    parse_deposits,
    parse_transfers,
    parse_withdrawals,
)
from venues.ccxt_client import Params
from venues.connection import VenueConnection, together

RECORDS_PAGE, TRANSFERS_PAGE = 1000, 100
"""Most records the venue gives at once."""
PAGES = 20
"""Most pages of one list that are read."""
PENDING_MS = 2 * 86_400_000
"""A deposit may have been seen so long before it is credited; it is listed by when it was seen."""

Page = Callable[[object], tuple[tuple[IncomeRow, ...], int]]
"""Reads one page of records: those that moved money, and how many rows it had."""


async def read_records(connection: VenueConnection, *, start_ms: int) -> tuple[IncomeRow, ...]:
    """Read what moved money since then, each record once, oldest first; times are the venue's.

    Raises Unavailable or Malformed unless every list was read to its end.
    """
    seen_ms = start_ms - PENDING_MS
    pages = await together(
        _read_pages(
            connection, "sapiGetCapitalDepositHisrec", parse=parse_deposits, start_ms=seen_ms
        ),
        _read_pages(
            connection, "sapiGetCapitalWithdrawHistory", parse=parse_withdrawals, start_ms=start_ms
        ),
        *(_read_transfers(connection, kind, start_ms=start_ms) for kind in TRANSFER_SIGNS),
    )
    return each_once([row for page in pages for row in page if row.at_ms >= start_ms])


async def _read_pages(
    connection: VenueConnection, endpoint: str, *, parse: Page, start_ms: int
) -> tuple[IncomeRow, ...]:
    """Every record of one list, which is paged by how many to pass over."""
    rows: list[IncomeRow] = []
    for number in range(PAGES):
        params: Params = {
            "startTime": start_ms,
            "limit": RECORDS_PAGE,
            "offset": number * RECORDS_PAGE,
        }
        found, count = parse(await connection.read(endpoint, "records", params))
        rows += found
        if count < RECORDS_PAGE:
            return tuple(rows)
    raise Unavailable(f"records: more than {PAGES * RECORDS_PAGE}")


async def _read_transfers(
    connection: VenueConnection, kind: str, *, start_ms: int
) -> tuple[IncomeRow, ...]:
    """Every transfer of one kind, which is paged by number."""
    rows: list[IncomeRow] = []
    for number in range(1, PAGES + 1):
        params: Params = {
            "type": kind,
            "startTime": start_ms,
            "size": TRANSFERS_PAGE,
            "current": number,
        }
        answer = await connection.read("sapiGetAssetTransfer", "transfers", params)
        found, count = parse_transfers(answer, kind)
        rows += found
        if count < TRANSFERS_PAGE:
            return tuple(rows)
    raise Unavailable(f"transfers: more than {PAGES * TRANSFERS_PAGE} of one kind")
