"""Fetches every account record of a time from Binance, page by page: all of them, or it raises.

Owns how the venue's two kinds of record are paged. What a record is about is read by
`binance_records` and `binance_portfolio`.
"""

from __future__ import annotations

from errors import Unavailable
from model import LedgerKind, RecordId
from venues.binance_portfolio import INTO, OUT_OF, parse_transfers
from venues.binance_records import IncomeRow, parse_income
from venues.binance_routes import Routes
from venues.ccxt_client import Params
from venues.connection import VenueConnection, together

INCOME_PAGE = 1000
"""Most account records the venue gives at once."""
INCOME_PAGES = 20
"""Most pages read for one ledger: 30 weight each, a third of a minute's allowance."""
TRANSFER_PAGE = 100
TRANSFER_PAGES = 20
"""The same for transfers, of which an account has few."""


async def fetch_records(
    connection: VenueConnection, routes: Routes, *, start_ms: int, end_ms: int
) -> tuple[IncomeRow, ...]:
    """Every account record between two times on the venue's clock, each once, oldest first.

    Where transfers are recorded apart, those among the income are moves within the account, and
    no flows. Raises Unavailable or Malformed.
    """
    if routes.transfers is None:
        rows = await fetch_income(connection, routes.income, start_ms=start_ms)
    else:
        income, came, went = await together(
            fetch_income(connection, routes.income, start_ms=start_ms),
            *(
                fetch_transfers(
                    connection,
                    routes.transfers,
                    direction=direction,
                    start_ms=start_ms,
                    end_ms=end_ms,
                )
                for direction in (INTO, OUT_OF)
            ),
        )
        made = [row for row in income if row.kind is not LedgerKind.TRANSFER]
        rows = [*made, *came, *went]
    return tuple(sorted(rows, key=lambda row: (row.at_ms, row.record_id)))


async def fetch_income(
    connection: VenueConnection, endpoint: str, *, start_ms: int
) -> list[IncomeRow]:
    """Every account record from `start_ms` on, each once.

    The next page begins at the last time seen, not after it: one trade leaves several records in
    one millisecond, and a page may end between them.
    """
    rows: dict[RecordId, IncomeRow] = {}
    for _ in range(INCOME_PAGES):
        params = {"startTime": start_ms, "limit": INCOME_PAGE}
        page = parse_income(await connection.read(endpoint, "income", params))
        rows.update((row.record_id, row) for row in page)
        if len(page) < INCOME_PAGE:
            return list(rows.values())
        times = [row.at_ms for row in page]
        if times != sorted(times) or times[-1] <= start_ms:
            raise Unavailable("income: the order of a full page leaves records unread")
        start_ms = times[-1]
    raise Unavailable(f"income: more than {INCOME_PAGES * INCOME_PAGE} records")


async def fetch_transfers(
    connection: VenueConnection, endpoint: str, *, direction: str, start_ms: int, end_ms: int
) -> list[IncomeRow]:
    """Every transfer of one direction between two times, each once.

    The pages are counted from the newest record, so that the time has an end: a record that came
    meanwhile would push another one from a page that is unread to one that was read.
    """
    rows: dict[RecordId, IncomeRow] = {}
    listed = 0
    for number in range(1, TRANSFER_PAGES + 1):
        params: Params = {
            "type": direction,
            "startTime": start_ms,
            "endTime": end_ms,
            "current": number,
            "size": TRANSFER_PAGE,
        }
        page = parse_transfers(
            await connection.read(endpoint, "transfer", params), direction=direction
        )
        rows.update((row.record_id, row) for row in page.rows)
        listed += page.listed
        if listed >= page.total:
            return list(rows.values())
        if page.listed < TRANSFER_PAGE:
            raise Unavailable("transfer: a page is shorter than it should be")
    raise Unavailable(f"transfer: more than {TRANSFER_PAGES * TRANSFER_PAGE} records")
