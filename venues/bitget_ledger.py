"""Turns Bitget's account records into ledger kinds: bills of classic, financial records of unified.

Pure: takes decoded JSON, gives frozen values, raises `Malformed` naming the field. One record of a
trade tells its result and its fee; they become two. What only moves money within the account
(margin set aside for a position, one coin changed into another, a loan) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from model import Asset, LedgerKind, RecordId, Symbol
from venues.bitget_family import Record, rows_in
from venues.parsing import (
    Fields,
    optional_decimal,
    optional_text,
    required_integer,
    required_number,
    required_text,
)

_K = LedgerKind

_INNER = re.compile(
    r"append_margin|adjust_down_lever|reduce_margin|increase_margin|margin_back|margin_lever"
    r"|order_dealt|exchange_(source|target)|order_exchange|small_exchange|^borrow|^repayment"
)
"""Moves within the account. The first three are what the venue itself calls not financial."""

_KINDS: Sequence[tuple[re.Pattern[str], LedgerKind]] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"settle_fee", _K.FUNDING),
        (r"^interest|plf_fee|handling_fee", _K.FEE),
        (r"^(force|burst)_|^offset_reduce|^risk_liq|liquidat", _K.LIQUIDATION),
        (r"^(open|close|delivery)_(long|short)$|^(buy|sell)(_deal)?$", _K.REALISED),
        (r"bonus|grant|gift|reward|airdrop|rebate|cashback|coupon", _K.BONUS),
        (r"^trans_|transfer|deposit|withdraw|^paptrading", _K.TRANSFER),
    )
)
"""Types by their spelling, in small letters; the first that fits counts, any other is OTHER.

Spelling and not a list: the venue has over 150 types and adds to them, and a transfer that is not
known as one would read as a loss.
"""
_SIGNED_BY_NAME: Mapping[str, int] = {"in": 1, "out": -1}


def kind_of(record_type: str) -> LedgerKind | None:
    """The kind of a record by the venue's word for it, None for a move within the account."""
    name = record_type.lower().replace("-", "_").replace(" ", "_")
    if _INNER.search(name):
        return None
    return next((kind for pattern, kind in _KINDS if pattern.search(name)), _K.OTHER)


def parse_bills(answer: object) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Read a page of `bill`: the records on it, and the ids of its rows for the next page."""
    rows = rows_in(answer, "bills", "bill")
    found = tuple(chain.from_iterable(_parse_bill(row) for row in rows))
    return found, tuple(required_text(row, "billId", "bill") for row in rows)


def _parse_bill(row: Fields) -> tuple[Record, ...]:
    return _records(
        row,
        record_id=required_text(row, "billId", "bill"),
        record_type=required_text(row, "businessType", "bill"),
        at_ms=required_integer(row, "cTime", "bill"),
        amount=required_number(row, "amount", "bill"),
    )


def parse_financial(answer: object) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Read a page of `financial-records`: the records on it, and the ids of its rows.

    The names of some types say the direction (`..._USER_OUT`); their amounts are told with and
    without a sign, so the name decides.
    """
    what = "financial-records"
    rows = rows_in(answer, "list", what)
    found: list[Record] = []
    for row in rows:
        record_type = required_text(row, "type", what)
        amount = required_number(row, "amount", what)
        sign = _SIGNED_BY_NAME.get(record_type.lower().rpartition("_")[2])
        found += _records(
            row,
            record_id=required_text(row, "id", what),
            record_type=record_type,
            at_ms=required_integer(row, "ts", what),
            amount=amount if sign is None else sign * abs(amount),
        )
    return tuple(found), tuple(required_text(row, "id", what) for row in rows)


def _records(
    row: Fields, *, record_id: str, record_type: str, at_ms: int, amount: float
) -> tuple[Record, ...]:
    """A row as what it made and what it cost; a part of zero is none."""
    kind = kind_of(record_type)
    if kind is None:
        return ()
    what = f"record {record_type}"
    symbol = optional_text(row, "symbol", what).upper()
    fee = float(optional_decimal(row, "fee", what) or 0)
    return tuple(
        Record(
            record_id=RecordId(f"{record_id}{suffix}"),
            kind=part_kind,
            at_ms=at_ms,
            amount=part,
            asset=Asset(required_text(row, "coin", what).upper()),
            symbol=Symbol(symbol) if symbol else None,
        )
        for suffix, part_kind, part in (("", kind, amount), (":fee", _K.FEE, fee))
        if part
    )
